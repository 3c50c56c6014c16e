//! Evidence: the packets behind an alert.
//!
//! In: an alert. Out: for each flow it rests on the `weir-sensor query` command that gives its packets;
//! and where the sensor's ring is on this machine, the packets themselves as pcapng, one section per flow
//! (sections may follow one another in a pcapng file, and readers take them as one). A ring on another machine is asked by
//! way of the running collector, when its sensor is connected to it ([`remote`]).

pub mod config;
pub mod remote;
mod state;

pub use state::state;

use config::EvidenceConfig;
use remote::NotAnswered;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use weir_common::alert::{Alert, AlertFlow};
use weir_common::control::messages::{EvidenceOutcome, EvidenceRequest};
use weir_common::evidence::Extents;
use weir_common::net::CommunityId;
use weir_common::time::Timestamp;

/// What is asked of one sensor: one flow's packets in a time range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The sensor's name.
    pub sensor: String,
    /// The flow.
    pub community_id: CommunityId,
    /// The blocks of the ring that hold them; none: the ring's index is asked.
    pub extents: Option<Extents>,
    /// Begin of the range.
    pub since: Timestamp,
    /// End of the range, inclusive.
    pub until: Timestamp,
}

/// Why evidence could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The ring is on another machine.
    #[error("the ring of sensor `{sensor}` is not on this machine, and {why}; run there: {command}")]
    Elsewhere {
        /// The sensor.
        sensor: String,
        /// Why the sensor cannot be asked from here.
        why: String,
        /// What to run.
        command: String,
    },
    /// The alert names no flow.
    #[error("the alert rests on no flow, so that there are no packets to fetch")]
    NoFlows,
    /// The program could not be started.
    #[error("cannot start `{program}`: {error}; set evidence.query_command to the program's path")]
    Start {
        /// What was to be started.
        program: String,
        /// Why not.
        error: io::Error,
    },
    /// The query did not end well.
    #[error("the query of sensor `{sensor}` for flow {flow} failed ({status}): {message}")]
    Query {
        /// The sensor.
        sensor: String,
        /// The flow.
        flow: CommunityId,
        /// How the program ended.
        status: ExitStatus,
        /// The last of what it said.
        message: String,
    },
    /// The query took too long.
    #[error("the query of sensor `{sensor}` took more than {seconds} s and was ended")]
    Timeout {
        /// The sensor.
        sensor: String,
        /// The limit.
        seconds: u64,
    },
    /// The sensor was asked, and its answer did not end well.
    #[error("sensor `{sensor}` for flow {flow}: {message}")]
    Remote {
        /// The sensor.
        sensor: String,
        /// The flow.
        flow: CommunityId,
        /// Why, in the sensor's words.
        message: String,
    },
    /// The packets could not be read or written.
    #[error("the packets could not be passed on: {0}")]
    Pass(#[from] io::Error),
}

/// What was fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Octets of pcapng written.
    pub octets: u64,
    /// Flows whose query ended well.
    pub flows: usize,
    /// What each query said about its completeness, as it said it.
    pub statements: Vec<String>,
    /// Whether a query said that something of its flow is lost.
    pub incomplete: bool,
}

/// Most bytes kept of what a query says on standard error.
const STATEMENT_BYTES_MAX: u64 = 16 * 1024;
/// Longest wait for the rest of it once the program has ended.
const STATEMENT_WAIT: Duration = Duration::from_secs(1);
/// Exporters tell times in milliseconds, rounded either way.
const ROUNDING: Duration = Duration::from_millis(1);
/// The exit code with which a query says that something was lost.
const EXIT_INCOMPLETE: i32 = 3;

/// The command that gives one flow's packets on its sensor, as it can be pasted into a shell.
pub fn command(flow: &AlertFlow, alert_id: &str) -> String {
    shell(&query_of(flow), &format!("{alert_id}.pcapng"))
}

/// What to ask for an alert: one query per flow, those of one flow joined.
pub fn queries(alert: &Alert) -> Vec<Query> {
    let mut queries: Vec<Query> = Vec::new();
    for flow in &alert.flows {
        let query = query_of(flow);
        let known = queries
            .iter_mut()
            .find(|known| known.community_id == query.community_id && known.sensor == query.sensor);
        match known {
            Some(known) => {
                // Blocks of different runs or lanes cannot be told in one query: the index knows them all.
                let both = known.extents.as_mut().zip(query.extents.as_ref());
                if !both.is_some_and(|(known, other)| known.join(other)) {
                    known.extents = None;
                }
                known.since = known.since.min(query.since);
                known.until = known.until.max(query.until);
            }
            None => queries.push(query),
        }
    }
    queries
}

