//! Layer model to graph: walks the calls of a model in evaluation order, asks the plugin that owns each class for the
//! layer's ops, and puts them together. Knows models, calls and masks; knows no layer class.
//!
//! Every finding of the whole model is collected: a layer that can't be lowered only silences those that need it.

use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::dim::is_symbol_char;
use recast_plugin_api::ir::wire::GraphProto;
use recast_plugin_api::ir::{DType, Dim, Graph, Op, RANK_MAX, Type, ValueId};
use recast_plugin_api::lower::{Val, begin, splice};
use recast_plugin_api::messages::{LowerInput, LowerRequest, Lowered, LoweredOutput};
use recast_plugin_api::model::{Arg, Call, Layer, LayerModel, Model, ModelInput, NamedArg, SCHEMA_REV, ValueRef};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Models and wrappers inside each other.
pub const NESTING_MAX: usize = 64;

/// What lowering needs of the plugins.
pub trait LayerOwners {
    /// Does a plugin own this class?
    fn owns(&self, class: &str) -> bool;
    /// Asks the owner. Wrapped layers come back through `Lowerer::lower_child`.
    fn lower(&self, lowerer: &Lowerer<'_>, request: &LowerRequest) -> Result<Lowered, Findings>;
}

/// One lowering in progress; plugins reach it again for the layers that they wrap.
pub struct Lowerer<'a> {
    owners: &'a dyn LayerOwners,
    keras_version: &'a str,
    format: &'a str,
    depth: usize,
}

/// A class that nothing lowers, with the layers that need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub class: String,
    pub paths: Vec<String>,
}

/// Every class of the layer model that no plugin owns, in order of first appearance.
pub fn missing_classes(model: &LayerModel, owners: &dyn LayerOwners) -> Vec<Missing> {
    let mut missing: Vec<Missing> = Vec::new();
    let mut owned: HashMap<&str, bool> = HashMap::new();
    for layer in layers_of(model) {
        if layer.model.is_some() || *owned.entry(&layer.class).or_insert_with(|| owners.owns(&layer.class)) {
            continue;
        }
        match missing.iter_mut().find(|known| known.class == layer.class) {
            Some(known) => known.paths.push(layer.path.clone()),
            None => missing.push(Missing { class: layer.class.clone(), paths: vec![layer.path.clone()] }),
        }
    }
    missing
}

/// Gives layers the expressions that the configuration has for them, by path; a path that no layer has is an error.
pub fn express(model: &mut LayerModel, expressions: &BTreeMap<String, String>) -> Result<(), Findings> {
    fn within(layer: &mut Layer, left: &mut BTreeMap<&str, &str>) {
        if let Some(expression) = left.remove(layer.path.as_str()) {
            layer.expression = Some(expression.to_owned());
        }
        layer.children.iter_mut().filter_map(|child| child.layer.as_mut()).for_each(|inner| within(inner, left));
        layer.model.iter_mut().flat_map(|model| &mut model.layers).for_each(|inner| within(inner, left));
    }
    let mut left: BTreeMap<&str, &str> =
        expressions.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    model.root.iter_mut().flat_map(|root| &mut root.layers).for_each(|layer| within(layer, &mut left));
    let finding = |path: &&str| {
        let detail = "the configuration has an expression for it, and the model has no such layer";
        Diag::new(Code::BadConfig, *path, detail).hint("`recast inspect` lists the layers by path")
    };
    let findings: Findings = left.keys().map(finding).collect();
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

/// Does a finding say that there are no ops for a layer, and nothing against the layer itself? Where layers are all
/// that is written, it is no obstacle.
pub fn is_beyond_ops(found: &Diag) -> bool {
    !found.is_error() || matches!(found.code, Code::UnknownLayer | Code::UnsupportedLayer)
}

/// The findings for missing classes: what is missing, where, and what to do about it.
pub fn missing_findings(missing: &[Missing]) -> Findings {
    let finding = |missing: &Missing| {
        let paths = missing.paths.join(", ");
        Diag::new(Code::UnknownLayer, paths, format!("no plugin lowers the class '{}'", missing.class)).hint(format!(
            "put a layers plugin that claims '{}' into a plugin directory ('recast plugins new NAME' starts one); what \
             lies in a watched folder is then converted by itself",
            missing.class
        ))
    };
    missing.iter().map(finding).collect()
}

/// Every layer of a layer model, nested models and wrapped layers included, in the order of the file.
pub fn layers_of(model: &LayerModel) -> Vec<&Layer> {
    fn visit<'a>(layer: &'a Layer, depth: usize, out: &mut Vec<&'a Layer>) {
        if depth > NESTING_MAX {
            return;
        }
        out.push(layer);
        let inner = layer.model.iter().flat_map(|model| &model.layers);
        let children = layer.children.iter().filter_map(|child| child.layer.as_ref());
        inner.chain(children).for_each(|layer| visit(layer, depth + 1, out));
    }
    let mut out = Vec::new();
    model.root.iter().flat_map(|root| &root.layers).for_each(|layer| visit(layer, 0, &mut out));
    out
}

