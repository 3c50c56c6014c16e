//! For tests: a record, and an exporter that sends Weir's own templates and records as messages.

use weir_common::app::App;
use weir_common::features::Features;
use weir_common::ipfix::MESSAGE_BYTES_MAX;
use weir_common::ipfix::OPTIONS_TEMPLATE_SET;
use weir_common::ipfix::TEMPLATE_SET;
use weir_common::ipfix::alert::{SHORTENED, write_alert};
use weir_common::ipfix::encode::{MessageBuilder, Pushed, TextLimits, encode_flow, stamp};
use weir_common::ipfix::options::{OptionsKind, Place, Sensor};
use weir_common::ipfix::template::{Layout, LayoutDetail, write_template};
use weir_common::metadata::WEIR_PEN;
use weir_common::net::{Address, CommunityId, FlowKey, protocol};
use weir_common::record::{DirectionStats, EndReason, FlowRecord, FlowState, SignatureAlert};
use weir_common::time::Timestamp;

/// 2026-11-20T12:00:00Z.
pub(crate) const NOON: Timestamp = Timestamp::from_parts(1_795_176_000, 0);

/// A TCP flow that ended `seconds` after [`NOON`].
pub(crate) fn record(seconds: u64) -> FlowRecord {
    let key = FlowKey {
        initiator: Address::v4([10, 0, 0, 5]),
        responder: Address::v4([192, 0, 2, 7]),
        initiator_port: 40_000,
        responder_port: 443,
        protocol: protocol::TCP,
    };
    FlowRecord {
        key,
        flow_id: seconds,
        community_id: CommunityId::of(&key, None, 0),
        start: NOON,
        end: Timestamp::from_parts(NOON.seconds() + seconds, 0),
        forward: DirectionStats {
            packets: 3,
            octets: 300,
            frame_octets: 0,
            tcp_flags: 0x1b,
            ttl_min: 64,
            ttl_max: 64,
            tos: 0,
        },
        reverse: DirectionStats {
            packets: 2,
            octets: 2000,
            frame_octets: 0,
            tcp_flags: 0x1b,
            ttl_min: 60,
            ttl_max: 60,
            tos: 0,
        },
        icmp: None,
        vlans: [0, 0],
        interface: 1,
        end_reason: EndReason::EndOfFlow,
        state: FlowState::Closed,
        app: App::Tls,
        metadata: None,
        tunnel: None,
        at_shutdown: false,
        signatures: None,
        evidence: None,
        features: Features::default(),
    }
}

/// An exporting process with its sequence number.
pub(crate) struct Exporting {
    builder: MessageBuilder,
    sequence: u32,
}

impl Exporting {
    /// One for an observation domain.
    pub(crate) fn new(domain: u32) -> Exporting {
        Exporting { builder: MessageBuilder::new(domain, MESSAGE_BYTES_MAX), sequence: 0 }
    }

    fn finish(&mut self, records: u32) -> Vec<u8> {
        let mut message = self.builder.finish(Vec::new());
        stamp(&mut message, 1_795_176_000, self.sequence);
        self.sequence += records;
        message
    }

    /// The templates of plain records and of those of TLS: all that there are do not fit into one message.
    pub(crate) fn templates(&mut self) -> Vec<u8> {
        let is_used = |layout: &Layout| {
            matches!(layout.app, App::Unknown | App::Tls) && layout.detail == LayoutDetail::None
        };
        for layout in Layout::all().filter(is_used) {
            let pushed = self
                .builder
                .push(TEMPLATE_SET, |out| write_template(layout.id(), None, &layout.fields(), WEIR_PEN, out));
            assert_eq!(pushed, Pushed::In);
        }
        self.finish(0)
    }

    /// The template of places, in a message of its own.
    pub(crate) fn place_template(&mut self) -> Vec<u8> {
        let kind = OptionsKind::Place;
        let scope = Some(kind.scope_fields());
        self.builder.push(OPTIONS_TEMPLATE_SET, |out| {
            write_template(kind.id(), scope, &kind.fields(), WEIR_PEN, out);
        });
        self.finish(0)
    }

    /// A message of records that says where they stand in a spool.
    pub(crate) fn placed(&mut self, place: Place, records: &[FlowRecord]) -> Vec<u8> {
        assert_eq!(self.builder.push(OptionsKind::Place.id(), |out| place.write(7, out)), Pushed::In);
        let message = self.records(records);
        self.sequence += 1;
        message
    }

    /// A message of records.
    pub(crate) fn records(&mut self, records: &[FlowRecord]) -> Vec<u8> {
        for record in records {
            let layout = Layout::of(record);
            let pushed = self
                .builder
                .push(layout.id(), |out| encode_flow(record, layout, TextLimits::ALL, WEIR_PEN, out));
            assert_eq!(pushed, Pushed::In);
        }
        self.finish(records.len() as u32)
    }

    /// A message that says the sensor's name.
    pub(crate) fn name(&mut self, name: &str) -> Vec<u8> {
        let kind = OptionsKind::Sensor;
        let scope = Some(kind.scope_fields());
        self.builder.push(OPTIONS_TEMPLATE_SET, |out| {
            write_template(kind.id(), scope, &kind.fields(), WEIR_PEN, out);
        });
        let sensor = Sensor { name: name.into(), ..Sensor::default() };
        assert_eq!(self.builder.push(kind.id(), |out| sensor.write(7, out)), Pushed::In);
        self.finish(1)
    }

    /// A message of an alert, with its template.
    pub(crate) fn alert(&mut self, alert: &SignatureAlert) -> Vec<u8> {
        let kind = OptionsKind::Alert;
        let scope = Some(kind.scope_fields());
        self.builder.push(OPTIONS_TEMPLATE_SET, |out| {
            write_template(kind.id(), scope, &kind.fields(), WEIR_PEN, out);
        });
        assert_eq!(self.builder.push(kind.id(), |out| write_alert(alert, SHORTENED[0], out)), Pushed::In);
        self.finish(1)
    }
}
