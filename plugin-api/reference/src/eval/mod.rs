//! One op after the other: what it makes of its inputs. Files are named as in `recast_plugin_api::ir::infer`.

mod attention;
mod control;
mod conv;
mod conv_transpose;
pub(crate) mod elementwise;
mod gemm;
mod hash;
mod matmul;
mod norm;
mod pool;
mod recurrent;
pub(crate) mod reduce;
mod resize;
mod shape;
mod strings;

pub use strings::most_words;

use crate::array::{Array, Data};
use crate::noise::Noise;
use crate::run::Walk;
use crate::weights::{Stored, strides};
use rayon::prelude::*;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{DType, Op};
use std::sync::{Arc, Mutex, PoisonError};

pub type Outcome = Result<Vec<Array>, Diag>;

/// A fact about the numbers that makes an op impossible; the walk adds where it was.
pub fn fault(detail: impl Into<String>) -> Diag {
    Diag::new(Code::Malformed, "", detail)
}

/// Inference refuses this before; said again for whoever calls with other types.
fn wrong_kind(array: &Array) -> Diag {
    Diag::new(Code::Bug, "", format!("an input is of {}", array.ty()))
}

/// An input: computed before, or a weight in its stored dtype.
#[derive(Clone)]
pub enum Operand<'a> {
    Made(Arc<Array>),
    Stored(Arc<Stored<'a>>),
}

impl Operand<'_> {
    pub fn array(&self) -> Result<Arc<Array>, Diag> {
        match self {
            Operand::Made(array) => Ok(array.clone()),
            Operand::Stored(stored) => {
                stored.to_array().map(Arc::new).ok_or_else(|| Diag::new(Code::Bug, "", "a weight without numbers"))
            }
        }
    }

    pub fn shape(&self) -> &[usize] {
        match self {
            Operand::Made(array) => &array.shape,
            Operand::Stored(stored) => &stored.shape,
        }
    }

    /// Floating-point elements `begin .. begin + out.len()` as f64.
    pub fn read(&self, begin: usize, out: &mut [f64]) -> Result<(), Diag> {
        match self {
            Operand::Made(array) => out.copy_from_slice(&floats(array)?[begin..begin + out.len()]),
            Operand::Stored(stored) => stored.widen(begin, out),
        }
        Ok(())
    }
}

/// The inputs of one node.
pub struct Ins<'a> {
    operands: Vec<Option<Operand<'a>>>,
}

impl<'a> Ins<'a> {
    pub fn new(operands: Vec<Option<Operand<'a>>>) -> Ins<'a> {
        Ins { operands }
    }

    pub fn len(&self) -> usize {
        self.operands.len()
    }

    pub fn operand(&self, index: usize) -> Result<&Operand<'a>, Diag> {
        let operand = self.operands.get(index).and_then(Option::as_ref);
        operand.ok_or_else(|| Diag::new(Code::Bug, "", format!("input {index} is missing")))
    }

    pub fn array(&self, index: usize) -> Result<Arc<Array>, Diag> {
        self.operand(index)?.array()
    }

    pub fn optional(&self, index: usize) -> Result<Option<Arc<Array>>, Diag> {
        match self.operands.get(index) {
            Some(Some(operand)) => operand.array().map(Some),
            Some(None) | None => Ok(None),
        }
    }

    /// The input itself where nobody else needs it any more, else a copy.
    pub fn take(&mut self, index: usize) -> Result<Array, Diag> {
        let array = self.array(index)?;
        self.operands[index] = None;
        Ok(Arc::unwrap_or_clone(array))
    }
}

pub fn floats(array: &Array) -> Result<&[f64], Diag> {
    if let Data::F(values) = &array.data { Ok(values) } else { Err(wrong_kind(array)) }
}

pub fn ints(array: &Array) -> Result<&[i64], Diag> {
    if let Data::I(values) = &array.data { Ok(values) } else { Err(wrong_kind(array)) }
}

