//! Internet Relay Chat (RFC 1459, RFC 2812, IRCv3 for capabilities and STARTTLS).
//!
//! In: both directions of a stream. Out: one event per message of the client and per refusal of the server; nick,
//! account and channels in metadata. What people say to each other is not told. Passwords are not either.

use super::scan::{self, line, line_within, word};
use super::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Longest line that is waited for (512 bytes, and as many of tags and more); the rest passes.
const LINE_BYTES_MAX: usize = 9 << 10;
const PORTS: &[u16] = &[194, 6660, 6661, 6662, 6663, 6664, 6665, 6666, 6667, 6668, 6669, 6697, 7000];

/// Longest first line, with its end (RFC 1459, section 2.3).
const FIRST_LINE_BYTES_MAX: usize = 512;

/// The dissector of one session.
#[derive(Debug, Default)]
pub(super) struct Irc {
    transactions: u64,
    is_in_line: [bool; 2],
    wants_tls: bool,
}

/// A message: who sends it, its command, what stands behind that.
struct Message<'a> {
    prefix: &'a [u8],
    command: &'a [u8],
    arguments: &'a [u8],
}

fn message(text: &[u8]) -> Message<'_> {
    let mut rest = text;
    if rest.first() == Some(&b'@') {
        rest = word(rest).1;
    }
    let mut prefix = &b""[..];
    if rest.first() == Some(&b':') {
        let (first, after) = word(rest);
        prefix = first.get(1..).unwrap_or_default();
        rest = after;
    }
    let (command, arguments) = word(rest);
    Message { prefix, command, arguments }
}

impl Dissector for Irc {
    const APP: App = App::Irc;

