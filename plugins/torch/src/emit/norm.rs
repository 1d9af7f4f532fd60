use super::matmul::dtype_arg;
use crate::py::{Arg, Py, binary, call, kw, method, tuple};
use crate::scope::{Emit, Making};
use crate::weights::{Source, Weight};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{BatchNorm, DType, Dim, GroupNorm, LayerNorm, LogSoftmax, Node, RmsNorm, Softmax, Tensor};

/// Input `index` as a vector of `len` weights; `Some(None)` where the op goes without it.
fn vector(node: &Node, index: usize, len: u64, e: &Emit) -> Option<Option<(Tensor, String)>> {
    let Some(value) = e.opt_value(node, index) else { return Some(None) };
    let param = e.param(value)?;
    let tensor = param.tensor.reshaped(&[len])?;
    tensor.dtype.is_float().then(|| Some((tensor, param.name())))
}

/// Weights of an affine module: `weight` and `bias` are both there or both not in PyTorch, so one that Keras lacks is
/// filled in and stays as it is in training.
struct Affine {
    weights: Vec<Weight>,
    frozen: Vec<&'static str>,
    key: String,
    present: bool,
}

fn affine(scale: Option<(Tensor, String)>, offset: Option<(Tensor, String)>, shape: &[u64], dtype: DType) -> Affine {
    let mut affine = Affine { weights: Vec::new(), frozen: Vec::new(), key: String::new(), present: false };
    affine.present = scale.is_some() || offset.is_some();
    if !affine.present {
        return affine;
    }
    for (name, given, neutral) in [("weight", scale, 1.0), ("bias", offset, 0.0)] {
        let (source, dtype) = match given {
            Some((tensor, param)) => {
                affine.key.push_str(&param);
                let dtype = tensor.dtype;
                (Source::View(tensor), dtype)
            }
            None => {
                affine.frozen.push(name);
                (Source::Filled(neutral), dtype)
            }
        };
        affine.weights.push(Weight { key: name.into(), dtype, shape: shape.to_vec(), source });
    }
    affine
}

fn moved(x: Py, from: usize, to: usize) -> Py {
    call("torch.movedim", vec![x.into(), Py::from(from).into(), Py::from(to).into()])
}

/// `module(x)` over axis 1, wherever the channels are.
fn over_channels(module: Py, x: Py, axis: usize, rank: usize) -> Py {
    let on = |x: Py| Py::Call(Box::new(module.clone()), vec![x.into()]);
    match (axis, rank) {
        (1, _) => on(x),
        // A dense layer's result and the like: (batch, time, channels).
        (2, 3) => {
            let turn = |x: Py| method(x, "transpose", vec![Py::from(1u64).into(), Py::from(2u64).into()]);
            turn(on(turn(x)))
        }
        _ => moved(on(moved(x, axis, 1)), 1, axis),
    }
}

/// `nn.BatchNorm`: eps is Keras' epsilon; the share of the new statistics is 1 - momentum; the running statistics are
/// buffers. <https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html>
pub fn batch_norm(op: &BatchNorm, node: &Node, e: &mut Emit) -> Making {
    let value = e.value(node, 0)?;
    let ty = e.ty(value);
    let channels = ty.shape[op.axis].known();
    let parts = channels.and_then(|len| {
        let part = |index: usize| vector(node, index, len, e);
        Some((len, part(1)?, part(2)?, part(3)??, part(4)??))
    });
    let Some((len, scale, offset, mean, variance)) = parts.filter(|_| (2..=5).contains(&ty.rank())) else {
        return computed_batch_norm(op, node, e);
    };
    let affine = affine(scale, offset, &[len], ty.dtype);
    let kind = match ty.rank() {
        4 => "nn.BatchNorm2d",
        5 => "nn.BatchNorm3d",
        _ => "nn.BatchNorm1d",
    };
    let mut args: Vec<Arg> = vec![Py::from(len).into(), kw("eps", op.epsilon)];
    args.push(kw("momentum", e.facts.momentum(&node.path)));
    args.extend((!affine.present).then(|| kw("affine", false)));
    args.extend(dtype_arg(mean.0.dtype));
    let key = format!("batch_norm {kind} {} {}", affine.key, mean.1);
    let mut weights = affine.weights;
    weights.push(Weight::view("running_mean".into(), mean.0));
    weights.push(Weight::view("running_var".into(), variance.0));
    let count =
        Weight { key: "num_batches_tracked".into(), dtype: DType::I64, shape: vec![], source: Source::Filled(0.0) };
    weights.push(count);
    let x = e.arg(node, 0)?;
    let base = e.attribute_base(&node.path, "");
    let module = e.module(key, &base, call(kind, args), &affine.frozen, weights);
    Ok(over_channels(module, x, op.axis, ty.rank()).into())
}

