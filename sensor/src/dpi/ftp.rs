//! File Transfer Protocol: the control connection (RFC 959, RFC 2228 for AUTH, RFC 2428 for EPRT and EPSV).
//!
//! In: both directions of a stream. Out: one event per command with its reply in EVE's `ftp` form, one for the
//! greeting, the account and the files in metadata; the data connections, announced when the command that they
//! are for is seen. What follows an accepted AUTH is another protocol's.

use super::buffers::{Buffer, Number, Stage};
use super::scan::{self, line, line_within, word};
use super::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use std::collections::VecDeque;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::{Address, Direction};

/// Most bytes of a line that are kept; what is longer is cut off, which is an anomaly.
const LINE_BYTES_MAX: usize = 4096;
/// Most commands whose replies are awaited.
const PENDING_MAX: usize = 64;
/// Most lines told of a reply.
const REPLY_LINES_MAX: usize = 64;
/// Port of the control connection.
const PORT: u16 = 21;

const COMMANDS: &[&[u8]] = &[
    b"USER",
    b"PASS",
    b"ACCT",
    b"CWD",
    b"CDUP",
    b"SMNT",
    b"REIN",
    b"QUIT",
    b"PORT",
    b"PASV",
    b"TYPE",
    b"STRU",
    b"MODE",
    b"RETR",
    b"STOR",
    b"STOU",
    b"APPE",
    b"ALLO",
    b"REST",
    b"RNFR",
    b"RNTO",
    b"ABOR",
    b"DELE",
    b"RMD",
    b"MKD",
    b"PWD",
    b"LIST",
    b"NLST",
    b"SITE",
    b"SYST",
    b"STAT",
    b"HELP",
    b"NOOP",
    b"AUTH",
    b"ADAT",
    b"PROT",
    b"PBSZ",
    b"CCC",
    b"MIC",
    b"CONF",
    b"ENC",
    b"FEAT",
    b"OPTS",
    b"EPRT",
    b"EPSV",
    b"LANG",
    b"MDTM",
    b"MLSD",
    b"MLST",
    b"SIZE",
    b"HOST",
    b"CLNT",
    b"XPWD",
    b"XCWD",
    b"XMKD",
    b"XRMD",
    b"XCUP",
    b"AUTH_TLS",
    b"MFMT",
    b"XSHA1",
    b"XCRC",
    b"LPRT",
    b"LPSV",
];

/// The dissector of one control connection.
#[derive(Debug, Default)]
pub(super) struct Ftp {
    pending: VecDeque<Box<Transaction>>,
    transactions: u64,
    /// Lines of the reply that has begun.
    reply: Reply,
    /// Where the next data connection will be.
    data: Option<Announced>,
    is_in_line: [bool; 2],
    is_lost: [bool; 2],
    /// Something was not seen, perhaps where a data connection was announced.
    has_gaps: bool,
}

/// Where a data connection was announced.
#[derive(Clone, Copy, Debug)]
struct Announced {
    address: Address,
    port: u16,
    /// Whose end it is.
    is_client: bool,
}

#[derive(Debug, Default)]
struct Transaction {
    id: u64,
    command: Vec<u8>,
    data: Option<Vec<u8>>,
    is_truncated: bool,
    reply: Reply,
    /// The announced port; whether the client announced it.
    dynamic: Option<(u16, bool)>,
}

#[derive(Debug, Default)]
struct Reply {
    lines: Vec<Vec<u8>>,
    codes: Vec<u16>,
    /// Code of a reply that goes on until a line with it and a blank.
    open: Option<u16>,
    is_truncated: bool,
}

impl Dissector for Ftp {
    const APP: App = App::Ftp;

