//! Keywords about files: `filename`, `fileext`, `filemagic`, `filemd5`, `filesha1`, `filesha256`, `filesize`,
//! `filestore`.
//!
//! Their lists of digests are read when the rule is: a text file with one digest a line, whatever stands behind it.
//! Deliberately absent: storing files by rule; `filestore` asks only that there is a file (`dpi.files` stores them).

use crate::dpi::buffers::{Buffer, Number, Side, Wanted};
use crate::signatures::packet::{UintTest, Width};
use std::path::Path;
use weir_common::rule::content;

/// Most bytes of a list of digests; a rule with a longer one is refused.
const LIST_BYTES_MAX: u64 = 256 << 20;

/// A test of one of these keywords.
#[derive(Debug)]
pub(in crate::signatures) enum Test {
    /// A text is in a part, in letters of any size; or a part is there without it.
    Has {
        buffer: Buffer,
        text: Vec<u8>,
        is_negated: bool,
    },
    /// A file's name ends so, in letters of any size; or one does not.
    Ends {
        text: Vec<u8>,
        is_negated: bool,
    },
    /// A digest is in the list; or one is not.
    Listed {
        buffer: Buffer,
        digests: Digests,
        is_negated: bool,
    },
    Size(UintTest),
    /// There is a file.
    Any,
}

/// Digests in lower-case hexadecimal, sorted.
#[derive(Debug, Default)]
pub(in crate::signatures) struct Digests {
    digits: usize,
    sorted: Vec<u8>,
}

/// Reads an option; none: it is none of these keywords. `file` is that of the rule, beside which lists lie.
pub(super) fn option(name: &str, value: &[u8], file: &str) -> Option<Result<Test, String>> {
    Some(match name {
        "filename" => {
            text(value).map(|(text, is_negated)| Test::Has { buffer: Buffer::FileName, text, is_negated })
        }
        "filemagic" => {
            text(value).map(|(text, is_negated)| Test::Has { buffer: Buffer::FileMagic, text, is_negated })
        }
        "fileext" => {
            text(value).map(|(text, is_negated)| Test::Ends { text: [b".", &text[..]].concat(), is_negated })
        }
        "filemd5" => listed(Buffer::FileMd5, 32, value, file),
        "filesha1" => listed(Buffer::FileSha1, 40, value, file),
        "filesha256" => listed(Buffer::FileSha256, 64, value, file),
        "filesize" => String::from_utf8(value.to_vec())
            .map_err(|_| "the value is not UTF-8".to_string())
            .and_then(|value| UintTest::parse(value.trim(), Width::U64))
            .map(Test::Size),
        "filestore" => store(value),
        _ => return None,
    })
}

/// A text in quotes or without, in small letters, and whether it must not be there.
fn text(value: &[u8]) -> Result<(Vec<u8>, bool), String> {
    let value = value.trim_ascii();
    let bare = value.strip_prefix(b"!").unwrap_or(value).trim_ascii_start();
    let is_quoted = bare.starts_with(b"\"");
    let (mut bytes, is_negated) = if is_quoted {
        let content = content::content(value).map_err(|error| error.reason)?;
        (content.bytes, content.is_negated)
    } else {
        (bare.to_vec(), bare.len() < value.len())
    };
    bytes.make_ascii_lowercase();
    if bytes.is_empty() { Err("the text is empty".into()) } else { Ok((bytes, is_negated)) }
}

fn store(value: &[u8]) -> Result<Test, String> {
    let value = String::from_utf8_lossy(value).to_ascii_lowercase();
    let mut words = value.split(',').map(str::trim);
    let (direction, scope) = (words.next().unwrap_or_default(), words.next());
    let is_direction = ["", "request", "to_server", "response", "to_client", "both"].contains(&direction);
    let is_scope = scope.is_none_or(|scope| ["file", "tx", "ssn", "flow"].contains(&scope));
    if is_direction && is_scope && words.next().is_none() {
        return Ok(Test::Any);
    }
    Err("expected a direction (`request`, `response`, `both`) and a scope (`file`, `tx`, `flow`)".into())
}

fn listed(buffer: Buffer, digits: usize, value: &[u8], file: &str) -> Result<Test, String> {
    let value = std::str::from_utf8(value).map_err(|_| "the value is not UTF-8".to_string())?.trim();
    let (is_negated, name) = match value.strip_prefix('!') {
        Some(name) => (true, name.trim_start()),
        None => (false, value),
    };
    let name = name.trim_matches('"');
    if name.is_empty() {
        return Err("expected the name of a file with digests".into());
    }
    let path = Path::new(file).parent().unwrap_or(Path::new("")).join(name);
    let problem = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let bytes = std::fs::metadata(&path).map_err(problem)?.len();
    if bytes > LIST_BYTES_MAX {
        return Err(format!("{} is larger than {LIST_BYTES_MAX} bytes", path.display()));
    }
    let list = std::fs::read(&path).map_err(problem)?;
    let digests = Digests::read(&list, digits)
        .map_err(|line| format!("{}:{line}: expected {digits} hexadecimal digits", path.display()))?;
    Ok(Test::Listed { buffer, digests, is_negated })
}

