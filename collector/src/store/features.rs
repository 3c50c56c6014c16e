//! The columns about what a flow's packets say beyond counts.
//!
//! In: records. Out: columns that are null where the exporter did not say it, as in files that were written before
//! there were these columns. The names are those of the sensor's `--records`.

use arrow::array::{
    ArrayRef, Float32Builder, Int8Builder, ListBuilder, PrimitiveBuilder, StringBuilder, UInt8Builder,
    UInt16Builder, UInt32Builder, UInt64Builder,
};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field as Column};
use std::sync::Arc;
use weir_common::features::{DirectionFeatures, mac_text};
use weir_common::net::{Direction, protocol};
use weir_common::record::{DirectionStats, FlowRecord};

/// Their names and types, in the order of [`FeatureColumns::finish`].
pub(super) fn columns() -> Vec<Column> {
    let optional = |name: &str, kind: DataType| Column::new(name, kind, true);
    let list = |kind: DataType| DataType::List(Arc::new(Column::new("item", kind, true)));
    let mut columns = vec![
        optional("conn_state", DataType::Utf8),
        optional("history", DataType::Utf8),
        optional("server_rtt_us", DataType::UInt32),
        optional("client_rtt_us", DataType::UInt32),
    ];
    for side in ["ts", "tc"] {
        for (name, kind) in [
            ("win", DataType::UInt16),
            ("retrans", DataType::UInt32),
            ("out_of_order", DataType::UInt32),
            ("dup_acks", DataType::UInt32),
            ("zero_windows", DataType::UInt32),
            ("missed_bytes", DataType::UInt64),
            ("entropy", DataType::Float32),
            ("pkt_len_min", DataType::UInt16),
            ("pkt_len_max", DataType::UInt16),
            ("pkt_len_mean", DataType::Float32),
            ("pkt_len_stddev", DataType::Float32),
            ("iat_min_us", DataType::UInt32),
            ("iat_max_us", DataType::UInt32),
            ("iat_mean_us", DataType::Float32),
            ("iat_stddev_us", DataType::Float32),
        ] {
            columns.push(optional(&format!("{name}_{side}"), kind));
        }
    }
    columns.extend([
        optional("src_mac", DataType::Utf8),
        optional("dst_mac", DataType::Utf8),
        optional("mpls", DataType::UInt32),
        optional("tunnel", DataType::Utf8),
        optional("splt_lengths", list(DataType::UInt16)),
        optional("splt_times_us", list(DataType::UInt32)),
        optional("splt_flags", list(DataType::UInt8)),
        optional("splt_directions", list(DataType::Int8)),
    ]);
    columns
}

/// Rows on their way into a batch.
#[derive(Default)]
pub(super) struct FeatureColumns {
    connection: StringBuilder,
    history: StringBuilder,
    server_rtt_us: UInt32Builder,
    client_rtt_us: UInt32Builder,
    sides: [SideColumns; 2],
    source_mac: StringBuilder,
    destination_mac: StringBuilder,
    mpls: UInt32Builder,
    tunnel: StringBuilder,
    lengths: ListBuilder<UInt16Builder>,
    times: ListBuilder<UInt32Builder>,
    flags: ListBuilder<UInt8Builder>,
    directions: ListBuilder<Int8Builder>,
}

