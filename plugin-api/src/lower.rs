//! What `Layers::lower` is written with: the request unpacked, the configuration and weights of the layer with located
//! errors, and the graph under construction.
//!
//! ```ignore
//! fn lower(&self, cx: &LowerCx<'_>, request: &LowerRequest) -> Result<Lowered, Findings> {
//!     let mut l = Lowering::new(Some(cx), request)?;
//!     let x = l.input()?;
//!     let kernel = l.param("kernel")?;
//!     let y = l.add(MatMul {}, &[x.value, kernel])?;
//!     l.finish(&[Val { value: y, mask: x.mask }])
//! }
//! ```

use crate::diag::{Code, Diag, Findings};
use crate::ir::wire::GraphProto;
use crate::ir::*;
use crate::messages::{LowerInput, LowerRequest, Lowered, LoweredOutput};
use crate::model::{Arg, ArgKind, Layer, NamedArg, ValueRef, keras_version};
use crate::plugin::LowerCx;
use serde_json::Value as Json;
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

/// A tensor and the Keras mask that travels with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Val {
    pub value: ValueId,
    pub mask: Option<ValueId>,
}

impl Val {
    pub fn plain(value: ValueId) -> Val {
        Val { value, mask: None }
    }
}

/// A layer's configuration; every error names the layer and the key.
#[derive(Debug, Clone)]
pub struct Config {
    path: String,
    json: Json,
}

impl Config {
    pub fn new(path: &str, text: &str) -> Result<Config, Diag> {
        let bad = |detail: String| Diag::new(Code::BadConfig, path, detail);
        let mut json: Json = serde_json::from_str(text).map_err(|e| bad(format!("config is not JSON: {e}")))?;
        let object = json.as_object_mut().ok_or_else(|| bad("config is not an object".into()))?;
        object.values_mut().for_each(unwrap_array);
        Ok(Config { path: path.into(), json })
    }

    /// The layer that this is the configuration of.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What to say when the value of `key` is not `want`.
    pub fn bad(&self, key: &str, want: &str) -> Diag {
        let found = self.json.get(key).map_or("missing".to_string(), |value| {
            let text = value.to_string();
            text.chars().take(80).collect()
        });
        Diag::new(Code::BadConfig, &self.path, format!("'{key}' should be {want}, is {found}"))
    }

