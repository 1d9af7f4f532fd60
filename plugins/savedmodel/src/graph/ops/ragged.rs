//! Words of texts as TensorFlow has them: one after the other, with the texts that they belong to beside them. Here
//! they stand in a rectangle, a row for each text, with empty strings behind the last word, which is never empty.
//! What is computed from the words one by one is computed in the rectangle; the numbers that tell where they belong
//! are not computed, but followed: what is done with them must be one of the few things that keep them what they are.

use super::super::def::Node;
use super::super::interp::Interp;
use super::super::value::Val;
use super::{inputs, one, source};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    Cast, DType, Dim, OneHot, Op, Pad, PadMode, Reduce, ReduceFunction, SplitFunction, StringSplit, StringToIndex,
    Tensor, ValueId, Where,
};
use std::rc::Rc;

type Out = Result<Vec<Val>, Diag>;

/// Texts, and how they were cut.
pub struct Cut {
    /// A vector.
    texts: Val,
    by: SplitFunction,
    ngrams: Vec<u64>,
    /// The rectangle of words.
    words: Val,
}

/// What a tensor is to the words of a cut.
#[derive(Clone)]
pub enum Part {
    /// One value for each word: the rectangle of them.
    Each(Val),
    /// Text and place of each word.
    Indices,
    /// How many texts, and how many words at most.
    Shape,
    /// The text of each word.
    Rows,
    /// How many words each text has, or where they end.
    Lengths,
    Ends,
    /// Where the words of each text begin, and the end.
    Splits,
    /// The number of each character.
    Codes,
    CodesShape,
    /// Something that is counted: at least so many.
    Count(Option<i64>),
}

#[derive(Clone)]
pub struct Ragged {
    of: Rc<Cut>,
    part: Part,
}

impl Ragged {
    fn of(&self, part: Part) -> Val {
        Val::Ragged(Rc::new(Ragged { of: self.of.clone(), part }))
    }
}

/// Ops on each word by itself.
const EACH: &[&str] = &[
    "Add",
    "AddV2",
    "Cast",
    "Equal",
    "FloorMod",
    "LookupTableFind",
    "LookupTableFindV2",
    "NotEqual",
    "SelectV2",
    "StaticRegexReplace",
    "StringLower",
    "StringToHashBucketFast",
    "StringToHashBucketStrong",
];

/// For ops that only make sense on words.
pub fn refused<'a>(_interp: &mut Interp<'a>, node: &Node<'a>, _vals: &[Val]) -> Out {
    Err(node.unsupported("its input is nothing that a known op made of texts"))
}

/// Words of a vector of texts.
fn cut(
    interp: &mut Interp<'_>,
    node: &Node<'_>,
    texts: Val,
    by: SplitFunction,
    ngrams: Vec<u64>,
) -> Result<Ragged, Diag> {
    let x = interp.value(node, &texts)?;
    if interp.depth() > 0 || interp.shape(x).len() != 1 {
        return Err(node.unsupported("cuts other texts than those of a vector, or in a loop"));
    }
    let splits = |node: &&recast_plugin_api::ir::Node| matches!(node.op, Op::StringSplit(_));
    let words = match interp.graph().nodes().iter().filter(splits).count() {
        0 => "words".to_owned(),
        before => format!("words_{}", before + 1),
    };
    let op = StringSplit { by, ngrams: ngrams.clone(), words: Dim::symbol(&words) };
    let words = interp.add(node, op, &[x])?;
    let words = interp.val(words);
    Ok(Ragged { of: Rc::new(Cut { texts, by, ngrams, words: words.clone() }), part: Part::Each(words) })
}

pub fn string_split<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [texts, separator] = inputs(node, vals)?;
    let whitespace = matches!(separator, Val::Texts(texts) if texts.items == [""]);
    if !whitespace || node.int("maxsplit", -1)? != -1 {
        return Err(node.unsupported("splits texts elsewhere than at white space"));
    }
    let ragged = cut(interp, node, texts.clone(), SplitFunction::Whitespace, vec![1])?;
    Ok(vec![ragged.of(Part::Indices), ragged.of(ragged.part.clone()), ragged.of(Part::Shape)])
}

