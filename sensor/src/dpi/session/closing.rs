//! Connections that end, from the first FIN on.
//!
//! The server's FIN counts in its next number, the client's does not: so Suricata has it, and which segments are odd
//! depends on it.

use super::{CLIENT, Outcome, SERVER, Segment, Session, State, StreamEvent, is_after, is_before};
use weir_common::record::tcp_flags::{ACK, FIN, RST, SYN};

impl Session {
    /// Looks at what every closing connection has in common; whether the segment is dealt with.
    fn close(&mut self, segment: &Segment) -> Result<bool, super::Refused> {
        if segment.has(RST) {
            self.check_rst(segment)?;
            self.become_(State::Closed);
            self.after_rst(segment);
            return Ok(true);
        }
        if segment.has(SYN) && !segment.has(FIN) {
            self.refuse(StreamEvent::SynOnShutdown)?;
        }
        if segment.has(FIN | ACK) {
            self.check_timestamp(segment)?;
        }
        Ok(false)
    }

    /// Whether a segment's bytes came before, in part or altogether; told.
    fn is_retransmission(&mut self, segment: &Segment) -> bool {
        let (own, _) = Self::ends_of(segment);
        let (end, behind) = (&self.ends[own], segment.end());
        let is_again = segment.len > 0
            && (!is_after(behind, end.acknowledged)
                || !is_after(behind, end.next)
                || (is_before(segment.sequence, end.acknowledged) && is_after(behind, end.acknowledged)));
        if is_again {
            self.odd(StreamEvent::Retransmission);
        }
        is_again
    }

    /// The number that a segment without bytes has next, the FIN not counted.
    fn without_fin(&self, own: usize) -> u32 {
        let next = self.ends[own].next;
        if own == SERVER { next.wrapping_sub(1) } else { next }
    }

    /// The segment shows that the other end has sent more than was seen.
    fn catch_up(&mut self, segment: &Segment, slack: u32) {
        let (_, other) = Self::ends_of(segment);
        let receiver = &mut self.ends[other];
        if is_before(receiver.next.wrapping_sub(slack), segment.acknowledgement) {
            receiver.next = segment.acknowledgement;
        }
    }

    fn take_window(&mut self, segment: &Segment) {
        let (_, other) = Self::ends_of(segment);
        let receiver = &mut self.ends[other];
        receiver.window = segment.scaled(receiver.scale);
    }

    fn take_ack(&mut self, segment: &Segment) {
        let (_, other) = Self::ends_of(segment);
        if segment.has(ACK) {
            self.ends[other].acknowledge(segment.acknowledgement);
        }
    }

    /// The server has sent FIN.
    pub(super) fn fin_wait_1(&mut self, segment: &Segment) -> Outcome {
        if self.close(segment)? {
            return Ok(());
        }
        if segment.has(FIN) {
            self.fin_of_fin_wait_1(segment)
        } else if segment.has(ACK) {
            self.ack_of_fin_wait_1(segment)
        } else {
            Ok(())
        }
    }

    fn fin_of_fin_wait_1(&mut self, segment: &Segment) -> Outcome {
        let (own, _) = Self::ends_of(segment);
        let mut is_again = self.is_retransmission(segment);
        let before = self.ends[own].next.wrapping_sub(1);
        let is_same_fin = !segment.is_to_server
            && segment.has(ACK)
            && segment.sequence == before
            && segment.acknowledgement == self.ends[CLIENT].acknowledged;
        is_again |= is_same_fin;
        let edge = self.ends[own].right_edge();
        if !is_again && (is_before(segment.sequence, before) || is_after(segment.sequence, edge)) {
            return self.refuse(StreamEvent::Fin1FinWrongSeq);
        }
        self.check_ack_or(segment, StreamEvent::Fin1InvalidAck)?;
        self.note_timestamp(segment);
        if !is_again {
            self.become_(if segment.has(ACK) { State::TimeWait } else { State::Closing });
            self.take_window(segment);
        }
        if segment.is_to_server || !is_again || !segment.has(ACK) {
            self.catch_up(segment, 1);
            let counts = if segment.is_to_server && segment.has(ACK) { 0 } else { 1 };
            let sender = &mut self.ends[own];
            if sender.next.wrapping_sub(counts) == segment.sequence {
                sender.next = segment.end();
            }
            self.take_ack(segment);
        }
        Ok(())
    }

