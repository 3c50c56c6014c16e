//! The decoder against literal bytes, layer by layer, and against what is wrong with them.

mod fragments;
mod oracle;
mod tunnel;

use super::*;
use crate::capture::LinkType;
use proptest::prelude::*;

/// 192.0.2.1:49152 → 198.51.100.2:80, SYN with ECN, four bytes of payload.
const IPV4_TCP: [u8; 44] = [
    0x45, 0x02, 0x00, 0x2c, 0x12, 0x34, 0x40, 0x00, 0x40, 0x06, 0x00, 0x00, // 44 octets, TTL 64
    192, 0, 2, 1, 198, 51, 100, 2, // addresses
    0xc0, 0x00, 0x00, 0x50, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, // ports, numbers
    0x51, 0xc2, 0xfa, 0xf0, 0x00, 0x00, 0x00, 0x00, // AE CWR ECE SYN, window 64240
    b'd', b'a', b't', b'a',
];

/// 2001:db8::1 port 5353 → ff02::fb port 5353 behind hop-by-hop options, two bytes of payload.
const IPV6_UDP: [u8; 58] = [
    0x6a, 0x50, 0x00, 0x00, 0x00, 0x12, 0x00, 0xff, // traffic class 0xa5, 18 bytes, hop limit 255
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, //
    0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfb, //
    0x11, 0x00, 0x05, 0x02, 0x00, 0x00, 0x01, 0x00, // router alert, then UDP
    0x14, 0xe9, 0x14, 0xe9, 0x00, 0x0a, 0x00, 0x00, b'h', b'i',
];

const MACS: [u8; 12] = [0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];

/// Bytes of several parts, one after the other.
pub(super) fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// What decoding one frame gave: the packet with its payload, and the counts.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) packet: Option<(Packet<'static>, Vec<u8>, Option<EarlyFragments>)>,
    pub(super) counters: DecodeCounters,
}

impl Decoded {
    #[track_caller]
    pub(super) fn packet(&self) -> Packet<'static> {
        self.packet.as_ref().expect("a packet").0
    }

    #[track_caller]
    pub(super) fn payload(&self) -> &[u8] {
        &self.packet.as_ref().expect("a packet").1
    }

    #[track_caller]
    pub(super) fn early(&self) -> Option<EarlyFragments> {
        self.packet.as_ref().expect("a packet").2
    }
}

pub(super) fn decode_with(
    decoder: &mut Decoder,
    counters: &mut DecodeCounters,
    link: LinkType,
    time: Timestamp,
    data: &[u8],
    wire_len: usize,
) -> Option<(Packet<'static>, Vec<u8>, Option<EarlyFragments>)> {
    let frame = Frame { time, link, interface: 0, wire_len: wire_len as u32, data };
    decoder.decode(&frame, counters).map(|packet| {
        (
            Packet { payload: &[], network: &[], early: None, link: LinkHeader::NONE, ..packet },
            packet.payload.to_vec(),
            packet.early.copied(),
        )
    })
}

fn decode_cut(link: LinkType, data: &[u8], wire_len: usize) -> Decoded {
    let mut decoder = Decoder::new(1 << 20, Duration::from_secs(30));
    let mut counters = DecodeCounters::default();
    let packet = decode_with(&mut decoder, &mut counters, link, Timestamp::MIN, data, wire_len);
    Decoded { packet, counters }
}

fn decode(link: LinkType, data: &[u8]) -> Decoded {
    decode_cut(link, data, data.len())
}

fn ethernet(parts: &[&[u8]]) -> Decoded {
    decode(LinkType::ETHERNET, &join(&[&[&MACS[..]], parts].concat()))
}

#[test]
fn a_tcp_segment_on_ethernet_is_read_and_its_padding_cut() {
    let decoded = ethernet(&[&[0x08, 0x00], &IPV4_TCP, &[0xee; 9]]);
    let packet = decoded.packet();
    assert_eq!(
        packet.ip,
        Ip {
            source: Address::v4([192, 0, 2, 1]),
            destination: Address::v4([198, 51, 100, 2]),
            protocol: 6,
            octets: 44,
            ttl: 64,
            tos: 2,
            is_fragment: false,
        }
    );
    assert_eq!(
        packet.transport,
        Transport::Tcp(Tcp {
            source: 49152,
            destination: 80,
            sequence: 0x0102_0304,
            acknowledgement: 0x0506_0708,
            flags: 0x1c2,
            window: 64240,
        })
    );
    assert_eq!(decoded.payload(), b"data");
    assert_eq!(packet.vlans, [0, 0]);
    assert_eq!(decoded.counters, DecodeCounters { ipv4: 1, ..Default::default() });
}

