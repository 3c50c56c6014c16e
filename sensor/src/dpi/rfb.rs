//! Remote framebuffer, VNC's protocol, up to the end of its handshake (RFC 6143 section 7).
//!
//! In: both directions of a stream. Out: versions, security type, the result, the desktop's name and size, and
//! one event per session in EVE's form, with VNC's challenge and response as EVE has them. Screen contents,
//! keys and pointers are not looked at.

use super::buffers::{Buffer, Number, Stage};
use super::wire::{Cursor, escaped, hex};
use super::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Bytes of a version: `RFB 003.008\n`.
const VERSION_BYTES: usize = 12;
/// Most bytes of a reason or a desktop's name. With more, it is not RFB.
const TEXT_BYTES_MAX: usize = 4096;
/// Bytes of VNC's challenge and response.
const CHALLENGE_BYTES: usize = 16;
const NO_SECURITY: u8 = 1;
const VNC_SECURITY: u8 = 2;

/// What the server says next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Version,
    Security,
    Reason,
    Challenge,
    Result,
    Init,
}

/// What the client says next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Version,
    Choice,
    Response,
    Init,
    Over,
}

/// State of an RFB session.
#[derive(Debug)]
pub(super) struct Rfb {
    server: Server,
    client: Client,
    /// Which direction the server sends in.
    server_direction: Option<Direction>,
    versions: [Option<[u8; 7]>; 2],
    security: Option<u8>,
    challenge: Option<[u8; CHALLENGE_BYTES]>,
    response: Option<[u8; CHALLENGE_BYTES]>,
    result: Option<u32>,
    reason: Option<Vec<u8>>,
    is_shared: Option<bool>,
    framebuffer: Option<Framebuffer>,
    is_told: bool,
}

#[derive(Debug)]
struct Framebuffer {
    width: u16,
    height: u16,
    format: [u8; 16],
    name: Vec<u8>,
}

/// What a side's bytes led to.
enum Step {
    Used(usize),
    Wait,
    Over,
    Wrong,
}

fn version(bytes: &[u8; VERSION_BYTES]) -> Option<[u8; 7]> {
    let is_digits = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
    match bytes {
        [b'R', b'F', b'B', b' ', rest @ .., b'\n']
            if rest[3] == b'.' && is_digits(&rest[..3]) && is_digits(&rest[4..]) =>
        {
            Some(*rest)
        }
        _ => None,
    }
}

impl Dissector for Rfb {
    const APP: App = App::Rfb;

    const STARTS: Starts = Starts::stream(b"R");

    fn probe(first: &First<'_>) -> Probe {
        match first.bytes.first_chunk() {
            Some(bytes) => match version(bytes) {
                Some(_) => Probe::Certain,
                None => Probe::NotForUs,
            },
            None if b"RFB 00".starts_with(first.bytes.get(..6).unwrap_or(first.bytes)) => Probe::Unsure,
            None => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Rfb {
            server: Server::Version,
            client: Client::Version,
            server_direction: None,
            versions: [None; 2],
            security: None,
            challenge: None,
            response: None,
            result: None,
            reason: None,
            is_shared: None,
            framebuffer: None,
            is_told: false,
        }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        // The server speaks first, whichever way the capture has it.
        let server = *self.server_direction.get_or_insert(context.direction);
        let is_server = context.direction == server;
        let mut rest = bytes;
        loop {
            let step = if is_server { self.server(rest) } else { self.client(rest) };
            if context.wanted.is_some() {
                self.tell_frame(&step, is_server, rest, context);
            }
            match step {
                Step::Used(used) => rest = rest.get(used..).unwrap_or_default(),
                Step::Wait => return Progress::Used(bytes.len() - rest.len()),
                Step::Over => {
                    self.tell(context);
                    if self.security.is_some_and(|kind| kind > VNC_SECURITY) {
                        context.anomaly("unimplemented_security_type", Some(0));
                    }
                    // 0 is success and 1 failure (RFC 6143 section 7.1.3).
                    if self.result.is_some_and(|result| result > 1) {
                        context.anomaly("unknown_security_result", Some(0));
                    }
                    return Progress::Done;
                }
                Step::Wrong => {
                    self.tell(context);
                    return Progress::Broken("malformed_message");
                }
            }
        }
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.tell(context);
        Progress::Done
    }

    fn close(&mut self, context: &mut Context<'_>) {
        self.tell(context);
    }

    fn describe(&self, _direction: Direction, _transaction: u64, out: &mut Vec<u8>) {
        self.write(&mut Object::begin(out));
    }
}

impl Rfb {
    /// The minor version that both speak, as far as they have said so.
    fn minor(&self) -> Option<u8> {
        let [server, client] = self.versions;
        let minor =
            |version: [u8; 7]| if version[..3] == *b"003" { version[6].saturating_sub(b'0') } else { 8 };
        let minor = minor(server?).min(minor(client?));
        Some(if minor < 7 { 3 } else { minor.min(8) })
    }

