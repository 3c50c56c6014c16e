//! From a rule to a signature that can be run, or to the reason why it cannot.
//!
//! In: a [`Rule`], and the names that all rules share. Out: a [`Signature`]. Truth before reach: an option that is
//! not understood to the last of its values refuses the whole rule, with its place; and a rule that is sound but asks for
//! what nothing here tells is said to be one that cannot fire.
//!
//! Options are read in their order, as they bind: a sticky buffer stands before what is looked for in it, a modifier
//! behind its content, a transform behind its buffer. Suricata's older form, in which a modifier (`http_uri`) moves
//! the content before it into a buffer, is brought into the newer one here.

mod header;
mod legacy;
mod lists;
mod sides;
mod towards;

use self::sides::Keyword;
use super::app::AppTest;
use super::matches::{MatchList, Transforms};
use super::packet::{
    AppLayerEvent, Asked, HeaderBuffer, PacketTest, UintTest, Width, app_layer_event, effectless, requires,
};
use super::state::{
    Countries, CountryTest, DataLoader, DataTest, Names, ReputationTest, Reputations, RuleLimits, RuleState,
    Threshold, ThresholdFile,
};
use crate::dpi::buffers::{Buffer, Number, Stage, Wanted};
use std::sync::Arc;
use weir_common::net::Direction;
use weir_common::rule::{Action, DESCRIBING, Description, Place, Problem, Rule, RuleDirection, RuleOption};

pub(super) use header::{Applications, Carrier, Frames, Header};

use header::Hook;
use lists::Lists;

/// Where a rule is wrong, and why.
pub(super) type Refused = (Place, String);

/// A rule that can be run.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) header: Header,
    pub(super) description: Box<Description>,
    /// What the packet must be.
    pub(super) packet: Vec<PacketTest>,
    /// What must be found in the payload, or in a header.
    pub(super) payload: Vec<List<PacketPart>>,
    /// What must be found in a transaction.
    pub(super) lists: Vec<List<Buffer>>,
    pub(super) numbers: Vec<(Number, UintTest)>,
    pub(super) app: Vec<AppTest>,
    /// `app-layer-event`: names of what must be odd about the transaction.
    pub(super) anomalies: Vec<AppLayerEvent>,
    pub(super) hosts: Vec<HostTest>,
    /// What must be remembered, and what a match leaves to remember.
    pub(super) state: RuleState,
    /// How often it may alert.
    pub(super) limits: RuleLimits,
    /// How much must be known of a transaction.
    pub(super) stage: Stage,
    /// `bypass`: a match ends what is looked for in the flow.
    pub(super) bypasses: bool,
    /// The signature about the other side, until signatures are numbered.
    pub(super) other_half: Option<Box<Signature>>,
    pub(super) kind: Kind,
}

/// What a signature is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A flow's ends, and what is known of it: once per direction and news.
    Flow,
    /// Frames of a link.
    Frame,
    /// Every packet.
    Packet,
    /// Every packet whose payload holds the fast pattern; of a TCP stream also what spans packets.
    Payload,
    /// A side of a transaction.
    Side,
    /// What is odd about a side.
    Anomaly,
}

/// What of a packet is looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PacketPart {
    Payload,
    Header(HeaderBuffer),
    /// `ip.src`: its bytes.
    SourceAddress,
    /// `ip.dst`.
    DestinationAddress,
}

/// What the packet's hosts must be.
#[derive(Debug)]
pub(super) enum HostTest {
    Reputation(ReputationTest),
    Country(CountryTest),
}

/// What must be found in one place.
#[derive(Debug)]
pub(super) struct List<P> {
    pub(super) place: P,
    pub(super) transforms: Transforms,
    pub(super) matches: MatchList,
    /// Sets that the bytes are looked up in.
    pub(super) data: Vec<DataTest>,
    /// Who says what is looked into, where only one end can, or where the rule says it.
    pub(super) towards: Option<Direction>,
}

