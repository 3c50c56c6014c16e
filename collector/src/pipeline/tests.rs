//! The collector as a whole, over real sockets and files.

use super::*;
use crate::ingest::testing::Exporting;
use crate::store::retention::files_of;
use crate::store::tests::record;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::net::{TcpStream, UdpSocket};
use std::sync::atomic::Ordering;
use weir_common::record::FlowRecord;

fn config(state: &Path) -> CollectorConfig {
    let mut config =
        CollectorConfig { state_directory: state.display().to_string(), ..CollectorConfig::default() };
    config.ingest.ipfix_tcp = vec!["127.0.0.1:0".into()];
    config.ingest.ipfix_udp = vec!["127.0.0.1:0".into()];
    config.ingest.ipfix_tls = vec!["127.0.0.1:0".into()];
    config.ingest.udp_buffer_kib = 4096;
    config
}

/// Records in complete files.
fn stored(state: &Path) -> usize {
    let files = files_of(&state.join("store/flows"), ".parquet").unwrap();
    let rows = |path: &Path| {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
        reader.metadata().file_metadata().num_rows() as usize
    };
    files.iter().map(|file| rows(&file.path)).sum()
}

fn records(numbers: std::ops::Range<u64>) -> Vec<FlowRecord> {
    numbers.map(record).collect()
}

#[test]
fn what_tcp_and_udp_brought_is_stored_at_the_end_and_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    for turn in 1..=2 {
        let collector = Collector::start(&config(state.path())).unwrap();
        let mut exporting = Exporting::new(1);
        let mut stream = TcpStream::connect(collector.listeners().tcp[0]).unwrap();
        stream.write_all(&exporting.templates()).unwrap();
        for first in (0..20_000).step_by(100) {
            stream.write_all(&exporting.records(&records(first..first + 100))).unwrap();
        }
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut exporting = Exporting::new(2);
        let udp = collector.listeners().udp[0];
        socket.send_to(&exporting.templates(), udp).unwrap();
        for first in (0..1000).step_by(10) {
            socket.send_to(&exporting.records(&records(first..first + 10)), udp).unwrap();
        }
        let counters = collector.stop();
        assert_eq!(counters.records.load(Ordering::Relaxed), 21_000);
        assert_eq!(counters.store.records_stored.load(Ordering::Relaxed), 21_000);
        assert_eq!(stored(state.path()), turn * 21_000);
        let status = Status::read(state.path()).unwrap();
        assert!(!status.running);
        assert_eq!(status.exporters.iter().map(|exporter| exporter.missing).sum::<u64>(), 0);
    }
}

#[test]
fn a_state_directory_has_one_collector() {
    let state = tempfile::tempdir().unwrap();
    let first = Collector::start(&config(state.path())).unwrap();
    let second = Collector::start(&config(state.path())).err().unwrap();
    assert!(matches!(second, PipelineError::Taken(_)) && !second.is_input());
    first.stop();
    Collector::start(&config(state.path())).unwrap().stop();
}

#[test]
fn a_session_cut_inside_a_message_costs_that_message() {
    let state = tempfile::tempdir().unwrap();
    let collector = Collector::start(&config(state.path())).unwrap();
    let mut exporting = Exporting::new(1);
    let mut stream = TcpStream::connect(collector.listeners().tcp[0]).unwrap();
    stream.write_all(&exporting.templates()).unwrap();
    stream.write_all(&exporting.records(&records(0..10))).unwrap();
    let cut = exporting.records(&records(10..20));
    stream.write_all(&cut[..cut.len() - 1]).unwrap();
    drop(stream);
    // The exporter comes back and repeats what was not whole.
    let mut exporting = Exporting::new(1);
    let mut stream = TcpStream::connect(collector.listeners().tcp[0]).unwrap();
    stream.write_all(&exporting.templates()).unwrap();
    stream.write_all(&exporting.records(&records(10..20))).unwrap();
    let counters = collector.stop();
    assert_eq!(stored(state.path()), 20);
    assert_eq!(counters.ingest.malformed(), 1);
}

