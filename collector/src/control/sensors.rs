//! Which sensors are connected, and what is known of each.
//!
//! In: sessions that begin and end, what their sensors say, requests for packets. Out: the state of every sensor for
//! `status`, and the way to the session of a sensor. A sensor has one session; a second one of the same name ends the
//! first, which is what a sensor does whose connection was lost without a word.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use weir_common::control::messages::{EvidenceEnd, EvidenceRequest, Health};
use weir_common::time::Timestamp;

/// Most sensors whose last state is kept after they left; the one that left first goes.
const KNOWN_MAX: usize = 4096;
/// Longest text kept of what a sensor says about itself, in characters.
const TEXT_CHARACTERS_MAX: usize = 200;
/// Most causes of loss kept of a sensor.
const CAUSES_MAX: usize = 64;
/// Most commands that wait for a session.
const COMMANDS_MAX: usize = 64;

/// A sensor as `status` shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SensorStatus {
    /// Its name by its certificate.
    pub name: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Since when it is or is not, RFC 3339.
    pub since: String,
    /// Where it connects from.
    pub address: String,
    /// Its program's version.
    pub version: String,
    /// By how much its clock is ahead of this machine's, in milliseconds; negative: behind.
    pub clock_ahead_ms: i64,
    /// When it last said something, RFC 3339.
    pub heard: String,
    /// Version of the collector's rules that it has in force; 0: none.
    pub rules_version: u64,
    /// What became of the last offer of rules.
    pub rules: String,
    /// The epoch of the last acknowledgement that was passed to it.
    pub acknowledged_epoch: u64,
    /// Its sequence.
    pub acknowledged_sequence: u64,
    /// What it tells of itself, by name.
    pub health: BTreeMap<String, u64>,
    /// Frames it lost, by cause.
    pub dropped: BTreeMap<String, u64>,
    /// Why it is not connected.
    pub left: String,
}

impl SensorStatus {
    /// Takes what the sensor says of itself; what is more than a sensor has to say is left out.
    pub(super) fn take(&mut self, health: Health) {
        self.rules_version = health.rules_version;
        self.dropped = health
            .dropped
            .into_iter()
            .take(CAUSES_MAX)
            .map(|(cause, count)| (text(&cause), count))
            .filter(|(_, count)| *count > 0)
            .collect();
        self.health = [
            ("uptime_s", health.uptime_s),
            ("frames", health.frames),
            ("bytes", health.bytes),
            ("records", health.records),
            ("records_lost", health.records_lost),
            ("spool_bytes", health.spool_bytes),
            ("rules", health.rules),
            ("rules_refused", health.rules_refused),
            ("rules_set_aside", health.rules_set_aside),
            ("ring_used_bytes", health.ring_used_bytes),
            ("ring_budget_bytes", health.ring_budget_bytes),
            ("ring_keeps_s", health.ring_keeps_s),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    }
}

/// What a sensor says, shortened and without what would disturb a terminal.
pub(super) fn text(said: &str) -> String {
    said.chars().filter(|letter| !letter.is_control()).take(TEXT_CHARACTERS_MAX).collect()
}

/// What a session is to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Ask for packets; the pieces go to `pieces`.
    Ask { request: EvidenceRequest, pieces: mpsc::Sender<Piece> },
    /// A piece was taken.
    More { id: u64 },
}

/// A piece of an answer.
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// The next bytes of pcapng.
    Packets(Vec<u8>),
    /// The last piece.
    End(EvidenceEnd),
}

/// Why a sensor cannot be asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAsked {
    /// Nobody of that name is connected.
    #[error("sensor `{0}` is not connected to this collector")]
    Absent(String),
    /// Its session has too much to do.
    #[error("sensor `{0}` has as many requests as it may have; ask again when one is done")]
    Busy(String),
}

struct Known {
    status: SensorStatus,
    /// Of the session; another number: displaced.
    generation: u64,
    commands: Option<mpsc::Sender<Command>>,
}

/// All sensors.
#[derive(Default)]
pub(super) struct Sensors {
    known: Mutex<BTreeMap<String, Known>>,
    generations: AtomicU64,
    requests: AtomicU64,
}

