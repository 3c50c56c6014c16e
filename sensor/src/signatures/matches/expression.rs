//! Regular expressions by PCRE2: the one place that calls it, and the only `unsafe` of the signatures.
//!
//! In: an expression's bytes and Suricata's flags, then bytes to search. Out: where it is found, or that the
//! search was given up. An expression is compiled when rules are loaded, so that its faults are known; machine
//! code is made of it when it is first used, because most of a rule set's expressions never are. Match limits
//! are Suricata's, whatever an expression asks for: the two programs give up at the same places.

#![allow(unsafe_code)]

use pcre2_sys::*;
use std::ptr::{self, NonNull};
use std::sync::Once;

/// Most calls of PCRE2's matching function per search; a search that needs more is given up.
pub(crate) const MATCH_CALLS_MAX: u32 = 3500;
/// Deepest backtracking per search, where no machine code is used; a search that needs more is given up.
pub(crate) const BACKTRACKING_DEPTH_MAX: u32 = 1500;

/// What PCRE2 answers when an expression names a group that `no_auto_capture` took away.
const NO_SUCH_GROUP: i32 = 115;

/// How an expression is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) is_caseless: bool,
    pub(super) is_multi_line: bool,
    pub(super) is_dot_all: bool,
    pub(super) is_extended: bool,
    pub(super) is_anchored: bool,
    pub(super) is_dollar_end_only: bool,
    pub(super) is_ungreedy: bool,
    /// Plain groups do not capture, unless the expression refers to one.
    pub(super) is_without_captures: bool,
}

/// A compiled expression.
pub(super) struct Expression {
    code: NonNull<pcre2_code_8>,
    machine_code: Once,
}

// SAFETY: PCRE2 documents compiled code as read-only and usable by several threads at once. The one change
// after compiling, making machine code, happens inside `machine_code`, before which nobody gets past it.
unsafe impl Send for Expression {}
// SAFETY: as above.
unsafe impl Sync for Expression {}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expression").finish_non_exhaustive()
    }
}

impl Drop for Expression {
    fn drop(&mut self) {
        // SAFETY: `code` is from pcre2_compile and nobody else frees it.
        unsafe { pcre2_code_free_8(self.code.as_ptr()) }
    }
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Searched {
    Found {
        start: usize,
        end: usize,
        /// The first group, if the expression has one and it took part.
        group: Option<(usize, usize)>,
    },
    NotFound,
    /// A limit was reached, or PCRE2 failed otherwise.
    GivenUp,
}

impl Expression {
    /// Compiles; an error says at which byte of the pattern and why.
    pub(super) fn compile(pattern: &[u8], flags: Flags) -> Result<Expression, (usize, String)> {
        let mut options = 0;
        for (is_set, option) in [
            (flags.is_caseless, PCRE2_CASELESS),
            (flags.is_multi_line, PCRE2_MULTILINE),
            (flags.is_dot_all, PCRE2_DOTALL),
            (flags.is_extended, PCRE2_EXTENDED),
            (flags.is_anchored, PCRE2_ANCHORED),
            (flags.is_dollar_end_only, PCRE2_DOLLAR_ENDONLY),
            (flags.is_ungreedy, PCRE2_UNGREEDY),
            (flags.is_without_captures, PCRE2_NO_AUTO_CAPTURE),
        ] {
            options |= if is_set { option } else { 0 };
        }
        match compile(pattern, options) {
            Err((NO_SUCH_GROUP, ..)) if flags.is_without_captures => {
                compile(pattern, options & !PCRE2_NO_AUTO_CAPTURE)
            }
            other => other,
        }
        .map_err(|(number, at)| (at, message(number)))
    }

    /// How many groups capture.
    pub(super) fn captures(&self) -> u32 {
        let mut count = 0u32;
        // SAFETY: PCRE2_INFO_CAPTURECOUNT writes one u32, which `count` is.
        unsafe {
            pcre2_pattern_info_8(
                self.code.as_ptr(),
                PCRE2_INFO_CAPTURECOUNT,
                ptr::from_mut(&mut count).cast(),
            );
        }
        count
    }

