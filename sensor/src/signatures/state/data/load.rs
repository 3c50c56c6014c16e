//! The files of data sets.
//!
//! In: a path as a rule has it. Out: the values, or why there are none. A path is relative to the rule's file
//! and stays within its directory, symbolic links included, unless settings allow otherwise. Files come
//! from elsewhere: their size and every value's is bounded, and a line that is not understood refuses the
//! rule with the file's name and line.

use super::option::Format;
use super::values::{Added, DataType, Note, Values};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Component, Path, PathBuf};
use weir_common::net::Address;

/// Largest file that is read, in bytes.
pub(in super::super::super) const FILE_BYTES_MAX: u64 = 256 << 20;
/// Most bytes of all files of one loading together, so that many rules cannot have one large file read for
/// each of them.
pub(super) const READ_BYTES_MAX: u64 = 2 << 30;
/// Longest JSON that belongs to a value, in bytes; Suricata's. A value with more is left out, and counted.
pub(super) const JSON_BYTES_MAX: usize = 1024;

/// What rules may do with files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super::super) struct DataSettings {
    /// Whether rules may name files outside of their own directory; Suricata's
    /// `datasets.rules.allow-absolute-filenames`.
    pub(in super::super::super) allows_absolute: bool,
    /// Where the files of `state` are read from; without, such a set begins empty.
    pub(in super::super::super) state_directory: Option<PathBuf>,
}

/// How a file is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a> {
    pub(super) kind: DataType,
    pub(super) format: Format,
    pub(super) value_key: &'a str,
    pub(super) array_key: &'a str,
    pub(super) removes_key: bool,
    /// Most bytes of the values.
    pub(super) most: u64,
}

/// What was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Lines with more fields than two.
    pub(super) lines: u64,
    /// Values with more JSON than [`JSON_BYTES_MAX`].
    pub(super) json: u64,
}

/// The file that a path means.
pub(super) fn locate(path: &str, directory: &Path, allows_absolute: bool) -> Result<PathBuf, String> {
    let relative = Path::new(path);
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let whole = directory.join(relative);
    if allows_absolute {
        return Ok(whole);
    }
    if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("`{path}` leaves the rule file's directory, which is not allowed"));
    }
    let (Ok(real), Ok(real_directory)) = (whole.canonicalize(), directory.canonicalize()) else {
        return Ok(whole);
    };
    if !real.starts_with(real_directory) {
        return Err(format!("`{path}` leads out of the rule file's directory, which is not allowed"));
    }
    Ok(real)
}

/// Reads a file's values, when so many bytes may yet be read.
pub(super) fn load(
    path: &Path,
    reading: Reading<'_>,
    bytes_left: &mut u64,
) -> Result<(Values, LeftOut), String> {
    let wrong = |reason: String| format!("`{}`: {reason}", path.display());
    let text = read(path, bytes_left).map_err(wrong)?;
    let (mut values, mut left_out) = (Values::default(), LeftOut::default());
    match reading.format {
        Format::Csv => csv(&text, reading, &mut values, &mut left_out),
        Format::Ndjson => ndjson(&text, reading, &mut values, &mut left_out),
        Format::Json => json(&text, reading, &mut values, &mut left_out),
    }
    .map_err(wrong)?;
    Ok((values, left_out))
}

fn read(path: &Path, bytes_left: &mut u64) -> Result<Vec<u8>, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("not a file".into());
    }
    let most = FILE_BYTES_MAX.min(*bytes_left);
    let mut text = Vec::new();
    if metadata.len() <= most {
        let file = fs::File::open(path).map_err(|error| error.to_string())?;
        file.take(most + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    }
    let length = metadata.len().max(text.len() as u64);
    if length > most {
        return Err(format!(
            "more than {FILE_BYTES_MAX} bytes, or than {READ_BYTES_MAX} with other sets' files"
        ));
    }
    *bytes_left -= length;
    Ok(text)
}

/// Lines that are not empty, with their numbers.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
    lines.filter(|(_, line)| !line.is_empty()).map(|(number, line)| (number + 1, line))
}

