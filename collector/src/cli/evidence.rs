//! `evidence`: an alert's packets, to a file or to standard output.

use super::Failure;
use crate::config::CollectorConfig;
use crate::control;
use crate::evidence::EvidenceError;
use crate::files::Replacement;
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
    let mut out = if to_output { Output::Open(Box::new(io::stdout().lock())) } else { Output::to(write) };
    let socket = control::socket_path(Path::new(&config.state_directory));
    let (fetched, failure) = crate::evidence::fetch(alert, &config.evidence, &socket, &mut out);
    for statement in &fetched.statements {
        eprintln!("{statement}");
    }
    let lost = match failure {
        Some(EvidenceError::Pass(error)) => return Err(Failure::output(error)),
        Some(error) if fetched.flows > 0 => Some(error.to_string()),
        Some(error @ (EvidenceError::Elsewhere { .. } | EvidenceError::NoFlows)) => {
            return Err(Failure::Input(error.to_string()));
        }
        Some(error) => return Err(Failure::System(error.to_string())),
        None => fetched.incomplete.then(|| "some packets are not there any more".into()),
    };
    out.complete().map_err(Failure::output)?;
    eprintln!("{} flows, {} bytes of pcapng", fetched.flows, fetched.octets);
    lost.map_or(Ok(()), |what| Err(Failure::Lost(what)))
}

/// Where packets go. A file is begun with the first byte and has its name when all is fetched, so that a
/// failure leaves none behind and no former one is lost.
enum Output<'a> {
    Late(&'a Path),
    New(Replacement),
    Open(Box<dyn Write>),
}

impl Output<'_> {
    fn to(path: &Path) -> Output<'_> {
        Output::Late(path)
    }

    fn begun(&mut self) -> io::Result<&mut dyn Write> {
        if let Output::Late(path) = *self {
            // What is there and no plain file, as a pipe or a device, is written and not replaced.
            let special = std::fs::symlink_metadata(path).is_ok_and(|there| !there.is_file());
            *self = if special {
                Output::Open(Box::new(File::options().write(true).truncate(true).open(path)?))
            } else {
                Output::New(Replacement::begin(path)?)
            };
        }
        match self {
            Output::New(file) => Ok(file),
            Output::Open(out) => Ok(out),
            Output::Late(_) => Err(io::Error::other("the file is not open")),
        }
    }

    fn complete(mut self) -> io::Result<()> {
        self.flush()?;
        match self {
            Output::New(file) => file.commit(),
            Output::Open(_) | Output::Late(_) => Ok(()),
        }
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::New(file) => file.flush(),
            Output::Open(out) => out.flush(),
            Output::Late(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_name_when_all_is_fetched_and_a_device_stays_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.pcapng");
        let mut out = Output::to(&path);
        out.write_all(b"packets").unwrap();
        assert!(!path.exists());
        out.complete().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"packets");
        let mut out = Output::to(&path);
        out.write_all(b"part").unwrap();
        drop(out);
        assert_eq!(std::fs::read(&path).unwrap(), b"packets");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        let mut out = Output::to(Path::new("/dev/null"));
        out.write_all(b"packets").unwrap();
        out.complete().unwrap();
        assert!(!std::fs::symlink_metadata("/dev/null").unwrap().is_file());
    }
}
