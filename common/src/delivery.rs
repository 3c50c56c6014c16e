//! Where a record stands in what a sensor delivers.
//!
//! In and out: a [`Position`]. A record's identity is (sensor, epoch, sequence). Deliberately absent: how a spool
//! keeps records and how a collector remembers them; both belong to their programs.

/// A place in the records of one spool: the sequence is that of the next record, so that everything below it is meant.
///
/// Ordered within an epoch only; of two epochs neither comes before the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// Made when the spool's directory is, and anew whenever it had to be begun anew.
    pub epoch: u64,
    /// Data records put into the spool before this place.
    pub sequence: u64,
}
