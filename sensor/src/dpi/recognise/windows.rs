//! Protocols of Windows, identity and management that are only named: TACACS+ (RFC 8907), rsh and rlogin
//! (RFC 1282), X11, XDMCP, RDP over UDP (MS-RDPEUDP), the SQL Server Resolution Protocol (MC-SQLR).

use super::{First, Probe, likely_on};
use super::{Recogniser, line};
use crate::dpi::Starts;
use crate::dpi::wire::{be16_at, be32_at, is_text, le16_at, until_nul};
use weir_common::app::App;

pub(super) const TABLE: &[Recogniser] = &[
    line(App::Rsh, Starts::stream(b"\x000123456789"), rsh),
    line(App::Rlogin, Starts::stream(&[0]), rlogin),
    line(App::Krb5, Starts::both(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]), kpasswd),
    line(App::X11, Starts::stream(b"lB\0\x01\x02"), x11),
    line(App::Xdmcp, Starts::datagram(&[0]), xdmcp),
    line(App::Rdp, Starts::DATAGRAM, rdp_udp),
    line(App::MsSqlM, Starts::datagram(&[2, 3, 4, 5, 15]), sql_browser),
];

/// Who asks at which port an instance of SQL Server listens, and the answer (MC-SQLR section 2.2): requests are a byte and
/// perhaps a name, so their port has to say it too.
fn sql_browser(first: &First<'_>) -> Probe {
    const PORT: u16 = 1434;
    const NAME_BYTES_MAX: usize = 32;
    let is_name = |bytes: &[u8]| {
        bytes
            .strip_suffix(&[0])
            .is_some_and(|name| name.len() <= NAME_BYTES_MAX && is_text(name) && !name.is_empty())
    };
    match first.bytes {
        [2 | 3] => likely_on(first, &[PORT], true),
        [4, name @ ..] | [15, 1, name @ ..] => likely_on(first, &[PORT], is_name(name)),
        [5, low, high, text @ ..] => {
            let is_whole = usize::from(u16::from_le_bytes([*low, *high])) == text.len();
            let is_list = is_whole && text.starts_with(b"ServerName;");
            // The port for administrators: a version and two bytes, in an answer of six.
            let is_port = [*low, *high] == [6, 0] && matches!(text, [1, _, _]);
            if is_list { Probe::Certain } else { likely_on(first, &[PORT], is_port) }
        }
        _ => Probe::NotForUs,
    }
}

/// Whether bytes end with zeros alone.
fn are_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn is_word(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic)
}

/// rsh: the port for errors in digits, two accounts and a command, each ended by NUL.
pub(super) fn rsh(first: &First<'_>) -> Probe {
    const PORT: u16 = 514;
    let digits = first.bytes.iter().take(6).take_while(|digit| digit.is_ascii_digit()).count();
    if digits > 5 {
        return Probe::NotForUs;
    }
    match first.bytes.get(digits) {
        None => Probe::Unsure,
        // From a port that only a system may use, as the protocol demands.
        Some(0) if first.destination_port == PORT && first.source_port < 1024 => Probe::Certain,
        Some(0) if digits > 0 => {
            let rest = first.bytes.get(digits + 1..).unwrap_or_default();
            let (local, rest) = until_nul(rest);
            let (remote, rest) = until_nul(rest);
            let is_account = |name: &[u8]| is_word(name) && name.first().is_some_and(u8::is_ascii_alphabetic);
            let (command, rest) = until_nul(rest);
            let is_whole = is_account(local)
                && is_account(remote)
                && command.len() > 1
                && is_text(command)
                && rest.is_empty()
                && first.bytes.ends_with(&[0]);
            if is_whole { Probe::Certain } else { Probe::NotForUs }
        }
        Some(_) => Probe::NotForUs,
    }
}

/// rlogin: NUL, two accounts, the terminal and its speed.
pub(super) fn rlogin(first: &First<'_>) -> Probe {
    const BYTES_MAX: usize = 128;
    let Some(rest) = first.bytes.strip_prefix(&[0]).filter(|_| first.bytes.len() <= BYTES_MAX) else {
        return Probe::NotForUs;
    };
    if rest.is_empty() {
        return if first.has_port(513) { Probe::Unsure } else { Probe::NotForUs };
    }
    let (local, rest) = until_nul(rest);
    let (remote, rest) = until_nul(rest);
    let (terminal, rest) = until_nul(rest);
    let speed = terminal.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let has_speed = terminal.contains(&b'/') && is_word(speed) && speed.iter().all(u8::is_ascii_digit);
    if is_word(local) && is_word(remote) && is_word(terminal) && has_speed && rest.is_empty() {
        Probe::Certain
    } else {
        Probe::NotForUs
    }
}