/// What `flow` asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FlowTest {
    pub(super) direction: Option<Direction>,
    pub(super) established: Option<bool>,
    pub(super) fragment: Option<bool>,
    pub(super) stream: Option<bool>,
    pub(super) is_stateless: bool,
    /// The packet begins its flow.
    pub(super) is_first: bool,
}

impl Signature {
    /// What of transactions it looks into.
    pub(super) fn wants(&self, wanted: &mut Wanted) {
        self.lists.iter().for_each(|list| wanted.want(list.place));
        self.numbers.iter().for_each(|(number, _)| wanted.want_number(*number));
        self.app.iter().for_each(|test| test.wants(wanted));
        wanted.anomalies |= !self.anomalies.is_empty();
        wanted.any |= self.kind == Kind::Side;
    }
}

/// What the rules of one loading share.
pub(super) struct Shared<'s> {
    /// Names of marks.
    pub(super) names: &'s mut Names,
    pub(super) thresholds: &'s ThresholdFile,
    pub(super) data: DataLoader<'s>,
    pub(super) reputations: &'s Reputations,
    pub(super) countries: Option<&'s Countries>,
    /// What is odd about rules that can be run.
    pub(super) warnings: Vec<Problem>,
}

/// What a rule that is not refused comes to.
pub(super) enum Compiled {
    Runs(Box<Signature>),
    /// It is sound, and asks for what never is.
    CannotFire(Problem),
    /// It is for another version of the language (`requires`), so that nothing else of it need be sound.
    SetAside(Problem),
}

/// Keywords that Suricata has and that are refused for a reason of their own.
const NOT_RUN: [(&str, &str); 7] = [
    ("flowvar", NO_VARIABLES),
    ("pktvar", NO_VARIABLES),
    ("lua", "this engine has no Lua"),
    ("luajit", "this engine has no Lua"),
    ("luaxform", "this engine has no Lua"),
    ("ndpi-protocol", NO_NDPI),
    ("ndpi-risk", NO_NDPI),
];
const NO_VARIABLES: &str = "what expressions capture is told with alerts, and is not compared";
const NO_NDPI: &str = "applications are recognised here by their own dissectors, without nDPI";

/// Keywords that decide nothing about a match and ask for something that is not done here: their rules run without it.
const NOT_DONE: [(&str, &str); 4] = [
    ("replace", "traffic is not changed here: the rule alerts where it would be"),
    ("nfq_set_mark", "packets are not marked here"),
    ("tls.store", NO_TLS_STORE),
    ("tls_store", NO_TLS_STORE),
];
const NO_TLS_STORE: &str = "certificates are not stored as files; the ring has the handshake's packets with them, as far as it is kept";

fn reason_in(keywords: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    keywords.iter().find(|(keyword, _)| *keyword == name).map(|(_, reason)| *reason)
}

fn reason_not_to_run(name: &str) -> Option<&'static str> {
    reason_in(&NOT_RUN, name)
}

/// Compiles a rule.
pub(super) fn compile(rule: Rule, shared: &mut Shared<'_>) -> Result<Compiled, Problem> {
    let problem = |(place, reason): Refused| rule.problem(place, reason);
    if let Some(unmet) = unmet(&rule, shared).map_err(problem)? {
        return Ok(Compiled::SetAside(problem(unmet)));
    }
    let (half, other_half) = match rule.direction {
        RuleDirection::Transaction => (Some(Direction::Forward), Some(Direction::Reverse)),
        RuleDirection::OneWay | RuleDirection::EitherWay => (None, None),
    };
    let reader = Reader::read_whole(&rule, half, shared).map_err(problem)?;
    if let Some((place, reason)) = &reader.silence {
        let reason = format!("sid {} loads and cannot fire: {reason}", rule.description.sid);
        return Ok(Compiled::CannotFire(rule.problem(*place, reason)));
    }
    let other_half = match other_half {
        Some(half) => {
            let reader = Reader::read_whole(&rule, Some(half), shared).map_err(problem)?;
            Some(Box::new(reader.signature(rule.clone(), shared.thresholds)))
        }
        None => None,
    };
    let signature = reader.signature(rule, shared.thresholds);
    Ok(Compiled::Runs(Box::new(Signature { other_half, ..signature })))
}

