//! Evidence as a whole: a file that nobody touched verifies, and whatever is touched is named.

use super::*;
use crate::capture::{Frame, LinkType};
use crate::counters::RingCounters;
use crate::query::Query;
use crate::query::manifest::{Manifest, Source, pieces, sealed};
use crate::query::pcapng::{Names, PcapngWriter};
use crate::query::pin::Keeping;
use crate::query::tests::Addresses;
use crate::query::{Found, Position};
use crate::ring::check::check_with;
use crate::ring::config::RingConfig;
use crate::ring::custody::verify::Verifier;
use crate::ring::custody::{ChainRecord, KeyPlace, RECORD_BYTES, SegmentProof, Signer, SigningKey};
use crate::ring::entry::LeftOut;
use crate::ring::pins;
use crate::ring::reader::segments;
use crate::ring::{Ring, RingMode};
use proptest::prelude::*;
use std::fs;
use std::path::Path;

const PACKET: u32 = 6;

fn config(directory: &Path) -> RingConfig {
    let directory = directory.to_str().unwrap().to_owned();
    RingConfig { directory, budget_mib: 64, segment_mib: 1, block_kib: 256, ..RingConfig::default() }
}

/// Frames of two lanes that take turns, some shorter than on the wire, of two interfaces and link types.
fn write_ring(directory: &Path, frames: u64) {
    let mut ring = Ring::open(&config(directory), 2, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lanes = [ring.lane(0).unwrap(), ring.lane(1).unwrap()];
    let mut counters = RingCounters::default();
    let mut state = 7u64;
    for at in 0..frames {
        let data: Vec<u8> = (0..100 + at % 800)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        let other = at % 5 == 0;
        let frame = Frame {
            time: Timestamp(1_763_640_000_000_000_000 + at * 1000),
            link: if other { LinkType::RAW } else { LinkType::ETHERNET },
            interface: u32::from(other),
            wire_len: data.len() as u32 + if at % 7 == 0 { 100 } else { 0 },
            data: &data,
        };
        lanes[(at / 3 % 2) as usize].append(&frame, None, None, &mut counters);
    }
    drop(lanes);
    ring.close();
}

fn key(directory: &Path) -> SigningKey {
    SigningKey::load_or_create(&KeyPlace::of("", directory, None).unwrap()).unwrap()
}

fn export(directory: &Path, expression: &str) -> Vec<u8> {
    let query = Query {
        directory: directory.to_owned(),
        expression: expression.to_owned(),
        signer: Signer::of(&config(directory), directory),
        ..Query::default()
    };
    let mut out = Vec::new();
    query.write_pcapng(Timestamp(u64::MAX), &Addresses, &mut out).unwrap();
    out
}

/// A ring and everything that was exported from it.
struct Exported {
    directory: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl Exported {
    fn new(frames: u64) -> Exported {
        let directory = tempfile::tempdir().unwrap();
        write_ring(&directory.path().join("ring"), frames);
        let bytes = export(&directory.path().join("ring"), "");
        Exported { directory, bytes }
    }

    fn ring(&self) -> PathBuf {
        self.directory.path().join("ring")
    }

    fn try_check(
        &self,
        bytes: &[u8],
        keys: &[PublicKey],
        ring: bool,
    ) -> Result<EvidenceCheck, EvidenceError> {
        let file = self.directory.path().join("evidence.pcapng");
        fs::write(&file, bytes).unwrap();
        let ring = ring.then(|| self.ring());
        verify(&EvidenceQuestion { file, keys, ring, ring_key: None })
    }

    fn check(&self, bytes: &[u8]) -> EvidenceCheck {
        self.try_check(bytes, &[], false).unwrap()
    }

    fn blocks(&self) -> Vec<Vec<u8>> {
        split(&self.bytes)
    }

    /// The statement altered, and signed again by the sensor's own key.
    fn resigned(&self, alter: impl Fn(&mut Statement)) -> Vec<u8> {
        self.resigned_by(&key(&self.ring()), alter)
    }

    fn resigned_by(&self, key: &SigningKey, alter: impl Fn(&mut Statement)) -> Vec<u8> {
        let file = self.directory.path().join("to-be-signed.pcapng");
        fs::write(&file, &self.bytes).unwrap();
        let located = file::manifest(&file).unwrap().unwrap();
        let line = located.bytes.split(|byte| *byte == b'\n').next().unwrap();
        let mut statement: Statement = serde_json::from_slice(line).unwrap();
        alter(&mut statement);
        let mut bytes = serde_json::to_vec(&statement).unwrap();
        let seal = serde_json::to_vec(&sealed(key, &bytes)).unwrap();
        bytes.push(b'\n');
        bytes.extend(seal);
        let mut out: Vec<u8> =
            self.blocks().into_iter().filter(|block| !is_custom(block)).flatten().collect();
        pieces(&bytes).iter().for_each(|piece| out.extend(custom(piece)));
        out
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn split(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (block, rest) = bytes.split_at(u32_at(bytes, 4) as usize);
        out.push(block.to_vec());
        bytes = rest;
    }
    out
}

fn is_packet(block: &[u8]) -> bool {
    u32_at(block, 0) == PACKET
}

fn is_custom(block: &[u8]) -> bool {
    u32_at(block, 0) == crate::query::pcapng::CUSTOM
}

fn custom(piece: &[u8]) -> Vec<u8> {
    let mut writer = PcapngWriter::begin(Vec::new(), Names::new(), "").unwrap();
    writer.custom(crate::query::manifest::ENTERPRISE_NUMBER, piece).unwrap();
    split(&writer.finish("", None).unwrap()).remove(1)
}

fn kinds(check: &EvidenceCheck) -> Vec<ProblemKind> {
    check.problems.iter().map(|problem| problem.kind).collect()
}

/// Where the packet's id stands in its block.
fn id_at(block: &[u8]) -> usize {
    28 + (u32_at(block, 20) as usize).next_multiple_of(4) + 4
}

fn id(block: &[u8]) -> u64 {
    u64::from_le_bytes(block[id_at(block)..][..8].try_into().unwrap())
}

#[test]
fn what_was_exported_verifies_with_and_without_the_ring() {
    let exported = Exported::new(6000);
    let check = exported.check(&exported.bytes);
    assert!(check.verified && check.signed && !check.key_verified, "{check}");
    assert_eq!((check.packets, check.packets_exported), (6000, 6000));
    assert!(
        check.blocks > 8 && check.blocks == check.blocks_verified && check.blocks == check.blocks_chained
    );
    assert_eq!((check.notes.len(), check.ring), (0, None));
    assert!(check.to_string().contains("THE KEY ITSELF WAS NOT VERIFIED"));
    let public = key(&exported.ring()).public();
    let check = exported.try_check(&exported.bytes, &[public], true).unwrap();
    assert!(check.verified && check.key_verified, "{check}");
    assert_eq!(check.ring, Some(RingComparison { packets_equal: 6000, packets_expired: 0 }));
    let other = PublicKey([9; 32]);
    let check = exported.try_check(&exported.bytes, &[other], false).unwrap();
    assert!(!check.verified && kinds(&check).contains(&ProblemKind::Key), "{check}");
    // A part of the packets, and none at all.
    let file = export(&exported.ring(), "less 300");
    let check = exported.try_check(&file, &[public], true).unwrap();
    assert!(check.verified && check.packets > 100 && check.packets < 6000, "{check}");
    let file = export(&exported.ring(), "greater 60000");
    let check = exported.try_check(&file, &[public], true).unwrap();
    assert!(check.verified && check.packets == 0, "{check}");
}

#[test]
fn a_packet_that_was_altered_names_its_block() {
    let exported = Exported::new(4000);
    let whole = exported.blocks();
    let at = whole.iter().rposition(|block| is_packet(block)).unwrap() - 100;
    let entry = (id(&whole[at]) >> 20) as usize;
    let statement = {
        let file = exported.directory.path().join("whole.pcapng");
        fs::write(&file, &exported.bytes).unwrap();
        let located = file::manifest(&file).unwrap().unwrap();
        let line = located.bytes.split(|byte| *byte == b'\n').next().unwrap();
        serde_json::from_slice::<Statement>(line).unwrap()
    };
    let named = &statement.blocks[entry];
    let options = id_at(&whole[at]);
    for (place, ring_says) in [(28 + 40, "another byte 40"), (16, "time "), (12, "time "), (24, "bytes of")] {
        let mut blocks = whole.clone();
        blocks[at][place] ^= 1;
        let bytes = blocks.concat();
        let check = exported.check(&bytes);
        assert!(!check.verified);
        assert_eq!(kinds(&check), [ProblemKind::Altered], "{place} {check}");
        let problem = &check.problems[0];
        assert_eq!(
            (problem.segment, problem.block, problem.lane, problem.run),
            (Some(named.segment), named.number, Some(named.lane), Some(1))
        );
        assert_eq!((problem.first_time, problem.last_time), (Some(named.first_time), Some(named.last_time)));
        assert_eq!(check.blocks_verified, check.blocks - 1);
        // The ring says which packet, and what of it.
        let check = exported.try_check(&bytes, &[], true).unwrap();
        let from_ring = check.problems.iter().find(|problem| problem.kind == ProblemKind::Ring).unwrap();
        let number = whole[..=at].iter().filter(|block| is_packet(block)).count() as u64;
        assert_eq!(from_ring.packet, Some(number));
        assert!(from_ring.what.contains(ring_says), "{from_ring}");
    }
    // The interface, and the id: its frame, its entry, one that is not there.
    for (place, bit, wanted) in [
        (8, 1, ProblemKind::Altered),
        (options, 1, ProblemKind::Altered),
        (options + 2, 0x10, ProblemKind::Missing),
        (options + 5, 0x10, ProblemKind::Added),
    ] {
        let mut blocks = whole.clone();
        blocks[at][place] ^= bit;
        let check = exported.check(&blocks.concat());
        let found = kinds(&check);
        let reordered = wanted == ProblemKind::Altered && found.contains(&ProblemKind::Reordered);
        assert!(!check.verified && (found.contains(&wanted) || reordered), "{place} {check}");
    }
}

#[test]
fn packets_missing_added_and_moved_are_told_apart() {
    let exported = Exported::new(4000);
    let whole = exported.blocks();
    let packets: Vec<usize> = (0..whole.len()).filter(|at| is_packet(&whole[*at])).collect();
    let altered = |alter: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut blocks = whole.clone();
        alter(&mut blocks);
        let check = exported.check(&blocks.concat());
        assert!(!check.verified);
        kinds(&check)
    };
    let at = packets[1000];
    assert_eq!(altered(&|blocks| drop(blocks.remove(at))), [ProblemKind::Missing]);
    assert_eq!(altered(&|blocks| blocks.insert(at, whole[at].clone())), [ProblemKind::Added]);
    // Without an id.
    let bare = |block: &[u8]| {
        let mut bare = block[..id_at(block) - 4].to_vec();
        let length = (bare.len() + 4) as u32;
        bare[4..8].copy_from_slice(&length.to_le_bytes());
        bare.extend_from_slice(&length.to_le_bytes());
        bare
    };
    assert_eq!(altered(&|blocks| blocks.insert(at, bare(&whole[at]))), [ProblemKind::Added]);
    assert_eq!(altered(&|blocks| blocks[at] = bare(&whole[at])), [ProblemKind::Added, ProblemKind::Missing]);
    // Neighbours of one block, and neighbours of two.
    let same = |a: usize, b: usize| id(&whole[a]) >> 20 == id(&whole[b]) >> 20;
    let of_one = packets.windows(2).find(|pair| same(pair[0], pair[1])).unwrap();
    let of_two = packets.windows(2).find(|pair| !same(pair[0], pair[1])).unwrap();
    assert_eq!(altered(&|blocks| blocks.swap(of_one[0], of_one[1])), [ProblemKind::Reordered]);
    assert_eq!(altered(&|blocks| blocks.swap(of_two[0], of_two[1])), [ProblemKind::Reordered]);
    // All packets of one block.
    let entry = id(&whole[at]) >> 20;
    let gone = altered(&|blocks| blocks.retain(|block| !is_packet(block) || id(block) >> 20 != entry));
    assert_eq!(gone, [ProblemKind::Missing]);
}

#[test]
fn the_files_own_structure_is_held_to_the_manifest() {
    let exported = Exported::new(1000);
    let whole = exported.blocks();
    let interface = whole.iter().position(|block| u32_at(block, 0) == 1).unwrap();
    let altered = |alter: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut blocks = whole.clone();
        alter(&mut blocks);
        exported.check(&blocks.concat())
    };
    let check = altered(&|blocks| blocks[interface][8] = 105);
    assert!(check.problems.iter().any(|problem| problem.what.contains("link type")), "{check}");
    let resolution = whole[interface].windows(5).position(|bytes| bytes == [9, 0, 1, 0, 9]).unwrap() + 4;
    let check = altered(&|blocks| blocks[interface][resolution] = 6);
    assert!(check.problems.iter().any(|problem| problem.what.contains("nanoseconds")), "{check}");
    let check = altered(&|blocks| blocks.extend(whole.clone()));
    assert!(check.problems.iter().any(|problem| problem.what.contains("a further section")), "{check}");
    assert!(check.problems.iter().any(|problem| problem.what.contains("a further manifest")), "{check}");
    // A length in the middle that is wrong: the manifest is found from the end all the same.
    let packet = whole.iter().position(|block| is_packet(block)).unwrap();
    let check = altered(&|blocks| blocks[packet + 50][4] ^= 8);
    assert!(
        !check.verified && check.problems.iter().any(|problem| problem.kind == ProblemKind::File),
        "{check}"
    );
    assert!(kinds(&check).contains(&ProblemKind::Missing), "{check}");
    // What is not covered may be said by others.
    let mut comment = PcapngWriter::begin(Vec::new(), Names::new(), "").unwrap();
    comment.custom(1, b"somebody else's").unwrap();
    let other = split(&comment.finish("", None).unwrap()).remove(1);
    assert!(altered(&|blocks| blocks.push(other.clone())).verified);
}

#[test]
fn a_file_without_a_manifest_is_no_evidence() {
    let exported = Exported::new(300);
    let whole = exported.blocks();
    let bare: Vec<u8> = whole.iter().filter(|block| !is_custom(block)).flatten().copied().collect();
    for bytes in [&bare, &exported.bytes[..exported.bytes.len() / 2].to_vec()] {
        let error = exported.try_check(bytes, &[], false).unwrap_err();
        assert!(matches!(error, EvidenceError::NoManifest { .. }), "{error}");
        assert!(error.to_string().contains("mergecap"));
    }
    for bytes in [&b""[..], b"not a capture file at all", &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0]] {
        let error = exported.try_check(bytes, &[], false).unwrap_err();
        assert!(matches!(error, EvidenceError::OtherForm { .. }), "{error}");
    }
}

