//! Python expressions and statements, laid out as `ruff format` leaves them (88 columns, double quotes).

/// Columns that a line may have.
pub const WIDTH: usize = 88;
pub const INDENT: usize = 4;

#[derive(Debug, Clone, PartialEq)]
pub enum Py {
    /// A name or a literal.
    Atom(String),
    Call(Box<Py>, Vec<Arg>),
    Attr(Box<Py>, String),
    Index(Box<Py>, Vec<Py>),
    /// start:stop:step of an index.
    Slice(Option<Box<Py>>, Option<Box<Py>>, Option<u64>),
    Binary(&'static str, Box<Py>, Box<Py>),
    Negative(Box<Py>),
    Tuple(Vec<Py>),
    List(Vec<Py>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Arg {
    pub name: Option<&'static str>,
    pub value: Py,
}

impl From<Py> for Arg {
    fn from(value: Py) -> Arg {
        Arg { name: None, value }
    }
}

pub fn kw(name: &'static str, value: impl Into<Py>) -> Arg {
    Arg { name: Some(name), value: value.into() }
}

impl From<&str> for Py {
    fn from(text: &str) -> Py {
        Py::Atom(text.into())
    }
}

impl From<String> for Py {
    fn from(text: String) -> Py {
        Py::Atom(text)
    }
}

impl From<u64> for Py {
    fn from(value: u64) -> Py {
        Py::Atom(value.to_string())
    }
}

impl From<usize> for Py {
    fn from(value: usize) -> Py {
        Py::Atom(value.to_string())
    }
}

impl From<i64> for Py {
    fn from(value: i64) -> Py {
        Py::Atom(value.to_string())
    }
}

impl From<f64> for Py {
    fn from(value: f64) -> Py {
        Py::Atom(float(value))
    }
}

impl From<bool> for Py {
    fn from(value: bool) -> Py {
        Py::Atom(if value { "True" } else { "False" }.into())
    }
}

/// A float literal that reads back as the same number.
pub fn float(value: f64) -> String {
    if value.is_nan() {
        "math.nan".into()
    } else if value.is_infinite() {
        if value > 0.0 { "math.inf" } else { "-math.inf" }.into()
    } else {
        format!("{value:?}")
    }
}

pub fn call(callee: &str, args: Vec<Arg>) -> Py {
    Py::Call(Box::new(callee.into()), args)
}

pub fn method(on: Py, name: &str, args: Vec<Arg>) -> Py {
    Py::Call(Box::new(Py::Attr(Box::new(on), name.into())), args)
}

pub fn binary(op: &'static str, a: Py, b: Py) -> Py {
    Py::Binary(op, Box::new(a), Box::new(b))
}

pub fn tuple<T: Into<Py>>(items: impl IntoIterator<Item = T>) -> Py {
    Py::Tuple(items.into_iter().map(Into::into).collect())
}

/// One number where all are equal, as `kernel_size=3`; else a tuple of them.
pub fn one_or_all(values: &[u64]) -> Py {
    match values {
        [first, rest @ ..] if rest.iter().all(|value| value == first) => (*first).into(),
        _ => tuple(values.iter().copied()),
    }
}

const POSTFIX: u8 = 9;

fn precedence(op: &str) -> u8 {
    match op {
        "*" | "/" | "//" | "@" | "%" => 6,
        "+" | "-" => 5,
        "&" => 4,
        "|" => 3,
        _ => 2,
    }
}

impl Py {
    fn precedence(&self) -> u8 {
        match self {
            Py::Atom(text) if text.starts_with('-') => 7,
            Py::Negative(_) => 7,
            Py::Binary(op, ..) => precedence(op),
            Py::Slice(..) => 1,
            Py::Atom(_) | Py::Call(..) | Py::Attr(..) | Py::Index(..) | Py::Tuple(_) | Py::List(_) => 10,
        }
    }

    fn within(&self, least: u8) -> String {
        if self.precedence() < least { format!("({})", self.inline()) } else { self.inline() }
    }

    /// A name or a number: what needs no spaces in a slice.
    fn is_simple(&self) -> bool {
        matches!(self, Py::Atom(text) if !text.contains('.'))
    }

    /// On one line.
    pub fn inline(&self) -> String {
        match self {
            Py::Atom(text) => text.clone(),
            Py::Call(callee, args) => format!("{}({})", callee.within(POSTFIX), args_inline(args)),
            Py::Attr(on, name) => format!("{}.{name}", on.within(POSTFIX)),
            Py::Index(on, items) => format!("{}[{}]", on.within(POSTFIX), joined(items)),
            Py::Slice(start, stop, step) => slice_inline(start.as_deref(), stop.as_deref(), *step),
            Py::Binary(op, a, b) => {
                let own = precedence(op);
                format!("{} {op} {}", a.within(own), b.within(own + 1))
            }
            Py::Negative(of) => format!("-{}", of.within(7)),
            Py::Tuple(items) => match &items[..] {
                [only] => format!("({},)", only.inline()),
                _ => format!("({})", joined(items)),
            },
            Py::List(items) => format!("[{}]", joined(items)),
        }
    }
}

fn joined(items: &[Py]) -> String {
    items.iter().map(Py::inline).collect::<Vec<_>>().join(", ")
}

fn args_inline(args: &[Arg]) -> String {
    args.iter().map(Arg::inline).collect::<Vec<_>>().join(", ")
}

fn slice_inline(start: Option<&Py>, stop: Option<&Py>, step: Option<u64>) -> String {
    let simple = start.is_none_or(Py::is_simple) && stop.is_none_or(Py::is_simple);
    let text = |part: Option<&Py>| part.map_or(String::new(), Py::inline);
    let mut slice = if simple {
        format!("{}:{}", text(start), text(stop))
    } else {
        format!("{} : {}", text(start), text(stop)).trim().to_string()
    };
    if let Some(step) = step.filter(|step| *step != 1) {
        slice = if simple { format!("{slice}:{step}") } else { format!("{slice} : {step}") };
    }
    slice
}

impl Arg {
    fn inline(&self) -> String {
        match self.name {
            Some(name) => format!("{name}={}", self.value.inline()),
            None => self.value.inline(),
        }
    }
}

/// `before` and the expression and `after`, from column `indent` on.
pub fn lay_out(before: &str, value: &Py, after: &str, indent: usize) -> Vec<String> {
    let pad = " ".repeat(indent);
    let whole = format!("{pad}{before}{}{after}", value.inline());
    if whole.len() <= WIDTH {
        return vec![whole];
    }
    match value {
        // Not even the function's name fits behind the target.
        Py::Call(callee, _)
            if after.is_empty() && before.ends_with("= ") && {
                indent + before.len() + callee.within(POSTFIX).len() + 1 > WIDTH
            } =>
        {
            let inner = lay_out("", value, "", indent + INDENT);
            let begin = std::iter::once(format!("{pad}{before}("));
            begin.chain(inner).chain([format!("{pad})")]).collect()
        }
        Py::Call(callee, args) if !args.is_empty() => {
            let head = format!("{pad}{before}{}(", callee.within(POSTFIX));
            let items: Vec<(String, &Py)> = args
                .iter()
                .map(|arg| (arg.name.map_or(String::new(), |name| format!("{name}=")), &arg.value))
                .collect();
            bracketed(head, &items, format!("{pad}){after}"), indent, Fill::OneLine)
        }
        Py::List(items) => {
            let items: Vec<(String, &Py)> = items.iter().map(|item| (String::new(), item)).collect();
            bracketed(format!("{pad}{before}["), &items, format!("{pad}]{after}"), indent, Fill::EachLine)
        }
        Py::Tuple(items) => {
            let items: Vec<(String, &Py)> = items.iter().map(|item| (String::new(), item)).collect();
            bracketed(format!("{pad}{before}("), &items, format!("{pad}){after}"), indent, Fill::EachLine)
        }
        Py::Binary(..) if after.is_empty() => {
            let inner = " ".repeat(indent + INDENT);
            let mut lines = vec![format!("{pad}{before}(")];
            let one = format!("{inner}{}", value.inline());
            if one.len() <= WIDTH {
                lines.push(one);
            } else {
                operands(value, &inner, &mut lines);
            }
            lines.push(format!("{pad})"));
            lines
        }
        _ => vec![whole],
    }
}

/// The operands of one level of precedence, each on a line that begins with its operator.
fn operands(value: &Py, pad: &str, lines: &mut Vec<String>) {
    if let Py::Binary(op, a, b) = value {
        let own = precedence(op);
        match &**a {
            Py::Binary(inner, ..) if precedence(inner) == own => operands(a, pad, lines),
            _ => lines.push(format!("{pad}{}", a.within(own))),
        }
        lines.push(format!("{pad}{op} {}", b.within(own + 1)));
    }
}

/// How what stands between brackets is broken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    /// All arguments of a call on one line, if they fit there.
    OneLine,
    /// One item a line.
    EachLine,
}

fn bracketed(head: String, items: &[(String, &Py)], tail: String, indent: usize, fill: Fill) -> Vec<String> {
    let inner = indent + INDENT;
    let texts: Vec<String> = items.iter().map(|(name, value)| format!("{name}{}", value.inline())).collect();
    let one = format!("{}{}", " ".repeat(inner), texts.join(", "));
    let mut lines = vec![head];
    if one.len() <= WIDTH && fill == Fill::OneLine {
        lines.push(one);
    } else {
        for (name, value) in items {
            lines.extend(lay_out(name, value, ",", inner));
        }
    }
    lines.push(tail);
    lines
}

/// One statement of a function.
#[derive(Debug, Clone, PartialEq)]
pub struct Stmt {
    /// Levels below the function's own.
    pub depth: usize,
    pub kind: StmtKind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StmtKind {
    /// `targets = value  # comment`
    Assign {
        targets: String,
        value: Py,
        comment: String,
    },
    /// As it stands.
    Line(String),
    Return(Py),
}

impl Stmt {
    pub fn lines(&self, indent: usize) -> Vec<String> {
        let indent = indent + self.depth * INDENT;
        let pad = " ".repeat(indent);
        match &self.kind {
            StmtKind::Line(text) => vec![format!("{pad}{text}")],
            StmtKind::Return(Py::Tuple(items)) if items.len() > 1 => {
                let one = format!("{pad}return {}", joined(items));
                if one.len() <= WIDTH { vec![one] } else { lay_out("return ", &Py::Tuple(items.clone()), "", indent) }
            }
            StmtKind::Return(value) => lay_out("return ", value, "", indent),
            StmtKind::Assign { targets, value, comment } => {
                let mut lines = lay_out(&format!("{targets} = "), value, "", indent);
                if comment.is_empty() {
                    return lines;
                }
                let beside = lines.last().map_or(0, String::len) + 4 + comment.len();
                if lines.len() == 1 && beside <= WIDTH {
                    lines[0].push_str(&format!("  # {comment}"));
                } else {
                    lines.insert(0, format!("{pad}# {comment}"));
                }
                lines
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_keep_their_meaning() {
        let sum = binary("+", "a".into(), "b".into());
        assert_eq!(binary("*", sum.clone(), sum.clone()).inline(), "(a + b) * (a + b)");
        assert_eq!(binary("-", "c".into(), sum.clone()).inline(), "c - (a + b)");
        assert_eq!(method(Py::from(-1.5), "abs", vec![]).inline(), "(-1.5).abs()");
        assert_eq!(
            Py::Index(Box::new("x".into()), vec![Py::Slice(Some(Box::new(sum)), None, None)]).inline(),
            "x[a + b :]"
        );
    }

    #[test]
    fn long_calls_break_at_their_brackets() {
        let args = (0..30).map(|i| Py::from(format!("argument_{i}")).into()).collect();
        let lines = lay_out("x = ", &call("f", args), "", 8);
        assert_eq!((lines[0].as_str(), lines[1].as_str()), ("        x = f(", "            argument_0,"));
        assert_eq!(lines.last().map(String::as_str), Some("        )"));
    }
}
