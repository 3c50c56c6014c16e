//! Faults of tunnels' headers, and the way to the packets inside.

use super::{Walk, word};

/// EtherTypes that a tunnel names.
mod ethertype {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const ARP: u16 = 0x0806;
    pub(super) const ETHERNET: u16 = 0x6558;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const PPP: u16 = 0x880b;
    pub(super) const VLAN_SERVICE: u16 = 0x88a8;
    pub(super) const ERSPAN: u16 = 0x88be;
    pub(super) const VLAN_DOUBLE: u16 = 0x9100;
}

/// Ports on which Suricata looks for tunnels, unless it is told others.
mod port {
    pub(super) const TEREDO: u16 = 3544;
    pub(super) const VXLAN: u16 = 4789;
    pub(super) const GENEVE: u16 = 6081;
}

/// Bytes before the packet inside: VXLAN's header, and Ethernet's.
const VXLAN_BYTES: usize = 8;
const ETHERNET_BYTES: usize = 14;

impl Walk<'_> {
    /// GRE (RFC 1701, RFC 2784, RFC 2890) and PPTP's (RFC 2637 section 4.1).
    pub(super) fn gre(&mut self, bytes: &[u8]) {
        const CHECKSUM: u16 = 0x8000;
        const ROUTING: u16 = 0x4000;
        const KEY: u16 = 0x2000;
        const SEQUENCE: u16 = 0x1000;
        const STRICT: u16 = 0x0800;
        const RECURSION: u16 = 0x0700;
        const ACKNOWLEDGEMENT: u16 = 0x0080;
        const RESERVED: u16 = 0x0078;
        let Some(header) = bytes.first_chunk::<4>() else { return self.tell("decoder.gre.pkt_too_small") };
        if !self.enter() {
            return;
        }
        let flags = u16::from_be_bytes([header[0], header[1]]);
        let kind = u16::from_be_bytes([header[2], header[3]]);
        let has = |flag: u16| flags & flag != 0;
        let words = |flag: u16| 4 * usize::from(has(flag));
        let (header_len, too_big) = match flags & 0x0007 {
            0 => {
                let name = match () {
                    () if has(RECURSION) => Some("decoder.gre.version0_recur"),
                    () if has(RESERVED) => Some("decoder.gre.version0_flags"),
                    () => None,
                };
                if let Some(name) = name {
                    return self.tell(name);
                }
                let length = 4 + words(KEY) + words(SEQUENCE) + words(CHECKSUM | ROUTING);
                (length, "decoder.gre.version0_hdr_too_big")
            }
            1 => {
                let name = match () {
                    () if has(CHECKSUM) => Some("decoder.gre.version1_chksum"),
                    () if has(ROUTING) => Some("decoder.gre.version1_route"),
                    () if has(STRICT) => Some("decoder.gre.version1_ssr"),
                    () if has(RECURSION) => Some("decoder.gre.version1_recur"),
                    () if has(RESERVED) => Some("decoder.gre.version1_flags"),
                    () if kind != ethertype::PPP => Some("decoder.gre.version1_wrong_protocol"),
                    () if !has(KEY) => Some("decoder.gre.version1_no_key"),
                    () => None,
                };
                if let Some(name) = name {
                    return self.tell(name);
                }
                let length = 8 + words(SEQUENCE) + words(ACKNOWLEDGEMENT);
                (length, "decoder.gre.version1_hdr_too_big")
            }
            _ => return self.tell("decoder.gre.wrong_version"),
        };
        let Some(mut inner) = bytes.get(header_len..) else { return self.tell(too_big) };
        if flags & (ROUTING | 0x0007) == ROUTING {
            let Some(behind) = behind_routes(inner) else {
                return self.tell("decoder.gre.version0_malformed_sre_hdr");
            };
            inner = behind;
        }
        // The key of version 1 begins with the length of what it carries.
        let is_empty = flags & 0x0007 == 1 && word(bytes, 4) == Some(0);
        self.in_gre(kind, has(SEQUENCE), is_empty, inner);
    }

    fn in_gre(&mut self, kind: u16, has_sequence: bool, is_empty: bool, inner: &[u8]) {
        match kind {
            ethertype::IPV4 => self.inside(|walk| walk.ipv4(inner)),
            ethertype::IPV6 => self.inside(|walk| walk.ipv6(inner)),
            ethertype::PPP if !is_empty => self.inside(|walk| walk.ppp(inner)),
            ethertype::VLAN => self.inside(|walk| walk.vlan(inner)),
            ethertype::ETHERNET => self.inside(|walk| walk.ethernet(inner)),
            ethertype::ERSPAN if has_sequence => self.inside(|walk| walk.erspan(inner)),
            // Type I has no header of its own.
            ethertype::ERSPAN => self.inside(|walk| walk.ethernet(inner)),
            ethertype::ARP => self.inside(|walk| {
                walk.network(ethertype::ARP, inner);
            }),
            _ => {}
        }
    }

    /// Type II (draft-foschiano-erspan-03 section 4.2).
    fn erspan(&mut self, bytes: &[u8]) {
        let Some((header, inner)) = bytes.split_first_chunk::<8>() else {
            return self.tell("decoder.erspan.header_too_small");
        };
        if !self.enter() {
            return;
        }
        if header[0] >> 4 != 1 {
            return self.tell("decoder.erspan.unsupported_version");
        }
        // The mirrored frame's own tag was taken off, and counts as one.
        if u16::from_be_bytes([header[0], header[1]]) & 0x0fff != 0 {
            self.tags += 1;
        }
        self.ethernet(inner);
    }

    /// What a UDP datagram carries, where its ports are a tunnel's.
    pub(super) fn in_udp(&mut self, [source, destination]: [u16; 2], payload: &[u8]) {
        let is_of = |port: u16| source == port || destination == port;
        if is_of(port::TEREDO) {
            self.teredo(payload);
        } else if is_of(port::GENEVE) {
            self.geneve(payload);
        } else if destination == port::VXLAN {
            self.vxlan(payload);
        }
    }

    /// RFC 4380 section 5.1.1.
    fn teredo(&mut self, mut bytes: &[u8]) {
        // Origin indications.
        while let [0, 0, ..] = bytes {
            let Some(behind) = bytes.get(8..) else { return };
            bytes = behind;
        }
        let length = word(bytes, 4).map(|length| usize::from(length) + 40);
        if length == Some(bytes.len()) && bytes.first().is_some_and(|first| first >> 4 == 6) {
            self.inside(|walk| walk.ipv6(bytes));
        }
    }

    /// RFC 8926 section 3.4.
    fn geneve(&mut self, bytes: &[u8]) {
        let Some((header, rest)) = bytes.split_first_chunk::<8>() else { return };
        let options_len = usize::from(header[0] & 0x3f) * 4;
        let Some((options, inner)) = rest.split_at_checked(options_len) else { return };
        let is_sound = header[0] >> 6 == 0 && header[1] & 0x3f == 0 && header[7] == 0 && is_geneve(options);
        if !is_sound || !self.enter() {
            return;
        }
        match u16::from_be_bytes([header[2], header[3]]) {
            ethertype::IPV4 => self.inside(|walk| walk.ipv4(inner)),
            ethertype::IPV6 => self.inside(|walk| walk.ipv6(inner)),
            ethertype::ETHERNET => self.inside(|walk| walk.ethernet(inner)),
            ethertype::ARP => {}
            _ => self.tell("decoder.geneve.unknown_payload_type"),
        }
    }

    /// RFC 7348 section 5.
    fn vxlan(&mut self, bytes: &[u8]) {
        let Some((header, frame)) = bytes.split_first_chunk::<VXLAN_BYTES>() else { return };
        let (Some(kind), Some(inner)) = (word(frame, ETHERNET_BYTES - 2), frame.get(ETHERNET_BYTES..)) else {
            return;
        };
        if header[0] & 0x08 == 0 || header[7] != 0 || !self.enter() {
            return;
        }
        match kind {
            ethertype::IPV4 => self.inside(|walk| walk.ipv4(inner)),
            ethertype::IPV6 => self.inside(|walk| walk.ipv6(inner)),
            ethertype::VLAN | ethertype::VLAN_SERVICE | ethertype::VLAN_DOUBLE => {
                self.inside(|walk| walk.vlan(inner));
            }
            ethertype::ARP => {}
            _ => self.tell("decoder.vxlan.unknown_payload_type"),
        }
    }
}

/// What follows GRE's source route entries (RFC 1701); none where their lengths contradict the bytes.
fn behind_routes(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let (entry, rest) = bytes.split_first_chunk::<4>()?;
        if entry[..2] == [0, 0] && entry[3] == 0 {
            return Some(rest);
        }
        bytes = rest.get(usize::from(entry[3])..)?;
    }
}

/// Whether the options of a GENEVE header fill it exactly.
fn is_geneve(mut options: &[u8]) -> bool {
    while let Some(option) = options.first_chunk::<4>() {
        let Some(next) = options.get(4 + usize::from(option[3] & 0x1f) * 4..) else { return false };
        options = next;
    }
    options.is_empty()
}