#[test]
fn an_edit_of_the_manifest_or_of_its_signature_is_seen() {
    let exported = Exported::new(300);
    let whole = exported.blocks();
    let at = whole.iter().position(|block| is_custom(block)).unwrap();
    let text = String::from_utf8_lossy(&whole[at]).into_owned();
    for (from, to) in [
        ("\"frames\":300,", "\"frames\":301,"),
        ("\"query\":\"everything\"", "\"query\":\"everyrhing\""),
        ("\"lane\":1", "\"lane\":2"),
        ("\"complete\":false", "\"complete\":true "),
    ] {
        let begin = text.find(from).unwrap_or_else(|| panic!("{from} in {text}"));
        assert_eq!(from.len(), to.len());
        let mut blocks = whole.clone();
        // What is not text before it is replaced by one character each, of another length.
        let begin = whole[at].windows(from.len()).position(|bytes| bytes == from.as_bytes()).unwrap_or(begin);
        blocks[at][begin..begin + to.len()].copy_from_slice(to.as_bytes());
        let check = exported.check(&blocks.concat());
        assert!(
            !check.verified && !check.signed && kinds(&check).contains(&ProblemKind::Signature),
            "{to} {check}"
        );
    }
    let signature = text.find("\"signature\":\"").unwrap();
    let offset = whole[at].windows(13).position(|bytes| bytes == b"\"signature\":\"").unwrap_or(signature);
    let mut blocks = whole.clone();
    let byte = &mut blocks[at][offset + 20];
    *byte = if *byte == b'A' { b'B' } else { b'A' };
    assert_eq!(kinds(&exported.check(&blocks.concat())), [ProblemKind::Signature]);
    let mut blocks = whole.clone();
    let brace = whole[at].iter().position(|byte| *byte == b'{').unwrap();
    blocks[at][brace] = b'[';
    let check = exported.check(&blocks.concat());
    assert!(kinds(&check).contains(&ProblemKind::Manifest), "{check}");
}

