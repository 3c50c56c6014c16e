//! Tunnels and encrypted channels that show nothing but what they are.

use super::{Recogniser, line};
use crate::dpi::{First, Glimpse, Probe, Starts};
use weir_common::app::App;

pub(super) const TABLE: &[Recogniser] =
    &[line(App::Wireguard, WIREGUARD_STARTS, wireguard), line(App::Dnscrypt, DNSCRYPT_STARTS, dnscrypt)];

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
    fn resolvers_answer_with_dnscrypt_s_number() {
        assert_eq!(dnscrypt(&first(b"r6fnvWj8abc")), Probe::Certain);
        assert_eq!(dnscrypt(&first(b"r6fnvWj")), Probe::NotForUs);
    }
}
