//! Writes the seed corpus: real files of a small ring for each target that takes them, rules, and scripts of the flows in
//! captures for those of inspection.
//!
//! In: the directory of the corpora, and of captures if there are any. Out: `TARGET/seed-N`, or `TARGET/CAPTURE-N`.
//! Made anew each time, so none is kept in the repository.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use weir_common::net::Direction;
use weir_sensor::capture::FrameSource;
use weir_sensor::capture::file::FileSource;
use weir_sensor::counters::DecodeCounters;
use weir_sensor::decode::{Decoder, Transport};
use weir_sensor::dpi::{Carrier, fuzzing as dpi};
use weir_sensor::ring::format::BlockHeader;
use weir_sensor::ring::fuzzing;
use weir_sensor_fuzz::{LINKS, files_in, frames, ring_files, scratch};

/// Most flows of one capture that become seeds of one target.
const SEEDS_PER_CAPTURE_MAX: usize = 4;
/// Most bytes of a flow in a seed.
const SEED_BYTES_MAX: usize = 24 << 10;

/// Options of rules, of each family of keywords some.
const RULE_OPTIONS: [&str; 16] = [
    "content:\"GET\"; depth:3; content:!\"x|00 0d|\"; distance:1; within:9; nocase; fast_pattern;",
    "flow:established,to_server; http.uri; content:\"index\"; pcre:\"/^\\x2findex/Ri\"; bsize:>2;",
    "http.host; dotprefix; content:\".example\"; endswith; http.method; content:\"GET\";",
    "byte_test:2,>,0x10,4,relative,little; byte_jump:1,0,multiplier 2,post_offset -1; isdataat:!4,relative;",
    "byte_extract:1,0,a; byte_math:bytes 1, offset 1, oper +, rvalue a, result b; content:\"x\"; offset:b;",
    "base64_decode:bytes 12,offset 1,relative; base64_data; content:\"a\"; pkt_data; dsize:3<>90;",
    "flowbits:set,a|b; flowint:n,+,1; flowint:n,>,2; xbits:set,c,track ip_src,expire 9;",
    "threshold:type both,track by_src,count 3,seconds 60; detection_filter:track by_dst,count 1,seconds 2;",
    "tls.sni; to_lowercase; content:\"a\"; tls.version:1.2; app-layer-event:tls.invalid_sni_type;",
    "dns.query; xor:\"0d0ac8ff\"; content:\"a\"; dns.opcode:!0; url_decode; content:\"b\";",
    "flags:S,CE; ttl:>4; ipopts:rr; seq:1; window:!9; itype:8; icode:<3; stream_size:both,>,4;",
    "decode-event:ipv4.trunc_pkt; stream-event:reassembly_seq_gap; vlan.id:3,0; tcp.mss:<500;",
    "dataset:set,seen,type string,memcap 1mb,hashsize 64; http.user_agent; dataset:isset,seen;",
    "requires:version >= 7.0.3 < 8 | >= 9, keyword sid, feature ja4; metadata:a b, c d; reference:url,a.b;",
    "smtp.rcpt_to; content:\"@\"; file.name; content:\".exe\"; filesize:>1KB; filemagic:\"PDF\";",
    "mqtt.flags:retain,!dup; modbus:access read coils, address 3<>9; dnp3_obj:1,2; krb5_err_code:6;",
];

fn main() {
    let Some(corpora) = std::env::args().nth(1) else {
        eprintln!("usage: seeds DIRECTORY [CAPTURES]");
        std::process::exit(1);
    };
    let put = |target: &str, number: usize, parts: &[&[u8]]| {
        let directory = Path::new(&corpora).join(target);
        std::fs::create_dir_all(&directory).expect("the corpus can be made");
        std::fs::write(directory.join(format!("seed-{number}")), parts.concat()).expect("and written");
    };
    for (number, parts) in ["edge-1/192.0.2.1:4741", "e/h:1,[2001:db8::1]:65535,collector.example:4741"].iter().enumerate() {
        put("token", number, &[parts.as_bytes()]);
    }
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
    put("spool", 0, &[&[0], &weir_sensor::export::spool::fuzzing::segment(5)]);
    put("spool", 1, &[&[5, 0, 40, 7, 0, 200, 9]]);
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
    for (number, options) in RULE_OPTIONS.iter().enumerate() {
        let rule = format!("alert tcp any any -> any any ({options} sid:1;)\n");
        put("rules", number, &[rule.as_bytes()]);
        put("rule_options", number, &[options.as_bytes(), b"\nGET /index.html?a=1 HTTP/1.1"]);
        let pieces = b"\x00\x12GET /index.html?a=1\x02\x0b/index.html\x04\x00\x06\x00";
        put("rule_engine", number, &[rule.as_bytes(), pieces]);
    }
    if let Some(captures) = std::env::args().nth(2) {
        let mut paths: Vec<_> =
            std::fs::read_dir(captures).expect("the captures can be listed").flatten().collect();
        paths.sort_by_key(std::fs::DirEntry::path);
        paths.iter().for_each(|entry| seeds_of_capture(&entry.path(), Path::new(&corpora)));
    }
}

