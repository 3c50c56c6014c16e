//! What is wrong with a frame, as EVE's `anomaly` events of type `decode`, under Suricata's names.
//!
//! In: a frame. Out: the events of its outermost IP packet, in the order in which its headers stand: the first one
//! that leaves the rest unreadable is the last. Off unless `decode.events` says otherwise, as in Suricata; the path of
//! packets counts the same faults without this file. What is deliberately absent: packets in tunnels, checksums, and
//! the transport of fragments.

use super::link;
use crate::capture::Frame;
use weir_common::net::{Address, protocol};

/// A fault of a frame, and what could be read before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeEvent {
    /// Suricata's name, `decoder.` in front.
    pub name: &'static str,
    /// 802.1Q identifiers, outermost first; 0 where there is none.
    pub vlans: [u16; 2],
    /// Source and destination.
    pub ends: Option<[Address; 2]>,
    /// Protocol number of the IP header.
    pub protocol: Option<u8>,
    /// Ports of TCP and UDP.
    pub ports: Option<[u16; 2]>,
    /// Type and code of ICMP and ICMPv6.
    pub icmp: Option<[u8; 2]>,
}

/// Most extension headers of an IPv6 packet that are looked at.
const EXTENSIONS_MAX: usize = 16;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const NO_NEXT: u8 = 59;
const DESTINATION: u8 = 60;

/// TCP's options.
mod option {
    pub(super) const END: u8 = 0;
    pub(super) const NO_OPERATION: u8 = 1;
    pub(super) const SEGMENT_SIZE: u8 = 2;
    pub(super) const WINDOW_SCALE: u8 = 3;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const TIMESTAMPS: u8 = 8;
}

/// Tells each fault of a frame.
#[inline(never)]
pub fn events(frame: &Frame<'_>, each: &mut impl FnMut(DecodeEvent)) {
    let Ok(network) = link::strip(frame.link, frame.data) else { return };
    let (vlans, bytes) = (network.vlans, network.bytes);
    let fault = DecodeEvent { name: "", vlans, ends: None, protocol: None, ports: None, icmp: None };
    match network.version {
        link::Version::V4 => ipv4(bytes, fault, each),
        link::Version::V6 => ipv6(bytes, fault, each),
    }
}

/// RFC 791 section 3.1.
fn ipv4(bytes: &[u8], mut fault: DecodeEvent, each: &mut impl FnMut(DecodeEvent)) {
    let mut tell = |name, fault: DecodeEvent| each(DecodeEvent { name, ..fault });
    let Some(header) = bytes.first_chunk::<20>() else { return tell("decoder.ipv4.pkt_too_small", fault) };
    if header[0] >> 4 != 4 {
        return tell("decoder.ipv4.wrong_ip_version", fault);
    }
    let address = |at: usize| {
        let octets = header.get(at..).and_then(|octets| octets.first_chunk::<4>());
        Address::v4(octets.copied().unwrap_or_default())
    };
    fault.ends = Some([address(12), address(16)]);
    fault.protocol = Some(header[9]);
    let header_len = usize::from(header[0] & 15) * 4;
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header_len < 20 {
        return tell("decoder.ipv4.hlen_too_small", fault);
    }
    if total_len < header_len {
        return tell("decoder.ipv4.iplen_smaller_than_hlen", fault);
    }
    let Some(packet) = bytes.get(..total_len) else { return tell("decoder.ipv4.trunc_pkt", fault) };
    let Some((options, payload)) = packet.get(20..).zip(packet.get(header_len..)) else { return };
    let options = options.get(..header_len - 20).unwrap_or_default();
    ipv4_options(options, &mut |name| tell(name, fault));
    let is_fragment = (u16::from_be_bytes([header[6], header[7]]) & 0x3fff) != 0;
    if !is_fragment {
        upper(header[9], payload, fault, each);
    }
}

