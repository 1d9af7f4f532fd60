//! `Lambda`: Python code in a file, which is never read or run. What it computes may be said in the configuration:
//!
//! ```toml
//! [lambda."my_model:scale"]
//! expression = "x / 127.5 - 1"
//! ```
//!
//! | in an expression | means |
//! |---|---|
//! | `x`; `x0`, `x1`, .. | the input; the inputs of a layer that takes several |
//! | `1`, `0.5`, `1e-3`, `pi` | numbers |
//! | `a + b`, `a - b`, `a * b`, `a / b`, `a // b`, `a % b`, `a ** b`, `-a`, `( )` | as in Python, broadcast as by numpy |
//! | `abs exp expm1 log log1p sqrt square` | each element |
//! | `sin cos tanh sigmoid relu softplus sign floor ceil round` | each element |
//! | `maximum(a, b)`, `minimum(a, b)`, `clip(a, low, high)` | each element |
//! | `sum mean max min prod (a, axis=1, keepdims=True)` | over axes: a number, a list, or all but the batch's |
//! | `softmax(a, axis=-1)`, `l2_normalize(a, axis=-1)` | over one axis |
//! | `reshape(a, [..])`, `permute(a, [..])` | as the layers: without the batch, axes from 1 |
//! | `expand_dims(a, axis=-1)`, `squeeze(a, axis=-1)`, `concat(a, b, axis=-1)` | |

use crate::norm::l2_normalized;
use crate::policy::{as_float, one};
use crate::table::{Masks, Row};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::types::element_count;
use recast_plugin_api::ir::{
    BinaryFunction as B, Clip, Concat, Dim, ReduceFunction as R, Softmax, UnaryFunction as U, ValueId,
};
use recast_plugin_api::lower::{Lowering, Val, resolve_axis};

pub const ROWS: &[Row] = &[Row::new("Lambda", "core", Masks::Drop, lambda, "by an expression in the configuration")];

/// Longest expression, and deepest nesting, that is read.
const LENGTH_MAX: usize = 4096;
const DEPTH_MAX: usize = 64;

const SUPPLY: &str = "say what it computes (`[lambda.\"MODEL:LAYER\"] expression = \"..\"` in the configuration), or \
                      make it a registered layer and supply that class as a plugin: `recast plugins new`";