/// A flow's payloads as they were captured; TCP's without being put in order.
struct Said {
    carrier: Carrier,
    ports: [u16; 2],
    pieces: Vec<(Direction, Vec<u8>)>,
    bytes: usize,
}

/// Writes a capture's flows as scripts for the dissectors that would take them.
fn seeds_of_capture(capture: &Path, corpora: &Path) {
    let name = capture.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Ok(mut source) = FileSource::open(&capture.to_string_lossy()) else { return };
    let mut decoder = Decoder::new(1 << 20, Duration::from_secs(30));
    let mut counters = DecodeCounters::default();
    let mut order = Vec::new();
    let mut flows: HashMap<_, Said> = HashMap::new();
    let mut script_of_frames = Vec::new();
    while let Ok(weir_sensor::capture::BatchEnd::More) = source.read_batch(&mut |frames| {
        for frame in frames {
            if script_of_frames.is_empty() {
                script_of_frames
                    .extend(LINKS.iter().position(|link| *link == frame.link.0).map(|at| at as u8));
            }
            if !script_of_frames.is_empty() && script_of_frames.len() + frame.data.len() < SEED_BYTES_MAX {
                script_of_frames.extend_from_slice(&(frame.data.len() as u16).to_le_bytes());
                script_of_frames.extend_from_slice(frame.data);
            }
            let Some(packet) = decoder.decode(frame, &mut counters) else { continue };
            let carrier = match packet.transport {
                Transport::Tcp(_) => Carrier::Stream,
                _ => Carrier::Datagram,
            };
            let ports: [u16; 2] = packet.transport.ports().into();
            let (from, to) = ((packet.ip.source, ports[0]), (packet.ip.destination, ports[1]));
            if packet.payload.is_empty() {
                continue;
            }
            let (key, direction) = match flows.contains_key(&(to, from)) {
                true => ((to, from), Direction::Reverse),
                false => ((from, to), Direction::Forward),
            };
            let flow = flows.entry(key).or_insert_with(|| {
                order.push(key);
                Said { carrier, ports, pieces: Vec::new(), bytes: 0 }
            });
            flow.bytes += packet.payload.len();
            if flow.bytes < SEED_BYTES_MAX {
                flow.pieces.push((direction, packet.payload.to_vec()));
            }
        }
    }) {}
    let mut made: HashMap<String, usize> = HashMap::new();
    let mut put = |target: String, seed: &[u8]| {
        let number = made.entry(target.clone()).or_default();
        *number += 1;
        if *number <= SEEDS_PER_CAPTURE_MAX {
            let directory = corpora.join(target);
            std::fs::create_dir_all(&directory).expect("the corpus can be made");
            std::fs::write(directory.join(format!("{name}-{number}")), seed).expect("and written");
        }
    };
    put("frames".to_owned(), &script_of_frames);
    for flow in order.iter().filter_map(|key| flows.get(key)) {
        let pieces: Vec<_> = flow.pieces.iter().map(|(direction, bytes)| (*direction, &bytes[..])).collect();
        let seed = dpi::script(flow.carrier, flow.ports, &pieces);
        let first = |wanted: Direction| pieces.iter().find(|(direction, _)| *direction == wanted);
        let mut takers: Vec<_> = [first(Direction::Forward), first(Direction::Reverse)]
            .into_iter()
            .flatten()
            .flat_map(|(direction, bytes)| dpi::takers(flow.carrier, *direction, flow.ports, bytes))
            .collect();
        takers.sort();
        takers.dedup();
        for app in takers {
            put(format!("dpi_{}", app.name().replace('-', "_")), &seed);
        }
        put("recognisers".to_owned(), &seed);
    }
}
