//! The rules that every paired sensor has in force: read from a directory, signed, and offered.
//!
//! In: the directory `control.rules` and the indicator lists ([`super::indicators`]), looked at every few seconds. Out: a
//! signed [`Bundle`] whose version only goes up. What changes is read once it has been the same for two looks, so that a
//! file on its way is not sent; what cannot be read, or is more than a sensor takes, changes nothing and is said once.
//!
//! A directory that was read and holds no `*.rules` is an order as well: an offer without files says that nothing of the
//! collector's is in force any more. It has to hold for [`TAKING_AWAY_LOOKS`], and is not believed of another file system
//! than the one that the rules were on, which is what a mount point looks like whose disk is gone.
//! Deliberately absent: reading the rules themselves, which their sensors do and report about.

use super::authority::Authority;
use super::config::ControlConfig;
use super::indicators::Lists;
use crate::detect::config::DetectConfig;
use crate::detect::signature::indicator_rules::{Fitted, NAME_PREFIX};
use crate::files;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use weir_common::control::messages::{RulesFile, RulesManifest, RulesOffer};
use weir_common::control::{RULES_BYTES_MAX, RULES_FILES_MAX, is_rules_name, signed_manifest};
use weir_common::time::Timestamp;

/// Looks that have to be the same before what they saw is read.
const SETTLED_LOOKS: u32 = 2;
/// The same where all of the user's rules are gone: some programs empty a directory before they fill it.
const TAKING_AWAY_LOOKS: u32 = 5;

/// Rules as they are offered.
#[derive(Debug)]
pub(super) struct Bundle {
    pub(super) version: u64,
    pub(super) offer: RulesOffer,
    pub(super) contents: Vec<u8>,
    /// Whether there is no file: nothing of the collector's is to be in force.
    pub(super) is_empty: bool,
    /// Indicators in it.
    pub(super) indicators: u64,
    /// Indicators that there was no room for.
    pub(super) indicators_left_out: u64,
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
    /// An empty directory where something else was.
    #[error(
        "control.rules: {path}: holds no *.rules, and lies on another file system than the rules in force did; if its disk is mounted and the rules are to be taken away, put any file of rules there for ten seconds and remove it"
    )]
    Elsewhere {
        /// The directory.
        path: String,
    },
    /// A name that sensors do not take.
    #[error("control.rules: `{}` is not a name that sensors take: letters, digits, dots, dashes and underscores", .name.escape_debug())]
    Name {
        /// The file.
        name: String,
    },
    /// A name that generated files have.
    #[error(
        "control.rules: `{name}`: names that begin with `{NAME_PREFIX}` are those of the files that control.indicators makes; rename it"
    )]
    Reserved {
        /// The file.
        name: String,
    },
    /// An indicator list cannot be looked at.
    #[error("detect.indicators: {path}: {source}")]
    List {
        /// Which one.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// An indicator list cannot be opened.
    #[error("detect.indicators: {0}")]
    Lists(String),
    /// The authority does not sign.
    #[error("control.rules: cannot be signed: {0}")]
    Sign(String),
}

/// What files looked like: name, length, when they were changed.
pub(super) type Look = Vec<(String, u64, Option<SystemTime>)>;

/// What everything looked like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    rules: Look,
    /// The file system of the directory.
    device: Option<u64>,
    lists: Look,
}

/// What outlives a restart, so that versions only go up.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    version: u64,
    sha256: String,
    /// Whether files of the user's own were offered; where it is not told, there were no others.
    #[serde(default = "yes")]
    rules: bool,
    /// The file system that they were on.
    #[serde(default)]
    device: Option<u64>,
}

fn yes() -> bool {
    true
}

/// The directory and the lists, looked at again and again.
pub(super) struct Directory {
    path: Option<PathBuf>,
    lists: Option<Lists>,
    kept: PathBuf,
    authority: Arc<dyn Authority>,
    /// What it looked like at the last look, and how many looks it has been so.
    seen: Option<(Seen, u32)>,
    /// What it looked like when it was read.
    read: Option<Seen>,
    /// The last thing that was said to be wrong.
    said: String,
}

