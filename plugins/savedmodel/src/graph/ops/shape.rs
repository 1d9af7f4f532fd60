//! Tensors under other shapes, put together and taken apart.

use super::super::def::Node;
use super::super::interp::Interp;
use super::super::value::{FOLDED_MAX, Int, Ints, Val};
use super::{axis, inputs, one, values};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::types::element_count;
use recast_plugin_api::ir::{BinaryFunction, BroadcastTo, Concat, DType, Data, Dim, Iota, Pad, PadMode, Tensor, Tile};
use std::rc::Rc;

type Out = Result<Vec<Val>, Diag>;

/// The axes of a shape operand; -1 is what is left of `x`.
fn target(node: &Node<'_>, x: &[Dim], asked: &[Int]) -> Result<Vec<Dim>, Diag> {
    let free = asked.iter().position(|size| *size == Int::N(-1));
    let size = |size: &Int| size.dim().ok_or_else(|| node.bad(format!("a size of {size:?}")));
    let mut shape = Vec::new();
    for (at, asked) in asked.iter().enumerate() {
        shape.push(if Some(at) == free { Dim::Known(1) } else { size(asked)? });
    }
    let Some(free) = free else { return Ok(shape) };
    // Axes that stay as they are cancel out: what is left is then exact for free sizes, too.
    let (mut have, mut want) = (x.to_vec(), shape.clone());
    want.retain(|dim| match have.iter().position(|other| other == dim) {
        Some(at) => {
            have.remove(at);
            false
        }
        None => true,
    });
    let (have, want) = (element_count(&have), element_count(&want));
    let left = have.exact_div(&want).or_else(|| want.known().filter(|n| *n > 0).map(|n| have.floor_div(n)));
    shape[free] = left.ok_or_else(|| node.unsupported(format!("{have} elements in rows of {want}")))?;
    Ok(shape)
}

pub fn reshape<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _] = inputs(node, vals)?;
    let asked = interp.sizes_of(node, vals, 1, "shape")?;
    let shape = target(node, &interp.shape_of(node, x)?, &asked)?;
    reshaped(interp, node, x, shape)
}

/// Under another shape with as many elements; what is known stays known.
pub fn reshaped(interp: &mut Interp<'_>, node: &Node<'_>, x: &Val, shape: Vec<Dim>) -> Out {
    let sizes: Option<Vec<u64>> = shape.iter().map(Dim::known).collect();
    if let Some(sizes) = &sizes {
        if let Val::Known(tensor) = x
            && let Some(view) = tensor.reshaped(sizes)
        {
            return Ok(vec![Val::Known(Rc::new(view))]);
        }
        if let Val::Ints(ints) = x
            && sizes.iter().product::<u64>() == ints.elements.len() as u64
        {
            let shape = sizes.iter().map(|&size| size as usize).collect();
            return Ok(vec![Ints { shape, ..(**ints).clone() }.val()]);
        }
    }
    let x = interp.value(node, x)?;
    let out = interp.graph().reshape(node.name, x, shape)?;
    one(interp, out)
}

pub fn expand_dims<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _] = inputs(node, vals)?;
    let mut shape = interp.shape_of(node, x)?;
    let at = match interp.known(node, vals, 1, "axis")?[..] {
        [at] => axis(node, at, shape.len() + 1)?,
        _ => return Err(node.bad("one axis is needed")),
    };
    shape.insert(at, Dim::Known(1));
    reshaped(interp, node, x, shape)
}

pub fn squeeze<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let shape = interp.shape_of(node, x)?;
    let mut dropped = Vec::new();
    for at in node.ints("squeeze_dims")? {
        dropped.push(axis(node, at, shape.len())?);
    }
    let all = dropped.is_empty();
    let gone = |at: usize, dim: &Dim| if all { dim.is_one() } else { dropped.contains(&at) };
    if shape.iter().enumerate().any(|(at, dim)| gone(at, dim) && dim.known().is_some_and(|n| n != 1)) {
        return Err(node.bad("an axis that is not of size one"));
    }
    let kept = shape.iter().enumerate().filter(|(at, dim)| !gone(*at, dim)).map(|(_, dim)| dim.clone()).collect();
    reshaped(interp, node, x, kept)
}

pub fn transpose<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _] = inputs(node, vals)?;
    let rank = interp.shape_of(node, x)?.len();
    let mut perm = Vec::new();
    for at in interp.known(node, vals, 1, "permutation")? {
        perm.push(axis(node, at, rank)?);
    }
    if rank < 2 {
        return Ok(vec![x.clone()]);
    }
    if let Val::Known(tensor) = x
        && let Data::Region { .. } = tensor.data
        && let Some(view) = tensor.permuted(&perm)
    {
        return Ok(vec![Val::Known(Rc::new(view))]);
    }
    let x = interp.value(node, x)?;
    let out = interp.graph().transpose(node.name, x, &perm)?;
    one(interp, out)
}

