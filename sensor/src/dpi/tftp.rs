//! Trivial File Transfer Protocol (RFC 1350, RFC 2347 to 2349 for options).
//!
//! In: datagrams. Out: one event per request in EVE's `tftp` form; the file, as far as its blocks come in order.
//! Answers come from a new port, so that the flow that carries the file is another one: the request announces it.

use super::buffers::Stage;
use super::file::FileBody;
use super::scan::Scan;
use super::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;

/// Bytes of a block where nothing else is agreed.
const BLOCK_BYTES: usize = 512;
/// Longest name or option that is taken for one.
const TEXT_BYTES_MAX: usize = 512;

/// The dissector of one flow.
#[derive(Debug, Default)]
pub(super) struct Tftp {
    request: Option<Request>,
    file: Option<Box<FileBody>>,
    is_over: bool,
    block_bytes: Option<usize>,
    /// Number of the last block.
    block: u16,
    transactions: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    is_write: bool,
    file: Vec<u8>,
    mode: Vec<u8>,
}

impl Dissector for Tftp {
    const APP: App = App::Tftp;

    const STARTS: Starts = Starts::datagram(&[0]);

    fn probe(first: &First<'_>) -> Probe {
        if Request::parse(first.bytes).is_some() { Probe::Certain } else { Probe::NotForUs }
    }

    fn new() -> Self {
        Tftp::default()
    }

    /// A note is the request.
    fn expected(note: &[u8]) -> Option<Self> {
        Some(Tftp { request: Some(Request::parse(note)?), ..Tftp::default() })
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let mut scan = Scan::new(bytes);
        match scan.be16() {
            Some(1 | 2) => match Request::parse(bytes) {
                Some(request) => self.begin(bytes, request, context),
                None => *context.malformed += 1,
            },
            Some(3) => self.data(scan, context),
            Some(4) => {}
            Some(5) => {
                let (code, message) =
                    (scan.be16().unwrap_or_default(), scan.zero_ended().unwrap_or_default());
                let text = format!("error {code}: {}", String::from_utf8_lossy(message));
                context.metadata.add(Field::Status, text.trim_end_matches([':', ' ']));
                self.end(false, context);
            }
            Some(6) => {
                while let (Some(name), Some(value)) = (scan.zero_ended(), scan.zero_ended()) {
                    if name.eq_ignore_ascii_case(b"blksize") {
                        self.block_bytes =
                            super::scan::decimal(value).and_then(|value| usize::try_from(value).ok());
                    }
                }
            }
            _ => *context.malformed += 1,
        }
        Progress::Used(bytes.len())
    }

    fn gap(&mut self, _: u64, _: &mut Context<'_>) -> Progress {
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        self.end(false, context);
    }
}

impl Request {
    fn parse(bytes: &[u8]) -> Option<Request> {
        let mut scan = Scan::new(bytes);
        let is_write = match scan.be16()? {
            1 => false,
            2 => true,
            _ => return None,
        };
        let is_text = |text: &[u8]| text.len() <= TEXT_BYTES_MAX && super::scan::is_text(text);
        let (file, mode) = (scan.zero_ended()?, scan.zero_ended()?);
        let is_mode =
            [&b"octet"[..], b"netascii", b"mail"].iter().any(|known| mode.eq_ignore_ascii_case(known));
        if !is_mode || file.is_empty() || !is_text(file) {
            return None;
        }
        // Options are pairs; some pad with zeros.
        while !scan.rest().iter().all(|byte| *byte == 0) {
            let (name, value) = (scan.zero_ended()?, scan.zero_ended()?);
            if name.is_empty() || !is_text(name) || !is_text(value) {
                return None;
            }
        }
        Some(Request { is_write, file: file.to_vec(), mode: mode.to_vec() })
    }

    fn describe(&self, object: &mut Object<'_>) {
        object.text("packet", if self.is_write { "write" } else { "read" });
        object.bytes("file", &self.file).bytes("mode", &self.mode);
    }
}

