//! Session descriptions (SDP, RFC 8866).
//!
//! In: a body. Out: the object that Suricata's EVE has under `sdp`, and where media will go.

use crate::dpi::scan::line;
use crate::dpi::{Carrier, Context, End};
use std::net::IpAddr;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::net::Address;

/// Most lines of a description that are looked at.
const LINES_MAX: usize = 256;
/// Most streams of media of one description that are announced.
const MEDIA_MAX: usize = 16;

/// A description that begins as one must.
#[derive(Clone, Copy, Debug)]
pub(in crate::dpi) struct Sdp<'a>(&'a [u8]);

impl<'a> Sdp<'a> {
    /// The description that a body is.
    pub(in crate::dpi) fn parse(body: &'a [u8]) -> Option<Sdp<'a>> {
        body.starts_with(b"v=").then_some(Sdp(body))
    }

    /// Lines by type, in order.
    pub(super) fn lines(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (line, used) = line(rest).unwrap_or((rest, rest.len()));
            rest = rest.get(used..).filter(|_| used > 0)?;
            Some(line)
        })
        .take(LINES_MAX)
        .filter_map(|line| match line {
            [kind, b'=', value @ ..] => Some((*kind, value)),
            _ => None,
        })
    }

    /// The lines before the first stream, or, from 1 on, those of a stream.
    fn section(&self, wanted: usize) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut at = 0;
        self.lines().filter(move |(kind, _)| {
            at += usize::from(*kind == b'm');
            at == wanted
        })
    }

    /// Writes the description.
    pub(in crate::dpi) fn describe(&self, mut object: Object<'_>) {
        let session = || self.section(0);
        let first = |wanted: u8| session().find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        for (key, kind) in [
            ("origin", b'o'),
            ("session_name", b's'),
            ("session_info", b'i'),
            ("uri", b'u'),
            ("email", b'e'),
            ("phone_number", b'p'),
            ("connection_data", b'c'),
        ] {
            if let Some(value) = first(kind) {
                object.bytes(key, value);
            }
        }
        texts("bandwidths", b'b', session(), &mut object);
        if first(b't').is_some() {
            let mut list = object.list("time_descriptions");
            let mut lines = session().filter(|(kind, _)| matches!(kind, b't' | b'r')).peekable();
            while let Some((kind, value)) = lines.next() {
                if kind == b't' {
                    let mut time = list.object();
                    time.bytes("time", value);
                    if let Some((_, repeat)) = lines.next_if(|(kind, _)| *kind == b'r') {
                        time.bytes("repeat_time", repeat);
                    }
                }
            }
        }
        for (key, kind) in [("timezone", b'z'), ("encryption_key", b'k')] {
            if let Some(value) = first(kind) {
                object.bytes(key, value);
            }
        }
        texts("attributes", b'a', session(), &mut object);
        if self.section(1).next().is_none() {
            return;
        }
        let mut list = object.list("media_descriptions");
        for at in 1..=MEDIA_MAX {
            let media = || self.section(at);
            let first = |wanted: u8| media().find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
            let Some(description) = first(b'm') else { break };
            let mut object = list.object();
            object.bytes("media", description);
            for (key, kind) in [("media_info", b'i'), ("connection_data", b'c')] {
                if let Some(value) = first(kind) {
                    object.bytes(key, value);
                }
            }
            texts("bandwidths", b'b', media(), &mut object);
            if let Some(value) = first(b'k') {
                object.bytes("encryption_key", value);
            }
            texts("attributes", b'a', media(), &mut object);
        }
    }

    /// Announces the streams of media: RTP, and RTCP on the port beside it or where the description says.
    pub(in crate::dpi) fn announce(&self, context: &mut Context<'_>) {
        let address = |at: usize| {
            self.section(at).find(|(kind, _)| *kind == b'c').and_then(|(_, value)| connection_address(value))
        };
        let of_session = address(0);
        for at in 1..=MEDIA_MAX {
            let Some((_, media)) = self.section(at).next() else { break };
            let mut words = media.split(|byte| *byte == b' ');
            let (Some(kind), Some(port), Some(transport)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let (Some(port), Some(address)) = (number(port), address(at).or(of_session)) else { continue };
            if !transport.starts_with(b"RTP/") && !transport.starts_with(b"UDP/TLS/RTP/") {
                continue;
            }
            let mut attributes = self.section(at).filter(|(kind, _)| *kind == b'a').map(|(_, value)| value);
            let control = attributes
                .find_map(|value| number(value.strip_prefix(b"rtcp:")?))
                .unwrap_or(port.saturating_add(1));
            announce((address, port), control, kind, context);
        }
    }
}

/// Announces a stream of media to an end, and its control.
pub(in crate::dpi) fn announce(end: End, control: u16, kind: &[u8], context: &mut Context<'_>) {
    // 0 refuses the stream, 9 says that only ICE will tell.
    if matches!(end.1, 0 | 9) {
        return;
    }
    context.expect(end, Carrier::Datagram, App::Rtp, kind);
    if !matches!(control, 0 | 9) && control != end.1 {
        context.expect((end.0, control), Carrier::Datagram, App::Rtcp, kind);
    }
}

fn texts<'a>(
    key: &'static str,
    wanted: u8,
    lines: impl Iterator<Item = (u8, &'a [u8])>,
    object: &mut Object<'_>,
) {
    let mut lines = lines.filter(|(kind, _)| *kind == wanted).map(|(_, value)| value).peekable();
    if lines.peek().is_some() {
        object.texts(key, lines);
    }
}

/// The decimal number at the front.
pub(in crate::dpi) fn number(text: &[u8]) -> Option<u16> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    str::from_utf8(text.get(..digits)?).ok()?.parse().ok()
}

/// `IN IP4 192.0.2.1`, with a group's lifetime behind a slash.
fn connection_address(value: &[u8]) -> Option<Address> {
    let text = str::from_utf8(value).ok()?;
    let address = text.split_ascii_whitespace().nth(2)?.split('/').next()?;
    let address = match address.parse().ok()? {
        IpAddr::V4(address) if !address.is_unspecified() => Address::v4(address.octets()),
        IpAddr::V6(address) if !address.is_unspecified() => Address::v6(address.octets()),
        _ => return None,
    };
    Some(address)
}
