//! Are two graphs the same? Walked together from their outputs backwards: each pair of values must come from the same
//! input, from params of equal bytes, or from the same output of equal ops over pairs of values. The order of nodes and
//! the numbers of values don't matter, nor do nodes that no output needs. Names of inputs and outputs do matter: who
//! runs the file goes by them. Layer paths may differ (they are counted, for the report): no number depends on them.

use crate::host::TensorStore;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{Attr, Graph, Node, Tensor, ValueId};
use std::collections::HashMap;

/// A graph and where its tensors lie.
#[derive(Clone, Copy)]
pub struct Placed<'a> {
    pub graph: &'a Graph,
    pub store: &'a TensorStore,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sameness {
    Same {
        nodes: usize,
        weights: usize,
        /// Nodes whose layers have other names, and the first such pair.
        renamed: usize,
        first: Option<(String, String)>,
    },
    /// The weight's name; the same place in the graph holds other numbers.
    OtherWeight(String),
    /// The first difference, seen from the outputs.
    Differs(String),
}

/// What the values of a graph are.
enum Maker<'g> {
    Input(usize),
    Param(usize),
    Node(&'g Node, usize),
    /// No graph that was validated has such a value.
    Nothing,
}

fn makers(graph: &Graph) -> Vec<Maker<'_>> {
    let mut makers: Vec<Maker<'_>> = (0..graph.value_count()).map(|_| Maker::Nothing).collect();
    graph.inputs.iter().enumerate().for_each(|(i, input)| makers[input.value.0 as usize] = Maker::Input(i));
    graph.params.iter().enumerate().for_each(|(i, param)| makers[param.value.0 as usize] = Maker::Param(i));
    for node in graph.nodes() {
        for (at, output) in node.outputs.iter().enumerate() {
            makers[output.0 as usize] = Maker::Node(node, at);
        }
    }
    makers
}

/// Compares names and types of inputs and outputs: what a user of either graph sees first. The difference in words.
/// `renames` is that of `Caps`.
pub fn signatures_differ(a: &Graph, b: &Graph, renames: bool) -> Option<String> {
    let inputs = |graph: &Graph| -> Vec<(String, String)> {
        graph.inputs.iter().map(|input| (input.name.clone(), format!(": {}", graph.ty(input.value)))).collect()
    };
    let outputs = |graph: &Graph| -> Vec<(String, String)> {
        let dtype = |value| format!(": {}", graph.ty(value).dtype);
        graph.outputs.iter().map(|output| (output.name.clone(), dtype(output.value))).collect()
    };
    let named_alike = |a: &str, b: &str| a == b || (renames && is_plain_form(a, b));
    let differ = |what: &str, a: Vec<(String, String)>, b: Vec<(String, String)>| {
        let mut pairs = a.iter().zip(&b);
        let same = a.len() == b.len() && pairs.all(|(a, b)| named_alike(&a.0, &b.0) && a.1 == b.1);
        let list = |signature: Vec<(String, String)>| -> String {
            signature.into_iter().map(|(name, ty)| name + &ty).collect::<Vec<_>>().join(", ")
        };
        (!same).then(|| format!("its {what} are {}, should be {}", list(b), list(a)))
    };
    differ("inputs", inputs(a), inputs(b)).or_else(|| differ("outputs", outputs(a), outputs(b)))
}

/// Is `b` the name `a`, but for characters that some frameworks do not take, and `_` that keep it apart from others?
fn is_plain_form(a: &str, b: &str) -> bool {
    let plain = |name: &str| name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect::<String>();
    let (a, b) = (plain(a), plain(b));
    b.strip_prefix(&a).is_some_and(|rest| rest.chars().all(|c| c == '_'))
}

/// Compares `b` with `a`, of which it should be a copy. Their signatures are equal.
pub fn same(a: Placed<'_>, b: Placed<'_>) -> Result<Sameness, Diag> {
    let mut walk = Walk { nodes: 0, weights: 0, renamed: 0, first: None };
    Ok(match walk.graphs(a, b)? {
        Some(difference) => difference,
        None => Sameness::Same { nodes: walk.nodes, weights: walk.weights, renamed: walk.renamed, first: walk.first },
    })
}

struct Walk {
    nodes: usize,
    weights: usize,
    renamed: usize,
    first: Option<(String, String)>,
}

