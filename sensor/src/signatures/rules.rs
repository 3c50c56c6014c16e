//! Compiled rules, grouped by what they have to be asked about.
//!
//! In: [`Rule`]s. Out: signatures in the order in which they are evaluated, and for each kind of question the
//! pattern sets that say which of them are worth asking. Workers share it; nothing here changes after it is built.
//!
//! Signatures are numbered in Suricata's order of evaluation: by action (`pass` first), then so that those that set
//! a mark come before those that read it, then by priority. Candidates sorted by number are in that order.

use super::addresses::AddressIndex;
use super::app::AppTest;
use super::compile::{Compiled, Frames, Kind, PacketPart, Shared, Signature, compile};
use super::matches::Transforms;
use super::packet::PacketTest;
use super::patterns::{Cache, Choice, Compiler, Databases, PatternSet, PatternSetBuilder, give_back};
use super::ports::{PortIndex, PortIndexBuilder, PortPlace};
use super::state::{
    Census, Countries, DataLoader, DataSettings, DataTable, Names, Reputations, ThresholdFile,
};
use crate::decode::TUNNEL_PROTOCOLS;
use crate::dpi::buffers::{Buffer, Number, Wanted};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weir_common::app::App;
use weir_common::net::{Direction, protocol};
use weir_common::rule::{Action, AddressSet, Description, Place, PortSet, Problem, Rule, Variables};

/// A pattern of so many bytes is looked for whatever the ports: it occurs so seldom where it is not meant that a set for
/// each port, and a scan of each packet for it, cost more than to say no to the signature afterwards. Without sets by
/// port 53 of 63 million candidates were about other ports, nearly all because of two to four bytes; with every pattern
/// under its port loading took a quarter longer, and 65 MB more at its height.
const RARE_PATTERN_BYTES: usize = 5;

/// Compiled rules.
#[derive(Debug)]
pub struct Rules {
    pub(super) signatures: Vec<Signature>,
    needs: Needs,
    /// Signatures that ask for nothing but ends and flow.
    pub(super) flows: AddressIndex,
    /// Signatures about every packet, by what carries it.
    pub(super) packets: [PortIndex<AddressIndex>; Traffic::COUNT],
    /// Signatures about frames of a link, which may hold no packet: of all, and of those that carry ARP.
    pub(super) frames: Vec<u32>,
    pub(super) arp_frames: Vec<u32>,
    /// Signatures about faults of frames, which may hold no packet.
    pub(super) faults: Vec<u32>,
    /// Signatures about payloads, by what carries them and who sends.
    pub(super) payloads: [[PortIndex<Patterns>; 2]; Traffic::COUNT],
    /// Those of them that are about single packets: the others need not be looked for beyond a stream's depth.
    pub(super) packet_payloads: [PortIndex<Patterns>; 2],
    /// Signatures about transactions, by the buffer of their fast pattern.
    pub(super) buffers: Vec<Vec<BufferPatterns>>,
    /// Signatures about transactions without one, by a buffer that must be there.
    pub(super) with_buffer: Vec<Vec<u32>>,
    /// Those without either, by a number that must be there.
    pub(super) with_number: Vec<Vec<u32>>,
    /// The others, by application; of any application under [`App::Unknown`].
    pub(super) sides: HashMap<App, Vec<u32>>,
    /// Signatures about what is odd, by event.
    pub(super) anomalies: HashMap<Box<str>, Vec<u32>>,
    pub(super) wanted: Arc<Wanted>,
    /// Names of marks and counters.
    pub(super) names: Names,
    pub(super) data: Arc<DataTable>,
    pub(super) reputations: Arc<Reputations>,
    pub(super) countries: Option<Arc<Countries>>,
    /// What libhs has compiled, for the rules after these.
    databases: Databases,
}

/// What signatures ask for that is made only where one does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Faults of frames (`decode-event`).
    pub decode_events: bool,
    /// What is odd about streams (`stream-event`).
    pub stream_events: bool,
    /// How far sequence numbers went (`stream_size`).
    pub stream_sizes: bool,
    /// What recognition says of a flow, beyond its application (`app-layer-protocol`).
    pub apps: bool,
    /// Packets that carry others in tunnels.
    pub carriers: bool,
    /// Frames without a packet.
    pub frames: bool,
}

