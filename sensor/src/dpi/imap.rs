//! Internet Message Access Protocol (RFC 9051 and RFC 3501, RFC 2595 for STARTTLS).
//!
//! In: both directions of a stream. Out: one event per command with the lines of its answer in EVE's `imap` form,
//! the account, the mails that FETCH brings and APPEND takes, with their attachments as files; and the lines, for
//! signatures. Of an answer the first lines are kept. What follows STARTTLS is another protocol's; with COMPRESS
//! nothing more is read.

use super::buffers::{Buffer, Stage};
use super::mail::Mail;
use super::scan::{self, line, line_within, word};
use super::smtp::learn_account;
use super::{Context, Dissector, Event, First, Probe, Progress, Starts};
use std::collections::VecDeque;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Longest line that is waited for; of a longer one the rest passes.
const LINE_BYTES_MAX: usize = 8192;
/// Most commands without their tagged answer.
const PENDING_MAX: usize = 64;
/// Most lines told of each side of a transaction.
const LINES_MAX: usize = 64;
/// Most bytes told of a line.
const LINE_BYTES_TOLD: usize = 1024;
/// Longest tag that is taken for one.
const TAG_BYTES_MAX: usize = 32;

const COMMANDS: &[&[u8]] = &[
    b"CAPABILITY",
    b"NOOP",
    b"LOGOUT",
    b"STARTTLS",
    b"AUTHENTICATE",
    b"LOGIN",
    b"SELECT",
    b"EXAMINE",
    b"CREATE",
    b"DELETE",
    b"RENAME",
    b"SUBSCRIBE",
    b"UNSUBSCRIBE",
    b"LIST",
    b"LSUB",
    b"STATUS",
    b"APPEND",
    b"CHECK",
    b"CLOSE",
    b"EXPUNGE",
    b"SEARCH",
    b"FETCH",
    b"STORE",
    b"COPY",
    b"UID",
    b"IDLE",
    b"ID",
    b"NAMESPACE",
    b"ENABLE",
    b"MOVE",
    b"COMPRESS",
    b"UNSELECT",
    b"XLIST",
    b"GETQUOTAROOT",
    b"GETQUOTA",
    b"SORT",
    b"THREAD",
];

/// The dissector of one session.
#[derive(Debug, Default)]
pub(super) struct Imap {
    pending: VecDeque<Box<Transaction>>,
    transactions: u64,
    /// By direction: a literal that passes.
    literals: [Option<Box<Literal>>; 2],
    is_in_line: [bool; 2],
    is_lost: [bool; 2],
    has_greeting: bool,
    /// The server waits for what AUTHENTICATE asks.
    is_asked: bool,
}

/// A string of announced length.
#[derive(Debug)]
struct Literal {
    left: u64,
    mail: Option<Box<Mail>>,
    /// The account that LOGIN names.
    account: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Transaction {
    id: u64,
    tag: Vec<u8>,
    command: Vec<u8>,
    requests: Vec<Line>,
    responses: Vec<Line>,
    /// It has brought a mail.
    has_mail: bool,
}

/// A line of a transaction.
#[derive(Debug, Default)]
struct Line {
    text: Vec<u8>,
    /// EVE's `email` object of the mail that it brought.
    email: Vec<u8>,
}

impl Dissector for Imap {
    const APP: App = App::Imap;

