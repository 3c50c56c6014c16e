//! Frames on their way out: the last decisions about them, and what they come to.
//!
//! In: frames in order of time, with what is still open about them. Out: those of the answer, in the same order.
//! A fragment may have come before the first one of its datagram, which says whose it is: it waits for that, and
//! what comes after it waits too. Waiting ends with the decoder's timeout, or at [`HELD_BYTES_MAX`]: a fragment then
//! counts for the flow without ports, as the sensor counts it.

use super::Query;
use super::completeness::Shortened;
use super::flow::{Alone, Datagram, FlowOf, FrameFlow, InOrder};
use super::merge::Next;
use super::scan::{Found, Verdict};
use crate::capture::Frame;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use weir_common::time::Timestamp;

/// Most memory of frames that wait, in bytes.
const HELD_BYTES_MAX: usize = 32 << 20;

/// Takes frames in order and gives those of the answer to `each`.
pub(super) struct Given<'g> {
    query: &'g Query,
    flow_of: &'g dyn FlowOf,
    /// Made when the first fragment comes.
    judges: Option<(Alone<'g>, InOrder<'g>)>,
    each: &'g mut dyn FnMut(&Found<'_>) -> io::Result<()>,
    held: VecDeque<Held>,
    held_bytes: usize,
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) shortened: Shortened,
}

/// A frame that waits.
struct Held {
    found: Found<'static>,
    data: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Decided,
    /// Part of the answer if its datagram turns out to be; otherwise if `orphaned`.
    Waits {
        datagram: Datagram,
        orphaned: bool,
    },
}

impl<'g> Given<'g> {
    pub(super) fn new(
        query: &'g Query,
        flow_of: &'g dyn FlowOf,
        each: &'g mut dyn FnMut(&Found<'_>) -> io::Result<()>,
    ) -> Given<'g> {
        let (held, held_bytes) = (VecDeque::new(), 0);
        let shortened = Shortened::default();
        Given { query, flow_of, judges: None, each, held, held_bytes, frames: 0, bytes: 0, shortened }
    }

    /// Takes the next frame.
    pub(super) fn take(&mut self, found: &Found<'_>, verdict: Verdict) -> io::Result<Next> {
        if !self.held.is_empty() {
            let timeout = self.flow_of.fragment_timeout();
            let is_late = |held: &Held| found.frame.time.since(held.found.frame.time) > timeout;
            while self.held.front().is_some_and(is_late) || self.held_bytes > HELD_BYTES_MAX {
                if self.let_go()? == Next::Enough {
                    return Ok(Next::Enough);
                }
            }
            if self.release()? == Next::Enough {
                return Ok(Next::Enough);
            }
        }
        match verdict {
            Verdict::Match if self.held.is_empty() => self.give(found),
            Verdict::Match => {
                self.hold(found, State::Decided);
                Ok(Next::GoOn)
            }
            Verdict::Fragment { passes } => self.take_fragment(found, passes),
        }
    }

    /// No more frames come: what waits is decided by what came.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        while !self.held.is_empty() {
            if self.let_go()? == Next::Enough {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The time of the first frame that waits: nothing from here on was given.
    pub(super) fn waits_from(&self) -> Option<Timestamp> {
        self.held.front().map(|held| held.found.frame.time)
    }

    fn take_fragment(&mut self, found: &Found<'_>, passes: bool) -> io::Result<Next> {
        let flow_of = self.flow_of;
        let (alone, in_order) = self.judges.get_or_insert_with(|| (flow_of.alone(), flow_of.in_order()));
        let FrameFlow::Fragment(fragment) = alone(&found.frame) else { return Ok(Next::GoOn) };
        let Some(of) = in_order(&found.frame) else {
            if passes {
                let orphaned = Some(fragment.orphaned) == self.query.flow;
                self.hold(found, State::Waits { datagram: fragment.datagram, orphaned });
            }
            return Ok(Next::GoOn);
        };
        let is_of_flow = Some(of) == self.query.flow;
        self.decide(fragment.datagram, is_of_flow);
        let next = self.release()?;
        if !is_of_flow || !passes || next == Next::Enough {
            return Ok(next);
        }
        if self.held.is_empty() {
            return self.give(found);
        }
        self.hold(found, State::Decided);
        Ok(Next::GoOn)
    }

    /// The flow of a datagram is known: its fragments that wait are part of the answer, or they are not.
    fn decide(&mut self, datagram: Datagram, is_of_flow: bool) {
        let waits = |held: &Held| matches!(held.state, State::Waits { datagram: of, .. } if of == datagram);
        if is_of_flow {
            self.held.iter_mut().filter(|held| waits(held)).for_each(|held| held.state = State::Decided);
        } else if self.held.iter().any(waits) {
            self.held.retain(|held| !waits(held));
            self.held_bytes = self.held.iter().map(Held::memory_bytes).sum();
        }
    }

    /// Gives what waits for nothing any longer.
    fn release(&mut self) -> io::Result<Next> {
        while self.held.front().is_some_and(|held| held.state == State::Decided) {
            if self.let_go()? == Next::Enough {
                return Ok(Next::Enough);
            }
        }
        Ok(Next::GoOn)
    }

    /// Decides about the frame that has waited longest, and gives it if it is part of the answer.
    fn let_go(&mut self) -> io::Result<Next> {
        let Some(held) = self.held.pop_front() else { return Ok(Next::GoOn) };
        self.held_bytes = self.held_bytes.saturating_sub(held.memory_bytes());
        match held.state {
            State::Waits { orphaned: false, .. } => Ok(Next::GoOn),
            _ => {
                let frame = Frame { data: &held.data, ..held.found.frame };
                self.give(&Found { frame, ..held.found })
            }
        }
    }

    fn hold(&mut self, found: &Found<'_>, state: State) {
        let Found { frame, captured_len, left_out, position } = *found;
        let data = frame.data.to_vec();
        let Frame { time, link, interface, wire_len, .. } = frame;
        let frame = Frame { time, link, interface, wire_len, data: &[] };
        let held = Held { found: Found { frame, captured_len, left_out, position }, data, state };
        self.held_bytes += held.memory_bytes();
        self.held.push_back(held);
    }

    fn give(&mut self, found: &Found<'_>) -> io::Result<Next> {
        self.frames += 1;
        self.bytes += u64::from(found.captured_len);
        self.shortened.count(found.captured_len, found.frame.wire_len, found.left_out);
        (self.each)(found)?;
        if let Some(progress) = &self.query.reading.progress {
            progress.frames.store(self.frames, Ordering::Relaxed);
        }
        let is_enough = self.query.limit.is_some_and(|limit| self.frames >= limit.get());
        Ok(if is_enough { Next::Enough } else { Next::GoOn })
    }
}

