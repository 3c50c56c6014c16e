//! Session Initiation Protocol (RFC 3261), over datagrams and streams.
//!
//! In: requests and responses of both sides. Out: who calls whom, methods, answers, software, and one event per
//! message with the session description in it; the media that a description names is announced, so that its flows
//! are known as RTP. Bodies other than descriptions are passed over.

pub(super) mod message;
pub(super) mod sdp;
#[cfg(test)]
mod tests;
mod told;

use self::message::{FirstLine, HEAD_BYTES_MAX, Head};
use self::sdp::Sdp;
use crate::dpi::{Carrier, Context, Dissector, First, Probe, Progress, Starts, scan};
use weir_common::app::App;
use weir_common::metadata::Field;

/// Methods of RFC 3261 and its extensions.
const METHODS: [&[u8]; 14] = [
    b"INVITE",
    b"ACK",
    b"OPTIONS",
    b"BYE",
    b"CANCEL",
    b"REGISTER",
    b"PRACK",
    b"SUBSCRIBE",
    b"NOTIFY",
    b"PUBLISH",
    b"INFO",
    b"REFER",
    b"MESSAGE",
    b"UPDATE",
];
/// Most bytes of a body that is waited for in a stream; of a longer one nothing is read.
const BODY_BYTES_MAX: usize = 32 << 10;
/// Most bytes of a first line that is waited for.
const LINE_BYTES_MAX: usize = 1024;

const PROTOCOL: &[u8] = b"SIP/";

/// The dissector of a flow.
#[derive(Debug, Default)]
pub(super) struct Sip {
    messages: u64,
    /// By direction: a frame whose bytes pass, and how many are still to come.
    passing: [Option<(u64, usize)>; 2],
}

impl Dissector for Sip {
    const APP: App = App::Sip;

    const STARTS: Starts = Starts::both(b"IAOBCRPSNMU\r\n");

    fn probe(first: &First<'_>) -> Probe {
        probe(first.bytes, &METHODS, PROTOCOL, first.is_stream())
    }

    fn new() -> Self {
        Sip::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        if context.carrier == Carrier::Datagram {
            let message = trim_start(bytes);
            // What keeps a mapping alive is empty, or not even SIP.
            if let Some(head) = Head::of_datagram(message)
                && head.first_line(PROTOCOL).is_some()
            {
                let body = message.get(head.bytes..).unwrap_or_default();
                self.tell_frames(&head, message, body.len(), context);
                self.read(&head, body, context);
            } else if message.len() > 8 {
                context.anomaly("invalid_data", None);
            }
            return Progress::Used(bytes.len());
        }
        let mut used = self.pass(bytes, context);
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let message = trim_start(rest);
            used += rest.len() - message.len();
            let Some(head) = Head::parse(message) else {
                if message.len() >= HEAD_BYTES_MAX {
                    return Progress::Broken("invalid_data");
                }
                return Progress::Used(used);
            };
            if head.first_line(PROTOCOL).is_none() {
                return Progress::Broken("invalid_data");
            }
            let body_bytes = head.body_bytes().unwrap_or(0);
            let body = match message.get(head.bytes..).and_then(|rest| rest.get(..body_bytes)) {
                Some(body) => body,
                None if body_bytes <= BODY_BYTES_MAX => return Progress::Used(used),
                None => &[],
            };
            self.tell_frames(&head, message, body_bytes, context);
            self.read(&head, body, context);
            if self.passing[context.direction.index()].is_some() {
                return Progress::Used(bytes.len());
            }
            used = used.saturating_add(head.bytes).saturating_add(body_bytes);
            if used >= bytes.len() {
                return Progress::Used(used);
            }
        }
    }

    fn gap(&mut self, _missing: u64, _context: &mut Context<'_>) -> Progress {
        // The bytes behind begin with a segment, and mostly with a message.
        Progress::Switch(0)
    }

    fn close(&mut self, _context: &mut Context<'_>) {}
}

/// Whether bytes begin with a request of one of the methods or a response, in this protocol's version.
pub(super) fn probe(bytes: &[u8], methods: &[&[u8]], protocol: &[u8], is_stream: bool) -> Probe {
    let bytes = trim_start(bytes);
    let Some((line, _)) = scan::line(bytes) else {
        let begins = |word: &[u8]| bytes.starts_with(word) || word.starts_with(bytes);
        let is_possible = is_stream
            && bytes.len() < LINE_BYTES_MAX
            && (begins(protocol) || methods.iter().any(|method| begins(method)));
        return if is_possible { Probe::Unsure } else { Probe::NotForUs };
    };
    match FirstLine::parse(line, protocol) {
        Some(FirstLine::Request { method, .. }) if methods.contains(&method) => Probe::Certain,
        Some(FirstLine::Response { .. }) => Probe::Certain,
        _ => Probe::NotForUs,
    }
}

