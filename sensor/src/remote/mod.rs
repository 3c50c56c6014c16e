//! The connection to the collector that the sensor is paired with: acknowledgements, evidence, rules, health.
//!
//! In: the collector's messages. Out: acknowledgements to export, rules for the main thread to load, packets of the
//! ring and the sensor's health to the collector. One thread, `remote`, with a runtime of its own, that connects again
//! and again with the waits that exports have; one more thread per answer with packets. The sensor opens the
//! connection and listens on no port. Nothing here touches a packet's path: everything is handed over by bounded
//! queues or by publishing.
//! Deliberately absent: records, which go by IPFIX; the local socket of `weir-sensor status` ([`crate::control`]).

pub mod config;
pub mod paired;
pub mod rules;
mod evidence;
mod health;
mod link;
mod session;
pub mod pair;
mod tls;
#[cfg(test)]
mod tests;

use crate::export::Acknowledged;
use crate::query::Query;
use crate::query::flow::FlowOf;
use config::ControlConfig;
use crossbeam::channel::{Receiver, Sender, bounded};
use evidence::Evidence;
use link::Link;
use paired::Paired;
use rules::{Kept, Turn};
use serde::Serialize;
use serde_json::Value;
use session::{EVIDENCE_QUEUE, End, Session, outcome};
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
pub use tls::Identified;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use weir_common::control::messages::{FromSensor, RulesOutcome, RulesResult};
use weir_common::time::Timestamp;

/// Wait before the second attempt to connect, as exports have it.
const RETRY_MIN: Duration = Duration::from_millis(200);
/// Longest wait between attempts.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// A session that lasted this long was one: the next wait is the shortest again.
const SESSION_GOOD: Duration = Duration::from_secs(5);
/// Messages to the collector between the session and HTTP/2.
const SEND_MESSAGES_MAX: usize = 4;
/// Threads for what blocks: names that are resolved, rules that are written.
const BLOCKING_THREADS_MAX: usize = 4;
/// What became of rules, not told yet.
const OUTCOMES_MAX: usize = 4;

/// What answers are read from.
pub struct Ring {
    /// The ring's directory, its keys, and nothing asked.
    pub query: Query,
    /// Disk space that all pins of the ring may use, in bytes.
    pub pin_budget_bytes: u64,
    /// Which frame is of which flow.
    pub flows: Box<dyn FlowOf + Send + Sync>,
    /// The clock.
    pub now: fn() -> Timestamp,
}

/// What the connection has to do with the rest of the sensor.
pub struct Seams {
    /// The collector.
    pub paired: Box<dyn Paired>,
    /// The sensor's name as its records say it.
    pub name: String,
    /// The document that `weir-sensor status` shows.
    pub status: Box<dyn Fn() -> Value + Send>,
    /// The clock.
    pub now: fn() -> Timestamp,
    /// Where acknowledgements go; none: nobody wants them.
    pub acknowledged: Option<Sender<Acknowledged>>,
    /// What packets are read from; none: there is no ring, or the collector may not ask.
    pub ring: Option<Ring>,
    /// Where rules are kept; none: none are taken.
    pub rules: Option<Kept>,
    /// Where the connection's state is shown.
    pub shown: Shown,
}

/// Rules that the collector sent and signed, written and not in force yet.
#[derive(Debug)]
pub struct Candidate {
    /// Their version.
    pub version: u64,
    /// Where they are.
    pub directory: PathBuf,
    /// Whether it holds nothing, which takes away what was in force.
    pub is_empty: bool,
    kept: Kept,
    _turn: Turn,
    outcomes: mpsc::Sender<RulesOutcome>,
}

/// What the sensor made of rules.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are looked for.
    Loaded {
        /// How many.
        rules: u64,
        /// How many cannot be.
        refused: u64,
        /// The first of those, and why.
        why: String,
    },
    /// Those before stay in force, for this reason.
    Refused(String),
}

impl Candidate {
    /// Puts the rules in force or not, and tells the collector.
    pub fn settle(self, verdict: Verdict) {
        let version = self.version;
        let mut told = match verdict {
            Verdict::Loaded { rules, refused, why } => {
                RulesOutcome { rules, rules_refused: refused, ..outcome(version, RulesResult::Loaded, why) }
            }
            Verdict::Refused(why) => outcome(version, RulesResult::Refused, why),
        };
        if told.result == RulesResult::Refused as i32 {
            tracing::error!(
                version,
                "the collector's rules are not taken: {}; those before stay in force",
                told.reason
            );
            self.kept.tidy();
        } else if let Err(error) = self.kept.put_in_force(version) {
            told.reason = format!("in force until the sensor ends, since it cannot be written down: {error}");
            tracing::error!(version, "the collector's rules: {}", told.reason);
        } else {
            tracing::info!(version, rules = told.rules, "the collector's rules are in force");
        }
        // A session that is gone is told by the next greeting.
        let _ = self.outcomes.try_send(told);
    }
}

/// The connection's state, for `weir-sensor status`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RemoteStatus {
    /// Where the collector is.
    pub collector: String,
    /// Whether a session is open.
    pub connected: bool,
    /// Since when it is or is not, RFC 3339.
    pub since: String,
    /// Why it is not.
    pub last_error: Option<String>,
    /// Sessions begun.
    pub sessions: u64,
    /// The collector's version.
    pub collector_version: String,
    /// By how much this machine's clock is ahead of the collector's, in milliseconds; negative: behind.
    pub clock_ahead_ms: i64,
    /// The epoch of the last acknowledgement.
    pub acknowledged_epoch: u64,
    /// Its sequence.
    pub acknowledged_sequence: u64,
    /// Acknowledgements that went back behind earlier ones; they are passed over.
    pub acknowledgements_refused: u64,
    /// Offers of rules that were refused before they were loaded.
    pub rules_refused: u64,
}

