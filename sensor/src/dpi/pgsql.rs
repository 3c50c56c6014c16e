//! PostgreSQL's frontend/backend protocol, version 3 (PostgreSQL documentation, chapter "Frontend/Backend
//! Protocol").
//!
//! In: both directions of a stream. Out: one event per request with its answers in EVE's `pgsql` form; account,
//! database, versions and kinds of statement in metadata. Passwords are not told. Of rows only the number and
//! the size are. Statements of the extended query protocol, of which Suricata tells nothing, are told as
//! `prepared_query`. What follows an accepted SSLRequest is another protocol's.

use super::buffers::{Buffer, Stage};
use super::scan::{self, Scan, escaped};
use super::{Context, Dissector, Event, First, Probe, Progress, Starts};
use std::collections::VecDeque;
use weir_common::app::App;
use weir_common::json::{self, Object};
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Most bytes of a message that are looked at; the rest passes.
const MESSAGE_BYTES_MAX: usize = 16 << 10;
/// Longest message that is taken for one.
const LENGTH_MAX: u32 = 1 << 30;
/// Most requests whose answers are awaited.
const PENDING_MAX: usize = 128;
/// Most bytes of JSON collected of one request's answers; further ones are left out.
const RESPONSE_BYTES_MAX: usize = 16 << 10;
/// Most answers that wait for what they answer.
const EARLY_MAX: usize = 16;
const PORT: u16 = 5432;

const VERSION_3: u32 = 3 << 16;
const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// The dissector of one session.
#[derive(Debug, Default)]
pub(super) struct Pgsql {
    pending: VecDeque<Box<Transaction>>,
    transactions: u64,
    /// The client has begun: its messages have kinds.
    has_started: bool,
    /// Answers that came before what they answer: where a flow is picked up in the middle, one side's bytes may
    /// be offered before the other's.
    early: VecDeque<Box<Transaction>>,
    authentication: Authentication,
    is_lost: [bool; 2],
    /// The beginning was not seen.
    is_picked_up: bool,
}

/// What the client's next `p` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Authentication {
    #[default]
    Password,
    SaslInitial,
    Sasl,
}

/// A request and its answers.
#[derive(Debug, Default)]
struct Transaction {
    id: u64,
    kind: Request,
    /// Members of EVE's objects.
    request: Vec<u8>,
    response: Vec<u8>,
    parameters: Vec<u8>,
    rows: Option<(u64, u64)>,
    copied_out: Option<(u64, u64)>,
    copied_in: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Request {
    Encryption,
    Startup,
    /// Rows for the table that the request before it named.
    CopyIn,
    #[default]
    Other,
}

impl Dissector for Pgsql {
    const APP: App = App::Pgsql;

