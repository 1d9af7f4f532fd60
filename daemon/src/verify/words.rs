//! Strings as numbers, for runtimes that have none: each word that a graph knows is its place in a list, each other one
//! gets a place behind them. What is checked so is everything but the tables of words themselves, as they stand in the
//! file. How texts are written otherwise, or fall into words, is a table of what the evaluator makes of those that
//! occur.

use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{
    BinaryFunction, Clip, DType, Dim, Gather, Graph, IndexToString, Node, Op, Rebuild, ReduceFunction, StringSplit,
    StringToIndex, Tensor, Type, ValueId,
};
use recast_reference::{Array, Data, Files, Options, Weights, evaluate, evaluate_observed};
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Default)]
pub struct Words {
    words: Vec<String>,
    places: HashMap<String, i64>,
}

impl Words {
    /// The words that the tables of a graph know; none where it has no strings.
    pub fn of(graph: &Graph) -> Option<Words> {
        let mut words = Words::default();
        for node in graph.nodes() {
            if let Op::StringToIndex(op) = &node.op {
                op.keys.iter().for_each(|word| words.place(word));
            } else if let Op::IndexToString(op) = &node.op {
                op.values.iter().chain([&op.fallback]).for_each(|word| words.place(word));
            }
        }
        let strings = graph.inputs.iter().map(|input| input.value).chain(graph.outputs.iter().map(|out| out.value));
        let has_strings = strings.into_iter().any(|value| graph.ty(value).dtype == DType::Str);
        (has_strings || !words.words.is_empty()).then_some(words)
    }

    fn place(&mut self, word: &str) {
        if !self.places.contains_key(word) {
            self.places.insert(word.into(), self.words.len() as i64);
            self.words.push(word.into());
        }
    }

    /// Strings as their places; those that were not known get some.
    pub fn encoded(&mut self, array: &Array) -> Array {
        let Data::S(texts) = &array.data else { return array.clone() };
        texts.iter().for_each(|text| self.place(text));
        Array::ints(DType::I64, array.shape.clone(), texts.iter().map(|text| self.places[text]).collect())
    }

    /// The strings at these places; one that is no place is a text that no model gives.
    pub fn decoded(&self, array: &Array) -> Array {
        let word = |place: f64| {
            let known = (place >= 0.0).then(|| self.words.get(place as usize)).flatten();
            known.cloned().unwrap_or_else(|| format!("(no word: {place})"))
        };
        Array::strings(array.shape.clone(), array.numbers().into_iter().map(word).collect())
    }

    /// Every text that occurs on the way from these inputs gets a place, and each number of words its value: the graph
    /// bound to them.
    fn follow(&mut self, graph: &Graph, inputs: &[Array], weights: &(dyn Weights + Sync)) -> Result<Graph, Diag> {
        inputs.iter().for_each(|array| drop(self.encoded(array)));
        let mut widths = Vec::new();
        let mut see = |node: &Node, values: &[Arc<Array>]| {
            values.iter().for_each(|array| drop(self.encoded(array)));
            if let (Op::StringSplit(_), [words]) = (&node.op, values) {
                widths.extend(words.shape.last().map(|&size| size as u64));
            }
        };
        evaluate_observed(graph, inputs, weights, &Options::default(), &mut see)?;
        let symbol = |node: &Node| {
            if let Op::StringSplit(op) = &node.op { Some(op.words.as_symbol().map(str::to_owned)) } else { None }
        };
        // In the order of the nodes, as they were seen.
        let symbols = graph.nodes().iter().filter_map(symbol).zip(widths);
        let sizes: HashMap<String, u64> = symbols.filter_map(|(symbol, size)| symbol.zip(Some(size))).collect();
        graph.bind(&|name| sizes.get(name).map(|&size| Dim::Known(size)))
    }

    /// The graph with numbers in the place of strings, for these inputs.
    pub fn numbered(&mut self, graph: &Graph, inputs: &[Array], weights: &(dyn Weights + Sync)) -> Result<Graph, Diag> {
        let cuts = |node: &Node| matches!(node.op, Op::StringMap(_) | Op::StringSplit(_));
        let followed = match graph.nodes().iter().any(cuts) {
            true => Some(self.follow(graph, inputs, weights)?),
            false => None,
        };
        let graph = followed.as_ref().unwrap_or(graph);
        let mut out = Rebuild::new(graph);
        for input in &graph.inputs {
            let ty = graph.ty(input.value);
            let ty = if ty.dtype == DType::Str { ty.with_dtype(DType::I64) } else { ty.clone() };
            let value = out.graph.input(input.name.clone(), ty);
            out.map(input.value, value);
        }
        out.copy_params();
        for node in graph.nodes() {
            let spelled = if let Op::StringToIndex(op) = &node.op {
                Some(self.index(op, node, &mut out)?)
            } else if let Op::IndexToString(op) = &node.op {
                Some(self.word(op, node, &mut out)?)
            } else if cuts(node) {
                Some(self.tabled(node, &mut out)?)
            } else {
                None
            };
            match spelled {
                Some(value) => out.map(node.outputs[0], value),
                None => out.copy_node(node)?,
            }
        }
        Ok(out.finish())
    }

