//! Alerts as lines of a file: Suricata-compatible EVE JSON, or Weir's own form.
//!
//! In: alerts. Out: one JSON object per line, appended. The file is opened again when it was moved away,
//! so that logrotate works without a signal. A line that was cut off by a full disk is ended before the
//! next one begins.

use super::{DeliveryError, Destination, Message};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use weir_common::alert::Alert;
use weir_common::json::Object;

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Suricata's `alert` event, with Weir's alert below `weir`.
    Eve,
    /// Weir's alert.
    Plain,
}

/// A file of lines.
pub(super) struct FileDestination {
    name: String,
    path: PathBuf,
    form: Form,
    file: Option<File>,
    torn: bool,
}

impl FileDestination {
    pub(super) fn new(name: &str, path: &str, form: Form) -> FileDestination {
        FileDestination { name: name.to_owned(), path: path.into(), form, file: None, torn: false }
    }

    /// The file, opened again when the path leads to another one.
    fn file(&mut self) -> std::io::Result<&mut File> {
        let same = match (&self.file, std::fs::metadata(&self.path)) {
            (Some(file), Ok(there)) => {
                let here = file.metadata()?;
                (here.dev(), here.ino()) == (there.dev(), there.ino())
            }
            _ => false,
        };
        if !same {
            if let Some(directory) = self.path.parent().filter(|directory| !directory.as_os_str().is_empty())
            {
                std::fs::create_dir_all(directory)?;
            }
            self.file = Some(OpenOptions::new().create(true).append(true).open(&self.path)?);
            self.torn = false;
        }
        self.file.as_mut().ok_or_else(|| std::io::Error::other("the file is not open"))
    }
}

impl Destination for FileDestination {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver(&mut self, message: &Message<'_>) -> Result<(), DeliveryError> {
        let mut line = Vec::with_capacity(message.json.len() + 512);
        if self.torn {
            line.push(b'\n');
        }
        match self.form {
            Form::Plain => line.extend_from_slice(message.json),
            Form::Eve => eve(message.alert, message.json, &mut line),
        }
        line.push(b'\n');
        let path = self.path.display().to_string();
        let written = self.file().and_then(|file| file.write_all(&line));
        self.torn = written.is_err() && self.file.is_some();
        written.map_err(|error| DeliveryError::Later(format!("{path}: {error}")))
    }
}

/// Suricata's alert event. What Suricata has and an alert over flows has not (ports, packet) is left out.
pub(super) fn eve(alert: &Alert, json: &[u8], out: &mut Vec<u8>) {
    let mut event = Object::begin(out);
    event.display("timestamp", alert.end.eve()).text("event_type", "alert");
    event.text_if("host", alert.sensors.first().map(String::as_str));
    event
        .text_if("src_ip", alert.actor.as_deref())
        .text_if("dest_ip", alert.targets.first().map(String::as_str));
    if let Some(flow) = alert.flows.first() {
        event.display("community_id", flow.community_id);
    }
    {
        let mut inner = event.object("alert");
        inner
            .text("action", "allowed")
            .number("gid", 1u8)
            .number("signature_id", signature_id(alert))
            .number("rev", 1u8);
        inner
            .text("signature", &format!("WEIR {} {}", alert.kind, alert.reason))
            .text("category", category(&alert.kind));
        inner.number("severity", alert.severity.eve());
        if !alert.technique.is_empty() {
            inner.object("metadata").texts("mitre_technique_id", &alert.technique);
        }
    }
    event.raw("weir", json);
}

/// A rule's own number where its id is one; otherwise one of 1,900,000,000 to 1,999,999,999 by kind, which
/// no public rule set uses.
fn signature_id(alert: &Alert) -> u32 {
    if let Some(number) = alert.signature.as_ref().and_then(|id| id.parse().ok()) {
        return number;
    }
    let digest = Sha256::new()
        .chain_update(&alert.kind)
        .chain_update(alert.signature.as_deref().unwrap_or(""))
        .finalize();
    let number = digest.iter().take(4).fold(0u32, |number, byte| number << 8 | u32::from(*byte));
    1_900_000_000 + number % 100_000_000
}

/// Suricata's classification that fits a kind best.
fn category(kind: &str) -> &'static str {
    match kind.split('.').next().unwrap_or(kind) {
        "scan" => "Detection of a Network Scan",
        "login" => "Attempted User Privilege Gain",
        "beacon" | "c2" => "Malware Command and Control Activity Detected",
        "intel" => "A Network Trojan was detected",
        "new" | "volume" => "Misc activity",
        _ => "Potentially Bad Traffic",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::alert;
    use super::*;

    fn deliver(destination: &mut FileDestination, alert: &Alert) -> Result<(), DeliveryError> {
        let json = serde_json::to_vec(alert).unwrap();
        destination.deliver(&Message { key: "k", alert, json: &json })
    }

    #[test]
    fn an_eve_consumer_finds_suricatas_fields() {
        let alert = alert();
        let mut line = Vec::new();
        eve(&alert, &serde_json::to_vec(&alert).unwrap(), &mut line);
        let event: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(event["timestamp"], "2026-11-20T12:00:01.000000+0000");
        for (field, want) in
            [("event_type", "alert"), ("src_ip", "10.0.0.5"), ("dest_ip", "198.51.100.7"), ("host", "edge-1")]
        {
            assert_eq!(event[field], want);
        }
        assert_eq!(event["alert"]["severity"], 1);
        assert_eq!(event["alert"]["category"], "A Network Trojan was detected");
        assert_eq!(event["alert"]["metadata"]["mitre_technique_id"][0], "T1071");
        assert!((1_900_000_000..2_000_000_000).contains(&event["alert"]["signature_id"].as_u64().unwrap()));
        assert_eq!(event["weir"]["id"], alert.id);
        let numbered = Alert { signature: Some("2012345".into()), ..alert };
        assert_eq!(signature_id(&numbered), 2_012_345);
    }

    #[test]
    fn a_file_that_was_rotated_away_is_begun_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logs/alerts.json");
        let mut destination = FileDestination::new("file", path.to_str().unwrap(), Form::Plain);
        deliver(&mut destination, &alert()).unwrap();
        deliver(&mut destination, &alert()).unwrap();
        std::fs::rename(&path, directory.path().join("old")).unwrap();
        deliver(&mut destination, &alert()).unwrap();
        let lines = |path: &std::path::Path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!((lines(&directory.path().join("old")), lines(&path)), (2, 1));
    }

    #[test]
    fn a_path_that_cannot_be_written_is_tried_later() {
        let mut destination = FileDestination::new("file", "/proc/alerts/none.json", Form::Eve);
        assert!(
            matches!(deliver(&mut destination, &alert()), Err(DeliveryError::Later(why)) if why.starts_with("/proc/alerts/none.json: "))
        );
    }
}
