//! A file that passes inside of an application: what is said of it when it ends.
//!
//! In: its name, its bytes as they come, what is missing of them. Out: EVE's `fileinfo` event, the file's
//! fields in the flow's metadata, and, where `dpi.files.extract_directory` says so, the file itself
//! ([`store`]). Holds no bytes of the file but its first ones, which say what kind it is; otherwise only the
//! state of its hashes.
//!
//! States are Suricata's: `CLOSED` where all of it was seen, else `TRUNCATED`. A file is always told at its
//! end, so that `UNKNOWN` never is.

mod kind;
pub mod store;

use super::config::{FileConfig, FileHash};
use super::digest::Hex;
use super::http::decode::DecoderMemory;
use super::{Context, Event};
use kind::HEAD_BYTES;
use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::Sha256;
use std::cell::Cell;
use std::ops::Deref;
use store::{StoreHandle, Storing};
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Most bytes kept of a name; the rest is cut off.
const NAME_BYTES_MAX: usize = 1024;

/// A worker's way with files: what is configured, and where they are stored.
#[derive(Debug, Default)]
pub struct Files {
    config: FileConfig,
    store: Option<StoreHandle>,
    /// Files that have ended and were not counted yet.
    ended: Cell<u64>,
    /// What the decoders of content codings use.
    pub(super) decoders: DecoderMemory,
}

impl Files {
    /// Files are only told about.
    pub fn new(config: FileConfig) -> Files {
        Files { config, ..Files::default() }
    }

    /// They are stored as well.
    pub fn with_store(self, store: Option<StoreHandle>) -> Files {
        Files { store, ..self }
    }

    /// How many have ended since this was last asked.
    pub(super) fn take_ended(&self) -> u64 {
        self.ended.take()
    }
}

impl Deref for Files {
    type Target = FileConfig;

    fn deref(&self) -> &FileConfig {
        &self.config
    }
}

/// A file on its way.
#[derive(Debug)]
pub struct FileBody {
    name: Vec<u8>,
    direction: Direction,
    transaction: Option<u64>,
    size: u64,
    bytes_max: u64,
    has_gaps: bool,
    is_part: bool,
    /// Its first bytes, while they are too few to tell its kind.
    head: Vec<u8>,
    kind: Option<&'static str>,
    is_kind_asked: bool,
    range: Option<(u64, u64)>,
    md5: Option<Md5>,
    sha1: Option<Sha1>,
    sha256: Option<Sha256>,
    storing: Option<Storing>,
}

impl FileBody {
    /// A file begins, sent in `direction`; its name may be empty. None: nobody wants to know.
    pub fn begin(
        name: &[u8],
        direction: Direction,
        transaction: Option<u64>,
        context: &Context<'_>,
    ) -> Option<Box<FileBody>> {
        let files = context.files;
        let storing = files.store.as_ref().and_then(StoreHandle::begin);
        let has = |hash| files.hashes.contains(&hash);
        files.enabled.then(|| {
            Box::new(FileBody {
                name: name.get(..NAME_BYTES_MAX).unwrap_or(name).to_vec(),
                direction,
                transaction,
                size: 0,
                bytes_max: files.bytes_max,
                has_gaps: false,
                is_part: false,
                head: Vec::new(),
                kind: None,
                is_kind_asked: false,
                range: None,
                md5: has(FileHash::Md5).then(Md5::new),
                sha1: has(FileHash::Sha1).then(Sha1::new),
                // What is stored is named by it.
                sha256: (has(FileHash::Sha256) || storing.is_some()).then(Sha256::new),
                storing,
            })
        })
    }

    /// Its name is known only now.
    pub fn rename(&mut self, name: &[u8]) {
        self.name = name.get(..NAME_BYTES_MAX).unwrap_or(name).to_vec();
    }

    /// It is a part of a file: its first byte and its last, as EVE's `start` and `end`.
    pub fn set_range(&mut self, start: u64, end: u64) {
        self.range = Some((start, end));
    }

    /// Bytes seen so far, missing ones included.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether nothing more is wanted of it (`dpi.files.bytes_max`): what follows may be skipped.
    pub fn is_full(&self) -> bool {
        self.size > self.bytes_max
    }

