//! Rules that the collector sends: what is taken, where it is kept, which are in force.
//!
//! In: offers with their signature, contents in parts. Out: a directory of files for the sensor to load, and once it
//! has, the mark that these are in force. Nothing is kept of contents before the signature over what they must be was
//! verified; an offer that is not newer than what is in force is refused, so that an old one cannot be played back.
//! Files are written into a directory of their own, which takes its name when it is whole; `current` names the version
//! in force and is replaced by rename. Deliberately absent: reading the rules.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use weir_common::control::messages::{RulesManifest, RulesOffer, RulesPart};
use weir_common::control::{RULES_BYTES_MAX, RULES_FILES_MAX, is_rules_name, signed_manifest};

/// The file that names the version in force.
const CURRENT: &str = "current";

/// Why an offer is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("the signature is not the collector's: {0}")]
    Signature(String),
    #[error("version {offered} is not newer than {in_force}, which is in force: the offer is an old one")]
    Stale { offered: u64, in_force: u64 },
    #[error("the manifest cannot be read: {0}")]
    Manifest(String),
    #[error("{0} is more than this sensor takes ({RULES_FILES_MAX} files, {mib} MiB)", mib = RULES_BYTES_MAX >> 20)]
    Large(String),
    #[error("a file is named `{0}`, which is no plain name, or is named twice")]
    Name(String),
    #[error("the contents are not those that were signed")]
    Contents,
}

/// The version that an offer says it is, for the answer to it; 0 when it cannot be read.
pub(super) fn offered_version(offer: &RulesOffer) -> u64 {
    RulesManifest::decode(offer.manifest.as_slice()).map_or(0, |manifest| manifest.version)
}

/// Whether the collector signed bytes; why not in words.
type Verify<'a> = dyn Fn(&[u8], &[u8]) -> Result<(), String> + 'a;

/// An offer whose contents are on their way.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) manifest: RulesManifest,
    bytes: usize,
    contents: Vec<u8>,
}

impl Receiving {
    /// Begins, when the offer is the collector's and newer than what is in force.
    pub(super) fn begin(
        offer: &RulesOffer,
        in_force: u64,
        verify: &Verify<'_>,
    ) -> Result<Receiving, Refused> {
        verify(&signed_manifest(&offer.manifest), &offer.signature).map_err(Refused::Signature)?;
        let manifest = RulesManifest::decode(offer.manifest.as_slice())
            .map_err(|error| Refused::Manifest(error.to_string()))?;
        if manifest.version <= in_force {
            return Err(Refused::Stale { offered: manifest.version, in_force });
        }
        if manifest.files.len() > RULES_FILES_MAX {
            return Err(Refused::Large(format!("{} files", manifest.files.len())));
        }
        let bytes = manifest.files.iter().fold(0u64, |sum, file| sum.saturating_add(file.bytes));
        if bytes > RULES_BYTES_MAX {
            return Err(Refused::Large(format!("{bytes} bytes")));
        }
        let mut names: Vec<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first());
        if let Some(name) = names.iter().find(|name| !is_rules_name(name)).or(twice) {
            return Err(Refused::Name(name.escape_debug().take(80).collect()));
        }
        // Memory grows with what comes, not with what was announced.
        Ok(Receiving { manifest, bytes: bytes as usize, contents: Vec::new() })
    }

    /// Takes the next bytes; true when they were the last. Parts of another offer are passed over.
    pub(super) fn take(&mut self, part: &RulesPart) -> Result<bool, Refused> {
        if part.version == self.manifest.version {
            if part.contents.len() > self.bytes - self.contents.len() {
                return Err(Refused::Contents);
            }
            self.contents.extend_from_slice(&part.contents);
        }
        if !self.is_whole() {
            return Ok(false);
        }
        match Sha256::digest(&self.contents).as_slice() == self.manifest.sha256 {
            true => Ok(true),
            false => Err(Refused::Contents),
        }
    }

    /// Whether every byte is there.
    pub(super) fn is_whole(&self) -> bool {
        self.contents.len() == self.bytes
    }
}

