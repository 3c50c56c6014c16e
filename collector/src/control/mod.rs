//! The control connection: what paired sensors open, and what is said over it.
//!
//! In: connections of sensors, acknowledgements of the store, rules of a directory and indicator lists, requests for packets from the
//! command line. Out: certificates to sensors that pair, acknowledgements, signed rules, packets, and the state of each
//! sensor for `status`. One thread with a runtime of its own, so that nothing here delays the records.
//! Deliberately absent: records (they come by IPFIX) and every decision about them; how certificates are made.

pub mod authority;
pub mod config;
pub mod counters;
pub mod sensors;
pub mod server;
mod indicators;
mod local;
mod rules;
mod session;
mod tls;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::detect::config::DetectConfig;
use crate::ingest::delivery::Positions;
use authority::Authority;
use config::ControlConfig;
use counters::ControlCounters;
use rules::{Bundle, Directory};
use sensors::{SensorStatus, Sensors};
use server::Door;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
pub use tls::Identified;
use tokio::sync::watch;
use weir_common::control::SILENT_MAX_S;

/// How often the directory of rules and the indicator lists are looked at.
const RULES_PERIOD: Duration = Duration::from_secs(2);
/// Longest that a sensor may not read while something waits for it.
const UNREAD_MAX: Duration = Duration::from_secs(30);
/// How long sessions have to tell their sensors that the collector stops.
const STOP_WAIT: Duration = Duration::from_millis(300);

/// What the tasks share.
struct Shared {
    config: ControlConfig,
    authority: Arc<dyn Authority>,
    counters: ControlCounters,
    sensors: Arc<Sensors>,
    acknowledgements: watch::Receiver<Positions>,
    rules: watch::Sender<Option<Arc<Bundle>>>,
    address: watch::Sender<Option<SocketAddr>>,
    patience: Patience,
    stop: watch::Receiver<bool>,
}

/// How long a session waits for its sensor; shorter in tests.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// For anything that it says.
    silent: Duration,
    /// For it to read what waits for it.
    unread: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { silent: Duration::from_secs(SILENT_MAX_S), unread: UNREAD_MAX }
    }
}

/// Why the control connection cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The address is none.
    #[error(
        "control.listen: `{0}` is not an address to listen on: expected ADDRESS:PORT such as 0.0.0.0:4741"
    )]
    Address(String),
    /// Threads or sockets are not to be had.
    #[error("control: {0}")]
    System(#[from] io::Error),
}

/// What is wrong with the section, without opening anything.
pub fn check(config: &ControlConfig) -> Option<ControlError> {
    let wrong = !config.listen.is_empty() && config.listen.parse::<SocketAddr>().is_err();
    wrong.then(|| ControlError::Address(config.listen.clone()))
}

/// The socket by which the command line reaches a running collector.
pub fn socket_path(state: &Path) -> PathBuf {
    state.join("control.sock")
}

/// The control connection, served until dropped or stopped.
pub struct Control {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Begins to serve. `detect` names the indicators; `state` is the collector's directory; `acknowledgements` are
    /// what sensors are told of their spools.
    pub fn start(
        config: &ControlConfig,
        detect: &DetectConfig,
        state: &Path,
        authority: Arc<dyn Authority>,
        door: Arc<dyn Door>,
        acknowledgements: watch::Receiver<Positions>,
    ) -> Result<Control, ControlError> {
        Control::start_with((config, detect), state, authority, door, acknowledgements, Patience::default())
    }

    fn start_with(
        (config, detect): (&ControlConfig, &DetectConfig),
        state: &Path,
        authority: Arc<dyn Authority>,
        door: Arc<dyn Door>,
        acknowledgements: watch::Receiver<Positions>,
        patience: Patience,
    ) -> Result<Control, ControlError> {
        if let Some(wrong) = check(config) {
            return Err(wrong);
        }
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            config: config.clone(),
            authority: Arc::clone(&authority),
            counters: ControlCounters::default(),
            sensors: Arc::default(),
            acknowledgements,
            rules: watch::Sender::new(None),
            address: watch::Sender::new(None),
            patience,
            stop: stopped.clone(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let local = {
            let _guard = runtime.enter();
            local::bind(&socket_path(state))
        };
        let directory = Directory::new(config, detect, state, authority);
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("weir-control".into()).spawn(move || {
            runtime.block_on(async {
                if !served.config.listen.is_empty() {
                    tokio::spawn(server::listen(Arc::clone(&served), door));
                }
                match local {
                    Ok(local) => drop(tokio::spawn(local::serve(local, Arc::clone(&served)))),
                    Err(error) => {
                        tracing::error!(
                            "{error}: `weir-collector evidence` cannot ask sensors through this collector"
                        );
                    }
                }
                if let Some(directory) = directory {
                    tokio::spawn(watch_rules(directory, Arc::clone(&served)));
                }
                let mut stopped = stopped;
                // An error is that the sender is gone, which is an end as well.
                let _ = stopped.wait_for(|stop| *stop).await;
                tokio::time::sleep(STOP_WAIT).await;
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        Ok(Control { shared, stop, thread: Some(thread) })
    }

    /// Where sensors are taken, once they are.
    pub fn address(&self) -> Option<SocketAddr> {
        *self.shared.address.borrow()
    }

    /// Every sensor that is or was connected.
    pub fn sensors(&self) -> Vec<SensorStatus> {
        self.shared.sensors.status()
    }

    /// Every count by its name, how many sensors are connected, and how many indicators the rules of now have, or have
    /// no room for.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let mut named = self.shared.counters.named();
        named.insert("sensors_connected".into(), self.shared.sensors.connected() as u64);
        if let Some(bundle) = self.shared.rules.borrow().as_deref() {
            named.insert("indicators_offered".into(), bundle.indicators);
            named.insert("indicators_left_out".into(), bundle.indicators_left_out);
        }
        named
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Without a receiver everything has ended already.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// Looks at the directory of rules and the indicator lists again and again. Reading and signing may take a while, so a thread does it.
async fn watch_rules(mut directory: Directory, shared: Arc<Shared>) {
    loop {
        let looked = tokio::task::spawn_blocking(move || {
            let bundle = directory.look(crate::ingest::clock());
            (directory, bundle)
        });
        // A look that panicked has said so itself; without the directory there is nothing to go on with.
        let Ok((again, bundle)) = looked.await else { return };
        directory = again;
        if let Some(bundle) = bundle {
            shared.rules.send_replace(Some(Arc::new(bundle)));
        }
        tokio::time::sleep(RULES_PERIOD).await;
    }
}
