use crate::nest;
use crate::py::{Arg, Py, StmtKind, call, kw};
use crate::scope::{Emit, Made, Making, dtype, shape_comment};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::{Graph, Iota, Node, Scan};

/// Constants and sizes have no statement of their own.
pub fn said_where_used(node: &Node) -> Making {
    Err(Diag::new(Code::Bug, &node.path, format!("{} is written where it is used", node.op.name())))
}

pub fn iota(op: &Iota, node: &Node, e: &mut Emit) -> Making {
    let size = e.size(&op.dim)?;
    let mut args: Vec<Arg> = vec![size.into()];
    if op.dtype != recast_plugin_api::ir::DType::I64 {
        args.push(kw("dtype", dtype(op.dtype, node)?));
    }
    if let Some((argument, _)) = e.class.arguments.first() {
        args.push(kw("device", Py::Attr(Box::new(argument.as_str().into()), "device".into())));
    }
    Ok(call("torch.arange", args).into())
}

/// A loop over time. States keep their variables from step to step.
pub fn scan<'a>(op: &'a Scan, node: &'a Node, e: &mut Emit<'a>) -> Making {
    let body: &'a Graph = &op.body;
    let given = (0..node.inputs.len()).map(|index| e.tensor_arg(node, index)).collect::<Result<Vec<_>, _>>()?;
    let base = e.attribute_base(&node.path, "");
    let mut states = Vec::new();
    for (index, start) in given[..op.states].iter().enumerate() {
        let name = e.fixed_name(&format!("{base}_state_{index}"));
        e.push(StmtKind::Assign { targets: name.clone(), value: start.clone(), comment: String::new() });
        states.push(name);
    }
    let mut scanned = Vec::new();
    for value in &given[op.states..] {
        scanned.push(if matches!(value, Py::Atom(_)) { value.clone() } else { e.temporary(value) });
    }
    let mut lists = Vec::new();
    for index in op.states..body.outputs.len() {
        let name = e.fixed_name(&format!("{base}_steps_{}", index - op.states));
        e.push(StmtKind::Assign { targets: name.clone(), value: Py::List(Vec::new()), comment: String::new() });
        lists.push(name);
    }
    let first = scanned.first().map_or(String::new(), Py::inline);
    let steps = format!("range({first}.shape[1])");
    let steps = if op.reverse { format!("reversed({steps})") } else { steps };
    let step = e.fixed_name("step");
    e.push(StmtKind::Line(format!("for {step} in {steps}:")));
    e.inner(body, |e| one_step(op, &states, &scanned, &lists, &step, e))?;
    for list in lists.iter().filter(|_| op.reverse) {
        e.push(StmtKind::Line(format!("{list}.reverse()")));
    }
    for (index, &value) in node.outputs.iter().enumerate() {
        if !e.is_used(value) {
            continue;
        }
        if let Some(state) = states.get(index) {
            e.bind_variable(value, state);
            continue;
        }
        let stacked = call("torch.stack", vec![Py::from(lists[index - op.states].as_str()).into(), kw("dim", 1u64)]);
        let name = e.variable(value, &[]);
        let comment = shape_comment(e.shape(value));
        e.push(StmtKind::Assign { targets: name.clone(), value: stacked, comment });
        e.frame.vals.insert(value, name.into());
    }
    Ok(Made::Bound)
}

fn one_step<'a>(
    op: &'a Scan,
    states: &[String],
    scanned: &[Py],
    lists: &[String],
    step: &str,
    e: &mut Emit<'a>,
) -> Result<(), Diag> {
    let body: &'a Graph = &op.body;
    e.deeper(1);
    for (input, name) in body.inputs.iter().zip(states) {
        e.bind_variable(input.value, name);
    }
    for (input, from) in body.inputs[op.states..].iter().zip(scanned) {
        let at = Py::Index(Box::new(from.clone()), vec![Py::Slice(None, None, None), step.into()]);
        let name = e.variable(input.value, &[]);
        let comment = shape_comment(e.shape(input.value));
        e.push(StmtKind::Assign { targets: name.clone(), value: at, comment });
        e.bind_variable(input.value, &name);
    }
    for (index, node) in body.nodes().iter().enumerate() {
        if !super::is_written(node) || e.is_skipped(index) {
            continue;
        }
        e.go_to(index);
        nest::one(e, node)?;
    }
    let next = body.outputs.iter().map(|output| e.say(output.value)).collect::<Result<Vec<_>, _>>()?;
    for (list, value) in lists.iter().zip(&next[op.states..]) {
        e.push(StmtKind::Line(format!("{list}.append({})", value.inline())));
    }
    let (targets, values): (Vec<&str>, Vec<Py>) = states
        .iter()
        .zip(&next)
        .filter(|(name, value)| value.inline() != **name)
        .map(|(name, value)| (name.as_str(), value.clone()))
        .unzip();
    if targets.is_empty() {
        return Ok(());
    }
    // All at once: a state may be what another one was.
    let value = if values.len() == 1 { values[0].clone() } else { Py::Atom(Py::List(values).inline()) };
    let value = match value {
        Py::Atom(text) if text.starts_with('[') => Py::Atom(text.trim_matches(['[', ']']).to_string()),
        other => other,
    };
    e.push(StmtKind::Assign { targets: targets.join(", "), value, comment: String::new() });
    Ok(())
}
