//! Faults of IPv4 with its options and of IPv6 with its extension headers.

use super::Walk;
use weir_common::net::{Address, protocol};

/// IANA protocol numbers of extension headers.
mod header {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const ESP: u8 = 50;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const NO_NEXT: u8 = 59;
    pub(super) const DESTINATION: u8 = 60;
    pub(super) const MOBILITY: u8 = 135;
    pub(super) const HIP: u8 = 139;
    pub(super) const SHIM6: u8 = 140;
}

/// IANA protocol numbers of what else Suricata decodes.
mod number {
    pub(super) const IGMP: u8 = 2;
    pub(super) const IP_IN_IP: u8 = 4;
    pub(super) const IPV6: u8 = 41;
    pub(super) const GRE: u8 = 47;
}

const V4_BYTES: usize = 20;
const V6_BYTES: usize = 40;
/// Longest datagram that fragments may make, in bytes: of IPv4 with its header, of IPv6 without the fixed one.
const DATAGRAM_BYTES_MAX: usize = 65_535;

impl Walk<'_> {
    /// RFC 791 section 3.1.
    pub(super) fn ipv4(&mut self, bytes: &[u8]) {
        if !self.enter() {
            return;
        }
        let Some(header) = bytes.first_chunk::<V4_BYTES>() else {
            return self.fail("decoder.ipv4.pkt_too_small");
        };
        if header[0] >> 4 != 4 {
            return self.fail("decoder.ipv4.wrong_ip_version");
        }
        let address = |at: usize| {
            let octets = header.get(at..).and_then(|octets| octets.first_chunk::<4>());
            Address::v4(octets.copied().unwrap_or_default())
        };
        self.fault.ends = Some([address(12), address(16)]);
        self.fault.protocol = Some(header[9]);
        let header_len = usize::from(header[0] & 15) * 4;
        let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header_len < V4_BYTES {
            return self.fail("decoder.ipv4.hlen_too_small");
        }
        if total_len < header_len {
            return self.fail("decoder.ipv4.iplen_smaller_than_hlen");
        }
        let Some(packet) = bytes.get(..total_len) else { return self.fail("decoder.ipv4.trunc_pkt") };
        self.is_guess = false;
        let Some((header_bytes, payload)) = packet.split_at_checked(header_len) else { return };
        self.ipv4_options(header_bytes.get(V4_BYTES..).unwrap_or_default());
        let offset_word = u16::from_be_bytes([header[6], header[7]]);
        if offset_word & 0x3fff != 0 {
            // What it carries is told with the whole datagram.
            let end = V4_BYTES + usize::from(offset_word & 0x1fff) * 8 + payload.len();
            if end > DATAGRAM_BYTES_MAX {
                self.tell("decoder.ipv4.frag_pkt_too_large");
            }
            return;
        }
        self.above_ipv4(header[9], payload);
    }

    fn above_ipv4(&mut self, next: u8, payload: &[u8]) {
        match next {
            number::IP_IN_IP => self.inside(|inner| inner.ipv4(payload)),
            number::IPV6 => self.inside(|inner| inner.ipv6(payload)),
            number::GRE => self.gre(payload),
            number::IGMP => self.igmp(payload),
            protocol::ICMPV6 => self.tell("decoder.ipv4.icmpv6"),
            // What follows Van Jacobson's compression.
            0 => {}
            _ => {
                if !self.transport(next, payload, 0) {
                    self.tell("decoder.ipv4.unknown_protocol");
                }
            }
        }
    }

    /// RFC 791 section 3.1 and the RFCs that define further options. One that is not sound ends the walk.
    fn ipv4_options(&mut self, options: &[u8]) {
        const END: u8 = 0;
        const NO_OPERATION: u8 = 1;
        if !options.len().is_multiple_of(8) {
            self.tell("decoder.ipv4.opt_pad_required");
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
            let Some(&length) = after.first() else { return self.tell("decoder.ipv4.opt_eol_required") };
            let Some((option, next)) = rest.split_at_checked(usize::from(length)).filter(|_| length >= 2)
            else {
                return self.tell("decoder.ipv4.opt_invalid_len");
            };
            match option_fault(kind, option) {
                Judged::Unknown => self.tell("decoder.ipv4.opt_invalid"),
                _ if std::mem::replace(&mut seen[usize::from(kind)], true) => {
                    self.tell("decoder.ipv4.opt_duplicate");
                }
                Judged::Unsound(name) => return self.tell(name),
                Judged::Sound => {}
            }
            rest = next;
        }
    }

    /// RFC 8200.
    pub(super) fn ipv6(&mut self, bytes: &[u8]) {
        if !self.enter() {
            return;
        }
        let Some(header) = bytes.first_chunk::<V6_BYTES>() else {
            return self.fail("decoder.ipv6.pkt_too_small");
        };
        if header[0] >> 4 != 6 {
            return self.fail("decoder.ipv6.wrong_ip_version");
        }
        let address = |at: usize| {
            let octets = header.get(at..).and_then(|octets| octets.first_chunk::<16>());
            Address::v6(octets.copied().unwrap_or_default())
        };
        self.fault.ends = Some([address(8), address(24)]);
        self.fault.protocol = Some(header[6]);
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let Some(payload) = bytes.get(V6_BYTES..).and_then(|rest| rest.get(..length)) else {
            return self.fail("decoder.ipv6.trunc_pkt");
        };
        self.is_guess = false;
        let hop_limit = header[7];
        match header[6] {
            number::IP_IN_IP => self.ipv4_in_ipv6(payload),
            number::IPV6 => self.ipv6_in_ipv6(payload),
            number::GRE => self.gre(payload),
            protocol::ICMP => self.tell("decoder.ipv6.icmpv4"),
            header::HOP_BY_HOP
            | header::ROUTING
            | header::FRAGMENT
            | header::ESP
            | header::AUTHENTICATION
            | header::NO_NEXT
            | header::DESTINATION
            | header::MOBILITY
            | header::HIP
            | header::SHIM6 => self.extensions(header[6], payload, hop_limit),
            next => {
                if !self.transport(next, payload, hop_limit) {
                    self.tell("decoder.ipv6.unknown_next_header");
                }
            }
        }
    }

    fn ipv4_in_ipv6(&mut self, payload: &[u8]) {
        if payload.len() < V4_BYTES {
            self.tell("decoder.ipv6.ipv4_in_ipv6_too_small");
        } else if payload.first().is_some_and(|first| first >> 4 == 4) {
            self.inside(|inner| inner.ipv4(payload));
        } else {
            self.tell("decoder.ipv6.ipv4_in_ipv6_wrong_version");
        }
    }

    fn ipv6_in_ipv6(&mut self, payload: &[u8]) {
        if payload.len() < V6_BYTES {
            self.tell("decoder.ipv6.ipv6_in_ipv6_too_small");
        } else if payload.first().is_some_and(|first| first >> 4 == 6) {
            self.inside(|inner| inner.ipv6(payload));
        } else {
            self.tell("decoder.ipv6.ipv6_in_ipv6_wrong_version");
        }
    }

    /// The extension headers from `next` on; each takes two bytes at least, so that the walk ends.
    fn extensions(&mut self, mut next: u8, mut rest: &[u8], hop_limit: u8) {
        let mut seen = [0u8; 256];
        loop {
            self.fault.protocol = Some(next);
            if next == header::NO_NEXT {
                if !rest.is_empty() {
                    self.tell("decoder.ipv6.data_after_none_header");
                }
                return;
            }
            let Some(start) = rest.first_chunk::<2>() else {
                return self.tell("decoder.ipv6.trunc_exthdr");
            };
            let units = usize::from(start[1]);
            let length = match next {
                header::ROUTING
                | header::HOP_BY_HOP
                | header::DESTINATION
                | header::MOBILITY
                | header::HIP
                | header::SHIM6 => (units + 1) * 8,
                header::FRAGMENT => 8,
                // Three words at least; the length counts words beyond the second.
                header::AUTHENTICATION => 12 + units.saturating_sub(1) * 4,
                number::IP_IN_IP => return self.ipv4_in_ipv6(rest),
                protocol::ICMP => return self.tell("decoder.ipv6.icmpv4"),
                _ => {
                    if !self.transport(next, rest, hop_limit) {
                        self.tell("decoder.ipv6.unknown_next_header");
                    }
                    return;
                }
            };
            let Some((extension, after)) = rest.split_at_checked(length) else {
                return self.tell("decoder.ipv6.trunc_exthdr");
            };
            let before = seen[usize::from(next)];
            seen[usize::from(next)] = before.saturating_add(1);
            if !self.extension(next, extension, after.len(), before) {
                return;
            }
            (next, rest) = (start[0], after);
        }
    }

    /// One extension header, with `after` bytes behind it, that stood there `before` so many times; false where what
    /// follows is not known.
    fn extension(&mut self, kind: u8, extension: &[u8], after: usize, before: u8) -> bool {
        match (kind, before) {
            (header::HOP_BY_HOP, 0) | (header::DESTINATION, 0 | 1) => {
                self.ipv6_options(kind, extension.get(2..).unwrap_or_default());
            }
            (header::HOP_BY_HOP, _) => self.tell("decoder.ipv6.exthdr_dupl_hh"),
            // Two may stand around a routing header.
            (header::DESTINATION, _) => self.tell("decoder.ipv6.exthdr_dupl_dh"),
            (header::ROUTING, 0) if extension.get(2) == Some(&0) => self.tell("decoder.ipv6.rh_type_0"),
            (header::ROUTING, 0) => {}
            (header::ROUTING, _) => self.tell("decoder.ipv6.exthdr_dupl_rh"),
            (header::AUTHENTICATION, _) => {
                if extension.get(2..4).is_some_and(|reserved| reserved != [0, 0]) {
                    self.tell("decoder.ipv6.exthdr_ah_res_not_null");
                }
                if before > 0 {
                    self.tell("decoder.ipv6.exthdr_dupl_ah");
                }
            }
            (header::FRAGMENT, _) => return self.fragment_header(extension, after, before),
            _ => {}
        }
        true
    }

    fn fragment_header(&mut self, extension: &[u8], after: usize, before: u8) -> bool {
        if extension.get(1).is_some_and(|reserved| *reserved != 0) {
            self.tell("decoder.ipv6.fh_non_zero_reserved_field");
        }
        if before > 0 {
            self.tell("decoder.ipv6.exthdr_dupl_fh");
            return true;
        }
        let offset_word = super::word(extension, 2).unwrap_or_default();
        let (offset, more) = (usize::from(offset_word & 0xfff8), offset_word & 1 == 1);
        if offset == 0 && !more {
            self.tell("decoder.ipv6.exthdr_useless_fh");
            return true;
        }
        if more && !after.is_multiple_of(8) {
            self.tell("decoder.ipv6.frag_invalid_length");
        }
        if offset + after > DATAGRAM_BYTES_MAX {
            self.tell("decoder.ipv6.frag_pkt_too_large");
        }
        false
    }

    /// RFC 8200 section 4.2.
    fn ipv6_options(&mut self, kind: u8, options: &[u8]) {
        const PAD_1: u8 = 0;
        const PAD_N: u8 = 1;
        const ROUTER_ALERT: u8 = 5;
        const JUMBO: u8 = 194;
        const HOME_ADDRESS: u8 = 201;
        let is_hop_by_hop = kind == header::HOP_BY_HOP;
        let (mut rest, mut has_padding, mut has_others) = (options, false, false);
        while let Some((&option, after)) = rest.split_first() {
            if option == PAD_1 {
                (has_padding, rest) = (true, after);
                continue;
            }
            // Suricata is content with a length that ends one byte behind the options, whose walk is over then.
            let length = after.first().map(|length| usize::from(*length));
            let Some(length) = length.filter(|length| *length <= after.len()) else {
                self.tell("decoder.ipv6.exthdr_invalid_optlen");
                break;
            };
            let least = match option {
                PAD_N => {
                    if length == 0 {
                        self.tell("decoder.ipv6.zero_len_padn");
                    }
                    has_padding = true;
                    0
                }
                ROUTER_ALERT => 2,
                JUMBO => 4,
                HOME_ADDRESS => 16,
                _ => {
                    let names = ["decoder.ipv6.dstopts_unknown_opt", "decoder.ipv6.hopopts_unknown_opt"];
                    self.tell(names[usize::from(is_hop_by_hop)]);
                    has_others = true;
                    0
                }
            };
            if length < least {
                self.tell("decoder.ipv6.exthdr_invalid_optlen");
                break;
            }
            has_others |= matches!(option, ROUTER_ALERT | HOME_ADDRESS);
            rest = after.get(1 + length..).unwrap_or_default();
        }
        if has_padding && !has_others {
            let names = ["decoder.ipv6.dstopts_only_padding", "decoder.ipv6.hopopts_only_padding"];
            self.tell(names[usize::from(is_hop_by_hop)]);
        }
    }
}

