//! Outbox: alerts on disk until their destination took them.
//!
//! In: one message at a time, appended. Out: the oldest that was not delivered, until it is marked as
//! done. A directory of segments named by number, and a `cursor` file that says up to where everything is
//! delivered. An entry is
//!
//! ```text
//! magic "WOX1" | length of the payload, u32 | first 8 bytes of the payload's SHA-256 | payload
//! ```
//!
//! with numbers in big-endian. A crash loses at most the entry being written. Bytes that are no entry are
//! skipped up to the next entry that is whole, and counted. At the limit the oldest segment goes, and the
//! undelivered entries in it are counted as dropped. One process at a time; knows nothing of alerts.

use crate::files::replace;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 4] = b"WOX1";
const HEAD_BYTES: usize = 16;
/// Largest message; a larger one is refused.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Smallest segment before another is begun.
const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
/// An outbox is spread over about this many segments, so that dropping the oldest drops little.
const SEGMENTS: u64 = 16;

/// The outbox of one destination.
#[derive(Debug)]
pub(crate) struct Outbox {
    directory: PathBuf,
    bytes_max: u64,
    segment_bytes: u64,
    segments: VecDeque<Segment>,
    /// Where the next undelivered entry begins in the oldest segment.
    read_at: u64,
    writer: Option<File>,
    /// Entries dropped at the limit, and regions of damaged bytes skipped.
    pub(crate) dropped: u64,
    pub(crate) damaged: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    number: u64,
    bytes: u64,
    /// Entries not yet delivered.
    waiting: u64,
}

/// What is in a segment from some byte on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Scan {
    entries: u64,
    /// Where the last whole entry ends.
    end: u64,
    damaged: u64,
}

impl Outbox {
    /// Opens or creates an outbox, and cuts off what a crash left half written.
    pub(crate) fn open(directory: &Path, bytes_max: u64) -> io::Result<Outbox> {
        fs::create_dir_all(directory)?;
        let bytes_max = bytes_max.max(2 * SEGMENT_BYTES_MIN);
        let mut numbers: Vec<u64> = fs::read_dir(directory)?
            .filter_map(|entry| number_of(&entry.ok()?.file_name().into_string().ok()?))
            .collect();
        numbers.sort_unstable();
        let cursor = read_cursor(directory);
        let mut outbox = Outbox {
            directory: directory.to_owned(),
            bytes_max,
            segment_bytes: (bytes_max / SEGMENTS).max(SEGMENT_BYTES_MIN),
            segments: VecDeque::new(),
            read_at: 0,
            writer: None,
            dropped: 0,
            damaged: 0,
        };
        for number in numbers {
            if number < cursor.0 {
                fs::remove_file(outbox.path(number))?;
                continue;
            }
            let from = if number == cursor.0 { cursor.1 } else { 0 };
            let scan = scan(&outbox.read_segment(number)?, usize::try_from(from).unwrap_or(usize::MAX));
            if outbox.segments.is_empty() {
                outbox.read_at = from.min(scan.end);
            }
            outbox.damaged += scan.damaged;
            // Only whole entries stay, so that the next append is not behind a torn one.
            OpenOptions::new().write(true).open(outbox.path(number))?.set_len(scan.end)?;
            outbox.segments.push_back(Segment { number, bytes: scan.end, waiting: scan.entries });
        }
        if outbox.segments.is_empty() {
            // Not the cursor's own number: its byte would hide what comes into a new segment of that name.
            outbox.segments.push_back(Segment { number: cursor.0.saturating_add(1), bytes: 0, waiting: 0 });
            outbox.read_at = 0;
        }
        Ok(outbox)
    }

