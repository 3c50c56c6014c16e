//! Addresses, the flow key and the Community ID.
//!
//! In: addresses and ports as a packet carries them. Out: one key for both directions of a flow, and
//! the published identifier that other tools compute for the same flow. Knows no packet layout.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha1::{Digest, Sha1};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// IANA protocol numbers that the code names.
pub mod protocol {
    /// Internet Control Message Protocol.
    pub const ICMP: u8 = 1;
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// Stream Control Transmission Protocol.
    pub const SCTP: u8 = 132;

    /// The name Suricata writes in EVE's `proto`; a protocol without a name is its number.
    pub fn name(number: u8) -> std::borrow::Cow<'static, str> {
        let name = match number {
            0 => "HOPOPT",
            ICMP => "ICMP",
            2 => "IGMP",
            4 => "IP-in-IP",
            TCP => "TCP",
            UDP => "UDP",
            33 => "DCCP",
            41 => "IPv6",
            47 => "GRE",
            50 => "ESP",
            51 => "AH",
            ICMPV6 => "IPv6-ICMP",
            88 => "EIGRP",
            89 => "OSPFIGP",
            103 => "PIM",
            112 => "VRRP",
            SCTP => "SCTP",
            136 => "UDPLite",
            _ => return number.to_string().into(),
        };
        name.into()
    }
}

/// An IPv4 or IPv6 address in sixteen bytes, IPv4 in its mapped form (RFC 4291 section 2.5.5.2).
///
/// One fixed size keeps flow keys flat and quick to hash, and clear of the compiler fault that
/// `compiler_fault.rs` describes. A real IPv4-mapped IPv6 packet never appears on a wire by
/// RFC 6890; were one to, it would be metered as the IPv4 address inside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// From the four bytes of an IPv4 header.
    #[inline]
    pub const fn v4(b: [u8; 4]) -> Address {
        Address([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, b[0], b[1], b[2], b[3]])
    }

    /// From the sixteen bytes of an IPv6 header.
    #[inline]
    pub const fn v6(bytes: [u8; 16]) -> Address {
        Address(bytes)
    }

    /// The IPv4 address, when this is one.
    #[inline]
    pub fn as_v4(&self) -> Option<[u8; 4]> {
        let b = &self.0;
        let mapped = b[..10] == [0; 10] && b[10..12] == [0xff; 2];
        mapped.then(|| [b[12], b[13], b[14], b[15]])
    }

    /// Whether this is an IPv4 address.
    #[inline]
    pub fn is_v4(&self) -> bool {
        self.0[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
    }

    /// The standard library's form.
    pub fn to_ip(self) -> IpAddr {
        match self.as_v4() {
            Some(bytes) => IpAddr::V4(Ipv4Addr::from(bytes)),
            None => IpAddr::V6(Ipv6Addr::from(self.0)),
        }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Address {
        match ip {
            IpAddr::V4(v4) => Address::v4(v4.octets()),
            IpAddr::V6(v6) => Address::v6(v6.octets()),
        }
    }
}

impl FromStr for Address {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Address, Self::Err> {
        text.parse::<IpAddr>().map(Address::from)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_ip().fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which way a packet of a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the initiator to the responder: EVE's `to_server`, RFC 5103's forward.
    Forward = 0,
    /// From the responder to the initiator: EVE's `to_client`, RFC 5103's reverse.
    Reverse = 1,
}

impl Direction {
    /// The other one.
    pub const fn flip(self) -> Direction {
        match self {
            Direction::Forward => Direction::Reverse,
            Direction::Reverse => Direction::Forward,
        }
    }

    /// 0 for forward, 1 for reverse: the index into per-direction pairs.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The ends of a flow with the initiator first, as records carry it.
///
/// For ICMP the ports are zero and type and code stand in the record. VLANs are not part of the
/// key: a SPAN port may see the two directions of a flow under different tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Who began.
    pub initiator: Address,
    /// Who was addressed.
    pub responder: Address,
    /// Source port of the initiator.
    pub initiator_port: u16,
    /// Port of the responder.
    pub responder_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
}

/// Community ID version 1 (github.com/corelight/community-id-spec), seed 0 unless configured.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommunityId(pub [u8; 20]);

/// Why a text is not a Community ID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a Community ID: expected `1:` and 28 characters of base64")]
pub struct CommunityIdError(String);

impl CommunityId {
    /// The identifier of a flow. `icmp` is type and code of the flow's first packet.
    pub fn of(key: &FlowKey, icmp: Option<(u8, u8)>, seed: u16) -> CommunityId {
        let mut one_way = false;
        let (mut source, mut destination) = (key.initiator, key.responder);
        let (mut source_port, mut destination_port) = (key.initiator_port, key.responder_port);
        if let Some((kind, code)) = icmp {
            let counterpart = if key.protocol == protocol::ICMP {
                icmp_v4_counterpart(kind)
            } else {
                icmp_v6_counterpart(kind)
            };
            source_port = u16::from(kind);
            destination_port = counterpart.map_or(u16::from(code), u16::from);
            one_way = counterpart.is_none();
        }
        let ordered = (source.0, source_port) < (destination.0, destination_port);
        let has_ports = matches!(
            key.protocol,
            protocol::ICMP | protocol::TCP | protocol::UDP | protocol::ICMPV6 | protocol::SCTP
        );
        // Without ports only the addresses decide the order.
        let keep = if has_ports { one_way || ordered } else { source <= destination };
        if !keep {
            std::mem::swap(&mut source, &mut destination);
            std::mem::swap(&mut source_port, &mut destination_port);
        }
        let mut bytes = [0u8; 40];
        let mut length = 0;
        let mut put = |part: &[u8]| {
            bytes[length..length + part.len()].copy_from_slice(part);
            length += part.len();
        };
        put(&seed.to_be_bytes());
        for address in [source, destination] {
            match address.as_v4() {
                Some(v4) => put(&v4),
                None => put(&address.0),
            }
        }
        put(&[key.protocol, 0]);
        if has_ports {
            put(&source_port.to_be_bytes());
            put(&destination_port.to_be_bytes());
        }
        CommunityId(Sha1::digest(&bytes[..length]).into())
    }
}

impl CommunityId {
    /// The first eight bytes as a number: short enough for an index, decided by the whole identifier.
    pub const fn tag(&self) -> u64 {
        let b = &self.0;
        u64::from_be_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])
    }
}

