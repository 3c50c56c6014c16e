//! How a TCP connection goes: states and history as Zeek has them, round trips of the handshake, and what had to be
//! repaired.
//!
//! In: each segment with its end. Sequence numbers are compared as RFC 9293 section 3.4 has it, so they may wrap
//! around; a connection may be picked up in its middle and be seen from one side. What is known of an end begins
//! with its first segment.
//!
//! A segment below the highest sequence number is out of order when it fills a hole that opened less than a round
//! trip (or [`REORDER_US`]) ago, because nobody could have asked for it again by then; otherwise it is a
//! retransmission. Keep-alives (RFC 9293 section 3.8.4) are neither. A duplicate acknowledgement is one without data
//! that repeats number and window of the one before (RFC 5681 section 2) and does not answer a keep-alive; whether
//! data waits for it is not asked, because a capture of one side does not show it.

use super::extra::{Hole, Room};
use super::{AMBIGUOUS, CONTROL, End, Live, NOT_SEEN, known};
use crate::decode::Tcp;
use weir_common::features::ConnectionState;
use weir_common::record::tcp_flags::{ACK, FIN, RST, SYN};

/// What is taken for a round trip where none was seen, in microseconds.
const REORDER_US: u32 = 3000;
/// Sequence numbers that are further apart are another connection's or nonsense.
const JUMP_MAX: i32 = 1 << 30;
/// A SYN or RST so far from what was sent before does not move it.
const SYN_JUMP_MAX: i32 = 1 << 20;

/// States of an end, as Zeek has them.
mod state {
    pub(super) const INACTIVE: u8 = 0;
    pub(super) const SYN_SENT: u8 = 1;
    pub(super) const SYN_ACK_SENT: u8 = 2;
    pub(super) const PARTIAL: u8 = 3;
    pub(super) const ESTABLISHED: u8 = 4;
    pub(super) const CLOSED: u8 = 5;
    pub(super) const RESET: u8 = 6;
}

/// Letters of the history; a letter takes five bits: these four, and the end above them.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Letter {
    Syn,
    SynAck,
    Ack,
    Data,
    Fin,
    Reset,
    Gap,
    Repeat,
    ZeroWindow,
    FinReset,
    ManyFlags,
    Flip,
}

const LETTERS: [u8; 16] = *b"SHADFRGTWIQ^????";
const LETTER_BITS: u32 = 5;
const LETTERS_PER_WORD: u8 = 12;

/// What is noted once for each end.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Once {
    Syn,
    Fin,
    Reset,
    Data,
    Ack,
    FinReset,
    ManyFlags,
}

pub(super) const fn once_bit(side: usize, what: Once) -> u16 {
    1 << (what as usize + 7 * (side & 1))
}

/// The letter at a place, in the case of who sent it.
pub(super) fn letter_of(words: &[u64; 2], at: u8, initiator: usize) -> u8 {
    let word = words[usize::from(at / LETTERS_PER_WORD) & 1];
    let bits = word >> (LETTER_BITS * u32::from(at % LETTERS_PER_WORD)) & 31;
    let letter = LETTERS[(bits & 15) as usize];
    if (bits >> 4) as usize == initiator { letter } else { letter.to_ascii_lowercase() }
}

/// What a segment does, beside its header.
#[derive(Clone, Copy)]
pub(in super::super) struct Segment {
    /// Which of the key's ends sent it.
    pub(in super::super) side: usize,
    /// Whether that is the initiator.
    pub(in super::super) is_initiator: bool,
    /// Octets of payload.
    pub(in super::super) payload: u32,
    /// The low bits of its time in microseconds.
    pub(in super::super) now_us: u32,
    /// Sequence number after the FIN that this end sent before, if it did.
    pub(in super::super) fin_end: Option<u32>,
}

#[inline]
fn ahead(of: u32, from: u32) -> i32 {
    of.wrapping_sub(from).cast_signed()
}

