//! ASN.1's basic encoding as Kerberos, LDAP, SNMP and SPNEGO use it (X.690): single-byte tags, definite
//! lengths of at most four bytes.
//!
//! In: bytes. Out: elements that borrow from them; `None` where the encoding is another or the bytes end.

use std::fmt::Write as _;

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// A tag and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
}

/// What the first bytes of an element say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// They are the beginning of a tag and length.
    Cut,
    /// They are no tag and length of this encoding.
    Bad,
    /// A tag, the bytes that tag and length take, and the bytes of content.
    Of(u8, usize, usize),
}

/// Reads tag and length.
pub(super) fn header(bytes: &[u8]) -> Header {
    let Some((tag, rest)) = bytes.split_first() else { return Header::Cut };
    if tag & 0x1f == 0x1f {
        return Header::Bad;
    }
    let Some((length, rest)) = rest.split_first() else { return Header::Cut };
    match length {
        0..=0x7f => Header::Of(*tag, 2, usize::from(*length)),
        0x81..=0x84 => {
            let count = usize::from(length & 0x7f);
            match rest.get(..count) {
                Some(digits) => {
                    let length = digits.iter().fold(0usize, |sum, digit| sum << 8 | usize::from(*digit));
                    Header::Of(*tag, 2 + count, length)
                }
                None => Header::Cut,
            }
        }
        _ => Header::Bad,
    }
}

/// The next element; `bytes` becomes what follows it.
pub(super) fn next<'a>(bytes: &mut &'a [u8]) -> Option<Element<'a>> {
    let Header::Of(tag, header, length) = header(bytes) else { return None };
    let (content, rest) = bytes.get(header..)?.split_at_checked(length)?;
    *bytes = rest;
    Some(Element { tag, content })
}

/// The content of the next element, when it has this tag.
pub(super) fn next_of<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let mut rest = *bytes;
    let element = next(&mut rest).filter(|element| element.tag == tag)?;
    *bytes = rest;
    Some(element.content)
}

/// The next element as a number, when it is an integer or enumerated.
pub(super) fn next_number(bytes: &mut &[u8]) -> Option<i64> {
    let mut rest = *bytes;
    let element = next(&mut rest).filter(|element| matches!(element.tag, INTEGER | ENUMERATED))?;
    *bytes = rest;
    number(element.content)
}

/// The value of an integer; `None` when it does not fit.
pub(super) fn number(content: &[u8]) -> Option<i64> {
    let first = *content.first()?;
    if content.len() > 8 {
        return None;
    }
    let sign = if first & 0x80 == 0 { 0 } else { -1 };
    Some(content.iter().fold(sign, |sum, byte| sum << 8 | i64::from(*byte)))
}

/// The elements of a content, as far as they can be read.
pub(super) fn elements<'a>(mut content: &'a [u8]) -> impl Iterator<Item = Element<'a>> {
    std::iter::from_fn(move || next(&mut content))
}

/// The content of the first element with this tag.
pub(super) fn find(content: &[u8], tag: u8) -> Option<&[u8]> {
    elements(content).find(|element| element.tag == tag).map(|element| element.content)
}

/// An object identifier's numbers joined by dots.
pub(super) fn oid(content: &[u8]) -> String {
    let mut text = String::new();
    let mut part = 0u64;
    let mut is_first = true;
    for byte in content {
        part = part << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if is_first {
            let first = (part / 40).min(2);
            let _ = write!(text, "{first}.{}", part - first * 40);
            is_first = false;
        } else {
            let _ = write!(text, ".{part}");
        }
        part = 0;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_within_their_borders() {
        let mut bytes = &[0x30, 0x03, 0x02, 0x01, 0xfb, 0x04, 0x81, 0x02, b'a', b'b', 0x04, 0x02, b'c'][..];
        let mut inner = next_of(&mut bytes, SEQUENCE).unwrap();
        assert_eq!((next_number(&mut inner), inner.len()), (Some(-5), 0));
        assert_eq!(next_of(&mut bytes, OCTETS), Some(&b"ab"[..]));
        assert_eq!((next(&mut bytes), bytes.len()), (None, 3));
        assert_eq!(header(&[0x30, 0x82, 1]), Header::Cut);
        assert_eq!(header(&[0x30, 0x80]), Header::Bad);
        assert_eq!(header(&[0x30, 0x85]), Header::Bad);
        assert_eq!(header(&[0x1f, 1]), Header::Bad);
        assert_eq!((number(&[]), number(&[1; 9]), number(&[1, 0])), (None, None, Some(256)));
    }

    #[test]
    fn an_object_identifier_has_its_numbers() {
        assert_eq!(oid(&[0x2b, 6, 1, 2, 1, 1, 3, 0]), "1.3.6.1.2.1.1.3.0");
        assert_eq!(oid(&[0x88, 0x37, 3]), "2.999.3");
        assert_eq!(oid(&[1]), "0.1");
        assert_eq!(oid(&[0xff; 40]), "");
    }
}
