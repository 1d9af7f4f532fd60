//! Is a graph what it must be, and can a target be given it? Every finding at once, never the first one alone.
//!
//! `Graph::add` keeps most of what is checked here; but graphs come over the wire, are built by passes and rewritten
//! by plugins, and a writer that trusts them must not be the one who finds out.

use super::op::{ConvTranspose, KernelOrder, Layout, Op};
use super::types::{DType, Data, INLINE_BYTES_MAX, Tensor, Type};
use super::{Conv, Graph, NODES_MAX, Node, Pool, RANK_MAX, ValueId, infer};
use crate::diag::{Code, Diag};
use crate::messages::Caps;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Graphs inside of graphs (bodies of `Scan`).
pub const DEPTH_MAX: usize = 16;

/// Everything that is wrong with a graph; empty for a good one but for notes. `files` are the lengths of the job's
/// files, where they are known: tensors must lie inside.
pub fn validate(graph: &Graph, files: Option<&[u64]>) -> Vec<Diag> {
    let mut found = Findings { diags: Vec::new(), files };
    found.graph(graph, "", 0);
    found.diags
}

/// Whether any of the findings is an error.
pub fn refused(findings: &[Diag]) -> bool {
    findings.iter().any(Diag::is_error)
}

struct Findings<'a> {
    diags: Vec<Diag>,
    files: Option<&'a [u64]>,
}

/// A place inside of nested graphs.
fn join<'p>(prefix: &'p str, path: &'p str) -> Cow<'p, str> {
    match (prefix, path) {
        ("", path) => path.into(),
        (prefix, "") => prefix.into(),
        (prefix, path) => format!("{prefix}/{path}").into(),
    }
}

