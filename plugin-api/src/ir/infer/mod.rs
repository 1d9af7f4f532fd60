//! Types of an op's outputs from those of its inputs: inference and check in one, so that they can't disagree.

mod attention;
mod control;
mod conv;
mod elementwise;
mod matmul;
mod norm;
mod recurrent;
mod reduce;
mod resize;
mod shape;
mod strings;

use super::dim::Dim;
use super::op::{Conv, Op, Padding, Pool};
use super::types::{DType, Type};

/// Why an op refuses its inputs: a fact, without the op's name and place (the caller adds them).
pub type Misfit = String;
pub type Inferred = Result<Vec<Type>, Misfit>;

/// The types of an op's inputs, and the equalities between symbols that inference had to assume.
pub struct Ins<'a> {
    types: Vec<Option<&'a Type>>,
    equal: Vec<(Dim, Dim)>,
}

impl<'a> Ins<'a> {
    pub fn new(types: Vec<Option<&'a Type>>) -> Ins<'a> {
        Ins { types, equal: Vec::new() }
    }

    pub fn types(&self) -> &[Option<&'a Type>] {
        &self.types
    }

    pub fn into_equal(self) -> Vec<(Dim, Dim)> {
        self.equal
    }

    /// The type of a required input.
    pub fn get(&self, index: usize) -> Result<&'a Type, Misfit> {
        self.opt(index).ok_or_else(|| format!("input {index} is missing"))
    }

