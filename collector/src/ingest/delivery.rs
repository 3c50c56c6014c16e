//! Which of the sensors' records have come, and which of them are stored.
//!
//! In: the places that messages name ([`Place`]), and from the store what became of the records. Out: which records are
//! new, and per spool the [`Position`] below which everything is stored, for whoever tells the sensor.
//!
//! A sensor sends again what it has no acknowledgement for, and sends live records ahead of what waits, so that what has
//! come is kept as ranges per (sensor, epoch). A record is *seen* from its arrival on and *durable* once the file that
//! holds it is complete; one that could not be stored is *given back*: it is not seen any more, and its session is closed
//! when the store works again, so that the sensor sends it again. Numbers without a record (lost at the sensor, or of a
//! kind that is not stored in rows) are durable once their batch was inspected.
//!
//! **Limits.** [`SPOOLS_MAX`] spools are remembered; the one that was silent longest is forgotten for another, and
//! counted. [`RANGES_MAX`] ranges of seen numbers per spool; a message that would begin a further one is refused and
//! counted: it is not acknowledged, so that its sensor keeps it. A sensor makes two or three.
//!
//! Deliberately absent: files (the store reads and writes what is durable) and the control connection.

use crate::bounded::Bounded;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use weir_common::delivery::{Position, Ranges};
use weir_common::ipfix::options::Place;

/// Most spools remembered: pairs of sensor and epoch.
pub const SPOOLS_MAX: usize = 4096;
/// Most ranges of seen numbers per spool.
pub const RANGES_MAX: usize = 1024;

/// Whose records: a sensor and the epoch of one of its spools.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpoolId {
    /// The sensor's name: its certificate's, or what its records say.
    pub sensor: Arc<str>,
    /// The spool's epoch.
    pub epoch: u64,
}

/// What of a spool is stored, in a form for files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The sensor.
    pub sensor: String,
    /// The spool's epoch.
    pub epoch: u64,
    /// Ranges of numbers, each with its first and the one behind its last.
    pub numbers: Vec<(u64, u64)>,
}

impl Held {
    /// From a set of numbers.
    pub fn new(spool: &SpoolId, numbers: &Ranges) -> Held {
        let numbers = numbers.iter().map(|range| (range.start, range.end)).collect();
        Held { sensor: spool.sensor.to_string(), epoch: spool.epoch, numbers }
    }
}

/// Per sensor, the position in each of its spools below which everything is stored.
pub type Positions = Arc<BTreeMap<Arc<str>, Vec<Position>>>;

#[derive(Default)]
struct Known {
    seen: Ranges,
    durable: Ranges,
    /// Records were given back that its sensor still holds.
    is_to_resend: bool,
}

/// Counters of delivery.
#[derive(Debug, Default)]
pub struct DeliveryCounters {
    /// Messages refused because of [`RANGES_MAX`].
    pub messages_refused: AtomicU64,
    /// Records that could not be stored and were left to the sensor to send again.
    pub records_given_back: AtomicU64,
    /// Sessions closed so that their sensor sends again what was given back.
    pub sessions_closed: AtomicU64,
    /// Spools forgotten because of [`SPOOLS_MAX`].
    pub spools_forgotten: AtomicU64,
}

/// The books of all sensors; shared by sessions and the store.
pub struct Deliveries {
    known: Mutex<Bounded<SpoolId, Known>>,
    positions: watch::Sender<Positions>,
    resend: watch::Sender<u64>,
    is_changed: std::sync::atomic::AtomicBool,
    /// What it counts.
    pub counters: DeliveryCounters,
}

/// What of a claimed range is new.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    /// All of it.
    pub range: Range<u64>,
    /// The parts that had not come.
    pub missing: Vec<Range<u64>>,
    /// Whether the spool was known before.
    pub is_known: bool,
}

impl Default for Deliveries {
    fn default() -> Deliveries {
        Deliveries {
            known: Mutex::new(Bounded::new(SPOOLS_MAX)),
            positions: watch::Sender::new(Positions::default()),
            resend: watch::Sender::new(0),
            is_changed: std::sync::atomic::AtomicBool::new(false),
            counters: DeliveryCounters::default(),
        }
    }
}

