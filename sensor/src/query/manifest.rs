//! The manifest of an exported file: from which blocks of the ring its packets are, signed by the sensor.
//!
//! In: each frame of an answer with its place in the ring, in the order of the file; at the end the segments that
//! were read and who signs. Out: a packet id for each frame, and pieces of bytes to put into the file. Writes no
//! file and reads no packet. Memory is bounded by [`ENTRIES_MAX`] entries of about 100 bytes and [`ACTIVE_MAX`]
//! hashes of 40 KiB and less that are still being made.
//!
//! # Form, version 1
//!
//! The manifest stands in Custom Blocks of pcapng (type 0x00000BAD, enterprise number 32473), before the interface
//! statistics. Each begins with a line `weir-evidence 1 PART PARTS BYTES`, followed by so many bytes of it. The
//! pieces together are two lines. The first is a [`Statement`] as JSON; the second a [`Seal`]: key and signature
//! over the BLAKE3 hash (key derivation mode, context `weir custody 2026 evidence manifest v1`) of the first line's
//! bytes without the line's end.
//!
//! An entry of `blocks` holds frames of one block. `packets_hash` is BLAKE3 (context `weir custody 2026 packets v1`)
//! over the entry's frames in the order of the file, for each: packet id u64, time in nanoseconds u64, interface u32,
//! link type u16, bytes on the wire u32, captured bytes u32, whether a receipt for bytes left out follows u8, with
//! it their number u32 and hash [16], then the captured bytes; all little-endian. The packet id (option
//! `epb_packetid`) is the number of the entry, shifted by 20 bits, plus the frame's number in the block.
//! `order_hash` (context `weir custody 2026 order v1`) is over all packet ids in the order of the file. So each
//! frame is hashed once, and still neither its bytes, nor its block, nor its place in the file can change.
//!
//! A block has more than one entry where more than [`ACTIVE_MAX`] blocks take turns. Beyond [`ENTRIES_MAX`] all
//! further frames share a last entry that names no block, so that they are signed all the same.

use crate::capture::Frame;
use crate::query::pcapng::INTERFACES_MAX;
use crate::query::{Found, Position};
use crate::ring::custody::{
    ChainReader, ChainRecord, Hash, Headers, PublicKey, SegmentProof, Signer, SigningKey,
};
use crate::ring::entry::LeftOut;
use crate::ring::reader::SegmentFiles;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use weir_common::time::Timestamp;

/// Enterprise number of the Custom Blocks: the one reserved for documentation (RFC 5612).
pub const ENTERPRISE_NUMBER: u32 = 32473;
/// Version of the manifest.
pub const MANIFEST_VERSION: u32 = 1;
/// Most entries; what comes after shares one.
pub const ENTRIES_MAX: usize = 1 << 18;
/// Most entries whose frames may take turns in the file.
pub const ACTIVE_MAX: usize = 1024;
/// Most digests of blocks that segments are proven with; further segments have a note instead.
pub const DIGESTS_MAX: usize = 1 << 21;
/// Most bytes of a manifest that are read.
pub const MANIFEST_BYTES_MAX: usize = 512 << 20;
/// Bytes of a piece. Wireshark's tools copy no file with a Custom Block of more than 256 KiB.
const PIECE_BYTES: usize = 192 << 10;
/// What the pieces begin with.
pub(super) const PIECE_WORD: &str = "weir-evidence";
/// Bits of a packet id for the frame in its block.
pub(super) const FRAME_BITS: u32 = 20;
/// Bytes hashed at once: a power of two of BLAKE3's chunks of 1 KiB, and more than it takes side by side.
const HASHED_AT_ONCE: usize = 32 << 10;
const PACKETS_CONTEXT: &str = "weir custody 2026 packets v1";
const ORDER_CONTEXT: &str = "weir custody 2026 order v1";
const MANIFEST_CONTEXT: &str = "weir custody 2026 evidence manifest v1";

/// Where what was read comes from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The ring's directory.
    pub directory: &'a Path,
    /// The segments that were read, pins' copies among them.
    pub segments: &'a [SegmentFiles],
}

