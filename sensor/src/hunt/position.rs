//! How far a hunt has come, kept in a file so that another run goes on from there.
//!
//! In and out: a [`Position`] as one JSON document, replaced as a whole and only when it is on disk, so that
//! a crash leaves the one before. A question that has changed since (rules, variables, expression, range)
//! makes it worthless, which its hash tells.

use crate::signatures::{RuleId, Window, WindowKey};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;
use weir_common::net::CommunityId;
use weir_common::time::Timestamp;

/// Layout of the file; another one starts anew.
const VERSION: u32 = 1;
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Most flows that a position keeps; of more, those told of least recently are left out, and may be told of
/// again by the next run.
pub const FLOWS_MAX: usize = 1 << 16;
/// How far before the position the next run begins to read, to know the flows that were going on. Nothing
/// is told twice: up to the position the packets only rebuild what was known. A flow that began earlier is
/// picked up in its midst.
pub const OVERLAP: Duration = Duration::from_secs(300);

/// Where a hunt stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    version: u32,
    /// Hash of what was asked.
    pub question: String,
    /// Everything up to and with this time was looked at and told.
    pub time: Timestamp,
    /// The same in words, for people.
    pub time_text: String,
    /// Alerts so far.
    pub alerts: u64,
    /// Flows that were going on and had alerts.
    pub flows: Vec<SavedFlow>,
    /// Thresholds' windows that were open.
    pub windows: Vec<SavedWindow>,
}

/// What was told of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFlow {
    /// Its Community ID.
    pub community_id: CommunityId,
    /// The identifier that its alerts carry.
    pub flow_id: u64,
    /// When it was last known to go on.
    pub alive: Timestamp,
    /// Counts by signature.
    pub told: Vec<Told>,
}

/// How often a signature was told of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The signature's number.
    pub signature: u32,
    /// How often.
    pub count: u32,
    /// How many of those were told only because the packets ended: the next run finds them again.
    pub early: u32,
}

/// A threshold's window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedWindow {
    /// Positions of before have a number here that is no rule's: such a window ends uncounted.
    #[serde(alias = "signature")]
    rule: RuleId,
    #[serde(default)]
    track: u8,
    tracked: [u8; 32],
    since: Timestamp,
    count: u32,
    seconds: u32,
    #[serde(default)]
    next: u32,
    #[serde(default)]
    acting: Option<Timestamp>,
    #[serde(default)]
    ports: Vec<u16>,
}

impl From<(WindowKey, Window)> for SavedWindow {
    fn from((key, window): (WindowKey, Window)) -> SavedWindow {
        let WindowKey { rule, track, tracked } = key;
        let Window { since, count, seconds, next, acting, ports } = window;
        SavedWindow { rule, track, tracked, since, count, seconds, next, acting, ports }
    }
}

impl From<SavedWindow> for (WindowKey, Window) {
    fn from(saved: SavedWindow) -> (WindowKey, Window) {
        let SavedWindow { rule, track, tracked, since, count, seconds, next, acting, ports } = saved;
        (WindowKey { rule, track, tracked }, Window { since, count, seconds, next, acting, ports })
    }
}

impl Position {
    /// A position.
    pub fn new(
        question: String,
        time: Timestamp,
        alerts: u64,
        flows: Vec<SavedFlow>,
        windows: Vec<SavedWindow>,
    ) -> Position {
        Position { version: VERSION, question, time, time_text: time.to_string(), alerts, flows, windows }
    }

    /// Reads a file; none where there is none yet. Another layout, or no position at all, is an error.
    pub fn read(path: &Path) -> io::Result<Option<Position>> {
        let length = match fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let wrong = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
        if length > FILE_BYTES_MAX {
            return Err(wrong(format!("{length} bytes are too many for a hunt's position")));
        }
        let position: Position = serde_json::from_slice(&fs::read(path)?)
            .map_err(|error| wrong(format!("not a hunt's position: {error}")))?;
        if position.version != VERSION {
            return Err(wrong(format!("version {}, where {VERSION} was expected", position.version)));
        }
        Ok(Some(position))
    }

    /// Replaces the file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = Path::new(&beside);
        let mut file = File::create(beside)?;
        serde_json::to_writer(io::BufWriter::new(&mut file), self)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(beside, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read_and_other_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hunt.json");
        assert_eq!(Position::read(&path).unwrap(), None);
        let told = vec![Told { signature: 3, count: 2, early: 1 }];
        let flows = vec![SavedFlow {
            community_id: CommunityId([7; 20]),
            flow_id: 1 << 52,
            alive: Timestamp(3),
            told,
        }];
        let window = (
            WindowKey { rule: RuleId::new(1, 5), track: 1, tracked: [9; 32] },
            Window {
                since: Timestamp(u64::MAX),
                count: 2,
                seconds: 60,
                ports: vec![80],
                ..Window::default()
            },
        );
        let position =
            Position::new("q".into(), Timestamp(1_763_640_000_123_456_789), 5, flows, vec![window.into()]);
        position.write(&path).unwrap();
        assert_eq!(Position::read(&path).unwrap(), Some(position));
        for wrong in ["", "{}", "no json", r#"{"version":9}"#] {
            fs::write(&path, wrong).unwrap();
            assert!(Position::read(&path).is_err(), "{wrong}");
        }
    }
}