    fn ack_of_fin_wait_1(&mut self, segment: &Segment) -> Outcome {
        let (own, other) = Self::ends_of(segment);
        let is_again = self.is_retransmission(segment);
        self.check_ack_or(segment, StreamEvent::Fin1InvalidAck)?;
        // The client's ACK of bytes before the FIN says nothing of that.
        let is_of_fin = !segment.is_to_server || segment.acknowledgement == self.ends[other].next;
        if !is_again && is_of_fin {
            if is_after(segment.end(), self.ends[own].limit) && !self.flags.midstream {
                return self.refuse(StreamEvent::Fin1AckWrongSeq);
            }
            if segment.sequence == self.without_fin(own) {
                self.become_(State::FinWait2);
            }
            self.take_window(segment);
        }
        self.note_timestamp(segment);
        self.catch_up(segment, 1);
        if segment.sequence == self.without_fin(own) {
            self.ends[own].next = segment.end();
        }
        self.take_ack(segment);
        self.note_sacks(segment);
        self.ends[other].allow_more();
        Ok(())
    }

    /// The server's FIN was acknowledged.
    pub(super) fn fin_wait_2(&mut self, segment: &Segment) -> Outcome {
        if self.close(segment)? {
            return Ok(());
        }
        if segment.has(FIN) {
            self.fin_of_fin_wait_2(segment)
        } else if segment.has(ACK) {
            self.ack_of_fin_wait_2(segment)
        } else {
            Ok(())
        }
    }

    fn fin_of_fin_wait_2(&mut self, segment: &Segment) -> Outcome {
        let (own, other) = Self::ends_of(segment);
        let (sender, receiver) = (&self.ends[own], &self.ends[other]);
        let is_same_fin = segment.sequence == sender.next.wrapping_sub(1)
            && segment.acknowledgement == receiver.acknowledged;
        let (next, edge) = (sender.next, sender.right_edge());
        let is_again = is_same_fin || self.is_retransmission(segment);
        if !is_again && (is_before(segment.sequence, next) || is_after(segment.sequence, edge)) {
            return self.refuse(StreamEvent::Fin2FinWrongSeq);
        }
        self.check_ack_or(segment, StreamEvent::Fin2InvalidAck)?;
        if !is_again {
            self.become_(State::TimeWait);
            if segment.is_to_server && segment.sequence == next {
                self.ends[own].next = segment.end();
            }
            self.take_window(segment);
        }
        self.note_timestamp(segment);
        self.catch_up(segment, 0);
        self.take_ack(segment);
        Ok(())
    }

    fn ack_of_fin_wait_2(&mut self, segment: &Segment) -> Outcome {
        let (own, other) = Self::ends_of(segment);
        let is_again = self.is_retransmission(segment);
        self.check_ack_or(segment, StreamEvent::Fin2InvalidAck)?;
        if !is_again {
            if is_after(segment.end(), self.ends[own].limit) && !self.flags.midstream {
                return self.refuse(StreamEvent::Fin2AckWrongSeq);
            }
            self.take_window(segment);
        }
        self.note_timestamp(segment);
        let sender = &mut self.ends[own];
        if sender.next == segment.sequence {
            sender.next = segment.end();
        }
        self.take_ack(segment);
        self.note_sacks(segment);
        self.ends[other].allow_more();
        Ok(())
    }

    /// Both have sent FIN, before either was acknowledged.
    pub(super) fn closing(&mut self, segment: &Segment) -> Outcome {
        if self.close(segment)? || !segment.has(ACK) {
            return Ok(());
        }
        let (own, _) = Self::ends_of(segment);
        let is_again = self.is_retransmission(segment);
        if segment.sequence != self.ends[own].next {
            return self.refuse(StreamEvent::ClosingAckWrongSeq);
        }
        self.check_ack_or(segment, StreamEvent::ClosingInvalidAck)?;
        if !is_again {
            self.become_(State::TimeWait);
            let client = &mut self.ends[CLIENT];
            client.window = segment.scaled(client.scale);
        }
        self.note_timestamp(segment);
        self.catch_up(segment, 0);
        self.take_ack(segment);
        Ok(())
    }

