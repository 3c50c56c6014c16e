//! How far each sensor's records are stored durably: written by the store, read by the sessions.
//!
//! In: (sensor, [`Position`]). Out: a wake-up for every session, and the positions of one sensor. Only the newest
//! position of an epoch is kept, so that a slow reader misses none that matters and costs no memory.
//! Deliberately absent: any judgement; what is published is believed.

use std::collections::BTreeMap;
use tokio::sync::watch;
use weir_common::delivery::Position;

/// Most epochs kept of one sensor: one per spool and one more whenever it was begun anew. The oldest goes.
const EPOCHS_MAX: usize = 16;

type Positions = BTreeMap<String, Vec<Position>>;

/// The writing end; clones write to the same place.
#[derive(Clone, Debug)]
pub struct Acknowledgements(watch::Sender<Positions>);

impl Default for Acknowledgements {
    fn default() -> Self {
        Acknowledgements(watch::Sender::new(Positions::new()))
    }
}

impl Acknowledgements {
    /// Everything of this sensor below the position is stored durably.
    pub fn publish(&self, sensor: &str, position: Position) {
        self.0.send_if_modified(|all| {
            let known = match all.get_mut(sensor) {
                Some(known) => known,
                None => all.entry(sensor.to_owned()).or_default(),
            };
            match known.iter_mut().find(|known| known.epoch == position.epoch) {
                Some(known) if known.sequence >= position.sequence => return false,
                Some(known) => *known = position,
                None => {
                    if known.len() >= EPOCHS_MAX {
                        known.remove(0);
                    }
                    known.push(position);
                }
            }
            true
        });
    }

    /// The reading end.
    pub(super) fn subscribe(&self) -> watch::Receiver<Positions> {
        self.0.subscribe()
    }
}

/// One sensor's positions.
pub(super) fn positions(of: &mut watch::Receiver<Positions>, sensor: &str) -> Vec<Position> {
    of.borrow_and_update().get(sensor).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_position_of_each_epoch_is_kept_and_none_goes_back() {
        let acknowledgements = Acknowledgements::default();
        let mut reader = acknowledgements.subscribe();
        let at = |epoch, sequence| Position { epoch, sequence };
        for position in [at(1, 5), at(2, 1), at(1, 9), at(1, 7)] {
            acknowledgements.publish("edge", position);
        }
        acknowledgements.publish("other", at(1, 100));
        assert_eq!(positions(&mut reader, "edge"), [at(1, 9), at(2, 1)]);
        assert!(!reader.has_changed().unwrap());
        acknowledgements.publish("edge", at(1, 9));
        assert!(!reader.has_changed().unwrap(), "nothing new was said");
        for epoch in 3..100 {
            acknowledgements.publish("edge", at(epoch, 1));
        }
        let kept = positions(&mut reader, "edge");
        assert_eq!((kept.len(), kept.last().copied()), (EPOCHS_MAX, Some(at(99, 1))));
    }
}