pub fn concat<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let at = vals.len().checked_sub(1).ok_or_else(|| node.bad("no axis"))?;
    joined(interp, node, &vals[..at], interp.known(node, vals, at, "axis")?)
}

pub fn concat_first<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    joined(interp, node, vals.get(1..).unwrap_or(&[]), interp.known(node, vals, 0, "axis")?)
}

fn joined(interp: &mut Interp<'_>, node: &Node<'_>, parts: &[Val], at: Vec<i64>) -> Out {
    let first = parts.first().ok_or_else(|| node.bad("nothing to join"))?;
    let rank = interp.shape_of(node, first)?.len();
    let at = match at[..] {
        [at] => axis(node, at, rank)?,
        _ => return Err(node.bad("one axis is needed")),
    };
    let ints: Option<Vec<Ints>> = parts.iter().map(|part| interp.ints(part)).collect();
    if let Some(ints) = ints.filter(|_| rank == 1) {
        let elements: Vec<Int> = ints.iter().flat_map(|ints| ints.elements.clone()).collect();
        if elements.len() <= FOLDED_MAX {
            return Ok(vec![Ints::vector(ints[0].dtype, elements).val()]);
        }
    }
    if parts.len() == 1 {
        return Ok(vec![first.clone()]);
    }
    // Parts without an element, as shape arithmetic leaves them, join to nothing.
    let mut kept = Vec::new();
    for part in parts {
        if interp.shape_of(node, part)?.get(at) != Some(&Dim::Known(0)) {
            kept.push(part.clone());
        }
    }
    let values = values(interp, node, if kept.is_empty() { parts } else { &kept })?;
    let out = if values.len() == 1 { values[0] } else { interp.add(node, Concat { axis: at }, &values)? };
    one(interp, out)
}

pub fn pack<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let first = vals.first().ok_or_else(|| node.bad("nothing to pack"))?;
    let rank = interp.shape_of(node, first)?.len();
    let at = axis(node, node.int("axis", 0)?, rank + 1)?;
    let ints: Option<Vec<Ints>> = vals.iter().map(|val| interp.ints(val)).collect();
    if let Some(ints) = ints.filter(|ints| at == 0 && ints.iter().all(|part| part.shape == ints[0].shape)) {
        let elements: Vec<Int> = ints.iter().flat_map(|ints| ints.elements.clone()).collect();
        if elements.len() <= FOLDED_MAX {
            let shape = [ints.len()].into_iter().chain(ints[0].shape.iter().copied()).collect();
            return Ok(vec![Ints { dtype: ints[0].dtype, shape, elements }.val()]);
        }
    }
    let mut parts = Vec::new();
    for val in vals {
        let value = interp.value(node, val)?;
        parts.push(interp.graph().expand(node.name, value, at)?);
    }
    let out = if parts.len() == 1 { parts[0] } else { interp.add(node, Concat { axis: at }, &parts)? };
    one(interp, out)
}

pub fn unpack<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x] = inputs(node, vals)?;
    let shape = interp.shape_of(node, x)?;
    let at = axis(node, node.int("axis", 0)?, shape.len())?;
    let count = node.int("num", 0)?;
    if !(0..=FOLDED_MAX as i64).contains(&count) {
        return Err(node.bad(format!("{count} parts")));
    }
    if let Some(ints) = interp.ints(x).filter(|ints| ints.shape.len() == 1) {
        let part = |element: Int| Ints::scalar(ints.dtype, element).val();
        return Ok(ints.elements.into_iter().map(part).collect());
    }
    let x = interp.value(node, x)?;
    let mut out = Vec::new();
    for n in 0..count as u64 {
        let part = interp.graph().slice(node.name, x, at, Dim::Known(n), Dim::Known(n + 1))?;
        let part = interp.graph().squeeze(node.name, part, at)?;
        out.push(interp.val(part));
    }
    Ok(out)
}

pub fn split<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [_, x] = inputs(node, vals)?;
    let at = interp.known(node, vals, 0, "axis")?;
    let shape = interp.shape_of(node, x)?;
    let at = axis(node, *at.first().ok_or_else(|| node.bad("no axis"))?, shape.len())?;
    let count = u64::try_from(node.int("num_split", 0)?).ok().filter(|n| (1..=FOLDED_MAX as u64).contains(n));
    let count = count.ok_or_else(|| node.bad("an impossible number of parts"))?;
    let part = shape[at].exact_div(&Dim::Known(count));
    let part = part.ok_or_else(|| node.bad(format!("{} in {count} equal parts", shape[at])))?;
    parts(interp, node, x, at, &vec![part; count as usize])
}

