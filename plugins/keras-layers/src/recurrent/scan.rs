//! Recurrent layers for which the IR has no whole op, as a `Scan` over time.

use super::cell::{Cell, Kind};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{
    BinaryFunction, BroadcastTo, DType, Dim, Graph, MatMul, Op, Scan as ScanOp, Shape, Tensor, Type, ValueId, Where,
};
use recast_plugin_api::lower::Lowering;

/// A walk over time. All steps see `fixed`; `inputs` (batch, time, ...) give one step each.
pub struct Walk<'w> {
    pub inputs: &'w [ValueId],
    /// (batch, time) bool
    pub mask: Option<ValueId>,
    /// The first is also the output of a step.
    pub states: &'w [ValueId],
    /// What does not change over time. A `Scan` captures nothing, so these travel as states that stay what they are.
    pub fixed: &'w [ValueId],
    pub backwards: bool,
    pub zero_masked: bool,
}

pub struct Walked {
    /// (batch, time, ...) in the order of time
    pub sequence: ValueId,
    /// The output of the step that came last.
    pub last: ValueId,
    pub states: Vec<ValueId>,
}

/// The values that a step works with, in the body's graph.
pub struct Step {
    pub inputs: Vec<ValueId>,
    pub states: Vec<ValueId>,
    pub fixed: Vec<ValueId>,
}

/// Zeros of the dtype of `like`.
pub fn zeros(l: &mut Lowering<'_>, dtype: DType, shape: Shape) -> Result<ValueId, Diag> {
    let zero = l.constant(Tensor::scalar(dtype, 0.0))?;
    l.add(BroadcastTo { shape }, &[zero])
}