    /// Appends messages and brings them to the disk.
    pub(crate) fn append<'a>(&mut self, messages: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
        for message in messages {
            if message.len() > MESSAGE_BYTES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("a message of {} bytes", message.len()),
                ));
            }
            self.append_one(message)?;
        }
        self.writer.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// The oldest undelivered message, which stays until [`Outbox::done`].
    pub(crate) fn front(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let Some(segment) = self.segments.front().copied() else { return Ok(None) };
            if segment.waiting > 0 {
                match self.entry_at(segment, self.read_at)? {
                    Some((payload, at)) => {
                        if at != self.read_at {
                            self.damaged += 1;
                            self.read_at = at;
                        }
                        return Ok(Some(payload));
                    }
                    // The disk changed what was whole when it was opened.
                    None => {
                        self.damaged += 1;
                        self.dropped += segment.waiting;
                        if let Some(front) = self.segments.front_mut() {
                            front.waiting = 0;
                        }
                    }
                }
            }
            if self.segments.len() == 1 {
                return Ok(None);
            }
            self.drop_segment()?;
        }
    }

    /// Marks the message that [`Outbox::front`] gave as delivered.
    pub(crate) fn done(&mut self, payload_bytes: usize) -> io::Result<()> {
        let Some(front) = self.segments.front_mut() else { return Ok(()) };
        front.waiting = front.waiting.saturating_sub(1);
        self.read_at += (HEAD_BYTES + payload_bytes) as u64;
        let number = front.number;
        let text = format!("{number} {}\n", self.read_at);
        replace(&self.directory.join("cursor"), text.as_bytes())
    }

    /// How many messages wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.segments.iter().map(|segment| segment.waiting).sum()
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// The number of the segment that is read, which changes when it was dropped meanwhile.
    pub(crate) fn position(&self) -> (u64, u64) {
        (self.segments.front().map_or(0, |segment| segment.number), self.read_at)
    }

    fn append_one(&mut self, message: &[u8]) -> io::Result<()> {
        let entry_bytes = (HEAD_BYTES + message.len()) as u64;
        while self.bytes() + entry_bytes > self.bytes_max && self.segments.len() > 1 {
            self.dropped += self.segments.front().map_or(0, |segment| segment.waiting);
            self.drop_segment()?;
        }
        let last = self.segments.back().copied().unwrap_or(Segment { number: 1, bytes: 0, waiting: 0 });
        if last.bytes > 0 && last.bytes + entry_bytes > self.segment_bytes {
            if let Some(writer) = self.writer.take() {
                writer.sync_data()?;
            }
            self.segments.push_back(Segment { number: last.number.saturating_add(1), bytes: 0, waiting: 0 });
        }
        let Some(last) = self.segments.back().copied() else { return Ok(()) };
        let mut entry = Vec::with_capacity(entry_bytes as usize);
        entry.extend_from_slice(MAGIC);
        entry.extend_from_slice(&(message.len() as u32).to_be_bytes());
        entry.extend_from_slice(&checksum(message));
        entry.extend_from_slice(message);
        if self.writer.is_none() {
            let path = self.path(last.number);
            self.writer = Some(OpenOptions::new().create(true).append(true).open(path)?);
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if let Err(error) = writer.write_all(&entry) {
            // A part may be on disk: cut it off, so that what follows is readable.
            let _ = writer.set_len(last.bytes);
            self.writer = None;
            return Err(error);
        }
        if let Some(last) = self.segments.back_mut() {
            last.bytes += entry_bytes;
            last.waiting += 1;
        }
        Ok(())
    }

    /// Removes the oldest segment; another is there.
    fn drop_segment(&mut self) -> io::Result<()> {
        let Some(oldest) = self.segments.pop_front() else { return Ok(()) };
        self.read_at = 0;
        match fs::remove_file(self.path(oldest.number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The first whole entry at or after a byte, and where it begins.
    fn entry_at(&self, segment: Segment, at: u64) -> io::Result<Option<(Vec<u8>, u64)>> {
        let mut file = File::open(self.path(segment.number))?;
        file.seek(SeekFrom::Start(at))?;
        let mut head = [0; HEAD_BYTES];
        if file.read_exact(&mut head).is_ok()
            && let Some(length) = payload_bytes(&head)
        {
            let mut payload = vec![0; length];
            if file.read_exact(&mut payload).is_ok() && checksum(&payload) == head[8..] {
                return Ok(Some((payload, at)));
            }
        }
        let bytes = self.read_segment(segment.number)?;
        Ok(next_entry(&bytes, at as usize).map(|(from, payload)| (payload.to_vec(), from as u64)))
    }

    fn read_segment(&self, number: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // A segment ends before its size plus one message; a larger file is not ours to read whole.
        let limit = self.bytes_max + (HEAD_BYTES + MESSAGE_BYTES_MAX) as u64;
        File::open(self.path(number))?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:020}.outbox"))
    }
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".outbox")?.parse().ok()
}

/// Segment and byte of the next entry; a cursor that cannot be read means delivering again.
fn read_cursor(directory: &Path) -> (u64, u64) {
    let text = fs::read_to_string(directory.join("cursor")).unwrap_or_default();
    let parsed =
        text.trim().split_once(' ').and_then(|(segment, at)| Some((segment.parse().ok()?, at.parse().ok()?)));
    parsed.unwrap_or((0, 0))
}

fn checksum(payload: &[u8]) -> [u8; 8] {
    let digest = Sha256::digest(payload);
    let mut short = [0; 8];
    short.copy_from_slice(&digest[..8]);
    short
}

/// The payload's length, where a head is one.
fn payload_bytes(head: &[u8]) -> Option<usize> {
    let (magic, rest) = head.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*rest.first_chunk::<4>()?) as usize;
    (magic == MAGIC && length <= MESSAGE_BYTES_MAX).then_some(length)
}

