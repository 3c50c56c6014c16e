//! Connections that begin: SYN, SYN/ACK, ACK, and everything that is sent in their place.

use super::{CLIENT, End, Flags, Outcome, SERVER, Segment, Session, Settings, State, StreamEvent, is_after};
use weir_common::record::tcp_flags::{ACK, FIN, RST, SYN};

/// Most different SYNs and SYN/ACKs of one connection that are kept (Suricata's `max-syn-queued` and
/// `max-synack-queued`); at the limit a further one is told and not kept.
const SYNS_MAX: usize = 10;
const SYN_ACKS_MAX: usize = 5;
/// Shift of windows where the handshake that agreed on it was not seen: the largest.
const SCALE_UNKNOWN: u8 = 14;

/// What a SYN or SYN/ACK offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    sequence: u32,
    acknowledgement: u32,
    window: u16,
    scale: Option<u8>,
    timestamp: Option<u32>,
    permits_sacks: bool,
    /// Not compared: when it came.
    second: u32,
}

impl Offer {
    fn of(segment: &Segment) -> Offer {
        Offer {
            sequence: segment.sequence,
            acknowledgement: segment.acknowledgement,
            window: segment.window,
            scale: segment.scale,
            timestamp: segment.timestamps.map(|(timestamp, _)| timestamp),
            permits_sacks: segment.permits_sacks,
            second: segment.second,
        }
    }
}

impl Session {
    /// A segment of a connection of which nothing is known.
    pub(super) fn begin(&mut self, segment: &Segment, settings: &Settings) -> Outcome {
        if segment.has(RST) {
            return self.refuse(StreamEvent::RstWithoutSession);
        }
        if segment.has(FIN) && (!settings.midstream || segment.len == 0) {
            return self.refuse(StreamEvent::FinWithoutSession);
        }
        if segment.has_all(SYN | ACK) {
            if settings.midstream {
                self.begin_with_syn_ack(segment);
            }
        } else if segment.has(SYN) && !segment.has(FIN) {
            self.begin_with_syn(segment);
        } else if segment.has(ACK | FIN) && settings.midstream {
            self.begin_midstream(segment);
        }
        Ok(())
    }

    fn begin_with_syn(&mut self, segment: &Segment) {
        self.become_(State::SynSent);
        let (own, other) = Self::ends_of(segment);
        let [client, server] = self.pair(own, other);
        client.begin(segment.sequence);
        client.next = segment.sequence.wrapping_add(1);
        if let Some((timestamp, _)) = segment.timestamps {
            client.timestamp = timestamp;
            client.timestamp_at = segment.second;
            client.has_timestamps = true;
            client.has_zero_timestamp = timestamp == 0;
        }
        server.window = u32::from(segment.window);
        server.scale = segment.scale.unwrap_or(0);
        if segment.is_fast_open {
            client.next = client.next.wrapping_add(segment.len);
        }
        self.flags.offers_scale = segment.scale.is_some();
        self.flags.offers_sacks = segment.permits_sacks;
        self.flags.fast_open = segment.is_fast_open;
    }

    fn begin_with_syn_ack(&mut self, segment: &Segment) {
        self.become_(State::SynReceived);
        self.flags = Flags { midstream: true, midstream_syn_ack: true, ..Flags::default() };
        self.flags.timestamps = segment.timestamps.is_some();
        let (own, other) = Self::ends_of(segment);
        let [server, client] = self.pair(own, other);
        server.begin(segment.sequence);
        server.next = segment.sequence.wrapping_add(1);
        server.window = u32::from(segment.window);
        server.acknowledged = segment.sequence;
        server.allow();
        client.begin(segment.acknowledgement.wrapping_sub(1));
        client.next = segment.acknowledgement;
        client.acknowledged = segment.acknowledgement;
        if let Some(scale) = segment.scale {
            // Who answers with a scale was offered one.
            (client.scale, server.scale) = (scale, SCALE_UNKNOWN);
        }
        self.begin_timestamps(segment);
    }

