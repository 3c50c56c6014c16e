//! Tunnels: each kind with a packet inside of it, nested ones, bombs, and what only looks like one.

use super::*;
use crate::decode::config::{DecodeConfig, Tunnels};
use crate::decode::{Parsed, bare_frame, bare_frame_in, carriers, parse, tunnel_of};
use weir_common::record::TunnelKind;

/// An IPv4 header of a protocol before a payload.
fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend(payload);
    packet
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend([0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend(payload);
    packet
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = source.to_be_bytes().to_vec();
    datagram.extend(destination.to_be_bytes());
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// What travels: a datagram between ports 7 and 9.
fn inner() -> Vec<u8> {
    v4(17, &udp(7, 9, b"inside"))
}

fn ethernet(packet: &[u8]) -> Vec<u8> {
    let kind: [u8; 2] = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    [&MACS[..], &kind, packet].concat()
}

/// What kind of tunnel, and which.
type Which = (TunnelKind, Option<u32>);

/// Ports and depth of what is measured, and the tunnel it came in.
fn entered(bytes: &[u8]) -> ((u16, u16), u8, Option<Which>) {
    let frame = frame_of(bytes);
    let mut counters = DecodeCounters::default();
    match parse(&frame, Tunnels::Inner, &mut counters) {
        Parsed::Packet(packet) => {
            let tunnel = tunnel_of(&frame).map(|tunnel| (tunnel.kind, tunnel.id));
            assert_eq!(u64::from(packet.tunnel_depth), counters.tunnelled);
            (packet.transport.ports(), packet.tunnel_depth, tunnel)
        }
        other => panic!("{other:?}"),
    }
}

fn frame_of(bytes: &[u8]) -> Frame<'_> {
    Frame {
        time: Timestamp::MIN,
        link: LinkType::RAW,
        interface: 0,
        wire_len: bytes.len() as u32,
        data: bytes,
    }
}

fn every_kind() -> Vec<(TunnelKind, Option<u32>, Vec<u8>)> {
    let inside = inner();
    let framed = ethernet(&inside);
    let gre = |header: &[u8], payload: &[u8]| v4(47, &[header, payload].concat());
    let over =
        |port: u16, header: &[u8], payload: &[u8]| v4(17, &udp(5000, port, &[header, payload].concat()));
    let labels = [0, 1, 0, 64, 0, 2, 1, 64];
    let wireless = [&[8, 1][..], &[0; 22], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]].concat();
    let ppp = [&[0xff, 3, 0, 0x21][..], &inside].concat();
    vec![
        (TunnelKind::IpInIp, None, v4(4, &inside)),
        (TunnelKind::SixInFour, None, v4(41, &v6(17, &udp(7, 9, b"six")))),
        (TunnelKind::Gre, None, gre(&[0, 0, 8, 0], &inside)),
        (TunnelKind::Gre, Some(5), gre(&[0x20, 0, 8, 0, 0, 0, 0, 5], &inside)),
        (TunnelKind::Gre, Some(5), gre(&[0xb0, 0, 0x65, 0x58, 1, 1, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1], &framed)),
        (TunnelKind::Gre, Some(3), gre(&[0x30, 0x81, 0x88, 0x0b, 0, 1, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1], &ppp)),
        (TunnelKind::Gre, None, gre(&[0, 0, 0x88, 0x47], &[&labels[..], &inside].concat())),
        (TunnelKind::Gre, None, gre(&[0, 0, 0x82, 0], &[&wireless[..], &inside].concat())),
        (TunnelKind::Erspan, None, gre(&[0, 0, 0x88, 0xbe], &framed)),
        (
            TunnelKind::Erspan,
            Some(9),
            gre(&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, 9, 0, 0, 0, 0], &framed),
        ),
        (
            TunnelKind::Erspan,
            Some(9),
            gre(&[&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 0, 0, 9][..], &[0; 8]].concat(), &framed),
        ),
        (TunnelKind::EtherIp, None, v4(97, &[&[0x30, 0][..], &framed].concat())),
        (TunnelKind::Mpls, None, v4(137, &[&labels[..], &inside].concat())),
        (TunnelKind::Mpls, None, over(6635, &labels, &[&[0, 0, 0, 1][..], &framed].concat())),
        (TunnelKind::Vxlan, Some(0x010203), over(4789, &[8, 0, 0, 0, 1, 2, 3, 0], &framed)),
        (TunnelKind::Vxlan, Some(1), over(4790, &[0x0c, 0, 0, 1, 0, 0, 1, 0], &inside)),
        (TunnelKind::Geneve, Some(7), over(6081, &[1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 2, 3, 4], &framed)),
        (TunnelKind::Gtp, Some(6), over(2152, &[0x30, 255, 0, 34, 0, 0, 0, 6], &inside)),
        (
            TunnelKind::Gtp,
            Some(6),
            over(2152, &[0x34, 255, 0, 42, 0, 0, 0, 6, 0, 0, 0, 0x85, 1, 0, 9, 0], &inside),
        ),
        (TunnelKind::Teredo, None, over(3544, &[0, 0, 1, 2, 3, 4, 5, 6], &v6(17, &udp(7, 9, b"six")))),
        (TunnelKind::Teredo, None, over(6000, &[], &v6(17, &udp(7, 9, b"six")))),
        (TunnelKind::L2tp, Some(0x10002), over(1701, &[0, 2, 0, 1, 0, 2], &ppp)),
        (
            TunnelKind::Ayiya,
            None,
            over(5072, &[&[0x40, 0x50, 1, 41, 0, 0, 0, 0][..], &[0; 36]].concat(), &v6(17, &udp(7, 9, b""))),
        ),
        (TunnelKind::Lisp, Some(4), over(4341, &[8, 0, 0, 0, 0, 0, 4, 0], &inside)),
        (TunnelKind::Gre, None, over(4754, &[0, 0, 8, 0], &inside)),
    ]
}

