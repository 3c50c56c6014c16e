//! What routers, switches and gateways say among each other: routing, tunnels, mobile cores, telemetry, clocks,
//! control and management.
//!
//! In: first bytes. Out: whether they are one of these.

use super::*;

pub(super) const TABLE: &[Recogniser] = &[
    line(App::Bfd, Starts::datagram(&range::<0x20, 10>()).or(Starts::datagram(b"\x01")), bfd),
    line(App::Bgp, Starts::stream(b"\xff"), bgp),
    line(App::Capwap, Starts::datagram(b"\x00\x01"), capwap),
    line(App::Dlep, Starts::datagram(b"D").or(Starts::stream(b"\x00")), dlep),
    line(App::Gtp, Starts::datagram(&GTP_STARTS), gtp),
    line(App::Pfcp, Starts::datagram(&range::<0x20, 8>()), pfcp),
    line(App::Hsrp, Starts::datagram(&range::<0, 5>()), hsrp),
    line(App::Ldp, Starts::both(b"\x00"), ldp),
    line(App::Lisp, Starts::DATAGRAM.or(Starts::stream(b"\x00")), lisp),
    line(App::Netflow, Starts::both(b"\x00"), netflow),
    line(App::Sflow, Starts::datagram(b"\x00"), sflow),
    line(App::Openflow, Starts::stream(&range::<1, 6>()), openflow),
    line(App::Ptp, Starts::DATAGRAM, ptp),
    line(App::Rip, Starts::datagram(b"\x01\x02"), rip),
    line(App::Vxlan, Starts::datagram(b"\x08\x88\x0c"), vxlan),
    line(App::Geneve, Starts::datagram(&range::<0, 64>()), geneve),
    line(App::Teredo, Starts::datagram(&TEREDO_STARTS), teredo),
    line(
        App::L2tp,
        Starts::datagram(b"\xc8\x00\x01\x02\x03\x08\x09\x0a\x0b\x40\x41\x42\x43\x48\x49\x4a\x4b"),
        l2tp,
    ),
    line(App::Rmcp, Starts::datagram(b"\x06"), rmcp),
    line(
        App::Roughtime,
        Starts::datagram(b"R\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c").or(Starts::stream(b"R")),
        roughtime,
    ),
    line(App::Tacacs, Starts::stream(b"\xc0\xc1"), tacacs),
    line(App::Collectd, Starts::datagram(b"\x00\x02"), collectd),
    line(App::Diameter, Starts::stream(b"\x01"), diameter),
    line(App::Hislip, Starts::stream(b"H"), hislip),
];

/// So many bytes from one on.
const fn range<const FROM: u8, const COUNT: usize>() -> [u8; COUNT] {
    let mut bytes = [0; COUNT];
    let mut at = 0;
    while at < COUNT {
        bytes[at] = FROM + at as u8;
        at += 1;
    }
    bytes
}

/// RFC 5880 section 4.1: version 1, a diagnostic code, lengths that fit, a discriminator. What a router echoes to itself
/// has a port of its own and content of its maker's choice (RFC 5881 section 4); FRR's is known (bfdd, `bfd_echo_pkt`):
/// version, length, two reserved bytes, its discriminator.
fn bfd(first: &First<'_>) -> Probe {
    const ECHO_PORT: u16 = 3785;
    if let [1, len, 0, 0, a, b, c, d, ..] = first.bytes {
        let is_so = usize::from(*len) == first.bytes.len() && [a, b, c, d] != [&0; 4];
        return certain(is_so && first.has_port(ECHO_PORT));
    }
    let Some([version, state, multiplier, len, a, b, c, d]) = first.bytes.first_chunk::<8>() else {
        return Probe::NotForUs;
    };
    let has_authentication = state & 4 != 0;
    let is_so = version & 0x1f <= 9
        && state & 1 == 0
        && *multiplier > 0
        && usize::from(*len) == first.bytes.len()
        && if has_authentication { *len > 24 } else { *len == 24 }
        && [a, b, c, d] != [&0; 4];
    certain_on(first, &[3784, 4784, 6784], is_so)
}

