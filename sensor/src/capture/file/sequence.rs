//! Capture files one after the other, as one source.

use super::FileSource;
use crate::capture::{BatchEnd, CaptureError, Frame, FrameSource, SourceLoss};

/// The files of a replay in their order. One that cannot be read, or not to its end, is an error of that
/// call; the next call goes on with the next file.
pub struct FileSequence {
    files: std::vec::IntoIter<String>,
    current: Option<FileSource>,
    loss: SourceLoss,
}

impl FileSequence {
    /// Files are opened when their turn comes.
    pub fn new(files: Vec<String>) -> FileSequence {
        FileSequence { files: files.into_iter(), current: None, loss: SourceLoss::default() }
    }

    fn close(&mut self) {
        if let Some(mut source) = self.current.take() {
            let loss = source.loss();
            self.loss.kernel_dropped += loss.kernel_dropped;
            self.loss.interface_dropped += loss.interface_dropped;
        }
    }
}

impl FrameSource for FileSequence {
    fn read_batch(&mut self, each: &mut dyn FnMut(&[Frame<'_>])) -> Result<BatchEnd, CaptureError> {
        let source = match &mut self.current {
            Some(source) => source,
            None => match self.files.next() {
                Some(path) => self.current.insert(FileSource::open(&path)?),
                None => return Ok(BatchEnd::End),
            },
        };
        let read = source.read_batch(each);
        if matches!(read, Ok(BatchEnd::End) | Err(_)) {
            self.close();
        }
        read.map(|_| BatchEnd::More)
    }

    fn loss(&mut self) -> SourceLoss {
        let current = self.current.as_mut().map(FrameSource::loss).unwrap_or_default();
        SourceLoss {
            kernel_dropped: self.loss.kernel_dropped + current.kernel_dropped,
            interface_dropped: self.loss.interface_dropped + current.interface_dropped,
        }
    }

    fn name(&self) -> &str {
        self.current.as_ref().map_or("capture files", |source| source.name())
    }
}
