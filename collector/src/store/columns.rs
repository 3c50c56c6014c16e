//! The columns of a stored record: the schema of table `flows`, and rows into it.
//!
//! In: records. Out: Arrow batches. The names are those of the sensor's `--records` where it has them;
//! what inspection learned follows as one column per [`Field`], so that a new field is a new column by
//! itself. A column that a file lacks reads as null.

use super::features::{self, FeatureColumns};
use crate::ingest::Exporter;
use arrow::array::{
    ArrayBuilder, ArrayRef, ListBuilder, RecordBatch, StringBuilder, TimestampNanosecondBuilder,
    UInt8Builder, UInt16Builder, UInt32Builder, UInt64Builder,
};
use arrow::datatypes::{DataType, Field as Column, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use std::fmt::{Display, Write as _};
use std::sync::Arc;
use weir_common::metadata::{Field, Shape, Value};
use weir_common::net::protocol;
use weir_common::record::{DirectionStats, FlowRecord};
use weir_common::time::Timestamp;

/// Columns whose values rarely repeat; a dictionary would only cost.
pub const DISTINCT_COLUMNS: [&str; 2] = ["community_id", "flow_id"];

/// A point in time as the store has it.
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// A list of texts as the store has it.
pub fn text_list_type() -> DataType {
    DataType::List(Arc::new(Column::new("item", DataType::Utf8, true)))
}

/// The schema of table `flows`.
pub fn schema() -> SchemaRef {
    let required = |name: &str, kind: DataType| Column::new(name, kind, false);
    let mut columns = vec![
        required("start_time", time_type()),
        required("end_time", time_type()),
        required("sensor", DataType::Utf8),
        required("src_ip", DataType::Utf8),
        required("src_port", DataType::UInt16),
        required("dst_ip", DataType::Utf8),
        required("dst_port", DataType::UInt16),
        required("proto", DataType::Utf8),
        required("app_proto", DataType::Utf8),
        required("pkts_toserver", DataType::UInt64),
        required("pkts_toclient", DataType::UInt64),
        required("bytes_toserver", DataType::UInt64),
        required("bytes_toclient", DataType::UInt64),
        required("tcp_flags_ts", DataType::UInt16),
        required("tcp_flags_tc", DataType::UInt16),
        required("ttl_min_ts", DataType::UInt8),
        required("ttl_max_ts", DataType::UInt8),
        required("ttl_min_tc", DataType::UInt8),
        required("ttl_max_tc", DataType::UInt8),
        required("tos_ts", DataType::UInt8),
        required("tos_tc", DataType::UInt8),
        Column::new("icmp_type", DataType::UInt8, true),
        Column::new("icmp_code", DataType::UInt8, true),
        Column::new("vlan", DataType::UInt16, true),
        Column::new("vlan_inner", DataType::UInt16, true),
        required("interface", DataType::UInt32),
        required("state", DataType::Utf8),
        required("end_reason", DataType::Utf8),
        required("flow_id", DataType::UInt64),
        required("community_id", DataType::Utf8),
        required("observation_domain", DataType::UInt32),
        Column::new("ring_extents", DataType::Utf8, true),
        Column::new("ring_expires", time_type(), true),
    ];
    columns.extend(features::columns());
    columns.extend(Field::ALL.iter().map(|field| Column::new(field.key(), field_type(*field), true)));
    Arc::new(Schema::new(columns))
}

fn field_type(field: Field) -> DataType {
    match field.shape() {
        Shape::Text => DataType::Utf8,
        Shape::Number => DataType::UInt64,
        Shape::TextList => text_list_type(),
    }
}

/// Rows on their way into a batch.
pub struct Rows {
    schema: SchemaRef,
    rows: usize,
    start_time: TimestampNanosecondBuilder,
    end_time: TimestampNanosecondBuilder,
    sensor: StringBuilder,
    src_ip: StringBuilder,
    src_port: UInt16Builder,
    dst_ip: StringBuilder,
    dst_port: UInt16Builder,
    proto: StringBuilder,
    app_proto: StringBuilder,
    to_server: DirectionColumns,
    to_client: DirectionColumns,
    icmp_type: UInt8Builder,
    icmp_code: UInt8Builder,
    vlan: UInt16Builder,
    vlan_inner: UInt16Builder,
    interface: UInt32Builder,
    state: StringBuilder,
    end_reason: StringBuilder,
    flow_id: UInt64Builder,
    community_id: StringBuilder,
    observation_domain: UInt32Builder,
    ring_extents: StringBuilder,
    ring_expires: TimestampNanosecondBuilder,
    features: FeatureColumns,
    /// In the order of [`Field::ALL`], each as long as its last value: most rows have none.
    fields: Vec<FieldColumn>,
}

impl Rows {
    /// No rows yet.
    pub fn new(schema: SchemaRef) -> Rows {
        let time = || TimestampNanosecondBuilder::new().with_data_type(time_type());
        Rows {
            schema,
            rows: 0,
            start_time: time(),
            end_time: time(),
            sensor: StringBuilder::new(),
            src_ip: StringBuilder::new(),
            src_port: UInt16Builder::new(),
            dst_ip: StringBuilder::new(),
            dst_port: UInt16Builder::new(),
            proto: StringBuilder::new(),
            app_proto: StringBuilder::new(),
            to_server: DirectionColumns::default(),
            to_client: DirectionColumns::default(),
            icmp_type: UInt8Builder::new(),
            icmp_code: UInt8Builder::new(),
            vlan: UInt16Builder::new(),
            vlan_inner: UInt16Builder::new(),
            interface: UInt32Builder::new(),
            state: StringBuilder::new(),
            end_reason: StringBuilder::new(),
            flow_id: UInt64Builder::new(),
            community_id: StringBuilder::new(),
            observation_domain: UInt32Builder::new(),
            ring_extents: StringBuilder::new(),
            ring_expires: time(),
            features: FeatureColumns::default(),
            fields: Field::ALL.iter().map(|field| FieldColumn::of(field.shape())).collect(),
        }
    }

    /// How many rows wait.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether no row waits.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds a record.
    pub fn push(&mut self, exporter: &Exporter, record: &FlowRecord) {
        let key = &record.key;
        self.start_time.append_value(nanos(record.start));
        self.end_time.append_value(nanos(record.end));
        self.sensor.append_value(&exporter.name);
        display(&mut self.src_ip, key.initiator);
        self.src_port.append_value(key.initiator_port);
        display(&mut self.dst_ip, key.responder);
        self.dst_port.append_value(key.responder_port);
        self.proto.append_value(protocol::name(key.protocol));
        self.app_proto.append_value(record.app.name());
        self.to_server.push(&record.forward);
        self.to_client.push(&record.reverse);
        self.icmp_type.append_option(record.icmp.map(|(kind, _)| kind));
        self.icmp_code.append_option(record.icmp.map(|(_, code)| code));
        let [vlan, inner] = record.vlans;
        self.vlan.append_option((vlan != 0).then_some(vlan));
        self.vlan_inner.append_option((inner != 0).then_some(inner));
        self.interface.append_value(record.interface);
        self.state.append_value(record.state.name());
        self.end_reason.append_value(record.end_reason.name());
        self.flow_id.append_value(record.flow_id);
        display(&mut self.community_id, record.community_id);
        self.observation_domain.append_value(exporter.observation_domain);
        match &record.evidence {
            Some(evidence) => display(&mut self.ring_extents, &evidence.extents),
            None => self.ring_extents.append_null(),
        }
        let expires = record.evidence.as_ref().and_then(|evidence| evidence.expires);
        self.ring_expires.append_option(expires.map(nanos));
        self.features.push(record);
        for (field, value) in record.metadata().iter() {
            if let Some(column) = self.fields.get_mut(field as usize) {
                column.set(self.rows, value);
            }
        }
        self.rows += 1;
    }

    /// The rows as a batch; none wait afterwards.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let rows = std::mem::take(&mut self.rows);
        let (ts, tc) = (&mut self.to_server, &mut self.to_client);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.start_time.finish()),
            Arc::new(self.end_time.finish()),
            Arc::new(self.sensor.finish()),
            Arc::new(self.src_ip.finish()),
            Arc::new(self.src_port.finish()),
            Arc::new(self.dst_ip.finish()),
            Arc::new(self.dst_port.finish()),
            Arc::new(self.proto.finish()),
            Arc::new(self.app_proto.finish()),
            Arc::new(ts.packets.finish()),
            Arc::new(tc.packets.finish()),
            Arc::new(ts.octets.finish()),
            Arc::new(tc.octets.finish()),
            Arc::new(ts.tcp_flags.finish()),
            Arc::new(tc.tcp_flags.finish()),
            Arc::new(ts.ttl_min.finish()),
            Arc::new(ts.ttl_max.finish()),
            Arc::new(tc.ttl_min.finish()),
            Arc::new(tc.ttl_max.finish()),
            Arc::new(ts.tos.finish()),
            Arc::new(tc.tos.finish()),
            Arc::new(self.icmp_type.finish()),
            Arc::new(self.icmp_code.finish()),
            Arc::new(self.vlan.finish()),
            Arc::new(self.vlan_inner.finish()),
            Arc::new(self.interface.finish()),
            Arc::new(self.state.finish()),
            Arc::new(self.end_reason.finish()),
            Arc::new(self.flow_id.finish()),
            Arc::new(self.community_id.finish()),
            Arc::new(self.observation_domain.finish()),
            Arc::new(self.ring_extents.finish()),
            Arc::new(self.ring_expires.finish()),
        ];
        columns.extend(self.features.finish());
        columns.extend(self.fields.iter_mut().map(|column| column.finish(rows)));
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}

