//! SOCKS 4, 4a and 5 (RFC 1928, RFC 1929): what the client asks the proxy for.
//!
//! In: both directions of a stream. Out: version, command, target, user and the answer, and one event for the
//! request; behind it begins what is proxied, which is looked at anew. Passwords are not kept.

use crate::dpi::bytes::{at, be16, u8_at};
use crate::dpi::{Context, Dissector, First, Probe, Progress, Starts};
use std::net::{Ipv4Addr, Ipv6Addr};
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Most bytes of a user or domain in version 4, which has no lengths.
const TEXT_BYTES_MAX: usize = 255;
const PORT: u16 = 1080;
const PORTS: [u16; 4] = [PORT, 1081, 9050, 9150];

/// The dissector of one connection.
#[derive(Debug, Default)]
pub(super) struct Socks {
    version: u8,
    /// What comes next of each side.
    client: Next,
    server: Next,
    command: u8,
    target: String,
    port: u16,
    user: Option<String>,
    method: Option<u8>,
    /// The proxy's answer.
    reply: Option<u8>,
    is_told: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Greeting,
    Authentication,
    Request,
    Proxied,
}

impl Dissector for Socks {
    const APP: App = App::Socks;

    const STARTS: Starts = Starts::stream(&[4, 5]);

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        let has_port = first.has_port_of(&PORTS);
        match bytes {
            [5] | [4] => Probe::Unsure,
            // Methods: none, GSSAPI, password, or the private ones.
            [5, count, methods @ ..] if !methods.is_empty() || *count > 0 => {
                let count = usize::from(*count);
                let known = methods.iter().take(count).all(|method| matches!(method, 0..=9 | 0x80..=0xfe));
                let is_distinct = methods
                    .iter()
                    .enumerate()
                    .all(|(at, method)| !methods.iter().take(at).any(|have| have == method));
                match methods.len() {
                    len if len < count && known && count <= 10 => Probe::Unsure,
                    len if len == count && known && is_distinct && count <= 10 => {
                        // A server's choice looks the same as a greeting with one method.
                        let is_answered = first.other.head().first() == Some(&5) && first.other.len == 2;
                        if has_port || is_answered { Probe::Certain } else { Probe::Likely }
                    }
                    // A server's choice, and its answer to the request at once.
                    _ => Probe::NotForUs,
                }
            }
            [5, 0] => {
                let is_asked = first.other.head().first() == Some(&5);
                if is_asked || has_port { Probe::Certain } else { Probe::Unsure }
            }
            [4, command, ..] if !matches!(command, 1 | 2) => Probe::NotForUs,
            [4, _, rest @ ..] => {
                let (Some(port), Some(address)) = (be16(rest, 0), at::<4>(rest, 2)) else {
                    return Probe::Unsure;
                };
                let Some((_, used)) = version_4(bytes) else {
                    return if bytes.len() < 3 * TEXT_BYTES_MAX { Probe::Unsure } else { Probe::NotForUs };
                };
                let text = bytes.get(8..used).unwrap_or_default();
                let is_text = text.iter().all(|byte| *byte == 0 || byte.is_ascii_graphic());
                match is_text && used == bytes.len() && port != 0 && address != [0; 4] {
                    true => {
                        if has_port {
                            Probe::Certain
                        } else {
                            Probe::Likely
                        }
                    }
                    false => Probe::NotForUs,
                }
            }
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Socks::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let step = match context.direction {
                Direction::Forward => self.read_client(rest, context),
                Direction::Reverse => self.read_server(rest, context),
            };
            match step {
                Ok(0) => break,
                Ok(step) => used += step,
                Err(()) => {
                    self.tell(context);
                    return Progress::Broken("malformed");
                }
            }
            if self.is_over() {
                self.tell(context);
                return if self.command == 1 && self.is_granted() {
                    Progress::Switch(used)
                } else {
                    Progress::Done
                };
            }
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.tell(context);
        Progress::Done
    }

