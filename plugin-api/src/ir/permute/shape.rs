use super::{Permuted, inverse, moved, then};
use crate::ir::op::{BroadcastTo, Concat, GatherElements, Layout, Pad, Resize, Reverse, Slice, Tile};
use crate::ir::types::Type;

fn reordered<T: Clone>(per_axis: &[T], perm: &[usize]) -> Vec<T> {
    perm.iter().map(|&axis| per_axis[axis].clone()).collect()
}

pub fn concat(op: &Concat, ins: &[Option<&Type>], perm: &[usize]) -> Option<Permuted> {
    Permuted::all(Concat { axis: inverse(perm)[op.axis] }, ins.len(), perm)
}

pub fn slice(op: &Slice, perm: &[usize]) -> Option<Permuted> {
    Permuted::all(Slice { axis: inverse(perm)[op.axis], ..op.clone() }, 1, perm)
}

pub fn pad(op: &Pad, ins: &[Option<&Type>], perm: &[usize]) -> Option<Permuted> {
    Permuted::first(Pad { padding: reordered(&op.padding, perm), mode: op.mode }, ins.len(), perm)
}

pub fn tile(op: &Tile, perm: &[usize]) -> Option<Permuted> {
    Permuted::all(Tile { repeats: reordered(&op.repeats, perm) }, 1, perm)
}

pub fn broadcast_to(op: &BroadcastTo, perm: &[usize]) -> Option<Permuted> {
    // With more axes in the result than in the input, `perm` does not say where the new ones go.
    if op.shape.len() != perm.len() {
        return None;
    }
    Permuted::all(BroadcastTo { shape: reordered(&op.shape, perm) }, 1, perm)
}

pub fn gather_elements(op: &GatherElements, ins: &[Option<&Type>], perm: &[usize]) -> Option<Permuted> {
    Permuted::all(GatherElements { axis: inverse(perm)[op.axis] }, ins.len(), perm)
}

pub fn reverse(op: &Reverse, perm: &[usize]) -> Option<Permuted> {
    Permuted::all(Reverse { axes: moved(&op.axes, perm) }, 1, perm)
}

pub fn resize(op: &Resize, perm: &[usize]) -> Option<Permuted> {
    let to = inverse(perm);
    // Axes ascend; each size goes with its axis.
    let mut order: Vec<usize> = (0..op.axes.len()).collect();
    order.sort_by_key(|&i| to[op.axes[i]]);
    let axes = then(&op.axes, &order).iter().map(|&axis| to[axis]).collect();
    Permuted::all(Resize { axes, sizes: reordered(&op.sizes, &order), ..op.clone() }, 1, perm)
}

/// Resampling all axes but batch and channels is done where formats have their spatial axes.
pub fn resize_layout(op: &Resize, rank: usize) -> Option<Layout> {
    if rank < 3 {
        return None;
    }
    let spatial = |first: usize| (first..first + rank - 2).collect::<Vec<_>>();
    let layouts = [(1, Layout::ChannelsLast), (2, Layout::ChannelsFirst)];
    layouts.into_iter().find(|(first, _)| op.axes == spatial(*first)).map(|(_, layout)| layout)
}