    /// Its next bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let room = usize::try_from(self.bytes_max.saturating_sub(self.size)).unwrap_or(usize::MAX);
        self.size = self.size.saturating_add(bytes.len() as u64);
        let bytes = bytes.get(..room).unwrap_or(bytes);
        if self.has_gaps || bytes.is_empty() {
            return;
        }
        if !self.is_kind_asked {
            self.look_at(bytes);
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
        if let Some(storing) = &mut self.storing
            && !storing.bytes(bytes)
        {
            self.storing = None;
        }
    }

    /// So many of its next bytes were not seen: it has no hashes.
    pub fn gap(&mut self, missing: u64) {
        self.size = self.size.saturating_add(missing);
        self.has_gaps = true;
        self.storing = None;
    }

    /// Whoever sends it sends no more than a part: its hashes are told with it, and not as a file's.
    pub fn is_part(&mut self) {
        self.is_part = true;
    }

    /// It has ended: `is_whole` says whether where it should. `beside` are further members of the event, as
    /// [`Event::beside`]: what carried it.
    pub fn end(mut self: Box<Self>, is_whole: bool, beside: &[u8], context: &mut Context<'_>) {
        context.files.ended.set(context.files.ended.get().saturating_add(1));
        if !self.is_kind_asked {
            self.kind = kind::kind(&self.head);
        }
        let has_all = !self.has_gaps && self.size <= self.bytes_max;
        let is_closed = is_whole && has_all;
        let sha256 = self.sha256.take().map(|hash| -> [u8; 32] { hash.finalize().into() });
        // A file that ends early is stored as well, as far as it went, as Suricata does.
        let stored = match (self.storing.take(), &sha256) {
            (Some(storing), Some(sha256)) if has_all => storing.end(sha256),
            _ => None,
        };
        // Of a file that ends early they are those of what came.
        let md5 = self.md5.take().filter(|_| has_all).map(|hash| Hex::<32>::of(&hash.finalize()));
        let sha1 = self.sha1.take().filter(|_| has_all).map(|hash| Hex::<40>::of(&hash.finalize()));
        let is_told = has_all && context.files.hashes.contains(&FileHash::Sha256) || stored.is_some();
        let sha256 = sha256.filter(|_| is_told).map(|hash| Hex::<64>::of(&hash));
        if !self.name.is_empty() {
            context.metadata.add(Field::FileNames, &String::from_utf8_lossy(&self.name));
        }
        if let Some(kind) = self.kind {
            context.metadata.add(Field::FileTypes, kind);
        }
        if let Some(sha256) = sha256.as_ref().filter(|_| is_closed && !self.is_part) {
            context.metadata.add(Field::FileSha256, sha256.as_str());
        }
        let (app, time) = (context.app, context.time);
        let Some(events) = context.events.as_deref_mut() else { return };
        let mut body = Vec::with_capacity(256);
        {
            let mut object = Object::begin(&mut body);
            object.bytes("filename", &self.name).text_if("mimetype", self.kind).bool("gaps", self.has_gaps);
            object.text("state", if is_closed { "CLOSED" } else { "TRUNCATED" });
            object.text_if("md5", md5.as_ref().map(Hex::as_str));
            object.text_if("sha1", sha1.as_ref().map(Hex::as_str));
            object.text_if("sha256", sha256.as_ref().map(Hex::as_str));
            object.bool("stored", stored.is_some());
            if let Some(number) = stored {
                object.number("file_id", number);
            }
            object.number("size", self.size);
            if let Some((start, end)) = self.range {
                object.number("start", start).number("end", end);
            }
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

    /// Asks for its kind once there are enough bytes; until then they are kept.
    fn look_at(&mut self, bytes: &[u8]) {
        if self.head.is_empty() && bytes.len() >= HEAD_BYTES {
            self.kind = kind::kind(bytes.get(..HEAD_BYTES).unwrap_or(bytes));
            self.is_kind_asked = true;
            return;
        }
        let room = HEAD_BYTES.saturating_sub(self.head.len());
        self.head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if self.head.len() >= HEAD_BYTES {
            self.kind = kind::kind(&self.head);
            self.is_kind_asked = true;
            self.head = Vec::new();
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
