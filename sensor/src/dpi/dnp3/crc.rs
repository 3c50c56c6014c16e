//! DNP3's CRC (IEEE 1815 section 9.3): sixteen bits, polynomial 0x3D65 reflected, complemented.

const POLYNOMIAL: u16 = 0xa6bc;

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u16;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

/// The CRC of bytes.
pub(super) fn crc(bytes: &[u8]) -> u16 {
    !bytes.iter().fold(0, |value: u16, byte| value >> 8 ^ TABLE[usize::from(value as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value_is_the_published_one() {
        assert_eq!(super::crc(b"123456789"), 0xea82);
        assert_eq!(super::crc(&[]), 0xffff);
    }
}