    /// The value; `None` when the key is absent or null.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    pub fn object(&self) -> &Json {
        &self.json
    }

    pub fn bool_or(&self, key: &str, default: bool) -> Result<bool, Diag> {
        match self.get(key) {
            None => Ok(default),
            // Old files hold 0 and 1.
            Some(value) => {
                value.as_bool().or(value.as_u64().map(|n| n != 0)).ok_or_else(|| self.bad(key, "true or false"))
            }
        }
    }

    pub fn f64_or(&self, key: &str, default: f64) -> Result<f64, Diag> {
        self.get(key).map_or(Ok(default), |value| value.as_f64().ok_or_else(|| self.bad(key, "a number")))
    }

    pub fn f64(&self, key: &str) -> Result<f64, Diag> {
        self.get(key).and_then(Json::as_f64).ok_or_else(|| self.bad(key, "a number"))
    }

    pub fn u64(&self, key: &str) -> Result<u64, Diag> {
        self.opt_u64(key)?.ok_or_else(|| self.bad(key, "a whole number"))
    }

    pub fn u64_or(&self, key: &str, default: u64) -> Result<u64, Diag> {
        Ok(self.opt_u64(key)?.unwrap_or(default))
    }

    pub fn opt_u64(&self, key: &str) -> Result<Option<u64>, Diag> {
        self.get(key).map(|value| whole(value).ok_or_else(|| self.bad(key, "a whole number"))).transpose()
    }

    pub fn i64_or(&self, key: &str, default: i64) -> Result<i64, Diag> {
        let read = |value: &Json| value.as_i64().or(value.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64));
        self.get(key).map_or(Ok(default), |value| read(value).ok_or_else(|| self.bad(key, "a whole number")))
    }

    pub fn str(&self, key: &str) -> Result<&str, Diag> {
        self.get(key).and_then(Json::as_str).ok_or_else(|| self.bad(key, "a text"))
    }

    pub fn str_or<'a>(&'a self, key: &str, default: &'a str) -> Result<&'a str, Diag> {
        self.get(key).map_or(Ok(default), |value| value.as_str().ok_or_else(|| self.bad(key, "a text")))
    }

    /// A list of whole numbers, or one number that stands for all `count`.
    pub fn u64s(&self, key: &str, count: usize) -> Result<Vec<u64>, Diag> {
        let want = || self.bad(key, &format!("{count} whole numbers"));
        match self.get(key) {
            Some(Json::Array(items)) if items.len() == count => {
                items.iter().map(|v| whole(v).ok_or_else(want)).collect()
            }
            Some(value) => whole(value).map(|n| vec![n; count]).ok_or_else(want),
            None => Err(want()),
        }
    }

    pub fn u64s_or(&self, key: &str, count: usize, default: u64) -> Result<Vec<u64>, Diag> {
        if self.get(key).is_none() { Ok(vec![default; count]) } else { self.u64s(key, count) }
    }

    /// An axis or a list of axes, negative ones counted from the end of `rank`; ascending, each once.
    pub fn axes(&self, key: &str, rank: usize) -> Result<Vec<usize>, Diag> {
        let want = || self.bad(key, &format!("axes of rank {rank}"));
        let items = match self.get(key) {
            Some(Json::Array(items)) => items.clone(),
            Some(value) => vec![value.clone()],
            None => return Err(want()),
        };
        let axis = |value: &Json| value.as_i64().and_then(|axis| resolve_axis(axis, rank)).ok_or_else(want);
        let axes: BTreeSet<usize> = items.iter().map(axis).collect::<Result<_, _>>()?;
        Ok(axes.into_iter().collect())
    }

    pub fn axis(&self, key: &str, rank: usize) -> Result<usize, Diag> {
        match self.axes(key, rank)?[..] {
            [axis] => Ok(axis),
            _ => Err(self.bad(key, "one axis")),
        }
    }

    pub fn axis_or(&self, key: &str, rank: usize, default: i64) -> Result<usize, Diag> {
        match self.get(key) {
            Some(_) => self.axis(key, rank),
            None => resolve_axis(default, rank).ok_or_else(|| self.bad(key, &format!("an axis of rank {rank}"))),
        }
    }
}

/// Keras writes numpy values as `{"class_name": "__numpy__", "config": {"value": ..}}`, and tuples as `{"class_name":
/// "__tuple__", "items": ..}`; what counts is the value.
fn unwrap_array(value: &mut Json) {
    let inner = match value.get("class_name").and_then(Json::as_str) {
        Some("__numpy__" | "__tensor__" | "ndarray") => value.get("config").and_then(|config| config.get("value")),
        Some("__tuple__") => value.get("items"),
        _ => None,
    };
    if let Some(inner) = inner.cloned() {
        *value = inner;
    }
}

/// A non-negative axis; `None` when it is out of range.
pub fn resolve_axis(axis: i64, rank: usize) -> Option<usize> {
    let resolved = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(resolved).ok().filter(|&axis| axis < rank)
}

/// Whole numbers of a configuration are sizes and counts: nothing real is larger, and sums of a few never overflow.
pub const WHOLE_MAX: u64 = 1 << 40;
/// Elements along an axis whose size a lowering computes with: products of two such sizes never overflow.
pub const AXIS_MAX: u64 = 1 << 30;

fn whole(value: &Json) -> Option<u64> {
    // Keras 1 and TensorFlow.js write 3.0 for 3.
    let number = value.as_u64().or_else(|| value.as_f64().filter(|f| f.fract() == 0.0 && *f >= 0.0).map(|f| f as u64));
    number.filter(|&number| number <= WHOLE_MAX)
}

/// What a lowering asks of the host: `LowerCx` within a plugin, a stand-in within a test.
pub trait LowerHost {
    /// Lowers a wrapped layer, whichever plugin owns its class.
    fn lower_child(&self, request: &LowerRequest) -> Result<Lowered, Findings>;
    /// Takes a finding that does not end the call.
    fn report(&self, diag: &Diag);
}