/// The commands that give all packets of an alert, with the sensor to run each on.
pub fn commands(alert: &Alert) -> Vec<(String, String)> {
    let queries = queries(alert);
    let one = queries.len() == 1;
    let name = |n: usize| {
        if one { format!("{}.pcapng", alert.id) } else { format!("{}-{}.pcapng", alert.id, n + 1) }
    };
    queries.iter().enumerate().map(|(n, query)| (query.sensor.clone(), shell(query, &name(n)))).collect()
}

/// Fetches an alert's packets and writes them as pcapng: from rings on this machine, and from the rings of sensors
/// that are connected to the collector behind `socket`.
///
/// Every flow is asked for, also after one failed, unless that one had given packets already; the first
/// failure is returned with what was fetched. Nothing is written for a flow whose sensor is elsewhere.
pub fn fetch(
    alert: &Alert,
    config: &EvidenceConfig,
    socket: &Path,
    out: &mut dyn Write,
) -> (Fetched, Option<EvidenceError>) {
    let mut fetched = Fetched::default();
    let queries = queries(alert);
    let mut failure = queries.is_empty().then_some(EvidenceError::NoFlows);
    for query in &queries {
        let before = fetched.octets;
        match fetch_one(query, config, socket, out, &mut fetched) {
            Ok(()) => {}
            // Without a reader, asking on is of no use.
            Err(EvidenceError::Pass(error)) => return (fetched, Some(EvidenceError::Pass(error))),
            Err(error) => {
                failure = failure.or(Some(error));
                // A block may be cut: what came behind it could not be read.
                if fetched.octets > before {
                    break;
                }
            }
        }
    }
    (fetched, failure)
}

fn fetch_one(
    query: &Query,
    config: &EvidenceConfig,
    socket: &Path,
    out: &mut dyn Write,
    fetched: &mut Fetched,
) -> Result<(), EvidenceError> {
    let sensor = query.sensor.clone();
    let Some(ring) = config.local_sensors.get(&sensor) else {
        return fetch_remote(query, config, socket, out, fetched);
    };
    let mut process = Command::new(program(&config.query_command))
        .args(arguments(query, "-"))
        .args(["--ring", ring])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| EvidenceError::Start { program: config.query_command.clone(), error })?;
    let end = Instant::now() + Duration::from_secs(config.query_timeout_s);
    let said = process.stderr.take().map(statement);
    let passed = match process.stdout.take() {
        Some(packets) => pass(packets, out, end, &mut fetched.octets),
        None => Ok(true),
    };
    let status = match passed {
        Ok(true) => wait(&mut process, end),
        _ => None,
    };
    if status.is_none() {
        // It may just have ended by itself.
        let _ = process.kill();
        process.wait()?;
    }
    passed?;
    // What the program started may hold the pipe open for longer than the program lives.
    let message = said.and_then(|said| said.recv_timeout(STATEMENT_WAIT).ok()).unwrap_or_default();
    let Some(status) = status else {
        return Err(EvidenceError::Timeout { sensor, seconds: config.query_timeout_s });
    };
    fetched.incomplete |= status.code() == Some(EXIT_INCOMPLETE);
    if !status.success() && status.code() != Some(EXIT_INCOMPLETE) {
        let message = message.trim().lines().last().unwrap_or("it said nothing").to_owned();
        return Err(EvidenceError::Query { sensor, flow: query.community_id, status, message });
    }
    fetched.flows += 1;
    fetched.statements.extend(message.trim().lines().last().map(str::to_owned));
    Ok(())
}

