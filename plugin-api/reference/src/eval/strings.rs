use super::{Cx, Ins, Outcome, ints, wrong_kind};
use crate::array::{Array, Data};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{IndexToString, StringToIndex};
use std::collections::HashMap;

fn strings(array: &Array) -> Result<&[String], Diag> {
    if let Data::S(values) = &array.data { Ok(values) } else { Err(wrong_kind(array)) }
}

pub fn string_to_index(op: &StringToIndex, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let table: HashMap<&str, i64> = op.keys.iter().map(String::as_str).zip(op.values.iter().copied()).collect();
    let found = |text: &String| table.get(text.as_str()).copied().unwrap_or(op.fallback);
    cx.output(Data::I(strings(&*ins.array(0)?)?.iter().map(found).collect()))
}

pub fn index_to_string(op: &IndexToString, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let table: HashMap<i64, &String> = op.keys.iter().copied().zip(&op.values).collect();
    let found = |at: &i64| table.get(at).copied().unwrap_or(&op.fallback).clone();
    cx.output(Data::S(ints(&*ins.array(0)?)?.iter().map(found).collect()))
}
