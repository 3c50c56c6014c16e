//! Protocols that say their name, or begin with a line of text.
//!
//! In: first bytes. Out: whether they are one of these.

use super::*;

pub(super) const TABLE: &[Recogniser] = &[
    line(App::Checkmk, Starts::stream(b"<"), |first| begins(first, b"<<<check_mk>>>")),
    line(App::Munin, Starts::stream(b"#c"), munin),
    line(App::Rsync, Starts::stream(b"@"), rsync),
    line(App::Git, Starts::stream(b"0"), git),
    line(App::Hl7, Starts::stream(b"\x0b"), hl7),
    line(App::Fix, Starts::stream(b"8"), fix),
    line(App::Kismet, Starts::stream(b"*\xde"), kismet),
    line(App::Megaco, Starts::both(b"!M\x03"), megaco),
    line(App::Mgcp, Starts::datagram(b"ACDEMNR12345"), mgcp),
    line(App::JsonRpc, Starts::both(b"{["), json_rpc),
    line(App::Soap, Starts::stream(b"<"), soap),
    line(App::Whois, Starts::stream(&TEXT_STARTS), whois),
    line(App::Finger, Starts::stream(&TEXT_STARTS), finger),
    line(App::Gopher, Starts::stream(&TEXT_STARTS), gopher),
    line(App::Zabbix, Starts::stream(b"Z"), |first| begins(first, b"ZBXD")),
    line(App::Tivoconnect, Starts::both(b"Tt"), |first| {
        begins_one(first, &[b"TiVoConnect=", b"tivoconnect="])
    }),
];

/// What a line of text begins with: a tab, an end of line, anything printable.
const TEXT_STARTS: [u8; 98] = {
    let (mut bytes, mut at) = ([0; 98], 0);
    while at < 95 {
        bytes[at] = b' ' + at as u8;
        at += 1;
    }
    (bytes[95], bytes[96], bytes[97]) = (b'\t', b'\r', b'\n');
    bytes
};

/// The node's greeting, and what its master answers.
fn munin(first: &First<'_>) -> Probe {
    begins_one(first, &[b"# munin node at ", b"cap multigraph"])
}

/// Both sides greet: `@RSYNCD: 31.0`.
fn rsync(first: &First<'_>) -> Probe {
    const MARK: &[u8] = b"@RSYNCD: ";
    match (begins(first, MARK), first.bytes.get(MARK.len())) {
        (Probe::Certain, Some(next)) => certain(next.is_ascii_digit() || next.is_ascii_uppercase()),
        (Probe::Certain, None) => Probe::Unsure,
        (said, _) => said,
    }
}

/// Git's pkt-line (gitprotocol-pack): four hexadecimal digits, then a request, or the server's first reference.
fn git(first: &First<'_>) -> Probe {
    let bytes = first.bytes;
    let digits = head(bytes, 4);
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Probe::NotForUs;
    }
    let Some(rest) = bytes.get(4..) else { return Probe::Unsure };
    let rest_of = First { bytes: rest, ..*first };
    let said = begins_one(&rest_of, &[b"git-upload-pack /", b"git-receive-pack /", b"git-upload-archive /"]);
    if said != Probe::NotForUs {
        return if rest.is_empty() { Probe::Unsure } else { said };
    }
    match begins_one(&rest_of, &[b"version 1\n", b"version 2\n"]) {
        Probe::NotForUs => {}
        said => return said,
    }
    // An object's name, a space, a reference, NUL, capabilities.
    match rest.get(..41) {
        Some([name @ .., b' ']) => certain(name.iter().all(u8::is_ascii_hexdigit)),
        Some(_) => Probe::NotForUs,
        None if rest.iter().all(u8::is_ascii_hexdigit) => Probe::Unsure,
        None => Probe::NotForUs,
    }
}

/// HL7 version 2 in MLLP: vertical tab, segment name, field separator.
fn hl7(first: &First<'_>) -> Probe {
    begins_one(first, &[b"\x0bMSH|", b"\x0bFHS|", b"\x0bBHS|"])
}