/// The status where others can read it.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<Mutex<RemoteStatus>>);

impl Shown {
    fn change(&self, change: impl FnOnce(&mut RemoteStatus)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// As it is now.
    pub fn get(&self) -> RemoteStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The connection, tried and kept until dropped.
pub struct Remote {
    candidates: Receiver<Candidate>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Remote {
    /// Starts the thread. It connects as long as this lives.
    pub fn start(seams: Seams, config: &ControlConfig) -> io::Result<Remote> {
        let (give, candidates) = bounded(1);
        let (stop, stopped) = watch::channel(false);
        let shown = seams.shown.clone();
        shown.change(|status| {
            status.collector = seams.paired.place();
            status.since = (seams.now)().to_string();
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .build()?;
        let config = config.clone();
        let thread = std::thread::Builder::new().name("remote".into()).spawn(move || {
            runtime.block_on(connect(seams, &config, &give, &shown, stopped));
            // What names are resolved by may hang; nobody waits for it.
            runtime.shutdown_background();
        })?;
        Ok(Remote { candidates, stop, thread: Some(thread) })
    }

    /// Rules that are to be loaded, if any came.
    pub fn candidate(&self) -> Option<Candidate> {
        self.candidates.try_recv().ok()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // Without a receiver the thread has ended already.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// Connects again and again.
async fn connect(
    mut seams: Seams,
    config: &ControlConfig,
    candidates: &Sender<Candidate>,
    shown: &Shown,
    mut stop: watch::Receiver<bool>,
) {
    let evidence = seams.ring.take().map(|ring| Evidence::new(Arc::new(ring), config));
    let (give_outcome, mut outcomes) = mpsc::channel(OUTCOMES_MAX);
    let mut retry = RETRY_MIN;
    while !*stop.borrow() {
        let began = Instant::now();
        let (give_parts, mut parts) = mpsc::channel(EVIDENCE_QUEUE);
        let mut session =
            Session::new(&seams, shown, evidence.as_ref(), give_parts, give_outcome.clone(), candidates);
        let mut over = attempt(&mut session, &seams, shown, &mut parts, &mut outcomes, &mut stop).await;
        drop(session);
        if let End::Lost(words) = &mut over
            && let Some(expired) = seams.paired.expired((seams.now)())
        {
            let _ = write!(
                words,
                "; this sensor's certificate expired at {expired}: if the clock here is right, pair it again with a new token of `weir-collector enroll`"
            );
        }
        if over == End::Stopping {
            break;
        }
        let was_connected = shown.get().connected;
        told_lost(shown, &over, (seams.now)());
        if was_connected && began.elapsed() >= SESSION_GOOD {
            retry = RETRY_MIN;
        }
        tokio::select! {
            () = tokio::time::sleep(retry) => {}
            _ = stop.changed() => break,
        }
        retry = (retry * 2).min(RETRY_MAX);
    }
    shown.change(|status| status.connected = false);
}

/// One connection, from the attempt to its end.
async fn attempt(
    session: &mut Session<'_>,
    seams: &Seams,
    shown: &Shown,
    parts: &mut mpsc::Receiver<FromSensor>,
    outcomes: &mut mpsc::Receiver<RulesOutcome>,
    stop: &mut watch::Receiver<bool>,
) -> End {
    let open = async {
        let bytes = seams.paired.dial().await.map_err(End::Lost)?;
        let mut link = Link::begin(bytes).await.map_err(|status| session::lost(&status))?;
        let (to, messages) = mpsc::channel(SEND_MESSAGES_MAX);
        // The greeting is there before the call is: the collector answers it.
        let _ = to.try_send(session.hello());
        let from = link.connect(messages).await.map_err(|status| session::lost(&status))?;
        Ok((link, to, from))
    };
    let opened = tokio::select! {
        opened = open => opened,
        _ = stop.changed() => return End::Stopping,
    };
    let (link, to, from) = match opened {
        Ok(opened) => opened,
        Err(end) => return end,
    };
    shown.change(|status| {
        if let Some(error) = status.last_error.take() {
            tracing::info!(collector = status.collector, "the collector is back: {error} is over");
        } else {
            tracing::info!(collector = status.collector, "connected to the collector");
        }
        status.connected = true;
        status.sessions += 1;
        status.since = (seams.now)().to_string();
    });
    let end = session.run(from, to, parts, outcomes, stop).await;
    drop(link);
    end
}

/// Says once that the connection is not there.
fn told_lost(shown: &Shown, end: &End, now: Timestamp) {
    shown.change(|status| {
        let words = end.words();
        if status.connected || status.last_error.is_none() {
            status.since = now.to_string();
            match end {
                End::Renewed => tracing::info!(collector = status.collector, "connecting anew: {words}"),
                _ => tracing::warn!(
                    collector = status.collector,
                    "no control connection: {words}; it is tried again, and meanwhile nothing is acknowledged or fetched"
                ),
            }
        }
        status.connected = false;
        status.last_error = Some(words);
    });
}