impl Directory {
    /// `state` is where the version is kept. None: the collector has nothing to say about rules.
    pub(super) fn new(
        config: &ControlConfig,
        detect: &DetectConfig,
        state: &Path,
        authority: Arc<dyn Authority>,
    ) -> Option<Directory> {
        let path = (!config.rules.is_empty()).then(|| PathBuf::from(&config.rules));
        let lists = config.indicators.then(|| Lists::new(detect));
        let kept = state.join("control-rules.json");
        let directory =
            Directory { path, lists, kept, authority, seen: None, read: None, said: String::new() };
        if directory.path.is_some() || directory.lists.is_some() {
            return Some(directory);
        }
        // What was made of indicators goes when it is not wanted any more; the user's files stay until told.
        let kept = directory.kept().unwrap_or_default();
        if kept.version > 0 && kept.rules {
            tracing::info!(
                "control.rules is not set: sensors keep the rules of version {}; an empty directory takes them away",
                kept.version
            );
        }
        (kept.version > 0 && !kept.rules).then_some(directory)
    }

    /// Looks at everything; new rules when it changed and has been the same for enough looks.
    pub(super) fn look(&mut self, now: Timestamp) -> Option<Bundle> {
        match self.changed(now) {
            Ok((bundle, None)) => {
                // What is not settled yet may prove wrong again.
                let is_read = self.seen.as_ref().map(|(seen, _)| seen) == self.read.as_ref();
                if is_read && !std::mem::take(&mut self.said).is_empty() {
                    tracing::info!("rules and indicators for the sensors can be read again");
                }
                bundle
            }
            Ok((bundle, Some(error))) => {
                self.say(&error, "the indicators of before go on");
                bundle
            }
            Err(error) => {
                self.say(&error, "the sensors keep the rules that they have");
                None
            }
        }
    }

    /// Says what is wrong, once.
    fn say(&mut self, error: &RulesError, so: &str) {
        let said = error.to_string();
        if self.said != said {
            tracing::error!("{said}; {so}");
            self.said = said;
        }
    }

    /// The bundle, when there is a new one, and what is wrong with a list all the same.
    fn changed(&mut self, now: Timestamp) -> Result<(Option<Bundle>, Option<RulesError>), RulesError> {
        // Whatever fails begins the count of looks anew.
        let before = self.seen.take();
        let (seen, wrong) = self.see()?;
        let looks = match before {
            Some((before, looks)) if before == seen => looks.saturating_add(1),
            _ => 1,
        };
        self.seen = Some((seen.clone(), looks));
        if looks < SETTLED_LOOKS || self.read.as_ref() == Some(&seen) {
            return Ok((None, wrong));
        }
        let kept = self.kept()?;
        if kept.rules
            && seen.rules.is_empty()
            && let Some(path) = &self.path
        {
            if kept.device.is_some_and(|device| seen.device != Some(device)) {
                return Err(RulesError::Elsewhere { path: path.display().to_string() });
            }
            if looks < TAKING_AWAY_LOOKS {
                return Ok((None, wrong));
            }
        }
        let bundle = self.bundle(&seen, kept, now)?;
        self.read = Some(seen);
        tracing::info!(
            version = bundle.version,
            bytes = bundle.contents.len(),
            indicators = bundle.indicators,
            "{}",
            if bundle.is_empty {
                "nothing of the collector's rules is to be in force"
            } else {
                "rules for the sensors"
            }
        );
        if bundle.indicators_left_out > 0 {
            tracing::warn!(
                "{} indicators are not sent to the sensors, for which there is no room beside the rules in {RULES_FILES_MAX} \
                 files and {} MiB, or in the rules that networks stand in",
                bundle.indicators_left_out,
                RULES_BYTES_MAX >> 20
            );
        }
        Ok((Some(bundle), wrong))
    }

    fn see(&self) -> Result<(Seen, Option<RulesError>), RulesError> {
        let mut seen = Seen::default();
        if let Some(path) = &self.path {
            let failed = |source| RulesError::Read { path: path.display().to_string(), source };
            seen.device = Some(fs::metadata(path).map_err(failed)?.dev());
            seen.rules = look(path, self.lists.is_some())?;
        }
        let mut wrong = None;
        if let Some(lists) = &self.lists {
            (seen.lists, wrong) = lists.look()?;
        }
        Ok((seen, wrong))
    }

