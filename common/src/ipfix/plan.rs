//! A template compiled into a flat list of steps, so that decoding a record is one walk over it.
//!
//! In: a template's field specifiers, once; a data record's bytes, often. Out: flow records. Elements
//! that mean the same (a time in several precisions, a count as delta and as total) are decided when
//! compiling: the best one is read, the others are skipped. What is unknown is skipped by its length.

use super::VARIABLE_LENGTH;
use super::elements::NUMBER_NOT_SEEN;
use super::ops::{Op, Unit};
use super::template::FieldSpec;
use super::time::from_ntp;
use crate::app::App;
use crate::evidence::Evidence;
use crate::features::{
    ConnectionState, DirectionFeatures, FIRST_PACKETS_MAX, Features, History, PacketBrief,
};
use crate::metadata::{Field, Metadata, Shape};
use crate::net::{Address, CommunityId, Direction, protocol};
use crate::record::{DirectionStats, EndReason, FlowRecord, FlowState, Tunnel, tcp_flags};
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug)]
struct Step {
    op: Op,
    /// Octets, or [`VARIABLE_LENGTH`].
    length: u16,
}

/// A compiled data template.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    steps: Box<[Step]>,
    /// What a record does not say itself.
    has_community_id: bool,
    has_state: bool,
}

/// What a record's message and exporter say about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    /// The message's export time, Unix seconds.
    pub(super) export_time_s: u32,
    /// When the exporter started, Unix milliseconds; 0 when it never said.
    pub(super) system_init_ms: u64,
}

/// What a record is given beside the fields of [`FlowRecord`].
#[derive(Default)]
struct Extras {
    source_seen: bool,
    destination_seen: bool,
    reversed: bool,
    start: Option<(Unit, u64)>,
    end: Option<(Unit, u64)>,
    duration_ns: u64,
    system_init_ms: u64,
    extents_seen: bool,
}

impl Plan {
    /// Compiles a template, whose fields have [`crate::metadata::WEIR_PEN`] for Weir's own elements.
    pub(super) fn compile(fields: &[FieldSpec]) -> Plan {
        let mut ops: Vec<(Op, u16)> = Vec::with_capacity(fields.len());
        // Which op fills a place, and its rank. There are far fewer places than a hostile template can
        // have fields, so that searching them takes no time that grows with its square.
        let mut places: Vec<(usize, Op, usize)> = Vec::new();
        for field in fields {
            let (op, rank) = Op::of(field.element);
            ops.push((Op::Skip, field.length));
            if op == Op::Skip || !op.accepts(field.length) {
                continue;
            }
            let this = (ops.len() - 1, op, rank);
            match places.iter_mut().find(|(_, have, _)| have.same_place(op)) {
                Some(place) if place.2 > rank => *place = this,
                Some(_) => {}
                None => places.push(this),
            }
        }
        for (at, op, _) in &places {
            ops[*at].0 = *op;
        }
        let has = |wanted: Op| places.iter().any(|(_, op, _)| *op == wanted);
        let (has_community_id, has_state) = (has(Op::CommunityId), has(Op::State));
        let mut steps: Vec<Step> = Vec::with_capacity(ops.len());
        for (op, length) in ops {
            match steps.last_mut() {
                // What is skipped one after the other is skipped at once.
                Some(Step { op: Op::Skip, length: before })
                    if op == Op::Skip
                        && length != VARIABLE_LENGTH
                        && *before != VARIABLE_LENGTH
                        && before.checked_add(length).is_some_and(|sum| sum != VARIABLE_LENGTH) =>
                {
                    *before += length;
                }
                _ => steps.push(Step { op, length }),
            }
        }
        Plan { steps: steps.into(), has_community_id, has_state }
    }

    /// Decodes the record at the beginning of `data` and moves `data` past it. `Ok(None)` is a record
    /// without addresses; `Err` is what is needed and what is there when the record is cut off.
    pub(super) fn run(
        &self,
        data: &mut &[u8],
        around: Surroundings,
    ) -> Result<Option<FlowRecord>, (usize, usize)> {
        let mut record = FlowRecord::EMPTY;
        let mut extras = Extras { system_init_ms: around.system_init_ms, ..Extras::default() };
        let mut rest = *data;
        for step in &self.steps {
            let value = take(&mut rest, step.length)?;
            apply(step.op, value, &mut record, &mut extras);
        }
        *data = rest;
        if !(extras.source_seen && extras.destination_seen) {
            return Ok(None);
        }
        self.complete(&mut record, &extras, around);
        Ok(Some(record))
    }

