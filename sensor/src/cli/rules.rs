//! Rule files on the command line: reading them, and `weir-sensor rules check`.
//!
//! In: files and directories of rules, variables. Out: rules, and every problem with its place. A directory
//! stands for the files in it whose names end with `.rules`.

use super::{Failure, Outcome, RulesCheckArguments, print};
use crate::config::SensorConfig;
use crate::signatures::config::{Matcher, SignaturesConfig};
use crate::signatures::{Cache, Choice, NotRun, RuleNames, Rules as Compiled, Surroundings, load_matcher};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weir_common::rule::{Problem, Rule, RuleReader, Variables};

/// Largest rule file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What was read of all files.
pub(super) struct Rules {
    pub(super) rules: Vec<Rule>,
    pub(super) problems: Vec<Problem>,
    pub(super) disabled: u64,
    /// The first file that holds something, and no rule that can be read.
    pub(super) unreadable: Option<String>,
    /// Hash of the files' contents and of the variables.
    pub(super) hash: blake3::Hash,
}

/// Reads rule files.
pub(super) fn read(paths: &[PathBuf], settings: &[String]) -> Result<Rules, Failure> {
    read_with(paths, variables(settings)?)
}

/// Reads rule files with variables.
fn read_with(paths: &[PathBuf], variables: Variables) -> Result<Rules, Failure> {
    let mut hasher = blake3::Hasher::new();
    for (name, text) in variables.sorted() {
        hasher.update(format!("{name}={text}\n").as_bytes());
    }
    let mut reader = RuleReader::new(variables);
    let mut all = Rules {
        rules: Vec::new(),
        problems: Vec::new(),
        disabled: 0,
        unreadable: None,
        hash: blake3::Hash::from_bytes([0; 32]),
    };
    for path in files(paths)? {
        let wrong =
            |error: &dyn std::fmt::Display| Failure::Input(anyhow::anyhow!("{}: {error}", path.display()));
        let length = fs::metadata(&path).map_err(|error| wrong(&error))?.len();
        if length > FILE_BYTES_MAX {
            return Err(wrong(&format!("{length} bytes are more than {FILE_BYTES_MAX}")));
        }
        let text = fs::read(&path).map_err(|error| wrong(&error))?;
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(&text);
        let file = reader.read(&path.display().to_string(), &text);
        if file.rules.is_empty() && !file.problems.is_empty() {
            all.unreadable.get_or_insert_with(|| path.display().to_string());
        }
        all.rules.extend(file.rules);
        all.problems.extend(file.problems);
        all.disabled += file.disabled;
    }
    all.hash = hasher.finalize();
    Ok(all)
}

