//! File servers, block devices, clusters of disks and their file systems' calls.
//!
//! In: first bytes. Out: whether they are one of these.

use super::*;

pub(super) const TABLE: &[Recogniser] = &[
    line(App::Afp, Starts::stream(b"\x00\x01"), afp),
    line(App::Ceph, Starts::stream(&CEPH_STARTS), ceph),
    line(App::Iscsi, Starts::stream(&ISCSI_STARTS), iscsi),
    line(App::Lustre, Starts::stream(b"\x00\xac\xed\xee\xc1"), lustre),
    line(App::Rx, Starts::DATAGRAM, rx),
    line(App::Msdo, Starts::stream(b"\x0e"), |first| begins(first, b"\x0eSwarm protocol")),
];

/// A banner, or the tag of a frame.
const CEPH_STARTS: [u8; 22] = {
    let (mut bytes, mut at) = ([b'c'; 22], 1);
    while at < 22 {
        bytes[at] = at as u8;
        at += 1;
    }
    bytes
};

/// Ceph's messenger: a banner, of either version; and since its connections live as long as its daemons, the frames of
/// version 2 ("msgr2 protocol" in its documentation), whose preamble ends with a checksum: a tag, the number of
/// segments, four lengths with alignments, flags, CRC-32C. What the secure mode encrypts is not known.
fn ceph(first: &First<'_>) -> Probe {
    const PREAMBLE_BYTES: usize = 32;
    let bytes = first.bytes;
    if bytes.first() == Some(&b'c') {
        return begins(first, b"ceph v");
    }
    // Of four segments those that are not used are zero.
    let Some(segments @ 1..=4) = u8_at(bytes, 1).map(usize::from) else {
        return if bytes.len() < 2 { Probe::Unsure } else { Probe::NotForUs };
    };
    let unused = head(bytes, PREAMBLE_BYTES - 6).get(2 + 6 * segments..).unwrap_or_default();
    if unused.iter().any(|byte| *byte != 0) {
        return Probe::NotForUs;
    }
    match (bytes.get(..PREAMBLE_BYTES - 4), le32(bytes, PREAMBLE_BYTES - 4)) {
        (Some(preamble), Some(checksum)) => certain(crc_32c(preamble) == checksum),
        _ => Probe::Unsure,
    }
}

/// CRC-32C that begins with 0 and is not inverted at its end, as Ceph has it.
fn crc_32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    bytes.iter().fold(0, |mut crc: u32, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
        }
        crc
    })
}

/// Apple's data stream interface: flags, a command, a reserved word, a length that fits.
fn afp(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let Some([flags, command, ..]) = bytes.first_chunk::<16>() else {
        // The error or offset of both first commands is 0.
        let is_open = matches!(bytes.get(1), None | Some(3 | 4))
            && bytes.iter().skip(4).take(4).all(|byte| *byte == 0)
            && bytes.get(8).is_none_or(|byte| *byte == 0);
        return if is_open { Probe::Unsure } else { Probe::NotForUs };
    };
    let (offset, len, reserved) = (be32(bytes, 4), be32(bytes, 8), be32(bytes, 12));
    let Some(len) = len.filter(|len| *len <= 1 << 16) else { return Probe::NotForUs };
    let is_so = reserved == Some(0)
        && match (flags, command) {
            // Status and session come first; their requests say little or nothing.
            (0, 3) => offset == Some(0) && len <= 16,
            (0, 4) => offset == Some(0) && len <= 32,
            (1, 3) => offset == Some(0) && len >= 32,
            (1, 4) => offset == Some(0) && len <= 64,
            _ => false,
        };
    if !is_so {
        return Probe::NotForUs;
    }
    let len = len as usize + 16;
    if first.has_port(548) {
        return Probe::Certain;
    }
    match bytes.len() {
        short if short < len => Probe::Unsure,
        // Not the one direction's status request, which is nearly all zeros.
        whole if whole == len && len > 16 => Probe::Likely,
        _ => Probe::NotForUs,
    }
}

const ISCSI_STARTS: [u8; 24] = [
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x20, 0x21, 0x22,
    0x23, 0x24, 0x25, 0x26, 0x31, 0x32, 0x3f,
];

/// RFC 7143 section 11: a header of forty-eight bytes. A login says its keys; others take the port.
fn iscsi(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let Some(operation) = u8_at(bytes, 0).map(|byte| byte & 0x3f) else { return Probe::Unsure };
    let is_login = matches!(operation, 0x03 | 0x23);
    if !is_login && !first.has_port_of(&[3260, 860]) {
        return Probe::NotForUs;
    }
    // Versions of a login are 0; others have reserved bytes there, or a response's code.
    if is_login && bytes.get(2..4).is_some_and(|versions| versions != [0, 0]) {
        return Probe::NotForUs;
    }
    let Some([_, flags, _, _, additional, a, b, c]) = bytes.first_chunk::<8>() else { return Probe::Unsure };
    let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
    if *additional != 0 || len > 1 << 18 {
        return Probe::NotForUs;
    }
    if !is_login {
        // The final bit is set where nothing follows.
        return if bytes.len() < 48 {
            Probe::Unsure
        } else {
            likely_on(first, &[3260, 860], flags & 0x80 != 0)
        };
    }
    if len > 8192 {
        return Probe::NotForUs;
    }
    let Some(keys) = bytes.get(48..48 + len) else { return Probe::Unsure };
    let key = keys.iter().position(|byte| *byte == b'=').unwrap_or(0);
    let is_key = key >= 4 && head(keys, key).iter().all(u8::is_ascii_alphanumeric);
    if is_key { Probe::Certain } else { likely_on(first, &[3260, 860], keys.is_empty() || is_key) }
}

/// LNet over TCP: the acceptor's and the hello's magic numbers in either order, or its messages on its port.
fn lustre(first: &First<'_>) -> Probe {
    let marks: &[&[u8]] = &[
        b"\x00\x71\xce\xac\x01\0\0\0",
        b"\xac\xce\x71\x00\0\0\0\x01",
        b"\xed\x0d\xbc\xee",
        b"\xee\xbc\x0d\xed",
    ];
    match begins_one(first, marks) {
        Probe::NotForUs if first.has_port(988) => {
            likely_on(first, &[988], matches!(le32(first.bytes, 0), Some(0xc0 | 0xc1)))
        }
        said => said,
    }
}

/// Rx (AFS): a header of twenty-eight bytes with small numbers, on the ports of AFS.
fn rx(first: &First<'_>) -> Probe {
    let is_port = |port: u16| (7000..=7009).contains(&port) || port == 7021;
    if !is_port(first.source_port) && !is_port(first.destination_port) {
        return Probe::NotForUs;
    }
    let bytes = first.bytes;
    let (Some(epoch), Some(call), Some(sequence), Some(serial)) =
        (be32(bytes, 0), be32(bytes, 8), be32(bytes, 12), be32(bytes, 16))
    else {
        return Probe::NotForUs;
    };
    let Some([kind, flags, _, security, _, _, service_high, service_low]) = array_at::<8>(bytes, 20) else {
        return Probe::NotForUs;
    };
    let service = u16::from_be_bytes([service_high, service_low]);
    certain(
        epoch != 0
            && call < 1 << 24
            && sequence < 1 << 24
            && serial < 1 << 24
            && matches!(kind, 1..=9 | 13)
            && flags & 0xc0 == 0
            && security <= 5
            && service != 0
            && service < 10_000,
    )
}
