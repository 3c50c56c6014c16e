//! From a rule to a signature that can be run, or to the reason why it cannot.
//!
//! In: a [`Rule`]. Out: a [`Signature`]. Truth before reach: an option that is not understood to the last of
//! its values refuses the whole rule, with its place. Options that only set something which nothing here
//! reads (`flowbits:set`) change nothing about whether the rule matches, and are let pass.

use super::buffers::{Buffer, Case, Side};
use super::contents::Content;
use super::numbers::{Flags, Numbers};
use super::state::Threshold;
use weir_common::app::App;
use weir_common::net::{Direction, protocol};
use weir_common::rule::{Action, Description, End, Place, Problem, Rule, RuleDirection, RuleOption, content};

/// A rule that can be run.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) description: Description,
    pub(super) source: End,
    pub(super) destination: End,
    pub(super) is_bidirectional: bool,
    pub(super) carrier: Carrier,
    /// The application that the flow must be.
    pub(super) app: Option<App>,
    pub(super) flow: FlowTest,
    pub(super) tests: Vec<PacketTest>,
    /// Contents of a packet's payload.
    pub(super) payload: Vec<Content>,
    pub(super) buffers: Vec<BufferTest>,
    pub(super) threshold: Option<Threshold>,
}

/// Which packets the header's protocol means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carrier {
    /// IP version, when it matters.
    pub(super) version: Option<u8>,
    /// IP protocols; none: any.
    pub(super) protocols: &'static [u8],
}

/// What `flow` asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FlowTest {
    pub(super) direction: Option<Direction>,
    pub(super) established: Option<bool>,
    pub(super) fragment: Option<bool>,
}

/// What one packet must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PacketTest {
    PayloadSize(Numbers),
    Flags(Flags),
    IcmpType(Numbers),
    IcmpCode(Numbers),
    Ttl(Numbers),
    Protocol(Numbers),
}

/// What one buffer must hold.
#[derive(Debug)]
pub(super) struct BufferTest {
    pub(super) buffer: Buffer,
    /// `dotprefix`: a dot is put before the value.
    pub(super) has_dot_prefix: bool,
    pub(super) contents: Vec<Content>,
    pub(super) sizes: Vec<Numbers>,
}

impl Signature {
    /// Whether it looks at single packets, beyond the header.
    pub(super) fn is_per_packet(&self) -> bool {
        !self.tests.is_empty() || !self.payload.is_empty() || self.flow.fragment.is_some()
    }
}

/// Compiles a rule.
pub(super) fn compile(rule: Rule) -> Result<Signature, Problem> {
    let refused = |place: Place, reason: &str| rule.problem(place, reason);
    match rule.description.action {
        Action::Alert | Action::Drop | Action::Reject => {}
        Action::Pass => {
            return Err(refused(rule.place, "cannot run `pass`: it would keep other rules from alerting"));
        }
        Action::Config => {
            return Err(refused(rule.place, "cannot run `config`: it changes Suricata's own behaviour"));
        }
    }
    if rule.direction == RuleDirection::Transaction {
        return Err(refused(rule.place, "cannot run `=>`: requests and answers are looked at apart"));
    }
    let Some((carrier, app)) = carrier(&rule.protocol) else {
        let reason = format!("cannot run: `{}` is not recognised by this engine", rule.protocol);
        return Err(refused(rule.protocol_place, &reason));
    };
    let mut compiler = Compiler { app, last: Last::Payload, at: Place::default(), ..Compiler::default() };
    for option in &rule.options {
        compiler.at = option.place;
        compiler.option(option).map_err(|(place, reason)| refused(place, &reason))?;
    }
    compiler.check().map_err(|(place, reason)| refused(place, &reason))?;
    let Compiler { app, flow, tests, mut payload, mut buffers, threshold, .. } = compiler;
    payload.iter_mut().for_each(Content::prepare);
    buffers.iter_mut().flat_map(|buffer| &mut buffer.contents).for_each(Content::prepare);
    let Rule { description, source, destination, direction, .. } = rule;
    Ok(Signature {
        description,
        source,
        destination,
        is_bidirectional: direction == RuleDirection::EitherWay,
        carrier,
        app,
        flow,
        tests,
        payload,
        buffers,
        threshold,
    })
}

