//! A reader of the Python that `model.py` is written in: classes, attributes that `__init__` sets, and what `forward`
//! does, as a sequence of uses and calls in the order in which Python evaluates them. Knows nothing of the writer.

use std::collections::BTreeMap;

/// Nesting of brackets that is still read.
const DEPTH_MAX: usize = 64;

#[derive(Debug, Clone, Default)]
pub struct Class {
    /// `self.NAME = KIND(arguments)`
    pub attributes: BTreeMap<String, Made>,
    pub events: Vec<Event>,
}

/// What an attribute is made by.
#[derive(Debug, Clone, Default)]
pub struct Made {
    pub kind: String,
    /// As text: by position, then by name.
    pub positional: Vec<String>,
    pub named: BTreeMap<String, String>,
}

/// One step of `forward`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An attribute of the module, called or handed on: `self.encoder.dense`.
    Use(Vec<String>),
    /// A function, a `.method`, an operator, or `[]`.
    Call(String),
}

pub fn classes(text: &str) -> Result<BTreeMap<String, Class>, String> {
    let mut found: BTreeMap<String, Class> = BTreeMap::new();
    let mut class: Option<String> = None;
    let mut function = String::new();
    for line in logical_lines(text) {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        if indent == 0 {
            class = line.strip_prefix("class ").and_then(|rest| rest.split(['(', ':']).next()).map(str::to_string);
            function.clear();
            if let Some(name) = &class
                && found.insert(name.clone(), Class::default()).is_some()
            {
                return Err(format!("two classes {name}"));
            }
        } else if let Some(rest) = line.strip_prefix("def ") {
            function = rest.split('(').next().unwrap_or("").to_string();
        } else if let Some(class) = class.as_ref().and_then(|name| found.get_mut(name)) {
            match function.as_str() {
                "__init__" => attribute(line, class)?,
                "forward" => statement(line, &mut class.events)?,
                _ => {}
            }
        }
    }
    Ok(found)
}

/// Lines joined where a bracket is open; comments and docstrings left out.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = 0usize;
    let mut current = String::new();
    let mut docstring = false;
    for line in text.lines() {
        let quotes = line.matches("\"\"\"").count();
        if docstring || quotes > 0 {
            docstring = if docstring { quotes == 0 } else { quotes == 1 };
            continue;
        }
        let code = without_comment(line);
        if code.trim().is_empty() {
            continue;
        }
        if open == 0 {
            current.clear();
            current.push_str(code.trim_end());
        } else {
            current.push_str(code.trim());
            current.push(' ');
        }
        let mut quoted = false;
        for c in code.chars() {
            match c {
                '"' => quoted = !quoted,
                '(' | '[' | '{' if !quoted => open += 1,
                ')' | ']' | '}' if !quoted => open = open.saturating_sub(1),
                _ => {}
            }
        }
        if open == 0 {
            lines.push(current.clone());
        }
    }
    lines
}

fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted => return &line[..at],
            _ => {}
        }
    }
    line
}

fn attribute(line: &str, class: &mut Class) -> Result<(), String> {
    let Some(rest) = line.strip_prefix("self.") else { return Ok(()) };
    if let Some(arguments) = rest.strip_prefix("register_buffer(").and_then(|rest| rest.strip_suffix(')')) {
        let parts = split(arguments);
        let name = parts.first().map(|name| name.trim_matches('"').to_string()).unwrap_or_default();
        class.attributes.insert(name, Made { kind: "buffer".into(), positional: parts, ..Made::default() });
        return Ok(());
    }
    let Some((name, value)) = rest.split_once(" = ") else { return Ok(()) };
    if name.contains('.') {
        return Ok(());
    }
    // A long one stands in brackets of its own.
    let value = value.strip_prefix('(').and_then(|value| value.trim().strip_suffix(')')).unwrap_or(value).trim();
    // What is no call is a number or a function that a helper keeps.
    let Some((kind, arguments)) = value.split_once('(') else { return Ok(()) };
    let Some(arguments) = arguments.trim().strip_suffix(')') else { return Ok(()) };
    let mut made = Made { kind: kind.into(), ..Made::default() };
    for part in split(arguments) {
        match part.split_once('=').filter(|(name, _)| name.chars().all(|c| c.is_alphanumeric() || c == '_')) {
            Some((name, value)) => {
                made.named.insert(name.into(), value.into());
            }
            None => made.positional.push(part),
        }
    }
    class.attributes.insert(name.into(), made);
    Ok(())
}

