//! The control connection between sensor and collector: its messages, names and limits.
//!
//! In: what either side has to say. Out: protobuf, as `control.proto` describes it. Deliberately absent: sockets, TLS,
//! gRPC's framing and every decision; those belong to the two programs. The messages are in the Protobuf form because
//! it passes over what it does not know, so that a newer collector and an older sensor understand one another.

pub mod messages;

/// The port that collectors listen on for it.
pub const PORT: u16 = 4741;
/// The unary call that gives a certificate for a token.
pub const REDEEM_PATH: &str = "/weir.control.v1.Pairing/Redeem";
/// The call that the connection consists of.
pub const CONNECT_PATH: &str = "/weir.control.v1.Control/Connect";
/// Longest message of either side, in bytes. A longer one ends the connection before it is read.
pub const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Bytes of packets or rules in one message.
pub const PART_BYTES: usize = 64 << 10;
/// How often a sensor tells its health, in seconds; the sign that it lives.
pub const HEALTH_INTERVAL_S: u64 = 5;
/// After this many seconds without any message a sensor is taken to be gone.
pub const SILENT_MAX_S: u64 = 30;
/// How often either side asks, on HTTP/2's own level, whether the other is there, in seconds.
pub const KEEP_ALIVE_S: u64 = 10;
/// How long an answer to that may take, in seconds: a connection that lost its other end is over after both.
pub const KEEP_ALIVE_WAIT_S: u64 = 10;
/// Most files of rules and indicators.
pub const RULES_FILES_MAX: usize = 1024;
/// Most bytes of rules and indicators together: two hundred thousand rules, as the largest public sets are a quarter of.
pub const RULES_BYTES_MAX: u64 = 64 << 20;
/// Longest name of a file of rules, in bytes.
pub const RULES_NAME_BYTES_MAX: usize = 200;
/// From this clock difference on it is said, in seconds.
pub const CLOCK_DIFFERENCE_MAX_S: u64 = 2;

/// What a side may understand beside what every version does.
pub mod capability {
    /// Records are acknowledged.
    pub const ACKNOWLEDGEMENTS: &str = "acknowledgements";
    /// The sensor has a ring and answers with packets from it.
    pub const EVIDENCE: &str = "evidence";
    /// It can pin them.
    pub const EVIDENCE_PIN: &str = "evidence.pin";
    /// The sensor takes rules.
    pub const RULES: &str = "rules";
    /// Certificates are renewed over the connection.
    pub const RENEWAL: &str = "renewal";
}

/// The bytes that the authority signs for a manifest of rules: never those of another kind of document.
pub fn signed_manifest(manifest: &[u8]) -> Vec<u8> {
    [b"weir rules manifest v1\0", manifest].concat()
}

/// Whether a file of rules may have this name: one plain component that nothing takes for a hidden file, an option
/// or a file on its way.
pub fn is_rules_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=RULES_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with(['.', '-'])
        && !name.ends_with(".part")
}

/// By how much a clock is ahead of another, in milliseconds; negative: behind.
pub fn clock_ahead_ms(theirs_ns: u64, ours_ns: u64) -> i64 {
    let difference = i128::from(theirs_ns) - i128::from(ours_ns);
    i64::try_from(difference / 1_000_000).unwrap_or(i64::MAX)
}

/// That difference for a person; none when it is not worth a word.
pub fn clock_words(ahead_ms: i64, whose: &str) -> Option<String> {
    let seconds = ahead_ms.unsigned_abs() / 1000;
    let direction = if ahead_ms > 0 { "ahead of" } else { "behind" };
    (seconds >= CLOCK_DIFFERENCE_MAX_S).then(|| {
        format!("the clock here is {seconds} s {direction} {whose}; set both by NTP, or records and packets will not be found by time")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_rules_is_one_plain_component() {
        for name in ["a.rules", "emerging-scan_2.rules", "bad_hosts.lst", "9"] {
            assert!(is_rules_name(name), "{name}");
        }
        let long = "a".repeat(RULES_NAME_BYTES_MAX + 1);
        for name in [
            "",
            ".",
            "..",
            "../a.rules",
            "a/b.rules",
            ".hidden",
            "-w",
            "a b",
            "a\0",
            "ä.rules",
            "x.part",
            &long,
        ] {
            assert!(!is_rules_name(name), "{name}");
        }
    }

    #[test]
    fn a_clock_difference_is_said_from_two_seconds_on_and_absurd_ones_do_not_overflow() {
        assert_eq!(clock_words(clock_ahead_ms(1_999_000_000, 0), "x"), None);
        assert!(
            clock_words(clock_ahead_ms(0, 7_000_000_000), "the collector's")
                .unwrap()
                .contains("7 s behind the collector's")
        );
        assert!(clock_words(clock_ahead_ms(u64::MAX, 0), "x").unwrap().contains("ahead of x"));
        assert_eq!(clock_ahead_ms(0, u64::MAX), -(u64::MAX as i128 / 1_000_000) as i64);
    }
}
