//! `cuts [--seconds N] PATH...`: captures that end anywhere, through the whole path of a sensor.
//!
//! In: capture files and directories of them, smallest file first. Each is cut off at every [`STEP`]th byte, and what is
//! left is replayed by a pipeline of its own: file reader, decode, flow, dpi with events and files, export. A file with
//! more than [`CUTS_MAX`] such places (64 KiB) is cut at that many, at equal distances, so that one file's work stays
//! bounded. Out: a line per panic with the file, the length left and the place, a summary, exit code 1 when there
//! was a panic. Compressed captures are cut as the bytes that they are.
//!
//! What is read correctly is not compared: `tests/cases` does that. Build it with overflow checks, as the dev profile has them.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::io::Cursor;
use std::panic::PanicHookInfo;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use weir_sensor::capture::FrameSource;
use weir_sensor::capture::file::{FileSequence, FileSource, expand};
use weir_sensor::config::SensorConfig;
use weir_sensor::counters::{Published, WorkerCounters};
use weir_sensor::export::{Context, Pace, start as start_export};
use weir_sensor::pipeline::{Mode, Outlets, start};
use weir_sensor::signatures::Rules;

/// Bytes between two cuts: prime, so that over a file every field is hit.
const STEP: usize = 97;
/// Most cuts of one file.
const CUTS_MAX: usize = (64 << 10) / STEP;
/// Cuts replayed side by side, a worker each.
const WORKERS: usize = 16;
/// Flows of a worker; few, so that tables are quick to make.
const FLOWS_MAX: u32 = 4096;
/// Most panics told of one file.
const TOLD_MAX: usize = 3;

/// A panic's thread, place and words.
type Panics = Arc<Mutex<Vec<(String, String)>>>;

fn main() -> anyhow::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut limit = Duration::MAX;
    if arguments.first().is_some_and(|first| first == "--seconds") {
        let seconds = arguments.get(1).map(|seconds| seconds.parse()).transpose()?;
        limit = Duration::from_secs(seconds.unwrap_or_default());
        arguments.drain(..2.min(arguments.len()));
    }
    let mut files = Vec::new();
    for argument in &arguments {
        for path in expand(argument)? {
            files.push((std::fs::metadata(&path)?.len(), path));
        }
    }
    anyhow::ensure!(!files.is_empty(), "usage: cuts [--seconds N] PATH...: no captures are named");
    files.sort();
    let panics = Panics::default();
    std::panic::set_hook(Box::new({
        let panics = Arc::clone(&panics);
        move |info| note(info, &panics)
    }));
    let (begun, mut done, mut cuts, mut found) = (Instant::now(), 0, 0, 0);
    let mut counted = WorkerCounters::default();
    let mut slowest = (Duration::ZERO, String::new());
    for (_, path) in &files {
        if begun.elapsed() > limit {
            break;
        }
        let bytes = std::fs::read(path)?;
        let file_begun = Instant::now();
        let lengths: Vec<usize> =
            (1..bytes.len()).step_by(bytes.len().div_ceil(CUTS_MAX).max(STEP)).collect();
        let mut told = 0;
        for lengths in lengths.chunks(WORKERS) {
            counted.add(&replay(path, &bytes, lengths)?);
            for (thread, words) in std::mem::take(&mut *panics.lock().unwrap_or_else(PoisonError::into_inner))
            {
                let number: Option<usize> = thread.strip_prefix("worker-").and_then(|n| n.parse().ok());
                let length = number.and_then(|number| lengths.get(number));
                (found, told) = (found + 1, told + 1);
                if told <= TOLD_MAX {
                    println!(
                        "PANIC {path} cut to {} bytes ({thread}): {words}",
                        length.unwrap_or(&bytes.len())
                    );
                }
            }
        }
        (done, cuts) = (done + 1, cuts + lengths.len());
        slowest = slowest.max((file_begun.elapsed(), path.clone()));
    }
    let seconds = begun.elapsed().as_secs();
    println!("slowest: {:.1} s {}", slowest.0.as_secs_f64(), slowest.1);
    println!(
        "read: {} frames, {} flows, {} events",
        counted.capture.frames, counted.flow.created, counted.dpi.events
    );
    println!("cuts: {done} of {} files, {cuts} cuts, {seconds} s, {found} panics", files.len());
    anyhow::ensure!(found == 0, "{found} panics");
    Ok(())
}

/// Replays what is left of a capture when it is cut off, once for each of these lengths.
fn replay(name: &str, bytes: &[u8], lengths: &[usize]) -> anyhow::Result<WorkerCounters> {
    let mut config = SensorConfig::default();
    config.flow.flows_max = FLOWS_MAX * WORKERS as u32;
    config.export.eve = "/dev/null".into();
    config.export.destinations = vec!["file:/dev/null".into()];
    let sources: Vec<Box<dyn FrameSource>> = lengths
        .iter()
        .filter_map(|length| bytes.get(..*length))
        // A cut within the file's own header leaves no capture: an empty source keeps the numbers of the others.
        .map(|left| match FileSource::read_from(name, Box::new(Cursor::new(left.to_vec()))) {
            Ok(source) => Box::new(source) as Box<dyn FrameSource>,
            Err(_) => Box::new(FileSequence::new(Vec::new())),
        })
        .collect();
    let published: Vec<Published> = sources.iter().map(|_| Published::default()).collect();
    let context = Context {
        sensor_name: "cuts".into(),
        interfaces: Vec::new(),
        workers: published.clone(),
        identity: Default::default(),
        pace: Pace::Replay,
        acknowledgements: None,
    };
    let exporting = start_export(&config.export, context)?;
    let outlets = Outlets { exporting, ring: None, store: None };
    let stop = Arc::new(AtomicBool::new(false));
    Ok(start(&config, sources, published, outlets, &Arc::new(Rules::none()), Mode::Replay, &stop)?
        .wait()
        .counters)
}

fn note(info: &PanicHookInfo<'_>, panics: &Panics) {
    let thread = std::thread::current().name().unwrap_or("a thread").to_owned();
    let words = info.to_string().replace('\n', " ");
    panics.lock().unwrap_or_else(PoisonError::into_inner).push((thread, words));
}
