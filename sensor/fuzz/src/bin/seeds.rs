//! Writes the seed corpus: real files of a small ring for each target that takes them.
//!
//! In: the directory of the corpora. Out: `TARGET/seed-N`. Made anew each time, so none is kept in the repository.

use std::path::Path;
use weir_sensor::ring::format::BlockHeader;
use weir_sensor::ring::fuzzing;
use weir_sensor_fuzz::{files_in, frames, ring_files, scratch};

fn main() {
    let Some(corpora) = std::env::args().nth(1) else {
        eprintln!("usage: seeds DIRECTORY");
        std::process::exit(1);
    };
    let put = |target: &str, number: usize, parts: &[&[u8]]| {
        let directory = Path::new(&corpora).join(target);
        std::fs::create_dir_all(&directory).expect("the corpus can be made");
        std::fs::write(directory.join(format!("seed-{number}")), parts.concat()).expect("and written");
    };
    let files = ring_files(&frames(60), 20);
    let ending = |wanted: &str| {
        let with = |name: &Path| name.extension().is_some_and(|ending| ending == wanted);
        files.iter().find(|(name, _)| with(name)).map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    };
    let named = |wanted: &str| {
        let found = files.iter().find(|(name, _)| name.as_os_str() == wanted);
        found.map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    };
    let (segment, index) = (ending("seg"), ending("idx"));
    let (gaps, alive) = (named("gaps"), named("alive"));
    // The first byte says whether checksums are made right.
    for mode in [0u8, 1] {
        put("segment_header", mode.into(), &[&[mode], &segment[..256]]);
        put("sealed_index", mode.into(), &[&[mode], &index]);
        put("gaps", mode.into(), &[&[mode, (gaps.len() / 64) as u8], &gaps, &alive]);
    }
    let summaries: Vec<Vec<u8>> = frames(60)
        .chunks(20)
        .map(|chunk| fuzzing::summary_of(chunk.iter().map(|(time, data)| (&data[..], Some(*time)))))
        .collect();
    let place = files_in(scratch());
    let header = BlockHeader { frames: 20, body_bytes: 16, ..BlockHeader::default() };
    let blocks: Vec<_> = summaries.iter().map(|summary| (128, header, &summary[..])).collect();
    fuzzing::write_index(&place.index, place.name, &blocks, false).expect("a journal can be written");
    let journal = std::fs::read(&place.index).expect("and read");
    for mode in [0u8, 1] {
        put("journal", mode.into(), &[&[mode], &journal]);
    }
    for (number, summary) in summaries.iter().enumerate() {
        put("summary", number, &[summary]);
    }
    put(
        "entries",
        0,
        &[&[0x90, 0x4e, 0xd0, 0x5e, 0x02, 0xe1, 0x03, 0xff, 0x01, 0x02, 0xe2, 0x03, 0x05, 0x01]],
    );
    put("block", 0, &[&[0, 0, 3, 1, 60, 2, 255, 9, 3, 7, 1, 1, 1]]);
    put("block", 1, &[&[1, 4, 3, 1, 60, 2, 255, 9, 3, 7, 1, 1, 1]]);
    for link in 0..7u8 {
        put("expression", link.into(), &[&[link, 5, 2, 40, 0, 1, 41, 3, 1, 2, 9, 1, 4, 4, 4, 0, 1, 2, 3, 4]]);
    }
    put("recovery", 0, &[&[0, 3, 1, 100, 0, 1, 5, 2, 200, 1, 0, 7]]);
}
