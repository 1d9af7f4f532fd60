use super::{Cx, Ins, Lanes, Operand, Outcome, broadcast_strides, fault, ints, wrong_kind};
use crate::array::{Array, Data};
use crate::weights::{Offsets, strides};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{
    Concat, Gather, GatherElements, OneHot, Pad, PadMode, Reverse, Slice, Transpose, Triangle,
};

pub fn reshape(ins: &mut Ins<'_>, cx: &Cx<'_>) -> Outcome {
    cx.output(ins.take(0)?.data)
}

pub fn transpose(op: &Transpose, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let x = ins.array(0)?;
    let own = strides(&x.shape);
    let steps: Vec<usize> = op.perm.iter().map(|&axis| own[axis]).collect();
    cx.output(x.data.picked(Offsets::new(&cx.shape(), &steps)))
}

pub fn concat(op: &Concat, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let parts = (0..ins.len()).map(|index| ins.array(index)).collect::<Result<Vec<_>, Diag>>()?;
    let outer: usize = cx.shape()[..op.axis].iter().product();
    fn joined<T: Clone>(parts: &[&[T]], outer: usize) -> Vec<T> {
        let run = |part: &[T], o: usize| o * (part.len() / outer)..(o + 1) * (part.len() / outer);
        (0..outer).flat_map(|o| parts.iter().flat_map(move |part| part[run(part, o)].iter().cloned())).collect()
    }
    let mixed = || Diag::new(Code::Bug, "", "parts of unlike dtypes");
    macro_rules! join {
        ($variant:ident) => {{
            let slices: Option<Vec<&[_]>> = parts
                .iter()
                .map(|part| if let Data::$variant(values) = &part.data { Some(values.as_slice()) } else { None })
                .collect();
            Data::$variant(joined(&slices.ok_or_else(mixed)?, outer))
        }};
    }
    cx.output(match &ins.array(0)?.data {
        Data::F(_) => join!(F),
        Data::I(_) => join!(I),
        Data::B(_) => join!(B),
        Data::S(_) => join!(S),
    })
}

pub fn slice(op: &Slice, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let x = ins.array(0)?;
    let start = op.start.known().ok_or_else(|| fault("a slice that begins nowhere"))? as usize;
    let shape = cx.shape();
    let last = shape[op.axis].saturating_sub(1).saturating_mul(op.step as usize).saturating_add(start);
    if shape[op.axis] > 0 && last >= x.shape[op.axis] {
        return Err(fault(format!("element {last} of {}", x.shape[op.axis])));
    }
    let own = strides(&x.shape);
    let mut steps = own.clone();
    if shape[op.axis] > 1 {
        steps[op.axis] *= op.step as usize;
    }
    let first = start * own[op.axis];
    cx.output(x.data.picked(Offsets::new(&shape, &steps).map(|at| at + first)))
}

/// The index that a padded position shows; `None` for the fill value.
fn reflected(at: isize, size: usize, mode: PadMode) -> Option<usize> {
    let last = size as isize - 1;
    let inside = match mode {
        PadMode::Constant => at,
        PadMode::Edge => at.clamp(0, last.max(0)),
        PadMode::Reflect => {
            let at = at.abs();
            if at > last { 2 * last - at } else { at }
        }
        PadMode::Symmetric => {
            let at = if at < 0 { -1 - at } else { at };
            if at > last { 2 * last + 1 - at } else { at }
        }
    };
    (0..=last).contains(&inside).then_some(inside as usize)
}

pub fn pad(op: &Pad, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let x = ins.array(0)?;
    let fill = ins.optional(1)?;
    let shape = cx.shape();
    // One row of source indices for each axis; elements are where all axes have one.
    let sources: Vec<Vec<Option<usize>>> = (0..shape.len())
        .map(|axis| {
            let before = op.padding[axis].0 as isize;
            (0..shape[axis]).map(|i| reflected(i as isize - before, x.shape[axis], op.mode)).collect()
        })
        .collect();
    let own = strides(&x.shape);
    let mut places = vec![Some(0usize)];
    for (axis, sources) in sources.iter().enumerate() {
        let along = |place: Option<usize>| {
            let step = own[axis];
            sources.iter().map(move |source| Some(place? + (*source)? * step))
        };
        places = places.into_iter().flat_map(along).collect();
    }
    if op.mode != PadMode::Constant && places.iter().any(Option::is_none) {
        return Err(fault(format!("{} padding of an axis without elements", op.mode)));
    }
    fn filled<T: Copy>(places: &[Option<usize>], values: &[T], fill: T) -> Vec<T> {
        places.iter().map(|place| place.map_or(fill, |at| values[at])).collect()
    }
    cx.output(match (&x.data, fill.as_deref().map(|fill| &fill.data)) {
        (Data::F(values), Some(Data::F(fill))) => Data::F(filled(&places, values, fill[0])),
        (Data::I(values), Some(Data::I(fill))) => Data::I(filled(&places, values, fill[0])),
        (Data::B(values), Some(Data::B(fill))) => Data::B(filled(&places, values, fill[0])),
        (Data::F(values), _) => Data::F(filled(&places, values, 0.0)),
        (Data::I(values), _) => Data::I(filled(&places, values, 0)),
        (Data::B(values), _) => Data::B(filled(&places, values, false)),
        (Data::S(_), _) => return Err(wrong_kind(&x)),
    })
}

