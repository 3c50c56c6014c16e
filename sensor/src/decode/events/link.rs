//! Faults of link layers: Ethernet and what may stand between it and the network layer.

use super::{Walk, word};
use crate::capture::{Frame, LinkType};
use crate::decode::link::{self, Version};

/// EtherTypes that Suricata decodes (IEEE 802 numbers).
mod ethertype {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const ARP: u16 = 0x0806;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const MPLS: u16 = 0x8847;
    pub(super) const MPLS_UPSTREAM: u16 = 0x8848;
    pub(super) const PPPOE_DISCOVERY: u16 = 0x8863;
    pub(super) const PPPOE_SESSION: u16 = 0x8864;
    pub(super) const VLAN_SERVICE: u16 = 0x88a8;
    pub(super) const MAC_IN_MAC: u16 = 0x88e7;
    pub(super) const FABRIC_PATH: u16 = 0x8903;
    pub(super) const VN_TAG: u16 = 0x8926;
    pub(super) const E_TAG: u16 = 0x893f;
    pub(super) const NSH: u16 = 0x894f;
    pub(super) const VLAN_DOUBLE: u16 = 0x9100;
    /// Values up to here are the length of an 802.3 frame, not a type.
    pub(super) const LENGTH_MAX: u16 = 1500;
}

const ETHERNET_BYTES: usize = 14;
/// Most 802.1Q tags of a frame; one more is a fault.
const TAGS_MAX: usize = 3;

