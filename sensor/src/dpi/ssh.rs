//! Secure Shell: what both sides say before the encryption (RFC 4253 sections 4.2 and 7.1).
//!
//! In: both directions of a stream. Out: the identification lines, the HASSH fingerprints of the
//! first KEXINIT of each side (Adel Karimi and Ben Reardon, Salesforce 2018), and one event for the
//! session. Keys, authentication and everything encrypted are not looked at; of SSH 1 only the
//! identification lines are read.

use crate::dpi::buffers::{Buffer, Stage};
use crate::dpi::digest::{Hashing, Hex, Sink};
use crate::dpi::{Context, Dissector, Event, First, Probe, Progress, Starts};
use md5::Md5;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Most bytes of an identification line with its end (RFC 4253 section 4.2). A longer one counts as
/// malformed; its beginning is kept.
const LINE_BYTES_MAX: usize = 255;
/// Most bytes of other lines before the identification. With more, it is not SSH.
const PREAMBLE_BYTES_MAX: usize = 8 << 10;
/// Most bytes of a packet that is waited for: what an implementation must support (RFC 4253 section
/// 6.1). A longer one counts as malformed and ends the looking at its side.
const PACKET_BYTES_MAX: usize = 35_000;
/// Most bytes that any implementation sends (OpenSSH's limit). With more, it is not a packet.
const PACKET_BYTES_PLAUSIBLE: usize = 256 << 10;
/// Bytes passed of one side after which a session counts as captured one-sidedly, when the other has
/// sent nothing at all.
const ONE_SIDED_BYTES_MAX: usize = 16 << 10;

const IDENTIFICATION: &[u8] = b"SSH-";

/// Number of the transaction that a session is.
const SESSION: u64 = 0;

/// The dissector of one SSH session.
#[derive(Debug)]
pub(super) struct Ssh {
    sides: [Side; 2],
    told: bool,
}

/// What is looked for next on one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// The identification.
    #[default]
    LineStart,
    /// The end of a line that is passed over.
    OtherLine,
    /// The end of an identification that is too long.
    LongLine,
    /// The KEXINIT.
    Packet,
    /// The NEWKEYS, where the handshake is followed to its end.
    Keys,
    /// Nothing.
    Over,
}

#[derive(Debug, Default)]
struct Side {
    phase: Phase,
    begun: bool,
    /// The side speaks SSH 1 also.
    old: bool,
    /// Bytes of other lines before the identification.
    preamble_bytes: usize,
    /// There is nothing new to see before so many bytes are offered.
    wait_bytes: usize,
    /// Bytes passed after the last thing of interest.
    passed_bytes: usize,
    /// NEWKEYS was seen: what follows is encrypted.
    keyed: bool,
    /// What the HASSH is of, when somebody listens.
    hassh_text: Vec<u8>,
    /// The HASSH and the identification, where signatures may ask for them before the session is told.
    hassh: Option<Hex<32>>,
    line: Box<str>,
    /// Signatures were told that nothing more of this side is read.
    is_ended: bool,
}

enum Step {
    Used(usize),
    Wait(usize),
}

impl Dissector for Ssh {
    const APP: App = App::Ssh;
    const HAS_HANDSHAKE: bool = true;

    const STARTS: Starts = Starts::stream(b"S");