fn lambda(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let Some(text) = l.layer.expression.clone() else {
        let detail = format!("the Lambda layer '{}' holds Python code, which is never read or run", l.layer.name);
        return Err(l.error(Code::UnsafeCode, detail).hint(SUPPLY).into());
    };
    let parsed = parse(&text).map_err(|why| l.error(Code::BadConfig, format!("expression '{text}': {why}")))?;
    match compute(l, &parsed)? {
        Term::Value(value) => Ok(one(value)),
        Term::Number(_) => Err(l.error(Code::BadConfig, format!("expression '{text}': does not use x")).into()),
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Expr {
    Number(f64),
    Input(usize),
    Negative(Box<Expr>),
    Binary(B, Box<Expr>, Box<Expr>),
    Call(String, Vec<Expr>, Vec<(String, Vec<i64>)>),
    /// As an argument alone.
    List(Vec<i64>),
}

struct Parser<'t> {
    rest: &'t str,
    depth: usize,
}

fn parse(text: &str) -> Result<Expr, String> {
    if text.len() > LENGTH_MAX {
        return Err(format!("longer than {LENGTH_MAX} characters"));
    }
    let mut parser = Parser { rest: text, depth: 0 };
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
            let base = self.atom()?;
            // `**` binds tighter than a sign before it, looser than one behind it.
            if self.take("**") { Expr::Binary(B::Pow, Box::new(base), Box::new(self.signed()?)) } else { base }
        };
        self.depth -= 1;
        Ok(expr)
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
            Some("") => Ok(Expr::Input(0)),
            Some(number) if number.parse::<usize>().is_ok() => Ok(Expr::Input(number.parse().unwrap_or(0))),
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
            let mut ahead = Parser { rest: self.rest, depth: 0 };
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
        let number = self.number()?;
        let whole = (number.fract() == 0.0 && number < 1e12).then_some(number as i64);
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

#[derive(Debug, Clone, Copy)]
enum Term {
    Number(f64),
    Value(ValueId),
}

fn compute(l: &mut Lowering<'_>, expr: &Expr) -> Result<Term, Diag> {
    match expr {
        Expr::Number(number) => Ok(Term::Number(*number)),
        Expr::Input(index) => {
            let found = l.positional().get(*index).map(|input| input.value);
            let value = found.ok_or_else(|| wrong(l, format!("there is no input x{index}")))?;
            as_float(l, value).map(Term::Value)
        }
        Expr::Negative(inner) => match compute(l, inner)? {
            Term::Number(number) => Ok(Term::Number(-number)),
            Term::Value(value) => l.unary(U::Neg, value).map(Term::Value),
        },
        Expr::Binary(function, a, b) => {
            let (a, b) = (compute(l, a)?, compute(l, b)?);
            binary(l, *function, a, b)
        }
        Expr::Call(name, arguments, options) => call(l, name, arguments, options),
        Expr::List(_) => Err(wrong(l, "a list stands where a value should".into())),
    }
}

fn wrong(l: &Lowering<'_>, why: String) -> Diag {
    l.error(Code::BadConfig, format!("expression '{}': {why}", l.layer.expression.as_deref().unwrap_or("")))
}

fn binary(l: &mut Lowering<'_>, function: B, a: Term, b: Term) -> Result<Term, Diag> {
    let (a, b) = match (a, b) {
        (Term::Number(a), Term::Number(b)) => {
            let number = match function {
                B::Add => a + b,
                B::Sub => a - b,
                B::Mul => a * b,
                B::Div => a / b,
                B::FloorDiv => (a / b).floor(),
                B::Mod => a - b * (a / b).floor(),
                B::Max => a.max(b),
                B::Min => a.min(b),
                _ => a.powf(b),
            };
            return Ok(Term::Number(number));
        }
        (Term::Value(a), Term::Number(b)) => (a, l.scalar_like(a, b)?),
        (Term::Number(a), Term::Value(b)) => (l.scalar_like(b, a)?, b),
        (Term::Value(a), Term::Value(b)) => (a, b),
    };
    l.binary(function, a, b).map(Term::Value)
}

const UNARY: &[(&str, U)] = &[
    ("abs", U::Abs),
    ("ceil", U::Ceil),
    ("cos", U::Cos),
    ("exp", U::Exp),
    ("expm1", U::Expm1),
    ("floor", U::Floor),
    ("log", U::Log),
    ("log1p", U::Log1p),
    ("relu", U::Relu),
    ("round", U::Round),
    ("sigmoid", U::Sigmoid),
    ("sign", U::Sign),
    ("sin", U::Sin),
    ("softplus", U::Softplus),
    ("sqrt", U::Sqrt),
    ("square", U::Square),
    ("tanh", U::Tanh),
];

const REDUCTIONS: &[(&str, R)] =
    &[("max", R::Max), ("mean", R::Mean), ("min", R::Min), ("prod", R::Prod), ("sum", R::Sum)];

type Options = [(String, Vec<i64>)];

fn call(l: &mut Lowering<'_>, name: &str, arguments: &[Expr], options: &Options) -> Result<Term, Diag> {
    let known = |option: &String| matches!(option.as_str(), "axis" | "keepdims");
    if let Some((option, _)) = options.iter().find(|(option, _)| !known(option)) {
        return Err(wrong(l, format!("{name} has no option '{option}'")));
    }
    let first = arguments.first().ok_or_else(|| wrong(l, format!("{name} of nothing")))?;
    let first = compute(l, first)?;
    match (name, arguments) {
        ("maximum" | "minimum", [_, second]) => {
            let second = compute(l, second)?;
            return binary(l, if name == "maximum" { B::Max } else { B::Min }, first, second);
        }
        ("sqrt" | "exp" | "log", [_]) if matches!(first, Term::Number(_)) => {
            let Term::Number(number) = first else { return Ok(first) };
            let result = match name {
                "sqrt" => number.sqrt(),
                "exp" => number.exp(),
                _ => number.ln(),
            };
            return Ok(Term::Number(result));
        }
        _ => {}
    }
    let Term::Value(x) = first else { return Err(wrong(l, format!("{name} of a number"))) };
    of_tensor(l, name, x, &arguments[1..], options).map(Term::Value)
}

fn of_tensor(l: &mut Lowering<'_>, name: &str, x: ValueId, more: &[Expr], options: &Options) -> Result<ValueId, Diag> {
    if let ([], Some((_, function))) = (more, UNARY.iter().find(|(known, _)| *known == name)) {
        return l.unary(*function, x);
    }
    let rank = l.rank(x);
    if let ([], Some((_, function))) = (more, REDUCTIONS.iter().find(|(known, _)| *known == name)) {
        let axes = axes(l, options, rank)?.unwrap_or_else(|| (1..rank).collect());
        let keep = options.iter().any(|(option, value)| option == "keepdims" && value == &[1]);
        return l.reduce(*function, x, &axes, keep);
    }
    let axis = |l: &Lowering<'_>, rank: usize| match axes(l, options, rank)?.as_deref() {
        None => rank.checked_sub(1).ok_or_else(|| wrong(l, format!("{name} of a scalar"))),
        Some([axis]) => Ok(*axis),
        Some(_) => Err(wrong(l, format!("{name} takes one axis"))),
    };
    match (name, more) {
        ("softmax", []) => {
            let axes = vec![axis(l, rank)?];
            l.add(Softmax { axes }, &[x])
        }
        ("l2_normalize", []) => {
            let axis = axis(l, rank)?;
            l2_normalized(l, x, &[axis], 1e-12)
        }
        ("clip", [Expr::Number(low), Expr::Number(high)]) if low <= high => {
            l.add(Clip { min: Some(*low), max: Some(*high) }, &[x])
        }
        ("expand_dims", []) => {
            let axis = axis(l, rank + 1)?;
            l.expand(x, axis)
        }
        ("squeeze", []) => {
            let axis = axis(l, rank)?;
            l.squeeze(x, axis)
        }
        ("concat", more) if !more.is_empty() => {
            let axis = axis(l, rank)?;
            let mut values = vec![x];
            for expr in more {
                match compute(l, expr)? {
                    Term::Value(value) => values.push(value),
                    Term::Number(_) => return Err(wrong(l, "concat of a number".into())),
                }
            }
            l.add(Concat { axis }, &values)
        }
        ("reshape", [Expr::List(sizes)]) => reshaped(l, x, sizes),
        ("permute", [Expr::List(order)]) => {
            let rest = order.iter().map(|&axis| usize::try_from(axis).unwrap_or(0));
            let perm: Vec<usize> = std::iter::once(0).chain(rest).collect();
            l.transpose(x, &perm)
        }
        _ => Err(wrong(l, format!("{name} is not known with these arguments"))),
    }
}

