//! Both matchers against a search that cannot be wrong.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

const CHOICES: [Choice; 2] = [Choice::Vectorscan, Choice::AhoCorasick];

/// A pattern, and whether case does not matter.
type Owned = (Vec<u8>, bool);

/// The set by each matcher that is here; of libhs it is said if it is not.
fn sets(patterns: &[(Vec<u8>, bool)]) -> Vec<PatternSet> {
    CHOICES
        .into_iter()
        .filter(|choice| *choice == Choice::AhoCorasick || usable().is_some())
        .map(|choice| build(choice, patterns).0)
        .collect()
}

fn build(choice: Choice, patterns: &[(Vec<u8>, bool)]) -> (PatternSet, Vec<u32>) {
    let mut builder = PatternSetBuilder::default();
    let ids = patterns.iter().map(|(bytes, is_nocase)| builder.add(bytes, *is_nocase)).collect();
    (builder.build(&mut Compiler::new(choice)), ids)
}

fn scan(set: &PatternSet, scratch: &mut PatternScratch, bytes: &[u8]) -> Vec<u32> {
    let mut out = Vec::new();
    set.scan(bytes, scratch, &mut out);
    out.sort_unstable();
    out
}

fn occurs(bytes: &[u8], pattern: &[u8], is_nocase: bool) -> bool {
    let is_equal = |window: &[u8]| window == pattern || is_nocase && window.eq_ignore_ascii_case(pattern);
    pattern.is_empty() || bytes.windows(pattern.len()).any(is_equal)
}

/// What must be told, by the slow way.
fn naive(patterns: &[(Vec<u8>, bool)], bytes: &[u8]) -> Vec<u32> {
    let (_, ids) = build(Choice::AhoCorasick, patterns);
    let mut out: Vec<u32> = ids
        .into_iter()
        .zip(patterns)
        .filter(|(_, (pattern, is_nocase))| occurs(bytes, pattern, *is_nocase))
        .map(|(id, _)| id)
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}

fn owned(patterns: &[(&[u8], bool)]) -> Vec<(Vec<u8>, bool)> {
    patterns.iter().map(|(bytes, is_nocase)| (bytes.to_vec(), *is_nocase)).collect()
}

/// Patterns without end, none within another.
fn numbered(count: u32) -> Vec<(Vec<u8>, bool)> {
    (0..count).map(|n| (format!("<{n:06}\0>").into_bytes(), n % 3 == 0)).collect()
}

#[test]
fn libhs_is_there_and_passes_its_trial() {
    match vectorscan::version() {
        None => eprintln!("skipped: libhs (Debian's libvectorscan5) is not installed"),
        Some(version) => {
            assert_eq!(trial::run(), Ok(()));
            assert_eq!(library(), version);
            let (set, _) = build(Choice::Automatic, &numbered(9));
            assert_eq!(set.implementation(), version);
        }
    }
    let (set, _) = build(Choice::AhoCorasick, &numbered(9));
    assert_eq!(set.implementation(), "aho-corasick");
}

#[test]
fn equal_patterns_share_a_number_and_letters_make_case_matter() {
    let mut builder = PatternSetBuilder::default();
    assert_eq!(builder.add(b"Host", false), 0);
    assert_eq!(builder.add(b"Host", true), 1);
    assert_eq!(builder.add(b"hOST", true), 1);
    assert_eq!(builder.add(b"host", false), 2);
    assert_eq!(builder.add(b"1.2", true), 3);
    assert_eq!(builder.add(b"1.2", false), 3);
    assert_eq!(builder.add(b"Host", false), 0);
    let set = builder.build(&mut Compiler::default());
    let mut scratch = PatternScratch::default();
    assert_eq!(scan(&set, &mut scratch, b"Host HOST 1.2"), [0, 1, 3]);
    assert_eq!(scan(&set, &mut scratch, b"xhosty"), [1, 2]);
    assert_eq!(set.longest(), 4);
    assert!(set.memory_bytes() > 0);
}