    fn begin_midstream(&mut self, segment: &Segment) {
        let is_fin = segment.has(FIN);
        self.become_(if is_fin { State::FinWait1 } else { State::Established });
        self.flags = Flags { midstream: true, midstream_begun: true, ..Flags::default() };
        self.flags.timestamps = segment.timestamps.is_some();
        let (own, other) = Self::ends_of(segment);
        let [sender, receiver] = self.pair(own, other);
        (sender.scale, receiver.scale) = (SCALE_UNKNOWN, SCALE_UNKNOWN);
        sender.begin(segment.sequence.wrapping_sub(1));
        sender.next = segment.end().wrapping_add(u32::from(is_fin));
        sender.window = segment.scaled(SCALE_UNKNOWN);
        sender.acknowledged = segment.sequence;
        sender.allow();
        receiver.begin(segment.acknowledgement.wrapping_sub(1));
        receiver.next = segment.acknowledgement;
        receiver.acknowledged = segment.acknowledgement;
        receiver.limit = segment.acknowledgement;
        self.begin_timestamps(segment);
    }

    fn begin_timestamps(&mut self, segment: &Segment) {
        let (own, other) = Self::ends_of(segment);
        let [sender, receiver] = self.pair(own, other);
        if let Some((timestamp, echo)) = segment.timestamps {
            (sender.timestamp, receiver.timestamp) = (timestamp, echo);
            sender.timestamp_at = segment.second;
            (sender.has_zero_timestamp, receiver.has_zero_timestamp) = (timestamp == 0, echo == 0);
        }
    }

    /// After the client's SYN.
    pub(super) fn syn_sent(&mut self, segment: &Segment) -> Outcome {
        if segment.has_all(SYN | ACK) {
            return if segment.is_to_server { self.split_syn_ack(segment) } else { self.syn_ack(segment) };
        }
        if !self.echoes(segment) {
            return self.refuse(StreamEvent::BadTimestamp);
        }
        if segment.has(RST) {
            self.check_rst(segment)?;
            let client = &self.ends[CLIENT];
            let (own, other) = Self::ends_of(segment);
            let takes_back = segment.sequence == client.first
                && segment.window == 0
                && segment.acknowledgement == client.first.wrapping_add(1);
            if own == SERVER || takes_back {
                self.ends[other].was_reset = true;
                self.become_(State::Closed);
                self.offers = Vec::new();
            }
        } else if segment.has(SYN) && !segment.has(FIN) {
            if segment.is_to_server { self.syn_again(segment) } else { self.syn_of_server(segment) }
        }
        Ok(())
    }

    fn syn_ack(&mut self, segment: &Segment) -> Outcome {
        let client = &mut self.ends[CLIENT];
        let is_of_syn = segment.acknowledgement == client.first.wrapping_add(1);
        if segment.is_fast_open || self.flags.fast_open {
            if segment.acknowledgement != client.next {
                if !is_of_syn {
                    return self.refuse(StreamEvent::HandshakeSynAckWrongAck);
                }
                client.next = client.first;
                self.flags.fast_open_ignored = true;
                self.odd(StreamEvent::HandshakeFastOpenIgnored);
            }
            self.flags.fast_open = true;
        } else if !is_of_syn {
            return self.refuse(StreamEvent::HandshakeSynAckWrongAck);
        }
        if !self.echoes(segment) {
            let echo = segment.timestamps.map(|(_, echo)| echo);
            let Some(offer) = self.offers.iter().find(|offer| offer.timestamp == echo).copied() else {
                return self.refuse(StreamEvent::BadTimestamp);
            };
            self.take_syn(&offer);
        }
        self.offers = Vec::new();
        self.take_syn_ack(&Offer::of(segment));
        Ok(())
    }

    /// Whether the server's segment echoes the timestamp of the SYN, if any.
    fn echoes(&self, segment: &Segment) -> bool {
        let client = &self.ends[CLIENT];
        match segment.timestamps {
            Some((_, echo)) if !segment.is_to_server && echo != 0 => {
                if client.has_timestamps {
                    client.timestamp == 0 || echo == client.timestamp
                } else {
                    client.timestamp != 0
                }
            }
            _ => true,
        }
    }

    /// Puts the state after a SYN/ACK.
    fn take_syn_ack(&mut self, offer: &Offer) {
        self.become_(State::SynReceived);
        let Flags { offers_scale, .. } = self.flags;
        let [client, server] = &mut self.ends;
        server.begin(offer.sequence);
        server.next = offer.sequence.wrapping_add(1);
        client.window = u32::from(offer.window);
        self.flags.timestamps |= agree_on_timestamps(client, server, offer.timestamp, offer.second);
        client.acknowledged = offer.acknowledgement;
        server.acknowledged = server.next;
        client.scale = offer.scale.filter(|_| offers_scale).unwrap_or(0);
        server.allow();
        client.allow();
        self.flags.is_split = false;
    }

