//! The command line's shape: one definition for parsing, help, manual pages and completions.

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Takes in what sensors measured, finds what is wrong, proves it and tells the right person.
#[derive(Parser)]
#[command(
    name = "weir-collector",
    version,
    after_help = "Example: try it on a file of flow records, alerts on the screen:\n  weir-collector import --alerts - --set state_directory=/tmp/weir flows.ipfix\n\nExit codes: 0 done, 1 wrong input or configuration, 2 the system failed, 3 finished but something was lost."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(clap::Args)]
pub(super) struct Settings {
    /// Configuration file (TOML); every key has a working default.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// One configuration key, over the file: section.key=value.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Listen, detect, forward and store until SIGTERM.
    #[command(
        after_help = "Example: weir-collector run --config /etc/weir/collector.toml --set ingest.admit='[\"10.0.0.0/8\"]'"
    )]
    Run {
        #[command(flatten)]
        settings: Settings,
    },
    /// Take files through the same path: IPFIX (RFC 5655) and EVE JSON.
    #[command(
        after_help = "Example: weir-collector import --alerts alerts.json flows.ipfix eve.json\n\nA summary goes to standard error. Zeek logs, syslog and pcap are not in this version."
    )]
    Import {
        /// Files; - is standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Also write alerts there, one JSON object per line; - is standard output.
        #[arg(long, value_name = "FILE")]
        alerts: Option<PathBuf>,
        /// Also write flow records there as they were decoded, one JSON object per line; - is standard output.
        #[arg(long, value_name = "FILE")]
        records: Option<PathBuf>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Ask the store: tables flows and alerts.
    #[command(
        after_help = "Example: weir-collector query \"SELECT dst_port, sum(bytes_toclient) AS bytes FROM flows GROUP BY 1 ORDER BY 2 DESC LIMIT 10\" --since '1h ago'\n\nColumns: weir-collector query 'DESCRIBE flows'"
    )]
    Query {
        /// One SELECT.
        sql: String,
        /// Only what ended then or later: RFC 3339, a Unix time, or `10m ago`.
        #[arg(long, value_name = "T")]
        since: Option<String>,
        /// How rows are written.
        #[arg(long, value_enum, default_value_t = QueryFormat::Table)]
        format: QueryFormat,
        #[command(flatten)]
        settings: Settings,
    },
    /// The alert list.
    #[command(after_help = "Example: weir-collector alerts --since '1d ago' --json | jq -r .reason")]
    Alerts {
        /// Only what ended then or later: RFC 3339, a Unix time, or `10m ago`.
        #[arg(long, value_name = "T")]
        since: Option<String>,
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// An analyst's verdict on an alert (not in this version).
    Verdict {
        /// The alert.
        id: String,
        /// Whether it was true.
        verdict: Verdict,
        /// Why.
        #[arg(long)]
        note: Option<String>,
    },
    /// The packets behind an alert.
    #[command(after_help = "Example: weir-collector evidence 4f1c0e -w - | tshark -r -")]
    Evidence {
        /// The alert.
        id: String,
        /// Where the packets go, as pcapng; - is standard output.
        #[arg(short = 'w', value_name = "FILE")]
        write: PathBuf,
        #[command(flatten)]
        settings: Settings,
    },
    /// Make a one-time pairing token for a sensor, also while the collector runs.
    #[command(
        after_help = "Example: weir-collector enroll edge-1 --address collector.example:4741\n\nThe token goes to standard output, what to do with it to standard error. A sensor that is enrolled already keeps its certificate until the token is used."
    )]
    Enroll {
        /// The sensor's name: letters, digits, dots, dashes, underscores.
        name: String,
        /// Where the sensor reaches this collector, instead of identity.addresses; may be repeated.
        #[arg(long, value_name = "HOST[:PORT]")]
        address: Vec<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// The enrolled sensors, when their certificates expire, and when they were seen last.
    #[command(
        after_help = "Example: weir-collector sensors --json | jq -r 'select(.state != \"enrolled\").name'"
    )]
    Sensors {
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Take away a sensor's certificate and tokens; its sessions end at once.
    #[command(
        after_help = "Example: weir-collector revoke edge-1\n\n`enroll` lets it in again, by a new token."
    )]
    Revoke {
        /// The sensor's name.
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Work on threat intelligence.
    Intel {
        #[command(subcommand)]
        command: Intel,
    },
    /// Check the configuration and every list it names, and do nothing else.
    Check {
        #[command(flatten)]
        settings: Settings,
    },
    /// Counters of the collector that runs with this state directory.
    Status {
        /// One JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: Settings,
    },
}

#[derive(Subcommand)]
pub(super) enum Intel {
    /// Name every line of indicator lists that cannot be used.
    #[command(after_help = "Example: weir-collector intel check feeds/*.csv")]
    Check {
        /// Indicator lists (CSV).
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
    },
    /// Write indicator lists as rules and data sets for sensors that are not paired.
    ///
    /// Paired sensors have the same from the collector with control.indicators = true.
    #[command(
        after_help = "Example: weir-collector intel rules feeds/*.csv --output rules/ && weir-sensor run -i eth0 --rules rules/\n\nThe rules have the numbers 1990000 to 1999999. They are in the Suricata language; Suricata itself has to know `match subdomain` of data sets, and reads no line of more than 8 KiB, which some 400 networks fill."
    )]
    Rules {
        /// Indicator lists (CSV).
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
        /// Directory for weir-indicators.rules and the lists beside it; files of these names are replaced.
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Verdict {
    True,
    False,
    Benign,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum QueryFormat {
    Table,
    Json,
    Csv,
    Parquet,
}
