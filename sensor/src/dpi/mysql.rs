//! MySQL's client/server protocol (MySQL internals manual, "Client/Server Protocol"), version 10.
//!
//! In: both directions of a stream. Out: one event for the login and one per command with how it ended; versions,
//! account and database in metadata. Rows pass unseen. What follows the request for TLS is another protocol's;
//! with compression nothing more is read.

use super::pgsql::learn_statement;
use super::scan::{Scan, escaped};
use super::{Context, Dissector, First, Probe, Progress, Starts};
use std::collections::VecDeque;
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Most bytes of a packet that are looked at; the rest passes.
const PACKET_BYTES_MAX: usize = 16 << 10;
/// Bytes of a packet's header: length, number.
const HEADER_BYTES: usize = 4;
/// Most commands whose answers are awaited.
const PENDING_MAX: usize = 64;

/// Most attributes of a query that are passed over.
const ATTRIBUTES_MAX: u8 = 64;

const CONNECT_WITH_DB: u32 = 1 << 3;
const COMPRESS: u32 = 1 << 5;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const SECURE_CONNECTION: u32 = 1 << 15;
const LENENC_AUTH: u32 = 1 << 21;
const QUERY_ATTRIBUTES: u32 = 1 << 27;

const COMMANDS: &[&str] = &[
    "sleep",
    "quit",
    "init_db",
    "query",
    "field_list",
    "create_db",
    "drop_db",
    "refresh",
    "shutdown",
    "statistics",
    "process_info",
    "connect",
    "process_kill",
    "debug",
    "ping",
    "time",
    "delayed_insert",
    "change_user",
    "binlog_dump",
    "table_dump",
    "connect_out",
    "register_slave",
    "stmt_prepare",
    "stmt_execute",
    "stmt_send_long_data",
    "stmt_close",
    "stmt_reset",
    "set_option",
    "stmt_fetch",
    "daemon",
    "binlog_dump_gtid",
    "reset_connection",
];

/// The dissector of one session.
#[derive(Debug, Default)]
pub(super) struct Mysql {
    has_greeting: bool,
    has_login: bool,
    is_compressed: bool,
    /// Queries have parameters before their text.
    has_attributes: bool,
    pending: VecDeque<Command>,
    transactions: u64,
    is_lost: [bool; 2],
}

#[derive(Debug, Default)]
struct Command {
    name: &'static str,
    text: Option<Vec<u8>>,
    user: Vec<u8>,
    database: Vec<u8>,
}

/// The length and number of a packet.
fn header(bytes: &[u8]) -> Option<(usize, u8)> {
    let [a, b, c, number] = *bytes.first_chunk::<HEADER_BYTES>()?;
    Some((u32::from_le_bytes([a, b, c, 0]) as usize, number))
}

impl Dissector for Mysql {
    const APP: App = App::Mysql;

