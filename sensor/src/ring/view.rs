//! What a compiled pcap-filter(7) program can see of a frame: the basis of the index.
//!
//! In: a frame. Out: the addresses, ports, protocols and VLANs at the places where libpcap's programs look
//! for `host`, `net`, `port`, `proto` and `vlan`, whether or not the bytes there make sense. This is not the
//! decoder: it follows libpcap's generator (gencode.c) and not the RFCs, because the index must never miss
//! a frame that the program would match. It goes no deeper than VLAN tags; an expression that looks behind
//! other headers (`mpls`, `pppoes`, `geneve`) is not planned at all.

use crate::capture::{Frame, LinkType};

/// Bits of [`View::flags`]: what the frame is, and which fields hold something.
pub(super) mod view_flags {
    /// An IPv4 packet, as its link layer says.
    pub(in super::super) const V4: u16 = 1;
    /// An IPv6 packet, as its link layer says.
    pub(in super::super) const V6: u16 = 2;
    /// ARP or RARP.
    pub(in super::super) const ARP: u16 = 4;
    /// Nothing is known of what the frame holds; it may match anything.
    pub(in super::super) const OPAQUE: u16 = 8;
    /// A fragment of an IP packet.
    pub(in super::super) const FRAGMENT: u16 = 16;
    /// `source` is captured.
    pub(in super::super) const SOURCE: u16 = 32;
    /// `destination` is captured.
    pub(in super::super) const DESTINATION: u16 = 64;
    /// The source port is captured.
    pub(in super::super) const SOURCE_PORT: u16 = 128;
    /// The destination port is captured.
    pub(in super::super) const DESTINATION_PORT: u16 = 256;
    /// `protocols[0]` is captured.
    pub(in super::super) const PROTOCOL: u16 = 512;
    /// `protocols[1]` holds the protocol behind an IPv6 fragment header.
    pub(in super::super) const INNER_PROTOCOL: u16 = 1024;
    /// MPLS or PPPoE, behind which there may be anything.
    pub(in super::super) const ENCAPSULATED: u16 = 2048;
    /// Of an address only the first words were captured; zeros stand for the others.
    pub(in super::super) const ADDRESS_CUT_OFF: u16 = 4096;
}
use view_flags::*;

/// VLAN tags that are read; a frame with more is opaque.
const TAGS_MAX: usize = 4;
/// Stands for the identifier of a tag whose bytes were cut off; no tag has it.
const TAG_CUT_OFF: u16 = u16::MAX;
const FRAGMENT_OFFSET: u16 = 0x1fff;
const FRAGMENT_OFFSET_OR_MORE: u16 = 0x3fff;
const IPV6_FRAGMENT_HEADER: u8 = 44;
/// Hop-by-hop options, routing, destination options.
const IPV6_EXTENSION_HEADERS: [u8; 3] = [0, 43, 60];

/// The fields of a frame that filters look at. An IPv4 address stands in the first four bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// Source address, or the sender of ARP.
    pub(super) source: [u8; 16],
    /// Destination address, or the target of ARP.
    pub(super) destination: [u8; 16],
    /// Source and destination port.
    pub(super) ports: [u16; 2],
    /// VLAN identifiers, outermost first.
    pub(super) vlans: [u16; TAGS_MAX],
    /// How many of `vlans` there are.
    pub(super) tags: u8,
    /// Protocol number of the IP header; behind it, that of an IPv6 fragment header.
    pub(super) protocols: [u8; 2],
    /// Bits of [`view_flags`].
    pub(super) flags: u16,
}

impl View {
    /// Looks at a frame.
    #[inline]
    pub(super) fn of(frame: &Frame<'_>) -> View {
        let mut view = View::default();
        match frame.link {
            LinkType::ETHERNET => view.ethernet(frame.data),
            LinkType::RAW => view.raw(frame.data),
            LinkType::IPV4 => view.ipv4(frame.data),
            LinkType::IPV6 => view.ipv6(frame.data),
            LinkType::LINUX_SLL => view.network(be16(frame.data, 14), frame.data.get(16..)),
            LinkType::LINUX_SLL2 => view.network(be16(frame.data, 0), frame.data.get(20..)),
            LinkType::NULL | LinkType::LOOP => view.loopback(frame.data),
            _ => view.flags |= OPAQUE,
        }
        view
    }

