//! Reader and writer of `.npz`: a zip archive, stored or deflated, of `.npy` members. Each member is
//!
//! | bytes | what |
//! |---|---|
//! | 6 | `\x93NUMPY` |
//! | 2 | version, major then minor: 1.0, 2.0 or 3.0 |
//! | 2 (version 1) or 4 | length of the header, little-endian |
//! | n | a Python literal: `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }` |
//! | rest | the elements |
//!
//! Strings are numpy's `U` (UTF-32) and `S` (bytes, read as UTF-8), each filled up with NUL to the width of the array;
//! arrays of Python objects are pickles, which are never read.
//!
//! Whatever a file claims, no more than the bounds below is read. What is written is stored, version 1.0, C order.

use crate::array::{Array, Data};
use crate::weights::{Offsets, strides};
use half::f16;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{DType, RANK_MAX};
use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};
use std::path::Path;

/// Arrays in one archive.
pub const MEMBERS_MAX: usize = 4096;
/// Bytes of all arrays of one archive together, as they lie in the members.
pub const ARRAYS_BYTES_MAX: u64 = 1 << 30;
/// Bytes of one member's header.
const HEADER_BYTES_MAX: usize = 1 << 16;

/// Every array of an archive, with its name (the member's without `.npy`), in the archive's order.
pub fn read_npz(path: &Path) -> Result<Vec<(String, Array)>, Diag> {
    let file = File::open(path).map_err(|e| Diag::new(Code::Io, path.display().to_string(), e.to_string()))?;
    read_npz_from(file).map_err(|diag| match diag.at.is_empty() {
        true => Diag { at: path.display().to_string(), ..diag },
        false => Diag { at: format!("{}/{}", path.display(), diag.at), ..diag },
    })
}

/// As `read_npz`, from anything seekable.
pub fn read_npz_from(file: impl Read + Seek) -> Result<Vec<(String, Array)>, Diag> {
    read_within(file, ARRAYS_BYTES_MAX)
}

fn read_within(file: impl Read + Seek, bytes_max: u64) -> Result<Vec<(String, Array)>, Diag> {
    let broken = |at: &str, e: &dyn std::fmt::Display| Diag::new(Code::Malformed, at, e.to_string());
    let mut archive = zip::ZipArchive::new(file).map_err(|e| broken("", &e))?;
    if archive.len() > MEMBERS_MAX {
        return Err(Diag::new(Code::LimitExceeded, "", format!("{} members, above {MEMBERS_MAX}", archive.len())));
    }
    let mut arrays = Vec::new();
    let mut left = bytes_max;
    for index in 0..archive.len() {
        let member = archive.by_index(index).map_err(|e| broken("", &e))?;
        let Some(name) = member.name().strip_suffix(".npy").map(str::to_string) else { continue };
        let mut bytes = Vec::new();
        member.take(left + 1).read_to_end(&mut bytes).map_err(|e| broken(&name, &e))?;
        let over = || Diag::new(Code::LimitExceeded, &name, format!("arrays above {bytes_max} bytes"));
        left = left.checked_sub(bytes.len() as u64).ok_or_else(over)?;
        let array = read_npy(&bytes).map_err(|detail| Diag::new(Code::Malformed, &name, detail))?;
        arrays.push((name, array));
    }
    Ok(arrays)
}