    const STARTS: Starts = Starts::stream(b"\0RQEPN");

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        let mut scan = Scan::new(bytes);
        if bytes.first() == Some(&0) {
            let (Some(length), Some(code)) = (scan.be32(), scan.be32()) else {
                return if matches!(bytes.get(1), None | Some(0)) { Probe::Unsure } else { Probe::NotForUs };
            };
            return match (length, code) {
                (8, SSL | GSS) | (16, CANCEL) if bytes.len() <= length as usize => Probe::Certain,
                (17..=10_000, VERSION_3) => {
                    let whole = length as usize - 8;
                    let text = scan.rest();
                    // What follows the first message says nothing of it.
                    let text = text.get(..whole).unwrap_or(text);
                    let is_user = memchr::memmem::find(text, b"user\0").is_some();
                    let is_text = text.iter().all(|byte| *byte == 0 || *byte >= b' ');
                    match (is_text, text.len() >= whole) {
                        (true, true) if is_user && text.ends_with(b"\0\0") => Probe::Certain,
                        (true, false) => Probe::Unsure,
                        _ => Probe::NotForUs,
                    }
                }
                _ => Probe::NotForUs,
            };
        }
        let (Some(kind), Some(length)) = (scan.u8(), scan.be32()) else { return Probe::Unsure };
        if !(4..LENGTH_MAX).contains(&length) {
            return Probe::NotForUs;
        }
        match kind {
            b'R' if (8..=200).contains(&length) => match scan.be32() {
                None => Probe::Unsure,
                Some(0) if length == 8 && scan.rest().first() == Some(&b'S') => Probe::Certain,
                Some(0 | 3) if length == 8 && first.has_port(PORT) => Probe::Likely,
                Some(0) if length == 8 && scan.is_empty() => Probe::Unsure,
                Some(5) if length == 12 && bytes.len() == 13 => Probe::Likely,
                Some(5) if length == 12 && bytes.len() < 13 => Probe::Unsure,
                Some(10) if scan.rest().starts_with(b"SCRAM-") => Probe::Certain,
                Some(10) if b"SCRAM-".starts_with(scan.rest()) => Probe::Unsure,
                _ => Probe::NotForUs,
            },
            b'Q' | b'P' | b'E' | b'N' if first.has_port(PORT) && length < 10_000 => {
                let text = scan.rest();
                let is_whole = bytes.len() > length as usize;
                match text.get(..length as usize - 4) {
                    Some(text)
                        if is_whole
                            && text.last() == Some(&0)
                            && text.len() > 4
                            && text
                                .iter()
                                .all(|byte| *byte == 0 || *byte >= b' ' || byte.is_ascii_whitespace()) =>
                    {
                        Probe::Likely
                    }
                    None if bytes.len() < 1024 => Probe::Unsure,
                    _ => Probe::NotForUs,
                }
            }
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Pgsql::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if self.is_lost[index] {
                return Progress::Used(bytes.len());
            }
            let step = match context.direction {
                Direction::Forward => self.client(rest, context),
                Direction::Reverse => self.server(rest, context),
            };
            match step {
                Step::Used(more) => used = used.saturating_add(more),
                Step::Wait => break,
                Step::Encrypted => return Progress::Switch(used + 1),
                Step::Lost(event) => {
                    context.anomaly(event, Some(self.transactions));
                    self.is_lost[index] = true;
                }
            }
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        if self.is_lost == [true; 2] { Progress::Done } else { Progress::Used(0) }
    }

    fn close(&mut self, context: &mut Context<'_>) {
        for transaction in
            std::mem::take(&mut self.early).into_iter().chain(std::mem::take(&mut self.pending))
        {
            transaction.tell(context);
        }
    }

    fn describe(&self, _: Direction, transaction: u64, out: &mut Vec<u8>) {
        if let Some(pending) = self.pending.iter().find(|pending| pending.number() == transaction) {
            pending.write(&mut Object::begin(out));
        }
    }
}

enum Step {
    Used(usize),
    Wait,
    Encrypted,
    /// What follows cannot be read, and why.
    Lost(&'static str),
}

/// A message's body as far as it is looked at, and its whole size on the wire behind `head` bytes.
fn body(rest: &[u8], head: usize) -> Result<(&[u8], usize), Step> {
    let Some(length) =
        rest.get(head..).and_then(|rest| rest.first_chunk()).map(|length| u32::from_be_bytes(*length))
    else {
        return Err(Step::Wait);
    };
    if !(4..LENGTH_MAX).contains(&length) {
        return Err(Step::Lost("invalid_length"));
    }
    let size = head + length as usize;
    let wanted = size.min(MESSAGE_BYTES_MAX);
    match rest.get(head + 4..wanted) {
        Some(body) => Ok((body, size)),
        None => Err(Step::Wait),
    }
}

/// Appends a member.
fn member(out: &mut Vec<u8>, key: &str, value: &str) {
    if out.len() > RESPONSE_BYTES_MAX {
        return;
    }
    if !out.is_empty() {
        out.push(b',');
    }
    json::string(out, key.as_bytes());
    out.push(b':');
    json::string(out, value.as_bytes());
}

/// Appends a member that is JSON already.
fn raw_member(out: &mut Vec<u8>, key: &str, value: &str) {
    if out.len() > RESPONSE_BYTES_MAX {
        return;
    }
    if !out.is_empty() {
        out.push(b',');
    }
    json::string(out, key.as_bytes());
    out.push(b':');
    out.extend_from_slice(value.as_bytes());
}

/// Appends an object of one member to a list.
fn listed(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    if out.len() > RESPONSE_BYTES_MAX {
        return;
    }
    if !out.is_empty() {
        out.push(b',');
    }
    out.push(b'{');
    let key: &[u8] = match key {
        b"DateStyle" => b"date_style",
        b"IntervalStyle" => b"interval_style",
        b"TimeZone" => b"time_zone",
        key => key,
    };
    json::string(out, key);
    out.push(b':');
    json::string(out, escaped(value).as_bytes());
    out.push(b'}');
}

impl Pgsql {
    /// Begins a transaction, whose number is returned.
    fn begin(&mut self, kind: Request, request: Vec<u8>, context: &mut Context<'_>) -> u64 {
        if !request.is_empty()
            && let Some(mut early) = self.early.pop_front()
        {
            early.request = request;
            early.tell(context);
            return early.id;
        }
        self.transactions += 1;
        if self.pending.len() >= PENDING_MAX
            && let Some(oldest) = self.pending.pop_front()
        {
            context.anomaly("too_many_transactions", Some(oldest.number()));
            oldest.tell(context);
        }
        let transaction = Transaction { id: self.transactions, kind, request, ..Transaction::default() };
        self.pending.push_back(Box::new(transaction));
        self.transactions
    }

