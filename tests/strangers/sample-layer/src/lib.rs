//! Two custom layers, in Keras:
//! ```python
//! @keras.saving.register_keras_serializable(package="acme")
//! class ScaledTanh(keras.layers.Layer):       # y = scale * tanh(x)
//!     ...
//!
//! @keras.saving.register_keras_serializable(package="acme")
//! class Twice(keras.layers.Wrapper):          # y = layer(layer(x))
//!     ...
//! ```

use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::types::decode_numbers;
use recast_plugin_api::ir::{BinaryFunction, DType, Type, UnaryFunction};
use recast_plugin_api::lower::{Lowering, Val};
use recast_plugin_api::messages::{LowerRequest, Lowered};
use recast_plugin_api::model::{Child, Layer};
use recast_plugin_api::plugin::{EvalReply, EvalTensor, Layers, LowerCx, example};

const SCALED_TANH: &str = "acme>ScaledTanh";
const TWICE: &str = "acme>Twice";

struct AcmeLayers;

impl Layers for AcmeLayers {
    const CLASSES: &'static [&'static str] = &[SCALED_TANH, TWICE];

    fn lower(&self, cx: &LowerCx<'_>, request: &LowerRequest) -> Result<Lowered, Findings> {
        let lowering = Lowering::new(Some(cx), request)?;
        match lowering.layer.class.as_str() {
            SCALED_TANH => scaled_tanh(lowering),
            TWICE => twice(lowering),
            other => Err(lowering.error(Code::UnknownLayer, format!("no class {other:?} here")).into()),
        }
    }

    fn eval(&self, cx: &LowerCx<'_>, request: &LowerRequest) -> Result<Option<EvalReply>, Findings> {
        let Some(layer) = request.layer.as_ref().filter(|layer| layer.class == SCALED_TANH) else { return Ok(None) };
        let config = recast_plugin_api::lower::Config::new(&layer.path, &layer.config)?;
        let scale = config.f64("scale")?;
        let input = cx.tensor("input/0")?;
        let values = decode_numbers(input.dtype(), input.bytes());
        let output = EvalTensor {
            dims: input.dims().iter().map(|&dim| dim as u64).collect(),
            values: values.iter().map(|x| scale * x.tanh()).collect(),
        };
        Ok(Some(EvalReply { outputs: vec![output] }))
    }

    fn examples(&self) -> Vec<LowerRequest> {
        let scaled = layer("scaled", SCALED_TANH, r#"{"name": "scaled", "scale": 1.5}"#);
        let mut twice = layer("twice", TWICE, r#"{"name": "twice"}"#);
        twice.children = vec![Child { attribute: "layer".into(), layer: Some(scaled.clone()) }];
        let inputs = [Type::known(DType::F32, &[2, 3])];
        vec![example(scaled, &inputs), example(twice, &inputs)]
    }
}

fn layer(name: &str, class: &str, config: &str) -> Layer {
    Layer { name: name.into(), path: name.into(), class: class.into(), config: config.into(), ..Layer::default() }
}

fn scaled_tanh(mut lowering: Lowering<'_>) -> Result<Lowered, Findings> {
    let scale = lowering.config.f64("scale")?;
    let x = lowering.input()?;
    let tanh = lowering.unary(UnaryFunction::Tanh, x.value)?;
    let y = lowering.binary_scalar(BinaryFunction::Mul, tanh, scale)?;
    tracing::debug!(scale, "lowered {}", lowering.layer.path);
    lowering.finish(&[Val { value: y, mask: x.mask }])
}

/// The wrapped layer may be anybody's: the host finds its plugin.
fn twice(mut lowering: Lowering<'_>) -> Result<Lowered, Findings> {
    let child = lowering.child("layer")?;
    let mut x = lowering.input()?;
    for _ in 0..2 {
        let outputs = lowering.lower_child(child, &[x], &[], &[])?;
        x = *outputs.first().ok_or_else(|| Diag::new(Code::BadConfig, &child.path, "a layer without output"))?;
    }
    lowering.finish(&[x])
}

recast_plugin_api::export_plugin! {
    id: "com.acme.layers",
    name: "Acme's layers",
    layers: AcmeLayers,
    needs: ["recast.host.lower/1"],
}