fn carrier(name: &str) -> Option<(Carrier, Option<App>)> {
    let (version, protocols, app): (_, &'static [u8], _) = match name {
        "ip" => (None, &[], None),
        "ipv4" | "ip4" => (Some(4), &[], None),
        "ipv6" | "ip6" => (Some(6), &[], None),
        "tcp" | "tcp-pkt" => (None, &[protocol::TCP], None),
        "udp" => (None, &[protocol::UDP], None),
        "icmp" => (None, &[protocol::ICMP, protocol::ICMPV6], None),
        "icmpv4" => (None, &[protocol::ICMP], None),
        "icmpv6" => (None, &[protocol::ICMPV6], None),
        "sctp" => (None, &[protocol::SCTP], None),
        "http" | "http1" => (None, &[], Some(App::Http)),
        "tls" | "ssl" => (None, &[], Some(App::Tls)),
        "ssh" => (None, &[], Some(App::Ssh)),
        "dns" => (None, &[], Some(App::Dns)),
        _ => return None,
    };
    Some((Carrier { version, protocols }, app))
}

/// Where contents go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Payload,
    Buffer(usize),
}

#[derive(Default)]
struct Compiler {
    app: Option<App>,
    flow: FlowTest,
    tests: Vec<PacketTest>,
    payload: Vec<Content>,
    buffers: Vec<BufferTest>,
    threshold: Option<Threshold>,
    last: Last,
    /// The option being read.
    at: Place,
    flow_at: Place,
    packet_at: Option<Place>,
}

type Refused = (Place, String);

impl Compiler {
    fn option(&mut self, option: &RuleOption) -> Result<(), Refused> {
        if let Some(buffer) = Buffer::of(&option.name) {
            return self.sticky(buffer, option);
        }
        match option.name.as_str() {
            "content" => self.content(option),
            "nocase" => self.modify(option, |content, _| content.is_nocase = true),
            "offset" => self.position(option, |content, value| content.offset = Some(value)),
            "depth" => self.position(option, |content, value| content.depth = Some(value)),
            "within" => self.position(option, |content, value| content.within = Some(value)),
            "distance" => {
                let value = number::<i32>(option)?;
                self.modify(option, |content, _| content.distance = Some(value))
            }
            "startswith" => self.modify(option, |content, _| content.starts = true),
            "endswith" => self.modify(option, |content, _| content.ends = true),
            // Which content is looked for first changes nothing about what is found.
            "fast_pattern" => self.modify(option, |content, _| content.is_fast_pattern = true),
            // In Suricata, too, a word without effect.
            "rawbytes" => self.modify(option, |_, _| {}),
            "pkt_data" => {
                self.last = Last::Payload;
                none(option)
            }
            "bsize" => self.size(option),
            "dotprefix" => self.dot_prefix(option),
            "flow" => self.flow(option),
            "dsize" => self.test(option, PacketTest::PayloadSize),
            "itype" => self.test(option, PacketTest::IcmpType),
            "icode" => self.test(option, PacketTest::IcmpCode),
            "ttl" => self.test(option, PacketTest::Ttl),
            "ip_proto" => self.ip_proto(option),
            "flags" => {
                let flags = Flags::parse(&words(option))
                    .ok_or_else(|| wrong(option, "flags such as `S`, `+SA` or `S,12`"))?;
                self.packet_test(PacketTest::Flags(flags));
                Ok(())
            }
            "threshold" | "detection_filter" => self.threshold(option),
            "flowbits" => self.flowbits(option),
            "noalert" => Err((
                option.place,
                "cannot run `noalert`: it marks flows for other rules, and never alerts".into(),
            )),
            name => Err((option.place, format!("cannot run `{name}`: not known to this engine"))),
        }
    }

    fn contents(&mut self) -> &mut Vec<Content> {
        match self.last {
            Last::Buffer(at) => match self.buffers.get_mut(at) {
                Some(buffer) => &mut buffer.contents,
                None => &mut self.payload,
            },
            Last::Payload => &mut self.payload,
        }
    }

    fn sticky(&mut self, buffer: Buffer, option: &RuleOption) -> Result<(), Refused> {
        none(option)?;
        let app = buffer.kind().0;
        if self.app.is_some_and(|have| have != app) {
            return Err((option.place, format!("`{}` is never in the rule's application", option.name)));
        }
        self.app = Some(app);
        // The same buffer named again goes on in it, as long as nothing transforms it.
        let open = self.buffers.iter().position(|have| have.buffer == buffer && !have.has_dot_prefix);
        let at = open.unwrap_or_else(|| {
            self.buffers.push(BufferTest {
                buffer,
                has_dot_prefix: false,
                contents: Vec::new(),
                sizes: Vec::new(),
            });
            self.buffers.len() - 1
        });
        self.last = Last::Buffer(at);
        Ok(())
    }

