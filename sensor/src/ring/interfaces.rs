//! The names of the interfaces that a ring's frames came in by.
//!
//! In: the sensor's list when it starts. Out: the file `interfaces`, lines of number, space and name, which a query
//! reads to name the interfaces of its answer. A ring that was written with other lists keeps the last one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

const FILE: &str = "interfaces";
/// Longest file that is read, in bytes; what follows is not looked at.
const FILE_BYTES_MAX: usize = 64 << 10;

/// Writes the names, numbered from 0.
pub fn write(directory: &Path, names: &[String]) -> io::Result<()> {
    let lines: String = names
        .iter()
        .enumerate()
        .map(|(number, name)| format!("{number} {}\n", name.replace(char::is_control, "?")))
        .collect();
    let temporary = directory.join("interfaces.tmp");
    fs::write(&temporary, lines)?;
    fs::rename(&temporary, directory.join(FILE))
}

/// The names by number; none are known where there is no such file.
pub fn read(directory: &Path) -> BTreeMap<u32, String> {
    let mut bytes = fs::read(directory.join(FILE)).unwrap_or_default();
    bytes.truncate(FILE_BYTES_MAX);
    let text = String::from_utf8_lossy(&bytes);
    let line = |line: &str| {
        let (number, name) = line.split_once(' ')?;
        Some((number.parse().ok()?, name.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_other_lines_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path()).is_empty());
        write(directory.path(), &["eth0".into(), "a b\nc".into()]).unwrap();
        let want = BTreeMap::from([(0, "eth0".to_owned()), (1, "a b?c".to_owned())]);
        assert_eq!(read(directory.path()), want);
        fs::write(directory.path().join(FILE), b"7 tap\nx y\n\xff\n9").unwrap();
        assert_eq!(read(directory.path()), BTreeMap::from([(7, "tap".to_owned())]));
    }
}