/// RFC 4271 section 4.1: sixteen bytes of ones, a length, a type.
fn bgp(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    if head(bytes, 16).iter().any(|byte| *byte != 0xff) {
        return Probe::NotForUs;
    }
    match (be16(bytes, 16), bytes.get(18)) {
        (Some(19..=4096), Some(1..=5)) => Probe::Certain,
        (None, _) | (Some(19..=4096), None) => Probe::Unsure,
        _ => Probe::NotForUs,
    }
}

/// RFC 5415 section 4: a preamble, then a control message whose length fits, or DTLS, or a data frame.
fn capwap(first: &First<'_>) -> Probe {
    const PORTS: &[u16] = &[5246, 5247];
    let bytes = first.bytes;
    let is_so = match bytes {
        // DTLS within: three reserved bytes, a record of DTLS 1.0 or 1.2 that fits.
        [1, 0, 0, 0, 20..=25, 0xfe, 0xff | 0xfd, ..] => {
            be16(bytes, 15).is_some_and(|len| usize::from(len) + 17 <= bytes.len())
        }
        [0, packed, ..] => {
            let header = usize::from(packed >> 3) * 4;
            let is_control = || {
                let (kind, len) = (be32(bytes, header)?, be16(bytes, header + 5)?);
                let (enterprise, kind) = (kind >> 8, kind & 0xff);
                // Whether the length counts what stands between it and the elements depends on the maker.
                let rest = bytes.len().checked_sub(header + 5)?;
                let fits = (rest == usize::from(len) || rest == usize::from(len) + 3) && len >= 3;
                Some(fits && (enterprise == 0 || enterprise == 13_277) && (1..=40).contains(&kind))
            };
            let has_no_offset = be16(bytes, 6).is_some_and(|offset| offset & 7 == 0);
            // A data frame without a radio's address: a header of two words, not a fragment.
            let is_data = || {
                first.has_port(5247)
                    && header == 8
                    && bytes.len() > header + 24
                    && be32(bytes, 4).is_some_and(|fragment| fragment & 0xffff == 0)
            };
            // The data channel begins with a frame that only keeps it open (section 4.4.1): a flag says so, and the one
            // element is the session's number.
            let is_keep_alive = || {
                first.has_port(5247)
                    && bytes.get(3).is_some_and(|flags| flags & 8 != 0)
                    && be16(bytes, header).is_some_and(|len| usize::from(len) + header >= bytes.len() - 2)
                    && bytes.get(header + 2..header + 6) == Some(&[0, 35, 0, 16])
            };
            (8..=64).contains(&header)
                && has_no_offset
                && (is_control() == Some(true) || is_data() || is_keep_alive())
        }
        _ => false,
    };
    certain_on(first, PORTS, is_so)
}

/// RFC 8175 sections 10 to 13: a signal's mark, or a message of data items that fit.
fn dlep(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let item = |bytes: &[u8]| {
        let (kind, len) = (be16(bytes, 0)?, be16(bytes, 2)?);
        (1..=40).contains(&kind).then_some(usize::from(len) + 4)
    };
    if first.is_datagram() {
        let fits = be16(bytes, 6).is_some_and(|len| usize::from(len) + 8 == bytes.len());
        return certain(bytes.starts_with(b"DLEP") && fits && tiles(bytes, 8, item).is_some());
    }
    let (Some(kind), Some(len)) = (be16(bytes, 0), be16(bytes, 2)) else { return Probe::Unsure };
    if !(1..=2).contains(&kind) || !(8..=1024).contains(&len) {
        return Probe::NotForUs;
    }
    let Some(message) = bytes.get(..usize::from(len) + 4) else { return Probe::Unsure };
    // Both kinds of message begin a session and must say how often heartbeats come.
    let has_heartbeat = holds(message, &[0, 5, 0, 4]);
    certain(has_heartbeat && tiles(message, 4, item).is_some_and(|items| items >= 2))
}

