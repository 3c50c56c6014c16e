//! A file that passes inside of an application: what is said of it when it ends.
//!
//! In: its name, its bytes as they come, what is missing of them. Out: EVE's `fileinfo` event, the file's
//! fields in the flow's metadata, and, where `dpi.files.extract_directory` says so, the file itself
//! ([`store`]); where signatures look, the parts that they look into. Holds no bytes of the file but its first
//! ones, which say what kind it is, and for signatures up to [`BODY_BYTES_MAX`]; otherwise only the state of its
//! hashes.
//!
//! States are Suricata's: `CLOSED` where all of it was seen, else `TRUNCATED`. A file is always told at its
//! end, so that `UNKNOWN` never is.

mod kind;
mod magic;
pub mod store;

use super::buffers::{BODY_BYTES_MAX, Buffer, NO_TRANSACTION, Number, Wanted};
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
    /// Told as an event, in metadata and on disk, and not only to signatures.
    is_followed: bool,
    /// Its first bytes for signatures, where they look into them and nobody else tells them.
    kept: Option<Vec<u8>>,
    /// Signatures were told of it.
    is_told: bool,
    magic: Option<magic::Description>,
}

/// Whether signatures look at files.
pub(super) fn is_wanted(wanted: &Wanted) -> bool {
    let buffers = [Buffer::FileData, Buffer::FileName, Buffer::FileMagic];
    buffers.iter().any(|buffer| wanted.has(*buffer)) || is_whole_wanted(wanted)
}

/// Whether they look at what is known only when a file has ended.
pub(super) fn is_whole_wanted(wanted: &Wanted) -> bool {
    let buffers = [Buffer::FileMd5, Buffer::FileSha1, Buffer::FileSha256];
    buffers.iter().any(|buffer| wanted.has(*buffer)) || wanted.has_number(Number::FileSize)
}

