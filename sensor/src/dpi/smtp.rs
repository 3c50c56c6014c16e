//! Simple Mail Transfer Protocol (RFC 5321, RFC 3030 for BDAT, RFC 3207 for STARTTLS, RFC 4954 for AUTH).
//!
//! In: both directions of a stream. Out: one event per transaction with EVE's `smtp` and `email` objects, the
//! attachments as files, who talked to whom in metadata. A transaction is told when its message was answered,
//! when it was given up (RSET, EHLO), or when the flow ends. Of authentication only the account is kept. What
//! follows STARTTLS is another protocol's.

mod frames;
mod transaction;

use super::buffers::Buffer;
use super::mail::Mail;
use super::scan::{self, line, starts_with_ignoring_case, word};
use super::{Context, Dissector, First, Probe, Progress, Starts};
use frames::{MessageFrame, tell_line};
use std::collections::VecDeque;
use transaction::Transaction;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Most bytes of a command line that are kept; what is longer is cut off, which is an anomaly.
const LINE_BYTES_MAX: usize = 4096;
/// Most bytes of a reply line that are looked at; the rest passes.
const REPLY_BYTES_MAX: usize = 4096;
/// Most commands whose replies are awaited; with more, replies are no longer told apart.
const PENDING_MAX: usize = 128;
/// Most recipients told of a transaction.
const RECIPIENTS_MAX: usize = 100;
/// Most messages that wait for the reply to their end.
const WAITING_MAX: usize = 16;
/// Ports that speak SMTP, for greetings that do not say so.
const PORTS: &[u16] = &[25, 587, 465, 2525];

/// The dissector of one session.
#[derive(Debug, Default)]
pub(super) struct Smtp {
    phase: Phase,
    helo: Option<Vec<u8>>,
    transactions: u64,
    current: Option<Box<Transaction>>,
    /// Messages whose end was sent and not answered yet.
    waiting: VecDeque<Box<Transaction>>,
    pending: VecDeque<Command>,
    /// The server has said something.
    is_answered: bool,
    /// By direction: the rest of a line that is too long passes.
    is_in_line: [bool; 2],
    /// By direction: bytes are missing, lines begin anew.
    is_lost: [bool; 2],
    has_greeting: bool,
    frame: MessageFrame,
    /// The transaction of which signatures were told last that the server has not said anything.
    unwelcome: Option<u64>,
}

/// What the client's next bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Command,
    /// DATA was sent; the message follows when the server agrees.
    AwaitData,
    /// The message; whether its next byte begins a line.
    Data(bool),
    /// So many bytes of a chunk; whether it is the last.
    Chunk(u64, bool),
    /// What AUTH asks for: whether an account's name comes next.
    Auth(bool),
}

/// A command whose reply is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Hello,
    StartTls,
    Data,
    /// The end of a message.
    End,
    Auth,
    Other,
}

impl Dissector for Smtp {
    const APP: App = App::Smtp;