    /// The client has sent FIN.
    pub(super) fn close_wait(&mut self, segment: &Segment) -> Outcome {
        if self.close(segment)? || !segment.has(FIN | ACK) {
            return Ok(());
        }
        let (own, _) = Self::ends_of(segment);
        let is_again = self.is_retransmission(segment);
        let end = &self.ends[own];
        let (is_before_next, edge) = (is_before(segment.sequence, end.next), end.right_edge());
        let is_acknowledged = segment.len > 0 && !is_after(segment.end(), end.acknowledged);
        if segment.has(FIN) {
            if !is_again && (is_before_next || is_after(segment.sequence, edge)) {
                return self.refuse(StreamEvent::CloseWaitFinOutOfWindow);
            }
        } else if is_acknowledged {
            return self.refuse(StreamEvent::CloseWaitBeforeLastAck);
        } else if is_after(segment.sequence, edge) {
            return self.refuse(StreamEvent::CloseWaitAckOutOfWindow);
        }
        self.check_ack_or(segment, StreamEvent::CloseWaitInvalidAck)?;
        if !is_again {
            if segment.has(FIN) && !segment.is_to_server {
                self.become_(State::LastAck);
            }
            self.take_window(segment);
        }
        self.note_timestamp(segment);
        self.catch_up(segment, 0);
        let sender = &mut self.ends[own];
        if !segment.has(FIN) && segment.sequence == sender.next {
            sender.next = segment.end();
        }
        self.take_ack(segment);
        Ok(())
    }

    /// Both have sent FIN, the client first.
    pub(super) fn last_ack(&mut self, segment: &Segment) -> Outcome {
        if segment.has(FIN) && !segment.has(RST) {
            return Ok(());
        }
        if self.close(segment)? || !segment.has(ACK) || !segment.is_to_server {
            return Ok(());
        }
        let is_again = self.is_retransmission(segment);
        self.check_ack_or(segment, StreamEvent::LastAckInvalidAck)?;
        if !is_again {
            match segment.sequence.wrapping_sub(self.ends[CLIENT].next).cast_signed() {
                ..0 => {}
                // With its FIN counted, or not.
                0 | 1 => self.become_(State::Closed),
                2.. => return self.refuse(StreamEvent::LastAckWrongSeq),
            }
            self.take_window(segment);
        }
        self.note_timestamp(segment);
        self.catch_up(segment, 0);
        self.take_ack(segment);
        Ok(())
    }

    /// Both have sent FIN, the server first.
    pub(super) fn time_wait(&mut self, segment: &Segment) -> Outcome {
        if segment.has(FIN) && !segment.has(RST) {
            return Ok(());
        }
        if self.close(segment)? || !segment.has(ACK) {
            return Ok(());
        }
        let (own, _) = Self::ends_of(segment);
        let is_again = self.is_retransmission(segment);
        let ahead = segment.sequence.wrapping_sub(self.without_fin(own));
        if !is_again && ahead > 1 {
            if !segment.is_to_server && segment.len > 0 && segment.sequence == self.ends[own].acknowledged {
                return Ok(());
            }
            return self.refuse(StreamEvent::TimeWaitWrongSeq);
        }
        self.check_ack_or(segment, StreamEvent::TimeWaitInvalidAck)?;
        if !is_again {
            self.become_(State::Closed);
            self.take_window(segment);
        }
        self.note_timestamp(segment);
        self.catch_up(segment, 0);
        self.take_ack(segment);
        Ok(())
    }

    /// The connection is over. Where it was reset in a way that its ends may not have accepted, it goes on as it stood.
    pub(super) fn closed(&mut self, segment: &Segment) -> Outcome {
        let (own, other) = Self::ends_of(segment);
        if segment.has(RST) || self.ends[own].was_reset || !self.ends[other].was_reset {
            return Ok(());
        }
        let before = self.before;
        if before != State::Closed {
            self.dispatch(before, segment)?;
        }
        if self.state == State::Closed {
            self.state = before;
        }
        Ok(())
    }
}
