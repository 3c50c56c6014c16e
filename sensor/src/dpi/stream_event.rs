//! What is odd about a TCP stream, under Suricata's names: for rules that ask for it (`stream-event`), and as EVE's
//! `anomaly` events of type `stream`.
//!
//! In: what reassembly noticed, and what [`super::session`] did. Out: a set of kinds for a packet, and of those that a
//! flow was not told of yet an event each, so that a broken or hostile flow fills no disk. Anomalies are off unless
//! `dpi.stream_events` says otherwise, as in Suricata. What is deliberately absent: kinds that only an inline engine or
//! one out of memory has; which they are, `signatures` says.

use super::Event;
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::net::Direction;
use weir_common::time::Timestamp;

macro_rules! stream_events {
    ($($kind:ident $name:literal $about:literal)*) => {
        /// What is odd.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(dead_code, reason = "rules may ask for what nothing here can notice yet")]
        pub(super) enum StreamEvent {
            $(#[doc = $about] $kind,)*
        }

        /// Names by number.
        const NAMES: &[&str] = &[$($name),*];
    };
}

stream_events! {
    HandshakeRightSeqWrongAck "stream.3whs_right_seq_wrong_ack_evasion" "The handshake's last ACK acknowledges something else."
    HandshakeSynAckWrongWay "stream.3whs_synack_in_wrong_direction" "Who sent the SYN answers it."
    HandshakeSynAckOtherAck "stream.3whs_synack_resend_with_different_ack" "A second SYN/ACK acknowledges something else."
    HandshakeSynAckToServer "stream.3whs_synack_toserver_on_syn_recv" "A SYN/ACK comes from the client after the server's."
    HandshakeSynAckWrongAck "stream.3whs_synack_with_wrong_ack" "A SYN/ACK does not acknowledge the SYN."
    HandshakeSynAckFlood "stream.3whs_synack_flood" "More different SYN/ACKs than are kept."
    HandshakeSynFlood "stream.3whs_syn_flood" "More different SYNs than are kept."
    HandshakeFastOpenIgnored "stream.3whs_synack_tfo_data_ignored" "A SYN's data is not acknowledged (RFC 7413)."
    HandshakeSynOtherSeq "stream.3whs_syn_resend_diff_seq_on_syn_recv" "A second SYN begins elsewhere."
    HandshakeSynToClient "stream.3whs_syn_toclient_on_syn_recv" "The server sends a SYN after its SYN/ACK."
    HandshakeWrongSeqWrongAck "stream.3whs_wrong_seq_wrong_ack" "The handshake's last ACK is another connection's."
    SplitSynAckWrongAck "stream.4whs_synack_with_wrong_ack" "Both sent SYNs; the SYN/ACK acknowledges something else."
    SplitSynAckWrongSyn "stream.4whs_synack_with_wrong_syn" "Both sent SYNs; the SYN/ACK has another number than the SYN."
    SplitWrongSeq "stream.4whs_wrong_seq" "Both sent SYNs; the last ACK has a wrong number."
    SplitInvalidAck "stream.4whs_invalid_ack" "Both sent SYNs; the last ACK acknowledges something else."
    CloseWaitAckOutOfWindow "stream.closewait_ack_out_of_window" "After the client's FIN, a segment beyond the window."
    CloseWaitFinOutOfWindow "stream.closewait_fin_out_of_window" "After the client's FIN, a FIN beyond the window."
    CloseWaitBeforeLastAck "stream.closewait_pkt_before_last_ack" "After the client's FIN, bytes that were acknowledged."
    CloseWaitInvalidAck "stream.closewait_invalid_ack" "After the client's FIN, an ACK outside of the window."
    ClosingAckWrongSeq "stream.closing_ack_wrong_seq" "After both FINs, an ACK with a wrong number."
    ClosingInvalidAck "stream.closing_invalid_ack" "After both FINs, an ACK outside of the window."
    OutOfWindow "stream.est_packet_out_of_window" "A segment beyond the window."
    BeforeLastAck "stream.est_pkt_before_last_ack" "A segment before what was acknowledged."
    SynAckAgain "stream.est_synack_resend" "A SYN/ACK comes again after the server has heard the ACK."
    SynAckOtherAck "stream.est_synack_resend_with_different_ack" "A later SYN/ACK acknowledges something else."
    SynAckOtherSeq "stream.est_synack_resend_with_diff_seq" "A later SYN/ACK begins elsewhere."
    SynAckToServer "stream.est_synack_toserver" "A later SYN/ACK comes from the client."
    SynAgain "stream.est_syn_resend" "The SYN comes again."
    SynOtherSeq "stream.est_syn_resend_diff_seq" "A later SYN begins elsewhere."
    SynToClient "stream.est_syn_toclient" "A later SYN comes from the server."
    InvalidAck "stream.est_invalid_ack" "An ACK outside of the window."
    ProbeAcknowledged "stream.est_ack_zwp_data" "The byte of a zero window probe is acknowledged."
    FinInvalidAck "stream.fin_invalid_ack" "The first FIN has an ACK outside of the window."
    Fin1AckWrongSeq "stream.fin1_ack_wrong_seq" "After the server's FIN, a segment beyond the window."
    Fin1FinWrongSeq "stream.fin1_fin_wrong_seq" "After the server's FIN, a FIN outside of the window."
    Fin1InvalidAck "stream.fin1_invalid_ack" "After the server's FIN, an ACK outside of the window."
    Fin2AckWrongSeq "stream.fin2_ack_wrong_seq" "After the server's FIN was acknowledged, a segment beyond the window."
    Fin2FinWrongSeq "stream.fin2_fin_wrong_seq" "After the server's FIN was acknowledged, a FIN outside of the window."
    Fin2InvalidAck "stream.fin2_invalid_ack" "After the server's FIN was acknowledged, an ACK outside of the window."
    FinWithoutSession "stream.fin_but_no_session" "A FIN of a connection whose beginning was not seen."
    FinOutOfWindow "stream.fin_out_of_window" "The first FIN lies outside of the window."
    FinSyn "stream.fin_syn" "A FIN is a SYN as well."
    LastAckWrongSeq "stream.lastack_ack_wrong_seq" "The last ACK has a wrong number."
    LastAckInvalidAck "stream.lastack_invalid_ack" "The last ACK lies outside of the window."
    RstWithoutSession "stream.rst_but_no_session" "A RST of a connection whose beginning was not seen."
    RstInvalidAck "stream.rst_invalid_ack" "A RST has an ACK outside of the window."
    RstWithData "stream.rst_with_data" "A RST has data."
    RstInjected "stream.suspected_rst_inject" "Who is said to have sent a RST goes on."
    TimeWaitWrongSeq "stream.timewait_ack_wrong_seq" "After both FINs were acknowledged, an ACK with a wrong number."
    TimeWaitInvalidAck "stream.timewait_invalid_ack" "After both FINs were acknowledged, an ACK outside of the window."
    SynOnShutdown "stream.shutdown_syn_resend" "A SYN after a FIN."
    BrokenAck "stream.pkt_broken_ack" "An acknowledgement number without the flag."
    BadTimestamp "stream.pkt_invalid_timestamp" "A timestamp before the last one (RFC 7323)."
    BadAck "stream.pkt_invalid_ack" "An ACK outside of the window, in whichever state."
    BadWindowUpdate "stream.pkt_bad_window_update" "A segment from nowhere shrinks the window."
    Retransmission "stream.pkt_retransmission" "While a connection closes, bytes that came before."
    SpuriousRetransmission "stream.pkt_spurious_retransmission" "Bytes that were acknowledged before."
    BeforeBase "stream.reassembly_segment_before_base_seq" "Bytes before those that are still put together."
    DepthReached "stream.reassembly_depth_reached" "Bytes beyond the depth to which streams are inspected."
    SeqGap "stream.reassembly_seq_gap" "Bytes that the receiver acknowledged were never seen."
    OverlapDifferentData "stream.reassembly_overlap_different_data" "Segments overlap, and their content differs."
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamEvents(u64);

const _: () = assert!(NAMES.len() <= u64::BITS as usize);

impl StreamEvents {
    /// Nothing odd.
    pub const NONE: StreamEvents = StreamEvents(0);

    /// Whether nothing is odd.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These and those.
    #[inline]
    #[must_use]
    pub fn and(self, others: StreamEvents) -> StreamEvents {
        StreamEvents(self.0 | others.0)
    }

    /// Suricata's names, `stream.` in front.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(number, _)| self.0 >> number & 1 == 1).map(|(_, name)| *name)
    }

    pub(super) fn add(&mut self, event: StreamEvent) {
        self.0 |= 1 << event as u32;
    }

    /// Adds those, and says which of them are new.
    pub(super) fn add_new(&mut self, others: StreamEvents) -> StreamEvents {
        let new = StreamEvents(others.0 & !self.0);
        self.0 |= others.0;
        new
    }

    /// An event each.
    pub(super) fn anomalies(
        self,
        app: App,
        time: Timestamp,
        direction: Direction,
    ) -> impl Iterator<Item = Event> {
        self.names().map(move |name| {
            let mut body = Vec::with_capacity(64);
            Object::begin(&mut body).text("type", "stream").text("event", name);
            Event { kind: "anomaly", ..Event::new(app, time, direction, body) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_names_what_it_has_and_what_is_new_to_it() {
        let (mut told, mut found) = (StreamEvents::NONE, StreamEvents::NONE);
        assert!(found.is_empty() && found.names().next().is_none());
        found.add(StreamEvent::OverlapDifferentData);
        found.add(StreamEvent::HandshakeRightSeqWrongAck);
        let names = ["stream.3whs_right_seq_wrong_ack_evasion", "stream.reassembly_overlap_different_data"];
        assert_eq!(found.names().collect::<Vec<_>>(), names);
        assert_eq!((told.add_new(found), told.add_new(found)), (found, StreamEvents::NONE));
        assert_eq!(told.and(found), found);
        let bodies: Vec<_> =
            found.anomalies(App::Unknown, Timestamp(1), Direction::Reverse).map(|event| event.body).collect();
        assert_eq!(bodies[1], format!(r#"{{"type":"stream","event":"{}"}}"#, names[1]).into_bytes());
    }

    #[test]
    fn no_name_is_there_twice() {
        let mut names = NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NAMES.len());
    }
}
