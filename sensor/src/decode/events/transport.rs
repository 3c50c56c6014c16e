//! Faults of what IP carries: TCP, UDP, SCTP, ICMP and ICMPv6, IGMP, ESP.

use super::{Walk, word};
use weir_common::net::protocol;

/// IANA protocol number of ESP.
const ESP: u8 = 50;
/// Bytes of an ICMP and ICMPv6 header before the packet that an error is about.
const ICMP_BYTES: usize = 8;

/// TCP's options.
mod option {
    pub(super) const END: u8 = 0;
    pub(super) const NO_OPERATION: u8 = 1;
    pub(super) const SEGMENT_SIZE: u8 = 2;
    pub(super) const WINDOW_SCALE: u8 = 3;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const SACK: u8 = 5;
    pub(super) const TIMESTAMPS: u8 = 8;
    pub(super) const MD5: u8 = 19;
    pub(super) const AUTHENTICATION: u8 = 29;
    pub(super) const FAST_OPEN: u8 = 34;
}

impl Walk<'_> {
    /// Looks at a transport header; false where the number is none that Suricata decodes. `hop_limit` is IPv6's.
    pub(super) fn transport(&mut self, number: u8, bytes: &[u8], hop_limit: u8) -> bool {
        self.fault.protocol = Some(number);
        if matches!(number, protocol::TCP | protocol::UDP) {
            self.fault.ports =
                word(bytes, 0).zip(word(bytes, 2)).map(|(source, destination)| [source, destination]);
        }
        match number {
            protocol::TCP => self.tcp(bytes),
            protocol::UDP => self.udp(bytes),
            protocol::SCTP => self.sctp(bytes),
            protocol::ICMP => self.icmp(bytes),
            protocol::ICMPV6 => self.icmp_v6(bytes, hop_limit),
            ESP => {
                if self.enter() && bytes.len() < 8 {
                    self.tell("decoder.esp.pkt_too_small");
                }
            }
            _ => return false,
        }
        true
    }

    /// RFC 9293 section 3.1 and IANA's TCP options.
    fn tcp(&mut self, bytes: &[u8]) {
        let Some(header) = bytes.first_chunk::<20>() else { return self.tell("decoder.tcp.pkt_too_small") };
        let header_len = usize::from(header[12] >> 4) * 4;
        if header_len > bytes.len() {
            return self.tell("decoder.tcp.hlen_too_small");
        }
        let Some(mut rest) = bytes.get(20..header_len) else {
            return self.tell("decoder.tcp.invalid_optlen");
        };
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
                return self.tell("decoder.tcp.opt_invalid_len");
            };
            let is_sound = match kind {
                option::SEGMENT_SIZE => length == 4,
                option::WINDOW_SCALE => length == 3,
                option::SACK_PERMITTED => length == 2,
                option::SACK => (10..=34).contains(&length) && (length - 2).is_multiple_of(8),
                option::TIMESTAMPS => length == 10,
                option::MD5 => length == 18,
                option::AUTHENTICATION => length >= 4,
                // A request for a cookie has none (RFC 7413 section 4.1.1).
                option::FAST_OPEN => length == 2 || ((6..=18).contains(&length) && length.is_multiple_of(2)),
                _ => true,
            };
            let is_single = matches!(
                kind,
                option::SEGMENT_SIZE
                    | option::WINDOW_SCALE
                    | option::SACK_PERMITTED
                    | option::SACK
                    | option::TIMESTAMPS
                    | option::FAST_OPEN
            );
            if !is_sound {
                self.tell("decoder.tcp.opt_invalid_len");
            } else if is_single && std::mem::replace(&mut seen[usize::from(kind)], true) {
                self.tell("decoder.tcp.opt_duplicate");
            }
            rest = next;
        }
    }

    /// RFC 768.
    fn udp(&mut self, bytes: &[u8]) {
        let Some((header, behind)) = bytes.split_first_chunk::<8>() else {
            return self.tell("decoder.udp.hlen_too_small");
        };
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if length > bytes.len() {
            self.tell("decoder.udp.pkt_too_small");
        } else if let Some(payload) = length.checked_sub(8).and_then(|length| behind.get(..length)) {
            let ports = [[header[0], header[1]], [header[2], header[3]]].map(u16::from_be_bytes);
            self.in_udp(ports, payload);
        } else {
            self.tell("decoder.udp.len_invalid");
        }
    }

    /// RFC 9260.
    fn sctp(&mut self, bytes: &[u8]) {
        const DATA: u8 = 0;
        const INIT: u8 = 1;
        const INIT_ACK: u8 = 2;
        let Some((header, mut chunks)) = bytes.split_first_chunk::<12>() else {
            return self.tell("decoder.sctp.pkt_too_small");
        };
        let has_tag = header[4..8] != [0; 4];
        let (mut count, mut begins) = (0u32, false);
        while !chunks.is_empty() {
            let Some(chunk) = chunks.first_chunk::<4>() else {
                self.tell("decoder.sctp.chunk_too_small");
                break;
            };
            let length = usize::from(u16::from_be_bytes([chunk[2], chunk[3]]));
            if length < 4 || length > chunks.len() {
                self.tell("decoder.sctp.chunk_len_invalid");
                break;
            }
            count += 1;
            begins |= matches!(chunk[0], INIT | INIT_ACK);
            match chunk[0] {
                INIT if has_tag => self.tell("decoder.sctp.init_with_non_zero_vtag"),
                DATA if !has_tag => self.tell("decoder.sctp.data_with_zero_vtag"),
                _ => {}
            }
            chunks = chunks.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        if begins && count > 1 {
            self.tell("decoder.sctp.init_chunk_bundled");
        }
    }

    /// RFC 792, RFC 950, RFC 1256.
    fn icmp(&mut self, bytes: &[u8]) {
        let Some((header, about)) = bytes.split_first_chunk::<ICMP_BYTES>() else {
            return self.tell("decoder.icmpv4.pkt_too_small");
        };
        let [kind, code, ..] = *header;
        self.fault.icmp = Some([kind, code]);
        let code_max = match kind {
            0 | 4 | 8 | 12..=18 => 0,
            3 => 15,
            5 => 3,
            9 | 10 => u8::MAX,
            11 => 1,
            _ => return self.tell("decoder.icmpv4.unknown_type"),
        };
        if code > code_max {
            return self.tell("decoder.icmpv4.unknown_code");
        }
        // Errors carry the beginning of the packet that they are about.
        if !matches!(kind, 3 | 4 | 5 | 11 | 12) || (about.is_empty() && kind != 4) {
            return;
        }
        if about.len() < 20 {
            self.tell("decoder.icmpv4.ipv4_trunc_pkt");
        } else if about.first().is_some_and(|first| first >> 4 != 4) {
            self.tell("decoder.icmpv4.ipv4_unknown_ver");
        }
    }

    /// RFC 4443, RFC 4861, RFC 2710; types and codes as IANA lists them.
    fn icmp_v6(&mut self, bytes: &[u8], hop_limit: u8) {
        let Some((header, about)) = bytes.split_first_chunk::<ICMP_BYTES>() else {
            return self.tell("decoder.icmpv6.pkt_too_small");
        };
        let [kind, code, ..] = *header;
        self.fault.icmp = Some([kind, code]);
        let is_known_code = match kind {
            1 => code <= 6,
            3 => code <= 1,
            4 => code <= 2,
            2 | 128..=137 | 141..=149 | 154 | 156..=159 => code == 0,
            138 => code <= 2 || code == u8::MAX,
            139 | 140 => code <= 2,
            150..=153 => true,
            155 => code <= 3 || (128..=132).contains(&code),
            100 | 101 | 200 | 201 => return self.tell("decoder.icmpv6.experimentation_type"),
            5..=99 | 102..=126 | 160..=199 | 202.. => return self.tell("decoder.icmpv6.unassigned_type"),
            0 | 127 => return self.tell("decoder.icmpv6.unknown_type"),
        };
        if !is_known_code {
            self.tell("decoder.icmpv6.unknown_code");
        }
        // Multicast listener discovery stays on its link.
        if matches!(kind, 130..=132) && hop_limit != 1 {
            self.tell("decoder.icmpv6.mld_message_with_invalid_hl");
        }
        if kind > 4 || !is_known_code {
            return;
        }
        if about.len() < 40 {
            self.tell("decoder.icmpv6.ipv6_trunc_pkt");
        } else if about.first().is_some_and(|first| first >> 4 != 6) {
            self.tell("decoder.icmpv6.ipv6_unknown_version");
        }
    }

    /// RFC 2236, RFC 3376.
    pub(super) fn igmp(&mut self, bytes: &[u8]) {
        const QUERY: u8 = 0x11;
        const REPORT_3: u8 = 0x22;
        /// What fits into a datagram.
        const SOURCES_MAX: usize = (65_535 - 24 - 12) / 4;
        let Some((header, rest)) = bytes.split_first_chunk::<8>() else {
            return self.tell("decoder.igmp.pkt_too_small");
        };
        if header[0] == QUERY && bytes.len() >= 12 {
            let sources = word(bytes, 10).map_or(0, usize::from);
            if sources > SOURCES_MAX {
                self.tell("decoder.igmp.malformed");
            } else if bytes.len() < 12 + sources * 4 {
                self.tell("decoder.igmp.v3_pkt_too_small");
            }
        }
        if header[0] != REPORT_3 {
            return;
        }
        let mut records = rest;
        for _ in 0..u16::from_be_bytes([header[6], header[7]]) {
            let Some((record, behind)) = records.split_first_chunk::<8>() else {
                return self.tell("decoder.igmp.v3_pkt_too_small");
            };
            let words = usize::from(record[1]) + usize::from(u16::from_be_bytes([record[2], record[3]]));
            let Some(next) = behind.get(words * 4..) else { return self.tell("decoder.igmp.malformed") };
            records = next;
        }
    }
}
