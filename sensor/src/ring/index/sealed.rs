//! The sealed index: sorted keys, each with the blocks that hold it.
//!
//! In: the summaries of a segment's blocks. Out: for a key or a range of keys, the set of blocks that hold one, by
//! reading the last pages and one or two more. Time grows with what is found, not with the segment.
//!
//! Sections, each beginning on a page (see `pages.rs`): for each [`Kind`] its keys in ascending order, u32 (of
//! networks u64) with a posting u32; the blocks, offset u64 and header; the lists that postings point to, u16 each;
//! the first key of every page of every kind, u64; and the footer, one page: magic `WEIRSEAL`, the totals (see
//! [`Totals`]), and for each kind, the blocks, the lists and the first keys: first page u32, count u32.
//!
//! A posting's upper two bits say what the others are: 0, the one block; 1, two blocks of 15 bits each; 2, where in
//! the lists a count and so many blocks stand; 3, where in the lists a bit for every block stands.

use super::super::cipher::{Cipher, Purpose, RingKey, new_salt};
use super::super::format::{BLOCK_HEADER_BYTES, BlockHeader, Fields, FormatError, SegmentName};
use super::super::summary::Summary;
use super::pages::{IndexError, PAGE_BYTES, PAYLOAD_BYTES, PageReader, PageWriter, open_page};
use super::{Form, INDEX_HEADER_BYTES, IndexHeader, Totals};
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Most blocks of a segment: their numbers take 15 bits in a posting. A segment ends early at this many.
pub const BLOCKS_MAX: u64 = 1 << 15;

const FOOTER_MAGIC: [u8; 8] = *b"WEIRSEAL";
const KINDS: usize = Kind::ALL.len();
/// Sections beside those of the kinds: blocks, lists, first keys.
const SECTIONS: usize = KINDS + 3;
const BLOCK_ENTRY_BYTES: usize = 8 + BLOCK_HEADER_BYTES;
/// Pages read at once from the end of the file; they nearly always hold the first keys and the footer.
const LAST_PAGES: u32 = 4;
const POSTING_BITS: u32 = 30;
const POSTING_MASK: u32 = (1 << POSTING_BITS) - 1;

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    /// An IPv4 address.
    V4 = 0,
    /// The upper half of an IPv6 address.
    Network = 1,
    /// A hash of an IPv6 address.
    Host6 = 2,
    /// A TCP, UDP or SCTP port.
    Port = 3,
    /// An IP protocol.
    Protocol = 4,
    /// A VLAN identifier.
    Vlan = 5,
    /// The upper half of a flow's tag.
    Flow = 6,
    /// A bit of a summary's flags.
    Flag = 7,
    /// A hash of the addresses of a fragment that has no tag.
    Pair = 8,
}

impl Kind {
    /// Every kind, in the order of its section.
    pub const ALL: [Kind; 9] = [
        Kind::V4,
        Kind::Network,
        Kind::Host6,
        Kind::Port,
        Kind::Protocol,
        Kind::Vlan,
        Kind::Flow,
        Kind::Flag,
        Kind::Pair,
    ];

    fn key_bytes(self) -> usize {
        if self == Kind::Network { 8 } else { 4 }
    }

    fn entry_bytes(self) -> usize {
        self.key_bytes() + 4
    }

    fn entries_per_page(self) -> usize {
        PAYLOAD_BYTES / self.entry_bytes()
    }
}

/// A set of a segment's blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockSet {
    words: Vec<u64>,
    blocks: usize,
}

impl BlockSet {
    /// No block of so many.
    pub fn empty(blocks: usize) -> BlockSet {
        BlockSet { words: vec![0; blocks.div_ceil(64)], blocks }
    }

    /// Every block.
    pub fn full(blocks: usize) -> BlockSet {
        let mut set = BlockSet { words: vec![u64::MAX; blocks.div_ceil(64)], blocks };
        if let Some(last) = set.words.last_mut()
            && !blocks.is_multiple_of(64)
        {
            *last = (1 << (blocks % 64)) - 1;
        }
        set
    }

    /// Adds a block; one that the segment does not have is not added.
    pub fn insert(&mut self, block: usize) {
        if block < self.blocks
            && let Some(word) = self.words.get_mut(block / 64)
        {
            *word |= 1 << (block % 64);
        }
    }

