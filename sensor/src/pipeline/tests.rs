//! The sensor as a whole, where only the whole shows it.

use super::*;
use crate::capture::{CaptureError, LinkType};
use crate::export::{self, Context, Pace};

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
