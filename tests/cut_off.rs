//! `ring.cut_off`: handshakes stay whole, what is left out is proven by its receipt, and every answer says so.

use anyhow::{Context, ensure};
use e2e::{capture, process};
use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Output};

fn sensor(arguments: &[&str]) -> anyhow::Result<Output> {
    process::run(process::command("weir-sensor")?.args(arguments))
}

/// A frame of a capture file: its bytes, its length on the wire, its comment.
struct Frame {
    data: Vec<u8>,
    wire_len: usize,
    comment: String,
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
}

/// The frames of a little-endian pcap file.
fn frames_of_pcap(path: &Path) -> anyhow::Result<Vec<Frame>> {
    let bytes = std::fs::read(path)?;
    let (mut frames, mut at) = (Vec::new(), 24);
    while at + 16 <= bytes.len() {
        let length = u32_at(&bytes, at + 8);
        let data = bytes.get(at + 16..at + 16 + length).context("a record is cut")?.to_vec();
        frames.push(Frame { data, wire_len: u32_at(&bytes, at + 12), comment: String::new() });
        at += 16 + length;
    }
    Ok(frames)
}

/// The frames of a little-endian pcapng file's enhanced packet blocks.
fn frames_of_pcapng(path: &Path) -> anyhow::Result<Vec<Frame>> {
    let bytes = std::fs::read(path)?;
    let (mut frames, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let (kind, length) = (u32_at(&bytes, at), u32_at(&bytes, at + 4));
        let block = bytes.get(at..at + length).context("a block is cut")?;
        at += length;
        if kind != 6 {
            continue;
        }
        let captured = u32_at(block, 20);
        let data = block.get(28..28 + captured).context("a packet is cut")?.to_vec();
        let options = 28 + captured.next_multiple_of(4);
        // A comment is option 1; it comes first.
        let comment = match block.get(options..options + 4) {
            Some([1, 0, low, high]) => {
                let length = usize::from(u16::from_le_bytes([*low, *high]));
                String::from_utf8(block.get(options + 4..options + 4 + length).unwrap_or_default().to_vec())?
            }
            _ => String::new(),
        };
        frames.push(Frame { data, wire_len: u32_at(block, 24), comment });
    }
    Ok(frames)
}

/// Numbers of the frames in which tshark sees a handshake before its encryption, counted from 0.
fn handshakes(path: &Path) -> anyhow::Result<HashSet<usize>> {
    let filter = "tls.handshake.type or tls.record.content_type == 20 or ssh.message_code";
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(path).args(["-n", "-Y", filter, "-T", "fields", "-e", "frame.number"]);
    let listed = process::stdout(&process::run(&mut tshark)?);
    let numbers: HashSet<usize> = listed.lines().filter_map(|line| line.parse().ok()).collect();
    Ok(numbers.into_iter().map(|number| number - 1).collect())
}

/// Replays a capture with its ciphertext left out and compares what comes back, frame by frame.
fn check(name: &str, shortened_min: usize) -> anyhow::Result<()> {
    let (input, work) = (capture(name), tempfile::tempdir()?);
    let place = |name: &str| work.path().join(name).display().to_string();
    let (ring, proof) = (place("ring"), place("proof.pcapng"));
    let input_text = input.display().to_string();
    let cut_off = "ring.cut_off=[\"tls\", \"ssh\"]";
    let replayed = sensor(&["replay", &input_text, "--ring", &ring, "--set", cut_off])?;
    ensure!(replayed.status.success(), "{}", process::stderr(&replayed));
    ensure!(process::stderr(&replayed).contains("cut off: "), "the summary must tell the gain");
    let answer = sensor(&["query", "--ring", &ring, "-w", &proof])?;
    ensure!(answer.status.code() == Some(3), "an answer with ciphertext left out is not complete");
    ensure!(process::stderr(&answer).contains("ciphertext left out on purpose"));
    let (whole, got) = (frames_of_pcap(&input)?, frames_of_pcapng(Path::new(&proof))?);
    ensure!(whole.len() == got.len(), "{} frames, not {}", got.len(), whole.len());
    let (handshakes, mut shortened) = (handshakes(&input)?, 0);
    ensure!(handshakes.len() > 10, "tshark sees {} frames of handshakes", handshakes.len());
    for (number, (whole, got)) in whole.iter().zip(&got).enumerate() {
        ensure!(whole.wire_len == got.wire_len, "frame {number}: another length");
        let Some(left_out) = whole.data.strip_prefix(&got.data[..]) else {
            anyhow::bail!("frame {number}: other bytes");
        };
        if left_out.is_empty() {
            ensure!(got.comment.is_empty(), "frame {number}: a receipt for nothing");
            continue;
        }
        shortened += 1;
        ensure!(!handshakes.contains(&number), "frame {number} carries a handshake and was cut off");
        let hash = blake3::hash(left_out).to_hex();
        let receipt = format!("weir: {} bytes left out, blake3 {}", left_out.len(), &hash[..32]);
        ensure!(got.comment == receipt, "frame {number}: {} is not {receipt}", got.comment);
    }
    ensure!(shortened >= shortened_min, "{name}: only {shortened} frames were cut off");
    let checked = sensor(&["ring", "check", "--ring", &ring])?;
    ensure!(process::stdout(&checked).contains(&format!("{shortened} frames cut off on purpose")));
    Ok(())
}

#[test]
fn what_is_left_out_of_tls_1_2_is_proven() -> anyhow::Result<()> {
    check("tls12.pcap", 10)
}

#[test]
fn what_is_left_out_of_tls_1_3_is_proven() -> anyhow::Result<()> {
    check("tls13.pcap", 20)
}

#[test]
fn what_is_left_out_of_ssh_is_proven() -> anyhow::Result<()> {
    check("ssh.pcap", 50)
}

#[test]
fn nothing_is_left_out_unless_it_is_asked_for() -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let ring = work.path().join("ring").display().to_string();
    let input = capture("tls13.pcap").display().to_string();
    sensor(&["replay", &input, "--ring", &ring])?;
    let checked = sensor(&["ring", "check", "--ring", &ring, "--json"])?;
    let checked: serde_json::Value = serde_json::from_slice(&checked.stdout)?;
    ensure!(checked["receipts"] == 0 && checked["bytes_left_out"] == 0, "{checked}");
    let answer = sensor(&["query", "--ring", &ring, "--count", "--json", "port", "9"])?;
    ensure!(answer.status.code() == Some(0));
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout)?;
    ensure!(answer["finding"] == "no_such_packets", "{answer}");
    Ok(())
}

#[test]
fn names_that_cannot_be_cut_off_are_refused_with_the_nearest_that_can() -> anyhow::Result<()> {
    for (setting, hint) in [
        ("ring.cut_off=[\"tlss\"]", "did you mean `tls`"),
        ("ring.cut_off=[\"http\"]", "`http` has no handshake"),
    ] {
        let refused = sensor(&["check", "--set", setting])?;
        let said = process::stderr(&refused);
        ensure!(refused.status.code() == Some(1) && said.contains(hint), "{said}");
    }
    Ok(())
}
