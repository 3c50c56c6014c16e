//! SIGHUP: the configuration is read again, and what may change in a running sensor does.
//!
//! In: the arguments that the sensor was started with. Out: new limits of the ring, and a log line that names
//! every other key that differs, because it needs a restart. A configuration that is wrong in any place changes
//! nothing and is logged with that place.

use super::rules::{self, Loaded};
use super::{Failure, RunArguments, run};
use crate::config::SensorConfig;
use crate::pipeline::Running;
use crate::remote::{Candidate, Verdict};
use crate::ring::config::RingConfig;
use crate::signatures::{RuleNames, Rules};
use serde_json::Value;
use std::sync::Arc;

/// Keys that take effect at once.
const LIVE: [&str; 4] =
    ["ring.budget_mib", "ring.age_max_hours", "ring.disk_free_min_mib", "ring.pin_budget_mib"];

/// Reads the configuration again, and the rules; `config` is what holds, before and after. Gives the rules that hold
/// from now on, where they were loaded anew: they are compiled here, while the workers go on with those before.
pub(super) fn reload(
    arguments: &RunArguments,
    config: &mut SensorConfig,
    running: &mut Running,
    (names, rules): (&mut RuleNames, &Arc<Rules>),
) -> Option<Loaded> {
    let wanted = match run::configuration(arguments) {
        Ok(wanted) => wanted,
        Err(Failure::Input(error) | Failure::System(error)) => {
            tracing::error!("SIGHUP: the configuration is not changed: {error:#}");
            return None;
        }
        Err(Failure::BrokenPipe) => return None,
    };
    let loaded = load_rules(&wanted, names, rules);
    if let Some(loaded) = &loaded {
        running.set_rules(&loaded.rules);
        config.signatures = wanted.signatures.clone();
    }
    let changed = differences(config, &wanted);
    let (live, other): (Vec<String>, Vec<String>) =
        changed.into_iter().partition(|key| LIVE.contains(&key.as_str()));
    if !live.is_empty() {
        if let Err(error) = running.set_ring_limits(&wanted.ring) {
            tracing::error!("SIGHUP: the configuration is not changed: {error}");
            return loaded;
        }
        let RingConfig { budget_mib, age_max_hours, disk_free_min_mib, pin_budget_mib, .. } = wanted.ring;
        config.ring = RingConfig {
            budget_mib,
            age_max_hours,
            disk_free_min_mib,
            pin_budget_mib,
            ..std::mem::take(&mut config.ring)
        };
    }
    if !other.is_empty() {
        tracing::warn!(keys = other.join(", "), "SIGHUP: these changes need a restart");
    }
    tracing::info!(applied = live.join(", "), "SIGHUP: the configuration was read again");
    loaded
}

/// Loads rules that the collector sent, and tells it what became of them. Those before stay in force where they
/// cannot be loaded.
pub(super) fn take(
    candidate: Candidate,
    arguments: &RunArguments,
    config: &mut SensorConfig,
    running: &mut Running,
    (names, rules): (&mut RuleNames, &Arc<Rules>),
) -> Option<Loaded> {
    let loaded = load_candidate(&candidate, arguments, names, rules);
    let (verdict, loaded) = match loaded {
        Ok((wanted, loaded, why)) => {
            running.set_rules(&loaded.rules);
            config.signatures = wanted.signatures;
            let (rules, refused) = (loaded.rules.len() as u64, loaded.not_run.rules_refused);
            (Verdict::Loaded { rules, refused, why }, Some(loaded))
        }
        Err(Failure::Input(error) | Failure::System(error)) => (Verdict::Refused(format!("{error:#}")), None),
        Err(Failure::BrokenPipe) => (Verdict::Refused("standard error is gone".into()), None),
    };
    candidate.settle(verdict);
    loaded
}

fn load_candidate(
    candidate: &Candidate,
    arguments: &RunArguments,
    names: &mut RuleNames,
    rules: &Arc<Rules>,
) -> Result<(SensorConfig, Loaded, String), Failure> {
    let wanted = run::configuration_with(arguments, Some(&candidate.directory))?;
    if candidate.is_empty {
        // The collector has taken its own away: what is left are the sensor's, which may be none, or none that can run.
        let loaded = rules::load(&wanted, names, Some(rules));
        let loaded = loaded.or_else(|_| rules::load(&wanted, names, None))?;
        return Ok((wanted, loaded, String::new()));
    }
    if wanted.signatures.rules.is_empty() {
        return Err(Failure::Input(anyhow::anyhow!("no file's name ends with .rules")));
    }
    // Rules of the sensor's own must not hide that the collector's are none.
    let problems = rules::must_hold_rules(&wanted, &candidate.directory)?;
    let why = problems.first().map(ToString::to_string).unwrap_or_default();
    let loaded = rules::load(&wanted, names, Some(rules))?;
    match loaded.rules.is_empty() {
        true => Err(Failure::Input(anyhow::anyhow!("none of the rules can run"))),
        false => Ok((wanted, loaded, why)),
    }
}

/// Loads the rules anew; none where that cannot be.
fn load_rules(wanted: &SensorConfig, names: &mut RuleNames, rules: &Arc<Rules>) -> Option<Loaded> {
    if wanted.signatures.rules.is_empty() && rules.is_empty() {
        return None;
    }
    match rules::load(wanted, names, Some(rules)) {
        Ok(loaded) => {
            tracing::info!(
                rules = loaded.rules.len(),
                refused = loaded.not_run.rules_refused,
                silent = loaded.not_run.rules_silent,
                "SIGHUP: the rules were loaded anew"
            );
            Some(loaded)
        }
        Err(Failure::Input(error) | Failure::System(error)) => {
            tracing::error!("SIGHUP: the rules are not changed: {error:#}");
            None
        }
        Err(Failure::BrokenPipe) => None,
    }
}

/// Keys whose values differ, with their sections.
fn differences(before: &SensorConfig, after: &SensorConfig) -> Vec<String> {
    let values = [before, after].map(|config| serde_json::to_value(config).unwrap_or_default());
    let mut keys = Vec::new();
    let [before, after] = &values;
    compare("", before, after, &mut keys);
    keys
}

fn compare(path: &str, before: &Value, after: &Value, keys: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, value) in after {
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(&inner, before.get(name).unwrap_or(&Value::Null), value, keys);
            }
        }
        (before, after) if before != after => keys.push(path.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_differs_is_named_with_its_section() {
        let before = SensorConfig::default();
        let mut after = before.clone();
        assert!(differences(&before, &after).is_empty());
        after.name = "edge".into();
        after.ring.budget_mib += 1;
        after.ring.block_kib *= 2;
        after.capture.interfaces.push("eth0".into());
        let keys = differences(&before, &after);
        assert_eq!(keys, ["name", "capture.interfaces", "ring.budget_mib", "ring.block_kib"]);
        // Each key that takes effect at once is there.
        let ring = serde_json::to_value(RingConfig::default()).unwrap();
        assert!(LIVE.iter().all(|key| ring.get(key.trim_start_matches("ring.")).is_some()));
    }
}
