//! Pages: how a sealed index lies on disk, so that a question reads only what it needs and verifies that.
//!
//! In: sections of bytes. Out: pages of 4096 bytes behind the file's header, each with 4080 bytes of payload and
//! a tag of 16: a checksum over payload and page number, or, with a key, the tag that AES-GCM gives. A section
//! begins on a page of its own, so that entries of 8, 12 and 136 bytes never lie across two.

use super::super::cipher::Cipher;
use super::super::format::{FormatError, TAG_BYTES};
use super::INDEX_HEADER_BYTES;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a page.
pub(super) const PAGE_BYTES: usize = 4096;
/// Bytes of a page that sections fill.
pub(super) const PAYLOAD_BYTES: usize = PAGE_BYTES - TAG_BYTES;

/// Puts sections into pages, in memory.
#[derive(Debug, Default)]
pub(super) struct PageWriter {
    out: Vec<u8>,
}

impl PageWriter {
    /// The page that the next section begins on.
    pub(super) fn page(&self) -> u32 {
        (self.out.len() / PAGE_BYTES) as u32
    }

    /// Appends to the section at hand.
    pub(super) fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = PAYLOAD_BYTES - self.out.len() % PAGE_BYTES;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.out.extend_from_slice(now);
            if now.len() == room {
                self.out.extend_from_slice(&[0; TAG_BYTES]);
            }
            bytes = later;
        }
    }

    /// Ends the section at hand with its page.
    pub(super) fn end_section(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(PAGE_BYTES), 0);
    }

    /// All pages with their tags.
    pub(super) fn finish(mut self, cipher: Option<&Cipher>) -> io::Result<Vec<u8>> {
        self.end_section();
        for (number, page) in self.out.chunks_exact_mut(PAGE_BYTES).enumerate() {
            let (payload, tag) = page.split_at_mut(PAYLOAD_BYTES);
            match cipher {
                Some(cipher) => tag.copy_from_slice(&cipher.seal(number as u64, 0, payload)?),
                None => tag[..4].copy_from_slice(&checksum(number as u32, payload).to_le_bytes()),
            }
        }
        Ok(self.out)
    }
}

fn checksum(number: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(payload);
    hasher.update(&number.to_le_bytes());
    hasher.finalize()
}

/// Verifies a page and opens it in place.
pub(super) fn open_page(number: u32, page: &mut [u8], cipher: Option<&Cipher>) -> Result<(), FormatError> {
    let wrong = FormatError::Checksum { what: "index page" };
    let Some((payload, tag)) = page.split_last_chunk_mut::<TAG_BYTES>() else { return Err(wrong) };
    let sound = match cipher {
        Some(cipher) => cipher.open(number.into(), 0, payload, tag),
        None => tag[..4] == checksum(number, payload).to_le_bytes() && tag[4..] == [0; TAG_BYTES - 4],
    };
    if sound { Ok(()) } else { Err(wrong) }
}

/// Why pages cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file cannot be read.
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
    /// What is there is not what was written.
    #[error("{0}")]
    Format(#[from] FormatError),
}

/// Reads pages of a file; keeps the one read last, because questions come in order of place.
#[derive(Debug)]
pub(super) struct PageReader {
    file: File,
    cipher: Option<Cipher>,
    pages: u32,
    held: Option<u32>,
    page: Box<[u8; PAGE_BYTES]>,
    /// The last pages as they were read when the file was opened, from this number on; not verified yet but the
    /// very last.
    last: (u32, Vec<u8>),
}

impl PageReader {
    pub(super) fn new(file: File, cipher: Option<Cipher>, pages: u32) -> PageReader {
        PageReader {
            file,
            cipher,
            pages,
            held: None,
            page: Box::new([0; PAGE_BYTES]),
            last: (pages, Vec::new()),
        }
    }

    /// Takes over pages from `first` to the last that were read already; the very last one was opened.
    pub(super) fn take_over(&mut self, first: u32, bytes: Vec<u8>) {
        let without_last = bytes.len().saturating_sub(PAGE_BYTES);
        self.last = (first, bytes);
        self.last.1.truncate(without_last);
    }

    pub(super) fn pages(&self) -> u32 {
        self.pages
    }

    /// The payload of a page.
    pub(super) fn payload(&mut self, number: u32) -> Result<&[u8], IndexError> {
        if self.held != Some(number) {
            self.held = None;
            if number >= self.pages {
                let (found, expected) = (number.into(), self.pages.into());
                return Err(FormatError::Value { what: "index page", found, expected }.into());
            }
            let at = INDEX_HEADER_BYTES as u64 + u64::from(number) * PAGE_BYTES as u64;
            let known = number.checked_sub(self.last.0).map(|at| at as usize * PAGE_BYTES);
            match known.and_then(|at| self.last.1.get(at..at + PAGE_BYTES)) {
                Some(bytes) => self.page.copy_from_slice(bytes),
                None => self.file.read_exact_at(&mut self.page[..], at)?,
            }
            open_page(number, &mut self.page[..], self.cipher.as_ref())?;
            self.held = Some(number);
        }
        Ok(&self.page[..PAYLOAD_BYTES])
    }

    /// Appends `length` bytes at `offset` of the section that begins on `first_page` to `out`.
    pub(super) fn read(
        &mut self,
        first_page: u32,
        offset: u64,
        length: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), IndexError> {
        let (mut at, end) = (offset, offset.saturating_add(length as u64));
        while at < end {
            let number = u64::from(first_page) + at / PAYLOAD_BYTES as u64;
            let within = (at % PAYLOAD_BYTES as u64) as usize;
            let count = (PAYLOAD_BYTES - within).min((end - at) as usize);
            let payload = self.payload(u32::try_from(number).unwrap_or(u32::MAX))?;
            out.extend_from_slice(&payload[within..within + count]);
            at += count as u64;
        }
        Ok(())
    }
}
