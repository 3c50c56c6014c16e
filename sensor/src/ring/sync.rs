//! Seeing to it that what was written reaches the disk, so that a power loss costs little.
//!
//! In: the files being written. Out: calls of fdatasync for each, once per interval and when it is complete, from
//! a thread of its own: a disk that is slow to answer stands in the way of no block. A block that was sealed
//! longer ago than the interval, and the time that one call takes, is safe from a power loss; from a crash of the
//! process it is safe at once.

use super::custody::CHAIN_FILE;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

/// Most messages that wait; at the limit a file is left to the kernel, which writes it within half a minute.
const QUEUE: usize = 256;

enum Message {
    Began(u16, File),
    Ended(u16, PathBuf),
}

/// The way to the thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Syncing {
    to_thread: Option<Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncing {
    pub(super) fn start(directory: &Path, interval: Duration) -> io::Result<Syncing> {
        let (to_thread, inbox) = bounded(QUEUE);
        let chain = directory.join(CHAIN_FILE);
        let directory = File::open(directory)?;
        let thread = std::thread::Builder::new().name("ring-sync".into());
        let thread = thread.spawn(move || run(&inbox, interval, &directory, &chain))?;
        Ok(Syncing { to_thread: Some(to_thread), thread: Some(thread) })
    }

    /// A lane writes this file from now on.
    pub(super) fn began(&self, lane: u16, file: &File) {
        if let Ok(file) = file.try_clone() {
            self.send(Message::Began(lane, file));
        }
    }

    /// A lane's file is complete, and so is its index.
    pub(super) fn ended(&self, lane: u16, index: &Path) {
        self.send(Message::Ended(lane, index.to_owned()));
    }

    fn send(&self, message: Message) {
        if let Some(to_thread) = &self.to_thread {
            // Full: the disk is behind by hundreds of segments, and one more call would not help.
            let _ = to_thread.try_send(message);
        }
    }
}

impl Drop for Syncing {
    fn drop(&mut self) {
        self.to_thread = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the ring's sync thread ended by a panic");
        }
    }
}

fn run(inbox: &Receiver<Message>, interval: Duration, directory: &File, chain: &Path) {
    let mut files: Vec<(u16, File)> = Vec::new();
    loop {
        match inbox.recv_timeout(interval) {
            Ok(Message::Began(lane, file)) => {
                files.retain(|(held, _)| *held != lane);
                files.push((lane, file));
                // The names of the new segment and its index.
                sync_chain(chain);
                sync(directory);
            }
            Ok(Message::Ended(lane, index)) => {
                files.iter().filter(|(held, _)| *held == lane).for_each(|(_, file)| sync(file));
                files.retain(|(held, _)| *held != lane);
                // One that retention took meanwhile needs no sync.
                if let Ok(index) = File::open(index) {
                    sync(&index);
                }
                sync_chain(chain);
                sync(directory);
            }
            Err(RecvTimeoutError::Timeout) => files.iter().for_each(|(_, file)| sync(file)),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The chain of custody goes before the directory: a segment must not be gone without the record that says so.
fn sync_chain(chain: &Path) {
    if let Ok(chain) = File::open(chain) {
        sync(&chain);
    }
}

/// A disk that fails shows itself to the writer as well, which counts what is lost.
fn sync(file: &File) {
    if let Err(error) = file.sync_data() {
        tracing::debug!(%error, "the ring's file could not be synchronised");
    }
}
