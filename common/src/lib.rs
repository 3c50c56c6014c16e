//! What Weir's sensor and collector share.
//!
//! A thing lives here when both programs use it today, or when it is the contract between them: the
//! flow record, its IPFIX form, the names of applications and fields, alerts, configuration loading.
//! There are no threads, no sockets, no runtime and no unsafe code here, and no policy: thresholds
//! belong to the stage that applies them.

#![forbid(unsafe_code)]

pub mod time;
pub mod net;
pub mod app;
pub mod metadata;
pub mod evidence;
pub mod features;
pub mod record;
pub mod record_line;
pub mod alert;
pub mod rule;
pub mod ipfix;
pub mod delivery;
pub mod control;
pub mod json;
pub mod text;
pub mod enrolment;
pub mod config;
pub mod log;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod compiler_fault;