#[test]
fn another_key_signs_only_for_itself() {
    let exported = Exported::new(300);
    let elsewhere = tempfile::tempdir().unwrap();
    let forger = key(elsewhere.path());
    let forged = exported.resigned_by(&forger, |statement| statement.query = "everything there is".into());
    // Who has only the file can but be told whose key it is.
    let check = exported.check(&forged);
    assert!(
        check.verified && !check.key_verified && check.to_string().contains("NOT VERIFIED: it comes"),
        "{check}"
    );
    assert_eq!(check.key, Some(forger.public().fingerprint()));
    let check = exported.try_check(&forged, &[key(&exported.ring()).public()], false).unwrap();
    assert_eq!((check.verified, kinds(&check)), (false, vec![ProblemKind::Key]));
}

#[test]
fn a_proof_that_does_not_hold_is_named_even_where_the_sensor_signed() {
    let exported = Exported::new(4000);
    assert!(exported.check(&exported.resigned(|_| {})).verified);
    let altered_record = |alter: &dyn Fn(&mut [u8])| {
        let bytes = exported.resigned(|statement| {
            let mut record = STANDARD.decode(statement.segments[0].record.as_ref().unwrap()).unwrap();
            alter(&mut record);
            let checksum = crc32fast::hash(&record[..RECORD_BYTES - 4]).to_le_bytes();
            record[RECORD_BYTES - 4..].copy_from_slice(&checksum);
            statement.segments[0].record = Some(STANDARD.encode(record));
        });
        let check = exported.check(&bytes);
        assert!(!check.verified && check.blocks_chained < check.blocks);
        assert_eq!(check.problems[0].segment, Some(1), "{check}");
        kinds(&check)
    };
    assert_eq!(altered_record(&|record| record[64] ^= 1), [ProblemKind::Chain]);
    assert_eq!(altered_record(&|record| record[40] ^= 1), [ProblemKind::Chain]);
    assert_eq!(altered_record(&|record| record[200] ^= 1), [ProblemKind::Chain]);
    assert_eq!(altered_record(&|record| record[16] ^= 1), [ProblemKind::Chain]);
    let named = |alter: &dyn Fn(&mut Statement)| {
        let check = exported.check(&exported.resigned(alter));
        assert!(!check.verified, "{check}");
        kinds(&check)
    };
    // Digests and headers that are not those of the record.
    assert_eq!(
        named(&|statement| {
            let mut digests = STANDARD.decode(statement.segments[0].block_digests.as_ref().unwrap()).unwrap();
            digests[5] ^= 1;
            statement.segments[0].block_digests = Some(STANDARD.encode(digests));
        }),
        [ProblemKind::Chain]
    );
    let second = |statement: &Statement| {
        let first = &statement.blocks[0];
        let other = |entry: &&BlockEntry| entry.segment == first.segment && entry.number != first.number;
        statement.blocks.iter().find(other).unwrap().header.clone()
    };
    assert_eq!(named(&|statement| statement.blocks[0].header = second(statement)), [ProblemKind::Manifest]);
    assert_eq!(
        named(&|statement| statement.segments[0].record = statement.segments[1].record.clone()),
        [ProblemKind::Chain]
    );
    assert_eq!(named(&|statement| statement.frames += 1), [ProblemKind::Manifest]);
    assert_eq!(named(&|statement| statement.blocks[0].first_time = Timestamp(1)), [ProblemKind::Manifest]);
    // A header made to fit the entry is not among those of the segment.
    let forged = named(&|statement| {
        let bytes = STANDARD.decode(statement.blocks[0].header.as_ref().unwrap()).unwrap();
        let mut header = crate::ring::format::BlockHeader::decode(&bytes).unwrap();
        header.hash[0] ^= 1;
        statement.blocks[0].header = Some(STANDARD.encode(header.encode_sealed()));
    });
    assert_eq!(forged, [ProblemKind::Chain]);
    // A record that is whole, of a key that was not given.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = key(elsewhere.path());
    let bytes = exported.resigned(|statement| {
        let record = STANDARD.decode(statement.segments[0].record.as_ref().unwrap()).unwrap();
        let record = ChainRecord::decode(&record).unwrap();
        let record = ChainRecord::sign(record.said, record.position, record.ring, record.previous, &other);
        statement.segments[0].record = Some(STANDARD.encode(record.encode()));
    });
    let check = exported.try_check(&bytes, &[key(&exported.ring()).public()], false).unwrap();
    assert_eq!(kinds(&check), [ProblemKind::Key], "{check}");
}