pub fn unicode_decode<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let [texts] = inputs(node, vals)?;
    if node.text("input_encoding", "")? != "UTF-8" || node.flag("replace_control_characters", false)? {
        return Err(node.unsupported("decodes other texts than those in UTF-8, or not as they are"));
    }
    let ragged = cut(interp, node, texts.clone(), SplitFunction::Characters, vec![1])?;
    Ok(vec![ragged.of(Part::Splits), ragged.of(Part::Codes)])
}

/// A node of which some input is about words.
pub fn node<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let found = vals.iter().find_map(|val| if let Val::Ragged(ragged) = val { Some(ragged.clone()) } else { None });
    let ragged = found.ok_or_else(|| node.bad("nothing about words"))?;
    let parts: Vec<Option<&Part>> = vals.iter().map(part_of).collect();
    let same = |val: &Val| if let Val::Ragged(other) = val { Rc::ptr_eq(&other.of, &ragged.of) } else { true };
    if !vals.iter().all(same) {
        return Err(node.unsupported("joins the words of several texts"));
    }
    let each = parts.iter().flatten().any(|part| matches!(part, Part::Each(_)));
    let part = match (node.op, &parts[..]) {
        ("Identity" | "StopGradient", [Some(part)]) => (*part).clone(),
        ("RaggedTensorToTensor", _) => return dense(interp, node, &ragged, vals),
        ("RaggedBincount", _) => return counts(interp, node, &ragged, vals),
        ("StringNGrams", [Some(Part::Each(_)), Some(Part::Splits)]) => return ngrams(interp, node, &ragged),
        ("UnicodeEncode", [Some(Part::Codes), Some(Part::Count(_))]) => Part::Each(ragged.of.words.clone()),
        ("Size", [Some(Part::Rows | Part::Codes | Part::Each(_))]) => Part::Count(None),
        ("Max", [Some(Part::Rows | Part::Each(_)), _]) => Part::Count(None),
        (op, _) if each && EACH.contains(&op) => return elementwise(interp, node, &ragged, vals),
        ("StridedSlice", [Some(Part::Indices), ..]) if is_first(interp, node, vals, 1)? => Part::Rows,
        ("StridedSlice", [Some(Part::Shape | Part::CodesShape), ..]) if is_first(interp, node, vals, 0)? => {
            Part::Count(None)
        }
        // The characters have a shape of (characters, 1).
        ("StridedSlice", [Some(Part::CodesShape), ..]) => Part::CodesShape,
        ("Shape", [Some(Part::Codes)]) => Part::CodesShape,
        ("ExpandDims" | "Reshape", [Some(Part::Codes), ..]) => Part::Codes,
        ("Cast" | "Reshape", [Some(Part::Rows), ..]) => Part::Rows,
        ("DenseBincount", [Some(Part::Rows), _, None]) if is_plain_count(interp, node, &vals[2])? => Part::Lengths,
        ("Cumsum", [Some(Part::Lengths), _]) if is_plain_sum(node)? => Part::Ends,
        ("ConcatV2", [None, Some(Part::Ends), _]) if interp.known(node, vals, 0, "beginning")? == [0] => Part::Splits,
        ("Maximum", [_, _]) => return bound(interp, node, &ragged, vals, true),
        ("Minimum", [_, _]) => return bound(interp, node, &ragged, vals, false),
        ("AddV2" | "Cast" | "ConcatV2" | "Greater" | "Mul" | "Pack" | "Range", all)
            if all.iter().flatten().all(|part| matches!(part, Part::Count(_) | Part::CodesShape)) =>
        {
            Part::Count(None)
        }
        (op, _) => return Err(node.unsupported(format!("{op} of the places of words"))),
    };
    Ok(vec![ragged.of(part)])
}