impl Walk<'_> {
    pub(super) fn frame(&mut self, frame: &Frame<'_>) {
        let data = frame.data;
        match frame.link {
            LinkType::ETHERNET => self.ethernet(data),
            LinkType::RAW | LinkType(12 | 14) => self.raw(data),
            LinkType::IPV4 => self.ipv4(data),
            LinkType::IPV6 => self.ipv6(data),
            LinkType::NULL | LinkType::LOOP => self.null(data),
            LinkType::LINUX_SLL => self.cooked(data, 16, 14, "decoder.sll.pkt_too_small"),
            LinkType::LINUX_SLL2 => self.cooked(data, 20, 0, "decoder.sll2.pkt_too_small"),
            LinkType::CISCO_HDLC => self.cooked(data, 4, 2, "decoder.chdlc.pkt_too_small"),
            LinkType::PPP | LinkType::PPP_HDLC => self.ppp(data),
            // Links that Suricata does not know have no faults of their own.
            link => self.others(link, data),
        }
    }

    fn others(&mut self, link: LinkType, data: &[u8]) {
        let Ok(network) = link::strip(link, data) else { return };
        self.fault.vlans = network.vlans;
        match network.version {
            Version::V4 => self.ipv4(network.bytes),
            Version::V6 => self.ipv6(network.bytes),
        }
    }

    pub(super) fn ethernet(&mut self, data: &[u8]) {
        let Some(kind) = word(data, 12) else { return self.fail("decoder.ethernet.pkt_too_small") };
        self.is_guess = false;
        if !self.enter() {
            return;
        }
        self.network(kind, data.get(ETHERNET_BYTES..).unwrap_or_default());
        if kind <= ethertype::LENGTH_MAX {
            // SNAP, which Suricata leaves alone, may carry IP.
            self.others(LinkType::ETHERNET, data);
        }
    }

    /// A header of fixed length with an EtherType.
    fn cooked(&mut self, data: &[u8], header_len: usize, kind_at: usize, too_small: &'static str) {
        let Some((header, rest)) = data.split_at_checked(header_len) else { return self.fail(too_small) };
        if self.enter() {
            self.network(word(header, kind_at).unwrap_or_default(), rest);
        }
    }

    /// Raw IP: the first four bits are the version.
    fn raw(&mut self, data: &[u8]) {
        match data.first().map(|first| first >> 4) {
            _ if data.len() < 20 => self.fail("decoder.ipv4.pkt_too_small"),
            Some(4) => self.ipv4(data),
            Some(6) => self.ipv6(data),
            _ => self.tell("decoder.ipraw.invalid_ip_version"),
        }
    }

    /// BSD loopback: the address family in the byte order of the capturing host, which a file does not tell.
    fn null(&mut self, data: &[u8]) {
        let Some((family, rest)) = data.split_first_chunk::<4>() else {
            return self.fail("decoder.ltnull.pkt_too_small");
        };
        match family {
            [2, 0, 0, 0] | [0, 0, 0, 2] => self.ipv4(rest),
            // Linux; Windows; NetBSD, OpenBSD, BSD/OS; Solaris; FreeBSD; macOS.
            [10 | 23 | 24 | 26 | 28 | 30, 0, 0, 0] | [0, 0, 0, 10 | 23 | 24 | 26 | 28 | 30] => {
                self.ipv6(rest);
            }
            _ => self.tell("decoder.ltnull.unsupported_type"),
        }
    }

    /// What an EtherType says follows; false, and told, where nobody knows.
    pub(super) fn network(&mut self, kind: u16, bytes: &[u8]) -> bool {
        match kind {
            ethertype::IPV4 => self.ipv4(bytes),
            ethertype::IPV6 => self.ipv6(bytes),
            ethertype::ARP => self.arp(bytes),
            ethertype::VLAN | ethertype::VLAN_SERVICE | ethertype::VLAN_DOUBLE => self.vlan(bytes),
            ethertype::MPLS | ethertype::MPLS_UPSTREAM => self.mpls(bytes),
            ethertype::PPPOE_SESSION => self.pppoe_session(bytes),
            ethertype::PPPOE_DISCOVERY => self.pppoe_discovery(bytes),
            ethertype::MAC_IN_MAC => self.mac_in_mac(bytes),
            ethertype::VN_TAG => {
                let names = ["decoder.vntag.header_too_small", "decoder.vntag.unknown_type"];
                self.tag(bytes, 6, names);
            }
            ethertype::E_TAG => {
                self.tag(bytes, 8, ["decoder.etag.header_too_small", "decoder.etag.unknown_type"]);
            }
            ethertype::NSH => self.nsh(bytes),
            ethertype::FABRIC_PATH => match bytes.get(2..) {
                Some(inner) if inner.len() >= ETHERNET_BYTES => self.ethernet(inner),
                _ => self.fail("decoder.dce.pkt_too_small"),
            },
            _ => {
                self.tell("decoder.ethernet.unknown_ethertype");
                return false;
            }
        }
        true
    }

    pub(super) fn vlan(&mut self, bytes: &[u8]) {
        let Some((tag, rest)) = bytes.split_first_chunk::<4>() else {
            return self.fail("decoder.vlan.header_too_small");
        };
        if !self.enter() {
            return;
        }
        if self.tags >= TAGS_MAX {
            return self.tell("decoder.vlan.too_many_layers");
        }
        if let Some(kept) = self.fault.vlans.get_mut(self.tags) {
            *kept = u16::from_be_bytes([tag[0], tag[1]]) & 0x0fff;
        }
        self.tags += 1;
        self.is_guess = false;
        if !self.network(u16::from_be_bytes([tag[2], tag[3]]), rest) {
            self.tell("decoder.vlan.unknown_type");
        }
    }

    /// A tag whose last two bytes are an EtherType: VN-Tag (802.1Qbh) and E-Tag (802.1BR).
    fn tag(&mut self, bytes: &[u8], header_len: usize, [too_small, unknown]: [&'static str; 2]) {
        let Some((header, rest)) = bytes.split_at_checked(header_len) else { return self.fail(too_small) };
        if self.enter() && !self.network(word(header, header_len - 2).unwrap_or_default(), rest) {
            self.tell(unknown);
        }
    }

    /// 802.1ah: flags with the service identifier, both customer addresses, an EtherType.
    fn mac_in_mac(&mut self, bytes: &[u8]) {
        let Some((header, rest)) = bytes.split_first_chunk::<18>() else {
            return self.fail("decoder.ieee8021ah.header_too_small");
        };
        if self.enter() {
            self.network(u16::from_be_bytes([header[16], header[17]]), rest);
        }
    }

    /// RFC 826, for IPv4 over Ethernet.
    fn arp(&mut self, bytes: &[u8]) {
        let Some(header) = bytes.first_chunk::<8>() else { return self.fail("decoder.arp.pkt_too_small") };
        if !self.enter() {
            return;
        }
        let name = match header {
            [hardware @ .., _, _, _, _, _, _] if *hardware != [0, 1] => "decoder.arp.unsupported_hardware",
            [_, _, protocol @ .., _, _, _, _] if *protocol != [8, 0] => "decoder.arp.unsupported_protocol",
            _ if bytes.len() < 28 => "decoder.arp.invalid_pkt",
            [_, _, _, _, size, ..] if *size != 6 => "decoder.arp.invalid_hardware_size",
            [_, _, _, _, _, size, ..] if *size != 4 => "decoder.arp.invalid_protocol_size",
            [.., 0, 1..=4] => return,
            _ => "decoder.arp.unsupported_opcode",
        };
        self.fail(name);
    }

    /// RFC 3032.
    pub(super) fn mpls(&mut self, mut bytes: &[u8]) {
        if !self.enter() {
            return;
        }
        let label = loop {
            let Some((entry, rest)) = bytes.split_first_chunk::<4>() else {
                return self.fail("decoder.mpls.header_too_small");
            };
            bytes = rest;
            if entry[2] & 1 == 1 {
                break u32::from_be_bytes(*entry) >> 12;
            }
        };
        match label {
            0 => return self.ipv4(bytes),
            2 => return self.ipv6(bytes),
            // Neither belongs at the bottom of a stack; the third never onto the wire.
            1 => return self.tell("decoder.mpls.bad_label_router_alert"),
            3 => return self.tell("decoder.mpls.bad_label_implicit_null"),
            4..=14 => return self.tell("decoder.mpls.bad_label_reserved"),
            _ => {}
        }
        let Some((control_word, inner)) = bytes.split_first_chunk::<4>() else {
            return self.fail("decoder.mpls.pkt_too_small");
        };
        match control_word[0] >> 4 {
            4 => self.ipv4(bytes),
            6 => self.ipv6(bytes),
            0 => self.ethernet(inner),
            _ => self.tell("decoder.mpls.unknown_payload_type"),
        }
    }

    /// RFC 8300.
    fn nsh(&mut self, bytes: &[u8]) {
        let Some(header) = bytes.first_chunk::<8>() else {
            return self.fail("decoder.nsh.header_too_small");
        };
        if !self.enter() {
            return;
        }
        if header[0] >> 6 != 0 {
            return self.tell("decoder.nsh.unsupported_version");
        }
        let length = usize::from(header[1] & 0x3f) * 4;
        let inner = bytes.get(length..).filter(|inner| !inner.is_empty());
        let Some(inner) = inner else { return self.fail("decoder.nsh.bad_header_length") };
        match header[2] {
            0 | 0x0f => return self.tell("decoder.nsh.reserved_type"),
            1 if length != 24 => return self.fail("decoder.nsh.bad_header_length"),
            1 | 2 => {}
            _ => return self.tell("decoder.nsh.unsupported_type"),
        }
        match header[3] {
            1 => self.ipv4(inner),
            2 => self.ipv6(inner),
            3 => self.ethernet(inner),
            5 => self.mpls(inner),
            _ => self.tell("decoder.nsh.unknown_payload"),
        }
    }

    /// RFC 1661, with HDLC's framing or without it (RFC 1662).
    pub(super) fn ppp(&mut self, data: &[u8]) {
        let rest = match data.first() {
            None => return self.fail("decoder.ppp.pkt_too_small"),
            Some(0xff) => data.get(2..).unwrap_or_default(),
            Some(_) => data,
        };
        let Some((kind, is_short, inner)) = ppp_protocol(rest) else {
            return self.fail("decoder.ppp.pkt_too_small");
        };
        if self.enter() {
            self.by_ppp(kind, is_short, inner);
        }
    }

    fn by_ppp(&mut self, kind: u16, is_short: bool, inner: &[u8]) {
        match kind {
            // Van Jacobson's compression, of a packet that is not compressed.
            0x002f if inner.len() < 20 => self.fail("decoder.ppp.vju_pkt_too_small"),
            0x0021 if inner.len() < 20 => {
                // Suricata's decoder takes the other name where the protocol field is one byte.
                let names = ["decoder.ppp.ip4_pkt_too_small", "decoder.ppp.vju_pkt_too_small"];
                self.fail(names[usize::from(is_short)]);
            }
            0x0057 if inner.len() < 40 => self.fail("decoder.ppp.ip6_pkt_too_small"),
            0x0021 => self.ipv4(inner),
            0x0057 => self.ipv6(inner),
            0x002f => {
                if inner.first().is_some_and(|first| first >> 4 == 4) {
                    self.ipv4(inner);
                }
            }
            // Control protocols, which carry no packet.
            0x00fd | 0x8021 | 0x8057 | 0x80fd | 0x8207 | 0xc021 | 0xc023 | 0xc025 | 0xc029 | 0xc223 => {}
            _ if is_short => self.tell("decoder.ppp.unsup_proto"),
            0x0023 | 0x0025 | 0x0027 | 0x0029 | 0x002b | 0x002d | 0x0031 | 0x0033 | 0x0035 | 0x0205
            | 0x0231 | 0x0233 | 0x0281 | 0x0283 | 0x8023 | 0x8025 | 0x8027 | 0x8029 | 0x802b | 0x8033
            | 0x8035 | 0x8281 => self.tell("decoder.ppp.unsup_proto"),
            _ => self.tell("decoder.ppp.wrong_type"),
        }
    }

    /// RFC 2516 section 4.
    fn pppoe_session(&mut self, bytes: &[u8]) {
        let inner = bytes.get(6..).and_then(|inner| Some((word(bytes, 4)?, ppp_protocol(inner)?)));
        let Some((length, (kind, is_short, inner))) = inner else {
            return self.fail("decoder.pppoe.pkt_too_small");
        };
        if self.enter() && length > 0 {
            self.by_ppp(kind, is_short, inner);
        }
    }

    /// RFC 2516 section 5.
    fn pppoe_discovery(&mut self, bytes: &[u8]) {
        let Some((header, tags)) = bytes.split_first_chunk::<6>() else {
            return self.fail("decoder.pppoe.pkt_too_small");
        };
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        // Initiation, offer, request, session, terminate.
        if !matches!(header[1], 0x09 | 0x07 | 0x19 | 0x65 | 0xa7) {
            self.fail("decoder.pppoe.wrong_code");
        } else if length > tags.len() {
            self.fail("decoder.pppoe.malformed_tags");
        }
    }
}

/// PPP's protocol field, whether it was compressed to one byte, and what follows.
fn ppp_protocol(bytes: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if first & 1 == 1 {
        return Some((u16::from(*first), true, rest));
    }
    let (kind, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*kind), false, rest))
}
