//! Points in time, in nanoseconds, as every stage passes them.
//!
//! In: nanoseconds since the Unix epoch, or the text forms users write. Out: the text forms that
//! RFC 3339, Suricata's EVE and scripts expect. Never reads a clock: `now` is always an argument.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const SECONDS_PER_DAY: u64 = 86_400;

/// Nanoseconds since 1970-01-01T00:00:00Z; good until the year 2554.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// Why a text is not a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a time: expected RFC 3339 (2026-11-20T12:00:00Z), a Unix time (1763640000.5) or `10m ago`"
)]
pub struct TimeError {
    text: String,
}

impl Timestamp {
    /// The earliest time that can be said.
    pub const MIN: Timestamp = Timestamp(0);
    /// The latest time that can be said.
    pub const MAX: Timestamp = Timestamp(u64::MAX);

    /// From whole seconds and nanoseconds of a second, saturating at the end of the range.
    pub const fn from_parts(seconds: u64, nanos: u32) -> Timestamp {
        Timestamp(seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(nanos as u64))
    }

    /// Whole seconds since the epoch.
    pub const fn seconds(self) -> u64 {
        self.0 / NANOS_PER_SECOND
    }

    /// Nanoseconds within the second.
    pub const fn subsec_nanos(self) -> u32 {
        (self.0 % NANOS_PER_SECOND) as u32
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Time passed since `earlier`; zero when `earlier` is later, as a stepped clock makes it.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This time plus a duration, saturating.
    pub fn plus(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// This time minus a duration, saturating at the epoch.
    pub fn minus(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Reads what a user writes: RFC 3339, seconds since the epoch, or an age such as `10m ago`.
    pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, TimeError> {
        let trimmed = text.trim();
        parse_ago(trimmed, now)
            .or_else(|| if trimmed == "now" { Some(now) } else { None })
            .or_else(|| parse_unix(trimmed))
            .or_else(|| parse_rfc3339(trimmed))
            .ok_or_else(|| TimeError { text: text.to_owned() })
    }

    /// `2026-11-20T12:00:00.123456+0000`, the form of EVE's `timestamp`.
    pub fn eve(self) -> EveTime {
        EveTime(self)
    }

    /// `1763640000.123456789`, seconds with nine decimals, for scripts.
    pub fn unix(self) -> UnixTime {
        UnixTime(self)
    }

    fn civil(self) -> Civil {
        let seconds = self.seconds();
        let (year, month, day) = civil_from_days((seconds / SECONDS_PER_DAY) as i64);
        let of_day = seconds % SECONDS_PER_DAY;
        Civil { year, month, day, hour: of_day / 3600, minute: of_day / 60 % 60, second: of_day % 60 }
    }
}

/// RFC 3339 in UTC with nanoseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second } = self.civil();
        let nanos = self.subsec_nanos();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
    }
}

/// Display in EVE's form; see [`Timestamp::eve`].
#[derive(Clone, Copy, Debug)]
pub struct EveTime(Timestamp);

impl fmt::Display for EveTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second } = self.0.civil();
        let micros = self.0.subsec_nanos() / 1000;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}+0000")
    }
}

/// Display as decimal seconds; see [`Timestamp::unix`].
#[derive(Clone, Copy, Debug)]
pub struct UnixTime(Timestamp);

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0.seconds(), self.0.subsec_nanos())
    }
}