#[test]
fn an_ipv6_datagram_behind_an_extension_header_is_read() {
    let decoded = ethernet(&[&[0x86, 0xdd], &IPV6_UDP]);
    let packet = decoded.packet();
    assert_eq!(packet.ip.source, "2001:db8::1".parse().unwrap());
    assert_eq!(packet.ip.destination, "ff02::fb".parse().unwrap());
    assert_eq!((packet.ip.protocol, packet.ip.octets), (17, 58));
    assert_eq!((packet.ip.ttl, packet.ip.tos), (255, 0xa5));
    assert_eq!(packet.transport, Transport::Ports { source: 5353, destination: 5353 });
    assert_eq!(decoded.payload(), b"hi");
    assert_eq!(decoded.counters, DecodeCounters { ipv6: 1, ..Default::default() });
}

#[test]
fn tags_are_passed_over_and_the_first_two_kept() {
    let one = ethernet(&[&[0x81, 0x00, 0xe0, 0x64, 0x08, 0x00], &IPV4_TCP]);
    assert_eq!(one.packet().vlans, [100, 0]);
    let two = ethernet(&[&[0x88, 0xa8, 0x0f, 0xff, 0x81, 0x00, 0x00, 0x07, 0x08, 0x00], &IPV4_TCP]);
    assert_eq!(two.packet().vlans, [4095, 7]);
    let tags = |count: usize| [0x81, 0x00, 0x00, 0x05].repeat(count);
    let eight = ethernet(&[&tags(8), &[0x08, 0x00], &IPV4_TCP]);
    assert_eq!(eight.packet().vlans, [5, 5]);
    let nine = ethernet(&[&tags(9), &[0x08, 0x00], &IPV4_TCP]);
    assert!(nine.packet.is_none());
    assert_eq!(nine.counters.malformed, 1);
}

