//! Shapes as TensorFlow writes them.

use crate::proto::{Attr, ListValue, ShapeDim, TensorShapeProto};
use recast_plugin_api::ir::Dim;

pub fn known(dims: &[u64]) -> TensorShapeProto {
    let dim = dims.iter().map(|&size| ShapeDim { size: i64::try_from(size).unwrap_or(i64::MAX), name: String::new() });
    TensorShapeProto { dim: dim.collect(), unknown_rank: false }
}

/// -1 for every size that is free.
pub fn of(dims: &[Dim]) -> TensorShapeProto {
    let size = |dim: &Dim| dim.known().map_or(-1, |size| i64::try_from(size).unwrap_or(i64::MAX));
    let dim = dims.iter().map(|dim| ShapeDim { size: size(dim), name: String::new() });
    TensorShapeProto { dim: dim.collect(), unknown_rank: false }
}

/// A list of one shape, as arguments of functions carry theirs.
pub fn listed(shape: TensorShapeProto) -> Attr {
    Attr::List(ListValue { shape: vec![shape], ..ListValue::default() })
}
