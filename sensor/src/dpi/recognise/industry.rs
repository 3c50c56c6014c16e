//! Protocols of plants, buildings, vehicles and meters that are known by name only.
//!
//! In: a flow's first bytes. Out: verdicts. Most have a length field that must fit exactly beside a version or
//! an enumeration; where that is all there is, the port has to agree.

use super::{Recogniser, line};
use crate::dpi::Starts;
use crate::dpi::bytes::{be16, be32, le16, le32, u8_at};
use crate::dpi::{First, Probe};
use weir_common::app::App;

pub(super) const TABLE: &[Recogniser] = &[
    line(App::S7commPlus, Starts::stream(&[3]), s7comm_plus),
    line(App::Mms, Starts::stream(&[3]), mms),
    line(App::Synphasor, Starts::both(&[0xaa]), synchrophasor),
    line(App::HartIp, Starts::both(&[1]), hart_ip),
    line(App::Fins, Starts::stream(b"F").or(Starts::datagram(&[0x80, 0x81, 0xc0, 0xc1])), fins),
    line(App::Ads, Starts::stream(&[0, 1, 2]).or(Starts::datagram(&[0x71])), ads),
    line(App::Knxip, Starts::both(&[6]), knxnet_ip),
    line(App::Egd, Starts::datagram(&[0x0d]), egd),
    line(App::Ethersbus, Starts::datagram(&[0]), ether_s_bus),
    line(App::Ethersio, Starts::datagram(b"E"), ether_s_io),
    line(App::Dlms, Starts::both(&[0, 0x7e]), dlms),
    line(App::C1222, Starts::both(&[0x60]), c1222),
    line(App::CnpIp, Starts::datagram(&[0, 1, 2, 3, 4, 5]), cnp_ip),
    line(App::Trdp, Starts::ANY, trdp),
    line(App::Profinet, Starts::DATAGRAM, profinet),
    line(App::Fox, Starts::stream(b"f"), fox),
    line(App::Someip, Starts::ANY, some_ip),
    line(App::Rtps, Starts::both(b"R"), rtps),
    line(App::Canbus, Starts::datagram(b"I"), can),
    line(App::Cip, Starts::datagram(&[2]), cip_io),
    line(App::Atg, Starts::stream(&[1, b'\r', b'\n', b'I', b'S', b'i', b's']), tank_gauge),
];

/// `Certain` where the content alone proves it and on the port, `Likely` elsewhere.
fn by_port(first: &First<'_>, ports: &[u16]) -> Probe {
    if first.has_port_of(ports) { Probe::Certain } else { Probe::Likely }
}

fn certain_if(is_so: bool) -> Probe {
    if is_so { Probe::Certain } else { Probe::NotForUs }
}

/// What a stream's bytes say that are cut before the end of what must be seen.
fn unsure_if_stream(first: &First<'_>) -> Probe {
    if first.is_stream() { Probe::Unsure } else { Probe::NotForUs }
}

/// The bytes behind a TPKT and COTP data header (RFC 1006, ISO 8073), past a connection request if there is one.
///
/// `Err` says what to answer when they are not there.
pub(in crate::dpi) fn cotp_data<'a>(first: &First<'a>) -> Result<&'a [u8], Probe> {
    const CONNECTION_REQUEST: u8 = 0xe0;
    const CONNECTION_CONFIRM: u8 = 0xd0;
    const DATA: u8 = 0xf0;
    const TPKT_BYTES_MIN: usize = 7;
    let mut rest = first.bytes;
    if !first.is_stream() {
        return Err(Probe::NotForUs);
    }
    for _ in 0..2 {
        let may_be_tpkt = rest.starts_with(&[3, 0]) || [3, 0].starts_with(rest);
        if !may_be_tpkt {
            return Err(Probe::NotForUs);
        }
        let (Some(length), Some(kind)) = (be16(rest, 2), u8_at(rest, 5)) else { return Err(Probe::Unsure) };
        let length = usize::from(length);
        if length < TPKT_BYTES_MIN {
            return Err(Probe::NotForUs);
        }
        match kind & 0xf0 {
            CONNECTION_REQUEST | CONNECTION_CONFIRM => {
                let Some((packet, after)) = rest.split_at_checked(length) else { return Err(Probe::Unsure) };
                // Transport selectors tell the OSI world from RDP, which has none.
                const SELECTORS_AT: usize = 11;
                let parameters = packet.get(SELECTORS_AT..).unwrap_or_default();
                if !parameters.iter().any(|byte| matches!(byte, 0xc1 | 0xc2)) {
                    return Err(Probe::NotForUs);
                }
                rest = after;
            }
            DATA if u8_at(rest, 4) == Some(2) => return rest.get(TPKT_BYTES_MIN..).ok_or(Probe::Unsure),
            _ => return Err(Probe::NotForUs),
        }
    }
    Err(Probe::NotForUs)
}

