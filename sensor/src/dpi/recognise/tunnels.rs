//! Tunnels and encrypted channels that show nothing but what they are.

use crate::dpi::{First, Glimpse, Probe, Starts};

/// First bytes of WireGuard's messages.
pub(super) const WIREGUARD_STARTS: Starts = Starts::datagram(&[1, 2, 3, 4]);

/// WireGuard (its paper's section 5.4): type, three zeros, and lengths that are fixed but for data.
pub(super) fn wireguard(first: &First<'_>) -> Probe {
    const INITIATION_BYTES: usize = 148;
    const RESPONSE_BYTES: usize = 92;
    const COOKIE_BYTES: usize = 64;
    let bytes = first.bytes;
    let [kind, 0, 0, 0, rest @ ..] = bytes else { return Probe::NotForUs };
    let index = |bytes: &[u8]| bytes.get(4..8).map(<[u8]>::to_vec);
    let repeats = |glimpse: &Glimpse, kinds: &[u8]| matches!(glimpse.head(), [kind, 0, 0, 0, ..] if kinds.contains(kind));
    match (kind, bytes.len()) {
        (1, INITIATION_BYTES) => Probe::Certain,
        (2, RESPONSE_BYTES) => Probe::Certain,
        (3, COOKIE_BYTES) if repeats(&first.other, &[1, 2]) || first.has_port(51820) => Probe::Certain,
        // Receiver, counter, and at least a tag; the content is padded to 16.
        (4, length) if length >= 32 && length.is_multiple_of(16) => {
            let [_, _, _, _, counter @ ..] = rest else { return Probe::NotForUs };
            let counter = counter.first_chunk::<8>().map_or(u64::MAX, |counter| u64::from_le_bytes(*counter));
            let before = first.before.head();
            let last = before
                .get(8..16)
                .and_then(|counter| counter.first_chunk::<8>())
                .map_or(u64::MAX, |counter| u64::from_le_bytes(*counter));
            let is_next = repeats(&first.before, &[4])
                && index(before) == index(bytes)
                && counter.wrapping_sub(last) <= 64
                && counter != last;
            match counter {
                _ if is_next => Probe::Certain,
                0..=0xffff_ffff if first.has_port(51820) || repeats(&first.other, &[1, 2, 4]) => {
                    Probe::Likely
                }
                _ => Probe::NotForUs,
            }
        }
        _ => Probe::NotForUs,
    }
}

/// First bytes of what resolvers answer.
pub(super) const DNSCRYPT_STARTS: Starts = Starts::both(b"rq\0\x01\x02\x03\x04\x05\x06\x07\x08");

/// DNSCrypt version 2 and 1: a resolver's answer begins with a fixed number; what clients send begins with one of
/// the resolver's own and cannot be known.
pub(super) fn dnscrypt(first: &First<'_>) -> Probe {
    const NUMBERS: [&[u8; 8]; 2] = [b"r6fnvWj8", b"q6fnvWj8"];
    let message = if first.is_stream() { first.bytes.get(2..).unwrap_or_default() } else { first.bytes };
    let begins = |number: &&[u8; 8]| number.starts_with(message.get(..8).unwrap_or(message));
    match NUMBERS.iter().any(begins) {
        true if message.len() >= 8 => Probe::Certain,
        true if first.is_stream() => Probe::Unsure,
        _ => Probe::NotForUs,
    }
}

/// First bytes of GTP of version 1 (user plane and control) and 2.
pub(super) const GTP_STARTS: Starts =
    Starts::range_of_datagram(0x30, 0x37).or(Starts::range_of_datagram(0x40, 0x5f));

/// GPRS Tunnelling Protocol (3GPP TS 29.281, 29.060, 29.274): version, reserved bits and a length that fits, on its
/// ports.
pub(super) fn gtp(first: &First<'_>) -> Probe {
    const USER: u16 = 2152;
    const CONTROL: u16 = 2123;
    let bytes = first.bytes;
    let [flags, kind, l0, l1, ..] = bytes else { return Probe::NotForUs };
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    let is_known = match flags >> 5 {
        // Protocol type 1, and the spare bit is 0.
        1 => {
            let is_message = matches!(kind, 1..=7 | 16..=37 | 48..=70 | 96..=121 | 240 | 241 | 254 | 255);
            flags & 0x18 == 0x10 && length + 8 == bytes.len() && is_message && bytes.len() >= 8
        }
        2 => {
            let header_bytes = if flags & 0x08 != 0 { 12 } else { 8 };
            let is_piggybacked = flags & 0x10 != 0;
            let fits = if is_piggybacked { length + 4 < bytes.len() } else { length + 4 == bytes.len() };
            flags & 0x03 == 0 && fits && bytes.len() >= header_bytes && *kind != 0
        }
        _ => false,
    };
    if is_known && first.has_port_of(&[USER, CONTROL]) { Probe::Certain } else { Probe::NotForUs }
}