/// Where the rules are kept.
#[derive(Clone, Debug)]
pub struct Kept {
    directory: PathBuf,
    /// Whether rules are being written or loaded.
    busy: Arc<AtomicBool>,
}

/// That rules are being written or loaded; dropped, others may be. Removing what is not in force could take away
/// what another is about to load.
#[derive(Debug)]
pub(super) struct Turn(Arc<AtomicBool>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Kept {
    /// In this directory.
    pub fn at(directory: &Path) -> Kept {
        Kept { directory: directory.to_owned(), busy: Arc::default() }
    }

    /// The turn to write and load rules; none: it is taken.
    pub(super) fn turn(&self) -> Option<Turn> {
        let taken = self.busy.swap(true, Ordering::Acquire);
        (!taken).then(|| Turn(Arc::clone(&self.busy)))
    }

    /// The version in force; 0: none.
    pub fn version(&self) -> u64 {
        let text = fs::read_to_string(self.directory.join(CURRENT)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// The directory of the rules in force; none when there are none, or none that are rules.
    pub fn in_force(&self) -> Option<PathBuf> {
        let version = self.version();
        (version > 0).then(|| self.of(version)).filter(|directory| holds_rules(directory))
    }

    fn of(&self, version: u64) -> PathBuf {
        self.directory.join(version.to_string())
    }

    /// Writes the files of an offer that is whole; the directory has its name when all are on the disk.
    pub(super) fn write(&self, received: &Receiving) -> io::Result<PathBuf> {
        let path = self.of(received.manifest.version);
        let part = path.with_extension("part");
        remove(&part)?;
        fs::create_dir_all(&part)?;
        let mut rest = received.contents.as_slice();
        for file in &received.manifest.files {
            let too_short = || io::Error::other("the contents end before the files do");
            let (contents, after) = rest.split_at_checked(file.bytes as usize).ok_or_else(too_short)?;
            let mut new = File::create_new(part.join(&file.name))?;
            new.write_all(contents)?;
            new.sync_data()?;
            rest = after;
        }
        remove(&path)?;
        fs::rename(&part, &path)?;
        File::open(&self.directory)?.sync_all()?;
        Ok(path)
    }

    /// Makes a version that was written the one in force, and removes all others.
    pub fn put_in_force(&self, version: u64) -> io::Result<()> {
        let part = self.directory.join("current.part");
        let mut new = File::create(&part)?;
        new.write_all(format!("{version}\n").as_bytes())?;
        new.sync_data()?;
        fs::rename(&part, self.directory.join(CURRENT))?;
        File::open(&self.directory)?.sync_all()?;
        self.tidy();
        Ok(())
    }

    /// Removes what is not in force: versions before, those refused, and what a crash left half written.
    pub fn tidy(&self) {
        let keep = self.version().to_string();
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_version = name.trim_end_matches(".part").parse::<u64>().is_ok();
            if is_version && name != keep {
                // What cannot be removed now is tried again at the next time.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a directory has a file of rules.
pub fn holds_rules(directory: &Path) -> bool {
    let mut entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.any(|entry| entry.path().extension().is_some_and(|extension| extension == "rules"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_common::control::messages::RulesFile;

    fn good(_: &[u8], _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn offer(version: u64, files: &[(&str, u64)], contents: &[u8]) -> RulesOffer {
        let files =
            files.iter().map(|(name, bytes)| RulesFile { name: (*name).into(), bytes: *bytes }).collect();
        let manifest =
            RulesManifest { version, files, sha256: Sha256::digest(contents).to_vec(), made_ns: 0 };
        RulesOffer { manifest: manifest.encode_to_vec(), signature: Vec::new() }
    }

    fn part(version: u64, contents: &[u8]) -> RulesPart {
        RulesPart { version, contents: contents.to_vec() }
    }

    #[test]
    fn what_was_signed_is_written_and_in_force_once_it_is_said_to_be() {
        let work = tempfile::tempdir().unwrap();
        let kept = Kept::at(work.path());
        assert_eq!((kept.version(), kept.in_force()), (0, None));
        for (version, text) in [(3, b"abcd"), (9, b"wxyz")] {
            let offer = offer(version, &[("a.rules", 3), ("b.lst", 1)], text);
            let mut receiving = Receiving::begin(&offer, kept.version(), &good).unwrap();
            assert_eq!(receiving.take(&part(version, &text[..2])), Ok(false));
            assert_eq!(receiving.take(&part(77, b"of another offer")), Ok(false));
            assert_eq!(receiving.take(&part(version, &text[2..])), Ok(true));
            let written = kept.write(&receiving).unwrap();
            assert_ne!(kept.version(), version, "written is not in force");
            kept.put_in_force(version).unwrap();
            assert_eq!((kept.version(), kept.in_force()), (version, Some(written.clone())));
            assert_eq!(fs::read(written.join("a.rules")).unwrap(), &text[..3]);
        }
        assert!(!work.path().join("3").exists());
    }

    #[test]
    fn an_unsigned_an_old_and_an_absurd_offer_are_refused_before_anything_is_kept() {
        let unsigned = |_: &[u8], _: &[u8]| Err("no".to_owned());
        let begin = |offer: &RulesOffer| Receiving::begin(offer, 5, &good).unwrap_err();
        assert_eq!(
            Receiving::begin(&offer(6, &[], b""), 5, &unsigned).unwrap_err(),
            Refused::Signature("no".into())
        );
        assert_eq!(begin(&offer(5, &[], b"")), Refused::Stale { offered: 5, in_force: 5 });
        assert!(matches!(begin(&offer(6, &[("a", u64::MAX), ("b", 9)], b"")), Refused::Large(_)));
        assert!(matches!(begin(&offer(6, &[("../a.rules", 1)], b"x")), Refused::Name(_)));
        assert!(matches!(begin(&offer(6, &[("a.rules", 1), ("a.rules", 1)], b"xx")), Refused::Name(_)));
        let many: Vec<(String, u64)> = (0..=RULES_FILES_MAX).map(|n| (format!("{n}"), 0)).collect();
        let many: Vec<(&str, u64)> = many.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        assert!(matches!(begin(&offer(6, &many, b"")), Refused::Large(_)));
        let garbled = RulesOffer { manifest: vec![0xff; 9], signature: Vec::new() };
        assert!(matches!(begin(&garbled), Refused::Manifest(_)));
    }

    #[test]
    fn contents_that_were_not_signed_or_are_too_many_are_refused() {
        let mut receiving = Receiving::begin(&offer(6, &[("a", 3)], b"abc"), 5, &good).unwrap();
        assert_eq!(receiving.take(&part(6, b"abd")), Err(Refused::Contents));
        let mut receiving = Receiving::begin(&offer(6, &[("a", 3)], b"abc"), 5, &good).unwrap();
        assert_eq!(receiving.take(&part(6, b"abcd")), Err(Refused::Contents));
        let nothing = Receiving::begin(&offer(6, &[], b""), 5, &good).unwrap();
        assert!(nothing.is_whole());
    }

    #[test]
    fn what_a_crash_left_is_in_nobody_s_way_and_goes() {
        let work = tempfile::tempdir().unwrap();
        let kept = Kept::at(work.path());
        fs::create_dir_all(work.path().join("7.part")).unwrap();
        fs::write(work.path().join("7.part/a.rules"), "half").unwrap();
        fs::write(work.path().join(CURRENT), "gar\0bage").unwrap();
        assert_eq!(kept.version(), 0);
        let mut receiving = Receiving::begin(&offer(7, &[("a.rules", 1)], b"x"), 0, &good).unwrap();
        receiving.take(&part(7, b"x")).unwrap();
        kept.write(&receiving).unwrap();
        kept.put_in_force(7).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(work.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["7", "current"]);
    }
}
