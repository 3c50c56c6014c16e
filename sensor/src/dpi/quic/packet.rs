//! Headers of QUIC packets: RFC 9000 section 17, RFC 9369, and Google's before.
//!
//! In: a datagram, or what is left of one. Out: the long header at its front with where its packet ends, or the
//! version that Google's public header names. Decrypts nothing.

use crate::dpi::First;

/// Most bytes of a connection ID (RFC 9000 section 17.2).
const CONNECTION_ID_BYTES_MAX: usize = 20;
/// Fewest bytes of a datagram with a client's first packet (RFC 9000 section 14.1).
const CLIENT_DATAGRAM_BYTES_MIN: usize = 1200;

/// QUIC version 2, RFC 9369.
const VERSION_2: u32 = 0x6b33_43cf;
/// The draft of version 2.
const VERSION_2_DRAFT: u32 = 0x709a_50c4;

/// What a version number stands for, as far as the layout of packets and the keys go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// RFC 9000 and its drafts, including Facebook's and Google's variants with TLS.
    Ietf,
    /// RFC 9369: the same with other type numbers and labels.
    Second,
    /// Google's Q050: the same packets with its own handshake inside.
    GoogleSealed,
    /// Google's Q044 to Q046: long headers without protection.
    GoogleLong,
    /// Google's Q043 and before: public headers.
    GooglePublic,
}

impl Kind {
    /// The kind of a version that is known.
    pub(super) fn of(version: u32) -> Option<Kind> {
        match version {
            1 | 0xff00_0016..=0xff00_0022 | 0xface_b001..=0xface_b013 => Some(Kind::Ietf),
            // T050 and T051.
            0x5430_3530..=0x5430_3531 => Some(Kind::Ietf),
            VERSION_2 | VERSION_2_DRAFT => Some(Kind::Second),
            0x5130_3530 => Some(Kind::GoogleSealed),
            0x5130_3434..=0x5130_3436 => Some(Kind::GoogleLong),
            _ if google_number(version).is_some() => Some(Kind::GooglePublic),
            _ => None,
        }
    }
}

/// The number in `Q0nn`.
pub(super) fn google_number(version: u32) -> Option<u8> {
    match version.to_be_bytes() {
        [b'Q', b'0', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => Some((tens - b'0') * 10 + ones - b'0'),
        _ => None,
    }
}

/// Whether a version is one that asks the other side to negotiate (RFC 9000 section 15).
pub(super) fn is_forcing_negotiation(version: u32) -> bool {
    version & 0x0f0f_0f0f == 0x0a0a_0a0a
}

/// What a packet with a long header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Initial,
    ZeroRtt,
    Handshake,
    Retry,
    /// The server speaks other versions.
    Negotiation,
    /// The version is not known; nothing of the rest is.
    Unknown,
}

/// A packet with a long header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Long<'a> {
    pub version: u32,
    pub kind: Option<Kind>,
    pub packet: Type,
    /// Connection ID of the receiver.
    pub destination: &'a [u8],
    /// Connection ID of the sender.
    pub source: &'a [u8],
    /// Where the packet number begins, or what stands for the rest.
    pub header_bytes: usize,
    /// Where the packet ends and another may begin.
    pub end: usize,
}

impl<'a> Long<'a> {
    /// The header that `bytes` begin with; none where they are no long header or end before the packet does.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Long<'a>> {
        let (first, rest) = bytes.split_first()?;
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let version = u32::from_be_bytes(*version);
        if first & 0x80 == 0 {
            return None;
        }
        let kind = Kind::of(version);
        if kind == Some(Kind::GoogleLong) {
            return Long::parse_google(bytes, version, rest);
        }
        let (destination, rest) = connection_id(rest)?;
        let (source, rest) = connection_id(rest)?;
        let end = bytes.len();
        let long = |packet, header_bytes, end| Long {
            version,
            kind,
            packet,
            destination,
            source,
            header_bytes,
            end,
        };
        let header_bytes = end - rest.len();
        if version == 0 {
            return Some(long(Type::Negotiation, header_bytes, end));
        }
        // The fixed bit is none where both have agreed so (RFC 9287).
        let packet = match (kind, first >> 4 & 3) {
            (None, _) => return Some(long(Type::Unknown, header_bytes, end)),
            (Some(Kind::Second), 1) | (Some(_), 0) if kind != Some(Kind::Second) || first >> 4 & 3 == 1 => {
                Type::Initial
            }
            (Some(Kind::Second), 2) => Type::ZeroRtt,
            (Some(Kind::Second), 3) => Type::Handshake,
            (Some(Kind::Second), _) => Type::Retry,
            (Some(_), 1) => Type::ZeroRtt,
            (Some(_), 2) => Type::Handshake,
            (Some(_), _) => Type::Retry,
        };
        if packet == Type::Retry {
            return Some(long(packet, header_bytes, end));
        }
        let rest = if packet == Type::Initial {
            let (token, rest) = variable(rest)?;
            rest.get(usize::try_from(token).ok()?..)?
        } else {
            rest
        };
        let (length, rest) = variable(rest)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= rest.len())?;
        let header_bytes = end - rest.len();
        Some(long(packet, header_bytes, header_bytes + length))
    }

    /// Q044 to Q046: both lengths of connection IDs in one byte, as the number less three.
    fn parse_google(bytes: &'a [u8], version: u32, rest: &'a [u8]) -> Option<Long<'a>> {
        let (lengths, rest) = rest.split_first()?;
        let of = |nibble: u8| usize::from(if nibble == 0 { 0 } else { nibble + 3 });
        let (destination, rest) = rest.split_at_checked(of(lengths >> 4))?;
        let (source, rest) = rest.split_at_checked(of(lengths & 15))?;
        let (end, header_bytes) = (bytes.len(), bytes.len() - rest.len());
        let kind = Some(Kind::GoogleLong);
        Some(Long { version, kind, packet: Type::Initial, destination, source, header_bytes, end })
    }
}

