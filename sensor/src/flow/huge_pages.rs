//! Asks the kernel for huge pages under the flow table's memory.
//!
//! A table of a million flows is hundreds of megabytes, touched at random: with 4 KiB pages every look-up also
//! misses the processor's table of pages. Where the kernel does not grant it, nothing changes.
#![allow(unsafe_code, reason = "madvise has no safe wrapper")]

use nix::sys::mman::{MmapAdvise, madvise};
use std::ptr::NonNull;

/// Smallest page there is; the start of an advised range must be a multiple of the page.
const PAGE_BYTES: usize = 4096;
/// The size of a huge page: less memory than this cannot become one.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Advises that a vector's memory, used or spare, be backed by huge pages. To be called before it is written to.
pub(super) fn advise<T>(memory: &mut Vec<T>) {
    let bytes = memory.capacity() * size_of::<T>();
    let Some(start) = NonNull::new(memory.as_mut_ptr().cast::<u8>()) else { return };
    let skipped = start.align_offset(PAGE_BYTES);
    if bytes < HUGE_PAGE_BYTES || skipped >= bytes {
        return;
    }
    // SAFETY: `skipped` is less than the allocation's length, so the sum stays within it.
    let start = unsafe { start.add(skipped) };
    // SAFETY: the range lies within one allocation, which the caller borrows to us; this advice changes how the
    // kernel backs the memory and neither its contents nor whether it is mapped.
    let advised = unsafe { madvise(start.cast(), bytes - skipped, MmapAdvise::MADV_HUGEPAGE) };
    // A kernel without huge pages says EINVAL, which is as good as its never finding one.
    let _ = advised;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_leaves_contents_as_they_are() {
        for capacity in [0, 1, HUGE_PAGE_BYTES - 1, HUGE_PAGE_BYTES, 3 * HUGE_PAGE_BYTES + 5] {
            let mut memory: Vec<u8> = Vec::with_capacity(capacity);
            memory.resize(capacity / 2, 7);
            advise(&mut memory);
            memory.resize(capacity, 9);
            assert!(memory[..capacity / 2].iter().all(|byte| *byte == 7));
            assert!(memory[capacity / 2..].iter().all(|byte| *byte == 9));
        }
    }
}