fn axes(l: &Lowering<'_>, options: &Options, rank: usize) -> Result<Option<Vec<usize>>, Diag> {
    let Some((_, given)) = options.iter().find(|(option, _)| option == "axis") else { return Ok(None) };
    let resolved: Option<Vec<usize>> = given.iter().map(|&axis| resolve_axis(axis, rank)).collect();
    let mut axes = resolved.ok_or_else(|| wrong(l, format!("axis {given:?} of rank {rank}")))?;
    axes.sort_unstable();
    axes.dedup();
    Ok(Some(axes))
}

/// `sizes` without the batch; one may be -1.
fn reshaped(l: &mut Lowering<'_>, x: ValueId, sizes: &[i64]) -> Result<ValueId, Diag> {
    let shape = l.shape(x);
    let batch = shape.first().cloned().ok_or_else(|| wrong(l, "reshape of a scalar".into()))?;
    let known: u64 = sizes.iter().filter_map(|&size| u64::try_from(size).ok()).product();
    let free = sizes.iter().filter(|&&size| size == -1).count();
    if free > 1 || sizes.iter().any(|&size| size < -1 || size == 0) {
        return Err(wrong(l, format!("reshape to {sizes:?}")));
    }
    let rest = element_count(&shape[1..]).exact_div(&Dim::Known(known));
    let rest = rest.ok_or_else(|| wrong(l, format!("reshape to {sizes:?} of {}", l.ty(x))))?;
    let size = |&size: &i64| u64::try_from(size).map_or_else(|_| rest.clone(), Dim::Known);
    l.reshape(x, std::iter::once(batch).chain(sizes.iter().map(size)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        fn show(expr: &Expr) -> String {
            match expr {
                Expr::Number(number) => number.to_string(),
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
        parse(text).map_or_else(|why| format!("error: {why}"), |expr| show(&expr))
    }

    #[test]
    fn expressions_bind_as_in_python() {
        let table = [
            ("x / 127.5 - 1", "((x0 div 127.5) sub 1)"),
            ("-x ** 2", "-(x0 pow 2)"),
            ("2 ** -x1 * 3", "((2 pow -x1) mul 3)"),
            ("x - 1 - 2", "((x0 sub 1) sub 2)"),
            ("mean(x, axis=[1, -1], keepdims=True)", r#"mean(x0[("axis", [1, -1]), ("keepdims", [1])])"#),
            ("reshape(x, [3, -1])", "reshape(x0,[3, -1][])"),
            ("1.5e-3*x//2", "((0.0015 mul x0) floor_div 2)"),
        ];
        for (text, want) in table {
            assert_eq!(shown(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_with_the_place() {
        let deep = "(".repeat(200);
        for text in ["", "x +", "y * 2", "x x", "import os", "f(x", "x ** ", "1..2", "x.shape", deep.as_str()] {
            assert!(shown(text).starts_with("error: "), "{text}: {}", shown(text));
        }
    }
}