/// Arguments, at commas outside of brackets.
pub fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut open = 0usize;
    for c in text.chars() {
        match c {
            ',' if open == 0 => {
                parts.push(String::new());
                continue;
            }
            '(' | '[' => open += 1,
            ')' | ']' => open = open.saturating_sub(1),
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    let parts = parts.into_iter().map(|part| part.trim().to_string());
    parts.filter(|part| !part.is_empty()).collect()
}

fn statement(line: &str, events: &mut Vec<Event>) -> Result<(), String> {
    let value = if let Some(value) = line.strip_prefix("return ") {
        value
    } else if line.starts_with("for ") {
        return Ok(());
    } else if let Some((targets, value)) = line.split_once(" = ").filter(|(targets, _)| !targets.contains('.')) {
        let plain = |c: char| c.is_alphanumeric() || "_, ()".contains(c);
        if !targets.chars().all(plain) {
            return Err(format!("assigns to '{targets}'"));
        }
        value
    } else {
        line
    };
    let mut reader = Reader { rest: value, events, depth: 0 };
    reader.list("")?;
    if reader.rest.is_empty() { Ok(()) } else { Err(format!("'{line}' is not understood at '{}'", reader.rest)) }
}

struct Reader<'t, 'e> {
    rest: &'t str,
    events: &'e mut Vec<Event>,
    depth: usize,
}

/// Operators and how tightly they bind; longer ones come first.
const OPERATORS: &[(&str, u8)] = &[
    ("//", 6),
    ("==", 2),
    ("!=", 2),
    ("<=", 2),
    (">=", 2),
    ("**", 8),
    ("+", 5),
    ("-", 5),
    ("*", 6),
    ("/", 6),
    ("%", 6),
    ("@", 6),
    ("&", 4),
    ("|", 3),
    ("<", 2),
    (">", 2),
];

impl Reader<'_, '_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Expressions with commas (and the colons of slices) between them, up to `end`.
    fn list(&mut self, end: &str) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("brackets nested too deep".into());
        }
        loop {
            self.skip();
            if self.rest.is_empty() || (!end.is_empty() && self.rest.starts_with(end)) {
                break;
            }
            if self.eat(",") || self.eat(":") {
                continue;
            }
            self.argument_name();
            self.expression(0)?;
        }
        self.depth -= 1;
        if end.is_empty() || self.eat(end) { Ok(()) } else { Err(format!("no '{end}'")) }
    }

    fn argument_name(&mut self) {
        let name: usize = self.rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').map(char::len_utf8).sum();
        let behind = &self.rest[name..];
        if name > 0 && behind.starts_with('=') && !behind.starts_with("==") {
            self.rest = &behind[1..];
        }
    }

    /// Operands and operators that bind tighter than `least`; an operator is noted behind its right operand.
    fn expression(&mut self, least: u8) -> Result<(), String> {
        self.operand()?;
        loop {
            self.skip();
            let found = OPERATORS.iter().find(|(operator, _)| self.rest.starts_with(operator));
            let Some((operator, binds)) = found.filter(|(_, binds)| *binds > least) else { return Ok(()) };
            self.rest = &self.rest[operator.len()..];
            self.expression(*binds)?;
            self.events.push(Event::Call(operator.to_string()));
        }
    }

    fn operand(&mut self) -> Result<(), String> {
        self.skip();
        while self.eat("-") || self.eat("~") {}
        if self.rest.starts_with("lambda ") {
            let body = self.rest.split_once(':').map_or("", |(_, body)| body);
            self.rest = body;
            return self.expression(0);
        }
        let mut path: Vec<String> = Vec::new();
        if self.eat("(") {
            self.list(")")?;
        } else if self.eat("[") {
            self.list("]")?;
        } else if self.eat("\"") {
            let (_, rest) = self.rest.split_once('"').ok_or("a text without end")?;
            self.rest = rest;
        } else {
            path = self.name()?.split('.').map(str::to_string).collect();
        }
        self.postfix(path)
    }

    /// A dotted name or a number.
    fn name(&mut self) -> Result<String, String> {
        self.skip();
        let numeric = self.rest.starts_with(|c: char| c.is_ascii_digit());
        let mut end = 0;
        let mut before = ' ';
        for c in self.rest.chars() {
            let exponent = numeric && (c == '-' || c == '+') && before == 'e';
            if !(c.is_alphanumeric() || c == '_' || c == '.' || exponent) {
                break;
            }
            before = c;
            end += c.len_utf8();
        }
        if end == 0 {
            return Err(format!("'{}' is no expression", self.rest));
        }
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(name.into())
    }

    fn postfix(&mut self, path: Vec<String>) -> Result<(), String> {
        let mut own = path.first().is_some_and(|first| first == "self");
        let mut pending = (!path.is_empty()).then_some(path);
        loop {
            if self.rest.starts_with('(') {
                self.eat("(");
                self.list(")")?;
                match pending.take() {
                    Some(path) if own => self.uses(path),
                    Some(path) => self.called(path),
                    None => {}
                }
            } else if self.rest.starts_with('[') {
                self.eat("[");
                if let Some(path) = pending.take()
                    && own
                {
                    self.uses(path);
                }
                self.list("]")?;
                self.events.push(Event::Call("[]".into()));
            } else if self.rest.starts_with('.') {
                self.eat(".");
                let name = self.name()?;
                // Of what came before, which is no attribute of the module any more.
                own = false;
                pending = Some(vec![String::new(), name]);
            } else {
                break;
            }
        }
        if let Some(path) = pending
            && own
        {
            self.uses(path);
        }
        Ok(())
    }

    fn uses(&mut self, path: Vec<String>) {
        self.events.push(Event::Use(path[1..].to_vec()));
    }

    /// `torch.sum` and `F.relu` are functions; `x.mean` is a method of a variable.
    fn called(&mut self, path: Vec<String>) {
        let name = match &path[..] {
            [one] => one.clone(),
            [base, rest @ ..] if matches!(base.as_str(), "torch" | "F" | "nn" | "math") => {
                format!("{base}.{}", rest.join("."))
            }
            [.., last] => format!(".{last}"),
            [] => return,
        };
        self.events.push(Event::Call(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_come_in_the_order_of_evaluation() {
        let mut events = Vec::new();
        statement("x = F.relu(self.bn(self.conv(F.pad(x, (0, 1)))).transpose(1, 2) + 1e-05, dim=2)", &mut events)
            .unwrap();
        let call = |name: &str| Event::Call(name.into());
        let uses = |name: &str| Event::Use(vec![name.into()]);
        assert_eq!(events, [call("F.pad"), uses("conv"), uses("bn"), call(".transpose"), call("+"), call("F.relu")]);
        assert!(statement("x = (1, 2", &mut events).is_err());
    }

    #[test]
    fn attributes_have_kinds_and_arguments() {
        let text = [
            "class A(nn.Module):",
            "    def __init__(self):",
            "        self.a = nn.Conv2d(",
            "            3, 4, (1, 3), bias=False",
            "        )",
        ]
        .join("\n");
        let made = classes(&text).unwrap()["A"].attributes["a"].clone();
        assert_eq!(
            (made.kind.as_str(), made.positional, made.named["bias"].as_str()),
            ("nn.Conv2d", vec!["3".into(), "4".into(), "(1, 3)".into()], "False")
        );
    }
}
