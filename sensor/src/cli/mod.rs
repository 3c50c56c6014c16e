//! The command line: arguments, configuration, start, exit code; nothing else.
//!
//! Machine-readable output goes to standard output, everything else to standard error. Exit codes: 0
//! done, 1 the input or the configuration is wrong, 2 the system failed, 3 finished but something was
//! lost.

mod causes;
mod flows;
mod hunt;
mod new_file;
mod pair;
mod pin;
mod progress;
mod query;
mod reload;
mod remote;
mod replay;
mod ring;
mod rules;
mod rules_top;
mod run;
mod status;
mod summary;

use crate::config::SensorConfig;
use crate::counters::Published;
use crate::dpi::file::store::Store;
use crate::dpi::{CutOff, Services};
use crate::export::{self, Acknowledged, ExportError, Exporting, Pace};
use crate::query::reading::THREADS_MAX;
use crate::ring::cipher::RingKey;
use crate::ring::{Ring, RingError, RingMode};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, CommandFactory, Parser, Subcommand};
use crossbeam::channel::Receiver;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use weir_common::time::Timestamp;

/// How a command ended, as a process says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Everything was done.
    Done = 0,
    /// Finished, but something was lost, and it was said what.
    Lost = 3,
}

/// Why a command could not be carried out.
#[derive(Debug)]
enum Failure {
    /// The input or the configuration is wrong.
    Input(anyhow::Error),
    /// The system failed: permission, disk, network.
    System(anyhow::Error),
    /// The reader of our output went away, which is a quiet end.
    BrokenPipe,
}

#[derive(Parser)]
#[command(
    name = "weir-sensor",
    version,
    about = "Measures the flows of a network, looks inside them, and keeps the packets",
    after_help = "Example:\n  weir-sensor replay capture.pcap --eve - --ring /tmp/ring\n  weir-sensor query --ring /tmp/ring 'host 10.0.0.5 and port 53' -w dns.pcapng"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Capture on interfaces until SIGTERM or SIGINT
    Run(RunArguments),
    /// Send capture files through the same path; time is the packets'
    Replay(ReplayArguments),
    /// Find packets in the ring
    Query(QueryArguments),
    /// Look after the ring
    #[command(subcommand)]
    Ring(RingCommand),
    /// Counters of the running sensor
    Status(StatusArguments),
    /// Check a configuration
    Check(ConfigArguments),
    /// Run signatures over stored packets
    Hunt(HuntArguments),
    /// Look after signature rules
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Flows by rate (not in this version)
    Top(Unavailable),
    /// Pair this sensor with a collector, by a token of `weir-collector enroll`
    Pair(PairArguments),
}

#[derive(Args, Clone, Debug)]
struct ConfigArguments {
    /// Configuration file (TOML); without one, the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one configuration key, as section.key=value
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

#[derive(Args, Clone, Debug, Default)]
struct OutputArguments {
    /// Write EVE JSON to this file, `-` for standard output
    #[arg(long, value_name = "FILE")]
    eve: Option<String>,
    /// Write one JSON object per flow record to this file, `-` for standard output
    #[arg(long, value_name = "FILE")]
    records: Option<String>,
    /// Keep the packets in a ring in this directory
    #[arg(long, value_name = "DIR")]
    ring: Option<String>,
    /// Export IPFIX: tcp://HOST:PORT, udp://HOST:PORT or file:PATH; may be repeated
    #[arg(long, value_name = "URL")]
    export: Vec<String>,
    /// Look for the rules of this file, or of the *.rules in this directory; may be repeated
    #[arg(long, value_name = "FILE")]
    rules: Vec<String>,
    /// Set an address or port variable of the rules, as HOME_NET=[10.0.0.0/8]; may be repeated
    #[arg(long = "var", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// Only frames that match this pcap-filter(7) expression
    #[arg(long, value_name = "EXPR")]
    bpf: Option<String>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Example, with the line that `weir-collector enroll edge-1` printed:\n  weir-sensor pair collector.example:4741 --token 'weir1/edge-1/...'"
)]
struct PairArguments {
    /// Where the collector is: HOST or HOST:PORT; without it, where the token says
    #[arg(value_name = "COLLECTOR")]
    collector: Option<String>,
    /// The one-time token; `-` reads it from standard input
    #[arg(long, value_name = "TOKEN")]
    token: String,
    /// The sensor's name, which the token must be for
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    config: ConfigArguments,
}

