//! `weir-sensor ring`: what the ring holds, and whether every byte of it is as it was written.

use super::{Failure, Outcome, RingArguments, load, print, ring_directory, ring_key};
use crate::ring::check;
use crate::ring::cipher::RingKey;
use serde::Serialize;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

pub(super) fn list(arguments: &RingArguments) -> Result<Outcome, Failure> {
    let (directory, key) = existing(arguments)?;
    let listing = check::list(&directory, key.as_ref()).map_err(|error| unreadable(&directory, &error))?;
    show(arguments, &listing)?;
    Ok(Outcome::Done)
}

pub(super) fn check(arguments: &RingArguments) -> Result<Outcome, Failure> {
    let (directory, key) = existing(arguments)?;
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

fn show(arguments: &RingArguments, what: &(impl Serialize + Display)) -> Result<(), Failure> {
    let text = if arguments.json { serde_json::json!(what).to_string() } else { what.to_string() };
    print(format!("{}\n", text.trim_end()).as_bytes())
}

fn existing(arguments: &RingArguments) -> Result<(PathBuf, Option<RingKey>), Failure> {
    let config = load(&arguments.config)?;
    let directory = ring_directory(arguments.ring.as_ref(), &config)?;
    if !directory.is_dir() {
        return Err(Failure::Input(anyhow::anyhow!("{}: no ring in this place", directory.display())));
    }
    Ok((directory, ring_key(&config)?))
}

fn unreadable(directory: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::System(anyhow::anyhow!("{}: {error}", directory.display()))
}