    fn probe(first: &First<'_>) -> Probe {
        let bytes = first.bytes;
        let start = bytes.get(..IDENTIFICATION.len()).unwrap_or(bytes);
        if !first.is_stream() || !IDENTIFICATION.starts_with(start) {
            return Probe::NotForUs;
        }
        match bytes.get(IDENTIFICATION.len()) {
            None => Probe::Unsure,
            Some(b'1' | b'2') => Probe::Certain,
            Some(_) => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Ssh { sides: Default::default(), told: false }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let read = self.read(bytes, context);
        if self.is_learned() {
            self.tell(context);
        }
        let is_over = read.is_err() || self.is_finished();
        self.end_sides(is_over, context);
        match read {
            Ok(used) if !is_over => Progress::Used(used),
            Ok(_) => Progress::Done,
            Err(reason) => {
                self.tell(context);
                Progress::Broken(reason)
            }
        }
    }

    fn gap(&mut self, missing: u64, context: &mut Context<'_>) -> Progress {
        let side = self.side(context);
        side.begun = true;
        side.wait_bytes = 0;
        side.passed_bytes = side.passed_bytes.saturating_add(usize::try_from(missing).unwrap_or(usize::MAX));
        // Lines and packets cannot be found again, and what matters came first.
        side.phase = Phase::Over;
        if self.is_learned() {
            self.tell(context);
        }
        let is_over = self.is_finished();
        self.end_sides(is_over, context);
        if is_over { Progress::Done } else { Progress::Used(0) }
    }

    fn close(&mut self, context: &mut Context<'_>) {
        self.tell(context);
        self.end_sides(true, context);
    }

    fn describe(&self, _direction: Direction, _transaction: u64, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        for (key, side) in ["client", "server"].into_iter().zip(&self.sides) {
            let line = Some(&*side.line).filter(|line| !line.is_empty());
            side.describe(key, line, side.hassh.as_ref().map(Hex::as_str), &mut object);
        }
    }

    fn ciphertext_after(&self, direction: Direction) -> Option<u32> {
        let is_keyed = self.sides.iter().all(|side| side.keyed || !side.begun);
        (is_keyed && self.sides[direction.index()].keyed).then_some(0)
    }
}

impl Ssh {
    fn side(&mut self, context: &Context<'_>) -> &mut Side {
        &mut self.sides[context.direction.index()]
    }

    /// Whether nothing more is to be learned.
    fn is_learned(&self) -> bool {
        self.is_past(|side| matches!(side.phase, Phase::Keys | Phase::Over))
    }

    /// Whether nothing more is wanted.
    fn is_finished(&self) -> bool {
        self.is_past(|side| side.phase == Phase::Over)
    }

    /// Whether both sides are past something, or one is and the other will not be seen.
    fn is_past(&self, past: impl Fn(&Side) -> bool) -> bool {
        let one_sided = |this: &Side, other: &Side| {
            past(this) && !other.begun && this.passed_bytes >= ONE_SIDED_BYTES_MAX
        };
        let [a, b] = &self.sides;
        (past(a) && past(b)) || one_sided(a, b) || one_sided(b, a)
    }

    /// Lets signatures look into the sides of which nothing more is read; all of them at the end.
    fn end_sides(&mut self, is_over: bool, context: &mut Context<'_>) {
        if context.wanted.is_none() {
            return;
        }
        for direction in [Direction::Forward, Direction::Reverse] {
            let side = &mut self.sides[direction.index()];
            let is_read = side.begun && (is_over || matches!(side.phase, Phase::Keys | Phase::Over));
            if is_read && !std::mem::replace(&mut side.is_ended, true) {
                context.reached(direction, SESSION, Stage::Body);
            }
        }
    }

    /// Reads as far as the bytes allow; says how many are done with.
    fn read(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Result<usize, &'static str> {
        let side = self.side(context);
        side.begun = true;
        if bytes.len() < side.wait_bytes {
            return Ok(0);
        }
        side.wait_bytes = 0;
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let side = self.side(context);
            let step = match side.phase {
                Phase::LineStart => side.read_line(rest, context)?,
                Phase::OtherLine | Phase::LongLine => side.pass_line(rest)?,
                Phase::Packet => side.read_packet(rest, context)?,
                Phase::Keys => side.pass_keys(rest, context),
                Phase::Over => {
                    side.passed_bytes = side.passed_bytes.saturating_add(rest.len());
                    Step::Used(rest.len())
                }
            };
            match step {
                Step::Used(more) => used += more,
                Step::Wait(bytes) => {
                    side.wait_bytes = bytes;
                    break;
                }
            }
        }
        Ok(used)
    }

