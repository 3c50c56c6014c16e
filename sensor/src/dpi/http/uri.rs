//! A request's target as rules look at it.
//!
//! In: the target of a request line, or the value of a Host line. Out: the host in it, and path, query and fragment
//! normalised as libhtp does in its IDS personality under Suricata's defaults: percent signs are decoded once, `%u0041`
//! as well, `+` stays; in the path alone backslashes become slashes, several slashes one, UTF-8 single bytes by the
//! best fit of windows-1252, and dot segments are resolved. Deliberately absent: scheme, user and port, which
//! that text has not, and letters' case, which stays.

/// What stands for a character that no single byte fits.
const REPLACEMENT: u8 = b'?';

/// A target in its pieces, as they were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) host: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
    query: Option<&'a [u8]>,
    fragment: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    pub(super) fn of(target: &'a [u8], is_connect: bool) -> Target<'a> {
        if is_connect {
            return Target { host: host(target), ..Target::default() };
        }
        let mut rest = target;
        let mut found = None;
        // What begins with no slash and has a colon begins with a scheme.
        let colon = memchr::memchr(b':', rest).filter(|_| !rest.starts_with(b"/"));
        if let Some(colon) = colon {
            rest = rest.get(colon + 1..).unwrap_or_default();
            if let Some(behind) = rest.strip_prefix(b"//").filter(|behind| !behind.starts_with(b"/")) {
                let end = behind.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
                let (authority, behind) = behind.split_at(end.unwrap_or(behind.len()));
                let user = memchr::memchr(b'@', authority).map_or(0, |at| at + 1);
                found = host(authority.get(user..).unwrap_or_default());
                rest = behind;
            } else if !rest.starts_with(b"/") {
                // `localhost:80`: a scheme without slashes is followed by a host as well.
                let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b':'));
                found = host(rest);
                rest = rest.get(end.unwrap_or(rest.len())..).unwrap_or_default();
            }
        }
        let cut = |text: &'a [u8], at: Option<usize>| text.split_at(at.unwrap_or(text.len()));
        let (path, rest) = cut(rest, rest.iter().position(|byte| matches!(byte, b'?' | b'#')));
        let (query, rest) = match rest.strip_prefix(b"?") {
            Some(behind) => {
                let (query, rest) = cut(behind, memchr::memchr(b'#', behind));
                (Some(query), rest)
            }
            None => (None, rest),
        };
        let path = (!path.is_empty()).then_some(path);
        Target { host: found, path, query, fragment: rest.strip_prefix(b"#") }
    }

    /// Writes path, query and fragment, normalised. Nothing is written where there is none of them.
    pub(super) fn normalize(&self, out: &mut Vec<u8>) {
        if let Some(path) = self.path {
            normalize_path(path, out);
        }
        if let Some(query) = self.query {
            out.push(b'?');
            decode(query, out);
        }
        if let Some(fragment) = self.fragment {
            out.push(b'#');
            decode(fragment, out);
        }
    }

    /// Writes the path alone, normalised: Suricata names files by it.
    pub(super) fn normalize_path(&self, out: &mut Vec<u8>) {
        if let Some(path) = self.path {
            normalize_path(path, out);
        }
    }

    /// Writes the host, normalised: decoded, in lower case, without dots at its end.
    pub(super) fn normalize_host(&self, out: &mut Vec<u8>) {
        let Some(host) = self.host else { return };
        decode(host, out);
        out.make_ascii_lowercase();
        while out.last() == Some(&b'.') {
            out.pop();
        }
    }
}

/// The host in `host:port`, `[::1]:port`, or without a port.
pub(super) fn host(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_prefix(b"//").unwrap_or(text);
    if text.starts_with(b"/") {
        return None;
    }
    let from = text.iter().position(|byte| *byte != b' ')?;
    let text = text.get(from..)?;
    let is_end = |byte: &u8| matches!(byte, b'/' | b'?' | b'#');
    let end = if text.starts_with(b"[") {
        let inside = text.iter().position(|byte| *byte == b']' || is_end(byte));
        inside.map_or(text.len(), |at| if text.get(at) == Some(&b']') { at + 1 } else { at })
    } else {
        text.iter().position(|byte| *byte == b':' || is_end(byte)).unwrap_or(text.len())
    };
    let host = text.get(..end)?;
    let end = host.iter().rposition(|byte| *byte != b' ')? + 1;
    host.get(..end)
}

