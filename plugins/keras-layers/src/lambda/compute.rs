//! An expression, as ops.

use super::expression::Expr;
use crate::core::count;
use crate::norm::l2_normalized;
use crate::ops::picked;
use crate::policy::as_float;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::types::element_count;
use recast_plugin_api::ir::{
    BinaryFunction as B, Clip, Concat, DType, Dim, ReduceFunction as R, Reverse, Softmax, UnaryFunction as U, ValueId,
};
use recast_plugin_api::lower::{Lowering, resolve_axis};

#[derive(Debug, Clone, Copy)]
pub enum Term {
    Number(f64),
    Value(ValueId),
}

pub fn compute(l: &mut Lowering<'_>, expr: &Expr) -> Result<Term, Diag> {
    match expr {
        Expr::Number(number) => Ok(Term::Number(*number)),
        Expr::Only | Expr::Input(_) => {
            let value = input(l, expr)?;
            as_float(l, value).map(Term::Value)
        }
        Expr::Indexed(inner, indices) => match compute(l, inner)? {
            Term::Number(_) => Err(wrong(l, "an index into a number".into())),
            Term::Value(value) => picked(l, value, indices.clone()).map(Term::Value),
        },
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

/// An input as it comes.
fn input(l: &Lowering<'_>, expr: &Expr) -> Result<ValueId, Diag> {
    let index = if let Expr::Input(index) = expr { *index } else { 0 };
    let found = l.positional().get(index).map(|input| input.value);
    found.ok_or_else(|| wrong(l, format!("there is no input x{index}")))
}

fn wrong(l: &Lowering<'_>, why: String) -> Diag {
    match &l.layer.expression {
        Some(text) => l.error(Code::BadConfig, format!("expression '{text}': {why}")),
        None => l.error(Code::BadConfig, format!("the Lambda's code, by its digest: {why}")),
    }
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
    ("reciprocal", U::Reciprocal),
    ("relu", U::Relu),
    ("round", U::Round),
    ("rsqrt", U::Rsqrt),
    ("sigmoid", U::Sigmoid),
    ("sign", U::Sign),
    ("sin", U::Sin),
    ("softplus", U::Softplus),
    ("softsign", U::Softsign),
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
    if let ("float32", Expr::Only | Expr::Input(_)) = (name, first) {
        let value = input(l, first)?;
        return l.cast(value, DType::F32).map(Term::Value);
    }
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
        ("float32", []) => l.cast(x, DType::F32),
        ("softmax", []) => {
            let axes = vec![axis(l, rank)?];
            l.add(Softmax { axes }, &[x])
        }
        ("l2_normalize", []) => {
            let axis = axis(l, rank)?;
            l2_normalized(l, x, &[axis], 1e-12)
        }
        ("clip", [low, high]) => match (compute(l, low)?, compute(l, high)?) {
            (Term::Number(low), Term::Number(high)) if low <= high => {
                l.add(Clip { min: Some(low), max: Some(high) }, &[x])
            }
            _ => Err(wrong(l, "clip takes two numbers, the lower one first".into())),
        },
        ("expand_dims", []) => {
            let axis = axis(l, rank + 1)?;
            l.expand(x, axis)
        }
        ("reverse", []) => {
            let axis = axis(l, rank)?;
            l.add(Reverse { axes: vec![axis] }, &[x])
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
    let known = count(&sizes.iter().filter_map(|&size| u64::try_from(size).ok()).collect::<Vec<_>>());
    let free = sizes.iter().filter(|&&size| size == -1).count();
    if free > 1 || sizes.iter().any(|&size| size < -1 || size == 0) {
        return Err(wrong(l, format!("reshape to {sizes:?}")));
    }
    let rest = element_count(&shape[1..]).exact_div(&Dim::Known(known));
    let rest = rest.ok_or_else(|| wrong(l, format!("reshape to {sizes:?} of {}", l.ty(x))))?;
    let size = |&size: &i64| u64::try_from(size).map_or_else(|_| rest.clone(), Dim::Known);
    l.reshape(x, std::iter::once(batch).chain(sizes.iter().map(size)).collect::<Vec<_>>())
}
