//! The collector's configuration: one section per stage, each the stage's own struct.

use crate::control::config::ControlConfig;
use crate::correlate::config::CorrelateConfig;
use crate::detect::config::DetectConfig;
use crate::enrich::config::EnrichConfig;
use crate::evidence::config::EvidenceConfig;
use crate::forward::config::ForwardConfig;
use crate::identity::config::IdentityConfig;
use crate::ingest::config::IngestConfig;
use crate::store::config::StoreConfig;
use crate::triage::config::TriageConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of `weir-collector`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CollectorConfig {
    /// Directory of everything the collector keeps: store, outboxes, alerts.
    pub state_directory: String,
    #[allow(missing_docs)]
    pub identity: IdentityConfig,
    #[allow(missing_docs)]
    pub ingest: IngestConfig,
    #[allow(missing_docs)]
    pub enrich: EnrichConfig,
    #[allow(missing_docs)]
    pub detect: DetectConfig,
    #[allow(missing_docs)]
    pub correlate: CorrelateConfig,
    #[allow(missing_docs)]
    pub triage: TriageConfig,
    #[allow(missing_docs)]
    pub forward: ForwardConfig,
    #[allow(missing_docs)]
    pub store: StoreConfig,
    #[allow(missing_docs)]
    pub evidence: EvidenceConfig,
    #[allow(missing_docs)]
    pub control: ControlConfig,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        CollectorConfig {
            state_directory: "/var/lib/weir-collector".into(),
            identity: IdentityConfig::default(),
            ingest: IngestConfig::default(),
            enrich: EnrichConfig::default(),
            detect: DetectConfig::default(),
            correlate: CorrelateConfig::default(),
            triage: TriageConfig::default(),
            forward: ForwardConfig::default(),
            store: StoreConfig::default(),
            evidence: EvidenceConfig::default(),
            control: ControlConfig::default(),
        }
    }
}