#[test]
fn empty_sets_buffers_and_patterns_are_nothing_special() {
    let mut scratch = PatternScratch::default();
    for set in sets(&[]) {
        assert!(set.is_empty());
        assert_eq!(scan(&set, &mut scratch, b"anything"), [0; 0]);
    }
    for set in sets(&owned(&[(b"", true), (b"a", false), (b"abc", false)])) {
        assert!(!set.is_empty());
        assert_eq!(scan(&set, &mut scratch, b""), [0]);
        assert_eq!(scan(&set, &mut scratch, b"ab"), [0, 1]);
        assert_eq!(scan(&set, &mut scratch, b"abc"), [0, 1, 2]);
    }
}

#[test]
fn patterns_of_one_byte_are_found_wherever_they_stand() {
    let patterns = owned(&[(b";", false), (b"\0", false), (b"x", true), (b"X", false), (b"ab", false)]);
    let all: Vec<_> = (0..=255).map(|byte| (vec![byte], byte % 2 == 0)).collect();
    let mut scratch = PatternScratch::default();
    for patterns in [patterns, all] {
        for set in sets(&patterns) {
            for place in 0..200 {
                for byte in [b';', 0, b'x', b'X', b'-'] {
                    let mut bytes = vec![b'-'; 200];
                    bytes[place] = byte;
                    assert_eq!(scan(&set, &mut scratch, &bytes), naive(&patterns, &bytes));
                }
            }
        }
    }
}

#[test]
fn thirty_thousand_patterns_build_and_are_found() {
    let patterns = numbered(30_000);
    let bytes: Vec<u8> = [7, 29_999, 12_345].iter().flat_map(|n| patterns[*n].0.clone()).collect();
    let mut scratch = PatternScratch::default();
    for set in sets(&patterns) {
        assert_eq!(scan(&set, &mut scratch, &bytes), [7, 12_345, 29_999]);
    }
    assert_eq!(scratch.failures(), 0);
}

#[test]
fn a_pattern_beyond_the_longest_is_looked_for_by_its_beginning() {
    let longest = vec![b'a'; PATTERN_BYTES_MAX];
    let longer = [&longest[..], b"b"].concat();
    let nul = vec![0; PATTERN_BYTES_MAX];
    let patterns =
        vec![(longest.clone(), true), (longer, true), (nul.clone(), false), (vec![0; 9_999], false)];
    let mut scratch = PatternScratch::default();
    for choice in CHOICES {
        let (set, ids) = build(choice, &patterns);
        assert_eq!(ids, [0, 0, 1, 1]);
        assert_eq!(set.longest(), PATTERN_BYTES_MAX);
        assert_eq!(scan(&set, &mut scratch, &[&longest.to_ascii_uppercase()[..], &nul].concat()), [0, 1]);
        assert_eq!(scan(&set, &mut scratch, &[&longest[1..], &nul[1..]].concat()), [0; 0]);
    }
}

#[test]
fn a_pattern_that_occurs_everywhere_is_told_once() {
    let patterns = owned(&[(b"\0\0", false), (&[0; 12], false), (&[0; 200], false), (b"aa", true)]);
    let mut scratch = PatternScratch::default();
    for set in sets(&patterns) {
        assert_eq!(scan(&set, &mut scratch, &[0; 65_536]), [0, 1, 2]);
        assert_eq!(scan(&set, &mut scratch, &[b'A'; 1460]), [3]);
    }
}

