//! `dataset` and `datarep`: sets of values that a buffer is looked up in.
//!
//! In: options, the files that they name, and the set that was there before the rules were loaded anew; then
//! buffers. Out: whether a rule's test passes, what a match adds or takes away, and the JSON that an alert
//! carries of the value that was found. A value is tested while the rule is looked at, and added or taken
//! away when the whole rule has matched.
//!
//! Deliberately absent: writing. What `save` and `state` would write stays in memory, which a warning says;
//! sets that only `load` are read anew with the rules, others go on.

mod load;
mod option;
mod table;
mod values;

#[cfg(test)]
mod tests;

pub(in super::super) use load::{DataSettings, FILE_BYTES_MAX};
pub(in super::super) use table::{DataLoader, DataTable, DataTest, SETS_MAX};
pub(in super::super) use values::{MEMCAP_DEFAULT, TOTAL_BYTES_MAX};