const GTP_STARTS: [u8; 8 + 32 + 3] = {
    let (mut bytes, mut at) = ([0; 8 + 32 + 3], 0);
    while at < 8 {
        bytes[at] = 0x30 + at as u8;
        at += 1;
    }
    while at < 40 {
        bytes[at] = 0x40 + (at - 8) as u8;
        at += 1;
    }
    (bytes[40], bytes[41], bytes[42]) = (0x0e, 0x0f, 0x1e);
    bytes
};

/// GTP versions 0 to 2 and GTP' (3GPP TS 29.060, 29.274, 29.281, 32.295): a length that fits, a known message.
fn gtp(first: &First<'_>) -> Probe {
    const PORTS: &[u16] = &[2123, 2152, 3386];
    let bytes = first.bytes;
    let (Some(flags), Some(kind), Some(len)) = (u8_at(bytes, 0), u8_at(bytes, 1), be16(bytes, 2)) else {
        return Probe::NotForUs;
    };
    let len = usize::from(len);
    let is_user_packet = kind == 255;
    let fits = match flags >> 5 {
        // Version 0: twenty bytes of header; GTP' has six or twenty.
        0 => len + 20 == bytes.len() || len + 6 == bytes.len(),
        1 => len + 8 == bytes.len(),
        _ => {
            len + 4 == bytes.len()
                || flags & 0x10 != 0
                    && bytes
                        .get(len + 4..)
                        .is_some_and(|next| next.first().is_some_and(|flags| flags >> 5 == 2))
        }
    };
    let is_known = match flags >> 5 {
        0 => matches!(kind, 1..=7 | 16..=53 | 240 | 241 | 255),
        1 => matches!(kind, 1..=7 | 16..=62 | 96..=128 | 240 | 241 | 254 | 255),
        _ => {
            matches!(kind, 1..=3 | 32..=73 | 95..=103 | 128..=141 | 149..=171 | 176 | 177 | 200..=212 | 231..=236)
        }
    };
    if !fits || !is_known {
        return Probe::NotForUs;
    }
    if is_user_packet && flags >> 5 == 1 {
        // Sequence number, N-PDU number and extensions lie between; without extensions it is four bytes.
        let at = if flags & 7 == 0 { 8 } else { 12 };
        let inner = bytes.get(at..).unwrap_or_default();
        let has_extension = flags & 4 != 0 && u8_at(bytes, 11) != Some(0);
        if is_ip_packet(inner) {
            return Probe::Certain;
        }
        return certain(has_extension && first.has_port(2152) || first.has_port(2152) && !inner.is_empty());
    }
    certain_on(first, PORTS, first.has_port_of(PORTS))
}

/// 3GPP TS 29.244: version 1, a known message, a length that fits, elements that tile.
fn pfcp(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let (Some(flags), Some(kind), Some(len)) = (u8_at(bytes, 0), u8_at(bytes, 1), be16(bytes, 2)) else {
        return Probe::NotForUs;
    };
    let header = if flags & 1 == 1 { 16 } else { 8 };
    let element = |bytes: &[u8]| Some(usize::from(be16(bytes, 2)?) + 4);
    let is_so = usize::from(len) + 4 == bytes.len()
        && matches!(kind, 1..=15 | 50..=57)
        && tiles(bytes, header, element).is_some_and(|count| count > 0);
    certain_on(first, &[8805], is_so)
}

/// RFC 2281 section 5, and version 2's elements of type and length.
fn hsrp(first: &First<'_>) -> Probe {
    const PORTS: &[u16] = &[1985, 2029];
    let bytes = first.bytes;
    let is_first_version = matches!(
        bytes,
        [0, 0..=2, 0 | 1 | 2 | 4 | 8 | 16, _, _, _, _, 0, ..] if bytes.len() == 20 || bytes.len() == 50
    ) || matches!(bytes, [0, 3, 0, 1, ..] if bytes.len() == 16);
    let element = |bytes: &[u8]| Some(usize::from(u8_at(bytes, 1)?) + 2);
    let is_second_version =
        matches!(bytes, [1, 40, 2, 0..=3, 0..=6, 4 | 6, ..] | [2, 4, ..] | [3, 8, ..] | [4, 28, ..])
            && tiles(bytes, 0, element).is_some();
    let is_so = is_first_version || is_second_version;
    if is_so && first.has_port_of(PORTS) { Probe::Certain } else { Probe::NotForUs }
}