    #[inline]
    fn ethernet(&mut self, data: &[u8]) {
        let mut at = 12;
        let mut ethertype = be16(data, at);
        while let Some(0x8100 | 0x88a8 | 0x9100) = ethertype {
            let tag = be16(data, at + 2);
            let Some(slot) = self.vlans.get_mut(usize::from(self.tags)) else {
                self.flags |= OPAQUE;
                return;
            };
            // `vlan` alone looks no further than the EtherType, which is there.
            *slot = tag.map_or(TAG_CUT_OFF, |tag| tag & 0x0fff);
            self.tags += 1;
            at += 4;
            ethertype = be16(data, at);
        }
        self.network(ethertype, data.get(at + 2..));
    }

    #[inline]
    fn network(&mut self, ethertype: Option<u16>, data: Option<&[u8]>) {
        let data = data.unwrap_or_default();
        match ethertype {
            Some(0x0800) => self.ipv4(data),
            Some(0x86dd) => self.ipv6(data),
            Some(0x0806 | 0x8035) => self.arp(data),
            Some(0x8847 | 0x8848 | 0x8864) => self.flags |= ENCAPSULATED,
            _ => {}
        }
    }

    fn raw(&mut self, data: &[u8]) {
        match data.first().map(|first| first >> 4) {
            Some(4) => self.ipv4(data),
            Some(6) => self.ipv6(data),
            _ => {}
        }
    }

    /// An address family in either byte order; which numbers mean IPv6 depends on the capturing system.
    fn loopback(&mut self, data: &[u8]) {
        let rest = data.get(4..).unwrap_or_default();
        match data.first_chunk().map(|family| u32::from_be_bytes(*family)) {
            Some(2 | 0x0200_0000) => self.ipv4(rest),
            Some(10 | 24 | 28 | 30 | 0x0a00_0000 | 0x1800_0000 | 0x1c00_0000 | 0x1e00_0000) => {
                self.ipv6(rest);
            }
            _ => self.flags |= OPAQUE,
        }
    }

    fn arp(&mut self, data: &[u8]) {
        self.flags |= ARP;
        if let Some(sender) = data.get(14..18) {
            self.source[..4].copy_from_slice(sender);
            self.flags |= SOURCE;
        }
        if let Some(target) = data.get(24..28) {
            self.destination[..4].copy_from_slice(target);
            self.flags |= DESTINATION;
        }
    }

    #[inline]
    fn ipv4(&mut self, data: &[u8]) {
        self.flags |= V4;
        if let Some(header) = data.first_chunk::<20>() {
            self.source[..4].copy_from_slice(&header[12..16]);
            self.destination[..4].copy_from_slice(&header[16..20]);
            self.protocols[0] = header[9];
            self.flags |= SOURCE | DESTINATION | PROTOCOL;
            let fragment = u16::from_be_bytes([header[6], header[7]]);
            if fragment & FRAGMENT_OFFSET_OR_MORE != 0 {
                self.flags |= FRAGMENT;
            }
            if fragment & FRAGMENT_OFFSET == 0 {
                self.transport(header[9], data, usize::from(header[0] & 0x0f) * 4);
            }
        } else {
            if let Some(protocol) = data.get(9) {
                self.protocols[0] = *protocol;
                self.flags |= PROTOCOL;
            }
            if let Some(source) = data.get(12..16) {
                self.source[..4].copy_from_slice(source);
                self.flags |= SOURCE;
            }
            // A header length below five words puts the ports where the capture still has bytes.
            if be16(data, 6).is_some_and(|fragment| fragment & FRAGMENT_OFFSET == 0) {
                let length = data.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
                self.transport(self.protocols[0], data, length);
            }
        }
    }

