//! What an alert quotes of a stream: the newest bytes of what its sender said last.
//!
//! In: a direction's segments, in whatever order. Out: their bytes in the stream's order, the first of those that
//! overlap, and where bytes are missing a note of how many, in Suricata's words. What is quoted begins anew when its
//! sender speaks again after the other end has. Only made where alerts are to carry payloads
//! (`signatures.alert_payload`), since it copies every byte.

use crate::decode::Tcp;
use std::collections::VecDeque;
use weir_common::net::Direction;
use weir_common::record::tcp_flags;

/// Most pieces that one direction is held in; of more the oldest is forgotten.
const PIECES_MAX: usize = 16;

/// What is quoted of both directions of a flow.
#[derive(Debug, Default)]
pub struct Excerpts {
    directions: [Excerpt; 2],
    spoke_last: Option<Direction>,
}

/// The newest bytes of one direction.
#[derive(Debug, Default)]
struct Excerpt {
    /// Sequence number of the stream's first byte, or of the first that was seen.
    origin: Option<u32>,
    /// Where what is quoted begins, from there.
    begin: u64,
    /// Where what was seen ends.
    end: u64,
    pieces: VecDeque<Piece>,
}

/// Bytes that follow one another.
#[derive(Debug)]
struct Piece {
    begin: u64,
    bytes: Vec<u8>,
}

impl Piece {
    fn end(&self) -> u64 {
        self.begin.saturating_add(self.bytes.len() as u64)
    }
}

impl Excerpts {
    /// Takes up a segment, and forgets what lies more than `bytes_max` before its end.
    pub fn segment(&mut self, tcp: &Tcp, payload: &[u8], direction: Direction, bytes_max: usize) {
        let excerpt = &mut self.directions[direction.index()];
        let has_syn = tcp.flags & tcp_flags::SYN != 0;
        let sequence = tcp.sequence.wrapping_add(u32::from(has_syn));
        if has_syn && excerpt.pieces.is_empty() {
            excerpt.origin = Some(sequence);
        }
        if payload.is_empty() || tcp.flags & tcp_flags::RST != 0 {
            return;
        }
        if self.spoke_last == Some(direction.flip()) {
            excerpt.pieces.clear();
            excerpt.begin = excerpt.end;
        }
        self.spoke_last = Some(direction);
        excerpt.push(sequence, payload, bytes_max);
    }

    /// What is quoted of a direction, at most `bytes_max`.
    pub fn text(&self, direction: Direction, bytes_max: usize) -> Vec<u8> {
        let excerpt = &self.directions[direction.index()];
        let (mut out, mut at) = (Vec::new(), excerpt.begin);
        for piece in &excerpt.pieces {
            if piece.begin > at {
                out.extend_from_slice(format!("[{} bytes missing]", piece.begin - at).as_bytes());
            }
            out.extend_from_slice(&piece.bytes);
            at = piece.end();
        }
        out.truncate(bytes_max);
        out
    }

    /// The flow's ends were exchanged.
    pub fn swap_directions(&mut self) {
        self.directions.swap(0, 1);
        self.spoke_last = self.spoke_last.map(Direction::flip);
    }
}

impl Excerpt {
    fn push(&mut self, sequence: u32, payload: &[u8], bytes_max: usize) {
        let origin = *self.origin.get_or_insert(sequence);
        // Sequence numbers go round (RFC 9293 section 3.4): the one that is nearest to where the stream ended is meant.
        let end = origin.wrapping_add(self.end as u32);
        let distance = i64::from(sequence.wrapping_sub(end).cast_signed());
        // What lies before the stream's beginning is none of it.
        let before = self
            .end
            .checked_add_signed(distance)
            .map_or_else(|| distance.unsigned_abs().saturating_sub(self.end), |_| 0);
        let begin = self.end.saturating_add_signed(distance);
        let skipped = self.begin.saturating_sub(begin).saturating_add(before);
        let Some(payload) = usize::try_from(skipped).ok().and_then(|skipped| payload.get(skipped..)) else {
            return;
        };
        self.add(begin.max(self.begin), payload);
        while self.pieces.len() > PIECES_MAX {
            self.pieces.pop_front();
            self.begin = self.pieces.front().map_or(self.begin, |piece| piece.begin);
        }
        let mut surplus =
            self.pieces.iter().map(|piece| piece.bytes.len()).sum::<usize>().saturating_sub(bytes_max);
        while surplus > 0 {
            let Some(first) = self.pieces.front_mut() else { return };
            let cut = surplus.min(first.bytes.len());
            first.bytes.drain(..cut);
            first.begin = first.begin.saturating_add(cut as u64);
            self.begin = first.begin;
            surplus -= cut;
            if first.bytes.is_empty() {
                self.pieces.pop_front();
            }
        }
    }

