//! The sensor's configuration: one section per stage, each the stage's own struct.

use crate::capture::config::CaptureConfig;
use crate::decode::config::DecodeConfig;
use crate::dpi::config::DpiConfig;
use crate::export::config::ExportConfig;
use crate::flow::config::FlowConfig;
use crate::identity::config::IdentityConfig;
use crate::remote::config::ControlConfig;
use crate::ring::config::RingConfig;
use crate::sandbox::SandboxConfig;
use crate::signatures::config::SignaturesConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of `weir-sensor`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SensorConfig {
    /// The sensor's name, as alerts and evidence commands give it. Empty: the host's name.
    pub name: String,
    /// Local socket that `weir-sensor status` asks; empty: none.
    pub control_socket: String,
    #[allow(missing_docs)]
    pub identity: IdentityConfig,
    #[allow(missing_docs)]
    pub sandbox: SandboxConfig,
    #[allow(missing_docs)]
    pub capture: CaptureConfig,
    #[allow(missing_docs)]
    pub decode: DecodeConfig,
    #[allow(missing_docs)]
    pub flow: FlowConfig,
    #[allow(missing_docs)]
    pub dpi: DpiConfig,
    #[allow(missing_docs)]
    pub signatures: SignaturesConfig,
    #[allow(missing_docs)]
    pub ring: RingConfig,
    #[allow(missing_docs)]
    pub export: ExportConfig,
    #[allow(missing_docs)]
    pub control: ControlConfig,
}

impl Default for SensorConfig {
    fn default() -> Self {
        SensorConfig {
            name: String::new(),
            control_socket: "/run/weir/sensor.sock".into(),
            identity: IdentityConfig::default(),
            sandbox: SandboxConfig::default(),
            capture: CaptureConfig::default(),
            decode: DecodeConfig::default(),
            flow: FlowConfig::default(),
            dpi: DpiConfig::default(),
            signatures: SignaturesConfig::default(),
            ring: RingConfig::default(),
            export: ExportConfig::default(),
            control: ControlConfig::default(),
        }
    }
}
