//! Times, addresses and identifiers as JSON values, written without formatting machinery.
//!
//! In: values of a record. Out: short texts with their quotes, on the stack. Exists because a line of
//! EVE has three times and two addresses, and the standard formatter takes most of the line's time.

use crate::net::{Address, CommunityId};
use crate::time::Timestamp;

/// Most octets of a [`Short`]: an IPv6 address in full, with quotes, takes 41.
const SHORT_BYTES_MAX: usize = 48;

/// A quoted text of at most [`SHORT_BYTES_MAX`] octets; what would not fit is left out.
#[derive(Clone, Copy)]
pub struct Short {
    bytes: [u8; SHORT_BYTES_MAX],
    length: usize,
}

impl Short {
    fn quoted(fill: impl FnOnce(&mut Short)) -> Short {
        let mut short = Short { bytes: [0; SHORT_BYTES_MAX], length: 0 };
        short.push(b'"');
        fill(&mut short);
        short.push(b'"');
        short
    }

    /// The text with its quotes.
    pub fn json(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn push(&mut self, octet: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = octet;
            self.length += 1;
        }
    }

    fn extend(&mut self, octets: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.length..self.length + octets.len()) {
            place.copy_from_slice(octets);
            self.length += octets.len();
        }
    }

    /// A number with exactly `DIGITS` digits.
    fn digits<const DIGITS: usize>(&mut self, mut number: u32) {
        let mut digits = [b'0'; DIGITS];
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.extend(&digits);
    }
}

/// Writes times in EVE's form and remembers the date of the last one: its calendar is computed once a day.
#[derive(Default)]
pub struct EveTimes {
    day: Option<u64>,
    /// `2026-11-20T`.
    date: [u8; 11],
}

impl EveTimes {
    /// `"2026-11-20T12:00:00.123456+0000"`.
    pub fn json(&mut self, time: Timestamp) -> Short {
        const SECONDS_PER_DAY: u64 = 86_400;
        let day = time.seconds() / SECONDS_PER_DAY;
        if self.day != Some(day) {
            let text = time.eve().to_string();
            if let Some(date) = text.as_bytes().first_chunk() {
                (self.day, self.date) = (Some(day), *date);
            }
        }
        let of_day = (time.seconds() % SECONDS_PER_DAY) as u32;
        Short::quoted(|short| {
            short.extend(&self.date);
            short.digits::<2>(of_day / 3600);
            short.push(b':');
            short.digits::<2>(of_day / 60 % 60);
            short.push(b':');
            short.digits::<2>(of_day % 60);
            short.push(b'.');
            short.digits::<6>(time.subsec_nanos() / 1000);
            short.extend(b"+0000");
        })
    }
}

/// `"1763640000.123456789"`.
pub fn unix(time: Timestamp) -> Short {
    Short::quoted(|short| {
        short.extend(itoa::Buffer::new().format(time.seconds()).as_bytes());
        short.push(b'.');
        short.digits::<9>(time.subsec_nanos());
    })
}

/// An address as EVE writes it: IPv6 in full, without `::`.
pub fn address_in_full(address: &Address) -> Short {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    Short::quoted(|short| match address.as_v4() {
        Some(octets) => dotted(short, octets),
        None => {
            for (index, octet) in address.0.iter().enumerate() {
                if index % 2 == 0 && index > 0 {
                    short.push(b':');
                }
                short.push(HEX[usize::from(octet >> 4)]);
                short.push(HEX[usize::from(octet & 15)]);
            }
        }
    })
}

/// An address in its usual form (RFC 5952).
pub fn address(address: &Address) -> Short {
    Short::quoted(|short| match address.as_v4() {
        Some(octets) => dotted(short, octets),
        None => short.extend(address.to_string().as_bytes()),
    })
}

fn dotted(short: &mut Short, octets: [u8; 4]) {
    for (index, octet) in octets.into_iter().enumerate() {
        if index > 0 {
            short.push(b'.');
        }
        short.extend(itoa::Buffer::new().format(octet).as_bytes());
    }
}

/// `"1:LQU9qZlK+B5F3KDmev6m5PMibrg="`.
pub fn community_id(id: &CommunityId) -> Short {
    use base64::Engine as _;
    let mut text = [0; 28];
    let written = base64::engine::general_purpose::STANDARD.encode_slice(id.0, &mut text);
    debug_assert_eq!(written, Ok(text.len()));
    Short::quoted(|short| {
        short.extend(b"1:");
        short.extend(&text);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(short: Short) -> String {
        String::from_utf8(short.json().to_vec()).unwrap()
    }

    #[test]
    fn times_agree_with_the_formatter_across_days() {
        let mut times = EveTimes::default();
        for seconds in [0, 86_399, 86_400, 951_782_400, 1_763_640_000, 4_294_967_296, 0] {
            let time = Timestamp::from_parts(seconds, 123_456_789);
            assert_eq!(text(times.json(time)), format!("\"{}\"", time.eve()));
            assert_eq!(text(unix(time)), format!("\"{}\"", time.unix()));
        }
        assert_eq!(text(unix(Timestamp::MAX)), format!("\"{}\"", Timestamp::MAX.unix()));
    }

    #[test]
    fn addresses_are_written_in_full_for_eve_and_short_elsewhere() {
        let v6: Address = "2001:db8::1".parse().unwrap();
        assert_eq!(text(address_in_full(&v6)), "\"2001:0db8:0000:0000:0000:0000:0000:0001\"");
        assert_eq!(text(address(&v6)), "\"2001:db8::1\"");
        for form in [address, address_in_full] {
            assert_eq!(text(form(&"192.0.2.255".parse().unwrap())), "\"192.0.2.255\"");
        }
        let longest: Address = "1111:2222:3333:4444:5555:6666:7777:8888".parse().unwrap();
        assert_eq!(text(address(&longest)), format!("\"{longest}\""));
    }

    #[test]
    fn a_community_id_has_its_published_form() {
        let id: CommunityId = "1:LQU9qZlK+B5F3KDmev6m5PMibrg=".parse().unwrap();
        assert_eq!(text(community_id(&id)), format!("\"{id}\""));
    }
}
