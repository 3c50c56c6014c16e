//! Network News Transfer Protocol (RFC 3977, RFC 4642 for STARTTLS, RFC 4643 for AUTHINFO).
//!
//! In: both directions of a stream. Out: one event per command with the first line of its answer; the account, the
//! groups. Articles and lists pass unread. What follows STARTTLS is another protocol's.

use super::scan::{self, line, line_within, word};
use super::{Context, Dissector, First, Probe, Progress, Starts};
use std::collections::VecDeque;
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Longest line that is waited for; of a longer one the rest passes.
const LINE_BYTES_MAX: usize = 2048;
/// Most commands whose answers are awaited.
const PENDING_MAX: usize = 64;
/// Answers that go on with lines up to a dot, whatever was asked (RFC 3977 section 3.2), besides 211 to LISTGROUP.
const WITH_LINES: &[u64] = &[100, 101, 215, 220, 221, 222, 224, 225, 230, 231, 282];

const COMMANDS: &[&[u8]] = &[
    b"ARTICLE",
    b"AUTHINFO",
    b"BODY",
    b"CAPABILITIES",
    b"DATE",
    b"GROUP",
    b"HDR",
    b"HEAD",
    b"HELP",
    b"IHAVE",
    b"LAST",
    b"LIST",
    b"LISTGROUP",
    b"MODE",
    b"NEWGROUPS",
    b"NEWNEWS",
    b"NEXT",
    b"OVER",
    b"POST",
    b"QUIT",
    b"STARTTLS",
    b"STAT",
    b"XOVER",
    b"XHDR",
    b"XZVER",
    b"COMPRESS",
    b"XFEATURE",
    b"CHECK",
    b"TAKETHIS",
    b"SLAVE",
];

/// The dissector of one session.
#[derive(Debug, Default)]
pub(super) struct Nntp {
    pending: VecDeque<Vec<u8>>,
    transactions: u64,
    has_greeting: bool,
    /// By direction: lines up to a dot pass.
    is_text: [bool; 2],
    is_in_line: [bool; 2],
}

impl Dissector for Nntp {
    const APP: App = App::Nntp;

    const STARTS: Starts = Starts::stream(b"2MmCcAa");

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        let Some((text, _)) = line(bytes) else {
            let is_possible = bytes.len() < 512 && scan::is_text(bytes.trim_ascii_end());
            let is_start = bytes.starts_with(b"20")
                || [&b"MODE READER"[..], b"CAPABILITIES", b"AUTHINFO USER "].iter().any(|command| {
                    let length = bytes.len().min(command.len());
                    bytes.get(..length).is_some_and(|start| {
                        command.get(..length).is_some_and(|command| start.eq_ignore_ascii_case(command))
                    })
                });
            return if is_possible && (is_start || bytes == b"2") { Probe::Unsure } else { Probe::NotForUs };
        };
        if !scan::is_text(text) {
            return Probe::NotForUs;
        }
        if text.starts_with(b"200 ") || text.starts_with(b"201 ") {
            let words: [&[u8]; 5] =
                [b"NNTP", b"InterNetNews", b"posting ok", b"posting allowed", b"no posting"];
            let says_so = words.iter().any(|word| scan::contains_ignoring_case(text, word));
            return match (says_so, first.has_port_of(&[119, 433])) {
                (true, true) => Probe::Certain,
                (true, false) | (false, true) => Probe::Likely,
                (false, false) => Probe::NotForUs,
            };
        }
        let (name, arguments) = word(text);
        let is_certain = name.eq_ignore_ascii_case(b"MODE") && arguments.eq_ignore_ascii_case(b"READER")
            || name.eq_ignore_ascii_case(b"AUTHINFO") && scan::starts_with_ignoring_case(arguments, b"USER ")
            || name.eq_ignore_ascii_case(b"CAPABILITIES") && arguments.is_empty();
        if is_certain { Probe::Certain } else { Probe::NotForUs }
    }

    fn new() -> Self {
        Nntp::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        let mut used = 0;
        while let Some((text, more, is_cut)) =
            bytes.get(used..).and_then(|rest| line_within(rest, LINE_BYTES_MAX))
        {
            used += more;
            let is_rest = std::mem::replace(&mut self.is_in_line[index], is_cut);
            if is_rest {
                continue;
            }
            if self.is_text[index] {
                self.is_text[index] = text != b".";
                continue;
            }
            if context.direction == Direction::Forward {
                self.command(text, context);
                continue;
            }
            match self.answer(text, context) {
                Some(382) => return Progress::Switch(used),
                // Compressed from here on.
                Some(206 | 290) => return Progress::Done,
                _ => {}
            }
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_in_line[context.direction.index()] = false;
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        while let Some(command) = self.pending.pop_front() {
            self.tell(&command, None, context);
        }
    }
}

