use super::*;
use crate::ir::op::{HashFunction, IndexToString, StringHash, StringMap, StringSplit, StringToIndex};
use std::collections::HashSet;
use std::hash::Hash;

/// Strings are moved about, chosen from, and looked up; nothing else is done with them.
pub fn only_moved(op: &Op, ins: &Ins) -> Result<(), Misfit> {
    let moves = matches!(
        op,
        Op::StringToIndex(_)
            | Op::StringMap(_)
            | Op::StringSplit(_)
            | Op::StringHash(_)
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

pub fn string_map(_op: &StringMap, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    want_dtype(ins.get(0)?, "a string", |d| d == DType::Str)?;
    Ok(vec![ins.get(0)?.clone()])
}

pub fn string_split(op: &StringSplit, ins: &Ins) -> Inferred {
    ins.count(1, 1)?;
    let x = ins.get(0)?;
    want_dtype(x, "a string", |d| d == DType::Str)?;
    if op.ngrams.is_empty() || op.ngrams.contains(&0) {
        return Err(format!("runs of {:?} words", op.ngrams));
    }
    // Bound, it is a number.
    if op.words.known().is_none() && op.words.as_symbol().is_none() {
        return Err(format!("{} words, which is no symbol of its own", op.words));
    }
    let shape: Vec<_> = x.shape.iter().cloned().chain([op.words.clone()]).collect();
    Ok(vec![Type::new(DType::Str, shape)])
}

pub fn string_hash(op: &StringHash, ins: &Ins) -> Inferred {
    let (key, several) = match op.function {
        HashFunction::Fingerprint64 => (0, false),
        HashFunction::SipHash => (2, false),
        HashFunction::Cross => (1, true),
    };
    ins.count(1, if several { usize::MAX } else { 1 })?;
    if op.key.len() != key || op.buckets == 0 || i64::try_from(op.buckets).is_err() {
        return Err(format!("{} of a key of {} into {} buckets", op.function, op.key.len(), op.buckets));
    }
    let first = ins.get(0)?;
    for ty in ins.types().iter().flatten() {
        want_dtype(ty, "a string", |d| d == DType::Str || (several && d == DType::I64))?;
        if ty.shape != first.shape {
            return Err(format!("{ty} and {first} are not alike"));
        }
    }
    Ok(vec![first.with_dtype(DType::I64)])
}