    fn server(&mut self, bytes: &[u8]) -> Step {
        let mut cursor = Cursor(bytes);
        match self.server {
            Server::Version => {
                let Some(bytes) = cursor.array() else { return Step::Wait };
                let Some(version) = version(&bytes) else { return Step::Wrong };
                self.versions[0] = Some(version);
                self.server = Server::Security;
                Step::Used(VERSION_BYTES)
            }
            Server::Security => {
                let Some(minor) = self.minor() else { return Step::Wait };
                if minor == 3 {
                    let Some(kind) = cursor.be32() else { return Step::Wait };
                    if kind == 0 {
                        self.server = Server::Reason;
                    } else {
                        self.choose(u8::try_from(kind).unwrap_or(0));
                    }
                    return Step::Used(4);
                }
                let Some(count) = cursor.u8() else { return Step::Wait };
                if count == 0 {
                    self.server = Server::Reason;
                    return Step::Used(1);
                }
                if cursor.take(usize::from(count)).is_none() {
                    return Step::Wait;
                }
                // What comes next depends on the client's choice.
                self.server = Server::Challenge;
                if self.client == Client::Version {
                    self.client = Client::Choice;
                }
                Step::Used(1 + usize::from(count))
            }
            Server::Challenge => match self.security {
                None => Step::Wait,
                Some(VNC_SECURITY) => {
                    let Some(challenge) = cursor.array() else { return Step::Wait };
                    self.challenge = Some(challenge);
                    self.server = Server::Result;
                    Step::Used(CHALLENGE_BYTES)
                }
                Some(NO_SECURITY) => {
                    // Only from 3.8 on the server says that nothing went wrong.
                    self.server = if self.minor() == Some(8) { Server::Result } else { Server::Init };
                    if bytes.is_empty() { Step::Wait } else { Step::Used(0) }
                }
                // Others have handshakes of their own.
                Some(_) => Step::Over,
            },
            Server::Result => {
                let Some(result) = cursor.be32() else { return Step::Wait };
                self.result = Some(result);
                if result == 0 {
                    self.server = Server::Init;
                    return Step::Used(4);
                }
                if self.minor() != Some(8) {
                    return Step::Over;
                }
                self.server = Server::Reason;
                Step::Used(4)
            }
            Server::Reason => {
                let Some(length) = cursor.be32() else { return Step::Wait };
                if length as usize > TEXT_BYTES_MAX {
                    return Step::Wrong;
                }
                let Some(reason) = cursor.take(length as usize) else { return Step::Wait };
                self.reason = Some(reason.to_vec());
                Step::Over
            }
            Server::Init => {
                let (Some(width), Some(height), Some(format), Some(length)) =
                    (cursor.be16(), cursor.be16(), cursor.array(), cursor.be32())
                else {
                    return Step::Wait;
                };
                if length as usize > TEXT_BYTES_MAX {
                    return Step::Wrong;
                }
                let Some(name) = cursor.take(length as usize) else { return Step::Wait };
                self.framebuffer = Some(Framebuffer { width, height, format, name: name.to_vec() });
                Step::Over
            }
        }
    }

    /// A security type is chosen.
    fn choose(&mut self, kind: u8) {
        self.security = Some(kind);
        self.server = Server::Challenge;
        self.client = if kind == VNC_SECURITY { Client::Response } else { Client::Init };
    }

    fn client(&mut self, bytes: &[u8]) -> Step {
        let mut cursor = Cursor(bytes);
        match self.client {
            Client::Version => {
                if self.versions[1].is_some() {
                    return match (self.minor(), bytes.is_empty()) {
                        // The server chooses.
                        (Some(3), _) | (_, true) => Step::Wait,
                        _ => {
                            self.client = Client::Choice;
                            Step::Used(0)
                        }
                    };
                }
                let Some(bytes) = cursor.array() else { return Step::Wait };
                let Some(version) = version(&bytes) else { return Step::Wrong };
                self.versions[1] = Some(version);
                Step::Used(VERSION_BYTES)
            }
            Client::Choice => {
                if self.versions[1].is_none() {
                    self.client = Client::Version;
                    return Step::Used(0);
                }
                let Some(kind) = cursor.u8() else { return Step::Wait };
                self.security = Some(kind);
                self.client = if kind == VNC_SECURITY { Client::Response } else { Client::Init };
                Step::Used(1)
            }
            Client::Response => {
                let Some(response) = cursor.array() else { return Step::Wait };
                self.response = Some(response);
                self.client = Client::Init;
                Step::Used(CHALLENGE_BYTES)
            }
            Client::Init => {
                if self.security.is_some_and(|kind| kind > VNC_SECURITY) {
                    return Step::Over;
                }
                let Some(shared) = cursor.u8() else { return Step::Wait };
                self.is_shared = Some(shared != 0);
                self.client = Client::Over;
                Step::Used(1)
            }
            Client::Over => Step::Wait,
        }
    }