    fn close(&mut self, context: &mut Context<'_>) {
        self.tell(context);
    }
}

impl Socks {
    fn is_granted(&self) -> bool {
        matches!((self.version, self.reply), (5, Some(0)) | (4, Some(90)))
    }

    fn is_over(&self) -> bool {
        self.server == Next::Proxied && (self.client == Next::Proxied || self.reply.is_some())
    }

    /// Reads one message of the client; 0: it is not there yet.
    fn read_client(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Result<usize, ()> {
        match self.client {
            Next::Greeting => {
                let version = u8_at(bytes, 0).ok_or(())?;
                self.version = version;
                context.metadata.set_text(Field::Version, if version == 4 { "4" } else { "5" });
                if version == 4 {
                    let Some((request, used)) = version_4(bytes) else {
                        return if bytes.len() > 3 * TEXT_BYTES_MAX { Err(()) } else { Ok(0) };
                    };
                    self.ask(request.command, request.target, request.port, context);
                    if !request.user.is_empty() {
                        self.name(request.user, context);
                    }
                    self.client = Next::Proxied;
                    return Ok(used);
                }
                let Some(count) = u8_at(bytes, 1) else { return Ok(0) };
                let used = 2 + usize::from(count);
                if version != 5 {
                    return Err(());
                }
                if bytes.len() < used {
                    return Ok(0);
                }
                self.client = Next::Request;
                Ok(used)
            }
            Next::Authentication | Next::Request if u8_at(bytes, 0) == Some(1) => {
                // Version 1 of the sub-negotiation: name, password.
                let Some(user) = counted(bytes, 1) else { return Ok(0) };
                let Some(password) = counted(bytes, 2 + user.len()) else { return Ok(0) };
                let used = 3 + user.len() + password.len();
                self.name(&String::from_utf8_lossy(user), context);
                self.client = Next::Request;
                Ok(used)
            }
            Next::Authentication | Next::Request => {
                let Some([5, command, _, kind]) = at::<4>(bytes, 0) else {
                    return if bytes.len() < 4 { Ok(0) } else { Err(()) };
                };
                let Some((target, port, used)) = address(bytes, kind)? else { return Ok(0) };
                self.ask(command, target, port, context);
                self.client = Next::Proxied;
                Ok(used)
            }
            // Sent before the proxy has answered.
            Next::Proxied => Ok(0),
        }
    }

    fn read_server(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Result<usize, ()> {
        const ANSWER_4_BYTES: usize = 8;
        match (self.server, u8_at(bytes, 0), u8_at(bytes, 1)) {
            (_, _, None) => Ok(0),
            (Next::Greeting, Some(0), Some(reply)) if self.version == 4 => {
                if bytes.len() < ANSWER_4_BYTES {
                    return Ok(0);
                }
                self.answer(reply, context);
                Ok(ANSWER_4_BYTES)
            }
            (Next::Greeting, Some(5), Some(method)) => {
                self.version = 5;
                self.method = Some(method);
                self.server = match method {
                    0 => Next::Request,
                    0xff => Next::Proxied,
                    _ => Next::Authentication,
                };
                Ok(2)
            }
            (Next::Authentication, Some(1), Some(status)) => {
                self.server = Next::Request;
                if status != 0 {
                    context.metadata.add(Field::Status, "authentication failed");
                }
                Ok(2)
            }
            (Next::Authentication | Next::Request, Some(5), Some(reply)) => {
                let Some(kind) = u8_at(bytes, 3) else { return Ok(0) };
                let Some((.., used)) = address(bytes, kind)? else { return Ok(0) };
                self.answer(reply, context);
                Ok(used)
            }
            _ => Err(()),
        }
    }

    fn name(&mut self, user: &str, context: &mut Context<'_>) {
        context.metadata.add(Field::User, user);
        self.user = Some(user.to_owned());
    }

    fn ask(&mut self, command: u8, target: String, port: u16, context: &mut Context<'_>) {
        context.metadata.add(Field::Command, command_name(command));
        let shown =
            if target.contains(':') { format!("[{target}]:{port}") } else { format!("{target}:{port}") };
        context.metadata.add(Field::Object, &shown);
        (self.command, self.target, self.port) = (command, target, port);
    }

    fn answer(&mut self, reply: u8, context: &mut Context<'_>) {
        self.reply = Some(reply);
        self.server = Next::Proxied;
        context.metadata.add(Field::Status, reply_name(self.version, reply));
    }

    fn tell(&mut self, context: &mut Context<'_>) {
        if std::mem::replace(&mut self.is_told, true) || self.version == 0 {
            return;
        }
        let this = &*self;
        context.tell(Direction::Forward, None, |object| {
            object.number("version", this.version);
            if let Some(method) = this.method {
                object.text("method", method_name(method));
            }
            object.text_if("user", this.user.as_deref());
            if this.command != 0 {
                object.text("command", command_name(this.command)).text("target", &this.target);
                object.number("port", this.port);
            }
            if let Some(reply) = this.reply {
                object.text("reply", reply_name(this.version, reply));
            }
        });
    }
}

/// A request of version 4, and how long it is.
struct Request4<'a> {
    command: u8,
    target: String,
    port: u16,
    user: &'a str,
}

fn version_4(bytes: &[u8]) -> Option<(Request4<'_>, usize)> {
    let (command, port, octets) = (u8_at(bytes, 1)?, be16(bytes, 2)?, at::<4>(bytes, 4)?);
    let text = |from: usize| {
        let rest = bytes.get(from..)?;
        let end = rest.iter().take(TEXT_BYTES_MAX + 1).position(|byte| *byte == 0)?;
        rest.get(..end)
    };
    let user = text(8)?;
    let behind = 8 + user.len() + 1;
    let user = std::str::from_utf8(user).unwrap_or_default();
    // An address of 0.0.0.x says that a name follows (version 4a).
    if octets.starts_with(&[0, 0, 0]) && octets != [0; 4] {
        let name = text(behind)?;
        let target = String::from_utf8_lossy(name).into_owned();
        return Some((Request4 { command, target, port, user }, behind + name.len() + 1));
    }
    Some((Request4 { command, target: Ipv4Addr::from(octets).to_string(), port, user }, behind))
}

/// A text behind its length.
fn counted(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(u8_at(bytes, at)?);
    bytes.get(at + 1..at + 1 + length)
}

/// Address and port behind the four first bytes of a message of version 5, and where they end.
fn address(bytes: &[u8], kind: u8) -> Result<Option<(String, u16, usize)>, ()> {
    let (target, end) = match kind {
        1 => (at::<4>(bytes, 4).map(|octets| Ipv4Addr::from(octets).to_string()), 8),
        4 => (at::<16>(bytes, 4).map(|octets| Ipv6Addr::from(octets).to_string()), 20),
        3 => {
            let name = counted(bytes, 4);
            (name.map(|name| String::from_utf8_lossy(name).into_owned()), 5 + name.map_or(0, <[u8]>::len))
        }
        _ => return Err(()),
    };
    let (Some(target), Some(port)) = (target, be16(bytes, end)) else { return Ok(None) };
    Ok(Some((target, port, end + 2)))
}

fn command_name(command: u8) -> &'static str {
    match command {
        1 => "connect",
        2 => "bind",
        3 => "udp_associate",
        0xf0 => "resolve",
        0xf1 => "resolve_ptr",
        _ => "unknown",
    }
}

