//! Seeded inputs that fit a graph: token ids inside the vocabulary with padding in the middle, masks that mask, images
//! of unlike content, steps that a Masking layer drops.

use recast_plugin_api::ir::numbers::decode_numbers;
use recast_plugin_api::ir::{
    BinaryFunction, DType, Data as Stored, Graph, Node, Op, ReduceFunction, UnaryFunction, ValueId,
};
use recast_reference::{Array, Data};
use std::collections::{HashMap, HashSet};

/// What an input is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Float,
    /// Whole numbers below the bound, with zeros (padding) among them.
    Index(u64),
    /// Whole numbers from the one to the other.
    Between(f64, f64),
    Bool,
    /// One of the words that the graph looks up, or none of them.
    Word,
}

/// splitmix64: small, seeded, the same on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About normal: the sum of twelve uniforms.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// Without a vocabulary to stay in, whole-number inputs stay small.
const INDEX_BOUND_DEFAULT: u64 = 10;

/// Indices behind the last one of a table of words that are asked for, too.
const INDICES_BEYOND: u64 = 3;

/// One array for each input of a graph without symbols.
pub fn make(graph: &Graph, seed: u64) -> Vec<Array> {
    let (skipped, divides) = (skipped_values(graph), divides_whole(graph));
    let make = |(index, input): (usize, &recast_plugin_api::ir::Input)| {
        let mut random = Random::new(seed ^ (index as u64 + 1).wrapping_mul(0x517c_c1b7_2722_0a95));
        let ty = graph.ty(input.value);
        let shape: Vec<usize> = ty.shape.iter().map(|dim| dim.known().unwrap_or(1) as usize).collect();
        let count: usize = shape.iter().product();
        let values = match kind(graph, input.value, ty.dtype) {
            Kind::Word if is_cut(graph) => return texts(&mut random, shape, &looked_up(graph)),
            Kind::Word => return words(&mut random, shape, &looked_up(graph)),
            Kind::Float => {
                let mut values = floats(&mut random, &shape);
                if shape.len() >= 3 {
                    skip_steps(&mut values, &shape, &skipped);
                }
                values
            }
            Kind::Index(bound) if divides => indices(&mut random, &shape, bound).iter().map(|v| v.max(1.0)).collect(),
            Kind::Index(bound) => indices(&mut random, &shape, bound),
            Kind::Between(low, high) => {
                (0..count).map(|_| low + (random.uniform() * (high - low + 1.0)).floor()).collect()
            }
            // Mostly true, never all: a mask that masks nothing shows nothing.
            Kind::Bool => (0..count).map(|i| (i % 5 != 3 && random.uniform() < 0.8) as u8 as f64).collect(),
        };
        Array::from_numbers(ty.dtype, shape, values)
    };
    graph.inputs.iter().enumerate().map(make).collect()
}

/// Noise in even rows; in odd ones a ramp with a little noise. Rows that differ in kind show an output that does not
/// depend on its input.
fn floats(random: &mut Random, shape: &[usize]) -> Vec<f64> {
    let rows = shape.first().copied().unwrap_or(1).max(1);
    let count: usize = shape.iter().product();
    let row = (count / rows).max(1);
    let values = (0..count).map(|i| match (i / row) % 2 {
        0 => random.normal(),
        _ => 2.0 * ((i % row) as f64 + 0.5) / row as f64 - 1.0 + 0.1 * random.normal(),
    });
    values.map(|value| value as f32 as f64).collect()
}

/// Fills some steps of values (rows, steps, ...) with what masks skip, each row with one of `skipped`: a step in the
/// middle, shifted from row to row, the last one, and in odd rows the first.
fn skip_steps(values: &mut [f64], shape: &[usize], skipped: &[f64]) {
    let (rows, steps) = (shape[0], shape[1]);
    let step: usize = shape[2..].iter().product();
    if steps < 3 || skipped.is_empty() {
        return;
    }
    for r in 0..rows {
        let first = (r % 2 == 1 && steps > 3).then_some(0);
        for t in [1 + r % (steps - 2), steps - 1].into_iter().chain(first) {
            let at = (r * steps + t) * step;
            values[at..at + step].fill(skipped[r % skipped.len()]);
        }
    }
}

fn indices(random: &mut Random, shape: &[usize], bound: u64) -> Vec<f64> {
    let count: usize = shape.iter().product();
    let row = (count / shape.first().copied().unwrap_or(1).max(1)).max(1);
    let mut draw = || {
        let low = u64::from(bound > 1);
        low + (random.uniform() * (bound - low) as f64) as u64
    };
    let mut values: Vec<f64> = (0..count).map(|_| draw().min(bound - 1) as f64).collect();
    if row > 3 {
        for r in 0..count / row {
            // Zero is what Keras pads with: in the middle, at the end, and in odd rows at the start.
            values[r * row + 1 + r % (row - 2)] = 0.0;
            values[r * row + row - 1] = 0.0;
            if r % 2 == 1 {
                values[r * row] = 0.0;
            }
        }
    }
    values
}

