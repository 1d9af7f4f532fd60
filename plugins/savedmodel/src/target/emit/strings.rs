//! Lookups of strings: tables that are filled when the model is loaded.

use super::{Emit, Emitting, Val};
use crate::proto::{Attr, TensorProto, dtype};
use crate::target::{shapes, tables};
use recast_plugin_api::ir::{
    DType, HashFunction, IndexToString, Node, SplitFunction, StringFunction, StringHash, StringMap, StringSplit,
    StringToIndex,
};

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
    let fallback = text(&op.fallback, e);
    e.op("LookupTableFindV2", &[&table, &x, &fallback]).to(node.outputs[0]);
    Ok(())
}

fn text(text: &str, e: &mut Emit) -> Val {
    let text = tables::texts(&[text.to_owned()], &[]);
    e.op("Const", &[]).attr("value", Attr::Tensor(text)).ty("dtype", DType::Str).tmp()
}

/// TensorFlow's own word for ASCII's signs in regular expressions.
const PUNCTUATION: &str = "[[:punct:]]";

pub fn string_map(op: &StringMap, node: &Node, e: &mut Emit) -> Emitting {
    let x = e.arg(node, 0)?;
    match op.function {
        // Without an encoding, letters are those of ASCII.
        StringFunction::Lower => e.op("StringLower", &[&x]).to(node.outputs[0]),
        StringFunction::StripPunctuation => {
            let build = e.op("StaticRegexReplace", &[&x]).str("pattern", PUNCTUATION).str("rewrite", "");
            build.flag("replace_global", true).to(node.outputs[0]);
        }
    }
    Ok(())
}

/// Words one after the other, and where each text's begin.
struct Ragged {
    words: Val,
    splits: Val,
}

pub fn string_split(op: &StringSplit, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, shape) = (e.val(value)?, e.ty(value).shape.clone());
    let flat = e.ints(&[-1]);
    let flat = if shape.len() == 1 { x } else { e.call("Reshape", &[&x, &flat]) };
    let mut ragged = match op.by {
        SplitFunction::Whitespace => whitespace(&flat, e),
        SplitFunction::Characters => characters(&flat, e),
    };
    if op.ngrams != [1] {
        let widths: Vec<i64> = op.ngrams.iter().map(|&width| i64::try_from(width).unwrap_or(i64::MAX)).collect();
        let build = e.op("StringNGrams", &[&ragged.words, &ragged.splits]).str("separator", " ");
        let build = build.ints("ngram_widths", &widths).str("left_pad", "").str("right_pad", "").int("pad_width", 0);
        let [words, splits] = two(build.flag("preserve_short_sequences", false).tmps());
        ragged = Ragged { words, splits };
    }
    let free = longs(&[-1, -1], e);
    let empty = text("", e);
    let build = e.op("RaggedTensorToTensor", &[&free, &ragged.words, &empty, &ragged.splits]);
    let build = build.int("num_row_partition_tensors", 1).strs("row_partition_types", &["ROW_SPLITS"]);
    if shape.len() == 1 {
        build.to(node.outputs[0]);
        return Ok(());
    }
    let dense = build.tmp();
    let found = e.op("Shape", &[&dense]).ty("out_type", DType::I32).tmp();
    let words = e.element(&found, 1);
    let mut sizes = shape.iter().map(|dim| e.size(dim)).collect::<Result<Vec<_>, _>>()?;
    sizes.push(words);
    let target = e.op("Pack", &[]).more(&sizes).tmp();
    e.op("Reshape", &[&dense, &target]).to(node.outputs[0]);
    Ok(())
}

fn longs(items: &[i64], e: &mut Emit) -> Val {
    e.bytes(DType::I64, &[items.len() as u64], items.iter().flat_map(|item| item.to_le_bytes()).collect())
}

fn two(results: Vec<Val>) -> [Val; 2] {
    let missing = || Val { name: "nothing".into(), dtype: 0 };
    let mut results = results.into_iter();
    [results.next().unwrap_or_else(missing), results.next().unwrap_or_else(missing)]
}

