//! Many patterns looked for at once.
//!
//! In: patterns, each bytes that are compared with or without regard to ASCII case; then buffers. Out: which
//! patterns occur in a buffer, each once, in no order and without a place. Two matchers do the work and tell the
//! same: libhs where it is installed (five to ten times as fast), an Aho-Corasick automaton where it is not. A set of
//! [few](few) patterns needs neither.
//! Patterns of one byte are kept out of both: they occur everywhere, a matcher tells each time that one does, and
//! `memchr` stops at the first (with nine of them 1.5 ns per byte became 0.5).
//!
//! Deliberately absent: where a pattern occurs and how often, which the evaluation of a signature finds out for the
//! few that remain; and streams: each buffer is looked at alone.
//!
//! Nothing is lost where something fails. A set that libhs refuses is built as an automaton; a scan that libhs
//! gives up tells all patterns of the set and is counted ([`PatternScratch::failures`]); an automaton that cannot be
//! built tells all patterns always.

mod automaton;
mod cache;
mod few;
mod single_bytes;
mod trial;
mod vectorscan;

#[cfg(test)]
mod tests;

pub use cache::Cache;

use automaton::Automaton;
use few::Few;
use single_bytes::SingleBytes;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use vectorscan::Database;

/// Longest pattern, in bytes: of a longer one its first so many are looked for, so that it may be told where it does
/// not occur. libhs takes seconds to compile one of 14,000, and refuses more than 16,000 characters; the language
/// of rules ends at 255.
pub(super) const PATTERN_BYTES_MAX: usize = 1024;

/// What [`library`] says where libhs is not used.
const AHO_CORASICK: &str = "aho-corasick";

/// Which matcher is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The faster one of those that are there.
    #[default]
    Automatic,
    /// libhs; where it is not there, the automaton all the same.
    Vectorscan,
    /// The automaton, even where libhs is there.
    AhoCorasick,
}

/// Loads libhs and tries it out, which takes a few milliseconds. To be called before privileges are dropped and
/// file access is confined: whoever builds the first set does it otherwise.
pub fn load() {
    usable();
}

/// Gives back to the system what building sets has left over: to be called once all are built.
pub(super) fn give_back() {
    vectorscan::give_back();
}

/// The matcher in use: libhs with its version, or "aho-corasick".
pub fn library() -> &'static str {
    usable().unwrap_or(AHO_CORASICK)
}

/// The name and version of libhs, if it is there and passed the trial.
fn usable() -> Option<&'static str> {
    static USABLE: OnceLock<Option<&'static str>> = OnceLock::new();
    *USABLE.get_or_init(|| {
        let version = vectorscan::version()?;
        match trial::run() {
            Ok(()) => Some(version),
            Err(why) => {
                tracing::warn!(version, why, "the library of patterns is not used: it failed its trial");
                None
            }
        }
    })
}

/// A pattern to look for.
#[derive(Clone, Debug)]
struct Pattern {
    /// In lower case if it is compared without regard to case.
    bytes: Box<[u8]>,
    is_nocase: bool,
    id: u32,
}

/// What libhs has compiled, by what it is of.
pub(super) type Databases = HashMap<blake3::Hash, Arc<Database>>;

/// Compiles sets, each that is known from before once.
#[derive(Default)]
pub(super) struct Compiler<'b> {
    choice: Choice,
    /// Those of the rules before.
    before: Option<&'b Databases>,
    /// Those of earlier starts.
    cache: Option<&'b Cache>,
    /// Those of these rules.
    databases: Databases,
    /// Something was kept that was not before.
    has_kept: bool,
}

impl<'b> Compiler<'b> {
    pub(super) fn new(choice: Choice) -> Compiler<'b> {
        Compiler { choice, ..Compiler::default() }
    }

    pub(super) fn with(self, before: Option<&'b Databases>, cache: Option<&'b Cache>) -> Compiler<'b> {
        Compiler { before, cache, ..self }
    }

    /// All sets are compiled: what libhs has made of them.
    pub(super) fn finish(self) -> Databases {
        if let Some(cache) = self.cache.filter(|_| self.has_kept)
            && let Err(error) = cache.prune()
        {
            tracing::debug!(%error, "compiled patterns that are not used stay on disk");
        }
        self.databases
    }

    fn database(&mut self, patterns: &[Pattern]) -> Result<Arc<Database>, String> {
        let key = key(patterns);
        let known = self.databases.get(&key).or_else(|| self.before?.get(&key));
        let database = match known {
            Some(database) => Arc::clone(database),
            None => Arc::new(self.kept_or_compiled(&key, patterns)?),
        };
        self.databases.insert(key, Arc::clone(&database));
        Ok(database)
    }

    fn kept_or_compiled(&mut self, key: &blake3::Hash, patterns: &[Pattern]) -> Result<Database, String> {
        let Some(cache) = self.cache else { return Database::compile(patterns) };
        if let Some(database) = cache.get(key).and_then(|bytes| Database::kept(patterns, &bytes)) {
            return Ok(database);
        }
        let database = Database::compile(patterns)?;
        if let Some(bytes) = database.bytes() {
            match cache.put(key, &bytes) {
                Ok(()) => self.has_kept = true,
                Err(error) => {
                    // The next would fail as this one did.
                    tracing::debug!(%error, "compiled patterns are not kept");
                    self.cache = None;
                }
            }
        }
        Ok(database)
    }
}