    /// The last request is its own end.
    fn finish(&mut self, context: &mut Context<'_>) {
        if let Some(last) = self.pending.pop_back() {
            last.tell(context);
        }
    }

    /// What the client copies in is a transaction of its own behind the request for it, as Suricata has it.
    fn copy_in(&mut self, context: &mut Context<'_>) -> Option<&mut Transaction> {
        if self.pending.back().is_none_or(|last| last.kind != Request::CopyIn) {
            self.begin(Request::CopyIn, Vec::new(), context);
        }
        let copy = self.pending.back_mut().filter(|last| last.kind == Request::CopyIn)?;
        copy.copied_in.get_or_insert_default();
        Some(copy)
    }

    fn client(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        if !self.has_started && rest.first() == Some(&0) {
            return match body(rest, 0) {
                Ok((body, size)) => {
                    self.start(body, context);
                    Step::Used(size)
                }
                Err(step) => step,
            };
        }
        self.has_started = true;
        let Some(kind) = rest.first() else { return Step::Wait };
        let (body, size) = match body(rest, 1) {
            Ok(found) => found,
            Err(step) => return step,
        };
        let mut request = Vec::new();
        match kind {
            b'Q' => {
                let text = body.strip_suffix(b"\0").unwrap_or(body);
                learn_statement(text, context);
                member(&mut request, "simple_query", &escaped(text));
            }
            b'P' => {
                let mut scan = Scan::new(body);
                let _ = scan.zero_ended();
                let text = scan.rest();
                let text = text.get(..memchr::memchr(0, text).unwrap_or(text.len())).unwrap_or(text);
                learn_statement(text, context);
                member(&mut request, "prepared_query", &escaped(text));
            }
            b'p' => match std::mem::replace(&mut self.authentication, Authentication::Password) {
                Authentication::Password if context.eve.pgsql_passwords => {
                    let password = body.strip_suffix(b"\0").unwrap_or(body);
                    member(&mut request, "password", &escaped(password));
                }
                Authentication::Password => raw_member(&mut request, "password_redacted", "true"),
                Authentication::SaslInitial => {
                    let mut scan = Scan::new(body);
                    let mechanism = scan.zero_ended().unwrap_or_default();
                    let parameter =
                        scan.be32().and_then(|length| scan.take(length as usize)).unwrap_or_default();
                    let mechanism = match mechanism {
                        b"SCRAM-SHA-256" => "scram_SHA256".into(),
                        b"SCRAM-SHA-256-PLUS" => "scram_SHA256_plus".into(),
                        other => escaped(other),
                    };
                    member(&mut request, "sasl_authentication_mechanism", &mechanism);
                    member(&mut request, "sasl_param", &escaped(parameter));
                }
                Authentication::Sasl => member(&mut request, "sasl_response", &escaped(body)),
            },
            b'X' => {
                member(&mut request, "message", "termination_message");
                self.begin(Request::Other, request, context);
                self.finish(context);
                return Step::Used(size);
            }
            b'd' => {
                let copied = self.copy_in(context).and_then(|copy| copy.copied_in.as_mut());
                if let Some((count, bytes)) = copied {
                    *count += 1;
                    *bytes += size.saturating_sub(5) as u64;
                }
                return Step::Used(size);
            }
            b'c' | b'f' => {
                // A copy ends once.
                if let Some(copy) = self.copy_in(context).filter(|copy| copy.request.is_empty()) {
                    match kind {
                        b'c' => member(&mut copy.request, "message", "copy_done"),
                        _ => member(
                            &mut copy.request,
                            "copy_fail",
                            &escaped(body.strip_suffix(b"\0").unwrap_or(body)),
                        ),
                    }
                }
                return Step::Used(size);
            }
            b'B' | b'C' | b'D' | b'E' | b'F' | b'H' | b'S' => return Step::Used(size),
            _ => return Step::Lost("malformed_request"),
        }
        let number = self.begin(Request::Other, request, context).saturating_sub(1);
        if *kind == b'Q' {
            context.put(
                Direction::Forward,
                number,
                Buffer::PgsqlQuery,
                body.strip_suffix(b"\0").unwrap_or(body),
            );
        }
        context.reached(Direction::Forward, number, Stage::Body);
        Step::Used(size)
    }