    /// Writes the session's event, once, with what is known by now.
    fn tell(&mut self, context: &mut Context<'_>) {
        let Some(events) = context.events.as_deref_mut() else {
            return;
        };
        let [client, server] = &self.sides;
        let sides = [
            ("client", client, Field::SshClient, Field::SshHassh),
            ("server", server, Field::SshServer, Field::SshHasshServer),
        ];
        let known = sides.iter().any(|(.., line, hassh)| {
            context.metadata.get(*line).is_some() || context.metadata.get(*hassh).is_some()
        });
        if !known || std::mem::replace(&mut self.told, true) {
            return;
        }
        let mut body = Vec::with_capacity(512);
        let mut object = Object::begin(&mut body);
        for (key, side, line, hassh) in sides {
            side.describe(key, context.metadata.text(line), context.metadata.text(hassh), &mut object);
        }
        drop(object);
        events.push(Event::new(App::Ssh, context.time, Direction::Forward, body));
    }
}

impl Side {
    /// Reads an identification line, or sees that the line is another one.
    fn read_line(&mut self, rest: &[u8], context: &mut Context<'_>) -> Result<Step, &'static str> {
        let start = rest.get(..IDENTIFICATION.len()).unwrap_or(rest);
        if !IDENTIFICATION.starts_with(start) {
            self.phase = Phase::OtherLine;
            return Ok(Step::Used(0));
        }
        let within = rest.get(..LINE_BYTES_MAX).unwrap_or(rest);
        let line = match memchr::memchr(b'\n', within) {
            Some(end) => within.get(..end).unwrap_or_default(),
            None if within.len() < LINE_BYTES_MAX => return Ok(Step::Wait(rest.len() + 1)),
            None => within,
        };
        self.phase = if line.len() == LINE_BYTES_MAX {
            context.anomaly("long_banner", None);
            Phase::LongLine
        } else {
            Phase::Packet
        };
        let used = line.len() + usize::from(self.phase == Phase::Packet);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        context.metadata.set_bytes(line_field(context.direction), line);
        if context.wanted.is_some() {
            self.tell_line(line, context);
        }
        self.old = line.starts_with(b"SSH-1.");
        if self.old && !line.starts_with(b"SSH-1.99-") {
            self.phase = Phase::Over;
        }
        Ok(Step::Used(used))
    }

    /// Tells signatures an identification.
    fn tell_line(&mut self, line: &[u8], context: &mut Context<'_>) {
        self.line = String::from_utf8_lossy(line).into();
        let direction = context.direction;
        if let Some((protocol, software)) = split_line(line) {
            for (buffer, value) in [(Buffer::SshProto, protocol), (Buffer::SshSoftware, software)] {
                if !value.is_empty() {
                    context.put(direction, SESSION, buffer, value);
                }
            }
        }
        context.reached(direction, SESSION, Stage::Head);
    }

    /// Passes over a line that is of no interest, or the rest of one that was.
    fn pass_line(&mut self, rest: &[u8]) -> Result<Step, &'static str> {
        let end = memchr::memchr(b'\n', rest);
        let used = end.map_or(rest.len(), |end| end + 1);
        self.preamble_bytes += used;
        if self.preamble_bytes > PREAMBLE_BYTES_MAX {
            return Err("invalid_banner");
        }
        if end.is_some() {
            self.phase = if self.phase == Phase::LongLine { Phase::Packet } else { Phase::LineStart };
        }
        Ok(Step::Used(used))
    }

