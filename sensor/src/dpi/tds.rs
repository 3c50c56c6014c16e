//! Tabular Data Stream: Microsoft SQL Server (MS-TDS, versions 7.0 to 8.0), and the versions before, which Sybase and
//! its successors speak to this day (4.2; 5.0 as Sybase's "TDS 5.0 Functional Specification" has it).
//!
//! In: both directions of a stream. Out: one event for the login and one per batch or procedure call; account,
//! database, versions, host and program in metadata. Answers pass unseen, but for what they say about the login.
//! TLS runs inside of packets of its own; where it encrypts more than the login, nothing more is read.

use super::pgsql::learn_statement;
use super::scan::Scan;
use super::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Bytes of a packet's header.
const HEADER_BYTES: usize = 8;
/// Most bytes of a packet that are looked at; the rest passes.
const PACKET_BYTES_MAX: usize = 16 << 10;
const PORT: u16 = 1433;

mod kind {
    pub(super) const BATCH: u8 = 1;
    /// A login before version 7.0.
    pub(super) const LOGIN_RECORD: u8 = 2;
    pub(super) const RPC: u8 = 3;
    pub(super) const RESPONSE: u8 = 4;
    /// What version 5.0 says after the login.
    pub(super) const NORMAL: u8 = 15;
    pub(super) const LOGIN: u8 = 0x10;
    pub(super) const PRELOGIN: u8 = 0x12;
}

/// The dissector of one session.
#[derive(Debug, Default)]
pub(super) struct Tds {
    transactions: u64,
    /// A login was seen and its answer was not.
    is_login_open: bool,
    /// The login was of a version before 7.0, whose text is of single bytes.
    is_old: bool,
    /// The packet that follows goes on with a message.
    is_within: [bool; 2],
    is_lost: [bool; 2],
}

#[derive(Clone, Copy)]
struct Header {
    kind: u8,
    is_last: bool,
    length: usize,
}

fn header(bytes: &[u8]) -> Option<Header> {
    let [kind, status, high, low, ..] = *bytes.first_chunk::<HEADER_BYTES>()?;
    Some(Header { kind, is_last: status & 1 == 1, length: usize::from(u16::from_be_bytes([high, low])) })
}

/// An option of a pre-login message: its number and value (MS-TDS 2.2.6.5).
fn prelogin(body: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut scan = Scan::new(body);
    for _ in 0..16 {
        let number = scan.u8().filter(|number| *number != 0xff)?;
        let (offset, length) = (usize::from(scan.be16()?), usize::from(scan.be16()?));
        if number == wanted {
            return body.get(offset..offset + length);
        }
    }
    None
}

/// What a login says, of any version.
struct Login {
    version: Option<String>,
    host: Option<String>,
    user: Option<String>,
    program: Option<String>,
    server: Option<String>,
    library: Option<String>,
    database: Option<String>,
}

/// A login record's text: so many bytes of room, zeros behind the text, and how much of it there is.
fn record_text(body: &[u8], at: usize, room: usize) -> Option<&[u8]> {
    let (text, length) = (body.get(at..at + room)?, usize::from(*body.get(at + room)?));
    let (text, rest) = text.split_at_checked(length)?;
    (super::scan::is_text(text) && rest.iter().all(|byte| *byte == 0)).then_some(text)
}

/// Where a login record's texts stand, each with 30 bytes of room and a length.
mod record {
    pub(super) const HOST: usize = 0;
    pub(super) const USER: usize = 31;
    pub(super) const PROCESS: usize = 93;
    /// How the client lays out numbers: of two bytes, of four, characters, then floating point and dates.
    pub(super) const NUMBERS: usize = 124;
    pub(super) const PROGRAM: usize = 140;
    pub(super) const SERVER: usize = 171;
    /// Four bytes of version, then the library's name with 10 bytes of room.
    pub(super) const VERSION: usize = 458;
    pub(super) const LIBRARY: usize = 462;
    pub(super) const BYTES_MIN: usize = 202;
}

/// Whether a body begins as a login record: numbers low or high first, ASCII or EBCDIC, and texts that fit.
fn is_login_record(body: &[u8]) -> bool {
    let is_layout = matches!(body.get(record::NUMBERS..record::NUMBERS + 3), Some([2 | 3, 0 | 1, 6 | 7]));
    let texts = [record::HOST, record::USER, record::PROCESS, record::PROGRAM, record::SERVER];
    is_layout && texts.iter().all(|at| record_text(body, *at, 30).is_some())
}