impl Findings<'_> {
    fn bug(&mut self, at: impl Into<String>, detail: impl Into<String>) {
        self.diags.push(Diag::new(Code::Bug, at, detail));
    }

    fn limit(&mut self, at: impl Into<String>, detail: impl Into<String>) {
        self.diags.push(Diag::new(Code::LimitExceeded, at, detail));
    }

    fn graph(&mut self, graph: &Graph, prefix: &str, depth: usize) {
        if depth > DEPTH_MAX {
            return self.limit(prefix, format!("graphs are nested over {DEPTH_MAX} deep"));
        }
        let counts = [graph.nodes.len(), graph.params.len(), graph.inputs.len(), graph.outputs.len()];
        if counts.iter().any(|&count| count > NODES_MAX) {
            return self.limit(prefix, format!("more than {NODES_MAX} nodes, params, inputs or outputs"));
        }
        self.names(graph, prefix);
        let mut defined = vec![false; graph.value_count()];
        for input in &graph.inputs {
            self.define(&mut defined, input.value, &join(prefix, &input.name));
        }
        for param in &graph.params {
            let name = param.name();
            let at = join(prefix, &name);
            self.define(&mut defined, param.value, &at);
            self.tensor(&param.tensor, &at);
            let ty = graph.types.get(param.value.0 as usize);
            if ty.is_some_and(|ty| *ty != param.tensor.ty()) {
                self.bug(at, format!("a param of {} whose value is {}", param.tensor.ty(), graph.ty(param.value)));
            }
        }
        for node in &graph.nodes {
            self.node(graph, node, &mut defined, prefix, depth);
        }
        for output in &graph.outputs {
            if !defined.get(output.value.0 as usize).copied().unwrap_or(false) {
                self.bug(join(prefix, &output.name), format!("the output %{} is never made", output.value.0));
            }
        }
        for (at, ty) in graph.types.iter().enumerate().filter(|(_, ty)| ty.rank() > RANK_MAX) {
            self.limit(prefix, format!("%{at} is {ty}: rank {} is above {RANK_MAX}", ty.rank()));
        }
        if let Some(at) = defined.iter().position(|&defined| !defined) {
            self.bug(prefix, format!("value %{at} belongs to nothing"));
        }
        self.unused(graph, prefix, depth);
    }

    fn names(&mut self, graph: &Graph, prefix: &str) {
        let inputs = graph.inputs.iter().map(|input| (input.name.as_str(), ""));
        let outputs = graph.outputs.iter().map(|output| (output.name.as_str(), ""));
        let params = graph.params.iter().map(|param| (param.role.as_str(), param.path.as_str()));
        let kinds: [(&str, Vec<(&str, &str)>); 3] =
            [("input", inputs.collect()), ("output", outputs.collect()), ("param", params.collect())];
        for (kind, names) in kinds {
            let mut seen = HashSet::new();
            for (name, path) in names {
                if !seen.insert((name, path)) {
                    let shown = if kind == "param" { format!("{name} of '{path}'") } else { name.to_owned() };
                    self.bug(join(prefix, &shown), format!("two {kind}s have this name"));
                }
            }
        }
    }

    fn define(&mut self, defined: &mut [bool], value: ValueId, at: &str) {
        match defined.get_mut(value.0 as usize) {
            None => self.bug(at, format!("%{} is beyond the graph's values", value.0)),
            Some(true) => self.bug(at, format!("%{} is defined twice", value.0)),
            Some(slot) => *slot = true,
        }
    }

    fn node(&mut self, graph: &Graph, node: &Node, defined: &mut [bool], prefix: &str, depth: usize) {
        let at = join(prefix, &node.path);
        let mut known = true;
        for value in node.inputs.iter().flatten() {
            if !defined.get(value.0 as usize).copied().unwrap_or(false) {
                self.bug(&*at, format!("{} uses %{} before it is defined", node.op.name(), value.0));
                known = false;
            }
        }
        let before = self.diags.len();
        self.inside(&node.op, &at, depth);
        // Inference reads bodies and tensors: it may only see whole ones.
        if known && !refused(&self.diags[before..]) {
            self.types(graph, node, &at);
        }
        for value in &node.outputs {
            self.define(defined, *value, &at);
        }
    }

    fn inside(&mut self, op: &Op, at: &str, depth: usize) {
        if let Op::Constant(constant) = op {
            self.tensor(&constant.tensor, at);
        }
        if let Op::Scan(scan) = op {
            self.graph(&scan.body, at, depth + 1);
        }
    }

    /// Inference says again what it said when the node was added.
    fn types(&mut self, graph: &Graph, node: &Node, at: &str) {
        let types: Vec<Option<&Type>> = node.inputs.iter().map(|value| value.map(|v| graph.ty(v))).collect();
        let mut ins = infer::Ins::new(types);
        match infer::infer(&node.op, &mut ins) {
            Err(misfit) => {
                self.diags.push(Diag::new(Code::TypeMismatch, at, format!("{}: {misfit}", node.op.name())));
            }
            Ok(types) => {
                let stored: Vec<Option<&Type>> =
                    node.outputs.iter().map(|value| graph.types.get(value.0 as usize)).collect();
                let same = types.len() == stored.len() && types.iter().zip(&stored).all(|(a, b)| Some(a) == *b);
                if !same {
                    let shown = |types: &[Option<&Type>]| {
                        types
                            .iter()
                            .map(|ty| ty.map_or("nothing".into(), Type::to_string))
                            .collect::<Vec<_>>()
                            .join(", ")
                    };
                    let inferred: Vec<Option<&Type>> = types.iter().map(Some).collect();
                    let detail = format!("{} gives {}, not {}", node.op.name(), shown(&inferred), shown(&stored));
                    self.bug(at, detail);
                }
            }
        }
    }

    fn tensor(&mut self, tensor: &Tensor, at: &str) {
        if let Err(detail) = check_tensor(tensor) {
            return self.bug(at, detail);
        }
        if let (Data::Region { file, offset, len }, Some(files)) = (&tensor.data, self.files) {
            let end = offset.checked_add(*len);
            let fault = match files.get(*file as usize) {
                None => Some(format!("file {file} of {}", files.len())),
                Some(&size) if end.is_none_or(|end| end > size) => {
                    Some(format!("bytes {offset}+{len} of file {file}, which has {size}"))
                }
                Some(_) => None,
            };
            if let Some(fault) = fault {
                self.diags.push(Diag::new(Code::Malformed, at, fault));
            }
        }
    }

    fn unused(&mut self, graph: &Graph, prefix: &str, depth: usize) {
        if graph.outputs.is_empty() {
            self.bug(prefix, "the graph has no outputs");
        }
        // Bodies get what the scan gives them, used or not.
        if depth > 0 || self.diags.iter().any(Diag::is_error) {
            return;
        }
        let uses = graph.use_counts();
        for input in graph.inputs.iter().filter(|input| uses[input.value.0 as usize] == 0) {
            let detail = "nothing depends on this input";
            self.diags.push(Diag::new(Code::OptionIgnored, &input.name, detail).note());
        }
    }
}