impl Needs {
    fn of(signatures: &[Signature]) -> Needs {
        let carriers = signatures.iter().any(Signature::may_be_about_carriers);
        let frames = signatures.iter().any(|signature| signature.kind == Kind::Frame);
        let mut needs = Needs { carriers, frames, ..Needs::default() };
        for test in signatures.iter().flat_map(|signature| &signature.packet) {
            match test {
                PacketTest::DecodeEvent(_) => needs.decode_events = true,
                PacketTest::StreamEvent(_) => needs.stream_events = true,
                PacketTest::StreamSize(..) => needs.stream_sizes = true,
                PacketTest::AppProtocol(_) => needs.apps = true,
                _ => {}
            }
        }
        needs
    }
}

/// What carries a payload, as far as signatures are grouped by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Traffic {
    Tcp,
    Udp,
    Other,
}

impl Traffic {
    pub(super) const COUNT: usize = 3;

    #[inline]
    pub(super) fn of(protocol: u8) -> Traffic {
        match protocol {
            protocol::TCP => Traffic::Tcp,
            protocol::UDP => Traffic::Udp,
            _ => Traffic::Other,
        }
    }
}

/// Where in the indexes by ports what concerns one direction of a flow is; see [`Rules::places`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) role: Direction,
    pub(super) packets: PortPlace,
    pub(super) payloads: PortPlace,
}

/// Patterns, and the signatures that have them.
#[derive(Debug)]
pub(super) struct Patterns {
    pub(super) set: PatternSet,
    /// Signatures, by pattern.
    owners: Vec<u32>,
    /// Where each pattern's signatures end.
    ends: Vec<u32>,
    /// Signatures without a pattern.
    pub(super) always: Vec<u32>,
}

impl Patterns {
    /// The signatures of a pattern.
    #[inline]
    pub(super) fn owners(&self, pattern: u32) -> &[u32] {
        let end = |at: usize| self.ends.get(at).map_or(0, |end| *end as usize);
        let begin = (pattern as usize).checked_sub(1).map_or(0, end);
        self.owners.get(begin..end(pattern as usize)).unwrap_or_default()
    }
}

/// The patterns of a buffer, changed in one way.
#[derive(Debug)]
pub(super) struct BufferPatterns {
    pub(super) transforms: Transforms,
    pub(super) patterns: Patterns,
}

#[derive(Debug, Default)]
struct PatternsBuilder {
    set: PatternSetBuilder,
    owners: Vec<Vec<u32>>,
    always: Vec<u32>,
}

/// A signature about payloads, and its fast pattern: bytes and whether they are compared without regard to case.
#[derive(Clone, Debug)]
struct PayloadEntry {
    signature: u32,
    pattern: Option<(Arc<[u8]>, bool)>,
}

impl PatternsBuilder {
    fn of_payloads(entries: Vec<PayloadEntry>) -> PatternsBuilder {
        let mut patterns = PatternsBuilder::default();
        for PayloadEntry { signature, pattern } in entries {
            match pattern {
                Some((bytes, is_nocase)) => patterns.add(signature, &bytes, is_nocase),
                None => patterns.always.push(signature),
            }
        }
        patterns
    }

    fn add(&mut self, signature: u32, bytes: &[u8], is_nocase: bool) {
        let id = self.set.add(bytes, is_nocase) as usize;
        if self.owners.len() <= id {
            self.owners.resize_with(id + 1, Vec::new);
        }
        if let Some(owners) = self.owners.get_mut(id) {
            owners.push(signature);
        }
    }

    fn build(self, compiler: &mut Compiler<'_>) -> Patterns {
        let mut ends = Vec::with_capacity(self.owners.len());
        let mut owners = Vec::new();
        for of_pattern in self.owners {
            owners.extend(of_pattern);
            ends.push(owners.len() as u32);
        }
        Patterns { set: self.set.build(compiler), owners, ends, always: self.always }
    }
}