/// RFC 5036 section 3.1: version 1, a length that fits, a known message.
fn ldp(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let Some([0, 1, len_high, len_low]) = bytes.first_chunk::<4>() else {
        let start = head(bytes, 2);
        return if [0, 1].starts_with(start) { too_few(first) } else { Probe::NotForUs };
    };
    let len = usize::from(u16::from_be_bytes([*len_high, *len_low]));
    if !(14..=4096).contains(&len) {
        return Probe::NotForUs;
    }
    let (Some(kind), Some(message)) = (be16(bytes, 10), be16(bytes, 12)) else { return too_few(first) };
    let is_known = matches!(
        kind & 0x7fff,
        0x0001 | 0x0100 | 0x0200..=0x0203 | 0x0300 | 0x0301 | 0x0400..=0x0404 | 0x3e00..=0x3fff
    );
    let fits = usize::from(message) + 10 <= len && (first.is_stream() || len + 4 == bytes.len());
    certain_on(first, &[646], is_known && fits)
}

/// RFC 9300, RFC 9301: control messages, data packets with a packet inside; and Cisco's registration over TCP.
fn lisp(first: &First<'_>) -> Probe {
    const PORTS: &[u16] = &[4341, 4342];
    let bytes = first.bytes;
    if first.is_stream() {
        let (Some(kind), Some(len)) = (be16(bytes, 0), be16(bytes, 2)) else { return Probe::Unsure };
        if !(0x0010..=0x001f).contains(&kind) || !(12..=2048).contains(&len) {
            return Probe::NotForUs;
        }
        let Some(message) = bytes.get(..usize::from(len)) else { return Probe::Unsure };
        return certain(message.ends_with(&[0x9f, 0xac, 0xad, 0xe9]));
    }
    if !first.has_port_of(PORTS) {
        return Probe::NotForUs;
    }
    let Some(kind) = u8_at(bytes, 0) else { return Probe::NotForUs };
    if first.has_port(4341) {
        return certain(bytes.get(8..).is_some_and(is_ip_packet));
    }
    let records = u8_at(bytes, 3).unwrap_or(0);
    let key = (be16(bytes, 12), be16(bytes, 14));
    let key_fits = || matches!(key, (Some(0), Some(0)) | (Some(1), Some(20)) | (Some(2), Some(32)));
    certain(match kind >> 4 {
        // A request: the source's address family follows the nonce.
        1 => records > 0 && matches!(be16(bytes, 12), Some(0 | 1 | 2 | 16_387)),
        2 => records > 0 && bytes.len() >= 24,
        3..=5 => key_fits() && bytes.len() >= 16,
        7 => bytes.len() >= 16,
        8 => bytes.get(4..).is_some_and(is_ip_packet),
        _ => false,
    })
}

