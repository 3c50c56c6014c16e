//! `evidence`: an alert's packets, to a file or to standard output.

use super::Failure;
use crate::config::CollectorConfig;
use crate::evidence::EvidenceError;
use crate::pipeline;
use crate::store::alerts;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use weir_common::time::Timestamp;

/// Fetches and writes them.
pub(super) fn evidence(config: &CollectorConfig, id: &str, write: &Path) -> Result<(), Failure> {
    let stored = alerts::read(&pipeline::store_directory(config), Timestamp::MIN)?;
    let mut found = stored.alerts.iter().filter(|alert| !id.is_empty() && alert.id.starts_with(id));
    let alert = found
        .next()
        .ok_or_else(|| Failure::Input(format!("no stored alert has an id that begins with `{id}`")))?;
    if found.next().is_some() {
        return Err(Failure::Input(format!(
            "several alerts have an id that begins with `{id}`: give more of it"
        )));
    }
    let to_output = write == Path::new("-");
    if to_output && io::stdout().is_terminal() {
        return Err(Failure::Input(
            "packets are not for a terminal: send standard output to a program or a file".into(),
        ));
    }
    let mut out: Box<dyn Write> =
        if to_output { Box::new(io::stdout().lock()) } else { Box::new(LateFile::new(write)) };
    let (fetched, failure) = crate::evidence::fetch(alert, &config.evidence, &mut out);
    for statement in &fetched.statements {
        eprintln!("{statement}");
    }
    match failure {
        Some(EvidenceError::Pass(error)) => Err(Failure::output(error)),
        Some(error) if fetched.flows > 0 => Err(Failure::Lost(error.to_string())),
        Some(error @ (EvidenceError::Elsewhere { .. } | EvidenceError::NoFlows)) => {
            Err(Failure::Input(error.to_string()))
        }
        Some(error) => Err(Failure::System(error.to_string())),
        None => {
            out.flush().map_err(Failure::output)?;
            eprintln!("{} flows, {} bytes of pcapng", fetched.flows, fetched.octets);
            if fetched.incomplete {
                Err(Failure::Lost("some packets are not there any more".into()))
            } else {
                Ok(())
            }
        }
    }
}

/// A file that is made when the first byte is written, so that a failure leaves none behind.
struct LateFile<'a> {
    path: &'a Path,
    file: Option<File>,
}

impl LateFile<'_> {
    fn new(path: &Path) -> LateFile<'_> {
        LateFile { path, file: None }
    }
}

impl Write for LateFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => self.file.insert(File::create(self.path)?).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