impl LowerHost for LowerCx<'_> {
    fn lower_child(&self, request: &LowerRequest) -> Result<Lowered, Findings> {
        LowerCx::lower_child(self, request)
    }

    fn report(&self, diag: &Diag) {
        crate::plugin::Cx::report(self, diag);
    }
}

pub struct Lowering<'a> {
    cx: Option<&'a dyn LowerHost>,
    pub request: &'a LowerRequest,
    pub layer: &'a Layer,
    pub config: Config,
    pub graph: Graph,
    inputs: Vec<Val>,
    taken: BTreeSet<String>,
    unmasked: BTreeSet<u32>,
}

/// The versions of Keras in which a tensor that a layer casts for itself comes without its mask.
pub const CASTS_LOSE_MASKS: Range<(u32, u32)> = (3, 0)..(3, 14);

/// A graph with the request's inputs and masks, and nothing else.
pub fn begin(request: &LowerRequest, path: &str) -> Result<(Graph, Vec<Val>), Diag> {
    let mut graph = Graph::new(path);
    let mut inputs = Vec::new();
    for (index, input) in request.inputs.iter().enumerate() {
        let ty = input.ty.as_ref().ok_or_else(|| Diag::new(Code::PluginMisbehaved, path, "untyped input"))?;
        let value = graph.input(format!("x{index}"), ty.decode_type()?);
        let mask = input.mask.as_ref().map(|mask| mask.decode_type()).transpose()?;
        let mask = mask.map(|ty| graph.input(format!("mask{index}"), ty));
        inputs.push(Val { value, mask });
    }
    Ok((graph, inputs))
}

