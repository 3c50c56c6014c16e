//! `weir-sensor ring pin` and `ring unpin`: evidence kept past the ring's turn, and given back.

use super::flows::Flows;
use super::query::{extents, failure, flow, time};
use super::ring::{existing, show};
use super::{Failure, Outcome, PinArguments, UnpinArguments, now, ring_key};
use crate::query::Query;
use crate::query::pin::{Keeping, NotPinned};
use crate::ring::pins::{self, PinError};
use std::time::Duration;
use weir_common::time::parse_duration;

pub(super) fn pin(arguments: &PinArguments) -> Result<Outcome, Failure> {
    let (config, directory) = existing(&arguments.ring)?;
    let now = now();
    let query = Query {
        extents: extents(arguments.extents.as_deref())?,
        directory,
        key: ring_key(&config)?,
        since: time(arguments.since.as_deref(), now)?,
        until: time(arguments.until.as_deref(), now)?,
        flow: flow(arguments.flow.as_deref())?,
        expression: arguments.expression.join(" "),
        ..Query::default()
    };
    let is_bounded = query.flow.is_some() || query.extents.is_some();
    if query.expression.is_empty() && !is_bounded && (query.since, query.until) == (None, None) {
        return Err(Failure::Input(anyhow::anyhow!(
            "say what to keep: --flow, --extents, --since, --until or an expression"
        )));
    }
    let keeping = Keeping {
        duration: arguments.duration.as_deref().map(duration).transpose()?,
        note: &arguments.note,
        budget_bytes: config.ring.pin_budget_mib.saturating_mul(1 << 20),
    };
    let pinned = query.pin(now, &Flows::new(&config), &keeping, &mut busy).map_err(|error| match error {
        NotPinned::Query(error) => failure(error),
        NotPinned::Pin(error) => refused(error),
        NotPinned::NoMatch(_) => Failure::Input(error.into()),
    })?;
    show(&arguments.ring, &pinned)?;
    Ok(if pinned.completeness.complete { Outcome::Done } else { Outcome::Lost })
}

pub(super) fn unpin(arguments: &UnpinArguments) -> Result<Outcome, Failure> {
    let (_, directory) = existing(&arguments.ring)?;
    let unreadable = |error| Failure::System(anyhow::anyhow!("{}: {error}", directory.display()));
    pins::tidy(&directory, Some(now())).map_err(unreadable)?;
    if arguments.all {
        let given_back = pins::unpin_all(&directory, &mut busy).map_err(refused)?;
        eprintln!("{given_back} pins given back");
        return Ok(Outcome::Done);
    }
    let unknown = pins::unpin(&directory, &arguments.ids, &mut busy).map_err(refused)?;
    if !unknown.is_empty() {
        let unknown = unknown.join(", ");
        return Err(Failure::Input(anyhow::anyhow!("no such pin: {unknown}; none was given back")));
    }
    eprintln!("{} pins given back", arguments.ids.len());
    Ok(Outcome::Done)
}

fn busy() {
    eprintln!("another pin is being made or given back; waiting for it");
}

fn duration(text: &str) -> Result<Duration, Failure> {
    let parsed = parse_duration(text).filter(|duration| !duration.is_zero());
    parsed.ok_or_else(|| {
        Failure::Input(anyhow::anyhow!(
            "--for: `{text}` is not a duration; expected a number and s, m, h, d or w"
        ))
    })
}

fn refused(error: PinError) -> Failure {
    match error {
        PinError::Io { .. } => Failure::System(error.into()),
        _ => Failure::Input(error.into()),
    }
}