fn ipv4_options(options: &[u8], tell: &mut impl FnMut(&'static str)) {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    // Record route, quick start, timestamp, security, both source routes, CIPSO, stream, router alert, each with the
    // lengths it may have.
    const KNOWN: [(u8, u8, u8); 9] = [
        (7, 3, u8::MAX),
        (25, 8, u8::MAX),
        (68, 5, u8::MAX),
        (130, 11, 11),
        (131, 3, u8::MAX),
        (134, 10, u8::MAX),
        (136, 4, 4),
        (137, 3, u8::MAX),
        (148, 4, 4),
    ];
    if !options.len().is_multiple_of(8) {
        tell("decoder.ipv4.opt_pad_required");
    }
    let (mut rest, mut seen) = (options, [false; 256]);
    while let Some((&kind, after)) = rest.split_first() {
        match kind {
            END => return,
            NO_OPERATION => {
                rest = after;
                continue;
            }
            _ => {}
        }
        let Some(&length) = after.first() else { return tell("decoder.ipv4.opt_malformed") };
        let Some(next) = rest.get(usize::from(length)..).filter(|_| length >= 2) else {
            return tell("decoder.ipv4.opt_invalid_len");
        };
        match KNOWN.iter().find(|(known, ..)| *known == kind) {
            None => tell("decoder.ipv4.opt_invalid"),
            Some(_) if std::mem::replace(&mut seen[usize::from(kind)], true) => {
                tell("decoder.ipv4.opt_duplicate");
            }
            Some((_, min, max)) if !(*min..=*max).contains(&length) => {
                tell("decoder.ipv4.opt_invalid_len");
            }
            Some(_) => {}
        }
        rest = next;
    }
}

/// RFC 8200.
fn ipv6(bytes: &[u8], mut fault: DecodeEvent, each: &mut impl FnMut(DecodeEvent)) {
    let mut tell = |name, fault: DecodeEvent| each(DecodeEvent { name, ..fault });
    let Some(header) = bytes.first_chunk::<40>() else { return tell("decoder.ipv6.pkt_too_small", fault) };
    if header[0] >> 4 != 6 {
        return tell("decoder.ipv6.wrong_ip_version", fault);
    }
    let address = |at: usize| {
        let octets = header.get(at..).and_then(|octets| octets.first_chunk::<16>());
        Address::v6(octets.copied().unwrap_or_default())
    };
    fault.ends = Some([address(8), address(24)]);
    fault.protocol = Some(header[6]);
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let Some(mut rest) = bytes.get(40..).and_then(|rest| rest.get(..length)) else {
        return tell("decoder.ipv6.trunc_pkt", fault);
    };
    let (mut next, mut seen, mut is_fragment) = (header[6], [false; 256], false);
    for _ in 0..EXTENSIONS_MAX {
        let duplicate = match next {
            HOP_BY_HOP => "decoder.ipv6.exthdr_dupl_hh",
            ROUTING => "decoder.ipv6.exthdr_dupl_rh",
            FRAGMENT => "decoder.ipv6.exthdr_dupl_fh",
            AUTHENTICATION => "decoder.ipv6.exthdr_dupl_ah",
            DESTINATION => "decoder.ipv6.exthdr_dupl_dh",
            NO_NEXT => {
                if !rest.is_empty() {
                    tell("decoder.ipv6.data_after_none_header", fault);
                }
                return;
            }
            protocol::ICMP => return tell("decoder.ipv6.icmpv4", fault),
            _ => break,
        };
        // Two destination headers may stand around a routing header.
        let is_repeated = std::mem::replace(&mut seen[usize::from(next)], true);
        if is_repeated && !(next == DESTINATION && seen[usize::from(ROUTING)]) {
            tell(duplicate, fault);
        }
        let Some(start) = rest.first_chunk::<8>() else {
            return tell("decoder.ipv6.trunc_exthdr", fault);
        };
        let length = match next {
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(start[1]) + 2) * 4,
            _ => (usize::from(start[1]) + 1) * 8,
        };
        if next == ROUTING && start[2] == 0 {
            tell("decoder.ipv6.exthdr_rh_type_0", fault);
        }
        if next == FRAGMENT {
            let is_whole = u16::from_be_bytes([start[2], start[3]]) & 0xfff9 == 0;
            if is_whole {
                tell("decoder.ipv6.exthdr_useless_fh", fault);
            }
            is_fragment |= !is_whole;
        }
        let Some(after) = rest.get(length..) else { return tell("decoder.ipv6.trunc_exthdr", fault) };
        (next, rest) = (start[0], after);
        fault.protocol = Some(next);
    }
    if !is_fragment {
        upper(next, rest, fault, each);
    }
}