    const STARTS: Starts = Starts::stream(b":NnUuCPJAE@");

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes.get(..FIRST_LINE_BYTES_MAX).unwrap_or(first.bytes);
        let is_port = first.has_port_of(PORTS);
        // Colours and emphasis are control characters; a zero is nothing in a line.
        if line(bytes).map_or(bytes, |(text, _)| text).contains(&0) {
            return Probe::NotForUs;
        }
        let Some((text, used)) = line(bytes) else {
            let is_start =
                [&b"NICK "[..], b"USER ", b"CAP LS", b"CAP REQ", b"NOTICE AUTH", b":"].iter().any(|start| {
                    let length = start.len().min(bytes.len());
                    bytes.get(..length) == start.get(..length)
                });
            return if is_start && bytes.len() < FIRST_LINE_BYTES_MAX {
                Probe::Unsure
            } else {
                Probe::NotForUs
            };
        };
        let message = message(text);
        let (first_word, others) = word(message.arguments);
        if !message.prefix.is_empty() {
            // A numeric with the nick that it is for, or a notice of the server.
            let is_numeric = message.command.len() == 3 && message.command.iter().all(u8::is_ascii_digit);
            let is_right = is_numeric
                && !first_word.is_empty()
                && matches!(
                    message.command,
                    b"001" | b"002" | b"020" | b"251" | b"433" | b"451" | b"461" | b"462" | b"421" | b"439"
                )
                || message.command == b"NOTICE" && matches!(first_word, b"AUTH" | b"*" | b"Auth");
            let is_said =
                matches!(message.command, b"PRIVMSG" | b"JOIN" | b"PART" | b"QUIT" | b"NICK" | b"NOTICE")
                    && message.prefix.contains(&b'!');
            return match (is_right || is_said, is_port) {
                (true, _) if message.prefix.len() < 256 => Probe::Certain,
                (false, true) if is_numeric => Probe::Likely,
                _ => Probe::NotForUs,
            };
        }
        let next = bytes.get(used..).unwrap_or_default();
        match message.command {
            b"NICK" if !first_word.is_empty() && others.is_empty() && first_word.len() <= 64 => {
                if scan::starts_with_ignoring_case(next, b"USER ") || is_port {
                    Probe::Certain
                } else {
                    Probe::Likely
                }
            }
            b"USER" if others.contains(&b':') && word(word(others).1).1.starts_with(b":") => Probe::Certain,
            b"CAP" if matches!(first_word, b"LS" | b"REQ" | b"END") => Probe::Certain,
            b"NOTICE" if first_word == b"AUTH" && others.starts_with(b":") => Probe::Certain,
            b"PASS" if is_port && !first_word.is_empty() => Probe::Likely,
            b"JOIN" if first_word.starts_with(b"#") => Probe::Likely,
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Irc::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        let mut used = 0;
        while let Some((text, more, is_cut)) =
            bytes.get(used..).and_then(|rest| line_within(rest, LINE_BYTES_MAX))
        {
            used += more;
            let is_rest = std::mem::replace(&mut self.is_in_line[index], is_cut);
            if is_rest || text.trim_ascii().is_empty() {
                continue;
            }
            let message = message(text);
            if context.direction == Direction::Forward {
                self.client(&message, context);
            } else if self.server(&message, context) {
                return Progress::Switch(used);
            }
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_in_line[context.direction.index()] = true;
        Progress::Used(0)
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

impl Irc {
    fn client(&mut self, message: &Message<'_>, context: &mut Context<'_>) {
        if !message.command.iter().all(u8::is_ascii_alphabetic) || message.command.len() > 16 {
            return;
        }
        let command = message.command.to_ascii_uppercase();
        let (first, others) = word(message.arguments);
        let first_text = String::from_utf8_lossy(first.strip_prefix(b":").unwrap_or(first)).into_owned();
        let mut target = None;
        let mut name = None;
        match &command[..] {
            b"NICK" => context.metadata.add(Field::User, &first_text),
            b"USER" => {
                context.metadata.add(Field::User, &first_text);
                name = memchr::memchr(b':', others).and_then(|at| others.get(at + 1..));
            }
            b"JOIN" | b"PART" | b"PRIVMSG" | b"NOTICE" | b"MODE" | b"TOPIC" | b"WHO" | b"WHOIS" | b"KICK"
            | b"INVITE" | b"OPER" => {
                target = Some(first);
                if first.starts_with(b"#") || first.starts_with(b"&") {
                    first.split(|byte| *byte == b',').take(8).for_each(|channel| {
                        context.metadata.add(Field::Object, &String::from_utf8_lossy(channel));
                    });
                }
            }
            b"CAP" => target = Some(first),
            b"STARTTLS" => self.wants_tls = true,
            // Nothing happens by these.
            b"PING" | b"PONG" => return,
            _ => {}
        }
        context.metadata.add(Field::Command, &String::from_utf8_lossy(&command));
        let id = self.transactions;
        self.transactions += 1;
        context.tell(Direction::Forward, Some(id), |object| {
            object.bytes("command", &command);
            if matches!(&command[..], b"NICK" | b"USER") {
                object.text("user", &first_text);
            }
            if let Some(name) = name {
                object.bytes("real_name", name);
            }
            if let Some(target) = target {
                object.bytes("target", target);
            }
        });
    }

    /// Whether TLS begins behind it.
    fn server(&mut self, message: &Message<'_>, context: &mut Context<'_>) -> bool {
        let code = message.command;
        match code {
            b"001" if !message.prefix.is_empty() => {
                context.metadata.set_bytes(Field::Domain, message.prefix);
            }
            b"004" => {
                // nick, server, version
                let version = word(word(word(message.arguments).1).1).0;
                context.metadata.set_bytes(Field::ServerSoftware, version);
            }
            b"670" => return self.wants_tls,
            _ => {}
        }
        let is_error = code.len() == 3
            && matches!(code.first(), Some(b'4' | b'5'))
            && code.iter().all(u8::is_ascii_digit);
        if is_error || code == b"ERROR" {
            context.metadata.add(Field::Status, &String::from_utf8_lossy(code));
            let id = self.transactions;
            self.transactions += 1;
            let text = memchr::memchr(b':', message.arguments).and_then(|at| message.arguments.get(at + 1..));
            context.tell(Direction::Reverse, Some(id), |object| {
                object.bytes("reply", code);
                if let Some(text) = text {
                    object.bytes("text", text);
                }
            });
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};

    const CLIENT: &[u8] = b"NICK joe\r\nUSER j 0 * :Joe A\r\nJOIN #a,#b\r\nPRIVMSG #a :hello\r\nPING x\r\n";
    const SERVER: &[u8] = b":irc.example 001 joe :Welcome\r\n:irc.example 004 joe irc.example ircd-1.2 i o\r\n:irc.example 433 * joe :in use\r\n";

    #[test]
    fn a_line_with_emphasis_cut_off_anywhere_is_not_denied() {
        let line = b":irc.example NOTICE * :*** \x02Looking\x02 up\r\n";
        for end in 1..line.len() {
            let first = First::of(Carrier::Stream, Direction::Reverse, &line[..end]);
            assert_eq!(Irc::probe(&first), Probe::Unsure, "{end}");
        }
        assert_eq!(Irc::probe(&First::of(Carrier::Stream, Direction::Reverse, line)), Probe::Certain);
        // A line that is longer than any is never one, wherever it was cut off.
        let long = [b":irc.example NOTICE * :", &[b'x'; 600][..], b"\r\n"].concat();
        assert_eq!(Irc::probe(&First::of(Carrier::Stream, Direction::Reverse, &long)), Probe::NotForUs);
    }

    #[test]
    fn what_the_client_does_is_told_and_what_is_said_is_not() {
        let trial = Trial::<Irc>::new().client(CLIENT).server(SERVER);
        let learned = trial.learned();
        assert!(
            learned.contains("user joe j\n")
                && learned.contains("object #a #b\n")
                && learned.contains("server_software ircd-1.2\n"),
            "{learned}"
        );
        assert!(learned.contains(r#"irc {"command":"USER","user":"j","real_name":"Joe A"}"#), "{learned}");
        assert!(
            learned.contains(r##"irc {"command":"PRIVMSG","target":"#a"}"##) && !learned.contains("hello"),
            "{learned}"
        );
        assert!(learned.contains(r#"irc {"reply":"433","text":"in use"}"#), "{learned}");
        cuts_do_not_matter::<Irc>(CLIENT, SERVER);
        survives_damage::<Irc>(CLIENT, SERVER);
    }

    #[test]
    fn both_sides_are_recognised() {
        let probe = |bytes: &[u8], port| {
            Irc::probe(&First::of(Carrier::Stream, Direction::Forward, bytes).between(4000, port))
        };
        assert_eq!(probe(CLIENT, 9), Probe::Certain);
        assert_eq!(probe(SERVER, 9), Probe::Certain);
        assert_eq!(probe(b"CAP LS 302\r\n", 9), Probe::Certain);
        assert_eq!(probe(b"USER joe\r\n", 21), Probe::NotForUs);
        assert_eq!(probe(b"NICK", 9), Probe::Unsure);
    }
}
