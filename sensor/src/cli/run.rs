//! `weir-sensor run`: live capture until SIGTERM or SIGINT.

use super::remote;
use super::replay::conclude;
use super::rules::Loaded;
use super::{
    Failure, Outcome, RunArguments, load, now, open_export, open_ring, open_store, rules, sensor_name,
    with_output,
};
use crate::capture::live::LiveSource;
use crate::capture::{CaptureError, FrameSource};
use crate::config::SensorConfig;
use crate::control::{self, StatusServer, StatusSocket};
use crate::counters::{Published, total};
use crate::dpi::file::store::Store;
use crate::export::Pace;
use crate::identity;
use crate::pipeline::{self, Mode, Outlets};
use crate::remote::Remote;
use crate::ring::cut_off::Gain;
use crate::ring::interfaces;
use crate::ring::{RingMode, RingStatus};
use crate::sandbox;
use crate::signatures::{RuleNames, SignaturesStatus, load_matcher};
use crossbeam::channel::bounded;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the main thread looks for a signal and tells the watchdog that it lives.
const MAIN_INTERVAL: Duration = Duration::from_millis(100);
/// Acknowledgements between the control connection and export; at the limit the newest of each spool waits there.
const ACKNOWLEDGEMENTS_WAITING_MAX: usize = 64;

pub(super) fn run(arguments: &RunArguments) -> Result<Outcome, Failure> {
    let mut config = configuration(arguments)?;
    // While root: interfaces, outputs, ring and socket are opened.
    let stop = control::stop_on_signals().map_err(|error| Failure::System(error.into()))?;
    let reload = control::reload_on_hangup().map_err(|error| Failure::System(error.into()))?;
    let mut names = RuleNames::default();
    // Rules may come later, when no library can be opened any more.
    load_matcher();
    let Loaded { mut rules, mut not_run } = rules::load(&config, &mut names, None)?;
    let sources = open_sources(&config)?;
    let store = open_store(&config, false)?;
    let mut published: Vec<Published> = sources.iter().map(|_| Published::default()).collect();
    published.extend(store.as_ref().map(Store::published));
    let name = sensor_name(&config);
    let socket = bind_socket(&config);
    let interfaces = config.capture.interfaces.clone();
    let (acknowledged, acknowledgements) = bounded(ACKNOWLEDGEMENTS_WAITING_MAX);
    let exporting = open_export(&config, interfaces.clone(), &published, Pace::Live, Some(acknowledgements))?;
    let ring = open_ring(&config, sources.len() as u16, RingMode::Live, now())?;
    if ring.is_some()
        && let Err(error) = interfaces::write(Path::new(&config.ring.directory), &interfaces)
    {
        tracing::warn!(%error, "the ring's interfaces stay without names");
    }
    let joined = remote::open(&config)?;
    let mut writable: Vec<PathBuf> = ring.iter().map(|_| PathBuf::from(&config.ring.directory)).collect();
    writable.extend(store.iter().map(|store| store.directory().to_path_buf()));
    if exporting.status().destinations.iter().any(|destination| destination.spool.is_some()) {
        writable.push(PathBuf::from(&config.export.spool_directory));
    }
    writable.extend(identity::prepare(&config.identity.directory, config.export.wants_identity()));
    writable.extend(joined.iter().flat_map(|joined| joined.writable()));
    sandbox::enter(&config, &writable).map_err(|error| Failure::System(error.into()))?;

    let started = Instant::now();
    let export_status = exporting.shared_status();
    let ring_status = Arc::new(Mutex::new(None::<RingStatus>));
    let workers = sources.len();
    let signatures_status = Arc::new(Mutex::new(None::<SignaturesStatus>));
    let (counted, ring_shown) = (published.clone(), Arc::clone(&ring_status));
    let signatures_shown = Arc::clone(&signatures_status);
    let remote_shown = joined.as_ref().map(|joined| joined.shown());
    let status = move || -> Value {
        let mut status = json!({
            "name": name,
            "uptime_s": started.elapsed().as_secs(),
            "interfaces": interfaces,
            "workers": workers,
        });
        merge(&mut status, serde_json::to_value(total(&counted)).unwrap_or_default());
        let export = export_status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        merge(&mut status, json!({ "outputs": export }));
        let ring = *ring_shown.lock().unwrap_or_else(PoisonError::into_inner);
        let captured_bytes = total(&counted).capture.bytes;
        let gain = ring.and_then(|ring| Gain::of(&ring, captured_bytes));
        merge(&mut status, json!({ "storage": ring, "cut_off": gain }));
        let signatures = signatures_shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        merge(&mut status, json!({ "signatures": signatures }));
        merge(&mut status, json!({ "collector": remote_shown.as_ref().map(|shown| shown.get()) }));
        status
    };
    let status = Arc::new(status);
    let asked = Arc::clone(&status);
    let _server: Option<StatusServer> = socket.and_then(|socket| socket.serve(move || asked()).ok());
    let remote = joined.and_then(|joined| joined.start(&config, move || status(), acknowledged));
    tracing::info!(interfaces = config.capture.interfaces.join(","), workers = sources.len(), "capturing");
    let outlets = Outlets { exporting, ring, store };
    let mut running = pipeline::start(&config, sources, published, outlets, &rules, Mode::Live, &stop)
        .map_err(|error| Failure::System(error.into()))?;
    // Without systemd these do nothing.
    drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
    while !running.is_finished() && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(MAIN_INTERVAL);
        if reload.swap(false, Ordering::Relaxed)
            && let Some(anew) =
                super::reload::reload(arguments, &mut config, &mut running, (&mut names, &rules))
        {
            (rules, not_run) = (anew.rules, anew.not_run);
        }
        if let Some(candidate) = remote.as_ref().and_then(Remote::candidate)
            && let Some(anew) =
                super::reload::take(candidate, arguments, &mut config, &mut running, (&mut names, &rules))
        {
            (rules, not_run) = (anew.rules, anew.not_run);
        }
        *signatures_status.lock().unwrap_or_else(PoisonError::into_inner) =
            SignaturesStatus::with(running.signatures(), &not_run);
        *ring_status.lock().unwrap_or_else(PoisonError::into_inner) = running.ring_status();
        drop(sd_notify::notify(&[sd_notify::NotifyState::Watchdog]));
    }
    drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
    drop(remote);
    conclude(running.wait(), started)
}