#[derive(Default)]
struct DirectionColumns {
    packets: UInt64Builder,
    octets: UInt64Builder,
    tcp_flags: UInt16Builder,
    ttl_min: UInt8Builder,
    ttl_max: UInt8Builder,
    tos: UInt8Builder,
}

impl DirectionColumns {
    fn push(&mut self, stats: &DirectionStats) {
        self.packets.append_value(stats.packets);
        self.octets.append_value(stats.octets);
        self.tcp_flags.append_value(stats.tcp_flags);
        self.ttl_min.append_value(stats.ttl_min);
        self.ttl_max.append_value(stats.ttl_max);
        self.tos.append_value(stats.tos);
    }
}

/// A column of what inspection learned.
enum FieldColumn {
    Text(StringBuilder),
    Number(UInt64Builder),
    TextList(ListBuilder<StringBuilder>),
}

impl FieldColumn {
    fn of(shape: Shape) -> FieldColumn {
        match shape {
            Shape::Text => FieldColumn::Text(StringBuilder::new()),
            Shape::Number => FieldColumn::Number(UInt64Builder::new()),
            Shape::TextList => FieldColumn::TextList(ListBuilder::new(StringBuilder::new())),
        }
    }

    /// Sets the value of a row, with nulls before it; a second value for a row is left out.
    fn set(&mut self, row: usize, value: &Value) {
        self.pad(row);
        match (self, value) {
            (FieldColumn::Text(column), Value::Text(text)) if column.len() == row => {
                column.append_value(text);
            }
            (FieldColumn::Number(column), Value::Number(number)) if column.len() == row => {
                column.append_value(*number);
            }
            (FieldColumn::TextList(column), Value::TextList(texts)) if column.len() == row => {
                column.append_value(texts.iter().map(|text| Some(&**text)));
            }
            // A value of another shape than its field's is no value.
            _ => {}
        }
    }