fn upper(number: u8, bytes: &[u8], mut fault: DecodeEvent, each: &mut impl FnMut(DecodeEvent)) {
    fault.protocol = Some(number);
    let mut tell = |name, fault: DecodeEvent| each(DecodeEvent { name, ..fault });
    if matches!(number, protocol::TCP | protocol::UDP) {
        fault.ports = bytes.first_chunk::<4>().map(|bytes| {
            [u16::from_be_bytes([bytes[0], bytes[1]]), u16::from_be_bytes([bytes[2], bytes[3]])]
        });
    }
    match number {
        protocol::TCP => tcp(bytes, &mut |name| tell(name, fault)),
        protocol::UDP => {
            let Some(header) = bytes.first_chunk::<8>() else {
                return tell("decoder.udp.pkt_too_small", fault);
            };
            let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
            if length > bytes.len() {
                tell("decoder.udp.pkt_too_small", fault);
            } else if length < 8 {
                tell("decoder.udp.len_invalid", fault);
            }
        }
        protocol::SCTP if bytes.len() < 12 => tell("decoder.sctp.pkt_too_small", fault),
        protocol::ICMP | protocol::ICMPV6 => {
            let Some([kind, code, ..]) = bytes.first_chunk::<8>().copied() else {
                let is_v4 = number == protocol::ICMP;
                let names = ["decoder.icmpv6.pkt_too_small", "decoder.icmpv4.pkt_too_small"];
                return tell(names[usize::from(is_v4)], fault);
            };
            fault.icmp = Some([kind, code]);
            let name = if number == protocol::ICMP { icmp_v4(kind, code) } else { icmp_v6(kind, code) };
            if let Some(name) = name {
                tell(name, fault);
            }
        }
        _ => {}
    }
}

/// RFC 9293 section 3.1 and IANA's TCP options.
fn tcp(bytes: &[u8], tell: &mut impl FnMut(&'static str)) {
    let Some(header) = bytes.first_chunk::<20>() else { return tell("decoder.tcp.pkt_too_small") };
    let header_len = usize::from(header[12] >> 4) * 4;
    if header_len > bytes.len() {
        return tell("decoder.tcp.hlen_too_small");
    }
    let Some(mut rest) = bytes.get(20..header_len) else { return tell("decoder.tcp.invalid_optlen") };
    let mut seen = [false; 256];
    while let Some((&kind, after)) = rest.split_first() {
        match kind {
            option::END => return,
            option::NO_OPERATION => {
                rest = after;
                continue;
            }
            _ => {}
        }
        let Some(&length) = after.first() else { return };
        let Some(next) = rest.get(usize::from(length)..).filter(|_| length >= 2) else {
            return tell("decoder.tcp.opt_invalid_len");
        };
        let wanted = match kind {
            option::SEGMENT_SIZE => Some(4),
            option::WINDOW_SCALE => Some(3),
            option::SACK_PERMITTED => Some(2),
            option::TIMESTAMPS => Some(10),
            _ => None,
        };
        if let Some(wanted) = wanted {
            if length != wanted {
                tell("decoder.tcp.opt_invalid_len");
            } else if std::mem::replace(&mut seen[usize::from(kind)], true) {
                tell("decoder.tcp.opt_duplicate");
            }
        }
        rest = next;
    }
}

/// RFC 792, RFC 950, RFC 1256; codes as IANA lists them.
fn icmp_v4(kind: u8, code: u8) -> Option<&'static str> {
    let code_max = match kind {
        0 | 4 | 8 | 13..=18 => 0,
        3 => 15,
        5 => 3,
        9 | 10 => u8::MAX,
        11 => 1,
        12 => 2,
        _ => return Some("decoder.icmpv4.unknown_type"),
    };
    (code > code_max).then_some("decoder.icmpv4.unknown_code")
}