#[derive(Args, Debug)]
struct RunArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Interface to capture on; may be repeated
    #[arg(short, long = "interface", value_name = "IFACE")]
    interfaces: Vec<String>,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Args, Debug)]
struct ReplayArguments {
    /// Capture files or directories; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  weir-sensor query --since '10m ago' 'tcp port 443 and net 10.0.0.0/8' -w tls.pcapng"
)]
struct QueryArguments {
    /// pcap-filter(7) expression; without one, every packet
    #[arg(value_name = "EXPR")]
    expression: Vec<String>,
    #[command(flatten)]
    config: ConfigArguments,
    /// The ring's directory
    #[arg(long, value_name = "DIR")]
    ring: Option<String>,
    /// From this time on: RFC 3339, Unix time, or `10m ago`
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// Up to and with this time
    #[arg(long, value_name = "T")]
    until: Option<String>,
    /// Only the flow with this Community ID
    #[arg(long, value_name = "COMMUNITY_ID")]
    flow: Option<String>,
    /// Only these blocks, as a flow's record names them (`ring_extents`)
    #[arg(long, value_name = "EXTENTS")]
    extents: Option<String>,
    /// Write the packets as pcapng, `-` for standard output
    #[arg(short, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    write: Option<String>,
    /// Only count the packets; payloads that the expression does not look at are not verified
    #[arg(long, conflicts_with = "write")]
    count: bool,
    /// Show what would be read, and read nothing
    #[arg(long)]
    explain: bool,
    /// The answer's summary as JSON on standard output
    #[arg(long)]
    json: bool,
    /// End after this many packets, and say up to when the answer is complete
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroU64>,
    /// Read at most this many MB of the ring in a second
    #[arg(long, value_name = "MB/S", value_parser = megabytes)]
    rate: Option<NonZeroU64>,
    /// Threads that read [default: one per core, at most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=THREADS_MAX as i64))]
    threads: Option<u16>,
    /// Low: after everything else that wants the processor or the disk
    #[arg(long, value_enum, default_value_t = Priority::Low)]
    priority: Priority,
    /// Show progress also where standard error is no terminal
    #[arg(long)]
    progress: bool,
}

/// How important a question is beside what else the machine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Priority {
    /// After everything else.
    Low,
    /// As important as other programs.
    Normal,
}

/// Bytes from a number of megabytes, as 50 or 0.5.
fn megabytes(text: &str) -> Result<NonZeroU64, String> {
    let bytes = text.parse::<f64>().map_or(0.0, |megabytes| megabytes * 1e6);
    let whole = if bytes.is_finite() { bytes as u64 } else { 0 };
    NonZeroU64::new(whole).ok_or_else(|| "expected a number of megabytes above 0, as 50 or 0.5".to_owned())
}

