//! Shapes and what is computed from them: nothing of it is left in the graph.

use super::super::def::Node;
use super::super::interp::Interp;
use super::super::value::{Int, Ints, Val};
use super::inputs;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{DType, Dim};

type Out = Result<Vec<Val>, Diag>;

fn shape_ints(dtype: DType, shape: Vec<Dim>) -> Val {
    Ints::vector(dtype, shape.into_iter().map(Int::of).collect()).val()
}

pub fn shape<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let dtype = node.dtype_or("out_type", DType::I32)?;
    Ok(vec![shape_ints(dtype, interp.shape_of(node, x)?)])
}

pub fn shape_n<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let dtype = node.dtype_or("out_type", DType::I32)?;
    vals.iter().map(|val| Ok(shape_ints(dtype, interp.shape_of(node, val)?))).collect()
}

pub fn rank<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let rank = interp.shape_of(node, x)?.len() as i64;
    Ok(vec![Ints::scalar(DType::I32, Int::N(rank)).val()])
}

pub fn size<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let count = recast_plugin_api::ir::types::element_count(&interp.shape_of(node, x)?);
    Ok(vec![Ints::scalar(node.dtype_or("out_type", DType::I32)?, Int::of(count)).val()])
}

/// Two shapes that are broadcast against each other.
pub fn broadcast_args<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let (a, b) = (interp.sizes_of(node, vals, 0, "shape")?, interp.sizes_of(node, vals, 1, "shape")?);
    let dtype = node.dtype_or("T", DType::I32)?;
    let rank = a.len().max(b.len());
    let one = Int::N(1);
    let at = |list: &[Int], axis: usize| (axis + list.len()).checked_sub(rank).map_or(one.clone(), |i| list[i].clone());
    let joined = (0..rank).map(|axis| match (at(&a, axis), at(&b, axis)) {
        (Int::N(1), other) | (other, Int::N(1)) => Ok(other),
        (x, y) if x == y => Ok(x),
        (Int::D(_), known @ Int::N(_)) | (known @ Int::N(_), Int::D(_)) => Ok(known),
        (x, y) => Err(node.bad(format!("sizes {x:?} and {y:?} do not go together"))),
    });
    Ok(vec![Ints::vector(dtype, joined.collect::<Result<_, _>>()?).val()])
}

pub fn invert_permutation<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let perm = interp.known(node, vals, 0, "permutation")?;
    let place = |axis: usize| perm.iter().position(|&p| p == axis as i64).map(|at| Int::N(at as i64));
    let inverse: Option<Vec<Int>> = (0..perm.len()).map(place).collect();
    let inverse = inverse.ok_or_else(|| node.bad(format!("{perm:?} is no permutation")))?;
    Ok(vec![Ints::vector(node.dtype_or("T", DType::I32)?, inverse).val()])
}

/// What is in the first list and not in the second, and where.
pub fn list_diff<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let (x, y) = (interp.known(node, vals, 0, "list")?, interp.known(node, vals, 1, "list")?);
    let dtype = node.dtype_or("T", DType::I32)?;
    let kept: Vec<(usize, i64)> = x.into_iter().enumerate().filter(|(_, n)| !y.contains(n)).collect();
    let out = kept.iter().map(|(_, n)| Int::N(*n)).collect();
    let places = kept.iter().map(|(at, _)| Int::N(*at as i64)).collect();
    Ok(vec![Ints::vector(dtype, out).val(), Ints::vector(node.dtype_or("out_idx", DType::I32)?, places).val()])
}

/// Two integer arrays element by element, the smaller one repeated; none where a result is no known kind of number.
pub fn zip(a: &Ints, b: &Ints, dtype: DType, f: impl Fn(&Int, &Int) -> Option<Int>) -> Option<Ints> {
    let rank = a.shape.len().max(b.shape.len());
    let size = |ints: &Ints, axis: usize| (axis + ints.shape.len()).checked_sub(rank).map_or(1, |i| ints.shape[i]);
    let mut shape = Vec::new();
    for axis in 0..rank {
        shape.push(match (size(a, axis), size(b, axis)) {
            (1, n) | (n, 1) => n,
            (x, y) if x == y => x,
            _ => return None,
        });
    }
    let count: usize = shape.iter().product();
    if count > super::super::value::FOLDED_MAX {
        return None;
    }
    let place = |ints: &Ints, mut at: usize| {
        let (mut flat, mut stride) = (0, 1);
        for axis in (0..rank).rev() {
            let n = at % shape[axis].max(1);
            at /= shape[axis].max(1);
            let own = size(ints, axis);
            flat += if own == 1 { 0 } else { n * stride };
            stride *= own;
        }
        flat
    };
    let elements: Option<Vec<Int>> =
        (0..count).map(|at| f(&a.elements[place(a, at)], &b.elements[place(b, at)])).collect();
    Some(Ints { dtype, shape, elements: elements? })
}
