//! RTP and RTCP (RFC 3550), plain or with the protection of SRTP, which leaves their headers.
//!
//! In: datagrams. Out: the kinds of payload, what RTCP says about the ends (canonical name, tool), one event per
//! flow of media. Media is not looked at, and how well it flows is not measured.
//!
//! One datagram of RTP looks like many others, so that two of a direction must agree: the same source and payload,
//! consecutive numbers. A flow that SDP announced needs no such proof.

use crate::dpi::{Context, Dissector, First, Glimpse, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Bytes of RTP's fixed header.
const HEADER_BYTES: usize = 12;
/// How far numbers of consecutive datagrams may be apart: some are lost or come in another order.
const SEQUENCE_STEP_MAX: u16 = 16;
/// How far their times may be apart: ten seconds at the rate of video.
const TIME_STEP_MAX: u32 = 900_000;
/// Datagrams looked at of a flow of either.
const DATAGRAMS_MAX: u16 = 32;
/// Reports in one datagram that are looked at.
const REPORTS_MAX: usize = 16;

/// An RTP header.
#[derive(Clone, Copy, Debug)]
struct Header {
    payload: u8,
    sequence: u16,
    time: u32,
    source: u32,
}

impl Header {
    /// The header at the front. `whole`: what follows it is all there, and counts.
    fn parse(bytes: &[u8], whole: usize) -> Option<Header> {
        let [first, kind, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3, ..] = *bytes else { return None };
        let contributors = usize::from(first & 15) * 4;
        let payload = kind & 0x7f;
        // 64 to 95 with the marker would be RTCP's types (RFC 5761 section 4).
        let fits = first >> 6 == 2
            && whole > HEADER_BYTES + contributors
            && !((64..96).contains(&payload) && kind & 0x80 != 0);
        let source = u32::from_be_bytes([c0, c1, c2, c3]);
        let (sequence, time) = (u16::from_be_bytes([s0, s1]), u32::from_be_bytes([t0, t1, t2, t3]));
        (fits && source != 0).then_some(Header { payload, sequence, time, source })
    }

    fn of(bytes: &[u8]) -> Option<Header> {
        let header = Header::parse(bytes, bytes.len())?;
        let first = *bytes.first()?;
        let contributors = usize::from(first & 15) * 4;
        let after = bytes.get(HEADER_BYTES + contributors..)?;
        // An extension has a length, padding its own in the last byte.
        let extension = match (first & 0x10 != 0, after) {
            (false, _) => 0,
            (true, [_, _, l0, l1, ..]) => 4 + usize::from(u16::from_be_bytes([*l0, *l1])) * 4,
            (true, _) => return None,
        };
        (extension <= after.len()).then_some(header)
    }

    /// Whether this one follows another in a stream.
    fn follows(&self, other: &Header) -> bool {
        let step = self.sequence.wrapping_sub(other.sequence);
        let time = self.time.wrapping_sub(other.time);
        self.source == other.source
            && self.payload == other.payload
            && (1..=SEQUENCE_STEP_MAX).contains(&step)
            && time.min(time.wrapping_neg()) <= TIME_STEP_MAX
    }
}

fn seen(glimpse: &Glimpse) -> Option<Header> {
    Header::parse(glimpse.head(), glimpse.len as usize)
}

/// Most sources of a flow that are told.
const SOURCES_MAX: usize = 16;

/// The dissector of a flow of RTP.
#[derive(Debug, Default)]
pub(super) struct Rtp {
    datagrams: u16,
    sources: Vec<u32>,
    told: bool,
    /// What SDP called the media.
    announced: Box<[u8]>,
}

impl Dissector for Rtp {
    const APP: App = App::Rtp;

    const STARTS: Starts = Starts::range_of_datagram(0x80, 0xbf);

    fn probe(first: &First<'_>) -> Probe {
        let Some(header) = Header::of(first.bytes) else { return Probe::NotForUs };
        if seen(&first.before).is_some_and(|before| header.follows(&before)) {
            return Probe::Certain;
        }
        Probe::NotForUs
    }

    fn new() -> Self {
        Rtp::default()
    }

    fn expected(note: &[u8]) -> Option<Self> {
        Some(Rtp { announced: note.into(), ..Rtp::default() })
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        // Where ICE or DTLS goes before the media, that tells more.
        if self.datagrams == 0 && bytes.first().is_some_and(|byte| byte >> 6 != 2) {
            return Progress::Switch(0);
        }
        if self.datagrams == 0 && !self.announced.is_empty() {
            context.metadata.add(Field::RtpPayload, &String::from_utf8_lossy(&self.announced));
        }
        self.datagrams += 1;
        if let Some(header) = Header::of(bytes) {
            if self.sources.len() < SOURCES_MAX && !self.sources.contains(&header.source) {
                self.sources.push(header.source);
            }
            match payload_name(header.payload) {
                Some(name) => context.metadata.add(Field::RtpPayload, name),
                None => context.metadata.add(Field::RtpPayload, &format!("dynamic {}", header.payload)),
            }
        }
        if self.datagrams >= DATAGRAMS_MAX {
            self.close(context);
            return Progress::Done;
        }
        Progress::Used(bytes.len())
    }

    fn gap(&mut self, _missing: u64, _context: &mut Context<'_>) -> Progress {
        Progress::Done
    }

    fn close(&mut self, context: &mut Context<'_>) {
        if self.sources.is_empty() || std::mem::replace(&mut self.told, true) {
            return;
        }
        let metadata = std::mem::take(context.metadata);
        context.tell(Direction::Forward, None, |object| {
            object.texts("payloads", metadata.list(Field::RtpPayload).iter().map(|text| text.as_bytes()));
            let mut list = object.list("ssrcs");
            self.sources.iter().for_each(|source| list.display(format_args!("{source:#010x}")));
        });
        *context.metadata = metadata;
    }
}

/// The static payload types of RFC 3551 section 6.
fn payload_name(payload: u8) -> Option<&'static str> {
    Some(match payload {
        0 => "PCMU",
        3 => "GSM",
        4 => "G723",
        5 | 6 | 16 | 17 => "DVI4",
        7 => "LPC",
        8 => "PCMA",
        9 => "G722",
        10 | 11 => "L16",
        12 => "QCELP",
        13 => "CN",
        14 => "MPA",
        15 => "G728",
        18 => "G729",
        25 => "CelB",
        26 => "JPEG",
        28 => "nv",
        31 => "H261",
        32 => "MPV",
        33 => "MP2T",
        34 => "H263",
        _ => return None,
    })
}

