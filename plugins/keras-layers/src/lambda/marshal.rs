//! Python's `marshal` format, read as data: what a file holds of a function. Nothing of it is ever run.
//!
//! | type byte | then |
//! |---|---|
//! | `N T F . S` | None, True, False, `...`, StopIteration |
//! | `i`; `I` | a whole number of 4; 8 bytes (all numbers are little-endian) |
//! | `l` | i32 count, negative for a negative number; as many digits of 15 bits, in 2 bytes each |
//! | `f x`; `g y` | a number, a complex one, as text with one byte of length; as 8 bytes |
//! | `s u t a A`; `z Z` | text or bytes with 4 bytes of length; with one |
//! | `( < >`; `)` | items of a tuple, a set, a frozen set with 4 bytes of count; a tuple's with one |
//! | `c` | a code object: `Layout` says which fields |
//! | `r`; `R` | i32: an object (whose type byte had bit 7 set) or, in Python 2, an interned text seen before |
//!
//! No version is stored. A code object is what one `Layout` reads to the end with every field of its type.

use std::rc::Rc;

/// Longest function that is read, in bytes.
pub const BYTES_MAX: usize = 64 << 10;
/// Deepest nesting of tuples and functions.
const DEPTH_MAX: usize = 32;
/// Most values, with what is referred to counted wherever it is.
const VALUES_MAX: usize = 64 << 10;
/// Largest whole number, in digits of 15 bits.
const DIGITS_MAX: usize = 8;

/// Which fields a code object has, by the Python that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    Python2,
    Python3_0,
    Python3_8,
    Python3_11,
}

impl Layout {
    pub const ALL: [Layout; 4] = [Layout::Python2, Layout::Python3_0, Layout::Python3_8, Layout::Python3_11];

    pub fn name(self) -> &'static str {
        match self {
            Layout::Python2 => "2",
            Layout::Python3_0 => "3.0",
            Layout::Python3_8 => "3.8",
            Layout::Python3_11 => "3.11",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    None,
    True,
    False,
    Ellipsis,
    StopIteration,
    Int(i128),
    /// The bits of an f64.
    Float(u64),
    Complex(u64, u64),
    Bytes(Vec<u8>),
    /// UTF-8 as Python writes it, lone surrogates included.
    Text(Vec<u8>),
    Tuple(Vec<Rc<Value>>),
    Set(Vec<Rc<Value>>),
    Code(Box<Code>),
}

/// Kinds of a function's variables, in the bits of Python 3.11.
pub const LOCAL: u8 = 0x20;
pub const CELL: u8 = 0x40;
pub const FREE: u8 = 0x80;

/// What of a code object says what it does; where it stood is dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct Code {
    pub layout: Layout,
    /// Positional arguments, those that can't be named, and those that must be.
    pub arguments: u32,
    pub positional_only: u32,
    pub keyword_only: u32,
    pub flags: u32,
    pub code: Vec<u8>,
    pub constants: Vec<Rc<Value>>,
    /// Of globals and attributes.
    pub names: Vec<Vec<u8>>,
    /// Arguments first, each with its kind.
    pub variables: Vec<(Vec<u8>, u8)>,
    pub exceptions: Vec<u8>,
    pub name: Vec<u8>,
}

/// A function as `marshal.dumps(f.__code__)` wrote it.
pub fn read(bytes: &[u8]) -> Result<Code, String> {
    if bytes.len() > BYTES_MAX {
        return Err(format!("longer than {BYTES_MAX} bytes"));
    }
    let mut why = String::new();
    for layout in Layout::ALL {
        let mut reader = Reader { rest: bytes, layout, seen: Vec::new(), interned: Vec::new(), values: 0 };
        match reader.value(0) {
            Ok(value) if reader.rest.is_empty() => match Rc::unwrap_or_clone(value) {
                Value::Code(code) => return Ok(*code),
                _ => return Err("no function".into()),
            },
            Ok(_) => why = format!("{} bytes too many", reader.rest.len()),
            Err(error) => why = error,
        }
    }
    Err(why)
}

