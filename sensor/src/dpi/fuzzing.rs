//! What fuzz targets (`sensor/fuzz`) and tests need of inspection's private parts.
//!
//! In: bytes of any kind, read as a script of who says what. Out: a panic where a dissector, a recogniser or the
//! stream breaks what the seam promises. Nothing of it is in a program that users run (feature `fuzzing`, or a
//! test build).

use super::config::{FileConfig, FileHash};
use super::expect::Expectations;
use super::parser::{Candidates, Found, Parser, probe};
use super::stream::{Pool, Reader, Stream, Take};
use super::{Carrier, Context, End, Event, Files, First, Glimpse, Probe, Progress};
use crate::counters::DpiCounters;
use weir_common::app::App;
use weir_common::metadata::{Field, LIST_BYTES_MAX, LIST_VALUES_MAX, Metadata, Value};
use weir_common::net::{Address, Direction};
use weir_common::time::Timestamp;

/// Most bytes of one event's body that anything a flow says can be worth.
const EVENT_BYTES_MAX: usize = 4 << 20;
/// Most that a stream holds for a dissector, as `dpi.stream_bytes_max` would be.
const HELD_BYTES_MAX: usize = 64 << 10;

/// A script: a header of seven bytes, then pieces. Zeros when the bytes have run out.
///
/// Header: choices (bit 0 datagrams, 1 no events, 2 handshake followed, 3 no files, 4 begun by its note), ports of
/// both ends, a spare byte. Piece: kind and direction, length (two bytes, little-endian), that many bytes.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// A script that says these pieces; what makes seeds writes it.
pub fn script(carrier: Carrier, ports: [u16; 2], pieces: &[(Direction, &[u8])]) -> Vec<u8> {
    let mut script = vec![u8::from(carrier == Carrier::Datagram)];
    ports.iter().for_each(|port| script.extend_from_slice(&port.to_le_bytes()));
    script.extend_from_slice(&[0, 0]);
    for (direction, bytes) in pieces {
        let bytes = bytes.get(..usize::from(u16::MAX)).unwrap_or(bytes);
        script.push(direction.index() as u8);
        script.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
        script.extend_from_slice(bytes);
    }
    script
}

/// Which of the dissectors would take a direction that begins so.
pub fn takers(carrier: Carrier, direction: Direction, ports: [u16; 2], bytes: &[u8]) -> Vec<App> {
    let first = First::of(carrier, direction, bytes)
        .between(ports[direction.index()], ports[direction.flip().index()]);
    let takes =
        |app: &App| Parser::of(*app, &first, None).is_some_and(|(_, said)| !matches!(said, Probe::NotForUs));
    super::dissected().filter(takes).collect()
}

/// Whether anybody recognises a flow by what its initiator says first.
pub fn is_recognised(carrier: Carrier, ports: [u16; 2], bytes: &[u8]) -> bool {
    let first = First::of(carrier, Direction::Forward, bytes).between(ports[0], ports[1]);
    !matches!(probe(&mut { Candidates::ALL }, &first), Found::Nobody)
}

/// One flow, read by one dissector as the core would have it read.
struct Flow {
    parser: Parser,
    ends: [End; 2],
    carrier: Carrier,
    held: [Vec<u8>; 2],
    skip: [usize; 2],
    has_events: bool,
    to_handshake_end: bool,
    files: Files,
    metadata: Metadata,
    events: Vec<Event>,
    malformed: u64,
    expectations: Expectations,
    time: u64,
    is_over: bool,
}

