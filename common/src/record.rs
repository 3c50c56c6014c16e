//! The flow record: a closed or sliced flow, what IPFIX carries from the sensor to the collector.

use crate::app::App;
use crate::evidence::Evidence;
use crate::features::{Features, History};
use crate::metadata::Metadata;
use crate::net::{Address, CommunityId, Direction, FlowKey, protocol};
use crate::time::Timestamp;
use std::fmt;

/// TCP control bits, as in the header's low twelve bits (RFC 9293, IPFIX `tcpControlBits`).
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u16 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u16 = 0x02;
    /// Reset the connection.
    pub const RST: u16 = 0x04;
    /// Push.
    pub const PSH: u16 = 0x08;
    /// The acknowledgement number is valid.
    pub const ACK: u16 = 0x10;
    /// Urgent pointer is valid.
    pub const URG: u16 = 0x20;
    /// ECN echo.
    pub const ECE: u16 = 0x40;
    /// Congestion window reduced.
    pub const CWR: u16 = 0x80;
}

/// What one direction of a flow carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectionStats {
    /// Packets.
    pub packets: u64,
    /// Octets from the IP header on, as the header declares them (IPFIX `octetDeltaCount`).
    pub octets: u64,
    /// Octets of the frames, as they were on the wire (IPFIX `layer2OctetDeltaCount`); of packets in a tunnel, from
    /// their own link header on. 0 where nobody counted them.
    pub frame_octets: u64,
    /// Every TCP control bit seen.
    pub tcp_flags: u16,
    /// Lowest IPv4 TTL or IPv6 hop limit seen; 0 before the first packet.
    pub ttl_min: u8,
    /// Highest TTL or hop limit seen.
    pub ttl_max: u8,
    /// IPv4 type of service or IPv6 traffic class of the first packet.
    pub tos: u8,
}

impl DirectionStats {
    /// Nothing was seen.
    pub const NONE: DirectionStats = DirectionStats {
        packets: 0,
        octets: 0,
        frame_octets: 0,
        tcp_flags: 0,
        ttl_min: 0,
        ttl_max: 0,
        tos: 0,
    };
}

/// Why a record was made (IANA IPFIX `flowEndReason`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EndReason {
    /// Nothing was seen for the idle timeout.
    #[default]
    IdleTimeout = 1,
    /// The flow goes on; this is a slice of it.
    ActiveTimeout = 2,
    /// The transport protocol ended it: FIN from both ends or RST.
    EndOfFlow = 3,
    /// The sensor was stopped, or a capture file ended.
    ForcedEnd = 4,
    /// The flow table was full and this flow was the least recently seen.
    LackOfResources = 5,
}

impl EndReason {
    /// The reason of an IPFIX value.
    pub const fn from_ipfix(value: u8) -> Option<EndReason> {
        Some(match value {
            1 => EndReason::IdleTimeout,
            2 => EndReason::ActiveTimeout,
            3 => EndReason::EndOfFlow,
            4 => EndReason::ForcedEnd,
            5 => EndReason::LackOfResources,
            _ => return None,
        })
    }

    /// The word EVE's `flow.reason` uses (`timeout`, `forced`), extended where EVE has none.
    pub const fn name(self) -> &'static str {
        match self {
            EndReason::IdleTimeout => "timeout",
            EndReason::ActiveTimeout => "active",
            EndReason::EndOfFlow => "closed",
            EndReason::ForcedEnd => "forced",
            EndReason::LackOfResources => "emergency",
        }
    }
}

/// The state of a flow in EVE's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FlowState {
    /// One side only so far.
    #[default]
    New = 0,
    /// Both sides spoke; for TCP, the handshake is complete.
    Established = 1,
    /// TCP ended by FIN or RST.
    Closed = 2,
}

impl FlowState {
    /// The word EVE's `flow.state` uses.
    pub const fn name(self) -> &'static str {
        match self {
            FlowState::New => "new",
            FlowState::Established => "established",
            FlowState::Closed => "closed",
        }
    }

    /// The state of a stored number.
    pub const fn from_number(number: u8) -> Option<FlowState> {
        Some(match number {
            0 => FlowState::New,
            1 => FlowState::Established,
            2 => FlowState::Closed,
            _ => return None,
        })
    }
}