/// The dissector of a flow of RTCP.
#[derive(Debug, Default)]
pub(super) struct Rtcp {
    datagrams: u16,
}

/// One packet of a compound: type, count, body behind the header; and what follows it.
fn report(bytes: &[u8]) -> Option<(u8, u8, &[u8], &[u8])> {
    let ([first, kind, l0, l1], rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::from(u16::from_be_bytes([*l0, *l1])) * 4;
    let (body, rest) = rest.split_at_checked(length)?;
    (first >> 6 == 2 && (192..=223).contains(kind)).then_some((*kind, first & 31, body, rest))
}

/// Whether the first packet is what its type says, and how many packets fill the datagram.
fn compound(bytes: &[u8]) -> Option<usize> {
    let (kind, count, body, mut rest) = report(bytes)?;
    let blocks = usize::from(count) * 24;
    let fits = match kind {
        // Sender's and receiver's reports, with room for extensions.
        200 => body.len() >= 24 + blocks,
        201 => body.len() >= 4 + blocks,
        202 => count > 0 && body.len() >= 8,
        203 => body.len() >= usize::from(count) * 4,
        205 => (1..=15).contains(&count) && body.len() >= 12,
        206 => (1..=15).contains(&count) && body.len() >= 8,
        _ => false,
    };
    if !fits {
        return None;
    }
    let mut packets = 1;
    while !rest.is_empty() && packets < REPORTS_MAX {
        rest = report(rest)?.3;
        packets += 1;
    }
    Some(packets)
}

impl Dissector for Rtcp {
    const APP: App = App::Rtcp;

    const STARTS: Starts = Starts::range_of_datagram(0x80, 0xbf);

    fn probe(first: &First<'_>) -> Probe {
        let Some(packets) = compound(first.bytes) else { return Probe::NotForUs };
        let is_repeated = |glimpse: &Glimpse| {
            matches!(glimpse.head(), [0x80..=0xbf, 200..=206, ..]) || seen(glimpse).is_some()
        };
        let is_sender_report = first.bytes.get(1) == Some(&200);
        if packets > 1 || is_sender_report || is_repeated(&first.before) || is_repeated(&first.other) {
            Probe::Certain
        } else {
            Probe::NotForUs
        }
    }

    fn new() -> Self {
        Rtcp::default()
    }

    fn expected(_note: &[u8]) -> Option<Self> {
        Some(Rtcp::default())
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        self.datagrams += 1;
        let mut rest = bytes;
        for _ in 0..REPORTS_MAX {
            let Some((kind, count, body, next)) = report(rest) else { break };
            if kind == 202 && count > 0 {
                describe_source(body, context);
            }
            rest = next;
        }
        // Media on the same ports (RFC 5761): the flow is rather that.
        if report(bytes).is_none() && Header::of(bytes).is_some() {
            return Progress::Switch(0);
        }
        if self.datagrams >= DATAGRAMS_MAX { Progress::Done } else { Progress::Used(bytes.len()) }
    }

    fn gap(&mut self, _missing: u64, _context: &mut Context<'_>) -> Progress {
        Progress::Done
    }

    fn close(&mut self, _context: &mut Context<'_>) {}
}

/// The items of the first source (RFC 3550 section 6.5).
fn describe_source(body: &[u8], context: &mut Context<'_>) {
    const CANONICAL_NAME: u8 = 1;
    const TOOL: u8 = 6;
    let mut items = body.get(4..).unwrap_or_default();
    while let [kind @ 1..=8, length, rest @ ..] = items {
        let Some((text, next)) = rest.split_at_checked(usize::from(*length)) else { return };
        // Under protection the items are noise.
        if let Ok(text) = str::from_utf8(text)
            && !text.is_empty()
            && !text.contains(|character: char| character.is_control())
        {
            let tool = match context.direction {
                Direction::Forward => Field::ClientSoftware,
                Direction::Reverse => Field::ServerSoftware,
            };
            match *kind {
                CANONICAL_NAME => context.metadata.add(Field::EndpointName, text),
                TOOL => context.metadata.set_text(tool, text),
                _ => {}
            }
        }
        items = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, survives_damaged_datagrams};

    fn rtp(sequence: u16, source: u32) -> Vec<u8> {
        let time = u32::from(sequence) * 160;
        [&[0x80, 0][..], &sequence.to_be_bytes(), &time.to_be_bytes(), &source.to_be_bytes(), &[0x55; 160]]
            .concat()
    }

    fn probe(before: &[u8], bytes: &[u8]) -> Probe {
        let first = First::of(Carrier::Datagram, Direction::Forward, bytes);
        Rtp::probe(&First { before: Glimpse::of(before), ..first })
    }

    #[test]
    fn two_datagrams_must_agree() {
        assert_eq!(probe(&[], &rtp(7, 9)), Probe::NotForUs);
        assert_eq!(probe(&rtp(6, 9), &rtp(7, 9)), Probe::Certain);
        assert_eq!(probe(&rtp(u16::MAX, 9), &rtp(0, 9)), Probe::NotForUs, "time went too far");
        assert_eq!(probe(&rtp(7, 9), &rtp(7 + SEQUENCE_STEP_MAX, 9)), Probe::Certain);
        assert_eq!(probe(&rtp(7, 9), &rtp(8 + SEQUENCE_STEP_MAX, 9)), Probe::NotForUs);
        assert_eq!(probe(&rtp(7, 9), &rtp(7, 9)), Probe::NotForUs);
        assert_eq!(probe(&rtp(6, 8), &rtp(7, 9)), Probe::NotForUs);
        assert_eq!(probe(&rtp(6, 0), &rtp(7, 0)), Probe::NotForUs);
    }

    #[test]
    fn an_announced_flow_tells_its_media() {
        let trial = Trial::<Rtp>::new().over_datagrams().announced(b"audio").client(&rtp(1, 9)).close();
        assert_eq!(trial.metadata.list(Field::RtpPayload).join(" "), "audio PCMU");
        assert_eq!(trial.event()["ssrcs"][0], "0x00000009");
    }

    const REPORTS: &[u8] = b"\x80\xc9\x00\x01\x00\x00\x00\x09\
        \x81\xca\x00\x05\x00\x00\x00\x09\x01\x06a@host\x06\x03vlc\0\0\0";

    #[test]
    fn reports_fill_their_datagram() {
        let probe = |bytes: &[u8]| Rtcp::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes));
        assert_eq!(probe(REPORTS), Probe::Certain);
        assert_eq!(probe(&REPORTS[..REPORTS.len() - 1]), Probe::NotForUs);
        assert_eq!(probe(&REPORTS[..8]), Probe::NotForUs, "alone it is too little");
        let trial = Trial::<Rtcp>::new().over_datagrams().client(REPORTS).close();
        assert_eq!(trial.text(Field::EndpointName), "a@host");
        assert_eq!(trial.text(Field::ClientSoftware), "vlc");
    }

    #[test]
    fn damage_does_not_panic() {
        survives_damaged_datagrams::<Rtcp>(&[(Direction::Forward, REPORTS)]);
        survives_damaged_datagrams::<Rtp>(&[(Direction::Forward, &rtp(1, 9)[..40])]);
    }
}