pub fn tile(ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let x = ins.array(0)?;
    let shape = cx.shape();
    // (repeats, size) pairs of axes, the repeats read with stride zero.
    let split: Vec<usize> = shape.iter().zip(&x.shape).flat_map(|(&all, &n)| [all / n.max(1), n]).collect();
    let steps: Vec<usize> = strides(&x.shape).into_iter().flat_map(|stride| [0, stride]).collect();
    cx.output(x.data.picked(Offsets::new(&split, &steps)))
}

pub fn broadcast_to(ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let x = ins.array(0)?;
    let shape = cx.shape();
    cx.output(x.data.picked(Offsets::new(&shape, &broadcast_strides(&x.shape, &shape))))
}

fn index(at: i64, size: usize) -> Result<usize, Diag> {
    let inside = usize::try_from(at).ok().filter(|&at| at < size);
    inside.ok_or_else(|| fault(format!("index {at} in an axis of {size}")))
}

pub fn gather(op: &Gather, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let indices = ins.array(1)?;
    let x = ins.operand(0)?;
    let lanes = Lanes::of(x.shape(), op.axis);
    let picks = ints(&indices)?.iter().map(|&at| index(at, lanes.len)).collect::<Result<Vec<usize>, Diag>>()?;
    if let Operand::Stored(stored) = x
        && stored.dtype.is_float()
    {
        // An embedding: only the rows that are asked for are widened.
        let mut out = vec![0.0; cx.len()];
        let rows = (0..lanes.outer).flat_map(|o| picks.iter().map(move |pick| o * lanes.len + pick));
        for (part, row) in out.chunks_exact_mut(lanes.inner.max(1)).zip(rows) {
            stored.widen(row * lanes.inner, part);
        }
        return cx.floats(out);
    }
    let x = x.array()?;
    let picks = &picks;
    let elements = (0..lanes.outer).flat_map(|o| {
        picks.iter().flat_map(move |pick| (0..lanes.inner).map(move |i| (o * lanes.len + pick) * lanes.inner + i))
    });
    cx.output(x.data.picked(elements))
}

pub fn gather_elements(op: &GatherElements, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let (x, indices) = (ins.array(0)?, ins.array(1)?);
    let mut steps = strides(&x.shape);
    let stride = std::mem::take(&mut steps[op.axis]);
    let picks = ints(&indices)?.iter().map(|&at| index(at, x.shape[op.axis]));
    let picks = picks.collect::<Result<Vec<usize>, Diag>>()?;
    let elements = Offsets::new(&indices.shape, &steps).zip(picks).map(|(at, pick)| at + pick * stride);
    cx.output(x.data.picked(elements))
}

pub fn reverse(op: &Reverse, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let x = ins.array(0)?;
    let mut places: Vec<usize> = vec![0];
    for (axis, step) in strides(&x.shape).into_iter().enumerate() {
        let size = x.shape[axis];
        let turned = op.axes.contains(&axis);
        let along = |place: usize| (0..size).map(move |i| place + step * if turned { size - 1 - i } else { i });
        places = places.into_iter().flat_map(along).collect();
    }
    cx.output(x.data.picked(places.into_iter()))
}

pub fn one_hot(op: &OneHot, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let indices = ins.array(0)?;
    let lanes = Lanes::of(&cx.shape(), op.axis);
    let mut hot = vec![false; cx.len()];
    for (lane, &at) in lanes.starts().zip(ints(&indices)?) {
        if let Some(at) = usize::try_from(at).ok().filter(|&at| at < lanes.len) {
            hot[lane + at * lanes.inner] = true;
        }
    }
    Ok(vec![Array::bools(cx.shape(), hot).cast(op.dtype)])
}

pub fn triangle(op: &Triangle, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let mut x = ins.array(0)?.as_ref().clone();
    let (rows, columns) = (x.shape[x.rank() - 2], x.shape[x.rank() - 1]);
    let kept = |at: usize| {
        let (row, column) = ((at / columns % rows) as i64, (at % columns) as i64);
        let above = (column - row).cmp(&op.k);
        if op.lower { above.is_le() } else { above.is_ge() }
    };
    fn cut<T: Default>(values: &mut [T], kept: impl Fn(usize) -> bool) {
        values.iter_mut().enumerate().filter(|(at, _)| !kept(*at)).for_each(|(_, v)| *v = T::default());
    }
    match &mut x.data {
        Data::F(values) => cut(values, kept),
        Data::I(values) => cut(values, kept),
        Data::B(values) => cut(values, kept),
        Data::S(_) => return Err(wrong_kind(&x)),
    }
    cx.output(x.data)
}
