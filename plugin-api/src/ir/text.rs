//! The canonical text of a graph: one line for each input, param, node and output, in the order in which the graph has
//! them. What is printed parses to an equal graph.
//!
//! ```text
//! graph "mlp" {
//!   input %0: f32[batch, 784] = "x"
//!   param %1: f32[784, 128] = "dense" "kernel" file 0 at 4096 len 401408
//!   %2: f32[batch, 128] = matmul(%0, %1) @ "dense"
//!   %3: f32[batch, 128] = unary(%2) function="relu" @ "dense"
//!   equal <time> = <steps>
//!   output %3 = "y"
//! }
//! ```
//! - Absent inputs are `-`. Attributes are `none`, `true`, `12`, `0.5` (floats have a point, an exponent, or are `inf`
//!   or `NaN`), `"text"`, `<2*time+1>` for sizes, `[lists]`, `tensor f32[2] hex "0000803f00000040"`, `graph "body" {}`.
//! - Tensors are `file F at OFFSET len BYTES` or `hex "BYTES"`, followed by `stored [SIZES] perm [AXES]` where the view
//!   is not what is stored.
//! - `#` begins a comment. White space and line ends separate words and mean nothing else.

mod parse;

use super::attr::Attr;
use super::types::{Data, Tensor};
use super::{Graph, Node, ValueId};
use crate::diag::Diag;
use std::fmt::{self, Write};

/// Text longer than this is not parsed.
pub const TEXT_BYTES_MAX: usize = 256 << 20;

impl Graph {
    /// The canonical text.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing into a String can't fail.
        let _ = print(self, 0, &mut text);
        text.push('\n');
        text
    }

    /// Parses what `to_text` prints; every type that the text states is checked against inference.
    pub fn parse_text(text: &str) -> Result<Graph, Diag> {
        parse::parse(text)
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

fn print(graph: &Graph, depth: usize, out: &mut String) -> fmt::Result {
    let indent = "  ".repeat(depth + 1);
    writeln!(out, "graph {} {{", quoted(&graph.name))?;
    for input in &graph.inputs {
        let (id, ty) = (input.value.0, graph.ty(input.value));
        writeln!(out, "{indent}input %{id}: {ty} = {}", quoted(&input.name))?;
    }
    for param in &graph.params {
        let (path, role) = (quoted(&param.path), quoted(&param.role));
        write!(out, "{indent}param %{}: {} = {path} {role} ", param.value.0, graph.ty(param.value))?;
        print_tensor(&param.tensor, out)?;
        out.push('\n');
    }
    for node in graph.nodes() {
        out.push_str(&indent);
        print_node(graph, node, depth, out)?;
        out.push('\n');
    }
    for (a, b) in &graph.equal {
        writeln!(out, "{indent}equal <{a}> = <{b}>")?;
    }
    for output in &graph.outputs {
        writeln!(out, "{indent}output %{} = {}", output.value.0, quoted(&output.name))?;
    }
    write!(out, "{}}}", "  ".repeat(depth))
}

fn print_node(graph: &Graph, node: &Node, depth: usize, out: &mut String) -> fmt::Result {
    let made = |value: &ValueId| format!("%{}: {}", value.0, graph.ty(*value));
    let outputs: Vec<String> = node.outputs.iter().map(made).collect();
    let used = |value: &Option<ValueId>| value.map_or("-".into(), |value| format!("%{}", value.0));
    let inputs: Vec<String> = node.inputs.iter().map(used).collect();
    write!(out, "{} = {}({})", outputs.join(", "), node.op.name(), inputs.join(", "))?;
    for (name, attr) in node.op.attrs() {
        write!(out, " {name}=")?;
        print_attr(&attr, depth, out)?;
    }
    write!(out, " @ {}", quoted(&node.path))
}

/// As in the text of a graph.
impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        print_attr(self, 0, &mut text)?;
        f.write_str(&text)
    }
}

fn print_attr(attr: &Attr, depth: usize, out: &mut String) -> fmt::Result {
    match attr {
        Attr::None => out.write_str("none"),
        Attr::Bool(value) => write!(out, "{value}"),
        Attr::Int(value) => write!(out, "{value}"),
        // The shortest text that reads back to the same bits.
        Attr::Float(value) => write!(out, "{value:?}"),
        Attr::Str(value) => out.write_str(&quoted(value)),
        Attr::Dim(dim) => write!(out, "<{dim}>"),
        Attr::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                print_attr(item, depth, out)?;
            }
            out.write_char(']')
        }
        Attr::Tensor(tensor) => {
            write!(out, "tensor {} ", tensor.ty())?;
            print_tensor(tensor, out)
        }
        Attr::Graph(graph) => print(graph, depth + 1, out),
    }
}

fn print_tensor(tensor: &Tensor, out: &mut String) -> fmt::Result {
    match &tensor.data {
        Data::Region { file, offset, len } => write!(out, "file {file} at {offset} len {len}")?,
        Data::Inline(bytes) => {
            out.push_str("hex \"");
            bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
            out.push('"');
        }
    }
    if !tensor.is_plain() || tensor.stored != tensor.shape {
        write!(out, " stored {:?} perm {:?}", tensor.stored, tensor.perm)?;
    }
    Ok(())
}

/// A string as it is printed and parsed.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests;