/// The whole layer model as one graph, with the inputs and outputs of its root under Keras' names.
pub fn lower(model: &LayerModel, owners: &dyn LayerOwners) -> Result<Graph, Findings> {
    let root =
        model.root.as_ref().ok_or_else(|| Diag::new(Code::PluginMisbehaved, "", "a layer model without root"))?;
    let missing = missing_classes(model, owners);
    if !missing.is_empty() {
        return Err(missing_findings(&missing));
    }
    let mut graph = Graph::new(root.name.clone());
    let mut inputs = Vec::new();
    for (input, ty) in root.inputs.iter().zip(input_types(&root.inputs)?) {
        inputs.push(Val::plain(graph.input(input.name.clone(), ty)));
    }
    let lowerer = Lowerer { owners, keras_version: &model.keras_version, format: &model.format, depth: 0 };
    let outputs = lowerer.model(root, &mut Filling::of(&mut graph), &inputs)?;
    for (output, val) in root.outputs.iter().zip(outputs) {
        graph.output(output_name(root, &output.name, inputs.iter().any(|input| input.value == val.value)), val.value);
    }
    Ok(graph)
}

/// A signature of TensorFlow may give a tensor the name of an input: a cache that comes in, and goes out longer. No
/// other format can.
fn output_name(root: &Model, name: &str, is_input: bool) -> String {
    let taken = |name: &str| root.inputs.iter().any(|input| input.name == name);
    if is_input || !taken(name) {
        return name.to_owned();
    }
    let others = |name: &String| !taken(name) && root.outputs.iter().all(|output| output.name != *name);
    (1..).map(|number| format!("{name}_{number}")).find(others).unwrap_or_default()
}

/// Types of a model's inputs; free dimensions get their symbols here.
fn input_types(inputs: &[ModelInput]) -> Result<Vec<Type>, Findings> {
    let names: Vec<Vec<Option<String>>> = inputs.iter().map(symbol_names).collect();
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for input in &names {
        let distinct: BTreeSet<&str> = input.iter().flatten().map(String::as_str).collect();
        distinct.into_iter().for_each(|name| *uses.entry(name).or_default() += 1);
    }
    let mut findings = Findings::new();
    let mut types = Vec::new();
    for (input, names) in inputs.iter().zip(&names) {
        let Some(dtype) = DType::from_keras(&input.dtype) else {
            findings.push(Diag::new(Code::UnsupportedType, &input.name, format!("dtype '{}'", input.dtype)));
            continue;
        };
        if input.dims.len() > RANK_MAX {
            findings.push(Diag::new(Code::LimitExceeded, &input.name, format!("rank {}", input.dims.len())));
            continue;
        }
        let dim = |(dim, name): (&recast_plugin_api::model::InputDim, &Option<String>)| match (dim.size, name) {
            (Some(size), _) => Dim::Known(size),
            // Two inputs with a free length each: nothing says that the lengths are equal.
            (None, Some(name)) if name != BATCH && uses[name.as_str()] > 1 => {
                Dim::symbol(&format!("{}_{name}", symbol_text(&input.name)))
            }
            (None, name) => Dim::symbol(name.as_deref().unwrap_or(BATCH)),
        };
        types.push(Type::new(dtype, input.dims.iter().zip(names).map(dim).collect::<Vec<_>>()));
    }
    if findings.is_empty() { Ok(types) } else { Err(findings) }
}

const BATCH: &str = "batch";

fn symbol_text(name: &str) -> String {
    let text: String = name.chars().map(|c| if is_symbol_char(c) { c } else { '_' }).collect();
    // A leading digit would read as a number.
    if text.starts_with(|c: char| c.is_ascii_digit()) { format!("_{text}") } else { text }
}

