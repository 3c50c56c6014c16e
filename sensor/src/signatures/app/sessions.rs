//! Keywords of encrypted sessions that are more than a buffer or a number: of TLS, SSH and IKE.
//!
//! In: a rule's option; then a transaction's side. Out: whether it is what the rule asks for. Times are asked in UTC.
//! Deliberately absent: `tls.store`, for the packets of a handshake are evidence, with the certificates in them.

use super::Refused;
use crate::dpi::buffers::{Buffer, Number, Side, Stage, Wanted};
use crate::signatures::packet::{UintTest, Width};
use std::ops::RangeInclusive;
use weir_common::rule::RuleOption;

/// Words of `ssl_version` and the versions they stand for.
const VERSIONS: [(&str, u16); 6] = [
    ("sslv2", 0x0002),
    ("sslv3", 0x0300),
    ("tls1.0", 0x0301),
    ("tls1.1", 0x0302),
    ("tls1.2", 0x0303),
    ("tls1.3", TLS_1_3),
];
const TLS_1_3: u16 = 0x0304;

/// Words of `ssl_state` and their bits; `unknown` is a state that no side is in.
const STATES: [(&str, u64); 5] = [
    ("client_hello", 1),
    ("server_hello", 1 << 1),
    ("client_keyx", 1 << 2),
    ("server_keyx", 1 << 3),
    ("unknown", 1 << 4),
];
/// The states that are told apart from the hellos.
const KEY_EXCHANGES: u64 = 1 << 2 | 1 << 3;

/// Attributes of `ike.chosen_sa_attribute`.
const ATTRIBUTES: [(&str, Number); 10] = [
    ("alg_enc", Number::IkeAlgEnc),
    ("alg_hash", Number::IkeAlgHash),
    ("alg_auth", Number::IkeAlgAuth),
    ("alg_dh", Number::IkeAlgDh),
    ("alg_prf", Number::IkeAlgPrf),
    ("sa_group_type", Number::IkeSaGroupType),
    ("sa_life_type", Number::IkeSaLifeType),
    ("sa_life_duration", Number::IkeSaLifeDuration),
    ("sa_key_length", Number::IkeSaKeyLength),
    ("sa_field_size", Number::IkeSaFieldSize),
];

/// A test of one of these keywords.
#[derive(Debug)]
pub(in crate::signatures) enum Test {
    /// `tls.version`: this one; drafts of 1.3 count as it unless the rule names a number.
    Version { version: u16, is_exact: bool },
    /// `ssl_version`: one of these, or a known one that is none of them.
    Versions { versions: Vec<u16>, is_negated: bool },
    /// `ssl_state`: a message of one of these kinds was the last, or of none.
    States { bits: u64, is_negated: bool },
    /// `tls_cert_notbefore`, `tls_cert_notafter`: when.
    Moment { number: Number, within: RangeInclusive<u64> },
    /// `tls_cert_expired`, `tls_cert_valid`.
    Expired(bool),
    /// `tls.cert_chain_len`.
    ChainLength(UintTest),
    /// `ssh.protoversion`.
    SshVersion(SshVersion),
    /// `ike.chosen_sa_attribute`.
    Attribute(Number, u64),
}

/// What `ssh.protoversion` asks for.
#[derive(Debug)]
pub(in crate::signatures) enum SshVersion {
    Exactly(Box<[u8]>),
    /// 2, or 1.99, which speaks 2 as well.
    Compatible,
}