    /// A message without a kind, which only the first ones are.
    fn start(&mut self, body: &[u8], context: &mut Context<'_>) {
        let mut scan = Scan::new(body);
        let mut request = Vec::new();
        match scan.be32() {
            Some(SSL) => {
                member(&mut request, "message", "SSL Request");
                self.begin(Request::Encryption, request, context);
            }
            Some(GSS) => {
                member(&mut request, "message", "GSS Encryption Request");
                self.begin(Request::Encryption, request, context);
            }
            Some(CANCEL) => {
                let (process, key) = (scan.be32().unwrap_or_default(), scan.be32().unwrap_or_default());
                member(&mut request, "message", "cancel_request");
                raw_member(&mut request, "process_id", &process.to_string());
                raw_member(&mut request, "secret_key", &key.to_string());
                self.begin(Request::Other, request, context);
                self.finish(context);
            }
            Some(version) => {
                self.has_started = true;
                let version = format!("{}.{}", version >> 16, version & 0xffff);
                context.metadata.set_text(Field::Version, &version);
                member(&mut request, "protocol_version", &version);
                let (mut user, mut parameters) = (&b""[..], Vec::new());
                while let (Some(key), Some(value)) = (scan.zero_ended(), scan.zero_ended()) {
                    if key.is_empty() {
                        break;
                    }
                    match key {
                        b"user" => {
                            user = value;
                            context.metadata.add(Field::User, &String::from_utf8_lossy(value));
                            continue;
                        }
                        b"database" => context.metadata.add(Field::Object, &String::from_utf8_lossy(value)),
                        b"application_name" => context.metadata.set_bytes(Field::ClientSoftware, value),
                        _ => {}
                    }
                    listed(&mut parameters, key, value);
                }
                let mut startup = b"{\"user\":".to_vec();
                json::string(&mut startup, escaped(user).as_bytes());
                if !parameters.is_empty() {
                    startup.extend_from_slice(b",\"optional_parameters\":[");
                    startup.extend_from_slice(&parameters);
                    startup.push(b']');
                }
                startup.push(b'}');
                raw_member(&mut request, "startup_parameters", &String::from_utf8_lossy(&startup));
                self.begin(Request::Startup, request, context);
            }
            None => {}
        }
    }

