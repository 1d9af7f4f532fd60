use super::*;
use crate::ir::op::{IndexToString, StringToIndex};
use std::collections::HashSet;
use std::hash::Hash;

/// Strings are moved about, chosen from, and looked up; nothing else is done with them.
pub fn only_moved(op: &Op, ins: &Ins) -> Result<(), Misfit> {
    let moves = matches!(
        op,
        Op::StringToIndex(_)
            | Op::Where(_)
            | Op::Reshape(_)
            | Op::Transpose(_)
            | Op::Concat(_)
            | Op::Slice(_)
            | Op::Tile(_)
            | Op::BroadcastTo(_)
            | Op::Gather(_)
            | Op::GatherElements(_)
            | Op::Reverse(_)
    );
    match ins.types().iter().flatten().find(|ty| ty.dtype == DType::Str && !moves) {
        Some(ty) => Err(format!("{ty} holds strings, which are only moved about and looked up")),
        None => Ok(()),
    }
}

fn table<K: Eq + Hash, V>(keys: &[K], values: &[V]) -> Result<(), Misfit> {
    if keys.len() != values.len() {
        return Err(format!("{} keys for {} values", keys.len(), values.len()));
    }
    let mut seen = HashSet::new();
    if keys.iter().all(|key| seen.insert(key)) { Ok(()) } else { Err("a key stands twice in the table".into()) }
}

pub fn string_to_index(op: &StringToIndex, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    want_dtype(ins.get(0)?, "a string", |d| d == DType::Str)?;
    table(&op.keys, &op.values)?;
    Ok(vec![ins.get(0)?.with_dtype(DType::I64)])
}

pub fn index_to_string(op: &IndexToString, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    want_dtype(ins.get(0)?, "i64", |d| d == DType::I64)?;
    table(&op.keys, &op.values)?;
    Ok(vec![ins.get(0)?.with_dtype(DType::Str)])
}
