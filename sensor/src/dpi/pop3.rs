//! Post Office Protocol 3 (RFC 1939, RFC 2449, RFC 2595 for STLS, RFC 5034 for AUTH).
//!
//! In: both directions of a stream. Out: one event per command with its answer in EVE's `pop3` form, the account,
//! and the mails that RETR brings with their attachments as files. Of an answer's lines the first ones are kept;
//! a mail's own lines are not. What follows STLS is another protocol's.

use super::mail::Mail;
use super::scan::{self, line, line_within, word};
use super::smtp::learn_account;
use super::{Context, Dissector, Event, First, Probe, Progress, Starts};
use std::collections::VecDeque;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Longest line that is waited for; of a longer one the rest passes, which is an anomaly.
const LINE_BYTES_MAX: usize = 2048;
/// Most commands whose answers are awaited.
const PENDING_MAX: usize = 64;
/// Most lines of an answer that are told.
const DATA_LINES_MAX: usize = 100;

const COMMANDS: &[&[u8]] = &[
    b"USER", b"PASS", b"APOP", b"AUTH", b"CAPA", b"STLS", b"STAT", b"LIST", b"RETR", b"DELE", b"NOOP",
    b"RSET", b"TOP", b"UIDL", b"QUIT", b"UTF8", b"LANG", b"XTND",
];

/// The dissector of one session.
#[derive(Debug, Default)]
pub(super) struct Pop3 {
    pending: VecDeque<Box<Command>>,
    answering: Option<Box<Answering>>,
    transactions: u64,
    has_greeting: bool,
    /// The client answers what AUTH asks; whether with the account.
    auth: Option<bool>,
    is_in_line: [bool; 2],
    is_lost: [bool; 2],
}

/// A command.
#[derive(Debug, Default)]
struct Command {
    id: u64,
    name: Vec<u8>,
    arguments: Vec<Vec<u8>>,
}

/// An answer of several lines.
#[derive(Debug)]
struct Answering {
    command: Option<Box<Command>>,
    header: Vec<u8>,
    data: Vec<Vec<u8>>,
    mail: Option<Box<Mail>>,
}

impl Dissector for Pop3 {
    const APP: App = App::Pop3;

    const STARTS: Starts = Starts::stream(b"+-UuCcAa");

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        if let Some(b'+' | b'-') = bytes.first() {
            return probe_answer(first);
        }
        // Others have the same commands: the other side or the port has to say whose they are.
        let is_other = first.other.head().starts_with(b"+OK");
        match line(bytes) {
            None if bytes.len() < 256 && scan::is_text(bytes.trim_ascii_end()) => Probe::Unsure,
            Some((text, _)) if scan::is_text(text) => {
                let (name, argument) = word(text);
                let is_known = [&b"USER"[..], b"APOP", b"CAPA", b"AUTH"]
                    .iter()
                    .any(|known| name.eq_ignore_ascii_case(known))
                    && (argument.is_empty() == name.eq_ignore_ascii_case(b"CAPA")
                        || name.eq_ignore_ascii_case(b"AUTH"));
                match (is_known, is_other) {
                    (true, true) => Probe::Certain,
                    (true, false) if first.has_port(110) => Probe::Likely,
                    (true, false) if first.other.is_empty() && !first.has_port(21) => Probe::Unsure,
                    _ => Probe::NotForUs,
                }
            }
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Pop3::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let is_client = context.direction == Direction::Forward;
        let index = context.direction.index();
        let mut used = 0;
        while let Some(rest) = bytes.get(used..)
            && let Some((text, more, is_cut)) = line_within(rest, LINE_BYTES_MAX)
        {
            let whole = rest.get(..more).unwrap_or(rest);
            used += more;
            let is_rest = std::mem::replace(&mut self.is_in_line[index], is_cut);
            if let Some(answering) = self.answering.as_mut().filter(|_| !is_client)
                && let Some(mail) = &mut answering.mail
                && (is_rest || text != b".")
            {
                // Lines that begin with a dot have it doubled.
                let whole = if is_rest { whole } else { whole.strip_prefix(b".").unwrap_or(whole) };
                mail.bytes(whole, context);
                continue;
            }
            if is_rest {
                continue;
            }
            if is_cut {
                context.anomaly(
                    if is_client { "request_too_long" } else { "response_too_long" },
                    Some(self.transactions),
                );
            }
            if is_client {
                self.command(text, context);
            } else if self.answer(text, context) {
                return Progress::Switch(used);
            }
        }
        Progress::Used(used)
    }

    fn gap(&mut self, missing: u64, context: &mut Context<'_>) -> Progress {
        self.is_in_line[context.direction.index()] = false;
        if context.direction == Direction::Reverse {
            match self.answering.as_mut().and_then(|answering| answering.mail.as_mut()) {
                Some(mail) => mail.gap(missing),
                None => self.is_lost[1] = true,
            }
        }
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        self.end_answer(false, context);
        for command in std::mem::take(&mut self.pending) {
            tell(Some(&command), None, context);
        }
    }
}