/// FIX: `8=` version SOH `9=` length SOH `35=`.
fn fix(first: &First<'_>) -> Probe {
    /// Longest version text, in bytes.
    const VERSION_BYTES_MAX: usize = 10;
    /// Longest body length, in digits.
    const LENGTH_DIGITS_MAX: usize = 7;
    let bytes = first.bytes;
    match begins(first, b"8=") {
        Probe::Certain => {}
        said => return said,
    }
    let rest = bytes.get(2..).unwrap_or_default();
    let Some(end) = head(rest, VERSION_BYTES_MAX + 1).iter().position(|byte| *byte == 1) else {
        let is_open = rest.len() <= VERSION_BYTES_MAX && is_text(rest);
        return if is_open { Probe::Unsure } else { Probe::NotForUs };
    };
    let (version, rest) = (head(rest, end), rest.get(end + 1..).unwrap_or_default());
    if version.is_empty() || !is_text(version) {
        return Probe::NotForUs;
    }
    match begins(&First { bytes: rest, ..*first }, b"9=") {
        Probe::Certain => {}
        _ if rest.is_empty() => return Probe::Unsure,
        said => return said,
    }
    let rest = rest.get(2..).unwrap_or_default();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match rest.get(digits..) {
        _ if digits > LENGTH_DIGITS_MAX => Probe::NotForUs,
        Some([]) | None => Probe::Unsure,
        // Compressed FIX has no message type in the clear.
        Some([1, ..]) if digits > 0 && version == b"FIXCOMP" => Probe::Certain,
        Some(rest @ [1, ..]) if digits > 0 => begins(&First { bytes: rest, ..*first }, b"\x0135="),
        Some(_) => Probe::NotForUs,
    }
}

/// The server's greeting, or the remote capture's header (the magic number in network order).
fn kismet(first: &First<'_>) -> Probe {
    begins_one(first, &[b"*KISMET: ", b"\xde\xca\xfb\xad"])
}

/// The text encoding of H.248 (RFC 3525 annex B), over TCP in TPKT.
fn megaco(first: &First<'_>) -> Probe {
    let marks: &[&[u8]] = &[b"!/1 ", b"!/2 ", b"!/3 ", b"MEGACO/1 ", b"MEGACO/2 ", b"MEGACO/3 "];
    match first.bytes {
        [3, 0, _, _, rest @ ..] if first.is_stream() && !rest.is_empty() => {
            begins_one(&First { bytes: rest, ..*first }, marks)
        }
        [3, rest @ ..] if first.is_stream() => {
            if rest.len() < 4 && rest.first().is_none_or(|byte| *byte == 0) {
                Probe::Unsure
            } else {
                Probe::NotForUs
            }
        }
        [3, ..] => Probe::NotForUs,
        _ => begins_one(first, marks),
    }
}

/// A command line (RFC 3435 section 3.2.1), or a response, which only its form and port tell.
fn mgcp(first: &First<'_>) -> Probe {
    const VERBS: [&[u8]; 9] =
        [b"AUCX ", b"AUEP ", b"CRCX ", b"DLCX ", b"EPCF ", b"MDCX ", b"NTFY ", b"RQNT ", b"RSIP "];
    let Some(line) = line_of(first.bytes, 512) else { return Probe::NotForUs };
    if VERBS.iter().any(|verb| line.starts_with(verb)) {
        return certain(holds(line, b" MGCP 1."));
    }
    let [a, b, c, b' ', rest @ ..] = line else { return Probe::NotForUs };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_response = [a, b, c].iter().all(|byte| byte.is_ascii_digit())
        && (1..=9).contains(&digits)
        && matches!(rest.get(digits), None | Some(b' '));
    likely_on(first, &[2427, 2727], is_response)
}

/// JSON-RPC 2.0 names itself in every message; of version 1.0 (which OVSDB speaks, RFC 7047) requests and answers must
/// have all of three members each.
fn json_rpc(first: &First<'_>) -> Probe {
    /// Where the version stands, from the beginning of a request.
    const SEARCH_BYTES: usize = 256;
    let bytes = head(first.bytes, SEARCH_BYTES);
    let has_all = |members: [&[u8]; 3]| members.iter().all(|member| holds(bytes, member));
    let is_first_version = || {
        holds(bytes, b"\"id\"")
            && (has_all([b"\"method\"", b"\"params\"", b"\"id\""])
                || has_all([b"\"result\"", b"\"error\"", b"\"id\""]))
    };
    match holds(bytes, b"\"jsonrpc\"") || is_first_version() {
        true => Probe::Likely,
        false if first.is_stream() && bytes.len() < SEARCH_BYTES && is_json(bytes) => Probe::Unsure,
        false => Probe::NotForUs,
    }
}

