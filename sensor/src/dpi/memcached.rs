//! memcached: the text protocol (memcached's doc/protocol.txt) over TCP and UDP, and the binary protocol.
//!
//! In: both directions of a stream, or datagrams. Out: one event per command with its key; the commands in
//! metadata. Values pass unseen; answers are not matched to commands.

use super::scan::{self, Scan, decimal, line, word};
use super::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Longest line that is waited for; a key has at most 250 bytes, and a command many keys.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a frame's header over UDP.
const FRAME_BYTES: usize = 8;
/// Bytes of a binary header.
const HEADER_BYTES: usize = 24;
/// Longest key.
const KEY_BYTES_MAX: usize = 250;
const PORT: u16 = 11211;

const BINARY: &[&str] = &[
    "get",
    "set",
    "add",
    "replace",
    "delete",
    "increment",
    "decrement",
    "quit",
    "flush",
    "getq",
    "noop",
    "version",
    "getk",
    "getkq",
    "append",
    "prepend",
    "stat",
    "setq",
    "addq",
    "replaceq",
    "deleteq",
    "incrementq",
    "decrementq",
    "quitq",
    "flushq",
    "appendq",
    "prependq",
    "verbosity",
    "touch",
    "gat",
    "gatq",
    "31",
    "sasl_list",
    "sasl_auth",
    "sasl_step",
];

/// The dissector of one flow.
#[derive(Debug, Default)]
pub(super) struct Memcached {
    transactions: u64,
    is_lost: [bool; 2],
}

impl Dissector for Memcached {
    const APP: App = App::Memcached;

    const STARTS: Starts = Starts::stream(b"gsarpcdivqtfmlVSENHM\x80\x81").or(Starts::DATAGRAM);

