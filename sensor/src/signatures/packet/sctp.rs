//! SCTP (RFC 9260): the tag, the chunks and what DATA chunks carry.
//!
//! In: `sctp.chunk_type`; then a packet. Out: whether one of its chunks is of such a type; and the parts of a packet for
//! other keywords. Chunks are those whose length is possible, up to the first whose is not. Deliberately
//! absent: what several packets carry together.

use super::number::{UintTest, Width};
use crate::decode::Packet;
use weir_common::net::protocol;

const HEADER_BYTES: usize = 12;
/// Bytes of a DATA chunk before what its user sends.
const DATA_BYTES: usize = 16;

/// Type of what carries data.
const DATA: u8 = 0;

/// Names of types, as Suricata has them.
const NAMES: [(&str, u64); 16] = [
    ("data", 0),
    ("init", 1),
    ("init_ack", 2),
    ("sack", 3),
    ("heartbeat", 4),
    ("hb_ack", 5),
    ("abort", 6),
    ("shutdown", 7),
    ("shutdown_ack", 8),
    ("error", 9),
    ("cookie_echo", 10),
    ("cookie_ack", 11),
    ("ecne", 12),
    ("cwr", 13),
    ("shutdown_complete", 14),
    ("forward_tsn", 192),
];

/// The chunks of a packet.
#[derive(Clone, Debug)]
pub(in crate::signatures) struct Chunks<'a>(&'a [u8]);

impl<'a> Iterator for Chunks<'a> {
    /// Type and whole bytes.
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let &[kind, _, high, low] = self.0.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let chunk = self.0.get(..length).filter(|chunk| chunk.len() >= 4)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, chunk))
    }
}

/// The header and all behind it; none: it is no SCTP.
pub(super) fn whole<'a>(packet: &Packet<'a>) -> Option<&'a [u8]> {
    let bytes = if packet.ip.protocol == protocol::SCTP { packet.transport_bytes() } else { None };
    bytes.filter(|bytes| bytes.len() >= HEADER_BYTES)
}

/// The verification tag.
pub(super) fn tag(packet: &Packet<'_>) -> Option<u32> {
    Some(u32::from_be_bytes(*whole(packet)?.get(4..)?.first_chunk()?))
}

/// The chunks; none: it is no SCTP.
pub(super) fn chunks<'a>(packet: &Packet<'a>) -> Option<Chunks<'a>> {
    whole(packet)?.get(HEADER_BYTES..).map(Chunks)
}

/// What the users of DATA chunks send, each for itself.
pub(super) fn data<'a>(packet: &Packet<'a>) -> impl Iterator<Item = &'a [u8]> {
    let of_data = chunks(packet).into_iter().flatten().filter(|(kind, _)| *kind == DATA);
    of_data.filter_map(|(_, chunk)| chunk.get(DATA_BYTES..)).filter(|data| !data.is_empty())
}

/// Reads a test of a type, whose name may be in any case.
pub(super) fn type_test(text: &str) -> Result<UintTest, String> {
    UintTest::parse_named(&text.to_ascii_lowercase(), Width::U8, &NAMES)
}
