//! CRYPTO frames (RFC 9000 section 19.6), which carry the handshake.
//!
//! In: the frames of an Initial packet. Out: the pieces of the handshake in them.

use super::packet::variable;
use crate::dpi::tls::pieces::Pieces;

/// Takes the CRYPTO frames out of a packet. False: the frames contradict the protocol.
pub(super) fn take_crypto_frames(mut frames: &[u8], pieces: &mut Pieces) -> bool {
    while let Some((kind, rest)) = variable(frames) {
        let rest = match kind {
            // PADDING and PING.
            0 => {
                let padding = rest.iter().take_while(|byte| **byte == 0).count();
                rest.get(padding..)
            }
            1 => Some(rest),
            2 | 3 => skip_acknowledgement(rest, kind == 3),
            // 8 is Google's number for the same (T050, T051).
            6 | 8 => take_crypto_frame(rest, pieces),
            // What closes the connection is the last of interest.
            0x1c => return true,
            _ => None,
        };
        match rest {
            Some(rest) => frames = rest,
            None => return false,
        }
    }
    true
}

fn take_crypto_frame<'a>(frame: &'a [u8], pieces: &mut Pieces) -> Option<&'a [u8]> {
    let (offset, rest) = variable(frame)?;
    let (length, rest) = variable(rest)?;
    let (data, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    if let Ok(offset) = usize::try_from(offset) {
        pieces.put(offset, data);
    }
    Some(rest)
}

fn skip_acknowledgement(bytes: &[u8], counts_congestion: bool) -> Option<&[u8]> {
    let (_, rest) = variable(bytes)?;
    let (_, rest) = variable(rest)?;
    let (ranges, rest) = variable(rest)?;
    let (_, mut rest) = variable(rest)?;
    let counts = if counts_congestion { 3 } else { 0 };
    // Every number takes a byte at least, so that a lie ends with the packet.
    for _ in 0..ranges.checked_mul(2)?.checked_add(counts)? {
        (_, rest) = variable(rest)?;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crypto(offset: u8, data: &[u8]) -> Vec<u8> {
        [&[6, offset, data.len() as u8], data].concat()
    }

    #[test]
    fn other_frames_are_passed_over_and_lies_are_refused() {
        let mut pieces = Pieces::default();
        let frames = [&[2, 9, 0, 1, 2, 3, 4][..], &[0, 0, 1], &[3, 9, 0, 0, 2, 1, 1, 1], &crypto(0, b"a")];
        assert!(take_crypto_frames(&frames.concat(), &mut pieces));
        assert_eq!(pieces.front(), b"a");
        for lie in [&[2, 9, 0, 0x3f, 2, 3, 4][..], &[6, 0, 9, 1], &[9, 0]] {
            assert!(!take_crypto_frames(lie, &mut pieces), "{lie:?}");
        }
    }
}
