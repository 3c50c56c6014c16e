//! JSON lines, reduced to the keys that a test is about.

use anyhow::Context;
use serde_json::{Map, Value};
use std::path::Path;

/// The objects of a JSON lines file.
pub fn lines(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let read = |line: &str| serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display()));
    text.lines().filter(|line| !line.trim().is_empty()).map(read).collect()
}

/// The value at a dotted path; numbers in it index lists.
pub fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| match value {
        Value::Array(list) => list.get(key.parse::<usize>().ok()?),
        other => other.get(key),
    })
}

/// One line per object with only the named paths, sorted, so that order does not matter.
pub fn projected(objects: &[Value], paths: &[String]) -> String {
    let project = |object: &Value| {
        let picked = paths.iter().filter_map(|path| Some((path.clone(), at(object, path)?.clone())));
        Value::Object(picked.collect::<Map<_, _>>()).to_string()
    };
    let mut lines: Vec<String> = objects.iter().map(project).collect();
    lines.sort();
    lines.iter().map(|line| format!("{line}\n")).collect()
}