    fn probe(first: &First<'_>) -> Probe {
        let mut bytes = first.bytes;
        if first.is_datagram() {
            let mut scan = Scan::new(bytes);
            let frame = (scan.be16(), scan.be16(), scan.be16(), scan.be16());
            let (Some(_), Some(number), Some(count), Some(0)) = frame else { return Probe::NotForUs };
            if number >= count || count > 1024 {
                return Probe::NotForUs;
            }
            bytes = scan.rest();
        }
        let Some(start) = bytes.first() else { return Probe::NotForUs };
        if matches!(start, 0x80 | 0x81) {
            return probe_binary(bytes, first);
        }
        let Some((text, _)) = line(bytes) else {
            let is_possible = first.is_stream()
                && bytes.len() < 256
                && scan::is_text(bytes.trim_ascii_end())
                && first.has_port(PORT);
            return if is_possible { Probe::Unsure } else { Probe::NotForUs };
        };
        if !scan::is_text(text) {
            return Probe::NotForUs;
        }
        match (shape(text), first.has_port(PORT)) {
            (Some(true), _) => Probe::Certain,
            (Some(false), true) => Probe::Likely,
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Memcached::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        if context.carrier == Carrier::Datagram {
            if let Some(body) = bytes.get(FRAME_BYTES..) {
                self.messages(body, context);
            }
            return Progress::Used(bytes.len());
        }
        Progress::Used(self.messages(bytes, context))
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        if self.is_lost == [true; 2] { Progress::Done } else { Progress::Used(0) }
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

/// Whether a line is a command or an answer; whether one that only memcached has.
fn shape(text: &[u8]) -> Option<bool> {
    let (name, arguments) = word(text);
    let mut fields = arguments.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let is_key = |key: Option<&[u8]>| key.is_some_and(|key| key.len() <= KEY_BYTES_MAX);
    match name {
        b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => {
            let key = fields.next();
            let is_right = is_key(key) && (0..3).all(|_| fields.next().and_then(decimal).is_some());
            is_right.then_some(true)
        }
        b"VALUE" => (is_key(fields.next()) && (0..2).all(|_| fields.next().and_then(decimal).is_some()))
            .then_some(true),
        b"STAT" => {
            (fields.next().is_some() && fields.next().is_some()).then(|| text.starts_with(b"STAT pid "))
        }
        b"stats" => Some(false),
        b"get" | b"gets" | b"delete" | b"touch" | b"gat" => is_key(fields.next()).then_some(false),
        b"incr" | b"decr" => {
            (is_key(fields.next()) && fields.next().and_then(decimal).is_some()).then_some(false)
        }
        // The meta commands (since 1.5.16) and what answers them.
        b"mg" | b"md" | b"ma" | b"me" => is_key(fields.next()).then_some(false),
        b"ms" => (is_key(fields.next()) && fields.next().and_then(decimal).is_some()).then_some(false),
        b"VA" => fields.next().and_then(decimal).map(|_| false),
        b"mn" | b"MN" | b"HD" | b"EN" | b"NF" | b"NS" | b"EX" => Some(false),
        b"version" | b"flush_all" | b"verbosity" | b"quit" | b"STORED" | b"END" | b"NOT_FOUND"
        | b"NOT_STORED" | b"VERSION" | b"ERROR" => Some(false),
        _ => None,
    }
}

fn probe_binary(bytes: &[u8], first: &First<'_>) -> Probe {
    let Some(header) = bytes.get(..HEADER_BYTES) else {
        return if first.is_stream() && first.has_port(PORT) { Probe::Unsure } else { Probe::NotForUs };
    };
    let mut scan = Scan::new(header);
    let (Some(magic), Some(code), Some(key), Some(extras), Some(0)) =
        (scan.u8(), scan.u8(), scan.be16(), scan.u8(), scan.u8())
    else {
        return Probe::NotForUs;
    };
    let (Some(status), Some(body)) = (scan.be16(), scan.be32()) else { return Probe::NotForUs };
    let is_right = usize::from(code) < BINARY.len()
        && usize::from(key) <= KEY_BYTES_MAX
        && u32::from(key) + u32::from(extras) <= body
        && body < 64 << 20
        && matches!(extras, 0 | 4 | 8 | 20)
        && (magic == 0x80 || status <= 0x86);
    let is_exact = bytes.len() == HEADER_BYTES + body as usize && body > 0;
    match (is_right, is_exact, first.has_port(PORT)) {
        (true, _, true) => Probe::Certain,
        (true, true, false) if key > 0 && magic == 0x80 => Probe::Likely,
        _ => Probe::NotForUs,
    }
}

impl Memcached {
    /// Reads messages; says how much of the bytes is done with, which may be more than there are.
    fn messages(&mut self, bytes: &[u8], context: &mut Context<'_>) -> usize {
        let index = context.direction.index();
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if self.is_lost[index] {
                return bytes.len();
            }
            let more = if matches!(rest.first(), Some(0x80 | 0x81)) {
                self.binary(rest, context)
            } else {
                self.text(rest, context)
            };
            match more {
                Some(0) => break,
                Some(more) => used = used.saturating_add(more),
                None => {
                    *context.malformed += 1;
                    self.is_lost[index] = true;
                }
            }
        }
        used
    }

    fn binary(&mut self, rest: &[u8], context: &mut Context<'_>) -> Option<usize> {
        let Some(header) = rest.get(..HEADER_BYTES) else { return Some(0) };
        let mut scan = Scan::new(header);
        let (magic, code, key, extras) =
            (scan.u8()?, scan.u8()?, usize::from(scan.be16()?), usize::from(scan.u8()?));
        scan.u8()?;
        scan.be16()?;
        let body = scan.be32()? as usize;
        let at = HEADER_BYTES + extras;
        if key > KEY_BYTES_MAX || extras + key > body {
            return None;
        }
        let Some(key) = rest.get(at..at + key) else { return Some(0) };
        if magic == 0x80 {
            self.command(
                BINARY.get(usize::from(code)).copied().unwrap_or("unknown").as_bytes(),
                key,
                context,
            );
        }
        Some(HEADER_BYTES + body)
    }

    fn text(&mut self, rest: &[u8], context: &mut Context<'_>) -> Option<usize> {
        let Some((text, used)) = line(rest) else { return (rest.len() < LINE_BYTES_MAX).then_some(0) };
        let (name, arguments) = word(text);
        let mut fields = arguments.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
        let key = fields.next().unwrap_or_default();
        let mut size_of =
            |number: usize| fields.nth(number).and_then(decimal).and_then(|size| usize::try_from(size).ok());
        match name {
            b"VALUE" => return Some(used.saturating_add(size_of(1)?).saturating_add(2)),
            b"VA" => {
                return Some(used.saturating_add(usize::try_from(decimal(key)?).ok()?).saturating_add(2));
            }
            b"STORED" | b"END" | b"STAT" | b"ERROR" | b"NOT_FOUND" | b"NOT_STORED" | b"EXISTS"
            | b"DELETED" | b"OK" | b"TOUCHED" | b"CLIENT_ERROR" | b"SERVER_ERROR" => {
                return Some(used);
            }
            b"VERSION" => context.metadata.set_bytes(Field::ServerSoftware, text),
            _ if name.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'_') && !name.is_empty() => {
                self.command(name, key, context);
                if matches!(name, b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas") {
                    return Some(used.saturating_add(size_of(2)?).saturating_add(2));
                }
                if name == b"ms" {
                    return Some(used.saturating_add(size_of(0)?).saturating_add(2));
                }
            }
            // The value of an increment, or something else that is said in a line.
            _ if scan::is_text(text) => {}
            _ => return None,
        }
        Some(used)
    }

    fn command(&mut self, name: &[u8], key: &[u8], context: &mut Context<'_>) {
        if context.direction == Direction::Reverse {
            return;
        }
        context.metadata.add(Field::Command, &String::from_utf8_lossy(name));
        let id = self.transactions;
        self.transactions += 1;
        context.tell(Direction::Forward, Some(id), |object| {
            object.bytes("command", name);
            if !key.is_empty() {
                object.bytes("key", key);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage, survives_damaged_datagrams};

    const CLIENT: &[u8] = b"set k 0 0 5\r\nget x\r\nget k\r\n";
    const SERVER: &[u8] = b"STORED\r\nVALUE k 0 5\r\nhello\r\nEND\r\n";

    #[test]
    fn commands_are_told_and_values_pass() {
        let trial = Trial::<Memcached>::new().client(CLIENT).server(SERVER).close();
        let learned = trial.learned();
        assert_eq!(
            learned,
            "command set get\nmemcached {\"command\":\"set\",\"key\":\"k\"}\nmemcached {\"command\":\"get\",\"key\":\"k\"}\n"
        );
        cuts_do_not_matter::<Memcached>(CLIENT, SERVER);
        survives_damage::<Memcached>(CLIENT, SERVER);
    }

    #[test]
    fn binary_and_datagrams_are_the_same() {
        let binary = b"\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\0\0\0\0\0\0\0\0\0\0\0\0k";
        assert!(
            Trial::<Memcached>::new()
                .client(binary)
                .learned()
                .contains("{\"command\":\"get\",\"key\":\"k\"}")
        );
        let datagram = b"\0\x01\0\0\0\x01\0\0stats\r\n";
        let probe = |port| {
            Memcached::probe(&First::of(Carrier::Datagram, Direction::Forward, datagram).between(4000, port))
        };
        assert_eq!((probe(PORT), probe(9)), (Probe::Likely, Probe::NotForUs));
        survives_damaged_datagrams::<Memcached>(&[(Direction::Forward, datagram)]);
    }

    #[test]
    fn meta_commands_are_told_and_their_values_pass() {
        let client = b"ms k 2 T30\r\nxy\r\nmg k v t\r\nquit\r\n";
        let server = b"HD\r\nVA 2 t30\r\nxy\r\n";
        let learned = Trial::<Memcached>::new().client(client).server(server).close().learned();
        assert!(learned.starts_with("command ms mg quit\n"), "{learned}");
        // What memcached 1.6.18 answers to "mg a v t".
        let probe = |bytes: &[u8], port| {
            Memcached::probe(&First::of(Carrier::Stream, Direction::Reverse, bytes).between(port, 4000))
        };
        assert_eq!(probe(b"VA 3 t-1\r\nabc\r\n", PORT), Probe::Likely);
        assert_eq!(probe(b"VA x\r\n", PORT), Probe::NotForUs);
        assert_eq!(probe(b"HD\r\n", 9), Probe::NotForUs);
        cuts_do_not_matter::<Memcached>(client, server);
    }

    #[test]
    fn what_others_say_too_counts_with_the_port() {
        let probe = |bytes: &[u8], port| {
            Memcached::probe(&First::of(Carrier::Stream, Direction::Forward, bytes).between(4000, port))
        };
        assert_eq!(probe(CLIENT, 9), Probe::Certain);
        assert_eq!(probe(b"get k\r\n", 9), Probe::NotForUs);
        assert_eq!(probe(b"get k\r\n", PORT), Probe::Likely);
        assert_eq!(probe(b"set x y\r\n", PORT), Probe::NotForUs);
    }
}
