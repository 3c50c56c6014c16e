//! Leaving ciphertext out of a frame, with a receipt, and what that gains.
//!
//! In: a frame, its payload, and how much of that is worth keeping. Out: the frame without the rest, and the
//! receipt for it; or nothing, where leaving out would gain nothing or the frame is not plainly what its
//! headers say: one that the capture itself has cut, or one that does not end with its payload. Decides
//! nothing about flows and reads no header.

use super::RingStatus;
use super::entry::LeftOut;
use crate::capture::Frame;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Fewest bytes that are left out: a receipt takes up to 19 bytes that do not compress, and time.
pub const LEFT_OUT_BYTES_MIN: usize = 64;

/// The frame with only the first `kept` bytes of its payload. None: it is to be kept whole.
#[inline]
pub fn shorten<'a>(frame: &Frame<'a>, payload: &[u8], kept: usize) -> Option<(Frame<'a>, LeftOut)> {
    let begin = frame.data.len().checked_sub(payload.len())?;
    let is_plain = frame.wire_len as usize == frame.data.len()
        && frame.data.get(begin..).is_some_and(|end| std::ptr::eq(end, payload));
    if !is_plain {
        return None;
    }
    let (data, rest) = frame.data.split_at_checked(begin.checked_add(kept)?)?;
    (rest.len() >= LEFT_OUT_BYTES_MIN).then(|| (Frame { data, ..*frame }, LeftOut::of(rest)))
}

/// What leaving out has gained since the ring was opened.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Gain {
    /// Frames shortened.
    pub frames: u64,
    /// Bytes left out of them.
    pub bytes_left_out: u64,
    /// Which part of all captured bytes that is, 0 to 1.
    pub captured_share: f64,
    /// How many times as long the history of the same disk space gets, taking what is left out for bytes
    /// that would not have compressed.
    pub history_factor: f64,
}

impl Gain {
    /// The gain; none when nothing was left out. `captured_bytes` are those of all frames, whole.
    pub fn of(status: &RingStatus, captured_bytes: u64) -> Option<Gain> {
        let (frames, bytes_left_out) = (status.frames_cut_off, status.left_out_bytes);
        let on_disk = status.stored_bytes + status.index_bytes;
        if bytes_left_out == 0 || on_disk == 0 {
            return None;
        }
        Some(Gain {
            frames,
            bytes_left_out,
            captured_share: bytes_left_out as f64 / captured_bytes.max(bytes_left_out) as f64,
            history_factor: (on_disk + bytes_left_out) as f64 / on_disk as f64,
        })
    }
}

impl fmt::Display for Gain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cut off: {} frames, {:.1} MB left out = {:.0} % of captured bytes; the ring reaches {:.2} times as far back",
            self.frames,
            self.bytes_left_out as f64 / 1e6,
            self.captured_share * 100.0,
            self.history_factor
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::LinkType;
    use weir_common::time::Timestamp;

    fn frame(data: &[u8]) -> Frame<'_> {
        let (time, link) = (Timestamp(7), LinkType::ETHERNET);
        Frame { time, link, interface: 3, wire_len: data.len() as u32, data }
    }

    #[test]
    fn the_frame_keeps_its_headers_and_wire_length_and_the_receipt_proves_the_rest() {
        let data: Vec<u8> = (0..200).collect();
        let (short, left_out) = shorten(&frame(&data), &data[54..], 8).unwrap();
        assert_eq!(
            (short.data, short.wire_len, short.time, short.interface),
            (&data[..62], 200, Timestamp(7), 3)
        );
        assert_eq!(left_out, LeftOut::of(&data[62..]));
        assert_eq!(left_out.bytes, 138);
        assert_eq!(&left_out.hash, &blake3::hash(&data[62..]).as_bytes()[..16]);
        assert_ne!(left_out.hash, LeftOut::of(&data[61..]).hash);
    }

    #[test]
    fn what_gains_too_little_is_kept_whole() {
        let data = [0; 54 + 8 + LEFT_OUT_BYTES_MIN];
        assert!(shorten(&frame(&data), &data[54..], 8).is_some());
        let data = &data[1..];
        assert!(shorten(&frame(data), &data[54..], 8).is_none());
        assert!(shorten(&frame(data), &[], 8).is_none());
        assert!(shorten(&frame(data), &data[54..], usize::MAX).is_none());
    }

    #[test]
    fn frames_that_are_not_plain_are_kept_whole() {
        let data = [0; 300];
        let cut = Frame { wire_len: 301, ..frame(&data) };
        assert!(shorten(&cut, &data[54..], 8).is_none(), "cut by the capture");
        let lying = Frame { wire_len: 299, ..frame(&data) };
        assert!(shorten(&lying, &data[54..], 8).is_none(), "a wire length below the captured one");
        assert!(shorten(&frame(&data), &data[54..299], 8).is_none(), "a trailer");
        let elsewhere = [0; 246];
        assert!(shorten(&frame(&data), &elsewhere, 8).is_none(), "a payload put together from fragments");
        assert!(shorten(&frame(&data), &[0; 301], 8).is_none());
    }

    #[test]
    fn the_gain_is_told_in_numbers_and_words() {
        let status = RingStatus {
            frames_cut_off: 123,
            left_out_bytes: 45_600_000,
            stored_bytes: 70_000_000,
            index_bytes: 1_000_000,
            ..RingStatus::default()
        };
        let gain = Gain::of(&status, 120_000_000).unwrap();
        assert_eq!(
            gain.to_string(),
            "cut off: 123 frames, 45.6 MB left out = 38 % of captured bytes; the ring reaches 1.64 times as far back"
        );
        assert_eq!(Gain::of(&RingStatus { left_out_bytes: 0, ..status }, 120_000_000), None);
    }
}