/// A name for each free dimension of an input: `batch`, then what people call the axes of its rank.
fn symbol_names(input: &ModelInput) -> Vec<Option<String>> {
    let free: Vec<usize> = (1..input.dims.len()).filter(|&axis| input.dims[axis].size.is_none()).collect();
    let usual: &[&str] = match (input.dims.len(), free.len()) {
        (2 | 3, 1) => &["time"],
        (4, 2) => &["height", "width"],
        (5, 3) => &["depth", "height", "width"],
        _ => &[],
    };
    let name = |axis: usize| match free.iter().position(|&at| at == axis) {
        Some(at) => Some(usual.get(at).map_or(format!("dim{axis}"), |name| name.to_string())),
        None => (axis == 0 && input.dims[0].size.is_none()).then(|| BATCH.to_string()),
    };
    (0..input.dims.len()).map(name).collect()
}

impl Lowerer<'_> {
    /// Lowers a wrapped layer or nested model into a graph of its own.
    pub fn lower_child(&self, request: &LowerRequest) -> Result<Lowered, Findings> {
        let layer = request.layer.as_ref();
        let layer = layer.ok_or_else(|| Diag::new(Code::PluginMisbehaved, "", "lower_child without a layer"))?;
        let inner = self.deeper(&layer.path)?;
        let Some(model) = &layer.model else {
            return inner.owners.lower(&inner, request);
        };
        let (mut graph, inputs) = begin(request, &layer.path)?;
        let inputs = as_declared(&mut graph, model, inputs, &layer.path)?;
        let outputs = inner.model(model, &mut Filling::of(&mut graph), &inputs)?;
        let output = |val: Val| LoweredOutput { value: val.value.0, mask: val.mask.map(|mask| mask.0) };
        let outputs = outputs.into_iter().map(output).collect();
        // What wraps a model gives it tensors of its own.
        Ok(Lowered { graph: Some(GraphProto::from(&graph)), outputs, unmasked: Vec::new() })
    }

    fn deeper(&self, at: &str) -> Result<Lowerer<'_>, Diag> {
        if self.depth == NESTING_MAX {
            return Err(Diag::new(Code::LimitExceeded, at, format!("models nested over {NESTING_MAX} deep")));
        }
        Ok(Lowerer { depth: self.depth + 1, ..*self })
    }

    /// Lowers every call of a model; returns the model's outputs.
    fn model(&self, model: &Model, filling: &mut Filling<'_>, inputs: &[Val]) -> Result<Vec<Val>, Findings> {
        if inputs.len() != model.inputs.len() {
            let detail = format!("takes {} inputs, is called with {}", model.inputs.len(), inputs.len());
            return Err(Diag::new(Code::Malformed, &model.name, detail).into());
        }
        let mut findings = Findings::new();
        // `None`: the call failed, and its finding is noted; what needs it is passed over.
        let mut results: Vec<Option<Vec<Val>>> = Vec::with_capacity(model.calls.len());
        for call in &model.calls {
            let outcome = self.call(model, call, filling, inputs, &results);
            results.push(outcome.unwrap_or_else(|mut found| {
                findings.append(&mut found);
                None
            }));
        }
        if findings.iter().any(Diag::is_error) {
            return Err(findings);
        }
        let output = |output: &recast_plugin_api::model::ModelOutput| {
            let found = output.value.as_ref().and_then(|value| filling.find(value, inputs, &results));
            found.ok_or_else(|| Diag::new(Code::Malformed, &output.name, "an output that no layer gives").into())
        };
        model.outputs.iter().map(output).collect()
    }

    /// One call. `Ok(None)`: an input of it failed before.
    fn call(
        &self,
        model: &Model,
        call: &Call,
        filling: &mut Filling<'_>,
        inputs: &[Val],
        results: &[Option<Vec<Val>>],
    ) -> Result<Option<Vec<Val>>, Findings> {
        let layer = model.layers.get(call.layer as usize);
        let layer = layer.ok_or_else(|| Diag::new(Code::PluginMisbehaved, &model.name, "a call of no layer"))?;
        let mut args = call.args.clone();
        let mut kwargs = call.kwargs.clone();
        let find = |value: &ValueRef| filling.find(value, inputs, results);
        let Some(values) = resolve(&mut args, &mut kwargs, layer, results, &find)? else { return Ok(None) };
        if let Some(inner) = &layer.model {
            let values = inner_inputs(&mut args, &mut kwargs, &values, self.keras_version);
            let values = as_declared(filling.graph, inner, values, &layer.path)?;
            values.iter().for_each(|val| filling.mask(*val));
            return self.deeper(&layer.path)?.model(inner, filling, &values).map(Some);
        }
        let graph = &mut *filling.graph;
        let typed = |val: &Val| LowerInput {
            ty: Some(graph.ty(val.value).into()),
            mask: val.mask.map(|mask| graph.ty(mask).into()),
        };
        let request = LowerRequest {
            schema_rev: SCHEMA_REV,
            layer: Some(layer.clone()),
            inputs: values.iter().map(typed).collect(),
            args,
            kwargs,
            keras_version: self.keras_version.into(),
            format: self.format.into(),
        };
        let lowered = self.owners.lower(self, &request)?;
        let known = graph.nodes().len();
        let outputs = splice(graph, &lowered, &values, &layer.path)?;
        filling.recognize(known);
        lowered.unmasked.iter().filter_map(|at| values.get(*at as usize)).for_each(|val| filling.unmask(*val));
        Ok(Some(outputs))
    }
}