    const STARTS: Starts =
        Starts::stream(b"*0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.");

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        if bytes.first() == Some(&b'*') {
            let greetings: [&[u8]; 3] = [b"* OK", b"* PREAUTH", b"* BYE"];
            let is_greeting = greetings.iter().any(|greeting| {
                let length = bytes.len().min(greeting.len());
                bytes.get(..length) == greeting.get(..length)
            });
            return match line(bytes) {
                _ if !is_greeting => Probe::NotForUs,
                None if bytes.len() < 1024 => Probe::Unsure,
                None => Probe::NotForUs,
                Some((text, _)) if !scan::is_text(text) => Probe::NotForUs,
                Some((text, _)) if scan::contains_ignoring_case(text, b"IMAP") => Probe::Certain,
                Some(_) if first.has_port(143) => Probe::Certain,
                Some(_) => Probe::Likely,
            };
        }
        let tag = bytes
            .iter()
            .take(TAG_BYTES_MAX + 1)
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
            .count();
        if tag > TAG_BYTES_MAX || bytes.get(tag).is_some_and(|byte| *byte != b' ') {
            return Probe::NotForUs;
        }
        let Some(after) = bytes.get(tag + 1..) else { return Probe::Unsure };
        let Some((text, _)) = line(after) else {
            let (name, rest) = word(after);
            let is_possible = if rest.is_empty() {
                COMMANDS.iter().any(|command| scan::starts_with_ignoring_case(command, name))
            } else {
                is_command(name)
            };
            return if is_possible && bytes.len() < 512 { Probe::Unsure } else { Probe::NotForUs };
        };
        let (name, arguments) = word(text);
        // A tag has a digit nearly always; so have no words of other protocols before these commands.
        let has_digit = bytes.get(..tag).is_some_and(|tag| tag.iter().any(u8::is_ascii_digit));
        if !has_digit || !is_command(name) || !scan::is_text(text) {
            return Probe::NotForUs;
        }
        let is_bare = [&b"CAPABILITY"[..], b"NOOP", b"LOGOUT", b"STARTTLS"]
            .iter()
            .any(|bare| name.eq_ignore_ascii_case(bare));
        let is_plain = [&b"LOGIN"[..], b"AUTHENTICATE"].iter().any(|plain| name.eq_ignore_ascii_case(plain));
        match (is_bare && arguments.is_empty(), is_plain && !arguments.is_empty()) {
            (true, _) | (_, true) => Probe::Certain,
            _ if first.has_port(143) => Probe::Certain,
            _ if name.eq_ignore_ascii_case(b"ID") && arguments.starts_with(b"(") => Probe::Certain,
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Imap::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if self.literals[index].is_some() {
                used += self.literal(rest, context);
                continue;
            }
            let Some((text, more, is_cut)) = line_within(rest, LINE_BYTES_MAX) else { break };
            used += more;
            let is_rest = std::mem::replace(&mut self.is_in_line[index], is_cut);
            if is_rest {
                continue;
            }
            match context.direction {
                Direction::Forward => self.request(text, context),
                Direction::Reverse => match self.response(text, context) {
                    After::Nothing => {}
                    After::Tls => return Progress::Switch(used),
                    After::Compression => return Progress::Done,
                },
            }
        }
        Progress::Used(used)
    }

    fn gap(&mut self, missing: u64, context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        self.is_in_line[index] = false;
        match &mut self.literals[index] {
            Some(literal) => {
                let within = missing.min(literal.left);
                literal.left -= within;
                if let Some(mail) = &mut literal.mail {
                    mail.gap(within);
                }
                if missing > within {
                    self.is_lost[index] = true;
                }
                if literal.left == 0 {
                    self.end_literal(true, context);
                }
            }
            None => self.is_lost[index] = true,
        }
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        for index in [0, 1] {
            if self.literals[index].is_some() {
                context.direction = if index == 0 { Direction::Forward } else { Direction::Reverse };
                self.end_literal(false, context);
            }
        }
        for transaction in std::mem::take(&mut self.pending) {
            transaction.tell(context);
        }
    }
}

/// What comes behind an answer.
enum After {
    Nothing,
    Tls,
    Compression,
}

impl Imap {
    fn literal(&mut self, rest: &[u8], context: &mut Context<'_>) -> usize {
        let Some(literal) = &mut self.literals[context.direction.index()] else { return 0 };
        let size = usize::try_from(literal.left).unwrap_or(usize::MAX).min(rest.len());
        literal.left -= size as u64;
        let bytes = rest.get(..size).unwrap_or(rest);
        if let Some(mail) = &mut literal.mail {
            mail.bytes(bytes, context);
        }
        if let Some(account) = literal.account.as_mut().filter(|account| account.len() < LINE_BYTES_TOLD) {
            account.extend_from_slice(bytes.get(..LINE_BYTES_TOLD).unwrap_or(bytes));
        }
        if literal.left == 0 {
            self.end_literal(true, context);
        }
        size
    }