    /// Adds what of the bytes is not there yet.
    fn add(&mut self, mut begin: u64, mut bytes: &[u8]) {
        self.end = self.end.max(begin.saturating_add(bytes.len() as u64));
        let mut index = 0;
        while !bytes.is_empty() {
            let Some(piece) = self.pieces.get_mut(index) else {
                match self.pieces.back_mut().filter(|last| last.end() == begin) {
                    Some(last) => last.bytes.extend_from_slice(bytes),
                    None => self.pieces.push_back(Piece { begin, bytes: bytes.to_vec() }),
                }
                return;
            };
            if begin >= piece.end() {
                index += 1;
                continue;
            }
            let before =
                usize::try_from(piece.begin.saturating_sub(begin)).unwrap_or(usize::MAX).min(bytes.len());
            let overlap =
                usize::try_from(piece.end().saturating_sub(begin.max(piece.begin))).unwrap_or(usize::MAX);
            let (fresh, rest) = bytes.split_at(before);
            let known = overlap.min(rest.len());
            let at = begin;
            begin = begin.saturating_add((before + known) as u64);
            bytes = rest.get(known..).unwrap_or_default();
            if !fresh.is_empty() {
                self.pieces.insert(index, Piece { begin: at, bytes: fresh.to_vec() });
                index += 1;
            }
            index += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: Direction = Direction::Forward;

    fn said(segments: &[(Direction, u32, u16, &str)]) -> String {
        let mut excerpts = Excerpts::default();
        for (direction, sequence, flags, text) in segments {
            let (sequence, flags) = (*sequence, *flags);
            let tcp = Tcp { source: 1, destination: 2, sequence, acknowledgement: 0, flags, window: 0 };
            excerpts.segment(&tcp, text.as_bytes(), *direction, 16);
        }
        String::from_utf8(excerpts.text(THERE, 64)).unwrap()
    }

    #[test]
    fn segments_are_quoted_in_the_streams_order_and_the_first_of_what_overlaps() {
        assert_eq!(said(&[(THERE, 10, 0, "GOOD"), (THERE, 10, 0, "EVIL")]), "GOOD");
        assert_eq!(said(&[(THERE, 10, 0, "GOOD"), (THERE, 12, 0, "XXX")]), "GOODX");
        assert_eq!(said(&[(THERE, 10, 0, "ab"), (THERE, 14, 0, "ef"), (THERE, 8, 0, "yzABCDEF")]), "abCDef");
        let wrapped = said(&[(THERE, u32::MAX - 1, 0, "ab"), (THERE, 2, 0, "ef"), (THERE, 0, 0, "cd")]);
        assert_eq!(wrapped, "abcdef");
    }

    #[test]
    fn what_is_missing_is_noted() {
        assert_eq!(said(&[(THERE, 1, 0, "VERY"), (THERE, 9, 0, "DATA")]), "VERY[4 bytes missing]DATA");
        let leading = said(&[(THERE, 0, tcp_flags::SYN, ""), (THERE, 5, 0, "GOOD"), (THERE, 9, 0, "DATA")]);
        assert_eq!(leading, "[4 bytes missing]GOODDATA");
    }

    #[test]
    fn it_begins_anew_when_the_other_end_has_spoken_and_keeps_the_newest() {
        let turned =
            [(THERE, 1, 0, "one"), (THERE.flip(), 1, 0, "yes"), (THERE, 4, 0, "two"), (THERE, 7, 0, "!")];
        assert_eq!(said(&turned), "two!");
        assert_eq!(said(&[(THERE, 1, 0, "0123456789"), (THERE, 11, 0, "abcdefghij")]), "456789abcdefghij");
        assert_eq!(said(&[(THERE, 1, 0, "0123456789abcdefghij"), (THERE, 1, 0, "0123")]), "456789abcdefghij");
    }

    #[test]
    fn hostile_numbers_are_survived() {
        let mut excerpts = Excerpts::default();
        let mut sequence = 7_u32;
        for round in 0..2000_u32 {
            sequence = sequence.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let flags = if round % 97 == 0 { tcp_flags::SYN } else { 0 };
            let tcp = Tcp { source: 1, destination: 2, sequence, acknowledgement: 0, flags, window: 0 };
            let direction = if round % 5 == 0 { THERE.flip() } else { THERE };
            excerpts.segment(&tcp, &[b'x'; 9][..(sequence >> 29) as usize], direction, 16);
            assert!(excerpts.directions.iter().all(|excerpt| excerpt.pieces.len() <= PIECES_MAX));
            assert!(excerpts.text(THERE, 40).len() <= 40);
        }
    }
}
