//! Entries for fuzzing: text as rules, and rules over whatever is said.
//!
//! In: bytes of any kind. Out: a panic where something breaks. Nothing of it is in a program that users run (feature
//! `fuzzing`, or a test build).

use super::engine::PACKET_ALERTS_MAX;
use super::{Engine, RuleNames, Rules, Sight, Surroundings};
use crate::decode::{Packet, Tcp, Transport};
use crate::dpi::buffers::{Sides, Stage};
use std::sync::Arc;
use weir_common::app::App;
use weir_common::net::{Direction, FlowKey, protocol};
use weir_common::record::tcp_flags;
use weir_common::rule::{RuleReader, Variables};
use weir_common::time::Timestamp;

/// Options of a rule up to the first line's end, over the bytes behind it.
pub fn options(data: &[u8]) {
    let (options, bytes) = first_line(data);
    super::matches::fuzzing::options_over_bytes(options, bytes);
}

/// Text as a file of rules, each of which is refused or run.
pub fn rules(data: &[u8]) {
    compiled(data);
}

/// A line as one rule, and pieces behind it: what is said on a connection, in the packets and in the parts of transactions
/// that the rule looks into. A piece: kind and direction (one byte), length (one byte), that many bytes.
pub fn engine(data: &[u8]) {
    let (rule, mut pieces) = first_line(data);
    let rules = compiled(rule);
    if rules.is_empty() {
        return;
    }
    let rules = Arc::new(rules);
    let mut engine = Engine::new(Arc::clone(&rules));
    let (mut marks, mut found, mut sides) = (None, Vec::new(), Sides::default());
    let mut sequences = [1u32; 2];
    let mut transaction = 0;
    while let [kind, length, rest @ ..] = pieces {
        let (bytes, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        pieces = rest;
        let direction = if kind & 1 == 0 { Direction::Forward } else { Direction::Reverse };
        let payload = match kind >> 1 & 3 {
            0 => bytes,
            1 => {
                tell(&rules, &mut sides, direction, transaction, bytes);
                &[]
            }
            2 => {
                sides.of(app_of(&rules), direction, transaction).stage = Stage::Head;
                &[]
            }
            _ => {
                sides.of(app_of(&rules), direction, transaction).stage = Stage::Body;
                transaction += u64::from(kind >> 3 & 1);
                &[]
            }
        };
        let packet = segment(direction, &mut sequences, payload);
        let sight = sight(&packet, direction);
        found.clear();
        engine.packet(&sight, &mut marks, Some((&mut sides, kind >> 4 & 1 == 1)), &mut found);
        assert!(found.len() <= PACKET_ALERTS_MAX, "a packet has at most so many alerts");
    }
}

fn first_line(data: &[u8]) -> (&[u8], &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    (data.get(..end).unwrap_or_default(), data.get(end + 1..).unwrap_or_default())
}

fn compiled(text: &[u8]) -> Rules {
    let file = RuleReader::new(Variables::default()).read("fuzz", text);
    let count = file.rules.len();
    let built = Rules::build(file.rules, &mut RuleNames::default(), &Surroundings::default(), None);
    let sorted = built.rules.len() + built.problems.len() + built.silent.len() + built.set_aside.len();
    assert_eq!(sorted, count, "a rule runs, cannot fire, is set aside or refused");
    built.rules
}

/// The application that the first rule is about.
fn app_of(rules: &Rules) -> App {
    rules
        .signatures
        .first()
        .and_then(|signature| signature.header.applications.iter().next())
        .unwrap_or(App::Http)
}

/// Tells bytes as every part, and every number, that a rule looks into.
fn tell(rules: &Rules, sides: &mut Sides, direction: Direction, transaction: u64, bytes: &[u8]) {
    let side = sides.of(app_of(rules), direction, transaction);
    for signature in &rules.signatures {
        signature.lists.iter().for_each(|list| side.put(list.place, bytes));
        let number = bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        signature.numbers.iter().for_each(|(which, _)| side.put_number(*which, number));
    }
}

fn segment<'a>(direction: Direction, sequences: &mut [u32; 2], payload: &'a [u8]) -> Packet<'a> {
    let key = key();
    let mut packet = Packet::of_nothing(&key);
    let (source, destination) = match direction {
        Direction::Forward => (key.initiator_port, key.responder_port),
        Direction::Reverse => {
            std::mem::swap(&mut packet.ip.source, &mut packet.ip.destination);
            (key.responder_port, key.initiator_port)
        }
    };
    let sequence = sequences[direction.index()];
    sequences[direction.index()] = sequence.wrapping_add(payload.len() as u32);
    let acknowledgement = sequences[direction.flip().index()];
    let flags = tcp_flags::ACK;
    packet.transport =
        Transport::Tcp(Tcp { source, destination, sequence, acknowledgement, flags, window: 1 << 15 });
    packet.payload = payload;
    packet
}

fn key() -> FlowKey {
    FlowKey {
        initiator: weir_common::net::Address::v4([10, 0, 0, 1]),
        responder: weir_common::net::Address::v4([192, 0, 2, 1]),
        initiator_port: 1024,
        responder_port: 80,
        protocol: protocol::TCP,
    }
}

fn sight<'a>(packet: &'a Packet<'a>, direction: Direction) -> Sight<'a> {
    Sight {
        time: Timestamp(1_000_000_000),
        direction,
        key: key(),
        flow_id: 1,
        is_established: true,
        is_opaque: false,
        has_stream: true,
        ..Sight::of_nobody(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fuzzing_begins_with_is_taken() {
        let rule = b"alert http any any -> any any (http.uri; content:\"/a\"; content:\"b\"; sid:1;)";
        rules(rule);
        engine(&[&rule[..], b"\n\x02\x03/ab\x06\x00\x00\x03/ab"].concat());
        options(b"content:\"a\"; distance:1; pcre:\"/b/\";\nxaxb");
        engine(b"alert tcp any any -> any any (content:\"a\"; sid:1;)\n\x00\x01a\x01\x01a");
    }
}
