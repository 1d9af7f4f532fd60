//! The walk through a graph: each node in order, each value dropped after its last use.

use crate::array::Array;
use crate::eval::{self, Cx, Ins, Operand, Pool};
use crate::noise::{self, Noise};
use crate::settled;
use crate::weights::{Stored, Weights};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{Dim, Graph, Node, Op, Param, StringSplit, Type, ValueId};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What happens to each op's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// f64 throughout.
    Exact,
    /// Monte Carlo arithmetic: see `noise`.
    Perturbed { seed: u64 },
}

#[derive(Debug, Clone)]
pub struct Options {
    pub rounding: Rounding,
    /// Threads for convolutions and products of matrices. The results do not depend on it.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { rounding: Rounding::Exact, threads: 1 }
    }
}

/// Bytes that live values may take together; a small file can ask for an array of any size.
pub const VALUE_BYTES_MAX: u64 = 16 << 30;

/// Called after each node of the outermost graph with its outputs.
pub type Observer<'o> = &'o mut dyn FnMut(&Node, &[Arc<Array>]);

pub struct Evaluation {
    /// In the order of the graph's outputs.
    pub outputs: Vec<Array>,
    /// The most that values (not weights) took at once.
    pub peak_bytes: u64,
}

/// The outputs of a graph for these inputs (in the order of the graph's). Symbols of input shapes are bound to the
/// sizes of the arrays where `Graph::bind` has not been called before.
pub fn evaluate(
    graph: &Graph,
    inputs: &[Array],
    weights: &(dyn Weights + Sync),
    options: &Options,
) -> Result<Vec<Array>, Diag> {
    evaluate_observed(graph, inputs, weights, options, &mut |_, _| {}).map(|evaluation| evaluation.outputs)
}

/// As `evaluate`, showing every node's values on the way.
pub fn evaluate_observed(
    graph: &Graph,
    inputs: &[Array],
    weights: &(dyn Weights + Sync),
    options: &Options,
    observer: Observer<'_>,
) -> Result<Evaluation, Diag> {
    let pool = Pool::new(options.threads)?;
    let graph = with_words(bound_to(graph, inputs)?, inputs, weights, &pool)?;
    let seed = match options.rounding {
        Rounding::Exact => None,
        Rounding::Perturbed { seed } => Some(seed),
    };
    let mut walk = Walk { weights, pool: &pool, seed, live_bytes: 0, peak_bytes: 0 };
    let inputs: Vec<Arc<Array>> = inputs.iter().cloned().map(Arc::new).collect();
    let outputs = walk.graph(&graph, inputs, observer)?;
    Ok(Evaluation { outputs: outputs.into_iter().map(Arc::unwrap_or_clone).collect(), peak_bytes: walk.peak_bytes })
}

/// The graph with the numbers of words that the texts have in the place of their symbols. What comes before the words
/// is evaluated for that.
fn with_words<'g>(
    mut graph: Cow<'g, Graph>,
    inputs: &[Array],
    weights: &(dyn Weights + Sync),
    pool: &Pool,
) -> Result<Cow<'g, Graph>, Diag> {
    fn unbound(node: &Node) -> Option<(&StringSplit, &str)> {
        let Op::StringSplit(op) = &node.op else { return None };
        op.words.as_symbol().map(|symbol| (op, symbol))
    }
    while let Some(at) = graph.nodes().iter().position(|node| unbound(node).is_some()) {
        let node = &graph.nodes()[at];
        let (Some((op, symbol)), Some(Some(texts))) = (unbound(node), node.inputs.first()) else {
            return Err(Diag::new(Code::Bug, &node.path, "words of no text"));
        };
        let mut walk = Walk { weights, pool, seed: None, live_bytes: 0, peak_bytes: 0 };
        let texts = walk.value(&graph, inputs.iter().cloned().map(Arc::new).collect(), at, *texts)?;
        let count = eval::most_words(op, &texts)?;
        let bound = graph.bind(&|name| (name == symbol).then_some(Dim::Known(count)))?;
        graph = Cow::Owned(bound);
    }
    Ok(graph)
}

fn misfit(name: &str, ty: &Type, array: &Array) -> Diag {
    Diag::new(Code::TypeMismatch, name, format!("an input of {} for {ty}", array.ty()))
}

