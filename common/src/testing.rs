//! Builders for tests: a record from the few values that a test is about.
//!
//! In: what matters to the test. Out: a [`FlowRecord`] whose other fields have dull, plausible values.
//! Only with the feature `testing`; panics on text that is no address, as a test should.

use crate::app::App;
use crate::evidence::Evidence;
use crate::features::Features;
use crate::metadata::{Field, Metadata};
use crate::net::{Address, CommunityId, FlowKey, protocol};
use crate::record::{DirectionStats, EndReason, FlowRecord, FlowState, tcp_flags};
use crate::time::Timestamp;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The time at which every built record starts unless it says otherwise: 2026-11-20T12:00:00Z.
pub const START: Timestamp = Timestamp::from_parts(1_795_176_000, 0);

const OPENED: u16 = tcp_flags::SYN | tcp_flags::ACK | tcp_flags::PSH | tcp_flags::FIN;

/// Builds one flow record.
#[derive(Clone, Debug)]
pub struct RecordBuilder {
    record: FlowRecord,
}

impl RecordBuilder {
    /// A completed TCP connection of one second; ends as `10.0.0.5:40000` or `[2001:db8::1]:443`.
    pub fn tcp(initiator: &str, responder: &str) -> RecordBuilder {
        RecordBuilder::between(socket(initiator), socket(responder), protocol::TCP).flags(OPENED, OPENED)
    }

    /// A UDP exchange; ends as in [`RecordBuilder::tcp`].
    pub fn udp(initiator: &str, responder: &str) -> RecordBuilder {
        RecordBuilder::between(socket(initiator), socket(responder), protocol::UDP)
            .packets(1, 1)
            .octets(70, 150)
    }

    /// An ICMP or ICMPv6 echo that was answered; ends as addresses.
    pub fn echo(initiator: &str, responder: &str) -> RecordBuilder {
        let (from, to) = (address(initiator), address(responder));
        let (number, kind) = if from.is_ipv4() { (protocol::ICMP, 8) } else { (protocol::ICMPV6, 128) };
        let mut builder = RecordBuilder::between(SocketAddr::new(from, 0), SocketAddr::new(to, 0), number);
        builder.record.icmp = Some((kind, 0));
        builder.packets(1, 1).octets(84, 84)
    }

    fn between(initiator: SocketAddr, responder: SocketAddr, protocol: u8) -> RecordBuilder {
        let key = FlowKey {
            initiator: Address::from(initiator.ip()),
            responder: Address::from(responder.ip()),
            initiator_port: initiator.port(),
            responder_port: responder.port(),
            protocol,
        };
        let direction = DirectionStats { ttl_min: 64, ttl_max: 64, ..DirectionStats::default() };
        let record = FlowRecord {
            key,
            flow_id: 0,
            community_id: CommunityId([0; 20]),
            start: START,
            end: START.plus(Duration::from_secs(1)),
            forward: direction,
            reverse: direction,
            icmp: None,
            vlans: [0, 0],
            interface: 0,
            end_reason: EndReason::EndOfFlow,
            state: FlowState::Closed,
            app: App::Unknown,
            metadata: None,
            tunnel: None,
            at_shutdown: false,
            signatures: None,
            evidence: None,
            features: Features::default(),
        };
        RecordBuilder { record }.packets(6, 5).octets(800, 2000)
    }

    /// Starts `seconds` after [`START`], keeping its duration.
    pub fn after(self, seconds: f64) -> RecordBuilder {
        self.at(START.plus(Duration::from_secs_f64(seconds)))
    }

    /// Starts then, keeping its duration.
    pub fn at(mut self, start: Timestamp) -> RecordBuilder {
        let duration = self.record.end.since(self.record.start);
        self.record.start = start;
        self.record.end = start.plus(duration);
        self
    }

    /// Lasts that long.
    pub fn lasting(mut self, duration: Duration) -> RecordBuilder {
        self.record.end = self.record.start.plus(duration);
        self
    }

    /// Packets of initiator and responder.
    pub fn packets(mut self, forward: u64, reverse: u64) -> RecordBuilder {
        (self.record.forward.packets, self.record.reverse.packets) = (forward, reverse);
        self
    }

    /// Packets in the sensor's ring, at extents in their text form, until a time.
    pub fn evidence(mut self, extents: &str, expires: Option<Timestamp>) -> RecordBuilder {
        let extents = extents.parse().expect("a test writes extents as RUN.LANE:FIRST-LAST");
        let frames_kept = self.record.forward.packets + self.record.reverse.packets;
        self.record.evidence = Some(Box::new(Evidence { extents, frames_kept, frames_missed: 0, expires }));
        self
    }

    /// IP octets of initiator and responder.
    pub fn octets(mut self, forward: u64, reverse: u64) -> RecordBuilder {
        (self.record.forward.octets, self.record.reverse.octets) = (forward, reverse);
        self
    }

    /// TCP control bits of initiator and responder.
    pub fn flags(mut self, forward: u16, reverse: u16) -> RecordBuilder {
        (self.record.forward.tcp_flags, self.record.reverse.tcp_flags) = (forward, reverse);
        self
    }

    /// Nothing came back.
    pub fn unanswered(mut self) -> RecordBuilder {
        let tcp = self.record.key.protocol == protocol::TCP;
        self.record.state = FlowState::New;
        self.record.end_reason = EndReason::IdleTimeout;
        self.record.reverse = DirectionStats::default();
        let forward = if tcp { tcp_flags::SYN } else { 0 };
        self.packets(1, 0).octets(60, 0).flags(forward, 0)
    }

    /// A TCP connection that was answered by a reset.
    pub fn refused(self) -> RecordBuilder {
        self.packets(1, 1).octets(60, 40).flags(tcp_flags::SYN, tcp_flags::RST | tcp_flags::ACK)
    }

    /// The application recognised.
    pub fn app(mut self, app: App) -> RecordBuilder {
        self.record.app = app;
        self
    }

    /// Why the record was made.
    pub fn end_reason(mut self, reason: EndReason) -> RecordBuilder {
        self.record.end_reason = reason;
        self
    }

    /// The flow's identifier within its sensor's run.
    pub fn flow_id(mut self, id: u64) -> RecordBuilder {
        self.record.flow_id = id;
        self
    }

    /// A text that inspection learned.
    pub fn text(mut self, field: Field, value: &str) -> RecordBuilder {
        self.metadata().set_text(field, value);
        self
    }

    /// A number that inspection learned.
    pub fn number(mut self, field: Field, value: u64) -> RecordBuilder {
        self.metadata().set_number(field, value);
        self
    }

    /// Texts that inspection learned.
    pub fn list(mut self, field: Field, values: &[&str]) -> RecordBuilder {
        for value in values {
            self.metadata().add(field, value);
        }
        self
    }

    fn metadata(&mut self) -> &mut Metadata {
        self.record.metadata.get_or_insert_default()
    }

    /// The record, with its Community ID.
    pub fn build(mut self) -> FlowRecord {
        self.record.community_id = CommunityId::of(&self.record.key, self.record.icmp, 0);
        self.record
    }
}

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("a test writes an end as address:port")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("a test writes an address")
}
