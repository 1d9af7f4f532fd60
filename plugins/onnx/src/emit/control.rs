use super::{Emit, Emitting, op as emit_op};
use crate::proto::{GraphProto, ValueInfo, data_type};
use recast_plugin_api::ir::{Attr, Constant, DType, Dim, DimSize, Graph, Iota, Node, Scan, Type};

pub fn constant(op: &Constant, node: &Node, e: &mut Emit) -> Emitting {
    let name = if node.path.is_empty() { "constant".into() } else { format!("{}/constant", node.path) };
    let known = e.tensor(&op.tensor, name)?;
    // An initializer appears when somebody uses it, under the shape that they want.
    e.know(node.outputs[0], known);
    Ok(())
}

pub fn dim_size(op: &DimSize, node: &Node, e: &mut Emit) -> Emitting {
    let name = e.size_scalar(&op.dim)?;
    e.alias(node.outputs[0], &name);
    Ok(())
}

pub fn iota(op: &Iota, node: &Node, e: &mut Emit) -> Emitting {
    let counted = e.counting(&op.dim)?;
    if op.dtype == DType::I64 {
        e.alias(node.outputs[0], &counted);
        return Ok(());
    }
    e.op("Cast", &[&counted]).int("to", data_type(op.dtype).into()).to(node.outputs[0]);
    Ok(())
}

/// ONNX' Loop rather than its Scan: as common, and in more runtimes. The body gathers its step of each scanned value
/// from the graph around it.
pub fn scan<'a>(op: &'a Scan, node: &'a Node, e: &mut Emit<'a>) -> Emitting {
    let body: &'a Graph = &op.body;
    let names = (0..node.inputs.len()).map(|i| e.arg(node, i)).collect::<Result<Vec<_>, _>>()?;
    let length = e.shape(e.value(node, op.states)?)[1].clone();
    e.prepare_sizes(sizes_in(body).iter())?;
    let trips = e.size_scalar(&length)?;
    let (step, condition) = (e.value_name("step"), e.value_name("condition"));
    let states: Vec<String> = (0..op.states).map(|i| e.value_name(&format!("state_{i}"))).collect();
    let scanned: Vec<String> = (op.states..names.len()).map(|i| e.value_name(&format!("step_of_{i}"))).collect();
    let inputs: Vec<String> = states.iter().chain(&scanned).cloned().collect();
    let (mut nodes, outputs) = e.nested(body, &inputs, emit_op)?;
    let mut head = step_nodes(op, &names, &scanned, &step, &trips, e);
    head.append(&mut nodes);
    let going = e.value_name("going");
    head.push(identity(&condition, &going));
    let body_type = |i: usize| body.ty(body.outputs[i].value);
    let info = |name: &String, ty: &Type| ValueInfo::new(name, ty);
    let flag = Type::known(DType::Bool, &[]);
    let mut input = vec![info(&step, &Type::known(DType::I64, &[])), info(&condition, &flag)];
    input.extend(states.iter().enumerate().map(|(i, name)| info(name, body.ty(body.inputs[i].value))));
    let mut output = vec![info(&going, &flag)];
    output.extend(outputs.iter().enumerate().map(|(i, name)| info(name, body_type(i))));
    let graph = GraphProto { node: head, name: Some(format!("{}/body", node.path)), input, output };
    let initial: Vec<&str> = names[..op.states].iter().map(String::as_str).collect();
    let loop_inputs: Vec<&str> = [trips.as_str(), ""].into_iter().chain(initial).collect();
    let wanted = vec![true; outputs.len()];
    let results = e.op("Loop", &loop_inputs).graph("body", graph).tmps(&wanted);
    for (i, (result, &value)) in results.iter().zip(&node.outputs).enumerate() {
        if i < op.states {
            e.alias(value, result);
        } else {
            stacked(op, result, value, e);
        }
    }
    Ok(())
}

/// Loop stacks on axis 0, in the order of its steps.
fn stacked(op: &Scan, result: &str, value: recast_plugin_api::ir::ValueId, e: &mut Emit) {
    let mut y = result.to_string();
    if op.reverse {
        let (start, stop, axes, steps) = (e.ints(&[-1]), e.ints(&[i64::MIN]), e.ints(&[0]), e.ints(&[-1]));
        y = e.call("Slice", &[&y, &start, &stop, &axes, &steps]);
    }
    let rank = e.ty(value).rank() as i64;
    e.op("Transpose", &[&y]).ints("perm", [1, 0].into_iter().chain(2..rank)).to(value);
}

/// Nodes inside the loop that pick the step of each scanned value.
fn step_nodes(
    op: &Scan,
    names: &[String],
    scanned: &[String],
    step: &str,
    trips: &str,
    e: &mut Emit,
) -> Vec<crate::proto::NodeProto> {
    let mut nodes = Vec::new();
    let mut index = step.to_string();
    if op.reverse {
        let one = e.scalar(DType::I64, 1.0);
        let (last, back) = (e.value_name("last"), e.value_name("backwards"));
        nodes.push(plain("Sub", &[trips, &one], &last));
        nodes.push(plain("Sub", &[&last, step], &back));
        index = back;
    }
    for (name, out) in names[op.states..].iter().zip(scanned) {
        let mut gather = plain("Gather", &[name, &index], out);
        gather.attribute.push(crate::proto::AttributeProto {
            name: Some("axis".into()),
            i: Some(1),
            kind: Some(crate::proto::kind::INT),
            ..Default::default()
        });
        nodes.push(gather);
    }
    nodes
}

fn plain(op_type: &str, inputs: &[&str], output: &str) -> crate::proto::NodeProto {
    crate::proto::NodeProto {
        input: inputs.iter().map(|name| name.to_string()).collect(),
        output: vec![output.into()],
        name: Some(output.into()),
        op_type: Some(op_type.into()),
        attribute: Vec::new(),
        domain: None,
    }
}

fn identity(from: &str, to: &str) -> crate::proto::NodeProto {
    plain("Identity", &[from], to)
}

/// Every size that a body's nodes name: they are computed outside of it.
fn sizes_in(body: &Graph) -> Vec<Dim> {
    fn collect(attr: &Attr, out: &mut Vec<Dim>) {
        match attr {
            Attr::Dim(dim) => out.push(dim.clone()),
            Attr::List(items) => items.iter().for_each(|item| collect(item, out)),
            Attr::Graph(graph) => out.extend(sizes_in(graph)),
            Attr::None | Attr::Bool(_) | Attr::Int(_) | Attr::Float(_) | Attr::Str(_) | Attr::Tensor(_) => {}
        }
    }
    let mut dims = Vec::new();
    for node in body.nodes() {
        node.op.attrs().iter().for_each(|(_, attr)| collect(attr, &mut dims));
        // Ops that work with shapes ask for those of their values.
        let values = node.inputs.iter().flatten().chain(&node.outputs);
        dims.extend(values.flat_map(|value| body.shape(*value).iter().cloned()));
    }
    dims.retain(|dim| dim.known().is_none());
    dims.sort();
    dims.dedup();
    dims
}