/// NetFlow 1, 5, 7 and 9 and IPFIX (RFC 3954, RFC 7011): counts and lengths that fit, a time that may be.
fn netflow(first: &First<'_>) -> Probe {
    /// The first second of the year 2000; exporters with a clock are later.
    const TIME_MIN: u32 = 946_684_800;
    let bytes = first.bytes;
    let (Some(version), Some(count)) = (be16(bytes, 0), be16(bytes, 2)) else { return too_few(first) };
    let count = usize::from(count);
    let set = |bytes: &[u8]| {
        let (id, len) = (be16(bytes, 0)?, be16(bytes, 2)?);
        (id <= 3 || id >= 256).then_some(usize::from(len)).filter(|len| *len >= 4)
    };
    if first.is_stream() {
        if version != 10 || !(20..=4096).contains(&count) {
            return Probe::NotForUs;
        }
        let Some(message) = bytes.get(..count) else { return Probe::Unsure };
        let has_time = be32(bytes, 4).is_some_and(|time| time > TIME_MIN);
        return certain(has_time && tiles(message, 16, set).is_some());
    }
    let has_time = be32(bytes, 8).is_some_and(|time| time > TIME_MIN);
    certain(match version {
        1 => (1..=24).contains(&count) && has_time && bytes.len() == 16 + 52 * count,
        5 => (1..=30).contains(&count) && has_time && bytes.len() == 24 + 48 * count,
        7 => (1..=28).contains(&count) && has_time && bytes.len() == 24 + 52 * count,
        9 => {
            let first_set = bytes.get(20..).and_then(set);
            has_time && (1..=512).contains(&count) && first_set.is_some_and(|len| len + 20 <= bytes.len())
        }
        10 => {
            let has_time = be32(bytes, 4).is_some_and(|time| time > TIME_MIN);
            has_time && count == bytes.len() && tiles(bytes, 16, set).is_some()
        }
        _ => false,
    })
}

/// sFlow 2, 4 and 5: the agent's address family, a count, samples whose lengths fit.
fn sflow(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let (Some(version @ (2 | 4 | 5)), Some(family @ (1 | 2))) = (be32(bytes, 0), be32(bytes, 4)) else {
        return Probe::NotForUs;
    };
    let at = if family == 1 { 12 } else { 24 };
    if version != 5 {
        // Sequence number, uptime, samples.
        let samples = be32(bytes, at + 8).unwrap_or(0);
        return likely_on(first, &[6343], (1..=64).contains(&samples));
    }
    let sample = |bytes: &[u8]| {
        let len = be32(bytes, 4)?;
        (len % 4 == 0 && len < 65_536).then_some(len as usize + 8)
    };
    let count = be32(bytes, at + 12).map(|count| count as usize);
    certain(count.is_some_and(|count| count > 0) && tiles(bytes, at + 16, sample) == count)
}

/// OpenFlow begins with a hello on both sides: a version, type 0, a short length. Channels live for long, so that on
/// its ports other messages are believed too: known types, of one version, that follow one another.
fn openflow(first: &First<'_>) -> Probe {
    const PORTS: &[u16] = &[6633, 6653];
    const TYPE_MAX: u8 = 35;
    let bytes = first.bytes;
    if first.has_port_of(PORTS) && bytes.get(1).is_some_and(|kind| (1..=TYPE_MAX).contains(kind)) {
        let Some(len) = be16(bytes, 2).map(usize::from) else { return Probe::Unsure };
        let next = bytes.get(len..);
        let goes_on = next.is_none_or(|next| {
            next.first().is_none_or(|version| bytes.first() == Some(version))
                && next.get(1).is_none_or(|kind| *kind <= TYPE_MAX)
        });
        return match next {
            _ if len < 8 || !goes_on => Probe::NotForUs,
            None if bytes.len() < 4096 => Probe::Unsure,
            _ => Probe::Likely,
        };
    }
    match (u8_at(bytes, 1), be16(bytes, 2)) {
        (None, _) | (Some(0), None) => return Probe::Unsure,
        (Some(0), Some(8 | 16)) => {}
        _ => return Probe::NotForUs,
    }
    if be16(bytes, 2) == Some(16) {
        // The versions as a map of bits (OpenFlow 1.3.1 section A.5.1).
        return match array_at::<4>(bytes, 8) {
            Some(element) => certain(element == [0, 1, 0, 8]),
            None => Probe::Unsure,
        };
    }
    if bytes.len() < 8 {
        return Probe::Unsure;
    }
    let goes_on = match bytes.get(8..) {
        Some([version, ..]) => bytes.first() == Some(version),
        _ => true,
    };
    certain_on(first, &[6633, 6653], goes_on)
}