    const STARTS: Starts = Starts::stream(b"12345UuPpAaCcFfSsTtLlNnQqEeOoMmRrDdHhXx");

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        let is_greeted = first.other.head().starts_with(b"220")
            && !scan::contains_ignoring_case(first.other.head(), b"SMTP");
        let Some((text, _)) = line(bytes) else {
            let is_possible = bytes.len() < 1024 && scan::is_text(bytes.trim_ascii_end());
            let is_start = bytes.first().is_some_and(u8::is_ascii_digit)
                && (b"220 ".starts_with(bytes.get(..4).unwrap_or(bytes))
                    || b"220-".starts_with(bytes.get(..4).unwrap_or(bytes)))
                || is_command_start(bytes) && (first.has_port(PORT) || is_greeted);
            return if is_possible && is_start { Probe::Unsure } else { Probe::NotForUs };
        };
        if !scan::is_text(text) {
            return Probe::NotForUs;
        }
        let is_reply = text.get(..3).is_some_and(|code| code.iter().all(u8::is_ascii_digit))
            && matches!(text.get(3), Some(b' ' | b'-'));
        if is_reply {
            let is_greeting = text.starts_with(b"220");
            if scan::contains_ignoring_case(bytes, b"SMTP") {
                return Probe::NotForUs;
            }
            return match (is_greeting && scan::contains_ignoring_case(bytes, b"FTP"), first.has_port(PORT)) {
                (true, _) => Probe::Certain,
                (false, true) => Probe::Likely,
                (false, false) if is_greeting && !first.has_port_of(&[25, 587, 465]) => Probe::Unsure,
                _ => Probe::NotForUs,
            };
        }
        let (name, argument) = word(text);
        if !COMMANDS.iter().any(|command| name.eq_ignore_ascii_case(command)) {
            return Probe::NotForUs;
        }
        let is_login = name.eq_ignore_ascii_case(b"USER") && !argument.is_empty()
            || name.eq_ignore_ascii_case(b"AUTH")
                && (argument.eq_ignore_ascii_case(b"TLS") || argument.eq_ignore_ascii_case(b"SSL"));
        match (is_greeted && is_login, first.has_port(PORT)) {
            (true, _) => Probe::Certain,
            (false, true) => Probe::Likely,
            (false, false) => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Ftp::default()
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
            if context.direction == Direction::Forward {
                self.command(text, is_cut, context);
            } else if self.reply_line(text, is_cut, context) {
                return Progress::Switch(used);
            }
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        self.is_in_line[index] = false;
        self.is_lost[index] = true;
        self.has_gaps = true;
        self.reply = Reply::default();
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        for transaction in std::mem::take(&mut self.pending) {
            transaction.tell(context);
        }
    }

    fn describe(&self, _direction: Direction, transaction: u64, out: &mut Vec<u8>) {
        if let Some(transaction) = self.pending.iter().find(|pending| pending.id == transaction) {
            transaction.describe(&mut Object::begin(out));
        }
    }
}

fn is_command_start(bytes: &[u8]) -> bool {
    let (name, rest) = word(bytes);
    COMMANDS.iter().any(|command| {
        scan::starts_with_ignoring_case(command, name) && (rest.is_empty() || command.len() == name.len())
    })
}

