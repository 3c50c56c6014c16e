//! Borrowed views of a DNS message and the walk over its names (RFC 1035 section 4).
//!
//! In: a message's bytes. Out: header values, questions, records, names; `None` where the bytes end or
//! contradict themselves. Names are read as leniently as Suricata reads them, so that the same are told: longer than
//! the standard allows, with pointers to anywhere, and what is wrong with them is noted. The steps along one name are
//! limited, so every walk ends.

use super::types::{is_question_type, rr};

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 12;
/// Most bytes of a name that are read; RFC 1035 section 2.3.4 allows 255 octets, resolvers take names as long as this.
/// What lies beyond is left out, and told.
pub(super) const NAME_BYTES_MAX: usize = 1025;
/// Most labels and pointers followed in one name; one that goes on is left there, and told. Of the names that the
/// standard allows none has more than 127 labels.
const NAME_STEPS_MAX: usize = 255;
/// Most labels and pointers followed in all names of a message, each time one is read counted anew: so many, and
/// [`MESSAGE_STEPS_OF_BYTE`] for each of its bytes; the names of a zone's transfer take two or three. Names behind are not
/// read, and that is told: questions of six bytes that all point to one long name would cost a millisecond a packet.
const MESSAGE_STEPS_MAX: usize = 2048;
const MESSAGE_STEPS_OF_BYTE: usize = 8;

/// A message whose header is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    bytes: &'a [u8],
}

/// How far a message could be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// To its last byte.
    Whole,
    /// Through all sections, and something is behind them.
    Trailing,
    /// To the questions (0), answers (1), authorities (2) or additionals (3), which cannot be read.
    Broken(u8),
}

/// A resource record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// Where its owner name begins.
    pub(super) name_at: usize,
    /// Its type.
    pub(super) rtype: u16,
    /// Its time to live, in seconds.
    pub(super) ttl: u32,
    /// Its data.
    pub(super) data: &'a [u8],
    /// Where its data begins in the message: names in it may point elsewhere.
    pub(super) data_at: usize,
}

/// Room for one name in text form: labels joined by dots, the root as nothing.
#[derive(Debug)]
pub(super) struct NameBuffer {
    text: [u8; NAME_BYTES_MAX],
    odd: Odd,
    /// Labels and pointers that were followed.
    steps: usize,
}

/// What was wrong with names that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Odd {
    /// One was longer than [`NAME_BYTES_MAX`], or had too many labels: it is cut off.
    pub(super) is_cut: bool,
    /// A pointer pointed at itself.
    pub(super) is_loop: bool,
    /// One had more than [`NAME_STEPS_MAX`] labels and pointers.
    pub(super) has_many_labels: bool,
}

impl Default for NameBuffer {
    fn default() -> Self {
        NameBuffer { text: [0; NAME_BYTES_MAX], odd: Odd::default(), steps: 0 }
    }
}

impl NameBuffer {
    /// What was wrong with the names that were read into this.
    pub(super) fn odd(&self) -> Odd {
        self.odd
    }
}

/// A name that was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Name<'b> {
    /// Its text, as far as it is read.
    pub(super) text: &'b [u8],
    /// It goes on.
    pub(super) is_cut: bool,
}