/// The Manufacturing Message Specification (ISO 9506) over ISO session and presentation.
pub(super) fn mms(first: &First<'_>) -> Probe {
    /// 1.0.9506.2: the abstract syntax of MMS.
    const SYNTAX: [u8; 4] = [0x28, 0xca, 0x22, 0x02];
    /// Give tokens and data transfer, then fully encoded presentation data.
    const DATA: [u8; 5] = [1, 0, 1, 0, 0x61];
    let data = match cotp_data(first) {
        Ok(data) => data,
        Err(probe) => return probe,
    };
    match data.first() {
        None => Probe::Unsure,
        Some(0x0d | 0x0e) if data.windows(SYNTAX.len()).any(|at| at == SYNTAX) => Probe::Certain,
        Some(0x0d | 0x0e) if data.len() < 200 => Probe::Unsure,
        Some(1) if data.len() < 20 => Probe::Unsure,
        // The context of MMS, and behind it a PDU of its choice.
        Some(1) if data.starts_with(&DATA) => {
            let at = data.windows(4).take(20).position(|at| matches!(at, [2, 1, 3, 0xa0]));
            if at.is_some() && first.has_port(102) { Probe::Certain } else { Probe::NotForUs }
        }
        Some(_) => Probe::NotForUs,
    }
}

/// S7comm-plus: what newer Siemens controllers speak.
pub(super) fn s7comm_plus(first: &First<'_>) -> Probe {
    const PROTOCOL: u8 = 0x72;
    match cotp_data(first) {
        Ok(data) => match (data.first(), data.get(1)) {
            (None, _) => Probe::Unsure,
            (Some(&PROTOCOL), None) => Probe::Unsure,
            (Some(&PROTOCOL), Some(1..=3 | 0xfe)) => Probe::Certain,
            _ => Probe::NotForUs,
        },
        // A connection that was never answered names whom it wants.
        Err(_) if first.bytes.windows(12).take(48).any(|at| at == b"SIMATIC-ROOT") => Probe::Certain,
        Err(probe) => probe,
    }
}

/// Synchrophasors (IEEE C37.118.2): the checksum says so.
pub(super) fn synchrophasor(first: &First<'_>) -> Probe {
    const FRAME_BYTES_MIN: usize = 16;
    let bytes = first.bytes;
    let Some(kind) = u8_at(bytes, 1) else { return unsure_if_stream(first) };
    if kind & 0x80 != 0 || kind >> 4 > 5 || !matches!(kind & 0x0f, 1 | 2) {
        return Probe::NotForUs;
    }
    let Some(length) = be16(bytes, 2).map(usize::from) else { return unsure_if_stream(first) };
    if length < FRAME_BYTES_MIN || first.is_datagram() && length != bytes.len() {
        return Probe::NotForUs;
    }
    let Some((data, check)) = bytes.get(..length).and_then(|frame| frame.split_last_chunk::<2>()) else {
        return unsure_if_stream(first);
    };
    certain_if(crc_ccitt(data, u16::MAX) == u16::from_be_bytes(*check))
}