    fn end_literal(&mut self, is_whole: bool, context: &mut Context<'_>) {
        // The rest of the line that the literal stands in comes next, and is not a new answer.
        let Some(literal) = self.literals[context.direction.index()].take() else { return };
        self.is_in_line[context.direction.index()] = true;
        if let Some(account) = &literal.account {
            context.metadata.add(Field::User, &String::from_utf8_lossy(account));
        }
        let Some(mut mail) = literal.mail else { return };
        mail.end(is_whole, context);
        if context.events.is_some()
            && let Some(transaction) = self.pending.front_mut()
        {
            let lines = match context.direction {
                Direction::Forward => &mut transaction.requests,
                Direction::Reverse => &mut transaction.responses,
            };
            if let Some(line) = lines.last_mut() {
                line.email.clear();
                mail.write(&mut Object::begin(&mut line.email));
            }
        }
        mail.tell(context);
        mail.tell_files(b"", context);
        mail.over(context);
    }

    /// Whether a line ends with the announcement of a literal, which then begins.
    ///
    /// Further mails of a transaction have numbers of their own: signatures look into each for itself, and the first ends
    /// what they are told under the transaction's.
    fn begin_literal(&mut self, text: &[u8], is_mail: bool, context: &Context<'_>) {
        let Some(text) = text.strip_suffix(b"}") else { return };
        let Some(brace) = memchr::memrchr(b'{', text) else { return };
        let size = text.get(brace + 1..).unwrap_or_default();
        let Some(left) = scan::decimal(size.strip_suffix(b"+").unwrap_or(size)) else { return };
        if left == 0 {
            self.is_in_line[context.direction.index()] = true;
            return;
        }
        let mut mail = None;
        if is_mail {
            let id = self.pending.front_mut().map(|transaction| {
                if !std::mem::replace(&mut transaction.has_mail, true) {
                    return transaction.id;
                }
                self.transactions += 1;
                self.transactions - 1
            });
            mail = Some(Mail::begin(context.direction, id));
        }
        let is_login = context.direction == Direction::Forward
            && self.pending.back().is_some_and(|transaction| transaction.command == b"LOGIN");
        let account = is_login.then(Vec::new);
        self.literals[context.direction.index()] = Some(Box::new(Literal { left, mail, account }));
    }

    fn request(&mut self, text: &[u8], context: &mut Context<'_>) {
        if std::mem::replace(&mut self.is_asked, false) {
            learn_account(&scan::base64(text), context);
            return;
        }
        let (tag, rest) = word(text);
        let (name, arguments) = word(rest);
        if tag.is_empty() || tag.len() > TAG_BYTES_MAX || name.is_empty() {
            // DONE after IDLE, an answer to a continuation.
            if let Some(transaction) = self.pending.back_mut() {
                transaction.add(Direction::Forward, text);
                context.put(Direction::Forward, transaction.id, Buffer::ImapRequest, text);
            }
            return;
        }
        let is_lost = std::mem::replace(&mut self.is_lost[0], false);
        if !is_command(name) && !name.iter().all(|byte| byte.is_ascii_alphabetic()) {
            if !is_lost {
                context.anomaly("invalid_data", Some(self.transactions));
            }
            return;
        }
        let command = name.to_ascii_uppercase();
        context.metadata.add(Field::Command, &String::from_utf8_lossy(&command));
        match &command[..] {
            b"LOGIN" => {
                let user = quoted(arguments);
                if !user.is_empty() && !user.starts_with(b"{") {
                    context.metadata.add(Field::User, &String::from_utf8_lossy(user));
                }
            }
            b"AUTHENTICATE" => {
                let (mechanism, initial) = word(arguments);
                if initial.len() > 1 && !mechanism.eq_ignore_ascii_case(b"GSSAPI") {
                    learn_account(&scan::base64(initial), context);
                }
            }
            b"SELECT" | b"EXAMINE" => {
                context.metadata.add(Field::Object, &String::from_utf8_lossy(quoted(arguments)));
            }
            b"ID" => {
                if let Some(name) = id_value(arguments) {
                    context.metadata.set_text(Field::ClientSoftware, &name);
                }
            }
            _ => {}
        }
        let mut transaction =
            Transaction { id: self.transactions, tag: tag.to_vec(), ..Transaction::default() };
        self.transactions += 1;
        transaction.add(Direction::Forward, text);
        context.put(Direction::Forward, transaction.id, Buffer::ImapRequest, text);
        let is_append = command == b"APPEND";
        let has_email = is_append || scan::contains_ignoring_case(text, b"FETCH");
        let teller = if is_append { Direction::Forward } else { Direction::Reverse };
        if has_email {
            context.put(teller, transaction.id, Buffer::EmailCommand, &name.to_ascii_lowercase());
        }
        // More lines follow some, and what is said of a mail is told behind it.
        let goes_on = is_append || text.ends_with(b"}") || matches!(&command[..], b"AUTHENTICATE" | b"IDLE");
        if !goes_on {
            context.reached(Direction::Forward, transaction.id, Stage::Body);
        }
        transaction.command = command;
        if self.pending.len() >= PENDING_MAX {
            context.anomaly("too_many_transactions", Some(transaction.id));
            if let Some(oldest) = self.pending.pop_front() {
                oldest.tell(context);
            }
        }
        self.pending.push_back(Box::new(transaction));
        self.begin_literal(text, is_append, context);
    }