    /// Reads one packet before the encryption: length, length of padding, message, padding.
    fn read_packet(&mut self, rest: &[u8], context: &mut Context<'_>) -> Result<Step, &'static str> {
        const LENGTH_BYTES: usize = 4;
        const DISCONNECT: u8 = 1;
        const KEXINIT: u8 = 20;
        let Some(length) = rest.first_chunk::<LENGTH_BYTES>() else {
            return Ok(Step::Wait(LENGTH_BYTES));
        };
        let bytes = LENGTH_BYTES.saturating_add(u32::from_be_bytes(*length) as usize);
        // A packet has at least a byte of message and four of padding. Whether a side of version 1.99
        // goes on with SSH 1, whose packets look different, is up to the other.
        let plausible = (LENGTH_BYTES + 6..=PACKET_BYTES_PLAUSIBLE).contains(&bytes);
        if !plausible && !self.old {
            return Err("invalid_record");
        }
        if !plausible || bytes > PACKET_BYTES_MAX {
            if plausible {
                context.anomaly("long_kex_record", None);
            }
            self.phase = Phase::Over;
            return Ok(Step::Used(0));
        }
        let Some(packet) = rest.get(LENGTH_BYTES..bytes) else {
            return Ok(Step::Wait(bytes));
        };
        tell_frames(rest.get(..bytes).unwrap_or_default(), context);
        match packet.split_at_checked(2) {
            Some(([_, KEXINIT], message)) => {
                self.phase = if context.to_handshake_end { Phase::Keys } else { Phase::Over };
                match KexInit::parse(message) {
                    Some(lists) => self.fingerprint(&lists, context),
                    None => context.anomaly("invalid_record", None),
                }
            }
            // What may be said at any time: ignored, unimplemented, debug.
            Some(([_, 2..=4], _)) => {}
            Some(([_, DISCONNECT], _)) => self.phase = Phase::Over,
            _ => {
                context.anomaly("invalid_record", None);
                self.phase = Phase::Over;
            }
        }
        Ok(Step::Used(bytes))
    }

    /// Passes over one packet of the key exchange; the last is NEWKEYS (RFC 4253 section 7.3).
    fn pass_keys(&mut self, rest: &[u8], context: &mut Context<'_>) -> Step {
        const NEWKEYS: u8 = 21;
        const HEADER_BYTES: usize = 6;
        let Some([a, b, c, d, _, kind]) = rest.first_chunk::<HEADER_BYTES>() else {
            return Step::Wait(HEADER_BYTES);
        };
        let bytes = 4usize.saturating_add(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        if !(HEADER_BYTES + 4..=PACKET_BYTES_MAX).contains(&bytes) {
            // Where the packets cannot be found, the end of the exchange cannot be either.
            self.phase = Phase::Over;
            return Step::Used(0);
        }
        let Some(packet) = rest.get(..bytes) else { return Step::Wait(bytes) };
        tell_frames(packet, context);
        if *kind == NEWKEYS {
            (self.phase, self.keyed) = (Phase::Over, true);
        }
        self.passed_bytes = self.passed_bytes.saturating_add(bytes);
        Step::Used(bytes)
    }

    fn fingerprint(&mut self, lists: &KexInit<'_>, context: &mut Context<'_>) {
        let (own, field) = match context.direction {
            Direction::Forward => (&lists.client_to_server, Field::SshHassh),
            Direction::Reverse => (&lists.server_to_client, Field::SshHasshServer),
        };
        let mut hashing = Hashing::<Md5>::new();
        write_hassh(lists.key_exchange, own, &mut hashing);
        let hassh: Hex<32> = hashing.finish();
        context.metadata.set_text(field, hassh.as_str());
        if context.events.is_some() || context.wanted.is_some() {
            write_hassh(lists.key_exchange, own, &mut self.hassh_text);
        }
        if context.wanted.is_some() {
            let (print, text) = match context.direction {
                Direction::Forward => (Buffer::SshHassh, Buffer::SshHasshString),
                Direction::Reverse => (Buffer::SshHasshServer, Buffer::SshHasshServerString),
            };
            context.put(context.direction, SESSION, print, hassh.as_str().as_bytes());
            context.put(context.direction, SESSION, text, &self.hassh_text);
            self.hassh = Some(hassh);
        }
    }

    /// This side's part of the event.
    fn describe(&self, key: &'static str, line: Option<&str>, hassh: Option<&str>, event: &mut Object<'_>) {
        if line.is_none() && hassh.is_none() {
            return;
        }
        let mut object = event.object(key);
        if let Some((protocol, software)) = line.and_then(split_identification) {
            object.text("proto_version", protocol).text("software_version", software);
        }
        if let Some(hash) = hassh {
            object.object("hassh").text("hash", hash).bytes("string", &self.hassh_text);
        }
    }
}

/// The name lists of a KEXINIT that HASSH looks at.
#[derive(Debug, PartialEq, Eq)]
struct KexInit<'a> {
    key_exchange: &'a [u8],
    client_to_server: Algorithms<'a>,
    server_to_client: Algorithms<'a>,
}

/// The name lists for one direction.
#[derive(Debug, PartialEq, Eq)]
struct Algorithms<'a> {
    encryption: &'a [u8],
    mac: &'a [u8],
    compression: &'a [u8],
}

