//! Syslog (RFC 5424, RFC 3164), over UDP and over TCP with octet counting or lines (RFC 6587).
//!
//! In: datagrams, or a stream of messages. Out: which host and program report, how severe it is, and one event
//! per message. EVE has no such event. Structured data is left in the message's text.

use super::wire::is_text;
use super::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;

const PORTS: [u16; 2] = [514, 601];
/// Most bytes of a message that is waited for in a stream.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Most bytes of a message's text in its event.
const TEXT_BYTES_MAX: usize = 4096;

/// Least bytes of a datagram that is taken for syslog by its priority alone, away from the port.
const DATAGRAM_BYTES_MIN: usize = 16;

/// State of a flow of syslog.
#[derive(Debug)]
pub(super) struct Syslog {
    messages: u64,
    is_lost: [bool; 2],
}

/// A message's parts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message<'a> {
    priority: u8,
    /// 1 for RFC 5424's form.
    version: Option<u8>,
    timestamp: Option<&'a str>,
    host: Option<&'a str>,
    program: Option<&'a str>,
    process: Option<&'a str>,
    id: Option<&'a str>,
    text: &'a str,
}

/// The priority, and the text behind it.
fn priority(text: &str) -> Option<(u8, &str)> {
    const PRIORITY_MAX: u8 = 191;
    let (digits, rest) = text.strip_prefix('<')?.split_once('>')?;
    let is_number = matches!(digits.len(), 1..=3) && digits.bytes().all(|digit| digit.is_ascii_digit());
    let number = digits.parse().ok().filter(|number| is_number && *number <= PRIORITY_MAX)?;
    (digits.len() == 1 || !digits.starts_with('0')).then_some((number, rest))
}

fn is_month(text: &str) -> bool {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    MONTHS.contains(&text)
}

/// A timestamp of RFC 3164, `Mmm dd hh:mm:ss`, and what is behind it.
fn old_timestamp(text: &str) -> Option<(&str, &str)> {
    const BYTES: usize = 15;
    let (stamp, rest) = text.split_at_checked(BYTES)?;
    let bytes = stamp.as_bytes();
    let is_right =
        is_month(stamp.get(..3)?) && [3, 6].iter().all(|at| bytes[*at] == b' ') && bytes[9] == b':';
    is_right.then_some((stamp, rest))
}

impl<'a> Message<'a> {
    fn parse(text: &'a str) -> Option<Message<'a>> {
        let (priority, rest) = priority(text)?;
        let rest = rest.trim_end_matches(['\n', '\r', '\0']);
        let some = |part: &'a str| Some(part).filter(|part| !matches!(*part, "-" | ""));
        if let Some(after) = rest.strip_prefix("1 ") {
            let mut parts = after.splitn(6, ' ');
            let mut next = || parts.next().and_then(some);
            let (timestamp, host, program, process, id) = (next(), next(), next(), next(), next());
            let text = parts.next().unwrap_or_default();
            return Some(Message { priority, version: Some(1), timestamp, host, program, process, id, text });
        }
        let Some((stamp, after)) = old_timestamp(rest) else {
            return Some(Message { priority, text: rest, ..Message::default() });
        };
        let after = after.trim_start();
        let mut message = Message { priority, timestamp: Some(stamp), text: after, ..Message::default() };
        // A host stands alone; a program ends with a colon, after its process' number.
        let mut rest = after;
        if let Some((host, behind)) = after.split_once(' ')
            && !host.ends_with(':')
            && !host.contains('[')
        {
            (message.host, rest) = (some(host), behind);
        }
        if let Some((tag, behind)) = rest.split_once(':')
            && !tag.contains(' ')
            && tag.len() <= 48
        {
            message.text = behind.trim_start();
            match tag.split_once('[') {
                Some((program, process)) => {
                    message.program = some(program);
                    message.process = some(process.trim_end_matches(']'));
                }
                None => message.program = some(tag),
            }
        } else {
            message.text = rest;
        }
        Some(message)
    }
}

/// Whether bytes begin a message; `has_port` is what supports a form that has only a priority.
fn probe_message(bytes: &[u8], is_whole: bool, has_port: bool) -> Probe {
    let unsure = if is_whole { Probe::NotForUs } else { Probe::Unsure };
    // Priority, version or timestamp are plain.
    let head = bytes.get(..64).unwrap_or(bytes);
    let Some(head) = head.utf8_chunks().next().map(|chunk| chunk.valid()) else { return unsure };
    let Some((_, rest)) = priority(head) else {
        let is_begun = head.len() == bytes.len()
            && head.len() <= 4
            && head.starts_with('<')
            && head.bytes().skip(1).all(|digit| digit.is_ascii_digit());
        return if is_begun { unsure } else { Probe::NotForUs };
    };
    let is_dated = |text: &str| {
        let stamp = text.as_bytes();
        stamp.starts_with(b"- ") || matches!(stamp, [b'1' | b'2', b'0' | b'9', _, _, b'-', _, _, b'-', ..])
    };
    if rest.strip_prefix("1 ").is_some_and(is_dated) || old_timestamp(rest).is_some() {
        return Probe::Certain;
    }
    // Python's handler and others end messages with a zero, over TCP too.
    let plain =
        bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n' | b' ' | 0)).map_or(0, |at| at + 1);
    let is_plain = bytes.get(..plain).is_some_and(is_text) || bytes.get(..16).is_some_and(is_text);
    match (has_port && is_plain, rest.is_empty()) {
        (_, true) => unsure,
        (true, false) if rest.len() >= 4 => Probe::Likely,
        (true, false) => unsure,
        // A datagram that is text to its end: nothing else begins so.
        _ if is_whole && bytes.len() >= DATAGRAM_BYTES_MIN && is_text(bytes.trim_ascii_end()) => {
            Probe::Likely
        }
        // Cisco and others: a sequence number, a timestamp with a month.
        _ if rest.split([' ', ':', '*']).take(4).any(is_month) => Probe::Likely,
        _ if rest.len() < 16 && bytes.len() < 24 => unsure,
        _ => Probe::NotForUs,
    }
}

/// A count of octets before a message, and the bytes that it takes.
fn octet_count(bytes: &[u8]) -> Option<(usize, usize)> {
    let digits = bytes.iter().take(6).take_while(|digit| digit.is_ascii_digit()).count();
    if !(2..=5).contains(&digits) || bytes.first() == Some(&b'0') || bytes.get(digits) != Some(&b' ') {
        return None;
    }
    let count = bytes.get(..digits)?.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    Some((count, digits + 1))
}

impl Dissector for Syslog {
    const APP: App = App::Syslog;

