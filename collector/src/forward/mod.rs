//! Forward: delivers alerts to destinations through bounded outboxes on disk.
//!
//! In: alerts. Out: each alert at each destination that its route and severity lead to, at least once, with
//! a key (`ID-VERSION`) by which a receiver can tell a repetition. Every destination has its own thread and
//! its own outbox, so that one that is away holds up no other and never the pipeline. A delivery that
//! failed is repeated with growing pauses; order within a destination is kept. A failure is logged when
//! it begins and when it ends, not at each repetition. Reads no clock: pauses are durations.

pub mod config;
mod outbox;
mod file;
mod syslog;
mod webhook;

use crate::problem::Problem;
use config::{DestinationConfig, DestinationKind, ForwardConfig, RouteName};
use file::{FileDestination, Form};
use outbox::Outbox;
use serde::Serialize;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use syslog::{Format, SyslogDestination};
use webhook::WebhookDestination;
use weir_common::alert::{Alert, Route, Severity};

/// One alert on its way.
pub struct Message<'a> {
    /// The same for every repetition of this delivery, and for no other.
    pub key: &'a str,
    /// The alert.
    pub alert: &'a Alert,
    /// The alert as one JSON object, without a line end.
    pub json: &'a [u8],
}

/// Why an alert was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// It may work later: the delivery is repeated.
    #[error("{0}")]
    Later(String),
    /// It will never work: this alert is dropped for this destination, and counted.
    #[error("{0}")]
    Refused(String),
}

/// Where alerts can go. Called from its own thread; may block, but not for ever.
pub trait Destination: Send {
    /// The name of the configuration.
    fn name(&self) -> &str;

    /// Delivers one alert. Ok means that the other side has it, as far as its protocol tells.
    fn deliver(&mut self, message: &Message<'_>) -> Result<(), DeliveryError>;
}

/// How a destination does, for `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DestinationStatus {
    /// The name of the configuration.
    pub name: String,
    /// Alerts delivered since the start.
    pub delivered: u64,
    /// Alerts waiting in the outbox.
    pub waiting: u64,
    /// Bytes of the outbox on disk.
    pub outbox_bytes: u64,
    /// Deliveries that failed and were or will be repeated.
    pub failures: u64,
    /// Alerts that the destination refused.
    pub refused: u64,
    /// Alerts dropped because the outbox was full.
    pub dropped: u64,
    /// Regions of damaged bytes found in the outbox.
    pub damaged: u64,
    /// Alerts that could not be written to the outbox, as on a full disk.
    pub unwritten: u64,
    /// Why deliveries fail at present; none when they do not.
    pub failing: Option<String>,
}

impl DestinationStatus {
    /// Alerts that will never arrive, as far as they were counted.
    pub fn lost(&self) -> u64 {
        self.refused + self.dropped + self.unwritten
    }
}

