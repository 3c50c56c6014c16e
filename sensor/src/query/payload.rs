//! Whether an expression looks at bytes that the ring may have left out.
//!
//! In: a pcap-filter(7) expression. Out: whether one of its accessors (`tcp[20:4]`) may reach past the headers.
//! What is no plain number or name within a header counts as reaching past it. Everything else in the language
//! reads headers and lengths, which are always kept.

/// How many bytes of a protocol are always kept: its shortest header, or, where its frames are never shortened,
/// all. None: no such protocol is known here.
fn kept(protocol: &str) -> Option<u32> {
    Some(match protocol {
        "ether" | "link" | "fddi" | "tr" | "wlan" | "ppp" | "slip" => 14,
        "ip" | "tcp" => 20,
        "ip6" => 40,
        "udp" => 8,
        "arp" | "rarp" | "icmp" | "icmp6" | "igmp" | "igrp" | "pim" | "vrrp" | "carp" | "sctp" => u32::MAX,
        _ => return None,
    })
}

/// Whether the expression may ask for bytes of a payload.
pub(super) fn reads_payload(expression: &str) -> bool {
    let mut rest = expression;
    while let Some((before, accessor)) = rest.split_once('[') {
        let before = before.trim_end();
        let begin = before.rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |at| at + 1);
        let protocol = before.get(begin..).unwrap_or_default();
        let Some((inside, after)) = accessor.split_once(']') else { return true };
        let kept = kept(protocol).unwrap_or(0);
        if kept < u32::MAX && end(inside).is_none_or(|end| end > kept) {
            return true;
        }
        rest = after;
    }
    false
}

/// The first byte that an accessor does not read; none where that is not plain.
fn end(inside: &str) -> Option<u32> {
    let (offset, size) = inside.split_once(':').unwrap_or((inside, "1"));
    let number = |text: &str| match text.trim().strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.trim().parse::<u32>().ok(),
    };
    let offset = if offset.trim() == "tcpflags" { 13 } else { number(offset)? };
    offset.checked_add(number(size)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_told_from_payload_at_their_last_byte() {
        for (expression, want) in [
            ("", false),
            ("tcp port 443 and greater 100", false),
            ("tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", false),
            ("tcp[13] & 2 != 0 and ip[8] < 5", false),
            ("tcp[16:4] = 0 and udp [ 6 : 2 ] = 0", false),
            ("tcp[17:4] = 0", true),
            ("tcp[19] = 0", false),
            ("tcp[20] = 0", true),
            ("tcp[0x13] = 0 and ip6[36:4] = 1", false),
            ("tcp[0x14] = 0", true),
            ("tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420", true),
            ("udp[8] = 0", true),
            ("icmp[icmptype] = 8 and icmp[100] = 5", false),
            ("ip[2:2] > 5 and tcp[4294967295:4] = 1", true),
            ("wonder[0] = 1", true),
            ("tcp[", true),
        ] {
            assert_eq!(reads_payload(expression), want, "{expression}");
        }
    }
}
