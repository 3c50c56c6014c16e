//! `weir-sensor status`: the running sensor's counters, through its local socket.

use super::{Failure, Outcome, StatusArguments, load};
use crate::control;
use crate::ring::cut_off::Gain;
use serde_json::Value;
use std::path::PathBuf;

pub(super) fn status(arguments: &StatusArguments) -> Result<Outcome, Failure> {
    let config = load(&arguments.config)?;
    let path = arguments.socket.clone().unwrap_or_else(|| PathBuf::from(&config.control_socket));
    let status = control::ask(&path).map_err(|error| {
        Failure::System(anyhow::anyhow!(
            "{}: {error}; is a sensor running, and may you ask it?",
            path.display()
        ))
    })?;
    let text = if arguments.json { format!("{status}\n") } else { table(&status) };
    super::print(text.as_bytes())?;
    Ok(Outcome::Done)
}

/// Sections as headings, values aligned; zeros are left out where they are many.
fn table(status: &Value) -> String {
    let mut out = String::new();
    lines("", status, &mut out);
    if let Ok(gain) = serde_json::from_value::<Gain>(status["cut_off"].clone()) {
        out.push_str(&format!("{gain}\n"));
    }
    out
}

fn lines(path: &str, value: &Value, out: &mut String) {
    let inner = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| lines(&inner(name), value, out)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| lines(&inner(&index.to_string()), value, out));
        }
        Value::Number(number) if number.as_u64() == Some(0) => {}
        Value::Null => {}
        Value::String(text) => out.push_str(&format!("{path:<40} {text}\n")),
        other => out.push_str(&format!("{path:<40} {other}\n")),
    }
}
