//! The way back, bounded and located: the first thing that is wrong, with its line.

use super::TEXT_BYTES_MAX;
use crate::diag::{Code, Diag};
use crate::ir::attr::Attr;
use crate::ir::dim::Dim;
use crate::ir::infer::{self, Ins};
use crate::ir::op::{Attrs, Op};
use crate::ir::types::{DType, Data, Tensor, Type};
use crate::ir::validate::{DEPTH_MAX, check_tensor};
use crate::ir::{Graph, Input, NODES_MAX, Node, Output, Param, RANK_MAX, ValueId};
use crate::parts::unhex;
use std::collections::HashMap;

/// Lists inside of lists.
const LIST_DEPTH_MAX: usize = 16;

pub fn parse(text: &str) -> Result<Graph, Diag> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Diag::new(Code::LimitExceeded, "text", format!("{} bytes, above {TEXT_BYTES_MAX}", text.len())));
    }
    let mut parser = Parser { text, at: 0, graphs: 0, lists: 0 };
    parser.expect("graph")?;
    let graph = parser.graph()?;
    parser.space();
    match parser.rest().is_empty() {
        true => Ok(graph),
        false => Err(parser.error("something follows the graph")),
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    graphs: usize,
    lists: usize,
}

/// The values of one graph while it is read, by the ids that the text gives them.
#[derive(Default)]
struct Values {
    types: HashMap<u32, Type>,
    /// Sizes that inference takes to be equal.
    equal: Vec<(Dim, Dim)>,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn error(&self, detail: impl Into<String>) -> Diag {
        let line = 1 + self.text[..self.at].matches('\n').count();
        Diag::new(Code::Malformed, format!("line {line}"), detail)
    }