    fn dot_prefix(&mut self, option: &RuleOption) -> Result<(), Refused> {
        none(option)?;
        let Last::Buffer(at) = self.last else {
            return Err((option.place, "`dotprefix` stands behind no buffer".into()));
        };
        let Some(buffer) = self.buffers.get(at).map(|buffer| buffer.buffer) else { return Ok(()) };
        match self.buffers.get_mut(at).filter(|have| have.contents.is_empty() && have.sizes.is_empty()) {
            Some(fresh) => fresh.has_dot_prefix = true,
            // What stood before it looks at the buffer as it is.
            None => {
                self.buffers.push(BufferTest {
                    buffer,
                    has_dot_prefix: true,
                    contents: Vec::new(),
                    sizes: Vec::new(),
                });
                self.last = Last::Buffer(self.buffers.len() - 1);
            }
        }
        Ok(())
    }

    fn content(&mut self, option: &RuleOption) -> Result<(), Refused> {
        let value = option.value.as_deref().unwrap_or_default();
        let read = content::content(value).map_err(|error| {
            let Place { line, column } = option.value_place;
            (Place { line, column: column.saturating_add(error.at as u32) }, error.reason)
        })?;
        let buffer = match self.last {
            Last::Buffer(at) => self.buffers.get(at).map(|test| test.buffer),
            Last::Payload => None,
        };
        if buffer.is_some() && !read.bytes.is_ascii() {
            let reason = "cannot run: inspection keeps text, where bytes beyond ASCII may be replaced";
            return Err((option.value_place, reason.into()));
        }
        let case = buffer.map_or(Case::Kept, |buffer| buffer.kind().2);
        if case == Case::Lower && read.bytes.iter().any(u8::is_ascii_uppercase) {
            return Err((option.value_place, "never matches: this buffer is in lower case".into()));
        }
        let mut content = Content::new(read.bytes, read.is_negated);
        content.is_nocase = case == Case::Ignored;
        self.contents().push(content);
        Ok(())
    }

    /// A modifier of the content before it.
    fn modify(&mut self, option: &RuleOption, change: impl FnOnce(&mut Content, u32)) -> Result<(), Refused> {
        match self.contents().last_mut() {
            Some(content) => {
                change(content, 0);
                Ok(())
            }
            None => Err((option.place, format!("`{}` stands behind no content", option.name))),
        }
    }

    fn position(
        &mut self,
        option: &RuleOption,
        change: impl FnOnce(&mut Content, u32),
    ) -> Result<(), Refused> {
        let value = number::<u32>(option)?;
        self.modify(option, |content, _| change(content, value))
    }

    fn size(&mut self, option: &RuleOption) -> Result<(), Refused> {
        let sizes = Numbers::parse(&words(option))
            .ok_or_else(|| wrong(option, "a size such as `5`, `<5` or `3<>9`"))?;
        let Last::Buffer(at) = self.last else {
            return Err((option.place, "`bsize` stands behind no buffer".into()));
        };
        if let Some(buffer) = self.buffers.get_mut(at) {
            buffer.sizes.push(sizes);
        }
        Ok(())
    }

    fn packet_test(&mut self, test: PacketTest) {
        self.packet_at.get_or_insert(self.at);
        self.tests.push(test);
    }

    fn test(&mut self, option: &RuleOption, test: impl FnOnce(Numbers) -> PacketTest) -> Result<(), Refused> {
        let numbers = Numbers::parse(&words(option))
            .ok_or_else(|| wrong(option, "a number such as `5`, `<5` or `3<>9`"))?;
        self.packet_test(test(numbers));
        Ok(())
    }

    fn ip_proto(&mut self, option: &RuleOption) -> Result<(), Refused> {
        let text = words(option).to_ascii_lowercase();
        let (sign, name) =
            text.split_at(text.find(|c: char| c.is_ascii_alphanumeric()).unwrap_or(text.len()));
        let number = match name.trim() {
            "icmp" => "1",
            "igmp" => "2",
            "tcp" => "6",
            "udp" => "17",
            "gre" => "47",
            "esp" => "50",
            "ah" => "51",
            "icmpv6" | "ipv6-icmp" => "58",
            "sctp" => "132",
            other => other,
        };
        let numbers = Numbers::parse(&format!("{sign}{number}"))
            .ok_or_else(|| wrong(option, "a protocol's number or name"))?;
        self.packet_test(PacketTest::Protocol(numbers));
        Ok(())
    }