/// The graph with symbols replaced by the sizes that the inputs have; each input fits its type.
fn bound_to<'g>(graph: &'g Graph, inputs: &[Array]) -> Result<Cow<'g, Graph>, Diag> {
    if inputs.len() != graph.inputs.len() {
        let detail = format!("{} inputs for a graph that takes {}", inputs.len(), graph.inputs.len());
        return Err(Diag::new(Code::TypeMismatch, &graph.name, detail));
    }
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for (input, array) in graph.inputs.iter().zip(inputs) {
        for (dim, &size) in graph.shape(input.value).iter().zip(&array.shape) {
            if let Some(name) = dim.as_symbol() {
                sizes.entry(name.to_string()).or_insert(size as u64);
            }
        }
    }
    let graph = match graph.symbols().is_empty() {
        true => Cow::Borrowed(graph),
        false => Cow::Owned(graph.bind(&|name| sizes.get(name).map(|&size| Dim::Known(size)))?),
    };
    for (input, array) in graph.inputs.iter().zip(inputs) {
        let ty = graph.ty(input.value);
        if *ty != array.ty() || array.len() != array.data.len() {
            return Err(misfit(&input.name, ty, array));
        }
    }
    Ok(graph)
}

/// One evaluation, nested graphs included.
pub(crate) struct Walk<'a> {
    pub weights: &'a (dyn Weights + Sync),
    pub pool: &'a Pool,
    /// Of the noise; `None` for none.
    pub seed: Option<u64>,
    live_bytes: u64,
    peak_bytes: u64,
}

/// The values of one graph while it is walked.
struct Values<'g> {
    made: Vec<Option<Arc<Array>>>,
    /// Of each value while it lives.
    bytes: Vec<u64>,
    uses: Vec<u32>,
    params: Vec<Option<&'g Param>>,
    /// Values that every runtime computes to the same bits: of constants and counts alone, by ops whose result IEEE
    /// 754 settles.
    settled: Vec<bool>,
}

impl<'g> Values<'g> {
    fn of(graph: &'g Graph) -> Values<'g> {
        let count = graph.value_count();
        let settled = settled::values(graph);
        let mut params = vec![None; count];
        graph.params.iter().for_each(|param| params[param.value.0 as usize] = Some(param));
        Values { made: vec![None; count], bytes: vec![0; count], uses: graph.use_counts(), params, settled }
    }
}

impl<'a> Walk<'a> {
    /// Evaluates a graph without symbols whose inputs fit.
    pub fn graph(
        &mut self,
        graph: &Graph,
        inputs: Vec<Arc<Array>>,
        observer: Observer<'_>,
    ) -> Result<Vec<Arc<Array>>, Diag> {
        let mut values = Values::of(graph);
        for (input, array) in graph.inputs.iter().zip(inputs) {
            self.keep(input.value, array, &mut values);
        }
        for (index, node) in graph.nodes().iter().enumerate() {
            let outputs = self.node(graph, index, node, &mut values)?;
            observer(node, &outputs);
            for (value, array) in node.outputs.iter().zip(outputs) {
                self.keep(*value, array, &mut values);
            }
            for value in node.inputs.iter().flatten() {
                self.release(*value, &mut values);
            }
        }
        let outputs = graph.outputs.iter().map(|output| self.output(output.value, &values));
        let outputs: Vec<Arc<Array>> = outputs.collect::<Result<_, Diag>>()?;
        self.live_bytes -= values.bytes.iter().sum::<u64>();
        Ok(outputs)
    }

    /// A value that the nodes before the one at `before` make.
    fn value(
        &mut self,
        graph: &Graph,
        inputs: Vec<Arc<Array>>,
        before: usize,
        wanted: ValueId,
    ) -> Result<Arc<Array>, Diag> {
        let mut values = Values::of(graph);
        for (input, array) in graph.inputs.iter().zip(inputs) {
            self.keep(input.value, array, &mut values);
        }
        for (index, node) in graph.nodes().iter().take(before).enumerate() {
            let outputs = self.node(graph, index, node, &mut values)?;
            node.outputs.iter().zip(outputs).for_each(|(value, array)| self.keep(*value, array, &mut values));
        }
        self.output(wanted, &values)
    }

    fn keep(&mut self, value: ValueId, array: Arc<Array>, values: &mut Values<'_>) {
        let at = value.0 as usize;
        let bytes = array.data.bytes();
        self.peak_bytes = self.peak_bytes.max(self.live_bytes + bytes);
        // What nobody uses is not kept.
        if values.uses[at] > 0 {
            values.bytes[at] = bytes;
            values.made[at] = Some(array);
            self.live_bytes += bytes;
        }
    }

    fn output(&self, value: ValueId, values: &Values<'_>) -> Result<Arc<Array>, Diag> {
        match (&values.made[value.0 as usize], values.params[value.0 as usize]) {
            (Some(array), _) => Ok(array.clone()),
            (None, Some(param)) => Operand::Stored(self.open(param)?).array(),
            (None, None) => Err(Diag::new(Code::Bug, "", format!("output %{} has no value", value.0))),
        }
    }

