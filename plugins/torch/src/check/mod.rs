//! The package read back: every weight found in `model.safetensors`, and `model.py` compared with the graph: the same
//! modules in the same order, with the same sizes and numbers, and the functions that the ops are, in order.
//!
//! Shares nothing with the writer: what each op may look like is written down here once more (`expect`), and the text
//! is read by a parser of its own (`python`). Which value goes into which call is not compared: for that, the package
//! has to be run.

mod expect;
pub mod header;
mod python;

use expect::Weights;
use header::Entry;
use python::{Class, Event, Made};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{Graph, Node, Op};
use recast_plugin_api::messages::{CheckReply, CheckRequest, FoundWeight, Piece};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Models inside each other.
const NESTING_MAX: usize = 64;
const STEPS_MAX: usize = 4_000_000;

/// What `forward` does, nested models expanded.
pub enum Step {
    /// A module with a key in the state_dict, or one without weights.
    Module {
        key: String,
        made: Made,
    },
    /// A weight by itself.
    Weight(String),
    Function(String),
}

fn mismatch(at: &str, detail: impl Into<String>) -> Diag {
    Diag::new(Code::Mismatch, at, detail)
}

pub fn check(request: &CheckRequest) -> Result<CheckReply, Findings> {
    let graph = request.decoded_graph()?;
    let dir = Path::new(&request.path);
    let file = dir.join("model.safetensors");
    let entries = header::read(&file)?;
    let text =
        |name: &str| std::fs::read_to_string(dir.join(name)).map_err(|e| Diag::new(Code::Io, name, e.to_string()));
    let (model, init) = (text("model.py")?, text("__init__.py")?);
    let classes = python::classes(&model).map_err(|what| mismatch("model.py", what))?;
    let root = init.lines().find_map(|line| line.strip_prefix("from .model import "));
    let root = root.ok_or_else(|| mismatch("__init__.py", "imports no class of model.py"))?;
    let mut steps = Vec::new();
    expand(root, "", &classes, 0, &mut steps)?;
    let mut reading = Reading {
        steps,
        at: 0,
        entries: &entries,
        file: file.to_string_lossy().into_owned(),
        index: positions(&graph),
        keys: HashMap::new(),
        used: BTreeSet::new(),
        found: Vec::new(),
        findings: Findings::new(),
    };
    reading.graph(&graph);
    reading.finish()
}

fn expand(
    name: &str,
    prefix: &str,
    classes: &BTreeMap<String, Class>,
    depth: usize,
    out: &mut Vec<Step>,
) -> Result<(), Diag> {
    let class = classes.get(name).ok_or_else(|| mismatch("model.py", format!("has no class {name}")))?;
    if depth > NESTING_MAX || out.len() > STEPS_MAX {
        return Err(mismatch("model.py", "modules nested without end"));
    }
    for event in &class.events {
        let path = match event {
            Event::Call(function) => {
                out.push(Step::Function(function.clone()));
                continue;
            }
            Event::Use(path) => path,
        };
        let mut owner = class;
        let mut nested = None;
        let mut key = prefix.to_string();
        for (index, part) in path.iter().enumerate() {
            key = if key.is_empty() { part.clone() } else { format!("{key}.{part}") };
            let Some(made) = owner.attributes.get(part) else {
                return Err(mismatch(
                    "model.py",
                    format!("forward uses self.{}, which __init__ does not make", path.join(".")),
                ));
            };
            match classes.get(&made.kind).filter(|_| !expect::HELPERS.contains(&made.kind.as_str())) {
                Some(inner) => {
                    owner = inner;
                    nested = Some(made.kind.as_str());
                }
                None if matches!(made.kind.as_str(), "nn.Parameter" | "buffer") => {
                    out.push(Step::Weight(key.clone()));
                    // `self.kernel.to(..)`
                    out.extend(path[index + 1..].iter().map(|method| Step::Function(format!(".{method}"))));
                    nested = None;
                    break;
                }
                None if index + 1 < path.len() => {
                    // `self.embedding.weight`
                    out.push(Step::Weight([key.as_str(), &path[index + 1..].join(".")].join(".")));
                    nested = None;
                    break;
                }
                None => {
                    out.push(Step::Module { key: key.clone(), made: made.clone() });
                    nested = None;
                }
            }
        }
        if let Some(inner) = nested {
            expand(inner, &key, classes, depth + 1, out)?;
        }
    }
    Ok(())
}