/// Words that tables of the graph know, in their order, each once.
fn looked_up(graph: &Graph) -> Vec<&str> {
    let keys = graph.nodes().iter().filter_map(|node| {
        if let Op::StringToIndex(op) = &node.op { Some(op.keys.iter().map(String::as_str)) } else { None }
    });
    let mut seen = HashSet::new();
    let mut words: Vec<&str> = keys.flatten().filter(|word| seen.insert(*word)).collect();
    // Where words are hashed, any will do, of all lengths.
    let hashed = |node: &recast_plugin_api::ir::Node| matches!(node.op, Op::StringHash(_));
    if graph.nodes().iter().any(hashed) {
        words.extend(HASHED);
    }
    words
}

const HASHED: [&str; 6] = [
    "north",
    "ab",
    "\u{fc}ber",
    "a sentence of words",
    "https://example.com/path/to/a/page?of=this#site",
    "0123456789",
];

/// Does it look into texts?
fn is_cut(graph: &Graph) -> bool {
    graph.nodes().iter().any(|node| matches!(node.op, Op::StringSplit(_) | Op::StringMap(_)))
}

/// Known words and others, one after the other, with the signs and spaces between them that texts have.
fn texts(random: &mut Random, shape: Vec<usize>, known: &[&str]) -> Array {
    const BETWEEN: [&str; 6] = [" ", "  ", ", ", "\t", "! ", " - "];
    let count = shape.iter().product();
    let draw = |i: usize| {
        let parts = words(random, vec![1 + i % 7], known);
        let Data::S(parts) = parts.data else { return String::new() };
        let between = |random: &mut Random| BETWEEN[(random.bits() % BETWEEN.len() as u64) as usize];
        parts.into_iter().map(|part| part + between(random)).collect()
    };
    Array::strings(shape, (0..count).map(draw).collect())
}

/// One in five is a word that no table knows: a known one written otherwise, so that a runtime that trims or folds
/// letters shows itself.
fn words(random: &mut Random, shape: Vec<usize>, known: &[&str]) -> Array {
    let count = shape.iter().product();
    let draw = |i: usize| {
        let word = known.get((random.uniform() * known.len() as f64) as usize).copied().unwrap_or_default();
        if i % 5 != 3 {
            return word.to_string();
        }
        match random.bits() % 3 {
            0 => format!("{word} "),
            1 => word.to_uppercase(),
            _ => format!("{word}\u{e9}{i}"),
        }
    };
    Array::strings(shape, (0..count).map(draw).collect())
}