impl FeatureColumns {
    pub(super) fn push(&mut self, record: &FlowRecord) {
        let features = &record.features;
        self.connection.append_option(features.connection.map(|state| state.name()));
        let history = record.history();
        // Without the exporter's word on the connection, nothing was said.
        let told = features.connection.is_some() && !history.is_empty();
        self.history.append_option(told.then_some(history.as_str()));
        self.server_rtt_us.append_option(features.server_rtt_us);
        self.client_rtt_us.append_option(features.client_rtt_us);
        let [to_server, to_client] = &mut self.sides;
        to_server.push(record, &features.forward, &record.forward);
        to_client.push(record, &features.reverse, &record.reverse);
        push_mac(&mut self.source_mac, features.forward.source_mac);
        push_mac(&mut self.destination_mac, features.forward.destination_mac);
        self.mpls.append_option(Some(features.mpls[0] >> 4).filter(|_| features.mpls[0] != 0));
        self.tunnel.append_option(record.tunnel.as_ref().map(ToString::to_string));
        let packets = &features.first_packets;
        push_list(&mut self.lengths, packets.iter().map(|packet| packet.payload));
        push_list(&mut self.times, packets.iter().map(|packet| packet.time_us));
        push_list(&mut self.flags, packets.iter().map(|packet| packet.tcp_flags));
        let sign = |direction| if direction == Direction::Forward { 1 } else { -1 };
        push_list(&mut self.directions, packets.iter().map(|packet| sign(packet.direction)));
    }

    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.connection.finish()),
            Arc::new(self.history.finish()),
            Arc::new(self.server_rtt_us.finish()),
            Arc::new(self.client_rtt_us.finish()),
        ];
        for side in &mut self.sides {
            columns.extend(side.finish());
        }
        let rest: [ArrayRef; 8] = [
            Arc::new(self.source_mac.finish()),
            Arc::new(self.destination_mac.finish()),
            Arc::new(self.mpls.finish()),
            Arc::new(self.tunnel.finish()),
            Arc::new(self.lengths.finish()),
            Arc::new(self.times.finish()),
            Arc::new(self.flags.finish()),
            Arc::new(self.directions.finish()),
        ];
        columns.extend(rest);
        columns
    }
}

fn push_mac(column: &mut StringBuilder, mac: [u8; 6]) {
    let text = mac_text(mac);
    column.append_option(std::str::from_utf8(&text).ok().filter(|_| mac != [0; 6]));
}

/// A list, or null where there is nothing in it.
fn push_list<T: ArrowPrimitiveType>(
    column: &mut ListBuilder<PrimitiveBuilder<T>>,
    values: impl ExactSizeIterator<Item = T::Native>,
) {
    let is_there = values.len() > 0;
    values.for_each(|value| column.values().append_value(value));
    column.append(is_there);
}

#[derive(Default)]
struct SideColumns {
    window: UInt16Builder,
    /// Retransmitted, out of order, duplicate acknowledgements, windows of zero.
    trouble: [UInt32Builder; 4],
    missed: UInt64Builder,
    entropy: Float32Builder,
    octets: [UInt16Builder; 2],
    octets_spread: [Float32Builder; 2],
    gaps: [UInt32Builder; 2],
    gaps_spread: [Float32Builder; 2],
}

