//! Packets that the collector asks for: one thread per answer, off every hot path.
//!
//! In: requests. Out: parts of pcapng, never more than the collector gave room for, then how the answer ended. Named
//! limits: [`AT_ONCE_MAX`] answers, `control.evidence_mib_max` bytes, `control.evidence_seconds_max` seconds,
//! [`STALL_MAX`] without room. At the softer ones the answer ends whole and says up to when it is complete.
//! Deliberately absent: how packets are found, which is [`crate::query`]'s.

use super::Ring;
use super::config::ControlConfig;
use crate::query::pin::{Keeping, NotPinned};
use crate::query::{Answer, Query, QueryError, priority};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use weir_common::control::PART_BYTES;
use weir_common::control::messages::{
    EvidenceEnd, EvidenceOutcome, EvidencePart, EvidenceRequest, FromSensor, FromSensorMessage as Say,
};
use weir_common::evidence::Extents;
use weir_common::net::CommunityId;
use weir_common::time::Timestamp;

/// Most answers at once, those included that are being given up.
const AT_ONCE_MAX: usize = 4;
/// Longest that an answer waits for room.
const STALL_MAX: Duration = Duration::from_secs(60);
/// Most parts under way, whatever the collector gives room for.
const WINDOW_MAX: usize = 64;
/// Of the bytes an answer may have, what is kept for its end: the frames under way, and the manifest.
const END_SHARE: u64 = 8;
/// Longest note of a pin, in bytes.
const NOTE_BYTES_MAX: usize = 1000;

/// What is served, over all sessions.
pub(super) struct Evidence {
    ring: Arc<Ring>,
    bytes_max: u64,
    duration_max: Duration,
    running: Arc<AtomicUsize>,
}

/// An answer under way. Dropped, it is given up.
struct Job {
    room: Sender<()>,
    stop: Arc<AtomicBool>,
    until: Instant,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The answers of one session.
#[derive(Default)]
pub(super) struct Jobs(HashMap<u64, Job>);

impl Jobs {
    /// The collector has taken parts.
    pub(super) fn more(&self, id: u64, parts: u64) {
        if let Some(job) = self.0.get(&id) {
            for _ in 0..parts.min(WINDOW_MAX as u64) {
                if job.room.try_send(()).is_err() {
                    break;
                }
            }
        }
    }

    /// The collector wants no more of it, or it is done.
    pub(super) fn end(&mut self, id: u64) {
        self.0.remove(&id);
    }

    /// Ends the reading of those whose time is over; they say what they have.
    pub(super) fn tick(&self, at: Instant) {
        self.0.values().filter(|job| at >= job.until).for_each(|job| job.stop.store(true, Ordering::Relaxed));
    }
}

impl Evidence {
    pub(super) fn new(ring: Arc<Ring>, config: &ControlConfig) -> Evidence {
        Evidence {
            ring,
            bytes_max: u64::from(config.evidence_mib_max) << 20,
            duration_max: Duration::from_secs(config.evidence_seconds_max.into()),
            running: Arc::default(),
        }
    }

