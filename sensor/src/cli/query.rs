//! `weir-sensor query`: packets of the ring, and whether they are all of them.

use super::{Failure, Outcome, QueryArguments, load, now, output_failure, print, ring_directory, ring_key};
use crate::capture::Frame;
use crate::config::SensorConfig;
use crate::counters::DecodeCounters;
use crate::decode::{Decoder, Transport};
use crate::query::{Answer, Query, QueryError};
use serde_json::json;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::time::Duration;
use weir_common::evidence::Extents;
use weir_common::net::{CommunityId, FlowKey};
use weir_common::time::Timestamp;

pub(super) fn query(arguments: &QueryArguments) -> Result<Outcome, Failure> {
    let config = load(&arguments.config)?;
    let now = now();
    let query = question(arguments, &config, now)?;
    if arguments.explain {
        let explanation = query.explain(now).map_err(failure)?;
        if arguments.json {
            print(format!("{}\n", json!(explanation)).as_bytes())?;
        } else {
            print(format!("{explanation}\n").as_bytes())?;
        }
        return Ok(Outcome::Done);
    }
    let mut flow_of = flow_finder(&config);
    let answer = match output(arguments)? {
        Some(out) => query.write_pcapng(now, &mut flow_of, out),
        None => query.count(now, &mut flow_of),
    };
    conclude(arguments, &answer.map_err(failure)?)
}

fn question(arguments: &QueryArguments, config: &SensorConfig, now: Timestamp) -> Result<Query, Failure> {
    let input = |error: anyhow::Error| Failure::Input(error);
    let directory = ring_directory(arguments.ring.as_ref(), config)?;
    if !directory.is_dir() {
        return Err(input(anyhow::anyhow!("{}: no ring in this place", directory.display())));
    }
    Ok(Query {
        directory,
        key: ring_key(config)?,
        since: time(arguments.since.as_deref(), now)?,
        until: time(arguments.until.as_deref(), now)?,
        flow: flow(arguments.flow.as_deref())?,
        extents: extents(arguments.extents.as_deref())?,
        // Words may come as one argument or, as with tcpdump, as several.
        expression: arguments.expression.join(" "),
        need: None,
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
            Ok(Some(Box::new(BufWriter::new(std::io::stdout().lock()))))
        }
        Some(path) => {
            let file =
                File::create(path).map_err(|error| Failure::System(anyhow::anyhow!("{path}: {error}")))?;
            Ok(Some(Box::new(BufWriter::with_capacity(1 << 20, file))))
        }
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
    Ok(if answer.completeness.complete { Outcome::Done } else { Outcome::Lost })
}

/// A decoder that says to which flow a frame belongs, fragments included as long as they come in order.
pub(super) fn flow_finder(config: &SensorConfig) -> impl FnMut(&Frame<'_>) -> Option<CommunityId> {
    let timeout = Duration::from_millis(config.flow.fragment_timeout_ms);
    let mut decoder = Decoder::new(config.flow.fragment_bytes_max, timeout);
    let mut counters = DecodeCounters::default();
    let seed = config.flow.community_id_seed;
    move |frame| {
        let packet = decoder.decode(frame, &mut counters)?;
        let (initiator_port, responder_port) = packet.transport.ports();
        let key = FlowKey {
            initiator: packet.ip.source,
            responder: packet.ip.destination,
            initiator_port,
            responder_port,
            protocol: packet.ip.protocol,
        };
        let icmp = match packet.transport {
            Transport::Icmp { kind, code } => Some((kind, code)),
            _ => None,
        };
        Some(CommunityId::of(&key, icmp, seed))
    }
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
mod tests;