impl<'a> KexInit<'a> {
    /// Reads a message behind its type: cookie, then ten lists of which the first eight count.
    fn parse(message: &'a [u8]) -> Option<KexInit<'a>> {
        const COOKIE_BYTES: usize = 16;
        let mut rest = message.get(COOKIE_BYTES..)?;
        let mut lists: [&[u8]; 8] = [&[]; 8];
        for list in &mut lists {
            let (length, after) = rest.split_first_chunk::<4>()?;
            (*list, rest) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        }
        let [key_exchange, _, encryption, encryption_back, mac, mac_back, compression, compression_back] =
            lists;
        Some(KexInit {
            key_exchange,
            client_to_server: Algorithms { encryption, mac, compression },
            server_to_client: Algorithms {
                encryption: encryption_back,
                mac: mac_back,
                compression: compression_back,
            },
        })
    }
}

/// Tells signatures a packet and its parts: the header is its lengths and the message's type.
fn tell_frames(packet: &[u8], context: &mut Context<'_>) {
    const HEADER_BYTES: usize = 6;
    if context.wanted.is_some()
        && let Some((header, data)) = packet.split_at_checked(HEADER_BYTES)
    {
        context.frame(Buffer::FrameSshRecordHdr, Some(SESSION), header);
        context.frame(Buffer::FrameSshRecordData, Some(SESSION), data);
        context.frame(Buffer::FrameSshRecordPdu, Some(SESSION), packet);
    }
}

/// HASSH's text: the lists joined by semicolons.
fn write_hassh(key_exchange: &[u8], own: &Algorithms<'_>, out: &mut impl Sink) {
    out.put(key_exchange);
    for list in [own.encryption, own.mac, own.compression] {
        out.put(b";");
        out.put(list);
    }
}

/// Protocol version and software version of `SSH-protoversion-softwareversion SP comments`.
fn split_identification(line: &str) -> Option<(&str, &str)> {
    let (protocol, software) = line.strip_prefix("SSH-")?.split_once('-')?;
    Some((protocol, software.split(' ').next().unwrap_or_default()))
}

/// The same of a line's bytes.
fn split_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = line.strip_prefix(IDENTIFICATION)?;
    let (protocol, software) = rest.split_at(memchr::memchr(b'-', rest)?);
    let software = software.get(1..).unwrap_or_default();
    Some((protocol, software.split(|byte| *byte == b' ').next().unwrap_or_default()))
}