/// IEEE 1588-2008 section 13.3 and its first version: on the ports it uses, a known message whose length fits.
fn ptp(first: &First<'_>) -> Probe {
    if !first.has_port_of(&[319, 320]) {
        return Probe::NotForUs;
    }
    let bytes = first.bytes;
    if bytes.starts_with(&[0, 1, 0, 1]) {
        return certain(bytes.get(4..9) == Some(b"_DFLT") || bytes.get(4..8) == Some(b"_ALT"));
    }
    let (Some(kind), Some(version), Some(len)) = (u8_at(bytes, 0), u8_at(bytes, 1), be16(bytes, 2)) else {
        return Probe::NotForUs;
    };
    let len = usize::from(len);
    let is_known = matches!(kind & 15, 0..=3 | 8..=13) && version & 15 == 2;
    certain(is_known && len >= 44 && len <= bytes.len() && bytes.len() - len <= 4)
}

/// RFC 2453 and RFC 2080: entries of twenty bytes with a family and a metric.
fn rip(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let [1 | 2, version @ (1 | 2), 0, 0, entries @ ..] = bytes else { return Probe::NotForUs };
    let (entries, rest) = entries.as_chunks::<20>();
    if entries.is_empty() || !rest.is_empty() {
        return Probe::NotForUs;
    }
    let is_metric = |entry: &[u8; 20]| entry[16..19] == [0; 3] && entry[19] <= 16;
    if first.has_port(521) && *version == 1 {
        return certain(
            entries.iter().all(|entry| entry[18] <= 128 && (entry[19] <= 16 || entry[19] == 255)),
        );
    }
    let is_entry = |entry: &[u8; 20]| match (entry[0], entry[1]) {
        (0, 0 | 2) => is_metric(entry),
        (255, 255) => true,
        _ => false,
    };
    certain(first.has_port(520) && entries.iter().all(is_entry))
}

/// Ethernet's type where a frame holds one that tunnels carry.
fn is_ethernet(frame: &[u8]) -> bool {
    matches!(
        be16(frame, 12),
        Some(0x0800 | 0x86dd | 0x0806 | 0x8100 | 0x88a8 | 0x88cc | 0x8847 | 0x8863 | 0x8864)
    )
}

/// RFC 7348 section 5, with the flags of its group policy and generic extensions.
fn vxlan(first: &First<'_>) -> Probe {
    let Some([flags, a, b, c, _, _, _, d]) = first.bytes.first_chunk::<8>() else { return Probe::NotForUs };
    let inner = first.bytes.get(8..).unwrap_or_default();
    let is_plain = *flags == 8 && [a, b, c, d] == [&0; 4] && is_ethernet(inner);
    if is_plain {
        return certain_on(first, &[4789, 8472], true);
    }
    certain(first.has_port_of(&[4789, 4790, 8472]) && *d == 0 && (is_ethernet(inner) || is_ip_packet(inner)))
}

/// RFC 8926 section 3.4: version 0, options of a length, a protocol within, reserved bits.
fn geneve(first: &First<'_>) -> Probe {
    let Some([options, flags, high, low, _, _, _, reserved]) = first.bytes.first_chunk::<8>() else {
        return Probe::NotForUs;
    };
    let inner = first.bytes.get(8 + usize::from(*options) * 4..).unwrap_or_default();
    let fits = match u16::from_be_bytes([*high, *low]) {
        0x6558 => is_ethernet(inner),
        0x0800 | 0x86dd => is_ip_packet(inner),
        _ => false,
    };
    certain_on(first, &[6081], fits && flags & 0x3f == 0 && *reserved == 0)
}

const TEREDO_STARTS: [u8; 17] = {
    let (mut bytes, mut at) = ([0; 17], 0);
    while at < 16 {
        bytes[at] = 0x60 + at as u8;
        at += 1;
    }
    bytes
};