impl<'a> Lowering<'a> {
    /// Unpacks a request. `cx` is only needed for wrapped layers.
    pub fn new(cx: Option<&'a dyn LowerHost>, request: &'a LowerRequest) -> Result<Lowering<'a>, Findings> {
        let layer = request.layer.as_ref();
        let layer = layer.ok_or_else(|| Diag::new(Code::PluginMisbehaved, "", "a request without layer"))?;
        let config = Config::new(&layer.path, &layer.config)?;
        let (graph, inputs) = begin(request, &layer.path)?;
        Ok(Lowering { cx, request, layer, config, graph, inputs, taken: BTreeSet::new(), unmasked: BTreeSet::new() })
    }

    /// An error at this layer.
    pub fn error(&self, code: Code, detail: impl Into<String>) -> Diag {
        Diag::new(code, &self.layer.path, detail)
    }

    pub fn unsupported(&self, detail: impl Into<String>) -> Diag {
        self.error(Code::UnsupportedLayer, format!("{}: {}", self.layer.class, detail.into()))
    }

    /// Tells a finding that does not end the call: a loss, a note.
    pub fn report(&self, diag: &Diag) {
        if let Some(cx) = self.cx {
            cx.report(diag);
        }
    }

    /// Major and minor version of the Keras that wrote the file.
    pub fn keras_version(&self) -> (u32, u32) {
        keras_version(&self.request.keras_version)
    }

    /// Major version of the Keras that wrote the file.
    pub fn keras_major(&self) -> u32 {
        self.keras_version().0
    }

    /// All tensors of the call, in order.
    pub fn inputs(&self) -> &[Val] {
        &self.inputs
    }

    /// Casts the floating-point tensors of the call to `to`, as Keras autocasts them; others stay what they are. With
    /// what is cast, the mask does not travel in `CASTS_LOSE_MASKS`.
    pub fn cast_float_inputs(&mut self, to: DType) -> Result<(), Diag> {
        let loses_mask = CASTS_LOSE_MASKS.contains(&self.keras_version());
        for index in 0..self.inputs.len() {
            let Val { value, mask } = self.inputs[index];
            if self.ty(value).dtype.is_float() {
                let cast = self.cast(value, to)?;
                self.inputs[index] = Val { value: cast, mask: mask.filter(|_| cast == value || !loses_mask) };
            }
        }
        Ok(())
    }

    /// The call takes the masks away from those of its inputs that are `value`, for every later call too. A tensor that
    /// was cast is another one: the input keeps its mask.
    pub fn unmask(&mut self, value: ValueId) {
        if self.graph.inputs.iter().any(|input| input.value == value) {
            let of = self.inputs.iter().enumerate().filter(|(_, input)| input.value == value);
            self.unmasked.extend(of.map(|(index, _)| index as u32));
        }
    }

    /// The only tensor of the call's positional arguments.
    pub fn input(&self) -> Result<Val, Diag> {
        match self.positional()[..] {
            [one] => Ok(one),
            ref other => Err(self.error(Code::BadConfig, format!("takes one input, is called with {}", other.len()))),
        }
    }

    /// The tensors of the positional arguments, lists flattened.
    pub fn positional(&self) -> Vec<Val> {
        let mut out = Vec::new();
        self.request.args.iter().for_each(|arg| collect(arg, &self.inputs, &mut out));
        out
    }

    pub fn kwarg(&self, name: &str) -> Option<&'a ArgKind> {
        let found = self.request.kwargs.iter().find(|named| named.name == name);
        found.and_then(|named| named.arg.as_ref()).and_then(|arg| arg.kind.as_ref())
    }

    /// The tensors in a keyword argument (one, or a list of them); empty when it is absent or a constant.
    pub fn kwarg_values(&self, name: &str) -> Vec<Val> {
        let mut out = Vec::new();
        if let Some(kind) = self.kwarg(name) {
            collect(&Arg { kind: Some(kind.clone()) }, &self.inputs, &mut out);
        }
        out
    }

    /// An argument by its place in Keras' call signature or by its name.
    pub fn argument(&self, place: usize, name: &str) -> Option<&'a ArgKind> {
        let positional = self.request.args.get(place).and_then(|arg| arg.kind.as_ref());
        positional.or_else(|| self.kwarg(name))
    }

    /// The tensors of an argument in place, `None` where its list holds something else (a null mask, say); empty where
    /// it is absent (`Arg::masks`).
    pub fn argument_values(&self, place: usize, name: &str) -> Vec<Option<Val>> {
        let kind = self.argument(place, name).cloned();
        let named = Arg { kind };
        let val = |value: &ValueRef| self.inputs.get(value.index as usize).copied();
        named.masks().unwrap_or_default().into_iter().map(|value| value.and_then(val)).collect()
    }

    /// A true-or-false argument of the call; false when it is absent or null.
    pub fn argument_flag(&self, place: usize, name: &str) -> Result<bool, Diag> {
        let bad = || self.error(Code::BadConfig, format!("argument '{name}' should be true or false"));
        match self.argument(place, name) {
            None => Ok(false),
            Some(ArgKind::Json(text)) => match serde_json::from_str(text) {
                Ok(Json::Null) => Ok(false),
                Ok(Json::Bool(flag)) => Ok(flag),
                Ok(Json::Number(number)) => Ok(number.as_f64() != Some(0.0)),
                _ => Err(bad()),
            },
            Some(_) => Err(bad()),
        }
    }

    /// A constant keyword argument; `None` when it is absent, null or a tensor.
    pub fn kwarg_json(&self, name: &str) -> Result<Option<Json>, Diag> {
        match self.kwarg(name) {
            Some(ArgKind::Json(text)) => {
                let value: Json = serde_json::from_str(text)
                    .map_err(|e| self.error(Code::BadConfig, format!("argument '{name}': {e}")))?;
                Ok(Some(value).filter(|value| !value.is_null()))
            }
            _ => Ok(None),
        }
    }

    pub fn ty(&self, value: ValueId) -> &Type {
        self.graph.ty(value)
    }

    pub fn shape(&self, value: ValueId) -> Vec<Dim> {
        self.graph.shape(value).to_vec()
    }

    pub fn rank(&self, value: ValueId) -> usize {
        self.graph.shape(value).len()
    }

    /// The size of an axis that must be known, such as the channels. At most `AXIS_MAX`.
    pub fn known(&self, value: ValueId, axis: usize) -> Result<u64, Diag> {
        let dim = self.graph.shape(value).get(axis).cloned();
        let size = dim.as_ref().and_then(Dim::known);
        let size = size.ok_or_else(|| self.unsupported(format!("axis {axis} of {} is not known", self.ty(value))))?;
        if size > AXIS_MAX {
            return Err(self.error(Code::LimitExceeded, format!("axis {axis} of {}", self.ty(value))));
        }
        Ok(size)
    }

    /// Takes a weight of this layer by its role.
    pub fn param(&mut self, role: &str) -> Result<ValueId, Diag> {
        let found = self.opt_param(role)?;
        found.ok_or_else(|| self.missing(role))
    }

    pub fn opt_param(&mut self, role: &str) -> Result<Option<ValueId>, Diag> {
        let Some(weight) = self.layer.weight(role) else { return Ok(None) };
        let tensor =
            weight.tensor.as_ref().ok_or_else(|| self.error(Code::WeightMissing, format!("'{role}' is empty")))?;
        let tensor = tensor.decode_tensor()?;
        self.taken.insert(role.into());
        Ok(Some(self.graph.param(&self.layer.path, role, tensor)))
    }

    /// Takes a weight and checks its shape; `None` in `sizes` is any size.
    pub fn param_shaped(&mut self, role: &str, sizes: &[Option<u64>]) -> Result<ValueId, Diag> {
        let value = self.param(role)?;
        let have: Vec<Option<u64>> = self.graph.shape(value).iter().map(Dim::known).collect();
        let fits = have.len() == sizes.len() && have.iter().zip(sizes).all(|(h, w)| w.is_none() || h == w);
        if fits {
            return Ok(value);
        }
        let want: Vec<String> = sizes.iter().map(|size| size.map_or("any".into(), |n| n.to_string())).collect();
        let detail = format!("'{role}' is {}, should be [{}]", self.ty(value), want.join(", "));
        Err(self.error(Code::WeightShape, detail))
    }

    /// Takes a weight as `param_shaped` does, its elements seen under another shape of as many.
    pub fn param_as(&mut self, role: &str, sizes: &[Option<u64>], shape: &[u64]) -> Result<ValueId, Diag> {
        let tensor = self.layer.weight(role).and_then(|weight| weight.tensor.as_ref());
        let view = tensor.map(|tensor| tensor.decode_tensor()).transpose()?.filter(|tensor| {
            let fits = |(have, want): (&u64, &Option<u64>)| want.is_none_or(|want| want == *have);
            tensor.shape.len() == sizes.len() && tensor.shape.iter().zip(sizes).all(fits)
        });
        match view.and_then(|tensor| tensor.reshaped(shape)) {
            Some(view) => {
                self.taken.insert(role.into());
                Ok(self.graph.param(&self.layer.path, role, view))
            }
            // Says what is missing or misshapen.
            None => self.param_shaped(role, sizes),
        }
    }

    /// Takes a weight whose shape is `stored`, seen under another shape with as many elements (no bytes move).
    pub fn param_reshaped(&mut self, role: &str, stored: &[u64], shape: &[u64]) -> Result<ValueId, Diag> {
        let tensor = self.layer.weight(role).and_then(|weight| weight.tensor.as_ref());
        let tensor = tensor.ok_or_else(|| self.missing(role))?.decode_tensor()?;
        let fits = tensor.shape == stored;
        let seen = tensor.reshaped(shape).filter(|_| fits).ok_or_else(|| {
            let detail = format!("'{role}' is {}, should be {stored:?}", tensor.ty());
            self.error(Code::WeightShape, detail)
        })?;
        self.taken.insert(role.into());
        Ok(self.graph.param(&self.layer.path, role, seen))
    }

    fn missing(&self, role: &str) -> Diag {
        let roles: Vec<&str> = self.layer.weights.iter().map(|weight| weight.role.as_str()).collect();
        let held = if roles.is_empty() { "none".to_string() } else { roles.join(", ") };
        self.error(Code::WeightMissing, format!("no '{role}' in the file; the layer's weights: {held}"))
    }

    /// Declares a stored array that has no part in inference (a seed, a counter).
    pub fn ignore(&mut self, role: &str) {
        self.taken.insert(role.into());
    }

    pub fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId, Diag> {
        self.graph.add(&self.layer.path, op, inputs)
    }

    pub fn add_node(&mut self, op: impl Into<Op>, inputs: &[Option<ValueId>]) -> Result<Vec<ValueId>, Diag> {
        self.graph.add_node(&self.layer.path, op.into(), inputs)
    }

    pub fn unary(&mut self, function: UnaryFunction, x: ValueId) -> Result<ValueId, Diag> {
        self.graph.unary(&self.layer.path, function, x)
    }

    pub fn binary(&mut self, function: BinaryFunction, a: ValueId, b: ValueId) -> Result<ValueId, Diag> {
        self.graph.binary(&self.layer.path, function, a, b)
    }

    pub fn binary_scalar(&mut self, function: BinaryFunction, x: ValueId, value: f64) -> Result<ValueId, Diag> {
        self.graph.binary_scalar(&self.layer.path, function, x, value)
    }

    pub fn scalar_like(&mut self, x: ValueId, value: f64) -> Result<ValueId, Diag> {
        self.graph.scalar_like(&self.layer.path, x, value)
    }

    pub fn constant(&mut self, tensor: Tensor) -> Result<ValueId, Diag> {
        self.graph.constant(&self.layer.path, tensor)
    }

    pub fn reshape(&mut self, x: ValueId, shape: impl Into<Shape>) -> Result<ValueId, Diag> {
        self.graph.reshape(&self.layer.path, x, shape)
    }

    pub fn transpose(&mut self, x: ValueId, perm: &[usize]) -> Result<ValueId, Diag> {
        self.graph.transpose(&self.layer.path, x, perm)
    }

    pub fn cast(&mut self, x: ValueId, to: DType) -> Result<ValueId, Diag> {
        self.graph.cast(&self.layer.path, x, to)
    }

    pub fn reduce(&mut self, f: ReduceFunction, x: ValueId, axes: &[usize], keep: bool) -> Result<ValueId, Diag> {
        self.graph.reduce(&self.layer.path, f, x, axes, keep)
    }

    pub fn slice(&mut self, x: ValueId, axis: usize, start: Dim, stop: Dim) -> Result<ValueId, Diag> {
        self.graph.slice(&self.layer.path, x, axis, start, stop)
    }

    /// Elements start, start + step, .. below stop.
    pub fn strided(&mut self, x: ValueId, axis: usize, range: (Dim, Dim), step: u64) -> Result<ValueId, Diag> {
        self.graph.strided(&self.layer.path, x, axis, range, step)
    }

    pub fn squeeze(&mut self, x: ValueId, axis: usize) -> Result<ValueId, Diag> {
        self.graph.squeeze(&self.layer.path, x, axis)
    }

    pub fn expand(&mut self, x: ValueId, axis: usize) -> Result<ValueId, Diag> {
        self.graph.expand(&self.layer.path, x, axis)
    }

    pub fn child(&self, attribute: &str) -> Result<&'a Layer, Diag> {
        let found = self.layer.child(attribute);
        found.ok_or_else(|| self.error(Code::BadConfig, format!("the wrapped layer '{attribute}' is missing")))
    }

    /// Lowers a wrapped layer, whichever plugin owns its class, on these inputs, and returns its outputs. Keyword
    /// arguments are passed on as they are: their tensors are `extra`, numbered after `inputs`.
    pub fn lower_child(
        &mut self,
        child: &Layer,
        inputs: &[Val],
        kwargs: &[NamedArg],
        extra: &[Val],
    ) -> Result<Vec<Val>, Findings> {
        let cx = self.cx.ok_or_else(|| self.error(Code::Bug, "a wrapped layer needs the host"))?;
        let all: Vec<Val> = inputs.iter().chain(extra).copied().collect();
        let typed = |val: &Val| LowerInput {
            ty: Some(self.graph.ty(val.value).into()),
            mask: val.mask.map(|mask| self.graph.ty(mask).into()),
        };
        let refs = (0..inputs.len() as u32).map(|index| Arg::value(ValueRef { call: None, index })).collect::<Vec<_>>();
        let request = LowerRequest {
            layer: Some(child.clone()),
            inputs: all.iter().map(typed).collect(),
            args: if refs.len() == 1 { refs } else { vec![Arg::list(refs)] },
            kwargs: kwargs.to_vec(),
            ..self.request.clone()
        };
        let lowered = cx.lower_child(&request)?;
        splice(&mut self.graph, &lowered, &all, &child.path)
    }

    /// The reply, once every stored array of the layer was taken.
    pub fn finish(self, outputs: &[Val]) -> Result<Lowered, Findings> {
        let left: Vec<&str> = self.layer.weights.iter().map(|weight| weight.role.as_str()).collect();
        let left: Vec<&str> = left.into_iter().filter(|role| !self.taken.contains(*role)).collect();
        if !left.is_empty() {
            let detail = format!("{} has no use for the stored {}", self.layer.class, left.join(", "));
            return Err(self.error(Code::WeightLeftover, detail).into());
        }
        let output = |val: &Val| LoweredOutput { value: val.value.0, mask: val.mask.map(|mask| mask.0) };
        Ok(Lowered {
            graph: Some(GraphProto::from(&self.graph)),
            outputs: outputs.iter().map(output).collect(),
            unmasked: self.unmasked.into_iter().collect(),
        })
    }
}

