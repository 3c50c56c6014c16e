//! What ingest counts: per exporter, and for the listeners as a whole.
//!
//! In: events. Out: numbers that `status` shows. Everything refused, malformed or missing is here.

use super::delivery::Deliveries;
use crate::identity::Peer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use weir_common::ipfix::decode::Summary;
use weir_common::time::Timestamp;

/// Most exporters counted apart; further ones share one entry.
pub const EXPORTERS_MAX: usize = 4096;
/// The entry of the exporters past [`EXPORTERS_MAX`].
const OTHERS: &str = "others";

/// Seconds that an exporter's clock and this machine's may be apart before it is told: more than records wait in
/// a message, and what a machine without a time server drifts in weeks.
pub const CLOCK_DIFFERENCE_S_MAX: u64 = 120;

/// Counters of one exporter: an address and an observation domain.
#[derive(Debug, Default)]
pub struct ExporterCounters {
    /// Messages read.
    pub messages: AtomicU64,
    /// Flow records.
    pub records: AtomicU64,
    /// Options records.
    pub options: AtomicU64,
    /// Messages and sets that were malformed.
    pub malformed: AtomicU64,
    /// Data records that sequence numbers say are missing.
    pub missing: AtomicU64,
    /// Messages whose sequence number goes back.
    pub out_of_order: AtomicU64,
    /// Data sets that came before their template, or without one.
    pub unknown_templates: AtomicU64,
    /// Templates refused: too many, or malformed.
    pub templates_refused: AtomicU64,
    /// Data records without addresses.
    pub without_addresses: AtomicU64,
    /// Records that had come before, by their place in the exporter's spool, and were not taken again.
    pub replays: AtomicU64,
    /// Records that will not come: lost in the exporter's spool.
    pub gaps: AtomicU64,
    /// When the last message came.
    pub last_seen: AtomicU64,
    /// Whole seconds by which its clock is ahead of this machine's; negative: behind.
    pub clock_ahead_s: AtomicI64,
    text: Mutex<ExporterText>,
}

#[derive(Debug, Default)]
struct ExporterText {
    name: String,
    certificate: String,
    fault: String,
    clock_told: bool,
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, number: impl Into<u64>) {
    counter.fetch_add(number.into(), Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl ExporterCounters {
    /// Counts a message that was read.
    pub fn message(&self, summary: &Summary, now: Timestamp) {
        add(&self.messages, 1u64);
        add(&self.records, summary.flows);
        add(&self.options, summary.options);
        self.last_seen.store(now.0, Ordering::Relaxed);
        let rare = [
            (&self.malformed, summary.malformed_sets),
            (&self.missing, summary.missing),
            (&self.out_of_order, u32::from(summary.out_of_order)),
            (&self.unknown_templates, summary.unknown_sets),
            (&self.templates_refused, summary.templates_refused),
            (&self.without_addresses, summary.without_addresses),
        ];
        for (counter, number) in rare {
            if number > 0 {
                add(counter, number);
            }
        }
        if let Some(fault) = &summary.fault {
            self.fault(fault);
        }
    }

    /// Counts a message that could not be read.
    pub fn malformed(&self, fault: &dyn std::fmt::Display) {
        add(&self.malformed, 1u64);
        self.fault(fault);
    }

    fn fault(&self, fault: &dyn std::fmt::Display) {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).fault = fault.to_string();
    }

    /// Notes whose certificate the exporter showed.
    pub fn authenticated(&self, peer: &Peer) {
        let told = match peer {
            Peer::Sensor(name) => format!("sensor {name}"),
            Peer::Foreign(subject) => format!("foreign {subject}"),
        };
        self.text.lock().unwrap_or_else(PoisonError::into_inner).certificate = told;
    }

    /// Notes what the exporter's clock showed when it sent a message. A difference of more than
    /// [`CLOCK_DIFFERENCE_S_MAX`] is logged once, and so is its end.
    pub fn clock(&self, export_time_s: u32, now: Timestamp) {
        let ahead = i64::from(export_time_s) - i64::try_from(now.seconds()).unwrap_or(i64::MAX);
        let before = self.clock_ahead_s.swap(ahead, Ordering::Relaxed);
        let is_far = |seconds: i64| seconds.unsigned_abs() > CLOCK_DIFFERENCE_S_MAX;
        if !is_far(ahead) && !is_far(before) {
            return;
        }
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut text.clock_told, is_far(ahead)) == is_far(ahead) {
            return;
        }
        let name = &text.name;
        if is_far(ahead) {
            let way = if ahead > 0 { "ahead of" } else { "behind" };
            tracing::warn!(
                "{name}: its clock is {} s {way} this machine's; records carry its time, and certificates are taken up to a day apart: set one of the clocks",
                ahead.unsigned_abs()
            );
        } else {
            tracing::info!("{name}: its clock agrees with this machine's again");
        }
    }

    /// Notes the name that the exporter goes by.
    pub fn name(&self, name: &str) {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).name = name.to_owned();
    }
}

