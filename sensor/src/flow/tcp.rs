//! What TCP's control bits say about a flow: who began it, whether it is established, whether it ended
//! and whether a new one begins under the same ports (RFC 9293 section 3.3.2).
//!
//! Sequence numbers are looked at where ends are concerned only; windows are not, so a forged RST closes a flow.
//! When the end that is said to have sent it goes on sending data, the flow is opened again.

use super::live::{Flow, InitiatorBy, seen};
use crate::decode::Tcp;
use weir_common::net::Direction;
use weir_common::record::{FlowState, tcp_flags};

/// Whether a segment is a SYN that opens a connection.
#[inline]
pub(super) fn is_opening(tcp: &Tcp) -> bool {
    tcp.flags & (tcp_flags::SYN | tcp_flags::ACK | tcp_flags::RST) == tcp_flags::SYN
}

/// Corrects who began the flow, by the handshake; true when the ends changed places.
#[inline]
pub(super) fn correct_initiator<A>(flow: &mut Flow<A>, tcp: &Tcp, direction: Direction) -> bool {
    if tcp.flags & tcp_flags::SYN == 0 {
        return false;
    }
    let (by, initiator) = if tcp.flags & tcp_flags::ACK == 0 {
        (InitiatorBy::Syn, direction)
    } else {
        (InitiatorBy::SynAck, direction.flip())
    };
    if by <= flow.initiator_by {
        return false;
    }
    flow.initiator_by = by;
    if by == InitiatorBy::Syn {
        flow.syn_sequence = tcp.sequence;
    }
    let is_wrong = initiator == Direction::Reverse;
    if is_wrong {
        flow.flip();
    }
    is_wrong
}

/// Follows the connection's state; true when this segment closed it or opened it again. `payload_len` is the
/// segment's data, `None` when the segment is a fragment and its length unknown.
#[inline]
pub(super) fn advance<A>(
    flow: &mut Flow<A>,
    tcp: &Tcp,
    direction: Direction,
    payload_len: Option<usize>,
) -> bool {
    let (own, other) = (direction.index(), direction.flip().index());
    let has = |flags: u16| tcp.flags & flags != 0;
    let before = flow.state;
    if has(tcp_flags::ACK) && (direction == Direction::Reverse || !has(tcp_flags::SYN)) {
        flow.seen[own] |= seen::SPOKE;
        if flow.seen[other] & seen::FIN != 0
            && tcp.acknowledgement.wrapping_sub(flow.fin_end[other]).cast_signed() >= 0
        {
            flow.seen[other] |= seen::FIN_ACKED;
        }
    }
    if flow.state == FlowState::New && flow.seen[own] & flow.seen[other] & seen::SPOKE != 0 {
        flow.state = FlowState::Established;
    }
    if has(tcp_flags::RST) {
        flow.seen[own] |= seen::RST;
    } else if flow.seen[own] & seen::RST != 0 && payload_len.is_some_and(|len| len > 0) {
        // Who resets a connection sends nothing more on it.
        flow.seen[own] &= !seen::RST;
    }
    if has(tcp_flags::FIN)
        && let Some(len) = payload_len
    {
        flow.seen[own] |= seen::FIN;
        flow.fin_end[own] = tcp.sequence.wrapping_add(len as u32).wrapping_add(1);
    }
    let is_reset = (flow.seen[own] | flow.seen[other]) & seen::RST != 0;
    let is_finished = flow.seen[own] & flow.seen[other] & seen::FIN_ACKED != 0;
    if is_reset || is_finished {
        flow.state = FlowState::Closed;
    } else if flow.state == FlowState::Closed {
        flow.state = FlowState::Established;
    }
    (flow.state == FlowState::Closed) != (before == FlowState::Closed)
}
