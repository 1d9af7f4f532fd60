//! A target plugin for *myframework*, which nobody else has heard of. Its models are two files:
//!
//! `NAME.mf`, lines of text:
//! ```text
//! myframework 1
//! weights NAME.mfw
//! weight hidden/kernel f32 784,128 0 401408       name, dtype, sizes, offset, bytes
//! input pixels f32 batch,784
//! layer hidden                                    what follows belongs to this layer
//!   matmul v5 <- pixels @hidden/kernel            value, then what it is made from; @ is a weight
//!   unary v6 <- v5 function="relu"                attributes as the op has them
//! output digit <- v6
//! ```
//! `NAME.mfw`: the weights, little-endian and row-major, one after the other.
//!
//! myframework works on images channels-first with OIHW kernels, has few ops, and no dtype but float32. All of that is
//! declared; recast's own passes make graphs fit, and refuse those that can't be made to.

use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{Dim, Graph, Node, Param, ValueId};
use recast_plugin_api::messages::{Caps, CheckReply, CheckRequest, FoundWeight, Piece, WriteRequest};
use recast_plugin_api::plugin::{Cx, Target, WriteCx};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

struct MyFramework;

const OPS: &[&str] = &[
    "unary",
    "activation",
    "binary",
    "matmul",
    "conv",
    "pool",
    "batch_norm",
    "softmax",
    "reduce",
    "reshape",
    "transpose",
    "concat",
    "pad",
    "constant",
];

impl Target for MyFramework {
    const TARGETS: &'static [&'static str] = &["myframework"];

    fn capabilities(&self) -> Vec<Caps> {
        let caps = Caps::of("myframework", ".mf", OPS);
        let (layout, kernel) = ("channels_first".into(), "oihw".into());
        vec![Caps { layout, kernel, dtypes: vec!["f32".into()], checks: true, ..caps }]
    }

    fn write(&self, cx: &WriteCx<'_>, _target: &str, request: &WriteRequest) -> Result<(), Findings> {
        let graph = request.decoded_graph()?;
        cx.create_with(&format!("{}.mf", request.name), text(&graph, &request.name).as_bytes())?;
        let name = format!("{}.mfw", request.name);
        let mut file = cx.create(&name)?;
        for param in &graph.params {
            cx.go_on()?;
            file.write_all(cx.tensor(&param.name())?.bytes()).map_err(|error| Diag::io(&name, &error))?;
        }
        Ok(())
    }

    /// Every line of the text against the graph, every weight where the text says that it is.
    fn check(&self, _cx: &Cx<'_>, _target: &str, request: &CheckRequest) -> Result<CheckReply, Findings> {
        let graph = request.decoded_graph()?;
        let path = Path::new(&request.path);
        let found = std::fs::read_to_string(path).map_err(|error| Diag::io(&request.path, &error))?;
        let mut model = Reader { graph: &graph, values: HashMap::new(), weights: Vec::new(), file: String::new() };
        let mut nodes = graph.nodes().iter();
        let mut findings = Findings::new();
        for line in found.lines().skip(1) {
            if let Err(diag) = model.line(line, path, &mut nodes) {
                findings.push(diag);
            }
        }
        if let Some(node) = nodes.next() {
            findings.push(mismatch(&node.path, "its ops are missing"));
        }
        if findings.is_empty() { Ok(CheckReply { weights: model.weights }) } else { Err(findings) }
    }
}

fn text(graph: &Graph, name: &str) -> String {
    let mut out = format!("myframework 1\nweights {name}.mfw\n");
    let mut offset = 0;
    for param in &graph.params {
        let (tensor, len) = (&param.tensor, param.tensor.byte_len());
        let sizes: Vec<Dim> = tensor.shape.iter().map(|&size| Dim::Known(size)).collect();
        let _ = writeln!(out, "weight {} {} {} {offset} {len}", param.name(), tensor.dtype, joined(&sizes));
        offset += len;
    }
    let mut names = names(graph);
    for input in &graph.inputs {
        let ty = graph.ty(input.value);
        let _ = writeln!(out, "input {} {} {}", input.name, ty.dtype, joined(&ty.shape));
    }
    let mut layer = None;
    for node in graph.nodes() {
        if layer != Some(&node.path) {
            let _ = writeln!(out, "layer {}", node.path);
            layer = Some(&node.path);
        }
        let outputs: Vec<String> = node.outputs.iter().map(|value| format!("v{}", value.0)).collect();
        node.outputs.iter().zip(&outputs).for_each(|(value, name)| {
            names.insert(*value, name.clone());
        });
        let _ =
            writeln!(out, "  {} {} <- {}{}", node.op.name(), outputs.join(" "), inputs(node, &names), attributes(node));
    }
    for output in &graph.outputs {
        let _ = writeln!(out, "output {} <- {}", output.name, names[&output.value]);
    }
    out
}

/// Names of what is there before the first layer.
fn names(graph: &Graph) -> HashMap<ValueId, String> {
    let inputs = graph.inputs.iter().map(|input| (input.value, input.name.clone()));
    inputs.chain(graph.params.iter().map(|param| (param.value, format!("@{}", param.name())))).collect()
}

