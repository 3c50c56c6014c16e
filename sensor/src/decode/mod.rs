//! Decode: from a [`Frame`] to a [`Packet`].
//!
//! In: captured bytes and their link type. Out: borrowed views of the layers, whatever the bytes say;
//! what cannot be decoded is an outcome that the worker counts. Knows no flow. The only state is the
//! bounded table of IP fragments.
//!
//! [`Frame`]: crate::capture::Frame

use weir_common::net::Address;

/// A decoded packet, borrowed from its frame or, for a datagram put together from fragments, from the
/// decoder.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// 802.1Q identifiers, outermost first; 0 where there is none.
    pub vlans: [u16; 2],
    /// The network layer.
    pub ip: Ip,
    /// The transport layer.
    pub transport: Transport,
    /// Bytes after the transport header, without link padding. For a fragment: empty, until the frame
    /// that completes the datagram, which carries the whole datagram's payload.
    pub payload: &'a [u8],
}

/// What matters of an IPv4 or IPv6 header and its extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// IANA protocol number after extension headers.
    pub protocol: u8,
    /// Octets from the IP header on as the header declares them; where it declares 0 (segmentation
    /// offload), as the frame has them.
    pub octets: u32,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Whether the packet is a fragment.
    pub is_fragment: bool,
}

/// What matters of a transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp(Tcp),
    /// UDP, SCTP and others whose ports are all that is used.
    Ports {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// ICMP or ICMPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// Another protocol, a header that is cut off, or a fragment whose first part was never seen.
    None,
}

/// What matters of a TCP header (RFC 9293).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Control bits, the header's low twelve (`weir_common::record::tcp_flags`).
    pub flags: u16,
    /// Window, unscaled.
    pub window: u16,
}

impl Transport {
    /// Source and destination port; zeros without ports.
    #[inline]
    pub fn ports(&self) -> (u16, u16) {
        match *self {
            Transport::Tcp(Tcp { source, destination, .. }) | Transport::Ports { source, destination } => (source, destination),
            Transport::Icmp { .. } | Transport::None => (0, 0),
        }
    }
}
