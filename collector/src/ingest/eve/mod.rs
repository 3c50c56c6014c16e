//! EVE JSON, as Suricata and Weir's own sensor write it, into flow records.
//!
//! In: lines of JSON. Out: batches with one record per `flow` event, to which the `dns`, `http`, `tls` and
//! `ssh` events of the same `flow_id` before it have added what inspection learned. Other events are
//! skipped; lines that are no event are counted. Octets are what the writer counted.

mod event;

use super::counters::{IngestCounters, add};
use super::{BATCH_RECORDS, Batch, Exporter};
use crate::bounded::Bounded;
use event::Event;
use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::sync::Arc;
use weir_common::metadata::Metadata;
use weir_common::record::FlowRecord;

/// Longest line that is read; a longer one is malformed.
pub const LINE_BYTES_MAX: u64 = 1 << 20;
/// Most flows of which events wait for the flow's own event; past it the one whose last event is the oldest is
/// forgotten and counted: its record comes without what inspection learned.
pub const FLOWS_WAITING_MAX: usize = 65_536;
/// Most names of hosts that are kept apart; further ones go by the file's name.
const HOSTS_MAX: usize = 256;

/// What a file held.
#[derive(Debug, Default)]
pub struct EveSummary {
    /// Lines that are no event, or a flow without what a record needs.
    pub malformed: u64,
    /// Events of kinds that carry no flow.
    pub skipped: u64,
    /// The first malformed line and what is wrong with it.
    pub fault: Option<(u64, String)>,
}

/// Reads a file to its end. Events without `host` are from the exporter `name`.
pub fn read(
    name: &str,
    mut input: impl BufRead,
    counters: &IngestCounters,
    mut each: impl FnMut(Batch),
) -> std::io::Result<EveSummary> {
    let mut reader = Reader::new(name);
    let mut summary = EveSummary::default();
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        if input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        number += 1;
        if line.len() as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
            // The rest of the line is skipped without being kept.
            input.skip_until(b'\n')?;
            line.clear();
            line.extend_from_slice(b"(longer than a line may be)");
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match reader.line(&line) {
            Ok(Line::Record(exporter, record)) => {
                if reader.exporter.as_ref().is_some_and(|current| *current != exporter)
                    || reader.records.len() >= BATCH_RECORDS
                {
                    reader.take().into_iter().for_each(&mut each);
                }
                reader.exporter = Some(exporter);
                reader.records.push(*record);
            }
            Ok(Line::Told) => {}
            Ok(Line::Skipped) => summary.skipped += 1,
            Err(fault) => {
                summary.malformed += 1;
                add(&counters.lines_malformed, 1u64);
                summary.fault.get_or_insert((number, fault));
            }
        }
    }
    reader.take().into_iter().for_each(each);
    add(&counters.eve_flows_forgotten, reader.forgotten);
    Ok(summary)
}

enum Line {
    Record(Arc<Exporter>, Box<FlowRecord>),
    /// It tells something about a flow that is still to come.
    Told,
    Skipped,
}

struct Reader {
    own: Arc<Exporter>,
    hosts: HashMap<String, Arc<Exporter>>,
    /// What events told about flows that are still to come, by their number.
    waiting: Bounded<u64, Metadata>,
    /// Flows forgotten at the limit.
    forgotten: u64,
    exporter: Option<Arc<Exporter>>,
    records: Vec<FlowRecord>,
}

impl Reader {
    fn new(name: &str) -> Reader {
        Reader {
            own: Arc::new(Exporter { name: name.to_owned(), observation_domain: 0 }),
            hosts: HashMap::new(),
            waiting: Bounded::new(FLOWS_WAITING_MAX),
            forgotten: 0,
            exporter: None,
            records: Vec::new(),
        }
    }

    fn take(&mut self) -> Option<Batch> {
        let records = std::mem::take(&mut self.records);
        (!records.is_empty()).then_some(Batch {
            exporter: self.exporter.clone()?,
            records,
            alerts: Vec::new(),
            places: None,
        })
    }

    fn line(&mut self, line: &[u8]) -> Result<Line, String> {
        let event: Event<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let Some(flow_id) = event.flow_id else { return Ok(Line::Skipped) };
        if event.is_flow() {
            let metadata = self.waiting.remove(&flow_id).map(|(_, metadata)| metadata);
            let record = event.record(flow_id, metadata.map(Box::new))?;
            return Ok(match record {
                Some(record) => Line::Record(self.exporter_of(&event), Box::new(record)),
                None => Line::Skipped,
            });
        }
        if let Some(metadata) = self.waiting.get_mut(&flow_id) {
            return Ok(if event.tell(metadata) { Line::Told } else { Line::Skipped });
        }
        let mut told = Metadata::EMPTY;
        if !event.tell(&mut told) {
            return Ok(Line::Skipped);
        }
        if !told.is_empty() && self.waiting.insert(flow_id, told).is_some() {
            self.forgotten += 1;
        }
        Ok(Line::Told)
    }