/// Bytes that signatures want of a file.
fn bytes_wanted(wanted: &Wanted, config: &FileConfig) -> u64 {
    if is_whole_wanted(wanted) {
        config.bytes_max
    } else if wanted.has(Buffer::FileData) {
        BODY_BYTES_MAX as u64
    } else if wanted.has(Buffer::FileMagic) {
        HEAD_BYTES as u64
    } else {
        0
    }
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
        let wanted = context.wanted.filter(|wanted| is_wanted(wanted));
        let storing = files.store.as_ref().filter(|_| files.enabled).and_then(StoreHandle::begin);
        let wants = |buffer| wanted.is_some_and(|wanted| wanted.has(buffer));
        let has = |hash, buffer| files.enabled && files.hashes.contains(&hash) || wants(buffer);
        let bytes_max = match wanted {
            _ if files.enabled => files.bytes_max,
            Some(wanted) => bytes_wanted(wanted, files),
            None => 0,
        };
        (files.enabled || wanted.is_some()).then(|| {
            Box::new(FileBody {
                name: name.get(..NAME_BYTES_MAX).unwrap_or(name).to_vec(),
                direction,
                transaction,
                size: 0,
                bytes_max,
                has_gaps: false,
                is_part: false,
                head: Vec::new(),
                kind: None,
                is_kind_asked: false,
                range: None,
                md5: has(FileHash::Md5, Buffer::FileMd5).then(Md5::new),
                sha1: has(FileHash::Sha1, Buffer::FileSha1).then(Sha1::new),
                // What is stored is named by it.
                sha256: (has(FileHash::Sha256, Buffer::FileSha256) || storing.is_some()).then(Sha256::new),
                storing,
                is_followed: files.enabled,
                kept: wants(Buffer::FileData).then(Vec::new),
                is_told: wanted.is_none(),
                magic: wants(Buffer::FileMagic).then(magic::Description::default),
            })
        })
    }

    /// Its bytes are told to signatures by whoever reads them.
    pub(super) fn keep_nothing(&mut self) {
        self.kept = None;
    }

    /// Signatures are told nothing of it.
    pub(super) fn tell_nothing(&mut self) {
        (self.is_told, self.kept) = (true, None);
    }

    /// Its name is known only now.
    pub fn rename(&mut self, name: &[u8]) {
        self.name = name.get(..NAME_BYTES_MAX).unwrap_or(name).to_vec();
    }

    /// It is a part of a file: its first byte and its last, as EVE's `start` and `end`.
    pub fn set_range(&mut self, start: u64, end: u64) {
        self.range = Some((start, end));
    }

    /// Who sends it.
    pub fn direction(&self) -> Direction {
        self.direction
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
        if let Some(kept) = &mut self.kept {
            let room = BODY_BYTES_MAX.saturating_sub(kept.len());
            kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
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

    /// Tells signatures what is known of it without its end, once; its end then tells them nothing more.
    pub(super) fn tell(&mut self, context: &mut Context<'_>) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        let (direction, transaction) = (self.direction, self.transaction.unwrap_or(NO_TRANSACTION));
        context.put(direction, transaction, Buffer::FileName, &self.name);
        if let Some(magic) = &mut self.magic
            && self.size > 0
        {
            let text = magic.of(&self.head);
            context.put(direction, transaction, Buffer::FileMagic, text.as_bytes());
        }
        context.put_number(direction, transaction, Number::FileSizeMin, self.size);
        if let Some(kept) = self.kept.take().filter(|kept| !kept.is_empty())
            && context.wants(Buffer::FileData)
            && let Some(side) = context.side(direction, transaction)
        {
            side.put_whole(Buffer::FileData, kept);
        }
    }

    /// Whoever sends it sends no more than a part: its hashes are told with it, and not as a file's.
    pub fn is_part(&mut self) {
        self.is_part = true;
    }

    /// It has ended: `is_whole` says whether where it should. `beside` are further members of the event, as
    /// [`Event::beside`]: what carried it.
    pub fn end(mut self: Box<Self>, is_whole: bool, beside: &[u8], context: &mut Context<'_>) {
        let is_told = self.is_told;
        self.tell(context);
        if self.is_followed {
            context.files.ended.set(context.files.ended.get().saturating_add(1));
        }
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
        let hex = sha256.filter(|_| has_all).map(|hash| Hex::<64>::of(&hash));
        if !is_told && is_closed {
            let (direction, transaction) = (self.direction, self.transaction.unwrap_or(NO_TRANSACTION));
            let hashes = [
                (Buffer::FileMd5, md5.as_ref().map(Hex::as_str)),
                (Buffer::FileSha1, sha1.as_ref().map(Hex::as_str)),
                (Buffer::FileSha256, hex.as_ref().map(Hex::as_str)),
            ];
            for (buffer, hash) in hashes {
                if let Some(hash) = hash {
                    context.put(direction, transaction, buffer, hash.as_bytes());
                }
            }
            context.put_number(direction, transaction, Number::FileSize, self.size);
        }
        if !self.is_followed {
            return;
        }
        // Digests that only rules asked for are told as well.
        let is_asked = context.files.hashes.contains(&FileHash::Sha256) || context.wants(Buffer::FileSha256);
        let is_told = has_all && is_asked || stored.is_some();
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
        events.push(Event { kind: "fileinfo", transaction: self.transaction, beside: members, ..event });
    }

    /// Asks for its kind once there are enough bytes; until then they are kept.
    fn look_at(&mut self, bytes: &[u8]) {
        if self.head.is_empty() && bytes.len() >= HEAD_BYTES {
            let head = bytes.get(..HEAD_BYTES).unwrap_or(bytes);
            self.kind = kind::kind(head);
            self.is_kind_asked = true;
            if let Some(magic) = &mut self.magic {
                magic.of(head);
            }
            return;
        }
        let room = HEAD_BYTES.saturating_sub(self.head.len());
        self.head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if self.head.len() >= HEAD_BYTES {
            self.kind = kind::kind(&self.head);
            self.is_kind_asked = true;
            if let Some(magic) = &mut self.magic {
                magic.of(&self.head);
            }
            self.head = Vec::new();
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
