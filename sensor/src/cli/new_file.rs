//! A file of an answer, which is made with the first byte that goes into it.
//!
//! In: where it is to be, and bytes. Out: the file; one that was there is replaced. What cannot be answered fails before
//! there is a first byte, and then a file that was there is as it was.

use std::fs::File;
use std::io::{self, Write};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct NewFile {
    path: String,
    file: Option<File>,
}

impl NewFile {
    /// A file at this path, which is not touched yet.
    pub(super) fn at(path: &str) -> NewFile {
        NewFile { path: path.to_owned(), file: None }
    }

    fn file(&mut self) -> io::Result<&mut File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => {
                let named =
                    |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.path));
                Ok(none.insert(File::create(&self.path).map_err(named)?))
            }
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), File::flush)
    }
}
