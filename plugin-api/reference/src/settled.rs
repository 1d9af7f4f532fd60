//! What float32 arithmetic makes of numbers that no input has a part in: the places at which an image is read, the
//! positions that a mask compares. A whole number that comes of them hangs by their last digit, and all runtimes agree
//! on that digit: the evaluator has to as well, and nothing disturbs it.

use crate::array::{Array, Data, round_to};
use recast_plugin_api::ir::{BinaryFunction, DType, Graph, Node, Op, UnaryFunction};

/// Does IEEE 754 settle the result, each of its numbers being rounded once at most?
fn is_settled_by(op: &Op) -> bool {
    use BinaryFunction::{Atan2, FloorDiv, Mod, Pow};
    use UnaryFunction::{Abs, Ceil, Floor, Neg, Not, Round, Sign, Sqrt, Trunc};
    match op {
        Op::Unary(op) => matches!(op.function, Abs | Ceil | Floor | Neg | Not | Round | Sign | Sqrt | Trunc),
        // Runtimes spell these with other operations.
        Op::Binary(op) => !matches!(op.function, Atan2 | FloorDiv | Mod | Pow),
        op => op.carries() || matches!(op, Op::Constant(_) | Op::Iota(_) | Op::Where(_) | Op::Gather(_)),
    }
}

/// By value: is it settled? Half precision and float64 are not: targets compute them in float32, too.
pub fn values(graph: &Graph) -> Vec<bool> {
    let mut settled = vec![false; graph.value_count()];
    let fits = |dtype: DType| !dtype.is_float() || dtype == DType::F32;
    for node in graph.nodes() {
        let of_settled = node.inputs.iter().flatten().all(|input| settled[input.0 as usize]);
        let whole = |node: &Node| node.outputs.iter().all(|&value| !graph.ty(value).dtype.is_float());
        // Whole numbers are exact however they come about; how large an axis is does not hang by what lies on it.
        let by_op = is_settled_by(&node.op) || matches!(&node.op, Op::Binary(_) | Op::Unary(_)) && whole(node);
        if matches!(&node.op, Op::DimSize(_)) || of_settled && by_op {
            let outputs = node.outputs.iter().filter(|value| fits(graph.ty(**value).dtype));
            outputs.for_each(|value| settled[value.0 as usize] = true);
        }
    }
    settled
}

/// As a float32 runtime keeps it.
pub fn round(array: &mut Array) {
    if let (DType::F32, Data::F(values)) = (array.dtype, &mut array.data) {
        values.iter_mut().for_each(|value| *value = round_to(DType::F32, *value));
    }
}
