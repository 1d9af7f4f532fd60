//! Axes in blocks: space to depth, space to batch, and back.
//!
//! Space to batch is how TensorFlow dilates a convolution where its kernels do not: each residue of the blocks becomes
//! a batch of its own, and the padding that makes the blocks come out even is cut off afterwards. Where what stands in
//! between is a convolution, the three are one dilated convolution.

use super::super::def::Node;
use super::super::interp::Interp;
use super::super::value::{Int, Val};
use super::{inputs, one};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    BroadcastTo, Concat, Conv, Dim, Layout, Op, Pad, PadMode, Padding, Tensor, Transpose, ValueId,
};

type Out = Result<Vec<Val>, Diag>;

/// Nodes between space to batch and back, among them those of the kernel.
const LOOK_BACK_MAX: usize = 64;

/// What space to batch made a value of.
#[derive(Clone)]
pub struct Blocked {
    /// Of the graph in the making.
    x: ValueId,
    /// Of axes 1, 2, ...
    blocks: Vec<Dim>,
    pads: Vec<(Int, Int)>,
}

fn reshape_to(
    interp: &mut Interp<'_>,
    node: &Node<'_>,
    x: ValueId,
    shape: Vec<Dim>,
    perm: &[usize],
) -> Result<ValueId, Diag> {
    let x = interp.graph().reshape(node.name, x, shape)?;
    interp.add(node, Transpose { perm: perm.to_vec() }, &[x])
}

/// (b, h, w, c) and the block; channels last only.
fn blocks(interp: &mut Interp<'_>, node: &Node<'_>, vals: &[Val]) -> Result<(ValueId, Vec<Dim>, Dim), Diag> {
    let [x] = inputs(node, vals)?;
    if node.text("data_format", "NHWC")? != "NHWC" {
        return Err(node.unsupported("channels first"));
    }
    let block = u64::try_from(node.int("block_size", 0)?).ok().filter(|block| *block > 0);
    let block = Dim::Known(block.ok_or_else(|| node.bad("an impossible block"))?);
    let x = interp.value(node, x)?;
    let shape = interp.shape(x);
    if shape.len() != 4 {
        return Err(node.bad("an input that is not of rank four"));
    }
    Ok((x, shape, block))
}

fn divided(node: &Node<'_>, dim: &Dim, by: &Dim) -> Result<Dim, Diag> {
    let exact = dim.exact_div(by).or_else(|| by.known().filter(|_| dim.known().is_none()).map(|n| dim.floor_div(n)));
    exact.ok_or_else(|| node.bad(format!("{dim} in blocks of {by}")))
}

pub fn depth_to_space<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let (x, s, block) = blocks(interp, node, vals)?;
    let depth = divided(node, &s[3], &block.times(&block))?;
    let inner = vec![s[0].clone(), s[1].clone(), s[2].clone(), block.clone(), block.clone(), depth.clone()];
    let y = reshape_to(interp, node, x, inner, &[0, 1, 3, 2, 4, 5])?;
    let shape = vec![s[0].clone(), s[1].times(&block), s[2].times(&block), depth];
    let out = interp.graph().reshape(node.name, y, shape)?;
    one(interp, out)
}

pub fn space_to_depth<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let (x, s, block) = blocks(interp, node, vals)?;
    let (h, w) = (divided(node, &s[1], &block)?, divided(node, &s[2], &block)?);
    let inner = vec![s[0].clone(), h.clone(), block.clone(), w.clone(), block.clone(), s[3].clone()];
    let y = reshape_to(interp, node, x, inner, &[0, 1, 3, 2, 4, 5])?;
    let shape = vec![s[0].clone(), h, w, s[3].times(&block).times(&block)];
    let out = interp.graph().reshape(node.name, y, shape)?;
    one(interp, out)
}

fn block_sizes(interp: &Interp<'_>, node: &Node<'_>, vals: &[Val]) -> Result<Vec<Dim>, Diag> {
    let blocks = interp.known(node, vals, 1, "block")?;
    let size = |n: i64| u64::try_from(n).ok().filter(|n| *n > 0).map(Dim::Known);
    blocks.into_iter().map(|n| size(n).ok_or_else(|| node.bad(format!("a block of {n}")))).collect()
}