/// What carries a flow's packets where they travel in a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TunnelKind {
    /// IPv4 in IP, RFC 2003.
    IpInIp = 1,
    /// IPv6 in IP, RFC 4213.
    SixInFour = 2,
    /// GRE, RFC 2784, and PPTP's, RFC 2637.
    Gre = 3,
    /// ERSPAN, types I to III.
    Erspan = 4,
    /// EtherIP, RFC 3378.
    EtherIp = 5,
    /// MPLS in IP or UDP, RFC 4023 and RFC 7510.
    Mpls = 6,
    /// VXLAN, RFC 7348, and VXLAN-GPE.
    Vxlan = 7,
    /// GENEVE, RFC 8926.
    Geneve = 8,
    /// GTP-U, 3GPP TS 29.281.
    Gtp = 9,
    /// Teredo, RFC 4380.
    Teredo = 10,
    /// L2TP, RFC 2661.
    L2tp = 11,
    /// AYIYA.
    Ayiya = 12,
    /// LISP, RFC 9300.
    Lisp = 13,
}

impl TunnelKind {
    const NAMES: [(TunnelKind, &'static str); 13] = [
        (TunnelKind::IpInIp, "ipip"),
        (TunnelKind::SixInFour, "6in4"),
        (TunnelKind::Gre, "gre"),
        (TunnelKind::Erspan, "erspan"),
        (TunnelKind::EtherIp, "etherip"),
        (TunnelKind::Mpls, "mpls"),
        (TunnelKind::Vxlan, "vxlan"),
        (TunnelKind::Geneve, "geneve"),
        (TunnelKind::Gtp, "gtp"),
        (TunnelKind::Teredo, "teredo"),
        (TunnelKind::L2tp, "l2tp"),
        (TunnelKind::Ayiya, "ayiya"),
        (TunnelKind::Lisp, "lisp"),
    ];

    /// Its name in records and events.
    pub fn name(self) -> &'static str {
        TunnelKind::NAMES.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<TunnelKind> {
        TunnelKind::NAMES.iter().find(|(_, have)| *have == name).map(|(kind, _)| *kind)
    }
}

/// The tunnel that a flow's first packet came in: the innermost one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// What it is.
    pub kind: TunnelKind,
    /// Which of the tunnels between these ends: VNI, TEID, key, session.
    pub id: Option<u32>,
    /// Address and port it came from; port 0 where there are none.
    pub source: (Address, u16),
    /// Address and port it went to.
    pub destination: (Address, u16),
    /// How many tunnels there are around the flow, one inside of the other.
    pub depth: u8,
}

/// As IPFIX carries it: kind, source address and port, destination address and port, depth, and the identifier
/// where there is one, with spaces between them.
impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tunnel { kind, id, source, destination, depth } = self;
        write!(f, "{} {} {} {} {} {depth}", kind.name(), source.0, source.1, destination.0, destination.1)?;
        id.map_or(Ok(()), |id| write!(f, " {id}"))
    }
}

impl Tunnel {
    /// The tunnel of a text, as `Display` writes it.
    pub fn parse(text: &str) -> Option<Tunnel> {
        let mut words = text.split(' ');
        let kind = TunnelKind::from_name(words.next()?)?;
        let source = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let destination = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let depth = words.next()?.parse().ok()?;
        let id = words.next().map(str::parse).transpose().ok()?;
        Some(Tunnel { kind, id, source, destination, depth })
    }
}

/// A closed or sliced flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// The ends, initiator first.
    pub key: FlowKey,
    /// Identifies the flow's slices and events within its sensor's run (IPFIX `flowId`, EVE `flow_id`).
    pub flow_id: u64,
    /// Community ID version 1.
    pub community_id: CommunityId,
    /// Time of the first packet.
    pub start: Timestamp,
    /// Time of the last packet.
    pub end: Timestamp,
    /// Initiator to responder.
    pub forward: DirectionStats,
    /// Responder to initiator.
    pub reverse: DirectionStats,
    /// Type and code of the first packet, for ICMP and ICMPv6.
    pub icmp: Option<(u8, u8)>,
    /// 802.1Q identifiers, outermost first; 0 where there is none.
    pub vlans: [u16; 2],
    /// Interface the first packet came in by: index in the sensor's list (IPFIX `ingressInterface`).
    pub interface: u32,
    /// Why the record was made.
    pub end_reason: EndReason,
    /// Whether it was made because the capture ended, whatever ended the flow. Known to the sensor alone.
    pub at_shutdown: bool,
    /// State at the end of the record.
    pub state: FlowState,
    /// The application recognised.
    pub app: App,
    /// What inspection learned; boxed because most flows have none.
    pub metadata: Option<Box<Metadata>>,
    /// The tunnel that the packets came in.
    pub tunnel: Option<Box<Tunnel>>,
    /// Where the packets are in the sensor's ring; none: nothing is said about it, as without a ring.
    pub evidence: Option<Box<Evidence>>,
    /// What its packets say beyond counts.
    pub features: Features,
    /// What signatures made of it; none: nothing. Known to the sensor alone.
    pub signatures: Option<Box<SignatureMarks>>,
}