/// What the rule requires of this program that is not there; asked before anything else of it is read.
fn unmet(rule: &Rule, shared: &mut Shared<'_>) -> Result<Option<Refused>, Refused> {
    for option in &rule.options {
        let has = |asked: Asked<'_>| match asked {
            Asked::Keyword(name) => is_run(name, rule, shared),
            Asked::Feature(name) => name == "geoip" && shared.countries.is_some(),
        };
        if let Some(Some(unmet)) = requires(option, has).transpose()? {
            return Ok(Some(unmet));
        }
    }
    Ok(None)
}

/// Whether a keyword is one that rules may use here: asked of what reads them.
fn is_run(name: &str, rule: &Rule, shared: &mut Shared<'_>) -> bool {
    let option = RuleOption { name: name.into(), value: None, place: rule.place, value_place: rule.place };
    let mut reader = Reader::of(rule, Carrier::default(), Applications::default(), "");
    DESCRIBING.contains(&name)
        || reason_not_to_run(name).is_none() && !matches!(reader.read(&option, shared), Ok(Read::Unknown))
}

/// Whether an option was one that is known.
enum Read {
    Done,
    Unknown,
}

/// A rule being read.
struct Reader {
    file: Arc<str>,
    carrier: Carrier,
    applications: Applications,
    place: Place,
    flow: FlowTest,
    flow_at: Option<Place>,
    packet: Vec<PacketTest>,
    lists: Lists,
    numbers: Vec<(Number, UintTest)>,
    app: Vec<AppTest>,
    anomalies: Vec<AppLayerEvent>,
    hosts: Vec<HostTest>,
    state: RuleState,
    threshold: Option<Threshold>,
    kind: Kind,
    stage: Stage,
    bypasses: bool,
    /// It is a `config` rule, and whether what it configures was said.
    config: Option<bool>,
    hook: Option<Hook>,
    /// What it asks for and never is.
    silence: Option<Refused>,
    /// See [`Header::half`].
    half: Option<Direction>,
    /// The keywords of the numbers, and those of the tests of applications.
    number_keywords: Vec<Keyword>,
    app_keywords: Vec<Keyword>,
    /// Where `dsize` stands.
    size_at: Option<Place>,
}

impl Reader {
    /// Reads a rule, or of one about both sides of a transaction what it asks of one.
    fn read_whole(rule: &Rule, half: Option<Direction>, shared: &mut Shared<'_>) -> Result<Reader, Refused> {
        let mut reader = Reader { half, ..Reader::begin(rule)? };
        for option in &rule.options {
            reader.option(option, shared)?;
        }
        if let Some(half) = half {
            reader.keep(half)?;
        }
        reader.finish()?;
        Ok(reader)
    }

    fn begin(rule: &Rule) -> Result<Reader, Refused> {
        let (protocol, hook) = match rule.protocol.split_once(':') {
            Some((protocol, hook)) => (protocol, Some(hook)),
            None => (rule.protocol.as_str(), None),
        };
        let hook = match hook {
            Some(name) => Some(header::hook(name).ok_or_else(|| {
                (rule.protocol_place, format!("cannot run: the hook `{name}` is not known to this engine"))
            })?),
            None => None,
        };
        let Some((carrier, applications)) = header::carrier(protocol) else {
            let reason = format!("cannot run: the protocol `{}` is not known to this engine", rule.protocol);
            return Err((rule.protocol_place, reason));
        };
        Ok(Reader { hook, ..Reader::of(rule, carrier, applications, protocol) })
    }

