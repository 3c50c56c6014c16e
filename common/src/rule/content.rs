//! The values of options: quoted text, and the bytes of `content`.
//!
//! In: a value as it stands in the rule. Out: its bytes, and whether it was negated. `|41 42|` is
//! hexadecimal; `\;`, `\"`, `\\` and `\:` stand for the character behind the backslash, in text and in
//! content alike; nothing else can be escaped. As in Suricata, digits may stand in pairs or apart, with blanks and
//! commas between them, and a backslash at the very end of plain text is itself.

/// Most bytes of one content.
pub const CONTENT_BYTES_MAX: usize = 8 << 10;

/// What is wrong with a value, and at which of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueError {
    /// Byte of the value.
    pub at: usize,
    /// What is wrong.
    pub reason: String,
}

/// The value of `content`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// A `!` stood before it.
    pub is_negated: bool,
    /// What is looked for.
    pub bytes: Vec<u8>,
}

/// Reads the value of `content`: `"text|hex|"` or `!"…"`.
pub fn content(value: &[u8]) -> Result<Content, ValueError> {
    let (is_negated, inner, at) = quoted(value)?;
    let mut bytes = Vec::with_capacity(inner.len());
    // Where hexadecimal digits began, and the digit that waits for its second.
    let (mut hex, mut digit) = (None, None::<u8>);
    let mut is_converted = false;
    let mut rest = inner.iter().enumerate();
    while let Some((index, byte)) = rest.next() {
        let wrong = |reason: &str| Err(ValueError { at: at + index, reason: reason.to_owned() });
        match (byte, hex) {
            (b'|', None) => hex = Some(index),
            (b'|', Some(_)) if digit.is_some() => return wrong("an odd number of hexadecimal digits"),
            (b'|', Some(_)) => hex = None,
            (b' ' | b',', Some(_)) => {}
            (byte, Some(_)) => {
                let Some(value) = char::from(*byte).to_digit(16) else {
                    return wrong("expected hexadecimal digits in pairs between `|` and `|`");
                };
                match digit.take() {
                    None => digit = Some(value as u8),
                    Some(high) => bytes.push(high << 4 | value as u8),
                }
                is_converted = true;
            }
            (b'\\', None) => match rest.next() {
                Some((_, escaped @ (b';' | b'"' | b'\\' | b':'))) => {
                    bytes.push(*escaped);
                    is_converted = true;
                }
                // Suricata loses it where it had to convert something before.
                None if is_converted => {}
                None => bytes.push(b'\\'),
                _ => return wrong("only `;`, `\"`, `\\` and `:` can stand behind a backslash"),
            },
            (b'"', None) => return wrong("a `\"` inside content needs a backslash before it"),
            (byte, None) => bytes.push(*byte),
        }
    }
    if let Some(begun) = hex {
        return Err(ValueError { at: at + begun, reason: "this `|` has no second one".into() });
    }
    if bytes.is_empty() {
        return Err(ValueError { at, reason: "content holds nothing".into() });
    }
    if bytes.len() > CONTENT_BYTES_MAX {
        return Err(ValueError { at, reason: format!("content of more than {CONTENT_BYTES_MAX} bytes") });
    }
    Ok(Content { is_negated, bytes })
}

/// Reads a quoted text, such as the value of `msg`; bytes that are not UTF-8 are replaced.
pub fn text(value: &[u8]) -> Result<String, ValueError> {
    let (is_negated, inner, at) = quoted(value)?;
    if is_negated {
        return Err(ValueError { at: 0, reason: "a text cannot be negated".into() });
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.iter().enumerate();
    while let Some((index, byte)) = rest.next() {
        match byte {
            b'\\' => match rest.next() {
                Some((_, escaped @ (b';' | b'"' | b'\\' | b':'))) => bytes.push(*escaped),
                // Suricata leaves other backslashes in messages alone.
                Some((_, other)) => bytes.extend_from_slice(&[b'\\', *other]),
                None => return Err(ValueError { at: at + index, reason: "a backslash at the end".into() }),
            },
            byte => bytes.push(*byte),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether it is negated, what stands between the quotes, and where that begins.
fn quoted(value: &[u8]) -> Result<(bool, &[u8], usize), ValueError> {
    let is_negated = value.first() == Some(&b'!');
    let begin = usize::from(is_negated);
    let behind = value.get(begin..).unwrap_or_default();
    let space = behind.len() - behind.trim_ascii_start().len();
    let at = begin + space + 1;
    let inner = behind.trim_ascii().strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\""));
    match inner {
        Some(inner) => Ok((is_negated, inner, at)),
        None => Err(ValueError { at: begin, reason: "expected a text in double quotes".into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_hexadecimal_and_escapes_become_bytes() {
        for (value, bytes) in [
            (r#""abc""#, &b"abc"[..]),
            (r#""a|41 42|b|0D0A|""#, b"aABb\r\n"),
            (r#""|41||42|""#, b"AB"),
            (r#""a\;b\"c\\d\:e""#, b"a;b\"c\\d:e"),
            (r#""C|3a|\\""#, b"C:\\"),
            (r#""|00 ff|""#, &[0, 255]),
            (r#""|4 1,42|""#, b"AB"),
            (r#""C:\""#, b"C:\\"),
            (r#""C|3a|\""#, b"C:"),
        ] {
            assert_eq!(
                content(value.as_bytes()),
                Ok(Content { is_negated: false, bytes: bytes.to_vec() }),
                "{value}"
            );
            let negated = format!("!{value}");
            assert!(content(negated.as_bytes()).unwrap().is_negated);
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (value, at, part) in [
            (r#"abc"#, 0, "double quotes"),
            (r#""abc"#, 0, "double quotes"),
            (r#"!"abc"#, 1, "double quotes"),
            (r#""""#, 1, "nothing"),
            (r#""ab|4|""#, 5, "odd"),
            (r#""ab|4x|""#, 5, "pairs"),
            (r#""ab|4 1 4|""#, 9, "odd"),
            (r#""ab|41""#, 3, "no second"),
            (r#""a\nb""#, 2, "backslash"),
            (r#""a"b""#, 2, "needs a backslash"),
            ("\"", 0, "double quotes"),
            ("", 0, "double quotes"),
        ] {
            let error = content(value.as_bytes()).unwrap_err();
            assert!(error.at == at && error.reason.contains(part), "{value}: {error:?}");
        }
        let long = |count: usize| format!("\"{}\"", "a".repeat(count));
        assert!(content(long(CONTENT_BYTES_MAX).as_bytes()).is_ok());
        assert!(content(long(CONTENT_BYTES_MAX + 1).as_bytes()).is_err());
    }

    #[test]
    fn messages_keep_what_they_escape() {
        assert_eq!(text(br#""a \"b\"\; c:d \x""#).unwrap(), "a \"b\"; c:d \\x");
        assert_eq!(text(b"\"caf\xe9\"").unwrap(), "caf\u{fffd}");
        assert!(text(br#"!"a""#).is_err() && text(br#""a\""#).is_err());
    }
}
