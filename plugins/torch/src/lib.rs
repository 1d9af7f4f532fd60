//! Targets `torch` and `safetensors`.
//!
//! `torch`: a package `<name>_torch/` of a module as a person would have written it (`model.py`), its state
//! (`model.safetensors`) and `load()`. The text is planned whole before a byte is written: classes and statements from
//! the graph (`nest`, `emit`), laid out as `ruff format` would (`py`, `render`); then the weights are streamed.
//!
//! `safetensors`: the weights alone under Keras' paths, as Keras stores them, and the architecture as JSON.

pub mod check;
pub mod class;
pub mod emit;
pub mod facts;
pub mod keras;
pub mod layout;
pub mod names;
pub mod nest;
pub mod options;
pub mod py;
pub mod render;
pub mod scope;
pub mod weights;

use crate::facts::Facts;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{DType, Graph, Op};
use recast_plugin_api::messages::{Caps, CheckReply, CheckRequest, Runner, WriteRequest};
use recast_plugin_api::plugin::{Cx, Target, WriteCx};
use std::io::BufWriter;

pub struct Torch;

/// Buffer for the small pieces between weights.
const BUFFER_BYTES: usize = 1 << 16;

/// What PyTorch computes with: its wider unsigned integers are for storage only.
fn computes(dtype: DType) -> bool {
    match dtype {
        DType::F16 | DType::BF16 | DType::F32 | DType::F64 | DType::Bool => true,
        DType::I8 | DType::I16 | DType::I32 | DType::I64 | DType::U8 => true,
        DType::U16 | DType::U32 | DType::U64 | DType::Str => false,
    }
}

/// What the target `torch` takes.
pub fn caps() -> Caps {
    let dtypes = DType::ALL.iter().filter(|dtype| computes(**dtype));
    Caps {
        schema_rev: recast_plugin_api::model::SCHEMA_REV,
        target: "torch".into(),
        ops: Op::NAMES.iter().filter(|name| emit::writes(name)).map(|name| name.to_string()).collect(),
        layout: "channels_first".into(),
        kernel: "oihw".into(),
        dtypes: dtypes.map(|dtype| dtype.as_str().to_string()).collect(),
        suffix: "_torch/".into(),
        wants_layers: true,
        needs_graph: true,
        checks: true,
        runner: Some(Runner { name: "torch".into(), script: include_str!("runner.py").into() }),
        ..Caps::default()
    }
}

/// The three files of the package, weights aside.
pub struct Package {
    pub model: String,
    pub init: String,
    pub weights: Vec<weights::Weight>,
}

/// Plans the package of a graph that fits `caps`.
pub fn plan(graph: &Graph, facts: &Facts, name: &str, options: options::Options) -> Result<Package, Findings> {
    let turned = if options.channels_first { Some(layout::turned(graph)?) } else { None };
    let graph = turned.as_ref().map_or(graph, |turned| &turned.graph);
    let mut written = nest::modules(graph, facts, name, &[])?;
    // A class must not have the name of a helper that the file turned out to need.
    let taken = render::helper_names(&written.out.helpers);
    if written.out.classes.iter().any(|class| taken.contains(&class.name.as_str())) {
        written = nest::modules(graph, facts, name, &taken)?;
    }
    let model = render::model(&written, name);
    let init = render::init(&written, graph, turned.as_ref(), name);
    Ok(Package { model, init, weights: written.out.weights })
}

fn write_torch(cx: &WriteCx<'_>, request: &WriteRequest) -> Result<(), Findings> {
    let (options, notes) = options::parse(&request.options, "torch")?;
    notes.iter().for_each(|note| cx.report(note));
    let graph = request.decoded_graph()?;
    let facts = Facts::of(request.layers.as_ref());
    let note = |path: &String| {
        let detail = "dropout inside of a recurrent layer is not carried over: training goes on without it";
        Diag::new(Code::TrainingDropped, path, detail).note()
    };
    facts.recurrent_dropout.iter().for_each(|path| cx.report(&note(path)));
    let package = plan(&graph, &facts, &request.name, options)?;
    let dir = format!("{}_torch", request.name);
    for (name, text) in [("model.py", &package.model), ("__init__.py", &package.init)] {
        cx.create_with(&format!("{dir}/{name}"), text.as_bytes())?;
    }
    let mut metadata = vec![("format", "pt".to_string())];
    if !request.source_digest.is_empty() {
        metadata.push(("recast.source_sha256", request.source_digest.clone()));
    }
    let mut file = BufWriter::with_capacity(BUFFER_BYTES, cx.create(&format!("{dir}/model.safetensors"))?);
    Ok(weights::write(cx, &package.weights, &metadata, &mut file)?)
}

impl Target for Torch {
    const TARGETS: &'static [&'static str] = &["torch", "safetensors"];

    fn capabilities(&self) -> Vec<Caps> {
        vec![caps(), keras::caps()]
    }

    fn write(&self, cx: &WriteCx<'_>, target: &str, request: &WriteRequest) -> Result<(), Findings> {
        match target {
            "torch" => write_torch(cx, request),
            _ => keras::write(cx, request),
        }
    }

    fn check(&self, _cx: &Cx<'_>, target: &str, request: &CheckRequest) -> Result<CheckReply, Findings> {
        match target {
            "torch" => check::check(request),
            _ => keras::check(request),
        }
    }
}

recast_plugin_api::export_plugin! {
    id: "dev.recast.torch",
    name: "PyTorch",
    target: Torch,
}
