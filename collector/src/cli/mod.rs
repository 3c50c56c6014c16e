//! The command line: arguments, configuration, start, exit code; nothing else.
//!
//! Machine-readable output goes to standard output, everything else to standard error. The exit code is 0
//! when all is done, 1 when the input or the configuration is wrong, 2 when the system failed, 3 when it
//! finished and something was lost. A reader that goes away is a quiet end.

mod arguments;
mod evidence;
mod intel;
mod sensors;
mod show;

use crate::config::CollectorConfig;
use crate::detect::Detectors;
use crate::enrich::Enricher;
use crate::ingest::{clock, listen};
use crate::pipeline::status::Status;
use crate::pipeline::{self, Copies, Imported};
use crate::store::alerts;
use arguments::{Arguments, Command, Intel, QueryFormat, Settings};
use clap::{CommandFactory as _, Parser as _};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use weir_common::time::Timestamp;

/// Why a command ends without success; the variant is the exit code.
enum Failure {
    /// The input or the configuration is wrong.
    Input(String),
    /// The system failed.
    System(String),
    /// Finished, but something was lost.
    Lost(String),
    /// Whoever read the output is gone.
    BrokenPipe,
}

impl Failure {
    /// A failed write to the output.
    fn output(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::BrokenPipe;
        }
        Failure::System(format!("output: {error}"))
    }
}

impl From<pipeline::PipelineError> for Failure {
    fn from(error: pipeline::PipelineError) -> Failure {
        if error.is_input() { Failure::Input(error.to_string()) } else { Failure::System(error.to_string()) }
    }
}

impl From<crate::store::StoreError> for Failure {
    fn from(error: crate::store::StoreError) -> Failure {
        Failure::System(error.to_string())
    }
}

/// The command line's definition, for manual pages and completions.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let wrong = error.use_stderr();
            // A reader that is gone does not need the help.
            let _ = error.print();
            return ExitCode::from(u8::from(wrong));
        }
    };
    weir_common::log::to_standard_error();
    let outcome = dispatch(arguments.command);
    let (code, message) = match outcome {
        Ok(()) | Err(Failure::BrokenPipe) => return ExitCode::SUCCESS,
        Err(Failure::Input(message)) => (1, message),
        Err(Failure::System(message)) => (2, message),
        Err(Failure::Lost(message)) => (3, message),
    };
    eprintln!("weir-collector: {message}");
    ExitCode::from(code)
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run { settings } => run(&settings.load()?),
        Command::Import { files, alerts, records, settings } => {
            import(&settings.load()?, &files, alerts.as_deref(), records.as_deref())
        }
        Command::Query { sql, since, format, settings } => {
            query(&settings.load()?, &sql, since.as_deref(), format)
        }
        Command::Alerts { since, json, settings } => list_alerts(&settings.load()?, since.as_deref(), json),
        Command::Evidence { id, write, settings } => evidence::evidence(&settings.load()?, &id, &write),
        Command::Check { settings } => check(&settings),
        Command::Status { json, settings } => status(&settings.load()?, json),
        Command::Intel { command: Intel::Check { files } } => intel::check(&files),
        Command::Intel { command: Intel::Rules { files, output } } => intel::rules(&files, &output),
        Command::Verdict { id: _, verdict: _, note: _ } => Err(not_in_this_version("verdict")),
        Command::Enroll { name, address, settings } => sensors::enroll(&settings.load()?, &name, address),
        Command::Sensors { json, settings } => sensors::sensors(&settings.load()?, json),
        Command::Revoke { name, settings } => sensors::revoke(&settings.load()?, &name),
    }
}

fn not_in_this_version(command: &str) -> Failure {
    Failure::Input(format!("{command} is not in this version"))
}

impl Settings {
    fn load(&self) -> Result<CollectorConfig, Failure> {
        let text = match &self.config {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
                Some((path.display().to_string(), text))
            }
        };
        let file = text.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        weir_common::config::load(file, &self.set).map_err(|error| Failure::Input(error.to_string()))
    }
}

