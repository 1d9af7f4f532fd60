//! Masked recurrent layers. A mask may have its gaps anywhere; ONNX knows only rows that end early (`sequence_lens`).
//!
//! The valid steps of each row are moved together, the one ONNX node runs over them, and its outputs are spread back:
//! a masked step repeats the output of the valid step before it (after it, for the backward direction), or is zero.
//!
//! One direction alone needs no `sequence_lens`: with the valid steps first (last, backward) whatever follows them
//! can't reach their outputs, and the final h is the output at the last valid step. Two directions, or a final cell
//! state, need it.

use super::recurrent::{Cell, directions_swapped};
use super::{Emit, Emitting};
use crate::proto::data_type;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{DType, Direction, Node};

pub struct Masking {
    /// x with each row's valid steps together, (batch, time, in).
    pub compacted: String,
    /// `sequence_lens`, or empty.
    pub lengths: String,
    /// bool (batch, time).
    mask: String,
    /// i64 (batch, time): 1 where valid.
    ones: String,
    /// i64 (batch): valid steps.
    count: String,
    /// i64 scalar-like (1): how many steps.
    time: String,
    /// Valid steps stand at the end.
    at_end: bool,
}

fn cast(x: &str, dtype: DType, e: &mut Emit) -> String {
    e.op("Cast", &[x]).int("to", data_type(dtype).into()).tmp()
}

fn unsqueeze(x: &str, axes: &[i64], e: &mut Emit) -> String {
    let axes = e.ints(axes);
    e.call("Unsqueeze", &[x, &axes])
}

/// `x` (batch, time, ...) at the steps `index` (batch, n).
fn steps_at(x: &str, index: &str, e: &mut Emit) -> String {
    let index = unsqueeze(index, &[2], e);
    e.op("GatherND", &[x, &index]).int("batch_dims", 1).tmp()
}

impl Masking {
    /// `None` for a layer without mask.
    pub fn new(cell: &Cell, node: &Node, e: &mut Emit) -> Result<Option<Masking>, Diag> {
        let mask = e.opt_arg(node, 1);
        if mask.is_empty() {
            return Ok(None);
        }
        let cell_state = node.outputs.get(2).is_some_and(|&value| e.is_used(value));
        let with_lengths = cell.directions.len() > 1 || cell_state;
        let at_end = !with_lengths && cell.directions == [Direction::Backward];
        let x = e.value(node, 0)?;
        let time = e.size(&e.shape(x)[1].clone())?;
        let x = e.name(x);
        let key = cast(&mask, DType::F32, e);
        // Equal keys stay in order, so this is a stable sort into valid and masked steps.
        let sort = e.op("TopK", &[&key, &time]).int("axis", 1).int("largest", (!at_end).into()).int("sorted", 1);
        let order = sort.tmps(&[true, true]).swap_remove(1);
        let compacted = steps_at(&x, &order, e);
        let ones = cast(&mask, DType::I64, e);
        let axis = e.ints(&[1]);
        let count = e.op("ReduceSum", &[&ones, &axis]).int("keepdims", 0).tmp();
        let lengths = if with_lengths {
            // A row without valid steps still runs one; its results are replaced.
            let one = e.scalar(DType::I64, 1.0);
            let some = e.call("Max", &[&count, &one]);
            cast(&some, DType::I32, e)
        } else {
            String::new()
        };
        Ok(Some(Masking { compacted, lengths, mask, ones, count, time, at_end }))
    }

    /// Where each step's output stands among the compacted ones (clamped to where there is one), and whether there is
    /// one at all; both (batch, time).
    fn positions(&self, direction: Direction, e: &mut Emit) -> (String, String) {
        let (zero, one) = (e.scalar(DType::I64, 0.0), e.scalar(DType::I64, 1.0));
        let axis = e.scalar(DType::I64, 1.0);
        if direction == Direction::Forward {
            let seen = e.op("CumSum", &[&self.ones, &axis]).tmp();
            let last = e.call("Sub", &[&seen, &one]);
            let any = e.call("Greater", &[&seen, &zero]);
            return (e.call("Max", &[&last, &zero]), any);
        }
        // Backward, a masked step repeats the next valid one: as many as are valid before it come first.
        let before = e.op("CumSum", &[&self.ones, &axis]).int("exclusive", 1).tmp();
        let count = unsqueeze(&self.count, &[1], e);
        let any = e.call("Less", &[&before, &count]);
        if !self.at_end {
            let last = e.call("Sub", &[&self.time, &one]);
            return (e.call("Min", &[&before, &last]), any);
        }
        let skipped = e.call("Sub", &[&self.time, &count]);
        let at = e.call("Add", &[&before, &skipped]);
        let last = e.call("Sub", &[&self.time, &one]);
        (e.call("Min", &[&at, &last]), any)
    }

