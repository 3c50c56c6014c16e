//! A file that passes inside of an application: what is said of it when it ends.
//!
//! In: its name, its bytes as they come, what is missing of them. Out: EVE's `fileinfo` event and the file's
//! fields in the flow's metadata. Holds no bytes of the file, only the state of its hashes.

use super::config::FileHash;
use super::digest::Hex;
use super::{Context, Event};
use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::Sha256;
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Most bytes kept of a name; the rest is cut off.
const NAME_BYTES_MAX: usize = 1024;

/// A file on its way.
#[derive(Debug)]
pub struct FileBody {
    name: Vec<u8>,
    direction: Direction,
    transaction: Option<u64>,
    size: u64,
    has_gaps: bool,
    md5: Option<Md5>,
    sha1: Option<Sha1>,
    sha256: Option<Sha256>,
}

impl FileBody {
    /// A file begins, sent in `direction`; its name may be empty. None: nobody wants to know.
    pub fn begin(
        name: &[u8],
        direction: Direction,
        transaction: Option<u64>,
        context: &Context<'_>,
    ) -> Option<Box<FileBody>> {
        let config = context.files;
        let has = |hash| config.hashes.contains(&hash);
        config.enabled.then(|| {
            Box::new(FileBody {
                name: name.get(..NAME_BYTES_MAX).unwrap_or(name).to_vec(),
                direction,
                transaction,
                size: 0,
                has_gaps: false,
                md5: has(FileHash::Md5).then(Md5::new),
                sha1: has(FileHash::Sha1).then(Sha1::new),
                sha256: has(FileHash::Sha256).then(Sha256::new),
            })
        })
    }

    /// Its name is known only now.
    pub fn rename(&mut self, name: &[u8]) {
        self.name = name.get(..NAME_BYTES_MAX).unwrap_or(name).to_vec();
    }

    /// Bytes seen so far, missing ones included.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its next bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        if self.has_gaps {
            return;
        }
        if let Some(hash) = &mut self.md5 {
            hash.update(bytes);
        }
        if let Some(hash) = &mut self.sha1 {
            hash.update(bytes);
        }
        if let Some(hash) = &mut self.sha256 {
            hash.update(bytes);
        }
    }

    /// So many of its next bytes were not seen: it has no hashes.
    pub fn gap(&mut self, missing: u64) {
        self.size = self.size.saturating_add(missing);
        self.has_gaps = true;
    }

    /// It has ended: `is_whole` says whether where it should. `beside` are further members of the event, as
    /// [`Event::beside`]: what carried it.
    pub fn end(self: Box<Self>, is_whole: bool, beside: &[u8], context: &mut Context<'_>) {
        let is_hashed = is_whole && !self.has_gaps;
        let md5 = self.md5.filter(|_| is_hashed).map(|hash| Hex::<32>::of(&hash.finalize()));
        let sha1 = self.sha1.filter(|_| is_hashed).map(|hash| Hex::<40>::of(&hash.finalize()));
        let sha256 = self.sha256.filter(|_| is_hashed).map(|hash| Hex::<64>::of(&hash.finalize()));
        if !self.name.is_empty() {
            context.metadata.add(Field::FileNames, &String::from_utf8_lossy(&self.name));
        }
        if let Some(sha256) = &sha256 {
            context.metadata.add(Field::FileSha256, sha256.as_str());
        }
        let (app, time) = (context.app, context.time);
        let Some(events) = context.events.as_deref_mut() else { return };
        let mut body = Vec::with_capacity(256);
        {
            let mut object = Object::begin(&mut body);
            object.bytes("filename", &self.name).bool("gaps", self.has_gaps);
            object.text("state", if is_whole { "CLOSED" } else { "TRUNCATED" });
            object.text_if("md5", md5.as_ref().map(Hex::as_str));
            object.text_if("sha1", sha1.as_ref().map(Hex::as_str));
            object.text_if("sha256", sha256.as_ref().map(Hex::as_str));
            object.bool("stored", false).number("size", self.size);
            if let Some(transaction) = self.transaction {
                object.number("tx_id", transaction);
            }
        }
        let mut members = Vec::with_capacity(beside.len() + 32);
        members.extend_from_slice(b"\"app_proto\":\"");
        members.extend_from_slice(app.name().as_bytes());
        members.push(b'"');
        if !beside.is_empty() {
            members.push(b',');
            members.extend_from_slice(beside);
        }
        let event = Event::new(app, time, self.direction, body);
        events.push(Event { kind: "fileinfo", beside: members, ..event });
    }
}
