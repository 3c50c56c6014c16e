//! Whether a record shows a contact that succeeded.
//!
//! In: a record. Out: success, failure, or unknown where the record cannot tell: a connection that was
//! joined in its middle, one direction alone, traffic that expects no answer.

use weir_common::net::{Address, protocol};
use weir_common::record::{DirectionStats, FlowRecord, tcp_flags as flags};

/// What became of a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The other side took part.
    Success,
    /// It refused or stayed silent.
    Failure,
    /// The record cannot tell.
    Unknown,
}

/// A UDP flow without answer that sent more than this talks to someone; the other direction was not seen.
const UDP_PROBE_PACKETS_MAX: u64 = 3;

impl Outcome {
    /// Of a record's initiator contacting its responder.
    #[inline]
    pub(crate) fn of(record: &FlowRecord) -> Outcome {
        match record.key.protocol {
            protocol::TCP => tcp(&record.forward, &record.reverse),
            protocol::UDP => udp(record),
            protocol::ICMP | protocol::ICMPV6 => echo(record),
            _ => Outcome::Unknown,
        }
    }
}

fn tcp(forward: &DirectionStats, reverse: &DirectionStats) -> Outcome {
    let (sent, back) = (forward.tcp_flags, reverse.tcp_flags);
    let accepted = back & (flags::SYN | flags::ACK) == flags::SYN | flags::ACK;
    if sent & flags::SYN != 0 {
        if accepted {
            return Outcome::Success;
        }
        if sent & flags::ACK == 0 {
            return Outcome::Failure;
        }
        // SYN and ACK from one side: either a client that went on, so that it was answered on a path the
        // sensor does not see, or a single SYN+ACK whose SYN was not seen (backscatter).
        return if forward.packets > 1 && back & flags::RST == 0 {
            Outcome::Success
        } else {
            Outcome::Unknown
        };
    }
    // FIN, NULL and Xmas probes: no stack sends these to a peer it does not know. A record without any
    // flags at all comes from an exporter that does not report them.
    let probe = sent & (flags::ACK | flags::RST) == 0 && (sent | back) != 0;
    if probe && !accepted { Outcome::Failure } else { Outcome::Unknown }
}

fn udp(record: &FlowRecord) -> Outcome {
    if record.reverse.packets > 0 {
        return Outcome::Success;
    }
    let (from, to) = (record.key.initiator_port, record.key.responder_port);
    // A late answer of a server looks like a contact from its port to the client's high one; browsers try
    // QUIC wherever TLS works and take silence for a no; a time client that is cut off tries one server of
    // its pool after the other; traceroute counts up from 33434 expecting no answer.
    let answer = from < 1024 && to >= 1024;
    let expects_none = to == 443 || to == 123 || (33_434..=33_534).contains(&to);
    if answer || expects_none || record.forward.packets > UDP_PROBE_PACKETS_MAX {
        Outcome::Unknown
    } else {
        Outcome::Failure
    }
}

fn echo(record: &FlowRecord) -> Outcome {
    match record.icmp {
        Some((8 | 128, _)) if record.reverse.packets > 0 => Outcome::Success,
        Some((8 | 128, _)) => Outcome::Failure,
        _ => Outcome::Unknown,
    }
}

/// Whether an address stands for many: multicast, broadcast, unspecified.
pub(crate) fn is_group(address: &Address) -> bool {
    match address.as_v4() {
        Some([first, _, _, last]) => first >= 224 || first == 0 || last == 255,
        None => address.0[0] == 0xff || address.0 == [0; 16],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_common::testing::RecordBuilder;

    fn tcp_outcome(packets: u64, sent: u16, back: u16) -> Outcome {
        Outcome::of(
            &RecordBuilder::tcp("10.0.0.5:40000", "10.0.0.6:22")
                .packets(packets, 1)
                .flags(sent, back)
                .build(),
        )
    }

    #[test]
    fn a_connection_succeeds_when_the_handshake_is_answered() {
        let (syn, ack, rst, fin) = (flags::SYN, flags::ACK, flags::RST, flags::FIN);
        assert_eq!(tcp_outcome(3, syn | ack, syn | ack), Outcome::Success);
        assert_eq!(tcp_outcome(2, syn | rst, syn | ack), Outcome::Success); // half-open scan, open port
        assert_eq!(tcp_outcome(1, syn, rst | ack), Outcome::Failure);
        assert_eq!(tcp_outcome(3, syn, 0), Outcome::Failure);
        assert_eq!(tcp_outcome(1, fin, rst | ack), Outcome::Failure);
        assert_eq!(tcp_outcome(1, 0, rst), Outcome::Failure);
    }

    #[test]
    fn what_one_record_cannot_tell_is_unknown() {
        let (syn, ack, rst) = (flags::SYN, flags::ACK, flags::RST);
        assert_eq!(tcp_outcome(1, syn | ack, 0), Outcome::Unknown); // backscatter
        assert_eq!(tcp_outcome(5, ack, ack), Outcome::Unknown); // joined in the middle
        assert_eq!(tcp_outcome(1, rst, 0), Outcome::Unknown);
        assert_eq!(tcp_outcome(1, 0, 0), Outcome::Unknown); // no flags reported
        assert_eq!(tcp_outcome(9, syn | ack, 0), Outcome::Success); // only one direction is seen
    }

    #[test]
    fn datagrams_without_answer_fail_unless_none_is_expected() {
        let lone = |from: &str, to: &str| Outcome::of(&RecordBuilder::udp(from, to).unanswered().build());
        assert_eq!(lone("10.0.0.5:40000", "10.0.0.6:161"), Outcome::Failure);
        assert_eq!(lone("10.0.0.5:40000", "10.0.0.6:443"), Outcome::Unknown);
        assert_eq!(lone("10.0.0.5:40000", "10.0.0.6:123"), Outcome::Unknown);
        assert_eq!(lone("10.0.0.5:40000", "10.0.0.6:33434"), Outcome::Unknown);
        assert_eq!(lone("10.0.0.5:53", "10.0.0.6:40000"), Outcome::Unknown);
        let stream = RecordBuilder::udp("10.0.0.5:40000", "10.0.0.6:514").unanswered();
        assert_eq!(Outcome::of(&stream.clone().packets(3, 0).build()), Outcome::Failure);
        assert_eq!(Outcome::of(&stream.packets(4, 0).build()), Outcome::Unknown);
        assert_eq!(
            Outcome::of(&RecordBuilder::echo("10.0.0.5", "10.0.0.6").unanswered().build()),
            Outcome::Failure
        );
        assert_eq!(Outcome::of(&RecordBuilder::echo("fd00::5", "fd00::6").build()), Outcome::Success);
    }
}