    /// Whether no block is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Keeps only what the other has as well.
    pub fn intersect(&mut self, other: &BlockSet) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    /// Takes the other in.
    pub fn unite(&mut self, other: &BlockSet) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    /// The blocks, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(at * 64 + bit as usize)
            })
        })
    }
}

/// Collects the keys of a segment's blocks.
#[derive(Debug, Default)]
pub(super) struct SealedBuilder {
    /// Key in the upper half, block in the lower, for each kind but networks.
    keys: [Vec<u64>; KINDS],
    networks: Vec<(u64, u32)>,
    blocks: Vec<u8>,
    totals: Totals,
}

impl SealedBuilder {
    pub(super) fn new(run: u32) -> SealedBuilder {
        SealedBuilder { totals: Totals { run, ..Totals::default() }, ..SealedBuilder::default() }
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Bytes that the sealed form takes at most.
    pub(super) fn bytes_max(&self) -> u64 {
        let keys: usize = self.keys.iter().map(Vec::len).sum();
        let sections = keys * 10 + self.networks.len() * 14 + self.blocks.len();
        // A page's tag is less than a hundredth; sections end with a page.
        (sections + sections / 100 + (SECTIONS + 1) * PAGE_BYTES) as u64
    }

    /// Adds a block; a summary that cannot be read says that it may hold anything.
    pub(super) fn add(&mut self, offset: u64, header: &BlockHeader, summary: &[u8]) {
        let block = self.totals.blocks as u32;
        self.totals.add(offset, header);
        self.blocks.extend_from_slice(&offset.to_le_bytes());
        self.blocks.extend_from_slice(&header.encode_sealed());
        let Ok(summary) = Summary::parse(summary) else {
            for flag in Summary::OPAQUE_FLAGS {
                self.keys[Kind::Flag as usize].push(u64::from(flag) << 32 | u64::from(block));
            }
            return;
        };
        let (keys, networks) = (&mut self.keys, &mut self.networks);
        summary.keys(&mut |kind, key| match kind {
            Kind::Network => networks.push((key, block)),
            _ => keys[kind as usize].push(key << 32 | u64::from(block)),
        });
    }

    /// The file's bytes. What was collected is sorted where it stands.
    pub(super) fn encode(&mut self, name: SegmentName, key: Option<&RingKey>) -> io::Result<Vec<u8>> {
        let mut out = Sections::new(self.totals.blocks as usize);
        for kind in Kind::ALL {
            out.begin(kind);
            match kind {
                Kind::Network => {
                    self.networks.sort_unstable();
                    self.networks.dedup();
                    for group in self.networks.chunk_by(|a, b| a.0 == b.0) {
                        out.put(kind, group[0].0, group.iter().map(|row| row.1));
                    }
                }
                _ => {
                    let rows = &mut self.keys[kind as usize];
                    rows.sort_unstable();
                    rows.dedup();
                    for group in rows.chunk_by(|a, b| a >> 32 == b >> 32) {
                        out.put(kind, group[0] >> 32, group.iter().map(|row| *row as u32));
                    }
                }
            }
            out.pages.end_section();
        }
        let Sections { mut pages, lists, firsts, mut places, .. } = out;
        for (section, bytes, entry_bytes) in
            [(KINDS, &self.blocks, BLOCK_ENTRY_BYTES), (KINDS + 1, &lists.bytes, 2), (KINDS + 2, &firsts, 8)]
        {
            places[section] = (pages.page(), (bytes.len() / entry_bytes) as u32);
            pages.put(bytes);
            pages.end_section();
        }
        pages.put(&footer(&self.totals, &places));
        let salt = if key.is_some() { new_salt()? } else { Default::default() };
        let header = IndexHeader { name, form: Form::Sealed, encrypted: key.is_some(), salt };
        let cipher = key.map(|key| Cipher::new(key, &salt, Purpose::Pages)).transpose()?;
        let mut out = header.encode().to_vec();
        out.extend_from_slice(&pages.finish(cipher.as_ref())?);
        Ok(out)
    }
}

/// Sections of keys on their way into pages.
struct Sections {
    pages: PageWriter,
    lists: Lists,
    firsts: Vec<u8>,
    places: [(u32, u32); SECTIONS],
    /// The blocks of the key at hand.
    blocks: Vec<u32>,
}

impl Sections {
    fn new(blocks: usize) -> Sections {
        Sections {
            pages: PageWriter::default(),
            lists: Lists::new(blocks),
            firsts: Vec::new(),
            places: [(0, 0); SECTIONS],
            blocks: Vec::new(),
        }
    }

