//! Connections that carry data, up to the first FIN.

use super::{CLIENT, Outcome, SERVER, Segment, Session, State, StreamEvent, is_after, is_before};
use weir_common::record::tcp_flags::{ACK, FIN, RST, SYN};

impl Session {
    pub(super) fn established(&mut self, segment: &Segment) -> Outcome {
        if segment.has(RST) {
            self.check_rst(segment)?;
            self.become_(State::Closed);
            let (own, other) = Self::ends_of(segment);
            let [sender, receiver] = self.pair(own, other);
            receiver.next = segment.acknowledgement;
            // The server's RST counts in the next number, as its FIN does.
            sender.next = segment.end().wrapping_add(u32::from(!segment.is_to_server));
            sender.window = segment.scaled(sender.scale);
            self.after_rst(segment);
            Ok(())
        } else if segment.has(FIN) {
            self.check_timestamp(segment)?;
            self.first_fin(segment)
        } else if segment.has_all(SYN | ACK) {
            self.syn_ack_of_established(segment)
        } else if segment.has(SYN) {
            self.refuse(match () {
                () if !segment.is_to_server => StreamEvent::SynToClient,
                () if segment.sequence != self.ends[CLIENT].first => StreamEvent::SynOtherSeq,
                () => StreamEvent::SynAgain,
            })
        } else if segment.has(ACK) {
            self.check_timestamp(segment)?;
            self.flags.is_confirmed |= !segment.is_to_server;
            // What is refused here may still show that a RST was somebody else's.
            let _ = self.data(segment);
            Ok(())
        } else {
            Ok(())
        }
    }

    fn syn_ack_of_established(&mut self, segment: &Segment) -> Outcome {
        let [client, server] = &self.ends;
        self.refuse(match () {
            () if segment.is_to_server => StreamEvent::SynAckToServer,
            () if segment.acknowledgement != client.acknowledged => StreamEvent::SynAckOtherAck,
            () if segment.sequence != server.first => StreamEvent::SynAckOtherSeq,
            () if self.flags.is_confirmed => StreamEvent::SynAckAgain,
            // The last ACK of the handshake was lost behind this place.
            () => return Ok(()),
        })
    }

    /// What a RST leaves of the state, however the connection stood.
    pub(super) fn after_rst(&mut self, segment: &Segment) {
        let (own, other) = Self::ends_of(segment);
        if segment.has(ACK) && self.check_ack(segment).is_ok() {
            self.ends[other].acknowledge(segment.acknowledgement);
        }
        self.ends[own].acknowledge(segment.sequence);
        self.note_timestamp(segment);
    }

    fn data(&mut self, segment: &Segment) -> Outcome {
        let (own, other) = Self::ends_of(segment);
        if self.was_probed && segment.acknowledgement == self.ends[other].next.wrapping_add(1) {
            self.odd(StreamEvent::ProbeAcknowledged);
        } else {
            self.check_ack_or(segment, StreamEvent::InvalidAck)?;
        }
        let is_midstream = self.flags.midstream;
        if !segment.is_to_server && is_midstream && std::mem::take(&mut self.flags.midstream_begun) {
            let server = &mut self.ends[SERVER];
            server.window = segment.scaled(server.scale);
            server.allow();
        }
        let [sender, receiver] = self.pair(own, other);
        let end = segment.end();
        let is_keep_alive = segment.len <= 1 && segment.sequence == sender.next.wrapping_sub(1);
        // Where the acknowledgement is ahead of what was seen, bytes before it may still come.
        let fills_hole = is_after(sender.acknowledged, sender.next) && is_after(end, sender.next);
        if !is_keep_alive && is_before(end, sender.acknowledged) && !fills_hole {
            return self.refuse(StreamEvent::BeforeLastAck);
        }
        if segment.len == 1 && segment.sequence == sender.next && sender.window == 0 {
            sender.has_probed = true;
            return Ok(());
        }
        if !is_before(end, sender.next) {
            sender.next = end;
        }
        if is_after(end, sender.limit) && !is_midstream {
            return self.refuse(StreamEvent::OutOfWindow);
        }
        receiver.window = segment.scaled(receiver.scale);
        receiver.acknowledge(segment.acknowledgement);
        self.note_timestamp(segment);
        self.note_sacks(segment);
        self.ends[other].allow_more();
        Ok(())
    }

    pub(super) fn note_sacks(&mut self, segment: &Segment) {
        let (_, other) = Self::ends_of(segment);
        let receiver = &mut self.ends[other];
        for block in segment.sacks() {
            let (acknowledged, limit) = (receiver.acknowledged, receiver.limit);
            receiver.sacks.add(*block, acknowledged, limit);
        }
    }

    /// The first FIN of a connection.
    pub(super) fn first_fin(&mut self, segment: &Segment) -> Outcome {
        self.check_ack_or(segment, StreamEvent::FinInvalidAck)?;
        let (own, other) = Self::ends_of(segment);
        let sender = &self.ends[own];
        if is_before(segment.sequence, sender.acknowledged) || is_after(segment.end(), sender.limit) {
            return self.refuse(StreamEvent::FinOutOfWindow);
        }
        if segment.has(SYN) {
            return self.refuse(StreamEvent::FinSyn);
        }
        self.become_(if segment.is_to_server { State::CloseWait } else { State::FinWait1 });
        let [sender, receiver] = self.pair(own, other);
        sender.next = segment.end().wrapping_add(u32::from(!segment.is_to_server));
        receiver.window = segment.scaled(receiver.scale);
        self.note_timestamp(segment);
        let receiver = &mut self.ends[other];
        if is_before(receiver.next, segment.acknowledgement) {
            receiver.next = segment.acknowledgement;
        }
        if segment.has(ACK) {
            receiver.acknowledge(segment.acknowledgement);
        }
        Ok(())
    }
}
