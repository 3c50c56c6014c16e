//! Lists that people and feeds keep as CSV: assets, legitimate traffic, indicators.
//!
//! In: a file's text and the names of its columns. Out: the cells of each line in the order of the names;
//! and what is wrong with the others, with their places. A first line that names the columns may order
//! them and leave some out; without it the documented order holds, and trailing columns may be missing.
//! Lines that begin with `#` are comments; a cell in quotation marks may span lines. What the cells mean is the caller's.

use crate::problem::{Problem, Problems};
use std::fs::File;
use std::io::Read;
use weir_common::config::nearest;

/// Most bytes read of one list; that a list is longer is a problem, what stands before is used.
pub const LIST_BYTES_MAX: u64 = 512 << 20;

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be used; reading goes on.
    Line(String),
    /// Neither it nor what follows is used.
    Rest(String),
}

impl From<String> for Fault {
    fn from(message: String) -> Fault {
        Fault::Line(message)
    }
}

/// Opens a list.
pub fn open(file: &str) -> Result<File, Problem> {
    File::open(file).map_err(|error| Problem::at(file, format!("cannot be opened: {error}")))
}

/// Reads a list and hands on each line's number, from 1, and cells; a missing cell is empty.
pub fn read<const N: usize>(
    file: &str,
    input: impl Read,
    columns: &[&str; N],
    each: impl FnMut(u64, [&str; N]) -> Result<(), Fault>,
) -> Vec<Problem> {
    read_at_most(LIST_BYTES_MAX, file, input, columns, each)
}

fn read_at_most<const N: usize>(
    bytes_max: u64,
    file: &str,
    input: impl Read,
    columns: &[&str; N],
    mut each: impl FnMut(u64, [&str; N]) -> Result<(), Fault>,
) -> Vec<Problem> {
    let mut problems = Problems::of(file);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        // The carriage return of a Windows line is trimmed with the last cell; as the end of a record it
        // would leave the line feed, and with it the count of lines, to the next record.
        .terminator(csv::Terminator::Any(b'\n'))
        .from_reader(input.take(bytes_max + 1).chain(&b"\n"[..]));
    let mut order: [usize; N] = std::array::from_fn(|index| index);
    let (mut first, mut width) = (true, N);
    let mut record = csv::ByteRecord::new();
    loop {
        let more = match reader.read_byte_record(&mut record) {
            Ok(more) => more,
            Err(error) => {
                problems.add(reader.position().line(), format!("cannot be read: {error}"));
                break;
            }
        };
        if reader.position().byte() > bytes_max + 1 {
            problems.add(0, format!("is longer than {bytes_max} bytes: what follows is left out"));
            break;
        }
        if !more {
            break;
        }
        // The record's own position is that of the comments and empty lines before it.
        let breaks = record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
        let line = reader.position().line().saturating_sub(1 + breaks);
        if record.len() == 1 && record.get(0).is_some_and(<[u8]>::is_empty) {
            continue;
        }
        if std::mem::take(&mut first)
            && record.iter().any(|cell| cell.eq_ignore_ascii_case(columns[0].as_bytes()))
        {
            match header(&record, columns) {
                Ok(found) => (order, width) = (found, record.len()),
                Err(message) => {
                    // Without knowing the columns every line would be misread.
                    problems.add(line, message);
                    break;
                }
            }
            continue;
        }
        if record.len() > width {
            let message = format!(
                "has {} cells: expected {width} at most; a text with a comma stands in quotation marks",
                record.len()
            );
            problems.add(line, message);
            continue;
        }
        let outcome = match cells(&record, &order) {
            Some(cells) => each(line, cells),
            None => Err(Fault::Line("is not UTF-8 text".into())),
        };
        match outcome {
            Ok(()) => {}
            Err(Fault::Line(message)) => problems.add(line, message),
            Err(Fault::Rest(message)) => {
                problems.add(line, message);
                break;
            }
        }
    }
    problems.told()
}

fn cells<'a, const N: usize>(record: &'a csv::ByteRecord, order: &[usize; N]) -> Option<[&'a str; N]> {
    let mut cells = [""; N];
    for (cell, at) in cells.iter_mut().zip(order) {
        *cell = std::str::from_utf8(record.get(*at).unwrap_or_default()).ok()?;
    }
    Some(cells)
}