fn part_of(val: &Val) -> Option<&Part> {
    if let Val::Ragged(ragged) = val { Some(&ragged.part) } else { None }
}

/// Does a StridedSlice take the first along this axis, and all along those before it?
fn is_first(interp: &Interp<'_>, node: &Node<'_>, vals: &[Val], axis: usize) -> Result<bool, Diag> {
    let (begin, end) = (interp.known(node, vals, 1, "begin")?, interp.known(node, vals, 2, "end")?);
    let all = (1i64 << axis) - 1;
    let masks = node.int("begin_mask", 0)? & all == all && node.int("end_mask", 0)? & all == all;
    let others = node.int("ellipsis_mask", 0)? == 0 && node.int("new_axis_mask", 0)? == 0;
    let shrinks = node.int("shrink_axis_mask", 0)? == 1 << axis;
    Ok(masks && others && shrinks && begin.len() == axis + 1 && begin.get(axis) == Some(&0) && end.len() == axis + 1)
}

/// Does a bincount give how often each number is there?
fn is_plain_count(interp: &Interp<'_>, node: &Node<'_>, weights: &Val) -> Result<bool, Diag> {
    Ok(!node.flag("binary_output", false)? && interp.shape_of(node, weights)? == [Dim::Known(0)])
}

fn is_plain_sum(node: &Node<'_>) -> Result<bool, Diag> {
    Ok(!node.flag("exclusive", false)? && !node.flag("reverse", false)?)
}

/// A size that is bounded on both sides by one number is that number.
fn bound(interp: &Interp<'_>, node: &Node<'_>, ragged: &Ragged, vals: &[Val], below: bool) -> Out {
    let count = vals.iter().find_map(|val| match part_of(val) {
        Some(Part::Count(least)) => Some(*least),
        _ => None,
    });
    let Some(least) = count else { return Err(node.unsupported("of the places of words")) };
    let limit = vals.iter().find_map(|val| interp.ints(val)).and_then(|ints| ints.known());
    let limit = limit.filter(|limit| limit.len() == 1).map(|limit| limit[0]);
    match (below, limit, least) {
        (true, limit, _) => Ok(vec![ragged.of(Part::Count(limit))]),
        (false, Some(most), Some(least)) if most == least => Ok(vec![source::scalar(DType::I64, most as f64)]),
        (false, _, _) => Ok(vec![ragged.of(Part::Count(None))]),
    }
}

fn elementwise<'a>(interp: &mut Interp<'a>, node: &Node<'a>, ragged: &Ragged, vals: &[Val]) -> Out {
    let mut plain = Vec::with_capacity(vals.len());
    for val in vals {
        plain.push(match (part_of(val), val) {
            (Some(Part::Each(value)), _) => value.clone(),
            (None, Val::Table(_)) => val.clone(),
            (None, _) if interp.shape_of(node, val)?.is_empty() => val.clone(),
            (Some(_), _) | (None, _) => return Err(node.unsupported("of words and something else than one value")),
        });
    }
    let row = super::find(node.op).ok_or_else(|| node.bad("no op"))?;
    let out = (row.lower)(interp, node, &plain)?;
    Ok(out.into_iter().map(|value| ragged.of(Part::Each(value))).collect())
}

fn ngrams<'a>(interp: &mut Interp<'a>, node: &Node<'a>, ragged: &Ragged) -> Out {
    let widths: Option<Vec<u64>> = node.ints("ngram_widths")?.into_iter().map(|n| u64::try_from(n).ok()).collect();
    let plain = node.text("separator", "")? == " " && node.int("pad_width", 0)? == 0;
    let Part::Each(words) = &ragged.part else { return Err(node.bad("no words")) };
    let whole = match (words, &ragged.of.words) {
        (Val::Tensor { value: a, .. }, Val::Tensor { value: b, .. }) => a == b && ragged.of.ngrams == [1],
        _ => false,
    };
    let widths = widths.filter(|_| plain && whole && matches!(node.flag("preserve_short_sequences", false), Ok(false)));
    let widths = widths.ok_or_else(|| node.unsupported("runs of words that are padded, or joined by no space"))?;
    let runs = cut(interp, node, ragged.of.texts.clone(), ragged.of.by, widths)?;
    Ok(vec![runs.of(runs.part.clone()), runs.of(Part::Splits)])
}