const fn is_power_of_ten(count: u32) -> bool {
    matches!(
        count,
        1 | 10 | 100 | 1000 | 10_000 | 100_000 | 1_000_000 | 10_000_000 | 100_000_000 | 1_000_000_000
    )
}

impl End {
    fn state(&self) -> u8 {
        self.states & 15
    }
}

impl Live {
    fn letter(&mut self, side: usize, letter: Letter) {
        let at = self.letters_len;
        if at < 2 * LETTERS_PER_WORD {
            let bits = letter as u64 | (side as u64 & 1) << 4;
            self.letters[usize::from(at / LETTERS_PER_WORD) & 1] |=
                bits << (LETTER_BITS * u32::from(at % LETTERS_PER_WORD));
            self.letters_len += 1;
        }
    }

    /// Notes what is noted once; whether it was before.
    #[inline]
    fn once(&mut self, side: usize, what: Once, letter: Letter) -> bool {
        let bit = once_bit(side, what);
        let was = self.once & bit != 0;
        if !was {
            self.once |= bit;
            self.letter(side, letter);
        }
        was
    }

    /// The ends have changed places: `initiator` is the key's end that is it now.
    pub(in super::super) fn flipped(&mut self, initiator: usize) {
        self.letter(initiator, Letter::Flip);
    }

    /// Follows a segment.
    #[inline]
    pub(in super::super) fn segment(&mut self, tcp: &Tcp, segment: &Segment, room: &mut Room) {
        let (own, other) = (segment.side & 1, 1 - (segment.side & 1));
        let has = |flags: u16| tcp.flags & flags != 0;
        let is_reset = has(RST);
        // SYN and FIN take a sequence number each; data of a RST is not the connection's.
        let data = if is_reset { 0 } else { segment.payload };
        let end_sequence = tcp
            .sequence
            .wrapping_add(data)
            .wrapping_add(u32::from(has(SYN)))
            .wrapping_add(u32::from(has(FIN)));
        self.begin(tcp, own, end_sequence);
        self.note_history(tcp, segment, end_sequence);
        self.note_window(tcp, own, room);
        if has(SYN | ACK) {
            self.note_handshake(tcp, segment);
        }
        let last = ahead(end_sequence, self.ends[own].next);
        if last <= 0 && segment.payload > 0 && self.state(own) != state::RESET {
            self.note_repeat(own, room);
        }
        self.note_keep_alive(tcp, segment);
        self.note_order(tcp, segment, end_sequence, room);
        self.note_acknowledgement(tcp, segment, room);
        self.advance(own, last, tcp, end_sequence);
        self.follow_state(tcp, segment);
        if has(ACK) && !is_reset {
            self.note_missed(tcp.acknowledgement, other, room);
        }
        let end = &mut self.ends[own];
        end.window = tcp.window;
        if end.known & known::WINDOW == 0 {
            end.initial_window = tcp.window;
            end.known |= known::WINDOW;
        }
    }

    /// Where an end's sequence numbers begin, with its first segment or with a SYN that begins them anew.
    #[inline]
    fn begin(&mut self, tcp: &Tcp, own: usize, end_sequence: u32) {
        let end = &mut self.ends[own];
        if end.known & known::NEXT == 0 {
            // What comes first repeats nothing.
            end.next = tcp.sequence;
            end.known |= known::NEXT;
        } else if tcp.flags & SYN != 0 {
            let jump = ahead(end_sequence, end.next);
            let is_anew = match end.state() {
                state::SYN_SENT | state::SYN_ACK_SENT => jump != 0,
                state::ESTABLISHED | state::PARTIAL | state::RESET => {
                    jump.unsigned_abs() > SYN_JUMP_MAX as u32
                }
                _ => false,
            };
            if is_anew {
                end.next = tcp.sequence;
            }
        }
    }