#[test]
fn threads_share_a_set_each_with_its_own_scratch() {
    let patterns = Arc::new(numbered(500));
    for set in sets(&patterns) {
        let set = Arc::new(set);
        let threads: Vec<_> = (0..2)
            .map(|thread| {
                let (set, patterns) = (Arc::clone(&set), Arc::clone(&patterns));
                std::thread::spawn(move || {
                    let mut scratch = PatternScratch::default();
                    scratch.prepare(&set);
                    for n in (thread..500).chain(0..500) {
                        assert_eq!(scan(&set, &mut scratch, &patterns[n].0), [n as u32]);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn a_scratch_serves_many_sets_and_outlives_them() {
    let mut scratch = PatternScratch::default();
    let (small, large) = (sets(&numbered(3)), sets(&numbered(3_000)));
    for (small, large) in small.iter().zip(&large) {
        assert_eq!(scan(small, &mut scratch, b"<000002\0>"), [2]);
        assert_eq!(scan(large, &mut scratch, b"<000002\0><002999\0>"), [2, 2999]);
        assert_eq!(scan(small, &mut scratch, b"<000002\0><002999\0>"), [2]);
    }
    drop((small, large));
    for round in 0..200 {
        for set in sets(&numbered(round % 7 + 1)) {
            assert_eq!(scan(&set, &mut scratch, b"<000000\0>"), [0]);
        }
    }
    assert_eq!(scratch.failures(), 0);
}

#[test]
fn what_was_told_is_told_again_after_four_thousand_million_scans() {
    let mut scratch = PatternScratch { generation: u32::MAX - 1, ..PatternScratch::default() };
    for set in sets(&owned(&[(b"ab", false)])) {
        for _ in 0..3 {
            assert_eq!(scan(&set, &mut scratch, b"ab"), [0]);
        }
    }
}

#[test]
fn a_set_without_matcher_tells_all_patterns() {
    let (mut set, _) = build(Choice::AhoCorasick, &owned(&[(b"ab", false), (b"x", false), (b"cd", false)]));
    set.matcher = Matcher::Everything(vec![0, 2]);
    assert_eq!(scan(&set, &mut PatternScratch::default(), b"--"), [0, 2]);
}

/// Few different bytes, so that patterns overlap, lie within each other and nearly occur.
fn letters() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0), Just(b'a'), Just(b'A'), Just(b'b'), Just(b'\\'), Just(0xc4), Just(0xe4)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_same_patterns_are_told_as_by_a_naive_search(
        patterns in vec((vec(letters(), 0..6), any::<bool>()), 0..30),
        buffers in vec(vec(letters(), 0..100), 1..8),
    ) {
        let mut scratch = PatternScratch::default();
        for set in sets(&patterns) {
            for bytes in &buffers {
                prop_assert_eq!(scan(&set, &mut scratch, bytes), naive(&patterns, bytes));
            }
        }
    }

    #[test]
    fn what_ends_in_what_was_looked_at_before_is_not_told_again(
        patterns in vec((vec(letters(), 1..6), any::<bool>()), 0..30),
        bytes in vec(letters(), 0..100),
        known in 0..100usize,
    ) {
        let known = known.min(bytes.len());
        let mut scratch = PatternScratch::default();
        let new: Vec<u32> = {
            let (_, ids) = build(Choice::AhoCorasick, &patterns);
            let is_new = |pattern: &[u8], is_nocase| {
                let from = (known + 1).saturating_sub(pattern.len());
                occurs(&bytes[from.min(bytes.len())..], pattern, is_nocase)
            };
            let told = ids.into_iter().zip(&patterns).filter(|(_, (bytes, nocase))| is_new(bytes, *nocase));
            let mut told: Vec<u32> = told.map(|(id, _)| id).collect();
            told.sort_unstable();
            told.dedup();
            told
        };
        for set in sets(&patterns) {
            let mut out = Vec::new();
            set.scan_behind(&bytes, known, &mut scratch, &mut out);
            out.sort_unstable();
            prop_assert_eq!(&out, &new);
        }
    }

    #[test]
    fn cuts_of_a_buffer_are_found_in_it(
        bytes in vec(any::<u8>(), 1..400),
        cuts in vec((any::<proptest::sample::Index>(), 1..20usize, any::<bool>()), 1..150),
        flip in any::<bool>(),
    ) {
        let cut = |(start, length, is_nocase): (proptest::sample::Index, usize, bool)| {
            let start = start.index(bytes.len());
            (bytes[start..bytes.len().min(start + length)].to_vec(), is_nocase)
        };
        let patterns: Vec<_> = cuts.into_iter().map(cut).collect();
        let buffer = if flip { bytes.to_ascii_uppercase() } else { bytes.clone() };
        let mut scratch = PatternScratch::default();
        for set in sets(&patterns) {
            prop_assert_eq!(scan(&set, &mut scratch, &buffer), naive(&patterns, &buffer));
        }
    }
}

/// What libhs makes of patterns, by way of a directory; none where it is not there.
fn with_cache(directory: &std::path::Path, patterns: &[Owned]) -> Option<(PatternSet, Databases)> {
    usable()?;
    let cache = Cache::open(directory).unwrap();
    let mut compiler = Compiler::new(Choice::Vectorscan).with(None, Some(&cache));
    let mut builder = PatternSetBuilder::default();
    for (bytes, is_nocase) in patterns {
        builder.add(bytes, *is_nocase);
    }
    let set = builder.build(&mut compiler);
    Some((set, compiler.finish()))
}

fn private_directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    directory
}

#[test]
fn what_was_compiled_is_found_on_disk_and_finds_the_same() {
    let directory = private_directory();
    let patterns = numbered(40);
    let Some((fresh, _)) = with_cache(directory.path(), &patterns) else { return };
    let files = || {
        let files = std::fs::read_dir(directory.path()).unwrap();
        files.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let [file] = &files()[..] else { panic!("{:?}", files()) };
    let number = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(file).unwrap());
    let written = number();
    let buffer = patterns.iter().step_by(3).flat_map(|(bytes, _)| bytes.clone()).collect::<Vec<u8>>();
    let mut scratch = PatternScratch::default();
    let want = scan(&fresh, &mut scratch, &buffer);
    assert!(!want.is_empty());
    let (kept, _) = with_cache(directory.path(), &patterns).unwrap();
    assert_eq!(kept.implementation(), library());
    assert_eq!(scan(&kept, &mut scratch, &buffer), want);
    assert_eq!(number(), written, "compiled again");
    with_cache(directory.path(), &numbered(41)).unwrap();
    assert_eq!(files().len(), 2);
}

#[test]
fn what_is_damaged_on_disk_is_compiled_again() {
    let directory = private_directory();
    let patterns = numbered(40);
    let Some((fresh, _)) = with_cache(directory.path(), &patterns) else { return };
    let file = std::fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&file).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    let mut scratch = PatternScratch::default();
    let buffer = patterns.iter().flat_map(|(bytes, _)| bytes.clone()).collect::<Vec<u8>>();
    let want = scan(&fresh, &mut scratch, &buffer);
    for damaged in [&[][..], &whole[..whole.len() / 2], b"something else", &changed] {
        std::fs::write(&file, damaged).unwrap();
        let (set, _) = with_cache(directory.path(), &patterns).unwrap();
        assert_eq!(scan(&set, &mut scratch, &buffer), want);
        assert_eq!(
            std::fs::metadata(&file).unwrap().len(),
            whole.len() as u64,
            "the sound one takes its place"
        );
    }
}

#[test]
fn sets_that_rules_before_had_are_shared() {
    let directory = private_directory();
    let Some((_, before)) = with_cache(directory.path(), &numbered(40)) else { return };
    let build = |patterns: &[Owned]| {
        let mut compiler = Compiler::new(Choice::Vectorscan).with(Some(&before), None);
        let mut builder = PatternSetBuilder::default();
        for (bytes, is_nocase) in patterns {
            builder.add(bytes, *is_nocase);
        }
        drop(builder.build(&mut compiler));
        compiler.finish()
    };
    let is_shared = |databases: Databases| {
        databases.iter().all(|(key, one)| before.get(key).is_some_and(|other| Arc::ptr_eq(one, other)))
    };
    assert!(is_shared(build(&numbered(40))));
    assert!(!is_shared(build(&numbered(41))));
}
