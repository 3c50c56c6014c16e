//! Conversations segment by segment, and what is odd about each.

use super::*;
use crate::capture::{Frame, LinkType};
use crate::counters::DecodeCounters;
use crate::decode::Decoder;
use std::time::Duration;
use weir_common::record::tcp_flags::PSH;

const CLIENT_FIRST: u32 = 1000;
const SERVER_FIRST: u32 = 5000;

/// A connection under test; numbers are counted from each end's SYN.
struct Talk {
    sessions: Sessions,
    slot: Option<Box<Session>>,
    second: u64,
}

/// What a segment has beside its numbers.
#[derive(Clone, Copy)]
struct With<'a> {
    window: u16,
    options: &'a [u8],
    data: &'a [u8],
}

const PLAIN: With<'static> = With { window: 1000, options: &[], data: &[] };

impl Talk {
    fn new() -> Talk {
        Talk { sessions: Sessions::new(false, false, 0).with_rules(true), slot: None, second: 1 }
    }

    fn midstream() -> Talk {
        Talk { sessions: Sessions::new(false, true, 0).with_rules(true), ..Talk::new() }
    }

    /// Sends a segment with these numbers as they are; names without `stream.`.
    fn raw(&mut self, end: usize, flags: u16, seq: u32, ack: u32, with: With<'_>) -> Vec<&'static str> {
        let addresses = [[10, 0, 0, 1, 10, 0, 0, 2], [10, 0, 0, 2, 10, 0, 0, 1]][end];
        let ports = [[0x30, 0x39, 0, 80], [0, 80, 0x30, 0x39]][end];
        let header_len = 20 + with.options.len();
        let [high, low] = ((20 + header_len + with.data.len()) as u16).to_be_bytes();
        let flags = ((header_len as u16 / 4) << 12 | flags).to_be_bytes();
        let packet = [
            &[0x45, 0, high, low, 0, 0, 0, 0, 64, 6, 0, 0][..],
            &addresses,
            &ports,
            &seq.to_be_bytes(),
            &ack.to_be_bytes(),
            &flags,
            &with.window.to_be_bytes(),
            &[0; 4],
            with.options,
            with.data,
        ]
        .concat();
        let wire_len = packet.len() as u32;
        let frame = Frame { link: LinkType::RAW, data: &packet, wire_len, ..Frame::EMPTY };
        let mut decoder = Decoder::new(1 << 10, Duration::from_secs(1));
        let packet = decoder.decode(&frame, &mut DecodeCounters::default()).unwrap();
        let direction = [Direction::Forward, Direction::Reverse][end];
        let time = Timestamp(self.second * 1_000_000_000);
        let found = self.sessions.see(&mut self.slot, &packet, direction, time);
        found.names().map(|name| name.strip_prefix("stream.").unwrap()).collect()
    }

    fn with(&mut self, end: usize, flags: u16, seq: u32, ack: u32, with: With<'_>) -> Vec<&'static str> {
        let firsts = [CLIENT_FIRST, SERVER_FIRST];
        let ack = if flags & ACK == 0 { 0 } else { firsts[1 - end] + ack };
        self.raw(end, flags, firsts[end] + seq, ack, with)
    }

    fn send(&mut self, end: usize, flags: u16, seq: u32, ack: u32, data: &[u8]) -> Vec<&'static str> {
        self.with(end, flags, seq, ack, With { data, ..PLAIN })
    }

    /// After a handshake that is in order.
    fn open() -> Talk {
        let mut talk = Talk::new();
        assert!(talk.send(CLIENT, SYN, 0, 0, b"").is_empty());
        assert!(talk.send(SERVER, SYN | ACK, 0, 1, b"").is_empty());
        assert!(talk.send(CLIENT, ACK, 1, 1, b"").is_empty());
        talk
    }

    /// Both have sent ten bytes and acknowledged them.
    fn busy() -> Talk {
        let mut talk = Talk::open();
        assert!(talk.send(CLIENT, ACK | PSH, 1, 1, b"0123456789").is_empty());
        assert!(talk.send(SERVER, ACK | PSH, 1, 11, b"0123456789").is_empty());
        assert!(talk.send(CLIENT, ACK, 11, 11, b"").is_empty());
        talk
    }

    /// The client has sent FIN.
    fn client_closes() -> Talk {
        let mut talk = Talk::busy();
        assert!(talk.send(CLIENT, FIN | ACK, 11, 11, b"").is_empty());
        talk
    }

    /// The server has.
    fn server_closes() -> Talk {
        let mut talk = Talk::busy();
        assert!(talk.send(SERVER, FIN | ACK, 11, 11, b"").is_empty());
        talk
    }
}

type Case<'a> = (usize, u16, u32, u32, &'a [u8], &'a [&'a str]);