    #[inline]
    fn note_history(&mut self, tcp: &Tcp, segment: &Segment, end_sequence: u32) {
        let own = segment.side & 1;
        let flags = tcp.flags & CONTROL;
        if flags == 0 {
            if segment.payload > 0 {
                self.once(own, Once::Data, Letter::Data);
            } else if tcp.flags & ACK != 0 {
                self.once(own, Once::Ack, Letter::Ack);
            }
            return;
        }
        if flags.count_ones() > 1 {
            if flags & (FIN | RST) == FIN | RST {
                self.once(own, Once::FinReset, Letter::FinReset);
            } else {
                self.once(own, Once::ManyFlags, Letter::ManyFlags);
            }
            return;
        }
        // Each of the three is noted again when it comes with another sequence number.
        if flags & SYN != 0 {
            let letter = if tcp.flags & ACK != 0 { Letter::SynAck } else { Letter::Syn };
            let is_begun = self.ends[own].next == tcp.sequence;
            if self.once(own, Once::Syn, letter) && is_begun {
                self.letter(own, letter);
            }
        } else if flags & FIN != 0 {
            let is_other = segment.fin_end.is_some_and(|before| before != end_sequence);
            if self.once(own, Once::Fin, Letter::Fin) && is_other {
                self.letter(own, Letter::Fin);
            }
        } else {
            let is_other = self.last_rst != tcp.sequence as u16;
            if self.once(own, Once::Reset, Letter::Reset) && is_other {
                self.letter(own, Letter::Reset);
            }
            self.last_rst = tcp.sequence as u16;
        }
    }

    #[inline]
    fn note_window(&mut self, tcp: &Tcp, own: usize, room: &mut Room) {
        if tcp.window != 0 || tcp.flags & RST != 0 {
            return;
        }
        let states = [self.state(own), self.state(1 - own)];
        let Some(extra) = room.extra(&mut self.extra, &mut self.once) else { return };
        let side = &mut extra.sides[own];
        if tcp.flags & CONTROL == 0 {
            side.trouble.zero_windows = side.trouble.zero_windows.saturating_add(1);
        }
        // After the other end's FIN, or after a RST, it does not matter any more.
        if states[1] != state::CLOSED && states[0] != state::RESET {
            side.zero_windows = side.zero_windows.saturating_add(1);
            if is_power_of_ten(side.zero_windows) {
                self.letter(own, Letter::ZeroWindow);
            }
        }
    }

    /// Round trips: SYN, SYN with ACK, ACK. Of repeated SYNs the last one counts. When a SYN or its answer is repeated
    /// after the first answer, it is not known which one the ACK is for (Karn's algorithm).
    #[inline]
    fn note_handshake(&mut self, tcp: &Tcp, segment: &Segment) {
        let (own, other) = (segment.side & 1, 1 - (segment.side & 1));
        if tcp.flags & RST != 0 || self.client_rtt_us != NOT_SEEN {
            return;
        }
        let is_answered = self.server_rtt_us != NOT_SEEN;
        // Packets of a file may be out of order: a time that goes back is none.
        let elapsed = segment.now_us.wrapping_sub(self.handshake_us);
        let is_time = elapsed <= i32::MAX as u32;
        if tcp.flags & SYN != 0 && is_answered {
            self.client_rtt_us = AMBIGUOUS;
        } else if tcp.flags & (SYN | ACK) == SYN && segment.is_initiator {
            self.handshake_us = segment.now_us;
        } else if tcp.flags & (SYN | ACK) == SYN | ACK {
            let is_answer = !segment.is_initiator
                && self.state(other) == state::SYN_SENT
                && tcp.acknowledgement == self.ends[other].next;
            if is_answer && is_time {
                (self.server_rtt_us, self.handshake_us) = (elapsed, segment.now_us);
            }
        } else if segment.is_initiator && is_answered {
            let is_answer = self.state(own) == state::ESTABLISHED
                && tcp.flags & FIN == 0
                && tcp.sequence == self.ends[own].next
                && tcp.acknowledgement == self.ends[other].next;
            self.client_rtt_us = if is_answer && is_time { elapsed } else { AMBIGUOUS };
        }
    }