/// A vector of the channels so that it broadcasts along `axis` of `rank`.
fn along(vector: Py, axis: usize, rank: usize) -> Py {
    let behind = rank - 1 - axis;
    if behind == 0 {
        return vector;
    }
    let sizes = std::iter::once(Py::from(-1i64)).chain(std::iter::repeat_n(Py::from(1u64), behind));
    method(vector, "view", sizes.map(Arg::from).collect())
}

fn computed_batch_norm(op: &BatchNorm, node: &Node, e: &mut Emit) -> Making {
    let rank = e.ty(e.value(node, 0)?).rank();
    let x = e.arg(node, 0)?;
    let (mean, variance) = (along(e.var(node, 3)?, op.axis, rank), along(e.var(node, 4)?, op.axis, rank));
    let root = e.temporary(&call("torch.sqrt", vec![binary("+", variance, op.epsilon.into()).into()]));
    let centred = e.temporary(&binary("-", x, mean));
    let standard = binary("/", centred, root);
    scaled(standard, node, |vector| along(vector, op.axis, rank), e)
}

/// `y * scale + offset`, each where it is there.
fn scaled(y: Py, node: &Node, aligned: impl Fn(Py) -> Py, e: &mut Emit) -> Making {
    let mut y = y;
    if e.opt_value(node, 1).is_some() {
        y = e.temporary(&y);
        y = binary("*", y, aligned(e.var(node, 1)?));
    }
    if e.opt_value(node, 2).is_some() {
        y = e.temporary(&y);
        y = binary("+", y, aligned(e.var(node, 2)?));
    }
    Ok(y.into())
}

/// The sizes of `axes`, where they are the last ones and known.
fn trailing(shape: &[Dim], axes: &[usize]) -> Option<Vec<u64>> {
    let first = *axes.first()?;
    let is_last = axes.len() == shape.len() - first;
    let sizes: Option<Vec<u64>> = shape[first..].iter().map(Dim::known).collect();
    sizes.filter(|_| is_last)
}

fn shaped(node: &Node, index: usize, shape: &[u64], e: &Emit) -> Option<Option<(Tensor, String)>> {
    let Some(value) = e.opt_value(node, index) else { return Some(None) };
    let param = e.param(value)?;
    Some(Some((param.tensor.reshaped(shape)?, param.name())))
}

/// `nn.LayerNorm` is over trailing axes, with the biased variance and eps inside the root, as Keras'.
/// <https://docs.pytorch.org/docs/stable/generated/torch.nn.LayerNorm.html>
pub fn layer_norm(op: &LayerNorm, node: &Node, e: &mut Emit) -> Making {
    let ty = e.ty(e.value(node, 0)?);
    let sizes = trailing(&ty.shape, &op.axes);
    let parts = sizes.and_then(|sizes| Some((shaped(node, 1, &sizes, e)?, shaped(node, 2, &sizes, e)?, sizes)));
    let x = e.arg(node, 0)?;
    let Some((scale, offset, sizes)) = parts else {
        let x = e.var(node, 0)?;
        let mean = method(x.clone(), "mean", vec![kw("dim", dims(&op.axes)), kw("keepdim", true)]);
        let options = vec![kw("dim", dims(&op.axes)), kw("correction", 0u64), kw("keepdim", true)];
        let variance = e.temporary(&method(x.clone(), "var", options));
        let centred = e.temporary(&binary("-", x, mean));
        let root = e.temporary(&call("torch.sqrt", vec![binary("+", variance, op.epsilon.into()).into()]));
        let (axes, shape) = (op.axes.clone(), ty.shape.clone());
        return scaled(binary("/", centred, root), node, |part| along_axes(part, &axes, &shape), e);
    };
    let affine = affine(scale, offset, &sizes, ty.dtype);
    let shape = if let [only] = sizes[..] { Py::from(only) } else { tuple(sizes.iter().copied()) };
    let mut args: Vec<Arg> = vec![shape.into(), kw("eps", op.epsilon)];
    args.extend((!affine.present).then(|| kw("elementwise_affine", false)));
    args.extend(affine.weights.first().and_then(|weight| dtype_arg(weight.dtype)));
    let key = format!("layer_norm {} {} {op:?}", node.path, affine.key);
    let base = e.attribute_base(&node.path, "");
    let module = e.module(key, &base, call("nn.LayerNorm", args), &affine.frozen, affine.weights);
    Ok(Py::Call(Box::new(module), vec![x.into()]).into())
}

/// Axes as PyTorch takes them: a number, or a tuple.
pub fn dims(axes: &[usize]) -> Py {
    match axes {
        [only] => (*only).into(),
        _ => tuple(axes.iter().copied()),
    }
}

