//! The sensor as a whole, where only the whole shows it.

use super::*;
use crate::capture::{CaptureError, LinkType};
use crate::export::{self, Context, Pace};
use crate::signatures::{RuleNames, Surroundings};
use weir_common::net::CommunityId;
use weir_common::rule::{RuleReader, Variables};

/// UDP packets of as many flows, a burst at a time.
struct Flows {
    left: u32,
}

impl FrameSource for Flows {
    fn read_batch(&mut self, each: &mut dyn FnMut(&[Frame<'_>])) -> Result<BatchEnd, CaptureError> {
        for _ in 0..BURST_FRAMES_MAX.min(self.left as usize) {
            self.left -= 1;
            let [.., a, b, c] = self.left.to_be_bytes();
            let mut data = [0; 60];
            data[12..34].copy_from_slice(&[
                8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, a, b, c, 192, 0, 2, 1,
            ]);
            data[34..42].copy_from_slice(&[0x13, 0x88, 0x13, 0x89, 0, 26, 0, 0]);
            let time = Timestamp(1_700_000_000_000_000_000);
            each(&[Frame { time, link: LinkType::ETHERNET, interface: 0, wire_len: 60, data: &data }]);
        }
        Ok(if self.left == 0 { BatchEnd::End } else { BatchEnd::More })
    }

    fn loss(&mut self) -> SourceLoss {
        SourceLoss::default()
    }

    fn name(&self) -> &str {
        "made"
    }
}

#[test]
fn a_live_sensor_that_ends_waits_until_the_records_of_all_flows_are_taken() {
    const FLOWS: u32 = 20_000;
    let work = tempfile::tempdir().unwrap();
    let mut config = SensorConfig::default();
    config.export.records = work.path().join("records.json").display().to_string();
    config.export.queue_batches_max = 1;
    let published = vec![Published::default()];
    let (sensor_name, interfaces) = (String::new(), Vec::new());
    let context = Context { sensor_name, interfaces, workers: published.clone(), pace: Pace::Live };
    let exporting = export::start(&config.export, context).unwrap();
    let outlets = Outlets { exporting, ring: None, store: None };
    let source = Box::new(Flows { left: FLOWS });
    let stop = Arc::new(AtomicBool::new(false));
    let running =
        start(&config, vec![source], published, outlets, &Arc::new(Rules::none()), Mode::Live, &stop)
            .unwrap();
    let report = running.wait();
    assert_eq!(
        (report.counters.flow.records, report.counters.export.records_dropped_queue_full),
        (FLOWS.into(), 0)
    );
    let lines = std::fs::read_to_string(&config.export.records).unwrap();
    assert_eq!(lines.lines().count(), FLOWS as usize);
}

#[test]
fn collectors_are_told_of_frames_that_hold_no_packet() {
    let rule = b"alert pkthdr any any -> any any (msg:\"cut\"; decode-event:ipv4.trunc_pkt; sid:5;)";
    let file = RuleReader::new(Variables::default()).read("x", rule);
    let built = Rules::build(file.rules, &mut RuleNames::default(), &Surroundings::default(), None);
    assert!(built.problems.is_empty(), "{:?}", built.problems);
    let (rules, inbox) = (Arc::new(built.rules), Arc::default());
    let config = SensorConfig::default();
    // An IPv4 packet of 100 octets, of which there are 20.
    let mut bytes = vec![2; 12];
    bytes.extend_from_slice(&[8, 0, 0x45, 0, 0, 100, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let frame = Frame {
        time: Timestamp(7_000_000_000),
        link: LinkType::ETHERNET,
        interface: 0,
        wire_len: bytes.len() as u32,
        data: &bytes,
    };
    let mut faults = Vec::new();
    decode::events(&frame, &mut |fault| faults.push(fault));
    for (is_exported, want) in [(true, 1), (false, 0)] {
        let mut alerts = Alerts::new(&config.signatures, (&config.dpi, is_exported), &rules, &inbox).unwrap();
        let mut told = 0;
        alerts.frame(&frame, false, &faults, 0, &mut |_, _| told += 1);
        let records: Vec<SignatureAlert> = alerts.take().collect();
        assert_eq!((told, records.len()), (1, want));
        for alert in records {
            assert_eq!((alert.signature, alert.flow_id, alert.time), (5, 0, frame.time));
            assert_eq!(alert.key.initiator, "10.0.0.1".parse().unwrap());
            assert_eq!(alert.community_id, CommunityId::of(&alert.key, None, 0));
        }
    }
}