/// Lowers the walk. `step` adds one step to the body and returns the new states; the first is the step's output.
///
/// A masked step keeps the states. Its output is that of the step before (zeros before the first), or always zeros.
pub fn walk(
    l: &mut Lowering<'_>,
    walk: &Walk<'_>,
    step: impl FnOnce(&mut Lowering<'_>, &Step) -> Result<Vec<ValueId>, Findings>,
) -> Result<Walked, Findings> {
    let output = *walk.states.first().ok_or_else(|| l.error(Code::Bug, "a recurrent layer without states"))?;
    let repeats = walk.mask.is_some() && !walk.zero_masked;
    let mut carried = walk.states.to_vec();
    if repeats {
        let ty = l.ty(output).clone();
        carried.push(zeros(l, ty.dtype, ty.shape)?);
    }
    carried.extend_from_slice(walk.fixed);
    let scanned: Vec<ValueId> = walk.inputs.iter().copied().chain(walk.mask).collect();

    // The body is built with the same tools as the layer: it takes the place of the layer's graph for a while.
    let body = Graph::new(format!("{}/step", l.layer.path));
    let types: Vec<Type> = carried.iter().map(|&value| l.ty(value).clone()).collect();
    let slices: Vec<Type> = scanned.iter().map(|&value| step_type(l.ty(value))).collect();
    let outer = std::mem::replace(&mut l.graph, body);
    let built = build_body(l, walk, &types, &slices, repeats, step);
    let body = std::mem::replace(&mut l.graph, outer);
    built?;

    let op = ScanOp { body: Box::new(body), states: carried.len(), reverse: walk.backwards };
    let inputs: Vec<Option<ValueId>> = carried.iter().chain(&scanned).copied().map(Some).collect();
    let outputs = l.add_node(Op::from(op), &inputs)?;
    let states = outputs[..walk.states.len()].to_vec();
    let sequence = outputs[carried.len()];
    let last = match (walk.mask, walk.zero_masked) {
        (None, _) => states[0],
        (Some(_), false) => outputs[walk.states.len()],
        (Some(_), true) => super::last_of(l, sequence, walk.backwards)?,
    };
    Ok(Walked { sequence, last, states })
}

fn step_type(ty: &Type) -> Type {
    let mut shape = ty.shape.clone();
    shape.remove(1);
    ty.with_shape(shape)
}

fn build_body(
    l: &mut Lowering<'_>,
    walk: &Walk<'_>,
    states: &[Type],
    slices: &[Type],
    repeats: bool,
    step: impl FnOnce(&mut Lowering<'_>, &Step) -> Result<Vec<ValueId>, Findings>,
) -> Result<(), Findings> {
    let mut carried = Vec::new();
    for (index, ty) in states.iter().enumerate() {
        carried.push(l.graph.input(format!("state{index}"), ty.clone()));
    }
    let mut inputs = Vec::new();
    for (index, ty) in slices.iter().enumerate() {
        inputs.push(l.graph.input(format!("step{index}"), ty.clone()));
    }
    let mask = if walk.mask.is_some() { inputs.pop() } else { None };
    let count = walk.states.len();
    let fixed_from = count + usize::from(repeats);
    let step_values = Step { inputs, states: carried[..count].to_vec(), fixed: carried[fixed_from..].to_vec() };
    let mut new = step(l, &step_values)?;
    let mut output = new[0];
    if let Some(mask) = mask {
        let mask = spread(l, mask, carried[0])?;
        for (new, &old) in new.iter_mut().zip(&carried) {
            *new = l.add(Where {}, &[mask, *new, old])?;
        }
        output = if repeats {
            l.add(Where {}, &[mask, output, carried[count]])?
        } else {
            let zero = l.scalar_like(output, 0.0)?;
            l.add(Where {}, &[mask, output, zero])?
        };
    }
    let kept = &carried[fixed_from..];
    let repeated = repeats.then_some(output);
    for (index, value) in new.into_iter().chain(repeated).chain(kept.iter().copied()).enumerate() {
        l.graph.output(format!("state{index}_next"), value);
    }
    l.graph.output("output", output);
    Ok(())
}

/// (batch) as (batch, 1, ...), of the rank of `like`.
fn spread(l: &mut Lowering<'_>, mask: ValueId, like: ValueId) -> Result<ValueId, Diag> {
    let mut shape = l.shape(mask);
    shape.resize(l.rank(like), Dim::Known(1));
    l.reshape(mask, shape)
}

/// A standard cell whose activations need ops of their own. x (batch, time, in).
pub fn standard(
    l: &mut Lowering<'_>,
    cell: &Cell,
    x: ValueId,
    mask: Option<ValueId>,
    states: &[ValueId],
    backwards: bool,
    zero_masked: bool,
) -> Result<Walked, Findings> {
    let projected = cell.project(l, x)?;
    let mut initial = states.to_vec();
    while initial.len() < cell.kind.states() {
        let (dtype, batch) = (l.ty(x).dtype, l.shape(x)[0].clone());
        initial.push(zeros(l, dtype, vec![batch, Dim::Known(cell.units)])?);
    }
    let mut fixed = vec![cell.recurrent];
    if let (Some(bias), true) = (cell.bias, cell.has_two_biases()) {
        fixed.push(cell.bias_row(l, bias, 1)?);
    }
    fixed.extend(cell.peephole.into_iter().flatten());
    let over = Walk { inputs: &[projected], mask, states: &initial, fixed: &fixed, backwards, zero_masked };
    walk(l, &over, |l, step| match cell.kind {
        Kind::Lstm => lstm_step(l, cell, step),
        Kind::Gru { reset_after } => gru_step(l, cell, step, reset_after),
        Kind::SimpleRnn => {
            let recurrent = l.add(MatMul {}, &[step.states[0], step.fixed[0]])?;
            let sum = l.binary(BinaryFunction::Add, step.inputs[0], recurrent)?;
            Ok(vec![cell.activation.apply(l, sum)?])
        }
    })
}

fn lstm_step(l: &mut Lowering<'_>, cell: &Cell, step: &Step) -> Result<Vec<ValueId>, Findings> {
    let recurrent = l.add(MatMul {}, &[step.states[0], step.fixed[0]])?;
    let sum = l.binary(BinaryFunction::Add, step.inputs[0], recurrent)?;
    let gates: Vec<ValueId> = (0..4).map(|gate| column(l, sum, cell.units, gate, 1)).collect::<Result<_, _>>()?;
    let peephole = cell.peephole.map(|_| [step.fixed[1], step.fixed[2], step.fixed[3]]);
    lstm_gates(l, cell, [gates[0], gates[1], gates[2], gates[3]], step.states[1], peephole)
}

/// From the sums of the gates i, f, c, o and the carry: h and the new carry. With peepholes the gates i and f see the
/// carry, o the new one.
pub fn lstm_gates(
    l: &mut Lowering<'_>,
    cell: &Cell,
    sums: [ValueId; 4],
    carry: ValueId,
    peephole: Option<[ValueId; 3]>,
) -> Result<Vec<ValueId>, Findings> {
    let [mut i, mut f, c, mut o] = sums;
    if let Some([weight_i, weight_f, _]) = peephole {
        (i, f) = (seeing(l, i, weight_i, carry)?, seeing(l, f, weight_f, carry)?);
    }
    let (i, f) = (cell.recurrent_activation.apply(l, i)?, cell.recurrent_activation.apply(l, f)?);
    let c = cell.activation.apply(l, c)?;
    let kept = l.binary(BinaryFunction::Mul, f, carry)?;
    let fresh = l.binary(BinaryFunction::Mul, i, c)?;
    let carry = l.binary(BinaryFunction::Add, kept, fresh)?;
    if let Some([.., weight_o]) = peephole {
        o = seeing(l, o, weight_o, carry)?;
    }
    let o = cell.recurrent_activation.apply(l, o)?;
    let seen = cell.activation.apply(l, carry)?;
    Ok(vec![l.binary(BinaryFunction::Mul, o, seen)?, carry])
}

/// A gate's sum plus what it sees of the carry.
fn seeing(l: &mut Lowering<'_>, sum: ValueId, weight: ValueId, carry: ValueId) -> Result<ValueId, Diag> {
    let seen = l.binary(BinaryFunction::Mul, carry, weight)?;
    l.binary(BinaryFunction::Add, sum, seen)
}

fn gru_step(l: &mut Lowering<'_>, cell: &Cell, step: &Step, reset_after: bool) -> Result<Vec<ValueId>, Findings> {
    let (h, units, x) = (step.states[0], cell.units, step.inputs[0]);
    let x_zr = column(l, x, units, 0, 2)?;
    let x_h = column(l, x, units, 2, 1)?;
    let (recurrent_zr, recurrent_h);
    if reset_after {
        let mut product = l.add(MatMul {}, &[h, step.fixed[0]])?;
        if let Some(&bias) = step.fixed.get(1) {
            product = l.binary(BinaryFunction::Add, product, bias)?;
        }
        (recurrent_zr, recurrent_h) = (column(l, product, units, 0, 2)?, column(l, product, units, 2, 1)?);
    } else {
        let kernel_zr = column(l, step.fixed[0], units, 0, 2)?;
        recurrent_zr = l.add(MatMul {}, &[h, kernel_zr])?;
        recurrent_h = column(l, step.fixed[0], units, 2, 1)?;
    }
    let zr = l.binary(BinaryFunction::Add, x_zr, recurrent_zr)?;
    let (z, r) = (column(l, zr, units, 0, 1)?, column(l, zr, units, 1, 1)?);
    // Each gate by itself: an activation may run over the gate's own axis.
    let (z, r) = (cell.recurrent_activation.apply(l, z)?, cell.recurrent_activation.apply(l, r)?);
    let reset = if reset_after {
        l.binary(BinaryFunction::Mul, r, recurrent_h)?
    } else {
        let reset = l.binary(BinaryFunction::Mul, r, h)?;
        l.add(MatMul {}, &[reset, recurrent_h])?
    };
    let sum = l.binary(BinaryFunction::Add, x_h, reset)?;
    let fresh = cell.activation.apply(l, sum)?;
    let kept = l.binary(BinaryFunction::Mul, z, h)?;
    let one = l.scalar_like(z, 1.0)?;
    let open = l.binary(BinaryFunction::Sub, one, z)?;
    let fresh = l.binary(BinaryFunction::Mul, open, fresh)?;
    Ok(vec![l.binary(BinaryFunction::Add, kept, fresh)?])
}

/// `count` gates from gate `first` on, of the last axis.
pub fn column(l: &mut Lowering<'_>, x: ValueId, units: u64, first: u64, count: u64) -> Result<ValueId, Diag> {
    let axis = l.rank(x) - 1;
    l.slice(x, axis, Dim::Known(first * units), Dim::Known((first + count) * units))
}
