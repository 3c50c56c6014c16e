//! The queue between the listeners and the worker: filled by tasks, emptied by a thread.
//!
//! In: batches, whose senders wait while the queue is full. Out: batches, with a limit of waiting so that
//! the worker can look at the time. The async end stays in ingest.

use super::Batch;
use std::io;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// What came.
pub enum Next {
    /// A batch.
    Batch(Batch),
    /// Nothing within the time.
    Nothing,
    /// Nothing will come any more.
    End,
}

/// The worker's end.
pub struct Batches {
    receiver: mpsc::Receiver<Batch>,
    /// Only for the limit of waiting; the listeners' own runtime ends before the queue is empty.
    runtime: Runtime,
}

/// A queue of at most `batches_max`.
pub fn queue(batches_max: u32) -> io::Result<(mpsc::Sender<Batch>, Batches)> {
    let (sender, receiver) = mpsc::channel(batches_max.max(1) as usize);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    Ok((sender, Batches { receiver, runtime }))
}

impl Batches {
    /// The next batch, waiting at most `limit`.
    pub fn next(&mut self, limit: Duration) -> Next {
        // While batches wait there is no need for a timer.
        match self.receiver.try_recv() {
            Ok(batch) => return Next::Batch(batch),
            Err(mpsc::error::TryRecvError::Disconnected) => return Next::End,
            Err(mpsc::error::TryRecvError::Empty) => {}
        }
        let receiver = &mut self.receiver;
        match self.runtime.block_on(async { tokio::time::timeout(limit, receiver.recv()).await }) {
            Ok(Some(batch)) => Next::Batch(batch),
            Ok(None) => Next::End,
            Err(_) => Next::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::Exporter;
    use std::sync::Arc;

    #[test]
    fn what_waits_comes_first_then_nothing_then_the_end() {
        let (sender, mut batches) = queue(2).unwrap();
        let exporter = Arc::new(Exporter { name: "x".into(), observation_domain: 1 });
        sender.try_send(Batch { exporter, records: Vec::new(), alerts: Vec::new(), places: None }).unwrap();
        let limit = Duration::from_millis(1);
        assert!(matches!(batches.next(limit), Next::Batch(_)));
        assert!(matches!(batches.next(limit), Next::Nothing));
        drop(sender);
        assert!(matches!(batches.next(limit), Next::End));
    }
}
