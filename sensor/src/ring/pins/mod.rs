//! Pins: evidence kept past the ring's turn, in its own place and within its own quota.
//!
//! In: orders to copy blocks (see [`copy`]), and the time. Out: one directory per pin, which is read as a ring
//! is, and a record of what was asked for. The layout is told in the ring's front page. Whoever makes or removes
//! a pin holds `pins/lock`; readers hold nothing: a pin appears and vanishes with one rename.
//!
//! A pin belongs to whom the ring belongs to, so that the sensor can remove it when its time is over, whoever
//! made it. Deliberately absent: what matches a question (the query stage finds it), flows (the caller names
//! each frame's), and any sharing between pins: giving one back never touches another.

pub mod copy;

use super::DIRECTORY_MODE;
use super::cipher::RingKey;
use super::lock::{self, Lock};
use super::reader::{self, SegmentFiles};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;
use weir_common::time::Timestamp;

/// Most pins of a ring, because every query looks at each; at the limit a further one is refused.
pub const PINS_MAX: usize = 1000;
/// Longest note in bytes; a longer one is refused.
pub const NOTE_BYTES_MAX: usize = 1000;

const PINS_DIRECTORY: &str = "pins";
const RECORD_FILE: &str = "pin.json";
/// Longest record that is read.
const RECORD_BYTES_MAX: u64 = 256 << 10;
/// Ending of a directory that is not a pin yet, or no longer.
const UNFINISHED: &str = "tmp";
/// The unit in which stat(2) says what a file takes.
const STAT_BLOCK_BYTES: u64 = 512;

/// What a pin keeps, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pin {
    /// Its name.
    pub id: String,
    /// When it was made.
    #[serde(serialize_with = "put_time", deserialize_with = "take_time")]
    pub created: Timestamp,
    /// When it leaves; none: when it is given back.
    #[serde(serialize_with = "put_time_if", deserialize_with = "take_time_if")]
    pub until: Option<Timestamp>,
    /// What was asked for, in words.
    pub query: String,
    /// What the person who made it says about it.
    pub note: String,
    /// Frames that matched.
    pub frames: u64,
    /// Blocks that hold them.
    pub blocks: u64,
    /// All frames of these blocks.
    pub frames_kept: u64,
    /// Earliest time of a frame kept.
    #[serde(serialize_with = "put_time", deserialize_with = "take_time")]
    pub first_time: Timestamp,
    /// Latest time of a frame kept.
    #[serde(serialize_with = "put_time", deserialize_with = "take_time")]
    pub last_time: Timestamp,
    /// Disk space it takes.
    pub bytes: u64,
    /// Whether it held everything that was asked for when it was made.
    pub complete: bool,
    /// The statement of completeness from then, in words.
    pub statement: String,
}