impl Walk {
    /// The first difference. Bodies of scans come here again: their depth is bounded where graphs are decoded.
    fn graphs(&mut self, a: Placed<'_>, b: Placed<'_>) -> Result<Option<Sameness>, Diag> {
        let (of_a, of_b) = (makers(a.graph), makers(b.graph));
        let differs = |text: String| Ok(Some(Sameness::Differs(text)));
        if (a.graph.inputs.len(), a.graph.outputs.len()) != (b.graph.inputs.len(), b.graph.outputs.len()) {
            return differs("another number of inputs or outputs".into());
        }
        let outputs = a.graph.outputs.iter().zip(&b.graph.outputs);
        let mut pending: Vec<(ValueId, ValueId)> = outputs.map(|(x, y)| (x.value, y.value)).collect();
        let mut paired: HashMap<ValueId, ValueId> = HashMap::new();
        let mut seen: HashMap<usize, usize> = HashMap::new();
        while let Some((x, y)) = pending.pop() {
            if let Some(known) = paired.insert(x, y) {
                if known != y {
                    return differs(format!("%{} is two values in the output", x.0));
                }
                continue;
            }
            match (&of_a[x.0 as usize], &of_b[y.0 as usize]) {
                (Maker::Input(i), Maker::Input(j)) if i == j => {
                    if a.graph.ty(x) != b.graph.ty(y) {
                        return differs(format!("input {i} is {}, should be {}", b.graph.ty(y), a.graph.ty(x)));
                    }
                }
                (Maker::Param(i), Maker::Param(j)) => {
                    let (mine, theirs) = (&a.graph.params[*i], &b.graph.params[*j]);
                    self.weights += 1;
                    if (mine.tensor.dtype, &mine.tensor.shape) != (theirs.tensor.dtype, &theirs.tensor.shape) {
                        let (mine, theirs) = (mine.name(), theirs.tensor.ty());
                        return differs(format!("the weight '{mine}' is {theirs}"));
                    }
                    if !equal_tensors(&mine.tensor, a.store, &theirs.tensor, b.store)? {
                        return Ok(Some(Sameness::OtherWeight(mine.name())));
                    }
                }
                (Maker::Node(m, at), Maker::Node(n, also)) if at == also => {
                    let (m_at, n_at) = (std::ptr::from_ref(*m) as usize, std::ptr::from_ref(*n) as usize);
                    match seen.insert(m_at, n_at) {
                        Some(known) if known == n_at => continue,
                        Some(_) => return differs(format!("'{}' is two nodes in the output", m.path)),
                        None => {}
                    }
                    if let Some(difference) = self.nodes(m, a.store, n, b.store)? {
                        return Ok(Some(difference));
                    }
                    for pair in m.inputs.iter().zip(&n.inputs) {
                        match pair {
                            (Some(x), Some(y)) => pending.push((*x, *y)),
                            (None, None) => {}
                            _ => return differs(format!("'{}' has another set of inputs", m.path)),
                        }
                    }
                }
                (mine, theirs) => {
                    return differs(format!(
                        "{} where {} is to be",
                        described(theirs, b.graph),
                        described(mine, a.graph)
                    ));
                }
            }
        }
        Ok(None)
    }

    fn nodes(&mut self, a: &Node, of_a: &TensorStore, b: &Node, of_b: &TensorStore) -> Result<Option<Sameness>, Diag> {
        self.nodes += 1;
        if a.path != b.path {
            self.renamed += 1;
            self.first.get_or_insert_with(|| (a.path.clone(), b.path.clone()));
        }
        let (mine, theirs) = (a.op.attrs(), b.op.attrs());
        if a.op.name() != b.op.name() || a.inputs.len() != b.inputs.len() || mine.len() != theirs.len() {
            let text = format!(
                "'{}' of layer '{}' where '{}' of layer '{}' is to be",
                b.op.name(),
                b.path,
                a.op.name(),
                a.path
            );
            return Ok(Some(Sameness::Differs(text)));
        }
        for ((name, x), (_, y)) in mine.iter().zip(&theirs) {
            let difference = match (x, y) {
                (Attr::Tensor(x), Attr::Tensor(y)) => !equal_tensors(x, of_a, y, of_b)?,
                (Attr::Graph(x), Attr::Graph(y)) => {
                    let (x, y) = (Placed { graph: x, store: of_a }, Placed { graph: y, store: of_b });
                    if let Some(difference) = self.graphs(x, y)? {
                        return Ok(Some(difference));
                    }
                    false
                }
                (x, y) => x != y,
            };
            if difference {
                let text = format!("{name} of '{}' in layer '{}' differs", a.op.name(), a.path);
                return Ok(Some(Sameness::Differs(text)));
            }
        }
        Ok(None)
    }
}

fn described(maker: &Maker<'_>, graph: &Graph) -> String {
    match maker {
        Maker::Input(i) => format!("the input '{}'", graph.inputs[*i].name),
        Maker::Param(i) => format!("the weight '{}'", graph.params[*i].name()),
        Maker::Node(node, at) => format!("output {at} of '{}' in layer '{}'", node.op.name(), node.path),
        Maker::Nothing => "nothing".into(),
    }
}

