use super::{Permuted, inverse, moved};
use crate::ir::op::{BatchNorm, Dropout, GroupNorm, LogSoftmax, Softmax};
use crate::ir::types::Type;

pub fn dropout(op: &Dropout, ins: &[Option<&Type>], perm: &[usize]) -> Option<Permuted> {
    Permuted::first(Dropout { shared: moved(&op.shared, perm), ..op.clone() }, ins.len(), perm)
}

pub fn batch_norm(op: &BatchNorm, ins: &[Option<&Type>], perm: &[usize]) -> Option<Permuted> {
    Permuted::first(BatchNorm { axis: inverse(perm)[op.axis], ..op.clone() }, ins.len(), perm)
}

pub fn group_norm(op: &GroupNorm, ins: &[Option<&Type>], perm: &[usize]) -> Option<Permuted> {
    // The batch axis is the first one by definition.
    if perm[0] != 0 {
        return None;
    }
    Permuted::first(GroupNorm { axis: inverse(perm)[op.axis], ..op.clone() }, ins.len(), perm)
}

pub fn softmax(op: &Softmax, ins: &[Option<&Type>], perm: &[usize]) -> Option<Permuted> {
    Permuted::first(Softmax { axes: moved(&op.axes, perm) }, ins.len(), perm)
}

pub fn log_softmax(op: &LogSoftmax, ins: &[Option<&Type>], perm: &[usize]) -> Option<Permuted> {
    Permuted::first(LogSoftmax { axis: inverse(perm)[op.axis] }, ins.len(), perm)
}
