//! The rules that every paired sensor has in force: read from a directory, signed, and offered.
//!
//! In: the directory `control.rules`, looked at every few seconds. Out: a signed [`Bundle`] whose version only goes
//! up. A directory that changes is read once it has been the same for two looks, so that a file on its way is not
//! sent; one that cannot be read, or holds more than a sensor takes, changes nothing and is said once.
//! Deliberately absent: reading the rules themselves, which their sensors do and report about.

use super::authority::Authority;
use crate::files;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use weir_common::control::messages::{RulesFile, RulesManifest, RulesOffer};
use weir_common::control::{RULES_BYTES_MAX, RULES_FILES_MAX, is_rules_name, signed_manifest};
use weir_common::time::Timestamp;

/// Rules as they are offered.
#[derive(Debug)]
pub(super) struct Bundle {
    pub(super) version: u64,
    pub(super) offer: RulesOffer,
    pub(super) contents: Vec<u8>,
}

/// Why the rules cannot be offered.
#[derive(Debug, thiserror::Error)]
pub(super) enum RulesError {
    /// The directory or a file cannot be read.
    #[error("control.rules: {path}: {source}")]
    Read {
        /// Which one.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Too much.
    #[error("control.rules: {path}: more than {RULES_FILES_MAX} files or {} MiB; sensors take no more", RULES_BYTES_MAX >> 20)]
    Large {
        /// The directory.
        path: String,
    },
    /// Nothing to offer.
    #[error("control.rules: {path}: no file's name ends with .rules")]
    Empty {
        /// The directory.
        path: String,
    },
    /// A name that sensors do not take.
    #[error("control.rules: `{}` is not a name that sensors take: letters, digits, dots, dashes and underscores", .name.escape_debug())]
    Name {
        /// The file.
        name: String,
    },
    /// The authority does not sign.
    #[error("control.rules: cannot be signed: {0}")]
    Sign(String),
}

/// What a directory looked like.
type Look = Vec<(String, u64, Option<SystemTime>)>;

/// What outlives a restart, so that versions only go up.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    version: u64,
    sha256: String,
}

/// The directory, looked at again and again.
pub(super) struct Directory {
    path: PathBuf,
    kept: PathBuf,
    authority: Arc<dyn Authority>,
    /// What it looked like at the last look.
    look: Option<Look>,
    /// What it looked like when it was read.
    read: Option<Look>,
    /// The last thing that was said to be wrong.
    said: String,
}

impl Directory {
    /// `state` is where the version is kept.
    pub(super) fn new(path: &Path, state: &Path, authority: Arc<dyn Authority>) -> Directory {
        let kept = state.join("control-rules.json");
        Directory { path: path.to_owned(), kept, authority, look: None, read: None, said: String::new() }
    }

    /// Looks at the directory; new rules when it changed and has been the same for two looks.
    pub(super) fn look(&mut self, now: Timestamp) -> Option<Bundle> {
        let look = match look(&self.path) {
            Ok(look) => look,
            Err(error) => {
                self.say(&error);
                return None;
            }
        };
        let settled = self.look.as_ref() == Some(&look);
        self.look = Some(look.clone());
        if !settled || self.read.as_ref() == Some(&look) {
            return None;
        }
        match self.bundle(&look, now) {
            Ok(bundle) => {
                self.said.clear();
                self.read = Some(look);
                tracing::info!(
                    version = bundle.version,
                    bytes = bundle.contents.len(),
                    "rules for the sensors"
                );
                Some(bundle)
            }
            Err(error) => {
                self.say(&error);
                None
            }
        }
    }

    /// Says what is wrong, once.
    fn say(&mut self, error: &RulesError) {
        let said = error.to_string();
        if self.said != said {
            tracing::error!("{said}; the sensors keep the rules that they have");
            self.said = said;
        }
    }

    fn bundle(&self, look: &Look, now: Timestamp) -> Result<Bundle, RulesError> {
        let mut manifest = RulesManifest { made_ns: now.0, ..RulesManifest::default() };
        let mut contents = Vec::new();
        for (name, ..) in look {
            let path = self.path.join(name);
            let failed = |source| RulesError::Read { path: path.display().to_string(), source };
            let before = contents.len();
            let left = RULES_BYTES_MAX.saturating_sub(before as u64);
            // One byte more than is left, so that a file that grew meanwhile is seen.
            fs::File::open(&path)
                .and_then(|file| file.take(left + 1).read_to_end(&mut contents))
                .map_err(failed)?;
            if contents.len() as u64 > RULES_BYTES_MAX {
                return Err(RulesError::Large { path: self.path.display().to_string() });
            }
            manifest.files.push(RulesFile { name: name.clone(), bytes: (contents.len() - before) as u64 });
        }
        manifest.sha256 = Sha256::digest(&contents).to_vec();
        manifest.version = self.version(&manifest, now)?;
        let encoded = manifest.encode_to_vec();
        let signature = self.authority.sign(&signed_manifest(&encoded)).map_err(RulesError::Sign)?;
        Ok(Bundle { version: manifest.version, offer: RulesOffer { manifest: encoded, signature }, contents })
    }