#[test]
fn every_link_type_leads_to_the_same_packet() {
    let sll = [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 0x08, 0x00];
    let sll2 = [0x08, 0x00, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
    let snap = [0x00, 0x34, 0xaa, 0xaa, 0x03, 0, 0, 0, 0x08, 0x00];
    let pppoe = [0x88, 0x64, 0x11, 0x00, 0x00, 0x01, 0x00, 0x2e, 0x00, 0x21];
    let mpls = [0x88, 0x47, 0x00, 0x01, 0x20, 0x40, 0x00, 0x01, 0x31, 0x40];
    for (link, header) in [
        (LinkType::LINUX_SLL, &sll[..]),
        (LinkType::LINUX_SLL2, &sll2),
        (LinkType::NULL, &[2, 0, 0, 0]),
        (LinkType::NULL, &[0, 0, 0, 2]),
        (LinkType::LOOP, &[0, 0, 0, 2]),
        (LinkType::RAW, &[]),
        (LinkType(12), &[]),
        (LinkType(14), &[]),
        (LinkType::IPV4, &[]),
        (LinkType::PPP, &[0x00, 0x21]),
        (LinkType::PPP, &[0x21]),
        (LinkType::PPP_HDLC, &[0xff, 0x03, 0x00, 0x21]),
        (LinkType::CISCO_HDLC, &[0x0f, 0x00, 0x08, 0x00]),
        (LinkType::ETHERNET, &join(&[&MACS, &snap])),
        (LinkType::ETHERNET, &join(&[&MACS, &pppoe])),
        (LinkType::ETHERNET, &join(&[&MACS, &mpls])),
    ] {
        let decoded = decode(link, &join(&[header, &IPV4_TCP]));
        assert_eq!(decoded.packet().transport.ports(), (49152, 80), "{link:?} {header:x?}");
        assert_eq!(decoded.payload(), b"data", "{link:?}");
    }
    for (link, header) in [
        (LinkType::NULL, &[10, 0, 0, 0][..]),
        (LinkType::NULL, &[0, 0, 0, 24]),
        (LinkType::LOOP, &[0, 0, 0, 28]),
        (LinkType::NULL, &[30, 0, 0, 0]),
        (LinkType::RAW, &[]),
        (LinkType::IPV6, &[]),
        (LinkType::PPP, &[0x00, 0x57]),
    ] {
        let decoded = decode(link, &join(&[header, &IPV6_UDP]));
        assert_eq!(decoded.payload(), b"hi", "{link:?} {header:x?}");
    }
}

#[test]
fn what_carries_no_ip_is_counted_by_its_reason() {
    type Count = fn(&DecodeCounters) -> u64;
    let cases: [(LinkType, &[u8], Count); 12] = [
        (LinkType::ETHERNET, &[0x08, 0x06, 0, 1], |c| c.arp),
        (LinkType::ETHERNET, &[0x88, 0xcc, 0, 1], |c| c.other_ethertype),
        (LinkType::ETHERNET, &[0x00, 0x26, 0x42, 0x42, 0x03, 0, 0, 0, 0, 0], |c| c.other_ethertype),
        (LinkType::ETHERNET, &[0x00, 0x02, 0x42, 0x42], |c| c.other_ethertype),
        (LinkType::ETHERNET, &[0x00, 0x08, 0xaa, 0xaa, 0x03, 0, 0, 0, 0, 8], |c| c.other_ethertype),
        (LinkType::ETHERNET, &[0x81, 0x00, 0x00], |c| c.truncated),
        (LinkType::ETHERNET, &[0x88, 0x47, 0, 0, 0x10, 0], |c| c.truncated),
        (LinkType::ETHERNET, &[0x88, 0x47, 0, 0, 0x11, 0, 0x00], |c| c.other_ethertype),
        (LinkType::ETHERNET, &[0x88, 0x64, 0x11, 0, 0, 1, 0, 2, 0xc0, 0x21], |c| c.other_ethertype),
        (LinkType::ETHERNET, &[0x08, 0x00], |c| c.truncated),
        (LinkType::ETHERNET, &[0x08, 0x00, 0x65], |c| c.malformed),
        (LinkType::ETHERNET, &[0x08, 0x00, 0x44], |c| c.malformed),
    ];
    for (link, bytes, count) in cases {
        let decoded = decode(link, &join(&[&MACS, bytes]));
        assert!(decoded.packet.is_none(), "{bytes:x?}");
        assert_eq!(count(&decoded.counters), 1, "{bytes:x?} {:?}", decoded.counters);
    }
    assert_eq!(decode(LinkType(147), &IPV4_TCP).counters.unknown_link, 1);
    assert_eq!(decode(LinkType::NULL, &[7, 0, 0, 0, 0x45]).counters.other_ethertype, 1);
    assert_eq!(decode(LinkType::NULL, &[7, 7, 0, 0, 0x45]).counters.other_ethertype, 1);
    assert_eq!(decode(LinkType::RAW, &[]).counters.truncated, 1);
}

#[test]
fn a_length_of_zero_means_what_the_frame_has() {
    let mut bytes = IPV4_TCP;
    bytes[2..4].copy_from_slice(&[0, 0]);
    let decoded = decode(LinkType::RAW, &join(&[&bytes, b"more"]));
    assert_eq!(decoded.packet().ip.octets, 48);
    assert_eq!(decoded.payload(), b"datamore");
    let mut bytes = IPV6_UDP;
    bytes[4..6].copy_from_slice(&[0, 0]);
    let decoded = decode_cut(LinkType::RAW, &bytes, 3000);
    assert_eq!(decoded.packet().ip.octets, 3000);
}

#[test]
fn a_length_below_the_header_is_malformed_and_the_header_alone_is_not() {
    for (length, is_packet) in [(19, false), (20, true)] {
        let mut bytes = IPV4_TCP;
        bytes[2..4].copy_from_slice(&[0, length]);
        let decoded = decode(LinkType::RAW, &bytes);
        assert_eq!(decoded.packet.is_some(), is_packet);
        // Without a packet it is the IP header that is wrong, with one it is the missing TCP header.
        assert_eq!(decoded.counters.malformed, 1);
    }
}

#[test]
fn a_frame_cut_off_by_the_capture_counts_with_its_declared_length() {
    let decoded = decode_cut(LinkType::RAW, &IPV4_TCP[..42], 44);
    assert_eq!((decoded.packet().ip.octets, decoded.payload()), (44, &b"da"[..]));
    assert_eq!(decoded.counters.truncated, 0);
    // The window is missing, the flags are there.
    let decoded = decode_cut(LinkType::RAW, &IPV4_TCP[..34], 44);
    let Transport::Tcp(tcp) = decoded.packet().transport else { panic!("{decoded:?}") };
    assert_eq!((tcp.source, tcp.flags, tcp.window), (49152, 0x1c2, 0));
    assert_eq!(decoded.counters.truncated, 1);
    // The flags are missing, the ports are there.
    let decoded = decode_cut(LinkType::RAW, &IPV4_TCP[..33], 44);
    assert_eq!(decoded.packet().transport, Transport::Ports { source: 49152, destination: 80 });
    let decoded = decode_cut(LinkType::RAW, &IPV4_TCP[..24], 44);
    assert_eq!(decoded.packet().transport, Transport::Ports { source: 49152, destination: 80 });
    // Not even those.
    let decoded = decode_cut(LinkType::RAW, &IPV4_TCP[..23], 44);
    assert_eq!(decoded.packet().transport, Transport::None);
    let decoded = decode_cut(LinkType::RAW, &IPV4_TCP[..19], 44);
    assert!(decoded.packet.is_none());
    assert_eq!(decoded.counters.truncated, 1);
}

#[test]
fn ipv4_options_are_passed_over() {
    let mut bytes = IPV4_TCP.to_vec();
    bytes[0] = 0x46;
    bytes[3] = 48;
    bytes.splice(20..20, [0x94, 0x04, 0x00, 0x00]);
    assert_eq!(decode(LinkType::RAW, &bytes).payload(), b"data");
}

#[test]
fn a_tcp_header_length_that_cannot_be_keeps_the_ports() {
    for (offset, malformed, payload) in
        [(0x40, 1, &b""[..]), (0x50, 0, b"data"), (0x60, 0, b""), (0x70, 1, b"")]
    {
        let mut bytes = IPV4_TCP;
        bytes[32] = offset;
        let decoded = decode(LinkType::RAW, &bytes);
        assert_eq!(decoded.packet().transport.ports(), (49152, 80));
        assert_eq!((decoded.counters.malformed, decoded.payload()), (malformed, payload), "{offset:#x}");
    }
}

#[test]
fn a_udp_length_cuts_the_payload_where_it_is_credible() {
    for (length, payload) in [(7u8, &b"hi"[..]), (8, b""), (9, b"h"), (10, b"hi"), (11, b"hi"), (0, b"hi")] {
        let mut bytes = IPV6_UDP;
        bytes[53] = length;
        assert_eq!(decode(LinkType::RAW, &bytes).payload(), payload, "{length}");
    }
}

fn ipv4_with(protocol: u8, payload: &[u8]) -> Decoded {
    let mut header = IPV4_TCP[..20].to_vec();
    header[3] = 20 + payload.len() as u8;
    header[9] = protocol;
    decode(LinkType::RAW, &join(&[&header, payload]))
}

#[test]
fn other_transports_give_ports_type_or_nothing() {
    let ports = Transport::Ports { source: 258, destination: 772 };
    let sctp = [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    assert_eq!(ipv4_with(132, &sctp).packet().transport, ports);
    assert_eq!(ipv4_with(132, &sctp).payload(), [9]);
    assert_eq!(ipv4_with(136, &[1, 2, 3, 4, 0, 8, 0, 0, 9]).payload(), [9]);
    let dccp = [1, 2, 3, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    assert_eq!(ipv4_with(33, &dccp).packet().transport, ports);
    assert_eq!(ipv4_with(33, &dccp).payload(), [9]);
    let echo = [8, 0, 0, 0, 0, 1, 0, 2, 9];
    assert_eq!(ipv4_with(1, &echo).packet().transport, Transport::Icmp { kind: 8, code: 0 });
    assert_eq!(ipv4_with(1, &echo).payload(), [9]);
    assert_eq!(ipv4_with(1, &[3]).packet().transport, Transport::None);
    assert_eq!(ipv4_with(47, &[0, 0, 8, 0]).packet().transport, Transport::None);
    assert_eq!(ipv4_with(47, &[0, 0, 8, 0]).payload(), [0, 0, 8, 0]);
}

/// An IPv6 packet whose first next header is `next`.
pub(super) fn ipv6_with(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = IPV6_UDP[..40].to_vec();
    header[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    header[6] = next;
    join(&[&header, payload])
}

#[test]
fn the_walk_stops_at_authentication_encryption_and_mobility() {
    for next in [50, 51, 135] {
        let mut options = vec![next, 0, 1, 4, 0, 0, 0, 0];
        options.extend([17, 4, 0, 0, 0, 0, 0, 1]);
        let decoded = decode(LinkType::RAW, &ipv6_with(60, &options));
        assert_eq!((decoded.packet().ip.protocol, decoded.packet().transport), (next, Transport::None));
    }
}

#[test]
fn eight_extension_headers_are_passed_over_and_the_ninth_is_the_protocol() {
    for (count, protocol) in [(8usize, 17), (9, 60)] {
        let mut headers = [60, 0, 1, 4, 0, 0, 0, 0].repeat(count);
        headers[count * 8 - 8] = 17;
        headers.extend(&IPV6_UDP[48..]);
        let decoded = decode(LinkType::RAW, &ipv6_with(60, &headers));
        assert_eq!(decoded.packet().ip.protocol, protocol, "{count}");
    }
}

#[test]
fn an_extension_header_that_is_cut_off_is_the_protocol() {
    let decoded = decode(LinkType::RAW, &ipv6_with(0, &[17, 1, 0, 0, 0, 0, 0, 0]));
    assert_eq!((decoded.packet().ip.protocol, decoded.packet().transport), (0, Transport::None));
    let decoded = decode(LinkType::RAW, &ipv6_with(43, &[17]));
    assert_eq!((decoded.packet().ip.protocol, decoded.packet().transport), (43, Transport::None));
}

#[test]
fn every_prefix_of_a_frame_is_decoded_or_counted() {
    let tagged = join(&[&MACS, &[0x81, 0x00, 0, 1, 0x81, 0x00, 0, 2, 0x86, 0xdd], &IPV6_UDP]);
    for (link, whole) in [(LinkType::ETHERNET, &tagged[..]), (LinkType::RAW, &IPV4_TCP)] {
        for len in 0..=whole.len() {
            let decoded = decode_cut(link, &whole[..len], whole.len());
            let lost = decoded.counters.truncated;
            assert!(decoded.packet.is_some() || lost == 1, "{link:?} {len}");
        }
    }
}

const LINKS: [LinkType; 12] = [
    LinkType::ETHERNET,
    LinkType::NULL,
    LinkType::LOOP,
    LinkType::RAW,
    LinkType(12),
    LinkType::IPV4,
    LinkType::IPV6,
    LinkType::LINUX_SLL,
    LinkType::LINUX_SLL2,
    LinkType::PPP,
    LinkType::PPP_HDLC,
    LinkType::CISCO_HDLC,
];

proptest! {
    #[test]
    fn any_bytes_on_any_link_end_in_a_packet_or_a_count(
        link in 0usize..LINKS.len(),
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..20),
    ) {
        let mut decoder = Decoder::new(4096, Duration::from_secs(30));
        for (at, data) in frames.iter().enumerate() {
            let mut counters = DecodeCounters::default();
            let time = Timestamp(at as u64);
            let wire_len = data.len() * (at % 3);
            let packet = decode_with(&mut decoder, &mut counters, LINKS[link], time, data, wire_len);
            let counted = counters != DecodeCounters::default();
            prop_assert!(counted, "{:x?} {packet:?}", data);
        }
        decoder.drain(&mut DecodeCounters::default(), &mut |_, _, _| {});
    }

    #[test]
    fn a_good_frame_with_bytes_changed_ends_in_a_packet_or_a_count(
        is_v6 in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut frame = if is_v6 {
            join(&[&MACS, &[0x86, 0xdd], &IPV6_UDP])
        } else {
            join(&[&MACS, &[0x08, 0x00], &IPV4_TCP])
        };
        let wire_len = frame.len();
        for (at, value) in changes {
            let at = at.index(wire_len);
            frame[at] = value;
        }
        frame.truncate(cut.index(wire_len) + 1);
        let decoded = decode_cut(LinkType::ETHERNET, &frame, wire_len);
        prop_assert!(decoded.counters != DecodeCounters::default());
    }
}

#[test]
fn a_network_service_header_is_passed_over() {
    let header = |words: u8, next: u8| [0x89, 0x4f, 0x0f, 0xc0 | words, 1, next, 0, 0, 1, 255];
    let udp = decode(LinkType::ETHERNET, &join(&[&MACS, &header(2, 2), &IPV6_UDP]));
    assert_eq!(udp.payload(), b"hi");
    let tcp = decode(LinkType::ETHERNET, &join(&[&MACS, &header(6, 1), &[0; 16], &IPV4_TCP]));
    assert_eq!(tcp.payload(), b"data");
    let framed = decode(LinkType::ETHERNET, &join(&[&MACS, &header(2, 3), &MACS, &[8, 0], &IPV4_TCP]));
    assert_eq!(framed.payload(), b"data");
    for (header, counts) in [(header(1, 1), [1, 0, 0]), (header(60, 1), [0, 1, 0]), (header(2, 9), [0, 0, 1])]
    {
        let DecodeCounters { malformed, truncated, other_ethertype, .. } =
            decode(LinkType::ETHERNET, &join(&[&MACS, &header, &IPV4_TCP])).counters;
        assert_eq!([malformed, truncated, other_ethertype], counts);
    }
}

#[test]
fn a_transport_header_that_was_sent_too_short_has_no_ports() {
    for (protocol, bytes) in [(6u8, 19u8), (17, 7), (132, 11)] {
        let mut packet =
            vec![0x45, 0, 0, 20 + bytes, 0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.resize(20 + usize::from(bytes), 1);
        assert_eq!(decode(LinkType::RAW, &packet).packet().transport, Transport::None, "{protocol}");
        // Where the capture cut it off, they are there.
        packet[3] = 200;
        let cut = decode_cut(LinkType::RAW, &packet, 200);
        assert_eq!(cut.packet().transport.ports(), (257, 257), "{protocol}");
    }
}

#[test]
fn an_urgent_byte_at_the_end_of_a_segment_is_none_of_its_stream() {
    const URGENT: u16 = weir_common::record::tcp_flags::URG;
    for (pointer, flags, payload, urgent) in [
        (4, URGENT, &b"dat"[..], 1),
        (4, 0, b"data", 0),
        (3, URGENT, b"data", 0),
        (5, URGENT, b"data", 0),
        (0, URGENT, b"data", 0),
    ] {
        let mut bytes = IPV4_TCP;
        (bytes[33], bytes[39]) = (flags as u8, pointer);
        let frame =
            Frame { time: Timestamp::MIN, link: LinkType::RAW, interface: 0, wire_len: 44, data: &bytes };
        let Parsed::Packet(packet) = parse(&frame, Tunnels::Outer, &mut DecodeCounters::default()) else {
            panic!("no packet")
        };
        let Transport::Tcp(tcp) = packet.transport else { panic!("{packet:?}") };
        assert_eq!(packet.stream_payload(&tcp), (payload, urgent), "{pointer}");
    }
}

#[test]
fn tags_of_bridges_are_passed_over() {
    let cases: [&[u8]; 6] = [
        &[0x89, 0x26, 1, 2, 3, 4, 8, 0],
        &[0x89, 0x3f, 1, 2, 3, 4, 5, 6, 8, 0],
        &[0x88, 0xe7, 1, 2, 3, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 8, 0],
        &[0x89, 0x03, 0, 5, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 8, 0],
        &[0x65, 0x58, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 8, 0],
        &[0x89, 0x26, 1, 2, 3, 4, 0x81, 0, 0, 7, 8, 0],
    ];
    for header in cases {
        assert_eq!(
            decode(LinkType::ETHERNET, &join(&[&MACS, header, &IPV4_TCP])).payload(),
            b"data",
            "{header:x?}"
        );
        let cut = decode(LinkType::ETHERNET, &join(&[&MACS, &header[..header.len() - 1]]));
        assert!(cut.packet.is_none() && cut.counters.truncated == 1, "{header:x?}");
    }
    let tagged = decode(LinkType::ETHERNET, &join(&[&MACS, cases[5], &IPV4_TCP]));
    assert_eq!(tagged.packet().vlans, [7, 0]);
    // So many frames one inside of the other, and no more.
    for (frames, is_packet) in [(4, true), (5, false)] {
        let nested = [&MACS[..], &[0x65, 0x58]].concat().repeat(frames);
        let decoded = decode(LinkType::ETHERNET, &join(&[&nested, &MACS, &[8, 0], &IPV4_TCP]));
        assert_eq!(
            (decoded.packet.is_some(), decoded.counters.other_ethertype),
            (is_packet, u64::from(!is_packet))
        );
    }
    let endless = [&MACS[..], &[0x88, 0x47, 0, 0, 1, 0]].concat().repeat(10_000);
    assert!(decode(LinkType::ETHERNET, &endless).packet.is_none());
}
