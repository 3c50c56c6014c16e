//! IPFIX's times: NTP's 64-bit form (RFC 7011 section 6.1.10) to nanoseconds and back, exactly.
//!
//! In: a [`Timestamp`] or eight octets. Out: the other. The 32 bits of seconds are read as the years
//! 1970 to 2106: NTP's first era from 1970 on, and its second era, which begins on 2036-02-07.

use crate::time::Timestamp;

/// Seconds from NTP's epoch (1900) to Unix's (1970).
const NTP_TO_UNIX_S: u32 = 2_208_988_800;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The NTP form. Times after 2106-02-07 cannot be said and become the last nanosecond that can.
#[inline]
pub fn to_ntp(time: Timestamp) -> u64 {
    let (seconds, nanos) = match u32::try_from(time.seconds()) {
        Ok(seconds) => (seconds, u64::from(time.subsec_nanos())),
        Err(_) => (u32::MAX, NANOS_PER_SECOND - 1),
    };
    // Rounded up, so that the way back gives the same nanosecond to those who cut (tshark, nfdump) as
    // well as to those who round, as this file does.
    let fraction = (nanos << 32).div_ceil(NANOS_PER_SECOND);
    u64::from(seconds.wrapping_add(NTP_TO_UNIX_S)) << 32 | fraction
}

/// The nanosecond nearest to an NTP time.
#[inline]
pub fn from_ntp(ntp: u64) -> Timestamp {
    let seconds = u64::from(((ntp >> 32) as u32).wrapping_sub(NTP_TO_UNIX_S));
    let nanos = ((ntp & 0xffff_ffff) * NANOS_PER_SECOND + (1 << 31)) >> 32;
    Timestamp(seconds * NANOS_PER_SECOND + nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times_have_their_known_form() {
        assert_eq!(to_ntp(Timestamp(0)), 2_208_988_800 << 32);
        assert_eq!(to_ntp(Timestamp::from_parts(1, 500_000_000)), 2_208_988_801 << 32 | 0x8000_0000);
        // The second era: 2036-02-07T06:28:16Z has NTP seconds 0.
        assert_eq!(to_ntp(Timestamp::from_parts(2_085_978_496, 0)), 0);
        assert_eq!(from_ntp(0), Timestamp::from_parts(2_085_978_496, 0));
    }

    #[test]
    fn the_last_time_that_can_be_said_is_what_later_times_become() {
        let last = Timestamp::from_parts(u64::from(u32::MAX), 999_999_999);
        assert_eq!(from_ntp(to_ntp(last)), last);
        assert_eq!(from_ntp(to_ntp(Timestamp(last.0 + 1))), last);
        assert_eq!(from_ntp(to_ntp(Timestamp::MAX)), last);
    }

    proptest! {
        #[test]
        fn every_nanosecond_survives(seconds in any::<u32>(), nanos in 0..1_000_000_000u32) {
            let time = Timestamp::from_parts(u64::from(seconds), nanos);
            prop_assert_eq!(from_ntp(to_ntp(time)), time);
            let cut = ((to_ntp(time) & 0xffff_ffff) * 1_000_000_000) >> 32;
            prop_assert_eq!(cut, u64::from(nanos));
        }

        #[test]
        fn a_fraction_that_was_cut_down_gives_the_same_nanosecond(nanos in 0..1_000_000_000u64) {
            let cut = (nanos << 32) / 1_000_000_000;
            prop_assert_eq!(from_ntp(2_208_988_800 << 32 | cut), Timestamp(nanos));
        }
    }
}