/// Each axis of `rank` once.
pub(super) fn is_permutation(axes: &[usize], rank: usize) -> bool {
    axes.len() == rank && (0..rank).all(|axis| axes.contains(&axis))
}

/// View and stored bytes agree; that a region lies inside of its file is for whoever knows the file.
pub fn check_tensor(tensor: &Tensor) -> Result<(), String> {
    if tensor.stored.len() > RANK_MAX || tensor.shape.len() > RANK_MAX {
        return Err(format!("rank {} of a tensor", tensor.stored.len().max(tensor.shape.len())));
    }
    if !is_permutation(&tensor.perm, tensor.stored.len()) {
        return Err(format!("axes {:?} of a tensor of rank {}", tensor.perm, tensor.stored.len()));
    }
    let count = |sizes: &[u64]| sizes.iter().try_fold(1u64, |product, &size| product.checked_mul(size));
    let elements = count(&tensor.stored).filter(|&n| count(&tensor.shape) == Some(n));
    let bytes = elements.and_then(|n| n.checked_mul(tensor.dtype.size() as u64));
    let bytes = bytes.ok_or_else(|| format!("{:?} stored, {:?} seen", tensor.stored, tensor.shape))?;
    let len = match &tensor.data {
        Data::Region { len, .. } => *len,
        Data::Inline(inline) if inline.len() > INLINE_BYTES_MAX => {
            return Err(format!("{} bytes inline, above {INLINE_BYTES_MAX}", inline.len()));
        }
        Data::Inline(inline) => inline.len() as u64,
    };
    if tensor.dtype != DType::Str && len != bytes {
        return Err(format!("{len} bytes for {bytes}"));
    }
    Ok(())
}

/// A graph that was validated and fits what a target declares: the only thing that a writer takes, and only made here.
#[derive(Debug, Clone, Copy)]
pub struct Admitted<'a> {
    graph: &'a Graph,
}

impl<'a> Admitted<'a> {
    pub fn graph(&self) -> &'a Graph {
        self.graph
    }
}

/// What a target can't be given, one finding for each layer and op, all of them; the graph's own errors where it has
/// any. Run it after the passes: layout and kernel order are theirs to settle.
pub fn admit<'a>(graph: &'a Graph, caps: &Caps, files: Option<&[u64]>) -> Result<Admitted<'a>, Vec<Diag>> {
    let own: Vec<Diag> = validate(graph, files).into_iter().filter(Diag::is_error).collect();
    if !own.is_empty() {
        return Err(own);
    }
    let mut border = Border { caps, ops: BTreeMap::new(), types: BTreeMap::new(), unsettled: Vec::new() };
    border.graph(graph, "");
    let found = border.findings();
    if found.is_empty() { Ok(Admitted { graph }) } else { Err(found) }
}

/// What lies beyond a target's capabilities.
struct Border<'a> {
    caps: &'a Caps,
    /// (layer path, op) to how often.
    ops: BTreeMap<(String, &'static str), usize>,
    /// (layer path, what is wrong with a type).
    types: BTreeMap<(String, String), BTreeSet<String>>,
    unsettled: Vec<Diag>,
}