/// One `.npy`. The error is a fact about the bytes.
pub fn read_npy(bytes: &[u8]) -> Result<Array, String> {
    let version = bytes.strip_prefix(b"\x93NUMPY").and_then(|rest| rest.split_at_checked(2));
    let (version, rest) = version.ok_or("it does not begin as a .npy file")?;
    let (length, rest) = match version[0] {
        1 => rest.split_first_chunk::<2>().map(|(n, rest)| (u16::from_le_bytes(*n) as usize, rest)),
        2 | 3 => rest.split_first_chunk::<4>().map(|(n, rest)| (u32::from_le_bytes(*n) as usize, rest)),
        other => return Err(format!(".npy version {other}")),
    }
    .ok_or("it ends inside of the header")?;
    if length > HEADER_BYTES_MAX {
        return Err(format!("a header of {length} bytes"));
    }
    let (header, data) = rest.split_at_checked(length).ok_or("it ends inside of the header")?;
    let header = std::str::from_utf8(header).map_err(|_| "the header is not text")?;
    let shape = shape_of(field(header, "shape")?)?;
    let Elements { dtype, size, big_endian, text } = elements_of(field(header, "descr")?)?;
    let fortran = match field(header, "fortran_order")? {
        text if text.starts_with("True") => true,
        text if text.starts_with("False") => false,
        _ => return Err("fortran_order is neither True nor False".into()),
    };
    let count = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
    // Strings without a letter have elements without bytes.
    let length = count.filter(|&count| count <= data.len() || size > 0).and_then(|count| count.checked_mul(size));
    let data = length.and_then(|length| data.get(..length)).ok_or(format!("{} bytes for {shape:?}", data.len()))?;
    let turned: Vec<u8>;
    let unit = if text.is_some() { UTF32_BYTES.min(size) } else { size };
    let data = if big_endian && unit > 1 {
        turned = data.chunks_exact(unit).flat_map(|chunk| chunk.iter().rev().copied()).collect();
        &turned
    } else {
        data
    };
    let stored: Vec<usize> = if fortran { shape.iter().rev().copied().collect() } else { shape.clone() };
    let array = match text {
        Some(text) => Array::strings(stored.clone(), strings_of(text, data, size, count.unwrap_or(0))?),
        None => Array::from_bytes(dtype, &stored, data).ok_or("its bytes are no array")?,
    };
    if !fortran {
        return Ok(array);
    }
    let steps: Vec<usize> = strides(&stored).into_iter().rev().collect();
    let data: Data = array.data.picked(Offsets::new(&shape, &steps));
    Ok(Array { dtype, shape, data })
}

/// Writes arrays by name. numpy has no bfloat16: it becomes float32, which loses nothing.
pub fn write_npz(path: &Path, arrays: &[(String, Array)]) -> Result<(), Diag> {
    let failed = |e: &dyn std::fmt::Display| Diag::new(Code::Io, path.display().to_string(), e.to_string());
    let file = File::create_new(path).map_err(|e| failed(&e))?;
    let mut writer = zip::ZipWriter::new(BufWriter::new(file));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored).large_file(true);
    for (name, array) in arrays {
        let bytes = write_npy(array).map_err(|why| Diag::new(Code::UnsupportedType, name, why))?;
        writer.start_file(format!("{name}.npy"), options).map_err(|e| failed(&e))?;
        writer.write_all(&bytes).map_err(|e| failed(&e))?;
    }
    let mut file = writer.finish().map_err(|e| failed(&e))?;
    file.flush().map_err(|e| failed(&e))
}

/// Bytes before the elements are a multiple of it.
const NPY_ALIGN: usize = 64;

/// One `.npy`.
pub fn write_npy(array: &Array) -> Result<Vec<u8>, String> {
    let width = text_width(array);
    let text = format!("<U{width}");
    let descr = match array.dtype {
        DType::Bool => "|b1",
        DType::I8 => "|i1",
        DType::U8 => "|u1",
        DType::I16 => "<i2",
        DType::U16 => "<u2",
        DType::I32 => "<i4",
        DType::U32 => "<u4",
        DType::I64 => "<i8",
        DType::U64 => "<u8",
        DType::F16 => "<f2",
        DType::F32 | DType::BF16 => "<f4",
        DType::F64 => "<f8",
        DType::Str => &text,
    };
    let sizes: String = array.shape.iter().map(|size| format!("{size}, ")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", sizes.trim_end());
    let begin = (10 + header.len() + 1).next_multiple_of(NPY_ALIGN);
    header.extend(std::iter::repeat_n(' ', begin - 11 - header.len()));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    match &array.data {
        Data::F(values) => values.iter().for_each(|&v| match array.dtype {
            DType::F16 => bytes.extend_from_slice(&f16::from_f64(v).to_le_bytes()),
            DType::F64 => bytes.extend_from_slice(&v.to_le_bytes()),
            _ => bytes.extend_from_slice(&(v as f32).to_le_bytes()),
        }),
        // The low bytes of two's complement are the integer in any narrower type that holds it.
        Data::I(values) => {
            let size = array.dtype.size();
            values.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()[..size]));
        }
        Data::B(values) => bytes.extend(values.iter().map(|&v| u8::from(v))),
        Data::S(values) => values.iter().for_each(|text| {
            let letters = text.chars().map(u32::from).chain(std::iter::repeat(0)).take(width);
            letters.for_each(|letter| bytes.extend_from_slice(&letter.to_le_bytes()));
        }),
    }
    Ok(bytes)
}

/// Letters of the longest string, at least one; what numpy calls the width.
fn text_width(array: &Array) -> usize {
    let Data::S(values) = &array.data else { return 1 };
    values.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1)
}

