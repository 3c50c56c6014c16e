//! The first packets of a flow as IPFIX lists.
//!
//! In: what is known of each packet. Out: four basicLists (RFC 6313 section 4.5.1), of payload sizes, times, TCP flags
//! and directions. Records that carry them are longer by these lists than by all the rest, so that they are filled a few
//! packets at a time, in place.

use super::elements as ie;
use super::encode::{LIST_HEADER_BYTES, LIST_ORDERED};
use crate::features::PacketBrief;

/// Four basicLists (RFC 6313 section 4.5.1), each of one number of each packet; filled in one walk over the packets.
#[inline]
pub(super) fn write_packets(packets: &[PacketBrief], enterprise: u32, out: &mut Vec<u8>) {
    let own = |element: ie::Element| (element.id.number | 0x8000, enterprise);
    let payloads = Numbers { element: own(ie::PACKET_PAYLOAD), size: 2, count: packets.len() };
    let times = Numbers { element: own(ie::PACKET_TIME), size: 4, ..payloads };
    let flags = Numbers { element: (ie::TCP_CONTROL_BITS.id.number, 0), size: 1, ..payloads };
    let directions = Numbers { element: own(ie::PACKET_DIRECTION), size: 1, ..payloads };
    let from = out.len();
    let octets = [payloads, times, flags, directions].map(|list| list.front().1 + list.octets());
    out.resize(from + octets.iter().sum::<usize>() + FRONT_BYTES_MAX, 0);
    // What is too much of a front is written over by what follows it.
    let (_, rest) = out.split_at_mut(from);
    let (payloads, rest) = payloads.begin(rest);
    let (times, rest) = times.begin(rest);
    let (flags, rest) = flags.begin(rest);
    let (directions, _) = directions.begin(rest);
    // Four packets at a time: a number of all four is one word.
    let (fours, last) = packets.as_chunks::<4>();
    let (payload_fours, last_payloads) = payloads.as_chunks_mut::<8>();
    let (time_fours, last_times) = times.as_chunks_mut::<16>();
    let (flags_fours, last_flags) = flags.as_chunks_mut::<4>();
    let (direction_fours, last_directions) = directions.as_chunks_mut::<4>();
    let numbers = payload_fours.iter_mut().zip(time_fours).zip(flags_fours.iter_mut().zip(direction_fours));
    for (((payload, time), (flags, direction)), four) in numbers.zip(fours) {
        let [a, b, c, d] = four;
        let wide = |packet: &PacketBrief| u64::from(packet.payload);
        *payload = (wide(a) << 48 | wide(b) << 32 | wide(c) << 16 | wide(d)).to_be_bytes();
        let wide = |packet: &PacketBrief| u128::from(packet.time_us);
        *time = (wide(a) << 96 | wide(b) << 64 | wide(c) << 32 | wide(d)).to_be_bytes();
        *flags = [a.tcp_flags, b.tcp_flags, c.tcp_flags, d.tcp_flags];
        *direction = [direction_of(a), direction_of(b), direction_of(c), direction_of(d)];
    }
    let numbers = last_payloads.as_chunks_mut::<2>().0.iter_mut().zip(last_times.as_chunks_mut::<4>().0);
    let numbers = numbers.zip(last_flags.iter_mut().zip(last_directions));
    for (((payload, time), (flags, direction)), packet) in numbers.zip(last) {
        *payload = packet.payload.to_be_bytes();
        *time = packet.time_us.to_be_bytes();
        *flags = packet.tcp_flags;
        *direction = direction_of(packet);
    }
    out.truncate(out.len() - FRONT_BYTES_MAX);
}

#[inline]
fn direction_of(packet: &PacketBrief) -> u8 {
    packet.direction.index() as u8 + 1
}

/// A basicList of numbers of a fixed size.
#[derive(Clone, Copy)]
struct Numbers {
    /// Number, with the bit of an enterprise's, and that enterprise; 0: IANA's.
    element: (u16, u32),
    /// Octets of a number.
    size: u16,
    count: usize,
}

/// Most octets of a list before its first number, with the list's length.
const FRONT_BYTES_MAX: usize = 12;

impl Numbers {
    /// Octets of the numbers.
    #[inline]
    fn octets(&self) -> usize {
        usize::from(self.size) * self.count
    }

    /// What stands before the numbers, and how much of it is meant.
    #[inline]
    fn front(&self) -> ([u8; FRONT_BYTES_MAX], usize) {
        let ((number, enterprise), without) = (self.element, if self.element.1 == 0 { 4 } else { 0 });
        let length = LIST_HEADER_BYTES - without + self.octets();
        let [long, short] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        let ([n, o], [s, t], [a, b, c, d]) =
            (number.to_be_bytes(), self.size.to_be_bytes(), enterprise.to_be_bytes());
        match length < 255 {
            true => ([short, LIST_ORDERED, n, o, s, t, a, b, c, d, 0, 0], 10 - without),
            false => ([255, long, short, LIST_ORDERED, n, o, s, t, a, b, c, d], 12 - without),
        }
    }

    /// Writes the front to the beginning of `out`; gives where the numbers go, and what follows.
    #[inline]
    fn begin<'a>(&self, out: &'a mut [u8]) -> (&'a mut [u8], &'a mut [u8]) {
        let (front, meant) = self.front();
        if let Some(place) = out.first_chunk_mut() {
            *place = front;
        }
        let rest = out.get_mut(meant..).unwrap_or_default();
        rest.split_at_mut_checked(self.octets()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Direction;

    fn packet(number: u8) -> PacketBrief {
        PacketBrief {
            time_us: 0x0102_0300 + u32::from(number),
            payload: 0x0a00 + u16::from(number),
            tcp_flags: number.wrapping_add(0x10),
            direction: if number.is_multiple_of(2) { Direction::Forward } else { Direction::Reverse },
        }
    }

    #[test]
    fn each_list_has_one_number_of_each_packet_however_many_there_are() {
        for count in [0, 1, 3, 4, 5, 8, 59, 60, 122, 123, 240, 250] {
            let packets: Vec<_> = (0..count).map(packet).collect();
            let mut out = vec![7];
            write_packets(&packets, 0x0506_0708, &mut out);
            let own = |element: ie::Element, size: u8| {
                let [high, low] = (element.id.number | 0x8000).to_be_bytes();
                vec![LIST_ORDERED, high, low, 0, size, 5, 6, 7, 8]
            };
            let [high, low] = ie::TCP_CONTROL_BITS.id.number.to_be_bytes();
            let mut lists = [
                own(ie::PACKET_PAYLOAD, 2),
                own(ie::PACKET_TIME, 4),
                vec![LIST_ORDERED, high, low, 0, 1],
                own(ie::PACKET_DIRECTION, 1),
            ];
            for number in 0..count {
                lists[0].extend([0x0a, number]);
                lists[1].extend([1, 2, 3, number]);
                lists[2].push(number.wrapping_add(0x10));
                lists[3].push(1 + number % 2);
            }
            let mut want = vec![7];
            for list in lists {
                match u8::try_from(list.len()) {
                    Ok(short) if short < 255 => want.push(short),
                    _ => want.extend([255, (list.len() >> 8) as u8, list.len() as u8]),
                }
                want.extend(list);
            }
            assert_eq!(out, want, "{count} packets");
        }
    }
}