/// The values that whole steps are compared with where a mask is computed from them, as the Masking layer does (any
/// over the last axis of x != value); zero where a value is not found. Empty without such a mask.
fn skipped_values(graph: &Graph) -> Vec<f64> {
    let makers = makers(graph);
    let maker = |value: Option<ValueId>| value.and_then(|value| makers.get(&value).copied());
    let number = |value: &Option<ValueId>| constant(maker(*value)?)?.first().copied();
    let mut values = Vec::new();
    for node in graph.nodes() {
        let Op::Reduce(op) = &node.op else { continue };
        if op.function != ReduceFunction::Any {
            continue;
        }
        let compared = node.inputs.first().and_then(|input| maker(*input));
        let compared =
            compared.filter(|by| matches!(&by.op, Op::Binary(op) if op.function == BinaryFunction::NotEqual));
        let value = compared.and_then(|by| by.inputs.iter().find_map(number)).unwrap_or(0.0);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// Of every value that is computed: by which node.
fn makers(graph: &Graph) -> HashMap<ValueId, &Node> {
    let made = |node| move |&value: &ValueId| (value, node);
    graph.nodes().iter().flat_map(|node| node.outputs.iter().map(made(node))).collect()
}

/// Does it divide by whole numbers that it computes? By zero, runtimes do what they like.
fn divides_whole(graph: &Graph) -> bool {
    graph.nodes().iter().any(|node| {
        let divides = matches!(&node.op, Op::Binary(op)
            if matches!(op.function, BinaryFunction::FloorDiv | BinaryFunction::Mod));
        divides && node.outputs.iter().any(|value| !graph.ty(*value).dtype.is_float())
    })
}

fn kind(graph: &Graph, input: ValueId, dtype: DType) -> Kind {
    let moved = moved(graph, input);
    match (index_bound(graph, &moved), dtype) {
        (_, DType::Bool) => Kind::Bool,
        (_, DType::Str) => Kind::Word,
        (Some(bound), _) => Kind::Index(bound.max(1)),
        (None, dtype) if dtype.is_float() => Kind::Float,
        // Images.
        (None, DType::U8) => Kind::Index(256),
        (None, dtype) => match bounds(graph, &moved).filter(|_| !divides_whole(graph)) {
            Some((low, high)) if dtype.is_signed() => Kind::Between(low, high),
            Some((_, high)) => Kind::Index((high.max(0.0) as u64).saturating_add(1)),
            None => Kind::Index(INDEX_BOUND_DEFAULT),
        },
    }
}

/// What whole numbers may be drawn up to, where they are compared with something.
const COMPARED_MAX: f64 = (1u64 << 20) as f64;

/// From below the smallest number that the input is compared with to above the largest, as a layer does that sorts into
/// buckets.
fn bounds(graph: &Graph, moved: &[bool]) -> Option<(f64, f64)> {
    let makers = makers(graph);
    let ordered = |node: &&Node| {
        let Op::Binary(op) = &node.op else { return false };
        op.function.is_comparison() && !matches!(op.function, BinaryFunction::Equal | BinaryFunction::NotEqual)
    };
    let compared = graph.nodes().iter().filter(ordered).filter(|node| is_any(moved, &node.inputs));
    let numbers: Vec<f64> = compared
        .flat_map(|node| node.inputs.iter().flatten())
        .filter_map(|value| constant(makers.get(value)?))
        .flatten()
        .filter(|number| number.abs() <= COMPARED_MAX)
        .collect();
    let low = numbers.iter().copied().reduce(f64::min)?.floor() - 1.0;
    Some((low, numbers.iter().copied().fold(low, f64::max).ceil() + 1.0))
}

/// The numbers of a small constant.
fn constant(node: &Node) -> Option<Vec<f64>> {
    let Op::Constant(op) = &node.op else { return None };
    let Stored::Inline(bytes) = &op.tensor.data else { return None };
    Some(decode_numbers(op.tensor.dtype, bytes))
}

fn is_any(moved: &[bool], values: &[Option<ValueId>]) -> bool {
    values.iter().flatten().any(|value| moved[value.0 as usize])
}

/// Of every value: is it the input, or something that only moves its elements about, or casts them?
fn moved(graph: &Graph, input: ValueId) -> Vec<bool> {
    let mut moved = vec![false; graph.value_count()];
    moved[input.0 as usize] = true;
    for node in graph.nodes() {
        let places = if matches!(node.op, Op::Where(_)) {
            // A choice between indices: negative ones counted from the end, say.
            1..3
        } else if moves(&node.op) || matches!(node.op, Op::Cast(_)) {
            0..1
        } else {
            continue;
        };
        let from = node.inputs.get(places).unwrap_or_default();
        if is_any(&moved, from) {
            node.outputs.iter().for_each(|output| moved[output.0 as usize] = true);
        }
    }
    moved
}

/// The smallest table that the input (or something that only moves its elements about) indexes.
fn index_bound(graph: &Graph, moved: &[bool]) -> Option<u64> {
    let mut bound: Option<u64> = None;
    let mut lower = |size: Option<u64>| {
        if let Some(size) = size {
            bound = Some(bound.map_or(size, |known| known.min(size)));
        }
    };
    for node in graph.nodes() {
        let is = |index: usize| node.inputs.get(index).copied().flatten().is_some_and(|v| moved[v.0 as usize]);
        if let Op::Gather(op) = &node.op
            && is(1)
        {
            lower(node.inputs[0].and_then(|table| graph.shape(table)[op.axis].known()));
        }
        if let Op::GatherElements(op) = &node.op
            && is(1)
        {
            lower(node.inputs[0].and_then(|x| graph.shape(x)[op.axis].known()));
        }
        if let Op::IndexToString(op) = &node.op
            && is(0)
        {
            // And some that it does not know.
            lower(op.keys.iter().max().and_then(|&last| u64::try_from(last).ok()).map(|last| last + INDICES_BEYOND));
        }
        if let Op::OneHot(op) = &node.op
            && is(0)
        {
            lower(Some(op.depth));
        }
    }
    bound
}

/// Ops whose output holds elements of the first input, unchanged where they are whole numbers.
fn moves(op: &Op) -> bool {
    let keeps_whole = matches!(op, Op::Unary(op)
        if matches!(op.function, UnaryFunction::Floor | UnaryFunction::Trunc | UnaryFunction::Round));
    let picks = matches!(op, Op::Binary(op) if matches!(op.function, BinaryFunction::Max | BinaryFunction::Min));
    op.carries() || keeps_whole || picks
}

#[cfg(test)]
mod tests {
    use super::*;
    use recast_plugin_api::ir::{Tensor, Type};

    /// Buckets, as Discretization makes them: any of them would do to show an output that tells nothing.
    #[test]
    fn whole_numbers_lie_around_what_they_are_compared_with() {
        for (dtype, bounds, least, most) in [
            (DType::I32, [-2.5f32, 0.0, 1.0], -4.0, 2.0),
            (DType::U16, [0.0, 4.0, 300.0], 0.0, 301.0),
            (DType::I64, [-1e9, 5.0, 1e9], 4.0, 6.0),
        ] {
            let mut graph = Graph::new("");
            let x = graph.input("x", Type::known(dtype, &[50, 1]));
            let bounds = graph.constant("buckets", Tensor::from_f32(&[3], &bounds)).unwrap();
            let wide = graph.cast("buckets", x, DType::F32).unwrap();
            let reached = graph.binary("buckets", BinaryFunction::GreaterEqual, wide, bounds).unwrap();
            graph.output("y", reached);
            let drawn = make(&graph, 7).remove(0).numbers();
            let (low, high) = drawn.iter().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
            assert!(low >= least && high <= most && high - low > 1.0, "{dtype}: {low} to {high}");
        }
    }
}