/// RFC 4380 section 5.1: indications of authentication and origin, then an IPv6 packet that fits.
fn teredo(first: &First<'_>) -> Probe {
    const PREFIX: [u8; 4] = [0x20, 0x01, 0, 0];
    let mut bytes = first.bytes;
    let mut has_indication = false;
    if let [0, 1, id, authentication, ..] = bytes {
        bytes = bytes.get(13 + usize::from(*id) + usize::from(*authentication)..).unwrap_or_default();
        has_indication = true;
    }
    if let [0, 0, ..] = bytes {
        bytes = bytes.get(8..).unwrap_or_default();
        has_indication = true;
    }
    if bytes.first().is_none_or(|byte| byte >> 4 != 6) || !is_ip_packet(bytes) {
        return Probe::NotForUs;
    }
    let is_own = [8, 24].iter().any(|at| array_at::<4>(bytes, *at) == Some(PREFIX));
    certain(
        is_own || first.has_port(3544) && (has_indication || array_at::<2>(bytes, 8) == Some([0xfe, 0x80])),
    )
}

/// RFC 2661 section 3.1 and RFC 3931: a control message whose length fits, or a frame of PPP on its port.
fn l2tp(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let Some(flags) = be16(bytes, 0) else { return Probe::NotForUs };
    let version = flags & 15;
    if flags & 0xfff0 == 0xc800 && (version == 2 || version == 3) {
        let fits = be16(bytes, 2).is_some_and(|len| usize::from(len) == bytes.len());
        // The first attribute is the message's type: mandatory, eight bytes, the standard's.
        let is_message = matches!(bytes.get(12..18), Some([0x80, 8, 0, 0, 0, 0]));
        return match bytes.len() {
            12 => likely_on(first, &[1701], fits),
            _ => certain(fits && is_message),
        };
    }
    if !first.has_port(1701) || version != 2 || flags & 0x8000 != 0 || flags & 0x34f0 != 0 {
        return Probe::NotForUs;
    }
    let has_len = flags & 0x4000 != 0;
    let fits = !has_len || be16(bytes, 2).is_some_and(|len| usize::from(len) == bytes.len());
    let mut at = if has_len { 8 } else { 6 };
    if flags & 0x0800 != 0 {
        at += 4;
    }
    if flags & 0x0200 != 0 {
        at += 2 + usize::from(be16(bytes, at).unwrap_or(0));
    }
    let is_ppp =
        matches!(bytes.get(at..at + 2), Some([0xff, 3] | [0x00, 0x21 | 0x57] | [0xc0, _] | [0x21 | 0x57, _]));
    certain(fits && is_ppp)
}

/// ASF's and IPMI's remote management (DSP0136 section 3.2, IPMI 2.0 section 13).
fn rmcp(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let [6, 0, _, class, rest @ ..] = bytes else { return Probe::NotForUs };
    let is_so = match class & 0x1f {
        // An acknowledgement has no data.
        6 | 7 if class & 0x80 != 0 => rest.is_empty(),
        6 => {
            rest.starts_with(&[0, 0, 0x11, 0xbe])
                && rest.get(7).is_some_and(|len| usize::from(*len) + 8 <= rest.len())
        }
        7 => match rest.first() {
            // Session number, authentication code where there is one, length, message.
            Some(0) => rest.get(9).is_some_and(|len| usize::from(*len) + 10 <= rest.len()),
            Some(1 | 2 | 4 | 5) => rest.get(25).is_some_and(|len| usize::from(*len) + 26 <= rest.len()),
            // IPMI 2.0: payload type, session, sequence, length.
            Some(6) => le16(rest, 10).is_some_and(|len| usize::from(len) + 12 <= rest.len()),
            _ => false,
        },
        _ => false,
    };
    certain_on(first, &[623, 664], is_so)
}

