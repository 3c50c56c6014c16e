//! The register: which sensors are enrolled, and which tokens are out.
//!
//! In: changes, each made under a lock between processes, and the file as another process left it. Out: the list.
//! The file is replaced as a whole; the running collector looks at it anew when it has changed, so that what the
//! command line does takes effect at once. Knows no certificate and no socket.

use super::IdentityError;
use super::refused::Refused;
use crate::files;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;
use weir_common::enrolment::SensorName;
use weir_common::time::Timestamp;

/// Most sensors enrolled; a further one is refused until another is revoked and forgotten.
pub const SENSORS_MAX: usize = 4096;
/// Most tokens kept, used and expired ones included; the oldest make place.
pub const TOKENS_MAX: usize = 1024;
/// How long a token that was used or has expired is remembered, to say which of both it is.
const TOKEN_REMEMBERED: Duration = Duration::from_secs(7 * 86_400);
/// Largest register that is read, in octets: more than its limits allow it to become.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The register's file.
const FILE_NAME: &str = "sensors.json";
/// The file that processes lock.
const LOCK_NAME: &str = "lock";

/// One enrolled sensor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sensor {
    /// What its certificates carry besides the name: another pairing has another.
    pub enrolment: String,
    /// When it was paired, RFC 3339.
    pub enrolled: String,
    /// When its latest certificate expires, RFC 3339.
    pub expires: String,
    /// When it was revoked, RFC 3339; empty: it is not.
    pub revoked: String,
}

/// One token, without its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Pending {
    pub(super) name: String,
    /// SHA-256 of the secret, in hexadecimal.
    pub(super) secret_sha256: String,
    /// RFC 3339.
    pub(super) expires: String,
    /// RFC 3339; empty: it can still be used.
    pub(super) used: String,
}

/// The whole list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct List {
    pub(super) sensors: BTreeMap<String, Sensor>,
    pub(super) tokens: Vec<Pending>,
}

/// What tells one state of the file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

#[derive(Debug)]
pub(super) struct Register {
    path: PathBuf,
    lock: PathBuf,
    list: RwLock<List>,
    /// The file as it was read last; and whether the last reading failed, which is logged once.
    seen: Mutex<(Option<Seen>, bool)>,
    version: watch::Sender<u64>,
}

/// A time as the register writes it; what cannot be read is as old as can be, so that it is not valid any more.
pub(super) fn time(text: &str) -> Timestamp {
    Timestamp::parse(text, Timestamp::MIN).unwrap_or(Timestamp::MIN)
}

impl Register {
    pub(super) fn open(directory: &Path) -> Result<Register, IdentityError> {
        let (path, lock) = (directory.join(FILE_NAME), directory.join(LOCK_NAME));
        let (list, seen) = read(&path)?;
        Ok(Register {
            path,
            lock,
            list: RwLock::new(list),
            seen: Mutex::new((seen, false)),
            version: watch::Sender::new(0),
        })
    }

    /// Learns of every change, those of other processes when [`Register::refresh`] sees them.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Reads the file again if it is another than was read last. One that cannot be read changes nothing: that a
    /// sensor is enrolled, and that it is revoked, both stay as they were known.
    pub(super) fn refresh(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen_of(&self.path).is_ok_and(|now| now == seen.0) {
            return;
        }
        match read(&self.path) {
            Ok((list, now)) => {
                *seen = (now, false);
                *self.list.write().unwrap_or_else(PoisonError::into_inner) = list;
                self.touch();
            }
            Err(error) => {
                if !std::mem::replace(&mut seen.1, true) {
                    tracing::error!("{error}; who is enrolled and who is revoked stays as it was known");
                }
            }
        }
    }