    fn flow(&mut self, option: &RuleOption) -> Result<(), Refused> {
        self.flow_at = option.place;
        for word in words(option).split(',').map(str::trim) {
            let FlowTest { direction, established, fragment } = &mut self.flow;
            let is_first = match word {
                "to_server" | "from_client" => direction.replace(Direction::Forward).is_none(),
                "to_client" | "from_server" => direction.replace(Direction::Reverse).is_none(),
                "established" => established.replace(true).is_none(),
                "not_established" => established.replace(false).is_none(),
                "only_frag" => fragment.replace(true).is_none(),
                "no_frag" => fragment.replace(false).is_none(),
                // Packets are what is looked at anyway.
                "stateless" | "no_stream" => true,
                "only_stream" => {
                    return Err((
                        option.place,
                        "cannot run `flow:only_stream`: packets are looked at, not streams".into(),
                    ));
                }
                other => {
                    return Err((
                        option.place,
                        format!("cannot run `flow:{other}`: not known to this engine"),
                    ));
                }
            };
            if !is_first {
                return Err((
                    option.place,
                    format!("`flow:{word}` repeats or contradicts what stands before it"),
                ));
            }
        }
        Ok(())
    }

    fn threshold(&mut self, option: &RuleOption) -> Result<(), Refused> {
        let threshold = Threshold::read(option)?;
        if self.threshold.replace(threshold).is_some() {
            return Err((option.place, "a rule has one threshold".into()));
        }
        Ok(())
    }

    /// What sets a mark changes nothing about this rule, and no rule that reads marks can be run.
    fn flowbits(&mut self, option: &RuleOption) -> Result<(), Refused> {
        let words = words(option);
        match words.split(',').next().unwrap_or_default().trim() {
            "set" | "unset" | "toggle" => Ok(()),
            "noalert" => Err((
                option.place,
                "cannot run `flowbits:noalert`: the rule marks flows for others, and never alerts".into(),
            )),
            other => {
                Err((option.place, format!("cannot run `flowbits:{other}`: marks of flows are not kept")))
            }
        }
    }

    /// What only the whole rule shows.
    fn check(&self) -> Result<(), Refused> {
        let positions = self.payload.iter().chain(self.buffers.iter().flat_map(|buffer| &buffer.contents));
        for content in positions {
            let is_short = |room: Option<u32>| room.is_some_and(|room| (room as usize) < content.bytes.len());
            if is_short(content.depth) || is_short(content.within) {
                return Err((
                    self.at,
                    "a content is longer than its depth or within: it never matches".into(),
                ));
            }
            let is_placed = content.offset.is_some() || content.depth.is_some() || content.is_relative();
            if content.starts && is_placed {
                return Err((self.at, "`startswith` together with another place".into()));
            }
        }
        if let Some(empty) =
            self.buffers.iter().find(|test| test.contents.is_empty() && test.sizes.is_empty())
        {
            return Err((self.at, format!("{:?} is named and nothing is looked for in it", empty.buffer)));
        }
        if self.buffers.is_empty() {
            return Ok(());
        }
        if let Some(place) = self.packet_at {
            return Err((place, "cannot run: a packet's test together with an application's buffer".into()));
        }
        if !self.payload.is_empty() || self.flow.fragment.is_some() {
            return Err((
                self.at,
                "cannot run: a packet's content together with an application's buffer".into(),
            ));
        }
        let sides = [
            self.flow.direction.map(|direction| match direction {
                Direction::Forward => Side::Client,
                Direction::Reverse => Side::Server,
            }),
            self.buffers.iter().map(|test| test.buffer.kind().1).find(|side| *side != Side::Either),
        ];
        let clash = self
            .buffers
            .iter()
            .map(|test| test.buffer.kind().1)
            .find(|side| *side != Side::Either && sides.iter().flatten().any(|other| other != side));
        match clash {
            Some(_) => Err((
                self.flow_at.max(self.at),
                "never matches: its buffers and `flow` are of different directions".into(),
            )),
            None => Ok(()),
        }
    }
}

fn words(option: &RuleOption) -> String {
    String::from_utf8_lossy(option.value.as_deref().unwrap_or_default()).trim().to_owned()
}

fn wrong(option: &RuleOption, expected: &str) -> Refused {
    let shown: String = words(option).chars().take(40).collect();
    (option.value_place, format!("`{}:{shown}`: expected {expected}", option.name))
}

fn number<T: std::str::FromStr>(option: &RuleOption) -> Result<T, Refused> {
    words(option)
        .parse()
        .map_err(|_| wrong(option, "a number; values of `byte_extract` are not known to this engine"))
}

fn none(option: &RuleOption) -> Result<(), Refused> {
    match option.value {
        None => Ok(()),
        Some(_) => Err((option.value_place, format!("`{}` takes no value", option.name))),
    }
}