/// A graph that is being filled, and what the calls so far did to masks: Keras hangs them on its tensors, and where a
/// call takes one away, every later call on the same tensor comes without, in models inside and around it.
struct Filling<'g> {
    graph: &'g mut Graph,
    /// In place of the masks that the tensors came with.
    changed: HashMap<ValueId, Option<ValueId>>,
    /// What Keras gives on as it came where it does not train: the result of a dropout is the tensor itself.
    same: HashMap<ValueId, ValueId>,
}

impl Filling<'_> {
    fn of(graph: &mut Graph) -> Filling<'_> {
        Filling { graph, changed: HashMap::new(), same: HashMap::new() }
    }

    /// Looks through the nodes that a call added, from number `known` on.
    fn recognize(&mut self, known: usize) {
        for node in &self.graph.nodes()[known..] {
            if let (Op::Dropout(_), [Some(input), ..], [output, ..]) = (&node.op, &node.inputs[..], &node.outputs[..]) {
                self.same.insert(*output, self.tensor(*input));
            }
        }
    }

    fn tensor(&self, value: ValueId) -> ValueId {
        self.same.get(&value).copied().unwrap_or(value)
    }

    /// The tensor without a mask from now on. What has none now is perhaps another tensor of the same value.
    fn unmask(&mut self, val: Val) {
        if val.mask.is_some() {
            self.changed.insert(self.tensor(val.value), None);
        }
    }

    /// A model inside hangs the mask that it is called with on the tensor, which may have lost it.
    fn mask(&mut self, val: Val) {
        let tensor = self.tensor(val.value);
        if let Some(mask) = self.changed.get_mut(&tensor) {
            *mask = val.mask;
        }
    }

    fn find(&self, value: &ValueRef, inputs: &[Val], results: &[Option<Vec<Val>>]) -> Option<Val> {
        let came = match value.call {
            None => inputs.get(value.index as usize).copied(),
            Some(call) => results.get(call as usize)?.as_ref()?.get(value.index as usize).copied(),
        }?;
        let mask = self.changed.get(&self.tensor(came.value)).copied().unwrap_or(came.mask);
        Some(Val { value: came.value, mask: mask.filter(|_| came.mask.is_some()) })
    }
}

/// The tensors of a call, each once, and the references in its arguments turned into positions among them.
fn resolve(
    args: &mut [Arg],
    kwargs: &mut [NamedArg],
    layer: &Layer,
    results: &[Option<Vec<Val>>],
    find: &dyn Fn(&ValueRef) -> Option<Val>,
) -> Result<Option<Vec<Val>>, Diag> {
    let mut refs: Vec<&mut ValueRef> = Vec::new();
    args.iter_mut().for_each(|arg| arg.values_mut(&mut refs));
    kwargs.iter_mut().filter_map(|named| named.arg.as_mut()).for_each(|arg| arg.values_mut(&mut refs));
    let mut values = Vec::new();
    for value in refs {
        if value.call.is_some_and(|call| results.get(call as usize).is_some_and(Option::is_none)) {
            return Ok(None);
        }
        let found = find(value)
            .ok_or_else(|| Diag::new(Code::Malformed, &layer.path, "is called with a tensor that no layer gives"))?;
        *value = ValueRef { call: None, index: values.len() as u32 };
        values.push(found);
    }
    Ok(Some(values))
}