impl Ftp {
    fn command(&mut self, text: &[u8], is_truncated: bool, context: &mut Context<'_>) {
        // Telnet's interrupt before ABOR.
        let start = text.iter().position(|byte| byte.is_ascii_alphabetic()).filter(|start| *start <= 8);
        let Some(text) = start.and_then(|start| text.get(start..)) else { return };
        let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
        let Some((name, data)) = text.split_at_checked(end) else { return };
        let command = name.to_ascii_uppercase();
        let data = data.get(1..);
        if std::mem::replace(&mut self.is_lost[0], false) && !COMMANDS.contains(&&command[..]) {
            return;
        }
        let id = self.transactions;
        self.transactions += 1;
        if is_truncated {
            context.anomaly("request_command_too_long", Some(id));
        }
        let argument = data.unwrap_or_default().trim_ascii();
        let argument_text = || String::from_utf8_lossy(argument);
        let mut dynamic = None;
        if COMMANDS.contains(&&command[..]) {
            context.metadata.add(Field::Command, &String::from_utf8_lossy(&command));
        }
        match &command[..] {
            b"USER" => context.metadata.add(Field::User, &argument_text()),
            b"CLNT" => context.metadata.set_bytes(Field::ClientSoftware, argument),
            b"PORT" | b"EPRT" => {
                let found = if command == b"PORT" { six_numbers(argument) } else { extended(argument) };
                if let Some((address, port)) = found {
                    let own = context.end(Direction::Forward).0;
                    let address = address.unwrap_or(own);
                    if address != own {
                        context.put_number(Direction::Forward, id, Number::FtpBounce, 1);
                    }
                    self.data = Some(Announced { address, port, is_client: true });
                    dynamic = Some((port, true));
                }
            }
            b"RETR" | b"STOR" | b"APPE" | b"STOU" => {
                let is_asked = self
                    .pending
                    .iter()
                    .any(|earlier| earlier.command == b"PASV" || earlier.command == b"EPSV");
                if self.data.is_none() && !is_asked && !self.has_gaps && !argument.is_empty() {
                    context.anomaly("file_before_port", Some(id));
                }
                context.metadata.add(Field::Object, &argument_text());
                self.announce(&command, argument, context);
            }
            b"LIST" | b"NLST" | b"MLSD" => self.announce(&command, b"", context),
            b"DELE" | b"RNFR" | b"RNTO" | b"MKD" | b"RMD" => {
                context.metadata.add(Field::Object, &argument_text());
            }
            _ => {}
        }
        if self.pending.len() >= PENDING_MAX
            && let Some(oldest) = self.pending.pop_front()
        {
            oldest.tell(context);
        }
        context.put(Direction::Forward, id, Buffer::FtpCommand, &command);
        if let Some(data) = data.filter(|data| !data.is_empty()) {
            context.put(Direction::Forward, id, Buffer::FtpCommandData, data);
        }
        context.reached(Direction::Forward, id, Stage::Head);
        let data = data.map(<[u8]>::to_vec);
        let transaction = Transaction { id, command, data, is_truncated, dynamic, ..Transaction::default() };
        self.pending.push_back(Box::new(transaction));
    }

    /// Announces the data connection of a command, where it is known where that will be.
    fn announce(&mut self, command: &[u8], filename: &[u8], context: &mut Context<'_>) {
        let Some(data) = self.data.take() else { return };
        let note = [command, b"\0", filename].concat();
        let own = context.end(if data.is_client { Direction::Forward } else { Direction::Reverse }).0;
        // A server behind address translation names an address of its own. A client that names somebody else's
        // would decide what a stranger's next connection is taken for.
        if data.address != own && !data.is_client {
            context.expect((data.address, data.port), Carrier::Stream, App::FtpData, &note);
        }
        context.expect((own, data.port), Carrier::Stream, App::FtpData, &note);
    }

    /// A line of a reply. Whether TLS begins behind it.
    fn reply_line(&mut self, text: &[u8], is_truncated: bool, context: &mut Context<'_>) -> bool {
        let code = text.get(..3).and_then(scan::decimal).and_then(|code| u16::try_from(code).ok());
        let separator = text.get(3).copied();
        if std::mem::replace(&mut self.is_lost[1], false) && code.is_none() {
            self.is_lost[1] = true;
            return false;
        }
        if is_truncated {
            context.anomaly("response_command_too_long", self.pending.front().map(|front| front.id));
            self.reply.is_truncated = true;
        }
        let is_coded = code.is_some() && matches!(separator, None | Some(b' ' | b'-'));
        if self.reply.lines.len() < REPLY_LINES_MAX {
            let told = if is_coded { text.get(4..).unwrap_or_default() } else { text };
            self.reply.lines.push(told.to_vec());
            if let Some(code) = code.filter(|code| is_coded && !self.reply.codes.contains(code)) {
                self.reply.codes.push(code);
            }
        }
        let is_last = match (self.reply.open, code.filter(|_| is_coded)) {
            (None, Some(code)) if separator == Some(b'-') => {
                self.reply.open = Some(code);
                false
            }
            (Some(open), Some(code)) => open == code && separator != Some(b'-'),
            (Some(_), None) => false,
            (None, _) => true,
        };
        is_last && self.end_reply(code.filter(|_| is_coded).unwrap_or(0), context)
    }