/// Before and after, for each axis.
fn pairs(interp: &Interp<'_>, node: &Node<'_>, vals: &[Val]) -> Result<Vec<(Int, Int)>, Diag> {
    let flat = interp.sizes_of(node, vals, 2, "padding")?;
    if let Some(below) = flat.iter().filter_map(Int::known).find(|n| *n < 0) {
        return Err(node.bad(format!("a padding of {below}")));
    }
    Ok(flat.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
}

fn size(node: &Node<'_>, int: &Int) -> Result<Dim, Diag> {
    int.dim().ok_or_else(|| node.bad(format!("a padding of {int:?}")))
}

/// Zeros before and after, as many as are only known when the model runs.
fn padded(
    interp: &mut Interp<'_>,
    node: &Node<'_>,
    x: ValueId,
    axis: usize,
    pair: &(Int, Int),
) -> Result<ValueId, Diag> {
    let shape = interp.shape(x);
    let mut parts = Vec::new();
    for (count, is_before) in [(&pair.0, true), (&pair.1, false)] {
        let mut zeros = shape.clone();
        zeros[axis] = size(node, count)?;
        if zeros[axis] != Dim::Known(0) {
            let dtype = interp.ty(x).dtype;
            let zero = interp.graph().constant(node.name, Tensor::scalar(dtype, 0.0))?;
            parts.push(interp.add(node, BroadcastTo { shape: zeros }, &[zero])?);
        }
        parts.extend(is_before.then_some(x));
    }
    if parts.len() == 1 { Ok(x) } else { interp.add(node, Concat { axis }, &parts) }
}

pub fn space_to_batch<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let (blocks, pads) = (block_sizes(interp, node, vals)?, pairs(interp, node, vals)?);
    let given = interp.value(node, &vals[0])?;
    let rank = interp.shape(given).len();
    let n = blocks.len();
    if pads.len() != n || rank < n + 1 {
        return Err(node.bad("blocks and paddings that do not fit the input"));
    }
    let known = |pair: &(Int, Int)| Some((u64::try_from(pair.0.known()?).ok()?, u64::try_from(pair.1.known()?).ok()?));
    let mut x = given;
    if let Some(known) = pads.iter().map(known).collect::<Option<Vec<(u64, u64)>>>() {
        let padding: Vec<(u64, u64)> =
            (0..rank).map(|axis| if (1..=n).contains(&axis) { known[axis - 1] } else { (0, 0) }).collect();
        if padding.iter().any(|pair| *pair != (0, 0)) {
            x = interp.add(node, Pad { padding, mode: PadMode::Constant }, &[x])?;
        }
    } else {
        for (at, pair) in pads.iter().enumerate() {
            x = padded(interp, node, x, at + 1, pair)?;
        }
    }
    let s = interp.shape(x);
    let (mut inner, mut outer) = (vec![s[0].clone()], vec![blocks.iter().fold(s[0].clone(), |b, d| b.times(d))]);
    for (axis, block) in blocks.iter().enumerate() {
        let part = divided(node, &s[axis + 1], block)?;
        inner.extend([part.clone(), block.clone()]);
        outer.push(part);
    }
    inner.extend(s[n + 1..].iter().cloned());
    outer.extend(s[n + 1..].iter().cloned());
    let block_axes = (0..n).map(|axis| 2 + 2 * axis);
    let part_axes = (0..n).map(|axis| 1 + 2 * axis);
    let perm: Vec<usize> = block_axes.chain([0]).chain(part_axes).chain(2 * n + 1..rank + n).collect();
    let y = reshape_to(interp, node, x, inner, &perm)?;
    let out = interp.graph().reshape(node.name, y, outer)?;
    let depth = interp.depth();
    interp.frames[depth].blocked.insert(out, Blocked { x: given, blocks, pads });
    one(interp, out)
}

pub fn batch_to_space<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let (blocks, crops) = (block_sizes(interp, node, vals)?, pairs(interp, node, vals)?);
    let x = interp.value(node, &vals[0])?;
    if let Some(dilated) = dilated(interp, x, &blocks, &crops) {
        let out = dilated.add(interp, node)?;
        return one(interp, out);
    }
    let s = interp.shape(x);
    let n = blocks.len();
    if crops.len() != n || s.len() < n + 1 {
        return Err(node.bad("blocks and crops that do not fit the input"));
    }
    let batch = divided(node, &s[0], &blocks.iter().fold(Dim::Known(1), |all, block| all.times(block)))?;
    let inner = blocks.iter().cloned().chain([batch.clone()]).chain(s[1..].iter().cloned()).collect();
    let pairs = (0..n).flat_map(|axis| [n + 1 + axis, axis]);
    let perm: Vec<usize> = [n].into_iter().chain(pairs).chain(2 * n + 1..s.len() + n).collect();
    let y = reshape_to(interp, node, x, inner, &perm)?;
    let mut shape = vec![batch];
    shape.extend(blocks.iter().enumerate().map(|(axis, block)| s[axis + 1].times(block)));
    shape.extend(s[n + 1..].iter().cloned());
    let mut out = interp.graph().reshape(node.name, y, shape.clone())?;
    for (axis, (before, after)) in crops.iter().enumerate() {
        let (start, after) = (size(node, before)?, size(node, after)?);
        let stop = shape[axis + 1].minus(&after).ok_or_else(|| node.bad("crops more than there is"))?;
        out = interp.graph().slice(node.name, out, axis + 1, start, stop)?;
    }
    one(interp, out)
}