    /// The version that was kept for the same files, or one above it; never below the time in seconds, so that it goes
    /// up even where the state was lost.
    fn version(&self, manifest: &RulesManifest, now: Timestamp) -> Result<u64, RulesError> {
        let failed = |source| RulesError::Read { path: self.kept.display().to_string(), source };
        let kept: Kept = match fs::read(&self.kept) {
            // What cannot be read is as good as lost.
            Ok(text) => serde_json::from_slice(&text).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(failed(error)),
        };
        let mut whole = Sha256::new();
        for file in &manifest.files {
            whole.update(format!("{} {}\n", file.name, file.bytes));
        }
        whole.update(&manifest.sha256);
        let sha256 = whole.finalize().iter().map(|octet| format!("{octet:02x}")).collect();
        if kept.sha256 == sha256 {
            return Ok(kept.version);
        }
        let version = kept.version.saturating_add(1).max(now.0 / 1_000_000_000);
        let text = serde_json::to_vec(&Kept { version, sha256 }).map_err(|error| failed(error.into()))?;
        files::replace(&self.kept, &text).map_err(failed)?;
        Ok(version)
    }
}

/// The files of the directory in order of their names. Hidden files and those on their way are none.
fn look(directory: &Path) -> Result<Look, RulesError> {
    let failed = |source| RulesError::Read { path: directory.display().to_string(), source };
    let (mut found, mut bytes) = (Look::new(), 0);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name.ends_with(".part") || name.ends_with('~') {
            continue;
        }
        let metadata = fs::metadata(entry.path()).map_err(failed)?;
        if !metadata.is_file() {
            continue;
        }
        if !is_rules_name(&name) {
            return Err(RulesError::Name { name });
        }
        bytes += metadata.len();
        found.push((name, metadata.len(), metadata.modified().ok()));
        if found.len() > RULES_FILES_MAX || bytes > RULES_BYTES_MAX {
            return Err(RulesError::Large { path: directory.display().to_string() });
        }
    }
    if !found.iter().any(|(name, ..)| name.ends_with(".rules")) {
        return Err(RulesError::Empty { path: directory.display().to_string() });
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Trusting;
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000_000_000);

    struct Place {
        _work: tempfile::TempDir,
        rules: PathBuf,
        state: PathBuf,
    }

    impl Place {
        fn new() -> Place {
            let work = tempfile::tempdir().unwrap();
            let (rules, state) = (work.path().join("rules"), work.path().join("state"));
            fs::create_dir(&rules).unwrap();
            Place { _work: work, rules, state }
        }

        fn directory(&self) -> Directory {
            Directory::new(&self.rules, &self.state, Arc::new(Trusting::default()))
        }
    }

    /// The bundle of two looks.
    fn settled(directory: &mut Directory, now: Timestamp) -> Option<Bundle> {
        assert!(directory.look(now).is_none(), "a first look is none");
        directory.look(now)
    }

    #[test]
    fn a_directory_is_offered_once_it_is_the_same_for_two_looks() {
        let place = Place::new();
        fs::write(place.rules.join("b.rules"), "beta").unwrap();
        fs::write(place.rules.join("a.lst"), "al").unwrap();
        fs::write(place.rules.join(".hidden"), "x").unwrap();
        fs::write(place.rules.join("c.rules.part"), "x").unwrap();
        let mut directory = place.directory();
        let bundle = settled(&mut directory, NOW).unwrap();
        assert_eq!((bundle.version, bundle.contents.as_slice()), (1_790_000_000, &b"albeta"[..]));
        let manifest = RulesManifest::decode(&bundle.offer.manifest[..]).unwrap();
        let names: Vec<_> = manifest.files.iter().map(|file| (file.name.as_str(), file.bytes)).collect();
        assert_eq!(names, [("a.lst", 2), ("b.rules", 4)]);
        assert_eq!(bundle.offer.signature, Trusting::signature(&signed_manifest(&bundle.offer.manifest)));
        assert!(directory.look(NOW).is_none(), "nothing changed");
        fs::write(place.rules.join("b.rules"), "beta and more").unwrap();
        assert_eq!(settled(&mut directory, NOW).unwrap().version, 1_790_000_001);
    }

    #[test]
    fn a_restart_keeps_the_version_of_the_same_files_and_a_lost_state_does_not_go_back() {
        let place = Place::new();
        fs::write(place.rules.join("a.rules"), "a").unwrap();
        let first = settled(&mut place.directory(), NOW).unwrap().version;
        assert_eq!(settled(&mut place.directory(), Timestamp(NOW.0 * 2)).unwrap().version, first);
        fs::remove_dir_all(&place.state).unwrap();
        let later = Timestamp(NOW.0 + 5_000_000_000);
        assert_eq!(settled(&mut place.directory(), later).unwrap().version, first + 5);
    }

    #[test]
    fn what_sensors_do_not_take_is_not_offered_and_said() {
        let place = Place::new();
        fs::write(place.rules.join("a b.rules"), "a").unwrap();
        assert!(look(&place.rules).unwrap_err().to_string().contains("not a name"));
        fs::remove_file(place.rules.join("a b.rules")).unwrap();
        let large = fs::File::create(place.rules.join("a.rules")).unwrap();
        large.set_len(RULES_BYTES_MAX + 1).unwrap();
        assert!(look(&place.rules).unwrap_err().to_string().contains("64 MiB"));
        large.set_len(RULES_BYTES_MAX).unwrap();
        assert!(look(&place.rules).is_ok());
        fs::remove_dir_all(&place.rules).unwrap();
        let mut directory = place.directory();
        assert!(settled(&mut directory, NOW).is_none() && !directory.said.is_empty());
    }
}