    /// Fills what follows from other fields.
    fn complete(&self, record: &mut FlowRecord, extras: &Extras, around: Surroundings) {
        let system_init_ms = match (extras.system_init_ms, extras.end.or(extras.start)) {
            // Who never says when it started means, as far as anybody can tell, that the flow has just ended.
            (0, Some((Unit::UpTime, value))) => {
                (u64::from(around.export_time_s) * 1000).saturating_sub(value)
            }
            (known, _) => known,
        };
        let to_time = |(unit, value)| to_time(unit, value, around.export_time_s, system_init_ms);
        let export_time = Timestamp::from_parts(u64::from(around.export_time_s), 0);
        match (extras.start.map(to_time), extras.end.map(to_time)) {
            (Some(start), Some(end)) => (record.start, record.end) = (start, end),
            (Some(start), None) => {
                (record.start, record.end) = (start, Timestamp(start.0.saturating_add(extras.duration_ns)));
            }
            (None, end) => {
                let end = end.unwrap_or(export_time);
                (record.start, record.end) = (Timestamp(end.0.saturating_sub(extras.duration_ns)), end);
            }
        }
        if !matches!(record.key.protocol, protocol::ICMP | protocol::ICMPV6) && !self.has_community_id {
            // Other exporters send type and code of every flow; for Weir's, it stands in the template.
            record.icmp = None;
        }
        if extras.reversed {
            let key = &mut record.key;
            std::mem::swap(&mut key.initiator, &mut key.responder);
            std::mem::swap(&mut key.initiator_port, &mut key.responder_port);
            std::mem::swap(&mut record.forward, &mut record.reverse);
            std::mem::swap(&mut record.features.forward, &mut record.features.reverse);
        }
        if !self.has_community_id {
            if matches!(record.key.protocol, protocol::ICMP | protocol::ICMPV6) {
                // Some exporters put type and code into the destination port, as NetFlow did.
                let port = std::mem::take(&mut record.key.responder_port);
                record.key.initiator_port = 0;
                if record.icmp.is_none() && port != 0 {
                    record.icmp = Some(port.to_be_bytes().into());
                }
            }
            record.community_id = CommunityId::of(&record.key, record.icmp, 0);
        }
        if !extras.extents_seen {
            // Counts without a place lead nowhere, and must not say that nothing was kept.
            record.evidence = None;
        }
        if !self.has_state {
            record.state = state_of(record);
        }
    }
}

/// The state of a flow whose exporter does not say it.
fn state_of(record: &FlowRecord) -> FlowState {
    let (there, back) = (record.forward.tcp_flags, record.reverse.tcp_flags);
    if (there | back) & tcp_flags::RST != 0 || there & back & tcp_flags::FIN != 0 {
        FlowState::Closed
    } else if record.forward.packets > 0 && record.reverse.packets > 0 {
        FlowState::Established
    } else {
        FlowState::New
    }
}

fn to_time(unit: Unit, value: u64, export_time_s: u32, system_init_ms: u64) -> Timestamp {
    let nanos = match unit {
        Unit::Ntp => return from_ntp(value),
        Unit::Seconds => value.saturating_mul(1_000_000_000),
        Unit::Milliseconds => value.saturating_mul(1_000_000),
        Unit::UpTime => {
            up_time_ms(value, u64::from(export_time_s) * 1000, system_init_ms).saturating_mul(1_000_000)
        }
        Unit::DeltaMicroseconds => {
            (u64::from(export_time_s) * 1_000_000_000).saturating_sub(value.saturating_mul(1000))
        }
    };
    Timestamp(nanos)
}

/// Milliseconds of a time since the exporter's start. A device that is up for 49.7 days begins again at zero: meant is the
/// time that is nearest to the export.
fn up_time_ms(value: u64, export_time_ms: u64, system_init_ms: u64) -> u64 {
    const TURN_MS: i128 = 1 << 32;
    let time = i128::from(system_init_ms) + i128::from(value);
    let turns = (i128::from(export_time_ms) - time + TURN_MS / 2).div_euclid(TURN_MS);
    u64::try_from(time + turns * TURN_MS).unwrap_or(0)
}

/// The next field's octets; `Err` is what is needed and what is there.
#[inline]
pub(super) fn take<'a>(rest: &mut &'a [u8], length: u16) -> Result<&'a [u8], (usize, usize)> {
    let length = if length == VARIABLE_LENGTH { variable_length(rest)? } else { usize::from(length) };
    match rest.split_at_checked(length) {
        Some((value, after)) => {
            *rest = after;
            Ok(value)
        }
        None => Err((length, rest.len())),
    }
}