/// What follows `'key':` in the header.
fn field<'h>(header: &'h str, key: &str) -> Result<&'h str, String> {
    let missing = || format!("the header has no '{key}'");
    let at = [format!("'{key}'"), format!("\"{key}\"")].iter().find_map(|k| Some(header.find(k)? + k.len()));
    let rest = header[at.ok_or_else(missing)?..].trim_start();
    rest.strip_prefix(':').map(str::trim_start).ok_or_else(missing)
}

fn shape_of(text: &str) -> Result<Vec<usize>, String> {
    let inside = text.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or("the shape is not a tuple")?.0;
    let sizes = inside.split(',').map(str::trim).filter(|size| !size.is_empty());
    let sizes = sizes.map(|size| size.trim_end_matches('L').parse().map_err(|_| format!("size '{size}'")));
    let sizes: Vec<usize> = sizes.collect::<Result<_, String>>()?;
    if sizes.len() > RANK_MAX { Err(format!("rank {}", sizes.len())) } else { Ok(sizes) }
}

/// How strings lie in an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Utf32,
    Bytes,
}

/// Bytes of one letter of `U`.
const UTF32_BYTES: usize = 4;

/// The elements of an array, as its header tells them.
struct Elements {
    dtype: DType,
    /// Bytes of one.
    size: usize,
    big_endian: bool,
    text: Option<Text>,
}

fn elements_of(text: &str) -> Result<Elements, String> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"')).ok_or("the elements are records")?;
    let name = text[1..].split(quote).next().unwrap_or_default();
    let (order, kind) = match name.chars().next() {
        Some(order @ ('<' | '>' | '|' | '=')) => (order, &name[1..]),
        _ => ('<', name),
    };
    let big_endian = order == '>';
    let width = |digits: &str, bytes: usize| digits.parse::<usize>().ok().and_then(|width| width.checked_mul(bytes));
    let string = |size: Option<usize>, text: Text| {
        let size = size.ok_or_else(|| format!("elements of type '{name}'"))?;
        Ok(Elements { dtype: DType::Str, size, big_endian: big_endian && text == Text::Utf32, text: Some(text) })
    };
    let dtype = match kind {
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        "i1" => DType::I8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u1" => DType::U8,
        "u2" => DType::U16,
        "u4" => DType::U32,
        "u8" => DType::U64,
        "b1" => DType::Bool,
        // What numpy writes for the bfloat16 of ml_dtypes.
        "V2" => DType::BF16,
        "O" => return Err("pickled Python objects, which are never read; save strings as array.astype(\"U\")".into()),
        _ => match kind.split_at_checked(1) {
            Some(("U", digits)) => return string(width(digits, UTF32_BYTES), Text::Utf32),
            Some(("S", digits)) => return string(width(digits, 1), Text::Bytes),
            _ => return Err(format!("elements of type '{name}'")),
        },
    };
    Ok(Elements { dtype, size: dtype.size(), big_endian, text: None })
}

