//! `weir-sensor query`: packets of the ring, and whether they are all of them.

use super::flows::Flows;
use super::new_file::NewFile;
use super::progress::Shown;
use super::ring_key;
use super::{Failure, Outcome, Priority, QueryArguments, load, now, output_failure, print, ring_directory};
use crate::config::SensorConfig;
use crate::control;
use crate::query::reading::{Progress, Reading};
use crate::query::{Answer, Query, QueryError, StopReason, priority};
use crate::ring::custody::Signer;
use serde_json::json;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use weir_common::evidence::Extents;
use weir_common::net::CommunityId;
use weir_common::time::Timestamp;

pub(super) fn query(arguments: &QueryArguments) -> Result<Outcome, Failure> {
    if arguments.priority == Priority::Low {
        priority::step_back();
    }
    let config = load(&arguments.config)?;
    let now = now();
    let mut query = question(arguments, &config, now)?;
    let flows = Flows::new(&config);
    if arguments.explain {
        let explanation = query.explain(now, &flows).map_err(failure)?;
        if arguments.json {
            print(format!("{}\n", json!(explanation)).as_bytes())?;
        } else {
            print(format!("{explanation}\n").as_bytes())?;
        }
        return Ok(Outcome::Done);
    }
    let stop = control::stop_on_signals().map_err(|error| Failure::System(error.into()))?;
    let progress = Arc::<Progress>::default();
    let shown = Shown::begin(&progress, arguments.progress);
    query.reading.stop = Some(stop);
    query.reading.progress = shown.is_some().then_some(progress);
    let answer = match output(arguments)? {
        Some(out) => {
            query.signer = Signer::of(&config.ring, &query.directory);
            if let Signer::Nobody(why) = &query.signer {
                tracing::warn!("the file's manifest is not signed: {why}");
            }
            query.write_pcapng(now, &flows, out)
        }
        None => query.count(now, &flows),
    };
    drop(shown);
    conclude(arguments, &answer.map_err(failure)?)
}

fn question(arguments: &QueryArguments, config: &SensorConfig, now: Timestamp) -> Result<Query, Failure> {
    let directory = ring_directory(arguments.ring.as_ref(), config)?;
    super::ring::must_be_ring(&directory)?;
    Ok(Query {
        directory,
        key: ring_key(config)?,
        since: time(arguments.since.as_deref(), now)?,
        until: time(arguments.until.as_deref(), now)?,
        flow: flow(arguments.flow.as_deref())?,
        extents: extents(arguments.extents.as_deref())?,
        // Words may come as one argument or, as with tcpdump, as several.
        signer: Signer::default(),
        expression: arguments.expression.join(" "),
        need: None,
        reads_bytes: false,
        limit: arguments.limit,
        reading: Reading {
            threads: arguments.threads.map_or(0, usize::from),
            bytes_per_second: arguments.rate,
            ..Reading::default()
        },
    })
}

/// A time as a person writes it.
pub(super) fn time(text: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
    let parsed = text.map(|text| Timestamp::parse(text, now)).transpose();
    parsed.map_err(|error| Failure::Input(error.into()))
}

/// A flow by its Community ID.
pub(super) fn flow(text: Option<&str>) -> Result<Option<CommunityId>, Failure> {
    let parsed = text.map(str::parse::<CommunityId>).transpose();
    parsed.map_err(|error| Failure::Input(error.into()))
}

/// Blocks as a flow's record names them.
pub(super) fn extents(text: Option<&str>) -> Result<Option<Extents>, Failure> {
    let parsed = text.map(str::parse::<Extents>).transpose();
    parsed.map_err(|error| Failure::Input(error.into()))
}

/// Where the packets go: a file, standard output, or nowhere when only their number is asked for.
fn output(arguments: &QueryArguments) -> Result<Option<Box<dyn Write>>, Failure> {
    if arguments.count {
        return Ok(None);
    }
    match arguments.write.as_deref() {
        None if std::io::stdout().is_terminal() || arguments.json => Ok(None),
        None | Some("-") => {
            if arguments.json {
                return Err(Failure::Input(anyhow::anyhow!(
                    "packets and --json cannot both go to standard output"
                )));
            }
            // The descriptor itself: what the library puts around it looks for ends of lines.
            let stdout = std::io::stdout().as_fd().try_clone_to_owned();
            let stdout =
                stdout.map_err(|error| Failure::System(anyhow::anyhow!("standard output: {error}")))?;
            Ok(Some(Box::new(File::from(stdout))))
        }
        Some(path) => Ok(Some(Box::new(NewFile::at(path)))),
    }
}

/// Says what the answer came to; an answer that is not complete ends with the code for something lost.
fn conclude(arguments: &QueryArguments, answer: &Answer) -> Result<Outcome, Failure> {
    if arguments.json {
        print(format!("{}\n", json!(answer)).as_bytes())?;
    } else if arguments.count {
        print(format!("{}\n", answer.frames).as_bytes())?;
    }
    eprintln!("{answer}");
    let was_interrupted = answer.stopped.is_some_and(|stopped| stopped.reason == StopReason::Interrupted);
    Ok(if answer.completeness.complete && !was_interrupted { Outcome::Done } else { Outcome::Lost })
}

pub(super) fn failure(error: QueryError) -> Failure {
    match error {
        QueryError::Output(error) => output_failure(error),
        QueryError::Ring { .. } => Failure::System(error.into()),
        _ => Failure::Input(error.into()),
    }
}

#[cfg(test)]
#[path = "query_tests.rs"]
pub(super) mod tests;