pub fn bools(array: &Array) -> Result<&[bool], Diag> {
    if let Data::B(values) = &array.data { Ok(values) } else { Err(wrong_kind(array)) }
}

/// The owned elements of a floating-point array.
fn into_floats(array: Array) -> Result<Vec<f64>, Diag> {
    if let Data::F(values) = array.data { Ok(values) } else { Err(wrong_kind(&array)) }
}

/// What a node is evaluated with.
pub struct Cx<'a> {
    /// Of the outputs.
    pub shapes: &'a [Vec<usize>],
    /// Of the first output.
    pub dtype: Option<DType>,
    pub noise: Option<Noise>,
    pub pool: &'a Pool,
}

impl Cx<'_> {
    pub fn shape(&self) -> Vec<usize> {
        self.shapes.first().cloned().unwrap_or_default()
    }

    pub fn len(&self) -> usize {
        self.shapes.first().map_or(0, |shape| shape.iter().product())
    }

    /// The only output, of floating point.
    pub fn floats(&self, values: Vec<f64>) -> Outcome {
        Ok(vec![Array::floats(self.dtype.unwrap_or(DType::F32), self.shape(), values)])
    }

    /// The only output.
    pub fn output(&self, data: Data) -> Outcome {
        Ok(vec![Array { dtype: self.dtype.unwrap_or(DType::F32), shape: self.shape(), data }])
    }
}

/// Threads, and buffers that are used again.
pub struct Pool {
    threads: Option<rayon::ThreadPool>,
    buffers: Mutex<Vec<Vec<f64>>>,
}

impl Pool {
    pub fn new(threads: usize) -> Result<Pool, Diag> {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let threads = match threads > 1 {
            true => Some(builder.build().map_err(|e| Diag::new(Code::Io, "threads", e.to_string()))?),
            false => None,
        };
        Ok(Pool { threads, buffers: Mutex::default() })
    }

    pub fn threads(&self) -> usize {
        self.threads.as_ref().map_or(1, rayon::ThreadPool::current_num_threads)
    }

    /// Runs `work` on each chunk of `out` with the chunk's index. Chunks depend on nothing but their index, so the
    /// result does not depend on the threads.
    pub fn chunks<T: Send>(
        &self,
        out: &mut [T],
        chunk: usize,
        work: impl Fn(usize, &mut [T]) -> Result<(), Diag> + Sync,
    ) -> Result<(), Diag> {
        let chunk = chunk.max(1);
        match &self.threads {
            Some(pool) if out.len() > chunk => {
                pool.install(|| out.par_chunks_mut(chunk).enumerate().try_for_each(|(index, part)| work(index, part)))
            }
            _ => out.chunks_mut(chunk).enumerate().try_for_each(|(index, part)| work(index, part)),
        }
    }

    /// Gives `work` a buffer of `len` elements with whatever was in it before.
    pub fn with_buffer<R>(&self, len: usize, work: impl FnOnce(&mut [f64]) -> R) -> R {
        let spare = self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = spare.unwrap_or_default();
        if buffer.len() < len {
            buffer.resize(len, 0.0);
        }
        let result = work(&mut buffer[..len]);
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        result
    }
}

/// A shape seen from one axis: `outer` blocks of `len` runs of `inner` elements.
#[derive(Clone, Copy)]
pub struct Lanes {
    pub outer: usize,
    pub len: usize,
    pub inner: usize,
}

impl Lanes {
    pub fn of(shape: &[usize], axis: usize) -> Lanes {
        Lanes { outer: shape[..axis].iter().product(), len: shape[axis], inner: shape[axis + 1..].iter().product() }
    }

    /// The offset of the first element of each lane along the axis, in C order of the other axes.
    pub fn starts(self) -> impl Iterator<Item = usize> {
        (0..self.outer).flat_map(move |o| (0..self.inner).map(move |i| o * self.len * self.inner + i))
    }
}

