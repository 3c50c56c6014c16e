//! What a record says of a flow beyond counts and times: how a TCP connection went, how its packets are sized
//! and spaced, what the link layer said.
//!
//! In: nothing but values. Out: the types that a [`FlowRecord`] carries, with the words that users read.
//! Deliberately absent: how they come about, which is the sensor's flow table.
//!
//! [`FlowRecord`]: crate::record::FlowRecord

use crate::net::Direction;
use std::fmt;

/// Most letters of a connection's history; further ones are left out.
pub const HISTORY_LETTERS_MAX: usize = 24;
/// Most of a record's first packets that are told one by one.
pub const FIRST_PACKETS_MAX: usize = 512;
/// Most MPLS labels kept, from the top of the stack.
pub const MPLS_LABELS_MAX: usize = 3;

/// What a flow's packets say beyond counts. Everything that was not seen, or that an exporter did not say, is at its
/// default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// How the connection went, in Zeek's words; of the flow up to the record's end.
    pub connection: Option<ConnectionState>,
    /// What happened in it, in Zeek's letters; of the flow up to the record's end.
    pub history: History,
    /// From the initiator's SYN to the responder's SYN with ACK, in microseconds.
    pub server_rtt_us: Option<u32>,
    /// From that to the initiator's ACK, in microseconds.
    pub client_rtt_us: Option<u32>,
    /// Initiator to responder.
    pub forward: DirectionFeatures,
    /// Responder to initiator.
    pub reverse: DirectionFeatures,
    /// Whether sizes and gaps are known; they are not when statistics are off or had no room.
    pub has_statistics: bool,
    /// The first packets of the record, both directions, in the order they came.
    pub first_packets: Vec<PacketBrief>,
    /// MPLS label stack entries of the first packet, topmost first: label, traffic class and bottom-of-stack bit, the
    /// low 24 bits; 0 where there is none.
    pub mpls: [u32; MPLS_LABELS_MAX],
}

impl Features {
    /// Nothing known.
    pub const EMPTY: Features = Features {
        connection: None,
        history: History::EMPTY,
        server_rtt_us: None,
        client_rtt_us: None,
        forward: DirectionFeatures::EMPTY,
        reverse: DirectionFeatures::EMPTY,
        has_statistics: false,
        first_packets: Vec::new(),
        mpls: [0; MPLS_LABELS_MAX],
    };

    /// Round trip of the handshake: SYN to the ACK that completes it, in microseconds.
    pub fn rtt_us(&self) -> Option<u64> {
        Some(u64::from(self.server_rtt_us?) + u64::from(self.client_rtt_us?))
    }

    /// A direction's part.
    pub fn direction(&self, direction: Direction) -> &DirectionFeatures {
        match direction {
            Direction::Forward => &self.forward,
            Direction::Reverse => &self.reverse,
        }
    }
}

/// What one direction's packets say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectionFeatures {
    /// TCP window of the first segment, unscaled.
    pub initial_window: u16,
    /// Counts of what TCP had to repair.
    pub trouble: TcpTrouble,
    /// Octets of the smallest and largest packet, from the IP header on; 65,535 stands for more.
    pub octets_min: u16,
    /// See `octets_min`.
    pub octets_max: u16,
    /// Sum of the squares of the packets' octets (IPFIX `octetDeltaSumOfSquares`).
    pub octets_squared: u64,
    /// Shortest time between two packets of this direction, in microseconds, and the longest.
    pub gap_min_us: u32,
    /// See `gap_min_us`.
    pub gap_max_us: u32,
    /// Sum of the times between packets, in microseconds.
    pub gap_sum_us: u64,
    /// Sum of their squares, in square microseconds; all ones when it does not fit.
    pub gap_squared_us2: u64,
    /// Shannon entropy of the payload's beginning, 1 to 255 for 0 to 8 bits an octet; none without payload.
    pub entropy: Option<u8>,
    /// Link-layer addresses of the first packet, zeros when there are none.
    pub source_mac: [u8; 6],
    /// See `source_mac`.
    pub destination_mac: [u8; 6],
}

