use super::{Emit, Emitting};
use recast_plugin_api::ir::{Einsum, Node};

pub fn matmul(node: &Node, e: &mut Emit) -> Emitting {
    let (a, b) = (e.arg(node, 0)?, e.arg(node, 1)?);
    e.op("MatMul", &[&a, &b]).to(node.outputs[0]);
    Ok(())
}

pub fn einsum(op: &Einsum, node: &Node, e: &mut Emit) -> Emitting {
    let operands = (0..node.inputs.len()).map(|i| e.arg(node, i)).collect::<Result<Vec<_>, _>>()?;
    let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
    e.op("Einsum", &operands).str("equation", &op.equation).to(node.outputs[0]);
    Ok(())
}