/// A convolution between space to batch and back, as one.
struct Dilated {
    x: ValueId,
    /// Where an axis of size one is put in before the convolution, and taken out behind it.
    expanded: Option<usize>,
    kernel: ValueId,
    op: Conv,
}

/// What `out` is in dilated form, where space to batch with the same blocks and a plain convolution made it, and the
/// crops take away what was padded to make the blocks come out even.
fn dilated(interp: &mut Interp<'_>, out: ValueId, blocks: &[Dim], crops: &[(Int, Int)]) -> Option<Dilated> {
    let depth = interp.depth();
    let graph = interp.graph();
    let made_by =
        |value: ValueId| graph.nodes().iter().rev().take(LOOK_BACK_MAX).find(|node| node.outputs.contains(&value));
    let mut node = made_by(out)?;
    let mut squeezed = None;
    if let Op::Reshape(_) = &node.op {
        let from = node.inputs[0]?;
        squeezed = Some(inserted(graph.shape(out), graph.shape(from))?);
        node = made_by(from)?;
    }
    let Op::Conv(conv) = &node.op else { return None };
    let [Some(x), Some(kernel)] = node.inputs.as_slice() else { return None };
    let mut input = *x;
    if let Some(axis) = squeezed {
        let expand = made_by(input).filter(|node| matches!(&node.op, Op::Reshape(_)))?;
        let from = expand.inputs[0]?;
        // The window does not reach along the axis that was put in.
        let window = graph.shape(*kernel).get(axis.checked_sub(1)?)?;
        (inserted(graph.shape(from), graph.shape(input))? == axis && window.is_one()).then_some(())?;
        input = from;
    }
    let (kernel, mut op) = (*kernel, conv.clone());
    let blocked = interp.frames[depth].blocked.get(&input)?.clone();
    if blocked.blocks != blocks || crops.len() != blocks.len() || op.layout != Layout::ChannelsLast {
        return None;
    }
    for (at, (pads, crops)) in blocked.pads.iter().zip(crops).enumerate() {
        // Among the spatial axes of the convolution.
        let axis = if squeezed.is_some_and(|axis| axis <= at + 1) { at + 1 } else { at };
        let plain = (*op.strides.get(axis)?, *op.dilations.get(axis)?, *op.padding.get(axis)?);
        let after = pads.1.sub(&crops.1)?.known().and_then(|n| u64::try_from(n).ok())?;
        let before = pads.0.known().and_then(|n| u64::try_from(n).ok())?;
        if plain != (1, 1, Padding::Explicit(0, 0)) || crops.0.known() != Some(0) {
            return None;
        }
        op.dilations[axis] = blocks[at].known()?;
        op.padding[axis] = Padding::Explicit(before, after);
    }
    Some(Dilated { x: blocked.x, expanded: squeezed, kernel, op })
}

/// The axis of size one that `long` has and `short` has not.
fn inserted(short: &[Dim], long: &[Dim]) -> Option<usize> {
    let without = |axis: usize| long[..axis].iter().chain(&long[axis + 1..]).eq(short);
    (0..long.len()).find(|&axis| long[axis].is_one() && without(axis))
}

impl Dilated {
    fn add(self, interp: &mut Interp<'_>, node: &Node<'_>) -> Result<ValueId, Diag> {
        let Dilated { mut x, expanded, kernel, op } = self;
        if let Some(axis) = expanded {
            x = interp.graph().expand(node.name, x, axis)?;
        }
        let out = interp.add(node, op, &[x, kernel])?;
        match expanded {
            Some(axis) => interp.graph().squeeze(node.name, out, axis),
            None => Ok(out),
        }
    }
}