/// Is there a word?
fn there(interp: &mut Interp<'_>, node: &Node<'_>, ragged: &Ragged) -> Result<ValueId, Diag> {
    let words = interp.value(node, &ragged.of.words)?;
    let table = StringToIndex { keys: vec![String::new()], values: vec![0], fallback: 1 };
    let there = interp.add(node, table, &[words])?;
    interp.add(node, Cast { to: DType::Bool }, &[there])
}

/// Values of words as a rectangle with the default behind the last of each text.
fn dense<'a>(interp: &mut Interp<'a>, node: &Node<'a>, ragged: &Ragged, vals: &[Val]) -> Out {
    let [shape, Val::Ragged(values), default, places @ ..] = vals else { return Err(node.bad("no words")) };
    let Part::Each(value) = &values.part else { return Err(node.unsupported("of the places of words")) };
    let whole = matches!(
        places.iter().map(part_of).collect::<Vec<_>>()[..],
        [Some(Part::Splits)] | [Some(Part::Count(_)), Some(Part::Rows)]
    );
    let shape = interp.known(node, std::slice::from_ref(shape), 0, "shape")?;
    if !whole || (shape != [-1] && (shape.len() != 2 || shape[0] != -1)) {
        return Err(node.unsupported("of words in another shape"));
    }
    let mut y = interp.value(node, value)?;
    let words = interp.value(node, &ragged.of.words)?;
    let empty = matches!(default, Val::Texts(texts) if texts.items == [""]);
    let fill = interp.value(node, default)?;
    if y != words || !empty {
        let there = there(interp, node, ragged)?;
        y = interp.add(node, Where {}, &[there, y, fill])?;
    }
    if let Some(length) = shape.get(1).and_then(|&length| u64::try_from(length).ok()) {
        if interp.ty(y).dtype == DType::Str {
            return Err(node.unsupported("of so many words and no more"));
        }
        let padding = vec![(0, 0), (0, length)];
        let padded = interp.add(node, Pad { padding, mode: PadMode::Constant }, &[y, fill])?;
        let graph = interp.graph();
        y = graph.slice(node.name, padded, 1, Dim::Known(0), Dim::Known(length))?;
    }
    one(interp, y)
}

/// How often each number is among those of each text.
fn counts<'a>(interp: &mut Interp<'a>, node: &Node<'a>, ragged: &Ragged, vals: &[Val]) -> Out {
    let [splits, values, _, weights] = inputs(node, vals)?;
    let (Some(Part::Splits), Some(Part::Each(value))) = (part_of(splits), part_of(values)) else {
        return Err(node.unsupported("counts no words"));
    };
    let size = interp.known(node, vals, 2, "size")?;
    let depth = size.first().and_then(|&size| u64::try_from(size).ok()).ok_or_else(|| node.bad("a size below zero"))?;
    if interp.shape_of(node, weights)? != [Dim::Known(0)] {
        return Err(node.unsupported("counts words with weights"));
    }
    let dtype = interp.dtype_of(weights).ok_or_else(|| node.bad("weights that are no tensor"))?;
    let value = interp.value(node, value)?;
    let there = there(interp, node, ragged)?;
    let none = Tensor::from_numbers(interp.ty(value).dtype, &[], &[-1.0]);
    let none = interp.graph().constant(node.name, none)?;
    let known = interp.add(node, Where {}, &[there, value, none])?;
    let hot = interp.add(node, OneHot { depth, axis: 2, dtype }, &[known])?;
    let function = if node.flag("binary_output", false)? { ReduceFunction::Max } else { ReduceFunction::Sum };
    let counted = interp.add(node, Reduce { function, axes: vec![1], keepdims: false }, &[hot])?;
    one(interp, counted)
}