/// Counters of ingest as a whole.
#[derive(Debug, Default)]
pub struct IngestCounters {
    /// What of sensors' spools has come and is stored.
    pub deliveries: Arc<Deliveries>,
    /// TCP and TLS sessions accepted.
    pub sessions: AtomicU64,
    /// TCP and TLS sessions open now.
    pub sessions_open: AtomicU64,
    /// TCP and TLS sessions refused because of `sessions_max`.
    pub sessions_refused_full: AtomicU64,
    /// TCP sessions refused because of `admit`.
    pub sessions_refused_address: AtomicU64,
    /// TCP and TLS sessions that ended inside a message.
    pub sessions_cut: AtomicU64,
    /// TCP and TLS sessions closed because they were silent.
    pub sessions_idle: AtomicU64,
    /// Connections that could not be accepted.
    pub accept_errors: AtomicU64,
    /// TLS handshakes refused because too many were under way.
    pub tls_refused_busy: AtomicU64,
    /// TLS handshakes that were not done in time.
    pub tls_handshakes_slow: AtomicU64,
    /// Connections to a TLS address that do not speak TLS 1.3, or ended within the handshake.
    pub tls_handshakes_failed: AtomicU64,
    /// TLS handshakes refused because of the exporter's certificate; the causes are in `identity`.
    pub tls_refused_certificate: AtomicU64,
    /// TLS sessions closed because the exporter's certificate was revoked or has expired.
    pub tls_sessions_revoked: AtomicU64,
    /// TLS sessions that ended with octets that are no TLS.
    pub tls_sessions_broken: AtomicU64,
    /// Datagrams refused because of `admit`.
    pub datagrams_refused_address: AtomicU64,
    /// UDP exporters forgotten in favour of others.
    pub exporters_forgotten: AtomicU64,
    /// Templates of UDP exporters used and not kept for a restart, because of the limits of what is kept.
    pub templates_not_kept: AtomicU64,
    /// Lines of EVE JSON that are no event.
    pub lines_malformed: AtomicU64,
    /// Flows of EVE JSON whose earlier events were forgotten at the limit.
    pub eve_flows_forgotten: AtomicU64,
    exporters: Mutex<BTreeMap<String, Arc<ExporterCounters>>>,
}

/// Counters of one exporter, as `status` shows them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExporterStatus {
    /// Address and observation domain.
    pub exporter: String,
    /// The name that the exporter goes by.
    pub name: String,
    /// Whose certificate it showed: `sensor NAME` or `foreign SUBJECT`; empty over TCP and UDP, which prove nothing.
    pub certificate: String,
    /// Whole seconds by which its clock is ahead of this machine's; negative: behind.
    pub clock_ahead_s: i64,
    /// When its last message came, RFC 3339.
    pub last_seen: String,
    /// See [`ExporterCounters`].
    pub messages: u64,
    /// See [`ExporterCounters`].
    pub records: u64,
    /// See [`ExporterCounters`].
    pub options: u64,
    /// See [`ExporterCounters`].
    pub malformed: u64,
    /// See [`ExporterCounters`].
    pub missing: u64,
    /// See [`ExporterCounters`].
    pub out_of_order: u64,
    /// See [`ExporterCounters`].
    pub unknown_templates: u64,
    /// See [`ExporterCounters`].
    pub templates_refused: u64,
    /// See [`ExporterCounters`].
    pub without_addresses: u64,
    /// See [`ExporterCounters`].
    pub replays: u64,
    /// See [`ExporterCounters`].
    pub gaps: u64,
    /// The last fault, with its place in the message; empty without one.
    pub last_fault: String,
}

impl IngestCounters {
    /// Counters beside books that an earlier run began.
    pub fn with(deliveries: Arc<Deliveries>) -> IngestCounters {
        IngestCounters { deliveries, ..IngestCounters::default() }
    }

    /// The counters of an exporter, by address and domain.
    pub fn exporter(&self, address: &str, domain: u32) -> Arc<ExporterCounters> {
        let mut exporters = self.exporters.lock().unwrap_or_else(PoisonError::into_inner);
        let key = format!("{address}/{domain}");
        if let Some(known) = exporters.get(&key) {
            return known.clone();
        }
        let key = if exporters.len() < EXPORTERS_MAX { key } else { OTHERS.to_owned() };
        exporters.entry(key).or_default().clone()
    }