fn run(config: &CollectorConfig) -> Result<(), Failure> {
    let counters = pipeline::run(config, |listeners| {
        for (name, addresses) in [("TCP", &listeners.tcp), ("UDP", &listeners.udp), ("TLS", &listeners.tls)] {
            for address in addresses {
                tracing::info!("taking IPFIX over {name} on {address}");
            }
        }
    })?;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let store = &counters.store;
    tracing::info!(
        "stopped: {} records, {} stored, {} alerts",
        count(&counters.records),
        count(&store.records_stored),
        count(&counters.alerts)
    );
    let given_back = count(&counters.ingest.deliveries.counters.records_given_back);
    if given_back > 0 {
        tracing::warn!(
            "{given_back} records could not be stored and were left to their sensors to send again"
        );
    }
    lost(&counters, &[])
}

/// What was lost since the start, as a failure.
fn lost(counters: &pipeline::Counters, more: &[String]) -> Result<(), Failure> {
    let mut parts = more.to_vec();
    let store = &counters.store;
    for (counter, what) in [
        (&store.records_lost, "records could not be stored"),
        (&store.alerts_lost, "alerts could not be stored"),
        (&counters.batches_panicked, "batches could not be inspected"),
        (&counters.deliveries_lost, "deliveries of alerts were refused, dropped or could not be written"),
    ] {
        let count = counter.load(Ordering::Relaxed);
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    if parts.is_empty() { Ok(()) } else { Err(Failure::Lost(parts.join("; "))) }
}

/// The output that an argument names, when it is given.
fn output(path: Option<&Path>) -> Result<Option<Box<dyn Write + Send>>, Failure> {
    Ok(match path {
        None => None,
        Some(path) if path == Path::new("-") => Some(Box::new(io::stdout())),
        Some(path) => {
            let file = File::create(path);
            let file = file.map_err(|error| Failure::System(format!("{}: {error}", path.display())))?;
            Some(Box::new(BufWriter::new(file)))
        }
    })
}

fn import(
    config: &CollectorConfig,
    files: &[PathBuf],
    alerts: Option<&Path>,
    records: Option<&Path>,
) -> Result<(), Failure> {
    let copies = Copies { alerts: output(alerts)?, records: output(records)? };
    let imported = pipeline::import(config, files, copies)?;
    summarise(&imported);
    for (what, error) in [("alerts", imported.alerts_error), ("records", imported.records_error)] {
        match error {
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(Failure::BrokenPipe),
            Some(error) => return Err(Failure::System(format!("{what}: {error}"))),
            None => {}
        }
    }
    let faults: Vec<String> =
        imported.faults.iter().map(|(file, fault)| format!("{}: {fault}", file.display())).collect();
    if imported.counters.records.load(Ordering::Relaxed) == 0 && faults.len() == files.len() {
        let system = imported.faults.iter().any(|(_, fault)| fault.is_system());
        let message = faults.join("\n");
        return Err(if system { Failure::System(message) } else { Failure::Input(message) });
    }
    let mut more = faults;
    if imported.undelivered > 0 {
        more.push(format!("{} alerts are not delivered yet and wait in the outboxes", imported.undelivered));
    }
    if more.is_empty() && imported.malformed > 0 {
        more.push(format!("{} messages or sets were malformed", imported.malformed));
    }
    if imported.unknown_templates > 0 {
        more.push(format!(
            "{} data sets came before their template or without one",
            imported.unknown_templates
        ));
    }
    lost(&imported.counters, &more)
}

fn summarise(imported: &Imported) {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let counters = &imported.counters;
    let seconds = imported.took.as_secs_f64();
    eprintln!(
        "records {}, exporters {}, malformed {}, findings {}, alerts {}, seconds {seconds:.3}",
        count(&counters.records),
        imported.exporters,
        imported.malformed,
        count(&counters.findings),
        count(&counters.alerts),
    );
}

fn since_of(text: Option<&str>) -> Result<Timestamp, Failure> {
    match text {
        None => Ok(Timestamp::MIN),
        Some(text) => {
            Timestamp::parse(text, clock()).map_err(|error| Failure::Input(format!("--since: {error}")))
        }
    }
}

#[cfg(not(feature = "sql"))]
fn query(_: &CollectorConfig, _: &str, since: Option<&str>, _: QueryFormat) -> Result<(), Failure> {
    since_of(since)?;
    let how = "this weir-collector was built without SQL; build it with `cargo build --release -p weir-collector --features sql`";
    Err(Failure::Input(how.into()))
}

#[cfg(feature = "sql")]
fn query(
    config: &CollectorConfig,
    sql: &str,
    since: Option<&str>,
    format: QueryFormat,
) -> Result<(), Failure> {
    use std::io::IsTerminal as _;
    use weir_collector_sql::{Format, SqlError};
    let since = since_of(since)?;
    let format = match format {
        QueryFormat::Table => Format::Table,
        QueryFormat::Json => Format::Json,
        QueryFormat::Csv => Format::Csv,
        QueryFormat::Parquet if io::stdout().is_terminal() => {
            return Err(Failure::Input(
                "parquet is not for a terminal: send standard output to a file".into(),
            ));
        }
        QueryFormat::Parquet => Format::Parquet,
    };
    let tables = crate::store::tables::tables(&pipeline::store_directory(config), sql, since)?;
    let mut out = BufWriter::new(io::stdout().lock());
    match weir_collector_sql::run(sql, tables, format, &mut out) {
        Ok(answer) if answer.cut => {
            eprintln!("only the first {} rows are drawn; --format csv or json writes all", answer.rows);
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(SqlError::Output(error)) => Err(Failure::output(error)),
        Err(error @ SqlError::Query(_)) => Err(Failure::Input(error.to_string())),
        Err(error @ SqlError::System(_)) => Err(Failure::System(error.to_string())),
    }
}

fn list_alerts(config: &CollectorConfig, since: Option<&str>, json: bool) -> Result<(), Failure> {
    let stored = alerts::read(&pipeline::store_directory(config), since_of(since)?)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let written =
        if json { show::lines(&stored.alerts, &mut out) } else { show::alerts(&stored.alerts, &mut out) };
    written.and_then(|()| out.flush()).map_err(Failure::output)?;
    match stored.unreadable {
        0 => Ok(()),
        lines => Err(Failure::Lost(format!("{lines} stored lines are no alert"))),
    }
}

fn status(config: &CollectorConfig, json: bool) -> Result<(), Failure> {
    let state = Path::new(&config.state_directory);
    let status = match Status::read(state) {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::Input(format!(
                "{}: no collector has run with this state directory",
                state.display()
            )));
        }
        Err(error) => return Err(Failure::System(format!("{}: {error}", state.display()))),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let live = status.is_live(clock());
    let written =
        if json { show::lines(&[&status], &mut out) } else { show::status(&status, live, &mut out) };
    written.and_then(|()| out.flush()).map_err(Failure::output)?;
    if live {
        Ok(())
    } else {
        Err(Failure::System(format!("the collector does not run; its last status is of {}", status.written)))
    }
}

fn check(settings: &Settings) -> Result<(), Failure> {
    let config = settings.load()?;
    let mut problems = Vec::new();
    match Enricher::load(&config.enrich) {
        Ok((_, wrong)) => problems.extend(wrong.iter().map(ToString::to_string)),
        Err(error) => problems.push(error.to_string()),
    }
    // Without a state directory: what was learned is not the configuration's.
    let (_, wrong) = Detectors::from_config(&config.detect, &config.enrich.home_networks, None);
    problems.extend(wrong.iter().map(ToString::to_string));
    problems.extend(crate::forward::check(&config.forward).iter().map(ToString::to_string));
    problems.extend(listen::check(&config.ingest).iter().map(ToString::to_string));
    problems.extend(crate::control::check(&config.control).map(|error| error.to_string()));
    problems.extend(crate::store::flows::check(&config.store).err().map(|error| error.to_string()));
    tell(&problems)?;
    eprintln!("the configuration is right");
    Ok(())
}

/// Says every problem; a failure when there is one.
fn tell(problems: &[String]) -> Result<(), Failure> {
    for problem in problems {
        eprintln!("{problem}");
    }
    match problems.len() {
        0 => Ok(()),
        1 => Err(Failure::Input("1 problem".into())),
        count => Err(Failure::Input(format!("{count} problems"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn help_fits_one_screen_and_has_an_example() {
        let mut command = command();
        let mut pages = vec![command.render_help().to_string()];
        pages.extend(command.get_subcommands_mut().map(|sub| sub.render_help().to_string()));
        for page in &pages {
            assert!(page.lines().count() <= 40, "{page}");
        }
        assert!(pages[0].contains("Example:"));
    }
}