/// What is to be said of an option.
enum Judged {
    Sound,
    Unsound(&'static str),
    Unknown,
}

/// Looks at one IPv4 option, type and length included.
fn option_fault(kind: u8, option: &[u8]) -> Judged {
    let bytes = option.len();
    let pointer = option.get(2).map(|pointer| usize::from(*pointer));
    let has_length = match kind {
        // Record route, loose and strict source route: room for a pointer.
        7 | 131 | 137 => bytes >= 3,
        // Quick start, timestamp, security, CIPSO, stream, router alert.
        25 => bytes >= 8,
        68 => bytes >= 5,
        130 => bytes == 11,
        134 => bytes >= 10,
        136 | 148 => bytes == 4,
        _ => return Judged::Unknown,
    };
    let is_sound = match (kind, pointer) {
        _ if !has_length => return Judged::Unsound("decoder.ipv4.opt_invalid_len"),
        // The pointer counts from 1, and stands on an address or right behind the last one.
        (7 | 131 | 137, Some(at)) => at >= 4 && at.is_multiple_of(4) && at <= bytes + 1,
        (68, Some(at)) => {
            let flag = option.get(3).copied().unwrap_or_default() & 0x0f;
            // With the flag, each record has an address before its time.
            let record = if matches!(flag, 1 | 3) { 8 } else { 4 };
            at >= 5 && (at - 5).is_multiple_of(record) && at <= bytes + 1
        }
        (134, _) => is_cipso(option.get(6..).unwrap_or_default()),
        _ => true,
    };
    if is_sound { Judged::Sound } else { Judged::Unsound("decoder.ipv4.opt_malformed") }
}

/// Whether the tags of a CIPSO option are those that its draft and FIPS 188 define.
fn is_cipso(mut tags: &[u8]) -> bool {
    while let Some((&kind, rest)) = tags.split_first() {
        let Some(length) = rest.first().map(|length| usize::from(*length)) else { return false };
        let is_aligned = kind == 7 || rest.get(1) == Some(&0);
        if !matches!(kind, 1 | 2 | 5 | 6 | 7) || length < 4 || !is_aligned {
            return false;
        }
        let Some(next) = tags.get(length..) else { return false };
        tags = next;
    }
    true
}
