//! What an op is when the axes of its values are permuted: the question that a layout pass asks, answered by each op.
//!
//! A permutation `perm` makes axis `i` of the new value from axis `perm[i]` of the old one, as `Transpose` does.

mod conv;
mod elementwise;
mod reduce;
mod shape;

pub use conv::{kernel_turned, to_layout};

use super::op::{Layout, Op};
use super::types::Type;

pub type Perm = Vec<usize>;

/// The axis that `perm` moves each old axis to.
pub fn inverse(perm: &[usize]) -> Perm {
    let mut inverse = vec![0; perm.len()];
    for (new, &old) in perm.iter().enumerate() {
        inverse[old] = new;
    }
    inverse
}

/// First `a`, then `b`.
pub fn then(a: &[usize], b: &[usize]) -> Perm {
    b.iter().map(|&axis| a[axis]).collect()
}

pub fn is_identity(perm: &[usize]) -> bool {
    perm.iter().enumerate().all(|(i, &axis)| i == axis)
}

pub fn identity(rank: usize) -> Perm {
    (0..rank).collect()
}

/// What a permuted op wants of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// Its axes as they were.
    Same,
    /// Its axes permuted; an input of lower rank first gets leading axes of size one.
    Axes(Perm),
}

/// An op that computes the same from permuted inputs, and how its outputs are permuted then.
#[derive(Debug, Clone, PartialEq)]
pub struct Permuted {
    pub op: Op,
    /// One for each input, absent ones included.
    pub inputs: Vec<Want>,
    pub outputs: Vec<Perm>,
}

impl Permuted {
    /// One output and only inputs with data, all of them permuted.
    fn all(op: impl Into<Op>, inputs: usize, perm: &[usize]) -> Option<Permuted> {
        Some(Permuted { op: op.into(), inputs: vec![Want::Axes(perm.to_vec()); inputs], outputs: vec![perm.to_vec()] })
    }

    /// The first input is permuted, the others (weights, fill values) stay; one output, permuted like the input.
    fn first(op: impl Into<Op>, inputs: usize, perm: &[usize]) -> Option<Permuted> {
        let mut wants = vec![Want::Same; inputs];
        wants[0] = Want::Axes(perm.to_vec());
        Some(Permuted { op: op.into(), inputs: wants, outputs: vec![perm.to_vec()] })
    }
}

/// Where axes go: ascending again.
fn moved(axes: &[usize], perm: &[usize]) -> Vec<usize> {
    let to = inverse(perm);
    let mut axes: Vec<usize> = axes.iter().map(|&axis| to[axis]).collect();
    axes.sort_unstable();
    axes
}

