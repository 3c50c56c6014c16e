//! `weir-sensor ring`: what the ring holds, and whether every byte of it is as it was written.

use super::{Failure, Outcome, RingArguments, load, print, ring_directory, ring_key};
use crate::config::SensorConfig;
use crate::ring::check;
use serde::Serialize;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

pub(super) fn list(arguments: &RingArguments) -> Result<Outcome, Failure> {
    let (config, directory) = existing(arguments)?;
    let key = ring_key(&config)?;
    let listing = check::list(&directory, key.as_ref()).map_err(|error| unreadable(&directory, &error))?;
    show(arguments, &listing)?;
    Ok(Outcome::Done)
}

pub(super) fn check(arguments: &RingArguments) -> Result<Outcome, Failure> {
    let (config, directory) = existing(arguments)?;
    let key = ring_key(&config)?;
    let watched = std::io::stderr().is_terminal();
    let mut progress = |done: usize, all: usize| {
        if watched {
            eprint!("\r{done} of {all} segments ");
            drop(std::io::stderr().flush());
        }
    };
    let found = check::check(&directory, key.as_ref(), &mut progress)
        .map_err(|error| unreadable(&directory, &error))?;
    if watched {
        eprint!("\r\x1b[K");
    }
    show(arguments, &found)?;
    Ok(if found.is_sound() { Outcome::Done } else { Outcome::Lost })
}

pub(super) fn show(arguments: &RingArguments, what: &(impl Serialize + Display)) -> Result<(), Failure> {
    let text = if arguments.json { serde_json::json!(what).to_string() } else { what.to_string() };
    print(format!("{}\n", text.trim_end()).as_bytes())
}

/// The configuration, and the ring that it or the arguments name.
pub(super) fn existing(arguments: &RingArguments) -> Result<(SensorConfig, PathBuf), Failure> {
    let config = load(&arguments.config)?;
    let directory = ring_directory(arguments.ring.as_ref(), &config)?;
    if !directory.is_dir() {
        return Err(Failure::Input(anyhow::anyhow!("{}: no ring in this place", directory.display())));
    }
    Ok((config, directory))
}

fn unreadable(directory: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::System(anyhow::anyhow!("{}: {error}", directory.display()))
}