    /// Searches `bytes`, whose beginning the expression's `^` means, at `from` or later.
    pub(super) fn find(&self, bytes: &[u8], from: usize, searcher: &mut Searcher) -> Searched {
        if from > bytes.len() {
            return Searched::NotFound;
        }
        let Some(Searching { data, context }) = searcher.memory else { return Searched::GivenUp };
        self.machine_code.call_once(|| {
            // Where it cannot be made, PCRE2 interprets the expression.
            // SAFETY: `code` is valid; `call_once` keeps every other thread from using it meanwhile.
            unsafe { pcre2_jit_compile_8(self.code.as_ptr(), PCRE2_JIT_COMPLETE) };
        });
        // An empty slice's pointer is not one that may be read from, which PCRE2 has done in the past.
        let subject = if bytes.is_empty() { [0u8].as_ptr() } else { bytes.as_ptr() };
        // SAFETY: `subject` is readable for `bytes.len()` bytes and `from` lies within; code, match data and
        // context are valid, and the latter two are this thread's alone, by the mutable borrow.
        let answer = unsafe {
            pcre2_match_8(self.code.as_ptr(), subject, bytes.len(), from, 0, data.as_ptr(), context.as_ptr())
        };
        match answer {
            PCRE2_ERROR_NOMATCH => Searched::NotFound,
            answer if answer < 0 => Searched::GivenUp,
            // Zero says that there were more groups than the match data has room for.
            answer => {
                // Zero says that there were more groups than room.
                let pairs = if answer == 0 { PAIRS } else { answer.unsigned_abs().min(PAIRS) };
                // SAFETY: the match data was made with room for PAIRS pairs, and after a match as many of them are set as
                // the answer says, all where it is zero.
                let pairs = unsafe {
                    std::slice::from_raw_parts(pcre2_get_ovector_pointer_8(data.as_ptr()), 2 * pairs as usize)
                };
                let [[start, end], groups @ ..] = pairs.as_chunks::<2>().0 else { return Searched::GivenUp };
                searcher.groups = [None; GROUPS_MAX];
                for (group, [start, end]) in searcher.groups.iter_mut().zip(groups) {
                    *group = (*start != usize::MAX && *end <= bytes.len()).then_some((*start, *end));
                }
                let (start, end) = (*start, *end);
                Searched::Found { start, end, group: searcher.groups[0] }
            }
        }
    }
}

/// Groups that are asked for, as many as Suricata takes values from.
pub(super) const GROUPS_MAX: usize = 8;
/// Pairs of positions that are asked for: the whole match and its groups.
const PAIRS: u32 = 1 + GROUPS_MAX as u32;

/// What a search needs and a thread keeps.
pub(super) struct Searcher {
    memory: Option<Searching>,
    /// Where the groups of the last match are.
    pub(super) groups: [Option<(usize, usize)>; GROUPS_MAX],
}

#[derive(Clone, Copy)]
struct Searching {
    data: NonNull<pcre2_match_data_8>,
    context: NonNull<pcre2_match_context_8>,
}

// SAFETY: both parts are plain memory that no thread but the one holding the mutable borrow uses.
unsafe impl Send for Searcher {}

impl Default for Searcher {
    /// Without memory for it, every search is given up.
    fn default() -> Searcher {
        // SAFETY: both calls take a null pointer for the default allocator, and answer null when it fails.
        let (data, context) = unsafe {
            (
                NonNull::new(pcre2_match_data_create_8(PAIRS, ptr::null_mut())),
                NonNull::new(pcre2_match_context_create_8(ptr::null_mut())),
            )
        };
        match (data, context) {
            (Some(data), Some(context)) => {
                // SAFETY: `context` is valid.
                unsafe {
                    pcre2_set_match_limit_8(context.as_ptr(), MATCH_CALLS_MAX);
                    pcre2_set_depth_limit_8(context.as_ptr(), BACKTRACKING_DEPTH_MAX);
                }
                Searcher { memory: Some(Searching { data, context }), groups: [None; GROUPS_MAX] }
            }
            (data, context) => {
                free(data, context);
                Searcher { memory: None, groups: [None; GROUPS_MAX] }
            }
        }
    }
}

impl Drop for Searcher {
    fn drop(&mut self) {
        if let Some(Searching { data, context }) = self.memory.take() {
            free(Some(data), Some(context));
        }
    }
}

impl std::fmt::Debug for Searcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Searcher").finish_non_exhaustive()
    }
}

