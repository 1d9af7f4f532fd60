//! Activations of a step: one op, or a piece of a line as TensorFlow writes it.

use super::step::Step;
use recast_plugin_api::ir::{
    Activation, ActivationFunction, ActivationSpec, BinaryFunction, Clip, Op, Unary, UnaryFunction, ValueId,
};

/// The function that makes a value of another one, where it is one that every target's recurrent ops have a word for.
pub fn activated(step: &Step<'_>, value: ValueId) -> Option<(ActivationSpec, ValueId)> {
    let node = step.body.producer(value)?;
    let input = node.inputs.first().copied().flatten()?;
    if let Op::Unary(Unary { function }) = &node.op {
        return Some((ActivationSpec::plain(plain(*function)?), input));
    }
    if let Op::Activation(Activation { function, alpha, beta }) = &node.op {
        let has_word = matches!(
            function,
            ActivationFunction::Elu | ActivationFunction::LeakyRelu | ActivationFunction::HardSigmoid
        );
        let spec = ActivationSpec { function: *function, alpha: *alpha, beta: *beta };
        return has_word.then_some((spec, input));
    }
    hard_sigmoid(step, value)
}

fn plain(function: UnaryFunction) -> Option<ActivationFunction> {
    const WORDS: [(UnaryFunction, ActivationFunction); 5] = [
        (UnaryFunction::Tanh, ActivationFunction::Tanh),
        (UnaryFunction::Sigmoid, ActivationFunction::Sigmoid),
        (UnaryFunction::Relu, ActivationFunction::Relu),
        (UnaryFunction::Softplus, ActivationFunction::Softplus),
        (UnaryFunction::Softsign, ActivationFunction::Softsign),
    ];
    WORDS.iter().find(|(known, _)| *known == function).map(|(_, word)| *word)
}

/// value = scale inner + shift
struct Line {
    inner: ValueId,
    scale: f64,
    shift: f64,
}

/// Steps of a line that are followed: scaled and shifted, each once, in any order.
const LINE_STEPS: usize = 2;

fn line(step: &Step<'_>, value: ValueId) -> Line {
    let mut found = Line { inner: value, scale: 1.0, shift: 0.0 };
    for _ in 0..LINE_STEPS {
        let Some((function, [a, b])) = step.body.binary(found.inner) else { break };
        let (inner, number) = match (step.number(a), step.number(b)) {
            (_, Some(number)) => (a, number),
            (Some(number), None) if matches!(function, BinaryFunction::Add | BinaryFunction::Mul) => (b, number),
            _ => break,
        };
        let (scale, shift) = match function {
            BinaryFunction::Add => (1.0, number),
            BinaryFunction::Sub => (1.0, -number),
            BinaryFunction::Mul => (number, 0.0),
            BinaryFunction::Div => (1.0 / number, 0.0),
            _ => break,
        };
        found = Line { inner, shift: found.scale * shift + found.shift, scale: found.scale * scale };
    }
    found
}

/// A line cut off at 0 and 1, whether it is scaled before the cut (Keras 2) or behind it (Keras 3).
fn hard_sigmoid(step: &Step<'_>, value: ValueId) -> Option<(ActivationSpec, ValueId)> {
    let after = line(step, value);
    let (inner, min, max) = cut(step, after.inner)?;
    let before = line(step, inner);
    let ends = (after.scale * min + after.shift, after.scale * max + after.shift);
    let spec = ActivationSpec {
        function: ActivationFunction::HardSigmoid,
        alpha: after.scale * before.scale,
        beta: after.scale * before.shift + after.shift,
    };
    let rises = after.scale > 0.0 && spec.alpha.is_finite() && spec.beta.is_finite();
    (rises && ends == (0.0, 1.0)).then_some((spec, before.inner))
}

/// A value with its lower and upper bound.
fn cut(step: &Step<'_>, value: ValueId) -> Option<(ValueId, f64, f64)> {
    let node = step.body.producer(value)?;
    if let Op::Clip(Clip { min: Some(min), max: Some(max) }) = &node.op {
        return Some((node.inputs[0]?, *min, *max));
    }
    let (outer, inner, first) = bounded(step, value)?;
    let (other, inner, second) = bounded(step, inner)?;
    match (outer, other) {
        (BinaryFunction::Max, BinaryFunction::Min) => Some((inner, first, second)),
        (BinaryFunction::Min, BinaryFunction::Max) => Some((inner, second, first)),
        _ => None,
    }
}

/// The larger or the smaller of a value and a number.
fn bounded(step: &Step<'_>, value: ValueId) -> Option<(BinaryFunction, ValueId, f64)> {
    let (function, [a, b]) = step.body.binary(value)?;
    let (inner, number) = match (step.number(a), step.number(b)) {
        (_, Some(number)) => (a, number),
        (Some(number), None) => (b, number),
        (None, None) => return None,
    };
    matches!(function, BinaryFunction::Max | BinaryFunction::Min).then_some((function, inner, number))
}
