//! The decoder beside etherparse's lax slicing: on frames of every make-up, whole and cut off, both
//! must see the same packet.

use super::*;
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

/// A frame to be made: every part may be there or not.
#[derive(Clone, Debug)]
struct Make {
    tags: Vec<u16>,
    is_v6: bool,
    ipv4_options: usize,
    extensions: Vec<(u8, usize)>,
    protocol: u8,
    tcp_options: usize,
    payload: Vec<u8>,
    padding: usize,
    cut: usize,
    noise: [u8; 20],
}

fn make() -> impl Strategy<Value = Make> {
    let extension = (prop::sample::select(&[0u8, 43, 60][..]), 0usize..3);
    let protocol = prop::sample::select(&[6u8, 17, 1, 58, 132][..]);
    (
        (prop::collection::vec(0u16..4096, 0..3), any::<bool>(), 0usize..11),
        (prop::collection::vec(extension, 0..3), protocol, 0usize..11),
        (prop::collection::vec(any::<u8>(), 0..40), 0usize..20, 0usize..90, any::<[u8; 20]>()),
    )
        .prop_map(|(link, headers, rest)| Make {
            tags: link.0,
            is_v6: link.1,
            ipv4_options: link.2,
            // RFC 8200 allows hop-by-hop options in the first place only, and etherparse insists.
            extensions: headers
                .0
                .into_iter()
                .enumerate()
                .filter(|(at, e)| *at == 0 || e.0 != 0)
                .map(|e| e.1)
                .collect(),
            protocol: headers.1,
            tcp_options: headers.2,
            payload: rest.0,
            padding: rest.1,
            cut: rest.2,
            noise: rest.3,
        })
}

impl Make {
    fn transport(&self) -> Vec<u8> {
        let mut header = match self.protocol {
            6 => {
                let mut header = self.noise.to_vec();
                header[12] = ((5 + self.tcp_options as u8) << 4) | (self.noise[12] & 1);
                header.extend(vec![1; self.tcp_options * 4]);
                header
            }
            17 => {
                let length = 8 + self.payload.len() as u16;
                join(&[&self.noise[..4], &length.to_be_bytes(), &[0, 0]])
            }
            132 => self.noise[..12].to_vec(),
            // Destination unreachable: a type on which etherparse needs nothing more.
            _ => join(&[&[3, 1], &self.noise[..6]]),
        };
        header.extend(&self.payload);
        header
    }

    fn network(&self) -> Vec<u8> {
        let transport = self.transport();
        if self.is_v6 {
            let mut rest = Vec::new();
            let after = self.extensions.iter().map(|e| e.0).skip(1).chain([self.protocol]);
            for ((_, words), next) in self.extensions.iter().zip(after) {
                rest.extend([next, *words as u8]);
                // PadN over the rest of the header.
                rest.extend([1, (words * 8 + 4) as u8]);
                rest.extend(vec![0; words * 8 + 4]);
            }
            rest.extend(transport);
            return ipv6_with(self.extensions.first().map_or(self.protocol, |e| e.0), &rest);
        }
        let mut header = IPV4_TCP[..20].to_vec();
        header[0] = 0x45 + self.ipv4_options as u8;
        header.extend(vec![1; self.ipv4_options * 4]);
        let total_len = (header.len() + transport.len()) as u16;
        header[2..4].copy_from_slice(&total_len.to_be_bytes());
        header[9] = self.protocol;
        join(&[&header, &transport])
    }

    fn frame(&self) -> Vec<u8> {
        let mut frame = MACS.to_vec();
        for tag in &self.tags {
            frame.extend(join(&[&[0x81, 0x00], &tag.to_be_bytes()]));
        }
        frame.extend(if self.is_v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
        frame.extend(self.network());
        frame.extend(vec![0xee; self.padding]);
        frame
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn etherparse_sees_the_same_packet(make in make()) {
        let whole = make.frame();
        let data = &whole[..whole.len().saturating_sub(make.cut)];
        let ours = decode_cut(LinkType::ETHERNET, data, whole.len());
        let Ok(theirs) = LaxSlicedPacket::from_ethernet(data) else {
            prop_assert!(ours.packet.is_none());
            return Ok(());
        };
        let Some(net) = theirs.net.as_ref() else {
            // Cut-off IPv4 options are a reason for etherparse to give up; the addresses are good.
            let has_addresses = !make.is_v6 && data.len() >= 14 + 4 * make.tags.len() + 20;
            prop_assert_eq!(ours.packet.is_some(), has_addresses);
            return Ok(());
        };
        let packet = ours.packet();
        let vlans: Vec<u16> = theirs.vlan_ids().iter().map(|id| id.value()).collect();
        prop_assert_eq!(&packet.vlans[..vlans.len()], &vlans[..]);
        let payload = match net {
            LaxNetSlice::Ipv4(ip) => {
                prop_assert_eq!(packet.ip.source, Address::v4(ip.header().source()));
                prop_assert_eq!(packet.ip.destination, Address::v4(ip.header().destination()));
                prop_assert_eq!(packet.ip.octets, u32::from(ip.header().total_len()));
                ip.payload().clone()
            }
            LaxNetSlice::Ipv6(ip) => {
                prop_assert_eq!(packet.ip.source, Address::v6(ip.header().source()));
                prop_assert_eq!(packet.ip.destination, Address::v6(ip.header().destination()));
                prop_assert_eq!(packet.ip.octets, u32::from(ip.header().payload_length()) + 40);
                ip.payload().clone()
            }
            LaxNetSlice::Arp(_) => unreachable!("none was made"),
        };
        prop_assert_eq!(packet.ip.protocol, payload.ip_number.0);
        match theirs.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                let Transport::Tcp(ours_tcp) = packet.transport else { panic!("{packet:?}") };
                prop_assert_eq!(packet.transport.ports(), (tcp.source_port(), tcp.destination_port()));
                prop_assert_eq!(ours_tcp.sequence, tcp.sequence_number());
                prop_assert_eq!(ours_tcp.acknowledgement, tcp.acknowledgment_number());
                prop_assert_eq!(ours_tcp.window, tcp.window_size());
                prop_assert_eq!(ours_tcp.flags & 2 != 0, tcp.syn());
                prop_assert_eq!(ours.payload(), tcp.payload());
            }
            Some(TransportSlice::Udp(udp)) => {
                prop_assert_eq!(packet.transport.ports(), (udp.source_port(), udp.destination_port()));
                prop_assert_eq!(ours.payload(), udp.payload());
            }
            Some(TransportSlice::Icmpv4(icmp)) => {
                let kind = Transport::Icmp { kind: icmp.type_u8(), code: icmp.code_u8() };
                prop_assert_eq!(packet.transport, kind);
            }
            Some(TransportSlice::Icmpv6(icmp)) => {
                let kind = Transport::Icmp { kind: icmp.type_u8(), code: icmp.code_u8() };
                prop_assert_eq!(packet.transport, kind);
            }
            _ => {}
        }
    }
}
