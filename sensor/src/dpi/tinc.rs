//! tinc's meta connection: how two nodes of the virtual network name themselves (tinc manual, section 6.3).
//!
//! In: the first line of both sides of a stream. Out: names and version, one event; the datagrams that the nodes
//! send each other at the responder's port are announced, since nothing in them tells what they are. Keys and
//! everything encrypted are not looked at.

use crate::dpi::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Most bytes of the first line: request, name, version.
const LINE_BYTES_MAX: usize = 128;

/// The dissector of one connection.
#[derive(Debug, Default)]
pub(super) struct Tinc {
    names: [Option<Box<str>>; 2],
    version: Box<str>,
}

/// A side's first line: `0 NAME VERSION`.
struct Hello<'a> {
    name: &'a str,
    version: &'a str,
    bytes: usize,
}

impl<'a> Hello<'a> {
    /// Reads it. None: more bytes are needed.
    fn read(bytes: &'a [u8]) -> Result<Option<Hello<'a>>, &'static str> {
        const BAD: &str = "invalid_id";
        let start = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
        let Some(end) = memchr::memchr(b'\n', start) else {
            let is_open = bytes.len() < LINE_BYTES_MAX
                && bytes.iter().zip(b"0 ").all(|(byte, expected)| byte == expected)
                && bytes.iter().skip(2).all(|byte| is_name_byte(*byte) || matches!(byte, b' ' | b'.'));
            return if is_open { Ok(None) } else { Err(BAD) };
        };
        let line = start.get(..end).and_then(|line| str::from_utf8(line).ok()).ok_or(BAD)?;
        let mut words = line.split(' ');
        let (Some("0"), Some(name), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(BAD);
        };
        // The protocol's version is 17 since 2003, with a minor one in tinc 1.1.
        let is_version = version.split('.').count() <= 2
            && version.split('.').all(|part| part.len() <= 3 && part.parse::<u8>().is_ok())
            && version.starts_with("17");
        let is_name = !name.is_empty() && name.bytes().all(is_name_byte);
        if is_name && is_version { Ok(Some(Hello { name, version, bytes: end + 1 })) } else { Err(BAD) }
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl Dissector for Tinc {
    const APP: App = App::Tinc;

    const STARTS: Starts = Starts::stream(b"0");

    fn probe(first: &First<'_>) -> Probe {
        match Hello::read(first.bytes) {
            _ if !first.is_stream() => Probe::NotForUs,
            Ok(Some(_)) => Probe::Certain,
            Ok(None) => Probe::Unsure,
            Err(_) => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Tinc::default()
    }

    fn expected(_note: &[u8]) -> Option<Self> {
        Some(Tinc::default())
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        // Announced datagrams: their name is all there is.
        if context.carrier == Carrier::Datagram {
            return Progress::Done;
        }
        if self.names[context.direction.index()].is_some() {
            return Progress::Used(bytes.len());
        }
        let hello = match Hello::read(bytes) {
            Ok(Some(hello)) => hello,
            Ok(None) => return Progress::Used(0),
            Err(event) => return Progress::Broken(event),
        };
        context.metadata.add(Field::EndpointName, hello.name);
        context.metadata.set_text(Field::Version, hello.version);
        if self.version.is_empty() {
            self.version = hello.version.into();
            context.expect(context.end(Direction::Reverse), Carrier::Datagram, App::Tinc, &[]);
        }
        self.names[context.direction.index()] = Some(hello.name.into());
        if self.names.iter().all(Option::is_some) {
            self.tell(context);
            return Progress::Done;
        }
        Progress::Used(hello.bytes)
    }

    fn gap(&mut self, _missing: u64, context: &mut Context<'_>) -> Progress {
        self.tell(context);
        Progress::Done
    }

    fn close(&mut self, context: &mut Context<'_>) {
        self.tell(context);
    }
}

impl Tinc {
    /// Writes the event, once, when anything is known.
    fn tell(&mut self, context: &mut Context<'_>) {
        let version = std::mem::take(&mut self.version);
        if version.is_empty() {
            return;
        }
        let [client, server] = std::mem::take(&mut self.names);
        context.tell(Direction::Forward, None, |object| {
            object.text("version", &version);
            object.text_if("client", client.as_deref()).text_if("server", server.as_deref());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};

    const CLIENT: &[u8] = b"0 laptop 17\n1 94 64 0 0 6B25\n";
    const SERVER: &[u8] = b"0 office 17.7\n1 94 64 0 0 5861\n";

    #[test]
    fn both_names_are_read_and_the_datagrams_announced() {
        let trial = Trial::<Tinc>::new().between(40_000, 655).client(CLIENT).server(SERVER);
        assert_eq!(
            trial.event(),
            serde_json::json!({"version": "17", "client": "laptop", "server": "office"})
        );
        assert_eq!(trial.metadata.list(Field::EndpointName).len(), 2);
        let [expected] = &trial.expected[..] else { panic!("{:?}", trial.expected) };
        assert_eq!((expected.end.1, expected.carrier), (655, Carrier::Datagram));
    }

    #[test]
    fn announced_datagrams_are_named_and_not_looked_at() {
        let trial = Trial::<Tinc>::new().announced(b"").over_datagrams().client(&[0xc0; 64]);
        assert_eq!((trial.end, trial.events.len()), (Some(Progress::Done), 0));
    }

    #[test]
    fn one_side_alone_is_told_at_the_end() {
        let trial = Trial::<Tinc>::new().server(SERVER).close();
        assert_eq!(trial.event(), serde_json::json!({"version": "17.7", "server": "office"}));
    }

    #[test]
    fn only_a_hello_is_certain() {
        let probe = |bytes| Tinc::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(probe(CLIENT), Probe::Certain);
        assert_eq!(probe(b"0 lap"), Probe::Unsure);
        for bytes in [&b"0 a b 17\n"[..], b"0 a 16\n", b"0033git-upload-pack /", b"0 a-b 17\n", b"0  17\n"] {
            assert_eq!(probe(bytes), Probe::NotForUs, "{bytes:?}");
        }
        assert_eq!(probe(&[b"0 ", &[b'a'; 200][..]].concat()), Probe::NotForUs);
    }

    #[test]
    fn damage_and_cuts_are_survived() {
        survives_damage::<Tinc>(CLIENT, SERVER);
        cuts_do_not_matter::<Tinc>(CLIENT, SERVER);
    }
}