/// What single segments find in one and the same state.
#[track_caller]
fn table(talk: fn() -> Talk, cases: &[Case<'_>]) {
    for (end, flags, seq, ack, data, names) in cases {
        assert_eq!(talk().send(*end, *flags, *seq, *ack, data), *names, "{end} {flags:x} {seq} {ack}");
    }
}

#[test]
fn a_connection_in_order_is_not_odd() {
    let mut talk = Talk::client_closes();
    assert!(talk.send(SERVER, ACK, 11, 12, b"").is_empty());
    assert!(talk.send(SERVER, FIN | ACK, 11, 12, b"").is_empty());
    assert!(talk.send(CLIENT, ACK, 12, 12, b"").is_empty());
    assert_eq!(talk.slot.as_ref().unwrap().state, State::Closed);
    let mut talk = Talk::server_closes();
    assert!(talk.send(CLIENT, ACK, 11, 12, b"").is_empty());
    assert_eq!(talk.slot.as_ref().unwrap().state, State::FinWait2);
    assert!(talk.send(CLIENT, FIN | ACK, 11, 12, b"").is_empty());
    assert!(talk.send(SERVER, ACK, 12, 12, b"").is_empty());
    assert_eq!(talk.slot.as_ref().unwrap().state, State::Closed);
}

#[test]
fn without_a_beginning_only_its_end_is_odd() {
    table(
        Talk::new,
        &[
            (CLIENT, RST, 0, 0, b"", &["rst_but_no_session"]),
            (CLIENT, FIN | ACK, 0, 0, b"", &["fin_but_no_session"]),
            (CLIENT, ACK, 0, 0, b"data", &[]),
            (SERVER, SYN | ACK, 0, 1, b"", &[]),
        ],
    );
    assert_eq!(Talk::new().raw(CLIENT, SYN, 1, 1, PLAIN), ["pkt_broken_ack"]);
}

#[test]
fn in_midstream_connections_are_taken_up_where_that_is_wanted() {
    let mut talk = Talk::midstream();
    assert!(talk.send(CLIENT, ACK, 100, 100, b"0123456789").is_empty());
    assert!(talk.send(SERVER, ACK, 100, 110, b"0123456789").is_empty());
    assert_eq!(talk.send(CLIENT, ACK, 50, 110, b"01234"), ["pkt_spurious_retransmission"]);
    assert_eq!(talk.send(CLIENT, ACK, 111, 100_000_000, b"x"), ["est_invalid_ack", "pkt_invalid_ack"]);
    assert!(talk.send(SERVER, SYN | ACK, 0, 1, b"").contains(&"est_synack_resend_with_different_ack"));
    let mut talk = Talk::midstream();
    assert!(talk.send(SERVER, SYN | ACK, 0, 1, b"").is_empty());
    assert!(talk.send(CLIENT, ACK, 1, 1, b"").is_empty());
    assert_eq!(talk.slot.unwrap().state, State::Established);
    let mut talk = Talk::midstream();
    assert!(talk.send(SERVER, FIN | ACK, 5, 1, b"data").is_empty());
    assert_eq!(talk.slot.unwrap().state, State::FinWait1);
}

#[test]
fn what_answers_a_syn_is_judged() {
    fn syn() -> Talk {
        let mut talk = Talk::new();
        talk.send(CLIENT, SYN, 0, 0, b"");
        talk
    }
    table(
        syn,
        &[
            (SERVER, SYN | ACK, 0, 1, b"", &[]),
            (SERVER, SYN | ACK, 0, 2, b"", &["3whs_synack_with_wrong_ack"]),
            (CLIENT, SYN | ACK, 0, 1, b"", &["3whs_synack_in_wrong_direction"]),
            (CLIENT, SYN, 0, 0, b"", &[]),
        ],
    );
    // A RST answers with the number 0.
    assert!(syn().raw(SERVER, RST | ACK, 0, CLIENT_FIRST + 1, PLAIN).is_empty());
    assert_eq!(
        syn().raw(SERVER, RST | ACK, 0, CLIENT_FIRST + 9, PLAIN),
        ["rst_invalid_ack", "pkt_invalid_ack"]
    );
    // Whose server goes on all the same.
    let mut talk = syn();
    talk.raw(SERVER, RST | ACK, 0, CLIENT_FIRST + 1, PLAIN);
    assert_eq!(talk.send(SERVER, SYN | ACK, 0, 1, b""), ["suspected_rst_inject"]);
    // Both begin.
    fn split() -> Talk {
        let mut talk = syn();
        assert!(talk.send(SERVER, SYN, 0, 0, b"").is_empty());
        talk
    }
    table(
        split,
        &[
            (CLIENT, SYN | ACK, 0, 1, b"", &[]),
            (CLIENT, SYN | ACK, 0, 2, b"", &["4whs_synack_with_wrong_ack"]),
            (CLIENT, SYN | ACK, 1, 1, b"", &["4whs_synack_with_wrong_syn"]),
        ],
    );
    fn split_answered() -> Talk {
        let mut talk = split();
        talk.send(CLIENT, SYN | ACK, 0, 1, b"");
        talk
    }
    table(
        split_answered,
        &[
            (SERVER, ACK, 1, 1, b"", &[]),
            (SERVER, ACK, 2, 1, b"", &["4whs_wrong_seq"]),
            (SERVER, ACK, 1, 10_000, b"", &["4whs_invalid_ack", "pkt_invalid_ack"]),
        ],
    );
}

#[test]
fn what_answers_a_syn_ack_is_judged() {
    fn syn_ack() -> Talk {
        let mut talk = Talk::new();
        talk.send(CLIENT, SYN, 0, 0, b"");
        talk.send(SERVER, SYN | ACK, 0, 1, b"");
        talk
    }
    table(
        syn_ack,
        &[
            (CLIENT, ACK, 1, 1, b"data", &[]),
            (CLIENT, ACK, 1, 2, b"", &["3whs_right_seq_wrong_ack_evasion"]),
            (CLIENT, ACK, 2, 2, b"", &["3whs_wrong_seq_wrong_ack"]),
            // Segments between were lost.
            (CLIENT, ACK, 5, 1, b"data", &[]),
            (SERVER, ACK, 1, 1, b"data", &[]),
            (SERVER, SYN | ACK, 0, 1, b"", &[]),
            (SERVER, SYN | ACK, 0, 2, b"", &["3whs_synack_resend_with_different_ack"]),
            (CLIENT, SYN | ACK, 0, 1, b"", &["3whs_synack_toserver_on_syn_recv"]),
            (CLIENT, SYN, 0, 0, b"", &[]),
            (CLIENT, SYN, 1, 0, b"", &["3whs_syn_resend_diff_seq_on_syn_recv"]),
            (SERVER, SYN, 0, 0, b"", &["3whs_syn_toclient_on_syn_recv"]),
            (CLIENT, FIN | ACK, 1, 1, b"", &[]),
            (CLIENT, FIN | ACK, 1, 9000, b"", &["fin_invalid_ack", "pkt_invalid_ack"]),
        ],
    );
    // Each of several SYN/ACKs may be answered, up to a limit.
    let mut talk = syn_ack();
    for other in 1..=5 {
        assert!(talk.send(SERVER, SYN | ACK, other, 1, b"").is_empty());
    }
    assert!(talk.send(SERVER, SYN | ACK, 3, 1, b"").is_empty());
    assert_eq!(talk.send(SERVER, SYN | ACK, 6, 1, b""), ["3whs_synack_flood"]);
    assert!(talk.send(CLIENT, ACK, 1, 4, b"").is_empty());
    assert_eq!(talk.slot.unwrap().ends[SERVER].first, SERVER_FIRST + 3);
}

#[test]
fn data_of_a_syn_that_is_not_acknowledged_is_odd() {
    let fast = With { options: &[34, 4, 1, 2], data: b"0123456789", ..PLAIN };
    for (ack, names) in
        [(11, &[][..]), (1, &["3whs_synack_tfo_data_ignored"]), (5, &["3whs_synack_with_wrong_ack"])]
    {
        let mut talk = Talk::new();
        assert!(talk.with(CLIENT, SYN, 0, 0, fast).is_empty());
        assert_eq!(talk.send(SERVER, SYN | ACK, 0, ack, b""), names, "{ack}");
    }
}

#[test]
fn segments_of_established_connections_are_judged() {
    let spurious = "pkt_spurious_retransmission";
    table(
        Talk::busy,
        &[
            (CLIENT, ACK, 11, 11, b"more", &[]),
            (CLIENT, ACK, 1, 11, b"0123456789", &[spurious]),
            (CLIENT, ACK, 1, 11, b"01234567890", &[]),
            // A keep-alive, and one that acknowledges too little.
            (CLIENT, ACK, 10, 11, b"", &[]),
            (CLIENT, ACK, 9, 11, b"", &["est_pkt_before_last_ack"]),
            (CLIENT, ACK, 11, 5, b"", &[]),
            (CLIENT, ACK, 11, 1012, b"", &["est_invalid_ack", "pkt_invalid_ack"]),
            (SERVER, ACK, 11, 11, &[0; 1000], &[]),
            (SERVER, ACK, 11, 11, &[0; 1001], &["est_packet_out_of_window"]),
            (SERVER, SYN | ACK, 0, 1, b"", &["est_synack_resend_with_different_ack"]),
            (SERVER, SYN | ACK, 0, 11, b"", &["est_synack_resend"]),
            (SERVER, SYN | ACK, 1, 11, b"", &["est_synack_resend_with_diff_seq"]),
            (CLIENT, SYN | ACK, 0, 11, b"", &["est_synack_toserver"]),
            (CLIENT, SYN, 0, 0, b"", &["est_syn_resend"]),
            (CLIENT, SYN, 1, 0, b"", &["est_syn_resend_diff_seq"]),
            (SERVER, SYN, 0, 0, b"", &["est_syn_toclient"]),
            (CLIENT, RST, 11, 0, b"", &[]),
            (CLIENT, RST | ACK, 11, 11, b"bye", &["rst_with_data"]),
            (CLIENT, RST | ACK, 11, 2000, b"", &["rst_invalid_ack", "pkt_invalid_ack"]),
            (CLIENT, FIN | ACK, 11, 11, b"bye", &[]),
            (CLIENT, FIN | ACK, 11, 2000, b"", &["fin_invalid_ack", "pkt_invalid_ack"]),
            (CLIENT, FIN | ACK, 10, 11, b"", &["fin_out_of_window"]),
            (SERVER, FIN | ACK, 1012, 11, b"", &["fin_out_of_window"]),
            (CLIENT, FIN | SYN | ACK, 11, 11, b"", &["fin_syn"]),
        ],
    );
    // The handshake's last ACK may have been lost behind this place.
    assert!(Talk::open().send(SERVER, SYN | ACK, 0, 1, b"").is_empty());
}

#[test]
fn a_window_is_not_shrunk_by_segments_from_nowhere() {
    for (window, ack, names) in
        [(900, 61, &["pkt_bad_window_update"][..]), (950, 61, &[]), (900, 11, &[]), (1000, 61, &[])]
    {
        let mut talk = Talk::busy();
        assert_eq!(talk.with(CLIENT, ACK, 50, ack, With { window, ..PLAIN }), names, "{window} {ack}");
    }
}

#[test]
fn what_acknowledges_a_probe_is_not_out_of_window() {
    /// The client's window is closed, and full.
    fn full() -> Talk {
        let mut talk = Talk::busy();
        assert!(talk.send(SERVER, ACK, 11, 11, &[b'x'; 1000]).is_empty());
        assert!(talk.with(CLIENT, ACK, 11, 1011, With { window: 0, ..PLAIN }).is_empty());
        talk
    }
    let mut talk = full();
    assert!(talk.send(SERVER, ACK, 1011, 11, b"x").is_empty());
    assert_eq!(talk.with(CLIENT, ACK, 11, 1012, With { window: 500, ..PLAIN }), ["est_ack_zwp_data"]);
    assert_eq!(full().send(SERVER, ACK, 1011, 11, b"xy"), ["est_packet_out_of_window"]);
}

#[test]
fn timestamps_do_not_go_back() {
    let stamp =
        |value: u32, echo: u32| [&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat();
    let open = || {
        let mut talk = Talk::new();
        for (end, flags, seq, ack, options) in [
            (CLIENT, SYN, 0, 0, stamp(100, 0)),
            (SERVER, SYN | ACK, 0, 1, stamp(900, 100)),
            (CLIENT, ACK, 1, 1, stamp(101, 900)),
        ] {
            assert!(talk.with(end, flags, seq, ack, With { options: &options, ..PLAIN }).is_empty());
        }
        talk
    };
    let (same, back, none) = (stamp(101, 900), stamp(99, 900), stamp(0, 900));
    let with = |options| With { options, data: b"data", ..PLAIN };
    assert!(open().with(CLIENT, ACK, 1, 1, with(&same)).is_empty());
    assert_eq!(open().with(CLIENT, ACK, 1, 1, with(&back)), ["pkt_invalid_timestamp"]);
    assert_eq!(open().with(CLIENT, ACK, 1, 1, with(&none)), ["pkt_invalid_timestamp"]);
    assert_eq!(open().with(CLIENT, RST, 1, 0, with(&back)), ["pkt_invalid_timestamp"]);
    // Unless they are so old that they say nothing.
    let mut talk = open();
    talk.second += 24 * 24 * 3600 + 1;
    assert!(talk.with(CLIENT, ACK, 1, 1, With { options: &back, ..PLAIN }).is_empty());
    // A SYN/ACK echoes the SYN's, one of them at least.
    for (echo, names) in [(100, &[][..]), (200, &[]), (300, &["pkt_invalid_timestamp"])] {
        let mut talk = Talk::new();
        for value in [100, 200] {
            talk.with(CLIENT, SYN, 0, 0, With { options: &stamp(value, 0), ..PLAIN });
        }
        let options = stamp(900, echo);
        assert_eq!(talk.with(SERVER, SYN | ACK, 0, 1, With { options: &options, ..PLAIN }), names, "{echo}");
    }
    let mut talk = Talk::new();
    let floods: Vec<_> = (0..12)
        .map(|value| talk.with(CLIENT, SYN, 0, 0, With { options: &stamp(value + 1, 0), ..PLAIN }))
        .collect();
    assert_eq!(floods.iter().filter(|names| **names == ["3whs_syn_flood"]).count(), 1);
}

#[test]
fn a_signed_reset_whose_sender_goes_on_was_injected() {
    let signed = With { options: &[&[19, 18][..], &[7; 16], &[1, 1]].concat(), ..PLAIN };
    let mut talk = Talk::busy();
    assert!(talk.with(SERVER, RST, 11, 0, signed).is_empty());
    assert_eq!(talk.send(SERVER, ACK, 11, 11, b"data"), ["suspected_rst_inject"]);
    assert!(talk.send(SERVER, ACK, 15, 11, b"data").is_empty());
}

#[test]
fn segments_after_the_clients_fin_are_judged() {
    table(
        Talk::client_closes,
        &[
            (SERVER, ACK, 11, 11, b"rest", &[]),
            (SERVER, ACK, 2000, 11, b"", &["closewait_ack_out_of_window"]),
            (SERVER, FIN | ACK, 2000, 11, b"", &["closewait_fin_out_of_window"]),
            (SERVER, ACK, 11, 2000, b"", &["closewait_invalid_ack", "pkt_invalid_ack"]),
            (CLIENT, SYN, 0, 0, b"", &["shutdown_syn_resend"]),
            (CLIENT, RST, 11, 0, b"", &[]),
        ],
    );
    // Bytes that were acknowledged since their sender spoke last.
    let mut talk = Talk::open();
    talk.send(CLIENT, ACK, 1, 1, b"0123456789");
    talk.send(CLIENT, FIN | ACK, 11, 1, b"");
    talk.send(SERVER, ACK, 1, 11, b"");
    let names = ["closewait_pkt_before_last_ack", "pkt_retransmission", "pkt_spurious_retransmission"];
    assert_eq!(talk.send(CLIENT, ACK, 1, 1, b"0123456789"), names);
    fn both() -> Talk {
        let mut talk = Talk::client_closes();
        assert!(talk.send(SERVER, FIN | ACK, 11, 12, b"").is_empty());
        talk
    }
    table(
        both,
        &[
            (CLIENT, ACK, 12, 12, b"", &[]),
            // The server has acknowledged the FIN.
            (CLIENT, ACK, 13, 12, b"", &[]),
            (CLIENT, ACK, 14, 12, b"", &["lastack_ack_wrong_seq"]),
            (CLIENT, ACK, 12, 2000, b"", &["lastack_invalid_ack", "pkt_invalid_ack"]),
            (CLIENT, SYN, 0, 0, b"", &["shutdown_syn_resend"]),
        ],
    );
}

#[test]
fn segments_after_the_servers_fin_are_judged() {
    table(
        Talk::server_closes,
        &[
            (CLIENT, ACK, 11, 12, b"rest", &[]),
            (CLIENT, ACK, 2000, 12, b"", &["fin1_ack_wrong_seq"]),
            (CLIENT, FIN | ACK, 5, 12, b"", &["fin1_fin_wrong_seq"]),
            (CLIENT, FIN | ACK, 11, 3000, b"", &["fin1_invalid_ack", "pkt_invalid_ack"]),
            (CLIENT, ACK, 11, 3000, b"", &["fin1_invalid_ack", "pkt_invalid_ack"]),
            (CLIENT, SYN, 0, 0, b"", &["shutdown_syn_resend"]),
        ],
    );
    fn acknowledged() -> Talk {
        let mut talk = Talk::server_closes();
        talk.send(CLIENT, ACK, 11, 12, b"");
        talk
    }
    table(
        acknowledged,
        &[
            (CLIENT, ACK, 11, 12, b"rest", &[]),
            (CLIENT, ACK, 2000, 12, b"", &["fin2_ack_wrong_seq"]),
            (CLIENT, FIN | ACK, 5, 12, b"", &["fin2_fin_wrong_seq"]),
            (CLIENT, FIN | ACK, 11, 3000, b"", &["fin2_invalid_ack", "pkt_invalid_ack"]),
            (CLIENT, SYN, 0, 0, b"", &["shutdown_syn_resend"]),
        ],
    );
    fn over() -> Talk {
        let mut talk = acknowledged();
        assert!(talk.send(CLIENT, FIN | ACK, 11, 12, b"").is_empty());
        talk
    }
    table(
        over,
        &[
            (SERVER, ACK, 12, 12, b"", &[]),
            (SERVER, ACK, 14, 12, b"", &["timewait_ack_wrong_seq"]),
            (SERVER, ACK, 12, 3000, b"", &["timewait_invalid_ack", "pkt_invalid_ack"]),
            (CLIENT, SYN, 0, 0, b"", &["shutdown_syn_resend"]),
        ],
    );
    fn at_once() -> Talk {
        let mut talk = Talk::server_closes();
        assert!(talk.send(CLIENT, FIN, 11, 0, b"").is_empty());
        assert_eq!(talk.slot.as_ref().unwrap().state, State::Closing);
        talk
    }
    table(
        at_once,
        &[
            (CLIENT, ACK, 11, 12, b"", &[]),
            (CLIENT, ACK, 13, 12, b"", &["closing_ack_wrong_seq"]),
            (CLIENT, ACK, 11, 3000, b"", &["closing_invalid_ack", "pkt_invalid_ack"]),
        ],
    );
}

#[test]
fn depth_is_reached_once_for_each_direction() {
    let mut talk = Talk { sessions: Sessions::new(false, false, 10).with_rules(true), ..Talk::new() };
    talk.send(CLIENT, SYN, 0, 0, b"");
    talk.send(SERVER, SYN | ACK, 0, 1, b"");
    talk.send(CLIENT, ACK, 1, 1, b"");
    assert!(talk.send(CLIENT, ACK, 1, 1, b"0123456789").is_empty());
    assert_eq!(talk.send(CLIENT, ACK, 11, 1, b"0"), ["reassembly_depth_reached"]);
    assert!(talk.send(CLIENT, ACK, 12, 1, b"0").is_empty());
    assert_eq!(talk.send(SERVER, ACK, 1, 13, b"01234567890"), ["reassembly_depth_reached"]);
}

#[test]
fn kinds_are_told_once_for_a_flow_where_they_are_wanted() {
    for tells in [false, true] {
        let sessions = Sessions::new(tells, false, 0).with_rules(true);
        let (mut slot, mut events, mut found) = (None, Vec::new(), StreamEvents::NONE);
        found.add(StreamEvent::SeqGap);
        for _ in 0..2 {
            sessions.tell(&mut slot, found, App::Http, Timestamp(1), Direction::Reverse, &mut events);
        }
        assert_eq!(events.len(), usize::from(tells));
    }
    // Nobody asks.
    let mut talk = Talk { sessions: Sessions::new(false, true, 0), ..Talk::new() };
    talk.send(CLIENT, RST, 0, 0, b"");
    assert!(talk.slot.is_none());
}

#[test]
fn who_began_may_turn_out_later() {
    let mut talk = Talk::busy();
    talk.slot.as_mut().unwrap().swap_directions();
    assert_eq!(talk.slot.unwrap().ends[SERVER].first, CLIENT_FIRST);
}

#[test]
fn whatever_comes_nothing_breaks() {
    let mut state = 1u32;
    let mut random = move |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    for midstream in [false, true] {
        for _ in 0..2000 {
            let mut talk = if midstream { Talk::midstream() } else { Talk::new() };
            for _ in 0..20 {
                let end = random(2) as usize;
                let (seq, ack) = (random(40), random(40));
                let near = [u32::MAX - 20, 1000, 5000][random(3) as usize];
                let options: Vec<u8> =
                    (0..4 * random(10)).map(|_| [0, 1, 2, 5, 8, 10][random(6) as usize]).collect();
                let data = vec![0; random(30) as usize];
                let with = With { window: random(3) as u16 * 30, options: &options, data: &data };
                talk.raw(end, random(64) as u16, near.wrapping_add(seq), near.wrapping_add(ack), with);
            }
        }
    }
}