    fn space(&mut self) {
        loop {
            let trimmed = self.rest().trim_start();
            self.at = self.text.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn peek(&mut self, token: &str) -> bool {
        self.space();
        self.rest().starts_with(token)
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.peek(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), Diag> {
        match self.eat(token) {
            true => Ok(()),
            false => Err(self.error(format!("'{token}' is missing before '{}'", self.shown()))),
        }
    }

    /// The next few characters, for errors.
    fn shown(&self) -> String {
        self.rest().chars().take(20).take_while(|&c| c != '\n').collect()
    }

    /// Everything up to a character that `ends` it.
    fn until(&mut self, ends: impl Fn(char) -> bool) -> &'t str {
        self.space();
        let rest = self.rest();
        let token = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += token.len();
        token
    }

    fn word(&mut self) -> Result<&'t str, Diag> {
        let word = self.until(|c| !c.is_ascii_alphanumeric() && c != '_');
        if word.is_empty() { Err(self.error(format!("a word is missing before '{}'", self.shown()))) } else { Ok(word) }
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T, Diag> {
        let digits = self.until(|c| !c.is_ascii_digit());
        digits.parse().map_err(|_| self.error(format!("'{digits}' is no number here")))
    }

    fn id(&mut self) -> Result<u32, Diag> {
        self.expect("%")?;
        let id: u32 = self.number()?;
        if id as usize >= 4 * NODES_MAX {
            return Err(self.error(format!("value %{id} is beyond {}", 4 * NODES_MAX)));
        }
        Ok(id)
    }

    fn string(&mut self) -> Result<String, Diag> {
        self.expect("\"")?;
        let mut text = String::new();
        let mut chars = self.rest().char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += at + 1;
                    return Ok(text);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, c @ ('"' | '\\'))) => text.push(c),
                    Some((_, 'u')) => {
                        let code: String = chars.by_ref().map(|(_, c)| c).take(12).take_while(|&c| c != '}').collect();
                        let code = code.strip_prefix('{').and_then(|hex| u32::from_str_radix(hex, 16).ok());
                        text.push(
                            code.and_then(char::from_u32).ok_or_else(|| self.error("a \\u{..} of no character"))?,
                        );
                    }
                    _ => return Err(self.error("an unknown escape in a string")),
                },
                c => text.push(c),
            }
        }
        Err(self.error("a string does not end"))
    }

    /// Between brackets, separated by commas.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T, Diag>) -> Result<Vec<T>, Diag> {
        self.expect("[")?;
        let mut items = Vec::new();
        while !self.eat("]") {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn dim(&mut self, ends: &[char]) -> Result<Dim, Diag> {
        let text = self.until(|c| ends.contains(&c));
        Dim::parse(text).ok_or_else(|| self.error(format!("'{text}' is no size")))
    }

    fn bracketed_dim(&mut self) -> Result<Dim, Diag> {
        self.expect("<")?;
        let dim = self.dim(&['>'])?;
        self.expect(">")?;
        Ok(dim)
    }

    fn ty(&mut self) -> Result<Type, Diag> {
        let word = self.word()?;
        let dtype = DType::parse(word).ok_or_else(|| self.error(format!("'{word}' is no dtype")))?;
        let shape = self.list(|parser| parser.dim(&[',', ']']))?;
        match shape.len() > RANK_MAX {
            true => Err(Diag { code: Code::LimitExceeded, ..self.error(format!("rank {}", shape.len())) }),
            false => Ok(Type::new(dtype, shape)),
        }
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Diag> {
        let hex = self.string()?;
        unhex(&hex).ok_or_else(|| self.error("the hex digits of a tensor"))
    }

    /// What follows a tensor's type.
    fn tensor(&mut self, ty: &Type) -> Result<Tensor, Diag> {
        let shape = ty.sizes().ok_or_else(|| self.error(format!("a tensor of {ty}")))?;
        let data = if self.eat("hex") {
            Data::Inline(self.bytes()?)
        } else {
            self.expect("file")?;
            let file = self.number()?;
            self.expect("at")?;
            let offset = self.number()?;
            self.expect("len")?;
            Data::Region { file, offset, len: self.number()? }
        };
        let mut tensor = Tensor::stored(ty.dtype, &shape, data);
        if self.eat("stored") {
            tensor.stored = self.list(Self::number)?;
            self.expect("perm")?;
            tensor.perm = self.list(Self::number)?;
        }
        check_tensor(&tensor).map_err(|detail| self.error(detail))?;
        Ok(tensor)
    }

    fn attr(&mut self) -> Result<Attr, Diag> {
        if self.peek("\"") {
            return self.string().map(Attr::Str);
        }
        if self.peek("<") {
            return self.bracketed_dim().map(Attr::Dim);
        }
        if self.peek("[") {
            self.lists += 1;
            if self.lists > LIST_DEPTH_MAX {
                return Err(Diag { code: Code::LimitExceeded, ..self.error("lists are nested too deep") });
            }
            let items = self.list(Self::attr)?;
            self.lists -= 1;
            return Ok(Attr::List(items));
        }
        let word = self.until(|c| !c.is_ascii_alphanumeric() && !"+-._".contains(c));
        Ok(match word {
            "none" => Attr::None,
            "true" => Attr::Bool(true),
            "false" => Attr::Bool(false),
            "tensor" => {
                let ty = self.ty()?;
                Attr::Tensor(self.tensor(&ty)?)
            }
            "graph" => Attr::Graph(Box::new(self.graph()?)),
            digits if digits.chars().all(|c| c.is_ascii_digit() || c == '-') => {
                Attr::Int(digits.parse().map_err(|_| self.error(format!("'{digits}' is no whole number")))?)
            }
            other => Attr::Float(other.parse().map_err(|_| self.error(format!("'{other}' is no attribute")))?),
        })
    }

    /// From the name on.
    fn graph(&mut self) -> Result<Graph, Diag> {
        self.graphs += 1;
        if self.graphs > DEPTH_MAX + 1 {
            return Err(Diag { code: Code::LimitExceeded, ..self.error("graphs are nested too deep") });
        }
        let mut graph = Graph::new(self.string()?);
        self.expect("{")?;
        let mut values = Values::default();
        while !self.eat("}") {
            self.item(&mut graph, &mut values)?;
        }
        self.graphs -= 1;
        for pair in values.equal {
            if !graph.equal.contains(&pair) {
                graph.equal.push(pair);
            }
        }
        for id in 0..values.types.len() as u32 {
            let ty = values.types.remove(&id).ok_or_else(|| self.error(format!("value %{id} is never defined")))?;
            graph.types.push(ty);
        }
        Ok(graph)
    }

    fn item(&mut self, graph: &mut Graph, values: &mut Values) -> Result<(), Diag> {
        if graph.nodes.len().max(graph.params.len()).max(graph.inputs.len()).max(graph.outputs.len()) > NODES_MAX {
            return Err(Diag { code: Code::LimitExceeded, ..self.error(format!("more than {NODES_MAX} nodes")) });
        }
        if self.peek("%") {
            return self.node(graph, values);
        }
        match self.word()? {
            "input" => {
                let (value, ty) = self.typed()?;
                self.expect("=")?;
                graph.inputs.push(Input { name: self.string()?, value });
                self.define(values, value, ty)
            }
            "param" => {
                let (value, ty) = self.typed()?;
                self.expect("=")?;
                let (path, role) = (self.string()?, self.string()?);
                let tensor = self.tensor(&ty)?;
                graph.params.push(Param { path, role, tensor, value });
                self.define(values, value, ty)
            }
            "equal" => {
                let a = self.bracketed_dim()?;
                self.expect("=")?;
                graph.equal.push((a, self.bracketed_dim()?));
                Ok(())
            }
            "output" => {
                let value = self.known(values)?;
                self.expect("=")?;
                graph.outputs.push(Output { name: self.string()?, value });
                Ok(())
            }
            other => Err(self.error(format!("'{other}' begins no line of a graph"))),
        }
    }

    fn typed(&mut self) -> Result<(ValueId, Type), Diag> {
        let id = self.id()?;
        self.expect(":")?;
        Ok((ValueId(id), self.ty()?))
    }

    fn define(&self, values: &mut Values, value: ValueId, ty: Type) -> Result<(), Diag> {
        match values.types.insert(value.0, ty) {
            None => Ok(()),
            Some(_) => Err(self.error(format!("value %{} is defined twice", value.0))),
        }
    }

    fn known(&mut self, values: &Values) -> Result<ValueId, Diag> {
        let id = self.id()?;
        match values.types.contains_key(&id) {
            true => Ok(ValueId(id)),
            false => Err(self.error(format!("value %{id} is used before it is defined"))),
        }
    }

    fn node(&mut self, graph: &mut Graph, values: &mut Values) -> Result<(), Diag> {
        let mut stated = vec![self.typed()?];
        while self.eat(",") {
            stated.push(self.typed()?);
        }
        self.expect("=")?;
        let name = self.word()?;
        self.expect("(")?;
        let mut inputs: Vec<Option<ValueId>> = Vec::new();
        while !self.eat(")") {
            if !inputs.is_empty() {
                self.expect(",")?;
            }
            inputs.push(if self.eat("-") { None } else { Some(self.known(values)?) });
        }
        let mut attrs = Attrs::new();
        while !self.eat("@") {
            let name = self.word()?;
            self.expect("=")?;
            attrs.push((name.to_string(), self.attr()?));
        }
        let path = self.string()?;
        let op = Op::from_attrs(name, attrs).map_err(|detail| self.error(detail))?;
        let mut ins = Ins::new(inputs.iter().map(|value| value.and_then(|v| values.types.get(&v.0))).collect());
        let op = infer::normalized(op, &ins);
        let types = infer::infer(&op, &mut ins)
            .map_err(|misfit| Diag { code: Code::TypeMismatch, ..self.error(format!("{}: {misfit}", op.name())) })?;
        let equal = ins.into_equal();
        if types.len() != stated.len() || types.iter().zip(&stated).any(|(ty, (_, stated))| ty != stated) {
            let shown: Vec<String> = types.iter().map(Type::to_string).collect();
            let detail = format!("{} gives {}", op.name(), shown.join(", "));
            return Err(Diag { code: Code::TypeMismatch, ..self.error(detail) });
        }
        values.equal.extend(equal);
        let outputs = stated.iter().map(|(value, _)| *value).collect();
        for (value, ty) in stated {
            self.define(values, value, ty)?;
        }
        graph.nodes.push(Node { op, inputs, outputs, path });
        Ok(())
    }
}