/// What building came to.
#[derive(Debug)]
pub struct Built {
    /// The rules that can be run.
    pub rules: Rules,
    /// Those that cannot, and why.
    pub problems: Vec<Problem>,
    /// Those that are sound and cannot fire, because nothing here tells what they ask for. Nothing looks for them.
    pub silent: Vec<Problem>,
    /// Those that are not for this version of the language (`requires`).
    pub set_aside: Vec<Problem>,
    /// What is odd about rules that can.
    pub warnings: Vec<Problem>,
}

/// Where a signature's packets must lie: what narrows a search before anything is read.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'e> {
    /// Addresses of the two ends.
    pub addresses: [&'e AddressSet; 2],
    /// Ports of the two ends.
    pub ports: [&'e PortSet; 2],
    /// IP protocols; empty: any.
    pub protocols: &'static [u8],
}

/// Names that outlive the rules: marks of flows and hosts go on when rules are loaded anew.
#[derive(Debug, Default)]
pub struct RuleNames(Names);

/// What rules refer to beside themselves.
#[derive(Debug, Default)]
pub struct Surroundings {
    thresholds: ThresholdFile,
    data: DataSettings,
    reputations: Arc<Reputations>,
    countries: Option<Arc<Countries>>,
    /// What searches for many patterns at once.
    matcher: Choice,
    cache: Option<Cache>,
}

impl Surroundings {
    /// Nothing but what searches for many patterns at once.
    pub fn new(matcher: Choice) -> Surroundings {
        Surroundings { matcher, ..Surroundings::default() }
    }

    /// Takes up a file of thresholds and suppressions, in the form of Suricata's `threshold.config`; says what of it is
    /// wrong.
    pub fn thresholds(&mut self, name: &str, text: &[u8], variables: &Variables) -> Vec<Problem> {
        let (file, problems) = ThresholdFile::read(name, text, variables);
        self.thresholds = file;
        problems
    }

    /// Takes up the categories of reputations and files of them; says what of these is wrong.
    pub fn reputations(&mut self, categories: (&str, &[u8]), files: &[(String, Vec<u8>)]) -> Vec<Problem> {
        let mut reputations = Reputations::default();
        let mut problems = reputations.read_categories(categories.0, categories.1);
        for (name, text) in files {
            problems.extend(reputations.read(name, text));
        }
        self.reputations = Arc::new(reputations);
        problems
    }

    /// Takes up a database of addresses' countries.
    pub fn countries(&mut self, path: &Path) -> std::io::Result<()> {
        self.countries = Some(Arc::new(Countries::open(path)?));
        Ok(())
    }

    /// Where compiled patterns are kept from start to start.
    pub fn cache(&mut self, cache: Cache) {
        self.cache = Some(cache);
    }

    /// Where rules may read data sets from.
    pub fn data(&mut self, allows_absolute: bool, state_directory: Option<PathBuf>) {
        self.data = DataSettings { allows_absolute, state_directory };
    }
}

impl Rules {
    /// Compiles rules. What the rules before remember in data sets goes on.
    pub fn build(
        rules: Vec<Rule>,
        names: &mut RuleNames,
        surroundings: &Surroundings,
        previous: Option<&Rules>,
    ) -> Built {
        let mut signatures: Vec<(Signature, Arc<str>, Place)> = Vec::with_capacity(rules.len());
        let (mut problems, mut by_id) = (Vec::new(), HashMap::with_capacity(rules.len()));
        let (mut silent, mut set_aside) = (Vec::new(), Vec::new());
        let mut census = Census::default();
        let mut shared = Shared {
            names: &mut names.0,
            thresholds: &surroundings.thresholds,
            data: DataLoader::new(surroundings.data.clone(), previous.map(|rules| &*rules.data)),
            reputations: &surroundings.reputations,
            countries: surroundings.countries.as_deref(),
            warnings: Vec::new(),
        };
        for rule in rules {
            let (file, place) = (Arc::clone(&rule.file), rule.place);
            match compile(rule, &mut shared) {
                Ok(Compiled::Runs(signature)) => {
                    let Description { gid, sid, rev, .. } = *signature.description;
                    let number = *by_id.entry((gid, sid)).or_insert(signatures.len());
                    let mut one = (*signature, file, place);
                    let Some(other) = signatures.get_mut(number) else {
                        signatures.push(one);
                        continue;
                    };
                    // As in Suricata, of two the later revision runs, and of the same the first.
                    if rev > other.0.description.rev {
                        std::mem::swap(other, &mut one);
                    }
                    let reason = format!(
                        "revision {} at {}:{} replaces it",
                        other.0.description.rev, other.1, other.2
                    );
                    problems.push(Problem { file: one.1, place: one.2, reason });
                }
                Ok(Compiled::CannotFire(problem)) => silent.push(problem),
                Ok(Compiled::SetAside(problem)) => set_aside.push(problem),
                Err(problem) => problems.push(problem),
            }
        }
        for (signature, file, place) in &signatures {
            census.add(file, *place, &signature.state.uses);
        }
        // Of a rule about both sides of a transaction the two are signatures of their own.
        let mut signatures: Vec<Signature> = signatures
            .into_iter()
            .flat_map(|(mut signature, ..)| {
                [signature.other_half.take().map(|other| *other), Some(signature)]
            })
            .flatten()
            .collect();
        let mut warnings = shared.warnings;
        warnings.extend_from_slice(shared.data.warnings());
        let data = Arc::new(shared.data.finish());
        signatures.sort_by_cached_key(|signature| {
            let order = signature.state.uses.order().map(std::cmp::Reverse);
            (action_order(signature.description.action), order, signature.description.severity)
        });
        warnings.extend(census.warnings(&names.0));
        let before = previous.map(|rules| &rules.databases);
        let compiler = Compiler::new(surroundings.matcher).with(before, surroundings.cache.as_ref());
        let rules = Rules {
            names: names.0.clone(),
            data,
            reputations: Arc::clone(&surroundings.reputations),
            countries: surroundings.countries.clone(),
            ..Rules::group(signatures, compiler)
        };
        give_back();
        Built { rules, problems, silent, set_aside, warnings }
    }

    /// No rules.
    pub fn none() -> Rules {
        Rules::group(Vec::new(), Compiler::default())
    }

    fn group(signatures: Vec<Signature>, mut compiler: Compiler<'_>) -> Rules {
        let mut groups = Groups::new();
        let mut wanted = Wanted::default();
        for (number, signature) in signatures.iter().enumerate() {
            signature.wants(&mut wanted);
            groups.add(number as u32, signature);
        }
        let Groups {
            flows,
            packets,
            frames,
            arp_frames,
            faults,
            payloads,
            packet_payloads,
            buffers,
            with_buffer,
            with_number,
            sides,
            anomalies,
            ..
        } = groups;
        let mut of_buffer = |(transforms, patterns): (Transforms, PatternsBuilder)| BufferPatterns {
            transforms,
            patterns: patterns.build(&mut compiler),
        };
        let buffers =
            buffers.into_iter().map(|sets| sets.into_iter().map(&mut of_buffer).collect()).collect();
        let mut of_payloads =
            |entries: Vec<PayloadEntry>| PatternsBuilder::of_payloads(entries).build(&mut compiler);
        let of_packets = |entries: Vec<u32>| {
            let mut index = AddressIndex::default();
            for number in entries {
                if let Some(signature) = signatures.get(number as usize) {
                    index.add(number, signature.header.addresses());
                }
            }
            index
        };
        Rules {
            needs: Needs::of(&signatures),
            flows,
            packets: packets.map(|packets| packets.build(of_packets)),
            frames,
            arp_frames,
            faults,
            payloads: payloads.map(|both| both.map(|payloads| payloads.build(&mut of_payloads))),
            packet_payloads: packet_payloads.map(|payloads| payloads.build(&mut of_payloads)),
            buffers,
            with_buffer,
            with_number,
            sides,
            anomalies,
            wanted: Arc::new(wanted),
            names: Names::default(),
            data: Arc::default(),
            reputations: Arc::default(),
            countries: None,
            signatures,
            databases: compiler.finish(),
        }
    }

    /// Where what concerns a packet of a flow is: between these ports, to the server ([`Direction::Forward`]) or the
    /// client.
    pub(super) fn places(&self, traffic: Traffic, role: Direction, ports: [u16; 2]) -> Places {
        Places {
            role,
            packets: self.packets[traffic as usize].place(ports),
            payloads: self.payloads[traffic as usize][role.index()].place(ports),
        }
    }

    /// What some signature asks that is not known for nothing.
    pub fn needs(&self) -> Needs {
        self.needs
    }

    /// How many rules there are: one about both sides of a transaction is two signatures.
    pub fn len(&self) -> usize {
        self.signatures.iter().filter(|signature| signature.header.half != Some(Direction::Reverse)).count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.signatures.is_empty()
    }

    /// Which parts of transactions they look into.
    pub fn wanted(&self) -> Arc<Wanted> {
        Arc::clone(&self.wanted)
    }

    /// What a signature says about itself.
    pub fn description(&self, signature: u32) -> Option<&Description> {
        self.signatures.get(signature as usize).map(|signature| &*signature.description)
    }

    /// Whether a signature is about a protocol of applications.
    pub fn names_application(&self, signature: u32) -> bool {
        self.signatures
            .get(signature as usize)
            .is_some_and(|signature| !signature.header.applications.is_any())
    }

    /// Where each signature's packets must lie.
    pub fn bounds(&self) -> impl Iterator<Item = Bounds<'_>> {
        self.signatures.iter().map(|signature| Bounds {
            addresses: signature.header.addresses(),
            ports: signature.header.ports(),
            protocols: signature.header.carrier.protocols,
        })
    }
}