/// CRC-CCITT that begins with a value.
fn crc_ccitt(bytes: &[u8], initial: u16) -> u16 {
    bytes.iter().fold(initial, |mut crc: u16, byte| {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
        }
        crc
    })
}

/// HART over IP.
pub(super) fn hart_ip(first: &First<'_>) -> Probe {
    const HEADER_BYTES: usize = 8;
    const PORTS: [u16; 2] = [5094, 20_004];
    let Some([1, kind, id, status, _, _, l0, l1]) = first.bytes.first_chunk::<HEADER_BYTES>() else {
        return if first.bytes.len() < HEADER_BYTES { unsure_if_stream(first) } else { Probe::NotForUs };
    };
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    let is_fit = if first.is_stream() { length <= first.bytes.len() } else { length == first.bytes.len() };
    if !matches!(kind, 0..=2 | 15) || *id > 4 || length < HEADER_BYTES || !is_fit || *status > 30 {
        return Probe::NotForUs;
    }
    // A session begins with the kind of master and how long it may be silent.
    let begins = *id == 0
        && length == HEADER_BYTES + 5
        && u8_at(first.bytes, HEADER_BYTES).is_some_and(|kind| kind <= 1);
    match (first.has_port_of(&PORTS), begins) {
        (true, _) => Probe::Certain,
        (false, true) => Probe::Likely,
        (false, false) => Probe::NotForUs,
    }
}

/// Omron FINS.
pub(super) fn fins(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    if first.is_stream() {
        let length = be32(bytes, 4);
        return match (bytes.starts_with(b"FINS"), length) {
            (true, Some(length)) => certain_if((8..=0x8000).contains(&length)),
            (true, None) => Probe::Unsure,
            _ if b"FINS".starts_with(bytes) => Probe::Unsure,
            _ => Probe::NotForUs,
        };
    }
    // ICF, reserved, gateways; addresses; SID; then the command.
    let Some([icf, 0, gateways, _, _, _, _, _, _, _, major, minor]) = bytes.first_chunk::<12>() else {
        return Probe::NotForUs;
    };
    let is_plain = matches!(icf & 0x3e, 0) && icf & 0x80 != 0 && matches!(gateways, 2 | 7);
    let is_known = matches!(
        (major, minor),
        (1, 1..=5)
            | (2, 1..=3)
            | (3, 4..=7)
            | (4, 1..=2 | 5)
            | (5, 1..=2)
            | (6, 1 | 0x20)
            | (7, 1..=2)
            | (8, 1)
            | (9, 0x20)
            | (0x0c, 1..=3)
            | (0x21, 1..=3 | 0x40)
            | (0x22, 1..=0x20)
            | (0x23, 1..=2 | 0x0a)
    );
    if is_plain && is_known { by_port(first, &[9600]) } else { Probe::NotForUs }
}

/// Beckhoff's ADS over AMS/TCP, and its discovery over UDP.
pub(super) fn ads(first: &First<'_>) -> Probe {
    const TCP_HEADER_BYTES: usize = 6;
    const AMS_HEADER_BYTES: u32 = 32;
    let bytes = first.bytes;
    if first.is_datagram() {
        return certain_if(bytes.starts_with(&[0x71, 0x14, 0x66, 0x03]) && bytes.len() >= 12);
    }
    if le16(bytes, 0).is_some_and(|reserved| !matches!(reserved, 0 | 1 | 0x1000..=0x1002)) {
        return Probe::NotForUs;
    }
    let Some(length) = le32(bytes, 2) else { return Probe::Unsure };
    if !(AMS_HEADER_BYTES..1 << 20).contains(&length) {
        return Probe::NotForUs;
    }
    let at = |offset: usize| TCP_HEADER_BYTES + offset;
    let Some(data) = le32(bytes, at(20)) else { return Probe::Unsure };
    let (command, flags) = (le16(bytes, at(16)).unwrap_or(u16::MAX), le16(bytes, at(18)).unwrap_or(u16::MAX));
    // Network identities usually end in 1.1.
    certain_if(command <= 9 && matches!(flags & 0xff, 4 | 5) && data == length - AMS_HEADER_BYTES)
}

