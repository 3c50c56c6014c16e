//! Evidence: whether an exported file is what the sensor exported, verified offline.
//!
//! In: a pcapng file that anybody may have altered; the sensor's public key; the ring, where it is still there. Out:
//! an [`EvidenceCheck`] that names what was altered, is missing, was added or stands in another order. Believes
//! nothing in the file that the key does not vouch for, and says loudly when the key itself comes from the file.
//! Deliberately absent: any repair.
//!
//! What is covered: every packet's bytes, time, lengths, receipt, link type, interface number and place in the file,
//! and what the manifest says. Not covered: names of interfaces, comments and statistics in the file; what counts
//! is the manifest's own statement, which is shown.

mod chain;
mod file;
mod packets;
mod ring;

use crate::query::manifest::{
    ACTIVE_MAX, BlockEntry, ENTRIES_MAX, MANIFEST_VERSION, Seal, Statement, statement_hash,
};
use crate::ring::cipher::RingKey;
use crate::ring::custody::{Fingerprint, PublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use std::io;
use std::path::PathBuf;
use weir_common::time::Timestamp;

/// Most problems told one by one; all are counted.
pub const PROBLEMS_LISTED_MAX: usize = 1000;

/// What to verify, and against what.
#[derive(Clone, Debug, Default)]
pub struct EvidenceQuestion<'a> {
    /// The file.
    pub file: PathBuf,
    /// Public keys that were kept elsewhere; without any, the key in the file is believed, which is said.
    pub keys: &'a [PublicKey],
    /// The ring's directory, to compare the packets with.
    pub ring: Option<PathBuf>,
    /// The ring's key, where it is encrypted.
    pub ring_key: Option<&'a RingKey>,
}

/// Why a file cannot be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The file or the ring cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not the pcapng that the sensor writes.
    #[error("{path}: no evidence: not a pcapng file as `weir-sensor query -w` writes it")]
    OtherForm {
        /// The file.
        path: PathBuf,
    },
    /// No manifest.
    #[error(
        "{path}: no evidence: the file holds no manifest. It was not exported by weir-sensor, or it was cut off, or \
         another program wrote it anew: mergecap, editcap, tshark -w and Wireshark leave custom blocks out. Verify the \
         file as it was exported"
    )]
    NoManifest {
        /// The file.
        path: PathBuf,
    },
}

/// What kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// Packets are not what was exported.
    Altered,
    /// Packets that were exported are not in the file.
    Missing,
    /// Packets in the file were not exported.
    Added,
    /// Packets stand in another order.
    Reordered,
    /// The manifest contradicts itself or cannot be read.
    Manifest,
    /// Nobody signed, or the signature does not fit.
    Signature,
    /// A key that was not given signed.
    Key,
    /// A record of the custody chain does not prove what it should.
    Chain,
    /// The ring holds something else.
    Ring,
    /// The file cannot be read as a whole.
    File,
}

/// One thing that is not as it was exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What kind.
    pub kind: ProblemKind,
    /// The segment that is concerned.
    pub segment: Option<u64>,
    /// The lane of the block.
    pub lane: Option<u16>,
    /// The run of the block.
    pub run: Option<u32>,
    /// The block's number in lane and run.
    pub block: Option<u64>,
    /// Earliest time of the block's exported packets.
    #[serde(serialize_with = "text_if")]
    pub first_time: Option<Timestamp>,
    /// Latest time of them.
    #[serde(serialize_with = "text_if")]
    pub last_time: Option<Timestamp>,
    /// The packet's number in the file, counted from 1 as Wireshark does.
    pub packet: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl Problem {
    fn new(kind: ProblemKind, what: impl Into<String>) -> Problem {
        Problem {
            kind,
            segment: None,
            lane: None,
            run: None,
            block: None,
            first_time: None,
            last_time: None,
            packet: None,
            what: what.into(),
        }
    }

    fn block(kind: ProblemKind, entry: &BlockEntry, what: impl Into<String>) -> Problem {
        let named = entry.number.is_some();
        Problem {
            segment: named.then_some(entry.segment),
            lane: named.then_some(entry.lane),
            run: named.then_some(entry.run),
            block: entry.number,
            first_time: Some(entry.first_time),
            last_time: Some(entry.last_time),
            ..Problem::new(kind, what)
        }
    }
}