/// Frames of one block.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BlockEntry {
    /// The block's segment.
    pub segment: u64,
    /// The worker's lane.
    pub lane: u16,
    /// The run of the sensor.
    pub run: u32,
    /// The block's number in its lane and run; none: these frames are of blocks that are not named.
    pub number: Option<u64>,
    /// The block's header, base64; none where the segment was gone when the file was finished.
    pub header: Option<String>,
    /// Earliest time of a frame of the entry.
    #[serde(with = "time_text")]
    pub first_time: Timestamp,
    /// Latest time.
    #[serde(with = "time_text")]
    pub last_time: Timestamp,
    /// Frames.
    pub frames: u64,
    /// BLAKE3 over the frames.
    #[serde(with = "hex_hash")]
    pub packets_hash: Hash,
}

/// What the sensor says of the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Statement {
    /// [`MANIFEST_VERSION`].
    pub weir_evidence: u32,
    /// Program and version.
    pub tool: String,
    /// What was asked.
    pub query: String,
    /// The statement of completeness, as `query --json` has it.
    pub completeness: Value,
    /// Interface number and link type of each of the file's interfaces.
    pub interfaces: Vec<(u32, u16)>,
    /// Frames in the file.
    pub frames: u64,
    /// BLAKE3 over the packet ids.
    #[serde(with = "hex_hash")]
    pub order_hash: Hash,
    /// The blocks.
    pub blocks: Vec<BlockEntry>,
    /// Their segments.
    pub segments: Vec<SegmentProof>,
}

/// Who vouches for a statement.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Seal {
    /// The public key, as in `custody.pub`.
    pub key: Option<String>,
    /// The signature, base64.
    pub signature: Option<String>,
    /// Whether nobody signed.
    pub unsigned: bool,
    /// Why not.
    pub why: Option<String>,
}

/// What a signature of a statement is over.
pub(super) fn statement_hash(line: &[u8]) -> Hash {
    blake3::derive_key(MANIFEST_CONTEXT, line)
}

/// A hash in the making. Bytes are put together and hashed in steps of one size from the beginning on, which is what
/// lets BLAKE3 work on many chunks side by side: twice as fast as hashing them as they come.
#[derive(Debug)]
struct Gathered {
    hasher: blake3::Hasher,
    waiting: Vec<u8>,
}

impl Gathered {
    fn new(context: &str) -> Gathered {
        Gathered { hasher: blake3::Hasher::new_derive_key(context), waiting: Vec::new() }
    }

    #[inline]
    fn add(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= HASHED_AT_ONCE {
            self.hash();
        }
    }

    #[cold]
    fn hash(&mut self) {
        let (steps, rest) = self.waiting.as_chunks::<HASHED_AT_ONCE>();
        for step in steps {
            self.hasher.update(step);
        }
        let (begin, rest) = (self.waiting.len() - rest.len(), rest.len());
        self.waiting.copy_within(begin.., 0);
        self.waiting.truncate(rest);
    }

    fn finish(mut self) -> Hash {
        self.hasher.update(&self.waiting);
        self.hasher.finalize().into()
    }
}

/// Bytes before a frame's own: id, time, interface, link type, two lengths, whether a receipt follows.
const FRAME_FIELDS_BYTES: usize = 31;

/// The hash over the frames of an entry.
#[derive(Debug)]
pub(super) struct PacketsHash(Gathered);

impl PacketsHash {
    pub(super) fn new() -> PacketsHash {
        PacketsHash(Gathered::new(PACKETS_CONTEXT))
    }

    #[inline]
    pub(super) fn frame(&mut self, id: u64, frame: &Frame<'_>, interface: u32, left_out: Option<&LeftOut>) {
        let mut fields = [0; FRAME_FIELDS_BYTES];
        fields[..8].copy_from_slice(&id.to_le_bytes());
        fields[8..16].copy_from_slice(&frame.time.0.to_le_bytes());
        fields[16..20].copy_from_slice(&interface.to_le_bytes());
        fields[20..22].copy_from_slice(&frame.link.0.to_le_bytes());
        fields[22..26].copy_from_slice(&frame.wire_len.to_le_bytes());
        fields[26..30].copy_from_slice(&(frame.data.len() as u32).to_le_bytes());
        fields[30] = u8::from(left_out.is_some());
        self.0.waiting.extend_from_slice(&fields);
        if let Some(left_out) = left_out {
            self.0.waiting.extend_from_slice(&left_out.bytes.to_le_bytes());
            self.0.waiting.extend_from_slice(&left_out.hash);
        }
        self.0.add(frame.data);
    }