    const STARTS: Starts = Starts::STREAM;

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        let Some((length, number)) = header(bytes) else {
            return if first.has_port(3306) { Probe::Unsure } else { Probe::NotForUs };
        };
        let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
        if number == 0 && (30..300).contains(&length) && body.first() == Some(&10) {
            let Some(whole) = body.get(..length) else { return Probe::Unsure };
            let mut scan = Scan::new(whole.get(1..).unwrap_or_default());
            let is_version = scan.zero_ended().is_some_and(|version| {
                version.first().is_some_and(u8::is_ascii_digit)
                    && version.contains(&b'.')
                    && version.iter().all(u8::is_ascii_graphic)
            });
            // Thread, scramble, a zero.
            let is_filled = scan.take(12).is_some() && scan.u8() == Some(0);
            return if is_version && is_filled && body.len() == length {
                Probe::Certain
            } else {
                Probe::NotForUs
            };
        }
        // A greeting that refuses: too many connections, host not allowed.
        let is_refusal =
            number == 0 && body.first() == Some(&0xff) && body.len() == length && first.has_port(3306);
        let is_login =
            number == 1 && first.has_port(3306) && login(body.get(..length).unwrap_or_default()).is_some();
        let is_query = number == 0
            && first.has_port(3306)
            && body.first() == Some(&3)
            && body.len() == length
            && body.get(1..).is_some_and(|text| {
                text.len() > 5 && text.iter().all(|byte| *byte >= b' ' || byte.is_ascii_whitespace())
            });
        if is_refusal || is_login || is_query { Probe::Likely } else { Probe::NotForUs }
    }

    fn new() -> Self {
        Mysql::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if self.is_lost[index] {
                return Progress::Used(bytes.len());
            }
            let Some((length, number)) = header(rest) else { break };
            let size = HEADER_BYTES + length;
            // Of what comes behind an answer's first packet nothing is wanted.
            let is_wanted = context.direction == Direction::Forward || number <= 4 || !self.has_greeting;
            let wanted = if is_wanted { size.min(PACKET_BYTES_MAX) } else { HEADER_BYTES };
            let Some(body) = rest.get(HEADER_BYTES..wanted) else { break };
            used = used.saturating_add(size);
            if context.direction == Direction::Reverse {
                self.server(number, body, context);
            } else if self.client(number, body, context) {
                return Progress::Switch(used);
            }
            if self.is_compressed {
                return Progress::Done;
            }
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        if self.is_lost == [true; 2] { Progress::Done } else { Progress::Used(0) }
    }

    fn close(&mut self, context: &mut Context<'_>) {
        while let Some(command) = self.pending.pop_front() {
            self.tell(&command, None, context);
        }
    }
}

/// What a login packet of protocol 4.1 says: capabilities, and user and database where they are there.
fn login(body: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let mut scan = Scan::new(body);
    let capabilities = scan.le32()?;
    if capabilities & PROTOCOL_41 == 0 {
        return None;
    }
    scan.take(4 + 1)?;
    let reserved = scan.take(23)?;
    if reserved.iter().take(19).any(|byte| *byte != 0) {
        return None;
    }
    if scan.is_empty() {
        return Some((capabilities, &[], &[]));
    }
    let user = scan.zero_ended()?;
    let mut database = &b""[..];
    if capabilities & CONNECT_WITH_DB != 0 {
        if capabilities & (LENENC_AUTH | SECURE_CONNECTION) != 0 {
            let length = scan.u8()?;
            scan.take(length.into())?;
        } else {
            scan.zero_ended()?;
        }
        database = scan.zero_ended().unwrap_or(scan.rest());
    }
    Some((capabilities, user, database))
}

/// The text of a query behind its attributes: how many, how many sets, which are null, what they are, their
/// values.
fn behind_attributes(text: &[u8]) -> Option<&[u8]> {
    let mut scan = Scan::new(text);
    let count = scan.u8().filter(|count| *count <= ATTRIBUTES_MAX)?;
    scan.u8().filter(|sets| *sets == 1)?;
    if count == 0 {
        return Some(scan.rest());
    }
    let nulls = scan.take(usize::from(count).div_ceil(8))?;
    scan.u8().filter(|is_bound| *is_bound == 1)?;
    let mut kinds = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        kinds.push(scan.le16()? & 0xff);
        let length = scan.u8().filter(|length| *length < 0xfb)?;
        scan.take(length.into())?;
    }
    for (at, kind) in kinds.into_iter().enumerate() {
        if (nulls.get(at / 8)? >> (at % 8)) & 1 == 1 {
            continue;
        }
        let length = match kind {
            1 => 1,
            2 | 13 => 2,
            3 | 4 | 9 => 4,
            5 | 8 => 8,
            // Times begin with their length, and so do strings; that of longer ones is longer.
            _ => match scan.u8()? {
                0xfc => scan.le16()?.into(),
                length => usize::from(length),
            },
        };
        scan.take(length)?;
    }
    Some(scan.rest())
}

