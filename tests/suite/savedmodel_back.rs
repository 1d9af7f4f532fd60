//! What the SavedModel target writes, read by the lowering of TensorFlow's graphs, is the graph that was written: op by
//! op, the evaluator gives the same outputs on both, with two batches and two lengths. Two opinions without TensorFlow.

use crate::onnx_kit::all;
use crate::onnx_kit::{Case, difference, inputs};
use crate::savedmodel_target::{Written, written};
use prost::Message;
use recast::passes;
use recast_plugin_api::ir::*;
use recast_reference::{Files, evaluate};
use recast_savedmodel::graph::def;
use recast_savedmodel::graph::interp::{Interp, Variable};
use recast_savedmodel::graph::literal::Origin;
use recast_savedmodel::graph::value::Val;
use recast_savedmodel::graph::walk::Given;
use recast_savedmodel::proto::{Attr, GraphDef, NodeDef, SignatureDef};
use std::collections::HashMap;

fn collect<'g>(graph: &'g Graph, found: &mut HashMap<String, &'g Tensor>) {
    found.extend(graph.params.iter().map(|param| (param.name(), &param.tensor)));
    for node in graph.nodes() {
        if let Op::Scan(scan) = &node.op {
            collect(&scan.body, found);
        }
    }
}

/// Variables by their nodes, with the bytes of the params that their nodes name.
fn variables(nodes: &[NodeDef], graph: &Graph) -> HashMap<String, Variable> {
    let mut params = HashMap::new();
    collect(graph, &mut params);
    let handles = nodes.iter().filter(|node| node.op == "VarHandleOp");
    let variable = |node: &NodeDef| {
        let Some(Attr::S(name)) = node.attr["shared_name"].value.as_ref() else { panic!("a variable without name") };
        let name = String::from_utf8(name.clone()).expect("text");
        let tensor = params[name.as_str()].clone();
        (node.name.clone(), Variable { path: String::new(), role: name, tensor })
    };
    handles.map(variable).collect()
}

/// The graph of `serving_default`, and its outputs by name.
fn read(bytes: &[u8], signature: &SignatureDef, original: &Graph) -> Result<Graph, String> {
    let message = GraphDef::decode(bytes).map_err(|e| e.to_string())?;
    let (body, library) = def::read(bytes).map_err(|diag| diag.to_string())?;
    let mut graph = Graph::new("read");
    let mut nodes = HashMap::new();
    for input in &original.inputs {
        let value = graph.input(input.name.clone(), original.ty(input.value).clone());
        let node = signature.inputs[&input.name].name.trim_end_matches(":0");
        nodes.insert(body.find(node).ok_or("no placeholder")?, vec![Val::Tensor { depth: 0, value }]);
    }
    let origin = Origin { bytes, file: 0, offset: 0 };
    let mut interp = Interp::new(&library, origin, variables(&message.node, original), graph);
    let wanted: Vec<&str> =
        original.outputs.iter().map(|output| signature.outputs[&output.name].name.as_str()).collect();
    let results =
        interp.run(&body, Given { arguments: &[], nodes: &nodes }, &wanted).map_err(|diag| diag.to_string())?;
    if let Some(diag) = interp.findings().first() {
        return Err(diag.to_string());
    }
    let call = body.find("StatefulPartitionedCall").map(|at| &body.nodes[at]).ok_or("no call")?;
    let mut values = Vec::new();
    for result in &results {
        values.push(interp.value(call, result).map_err(|diag| diag.to_string())?);
    }
    let mut graph = interp.frames.swap_remove(0).graph;
    original.outputs.iter().zip(values).for_each(|(output, value)| graph.output(output.name.clone(), value));
    Ok(graph)
}

const BINDINGS: [(u64, u64); 2] = [(2, 5), (3, 8)];

fn fault(case: &Case, written: &Written) -> Option<String> {
    let model = written.decoded();
    let meta = &model.meta_graphs[0];
    let bytes = meta.graph_def.as_ref().map(Message::encode_to_vec).unwrap_or_default();
    let fitted = passes::fit(case.graph.clone(), &recast_savedmodel::target::caps());
    let fitted = fitted.unwrap_or_else(|findings| panic!("{}", findings[0]));
    let graph = match read(&bytes, &meta.signature_def["serving_default"], &fitted) {
        Ok(graph) => graph,
        Err(why) => return Some(format!("not read: {why}")),
    };
    // Constants lie in the graph's own bytes, weights in the graph that was written.
    let weights = Files(vec![bytes.as_slice()]);
    for binding in BINDINGS {
        let given = inputs(&case.graph, binding);
        let outputs = |graph: &Graph| evaluate(graph, &given, &weights, &Default::default());
        match (outputs(&case.graph), outputs(&graph)) {
            (Ok(wanted), Ok(found)) => {
                if let Some(wrong) = difference(&wanted, &found, TOLERANCE) {
                    return Some(wrong);
                }
            }
            (_, Err(diag)) | (Err(diag), _) => return Some(format!("does not run: {diag}")),
        }
    }
    None
}

/// Both are evaluated in f64; constants are rounded to f32, as they are stored.
const TOLERANCE: f64 = 1e-6;

/// Cases that the lowering does not read. Each breaks here when it does. What tables hold is for the source to read.
const NOT_READ: &[&str] = &["words"];

#[test]
fn what_is_written_is_read_as_the_same_function() {
    let only = std::env::var("RECAST_TEST_CASE").unwrap_or_default();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for case in all().into_iter().filter(|case| case.name.contains(&only)) {
        count += 1;
        let written = written(&case.graph).unwrap_or_else(|why| panic!("{}: {why}", case.name));
        let expected = NOT_READ.contains(&case.name.as_str());
        match fault(&case, &written) {
            Some(_) if expected => {}
            Some(fault) => wrong.push(format!("{}: {fault}", case.name)),
            None if expected => wrong.push(format!("{}: it is read after all", case.name)),
            None => {}
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
}