impl Test {
    /// Reads an option; none: it is none of these keywords.
    pub(super) fn option(option: &RuleOption) -> Option<Result<Test, Refused>> {
        let value = String::from_utf8_lossy(option.value.as_deref().unwrap_or_default());
        let value = value.trim();
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value).trim();
        let result = match option.name.as_str() {
            "tls.version" => version(bare),
            "ssl_version" => versions(bare),
            "ssl_state" => states(bare),
            "tls_cert_notbefore" => moment(Number::TlsNotBefore, bare),
            "tls_cert_notafter" => moment(Number::TlsNotAfter, bare),
            "tls_cert_expired" => without_value(value, Test::Expired(true)),
            "tls_cert_valid" => without_value(value, Test::Expired(false)),
            "tls.cert_chain_len" => UintTest::parse_inclusive(bare, Width::U32).map(Test::ChainLength),
            "ssh.protoversion" => ssh_version(bare),
            "ike.chosen_sa_attribute" => attribute(bare),
            _ => return None,
        };
        Some(result.map_err(|reason| (option.value_place, reason)))
    }

    /// Whether the side is what the rule asks for.
    pub(super) fn holds(&self, side: &Side) -> bool {
        let any = |number, test: &dyn Fn(u64) -> bool| side.numbers_of(number).any(test);
        match self {
            Test::Version { version, is_exact } => any(Number::TlsVersion, &|have| {
                let have = u16::try_from(have).unwrap_or(0);
                *version == if *is_exact { have } else { without_draft(have) }
            }),
            Test::Versions { versions, is_negated } => any(Number::TlsVersion, &|have| {
                let have = without_draft(u16::try_from(have).unwrap_or(0));
                VERSIONS.iter().any(|(_, known)| *known == have) && versions.contains(&have) != *is_negated
            }),
            Test::States { bits, is_negated } => {
                let expected = if *is_negated { *bits } else { 0 };
                any(Number::TlsState, &|state| state & bits != expected)
                    || any(Number::TlsKeyExchange, &|state| state & bits != expected)
            }
            Test::Moment { number, within } => any(*number, &|moment| within.contains(&moment)),
            Test::Expired(is_expired) => {
                any(Number::TlsNotAfter, &|end| any(Number::TlsCertSeenAt, &|now| (now > end) == *is_expired))
            }
            Test::ChainLength(test) => any(Number::TlsCertChainLen, &|length| test.has(length)),
            Test::SshVersion(SshVersion::Exactly(version)) => {
                side.values_of(Buffer::SshProto).any(|have| have == &**version)
            }
            Test::SshVersion(SshVersion::Compatible) => {
                side.values_of(Buffer::SshProto).any(|have| have == b"1.99" || have.starts_with(b"2"))
            }
            Test::Attribute(number, value) => any(*number, &|have| have == *value),
        }
    }

    /// What of sides it reads.
    pub(super) fn wants(&self, wanted: &mut Wanted) {
        match self {
            Test::Version { .. } | Test::Versions { .. } => wanted.want_number(Number::TlsVersion),
            Test::States { bits, is_negated } => {
                wanted.want_number(Number::TlsState);
                if bits & KEY_EXCHANGES != 0 || *is_negated {
                    wanted.want_number(Number::TlsKeyExchange);
                }
            }
            Test::Moment { number, .. } | Test::Attribute(number, _) => wanted.want_number(*number),
            Test::Expired(_) => {
                wanted.want_number(Number::TlsNotAfter);
                wanted.want_number(Number::TlsCertSeenAt);
            }
            Test::ChainLength(_) => wanted.want_number(Number::TlsCertChainLen),
            Test::SshVersion(_) => wanted.want(Buffer::SshProto),
        }
    }

    /// When it can be asked.
    pub(super) fn stage(&self) -> Stage {
        match self {
            Test::States { bits, .. } if bits & KEY_EXCHANGES != 0 => Stage::Body,
            _ => Stage::Head,
        }
    }
}