fn free(data: Option<NonNull<pcre2_match_data_8>>, context: Option<NonNull<pcre2_match_context_8>>) {
    // SAFETY: both functions accept null; what is not null came from the matching `create` and is freed once.
    unsafe {
        pcre2_match_data_free_8(data.map_or(ptr::null_mut(), NonNull::as_ptr));
        pcre2_match_context_free_8(context.map_or(ptr::null_mut(), NonNull::as_ptr));
    }
}

/// The error is PCRE2's number and the byte of the pattern.
fn compile(pattern: &[u8], options: u32) -> Result<Expression, (i32, usize)> {
    let (mut number, mut at) = (0, 0);
    let start = if pattern.is_empty() { [0u8].as_ptr() } else { pattern.as_ptr() };
    // SAFETY: `start` is readable for the pattern's length; `number` and `at` are written to; a null context
    // means the defaults.
    let code = unsafe {
        pcre2_compile_8(start, pattern.len(), options, &raw mut number, &raw mut at, ptr::null_mut())
    };
    match NonNull::new(code) {
        Some(code) => Ok(Expression { code, machine_code: Once::new() }),
        None => Err((number, at)),
    }
}

fn message(number: i32) -> String {
    let mut text = [0u8; 256];
    // SAFETY: PCRE2 writes at most `text.len()` bytes.
    let length = unsafe { pcre2_get_error_message_8(number, text.as_mut_ptr(), text.len()) };
    let text = text.get(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(pattern: &[u8], flags: Flags, bytes: &[u8]) -> Searched {
        Expression::compile(pattern, flags).unwrap().find(bytes, 0, &mut Searcher::default())
    }

    #[test]
    fn what_is_found_is_placed_and_what_is_wrong_is_explained() {
        let plain = Flags::default();
        assert_eq!(search(b"b+", plain, b"abbc"), Searched::Found { start: 1, end: 3, group: None });
        assert_eq!(
            search(b"b(c)(d)", plain, b"abcd"),
            Searched::Found { start: 1, end: 4, group: Some((2, 3)) }
        );
        assert_eq!(search(b"b(x)?", plain, b"ab"), Searched::Found { start: 1, end: 2, group: None });
        assert_eq!(search(b"^$", plain, b""), Searched::Found { start: 0, end: 0, group: None });
        assert_eq!(search(b"", plain, b""), Searched::Found { start: 0, end: 0, group: None });
        assert_eq!(search(b"x", plain, b"\xff\0"), Searched::NotFound);
        let (at, reason) = Expression::compile(b"ab(c", plain).unwrap_err();
        assert!(at == 4 && reason.contains("parenthesis"), "{at} {reason}");
    }

    #[test]
    fn a_group_that_is_referred_to_captures_though_captures_are_off() {
        let flags = Flags { is_without_captures: true, ..Flags::default() };
        assert_eq!(Expression::compile(b"(a)b", flags).unwrap().captures(), 0);
        let expression = Expression::compile(b"(a|b)\\1", flags).unwrap();
        assert_eq!(expression.captures(), 1);
        assert_eq!(
            expression.find(b"abb", 0, &mut Searcher::default()),
            Searched::Found { start: 1, end: 3, group: Some((1, 2)) }
        );
    }

    #[test]
    fn a_catastrophic_expression_is_given_up() {
        let expression = Expression::compile(b"(a+)+$", Flags::default()).unwrap();
        let mut searcher = Searcher::default();
        assert_eq!(
            expression.find(&[b"a".repeat(64), b"b".to_vec()].concat(), 0, &mut searcher),
            Searched::GivenUp
        );
        assert!(matches!(expression.find(b"aaa", 0, &mut searcher), Searched::Found { end: 3, .. }));
        assert_eq!(expression.find(b"aaa", 4, &mut searcher), Searched::NotFound);
    }
}
