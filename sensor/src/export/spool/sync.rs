//! A thread that waits for the disk, so that export does not.
//!
//! In: files that were written to. Out: nothing; they are on the disk a moment later. A disk that is behind by
//! [`WAITING_MAX`] files is not given more: what it has not got then, a later call covers.

use crossbeam::channel::{Sender, bounded};
use std::fs::File;
use std::io;
use std::thread::JoinHandle;

/// Most files that wait.
const WAITING_MAX: usize = 64;

pub(super) struct Syncer {
    files: Option<Sender<File>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(super) fn start() -> io::Result<Syncer> {
        let (files, inbox) = bounded::<File>(WAITING_MAX);
        let thread = std::thread::Builder::new().name("spool-sync".into()).spawn(move || {
            let mut is_failing = false;
            for file in inbox {
                match file.sync_data() {
                    Ok(()) => is_failing = false,
                    Err(error) if !std::mem::replace(&mut is_failing, true) => {
                        tracing::error!("the spool cannot be sent to the disk: {error}");
                    }
                    Err(_) => {}
                }
            }
        })?;
        Ok(Syncer { files: Some(files), thread: Some(thread) })
    }

    pub(super) fn sync(&self, file: File) {
        if let Some(files) = &self.files {
            // A thread that is gone or behind costs durability against a power failure alone.
            let _ = files.try_send(file);
        }
    }

    /// Waits for what is under way.
    pub(super) fn finish(&mut self) {
        self.files = None;
        if let Some(thread) = self.thread.take() {
            // It does nothing that could panic.
            let _ = thread.join();
        }
    }
}