    /// Outputs of one direction, (batch, time, 1, units), in their places in time.
    fn spread(&self, outputs: &str, direction: Direction, zero_masked: bool, dtype: DType, e: &mut Emit) -> String {
        let (at, any) = self.positions(direction, e);
        let placed = steps_at(outputs, &at, e);
        let kept = if zero_masked { self.mask.clone() } else { any };
        let kept = unsqueeze(&kept, &[2, 3], e);
        let zero = e.scalar(dtype, 0.0);
        e.call("Where", &[&kept, &placed, &zero])
    }

    /// The final h of the one direction, read from its outputs (batch, time, 1, units): (batch, 1, units).
    fn final_output(&self, outputs: &str, e: &mut Emit) -> String {
        let (zero, one) = (e.scalar(DType::I64, 0.0), e.scalar(DType::I64, 1.0));
        let at = if self.at_end {
            let first = e.call("Sub", &[&self.time, &self.count]);
            let last = e.call("Sub", &[&self.time, &one]);
            e.call("Min", &[&first, &last])
        } else {
            let last = e.call("Sub", &[&self.count, &one]);
            e.call("Max", &[&last, &zero])
        };
        let index = unsqueeze(&at, &[1], e);
        e.op("GatherND", &[outputs, &index]).int("batch_dims", 1).tmp()
    }

    /// `state` (batch, directions, units); the initial one for rows without any valid step.
    fn guarded(&self, state: &str, initial: &str, dtype: DType, e: &mut Emit) -> String {
        let zero = e.scalar(DType::I64, 0.0);
        let any = e.call("Greater", &[&self.count, &zero]);
        let any = unsqueeze(&any, &[1, 2], e);
        let otherwise = match initial {
            "" => e.scalar(dtype, 0.0),
            // (directions, batch, units)
            initial => e.op("Transpose", &[initial]).ints("perm", [1, 0, 2]).tmp(),
        };
        e.call("Where", &[&any, state, &otherwise])
    }
}

/// Binds the node's outputs. `results` are Y (time, directions, batch, units), Y_h and Y_c (directions, batch, units),
/// empty where not wanted; `initial` the initial states as they went in.
pub fn results(
    masking: Masking,
    cell: &Cell,
    node: &Node,
    results: Vec<String>,
    initial: &[String],
    swapped: bool,
    e: &mut Emit,
) -> Emitting {
    let dtype = e.ty(node.outputs[0]).dtype;
    let outputs = e.op("Transpose", &[&results[0]]).ints("perm", [2, 0, 1, 3]).tmp();
    if e.is_used(node.outputs[0]) {
        let sequence = sequence(&masking, &outputs, cell, dtype, e);
        bind(&sequence, 2, node.outputs[0], swapped, e);
    }
    for which in 0..cell.states {
        let value = node.outputs[1 + which];
        if !e.is_used(value) {
            continue;
        }
        let state = if masking.lengths.is_empty() {
            masking.final_output(&outputs, e)
        } else {
            e.op("Transpose", &[&results[1 + which]]).ints("perm", [1, 0, 2]).tmp()
        };
        let state = masking.guarded(&state, &initial[which], dtype, e);
        bind(&state, 1, value, swapped, e);
    }
    Ok(())
}

fn bind(name: &str, axis: i64, value: recast_plugin_api::ir::ValueId, swapped: bool, e: &mut Emit) {
    if swapped {
        directions_swapped(name, axis, value, e);
    } else {
        e.alias(value, name);
    }
}

/// (batch, time, directions, units) in the order of time, ONNX' order of directions.
fn sequence(masking: &Masking, outputs: &str, cell: &Cell, dtype: DType, e: &mut Emit) -> String {
    if let [direction] = cell.directions {
        return masking.spread(outputs, *direction, cell.zero_masked, dtype, e);
    }
    let mut parts = Vec::new();
    for (at, direction) in [Direction::Forward, Direction::Backward].into_iter().enumerate() {
        let (start, stop, axes) = (e.ints(&[at as i64]), e.ints(&[at as i64 + 1]), e.ints(&[2]));
        let own = e.call("Slice", &[outputs, &start, &stop, &axes]);
        parts.push(masking.spread(&own, direction, cell.zero_masked, dtype, e));
    }
    e.op("Concat", &[&parts[0], &parts[1]]).int("axis", 2).tmp()
}