    /// Has everybody who was let in looked at anew.
    pub(super) fn touch(&self) {
        self.version.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// Looks at the list as it is now.
    pub(super) fn look<T>(&self, question: impl FnOnce(&List) -> T) -> T {
        self.refresh();
        question(&self.list.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the list, alone among all processes; nothing changes when the change refuses or cannot be written.
    pub(super) fn change<T>(
        &self,
        now: Timestamp,
        change: impl FnOnce(&mut List) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let state = |error: IdentityError| Refused::State(error.to_string());
        let _held = lock(&self.lock).map_err(|source| state(IdentityError::io(&self.lock, source)))?;
        let (mut list, _) = read(&self.path).map_err(state)?;
        let done = change(&mut list)?;
        list.tidy(now);
        let written = serde_json::to_vec_pretty(&list).map_err(io::Error::other);
        written
            .and_then(|bytes| files::replace_private(&self.path, &bytes))
            .map_err(|source| state(IdentityError::io(&self.path, source)))?;
        self.refresh();
        Ok(done)
    }
}

impl List {
    /// Forgets tokens that are long past, and the oldest beyond the limit.
    fn tidy(&mut self, now: Timestamp) {
        self.tokens.retain(|token| now < time(&token.expires).plus(TOKEN_REMEMBERED));
        let over = self.tokens.len().saturating_sub(TOKENS_MAX);
        self.tokens.drain(..over);
    }

    /// Takes a token out of use and enrols its sensor.
    pub(super) fn redeem(
        &mut self,
        secret_sha256: &str,
        name: &SensorName,
        sensor: Sensor,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let token = self.tokens.iter_mut().find(|token| token.secret_sha256 == secret_sha256);
        let token = token.ok_or(Refused::TokenUnknown)?;
        if !token.used.is_empty() {
            return Err(Refused::TokenUsed);
        }
        if now >= time(&token.expires) {
            return Err(Refused::TokenExpired);
        }
        if token.name != name.as_str() {
            let other = SensorName::new(&token.name).map_err(|error| Refused::State(error.to_string()))?;
            return Err(Refused::TokenOfAnother { token: other, found: name.clone() });
        }
        if self.sensors.len() >= SENSORS_MAX && !self.sensors.contains_key(name.as_str()) {
            return Err(Refused::State(format!("{SENSORS_MAX} sensors are enrolled, which is the limit")));
        }
        token.used = now.to_string();
        self.sensors.insert(name.to_string(), sensor);
        Ok(())
    }

    /// Whether a certificate of this sensor and pairing is good.
    pub(super) fn admit(&self, name: &SensorName, enrolment: &str) -> Result<(), Refused> {
        match self.sensors.get(name.as_str()) {
            None => Err(Refused::NotEnrolled(name.clone())),
            Some(sensor) if !sensor.revoked.is_empty() || sensor.enrolment != enrolment => {
                Err(Refused::Revoked)
            }
            Some(_) => Ok(()),
        }
    }
}

/// Holds the directory for this process, waiting for another.
pub(super) fn lock(path: &Path) -> io::Result<File> {
    let file = files::open_private(path)?;
    file.lock()?;
    Ok(file)
}

fn seen_of(path: &Path) -> io::Result<Option<Seen>> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(Seen {
            inode: meta.ino(),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The list in the file; an empty one without a file.
fn read(path: &Path) -> Result<(List, Option<Seen>), IdentityError> {
    // What it looked like before reading: a change in between is seen as one at the next look.
    let seen = seen_of(path).map_err(|source| IdentityError::io(path, source))?;
    match seen {
        None => return Ok((List::default(), None)),
        Some(seen) if seen.bytes > FILE_BYTES_MAX => {
            return Err(IdentityError::damaged(path, format!("it has more than {FILE_BYTES_MAX} octets")));
        }
        Some(_) => {}
    }
    let bytes = fs::read(path).map_err(|source| IdentityError::io(path, source))?;
    let list = serde_json::from_slice(&bytes);
    list.map(|list| (list, seen)).map_err(|error| IdentityError::damaged(path, error.to_string()))
}
