//! One call into a plugin: what it may ask for meanwhile, what it said, and what comes of it.

use super::events::Events;
use super::outputs::Outputs;
use super::tensors::Elements;
use super::{Host, LowerChild};
use prost::Message;
use recast_abi::{RecastBytes, RecastTensorView, status, stream};
use recast_plugin_api::diag::{Code, Diag, DiagProto, Findings};
use recast_plugin_api::ir::Tensor;
use recast_plugin_api::ir::wire::{AttrKind, GraphProto, TensorProto};
use recast_plugin_api::messages::LowerRequest;
use recast_plugin_api::model::Layer;
use recast_plugin_api::plugin::{ErrorProto, dtype_code, status_of};
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

/// A layer model or a graph of that size is no model.
const RESULT_BYTES_MAX: usize = 512 << 20;
/// What nobody would read to the end.
const FINDINGS_MAX: usize = 10_000;
const VIEWS_MAX: usize = 4096;

/// Which tensors a call may ask for by name.
pub(super) enum Names<'c> {
    None,
    /// Params of the graph in a request.
    Params(HashMap<String, &'c TensorProto>),
    /// Weights of the layer that is lowered, and of those inside it.
    Layer(&'c Layer),
    /// `input/0`, ... of a layer that is computed.
    Inputs(&'c Layer, &'c [Tensor]),
}

impl<'c> Names<'c> {
    pub(super) fn of_graph(graph: Option<&'c GraphProto>) -> Names<'c> {
        let mut params = HashMap::new();
        if let Some(graph) = graph {
            collect_params(graph, &mut params);
        }
        Names::Params(params)
    }

    fn find(&self, name: &str) -> Option<Tensor> {
        match self {
            Names::None => None,
            Names::Params(params) => params.get(name)?.decode_tensor().ok(),
            Names::Layer(layer) => weight(layer, name),
            Names::Inputs(layer, inputs) => match name.strip_prefix("input/").map(str::parse::<usize>) {
                Some(Ok(number)) => inputs.get(number).cloned(),
                _ => weight(layer, name),
            },
        }
    }
}

/// Params of a graph and of the bodies of its scans.
fn collect_params<'c>(graph: &'c GraphProto, found: &mut HashMap<String, &'c TensorProto>) {
    for param in &graph.params {
        let name = if param.path.is_empty() { param.role.clone() } else { format!("{}/{}", param.path, param.role) };
        if let Some(tensor) = &param.tensor {
            found.entry(name).or_insert(tensor);
        }
    }
    let bodies = graph.nodes.iter().flat_map(|node| &node.attrs).filter_map(|attr| match &attr.kind {
        Some(AttrKind::Graph(body)) => Some(body),
        _ => None,
    });
    bodies.for_each(|body| collect_params(body, found));
}

fn weight(layer: &Layer, name: &str) -> Option<Tensor> {
    let role = name.strip_prefix(layer.path.as_str()).and_then(|rest| rest.strip_prefix('/'));
    let own = role.and_then(|role| layer.weight(role)).and_then(|weight| weight.tensor.as_ref());
    match own {
        Some(tensor) => tensor.decode_tensor().ok(),
        None => layer.children.iter().filter_map(|child| child.layer.as_ref()).find_map(|child| weight(child, name)),
    }
}

/// A view that was handed out, and what keeps it alive.
struct Held {
    elements: Elements<'static>,
    dims: Box<[i64]>,
}

/// What `RecastHost::ctx` points at while a plugin works. Any thread of the plugin may come.
pub(super) struct Call<'c> {
    host: &'c Host,
    plugin: usize,
    what: &'static str,
    at: &'c str,
    names: Names<'c>,
    outputs: Option<&'c Mutex<Outputs>>,
    children: Option<&'c LowerChild<'c>>,
    /// `lower_child` leads back into the host, which is not made for a second thread there.
    thread: ThreadId,
    said: Mutex<Said>,
    held: Mutex<HashMap<usize, Held>>,
    /// Texts whose pointers the plugin got; alive until the call returns.
    texts: Mutex<Vec<Arc<str>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.elements.forget();
    }
}

#[derive(Default)]
struct Said {
    result: Vec<u8>,
    error: Option<ErrorProto>,
    findings: Findings,
    /// Why a host function refused, in words: the plugin only got a status.
    refused: Option<Diag>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'c> Call<'c> {
    pub(super) fn new(host: &'c Host, plugin: usize, what: &'static str, at: &'c str, names: Names<'c>) -> Call<'c> {
        let (said, held, texts) = (Mutex::default(), Mutex::default(), Mutex::default());
        let thread = std::thread::current().id();
        Call { host, plugin, what, at, names, outputs: None, children: None, thread, said, held, texts }
    }