struct Civil {
    year: i64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

/// Days since the epoch to a date (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil_from_days(days: i64) -> (i64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_shifted + 2) / 5 + 1) as u64;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 } as u64;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A date to days since the epoch; the inverse of [`civil_from_days`].
fn days_from_civil(year: i64, month: u64, day: u64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_shifted = (month as i64 + 9) % 12;
    let day_of_year = (153 * month_shifted + 2) / 5 + day as i64 - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn parse_ago(text: &str, now: Timestamp) -> Option<Timestamp> {
    let age = text.strip_suffix("ago")?.trim();
    parse_duration(age).map(|age| now.minus(age))
}

/// A duration as users write it: a number and one of `ns us ms s m h d w`, without sign.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "sec" | "second" | "seconds" => 1.0,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        "w" | "week" | "weeks" => 604_800.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * seconds).ok()
}

fn parse_unix(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if whole.is_empty() || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: u64 = whole.parse().ok()?;
    (seconds < u64::MAX / NANOS_PER_SECOND).then_some(())?;
    Some(Timestamp::from_parts(seconds, parse_fraction(fraction)?))
}

/// Decimals of a second to nanoseconds; digits past the ninth are cut.
fn parse_fraction(digits: &str) -> Option<u32> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let kept = &digits[..digits.len().min(9)];
    Some(kept.parse::<u32>().ok()? * 10u32.pow(9 - kept.len() as u32))
}

fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let separators = [(4, b"-"), (7, b"-"), (13, b":"), (16, b":")];
    if bytes.len() < 19 || separators.iter().any(|(at, want)| bytes[*at] != want[0]) {
        return None;
    }
    if !matches!(bytes[10], b'T' | b't' | b' ') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = text.get(19..)?;
    let zone_at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (fraction, zone) = rest.split_at(zone_at);
    let nanos = match fraction.strip_prefix('.') {
        Some(digits) => parse_fraction(digits)?,
        None if fraction.is_empty() => 0,
        None => return None,
    };
    let local = days_from_civil(year as i64, month, day) * SECONDS_PER_DAY as i64
        + (hour * 3600 + minute * 60 + second) as i64;
    let seconds = u64::try_from(local - parse_zone(zone)?).ok()?;
    Some(Timestamp::from_parts(seconds, nanos))
}

/// `Z`, `+02:00` or `+0200` to seconds east of UTC; nothing at all means UTC.
fn parse_zone(zone: &str) -> Option<i64> {
    let sign = match zone.bytes().next() {
        None => return Some(0),
        Some(b'Z' | b'z') => return (zone.len() == 1).then_some(0),
        Some(b'+') => 1,
        Some(_) => -1,
    };
    let digits: String = zone[1..].chars().filter(|c| *c != ':').collect();
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i64, i64) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_parts(1_763_640_000, 0);

    #[test]
    fn every_form_a_user_writes_is_read() {
        for (text, seconds, nanos) in [
            ("2025-11-20T12:00:00Z", 1_763_640_000, 0),
            ("2025-11-20T14:00:00.5+02:00", 1_763_640_000, 500_000_000),
            ("2025-11-20 12:00:00.123456789Z", 1_763_640_000, 123_456_789),
            ("1763640000.25", 1_763_640_000, 250_000_000),
            ("1763640000", 1_763_640_000, 0),
            ("10m ago", 1_763_639_400, 0),
            ("1.5h ago", 1_763_634_600, 0),
            ("now", 1_763_640_000, 0),
        ] {
            assert_eq!(Timestamp::parse(text, NOW), Ok(Timestamp::from_parts(seconds, nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in
            ["", "yesterday", "2025-13-01T00:00:00Z", "12:00", "10x ago", "-5", "2025-11-20T12:00:00+9", "é"]
        {
            assert!(Timestamp::parse(text, NOW).is_err(), "{text}");
        }
    }

    #[test]
    fn text_and_time_agree_in_both_directions() {
        for seconds in [0, 951_782_400, 951_868_799, 1_763_640_000, 4_102_444_799, 16_725_225_600] {
            let time = Timestamp::from_parts(seconds, 7);
            assert_eq!(Timestamp::parse(&time.to_string(), NOW), Ok(time));
            assert_eq!(Timestamp::parse(&time.unix().to_string(), NOW), Ok(time));
        }
        assert_eq!(NOW.eve().to_string(), "2025-11-20T12:00:00.000000+0000");
    }
}
