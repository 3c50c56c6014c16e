//! Logs of both programs, to standard error.
//!
//! `WEIR_LOG` chooses what is shown (`info` without it; `weir_sensor=debug` and the like). Colours are
//! for terminals only and never with `NO_COLOR`. Under systemd the journal keeps its own times.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Sends the process' logs to standard error; a second call does nothing.
pub fn to_standard_error() {
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    // The journal and a person at a terminal both know what time it is.
    let set = builder.without_time().with_target(false).try_init();
    drop(set);
}
