//! Documents generated from the programs' own definitions: default configurations, their reference,
//! manual pages, shell completions.

use anyhow::Context;
use clap::Command;
use clap_complete::{Shell, generate};
use std::path::{Path, PathBuf};
use weir_collector::config::CollectorConfig;
use weir_common::config::{reference_markdown, to_toml};
use weir_sensor::config::SensorConfig;

/// Every generated document: its path below the root, and its text.
pub fn documents() -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut documents = vec![
        (
            PathBuf::from("firmware-config/etc/sensor.toml"),
            to_toml::<SensorConfig>("Configuration of weir-sensor."),
        ),
        (
            PathBuf::from("firmware-config/etc/collector.toml"),
            to_toml::<CollectorConfig>("Configuration of weir-collector."),
        ),
        (
            PathBuf::from("firmware-config/reference/sensor.md"),
            reference_markdown::<SensorConfig>("Configuration of weir-sensor"),
        ),
        (
            PathBuf::from("firmware-config/reference/collector.md"),
            reference_markdown::<CollectorConfig>("Configuration of weir-collector"),
        ),
    ];
    for command in [weir_sensor::cli::command(), weir_collector::cli::command()] {
        manual_pages(command.clone(), &mut documents)?;
        completions(command, &mut documents)?;
    }
    Ok(documents)
}

/// Writes every generated document.
pub fn write(root: &Path) -> anyhow::Result<()> {
    for (path, text) in documents()? {
        let path = root.join(path);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Documents whose text on disk is another than the programs' definitions give.
pub fn stale(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let differs = |(path, text): (PathBuf, String)| {
        let on_disk = std::fs::read_to_string(root.join(&path)).unwrap_or_default();
        (on_disk != text).then_some(path)
    };
    Ok(documents()?.into_iter().filter_map(differs).collect())
}

fn manual_pages(command: Command, documents: &mut Vec<(PathBuf, String)>) -> anyhow::Result<()> {
    let name = command.get_name().to_owned();
    let mut page = Vec::new();
    let manual = clap_mangen::Man::new(command.clone()).date("");
    manual.render(&mut page)?;
    for sub in command.get_subcommands() {
        let full: &'static str = format!("{name}-{}", sub.get_name()).leak();
        clap_mangen::Man::new(sub.clone().name(full)).date("").render(&mut page)?;
    }
    documents.push((format!("firmware-config/man/{name}.1").into(), String::from_utf8(page)?));
    Ok(())
}

fn completions(command: Command, documents: &mut Vec<(PathBuf, String)>) -> anyhow::Result<()> {
    let name = command.get_name().to_owned();
    for (shell, folder) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        let mut text = Vec::new();
        generate(shell, &mut command.clone(), &name, &mut text);
        documents
            .push((format!("firmware-config/completions/{folder}/{name}").into(), String::from_utf8(text)?));
    }
    Ok(())
}
