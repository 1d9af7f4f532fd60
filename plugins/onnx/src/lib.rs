//! Target `onnx`: a graph as one ONNX file.
//!
//! The whole file is planned before a byte is written: small messages are encoded, the length of every weight is known
//! from its shape. Then it is streamed: each weight goes from where the host mapped it straight to the output. Weights
//! of 1.9 GB and more, where protobuf ends, go into `<name>.onnx.data` beside it, as they do on request.

pub mod emit;
pub mod options;
pub mod proto;
pub mod write;

use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::ir::{DType, Op};
use recast_plugin_api::messages::{Caps, Lack, WriteRequest};
use recast_plugin_api::plugin::{Target, WriteCx};
use std::io::{BufWriter, Write};
use write::Weights;

pub struct Onnx;

/// Buffer for the small pieces between weights.
const BUFFER_BYTES: usize = 1 << 16;

/// What this target takes.
pub fn caps() -> Caps {
    Caps {
        schema_rev: recast_plugin_api::model::SCHEMA_REV,
        target: "onnx".into(),
        ops: Op::NAMES.iter().filter(|name| emit::writes(name)).map(|name| name.to_string()).collect(),
        layout: "channels_first".into(),
        kernel: "oihw".into(),
        dtypes: DType::ALL.iter().map(|dtype| dtype.as_str().to_string()).collect(),
        rank_max: 0,
        runtime: "onnx".into(),
        suffix: ".onnx".into(),
        wants_layers: false,
        // Few ops take it before opset 22, and runtimes have fewer.
        widens: vec![DType::BF16.as_str().into()],
        lacks: emit::LACKS
            .iter()
            .map(|&(op, why, hint)| Lack { op: op.into(), why: why.into(), hint: hint.into() })
            .collect(),
        ..Caps::default()
    }
}

impl Weights for WriteCx<'_> {
    fn read(&self, name: &str, take: &mut dyn FnMut(&[u8]) -> Result<(), Diag>) -> Result<(), Diag> {
        take(self.tensor(name)?.bytes())
    }
}

impl Target for Onnx {
    const TARGETS: &'static [&'static str] = &["onnx"];

    fn capabilities(&self) -> Vec<Caps> {
        vec![caps()]
    }

    fn write(&self, cx: &WriteCx<'_>, _target: &str, request: &WriteRequest) -> Result<(), Findings> {
        let (options, notes) = options::parse(&request.options)?;
        notes.iter().for_each(|note| cx.report(note));
        let graph = request.graph.clone().unwrap_or_default().decode_graph()?;
        let about = write::About {
            name: &request.name,
            source_digest: &request.source_digest,
            recast_version: &request.recast_version,
        };
        let plan = write::plan(&graph, &options, &about)?;
        plan.losses.iter().for_each(|loss| cx.report(loss));
        let io = |e: std::io::Error| Diag::new(recast_plugin_api::diag::Code::Io, &request.name, e.to_string());
        let progress = |done: u64, total: u64| {
            cx.progress(done, total, "writing weights");
            cx.go_on()
        };
        let file = cx.create(&format!("{}.onnx", request.name))?;
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
        plan.write_model(cx, &mut file, &progress)?;
        file.flush().map_err(io)?;
        if let Some(name) = plan.data_file() {
            let mut data = BufWriter::with_capacity(BUFFER_BYTES, cx.create(name)?);
            plan.write_data(cx, &mut data, &progress)?;
            data.flush().map_err(io)?;
        }
        Ok(())
    }
}

recast_plugin_api::export_plugin! {
    id: "dev.recast.onnx",
    name: "ONNX",
    target: Onnx,
}