impl SideColumns {
    fn push(&mut self, record: &FlowRecord, features: &DirectionFeatures, stats: &DirectionStats) {
        let is_there = stats.packets > 0;
        let is_tcp = is_there && record.key.protocol == protocol::TCP && record.features.connection.is_some();
        self.window.append_option(is_tcp.then_some(features.initial_window));
        let trouble = &features.trouble;
        let counts =
            [trouble.retransmitted, trouble.out_of_order, trouble.duplicate_acks, trouble.zero_windows];
        for (column, count) in self.trouble.iter_mut().zip(counts) {
            column.append_option(is_tcp.then_some(count));
        }
        self.missed.append_option(is_tcp.then_some(trouble.missed_octets));
        self.entropy.append_option(features.entropy_bits().map(|bits| bits as f32));
        let is_told = is_there && record.features.has_statistics;
        for (column, octets) in self.octets.iter_mut().zip([features.octets_min, features.octets_max]) {
            column.append_option(is_told.then_some(octets));
        }
        let spread = features.octets_mean_and_deviation(stats.packets, stats.octets).filter(|_| is_told);
        push_spread(&mut self.octets_spread, spread);
        let spread = features.gap_mean_and_deviation_us(stats.packets).filter(|_| is_told);
        for (column, gap) in self.gaps.iter_mut().zip([features.gap_min_us, features.gap_max_us]) {
            column.append_option(spread.map(|_| gap));
        }
        push_spread(&mut self.gaps_spread, spread);
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.window.finish())];
        columns.extend(self.trouble.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        columns.push(Arc::new(self.missed.finish()));
        columns.push(Arc::new(self.entropy.finish()));
        columns.extend(self.octets.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        columns.extend(self.octets_spread.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        columns.extend(self.gaps.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        columns.extend(self.gaps_spread.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        columns
    }
}

/// Mean and standard deviation.
fn push_spread(columns: &mut [Float32Builder; 2], spread: Option<(f64, f64)>) {
    let [mean, deviation] = columns;
    mean.append_option(spread.map(|spread| spread.0 as f32));
    deviation.append_option(spread.map(|spread| spread.1 as f32));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::Exporter;
    use crate::store::columns::{Rows, schema};
    use crate::store::tests::record;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Float32Type, Int8Type, UInt16Type, UInt32Type};
    use weir_common::features::{ConnectionState, History, PacketBrief, TcpTrouble};

    #[test]
    fn what_was_said_is_stored_and_what_was_not_is_null() {
        let exporter = Exporter { name: "edge-1".into(), observation_domain: 7 };
        let mut told = record(1);
        (told.forward.packets, told.forward.octets) = (2, 100);
        let features = &mut told.features;
        features.connection = Some(ConnectionState::Rsto);
        features.history = History::from(&b"ShADR"[..]);
        features.server_rtt_us = Some(0);
        features.has_statistics = true;
        features.forward.trouble = TcpTrouble { retransmitted: 3, ..TcpTrouble::NONE };
        features.forward.octets_squared = 40 * 40 + 60 * 60;
        features.forward.entropy = Some(255);
        features.forward.source_mac = [2, 0, 0, 0, 0, 0xab];
        features.first_packets = vec![
            PacketBrief { time_us: 0, payload: 17, tcp_flags: 0x18, direction: Direction::Forward },
            PacketBrief { time_us: 9, payload: 1, tcp_flags: 0x10, direction: Direction::Reverse },
        ];
        let mut rows = Rows::new(schema());
        rows.push(&exporter, &record(0));
        rows.push(&exporter, &told);
        let batch = rows.finish().unwrap();
        for column in columns() {
            assert!(batch.column_by_name(column.name()).unwrap().is_null(0), "{}", column.name());
        }
        let column = |name: &str| batch.column_by_name(name).unwrap().clone();
        assert_eq!(column("conn_state").as_string::<i32>().value(1), "RSTO");
        assert_eq!(column("history").as_string::<i32>().value(1), "ShADR");
        assert_eq!(column("server_rtt_us").as_primitive::<UInt32Type>().value(1), 0);
        assert!(column("client_rtt_us").is_null(1));
        assert_eq!(column("retrans_ts").as_primitive::<UInt32Type>().value(1), 3);
        assert_eq!(column("retrans_tc").as_primitive::<UInt32Type>().value(1), 0);
        assert_eq!(column("pkt_len_mean_ts").as_primitive::<Float32Type>().value(1), 50.0);
        assert_eq!(column("pkt_len_stddev_ts").as_primitive::<Float32Type>().value(1), 10.0);
        assert_eq!(column("entropy_ts").as_primitive::<Float32Type>().value(1), 8.0);
        assert_eq!(column("src_mac").as_string::<i32>().value(1), "02:00:00:00:00:ab");
        let lengths = column("splt_lengths").as_list::<i32>().value(1);
        assert_eq!(lengths.as_primitive::<UInt16Type>().values().to_vec(), [17, 1]);
        let directions = column("splt_directions").as_list::<i32>().value(1);
        assert_eq!(directions.as_primitive::<Int8Type>().values().to_vec(), [1, -1]);
    }
}
