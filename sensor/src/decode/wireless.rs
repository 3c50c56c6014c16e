//! IEEE 802.11 and the headers that capture drivers put before it: radiotap (radiotap.org), AVS, Prism.
//!
//! In: a frame. Out: its LLC header and what follows. Only data frames have one; encrypted ones count as another
//! network protocol. Of an aggregate (A-MSDU) the first subframe alone is read.

use super::error::Undecoded;
use crate::capture::LinkType;

/// Length of a Prism header, which is always the same.
const PRISM_HEADER_BYTES: usize = 144;

/// The LLC header of a data frame.
pub(super) fn llc(link: LinkType, data: &[u8]) -> Result<&[u8], Undecoded> {
    match link {
        LinkType::RADIOTAP => {
            let header = data.first_chunk::<8>().ok_or(Undecoded::Truncated)?;
            let length = usize::from(u16::from_le_bytes([header[2], header[3]]));
            let frame = data.get(length..).ok_or(Undecoded::Truncated)?;
            data_frame(frame, has_padding(data))
        }
        LinkType::AVS => {
            let length = data.get(4..8).and_then(|length| length.first_chunk::<4>());
            let length = u32::from_be_bytes(*length.ok_or(Undecoded::Truncated)?) as usize;
            data_frame(data.get(length..).ok_or(Undecoded::Truncated)?, false)
        }
        // Drivers wrote AVS headers under this link type, too.
        LinkType::PRISM if data.starts_with(&[0x80, 0x21, 0x10]) => llc(LinkType::AVS, data),
        LinkType::PRISM => data_frame(data.get(PRISM_HEADER_BYTES..).ok_or(Undecoded::Truncated)?, false),
        _ => data_frame(data, false),
    }
}

/// Whether radiotap says that the 802.11 header is padded to a multiple of four bytes.
fn has_padding(radiotap: &[u8]) -> bool {
    const TSFT: u32 = 1;
    const FLAGS: u32 = 1 << 1;
    const MORE: u32 = 1 << 31;
    const DATA_PAD: u8 = 0x20;
    let word = |at: usize| {
        radiotap.get(at..at + 4).and_then(|word| word.first_chunk()).map(|w| u32::from_le_bytes(*w))
    };
    let Some(present) = word(4) else { return false };
    if present & FLAGS == 0 {
        return false;
    }
    let (mut at, mut more) = (8, present);
    while more & MORE != 0 {
        let Some(word) = word(at) else { return false };
        (more, at) = (word, at + 4);
    }
    if present & TSFT != 0 {
        at = at.next_multiple_of(8) + 8;
    }
    radiotap.get(at).is_some_and(|flags| flags & DATA_PAD != 0)
}

fn data_frame(frame: &[u8], is_padded: bool) -> Result<&[u8], Undecoded> {
    const DATA: u8 = 0x08;
    const NO_DATA: u8 = 0x40;
    const QOS: u8 = 0x80;
    const TO_AND_FROM: u8 = 0x03;
    const PROTECTED: u8 = 0x40;
    const ORDER: u8 = 0x80;
    /// In the QoS field: the frame is an aggregate.
    const AGGREGATE: u8 = 0x80;
    let control = frame.first_chunk::<2>().ok_or(Undecoded::Truncated)?;
    if control[0] & 0x0f != DATA || control[0] & NO_DATA != 0 || control[1] & PROTECTED != 0 {
        return Err(Undecoded::OtherEthertype);
    }
    let mut header_len = 24;
    if control[1] & TO_AND_FROM == TO_AND_FROM {
        header_len += 6;
    }
    let mut is_aggregate = false;
    if control[0] & QOS != 0 {
        is_aggregate = frame.get(header_len).ok_or(Undecoded::Truncated)? & AGGREGATE != 0;
        header_len += 2;
        if control[1] & ORDER != 0 {
            header_len += 4;
        }
    }
    if is_padded {
        header_len = header_len.next_multiple_of(4);
    }
    if is_aggregate {
        // Two addresses and a length before each subframe.
        header_len += 14;
    }
    frame.get(header_len..).ok_or(Undecoded::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLC: [u8; 10] = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 0x45, 0];

    fn frame(control: [u8; 2], header_len: usize) -> Vec<u8> {
        let mut frame = vec![0; header_len];
        frame[..2].copy_from_slice(&control);
        frame.extend(LLC);
        frame
    }

    #[test]
    fn the_header_s_length_follows_from_its_control_bits() {
        for (control, header_len) in
            [([0x08, 0x01], 24), ([0x08, 0x03], 30), ([0x88, 0x02], 26), ([0x88, 0x82], 30)]
        {
            let frame = frame(control, header_len);
            assert_eq!(llc(LinkType::IEEE802_11, &frame), Ok(&LLC[..]), "{control:x?}");
            for cut in 0..header_len {
                assert!(llc(LinkType::IEEE802_11, &frame[..cut]).is_err());
            }
        }
    }

    #[test]
    fn what_carries_no_data_or_is_encrypted_is_something_else() {
        for control in [[0x80, 0], [0x48, 1], [0x08, 0x41], [0xc8, 0]] {
            assert_eq!(llc(LinkType::IEEE802_11, &frame(control, 26)), Err(Undecoded::OtherEthertype));
        }
    }

    #[test]
    fn radiotap_says_how_long_it_is_and_whether_the_header_is_padded() {
        let plain = [&[0, 0, 8, 0, 0, 0, 0, 0][..], &frame([0x88, 2], 26)].concat();
        assert_eq!(llc(LinkType::RADIOTAP, &plain), Ok(&LLC[..]));
        // TSFT and flags, the flags with DATAPAD.
        let header = [0, 0, 17, 0, 3, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0x20];
        let padded = [&header[..], &frame([0x88, 2], 28)].concat();
        assert_eq!(llc(LinkType::RADIOTAP, &padded), Ok(&LLC[..]));
    }
}
