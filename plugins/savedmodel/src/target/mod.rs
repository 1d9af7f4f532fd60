//! Target `savedmodel`: a graph as a SavedModel directory of TensorFlow.
//!
//! The model is one function in TensorFlow's ops. Signatures `serving_default` and `serve` call it with named
//! arguments; `tf.saved_model.load(dir).serve(x)` calls it as Keras' own export does. Weights are variables: their
//! bytes go from where the host mapped them straight into the checkpoint, so their size does not matter to the graph.

pub mod bundle;
pub mod emit;
pub mod meta;
mod names;
pub mod objects;
pub mod options;
mod shapes;
pub mod spec;

use bundle::Weights;
use prost::Message;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{DType, Op};
use recast_plugin_api::messages::{Caps, Runner, WriteRequest};
use recast_plugin_api::plugin::{Target, WriteCx};
use std::io::{BufWriter, Write};

pub struct SavedModelDirectory;

/// Buffer for the small pieces between weights.
const BUFFER_BYTES: usize = 1 << 16;
/// A protobuf message ends at 2 GiB.
const MESSAGE_BYTES_MAX: usize = i32::MAX as usize;

/// What this target takes.
pub fn caps() -> Caps {
    let dtypes = DType::ALL.iter().filter(|dtype| **dtype != DType::Str);
    Caps {
        schema_rev: recast_plugin_api::model::SCHEMA_REV,
        target: "savedmodel".into(),
        ops: Op::NAMES.iter().filter(|name| emit::writes(name)).map(|name| name.to_string()).collect(),
        layout: "channels_last".into(),
        kernel: "hwio".into(),
        dtypes: dtypes.map(|dtype| dtype.as_str().to_string()).collect(),
        rank_max: 0,
        runtime: String::new(),
        suffix: "_savedmodel/".into(),
        wants_layers: false,
        read_back: crate::source::FORMAT.into(),
        runner: Some(Runner { name: "tensorflow".into(), script: include_str!("run.py").into() }),
        ..Caps::default()
    }
}

impl Weights for WriteCx<'_> {
    fn read(&self, name: &str, take: &mut dyn FnMut(&[u8]) -> Result<(), Diag>) -> Result<(), Diag> {
        take(self.tensor(name)?.bytes())
    }
}

impl Target for SavedModelDirectory {
    const TARGETS: &'static [&'static str] = &["savedmodel"];

    fn capabilities(&self) -> Vec<Caps> {
        vec![caps()]
    }

    fn write(&self, cx: &WriteCx<'_>, _target: &str, request: &WriteRequest) -> Result<(), Findings> {
        let (options, notes) = options::parse(&request.options)?;
        notes.iter().for_each(|note| cx.report(note));
        let graph = request.graph.clone().unwrap_or_default().decode_graph()?;
        let (message, variables) = meta::plan(&graph)?;
        let message = message.encode_to_vec();
        if message.len() > MESSAGE_BYTES_MAX {
            let detail = format!("{} bytes of graph and constants; a saved_model.pb ends at 2 GiB", message.len());
            return Err(Diag::new(Code::UnsupportedOp, &request.name, detail).into());
        }
        let folder = format!("{}_savedmodel/{}", request.name, options.folder());
        let io = |e: std::io::Error| Diag::new(Code::Io, &request.name, e.to_string());
        let progress = |done: u64, total: u64| {
            cx.progress(done, total, "writing weights");
            cx.go_on()
        };
        cx.create(&format!("{folder}saved_model.pb"))?.write_all(&message).map_err(io)?;
        let data = cx.create(&format!("{folder}variables/variables.data-00000-of-00001"))?;
        let mut data = BufWriter::with_capacity(BUFFER_BYTES, data);
        let index = bundle::write(&variables, &objects::trackable(&variables), cx, &mut data, &progress)?;
        data.flush().map_err(io)?;
        cx.create(&format!("{folder}variables/variables.index"))?.write_all(&index).map_err(io)?;
        Ok(())
    }
}