#[test]
fn who_may_not_read_the_key_exports_unsigned_and_says_why() {
    let exported = Exported::new(300);
    fs::remove_file(exported.ring().join("custody.key")).unwrap();
    let file = export(&exported.ring(), "");
    let check = exported.check(&file);
    assert_eq!((check.verified, check.signed, kinds(&check)), (false, false, vec![ProblemKind::Signature]));
    assert!(check.problems[0].what.contains("there is no key") && check.to_string().contains("NOT SIGNED"));
    assert_eq!(check.blocks, check.blocks_verified);
}

#[test]
fn what_the_ring_no_longer_has_or_has_otherwise_is_said() {
    let exported = Exported::new(6000);
    let files = segments(&exported.ring(), None).unwrap();
    fs::remove_file(&files[0].segment).unwrap();
    let check = exported.try_check(&exported.bytes, &[], true).unwrap();
    let ring = check.ring.unwrap();
    assert!(check.verified && ring.packets_expired > 0 && ring.packets_equal > 0, "{check}");
    // Exported again, without the segment that is gone.
    let again = exported.try_check(&export(&exported.ring(), ""), &[], true).unwrap();
    assert!(again.verified && again.packets == ring.packets_equal, "{again}");
    let mut bytes = fs::read(&files[1].segment).unwrap();
    bytes[128 + 128 + 200] ^= 1;
    fs::write(&files[1].segment, &bytes).unwrap();
    let check = exported.try_check(&exported.bytes, &[], true).unwrap();
    assert_eq!((check.verified, kinds(&check)), (false, vec![ProblemKind::Ring]), "{check}");
}