/// Each word's text is the first of its two indices; how many words each has, summed up, is where they begin.
fn whitespace(flat: &Val, e: &mut Emit) -> Ragged {
    let separator = text("", e);
    let mut results = e.op("StringSplitV2", &[flat, &separator]).int("maxsplit", -1).tmps().into_iter();
    let [indices, words] = two(results.by_ref().take(2).collect());
    let [shape, _] = two(results.collect());
    let (begin, end, one) = (longs(&[0, 0], e), longs(&[0, 1], e), longs(&[1, 1], e));
    let rows = e.op("StridedSlice", &[&indices, &begin, &end, &one]);
    let rows = rows.int("begin_mask", 1).int("end_mask", 1).int("shrink_axis_mask", 2).tmp();
    let (begin, end) = (longs(&[0], e), longs(&[1], e));
    let count = e.op("StridedSlice", &[&shape, &begin, &end, &end]).int("shrink_axis_mask", 1).tmp();
    let weights = longs(&[], e);
    let lengths = e.op("DenseBincount", &[&rows, &count, &weights]).flag("binary_output", false).tmp();
    let (axis, zero) = (e.int(0), longs(&[0], e));
    let ends = e.call("Cumsum", &[&lengths, &axis]);
    let splits = e.op("ConcatV2", &[]).more(&[zero, ends, axis]).tmp();
    Ragged { words, splits }
}

/// Numbers of characters, each as a text of its own.
fn characters(flat: &Val, e: &mut Emit) -> Ragged {
    let decode = e.op("UnicodeDecode", &[flat]).str("input_encoding", "UTF-8").str("errors", "replace");
    let [splits, numbers] = two(decode.ty("Tsplits", DType::I64).tmps());
    let shape = e.op("Shape", &[&numbers]).ty("out_type", DType::I64).tmp();
    let (begin, end) = (longs(&[0], e), longs(&[1], e));
    let count = e.op("StridedSlice", &[&shape, &begin, &end, &end]).int("shrink_axis_mask", 1).tmp();
    let (zero, one) = (long(0, e), long(1, e));
    let limit = e.call("AddV2", &[&count, &one]);
    let each = e.call("Range", &[&zero, &limit, &one]);
    let encode = e.op("UnicodeEncode", &[&numbers, &each]).str("errors", "replace").str("output_encoding", "UTF-8");
    Ragged { words: encode.tmp(), splits }
}

fn long(item: i64, e: &mut Emit) -> Val {
    e.bytes(DType::I64, &[], item.to_le_bytes().to_vec())
}

pub fn string_hash(op: &StringHash, node: &Node, e: &mut Emit) -> Emitting {
    let buckets = i64::try_from(op.buckets).unwrap_or(i64::MAX);
    let x = e.arg(node, 0)?;
    let bits: Vec<i64> = op.key.iter().map(|&number| number as i64).collect();
    match op.function {
        HashFunction::Fingerprint64 => {
            e.op("StringToHashBucketFast", &[&x]).int("num_buckets", buckets).to(node.outputs[0]);
        }
        HashFunction::SipHash => {
            let build = e.op("StringToHashBucketStrong", &[&x]).int("num_buckets", buckets);
            build.ints("key", &bits).to(node.outputs[0]);
        }
        HashFunction::Cross => {
            // It takes columns.
            let column = e.ints(&[-1, 1]);
            let mut columns = Vec::new();
            for at in 0..node.inputs.len() {
                let x = e.arg(node, at)?;
                columns.push(e.call("Reshape", &[&x, &column]));
            }
            let texts = columns.iter().all(|column| column.dtype == dtype::STRING);
            let none = || crate::proto::ListValue::default();
            let build = e.op("SparseCross", &[]).more(&columns).int("N", 0).attr("sparse_types", Attr::List(none()));
            let build = build.flag("hashed_output", true).int("num_buckets", buckets);
            let build = build.int("hash_key", bits.first().copied().unwrap_or(0)).ty("out_type", DType::I64);
            let results = build.ty("internal_type", if texts { DType::Str } else { DType::I64 }).tmps();
            let [_, values] = two(results);
            let shape = e.graph().shape(node.outputs[0]).to_vec();
            let y = e.reshaped(&values, &shape)?;
            e.bind(node.outputs[0], y);
        }
    }
    Ok(())
}