/// Reads a length in front of its value (RFC 7011 section 7).
fn variable_length(rest: &mut &[u8]) -> Result<usize, (usize, usize)> {
    match **rest {
        [255, high, low, ref after @ ..] => {
            *rest = after;
            Ok(usize::from(u16::from_be_bytes([high, low])))
        }
        [255, ..] => Err((3, rest.len())),
        [length, ref after @ ..] => {
            *rest = after;
            Ok(usize::from(length))
        }
        [] => Err((1, 0)),
    }
}

/// An unsigned number of one to eight octets (RFC 7011 section 6.2 allows fewer than the type has).
#[inline]
pub(super) fn number(value: &[u8]) -> u64 {
    match *value {
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_be_bytes([a, b])),
        [a, b, c, d] => u64::from(u32::from_be_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => value.iter().take(8).fold(0, |sum, octet| sum << 8 | u64::from(*octet)),
    }
}

#[inline]
fn stats(record: &mut FlowRecord, direction: Direction) -> &mut DirectionStats {
    match direction {
        Direction::Forward => &mut record.forward,
        Direction::Reverse => &mut record.reverse,
    }
}

#[inline]
fn apply(op: Op, value: &[u8], record: &mut FlowRecord, extras: &mut Extras) {
    match op {
        Op::Skip => {}
        Op::SourceV4 => set_v4(&mut record.key.initiator, &mut extras.source_seen, value),
        Op::DestinationV4 => set_v4(&mut record.key.responder, &mut extras.destination_seen, value),
        Op::SourceV6 => set_v6(&mut record.key.initiator, &mut extras.source_seen, value),
        Op::DestinationV6 => set_v6(&mut record.key.responder, &mut extras.destination_seen, value),
        Op::SourcePort => record.key.initiator_port = number(value) as u16,
        Op::DestinationPort => record.key.responder_port = number(value) as u16,
        Op::Protocol => record.key.protocol = number(value) as u8,
        Op::Packets(direction) => stats(record, direction).packets = number(value),
        Op::Octets(direction) => stats(record, direction).octets = number(value),
        Op::FrameOctets(direction) => stats(record, direction).frame_octets = number(value),
        Op::TcpFlags(direction) => stats(record, direction).tcp_flags = number(value) as u16,
        Op::TtlMin(direction) => stats(record, direction).ttl_min = number(value) as u8,
        Op::TtlMax(direction) => stats(record, direction).ttl_max = number(value) as u8,
        Op::Tos(direction) => stats(record, direction).tos = number(value) as u8,
        Op::Start(unit) => extras.start = Some((unit, number(value))),
        Op::End(unit) => extras.end = Some((unit, number(value))),
        Op::EndReason => {
            record.end_reason = EndReason::from_ipfix(number(value) as u8).unwrap_or_default();
        }
        Op::FlowId => record.flow_id = number(value),
        Op::VlanOuter => record.vlans[0] = number(value) as u16,
        Op::VlanInner => record.vlans[1] = number(value) as u16,
        Op::Interface => record.interface = number(value) as u32,
        Op::State => record.state = FlowState::from_number(number(value) as u8).unwrap_or_default(),
        Op::CommunityId => {
            if let Ok(digest) = value.try_into() {
                record.community_id = CommunityId(digest);
            }
        }
        Op::Application => record.app = application(value),
        _ => apply_features(op, value, record, extras),
    }
}

/// What the sensor says of every flow's packets.
#[inline]
fn apply_features(op: Op, value: &[u8], record: &mut FlowRecord, extras: &mut Extras) {
    let features = &mut record.features;
    match op {
        Op::Connection => features.connection = ConnectionState::from_number(number(value) as u8),
        Op::History => features.history = History::from(value),
        Op::ServerRtt => features.server_rtt_us = microseconds(value),
        Op::ClientRtt => features.client_rtt_us = microseconds(value),
        Op::SourceMac(direction) => set_mac(&mut side(features, direction).source_mac, value),
        Op::DestinationMac(direction) => set_mac(&mut side(features, direction).destination_mac, value),
        Op::Window(direction) => side(features, direction).initial_window = number(value) as u16,
        Op::Entropy(direction) => {
            side(features, direction).entropy = Some(number(value) as u8).filter(|entropy| *entropy != 0);
        }
        Op::OctetsMin(direction) => side(features, direction).octets_min = short(value),
        Op::OctetsMax(direction) => side(features, direction).octets_max = short(value),
        Op::OctetsSquared(direction) => side(features, direction).octets_squared = number(value),
        Op::GapMin(direction) => side(features, direction).gap_min_us = number(value) as u32,
        Op::GapMax(direction) => side(features, direction).gap_max_us = number(value) as u32,
        Op::GapSum(direction) => {
            side(features, direction).gap_sum_us = number(value);
            features.has_statistics = true;
        }
        Op::GapSquared(direction) => side(features, direction).gap_squared_us2 = number(value),
        _ => apply_rare(op, value, record, extras),
    }
}

