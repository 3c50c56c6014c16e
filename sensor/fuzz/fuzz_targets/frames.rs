//! Frames of any link type, decoded, put together from fragments and inspected, as a capture would bring them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::HashMap;
use std::time::Duration;
use weir_common::net::Direction;
use weir_common::time::Timestamp;
use weir_sensor::capture::{Frame, LinkType};
use weir_sensor::counters::{DecodeCounters, DpiCounters};
use weir_sensor::decode::Decoder;
use weir_sensor::dpi::Inspector;
use weir_sensor::dpi::config::DpiConfig;
use weir_sensor_fuzz::{Input, LINKS};

/// Most bytes of fragments held.
const FRAGMENT_BYTES_MAX: u32 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let link = LinkType(input.one_of(&LINKS));
    let mut decoder = Decoder::new(FRAGMENT_BYTES_MAX, Duration::from_secs(30));
    let mut inspector = Inspector::new(&DpiConfig::default());
    let (mut decoded, mut inspected) = (DecodeCounters::default(), DpiCounters::default());
    let (mut flows, mut events, mut time) = (HashMap::new(), Vec::new(), 0u64);
    while !input.0.is_empty() {
        let length = usize::from(input.u16());
        let bytes = input.take(length);
        time += u64::from(bytes.len() as u32) << 20;
        let wire_len = bytes.len() as u32 + u32::from(length as u16 & 1);
        let frame = Frame { time: Timestamp(time), link, interface: 0, wire_len, data: bytes };
        let Some(packet) = decoder.decode(&frame, &mut decoded) else { continue };
        assert!(packet.payload.len() <= bytes.len() + FRAGMENT_BYTES_MAX as usize);
        let (source, destination) = packet.transport.ports();
        let (from, to) = ((packet.ip.source, source), (packet.ip.destination, destination));
        let (key, direction) =
            if from <= to { ((from, to), Direction::Forward) } else { ((to, from), Direction::Reverse) };
        let slot = flows.entry((key, packet.ip.protocol)).or_insert(None);
        // Whether the connection is joined in its middle does not depend on what the packet says.
        let seen = (direction, length & 2 != 0);
        inspector.inspect(slot, &packet, seen, Timestamp(time), Some(&mut events), &mut inspected);
        events.clear();
    }
    for (_, slot) in flows {
        inspector.finish(slot, Timestamp(time), Some(&mut events), &mut inspected);
    }
    assert_eq!(inspector.held_bytes(), 0, "what was held is given back");
});
