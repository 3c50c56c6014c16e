//! The control connection of `weir-sensor run`: what it needs while there is root, and its start afterwards.
//!
//! A sensor that is not paired has none, which is no fault. One whose identity cannot be read still captures, and says
//! what is missing.

use super::flows::Flows;
use super::{Failure, now, ring_key, sensor_name};
use crate::config::SensorConfig;
use crate::export::Acknowledged;
use crate::identity::{Identity, IdentityError};
use crate::query::Query;
use crate::remote::rules::{Kept, holds_rules};
use crate::remote::{Identified, Remote, Ring, Seams, Shown};
use crate::ring::custody::Signer;
use crossbeam::channel::Sender;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A sensor that is paired, before it connects.
pub(super) struct Joined {
    paired: Identified,
    ring: Option<Ring>,
    rules: Option<Kept>,
    shown: Shown,
    writable: Vec<PathBuf>,
}

/// What a paired sensor takes from its identity: its name, where none is configured, and the collector's rules; `rules`
/// are laid in place of those in force.
pub(super) fn lay_over(config: &mut SensorConfig, rules: Option<&Path>) {
    let Ok(identity) = Identity::load(&config.identity.directory) else { return };
    if config.name.is_empty() {
        config.name = identity.name().to_string();
    }
    if config.control.rules_directory.is_empty() {
        return;
    }
    let in_force = || Kept::at(Path::new(&config.control.rules_directory)).in_force();
    let directory = match rules {
        Some(rules) => holds_rules(rules).then(|| rules.to_owned()),
        None => in_force(),
    };
    config.signatures.rules.extend(directory.map(|directory| directory.display().to_string()));
}

/// Reads what only root may, and makes the directories that are written to.
pub(super) fn open(config: &SensorConfig) -> Result<Option<Joined>, Failure> {
    let directory = &config.identity.directory;
    let paired = match Identified::load(directory, &config.control.collector) {
        Ok(paired) => paired,
        Err(IdentityError::NotPaired { .. }) => return Ok(None),
        Err(error) => {
            tracing::error!("no control connection: {error}");
            return Ok(None);
        }
    };
    let mut writable = vec![directory.clone()];
    let mut rules = None;
    if !config.control.rules_directory.is_empty() {
        let directory = PathBuf::from(&config.control.rules_directory);
        match std::fs::create_dir_all(&directory) {
            Ok(()) => {
                rules = Some(Kept::at(&directory));
                writable.push(directory);
            }
            Err(error) => tracing::error!(
                "control.rules_directory: {}: {error}; no rules of the collector are taken",
                directory.display()
            ),
        }
    }
    let ring = match config.control.evidence && !config.ring.directory.is_empty() {
        true => Some(ring(config)?),
        false => None,
    };
    Ok(Some(Joined { paired, ring, rules, shown: Shown::default(), writable }))
}

fn ring(config: &SensorConfig) -> Result<Ring, Failure> {
    let directory = PathBuf::from(&config.ring.directory);
    Ok(Ring {
        query: Query {
            key: ring_key(config)?,
            signer: Signer::of(&config.ring, &directory),
            directory,
            ..Query::default()
        },
        pin_budget_bytes: config.ring.pin_budget_mib.saturating_mul(1 << 20),
        flows: Box::new(Flows::new(config)),
        now,
    })
}

impl Joined {
    /// Directories that are written to after root is given up.
    pub(super) fn writable(&self) -> Vec<PathBuf> {
        self.writable.clone()
    }

    /// Where the connection's state is shown.
    pub(super) fn shown(&self) -> Shown {
        self.shown.clone()
    }

    /// Connects from now on; only after root is given up. A sensor that cannot still captures.
    pub(super) fn start(
        self,
        config: &SensorConfig,
        status: impl Fn() -> Value + Send + 'static,
        acknowledged: Sender<Acknowledged>,
    ) -> Option<Remote> {
        let Joined { paired, ring, rules, shown, .. } = self;
        let seams = Seams {
            paired: Box::new(paired),
            name: sensor_name(config),
            status: Box::new(status),
            now,
            acknowledged: Some(acknowledged),
            ring,
            rules,
            shown,
        };
        let started = Remote::start(seams, &config.control);
        started.map_err(|error| tracing::error!("no control connection: {error}")).ok()
    }
}
