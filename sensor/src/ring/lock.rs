//! The lock that lets one sensor at a time write a ring.
//!
//! In: the ring's directory. Out: the lock for as long as it is held, or whether someone holds it. The
//! kernel releases it with the process, so that kill -9 leaves nothing behind. Asking does not take it:
//! a query never stands in the way of a sensor that starts.

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

pub(super) const LOCK_FILE: &str = "lock";

/// Held for as long as this value lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock; `WouldBlock` when another process has it.
    pub(super) fn take(directory: &Path) -> io::Result<Lock> {
        let file = open(directory)?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file())) {
            Ok(_) => Ok(Lock { _file: file }),
            Err(nix::errno::Errno::EACCES | nix::errno::Errno::EAGAIN) => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Waits for the lock.
pub(super) fn wait(directory: &Path) -> io::Result<Lock> {
    let file = open(directory)?;
    loop {
        match fcntl(&file, FcntlArg::F_OFD_SETLKW(&whole_file())) {
            Ok(_) => return Ok(Lock { _file: file }),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn open(directory: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(directory.join(LOCK_FILE))
}

/// Whether a process holds the lock.
pub(super) fn is_held(directory: &Path) -> bool {
    let Ok(file) = OpenOptions::new().read(true).open(directory.join(LOCK_FILE)) else { return false };
    let mut lock = whole_file();
    match fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock)) {
        Ok(_) => i32::from(lock.l_type) != libc::F_UNLCK,
        Err(_) => false,
    }
}

/// An exclusive lock from the first byte to the last.
fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_asking_does_not_take() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_held(directory.path()));
        let held = Lock::take(directory.path()).unwrap();
        assert!(is_held(directory.path()) && is_held(directory.path()));
        assert_eq!(Lock::take(directory.path()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert!(!is_held(directory.path()) && Lock::take(directory.path()).is_ok());
    }
}