    #[inline]
    fn ipv6(&mut self, data: &[u8]) {
        self.flags |= V6;
        if let Some(next) = data.get(6) {
            self.protocols[0] = *next;
            self.flags |= PROTOCOL;
        }
        for (at, flag, address) in [(8, SOURCE, &mut self.source), (24, DESTINATION, &mut self.destination)] {
            if let Some(captured) = data.get(at..at + 16) {
                address.copy_from_slice(captured);
                self.flags |= flag;
            } else if let Some((words, _)) =
                data.get(at..).and_then(|rest| rest.split_at_checked(rest.len() & !3))
                && !words.is_empty()
            {
                // A short prefix asks for the first words of an address only, whatever follows them.
                address[..words.len()].copy_from_slice(words);
                self.flags |= flag | ADDRESS_CUT_OFF;
            }
        }
        if self.protocols[0] == IPV6_FRAGMENT_HEADER {
            self.flags |= FRAGMENT;
            if let Some(next) = data.get(40) {
                self.protocols[1] = *next;
                self.flags |= INNER_PROTOCOL;
            }
        }
        self.transport(self.protocols[0], data, 40);
    }

    /// libpcap looks for ports behind TCP, UDP and SCTP, each where it is captured.
    #[inline]
    fn transport(&mut self, protocol: u8, data: &[u8], at: usize) {
        if !matches!(protocol, 6 | 17 | 132) {
            return;
        }
        if let Some(source) = be16(data, at) {
            self.ports[0] = source;
            self.flags |= SOURCE_PORT;
        }
        if let Some(destination) = be16(data, at + 2) {
            self.ports[1] = destination;
            self.flags |= DESTINATION_PORT;
        }
    }
}

impl View {
    /// Whether IPv6 extension headers, which libpcap does not walk, may hide a fragment header.
    pub(super) fn may_be_fragment_behind_headers(&self) -> bool {
        self.flags & (V6 | PROTOCOL) == V6 | PROTOCOL && IPV6_EXTENSION_HEADERS.contains(&self.protocols[0])
    }

    /// What stands for the two addresses, whichever way the packet goes; none where one was not captured.
    pub(super) fn pair(&self) -> Option<u32> {
        let both = SOURCE | DESTINATION;
        (self.flags & (both | ADDRESS_CUT_OFF) == both).then(|| {
            let (a, b) = (u128::from_be_bytes(self.source), u128::from_be_bytes(self.destination));
            let (low, high) = (fold(a.min(b)), fold(a.max(b)));
            ((low.rotate_left(32) ^ high).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
        })
    }
}

/// What is indexed of an ordinary packet: TCP or UDP in IPv4 without options on Ethernet, whole headers, no fragment,
/// no VLAN. Two packets with the same are found by the same questions, and to compare three words costs far less than
/// to look at a frame for all that filters can see. The same goes for both directions: the index knows none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ordinary([u64; 2]);

impl Ordinary {
    /// None: the packet is not that ordinary.
    #[inline]
    pub(super) fn of(frame: &Frame<'_>) -> Option<Ordinary> {
        let head = frame.data.first_chunk::<38>().filter(|_| frame.link == LinkType::ETHERNET)?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let fragment = u16::from_be_bytes([head[20], head[21]]) & FRAGMENT_OFFSET_OR_MORE;
        let plain = head[12..14] == [8, 0] && head[14] & 0x0f == 5 && fragment == 0;
        let (protocol, ports) = (head[23], word(34));
        let source = u64::from(word(26)) << 16 | u64::from(ports & 0xffff);
        let destination = u64::from(word(30)) << 16 | u64::from(ports >> 16);
        // An end with the protocol, which is never zero, and the other end.
        (plain && matches!(protocol, 6 | 17))
            .then(|| Ordinary([source.min(destination) << 8 | u64::from(protocol), source.max(destination)]))
    }

    /// Spreads packets over a cache.
    #[inline]
    pub(super) fn hash(self) -> u64 {
        const K: u64 = 0x9e37_79b9_7f4a_7c15;
        let [low, high] = self.0;
        (low.wrapping_mul(K) ^ high).wrapping_mul(K.rotate_left(31))
    }
}

/// The pair of addresses of a frame, as the index keeps it for fragments whose flow was not known.
pub fn pair_of(frame: &Frame<'_>) -> Option<u32> {
    View::of(frame).pair()
}

fn fold(address: u128) -> u64 {
    ((address >> 64) as u64).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29) ^ address as u64
}