/// RFC 4443, RFC 4861, RFC 2710; ranges as IANA lists them.
fn icmp_v6(kind: u8, code: u8) -> Option<&'static str> {
    let code_max = match kind {
        1 => 6,
        2 | 128..=137 => 0,
        3 => 1,
        4 => 2,
        138..=159 => u8::MAX,
        100 | 101 | 200 | 201 => return Some("decoder.icmpv6.experimentation_type"),
        5..=99 | 102..=126 | 160..=199 | 202..=254 => return Some("decoder.icmpv6.unassigned_type"),
        _ => return Some("decoder.icmpv6.unknown_type"),
    };
    (code > code_max).then_some("decoder.icmpv6.unknown_code")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::LinkType;

    fn seen(packet: &[u8]) -> Vec<&'static str> {
        let mut names = Vec::new();
        let data = [&[0; 12][..], if packet[0] >> 4 == 6 { &[0x86, 0xdd] } else { &[8, 0] }, packet].concat();
        let frame =
            Frame { link: LinkType::ETHERNET, data: &data, wire_len: data.len() as u32, ..Frame::EMPTY };
        events(&frame, &mut |event| names.push(event.name));
        names
    }

    fn v4(number: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let (header, total) = (20 + options.len(), 20 + options.len() + payload.len());
        let start = [0x40 | (header / 4) as u8, 0, 0, total as u8, 0, 0, 0, 0, 64, number, 0, 0];
        [&start[..], &[10, 0, 0, 1, 10, 0, 0, 2], options, payload].concat()
    }

    #[test]
    fn lengths_that_contradict_the_bytes_are_named() {
        let whole = v4(17, &[], &[0, 1, 0, 2, 0, 8, 0, 0]);
        assert!(seen(&whole).is_empty());
        assert_eq!(seen(&whole[..27]), ["decoder.ipv4.trunc_pkt"]);
        assert_eq!(seen(&whole[..19]), ["decoder.ipv4.pkt_too_small"]);
        let mut bad = whole.clone();
        bad[0] = 0x44;
        assert_eq!(seen(&bad), ["decoder.ipv4.hlen_too_small"]);
        bad[0] = 0x4f;
        assert_eq!(seen(&bad), ["decoder.ipv4.iplen_smaller_than_hlen"]);
        assert_eq!(seen(&v4(17, &[], &[0, 1, 0, 2, 0, 9, 0, 0])), ["decoder.udp.pkt_too_small"]);
        assert_eq!(seen(&v4(17, &[], &[0, 1, 0, 2, 0, 7, 0, 0])), ["decoder.udp.len_invalid"]);
        assert_eq!(seen(&v4(6, &[], &[0; 19])), ["decoder.tcp.pkt_too_small"]);
        let segment = |offset: u8| [&[0; 12][..], &[offset << 4], &[0; 7]].concat();
        assert_eq!(seen(&v4(6, &[], &segment(6))), ["decoder.tcp.hlen_too_small"]);
        assert_eq!(seen(&v4(6, &[], &segment(4))), ["decoder.tcp.invalid_optlen"]);
        assert!(seen(&v4(6, &[], &segment(5))).is_empty());
    }

    #[test]
    fn options_are_judged() {
        let with = |options: &[u8]| seen(&v4(17, options, &[0, 1, 0, 2, 0, 8, 0, 0]));
        assert_eq!(with(&[1, 1, 1, 0]), ["decoder.ipv4.opt_pad_required"]);
        assert!(with(&[148, 4, 0, 0, 1, 1, 1, 1]).is_empty());
        assert_eq!(with(&[148, 4, 0, 0, 148, 4, 0, 0]), ["decoder.ipv4.opt_duplicate"]);
        assert_eq!(with(&[148, 9, 0, 0, 0, 0, 0, 0]), ["decoder.ipv4.opt_invalid_len"]);
        let twice = ["decoder.ipv4.opt_invalid_len"; 2];
        assert_eq!(with(&[130, 2, 241, 53, 0, 0, 0, 0]), twice);
        assert_eq!(with(&[200, 8, 0, 0, 0, 0, 0, 0]), ["decoder.ipv4.opt_invalid"]);
        assert_eq!(with(&[1, 1, 1, 1, 1, 1, 1, 148]), ["decoder.ipv4.opt_malformed"]);
    }

    #[test]
    fn messages_of_icmp_that_nobody_defines_are_named() {
        let icmp = |kind, code| seen(&v4(1, &[], &[kind, code, 0, 0, 0, 0, 0, 0]));
        assert!(icmp(8, 0).is_empty() && icmp(3, 15).is_empty());
        assert_eq!(icmp(8, 1), ["decoder.icmpv4.unknown_code"]);
        assert_eq!(icmp(1, 0), ["decoder.icmpv4.unknown_type"]);
        assert_eq!(seen(&v4(1, &[], &[8, 0])), ["decoder.icmpv4.pkt_too_small"]);
        let icmp = |kind, code| {
            let header = [&[0x60, 0, 0, 0, 0, 8, 58, 64][..], &[0; 32]].concat();
            seen(&[&header[..], &[kind, code, 0, 0, 0, 0, 0, 0]].concat())
        };
        assert!(icmp(128, 0).is_empty());
        assert_eq!(icmp(128, 3), ["decoder.icmpv6.unknown_code"]);
        assert_eq!(icmp(100, 0), ["decoder.icmpv6.experimentation_type"]);
        assert_eq!(icmp(255, 0), ["decoder.icmpv6.unknown_type"]);
    }

    #[test]
    fn whatever_comes_nothing_breaks() {
        let whole = v4(6, &[7; 8], &[0x5f; 60]);
        for end in 1..whole.len() {
            for value in [0, 0x45, 0x60, 0xff] {
                let mut bytes = whole[..end].to_vec();
                bytes[end - 1] = value;
                seen(&bytes);
                bytes[0] = 0x60;
                seen(&bytes);
            }
        }
    }
}