#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  weir-sensor hunt --rules emerging.rules --since '7d ago' 'net 10.0.0.0/8' --eve alerts.json --resume hunt.json"
)]
struct HuntArguments {
    /// pcap-filter(7) expression that packets must match as well
    #[arg(value_name = "EXPR")]
    expression: Vec<String>,
    #[command(flatten)]
    config: ConfigArguments,
    /// Rules in Suricata's language: a file, or a directory of *.rules; may be repeated
    #[arg(long, value_name = "FILE", required = true)]
    rules: Vec<PathBuf>,
    /// Set an address or port variable of the rules, as HOME_NET=[10.0.0.0/8]; may be repeated
    #[arg(long = "var", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// The ring's directory
    #[arg(long, value_name = "DIR")]
    ring: Option<String>,
    /// From this time on: RFC 3339, Unix time, or `10m ago`
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// Up to and with this time
    #[arg(long, value_name = "T")]
    until: Option<String>,
    /// Write the alerts to this file, `-` for standard output
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    eve: Option<String>,
    /// Keep in this file how far the hunt has come, and go on from there
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Read every block of the time range, also those where no rule's hosts and ports are
    #[arg(long)]
    whole: bool,
    /// Say how far the hunt is, also where no person watches
    #[arg(long)]
    progress: bool,
    /// The summary as JSON, on standard error
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum RulesCommand {
    /// Every rule that cannot be loaded, with file, line, column and reason
    Check(RulesCheckArguments),
    /// The rules that cost the running sensor most, or a capture's replay
    Top(RulesTopArguments),
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  weir-sensor rules top capture.pcap --rules emerging.rules --limit 20")]
struct RulesTopArguments {
    /// Capture files to replay; without one, the running sensor is asked
    #[arg(value_name = "FILE")]
    files: Vec<String>,
    #[command(flatten)]
    config: ConfigArguments,
    /// Rules to replay with: a file, or a directory of *.rules; may be repeated
    #[arg(long, value_name = "FILE")]
    rules: Vec<String>,
    /// Set an address or port variable of the rules, as HOME_NET=[10.0.0.0/8]; may be repeated
    #[arg(long = "var", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// Status socket of the running sensor
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Most rules shown
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct RulesCheckArguments {
    /// Rule files, or directories of *.rules
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Set an address or port variable of the rules, as HOME_NET=[10.0.0.0/8]; may be repeated
    #[arg(long = "var", value_name = "NAME=VALUE")]
    variables: Vec<String>,
}

#[derive(Subcommand)]
enum RingCommand {
    /// Read everything and verify every checksum, hash and signature; or verify an exported file
    Check(RingCheckArguments),
    /// Segments with their times and sizes
    List(RingArguments),
    /// Keep evidence past its turn, in its own quota (ring.pin_budget_mib)
    Pin(PinArguments),
    /// Give pinned evidence back
    Unpin(UnpinArguments),
}

#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  weir-sensor ring pin --since '1h ago' --for 30d --note 'case 17' 'host 10.0.0.5'"
)]
struct PinArguments {
    /// pcap-filter(7) expression; the blocks that hold matching packets are kept
    #[arg(value_name = "EXPR")]
    expression: Vec<String>,
    #[command(flatten)]
    ring: RingArguments,
    /// From this time on: RFC 3339, Unix time, or `10m ago`
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// Up to and with this time
    #[arg(long, value_name = "T")]
    until: Option<String>,
    /// Only the flow with this Community ID
    #[arg(long, value_name = "COMMUNITY_ID")]
    flow: Option<String>,
    /// Only these blocks, as a flow's record names them (`ring_extents`)
    #[arg(long, value_name = "EXTENTS")]
    extents: Option<String>,
    /// Keep it for this long, as `30d` or `12h`; without it, until `ring unpin`
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<String>,
    /// What to remember about it
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
}

#[derive(Args, Debug)]
struct UnpinArguments {
    /// Pins, as `ring pin` and `ring list` name them
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "ID")]
    ids: Vec<String>,
    /// Every pin
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    ring: RingArguments,
}

#[derive(Args, Debug)]
struct RingArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The ring's directory
    #[arg(long, value_name = "DIR")]
    ring: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  weir-sensor ring check --evidence tls.pcapng --key sensor.pub\n\nExit code 0: everything is as it was written; 3: not, and it was said what; 1: the file is no evidence."
)]
struct RingCheckArguments {
    #[command(flatten)]
    ring: RingArguments,
    /// Verify a file that `query -w` wrote; with --ring, compare its packets with the ring's as well
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
    /// The sensor's public key (custody.pub), kept elsewhere; may be repeated
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
}

#[derive(Args, Debug)]
struct StatusArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The sensor's socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of a command that a later version will have.
#[derive(Args, Debug)]
struct Unavailable {
    /// Whatever that version takes
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<String>,
}

