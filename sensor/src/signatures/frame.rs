//! Frames that matched, as their alerts tell them.
//!
//! In: the side of a frame. Out: EVE's `frame`. It keeps what it tells of the frame, because an alert may be told when
//! the side is gone.

use super::alert::printable;
use crate::dpi::buffers::{Buffer, Frame, Side};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weir_common::json::Object;
use weir_common::net::Direction;

/// Most bytes of a frame that its alert tells, as in Suricata.
const BYTES_MAX: usize = 4095;

/// A frame that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFrame {
    buffer: Buffer,
    frame: Frame,
    /// Bytes of it that were not seen.
    missing: u64,
    bytes: Box<[u8]>,
}

impl FoundFrame {
    /// None: the side is no frame.
    pub fn of(side: &Side) -> Option<FoundFrame> {
        let mut frame = side.frame?;
        let (buffer, bytes) = side.values().next()?;
        let seen = bytes.len() as u64;
        frame.length = frame.length.max(seen);
        let bytes = bytes.get(..BYTES_MAX).unwrap_or(bytes).into();
        Some(FoundFrame { buffer, frame, missing: frame.length - seen, bytes })
    }

    /// Writes the members of `frame`. `direction`: who sent it.
    pub fn write(&self, direction: Direction, object: &mut Object<'_>) {
        let name = self.buffer.keyword().trim_start_matches("frame:");
        object.text("type", name.split_once('.').map_or(name, |(_, name)| name));
        object.text("direction", if direction == Direction::Forward { "toserver" } else { "toclient" });
        object.number("length", self.frame.length).bool("complete", self.missing == 0);
        if let Some(transaction) = self.frame.transaction {
            object.number("tx_id", transaction);
        }
        object.text("payload", &STANDARD.encode(&self.bytes));
        let mut text = printable(&self.bytes);
        if self.missing > 0 && self.bytes.len() < BYTES_MAX {
            text.push_str(&format!("[{} bytes missing]", self.missing));
        }
        object.text("payload_printable", &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::buffers::Sides;
    use weir_common::app::App;

    fn written(length: u64, transaction: Option<u64>, bytes: &[u8]) -> serde_json::Value {
        let mut sides = Sides::default();
        let frame = Frame { length, transaction };
        let number = sides.begin_frame(
            App::Smb,
            Direction::Reverse,
            Buffer::of("frame:smb.smb2.data").unwrap(),
            frame,
        );
        sides.frame_bytes(number.unwrap(), bytes);
        let found = FoundFrame::of(sides.iter_mut().next().unwrap()).unwrap();
        let mut out = Vec::new();
        found.write(Direction::Reverse, &mut Object::begin(&mut out));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_frame_is_told_with_its_bytes() {
        let whole = serde_json::json!({
            "type": "smb2.data", "direction": "toclient", "length": 3, "complete": true, "tx_id": 7,
            "payload": "YQAK", "payload_printable": "a.\n",
        });
        assert_eq!(written(3, Some(7), b"a\0\n"), whole);
    }

    #[test]
    fn what_was_not_seen_of_a_frame_is_told() {
        let part = written(10, None, b"abc");
        assert_eq!(part["complete"], false);
        assert_eq!(part["length"], 10);
        assert_eq!(part["payload_printable"], "abc[7 bytes missing]");
        assert!(part.get("tx_id").is_none());
    }

    #[test]
    fn a_frame_without_a_length_is_as_long_as_what_was_seen() {
        assert_eq!(written(0, None, b"abc")["length"], 3);
        let long = written(0, None, &[b'x'; 5000]);
        assert_eq!((&long["length"], &long["complete"]), (&5000.into(), &true.into()));
        assert_eq!(long["payload_printable"].as_str().map(str::len), Some(BYTES_MAX));
    }
}
