//! The text of an expression, read.

use crate::ops::Index;
use recast_plugin_api::ir::BinaryFunction as B;
use std::collections::BTreeMap;

/// Longest expression, and deepest nesting, that is read.
const LENGTH_MAX: usize = 4096;
const DEPTH_MAX: usize = 64;

/// Numbers that an expression may use by name.
pub type Parameters = BTreeMap<String, f64>;

#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    Number(f64),
    /// `x`: the first input, in an expression found by its code the only one.
    Only,
    /// `x0`, `x1`, ..: one of several inputs.
    Input(usize),
    Negative(Box<Expr>),
    Binary(B, Box<Expr>, Box<Expr>),
    Call(String, Vec<Expr>, Vec<(String, Vec<i64>)>),
    Indexed(Box<Expr>, Vec<Index>),
    /// As an argument alone.
    List(Vec<i64>),
}

impl Expr {
    /// Every input is cast to float32 before anything else.
    pub fn casts_inputs(&self) -> bool {
        match self {
            Expr::Number(_) | Expr::List(_) => true,
            Expr::Only | Expr::Input(_) => false,
            Expr::Call(name, arguments, _) if name == "float32" => {
                arguments.iter().all(|argument| matches!(argument, Expr::Only | Expr::Input(_)))
            }
            Expr::Negative(inner) | Expr::Indexed(inner, _) => inner.casts_inputs(),
            Expr::Binary(_, a, b) => a.casts_inputs() && b.casts_inputs(),
            Expr::Call(_, arguments, _) => arguments.iter().all(Expr::casts_inputs),
        }
    }

    /// How many inputs it takes when it uses each: one for `x`, the highest of `x0`, `x1`, .. and one.
    pub fn inputs(&self) -> usize {
        match self {
            Expr::Number(_) | Expr::List(_) => 0,
            Expr::Only => 1,
            Expr::Input(index) => index + 1,
            Expr::Negative(inner) | Expr::Indexed(inner, _) => inner.inputs(),
            Expr::Binary(_, a, b) => a.inputs().max(b.inputs()),
            Expr::Call(_, arguments, _) => arguments.iter().map(Expr::inputs).max().unwrap_or(0),
        }
    }
}

struct Parser<'t> {
    rest: &'t str,
    parameters: &'t Parameters,
    depth: usize,
}