/// KNXnet/IP.
pub(super) fn knxnet_ip(first: &First<'_>) -> Probe {
    let Some([6, 0x10, family, kind, l0, l1]) = first.bytes.first_chunk::<6>() else {
        return if first.bytes.len() < 6 { unsure_if_stream(first) } else { Probe::NotForUs };
    };
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    let is_fit = if first.is_stream() { length >= 6 } else { length == first.bytes.len() };
    certain_if(is_fit && (2..=9).contains(family) && *kind <= 0x4f)
}

/// Ethernet Global Data (GE).
pub(super) fn egd(first: &First<'_>) -> Probe {
    const HEADER_BYTES: usize = 32;
    const PORT: u16 = 18_246;
    let is_data = first.bytes.starts_with(&[0x0d, 0x01]) && first.bytes.len() >= HEADER_BYTES;
    // The last word of the header is reserved.
    let is_reserved_zero = be32(first.bytes, HEADER_BYTES - 4) == Some(0);
    certain_if(is_data && is_reserved_zero && first.has_port(PORT))
}

/// SAIA's Ether-S-Bus.
pub(super) fn ether_s_bus(first: &First<'_>) -> Probe {
    const PORT: u16 = 5050;
    let bytes = first.bytes;
    let is_fit = be32(bytes, 0).is_some_and(|length| length as usize == bytes.len()) && bytes.len() >= 11;
    // Version, protocol, then the sequence, and whether it asks, answers or acknowledges.
    let is_known = u8_at(bytes, 4).is_some_and(|version| version <= 1)
        && u8_at(bytes, 5).is_some_and(|protocol| protocol <= 1)
        && u8_at(bytes, 8).is_some_and(|attribute| attribute <= 2);
    let is_checked = || {
        bytes
            .split_last_chunk::<2>()
            .is_some_and(|(data, check)| crc_ccitt(data, 0) == u16::from_be_bytes(*check))
    };
    certain_if(is_fit && is_known && (first.has_port(PORT) || is_checked()))
}

/// SAIA's Ether-S-I/O.
pub(super) fn ether_s_io(first: &First<'_>) -> Probe {
    certain_if(first.bytes.starts_with(b"ESIO") && first.bytes.len() >= 8)
}

/// DLMS/COSEM in its wrapper (IEC 62056-47) or in HDLC frames (IEC 62056-46).
pub(super) fn dlms(first: &First<'_>) -> Probe {
    const PORT: u16 = 4059;
    let bytes = first.bytes;
    if bytes.first() == Some(&0x7e) {
        let (Some(head), Some(low)) = (u8_at(bytes, 1), u8_at(bytes, 2)) else {
            return unsure_if_stream(first);
        };
        let length = usize::from(head & 0x07) << 8 | usize::from(low);
        if head & 0xf0 != 0xa0 || length < 7 {
            return Probe::NotForUs;
        }
        // The length counts what is between the flags.
        return match u8_at(bytes, length + 1) {
            Some(0x7e) if bytes.windows(3).any(|llc| matches!(llc, [0xe6, 0xe6 | 0xe7, 0])) => Probe::Certain,
            Some(0x7e) if first.has_port(PORT) => Probe::Certain,
            Some(0x7e) => Probe::Likely,
            None => unsure_if_stream(first),
            Some(_) => Probe::NotForUs,
        };
    }
    let Some([0, 1, _, _, _, _, l0, l1]) = bytes.first_chunk::<8>() else {
        return if bytes.len() < 8 && [0, 1].starts_with(bytes.get(..2).unwrap_or(bytes)) {
            unsure_if_stream(first)
        } else {
            Probe::NotForUs
        };
    };
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    let Some(tag) = u8_at(bytes, 8) else { return unsure_if_stream(first) };
    let is_known = matches!(tag, 0x01 | 0x08 | 0x0e | 0x05 | 0x06 | 0x0c | 0x0d | 0x0f | 0x18 | 0x60..=0x63 | 0xc0..=0xdf);
    let is_fit = length == bytes.len() - 8;
    // An association names the application context 2.16.756.5.8.1.
    let is_association = bytes.windows(6).take(32).any(|oid| matches!(oid, [0x60, 0x85, 0x74, 5, 8, 1]));
    // Port 1 is the management of every meter, 16 its public client (IEC 62056-47 section 5).
    let has_usual_end = [be16(bytes, 2), be16(bytes, 4)].iter().any(|end| matches!(end, Some(1 | 16)));
    match (is_known && is_fit && length > 1, is_association) {
        (true, true) => Probe::Certain,
        (true, false) if first.has_port(PORT) => Probe::Certain,
        (true, false) if has_usual_end && tag >= 0x60 => Probe::Likely,
        _ => Probe::NotForUs,
    }
}

