//! The IPv6 header and its extension headers (RFC 8200).
//!
//! The walk passes over hop-by-hop options, routing and destination options, and reads the fragment
//! header. It stops at everything else: AH, ESP and mobility are the packet's protocol.

use super::error::Undecoded;
use super::fragments::Fragment;
use super::{Ip, Layer};
use weir_common::net::Address;

/// Most extension headers passed over; at the limit the packet is metered under the next one's number.
/// RFC 8200 section 4.1 recommends an order with seven.
const EXTENSION_HEADERS_MAX: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// Reads an IPv6 header. `wire` is how many bytes the wire had from here on, link padding included.
#[inline]
pub(super) fn parse(bytes: &[u8], wire: u32) -> Result<Layer<'_>, Undecoded> {
    let first = *bytes.first().ok_or(Undecoded::Truncated)?;
    if first >> 4 != 6 {
        return Err(Undecoded::Malformed);
    }
    let (header, captured) = bytes.split_first_chunk::<40>().ok_or(Undecoded::Truncated)?;
    let payload_len = u32::from(u16::from_be_bytes([header[4], header[5]]));
    // 0 is a jumbogram (RFC 2675) or segmentation offload: the frame is all there is to go by.
    let octets = if payload_len == 0 { wire.max(40) } else { payload_len + 40 };
    let declared = octets as usize - 40;
    let payload = captured.get(..declared).unwrap_or(captured);
    let is_cut = payload.len() < declared;
    let Walk { protocol, payload, fragment, is_cut } = match header[6] {
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS => walk(header[6], payload, is_cut),
        protocol => Walk { protocol, payload, fragment: None, is_cut },
    };
    Ok(Layer {
        ip: Ip {
            source: Address::v6(array(header, 8)),
            destination: Address::v6(array(header, 24)),
            protocol,
            octets,
            ttl: header[7],
            tos: (header[0] << 4) | (header[1] >> 4),
            is_fragment: fragment.is_some(),
        },
        network: bytes,
        payload,
        is_cut,
        fragment,
    })
}

/// Where a walk over extension headers ended.
pub(super) struct Walk<'a> {
    /// The first header that is none to be passed over, or that cannot be because its bytes end.
    pub(super) protocol: u8,
    /// What follows; empty where the bytes end within a header.
    pub(super) payload: &'a [u8],
    /// A fragment header that was met. The walk ends there, because what follows may be in another frame.
    pub(super) fragment: Option<Fragment>,
    /// Whether bytes are missing at the end.
    pub(super) is_cut: bool,
}

/// Walks extension headers from `protocol` on.
#[inline(never)]
pub(super) fn walk(mut protocol: u8, mut payload: &[u8], is_cut: bool) -> Walk<'_> {
    for _ in 0..EXTENSION_HEADERS_MAX {
        let header_len = match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                payload.get(1).map_or(usize::MAX, |length| (usize::from(*length) + 1) * 8)
            }
            FRAGMENT => 8,
            _ => return Walk { protocol, payload, fragment: None, is_cut },
        };
        let Some((header, rest)) = payload.split_at_checked(header_len) else {
            return Walk { protocol, payload: &[], fragment: None, is_cut: true };
        };
        if let (FRAGMENT, Some(header)) = (protocol, header.first_chunk::<8>()) {
            let offset_word = u16::from_be_bytes([header[2], header[3]]);
            let (offset, more) = (u32::from(offset_word & 0xfff8), offset_word & 1 == 1);
            // An atomic fragment is the whole datagram (RFC 6946).
            if offset != 0 || more {
                let identification = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                let fragment = Some(Fragment { identification, protocol: header[0], offset, more });
                return Walk { protocol: header[0], payload: rest, fragment, is_cut };
            }
        }
        protocol = header.first().copied().unwrap_or(protocol);
        payload = rest;
    }
    Walk { protocol, payload: &[], fragment: None, is_cut }
}

/// Sixteen bytes of the fixed header; `at` is at most 24.
#[inline]
fn array(header: &[u8; 40], at: usize) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&header[at..at + 16]);
    bytes
}