    const STARTS: Starts = Starts::both(b"<").or(Starts::stream(b"123456789"));

    fn probe(first: &First<'_>) -> Probe {
        let has_port = first.has_port_of(&PORTS);
        if first.bytes.starts_with(b"<") {
            return probe_message(first.bytes, first.is_datagram(), has_port);
        }
        match octet_count(first.bytes) {
            Some((_, at)) => match first.bytes.get(at..) {
                Some([]) | None => Probe::Unsure,
                Some(message) => probe_message(message, false, has_port),
            },
            None if first.bytes.len() < 5 && first.bytes.iter().all(u8::is_ascii_digit) => Probe::Unsure,
            None => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Syslog { messages: 0, is_lost: [false; 2] }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        if context.carrier == Carrier::Datagram {
            self.message(bytes, context);
            return Progress::Used(bytes.len());
        }
        let index = context.direction.index();
        let mut rest = bytes;
        if self.is_lost[index] {
            // Behind a gap a message begins with a segment, or else with a line.
            if !bytes.starts_with(b"<") && octet_count(bytes).is_none() {
                let Some(end) = memchr::memchr(b'\n', bytes) else { return Progress::Used(bytes.len()) };
                rest = bytes.get(end + 1..).unwrap_or_default();
            }
            self.is_lost[index] = false;
        }
        loop {
            let (from, to, next) = match octet_count(rest) {
                Some((count, at)) if count <= MESSAGE_BYTES_MAX => (at, at + count, at + count),
                _ => match memchr::memchr2(b'\n', 0, rest) {
                    Some(end) => (0, end, end + 1),
                    None if rest.len() > MESSAGE_BYTES_MAX => return Progress::Broken("malformed_data"),
                    None => break,
                },
            };
            let (Some(message), Some(after)) = (rest.get(from..to), rest.get(next..)) else { break };
            if !message.is_empty() {
                self.message(message, context);
            }
            rest = after;
        }
        Progress::Used(bytes.len() - rest.len())
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        Progress::Used(0)
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

impl Syslog {
    fn message(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        let text = String::from_utf8_lossy(bytes.get(..MESSAGE_BYTES_MAX).unwrap_or(bytes));
        let Some(message) = Message::parse(&text) else {
            context.anomaly("malformed_data", None);
            return;
        };
        let (facility, severity) = (message.priority >> 3, message.priority & 7);
        let metadata = &mut *context.metadata;
        metadata.set_text(Field::Version, if message.version.is_some() { "5424" } else { "3164" });
        metadata.add(Field::Command, facility_name(facility));
        metadata.add(Field::Status, severity_name(severity));
        if let Some(host) = message.host {
            metadata.add(Field::EndpointName, host);
        }
        if let Some(program) = message.program {
            metadata.add(Field::Object, program);
        }
        let number = self.messages;
        self.messages += 1;
        context.tell(context.direction, Some(number), |object| {
            object.text("facility", facility_name(facility)).text("severity", severity_name(severity));
            if let Some(version) = message.version {
                object.number("version", version);
            }
            let parts = [
                ("timestamp", message.timestamp),
                ("hostname", message.host),
                ("app_name", message.program),
                ("procid", message.process),
                ("msgid", message.id),
            ];
            for (key, part) in parts {
                object.text_if(key, part);
            }
            let text = message.text.as_bytes();
            object.bytes("message", text.get(..TEXT_BYTES_MAX).unwrap_or(text));
        });
    }
}

fn facility_name(facility: u8) -> &'static str {
    const NAMES: [&str; 24] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
        "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5",
        "local6", "local7",
    ];
    NAMES.get(usize::from(facility)).unwrap_or(&"unknown")
}

fn severity_name(severity: u8) -> &'static str {
    const NAMES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
    NAMES.get(usize::from(severity)).unwrap_or(&"unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage, survives_damaged_datagrams};
    use weir_common::net::Direction;

    const NEW: &[u8] = b"<34>1 2003-10-11T22:14:15.003Z host.example su 77 ID47 - 'su root' failed";
    const OLD: &[u8] = b"<13>Oct 11 22:14:15 mymachine sshd[12]: Accepted";

    #[test]
    fn both_forms_are_told() {
        let trial =
            Trial::<Syslog>::new().over_datagrams().client(NEW).client(OLD).client(b"<0>plain").close();
        assert_eq!(
            trial.learned(),
            "app_version 5424\nendpoint_name host.example mymachine\ncommand auth user kern\nobject su sshd\nstatus crit notice emerg\n\
            syslog {\"facility\":\"auth\",\"severity\":\"crit\",\"version\":1,\"timestamp\":\"2003-10-11T22:14:15.003Z\",\"hostname\":\"host.example\",\"app_name\":\"su\",\"procid\":\"77\",\"msgid\":\"ID47\",\"message\":\"- 'su root' failed\"}\n\
            syslog {\"facility\":\"user\",\"severity\":\"notice\",\"timestamp\":\"Oct 11 22:14:15\",\"hostname\":\"mymachine\",\"app_name\":\"sshd\",\"procid\":\"12\",\"message\":\"Accepted\"}\n\
            syslog {\"facility\":\"kern\",\"severity\":\"emerg\",\"message\":\"plain\"}\n"
        );
        survives_damaged_datagrams::<Syslog>(&[(Direction::Forward, NEW), (Direction::Forward, OLD)]);
    }

    #[test]
    fn messages_of_streams_may_end_with_a_zero() {
        // What Python 3.11's SysLogHandler sends over TCP.
        const PYTHON: &[u8] = b"<11>over tcp\0";
        let probe = |bytes: &[u8], port| {
            Syslog::probe(&First::of(Carrier::Stream, Direction::Forward, bytes).between(40_000, port))
        };
        assert_eq!(probe(PYTHON, 514), Probe::Likely);
        assert_eq!(probe(PYTHON, 40_001), Probe::Unsure);
        assert_eq!(probe(b"<11>over\0tcp\0", 514), Probe::Unsure, "what is within is no text");
        let trial = Trial::<Syslog>::new().client(&[PYTHON, PYTHON].concat()).close();
        assert_eq!(trial.events.len(), 2);
    }

    #[test]
    fn streams_have_counts_or_lines() {
        let counted = [format!("{} ", NEW.len()).as_bytes(), NEW].concat();
        let lines = [OLD, b"\n", OLD, b"\n"].concat();
        for client in [[&counted[..], &counted].concat(), lines] {
            assert_eq!(Trial::<Syslog>::new().client(&client).close().events.len(), 2);
            cuts_do_not_matter::<Syslog>(&client, b"");
            survives_damage::<Syslog>(&client, b"");
        }
        let trial =
            Trial::<Syslog>::new().client(OLD).gap(Direction::Forward, 5).client(b"xyz\n<13>b\n").close();
        assert_eq!(trial.events.len(), 1);
    }

    #[test]
    fn a_priority_alone_needs_the_port() {
        let probe = |bytes: &[u8], port| {
            Syslog::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes).between(5000, port))
        };
        assert_eq!((probe(NEW, 5001), probe(OLD, 5001)), (Probe::Certain, Probe::Certain));
        assert_eq!(
            (probe(b"<13>something", 5001), probe(b"<13>something", 514)),
            (Probe::NotForUs, Probe::Likely)
        );
        assert_eq!(probe(b"<13>something longer", 5001), Probe::Likely);
        for other in [&b"<192>Oct 11 22:14:15 a"[..], b"<a>", b"<013>Oct 11 22:14:15 a", b"<?xml version"] {
            assert_eq!(probe(other, 514), Probe::NotForUs);
        }
        let stream = |bytes: &[u8]| Syslog::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(
            (stream(b"<1"), stream(b"73"), stream(b"73 <34>1 2003-1")),
            (Probe::Unsure, Probe::Unsure, Probe::Unsure)
        );
        assert_eq!(
            (stream(b"220 mail.example ESMTP"), stream(b"73 <34>1 2003-10-11T")),
            (Probe::NotForUs, Probe::Certain)
        );
    }
}
