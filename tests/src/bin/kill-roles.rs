//! The two ends of a delivery as processes that can be killed, and who looks whether anything is missing or double.
//!
//! `kill-roles collector STATE PORT ACKS`: the collector's pipeline on a TCP port, with what it acknowledges on another.
//! `kill-roles sensor SPOOL PORT ACKS RUN RATE`: the sensor's export thread with RATE records per second, whose flow
//! identifiers count from RUN << 32; ends when standard input does and everything is acknowledged, and says how many
//! records were put into the spool. `kill-roles check STATE COUNT`: whether the store holds COUNT records, each once, and
//! of each run all up to some point. `kill-roles rows STATE`: how many records of real programs the store holds, and how
//! many of them it holds twice, which are those with the same flow, start and end.
//!
//! Acknowledgements travel as lines of text here, in the place of the control connection. `scripts/kill-test` drives it.

use anyhow::{Context as _, bail, ensure};
use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::UInt64Type;
use crossbeam::channel::{Sender, bounded};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use weir_collector::config::CollectorConfig;
use weir_collector::pipeline::Collector;
use weir_collector::store::retention::files_of;
use weir_common::app::App;
use weir_common::delivery::Position;
use weir_common::features::Features;
use weir_common::net::{CommunityId, FlowKey};
use weir_common::record::{DirectionStats, EndReason, FlowRecord, FlowState};
use weir_common::time::Timestamp;
use weir_sensor::export::config::{Acknowledge, ExportConfig};
use weir_sensor::export::{Acknowledged, Batch, Context, Pace, start};

/// Records of a batch.
const BATCH: u64 = 100;
/// How long a sensor waits at the end until everything is acknowledged.
const SETTLE_MAX: Duration = Duration::from_secs(60);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["collector", state, port, acks] => collector(state, port.parse()?, acks.parse()?),
        ["sensor", spool, port, acks, run, rate] => {
            sensor(spool, port.parse()?, acks.parse()?, run.parse()?, rate.parse()?)
        }
        ["check", state, count] => check(Path::new(state), count.parse()?),
        ["rows", state] => rows(Path::new(state)),
        _ => bail!(
            "expected `collector STATE PORT ACKS`, `sensor SPOOL PORT ACKS RUN RATE`, `check STATE COUNT` or `rows STATE`"
        ),
    }
}

fn collector(state: &str, port: u16, acks: u16) -> anyhow::Result<()> {
    let mut config = CollectorConfig { state_directory: state.into(), ..CollectorConfig::default() };
    config.ingest.ipfix_tcp = vec![format!("127.0.0.1:{port}")];
    config.ingest.ipfix_udp = Vec::new();
    config.store.flush_s = 2;
    config.store.rows_max = 20_000;
    let mut collector = Collector::start(&config)?;
    let listener = TcpListener::bind(("127.0.0.1", acks))?;
    let positions = collector.positions();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let positions = positions.clone();
            std::thread::spawn(move || tell(stream, positions));
        }
    });
    collector.wait()?;
    collector.stop();
    Ok(())
}

/// Writes every position as a line, now and whenever one changes, until the reader is gone.
fn tell(
    mut stream: TcpStream,
    mut positions: tokio::sync::watch::Receiver<weir_collector::ingest::delivery::Positions>,
) -> Option<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    loop {
        let now = positions.borrow_and_update().clone();
        for Position { epoch, sequence } in now.values().flatten() {
            writeln!(stream, "{epoch} {sequence}").ok()?;
        }
        runtime.block_on(positions.changed()).ok()?;
    }
}

fn sensor(spool: &str, port: u16, acks: u16, run: u64, rate: u64) -> anyhow::Result<()> {
    let config = ExportConfig {
        destinations: vec![format!("tcp://127.0.0.1:{port}")],
        spool_directory: spool.into(),
        acknowledge: Acknowledge::Always,
        ..ExportConfig::default()
    };
    let (sender, acknowledgements) = bounded(64);
    std::thread::spawn(move || hear(acks, &sender));
    let context = Context {
        identity: std::path::PathBuf::new(),
        sensor_name: "killed".into(),
        interfaces: Vec::new(),
        workers: Vec::new(),
        pace: Pace::Live,
        acknowledgements: Some(acknowledgements),
    };
    let exporting = start(&config, context)?;
    let ended = Arc::new(AtomicBool::new(false));
    let flag = ended.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        flag.store(true, Ordering::Relaxed);
    });
    let queue = exporting.sender();
    let mut next = run << 32;
    while !ended.load(Ordering::Relaxed) {
        let records = (next..next + BATCH).map(record).collect();
        next += BATCH;
        queue.send(Batch { records, ..Batch::default() })?;
        std::thread::sleep(Duration::from_nanos(1_000_000_000 * BATCH / rate.max(1)));
    }
    drop(queue);
    // The last message is ended a second after its first record.
    let begun = Instant::now();
    let numbered = loop {
        std::thread::sleep(Duration::from_millis(1500));
        let status = exporting.status();
        let spool = status.destinations.first().and_then(|to| to.spool.clone()).context("no spool")?;
        if spool.records == 0 {
            break spool;
        }
        ensure!(begun.elapsed() < SETTLE_MAX, "not everything was acknowledged: {spool:?}");
    };
    exporting.join();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&numbered)?)?;
    Ok(())
}

