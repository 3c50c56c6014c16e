//! Files written to disk: one thread for all workers, so that no packet ever waits for a disk.
//!
//! In: pieces of files over a queue that is bounded in bytes. Out: files named by their SHA-256 in a directory of
//! their first two digits, as Suricata's file-store (version 2) has it; what is incomplete lies in `tmp`
//! and goes when it is given up. What does not fit into queue, budget or directory is not stored, and counted.

use crossbeam::channel::{Receiver, Sender, unbounded};
use hashbrown::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{FileConfig, Hex};
use crate::counters::{DpiCounters, Published, WorkerCounters};

/// Most bytes of files that wait for the thread. A live worker stores a file no further when they do not fit; a
/// replay waits.
const WAITING_BYTES_MAX: u64 = 64 << 20;
/// Most files being stored at once; others are not stored, and counted.
const OPEN_FILES_MAX: u64 = 512;
/// Bytes that a piece costs beside its content; bounds the number of pieces that wait.
const PIECE_OVERHEAD_BYTES: u64 = 64;
/// How long a replay waits before it looks again whether the thread has caught up.
const CATCH_UP_INTERVAL: Duration = Duration::from_millis(1);
/// Where files are before they are whole.
const TEMPORARY: &str = "tmp";

/// A part of a file, or its end.
enum Piece {
    Bytes { file: u64, bytes: Box<[u8]> },
    End { file: u64, sha256: [u8; 32] },
    Abandon { file: u64 },
}

/// What workers and the thread share.
#[derive(Debug, Default)]
struct Shared {
    waits: bool,
    budget_bytes: u64,
    /// Bytes in the directory, those on their way included.
    used_bytes: AtomicU64,
    waiting_bytes: AtomicU64,
    open: AtomicU64,
    next: AtomicU64,
    stored: AtomicU64,
    lost: AtomicU64,
    errors: AtomicU64,
    is_failed: AtomicBool,
    /// The counts where others read them.
    published: Published,
}

/// The store: its directory is open, its thread not yet started.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    shared: Arc<Shared>,
}

/// The store's thread; ends when every handle is gone.
#[derive(Debug)]
pub struct RunningStore {
    thread: JoinHandle<()>,
    shared: Arc<Shared>,
}

/// A worker's way to the store.
#[derive(Clone, Debug)]
pub struct StoreHandle {
    sender: Sender<Piece>,
    shared: Arc<Shared>,
}

/// A file on its way to the disk; given up when dropped.
#[derive(Debug)]
pub struct Storing {
    handle: StoreHandle,
    file: u64,
    bytes: u64,
    is_over: bool,
}

impl Shared {
    fn publish(&self) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let dpi = DpiCounters {
            files_stored: get(&self.stored),
            files_not_stored: get(&self.lost),
            file_errors: get(&self.errors),
            ..DpiCounters::default()
        };
        self.published.set(&WorkerCounters { dpi, ..WorkerCounters::default() });
    }
}

impl Store {
    /// Where the store's counts can be read, as if it were a worker.
    pub fn published(&self) -> Published {
        self.shared.published.clone()
    }

    /// Opens the directory of a configuration that names one, and counts what is in it. `waits`: a worker waits
    /// rather than lose a file.
    pub fn open(config: &FileConfig, waits: bool) -> io::Result<Option<Store>> {
        if !config.enabled || config.extract_directory.is_empty() {
            return Ok(None);
        }
        let directory = PathBuf::from(&config.extract_directory);
        let temporary = directory.join(TEMPORARY);
        fs::create_dir_all(&temporary)?;
        // What an earlier run left unfinished.
        for entry in fs::read_dir(&temporary)? {
            fs::remove_file(entry?.path())?;
        }
        let mut used_bytes = 0u64;
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                for file in fs::read_dir(path)? {
                    used_bytes = used_bytes.saturating_add(file?.metadata()?.len());
                }
            }
        }
        let shared = Shared {
            waits,
            budget_bytes: config.extract_budget_mib.saturating_mul(1 << 20),
            used_bytes: AtomicU64::new(used_bytes),
            ..Shared::default()
        };
        Ok(Some(Store { directory, shared: Arc::new(shared) }))
    }

    /// Where it writes.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts the thread.
    pub fn start(self) -> io::Result<(RunningStore, StoreHandle)> {
        let Store { directory, shared } = self;
        let (sender, receiver) = unbounded();
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("files".into())
            .spawn(move || Writer { directory, shared: own, open: HashMap::default() }.run(&receiver))?;
        Ok((RunningStore { thread, shared: Arc::clone(&shared) }, StoreHandle { sender, shared }))
    }
}