impl Dissector for Tds {
    const APP: App = App::Tds;

    const STARTS: Starts = Starts::stream(&[
        kind::BATCH,
        kind::LOGIN_RECORD,
        kind::RPC,
        kind::RESPONSE,
        kind::LOGIN,
        kind::PRELOGIN,
    ]);

    fn probe(first: &First<'_>) -> Probe {
        let Some(header) = header(first.bytes) else { return Probe::Unsure };
        let body = first.bytes.get(HEADER_BYTES..).unwrap_or_default();
        let whole = header.length.saturating_sub(HEADER_BYTES);
        let rest = first.bytes.get(4..HEADER_BYTES).unwrap_or_default();
        // Process, number from 1 (some say 0), a zero.
        if header.length <= HEADER_BYTES
            || rest.get(3) != Some(&0)
            || rest.get(2).is_none_or(|number| *number > 1)
        {
            return Probe::NotForUs;
        }
        match header.kind {
            kind::PRELOGIN if header.is_last && header.length < 512 => {
                if body.len() < whole {
                    return Probe::Unsure;
                }
                let is_right = body.first() == Some(&0)
                    && prelogin(body, 0).is_some_and(|version| version.len() == 6)
                    && prelogin(body, 1).is_some_and(|value| value.len() == 1);
                if is_right && body.len() == whole { Probe::Certain } else { Probe::NotForUs }
            }
            kind::LOGIN => {
                let mut scan = Scan::new(body);
                let (Some(length), Some(version)) = (scan.le32(), scan.le32()) else { return Probe::Unsure };
                let is_version = matches!(version >> 24, 0x70..=0x74) || version == 0x0800_0000;
                if is_version && length as usize >= whole.min(94) && length < 128 << 10 {
                    Probe::Certain
                } else {
                    Probe::NotForUs
                }
            }
            kind::RESPONSE if header.is_last && body.len() == whole => {
                let is_right = prelogin(body, 0).is_some_and(|version| version.len() == 6)
                    && prelogin(body, 1).is_some_and(|value| value.len() == 1);
                if is_right && body.first() == Some(&0) { Probe::Certain } else { by_port(first) }
            }
            kind::LOGIN_RECORD if whole < record::BYTES_MIN => Probe::NotForUs,
            kind::LOGIN_RECORD if body.len() < record::BYTES_MIN => {
                // Host and user come first; whoever sends something else there is not waited for.
                let is_open = [record::HOST, record::USER]
                    .iter()
                    .all(|at| body.len() <= at + 30 || record_text(body, *at, 30).is_some());
                if is_open { Probe::Unsure } else { Probe::NotForUs }
            }
            kind::LOGIN_RECORD if is_login_record(body) => Probe::Certain,
            kind::BATCH | kind::RPC => by_port(first),
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Tds::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if self.is_lost[index] {
                return Progress::Used(bytes.len());
            }
            let Some(header) = header(rest) else { break };
            if header.length < HEADER_BYTES || header.kind > 0x12 {
                // From here on it is TLS, or nothing that is known.
                if matches!(rest.first(), Some(0x14..=0x17)) {
                    return Progress::Done;
                }
                *context.malformed += 1;
                self.is_lost[index] = true;
                continue;
            }
            let Some(body) = rest.get(HEADER_BYTES..header.length.min(PACKET_BYTES_MAX)) else { break };
            used += header.length;
            let is_within = std::mem::replace(&mut self.is_within[index], !header.is_last);
            if !is_within {
                self.packet(header.kind, body, context);
            }
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        if self.is_lost == [true; 2] { Progress::Done } else { Progress::Used(0) }
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

fn by_port(first: &First<'_>) -> Probe {
    if first.has_port(PORT) { Probe::Likely } else { Probe::NotForUs }
}

impl Tds {
    fn packet(&mut self, kind: u8, body: &[u8], context: &mut Context<'_>) {
        match (context.direction, kind) {
            (Direction::Forward, kind::LOGIN) => self.login(body, context),
            (Direction::Forward, kind::LOGIN_RECORD) => self.login_record(body, context),
            (Direction::Forward, kind::NORMAL) => self.language(body, context),
            (Direction::Forward, kind::BATCH) if self.is_old => self.query(body, context),
            (Direction::Forward, kind::BATCH) => self.batch(body, context),
            (Direction::Forward, kind::RPC) => self.call(body, context),
            (Direction::Reverse, kind::RESPONSE | kind::PRELOGIN) if self.is_login_open => {
                self.answer(body, context);
            }
            (Direction::Reverse, kind::RESPONSE) if self.transactions == 0 => {
                if let Some([major, minor, high, low, ..]) = prelogin(body, 0) {
                    let build = u16::from_be_bytes([*high, *low]);
                    context
                        .metadata
                        .set_text(Field::ServerSoftware, &format!("SQL Server {major}.{minor}.{build}"));
                }
            }
            _ => {}
        }
    }

    fn number(&mut self) -> Option<u64> {
        self.transactions += 1;
        Some(self.transactions - 1)
    }

    /// LOGIN7 (MS-TDS 2.2.6.4): fixed fields, then where each text stands and how many characters it has.
    fn login(&mut self, body: &[u8], context: &mut Context<'_>) {
        const PLACES: usize = 36;
        let text = |number: usize| {
            let mut scan = Scan::new(body.get(PLACES + 4 * number..)?);
            let (offset, length) = (usize::from(scan.le16()?), usize::from(scan.le16()?));
            Some(utf16(body.get(offset..offset + 2 * length)?)).filter(|text| !text.is_empty())
        };
        let version = Scan::new(body.get(4..).unwrap_or_default()).le32().unwrap_or_default();
        let version = match version >> 24 {
            0x70 => "7.0",
            0x71 => "7.1",
            0x72 => "7.2",
            0x73 => "7.3",
            0x74 => "7.4",
            _ => "8.0",
        };
        // Host, user, password, program, server, extension, library, language, database.
        let (host, user, program, server) = (text(0), text(1), text(3), text(4));
        let (library, database) = (text(6), text(8));
        self.is_login_open = true;
        let version = Some(version.to_owned());
        self.tell_login(Login { version, host, user, program, server, library, database }, context);
    }

    /// A login before version 7.0; answers to it are not read.
    fn login_record(&mut self, body: &[u8], context: &mut Context<'_>) {
        if !is_login_record(body) {
            return;
        }
        self.is_old = true;
        let text = |at, room| {
            let text = record_text(body, at, room).filter(|text| !text.is_empty())?;
            Some(String::from_utf8_lossy(text).into_owned())
        };
        let (host, user, program) =
            (text(record::HOST, 30), text(record::USER, 30), text(record::PROGRAM, 30));
        let (server, library) = (text(record::SERVER, 30), text(record::LIBRARY, 10));
        let version = match body.get(record::VERSION..record::VERSION + 2) {
            Some([major @ 4..=5, minor]) => Some(format!("{major}.{minor}")),
            _ => None,
        };
        self.tell_login(Login { version, host, user, program, server, library, database: None }, context);
    }

    /// Learns and tells what a login says.
    fn tell_login(&mut self, login: Login, context: &mut Context<'_>) {
        let metadata = &mut *context.metadata;
        let Login { version, host, user, program, server, library, database } = &login;
        for (field, text) in [(Field::Version, version), (Field::ClientSoftware, program)] {
            if let Some(text) = text {
                metadata.set_text(field, text);
            }
        }
        for (field, text) in [(Field::EndpointName, host), (Field::User, user), (Field::Object, database)] {
            if let Some(text) = text {
                metadata.add(field, text);
            }
        }
        context.tell(Direction::Forward, self.number(), |object| {
            object.text("command", "login").text_if("version", version.as_deref());
            object.text_if("host", host.as_deref()).text_if("user", user.as_deref());
            object.text_if("program", program.as_deref()).text_if("server", server.as_deref());
            object.text_if("library", library.as_deref()).text_if("database", database.as_deref());
        });
    }

    /// A command in text of version 5.0: a token, the length in the client's order of bytes, a status, the text.
    fn language(&mut self, body: &[u8], context: &mut Context<'_>) {
        const LANGUAGE: u8 = 0x21;
        let [LANGUAGE, a, b, c, d, _, text @ ..] = body else { return };
        let lengths = [u32::from_le_bytes([*a, *b, *c, *d]), u32::from_be_bytes([*a, *b, *c, *d])];
        // The status counts too. What does not fit goes on in the next packet.
        let length = lengths.into_iter().min().unwrap_or(0).saturating_sub(1) as usize;
        self.query(text.get(..length).unwrap_or(text), context);
    }

    fn query(&mut self, text: &[u8], context: &mut Context<'_>) {
        learn_statement(text, context);
        context.tell(Direction::Forward, self.number(), |object| {
            object.text("command", "batch").bytes("query", text);
        });
    }

    fn batch(&mut self, body: &[u8], context: &mut Context<'_>) {
        // From 7.2 on, headers stand before the text; their total length is the first thing.
        let headers =
            Scan::new(body).le32().map(|length| length as usize).filter(|length| (4..=64).contains(length));
        let text = utf16(body.get(headers.unwrap_or(0)..).unwrap_or_default());
        learn_statement(text.as_bytes(), context);
        context.tell(Direction::Forward, self.number(), |object| {
            object.text("command", "batch").text("query", &text);
        });
    }

    /// A procedure that is called, by name or by number (MS-TDS 2.2.6.6).
    fn call(&mut self, body: &[u8], context: &mut Context<'_>) {
        const KNOWN: [&str; 16] = [
            "",
            "sp_cursor",
            "sp_cursoropen",
            "sp_cursorprepare",
            "sp_cursorexecute",
            "sp_cursorprepexec",
            "sp_cursorunprepare",
            "sp_cursorfetch",
            "sp_cursoroption",
            "sp_cursorclose",
            "sp_executesql",
            "sp_prepare",
            "sp_execute",
            "sp_prepexec",
            "sp_prepexecrpc",
            "sp_unprepare",
        ];
        let headers =
            Scan::new(body).le32().map(|length| length as usize).filter(|length| (4..=64).contains(length));
        let mut scan = Scan::new(body.get(headers.unwrap_or(0)..).unwrap_or_default());
        let name = match scan.le16() {
            Some(0xffff) => {
                scan.le16().and_then(|number| KNOWN.get(usize::from(number))).map(|name| (*name).to_owned())
            }
            Some(length) => scan.take(2 * usize::from(length)).map(utf16),
            None => None,
        };
        let Some(name) = name.filter(|name| !name.is_empty()) else { return };
        context.metadata.add(Field::Command, &name);
        context.tell(Direction::Forward, self.number(), |object| {
            object.text("command", "rpc").text("procedure", &name);
        });
    }

    /// The answer to the login: an error, or the server's name (MS-TDS 2.2.7.10, 2.2.7.14).
    fn answer(&mut self, body: &[u8], context: &mut Context<'_>) {
        self.is_login_open = false;
        let mut scan = Scan::new(body);
        for _ in 0..32 {
            let (Some(token), Some(length)) = (scan.u8(), scan.le16()) else { return };
            let Some(value) = scan.take(length.into()) else { return };
            match token {
                0xaa => {
                    let number = Scan::new(value).le32().unwrap_or_default();
                    context.metadata.add(Field::Status, &number.to_string());
                }
                0xad => {
                    let name = value.get(6..).and_then(|rest| rest.get(..2 * usize::from(*value.get(5)?)));
                    if let Some(name) = name {
                        context.metadata.set_text(Field::ServerSoftware, utf16(name).trim_matches('\0'));
                    }
                }
                // What the environment changed to, notes.
                0xe3 | 0xab | 0xae => {}
                _ => return,
            }
        }
    }
}

/// Text in UTF-16, little endian.
fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    char::decode_utf16(units).map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};

    fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind, 1][..], &((body.len() + 8) as u16).to_be_bytes(), &[0, 0, 1, 0], body].concat()
    }

    fn wide(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    fn login() -> Vec<u8> {
        let texts = ["PC", "sa", "xx", "app", "srv", "", "lib", "", "master"];
        let mut places = Vec::new();
        let mut data = Vec::new();
        for text in texts {
            places.extend_from_slice(&((94 + data.len()) as u16).to_le_bytes());
            places.extend_from_slice(&(text.len() as u16).to_le_bytes());
            data.extend(wide(text));
        }
        let mut fixed = vec![0; 36];
        fixed[..4].copy_from_slice(&((94 + data.len()) as u32).to_le_bytes());
        fixed[4..8].copy_from_slice(&0x7400_0004u32.to_le_bytes());
        let mut body = [fixed, places].concat();
        body.resize(94, 0);
        body.extend(data);
        packet(kind::LOGIN, &body)
    }

    fn prelogin_packet(kind: u8) -> Vec<u8> {
        packet(kind, &[0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xff, 15, 0, 7, 208, 0, 0, 2])
    }

    #[test]
    fn login_and_batches_are_told() {
        let batch = packet(kind::BATCH, &[&[22, 0, 0, 0][..], &[0; 18], &wide("select 1")].concat());
        let client = [prelogin_packet(kind::PRELOGIN), login(), batch].concat();
        let server = prelogin_packet(kind::RESPONSE);
        let trial = Trial::<Tds>::new().server(&server).client(&client);
        let learned = trial.learned();
        assert!(learned.contains(r#"tds {"command":"login","version":"7.4","host":"PC","user":"sa","program":"app","server":"srv","library":"lib","database":"master"}"#), "{learned}");
        assert!(learned.contains(r#"tds {"command":"batch","query":"select 1"}"#), "{learned}");
        assert_eq!(trial.text(Field::ServerSoftware), "SQL Server 15.0.2000");
        assert!(!learned.contains("xx"));
        cuts_do_not_matter::<Tds>(&client, &[]);
        survives_damage::<Tds>(&client, &server);
    }

    /// A login record as FreeTDS 1.3.17 sends it, but for its texts.
    fn login_record(version: [u8; 4]) -> Vec<u8> {
        let mut body = vec![0; 504];
        for (at, text) in
            [(0, &b"vm"[..]), (31, b"u"), (62, b"p"), (93, b"22169"), (140, b"TSQL"), (171, b"10.77.0.1")]
        {
            body[at..at + text.len()].copy_from_slice(text);
            body[at + 30] = text.len() as u8;
        }
        body[124..129].copy_from_slice(&[3, 1, 6, 10, 9]);
        body[458..462].copy_from_slice(&version);
        body[462..473].copy_from_slice(b"TDS-Library");
        body[472] = 10;
        [&[2, 0, 2, 0, 0, 0, 0, 0][..], &body, &[2, 1, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0]].concat()
    }

    #[test]
    fn logins_before_version_7_are_told() {
        let language = b"\x0f\x01\0\x16\0\0\0\0\x21\x09\0\0\0\0select 1";
        let client = [login_record([5, 0, 0, 0]), language.to_vec()].concat();
        let learned = Trial::<Tds>::new().client(&client).learned();
        assert!(learned.contains(r#"tds {"command":"login","version":"5.0","host":"vm","user":"u","program":"TSQL","server":"10.77.0.1","library":"TDS-Librar"}"#), "{learned}");
        assert!(learned.contains(r#"tds {"command":"batch","query":"select 1"}"#), "{learned}");
        let probe = |bytes: &[u8]| Tds::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(probe(&client), Probe::Certain);
        assert_eq!(probe(&client[..300]), Probe::Certain);
        assert_eq!(probe(&client[..100]), Probe::Unsure);
        assert_eq!(probe(&[&client[..8], &[1; 60]].concat()), Probe::NotForUs);
        assert_eq!(probe(&[&[2, 0, 2, 0, 0, 0, 0, 0][..], &[0; 504]].concat()), Probe::NotForUs);
        cuts_do_not_matter::<Tds>(&client, &[]);
        survives_damage::<Tds>(&client, &[]);
    }

    #[test]
    fn pre_logins_are_recognised() {
        let probe = |bytes: &[u8]| Tds::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(probe(&prelogin_packet(kind::PRELOGIN)), Probe::Certain);
        assert_eq!(probe(&login()), Probe::Certain);
        assert_eq!(probe(&packet(kind::PRELOGIN, &[9; 30])), Probe::NotForUs);
        assert_eq!(probe(&packet(kind::BATCH, &[9; 30])), Probe::NotForUs);
    }
}