    pub(super) fn finish(self) -> Hash {
        self.0.finish()
    }
}

/// The hash over all packet ids.
#[derive(Debug)]
pub(super) struct OrderHash(Gathered);

impl OrderHash {
    pub(super) fn new() -> OrderHash {
        OrderHash(Gathered::new(ORDER_CONTEXT))
    }

    #[inline]
    pub(super) fn packet(&mut self, id: u64) {
        self.0.add(&id.to_le_bytes());
    }

    pub(super) fn finish(self) -> Hash {
        self.0.finish()
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    place: Position,
    named: bool,
    frames: u64,
    first_time: Timestamp,
    last_time: Timestamp,
    hash: Hash,
}

#[derive(Debug)]
struct Active {
    block: (u64, u64),
    entry: usize,
    used: u64,
    hash: PacketsHash,
}

/// Collects what the manifest says while the file is written.
#[derive(Debug)]
pub struct Manifest {
    entries: Vec<Entry>,
    active: Vec<Active>,
    /// Where in `active` a block is.
    slots: HashMap<(u64, u64), usize>,
    /// Where the block of the frame before is.
    current: usize,
    interfaces: Vec<(u32, u16)>,
    order: OrderHash,
    frames: u64,
    entries_max: usize,
}

impl Default for Manifest {
    fn default() -> Self {
        Manifest {
            entries: Vec::new(),
            active: Vec::new(),
            slots: HashMap::new(),
            current: 0,
            interfaces: Vec::new(),
            order: OrderHash::new(),
            frames: 0,
            entries_max: ENTRIES_MAX,
        }
    }
}

/// Segment and number of the entry that names no block; no segment has this sequence.
const REST: (u64, u64) = (u64::MAX, u64::MAX);

impl Manifest {
    /// A manifest with so many entries at most.
    #[cfg(test)]
    pub(super) fn with_entries_max(entries_max: usize) -> Manifest {
        Manifest { entries_max, ..Manifest::default() }
    }

    /// Takes in the next frame of the file, and gives its packet id.
    pub fn frame(&mut self, found: &Found<'_>) -> u64 {
        let Found { frame, left_out, position: place, .. } = found;
        let block = (place.segment, place.number);
        if self.active.get(self.current).is_none_or(|active| active.block != block) {
            self.current = self.slot(block, place);
        }
        let interface = self.interface(frame);
        self.frames += 1;
        let Some(active) = self.active.get_mut(self.current) else { return 0 };
        let id = (active.entry as u64) << FRAME_BITS | u64::from(place.index) & ((1 << FRAME_BITS) - 1);
        active.used = self.frames;
        active.hash.frame(id, frame, interface, left_out.as_ref());
        self.order.packet(id);
        if let Some(entry) = self.entries.get_mut(active.entry) {
            entry.frames += 1;
            entry.first_time = entry.first_time.min(frame.time);
            entry.last_time = entry.last_time.max(frame.time);
        }
        id
    }

    /// Where a block's hash is made: a new entry is begun for it where it has none in the making.
    fn slot(&mut self, block: (u64, u64), place: &Position) -> usize {
        if let Some(slot) = self.slots.get(&block) {
            return *slot;
        }
        let named = self.entries.len() < self.entries_max;
        let block = if named { block } else { REST };
        if let Some(slot) = self.slots.get(&block) {
            return *slot;
        }
        self.entries.push(Entry {
            place: *place,
            named,
            frames: 0,
            first_time: Timestamp::MAX,
            last_time: Timestamp::MIN,
            hash: Hash::default(),
        });
        let active = Active { block, entry: self.entries.len() - 1, used: 0, hash: PacketsHash::new() };
        let slot = self.free_slot(active);
        self.slots.insert(block, slot);
        slot
    }