/// Why deliveries cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Destinations that cannot be used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Config(Vec<Problem>),
    /// An outbox cannot be opened, or its thread not started.
    #[error("{path}: {source}")]
    Outbox {
        /// Its directory.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Delivers alerts.
pub struct Forwarder {
    lanes: Vec<Lane>,
}

struct Lane {
    routes: Vec<RouteName>,
    severity_min: Severity,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    outbox: Outbox,
    status: DestinationStatus,
    stopping: bool,
}

impl Forwarder {
    /// Opens the outboxes below `state_directory` and starts a thread per destination. On an error
    /// nothing runs.
    pub fn start(config: &ForwardConfig, state_directory: &Path) -> Result<Forwarder, ForwardError> {
        let problems = check(config);
        if !problems.is_empty() {
            return Err(ForwardError::Config(problems));
        }
        let mut forwarder = Forwarder { lanes: Vec::new() };
        for destination in &config.destinations {
            let wrong = |message| ForwardError::Config(vec![Problem::at(&destination.name, message)]);
            let ready = make(destination).map_err(wrong)?;
            let directory = state_directory.join("outbox").join(&destination.name);
            let failed = |source| ForwardError::Outbox { path: directory.display().to_string(), source };
            forwarder.lanes.push(Lane::start(destination, ready, &directory, config).map_err(failed)?);
        }
        Ok(forwarder)
    }

    /// Takes alerts over: when this returns they are on disk for every destination they go to. What could
    /// not be written is counted and logged.
    pub fn send(&self, alerts: &[Alert]) {
        if self.lanes.is_empty() || alerts.is_empty() {
            return;
        }
        let json: Vec<Vec<u8>> =
            alerts.iter().map(|alert| serde_json::to_vec(alert).unwrap_or_default()).collect();
        for lane in &self.lanes {
            let wanted =
                alerts.iter().zip(&json).filter(|(alert, json)| lane.wants(alert) && !json.is_empty());
            let messages: Vec<&[u8]> = wanted.map(|(_, json)| json.as_slice()).collect();
            if !messages.is_empty() {
                lane.append(&messages);
            }
        }
    }

    /// How every destination does.
    pub fn status(&self) -> Vec<DestinationStatus> {
        self.lanes.iter().map(|lane| lane.shared.status()).collect()
    }

    /// Waits until every outbox is empty, at most that long; whether they are.
    pub fn flush(&self, limit: Duration) -> bool {
        let begin = Instant::now();
        self.lanes.iter().all(|lane| {
            let mut state = lane.shared.lock();
            while state.outbox.waiting() > 0 {
                let left = limit.saturating_sub(begin.elapsed());
                if left.is_zero() {
                    return false;
                }
                state = lane.shared.wait(state, left.min(Duration::from_millis(100)));
            }
            true
        })
    }

    /// Stops: gives outboxes at most `limit` to empty, then ends the threads. What is left stays on disk
    /// for the next start. A delivery under way is waited for.
    pub fn stop(mut self, limit: Duration) -> Vec<DestinationStatus> {
        self.flush(limit);
        self.end();
        self.status()
    }

    fn end(&mut self) {
        for lane in &self.lanes {
            lane.shared.lock().stopping = true;
            lane.shared.changed.notify_all();
        }
        for lane in &mut self.lanes {
            if let Some(thread) = lane.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.end();
    }
}

/// Every problem of the section, without starting anything.
pub fn check(config: &ForwardConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, destination) in config.destinations.iter().enumerate() {
        let place = format!("forward.destinations[{at}] `{}`", destination.name);
        let name = &destination.name;
        if name.is_empty()
            || name.len() > 64
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        {
            problems.push(Problem::at(&place, "name: expected 1 to 64 letters, digits, `-` and `_`".into()));
        }
        if config.destinations.iter().take(at).any(|other| other.name == *name) {
            problems.push(Problem::at(&place, "name: another destination has it".into()));
        }
        if let Err(message) = make(destination) {
            problems.push(Problem::at(&place, message));
        }
    }
    problems
}

fn make(config: &DestinationConfig) -> Result<Box<dyn Destination>, String> {
    let name = &config.name;
    Ok(match &config.kind {
        DestinationKind::Eve { path } => Box::new(FileDestination::new(name, written(path)?, Form::Eve)),
        DestinationKind::Json { path } => Box::new(FileDestination::new(name, written(path)?, Form::Plain)),
        DestinationKind::Syslog { address, transport, facility, hostname, enterprise_number } => {
            let port = address
                .rsplit_once(':')
                .and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>().ok())?);
            if port.is_none() {
                return Err(format!("address is `{address}`: expected HOST:PORT such as siem.example:514"));
            }
            if *facility > 23 {
                return Err(format!("facility is {facility}: expected 0 to 23"));
            }
            let hostname = if hostname.is_empty() { this_host() } else { hostname.clone() };
            let format = Format { facility: *facility, hostname, enterprise_number: *enterprise_number };
            Box::new(SyslogDestination::new(name, address, *transport, format))
        }
        DestinationKind::Webhook { url, headers, bearer_token_file, timeout_ms } => {
            let timeout = Duration::from_millis(*timeout_ms);
            Box::new(WebhookDestination::new(name, url, headers, bearer_token_file, timeout)?)
        }
    })
}

fn written(path: &str) -> Result<&str, String> {
    if path.is_empty() { Err("path is empty: expected a file".into()) } else { Ok(path) }
}

fn this_host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

impl Lane {
    fn start(
        config: &DestinationConfig,
        destination: Box<dyn Destination>,
        directory: &Path,
        forward: &ForwardConfig,
    ) -> io::Result<Lane> {
        let outbox = Outbox::open(directory, forward.outbox_bytes_max)?;
        let status = DestinationStatus { name: config.name.clone(), ..DestinationStatus::default() };
        let state = Mutex::new(State { outbox, status, stopping: false });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let (retry_min, retry_max) =
            (forward.retry_min_ms.max(1), forward.retry_max_ms.max(forward.retry_min_ms).max(1));
        let mut worker = Worker { destination, shared: shared.clone(), retry_min, retry_max };
        let thread = std::thread::Builder::new()
            .name(format!("forward-{}", config.name))
            .spawn(move || worker.run())?;
        Ok(Lane {
            routes: config.routes.clone(),
            severity_min: config.severity_min,
            shared,
            thread: Some(thread),
        })
    }

    fn wants(&self, alert: &Alert) -> bool {
        let route = match alert.route {
            Route::Pager => RouteName::Pager,
            Route::Ticket => RouteName::Ticket,
            Route::Digest => RouteName::Digest,
        };
        alert.severity >= self.severity_min && (self.routes.is_empty() || self.routes.contains(&route))
    }

