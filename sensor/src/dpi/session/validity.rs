//! Whether an acknowledgement, a timestamp or a RST is what the connection's state lets a receiver accept.

use super::{Outcome, Refused, Segment, Session, State, StreamEvent, distance, is_after, is_before};
use weir_common::record::tcp_flags::{ACK, RST};

/// Seconds after which a timestamp says nothing any more (RFC 7323 section 5.5).
const TIMESTAMP_SECONDS_MAX: u32 = 24 * 24 * 3600;

impl Session {
    /// Whether a segment acknowledges what its receiver may have sent; told otherwise.
    pub(super) fn check_ack(&mut self, segment: &Segment) -> Outcome {
        if !segment.has(ACK) {
            return Ok(());
        }
        let (_, other) = Self::ends_of(segment);
        let (end, ack) = (&self.ends[other], segment.acknowledgement);
        if ack == end.acknowledged || (is_after(ack, end.acknowledged) && !is_after(ack, end.limit)) {
            return Ok(());
        }
        let is_late = is_before(ack, end.acknowledged);
        // An older one may come late, by a window at most.
        if is_late && (end.window == 0 || !is_before(ack, end.acknowledged.wrapping_sub(end.window))) {
            return Ok(());
        }
        let refuses_syn = self.state == State::SynSent
            && !segment.is_to_server
            && segment.has(RST)
            && ack == end.first.wrapping_add(1);
        if !is_late && refuses_syn {
            return Ok(());
        }
        self.refuse(StreamEvent::BadAck)
    }

    /// The same, and another kind beside it.
    pub(super) fn check_ack_or(&mut self, segment: &Segment, event: StreamEvent) -> Outcome {
        self.check_ack(segment).or_else(|_| self.refuse(event))
    }

    /// Whether the connection's timestamps let a segment pass; told otherwise.
    pub(super) fn check_timestamp(&mut self, segment: &Segment) -> Outcome {
        if !self.flags.timestamps {
            return Ok(());
        }
        match self.judge_timestamp(segment) {
            Judged::Bad => self.refuse(StreamEvent::BadTimestamp),
            _ => Ok(()),
        }
    }

    /// Takes note of a timestamp.
    pub(super) fn note_timestamp(&mut self, segment: &Segment) {
        let (Some((timestamp, _)), true) = (segment.timestamps, self.flags.timestamps) else { return };
        let judged = self.judge_timestamp(segment);
        let (own, _) = Self::ends_of(segment);
        let end = &mut self.ends[own];
        let is_next = segment.sequence == end.next;
        if segment.may_have_zero_timestamp {
            end.has_zero_timestamp = false;
        }
        match judged {
            Judged::Bad => self.odd(StreamEvent::BadTimestamp),
            Judged::First => end.timestamp = timestamp,
            Judged::Good => {
                if is_next {
                    end.timestamp = timestamp;
                }
                end.timestamp_at = segment.second;
            }
        }
    }

    fn judge_timestamp(&self, segment: &Segment) -> Judged {
        let (own, _) = Self::ends_of(segment);
        let end = &self.ends[own];
        let Some((timestamp, _)) = segment.timestamps else { return Judged::Good };
        let is_next = segment.sequence == end.next;
        if timestamp == 0 && !segment.may_have_zero_timestamp {
            return Judged::Bad;
        }
        if segment.may_have_zero_timestamp && end.has_zero_timestamp && is_next {
            return Judged::First;
        }
        let is_unknown = end.timestamp_at == 0 && self.flags.midstream;
        let at = if is_unknown { segment.second } else { end.timestamp_at };
        let is_old = segment.second > at.saturating_add(TIMESTAMP_SECONDS_MAX);
        let is_behind = distance(timestamp, end.timestamp) < 0;
        let is_candidate = is_behind || (end.timestamp != 0 && is_old);
        if is_candidate && !(is_next && is_old) { Judged::Bad } else { Judged::Good }
    }

    /// Whether a RST is one that its receiver accepts: of the next number, as RFC 5961 section 3 wants it.
    pub(super) fn check_rst(&mut self, segment: &Segment) -> Outcome {
        self.check_timestamp(segment)?;
        if segment.len > 0 {
            self.odd(StreamEvent::RstWithData);
        }
        if segment.acknowledgement != 0 {
            self.check_ack_or(segment, StreamEvent::RstInvalidAck)?;
        }
        let (own, other) = Self::ends_of(segment);
        if segment.is_signed {
            self.ends[other].was_reset = true;
        }
        if segment.sequence == self.ends[own].next { Ok(()) } else { Err(Refused) }
    }
}

/// What is to be made of a timestamp.
enum Judged {
    Good,
    /// The first one after a handshake with 0, which is believed.
    First,
    Bad,
}
