//! Lookups of strings: tables that are filled when the model is loaded.

use super::{Emit, Emitting};
use crate::proto::{Attr, TensorProto, dtype};
use crate::target::{shapes, tables};
use recast_plugin_api::ir::{DType, IndexToString, Node, StringToIndex};

fn numbers(items: &[i64]) -> TensorProto {
    TensorProto {
        dtype: dtype::to_tf(DType::I64),
        tensor_shape: Some(shapes::known(&[items.len() as u64])),
        tensor_content: items.iter().flat_map(|item| item.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

fn texts(items: &[String]) -> TensorProto {
    tables::texts(items, &[items.len() as u64])
}

pub fn string_to_index(op: &StringToIndex, node: &Node, e: &mut Emit) -> Emitting {
    let x = e.arg(node, 0)?;
    let table = e.table(texts(&op.keys), numbers(&op.values))?;
    let fallback = e.bytes(DType::I64, &[], op.fallback.to_le_bytes().to_vec());
    e.op("LookupTableFindV2", &[&table, &x, &fallback]).to(node.outputs[0]);
    Ok(())
}

pub fn index_to_string(op: &IndexToString, node: &Node, e: &mut Emit) -> Emitting {
    let x = e.arg(node, 0)?;
    let table = e.table(numbers(&op.keys), texts(&op.values))?;
    let fallback = tables::texts(std::slice::from_ref(&op.fallback), &[]);
    let fallback = e.op("Const", &[]).attr("value", Attr::Tensor(fallback)).ty("dtype", DType::Str).tmp();
    e.op("LookupTableFindV2", &[&table, &x, &fallback]).to(node.outputs[0]);
    Ok(())
}