    const STARTS: Starts = Starts::stream(b"2HhEeMmQqRrNnSs");

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        if bytes.first() == Some(&b'2') {
            return probe_greeting(first);
        }
        let commands: [&[u8]; 4] = [b"EHLO ", b"HELO ", b"MAIL FROM:", b"MAIL FROM :"];
        let head = |command: &[u8]| command.get(..bytes.len().min(command.len())).unwrap_or_default().len();
        let mut probe = Probe::NotForUs;
        for command in commands {
            let length = head(command);
            if bytes
                .get(..length)
                .is_some_and(|start| start.eq_ignore_ascii_case(command.get(..length).unwrap_or_default()))
            {
                probe = match line(bytes) {
                    _ if length < command.len() => Probe::Unsure,
                    Some((text, _)) if scan::is_text(text) => return Probe::Certain,
                    Some(_) => Probe::NotForUs,
                    None if bytes.len() < LINE_BYTES_MAX && scan::is_text(bytes.trim_ascii_end()) => {
                        Probe::Unsure
                    }
                    None => Probe::NotForUs,
                };
            }
        }
        // What others say as well counts with the port.
        let others: [&[u8]; 5] = [b"QUIT", b"NOOP", b"RSET", b"STARTTLS", b"RCPT TO:"];
        if probe == Probe::NotForUs
            && first.has_port_of(PORTS)
            && let Some((text, _)) = line(bytes)
            && scan::is_text(text)
            && others.iter().any(|command| starts_with_ignoring_case(text, command))
        {
            return Probe::Likely;
        }
        if probe == Probe::Unsure && first.has_port_of(PORTS) && bytes.len() > 512 {
            Probe::Likely
        } else {
            probe
        }
    }

    fn new() -> Self {
        Smtp::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        match context.direction {
            Direction::Forward => self.client(bytes, context),
            Direction::Reverse => self.server(bytes, context),
        }
    }

    fn gap(&mut self, missing: u64, context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        self.is_in_line[index] = false;
        if context.direction == Direction::Reverse {
            self.pending.clear();
            self.is_lost[index] = true;
            return Progress::Used(0);
        }
        match self.phase {
            Phase::Chunk(left, is_last) => {
                self.mail_gap(missing.min(left));
                if missing >= left {
                    self.chunk_end(is_last, context);
                } else {
                    self.phase = Phase::Chunk(left - missing, is_last);
                }
                self.is_lost[index] = missing > left;
            }
            Phase::Data(_) => {
                self.frame.end(context);
                self.mail_gap(missing);
                self.phase = Phase::Data(false);
            }
            Phase::Command | Phase::AwaitData | Phase::Auth(_) => self.is_lost[index] = true,
        }
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        self.frame.end(context);
        for mut transaction in std::mem::take(&mut self.waiting) {
            transaction.tell(context);
        }
        if let Some(mut transaction) = self.current.take() {
            if let Some(mail) = &mut transaction.mail {
                mail.end(false, context);
                mail.tell(context);
            }
            transaction.tell(context);
        }
    }

    fn describe(&self, _direction: Direction, transaction: u64, out: &mut Vec<u8>) {
        let mut known = self.waiting.iter().chain(&self.current);
        if let Some(transaction) = known.find(|known| known.id == transaction) {
            transaction.describe(out);
            // As in EVE's event, the message stands beside the envelope.
            if let Some(mail) = &transaction.mail {
                out.extend_from_slice(b",\"email\":");
                mail.write(&mut Object::begin(out));
            }
        }
    }
}

fn probe_greeting(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let start = bytes.get(..4).unwrap_or(bytes);
    if !b"220 ".starts_with(start) && !b"220-".starts_with(start) {
        return Probe::NotForUs;
    }
    let Some((text, _)) = line(bytes) else {
        return if bytes.len() < 1024 && scan::is_text(bytes.trim_ascii_end()) {
            Probe::Unsure
        } else {
            Probe::NotForUs
        };
    };
    if !scan::is_text(text) {
        return Probe::NotForUs;
    }
    // The whole greeting, of however many lines.
    if scan::contains_ignoring_case(bytes, b"SMTP") {
        return Probe::Certain;
    }
    if first.has_port(21) || scan::contains_ignoring_case(bytes, b"FTP") {
        return Probe::NotForUs;
    }
    if first.has_port_of(PORTS) { Probe::Likely } else { Probe::Unsure }
}

impl Smtp {
    fn mail_gap(&mut self, missing: u64) {
        if let Some(mail) = self.current.as_mut().and_then(|transaction| transaction.mail.as_mut()) {
            mail.gap(missing);
        }
    }