/// What patterns are, and what compiles them.
fn key(patterns: &[Pattern]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(vectorscan::build().as_bytes());
    for Pattern { bytes, is_nocase, id } in patterns {
        hasher.update(&id.to_le_bytes());
        hasher.update(&[u8::from(*is_nocase)]);
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    hasher.finalize()
}

/// Collects patterns.
#[derive(Debug, Default)]
pub(super) struct PatternSetBuilder {
    /// Bytes and whether they are without regard to case: the pattern's number.
    patterns: HashMap<(Box<[u8]>, bool), u32>,
}

impl PatternSetBuilder {
    /// Adds a pattern and says by which number it will be told: the first is 0, and equal ones share theirs (as
    /// far as [`PATTERN_BYTES_MAX`]). A pattern of no bytes occurs in every buffer.
    pub(super) fn add(&mut self, bytes: &[u8], is_nocase: bool) -> u32 {
        let bytes = bytes.get(..PATTERN_BYTES_MAX).unwrap_or(bytes);
        let is_nocase = is_nocase && bytes.iter().any(u8::is_ascii_alphabetic);
        let bytes = if is_nocase { bytes.to_ascii_lowercase() } else { bytes.to_vec() };
        // So many patterns do not fit into memory.
        let next = u32::try_from(self.patterns.len()).unwrap_or(u32::MAX);
        *self.patterns.entry((bytes.into_boxed_slice(), is_nocase)).or_insert(next)
    }

    pub(super) fn build(self, compiler: &mut Compiler<'_>) -> PatternSet {
        let pattern = |((bytes, is_nocase), id)| Pattern { bytes, is_nocase, id };
        let mut patterns: Vec<Pattern> = self.patterns.into_iter().map(pattern).collect();
        patterns.sort_unstable_by_key(|pattern| pattern.id);
        let lengths = || patterns.iter().map(|pattern| pattern.bytes.len());
        let (count, longest) = (patterns.len(), lengths().max().unwrap_or(0));
        let (shorter, longer): (Vec<_>, Vec<_>) =
            patterns.into_iter().partition(|pattern| pattern.bytes.len() < 2);
        PatternSet {
            count,
            longest,
            shortest_of_matcher: longer.iter().map(|pattern| pattern.bytes.len()).min().unwrap_or(0),
            empty: shorter.iter().find(|pattern| pattern.bytes.is_empty()).map(|pattern| pattern.id),
            singles: SingleBytes::new(&shorter),
            matcher: Matcher::build(&longer, compiler),
        }
    }
}

/// Patterns, ready to be looked for. Threads may share it.
pub(super) struct PatternSet {
    count: usize,
    longest: usize,
    /// No buffer shorter than this needs the matcher.
    shortest_of_matcher: usize,
    /// The pattern of no bytes.
    empty: Option<u32>,
    singles: SingleBytes,
    matcher: Matcher,
}

/// What looks for patterns of two bytes and more.
enum Matcher {
    /// There are none.
    Nothing,
    Few(Few),
    Vectorscan(Arc<Database>),
    AhoCorasick(Automaton),
    /// No matcher can be built: these are told of every buffer.
    Everything(Vec<u32>),
}

impl Matcher {
    fn build(patterns: &[Pattern], compiler: &mut Compiler<'_>) -> Matcher {
        if patterns.is_empty() {
            return Matcher::Nothing;
        }
        if let Some(few) = Few::new(patterns) {
            return Matcher::Few(few);
        }
        if compiler.choice != Choice::AhoCorasick && usable().is_some() {
            match compiler.database(patterns) {
                Ok(database) => return Matcher::Vectorscan(database),
                Err(why) => {
                    tracing::warn!(patterns = patterns.len(), why, "libhs refuses patterns: slower without");
                }
            }
        }
        match Automaton::build(patterns) {
            Ok(automaton) => Matcher::AhoCorasick(automaton),
            Err(why) => {
                tracing::warn!(patterns = patterns.len(), %why, "no automaton: every pattern is taken to occur");
                Matcher::Everything(patterns.iter().map(|pattern| pattern.id).collect())
            }
        }
    }
}

impl PatternSet {
    /// Whether there is no pattern.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The length of the longest pattern, in bytes; at most [`PATTERN_BYTES_MAX`].
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// What the set takes in memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        let matcher = match &self.matcher {
            Matcher::Nothing => 0,
            Matcher::Few(few) => few.memory_bytes(),
            Matcher::Vectorscan(database) => database.memory_bytes(),
            Matcher::AhoCorasick(automaton) => automaton.memory_bytes(),
            Matcher::Everything(ids) => size_of_val(ids.as_slice()),
        };
        (size_of::<PatternSet>() + self.singles.memory_bytes() + matcher) as u64
    }

    /// Which matcher looks for the set's patterns; of a set that needs none, the one it would be.
    pub(super) fn implementation(&self) -> &'static str {
        match &self.matcher {
            Matcher::Nothing | Matcher::Vectorscan(_) => library(),
            Matcher::AhoCorasick(_) => AHO_CORASICK,
            Matcher::Few(_) => "memmem",
            Matcher::Everything(_) => "none",
        }
    }

    /// Adds the numbers of the patterns that occur in a buffer to `out`, each once, in any order.
    pub(super) fn scan(&self, bytes: &[u8], scratch: &mut PatternScratch, out: &mut Vec<u32>) {
        self.scan_behind(bytes, 0, scratch, out);
    }

    /// The same without what occurs in the first `known` bytes alone, which were looked at before.
    pub(super) fn scan_behind(
        &self,
        bytes: &[u8],
        known: usize,
        scratch: &mut PatternScratch,
        out: &mut Vec<u32>,
    ) {
        out.extend(self.empty);
        self.singles.scan(bytes.get(known..).unwrap_or_default(), out);
        if bytes.len() < self.shortest_of_matcher {
            return;
        }
        let mut found = Found::begin(&mut scratch.stamps, &mut scratch.generation, self.count, known, out);
        match &self.matcher {
            Matcher::Nothing => {}
            Matcher::Few(few) => few.scan(bytes, known, &mut found),
            Matcher::Vectorscan(database) => {
                if database.scan(bytes, &mut scratch.space, &mut found).is_err() {
                    scratch.failures = scratch.failures.saturating_add(1);
                    database.ids().iter().for_each(|id| found.tell(*id));
                }
            }
            Matcher::AhoCorasick(automaton) => automaton.scan(bytes, &mut found),
            Matcher::Everything(ids) => out.extend_from_slice(ids),
        }
    }
}

