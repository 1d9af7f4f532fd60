use super::{Perm, Permuted, Want, inverse, moved};
use crate::ir::op::{ArgReduce, Cumulative, Op, Reduce, TopK};

/// The permutation that is left when `axes` (old ones) are dropped.
fn without(perm: &[usize], axes: &[usize]) -> Perm {
    let kept = perm.iter().filter(|axis| !axes.contains(axis));
    kept.map(|&axis| axis - axes.iter().filter(|&&dropped| dropped < axis).count()).collect()
}

fn reducing(op: impl Into<Op>, perm: &[usize], axes: &[usize], keepdims: bool) -> Option<Permuted> {
    let output = if keepdims { perm.to_vec() } else { without(perm, axes) };
    Some(Permuted { op: op.into(), inputs: vec![Want::Axes(perm.to_vec())], outputs: vec![output] })
}

pub fn reduce(op: &Reduce, perm: &[usize]) -> Option<Permuted> {
    let turned = Reduce { axes: moved(&op.axes, perm), ..op.clone() };
    reducing(turned, perm, &op.axes, op.keepdims)
}

pub fn arg_reduce(op: &ArgReduce, perm: &[usize]) -> Option<Permuted> {
    let turned = ArgReduce { axis: inverse(perm)[op.axis], ..op.clone() };
    reducing(turned, perm, &[op.axis], op.keepdims)
}

pub fn cumulative(op: &Cumulative, perm: &[usize]) -> Option<Permuted> {
    Permuted::all(Cumulative { axis: inverse(perm)[op.axis], ..op.clone() }, 1, perm)
}

pub fn top_k(op: &TopK, perm: &[usize]) -> Option<Permuted> {
    let turned = TopK { axis: inverse(perm)[op.axis], ..op.clone() };
    let inputs = vec![Want::Axes(perm.to_vec())];
    Some(Permuted { op: turned.into(), inputs, outputs: vec![perm.to_vec(), perm.to_vec()] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_axes_leave_the_others_in_order() {
        assert_eq!(without(&[0, 3, 1, 2], &[1, 2]), [0, 1]);
        assert_eq!(without(&[0, 3, 1, 2], &[3]), [0, 1, 2]);
        assert_eq!(without(&[0, 3, 1, 2], &[1]), [0, 2, 1]);
    }
}
