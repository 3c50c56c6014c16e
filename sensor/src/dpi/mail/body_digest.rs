//! The MD5 of a message's body as Suricata makes it (`email.body_md5`).
//!
//! In: the lines of a message, ends included. Out: the digest of the lines behind the last head, those of parts
//! being heads too: the digest of a message of parts is that of its last one, with the delimiter behind it.

use md5::{Digest as _, Md5};

#[derive(Debug, Default)]
pub(super) struct BodyDigest {
    md5: Md5,
    place: Place,
    /// Two dashes and the boundary of the message.
    delimiter: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the first line of a head.
    #[default]
    Begin,
    Head,
    Body,
}

impl BodyDigest {
    /// The message's parts are delimited so.
    pub(super) fn delimit(&mut self, boundary: &[u8]) {
        self.delimiter.get_or_insert_with(|| [b"--", boundary].concat());
    }

    /// A line, or a piece of a long one.
    pub(super) fn line(&mut self, line: &[u8]) {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if self.place == Place::Begin {
            self.md5 = Md5::new();
            self.place = Place::Head;
        }
        if self.place == Place::Head {
            if text.is_empty() {
                self.place = Place::Body;
            }
            return;
        }
        self.md5.update(line);
        if self.delimiter.as_deref().is_some_and(|delimiter| text.starts_with(delimiter)) {
            self.place = Place::Begin;
        }
    }

    pub(super) fn finish(self) -> [u8; 16] {
        self.md5.finalize().into()
    }
}