/// The configuration with the arguments laid over it; read when the sensor starts, and again at SIGHUP.
pub(super) fn configuration(arguments: &RunArguments) -> Result<SensorConfig, Failure> {
    configuration_with(arguments, None)
}

/// The same with rules of the collector in place of those that are in force.
pub(super) fn configuration_with(
    arguments: &RunArguments,
    rules: Option<&Path>,
) -> Result<SensorConfig, Failure> {
    let mut config = with_output(load(&arguments.config)?, &arguments.output)?;
    remote::lay_over(&mut config, rules);
    if !arguments.interfaces.is_empty() {
        config.capture.interfaces.clone_from(&arguments.interfaces);
    }
    Ok(config)
}

/// Opens every worker's source; the workers of an interface share a fanout group.
fn open_sources(config: &SensorConfig) -> Result<Vec<Box<dyn FrameSource>>, Failure> {
    let capture = &config.capture;
    if capture.interfaces.is_empty() {
        return Err(Failure::Input(anyhow::anyhow!(
            "no interface: name one with -i IFACE or capture.interfaces"
        )));
    }
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let per_interface = match capture.workers_per_interface {
        0 => (processors / capture.interfaces.len()).max(1),
        count => usize::from(count),
    };
    let mut sources: Vec<Box<dyn FrameSource>> = Vec::new();
    for (index, interface) in capture.interfaces.iter().enumerate() {
        // Group numbers are the network namespace's: the process makes them unlikely to meet another's.
        let group = (std::process::id() as u16).wrapping_mul(31).wrapping_add(index as u16);
        for _ in 0..per_interface {
            let group = (per_interface > 1).then_some(group);
            let source =
                LiveSource::open(interface, index as u32, group, capture).map_err(|error| match error {
                    CaptureError::Filter { .. } => Failure::Input(error.into()),
                    _ => Failure::System(error.into()),
                })?;
            sources.push(Box::new(source));
        }
    }
    Ok(sources)
}

/// The status socket; without it the sensor still captures, and says what is missing.
fn bind_socket(config: &SensorConfig) -> Option<StatusSocket> {
    if config.control_socket.is_empty() {
        return None;
    }
    let bound = StatusSocket::bind(Path::new(&config.control_socket));
    bound.map_err(|error| tracing::warn!("no status socket at {}: {error}", config.control_socket)).ok()
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