    fn response(&mut self, text: &[u8], context: &mut Context<'_>) -> After {
        let (tag, rest) = word(text);
        let is_lost = std::mem::replace(&mut self.is_lost[1], false);
        if tag == b"*" || tag == b"+" {
            if tag == b"*" && !std::mem::replace(&mut self.has_greeting, true) && self.pending.is_empty() {
                let (status, greeting) = word(rest);
                if status.eq_ignore_ascii_case(b"OK") || status.eq_ignore_ascii_case(b"PREAUTH") {
                    context.metadata.set_bytes(Field::ServerSoftware, greeting);
                }
            }
            if tag == b"+"
                && let Some(transaction) = self.pending.back()
                && transaction.command == b"AUTHENTICATE"
            {
                // Only what is not a challenge asks for the account in the clear.
                let asked = scan::base64(rest);
                self.is_asked = transaction.responses.is_empty()
                    && (asked.is_empty() || scan::contains_ignoring_case(&asked, b"user"));
            }
            match self.pending.front_mut() {
                Some(transaction) => {
                    transaction.add(Direction::Reverse, text);
                    context.put(Direction::Reverse, transaction.id, Buffer::ImapResponse, text);
                }
                None => {
                    let mut alone = Transaction { id: self.transactions, ..Transaction::default() };
                    self.transactions += 1;
                    alone.add(Direction::Reverse, text);
                    context.put(Direction::Reverse, alone.id, Buffer::ImapResponse, text);
                    context.reached(Direction::Reverse, alone.id, Stage::Body);
                    alone.tell(context);
                }
            }
            let is_mail = scan::contains_ignoring_case(text, b"BODY[] ")
                || scan::contains_ignoring_case(text, b"RFC822 ")
                || scan::contains_ignoring_case(text, b"BODY[]<");
            self.begin_literal(text, is_mail, context);
            return After::Nothing;
        }
        let Some(at) = self.pending.iter().position(|transaction| transaction.tag == tag) else {
            if !is_lost {
                context.anomaly("request_not_found", Some(self.transactions));
            }
            return After::Nothing;
        };
        let Some(mut transaction) = self.pending.remove(at) else { return After::Nothing };
        transaction.add(Direction::Reverse, text);
        context.put(Direction::Reverse, transaction.id, Buffer::ImapResponse, text);
        for direction in [Direction::Forward, Direction::Reverse] {
            context.reached(direction, transaction.id, Stage::Body);
        }
        let (status, _) = word(rest);
        context.metadata.add(Field::Status, &String::from_utf8_lossy(status));
        transaction.tell(context);
        match &transaction.command[..] {
            b"STARTTLS" if status.eq_ignore_ascii_case(b"OK") => After::Tls,
            b"COMPRESS" if status.eq_ignore_ascii_case(b"OK") => After::Compression,
            _ => After::Nothing,
        }
    }
}