/// Asks the sensor by way of the running collector.
fn fetch_remote(
    query: &Query,
    config: &EvidenceConfig,
    socket: &Path,
    out: &mut dyn Write,
    fetched: &mut Fetched,
) -> Result<(), EvidenceError> {
    let sensor = query.sensor.clone();
    let request = EvidenceRequest {
        community_id: query.community_id.to_string(),
        extents: query.extents.as_ref().map(ToString::to_string).unwrap_or_default(),
        since_ns: query.since.0,
        until_ns: query.until.0,
        ..EvidenceRequest::default()
    };
    let ask = remote::Ask { sensor: sensor.clone(), request: Some(request) };
    let wait = Duration::from_secs(config.query_timeout_s);
    let failed =
        |message| EvidenceError::Remote { sensor: sensor.clone(), flow: query.community_id, message };
    let end = match remote::ask(socket, &ask, wait, out, &mut fetched.octets) {
        Ok(end) => end,
        Err(NotAnswered::Pass(error)) => return Err(error.into()),
        Err(NotAnswered::Lost(why)) => return Err(failed(why)),
        Err(NotAnswered::Absent(why)) => {
            let command = shell(query, "evidence.pcapng");
            return Err(EvidenceError::Elsewhere { sensor, why, command });
        }
    };
    out.flush()?;
    match EvidenceOutcome::try_from(end.outcome) {
        Ok(EvidenceOutcome::Complete) => {}
        Ok(EvidenceOutcome::Incomplete) => fetched.incomplete = true,
        _ => return Err(failed(printable(&end.statement))),
    }
    fetched.flows += 1;
    fetched.statements.extend(end.statement.trim().lines().last().map(printable));
    Ok(())
}

/// What a sensor said, without what would disturb a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// What a program says, when it has said it.
fn statement(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, said) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = pipe.by_ref().take(STATEMENT_BYTES_MAX).read_to_end(&mut text);
        // The rest is read and dropped, so that the program never waits for a reader.
        let _ = io::copy(&mut pipe, &mut io::sink());
        let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
    });
    said
}

/// How a program ended; none when it has not by then.
fn wait(process: &mut Child, end: Instant) -> Option<ExitStatus> {
    loop {
        match process.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Copies to the end, counting; false when the time is over first.
fn pass(
    mut from: impl Read + Send + 'static,
    out: &mut dyn Write,
    end: Instant,
    octets: &mut u64,
) -> io::Result<bool> {
    // A pipe has no read timeout: a thread reads, and the queue to here has one.
    let (sender, chunks) = mpsc::sync_channel::<io::Result<Vec<u8>>>(4);
    std::thread::spawn(move || {
        loop {
            let mut chunk = vec![0; 64 * 1024];
            let read = from.read(&mut chunk).map(|length| {
                chunk.truncate(length);
                chunk
            });
            let ends = !matches!(&read, Ok(chunk) if !chunk.is_empty());
            if sender.send(read).is_err() || ends {
                return;
            }
        }
    });
    loop {
        match chunks.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(Ok(chunk)) if chunk.is_empty() => break,
            Ok(chunk) => {
                let chunk = chunk?;
                out.write_all(&chunk)?;
                *octets += chunk.len() as u64;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => return Ok(false),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    out.flush()?;
    Ok(true)
}

/// The range of a flow and [`ROUNDING`] at each end. No more: a wider range may reach into what the ring does
/// not hold, and the answer would be called incomplete for packets that are not this flow's.
fn query_of(flow: &AlertFlow) -> Query {
    Query {
        sensor: flow.sensor.clone(),
        community_id: flow.community_id,
        extents: flow.ring_extents.clone().filter(|extents| !extents.is_empty()),
        since: flow.start.minus(ROUNDING),
        until: flow.end.plus(ROUNDING),
    }
}

fn arguments(query: &Query, file: &str) -> Vec<String> {
    let time = |time: Timestamp| {
        let text = time.to_string();
        format!("{}Z", text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.'))
    };
    let mut arguments = vec!["query".into(), "--flow".into(), query.community_id.to_string()];
    if let Some(extents) = &query.extents {
        arguments.extend(["--extents".into(), extents.to_string()]);
    }
    arguments.extend(["--since".into(), time(query.since), "--until".into(), time(query.until)]);
    arguments.extend(["-w".into(), file.into()]);
    arguments
}

/// A Community ID holds only letters, digits, `:`, `+`, `/` and `=`, which a shell takes as they are, as it does
/// extents unless a `~` comes first.
fn shell(query: &Query, file: &str) -> String {
    let arguments = arguments(query, file).into_iter();
    let quoted = arguments.map(|text| if text.starts_with('~') { format!("'{text}'") } else { text });
    format!("weir-sensor {}", quoted.collect::<Vec<_>>().join(" "))
}

/// The program of a command: a bare name is looked for beside this program before the search path.
fn program(command: &str) -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(command)));
    match beside {
        Some(path) if !command.contains('/') && path.is_file() => path,
        _ => PathBuf::from(command),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