fn line_field(sender: Direction) -> Field {
    match sender {
        Direction::Forward => Field::SshClient,
        Direction::Reverse => Field::SshServer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};
    use expect_test::expect;

    const KEX: &str = "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,\
        ecdh-sha2-nistp521,diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512,\
        diffie-hellman-group18-sha512,diffie-hellman-group-exchange-sha1,diffie-hellman-group14-sha256,\
        diffie-hellman-group14-sha1";
    const ENCRYPTION: &str = "chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,\
        aes128-gcm@openssh.com,aes256-gcm@openssh.com";
    const MAC: &str = "umac-64-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-256-etm@openssh.com,\
        hmac-sha2-512-etm@openssh.com,hmac-sha1-etm@openssh.com,umac-64@openssh.com,umac-128@openssh.com,\
        hmac-sha2-256,hmac-sha2-512,hmac-sha1";
    const CLIENT_LINE: &[u8] = b"SSH-2.0-OpenSSH_7.6p1 Ubuntu-4ubuntu0.3\r\n";
    const SERVER_LINE: &[u8] = b"SSH-2.0-OpenSSH_7.4\r\n";

    fn packet(kind: u8, content: &[u8]) -> Vec<u8> {
        let padding = [0; 6];
        let length = (2 + content.len() + padding.len()) as u32;
        [&length.to_be_bytes()[..], &[padding.len() as u8, kind], content, &padding].concat()
    }

    /// A KEXINIT whose lists are the initiator's for one direction and marked for the other.
    fn kexinit(lists: [&str; 10]) -> Vec<u8> {
        let mut content = vec![0xcc; 16];
        for list in lists {
            content.extend_from_slice(&(list.len() as u32).to_be_bytes());
            content.extend_from_slice(list.as_bytes());
        }
        content.extend_from_slice(&[0; 5]);
        packet(20, &content)
    }

    /// What OpenSSH 7.6 sends.
    fn client() -> Vec<u8> {
        let kex = format!("{KEX},ext-info-c");
        let compression = "none,zlib@openssh.com,zlib";
        let lists = [&kex, "ssh-rsa", ENCRYPTION, "back-e", MAC, "back-m", compression, "back-c", "", ""];
        [CLIENT_LINE, &kexinit(lists)].concat()
    }

    fn server() -> Vec<u8> {
        let lists = ["k", "ssh-rsa", "e", "E", "m", "M", "c", "C", "", ""];
        [SERVER_LINE, &kexinit(lists)].concat()
    }

    fn trial() -> Trial<Ssh> {
        Trial::new()
    }

    #[test]
    fn both_sides_are_told_with_the_published_hassh() {
        let trial = trial().client(&client()).server(&server());
        assert_eq!((trial.end, trial.malformed), (Some(Progress::Done), 0));
        assert_eq!(trial.text(Field::SshClient), "SSH-2.0-OpenSSH_7.6p1 Ubuntu-4ubuntu0.3");
        assert_eq!(trial.text(Field::SshServer), "SSH-2.0-OpenSSH_7.4");
        assert_eq!(trial.text(Field::SshHassh), "06046964c022c6407d15a27b12a6a4fb");
        let event = trial.event();
        assert_eq!(event["client"]["proto_version"], "2.0");
        assert_eq!(event["client"]["software_version"], "OpenSSH_7.6p1");
        assert_eq!(event["client"]["hassh"]["hash"], "06046964c022c6407d15a27b12a6a4fb");
        assert_eq!(event["server"]["software_version"], "OpenSSH_7.4");
        assert_eq!(event["server"]["hassh"]["string"], "k;E;M;C");
        assert_eq!(event["server"]["hassh"]["hash"], trial.text(Field::SshHasshServer));
    }

    #[test]
    fn ciphertext_begins_behind_the_new_keys_of_both_sides() {
        let followed = || trial().followed();
        let keys = [packet(30, &[7; 32]), packet(21, &[])].concat();
        let first = followed().client(&client()).server(&server());
        assert_eq!((first.end, first.events.len()), (None, 1), "told when it is known");
        let first = first.client(&keys).server(&packet(31, &[8; 300]));
        assert_eq!((first.end, first.ciphertext_after()), (None, [None; 2]));
        let both = first.server(&packet(21, &[]));
        assert_eq!((both.end, both.ciphertext_after()), (Some(Progress::Done), [Some(0); 2]));
        assert_eq!(both.learned(), trial().client(&client()).server(&server()).learned());
        // Byte by byte it is the same, and without being followed it is over before.
        let bytes = [client(), keys.clone()].concat();
        let slow = bytes.iter().fold(followed(), |trial, byte| trial.client(&[*byte]));
        let slow = slow.server(&[server(), keys.clone()].concat());
        assert_eq!((slow.end, slow.ciphertext_after()), (Some(Progress::Done), [Some(0); 2]));
        let alone = trial().client(&client()).server(&server());
        assert_eq!((alone.end, alone.ciphertext_after()), (Some(Progress::Done), [None; 2]));
    }

    #[test]
    fn without_the_new_keys_nothing_is_known_to_be_ciphertext() {
        let begun = || trial().followed().client(&client()).server(&server());
        let lost = begun().gap(Direction::Forward, 50).server(&packet(21, &[]));
        assert_eq!((lost.end, lost.ciphertext_after()), (Some(Progress::Done), [None; 2]));
        let nonsense = begun().client(&[0xff; 40]).server(&packet(21, &[]));
        assert_eq!((nonsense.end, nonsense.ciphertext_after()), (Some(Progress::Done), [None; 2]));
    }

    #[test]
    fn signatures_are_told_identifications_and_fingerprints() {
        let mut trial = trial().client(&client()).server(&server());
        let told = trial.told();
        let brief = told.lines().filter(|line| !line.contains("string") && !line.contains("frame:"));
        expect![[r#"
            client 0 ssh.proto 2.0
            client 0 ssh.software OpenSSH_7.6p1
            client 0 ssh.hassh 06046964c022c6407d15a27b12a6a4fb
            server 0 ssh.proto 2.0
            server 0 ssh.software OpenSSH_7.4
            server 0 ssh.hassh.server 46659f256741880e57ee82df9918edcb
        "#]]
        .assert_eq(&brief.map(|line| format!("{line}\n")).collect::<String>());
    }

    #[test]
    fn a_session_is_described_before_it_is_told() {
        let mut out = Vec::new();
        trial().client(CLIENT_LINE).dissector().describe(Direction::Forward, 0, &mut out);
        expect![[r#"{"client":{"proto_version":"2.0","software_version":"OpenSSH_7.6p1"}}"#]]
            .assert_eq(std::str::from_utf8(&out).unwrap());
    }

    #[test]
    fn where_segments_are_cut_does_not_matter() {
        cuts_do_not_matter::<Ssh>(&client(), &server());
        let server = [b"Welcome.\r\nSS, not quite\nSSH?\n", &server()[..]].concat();
        cuts_do_not_matter::<Ssh>(&client(), &server);
    }

    #[test]
    fn no_damage_panics() {
        survives_damage::<Ssh>(&client(), &server());
    }

    #[test]
    fn lines_before_the_identification_are_passed_over() {
        let trial = trial().server(b"Authorised use only.\r\n\nSSH-2.0-x\n").close();
        assert_eq!(trial.text(Field::SshServer), "SSH-2.0-x");
        assert_eq!(
            trial.event(),
            serde_json::json!({"server": {"proto_version": "2.0", "software_version": "x"}})
        );
        let endless = Trial::<Ssh>::new().server(&[b'a'; PREAMBLE_BYTES_MAX]);
        assert_eq!(endless.end, None);
        assert_eq!(endless.server(b"a").end, Some(Progress::Broken("invalid_banner")));
    }

    #[test]
    fn an_identification_past_the_limit_is_cut_and_counted() {
        let line = |bytes: usize| [b"SSH-2.0-", &vec![b'x'; bytes - 9][..], b"\n"].concat();
        let whole = trial().client(&line(LINE_BYTES_MAX)).close();
        assert_eq!((whole.malformed, whole.text(Field::SshClient).len()), (0, LINE_BYTES_MAX - 1));
        let long = [&line(LINE_BYTES_MAX + 1), &client()[CLIENT_LINE.len()..]].concat();
        let long = trial().client(&long).close();
        assert_eq!((long.malformed, long.text(Field::SshClient).len()), (1, LINE_BYTES_MAX));
        assert_eq!(long.text(Field::SshHassh), "06046964c022c6407d15a27b12a6a4fb");
    }

    #[test]
    fn of_ssh_1_only_the_identification_is_read() {
        let trial =
            trial().client(b"SSH-1.5-PuTTY\n\0\0\0\x0bnonsense").server(b"SSH-1.99-Cisco-1.25\n\0\0\0\x02ab");
        assert_eq!((trial.end, trial.malformed), (Some(Progress::Done), 0));
        assert_eq!(trial.event()["server"]["proto_version"], "1.99");
        assert_eq!(trial.event()["client"].get("hassh"), None);
    }

    #[test]
    fn a_packet_is_read_only_within_its_borders() {
        let header = |bytes: usize| (bytes as u32 - 4).to_be_bytes();
        let after_line = |bytes: &[u8]| trial().client(SERVER_LINE).client(bytes);
        assert_eq!(after_line(&header(9)).end, Some(Progress::Broken("invalid_record")));
        assert_eq!(
            after_line(&header(PACKET_BYTES_PLAUSIBLE + 1)).end,
            Some(Progress::Broken("invalid_record"))
        );
        assert_eq!(after_line(&header(PACKET_BYTES_MAX)).malformed, 0);
        assert_eq!(after_line(&header(PACKET_BYTES_MAX + 1)).malformed, 1);
        // Ignored messages may come first; another message in place of the KEXINIT ends the looking.
        let ignored = [&packet(2, b"ignore me")[..], &client()[CLIENT_LINE.len()..]].concat();
        assert_eq!(after_line(&ignored).text(Field::SshHassh), "06046964c022c6407d15a27b12a6a4fb");
        assert_eq!(after_line(&packet(21, b"newkeys")).malformed, 1);
        assert_eq!(after_line(&packet(20, b"too short")).malformed, 1);
        assert_eq!(after_line(&packet(1, b"disconnect")).malformed, 0);
    }

    #[test]
    fn a_gap_ends_the_looking_at_its_side_only() {
        let trial =
            trial().client(&client()[..60]).gap(Direction::Forward, 10).client(b"??").server(&server());
        assert_eq!(trial.end, Some(Progress::Done));
        assert_eq!(trial.event()["client"].get("hassh"), None);
        assert_eq!(trial.event()["server"]["hassh"]["string"], "k;E;M;C");
    }

    #[test]
    fn one_side_alone_is_done_after_enough_data() {
        let trial = trial().client(&client()).client(&[0; ONE_SIDED_BYTES_MAX - 1]);
        assert_eq!(trial.end, None);
        assert_eq!(trial.client(&[0]).end, Some(Progress::Done));
        let told = Trial::<Ssh>::new().client(CLIENT_LINE).close();
        assert_eq!(told.event()["client"]["software_version"], "OpenSSH_7.6p1");
        assert!(Trial::<Ssh>::new().client(b"SSH-").close().events.is_empty());
    }

    #[test]
    fn only_the_identification_is_recognised() {
        let probe = |bytes: &[u8]| Ssh::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        for cut in 0..5 {
            assert_eq!(probe(&CLIENT_LINE[..cut.min(4)]), Probe::Unsure);
        }
        assert_eq!(probe(b"SSH-2"), Probe::Certain);
        assert_eq!(probe(b"SSH-1.99-x"), Probe::Certain);
        for other in [&b"ssh-2.0"[..], b"SSH-x", b"SSX", b"GET / HTTP/1.1", b"\x16\x03\x01"] {
            assert_eq!(probe(other), Probe::NotForUs);
        }
        assert_eq!(
            Ssh::probe(&First::of(Carrier::Datagram, Direction::Forward, CLIENT_LINE)),
            Probe::NotForUs
        );
    }
}
