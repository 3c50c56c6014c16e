//! Which parts somebody looks into: the others are not copied.
//!
//! In: what rules name. Out: whether a part or a number is worth being kept, asked for each that dissectors could tell.

use super::{Buffer, Number};

/// Which parts are worth being kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    buffers: Bits,
    numbers: Bits,
    /// Somebody looks at what is odd (`app-layer-event`).
    pub anomalies: bool,
    /// Somebody asks whether there are transactions at all.
    pub any: bool,
}

type Bits = [u64; 8];

const _: () = assert!(Buffer::COUNT <= 512 && Number::COUNT <= 512, "Bits holds 512");

impl Wanted {
    /// Everything.
    pub fn all() -> Wanted {
        Wanted { buffers: [u64::MAX; 8], numbers: [u64::MAX; 8], anomalies: true, any: true }
    }

    /// All but frames.
    #[cfg(test)]
    pub fn all_but_frames() -> Wanted {
        let mut all = Wanted::all();
        let frames = Buffer::ALL.into_iter().filter(|buffer| buffer.keyword().starts_with("frame:"));
        for at in frames.map(|buffer| usize::from(buffer as u16)) {
            all.buffers[at / 64] &= !(1 << (at % 64));
        }
        all
    }

    /// This one is.
    pub fn want(&mut self, buffer: Buffer) {
        set(&mut self.buffers, buffer as u16);
    }

    /// This one is.
    pub fn want_number(&mut self, number: Number) {
        set(&mut self.numbers, number as u16);
    }

    /// Whether it is.
    #[inline]
    pub fn has(&self, buffer: Buffer) -> bool {
        has(&self.buffers, buffer as u16)
    }

    /// Whether it is.
    #[inline]
    pub fn has_number(&self, number: Number) -> bool {
        has(&self.numbers, number as u16)
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        *self == Wanted::default()
    }
}

fn set(bits: &mut Bits, at: u16) {
    if let Some(word) = bits.get_mut(usize::from(at / 64)) {
        *word |= 1 << (at % 64);
    }
}

#[inline]
fn has(bits: &Bits, at: u16) -> bool {
    bits.get(usize::from(at / 64)).is_some_and(|word| word & 1 << (at % 64) != 0)
}
