use crate::py::{Arg, Py, call, kw};
use crate::scope::{Emit, Made, Making, torch_dtype};
use crate::weights::Weight;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{BinaryFunction, DType, Einsum, Node, Op, Param, Tensor, ValueId};

/// The last argument of a module that holds anything but float32.
pub fn dtype_arg(dtype: DType) -> Option<Arg> {
    (dtype != DType::F32).then(|| kw("dtype", torch_dtype(dtype)))
}

/// The kernel's role says which part of a layer it is, where the layer has several: `depthwise_kernel`.
pub fn hint(param: &Param, e: &Emit) -> String {
    let of_layer = e.graph.params.iter().filter(|other| other.path == param.path && other.tensor.shape.len() > 1);
    if of_layer.count() < 2 {
        return String::new();
    }
    let role = param.role.split_once('@').map_or(param.role.as_str(), |(role, _)| role);
    let part = role.strip_suffix("kernel").or_else(|| role.strip_suffix("embeddings")).unwrap_or(role);
    part.trim_end_matches(['_', '/']).to_string()
}

/// A bias added to the result right behind, which a module takes in: its weight as a vector.
pub fn bias_behind(node: &Node, size: u64, e: &Emit) -> Option<(Tensor, String, ValueId)> {
    let next = e.next()?;
    let Op::Binary(op) = &next.op else { return None };
    let out = node.outputs[0];
    let other = match next.inputs[..] {
        [Some(a), Some(b)] if a == out && b != out => b,
        [Some(a), Some(b)] if b == out && a != out => a,
        _ => return None,
    };
    let param = e.param(other)?;
    let shape = &param.tensor.shape;
    let vector = shape.last() == Some(&size) && param.tensor.len() == size;
    let fits = op.function == BinaryFunction::Add && vector && shape.len() <= e.ty(out).rank();
    let alone = e.uses_left(out) == 1 && param.tensor.dtype == e.ty(out).dtype;
    if !fits || !alone {
        return None;
    }
    Some((param.tensor.reshaped(&[size])?, param.name(), next.outputs[0]))
}

/// `nn.Linear` holds (out, in), Keras (in, out). <https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html>
pub fn matmul(node: &Node, e: &mut Emit) -> Making {
    let kernel = e.value(node, 1)?;
    let linear = e.param(kernel).filter(|param| param.tensor.shape.len() == 2 && param.tensor.dtype.is_float());
    let Some((param, turned)) = linear.and_then(|param| Some((param, param.tensor.permuted(&[1, 0])?))) else {
        let (a, b) = (e.tensor_arg(node, 0)?, e.tensor_arg(node, 1)?);
        return Ok(call("torch.matmul", vec![a.into(), b.into()]).into());
    };
    let x = e.arg(node, 0)?;
    let (inputs, outputs) = (param.tensor.shape[0], param.tensor.shape[1]);
    let bias = bias_behind(node, outputs, e);
    let mut args = vec![Py::from(inputs).into(), Py::from(outputs).into()];
    let mut weights = vec![Weight::view("weight".into(), turned)];
    let mut key = format!("linear {}", param.name());
    let mut made = node.outputs[0];
    match bias {
        Some((bias, name, value)) => {
            weights.push(Weight::view("bias".into(), bias));
            key.push_str(&name);
            made = value;
            e.skip_next();
        }
        None => args.push(kw("bias", false)),
    }
    args.extend(dtype_arg(param.tensor.dtype));
    let base = e.attribute_base(&param.path, &hint(param, e));
    let module = e.module(key, &base, call("nn.Linear", args), &[], weights);
    Ok(Made::As(Py::Call(Box::new(module), vec![x.into()]), made))
}

pub fn einsum(op: &Einsum, node: &Node, e: &mut Emit) -> Making {
    // PyTorch reads the same letters: https://docs.pytorch.org/docs/stable/generated/torch.einsum.html
    let equation = format!("\"{}\"", op.equation);
    let mut args: Vec<Arg> = vec![Py::from(equation).into()];
    let operands: Result<Vec<Py>, Diag> = (0..node.inputs.len()).map(|index| e.tensor_arg(node, index)).collect();
    args.extend(operands?.into_iter().map(Arg::from));
    Ok(call("torch.einsum", args).into())
}
