//! Numbers and pieces from the beginning of what is left of a file, and digits; none when it ends before they do.

/// Seven bits a byte, the lowest first; all bytes but the last have the highest bit set. At most ten bytes.
pub fn varint(at: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = at.split_first()?;
        *at = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

pub fn take<'a>(at: &mut &'a [u8], count: u64) -> Option<&'a [u8]> {
    let (taken, rest) = at.split_at_checked(usize::try_from(count).ok()?)?;
    *at = rest;
    Some(taken)
}

/// The bytes that hex digits of either case stand for.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|digit| digit as u8);
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_pairs() {
        assert_eq!(unhex("00fFa5"), Some(vec![0, 0xff, 0xa5]));
        assert_eq!([unhex("0"), unhex("0g"), unhex("é")], [None, None, None]);
    }

    #[test]
    fn what_ends_too_early_is_none() {
        let mut at = &[0x96, 0x01, 2, b'h', b'i'][..];
        assert_eq!(varint(&mut at), Some(150));
        assert_eq!(varint(&mut at), Some(2));
        assert_eq!(take(&mut at, 3), None);
        assert_eq!(take(&mut at, 2), Some(&b"hi"[..]));
        assert_eq!(varint(&mut at), None);
        assert_eq!(varint(&mut &[0xff; 9][..]), None);
        assert_eq!(varint(&mut &[0xff; 11][..]), None);
    }
}
