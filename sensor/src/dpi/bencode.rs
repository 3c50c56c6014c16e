//! Bencoding (BEP 3), read where it lies.
//!
//! In: bytes. Out: values one after the other, as slices. Nothing is built; nesting is bounded.

/// Deepest nesting of lists and dictionaries.
const DEPTH_MAX: u8 = 8;

/// A value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Bytes(&'a [u8]),
    Number(i64),
    /// What is between its `l` and `e`.
    List(&'a [u8]),
    /// What is between its `d` and `e`.
    Dictionary(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The value that bytes begin with, and what is behind it.
    pub(super) fn read(bytes: &'a [u8]) -> Option<(Value<'a>, &'a [u8])> {
        Self::read_at(bytes, 0)
    }

    fn read_at(bytes: &'a [u8], depth: u8) -> Option<(Value<'a>, &'a [u8])> {
        let (kind, after) = bytes.split_first()?;
        match kind {
            b'0'..=b'9' => {
                let colon = bytes.iter().take(8).position(|byte| *byte == b':')?;
                let (digits, rest) = bytes.split_at_checked(colon)?;
                let length = number(digits)?;
                let (value, rest) = rest.get(1..)?.split_at_checked(usize::try_from(length).ok()?)?;
                Some((Value::Bytes(value), rest))
            }
            b'i' => {
                let end = after.iter().take(21).position(|byte| *byte == b'e')?;
                let (digits, rest) = after.split_at_checked(end)?;
                let value = match digits.strip_prefix(b"-") {
                    Some(digits) => number(digits)?.checked_neg()?,
                    None => number(digits)?,
                };
                Some((Value::Number(value), rest.get(1..)?))
            }
            b'l' | b'd' if depth < DEPTH_MAX => {
                let mut rest = after;
                while rest.first()? != &b'e' {
                    (_, rest) = Self::read_at(rest, depth + 1)?;
                }
                let content = after.get(..after.len() - rest.len())?;
                let value = if *kind == b'l' { Value::List(content) } else { Value::Dictionary(content) };
                Some((value, rest.get(1..)?))
            }
            _ => None,
        }
    }

    /// Its bytes, when it is a string.
    pub(super) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Its number, when it is one.
    pub(super) fn number(self) -> Option<i64> {
        match self {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok().filter(|text| !text.starts_with(['+', '-']))?.parse().ok()
}

/// The values of a list's content.
pub(super) fn items(content: &[u8]) -> impl Iterator<Item = Value<'_>> {
    let mut rest = content;
    std::iter::from_fn(move || {
        let (value, after) = Value::read(rest)?;
        rest = after;
        Some(value)
    })
}

/// Keys and values of a dictionary's content.
pub(super) fn pairs(content: &[u8]) -> impl Iterator<Item = (&[u8], Value<'_>)> {
    let mut values = items(content);
    std::iter::from_fn(move || Some((values.next()?.bytes()?, values.next()?)))
}

/// The value of a key.
pub(super) fn get<'a>(content: &'a [u8], key: &[u8]) -> Option<Value<'a>> {
    pairs(content).find(|(have, _)| *have == key).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_where_they_lie() {
        let (value, rest) = Value::read(b"d1:ai-7e1:bl2:xyi0eee!").unwrap();
        let Value::Dictionary(content) = value else { panic!("a dictionary") };
        assert_eq!(rest, b"!");
        assert_eq!(get(content, b"a"), Some(Value::Number(-7)));
        let Some(Value::List(list)) = get(content, b"b") else { panic!("a list") };
        assert_eq!(items(list).collect::<Vec<_>>(), [Value::Bytes(b"xy"), Value::Number(0)]);
        assert_eq!(get(content, b"c"), None);
    }

    #[test]
    fn what_is_not_bencoded_is_nothing() {
        for bytes in
            [&b""[..], b"5:abc", b"i12", b"iae", b"d1:a", b"99999999999:x", b"x", b"l", b"-1:a", b"i+1e"]
        {
            assert_eq!(Value::read(bytes), None, "{bytes:?}");
        }
        let deep = |depth: usize| [&b"l".repeat(depth)[..], &b"e".repeat(depth)].concat();
        assert!(Value::read(&deep(usize::from(DEPTH_MAX))).is_some());
        assert!(Value::read(&deep(usize::from(DEPTH_MAX) + 1)).is_none());
        assert!(Value::read(&b"l".repeat(100_000)).is_none());
    }
}