    fn client(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let more = match self.phase {
                Phase::Data(at_line) => self.data(rest, at_line, context),
                Phase::Chunk(left, is_last) => self.chunk(rest, left, is_last, context),
                Phase::AwaitData => {
                    self.begin_unasked(rest, context);
                    continue;
                }
                Phase::Command | Phase::Auth(_) => match self.command_line(rest, context) {
                    0 => break,
                    more => more,
                },
            };
            // Only a message's end can be waited for with nothing used.
            if more == 0 && self.phase == Phase::Data(true) {
                break;
            }
            used += more;
        }
        Progress::Used(used)
    }

    /// The client goes on although the server has not agreed to DATA.
    fn begin_unasked(&mut self, rest: &[u8], context: &mut Context<'_>) {
        let is_command = [&b"RSET"[..], b"QUIT", b"MAIL FROM:", b"EHLO ", b"HELO ", b"NOOP"]
            .iter()
            .any(|command| starts_with_ignoring_case(rest, command));
        if self.is_answered && !self.is_lost[Direction::Reverse.index()] {
            context.anomaly("INVALID_PIPELINED_SEQUENCE", self.current.as_ref().map(|current| current.id));
        }
        if is_command {
            self.phase = Phase::Command;
        } else {
            self.begin_data(context);
        }
    }

    fn begin_data(&mut self, context: &mut Context<'_>) {
        self.phase = Phase::Data(true);
        let transaction = self.transaction();
        transaction.tell_head(context);
        let id = transaction.id;
        transaction.mail.get_or_insert_with(|| Mail::begin(Direction::Forward, Some(id)));
        self.frame.begin(id, context);
    }

    /// The current transaction; begins one.
    fn transaction(&mut self) -> &mut Transaction {
        let (transactions, helo) = (&mut self.transactions, &self.helo);
        self.current.get_or_insert_with(|| {
            let id = *transactions;
            *transactions += 1;
            Box::new(Transaction { id, helo: helo.clone(), ..Transaction::default() })
        })
    }

    /// Bytes of a message, up to the line that is a dot alone; dots at the start of lines are doubled (RFC
    /// 5321 section 4.5.2). 0: it takes more bytes to tell.
    fn data(&mut self, rest: &[u8], at_line: bool, context: &mut Context<'_>) -> usize {
        let Some(mail) = self.current.as_mut().and_then(|current| current.mail.as_mut()) else {
            self.phase = Phase::Command;
            return 0;
        };
        if at_line && rest.first() == Some(&b'.') {
            match rest {
                [_, b'\n', ..] => return self.end_data(2, context),
                [_, b'\r', b'\n', ..] => return self.end_data(3, context),
                [_] | [_, b'\r'] => return 0,
                _ => {
                    mail.dot();
                    self.frame.pass(b".", context);
                    self.phase = Phase::Data(false);
                    return 1;
                }
            }
        }
        // Up to the next line that begins with a dot.
        let end = memchr::memmem::find(rest, b"\n.").map(|end| end + 1);
        let piece = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
        mail.bytes(piece, context);
        self.frame.pass(piece, context);
        self.phase = Phase::Data(piece.ends_with(b"\n"));
        piece.len()
    }

    fn end_data(&mut self, used: usize, context: &mut Context<'_>) -> usize {
        self.frame.end(context);
        self.expect_reply(Command::End);
        self.end_message(context);
        used
    }

    /// The message is whole: it waits for its reply.
    fn end_message(&mut self, context: &mut Context<'_>) {
        self.phase = Phase::Command;
        let Some(mut transaction) = self.current.take() else { return };
        if let Some(mail) = &mut transaction.mail {
            mail.end(true, context);
            if mail.tell(context) {
                transaction.over(context);
            }
        }
        if !self.is_answered || self.waiting.len() >= WAITING_MAX {
            transaction.tell(context);
            return;
        }
        self.waiting.push_back(transaction);
    }

    fn chunk(&mut self, rest: &[u8], left: u64, is_last: bool, context: &mut Context<'_>) -> usize {
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let piece = rest.get(..size).unwrap_or(rest);
        if let Some(mail) = self.current.as_mut().and_then(|current| current.mail.as_mut()) {
            mail.bytes(piece, context);
        }
        self.phase = Phase::Chunk(left.saturating_sub(size as u64), is_last);
        if size as u64 == left && !piece.ends_with(b"\n") {
            // Suricata counts lines: that in which the chunk ends goes on behind it.
            let current = self.current.as_ref().map(|current| current.id);
            context.note("BDAT_CHUNK_LEN_EXCEEDED", current);
        }
        if self.phase == Phase::Chunk(0, is_last) {
            self.chunk_end(is_last, context);
        }
        size
    }

    fn chunk_end(&mut self, is_last: bool, context: &mut Context<'_>) {
        self.phase = Phase::Command;
        if is_last {
            self.end_message(context);
        }
    }

    fn expect_reply(&mut self, command: Command) {
        if self.pending.len() < PENDING_MAX {
            self.pending.push_back(command);
        }
    }

    /// Reads a command line; 0: its end has not come.
    fn command_line(&mut self, rest: &[u8], context: &mut Context<'_>) -> usize {
        let index = Direction::Forward.index();
        if self.is_in_line[index] || self.is_lost[index] {
            let end = memchr::memchr(b'\n', rest);
            self.is_in_line[index] = end.is_none() && self.is_in_line[index];
            // After a gap, a line counts that is a command of ours.
            if self.is_lost[index] {
                let (name, _) = word(rest);
                self.is_lost[index] = !is_command(name);
                if !self.is_lost[index] {
                    return self.command_line(rest, context);
                }
            }
            return end.map_or(rest.len(), |end| end + 1);
        }
        let within = rest.get(..LINE_BYTES_MAX).unwrap_or(rest);
        match line(within) {
            Some((text, used)) => {
                self.command(text, context);
                self.after_command(within, used, context);
                used
            }
            None if within.len() < LINE_BYTES_MAX => 0,
            None => {
                self.command(within, context);
                self.after_command(within, within.len(), context);
                context.anomaly("TRUNCATED_LINE", self.current.as_ref().map(|current| current.id));
                self.is_in_line[index] = true;
                within.len()
            }
        }
    }

    /// Tells signatures of a command that was read.
    fn after_command(&mut self, line: &[u8], used: usize, context: &mut Context<'_>) {
        if context.wanted.is_none() {
            return;
        }
        let current = self.current.as_ref().map(|current| current.id);
        tell_line(Buffer::FrameSmtpCommandLine, line, used, current, context);
        if !self.is_answered
            && let Some(number) = current
            && self.unwelcome.replace(number) != current
        {
            // Suricata's rule asks the server's side about it.
            context.odd(Direction::Reverse, number, "NO_SERVER_WELCOME_MESSAGE");
        }
    }

    fn command(&mut self, text: &[u8], context: &mut Context<'_>) {
        if let Phase::Auth(is_name) = self.phase {
            self.phase = Phase::Command;
            self.expect_reply(Command::Auth);
            if is_name {
                learn_account(&scan::base64(text), context);
            }
            return;
        }
        let (name, arguments) = word(text);
        let mut reply = Command::Other;
        if name.eq_ignore_ascii_case(b"EHLO") || name.eq_ignore_ascii_case(b"HELO") {
            reply = Command::Hello;
            self.hello(arguments, context);
        } else if name.eq_ignore_ascii_case(b"MAIL") {
            if self.current.as_ref().is_some_and(|current| current.from.is_some()) {
                context.anomaly("DUPLICATE_FIELDS", self.current.as_ref().map(|current| current.id));
            }
            let path = path(arguments, b"FROM:");
            if !address(path).is_empty() {
                context.metadata.add(Field::MailFrom, &String::from_utf8_lossy(address(path)));
            }
            self.transaction().from = Some(path.to_vec());
        } else if name.eq_ignore_ascii_case(b"RCPT") {
            let path = path(arguments, b"TO:");
            context.metadata.add(Field::MailTo, &String::from_utf8_lossy(address(path)));
            let transaction = self.transaction();
            if transaction.to.len() < RECIPIENTS_MAX {
                transaction.to.push(path.to_vec());
            }
        } else if name.eq_ignore_ascii_case(b"DATA") {
            let transaction = self.transaction();
            if std::mem::replace(&mut transaction.has_data, true) {
                context.anomaly("UNPARSABLE_CONTENT", Some(transaction.id));
            }
            self.phase = Phase::AwaitData;
            reply = Command::Data;
            if !self.is_answered {
                self.begin_data(context);
            }
        } else if name.eq_ignore_ascii_case(b"BDAT") {
            reply = self.begin_chunk(arguments, context);
        } else if name.eq_ignore_ascii_case(b"RSET") {
            self.reset(context);
        } else if name.eq_ignore_ascii_case(b"STARTTLS") {
            reply = Command::StartTls;
        } else if name.eq_ignore_ascii_case(b"AUTH") {
            reply = Command::Auth;
            let (mechanism, initial) = word(arguments);
            let is_plain =
                mechanism.eq_ignore_ascii_case(b"PLAIN") || mechanism.eq_ignore_ascii_case(b"XOAUTH2");
            if !initial.is_empty() && (is_plain || mechanism.eq_ignore_ascii_case(b"LOGIN")) {
                learn_account(&scan::base64(initial), context);
            } else if is_plain || mechanism.eq_ignore_ascii_case(b"LOGIN") {
                self.phase = Phase::Auth(true);
            }
        } else if self.transactions == 0 && !name.eq_ignore_ascii_case(b"QUIT") {
            self.transaction();
        }
        self.expect_reply(reply);
    }

    fn hello(&mut self, name: &[u8], context: &mut Context<'_>) {
        context.metadata.add(Field::EndpointName, &String::from_utf8_lossy(name));
        if self.helo.is_some() && self.current.is_some() {
            context.anomaly("DUPLICATE_FIELDS", self.current.as_ref().map(|current| current.id));
        }
        let is_first = self.helo.is_none();
        self.helo = Some(name.to_vec());
        // A session that does not get further is told as well.
        if is_first {
            self.transaction();
        }
    }

    fn begin_chunk(&mut self, arguments: &[u8], context: &mut Context<'_>) -> Command {
        let (size, mark) = word(arguments);
        let Some(size) = scan::decimal(size) else {
            context.anomaly("INVALID_REQUEST", self.current.as_ref().map(|current| current.id));
            return Command::Other;
        };
        let is_last = word(mark).0.eq_ignore_ascii_case(b"LAST");
        let transaction = self.transaction();
        transaction.tell_head(context);
        let id = transaction.id;
        transaction.mail.get_or_insert_with(|| Mail::begin(Direction::Forward, Some(id)));
        self.phase = Phase::Chunk(size, is_last);
        if size == 0 {
            self.chunk_end(is_last, context);
        }
        if is_last { Command::End } else { Command::Other }
    }

    /// The transaction is given up.
    fn reset(&mut self, context: &mut Context<'_>) {
        if self.current.as_ref().is_some_and(|current| current.from.is_some() || current.is_rejected)
            && let Some(mut transaction) = self.current.take()
        {
            transaction.tell(context);
        }
    }

    fn server(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = Direction::Reverse.index();
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let within = rest.get(..REPLY_BYTES_MAX).unwrap_or(rest);
            let (text, more) = match line(within) {
                Some(found) => found,
                None if within.len() < REPLY_BYTES_MAX => break,
                None => (within, within.len()),
            };
            used += more;
            let is_rest = std::mem::replace(
                &mut self.is_in_line[index],
                !within.get(..more).is_some_and(|line| line.ends_with(b"\n")),
            );
            if is_rest {
                continue;
            }
            if context.wanted.is_some() {
                let current = self.current.as_ref().or(self.waiting.front()).map(|current| current.id);
                tell_line(Buffer::FrameSmtpResponseLine, within, more, current, context);
            }
            if self.reply(text, context) {
                return Progress::Switch(used);
            }
        }
        Progress::Used(used)
    }

    /// A line of a reply. Whether TLS begins behind it.
    fn reply(&mut self, text: &[u8], context: &mut Context<'_>) -> bool {
        self.is_answered = true;
        let code = text.get(..3).and_then(scan::decimal);
        let Some(code) = code.filter(|code| (200..600).contains(code)) else {
            if !std::mem::replace(&mut self.is_lost[Direction::Reverse.index()], false) {
                context.anomaly("INVALID_REPLY", self.current.as_ref().map(|current| current.id));
            }
            return false;
        };
        let is_last = !matches!(text.get(3), Some(b'-'));
        if !self.has_greeting && self.pending.is_empty() {
            context.metadata.set_bytes(Field::ServerSoftware, text.get(4..).unwrap_or_default());
            self.has_greeting = is_last;
            if code != 220 {
                context.note("INVALID_REPLY", self.current.as_ref().map(|current| current.id));
            }
            return false;
        }
        if !is_last {
            return false;
        }
        self.has_greeting = true;
        let Some(command) = self.pending.pop_front() else { return false };
        match command {
            // The server turns out to answer after the client's messages were taken for unanswered ones.
            Command::Hello if code < 400 => self.reset(context),
            Command::Data if code == 354 => {
                if self.phase == Phase::AwaitData {
                    self.begin_data(context);
                }
            }
            Command::Data => {
                if let Some(transaction) = &mut self.current {
                    transaction.is_rejected = true;
                }
                context.anomaly("DATA_COMMAND_REJECTED", self.current.as_ref().map(|current| current.id));
                if matches!(self.phase, Phase::AwaitData) {
                    self.phase = Phase::Command;
                }
            }
            Command::End => {
                context.metadata.add(Field::Status, &code.to_string());
                if let Some(mut transaction) = self.waiting.pop_front() {
                    transaction.tell(context);
                }
            }
            Command::StartTls if code == 220 => return true,
            Command::StartTls => {
                context.anomaly("TLS_REJECTED", self.current.as_ref().map(|current| current.id));
            }
            Command::Auth if code == 334 => {
                // LOGIN asks for the name first; what it asks for stands in the reply in Base64.
                let asked = scan::base64(text.get(4..).unwrap_or_default());
                let is_name =
                    matches!(self.phase, Phase::Auth(true)) || scan::contains_ignoring_case(&asked, b"user");
                self.phase = Phase::Auth(is_name);
            }
            Command::Auth if matches!(self.phase, Phase::Auth(_)) => self.phase = Phase::Command,
            Command::Hello | Command::Auth | Command::Other => {}
        }
        false
    }
}