/// Weights with the sizes of `axes`, so that they broadcast along them.
fn along_axes(part: Py, axes: &[usize], shape: &[Dim]) -> Py {
    let first = axes.first().copied().unwrap_or(0);
    if axes.len() == shape.len() - first {
        return part;
    }
    let size = |axis: usize| match (axes.contains(&axis), shape[axis].known()) {
        (false, _) => Py::from(1u64),
        (true, Some(size)) => size.into(),
        (true, None) => (-1i64).into(),
    };
    method(part, "view", (first..shape.len()).map(|axis| size(axis).into()).collect())
}

/// `nn.GroupNorm`: the channels are axis 1. <https://docs.pytorch.org/docs/stable/generated/torch.nn.GroupNorm.html>
pub fn group_norm(op: &GroupNorm, node: &Node, e: &mut Emit) -> Making {
    let ty = e.ty(e.value(node, 0)?);
    let parts =
        ty.shape[op.axis].known().and_then(|len| Some((vector(node, 1, len, e)?, vector(node, 2, len, e)?, len)));
    let x = e.arg(node, 0)?;
    if let Some((scale, offset, len)) = parts {
        let affine = affine(scale, offset, &[len], ty.dtype);
        let mut args: Vec<Arg> = vec![Py::from(op.groups).into(), Py::from(len).into(), kw("eps", op.epsilon)];
        args.extend((!affine.present).then(|| kw("affine", false)));
        args.extend(affine.weights.first().and_then(|weight| dtype_arg(weight.dtype)));
        let key = format!("group_norm {} {} {op:?}", node.path, affine.key);
        let base = e.attribute_base(&node.path, "");
        let module = e.module(key, &base, call("nn.GroupNorm", args), &affine.frozen, affine.weights);
        return Ok(over_channels(module, x, op.axis, ty.rank()).into());
    }
    let function = |x: Py| call("F.group_norm", vec![x.into(), Py::from(op.groups).into(), kw("eps", op.epsilon)]);
    let standard = if op.axis == 1 { function(x) } else { moved(function(moved(x, op.axis, 1)), 1, op.axis) };
    let rank = ty.rank();
    scaled(standard, node, |vector| along(vector, op.axis, rank), e)
}

/// `nn.RMSNorm` is over trailing axes. <https://docs.pytorch.org/docs/stable/generated/torch.nn.RMSNorm.html>
pub fn rms_norm(op: &RmsNorm, node: &Node, e: &mut Emit) -> Making {
    let ty = e.ty(e.value(node, 0)?);
    let sizes = trailing(&ty.shape, &op.axes);
    let scale = sizes.and_then(|sizes| Some((shaped(node, 1, &sizes, e)?, sizes)));
    if let Some((scale, sizes)) = scale {
        let x = e.arg(node, 0)?;
        let shape = if let [only] = sizes[..] { Py::from(only) } else { tuple(sizes.iter().copied()) };
        let mut args: Vec<Arg> = vec![shape.into(), kw("eps", op.epsilon)];
        let mut weights = Vec::new();
        let mut key = format!("rms_norm {} {op:?}", node.path);
        match scale {
            Some((tensor, name)) => {
                args.extend(dtype_arg(tensor.dtype));
                key.push_str(&name);
                weights.push(Weight::view("weight".into(), tensor));
            }
            None => args.push(kw("elementwise_affine", false)),
        }
        let base = e.attribute_base(&node.path, "");
        let module = e.module(key, &base, call("nn.RMSNorm", args), &[], weights);
        return Ok(Py::Call(Box::new(module), vec![x.into()]).into());
    }
    let x = e.var(node, 0)?;
    let square = call("torch.square", vec![x.clone().into()]);
    let mean = method(square, "mean", vec![kw("dim", dims(&op.axes)), kw("keepdim", true)]);
    let root = e.temporary(&call("torch.rsqrt", vec![binary("+", mean, op.epsilon.into()).into()]));
    let (axes, shape) = (op.axes.clone(), ty.shape.clone());
    scaled(binary("*", x, root), node, |part| along_axes(part, &axes, &shape), e)
}

pub fn softmax(op: &Softmax, node: &Node, e: &mut Emit) -> Making {
    if let [axis] = op.axes[..] {
        let x = e.arg(node, 0)?;
        return Ok(call("F.softmax", vec![x.into(), kw("dim", axis)]).into());
    }
    let x = e.var(node, 0)?;
    let total = call("torch.logsumexp", vec![x.clone().into(), kw("dim", dims(&op.axes)), kw("keepdim", true)]);
    Ok(call("torch.exp", vec![binary("-", x, total).into()]).into())
}

pub fn log_softmax(op: &LogSoftmax, node: &Node, e: &mut Emit) -> Result<crate::scope::Made, Diag> {
    let x = e.arg(node, 0)?;
    Ok(call("F.log_softmax", vec![x.into(), kw("dim", op.axis)]).into())
}
