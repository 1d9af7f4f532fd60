//! `acme>ScaledTanh`: y = scale * tanh(x), with `scale` a number of the config.
//!
//! In Keras it is
//! ```python
//! @keras.saving.register_keras_serializable(package="acme")
//! class ScaledTanh(keras.layers.Layer): ...
//! ```

use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{Binary, BinaryFunction, Constant, Graph, Tensor, Type, Unary, UnaryFunction};
use recast_plugin_api::messages::{LowerInput, LowerRequest, Lowered, LoweredOutput};
use recast_plugin_api::model::Layer;
use recast_plugin_api::plugin::{EvalReply, EvalTensor, Layers, LowerCx};

struct ScaledTanh;

impl Layers for ScaledTanh {
    const CLASSES: &'static [&'static str] = &["acme>ScaledTanh"];

    fn lower(&self, _cx: &LowerCx<'_>, request: &LowerRequest) -> Result<Lowered, Findings> {
        let (path, ty, scale) = parts(request)?;
        let mut graph = Graph::new(path);
        let x = graph.input("x", ty.clone());
        let tanh = graph.add(path, Unary { function: UnaryFunction::Tanh }, &[x])?;
        let factor = graph.add(path, Constant { tensor: Tensor::scalar(ty.dtype, scale) }, &[])?;
        let y = graph.add(path, Binary { function: BinaryFunction::Mul }, &[factor, tanh])?;
        graph.output("y", y);
        tracing::debug!(scale, "lowered {path}");
        Ok(Lowered { graph: Some((&graph).into()), outputs: vec![LoweredOutput { value: y.0, mask: None }] })
    }

    fn eval(&self, cx: &LowerCx<'_>, request: &LowerRequest) -> Result<Option<EvalReply>, Findings> {
        let (_, _, scale) = parts(request)?;
        let input = cx.tensor("input/0")?;
        let values = recast_plugin_api::ir::types::decode_numbers(input.dtype(), input.bytes());
        let output = EvalTensor {
            dims: input.dims().iter().map(|&dim| dim as u64).collect(),
            values: values.iter().map(|x| scale * x.tanh()).collect(),
        };
        Ok(Some(EvalReply { outputs: vec![output] }))
    }

    fn examples(&self) -> Vec<LowerRequest> {
        let layer = Layer {
            name: "scaled".into(),
            path: "scaled".into(),
            class: Self::CLASSES[0].into(),
            config: r#"{"name": "scaled", "scale": 1.5}"#.into(),
            ..Layer::default()
        };
        let ty = Type::known(recast_plugin_api::ir::DType::F32, &[2, 3]);
        let inputs = vec![LowerInput { ty: Some((&ty).into()), mask: None }];
        vec![LowerRequest { layer: Some(layer), inputs, ..LowerRequest::default() }]
    }
}

/// Path, type of the one input, and scale.
fn parts(request: &LowerRequest) -> Result<(&str, Type, f64), Findings> {
    let layer = request.layer.as_ref().ok_or_else(|| Diag::new(Code::Malformed, "", "no layer in the request"))?;
    let input = request.inputs.first().and_then(|input| input.ty.as_ref());
    let input = input.ok_or_else(|| Diag::new(Code::BadConfig, &layer.path, "called without an input"))?;
    let config: serde_json::Value = serde_json::from_str(&layer.config)
        .map_err(|e| Diag::new(Code::BadConfig, &layer.path, e.to_string()))?;
    let scale = config["scale"].as_f64();
    let scale = scale.ok_or_else(|| Diag::new(Code::BadConfig, &layer.path, "'scale' is missing or not a number"))?;
    Ok((&layer.path, input.decode_type()?, scale))
}

recast_plugin_api::export_plugin! {
    id: "com.acme.layers",
    name: "Acme's layers",
    layers: ScaledTanh,
}