fn normalize_path(path: &[u8], out: &mut Vec<u8>) {
    let is_odd = |byte: &u8| matches!(byte, b'%' | b'\\') || !byte.is_ascii();
    let is_plain = !path.iter().any(is_odd)
        && !path.starts_with(b".")
        && memchr::memmem::find(path, b"/.").is_none()
        && memchr::memmem::find(path, b"//").is_none();
    if is_plain {
        out.extend_from_slice(path);
        return;
    }
    let mut decoded = Vec::with_capacity(path.len());
    for byte in (Decoded { bytes: path }) {
        let byte = if byte == b'\\' { b'/' } else { byte };
        if byte != b'/' || decoded.last() != Some(&b'/') {
            decoded.push(byte);
        }
    }
    let mut fitted = Vec::with_capacity(decoded.len());
    single_bytes(&decoded, &mut fitted);
    resolve_dots(&fitted, out);
}

fn decode(text: &[u8], out: &mut Vec<u8>) {
    match memchr::memchr(b'%', text) {
        None => out.extend_from_slice(text),
        Some(_) => out.extend(Decoded { bytes: text }),
    }
}

/// Bytes with `%41` and `%u0041` decoded; a percent sign without its digits stays.
struct Decoded<'a> {
    bytes: &'a [u8],
}

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        if *first != b'%' {
            return Some(*first);
        }
        if let Some(digits) = rest.strip_prefix(b"u").or_else(|| rest.strip_prefix(b"U")) {
            let Some((number, behind)) = hexadecimal(digits, 4) else { return Some(b'%') };
            self.bytes = behind;
            return Some(if number < 0x100 { number as u8 } else { best_fit(number) });
        }
        let Some((number, behind)) = hexadecimal(rest, 2) else { return Some(b'%') };
        self.bytes = behind;
        Some(number as u8)
    }
}

/// So many hexadecimal digits, and what is behind them.
fn hexadecimal(text: &[u8], digits: usize) -> Option<(u32, &[u8])> {
    let (digits, behind) = text.split_at_checked(digits)?;
    let number =
        digits.iter().try_fold(0, |number, byte| Some(number << 4 | char::from(*byte).to_digit(16)?))?;
    Some((number, behind))
}

/// UTF-8 to single bytes. Characters that are longer than need be are taken as they are meant; what is no UTF-8
/// becomes [`REPLACEMENT`], one for the bytes up to the first that does not belong.
fn single_bytes(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        let (bits, more, most) = match first {
            0..=0x7f => {
                out.push(*first);
                continue;
            }
            0xc0..=0xdf => (first & 0x1f, 1, 0xbf),
            // Halves of pairs are no characters.
            0xed => (first & 0x0f, 2, 0x9f),
            0xe0..=0xef => (first & 0x0f, 2, 0xbf),
            0xf0..=0xf3 => (first & 0x07, 3, 0xbf),
            0xf4 => (first & 0x07, 3, 0x8f),
            _ => {
                out.push(REPLACEMENT);
                continue;
            }
        };
        let mut character = u32::from(bits);
        let mut most = most;
        let mut have = 0;
        while have < more {
            match rest.split_first() {
                Some((byte, behind)) if (0x80..=most).contains(byte) => {
                    character = character << 6 | u32::from(byte & 0x3f);
                    (rest, most) = (behind, 0xbf);
                    have += 1;
                }
                Some(_) => break,
                // Cut off: each byte behind the first is replaced by itself.
                None => {
                    out.extend(std::iter::repeat_n(REPLACEMENT, have));
                    return;
                }
            }
        }
        out.push(match character {
            _ if have < more => REPLACEMENT,
            0..0x100 => character as u8,
            _ => best_fit(character),
        });
    }
}