fn probe_answer(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let start = bytes.get(..3).unwrap_or(bytes);
    if !b"+OK".starts_with(start) || bytes.get(3).is_some_and(|byte| !matches!(byte, b' ' | b'\r' | b'\n')) {
        return Probe::NotForUs;
    }
    let Some((text, _)) = line(bytes) else {
        return if bytes.len() < 512 { Probe::Unsure } else { Probe::NotForUs };
    };
    // Redis says the same to almost everything.
    if !scan::is_text(text) || first.has_port(6379) {
        return Probe::NotForUs;
    }
    let says_so = [&b"POP"[..], b"mail", b"dovecot", b"ready", b"server"]
        .iter()
        .any(|word| scan::contains_ignoring_case(text, word))
        || text.contains(&b'<') && text.contains(&b'@');
    let is_client = scan::starts_with_ignoring_case(first.other.head(), b"USER ")
        || scan::starts_with_ignoring_case(first.other.head(), b"CAPA");
    match () {
        () if says_so || is_client => Probe::Certain,
        () if first.has_port(110) => Probe::Likely,
        () if first.other.is_empty() => Probe::Unsure,
        () => Probe::NotForUs,
    }
}

impl Pop3 {
    fn command(&mut self, text: &[u8], context: &mut Context<'_>) {
        if let Some(is_account) = self.auth.take() {
            if is_account {
                learn_account(&scan::base64(text), context);
            }
            // Another answer to AUTH follows.
            self.pending.push_back(Box::new(Command {
                id: self.transactions,
                name: b"AUTH".into(),
                arguments: Vec::new(),
            }));
            self.transactions += 1;
            return;
        }
        let (name, arguments) = word(text);
        if name.is_empty() {
            return;
        }
        let name = name.to_ascii_uppercase();
        let id = self.transactions;
        self.transactions += 1;
        if !COMMANDS.contains(&&name[..]) {
            context.anomaly("unknown_command", Some(id));
        }
        match &name[..] {
            b"USER" | b"APOP" => {
                context.metadata.add(Field::User, &String::from_utf8_lossy(word(arguments).0));
            }
            b"AUTH" => {
                let (mechanism, initial) = word(arguments);
                if initial.len() > 1 && mechanism.eq_ignore_ascii_case(b"PLAIN") {
                    learn_account(&scan::base64(initial), context);
                }
            }
            _ => {}
        }
        context.metadata.add(Field::Command, &String::from_utf8_lossy(&name));
        let arguments = arguments.split(u8::is_ascii_whitespace).filter(|argument| !argument.is_empty());
        let arguments = arguments.take(8).map(<[u8]>::to_vec).collect();
        if self.pending.len() < PENDING_MAX {
            self.pending.push_back(Box::new(Command { id, name, arguments }));
        }
    }

    /// A line of an answer. Whether TLS begins behind it.
    fn answer(&mut self, text: &[u8], context: &mut Context<'_>) -> bool {
        if let Some(answering) = &mut self.answering {
            if text == b"." {
                self.end_answer(true, context);
            } else if answering.data.len() < DATA_LINES_MAX {
                answering.data.push(text.strip_prefix(b".").unwrap_or(text).to_vec());
            }
            return false;
        }
        let (status, header) = word(text);
        let is_right = status == b"+OK";
        if !is_right && status != b"-ERR" {
            if status.first() == Some(&b'+') {
                let asked = scan::base64(header);
                let is_plain = self
                    .pending
                    .front()
                    .and_then(|command| command.arguments.first())
                    .is_some_and(|name| name.eq_ignore_ascii_case(b"PLAIN"));
                self.auth = Some(is_plain || scan::contains_ignoring_case(&asked, b"user"));
                self.pending.pop_front();
            }
            return false;
        }
        if !self.has_greeting {
            self.has_greeting = true;
            if self.pending.is_empty() && !self.is_lost[1] {
                context.metadata.set_bytes(Field::ServerSoftware, header);
                return false;
            }
        }
        let command = self.pending.pop_front();
        let (name, has_argument) = command
            .as_ref()
            .map_or((&b""[..], false), |command| (&command.name[..], !command.arguments.is_empty()));
        let has_lines = match name {
            b"RETR" | b"TOP" | b"CAPA" => true,
            b"LIST" | b"UIDL" | b"AUTH" => !has_argument,
            _ => false,
        };
        let is_tls = is_right && name == b"STLS";
        if is_right && has_lines && !(name == b"AUTH" && header.is_empty()) {
            let id = command.as_ref().map(|command| command.id);
            let mail = matches!(name, b"RETR" | b"TOP").then(|| Mail::begin(Direction::Reverse, id));
            self.answering =
                Some(Box::new(Answering { command, header: header.to_vec(), data: Vec::new(), mail }));
        } else {
            if command.is_some() {
                context.metadata.add(Field::Status, if is_right { "OK" } else { "ERR" });
            }
            tell(command.as_deref(), Some((is_right, header, &[])), context);
        }
        is_tls
    }