#[test]
fn a_segment_that_is_being_written_has_no_record_yet_and_the_export_says_so() {
    let exported = Exported::new(300);
    let chain = exported.ring().join("custody");
    let bytes = fs::read(&chain).unwrap();
    fs::write(&chain, &bytes[..bytes.len() - RECORD_BYTES]).unwrap();
    let check = exported.check(&export(&exported.ring(), ""));
    assert!(check.verified && check.blocks_chained < check.blocks, "{check}");
    assert!(check.notes[0].contains("not yet sealed"), "{check}");
}

/// Writes frames with places as a query would, without a ring.
fn by_hand(mut manifest: Manifest, directory: &Path, frames: &[(Position, Option<LeftOut>)]) -> Vec<u8> {
    let mut writer = PcapngWriter::begin(Vec::new(), Names::new(), "").unwrap();
    for (at, (position, left_out)) in frames.iter().enumerate() {
        let data = [at as u8; 60];
        let frame = Frame {
            time: Timestamp(at as u64),
            link: LinkType::ETHERNET,
            interface: 3,
            wire_len: 60 + left_out.map_or(0, |left_out| left_out.bytes),
            data: &data,
        };
        let id = manifest.frame(&Found { frame, captured_len: 60, left_out: *left_out, position: *position });
        writer.frame_with(&frame, left_out.as_ref(), Some(id)).unwrap();
    }
    let signer = Signer::Key(std::sync::Arc::new(key(directory)));
    for piece in manifest.finish("by hand", Value::Null, &Source { directory, segments: &[] }, &signer) {
        writer.custom(crate::query::manifest::ENTERPRISE_NUMBER, &piece).unwrap();
    }
    writer.finish("", None).unwrap()
}