struct Reader<'b> {
    rest: &'b [u8],
    layout: Layout,
    /// Objects that may be referred to; `None` while one is being read. With how many values each is.
    seen: Vec<Option<(Rc<Value>, usize)>>,
    interned: Vec<Rc<Value>>,
    values: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("it ends too early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.array().map(|[byte]| byte)
    }

    fn int(&mut self) -> Result<i32, String> {
        self.array().map(i32::from_le_bytes)
    }

    fn count(&mut self) -> Result<usize, String> {
        usize::try_from(self.int()?).map_err(|_| "a negative length".into())
    }

    fn spend(&mut self, values: usize) -> Result<(), String> {
        self.values = self.values.saturating_add(values);
        if self.values > VALUES_MAX { Err(format!("more than {VALUES_MAX} values")) } else { Ok(()) }
    }

    fn value(&mut self, depth: usize) -> Result<Rc<Value>, String> {
        if depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        let tag = self.byte()?;
        let (kind, kept) = (tag & 0x7f, tag & 0x80 != 0);
        match kind {
            b'r' => return self.reference(),
            b'R' => {
                let at = self.count()?;
                self.spend(1)?;
                return self.interned.get(at).cloned().ok_or_else(|| format!("text {at} is not there"));
            }
            _ => {}
        }
        let before = self.values;
        self.spend(1)?;
        let place = self.seen.len();
        if kept {
            self.seen.push(None);
        }
        let value = Rc::new(self.plain(kind, depth)?);
        if kept {
            self.seen[place] = Some((value.clone(), self.values - before));
        }
        if kind == b't' {
            self.interned.push(value.clone());
        }
        Ok(value)
    }

    fn reference(&mut self) -> Result<Rc<Value>, String> {
        let at = self.count()?;
        let found = self.seen.get(at).cloned().flatten();
        let (value, values) = found.ok_or_else(|| format!("object {at} is not there"))?;
        self.spend(values)?;
        Ok(value)
    }

    fn plain(&mut self, kind: u8, depth: usize) -> Result<Value, String> {
        Ok(match kind {
            b'N' => Value::None,
            b'T' => Value::True,
            b'F' => Value::False,
            b'.' => Value::Ellipsis,
            b'S' => Value::StopIteration,
            b'i' => Value::Int(self.int()?.into()),
            b'I' => Value::Int(i64::from_le_bytes(self.array()?).into()),
            b'l' => Value::Int(self.long()?),
            b'f' => Value::Float(self.number()?),
            b'g' => Value::Float(u64::from_le_bytes(self.array()?)),
            b'x' => Value::Complex(self.number()?, self.number()?),
            b'y' => Value::Complex(u64::from_le_bytes(self.array()?), u64::from_le_bytes(self.array()?)),
            b's' => Value::Bytes(self.text()?),
            b't' if self.layout == Layout::Python2 => Value::Bytes(self.text()?),
            b't' | b'u' | b'a' | b'A' => Value::Text(self.text()?),
            b'z' | b'Z' => {
                let count = self.byte()?.into();
                Value::Text(self.take(count)?.to_vec())
            }
            b'(' => {
                let count = self.count()?;
                Value::Tuple(self.items(count, depth)?)
            }
            b')' => {
                let count = self.byte()?.into();
                Value::Tuple(self.items(count, depth)?)
            }
            b'<' | b'>' => {
                let count = self.count()?;
                Value::Set(self.items(count, depth)?)
            }
            b'c' => Value::Code(Box::new(self.code(depth)?)),
            other => return Err(format!("a value of type {}", other.escape_ascii())),
        })
    }

    fn text(&mut self) -> Result<Vec<u8>, String> {
        let count = self.count()?;
        self.take(count).map(<[u8]>::to_vec)
    }

    fn items(&mut self, count: usize, depth: usize) -> Result<Vec<Rc<Value>>, String> {
        // Each takes a byte at least: a wrong count runs out of them before it takes memory.
        (0..count).map(|_| self.value(depth + 1)).collect()
    }

    fn long(&mut self) -> Result<i128, String> {
        let count = self.int()?;
        let digits = count.unsigned_abs() as usize;
        if digits > DIGITS_MAX {
            return Err(format!("a number of {digits} digits of 15 bits"));
        }
        let mut value = 0i128;
        for digit in 0..digits {
            let bits = u16::from_le_bytes(self.array()?) & 0x7fff;
            value |= i128::from(bits) << (15 * digit);
        }
        Ok(if count < 0 { -value } else { value })
    }

    /// A number as text, as its bits.
    fn number(&mut self) -> Result<u64, String> {
        let count = self.byte()?.into();
        let text = str::from_utf8(self.take(count)?).ok().and_then(|text| text.parse::<f64>().ok());
        text.map(f64::to_bits).ok_or_else(|| "a number that is none".into())
    }

    fn code(&mut self, depth: usize) -> Result<Code, String> {
        let new = self.layout == Layout::Python3_11;
        let arguments = self.unsigned()?;
        let positional_only =
            if matches!(self.layout, Layout::Python2 | Layout::Python3_0) { 0 } else { self.unsigned()? };
        let keyword_only = if self.layout == Layout::Python2 { 0 } else { self.unsigned()? };
        // How many variables there are is seen from their names; how much stack it takes says nothing.
        let sizes = if new { 4 } else { 8 };
        self.take(sizes)?;
        let flags = self.unsigned()?;
        let code = self.bytes(depth)?;
        let constants = self.tuple(depth)?;
        let names = self.texts(depth)?;
        let mut variables = Vec::new();
        if new {
            let (texts, kinds) = (self.texts(depth)?, self.bytes(depth)?);
            if texts.len() != kinds.len() {
                return Err("variables and their kinds differ in number".into());
            }
            variables.extend(texts.into_iter().zip(kinds));
        } else {
            for kind in [LOCAL, FREE, CELL] {
                variables.extend(self.texts(depth)?.into_iter().map(|text| (text, kind)));
            }
        }
        let _file = self.one_text(depth)?;
        let name = self.one_text(depth)?;
        if new {
            self.one_text(depth)?;
        }
        let _first_line = self.int()?;
        let _lines = self.bytes(depth)?;
        let exceptions = if new { self.bytes(depth)? } else { Vec::new() };
        let layout = self.layout;
        if (variables.len() as u64) < u64::from(arguments) + u64::from(keyword_only) {
            return Err("fewer variables than arguments".into());
        }
        Ok(Code {
            layout,
            arguments,
            positional_only,
            keyword_only,
            flags,
            code,
            constants,
            names,
            variables,
            exceptions,
            name,
        })
    }

    fn unsigned(&mut self) -> Result<u32, String> {
        u32::try_from(self.int()?).map_err(|_| "a negative count".into())
    }

    fn bytes(&mut self, depth: usize) -> Result<Vec<u8>, String> {
        match &*self.value(depth + 1)? {
            Value::Bytes(bytes) => Ok(bytes.clone()),
            _ => Err("a field of a function is no bytes".into()),
        }
    }

    fn tuple(&mut self, depth: usize) -> Result<Vec<Rc<Value>>, String> {
        match &*self.value(depth + 1)? {
            Value::Tuple(items) => Ok(items.clone()),
            _ => Err("a field of a function is no tuple".into()),
        }
    }

    fn one_text(&mut self, depth: usize) -> Result<Vec<u8>, String> {
        let value = self.value(depth + 1)?;
        self.as_text(&value)
    }

    fn as_text(&self, value: &Value) -> Result<Vec<u8>, String> {
        match value {
            Value::Text(text) => Ok(text.clone()),
            Value::Bytes(text) if self.layout == Layout::Python2 => Ok(text.clone()),
            _ => Err("a name of a function is no text".into()),
        }
    }

    fn texts(&mut self, depth: usize) -> Result<Vec<Vec<u8>>, String> {
        self.tuple(depth)?.iter().map(|value| self.as_text(value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        read(bytes).map_or_else(|why| why, |code| panic!("read as {code:?}"))
    }

    /// A tuple, which is no function, is refused as such: it was read to its end.
    #[test]
    fn values_are_read_and_every_bound_holds() {
        let nested = |depth: usize| [b")\x01".repeat(depth), b"N".to_vec()].concat();
        // Each tuple holds the one before it twice.
        let bomb: Vec<u8> = [b"\xa9\x02".repeat(30), b"NN".to_vec()].concat();
        let doubled = (1..30).fold(bomb, |mut bytes, inner: i32| {
            bytes.push(b'r');
            bytes.extend((30 - inner).to_le_bytes());
            bytes
        });
        let table: [(&[u8], &str); 14] = [
            (b"", "it ends too early"),
            (b"N", "no function"),
            (b"NN", "1 bytes too many"),
            (b")\x02i\x01\0\0\0F", "no function"),
            (b")\x02i\x01\0\0\0", "it ends too early"),
            (b"(\xff\xff\xff\x7f", "it ends too early"),
            (b"(\xff\xff\xff\xff", "a negative length"),
            (b"s\xff\xff\xff\x7fab", "it ends too early"),
            (b"l\x09\0\0\0", "a number of 9 digits of 15 bits"),
            (b"l\0\0\0\x80", "a number of 2147483648 digits of 15 bits"),
            (b"r\0\0\0\0", "object 0 is not there"),
            // A tuple that holds itself.
            (b"\xa9\x01r\0\0\0\0", "object 0 is not there"),
            (b"{", "a value of type {"),
            (&doubled, "more than 65536 values"),
        ];
        for (bytes, want) in table {
            assert_eq!(refused(bytes), want, "{}", bytes.escape_ascii());
        }
        assert_eq!(refused(&nested(DEPTH_MAX)), "no function");
        assert_eq!(refused(&nested(DEPTH_MAX + 1)), "nested deeper than 32");
        assert_eq!(refused(&vec![b'N'; BYTES_MAX + 1]), "longer than 65536 bytes");
    }
}