impl RunningStore {
    /// Waits until everything is written; every handle must be gone. Returns what was counted.
    pub fn join(self) -> WorkerCounters {
        if self.thread.join().is_err() {
            self.shared.errors.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.publish();
        self.shared.published.get()
    }
}

impl StoreHandle {
    /// A file begins; none where it cannot be stored.
    pub(super) fn begin(&self) -> Option<Storing> {
        let Shared { open, next, lost, is_failed, .. } = &*self.shared;
        if is_failed.load(Ordering::Relaxed) || open.load(Ordering::Relaxed) >= OPEN_FILES_MAX {
            lost.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        open.fetch_add(1, Ordering::Relaxed);
        let file = next.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        Some(Storing { handle: self.clone(), file, bytes: 0, is_over: false })
    }
}

impl Storing {
    /// Its next bytes; false: there is no room for them.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> bool {
        let shared = &self.handle.shared;
        let (len, cost) = (bytes.len() as u64, bytes.len() as u64 + PIECE_OVERHEAD_BYTES);
        while shared.waits && shared.waiting_bytes.load(Ordering::Relaxed) > WAITING_BYTES_MAX {
            std::thread::sleep(CATCH_UP_INTERVAL);
        }
        let is_full = shared.waiting_bytes.load(Ordering::Relaxed) > WAITING_BYTES_MAX;
        let is_over = shared.used_bytes.load(Ordering::Relaxed).saturating_add(len) > shared.budget_bytes;
        if is_full || is_over {
            shared.lost.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        shared.waiting_bytes.fetch_add(cost, Ordering::Relaxed);
        shared.used_bytes.fetch_add(len, Ordering::Relaxed);
        self.bytes = self.bytes.saturating_add(len);
        self.handle.sender.send(Piece::Bytes { file: self.file, bytes: bytes.into() }).is_ok()
    }

    /// It has ended; returns its number, unless it was empty.
    pub(super) fn end(mut self, sha256: &[u8; 32]) -> Option<u64> {
        if self.bytes == 0 {
            return None;
        }
        self.is_over = true;
        let is_sent = self.handle.sender.send(Piece::End { file: self.file, sha256: *sha256 }).is_ok();
        is_sent.then_some(self.file)
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        if !self.is_over {
            // Fails only when the thread is gone, and then there is nothing to take back.
            drop(self.handle.sender.send(Piece::Abandon { file: self.file }));
        }
    }
}

/// The thread.
struct Writer {
    directory: PathBuf,
    shared: Arc<Shared>,
    /// Files begun; without a handle where writing failed.
    open: HashMap<u64, (Option<File>, u64), foldhash::quality::RandomState>,
}

impl Writer {
    fn run(mut self, pieces: &Receiver<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Bytes { file, bytes } => self.write(file, &bytes),
                Piece::End { file, sha256 } => self.finish(file, &sha256),
                Piece::Abandon { file } => self.abandon(file),
            }
            if self.open.is_empty() {
                self.shared.publish();
            }
        }
    }

    fn temporary(&self, file: u64) -> PathBuf {
        self.directory.join(TEMPORARY).join(file.to_string())
    }

    fn write(&mut self, file: u64, bytes: &[u8]) {
        let path = self.temporary(file);
        let is_new = !self.open.contains_key(&file);
        let (handle, size) = self.open.entry(file).or_default();
        *size = size.saturating_add(bytes.len() as u64);
        let written = match (is_new, &mut *handle) {
            (true, _) => File::create(&path).and_then(|mut created| {
                created.write_all(bytes)?;
                *handle = Some(created);
                Ok(())
            }),
            (false, Some(handle)) => handle.write_all(bytes),
            // It has failed before.
            (false, None) => Ok(()),
        };
        if let Err(error) = written {
            *handle = None;
            self.fail(&path, &error);
        }
        let cost = bytes.len() as u64 + PIECE_OVERHEAD_BYTES;
        self.shared.waiting_bytes.fetch_sub(cost, Ordering::Relaxed);
    }

    fn finish(&mut self, file: u64, sha256: &[u8; 32]) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        let Some((handle, size)) = self.open.remove(&file) else { return };
        let temporary = self.temporary(file);
        if handle.is_none() {
            self.take_back(&temporary, size);
            return;
        }
        let name = Hex::<64>::of(sha256);
        let directory = self.directory.join(name.as_str().get(..2).unwrap_or_default());
        let path = directory.join(name.as_str());
        if path.exists() {
            self.take_back(&temporary, size);
        } else if let Err(error) = fs::create_dir_all(&directory).and_then(|()| fs::rename(&temporary, &path))
        {
            self.fail(&path, &error);
            self.take_back(&temporary, size);
            return;
        }
        self.shared.stored.fetch_add(1, Ordering::Relaxed);
    }

    fn abandon(&mut self, file: u64) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        if let Some((_, size)) = self.open.remove(&file) {
            let temporary = self.temporary(file);
            self.take_back(&temporary, size);
        }
    }

    /// Removes what was written of a file and gives its share of the budget back.
    fn take_back(&self, temporary: &Path, size: u64) {
        // It may never have come to be.
        drop(fs::remove_file(temporary));
        self.shared.used_bytes.fetch_sub(size, Ordering::Relaxed);
    }

    /// Counts a failure; the first is logged, and after it no file begins to be stored.
    fn fail(&self, path: &Path, error: &io::Error) {
        self.shared.errors.fetch_add(1, Ordering::Relaxed);
        if !self.shared.is_failed.swap(true, Ordering::Relaxed) {
            tracing::error!("no file is stored any more: {}: {error}", path.display());
        }
    }
}