/// ANSI C12.22: an ACSE PDU whose elements fill it, with user information at its end.
pub(super) fn c1222(first: &First<'_>) -> Probe {
    const PORT: u16 = 1153;
    const USER_INFORMATION: u8 = 0xbe;
    let Some((tag, length, content)) = element(first.bytes) else { return unsure_if_stream(first) };
    if tag != 0x60 || length > 0xffff {
        return Probe::NotForUs;
    }
    let Some(mut rest) = content.get(..length) else { return unsure_if_stream(first) };
    if first.is_datagram() && content.len() != length {
        return Probe::NotForUs;
    }
    let (mut has_information, mut has_invocation) = (false, false);
    while !rest.is_empty() {
        let Some((tag, length, content)) = element(rest) else { return Probe::NotForUs };
        has_information |= tag == USER_INFORMATION;
        // Invocation identifiers, which LDAP's and Kerberos's PDUs of this tag do not have.
        has_invocation |= matches!(tag, 0xa4 | 0xa8);
        if !(0xa1..=0xaf).contains(&tag) && !matches!(tag, 0x80..=0x8f | USER_INFORMATION) {
            return Probe::NotForUs;
        }
        let Some(after) = content.get(length..) else { return Probe::NotForUs };
        rest = after;
    }
    if has_information && has_invocation { by_port(first, &[PORT]) } else { Probe::NotForUs }
}

/// Tag, length and what follows, of a BER element with a one-byte tag.
fn element(bytes: &[u8]) -> Option<(u8, usize, &[u8])> {
    let [tag, length, rest @ ..] = bytes else { return None };
    match length {
        0..=0x7f => Some((*tag, usize::from(*length), rest)),
        0x81 => Some((*tag, usize::from(*rest.first()?), rest.get(1..)?)),
        0x82 => Some((*tag, usize::from(be16(rest, 0)?), rest.get(2..)?)),
        _ => None,
    }
}

/// EIA-852: LonTalk over IP.
pub(super) fn cnp_ip(first: &First<'_>) -> Probe {
    const PORTS: [u16; 2] = [1628, 1629];
    let bytes = first.bytes;
    let is_fit = be16(bytes, 0).is_some_and(|length| usize::from(length) == bytes.len()) && bytes.len() >= 20;
    let is_known = u8_at(bytes, 2) == Some(1)
        && u8_at(bytes, 3).is_some_and(|kind| matches!(kind, 1 | 3..=8 | 0x22..=0x24 | 0x60..=0x7f));
    certain_if(is_fit && is_known && first.has_port_of(&PORTS))
}

/// The Train Real-time Data Protocol (IEC 61375-2-3).
pub(super) fn trdp(first: &First<'_>) -> Probe {
    const HEADER_BYTES: usize = 40;
    let bytes = first.bytes;
    if u8_at(bytes, 4).is_some_and(|version| version != 1) {
        return Probe::NotForUs;
    }
    let Some([major, minor]) = bytes.get(6..).and_then(<[u8]>::first_chunk::<2>) else {
        return unsure_if_stream(first);
    };
    let is_known = match major {
        b'P' => matches!(minor, b'r' | b'p' | b'd' | b'e'),
        b'M' => matches!(minor, b'n' | b'r' | b'p' | b'q' | b'c' | b'e'),
        _ => false,
    };
    match (is_known, bytes.len() >= HEADER_BYTES) {
        (true, true) => Probe::Certain,
        (true, false) => unsure_if_stream(first),
        (false, _) => Probe::NotForUs,
    }
}