/// Suricata's `action-order`.
fn action_order(action: Action) -> u8 {
    match action {
        Action::Pass => 0,
        Action::Drop => 1,
        Action::Reject => 2,
        Action::Alert => 3,
        Action::Config => 4,
    }
}

struct Groups {
    flows: AddressIndex,
    packets: [PortIndexBuilder<u32>; Traffic::COUNT],
    frames: Vec<u32>,
    arp_frames: Vec<u32>,
    faults: Vec<u32>,
    payloads: [[PortIndexBuilder<PayloadEntry>; 2]; Traffic::COUNT],
    packet_payloads: [PortIndexBuilder<PayloadEntry>; 2],
    buffers: Vec<Vec<(Transforms, PatternsBuilder)>>,
    with_buffer: Vec<Vec<u32>>,
    with_number: Vec<Vec<u32>>,
    sides: HashMap<App, Vec<u32>>,
    anomalies: HashMap<Box<str>, Vec<u32>>,
}

impl Groups {
    fn new() -> Groups {
        let both = || [PortIndexBuilder::new(), PortIndexBuilder::new()];
        Groups {
            flows: AddressIndex::default(),
            packets: std::array::from_fn(|_| PortIndexBuilder::new()),
            frames: Vec::new(),
            arp_frames: Vec::new(),
            faults: Vec::new(),
            payloads: std::array::from_fn(|_| both()),
            packet_payloads: both(),
            buffers: (0..Buffer::COUNT).map(|_| Vec::new()).collect(),
            with_buffer: vec![Vec::new(); Buffer::COUNT],
            with_number: vec![Vec::new(); Number::COUNT],
            sides: HashMap::new(),
            anomalies: HashMap::new(),
        }
    }