pub fn parse(text: &str, parameters: &Parameters) -> Result<Expr, String> {
    if text.len() > LENGTH_MAX {
        return Err(format!("longer than {LENGTH_MAX} characters"));
    }
    let mut parser = Parser { rest: text, parameters, depth: 0 };
    let expr = parser.sum()?;
    match parser.peek() {
        None => Ok(expr),
        Some(_) => Err(format!("'{}' is not understood", parser.rest.trim())),
    }
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn take(&mut self, token: &str) -> bool {
        self.peek();
        let found = self.rest.strip_prefix(token);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) { Ok(()) } else { Err(format!("'{token}' is missing before '{}'", self.rest)) }
    }

    fn sum(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        let mut left = self.product()?;
        loop {
            let function = if self.take("+") {
                B::Add
            } else if self.take("-") {
                B::Sub
            } else {
                self.depth -= 1;
                return Ok(left);
            };
            left = Expr::Binary(function, Box::new(left), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Expr, String> {
        let mut left = self.signed()?;
        loop {
            let function = if self.take("//") {
                B::FloorDiv
            } else if self.take("/") {
                B::Div
            } else if self.take("*") {
                B::Mul
            } else if self.take("%") {
                B::Mod
            } else {
                return Ok(left);
            };
            left = Expr::Binary(function, Box::new(left), Box::new(self.signed()?));
        }
    }

    fn signed(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        let expr = if self.take("-") {
            Expr::Negative(Box::new(self.signed()?))
        } else {
            let base = self.indexed()?;
            // `**` binds tighter than a sign before it, looser than one behind it.
            if self.take("**") { Expr::Binary(B::Pow, Box::new(base), Box::new(self.signed()?)) } else { base }
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn indexed(&mut self) -> Result<Expr, String> {
        let mut expr = self.atom()?;
        while self.take("[") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(format!("nested deeper than {DEPTH_MAX}"));
            }
            expr = Expr::Indexed(Box::new(expr), self.indices()?);
        }
        Ok(expr)
    }

    /// What stands between brackets. The batch is never picked from.
    fn indices(&mut self) -> Result<Vec<Index>, String> {
        let mut indices = Vec::new();
        while !self.take("]") {
            if !indices.is_empty() {
                self.expect(",")?;
            }
            indices.push(if self.take("...") {
                Index::Ellipsis
            } else if self.take("None") {
                Index::New
            } else {
                self.index()?
            });
        }
        let whole = Index::Range { start: None, stop: None, step: 1 };
        match indices.first() {
            Some(first) if *first == whole || *first == Index::Ellipsis => Ok(indices),
            _ => Err("the first index is ':' or '...': the batch stays".into()),
        }
    }

    /// `2`, `1:`, `:3`, `::-1`.
    fn index(&mut self) -> Result<Index, String> {
        let mut bounds = [None; 3];
        let mut colons = 0;
        loop {
            if !matches!(self.peek(), Some(':' | ',' | ']')) {
                bounds[colons] = Some(self.integer()?);
            }
            if colons == 2 || !self.take(":") {
                break;
            }
            colons += 1;
        }
        match (colons, bounds) {
            (0, [Some(at), ..]) => Ok(Index::At(at)),
            (0, _) | (_, [_, _, Some(0)]) => Err(format!("an index is missing before '{}'", self.rest)),
            (_, [start, stop, step]) => Ok(Index::Range { start, stop, step: step.unwrap_or(1) }),
        }
    }

    fn atom(&mut self) -> Result<Expr, String> {
        match self.peek() {
            Some('(') => {
                self.expect("(")?;
                let inner = self.sum()?;
                self.expect(")")?;
                Ok(inner)
            }
            Some('[') => Ok(Expr::List(self.list()?)),
            Some(c) if c.is_ascii_digit() || c == '.' => self.number().map(Expr::Number),
            Some(c) if c.is_ascii_alphabetic() => self.named(),
            _ => Err(format!("a value is missing before '{}'", self.rest)),
        }
    }

    fn number(&mut self) -> Result<f64, String> {
        let bytes = self.rest.as_bytes();
        let mut end = 0;
        while end < bytes.len() {
            let exponent = end > 0 && matches!(bytes[end - 1], b'e' | b'E') && matches!(bytes[end], b'+' | b'-');
            if !(bytes[end].is_ascii_digit() || matches!(bytes[end], b'.' | b'e' | b'E') || exponent) {
                break;
            }
            end += 1;
        }
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| format!("'{text}' is no number"))
    }

    fn word(&mut self) -> &str {
        self.peek();
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn named(&mut self) -> Result<Expr, String> {
        let word = self.word().to_string();
        if self.take("(") {
            return self.call(word);
        }
        match word.strip_prefix('x') {
            Some("") => Ok(Expr::Only),
            Some(number) if number.parse::<usize>().is_ok() => Ok(Expr::Input(number.parse().unwrap_or(0))),
            _ if self.parameters.contains_key(&word) => Ok(Expr::Number(self.parameters[&word])),
            _ if word == "pi" => Ok(Expr::Number(std::f64::consts::PI)),
            _ => Err(format!("'{word}' is not known: the input is x")),
        }
    }

    fn call(&mut self, name: String) -> Result<Expr, String> {
        let (mut arguments, mut options) = (Vec::new(), Vec::new());
        while !self.take(")") {
            if !(arguments.is_empty() && options.is_empty()) {
                self.expect(",")?;
            }
            let mut ahead = Parser { rest: self.rest, parameters: self.parameters, depth: 0 };
            let option = ahead.word().to_string();
            if !option.is_empty() && ahead.take("=") {
                self.rest = ahead.rest;
                options.push((option, self.option()?));
            } else {
                arguments.push(self.sum()?);
            }
        }
        Ok(Expr::Call(name, arguments, options))
    }

    fn option(&mut self) -> Result<Vec<i64>, String> {
        if self.take("True") {
            return Ok(vec![1]);
        }
        if self.take("False") {
            return Ok(vec![0]);
        }
        if matches!(self.peek(), Some('[' | '(')) { self.list() } else { Ok(vec![self.integer()?]) }
    }

    fn integer(&mut self) -> Result<i64, String> {
        let negative = self.take("-");
        let number = match self.peek() {
            Some(c) if c.is_ascii_alphabetic() => {
                let word = self.word().to_string();
                *self.parameters.get(&word).ok_or_else(|| format!("'{word}' is not known"))?
            }
            _ => self.number()?,
        };
        let whole = (number.fract() == 0.0 && number.abs() < 1e12).then_some(number as i64);
        whole.map(|whole| if negative { -whole } else { whole }).ok_or_else(|| format!("{number} is no whole number"))
    }

    fn list(&mut self) -> Result<Vec<i64>, String> {
        let close = if self.take("[") { "]" } else { ")" };
        if close == ")" {
            self.expect("(")?;
        }
        let mut items = Vec::new();
        while !self.take(close) {
            if !items.is_empty() {
                self.expect(",")?;
                if self.take(close) {
                    break;
                }
            }
            items.push(self.integer()?);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        fn show(expr: &Expr) -> String {
            match expr {
                Expr::Number(number) => number.to_string(),
                Expr::Only => "x".into(),
                Expr::Indexed(inner, indices) => format!("{}{indices:?}", show(inner)),
                Expr::Input(index) => format!("x{index}"),
                Expr::Negative(inner) => format!("-{}", show(inner)),
                Expr::Binary(function, a, b) => format!("({} {function} {})", show(a), show(b)),
                Expr::Call(name, arguments, options) => {
                    let arguments: Vec<String> = arguments.iter().map(show).collect();
                    format!("{name}({}{options:?})", arguments.join(","))
                }
                Expr::List(items) => format!("{items:?}"),
            }
        }
        let parameters = BTreeMap::from([("scale".to_string(), 2.0)]);
        parse(text, &parameters).map_or_else(|why| format!("error: {why}"), |expr| show(&expr))
    }

    #[test]
    fn expressions_bind_as_in_python() {
        let table = [
            ("x / 127.5 - 1", "((x div 127.5) sub 1)"),
            ("-x ** 2", "-(x pow 2)"),
            ("2 ** -x1 * 3", "((2 pow -x1) mul 3)"),
            ("x - 1 - 2", "((x sub 1) sub 2)"),
            ("mean(x, axis=[1, -1], keepdims=True)", r#"mean(x[("axis", [1, -1]), ("keepdims", [1])])"#),
            ("reshape(x, [3, -1])", "reshape(x,[3, -1][])"),
            ("x0 * scale", "(x0 mul 2)"),
            ("x[..., scale]", "x[Ellipsis, At(2)]"),
            ("x[:, -1] ** 2", "(x[Range { start: None, stop: None, step: 1 }, At(-1)] pow 2)"),
            ("x[:, None]", "x[Range { start: None, stop: None, step: 1 }, New]"),
            ("x[..., 1::-2]", "x[Ellipsis, Range { start: Some(1), stop: None, step: -2 }]"),
            ("1.5e-3*x//2", "((0.0015 mul x) floor_div 2)"),
        ];
        for (text, want) in table {
            assert_eq!(shown(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_with_the_place() {
        let deep = "(".repeat(200);
        for text in [
            "",
            "x +",
            "y * 2",
            "x x",
            "import os",
            "f(x",
            "x ** ",
            "1..2",
            "x.shape",
            "x[0]",
            "x[:, ]",
            "x[:, ::0]",
            "x[",
            "x[:, k]",
            deep.as_str(),
        ] {
            assert!(shown(text).starts_with("error: "), "{text}: {}", shown(text));
        }
    }
}