impl Op {
    /// This op over permuted axes. `perm` is that of the input with the highest rank; `None` where the op is tied to
    /// the axes that it has, or would become one that targets only know over trailing axes.
    pub fn permuted(&self, ins: &[Option<&Type>], perm: &[usize]) -> Option<Permuted> {
        let lead = ins.iter().flatten().map(|ty| ty.rank()).max()?;
        if lead != perm.len() || ins[0].is_none() {
            return None;
        }
        match self {
            Op::Unary(op) => Permuted::all(op.clone(), 1, perm),
            Op::Activation(op) => Permuted::all(op.clone(), 1, perm),
            Op::Binary(op) => Permuted::all(op.clone(), 2, perm),
            Op::Clip(op) => Permuted::all(op.clone(), 1, perm),
            Op::Where(op) => Permuted::all(op.clone(), 3, perm),
            Op::Cast(op) => Permuted::all(op.clone(), 1, perm),
            Op::Dropout(op) => elementwise::dropout(op, ins, perm),
            Op::MatMul(_) | Op::Einsum(_) => None,
            Op::Conv(op) => conv::conv(op, ins, perm),
            Op::ConvTranspose(op) => conv::conv_transpose(op, ins, perm),
            Op::Pool(op) => conv::pool(op, ins, perm),
            Op::BatchNorm(op) => elementwise::batch_norm(op, ins, perm),
            Op::GroupNorm(op) => elementwise::group_norm(op, ins, perm),
            // Normalization over trailing axes is one node nearly everywhere, over others it is seven.
            Op::LayerNorm(_) | Op::RmsNorm(_) => None,
            Op::Softmax(op) => elementwise::softmax(op, ins, perm),
            Op::LogSoftmax(op) => elementwise::log_softmax(op, ins, perm),
            Op::Reduce(op) => reduce::reduce(op, perm),
            Op::ArgReduce(op) => reduce::arg_reduce(op, perm),
            Op::Cumulative(op) => reduce::cumulative(op, perm),
            Op::TopK(op) => reduce::top_k(op, perm),
            // The layout pass knows them by name: a reshape has no axes of its own, a transpose is a permutation.
            Op::Reshape(_) | Op::Transpose(_) => None,
            Op::Concat(op) => shape::concat(op, ins, perm),
            Op::Slice(op) => shape::slice(op, perm),
            Op::Pad(op) => shape::pad(op, ins, perm),
            Op::Tile(op) => shape::tile(op, perm),
            Op::BroadcastTo(op) => shape::broadcast_to(op, perm),
            Op::Gather(_) | Op::OneHot(_) | Op::Triangle(_) => None,
            Op::GatherElements(op) => shape::gather_elements(op, ins, perm),
            Op::Reverse(op) => shape::reverse(op, perm),
            Op::StringToIndex(op) => Permuted::all(op.clone(), 1, perm),
            Op::IndexToString(op) => Permuted::all(op.clone(), 1, perm),
            Op::StringMap(op) => Permuted::all(op.clone(), 1, perm),
            Op::StringHash(op) => Permuted::all(op.clone(), ins.len(), perm),
            Op::StringSplit(_) => None,
            Op::Resize(op) => shape::resize(op, perm),
            Op::Lstm(_) | Op::Gru(_) | Op::SimpleRnn(_) | Op::Attention(_) | Op::Scan(_) => None,
            Op::Constant(_) | Op::DimSize(_) | Op::Iota(_) => None,
        }
    }

    /// The layout that the op is in over a value of this rank, for those that have one.
    pub fn layout(&self, rank: usize) -> Option<Layout> {
        match self {
            Op::Resize(op) => shape::resize_layout(op, rank),
            Op::Conv(op) => Some(op.layout),
            Op::ConvTranspose(op) => Some(op.layout),
            Op::Pool(op) => Some(op.layout),
            Op::Unary(_) | Op::Activation(_) | Op::Binary(_) | Op::Clip(_) | Op::Where(_) | Op::Cast(_) => None,
            Op::Dropout(_) | Op::MatMul(_) | Op::Einsum(_) => None,
            Op::BatchNorm(_) | Op::LayerNorm(_) | Op::GroupNorm(_) | Op::RmsNorm(_) => None,
            Op::Softmax(_) | Op::LogSoftmax(_) => None,
            Op::Reduce(_) | Op::ArgReduce(_) | Op::Cumulative(_) | Op::TopK(_) => None,
            Op::Reshape(_) | Op::Transpose(_) | Op::Concat(_) | Op::Slice(_) | Op::Pad(_) | Op::Tile(_) => None,
            Op::BroadcastTo(_) | Op::Gather(_) | Op::GatherElements(_) | Op::Reverse(_) | Op::OneHot(_) => None,
            Op::Triangle(_) | Op::StringToIndex(_) | Op::IndexToString(_) => None,
            Op::StringMap(_) | Op::StringSplit(_) | Op::StringHash(_) => None,
            Op::Lstm(_) | Op::Gru(_) | Op::SimpleRnn(_) | Op::Attention(_) | Op::Scan(_) => None,
            Op::Constant(_) | Op::DimSize(_) | Op::Iota(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_compose_and_invert() {
        let perm = [0, 3, 1, 2];
        assert_eq!(inverse(&perm), [0, 2, 3, 1]);
        assert!(is_identity(&then(&perm, &inverse(&perm))));
        assert_eq!(then(&[2, 0, 1], &[0, 2, 1]), [2, 1, 0]);
        assert_eq!(moved(&[1, 2], &perm), [2, 3]);
    }
}