    fn server(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        if self.pending.front().is_some_and(|front| front.kind == Request::Encryption)
            && let Some(answer @ (b'S' | b'N' | b'G')) = rest.first()
        {
            if let Some(mut front) = self.pending.pop_front() {
                raw_member(
                    &mut front.response,
                    "ssl_accepted",
                    if *answer == b'N' { "false" } else { "true" },
                );
                front.tell(context);
            }
            return if *answer == b'N' { Step::Used(1) } else { Step::Encrypted };
        }
        let Some(kind) = rest.first() else { return Step::Wait };
        if *kind == b'D' {
            // Rows are counted without waiting for them.
            let Some((length, columns)) = rest.get(1..7).and_then(|head| {
                let mut scan = Scan::new(head);
                Some((scan.be32()?, scan.be16()?))
            }) else {
                return Step::Wait;
            };
            if !(6..LENGTH_MAX).contains(&length) {
                return Step::Lost("invalid_length");
            }
            if let Some(front) = self.pending.front_mut() {
                let (rows, bytes) = front.rows.get_or_insert_default();
                *rows += 1;
                *bytes += u64::from(length.saturating_sub(6).saturating_sub(4 * u32::from(columns)));
            }
            return Step::Used(1 + length as usize);
        }
        let (body, size) = match body(rest, 1) {
            Ok(found) => found,
            Err(step) => return step,
        };
        let is_known = b"RSKZTCENAHGWdc123ntIsvV".contains(kind);
        if !is_known {
            return Step::Lost("malformed_response");
        }
        if self.pending.is_empty() && *kind != b'S' && *kind != b'Z' {
            self.is_picked_up |= self.transactions == 0;
            self.begin(Request::Other, Vec::new(), context);
        }
        if self.answer(*kind, body, size, context)
            && let Some(front) = self.pending.pop_front()
        {
            if front.request.is_empty() && self.is_picked_up && self.early.len() < EARLY_MAX {
                self.early.push_back(front);
            } else {
                front.tell(context);
            }
        }
        Step::Used(size)
    }