    pub(super) fn with_children(mut self, children: &'c LowerChild<'c>) -> Call<'c> {
        self.children = Some(children);
        self
    }

    pub(super) fn with_outputs(mut self, outputs: &'c Mutex<Outputs>) -> Call<'c> {
        self.outputs = Some(outputs);
        self
    }

    pub(super) fn plugin_id(&self) -> &'c str {
        self.host.plugin_id(self.plugin)
    }

    pub(super) fn events(&self) -> &dyn Events {
        self.host.events()
    }

    pub(super) fn threads(&self) -> u32 {
        self.host.threads()
    }

    /// Runs the call: `enter` calls the plugin and returns its answer, which is not negative on success.
    pub(super) fn run(self, enter: impl FnOnce(&recast_abi::RecastHost) -> i32) -> Result<(i32, Vec<u8>), Findings> {
        let host = super::offer::for_call(&self);
        self.events().entering(self.plugin_id(), self.what, self.at);
        let code = enter(&host);
        self.events().left();
        self.judge(code)
    }

    fn judge(self, code: i32) -> Result<(i32, Vec<u8>), Findings> {
        let plugin = self.plugin_id();
        let mut said = std::mem::take(&mut *locked(&self.said));
        if code >= 0 {
            self.host.note(said.findings);
            return Ok((code, said.result));
        }
        said.findings.extend(said.refused);
        if said.findings.iter().any(Diag::is_error) {
            return Err(said.findings);
        }
        let error = said.error.unwrap_or_default();
        let text = if error.message.is_empty() { format!("status {code}") } else { error.message };
        let at = if error.at.is_empty() { self.at.to_owned() } else { error.at };
        let verdict = if code == status::PANIC { "panicked" } else { "failed" };
        let place = if error.location.is_empty() { String::new() } else { format!(" at {}", error.location) };
        let detail = format!("the plugin {plugin} {verdict} in {}: {text}{place}", self.what);
        let code = match code {
            status::CANCELLED => Code::Cancelled,
            status::UNSUPPORTED => Code::UnsupportedLayer,
            status::BAD_INPUT => Code::Malformed,
            status::IO => Code::Io,
            status::PANIC => Code::PluginCrashed,
            _ => Code::PluginMisbehaved,
        };
        said.findings.push(Diag::new(code, at, detail).hint(error.hint));
        Err(said.findings)
    }

    fn refuse(&self, code: i32, diag: Diag) -> i32 {
        locked(&self.said).refused.get_or_insert(diag);
        code
    }

    fn misuse(&self, detail: String) -> i32 {
        let detail = format!("the plugin {}, in {}: {detail}", self.plugin_id(), self.what);
        self.refuse(status::MISUSE, Diag::new(Code::PluginMisbehaved, self.at, detail))
    }

    pub(super) fn emit(&self, stream: u32, chunk: &[u8]) -> i32 {
        if self.events().is_cancelled() {
            return status::CANCELLED;
        }
        match stream {
            stream::RESULT => {
                let mut said = locked(&self.said);
                if said.result.len() + chunk.len() > RESULT_BYTES_MAX {
                    drop(said);
                    return self.misuse(format!("a reply of more than {RESULT_BYTES_MAX} bytes"));
                }
                said.result.extend_from_slice(chunk);
                status::OK
            }
            stream::ERROR => match ErrorProto::decode(chunk) {
                Ok(error) => {
                    locked(&self.said).error = Some(error);
                    status::OK
                }
                Err(error) => self.misuse(format!("an error that does not decode: {error}")),
            },
            stream::DIAGNOSTIC => self.find(chunk),
            output => match self.outputs {
                Some(outputs) => self.written(outputs, |outputs| outputs.write(output, chunk)),
                None => self.misuse(format!("stream {output} where nothing is written")),
            },
        }
    }

    fn find(&self, chunk: &[u8]) -> i32 {
        let diag = match DiagProto::decode(chunk) {
            Ok(proto) => proto.decode_diag(),
            Err(error) => return self.misuse(format!("a finding that does not decode: {error}")),
        };
        let mut said = locked(&self.said);
        if said.findings.len() < FINDINGS_MAX {
            said.findings.push(diag);
            return status::OK;
        }
        drop(said);
        self.misuse(format!("more than {FINDINGS_MAX} findings"))
    }

    fn written(&self, outputs: &Mutex<Outputs>, act: impl FnOnce(&mut Outputs) -> i32) -> i32 {
        let mut outputs = locked(outputs);
        let code = act(&mut outputs);
        if code < 0 {
            let detail = outputs.failure().unwrap_or("the output failed").to_owned();
            let kind = if code == status::IO { Code::Io } else { Code::PluginMisbehaved };
            return self.refuse(code, Diag::new(kind, self.at, detail));
        }
        code
    }

    pub(super) fn output_open(&self, name: &[u8]) -> i32 {
        match self.outputs {
            Some(outputs) => self.written(outputs, |outputs| outputs.open(name)),
            None => self.misuse("an output file where nothing is written".into()),
        }
    }

    pub(super) fn output_close(&self, stream: u32) -> i32 {
        self.outputs.map_or(status::MISUSE, |outputs| locked(outputs).close(stream))
    }

    pub(super) fn map(&self, path: &[u8]) -> Result<RecastBytes, i32> {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        match self.host.tensors().map(path) {
            // The store keeps the mapping for as long as the host lives, which is longer than the call.
            Ok(mapping) => Ok(RecastBytes::new(mapping.bytes())),
            Err(diag) => Err(self.refuse(status::IO, diag)),
        }
    }

    pub(super) fn scratch_create(&self) -> Result<(u32, RecastBytes), i32> {
        match self.host.tensors().create_scratch() {
            Ok((number, name)) => {
                let bytes = RecastBytes::new(name.as_bytes());
                locked(&self.texts).push(name);
                Ok((number, bytes))
            }
            Err(error) => Err(self.refuse(status::IO, Diag::new(Code::Io, "scratch", error.to_string()))),
        }
    }

    pub(super) fn scratch_append(&self, file: u32, chunk: &[u8]) -> i64 {
        if self.events().is_cancelled() {
            return i64::from(status::CANCELLED);
        }
        match self.host.tensors().append_scratch(file, chunk) {
            Ok(offset) => offset as i64,
            Err(error) => {
                let diag = Diag::new(Code::Io, "scratch", error.to_string());
                i64::from(self.refuse(status::IO, diag))
            }
        }
    }

    pub(super) fn tensor_by_name(&self, name: &[u8]) -> Result<RecastTensorView, i32> {
        let name = String::from_utf8_lossy(name);
        let tensor = self.names.find(&name).ok_or_else(|| self.misuse(format!("no tensor is called {name:?}")))?;
        self.view(&tensor)
    }

    pub(super) fn tensor_by_proto(&self, proto: &[u8]) -> Result<RecastTensorView, i32> {
        let proto =
            TensorProto::decode(proto).map_err(|e| self.misuse(format!("a tensor that does not decode: {e}")))?;
        let tensor = proto.decode_tensor().map_err(|diag| self.refuse(status::BAD_INPUT, diag))?;
        self.view(&tensor)
    }

    fn view(&self, tensor: &Tensor) -> Result<RecastTensorView, i32> {
        let dtype = dtype_code(tensor.dtype).ok_or(status::UNSUPPORTED)?;
        let elements = self.host.tensors().elements(tensor).map_err(|diag| self.refuse(status::BAD_INPUT, diag))?;
        let elements = elements.into_owned();
        let data = RecastBytes::new(elements.bytes());
        // One more than the rank: the address stands for the view, and an empty box has none of its own.
        let dims = tensor.shape.iter().map(|&dim| dim as i64).chain([0]).collect::<Box<[i64]>>();
        let view = RecastTensorView {
            dtype,
            rank: tensor.shape.len() as u32,
            dims: dims.as_ptr(),
            data,
            align: 1 << (data.ptr as usize).trailing_zeros().min(12),
            flags: 0,
        };
        let mut held = locked(&self.held);
        if held.len() == VIEWS_MAX {
            drop(held);
            return Err(self.misuse(format!("more than {VIEWS_MAX} tensors at once")));
        }
        held.insert(dims.as_ptr() as usize, Held { elements, dims });
        Ok(view)
    }

    pub(super) fn tensor_done(&self, view: &RecastTensorView) {
        let held = locked(&self.held).remove(&(view.dims as usize));
        debug_assert!(held.is_none_or(|held| held.dims.len() == view.rank as usize + 1));
    }

    pub(super) fn lower_child(&self, request: &[u8]) -> Result<Vec<u8>, i32> {
        let request =
            LowerRequest::decode(request).map_err(|e| self.misuse(format!("a request that does not decode: {e}")))?;
        let Some(children) = self.children.filter(|_| self.thread == std::thread::current().id()) else {
            return Err(self.misuse("lower_child where no layer is lowered".into()));
        };
        match children(&request) {
            Ok(lowered) => Ok(lowered.encode_to_vec()),
            Err(findings) => {
                let code = status_of(&findings);
                locked(&self.said).findings.extend(findings);
                Err(code)
            }
        }
    }
}
