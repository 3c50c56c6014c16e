//! `ipopts`: which option an IPv4 header has (RFC 791 section 3.1, IANA's IP option numbers).
//!
//! In: the option's name; then a packet. Out: whether its header has a sound one. An option of an impossible length ends
//! the list, and one whose own fields contradict its length is not there, as in Suricata.

use super::field::v4;
use super::number::shown;
use crate::decode::Packet;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const QUICK_START: u8 = 25;
const TIMESTAMP: u8 = 68;
const SECURITY: u8 = 130;
const LOOSE_ROUTE: u8 = 131;
const EXTENDED_SECURITY: u8 = 133;
const CIPSO: u8 = 134;
const STREAM: u8 = 136;
const STRICT_ROUTE: u8 = 137;
const ROUTER_ALERT: u8 = 148;

const NAMES: &[(&str, u8)] = &[
    ("eol", END),
    ("nop", NO_OPERATION),
    ("rr", RECORD_ROUTE),
    ("qs", QUICK_START),
    ("ts", TIMESTAMP),
    ("sec", SECURITY),
    ("lsrr", LOOSE_ROUTE),
    ("esec", EXTENDED_SECURITY),
    ("cipso", CIPSO),
    ("satid", STREAM),
    ("ssrr", STRICT_ROUTE),
    ("rtralt", ROUTER_ALERT),
];

/// An option; `None`: any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::signatures) struct IpOption(Option<u8>);

impl IpOption {
    pub(super) fn parse(text: &str) -> Result<IpOption, String> {
        if text.eq_ignore_ascii_case("any") {
            return Ok(IpOption(None));
        }
        match NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            Some((_, number)) => Ok(IpOption(Some(*number))),
            None => Err(format!("no IP option has the name `{}`", shown(text))),
        }
    }

    pub(super) fn is_in(self, packet: &Packet<'_>) -> bool {
        let header = v4(packet).then(|| packet.ip_header()).flatten();
        let mut rest = header.and_then(|header| header.get(20..)).unwrap_or_default();
        while let [kind, after @ ..] = rest {
            let is_wanted = self.0.is_none_or(|wanted| wanted == *kind);
            if matches!(*kind, END | NO_OPERATION) {
                if is_wanted {
                    return true;
                }
                if *kind == END {
                    return false;
                }
                rest = after;
                continue;
            }
            let length = after.first().copied().unwrap_or_default();
            let Some((this, next)) = rest.split_at_checked(length.into()).filter(|_| length >= 2) else {
                return false;
            };
            if is_wanted && is_sound(*kind, this) {
                return true;
            }
            rest = next;
        }
        false
    }
}

/// Whether a known option's fields agree with its length.
fn is_sound(kind: u8, option: &[u8]) -> bool {
    let length = option.len();
    // Pointers count from 1, kind and length included.
    let pointer = usize::from(option.get(2).copied().unwrap_or_default());
    match kind {
        RECORD_ROUTE | LOOSE_ROUTE | STRICT_ROUTE => {
            pointer >= 4 && pointer.is_multiple_of(4) && pointer <= length + 1
        }
        TIMESTAMP => {
            let entry = match option.get(3).map(|flags| flags & 0x0f) {
                Some(0) => 4,
                Some(1 | 3) => 8,
                _ => return false,
            };
            length >= 5 && pointer >= 5 && (pointer - 5).is_multiple_of(entry) && pointer <= length + 1
        }
        SECURITY => length == 11,
        STREAM | ROUTER_ALERT => length == 4,
        CIPSO => length >= 10,
        QUICK_START | EXTENDED_SECURITY => length >= 3,
        _ => false,
    }
}
