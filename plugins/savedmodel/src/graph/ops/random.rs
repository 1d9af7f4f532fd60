//! Numbers that are drawn. Nothing draws at inference; but dropout that keeps everything still draws, and compares:
//! what is drawn is followed as far as its bounds alone decide.

use super::super::def::Node;
use super::super::interp::Interp;
use super::super::value::{Int, Val, numbers};
use super::source::scalar;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{BinaryFunction, DType, Dim};
use std::rc::Rc;

type Out = Result<Vec<Val>, Diag>;

/// Somewhere in low <= x < high.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// The node that draws.
    pub at: String,
    pub dtype: DType,
    /// None where it is computed from data.
    pub shape: Option<Vec<Dim>>,
    low: f64,
    high: f64,
}

impl Drawn {
    pub fn refused(&self) -> Diag {
        Diag::new(Code::RandomAtInference, &self.at, "it draws numbers at inference")
    }
}

/// Uniform in 0..1. shape
pub fn uniform<'a>(interp: &mut Interp<'a>, node: &Node<'a>, vals: &[Val]) -> Out {
    let sizes = interp.sizes_of(node, vals, 0, "shape").ok();
    let shape = sizes.and_then(|sizes| sizes.iter().map(Int::dim).collect());
    let dtype = node.dtype_or("dtype", DType::F32)?;
    Ok(vec![Val::Drawn(Rc::new(Drawn { at: node.name.into(), dtype, shape, low: 0.0, high: 1.0 }))])
}

/// What numbers are drawn by: of the seed, by the drawn number's own rules. Only who draws may look at it.
pub fn key<'a>(_interp: &mut Interp<'a>, node: &Node<'a>, _vals: &[Val]) -> Out {
    let outputs = match node.op {
        "StatelessRandomGetKeyCounterAlg" => 3,
        "StatelessRandomGetKeyCounter" => 2,
        _ => 1,
    };
    let drawn = Drawn { at: node.name.into(), dtype: DType::U64, shape: None, low: 0.0, high: f64::INFINITY };
    Ok(vec![Val::Drawn(Rc::new(drawn)); outputs])
}

pub fn any<'a>(_interp: &mut Interp<'a>, node: &Node<'a>, _vals: &[Val]) -> Out {
    Err(Diag::new(Code::RandomAtInference, node.name, format!("{}: it draws numbers at inference", node.op)))
}

fn number(val: &Val) -> Option<f64> {
    match val {
        Val::Known(tensor) => match numbers(tensor)?.as_slice() {
            [one] => Some(*one),
            _ => None,
        },
        _ => None,
    }
}

/// What a drawn number and a known one make of each other; none where that takes drawing it.
pub fn binary(function: BinaryFunction, a: &Val, b: &Val) -> Option<Val> {
    use BinaryFunction::*;
    let (drawn, other, is_first) = match (a, b) {
        (Val::Drawn(drawn), other) => (drawn, number(other)?, true),
        (other, Val::Drawn(drawn)) => (drawn, number(other)?, false),
        _ => return None,
    };
    let within = |low: f64, high: f64| Some(Val::Drawn(Rc::new(Drawn { low, high, ..(**drawn).clone() })));
    let decided = |always: bool, never: bool| (always || never).then(|| scalar(DType::Bool, f64::from(always)));
    match (function, is_first) {
        (Add, _) => within(drawn.low + other, drawn.high + other),
        (Sub, true) => within(drawn.low - other, drawn.high - other),
        (Mul, _) if other > 0.0 => within(drawn.low * other, drawn.high * other),
        (GreaterEqual, true) | (LessEqual, false) => decided(drawn.low >= other, drawn.high <= other),
        (Less, true) | (Greater, false) => decided(drawn.high <= other, drawn.low >= other),
        _ => None,
    }
}

/// The whole number below it, where that is the same one for all that may be drawn.
pub fn floor(val: &Val) -> Option<Val> {
    let Val::Drawn(drawn) = val else { return None };
    let below = drawn.low.floor();
    (drawn.high <= below + 1.0).then(|| scalar(drawn.dtype, below))
}