    fn end_reply(&mut self, code: u16, context: &mut Context<'_>) -> bool {
        let reply = std::mem::take(&mut self.reply);
        if self.transactions == 0 || self.pending.is_empty() {
            // The greeting, or something that nobody asked for.
            if code == 220 && self.transactions == 0 {
                let text = reply.lines.last().map(|line| &line[..]).unwrap_or_default();
                context.metadata.set_bytes(Field::ServerSoftware, text);
            }
            let id = self.transactions;
            self.transactions += 1;
            Transaction { id, reply, ..Transaction::default() }.tell(context);
            return false;
        }
        let Some(front) = self.pending.front_mut() else { return false };
        let first = reply.lines.first().cloned().unwrap_or_default();
        front.reply.lines.extend(reply.lines);
        front.reply.codes.extend(reply.codes);
        front.reply.is_truncated |= reply.is_truncated;
        if (100..200).contains(&code) {
            // What it says now is not the last word.
            return false;
        }
        let Some(mut front) = self.pending.pop_front() else { return false };
        if code > 0 {
            context.metadata.add(Field::Status, &code.to_string());
        }
        let is_right = (200..300).contains(&code);
        if is_right && (front.command == b"PASV" || front.command == b"EPSV") {
            let server = context.end(Direction::Reverse).0;
            let found = match (memchr::memchr(b'(', &first), code) {
                (Some(at), 229) => first.get(at + 1..).and_then(extended),
                (Some(at), _) => first.get(at + 1..).and_then(six_numbers),
                // Some servers leave the brackets out.
                (None, _) => first
                    .iter()
                    .position(u8::is_ascii_digit)
                    .and_then(|at| first.get(at..))
                    .and_then(six_numbers),
            };
            if let Some((address, port)) = found {
                self.data = Some(Announced { address: address.unwrap_or(server), port, is_client: false });
                front.dynamic = Some((port, false));
                // The command that it is for may have been sent already.
                let next = self.pending.iter().find(|next| is_transfer(&next.command));
                if let Some((command, name)) = next.map(|next| (next.command.clone(), next.data.clone())) {
                    self.announce(&command, name.unwrap_or_default().trim_ascii(), context);
                }
            }
        }
        let is_tls = front.command == b"AUTH" && code == 234 || front.command == b"AUTH_TLS" && is_right;
        front.tell(context);
        is_tls
    }
}

fn is_transfer(command: &[u8]) -> bool {
    [&b"RETR"[..], b"STOR", b"APPE", b"STOU", b"LIST", b"NLST", b"MLSD"].contains(&command)
}

impl Transaction {
    /// Tells signatures what is known at its end.
    fn tell_end(&self, context: &mut Context<'_>) {
        if context.wanted.is_none() {
            return;
        }
        let is_answered = !self.reply.lines.is_empty();
        let server = Direction::Reverse;
        if !self.command.is_empty() {
            for line in &self.reply.lines {
                context.put(server, self.id, Buffer::FtpReply, line);
            }
            for code in &self.reply.codes {
                let code = itoa::Buffer::new().format(*code).to_owned();
                context.put(server, self.id, Buffer::FtpCompletionCode, code.as_bytes());
            }
        }
        // Both sides of a transaction are asked about what it came to; one that said nothing is not there.
        let sides = [(Direction::Forward, !self.command.is_empty()), (server, is_answered)];
        for (direction, _) in sides.into_iter().filter(|(_, is_there)| *is_there) {
            if direction == server && !self.command.is_empty() {
                // It was not there yet when the first word of it was a preliminary one.
                let was_awaited = self.reply.codes.first().is_some_and(|code| (100..200).contains(code));
                for is_received in [false, true].into_iter().filter(|is_received| *is_received || was_awaited)
                {
                    context.put_number(direction, self.id, Number::FtpReplyReceived, is_received.into());
                }
            }
            if let Some((port, is_client)) = self.dynamic {
                context.put_number(direction, self.id, Number::FtpDynamicPort, port.into());
                context.put_number(direction, self.id, Number::FtpMode, is_client.into());
            }
            context.reached(direction, self.id, Stage::Body);
        }
    }

    fn tell(&self, context: &mut Context<'_>) {
        self.tell_end(context);
        context.tell(Direction::Forward, Some(self.id), |object| self.describe(object));
    }