/// TLS 1.3 where it is one of its drafts.
fn without_draft(version: u16) -> u16 {
    if version >> 8 == 0x7f { TLS_1_3 } else { version }
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

fn without_value(value: &str, test: Test) -> Result<Test, String> {
    if value.is_empty() { Ok(test) } else { Err("it takes no value".into()) }
}

fn version(value: &str) -> Result<Test, String> {
    if let Some(version) = value.strip_prefix("0x").filter(|digits| digits.len() == 4) {
        let version =
            u16::from_str_radix(version, 16).map_err(|_| "expected four hexadecimal digits behind `0x`")?;
        return Ok(Test::Version { version, is_exact: true });
    }
    let version = match value {
        "1.0" => 0x0301,
        "1.1" => 0x0302,
        "1.2" => 0x0303,
        "1.3" => TLS_1_3,
        other => {
            return Err(format!("`{}` is none of 1.0, 1.1, 1.2, 1.3 and a number as 0x7f12", shown(other)));
        }
    };
    Ok(Test::Version { version, is_exact: false })
}

fn versions(value: &str) -> Result<Test, String> {
    let is_negated = value.starts_with('!');
    let mut versions = Vec::new();
    for word in value.split(',').map(str::trim) {
        let bare = word.strip_prefix('!').unwrap_or(word).trim().to_ascii_lowercase();
        if bare.len() < word.len() && !is_negated {
            return Err("`!` is about all versions or none".into());
        }
        let known = VERSIONS.iter().find(|(name, _)| *name == bare);
        let Some((_, version)) = known else {
            return Err(format!("no version has the name `{}`", shown(word)));
        };
        if versions.contains(version) {
            return Err(format!("`{}` is named twice", shown(word)));
        }
        versions.push(*version);
    }
    Ok(Test::Versions { versions, is_negated })
}

fn states(value: &str) -> Result<Test, String> {
    let (mut bits, mut negated) = (0, 0);
    for word in value.split([',', '|']).map(str::trim) {
        let bare = word.strip_prefix('!').unwrap_or(word).trim();
        let known = STATES.iter().find(|(name, _)| *name == bare);
        let Some((_, bit)) = known else { return Err(format!("no state has the name `{}`", shown(word))) };
        bits |= bit;
        if bare.len() < word.len() {
            negated |= bit;
        }
    }
    if negated != 0 && negated != bits {
        return Err("`!` is about all states or none".into());
    }
    Ok(Test::States { bits, is_negated: negated != 0 })
}

fn ssh_version(value: &str) -> Result<Test, String> {
    if value == "2_compat" {
        return Ok(Test::SshVersion(SshVersion::Compatible));
    }
    let is_version = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !is_version {
        return Err(format!("`{}` is neither a version nor `2_compat`", shown(value)));
    }
    Ok(Test::SshVersion(SshVersion::Exactly(value.as_bytes().into())))
}

fn attribute(value: &str) -> Result<Test, String> {
    let (name, value) = value.split_once('=').ok_or("expected an attribute, `=` and its value")?;
    let known = ATTRIBUTES.iter().find(|(known, _)| *known == name.trim());
    let (_, number) = known.ok_or_else(|| format!("no attribute has the name `{}`", shown(name)))?;
    let value: u32 = value.trim().parse().map_err(|_| format!("`{}` is not a number", shown(value)))?;
    Ok(Test::Attribute(*number, value.into()))
}

/// `2015`, `>2015`, `<2015-10-22`, `2015-10-22<>2016`: both ends belong to a range, as in Suricata.
fn moment(number: Number, value: &str) -> Result<Test, String> {
    let read = |text: &str| {
        let text = text.trim();
        seconds(text).ok_or_else(|| format!("`{}` is not a date", shown(text)))
    };
    let within = if let Some((from, to)) = value.split_once("<>") {
        let (from, to) = (read(from)?, read(to)?);
        if to <= from {
            return Err("the second date is not behind the first".into());
        }
        from..=to
    } else if let Some(to) = value.strip_prefix('<') {
        0..=read(to)?
    } else if let Some(from) = value.strip_prefix('>') {
        read(from)?..=u64::MAX
    } else {
        let at = read(value)?;
        at..=at
    };
    Ok(Test::Moment { number, within })
}

/// Seconds since 1970 of `1445852105`, `2015`, `2015-10`, `2015-10-22`, `2015-10-22 23`, `2015-10-22T23:59` or
/// `2015-10-22 23:59:59`.
fn seconds(text: &str) -> Option<u64> {
    const YEAR_DIGITS: usize = 4;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: u64 = text.parse().ok()?;
        let is_year = text.len() == YEAR_DIGITS && number >= 1970;
        return Some(if is_year { days_before(number, 1, 1) * 86_400 } else { number });
    }
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(time.trim())),
        None => (text, None),
    };
    let mut date = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month) = (date.next()??, date.next()??);
    let day = date.next().unwrap_or(Some(1))?;
    let mut clock = [0u64; 3];
    if let Some(time) = time {
        let mut parts = time.split(':');
        for (place, part) in clock.iter_mut().zip(&mut parts) {
            *place = part.parse().ok()?;
        }
        if parts.next().is_some() {
            return None;
        }
    }
    let [hour, minute, second] = clock;
    let fits = date.next().is_none()
        && (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    fits.then(|| days_before(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar.
fn days_before(year: u64, month: u64, day: u64) -> u64 {
    // A year that begins with March has its leap day at its end.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    const DAYS_TO_1970: u64 = 719_468;
    let of_years = year * 365 + year / 4 - year / 100 + year / 400;
    of_years + (month * 153 + 2) / 5 + day - 1 - DAYS_TO_1970
}

#[cfg(test)]
mod tests {
    use super::super::testing::{holds, reason};
    use super::*;

    fn version_is(option: &str, version: u64) -> bool {
        holds(option, &[], &[(Number::TlsVersion, version)])
    }

    #[test]
    fn versions_are_named_or_numbers() {
        assert!(version_is("tls.version:1.2", 0x0303) && !version_is("tls.version:1.2", 0x0304));
        assert!(version_is("tls.version:1.3", 0x7f12) && !version_is("tls.version:0x7f13", 0x7f12));
        assert!(version_is("tls.version:\"1.0\"", 0x0301) && version_is("tls.version:0x7f12", 0x7f12));
        assert!(version_is("ssl_version:sslv3", 0x0300) && version_is("ssl_version: SSLv2 , tls1.0", 0x0301));
        assert!(version_is("ssl_version:!sslv3", 0x0301) && !version_is("ssl_version:!sslv3", 0x0300));
        assert!(
            !version_is("ssl_version:!tls1.3,tls1.2", 0x0304)
                && version_is("ssl_version:!tls1.3,tls1.2", 0x0301)
        );
        // What is no version is none of them either.
        assert!(!version_is("ssl_version:!sslv3", 0x1234));
        for wrong in
            ["tls.version:1.4", "tls.version:", "ssl_version:tls1.1,!tls1.2", "ssl_version:tls1.1,tls1.1"]
        {
            assert!(!reason(wrong).is_empty(), "{wrong}");
        }
    }

    #[test]
    fn states_are_those_of_the_last_message() {
        let hello = [(Number::TlsState, 1)];
        assert!(
            holds("ssl_state:client_hello", &[], &hello) && !holds("ssl_state:server_hello", &[], &hello)
        );
        assert!(holds("ssl_state:server_hello|client_hello", &[], &hello));
        assert!(
            holds("ssl_state:!server_hello", &[], &hello) && !holds("ssl_state:!client_hello", &[], &hello)
        );
        assert!(holds("ssl_state:client_keyx,server_keyx", &[], &[(Number::TlsKeyExchange, 4)]));
        for wrong in ["ssl_state:| server_hello", "ssl_state:x", "ssl_state:client_hello,!server_hello"] {
            assert!(!reason(wrong).is_empty(), "{wrong}");
        }
    }

    #[test]
    fn dates_are_read_in_every_form() {
        for (text, expected) in [
            ("1445852105", Some(1_445_852_105)),
            ("2015", Some(1_420_070_400)),
            ("2015-10", Some(1_443_657_600)),
            ("2015-10-22", Some(1_445_472_000)),
            ("2015-10-22 23", Some(1_445_554_800)),
            ("2015-10-22 23:59", Some(1_445_558_340)),
            ("2015-10-22T23:59:59", Some(1_445_558_399)),
            ("2000-02-29", Some(951_782_400)),
            ("1970-01-01", Some(0)),
            ("2015-13-01", None),
            ("2015-10-22 25", None),
            ("2015-10-22 23:59:59:1", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn validity_is_compared_with_both_ends() {
        let moments =
            [(Number::TlsNotBefore, 1000), (Number::TlsNotAfter, 2000), (Number::TlsCertSeenAt, 2001)];
        for (option, expected) in [
            ("tls_cert_notbefore:1000", true),
            ("tls_cert_notbefore:<1000", true),
            ("tls_cert_notbefore:>1001", false),
            ("tls_cert_notafter:>1998-05-01", false),
            ("tls_cert_notafter:1000<>1970-01-02", true),
            ("tls_cert_expired", true),
            ("tls_cert_valid", false),
        ] {
            assert_eq!(holds(option, &[], &moments), expected, "{option}");
        }
        assert!(!holds("tls_cert_expired", &[], &[]) && !holds("tls_cert_valid", &[], &[]));
        for wrong in ["tls_cert_notafter:2001<>2000", "tls_cert_notafter:", "tls_cert_expired:1"] {
            assert!(!reason(wrong).is_empty(), "{wrong}");
        }
    }

    #[test]
    fn ssh_ike_and_chains_have_their_values() {
        assert!(holds("ssh.protoversion:2_compat", &[(Buffer::SshProto, b"1.99")], &[]));
        assert!(holds("ssh.protoversion:2_compat", &[(Buffer::SshProto, b"2.0")], &[]));
        assert!(!holds("ssh.protoversion:1.10", &[(Buffer::SshProto, b"1.1")], &[]));
        assert!(holds("ike.chosen_sa_attribute:alg_hash=2", &[], &[(Number::IkeAlgHash, 2)]));
        assert!(!holds(
            "ike.chosen_sa_attribute: sa_key_length = 128",
            &[],
            &[(Number::IkeSaKeyLength, 256)]
        ));
        assert!(holds("tls.cert_chain_len:>1", &[], &[(Number::TlsCertChainLen, 2)]));
        for wrong in
            ["ike.chosen_sa_attribute:alg_x=1", "ike.chosen_sa_attribute:alg_enc", "ssh.protoversion:x"]
        {
            assert!(!reason(wrong).is_empty(), "{wrong}");
        }
    }
}
