//! Compiled patterns on disk, so that they need not be compiled again.
//!
//! In: what patterns are compiled to, by what they are and who compiled them. Out: the same, at a later start. A file
//! holds one set, and its name is the hash of the set's patterns and of the library's build: sets that rules of
//! today and of yesterday share are compiled once.
//!
//! The library believes what it is given here, but for a checksum. Nothing is read, therefore, that anybody but this
//! process's user may have written, and nothing is kept in a directory that others may write to. Whatever goes wrong
//! costs the time of compiling and nothing else.

use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Most bytes of a directory's files; what was not used for longest goes first.
const BYTES_MAX: u64 = 512 << 20;
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// How the names of files end.
const EXTENSION: &str = "patterns";
/// Permissions of others than the owner to write.
const OTHERS_WRITE: u32 = 0o022;

/// A directory of compiled patterns.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// A directory that is there; none where it is not this user's alone to write to.
    pub fn open(directory: &Path) -> io::Result<Cache> {
        let metadata = fs::metadata(directory)?;
        if !metadata.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        is_ours(&metadata)?;
        Ok(Cache { directory: directory.to_path_buf() })
    }

    /// What was kept under a key.
    pub(super) fn get(&self, key: &blake3::Hash) -> Option<Vec<u8>> {
        let path = self.path(key);
        match read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::debug!(path = %path.display(), %error, "compiled patterns are not used");
                }
                None
            }
        }
    }

    /// Keeps something under a key.
    pub(super) fn put(&self, key: &blake3::Hash, bytes: &[u8]) -> io::Result<()> {
        // Two processes may keep the same at the same time: each writes a file of its own, and one replaces the other.
        // What a process leaves unfinished is pruned like the others.
        let unfinished = self.directory.join(format!("{key}.{}.{EXTENSION}", std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        let written = file.write_all(bytes).and_then(|()| fs::rename(&unfinished, self.path(key)));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// Removes what was not used for longest, until the rest is small enough.
    pub(super) fn prune(&self) -> io::Result<()> {
        self.prune_to(BYTES_MAX)
    }

    fn prune_to(&self, bytes_max: u64) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let (path, metadata) = (entry.path(), entry.metadata()?);
            if metadata.is_file() && path.extension().is_some_and(|extension| extension == EXTENSION) {
                files.push((metadata.modified()?, metadata.len(), path));
            }
        }
        files.sort();
        let mut bytes: u64 = files.iter().map(|(_, bytes, _)| *bytes).sum();
        for (_, of_file, path) in files {
            if bytes <= bytes_max {
                break;
            }
            fs::remove_file(path)?;
            bytes -= of_file;
        }
        Ok(())
    }

    fn path(&self, key: &blake3::Hash) -> PathBuf {
        self.directory.join(format!("{key}.{EXTENSION}"))
    }
}

/// Reads a file that nobody else may have written, and notes that it is used.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    let metadata = file.metadata()?;
    is_ours(&metadata)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // The system's clock says when; where this fails, the file is taken for older than it is.
    let _ = futimens(&file, &TimeSpec::UTIME_OMIT, &TimeSpec::UTIME_NOW);
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// An error unless this process's user owns it and no other may write to it.
fn is_ours(metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    if metadata.mode() & OTHERS_WRITE != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others may write to it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    fn key(text: &str) -> blake3::Hash {
        blake3::hash(text.as_bytes())
    }

    fn open(directory: &Path) -> Cache {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
        Cache::open(directory).unwrap()
    }

    #[test]
    fn what_was_kept_is_found_under_its_key_alone() {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(directory.path());
        cache.put(&key("a"), b"first").unwrap();
        cache.put(&key("a"), b"second").unwrap();
        assert_eq!(cache.get(&key("a")).as_deref(), Some(&b"second"[..]));
        assert_eq!(cache.get(&key("b")), None);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_others_may_have_written_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(directory.path());
        cache.put(&key("a"), b"ours").unwrap();
        let path = cache.path(&key("a"));
        for (mode, is_read) in [(0o600, true), (0o644, true), (0o620, false), (0o602, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(cache.get(&key("a")).is_some(), is_read, "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&path, directory.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(directory.path().join("elsewhere"), &path).unwrap();
        assert_eq!(cache.get(&key("a")), None, "a link");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o770)).unwrap();
        assert!(Cache::open(directory.path()).is_err());
        assert!(Cache::open(&directory.path().join("elsewhere")).is_err(), "a file");
        assert!(Cache::open(&directory.path().join("nowhere")).is_err());
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(directory.path());
        for (name, days) in [("old", 3), ("older", 5), ("new", 0)] {
            cache.put(&key(name), &[7; 100]).unwrap();
            let at = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * (1000 - days));
            File::open(cache.path(&key(name))).unwrap().set_modified(at).unwrap();
        }
        fs::write(directory.path().join("other"), [7; 1000]).unwrap();
        cache.prune_to(300).unwrap();
        assert!(cache.get(&key("older")).is_some(), "and it counts as used now");
        cache.prune_to(299).unwrap();
        assert!(cache.get(&key("old")).is_none());
        cache.prune_to(100).unwrap();
        assert!(cache.get(&key("new")).is_some() != cache.get(&key("older")).is_some());
        assert!(directory.path().join("other").exists());
    }
}
