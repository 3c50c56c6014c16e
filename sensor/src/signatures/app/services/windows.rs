//! `dcerpc.iface` and `dcerpc.opnum`.
//!
//! In: their values; then a side of a call. Out: whether it is meant. What a call's side is told is the same for
//! DCE/RPC over TCP, over UDP and over SMB's pipes.

use super::shown;
use crate::dpi::buffers::{Buffer, Number, Side, Wanted};
use crate::signatures::packet::{UintTest, Width};
use std::ops::RangeInclusive;

/// Bytes of a UUID's text, with hyphens.
const UUID_BYTES: usize = 36;

/// A test of one of these keywords.
#[derive(Debug)]
pub(in crate::signatures) enum Test {
    Interface(Interface),
    Operations(Operations),
}

/// An interface that was bound and accepted.
#[derive(Debug)]
pub(in crate::signatures) struct Interface {
    /// In lower case with hyphens.
    uuid: String,
    version: Option<UintTest>,
    /// Binds that are no first fragments count as well.
    any_fragment: bool,
}

/// Numbers of operations.
#[derive(Debug)]
pub(in crate::signatures) enum Operations {
    /// Any of these, which have their ends in them.
    List(Vec<RangeInclusive<u32>>),
    Compared(UintTest),
}

/// Reads an option; none: it is none of these keywords.
pub(super) fn option(name: &str, value: Result<&str, String>) -> Option<Result<Test, String>> {
    let read = match name {
        "dcerpc.iface" | "dce_iface" => |value: &str| Interface::parse(value).map(Test::Interface),
        "dcerpc.opnum" | "dce_opnum" => |value: &str| Operations::parse(value).map(Test::Operations),
        _ => return None,
    };
    Some(value.and_then(read))
}

impl Test {
    /// Whether the side is what the rule asks for.
    pub(super) fn holds(&self, side: &Side) -> bool {
        match self {
            Test::Interface(interface) => {
                side.values_of(Buffer::DcerpcIface).any(|value| interface.is(value).unwrap_or(false))
            }
            Test::Operations(operations) => {
                side.numbers_of(Number::DcerpcOpnum).any(|operation| operations.have(operation))
            }
        }
    }

    /// What of sides it reads.
    pub(super) fn wants(&self, wanted: &mut Wanted) {
        match self {
            Test::Interface(_) => wanted.want(Buffer::DcerpcIface),
            Test::Operations(_) => wanted.want_number(Number::DcerpcOpnum),
        }
    }
}

impl Interface {
    /// Reads `UUID`, `UUID,>1`, `UUID,any_frag` or `UUID,>1,any_frag`.
    fn parse(text: &str) -> Result<Interface, String> {
        let mut parts = text.split(',').map(str::trim);
        let uuid = uuid(parts.next().unwrap_or_default())?;
        let mut interface = Interface { uuid, version: None, any_fragment: false };
        for (at, part) in parts.enumerate() {
            match part {
                "any_frag" if !interface.any_fragment => interface.any_fragment = true,
                part if at == 0 => interface.version = Some(UintTest::parse(part, Width::U16)?),
                part => {
                    return Err(format!(
                        "`{}` is not understood: only `any_frag` may stand here",
                        shown(part)
                    ));
                }
            }
        }
        Ok(interface)
    }

    fn is(&self, value: &[u8]) -> Option<bool> {
        let (uuid, rest) = value.split_at_checked(UUID_BYTES)?;
        let [high, low, is_first] = *rest.first_chunk()?;
        let version = u64::from(u16::from_be_bytes([high, low]));
        let is_version = self.version.is_none_or(|wanted| wanted.has(version));
        Some(uuid == self.uuid.as_bytes() && is_version && (self.any_fragment || is_first != 0))
    }
}

/// A UUID with its hyphens or without, as lower-case text with them.
fn uuid(text: &str) -> Result<String, String> {
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];
    let wrong = || format!("`{}` is not a UUID such as 12345678-1234-abcd-ef00-0123456789ab", shown(text));
    let mut uuid = text.to_ascii_lowercase();
    if uuid.len() == UUID_BYTES - HYPHENS.len() && uuid.is_ascii() {
        HYPHENS.iter().for_each(|at| uuid.insert(*at, '-'));
    }
    let is_right = |(at, byte): (usize, u8)| match byte {
        b'-' => HYPHENS.contains(&at),
        byte => byte.is_ascii_hexdigit() && !HYPHENS.contains(&at),
    };
    let is_uuid = uuid.len() == UUID_BYTES && uuid.bytes().enumerate().all(is_right);
    if is_uuid { Ok(uuid) } else { Err(wrong()) }
}

