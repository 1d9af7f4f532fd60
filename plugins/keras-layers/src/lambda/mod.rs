//! `Lambda`: Python code in a file, which is read as data and never run. What it computes is said by the configuration,
//! or by a table of well-known functions that are found by the exact digest of their code (`known.txt`, made by
//! tests/conformance/lambda_known.py with every Python). The configuration wins:
//!
//! ```toml
//! [lambda."my_model:scale"]
//! expression = "x / 127.5 - 1"
//! ```
//!
//! | in an expression | means |
//! |---|---|
//! | `x`; `x0`, `x1`, .. | the input; the inputs of a layer that takes several |
//! | `1`, `0.5`, `1e-3`, `pi`; `scale` | numbers; one that the layer's `arguments` give to its code |
//! | `a + b`, `a - b`, `a * b`, `a / b`, `a // b`, `a % b`, `a ** b`, `-a`, `( )` | as in Python; numpy broadcasting |
//! | `x[:, 0]`, `x[..., 1:3]`, `x[:, ::-1]`, `x[:, None]` | as in numpy; the batch stays whole |
//! | `abs exp expm1 log log1p rsqrt sqrt square reciprocal` | each element |
//! | `sin cos tanh sigmoid relu softplus softsign sign floor ceil round` | each element |
//! | `float32(a)` | cast |
//! | `maximum(a, b)`, `minimum(a, b)`, `clip(a, low, high)` | each element |
//! | `sum mean max min prod (a, axis=1, keepdims=True)` | over axes: a number, a list, or all but the batch's |
//! | `softmax(a, axis=-1)`, `l2_normalize(a, axis=-1)` | over one axis |
//! | `reshape(a, [..])`, `permute(a, [..])` | as the layers: without the batch, axes from 1 |
//! | `expand_dims(a, axis=-1)`, `squeeze(a, axis=-1)`, `concat(a, b, axis=-1)` | |

mod code;
mod compute;
mod expression;
mod known;
mod marshal;

use crate::policy::one;
use crate::table::{Masks, Row};
use compute::{Term, compute};
use expression::{Expr, Parameters, parse};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::lower::{Lowering, Val};

const NOTE: &str = "by an expression in the configuration, or a well-known function by the digest of its code";

pub const ROWS: &[Row] = &[Row::new("Lambda", "core", Masks::Drop, lambda, NOTE)];

/// What a file does not say of its code.
const NAMES: &str = "K and backend taken for Keras' backend, tf for TensorFlow, by their names";

const SUPPLY: &str = "say what it computes (`[lambda.\"MODEL:LAYER\"] expression = \"..\"` in the configuration), or \
                      make it a registered layer and supply that class as a plugin: `recast plugins new`";

fn lambda(l: &mut Lowering<'_>) -> Result<Vec<Val>, Findings> {
    let expr = match l.layer.expression.clone() {
        Some(text) => {
            let parameters = numbers(l);
            parse(&text, &parameters).map_err(|why| l.error(Code::BadConfig, format!("expression '{text}': {why}")))?
        }
        None => recognised(l)?,
    };
    match compute(l, &expr)? {
        Term::Value(value) => Ok(one(value)),
        Term::Number(_) => Err(l.error(Code::BadConfig, "the expression does not use x").into()),
    }
}

/// The numbers among the layer's `arguments`.
fn numbers(l: &Lowering<'_>) -> Parameters {
    let arguments = l.config.object()["arguments"].as_object();
    arguments.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect()
}

/// The expression that the table has for the layer's code.
fn recognised(l: &Lowering<'_>) -> Result<Expr, Diag> {
    let refused = |why: String| {
        let detail = format!("the Lambda layer '{}' holds Python code, which is never run: {why}", l.layer.name);
        l.error(Code::UnsafeCode, detail).hint(SUPPLY)
    };
    let function = code::function(l.config.object()).map_err(refused)?;
    let shown = || format!("its digest is {}; {}", function.digest(), function.shown());
    let Some((known, parameters)) = known::find(&function) else {
        return Err(refused(format!("no function that is known by its code; {}", shown())));
    };
    let unfit = |why: &str| refused(format!("its code is that of `{}`, {why}; {}", known.source, shown()));
    let expr = parse(known.expression, &parameters).map_err(|why| unfit(&format!("but {why}")))?;
    let inputs = l.positional();
    if inputs.len() != expr.inputs() {
        return Err(unfit(&format!("which takes {} inputs, not {}", expr.inputs(), inputs.len())));
    }
    // TensorFlow computes with whole numbers by other rules.
    if !expr.casts_inputs() && inputs.iter().any(|input| !l.ty(input.value).dtype.is_float()) {
        return Err(unfit("which is known for floating-point inputs alone"));
    }
    let numbers: String = parameters.iter().map(|(name, number)| format!(", {name} = {number}")).collect();
    let detail =
        format!("recognised by its code as `{}`: computed as `{}`{numbers} ({NAMES})", known.source, known.expression);
    l.report(&l.error(Code::LambdaRecognised, detail).note());
    Ok(expr)
}
