//! The names of DNS numbers, as EVE writes them, and the text form of what names carry.
//!
//! In: numbers and bytes of messages. Out: text. The numbers are those of IANA's registry "Domain Name
//! System (DNS) Parameters".

use std::borrow::Cow;

macro_rules! record_types {
    ($($name:ident = $number:literal),* $(,)?) => {
        /// Record types by name.
        pub(super) mod rr {
            #![allow(dead_code, reason = "the registry is kept whole")]
            $(pub(in crate::dpi::dns) const $name: u16 = $number;)*
        }

        /// A record type's name; an unassigned type is its number.
        pub(super) fn rr_name(number: u16) -> Cow<'static, str> {
            match number {
                $($number => stringify!($name).into(),)*
                _ => number.to_string().into(),
            }
        }

        /// Whether a question may be of this type: an assigned one, or one for private use.
        pub(super) fn is_question_type(number: u16) -> bool {
            matches!(number, $($number)|* | 65280..=65534)
        }
    };
}

record_types! {
    A = 1, NS = 2, MD = 3, MF = 4, CNAME = 5, SOA = 6, MB = 7, MG = 8, MR = 9, NULL = 10, WKS = 11, PTR = 12,
    HINFO = 13, MINFO = 14, MX = 15, TXT = 16, RP = 17, AFSDB = 18, X25 = 19, ISDN = 20, RT = 21, NSAP = 22,
    SIG = 24, KEY = 25, PX = 26, GPOS = 27, AAAA = 28, LOC = 29, NXT = 30, SRV = 33, ATMA = 34, NAPTR = 35,
    KX = 36, CERT = 37, A6 = 38, DNAME = 39, OPT = 41, APL = 42, DS = 43, SSHFP = 44, IPSECKEY = 45,
    RRSIG = 46, NSEC = 47, DNSKEY = 48, DHCID = 49, NSEC3 = 50, NSEC3PARAM = 51, TLSA = 52, SMIMEA = 53,
    HIP = 55, CDS = 59, CDNSKEY = 60, OPENPGPKEY = 61, CSYNC = 62, ZONEMD = 63, SVCB = 64, HTTPS = 65,
    SPF = 99, EUI48 = 108, EUI64 = 109, TKEY = 249, TSIG = 250, IXFR = 251, AXFR = 252, MAILB = 253,
    MAILA = 254, ANY = 255, URI = 256, CAA = 257, TA = 32768, DLV = 32769,
}

/// A record type's name in lower case, as EVE's `mdns` and `llmnr` have it.
pub(super) fn rr_key(number: u16) -> Cow<'static, str> {
    match number {
        rr::A => "a".into(),
        rr::AAAA => "aaaa".into(),
        rr::PTR => "ptr".into(),
        rr::SRV => "srv".into(),
        rr::TXT => "txt".into(),
        rr::ANY => "any".into(),
        rr::NSEC => "nsec".into(),
        other => rr_name(other).to_ascii_lowercase().into(),
    }
}

/// A response code's name (RFC 6895 section 2.3); an unassigned code is its number.
pub(super) fn rcode_name(code: u8) -> Cow<'static, str> {
    let name = match code {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        _ => return code.to_string().into(),
    };
    name.into()
}

/// Whether a name is a NetBIOS name in its first-level encoding (RFC 1001 section 14.1): a first label
/// of 32 letters from A to P.
pub(super) fn is_netbios_name(name: &[u8]) -> bool {
    let label = name.split(|byte| *byte == b'.').next().unwrap_or_default();
    label.len() == 32 && label.iter().all(|byte| (b'A'..=b'P').contains(byte))
}

/// Bytes as text: as they are when they are UTF-8, else with `\xNN` for each byte beyond ASCII, as EVE
/// has it.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.into();
    }
    let mut text = String::with_capacity(bytes.len() * 4);
    for byte in bytes {
        if byte.is_ascii() {
            text.push(char::from(*byte));
        } else {
            text.push_str("\\x");
            push_hex(&mut text, *byte);
        }
    }
    text.into()
}

/// Appends the two hexadecimal digits of a byte.
pub(super) fn push_hex(text: &mut String, byte: u8) {
    for digit in [byte >> 4, byte & 15] {
        text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
    }
}

/// The hexadecimal digits of bytes, with something between them.
pub(super) fn hex(bytes: &[u8], between: &str) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for byte in bytes {
        if !text.is_empty() {
            text.push_str(between);
        }
        push_hex(&mut text, *byte);
    }
    text
}