/// PROFINET's real-time frames over UDP, behind their frame number.
pub(super) fn profinet(first: &First<'_>) -> Probe {
    const PORTS: [u16; 3] = [34_962, 34_963, 34_964];
    let Some(frame) = be16(first.bytes, 0) else { return Probe::NotForUs };
    let is_known = matches!(frame, 0x0100..=0x06ff | 0x8000..=0xbfff | 0xfc01 | 0xfe01 | 0xfefc..=0xfeff);
    let is_between = PORTS.contains(&first.source_port) && PORTS.contains(&first.destination_port);
    // The status at the end: cycle, data, and a transfer that is good.
    let ends = matches!(first.bytes, [.., data, 0] if data & 0x48 == 0);
    certain_if(is_known && ends && first.bytes.len() >= 12 && is_between)
}

/// Niagara Fox (Tridium).
pub(super) fn fox(first: &First<'_>) -> Probe {
    const START: &[u8] = b"fox a ";
    let bytes = first.bytes;
    match bytes.get(..START.len()) {
        Some(start) => certain_if(start == START),
        None if START.starts_with(bytes) => Probe::Unsure,
        None => Probe::NotForUs,
    }
}

/// SOME/IP (AUTOSAR), one message or several.
pub(super) fn some_ip(first: &First<'_>) -> Probe {
    const HEADER_BYTES: usize = 16;
    const DISCOVERY: u32 = 0xffff_8100;
    const PORTS: [u16; 4] = [30_490, 30_491, 30_501, 30_509];
    let bytes = first.bytes;
    let mut rest = bytes;
    let mut messages = 0;
    if be32(bytes, 4).is_some_and(|length| !(8..=0xffff).contains(&length)) {
        return Probe::NotForUs;
    }
    while !rest.is_empty() {
        let Some(header) = rest.first_chunk::<HEADER_BYTES>() else {
            return if messages == 0 { unsure_if_stream(first) } else { Probe::NotForUs };
        };
        let [.., 1, interface, kind, code] = header else { return Probe::NotForUs };
        let is_known = matches!(kind & !0x20, 0..=2 | 0x40..=0x42 | 0x80 | 0x81 | 0xc0 | 0xc1);
        let is_request = kind & 0x80 == 0;
        if !is_known || *code > 0x5e || is_request && *code != 0 || *interface == 0xff {
            return Probe::NotForUs;
        }
        // The length counts from the request's number on.
        let Some(length) = be32(header, 4).map(|length| length as usize).filter(|length| *length >= 8) else {
            return Probe::NotForUs;
        };
        if length > 0xffff {
            return Probe::NotForUs;
        }
        messages += 1;
        match rest.get(8 + length..) {
            Some(after) => rest = after,
            None if first.is_stream() => return Probe::Unsure,
            None => return Probe::NotForUs,
        }
    }
    let is_discovery = be32(bytes, 0) == Some(DISCOVERY);
    // Service and method of nothing are nobody's.
    let is_named = be16(bytes, 0).is_some_and(|service| service != 0);
    match is_discovery || messages > 1 || first.has_port_of(&PORTS) {
        true if is_named => Probe::Certain,
        false if is_named && be32(bytes, 8) != Some(0) => Probe::Likely,
        _ => Probe::NotForUs,
    }
}

/// RTPS: DDS on the wire.
pub(super) fn rtps(first: &First<'_>) -> Probe {
    const MAGIC_BYTES: usize = 4;
    let bytes = first.bytes;
    let start = bytes.get(..MAGIC_BYTES).unwrap_or(bytes);
    if !b"RTPS".starts_with(start) && !b"RTPX".starts_with(start) {
        return Probe::NotForUs;
    }
    match u8_at(bytes, MAGIC_BYTES) {
        Some(version) => certain_if(matches!(version, 1..=2)),
        None => unsure_if_stream(first),
    }
}