    /// Every exporter's numbers, by address and domain.
    pub fn exporters(&self) -> Vec<ExporterStatus> {
        let exporters = self.exporters.lock().unwrap_or_else(PoisonError::into_inner);
        let status = |(exporter, counters): (&String, &Arc<ExporterCounters>)| {
            let text = counters.text.lock().unwrap_or_else(PoisonError::into_inner);
            ExporterStatus {
                exporter: exporter.clone(),
                name: text.name.clone(),
                certificate: text.certificate.clone(),
                clock_ahead_s: counters.clock_ahead_s.load(Ordering::Relaxed),
                last_seen: Timestamp(get(&counters.last_seen)).to_string(),
                messages: get(&counters.messages),
                records: get(&counters.records),
                options: get(&counters.options),
                malformed: get(&counters.malformed),
                missing: get(&counters.missing),
                out_of_order: get(&counters.out_of_order),
                unknown_templates: get(&counters.unknown_templates),
                templates_refused: get(&counters.templates_refused),
                without_addresses: get(&counters.without_addresses),
                replays: get(&counters.replays),
                gaps: get(&counters.gaps),
                last_fault: text.fault.clone(),
            }
        };
        exporters.iter().map(status).collect()
    }

    /// Messages, sets and lines that were malformed, of all exporters together.
    pub fn malformed(&self) -> u64 {
        let exporters = self.exporters.lock().unwrap_or_else(PoisonError::into_inner);
        get(&self.lines_malformed) + exporters.values().map(|exporter| get(&exporter.malformed)).sum::<u64>()
    }

    /// The listeners' own numbers, by name.
    pub fn listeners(&self) -> Vec<(&'static str, u64)> {
        let delivery = &self.deliveries.counters;
        let (spools, undurable) = self.deliveries.status();
        vec![
            ("spools", spools),
            ("records_not_durable_yet", undurable),
            ("records_given_back", get(&delivery.records_given_back)),
            ("spool_messages_refused", get(&delivery.messages_refused)),
            ("spool_sessions_closed", get(&delivery.sessions_closed)),
            ("spools_forgotten", get(&delivery.spools_forgotten)),
            ("sessions", get(&self.sessions)),
            ("sessions_open", get(&self.sessions_open)),
            ("sessions_refused_full", get(&self.sessions_refused_full)),
            ("sessions_refused_address", get(&self.sessions_refused_address)),
            ("sessions_cut", get(&self.sessions_cut)),
            ("sessions_idle", get(&self.sessions_idle)),
            ("accept_errors", get(&self.accept_errors)),
            ("tls_refused_busy", get(&self.tls_refused_busy)),
            ("tls_handshakes_slow", get(&self.tls_handshakes_slow)),
            ("tls_handshakes_failed", get(&self.tls_handshakes_failed)),
            ("tls_refused_certificate", get(&self.tls_refused_certificate)),
            ("tls_sessions_revoked", get(&self.tls_sessions_revoked)),
            ("tls_sessions_broken", get(&self.tls_sessions_broken)),
            ("datagrams_refused_address", get(&self.datagrams_refused_address)),
            ("exporters_forgotten", get(&self.exporters_forgotten)),
            ("templates_not_kept", get(&self.templates_not_kept)),
            ("lines_malformed", get(&self.lines_malformed)),
            ("eve_flows_forgotten", get(&self.eve_flows_forgotten)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_far_off_is_told_once_and_so_is_its_return() {
        let counters = ExporterCounters::default();
        let now = Timestamp::from_parts(1_000_000, 0);
        let told = |ahead: i64| {
            counters.clock(u32::try_from(1_000_000 + ahead).unwrap(), now);
            (counters.clock_ahead_s.load(Ordering::Relaxed), counters.text.lock().unwrap().clock_told)
        };
        assert_eq!(told(120), (120, false));
        assert_eq!(told(121), (121, true));
        assert_eq!(told(-4000), (-4000, true));
        assert_eq!(told(-120), (-120, false));
        assert_eq!(told(0), (0, false));
    }

    #[test]
    fn exporters_past_the_limit_share_one_entry() {
        let counters = IngestCounters::default();
        for domain in 0..EXPORTERS_MAX as u32 + 10 {
            add(&counters.exporter("192.0.2.1", domain).messages, 1u64);
        }
        let exporters = counters.exporters();
        assert_eq!(exporters.len(), EXPORTERS_MAX + 1);
        let others = exporters.iter().find(|exporter| exporter.exporter == OTHERS).unwrap();
        assert_eq!(others.messages, 10);
    }
}
