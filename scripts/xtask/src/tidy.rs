//! What no lint can check: module docs, the direction of arrows, where unsafe may stand, the
//! changelog's form, and that generated documents are current.

use crate::{arrows, docs};
use anyhow::Context;
use std::path::{Path, PathBuf};

/// Longest source file without a second look, in lines. A ceiling that only falls.
const FILE_LINES_MAX: usize = 800;
/// Crates whose modules stand in ARCHITECTURE.md's tables of arrows.
const CRATES: &[&str] = &["common", "sensor", "collector"];

/// Every problem found, as lines for a person.
pub fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let architecture = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    let mut problems = Vec::new();
    for file in sources(root)? {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let shown = file.strip_prefix(root).unwrap_or(&file).to_owned();
        problems.extend(check_source(&shown, &text));
        if is_test(&shown) {
            continue;
        }
        for name in CRATES {
            let source = Path::new(name).join("src");
            if shown.starts_with(&source) {
                problems.extend(arrows::check_file(
                    &arrows::table(&architecture, name),
                    &source,
                    &shown,
                    &text,
                ));
            }
        }
    }
    let changelog = std::fs::read_to_string(root.join("CHANGELOG.md")).context("CHANGELOG.md")?;
    problems.extend(check_changelog(&changelog));
    for path in docs::stale(root)? {
        problems.push(format!(
            "{}: not what the programs' definitions give; run `cargo xtask docs`",
            path.display()
        ));
    }
    Ok(problems)
}

fn sources(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending: Vec<PathBuf> =
        ["common", "sensor", "collector", "tests", "scripts"].map(|name| root.join(name)).into();
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file holds nothing but tests, which may reach for any module.
fn is_test(path: &Path) -> bool {
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let inside = path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches");
    inside || matches!(name.as_str(), "tests" | "testing" | "trial") || name.ends_with("_tests")
}

fn check_source(path: &Path, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut say = |problem: &str| problems.push(format!("{}: {problem}", path.display()));
    if !text.starts_with("//!") && !is_test(path) {
        say("no module doc: what enters, what leaves, what is deliberately absent");
    }
    let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
    if lines > FILE_LINES_MAX {
        say(&format!("{lines} lines before its tests, more than {FILE_LINES_MAX}: is it still one thing?"));
    }
    let has_unsafe = text.lines().any(|line| {
        let code = line.split("//").next().unwrap_or_default();
        code.contains("unsafe {")
            || code.contains("unsafe fn")
            || code.contains("unsafe impl")
            || code.contains("unsafe extern")
    });
    if has_unsafe
        && !text.contains("#![allow(unsafe_code")
        && !text.contains("#![expect(unsafe_code")
        && !path.ends_with("tidy.rs")
    {
        say("unsafe outside a file that says so in its head");
    }
    problems
}

/// Keep a Changelog 1.1: `## [Unreleased]` or `## [VERSION] - DATE`, and its six kinds of change.
fn check_changelog(text: &str) -> Vec<String> {
    let kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
    let wrong = |line: &&str| match (line.strip_prefix("## "), line.strip_prefix("### ")) {
        (Some(version), _) => !version.starts_with('['),
        (_, Some(kind)) => !kinds.contains(&kind.trim()),
        _ => false,
    };
    text.lines()
        .filter(wrong)
        .map(|line| format!("CHANGELOG.md: `{line}` is no heading of Keep a Changelog"))
        .collect()
}