fn collect(arg: &Arg, inputs: &[Val], out: &mut Vec<Val>) {
    match &arg.kind {
        Some(ArgKind::Value(value)) => out.extend(inputs.get(value.index as usize)),
        Some(ArgKind::List(list)) => list.items.iter().for_each(|item| collect(item, inputs, out)),
        Some(ArgKind::Dict(dict)) => {
            dict.items.iter().filter_map(|named| named.arg.as_ref()).for_each(|item| collect(item, inputs, out))
        }
        Some(ArgKind::Json(_)) | None => {}
    }
}

/// The fragment with names for the numbers of its words that `graph` does not have yet.
fn own_words(graph: &Graph, mut fragment: Graph) -> Result<Graph, Diag> {
    fn words(graph: &Graph) -> Vec<String> {
        let word = |node: &Node| {
            if let Op::StringSplit(op) = &node.op { op.words.as_symbol().map(str::to_owned) } else { None }
        };
        graph.nodes().iter().filter_map(word).collect()
    }
    let wanted = words(&fragment);
    // Nearly always; and the whole graph would be searched for each of its layers.
    if wanted.is_empty() {
        return Ok(fragment);
    }
    let taken: HashSet<String> = graph.symbols().into_iter().chain(words(graph)).collect();
    for word in wanted {
        let mut names = std::iter::once(word.clone()).chain((2..).map(|number| format!("{word}_{number}")));
        let free = names.find(|name| !taken.contains(name)).unwrap_or_default();
        if free != word {
            fragment = fragment.bind(&|name| (name == word).then(|| Dim::symbol(&free)))?;
        }
    }
    Ok(fragment)
}

/// Puts a lowered layer into `graph`; `inputs` as in the request. Returns its outputs as values of `graph`.
pub fn splice(graph: &mut Graph, lowered: &Lowered, inputs: &[Val], path: &str) -> Result<Vec<Val>, Findings> {
    let broken = |detail: &str| Diag::new(Code::PluginMisbehaved, path, detail);
    let fragment = lowered.graph.as_ref().ok_or_else(|| broken("lowered to no graph"))?.decode_graph()?;
    let mut values = Vec::new();
    for input in inputs {
        values.push(input.value);
        values.extend(input.mask);
    }
    let fragment = own_words(graph, fragment)?;
    let map = graph.splice(&fragment, &values)?;
    let find = |id: u32| map.get(id as usize).copied().flatten().ok_or_else(|| broken("an output that is no value"));
    let output =
        |output: &LoweredOutput| Ok(Val { value: find(output.value)?, mask: output.mask.map(find).transpose()? });
    lowered.outputs.iter().map(output).collect()
}