impl DirectionFeatures {
    /// Nothing known.
    pub const EMPTY: DirectionFeatures = DirectionFeatures {
        initial_window: 0,
        trouble: TcpTrouble::NONE,
        octets_min: 0,
        octets_max: 0,
        octets_squared: 0,
        gap_min_us: 0,
        gap_max_us: 0,
        gap_sum_us: 0,
        gap_squared_us2: 0,
        entropy: None,
        source_mac: [0; 6],
        destination_mac: [0; 6],
    };

    /// Entropy of the payload's beginning, in bits an octet.
    pub fn entropy_bits(&self) -> Option<f64> {
        self.entropy.map(|value| f64::from(value.saturating_sub(1)) * 8.0 / 254.0)
    }

    /// Mean and standard deviation of the packets' octets, of a direction that carried this much.
    pub fn octets_mean_and_deviation(&self, packets: u64, octets: u64) -> Option<(f64, f64)> {
        mean_and_deviation(packets, octets, self.octets_squared)
    }

    /// Mean and standard deviation of the microseconds between packets, of a direction with this many packets.
    pub fn gap_mean_and_deviation_us(&self, packets: u64) -> Option<(f64, f64)> {
        mean_and_deviation(packets.checked_sub(1)?, self.gap_sum_us, self.gap_squared_us2)
    }
}

/// Of the whole population, not of a sample.
fn mean_and_deviation(count: u64, sum: u64, squares: u64) -> Option<(f64, f64)> {
    if count == 0 {
        return None;
    }
    let count = count as f64;
    let mean = sum as f64 / count;
    Some((mean, (squares as f64 / count - mean * mean).max(0.0).sqrt()))
}

/// What TCP had to repair, counted for the end that sent the segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpTrouble {
    /// Segments that repeat sequence numbers.
    pub retransmitted: u32,
    /// Segments that came after later ones, sooner than a retransmission could be.
    pub out_of_order: u32,
    /// Acknowledgements that say again what the one before said and do not answer a keep-alive.
    pub duplicate_acks: u32,
    /// Segments with a window of zero.
    pub zero_windows: u32,
    /// Octets that the other end acknowledged and that were not seen.
    pub missed_octets: u64,
}

impl TcpTrouble {
    /// No trouble.
    pub const NONE: TcpTrouble = TcpTrouble {
        retransmitted: 0,
        out_of_order: 0,
        duplicate_acks: 0,
        zero_windows: 0,
        missed_octets: 0,
    };
}

/// One of a flow's first packets (SPLT: sequence of packet lengths and times).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketBrief {
    /// Microseconds since the record's start; all ones for more than fits.
    pub time_us: u32,
    /// Octets of payload; 65,535 for more.
    pub payload: u16,
    /// TCP control bits, the low eight; 0 where it is not TCP.
    pub tcp_flags: u8,
    /// Which way it went.
    pub direction: Direction,
}

