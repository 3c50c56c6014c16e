//! Memory for the payloads of fragments: fixed pages from one bounded pool.
//!
//! A datagram is a sparse buffer: only pages that a fragment touched are taken. So memory follows the
//! bytes that came, a lone fragment at the end of a datagram costs one page, and nothing is allocated
//! once the pool has grown to what the traffic needs.

/// Bytes per page. An Ethernet fragment touches one or two.
pub(super) const PAGE_BYTES: usize = 2048;
/// Pages of the longest datagram, 65,535 bytes.
const PAGES_PER_DATAGRAM: usize = 32;
/// No page.
const NONE: u32 = u32::MAX;

/// The pool.
pub(super) struct PagePool {
    #[expect(clippy::vec_box, reason = "growing by a page must not copy the pages there are")]
    pages: Vec<Box<[u8; PAGE_BYTES]>>,
    free: Vec<u32>,
    pages_max: usize,
}

/// A datagram's payload, as far as it was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct SparseBuffer([u32; PAGES_PER_DATAGRAM]);

impl SparseBuffer {
    /// Nothing written.
    pub(super) const EMPTY: SparseBuffer = SparseBuffer([NONE; PAGES_PER_DATAGRAM]);
}

impl PagePool {
    /// A pool of at most `bytes_max` bytes, rounded down to pages.
    pub(super) fn new(bytes_max: u32) -> PagePool {
        let pages_max = bytes_max as usize / PAGE_BYTES;
        PagePool { pages: Vec::new(), free: Vec::new(), pages_max }
    }

    /// Pages that can still be taken.
    pub(super) fn available(&self) -> usize {
        self.free.len() + self.pages_max.saturating_sub(self.pages.len())
    }

    /// Pages that writing `len` bytes at `at` would take.
    pub(super) fn needed(buffer: &SparseBuffer, at: usize, len: usize) -> usize {
        if len == 0 {
            return 0;
        }
        let touched = at / PAGE_BYTES..=(at + len - 1) / PAGE_BYTES;
        touched.filter(|page| buffer.0.get(*page).is_none_or(|page| *page == NONE)).count()
    }

    /// Writes bytes; false, with some of them written, when the pool or the datagram's range ends.
    pub(super) fn write(&mut self, buffer: &mut SparseBuffer, mut at: usize, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let Some(page) = buffer.0.get_mut(at / PAGE_BYTES) else { return false };
            if *page == NONE {
                match self.take() {
                    Some(taken) => *page = taken,
                    None => return false,
                }
            }
            let within = at % PAGE_BYTES;
            let (now, later) = bytes.split_at(bytes.len().min(PAGE_BYTES - within));
            let Some(target) = self.pages.get_mut(*page as usize) else { return false };
            target[within..within + now.len()].copy_from_slice(now);
            at += now.len();
            bytes = later;
        }
        true
    }

    /// Whether the bytes at `at` are these. Pages that were never written do not match.
    pub(super) fn matches(&self, buffer: &SparseBuffer, mut at: usize, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let within = at % PAGE_BYTES;
            let (now, later) = bytes.split_at(bytes.len().min(PAGE_BYTES - within));
            let page = buffer.0.get(at / PAGE_BYTES).and_then(|page| self.pages.get(*page as usize));
            if page.is_none_or(|page| page[within..within + now.len()] != *now) {
                return false;
            }
            at += now.len();
            bytes = later;
        }
        true
    }

    /// Copies the first `len` bytes out, all of which were written, behind what `into` has.
    pub(super) fn read(&self, buffer: &SparseBuffer, len: usize, into: &mut Vec<u8>) {
        let whole_len = into.len() + len;
        for page in buffer.0 {
            let missing = whole_len - into.len();
            let Some(page) = self.pages.get(page as usize) else { return };
            into.extend_from_slice(&page[..missing.min(PAGE_BYTES)]);
            if into.len() == whole_len {
                return;
            }
        }
    }

    /// Gives a datagram's pages back.
    pub(super) fn release(&mut self, buffer: &mut SparseBuffer) {
        self.free.extend(buffer.0.iter().copied().filter(|page| *page != NONE));
        *buffer = SparseBuffer::EMPTY;
    }

    fn take(&mut self) -> Option<u32> {
        if let Some(page) = self.free.pop() {
            return Some(page);
        }
        let next = u32::try_from(self.pages.len()).ok()?;
        (self.pages.len() < self.pages_max).then(|| {
            self.pages.push(Box::new([0; PAGE_BYTES]));
            next
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_across_pages_is_read() {
        let mut pool = PagePool::new(4 * PAGE_BYTES as u32);
        let mut buffer = SparseBuffer::EMPTY;
        let bytes: Vec<u8> = (0..5000u32).map(|i| i as u8).collect();
        assert!(pool.write(&mut buffer, 2000, &bytes[2000..]));
        assert_eq!(PagePool::needed(&buffer, 0, 2000), 0);
        assert!(pool.write(&mut buffer, 0, &bytes[..2000]));
        assert!(pool.matches(&buffer, 100, &bytes[100..4000]));
        assert!(!pool.matches(&buffer, 100, &bytes[101..4000]));
        let mut out = Vec::new();
        pool.read(&buffer, 5000, &mut out);
        assert_eq!(out, bytes);
        assert_eq!(pool.available(), 1);
        pool.release(&mut buffer);
        assert_eq!(pool.available(), 4);
    }

    #[test]
    fn a_full_pool_and_the_end_of_the_range_refuse() {
        let mut pool = PagePool::new(PAGE_BYTES as u32);
        let mut buffer = SparseBuffer::EMPTY;
        assert!(!pool.write(&mut buffer, PAGE_BYTES - 1, &[1, 2]));
        pool.release(&mut buffer);
        assert!(pool.write(&mut buffer, 65_535, &[1]));
        pool.release(&mut buffer);
        assert!(!pool.write(&mut buffer, 65_536, &[1]));
    }
}