/// What a model inside is called with: the tensors of its arguments, and on them the masks that `mask` names, one for
/// each tensor in order. Where it names none, a tensor keeps the mask that travels with it in Keras 3, and none before.
fn inner_inputs(args: &mut [Arg], kwargs: &mut [NamedArg], values: &[Val], keras_version: &str) -> Vec<Val> {
    let mut refs: Vec<&mut ValueRef> = Vec::new();
    args.iter_mut().for_each(|arg| arg.values_mut(&mut refs));
    let others = kwargs.iter_mut().filter(|named| named.name != "mask").filter_map(|named| named.arg.as_mut());
    others.for_each(|arg| arg.values_mut(&mut refs));
    let at = |value: &ValueRef| values.get(value.index as usize).copied();
    let mut inputs: Vec<Val> = refs.iter().filter_map(|value| at(value)).collect();
    let mask = kwargs.iter().find(|named| named.name == "mask").and_then(|named| named.arg.as_ref());
    let travels = recast_plugin_api::model::keras_version(keras_version).0 >= 3;
    for (input, mask) in inputs.iter_mut().zip(mask.and_then(Arg::masks).unwrap_or_default()) {
        let named = mask.and_then(at).map(|mask| mask.value);
        input.mask = named.or(input.mask.filter(|_| travels));
    }
    inputs
}

/// What a model inside is called with, cast to the dtypes that its inputs were declared with, as Keras does it.
fn as_declared(graph: &mut Graph, model: &Model, mut inputs: Vec<Val>, path: &str) -> Result<Vec<Val>, Diag> {
    for (input, declared) in inputs.iter_mut().zip(&model.inputs) {
        if let Some(dtype) = DType::from_keras(&declared.dtype) {
            input.value = graph.cast(path, input.value, dtype)?;
        }
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use recast_plugin_api::model::{InputDim, ModelOutput};

    fn input(name: &str, dims: &[Option<u64>]) -> ModelInput {
        let dims = dims.iter().map(|&size| InputDim { size }).collect();
        ModelInput { name: name.into(), dtype: "float32".into(), dims }
    }

    #[test]
    fn an_output_has_no_name_of_an_input() {
        let outputs = ["cache", "cache_1"].map(|name| ModelOutput { name: name.into(), value: None });
        let root = Model { inputs: vec![input("cache", &[None])], outputs: outputs.into(), ..Model::default() };
        assert_eq!(output_name(&root, "cache", false), "cache_2");
        assert_eq!(output_name(&root, "cache", true), "cache");
        assert_eq!(output_name(&root, "cache_1", false), "cache_1");
    }

    #[test]
    fn free_dimensions_get_the_names_that_people_use() {
        let text = |inputs: &[ModelInput]| -> Vec<String> {
            input_types(inputs).unwrap().iter().map(Type::to_string).collect()
        };
        assert_eq!(text(&[input("x", &[None, None, Some(4)])]), ["f32[batch, time, 4]"]);
        assert_eq!(text(&[input("x", &[None, Some(3), None, None])]), ["f32[batch, 3, height, width]"]);
        let two = [input("q", &[None, None, Some(4)]), input("k:0", &[None, None, Some(4)])];
        assert_eq!(text(&two), ["f32[batch, q_time, 4]", "f32[batch, k_0_time, 4]"]);
        assert_eq!(text(&[input("x", &[Some(1), None, Some(2), None])]), ["f32[1, height, 2, width]"]);
    }

    #[test]
    fn expressions_go_to_the_layers_of_their_paths() {
        let layer = Layer { path: "inner/scale".into(), ..Layer::default() };
        let inner = Layer { model: Some(Model { layers: vec![layer], ..Model::default() }), ..Layer::default() };
        let root = Model { layers: vec![inner], ..Model::default() };
        let mut model = LayerModel { root: Some(root), ..LayerModel::default() };
        let named = |path: &str| BTreeMap::from([(path.to_owned(), "x / 2".to_owned())]);
        express(&mut model, &named("inner/scale")).unwrap();
        let inner = model.root.as_ref().unwrap().layers[0].model.as_ref().unwrap();
        assert_eq!(inner.layers[0].expression.as_deref(), Some("x / 2"));
        let findings = express(&mut model, &named("inner/other")).unwrap_err();
        assert_eq!((findings[0].code, findings[0].at.as_str()), (Code::BadConfig, "inner/other"));
    }

    #[test]
    fn an_unknown_dtype_is_a_finding() {
        let mut strange = input("x", &[None]);
        strange.dtype = "qint8".into();
        let findings = input_types(&[strange]).unwrap_err();
        assert_eq!(findings[0].code, Code::UnsupportedType);
    }
}
