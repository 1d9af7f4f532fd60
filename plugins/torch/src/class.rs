//! What a module's text is made of, and what all modules of a file share.

use crate::names::{MODULE_ATTRIBUTES, Names, TAKEN};
use crate::py::{Arg, Py, Stmt, StmtKind, call, kw, tuple};
use crate::weights::Weight;
use recast_plugin_api::ir::{Dim, Shape};
use std::collections::{BTreeSet, HashMap};

/// One statement of `__init__`.
#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    /// `self.name = value`
    Module { name: String, value: Py },
    /// `self.register_buffer("name", value)`, or anything else that stands by itself.
    Line(String),
}

fn empty(shape: &[u64], dtype: &'static str) -> Py {
    let mut args: Vec<Arg> = match shape {
        [] => vec![tuple(Vec::<u64>::new()).into()],
        sizes => sizes.iter().map(|&size| Py::from(size).into()).collect(),
    };
    if dtype != "torch.float32" {
        args.push(kw("dtype", dtype));
    }
    call("torch.empty", args)
}

impl Kept {
    pub fn parameter(name: &str, shape: &[u64], dtype: &'static str, trained: bool) -> Kept {
        let mut args = vec![empty(shape, dtype).into()];
        if !trained {
            args.push(kw("requires_grad", false));
        }
        Kept::Module { name: name.into(), value: call("nn.Parameter", args) }
    }

    pub fn buffer(name: &str, shape: &[u64], dtype: &'static str) -> Kept {
        let name = Py::from(format!("\"{name}\""));
        let value = call("self.register_buffer", vec![name.into(), empty(shape, dtype).into()]);
        Kept::Module { name: String::new(), value }
    }

    pub fn lines(&self, indent: usize) -> Vec<String> {
        match self {
            Kept::Module { name, value } if name.is_empty() => crate::py::lay_out("", value, "", indent),
            Kept::Module { name, value } => crate::py::lay_out(&format!("self.{name} = "), value, "", indent),
            Kept::Line(text) => vec![format!("{}{text}", " ".repeat(indent))],
        }
    }
}

/// One `nn.Module` class on its way.
#[derive(Debug, Clone, Default)]
pub struct Class {
    pub name: String,
    /// The layer path of the model, with a `/` behind it unless it is the root.
    pub path: String,
    /// The attributes that lead from the root to it.
    pub prefix: Vec<String>,
    pub doc: Vec<String>,
    pub attributes: Names,
    pub kept: Vec<Kept>,
    /// `forward`'s arguments and their shapes.
    pub arguments: Vec<(String, Shape)>,
    /// Sizes read from arguments, by what they are.
    pub sizes: HashMap<Dim, String>,
    /// Variables that hold one value for the whole function, and names that are something else.
    pub fixed: Names,
    pub prologue: Vec<Stmt>,
    pub body: Vec<Stmt>,
}

impl Class {
    pub fn new(name: String, path: &str, prefix: Vec<String>) -> Class {
        Class {
            name,
            path: if path.is_empty() { String::new() } else { format!("{path}/") },
            prefix,
            attributes: Names::with(MODULE_ATTRIBUTES),
            fixed: Names::with(TAKEN),
            ..Class::default()
        }
    }

    /// The state_dict's key of an attribute.
    pub fn key(&self, name: &str) -> String {
        self.prefix.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".")
    }

    /// Everything but the name: two classes that are equal in it are one.
    pub fn content(&self) -> String {
        let arguments: Vec<&str> = self.arguments.iter().map(|(name, _)| name.as_str()).collect();
        format!("{:?} {:?} {:?} {:?} {:?}", self.doc, self.kept, arguments, self.prologue, self.body)
    }

    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("class {}(nn.Module):", self.name)];
        lines.extend(docstring(&self.doc));
        if !self.doc.is_empty() {
            lines.push(String::new());
        }
        lines.push("    def __init__(self):".into());
        lines.push("        super().__init__()".into());
        lines.extend(self.kept.iter().flat_map(|kept| kept.lines(8)));
        lines.push(String::new());
        let arguments: Vec<&str> = ["self"].into_iter().chain(self.arguments.iter().map(|(n, _)| n.as_str())).collect();
        lines.extend(signature(&arguments));
        lines.extend(self.prologue.iter().chain(&self.body).flat_map(|stmt| stmt.lines(8)));
        lines
    }
}

