//! The values of a set.
//!
//! In: values of one type, with what belongs to each. Out: whether a value is there, and with what. Every
//! set has a most of bytes, and all sets together have [`TOTAL_BYTES_MAX`]; at either nothing is added.

use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::sync::Arc;
use weir_common::net::Address;

/// Most bytes of a set whose rule does not say, in bytes; what Suricata's configuration suggests.
pub(in super::super::super) const MEMCAP_DEFAULT: u64 = 100 << 20;
/// Most bytes of all sets together.
pub(in super::super::super) const TOTAL_BYTES_MAX: u64 = 1 << 30;
/// What a value takes beside its own bytes.
pub(super) const VALUE_BYTES: u64 = 64;
/// Most labels of a name that are looked up, from its end; DNS has no more.
pub(super) const LABELS_MAX: usize = 128;

/// What a set's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataType {
    String,
    Md5,
    Sha256,
    Ipv4,
    /// IPv4 and IPv6.
    Ip,
}

impl DataType {
    pub(super) fn read(word: &str) -> Option<DataType> {
        Some(match word {
            "string" => DataType::String,
            "md5" => DataType::Md5,
            "sha256" => DataType::Sha256,
            "ipv4" => DataType::Ipv4,
            "ip" | "ipv6" => DataType::Ip,
            _ => return None,
        })
    }

    /// The bytes under which a buffer is kept; none when it is no such value.
    pub(super) fn key<'a>(self, buffer: &'a [u8], room: &'a mut [u8; 16]) -> Option<&'a [u8]> {
        match (self, buffer.len()) {
            (_, 0) => None,
            (DataType::String, _)
            | (DataType::Md5 | DataType::Ip, 16)
            | (DataType::Sha256, 32)
            | (DataType::Ipv4, 4) => Some(buffer),
            (DataType::Ip, 4) => {
                *room = Address::v4(*buffer.first_chunk()?).0;
                Some(room)
            }
            _ => None,
        }
    }
}

/// What belongs to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Note {
    #[default]
    None,
    Reputation(u16),
    Json(Arc<str>),
}

/// What became of a value that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    New,
    Present,
    NoRoom,
}

#[derive(Debug, Default)]
pub(super) struct Values {
    notes: HashMap<Box<[u8]>, Note, RandomState>,
    bytes: u64,
    longest: usize,
}

impl Values {
    /// Adds a value when the set stays within its bytes.
    pub(super) fn add(&mut self, key: &[u8], note: Note, most: u64) -> Added {
        if self.notes.contains_key(key) {
            return Added::Present;
        }
        let cost = cost(key, &note);
        if self.bytes.saturating_add(cost) > most {
            return Added::NoRoom;
        }
        self.bytes += cost;
        self.longest = self.longest.max(key.len());
        self.notes.insert(key.into(), note);
        Added::New
    }

    /// Takes a value away; whether it was there.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        let Some(note) = self.notes.remove(key) else { return false };
        self.bytes = self.bytes.saturating_sub(cost(key, &note));
        true
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Note> {
        self.notes.get(key)
    }

    /// The note of a name, or else of the longest of its ends that begins with a dot and is there.
    pub(super) fn get_domain(&self, name: &[u8]) -> Option<&Note> {
        if let Some(note) = self.notes.get(name) {
            return Some(note);
        }
        // What is longer than the longest value cannot be there.
        let from = name.len().saturating_sub(self.longest);
        let ends = name.get(from..)?;
        let mut dots = [0; LABELS_MAX];
        let mut count = 0;
        for (at, _) in ends.iter().enumerate().rev().filter(|(_, byte)| **byte == b'.') {
            let Some(dot) = dots.get_mut(count) else { break };
            *dot = at;
            count += 1;
        }
        let found = dots.get(..count)?.iter().rev();
        found.filter_map(|at| ends.get(*at..)).find_map(|end| self.notes.get(end))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.notes.len()
    }
}

fn cost(key: &[u8], note: &Note) -> u64 {
    let json = match note {
        Note::Json(json) => json.len(),
        Note::None | Note::Reputation(_) => 0,
    };
    VALUE_BYTES + (key.len() + json) as u64
}