impl Digests {
    /// Reads a list. Empty lines and comments are passed over; wrong: the number of the first such line.
    fn read(list: &[u8], digits: usize) -> Result<Digests, usize> {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        for (at, line) in list.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let digest = line.get(..digits).filter(|digest| digest.iter().all(u8::is_ascii_hexdigit));
            let is_over = line.get(digits).is_none_or(|byte| !byte.is_ascii_hexdigit());
            let Some(digest) = digest.filter(|_| is_over) else { return Err(at + 1) };
            lines.push(digest.to_ascii_lowercase());
        }
        lines.sort_unstable();
        lines.dedup();
        Ok(Digests { digits, sorted: lines.concat() })
    }

    fn has(&self, digest: &[u8]) -> bool {
        let at = |at: usize| self.sorted.get(at * self.digits..(at + 1) * self.digits).unwrap_or_default();
        let (mut from, mut to) = (0, self.sorted.len().checked_div(self.digits).unwrap_or(0));
        while from < to {
            let middle = from + (to - from) / 2;
            match at(middle).cmp(digest) {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        false
    }
}

impl Test {
    /// Whether the side is what the rule asks for.
    pub(super) fn holds(&self, side: &Side) -> bool {
        match self {
            Test::Has { buffer, text, is_negated } => {
                side.values_of(*buffer).any(|value| has(value, text) != *is_negated)
            }
            Test::Ends { text, is_negated } => side.values_of(Buffer::FileName).any(|name| {
                let end = name.len().checked_sub(text.len()).and_then(|from| name.get(from..));
                end.is_some_and(|end| end.eq_ignore_ascii_case(text)) != *is_negated
            }),
            Test::Listed { buffer, digests, is_negated } => {
                side.values_of(*buffer).any(|digest| digests.has(digest) != *is_negated)
            }
            // Of a file that was not seen to its end only that it is larger is known.
            Test::Size(test) => {
                let is_above = matches!(test, UintTest::Range { to: u64::MAX, is_negated: false, .. });
                side.numbers_of(Number::FileSize).any(|size| test.has(size))
                    || is_above && side.numbers_of(Number::FileSizeMin).any(|size| test.has(size))
            }
            Test::Any => side.values_of(Buffer::FileName).next().is_some(),
        }
    }

    /// What of sides it reads.
    pub(super) fn wants(&self, wanted: &mut Wanted) {
        match self {
            Test::Has { buffer, .. } | Test::Listed { buffer, .. } => wanted.want(*buffer),
            Test::Ends { .. } | Test::Any => wanted.want(Buffer::FileName),
            Test::Size(_) => {
                wanted.want_number(Number::FileSize);
                wanted.want_number(Number::FileSizeMin);
            }
        }
    }
}

/// Whether a text in small letters is in a value, in letters of any size.
fn has(value: &[u8], text: &[u8]) -> bool {
    value.windows(text.len().max(1)).any(|window| window.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{holds, read};
    use super::*;

    #[test]
    fn names_kinds_and_sizes_are_tested() {
        let name = |text: &str| holds(text, &[(Buffer::FileName, b"/a/Report.PDF")], &[]);
        assert!(name("filename:\"report\"") && name("filename:report") && name("filename:!\"x\""));
        assert!(!name("filename:\"x\"") && !name("filename:!\"|52|eport\""));
        assert!(name("fileext:\"pdf\"") && name("fileext:!\"doc\"") && !name("fileext:\"df\""));
        assert!(name("filestore") && name("filestore:to_server,flow"));
        assert!(holds("filemagic:\"vErsion 1\"", &[(Buffer::FileMagic, b"PDF document, version 1.6")], &[]));
        for text in ["filename:\"x\"", "filename:!\"x\"", "filestore", "filemagic:!\"x\"", "filesize:<9"] {
            assert!(!holds(text, &[], &[]), "{text}: without a file");
        }
        let (whole, at_least) = ((Number::FileSize, 70), (Number::FileSizeMin, 70));
        assert!(holds("filesize:>50", &[], &[at_least]) && !holds("filesize:<71", &[], &[at_least]));
        assert!(holds("filesize:<71", &[], &[whole]) && holds("filesize:70", &[], &[whole]));
        assert!(!holds("filesize:>1KB", &[], &[whole, at_least]));
    }

    #[test]
    fn digests_are_looked_up_in_a_file_beside_the_rules() {
        let directory = tempfile::tempdir().unwrap();
        let rules = directory.path().join("my.rules");
        let digests: [&[u8]; 3] = [&[b'b'; 32], &[b'5'; 32], &[b'c'; 32]];
        let list =
            format!("# known\n{}\r\n{}  x.exe\n\n{}\n", "B".repeat(32), "5".repeat(32), "c".repeat(32));
        std::fs::write(directory.path().join("list"), list).unwrap();
        std::fs::write(directory.path().join("bad"), "# x\nzz\n").unwrap();
        let read = |text: &str| read(text, rules.to_str().unwrap()).unwrap();
        let Ok(super::super::WebTest::File(Test::Listed { digests: listed, is_negated: false, .. })) =
            read("filemd5:list")
        else {
            panic!("a list");
        };
        assert!(digests.iter().all(|digest| listed.has(digest)) && !listed.has(&[b'd'; 32]));
        assert!(read("filemd5:bad").unwrap_err().ends_with("bad:2: expected 32 hexadecimal digits"));
        assert!(
            read("filesha1:list").is_err() && read("filemd5:none").is_err() && read("filemd5:!").is_err()
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in ["filename:\"", "filename:", "filestore:up", "filestore:both,all", "filesize:big"] {
            assert!(read(text, "x").unwrap().is_err(), "{text}");
        }
    }
}