impl<'a> Message<'a> {
    /// A view of a message; `None` without a whole header.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Message<'a>> {
        (bytes.len() >= HEADER_BYTES).then_some(Message { bytes })
    }

    /// The identifier.
    pub(super) fn id(&self) -> u16 {
        self.u16(0).unwrap_or(0)
    }

    /// The second word of the header.
    pub(super) fn flags(&self) -> u16 {
        self.u16(2).unwrap_or(0)
    }

    /// Whether the QR bit is set.
    pub(super) fn is_response(&self) -> bool {
        self.flags() & 0x8000 != 0
    }

    /// The kind of request.
    pub(super) fn opcode(&self) -> u8 {
        (self.flags() >> 11) as u8 & 0x0f
    }

    /// The response code of the header.
    pub(super) fn rcode(&self) -> u8 {
        self.flags() as u8 & 0x0f
    }

    /// The number of entries of section 0 (questions), 1 (answers), 2 (authorities), 3 (additionals).
    pub(super) fn count(&self, section: usize) -> u16 {
        self.u16(4 + 2 * section).unwrap_or(0)
    }

    /// Walks all sections.
    pub(super) fn walk(&self, names: &mut NameBuffer) -> Walk {
        let Some(mut at) = self.questions(names, |_, _| {}) else { return Walk::Broken(0) };
        for section in 1..=3 {
            for _ in 0..self.count(section) {
                let Some((_, next)) = self.record(at) else { return Walk::Broken(section as u8) };
                at = next;
            }
        }
        if at == self.bytes.len() { Walk::Whole } else { Walk::Trailing }
    }

    /// Whether every section can be walked and the message ends where the last one does.
    pub(super) fn is_whole(&self, names: &mut NameBuffer) -> bool {
        self.walk(names) == Walk::Whole && !names.odd().is_loop
    }

    /// Whether the first question or record can be read and is of an assigned type.
    pub(super) fn has_readable_start(&self, names: &mut NameBuffer) -> bool {
        let Some((_, next)) = self.name(HEADER_BYTES, names) else { return false };
        let (Some(rtype), Some(class)) = (self.u16(next), self.u16(next + 2)) else { return false };
        let is_record = self.count(0) == 0;
        is_question_type(rtype)
            && !names.odd().is_loop
            && (is_record && rtype == rr::OPT || matches!(class & 0x7fff, 1 | 3 | 4 | 254 | 255))
            && (!is_record || self.record(HEADER_BYTES).is_some())
    }

    /// Visits name and type of each question; returns where the answers begin.
    pub(super) fn questions(
        &self,
        names: &mut NameBuffer,
        mut visit: impl FnMut(Name<'_>, u16),
    ) -> Option<usize> {
        let mut at = HEADER_BYTES;
        for _ in 0..self.count(0) {
            let (name, next) = self.name(at, names)?;
            let rtype = self.u16(next)?;
            self.u16(next + 2)?;
            visit(name, rtype);
            at = next + 4;
        }
        Some(at)
    }

    /// Whether all questions are of assigned classes; the top bit is multicast DNS's.
    pub(super) fn has_question_classes(&self) -> bool {
        let mut at = HEADER_BYTES;
        (0..self.count(0)).all(|_| {
            let Some(next) = self.name_end(at) else { return false };
            at = next + 4;
            self.u16(next + 2).is_some_and(|class| matches!(class & 0x7fff, 1 | 3 | 4 | 254 | 255))
        })
    }

    /// The answers, as far as they can be read.
    pub(super) fn answers(&self) -> Records<'a> {
        let at = (0..self.count(0)).try_fold(HEADER_BYTES, |at, _| Some(self.name_end(at)? + 4));
        Records { message: *self, at: at.unwrap_or(usize::MAX), left: self.count(1) }
    }

    /// Calls for the records of each section in turn, as far as they can be read.
    pub(super) fn sections(&self) -> [Records<'a>; 3] {
        let answers = self.answers();
        let skip = |records: Records<'a>, section: usize| {
            let mut records = records;
            while records.next().is_some() {}
            // What follows something unreadable cannot be found.
            let at = if records.left == 0 { records.at } else { usize::MAX };
            Records { message: *self, at, left: self.count(section) }
        };
        let authorities = skip(answers, 2);
        [answers, authorities, skip(authorities, 3)]
    }

    fn record(&self, at: usize) -> Option<(Record<'a>, usize)> {
        let next = self.name_end(at)?;
        let rtype = self.u16(next)?;
        let ttl = self.bytes.get(next + 4..next + 8)?;
        let length = usize::from(self.u16(next + 8)?);
        let data_at = next + 10;
        let data = self.bytes.get(data_at..data_at + length)?;
        let ttl = ttl.try_into().map_or(0, u32::from_be_bytes);
        Some((Record { name_at: at, rtype, ttl, data, data_at }, data_at + length))
    }

    /// Where the name at `at` ends, without following pointers.
    fn name_end(&self, mut at: usize) -> Option<usize> {
        for _ in 0..=NAME_STEPS_MAX {
            let length = *self.bytes.get(at)?;
            match length {
                0 => return Some(at + 1),
                1..=63 => at += 1 + usize::from(length),
                0xc0..=0xff => return self.bytes.get(at + 1).map(|_| at + 2),
                _ => return None,
            }
        }
        None
    }

    /// The name at `at`, and where what follows it begins.
    pub(super) fn name<'b>(&self, at: usize, names: &'b mut NameBuffer) -> Option<(Name<'b>, usize)> {
        let end = self.name_end(at)?;
        let (mut at, mut length, mut steps) = (at, 0, 0);
        let (mut has_jumped, mut is_cut) = (false, false);
        while let Some(octet) = self.bytes.get(at) {
            match octet {
                0 => break,
                1..=63 => {
                    let label = self.bytes.get(at + 1..at + 1 + usize::from(*octet))?;
                    let dot: &[u8] = if length > 0 { b"." } else { b"" };
                    for part in [dot, label] {
                        let left = names.text.get_mut(length..).unwrap_or_default();
                        let taken = part.len().min(left.len());
                        is_cut |= taken < part.len();
                        left.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
                        length += taken;
                    }
                    at += 1 + label.len();
                }
                0xc0..=0xff => {
                    let target = usize::from(self.u16(at)? & 0x3fff);
                    if target == at {
                        names.odd.is_loop = true;
                        // Where something was pointed at before, the name's end in the message is known.
                        if has_jumped {
                            break;
                        }
                        return None;
                    }
                    if target > self.bytes.len() {
                        return None;
                    }
                    (at, has_jumped) = (target, true);
                }
                _ => return None,
            }
            steps += 1;
            names.steps += 1;
            if names.steps > MESSAGE_STEPS_MAX + MESSAGE_STEPS_OF_BYTE * self.bytes.len() {
                names.odd.has_many_labels = true;
                return None;
            }
            if steps > NAME_STEPS_MAX {
                (names.odd.has_many_labels, is_cut) = (true, true);
            }
            if is_cut && has_jumped {
                break;
            }
        }
        names.odd.is_cut |= is_cut;
        Some((Name { text: names.text.get(..length)?, is_cut }, end))
    }

    fn u16(&self, at: usize) -> Option<u16> {
        let bytes = self.bytes.get(at..at.checked_add(2)?)?;
        Some(u16::from_be_bytes(bytes.try_into().ok()?))
    }
}

