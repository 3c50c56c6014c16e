//! What a query can name: the store as tables for `collector/sql`.
//!
//! In: the store's directory and a time. Out: table `flows` with the hours from that time on, and table
//! `alerts` with each alert's last form, when the query names it.

use super::columns::{nanos, schema, text_list_type, time_type};
use super::{StoreError, alerts, flows};
use arrow::array::{
    ArrayRef, Float64Array, ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampNanosecondArray,
    UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema};
use std::path::Path;
use std::sync::Arc;
use weir_collector_sql::{Rows, Table};
use weir_common::alert::{Alert, EvidenceState};
use weir_common::time::Timestamp;

/// The tables for a query over what ended at `since` or later.
pub fn tables(directory: &Path, sql: &str, since: Timestamp) -> Result<Vec<Table>, StoreError> {
    let rows = Rows::Parquet {
        directories: flows::partitions(directory, since)?,
        schema: schema(),
        since: (since > Timestamp::MIN).then(|| ("end_time", nanos(since))),
    };
    let mut tables = vec![Table { name: "flows", rows }];
    // Alerts are read as a whole, which a query over flows alone need not wait for.
    let named = sql.to_ascii_lowercase();
    let stored = if named.contains("alerts") || named.contains("show") || named.contains("information_schema")
    {
        alerts::read(directory, since)?.alerts
    } else {
        Vec::new()
    };
    tables.push(Table { name: "alerts", rows: Rows::Batch(batch(&stored)?) });
    Ok(tables)
}

fn batch(alerts: &[Alert]) -> Result<RecordBatch, StoreError> {
    let text = |of: fn(&Alert) -> Option<&str>| -> ArrayRef {
        Arc::new(alerts.iter().map(of).collect::<StringArray>())
    };
    let time = |of: fn(&Alert) -> Timestamp| -> ArrayRef {
        let times = TimestampNanosecondArray::from_iter_values(alerts.iter().map(|alert| nanos(of(alert))));
        Arc::new(times.with_data_type(time_type()))
    };
    let number = |of: fn(&Alert) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(alerts.iter().map(of)))
    };
    let list = |of: fn(&Alert) -> Vec<String>| -> ArrayRef {
        let mut lists = ListBuilder::new(StringBuilder::new());
        alerts.iter().for_each(|alert| lists.append_value(of(alert).into_iter().map(Some)));
        Arc::new(lists.finish())
    };
    let confidence: ArrayRef =
        Arc::new(Float64Array::from_iter_values(alerts.iter().map(|alert| alert.confidence)));
    let (utf8, count) = (DataType::Utf8, DataType::UInt64);
    let columns: Vec<(&str, DataType, ArrayRef)> = vec![
        ("id", utf8.clone(), text(|alert| Some(&alert.id))),
        ("start_time", time_type(), time(|alert| alert.time)),
        ("end_time", time_type(), time(|alert| alert.end)),
        ("kind", utf8.clone(), text(|alert| Some(&alert.kind))),
        ("actor", utf8.clone(), text(|alert| alert.actor.as_deref())),
        ("targets", text_list_type(), list(|alert| alert.targets.clone())),
        ("target_count", count.clone(), number(|alert| alert.target_count)),
        ("count", count, number(|alert| alert.count)),
        ("severity", utf8.clone(), text(|alert| Some(alert.severity.name()))),
        ("confidence", DataType::Float64, confidence),
        ("route", utf8.clone(), text(|alert| Some(alert.route.name()))),
        ("reason", utf8.clone(), text(|alert| Some(&alert.reason))),
        ("technique", text_list_type(), list(|alert| alert.technique.clone())),
        ("sensors", text_list_type(), list(|alert| alert.sensors.clone())),
        (
            "community_ids",
            text_list_type(),
            list(|alert| alert.flows.iter().map(|flow| flow.community_id.to_string()).collect()),
        ),
        ("evidence", utf8.clone(), text(|alert| Some(evidence_name(&alert.evidence)))),
        ("signature", utf8, text(|alert| alert.signature.as_deref())),
    ];
    let fields: Vec<_> =
        columns.iter().map(|(name, kind, _)| Field::new(*name, kind.clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, _, array)| array).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

fn evidence_name(evidence: &EvidenceState) -> &'static str {
    match evidence {
        EvidenceState::Pinned => "pinned",
        EvidenceState::Available { .. } => "available",
        EvidenceState::Expired => "expired",
        EvidenceState::NotCaptured { .. } => "not_captured",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::Exporter;
    use crate::store::StoreCounters;
    use crate::store::alerts::tests::alert;
    use crate::store::config::StoreConfig;
    use crate::store::tests::{NOON, record};
    use weir_collector_sql::{Format, run};

    fn ask(directory: &Path, sql: &str, since: Timestamp) -> String {
        let mut out = Vec::new();
        run(sql, tables(directory, sql, since).unwrap(), Format::Csv, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_was_stored_is_what_sql_answers() {
        let directory = tempfile::tempdir().unwrap();
        let counters = Arc::new(StoreCounters::default());
        let mut store =
            flows::FlowStore::open(directory.path(), &StoreConfig::default(), counters.clone(), NOON)
                .unwrap();
        let exporter = Exporter { name: "edge-1".into(), observation_domain: 7 };
        store.append(&exporter, &[record(0), record(5), record(3600), record(7200)], NOON);
        store.finish(NOON);
        let mut log = alerts::AlertLog::open(directory.path(), counters).unwrap();
        log.append(&[alert("a", 0, 1), alert("a", 0, 2), alert("b", 3600, 1)]);
        let sql = "SELECT sensor, proto, app_proto, count(*) AS n, sum(bytes_toclient) AS b FROM flows GROUP BY 1, 2, 3";
        assert_eq!(
            ask(directory.path(), sql, Timestamp::MIN),
            "sensor,proto,app_proto,n,b\nedge-1,TCP,tls,4,8000\n"
        );
        let count = "SELECT count(*) AS n FROM flows";
        assert_eq!(ask(directory.path(), count, Timestamp(NOON.0 + 5_000_000_000)), "n\n3\n");
        assert_eq!(ask(directory.path(), count, Timestamp(NOON.0 + 7_200_000_000_001)), "n\n0\n");
        let sql = "SELECT id, \"count\", severity FROM alerts WHERE start_time >= '2026-11-20T12:00:00Z' ORDER BY id";
        assert_eq!(ask(directory.path(), sql, Timestamp::MIN), "id,count,severity\na,2,medium\nb,1,medium\n");
        assert_eq!(ask(directory.path(), "SELECT id FROM alerts", Timestamp(NOON.0 + 1)), "id\nb\n");
    }

    #[test]
    fn a_store_that_is_not_there_yet_has_empty_tables() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(ask(directory.path(), "SELECT src_ip FROM flows", Timestamp::MIN), "src_ip\n");
        assert_eq!(ask(directory.path(), "SELECT id FROM alerts", Timestamp::MIN), "id\n");
    }
}
