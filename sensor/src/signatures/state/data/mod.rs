//! `dataset` and `datarep`: sets of values that a buffer is looked up in.
//!
//! In: options, the files that they name, and the set that was there before the rules were loaded anew; then
//! buffers. Out: whether a rule's test passes, and the JSON that an alert carries of the value that was found.
//! As in Suricata, `set` and `unset` change the set when the buffer is looked at, whether or not the whole rule
//! matches; of several workers that see a new value at once, one finds it new.
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
