//! One test per folder of `cases/`: a capture goes through the sensor, and through the collector where the case
//! is about alerts; what comes out, reduced to the keys the case names, must be what `expect/` holds.
//!
//! `UPDATE_EXPECT=1` writes `expect/` anew instead.

use anyhow::{Context, ensure};
use e2e::{json, process};
use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// `case.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// The capture, relative to the case's folder.
    capture: String,
    /// Further arguments of `weir-sensor replay`; paths in them may begin with `{case}`.
    #[serde(default)]
    arguments: Vec<String>,
    /// The exit code that replay must have.
    #[serde(default)]
    exit: i32,
    /// Flow records to compare.
    records: Option<Compared>,
    /// EVE events to compare.
    eve: Option<Compared>,
    /// Alerts of the collector to compare.
    alerts: Option<Compared>,
    /// Further arguments of `weir-collector import`; paths in them may begin with `{case}`.
    #[serde(default)]
    collector: Vec<String>,
}

/// Which lines and which of their keys are compared.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Compared {
    /// Only lines whose keys have these values.
    #[serde(default)]
    only: toml::Table,
    /// Dotted paths.
    keys: Vec<String>,
}

fn main() {
    let arguments = Arguments::from_args();
    let cases = e2e::folder().join("cases");
    let folders =
        std::fs::read_dir(&cases).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
    let mut trials: Vec<Trial> = folders
        .map(|entry| {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            Trial::test(name, move || check(&path).map_err(|error| Failed::from(format!("{error:#}"))))
        })
        .collect();
    trials.sort_by(|a, b| a.name().cmp(b.name()));
    libtest_mimic::run(&arguments, trials).exit();
}

fn check(folder: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(folder.join("case.toml")).context("case.toml")?;
    let case: Case = toml::from_str(&text).context("case.toml")?;
    ensure!(folder.join("README.md").exists(), "README.md is missing: where is the traffic from?");
    let work = tempfile::tempdir()?;
    let (eve, records, flows) =
        (work.path().join("eve.json"), work.path().join("records.json"), work.path().join("flows.ipfix"));
    let mut sensor = process::command("weir-sensor")?;
    let place = folder.display().to_string();
    sensor.arg("replay").arg(folder.join(&case.capture));
    sensor.args(case.arguments.iter().map(|argument| argument.replace("{case}", &place)));
    sensor
        .arg("--eve")
        .arg(&eve)
        .arg("--records")
        .arg(&records)
        .arg("--export")
        .arg(format!("file:{}", flows.display()));
    let output = process::run(&mut sensor)?;
    ensure!(
        output.status.code() == Some(case.exit),
        "replay ended with {:?}:\n{}",
        output.status,
        process::stderr(&output)
    );
    if let Some(compared) = &case.records {
        compare(folder, "records", compared, &json::lines(&records)?)?;
    }
    if let Some(compared) = &case.eve {
        compare(folder, "eve", compared, &json::lines(&eve)?)?;
    }
    if let Some(compared) = &case.alerts {
        let alerts = work.path().join("alerts.json");
        let mut collector = process::command("weir-collector")?;
        collector.arg("import").arg(&flows).arg("--alerts").arg(&alerts);
        collector.arg("--set").arg(format!("state_directory={}", work.path().join("state").display()));
        collector.args(case.collector.iter().map(|argument| argument.replace("{case}", &place)));
        let output = process::run(&mut collector)?;
        ensure!(
            output.status.success(),
            "import ended with {:?}:\n{}",
            output.status,
            process::stderr(&output)
        );
        compare(folder, "alerts", compared, &json::lines(&alerts)?)?;
    }
    Ok(())
}

fn compare(folder: &Path, what: &str, compared: &Compared, lines: &[Value]) -> anyhow::Result<()> {
    let wanted: Vec<(String, Value)> = compared
        .only
        .iter()
        .map(|(key, value)| Ok((key.clone(), serde_json::to_value(value)?)))
        .collect::<anyhow::Result<_>>()?;
    let of_interest = |line: &&Value| wanted.iter().all(|(key, value)| json::at(line, key) == Some(value));
    let kept: Vec<Value> = lines.iter().filter(of_interest).cloned().collect();
    let got = json::projected(&kept, &compared.keys);
    let file = folder.join("expect").join(format!("{what}.json"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(folder.join("expect"))?;
        std::fs::write(&file, &got)?;
        return Ok(());
    }
    let want = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let missing: Vec<&str> = want.lines().filter(|line| !got.lines().any(|have| have == *line)).collect();
    let extra: Vec<&str> = got.lines().filter(|line| !want.lines().any(|have| have == *line)).collect();
    ensure!(
        got == want,
        "{what} differ; missing:\n{}\nnot expected:\n{}",
        missing.join("\n"),
        extra.join("\n")
    );
    Ok(())
}