    pub fn opt(&self, index: usize) -> Option<&'a Type> {
        self.types.get(index).copied().flatten()
    }

    pub fn len(&self) -> usize {
        self.types.len()
    }

    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// Refuses more inputs than the op has, or fewer than it needs.
    pub fn count(&self, min: usize, max: usize) -> Result<(), Misfit> {
        if self.len() < min || self.len() > max {
            return Err(format!("takes {min} to {max} inputs, got {}", self.len()));
        }
        (0..min).try_for_each(|index| self.get(index).map(|_| ()))
    }

    /// Two sizes that must be the same; symbols that differ are taken to be equal and remembered.
    pub fn same(&mut self, a: &Dim, b: &Dim) -> Result<Dim, Misfit> {
        if a == b {
            return Ok(a.clone());
        }
        match (a.known(), b.known()) {
            (Some(x), Some(y)) => Err(format!("sizes {x} and {y} differ")),
            (Some(_), None) => {
                self.equal.push((b.clone(), a.clone()));
                Ok(a.clone())
            }
            _ => {
                self.equal.push((a.clone(), b.clone()));
                // A known size tells more than a symbol.
                Ok(if b.known().is_some() { b.clone() } else { a.clone() })
            }
        }
    }

    pub fn same_shape(&mut self, a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, Misfit> {
        if a.len() != b.len() {
            return Err(format!("ranks {} and {} differ", a.len(), b.len()));
        }
        a.iter().zip(b).map(|(x, y)| self.same(x, y)).collect()
    }

    /// numpy broadcasting. A symbol against a known size other than one is taken to be that size.
    pub fn broadcast(&mut self, a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, Misfit> {
        let rank = a.len().max(b.len());
        let one = Dim::Known(1);
        (0..rank)
            .map(|axis| {
                let x = (axis + a.len()).checked_sub(rank).map_or(&one, |i| &a[i]);
                let y = (axis + b.len()).checked_sub(rank).map_or(&one, |i| &b[i]);
                if x.is_one() {
                    return Ok(y.clone());
                }
                if y.is_one() { Ok(x.clone()) } else { self.same(x, y) }
            })
            .collect()
    }
}

pub fn want_dtype(ty: &Type, what: &str, fits: impl Fn(DType) -> bool) -> Result<(), Misfit> {
    if fits(ty.dtype) { Ok(()) } else { Err(format!("{} is not {what}", ty.dtype)) }
}

pub fn want_rank(ty: &Type, rank: usize) -> Result<(), Misfit> {
    if ty.rank() == rank { Ok(()) } else { Err(format!("{ty} is not of rank {rank}")) }
}

pub fn want_axis(ty: &Type, axis: usize) -> Result<(), Misfit> {
    if axis < ty.rank() { Ok(()) } else { Err(format!("axis {axis} of {ty}")) }
}

/// Axes: in range, ascending, each once.
pub fn want_axes(ty: &Type, axes: &[usize]) -> Result<(), Misfit> {
    axes.iter().try_for_each(|&axis| want_axis(ty, axis))?;
    let ascending = axes.windows(2).all(|pair| pair[0] < pair[1]);
    if ascending { Ok(()) } else { Err(format!("axes {axes:?} are not ascending")) }
}

/// Axes reduced: dropped, or kept with size one.
pub fn reduced(shape: &[Dim], axes: &[usize], keepdims: bool) -> Vec<Dim> {
    let kept = shape.iter().enumerate().filter(|(axis, _)| keepdims || !axes.contains(axis));
    kept.map(|(axis, dim)| if axes.contains(&axis) { Dim::Known(1) } else { dim.clone() }).collect()
}

/// The op in the one form that says the same: `Padding::Same` becomes numbers wherever the length is known.
pub fn normalized(op: Op, ins: &Ins) -> Op {
    let Some(x) = ins.opt(0) else { return op };
    match op {
        Op::Conv(conv) => {
            let window = ins.opt(1).and_then(|kernel| conv::kernel_window(&conv, kernel));
            let Some(window) = window else { return Op::Conv(conv) };
            let spatial = conv::spatial(x, conv.layout);
            let padding = conv::explicit(&conv.padding, &spatial, &window, &conv.strides, &conv.dilations);
            Op::Conv(Conv { padding, ..conv })
        }
        Op::Pool(pool) => {
            let spatial = conv::spatial(x, pool.layout);
            let dilations = vec![1; pool.window.len()];
            let padding = conv::explicit(&pool.padding, &spatial, &pool.window, &pool.strides, &dilations);
            Op::Pool(Pool { padding, ..pool })
        }
        other => other,
    }
}

/// Types of the outputs.
pub fn infer(op: &Op, ins: &mut Ins) -> Inferred {
    strings::only_moved(op, ins)?;
    match op {
        Op::Unary(op) => elementwise::unary(op, ins),
        Op::Activation(op) => elementwise::activation(op, ins),
        Op::Binary(op) => elementwise::binary(op, ins),
        Op::Clip(op) => elementwise::clip(op, ins),
        Op::Where(_) => elementwise::select(ins),
        Op::Cast(op) => elementwise::cast(op, ins),
        Op::Dropout(op) => elementwise::dropout(op, ins),
        Op::MatMul(_) => matmul::matmul(ins),
        Op::Einsum(op) => matmul::einsum(op, ins),
        Op::Conv(op) => conv::conv(op, ins),
        Op::ConvTranspose(op) => conv::conv_transpose(op, ins),
        Op::Pool(op) => conv::pool(op, ins),
        Op::BatchNorm(op) => norm::batch_norm(op, ins),
        Op::LayerNorm(op) => norm::layer_norm(op, ins),
        Op::GroupNorm(op) => norm::group_norm(op, ins),
        Op::RmsNorm(op) => norm::rms_norm(op, ins),
        Op::Softmax(op) => norm::softmax(op, ins),
        Op::LogSoftmax(op) => norm::log_softmax(op, ins),
        Op::Reduce(op) => reduce::reduce(op, ins),
        Op::ArgReduce(op) => reduce::arg_reduce(op, ins),
        Op::Cumulative(op) => reduce::cumulative(op, ins),
        Op::TopK(op) => reduce::top_k(op, ins),
        Op::Reshape(op) => shape::reshape(op, ins),
        Op::Transpose(op) => shape::transpose(op, ins),
        Op::Concat(op) => shape::concat(op, ins),
        Op::Slice(op) => shape::slice(op, ins),
        Op::Pad(op) => shape::pad(op, ins),
        Op::Tile(op) => shape::tile(op, ins),
        Op::BroadcastTo(op) => shape::broadcast_to(op, ins),
        Op::Gather(op) => shape::gather(op, ins),
        Op::GatherElements(op) => shape::gather_elements(op, ins),
        Op::Reverse(op) => shape::reverse(op, ins),
        Op::OneHot(op) => shape::one_hot(op, ins),
        Op::Triangle(op) => shape::triangle(op, ins),
        Op::StringToIndex(op) => strings::string_to_index(op, ins),
        Op::IndexToString(op) => strings::index_to_string(op, ins),
        Op::StringMap(op) => strings::string_map(op, ins),
        Op::StringSplit(op) => strings::string_split(op, ins),
        Op::StringHash(op) => strings::string_hash(op, ins),
        Op::Resize(op) => resize::resize(op, ins),
        Op::Lstm(op) => recurrent::lstm(op, ins),
        Op::Gru(op) => recurrent::gru(op, ins),
        Op::SimpleRnn(op) => recurrent::simple_rnn(op, ins),
        Op::Attention(op) => attention::attention(op, ins),
        Op::Scan(op) => control::scan(op, ins),
        Op::Constant(op) => control::constant(op, ins),
        Op::DimSize(op) => control::dim_size(op, ins),
        Op::Iota(op) => control::iota(op, ins),
    }
}

/// The explicit padding that means "same" for a known length: total = max((ceil(n/s) - 1) s + window - n, 0), the odd
/// element after, as Keras pads.
pub fn same_padding(length: u64, window: u64, stride: u64, dilation: u64) -> Padding {
    let slid = (length.div_ceil(stride.max(1)).max(1) - 1).saturating_mul(stride);
    let total = slid.saturating_add(reach(window, dilation)).saturating_sub(length);
    Padding::Explicit(total / 2, total - total / 2)
}

/// Elements from the first to the last one under a window.
pub fn reach(window: u64, dilation: u64) -> u64 {
    (window.max(1) - 1).saturating_mul(dilation).saturating_add(1)
}