/// What was read of a dot segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pending {
    Begin,
    BeginDot,
    BeginDots,
    Nothing,
    Slash,
    /// A slash that stands for a dot segment before it: at the end it is none.
    Joint,
    SlashDot,
    SlashDots,
}

impl Pending {
    fn text(self) -> &'static [u8] {
        match self {
            Pending::Begin | Pending::Nothing => b"",
            Pending::BeginDot => b".",
            Pending::BeginDots => b"..",
            Pending::Slash | Pending::Joint => b"/",
            Pending::SlashDot => b"/.",
            Pending::SlashDots => b"/..",
        }
    }
}

/// RFC 3986 section 5.2.4, with the difference that a dot segment at the end takes its slash with it. `out` is empty.
fn resolve_dots(path: &[u8], out: &mut Vec<u8>) {
    let leave = |out: &mut Vec<u8>| out.truncate(memchr::memrchr(b'/', out).unwrap_or(0));
    let mut pending = Pending::Begin;
    for byte in path {
        pending = match (pending, byte) {
            (Pending::Begin, b'.') => Pending::BeginDot,
            (Pending::BeginDot, b'.') => Pending::BeginDots,
            (Pending::BeginDot | Pending::BeginDots, b'/') => Pending::Begin,
            (Pending::Begin | Pending::Nothing, b'/') => Pending::Slash,
            (Pending::Slash | Pending::Joint, b'.') => Pending::SlashDot,
            (Pending::SlashDot, b'.') => Pending::SlashDots,
            (Pending::SlashDot, b'/') => Pending::Joint,
            (Pending::SlashDots, b'/') => {
                leave(out);
                Pending::Joint
            }
            (pending, byte) => {
                out.extend_from_slice(pending.text());
                out.push(*byte);
                Pending::Nothing
            }
        };
    }
    match pending {
        Pending::Slash => out.push(b'/'),
        Pending::SlashDots => leave(out),
        _ => {}
    }
}

/// Where the best fit of windows-1252 has ASCII for characters beyond it: runs of characters with what they become,
/// a space in a run for those that become nothing. By character.
const FITS: &[(u32, &[u8])] = &[
    (
        0x100,
        b"AaAaAaCcCcCcCcDd dEeEeEeEeEeGgGgGgGgHhHhIiIiIiIiIi  JjKk LlLlLl  LlNnNnNn   OoOoOo  RrRrRrSsSsSs",
    ),
    (0x162, b"TtTtTtUuUuUuUuUuUuWwYy Z Zz   b"),
    (0x197, b"I  l    OOo"),
    (0x1ab, b"t  TUu     z"),
    (0x1c0, b"|  !"),
    (0x1cd, b"AaIiOoUuUuUuUuUu Aa"),
    (0x1e4, b"GgGgKkOoOo  j"),
    (0x261, b"g"),
    (0x2b9, b"'\" '"),
    (0x2c4, b"^   '  ` _"),
    (0x300, b"` ^~"),
    (0x30e, b"\""),
    (0x331, b"__"),
    (0x37e, b";"),
    (0x393, b"G    T"),
    (0x3a3, b"S  F  O"),
    (0x3b1, b"a  de"),
    (0x3c0, b"p  st f"),
    (0x4bb, b"h"),
    (0x589, b":"),
    (0x66a, b"%"),
    (0x2010, b"--     ="),
    (0x2032, b"'  `"),
    (0x2044, b"/"),
    (0x2074, b"45678"),
    (0x207f, b"n0123456789"),
    (0x20a7, b"P"),
    (0x2102, b"C    E  gHHHh IILl N  PPQRRR"),
    (0x2124, b"Z   Z K BCeeEF Mo"),
    (0x2212, b"-  /\\*  v   8    |     n"),
    (0x2236, b":     ~"),
    (0x2261, b"=  =="),
    (0x2303, b"^"),
    (0x2320, b"()"),
    (0x2329, b"<>"),
    (0x2500, b"-           +   +   +   +   +"),
    (0x252c, b"-       -       +"),
    (0x2550, b"- ++++++++++++"),
    (0x2564, b"------+++"),
    (0x2584, b"_"),
    (0x2758, b"|"),
    (0x3008, b"<>"),
    (0x301a, b"[]"),
];

