//! `weir-sensor rules top`: which rules cost most.
//!
//! In: a running sensor's status, or captures and rules to replay. Out: a table, or JSON: how often each rule was
//! evaluated and matched, and how long that took (projected from one evaluation in sixteen, which is timed).

use super::replay::{Replayed, replay_files};
use super::{Failure, Outcome, OutputArguments, RulesTopArguments, load, with_output};
use crate::control;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

pub(super) fn top(arguments: &RulesTopArguments) -> Result<Outcome, Failure> {
    let signatures =
        if arguments.files.is_empty() { of_running(arguments)? } else { of_captures(arguments)? };
    let none = Vec::new();
    let rules = signatures["top"].as_array().unwrap_or(&none);
    let shown: Vec<&Value> = rules.iter().take(arguments.limit).collect();
    let text = match arguments.json {
        true => format!("{}\n", json!(shown)),
        false => table(&shown, signatures["too_costly"].as_array().unwrap_or(&none)),
    };
    super::print(text.as_bytes())?;
    Ok(Outcome::Done)
}

fn of_running(arguments: &RulesTopArguments) -> Result<Value, Failure> {
    let config = load(&arguments.config)?;
    let path = arguments.socket.clone().unwrap_or_else(|| PathBuf::from(&config.control_socket));
    let status = control::ask(&path).map_err(|error| {
        let path = path.display();
        Failure::System(anyhow::anyhow!("{path}: {error}; is a sensor running, and may you ask it?"))
    })?;
    match status.get("signatures") {
        Some(signatures @ Value::Object(_)) => Ok(signatures.clone()),
        _ => Err(Failure::Input(anyhow::anyhow!("the sensor looks for no rules"))),
    }
}

fn of_captures(arguments: &RulesTopArguments) -> Result<Value, Failure> {
    let output = OutputArguments {
        rules: arguments.rules.clone(),
        variables: arguments.variables.clone(),
        ..OutputArguments::default()
    };
    let config = with_output(load(&arguments.config)?, &output)?;
    if config.signatures.rules.is_empty() {
        return Err(Failure::Input(anyhow::anyhow!(
            "no rules: name a file with --rules or signatures.rules"
        )));
    }
    let Replayed { report, .. } = replay_files(&config, &arguments.files)?;
    serde_json::to_value(report.signatures).map_err(|error| Failure::System(error.into()))
}

fn table(rules: &[&Value], set_aside: &[Value]) -> String {
    let mut out = format!("{:>10} {:>12} {:>10} {:>10}  {}\n", "ms", "checks", "matches", "sid", "rule");
    for rule in rules {
        let number = |name: &str| rule[name].as_u64().unwrap_or(0);
        let id = |rule: &Value| (rule["gid"].as_u64(), rule["sid"].as_u64());
        let _ = writeln!(
            out,
            "{:>10.1} {:>12} {:>10} {:>10}  {}{}",
            number("nanos") as f64 / 1e6,
            number("checks"),
            number("matches"),
            number("sid"),
            if set_aside.iter().any(|aside| id(aside) == id(rule)) { "[set aside] " } else { "" },
            rule["message"].as_str().unwrap_or_default(),
        );
    }
    out
}