    fn begin(&mut self, kind: Kind) {
        self.places[kind as usize] = (self.pages.page(), 0);
    }

    /// Adds a key and the blocks that hold it, in ascending order.
    fn put(&mut self, kind: Kind, key: u64, blocks: impl Iterator<Item = u32>) {
        self.blocks.clear();
        self.blocks.extend(blocks);
        let count = &mut self.places[kind as usize].1;
        if (*count as usize).is_multiple_of(kind.entries_per_page()) {
            self.firsts.extend_from_slice(&key.to_le_bytes());
        }
        *count += 1;
        let posting = self.lists.posting(&self.blocks).to_le_bytes();
        self.pages.put(&key.to_le_bytes()[..kind.key_bytes()]);
        self.pages.put(&posting);
    }
}

/// The lists that postings point to.
struct Lists {
    bytes: Vec<u8>,
    blocks: usize,
}

impl Lists {
    fn new(blocks: usize) -> Lists {
        Lists { bytes: Vec::new(), blocks }
    }

    /// Puts the blocks of one key where they take least; they are sorted and distinct.
    fn posting(&mut self, held_by: &[u32]) -> u32 {
        match held_by {
            [one] => *one & POSTING_MASK,
            [one, two] => 1 << POSTING_BITS | (one & 0x7fff) << 15 | (two & 0x7fff),
            held_by => {
                let at = (self.bytes.len() / 2) as u32 & POSTING_MASK;
                if held_by.len() + 1 < self.blocks.div_ceil(16) {
                    self.bytes.extend_from_slice(&(held_by.len() as u16).to_le_bytes());
                    held_by
                        .iter()
                        .for_each(|block| self.bytes.extend_from_slice(&(*block as u16).to_le_bytes()));
                    2 << POSTING_BITS | at
                } else {
                    let begin = self.bytes.len();
                    self.bytes.resize(begin + self.blocks.div_ceil(16) * 2, 0);
                    for block in held_by {
                        if let Some(byte) = self.bytes.get_mut(begin + *block as usize / 8) {
                            *byte |= 1 << (block % 8);
                        }
                    }
                    3 << POSTING_BITS | at
                }
            }
        }
    }
}

fn footer(totals: &Totals, sections: &[(u32, u32); SECTIONS]) -> Vec<u8> {
    let mut out = FOOTER_MAGIC.to_vec();
    out.extend_from_slice(&u64::from(totals.run).to_le_bytes());
    for value in [
        totals.used_bytes,
        totals.blocks,
        totals.frames,
        totals.frame_bytes,
        totals.left_out_bytes,
        totals.first_number,
        totals.last_number,
        totals.first_time.0,
        totals.last_time.0,
    ] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    for (page, count) in sections {
        out.extend_from_slice(&page.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
    }
    out
}

fn parse_footer(payload: &[u8]) -> Result<(Totals, [(u32, u32); SECTIONS]), FormatError> {
    const WHAT: &str = "index footer";
    let mut fields = Fields::new(payload, WHAT);
    if fields.take(8)? != FOOTER_MAGIC {
        return Err(FormatError::Magic { what: WHAT });
    }
    let run = fields.u64()? as u32;
    let totals = Totals {
        run,
        used_bytes: fields.u64()?,
        blocks: fields.u64()?,
        frames: fields.u64()?,
        frame_bytes: fields.u64()?,
        left_out_bytes: fields.u64()?,
        first_number: fields.u64()?,
        last_number: fields.u64()?,
        first_time: fields.time()?,
        last_time: fields.time()?,
    };
    let mut sections = [(0, 0); SECTIONS];
    for section in &mut sections {
        *section = (fields.u32()?, fields.u32()?);
    }
    let blocks = u64::from(sections[KINDS].1);
    if totals.blocks > BLOCKS_MAX || blocks != totals.blocks {
        return Err(FormatError::Value { what: "number of blocks", found: blocks, expected: totals.blocks });
    }
    Ok((totals, sections))
}

/// A sealed index, open for questions.
#[derive(Debug)]
pub struct SealedIndex {
    pages: PageReader,
    totals: Totals,
    sections: [(u32, u32); SECTIONS],
    /// First keys of the pages of all kinds, one kind after the other.
    firsts: Vec<u64>,
    scratch: Vec<u8>,
}

impl SealedIndex {
    /// Opens an index. An error: it is not in the sealed form, damaged, or sealed with another key.
    pub fn open(path: &Path, key: Option<&RingKey>) -> Result<SealedIndex, IndexError> {
        let file = File::open(path)?;
        let mut header = [0; INDEX_HEADER_BYTES];
        file.read_exact_at(&mut header, 0)?;
        let header = IndexHeader::decode(&header)?;
        if header.form != Form::Sealed {
            return Err(FormatError::Magic { what: "sealed index" }.into());
        }
        let cipher = match (header.encrypted, key) {
            (false, _) => None,
            (true, Some(key)) => Some(Cipher::new(key, &header.salt, Purpose::Pages)?),
            (true, None) => return Err(io::Error::from(io::ErrorKind::PermissionDenied).into()),
        };
        let length = file.metadata()?.len().saturating_sub(INDEX_HEADER_BYTES as u64);
        let count = u32::try_from(length / PAGE_BYTES as u64).unwrap_or(u32::MAX);
        let last = count.min(LAST_PAGES);
        let mut bytes = vec![0; last as usize * PAGE_BYTES];
        let from = count - last;
        file.read_exact_at(&mut bytes, INDEX_HEADER_BYTES as u64 + u64::from(from) * PAGE_BYTES as u64)?;
        let Some(end) = bytes.chunks_exact_mut(PAGE_BYTES).next_back() else {
            return Err(
                FormatError::Truncated { what: "sealed index", needed: PAGE_BYTES, available: 0 }.into()
            );
        };
        open_page(count - 1, end, cipher.as_ref())?;
        let (totals, sections) = parse_footer(&end[..PAYLOAD_BYTES])?;
        let (page, firsts) = sections[KINDS + 2];
        let mut pages = PageReader::new(file, cipher, count);
        let mut raw = Vec::with_capacity(LAST_PAGES as usize * PAGE_BYTES);
        // Every page of keys has one first key.
        if firsts > count {
            let (what, found, expected) = ("number of first keys", firsts.into(), count.into());
            return Err(FormatError::Value { what, found, expected }.into());
        }
        pages.take_over(from, bytes);
        pages.read(page, 0, firsts as usize * 8, &mut raw)?;
        let firsts = raw.as_chunks().0.iter().map(|first| u64::from_le_bytes(*first)).collect();
        let index = SealedIndex { pages, totals, sections, firsts, scratch: Vec::new() };
        let per_page = |kind: Kind| index.count(kind).div_ceil(kind.entries_per_page());
        let needed: usize = Kind::ALL.into_iter().map(per_page).sum();
        if needed != index.firsts.len() {
            let (what, found) = ("number of first keys", index.firsts.len() as u64);
            return Err(FormatError::Value { what, found, expected: needed as u64 }.into());
        }
        Ok(index)
    }

    /// What the segment holds in sum.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Blocks of the segment.
    pub fn blocks(&self) -> usize {
        self.totals.blocks as usize
    }

    /// Where a block begins, and its header.
    pub fn block(&mut self, block: usize) -> Result<(u64, BlockHeader), IndexError> {
        let first = self.sections[KINDS].0;
        self.scratch.clear();
        let offset = (block * BLOCK_ENTRY_BYTES) as u64;
        self.pages.read(first, offset, BLOCK_ENTRY_BYTES, &mut self.scratch)?;
        let mut fields = Fields::new(&self.scratch, "block of an index");
        let offset = fields.u64()?;
        Ok((offset, BlockHeader::decode(fields.rest())?))
    }

    /// The blocks that hold a key of this range.
    pub fn with_key(&mut self, kind: Kind, keys: RangeInclusive<u64>) -> Result<BlockSet, IndexError> {
        let mut found = BlockSet::empty(self.blocks());
        let (first_page, count) = self.sections[kind as usize];
        let (count, per_page) = (count as usize, kind.entries_per_page());
        let before: usize = Kind::ALL[..kind as usize]
            .iter()
            .map(|kind| self.count(*kind).div_ceil(kind.entries_per_page()))
            .sum();
        // Taken out while pages are read, which needs the rest of the index.
        let firsts = std::mem::take(&mut self.firsts);
        let own = firsts.get(before..before + count.div_ceil(per_page)).unwrap_or_default();
        let scanned = self.scan(kind, first_page, own, keys, &mut found);
        self.firsts = firsts;
        scanned.map(|()| found)
    }

    /// Adds the blocks of all keys of the range; `own` are the first keys of the kind's pages.
    fn scan(
        &mut self,
        kind: Kind,
        first_page: u32,
        own: &[u64],
        keys: RangeInclusive<u64>,
        found: &mut BlockSet,
    ) -> Result<(), IndexError> {
        let (count, per_page) = (self.count(kind), kind.entries_per_page());
        // The last page that begins at or before the range's begin.
        let mut page = own.partition_point(|first| first <= keys.start()).saturating_sub(1);
        while own.get(page).is_some_and(|first| first <= keys.end()) {
            let entries = (count - page * per_page).min(per_page) * kind.entry_bytes();
            let mut postings = std::mem::take(&mut self.scratch);
            postings.clear();
            let payload = self.pages.payload(first_page.saturating_add(page as u32))?;
            let entries = payload[..entries].chunks_exact(kind.entry_bytes());
            for entry in entries {
                let (key, posting) = entry.split_at(kind.key_bytes());
                let mut wide = [0; 8];
                wide[..key.len()].copy_from_slice(key);
                if keys.contains(&u64::from_le_bytes(wide)) {
                    postings.extend_from_slice(posting);
                }
            }
            for posting in postings.as_chunks().0 {
                self.add_posting(u32::from_le_bytes(*posting), found)?;
            }
            self.scratch = postings;
            page += 1;
        }
        Ok(())
    }

    /// Reads every page, so that damage shows.
    pub fn verify(&mut self) -> Result<(), IndexError> {
        for page in 0..self.pages.pages() {
            self.pages.payload(page)?;
        }
        for block in 0..self.blocks() {
            self.block(block)?;
        }
        Ok(())
    }

    /// Whether there is any key of this kind.
    pub fn has_keys(&self, kind: Kind) -> bool {
        self.count(kind) > 0
    }

    fn count(&self, kind: Kind) -> usize {
        self.sections[kind as usize].1 as usize
    }

    fn add_posting(&mut self, posting: u32, found: &mut BlockSet) -> Result<(), IndexError> {
        let value = (posting & POSTING_MASK) as usize;
        let list = posting >> POSTING_BITS;
        match list {
            0 => found.insert(value),
            1 => {
                found.insert(value >> 15);
                found.insert(value & 0x7fff);
            }
            _ => {
                let (first_page, lists) = (self.sections[KINDS + 1].0, self.sections[KINDS + 1].1 as usize);
                let pages = &mut self.pages;
                let mut read = |at: usize, count: usize, out: &mut Vec<u8>| {
                    if at + count > lists {
                        let (what, found, expected) = ("place of a list", (at + count) as u64, lists as u64);
                        return Err(IndexError::from(FormatError::Value { what, found, expected }));
                    }
                    pages.read(first_page, at as u64 * 2, count * 2, out)
                };
                let mut out = Vec::new();
                if list == 2 {
                    read(value, 1, &mut out)?;
                    let count = out.first_chunk().map_or(0, |count| u16::from_le_bytes(*count));
                    out.clear();
                    read(value + 1, count.into(), &mut out)?;
                    out.as_chunks()
                        .0
                        .iter()
                        .for_each(|block| found.insert(u16::from_le_bytes(*block).into()));
                } else {
                    read(value, found.blocks.div_ceil(16), &mut out)?;
                    for (at, byte) in out.iter().enumerate() {
                        (0..8).filter(|bit| byte & 1 << bit != 0).for_each(|bit| found.insert(at * 8 + bit));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The totals of a sealed index. None: it is not in the sealed form, damaged, sealed with another key, or not there.
pub fn sealed_totals(path: &Path, key: Option<&RingKey>) -> io::Result<Option<Totals>> {
    match SealedIndex::open(path, key) {
        Ok(index) => Ok(Some(index.totals)),
        Err(IndexError::Format(_)) => Ok(None),
        Err(IndexError::Io(error)) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::PermissionDenied => {
                Ok(None)
            }
            _ => Err(error),
        },
    }
}
