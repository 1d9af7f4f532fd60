//! float32 where ONNX' runtimes have no float64. The standard allows it for these ops, but a file that no runtime loads
//! is of no use: they compute in float32, between casts, and the report says so.

use super::Emit;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{DType, Graph, Node, Op, Rebuild, Scan, ValueId};
use std::collections::{BTreeSet, HashMap, HashSet};

/// ONNX ops without float64 in ONNX Runtime 1.18 or 1.32, on a CPU.
const SINGLE: &[&str] = &[
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "AveragePool",
    "Conv",
    "ConvTranspose",
    "Cos",
    "Cosh",
    "Elu",
    "Erf",
    "GRU",
    "Gelu",
    "HardSigmoid",
    "LSTM",
    "RNN",
    "ReduceProd",
    "Resize",
    "Sinh",
    "Softplus",
    "Softsign",
    "Tan",
];

/// What was emitted in float64 that should not be.
#[derive(Debug, Default)]
pub struct Doubles {
    /// Nodes by identity: those of a loop's body are in a graph of their own.
    nodes: HashSet<*const Node>,
    ops: BTreeSet<&'static str>,
    first: String,
}

impl Doubles {
    /// `op_type` was emitted for a node that has values of float64.
    pub fn see(&mut self, node: &Node, op_type: &str) {
        let Some(op) = SINGLE.iter().find(|op| **op == op_type) else { return };
        if self.nodes.is_empty() {
            self.first.clone_from(&node.path);
        }
        self.nodes.insert(node);
        self.ops.insert(op);
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What is lost.
    pub fn loss(&self) -> Diag {
        let ops: Vec<&str> = self.ops.iter().copied().collect();
        let detail = format!(
            "float64 is computed in float32 here and in {} other places: ONNX Runtime has no float64 for {}",
            self.nodes.len() - 1,
            ops.join(", ")
        );
        Diag::new(Code::Precision, &self.first, detail)
    }
}

/// Has the node a value of float64?
pub fn is_double(node: &Node, e: &Emit) -> bool {
    node.inputs.iter().flatten().chain(&node.outputs).any(|&value| e.ty(value).dtype == DType::F64)
}

/// The graph with casts around these nodes.
pub fn narrowed(graph: &Graph, doubles: &Doubles) -> Result<Graph, Diag> {
    let mut out = Narrowed { out: Rebuild::new(graph), single: HashMap::new() };
    out.out.copy_inputs();
    out.out.copy_params();
    for node in graph.nodes() {
        if doubles.nodes.contains(&std::ptr::from_ref(node)) {
            out.copy_single(node)?;
            continue;
        }
        for &value in node.inputs.iter().flatten() {
            out.widen(value)?;
        }
        match &node.op {
            Op::Scan(scan) => {
                let body = Box::new(narrowed(&scan.body, doubles)?);
                out.out.copy_node_as(node, Scan { body, ..scan.clone() }.into())?;
            }
            op => out.out.copy_node_as(node, op.clone())?,
        }
    }
    for output in &graph.outputs {
        out.widen(output.value)?;
    }
    Ok(out.out.finish())
}

struct Narrowed<'a> {
    out: Rebuild<'a>,
    /// Values of the original in float32, where there is such a one.
    single: HashMap<ValueId, ValueId>,
}

impl Narrowed<'_> {
    /// The node on values of float32.
    fn copy_single(&mut self, node: &Node) -> Result<(), Diag> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for value in &node.inputs {
            inputs.push(match *value {
                Some(value) => Some(self.narrow(&node.path, value)?),
                None => None,
            });
        }
        let outputs = self.out.graph.add_node(&node.path, node.op.clone(), &inputs)?;
        for (&old, new) in node.outputs.iter().zip(outputs) {
            if self.out.from.ty(old).dtype == DType::F64 {
                self.single.insert(old, new);
            } else {
                self.out.map(old, new);
            }
        }
        Ok(())
    }

    fn narrow(&mut self, path: &str, value: ValueId) -> Result<ValueId, Diag> {
        if self.out.from.ty(value).dtype != DType::F64 {
            return Ok(self.out.get(value));
        }
        if let Some(&single) = self.single.get(&value) {
            return Ok(single);
        }
        let single = self.out.graph.cast(path, self.out.get(value), DType::F32)?;
        self.single.insert(value, single);
        Ok(single)
    }

    /// Makes the value of float64, for those who ask for that.
    fn widen(&mut self, value: ValueId) -> Result<(), Diag> {
        if let (None, Some(&single)) = (self.out.try_get(value), self.single.get(&value)) {
            let wide = self.out.graph.cast("", single, DType::F64)?;
            self.out.map(value, wide);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{NodeProto, data_type};
    use recast_plugin_api::ir::{BinaryFunction, Dim, Tensor, Type, UnaryFunction};

    fn cast_to(node: &NodeProto, dtype: DType) -> bool {
        node.op_type.as_deref() == Some("Cast") && node.attribute[0].i == Some(data_type(dtype).into())
    }

    #[test]
    fn casts_stand_around_what_has_no_float64() {
        let mut graph = Graph::new("g");
        let x = graph.input("x", Type::new(DType::F64, vec![Dim::symbol("batch"), Dim::Known(2)]));
        let weight = graph.param("dense", "bias", Tensor::from_numbers(DType::F64, &[2], &[1.0, 2.0]));
        let erf = graph.unary("erf", UnaryFunction::Erf, x).unwrap();
        let atan = graph.unary("atan", UnaryFunction::Atan, erf).unwrap();
        let tan = graph.unary("tan", UnaryFunction::Tan, weight).unwrap();
        let sum = graph.binary("add", BinaryFunction::Add, atan, tan).unwrap();
        graph.output("y", sum);
        let emitted = super::super::graph(&graph, Some(17)).unwrap();
        let ops: Vec<&str> = emitted.nodes.iter().filter_map(|node| node.op_type.as_deref()).collect();
        assert_eq!(ops.iter().filter(|op| SINGLE.contains(op)).count(), 3, "{ops:?}");
        // In, and for the sum out of both; what follows one another stays narrow, and the weight is stored so.
        let casts = |dtype| emitted.nodes.iter().filter(|node| cast_to(node, dtype)).count();
        assert_eq!((casts(DType::F32), casts(DType::F64)), (1, 2), "{ops:?}");
        assert_eq!(emitted.inits.iter().map(|init| init.dtype).collect::<Vec<_>>(), [DType::F32]);
        let loss = emitted.doubles.loss();
        assert_eq!(loss.at, "erf");
        assert!(loss.detail.ends_with("Atan, Erf, Tan"), "{}", loss.detail);
    }
}