/// The records of one section; ends at the first that cannot be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Records<'a> {
    message: Message<'a>,
    at: usize,
    left: u16,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let left = self.left.checked_sub(1)?;
        let (record, next) = self.message.record(self.at)?;
        self.left = left;
        self.at = next;
        Some(record)
    }
}

/// The name at an offset in a record's data; it has to end within the data.
pub(super) fn rdata_name<'b>(
    message: &Message<'_>,
    record: &Record<'_>,
    offset: usize,
    names: &'b mut NameBuffer,
) -> Option<Name<'b>> {
    let (name, end) = message.name(record.data_at + offset, names)?;
    (end <= record.data_at + record.data.len()).then_some(name)
}

/// The character strings of a TXT or SPF record's data (RFC 1035 section 3.3.14).
pub(super) fn texts(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first()?;
        let (text, after) = after.split_at_checked(usize::from(*length))?;
        rest = after;
        Some(text)
    })
}

/// The options of an OPT record: code and data (RFC 6891 section 6.1.2).
pub(super) fn options(data: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (head, after) = rest.split_first_chunk::<4>()?;
        let [c0, c1, l0, l1] = *head;
        let (value, after) = after.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
        rest = after;
        Some((u16::from_be_bytes([c0, c1]), value))
    })
}

/// Whether a type's data is one name, after so many bytes.
pub(super) fn name_offset(rtype: u16) -> Option<usize> {
    match rtype {
        rr::CNAME | rr::NS | rr::PTR | rr::DNAME | rr::MD | rr::MF | rr::MB | rr::MG | rr::MR => Some(0),
        rr::MX => Some(2),
        _ => None,
    }
}