/// The ICMP type that answers `kind`, where the Community ID specification pairs them.
pub const fn icmp_v4_counterpart(kind: u8) -> Option<u8> {
    Some(match kind {
        8 => 0,
        0 => 8,
        13 => 14,
        14 => 13,
        15 => 16,
        16 => 15,
        17 => 18,
        18 => 17,
        10 => 9,
        9 => 10,
        _ => return None,
    })
}

/// The ICMPv6 type that answers `kind`, where the Community ID specification pairs them.
pub const fn icmp_v6_counterpart(kind: u8) -> Option<u8> {
    Some(match kind {
        128 => 129,
        129 => 128,
        133 => 134,
        134 => 133,
        135 => 136,
        136 => 135,
        130 => 131,
        131 => 130,
        144 => 145,
        145 => 144,
        139 => 140,
        140 => 139,
        _ => return None,
    })
}

impl fmt::Display for CommunityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use base64::Engine as _;
        let mut text = [0u8; 28];
        let written = base64::engine::general_purpose::STANDARD.encode_slice(self.0, &mut text);
        debug_assert_eq!(written, Ok(28));
        f.write_str("1:")?;
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for CommunityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CommunityId {
    type Err = CommunityIdError;

    fn from_str(text: &str) -> Result<CommunityId, CommunityIdError> {
        use base64::Engine as _;
        let wrong = || CommunityIdError(text.to_owned());
        let digest = text.strip_prefix("1:").ok_or_else(wrong)?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(digest).map_err(|_| wrong())?;
        bytes.try_into().map(CommunityId).map_err(|_| wrong())
    }
}

impl Serialize for CommunityId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CommunityId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CommunityId, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(protocol: u8, source: &str, source_port: u16, destination: &str, destination_port: u16) -> String {
        let icmp = matches!(protocol, protocol::ICMP | protocol::ICMPV6)
            .then_some((source_port as u8, destination_port as u8));
        let key = FlowKey {
            initiator: source.parse().unwrap(),
            responder: destination.parse().unwrap(),
            initiator_port: source_port,
            responder_port: destination_port,
            protocol,
        };
        CommunityId::of(&key, icmp, 0).to_string()
    }

    /// Values of the specification's reference implementation (pycommunityid).
    #[test]
    fn the_published_vectors_agree() {
        for (protocol, source, source_port, destination, destination_port, want) in [
            (6, "128.232.110.120", 34855, "66.35.250.204", 80, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
            (6, "66.35.250.204", 80, "128.232.110.120", 34855, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
            (17, "192.168.1.52", 54585, "8.8.8.8", 53, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
            (17, "8.8.8.8", 53, "192.168.1.52", 54585, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
            (132, "192.168.170.8", 7, "192.168.170.56", 80, "1:jQgCxbku+pNGw8WPbEc/TS/uTpQ="),
            (1, "192.168.0.89", 8, "192.168.0.1", 0, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
            (1, "192.168.0.1", 0, "192.168.0.89", 0, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
            (1, "192.168.0.89", 20, "192.168.0.1", 0, "1:3o2RFccXzUgjl7zDpqmY7yJi8rI="),
            (1, "192.168.0.89", 20, "192.168.0.1", 1, "1:tz/fHIDUHs19NkixVVoOZywde+I="),
            (58, "fe80::200:86ff:fe05:80da", 135, "fe80::260:97ff:fe07:69ea", 0, "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="),
            (58, "3ffe:507:0:1:200:86ff:fe05:80da", 3, "3ffe:507:0:1:260:97ff:fe07:69ea", 0, "1:/OGBt9BN1ofenrmSPWYicpij2Vc="),
        ] {
            assert_eq!(id(protocol, source, source_port, destination, destination_port), want);
        }
    }

    #[test]
    fn text_reads_back_and_other_text_is_refused() {
        let text = "1:LQU9qZlK+B5F3KDmev6m5PMibrg=";
        assert_eq!(text.parse::<CommunityId>().unwrap().to_string(), text);
        for wrong in ["", "1:", "2:LQU9qZlK+B5F3KDmev6m5PMibrg=", "1:LQU9", "1:*QU9qZlK+B5F3KDmev6m5PMibrg="]
        {
            assert!(wrong.parse::<CommunityId>().is_err(), "{wrong}");
        }
    }
}
