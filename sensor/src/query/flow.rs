//! To which flow a frame belongs: what the decoder knows and the query stage must not.
//!
//! In: frames. Out: their flows. A query by flow reads on several threads, so each frame is judged by itself
//! first, wherever it is read. Only fragments need others of their datagram: they are judged by the thread that
//! answers, in order of time.
//!
//! Fragments that came before the first one of their datagram were written before their flow was known. They are
//! indexed by their addresses, and the flow's addresses stand in its other frames: so a question by flow is planned
//! twice where there are such fragments, the second time with what a frame of the first plan tells. The flow without
//! ports, which they are of when the first one never comes, is indexed with them, so that the first plan has it.

use super::plan::{Candidate, Plan};
use crate::capture::Frame;
use crate::ring::reader::{BlockFrames, BlockReader};
use crate::ring::summary::{Pairs, pair_of};
use std::time::Duration;
use weir_common::net::{Address, CommunityId};

/// What a frame alone says of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFlow {
    /// It is a packet of this flow.
    Of(CommunityId),
    /// It is one of this flow as far as its bytes go; more of them, where there are more, may say otherwise.
    Cut(CommunityId),
    /// It is a fragment: [`FlowOf::in_order`] knows more.
    Fragment(Fragment),
    /// It is in no flow, or its bytes end too early to say.
    None,
}

/// What a fragment says of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The datagram that it is a part of.
    pub datagram: Datagram,
    /// The flow that it counts for when the first fragment never comes: one without ports.
    pub orphaned: CommunityId,
}

/// What identifies a datagram (RFC 791 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Datagram {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// The identification field.
    pub identification: u32,
    /// The protocol field beside it.
    pub protocol: u8,
}

/// Judges frames by themselves; one per reading thread.
pub type Alone<'a> = Box<dyn FnMut(&Frame<'_>) -> FrameFlow + Send + 'a>;
/// Judges fragments, which it sees in order of time; none: the first one of the datagram has not come yet.
pub type InOrder<'a> = Box<dyn FnMut(&Frame<'_>) -> Option<CommunityId> + 'a>;

/// Where the decoder says to which flow a frame belongs.
pub trait FlowOf {
    /// A judge of frames by themselves.
    fn alone(&self) -> Alone<'_>;
    /// A judge of the fragments that the other could not place.
    fn in_order(&self) -> InOrder<'_>;
    /// How long a fragment waits for the first one of its datagram.
    fn fragment_timeout(&self) -> Duration;
}

/// The addresses of a flow, from the first of its frames that the plan's blocks hold. [`Pairs::None`]: there is none,
/// and then no fragment is the flow's either, since it takes one of these frames to make it so.
pub(super) fn pairs(plan: &Plan, flow: CommunityId, flows: &dyn FlowOf) -> Pairs {
    let (mut alone, mut in_order) = (flows.alone(), flows.in_order());
    let (mut reader, mut frames) = (BlockReader::default(), BlockFrames::default());
    for candidate in &plan.candidates {
        let Candidate { offset, header, .. } = candidate;
        let read = plan.read_of(candidate, &mut |files| reader.open(files, *offset, header, &mut frames));
        // A block that cannot be read is told when it is read for its frames.
        if read.is_err() {
            continue;
        }
        for placed in frames.placed() {
            let head = frames.head_frame(placed);
            let is_of_flow = match alone(&head) {
                FrameFlow::Of(of) | FrameFlow::Cut(of) => of == flow,
                FrameFlow::Fragment(fragment) => in_order(&head) == Some(flow) || fragment.orphaned == flow,
                FrameFlow::None => false,
            };
            if let Some(pair) = pair_of(&head).filter(|_| is_of_flow) {
                return Pairs::Of(pair);
            }
        }
    }
    Pairs::None
}