impl Border<'_> {
    fn graph(&mut self, graph: &Graph, prefix: &str) {
        for input in &graph.inputs {
            self.ty(graph.ty(input.value), &join(prefix, &input.name));
        }
        for param in &graph.params {
            self.ty(graph.ty(param.value), &join(prefix, &param.path));
        }
        for node in graph.nodes() {
            let at = join(prefix, &node.path);
            if !self.caps.ops.iter().any(|name| name == node.op.name()) {
                *self.ops.entry((at.to_string(), node.op.name())).or_default() += 1;
            }
            self.layout(&node.op, &at);
            for value in &node.outputs {
                self.ty(graph.ty(*value), &at);
            }
            if let Op::Scan(scan) = &node.op {
                self.graph(&scan.body, &at);
            }
        }
    }

    fn ty(&mut self, ty: &Type, at: &str) {
        let mut add = |fact: String| {
            self.types.entry((at.into(), fact)).or_default().insert(ty.to_string());
        };
        if !self.caps.dtypes.is_empty() && !self.caps.dtypes.iter().any(|name| name == ty.dtype.as_str()) {
            add(format!("values of dtype {}", ty.dtype));
        }
        if self.caps.rank_max > 0 && ty.rank() > self.caps.rank_max as usize {
            add(format!("values of rank {} (at most {})", ty.rank(), self.caps.rank_max));
        }
    }

    fn layout(&mut self, op: &Op, at: &str) {
        let (layout, kernel) = if let Op::Conv(Conv { layout, kernel, .. }) = op {
            (*layout, Some(*kernel))
        } else if let Op::ConvTranspose(ConvTranspose { layout, kernel, .. }) = op {
            (*layout, Some(*kernel))
        } else if let Op::Pool(Pool { layout, .. }) = op {
            (*layout, None)
        } else {
            return;
        };
        let wanted = Layout::parse(&self.caps.layout);
        if wanted.is_some_and(|wanted| wanted != layout) {
            let detail = format!("{} is still {layout}; '{}' takes {}", op.name(), self.caps.target, self.caps.layout);
            self.unsettled.push(Diag::new(Code::Bug, at, detail));
        }
        let outer = |kernel: KernelOrder| match kernel {
            KernelOrder::Hwio | KernelOrder::Hwoi => KernelOrder::Hwio,
            KernelOrder::Oihw | KernelOrder::Iohw => KernelOrder::Oihw,
        };
        let wanted = KernelOrder::parse(&self.caps.kernel);
        if let (Some(wanted), Some(kernel)) = (wanted, kernel)
            && outer(wanted) != outer(kernel)
        {
            let detail = format!("{} has its kernel as {kernel}; '{}' takes {wanted}", op.name(), self.caps.target);
            self.unsettled.push(Diag::new(Code::Bug, at, detail));
        }
    }

    fn findings(self) -> Vec<Diag> {
        let target = &self.caps.target;
        let ops = self.ops.into_iter().map(|((at, op), count)| {
            let times = if count > 1 { format!(" ({count} times)") } else { String::new() };
            let detail = format!("target '{target}' does not write {op}{times}");
            match self.caps.lacks.iter().find(|lack| lack.op == op) {
                Some(lack) => {
                    Diag::new(Code::UnsupportedOp, at, format!("{detail}: {}", lack.why)).hint(lack.hint.as_str())
                }
                None => Diag::new(Code::UnsupportedOp, at, detail)
                    .hint("choose another target, or install a plugin that lowers this layer to ops that it writes"),
            }
        });
        let types = self.types.into_iter().map(|((at, fact), types)| {
            let shown: Vec<String> = types.into_iter().take(3).collect();
            let detail = format!("target '{target}' does not take {fact}: {}", shown.join("; "));
            Diag::new(Code::UnsupportedType, at, detail)
                .hint("choose another target, or change the layer's dtype or rank")
        });
        let mut found: Vec<Diag> = ops.chain(types).collect();
        found.extend(self.unsettled);
        found
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