impl std::fmt::Debug for Deliveries {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Deliveries").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl Deliveries {
    /// Books that begin with what an earlier run stored.
    pub fn restore(held: impl IntoIterator<Item = Held>) -> Deliveries {
        let deliveries = Deliveries::default();
        for Held { sensor, epoch, numbers } in held {
            let spool = SpoolId { sensor: sensor.into(), epoch };
            let numbers = numbers.into_iter().filter(|(start, end)| start <= end);
            let numbers: Ranges = numbers.map(|(start, end)| start..end).collect();
            let mut known = deliveries.lock();
            let (entry, _) = known.entry(spool, Known::default);
            entry.seen.extend(&numbers);
            entry.durable.extend(&numbers);
        }
        deliveries.is_changed.store(true, Ordering::Relaxed);
        deliveries
    }

    /// What of a message's numbers is new; from now on they are seen. `None`: the message is refused.
    pub fn claim(&self, spool: &SpoolId, place: &Place) -> Option<Claim> {
        let range = place.range();
        let mut known = self.lock();
        let is_known = known.get_mut(spool).is_some();
        let (entry, forgotten) = known.entry(spool.clone(), Known::default);
        if entry.seen.would_have(&range) > RANGES_MAX.max(entry.seen.len()) {
            add(&self.counters.messages_refused, 1);
            return None;
        }
        let missing = entry.seen.missing(range.clone());
        entry.seen.insert(range.clone());
        if forgotten.is_some() {
            add(&self.counters.spools_forgotten, 1);
        }
        if !is_known {
            self.is_changed.store(true, Ordering::Relaxed);
        }
        Some(Claim { range, missing, is_known })
    }

    /// These are stored, or need not be.
    pub fn durable(&self, spool: &SpoolId, numbers: &Ranges) {
        if numbers.is_empty() {
            return;
        }
        let mut known = self.lock();
        let (entry, _) = known.entry(spool.clone(), Known::default);
        entry.seen.extend(numbers);
        entry.durable.extend(numbers);
        self.is_changed.store(true, Ordering::Relaxed);
    }

    /// These could not be stored: should they come again, they are new.
    pub fn give_back(&self, spool: &SpoolId, numbers: &Ranges) {
        if numbers.is_empty() {
            return;
        }
        add(&self.counters.records_given_back, numbers.count());
        let mut known = self.lock();
        if let Some(entry) = known.get_mut(spool) {
            for range in numbers.iter().flat_map(|range| entry.durable.missing(range)).collect::<Vec<_>>() {
                entry.seen.remove(range);
            }
            entry.is_to_resend = true;
        }
    }

    /// Sessions whose records were given back shall end; called when the store works.
    pub fn ask_again(&self) {
        let is_wanted = self.lock().iter().any(|(_, entry)| entry.is_to_resend);
        if is_wanted {
            self.resend.send_modify(|turn| *turn += 1);
        }
    }

    /// Changes when sessions should ask [`Deliveries::is_to_resend`].
    pub fn resends(&self) -> watch::Receiver<u64> {
        self.resend.subscribe()
    }

    /// Whether a spool's session is to end, so that its sensor sends again; says so once.
    pub fn is_to_resend(&self, spool: &SpoolId) -> bool {
        self.lock().get_mut(spool).is_some_and(|entry| std::mem::take(&mut entry.is_to_resend))
    }

    /// Everything that is durable, when it changed since this was asked last.
    pub fn changed(&self) -> Option<Vec<Held>> {
        if !self.is_changed.swap(false, Ordering::Relaxed) {
            return None;
        }
        Some(self.lock().iter().map(|(spool, entry)| Held::new(spool, &entry.durable)).collect())
    }

    /// What [`Deliveries::changed`] gave could not be kept: it is given again.
    pub fn not_published(&self) {
        self.is_changed.store(true, Ordering::Relaxed);
    }

    /// Publishes the positions that follow from what is durable. Whoever calls it has made `held` durable itself.
    pub fn publish(&self, held: &[Held]) {
        let mut positions: BTreeMap<Arc<str>, Vec<Position>> = BTreeMap::new();
        for Held { sensor, epoch, numbers } in held {
            let sequence = numbers.first().filter(|(start, _)| *start == 0).map_or(0, |(_, end)| *end);
            positions.entry(sensor.as_str().into()).or_default().push(Position { epoch: *epoch, sequence });
        }
        // The last state is kept for who subscribes later.
        self.positions.send_replace(Arc::new(positions));
    }

    /// The positions, now and whenever they change.
    pub fn positions(&self) -> watch::Receiver<Positions> {
        self.positions.subscribe()
    }

    /// Spools remembered, and records that are seen and not durable yet.
    pub fn status(&self) -> (u64, u64) {
        let known = self.lock();
        let waiting = known.iter().map(|(_, entry)| entry.seen.count() - entry.durable.count()).sum();
        (known.len() as u64, waiting)
    }