    fn add(&mut self, number: u32, signature: &Signature) {
        match signature.kind {
            Kind::Flow => {
                self.flows.add(number, signature.header.addresses());
            }
            Kind::Frame => match signature.header.carrier.frames {
                Some(Frames::Arp) => self.arp_frames.push(number),
                _ => self.frames.push(number),
            },
            Kind::Packet => {
                if signature.packet.iter().any(|test| matches!(test, PacketTest::DecodeEvent(_))) {
                    self.faults.push(number);
                    return;
                }
                for traffic in traffic_of(signature) {
                    self.packets[traffic as usize].add(
                        number,
                        signature.header.ports(),
                        signature.header.is_bidirectional,
                    );
                }
            }
            Kind::Payload => self.add_payload(number, signature),
            Kind::Side => self.add_side(number, signature),
            Kind::Anomaly => {
                for anomaly in &signature.anomalies {
                    self.anomalies.entry(anomaly.name().into()).or_default().push(number);
                }
            }
        }
    }

    fn add_payload(&mut self, number: u32, signature: &Signature) {
        let lists = signature.payload.iter();
        let plain = lists.filter(|list| list.place == PacketPart::Payload && list.transforms.is_empty());
        let best = plain
            .filter_map(|list| list.matches.fast_pattern())
            .max_by_key(|pattern| (pattern.is_explicit, pattern.strength));
        let is_rare = best.as_ref().is_some_and(|best| best.bytes.len() >= RARE_PATTERN_BYTES);
        let is_of_any_port = is_rare || signature.header.is_bidirectional;
        let pattern = best.map(|pattern| (pattern.bytes.into(), pattern.is_nocase));
        let entry = PayloadEntry { signature: number, pattern };
        for direction in directions_of(signature) {
            for traffic in traffic_of(signature) {
                self.payloads[traffic as usize][direction.index()].add(
                    entry.clone(),
                    signature.header.ports(),
                    is_of_any_port,
                );
            }
            let is_of_packets = signature.header.carrier.is_stream == Some(false)
                || signature.header.flow.stream == Some(false);
            if is_of_packets && traffic_of(signature).any(|traffic| traffic == Traffic::Tcp) {
                self.packet_payloads[direction.index()].add(
                    entry.clone(),
                    signature.header.ports(),
                    is_of_any_port,
                );
            }
        }
    }