    fn tell(&mut self, context: &mut Context<'_>) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        if let Some(version) = self.versions[0] {
            context.metadata.set_text(Field::Version, &String::from_utf8_lossy(&version));
        }
        if let Some(framebuffer) = &self.framebuffer {
            context.metadata.add(Field::EndpointName, &escaped(&framebuffer.name));
        }
        if let Some(kind) = self.security {
            context.metadata.add(Field::Command, security_name(kind));
        }
        if let Some(result) = self.result {
            context.metadata.add(Field::Status, if result == 0 { "OK" } else { "FAIL" });
        }
        let direction = self.server_direction.map_or(Direction::Forward, Direction::flip);
        context.tell(direction, Some(0), |object| self.write(object));
        if context.wanted.is_some() {
            self.tell_parts(direction, context);
        }
    }

    /// Tells signatures the message that a step read.
    fn tell_frame(&self, step: &Step, is_server: bool, bytes: &[u8], context: &mut Context<'_>) {
        const INIT_BYTES: usize = 24;
        let length = match (step, &self.framebuffer, &self.reason) {
            (Step::Used(used), ..) => *used,
            (Step::Over, Some(framebuffer), _) if is_server => INIT_BYTES + framebuffer.name.len(),
            (Step::Over, None, Some(reason)) if is_server => 4 + reason.len(),
            _ => 0,
        };
        if let Some(message) = bytes.get(..length).filter(|message| !message.is_empty()) {
            context.frame(Buffer::FrameRfbPdu, Some(0), message);
        }
    }

    /// Tells signatures what the session agreed on: the one transaction that it is.
    fn tell_parts(&self, client: Direction, context: &mut Context<'_>) {
        let server = client.flip();
        if let Some(kind) = self.security {
            context.put_number(client, 0, Number::RfbSectype, kind.into());
        }
        if let Some(result) = self.result {
            context.put_number(server, 0, Number::RfbSecresult, result.into());
        }
        if let Some(framebuffer) =
            self.framebuffer.as_ref().filter(|framebuffer| !framebuffer.name.is_empty())
        {
            context.put(server, 0, Buffer::RfbName, &framebuffer.name);
        }
        for (direction, version) in [(server, self.versions[0]), (client, self.versions[1])] {
            if version.is_some() {
                context.reached(direction, 0, Stage::Body);
            }
        }
    }

    fn write(&self, object: &mut Object<'_>) {
        for (key, version) in
            ["server_protocol_version", "client_protocol_version"].into_iter().zip(self.versions)
        {
            if let Some(version) = version {
                let (major, minor) = (&version[..3], &version[4..]);
                object.object(key).bytes("major", major).bytes("minor", minor);
            }
        }
        {
            let mut member = object.object("authentication");
            if let Some(kind) = self.security {
                member.number("security_type", kind);
            }
            if self.security == Some(VNC_SECURITY) {
                let mut vnc = member.object("vnc");
                vnc.text_if("challenge", self.challenge.map(|bytes| hex(&bytes, "")).as_deref());
                vnc.text_if("response", self.response.map(|bytes| hex(&bytes, "")).as_deref());
            }
            match self.result {
                Some(0) => drop(member.text("security_result", "OK")),
                Some(1) => drop(member.text("security_result", "FAIL")),
                Some(2) => drop(member.text("security_result", "TOOMANY")),
                Some(other) => drop(member.display("security_result", format_args!("UNKNOWN ({other})"))),
                None => {}
            }
        }
        if let Some(reason) = &self.reason {
            object.bytes("server_security_failure_reason", reason);
        }
        if let Some(is_shared) = self.is_shared {
            object.bool("screen_shared", is_shared);
        }
        let Some(framebuffer) = &self.framebuffer else { return };
        let mut member = object.object("framebuffer");
        member.number("width", framebuffer.width).number("height", framebuffer.height);
        member.text("name", &escaped(&framebuffer.name));
        let [
            bits,
            depth,
            big_endian,
            true_color,
            red0,
            red1,
            green0,
            green1,
            blue0,
            blue1,
            red,
            green,
            blue,
            ..,
        ] = framebuffer.format;
        let mut format = member.object("pixel_format");
        format.number("bits_per_pixel", bits).number("depth", depth);
        format.bool("big_endian", big_endian != 0).bool("true_color", true_color != 0);
        for (key, high, low) in
            [("red_max", red0, red1), ("green_max", green0, green1), ("blue_max", blue0, blue1)]
        {
            format.number(key, u16::from_be_bytes([high, low]));
        }
        format.number("red_shift", red).number("green_shift", green).number("blue_shift", blue);
    }
}