fn inputs(node: &Node, names: &HashMap<ValueId, String>) -> String {
    let name = |value: &Option<ValueId>| value.map_or("-", |value| names.get(&value).map_or("?", String::as_str));
    node.inputs.iter().map(name).collect::<Vec<_>>().join(" ")
}

fn attributes(node: &Node) -> String {
    node.op.attrs().iter().map(|(name, attr)| format!(" {name}={attr}")).collect()
}

fn joined(sizes: &[Dim]) -> String {
    sizes.iter().map(Dim::to_string).collect::<Vec<_>>().join(",")
}

fn mismatch(at: &str, detail: impl Into<String>) -> Diag {
    Diag::new(Code::Mismatch, at, detail)
}

/// Reads the text line by line beside the graph.
struct Reader<'g> {
    graph: &'g Graph,
    /// By its name in the text: the value that a line made.
    values: HashMap<String, ValueId>,
    weights: Vec<FoundWeight>,
    file: String,
}

impl<'g> Reader<'g> {
    fn line(&mut self, line: &str, path: &Path, nodes: &mut std::slice::Iter<'g, Node>) -> Result<(), Diag> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match &words[..] {
            ["weights", name] => self.file = path.with_file_name(name).to_string_lossy().into_owned(),
            ["weight", name, dtype, sizes, offset, len] => self.weight(name, dtype, sizes, offset, len)?,
            ["input", name, dtype, sizes] => self.input(name, dtype, sizes)?,
            ["layer", ..] => {}
            ["output", name, "<-", value] => {
                let output = self.graph.outputs.iter().find(|output| output.name == *name);
                let output = output.ok_or_else(|| mismatch(name, "is no output of the graph"))?;
                if self.values.get(*value) != Some(&output.value) {
                    return Err(mismatch(name, format!("is {value}, which is another value")));
                }
            }
            [op, rest @ ..] => {
                let node = nodes.next().ok_or_else(|| mismatch(op, "one op too many"))?;
                self.node(op, rest, node)?;
            }
            [] => return Err(mismatch("", "an empty line")),
        }
        Ok(())
    }

    fn weight(&mut self, name: &str, dtype: &str, sizes: &str, offset: &str, len: &str) -> Result<(), Diag> {
        let is = |param: &&Param| param.name() == name;
        let index = self.graph.params.iter().position(|param| is(&param));
        let index = index.ok_or_else(|| mismatch(name, "is no weight of the graph"))?;
        let param = &self.graph.params[index];
        let shape: Vec<String> = param.tensor.shape.iter().map(u64::to_string).collect();
        let (Ok(offset), Ok(len)) = (offset.parse(), len.parse()) else { return Err(mismatch(name, "an odd place")) };
        if dtype != param.tensor.dtype.as_str() || sizes != shape.join(",") {
            return Err(mismatch(name, format!("{dtype} {sizes}, should be {}", param.tensor.ty())));
        }
        self.values.insert(format!("@{name}"), param.value);
        let pieces = vec![Piece { file: self.file.clone(), offset, len }];
        self.weights.push(FoundWeight { param: index as u32, perm: Vec::new(), pieces });
        Ok(())
    }

    fn input(&mut self, name: &str, dtype: &str, sizes: &str) -> Result<(), Diag> {
        let input = self.graph.inputs.iter().find(|input| input.name == name);
        let input = input.ok_or_else(|| mismatch(name, "is no input of the graph"))?;
        let ty = self.graph.ty(input.value);
        if dtype != ty.dtype.as_str() || sizes != joined(&ty.shape) {
            return Err(mismatch(name, format!("{dtype} {sizes}, should be {ty}")));
        }
        self.values.insert(name.into(), input.value);
        Ok(())
    }

    fn node(&mut self, op: &str, words: &[&str], node: &Node) -> Result<(), Diag> {
        let arrow = words.iter().position(|word| *word == "<-").ok_or_else(|| mismatch(&node.path, "no arrow"))?;
        let (outputs, given) = (&words[..arrow], &words[arrow + 1..]);
        if op != node.op.name() || outputs.len() != node.outputs.len() {
            return Err(mismatch(&node.path, format!("{op}, should be {}", node.op.name())));
        }
        for (at, value) in node.inputs.iter().enumerate() {
            let named = given.get(at).and_then(|name| self.values.get(*name)).copied();
            if named != *value {
                return Err(mismatch(&node.path, format!("{op} takes another value at place {at}")));
            }
        }
        let rest = given.get(node.inputs.len()..).unwrap_or(&[]).join(" ");
        if rest != attributes(node).split_whitespace().collect::<Vec<_>>().join(" ") {
            return Err(mismatch(&node.path, format!("{op} with {rest}")));
        }
        for (name, value) in outputs.iter().zip(&node.outputs) {
            self.values.insert(name.to_string(), *value);
        }
        Ok(())
    }
}

recast_plugin_api::export_plugin! {
    id: "org.myframework.target",
    name: "myframework",
    target: MyFramework,
}