/// The account that PLAIN, LOGIN or XOAUTH2 names, without what proves it.
pub(super) fn learn_account(decoded: &[u8], context: &mut Context<'_>) {
    let account = if let Some(token) = decoded.strip_prefix(b"user=") {
        token.split(|byte| *byte == 1).next()
    } else if decoded.contains(&0) {
        // authorization identity, account, password (RFC 4616)
        decoded.split(|byte| *byte == 0).nth(1)
    } else {
        Some(decoded)
    };
    let account = account.unwrap_or_default();
    if !account.is_empty() && scan::is_text(account) {
        context.metadata.add(Field::User, &String::from_utf8_lossy(account));
    }
}

/// The path of MAIL or RCPT, as it stands there.
fn path<'a>(arguments: &'a [u8], mark: &[u8]) -> &'a [u8] {
    let rest = if starts_with_ignoring_case(arguments, mark) {
        arguments.get(mark.len()..).unwrap_or_default()
    } else {
        // A blank before the colon.
        memchr::memchr(b':', arguments).and_then(|at| arguments.get(at + 1..)).unwrap_or_default()
    };
    let rest = rest.trim_ascii_start();
    match (rest.first(), memchr::memchr(b'>', rest)) {
        (Some(b'<'), Some(end)) => rest.get(..=end).unwrap_or(rest),
        _ => word(rest).0,
    }
}

fn address(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"<").and_then(|path| path.strip_suffix(b">")).unwrap_or(path)
}

fn is_command(name: &[u8]) -> bool {
    [&b"EHLO"[..], b"HELO", b"MAIL", b"RCPT", b"DATA", b"BDAT", b"RSET", b"NOOP", b"QUIT", b"VRFY", b"AUTH"]
        .iter()
        .any(|command| name.eq_ignore_ascii_case(command))
}

#[cfg(test)]
mod tests;