fn docstring(doc: &[String]) -> Vec<String> {
    match doc {
        [] => Vec::new(),
        [only] => vec![format!("    \"\"\"{only}\"\"\"")],
        [first, rest @ ..] => {
            let rest = rest.iter().map(|line| if line.is_empty() { String::new() } else { format!("    {line}") });
            let first = format!("    \"\"\"{first}");
            std::iter::once(first).chain(rest).chain(["    \"\"\"".to_string()]).collect()
        }
    }
}

fn signature(arguments: &[&str]) -> Vec<String> {
    let one = format!("    def forward({}):", arguments.join(", "));
    if one.len() <= crate::py::WIDTH {
        return vec![one];
    }
    let mut lines = vec!["    def forward(".to_string()];
    let all = format!("        {}", arguments.join(", "));
    if all.len() <= crate::py::WIDTH {
        lines.push(all);
    } else {
        lines.extend(arguments.iter().map(|name| format!("        {name},")));
    }
    lines.push("    ):".into());
    lines
}

/// A piece of Python that some ops need, kept in `helpers/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Helper {
    PadSame,
    AveragePool,
    PadEdges,
    Resize,
    Attention,
    Noise,
    RunSteps,
    LstmCell,
    GruCell,
    RnnCell,
}

impl Helper {
    pub fn text(self) -> &'static str {
        match self {
            Helper::PadSame => include_str!("helpers/pad_same.py"),
            Helper::AveragePool => include_str!("helpers/average_pool.py"),
            Helper::PadEdges => include_str!("helpers/pad_edges.py"),
            Helper::Resize => include_str!("helpers/resize.py"),
            Helper::Attention => include_str!("helpers/attention.py"),
            Helper::Noise => include_str!("helpers/noise.py"),
            Helper::RunSteps => include_str!("helpers/run_steps.py"),
            Helper::LstmCell => include_str!("helpers/lstm_cell.py"),
            Helper::GruCell => include_str!("helpers/gru_cell.py"),
            Helper::RnnCell => include_str!("helpers/rnn_cell.py"),
        }
    }
}

/// What is the same for all modules of a file.
#[derive(Default)]
pub struct Output {
    pub classes: Vec<Class>,
    pub class_names: Names,
    pub weights: Vec<Weight>,
    pub helpers: BTreeSet<Helper>,
    /// Where an attribute is, by what it holds: the module that owns it, its name there.
    attributes: HashMap<String, (Vec<String>, String)>,
}

/// A place to come back to.
pub struct Mark {
    classes: usize,
    weights: usize,
    helpers: BTreeSet<Helper>,
    class_names: Names,
    attributes: HashMap<String, (Vec<String>, String)>,
}

impl Output {
    /// The attribute that holds `key`, as it is said in the module that `prefix` leads to: its own, or that of a module
    /// inside it.
    pub fn attribute(&self, key: &str, prefix: &[String]) -> Option<Py> {
        let (owner, name) = self.attributes.get(key)?;
        let below = owner.strip_prefix(prefix)?;
        let start = Py::from("self");
        Some(below.iter().chain([name]).fold(start, |on, part| Py::Attr(Box::new(on), part.clone())))
    }

    pub fn remember(&mut self, key: String, prefix: &[String], name: &str) {
        self.attributes.insert(key, (prefix.to_vec(), name.into()));
    }

    pub fn mark(&self) -> Mark {
        Mark {
            classes: self.classes.len(),
            weights: self.weights.len(),
            helpers: self.helpers.clone(),
            class_names: self.class_names.clone(),
            attributes: self.attributes.clone(),
        }
    }

    pub fn back_to(&mut self, mark: Mark) {
        self.classes.truncate(mark.classes);
        self.weights.truncate(mark.weights);
        (self.helpers, self.class_names, self.attributes) = (mark.helpers, mark.class_names, mark.attributes);
    }
}

/// Does a class use a name of a library?
pub fn mentions(text: &str, name: &str) -> bool {
    let boundary = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.');
    text.match_indices(name).any(|(at, _)| boundary(text[..at].chars().next_back()))
}

/// `return` of a function.
pub fn returning(values: Vec<Py>) -> Stmt {
    let mut values = values;
    let value = if values.len() == 1 { values.remove(0) } else { Py::Tuple(values) };
    Stmt { depth: 0, kind: StmtKind::Return(value) }
}