    /// A SYN/ACK of the client answers a SYN of the server.
    fn split_syn_ack(&mut self, segment: &Segment) -> Outcome {
        if !self.flags.is_split {
            return self.refuse(StreamEvent::HandshakeSynAckWrongWay);
        }
        let Flags { offers_scale, .. } = self.flags;
        let [client, server] = &mut self.ends;
        if segment.acknowledgement != server.first.wrapping_add(1) {
            return self.refuse(StreamEvent::SplitSynAckWrongAck);
        }
        if segment.sequence != client.first {
            return self.refuse(StreamEvent::SplitSynAckWrongSyn);
        }
        client.begin(segment.sequence);
        client.next = segment.sequence.wrapping_add(1);
        server.window = u32::from(segment.window);
        let timestamp = segment.timestamps.map(|(timestamp, _)| timestamp);
        self.flags.timestamps |= agree_on_timestamps(server, client, timestamp, segment.second);
        server.acknowledged = segment.acknowledgement;
        client.acknowledged = client.next;
        server.scale = segment.scale.filter(|_| offers_scale).unwrap_or(0);
        client.allow();
        server.allow();
        self.become_(State::SynReceived);
        Ok(())
    }

    fn syn_of_server(&mut self, segment: &Segment) {
        let server = &mut self.ends[SERVER];
        server.begin(segment.sequence);
        server.next = segment.sequence.wrapping_add(1);
        if let Some((timestamp, _)) = segment.timestamps {
            server.timestamp = timestamp;
            server.timestamp_at = segment.second;
            server.has_timestamps = true;
            server.has_zero_timestamp |= timestamp == 0;
        }
        server.window = u32::from(segment.window);
        server.scale = segment.scale.unwrap_or(0);
        self.flags.is_split = true;
        self.flags.offers_scale = segment.scale.is_some();
        self.flags.offers_sacks = segment.permits_sacks;
    }

    /// The client's SYN again: the last version counts, the others are kept in case that one of them is answered.
    fn syn_again(&mut self, segment: &Segment) {
        let [client, server] = &self.ends;
        let known = Offer {
            sequence: 0,
            acknowledgement: 0,
            window: server.window as u16,
            scale: self.flags.offers_scale.then_some(server.scale),
            timestamp: client.has_timestamps.then_some(client.timestamp),
            permits_sacks: self.flags.offers_sacks,
            second: client.timestamp_at,
        };
        let new = Offer { sequence: 0, acknowledgement: 0, ..Offer::of(segment) };
        if new != known && self.offers.iter().all(|offer| offer.timestamp != known.timestamp) {
            if self.offers.len() < SYNS_MAX {
                self.offers.push(known);
            } else {
                self.odd(StreamEvent::HandshakeSynFlood);
            }
        }
        self.take_syn(&new);
    }

    /// Puts the state after another version of the SYN.
    fn take_syn(&mut self, offer: &Offer) {
        let [client, server] = &mut self.ends;
        if let Some(timestamp) = offer.timestamp {
            client.timestamp = timestamp;
            client.timestamp_at = offer.second;
            client.has_timestamps = true;
        }
        server.window = u32::from(offer.window);
        server.scale = offer.scale.unwrap_or(0);
        self.flags.offers_scale |= offer.scale.is_some();
        self.flags.offers_sacks = offer.permits_sacks;
    }

    /// After the SYN/ACK.
    pub(super) fn syn_received(&mut self, segment: &Segment) -> Outcome {
        if segment.has(RST) {
            self.check_rst(segment)?;
            self.become_(State::Closed);
            self.note_timestamp(segment);
            Ok(())
        } else if segment.has(FIN) {
            self.check_timestamp(segment)?;
            self.first_fin(segment)
        } else if segment.has_all(SYN | ACK) {
            self.syn_ack_again(segment)
        } else if segment.has(SYN) {
            if !segment.is_to_server {
                return self.refuse(StreamEvent::HandshakeSynToClient);
            }
            if segment.sequence != self.ends[CLIENT].first {
                return self.refuse(StreamEvent::HandshakeSynOtherSeq);
            }
            Ok(())
        } else if segment.has(ACK) {
            self.last_of_handshake(segment)
        } else {
            Ok(())
        }
    }

    fn syn_ack_again(&mut self, segment: &Segment) -> Outcome {
        let [client, server] = &self.ends;
        if segment.is_to_server {
            return self.refuse(StreamEvent::HandshakeSynAckToServer);
        }
        if segment.acknowledgement != client.acknowledged {
            return self.refuse(StreamEvent::HandshakeSynAckOtherAck);
        }
        if segment.sequence == server.first {
            return Ok(());
        }
        let offer = Offer::of(segment);
        let is_kept = self.offers.iter().any(|kept| Offer { second: offer.second, ..*kept } == offer);
        if is_kept {
            return Ok(());
        }
        if self.offers.len() >= SYN_ACKS_MAX {
            return self.refuse(StreamEvent::HandshakeSynAckFlood);
        }
        self.offers.insert(0, offer);
        Ok(())
    }