    #[cold]
    fn note_repeat(&mut self, own: usize, room: &mut Room) {
        let Some(extra) = room.extra(&mut self.extra, &mut self.once) else { return };
        let side = &mut extra.sides[own];
        side.repeats = side.repeats.saturating_add(1);
        if is_power_of_ten(side.repeats) {
            self.letter(own, Letter::Repeat);
        }
    }

    /// Notes whether an end's last segment is a keep-alive: the last octet again, or nothing, in front of it.
    #[inline]
    fn note_keep_alive(&mut self, tcp: &Tcp, segment: &Segment) {
        let end = &mut self.ends[segment.side & 1];
        end.known &= !known::KEEP_ALIVE;
        if segment.payload <= 1 && tcp.flags & CONTROL == 0 && ahead(tcp.sequence, end.next) == -1 {
            end.known |= known::KEEP_ALIVE;
        }
    }

    /// Tells retransmissions from segments out of order, and notes holes.
    #[inline]
    fn note_order(&mut self, tcp: &Tcp, segment: &Segment, end_sequence: u32, room: &mut Room) {
        if tcp.flags & RST != 0 || end_sequence == tcp.sequence {
            return;
        }
        let delta = ahead(tcp.sequence, self.ends[segment.side & 1].next);
        if delta != 0 && delta.unsigned_abs() < JUMP_MAX as u32 {
            self.note_disorder(tcp, segment, end_sequence, delta, room);
        }
    }

    #[inline(never)]
    fn note_disorder(
        &mut self,
        tcp: &Tcp,
        segment: &Segment,
        end_sequence: u32,
        delta: i32,
        room: &mut Room,
    ) {
        let own = segment.side & 1;
        let is_keep_alive = self.ends[own].known & known::KEEP_ALIVE != 0;
        if is_keep_alive {
            return;
        }
        let round_trip = match (self.server_rtt_us, self.client_rtt_us) {
            (NOT_SEEN, _) => REORDER_US,
            (server, NOT_SEEN | AMBIGUOUS) => server,
            (server, client) => server.saturating_add(client),
        };
        if delta < 0 && self.extra.is_none() && self.repeats[own] < u8::MAX {
            // Without an extra there is no hole that it could fill.
            self.repeats[own] += 1;
            return;
        }
        let next = self.ends[own].next;
        let Some(extra) = room.extra(&mut self.extra, &mut self.once) else { return };
        let side = &mut extra.sides[own];
        if delta > 0 {
            side.hole = Some(Hole { begin: next, end: tcp.sequence, since_us: segment.now_us });
            return;
        }
        let filled =
            side.hole.filter(|hole| ahead(tcp.sequence, hole.end) < 0 && ahead(end_sequence, hole.begin) > 0);
        if let Some(hole) = filled {
            let covers_begin = ahead(tcp.sequence, hole.begin) <= 0;
            let covers_end = ahead(end_sequence, hole.end) >= 0;
            side.hole = match (covers_begin, covers_end) {
                (true, true) => None,
                (true, false) => Some(Hole { begin: end_sequence, ..hole }),
                // What is in front of it is still missing; what may be behind is not followed.
                (false, _) => Some(Hole { end: tcp.sequence, ..hole }),
            };
        }
        let is_out_of_order =
            filled.is_some_and(|hole| segment.now_us.wrapping_sub(hole.since_us) < round_trip);
        let count = match is_out_of_order {
            true => &mut side.trouble.out_of_order,
            false => &mut side.trouble.retransmitted,
        };
        *count = count.saturating_add(1);
    }

