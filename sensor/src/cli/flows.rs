//! The decoder's word to a query by flow: to which flow a frame belongs.
//!
//! In: frames of the ring. Out: Community IDs with the configured seed, as the sensor gave them. Frames are judged
//! alone where they are read; a fragment is judged in order of time, by those of its datagram before it.

use crate::capture::Frame;
use crate::config::SensorConfig;
use crate::counters::DecodeCounters;
use crate::decode::config::{DecodeConfig, Tunnels};
use crate::decode::{Decoder, Ip, Parsed, Transport, parse};
use crate::query::flow::{Alone, Datagram, FlowOf, Fragment, FrameFlow, InOrder};
use foldhash::fast::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;
use weir_common::net::{CommunityId, FlowKey};

/// Flows whose identifiers a thread remembers, so that a packet seldom costs a SHA-1; a power of two. The table is
/// made with the first packet: a judge of fragments seldom sees one.
const IDS_HELD: usize = 1 << 10;

/// How flows are told apart.
pub(super) struct Flows {
    seed: u16,
    decode: DecodeConfig,
    fragment_bytes_max: u32,
    fragment_timeout: Duration,
}

impl Flows {
    pub(super) fn new(config: &SensorConfig) -> Flows {
        Flows {
            seed: config.flow.community_id_seed,
            // A copy of a packet is a packet of its flow here.
            decode: DecodeConfig { duplicate_window_ms: 0, ..config.decode.clone() },
            fragment_bytes_max: config.flow.fragment_bytes_max,
            fragment_timeout: Duration::from_millis(config.flow.fragment_timeout_ms),
        }
    }
}

impl FlowOf for Flows {
    fn alone(&self) -> Alone<'_> {
        let (mut ids, mut counters) = (Ids::new(self.seed), DecodeCounters::default());
        let tunnels = self.decode.tunnels;
        Box::new(move |frame| match parse(frame, tunnels, &mut counters) {
            Parsed::Packet(packet) => {
                let id = ids.of(&packet.ip, packet.transport);
                // Without a transport header the flow has no ports, unless it is only out of sight.
                let is_cut = frame.data.len() < frame.wire_len as usize;
                match packet.transport {
                    Transport::None if is_cut => FrameFlow::Cut(id),
                    // The head of a tunnel's packet may end before the packet inside of it shows.
                    _ if is_cut && tunnels == Tunnels::Inner && packet.may_hold_another() => {
                        FrameFlow::Cut(id)
                    }
                    _ => FrameFlow::Of(id),
                }
            }
            Parsed::Fragment(fragment) => {
                let (identification, protocol) = fragment.datagram();
                let (source, destination) = (fragment.ip().source, fragment.ip().destination);
                let datagram = Datagram { source, destination, identification, protocol };
                let orphaned = ids.of(fragment.ip(), Transport::None);
                FrameFlow::Fragment(Fragment { datagram, orphaned })
            }
            Parsed::Nothing => FrameFlow::None,
        })
    }

    fn in_order(&self) -> InOrder<'_> {
        let mut decoder = Decoder::new(self.fragment_bytes_max, self.fragment_timeout).with(&self.decode);
        let (mut ids, mut counters) = (Ids::new(self.seed), DecodeCounters::default());
        Box::new(move |frame: &Frame<'_>| {
            decoder.decode(frame, &mut counters).map(|packet| ids.of(&packet.ip, packet.transport))
        })
    }

    fn fragment_timeout(&self) -> Duration {
        self.fragment_timeout
    }
}

/// What makes a packet's flow.
type Tuple = (FlowKey, Option<(u8, u8)>);

/// Identifiers by flow, the last one of each place in a table.
struct Ids {
    seed: u16,
    hasher: RandomState,
    held: Vec<Option<(Tuple, CommunityId)>>,
}

impl Ids {
    fn new(seed: u16) -> Ids {
        Ids { seed, hasher: RandomState::default(), held: Vec::new() }
    }

    fn of(&mut self, ip: &Ip, transport: Transport) -> CommunityId {
        let (initiator_port, responder_port) = transport.ports();
        let key = FlowKey {
            initiator: ip.source,
            responder: ip.destination,
            initiator_port,
            responder_port,
            protocol: ip.protocol,
        };
        let icmp = match transport {
            Transport::Icmp { kind, code } => Some((kind, code)),
            _ => None,
        };
        let tuple = (key, icmp);
        if self.held.is_empty() {
            self.held.resize(IDS_HELD, None);
        }
        let place = self.hasher.hash_one(tuple) as usize % IDS_HELD;
        let Some(slot) = self.held.get_mut(place) else { return CommunityId::of(&key, icmp, self.seed) };
        match slot {
            Some((known, id)) if *known == tuple => *id,
            _ => {
                let id = CommunityId::of(&key, icmp, self.seed);
                *slot = Some((tuple, id));
                id
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::LinkType;
    use weir_common::time::Timestamp;

    /// Ethernet, IPv4, UDP from 10.0.0.1:1000 to 10.0.0.2:53.
    const DNS: [u8; 46] = [
        0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 1, 8, 0, // Ethernet
        0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
        3, 232, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4, // UDP
    ];

    fn frame(data: &[u8]) -> Frame<'_> {
        Frame { time: Timestamp(0), link: LinkType::ETHERNET, interface: 0, wire_len: 46, data }
    }

    fn flows() -> Flows {
        Flows {
            seed: 0,
            decode: DecodeConfig::default(),
            fragment_bytes_max: 1 << 20,
            fragment_timeout: Duration::from_secs(30),
        }
    }

    #[test]
    fn both_directions_are_one_flow_and_the_second_question_is_answered_from_memory() {
        let flows = flows();
        let mut alone = flows.alone();
        let mut back = DNS;
        back[26..34].rotate_left(4);
        back[34..38].rotate_left(2);
        let FrameFlow::Of(id) = alone(&frame(&DNS)) else { panic!() };
        assert_eq!([alone(&frame(&back)), alone(&frame(&DNS))], [FrameFlow::Of(id); 2]);
        back[37] ^= 1;
        assert_ne!(alone(&frame(&back)), FrameFlow::Of(id));
    }

    #[test]
    fn a_frame_that_ends_before_its_ports_may_be_of_another_flow() {
        let flows = flows();
        let mut alone = flows.alone();
        let whole = alone(&frame(&DNS));
        for length in 0..DNS.len() {
            match alone(&frame(&DNS[..length])) {
                FrameFlow::Of(id) => assert!(length >= 38 && whole == FrameFlow::Of(id), "{length}"),
                FrameFlow::Cut(_) => assert!((34..38).contains(&length), "{length}"),
                FrameFlow::None => assert!(length < 34, "{length}"),
                FrameFlow::Fragment(_) => panic!("{length}"),
            }
        }
    }

    #[test]
    fn a_later_fragment_has_the_flow_of_the_first_one() {
        let flows = flows();
        let (mut alone, mut in_order) = (flows.alone(), flows.in_order());
        let (mut first, mut second) = (DNS, DNS);
        first[20] = 0x20;
        second[21] = 1;
        let fragments = [alone(&frame(&first)), alone(&frame(&second))];
        assert!(matches!(fragments, [FrameFlow::Fragment(one), FrameFlow::Fragment(other)] if one == other));
        let FrameFlow::Of(id) = alone(&frame(&DNS)) else { panic!() };
        assert_eq!([in_order(&frame(&first)), in_order(&frame(&second))], [Some(id); 2]);
    }
}