    /// One that has read nothing yet.
    fn of(rule: &Rule, carrier: Carrier, applications: Applications, protocol: &str) -> Reader {
        Reader {
            file: Arc::clone(&rule.file),
            carrier,
            applications,
            place: rule.place,
            flow: FlowTest::default(),
            flow_at: None,
            packet: Vec::new(),
            lists: Lists::of(protocol),
            numbers: Vec::new(),
            app: Vec::new(),
            anomalies: Vec::new(),
            hosts: Vec::new(),
            state: RuleState::default(),
            threshold: None,
            kind: Kind::Flow,
            stage: Stage::Begun,
            bypasses: false,
            config: (rule.description.action == Action::Config).then_some(false),
            hook: None,
            silence: None,
            half: None,
            number_keywords: Vec::new(),
            app_keywords: Vec::new(),
            size_at: None,
        }
    }

    fn option(&mut self, option: &RuleOption, shared: &mut Shared<'_>) -> Result<(), Refused> {
        if let Some(reason) =
            reason_in(&NOT_DONE, &option.name).filter(|_| self.half != Some(Direction::Reverse))
        {
            let reason = format!("`{}`: {reason}", option.name);
            shared.warnings.push(Problem { file: Arc::clone(&self.file), place: option.place, reason });
        }
        let reason = match reason_not_to_run(&option.name) {
            Some(reason) => reason,
            None => match self.read(option, shared)? {
                Read::Done => return Ok(()),
                Read::Unknown => "not known to this engine",
            },
        };
        Err((option.place, format!("cannot run `{}`: {reason}", option.name)))
    }

    fn read(&mut self, option: &RuleOption, shared: &mut Shared<'_>) -> Result<Read, Refused> {
        if self.state.option(option, shared.names)? {
            return Ok(Read::Done);
        }
        if let Some(done) = self.lists.option(option) {
            return done.map(|()| Read::Done);
        }
        match option.name.as_str() {
            "app-layer-state" => self.state(option)?,
            "bidir.toserver" => self.turn(option, Direction::Forward)?,
            "bidir.toclient" => self.turn(option, Direction::Reverse)?,
            "flow" => self.flow(option)?,
            "config" => self.config(option)?,
            "bypass" => {
                self.bypasses = true;
                lists::none(option)?;
            }
            "dataset" | "datarep" => {
                let test = shared.data.option(option, &self.file)?;
                self.lists.data(test, option)?;
            }
            "iprep" => {
                self.hosts.push(HostTest::Reputation(ReputationTest::read(option, shared.reputations)?));
            }
            "geoip" => {
                self.hosts.push(HostTest::Country(CountryTest::read(option, shared.countries)?));
            }
            "threshold" | "detection_filter" => {
                let threshold = Threshold::read(option)?;
                if threshold.needs_ports() && !self.carrier.has_ports() {
                    let reason = "`unique_on` counts ports: the rule has to be about TCP, UDP or SCTP";
                    return Err((option.value_place, reason.into()));
                }
                if self.threshold.replace(threshold).is_some() {
                    return Err((option.place, "a rule has one threshold".into()));
                }
            }
            // Asked of the whole rule before.
            "requires" => {}
            _ => return self.test(option),
        }
        Ok(Read::Done)
    }

    /// Takes up a test of packets or of transactions.
    fn test(&mut self, option: &RuleOption) -> Result<Read, Refused> {
        if let Some(done) = effectless(option) {
            done?;
        } else if let Some(event) = app_layer_event(option) {
            let event = event?;
            if !event.is_told() {
                self.is_silent(option, "application's", &words(option));
            }
            self.anomalies.push(event);
        } else if let Some(test) = PacketTest::option(option) {
            let test = test?;
            if option.name == "dsize" {
                self.size_at = Some(option.place);
            }
            if let Some(event) = test.silent_event() {
                self.is_silent(option, "packet's", event);
            }
            if test == PacketTest::Elephant {
                // As in Suricata, unless it is told how many octets in how long a flow needs for that.
                let reason = "no flow counts as an elephant: rates of flows are not measured here";
                self.silence.get_or_insert_with(|| (option.place, reason.into()));
            }
            self.packet.push(test);
        } else if let Some(test) = AppTest::option(option, &self.file) {
            self.app.push(test?);
            self.app_keywords.push(Keyword::of(option, self.lists.bidir));
        } else if let Some(number) = Number::of(&option.name) {
            let text = words(option);
            let test = UintTest::parse(&text, Width::U64).map_err(|reason| (option.value_place, reason))?;
            self.numbers.push((number, test));
            self.number_keywords.push(Keyword::of(option, self.lists.bidir));
        } else {
            return Ok(Read::Unknown);
        }
        Ok(Read::Done)
    }