#[test]
fn the_packet_inside_of_each_kind_is_measured_and_the_tunnel_is_kept() {
    for (kind, id, bytes) in every_kind() {
        assert_eq!(entered(&bytes), ((7, 9), 1, Some((kind, id))), "{kind:?} {id:?}");
    }
}

#[test]
fn outside_is_measured_when_that_is_wanted() {
    for (kind, _, bytes) in every_kind() {
        let Parsed::Packet(packet) = parse(&frame_of(&bytes), Tunnels::Outer, &mut DecodeCounters::default())
        else {
            panic!("{kind:?}");
        };
        assert_eq!((packet.tunnel_depth, packet.ip.protocol), (0, bytes[9]), "{kind:?}");
        assert!(packet.may_hold_another(), "{kind:?}");
    }
}

#[test]
fn what_is_cut_off_or_changed_anywhere_neither_panics_nor_vanishes() {
    for (_, _, bytes) in every_kind() {
        for cut in 20..bytes.len() {
            let frame = Frame { data: &bytes[..cut], ..frame_of(&bytes) };
            assert!(!matches!(
                parse(&frame, Tunnels::Inner, &mut DecodeCounters::default()),
                Parsed::Nothing
            ));
        }
        let mut damaged = bytes.clone();
        for at in 20..bytes.len() {
            for change in [0x01, 0x40, 0x80, 0xff] {
                damaged[at] = bytes[at] ^ change;
                parse(&frame_of(&damaged), Tunnels::Inner, &mut DecodeCounters::default());
                tunnel_of(&frame_of(&damaged));
            }
            damaged[at] = bytes[at];
        }
    }
}

#[test]
fn tunnels_in_tunnels_are_opened_to_a_limit() {
    let mut bytes = inner();
    for depth in 1..=12u8 {
        bytes = v4(4, &bytes);
        let frame = frame_of(&bytes);
        let mut counters = DecodeCounters::default();
        let Parsed::Packet(packet) = parse(&frame, Tunnels::Inner, &mut counters) else { panic!("{depth}") };
        assert_eq!(packet.tunnel_depth, depth.min(8));
        assert_eq!(counters.tunnel_limit, u64::from(depth > 8));
        assert_eq!(packet.transport.ports(), if depth > 8 { (0, 0) } else { (7, 9) });
    }
}

#[test]
fn what_only_has_a_tunnel_s_port_stays_what_it_is() {
    let dns = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];
    for port in [1701, 2152, 3544, 4341, 4754, 4789, 4790, 5072, 6081, 6635, 8472] {
        assert_eq!(entered(&v4(17, &udp(port, 53, &dns))), ((port, 53), 0, None), "{port}");
    }
    // An IPv6 packet without an address of Teredo's, on no port of its.
    let mut six = v6(17, &udp(7, 9, b"six"));
    six[8..12].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
    assert_eq!(entered(&v4(17, &udp(6000, 6001, &six))), ((6000, 6001), 0, None));
}