#[inline]
fn be16(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_common::time::Timestamp;

    fn view(link: LinkType, data: &[u8]) -> View {
        View::of(&Frame { time: Timestamp(0), link, interface: 0, wire_len: data.len() as u32, data })
    }

    const DNS: [u8; 42] = [
        0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 1, 8, 0, // Ethernet
        0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
        3, 232, 0, 53, 0, 8, 0, 0, // UDP
    ];

    #[test]
    fn the_same_packet_looks_the_same_behind_every_link_type() {
        let plain = view(LinkType::ETHERNET, &DNS);
        assert_eq!((&plain.source[..4], &plain.destination[..4]), (&[10, 0, 0, 1][..], &[10, 0, 0, 2][..]));
        assert_eq!((plain.ports, plain.protocols[0]), ([1000, 53], 17));
        let with = |header: &[u8]| [header, &DNS[14..]].concat();
        let mut cooked = [0; 16];
        cooked[14..].copy_from_slice(&[8, 0]);
        let mut cooked2 = [0; 20];
        cooked2[..2].copy_from_slice(&[8, 0]);
        for (link, frame) in [
            (LinkType::RAW, with(&[])),
            (LinkType::IPV4, with(&[])),
            (LinkType::NULL, with(&[2, 0, 0, 0])),
            (LinkType::LOOP, with(&[0, 0, 0, 2])),
            (LinkType::LINUX_SLL, with(&cooked)),
            (LinkType::LINUX_SLL2, with(&cooked2)),
        ] {
            assert_eq!(view(link, &frame), plain, "{link:?}");
        }
    }

    #[test]
    fn tags_are_read_and_a_fifth_makes_the_frame_opaque() {
        let tagged = |tags: &[[u8; 4]]| {
            view(LinkType::ETHERNET, &[&DNS[..12], &tags.concat()[..], &DNS[12..]].concat())
        };
        let two = tagged(&[[0x88, 0xa8, 0xe0, 5], [0x81, 0, 0x0f, 0xff]]);
        assert_eq!((two.vlans, two.tags, two.ports), ([5, 4095, 0, 0], 2, [1000, 53]));
        assert_eq!(tagged(&[[0x81, 0, 0, 1]; 4]).flags & OPAQUE, 0);
        assert_eq!(tagged(&[[0x81, 0, 0, 1]; 5]).flags & OPAQUE, OPAQUE);
    }

    #[test]
    fn arp_has_the_addresses_that_host_matches() {
        let arp = [&[0; 12][..], &[8, 6], &[0; 14], &[10, 0, 0, 1], &[0; 6], &[10, 0, 0, 9]].concat();
        let view = view(LinkType::ETHERNET, &arp);
        assert_eq!((view.source[3], view.destination[3], view.flags), (1, 9, ARP | SOURCE | DESTINATION));
    }

    #[test]
    fn what_the_capture_cut_off_is_absent_and_what_it_left_is_there() {
        assert_eq!(view(LinkType::ETHERNET, &DNS[..33]).flags, V4 | PROTOCOL | SOURCE);
        assert_eq!(
            view(LinkType::ETHERNET, &DNS[..36]).flags & (SOURCE_PORT | DESTINATION_PORT),
            SOURCE_PORT
        );
        for length in 0..DNS.len() {
            view(LinkType::ETHERNET, &DNS[..length]);
        }
    }

    #[test]
    fn what_a_program_may_still_match_of_a_header_cut_off_is_there() {
        let tagged = [&DNS[..12], &[0x81, 0, 0, 5]].concat();
        for (length, tags, vlan) in [(13, 0, 0), (14, 1, TAG_CUT_OFF), (15, 1, TAG_CUT_OFF), (16, 1, 5)] {
            let view = view(LinkType::ETHERNET, &tagged[..length]);
            assert_eq!((view.tags, view.vlans[0]), (tags, vlan), "{length}");
        }
        for (length, source, destination) in
            [(11, 0, 0), (12, 4, 0), (23, 12, 0), (27, 16, 0), (28, 16, 4), (40, 16, 16)]
        {
            let view = view(LinkType::IPV6, &[0x66; 48][..length]);
            let captured = |address: [u8; 16]| address.iter().filter(|byte| **byte == 0x66).count();
            assert_eq!(
                (captured(view.source), captured(view.destination)),
                (source, destination),
                "{length}"
            );
            assert_eq!(view.flags & (SOURCE | DESTINATION) != 0, length >= 12);
        }
    }

    #[test]
    fn later_fragments_have_no_ports() {
        let mut fragment = DNS;
        fragment[21] = 185;
        let view = view(LinkType::ETHERNET, &fragment);
        assert_eq!(view.flags & (FRAGMENT | SOURCE_PORT), FRAGMENT);
    }

    #[test]
    fn an_unknown_link_type_is_opaque() {
        assert_eq!(view(LinkType(147), &DNS).flags, OPAQUE);
    }

    /// Ends, protocols, flags, VLANs.
    type Indexed = ([([u8; 16], u16); 2], [u8; 2], u16, [u16; TAGS_MAX], u8);

    /// What the index keeps of a view: the ends, whichever way the packet goes, and what the frame is.
    fn indexed(view: &View) -> Indexed {
        let mut ends = [(view.source, view.ports[0]), (view.destination, view.ports[1])];
        ends.sort_unstable();
        (ends, view.protocols, view.flags, view.vlans, view.tags)
    }

    fn ordinary(data: &[u8]) -> Option<Ordinary> {
        let link = LinkType::ETHERNET;
        Ordinary::of(&Frame { time: Timestamp(0), link, interface: 0, wire_len: data.len() as u32, data })
    }

    #[test]
    fn both_directions_of_an_ordinary_packet_are_one_and_other_ends_are_others() {
        let mut back = DNS;
        back[26..34].copy_from_slice(&[10, 0, 0, 2, 10, 0, 0, 1]);
        back[34..38].copy_from_slice(&[0, 53, 3, 232]);
        assert!(ordinary(&DNS).is_some() && ordinary(&DNS) == ordinary(&back));
        // The ports change places, the addresses do not: other ends.
        let mut crossed = DNS;
        crossed[34..38].copy_from_slice(&[0, 53, 3, 232]);
        assert!(ordinary(&crossed).is_some_and(|other| Some(other) != ordinary(&DNS)));
        for (at, byte) in [(26, 11), (33, 9), (34, 9), (37, 9), (23, 6)] {
            let mut other = DNS;
            other[at] = byte;
            assert!(ordinary(&other).is_some_and(|other| Some(other) != ordinary(&DNS)), "byte {at}");
        }
    }

    #[test]
    fn what_is_not_ordinary_is_looked_at_in_full() {
        assert!(ordinary(&DNS[..38]).is_some() && ordinary(&DNS[..37]).is_none());
        // EtherType, header length, fragments, protocol.
        for (at, byte) in [(12, 0x81), (13, 6), (14, 0x46), (20, 0x20), (21, 1), (23, 132), (23, 1)] {
            let mut other = DNS;
            other[at] = byte;
            assert!(ordinary(&other).is_none(), "byte {at}");
        }
        let raw = Frame { time: Timestamp(0), link: LinkType::RAW, interface: 0, wire_len: 42, data: &DNS };
        assert_eq!(Ordinary::of(&raw), None);
    }

    proptest::proptest! {
        /// Whatever has the same short form is found by the same questions.
        #[test]
        fn the_short_form_says_all_that_is_indexed(
            changes in proptest::collection::vec((12usize..42, 0u8..4), 0..6),
            others in proptest::collection::vec((12usize..42, 0u8..4), 0..6),
            swap: bool,
        ) {
            let changed = |changes: &[(usize, u8)]| {
                let mut data = DNS;
                data[26..38].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 1, 0, 53, 0, 53]);
                changes.iter().for_each(|(at, byte)| data[*at] = data[*at] & 0xf8 | byte);
                data
            };
            let (a, mut b) = (changed(&changes), changed(&others));
            if swap {
                b = a;
                b[26..30].copy_from_slice(&a[30..34]);
                b[30..34].copy_from_slice(&a[26..30]);
                b[34..36].copy_from_slice(&a[36..38]);
                b[36..38].copy_from_slice(&a[34..36]);
            }
            if let Some(short) = ordinary(&a) && ordinary(&b) == Some(short) {
                let (a, b) = (view(LinkType::ETHERNET, &a), view(LinkType::ETHERNET, &b));
                proptest::prop_assert_eq!(indexed(&a), indexed(&b));
            }
        }
    }
}