pub fn split_v<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _, _] = inputs(node, vals)?;
    let sizes = interp.sizes_of(node, vals, 1, "sizes")?;
    let at = interp.known(node, vals, 2, "axis")?;
    let shape = interp.shape_of(node, x)?;
    let at = axis(node, *at.first().ok_or_else(|| node.bad("no axis"))?, shape.len())?;
    let mut left = shape[at].clone();
    for size in sizes.iter().filter(|size| **size != Int::N(-1)) {
        let size = size.dim().ok_or_else(|| node.bad("a size below zero"))?;
        left = left.minus(&size).ok_or_else(|| node.bad("the parts are larger than the whole"))?;
    }
    let size = |size: &Int| if *size == Int::N(-1) { left.clone() } else { size.dim().unwrap_or(Dim::Known(0)) };
    parts(interp, node, x, at, &sizes.iter().map(size).collect::<Vec<_>>())
}

fn parts(interp: &mut Interp<'_>, node: &Node<'_>, x: &Val, at: usize, sizes: &[Dim]) -> Out {
    let x = interp.value(node, x)?;
    let mut start = Dim::Known(0);
    let mut out = Vec::new();
    for size in sizes {
        let stop = start.plus(size);
        let part = interp.graph().slice(node.name, x, at, start, stop.clone())?;
        out.push(interp.val(part));
        start = stop;
    }
    Ok(out)
}

/// Broadcast to a shape.
pub fn spread(interp: &mut Interp<'_>, node: &Node<'_>, x: &Val, shape: Vec<Dim>) -> Out {
    let sizes: Option<Vec<u64>> = shape.iter().map(Dim::known).collect();
    if let (Some(sizes), Some(ints)) = (&sizes, interp.ints(x))
        && let [element] = ints.elements.as_slice()
        && sizes.iter().product::<u64>() <= FOLDED_MAX as u64
    {
        let count = sizes.iter().product::<u64>() as usize;
        let shape = sizes.iter().map(|&size| size as usize).collect();
        return Ok(vec![Ints { dtype: ints.dtype, shape, elements: vec![element.clone(); count] }.val()]);
    }
    let x = interp.value(node, x)?;
    if interp.shape(x) == shape {
        return one(interp, x);
    }
    let out = interp.add(node, BroadcastTo { shape }, &[x])?;
    one(interp, out)
}

fn dims(node: &Node<'_>, sizes: &[Int]) -> Result<Vec<Dim>, Diag> {
    sizes.iter().map(|size| size.dim().ok_or_else(|| node.bad(format!("a size of {size:?}")))).collect()
}

pub fn fill<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [_, value] = inputs(node, vals)?;
    let shape = dims(node, &interp.sizes_of(node, vals, 0, "shape")?)?;
    spread(interp, node, value, shape)
}

pub fn broadcast_to<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _] = inputs(node, vals)?;
    let shape = dims(node, &interp.sizes_of(node, vals, 1, "shape")?)?;
    spread(interp, node, x, shape)
}

pub fn zeros_like<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    all_like(interp, node, vals, 0.0)
}

pub fn ones_like<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    all_like(interp, node, vals, 1.0)
}

fn all_like<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val], value: f64) -> Out {
    let [x] = inputs(node, vals)?;
    let shape = interp.shape_of(node, x)?;
    let dtype = interp.dtype_of(x).ok_or_else(|| node.unsupported("this has no dtype"))?;
    super::math::filled(interp, node, dtype, value, shape)
}

pub fn tile<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [x, _] = inputs(node, vals)?;
    let repeats = dims(node, &interp.sizes_of(node, vals, 1, "multiples")?)?;
    if let (Some(ints), Some(times)) = (interp.ints(x), repeats.first().and_then(Dim::known))
        && ints.shape.len() == 1
        && repeats.len() == 1
        && (ints.elements.len() as u64).saturating_mul(times) <= FOLDED_MAX as u64
    {
        let elements = std::iter::repeat_n(ints.elements, times as usize).flatten().collect();
        return Ok(vec![Ints::vector(ints.dtype, elements).val()]);
    }
    let x = interp.value(node, x)?;
    if repeats.iter().all(Dim::is_one) {
        return one(interp, x);
    }
    let out = interp.add(node, Tile { repeats }, &[x])?;
    one(interp, out)
}