    /// Begins an answer; what it says goes to `out`. The answer to a request that is refused is returned.
    pub(super) fn begin(
        &self,
        request: EvidenceRequest,
        jobs: &mut Jobs,
        out: mpsc::Sender<FromSensor>,
    ) -> Result<(), EvidenceEnd> {
        let id = request.id;
        let refused = |why: String| end(id, EvidenceOutcome::Refused, why);
        if jobs.0.contains_key(&id) {
            return Err(refused("an answer of this number is under way".into()));
        }
        let mut query = self.question(&request).map_err(refused)?;
        let place = Place::take(&self.running).ok_or_else(|| {
            refused(format!("{AT_ONCE_MAX} answers are under way; ask again when one is done"))
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        query.reading.stop = Some(Arc::clone(&stop));
        query.reading.threads = 1;
        let (room, taken) = bounded(WINDOW_MAX);
        let job = Job { room, stop: Arc::clone(&stop), until: Instant::now() + self.duration_max };
        let bytes_max = match request.bytes_max {
            0 => self.bytes_max,
            asked => asked.min(self.bytes_max),
        };
        let parts = Parts { id, out, room: taken, stop, pending: Vec::new(), bytes: 0, bytes_max };
        let ring = Arc::clone(&self.ring);
        let window = request.window_parts;
        let started = std::thread::Builder::new().name("evidence".into()).spawn(move || {
            priority::step_back();
            answer(&query, &request, &ring, parts, place);
        });
        if let Err(error) = started {
            return Err(refused(format!("no thread is to be had: {error}")));
        }
        jobs.0.insert(id, job);
        jobs.more(id, window);
        Ok(())
    }

    fn question(&self, request: &EvidenceRequest) -> Result<Query, String> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let flow = some(&request.community_id).map(|text| text.parse::<CommunityId>()).transpose();
        let extents = some(&request.extents).map(|text| text.parse::<Extents>()).transpose();
        Ok(Query {
            flow: flow.map_err(|error| error.to_string())?,
            extents: extents.map_err(|error| error.to_string())?,
            since: (request.since_ns > 0).then_some(Timestamp(request.since_ns)),
            until: (request.until_ns > 0).then_some(Timestamp(request.until_ns)),
            expression: request.expression.clone(),
            ..self.ring.query.clone()
        })
    }
}

fn end(id: u64, outcome: EvidenceOutcome, statement: String) -> EvidenceEnd {
    EvidenceEnd { id, outcome: outcome.into(), statement, ..EvidenceEnd::default() }
}

/// The answer of a sensor that gives no packets.
pub(super) fn not_served(id: u64) -> EvidenceEnd {
    let why = "the sensor keeps no packets, or its `control.evidence` is false";
    end(id, EvidenceOutcome::Refused, why.into())
}

/// A place among the answers at once.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(running: &Arc<AtomicUsize>) -> Option<Place> {
        let more = |now: usize| (now < AT_ONCE_MAX).then_some(now + 1);
        running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Place(Arc::clone(running)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer(query: &Query, request: &EvidenceRequest, ring: &Ring, mut parts: Parts, place: Place) {
    let id = request.id;
    let now = (ring.now)();
    let written = query.write_pcapng(now, &*ring.flows, &mut parts).and_then(|answer| {
        parts.hand_on(true).map_err(QueryError::Output)?;
        Ok(answer)
    });
    let mut told = match &written {
        Ok(answer) => of_answer(id, answer),
        Err(error @ QueryError::Output(_)) => end(id, EvidenceOutcome::Failed, error.to_string()),
        Err(error) => end(id, EvidenceOutcome::Refused, error.to_string()),
    };
    told.bytes = parts.bytes;
    if let (Ok(_), Some(pin)) = (&written, &request.pin) {
        let mut note = pin.note.clone();
        note.truncate(note.floor_char_boundary(NOTE_BYTES_MAX));
        let keeping = Keeping {
            duration: (pin.seconds > 0).then(|| Duration::from_secs(pin.seconds)),
            note: &note,
            budget_bytes: ring.pin_budget_bytes,
        };
        told.pin = match query.pin(now, &*ring.flows, &keeping, &mut || {}) {
            Ok(pinned) => format!("pinned as {}", pinned.pin.id),
            Err(NotPinned::NoMatch(_)) => "nothing was pinned: no packet is there".into(),
            Err(error) => format!("nothing was pinned: {error}"),
        };
    }
    tracing::info!(
        flow = request.community_id,
        expression = request.expression,
        bytes = parts.bytes,
        "the collector asked for packets: {}",
        told.statement.lines().next().unwrap_or_default()
    );
    // Who hears that it is done may ask again at once.
    drop(place);
    // A session that is gone has nobody to tell.
    let _ = parts.out.blocking_send(Say::EvidenceEnd(told).into());
}

fn of_answer(id: u64, answer: &Answer) -> EvidenceEnd {
    let whole = answer.completeness.complete && answer.stopped.is_none();
    let outcome = if whole { EvidenceOutcome::Complete } else { EvidenceOutcome::Incomplete };
    EvidenceEnd { frames: answer.frames, ..end(id, outcome, answer.to_string()) }
}

/// Writes parts as the collector gives room for them.
struct Parts {
    id: u64,
    out: mpsc::Sender<FromSensor>,
    room: Receiver<()>,
    stop: Arc<AtomicBool>,
    pending: Vec<u8>,
    bytes: u64,
    bytes_max: u64,
}

impl Parts {
    fn hand_on(&mut self, all: bool) -> io::Result<()> {
        while self.pending.len() >= PART_BYTES || (all && !self.pending.is_empty()) {
            match self.room.recv_timeout(STALL_MAX) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(io::Error::other(format!(
                        "the collector took nothing for {} s",
                        STALL_MAX.as_secs()
                    )));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("the collector wants no more of it"));
                }
            }
            let rest = self.pending.split_off(self.pending.len().min(PART_BYTES));
            let pcapng = std::mem::replace(&mut self.pending, rest);
            let part = Say::EvidencePart(EvidencePart { id: self.id, pcapng });
            self.out
                .blocking_send(part.into())
                .map_err(|_| io::Error::other("the connection to the collector is gone"))?;
        }
        Ok(())
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // At most what one part lacks, so that memory holds little more than one.
        let taken = bytes.len().min(PART_BYTES);
        let bytes = bytes.get(..taken).unwrap_or_default();
        self.bytes = self.bytes.saturating_add(taken as u64);
        if self.bytes > self.bytes_max {
            return Err(io::Error::other(format!("more than {} bytes were found", self.bytes_max)));
        }
        if self.bytes > self.bytes_max - self.bytes_max / END_SHARE {
            // What is read no further still ends in order, and says where.
            self.stop.store(true, Ordering::Relaxed);
        }
        self.pending.extend_from_slice(bytes);
        self.hand_on(false)?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(bytes_max: u64, rooms: usize) -> (Parts, mpsc::Receiver<FromSensor>, Sender<()>) {
        let (out, said) = mpsc::channel(WINDOW_MAX);
        let (give, room) = bounded(WINDOW_MAX);
        (0..rooms).for_each(|_| give.send(()).unwrap());
        let stop = Arc::default();
        (Parts { id: 1, out, room, stop, pending: Vec::new(), bytes: 0, bytes_max }, said, give)
    }

