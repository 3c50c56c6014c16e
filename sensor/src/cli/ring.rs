//! `weir-sensor ring`: what the ring holds, and whether every byte of it, and of what was exported from it, is as
//! it was written.

use super::{Failure, Outcome, RingArguments, RingCheckArguments, load, print, ring_directory, ring_key};
use crate::config::SensorConfig;
use crate::query::evidence::{self, EvidenceError, EvidenceQuestion};
use crate::ring::check;
use crate::ring::custody::verify::Verifier;
use crate::ring::custody::{KeyError, PublicKey};
use crate::ring::reader;
use serde::Serialize;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

pub(super) fn list(arguments: &RingArguments) -> Result<Outcome, Failure> {
    let (config, directory) = existing(arguments)?;
    let key = ring_key(&config)?;
    let listing = check::list(&directory, key.as_ref()).map_err(|error| unreadable(&directory, &error))?;
    show(arguments, &listing)?;
    Ok(Outcome::Done)
}

pub(super) fn check(arguments: &RingCheckArguments) -> Result<Outcome, Failure> {
    let keys = custody_keys(&arguments.keys)?;
    match &arguments.evidence {
        Some(file) => check_evidence(&arguments.ring, file, &keys),
        None => check_ring(&arguments.ring, &keys),
    }
}

fn check_ring(arguments: &RingArguments, keys: &[PublicKey]) -> Result<Outcome, Failure> {
    let (config, directory) = existing(arguments)?;
    let key = ring_key(&config)?;
    let custody = Verifier::new(&directory, keys, config.ring.custody);
    let watched = std::io::stderr().is_terminal();
    let mut progress = |done: usize, all: usize| {
        if watched {
            eprint!("\r{done} of {all} segments ");
            drop(std::io::stderr().flush());
        }
    };
    let found = check::check_with(&directory, key.as_ref(), custody, &mut progress)
        .map_err(|error| unreadable(&directory, &error))?;
    if watched {
        eprint!("\r\x1b[K");
    }
    show(arguments, &found)?;
    Ok(if found.is_sound() { Outcome::Done } else { Outcome::Lost })
}

/// The file is verified by itself; with a ring that was named, its packets are compared with the ring's too.
fn check_evidence(arguments: &RingArguments, file: &Path, keys: &[PublicKey]) -> Result<Outcome, Failure> {
    let (ring, ring_key) = match &arguments.ring {
        Some(_) => {
            let (config, directory) = existing(arguments)?;
            (Some(directory), ring_key(&config)?)
        }
        None => (None, None),
    };
    let question = EvidenceQuestion { file: file.to_owned(), keys, ring, ring_key: ring_key.as_ref() };
    let found = evidence::verify(&question).map_err(|error| match error {
        EvidenceError::Io { ref source, .. } if source.kind() != std::io::ErrorKind::NotFound => {
            Failure::System(error.into())
        }
        _ => Failure::Input(error.into()),
    })?;
    show(arguments, &found)?;
    Ok(if found.verified { Outcome::Done } else { Outcome::Lost })
}

fn custody_keys(paths: &[PathBuf]) -> Result<Vec<PublicKey>, Failure> {
    let read = |path: &PathBuf| {
        PublicKey::read(path).map_err(|error| {
            Failure::Input(match error {
                // Says which file itself.
                KeyError::Io { .. } => error.into(),
                _ => anyhow::Error::from(error).context(path.display().to_string()),
            })
        })
    };
    paths.iter().map(read).collect()
}

pub(super) fn show(arguments: &RingArguments, what: &(impl Serialize + Display)) -> Result<(), Failure> {
    let text = if arguments.json { serde_json::json!(what).to_string() } else { what.to_string() };
    print(format!("{}\n", text.trim_end()).as_bytes())
}

/// The configuration, and the ring that it or the arguments name.
pub(super) fn existing(arguments: &RingArguments) -> Result<(SensorConfig, PathBuf), Failure> {
    let config = load(&arguments.config)?;
    let directory = ring_directory(arguments.ring.as_ref(), &config)?;
    must_be_ring(&directory)?;
    Ok((config, directory))
}

/// An empty answer from a directory that is no ring would be a wrong one.
pub(super) fn must_be_ring(directory: &Path) -> Result<(), Failure> {
    match reader::is_ring(directory) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::Input(anyhow::anyhow!("{}: no ring in this place", directory.display()))),
        Err(error) => Err(unreadable(directory, &error)),
    }
}

fn unreadable(directory: &Path, error: &std::io::Error) -> Failure {
    Failure::System(anyhow::anyhow!("{}: {error}", directory.display()))
}