    /// Puts a hash where there is room: in the place of the one that waited longest where there are too many.
    fn free_slot(&mut self, active: Active) -> usize {
        if self.active.len() < ACTIVE_MAX {
            self.active.push(active);
            return self.active.len() - 1;
        }
        let named = self.active.iter().enumerate().filter(|(_, active)| active.block != REST);
        let slot = named.min_by_key(|(_, active)| active.used).map_or(0, |(slot, _)| slot);
        if let Some(place) = self.active.get_mut(slot) {
            let done = std::mem::replace(place, active);
            self.slots.remove(&done.block);
            self.end(done);
        }
        slot
    }

    fn end(&mut self, done: Active) {
        if let Some(entry) = self.entries.get_mut(done.entry) {
            entry.hash = done.hash.finish();
        }
    }

    /// The number of the interface that the frame is written under, which is its own unless there are too many.
    fn interface(&mut self, frame: &Frame<'_>) -> u32 {
        let wanted = (frame.interface, frame.link.0);
        let known = self.interfaces.iter().position(|known| *known == wanted);
        let at = known.unwrap_or_else(|| {
            if self.interfaces.len() < INTERFACES_MAX {
                self.interfaces.push(wanted);
            }
            self.interfaces.len() - 1
        });
        self.interfaces.get(at).map_or(0, |interface| interface.0)
    }

    /// Ends the manifest: the pieces to put into the file, in their order.
    pub fn finish(
        mut self,
        query: &str,
        completeness: Value,
        source: &Source<'_>,
        signer: &Signer,
    ) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.active).into_iter().for_each(|done| self.end(done));
        let mut sources = Sources::read(source, &self.entries);
        let statement = Statement {
            weir_evidence: MANIFEST_VERSION,
            tool: concat!("weir-sensor ", env!("CARGO_PKG_VERSION")).to_owned(),
            query: query.to_owned(),
            completeness,
            interfaces: std::mem::take(&mut self.interfaces),
            frames: self.frames,
            order_hash: self.order.finish(),
            blocks: self.entries.iter().map(|entry| block_entry(entry, &sources)).collect(),
            segments: std::mem::take(&mut sources.segments),
        };
        // A structure of strings and numbers is always written.
        let mut bytes = serde_json::to_vec(&statement).unwrap_or_default();
        let seal = seal(signer, &bytes);
        bytes.push(b'\n');
        bytes.extend(serde_json::to_vec(&seal).unwrap_or_default());
        bytes.push(b'\n');
        pieces(&bytes)
    }
}

fn seal(signer: &Signer, line: &[u8]) -> Seal {
    match signer {
        Signer::Key(key) => sealed(key, line),
        Signer::Nobody(why) => Seal { key: None, signature: None, unsigned: true, why: Some(why.clone()) },
    }
}

pub(super) fn sealed(key: &SigningKey, line: &[u8]) -> Seal {
    let signature = STANDARD.encode(key.sign(&statement_hash(line)));
    Seal { key: Some(PublicKey::line(&key.public())), signature: Some(signature), unsigned: false, why: None }
}

pub(super) fn pieces(bytes: &[u8]) -> Vec<Vec<u8>> {
    let parts = bytes.len().div_ceil(PIECE_BYTES);
    let piece = |(part, bytes): (usize, &[u8])| {
        let mut piece =
            format!("{PIECE_WORD} {MANIFEST_VERSION} {} {parts} {}\n", part + 1, bytes.len()).into_bytes();
        piece.extend_from_slice(bytes);
        piece
    };
    bytes.chunks(PIECE_BYTES).enumerate().map(piece).collect()
}

fn block_entry(entry: &Entry, sources: &Sources) -> BlockEntry {
    let Position { run, lane, segment, number, .. } = entry.place;
    let run = sources.runs.get(&segment).copied().unwrap_or(run);
    let header = sources.headers.get(&(segment, number)).filter(|_| entry.named).cloned();
    BlockEntry {
        segment,
        lane,
        run,
        number: entry.named.then_some(number),
        header,
        first_time: entry.first_time,
        last_time: entry.last_time,
        frames: entry.frames,
        packets_hash: entry.hash,
    }
}

