//! Tries a dissector on bytes as the core would offer them. For tests only.
//!
//! In: what each side says, piece by piece. Out: what the dissector made of it. Offers again what was
//! not used, as the seam promises, and checks that no dissector uses more than it was offered.

use super::buffers::{Side, Sides, Wanted};
use super::config::{EveConfig, FileConfig, FileHash};
use super::expect::{Expectation, Expectations};
use super::file::Files;
use super::{Carrier, Context, Dissector, End, Event, First, Progress};
use weir_common::metadata::{Field, Metadata, Value};
use weir_common::net::Address;
use weir_common::net::Direction;
use weir_common::time::Timestamp;

/// One conversation.
pub(crate) struct Trial<D> {
    dissector: D,
    held: [Vec<u8>; 2],
    /// Bytes that are to pass without being offered.
    skip: [usize; 2],
    files: Files,
    pub(crate) metadata: Metadata,
    pub(crate) events: Vec<Event>,
    pub(crate) malformed: u64,
    /// What ended it: `Done` or `Broken`.
    pub(crate) end: Option<Progress>,
    /// Flows that were announced, in order.
    pub(crate) expected: Vec<Expectation>,
    time: Timestamp,
    carrier: Carrier,
    ends: [End; 2],
    to_handshake_end: bool,
    wanted: Wanted,
    eve: EveConfig,
    sides: Option<Box<Sides>>,
}

impl<D: Dissector> Trial<D> {
    pub(crate) fn new() -> Self {
        Trial {
            dissector: D::new(),
            held: [Vec::new(), Vec::new()],
            skip: [0; 2],
            files: Files::new(FileConfig {
                hashes: vec![FileHash::Md5, FileHash::Sha1, FileHash::Sha256],
                ..FileConfig::default()
            }),
            metadata: Metadata::default(),
            events: Vec::new(),
            malformed: 0,
            end: None,
            expected: Vec::new(),
            time: Timestamp::MIN,
            carrier: Carrier::Stream,
            ends: [(Address::v4([192, 0, 2, 1]), 40_000), (Address::v4([192, 0, 2, 2]), 40_001)],
            to_handshake_end: false,
            wanted: Wanted::all(),
            eve: EveConfig::default(),
            sides: None,
        }
    }

    /// Events tell this too.
    pub(crate) fn telling(self, eve: EveConfig) -> Trial<D> {
        Trial { eve, ..self }
    }

    /// What is said comes in datagrams, each whole.
    pub(crate) fn over_datagrams(self) -> Trial<D> {
        Trial { carrier: Carrier::Datagram, ..self }
    }

    /// The flow is between these ports.
    pub(crate) fn between(mut self, initiator_port: u16, responder_port: u16) -> Trial<D> {
        (self.ends[0].1, self.ends[1].1) = (initiator_port, responder_port);
        self
    }

    /// The dissector begins as one whose flow was announced with this note.
    pub(crate) fn announced(self, note: &[u8]) -> Trial<D> {
        Trial { dissector: D::expected(note).expect("the note is for this dissector"), ..self }
    }

    /// Somebody wants to know where the ciphertext begins.
    pub(crate) fn followed(self) -> Trial<D> {
        Trial { to_handshake_end: true, ..self }
    }

    /// What the dissector says about the end of the handshake, by direction.
    pub(crate) fn ciphertext_after(&self) -> [Option<u32>; 2] {
        [Direction::Forward, Direction::Reverse].map(|direction| self.dissector.ciphertext_after(direction))
    }

    /// One side says more.
    pub(crate) fn say(mut self, direction: Direction, bytes: &[u8]) -> Self {
        let skip = self.skip[direction.index()].min(bytes.len());
        self.skip[direction.index()] -= skip;
        let (passed, bytes) = (skip > 0, &bytes[skip..]);
        if passed && bytes.is_empty() && self.skip[direction.index()] > 0 {
            return self;
        }
        let mut held = std::mem::take(&mut self.held[direction.index()]);
        held.extend_from_slice(bytes);
        let used = self.with(direction, |dissector, context| dissector.inspect(&held, context));
        match (self.carrier, used) {
            (Carrier::Datagram, _) => held.clear(),
            (Carrier::Stream, Some(used)) if used <= held.len() => drop(held.drain(..used)),
            // More than was offered: the bytes behind pass unseen.
            (Carrier::Stream, Some(used)) => {
                self.skip[direction.index()] = used - held.len();
                held.clear();
            }
            (Carrier::Stream, None) => {}
        }
        self.held[direction.index()] = held;
        self
    }