impl Held {
    fn memory_bytes(&self) -> usize {
        size_of::<Held>() + self.data.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow::Fragment;
    use super::*;
    use crate::capture::LinkType;
    use std::collections::HashMap;
    use std::num::NonZeroU64;
    use std::time::Duration;
    use weir_common::net::{Address, CommunityId};

    /// Stands in for the decoder: a frame is its datagram's number, whether it is the first fragment, and its flow.
    struct Numbers;

    const MINE: CommunityId = CommunityId([1; 20]);
    const ORPHANED: CommunityId = CommunityId([9; 20]);

    impl FlowOf for Numbers {
        fn alone(&self) -> Alone<'_> {
            Box::new(|frame| {
                let datagram = Datagram {
                    source: Address([0; 16]),
                    destination: Address([0; 16]),
                    identification: frame.data[0].into(),
                    protocol: 17,
                };
                FrameFlow::Fragment(Fragment { datagram, orphaned: ORPHANED })
            })
        }

        fn in_order(&self) -> InOrder<'_> {
            let mut known = HashMap::new();
            Box::new(move |frame| {
                if frame.data[1] == 1 {
                    known.insert(frame.data[0], CommunityId([frame.data[2]; 20]));
                }
                known.get(&frame.data[0]).copied()
            })
        }

        fn fragment_timeout(&self) -> Duration {
            Duration::from_nanos(100)
        }
    }

    /// Time and bytes of each frame; no bytes: it is a match without more. Gives the times that came out.
    fn given(flow: CommunityId, limit: u64, frames: &[(u64, [u8; 3])]) -> (Vec<u64>, Option<u64>) {
        let query = Query { flow: Some(flow), limit: NonZeroU64::new(limit), ..Query::default() };
        let mut out = Vec::new();
        let mut each = |found: &Found<'_>| {
            out.push(found.frame.time.0);
            Ok(())
        };
        let mut given = Given::new(&query, &Numbers, &mut each);
        let mut next = Next::GoOn;
        for (time, data) in frames {
            let data: &[u8] = if *data == [0; 3] { &[] } else { data };
            let verdict = if data.is_empty() { Verdict::Match } else { Verdict::Fragment { passes: true } };
            let (link, time) = (LinkType::ETHERNET, Timestamp(*time));
            let frame = Frame { time, link, interface: 0, wire_len: data.len() as u32, data };
            let captured_len = data.len() as u32;
            let found = Found { frame, captured_len, left_out: None, position: Default::default() };
            next = given.take(&found, verdict).unwrap();
            if next == Next::Enough {
                break;
            }
        }
        if next == Next::GoOn {
            given.finish().unwrap();
        }
        let waits_from = given.waits_from().map(|time| time.0);
        drop(given);
        (out, waits_from)
    }

    const MATCH: [u8; 3] = [0; 3];

    #[test]
    fn fragments_before_the_first_one_come_out_in_their_place() {
        let frames = [(1, MATCH), (2, [7, 0, 0]), (3, MATCH), (4, [7, 1, 1]), (5, [7, 0, 0]), (6, MATCH)];
        assert_eq!(given(MINE, 100, &frames), (vec![1, 2, 3, 4, 5, 6], None));
        // The same datagram of another flow: only the matches are left.
        let mut other = frames;
        other[3].1[2] = 2;
        assert_eq!(given(MINE, 100, &other), (vec![1, 3, 6], None));
    }

    #[test]
    fn a_fragment_whose_first_one_never_comes_is_of_the_flow_without_ports() {
        let frames = [(1, [7, 0, 0]), (2, MATCH), (3, [8, 0, 0])];
        assert_eq!(given(MINE, 100, &frames), (vec![2], None));
        assert_eq!(given(ORPHANED, 100, &frames), (vec![1, 2, 3], None));
    }

    #[test]
    fn nothing_waits_longer_than_the_decoder_does() {
        // At 101 the first has waited for 100, at 102 for more: what came after it is given before the rest comes.
        let frames = [(1, [7, 0, 0]), (2, MATCH), (101, MATCH), (102, MATCH), (103, [7, 1, 1])];
        assert_eq!(given(MINE, 4, &frames), (vec![2, 101, 102, 103], None));
        // Nothing came that would end the waiting at 101, and with 102 all that came before it is given.
        assert_eq!(given(MINE, 2, &frames[..4]), (vec![2, 101], None));
    }

    #[test]
    fn at_the_limit_what_waits_says_from_where_on_nothing_was_given() {
        let frames = [(1, [7, 0, 0]), (2, MATCH), (3, MATCH), (4, [7, 1, 1])];
        assert_eq!(given(MINE, 2, &frames), (vec![1, 2], Some(3)));
    }
}
