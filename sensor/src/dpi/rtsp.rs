//! Real-Time Streaming Protocol (RFC 7826, RFC 2326).
//!
//! In: requests and responses of both sides, and media interleaved with them. Out: what is played, methods, answers,
//! software, accounts; one event per request and per response; media over datagrams is announced. Interleaved
//! media is passed over.

use super::sip::message::{FirstLine, HEAD_BYTES_MAX, Head};
use super::sip::probe;
use super::sip::sdp::{Sdp, announce, number};
use crate::dpi::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;

const METHODS: [&[u8]; 12] = [
    b"DESCRIBE",
    b"ANNOUNCE",
    b"GET_PARAMETER",
    b"SET_PARAMETER",
    b"OPTIONS",
    b"PAUSE",
    b"PLAY",
    b"PLAY_NOTIFY",
    b"RECORD",
    b"REDIRECT",
    b"SETUP",
    b"TEARDOWN",
];
const PROTOCOL: &[u8] = b"RTSP/";
/// Most bytes of a body that is waited for; of a longer one nothing is read.
const BODY_BYTES_MAX: usize = 32 << 10;

/// The dissector of a flow.
#[derive(Debug, Default)]
pub(super) struct Rtsp {
    messages: u64,
}

impl Dissector for Rtsp {
    const APP: App = App::Rtsp;

    const STARTS: Starts = Starts::both(b"DAGSOPRT");

    fn probe(first: &First<'_>) -> Probe {
        probe(first.bytes, &METHODS, PROTOCOL, first.is_stream())
    }

    fn new() -> Self {
        Rtsp::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        if context.carrier == Carrier::Datagram {
            if let Some(head) = Head::of_datagram(bytes) {
                self.read(&head, bytes.get(head.bytes..).unwrap_or_default(), context);
            }
            return Progress::Used(bytes.len());
        }
        let mut used: usize = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            match rest {
                // A packet of media: channel and length (RFC 7826 section 14).
                [b'$', _, a, b, ..] => {
                    used = used.saturating_add(4 + usize::from(u16::from_be_bytes([*a, *b])));
                    continue;
                }
                [b'$', ..] => break,
                [b'\r' | b'\n', ..] => {
                    used += 1;
                    continue;
                }
                _ => {}
            }
            let Some(head) = Head::parse(rest) else {
                if rest.len() >= HEAD_BYTES_MAX {
                    return Progress::Broken("invalid_data");
                }
                break;
            };
            if head.first_line(PROTOCOL).is_none() {
                return Progress::Broken("invalid_data");
            }
            let body_bytes = head.body_bytes().unwrap_or(0);
            let body = match rest.get(head.bytes..).and_then(|rest| rest.get(..body_bytes)) {
                Some(body) => body,
                None if body_bytes <= BODY_BYTES_MAX => break,
                None => &[],
            };
            self.read(&head, body, context);
            used = used.saturating_add(head.bytes).saturating_add(body_bytes);
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _missing: u64, _context: &mut Context<'_>) -> Progress {
        // The bytes behind begin with a segment, and mostly with a message.
        Progress::Switch(0)
    }

    fn close(&mut self, _context: &mut Context<'_>) {}
}

impl Rtsp {
    fn read(&mut self, head: &Head<'_>, body: &[u8], context: &mut Context<'_>) {
        let Some(first) = head.first_line(PROTOCOL) else { return };
        let metadata = &mut *context.metadata;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match first {
            FirstLine::Request { method, uri, version } => {
                metadata.set_bytes(Field::Version, version.get(PROTOCOL.len()..).unwrap_or_default());
                metadata.add(Field::Command, &text(method));
                metadata.add(Field::Object, &text(uri));
                if let Some(software) = head.value(&[b"user-agent"]) {
                    metadata.set_bytes(Field::ClientSoftware, software);
                }
            }
            FirstLine::Response { code, .. } => {
                metadata.add(Field::Status, &text(code));
                if let Some(software) = head.value(&[b"server"]) {
                    metadata.set_bytes(Field::ServerSoftware, software);
                }
                if let Some(transport) = head.value(&[b"transport"]) {
                    announce_transport(transport, context);
                }
            }
        }
        let description = Sdp::parse(body);
        let message = self.messages;
        self.messages += 1;
        context.tell(context.direction, Some(message), |object| {
            match &first {
                FirstLine::Request { method, uri, version } => {
                    object.bytes("method", method).bytes("uri", uri).bytes("version", version);
                }
                FirstLine::Response { version, code, reason } => {
                    object.bytes("version", version).bytes("code", code).bytes("reason", reason);
                }
            }
            for (key, name) in [
                ("cseq", &b"cseq"[..]),
                ("session", b"session"),
                ("transport", b"transport"),
                ("user_agent", b"user-agent"),
                ("server", b"server"),
            ] {
                if let Some(value) = head.value(&[name]) {
                    object.bytes(key, value);
                }
            }
            if let Some(description) = &description {
                description.describe(object.object("sdp"));
            }
        });
    }
}

/// `RTP/AVP;unicast;client_port=5000-5001;server_port=6000-6001`: what both have agreed on.
fn announce_transport(transport: &[u8], context: &mut Context<'_>) {
    let (server, client) = (context.end(context.direction).0, context.end(context.direction.flip()).0);
    for part in transport.split(|byte| matches!(byte, b';' | b',')) {
        for (name, address) in [(&b"client_port="[..], client), (b"server_port=", server)] {
            if let Some(ports) = part.trim_ascii().strip_prefix(name)
                && let Some(port) = number(ports)
            {
                let control = memchr::memchr(b'-', ports).and_then(|at| number(ports.get(at + 1..)?));
                announce((address, port), control.unwrap_or(0), b"", context);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};
    use weir_common::net::Direction;

    const SETUP: &[u8] = b"SETUP rtsp://a/b RTSP/1.0\r\nCSeq: 3\r\nUser-Agent: player\r\n\r\n";
    const OK: &[u8] = b"RTSP/1.0 200 OK\r\nCSeq: 3\r\n\
        Transport: RTP/AVP;unicast;client_port=5000-5001;server_port=6000-6001\r\n\r\n$\x00\x00\x03abc";

    #[test]
    fn a_session_is_read_and_its_media_announced() {
        let trial = Trial::<Rtsp>::new().client(SETUP).server(OK).server(OK).close();
        assert_eq!(trial.text(Field::Command), "SETUP");
        assert_eq!(trial.text(Field::Object), "rtsp://a/b");
        assert_eq!(trial.text(Field::Version), "1.0");
        assert_eq!(trial.events.len(), 3);
        let ports: Vec<_> = trial.expected.iter().take(4).map(|one| (one.app, one.end.1)).collect();
        let both = |port| [(App::Rtp, port), (App::Rtcp, port + 1)];
        assert_eq!(ports, [both(5000), both(6000)].concat());
    }

    #[test]
    fn segments_may_end_anywhere() {
        cuts_do_not_matter::<Rtsp>(SETUP, OK);
    }

    #[test]
    fn others_with_such_words_are_not_rtsp() {
        let probe = |bytes: &[u8]| Rtsp::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(probe(SETUP), Probe::Certain);
        assert_eq!(probe(OK), Probe::Certain);
        assert_eq!(probe(b"OPTIONS * HTTP/1.1\r\n"), Probe::NotForUs);
        assert_eq!(probe(b"OPTIONS sip:a@b SIP/2.0\r\n"), Probe::NotForUs);
    }

    #[test]
    fn damage_does_not_panic() {
        survives_damage::<Rtsp>(SETUP, OK);
    }
}