impl Operations {
    /// Reads `12`, `12,24`, `12-14,62-78`, or a comparison such as `>5`.
    fn parse(text: &str) -> Result<Operations, String> {
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return UintTest::parse(text, Width::U16).map(Operations::Compared);
        }
        let number = |text: &str| {
            let text = text.trim();
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let value = text.parse::<u32>().ok().filter(|_| digits);
            value.ok_or_else(|| format!("`{}` is not the number of an operation", shown(text)))
        };
        let mut list = Vec::new();
        for part in text.split(',') {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to) = (number(from)?, number(to)?);
            if to < from {
                return Err(format!("the range {from}-{to} ends before it begins"));
            }
            list.push(from..=to);
        }
        Ok(Operations::List(list))
    }

    fn have(&self, operation: u64) -> bool {
        match self {
            Operations::List(list) => {
                u32::try_from(operation).is_ok_and(|number| list.iter().any(|range| range.contains(&number)))
            }
            Operations::Compared(numbers) => numbers.has(operation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{holds, read};
    use super::*;

    const SVCCTL: &str = "367abb81-9844-35f1-ad32-98f038001003";

    fn told(version: u8, is_first: u8) -> Vec<u8> {
        [SVCCTL.as_bytes(), &[0, version, is_first]].concat()
    }

    #[test]
    fn an_interface_is_its_uuid_its_version_and_its_fragment() {
        let holds = |ask: &str, version, is_first| {
            holds(ask, &[(Buffer::DcerpcIface, &told(version, is_first))], &[])
        };
        for (ask, version, is_first, expected) in [
            ("dcerpc.iface:367abb81-9844-35f1-ad32-98f038001003", 2, 1, true),
            ("dce_iface: 367ABB81-9844-35F1-AD32-98F038001003", 2, 1, true),
            ("dcerpc.iface:367abb81984435f1ad3298f038001003", 2, 1, true),
            ("dcerpc.iface:367abb81-9844-35f1-ad32-98f038001004", 2, 1, false),
            ("dcerpc.iface:367abb81-9844-35f1-ad32-98f038001003", 2, 0, false),
            ("dcerpc.iface:367abb81-9844-35f1-ad32-98f038001003,any_frag", 2, 0, true),
            ("dcerpc.iface:367abb81-9844-35f1-ad32-98f038001003,>1", 2, 1, true),
            ("dcerpc.iface:367abb81-9844-35f1-ad32-98f038001003,>2", 2, 1, false),
            ("dcerpc.iface:367abb81-9844-35f1-ad32-98f038001003,=2,any_frag", 2, 0, true),
            ("dcerpc.iface:367abb81-9844-35f1-ad32-98f038001003,!2, any_frag", 2, 0, false),
            ("dcerpc.iface:367abb81-9844-35f1-ad32-98f038001003,<3", 3, 1, false),
        ] {
            assert_eq!(holds(ask, version, is_first), expected, "{ask} {version} {is_first}");
        }
    }

    #[test]
    fn operations_are_lists_of_ranges_or_comparisons() {
        let holds = |ask: &str, operation| holds(ask, &[], &[(Number::DcerpcOpnum, operation)]);
        for (ask, inside, outside) in [
            ("dcerpc.opnum:12", &[12][..], &[11, 13][..]),
            ("dce_opnum:12,24", &[12, 24], &[13]),
            ("dcerpc.opnum: 12-14, 62-78", &[12, 14, 62, 78], &[11, 15, 79]),
            ("dcerpc.opnum:>5", &[6], &[5]),
            ("dcerpc.opnum:!5", &[6], &[5]),
        ] {
            inside.iter().for_each(|number| assert!(holds(ask, *number), "{ask} {number}"));
            outside.iter().for_each(|number| assert!(!holds(ask, *number), "{ask} {number}"));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_in_words() {
        for wrong in [
            "dcerpc.iface",
            "dcerpc.iface:12345678-1234-1234-1234-12345679ABC",
            "dcerpc.iface:12345678-1234-1234-134-123456789ABCD",
            "dcerpc.iface:12345678-1234-1234-1234-123456789ABC,>1,ay_frag",
            "dcerpc.iface:12345678-1234-1234-1234-123456789ABC,any_frag,any_frag",
            "dcerpc.iface:12345678-1234-1234-1234-123456789ABC,any_frag,>1",
            "dcerpc.iface:12345678-1234-1234-1234-123456789ABC,>65536,any_frag",
            "dcerpc.iface:12345678-1234-1234-1234-123456789ABC,<0,any_frag",
            "dcerpc.iface:12345678-1234-1234-1234-123456789ABC,>65535",
            "dcerpc.iface:12345678-1234-1234-1234-123456789ABC,@1",
            "dcerpc.iface:\u{e9}2345678123412341234123456789ABC",
            "dcerpc.opnum:12,26,6513--",
            "dcerpc.opnum:12-14,62-8",
            "dcerpc.opnum:",
            "dcerpc.opnum:12,",
            "dcerpc.opnum:x",
            "dcerpc.opnum:99999999999",
        ] {
            assert!(matches!(read(wrong), Some(Err(_))), "{wrong}");
        }
        assert!(read("smb.named_pipe").is_none());
    }
}