/// What the ring's own files say of the blocks.
struct Sources {
    /// Headers of the blocks that frames are from, base64, by segment and number.
    headers: HashMap<(u64, u64), String>,
    /// Which run wrote a segment, as its header says.
    runs: HashMap<u64, u32>,
    digests: usize,
    segments: Vec<SegmentProof>,
}

impl Sources {
    fn read(source: &Source<'_>, entries: &[Entry]) -> Sources {
        let named = entries.iter().filter(|entry| entry.named);
        let wanted: HashSet<(u64, u64)> =
            named.map(|entry| (entry.place.segment, entry.place.number)).collect();
        let mut by_segment: BTreeMap<u64, Vec<&SegmentFiles>> =
            wanted.iter().map(|(segment, _)| (*segment, Vec::new())).collect();
        for files in source.segments {
            if let Some(list) = by_segment.get_mut(&files.name.sequence) {
                list.push(files);
            }
        }
        let sequences: HashSet<u64> = by_segment.keys().copied().collect();
        let chain = ChainReader::open(source.directory).ok().flatten();
        let records = chain.as_ref().and_then(|chain| chain.find(&sequences).ok()).unwrap_or_default();
        let mut sources =
            Sources { headers: HashMap::new(), runs: HashMap::new(), digests: 0, segments: Vec::new() };
        for (segment, files) in by_segment {
            let record = records.get(&segment);
            let entry = sources.segment(segment, &files, record, chain.is_some(), &wanted);
            sources.segments.push(entry);
        }
        sources
    }

    /// Notes the headers of a segment's blocks that frames are from, and finds what proves them.
    fn segment(
        &mut self,
        segment: u64,
        files: &[&SegmentFiles],
        record: Option<&ChainRecord>,
        has_chain: bool,
        wanted: &HashSet<(u64, u64)>,
    ) -> SegmentProof {
        let mut note = match (record, has_chain) {
            (Some(_), _) => "the segment was gone when the file was finished",
            (None, true) => "not yet sealed: the sensor was writing the segment",
            (None, false) => "the ring keeps no custody",
        };
        let mut proof = None;
        for files in files {
            // The index will do where what it says is what the record vouches for.
            let vouched = |headers: &Headers| {
                record.is_some_and(|record| headers.digest().finish() == record.said.digest)
            };
            let of_index = record.and_then(|_| Headers::of_index(files)).filter(vouched);
            let headers = of_index.map_or_else(|| Headers::read(&files.segment, segment), Ok);
            let Ok(headers) = headers else { continue };
            self.runs.extend(headers.run().map(|run| (segment, run)));
            let blocks = headers.blocks.iter().map(|block| ((segment, block.header.number), block));
            for (name, block) in blocks.filter(|(name, _)| wanted.contains(name)) {
                self.headers.insert(name, STANDARD.encode(block.bytes));
            }
            let of_segment = record.and_then(|record| SegmentProof::of(&headers, record));
            proof = proof.or(of_segment).or_else(|| SegmentProof::beside(files));
            if let Some(record) = record {
                note = match (headers.blocks.len() as u64) < record.said.blocks {
                    true => "only some blocks of the segment are kept, so that its digest cannot be shown",
                    false => "the segment is NOT what its record says: it was altered, or damaged",
                };
            }
        }
        self.digests += proof.as_ref().map_or(0, SegmentProof::blocks);
        if self.digests > DIGESTS_MAX {
            proof = None;
            note = "left out, because the manifest names the most blocks that it may";
        }
        proof.unwrap_or_else(|| SegmentProof::none(segment, record, note))
    }
}

/// Hashes as hexadecimal digits.
mod hex_hash {
    use super::Hash;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
        crate::ring::custody::hex(hash, serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        let text = String::deserialize(deserializer)?;
        blake3::Hash::from_hex(text).map(Hash::from).map_err(serde::de::Error::custom)
    }
}

/// Times as RFC 3339.
mod time_text {
    use super::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse(&text, Timestamp::MIN).map_err(serde::de::Error::custom)
    }
}
