//! What a dissector is shown to recognise its protocol by.
//!
//! In: a direction's first bytes and what is known around them. Out: views for probes, and the sets of first
//! bytes that spare most probes the question. Holds nothing.

use super::Carrier;
use weir_common::net::Direction;

/// Bytes kept of what was seen before ([`Glimpse`]).
const GLIMPSE_BYTES: usize = 32;

/// The first bytes of a direction, or a datagram, of a flow whose application is not known yet.
#[derive(Clone, Copy, Debug)]
pub struct First<'a> {
    /// What carries them.
    pub carrier: Carrier,
    /// Who sent them, as far as that is known: a capture that begins late may have it backwards.
    pub direction: Direction,
    /// All that is held of a stream's direction, from its beginning; or one whole datagram.
    pub bytes: &'a [u8],
    /// Port they were sent from.
    pub source_port: u16,
    /// Port they were sent to.
    pub destination_port: u16,
    /// The datagram before this one in the same direction.
    pub before: Glimpse,
    /// The datagram before this one in the other direction, or the first bytes of the other direction's stream.
    pub other: Glimpse,
    /// Datagrams of the flow before this one.
    pub number: u8,
}

impl<'a> First<'a> {
    /// Bytes without surroundings; for tests, and for dissectors that ask about bytes inside their own.
    pub fn of(carrier: Carrier, direction: Direction, bytes: &'a [u8]) -> First<'a> {
        let (before, other) = (Glimpse::default(), Glimpse::default());
        First { carrier, direction, bytes, source_port: 0, destination_port: 0, before, other, number: 0 }
    }

    /// As [`First::of`], between two ports.
    pub fn between(self, source_port: u16, destination_port: u16) -> First<'a> {
        First { source_port, destination_port, ..self }
    }

    /// Whether it is a stream.
    pub fn is_stream(&self) -> bool {
        self.carrier == Carrier::Stream
    }

    /// Whether it is a datagram.
    pub fn is_datagram(&self) -> bool {
        self.carrier == Carrier::Datagram
    }

    /// Whether one of the ends has this port.
    pub fn has_port(&self, port: u16) -> bool {
        self.source_port == port || self.destination_port == port
    }

    /// Whether one of the ends has one of these ports.
    pub fn has_port_of(&self, ports: &[u16]) -> bool {
        ports.contains(&self.source_port) || ports.contains(&self.destination_port)
    }
}

/// What is remembered of bytes that nobody recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Glimpse {
    /// How many bytes there were; 0: nothing was seen.
    pub len: u32,
    head: [u8; GLIMPSE_BYTES],
}

impl Glimpse {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Glimpse {
        let mut head = [0; GLIMPSE_BYTES];
        for (kept, byte) in head.iter_mut().zip(bytes) {
            *kept = *byte;
        }
        Glimpse { len: u32::try_from(bytes.len()).unwrap_or(u32::MAX), head }
    }

    /// The first of them, at most 32.
    pub fn head(&self) -> &[u8] {
        self.head.get(..self.len as usize).unwrap_or(&self.head)
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Which first bytes a protocol can begin with, over each carrier: one bit per byte value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Starts {
    stream: [u64; 4],
    datagram: [u64; 4],
}

const NONE: [u64; 4] = [0; 4];
const ALL: [u64; 4] = [u64::MAX; 4];

impl Starts {
    /// Any byte, over either carrier.
    pub const ANY: Starts = Starts { stream: ALL, datagram: ALL };
    /// Any byte of a stream; no datagrams.
    pub const STREAM: Starts = Starts { stream: ALL, datagram: NONE };
    /// Any byte of a datagram; no streams.
    pub const DATAGRAM: Starts = Starts { stream: NONE, datagram: ALL };

    /// These bytes at the start of a stream; no datagrams.
    pub const fn stream(bytes: &[u8]) -> Starts {
        Starts { stream: set(bytes), datagram: NONE }
    }

    /// These bytes at the start of a datagram; no streams.
    pub const fn datagram(bytes: &[u8]) -> Starts {
        Starts { stream: NONE, datagram: set(bytes) }
    }

    /// These bytes over either carrier.
    pub const fn both(bytes: &[u8]) -> Starts {
        Starts { stream: set(bytes), datagram: set(bytes) }
    }

    /// These bytes, from one to another, at the start of a datagram; no streams.
    pub const fn range_of_datagram(from: u8, to: u8) -> Starts {
        let mut set = NONE;
        let mut byte = from as usize;
        while byte <= to as usize {
            set[byte >> 6] |= 1 << (byte & 63);
            byte += 1;
        }
        Starts { stream: NONE, datagram: set }
    }

    /// What either of two sets has.
    pub const fn or(self, other: Starts) -> Starts {
        let mut sum = self;
        let mut at = 0;
        while at < 4 {
            sum.stream[at] |= other.stream[at];
            sum.datagram[at] |= other.datagram[at];
            at += 1;
        }
        sum
    }

    /// Whether bytes over a carrier can begin with this one.
    pub const fn has(&self, carrier: Carrier, byte: u8) -> bool {
        let set = match carrier {
            Carrier::Stream => &self.stream,
            Carrier::Datagram => &self.datagram,
        };
        set[(byte >> 6) as usize] & (1 << (byte & 63)) != 0
    }
}

const fn set(bytes: &[u8]) -> [u64; 4] {
    let mut set = NONE;
    let mut at = 0;
    while at < bytes.len() {
        set[(bytes[at] >> 6) as usize] |= 1 << (bytes[at] & 63);
        at += 1;
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_sets_of_bytes_by_carrier() {
        const LETTERS: Starts = Starts::stream(b"GP").or(Starts::datagram(&[0, 255]));
        for byte in 0..=255 {
            assert_eq!(LETTERS.has(Carrier::Stream, byte), b"GP".contains(&byte));
            assert_eq!(LETTERS.has(Carrier::Datagram, byte), [0, 255].contains(&byte));
            assert!(Starts::ANY.has(Carrier::Stream, byte) && !Starts::DATAGRAM.has(Carrier::Stream, byte));
        }
    }

    #[test]
    fn a_glimpse_keeps_the_first_bytes_and_the_length() {
        assert!(Glimpse::default().is_empty() && Glimpse::default().head().is_empty());
        assert_eq!(Glimpse::of(b"abc").head(), b"abc");
        let long = Glimpse::of(&[7; 1000]);
        assert_eq!((long.len, long.head().len()), (1000, GLIMPSE_BYTES));
    }
}