    /// The rule asks for an event that nothing tells.
    fn is_silent(&mut self, option: &RuleOption, whose: &str, event: &str) {
        let reason = || format!("it asks for the {whose} event `{event}`, which nothing here tells");
        self.silence.get_or_insert_with(|| (option.value_place, reason()));
    }

    fn flow(&mut self, option: &RuleOption) -> Result<(), Refused> {
        if self.flow_at.replace(option.place).is_some() {
            return Err((option.place, "a rule has one `flow`".into()));
        }
        for word in words(option).split(',').map(str::trim) {
            let FlowTest { direction, established, fragment, stream, is_stateless, .. } = &mut self.flow;
            let is_first = match word.to_ascii_lowercase().as_str() {
                "to_server" | "from_client" => direction.replace(Direction::Forward).is_none(),
                "to_client" | "from_server" => direction.replace(Direction::Reverse).is_none(),
                "established" => established.replace(true).is_none(),
                "not_established" => established.replace(false).is_none(),
                "only_frag" => fragment.replace(true).is_none(),
                "no_frag" => fragment.replace(false).is_none(),
                "only_stream" => stream.replace(true).is_none(),
                "no_stream" => stream.replace(false).is_none(),
                "stateless" => !std::mem::replace(is_stateless, true),
                other => {
                    return Err((
                        option.place,
                        format!("cannot run `flow:{other}`: not known to this engine"),
                    ));
                }
            };
            if !is_first {
                let reason = format!("`flow:{word}` repeats or contradicts what stands before it");
                return Err((option.place, reason));
            }
        }
        if self.flow.is_stateless && self.flow.established.is_some() {
            return Err((option.place, "`flow`: `stateless` contradicts `established`".into()));
        }
        Ok(())
    }

    /// `config:logging disable, type tx, scope tx`: the transaction is not told. Anything else would change Suricata's own
    /// behaviour.
    fn config(&mut self, option: &RuleOption) -> Result<(), Refused> {
        let text = words(option);
        let mut said: Vec<&str> = text.split(',').map(str::trim).collect();
        said.sort_unstable();
        if self.config.is_none() {
            return Err((option.place, "`config` stands in a rule of another action".into()));
        }
        if said != ["logging disable", "scope tx", "type tx"] {
            let reason =
                format!("cannot run `config:{text}`: only `logging disable, type tx, scope tx` is known");
            return Err((option.value_place, reason));
        }
        self.config = Some(true);
        Ok(())
    }

    /// `app-layer-state:request_headers`, `app-layer-state:>request_body`: so much is known of a side, or more.
    fn state(&mut self, option: &RuleOption) -> Result<(), Refused> {
        let text = words(option);
        let (is_more, name) = match text.strip_prefix('>') {
            Some(name) => (true, name.trim_start()),
            None => (false, text.as_str()),
        };
        let Some(Hook::Side(direction, stage)) = header::hook(name) else {
            let reason =
                format!("cannot run `app-layer-state:{text}`: expected a state, perhaps with `>` before it");
            return Err((option.value_place, reason));
        };
        if self.hook.is_some() {
            return Err((option.place, "the rule has a state of transactions already".into()));
        }
        // What is behind a state of the head is the body, of which no parts are told apart here.
        self.hook = Some(Hook::Side(direction, if is_more { Stage::Body } else { stage }));
        Ok(())
    }

