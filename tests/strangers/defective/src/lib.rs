//! `def>Negate` (y = -x) and the format `def` (a text between "DEF" and "END"), sound unless a feature says otherwise.

use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{DType, Type, UnaryFunction};
use recast_plugin_api::lower::{Lowering, Val};
use recast_plugin_api::messages::{LowerRequest, Lowered, ReadRequest};
use recast_plugin_api::model::{Layer, LayerModel};
use recast_plugin_api::plugin::{EvalReply, EvalTensor, Format, Layers, LowerCx, ReadCx, SampleFile, Source, example};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

struct NegateLayer;
struct DefFiles;

impl Layers for NegateLayer {
    const CLASSES: &'static [&'static str] = &["def>Negate"];

    fn lower(&self, cx: &LowerCx<'_>, request: &LowerRequest) -> Result<Lowered, Findings> {
        if cfg!(feature = "crashes") {
            std::process::abort();
        }
        if cfg!(feature = "leaks-threads") {
            std::thread::spawn(|| std::thread::sleep(Duration::from_secs(600)));
        }
        if cfg!(feature = "deaf") {
            std::thread::sleep(Duration::from_millis(1500));
        }
        if cfg!(feature = "panics-on-garbage") {
            assert!(!request.inputs.is_empty(), "there are always inputs");
        }
        let mut lowering = Lowering::new(Some(cx), request)?;
        let x = lowering.input()?;
        let mut y = lowering.unary(UnaryFunction::Neg, x.value)?;
        static CALLS: AtomicU64 = AtomicU64::new(0);
        if cfg!(feature = "random") && CALLS.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
            y = lowering.unary(UnaryFunction::Abs, y)?;
        }
        lowering.finish(&[Val { value: y, mask: x.mask }])
    }

    fn eval(&self, cx: &LowerCx<'_>, _: &LowerRequest) -> Result<Option<EvalReply>, Findings> {
        let x = cx.tensor("input/0")?;
        let sign = if cfg!(feature = "disagrees") { 1.0 } else { -1.0 };
        let values = recast_plugin_api::ir::types::decode_numbers(x.dtype(), x.bytes());
        let output = EvalTensor {
            dims: x.dims().iter().map(|&dim| dim as u64).collect(),
            values: values.iter().map(|value| sign * value).collect(),
        };
        Ok(Some(EvalReply { outputs: vec![output] }))
    }

    fn examples(&self) -> Vec<LowerRequest> {
        let layer = Layer {
            name: "negate".into(),
            path: "negate".into(),
            class: Self::CLASSES[0].into(),
            config: "{}".into(),
            ..Layer::default()
        };
        vec![example(layer, &[Type::known(DType::F32, &[3, 2])])]
    }
}

impl Source for DefFiles {
    const FORMATS: &'static [Format] = &[Format { name: "def", suffixes: &[".def"], magic: b"DEF" }];

    fn probe(&self, head: &[u8], _: &str) -> u8 {
        if head.starts_with(b"DEF") { 90 } else { 0 }
    }

    fn read(&self, cx: &ReadCx<'_>, request: &ReadRequest) -> Result<LayerModel, Findings> {
        let bytes = cx.map(&request.path)?;
        let text = std::str::from_utf8(bytes).map_err(|e| Diag::new(Code::Malformed, "", e.to_string()));
        if cfg!(feature = "fragile") {
            assert!(bytes.ends_with(b"END"), "files are always whole");
        }
        let name = text?.strip_prefix("DEF").and_then(|rest| rest.strip_suffix("END"));
        let name = name.ok_or_else(|| Diag::new(Code::Malformed, "", "no DEF at its head or no END at its end"))?;
        Ok(LayerModel { format: name.into(), files: vec![request.path.clone()], ..LayerModel::default() })
    }

    fn samples(&self) -> Vec<SampleFile> {
        vec![SampleFile { name: "sample.def".into(), bytes: b"DEF of something END".to_vec() }]
    }
}

recast_plugin_api::export_plugin! {
    id: "test.defective",
    name: "Sound, or not",
    source: DefFiles,
    layers: NegateLayer,
}