/// X11: byte order, version 11.0, lengths of the authorization's name and data; or the server's answer.
pub(super) fn x11(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let port = first.source_port.min(first.destination_port);
    let has_port = (6000..=6063).contains(&port) || (6000..=6063).contains(&first.source_port);
    let is_little = match bytes.first() {
        Some(b'l') => true,
        Some(b'B') => false,
        // Failed, success, authenticate.
        Some(0..=2) if has_port => {
            return match bytes.get(2..6) {
                Some([11, 0, 0, 0] | [0, 11, 0, 0]) => Probe::Certain,
                None => Probe::Unsure,
                _ => Probe::NotForUs,
            };
        }
        _ => return Probe::NotForUs,
    };
    let u16 = |at| if is_little { le16_at(bytes, at) } else { be16_at(bytes, at) };
    let begins = |at: usize, want: u16| u16(at).is_none_or(|value| value == want);
    if bytes.get(1).is_some_and(|unused| *unused != 0) || !begins(2, 11) || !begins(4, 0) || !begins(10, 0) {
        return Probe::NotForUs;
    }
    let (Some(name), Some(data), Some(_)) = (u16(6), u16(8), u16(10)) else { return Probe::Unsure };
    let padded = |length: u16| usize::from(length).next_multiple_of(4);
    if name > 64 || data > 256 {
        return Probe::NotForUs;
    }
    match bytes.len() {
        length if length < 12 + padded(name) + padded(data) => Probe::Unsure,
        _ => Probe::Certain,
    }
}

/// Changing passwords by Kerberos (RFC 3244): the length of all, a version, that of an AP-REQ or AP-REP, or an
/// error's.
pub(super) fn kpasswd(first: &First<'_>) -> Probe {
    let bytes = if first.is_stream() { first.bytes.get(4..).unwrap_or_default() } else { first.bytes };
    if first.is_stream() && bytes.len() < 7 {
        return if first.has_port(464) { Probe::Unsure } else { Probe::NotForUs };
    }
    let (Some(length), Some(version), Some(inner)) =
        (be16_at(bytes, 0), be16_at(bytes, 2), be16_at(bytes, 4))
    else {
        return Probe::NotForUs;
    };
    let is_length =
        usize::from(length) == bytes.len() || first.is_stream() && usize::from(length) > bytes.len();
    let is_mark = match bytes.get(6) {
        Some(0x6e | 0x6f) => inner > 0 && inner < length,
        Some(0x7e) => inner == 0,
        _ => false,
    };
    if is_length && matches!(version, 1 | 0xff80) && is_mark { Probe::Certain } else { Probe::NotForUs }
}

/// XDMCP: version 1, an operation, the length of the rest.
pub(super) fn xdmcp(first: &First<'_>) -> Probe {
    let words = [0, 2, 4].map(|at| be16_at(first.bytes, at));
    match words {
        [Some(1), Some(1..=14), Some(length)]
            if usize::from(length) + 6 == first.bytes.len() && first.has_port(177) =>
        {
            Probe::Certain
        }
        _ => Probe::NotForUs,
    }
}

/// Whether a datagram of RDP over UDP acknowledges, and carries records of TLS.
fn carries_tls(bytes: &[u8]) -> bool {
    const ACK_AND_DATA: u16 = 0x000c;
    // Behind the header, one acknowledgement vector and the sequence numbers.
    const DATA_AT: usize = 20;
    let record = bytes.get(DATA_AT..).unwrap_or_default();
    let fits = be16_at(record, 3).is_some_and(|length| usize::from(length) + 5 <= record.len());
    be16_at(bytes, 6) == Some(ACK_AND_DATA) && fits && matches!(record, [20..=23, 3, 1..=3, ..])
}

