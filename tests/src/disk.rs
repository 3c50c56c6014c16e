//! A disk that is soon full.

use std::path::Path;
use std::process::{Command, Stdio};

/// A file system in memory, unmounted when dropped.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Of so many KiB; `None` where this user may not mount, with the reason said.
    pub fn mount(kib: u64) -> anyhow::Result<Option<SmallDisk>> {
        let place = tempfile::tempdir()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "weir-test"]).arg(place.path());
        if !mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            crate::skip("mounting a small tmpfs needs root");
            return Ok(None);
        }
        Ok(Some(SmallDisk(place)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.path()).status());
    }
}