    fn end_answer(&mut self, is_whole: bool, context: &mut Context<'_>) {
        let Some(answering) = self.answering.take() else { return };
        let Answering { command, header, data, mail } = *answering;
        let beside = tell(command.as_deref(), Some((true, &header, &data)), context);
        if let Some(mut mail) = mail {
            mail.end(is_whole, context);
            if let Some(event) = context
                .events
                .as_deref_mut()
                .and_then(|events| events.last_mut())
                .filter(|event| event.kind == "pop3")
            {
                event.beside.extend_from_slice(b"\"email\":");
                mail.write(&mut Object::begin(&mut event.beside));
            }
            mail.tell(context);
            mail.tell_files(&beside, context);
            mail.over(context);
        }
    }
}

/// Whether an answer is positive, its text, its lines.
type Answer<'a> = (bool, &'a [u8], &'a [Vec<u8>]);

/// Tells a command and its answer. Returns the `pop3` member.
fn tell(command: Option<&Command>, answer: Option<Answer<'_>>, context: &mut Context<'_>) -> Vec<u8> {
    let (app, time) = (context.app, context.time);
    let Some(events) = context.events.as_deref_mut() else { return Vec::new() };
    let mut body = Vec::with_capacity(256);
    {
        let mut object = Object::begin(&mut body);
        if let Some(command) = command {
            let mut request = object.object("request");
            request.bytes("command", &command.name).texts("args", &command.arguments);
        }
        if let Some((is_right, header, data)) = answer {
            let mut response = object.object("response");
            response.bool("success", is_right).text("status", if is_right { "OK" } else { "ERR" });
            response.bytes("header", header).texts("data", data);
        }
    }
    let beside = [b"\"pop3\":", &body[..]].concat();
    let transaction = command.map(|command| command.id);
    events.push(Event { transaction, ..Event::new(app, time, Direction::Forward, body) });
    beside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, survives_damage};

    #[test]
    fn commands_are_told_with_their_answers() {
        let trial = Trial::<Pop3>::new()
            .server(b"+OK POP3 server ready\r\n")
            .client(b"USER joe\r\n")
            .server(b"+OK\r\n")
            .client(b"LIST\r\n")
            .server(b"+OK 2 messages\r\n1 120\r\n2 200\r\n.\r\n")
            .client(b"PASS x\r\n")
            .server(b"-ERR no\r\n")
            .close();
        assert_eq!(trial.text(Field::User), "joe");
        assert!(trial.learned().contains(
            r#"pop3 {"request":{"command":"LIST","args":[]},"response":{"success":true,"status":"OK","header":"2 messages","data":["1 120","2 200"]}}"#
        ), "{}", trial.learned());
        assert!(trial.learned().contains(r#""success":false,"status":"ERR","header":"no""#));
    }

    #[test]
    fn a_mail_that_is_fetched_is_read_without_its_dots() {
        let trial = Trial::<Pop3>::new()
            .server(b"+OK POP3 server ready\r\n")
            .client(b"RETR 1\r\n")
            .server(b"+OK 99\r\nSubject: x\r\nContent-Disposition: attachment; filename=f\r\n\r\n..ab\r\n.\r\n+OK\r\n");
        let learned = trial.learned();
        assert!(learned.contains("mail_subject x\n") && learned.contains("\"size\":3"), "{learned}");
    }

    #[test]
    fn tls_follows_stls() {
        let trial = Trial::<Pop3>::new().server(b"+OK POP3\r\n").client(b"STLS\r\n").server(b"+OK go\r\n");
        assert_eq!(trial.end, Some(Progress::Switch(8)));
    }

    #[test]
    fn greetings_say_what_they_are() {
        let probe = |bytes: &[u8], port| {
            Pop3::probe(&First::of(Carrier::Stream, Direction::Reverse, bytes).between(port, 4000))
        };
        assert_eq!(probe(b"+OK POP3 ready\r\n", 9), Probe::Certain);
        assert_eq!(probe(b"+OK\r\n", 110), Probe::Likely);
        assert_eq!(probe(b"+OK\r\n", 6379), Probe::NotForUs);
        assert_eq!(probe(b"+PONG\r\n", 110), Probe::NotForUs);
    }

    #[test]
    fn no_damage_panics() {
        survives_damage::<Pop3>(
            b"USER a\r\nPASS b\r\nLIST\r\nRETR 1\r\n",
            b"+OK POP\r\n+OK\r\n+OK\r\n+OK\r\n1 2\r\n.\r\n+OK\r\nA: b\r\n\r\nc\r\n.\r\n",
        );
    }
}