/// Roughtime's tagged message, framed or not (draft-ietf-ntp-roughtime, and before it Google's); over TCP, as drafts
/// had it, the frame's mark stands for it.
fn roughtime(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    if first.is_stream() {
        return begins(first, b"ROUGHTIM");
    }
    let message = match bytes.strip_prefix(b"ROUGHTIM") {
        Some(rest) => rest.get(4..).unwrap_or_default(),
        None => bytes,
    };
    let Some(tags @ 2..=16) = le32(message, 0) else { return Probe::NotForUs };
    let names_at = tags as usize * 4;
    let names = message.get(names_at..names_at * 2).unwrap_or_default();
    let has = |name: &[u8; 4]| names.as_chunks::<4>().0.contains(name);
    certain(
        has(b"NONC") && (has(b"PAD\xff") || has(b"VER\0") || has(b"ZZZZ") || has(b"SIG\0"))
            || has(b"SREP") && has(b"SIG\0"),
    )
}

/// RFC 8907 section 4.1.
fn tacacs(first: &First<'_>) -> Probe {
    let Some(header) = first.bytes.first_chunk::<12>() else { return Probe::Unsure };
    let [_, kind, sequence, flags, ..] = header;
    let len = be32(header, 8).unwrap_or(u32::MAX) as usize;
    let is_so =
        matches!(kind, 1..=3) && (1..=2).contains(sequence) && flags & !5 == 0 && (5..=65_535).contains(&len);
    if !is_so {
        return Probe::NotForUs;
    }
    if first.bytes.len() < len + 12 && !first.has_port(49) {
        return Probe::Unsure;
    }
    certain_on(first, &[49], first.bytes.len() == len + 12 || first.has_port(49))
}

/// collectd's parts: type, length, and texts that end with NUL.
fn collectd(first: &First<'_>) -> Probe {
    let part = |bytes: &[u8]| {
        let (kind, len) = (be16(bytes, 0)?, usize::from(be16(bytes, 2)?));
        let value = bytes.get(4..len)?;
        let fits = match kind {
            0 | 2..=5 | 0x0100 => matches!(value, [text @ .., 0] if is_text(text)),
            1 | 7..=9 | 0x0101 => value.len() == 8,
            6 => value.len() >= 11,
            0x0200 => value.len() >= 33,
            0x0210 => value.len() >= 22,
            _ => false,
        };
        fits.then_some(len)
    };
    let bytes = first.bytes;
    // What is encrypted is one part.
    let parts_min = if be16(bytes, 0) == Some(0x0210) { 1 } else { 3 };
    let is_so = tiles(bytes, 0, part).is_some_and(|parts| parts >= parts_min);
    if parts_min == 1 { likely_on(first, &[25_826], is_so) } else { certain(is_so) }
}

/// RFC 6733 section 3: version 1, a length of whole words, reserved flags, a command, an attribute that fits.
fn diameter(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let Some(header) = bytes.first_chunk::<8>() else { return Probe::Unsure };
    let [_, a, b, c, flags, d, e, f] = *header;
    let len = u32::from_be_bytes([0, a, b, c]) as usize;
    let command = u32::from_be_bytes([0, d, e, f]);
    let is_command = (257..=400).contains(&command) || (8_388_608..8_389_000).contains(&command);
    if !len.is_multiple_of(4) || !(20..1 << 20).contains(&len) || flags & 15 != 0 || !is_command {
        return Probe::NotForUs;
    }
    if len == 20 {
        return likely_on(first, &[3868, 5868], true);
    }
    let (Some(code), Some(attribute)) = (be32(bytes, 20), be32(bytes, 24)) else { return Probe::Unsure };
    let (flags, attribute) = (attribute >> 24, (attribute & 0x00ff_ffff) as usize);
    certain(code < 1 << 16 && flags & 0x1f == 0 && attribute >= 8 && attribute + 20 <= len)
}

/// IVI-6.1 section 2.5: `HS`, a message type, a length of eight bytes.
fn hislip(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    match (head(bytes, 2), u8_at(bytes, 2), be64(bytes, 8)) {
        (b"HS", Some(0..=27 | 128..=255), Some(len)) => certain(len < 1 << 32),
        (b"HS", Some(0..=27 | 128..=255), None) | (b"HS" | b"H", None, _) => Probe::Unsure,
        _ => Probe::NotForUs,
    }
}
