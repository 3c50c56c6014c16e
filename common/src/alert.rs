//! The alert: what is worth a person, in the one JSON form that every destination gets.

use crate::evidence::Extents;
use crate::net::CommunityId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

/// Most addresses listed in [`Alert::targets`]; `target_count` counts them all.
pub const TARGETS_MAX: usize = 32;
/// Most flows listed in [`Alert::flows`].
pub const FLOWS_MAX: usize = 32;

/// How bad it is if it is true.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Worth a look this week.
    Medium,
    /// Worth a look today.
    High,
    /// Worth waking someone.
    Critical,
}

impl Severity {
    /// The word used in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }

    /// One step worse, for what concerns a critical asset.
    pub const fn raised(self) -> Severity {
        match self {
            Severity::Low => Severity::Medium,
            Severity::Medium => Severity::High,
            Severity::High | Severity::Critical => Severity::Critical,
        }
    }

    /// EVE's number: 1 is worst.
    pub const fn eve(self) -> u8 {
        match self {
            Severity::Critical | Severity::High => 1,
            Severity::Medium => 2,
            Severity::Low => 3,
        }
    }
}

/// Who must know, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// A person, now.
    Pager,
    /// A person, in working hours.
    Ticket,
    /// The weekly reading.
    Digest,
}

impl Route {
    /// The word used in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Route::Pager => "pager",
            Route::Ticket => "ticket",
            Route::Digest => "digest",
        }
    }
}

/// Where the packets behind an alert are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum EvidenceState {
    /// Kept past the ring's turn.
    Pinned,
    /// In the sensor's ring, as far as the collector knows.
    Available {
        /// When the ring is expected to overwrite it.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<String>,
        /// The command that fetches it, on the sensor.
        command: String,
        /// What of it is missing, when something is.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        why: Option<String>,
    },
    /// Overwritten, as far as the collector could tell when it made the alert.
    Expired,
    /// Never captured.
    NotCaptured {
        /// Why.
        why: String,
    },
}

/// One flow that an alert rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertFlow {
    /// Community ID, which finds the flow's packets in the sensor's ring.
    pub community_id: CommunityId,
    /// First packet.
    #[serde(serialize_with = "rfc3339", deserialize_with = "read_rfc3339")]
    pub start: Timestamp,
    /// Last packet.
    #[serde(serialize_with = "rfc3339", deserialize_with = "read_rfc3339")]
    pub end: Timestamp,
    /// The sensor that saw it.
    pub sensor: String,
    /// Where its packets are in that sensor's ring; none: nothing is known of a ring.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ring_extents: Option<Extents>,
    /// Frames that the ring did not take.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub ring_missed: u64,
    /// When the ring is expected to remove the first of its packets.
    #[serde(
        serialize_with = "rfc3339_if",
        deserialize_with = "read_rfc3339_if",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub ring_expires: Option<Timestamp>,
}

/// An incident worth a person. Field by field as the contract with users names them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Stable: the same input gives the same id.
    pub id: String,
    /// 1 for the alert's first form, one more for each update of the same id; the highest one holds.
    #[serde(default = "first_version")]
    pub version: u32,
    /// Begin of what was seen.
    #[serde(serialize_with = "rfc3339", deserialize_with = "read_rfc3339")]
    pub time: Timestamp,
    /// End of what was seen so far.
    #[serde(serialize_with = "rfc3339", deserialize_with = "read_rfc3339")]
    pub end: Timestamp,
    /// Dotted, from general to special: `scan.horizontal`, `intel.domain`.
    pub kind: String,
    /// The address accused, when there is one.
    pub actor: Option<String>,
    /// Addresses concerned, at most [`TARGETS_MAX`].
    pub targets: Vec<String>,
    /// How many distinct targets there are.
    pub target_count: u64,
    /// How many findings this alert folds together.
    pub count: u64,
    /// How bad it is if it is true.
    pub severity: Severity,
    /// How likely it is to be true, 0 to 1.
    pub confidence: f64,
    /// Who must know.
    pub route: Route,
    /// One sentence with the numbers that decided.
    pub reason: String,
    /// ATT&CK technique identifiers.
    pub technique: Vec<String>,
    /// Sensors that saw it.
    pub sensors: Vec<String>,
    /// Flows it rests on, at most [`FLOWS_MAX`].
    pub flows: Vec<AlertFlow>,
    /// Where the packets are.
    pub evidence: EvidenceState,
    /// The signature's identifier, for alerts of kind `signature`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signature: Option<String>,
}

fn first_version() -> u32 {
    1
}

fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn rfc3339_if<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

fn read_rfc3339_if<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let read = text.map(|text| Timestamp::parse(&text, Timestamp::MIN)).transpose();
    read.map_err(serde::de::Error::custom)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn read_rfc3339<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    Timestamp::parse(&text, Timestamp::MIN).map_err(serde::de::Error::custom)
}
