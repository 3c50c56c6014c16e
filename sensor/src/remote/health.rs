//! The sensor's status in summary, as the collector is told it.
//!
//! In: the document that `weir-sensor status` shows. Out: a [`Health`]. What a sensor does not have is 0.

use serde_json::Value;
use weir_common::control::messages::Health;
use weir_common::time::Timestamp;

/// Counts of lost frames and what they are called there.
const LOST: [(&str, &str); 4] = [
    ("kernel", "/capture/kernel_dropped"),
    ("interface", "/capture/interface_dropped"),
    ("ring_queue", "/ring/frames_dropped"),
    ("ring_disk", "/storage/frames_failed"),
];

/// The summary.
pub(super) fn health(status: &Value, now: Timestamp, rules_version: u64) -> Health {
    let count = |path: &str| status.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let destinations = status.pointer("/outputs/destinations").and_then(Value::as_array);
    let over_all = |name: &str| -> u64 {
        let each = destinations.into_iter().flatten();
        each.filter_map(|destination| destination.pointer(name)?.as_u64()).fold(0, u64::saturating_add)
    };
    let costly = status.pointer("/signatures/too_costly").and_then(Value::as_array).map_or(0, Vec::len);
    Health {
        clock_ns: now.0,
        uptime_s: count("/uptime_s"),
        frames: count("/capture/frames"),
        bytes: count("/capture/bytes"),
        dropped: LOST.iter().map(|(name, path)| ((*name).to_owned(), count(path))).collect(),
        records: count("/flow/records"),
        records_lost: ["/records_dropped", "/spool/records_dropped", "/spool/records_damaged"]
            .into_iter()
            .map(over_all)
            .fold(count("/export/records_dropped_queue_full"), u64::saturating_add),
        spool_bytes: over_all("/backlog_bytes").saturating_add(over_all("/spool/bytes")),
        rules: count("/signatures/rules"),
        rules_refused: count("/signatures/rules_refused"),
        rules_set_aside: costly as u64,
        ring_used_bytes: count("/storage/used_bytes"),
        ring_budget_bytes: count("/storage/budget_bytes"),
        ring_keeps_s: count("/storage/keeps_s"),
        rules_version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_is_summed_up_and_what_is_not_there_is_nothing() {
        let status = json!({
            "uptime_s": 9, "capture": {"frames": 5, "kernel_dropped": 2}, "flow": {"records": 3},
            "outputs": {"destinations": [{"records_dropped": 1, "backlog_bytes": 10, "spool": {"bytes": 5}}, {"records_dropped": u64::MAX, "spool": null}]},
            "storage": {"used_bytes": 7, "keeps_s": null}, "signatures": {"rules": 4, "too_costly": [{}]},
        });
        let health = health(&status, Timestamp(8), 6);
        assert_eq!((health.uptime_s, health.frames, health.records), (9, 5, 3));
        assert_eq!((health.dropped["kernel"], health.dropped["ring_disk"]), (2, 0));
        assert_eq!((health.records_lost, health.spool_bytes), (u64::MAX, 15));
        assert_eq!((health.rules, health.rules_set_aside, health.ring_used_bytes), (4, 1, 7));
        assert_eq!((health.ring_keeps_s, health.rules_version, health.clock_ns), (0, 6, 8));
        assert_eq!(super::health(&Value::Null, Timestamp(0), 0).frames, 0);
    }
}
