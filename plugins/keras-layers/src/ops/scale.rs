//! Layers that `keras.applications` brings along.

use crate::policy::{compute_dtype, float_input, one};
use crate::table::{Masks, Row};
use crate::training::is_training;
use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::ir::BinaryFunction;
use recast_plugin_api::lower::{Lowering, Val};

const APPLICATIONS: &str = "applications";

pub const ROWS: &[Row] = &[
    Row::new("CustomScaleLayer", APPLICATIONS, Masks::Drop, scaled_sum, "InceptionResNetV2"),
    Row::new("Custom>CustomScaleLayer", APPLICATIONS, Masks::Drop, scaled_sum, "InceptionResNetV2"),
    Row::new("LayerScale", APPLICATIONS, Masks::Drop, layer_scale, "ConvNeXt"),
    Row::new("StochasticDepth", APPLICATIONS, Masks::Drop, stochastic_depth, "ConvNeXt; identity at inference"),
];

type Outcome = Result<Vec<Val>, Findings>;

/// A stranger's class of the same name has other settings.
fn want(l: &Lowering<'_>, keys: &[&str]) -> Result<(), Diag> {
    match keys.iter().find(|key| l.config.get(key).is_none()) {
        None => Ok(()),
        Some(key) => Err(l.unsupported(format!("only the class of keras.applications is known, which has '{key}'"))),
    }
}

/// x gamma (channels). Keras 3 gives the weight no name of its own.
fn layer_scale(l: &mut Lowering<'_>) -> Outcome {
    want(l, &["init_values", "projection_dim"])?;
    let x = float_input(l)?;
    let role = match &l.layer.weights[..] {
        [only] => only.role.clone(),
        _ => "gamma".to_string(),
    };
    let gamma = l.param_shaped(&role, &[Some(l.config.u64("projection_dim")?)])?;
    let to = compute_dtype(l)?;
    let gamma = if to.is_float() { l.cast(gamma, to)? } else { gamma };
    Ok(one(l.binary(BinaryFunction::Mul, x, gamma)?))
}

fn stochastic_depth(l: &mut Lowering<'_>) -> Outcome {
    want(l, &["drop_path_rate"])?;
    if is_training(l)? {
        return Err(l.unsupported("called with training=True: the result is random").into());
    }
    // Its seed is kept in Keras 3 files.
    let roles: Vec<String> = l.layer.weights.iter().map(|weight| weight.role.clone()).collect();
    roles.iter().filter(|role| role.contains("seed")).for_each(|role| l.ignore(role));
    let x = l.input()?.value;
    Ok(one(x))
}

/// a + scale b
fn scaled_sum(l: &mut Lowering<'_>) -> Outcome {
    let scale = l.config.f64("scale")?;
    let [a, b] = l.positional()[..] else { return Err(l.unsupported("takes two inputs").into()) };
    let b = l.binary_scalar(BinaryFunction::Mul, b.value, scale)?;
    Ok(one(l.binary(BinaryFunction::Add, a.value, b)?))
}