impl Pin {
    /// Whether its time is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// Why evidence cannot be pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The quota does not hold it.
    #[error(
        "the pin needs {asked} bytes; {free} of the {budget} bytes for pins (ring.pin_budget_mib) are free"
    )]
    Quota {
        /// Bytes that the pin would take.
        asked: u64,
        /// Bytes that are left.
        free: u64,
        /// Bytes that all pins may take.
        budget: u64,
    },
    /// There are too many.
    #[error("there are {PINS_MAX} pins, which is the most a ring may have; give some back with `ring unpin`")]
    TooMany,
    /// The note is too long.
    #[error("the note has {0} bytes; expected at most {NOTE_BYTES_MAX}")]
    Note(usize),
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The segments of all pins of a ring, oldest first; their names are those of the ring's segments that they were
/// copied from. A ring without pins has none.
pub fn segments(ring: &Path, key: Option<&RingKey>) -> io::Result<Vec<SegmentFiles>> {
    let mut found = Vec::new();
    for id in ids(ring)? {
        match reader::segments(&place(ring).join(&id), key) {
            Ok(segments) => found.extend(segments),
            // Given back meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_by(|a, b| (a.name, &a.segment).cmp(&(b.name, &b.segment)));
    Ok(found)
}

/// The pins of a ring, oldest first. One whose record cannot be read is listed with what its files say.
pub fn list(ring: &Path) -> io::Result<Vec<Pin>> {
    let mut pins = Vec::new();
    for id in ids(ring)? {
        match read(ring, &id) {
            Ok(pin) => pins.push(pin),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    pins.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    Ok(pins)
}

/// Gives pins back, all that are named or none of them; says which there were none of. `busy` is called before waiting
/// for another process.
pub fn unpin(ring: &Path, wanted: &[String], busy: &mut dyn FnMut()) -> Result<Vec<String>, PinError> {
    let failed = |source| PinError::Io { path: place(ring), source };
    // Without pins there need not even be a place for the lock.
    if ids(ring).map_err(failed)?.is_empty() {
        return Ok(wanted.to_vec());
    }
    let _lock = Held::take(ring, busy).map_err(failed)?;
    let known = ids(ring).map_err(failed)?;
    // Only names that were listed: what a user writes never becomes a path.
    let unknown: Vec<String> = wanted.iter().filter(|id| !known.contains(id)).cloned().collect();
    if unknown.is_empty() {
        for id in wanted {
            remove(ring, id).map_err(failed)?;
        }
    }
    Ok(unknown)
}

/// Gives all pins back, and says how many there were.
pub fn unpin_all(ring: &Path, busy: &mut dyn FnMut()) -> Result<usize, PinError> {
    let failed = |source| PinError::Io { path: place(ring), source };
    if ids(ring).map_err(failed)?.is_empty() {
        return Ok(0);
    }
    let _lock = Held::take(ring, busy).map_err(failed)?;
    let known = ids(ring).map_err(failed)?;
    for id in &known {
        remove(ring, id).map_err(failed)?;
    }
    Ok(known.len())
}

/// Removes what an interrupted process left, and at `now` the pins whose time is over, and says which these were.
/// While another process makes or removes a pin nothing is done: it does the same.
pub fn tidy(ring: &Path, now: Option<Timestamp>) -> io::Result<Vec<String>> {
    let place = place(ring);
    if !place.is_dir() {
        return Ok(Vec::new());
    }
    match Lock::take(&place) {
        Ok(_lock) => tidy_locked(ring, now),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn tidy_locked(ring: &Path, now: Option<Timestamp>) -> io::Result<Vec<String>> {
    let place = place(ring);
    for entry in fs::read_dir(&place)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == UNFINISHED) {
            remove_directory(&path)?;
        }
    }
    let Some(now) = now else { return Ok(Vec::new()) };
    let over: Vec<String> =
        list(ring)?.into_iter().filter(|pin| pin.is_over(now)).map(|pin| pin.id).collect();
    for id in &over {
        remove(ring, id)?;
    }
    Ok(over)
}

/// What was last seen of the pins; their directory is read again only when it has changed.
#[derive(Debug, Default)]
pub(super) struct Seen {
    changed: Option<SystemTime>,
    pins: u64,
    bytes: u64,
}

/// How many pins there are, and their disk space. Cheap enough to be asked for all the time.
pub(super) fn seen(ring: &Path, seen: &Mutex<Seen>) -> (u64, u64) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let changed = fs::metadata(place(ring)).and_then(|meta| meta.modified()).ok();
    if changed != seen.changed {
        let pins = list(ring).unwrap_or_default();
        *seen = Seen { changed, pins: pins.len() as u64, bytes: pins.iter().map(|pin| pin.bytes).sum() };
    }
    (seen.pins, seen.bytes)
}

/// The right to make and remove pins.
#[derive(Debug)]
struct Held {
    _lock: Lock,
}

impl Held {
    fn take(ring: &Path, busy: &mut dyn FnMut()) -> io::Result<Held> {
        let place = place(ring);
        match DirBuilder::new().mode(DIRECTORY_MODE).create(&place) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let lock = Lock::take(&place).or_else(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                busy();
                lock::wait(&place)
            }
            _ => Err(error),
        })?;
        give_to_owner_of(ring, &place)?;
        give_to_owner_of(ring, &place.join(lock::LOCK_FILE))?;
        Ok(Held { _lock: lock })
    }
}

fn place(ring: &Path) -> PathBuf {
    ring.join(PINS_DIRECTORY)
}

/// Names of the pins. Anything else in their directory is not looked at.
fn ids(ring: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(place(ring)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && is_id(&name)
            && entry.file_type()?.is_dir()
        {
            ids.push(name);
        }
    }
    ids.sort();
    Ok(ids)
}

/// Whether a directory is that of a pin.
pub(super) fn is_pin(directory: &Path) -> bool {
    directory.parent().is_some_and(|place| place.ends_with(PINS_DIRECTORY))
}

/// The form that [`copy::PinMaker`] gives: a time, and a number where that is taken.
fn is_id(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn read(ring: &Path, id: &str) -> io::Result<Pin> {
    let directory = place(ring).join(id);
    let mut text = Vec::new();
    let parsed = match File::open(directory.join(RECORD_FILE)) {
        Ok(file) => {
            file.take(RECORD_BYTES_MAX).read_to_end(&mut text)?;
            serde_json::from_slice::<Pin>(&text).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    // What the files take, not what the record says: the quota must hold.
    let bytes = size_of(&directory)?;
    let unknown = |why| Pin { statement: format!("{RECORD_FILE} cannot be read: {why}"), ..Pin::default() };
    Ok(Pin { id: id.to_owned(), bytes, ..parsed.unwrap_or_else(unknown) })
}

fn size_of(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        match entry?.metadata() {
            Ok(meta) => bytes += taken(&meta),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// What a pin's copy of a segment takes on disk, which is less than its length: most of it are holes.
pub fn disk_bytes(files: &SegmentFiles) -> u64 {
    fs::metadata(&files.segment).map_or(0, |meta| taken(&meta))
}

fn taken(meta: &fs::Metadata) -> u64 {
    meta.blocks() * STAT_BLOCK_BYTES
}

/// Takes a pin out of sight at once and then away. False: there was none.
fn remove(ring: &Path, id: &str) -> io::Result<bool> {
    let (directory, gone) = (place(ring).join(id), place(ring).join(format!("{id}.{UNFINISHED}")));
    match fs::rename(&directory, &gone) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        renamed => renamed?,
    }
    remove_directory(&gone)?;
    Ok(true)
}

fn remove_directory(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Root makes a pin for the sensor's user, who must be able to remove it.
fn give_to_owner_of(ring: &Path, path: &Path) -> io::Result<()> {
    let (owner, here) = (fs::metadata(ring)?, fs::symlink_metadata(path)?);
    let is_other = (owner.uid(), owner.gid()) != (here.uid(), here.gid());
    if is_other && nix::unistd::geteuid().is_root() {
        lchown(path, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

fn put_time<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn put_time_if<S: serde::Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

fn take_time<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    Timestamp::parse(&text, Timestamp::MIN).map_err(serde::de::Error::custom)
}

fn take_time_if<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let parsed = text.map(|text| Timestamp::parse(&text, Timestamp::MIN)).transpose();
    parsed.map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests;