/// The entry that begins at a byte, when it is whole.
fn entry(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    let length = payload_bytes(rest.get(..HEAD_BYTES)?)?;
    let payload = rest.get(HEAD_BYTES..HEAD_BYTES + length)?;
    (checksum(payload) == rest[8..HEAD_BYTES]).then_some(payload)
}

/// The first whole entry at or after a byte.
fn next_entry(bytes: &[u8], at: usize) -> Option<(usize, &[u8])> {
    let mut from = at;
    loop {
        if let Some(payload) = entry(bytes, from) {
            return Some((from, payload));
        }
        let rest = bytes.get(from.checked_add(1)?..)?;
        from += 1 + rest.windows(MAGIC.len()).position(|window| window == MAGIC)?;
    }
}

fn scan(bytes: &[u8], from: usize) -> Scan {
    let mut scan = Scan { end: from.min(bytes.len()) as u64, ..Scan::default() };
    let mut at = from;
    while let Some((begin, payload)) = next_entry(bytes, at) {
        scan.damaged += u64::from(begin != at);
        scan.entries += 1;
        at = begin + HEAD_BYTES + payload.len();
        scan.end = at as u64;
    }
    scan.damaged += u64::from(at < bytes.len());
    scan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(outbox: &mut Outbox, messages: std::ops::Range<u32>) {
        let messages: Vec<String> = messages.map(|n| format!("message {n}")).collect();
        outbox.append(messages.iter().map(|message| message.as_bytes())).unwrap();
    }

    fn drain(outbox: &mut Outbox) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(payload) = outbox.front().unwrap() {
            outbox.done(payload.len()).unwrap();
            all.push(String::from_utf8(payload).unwrap());
        }
        all
    }

    fn names(messages: std::ops::Range<u32>) -> Vec<String> {
        messages.map(|n| format!("message {n}")).collect()
    }

    #[test]
    fn messages_come_out_in_order_and_stay_until_done() {
        let directory = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(directory.path(), 1 << 20).unwrap();
        assert_eq!(outbox.front().unwrap(), None);
        fill(&mut outbox, 0..3);
        assert_eq!(outbox.front().unwrap().unwrap(), b"message 0");
        assert_eq!(outbox.front().unwrap().unwrap(), b"message 0");
        assert_eq!(outbox.waiting(), 3);
        assert_eq!(drain(&mut outbox), names(0..3));
        fill(&mut outbox, 3..5);
        assert_eq!(drain(&mut outbox), names(3..5));
    }

    #[test]
    fn after_a_crash_what_was_not_done_comes_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(directory.path(), 1 << 20).unwrap();
        fill(&mut outbox, 0..10);
        for _ in 0..4 {
            let payload = outbox.front().unwrap().unwrap();
            outbox.done(payload.len()).unwrap();
        }
        drop(outbox);
        let mut outbox = Outbox::open(directory.path(), 1 << 20).unwrap();
        assert_eq!(outbox.waiting(), 6);
        fill(&mut outbox, 10..11);
        assert_eq!(drain(&mut outbox), names(4..11));
        drop(outbox);
        assert_eq!(Outbox::open(directory.path(), 1 << 20).unwrap().waiting(), 0);
    }

    #[test]
    fn a_file_cut_anywhere_keeps_the_whole_messages_before_and_takes_new_ones() {
        let whole = tempfile::tempdir().unwrap();
        fill(&mut Outbox::open(whole.path(), 1 << 20).unwrap(), 0..4);
        let bytes = fs::read(whole.path().join("00000000000000000001.outbox")).unwrap();
        let entry_bytes = bytes.len() / 4;
        for end in 0..=bytes.len() {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("00000000000000000001.outbox"), &bytes[..end]).unwrap();
            let mut outbox = Outbox::open(directory.path(), 1 << 20).unwrap();
            assert_eq!(outbox.damaged, u64::from(end % entry_bytes != 0));
            fill(&mut outbox, 9..10);
            let mut want = names(0..(end / entry_bytes) as u32);
            want.extend(names(9..10));
            assert_eq!(drain(&mut outbox), want, "cut at {end}");
        }
    }

    #[test]
    fn a_flipped_byte_costs_its_own_message_only() {
        let whole = tempfile::tempdir().unwrap();
        fill(&mut Outbox::open(whole.path(), 1 << 20).unwrap(), 0..4);
        let bytes = fs::read(whole.path().join("00000000000000000001.outbox")).unwrap();
        let entry_bytes = bytes.len() / 4;
        for place in 0..bytes.len() {
            let directory = tempfile::tempdir().unwrap();
            let mut wrong = bytes.clone();
            wrong[place] ^= 0xff;
            fs::write(directory.path().join("00000000000000000001.outbox"), &wrong).unwrap();
            let mut outbox = Outbox::open(directory.path(), 1 << 20).unwrap();
            let lost = (place / entry_bytes) as u32;
            let mut want = names(0..4);
            want.remove(lost as usize);
            assert_eq!(drain(&mut outbox), want, "byte {place}");
            assert!(outbox.damaged > 0);
        }
    }

    #[test]
    fn at_the_limit_the_oldest_messages_go_and_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(directory.path(), 256 * 1024).unwrap();
        let message = vec![b'x'; 1000];
        for _ in 0..2000 {
            outbox.append([message.as_slice()]).unwrap();
        }
        assert!(outbox.bytes() <= 256 * 1024, "{}", outbox.bytes());
        assert!(outbox.dropped > 0 && outbox.dropped + outbox.waiting() == 2000);
        let on_disk: u64 = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(on_disk <= 256 * 1024 + 100);
        let left = outbox.waiting();
        assert_eq!(drain(&mut outbox).len() as u64, left);
    }

    #[test]
    fn a_cursor_that_is_nonsense_means_delivering_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(directory.path(), 1 << 20).unwrap();
        fill(&mut outbox, 0..3);
        drain(&mut outbox);
        for cursor in ["", "x", "1", "1 x", "0 99999999", "1 18446744073709551615 7"] {
            fs::write(directory.path().join("cursor"), cursor).unwrap();
            assert_eq!(Outbox::open(directory.path(), 1 << 20).unwrap().waiting(), 3, "{cursor}");
        }
        fs::write(directory.path().join("cursor"), "1 18446744073709551615").unwrap();
        let mut outbox = Outbox::open(directory.path(), 1 << 20).unwrap();
        assert_eq!(outbox.waiting(), 0);
        fill(&mut outbox, 7..8);
        assert_eq!(drain(&mut outbox), names(7..8));
    }

    #[test]
    fn a_message_that_is_too_large_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(directory.path(), 1 << 30).unwrap();
        assert!(outbox.append([vec![0; MESSAGE_BYTES_MAX + 1].as_slice()]).is_err());
        outbox.append([vec![0; MESSAGE_BYTES_MAX].as_slice()]).unwrap();
        assert_eq!(outbox.waiting(), 1);
    }
}