/// Hands on what the collector acknowledges, whenever it is there.
fn hear(port: u16, sender: &Sender<Acknowledged>) {
    loop {
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let Some((epoch, sequence)) = line.split_once(' ') else { continue };
                let (Ok(epoch), Ok(sequence)) = (epoch.parse(), sequence.parse()) else { continue };
                let position = Position { epoch, sequence };
                if sender.send(Acknowledged { destination: None, position }).is_err() {
                    return;
                }
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A flow that ended in one of two hours, so that the store fills two files by turns.
fn record(number: u64) -> FlowRecord {
    let key = FlowKey {
        initiator: "192.0.2.1".parse().unwrap_or_default(),
        responder: "198.51.100.2".parse().unwrap_or_default(),
        initiator_port: number as u16,
        responder_port: 443,
        protocol: 6,
    };
    let stats = DirectionStats { packets: 5, octets: 500, ..DirectionStats::default() };
    let hour = 1_795_176_000 + 3600 * (number / 37 % 2);
    FlowRecord {
        key,
        flow_id: number,
        community_id: CommunityId::of(&key, None, 0),
        start: Timestamp::from_parts(hour, 0),
        end: Timestamp::from_parts(hour + 5, 0),
        forward: stats,
        reverse: stats,
        icmp: None,
        vlans: [0, 0],
        interface: 0,
        end_reason: EndReason::EndOfFlow,
        state: FlowState::Closed,
        app: App::Tls,
        metadata: None,
        tunnel: None,
        at_shutdown: false,
        signatures: None,
        evidence: None,
        features: Features::default(),
    }
}

/// Counts the rows of the store, and those that are there twice.
fn rows(state: &Path) -> anyhow::Result<()> {
    let mut seen: HashSet<(String, u64, u64, u64)> = HashSet::new();
    let mut rows = 0u64;
    for file in files_of(&state.join("store/flows"), ".parquet")? {
        for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(&file.path)?)?.build()? {
            let batch = batch?;
            let column = |name: &str| batch.column_by_name(name).with_context(|| format!("no {name}"));
            let nanoseconds = |name: &str| -> anyhow::Result<Vec<u64>> {
                let cast = arrow::compute::cast(column(name)?, &arrow::datatypes::DataType::Int64)?;
                Ok(cast
                    .as_primitive::<arrow::datatypes::Int64Type>()
                    .values()
                    .iter()
                    .map(|time| *time as u64)
                    .collect())
            };
            let (starts, ends) = (nanoseconds("start_time")?, nanoseconds("end_time")?);
            let ids = column("flow_id")?.as_primitive::<UInt64Type>().values().clone();
            let communities = column("community_id")?.as_string::<i32>().clone();
            for row in 0..batch.num_rows() {
                rows += 1;
                seen.insert((communities.value(row).to_owned(), ids[row], starts[row], ends[row]));
            }
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::json!({ "rows": rows, "double": rows - seen.len() as u64 }))?;
    Ok(())
}

/// Reads every flow identifier of the store; the error says what is missing or double.
fn check(state: &Path, count: u64) -> anyhow::Result<()> {
    let mut runs: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut rows = 0;
    for file in files_of(&state.join("store/flows"), ".parquet")? {
        let file = File::open(&file.path)?;
        for batch in ParquetRecordBatchReaderBuilder::try_new(file)?.build()? {
            let batch = batch?;
            let column = batch.column_by_name("flow_id").context("no flow_id")?;
            rows += column.len() as u64;
            for id in column.as_primitive::<UInt64Type>().values() {
                runs.entry(id >> 32).or_default().push(id & 0xffff_ffff);
            }
        }
    }
    let (mut double, mut missing) = (0, 0);
    for ids in runs.values_mut() {
        ids.sort_unstable();
        let all = ids.len();
        ids.dedup();
        double += (all - ids.len()) as u64;
        missing += ids.last().map_or(0, |last| last + 1) - ids.len() as u64;
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}",
        serde_json::json!({
            "numbered": count, "rows": rows, "double": double, "missing_in_the_middle": missing, "runs": runs.len(),
        })
    )?;
    ensure!(rows == count && double == 0 && missing == 0, "not every record is there exactly once");
    Ok(())
}