    fn add_side(&mut self, number: u32, signature: &Signature) {
        let sure = signature.lists.iter().filter(|list| !list.matches.holds_when_absent());
        let lists = sure.filter_map(|list| Some((list, list.matches.fast_pattern()?)));
        let best = lists.max_by_key(|(_, pattern)| (pattern.is_explicit, pattern.strength));
        if let Some((list, pattern)) = best {
            let sets = &mut self.buffers[list.place as usize];
            let at = match sets.iter().position(|(transforms, _)| *transforms == list.transforms) {
                Some(at) => at,
                None => {
                    sets.push((list.transforms.clone(), PatternsBuilder::default()));
                    sets.len() - 1
                }
            };
            sets[at].1.add(number, pattern.bytes, pattern.is_nocase);
            return;
        }
        let needed = signature.lists.iter().find(|list| !list.matches.holds_when_absent());
        if let Some(list) = needed {
            self.with_buffer[list.place as usize].push(number);
            return;
        }
        let of_numbers = signature.numbers.iter().map(|(number, _)| *number);
        if let Some(needed) = of_numbers.chain(signature.app.iter().filter_map(AppTest::needs)).next() {
            self.with_number[needed as usize].push(number);
            return;
        }
        let mut apps: Vec<App> = signature.header.applications.iter().collect();
        if apps.is_empty() {
            apps.push(App::Unknown);
        }
        for app in apps {
            self.sides.entry(app).or_default().push(number);
        }
    }
}

fn directions_of(signature: &Signature) -> impl Iterator<Item = Direction> + use<> {
    let direction = signature.header.flow.direction;
    [Direction::Forward, Direction::Reverse]
        .into_iter()
        .filter(move |other| direction.is_none_or(|want| want == *other))
}

impl Signature {
    /// Whether it may match a packet that carries another in a tunnel, of which nothing but its headers and its payload
    /// is looked at.
    fn may_be_about_carriers(&self) -> bool {
        let is_of_packets = matches!(self.kind, Kind::Flow | Kind::Frame | Kind::Packet | Kind::Payload);
        let protocols = self.header.carrier.protocols;
        is_of_packets
            && self.header.applications.is_any()
            && TUNNEL_PROTOCOLS.iter().any(|number| {
                (protocols.is_empty() || protocols.contains(number))
                    && self.packet.iter().all(|test| test.may_hold_for(*number))
            })
    }
}

/// What may carry a packet for which all tests of a signature hold.
fn traffic_of(signature: &Signature) -> impl Iterator<Item = Traffic> + use<> {
    let mut may = [false; Traffic::COUNT];
    let protocols = signature.header.carrier.protocols;
    for number in (0..=u8::MAX).filter(|number| protocols.is_empty() || protocols.contains(number)) {
        may[Traffic::of(number) as usize] |= signature.packet.iter().all(|test| test.may_hold_for(number));
    }
    [Traffic::Tcp, Traffic::Udp, Traffic::Other].into_iter().filter(move |traffic| may[*traffic as usize])
}