    fn open<'p>(&self, param: &'p Param) -> Result<Arc<Stored<'p>>, Diag>
    where
        'a: 'p,
    {
        let at = |diag: Diag| Diag { at: param.name(), ..diag };
        Stored::open(&param.tensor, self.weights).map(Arc::new).map_err(at)
    }

    fn node(
        &mut self,
        graph: &Graph,
        index: usize,
        node: &Node,
        values: &mut Values<'_>,
    ) -> Result<Vec<Arc<Array>>, Diag> {
        let at = |diag: Diag| match diag.at.is_empty() {
            true => Diag { at: node.path.clone(), detail: format!("{}: {}", node.op.name(), diag.detail), ..diag },
            false => diag,
        };
        let types: Vec<&Type> = node.outputs.iter().map(|&value| graph.ty(value)).collect();
        let shapes = types.iter().map(|ty| sizes(ty)).collect::<Result<Vec<_>, _>>().map_err(at)?;
        self.admit(&types).map_err(at)?;
        let mut operands = Vec::with_capacity(node.inputs.len());
        for value in &node.inputs {
            operands.push(match value {
                Some(value) => Some(self.operand(*value, values)?),
                None => None,
            });
        }
        let noise = self.seed.map(|seed| Noise::new(seed, index as u64, types.first().map(|ty| ty.dtype)));
        let kept = noise.map(|_| operands.clone());
        let cx = Cx { shapes: &shapes, dtype: types.first().map(|ty| ty.dtype), noise, pool: self.pool };
        let mut ins = Ins::new(operands);
        let mut outputs = eval::node(&node.op, &mut ins, &cx, self).map_err(at)?;
        drop(ins);
        if node.outputs.first().is_some_and(|value| values.settled[value.0 as usize]) {
            outputs.iter_mut().for_each(settled::round);
        } else if let (Some(noise), Some(kept)) = (noise, kept) {
            noise::disturb(&node.op, &Ins::new(kept), &mut outputs, noise).map_err(at)?;
        }
        check(&node.op, &types, &outputs).map_err(at)?;
        Ok(outputs.into_iter().map(Arc::new).collect())
    }

    /// A value for its next use; its owner lets go of it at the last one, so that the op may write over it.
    fn operand<'x, 'p>(&self, value: ValueId, values: &mut Values<'p>) -> Result<Operand<'x>, Diag>
    where
        'a: 'x,
        'p: 'x,
    {
        let at = value.0 as usize;
        if let Some(param) = values.params[at] {
            return Ok(Operand::Stored(self.open(param)?));
        }
        let made = match values.uses[at] {
            1 => values.made[at].take(),
            _ => values.made[at].clone(),
        };
        made.map(Operand::Made).ok_or_else(|| Diag::new(Code::Bug, "", format!("%{at} is used before it has a value")))
    }

    fn release(&mut self, value: ValueId, values: &mut Values<'_>) {
        let at = value.0 as usize;
        values.uses[at] = values.uses[at].saturating_sub(1);
        if values.uses[at] == 0 {
            values.made[at] = None;
            self.live_bytes -= std::mem::take(&mut values.bytes[at]);
        }
    }

    /// Refuses results that would take too much memory, before anything is computed.
    fn admit(&self, types: &[&Type]) -> Result<(), Diag> {
        let bytes = |ty: &&Type| ty.shape.iter().filter_map(Dim::known).fold(8u64, u64::saturating_mul);
        let asked = types.iter().map(bytes).fold(self.live_bytes, u64::saturating_add);
        if asked > VALUE_BYTES_MAX {
            let detail = format!("{asked} bytes of values at once, above {VALUE_BYTES_MAX}");
            return Err(Diag::new(Code::LimitExceeded, "", detail));
        }
        Ok(())
    }
}

fn sizes(ty: &Type) -> Result<Vec<usize>, Diag> {
    let known = ty.sizes().ok_or_else(|| Diag::new(Code::Bug, "", format!("{ty} has sizes that nothing binds")))?;
    Ok(known.into_iter().map(|size| size as usize).collect())
}

/// Inference and evaluation are two statements about one op: they must agree.
fn check(op: &Op, types: &[&Type], outputs: &[Array]) -> Result<(), Diag> {
    let agrees = |(ty, array): (&&Type, &Array)| array.ty() == **ty && array.data.len() == array.len();
    if types.len() == outputs.len() && types.iter().zip(outputs).all(agrees) {
        return Ok(());
    }
    let made: Vec<String> = outputs.iter().map(|array| array.ty().to_string()).collect();
    Err(Diag::new(Code::Bug, "", format!("{} was evaluated to {}", op.name(), made.join(", "))))
}