    /// What only the whole rule shows.
    fn finish(&mut self) -> Result<(), Refused> {
        self.lists.finish(self.place)?;
        self.check_sides()?;
        let mut has_side = !self.lists.side.is_empty() || !self.numbers.is_empty() || !self.app.is_empty();
        match self.hook {
            Some(Hook::FlowStart) => self.flow.is_first = true,
            Some(Hook::Packet) if has_side => {
                return Err((
                    self.place,
                    "the rule is about packets, and asks for parts of transactions".into(),
                ));
            }
            Some(Hook::Side(direction, stage)) => {
                has_side = true;
                self.stage = stage;
                self.flow.direction = self.flow.direction.or(direction);
            }
            Some(Hook::Packet) | None => {}
        }
        let has_payload = self.lists.packet.iter().any(|list| list.place == PacketPart::Payload);
        // As Suricata's rules about addresses alone: whatever else a rule asks is asked of every packet.
        let is_app = |test: &PacketTest| matches!(test, PacketTest::AppProtocol(_));
        let is_about_app = !self.packet.is_empty() && self.packet.iter().all(is_app);
        let is_about_flow = (self.packet.is_empty() && self.flow_at.is_none() || is_about_app)
            && self.lists.packet.is_empty()
            && self.state.tests.is_empty()
            && self.hosts.is_empty()
            && self.hook != Some(Hook::Packet)
            && !self.flow.is_first;
        if self.carrier.frames.is_some() {
            self.check_frames(has_side)?;
            self.kind = Kind::Frame;
            return Ok(());
        }
        self.kind = if has_side {
            Kind::Side
        } else if !self.anomalies.is_empty() {
            Kind::Anomaly
        } else if has_payload {
            Kind::Payload
        } else if is_about_flow {
            Kind::Flow
        } else {
            Kind::Packet
        };
        if self.config == Some(false) {
            return Err((self.place, "a `config` rule says what it configures, with `config`".into()));
        }
        if self.config.is_some() && !matches!(self.kind, Kind::Side | Kind::Anomaly) {
            let reason = "cannot run: `config` is about transactions, and the rule asks for nothing of one";
            return Err((self.place, reason.into()));
        }
        let stages = self.lists.side.iter().map(|list| list.place.stage());
        let tests = self.app.iter().map(AppTest::stage).chain(self.numbers.iter().map(|_| Stage::Head));
        self.stage = stages.chain(tests).max().unwrap_or(Stage::Head).max(self.stage);
        Ok(())
    }

    /// Of a frame without a packet its Ethernet header and VLANs can be looked at, and of one with a packet the same is
    /// looked at.
    fn check_frames(&self, has_side: bool) -> Result<(), Refused> {
        let is_known = |list: &List<PacketPart>| list.place == PacketPart::Header(HeaderBuffer::Ethernet);
        let has_other = has_side
            || !self.anomalies.is_empty()
            || self.flow_at.is_some()
            || self.flow.is_first
            || !self.hosts.is_empty()
            || !self.state.tests.is_empty()
            || !self.state.actions.is_empty()
            || !self.packet.iter().all(PacketTest::is_of_frame)
            || !self.lists.packet.iter().all(is_known);
        if has_other {
            let reason = "cannot run: of frames only the Ethernet header and VLANs are looked at";
            return Err((self.place, reason.into()));
        }
        Ok(())
    }

    fn signature(self, rule: Rule, thresholds: &ThresholdFile) -> Signature {
        let Rule { description, source, destination, direction, .. } = rule;
        let (gid, sid) = (description.gid, description.sid);
        Signature {
            header: Header {
                source,
                destination,
                is_bidirectional: direction == RuleDirection::EitherWay,
                carrier: self.carrier,
                applications: self.applications,
                flow: self.flow,
                half: self.half,
            },
            description: Box::new(description),
            packet: self.packet,
            payload: self.lists.packet,
            lists: self.lists.side,
            numbers: self.numbers,
            app: self.app,
            anomalies: self.anomalies,
            hosts: self.hosts,
            state: self.state,
            limits: thresholds.limits(gid, sid, self.threshold),
            stage: self.stage,
            bypasses: self.bypasses,
            other_half: None,
            kind: self.kind,
        }
    }
}

fn words(option: &RuleOption) -> String {
    String::from_utf8_lossy(option.value.as_deref().unwrap_or_default()).trim().to_owned()
}