fn text_if<S: serde::Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

/// What comparing with the ring came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RingComparison {
    /// Packets that are in the ring byte for byte.
    pub packets_equal: u64,
    /// Packets whose block is no longer in the ring.
    pub packets_expired: u64,
}

/// What verifying came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EvidenceCheck {
    /// Every packet is what the sensor exported, and the sensor's key says so.
    pub verified: bool,
    /// Whether somebody signed the manifest and the signature fits.
    pub signed: bool,
    /// The key that signed.
    pub key: Option<Fingerprint>,
    /// Whether that is a key that was given, and not only the file's own.
    pub key_verified: bool,
    /// Program that exported.
    pub tool: String,
    /// What was asked for.
    pub query: String,
    /// The statement of completeness of the answer.
    pub completeness: Value,
    /// Packets in the file.
    pub packets: u64,
    /// Packets that were exported.
    pub packets_exported: u64,
    /// Blocks of the ring, or parts of them, that the packets are from.
    pub blocks: u64,
    /// Of these, whose packets are all as they were exported.
    pub blocks_verified: u64,
    /// Of these, proven to be of a segment that the custody chain vouches for.
    pub blocks_chained: u64,
    /// Why the others are not, each once.
    pub notes: Vec<String>,
    /// What comparing with the ring came to; none: no ring was given.
    pub ring: Option<RingComparison>,
    /// Problems in all.
    pub problems_total: u64,
    /// The first of them.
    pub problems: Vec<Problem>,
}

impl EvidenceCheck {
    fn say(&mut self, problem: Problem) {
        self.problems_total += 1;
        if self.problems.len() < PROBLEMS_LISTED_MAX {
            self.problems.push(problem);
        }
    }

    fn note(&mut self, note: &str) {
        if !self.notes.iter().any(|known| known == note) && self.notes.len() < PROBLEMS_LISTED_MAX {
            self.notes.push(note.to_owned());
        }
    }
}

/// Verifies a file.
pub fn verify(question: &EvidenceQuestion<'_>) -> Result<EvidenceCheck, EvidenceError> {
    let path = &question.file;
    let located = file::manifest(path)?.ok_or_else(|| EvidenceError::NoManifest { path: path.to_owned() })?;
    let mut check = EvidenceCheck::default();
    let Some(statement) = statement(&located.bytes, question.keys, &mut check) else { return Ok(check) };
    check.tool.clone_from(&statement.tool);
    check.query.clone_from(&statement.query);
    check.completeness.clone_from(&statement.completeness);
    check.packets_exported = statement.frames;
    check.blocks = statement.blocks.len() as u64;
    let headers = chain::verify(&statement, question.keys, &mut check);
    packets::verify(question, &statement, &headers, &located.offsets, &mut check)
        .map_err(|source| EvidenceError::Io { path: path.to_owned(), source })?;
    check.verified = check.signed && check.problems_total == 0;
    Ok(check)
}

/// Reads the manifest and verifies its signature; what it says counts only where that fits.
fn statement(bytes: &[u8], keys: &[PublicKey], check: &mut EvidenceCheck) -> Option<Statement> {
    let unreadable = |what: String| Problem::new(ProblemKind::Manifest, what);
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let (line, seal) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    match serde_json::from_slice::<Seal>(seal) {
        Ok(seal) => signature(line, &seal, keys, check),
        Err(error) => check.say(unreadable(format!("the manifest's signature cannot be read: {error}"))),
    }
    match serde_json::from_slice::<Statement>(line) {
        Ok(statement) if statement.weir_evidence != MANIFEST_VERSION => {
            let found = statement.weir_evidence;
            check.say(unreadable(format!("the manifest is of version {found}, expected {MANIFEST_VERSION}")));
            None
        }
        Ok(statement) if statement.blocks.len() > ENTRIES_MAX + 1 => {
            check.say(unreadable(format!(
                "the manifest has {} entries, more than are written",
                statement.blocks.len()
            )));
            None
        }
        Ok(statement) => Some(statement),
        Err(error) => {
            check.say(unreadable(format!(
                "the manifest cannot be read, and nothing can be verified: {error}"
            )));
            None
        }
    }
}

