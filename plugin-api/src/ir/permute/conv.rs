use super::{Perm, Permuted};
use crate::ir::op::{Conv, ConvTranspose, KernelOrder, Layout, Op, Pool};
use crate::ir::types::Type;

/// The permutation of a value of this rank from the other layout to `layout`.
pub fn to_layout(layout: Layout, rank: usize) -> Perm {
    match layout {
        Layout::ChannelsFirst => [0, rank - 1].into_iter().chain(1..rank - 1).collect(),
        Layout::ChannelsLast => std::iter::once(0).chain(2..rank).chain([1]).collect(),
    }
}

fn other(layout: Layout) -> Layout {
    match layout {
        Layout::ChannelsFirst => Layout::ChannelsLast,
        Layout::ChannelsLast => Layout::ChannelsFirst,
    }
}

/// The layout that an op in `layout` has after `perm`, where that is one.
fn turned(layout: Layout, ins: &[Option<&Type>], perm: &[usize]) -> Option<Layout> {
    let rank = ins.first().copied().flatten()?.rank();
    (rank > 2 && perm == to_layout(other(layout), rank)).then(|| other(layout))
}

pub fn conv(op: &Conv, ins: &[Option<&Type>], perm: &[usize]) -> Option<Permuted> {
    Permuted::first(Conv { layout: turned(op.layout, ins, perm)?, ..op.clone() }, ins.len(), perm)
}

pub fn conv_transpose(op: &ConvTranspose, ins: &[Option<&Type>], perm: &[usize]) -> Option<Permuted> {
    Permuted::first(ConvTranspose { layout: turned(op.layout, ins, perm)?, ..op.clone() }, ins.len(), perm)
}

pub fn pool(op: &Pool, ins: &[Option<&Type>], perm: &[usize]) -> Option<Permuted> {
    Permuted::first(Pool { layout: turned(op.layout, ins, perm)?, ..op.clone() }, ins.len(), perm)
}

/// A convolution with its kernel's channels before the spatial axes (`first`) or after them, and what its kernel's
/// axes become. `None` for other ops, and where the kernel is in that order already.
pub fn kernel_turned(op: &Op, rank: usize, first: bool) -> Option<(Op, Perm)> {
    let kernel = match op {
        Op::Conv(conv) => conv.kernel,
        Op::ConvTranspose(conv) => conv.kernel,
        _other => return None,
    };
    let to = match (kernel, first) {
        (KernelOrder::Hwio, true) => KernelOrder::Oihw,
        (KernelOrder::Hwoi, true) => KernelOrder::Iohw,
        (KernelOrder::Oihw, false) => KernelOrder::Hwio,
        (KernelOrder::Iohw, false) => KernelOrder::Hwoi,
        _ => return None,
    };
    // Both channel axes swap with each other too: HWIO is OIHW read backwards.
    let perm = if first {
        [rank - 1, rank - 2].into_iter().chain(0..rank - 2).collect()
    } else {
        (2..rank).chain([1, 0]).collect()
    };
    let op = match op {
        Op::Conv(conv) => Op::Conv(Conv { kernel: to, ..conv.clone() }),
        Op::ConvTranspose(conv) => Op::ConvTranspose(ConvTranspose { kernel: to, ..conv.clone() }),
        other => other.clone(),
    };
    Some((op, perm))
}