impl Flow {
    fn with(
        &mut self,
        direction: Direction,
        act: impl FnOnce(&mut Parser, &mut Context<'_>) -> Progress,
    ) -> Option<usize> {
        if self.is_over {
            return None;
        }
        self.time += 1;
        let mut context = Context {
            app: self.parser.app(),
            time: Timestamp(self.time),
            direction,
            carrier: self.carrier,
            ends: self.ends,
            metadata: &mut self.metadata,
            events: self.has_events.then_some(&mut self.events),
            malformed: &mut self.malformed,
            to_handshake_end: self.to_handshake_end,
            files: &self.files,
            expectations: &mut self.expectations,
            found_inside: None,
            wanted: None,
            eve: crate::dpi::config::EveConfig::default(),
            sides: &mut None,
        };
        let progress = act(&mut self.parser, &mut context);
        if let Progress::Broken(event) = progress {
            assert!(is_name(event), "an event's name is lower case with underscores: {event:?}");
            self.parser.close(&mut context);
        }
        self.check();
        match progress {
            Progress::Used(used) => Some(used),
            Progress::Switch(_) | Progress::Done | Progress::Broken(_) => {
                self.is_over = true;
                for direction in [Direction::Forward, Direction::Reverse] {
                    self.parser.ciphertext_after(direction);
                }
                None
            }
        }
    }

    fn say(&mut self, direction: Direction, bytes: &[u8]) {
        let at = direction.index();
        if self.carrier == Carrier::Datagram {
            self.with(direction, |parser, context| parser.inspect(bytes, context));
            return;
        }
        let skipped = self.skip[at].min(bytes.len());
        self.skip[at] -= skipped;
        let (_, bytes) = bytes.split_at(skipped);
        if bytes.is_empty() && (skipped == 0 || self.skip[at] > 0) {
            return;
        }
        let mut held = std::mem::take(&mut self.held[at]);
        held.extend_from_slice(bytes);
        match self.with(direction, |parser, context| parser.inspect(&held, context)) {
            Some(used) if used <= held.len() => drop(held.drain(..used)),
            Some(used) => {
                self.skip[at] = used - held.len();
                held.clear();
            }
            None => held.clear(),
        }
        if held.len() > HELD_BYTES_MAX {
            let missing = held.len() as u64;
            held.clear();
            self.lose(direction, missing);
        }
        self.held[at] = held;
    }

    fn lose(&mut self, direction: Direction, missing: u64) {
        if self.carrier == Carrier::Datagram || missing == 0 {
            return;
        }
        let at = direction.index();
        // Holes in what is skipped are not told.
        let skipped = self.skip[at].min(usize::try_from(missing).unwrap_or(usize::MAX));
        self.skip[at] -= skipped;
        let missing = missing - skipped as u64 + self.held[at].len() as u64;
        self.held[at].clear();
        if missing > 0
            && let Some(used) = self.with(direction, |parser, context| parser.gap(missing, context))
        {
            self.skip[at] = self.skip[at].saturating_add(used);
        }
    }

    fn close(&mut self) {
        for direction in [Direction::Forward, Direction::Reverse] {
            let skip = std::mem::take(&mut self.skip[direction.index()]);
            if skip > 0 {
                self.with(direction, |parser, context| parser.gap(skip as u64, context));
            }
        }
        self.with(Direction::Forward, |parser, context| {
            parser.close(context);
            Progress::Done
        });
    }

    /// What holds at any time.
    fn check(&mut self) {
        for event in self.events.drain(..) {
            assert!(event.body.len() <= EVENT_BYTES_MAX, "an event of {} bytes", event.body.len());
            let read = |text: &[u8]| -> serde_json::Value {
                serde_json::from_slice(text)
                    .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)))
            };
            assert!(read(&event.body).is_object(), "an event's body is an object");
            read(&[b"{", &event.beside[..], b"}"].concat());
        }
        assert!(self.metadata.iter().count() <= Field::ALL.len());
        for (field, value) in self.metadata.iter() {
            let fits = |text: &str| text.len() <= field.text_bytes_max();
            let is_bounded = match value {
                Value::Number(_) => true,
                Value::Text(text) => fits(text),
                Value::TextList(list) => {
                    let bytes: usize = list.iter().map(|text| text.len()).sum();
                    list.len() <= LIST_VALUES_MAX
                        && bytes <= LIST_BYTES_MAX
                        && list.iter().all(|text| fits(text))
                }
            };
            assert!(is_bounded, "{field:?} is longer than metadata may be");
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-'))
}