/// Whether an object has begun and not ended.
fn is_json(bytes: &[u8]) -> bool {
    let mut begun = bytes.iter().skip(1).filter(|byte| !byte.is_ascii_whitespace());
    let is_object = begun.next().is_none_or(|byte| matches!(byte, b'"' | b'{'));
    is_object && bytes.iter().all(|byte| *byte >= b'\t') && !bytes.ends_with(b"}\n")
}

/// A SOAP envelope that no HTTP carries.
fn soap(first: &First<'_>) -> Probe {
    let bytes = head(first.bytes, 1024);
    match begins_one(first, &[b"<?xml", b"<soap", b"<SOAP", b"<s:Env"]) {
        Probe::Certain => {}
        said => return said,
    }
    if holds(bytes, b"schemas.xmlsoap.org/soap/") || holds(bytes, b"www.w3.org/2003/05/soap-envelope") {
        return Probe::Certain;
    }
    if bytes.len() < 1024 && is_markup(bytes) { Probe::Unsure } else { Probe::NotForUs }
}

/// Whether a document's beginning has not come to its own element, where a namespace would stand.
fn is_markup(bytes: &[u8]) -> bool {
    let ends = bytes.iter().filter(|byte| **byte == b'>').count();
    ends <= 2
}

/// A query is one line (RFC 3912); an answer begins with a comment or a field.
fn whois(first: &First<'_>) -> Probe {
    const PORTS: &[u16] = &[43, 4343];
    if !first.has_port_of(PORTS) {
        return Probe::NotForUs;
    }
    let bytes = first.bytes;
    if first.destination_port == 43 || first.destination_port == 4343 {
        return match line_of(bytes, 256) {
            Some(line) => likely_on(first, PORTS, !line.is_empty()),
            None if is_text(bytes.strip_suffix(b"\r").unwrap_or(bytes)) && bytes.len() < 256 => Probe::Unsure,
            None => Probe::NotForUs,
        };
    }
    let line = line_of(bytes, 512).unwrap_or_default();
    let is_answer =
        matches!(line.first(), Some(b'%' | b'#' | b'[')) || holds(line, b": ") || holds(line, b"whois");
    likely_on(first, PORTS, is_answer)
}

/// A query is one line (RFC 1288), an answer says who is logged in.
fn finger(first: &First<'_>) -> Probe {
    if !first.has_port(79) {
        return Probe::NotForUs;
    }
    let line = line_of(first.bytes, 256);
    if line.is_none()
        && first.bytes.len() < 256
        && is_text(first.bytes.strip_suffix(b"\r").unwrap_or(first.bytes))
    {
        return Probe::Unsure;
    }
    if first.destination_port == 79 {
        return likely_on(first, &[79], line.is_some() && first.bytes.ends_with(b"\n"));
    }
    likely_on(first, &[79], line.is_some_and(|line| line.starts_with(b"Login")))
}

/// A selector, or a menu: type, text, selector, host and port, between tabs (RFC 1436).
fn gopher(first: &First<'_>) -> Probe {
    if !first.has_port(70) {
        return Probe::NotForUs;
    }
    let Some(line) = line_of(first.bytes, 512) else {
        let is_open =
            first.bytes.len() < 512 && is_text(first.bytes.strip_suffix(b"\r").unwrap_or(first.bytes));
        return if is_open { Probe::Unsure } else { Probe::NotForUs };
    };
    if first.destination_port == 70 {
        let is_selector = line.is_empty() || matches!(line.first(), Some(b'/' | b'0'..=b'9' | b'\t'));
        return likely_on(first, &[70], is_selector);
    }
    let tabs = line.iter().filter(|byte| **byte == b'\t').count();
    likely_on(first, &[70], tabs >= 3 && line.last().is_some_and(u8::is_ascii_digit))
}