/// RDP over UDP: the synchronising datagrams, padded with zeros to the size of which they speak; later ones
/// where they are expected.
pub(super) fn rdp_udp(first: &First<'_>) -> Probe {
    const PORT: u16 = 3389;
    if first.has_port(PORT) && carries_tls(first.bytes) {
        return Probe::Certain;
    }
    const MTU: std::ops::RangeInclusive<u16> = 1132..=1232;
    const SYN: u16 = 1;
    let bytes = first.bytes;
    let (Some(acknowledged), Some(flags), Some(up), Some(down)) =
        (be32_at(bytes, 0), be16_at(bytes, 6), be16_at(bytes, 12), be16_at(bytes, 14))
    else {
        return Probe::NotForUs;
    };
    let is_first = acknowledged == u32::MAX;
    let is_answer = flags & 4 != 0;
    let is_padded = bytes.get(bytes.len().saturating_sub(512)..).is_some_and(are_zero);
    let is_right = flags & SYN != 0
        && (is_first || is_answer)
        && MTU.contains(&up)
        && MTU.contains(&down)
        && MTU.contains(&u16::try_from(bytes.len()).unwrap_or(0))
        && is_padded;
    if is_right { Probe::Certain } else { Probe::NotForUs }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use weir_common::net::Direction;

    fn stream(bytes: &[u8]) -> First<'_> {
        First::of(Carrier::Stream, Direction::Forward, bytes)
    }

    fn datagram(bytes: &[u8]) -> First<'_> {
        First::of(Carrier::Datagram, Direction::Forward, bytes)
    }

    #[test]
    fn remote_shells_name_their_accounts() {
        assert_eq!(rsh(&stream(b"1022\0").between(1023, 514)), Probe::Certain);
        assert_eq!(rsh(&stream(b"1022\0")), Probe::NotForUs);
        assert_eq!(rsh(&stream(b"1022\0bob\0root\0ls -l\0")), Probe::Certain);
        assert_eq!(rsh(&stream(b"8\x000\x000\x003\x000\0")), Probe::NotForUs);
        assert_eq!(rsh(&stream(b"10")), Probe::Unsure);
        assert_eq!(rlogin(&stream(b"\0bob\0root\0xterm/38400\0")), Probe::Certain);
        for other in [&b"\0bob\0root\0xterm\0"[..], b"\0\0\0\x55\xffSMB", b"\0bob\0root\0xterm/3x\0"] {
            assert_eq!(rlogin(&stream(other)), Probe::NotForUs);
        }
    }

    #[test]
    fn changing_passwords_is_kerberos() {
        let request = [0, 12, 0xff, 0x80, 0, 4, 0x6e, 2, 1, 1, 9, 9];
        assert_eq!(kpasswd(&datagram(&request)), Probe::Certain);
        assert_eq!(kpasswd(&datagram(&request[..11])), Probe::NotForUs);
        assert_eq!(kpasswd(&stream(&[&[0, 0, 0, 12][..], &request].concat())), Probe::Certain);
        assert_eq!(kpasswd(&stream(&[0, 0])), Probe::NotForUs);
    }

    #[test]
    fn displays_are_recognised() {
        let setup = b"l\0\x0b\0\0\0\x12\0\x10\0\0\0MIT-MAGIC-COOKIE-1\0\x000123456789abcdef";
        assert_eq!(x11(&stream(setup)), Probe::Certain);
        assert!((1..setup.len()).all(|cut| x11(&stream(&setup[..cut])) == Probe::Unsure));
        assert_eq!(x11(&stream(b"list")), Probe::NotForUs);
        let answer = [1, 0, 11, 0, 0, 0, 9, 0];
        assert_eq!(x11(&stream(&answer).between(6000, 40_000)), Probe::Certain);
        assert_eq!(x11(&stream(&answer)), Probe::NotForUs);
        assert_eq!(xdmcp(&datagram(&[0, 1, 0, 2, 0, 1, 0]).between(5000, 177)), Probe::Certain);
        assert_eq!(xdmcp(&datagram(&[0, 1, 0, 2, 0, 1]).between(5000, 177)), Probe::NotForUs);
    }

    #[test]
    fn rdp_over_udp_is_padded() {
        let mut bytes = vec![0xff, 0xff, 0xff, 0xff, 0, 0x40, 0x10, 1, 1, 2, 3, 4, 4, 0xd0, 4, 0xd0];
        bytes.resize(1232, 0);
        assert_eq!(rdp_udp(&datagram(&bytes)), Probe::Certain);
        bytes[1000] = 1;
        assert_eq!(rdp_udp(&datagram(&bytes)), Probe::NotForUs);
        assert_eq!(rdp_udp(&datagram(&[0xff; 16])), Probe::NotForUs);
        let later = [&[1, 2, 3, 4, 0, 0xc8, 0, 12, 0, 1, 1, 0][..], &[9; 8], &[23, 3, 3, 0, 1, 7]].concat();
        assert_eq!(rdp_udp(&datagram(&later).between(3389, 5000)), Probe::Certain);
        assert_eq!(rdp_udp(&datagram(&later)), Probe::NotForUs);
    }
}