/// The byte that fits a character beyond the first 256 best.
fn best_fit(character: u32) -> u8 {
    match character {
        0x2000..=0x2006 | 0x3000 => return b' ',
        // ASCII in full width.
        0xff01..=0xff5e => return (character - 0xff01) as u8 + b'!',
        _ => {}
    }
    let run = FITS.partition_point(|(first, _)| *first <= character);
    let fit = run.checked_sub(1).and_then(|run| FITS.get(run)).and_then(|(first, fits)| {
        let at = usize::try_from(character - first).ok()?;
        fits.get(at).filter(|fit| **fit != b' ')
    });
    fit.copied().unwrap_or(REPLACEMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized_uri(target: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(target.len());
        Target::of(target, false).normalize(&mut out);
        out
    }

    #[test]
    fn targets_are_normalised_as_the_keyword_has_them() {
        for (target, want) in [
            ("/a/b?c=d", "/a/b?c=d"),
            ("http://host:80/a", "/a"),
            ("http://host", ""),
            ("http://host?x", "?x"),
            ("http://user:word@host:80/a?b@c", "/a?b@c"),
            ("host:80/a", "/a"),
            ("http:/a", "/a"),
            ("a/b", "a/b"),
            ("/a?u=http://host/x", "/a?u=http://host/x"),
            ("/%41%2e%2f%zz%4", "/A./%zz%4"),
            ("/%2541?%2541", "/%41?%41"),
            ("//a///b\\c", "/a/b/c"),
            ("/a/./b/../c", "/a/c"),
            ("/a/..", ""),
            ("/../../x", "/x"),
            ("/a/b/.", "/a/b"),
            ("/a/../", ""),
            ("./a", "a"),
            ("/a#f?%67", "/a#f?g"),
            ("/a?b=//c/..\\%41+%2b", "/a?b=//c/..\\A++"),
            ("/%u0041%u0100%u2044%u00g", "/AA/%u00g"),
            ("/?%u0041%U0101", "/?Aa"),
            ("/A\u{e9}".replace('\u{e9}', "%c3%a9%C4%80%ff%c3x").as_str(), "/A\u{fffd}A??x"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(String::from_utf8_lossy(&normalized_uri(target.as_bytes())), want, "{target}");
        }
    }

    #[test]
    fn what_is_no_utf8_is_replaced() {
        let fitted = |text: &[u8]| {
            let mut out = Vec::new();
            single_bytes(text, &mut out);
            out
        };
        for (text, want) in [
            (&b"\xf1.\xf1\xef\xbd\x9dabcd"[..], &b"?.?}abcd"[..]),
            (b"\xf0\x90\x8d\xff", b"??"),
            (b"\xe2\x82", b"?"),
            (b"\xc2\xff\xf0", b"??"),
            (b"\xf0\x90\x28\xbc", b"?(?"),
            (b"\xc0\xaf", b"/"),
            (b"\xed\xa0\x80", b"???"),
        ] {
            assert_eq!(fitted(text), want, "{}", text.escape_ascii());
        }
        assert!(FITS.iter().map(|(first, _)| first).is_sorted());
        assert_eq!([0x17f, 0x180, 0x3a9, 0x20a7, 0x256c, 0xff5d, 0x4e00].map(best_fit), *b"?bOP+}?");
    }

    #[test]
    fn hosts_stand_without_their_ports() {
        for (text, want) in [
            ("example.com:80", Some("example.com")),
            ("example.com", Some("example.com")),
            (" a b :80", Some("a b")),
            ("[::1]:80", Some("[::1]")),
            ("[::1", Some("[::1")),
            ("//x/y", Some("x")),
            ("/x", None),
            (":80", None),
            ("", None),
        ] {
            assert_eq!(host(text.as_bytes()), want.map(str::as_bytes), "{text}");
        }
        let target = Target::of(b"http://EX%61mple.com.:8080/x", false);
        let mut out = Vec::new();
        target.normalize_host(&mut out);
        assert_eq!(out, b"example.com");
        assert_eq!(Target::of(b"Example.com:443", true).host, Some(&b"Example.com"[..]));
    }
}