    fn last_of_handshake(&mut self, segment: &Segment) -> Outcome {
        let answered = self.offers.iter().find(|offer| {
            offer.sequence.wrapping_add(1) == segment.acknowledgement
                && offer.acknowledgement == segment.sequence
        });
        if let Some(offer) = answered.copied() {
            self.take_syn_ack(&offer);
        }
        self.check_timestamp(segment)?;
        if self.flags.is_split && !segment.is_to_server {
            return self.last_of_split(segment);
        }
        let may_be_servers = self.flags.midstream_syn_ack || self.flags.fast_open;
        let misses_ack = !segment.is_to_server && !may_be_servers;
        let [client, server] = &self.ends;
        let is_next = segment.sequence == client.next;
        let acknowledges_syn_ack = segment.acknowledgement == server.next;
        if is_next && acknowledges_syn_ack {
            self.note_timestamp(segment);
            self.confirm(segment, self.ends[CLIENT].next);
        } else if is_next {
            return self.refuse(StreamEvent::HandshakeRightSeqWrongAck);
        } else if !segment.is_to_server
            && is_after(segment.sequence, client.next)
            && is_after(segment.acknowledgement, client.acknowledged)
        {
            // What the server sends shows that segments are missing.
            self.note_timestamp(segment);
            let [client, server] = &mut self.ends;
            client.acknowledge(segment.acknowledgement);
            server.next = segment.end();
            client.window = segment.scaled(client.scale);
            client.allow();
            client.window = u32::from(segment.window);
            server.allow();
        } else if is_after(segment.sequence, client.next)
            && !is_after(segment.sequence, client.limit)
            && acknowledges_syn_ack
        {
            self.note_timestamp(segment);
            self.confirm(segment, segment.sequence);
        } else if (misses_ack || self.flags.fast_open)
            && segment.acknowledgement == client.acknowledged
            && segment.sequence == server.next
        {
            let server = &mut self.ends[SERVER];
            server.next = segment.end();
            server.window = segment.scaled(server.scale);
            server.allow();
        } else {
            return self.refuse(StreamEvent::HandshakeWrongSeqWrongAck);
        }
        self.become_(State::Established);
        Ok(())
    }

    /// The client's ACK, or what shows that it was sent. `from` is where its bytes begin.
    fn confirm(&mut self, segment: &Segment, from: u32) {
        let Flags { midstream, midstream_syn_ack, .. } = self.flags;
        let [client, server] = &mut self.ends;
        server.acknowledge(segment.acknowledgement);
        client.next = from.wrapping_add(segment.len);
        server.window = segment.scaled(server.scale);
        server.allow();
        if midstream {
            client.window = segment.scaled(client.scale);
            client.allow();
            if !midstream_syn_ack {
                (client.scale, server.scale) = (SCALE_UNKNOWN, SCALE_UNKNOWN);
            }
        }
    }

    fn last_of_split(&mut self, segment: &Segment) -> Outcome {
        if segment.sequence != self.ends[SERVER].next {
            return self.refuse(StreamEvent::SplitWrongSeq);
        }
        self.check_ack_or(segment, StreamEvent::SplitInvalidAck)?;
        self.note_timestamp(segment);
        let [client, server] = &mut self.ends;
        client.acknowledge(segment.acknowledgement);
        server.next = server.next.wrapping_add(segment.len);
        client.window = segment.scaled(client.scale);
        client.allow();
        self.become_(State::Established);
        Ok(())
    }
}

/// The answerer takes timestamps up, as a SYN/ACK does whose SYN offered them (RFC 7323 section 3.2); whether both
/// ends have them.
fn agree_on_timestamps(asker: &mut End, answerer: &mut End, timestamp: Option<u32>, second: u32) -> bool {
    match timestamp {
        Some(timestamp) if asker.has_timestamps => {
            answerer.timestamp = timestamp;
            answerer.timestamp_at = second;
            answerer.has_zero_timestamp |= timestamp == 0;
            true
        }
        _ => {
            (asker.timestamp, answerer.timestamp) = (0, 0);
            asker.has_zero_timestamp = false;
            false
        }
    }
}