fn position(number: u64, index: u32) -> Position {
    Position { run: 1, lane: 0, segment: 5, number, index }
}

#[test]
fn receipts_are_part_of_what_is_signed() {
    let exported = Exported::new(10);
    let receipt = LeftOut::of(&[1; 1380]);
    let frames: Vec<_> = (0..20).map(|at| (position(0, at), (at % 2 == 0).then_some(receipt))).collect();
    let bytes = by_hand(Manifest::default(), exported.directory.path(), &frames);
    assert!(exported.check(&bytes).verified);
    let at = bytes.windows(10).position(|words| words == b"1380 bytes").unwrap();
    for place in [at, at + 40] {
        let mut altered = bytes.clone();
        altered[place] = if altered[place] == b'2' { b'3' } else { b'2' };
        assert_eq!(kinds(&exported.check(&altered)), [ProblemKind::Altered]);
    }
}

#[test]
fn more_blocks_than_are_kept_at_once_get_entries_of_their_own_for_each_turn() {
    let exported = Exported::new(10);
    let blocks = ACTIVE_MAX as u64 + 10;
    let frames: Vec<_> =
        (0..2 * blocks).map(|at| (position(at % blocks, (at / blocks) as u32), None)).collect();
    let bytes = by_hand(Manifest::default(), exported.directory.path(), &frames);
    let check = exported.check(&bytes);
    assert!(check.verified && check.blocks == 2 * blocks, "{check}");
    let mut blocks = split(&bytes);
    let packet = blocks.iter().rposition(|block| is_packet(block)).unwrap();
    blocks[packet][30] ^= 1;
    assert_eq!(kinds(&exported.check(&blocks.concat())), [ProblemKind::Altered]);
}