impl Transaction {
    fn add(&mut self, direction: Direction, text: &[u8]) {
        let lines = if direction == Direction::Forward { &mut self.requests } else { &mut self.responses };
        if lines.len() < LINES_MAX {
            lines
                .push(Line { text: text.get(..LINE_BYTES_TOLD).unwrap_or(text).to_vec(), email: Vec::new() });
        }
    }

    fn tell(&self, context: &mut Context<'_>) {
        let (app, time) = (context.app, context.time);
        let Some(events) = context.events.as_deref_mut() else { return };
        let mut body = Vec::with_capacity(256);
        {
            let mut object = Object::begin(&mut body);
            for (key, lines) in [("requests", &self.requests), ("responses", &self.responses)] {
                if !lines.is_empty() {
                    let mut list = object.list(key);
                    for line in lines {
                        let mut object = list.object();
                        object.bytes("line", &line.text);
                        if !line.email.is_empty() {
                            object.raw("email", &line.email);
                        }
                    }
                }
            }
        }
        let direction = if self.requests.is_empty() { Direction::Reverse } else { Direction::Forward };
        events.push(Event { transaction: Some(self.id), ..Event::new(app, time, direction, body) });
    }
}

/// The first argument, without its quotes.
fn quoted(arguments: &[u8]) -> &[u8] {
    match arguments.strip_prefix(b"\"") {
        Some(rest) => rest.get(..memchr::memchr(b'"', rest).unwrap_or(rest.len())).unwrap_or(rest),
        None => word(arguments).0,
    }
}

/// Name and version in the list of ID (RFC 2971).
fn id_value(arguments: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(arguments);
    let strings: Vec<&str> = text.split('"').skip(1).step_by(2).take(32).collect();
    let value = |key: &str| {
        strings.chunks_exact(2).find(|pair| pair[0].eq_ignore_ascii_case(key)).map(|pair| pair[1])
    };
    let name = value("name")?;
    Some(value("version").map_or_else(|| name.to_owned(), |version| format!("{name} {version}")))
}