#[test]
fn files_are_imported_and_a_broken_one_costs_no_other() {
    let state = tempfile::tempdir().unwrap();
    let path = |name: &str, bytes: &[u8]| {
        let path = state.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let mut exporting = Exporting::new(1);
    let whole =
        [exporting.templates(), exporting.records(&records(0..10)), exporting.records(&records(10..20))]
            .concat();
    let files = [
        path("cut.ipfix", &whole[..whole.len() - 5]),
        path("junk", b"junk"),
        PathBuf::from("/nonexistent"),
        path("whole.ipfix", &whole),
    ];
    let imported = import(&config(state.path()), &files, Copies::default()).unwrap();
    assert_eq!(imported.counters.records.load(Ordering::Relaxed), 30);
    assert_eq!((imported.faults.len(), imported.exporters), (3, 2));
    assert_eq!(stored(state.path()), 30);
}

#[test]
fn an_import_beside_a_running_collector_is_stored_beside_it() {
    let state = tempfile::tempdir().unwrap();
    let collector = Collector::start(&config(state.path())).unwrap();
    let mut exporting = Exporting::new(1);
    let file = state.path().join("f.ipfix");
    fs::write(&file, [exporting.templates(), exporting.records(&records(0..10))].concat()).unwrap();
    import(&config(state.path()), &[file], Copies::default()).unwrap();
    assert_eq!(stored(state.path()), 10);
    collector.stop();
}

#[test]
fn a_configuration_that_cannot_be_used_is_the_users_to_mend() {
    let state = tempfile::tempdir().unwrap();
    let wrong: [fn(&mut CollectorConfig); 3] = [
        |config| config.ingest.admit = vec!["everyone".into()],
        |config| config.store.zstd_level = 99,
        |config| config.enrich.assets = "/nonexistent.csv".into(),
    ];
    for change in wrong {
        let mut config = config(state.path());
        change(&mut config);
        assert!(Collector::start(&config).err().unwrap().is_input());
    }
    let blocked = CollectorConfig { state_directory: "/dev/null/x".into(), ..CollectorConfig::default() };
    assert!(!Collector::start(&blocked).err().unwrap().is_input());
}

/// A file system of one MiB, where the test may make one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Option<SmallDisk> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(directory.path());
        mount.stderr(std::process::Stdio::null());
        mount.status().ok()?.success().then_some(SmallDisk(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_costs_records_and_not_the_collector() {
    let Some(disk) = SmallDisk::new() else {
        eprintln!("skipped: a small file system cannot be mounted here");
        return;
    };
    let state = tempfile::tempdir().unwrap();
    let mut config = config(state.path());
    config.store.directory = disk.0.path().display().to_string();
    config.store.rows_max = 20_000;
    let collector = Collector::start(&config).unwrap();
    let mut exporting = Exporting::new(1);
    let mut stream = TcpStream::connect(collector.listeners().tcp[0]).unwrap();
    stream.write_all(&exporting.templates()).unwrap();
    let mut number = 0u64;
    for _ in 0..1000 {
        let mut some = records(number..number + 100);
        // Distinct values, which do not compress away.
        some.iter_mut().for_each(|record| {
            number += 1;
            for (part, factor) in
                record.community_id.0.chunks_mut(8).zip([0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 3u64])
            {
                part.copy_from_slice(&number.wrapping_mul(factor).to_be_bytes()[..part.len()]);
            }
            record.end = record.start;
        });
        stream.write_all(&exporting.records(&some)).unwrap();
    }
    let counters = collector.stop();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let store = &counters.store;
    assert_eq!(count(&counters.records), 100_000, "every record is inspected");
    assert!(count(&store.write_errors) > 0 && count(&store.records_lost) > 0);
    assert_eq!(count(&store.records_stored) + count(&store.records_lost), 100_000);
}