/// The strings of an array, without the NULs that fill them up.
fn strings_of(text: Text, data: &[u8], size: usize, count: usize) -> Result<Vec<String>, String> {
    let letters = |bytes: &[u8]| -> Option<String> {
        let letter = |unit: &[u8]| char::from_u32(u32::from_le_bytes(unit.try_into().ok()?));
        match text {
            Text::Utf32 => bytes.chunks_exact(UTF32_BYTES).map(letter).collect(),
            Text::Bytes => std::str::from_utf8(bytes).ok().map(String::from),
        }
    };
    let one = |bytes: &[u8]| {
        let mut text = letters(bytes).ok_or("a string that is not Unicode text")?;
        text.truncate(text.trim_end_matches('\0').len());
        Ok(text)
    };
    if size == 0 {
        return Ok(vec![String::new(); count]);
    }
    data.chunks_exact(size).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
        let order = if fortran { "True" } else { "False" };
        let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00".as_slice(), &length, header.as_bytes(), data].concat()
    }

    #[test]
    fn arrays_of_either_order_and_endianness() {
        let bytes = |values: &[u16]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let plain = read_npy(&npy("<u2", false, "(2, 3)", &bytes(&[1, 2, 3, 4, 5, 6]))).unwrap();
        assert_eq!(plain, Array::ints(DType::U16, vec![2, 3], vec![1, 2, 3, 4, 5, 6]));
        let fortran = read_npy(&npy("<u2", true, "(2, 3)", &bytes(&[1, 4, 2, 5, 3, 6]))).unwrap();
        assert_eq!(fortran, plain);
        let big = read_npy(&npy(">u2", false, "(1,)", &[1, 2])).unwrap();
        assert_eq!(big.numbers(), [258.0]);
        assert_eq!(read_npy(&npy("|b1", false, "()", &[1])).unwrap(), Array::bools(vec![], vec![true]));
    }

    #[test]
    fn strings_of_either_kind() {
        let words = |words: [&str; 2]| Ok(Array::strings(vec![2], words.map(String::from).to_vec()));
        assert_eq!(read_npy(&npy("|S3", false, "(2,)", b"red\0\0\0")), words(["red", ""]));
        assert_eq!(read_npy(&npy("|S2", false, "(2,)", b"\xc3\xbca\0")), words(["\u{fc}", "a"]));
        let big: Vec<u8> = [0x61u32, 0x1f40c].iter().flat_map(|letter| letter.to_be_bytes()).collect();
        assert_eq!(read_npy(&npy(">U1", false, "(2,)", &big)), words(["a", "\u{1f40c}"]));
    }

    #[test]
    fn what_is_no_array_is_refused() {
        let refused = [
            npy("<f4", false, "(2,)", &[0; 7]),
            npy("<U4", false, "(2,)", &[0; 16]),
            npy("<U1", false, "(1,)", &[0, 0, 17, 0]),
            npy("|S1", false, "(1,)", &[255]),
            npy("<U0", false, "(99999999999,)", &[]),
            npy("<U99999999999999999999", false, "(1,)", &[]),
            npy("|O", false, "(1,)", &[0; 8]),
            npy("<f4", false, "(99999999999, 99999999999)", &[]),
            npy("<f4", false, "(-1,)", &[]),
            b"\x93NUMPY\x01\x00\xff\xff{".to_vec(),
            b"PK".to_vec(),
        ];
        for bytes in refused {
            assert!(read_npy(&bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let arrays = [
            Array::from_numbers(DType::F32, vec![2, 3], vec![0.5, -1.25, 3.0, 1e9, -0.0, 7.0]),
            Array::from_numbers(DType::F16, vec![2], vec![0.5, -2.0]),
            Array::from_numbers(DType::F64, vec![], vec![0.1]),
            Array::ints(DType::I8, vec![3], vec![-128, 0, 127]),
            Array::ints(DType::U16, vec![1, 1], vec![65535]),
            Array::ints(DType::I64, vec![0], vec![]),
            Array::bools(vec![2], vec![true, false]),
            Array::strings(vec![2, 2], ["red", "", "Gr\u{fc}n \u{1f40c}", "a b"].map(String::from).to_vec()),
            Array::strings(vec![1], vec![String::new()]),
        ];
        for array in &arrays {
            let bytes = write_npy(array).unwrap();
            let size = if array.dtype == DType::Str { UTF32_BYTES * text_width(array) } else { array.dtype.size() };
            let begin = bytes.len() - array.len() * size;
            assert_eq!((begin % NPY_ALIGN, read_npy(&bytes).as_ref()), (0, Ok(array)));
        }
        let brain = Array::from_numbers(DType::BF16, vec![1], vec![1.5]);
        assert_eq!(read_npy(&write_npy(&brain).unwrap()).unwrap().numbers(), [1.5]);
    }

    #[test]
    fn members_stored_and_deflated() {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let methods = [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated];
        for (index, method) in methods.into_iter().enumerate() {
            let options = zip::write::SimpleFileOptions::default().compression_method(method);
            writer.start_file(format!("x{index}.npy"), options).unwrap();
            writer.write_all(&npy("<f4", false, "(2,)", &[0, 0, 128, 63, 0, 0, 0, 192])).unwrap();
        }
        let bytes = writer.finish().unwrap().into_inner();
        let arrays = read_npz_from(Cursor::new(&bytes)).unwrap();
        assert_eq!(arrays.len(), 2);
        assert!(arrays.iter().all(|(_, array)| array.numbers() == [1.0, -2.0]));
        // Of all members together, unpacked.
        let member = npy("<f4", false, "(2,)", &[0; 8]).len() as u64;
        assert!(read_within(Cursor::new(&bytes), 2 * member).is_ok());
        let over = read_within(Cursor::new(&bytes), 2 * member - 1).unwrap_err();
        assert_eq!((over.code, over.at.as_str()), (Code::LimitExceeded, "x1"));
        for cut in 0..bytes.len() {
            // Truncated at any place: an error, or fewer arrays than there were.
            let short = read_npz_from(Cursor::new(&bytes[..cut]));
            assert!(short.is_err() || short.is_ok_and(|arrays| arrays.len() < 2), "{cut}");
        }
    }
}