fn security_name(kind: u8) -> &'static str {
    match kind {
        NO_SECURITY => "none",
        VNC_SECURITY => "vnc",
        5 => "ra2",
        16 => "tight",
        18 => "tls",
        19 => "vencrypt",
        30 => "apple_remote_desktop",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, survives_damage};

    const VERSION: &[u8] = b"RFB 003.008\n";

    fn init() -> Vec<u8> {
        let format = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];
        [&[5, 0, 3, 0x20][..], &format, &[0, 0, 0, 1, 0xa0]].concat()
    }

    /// The server speaks first; whoever answers, the event is the client's.
    fn session(version: &[u8]) -> Trial<Rfb> {
        Trial::<Rfb>::new().server(version).client(version)
    }

    #[test]
    fn a_handshake_is_told() {
        let trial = session(VERSION).server(&[2, 1, 2]).client(&[2]).server(&[7; 16]).client(&[8; 16]);
        let trial = trial.server(&[0; 4]).client(&[1]).server(&init());
        assert_eq!(trial.end, Some(Progress::Done));
        let event = trial.event();
        assert_eq!(event["server_protocol_version"]["minor"], "008");
        assert_eq!(event["authentication"]["vnc"]["response"], "08".repeat(16));
        assert_eq!(event["authentication"]["security_result"], "OK");
        assert_eq!((&event["screen_shared"], &event["framebuffer"]["name"]), (&true.into(), &"\\xa0".into()));
        assert_eq!(event["framebuffer"]["pixel_format"]["red_max"], 255);
        assert_eq!(trial.events[0].direction, Direction::Forward);
    }

    #[test]
    fn signatures_are_told_what_was_agreed_on() {
        let trial = session(VERSION).server(&[2, 1, 2]).client(&[2]).server(&[7; 16]).client(&[8; 16]);
        let mut trial = trial.server(&[0; 4]).client(&[1]).server(&init());
        expect_test::expect![[r#"
            client 0 RfbSectype 2
            server 0 rfb.name \xa0
            server 0 RfbSecresult 0
        "#]]
        .assert_eq(&trial.told());
    }

    #[test]
    fn older_versions_have_shorter_handshakes() {
        let old = session(b"RFB 003.003\n").server(&[0, 0, 0, 1]).client(&[0]).server(&init());
        assert_eq!(
            (old.end, &old.event()["authentication"]["security_type"]),
            (Some(Progress::Done), &1.into())
        );
        let seven = session(b"RFB 003.007\n").server(&[1, 1]).client(&[1, 0]).server(&init());
        assert_eq!((seven.end, &seven.event()["screen_shared"]), (Some(Progress::Done), &false.into()));
        let refused = session(VERSION).server(&[0, 0, 0, 0, 2, b'n', b'o']);
        assert_eq!(refused.event()["server_security_failure_reason"], "no");
        let other = session(VERSION).server(&[1, 19]).client(&[19]).server(&[0, 2]);
        assert_eq!(other.end, Some(Progress::Done));
        assert!(other.learned().contains(r#""security_type":19"#));
        assert!(other.learned().contains(r#""event":"unimplemented_security_type""#));
    }

    #[test]
    fn damage_is_borne() {
        let server = [VERSION, &[1, 2], &[7; 16], &[0; 4], &init()].concat();
        let client = [VERSION, &[2], &[8; 16], &[1]].concat();
        survives_damage::<Rfb>(&client, &server);
        let probe = |bytes: &[u8]| Rfb::probe(&First::of(Carrier::Stream, Direction::Reverse, bytes));
        assert_eq!(
            (probe(VERSION), probe(&VERSION[..5]), probe(b"RFB 3")),
            (Probe::Certain, Probe::Unsure, Probe::NotForUs)
        );
        assert_eq!(probe(b"RFB 003.0081"), Probe::NotForUs);
    }
}