/// Strides with which an array of `shape` is read as if it had been broadcast to `to`.
pub fn broadcast_strides(shape: &[usize], to: &[usize]) -> Vec<usize> {
    let own = strides(shape);
    let missing = to.len() - shape.len();
    (0..to.len())
        .map(|axis| if axis < missing || shape[axis - missing] == 1 { 0 } else { own[axis - missing] })
        .collect()
}

/// The outputs of one node.
pub(crate) fn node(op: &Op, ins: &mut Ins<'_>, cx: &Cx<'_>, walk: &mut Walk<'_>) -> Outcome {
    match op {
        Op::Unary(op) => elementwise::unary(op, ins, cx),
        Op::Activation(op) => elementwise::activation(op, ins, cx),
        Op::Binary(op) => elementwise::binary(op, ins, cx),
        Op::Clip(op) => elementwise::clip(op, ins, cx),
        Op::Where(_) => elementwise::select(ins, cx),
        Op::Cast(op) => elementwise::cast(op, ins),
        Op::Dropout(_) => Ok(vec![ins.take(0)?]),
        Op::MatMul(_) => matmul::matmul(ins, cx),
        Op::Einsum(op) => matmul::einsum(op, ins, cx),
        Op::Conv(op) => conv::conv(op, ins, cx),
        Op::ConvTranspose(op) => conv_transpose::conv_transpose(op, ins, cx),
        Op::Pool(op) => pool::pool(op, ins, cx),
        Op::BatchNorm(op) => norm::batch_norm(op, ins, cx),
        Op::LayerNorm(op) => norm::layer_norm(op, ins, cx),
        Op::GroupNorm(op) => norm::group_norm(op, ins, cx),
        Op::RmsNorm(op) => norm::rms_norm(op, ins, cx),
        Op::Softmax(op) => norm::softmax(op, ins, cx),
        Op::LogSoftmax(op) => norm::log_softmax(op, ins, cx),
        Op::Reduce(op) => reduce::reduce(op, ins, cx),
        Op::ArgReduce(op) => reduce::arg_reduce(op, ins, cx),
        Op::Cumulative(op) => reduce::cumulative(op, ins, cx),
        Op::TopK(op) => reduce::top_k(op, ins, cx),
        Op::Reshape(_) => shape::reshape(ins, cx),
        Op::Transpose(op) => shape::transpose(op, ins, cx),
        Op::Concat(op) => shape::concat(op, ins, cx),
        Op::Slice(op) => shape::slice(op, ins, cx),
        Op::Pad(op) => shape::pad(op, ins, cx),
        Op::Tile(_) => shape::tile(ins, cx),
        Op::BroadcastTo(_) => shape::broadcast_to(ins, cx),
        Op::Gather(op) => shape::gather(op, ins, cx),
        Op::GatherElements(op) => shape::gather_elements(op, ins, cx),
        Op::Reverse(op) => shape::reverse(op, ins, cx),
        Op::OneHot(op) => shape::one_hot(op, ins, cx),
        Op::Triangle(op) => shape::triangle(op, ins, cx),
        Op::StringToIndex(op) => strings::string_to_index(op, ins, cx),
        Op::IndexToString(op) => strings::index_to_string(op, ins, cx),
        Op::StringMap(op) => strings::string_map(op, ins, cx),
        Op::StringSplit(op) => strings::string_split(op, ins, cx),
        Op::StringHash(op) => strings::string_hash(op, ins, cx),
        Op::Resize(op) => resize::resize(op, ins, cx),
        Op::Lstm(op) => recurrent::lstm(op, ins, cx),
        Op::Gru(op) => recurrent::gru(op, ins, cx),
        Op::SimpleRnn(op) => recurrent::simple_rnn(op, ins, cx),
        Op::Attention(op) => attention::attention(op, ins, cx),
        Op::Scan(op) => control::scan(op, ins, cx, walk),
        Op::Constant(op) => control::constant(op, walk),
        Op::DimSize(op) => control::dim_size(op),
        Op::Iota(op) => control::iota(op, cx),
    }
}
