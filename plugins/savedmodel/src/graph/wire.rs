//! Protobuf without copies: a message is a slice of bytes, and so is everything inside it. Graphs hold weights of
//! hundreds of megabytes; these stay where they are in the mapped file.

use recast_plugin_api::parts::{take, varint};

/// One field's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The bytes are no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// Every field of a message, in order.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { left: message }
}

pub struct Fields<'a> {
    left: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Field<'a>), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            // Nothing after the break can be believed.
            self.left = &[];
        }
        Some(field.ok_or(Broken))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u32, Field<'a>)> {
        let key = varint(&mut self.left)?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0)?;
        let field = match key & 7 {
            0 => Field::Varint(varint(&mut self.left)?),
            1 => Field::Fixed64(u64::from_le_bytes(take(&mut self.left, 8)?.try_into().ok()?)),
            2 => {
                let len = varint(&mut self.left)?;
                Field::Bytes(take(&mut self.left, len)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(take(&mut self.left, 4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((number, field))
    }
}

/// The last field of this number that holds bytes; empty bytes where there is none.
pub fn bytes_of(message: &[u8], number: u32) -> Result<&[u8], Broken> {
    let mut found: &[u8] = &[];
    for field in fields(message) {
        if let (n, Field::Bytes(bytes)) = field?
            && n == number
        {
            found = bytes;
        }
    }
    Ok(found)
}

pub fn text(bytes: &[u8]) -> Result<&str, Broken> {
    std::str::from_utf8(bytes).map_err(|_| Broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_breaks_are_told() {
        let message = [0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 1, 0, 0, 0];
        let found: Vec<_> = fields(&message).collect::<Result<_, _>>().unwrap();
        assert_eq!(found, [(1, Field::Varint(150)), (2, Field::Bytes(b"hi")), (3, Field::Fixed32(1))]);
        assert_eq!(bytes_of(&message, 2), Ok(&b"hi"[..]));
        for cut in [1, 2, 4, 6, 8, 11] {
            assert!(fields(&message[..cut]).any(|field| field == Err(Broken)), "cut at {cut}");
        }
        assert_eq!(fields(&[0x00, 0x01]).next(), Some(Err(Broken)));
    }
}
