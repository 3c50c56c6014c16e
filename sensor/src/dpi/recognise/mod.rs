//! Protocols that are recognised and not read further: each one function and one line in its family's table.
//!
//! In: a flow's first bytes. Out: whether they are the protocol's. The same rules as for
//! [`super::Dissector::probe`] hold: a function is strict, since it sees every unknown flow; it is cheap; it may
//! use the ports as evidence beside the content, never alone. What a function has said no to it must not claim
//! when more of the stream has come, for it is not asked again.
//!
//! What has no structure to be known by is deliberately absent: ciphertext from the first byte (obfuscated MTProto,
//! Hamachi, tinc's datagrams), and what only an address or a port would tell.

mod games;
mod industry;
mod network;
mod peers;
mod products;
mod services;
mod storage;
mod text;
mod voice;
mod tunnels;
mod messages;
mod windows;
#[cfg(test)]
mod tests;

pub(super) use industry::cotp_data;

use super::bytes::{at as array_at, be16, be32, be64, le16, le32, le64, u8_at};
use super::{First, Probe, Starts};
use weir_common::app::App;

/// A protocol that is known by name only.
#[derive(Clone, Copy)]
pub(super) struct Recogniser {
    pub(super) app: App,
    pub(super) starts: Starts,
    pub(super) probe: fn(&First<'_>) -> Probe,
}

/// The families, in the order in which they are asked.
const FAMILIES: &[&[Recogniser]] = &[
    text::TABLE,
    industry::TABLE,
    peers::TABLE,
    network::TABLE,
    tunnels::TABLE,
    messages::TABLE,
    windows::TABLE,
    voice::TABLE,
    services::TABLE,
    storage::TABLE,
    products::TABLE,
    games::TABLE,
];

const COUNT: usize = {
    let (mut count, mut at) = (0, 0);
    while at < FAMILIES.len() {
        count += FAMILIES[at].len();
        at += 1;
    }
    count
};

/// Every one of them, in the order in which they are asked.
pub(super) const RECOGNISERS: &[Recogniser] = &{
    let mut all = [FAMILIES[0][0]; COUNT];
    let (mut count, mut family) = (0, 0);
    while family < FAMILIES.len() {
        let mut at = 0;
        while at < FAMILIES[family].len() {
            all[count] = FAMILIES[family][at];
            count += 1;
            at += 1;
        }
        family += 1;
    }
    all
};

/// One line of a family's table.
const fn line(app: App, starts: Starts, probe: fn(&First<'_>) -> Probe) -> Recogniser {
    Recogniser { app, starts, probe }
}

/// Certain or not.
fn certain(is_so: bool) -> Probe {
    if is_so { Probe::Certain } else { Probe::NotForUs }
}

/// Certain with the protocol's port, likely without it, or not.
fn certain_on(first: &First<'_>, ports: &[u16], is_so: bool) -> Probe {
    match (is_so, first.has_port_of(ports)) {
        (true, true) => Probe::Certain,
        (true, false) => Probe::Likely,
        (false, _) => Probe::NotForUs,
    }
}

/// Likely with the protocol's port, or not.
fn likely_on(first: &First<'_>, ports: &[u16], is_so: bool) -> Probe {
    if is_so && first.has_port_of(ports) { Probe::Likely } else { Probe::NotForUs }
}

/// There are too few bytes: a stream's may come, a datagram's will not.
fn too_few(first: &First<'_>) -> Probe {
    if first.is_stream() { Probe::Unsure } else { Probe::NotForUs }
}

/// Whether the bytes begin with a mark that nobody else begins with.
fn begins(first: &First<'_>, mark: &[u8]) -> Probe {
    match first.bytes.get(..mark.len()) {
        Some(start) => certain(start == mark),
        None if mark.starts_with(first.bytes) => too_few(first),
        None => Probe::NotForUs,
    }
}

/// As [`begins`], with any of several marks.
fn begins_one(first: &First<'_>, marks: &[&[u8]]) -> Probe {
    let mut said = Probe::NotForUs;
    for mark in marks {
        match begins(first, mark) {
            Probe::Certain => return Probe::Certain,
            Probe::Unsure => said = Probe::Unsure,
            _ => {}
        }
    }
    said
}

/// Counts the elements that tile the bytes from `at` to the end; `len` gives the length of the element that the
/// bytes begin with. None: they do not fit.
fn tiles(bytes: &[u8], at: usize, len: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    let (mut at, mut count) = (at, 0);
    while at < bytes.len() {
        let element = len(bytes.get(at..)?)?;
        if element == 0 {
            return None;
        }
        at = at.checked_add(element)?;
        count += 1;
    }
    (at == bytes.len()).then_some(count)
}

/// Whether an IPv4 or IPv6 packet begins here that is exactly as long as what is left.
fn is_ip_packet(bytes: &[u8]) -> bool {
    let len = match bytes.first().map(|byte| byte >> 4) {
        Some(4) if bytes.first().is_some_and(|byte| byte & 15 >= 5) => be16(bytes, 2).map(usize::from),
        Some(6) => be16(bytes, 4).map(|len| usize::from(len) + 40),
        _ => None,
    };
    len == Some(bytes.len())
}

/// The bytes of the first line without its end, when it has one within `bytes_max` and is printable ASCII.
fn line_of(bytes: &[u8], bytes_max: usize) -> Option<&[u8]> {
    let bytes = bytes.get(..bytes_max).unwrap_or(bytes);
    let end = memchr::memchr(b'\n', bytes)?;
    let line = bytes.get(..end)?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    is_text(line).then_some(line)
}

/// Whether all bytes are printable ASCII or tabs.
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

/// Whether the bytes hold some others.
fn holds(bytes: &[u8], what: &[u8]) -> bool {
    memchr::memmem::find(bytes, what).is_some()
}

/// The bytes up to a limit: what is searched of a long message.
fn head(bytes: &[u8], bytes_max: usize) -> &[u8] {
    bytes.get(..bytes_max).unwrap_or(bytes)
}
