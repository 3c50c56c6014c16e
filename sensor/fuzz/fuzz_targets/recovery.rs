//! A ring whose files were changed, cut, extended or removed anywhere: it is checked, asked, opened and written on.
//!
//! Whatever happens to the files, no frame is given out that was not put in, no program panics, and nothing but a
//! damaged key keeps the sensor from going on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;
use weir_common::time::Timestamp;
use weir_sensor::query::Query;
use weir_sensor::query::flow::{Alone, FlowOf, FrameFlow, InOrder};
use weir_sensor::ring::custody::{CustodyError, KEY_FILE, KeyError};
use weir_sensor::ring::{Ring, RingError, RingMode, check};
use weir_sensor_fuzz::{Input, config, frames, repair_journal, repair_records, ring_files, scratch};

/// No question here is about a flow.
struct Nobody;

impl FlowOf for Nobody {
    fn alone(&self) -> Alone<'_> {
        Box::new(|_| FrameFlow::None)
    }

    fn in_order(&self) -> InOrder<'_> {
        Box::new(|_| None)
    }

    fn fragment_timeout(&self) -> Duration {
        Duration::ZERO
    }
}

type Files = Vec<(PathBuf, Vec<u8>)>;
const FRAMES: u64 = 60;

/// A small ring, and the same as it was when its writer was killed: space reserved, the index gone.
fn originals() -> &'static [Files; 2] {
    static FILES: OnceLock<[Files; 2]> = OnceLock::new();
    FILES.get_or_init(|| {
        let sealed = ring_files(&frames(FRAMES), 20);
        let mut killed = sealed.clone();
        let ends_with =
            |name: &PathBuf, wanted: &str| name.extension().is_some_and(|ending| ending == wanted);
        killed.retain(|(name, _)| !ends_with(name, "idx"));
        killed.iter_mut().filter(|(name, _)| ends_with(name, "seg")).for_each(|(_, bytes)| {
            let length = bytes.len() + 8192;
            bytes.resize(length, 0);
        });
        [sealed, killed]
    })
}

/// Changes one of the files; says whether it was an index.
fn change(files: &mut Files, input: &mut Input<'_>) -> bool {
    let count = files.len();
    let (name, bytes) = &mut files[usize::from(input.u8()) % count];
    let at = usize::from(input.u16()) % bytes.len().max(1);
    let is_index = name.extension().is_some_and(|ending| ending == "idx");
    match input.u8() % 8 {
        0 => bytes.truncate(at),
        1 => bytes.resize(bytes.len() + at, input.u8()),
        2 => {
            let end = (at + usize::from(input.u8())).min(bytes.len());
            bytes[at.min(end)..end].fill(0);
        }
        3 => bytes.clear(),
        4 if name.as_os_str() == "gaps" || name.as_os_str() == "alive" => repair_records(bytes),
        4 if is_index => repair_journal(bytes),
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (input.u8() % 8);
            }
        }
    }
    is_index
}

fuzz_target!(|data: &[u8]| {
    static KNOWN: OnceLock<HashSet<(u64, Vec<u8>)>> = OnceLock::new();
    let known = KNOWN.get_or_init(|| frames(FRAMES).into_iter().collect());
    let mut input = Input(data);
    let killed = usize::from(input.u8()) % 2;
    let mut files = originals()[killed].clone();
    // What neither the segment nor an index says any more was never there, as far as anyone can know.
    let mut index_is_whole = killed == 0;
    for _ in 0..1 + input.u8() % 4 {
        index_is_whole &= !change(&mut files, &mut input);
    }
    let directory = tempfile::tempdir_in(scratch()).expect("a directory for a ring");
    for (name, bytes) in &files {
        std::fs::write(directory.path().join(name), bytes).expect("its files can be written");
    }
    let ask = |expression: &str| {
        let query =
            Query { directory: directory.path().into(), expression: expression.into(), ..Query::default() };
        let mut count = 0u64;
        let answer = query.run(Timestamp(1 << 60), &Nobody, &mut |found| {
            let frame = (found.frame.time.0, found.frame.data.to_vec());
            assert!(known.contains(&frame), "a frame that was never written");
            count += 1;
            Ok(())
        });
        (count, answer.expect("a ring in any state is asked").completeness.complete)
    };
    check::check(directory.path(), None, &mut |_, _| {}).expect("a ring in any state is checked");
    check::list(directory.path(), None).expect("and listed");
    let before = ask("");
    ask("host 10.0.0.1");
    assert!(
        !before.1 || before.0 == FRAMES || !index_is_whole,
        "{} of {FRAMES} frames and said to be complete",
        before.0
    );
    match Ring::open(&config(directory.path()), 1, RingMode::Live, Timestamp(1 << 40)) {
        Ok(ring) => drop(ring),
        // A key that is there and is none ends the start, and nothing is signed with another one instead.
        Err(RingError::Custody { source: CustodyError::Key(KeyError::Damaged { .. }) }) => {
            let key = files.iter().find(|(name, _)| name.as_os_str() == KEY_FILE).map(|(_, bytes)| bytes);
            let original = originals()[killed].iter().find(|(name, _)| name.as_os_str() == KEY_FILE);
            assert_ne!(key, original.map(|(_, bytes)| bytes), "a key that nobody touched");
        }
        Err(error) => panic!("and opened: {error}"),
    }
    let after = ask("");
    assert_eq!(before.0, after.0, "opening a ring must not lose frames");
});