macro_rules! connection_states {
    ($($(#[doc = $doc:literal])* $variant:ident = $number:literal $name:literal;)*) => {
        /// How a connection went, in the words of Zeek's `conn_state`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ConnectionState {
            $($(#[doc = $doc])* $variant = $number,)*
        }

        impl ConnectionState {
            /// Zeek's word.
            pub const fn name(self) -> &'static str {
                match self { $(ConnectionState::$variant => $name,)* }
            }

            /// The state of a stored number.
            pub const fn from_number(number: u8) -> Option<ConnectionState> {
                match number { $($number => Some(ConnectionState::$variant),)* _ => None }
            }
        }
    };
}

connection_states! {
    /// A connection was attempted and not answered.
    S0 = 1 "S0";
    /// Established, not ended.
    S1 = 2 "S1";
    /// Established and ended in order; of UDP, both ends spoke.
    Sf = 3 "SF";
    /// The attempt was rejected.
    Rej = 4 "REJ";
    /// Established; the initiator closed its side and the responder said nothing to that.
    S2 = 5 "S2";
    /// Established; the responder closed its side and the initiator said nothing to that.
    S3 = 6 "S3";
    /// Established; the initiator reset it.
    Rsto = 7 "RSTO";
    /// The responder reset it.
    Rstr = 8 "RSTR";
    /// The initiator sent a SYN and then RST; the responder never answered with a SYN.
    Rstos0 = 9 "RSTOS0";
    /// The responder sent a SYN with ACK and then RST; the initiator's SYN was not seen.
    Rstrh = 10 "RSTRH";
    /// The initiator sent a SYN and then FIN; the responder never answered with a SYN: half open.
    Sh = 11 "SH";
    /// The responder sent a SYN with ACK and then FIN; the initiator's SYN was not seen.
    Shr = 12 "SHR";
    /// None of these: picked up in its middle, or neither TCP nor UDP.
    Oth = 13 "OTH";
}

/// What happened in a connection, in the letters of Zeek's `history`: upper case from the initiator, lower case from
/// the responder, `^` where the ends changed places.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct History {
    letters: [u8; HISTORY_LETTERS_MAX],
    len: u8,
}

impl History {
    /// Nothing happened.
    pub const EMPTY: History = History { letters: [0; HISTORY_LETTERS_MAX], len: 0 };

    /// Adds a letter; what is no ASCII letter nor `^`, and what finds no room, is left out.
    pub fn push(&mut self, letter: u8) {
        if (letter.is_ascii_alphabetic() || letter == b'^')
            && let Some(place) = self.letters.get_mut(usize::from(self.len))
        {
            *place = letter;
            self.len += 1;
        }
    }

    /// The letters.
    pub fn as_str(&self) -> &str {
        self.letters
            .get(..usize::from(self.len))
            .and_then(|text| std::str::from_utf8(text).ok())
            .unwrap_or("")
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl From<&[u8]> for History {
    fn from(letters: &[u8]) -> History {
        let mut history = History::EMPTY;
        letters.iter().for_each(|letter| history.push(*letter));
        history
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A link-layer address as text: six groups of two hexadecimal digits.
pub fn mac_text(mac: [u8; 6]) -> [u8; 17] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b':'; 17];
    for (octet, place) in mac.iter().zip(text.chunks_mut(3)) {
        if let [high, low, ..] = place {
            (*high, *low) = (HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_keeps_its_first_letters_and_no_other_octets() {
        let mut history = History::from(&b"^ShA\"\xff1d"[..]);
        assert_eq!(history.as_str(), "^ShAd");
        (0..100).for_each(|_| history.push(b'T'));
        assert_eq!(history.as_str().len(), HISTORY_LETTERS_MAX);
        assert_eq!(format!("{history:?}"), "\"^ShAdTTTTTTTTTTTTTTTTTTT\"");
    }

    #[test]
    fn numbers_lead_back_to_connection_states() {
        let states: Vec<_> = (0..=255).filter_map(ConnectionState::from_number).collect();
        assert_eq!(states.len(), 13);
        assert!(states.iter().all(|state| ConnectionState::from_number(*state as u8) == Some(*state)));
        assert_eq!((ConnectionState::Rstos0.name(), ConnectionState::from_number(0)), ("RSTOS0", None));
    }

    #[test]
    fn mean_and_deviation_follow_from_count_sum_and_squares() {
        let direction = DirectionFeatures {
            octets_squared: 40 * 40 + 60 * 60,
            gap_sum_us: 7,
            gap_squared_us2: 49,
            entropy: Some(255),
            ..DirectionFeatures::EMPTY
        };
        assert_eq!(direction.octets_mean_and_deviation(2, 100), Some((50.0, 10.0)));
        assert_eq!(direction.octets_mean_and_deviation(0, 0), None);
        assert_eq!(direction.gap_mean_and_deviation_us(2), Some((7.0, 0.0)));
        assert_eq!(direction.gap_mean_and_deviation_us(1), None);
        assert_eq!(direction.gap_mean_and_deviation_us(0), None);
        assert_eq!(direction.entropy_bits(), Some(8.0));
    }

    #[test]
    fn a_mac_address_is_written_in_hexadecimal() {
        assert_eq!(&mac_text([0, 0x1b, 0xff, 2, 0xa0, 9]), b"00:1b:ff:02:a0:09");
    }
}