    fn describe(&self, object: &mut Object<'_>) {
        {
            if !self.command.is_empty() {
                object.bytes("command", &self.command);
                if let Some(data) = &self.data {
                    object.bytes("command_data", data);
                }
                object.bool("command_truncated", self.is_truncated);
            }
            let is_answered = !self.reply.lines.is_empty();
            if is_answered {
                object.texts("reply", &self.reply.lines);
                if !self.reply.codes.is_empty() {
                    object.texts("completion_code", self.reply.codes.iter().map(u16::to_string));
                }
            }
            if let Some((port, is_client)) = self.dynamic {
                object
                    .number("dynamic_port", port)
                    .text("mode", if is_client { "active" } else { "passive" });
            }
            object.bool("reply_truncated", self.reply.is_truncated);
            object.text("reply_received", if is_answered { "yes" } else { "no" });
        }
    }
}

/// Address and port of `h1,h2,h3,h4,p1,p2`.
fn six_numbers(text: &[u8]) -> Option<(Option<Address>, u16)> {
    let mut numbers = [0u8; 6];
    let mut parts = text.split(|byte| *byte == b',');
    for number in &mut numbers {
        let part = parts.next()?.trim_ascii();
        let digits = part.iter().take_while(|byte| byte.is_ascii_digit()).count();
        *number = u8::try_from(scan::decimal(part.get(..digits)?)?).ok()?;
    }
    let [a, b, c, d, high, low] = numbers;
    Some((Some(Address::v4([a, b, c, d])), u16::from_be_bytes([high, low])))
}

