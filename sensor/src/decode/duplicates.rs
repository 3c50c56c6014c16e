//! Packets that a SPAN port copied: the same one, seen when it entered and when it left the switch.
//!
//! In: captured bytes from the IP header on, and times. Out: whether they were seen within the window. Holds one
//! fingerprint and time per slot; a newer packet takes an older one's slot, so that memory is bounded and a copy can
//! be missed where very many packets come between.

use foldhash::quality::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use weir_common::time::Timestamp;

/// Packets remembered: ten milliseconds at three million packets a second.
const SLOTS: usize = 1 << 15;

/// What was seen lately.
pub(super) struct Duplicates {
    window_ns: u64,
    hasher: RandomState,
    slots: Box<[(u64, Timestamp)]>,
}

impl Duplicates {
    /// Remembers for so many milliseconds; nothing for 0.
    pub(super) fn new(window_ms: u32) -> Option<Duplicates> {
        (window_ms > 0).then(|| Duplicates {
            window_ns: u64::from(window_ms) * 1_000_000,
            hasher: RandomState::default(),
            slots: vec![(0, Timestamp::MIN); SLOTS].into(),
        })
    }

    /// Whether the packet was seen within the window. `packet` begins with its IP header.
    pub(super) fn is_copy(&mut self, packet: &[u8], time: Timestamp) -> bool {
        let mut hasher = self.hasher.build_hasher();
        // A router in between changes TTL and checksum; nothing else of IPv4, and of IPv6 the hop limit.
        match packet.first().map(|first| first >> 4) {
            Some(4) if packet.len() >= 20 => {
                hasher.write(&packet[..8]);
                hasher.write(&packet[9..10]);
                hasher.write(&packet[12..]);
            }
            Some(6) if packet.len() >= 40 => {
                hasher.write(&packet[..7]);
                hasher.write(&packet[8..]);
            }
            _ => hasher.write(packet),
        }
        let hash = hasher.finish();
        let Some(slot) = self.slots.get_mut(hash as usize & (SLOTS - 1)) else { return false };
        let (seen, since) = std::mem::replace(slot, (hash, time));
        seen == hash && time.0.abs_diff(since.0) <= self.window_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(ttl: u8, last: u8) -> Vec<u8> {
        let mut packet = vec![0x45; 40];
        (packet[8], packet[10], packet[39]) = (ttl, ttl, last);
        packet
    }

    #[test]
    fn a_copy_is_known_within_the_window_also_behind_a_router() {
        let ms = |ms: u64| Timestamp(1_000_000_000 + ms * 1_000_000);
        let mut duplicates = Duplicates::new(5).unwrap();
        assert!(!duplicates.is_copy(&packet(64, 1), ms(0)));
        assert!(duplicates.is_copy(&packet(64, 1), ms(5)));
        assert!(duplicates.is_copy(&packet(63, 1), ms(10)));
        assert!(!duplicates.is_copy(&packet(63, 1), ms(16)));
        assert!(!duplicates.is_copy(&packet(63, 2), ms(16)));
        assert!(Duplicates::new(0).is_none());
    }
}
