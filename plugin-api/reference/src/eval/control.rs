use super::{Cx, Ins, Outcome, fault};
use crate::array::{Array, Data};
use crate::noise::derived;
use crate::run::Walk;
use crate::weights::Stored;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{Constant, DType, DimSize, Iota, Scan};
use std::sync::Arc;

/// Element `step` of axis 1.
fn step_of(x: &Array, step: usize) -> Array {
    let (batch, time) = (x.shape[0], x.shape[1]);
    let inner: usize = x.shape[2..].iter().product();
    let mut shape = x.shape.clone();
    shape.remove(1);
    let elements = (0..batch).flat_map(|b| (0..inner).map(move |i| (b * time + step) * inner + i));
    Array { dtype: x.dtype, shape, data: x.data.picked(elements) }
}

/// Joins the outputs of all steps along a new axis 1.
fn stacked(steps: &[Arc<Array>], shape: &[usize], dtype: DType) -> Result<Array, Diag> {
    let inner: usize = shape[2..].iter().product();
    fn joined<T: Clone>(steps: &[&[T]], batch: usize, inner: usize) -> Vec<T> {
        (0..batch)
            .flat_map(|b| steps.iter().flat_map(move |step| step[b * inner..(b + 1) * inner].iter().cloned()))
            .collect()
    }
    macro_rules! join {
        ($variant:ident) => {{
            let slices: Vec<&[_]> = steps
                .iter()
                .filter_map(|step| if let Data::$variant(values) = &step.data { Some(values.as_slice()) } else { None })
                .collect();
            Data::$variant(joined(&slices, shape[0], inner))
        }};
    }
    let data = match steps.first().map(|step| &step.data) {
        Some(Data::F(_)) => join!(F),
        Some(Data::I(_)) => join!(I),
        Some(Data::B(_)) => join!(B),
        Some(Data::S(_)) => join!(S),
        // No steps: no elements.
        None => return Ok(Array::from_numbers(dtype, shape.to_vec(), Vec::new())),
    };
    Ok(Array { dtype, shape: shape.to_vec(), data })
}

/// With `reverse`, the last step comes first; what it gives is still stacked in the order of time.
pub fn scan(op: &Scan, ins: &Ins<'_>, cx: &Cx<'_>, walk: &mut Walk<'_>) -> Outcome {
    let mut states = (0..op.states).map(|index| ins.array(index)).collect::<Result<Vec<_>, Diag>>()?;
    let scanned = (op.states..ins.len()).map(|index| ins.array(index)).collect::<Result<Vec<_>, Diag>>()?;
    let time = scanned.first().map(|x| x.shape[1]).ok_or_else(|| fault("nothing is scanned"))?;
    let mut outputs: Vec<Vec<Arc<Array>>> = vec![Vec::new(); op.body.outputs.len() - op.states];
    let seed = walk.seed;
    for count in 0..time {
        let step = if op.reverse { time - 1 - count } else { count };
        let elements = scanned.iter().map(|x| Arc::new(step_of(x, step)));
        let inputs = states.iter().cloned().chain(elements).collect();
        walk.seed = cx.noise.and(seed).map(|seed| derived(seed, 1 + step as u64));
        let made = walk.graph(&op.body, inputs, &mut |_, _| {});
        walk.seed = seed;
        let mut made = made?;
        let stepped = made.split_off(op.states);
        states = made;
        outputs.iter_mut().zip(stepped).for_each(|(all, one)| all.push(one));
    }
    let mut found: Vec<Array> = states.into_iter().map(Arc::unwrap_or_clone).collect();
    for (index, mut steps) in outputs.into_iter().enumerate() {
        if op.reverse {
            steps.reverse();
        }
        let dtype = op.body.ty(op.body.outputs[op.states + index].value).dtype;
        found.push(stacked(&steps, &cx.shapes[op.states + index], dtype)?);
    }
    Ok(found)
}

pub fn constant(op: &Constant, walk: &Walk<'_>) -> Outcome {
    let stored = Stored::open(&op.tensor, walk.weights)?;
    stored.to_array().map(|array| vec![array]).ok_or_else(|| fault("a constant without numbers"))
}

pub fn dim_size(op: &DimSize) -> Outcome {
    let size = op.dim.known().ok_or_else(|| fault(format!("nothing binds the size {}", op.dim)))?;
    Ok(vec![Array::ints(DType::I64, Vec::new(), vec![size as i64])])
}

pub fn iota(op: &Iota, cx: &Cx<'_>) -> Outcome {
    let count = (0..cx.len()).map(|i| i as f64).collect();
    Ok(vec![Array::from_numbers(op.dtype, cx.shape(), count)])
}