    fn pad(&mut self, rows: usize) {
        match self {
            FieldColumn::Text(column) => {
                let missing = rows.saturating_sub(column.len());
                column.append_nulls(missing);
            }
            FieldColumn::Number(column) => {
                let missing = rows.saturating_sub(column.len());
                column.append_nulls(missing);
            }
            FieldColumn::TextList(column) => {
                for _ in column.len()..rows {
                    column.append_null();
                }
            }
        }
    }

    fn finish(&mut self, rows: usize) -> ArrayRef {
        self.pad(rows);
        match self {
            FieldColumn::Text(column) => Arc::new(column.finish()),
            FieldColumn::Number(column) => Arc::new(column.finish()),
            FieldColumn::TextList(column) => Arc::new(column.finish()),
        }
    }
}

/// Text without an allocation of its own.
fn display(column: &mut StringBuilder, value: impl Display) {
    // Writing into a builder cannot fail.
    let _ = write!(column, "{value}");
    column.append_value("");
}

/// Nanoseconds as Arrow has them; what is past the year 2262 is stored as that end of the range.
pub fn nanos(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::record;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{TimestampNanosecondType, UInt64Type};
    use weir_common::evidence::Evidence;
    use weir_common::metadata::Metadata;

    #[test]
    fn rows_keep_their_values_and_what_was_not_learned_is_null() {
        let exporter = Exporter { name: "edge-1".into(), observation_domain: 7 };
        let mut rows = Rows::new(schema());
        rows.push(&exporter, &record(0));
        let mut told = record(1);
        let mut metadata = Metadata::default();
        metadata.set_text(Field::HttpHost, "example.org");
        metadata.set_number(Field::HttpStatus, 404);
        metadata.add(Field::DnsQuery, "a.example");
        metadata.add(Field::DnsQuery, "b.example");
        told.metadata = Some(Box::new(metadata));
        let (extents, expires) = ("3.0:120".parse().unwrap(), Some(Timestamp(7_000_000_000)));
        told.evidence = Some(Box::new(Evidence { extents, expires, ..Evidence::default() }));
        rows.push(&exporter, &told);
        rows.push(&exporter, &record(2));
        let batch = rows.finish().unwrap();
        assert!(rows.is_empty());
        assert_eq!(batch.num_rows(), 3);
        let column = |name: &str| batch.column_by_name(name).unwrap().clone();
        assert_eq!(column("src_ip").as_string::<i32>().value(1), "10.0.0.5");
        assert_eq!(column("proto").as_string::<i32>().value(1), "TCP");
        assert_eq!(column("community_id").as_string::<i32>().value(0), record(0).community_id.to_string());
        let host = column("http_host");
        assert!(host.is_null(0) && host.is_null(2));
        assert_eq!(host.as_string::<i32>().value(1), "example.org");
        assert_eq!(column("http_status").as_primitive::<UInt64Type>().value(1), 404);
        let names = column("dns_query").as_list::<i32>().value(1);
        assert_eq!(names.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a.example", "b.example"]);
        let (extents, expires) = (column("ring_extents"), column("ring_expires"));
        assert!(extents.is_null(0) && extents.is_null(2) && expires.is_null(0) && expires.is_null(2));
        assert_eq!(extents.as_string::<i32>().value(1), "3.0:120");
        assert_eq!(expires.as_primitive::<TimestampNanosecondType>().value(1), 7_000_000_000);
        rows.push(&exporter, &record(3));
        assert_eq!(rows.finish().unwrap().num_rows(), 1);
    }

    #[test]
    fn every_field_has_a_column_of_its_shape() {
        let schema = schema();
        for field in Field::ALL {
            assert_eq!(schema.field_with_name(field.key()).unwrap().data_type(), &field_type(*field));
        }
    }
}