impl Nntp {
    fn command(&mut self, text: &[u8], context: &mut Context<'_>) {
        let (name, arguments) = word(text);
        if !COMMANDS.iter().any(|command| name.eq_ignore_ascii_case(command)) {
            return;
        }
        context.metadata.add(Field::Command, &String::from_utf8_lossy(&name.to_ascii_uppercase()));
        if name.eq_ignore_ascii_case(b"GROUP") || name.eq_ignore_ascii_case(b"LISTGROUP") {
            context.metadata.add(Field::Object, &String::from_utf8_lossy(word(arguments).0));
        }
        let (kind, value) = word(arguments);
        let is_authentication = name.eq_ignore_ascii_case(b"AUTHINFO");
        if is_authentication && kind.eq_ignore_ascii_case(b"USER") {
            context.metadata.add(Field::User, &String::from_utf8_lossy(value));
        }
        // A password is nobody's business.
        let told = if is_authentication && !kind.eq_ignore_ascii_case(b"USER") {
            text.get(..name.len() + 1 + kind.len()).unwrap_or(text)
        } else {
            text
        };
        if name.eq_ignore_ascii_case(b"TAKETHIS") {
            self.is_text[0] = true;
        }
        if self.pending.len() < PENDING_MAX {
            self.pending.push_back(told.to_vec());
        }
    }

    /// The first line of an answer: its code.
    fn answer(&mut self, text: &[u8], context: &mut Context<'_>) -> Option<u64> {
        let code = text.get(..3).and_then(scan::decimal)?;
        if !self.has_greeting {
            self.has_greeting = true;
            if self.pending.is_empty() {
                context.metadata.set_bytes(Field::ServerSoftware, text.get(4..).unwrap_or_default());
                return None;
            }
        }
        let command = self.pending.pop_front();
        let is_listgroup =
            command.as_ref().is_some_and(|command| scan::starts_with_ignoring_case(command, b"LISTGROUP"));
        self.is_text[1] = WITH_LINES.contains(&code) || code == 211 && is_listgroup;
        // An article to be posted follows.
        self.is_text[0] |= matches!(code, 335 | 340);
        context.metadata.add(Field::Status, &code.to_string());
        self.tell(
            command.as_deref().unwrap_or_default(),
            Some((code, text.get(4..).unwrap_or_default())),
            context,
        );
        let asked_for = |name: &[u8]| {
            command.as_ref().is_some_and(|command| scan::starts_with_ignoring_case(command, name))
        };
        match code {
            382 if asked_for(b"STARTTLS") => Some(code),
            206 if asked_for(b"COMPRESS") => Some(code),
            290 if asked_for(b"XFEATURE COMPRESS") => Some(code),
            _ => None,
        }
    }

    fn tell(&mut self, command: &[u8], answer: Option<(u64, &[u8])>, context: &mut Context<'_>) {
        let id = self.transactions;
        self.transactions += 1;
        context.tell(Direction::Forward, Some(id), |object| {
            if !command.is_empty() {
                let (name, arguments) = word(command);
                let mut request = object.object("request");
                request.bytes("command", name);
                if !arguments.is_empty() {
                    request.bytes("args", arguments);
                }
            }
            if let Some((code, text)) = answer {
                object.object("response").number("code", code).bytes("text", text);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, survives_damage};

    #[test]
    fn commands_are_told_with_answers_and_articles_pass() {
        let trial = Trial::<Nntp>::new()
            .server(b"200 news.example InterNetNews ready\r\n")
            .client(b"AUTHINFO USER joe\r\nAUTHINFO PASS x\r\nARTICLE 1\r\nGROUP a.b\r\n")
            .server(b"381 more\r\n281 ok\r\n220 1 <a>\r\nSubject: 999\r\n.\r\n211 1 1 1 a.b\r\n")
            .close();
        let learned = trial.learned();
        assert!(learned.contains("user joe\n") && learned.contains("object a.b\n"), "{learned}");
        assert!(
            learned.contains(
                r#"nntp {"request":{"command":"AUTHINFO","args":"PASS"},"response":{"code":281,"text":"ok"}}"#
            ),
            "{learned}"
        );
        assert_eq!(trial.events.len(), 4);
    }

    #[test]
    fn greetings_and_commands_are_recognised() {
        let probe = |bytes: &[u8], port| {
            Nntp::probe(&First::of(Carrier::Stream, Direction::Reverse, bytes).between(port, 4000))
        };
        assert_eq!(probe(b"200 news.example NNTP ready\r\n", 119), Probe::Certain);
        assert_eq!(probe(b"200 hello\r\n", 80), Probe::NotForUs);
        assert_eq!(probe(b"MODE READER\r\n", 80), Probe::Certain);
        assert_eq!(probe(b"CONNECT a:1 HTTP/1.1\r\n", 80), Probe::NotForUs);
    }

    #[test]
    fn no_damage_panics() {
        survives_damage::<Nntp>(
            b"MODE READER\r\nPOST\r\nA: b\r\n.\r\nLIST\r\n",
            b"200 NNTP\r\n200 ok\r\n340 go\r\n240 ok\r\n215 l\r\na\r\n.\r\n",
        );
    }
}
