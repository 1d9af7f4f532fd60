//! Sizes for the free dimensions of a graph: two batch sizes, two lengths for each other symbol, all of them such that
//! the graph accepts them.

use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{Dim, Graph};
use std::collections::BTreeMap;

pub const BATCH: &str = "batch";

/// Lengths that are tried for free dimensions, in order: short odd ones first (they show more), then what nets with
/// strides and skip connections accept, then what nets with a wide receptive field need.
const LENGTHS: &[u64] =
    &[5, 8, 7, 12, 16, 13, 24, 32, 48, 33, 64, 75, 96, 128, 160, 224, 256, 331, 512, 1024, 2048, 4096, 10_240, 16_384];

/// Elements of one input that a check may use.
const INPUT_ELEMENTS_MAX: u64 = 1 << 22;

pub type Binding = BTreeMap<String, u64>;

/// A binding and the graph under it.
pub struct Bound {
    pub sizes: Binding,
    pub graph: Graph,
}

fn bind(graph: &Graph, sizes: &Binding) -> Result<Graph, Diag> {
    graph.bind(&|name| sizes.get(name).map(|&size| Dim::Known(size)))
}

/// A size for every symbol, with one length for all that are not the batch. Symbols that the graph takes to be equal to
/// a known size get it.
fn binding(graph: &Graph, batch: u64, length: u64) -> Binding {
    let size = |name: &String| (name.clone(), if name == BATCH { batch } else { length });
    let mut sizes: Binding = graph.symbols().iter().map(size).collect();
    for (a, b) in &graph.equal {
        for (symbol, other) in [(a, b), (b, a)] {
            if let (Some(name), Some(known)) = (symbol.as_symbol(), other.known()) {
                sizes.insert(name.to_string(), known);
            }
        }
    }
    sizes
}

fn too_large(graph: &Graph) -> bool {
    let elements = |dims: &[Dim]| dims.iter().filter_map(Dim::known).fold(1u64, u64::saturating_mul);
    graph.inputs.iter().any(|input| elements(graph.shape(input.value)) > INPUT_ELEMENTS_MAX)
}

/// Up to two ways to bind the graph: (batch 2, one length) and (batch 1, another length). One when nothing is free.
pub fn choose(graph: &Graph) -> Result<Vec<Bound>, Diag> {
    let symbols = graph.symbols();
    if symbols.is_empty() {
        return Ok(vec![Bound { sizes: Binding::new(), graph: bind(graph, &Binding::new())? }]);
    }
    let lengths: &[u64] = if symbols.iter().all(|name| name == BATCH) { &LENGTHS[..2] } else { LENGTHS };
    let mut found: Vec<Bound> = Vec::new();
    let mut last = None;
    for &length in lengths {
        let sizes = binding(graph, 2 - found.len() as u64, length);
        match bind(graph, &sizes) {
            Ok(bound) if !too_large(&bound) => found.push(Bound { sizes, graph: bound }),
            Ok(_) => break,
            Err(diag) => last = Some(diag),
        }
        if found.len() == 2 {
            break;
        }
    }
    match (found.is_empty(), last) {
        (false, _) => Ok(found),
        (true, Some(diag)) => {
            Err(Diag { hint: "no size of the free dimensions was accepted; this is the last refusal".into(), ..diag })
        }
        (true, None) => Err(Diag::new(Code::LimitExceeded, &graph.name, "the inputs are too large for a check")),
    }
}

/// The binding that given input shapes ask for; `Err` names the input that does not fit.
pub fn from_shapes(graph: &Graph, shapes: &[Vec<u64>]) -> Result<Bound, Diag> {
    let mut sizes = Binding::new();
    for (input, shape) in graph.inputs.iter().zip(shapes) {
        let dims = graph.shape(input.value);
        let misfit = || {
            Diag::new(
                Code::GoldenInvalid,
                &input.name,
                format!("recorded shape {shape:?} for {}", graph.ty(input.value)),
            )
        };
        if dims.len() != shape.len() {
            return Err(misfit());
        }
        for (dim, &size) in dims.iter().zip(shape) {
            let known = dim.known().or_else(|| dim.as_symbol().and_then(|name| sizes.get(name).copied()));
            match (known, dim.as_symbol()) {
                (Some(known), _) if known != size => return Err(misfit()),
                (None, Some(name)) => {
                    sizes.insert(name.to_string(), size);
                }
                _ => {}
            }
        }
    }
    Ok(Bound { graph: bind(graph, &sizes)?, sizes })
}