/// Address and port of `|1|192.0.2.1|6275|` or `|||6446|`.
fn extended(text: &[u8]) -> Option<(Option<Address>, u16)> {
    let (delimiter, rest) = text.split_first()?;
    let mut parts = rest.split(|byte| byte == delimiter);
    let (_, address, port) = (parts.next()?, parts.next()?, parts.next()?);
    let address = std::str::from_utf8(address).ok().and_then(|text| text.parse::<std::net::IpAddr>().ok());
    let address = address.map(|address| match address {
        std::net::IpAddr::V4(address) => Address::v4(address.octets()),
        std::net::IpAddr::V6(address) => Address::v6(address.octets()),
    });
    Some((address, u16::try_from(scan::decimal(port)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Glimpse;
    use crate::dpi::trial::{Trial, survives_damage};

    fn begun() -> Trial<Ftp> {
        Trial::new().server(b"220-Welcome\r\n220 ProFTPD\r\n").client(b"USER joe\r\n").server(b"331 pass\r\n")
    }

    #[test]
    fn commands_are_told_with_their_replies() {
        let trial = begun().client(b"QUIT\r\n").close();
        assert_eq!(trial.text(Field::User), "joe");
        let learned = trial.learned();
        assert!(learned.contains(r#"ftp {"reply":["Welcome","ProFTPD"],"completion_code":["220"],"reply_truncated":false,"reply_received":"yes"}"#), "{learned}");
        assert!(learned.contains(r#"ftp {"command":"USER","command_data":"joe","command_truncated":false,"reply":["pass"],"completion_code":["331"],"reply_truncated":false,"reply_received":"yes"}"#), "{learned}");
        assert!(learned.contains(r#"{"command":"QUIT","command_truncated":false,"reply_truncated":false,"reply_received":"no"}"#), "{learned}");
    }

    #[test]
    fn data_connections_are_announced_with_what_they_are_for() {
        let trial = begun()
            .client(b"PASV\r\n")
            .server(b"227 Entering Passive Mode (192,0,2,2,4,1)\r\n")
            .client(b"RETR a b.txt\r\n")
            .server(b"150 here\r\n226 done\r\n")
            .client(b"EPSV\r\n")
            .server(b"229 x (|||1026|)\r\n")
            .client(b"LIST\r\n")
            .client(b"PORT 10,0,0,1,1,0\r\nSTOR up\r\n");
        let expected: Vec<_> = trial
            .expected
            .iter()
            .map(|expected| {
                (
                    expected.end.0.to_string(),
                    expected.end.1,
                    String::from_utf8_lossy(&expected.note).into_owned(),
                )
            })
            .collect();
        let own = |address: &str, port, note: &str| (address.to_owned(), port, note.to_owned());
        assert_eq!(
            expected,
            [
                own("192.0.2.2", 1025, "RETR\0a b.txt"),
                own("192.0.2.2", 1026, "LIST\0"),
                own("192.0.2.1", 256, "STOR\0up"),
            ]
        );
        assert!(trial.learned().contains(r#""reply":["here","done"],"completion_code":["150","226"]"#));
        assert!(trial.learned().contains(r#""dynamic_port":1026,"mode":"passive""#));
    }

    #[test]
    fn signatures_are_told_commands_and_replies() {
        let mut trial = begun()
            .client(b"PASV\r\n")
            .server(b"227 Entering Passive Mode (192,0,2,2,4,1)\r\n")
            .client(b"retr a b.txt\r\n")
            .server(b"150 here\r\n226 done\r\n")
            .client(b"PORT 10,0,0,1,1,0\r\n")
            .close();
        expect_test::expect![[r#"
            client 1 ftp.command USER
            client 1 ftp.command_data joe
            server 1 ftp.reply pass
            server 1 ftp.completion_code 331
            server 1 FtpReplyReceived 1
            client 2 ftp.command PASV
            client 2 FtpDynamicPort 1025
            client 2 FtpMode 0
            server 2 ftp.reply Entering Passive Mode (192,0,2,2,4,1)
            server 2 ftp.completion_code 227
            server 2 FtpReplyReceived 1
            server 2 FtpDynamicPort 1025
            server 2 FtpMode 0
            client 3 ftp.command RETR
            client 3 ftp.command_data a b.txt
            server 3 ftp.reply here
            server 3 ftp.reply done
            server 3 ftp.completion_code 150
            server 3 ftp.completion_code 226
            server 3 FtpReplyReceived 0
            server 3 FtpReplyReceived 1
            client 4 ftp.command PORT
            client 4 ftp.command_data 10,0,0,1,1,0
            client 4 FtpBounce 1
            client 4 FtpDynamicPort 256
            client 4 FtpMode 1
        "#]]
        .assert_eq(&trial.told());
    }

    #[test]
    fn tls_follows_an_accepted_auth() {
        let trial = begun().client(b"AUTH TLS\r\n").server(b"234 go\r\n");
        assert_eq!(trial.end, Some(Progress::Switch(8)));
    }

    #[test]
    fn greetings_and_commands_are_recognised() {
        let probe = |bytes: &[u8], port| {
            Ftp::probe(&First::of(Carrier::Stream, Direction::Reverse, bytes).between(port, 4000))
        };
        assert_eq!(probe(b"220 FTP ready\r\n", 9), Probe::Certain);
        assert_eq!(probe(b"220 ready\r\n", 21), Probe::Likely);
        assert_eq!(probe(b"220 x ESMTP\r\n", 21), Probe::NotForUs);
        assert_eq!(probe(b"USER x\r\n", 21), Probe::Likely);
        assert_eq!(probe(b"USER x\r\n", 110), Probe::NotForUs);
        // A command that is cut, behind a greeting that does not say whose it is, on a port that says nothing.
        let greeted = |bytes: &[u8]| {
            let other = Glimpse::of(b"220 (vsFTTd 3.0.3)\r\n");
            Ftp::probe(&First {
                other,
                ..First::of(Carrier::Stream, Direction::Forward, bytes).between(4000, 9)
            })
        };
        assert_eq!(greeted(b"USER hel"), Probe::Unsure);
        assert_eq!(greeted(b"USER hello\r\n"), Probe::Certain);
        assert_eq!(greeted(b"HELO hel"), Probe::NotForUs);
    }

    #[test]
    fn no_damage_panics() {
        survives_damage::<Ftp>(
            b"USER a\r\nPORT 1,2,3,4,5,6\r\nEPRT |1|1.2.3.4|99|\r\nPASV\r\nEPSV\r\n",
            b"220 a\r\n331 b\r\n200-c\r\n200 d\r\n200 e\r\n227 (1,2,3,4,5,6)\r\n229 (|||7|)\r\n",
        );
    }
}