#[test]
fn frames_beyond_the_most_entries_are_signed_without_a_name() {
    let exported = Exported::new(10);
    let frames: Vec<_> = (0..100).map(|at| (position(at / 10, (at % 10) as u32), None)).collect();
    let bytes = by_hand(Manifest::with_entries_max(4), exported.directory.path(), &frames);
    let check = exported.check(&bytes);
    assert!(check.verified && check.blocks == 5, "{check}");
    let mut blocks = split(&bytes);
    let packet = blocks.iter().rposition(|block| is_packet(block)).unwrap();
    blocks[packet][30] ^= 1;
    let check = exported.check(&blocks.concat());
    assert_eq!((kinds(&check), check.problems[0].block), (vec![ProblemKind::Altered], None));
}

#[test]
fn a_manifest_of_several_pieces_is_put_together_in_any_order() {
    let exported = Exported::new(10);
    let frames: Vec<_> = (0..20_000).map(|at| (position(at, 0), None)).collect();
    let bytes = by_hand(Manifest::default(), exported.directory.path(), &frames);
    assert!(exported.check(&bytes).verified);
    let mut blocks = split(&bytes);
    let pieces: Vec<usize> = (0..blocks.len()).filter(|at| is_custom(&blocks[*at])).collect();
    assert!(pieces.len() >= 2);
    // Wireshark's tools read no larger ones.
    assert!(pieces.iter().all(|at| blocks[*at].len() <= 256 << 10));
    blocks.swap(pieces[0], pieces[1]);
    assert!(exported.check(&blocks.concat()).verified);
    blocks.remove(pieces[0]);
    assert!(matches!(
        exported.try_check(&blocks.concat(), &[], false),
        Err(EvidenceError::NoManifest { .. })
    ));
}

type Shown = (u32, u64, u32, Vec<u8>);