fn method_name(method: u8) -> &'static str {
    match method {
        0 => "none",
        1 => "gssapi",
        2 => "username_password",
        0xff => "none_acceptable",
        _ => "other",
    }
}

fn reply_name(version: u8, reply: u8) -> &'static str {
    match (version, reply) {
        (5, 0) | (4, 90) => "succeeded",
        (5, 1) | (4, 91) => "general failure",
        (5, 2) => "not allowed",
        (5, 3) => "network unreachable",
        (5, 4) => "host unreachable",
        (5, 5) => "connection refused",
        (5, 6) => "ttl expired",
        (5, 7) => "command not supported",
        (5, 8) => "address type not supported",
        (4, 92) => "identd unreachable",
        (4, 93) => "identd mismatch",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::trial::{Trial, survives_damage};
    use crate::dpi::{Carrier, Glimpse};

    const REQUEST: &[u8] = b"\x05\x01\x00\x03\x0bexample.com\x01\xbb";
    const GRANTED: &[u8] = &[5, 0, 0, 1, 0, 0, 0, 0, 16, 16];

    #[test]
    fn version_5_is_told_and_what_is_proxied_begins_behind_it() {
        let trial = Trial::<Socks>::new().client(&[5, 2, 0, 2]).server(&[5, 2]).client(b"\x01\x04jane\x02pw");
        let trial = trial.server(&[1, 0]).client(REQUEST).server(GRANTED);
        assert_eq!(trial.end, Some(Progress::Switch(10)));
        assert_eq!((trial.text(Field::User), trial.text(Field::Object)), ("jane", "example.com:443"));
        let want = serde_json::json!({
            "version": 5, "method": "username_password", "user": "jane", "command": "connect",
            "target": "example.com", "port": 443, "reply": "succeeded",
        });
        assert_eq!(trial.event(), want);
    }

    #[test]
    fn versions_4_and_4a_are_told() {
        let plain = [&[4, 1, 0, 80, 192, 0, 2, 1][..], b"jane\0"].concat();
        let trial = Trial::<Socks>::new().client(&plain).server(&[0, 90, 0, 0, 0, 0, 0, 0]);
        assert_eq!(trial.end, Some(Progress::Switch(8)));
        assert_eq!((trial.text(Field::User), trial.text(Field::Object)), ("jane", "192.0.2.1:80"));
        let named = [&[4, 1, 0, 80, 0, 0, 0, 1][..], b"\0example.com\0"].concat();
        let refused = Trial::<Socks>::new().client(&named).server(&[0, 91, 0, 0, 0, 0, 0, 0]);
        assert_eq!((refused.end, refused.text(Field::Object)), (Some(Progress::Done), "example.com:80"));
        assert_eq!(refused.text(Field::Status), "general failure");
    }

    #[test]
    fn damage_is_survived() {
        survives_damage::<Socks>(&[&[5, 1, 0], REQUEST].concat(), &[&[5, 0], GRANTED].concat());
        survives_damage::<Socks>(b"\x04\x01\0\x50\0\0\0\x01jane\0a.example\0", &[0, 90, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn greetings_are_recognised_where_something_supports_them() {
        let tcp = |bytes: &'static [u8]| First::of(Carrier::Stream, Direction::Forward, bytes);
        assert_eq!(Socks::probe(&tcp(&[5, 2, 0, 1]).between(40_000, PORT)), Probe::Certain);
        assert_eq!(Socks::probe(&tcp(&[5, 2, 0, 1])), Probe::Likely);
        let asked = First { other: Glimpse::of(&[5, 2, 0, 1]), ..tcp(&[5, 0]) };
        assert_eq!(Socks::probe(&asked), Probe::Certain);
        assert_eq!(Socks::probe(&tcp(&[5, 2, 0, 0])), Probe::NotForUs);
        assert_eq!(Socks::probe(&tcp(&[5, 1, 0, 7, 7])), Probe::NotForUs);
        assert_eq!(Socks::probe(&tcp(b"\x04\x01\x00\x50\xc0\x00\x02\x01\0")), Probe::Likely);
        assert_eq!(Socks::probe(&tcp(&[4, 3, 0, 80])), Probe::NotForUs);
    }
}