/// A signature that matched something of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureAlert {
    /// Time of the packet that it is told with.
    pub time: Timestamp,
    /// When the flow began.
    pub flow_start: Timestamp,
    /// The flow's ends, initiator first.
    pub key: FlowKey,
    /// The flow, as its record names it; 0: the alert is of a frame that holds no packet.
    pub flow_id: u64,
    /// The flow's Community ID.
    pub community_id: CommunityId,
    /// Who sent what matched: the initiator is [`Direction::Forward`].
    pub direction: Direction,
    /// The flow's application, as far as it is known.
    pub app: App,
    /// `gid`.
    pub generator: u32,
    /// `sid`.
    pub signature: u32,
    /// `rev`.
    pub revision: u32,
    /// 1 is worst.
    pub severity: u8,
    /// The end that the rule calls the target.
    pub target: Option<Direction>,
    /// `msg`.
    pub message: String,
    /// The rule's class in words.
    pub category: String,
    /// Where the flow's packets up to then are in the sensor's ring.
    pub evidence: Option<Box<Evidence>>,
}

impl SignatureAlert {
    /// Its flow, as far as the alert knows it: without counts.
    pub fn flow(&self) -> FlowRecord {
        FlowRecord {
            key: self.key,
            flow_id: self.flow_id,
            community_id: self.community_id,
            start: self.flow_start.min(self.time),
            end: self.time,
            app: self.app,
            evidence: self.evidence.clone(),
            ..FlowRecord::EMPTY
        }
    }
}

/// What signatures made of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignatureMarks {
    /// Whether an alert was told of it.
    pub has_alerted: bool,
    /// Whether a rule with `bypass` ended what rules look for in it.
    pub is_bypassed: bool,
    /// What rules would have done with it: `drop` or `pass`.
    pub action: Option<&'static str>,
    /// The marks they set, as members of an EVE event: JSON without the braces around it.
    pub members: Vec<u8>,
}

impl FlowRecord {
    /// A record that says nothing.
    pub const EMPTY: FlowRecord = FlowRecord {
        key: FlowKey {
            initiator: Address([0; 16]),
            responder: Address([0; 16]),
            initiator_port: 0,
            responder_port: 0,
            protocol: 0,
        },
        flow_id: 0,
        community_id: CommunityId([0; 20]),
        start: Timestamp(0),
        end: Timestamp(0),
        forward: DirectionStats::NONE,
        reverse: DirectionStats::NONE,
        icmp: None,
        vlans: [0, 0],
        interface: 0,
        end_reason: EndReason::IdleTimeout,
        state: FlowState::New,
        app: App::Unknown,
        metadata: None,
        tunnel: None,
        at_shutdown: false,
        signatures: None,
        evidence: None,
        features: Features::EMPTY,
    };

    /// What happened, in Zeek's letters. Of UDP, which has no history of its own: who sent anything.
    pub fn history(&self) -> History {
        if self.key.protocol != protocol::UDP || !self.features.history.is_empty() {
            return self.features.history;
        }
        let mut history = History::EMPTY;
        for (stats, letter) in [(&self.forward, b'D'), (&self.reverse, b'd')] {
            if stats.packets > 0 {
                history.push(letter);
            }
        }
        history
    }

    /// The metadata, empty when there is none.
    pub fn metadata(&self) -> &Metadata {
        static NONE: Metadata = Metadata::EMPTY;
        self.metadata.as_deref().unwrap_or(&NONE)
    }
}
