//! Files that pass: kinds, sizes, hashes, states, and the store.

use super::store::Store;
use super::*;
use crate::dpi::expect::Expectations;
use crate::dpi::{Carrier, Event};
use serde_json::Value;
use weir_common::app::App;
use weir_common::metadata::Metadata;
use weir_common::net::Address;
use weir_common::time::Timestamp;

const SHA256_OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// Runs a file through a body and returns its event, its carrier's members, and the metadata.
fn told(files: &Files, act: impl FnOnce(&mut FileBody) -> bool) -> (Value, String, Metadata) {
    let (mut metadata, mut events, mut malformed) = (Metadata::default(), Vec::<Event>::new(), 0);
    let mut expectations = Expectations::default();
    let end = (Address::v4([192, 0, 2, 1]), 80);
    let mut context = Context {
        app: App::Http,
        time: Timestamp(1),
        direction: Direction::Reverse,
        carrier: Carrier::Stream,
        ends: [end; 2],
        metadata: &mut metadata,
        events: Some(&mut events),
        malformed: &mut malformed,
        to_handshake_end: false,
        files,
        expectations: &mut expectations,
        found_inside: None,
        wanted: None,
        eve: crate::dpi::config::EveConfig::default(),
        sides: &mut None,
    };
    let mut body = FileBody::begin(b"/a.txt", Direction::Reverse, Some(3), &context).unwrap();
    let is_whole = act(&mut body);
    body.end(is_whole, br#""http":{}"#, &mut context);
    let event = &events[0];
    assert_eq!((events.len(), event.kind, files.take_ended()), (1, "fileinfo", 1));
    let beside = String::from_utf8(event.beside.clone()).unwrap();
    (serde_json::from_slice(&event.body).unwrap(), beside, metadata)
}

fn files() -> Files {
    let hashes = vec![FileHash::Md5, FileHash::Sha1, FileHash::Sha256];
    Files::new(FileConfig { hashes, bytes_max: 10, ..FileConfig::default() })
}

#[test]
fn a_whole_file_is_told_with_its_hashes() {
    let (event, beside, metadata) = told(&files(), |file| {
        file.bytes(b"a");
        file.bytes(b"bc");
        true
    });
    let want = serde_json::json!({
        "filename": "/a.txt", "mimetype": "text/plain", "gaps": false, "state": "CLOSED",
        "md5": "900150983cd24fb0d6963f7d28e17f72", "sha1": "a9993e364706816aba3e25717850c26c9cd0d89d",
        "sha256": SHA256_OF_ABC, "stored": false, "size": 3, "tx_id": 3,
    });
    assert_eq!(event, want);
    assert_eq!(beside, r#""app_proto":"http","http":{}"#);
    assert_eq!(metadata.text(Field::FileSha256), Some(SHA256_OF_ABC));
    assert_eq!(metadata.text(Field::FileTypes), Some("text/plain"));
}

#[test]
fn a_file_with_a_hole_or_without_an_end_is_truncated() {
    let (event, _, metadata) = told(&files(), |file| {
        file.bytes(b"abc");
        file.gap(4);
        file.bytes(b"d");
        true
    });
    assert_eq!(
        (&event["state"], &event["gaps"], &event["size"]),
        (&"TRUNCATED".into(), &true.into(), &8.into())
    );
    assert_eq!((event.get("sha256"), metadata.text(Field::FileSha256)), (None, None));
    let (event, _, metadata) = told(&files(), |file| {
        file.bytes(b"abc");
        false
    });
    // The hash is that of what came, which is not the file's.
    let md5 = "900150983cd24fb0d6963f7d28e17f72";
    assert_eq!((&event["state"], &event["md5"]), (&"TRUNCATED".into(), &md5.into()));
    assert_eq!(metadata.text(Field::FileSha256), None);
}

#[test]
fn a_file_is_read_up_to_its_limit() {
    let length = |bytes: usize| {
        told(&files(), move |file| {
            file.bytes(&vec![b'x'; bytes]);
            assert_eq!(file.is_full(), bytes > 10);
            true
        })
        .0
    };
    assert_eq!(length(10)["state"], "CLOSED");
    let long = length(11);
    assert_eq!((&long["state"], &long["size"], long.get("sha256")), (&"TRUNCATED".into(), &11.into(), None));
}

#[test]
fn files_are_stored_by_their_hash_within_the_budget() {
    let directory = tempfile::tempdir().unwrap();
    let config = FileConfig {
        extract_directory: directory.path().join("files").to_string_lossy().into_owned(),
        extract_budget_mib: 1,
        ..FileConfig::default()
    };
    let store = Store::open(&config, true).unwrap().unwrap();
    let (running, handle) = store.start().unwrap();
    let files = Files::new(config.clone()).with_store(Some(handle));
    let abc = |file: &mut FileBody| {
        file.bytes(b"abc");
        true
    };
    let (event, ..) = told(&files, abc);
    assert_eq!((&event["stored"], &event["file_id"]), (&true.into(), &1.into()));
    // The same content is stored once; an empty file, one with a hole and one over the budget are not.
    assert_eq!(told(&files, abc).0["stored"], true);
    assert_eq!(told(&files, |_| true).0["stored"], false);
    let with_hole = told(&files, |file| {
        file.bytes(b"abc");
        file.gap(1);
        true
    });
    assert_eq!(with_hole.0["stored"], false);
    let large = told(&files, |file| {
        file.bytes(&vec![0; 1 << 20]);
        file.bytes(b"y");
        true
    });
    assert_eq!((&large.0["stored"], &large.0["state"]), (&false.into(), &"CLOSED".into()));
    drop(files);
    let counted = running.join().dpi;
    assert_eq!((counted.files_stored, counted.files_not_stored, counted.file_errors), (2, 1, 0));
    let path = directory.path().join("files/ba").join(SHA256_OF_ABC);
    assert_eq!(std::fs::read(path).unwrap(), b"abc");
    assert_eq!(std::fs::read_dir(directory.path().join("files/tmp")).unwrap().count(), 0);
    // Another run counts what is there.
    let again = Store::open(&FileConfig { extract_budget_mib: 0, ..config.clone() }, true).unwrap().unwrap();
    let (running, handle) = again.start().unwrap();
    let files = Files::new(config).with_store(Some(handle));
    assert_eq!(told(&files, abc).0["stored"], false);
    drop(files);
    assert_eq!(running.join().dpi.files_not_stored, 1);
}
