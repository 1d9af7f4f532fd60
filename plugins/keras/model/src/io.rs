//! What the source needs of its host, as a trait: the same code reads for the daemon and for in-process tests.

use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::DType;
use recast_plugin_api::ir::wire::TensorProto;
use recast_plugin_api::messages::ReadLimits;
use recast_plugin_api::plugin::{ReadCx, ScratchFile};

/// `'a` is the call: mapped bytes and scratch files live as long.
pub trait Io<'a> {
    fn map(&self, path: &str) -> Result<&'a [u8], Diag>;
    fn scratch(&self) -> Result<Box<dyn Scratch + 'a>, Diag>;
    /// A finding that does not end the read.
    fn report(&self, diag: &Diag);
    /// An error when the host wants no more.
    fn go_on(&self) -> Result<(), Diag>;
}

/// A file for decoded arrays.
pub trait Scratch {
    fn path(&self) -> String;
    /// Where the bytes begin.
    fn append(&mut self, bytes: &[u8]) -> Result<u64, Diag>;
}

impl<'a> Io<'a> for ReadCx<'a> {
    fn map(&self, path: &str) -> Result<&'a [u8], Diag> {
        ReadCx::map(self, path)
    }

    fn scratch(&self) -> Result<Box<dyn Scratch + 'a>, Diag> {
        Ok(Box::new(ReadCx::scratch(self)?))
    }

    fn report(&self, diag: &Diag) {
        (**self).report(diag);
    }

    fn go_on(&self) -> Result<(), Diag> {
        (**self).go_on()
    }
}

impl Scratch for ScratchFile<'_> {
    fn path(&self) -> String {
        ScratchFile::path(self).to_owned()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<u64, Diag> {
        ScratchFile::append(self, bytes)
    }
}

/// Bytes of one array, as declared.
pub const TENSOR_BYTES_MAX: u64 = 8 << 30;
/// Bytes of all arrays that have to be decoded (compressed, big-endian, compact) of one artifact.
pub const DECODED_BYTES_MAX: u64 = 16 << 30;
/// Bytes of one JSON document.
pub const JSON_BYTES_MAX: u64 = 64 << 20;
/// Nesting of a JSON document. A nested model costs three; the JSON reader ends at 128 by itself.
pub const JSON_DEPTH_MAX: u32 = 120;
/// Layers of all models of an artifact together.
pub const LAYERS_MAX: u32 = 100_000;
/// Calls of layers of all models together.
pub const CALLS_MAX: u32 = 1_000_000;
/// Groups and datasets of one HDF5 file.
pub const OBJECTS_MAX: u64 = 400_000;
/// Groups inside each other: also what ends a group that holds itself.
pub const GROUP_DEPTH_MAX: usize = 64;
/// No HDF5 object needs less room than this in its file: a smaller file with more objects links in circles.
pub const OBJECT_BYTES_MIN: u64 = 40;
/// A filtered chunk never grows by more than this when it is decoded (deflate's own bound is 1032).
pub const INFLATION_MAX: u64 = 1_100;
/// Axes of one array.
pub const RANK_MAX: usize = 16;

/// The bounds that hold for this read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub tensor_bytes: u64,
    pub json_bytes: u64,
    pub json_depth: u32,
    pub layers: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            tensor_bytes: TENSOR_BYTES_MAX,
            json_bytes: JSON_BYTES_MAX,
            json_depth: JSON_DEPTH_MAX,
            layers: LAYERS_MAX,
        }
    }
}

impl From<Option<&ReadLimits>> for Limits {
    fn from(asked: Option<&ReadLimits>) -> Limits {
        let own = Limits::default();
        let Some(asked) = asked else { return own };
        let or = |value: u64, default: u64| if value == 0 { default } else { value };
        Limits {
            tensor_bytes: or(asked.tensor_bytes_max, own.tensor_bytes),
            json_bytes: or(asked.json_bytes_max, own.json_bytes),
            json_depth: or(asked.json_depth_max.into(), own.json_depth.into()).min(JSON_DEPTH_MAX.into()) as u32,
            layers: or(asked.layers_max.into(), own.layers.into()) as u32,
        }
    }
}

/// The files that tensors of this artifact lie in, and the one that decoded arrays go to.
pub struct Files<'io, 'a> {
    io: &'io dyn Io<'a>,
    paths: Vec<String>,
    scratch: Option<(u32, Box<dyn Scratch + 'a>)>,
    decoded: u64,
}

impl<'io, 'a> Files<'io, 'a> {
    pub fn new(io: &'io dyn Io<'a>) -> Files<'io, 'a> {
        Files { io, paths: Vec::new(), scratch: None, decoded: 0 }
    }

    pub fn io(&self) -> &'io dyn Io<'a> {
        self.io
    }

    /// The number of a mapped file.
    pub fn number(&mut self, path: &str) -> u32 {
        if let Some(found) = self.paths.iter().position(|known| known == path) {
            return found as u32;
        }
        self.paths.push(path.to_owned());
        self.paths.len() as u32 - 1
    }

    pub fn into_paths(self) -> Vec<String> {
        self.paths
    }

    /// Puts decoded bytes away; (file, offset).
    pub fn put(&mut self, at: &str, bytes: &[u8]) -> Result<(u32, u64), Diag> {
        self.reserve(at, bytes.len() as u64)?;
        if self.scratch.is_none() {
            let scratch = self.io.scratch()?;
            let number = self.number(&scratch.path());
            self.scratch = Some((number, scratch));
        }
        let Some((number, scratch)) = self.scratch.as_mut() else {
            return Err(Diag::new(Code::Bug, at, "the scratch file is gone"));
        };
        Ok((*number, scratch.append(bytes)?))
    }

    fn reserve(&mut self, at: &str, len: u64) -> Result<(), Diag> {
        self.decoded = self.decoded.saturating_add(len);
        if self.decoded > DECODED_BYTES_MAX {
            let detail = format!("the arrays decode to more than {DECODED_BYTES_MAX} bytes");
            return Err(Diag::new(Code::LimitExceeded, at, detail));
        }
        Ok(())
    }
}

/// A region of a file, row-major and little-endian, not permuted.
pub fn region(dtype: DType, dims: &[u64], (file, offset): (u32, u64), len: u64) -> TensorProto {
    TensorProto { dtype: dtype.as_str().into(), stored: dims.to_vec(), file, offset, len, ..TensorProto::default() }
}