/// `value` or `value,reputation` by line, all of one of the two forms.
fn csv(text: &[u8], reading: Reading<'_>, values: &mut Values, left_out: &mut LeftOut) -> Result<(), String> {
    let mut has_reputations = None;
    for (number, line) in lines(text) {
        let wrong = |reason: &str| format!("line {number}: {reason}");
        let line = std::str::from_utf8(line).map_err(|_| wrong("expected plain text"))?;
        let mut fields = line.split(',').map(str::trim);
        let (value, reputation, more) = (fields.next().unwrap_or_default(), fields.next(), fields.next());
        if more.is_some() {
            left_out.lines += 1;
            continue;
        }
        if *has_reputations.get_or_insert(reputation.is_some()) != reputation.is_some() {
            return Err(wrong("some lines have a reputation and some have none"));
        }
        let note = match reputation {
            None => Note::None,
            Some(reputation) => {
                Note::Reputation(reputation.parse().map_err(|_| wrong("expected a reputation up to 65535"))?)
            }
        };
        let key = match reading.kind {
            DataType::String => STANDARD.decode(value).map_err(|_| wrong("expected base64"))?,
            kind => parse(kind, value).map_err(wrong)?,
        };
        add(values, &key, note, reading.most).map_err(|reason| wrong(&reason))?;
    }
    Ok(())
}

/// A value as it is written outside of base64.
fn parse(kind: DataType, text: &str) -> Result<Vec<u8>, &'static str> {
    match kind {
        DataType::String if text.is_empty() => Err("an empty value"),
        DataType::String => Ok(text.as_bytes().to_vec()),
        DataType::Md5 => hex(text, 16).ok_or("expected 32 hexadecimal digits"),
        DataType::Sha256 => hex(text, 32).ok_or("expected 64 hexadecimal digits"),
        DataType::Ipv4 => {
            let address: Ipv4Addr = text.parse().map_err(|_| "expected an IPv4 address")?;
            Ok(address.octets().to_vec())
        }
        DataType::Ip => {
            let address: IpAddr = text.parse().map_err(|_| "expected an address")?;
            Ok(Address::from(address).0.to_vec())
        }
    }
}

fn hex(text: &str, bytes: usize) -> Option<Vec<u8>> {
    if text.len() != bytes * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..bytes).map(|at| u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()).collect()
}

fn add(values: &mut Values, key: &[u8], note: Note, most: u64) -> Result<(), String> {
    match values.add(key, note, most) {
        Added::New | Added::Present => Ok(()),
        Added::NoRoom => Err(format!("the values take more than {most} bytes")),
    }
}

fn ndjson(
    text: &[u8],
    reading: Reading<'_>,
    values: &mut Values,
    left_out: &mut LeftOut,
) -> Result<(), String> {
    let mut is_any = false;
    for (number, line) in lines(text) {
        let wrong = |reason: String| format!("line {number}: {reason}");
        let element = serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
        is_any |= element_of(element, reading, values, left_out).map_err(wrong)?;
    }
    if is_any { Ok(()) } else { Err(nothing(reading)) }
}

fn json(
    text: &[u8],
    reading: Reading<'_>,
    values: &mut Values,
    left_out: &mut LeftOut,
) -> Result<(), String> {
    let mut whole: Json = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let mut at = &mut whole;
    for key in reading.array_key.split('.').filter(|_| !reading.array_key.is_empty()) {
        at = at.get_mut(key).ok_or_else(|| format!("there is no `{}`", reading.array_key))?;
    }
    let Json::Array(elements) = at else { return Err("expected an array".into()) };
    let mut is_any = false;
    for (number, element) in std::mem::take(elements).into_iter().enumerate() {
        let wrong = |reason: String| format!("element {}: {reason}", number + 1);
        is_any |= element_of(element, reading, values, left_out).map_err(wrong)?;
    }
    if is_any { Ok(()) } else { Err(nothing(reading)) }
}

fn nothing(reading: Reading<'_>) -> String {
    format!("nothing has `{}`", reading.value_key)
}

/// Adds an element's value with the element; false when it has none. As in Suricata, `remove_key` takes
/// away a key of the element itself and none within it.
fn element_of(
    mut element: Json,
    reading: Reading<'_>,
    values: &mut Values,
    left_out: &mut LeftOut,
) -> Result<bool, String> {
    let mut at = &element;
    for key in reading.value_key.split('.') {
        match at.get(key) {
            Some(inner) => at = inner,
            None => return Ok(false),
        }
    }
    let Json::String(text) = at else { return Err(format!("`{}` is not a string", reading.value_key)) };
    let key = parse(reading.kind, text)?;
    if reading.removes_key
        && let Json::Object(fields) = &mut element
    {
        fields.shift_remove(reading.value_key);
    }
    let json = element.to_string();
    if json.len() > JSON_BYTES_MAX {
        left_out.json += 1;
        return Ok(true);
    }
    add(values, &key, Note::Json(json.into()), reading.most)?;
    Ok(true)
}