fn is_command(name: &[u8]) -> bool {
    COMMANDS.iter().any(|command| name.eq_ignore_ascii_case(command))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, survives_damage};

    const SERVER: &[u8] = b"* OK IMAP4rev1 ready\r\n";

    #[test]
    fn commands_are_told_with_the_lines_of_their_answers() {
        let trial = Trial::<Imap>::new()
            .server(SERVER)
            .client(b"a1 LOGIN \"joe\" secret\r\n")
            .server(b"* CAPABILITY IMAP4rev1\r\na1 OK done\r\n")
            .close();
        assert_eq!(trial.text(Field::User), "joe");
        assert!(trial.learned().contains(
            r#"imap {"requests":[{"line":"a1 LOGIN \"joe\" secret"}],"responses":[{"line":"* CAPABILITY IMAP4rev1"},{"line":"a1 OK done"}]}"#
        ), "{}", trial.learned());
    }

    #[test]
    fn a_mail_in_a_literal_is_read() {
        let mail = b"Subject: x\r\nContent-Disposition: attachment; filename=f\r\n\r\nabc";
        let fetch =
            [format!("* 1 FETCH (BODY[] {{{}}}\r\n", mail.len()).as_bytes(), mail, b")\r\na2 OK done\r\n"]
                .concat();
        let trial =
            Trial::<Imap>::new().server(SERVER).client(b"a2 FETCH 1 BODY[]\r\n").server(&fetch).close();
        let learned = trial.learned();
        assert!(learned.contains("mail_subject x\n") && learned.contains("\"size\":3"), "{learned}");
        assert!(learned.contains("{\"line\":\"a2 OK done\"}") && trial.malformed == 0, "{learned}");
    }

    #[test]
    fn signatures_are_told_the_lines_of_commands_and_answers() {
        let mut trial = Trial::<Imap>::new()
            .server(SERVER)
            .client(b"a1 LOGIN joe secret\r\n")
            .server(b"* CAPABILITY IMAP4rev1\r\na1 OK done\r\n")
            .client(b"a2 IDLE\r\n")
            .server(b"+ idling\r\n")
            .client(b"DONE\r\n")
            .server(b"a2 OK done\r\n")
            .close();
        let told = trial.told();
        for line in [
            "imap.request a1 LOGIN joe secret",
            "imap.response * OK IMAP4rev1 ready",
            "imap.response * CAPABILITY IMAP4rev1",
            "imap.response a1 OK done",
            "imap.request a2 IDLE",
            "imap.request DONE",
            "imap.response + idling",
            "imap.response a2 OK done",
        ] {
            assert!(told.contains(line), "{line}\n{told}");
        }
        let mut trial = Trial::<Imap>::new()
            .server(SERVER)
            .client(b"a1 append box {13}\r\n")
            .server(b"+ go\r\n")
            .client(b"Subject: x\r\n\r\n\r\n")
            .server(b"a1 OK done\r\n")
            .close();
        let told = trial.told();
        assert!(told.contains("email.command append") && told.contains("email.subject x"), "{told}");
        assert!(!told.contains("email.command fetch"), "{told}");
    }

    #[test]
    fn each_mail_of_an_answer_is_told_for_itself() {
        let mail = |name: &str| format!("Subject: {name}\r\n\r\n{name} body\r\n");
        let fetched = |number: u32, name: &str| {
            let mail = mail(name);
            format!("* {number} FETCH (BODY[] {{{}}}\r\n{mail})\r\n", mail.len())
        };
        let answer = [fetched(1, "one"), fetched(2, "two"), "a1 OK done\r\n".to_owned()].concat();
        let mut trial = Trial::<Imap>::new()
            .server(SERVER)
            .client(b"a1 FETCH 1:2 BODY[]\r\n")
            .server(answer.as_bytes())
            .client(b"a2 NOOP\r\n")
            .close();
        let told = trial.told();
        for line in
            ["server 1 email.subject one", "server 2 email.subject two", "client 3 imap.request a2 NOOP"]
        {
            assert!(told.contains(line), "{line}\n{told}");
        }
    }

    #[test]
    fn an_account_may_be_a_literal() {
        let trial = Trial::<Imap>::new()
            .server(SERVER)
            .client(b"a1 LOGIN {3}\r\n")
            .server(b"+ go\r\n")
            .client(b"joe {1}\r\n");
        assert_eq!(trial.text(Field::User), "joe");
    }

    #[test]
    fn tls_follows_starttls() {
        let trial = Trial::<Imap>::new().server(SERVER).client(b"1 STARTTLS\r\n").server(b"1 OK go\r\n");
        assert_eq!(trial.end, Some(Progress::Switch(9)));
    }

    #[test]
    fn both_sides_are_recognised() {
        let probe = |bytes: &[u8]| Imap::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(probe(SERVER), Probe::Certain);
        assert_eq!(probe(b"a001 LOGIN a b\r\n"), Probe::Certain);
        assert_eq!(probe(b"1 CAPABILITY\r\n"), Probe::Certain);
        assert_eq!(probe(b"1 CAPAB"), Probe::Unsure);
        assert_eq!(probe(b"GET / HTTP/1.1\r\n"), Probe::NotForUs);
        assert_eq!(probe(b"a1 hello\r\n"), Probe::NotForUs);
    }

    #[test]
    fn no_damage_panics() {
        survives_damage::<Imap>(
            b"1 LOGIN a b\r\n2 APPEND x {5}\r\nA: b\n\r\n3 IDLE\r\nDONE\r\n",
            b"* OK IMAP\r\n1 OK\r\n* 1 FETCH (BODY[] {4}\r\nA: b)\r\n2 OK\r\n+ idle\r\n",
        );
    }
}
