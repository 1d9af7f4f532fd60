//! Element types as HDF5 describes them: class and version, three bytes of flags, size, properties.

use recast_plugin_api::ir::DType;

const INTEGER: u8 = 0x10;
const FLOAT: u8 = 0x11;
const STRING: u8 = 0x13;
const OPAQUE: u8 = 0x15;
const ENUM: u8 = 0x18;
const VARIABLE: u8 = 0x19;

fn head(class: u8, flags: [u8; 3], size: u32) -> Vec<u8> {
    let mut out = vec![class, flags[0], flags[1], flags[2]];
    out.extend_from_slice(&size.to_le_bytes());
    out
}

/// Strings have no elements of one size: `text` and `names` are theirs.
pub fn of(dtype: DType) -> Vec<u8> {
    let bytes = dtype.size();
    match dtype {
        // Sign; place and width of exponent, of mantissa; bias.
        DType::F16 => float(bytes, 15, [10, 5, 0, 10], 15),
        DType::F32 => float(bytes, 31, [23, 8, 0, 23], 127),
        DType::F64 => float(bytes, 63, [52, 11, 0, 52], 1023),
        DType::BF16 => head(OPAQUE, [0; 3], bytes as u32),
        DType::I8 | DType::I16 | DType::I32 | DType::I64 => integer(bytes, true),
        DType::U8 | DType::U16 | DType::U32 | DType::U64 => integer(bytes, false),
        DType::Bool => boolean(),
        DType::Str => text(),
    }
}

fn float(bytes: usize, sign: u8, places: [u8; 4], bias: u32) -> Vec<u8> {
    // Little-endian, the leading one of the mantissa implied.
    let mut out = head(FLOAT, [0x20, sign, 0], bytes as u32);
    out.extend_from_slice(&0u16.to_le_bytes());
    out.extend_from_slice(&(bytes as u16 * 8).to_le_bytes());
    out.extend_from_slice(&places);
    out.extend_from_slice(&bias.to_le_bytes());
    out
}

fn integer(bytes: usize, signed: bool) -> Vec<u8> {
    let mut out = head(INTEGER, [if signed { 8 } else { 0 }, 0, 0], bytes as u32);
    out.extend_from_slice(&0u16.to_le_bytes());
    out.extend_from_slice(&(bytes as u16 * 8).to_le_bytes());
    out
}

/// As h5py stores numpy's bool: an enumeration over one signed byte.
fn boolean() -> Vec<u8> {
    let mut out = head(ENUM, [2, 0, 0], 1);
    out.extend(integer(1, true));
    for name in ["FALSE", "TRUE"] {
        let mut name = name.as_bytes().to_vec();
        name.push(0);
        super::pad(&mut name);
        out.extend(name);
    }
    out.extend_from_slice(&[0, 1]);
    out
}

/// A text of any length, UTF-8, in the file's heap.
pub fn text() -> Vec<u8> {
    let mut out = head(VARIABLE, [1, 1, 0], 16);
    out.extend(integer(1, false));
    out
}

/// Texts of exactly `len` bytes, filled up with zeros.
pub fn fixed_text(len: u32) -> Vec<u8> {
    head(STRING, [1, 0, 0], len)
}
