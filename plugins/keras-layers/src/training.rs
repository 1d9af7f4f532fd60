//! Calls with `training=True` in a model that runs for inference.

use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::lower::{Config, Lowering};
use recast_plugin_api::model::{Layer, NamedArg};

/// Whether the call runs as in training although the model runs for inference. Keras 2 obeys a `training=True` that the
/// call itself says. A model of Keras 3 overrides it by its own (and writes it even where nobody said it: the random
/// layers have it as their default).
pub fn is_training(l: &Lowering<'_>) -> Result<bool, Diag> {
    if l.keras_major() >= 3 {
        return Ok(false);
    }
    if !l.kwarg_values("training").is_empty() {
        return Err(l.unsupported("'training' is computed by the model"));
    }
    Ok(l.kwarg_json("training")?.is_some_and(|value| value.as_bool().or(value.as_i64().map(|n| n != 0)) == Some(true)))
}

/// Refuses a layer that draws random numbers when it is called so.
pub fn refuse_training(l: &Lowering<'_>) -> Result<(), Diag> {
    if !is_training(l)? {
        return Ok(());
    }
    let detail = format!("{} is called with training=True: its outputs are random on every run", l.layer.class);
    Err(l.error(Code::RandomAtInference, detail).hint("save the model with that argument removed"))
}

/// Refuses the dropout inside of recurrent and attention layers, of their cells too, when they are called so.
pub fn refuse_dropout(l: &Lowering<'_>) -> Result<(), Diag> {
    if drops(l.layer)? { refuse_training(l) } else { Ok(()) }
}

fn drops(layer: &Layer) -> Result<bool, Diag> {
    let config = Config::new(&layer.path, &layer.config)?;
    let own = config.f64_or("dropout", 0.0)? > 0.0 || config.f64_or("recurrent_dropout", 0.0)? > 0.0;
    let mut inner = layer.children.iter().filter_map(|child| child.layer.as_ref());
    Ok(own || inner.try_fold(false, |any, child| Ok::<bool, Diag>(any || drops(child)?))?)
}

/// What a wrapper hands on to the layer inside of it.
pub fn handed_on(l: &Lowering<'_>) -> Vec<NamedArg> {
    l.request.kwargs.iter().filter(|named| named.name == "training" && l.keras_major() < 3).cloned().collect()
}