impl Mysql {
    /// A packet of the client. Whether TLS begins behind it.
    fn client(&mut self, number: u8, body: &[u8], context: &mut Context<'_>) -> bool {
        if !self.has_login && number > 0 {
            let Some((capabilities, user, database)) = login(body) else {
                self.has_login = true;
                return false;
            };
            if user.is_empty() && database.is_empty() && body.len() == 32 && capabilities & SSL != 0 {
                self.tell(&Command { name: "starttls", ..Command::default() }, None, context);
                return true;
            }
            self.has_attributes = capabilities & QUERY_ATTRIBUTES != 0;
            self.has_login = true;
            context.metadata.add(Field::User, &String::from_utf8_lossy(user));
            if !database.is_empty() {
                context.metadata.add(Field::Object, &String::from_utf8_lossy(database));
            }
            self.is_compressed = capabilities & COMPRESS != 0;
            let command =
                Command { name: "login", text: None, user: user.to_vec(), database: database.to_vec() };
            if self.is_compressed {
                self.tell(&command, None, context);
            } else {
                self.pending.push_back(command);
            }
            return false;
        }
        if number != 0 {
            return false;
        }
        self.has_login = true;
        let Some((code, text)) = body.split_first() else { return false };
        let Some(name) = COMMANDS.get(usize::from(*code)) else {
            *context.malformed += 1;
            return false;
        };
        let text = match *name {
            "query" if self.has_attributes => behind_attributes(text).unwrap_or(text),
            "field_list" => text.split(|byte| *byte == 0).next().unwrap_or_default(),
            _ => text,
        };
        let has_text =
            matches!(*name, "query" | "stmt_prepare" | "init_db" | "field_list" | "create_db" | "drop_db");
        match *name {
            "query" | "stmt_prepare" => learn_statement(text, context),
            "init_db" => context.metadata.add(Field::Object, &String::from_utf8_lossy(text)),
            _ => context.metadata.add(Field::Command, name),
        }
        let command = Command { name, text: has_text.then(|| text.to_vec()), ..Command::default() };
        // These are not answered.
        if matches!(*name, "quit" | "stmt_close" | "stmt_send_long_data") {
            self.tell(&command, None, context);
            return false;
        }
        if self.pending.len() >= PENDING_MAX
            && let Some(oldest) = self.pending.pop_front()
        {
            self.tell(&oldest, None, context);
        }
        self.pending.push_back(command);
        false
    }

    fn server(&mut self, number: u8, body: &[u8], context: &mut Context<'_>) {
        if !std::mem::replace(&mut self.has_greeting, true) && number == 0 && body.first() == Some(&10) {
            let mut scan = Scan::new(body.get(1..).unwrap_or_default());
            if let Some(version) = scan.zero_ended() {
                // MariaDB says who it is behind its version, and before that of 10 another's, since old replicas took two
                // digits for an error (its knowledge base, "Connection", initial handshake packet).
                let text = String::from_utf8_lossy(version);
                let software = if text.contains("MariaDB") {
                    format!("MariaDB {}", text.strip_prefix("5.5.5-").unwrap_or(&text))
                } else {
                    format!("MySQL {text}")
                };
                context.metadata.set_text(Field::ServerSoftware, &software);
            }
            context.metadata.set_text(Field::Version, "10");
            return;
        }
        let Some(front) = self.pending.front() else { return };
        let is_login = front.name == "login";
        // What authentication says in between is no answer; an answer to a command is number 1.
        let is_answer = if is_login { matches!(body.first(), Some(0 | 0xff)) } else { number == 1 };
        if !is_answer {
            return;
        }
        if let Some(command) = self.pending.pop_front() {
            self.tell(&command, Some(body), context);
        }
    }

