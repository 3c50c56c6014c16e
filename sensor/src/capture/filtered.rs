//! A source behind a capture filter, for sources that have none of their own.

use super::bpf::Filter;
use super::config::BURST_FRAMES_MAX;
use super::{BatchEnd, CaptureError, Frame, FrameSource, LinkType, SourceLoss};

/// Hands on the frames that match a pcap-filter(7) expression.
pub struct Filtered {
    source: Box<dyn FrameSource>,
    expression: String,
    /// One program per link type, as they turn up. `None`: the expression says nothing about that link
    /// type's frames, so none matches.
    programs: Vec<(LinkType, Option<Filter>)>,
}

impl Filtered {
    /// Refuses an expression that does not compile for Ethernet.
    pub fn new(source: Box<dyn FrameSource>, expression: &str) -> Result<Filtered, CaptureError> {
        let program = Filter::compile(expression, LinkType::ETHERNET)?;
        let programs = vec![(LinkType::ETHERNET, Some(program))];
        Ok(Filtered { source, expression: expression.to_owned(), programs })
    }
}

impl FrameSource for Filtered {
    fn read_batch(&mut self, each: &mut dyn FnMut(&[Frame<'_>])) -> Result<BatchEnd, CaptureError> {
        let Filtered { source, expression, programs } = self;
        source.read_batch(&mut |frames| {
            for frames in frames.chunks(BURST_FRAMES_MAX) {
                let mut matching = [Frame::EMPTY; BURST_FRAMES_MAX];
                let mut count = 0;
                for frame in frames.iter().filter(|frame| matches(programs, expression, frame)) {
                    matching[count] = *frame;
                    count += 1;
                }
                if count > 0 {
                    each(&matching[..count]);
                }
            }
        })
    }

    fn loss(&mut self) -> SourceLoss {
        self.source.loss()
    }

    fn name(&self) -> &str {
        self.source.name()
    }
}

/// Whether a frame matches the expression, which is compiled for its link type if need be.
fn matches(programs: &mut Vec<(LinkType, Option<Filter>)>, expression: &str, frame: &Frame<'_>) -> bool {
    let known = programs.iter().position(|(link, _)| *link == frame.link);
    let at = known.unwrap_or_else(|| {
        let program = Filter::compile(expression, frame.link);
        if let Err(error) = &program {
            tracing::warn!(link = frame.link.0, "{error}: no frame of this link type matches");
        }
        programs.push((frame.link, program.ok()));
        programs.len() - 1
    });
    programs[at].1.as_ref().is_some_and(|program| program.matches(frame.data, frame.wire_len))
}