/// Without the empty lines that may stand before a message (RFC 3261 section 7.5).
fn trim_start(bytes: &[u8]) -> &[u8] {
    let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n' | 0)).count();
    bytes.get(empty..).unwrap_or_default()
}

impl Sip {
    /// Tells signatures what a message consists of.
    fn tell_frames(&mut self, head: &Head<'_>, message: &[u8], body_bytes: usize, context: &mut Context<'_>) {
        if context.wanted.is_some()
            && let Some(first) = head.first_line(PROTOCOL)
        {
            let passing = told::tell_frames(head, &first, message, body_bytes, self.messages, context);
            if context.carrier == Carrier::Stream {
                self.passing[context.direction.index()] = passing;
            }
        }
    }

    /// Passes over the rest of a body that signatures look into; says how many bytes of it are there.
    fn pass(&mut self, bytes: &[u8], context: &mut Context<'_>) -> usize {
        let passing = &mut self.passing[context.direction.index()];
        let Some((number, left)) = passing else { return 0 };
        let here = bytes.get(..*left).unwrap_or(bytes);
        context.frame_bytes(*number, here);
        *left -= here.len();
        if *left == 0 {
            context.end_frame(*number);
            *passing = None;
        }
        here.len()
    }

    fn read(&mut self, head: &Head<'_>, body: &[u8], context: &mut Context<'_>) {
        let Some(first) = head.first_line(PROTOCOL) else { return };
        let metadata = &mut *context.metadata;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match first {
            FirstLine::Request { method, uri, .. } => {
                metadata.add(Field::Command, &text(method));
                metadata.add(Field::Object, &text(uri));
                if let Some(software) = head.value(&[b"user-agent"]) {
                    metadata.set_bytes(Field::ClientSoftware, software);
                }
            }
            FirstLine::Response { code, .. } => {
                metadata.add(Field::Status, &text(code));
                if let Some(software) = head.value(&[b"server", b"user-agent"]) {
                    metadata.set_bytes(Field::ServerSoftware, software);
                }
            }
        }
        for (names, field) in [
            ([&b"from"[..], b"f"], Field::SipFrom),
            ([b"to", b"t"], Field::SipTo),
            ([b"call-id", b"i"], Field::SipCallId),
        ] {
            if let Some(value) = head.value(&names) {
                metadata.add(field, &text(address_of(value)));
            }
        }
        if let Some(account) = head.value(&[b"authorization", b"proxy-authorization"]).and_then(username) {
            metadata.add(Field::User, &text(account));
        }
        let is_description = head
            .value(&[b"content-type", b"c"])
            .is_some_and(|kind| kind.to_ascii_lowercase().starts_with(b"application/sdp"));
        let description = if is_description { Sdp::parse(body) } else { None };
        if let Some(description) = &description {
            description.announce(context);
        }
        self.tell(head, &first, description.as_ref(), context);
    }

    fn tell(
        &mut self,
        head: &Head<'_>,
        first: &FirstLine<'_>,
        description: Option<&Sdp<'_>>,
        context: &mut Context<'_>,
    ) {
        let number = self.messages;
        self.messages += 1;
        context.tell(context.direction, Some(number), |object| {
            match first {
                FirstLine::Request { method, uri, version } => {
                    object.bytes("method", method).bytes("uri", uri).bytes("version", version);
                    object.bytes("request_line", head.first);
                }
                FirstLine::Response { version, code, reason } => {
                    object.bytes("version", version).bytes("code", code).bytes("reason", reason);
                    object.bytes("response_line", head.first);
                }
            }
            if let Some(description) = description {
                description.describe(object.object("sdp"));
            }
        });
        if context.wanted.is_some() {
            told::tell(head, first, description, number, context);
        }
    }
}

/// The address in `"Name" <sip:a@b>;tag=c`.
fn address_of(value: &[u8]) -> &[u8] {
    let begin = memchr::memchr(b'<', value).map_or(0, |at| at + 1);
    let rest = value.get(begin..).unwrap_or_default();
    let end = rest.iter().position(|byte| if begin > 0 { *byte == b'>' } else { *byte == b';' });
    rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
}

/// The account in the credentials of digest authentication.
fn username(credentials: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"username=\"";
    let at = memchr::memmem::find(credentials, NAME)? + NAME.len();
    let rest = credentials.get(at..)?;
    rest.get(..memchr::memchr(b'"', rest)?).filter(|name| !name.is_empty())
}