impl fmt::Debug for PatternSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PatternSet")
            .field("count", &self.count)
            .field("longest", &self.longest)
            .field("implementation", &self.implementation())
            .finish_non_exhaustive()
    }
}

/// What one thread needs for scanning, with any number of sets. Scanning with a set for the first time may make it
/// larger; nothing is allocated afterwards, unless more patterns occur than `out` has room for.
#[derive(Default)]
pub(super) struct PatternScratch {
    space: vectorscan::Scratch,
    /// By pattern: the scan that told it last.
    stamps: Vec<u32>,
    generation: u32,
    failures: u64,
}

impl PatternScratch {
    /// Makes room for a set now rather than at its first scan.
    pub(super) fn prepare(&mut self, set: &PatternSet) {
        self.stamps.resize(self.stamps.len().max(set.count), 0);
        if let Matcher::Vectorscan(database) = &set.matcher {
            // Where there is no memory, the first scan says so.
            let _ = self.space.fit(database);
        }
    }

    /// Scans that libhs gave up, all of whose patterns were told.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// What it takes in memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        (self.space.memory_bytes() + size_of_val(self.stamps.as_slice())) as u64
    }
}

impl fmt::Debug for PatternScratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PatternScratch").field("failures", &self.failures).finish_non_exhaustive()
    }
}

/// What a scan has found so far.
struct Found<'a> {
    stamps: &'a mut [u32],
    generation: u32,
    /// A pattern that ends here or before was told before.
    known: u64,
    out: &'a mut Vec<u32>,
}

impl<'a> Found<'a> {
    /// Begins a scan for `count` patterns.
    fn begin(
        stamps: &'a mut Vec<u32>,
        generation: &mut u32,
        count: usize,
        known: usize,
        out: &'a mut Vec<u32>,
    ) -> Found<'a> {
        if stamps.len() < count {
            stamps.resize(count, 0);
        }
        *generation = generation.wrapping_add(1);
        if *generation == 0 {
            stamps.fill(0);
            *generation = 1;
        }
        Found { stamps, generation: *generation, known: known as u64, out }
    }

    /// A pattern occurs and ends before this place.
    #[inline]
    fn ends_at(&mut self, id: u32, end: u64) {
        if end > self.known {
            self.tell(id);
        }
    }

    /// A pattern occurs; it may have been told before.
    #[inline]
    fn tell(&mut self, id: u32) {
        let Some(stamp) = self.stamps.get_mut(id as usize) else { return };
        if std::mem::replace(stamp, self.generation) != self.generation {
            self.out.push(id);
        }
    }
}
