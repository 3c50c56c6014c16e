//! `weir-sensor replay`: capture files through the same path as live traffic, as fast as they can be taken.

use super::rules::Loaded;
use super::{
    Failure, Outcome, ReplayArguments, load, open_export, open_ring, open_store, rules, summary, with_output,
};
use crate::capture::file::{FileSequence, expand};
use crate::capture::filtered::Filtered;
use crate::capture::{CaptureError, FrameSource};
use crate::config::SensorConfig;
use crate::export::Pace;
use crate::pipeline::{self, Mode, Outlets, Report, Running};
use crate::ring::RingMode;
use crate::ring::cut_off::Gain;
use crate::signatures::{RuleNames, SignaturesStatus};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};
use weir_common::time::Timestamp;

/// How often progress is shown on a terminal.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// How often the end of the workers is looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

pub(super) fn replay(arguments: &ReplayArguments) -> Result<Outcome, Failure> {
    let config = with_output(load(&arguments.config)?, &arguments.output)?;
    let Replayed { report, started } = replay_files(&config, &arguments.files)?;
    conclude(report, started)
}

/// How a replay ended, and since when it ran.
pub(super) struct Replayed {
    pub(super) report: Report,
    pub(super) started: Instant,
}

/// Replays capture files and directories.
pub(super) fn replay_files(config: &SensorConfig, arguments: &[String]) -> Result<Replayed, Failure> {
    let mut files = Vec::new();
    for argument in arguments {
        let found = expand(argument).map_err(|error| Failure::Input(error.into()))?;
        if found.is_empty() {
            return Err(Failure::Input(anyhow::anyhow!("{argument}: no capture file in this directory")));
        }
        files.extend(found);
    }
    let bytes_total: u64 =
        files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|m| m.len()).sum();
    let source = filtered(Box::new(FileSequence::new(files)), config)?;
    let stop = crate::control::stop_on_signals().map_err(|error| Failure::System(error.into()))?;
    let Loaded { rules, not_run } = rules::load(config, &mut RuleNames::default(), None)?;
    let started = Instant::now();
    let store = open_store(config, true)?;
    let mut published = vec![Default::default()];
    published.extend(store.as_ref().map(|store| store.published()));
    let exporting = open_export(config, Vec::new(), &published, Pace::Replay, None)?;
    let ring = open_ring(config, 1, RingMode::Replay, Timestamp::MIN)?;
    let outlets = Outlets { exporting, ring, store };
    let running = pipeline::start(config, vec![source], published, outlets, &rules, Mode::Replay, &stop)
        .map_err(|error| Failure::System(error.into()))?;
    show_progress(&running, bytes_total, started);
    let mut report = running.wait();
    report.signatures = SignaturesStatus::with(report.signatures, &not_run);
    Ok(Replayed { report, started })
}

/// The source behind the configured filter.
fn filtered(source: Box<dyn FrameSource>, config: &SensorConfig) -> Result<Box<dyn FrameSource>, Failure> {
    if config.capture.bpf.is_empty() {
        return Ok(source);
    }
    let filtered = Filtered::new(source, &config.capture.bpf)
        .map_err(|error: CaptureError| Failure::Input(error.into()))?;
    Ok(Box::new(filtered))
}

/// Waits for the workers, with a line about how far they are when a person watches.
fn show_progress(running: &Running, bytes_total: u64, started: Instant) {
    let watched = std::io::stderr().is_terminal();
    let mut shown = Instant::now();
    while !running.is_finished() {
        std::thread::sleep(POLL_INTERVAL);
        if watched && shown.elapsed() >= PROGRESS_INTERVAL {
            shown = Instant::now();
            let counters = running.counters();
            // A record's header is 16 bytes in the usual format; progress need not be exact.
            let read = counters.capture.bytes + 16 * counters.capture.frames;
            let percent = (read * 100).checked_div(bytes_total).unwrap_or(0).min(99);
            let seconds = started.elapsed().as_secs();
            eprint!(
                "\r{percent:3} %  {} packets, {} flows, {seconds} s ",
                counters.capture.frames, counters.flow.created
            );
        }
    }
    if watched {
        eprint!("\r\x1b[K");
        drop(std::io::stderr().flush());
    }
}

/// Says how it went, and which exit code that is.
pub(super) fn conclude(report: Report, started: Instant) -> Result<Outcome, Failure> {
    eprintln!("{}", summary::text(&report.counters, started.elapsed()));
    let mut lost = !summary::losses(&report.counters).is_empty();
    for destination in &report.export.destinations {
        let why = destination.last_error.as_deref().unwrap_or("the backlog was full");
        for (count, what) in
            [(destination.records_dropped, "records"), (destination.alerts_dropped, "alerts")]
        {
            if count > 0 {
                eprintln!("{}: {count} {what} lost: {why}", destination.url);
            }
        }
    }
    for destination in &report.export.destinations {
        if let Some(spool) = &destination.spool {
            eprintln!("{}: {}", destination.url, summary::spool(spool));
        }
    }
    lost |= report.export.lost() > 0;
    if let Some(signatures) = &report.signatures {
        eprintln!("{}", summary::signatures(signatures));
    }
    if let Some(gain) = report.ring.and_then(|ring| Gain::of(&ring, report.counters.capture.bytes)) {
        eprintln!("{gain}");
    }
    if let Some(ring) = report.ring.filter(|ring| ring.frames_failed > 0) {
        eprintln!("ring: {} frames lost because the disk was full or failed", ring.frames_failed);
        lost = true;
    }
    if report.workers_failed > 0 {
        return Err(Failure::System(anyhow::anyhow!(
            "{} workers ended by a fault of ours; please report it",
            report.workers_failed
        )));
    }
    if report.counters.capture.errors > 0 && report.counters.capture.frames == 0 {
        return Err(Failure::Input(anyhow::anyhow!("nothing could be read")));
    }
    Ok(if lost { Outcome::Lost } else { Outcome::Done })
}