/// Runs a script through the dissector of an application: probed, then read whether or not it wants the bytes.
pub fn dissector(app: App, data: &[u8]) {
    let mut script = Script(data);
    let choices = script.u8();
    let carrier = if choices & 1 == 1 { Carrier::Datagram } else { Carrier::Stream };
    let ports = [script.u16(), script.u16()];
    script.take(2);
    let note = (choices & 16 != 0).then(|| script.take(16));
    let pieces = script.0;
    probe_all(carrier, ports, pieces, |first| {
        Parser::of(app, first, None).map_or(Probe::NotForUs, |(_, said)| said)
    });
    let Some((parser, _)) = Parser::of(app, &First::of(carrier, Direction::Forward, &[]), note) else {
        return;
    };
    let hashes = vec![FileHash::Md5, FileHash::Sha1, FileHash::Sha256];
    let mut flow = Flow {
        parser,
        ends: [(Address::v4([192, 0, 2, 1]), ports[0]), (Address::v4([192, 0, 2, 2]), ports[1])],
        carrier,
        held: [Vec::new(), Vec::new()],
        skip: [0; 2],
        has_events: choices & 2 == 0,
        to_handshake_end: choices & 4 != 0,
        files: Files::new(FileConfig { enabled: choices & 8 == 0, hashes, ..FileConfig::default() }),
        metadata: Metadata::default(),
        events: Vec::new(),
        malformed: 0,
        expectations: Expectations::default(),
        time: 0,
        is_over: false,
    };
    let mut script = Script(pieces);
    while !script.0.is_empty() && !flow.is_over {
        let kind = script.u8();
        let direction = if kind & 1 == 0 { Direction::Forward } else { Direction::Reverse };
        let length = script.u16();
        match kind >> 5 {
            // Lost, few or many bytes.
            6 => flow.lose(direction, length.into()),
            7 => flow.lose(direction, u64::from(length) << (kind >> 1 & 15)),
            _ => flow.say(direction, script.take(length.into())),
        }
    }
    flow.close();
}

/// Asks about every piece of a script, datagrams with what went before them, streams as they grow.
fn probe_all(carrier: Carrier, ports: [u16; 2], pieces: &[u8], ask: impl Fn(&First<'_>) -> Probe) {
    let mut script = Script(pieces);
    let (mut seen, mut held, mut said) = ([Glimpse::default(); 2], [Vec::new(), Vec::new()], [None; 2]);
    for number in 0..=8 {
        let kind = script.u8();
        let at = usize::from(kind & 1);
        let length = script.u16();
        let piece = script.take(length.into());
        if piece.is_empty() {
            continue;
        }
        if carrier == Carrier::Datagram {
            held[at].clear();
        }
        held[at].extend_from_slice(piece);
        let direction = if at == 0 { Direction::Forward } else { Direction::Reverse };
        let first = First {
            before: seen[at],
            other: seen[1 - at],
            number,
            ..First::of(carrier, direction, &held[at]).between(ports[at], ports[1 - at])
        };
        let now = ask(&first);
        // Whoever says no to a stream's beginning is not asked again, so that no longer beginning may be its own
        // for certain: where a stream is cut must not decide what it is.
        if carrier == Carrier::Stream {
            let no_before = matches!(said[at], Some(Probe::NotForUs));
            assert!(!(no_before && now == Probe::Certain), "certain of what it had said no to");
            said[at] = Some(now);
        }
        if carrier == Carrier::Datagram || seen[at].is_empty() {
            seen[at] = Glimpse::of(&held[at]);
        }
    }
}

/// Runs a script through all dissectors' and recognisers' probes, together.
pub fn recognisers(data: &[u8]) {
    let mut script = Script(data);
    let carrier = if script.u8() & 1 == 1 { Carrier::Datagram } else { Carrier::Stream };
    let ports = [script.u16(), script.u16()];
    script.take(2);
    let pieces = script.0;
    for recogniser in super::recognise::RECOGNISERS {
        probe_all(carrier, ports, pieces, |first| {
            let starts = first.bytes.first().is_some_and(|byte| recogniser.starts.has(carrier, *byte));
            if starts { (recogniser.probe)(first) } else { Probe::NotForUs }
        });
    }
    probe_all(carrier, ports, pieces, |first| match probe(&mut { Candidates::ALL }, first) {
        Found::Certain(_) | Found::Likely(..) => Probe::Likely,
        Found::Nobody => Probe::Unsure,
    });
}

/// Reads a stream and compares it with what was sent.
struct Compare<'a> {
    sent: &'a [u8],
    at: u64,
    /// Bytes used at a time; the rest of an offer is left.
    appetite: usize,
    /// Bytes skipped after each offer that is used whole.
    skip: usize,
    counters: DpiCounters,
}