/// start, limit, delta
pub fn range<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [start, limit, delta] = inputs(node, vals)?;
    let dtype = interp.dtype_of(start).unwrap_or(DType::I32);
    let scalar = |val: &Val| interp.ints(val).and_then(|ints| ints.elements.first().cloned());
    let (Some(start), Some(limit), Some(delta)) = (scalar(start), scalar(limit), scalar(delta)) else {
        return float_range(node, vals, dtype);
    };
    if let (Some(start), Some(limit), Some(delta)) = (start.known(), limit.known(), delta.known()) {
        if delta == 0 {
            return Err(node.bad("a range with steps of zero"));
        }
        let span = if delta > 0 { limit.saturating_sub(start) } else { start.saturating_sub(limit) };
        let step = delta.unsigned_abs();
        let count = u64::try_from(span).unwrap_or(0).div_ceil(step);
        if count <= FOLDED_MAX as u64 {
            let element = |n: u64| Int::N(start.saturating_add(delta.saturating_mul(n as i64)));
            return Ok(vec![Ints::vector(dtype, (0..count).map(element).collect()).val()]);
        }
    }
    if delta != Int::N(1) {
        return Err(node.unsupported("a range of free length with steps other than one"));
    }
    let length = limit.sub(&start).and_then(|length| length.dim());
    let dim = length.ok_or_else(|| node.unsupported("a range whose length is not known to be one"))?;
    let steps = interp.add(node, Iota { dim, dtype }, &[])?;
    if start == Int::N(0) {
        return one(interp, steps);
    }
    let start = interp.value(node, &vals[0])?;
    let out = interp.graph().binary(node.name, BinaryFunction::Add, steps, start)?;
    one(interp, out)
}

fn known_number(val: &Val) -> Option<f64> {
    match val {
        Val::Known(tensor) => super::super::value::numbers(tensor)?.first().copied(),
        _ => None,
    }
}

fn float_range(node: &Node<'_>, vals: &[Val], dtype: DType) -> Out {
    let numbers: Option<Vec<f64>> = vals.iter().map(known_number).collect();
    let [start, limit, delta] = numbers.as_deref().unwrap_or(&[])[..] else {
        return Err(node.unsupported("a range that is computed from data when the model runs"));
    };
    let count = ((limit - start) / delta).ceil().max(0.0);
    if count.is_nan() || count > (1 << 16) as f64 {
        return Err(node.bad(format!("a range of {count} numbers")));
    }
    let all: Vec<f64> = (0..count as u64).map(|n| start + delta * n as f64).collect();
    Ok(vec![Val::Known(Rc::new(Tensor::from_numbers(dtype, &[all.len() as u64], &all)))])
}

pub fn lin_space<'a>(_interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let dtype = node.dtype_or("T", DType::F32)?;
    let numbers: Option<Vec<f64>> = vals.iter().map(known_number).collect();
    let [start, stop, count] = numbers.as_deref().unwrap_or(&[])[..] else {
        return Err(node.unsupported("its numbers are computed when the model runs"));
    };
    if !(1.0..=(1 << 16) as f64).contains(&count) {
        return Err(node.bad(format!("{count} numbers")));
    }
    let step = if count > 1.0 { (stop - start) / (count - 1.0) } else { 0.0 };
    let all: Vec<f64> = (0..count as u64).map(|n| start + step * n as f64).collect();
    Ok(vec![Val::Known(Rc::new(Tensor::from_numbers(dtype, &[all.len() as u64], &all)))])
}

/// (rank, 2) numbers: elements before and after each axis.
fn paddings(interp: &Interp<'_>, node: &Node<'_>, vals: &[Val]) -> Result<Vec<(u64, u64)>, Diag> {
    let flat = interp.known(node, vals, 1, "padding")?;
    let size = |n: i64| u64::try_from(n).map_err(|_| node.bad(format!("a padding of {n}")));
    flat.chunks_exact(2).map(|pair| Ok((size(pair[0])?, size(pair[1])?))).collect()
}

pub fn pad<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let padding = paddings(interp, node, vals)?;
    let mut values = vec![interp.value(node, &vals[0])?];
    if let Some(fill) = vals.get(2) {
        values.push(interp.value(node, fill)?);
    }
    if padding.iter().all(|pair| *pair == (0, 0)) {
        return one(interp, values[0]);
    }
    let out = interp.add(node, Pad { padding, mode: PadMode::Constant }, &values)?;
    one(interp, out)
}

pub fn mirror_pad<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let padding = paddings(interp, node, vals)?;
    let mode = match node.text("mode", "")?.as_str() {
        "REFLECT" => PadMode::Reflect,
        "SYMMETRIC" => PadMode::Symmetric,
        other => return Err(node.bad(format!("mode '{other}'"))),
    };
    let x = interp.value(node, &vals[0])?;
    let out = interp.add(node, Pad { padding, mode }, &[x])?;
    one(interp, out)
}