/// What a reader of the file sees of its packets: interface, time, length on the wire, bytes.
fn packets(bytes: &[u8], directory: &Path) -> Option<Vec<Shown>> {
    let path = directory.join("packets.pcapng");
    fs::write(&path, bytes).unwrap();
    let (mut blocks, mut out) = (file::Blocks::open(&path).unwrap(), Vec::new());
    while let Some((_, block)) = blocks.next().ok()? {
        if let file::Block::Packet(packet) = block {
            out.push((packet.interface, packet.time.0, packet.wire_len, packet.data.to_vec()));
        }
    }
    Some(out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn any_edit_is_refused_or_leaves_the_packets_as_they_are(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        static EXPORTED: std::sync::OnceLock<Exported> = std::sync::OnceLock::new();
        let exported = EXPORTED.get_or_init(|| Exported::new(60));
        let mut bytes = exported.bytes.clone();
        for (at, byte) in &edits {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        if let Ok(check) = exported.try_check(&bytes, &[key(&exported.ring()).public()], true) {
            let directory = exported.directory.path();
            let same = packets(&bytes, directory) == packets(&exported.bytes, directory);
            prop_assert!(!check.verified || same);
        }
    }

    #[test]
    fn any_statement_is_verified_without_panic(
        frames in any::<u64>(),
        entry in any::<(u64, u16, u32, Option<u64>, u64, u64, u64)>(),
        header in any::<Option<String>>(),
        record in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        static EXPORTED: std::sync::OnceLock<Exported> = std::sync::OnceLock::new();
        let exported = EXPORTED.get_or_init(|| Exported::new(20));
        let bytes = exported.resigned(|statement| {
            statement.frames = frames;
            statement.interfaces.clear();
            let first = &mut statement.blocks[0];
            (first.segment, first.lane, first.run, first.number, first.frames) =
                (entry.0, entry.1, entry.2, entry.3, entry.4);
            (first.first_time, first.last_time) = (Timestamp(entry.5), Timestamp(entry.6));
            first.header = header.clone();
            statement.segments[0].record = Some(STANDARD.encode(&record));
        });
        prop_assert!(!exported.try_check(&bytes, &[], true).unwrap().verified);
    }
}

#[test]
fn blocks_in_a_pin_stay_proven_when_their_segment_has_expired() {
    let exported = Exported::new(6000);
    let ring = exported.ring();
    let query = Query { directory: ring.clone(), expression: "greater 850".into(), ..Query::default() };
    let keeping = Keeping { duration: None, note: "a case", budget_bytes: 1 << 30 };
    query.pin(Timestamp(2_000_000_000_000_000_000), &Addresses, &keeping, &mut || ()).unwrap();
    // The ring's turn takes everything that was there, and signs that it did.
    let small = RingConfig { budget_mib: 8, ..config(&ring) };
    let mut opened = Ring::open(&small, 2, RingMode::Replay, Timestamp(0)).unwrap();
    let mut lane = opened.lane(0).unwrap();
    let data: Vec<u8> = (0..60_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for at in 0..4000 {
        let time = Timestamp(1_800_000_000_000_000_000 + at);
        let frame = Frame { time, link: LinkType(147), interface: 0, wire_len: 60_000, data: &data };
        lane.append(&frame, None, None, &mut RingCounters::default());
    }
    drop(lane);
    opened.close();
    let trusted = key(&ring).public();
    let checked = || check_with(&ring, None, Verifier::new(&ring, &[trusted], true), &mut |_, _| {}).unwrap();
    let sound = checked();
    assert!(sound.is_sound() && sound.custody.segments_expired > 0, "{sound}");
    assert!(
        sound.custody.pinned_blocks_verified > 4 && sound.custody.pinned_blocks_without_proof == 0,
        "{sound}"
    );
    let in_ring: Vec<u64> = segments(&ring, None).unwrap().iter().map(|files| files.name.sequence).collect();
    let in_pin = pins::segments(&ring, None).unwrap();
    assert!(in_pin.iter().all(|files| !in_ring.contains(&files.name.sequence)));
    // What is exported from the pin is proven as it was from the ring.
    let file = export(&ring, "greater 850");
    let check = exported.try_check(&file, &[trusted], false).unwrap();
    assert!(check.verified && check.packets > 100 && check.blocks_chained == check.blocks, "{check}");
    // A block of another ring in the pin, whole and with all its checksums, is named.
    let other = Exported::new(6000);
    let foreign = segments(&other.ring(), None).unwrap();
    let pinned = &in_pin[0];
    let foreign = foreign.iter().find(|files| files.name.sequence == pinned.name.sequence).unwrap();
    fs::copy(&foreign.segment, &pinned.segment).unwrap();
    fs::copy(&foreign.index, &pinned.index).unwrap();
    let check = checked();
    assert!(check.damages > 0 && check.damaged[0].what.contains("is not one of the segment"), "{check}");
    let proof = pinned.segment.with_file_name(SegmentProof::file_of(pinned.name));
    let text = fs::read_to_string(&proof).unwrap();
    let digit = text.find("block_digests\":\"").unwrap() + 20;
    let mut altered = text.into_bytes();
    altered[digit] = if altered[digit] == b'A' { b'B' } else { b'A' };
    fs::write(&proof, altered).unwrap();
    assert!(checked().damaged[0].what.contains("do not make the digest"), "{}", checked());
}
