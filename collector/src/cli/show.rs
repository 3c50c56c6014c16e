//! Lists for people, and lines for machines.

use crate::control::sensors::SensorStatus;
use crate::identity::Sensor;
use crate::ingest::counters::CLOCK_DIFFERENCE_S_MAX;
use crate::pipeline::status::Status;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use weir_common::alert::Alert;
use weir_common::control::CLOCK_DIFFERENCE_MAX_S;

/// One JSON object per line.
pub(super) fn lines<T: Serialize>(objects: &[T], out: &mut dyn Write) -> io::Result<()> {
    for object in objects {
        serde_json::to_writer(&mut *out, object)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// One alert per two lines: what and who, then why.
pub(super) fn alerts(alerts: &[Alert], out: &mut dyn Write) -> io::Result<()> {
    for alert in alerts {
        let route = alert.route.name();
        let time = alert.time.to_string();
        let seconds = time.get(..19).unwrap_or(&time);
        let severity = alert.severity.name();
        writeln!(
            out,
            "{seconds}Z  {severity:8}  {route:6}  {}  {} -> {}  {}",
            alert.kind,
            alert.actor.as_deref().unwrap_or("-"),
            targets(alert),
            alert.id
        )?;
        writeln!(
            out,
            "    {} ({:.0} % sure, {} times)",
            alert.reason,
            alert.confidence * 100.0,
            alert.count
        )?;
    }
    writeln!(out, "{} alerts", alerts.len())
}

fn targets(alert: &Alert) -> String {
    match (alert.targets.first(), alert.target_count) {
        (None, 0) => "-".into(),
        (None, count) => format!("{count} targets"),
        (Some(first), 0 | 1) => first.clone(),
        (Some(first), count) => format!("{first} and {} more", count - 1),
    }
}

/// Every counter that is not zero, and the exporters.
pub(super) fn status(status: &Status, live: bool, out: &mut dyn Write) -> io::Result<()> {
    let state = if live { "runs" } else { "does not run" };
    writeln!(
        out,
        "weir-collector {state} (process {}, since {}, status of {})",
        status.pid, status.started, status.written
    )?;
    writeln!(out, "queue_batches {}", status.queue_batches)?;
    for (name, counters) in [
        ("identity", &status.identity),
        ("control", &status.control),
        ("ingest", &status.ingest),
        ("detection", &status.detection),
        ("store", &status.store),
    ] {
        writeln!(out, "{name}: {}", counted(counters))?;
    }
    for destination in &status.destinations {
        writeln!(out, "destination {destination}")?;
    }
    for sensor in &status.sensors {
        self::sensor(sensor, out)?;
    }
    for exporter in &status.exporters {
        write!(
            out,
            "exporter {} ({}): last seen {}, messages {}, records {}",
            exporter.exporter, exporter.name, exporter.last_seen, exporter.messages, exporter.records
        )?;
        if !exporter.certificate.is_empty() {
            write!(out, ", certificate of {}", exporter.certificate)?;
        }
        if exporter.clock_ahead_s.unsigned_abs() > CLOCK_DIFFERENCE_S_MAX {
            write!(out, ", its clock is {} s ahead of this machine's", exporter.clock_ahead_s)?;
        }
        for (name, count) in [
            ("malformed", exporter.malformed),
            ("missing", exporter.missing),
            ("out of order", exporter.out_of_order),
            ("unknown templates", exporter.unknown_templates),
            ("templates refused", exporter.templates_refused),
            ("without addresses", exporter.without_addresses),
            ("sent again", exporter.replays),
            ("lost at the sensor", exporter.gaps),
        ] {
            if count > 0 {
                write!(out, ", {name} {count}")?;
            }
        }
        if !exporter.last_fault.is_empty() {
            write!(out, "; last fault: {}", exporter.last_fault)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// One enrolled sensor, as `sensors --json` writes it; fields are only added.
#[derive(Debug, Serialize)]
pub(super) struct SensorLine {
    pub(super) name: String,
    /// `enrolled`, `revoked`, `expired` or `waiting` (a token is out and was not used).
    pub(super) state: &'static str,
    /// RFC 3339; empty: not yet.
    pub(super) enrolled: String,
    /// When its certificate, or the token, expires; RFC 3339.
    pub(super) expires: String,
    /// When it was revoked; empty: it is not.
    pub(super) revoked: String,
    /// When records came last over TLS since the collector began; empty: not known.
    pub(super) last_seen: String,
}

impl SensorLine {
    pub(super) fn of(name: String, sensor: Sensor, last_seen: String, is_expired: bool) -> SensorLine {
        let state = match (sensor.revoked.is_empty(), is_expired) {
            (false, _) => "revoked",
            (true, true) => "expired",
            (true, false) => "enrolled",
        };
        let Sensor { enrolled, expires, revoked, .. } = sensor;
        SensorLine { name, state, enrolled, expires, revoked, last_seen }
    }
}

/// One sensor per line.
pub(super) fn sensors(sensors: &[SensorLine], out: &mut dyn Write) -> io::Result<()> {
    let width = sensors.iter().map(|sensor| sensor.name.len()).max().unwrap_or(0).max(4);
    writeln!(out, "{:width$}  state     expires               last seen", "name")?;
    let short = |time: &str| match time.get(..19) {
        Some(seconds) => format!("{seconds}Z"),
        None => "-".into(),
    };
    for sensor in sensors {
        let (expires, seen) = (short(&sensor.expires), short(&sensor.last_seen));
        writeln!(out, "{:width$}  {:8}  {expires:20}  {seen}", sensor.name, sensor.state)?;
    }
    Ok(())
}

/// One sensor's control connection, and how it says that it is.
fn sensor(sensor: &SensorStatus, out: &mut dyn Write) -> io::Result<()> {
    let state = if sensor.connected { "connected" } else { "not connected" };
    write!(
        out,
        "sensor {} ({}, version {}): {state} since {}",
        sensor.name, sensor.address, sensor.version, sensor.since
    )?;
    if !sensor.left.is_empty() && !sensor.connected {
        write!(out, ", because {}", sensor.left)?;
    }
    if sensor.clock_ahead_ms.unsigned_abs() >= CLOCK_DIFFERENCE_MAX_S * 1000 {
        let direction = if sensor.clock_ahead_ms > 0 { "ahead of" } else { "behind" };
        write!(
            out,
            ", its clock is {:.1} s {direction} ours",
            sensor.clock_ahead_ms.unsigned_abs() as f64 / 1000.0
        )?;
    }
    write!(out, "; {}", counted(&sensor.health))?;
    if !sensor.dropped.is_empty() {
        write!(out, "; frames lost: {}", counted(&sensor.dropped))?;
    }
    if sensor.acknowledged_epoch != 0 {
        write!(
            out,
            "; acknowledged {:016x} up to {}",
            sensor.acknowledged_epoch, sensor.acknowledged_sequence
        )?;
    }
    if sensor.rules_version != 0 {
        write!(out, "; rules version {}", sensor.rules_version)?;
    }
    if !sensor.rules.is_empty() {
        write!(out, "; last offer of rules: {}", sensor.rules)?;
    }
    writeln!(out)
}

fn counted(counters: &BTreeMap<String, u64>) -> String {
    let parts: Vec<_> = counters
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if parts.is_empty() { "nothing yet".into() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::alerts::tests::alert;

    #[test]
    fn an_alert_is_two_lines_for_people_and_one_for_machines() {
        let mut out = Vec::new();
        alerts(&[alert("a1", 0, 3)], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "2026-11-20T12:00:00Z  medium    ticket  scan.horizontal  10.0.0.5 -> 192.0.2.7  a1\n    r (50 % sure, 3 times)\n1 alerts\n"
        );
        let mut out = Vec::new();
        lines(&[alert("a1", 0, 3)], &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 1);
    }
}