impl Tftp {
    fn begin(&mut self, bytes: &[u8], request: Request, context: &mut Context<'_>) {
        if self.request.as_ref() == Some(&request) && self.transactions > 0 {
            return; // sent again
        }
        let id = self.transactions;
        self.transactions += 1;
        context.metadata.add(Field::Command, if request.is_write { "write" } else { "read" });
        context.metadata.add(Field::Object, &String::from_utf8_lossy(&request.file));
        context.tell(context.direction, Some(id), |object| request.describe(object));
        let client = context.end(context.direction);
        context.expect(client, Carrier::Datagram, App::Tftp, bytes);
        self.end(false, context);
        (self.request, self.is_over, self.block) = (Some(request), false, 0);
    }

    fn data(&mut self, mut scan: Scan<'_>, context: &mut Context<'_>) {
        let (Some(block), Some(request)) = (scan.be16(), &self.request) else { return };
        let data = scan.rest();
        if self.is_over {
            return;
        }
        if self.file.is_none() && self.block == 0 {
            context.metadata.add(Field::Command, if request.is_write { "write" } else { "read" });
            context.metadata.add(Field::Object, &String::from_utf8_lossy(&request.file));
            self.file = FileBody::begin(&request.file, context.direction, Some(0), context);
        }
        let Some(file) = &mut self.file else { return };
        let missing = block.wrapping_sub(self.block.wrapping_add(1));
        if missing > u16::MAX / 2 {
            return; // sent again
        }
        let block_bytes = self.block_bytes.unwrap_or(BLOCK_BYTES);
        if missing > 0 {
            file.gap(u64::from(missing) * block_bytes as u64);
        }
        file.bytes(data);
        self.block = block;
        if data.len() < block_bytes {
            self.end(true, context);
        }
    }

    fn end(&mut self, is_whole: bool, context: &mut Context<'_>) {
        let Some(file) = self.file.take() else { return };
        self.is_over = true;
        let mut beside = Vec::new();
        if let Some(request) = self.request.as_ref().filter(|_| context.events.is_some()) {
            beside.extend_from_slice(b"\"tftp\":");
            request.describe(&mut Object::begin(&mut beside));
        }
        let sender = file.direction();
        file.end(is_whole, &beside, context);
        context.reached(sender, 0, Stage::Body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::trial::{Trial, survives_damaged_datagrams};
    use weir_common::net::Direction;

    const READ: &[u8] = b"\0\x01boot.img\0octet\0blksize\x001024\0";

    #[test]
    fn a_request_is_told_and_announces_its_answer() {
        let trial = Trial::<Tftp>::new().over_datagrams().between(1024, 69).client(READ);
        assert_eq!(trial.event(), serde_json::json!({"packet": "read", "file": "boot.img", "mode": "octet"}));
        assert_eq!((trial.expected.len(), trial.expected[0].end.1), (1, 1024));
    }

    #[test]
    fn the_file_ends_with_a_short_block() {
        let block = |number: u8, bytes: usize| [&[0, 3, 0, number][..], &vec![b'a'; bytes]].concat();
        let trial = Trial::<Tftp>::new()
            .announced(READ)
            .over_datagrams()
            .client(b"\0\x06blksize\x001024\0")
            .client(&block(1, 1024))
            .client(&block(1, 1024))
            .server(&[0, 4, 0, 1])
            .client(&block(2, 10));
        let learned = trial.learned();
        assert!(learned.contains("\"state\":\"CLOSED\"") && learned.contains("\"size\":1034"), "{learned}");
    }

    #[test]
    fn only_requests_are_recognised() {
        let probe = |bytes: &[u8]| Tftp::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes));
        assert_eq!(probe(READ), Probe::Certain);
        assert_eq!(probe(b"\0\x01a\0b\0"), Probe::NotForUs);
        assert_eq!(probe(b"\0\x03\0\x01abc"), Probe::NotForUs);
    }

    #[test]
    fn no_damage_panics() {
        survives_damaged_datagrams::<Tftp>(&[
            (Direction::Forward, READ),
            (Direction::Reverse, b"\0\x03\0\x01abc"),
            (Direction::Reverse, b"\0\x05\0\x01no\0"),
        ]);
    }
}
