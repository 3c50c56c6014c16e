//! The one summary that a replay or a capture ends with.

use crate::counters::WorkerCounters;
use crate::export::SpoolStatus;
use crate::signatures::SignaturesStatus;
use std::fmt::Write as _;
use std::time::Duration;

/// Packets, bytes, flows, drops by cause, seconds and packets per second, as text for a person.
pub(super) fn text(counters: &WorkerCounters, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let rate = if seconds > 0.0 { counters.capture.frames as f64 / seconds } else { 0.0 };
    let mut out = format!(
        "{} packets, {} bytes, {} flows, {} records, {} events in {seconds:.2} s ({} packets/s)",
        grouped(counters.capture.frames),
        grouped(counters.capture.bytes),
        grouped(counters.flow.created),
        grouped(counters.flow.records),
        grouped(counters.dpi.events),
        grouped(rate as u64),
    );
    let dropped: Vec<String> =
        losses(counters).into_iter().map(|(what, n)| format!("{} {what}", grouped(n))).collect();
    let _ = match dropped.is_empty() {
        true => write!(out, "; nothing lost"),
        false => write!(out, "; lost: {}", dropped.join(", ")),
    };
    out
}

/// What was lost, by cause; empty when nothing was.
pub(super) fn losses(counters: &WorkerCounters) -> Vec<(&'static str, u64)> {
    let causes = [
        ("frames dropped by the kernel", counters.capture.kernel_dropped),
        ("frames dropped by the interface", counters.capture.interface_dropped),
        ("sources that could not be read to their end", counters.capture.errors),
        ("flows evicted because the table was full", counters.flow.ended_full),
        ("flows without statistics because their memory was full", counters.flow.features_refused),
        ("records dropped before export", counters.export.records_dropped_queue_full),
        ("events dropped before export", counters.export.events_dropped_queue_full),
        ("frames not kept by the ring", counters.ring.frames_dropped),
        ("files not stored", counters.dpi.files_not_stored),
        ("failures to store a file", counters.dpi.file_errors),
    ];
    causes.into_iter().filter(|(_, n)| *n > 0).collect()
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What a destination's spool still holds, and what went wrong with it.
pub(super) fn spool(status: &SpoolStatus) -> String {
    let mut text = match (status.records, status.waits_for_acknowledgement) {
        (0, true) => "everything is acknowledged".to_owned(),
        (0, false) => "everything was taken by the collector's host".to_owned(),
        (records, _) => format!("{} records are in the spool for the next start", grouped(records)),
    };
    for (count, what) in [
        (status.records_dropped, "records dropped because the spool was full"),
        (status.records_damaged, "records lost because a file of the spool was cut or changed"),
        (status.torn_bytes, "octets cut off that a crash had left unfinished"),
        (status.write_errors, "failures to write"),
        (status.acknowledgements_refused, "acknowledgements refused"),
    ] {
        if count > 0 {
            text += &format!("; {} {what}", grouped(count));
        }
    }
    text
}

/// What signatures found, and what they left out.
pub(super) fn signatures(status: &SignaturesStatus) -> String {
    let counters = &status.counters;
    let mut text = format!("{} rules, {} alerts", status.rules, counters.alerts);
    for (count, what) in [
        (status.not_run.rules_refused, "rules cannot run"),
        (status.not_run.rules_silent, "rules load and cannot fire"),
        (status.not_run.rules_set_aside, "rules are for another version"),
        (counters.suppressed, "matches not told, by thresholds and suppressions"),
        (counters.alerts_over_limit, "alerts not told, more than 15 of one packet"),
        (counters.candidates_over_limit, "rules not looked at, more than 4096 for one packet"),
        (counters.too_costly_left_out, "evaluations left out, their rule was set aside for its cost"),
        (counters.given_up, "searches given up at their limit"),
        (counters.frames_left_out, "frames of streams not looked into, more than 1024 at once"),
        (counters.sides_late, "transactions told of after their end and not looked into again"),
        (counters.marks_refused, "marks, counters and variables not kept at their limit"),
        (counters.transactions_forgotten, "transactions forgotten, too many of one flow at once"),
        (counters.data_refused, "values not added to a data set, it is full"),
        (counters.pattern_scans_failed, "searches for patterns failed, all rules were evaluated instead"),
    ] {
        if count > 0 {
            text += &format!("; {count} {what}");
        }
    }
    for rule in &status.too_costly {
        text += &format!("; rule {}:{} was set aside, packets were lost over it", rule.gid, rule.sid);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spool_still_holds_is_said_with_what_went_wrong() {
        let mut status = SpoolStatus { waits_for_acknowledgement: true, ..SpoolStatus::default() };
        assert_eq!(spool(&status), "everything is acknowledged");
        (status.records, status.records_dropped) = (1234, 5);
        let said =
            "1,234 records are in the spool for the next start; 5 records dropped because the spool was full";
        assert_eq!(spool(&status), said);
    }

    #[test]
    fn losses_are_named_and_their_absence_is_said() {
        let mut counters = WorkerCounters::default();
        counters.capture.frames = 1_234_567;
        let good = text(&counters, Duration::from_secs(2));
        assert!(
            good.starts_with("1,234,567 packets") && good.ends_with("(617,283 packets/s); nothing lost"),
            "{good}"
        );
        counters.capture.kernel_dropped = 5;
        assert!(text(&counters, Duration::ZERO).ends_with("lost: 5 frames dropped by the kernel"));
    }
}