fn variables(settings: &[String]) -> Result<Variables, Failure> {
    let mut variables = Variables::default();
    for setting in settings {
        let set = match setting.split_once('=') {
            Some((name, text)) => variables.set(name.trim_start_matches('$'), text),
            None => Err(format!("`--var {setting}`: expected NAME=VALUE")),
        };
        set.map_err(|error| Failure::Input(anyhow::anyhow!(error)))?;
    }
    Ok(variables)
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let wrong =
            |error: &dyn std::fmt::Display| Failure::Input(anyhow::anyhow!("{}: {error}", path.display()));
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).map_err(|error| wrong(&error))? {
            let entry = entry.map_err(|error| wrong(&error))?.path();
            if entry.extension().is_some_and(|extension| extension == "rules") {
                inside.push(entry);
            }
        }
        if inside.is_empty() {
            return Err(wrong(&"no file in this directory ends with .rules"));
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

/// Rules that are ready to be run, and how many are not.
pub(super) struct Loaded {
    pub(super) rules: Arc<Compiled>,
    /// Those that are not looked for.
    pub(super) not_run: NotRun,
}

/// Loads the rules that the configuration names, and says which of them cannot run. `names` go on from load to load.
///
/// Rules of which none can run are no reason to look at no traffic: that is said, and flows, events and the ring go on, as
/// with Suricata. Only rules that worked before are not given up for such (`previous`).
pub(super) fn load(
    config: &SensorConfig,
    names: &mut RuleNames,
    previous: Option<&Compiled>,
) -> Result<Loaded, Failure> {
    let signatures = &config.signatures;
    if signatures.rules.is_empty() {
        return Ok(Loaded { rules: Arc::new(Compiled::none()), not_run: NotRun::default() });
    }
    load_matcher();
    let mut variables = Variables::default();
    for (name, text) in &signatures.variables {
        variables
            .set(name, text)
            .map_err(|error| Failure::Input(anyhow::anyhow!("signatures.variables: {error}")))?;
    }
    let mut surroundings = surroundings(signatures, &variables)?;
    // Rules that come anew share with those before what has not changed, and root is given up by then.
    if previous.is_none()
        && let Some(cache) = cache(&signatures.cache_directory)
    {
        surroundings.cache(cache);
    }
    let paths: Vec<PathBuf> = signatures.rules.iter().map(PathBuf::from).collect();
    let read = read_with(&paths, variables)?;
    warn(&read.problems, "are wrong", &paths);
    let wrong = read.problems.len();
    let built = Compiled::build(read.rules, names, &surroundings, previous);
    warn(&built.problems, "cannot run in this version", &paths);
    warn(&built.silent, "load and cannot fire", &paths);
    for warning in &built.warnings {
        tracing::debug!("{warning}");
    }
    let not_run = NotRun::of(&built, wrong);
    let NotRun { rules_refused: refused, rules_silent: silent, rules_set_aside: set_aside, .. } = not_run;
    if built.rules.is_empty() {
        let all = refused + silent + set_aside;
        if previous.is_some_and(|rules| !rules.is_empty()) {
            return Err(Failure::Input(anyhow::anyhow!("none of {all} rules can run")));
        }
        tracing::warn!("none of {all} rules can run: there will be no alerts");
    }
    let mut said = format!("{} rules are looked for, {refused} cannot be loaded", built.rules.len());
    for (count, what) in [(silent, "load and cannot fire"), (set_aside, "are for another version")] {
        if count > 0 {
            let _ = write!(said, ", {count} {what}");
        }
    }
    eprintln!("{said}");
    Ok(Loaded { rules: Arc::new(built.rules), not_run })
}

/// The problems of the rules in a directory, which are a failure where one of its files holds something and no rule.
pub(super) fn must_hold_rules(config: &SensorConfig, directory: &Path) -> Result<Vec<Problem>, Failure> {
    let mut variables = Variables::default();
    for (name, text) in &config.signatures.variables {
        variables.set(name, text).map_err(|error| Failure::Input(anyhow::anyhow!("{error}")))?;
    }
    let read = read_with(&[directory.to_owned()], variables)?;
    let first = read.problems.first().map(ToString::to_string).unwrap_or_default();
    match read.unreadable {
        Some(file) => Err(Failure::Input(anyhow::anyhow!("{file} holds no rule that can be read: {first}"))),
        None if read.rules.is_empty() => Err(Failure::Input(anyhow::anyhow!("its files hold no rule"))),
        None => Ok(read.problems),
    }
}

/// What the rules refer to beside themselves; a line of it that is wrong is said, and the others hold.
fn surroundings(config: &SignaturesConfig, variables: &Variables) -> Result<Surroundings, Failure> {
    let read = |key: &str, path: &str| {
        fs::read(path).map_err(|error| Failure::Input(anyhow::anyhow!("signatures.{key}: {path}: {error}")))
    };
    let mut surroundings = Surroundings::new(choice(config.matcher));
    let mut problems = Vec::new();
    if !config.thresholds.is_empty() {
        let text = read("thresholds", &config.thresholds)?;
        problems.extend(surroundings.thresholds(&config.thresholds, &text, variables));
    }
    if !config.reputation_categories.is_empty() {
        let categories = read("reputation_categories", &config.reputation_categories)?;
        let files: Result<Vec<_>, Failure> =
            config.reputations.iter().map(|path| Ok((path.clone(), read("reputations", path)?))).collect();
        problems.extend(surroundings.reputations((&config.reputation_categories, &categories), &files?));
    }
    if !config.countries.is_empty() {
        surroundings.countries(Path::new(&config.countries)).map_err(|error| {
            Failure::Input(anyhow::anyhow!("signatures.countries: {}: {error}", config.countries))
        })?;
    }
    surroundings.data(config.absolute_data_files, None);
    for problem in &problems {
        eprintln!("{problem}");
    }
    Ok(surroundings)
}

/// Where compiled signatures are kept; none where nobody made the directory, or where it is not to be trusted, which is
/// said of one that was asked for: the usual one is the service's, and others may replay.
fn cache(directory: &str) -> Option<Cache> {
    if directory.is_empty() {
        return None;
    }
    match Cache::open(Path::new(directory)) {
        Ok(cache) => Some(cache),
        Err(error) => {
            if directory != SignaturesConfig::default().cache_directory {
                tracing::warn!(directory, %error, "signatures.cache_directory is not used");
            }
            None
        }
    }
}

fn choice(matcher: Matcher) -> Choice {
    match matcher {
        Matcher::Automatic => Choice::Automatic,
        Matcher::Vectorscan => Choice::Vectorscan,
        Matcher::AhoCorasick => Choice::AhoCorasick,
    }
}

/// Every rule that cannot be loaded, and every one that is sound and is not looked for, with its place and reason.
pub(super) fn check(arguments: &RulesCheckArguments) -> Result<Outcome, Failure> {
    let read = read(&arguments.files, &arguments.variables)?;
    let (rules, wrong) = (read.rules.len(), read.problems.len());
    let built = Compiled::build(read.rules, &mut RuleNames::default(), &Surroundings::default(), None);
    let (engine, refused) = (&built.rules, &built.problems);
    for warning in &built.warnings {
        eprintln!("{warning}");
    }
    let not_loaded = wrong + refused.len();
    let sound = built.silent.iter().chain(&built.set_aside);
    let mut problems: Vec<&Problem> = read.problems.iter().chain(refused).chain(sound).collect();
    problems.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
    let mut out = String::new();
    for problem in &problems {
        let _ = writeln!(out, "{problem}");
    }
    print(out.as_bytes())?;
    eprintln!(
        "{} rules: {} can run, {} load and cannot fire, {} are for another version, {} cannot run in this version, \
         {wrong} are wrong; {} are switched off",
        rules + wrong,
        engine.len(),
        built.silent.len(),
        built.set_aside.len(),
        refused.len(),
        read.disabled,
    );
    if not_loaded == 0 {
        return Ok(Outcome::Done);
    }
    Err(Failure::Input(anyhow::anyhow!("{not_loaded} rules cannot be loaded")))
}

/// Shows the first problems, and how many more there are.
pub(super) fn warn(problems: &[Problem], what: &str, paths: &[PathBuf]) {
    /// Most problems shown one by one.
    const SHOWN_MAX: usize = 10;
    if problems.is_empty() {
        return;
    }
    for problem in problems.iter().take(SHOWN_MAX) {
        eprintln!("{problem}");
    }
    let all: Vec<String> = paths.iter().map(|path: &PathBuf| Path::display(path).to_string()).collect();
    let rest = match problems.len().saturating_sub(SHOWN_MAX) {
        0 => String::new(),
        more => format!(", {more} more than shown; `weir-sensor rules check {}` lists them", all.join(" ")),
    };
    eprintln!("{} rules {what}{rest}", problems.len());
}