impl Reader for Compare<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Take {
        let at = usize::try_from(self.at).unwrap_or(usize::MAX);
        let sent = self.sent.get(at..).and_then(|rest| rest.get(..bytes.len()));
        assert_eq!(sent, Some(bytes), "bytes are offered as they were sent, at {at}");
        let used = bytes.len().min(self.appetite);
        let skip = if used == bytes.len() && used > 0 { self.skip } else { 0 };
        self.at += (used + skip) as u64;
        Take::Used(used + skip)
    }

    fn gap(&mut self, missing: u64) -> Take {
        assert!(missing > 0, "a gap of nothing");
        // The end of a skip that reaches beyond the end is told as a gap, and was counted with the skip.
        self.at = self.at.max((self.at + missing).min(self.sent.len() as u64));
        Take::Used(0)
    }

    fn counters(&mut self) -> &mut DpiCounters {
        &mut self.counters
    }
}

/// Segments of one stream in any order, again and overlapping, with acknowledgements and losses: what is read is what
/// was sent, each byte at its place, and memory stays bounded.
pub fn stream(data: &[u8]) {
    const HELD_MAX: usize = 4 << 10;
    let mut script = Script(data);
    let base = u32::from(script.u16()) << 16 | 0xffff;
    let choices = script.u8();
    let appetite = if choices & 1 == 1 { usize::from(choices >> 1) } else { usize::MAX };
    let skip = if choices & 0xc0 == 0xc0 { usize::from(script.u8()) } else { 0 };
    let sent: Vec<u8> = (0..8192u32).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 21) as u8).collect();
    let (mut stream, mut pool) = (Stream::default(), Pool::new(HELD_MAX, HELD_MAX as u64));
    // The first segment begins the stream; others may not lie before it, or the place would have to be known.
    let mut reader = Compare { sent: &sent, at: 0, appetite, skip, counters: DpiCounters::default() };
    let (mut is_begun, mut limit) = (false, HELD_MAX + 1024);
    limit += SEGMENTS_MAX * 64;
    for _ in 0..SEGMENTS_MAX {
        if script.0.is_empty() {
            break;
        }
        let (kind, at, length) = (script.u8(), usize::from(script.u16()) % sent.len(), script.u8());
        let at = if is_begun { at } else { 0 };
        let sequence = base.wrapping_add(at as u32);
        let outcome = match kind & 3 {
            3 if is_begun => stream.acknowledge(sequence, &mut pool, &mut reader),
            _ => {
                let end = (at + 1 + usize::from(length) * 4).min(sent.len());
                is_begun = true;
                stream.segment(sequence, sent.get(at..end).unwrap_or_default(), &mut pool, &mut reader)
            }
        };
        assert!(outcome.is_continue());
        assert!(pool.total_bytes() <= limit as u64, "{} bytes are held", pool.total_bytes());
    }
    assert!(stream.flush(&mut pool, &mut reader).is_continue());
    stream.release(&mut pool);
    assert_eq!(pool.total_bytes(), 0, "what was held is given back");
}

/// Most segments of one script.
const SEGMENTS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_dissector_has_its_fuzz_target() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        for app in super::super::dissected() {
            let name = format!("dpi_{}", app.name().replace('-', "_"));
            let is_there = fuzz.join("fuzz_targets").join(format!("{name}.rs")).is_file();
            assert!(
                is_there && manifest.contains(&format!("name = \"{name}\"")),
                "no target {name} in sensor/fuzz: run `cargo xtask fuzz-targets`"
            );
        }
    }

    #[test]
    fn the_drivers_read_what_seeds_say() {
        let hello: &[u8] = b"SSH-2.0-OpenSSH_9.6\r\n";
        let pieces = [(Direction::Forward, hello), (Direction::Reverse, &hello[..7])];
        let seed = script(Carrier::Stream, [40_000, 22], &pieces);
        for app in super::super::dissected() {
            dissector(app, &seed);
        }
        let request = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(5000));
        dissector(
            App::Http,
            &script(Carrier::Stream, [40_000, 80], &[(Direction::Forward, request.as_bytes()); 3]),
        );
        recognisers(&seed);
        assert_eq!(takers(Carrier::Stream, Direction::Forward, [1, 22], hello), [App::Ssh]);
        for length in 0..64u8 {
            stream(&(0..=255).map(|byte: u8| byte.wrapping_mul(length)).collect::<Vec<_>>());
        }
    }
}
