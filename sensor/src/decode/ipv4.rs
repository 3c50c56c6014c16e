//! The IPv4 header (RFC 791).
//!
//! Options are passed over unread. The header checksum is not verified: offload leaves it wrong on
//! the sender's own captures, and what a broken header says is still what was on the wire.

use super::error::Undecoded;
use super::fragments::Fragment;
use super::{Ip, Layer};
use weir_common::net::Address;

/// Reads an IPv4 header. `wire` is how many bytes the wire had from here on, link padding included.
#[inline]
pub(super) fn parse(bytes: &[u8], wire: u32) -> Result<Layer<'_>, Undecoded> {
    let first = *bytes.first().ok_or(Undecoded::Truncated)?;
    let header_len = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header_len < 20 {
        return Err(Undecoded::Malformed);
    }
    let header = bytes.first_chunk::<20>().ok_or(Undecoded::Truncated)?;
    let total_len = u32::from(u16::from_be_bytes([header[2], header[3]]));
    // Segmentation offload leaves the length to the hardware, as 0.
    let octets = if total_len == 0 { wire } else { total_len };
    let declared = (octets as usize).checked_sub(header_len).ok_or(Undecoded::Malformed)?;
    // Where even the options are cut off, the addresses are still good.
    let captured = bytes.get(header_len..).unwrap_or_default();
    let payload = captured.get(..declared).unwrap_or(captured);
    let protocol = header[9];
    let offset_word = u16::from_be_bytes([header[6], header[7]]);
    let is_fragment = offset_word & 0x3fff != 0;
    let fragment = is_fragment.then(|| Fragment {
        identification: u32::from(u16::from_be_bytes([header[4], header[5]])),
        protocol,
        offset: u32::from(offset_word & 0x1fff) * 8,
        more: offset_word & 0x2000 != 0,
    });
    Ok(Layer {
        ip: Ip {
            source: Address::v4([header[12], header[13], header[14], header[15]]),
            destination: Address::v4([header[16], header[17], header[18], header[19]]),
            protocol,
            octets,
            ttl: header[8],
            tos: header[1],
            is_fragment,
        },
        network: bytes,
        payload,
        is_cut: payload.len() < declared,
        fragment,
    })
}