    /// What the op makes of each word: a row of a table.
    fn tabled(&self, node: &Node, out: &mut Rebuild<'_>) -> Result<ValueId, Diag> {
        let width = match &node.op {
            Op::StringSplit(op) => op.words.known(),
            op => matches!(op, Op::StringMap(_)).then_some(1),
        };
        let mut alone = Graph::new("alone");
        let texts = alone.input("x", Type::known(DType::Str, &[self.words.len() as u64]));
        // Texts that are not its inputs may have more words; these rows are not asked for.
        let free = match &node.op {
            Op::StringSplit(op) => Op::StringSplit(StringSplit { words: Dim::symbol("words"), ..op.clone() }),
            op => op.clone(),
        };
        let made = alone.add(&node.path, free, &[texts])?;
        alone.output("y", made);
        let given = Array::strings(vec![self.words.len()], self.words.clone());
        let made = evaluate(&alone, &[given], &Files::none(), &Options::default())?.swap_remove(0);
        let missing = || Diag::new(Code::Bug, &node.path, "words without a number");
        let (width, Data::S(found)) = (width.ok_or_else(missing)? as usize, &made.data) else {
            return Err(missing());
        };
        let given = made.shape.get(1).copied().unwrap_or(1);
        let none = self.words.len() as i64;
        let place = |row: usize, at: usize| {
            let text = if at < given { found[row * given + at].as_str() } else { "" };
            self.places.get(text).copied().unwrap_or(none)
        };
        let rows = self.words.len();
        let table: Vec<i64> = (0..rows * width).map(|i| place(i / width, i % width)).collect();
        let mut shape = vec![rows as u64];
        shape.extend(matches!(node.op, Op::StringSplit(_)).then_some(width as u64));
        let x = input(node, out)?;
        let table = out.graph.constant(&node.path, Tensor::from_i64(&shape, &table))?;
        out.graph.add(&node.path, Gather { axis: 0 }, &[table, x])
    }

    /// One number for each known word, and one behind them for all others.
    fn index(&self, op: &StringToIndex, node: &Node, out: &mut Rebuild<'_>) -> Result<ValueId, Diag> {
        let mut table = vec![op.fallback; self.words.len() + 1];
        op.keys.iter().zip(&op.values).for_each(|(key, value)| table[self.places[key] as usize] = *value);
        let x = input(node, out)?;
        let last = self.words.len() as f64;
        let at = out.graph.add(&node.path, Clip { min: Some(0.0), max: Some(last) }, &[x])?;
        let table = out.graph.constant(&node.path, Tensor::from_i64(&[table.len() as u64], &table))?;
        out.graph.add(&node.path, Gather { axis: 0 }, &[table, at])
    }

    /// The fallback's place, and the distance from there to that of the key that is equal.
    fn word(&self, op: &IndexToString, node: &Node, out: &mut Rebuild<'_>) -> Result<ValueId, Diag> {
        let fallback = self.places[&op.fallback];
        let beyond: Vec<i64> = op.values.iter().map(|value| self.places[value] - fallback).collect();
        let count = [op.keys.len() as u64];
        let x = input(node, out)?;
        let (graph, path) = (&mut out.graph, &node.path);
        let rank = graph.shape(x).len();
        let wide = graph.expand(path, x, rank)?;
        let keys = graph.constant(path, Tensor::from_i64(&count, &op.keys))?;
        let beyond = graph.constant(path, Tensor::from_i64(&count, &beyond))?;
        let equal = graph.binary(path, BinaryFunction::Equal, wide, keys)?;
        let equal = graph.cast(path, equal, DType::I64)?;
        let placed = graph.binary(path, BinaryFunction::Mul, equal, beyond)?;
        let sum = graph.reduce(path, ReduceFunction::Sum, placed, &[rank], false)?;
        graph.binary_scalar(path, BinaryFunction::Add, sum, fallback as f64)
    }
}

fn input(node: &Node, out: &Rebuild<'_>) -> Result<ValueId, Diag> {
    let value = node.inputs.first().copied().flatten();
    let missing = || Diag::new(Code::Bug, &node.path, "input 0 is missing");
    value.map(|value| out.get(value)).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| word.to_string()).collect()
    }

    #[test]
    fn numbers_say_what_strings_say() {
        let mut graph = Graph::new("g");
        let x = graph.input("x", Type::new(DType::Str, vec![Dim::Known(5)]));
        let keys = texts(&["a", "b", "c"]);
        let index = StringToIndex { keys, values: vec![7, 0, -2], fallback: 1 };
        let index = graph.add("l", index, &[x]).unwrap();
        let back = IndexToString { keys: vec![7, -2, 5], values: texts(&["x", "y", "a"]), fallback: "?".into() };
        let back = graph.add("l", back, &[index]).unwrap();
        [("index", index), ("back", back), ("same", x)].into_iter().for_each(|(name, value)| graph.output(name, value));
        let given = Array::strings(vec![5], texts(&["c", "new", "a", "b", "other"]));
        let options = Options::default();
        let expected = evaluate(&graph, std::slice::from_ref(&given), &Files::none(), &options).unwrap();
        assert_eq!(expected[0].numbers(), [-2.0, 1.0, 7.0, 0.0, 1.0]);

        let mut words = Words::of(&graph).unwrap();
        let numbered = words.numbered(&graph, std::slice::from_ref(&given), &Files::none()).unwrap();
        let found = evaluate(&numbered, &[words.encoded(&given)], &Files::none(), &options).unwrap();
        assert_eq!(found[0], expected[0]);
        assert_eq!((words.decoded(&found[1]), words.decoded(&found[2])), (expected[1].clone(), given));
        assert!(Words::of(&Graph::new("none")).is_none());
    }
}
