//! The one list of detectors, made from the configuration; the only file of `detect` that opens files.
//!
//! In: the configuration, lists and rules by path, and what detectors learned before. Out: [`Detectors`].
//! A list that cannot be read, and every line of it that cannot be used, is a [`Problem`] with its place;
//! what can be used is used. Reads no clock.

use super::anomaly::beacon::BeaconDetector;
use super::anomaly::login::LoginDetector;
use super::anomaly::newcomer::NewcomerDetector;
use super::anomaly::scan::ScanDetector;
use super::config::{DetectConfig, RuleConfig};
use super::home::Home;
use super::signature::condition::ConditionDetector;
use super::signature::indicator::{IndicatorDetector, Indicators};
use super::{Detector, Finding};
use crate::enrich::Enriched;
use crate::files::replace;
use crate::list;
use crate::problem::Problem;
use serde::Deserialize;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use toml::Spanned;

/// Largest file of rules that is read, in bytes.
pub const RULES_BYTES_MAX: u64 = 64 << 20;

/// Every detector, in the order in which a record passes them.
pub struct Detectors {
    list: Vec<Box<dyn Detector>>,
}

impl Detectors {
    /// Makes the detectors that the configuration asks for.
    ///
    /// `home_networks` are the owner's, as CIDR (`enrich.home_networks`). `state_directory` is where what
    /// was learned is kept; without one nothing is read. The problems do not keep the collector from
    /// running: the caller shows them (`run`), or fails on them (`check`).
    pub fn from_config(
        config: &DetectConfig,
        home_networks: &[String],
        state_directory: Option<&Path>,
    ) -> (Detectors, Vec<Problem>) {
        let mut problems = Vec::new();
        let home = Home::new(home_networks).unwrap_or_else(|message| {
            problems.push(Problem::at("enrich.home_networks", message));
            Home::new(&[]).unwrap_or_else(|_| Home::nowhere())
        });
        let indicators = indicators(&config.indicators, config.indicators_max as usize, &mut problems);
        let conditions = conditions(config, &mut problems);
        let mut list: Vec<Box<dyn Detector>> = Vec::new();
        if !indicators.is_empty() {
            list.push(Box::new(IndicatorDetector::new(indicators, home.clone())));
        }
        if !conditions.is_empty() {
            list.push(Box::new(conditions));
        }
        if config.scan.enabled {
            match ScanDetector::new(&config.scan, home.clone()) {
                Ok(detector) => list.push(Box::new(detector)),
                Err(message) => problems.push(Problem::at("detect.scan", message)),
            }
        }
        if config.login.enabled {
            list.push(Box::new(LoginDetector::new(&config.login, home.clone())));
        }
        if config.beacon.enabled {
            list.push(Box::new(BeaconDetector::new(&config.beacon, home.clone())));
        }
        if config.newcomer.enabled {
            let mut detector = NewcomerDetector::new(&config.newcomer, home);
            if let Some(directory) = state_directory {
                restore(&mut detector, directory, &mut problems);
            }
            list.push(Box::new(detector));
        }
        (Detectors { list }, problems)
    }

    /// Passes one record by every detector.
    #[inline]
    pub fn inspect(&mut self, record: &Enriched<'_>, findings: &mut Vec<Finding>) {
        for detector in &mut self.list {
            detector.inspect(record, findings);
        }
    }

    /// The names of the detectors in use.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.list.iter().map(|detector| detector.name())
    }

    /// How much each detector forgot at its limits.
    pub fn forgotten(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.list.iter().map(|detector| (detector.name(), detector.forgotten()))
    }

    /// Writes what was learned below the state directory, each file by rename. To be called every few
    /// minutes and at the end; a restart forgets what came after the last call.
    pub fn save(&self, state_directory: &Path) -> io::Result<()> {
        for (name, bytes) in self.list.iter().filter_map(|detector| detector.learned()) {
            replace(&state_directory.join(name), &bytes)?;
        }
        Ok(())
    }
}

/// Reads indicator lists and reports what cannot be used; `intel check` prints it. Returns the number of
/// indicators and of lines that repeat one.
pub fn check_indicators(files: &[String], limit: usize) -> (usize, usize, Vec<Problem>) {
    let mut problems = Vec::new();
    let indicators = indicators(files, limit, &mut problems);
    (indicators.len(), indicators.repeated(), problems)
}

/// Reads indicator lists, with what cannot be used; none of it when one cannot be opened. What is made of the lists
/// for others must not lack what a missing file holds.
pub fn read_indicators(files: &[String], limit: usize) -> Result<(Indicators, Vec<Problem>), Problem> {
    let (mut indicators, mut problems) = (Indicators::default(), Vec::new());
    for file in files {
        problems.extend(indicators.add_list(file, list::open(file)?, limit));
    }
    Ok((indicators, problems))
}

fn indicators(files: &[String], limit: usize, problems: &mut Vec<Problem>) -> Indicators {
    let mut indicators = Indicators::default();
    for file in files {
        match list::open(file) {
            Ok(input) => problems.extend(indicators.add_list(file, input, limit)),
            Err(problem) => problems.push(problem),
        }
    }
    indicators
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    #[serde(default)]
    rule: Vec<Spanned<RuleConfig>>,
}