/// First bytes of IPv6, and of the indications in front of it.
pub(super) const TEREDO_STARTS: Starts = Starts::range_of_datagram(0x60, 0x6f).or(Starts::datagram(&[0]));

/// Teredo (RFC 4380 section 5.1.1): IPv6 that fills its datagram, perhaps behind authentication and origin, with an
/// address of Teredo's or on its port.
pub(super) fn teredo(first: &First<'_>) -> Probe {
    const PORT: u16 = 3544;
    const ORIGIN_BYTES: usize = 8;
    let mut rest = first.bytes;
    if let [0, 1, client, account, ..] = rest {
        rest = rest.get(13 + usize::from(*client) + usize::from(*account)..).unwrap_or_default();
    }
    if rest.starts_with(&[0, 0]) {
        rest = rest.get(ORIGIN_BYTES..).unwrap_or_default();
    }
    let Some(header) = rest.first_chunk::<40>() else { return Probe::NotForUs };
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let is_teredo =
        |address: Option<&[u8]>| address.is_some_and(|address| address.starts_with(&[0x20, 1, 0, 0]));
    let has_address = is_teredo(header.get(8..24)) || is_teredo(header.get(24..40));
    let fits = header[0] >> 4 == 6 && length + 40 == rest.len();
    if fits && (has_address || first.has_port(PORT)) { Probe::Certain } else { Probe::NotForUs }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use weir_common::net::Direction;

    fn first(bytes: &[u8]) -> First<'_> {
        First::of(Carrier::Datagram, Direction::Forward, bytes)
    }

    #[test]
    fn wireguard_is_known_by_its_lengths() {
        let message = |kind: u8, length: usize| {
            let mut bytes = vec![9; length];
            bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
            bytes
        };
        assert_eq!(wireguard(&first(&message(1, 148))), Probe::Certain);
        assert_eq!(wireguard(&first(&message(1, 147))), Probe::NotForUs);
        assert_eq!(wireguard(&first(&message(2, 92))), Probe::Certain);
        assert_eq!(wireguard(&first(&message(3, 64))), Probe::NotForUs);
        let data = |counter: u8| {
            let mut bytes = message(4, 48);
            bytes[8..16].copy_from_slice(&[counter, 0, 0, 0, 0, 0, 0, 0]);
            bytes
        };
        assert_eq!(wireguard(&first(&data(1))), Probe::NotForUs);
        assert_eq!(wireguard(&first(&data(1)).between(51820, 5)), Probe::Likely);
        let (before, this) = (data(1), data(2));
        assert_eq!(wireguard(&First { before: Glimpse::of(&before), ..first(&this) }), Probe::Certain);
        assert_eq!(wireguard(&first(&[1, 0, 0])), Probe::NotForUs);
    }

    #[test]
    fn gtp_needs_its_port_and_its_length() {
        let echo = [0x32, 1, 0, 4, 0, 0, 0, 0, 0, 7, 0, 0];
        assert_eq!(gtp(&first(&echo).between(2123, 2123)), Probe::Certain);
        assert_eq!(gtp(&first(&echo)), Probe::NotForUs);
        assert_eq!(gtp(&first(&echo[..11]).between(2123, 2123)), Probe::NotForUs);
        let second = [0x40, 1, 0, 9, 0, 0, 1, 0, 3, 0, 1, 0, 9];
        assert_eq!(gtp(&first(&second).between(2123, 2123)), Probe::Certain);
    }

    #[test]
    fn teredo_holds_ipv6_that_fits() {
        let mut inner = vec![0; 40];
        inner[0] = 0x60;
        inner[8..12].copy_from_slice(&[0x20, 1, 0, 0]);
        assert_eq!(teredo(&first(&inner)), Probe::Certain);
        let origin = [&[0, 0, 1, 2, 3, 4, 5, 6][..], &inner].concat();
        assert_eq!(teredo(&first(&origin)), Probe::Certain);
        let both = [&[0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0][..], &origin].concat();
        assert_eq!(teredo(&first(&both)), Probe::Certain);
        inner[5] = 1;
        assert_eq!(teredo(&first(&inner)), Probe::NotForUs);
    }

    #[test]
    fn resolvers_answer_with_dnscrypt_s_number() {
        assert_eq!(dnscrypt(&first(b"r6fnvWj8abc")), Probe::Certain);
        assert_eq!(dnscrypt(&first(b"r6fnvWj")), Probe::NotForUs);
    }
}