/// Where each known column stands; a column that is missing reads as empty.
fn header<const N: usize>(record: &csv::ByteRecord, columns: &[&str; N]) -> Result<[usize; N], String> {
    for name in record {
        if !columns.iter().any(|column| name.eq_ignore_ascii_case(column.as_bytes())) {
            return Err(unknown("column", &String::from_utf8_lossy(name).to_ascii_lowercase(), columns));
        }
    }
    Ok(columns.map(|column| {
        let stands = record.iter().position(|name| name.eq_ignore_ascii_case(column.as_bytes()));
        stands.unwrap_or(usize::MAX)
    }))
}

/// That a word is none of the known ones, with the one that was probably meant.
pub fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    let hint = nearest(word, known).map(|best| format!("; did you mean `{best}`?")).unwrap_or_default();
    format!("unknown {what} `{word}`: expected {}{hint}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> (Vec<String>, Vec<String>) {
        let mut lines = Vec::new();
        let problems =
            read_at_most(1000, "f", text, &["name", "port", "note"], |line, [name, port, note]| match name {
                "bad" => Err(Fault::Line("is bad".into())),
                "end" => Err(Fault::Rest("ends".into())),
                _ => {
                    lines.push(format!("{line} {name} {port} {note}"));
                    Ok(())
                }
            });
        (lines, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn columns_stand_in_the_documented_order_or_in_that_of_the_first_line() {
        let none = Vec::<String>::new();
        assert_eq!(lines(b"a,1,x\nb\n"), (vec!["1 a 1 x".into(), "2 b  ".into()], none.clone()));
        assert_eq!(lines(b"PORT, Name\n1,a\n"), (vec!["2 a 1 ".into()], none.clone()));
        assert_eq!(lines(b"\xef\xbb\xbfname,note\r\na,\"x, y\"\r\n"), (vec!["2 a  x, y".into()], none));
    }

    #[test]
    fn comments_and_empty_lines_count_as_lines() {
        let (found, problems) = lines(b"# c\n\na\n# c\n  \nbad\n");
        assert_eq!((found, problems), (vec!["3 a  ".to_owned()], vec!["f:6: is bad".to_owned()]));
    }

    #[test]
    fn what_is_wrong_has_its_line_and_costs_itself_or_the_rest() {
        let (found, problems) = lines(b"a\nbad\n\xff\nb,1,x,y\nb\nend\nc\n");
        assert_eq!(found, ["1 a  ", "5 b  "]);
        assert_eq!(
            problems,
            [
                "f:2: is bad",
                "f:3: is not UTF-8 text",
                "f:4: has 4 cells: expected 3 at most; a text with a comma stands in quotation marks",
                "f:6: ends"
            ]
        );
        let (found, problems) = lines(b"name,prot\na,1\n");
        assert_eq!(found, Vec::<String>::new());
        assert_eq!(problems, ["f:1: unknown column `prot`: expected name, port, note; did you mean `port`?"]);
    }

    #[test]
    fn a_list_past_the_limit_is_told() {
        let (found, problems) = lines(&b"aaaa\n".repeat(200));
        assert_eq!((found.len(), problems.len()), (200, 0));
        for longer in [&b"aaaa\n".repeat(201)[..], &[&b"aaaa\n".repeat(200)[..], b"\n"].concat()] {
            let (found, problems) = lines(longer);
            assert_eq!(found.len(), 200);
            assert!(problems[0].starts_with("f: is longer than 1000 bytes"), "{problems:?}");
        }
    }

    #[test]
    fn a_cell_over_several_lines_counts_them() {
        let (found, problems) = lines(b"a,1,\"x\ny\"\r\nbad\r\nc");
        assert_eq!(
            (found, problems),
            (vec!["1 a 1 x\ny".into(), "4 c  ".into()], vec!["f:3: is bad".into()])
        );
    }

    #[test]
    fn a_quotation_mark_that_is_not_closed_ends_with_the_text() {
        let (found, problems) = lines(b"a\n\"b\nc\n");
        assert_eq!((found.len(), problems.len()), (2, 0));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        assert!(open("/nonexistent/list.csv").unwrap_err().to_string().contains("cannot be opened"));
        let directory = tempfile::tempdir().unwrap();
        let opened = open(directory.path().to_str().unwrap()).unwrap();
        let problems = read("d", opened, &["name"], |_, _| Ok(()));
        assert!(problems[0].message.starts_with("cannot be read"), "{problems:?}");
    }
}