#[test]
fn the_datagram_that_fragments_make_is_looked_into() {
    let whole = udp(5000, 4789, &[&[8, 0, 0, 0, 0, 0, 1, 0][..], &ethernet(&inner())].concat());
    let (first, second) = whole.split_at(32);
    let part = |payload: &[u8], offset: u16| {
        let mut packet = v4(17, payload);
        packet[6..8].copy_from_slice(&offset.to_be_bytes());
        packet
    };
    let mut decoder = Decoder::new(1 << 20, Duration::from_secs(30)).with(&DecodeConfig::default());
    let mut counters = DecodeCounters::default();
    let outer = part(first, 0x2000);
    let ports = decoder.decode(&frame_of(&outer), &mut counters).map(|packet| packet.transport.ports());
    assert_eq!(ports, Some((5000, 4789)));
    let rest = part(second, 4);
    let ports = decoder.decode(&frame_of(&rest), &mut counters).map(|packet| packet.transport.ports());
    assert_eq!(ports, Some((7, 9)));
}

#[test]
fn what_carries_a_packet_is_told_from_the_innermost_tunnel_out() {
    let depths = |bytes: &[u8]| {
        let mut told = Vec::new();
        carriers(&frame_of(bytes), &mut |packet| told.push((packet.ip.protocol, packet.tunnel_depth)));
        told
    };
    assert_eq!(depths(&inner()), []);
    assert_eq!(depths(&v4(4, &inner())), [(4, 0)]);
    let vxlan = [&[8, 0, 0, 0, 0, 0, 7, 0][..], &ethernet(&v4(4, &inner()))].concat();
    assert_eq!(
        depths(&v4(47, &[&[0, 0, 8, 0][..], &v4(17, &udp(5000, 4789, &vxlan))].concat())),
        [(4, 2), (17, 1), (47, 0)]
    );
    // A fragment inside is carried as well.
    let mut fragment = inner();
    fragment[6] = 0x20;
    assert_eq!(depths(&v4(4, &fragment)), [(4, 0)]);
    // What looks like a tunnel and is none carries nothing, and a bomb has an end.
    assert_eq!(depths(&v4(4, b"x")), []);
    let bomb = (0..40).fold(inner(), |packet, _| v4(4, &packet));
    assert_eq!(depths(&bomb).len(), 8);
}

#[test]
fn frames_that_hold_no_packet_are_found_in_tunnels_as_well() {
    let arp = [&MACS[..], &[8, 6], &[0, 1, 8, 0, 6, 4, 0, 1], &[0; 20]].concat();
    let of = |bytes: &[u8]| {
        let Parsed::Packet(packet) = parse(&frame_of(bytes), Tunnels::Inner, &mut DecodeCounters::default())
        else {
            panic!("no packet")
        };
        bare_frame_in(&packet).map(|bare| (bare.is_arp, bare.tunnel.map(|tunnel| tunnel.kind)))
    };
    let vxlan = |frame: &[u8]| v4(17, &udp(5000, 4789, &[&[8, 0, 0, 0, 0, 0, 7, 0][..], frame].concat()));
    assert_eq!(of(&vxlan(&arp)), Some((true, Some(TunnelKind::Vxlan))));
    assert_eq!(
        of(&vxlan(&[&MACS[..], &[0x88, 0xcc, 0, 0]].concat())),
        Some((false, Some(TunnelKind::Vxlan)))
    );
    assert_eq!(of(&vxlan(&ethernet(&inner()))), None, "a packet");
    assert_eq!(of(&inner()), None);
    let tagged = [&MACS[..], &[0x81, 0, 0, 5, 8, 6], &arp[14..]].concat();
    let frame = Frame { link: LinkType::ETHERNET, data: &tagged, ..frame_of(&tagged) };
    let bare = bare_frame(&frame).expect("a frame");
    assert_eq!((bare.is_arp, bare.event().vlans), (true, [5, 0]));
    assert!(bare_frame(&frame_of(&tagged)).is_none(), "another link");
}