fn conditions(config: &DetectConfig, problems: &mut Vec<Problem>) -> ConditionDetector {
    let mut detector = ConditionDetector::default();
    for rule in &config.conditions {
        problems.extend(detector.add("detect.conditions", rule).err());
    }
    for file in &config.rules {
        match read(file) {
            Ok(text) => add_rules(&mut detector, file, &text, problems),
            Err(problem) => problems.push(problem),
        }
    }
    detector
}

fn add_rules(detector: &mut ConditionDetector, file: &str, text: &[u8], problems: &mut Vec<Problem>) {
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("is not UTF-8 text from byte {} on", error.valid_up_to());
            problems.push(Problem::at(file, message));
            return;
        }
    };
    let line_at = |byte: usize| text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1;
    match toml::from_str::<RuleFile>(text) {
        Ok(rules) => {
            for rule in &rules.rule {
                let place = format!("{file}:{}", line_at(rule.span().start));
                problems.extend(detector.add(&place, rule.get_ref()).err());
            }
        }
        Err(error) => {
            let place =
                error.span().map_or(file.to_owned(), |span| format!("{file}:{}", line_at(span.start)));
            problems.push(Problem { place, message: error.message().to_owned() });
        }
    }
}

fn read(file: &str) -> Result<Vec<u8>, Problem> {
    let wrong = |message: String| Problem::at(file, message);
    let mut text = Vec::new();
    list::open(file)?
        .take(RULES_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if text.len() as u64 > RULES_BYTES_MAX {
        return Err(wrong(format!("is larger than {RULES_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// Loads what was learned. A damaged file is set aside under another name, so that it can be looked at,
/// and learning begins anew.
fn restore(detector: &mut NewcomerDetector, directory: &Path, problems: &mut Vec<Problem>) {
    let path = directory.join(super::anomaly::newcomer::FILE_NAME);
    let place = path.display().to_string();
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            problems.push(Problem::at(&place, format!("cannot be read, learning begins anew: {error}")));
            return;
        }
    };
    if let Err(why) = detector.restore(&bytes) {
        let aside = path.with_extension("damaged");
        let moved = match fs::rename(&path, &aside) {
            Ok(()) => format!("kept as {}", aside.display()),
            Err(error) => format!("it could not be set aside: {error}"),
        };
        problems.push(Problem::at(&place, format!("{why}; learning begins anew, {moved}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_of_lists_and_rules_is_told_and_the_rest_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let rules = "[[rule]]\nid = \"A\"\nname = \"a\"\ncondition = \"dst_port == 1\"\n\n[[rule]]\nid = \"B\"\nname = \"b\"\ncondition = \"port == 1\"\n";
        let config = DetectConfig {
            indicators: vec![
                path("bad.csv", "ip,198.51.100.7\nip,nonsense\n"),
                "/nonexistent/list.csv".into(),
            ],
            rules: vec![
                path("rules.toml", rules),
                path("wrong.toml", "[[rule]]\nid = \"C\"\nnmae = \"c\"\n"),
            ],
            scan: super::super::config::ScanConfig { benign_success: 0.1, ..Default::default() },
            ..DetectConfig::default()
        };
        let (detectors, problems) =
            Detectors::from_config(&config, &["10.0.0.0/99".into()], Some(directory.path()));
        assert_eq!(
            detectors.names().collect::<Vec<_>>(),
            ["indicators", "conditions", "login", "beacon", "newcomer"]
        );
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        for (problem, part) in told.iter().zip([
            "enrich.home_networks: `10.0.0.0/99` is not an address or network",
            "bad.csv:2: `nonsense` is not an address",
            "/nonexistent/list.csv: cannot be opened",
            "rules.toml:6: rule `B`: condition 1:1: there is no field `port`",
            "wrong.toml:3: unknown field `nmae`",
            "detect.scan: ",
        ]) {
            assert!(problem.contains(part), "{problem} should have {part}");
        }
        assert_eq!(told.len(), 6, "{told:?}");
        let (count, repeated, problems) = check_indicators(&config.indicators, 10);
        assert_eq!((count, repeated, problems.len()), (1, 0, 2));
    }

    #[test]
    fn a_damaged_file_of_what_was_learned_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(super::super::anomaly::newcomer::FILE_NAME);
        let (detectors, problems) =
            Detectors::from_config(&DetectConfig::default(), &[], Some(directory.path()));
        assert_eq!(problems, []);
        detectors.save(directory.path()).unwrap();
        let (_, problems) = Detectors::from_config(&DetectConfig::default(), &[], Some(directory.path()));
        assert_eq!(problems, []);
        fs::write(&path, b"nonsense").unwrap();
        let (_, problems) = Detectors::from_config(&DetectConfig::default(), &[], Some(directory.path()));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.contains("learning begins anew, kept as"), "{problems:?}");
        assert!(!path.exists() && path.with_extension("damaged").exists());
    }
}
