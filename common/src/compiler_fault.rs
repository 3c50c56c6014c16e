//! The project's guard against a known fault of rustc 1.95.0, checked at the flags of this build.
//!
//! At opt-level 2 and 3 a five-byte `Copy` struct that a loop takes out of a `Result` can arrive as
//! zeros. `.cargo/config.toml` switches off the LLVM sub-pass at fault; this test fails when a build
//! leaves that out. It says nothing in a debug build, which is why `scripts/test` tests the release
//! profile.

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    #[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd)]
    struct Net {
        address: [u8; 4],
        length: u8,
    }

    impl Net {
        #[inline]
        fn new(address: [u8; 4], length: u8) -> Result<Net, ()> {
            if length > 32 { Err(()) } else { Ok(Net { address, length }) }
        }
    }

    #[inline(never)]
    fn distinct(prefixes: &[([u8; 4], u32)]) -> (usize, usize, u8) {
        let mut tree = BTreeMap::new();
        let mut table = HashMap::new();
        for (index, (address, length)) in prefixes.iter().enumerate() {
            table.insert((*address, *length), index);
            tree.insert(Net::new(*address, *length as u8).unwrap(), index);
        }
        (tree.len(), table.len(), tree.keys().next().unwrap().length)
    }

    #[test]
    fn small_copy_structs_survive_a_loop_of_unwraps() {
        let prefixes: Vec<_> =
            (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761).to_be_bytes(), 12 + i % 17)).collect();
        assert_eq!(distinct(&prefixes), (5000, 5000, 12));
    }
}
