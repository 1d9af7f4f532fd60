use super::{Emit, Emitting};
use recast_plugin_api::ir::{IndexToString, Node, StringToIndex};

/// The domain of ONNX' ops of classical machine learning, which alone has tables, and its version that has these.
pub const ML: (&str, i64) = ("ai.onnx.ml", 2);

pub fn string_to_index(op: &StringToIndex, node: &Node, e: &mut Emit) -> Emitting {
    let x = e.arg(node, 0)?;
    let build = e.op("LabelEncoder", &[&x]).domain(ML.0).int("default_int64", op.fallback);
    build.strs("keys_strings", &op.keys).ints("values_int64s", op.values.iter().copied()).to(node.outputs[0]);
    Ok(())
}

pub fn index_to_string(op: &IndexToString, node: &Node, e: &mut Emit) -> Emitting {
    let x = e.arg(node, 0)?;
    let build = e.op("LabelEncoder", &[&x]).domain(ML.0).str("default_string", &op.fallback);
    build.ints("keys_int64s", op.keys.iter().copied()).strs("values_strings", &op.values).to(node.outputs[0]);
    Ok(())
}