    /// Counts an acknowledgement that says what the one before said, and remembers it.
    #[inline]
    fn note_acknowledgement(&mut self, tcp: &Tcp, segment: &Segment, room: &mut Room) {
        let (own, other) = (segment.side & 1, 1 - (segment.side & 1));
        if tcp.flags & ACK == 0 || tcp.flags & RST != 0 {
            return;
        }
        let [own_end, other_end] = [self.ends[own], self.ends[other]];
        let is_duplicate = segment.payload == 0
            && tcp.flags & CONTROL == 0
            && own_end.known & known::ACKED != 0
            && tcp.acknowledgement == own_end.acked
            && tcp.sequence == own_end.next
            && tcp.window == own_end.window
            && tcp.window != 0
            && other_end.known & known::KEEP_ALIVE == 0;
        if is_duplicate && let Some(extra) = room.extra(&mut self.extra, &mut self.once) {
            let count = &mut extra.sides[own].trouble.duplicate_acks;
            *count = count.saturating_add(1);
        }
        let end = &mut self.ends[own];
        end.acked = tcp.acknowledgement;
        end.known |= known::ACKED;
    }

    /// Moves an end's sequence number on.
    #[inline]
    fn advance(&mut self, own: usize, last: i32, tcp: &Tcp, end_sequence: u32) {
        let end = &mut self.ends[own];
        let is_wild = tcp.flags & (SYN | RST) != 0 && last.unsigned_abs() > SYN_JUMP_MAX as u32;
        if last > 0 && end.state() != state::RESET && !is_wild {
            end.next = end_sequence;
        }
    }

    /// Counts what the other end's data lacks although this acknowledgement says that it arrived.
    #[inline]
    fn note_missed(&mut self, acknowledgement: u32, other: usize, room: &mut Room) {
        let beyond = ahead(acknowledgement, self.ends[other].next);
        let has_hole = self.extra.as_ref().is_some_and(|extra| extra.sides[other].hole.is_some());
        if beyond <= 0 && !has_hole {
            return;
        }
        let in_order = |end: &End| {
            matches!(end.state(), state::ESTABLISHED | state::CLOSED)
                || end.states == state::CLOSED << 4 | state::RESET
        };
        if !self.ends.iter().all(in_order) || beyond >= JUMP_MAX {
            return;
        }
        let next = self.ends[other].next;
        let Some(extra) = room.extra(&mut self.extra, &mut self.once) else { return };
        let side = &mut extra.sides[other];
        let mut missed = 0;
        if let Some(hole) = side.hole
            && ahead(acknowledgement, hole.begin) > 0
        {
            let to = if ahead(acknowledgement, hole.end) > 0 { hole.end } else { acknowledgement };
            missed += to.wrapping_sub(hole.begin);
            side.hole = (to != hole.end).then_some(Hole { begin: to, ..hole });
        }
        if beyond > 0 {
            let from = side.missed_to.filter(|to| ahead(*to, next) > 0).unwrap_or(next);
            let more = ahead(acknowledgement, from).max(0).cast_unsigned();
            missed += more;
            if more > 0 {
                side.missed_to = Some(acknowledgement);
            }
        }
        if missed > 0 {
            side.trouble.missed_octets += u64::from(missed);
            side.gaps = side.gaps.saturating_add(1);
            if is_power_of_ten(side.gaps) {
                self.letter(other, Letter::Gap);
            }
        }
    }

    fn set_state(&mut self, side: usize, to: u8) {
        let end = &mut self.ends[side & 1];
        end.states = end.states << 4 | to;
    }

    fn state(&self, side: usize) -> u8 {
        self.ends[side & 1].state()
    }