    fn exporter_of(&mut self, event: &Event<'_>) -> Arc<Exporter> {
        let Some(host) = event.host.as_deref() else { return self.own.clone() };
        if let Some(known) = self.hosts.get(host) {
            return known.clone();
        }
        if self.hosts.len() >= HOSTS_MAX {
            return self.own.clone();
        }
        let exporter = Arc::new(Exporter { name: host.to_owned(), observation_domain: 0 });
        self.hosts.insert(host.to_owned(), exporter.clone());
        exporter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_common::app::App;
    use weir_common::metadata::Field;
    use weir_common::record::{EndReason, FlowState};

    const DNS: &str = r#"{"timestamp":"2026-11-20T12:00:00.000000+0000","flow_id":7,"event_type":"dns","src_ip":"10.0.0.5","src_port":5000,"dest_ip":"192.0.2.53","dest_port":53,"proto":"UDP","dns":{"type":"answer","rcode":"NXDOMAIN","rrname":"a.example","rrtype":"A"}}"#;
    const FLOW: &str = r#"{"timestamp":"2026-11-20T12:01:00.000000+0000","flow_id":7,"event_type":"flow","src_ip":"10.0.0.5","src_port":5000,"dest_ip":"192.0.2.53","dest_port":53,"proto":"UDP","app_proto":"dns","vlan":[12],"flow":{"pkts_toserver":1,"pkts_toclient":2,"bytes_toserver":70,"bytes_toclient":300,"start":"2026-11-20T12:00:00.000000+0000","end":"2026-11-20T12:00:01.500000+0000","age":1,"state":"established","reason":"timeout"}}"#;

    fn read_text(text: &str) -> (Vec<Batch>, EveSummary) {
        let mut batches = Vec::new();
        let summary =
            read("eve.json", text.as_bytes(), &IngestCounters::default(), |batch| batches.push(batch))
                .unwrap();
        (batches, summary)
    }

    #[test]
    fn a_flow_has_what_its_events_told() {
        let (batches, summary) = read_text(&format!("{DNS}\n{FLOW}\n"));
        assert_eq!((batches.len(), summary.malformed, summary.skipped), (1, 0, 0));
        let record = &batches[0].records[0];
        assert_eq!(batches[0].exporter.name, "eve.json");
        assert_eq!(record.key.initiator.to_string(), "10.0.0.5");
        assert_eq!((record.key.protocol, record.app, record.vlans), (17, App::Dns, [12, 0]));
        assert_eq!((record.forward.octets, record.reverse.packets), (70, 2));
        assert_eq!(record.end.since(record.start).as_millis(), 1500);
        assert_eq!((record.state, record.end_reason), (FlowState::Established, EndReason::IdleTimeout));
        assert_eq!(record.metadata().list(Field::DnsQuery)[0].as_ref(), "a.example");
        assert_eq!(record.metadata().number(Field::DnsRcode), Some(3));
        assert!(record.community_id.to_string().starts_with("1:"));
    }

    #[test]
    fn where_the_packets_are_is_read_and_another_ring_is_none() {
        let with = |ring: &str| {
            let line = FLOW.replace("\"proto\"", &format!("\"ring\":{ring},\"proto\""));
            read_text(&line).0.remove(0).records.remove(0).evidence
        };
        let ring = r#"{"extents":"~3.0:120-122","frames":40,"missed":2,"exact":false,"expires":"1970-01-01T00:00:09Z"}"#;
        let evidence = with(ring).unwrap();
        assert_eq!(evidence.extents.to_string(), "~3.0:120-122");
        assert_eq!((evidence.frames_kept, evidence.frames_missed), (40, 2));
        assert_eq!(evidence.expires.map(|time| time.seconds()), Some(9));
        assert_eq!([with("7"), with("{}"), with(r#"{"extents":"all"}"#)], [None, None, None]);
    }

    #[test]
    fn lines_that_are_no_event_are_counted_and_the_first_is_named() {
        let (batches, summary) =
            read_text(&format!("{FLOW}\nnot json\n\n{{\"event_type\":\"stats\"}}\n{{\"cut\":\n{FLOW}"));
        assert_eq!(batches[0].records.len(), 2);
        assert_eq!((summary.malformed, summary.skipped), (2, 1));
        assert_eq!(summary.fault.unwrap().0, 2);
    }

    #[test]
    fn a_flow_with_a_wrong_value_is_malformed() {
        for (from, to) in [("10.0.0.5", "10.0.0"), ("\"UDP\"", "\"CHAOS\""), ("12:00:01.5", "noon")] {
            let (batches, summary) = read_text(&FLOW.replace(from, to));
            assert_eq!((batches.len(), summary.malformed), (0, 1), "{from}");
            assert!(summary.fault.unwrap().1.contains("expected"), "{from}");
        }
    }

    #[test]
    fn endless_lines_and_endless_flows_are_bounded() {
        let long = format!("{}\n{FLOW}\n", "x".repeat(3 * LINE_BYTES_MAX as usize));
        let (batches, summary) = read_text(&long);
        assert_eq!((batches[0].records.len(), summary.malformed), (1, 1));
        let mut reader = Reader::new("x");
        for flow in 0..FLOWS_WAITING_MAX + 10 {
            reader.line(DNS.replace("\"flow_id\":7", &format!("\"flow_id\":{flow}")).as_bytes()).unwrap();
        }
        assert_eq!((reader.waiting.len(), reader.forgotten), (FLOWS_WAITING_MAX, 10));
    }

    #[test]
    fn every_prefix_of_a_line_is_refused_without_harm() {
        for end in 1..FLOW.len() {
            let (batches, summary) = read_text(&FLOW[..end]);
            assert_eq!((batches.len(), summary.malformed), (0, 1), "{end}");
        }
    }
}