/// A loop's weight may be one of the graph around it, too.
fn positions(graph: &Graph) -> HashMap<String, Vec<u32>> {
    let mut positions: HashMap<String, Vec<u32>> = HashMap::new();
    for (index, param) in graph.all_params().iter().enumerate() {
        positions.entry(param.name()).or_default().push(index as u32);
    }
    positions
}

struct Reading<'e> {
    steps: Vec<Step>,
    /// The first step that no node has matched yet.
    at: usize,
    entries: &'e BTreeMap<String, Entry>,
    file: String,
    /// Params by name.
    index: HashMap<String, Vec<u32>>,
    /// Where each param was found.
    keys: HashMap<String, String>,
    /// Keys of the state_dict that stand for something.
    used: BTreeSet<String>,
    found: Vec<FoundWeight>,
    findings: Findings,
}

impl Reading<'_> {
    fn graph(&mut self, graph: &Graph) {
        let mut taken: BTreeSet<String> = BTreeSet::new();
        for node in graph.nodes() {
            if let Err(diag) = self.node(graph, node, &mut taken) {
                self.findings.push(diag);
            }
            if let Op::Scan(scan) = &node.op {
                self.graph(&scan.body);
            }
        }
    }

    fn node(&mut self, graph: &Graph, node: &Node, taken: &mut BTreeSet<String>) -> Result<(), Diag> {
        let modules = expect::modules(graph, node);
        let mut matched = false;
        for weights in &modules {
            matched |= self.module(graph, node, weights, taken)?;
        }
        for value in node.inputs.iter().flatten() {
            let Some(param) = graph.params.iter().find(|param| param.value == *value) else { continue };
            let name = param.name();
            if !taken.contains(&name) && !self.keys.contains_key(&name) {
                self.raw(&name, &param.tensor.shape)?;
            }
        }
        // A bias that a module took in has no operator of its own.
        let is_bias = |param: &&recast_plugin_api::ir::Param| taken.contains(&param.name());
        let bias = node
            .inputs
            .iter()
            .flatten()
            .any(|value| graph.params.iter().find(|param| param.value == *value).as_ref().is_some_and(is_bias));
        if matched || (bias && matches!(node.op, Op::Binary(_))) {
            return Ok(());
        }
        let names = expect::functions(node);
        if names.is_empty() {
            return Ok(());
        }
        let fits = |step: &Step| match step {
            Step::Function(name) => names.contains(&name.as_str()),
            Step::Module { made, .. } => names.contains(&made.kind.as_str()),
            Step::Weight(_) => false,
        };
        match self.steps[self.at..].iter().position(fits) {
            Some(further) => {
                self.at += further + 1;
                Ok(())
            }
            None => Err(mismatch(
                &node.path,
                format!("forward has no {} for {} in its place", names.join(" or "), node.op.name()),
            )),
        }
    }

    /// Matches the next module of `forward` with what the node needs. `false`: it is no such module, so the weights
    /// must be there by themselves.
    fn module(
        &mut self,
        graph: &Graph,
        node: &Node,
        wanted: &Weights,
        taken: &mut BTreeSet<String>,
    ) -> Result<bool, Diag> {
        let is_weighted = |step: &Step| matches!(step, Step::Module { made, .. } if !expect::is_weightless(&made.kind));
        let Some(further) = self.steps[self.at..].iter().position(is_weighted) else { return Ok(false) };
        let Step::Module { key, made } = &self.steps[self.at + further] else { return Ok(false) };
        if !wanted.kinds.contains(&made.kind.as_str()) {
            return Ok(false);
        }
        let (key, made) = (key.clone(), made.clone());
        if let Some(first) = wanted.parts.first() {
            let shape = self.entries.get(&format!("{key}.{}", first.suffix)).map(|entry| entry.shape.clone());
            if shape.is_none_or(|shape| shape.iter().product::<u64>() != first.len) {
                return Ok(false);
            }
        }
        self.at += further + 1;
        expect::numbers(graph, node, &made).map_err(|what| mismatch(&node.path, format!("self.{key}: {what}")))?;
        let with_bias = made.named.get("bias").is_none_or(|bias| bias != "False");
        for part in wanted.parts.iter().filter(|part| with_bias || !part.is_bias) {
            if part.is_bias && !self.entries.contains_key(&format!("{key}.{}", part.suffix)) {
                continue;
            }
            taken.insert(part.param.clone());
            self.place(&part.param, &key, part)?;
        }
        Ok(true)
    }

    fn place(&mut self, param: &str, key: &str, part: &expect::Part) -> Result<(), Diag> {
        let full = format!("{key}.{}", part.suffix);
        if self.keys.get(param) == Some(&full) {
            return Ok(());
        }
        let names: Vec<String> =
            std::iter::once(full.clone()).chain(part.second.map(|name| format!("{key}.{name}"))).collect();
        let mut pieces = Vec::new();
        for name in &names {
            let entry = self.entries.get(name).ok_or_else(|| mismatch(param, format!("the state has no {name}")))?;
            let block = entry.len / part.gates.len().max(1) as u64;
            for gate in 0..part.gates.len() {
                let place = part.gates.iter().position(|at| *at == gate).unwrap_or(gate) as u64;
                pieces.push(Piece { file: self.file.clone(), offset: entry.offset + place * block, len: block });
            }
        }
        self.used.extend(names);
        match self.keys.get(param) {
            Some(known) => self.again(param, known, &full, &part.perm, &pieces),
            None => self.remember(param, full, part.perm.clone(), pieces),
        }
    }

    /// A weight of two modules, which have another one each: both hold it, with the same bytes.
    fn again(&self, param: &str, known: &str, full: &str, perm: &[u32], pieces: &[Piece]) -> Result<(), Diag> {
        let index = self.index.get(param).and_then(|index| index.first());
        let first = self.found.iter().find(|found| Some(&found.param) == index);
        let read = |pieces: &[Piece]| -> std::io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            for piece in pieces {
                let start = bytes.len();
                bytes.resize(start + piece.len as usize, 0);
                File::open(&piece.file)?.read_exact_at(&mut bytes[start..], piece.offset)?;
            }
            Ok(bytes)
        };
        let failed = |error: std::io::Error| Diag::new(Code::Io, param, error.to_string());
        let same = match first.filter(|first| first.perm == perm) {
            Some(first) => read(&first.pieces).map_err(failed)? == read(pieces).map_err(failed)?,
            None => false,
        };
        if same { Ok(()) } else { Err(mismatch(param, format!("is both {known} and {full}, which differ"))) }
    }

    fn remember(&mut self, param: &str, key: String, perm: Vec<u32>, pieces: Vec<Piece>) -> Result<(), Diag> {
        let index = self.index.get(param).ok_or_else(|| mismatch(param, "is no weight of the graph"))?;
        self.keys.insert(param.to_string(), key);
        let found = |&param: &u32| FoundWeight { param, perm: perm.clone(), pieces: pieces.clone() };
        self.found.extend(index.iter().map(found));
        Ok(())
    }

    /// A weight that is an attribute by itself: by its name, else the first of its shape.
    fn raw(&mut self, param: &str, shape: &[u64]) -> Result<(), Diag> {
        let plain = |text: &str| -> String {
            let base = text.split('@').next().unwrap_or(text);
            base.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect()
        };
        let fits = |key: &&String| {
            !self.used.contains(*key) && self.entries.get(*key).is_some_and(|entry| entry.shape == shape)
        };
        let keys: Vec<&String> = self
            .steps
            .iter()
            .filter_map(|step| if let Step::Weight(key) = step { Some(key) } else { None })
            .filter(fits)
            .collect();
        let named = keys.iter().find(|key| plain(key) == plain(param));
        let Some(key) = named.or(keys.first()).map(|key| key.to_string()) else {
            return Err(mismatch(param, "forward uses no attribute that holds it"));
        };
        let entry =
            self.entries.get(&key).cloned().ok_or_else(|| mismatch(param, format!("the state has no {key}")))?;
        self.used.insert(key.clone());
        let piece = Piece { file: self.file.clone(), offset: entry.offset, len: entry.len };
        self.remember(param, key, Vec::new(), vec![piece])
    }

    /// What is left over: modules that no op asked for.
    fn finish(mut self) -> Result<CheckReply, Findings> {
        for step in &self.steps[self.at..] {
            if let Step::Module { key, made } = step
                && !expect::is_weightless(&made.kind)
            {
                self.findings.push(mismatch(key, format!("forward uses a {} that no op of the graph is", made.kind)));
            }
        }
        if self.findings.is_empty() { Ok(CheckReply { weights: self.found }) } else { Err(self.findings) }
    }
}
