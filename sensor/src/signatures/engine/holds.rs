//! Whether everything that a signature looks for is there.
//!
//! In: a signature whose header and marks were looked at, a packet, a side of a transaction, the payload. Out: whether
//! all of its tests hold and all of its lists are found, and what data sets say of the values. Deliberately absent: who
//! is asked, and what follows.

use super::super::compile::{List, PacketPart, Signature};
use super::super::matches::View;
use super::super::packet::{PacketFacts, UintTest};
use super::super::rules::Rules;
use super::{Payload, Sight, Work};
use crate::dpi::buffers::{Buffer, Number, Side};
use std::sync::Arc;
use weir_common::net::Address;

impl Work {
    /// Whether everything that a signature looks for is there; its header and marks were looked at.
    pub(super) fn holds(
        &mut self,
        rules: &Rules,
        signature: &Signature,
        sight: &Sight<'_>,
        side: Option<&Side>,
        payload: &Payload<'_>,
    ) -> bool {
        let facts = PacketFacts {
            packet: sight.packet,
            flow: Some(&sight.flow),
            decode_events: sight.decode_events,
            stream_events: sight.stream_events,
        };
        if !signature.packet.iter().all(|test| test.holds(&facts)) {
            return false;
        }
        self.matches.begin();
        if let Some(side) = side {
            let is_odd = signature.anomalies.iter().all(|anomaly| {
                anomaly.is_of(side.app)
                    && side.anomalies().iter().any(|event| event.eq_ignore_ascii_case(anomaly.name()))
            });
            let has_number =
                |(number, test): &(Number, UintTest)| side.numbers_of(*number).any(|value| test.has(value));
            if !is_odd
                || !signature.numbers.iter().all(has_number)
                || !signature.app.iter().all(|test| test.holds(side))
                || !signature.lists.iter().all(|list| self.holds_side(rules, list, side))
            {
                return false;
            }
        }
        signature.payload.iter().all(|list| match list.place {
            PacketPart::Payload => self.holds_payload(rules, signature, list, payload),
            PacketPart::Header(header) => {
                header.any(sight.packet, |bytes| self.holds_bytes(rules, list, bytes, true))
            }
            PacketPart::SourceAddress => self.holds_address(rules, list, sight.packet.ip.source),
            PacketPart::DestinationAddress => self.holds_address(rules, list, sight.packet.ip.destination),
        })
    }

    /// Whether one of the buffer's values has what a list looks for; without any, whether it may be absent.
    fn holds_side(&mut self, rules: &Rules, list: &List<Buffer>, side: &Side) -> bool {
        let mut has_any = false;
        for bytes in side.values_of(list.place) {
            has_any = true;
            if self.holds_bytes(rules, list, bytes, !side.is_cut) {
                return true;
            }
        }
        !has_any && list.matches.holds_when_absent()
    }

    fn holds_address(&mut self, rules: &Rules, list: &List<PacketPart>, address: Address) -> bool {
        let bytes = address.0;
        let from = if address.is_v4() { 12 } else { 0 };
        self.holds_bytes(rules, list, bytes.get(from..).unwrap_or_default(), true)
    }

    fn holds_payload(
        &mut self,
        rules: &Rules,
        signature: &Signature,
        list: &List<PacketPart>,
        payload: &Payload<'_>,
    ) -> bool {
        let is_of_stream = !signature.is_of_packets();
        if payload.is_reset && is_of_stream {
            return false;
        }
        if signature.header.carrier.is_stream != Some(true)
            && self.holds_bytes(rules, list, payload.bytes, true)
        {
            return true;
        }
        // What begins a stream, or goes on behind a hole, or behind what was found already, stands for itself.
        let (stream, is_from_start) = match payload.window {
            [] if signature.header.carrier.is_stream == Some(true) => (payload.fresh, !payload.has_before),
            window => (window, payload.is_from_start),
        };
        is_of_stream
            && !stream.is_empty()
            && (is_from_start || !list.matches.is_anchored())
            && self.holds_bytes(rules, list, stream, false)
            // What holds in the tail alone was found when that came.
            && (payload.window.is_empty() || !self.holds_bytes(rules, list, payload.tail, false))
    }

    /// What data sets say of the values that a signature, which has matched, has found in them.
    pub(super) fn context(
        &mut self,
        rules: &Rules,
        signature: &Signature,
        sight: &Sight<'_>,
        side: Option<&Side>,
    ) -> Vec<(Arc<str>, Arc<str>)> {
        let mut context = Vec::new();
        let Work { matches, changed, .. } = self;
        let addresses = [
            (PacketPart::SourceAddress, sight.packet.ip.source),
            (PacketPart::DestinationAddress, sight.packet.ip.destination),
        ];
        for (part, address) in addresses {
            let from = if address.is_v4() { 12 } else { 0 };
            let bytes = address.0.get(from..).unwrap_or_default();
            for list in signature.payload.iter().filter(|list| list.place == part) {
                context.extend(list.data.iter().filter_map(|test| test.context(&rules.data, bytes)));
            }
        }
        for list in signature.lists.iter().filter(|list| !list.data.is_empty()) {
            for bytes in side.into_iter().flat_map(|side| side.values_of(list.place)) {
                let bytes = list.transforms.apply(bytes, changed, matches).bytes;
                context.extend(list.data.iter().filter_map(|test| test.context(&rules.data, bytes)));
            }
        }
        context
    }

    fn holds_bytes<P>(&mut self, rules: &Rules, list: &List<P>, bytes: &[u8], is_complete: bool) -> bool {
        let Work { matches, changed, state_counters, .. } = self;
        let changed = list.transforms.apply(bytes, changed, matches);
        let view = View { is_complete, has_failed: changed.has_failed, ..View::of(changed.bytes) };
        list.matches.matches(&view, matches)
            && list.data.iter().all(|test| test.passes(&rules.data, changed.bytes, state_counters))
    }
}