    fn append(&self, messages: &[&[u8]]) {
        let mut state = self.shared.lock();
        let before = state.outbox.waiting() + state.outbox.dropped;
        if let Err(error) = state.outbox.append(messages.iter().copied()) {
            let written = (state.outbox.waiting() + state.outbox.dropped).saturating_sub(before);
            let first = state.status.unwritten == 0;
            state.status.unwritten += (messages.len() as u64).saturating_sub(written);
            if first {
                tracing::error!(destination = state.status.name, %error, "alerts cannot be written to the outbox; they are counted");
            }
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// The state. A thread that panicked while it held it left whole entries behind: every change of an
    /// outbox is complete on disk before its fields change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }

    fn status(&self) -> DestinationStatus {
        let state = self.lock();
        DestinationStatus {
            waiting: state.outbox.waiting(),
            outbox_bytes: state.outbox.bytes(),
            dropped: state.outbox.dropped,
            damaged: state.outbox.damaged,
            ..state.status.clone()
        }
    }
}

struct Worker {
    destination: Box<dyn Destination>,
    shared: Arc<Shared>,
    retry_min: u64,
    retry_max: u64,
}

/// A message taken from the outbox, and where it stood.
type Taken = (Vec<u8>, (u64, u64));

impl Worker {
    fn run(&mut self) {
        let mut pause_ms = self.retry_min;
        while let Some((json, position)) = self.next() {
            let outcome = match serde_json::from_slice::<Alert>(&json) {
                Ok(alert) => {
                    let key = format!("{}-{}", alert.id, alert.version);
                    self.destination.deliver(&Message { key: &key, alert: &alert, json: &json })
                }
                Err(error) => {
                    Err(DeliveryError::Refused(format!("the outbox holds what is no alert: {error}")))
                }
            };
            let again = self.note(outcome, json.len(), position);
            pause_ms = if again { self.pause(pause_ms) } else { self.retry_min };
        }
    }

    /// The oldest message; waits for one. None when it is time to end.
    fn next(&self) -> Option<Taken> {
        let mut state = self.shared.lock();
        loop {
            if state.stopping {
                return None;
            }
            match state.outbox.front() {
                Ok(Some(json)) => {
                    let position = state.outbox.position();
                    return Some((json, position));
                }
                Ok(None) => state = self.shared.wait(state, Duration::from_secs(3600)),
                Err(error) => {
                    fail(
                        self.destination.name(),
                        &mut state.status,
                        &format!("the outbox cannot be read: {error}"),
                    );
                    state = self.shared.wait(state, Duration::from_millis(self.retry_max.min(10_000)));
                }
            }
        }
    }

    /// Notes what became of a delivery; whether it is to be repeated.
    fn note(&self, outcome: Result<(), DeliveryError>, bytes: usize, position: (u64, u64)) -> bool {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let again = match outcome {
            Ok(()) => {
                state.status.delivered += 1;
                if state.status.failing.take().is_some() {
                    tracing::info!(destination = self.destination.name(), "deliveries succeed again");
                }
                false
            }
            Err(DeliveryError::Refused(why)) => {
                state.status.refused += 1;
                tracing::warn!(
                    destination = self.destination.name(),
                    why,
                    "an alert was refused and is dropped for this destination"
                );
                false
            }
            Err(DeliveryError::Later(why)) => {
                fail(self.destination.name(), &mut state.status, &why);
                true
            }
        };
        // At the limit the segment may have been dropped meanwhile; then there is nothing to mark.
        if !again
            && state.outbox.position() == position
            && let Err(error) = state.outbox.done(bytes)
        {
            fail(
                self.destination.name(),
                &mut state.status,
                &format!("the outbox cannot be written: {error}"),
            );
        }
        drop(guard);
        self.shared.changed.notify_all();
        again
    }

    /// Waits, unless it is time to end; the next pause.
    fn pause(&self, pause_ms: u64) -> u64 {
        let begin = Instant::now();
        let length = Duration::from_millis(pause_ms);
        let mut state = self.shared.lock();
        while !state.stopping {
            let left = length.saturating_sub(begin.elapsed());
            if left.is_zero() {
                break;
            }
            state = self.shared.wait(state, left);
        }
        pause_ms.saturating_mul(2).min(self.retry_max)
    }
}

fn fail(name: &str, status: &mut DestinationStatus, why: &str) {
    status.failures += 1;
    if status.failing.is_none() {
        tracing::warn!(destination = name, why, "deliveries fail; alerts wait in the outbox");
    }
    status.failing = Some(why.to_owned());
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