    #[test]
    fn packets_go_in_parts_of_one_size_and_the_rest_at_the_end() {
        let (mut parts, mut said, _give) = parts(1 << 30, 4);
        let all: Vec<u8> = (0..PART_BYTES * 2 + 5).map(|n| n as u8).collect();
        parts.write_all(&all).unwrap();
        parts.hand_on(true).unwrap();
        let mut got = Vec::new();
        while let Ok(message) = said.try_recv() {
            let Some(Say::EvidencePart(part)) = message.message else { panic!() };
            assert!(part.pcapng.len() <= PART_BYTES);
            got.extend(part.pcapng);
        }
        assert!(got == all);
    }

    #[test]
    fn near_the_limit_reading_ends_and_beyond_it_the_answer_fails() {
        let (mut parts, _said, _give) = parts(800, 1);
        parts.write_all(&[0; 700]).unwrap();
        assert!(!parts.stop.load(Ordering::Relaxed));
        parts.write_all(&[0; 1]).unwrap();
        assert!(parts.stop.load(Ordering::Relaxed));
        parts.write_all(&[0; 99]).unwrap();
        assert!(parts.write_all(&[0]).unwrap_err().to_string().contains("800 bytes"));
    }

    #[test]
    fn a_collector_that_wants_no_more_ends_the_answer() {
        let (mut parts, _said, give) = parts(1 << 30, 0);
        drop(give);
        assert!(parts.write_all(&[0; PART_BYTES]).unwrap_err().to_string().contains("no more"));
    }

    #[test]
    fn so_many_answers_are_given_at_once_and_not_one_more() {
        let running = Arc::default();
        let places: Vec<_> = (0..AT_ONCE_MAX).map(|_| Place::take(&running).unwrap()).collect();
        assert!(Place::take(&running).is_none());
        drop(places);
        assert!(Place::take(&running).is_some());
    }

    #[test]
    fn room_beyond_all_measure_is_no_more_than_the_window() {
        let (room, taken) = bounded(WINDOW_MAX);
        let job = Job { room, stop: Arc::default(), until: Instant::now() };
        let jobs = Jobs(HashMap::from([(1, job)]));
        jobs.more(1, u64::MAX);
        jobs.more(1, u64::MAX);
        jobs.more(2, 1);
        assert_eq!(taken.len(), WINDOW_MAX);
    }
}
