//! Several collectors, and collectors that do not take everything.

use super::*;
use crate::export::distribution::Distribution;

fn accept_all(listener: TcpListener) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

#[test]
fn a_plain_collector_gets_a_record_for_each_direction_and_no_enterprise_bit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plain");
    let destination = format!("file:{}?profile=plain", path.display());
    let exporting = start(&config(destination), context(Pace::Replay)).unwrap();
    send(&exporting, 0..100);
    let status = exporting.join();
    assert_eq!((status.destinations[0].records, status.lost()), (200, 0), "one record for each direction");
    let (records, summaries, name) = decode(&std::fs::read(path).unwrap());
    assert_eq!(name.as_deref(), Some("tap-1"));
    assert_eq!(records.len(), 200);
    for (number, pair) in records.chunks(2).enumerate() {
        let whole = flow(number as u64);
        assert_eq!((pair[0].key, pair[0].forward.octets), (whole.key, whole.forward.octets));
        assert_eq!((pair[1].key.initiator, pair[1].key.initiator_port), (whole.key.responder, 443));
        assert_eq!((pair[1].forward.octets, pair[1].forward.tcp_flags), (4000, 0x12));
        assert_eq!(pair[0].start.millis(), whole.start.millis());
        assert_eq!(pair[0].metadata, None, "what inspection saw is in Weir's own elements");
    }
    // Uniflows of TCP have one template; six options templates have something to say.
    assert_eq!(summaries.iter().map(|summary| summary.templates).sum::<u32>(), 2 + 6);
}

#[test]
fn collectors_that_share_get_each_flow_once_and_a_file_gets_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("all");
    let listeners = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    let mut destinations: Vec<_> =
        listeners.iter().map(|listener| format!("tcp://{}", listener.local_addr().unwrap())).collect();
    destinations.push(format!("file:{}", path.display()));
    let config =
        ExportConfig { destinations, distribution: Distribution::Balanced, ..ExportConfig::default() };
    let readers = listeners.map(accept_all);
    let exporting = start(&config, context(Pace::Replay)).unwrap();
    send(&exporting, 0..1000);
    assert_eq!(exporting.join().lost(), 0);
    let [one, other] = readers.map(|reader| decode(&reader.join().unwrap()).0);
    assert!(one.len() > 400 && other.len() > 400, "{} and {}", one.len(), other.len());
    let mut both: Vec<_> = one.into_iter().chain(other).collect();
    both.sort_by_key(|record| record.flow_id);
    assert_eq!(both, (0..1000).map(flow).collect::<Vec<_>>());
    assert_eq!(decode(&std::fs::read(path).unwrap()).0.len(), 1000);
}

#[test]
fn while_one_of_two_is_away_the_other_gets_its_flows() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let destinations = vec![format!("tcp://{nobody}"), format!("tcp://{}", listener.local_addr().unwrap())];
    let config =
        ExportConfig { destinations, distribution: Distribution::Balanced, ..ExportConfig::default() };
    let reader = accept_all(listener);
    let exporting = start(&config, context(Pace::Live)).unwrap();
    send(&exporting, 0..1);
    wait_for("a refusal", || exporting.status().destinations[0].state == DestinationState::Failing);
    send(&exporting, 1..501);
    let status = exporting.join();
    let (records, ..) = decode(&reader.join().unwrap());
    assert!(records.len() >= 500, "{}: {status:?}", records.len());
}