    /// Takes an answer to the first pending request. Whether that is answered with it.
    fn answer(&mut self, kind: u8, body: &[u8], size: usize, context: &mut Context<'_>) -> bool {
        let mut scan = Scan::new(body);
        if kind == b'S' {
            if let (Some(key), Some(value)) = (scan.zero_ended(), scan.zero_ended()) {
                if key == b"server_version" {
                    context.metadata.set_text(
                        Field::ServerSoftware,
                        &format!("PostgreSQL {}", String::from_utf8_lossy(value)),
                    );
                }
                if let Some(front) = self.pending.front_mut() {
                    listed(&mut front.parameters, key, value);
                }
            }
            return false;
        }
        let Some(front) = self.pending.front_mut() else { return false };
        let out = &mut front.response;
        match kind {
            b'R' => {
                let code = scan.be32();
                let rest = scan.rest();
                match code {
                    Some(0) => {
                        member(out, "message", "authentication_ok");
                        return false;
                    }
                    Some(3) => member(out, "message", "authentication_cleartext_password"),
                    Some(5) => member(out, "authentication_md5_password", &escaped(rest)),
                    Some(9) => member(out, "authentication_sspi", &escaped(rest)),
                    Some(10) => {
                        self.authentication = Authentication::SaslInitial;
                        member(out, "message", "authentication_sasl");
                    }
                    Some(11) => {
                        self.authentication = Authentication::Sasl;
                        member(out, "message", "authentication_sasl_continue");
                    }
                    Some(12) => {
                        member(out, "authentication_sasl_final", &escaped(rest));
                        return false;
                    }
                    _ => return false,
                }
                return true;
            }
            b'K' => {
                let (process, key) = (scan.be32().unwrap_or_default(), scan.be32().unwrap_or_default());
                raw_member(out, "process_id", &process.to_string());
                raw_member(out, "secret_key", &key.to_string());
            }
            b'T' => raw_member(out, "field_count", &scan.be16().unwrap_or_default().to_string()),
            b'C' => {
                member(out, "command_completed", &escaped(body.strip_suffix(b"\0").unwrap_or(body)));
            }
            b'E' | b'N' => {
                let code = write_notice(body, out);
                if kind == b'E'
                    && let Some(code) = code
                {
                    context.metadata.add(Field::Status, &code);
                }
                // A session that is refused has no more to say.
                return kind == b'E' && front.kind == Request::Startup;
            }
            b'A' => {
                raw_member(out, "pid", &scan.be32().unwrap_or_default().to_string());
                member(out, "channel_name", &escaped(scan.zero_ended().unwrap_or_default()));
                member(out, "payload", &escaped(scan.zero_ended().unwrap_or_default()));
            }
            b'G' | b'H' => {
                let key = if kind == b'G' { "copy_in_response" } else { "copy_out_response" };
                // One byte of format stands before the number of columns.
                let columns = scan.u8().and_then(|_| scan.be16()).unwrap_or_default();
                raw_member(out, key, &format!("{{\"columns\":{columns}}}"));
                // What the client copies then is answered on its own.
                return kind == b'G';
            }
            b'c' => member(out, "message", "copy_done"),
            b'd' => {
                let (rows, bytes) = front.copied_out.get_or_insert_default();
                *rows += 1;
                *bytes += size.saturating_sub(5) as u64;
            }
            b'Z' => return true,
            _ => {}
        }
        false
    }
}

/// Writes the fields of an error or a notice; gives its code.
fn write_notice(body: &[u8], out: &mut Vec<u8>) -> Option<String> {
    let mut scan = Scan::new(body);
    let mut code = None;
    while let Some(field) = scan.u8().filter(|field| *field != 0) {
        let Some(value) = scan.zero_ended() else { break };
        let key = match field {
            b'S' => "severity_localizable",
            b'V' => "severity_non_localizable",
            b'C' => "code",
            b'M' => "message",
            b'D' => "detail",
            b'H' => "hint",
            b'P' => "position",
            b'p' => "internal_position",
            b'q' => "internal_query",
            b'W' => "where",
            b's' => "schema_name",
            b't' => "table_name",
            b'c' => "column_name",
            b'd' => "data_type",
            b'n' => "constraint_name",
            b'F' => "file",
            b'L' => "line",
            b'R' => "routine",
            _ => continue,
        };
        if field == b'C' {
            code = Some(escaped(value).into_owned());
        }
        member(out, key, &escaped(value));
    }
    code
}

/// Adds the first word of a statement to the flow's commands.
pub(super) fn learn_statement(text: &[u8], context: &mut Context<'_>) {
    let (first, _) = scan::word(text);
    let letters = first.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    if let Some(word) = first.get(..letters).filter(|word| (2..=16).contains(&word.len())) {
        context.metadata.add(Field::Command, &String::from_utf8_lossy(&word.to_ascii_uppercase()));
    }
}

impl Transaction {
    /// Its number in the flow.
    fn number(&self) -> u64 {
        self.id.saturating_sub(1)
    }

    fn tell(&self, context: &mut Context<'_>) {
        context.reached(Direction::Forward, self.number(), Stage::Body);
        context.reached(Direction::Reverse, self.number(), Stage::Body);
        let (app, time) = (context.app, context.time);
        let Some(events) = context.events.as_deref_mut() else { return };
        let mut body = Vec::with_capacity(256 + self.response.len());
        self.write(&mut Object::begin(&mut body));
        let transaction = Some(self.number());
        events.push(Event { transaction, ..Event::new(app, time, Direction::Forward, body) });
    }

    fn write(&self, object: &mut Object<'_>) {
        object.number("tx_id", self.id);
        if !self.request.is_empty() || self.copied_in.is_some() {
            let mut request = object.object("request");
            if let Some((messages, bytes)) = self.copied_in.filter(|(messages, _)| *messages > 0) {
                request.object("copy_data_in").number("msg_count", messages).number("data_size", bytes);
            }
            request.members(&self.request);
        }
        let has_response = !self.response.is_empty() || !self.parameters.is_empty() || self.rows.is_some();
        if has_response || self.copied_out.is_some() {
            let mut response = object.object("response");
            response.members(&self.response);
            if !self.parameters.is_empty() {
                response.raw("parameter_status", &[b"[", &self.parameters[..], b"]"].concat());
            }
            if let Some((rows, bytes)) = self.rows {
                response.number("data_rows", rows).number("data_size", bytes);
            }
            if let Some((rows, bytes)) = self.copied_out {
                response.object("copy_data_out").number("row_count", rows).number("data_size", bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests;