    fn tell(&mut self, command: &Command, answer: Option<&[u8]>, context: &mut Context<'_>) {
        let id = self.transactions;
        self.transactions += 1;
        let error = answer.and_then(|answer| {
            let mut scan = Scan::new(answer);
            let code = scan.u8().filter(|mark| *mark == 0xff).and_then(|_| scan.le16())?;
            let text = scan.rest();
            let text = if text.first() == Some(&b'#') { text.get(6..).unwrap_or_default() } else { text };
            Some((code, text))
        });
        if let Some((code, _)) = error {
            context.metadata.add(Field::Status, &code.to_string());
        }
        let server = context.metadata.text(Field::ServerSoftware).map(str::to_owned);
        context.tell(Direction::Forward, Some(id), |object| {
            object.text("command", command.name);
            if matches!(command.name, "login" | "starttls") {
                object.text_if("server", server.as_deref());
            }
            if command.name == "login" {
                object.bytes("user", &command.user);
                if !command.database.is_empty() {
                    object.bytes("database", &command.database);
                }
            }
            if let Some(text) = &command.text {
                object.text(
                    if command.name == "query" || command.name == "stmt_prepare" {
                        "query"
                    } else {
                        "argument"
                    },
                    &escaped(text),
                );
            }
            if answer.is_some() {
                let mut response = object.object("response");
                match error {
                    Some((code, text)) => {
                        response.text("status", "error").number("code", code).text("message", &escaped(text));
                    }
                    None => {
                        response.text("status", "ok");
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};

    fn packet(number: u8, body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_le_bytes()[..3], &[number], body].concat()
    }

    fn greeting() -> Vec<u8> {
        packet(0, b"\x0a8.0.31\0\x01\0\0\0abcdefgh\0\xff\xf7\x21\x02\0\xff\xc1\x15\0\0\0\0\0\0\0\0\0\0abcdefghijkl\0")
    }

    fn login_of(capabilities: u32, rest: &[u8]) -> Vec<u8> {
        packet(1, &[&capabilities.to_le_bytes()[..], &[0, 0, 0, 1, 33], &[0; 23], rest].concat())
    }

    fn session() -> (Vec<u8>, Vec<u8>) {
        let login = login_of(PROTOCOL_41 | CONNECT_WITH_DB | SECURE_CONNECTION, b"joe\0\x02xxshop\0");
        let client = [login, packet(0, b"\x03select 1"), packet(0, b"\x03bad")].concat();
        let error = [b"\xff\x28\x04".as_slice(), b"#42000no"].concat();
        let server = [
            greeting(),
            packet(2, b"\0\0\0\x02\0\0\0"),
            packet(1, b"\x01"),
            packet(2, b"\x03def"),
            packet(1, &error),
        ]
        .concat();
        (client, server)
    }

    #[test]
    fn login_and_commands_are_told_with_how_they_ended() {
        let (client, server) = session();
        let trial = Trial::<Mysql>::new()
            .server(&greeting())
            .client(&client)
            .server(&server[greeting().len()..])
            .close();
        let learned = trial.learned();
        assert!(learned.contains(r#"mysql {"command":"login","server":"MySQL 8.0.31","user":"joe","database":"shop","response":{"status":"ok"}}"#), "{learned}");
        assert!(
            learned.contains(r#"mysql {"command":"query","query":"select 1","response":{"status":"ok"}}"#),
            "{learned}"
        );
        assert!(learned.contains(r#"{"status":"error","code":1064,"message":"no"}"#), "{learned}");
        cuts_do_not_matter::<Mysql>(&client, &server);
        survives_damage::<Mysql>(&client, &server);
    }

    #[test]
    fn a_query_stands_behind_its_attributes() {
        assert_eq!(behind_attributes(b"\0\x01select 1"), Some(&b"select 1"[..]));
        let two = b"\x02\x01\0\x01\xfe\0\x01a\x03\0\x01b\x02xy\x07\0\0\0select 2";
        assert_eq!(behind_attributes(two), Some(&b"select 2"[..]));
        for cut in 0..two.len() {
            behind_attributes(&two[..cut]);
        }
    }

    #[test]
    fn tls_follows_its_request() {
        let trial = Trial::<Mysql>::new().server(&greeting()).client(&login_of(PROTOCOL_41 | SSL, b""));
        assert_eq!(trial.end, Some(Progress::Switch(36)));
    }

    #[test]
    fn greetings_are_recognised() {
        let probe = |bytes: &[u8]| Mysql::probe(&First::of(Carrier::Stream, Direction::Reverse, bytes));
        assert_eq!(probe(&greeting()), Probe::Certain);
        assert_eq!(probe(&greeting()[..20]), Probe::Unsure);
        assert_eq!(probe(&packet(0, &[10; 40])), Probe::NotForUs);
    }
}