/// The definitions, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap's own exit code for wrong usage is 2; here 2 means that the system failed.
            let code = if error.use_stderr() { 1 } else { 0 };
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    weir_common::log::to_standard_error();
    match dispatch(cli.command) {
        Ok(outcome) => ExitCode::from(outcome as u8),
        Err(failure) => ExitCode::from(report(&failure)),
    }
}

fn dispatch(command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Replay(arguments) => replay::replay(&arguments),
        Command::Query(arguments) => query::query(&arguments),
        Command::Ring(RingCommand::Check(arguments)) => ring::check(&arguments),
        Command::Ring(RingCommand::List(arguments)) => ring::list(&arguments),
        Command::Ring(RingCommand::Pin(arguments)) => pin::pin(&arguments),
        Command::Ring(RingCommand::Unpin(arguments)) => pin::unpin(&arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::Check(arguments) => check(&arguments),
        Command::Hunt(arguments) => hunt::hunt(&arguments),
        Command::Rules(RulesCommand::Check(arguments)) => rules::check(&arguments),
        Command::Rules(RulesCommand::Top(arguments)) => rules_top::top(&arguments),
        Command::Top(_) => not_in_this_version("top"),
        Command::Pair(arguments) => pair::pair(&arguments),
    }
}

fn not_in_this_version(what: &str) -> Result<Outcome, Failure> {
    Err(Failure::Input(anyhow::anyhow!("`{what}` is not in this version")))
}

fn report(failure: &Failure) -> u8 {
    match failure {
        Failure::Input(error) => {
            eprintln!("weir-sensor: {}", causes::in_words(error));
            1
        }
        Failure::System(error) => {
            eprintln!("weir-sensor: {}", causes::in_words(error));
            2
        }
        Failure::BrokenPipe => 0,
    }
}

fn check(arguments: &ConfigArguments) -> Result<Outcome, Failure> {
    load(arguments).and_then(|config| validate(&config))?;
    eprintln!("the configuration is good");
    Ok(Outcome::Done)
}

/// Reads the configuration that the arguments name.
fn load(arguments: &ConfigArguments) -> Result<SensorConfig, Failure> {
    let text = match &arguments.config {
        Some(path) => Some((path.display().to_string(), read(path)?)),
        None => None,
    };
    let file = text.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
    weir_common::config::load(file, &arguments.overrides).map_err(|error| Failure::Input(error.into()))
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::Input(anyhow::anyhow!("{}: {error}", path.display())))
}

/// What the types of the configuration cannot say.
fn validate(config: &SensorConfig) -> Result<(), Failure> {
    let wrong = |key: &str, text: String| Err(Failure::Input(anyhow::anyhow!("{key}: {text}")));
    if config.flow.flows_max == 0 {
        return wrong("flow.flows_max", "0 flows is no table; expected 1 or more".into());
    }
    if config.ring.block_kib == 0
        || u64::from(config.ring.block_kib) > config.ring.segment_mib_wanted() * 1024
    {
        return wrong(
            "ring.block_kib",
            format!("expected 1 to the segment's {} KiB", config.ring.segment_mib_wanted() * 1024),
        );
    }
    match CutOff::parse(&config.ring.cut_off) {
        Err(error) => return wrong("ring.cut_off", error.to_string()),
        Ok(cut_off) if !cut_off.is_empty() && !config.dpi.enabled => {
            return wrong("ring.cut_off", "applications are recognised only with `dpi.enabled`".into());
        }
        Ok(_) => {}
    }
    if let Err(error) = Services::load(&config.dpi.services) {
        return wrong("dpi.services", error.to_string());
    }
    for url in &config.export.destinations {
        if let Err(error) = export::Target::parse(url) {
            return wrong("export.destinations", error.to_string());
        }
    }
    Ok(())
}