    /// An end's state by its segment, as Zeek follows it.
    #[inline]
    fn follow_state(&mut self, tcp: &Tcp, segment: &Segment) {
        let (own, other) = (segment.side & 1, 1 - (segment.side & 1));
        let flags = tcp.flags & CONTROL;
        match self.state(own) {
            state::INACTIVE => self.leave_inactive(tcp, segment),
            _ if flags == 0 => {}
            state::SYN_SENT | state::SYN_ACK_SENT => {
                if flags & FIN != 0 {
                    self.set_state(own, state::CLOSED);
                }
                if flags & RST != 0 {
                    self.set_state(own, state::RESET);
                }
            }
            state::ESTABLISHED | state::PARTIAL => {
                let is_late_syn = self.state(own) == state::PARTIAL && self.state(other) == state::INACTIVE;
                if flags & SYN != 0 && is_late_syn && tcp.flags & ACK == 0 {
                    self.set_state(own, state::SYN_SENT);
                }
                if flags & (FIN | RST) == FIN {
                    self.set_state(own, state::CLOSED);
                    if self.ends[other].states == state::CLOSED << 4 | state::RESET {
                        // FIN and then RST was an end in order after all.
                        self.set_state(other, state::CLOSED);
                    }
                }
                if flags & RST != 0 {
                    self.set_state(own, state::RESET);
                }
            }
            state::CLOSED if flags & RST != 0 && self.state(other) != state::CLOSED => {
                self.set_state(own, state::RESET);
            }
            _ => {}
        }
    }

    #[inline(never)]
    fn leave_inactive(&mut self, tcp: &Tcp, segment: &Segment) {
        let (own, other) = (segment.side & 1, 1 - (segment.side & 1));
        let has = |flags: u16| tcp.flags & flags != 0;
        if has(SYN) && segment.is_initiator {
            self.set_state(own, if has(ACK) { state::SYN_ACK_SENT } else { state::SYN_SENT });
        } else if has(SYN) {
            if self.state(other) == state::SYN_SENT {
                self.set_state(other, state::ESTABLISHED);
            }
            self.set_state(own, state::ESTABLISHED);
        }
        if has(FIN) {
            self.set_state(own, state::CLOSED);
        }
        if has(RST) {
            self.set_state(own, state::RESET);
        }
        if self.state(own) != state::INACTIVE {
            return;
        }
        let is_early_ack =
            !segment.is_initiator && segment.payload == 0 && self.state(other) == state::SYN_SENT;
        if is_early_ack {
            // An acknowledgement of the SYN in front of the answer to it.
        } else if has(ACK) && self.state(other) == state::ESTABLISHED {
            self.set_state(own, state::ESTABLISHED);
        } else {
            self.set_state(own, state::PARTIAL);
        }
    }

    /// How the connection went so far, in Zeek's words; `initiator` is the key's end that is it.
    pub(in super::super) fn connection(&self, initiator: usize) -> ConnectionState {
        use state::{CLOSED, ESTABLISHED, INACTIVE, PARTIAL, RESET, SYN_ACK_SENT, SYN_SENT};
        let responder = 1 - (initiator & 1);
        let (from, to) = (self.state(initiator), self.state(responder));
        let is_quiet = |state: u8| matches!(state, INACTIVE | PARTIAL);
        let nothing_sent = !self.sent_data(initiator) && !self.sent_data(responder);
        match (from, to) {
            (SYN_SENT | SYN_ACK_SENT, RESET) => ConnectionState::Rej,
            (RESET, RESET) if nothing_sent => ConnectionState::Rej,
            (from, RESET) if is_quiet(from) => ConnectionState::Rstrh,
            (_, RESET) => ConnectionState::Rstr,
            (RESET, to) if is_quiet(to) => ConnectionState::Rstos0,
            (RESET, _) => ConnectionState::Rsto,
            (CLOSED, CLOSED) => ConnectionState::Sf,
            (CLOSED, to) if is_quiet(to) => ConnectionState::Sh,
            (CLOSED, _) => ConnectionState::S2,
            (from, CLOSED) if is_quiet(from) => ConnectionState::Shr,
            (_, CLOSED) => ConnectionState::S3,
            (SYN_SENT, INACTIVE) => ConnectionState::S0,
            (ESTABLISHED, ESTABLISHED) => ConnectionState::S1,
            _ => ConnectionState::Oth,
        }
    }
}