impl Sensors {
    fn with<R>(&self, work: impl FnOnce(&mut BTreeMap<String, Known>) -> R) -> R {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A session of this sensor begins; one that it has had is displaced.
    pub(super) fn begin(self: &Arc<Self>, name: &str, address: &str, now: Timestamp) -> Seat {
        let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        self.with(|known| {
            if known.len() >= KNOWN_MAX && !known.contains_key(name) {
                let gone = known.iter().filter(|(_, one)| one.commands.is_none());
                let first = gone.min_by(|a, b| a.1.status.since.cmp(&b.1.status.since));
                if let Some(first) = first.map(|(name, _)| name.clone()) {
                    known.remove(&first);
                }
            }
            let before = known.remove(name).map(|known| known.status).unwrap_or_default();
            let status = SensorStatus {
                name: name.to_owned(),
                connected: true,
                since: now.to_string(),
                address: address.to_owned(),
                left: String::new(),
                ..before
            };
            known.insert(name.to_owned(), Known { status, generation, commands: Some(commands) });
        });
        Seat { sensors: Arc::clone(self), name: name.to_owned(), generation, commands: receiver }
    }

    /// Every sensor, in order of its name.
    pub(super) fn status(&self) -> Vec<SensorStatus> {
        self.with(|known| known.values().map(|known| known.status.clone()).collect())
    }

    /// Sensors connected now.
    pub(super) fn connected(&self) -> usize {
        self.with(|known| known.values().filter(|known| known.commands.is_some()).count())
    }

    /// Asks a sensor for packets. `window` pieces may be under way at once.
    pub(super) fn ask(
        &self,
        sensor: &str,
        request: EvidenceRequest,
        window: usize,
    ) -> Result<Answer, NotAsked> {
        let commands = self.with(|known| known.get(sensor).and_then(|known| known.commands.clone()));
        let commands = commands.ok_or_else(|| NotAsked::Absent(sensor.to_owned()))?;
        let id = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        // One place more for the end, which needs no window.
        let (pieces, receiver) = mpsc::channel(window + 1);
        let request = EvidenceRequest { id, window_parts: window as u64, ..request };
        match commands.try_send(Command::Ask { request, pieces }) {
            Ok(()) => Ok(Answer { id, pieces: receiver, commands }),
            Err(mpsc::error::TrySendError::Full(_)) => Err(NotAsked::Busy(sensor.to_owned())),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(NotAsked::Absent(sensor.to_owned())),
        }
    }
}

/// An answer on its way. Dropped, it is cancelled.
#[derive(Debug)]
pub(super) struct Answer {
    id: u64,
    pieces: mpsc::Receiver<Piece>,
    commands: mpsc::Sender<Command>,
}

impl Answer {
    /// The next piece; none: the session ended before the answer did.
    pub(super) async fn next(&mut self) -> Option<Piece> {
        let piece = self.pieces.recv().await?;
        if matches!(piece, Piece::Packets(_)) {
            // A session that is gone will be seen as the end of the pieces.
            let _ = self.commands.send(Command::More { id: self.id }).await;
        }
        Some(piece)
    }
}

/// A session's place among the sensors; dropped, the sensor is not connected any more.
pub(super) struct Seat {
    sensors: Arc<Sensors>,
    name: String,
    generation: u64,
    commands: mpsc::Receiver<Command>,
}

impl Seat {
    pub(super) async fn command(&mut self) -> Option<Command> {
        self.commands.recv().await
    }

    /// Changes what is known of the sensor. False: the session was displaced.
    pub(super) fn update(&self, change: impl FnOnce(&mut SensorStatus)) -> bool {
        self.sensors.with(|known| match known.get_mut(&self.name) {
            Some(known) if known.generation == self.generation => {
                change(&mut known.status);
                true
            }
            _ => false,
        })
    }

    /// Whether this is still the sensor's session.
    pub(super) fn holds(&self) -> bool {
        self.update(|_| {})
    }

    /// Ends it, with the reason that `status` shows.
    pub(super) fn leave(self, why: &str, now: Timestamp) {
        self.update(|status| {
            status.left = text(why);
            status.since = now.to_string();
        });
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.sensors.with(|known| {
            if let Some(known) = known.get_mut(&self.name)
                && known.generation == self.generation
            {
                known.commands = None;
                known.status.connected = false;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000_000_000);

    #[test]
    fn a_second_session_of_a_sensor_displaces_the_first_and_its_end_does_not_end_the_second() {
        let sensors = Arc::<Sensors>::default();
        let first = sensors.begin("edge", "192.0.2.1", NOW);
        assert!(first.update(|status| status.version = "1".into()));
        let second = sensors.begin("edge", "192.0.2.2", NOW);
        assert!(!first.holds() && second.holds());
        drop(first);
        let status = sensors.status();
        assert_eq!((status.len(), status[0].connected, status[0].address.as_str()), (1, true, "192.0.2.2"));
        assert_eq!(status[0].version, "1", "what is known of a sensor goes on");
        second.leave("it stopped\x1b[2J", NOW);
        let status = sensors.status();
        assert_eq!((status[0].connected, status[0].left.as_str()), (false, "it stopped[2J"));
        assert_eq!(sensors.connected(), 0);
    }

    #[test]
    fn a_sensor_that_is_not_there_cannot_be_asked_and_a_full_one_is_busy() {
        let sensors = Arc::<Sensors>::default();
        let ask = || sensors.ask("edge", EvidenceRequest::default(), 4);
        assert_eq!(ask().unwrap_err(), NotAsked::Absent("edge".into()));
        let seat = sensors.begin("edge", "", NOW);
        let asked: Vec<Answer> = (0..COMMANDS_MAX).map(|_| ask().unwrap()).collect();
        assert_eq!(ask().unwrap_err(), NotAsked::Busy("edge".into()));
        assert_eq!(asked.last().map(|answer| answer.id), Some(COMMANDS_MAX as u64));
        drop(seat);
        assert_eq!(ask().unwrap_err(), NotAsked::Absent("edge".into()));
    }

    #[test]
    fn what_a_sensor_says_of_itself_is_bounded_and_harmless() {
        let dropped = (0..1000).map(|n| (format!("\x1b{n}{}", "x".repeat(1000)), 1)).collect();
        let mut status = SensorStatus::default();
        status.take(Health { dropped, rules_version: 3, frames: 7, ..Health::default() });
        assert!(status.dropped.len() <= CAUSES_MAX);
        assert!(
            status.dropped.keys().all(|name| name.len() <= TEXT_CHARACTERS_MAX && !name.contains('\x1b'))
        );
        assert_eq!((status.rules_version, status.health["frames"]), (3, 7));
    }

    #[test]
    fn sensors_that_left_are_forgotten_at_the_limit_and_connected_ones_are_not() {
        let sensors = Arc::<Sensors>::default();
        let stays = sensors.begin("stays", "", Timestamp(0));
        for n in 0..KNOWN_MAX as u64 + 10 {
            sensors.begin(&format!("{n}"), "", Timestamp(n)).leave("", Timestamp(n));
        }
        assert!(sensors.status().len() <= KNOWN_MAX && stays.holds());
    }
}
