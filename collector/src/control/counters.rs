//! What the control connections came to, for `status`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the collector began.
        #[derive(Debug, Default)]
        pub struct ControlCounters { $($(#[$doc])* pub $name: AtomicU64,)* }

        impl ControlCounters {
            /// Every count by its name.
            pub fn named(&self) -> BTreeMap<String, u64> {
                [$((stringify!($name), &self.$name),)*]
                    .into_iter()
                    .map(|(name, count)| (name.to_owned(), count.load(Ordering::Relaxed)))
                    .collect()
            }
        }
    };
}

counters! {
    /// Connections taken.
    connections,
    /// Failures to take one, as when the process is out of file descriptors.
    accept_errors,
    /// Refused because [`super::server::STRANGERS_MAX`] connections, or
    /// [`super::server::STRANGERS_PER_ADDRESS_MAX`] of their own, were not yet known to be a sensor's.
    refused_strangers_full,
    /// Refused because `control.sensors_max` sensors were connected.
    refused_full,
    /// Connections whose TLS handshake failed or took too long.
    refused_handshake,
    /// Connections with a certificate that is not, or no longer, a sensor's.
    refused_certificate,
    /// Sensors paired.
    paired,
    /// Secrets and requests that were refused.
    pairings_refused,
    /// Certificates renewed.
    renewed,
    /// Renewals that were refused.
    renewals_refused,
    /// Sessions of sensors begun.
    sessions,
    /// Sessions ended because the sensor said nothing for too long.
    sessions_silent,
    /// Sessions ended because the sensor did not read.
    sessions_unread,
    /// Sessions ended because the sensor broke a rule of the protocol.
    sessions_broken,
    /// Sessions ended because the certificate was revoked or ran out.
    sessions_revoked,
    /// Sessions ended because the same sensor connected again.
    sessions_displaced,
    /// Messages of kinds that this version does not know; they are passed over.
    messages_unknown,
    /// Parts of packets that nobody had asked for, or no longer; they are dropped.
    evidence_unasked,
    /// Requests for packets passed to a sensor.
    evidence_requests,
    /// Requests that could not be passed on.
    evidence_refused,
    /// Bytes of packets fetched.
    evidence_bytes,
    /// Offers of rules that were loaded.
    rules_loaded,
    /// Offers of rules that a sensor refused.
    rules_refused,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