/// CAN frames in UDP, as CAN-to-Ethernet bridges send them.
pub(super) fn can(first: &First<'_>) -> Probe {
    certain_if(first.bytes.starts_with(b"ISO11898"))
}

/// CIP's cyclic data: an item with the connection's address, one with its data.
pub(super) fn cip_io(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let is_addressed = bytes.starts_with(&[2, 0, 2, 0x80, 8, 0]) && le16(bytes, 14) == Some(0xb1);
    let is_fit = le16(bytes, 16).is_some_and(|length| 18 + usize::from(length) == bytes.len());
    certain_if(is_addressed && is_fit)
}

/// Automatic tank gauges (Veeder-Root, "Serial Interface Manual" of the TLS-300 and TLS-350): a function code of six
/// characters, of which three say what (hexadecimal) and two which tank; six of a security code may stand before it.
pub(super) fn tank_gauge(first: &First<'_>) -> Probe {
    const SOH: u8 = 1;
    const CODE_BYTES: usize = 6;
    let mut bytes = first.bytes;
    if bytes.first() == Some(&SOH) {
        bytes = bytes.get(1..).unwrap_or_default();
    }
    // An answer begins with a line of its own.
    while let Some(after) = bytes.strip_prefix(b"\r").or_else(|| bytes.strip_prefix(b"\n")) {
        bytes = after;
    }
    let is_code = |code: &[u8; CODE_BYTES]| {
        let [b'I' | b'S' | b'i' | b's', what @ .., ten, one] = code else { return false };
        what.iter().all(u8::is_ascii_hexdigit) && ten.is_ascii_digit() && one.is_ascii_digit()
    };
    let may_be_open = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_alphanumeric);
    let is_marked = first.bytes.first() == Some(&SOH);
    let unsure = if is_marked && may_be_open(bytes) { Probe::Unsure } else { Probe::NotForUs };
    let Some((code, mut after)) = bytes.split_first_chunk::<CODE_BYTES>() else { return unsure };
    let mut is_right = is_code(code);
    if !is_right && is_marked && may_be_open(code) {
        let Some((code, rest)) = after.split_first_chunk::<CODE_BYTES>() else { return unsure };
        (is_right, after) = (is_code(code), rest);
    }
    let ends =
        after.iter().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\r' | b'\n' | 1 | 3));
    match (is_right && ends, is_marked, first.has_port(10_001)) {
        (true, true, _) | (true, false, true) => Probe::Certain,
        _ => Probe::NotForUs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use weir_common::net::Direction;

    fn udp(bytes: &[u8]) -> First<'_> {
        First::of(Carrier::Datagram, Direction::Forward, bytes)
    }

    fn tcp(bytes: &[u8]) -> First<'_> {
        First::of(Carrier::Stream, Direction::Forward, bytes)
    }

    fn hex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn each_protocol_is_known_by_its_own_bytes() {
        let mms_data = hex("0300001b02f080010001006112301002010 3a00b".replace(' ', "").as_str());
        let mut long = mms_data.clone();
        long.resize(40, 0);
        assert_eq!(mms(&tcp(&long).between(1, 102)), Probe::Certain);
        let plus = hex("0300001602f08072010006310000000000000000000000");
        assert_eq!(s7comm_plus(&tcp(&plus)), Probe::Certain);
        let command = hex("aa41001200f100000000000000000005d7d0");
        assert_eq!(synchrophasor(&tcp(&command)), Probe::Certain);
        assert_eq!(synchrophasor(&udp(&command)), Probe::Certain);
        assert_eq!(hart_ip(&udp(&hex("010000000002000d0100007530")).between(1, 5094)), Probe::Certain);
        assert_eq!(fins(&udp(&hex("800002000100000200010101820064000001")).between(1, 9600)), Probe::Certain);
        assert_eq!(fins(&tcp(&hex("46494e530000000c000000000000000000000000"))), Probe::Certain);
        let ads_request = hex("000020000000050d756001011027c0a801630101038004000400000000000000000005000000");
        assert_eq!(ads(&tcp(&ads_request)), Probe::Certain);
        assert_eq!(knxnet_ip(&udp(&hex("06100201000e0801c0a80001d1bc"))), Probe::Certain);
        let exchange = hex("0d01d4f0c0a8084d7b000000be8a7e3800811b2c00000000000000000000000000");
        assert_eq!(egd(&udp(&exchange).between(18_246, 18_246)), Probe::Certain);
        let s_bus = hex("0000000d01000001000a205318");
        assert_eq!(ether_s_bus(&udp(&s_bus).between(2467, 5050)), Probe::Certain);
        assert_eq!(ether_s_io(&udp(b"ESIO\0\x01\0\0")), Probe::Certain);
        let get = hex("0001001000010007c0018100080000");
        assert_eq!(dlms(&tcp(&get).between(1, 4059)), Probe::Certain);
        let meter = hex(
            "6030a20f060d607c86f754011600010140ce11a60e060c607c86f75401160001014021a80402020f89be0728058103800120",
        );
        assert_eq!(c1222(&udp(&meter).between(1, 1153)), Probe::Certain);
        let lon = hex("001c0101000000006b8b45670000000100000000000901a901aa0123");
        assert_eq!(cnp_ip(&udp(&lon).between(1, 1628)), Probe::Certain);
        let mut train = hex("0000000001004d72000003e9");
        train.resize(116, 0);
        assert_eq!(trdp(&tcp(&train)), Probe::Certain);
        assert_eq!(fox(&tcp(b"fox a 1 -1 fox hello\n{\n")), Probe::Certain);
        let offer = hex("ffff81000000000800000001010102 00".replace(' ', "").as_str());
        assert_eq!(some_ip(&udp(&offer)), Probe::Certain);
        assert_eq!(rtps(&udp(b"RTPS\x02\x01")), Probe::Certain);
        assert_eq!(can(&udp(b"ISO11898\x01")), Probe::Certain);
        let cyclic = hex("020002800800787b3a00e8cb5e04b1000c000300fdffffffffffffff0000");
        assert_eq!(cip_io(&udp(&cyclic)), Probe::Certain);
        for gauge in [
            &b"\x01I20100\n"[..],
            b"\x01IA5100\r\n",
            b"\x01123456I20100\r",
            b"\x01\r\nI20100\r\nNOV 30, 2026",
        ] {
            assert_eq!(tank_gauge(&tcp(gauge)), Probe::Certain, "{gauge:?}");
            assert_eq!(tank_gauge(&tcp(&gauge[..6])), Probe::Unsure, "{gauge:?}");
        }
        assert_eq!(tank_gauge(&tcp(b"\x01login1 root99")), Probe::NotForUs);
    }

    #[test]
    fn none_of_them_takes_others_bytes_or_panics() {
        let others: [&[u8]; 6] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            &[0; 64],
            &[0xff; 64],
            &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 1, 2, 3, 4],
            &[0x30, 0x26, 2, 1, 1, 4, 6, b'p', b'u', b'b', b'l', b'i', b'c', 0xa0, 0x19, 2, 1],
            &[3, 0, 0, 0x13, 0x0e, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 3, 0, 0, 0],
        ];
        let probes = [
            mms,
            s7comm_plus,
            synchrophasor,
            hart_ip,
            fins,
            ads,
            knxnet_ip,
            egd,
            ether_s_bus,
            ether_s_io,
            dlms,
            c1222,
            cnp_ip,
            trdp,
            profinet,
            fox,
            some_ip,
            rtps,
            can,
            cip_io,
            tank_gauge,
        ];
        for probe in probes {
            for bytes in others {
                for cut in 0..=bytes.len() {
                    for first in [udp(&bytes[..cut]), tcp(&bytes[..cut])] {
                        assert!(!matches!(probe(&first), Probe::Certain | Probe::Likely), "{bytes:?}");
                    }
                }
            }
        }
    }
}