/// The configuration with the output arguments laid over it.
fn with_output(mut config: SensorConfig, output: &OutputArguments) -> Result<SensorConfig, Failure> {
    config.signatures.rules.extend(output.rules.iter().cloned());
    for setting in &output.variables {
        let (name, text) = setting
            .split_once('=')
            .ok_or_else(|| Failure::Input(anyhow::anyhow!("`--var {setting}`: expected NAME=VALUE")))?;
        config.signatures.variables.insert(name.trim_start_matches('$').to_owned(), text.to_owned());
    }
    if let Some(eve) = &output.eve {
        config.export.eve.clone_from(eve);
    }
    if let Some(records) = &output.records {
        config.export.records.clone_from(records);
    }
    if let Some(ring) = &output.ring {
        config.ring.directory.clone_from(ring);
    }
    if let Some(bpf) = &output.bpf {
        config.capture.bpf.clone_from(bpf);
    }
    config.export.destinations.extend(output.export.iter().cloned());
    if config.export.eve == "-" && config.export.records == "-" {
        return Err(Failure::Input(anyhow::anyhow!("EVE and records cannot both go to standard output")));
    }
    validate(&config)?;
    Ok(config)
}

/// The ring's directory, from the argument or the configuration.
fn ring_directory(argument: Option<&String>, config: &SensorConfig) -> Result<PathBuf, Failure> {
    let directory = argument.unwrap_or(&config.ring.directory);
    if directory.is_empty() {
        return Err(Failure::Input(anyhow::anyhow!("no ring: name one with --ring DIR or ring.directory")));
    }
    Ok(PathBuf::from(directory))
}

/// The key that the configuration names; none where the ring is not encrypted.
fn ring_key(config: &SensorConfig) -> Result<Option<RingKey>, Failure> {
    RingKey::load(&config.ring.encryption_key)
        .map_err(|error| Failure::System(anyhow::anyhow!("ring.encryption_key: {error}")))
}

/// Starts export with its files opened.
fn open_export(
    config: &SensorConfig,
    interfaces: Vec<String>,
    published: &[Published],
    pace: Pace,
    acknowledgements: Option<Receiver<Acknowledged>>,
) -> Result<Exporting, Failure> {
    let (sensor_name, workers) = (sensor_name(config), published.to_vec());
    let identity = config.identity.directory.clone();
    let context = export::Context { sensor_name, interfaces, workers, identity, pace, acknowledgements };
    export::start(&config.export, context).map_err(|error| match error {
        ExportError::Open { .. } | ExportError::Thread(_) => Failure::System(error.into()),
        _ => Failure::Input(error.into()),
    })
}

/// Opens the ring, when one is configured.
fn open_ring(
    config: &SensorConfig,
    lanes: u16,
    mode: RingMode,
    now: Timestamp,
) -> Result<Option<Ring>, Failure> {
    if config.ring.directory.is_empty() {
        return Ok(None);
    }
    let ring = Ring::open(&config.ring, lanes, mode, now).map_err(|error| match error {
        RingError::Config { .. } | RingError::Budget { .. } => Failure::Input(error.into()),
        // The error's own words say its cause.
        _ => Failure::System(anyhow::anyhow!("ring: {error}")),
    })?;
    Ok(Some(ring))
}

/// Opens the directory of files that are to be stored, where one is configured.
fn open_store(config: &SensorConfig, waits: bool) -> Result<Option<Store>, Failure> {
    let files = &config.dpi.files;
    Store::open(files, waits).map_err(|error| {
        let error = anyhow::Error::from(error);
        Failure::System(error.context(format!("dpi.files.extract_directory: {}", files.extract_directory)))
    })
}

/// The time, for what is said relative to it on the command line.
#[expect(clippy::disallowed_methods, reason = "a person's `10m ago` is relative to the clock")]
fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::MIN.plus(since_epoch.unwrap_or_default())
}

/// The sensor's name: configured, or the host's.
fn sensor_name(config: &SensorConfig) -> String {
    if !config.name.is_empty() {
        return config.name.clone();
    }
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    host.unwrap_or_else(|| "sensor".into())
}

/// Writes to standard output; a reader that went away is a quiet end.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(output_failure)
}

/// A failure to write output: a quiet end when the reader went away.
fn output_failure(error: std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
        _ => Failure::System(anyhow::anyhow!("writing output: {error}")),
    }
}