/// What most records do not have; apart, so that the common ones stay in one small loop.
#[inline(never)]
fn apply_rare(op: Op, value: &[u8], record: &mut FlowRecord, extras: &mut Extras) {
    match op {
        Op::IcmpTypeCode => {
            let [kind, code] = (number(value) as u16).to_be_bytes();
            record.icmp = Some((kind, code));
        }
        Op::IcmpType => record.icmp = Some((number(value) as u8, record.icmp.map_or(0, |icmp| icmp.1))),
        Op::IcmpCode => record.icmp = Some((record.icmp.map_or(0, |icmp| icmp.0), number(value) as u8)),
        Op::Ttl(direction) => {
            let ttl = number(value) as u8;
            let stats = stats(record, direction);
            (stats.ttl_min, stats.ttl_max) = (ttl, ttl);
        }
        // Microseconds, when both are there, have the last word.
        Op::DurationMilliseconds if extras.duration_ns == 0 => {
            extras.duration_ns = number(value).saturating_mul(1_000_000);
        }
        Op::DurationMicroseconds => extras.duration_ns = number(value).saturating_mul(1000),
        Op::SystemInit => extras.system_init_ms = number(value),
        // 2: the destination is the initiator.
        Op::BiflowDirection => extras.reversed = number(value) == 2,
        Op::Metadata(field) => set_metadata(field, value, record),
        Op::Tunnel => {
            let tunnel = std::str::from_utf8(value).ok().and_then(Tunnel::parse);
            record.tunnel = tunnel.map(Box::new);
        }
        Op::RingExtents => {
            if let Some(extents) = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) {
                evidence(record).extents = extents;
                extras.extents_seen = true;
            }
        }
        Op::RingExpiry => {
            let time = Timestamp(number(value).saturating_mul(1_000_000));
            evidence(record).expires = (time > Timestamp::MIN).then_some(time);
        }
        Op::RingFrames => evidence(record).frames_kept = number(value),
        Op::RingMissedFrames => evidence(record).frames_missed = number(value),
        Op::ServerRttMilliseconds => {
            let microseconds = number(value).saturating_mul(1000);
            let server_rtt = &mut record.features.server_rtt_us;
            // Zero is what YAF says of a flow without an answer.
            if server_rtt.is_none() && microseconds != 0 {
                *server_rtt = u32::try_from(microseconds).ok();
            }
        }
        Op::Mpls(place) => {
            if let (Some(entry), [high, middle, low]) =
                (record.features.mpls.get_mut(usize::from(place)), value)
            {
                *entry = u32::from_be_bytes([0, *high, *middle, *low]);
            }
        }
        Op::Retransmitted(direction) => {
            side(&mut record.features, direction).trouble.retransmitted = number(value) as u32;
        }
        Op::OutOfOrder(direction) => {
            side(&mut record.features, direction).trouble.out_of_order = number(value) as u32;
        }
        Op::DuplicateAcks(direction) => {
            side(&mut record.features, direction).trouble.duplicate_acks = number(value) as u32;
        }
        Op::ZeroWindows(direction) => {
            side(&mut record.features, direction).trouble.zero_windows = number(value) as u32;
        }
        Op::MissedOctets(direction) => {
            side(&mut record.features, direction).trouble.missed_octets = number(value);
        }
        Op::PacketPayloads => set_packets(record, value, |packet, value| packet.payload = value as u16),
        Op::PacketTimes => set_packets(record, value, |packet, value| packet.time_us = value as u32),
        Op::PacketFlags => set_packets(record, value, |packet, value| packet.tcp_flags = value as u8),
        Op::PacketDirections => set_packets(record, value, |packet, value| {
            packet.direction = if value == 2 { Direction::Reverse } else { Direction::Forward };
        }),
        _ => {}
    }
}

#[inline]
fn side(features: &mut Features, direction: Direction) -> &mut DirectionFeatures {
    match direction {
        Direction::Forward => &mut features.forward,
        Direction::Reverse => &mut features.reverse,
    }
}

