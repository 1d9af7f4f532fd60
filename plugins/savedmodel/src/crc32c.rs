//! Checksums of TensorFlow's tables and tensors: CRC-32C, stored masked so that a checksum of data that holds checksums
//! stays a good one: rotated right by 15 bits, plus a constant.

const MASK_DELTA: u32 = 0xa282_ead8;

pub fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(MASK_DELTA)
}

pub fn unmask(masked: u32) -> u32 {
    masked.wrapping_sub(MASK_DELTA).rotate_left(15)
}

/// The masked checksum of some bytes.
pub fn masked(bytes: &[u8]) -> u32 {
    mask(::crc32c::crc32c(bytes))
}

/// Continues an unmasked checksum.
pub fn append(crc: u32, bytes: &[u8]) -> u32 {
    ::crc32c::crc32c_append(crc, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_algorithm() {
        assert_eq!(append(0, b"123456789"), 0xe306_9283);
        assert_eq!(unmask(masked(b"123456789")), 0xe306_9283);
        assert_eq!(append(append(0, b"1234"), b"56789"), 0xe306_9283);
    }
}