/// Equal dtype, shape and bytes; strings, which have no stored form, by their description.
fn equal_tensors(a: &Tensor, of_a: &TensorStore, b: &Tensor, of_b: &TensorStore) -> Result<bool, Diag> {
    if (a.dtype, &a.shape) != (b.dtype, &b.shape) {
        return Ok(false);
    }
    if a.dtype.size() == 0 {
        return Ok(a == b);
    }
    let (mine, theirs) = (of_a.elements(a)?, of_b.elements(b)?);
    let equal = mine.bytes() == theirs.bytes();
    mine.forget();
    theirs.forget();
    Ok(equal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use recast_plugin_api::ir::{BinaryFunction, DType, Dim, Op, Type, UnaryFunction};
    use std::path::Path;

    fn store() -> TensorStore {
        TensorStore::new(&[], Path::new("/nonexistent"), 0)
    }

    fn compared(a: &Graph, b: &Graph) -> Sameness {
        let store = store();
        same(Placed { graph: a, store: &store }, Placed { graph: b, store: &store }).unwrap()
    }

    /// x * w + tanh(x), with `swapped` the two nodes in the other order, and `layer` as their path.
    fn net(layer: &str, weight: f32, swapped: bool) -> Graph {
        let mut graph = Graph::new("net");
        let x = graph.input("x", Type::new(DType::F32, vec![Dim::symbol("batch"), Dim::Known(2)]));
        let w = graph.param(layer, "scale", Tensor::from_f32(&[2], &[weight, 2.0]));
        let multiply = Op::Binary(recast_plugin_api::ir::Binary { function: BinaryFunction::Mul });
        let tanh = Op::Unary(recast_plugin_api::ir::Unary { function: UnaryFunction::Tanh });
        let (product, bent) = if swapped {
            let bent = graph.add(layer, tanh, &[x]).unwrap();
            (graph.add(layer, multiply, &[x, w]).unwrap(), bent)
        } else {
            (graph.add(layer, multiply, &[x, w]).unwrap(), graph.add(layer, tanh, &[x]).unwrap())
        };
        let add = Op::Binary(recast_plugin_api::ir::Binary { function: BinaryFunction::Add });
        let sum = graph.add(layer, add, &[product, bent]).unwrap();
        graph.output("y", sum);
        graph
    }

    #[test]
    fn order_numbers_and_paths_do_not_matter() {
        let (a, b) = (net("a", 1.0, false), net("b", 1.0, true));
        let first = Some(("a".to_owned(), "b".to_owned()));
        assert_eq!(compared(&a, &b), Sameness::Same { nodes: 3, weights: 1, renamed: 3, first });
        assert_eq!(compared(&a, &a), Sameness::Same { nodes: 3, weights: 1, renamed: 0, first: None });
        assert_eq!(signatures_differ(&a, &b, false), None);
    }

    #[test]
    fn weights_ops_and_wiring_do() {
        let a = net("a", 1.0, false);
        assert_eq!(compared(&a, &net("a", 1.5, false)), Sameness::OtherWeight("a/scale".into()));
        let mut turned = net("a", 1.0, false);
        let product = turned.nodes()[0].outputs[0];
        turned.outputs[0].value = product;
        assert!(matches!(compared(&a, &turned), Sameness::Differs(_)));
        let mut renamed = net("a", 1.0, false);
        renamed.outputs[0].name = "z".into();
        assert!(signatures_differ(&a, &renamed, true).unwrap().contains("should be y"));
    }

    #[test]
    fn an_output_of_another_dtype_is_another_one() {
        let a = net("a", 1.0, false);
        let mut b = net("a", 1.0, false);
        let to = Op::Cast(recast_plugin_api::ir::Cast { to: DType::F16 });
        let narrow = b.add("a", to, &[b.outputs[0].value]).unwrap();
        b.outputs[0].value = narrow;
        assert_eq!(signatures_differ(&a, &b, false).unwrap(), "its outputs are y: f16, should be y: f32");
    }

    #[test]
    fn a_target_that_renames_may_change_what_it_can_not_say() {
        for (mine, theirs, alike) in [
            ("block/one", "block_one", true),
            ("block/one", "block_one_", true),
            ("Größe 1", "Gr__e_1", true),
            ("block/one", "block_two", false),
            ("block", "block_1", false),
            ("a", "b", false),
        ] {
            let (mut a, mut b) = (net("a", 1.0, false), net("a", 1.0, false));
            (a.inputs[0].name, b.inputs[0].name) = (mine.into(), theirs.into());
            assert_eq!(signatures_differ(&a, &b, true).is_none(), alike, "{mine} {theirs}");
            assert!(signatures_differ(&a, &b, false).is_some(), "{mine} {theirs}");
        }
    }
}
