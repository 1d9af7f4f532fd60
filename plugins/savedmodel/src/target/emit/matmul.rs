use super::{Emit, Emitting, Val, unsupported};
use recast_plugin_api::ir::{Einsum, Node};

pub fn matmul(node: &Node, e: &mut Emit) -> Emitting {
    let (a_value, b_value) = (e.value(node, 0)?, e.value(node, 1)?);
    let (a, b) = (e.val(a_value)?, e.val(b_value)?);
    let y = product(&a, e.ty(a_value).rank(), &b, e.ty(b_value).rank(), e);
    e.bind(node.outputs[0], y);
    Ok(())
}

/// The product of matrices, or of stacks of them, of these ranks.
pub fn product(a: &Val, a_rank: usize, b: &Val, b_rank: usize, e: &mut Emit) -> Val {
    let op = if a_rank == 2 && b_rank == 2 { "MatMul" } else { "BatchMatMulV2" };
    e.call(op, &[a, b])
}

/// TensorFlow's Einsum takes two operands: more are joined one after the other, each time keeping the letters that are
/// still needed.
pub fn einsum(op: &Einsum, node: &Node, e: &mut Emit) -> Emitting {
    let equation: String = op.equation.split_whitespace().collect();
    let (terms, result) =
        equation.split_once("->").ok_or_else(|| unsupported(node, format!("equation '{}'", op.equation)))?;
    let mut terms: Vec<String> = terms.split(',').map(String::from).collect();
    let mut operands = (0..node.inputs.len()).map(|i| e.arg(node, i)).collect::<Result<Vec<_>, _>>()?;
    if terms.len() != operands.len() || terms.is_empty() {
        return Err(unsupported(node, format!("equation '{}' for {} operands", op.equation, operands.len())));
    }
    while operands.len() > 2 {
        let (left, right) = (terms.remove(0), terms.remove(0));
        let pair: Vec<Val> = operands.drain(..2).collect();
        let needed = |letter: &char| result.contains(*letter) || terms.iter().any(|term| term.contains(*letter));
        let mut kept: Vec<char> = left.chars().chain(right.chars()).filter(needed).collect();
        kept.sort_unstable();
        kept.dedup();
        let kept: String = kept.into_iter().collect();
        let joined = e.op("Einsum", &[]).more(&pair).str("equation", &format!("{left},{right}->{kept}")).tmp();
        terms.insert(0, kept);
        operands.insert(0, joined);
    }
    let equation = format!("{}->{result}", terms.join(","));
    e.op("Einsum", &[]).more(&operands).str("equation", &equation).to(node.outputs[0]);
    Ok(())
}
