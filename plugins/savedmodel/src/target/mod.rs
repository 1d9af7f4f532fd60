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
pub mod tables;

use crate::layers;
use bundle::Weights;
use emit::Variable;
use prost::Message;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{DType, Graph, Op, Tensor};
use recast_plugin_api::messages::{Caps, Runner, WriteRequest};
use recast_plugin_api::plugin::{Target, WriteCx};
use std::collections::{BTreeMap, HashMap};
use std::io::{BufWriter, Write};

pub struct SavedModelDirectory;

/// Buffer for the small pieces between weights.
const BUFFER_BYTES: usize = 1 << 16;
/// A protobuf message ends at 2 GiB.
const MESSAGE_BYTES_MAX: usize = i32::MAX as usize;

/// What this target takes.
pub fn caps() -> Caps {
    Caps {
        schema_rev: recast_plugin_api::model::SCHEMA_REV,
        target: "savedmodel".into(),
        ops: Op::NAMES.iter().filter(|name| emit::writes(name)).map(|name| name.to_string()).collect(),
        layout: "channels_last".into(),
        kernel: "hwio".into(),
        dtypes: DType::ALL.iter().map(|dtype| dtype.as_str().to_string()).collect(),
        rank_max: 0,
        runtime: String::new(),
        suffix: "_savedmodel/".into(),
        wants_layers: true,
        needs_graph: true,
        renames: true,
        read_back: crate::source::FORMAT.into(),
        runner: Some(Runner { name: "tensorflow".into(), script: include_str!("run.py").into() }),
        ..Caps::default()
    }
}

/// The graph's params by name, and the layers' own weights by key.
struct Sources<'c, 'w> {
    cx: &'c WriteCx<'w>,
    more: BTreeMap<String, Tensor>,
}

impl Weights for Sources<'_, '_> {
    fn read(&self, name: &str, take: &mut dyn FnMut(&[u8]) -> Result<(), Diag>) -> Result<(), Diag> {
        match self.more.get(name) {
            Some(tensor) => take(self.cx.view(tensor)?.bytes()),
            None => take(self.cx.tensor(name)?.bytes()),
        }
    }
}

/// The layers, if there are any, as they go beside this graph.
fn layers_beside(request: &WriteRequest, graph: &Graph, variables: &[Variable]) -> Result<Option<layers::Plan>, Diag> {
    let Some(model) = &request.layers else { return Ok(None) };
    let params = graph.all_params();
    let tensors: HashMap<String, &Tensor> = params.iter().map(|param| (param.name(), &param.tensor)).collect();
    let held = variables.iter().enumerate();
    let held = held.filter_map(|(i, variable)| Some((*tensors.get(&variable.name)?, bundle::key(i))));
    layers::plan(model, &held.collect::<Vec<_>>())
}

impl Target for SavedModelDirectory {
    const TARGETS: &'static [&'static str] = &["savedmodel"];

    fn capabilities(&self) -> Vec<Caps> {
        vec![caps()]
    }

    fn write(&self, cx: &WriteCx<'_>, _target: &str, request: &WriteRequest) -> Result<(), Findings> {
        let (options, notes) = options::parse(&request.options)?;
        notes.iter().for_each(|note| cx.report(note));
        let mut graph = request.decoded_graph()?;
        names::callable(&mut graph).iter().for_each(|note| cx.report(note));
        let (message, mut variables, tables) = meta::plan(&graph)?;
        let beside = layers_beside(request, &graph, &variables)?;
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
        let objects = objects::trackable(&variables, tables);
        let mut keys = bundle::keys(variables.len());
        let mut sources = Sources { cx, more: BTreeMap::new() };
        if let Some(plan) = beside {
            cx.create_with(&format!("{folder}{}", layers::FILE), &plan.layers.encode_to_vec())?;
            for (i, tensor) in plan.more.into_iter().enumerate() {
                let key = layers::key(i);
                variables.push(Variable::of(&key, tensor.dtype, &tensor.shape));
                sources.more.insert(key.clone(), tensor);
                keys.push(key);
            }
        }
        let index = bundle::write_with(&variables, &keys, &objects, &sources, &mut data, &progress)?;
        data.flush().map_err(io)?;
        cx.create(&format!("{folder}variables/variables.index"))?.write_all(&index).map_err(io)?;
        Ok(())
    }
}