    /// The initiator says more.
    pub(crate) fn client(self, bytes: &[u8]) -> Self {
        self.say(Direction::Forward, bytes)
    }

    /// The responder says more.
    pub(crate) fn server(self, bytes: &[u8]) -> Self {
        self.say(Direction::Reverse, bytes)
    }

    /// Bytes were never seen; what was held before them goes with them.
    pub(crate) fn gap(mut self, direction: Direction, missing: u64) -> Self {
        self.held[direction.index()].clear();
        self.with(direction, |dissector, context| dissector.gap(missing, context));
        self
    }

    /// The flow ends.
    pub(crate) fn close(mut self) -> Self {
        if self.end.is_none() {
            self.with(Direction::Forward, |dissector, context| {
                dissector.close(context);
                Progress::Used(0)
            });
        }
        self
    }

    fn with(
        &mut self,
        direction: Direction,
        act: impl FnOnce(&mut D, &mut Context<'_>) -> Progress,
    ) -> Option<usize> {
        if self.end.is_some() {
            return None;
        }
        self.time = Timestamp(self.time.0 + 1);
        let mut expectations = Expectations::default();
        let mut context = Context {
            time: self.time,
            direction,
            carrier: self.carrier,
            app: D::APP,
            ends: self.ends,
            files: &self.files,
            expectations: &mut expectations,
            found_inside: None,
            wanted: Some(&self.wanted),
            eve: self.eve,
            sides: &mut self.sides,
            metadata: &mut self.metadata,
            events: Some(&mut self.events),
            malformed: &mut self.malformed,
            to_handshake_end: self.to_handshake_end,
        };
        let progress = act(&mut self.dissector, &mut context);
        self.expected.extend(expectations.drain());
        match progress {
            Progress::Used(used) => Some(used),
            // Where another protocol begins, this one ends.
            end => {
                self.end = Some(end);
                None
            }
        }
    }

    /// What was learned, one line each: metadata, then the bodies of the events.
    pub(crate) fn learned(&self) -> String {
        let mut text = String::new();
        let mut values: Vec<_> = self.metadata.iter().collect();
        values.sort_by_key(|(field, _)| *field);
        for (field, value) in values {
            let value = match value {
                Value::Text(value) => value.to_string(),
                Value::Number(value) => value.to_string(),
                Value::TextList(values) => values.join(" "),
            };
            text += &format!("{} {value}\n", field.key());
        }
        for event in &self.events {
            text += &format!("{} {}\n", event.kind, String::from_utf8_lossy(&event.body));
        }
        text
    }

    /// What signatures would look into, one line per part: who, transaction, keyword, bytes.
    pub(crate) fn told(&mut self) -> String {
        let mut text = String::new();
        for side in self.sides.iter_mut().flat_map(|sides| sides.iter_mut()) {
            let who = if side.direction == Direction::Forward { "client" } else { "server" };
            if side.frame.is_some() {
                continue;
            }
            for (buffer, bytes) in side.values() {
                let (number, keyword) = (side.transaction, buffer.keyword());
                text += &format!("{who} {number} {keyword} {}\n", bytes.escape_ascii());
            }
            for (number, value) in side.numbers() {
                text += &format!("{who} {} {number:?} {value}\n", side.transaction);
            }
        }
        text
    }

    /// The dissector, to be asked what it knows.
    pub(crate) fn dissector(&self) -> &D {
        &self.dissector
    }

    /// Signatures look into no frames.
    pub(crate) fn without_frames(mut self) -> Self {
        self.wanted = Wanted::all_but_frames();
        self
    }

    /// What signatures are told to be odd, one line each: who, event.
    pub(crate) fn odd(&mut self) -> String {
        let sides = self.sides.iter_mut().flat_map(|sides| sides.iter_mut());
        let line = |side: &mut Side| {
            let who = if side.direction == Direction::Forward { "client" } else { "server" };
            side.anomalies().iter().map(|event| format!("{who} {event}\n")).collect::<String>()
        };
        sides.map(line).collect()
    }

    /// The frames that signatures would look into, one line each: who, keyword, bytes, and what is missing.
    pub(crate) fn framed(&mut self) -> String {
        let mut text = String::new();
        for side in self.sides.iter_mut().flat_map(|sides| sides.iter_mut()) {
            let who = if side.direction == Direction::Forward { "client" } else { "server" };
            let Some(frame) = side.frame else { continue };
            for (buffer, bytes) in side.values() {
                let missing = frame.length.saturating_sub(bytes.len() as u64);
                let (keyword, bytes) = (buffer.keyword(), bytes.escape_ascii());
                text += &format!("{who} {keyword} {bytes}");
                text += &if missing > 0 { format!(" +{missing}\n") } else { "\n".to_string() };
            }
        }
        text
    }

    /// The text of a field, empty without one.
    pub(crate) fn text(&self, field: Field) -> &str {
        self.metadata.text(field).unwrap_or_default()
    }

    /// The body of the only event.
    pub(crate) fn event(&self) -> serde_json::Value {
        assert_eq!(self.events.len(), 1, "one event");
        serde_json::from_slice(&self.events[0].body).expect("an event is JSON")
    }
}

/// Datagrams, each cut short anywhere and with every byte changed: nothing may panic.
pub(crate) fn survives_damaged_datagrams<D: Dissector>(datagrams: &[(Direction, &[u8])]) {
    let probe = |direction, bytes: &[u8]| D::probe(&First::of(Carrier::Datagram, direction, bytes));
    let say = |damaged_at: usize, damaged: &[u8]| {
        let mut trial = Trial::<D>::new().over_datagrams();
        for (at, (direction, bytes)) in datagrams.iter().enumerate() {
            trial = trial.say(*direction, if at == damaged_at { damaged } else { bytes });
        }
        trial.close();
    };
    for (at, (direction, bytes)) in datagrams.iter().enumerate() {
        for cut in 0..bytes.len() {
            probe(*direction, &bytes[..cut]);
            say(at, &bytes[..cut]);
        }
        let mut damaged = bytes.to_vec();
        for place in 0..damaged.len() {
            let whole = damaged[place];
            for change in [0x01, 0x80, 0xff, whole] {
                damaged[place] = whole ^ change;
                probe(*direction, &damaged);
                say(at, &damaged);
            }
            damaged[place] = whole;
        }
    }
}

/// Every prefix of both sides, and every byte of them changed: nothing may panic.
pub(crate) fn survives_damage<D: Dissector>(client: &[u8], server: &[u8]) {
    for cut in 0..client.len().max(server.len()) {
        let (client, server) = (client.get(..cut).unwrap_or(client), server.get(..cut).unwrap_or(server));
        D::probe(&First::of(Carrier::Stream, Direction::Forward, client));
        D::probe(&First::of(Carrier::Stream, Direction::Reverse, server));
        Trial::<D>::new().client(client).server(server).close();
        Trial::<D>::new()
            .client(client)
            .gap(Direction::Forward, 7)
            .client(client)
            .server(server)
            .gap(Direction::Reverse, cut as u64)
            .server(server)
            .close();
    }
    let (mut damaged_client, mut damaged_server) = (client.to_vec(), server.to_vec());
    for (damaged, other, is_client) in
        [(&mut damaged_client, server, true), (&mut damaged_server, client, false)]
    {
        for at in 0..damaged.len() {
            let whole = damaged[at];
            for change in [0x01, 0x80, 0xff, whole] {
                damaged[at] = whole ^ change;
                D::probe(&First::of(Carrier::Stream, Direction::Forward, damaged));
                let trial = Trial::<D>::new();
                if is_client {
                    trial.client(damaged).server(other)
                } else {
                    trial.client(other).server(damaged)
                }
                .close();
            }
            damaged[at] = whole;
        }
    }
}

/// Wherever the segments are cut, the same is learned.
pub(crate) fn cuts_do_not_matter<D: Dissector>(client: &[u8], server: &[u8]) {
    let whole = Trial::<D>::new().client(client).server(server).close();
    for cut in 0..=client.len() {
        let (first, second) = client.split_at(cut);
        let trial = Trial::<D>::new().client(first).client(second).server(server).close();
        assert_eq!(trial.learned(), whole.learned(), "client cut at {cut}");
    }
    for cut in 0..=server.len() {
        let (first, second) = server.split_at(cut);
        let trial = Trial::<D>::new().client(client).server(first).server(second).close();
        assert_eq!(trial.learned(), whole.learned(), "server cut at {cut}");
    }
    let trial = client.iter().fold(Trial::<D>::new(), |trial, byte| trial.client(&[*byte]));
    let trial = server.iter().fold(trial, |trial, byte| trial.server(&[*byte])).close();
    assert_eq!(trial.learned(), whole.learned(), "byte by byte");
}