/// A time that is all ones when it was not seen.
fn microseconds(value: &[u8]) -> Option<u32> {
    u32::try_from(number(value)).ok().filter(|time| *time != u32::MAX)
}

fn short(value: &[u8]) -> u16 {
    u16::try_from(number(value)).unwrap_or(u16::MAX)
}

fn set_mac(mac: &mut [u8; 6], value: &[u8]) {
    if let Ok(value) = value.try_into() {
        *mac = value;
    }
}

/// Reads a basicList of numbers, one of each of the first packets; what a record cannot hold is left out.
fn set_packets(record: &mut FlowRecord, value: &[u8], set: impl Fn(&mut PacketBrief, u64)) {
    const NONE: PacketBrief =
        PacketBrief { time_us: 0, payload: 0, tcp_flags: 0, direction: Direction::Forward };
    let [_semantic, high, _low, length_high, length_low, rest @ ..] = value else { return };
    let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
    let rest = if high & 0x80 == 0 { rest } else { rest.get(4..).unwrap_or_default() };
    if !(1..=8).contains(&length) {
        return;
    }
    let packets = &mut record.features.first_packets;
    for (at, value) in rest.chunks_exact(length).take(FIRST_PACKETS_MAX).enumerate() {
        if at == packets.len() {
            packets.push(NONE);
        }
        if let Some(packet) = packets.get_mut(at) {
            set(packet, number(value));
        }
    }
}

fn set_v4(address: &mut Address, seen: &mut bool, value: &[u8]) {
    // A template with both families leaves the one that is not meant zero.
    if let Ok(bytes) = <[u8; 4]>::try_from(value)
        && (!*seen || bytes != [0; 4])
    {
        (*address, *seen) = (Address::v4(bytes), true);
    }
}

fn set_v6(address: &mut Address, seen: &mut bool, value: &[u8]) {
    if let Ok(bytes) = <[u8; 16]>::try_from(value)
        && (!*seen || bytes != [0; 16])
    {
        (*address, *seen) = (Address::v6(bytes), true);
    }
}

fn application(value: &[u8]) -> App {
    if value.is_empty() {
        return App::Unknown;
    }
    // Fixed-length strings of other exporters are padded with zeros.
    let end = value.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
    std::str::from_utf8(&value[..end]).ok().and_then(App::from_name).unwrap_or_default()
}

fn set_metadata(field: Field, value: &[u8], record: &mut FlowRecord) {
    match field.shape() {
        Shape::Text if value.is_empty() => {}
        Shape::Text => metadata(record).set_bytes(field, value),
        Shape::Number => {
            let number = number(value);
            let not_seen = if field.element().enterprise == 0 { 0 } else { NUMBER_NOT_SEEN };
            if number != not_seen {
                metadata(record).set_number(field, number);
            }
        }
        Shape::TextList => set_list(field, value, record),
    }
}

fn evidence(record: &mut FlowRecord) -> &mut Evidence {
    record.evidence.get_or_insert_default()
}

fn metadata(record: &mut FlowRecord) -> &mut Metadata {
    record.metadata.get_or_insert_default()
}

/// Reads a basicList (RFC 6313 section 4.5.1) of anything as texts; one that is cut off ends early.
fn set_list(field: Field, value: &[u8], record: &mut FlowRecord) {
    let [_semantic, high, _low, length_high, length_low, rest @ ..] = value else { return };
    let length = u16::from_be_bytes([*length_high, *length_low]);
    let mut rest = if high & 0x80 == 0 { rest } else { rest.get(4..).unwrap_or_default() };
    while length != 0 && !rest.is_empty() {
        let Ok(text) = take(&mut rest, length) else { return };
        metadata(record).add(field, &String::from_utf8_lossy(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_since_the_start_is_the_one_nearest_to_the_export() {
        let start = 1_795_000_000_000;
        let day = 86_400_000;
        // Up for a day; a flow that ended an hour ago.
        assert_eq!(up_time_ms(day - 3_600_000, start + day, start), start + day - 3_600_000);
        // Up for fifty days, so that the counter has begun again.
        let up = 50 * day;
        assert_eq!(up_time_ms((up - 1000) % (1 << 32), start + up, start), start + up - 1000);
        // softflowd reading an old capture tells flows from before its own start.
        assert_eq!(up_time_ms((1 << 32) - day, start, start), start - day);
        assert_eq!(up_time_ms(0, 0, 0), 0);
    }
}