    fn bundle(&mut self, seen: &Seen, kept: Kept, now: Timestamp) -> Result<Bundle, RulesError> {
        let mut manifest = RulesManifest { made_ns: now.0, ..RulesManifest::default() };
        let mut contents = Vec::new();
        for (name, ..) in &seen.rules {
            let directory = self.path.as_deref().unwrap_or(Path::new(""));
            let path = directory.join(name);
            let failed = |source| RulesError::Read { path: path.display().to_string(), source };
            let before = contents.len();
            let left = RULES_BYTES_MAX.saturating_sub(before as u64);
            // One byte more than is left, so that a file that grew meanwhile is seen.
            fs::File::open(&path)
                .and_then(|file| file.take(left + 1).read_to_end(&mut contents))
                .map_err(failed)?;
            if contents.len() as u64 > RULES_BYTES_MAX {
                return Err(RulesError::Large { path: directory.display().to_string() });
            }
            manifest.files.push(RulesFile { name: name.clone(), bytes: (contents.len() - before) as u64 });
        }
        // The user's own go first: what they leave is the indicators'.
        let files_left = RULES_FILES_MAX.saturating_sub(manifest.files.len());
        let bytes_left = RULES_BYTES_MAX.saturating_sub(contents.len() as u64);
        let fitted = match &mut self.lists {
            Some(lists) => lists.rules(&seen.lists)?.fit(files_left, bytes_left),
            None => Fitted::default(),
        };
        for (name, text) in fitted.files {
            manifest.files.push(RulesFile { name, bytes: text.len() as u64 });
            contents.extend(text);
        }
        manifest.sha256 = Sha256::digest(&contents).to_vec();
        let device = seen.device.filter(|_| !seen.rules.is_empty());
        manifest.version = self.version(&manifest, kept, !seen.rules.is_empty(), device, now)?;
        let is_empty = manifest.files.is_empty();
        let encoded = manifest.encode_to_vec();
        let signature = self.authority.sign(&signed_manifest(&encoded)).map_err(RulesError::Sign)?;
        let (version, offer) = (manifest.version, RulesOffer { manifest: encoded, signature });
        let Fitted { indicators, left_out: indicators_left_out, .. } = fitted;
        Ok(Bundle { version, offer, contents, is_empty, indicators, indicators_left_out })
    }

    fn kept(&self) -> Result<Kept, RulesError> {
        match fs::read(&self.kept) {
            // What cannot be read is as good as lost.
            Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept::default()),
            Err(source) => Err(RulesError::Read { path: self.kept.display().to_string(), source }),
        }
    }

    /// The version that was kept for the same files, or one above it; never below the time in seconds, so that it goes
    /// up even where the state was lost.
    fn version(
        &self,
        manifest: &RulesManifest,
        kept: Kept,
        rules: bool,
        device: Option<u64>,
        now: Timestamp,
    ) -> Result<u64, RulesError> {
        let failed = |source| RulesError::Read { path: self.kept.display().to_string(), source };
        let mut whole = Sha256::new();
        for file in &manifest.files {
            whole.update(format!("{} {}\n", file.name, file.bytes));
        }
        whole.update(&manifest.sha256);
        let sha256: String = whole.finalize().iter().map(|octet| format!("{octet:02x}")).collect();
        let is_same = kept.sha256 == sha256;
        if is_same && kept.rules == rules && kept.device == device {
            return Ok(kept.version);
        }
        let next = kept.version.saturating_add(1).max(now.0 / 1_000_000_000);
        let version = if is_same { kept.version } else { next };
        let text = serde_json::to_vec(&Kept { version, sha256, rules, device });
        files::replace(&self.kept, &text.map_err(|error| failed(error.into()))?).map_err(failed)?;
        Ok(version)
    }
}

/// What a file looks like.
pub(super) fn looks_like(name: String, metadata: &fs::Metadata) -> (String, u64, Option<SystemTime>) {
    (name, metadata.len(), metadata.modified().ok())
}

/// The files of the directory in order of their names; none, where none is one of rules. Hidden files and those on
/// their way are none.
fn look(directory: &Path, has_indicators: bool) -> Result<Look, RulesError> {
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
        if has_indicators && name.starts_with(NAME_PREFIX) {
            return Err(RulesError::Reserved { name });
        }
        bytes += metadata.len();
        found.push(looks_like(name, &metadata));
        if found.len() > RULES_FILES_MAX || bytes > RULES_BYTES_MAX {
            return Err(RulesError::Large { path: directory.display().to_string() });
        }
    }
    // Lists without rules are looked up by nothing.
    if !found.iter().any(|(name, ..)| name.ends_with(".rules")) {
        found.clear();
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
