//! `widen`. Before: typed. After: nothing is computed in a dtype that the target only stores (`Caps::widens`): what was
//! bfloat16 is float32, and weights stored as bfloat16 are cast where they come in. More digits, the same meaning: the
//! check that follows allows for the rounding that the narrow dtype would have added.

use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::types::decode_numbers;
use recast_plugin_api::ir::{
    Cast, Constant, DType, Data, Graph, Iota, Node, OneHot, Op, Rebuild, Scan, Tensor, Type, ValueId,
};

/// Is there anything in this dtype?
pub fn holds(graph: &Graph, dtype: DType) -> bool {
    (0..graph.value_count() as u32).any(|value| graph.ty(ValueId(value)).dtype == dtype)
        || graph.bodies().any(|body| holds(body, dtype))
}

pub fn widen(graph: &Graph, narrow: DType, wide: DType) -> Result<Graph, Diag> {
    let mut out = Rebuild::new(graph);
    for input in &graph.inputs {
        let ty = widened(graph.ty(input.value), narrow, wide);
        let value = out.graph.input(input.name.clone(), ty);
        out.map(input.value, value);
    }
    out.copy_params();
    for param in graph.params.iter().filter(|param| param.tensor.dtype == narrow) {
        let stored = out.get(param.value);
        let value = out.graph.cast(&param.path, stored, wide)?;
        out.map(param.value, value);
    }
    for node in graph.nodes() {
        let op = in_wide(&node.op, narrow, wide)?;
        copy(&mut out, node, op)?;
    }
    Ok(out.finish())
}

/// A cast to the dtype that its input has by now is nothing.
fn copy(out: &mut Rebuild<'_>, node: &Node, op: Op) -> Result<(), Diag> {
    let input: Option<ValueId> = node.inputs.first().copied().flatten().map(|value| out.get(value));
    if let (Op::Cast(cast), Some(input)) = (&op, input)
        && out.graph.ty(input).dtype == cast.to
    {
        out.map(node.outputs[0], input);
        return Ok(());
    }
    out.copy_node_as(node, op)
}

fn widened(ty: &Type, narrow: DType, wide: DType) -> Type {
    if ty.dtype == narrow { ty.with_dtype(wide) } else { ty.clone() }
}

/// The op with its own dtype in the wide one.
fn in_wide(op: &Op, narrow: DType, wide: DType) -> Result<Op, Diag> {
    let to = |dtype: DType| if dtype == narrow { wide } else { dtype };
    if let Op::Cast(cast) = op {
        return Ok(Cast { to: to(cast.to) }.into());
    }
    if let Op::OneHot(hot) = op {
        return Ok(OneHot { dtype: to(hot.dtype), ..hot.clone() }.into());
    }
    if let Op::Iota(iota) = op {
        return Ok(Iota { dtype: to(iota.dtype), ..iota.clone() }.into());
    }
    if let Op::Scan(scan) = op {
        return Ok(Scan { body: Box::new(widen(&scan.body, narrow, wide)?), ..scan.clone() }.into());
    }
    if let Op::Constant(Constant { tensor }) = op
        && tensor.dtype == narrow
        && let Data::Inline(bytes) = &tensor.data
    {
        let numbers = decode_numbers(narrow, bytes);
        let stored = Tensor::from_numbers(wide, &tensor.stored, &numbers);
        return Ok(Constant { tensor: Tensor { dtype: wide, data: stored.data, ..tensor.clone() } }.into());
    }
    Ok(op.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use recast_plugin_api::ir::{BinaryFunction, Dim};

    #[test]
    fn nothing_is_computed_in_bfloat16() {
        let mut graph = Graph::new("g");
        let x = graph.input("x", Type::new(DType::F32, vec![Dim::symbol("batch"), Dim::Known(2)]));
        let weight = Tensor::from_numbers(DType::BF16, &[2], &[1.0, 2.0]);
        let weight = graph.param("dense", "bias", weight);
        let narrow = graph.cast("dense", x, DType::BF16).unwrap();
        let sum = graph.binary("dense", BinaryFunction::Add, narrow, weight).unwrap();
        let scaled = graph.binary_scalar("dense", BinaryFunction::Mul, sum, 0.5).unwrap();
        graph.output("y", scaled);
        let wide = widen(&graph, DType::BF16, DType::F32).unwrap();
        let dtypes: Vec<DType> = wide.nodes().iter().map(|node| wide.ty(node.outputs[0]).dtype).collect();
        assert!(dtypes.iter().all(|dtype| *dtype == DType::F32), "{wide}");
        assert_eq!(wide.params[0].tensor.dtype, DType::BF16);
    }
}
