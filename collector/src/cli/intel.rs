//! `weir-collector intel`: indicator lists checked, and written as rules.
//!
//! In: lists by path. Out: every line that cannot be used, or files for sensors. Deliberately absent: what indicators
//! mean and what their rules look like.

use super::{Failure, tell};
use crate::detect::config::DetectConfig;
use crate::detect::load::{check_indicators, read_indicators};
use crate::detect::signature::indicator_rules::{IndicatorRules, RULES_NAME};
use crate::files;
use std::path::Path;
use weir_common::control::{RULES_BYTES_MAX, RULES_FILES_MAX};

/// Most indicators, as a collector with its defaults takes them.
fn limit() -> usize {
    DetectConfig::default().indicators_max as usize
}

/// Names every line that cannot be used.
pub(super) fn check(lists: &[String]) -> Result<(), Failure> {
    let (indicators, repeated, problems) = check_indicators(lists, limit());
    eprintln!("{indicators} indicators, {repeated} repeated");
    tell(&problems.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// Writes rules and lists into a directory: the rules last, so that they never name a list that is not there.
pub(super) fn rules(lists: &[String], output: &Path) -> Result<(), Failure> {
    let read = read_indicators(lists, limit());
    let (indicators, problems) = read.map_err(|problem| Failure::Input(problem.to_string()))?;
    let mut fitted = IndicatorRules::new(&indicators).fit(RULES_FILES_MAX, RULES_BYTES_MAX);
    if fitted.files.is_empty() {
        // Those of before must not go on.
        fitted.files.push((RULES_NAME.to_owned(), b"# No indicators.\n".to_vec()));
    }
    fitted.files.sort_unstable_by_key(|(name, _)| name == RULES_NAME);
    for (name, text) in &fitted.files {
        let path = output.join(name);
        let written = files::replace(&path, text);
        written.map_err(|error| Failure::System(format!("{}: {error}", path.display())))?;
    }
    eprintln!("{} indicators in {}", fitted.indicators, output.join(RULES_NAME).display());
    for problem in &problems {
        eprintln!("{problem}");
    }
    let mut lost = Vec::new();
    if fitted.left_out > 0 {
        lost.push(format!("{} indicators are more than sensors take", fitted.left_out));
    }
    if !problems.is_empty() {
        lost.push(format!("{} lines or lists cannot be used", problems.len()));
    }
    if lost.is_empty() { Ok(()) } else { Err(Failure::Lost(lost.join("; "))) }
}