fn signature(line: &[u8], seal: &Seal, keys: &[PublicKey], check: &mut EvidenceCheck) {
    if seal.unsigned {
        let why = seal.why.as_deref().unwrap_or("no reason is given");
        let what = format!("nobody signed the manifest ({why}); anybody could have made this file");
        return check.say(Problem::new(ProblemKind::Signature, what));
    }
    let key = seal.key.as_deref().and_then(|key| PublicKey::parse(key).ok());
    let signature = seal.signature.as_deref().and_then(|signature| STANDARD.decode(signature).ok());
    let (Some(key), Some(signature)) = (key, signature) else {
        return check
            .say(Problem::new(ProblemKind::Signature, "key or signature of the manifest cannot be read"));
    };
    check.key = Some(key.fingerprint());
    if !key.verifies(&statement_hash(line), &signature) {
        let what = "the signature does not fit the manifest: one of them was altered";
        return check.say(Problem::new(ProblemKind::Signature, what));
    }
    check.signed = true;
    check.key_verified = keys.contains(&key);
    if !keys.is_empty() && !check.key_verified {
        let what = format!("signed with {}, which is not a key that was given", key.fingerprint());
        check.say(Problem::new(ProblemKind::Key, what));
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.kind {
            ProblemKind::Altered => "ALTERED",
            ProblemKind::Missing => "MISSING",
            ProblemKind::Added => "ADDED",
            ProblemKind::Reordered => "REORDERED",
            ProblemKind::Manifest => "MANIFEST",
            ProblemKind::Signature => "SIGNATURE",
            ProblemKind::Key => "KEY",
            ProblemKind::Chain => "CHAIN",
            ProblemKind::Ring => "RING",
            ProblemKind::File => "FILE",
        };
        write!(f, "{word}: ")?;
        if let Some(packet) = self.packet {
            write!(f, "packet {packet}: ")?;
        }
        match (self.segment, self.lane, self.run, self.block) {
            (Some(segment), Some(lane), Some(run), Some(block)) => {
                write!(f, "segment {segment}, lane {lane}, run {run}, block {block}")?;
            }
            (Some(segment), ..) => write!(f, "segment {segment}")?,
            _ => return write!(f, "{}", self.what),
        }
        if let (Some(first), Some(last)) = (self.first_time, self.last_time) {
            write!(f, ", packets from {first} to {last}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl fmt::Display for EvidenceCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problems.iter().try_for_each(|problem| writeln!(f, "{problem}"))?;
        if self.problems_total > self.problems.len() as u64 {
            writeln!(f, "and {} more", self.problems_total - self.problems.len() as u64)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        if !self.query.is_empty() {
            writeln!(f, "asked for: {}", self.query)?;
        }
        if let Some(complete) = self.completeness.get("complete").and_then(Value::as_bool) {
            writeln!(f, "the answer was {}", if complete { "complete" } else { "INCOMPLETE" })?;
        }
        writeln!(
            f,
            "{} of {} blocks verified, {} of them against the custody chain; {} packets of {} exported",
            self.blocks_verified, self.blocks, self.blocks_chained, self.packets, self.packets_exported
        )?;
        if let Some(ring) = &self.ring {
            writeln!(
                f,
                "{} packets equal the ring's, {} are no longer in it",
                ring.packets_equal, ring.packets_expired
            )?;
        }
        match (&self.key, self.key_verified) {
            (Some(key), true) => writeln!(f, "signed with {key}, a key that was given")?,
            (Some(key), false) => writeln!(
                f,
                "signed with {key}\nTHE KEY ITSELF WAS NOT VERIFIED: it comes from the file; give the sensor's public \
                 key, kept elsewhere, with --key"
            )?,
            (None, _) => writeln!(f, "NOT SIGNED")?,
        }
        write!(f, "{}", if self.verified { "verified" } else { "NOT VERIFIED" })
    }
}

#[cfg(test)]
mod tests;