fn connection_id(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let length = usize::from(*length);
    (length <= CONNECTION_ID_BYTES_MAX).then(|| rest.split_at_checked(length))?
}

/// A number of variable length (RFC 9000 section 16) and what follows it.
pub(super) fn variable(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let (number, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let value = number.iter().skip(1).fold(u64::from(first & 0x3f), |sum, byte| sum << 8 | u64::from(*byte));
    Some((value, rest))
}

/// The version in Google's public header (Q043 and before), which clients send until the server has answered.
pub(super) fn google_public_version(bytes: &[u8]) -> Option<u32> {
    const VERSION: u8 = 0x01;
    const CONNECTION_ID: u8 = 0x08;
    let (flags, rest) = bytes.split_first()?;
    if flags & (0xc0 | VERSION) != VERSION {
        return None;
    }
    let rest = if flags & CONNECTION_ID != 0 { rest.get(8..)? } else { rest };
    let version = u32::from_be_bytes(*rest.first_chunk()?);
    google_number(version).map(|_| version)
}

/// What the first datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It is QUIC.
    Certain,
    /// It may be; the other side's answer tells.
    Perhaps,
    /// It is not.
    No,
}

/// Whether a datagram is QUIC's.
pub(super) fn look(first: &First<'_>) -> Look {
    let bytes = first.bytes;
    if bytes.first().is_some_and(|byte| byte & 0x80 == 0) {
        let is_google = google_public_version(bytes).is_some()
            || first.has_port_of(&[443, 80]) && super::google::is_server_hello(bytes);
        return if is_google { Look::Certain } else { Look::No };
    }
    let Some(long) = Long::parse(bytes) else { return Look::No };
    let has_fixed_bit = bytes.first().is_some_and(|byte| byte & 0x40 != 0);
    match long.packet {
        Type::Initial | Type::ZeroRtt | Type::Handshake | Type::Retry if !has_fixed_bit => Look::No,
        Type::Negotiation => look_at_negotiation(first, &long),
        Type::Unknown => {
            let is_first = bytes.len() >= CLIENT_DATAGRAM_BYTES_MIN
                && is_forcing_negotiation(long.version)
                && long.destination.len() >= 8;
            if is_first { Look::Certain } else { Look::No }
        }
        Type::Retry => {
            // Token and integrity tag.
            let is_long_enough = bytes.len() > long.header_bytes + 16;
            if is_long_enough && long.source.len() >= 4 { Look::Certain } else { Look::No }
        }
        Type::Initial if long.kind == Some(Kind::GoogleLong) => {
            if long.destination.len() + long.source.len() >= 8 { Look::Certain } else { Look::No }
        }
        // Packet number, sample, and what is behind must be a packet again, or nothing (RFC 9000 section 12.2).
        _ if long.end >= long.header_bytes + 20 => Look::Certain,
        _ => Look::No,
    }
}

/// A list of versions, of which at least one is known; right when the other side had named the same IDs.
fn look_at_negotiation(first: &First<'_>, long: &Long<'_>) -> Look {
    let list = first.bytes.get(long.header_bytes..).unwrap_or_default();
    let knows = list
        .chunks_exact(4)
        .filter_map(|version| version.first_chunk::<4>())
        .any(|version| Kind::of(u32::from_be_bytes(*version)).is_some());
    if list.is_empty() || !list.len().is_multiple_of(4) || !knows {
        return Look::No;
    }
    let mirrored = first.other.head().get(5..).and_then(connection_id);
    match mirrored {
        Some((destination, _)) if destination == long.source && !destination.is_empty() => Look::Certain,
        _ if long.source.len() >= 8 || long.destination.len() >= 8 => Look::Perhaps,
        _ => Look::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_variable_length_are_those_of_the_rfc() {
        // RFC 9000 appendix A.1.
        for (bytes, number) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ] {
            assert_eq!(variable(bytes), Some((number, &[][..])));
            assert_eq!(variable(&bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn types_of_version_2_are_shifted() {
        let packet = |first: u8, version: u32| {
            let mut bytes = vec![first];
            bytes.extend(version.to_be_bytes());
            bytes.extend([1, 7, 0, 0, 20]);
            bytes.extend([0; 21]);
            Long::parse(&bytes).map(|long| long.packet)
        };
        assert_eq!(packet(0xc0, 1), Some(Type::Initial));
        assert_eq!(packet(0xd0, VERSION_2), Some(Type::Initial));
        assert_eq!(packet(0xc0, VERSION_2), Some(Type::Retry));
        assert_eq!(packet(0xf0, 1), Some(Type::Retry));
        assert_eq!(packet(0xf0, VERSION_2), Some(Type::Handshake));
        assert_eq!(packet(0x80, 1), Some(Type::Initial), "the fixed bit is greased");
        assert_eq!(packet(0x40, 1), None);
    }

    #[test]
    fn public_headers_name_their_version() {
        let version = u32::from_be_bytes(*b"Q043");
        assert_eq!(google_public_version(b"\x0d12345678Q043\x01"), Some(version));
        assert_eq!(google_public_version(b"\x01Q043\x01"), Some(version));
        assert_eq!(google_public_version(b"\x0c12345678Q043\x01"), None);
        assert_eq!(google_public_version(b"\x0d12345678R043\x01"), None);
    }
}