    fn lock(&self) -> MutexGuard<'_, Bounded<SpoolId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

/// Where a batch's records stand in their sensor's spool.
#[derive(Clone, Debug)]
pub struct BatchPlaces {
    /// Whose numbers.
    pub spool: SpoolId,
    /// The number of each of the batch's flow records, in their order; `None` for a record without one.
    pub records: Vec<Option<u64>>,
    /// Numbers that have no flow record in the batch: alerts, and what is lost.
    pub others: Ranges,
    /// Whether what `others` stands for was written; the worker says so.
    pub others_failed: bool,
}

impl BatchPlaces {
    /// Every number.
    pub fn all(&self) -> Ranges {
        let mut all = self.others.clone();
        for number in self.records.iter().flatten() {
            all.insert(*number..number + 1);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init, reason = "a list of ranges that happens to have one")]

    use super::*;

    fn spool(epoch: u64) -> SpoolId {
        SpoolId { sensor: "edge-1".into(), epoch }
    }

    fn place(sequence: u64, count: u64) -> Place {
        Place { first: Position { epoch: 1, sequence }, count }
    }

    fn ranges(of: &[Range<u64>]) -> Ranges {
        of.iter().cloned().collect()
    }

    fn position(deliveries: &Deliveries) -> Option<u64> {
        if let Some(held) = deliveries.changed() {
            deliveries.publish(&held);
        }
        deliveries.positions().borrow().get("edge-1").map(|positions| positions[0].sequence)
    }

    #[test]
    fn what_came_before_is_no_news_and_what_is_stored_is_told_up_to_the_first_hole() {
        let deliveries = Deliveries::default();
        let claim = deliveries.claim(&spool(1), &place(0, 10)).unwrap();
        assert_eq!((claim.missing, claim.is_known), (vec![0..10], false));
        assert_eq!(position(&deliveries), Some(0));
        let again = deliveries.claim(&spool(1), &place(5, 10)).unwrap();
        assert_eq!((again.missing, again.is_known), (vec![10..15], true));
        deliveries.durable(&spool(1), &ranges(&[5..15]));
        assert_eq!(position(&deliveries), Some(0));
        deliveries.durable(&spool(1), &ranges(&[0..5]));
        assert_eq!(position(&deliveries), Some(15));
        assert_eq!(deliveries.changed(), None);
    }

    #[test]
    fn what_could_not_be_stored_is_new_when_it_comes_again() {
        let deliveries = Deliveries::default();
        deliveries.claim(&spool(1), &place(0, 10)).unwrap();
        deliveries.durable(&spool(1), &ranges(&[0..4]));
        deliveries.give_back(&spool(1), &ranges(&[2..8]));
        let mut resends = deliveries.resends();
        deliveries.ask_again();
        assert!(resends.has_changed().unwrap());
        resends.mark_unchanged();
        assert!(deliveries.is_to_resend(&spool(1)) && !deliveries.is_to_resend(&spool(1)));
        let claim = deliveries.claim(&spool(1), &place(0, 10)).unwrap();
        assert_eq!(claim.missing, [4..8]);
        assert_eq!(deliveries.counters.records_given_back.load(Ordering::Relaxed), 6);
    }

    #[test]
    fn what_an_earlier_run_stored_is_durable_from_the_beginning() {
        let first = Deliveries::default();
        first.claim(&spool(1), &place(0, 10)).unwrap();
        first.durable(&spool(1), &ranges(&[0..6, 8..10]));
        let second = Deliveries::restore(first.changed().unwrap());
        assert_eq!(position(&second), Some(6));
        assert_eq!(second.claim(&spool(1), &place(0, 10)).unwrap().missing, [6..8]);
    }

    #[test]
    fn endless_ranges_and_endless_spools_are_bounded_and_counted() {
        let deliveries = Deliveries::default();
        for number in 0..RANGES_MAX as u64 {
            assert!(deliveries.claim(&spool(1), &place(2 * number, 1)).is_some());
        }
        assert!(deliveries.claim(&spool(1), &place(1 << 40, 1)).is_none());
        assert!(deliveries.claim(&spool(1), &place(1, 1)).is_some(), "filling a hole is always possible");
        for epoch in 0..SPOOLS_MAX as u64 + 5 {
            deliveries.claim(&spool(epoch), &place(0, 1)).unwrap();
        }
        assert_eq!(deliveries.status().0, SPOOLS_MAX as u64);
        assert_eq!(deliveries.counters.messages_refused.load(Ordering::Relaxed), 1);
        assert!(deliveries.counters.spools_forgotten.load(Ordering::Relaxed) >= 5);
    }
}
