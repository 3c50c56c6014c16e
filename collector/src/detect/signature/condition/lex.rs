//! A condition's text into tokens with their places.

use super::ConditionError;
use crate::prefix::Prefix;

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A field's name or a keyword.
    Word(String),
    /// A quoted text.
    Text(String),
    /// A number, or with a hyphen a range of numbers; first and last are the same for one.
    Number(u64, u64),
    /// An address or a network.
    Network(Prefix),
    /// An operator or a bracket.
    Sign(&'static str),
    /// After the last token.
    End,
}

/// A token and the byte it begins at.
pub(super) type Placed = (Token, usize);

// Longer signs before those that begin them.
const SIGNS: &[&str] = &["==", "!=", "<=", ">=", "<", ">", "=", "(", ")", "[", "]", ",", "&&", "||", "!"];

/// Splits a text into tokens, `End` last.
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, ConditionError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(next) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = &text[at..];
        if next.is_whitespace() {
            at += next.len_utf8();
        } else if next == '#' {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if next == '"' || next == '\'' {
            let (token, length) = quoted(rest, next).ok_or_else(|| {
                ConditionError::at(
                    text,
                    at,
                    "this text is not closed: expected a quotation mark at its end".into(),
                )
            })?;
            tokens.push((Token::Text(token), at));
            at += length;
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            tokens.push((Token::Sign(sign), at));
            at += sign.len();
        } else {
            let length = rest.find(|c: char| !in_word(c)).unwrap_or(rest.len());
            if length == 0 {
                return Err(ConditionError::at(text, at, format!("`{next}` has no meaning here")));
            }
            tokens
                .push((word(&rest[..length]).map_err(|message| ConditionError::at(text, at, message))?, at));
            at += length;
        }
    }
    tokens.push((Token::End, text.len()));
    Ok(tokens)
}

fn in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '/' | '-')
}

fn word(text: &str) -> Result<Token, String> {
    if let Some((first, last)) = number_or_range(text) {
        return if first <= last {
            Ok(Token::Number(first, last))
        } else {
            Err(format!("the range {text} ends before it begins"))
        };
    }
    match Prefix::parse(text) {
        Ok(prefix) => return Ok(Token::Network(prefix)),
        // Only a network has a slash.
        Err(message) if text.contains('/') => return Err(message),
        Err(_) => {}
    }
    let name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if name && !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(Token::Word(text.to_owned()));
    }
    Err(format!("`{text}` is no field, number, address or network; a text stands in quotation marks"))
}

fn number_or_range(text: &str) -> Option<(u64, u64)> {
    match text.split_once('-') {
        Some((first, last)) => Some((number(first)?, number(last)?)),
        None => number(text).map(|number| (number, number)),
    }
}

/// Decimal with `_` between digits, or hexadecimal after `0x`.
fn number(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'));
    }
    if !text.starts_with(|c: char| c.is_ascii_digit())
        || !text.bytes().all(|b| b.is_ascii_digit() || b == b'_')
    {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// The text between quotation marks, where a backslash takes the next character as it is, and the length
/// with the marks.
fn quoted(rest: &str, mark: char) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => out.push(characters.next()?.1),
            c if c == mark => return Some((out, at + c.len_utf8())),
            c => out.push(c),
        }
    }
    None
}
