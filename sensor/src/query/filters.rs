//! The compiled expression, for each link type that comes along.
//!
//! In: an expression, then frames. Out: whether each matches, as tcpdump would say. A link type for which
//! libpcap refuses the expression matches nothing, and is told at the end. Programs are compiled once per
//! question for the usual link type, and once per thread for others.

use crate::capture::bpf::Filter;
use crate::capture::{CaptureError, LinkType};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Link types that an expression is tried with before anything is read.
const TRIED: [LinkType; 3] = [LinkType::ETHERNET, LinkType::RAW, LinkType::LINUX_SLL];

/// A thread's compiled programs; there are few link types, so a list is searched.
#[derive(Clone, Debug)]
pub(super) struct Filters {
    expression: Arc<str>,
    is_empty: bool,
    compiled: Vec<(LinkType, Option<Filter>)>,
    /// Link types refused by any thread.
    refused: Arc<Mutex<BTreeSet<u16>>>,
}

impl Filters {
    /// Compiles an expression. One that is wrong for the commonest link type may be right for another: only
    /// what compiles for none of the usual ones is the asker's mistake.
    pub(super) fn new(expression: &str) -> Result<Filters, CaptureError> {
        let mut filters = Filters {
            expression: expression.into(),
            is_empty: expression.trim().is_empty(),
            compiled: Vec::new(),
            refused: Arc::default(),
        };
        let mut wrong = None;
        for link in TRIED {
            match Filter::compile(expression, link) {
                Ok(filter) => {
                    filters.compiled.push((link, Some(filter)));
                    return Ok(filters);
                }
                Err(error) => wrong = wrong.or(Some(error)),
            }
        }
        wrong.map_or(Ok(filters), Err)
    }

    /// The program for a link type; none: the expression does not apply to it.
    #[inline]
    pub(super) fn program(&mut self, link: LinkType) -> Option<&Filter> {
        let known = self.compiled.iter().position(|(known, _)| *known == link);
        let at = known.unwrap_or_else(|| self.compile(link));
        self.compiled.get(at).and_then(|(_, filter)| filter.as_ref())
    }

    /// Whether every frame matches, whatever its link type.
    #[inline]
    pub(super) fn match_everything(&self) -> bool {
        self.is_empty
    }

    /// Link types of frames that were left out because the expression does not apply to them.
    pub(super) fn refused(&self) -> Vec<u16> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    #[cold]
    fn compile(&mut self, link: LinkType) -> usize {
        let filter = Filter::compile(&self.expression, link).ok();
        if filter.is_none() {
            self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(link.0);
        }
        self.compiled.push((link, filter));
        self.compiled.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_link_type_does_not_have_matches_nothing_there_and_is_told_once() {
        let mut filters = Filters::new("ether host 1:2:3:4:5:6").unwrap();
        let mut other = filters.clone();
        assert!(filters.program(LinkType::ETHERNET).is_some());
        assert!(filters.refused().is_empty());
        assert!(filters.program(LinkType::RAW).is_none() && other.program(LinkType::RAW).is_none());
        assert_eq!(filters.refused(), [LinkType::RAW.0]);
    }

    #[test]
    fn an_expression_that_is_right_for_one_usual_link_type_is_taken() {
        assert!(Filters::new("inbound").is_ok() || Filters::new("ip").is_ok());
        assert!(Filters::new("port and").is_err());
        assert!(Filters::new("").unwrap().match_everything());
    }
}
