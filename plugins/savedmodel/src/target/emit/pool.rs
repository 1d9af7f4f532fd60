use super::conv::{Pads, Windows, want_channels_last};
use super::{Emit, Emitting, Val, unsupported};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{DType, Node, Pool, PoolFunction};

pub fn pool(op: &Pool, node: &Node, e: &mut Emit) -> Emitting {
    want_channels_last(op.layout, node)?;
    let value = e.value(node, 0)?;
    let (n, dtype) = (op.window.len(), e.ty(value).dtype);
    if !(1..=3).contains(&n) {
        return Err(unsupported(node, format!("{n} spatial axes")).hint("TensorFlow has one to three"));
    }
    if n == 3 && dtype == DType::F64 && op.function == PoolFunction::Max {
        return Err(unsupported(node, "TensorFlow has no three-dimensional max pooling of f64"));
    }
    let mut windows = Windows {
        sizes: e.shape(value)[1..=n].to_vec(),
        window: op.window.clone(),
        strides: op.strides.clone(),
        dilations: vec![1; n],
        padding: op.padding.clone(),
    };
    let mut x = e.val(value)?;
    if n == 1 {
        x = e.expand(&x, 1);
        windows.lifted();
        windows.strides[0] = 1;
    }
    let mut y = match op.function {
        PoolFunction::Max => max(&x, &windows, dtype, e)?,
        PoolFunction::Average => average(&x, &windows, dtype, e)?,
    };
    if n == 1 {
        y = e.squeeze(&y, 1);
    }
    e.bind(node.outputs[0], y);
    Ok(())
}

fn node(op: &'static str, x: &Val, windows: &Windows, padding: &str, e: &mut Emit) -> Val {
    let around = |values: &[u64]| -> Vec<i64> {
        [1].into_iter().chain(values.iter().map(|&value| value as i64)).chain([1]).collect()
    };
    let (window, strides) = (around(&windows.window), around(&windows.strides));
    e.op(op, &[x]).ints("ksize", &window).ints("strides", &strides).str("padding", padding).tmp()
}

fn max(x: &Val, windows: &Windows, dtype: DType, e: &mut Emit) -> Result<Val, Diag> {
    let op = if windows.window.len() == 2 { "MaxPool" } else { "MaxPool3D" };
    let (x, padding) = match windows.pads() {
        Pads::Same => (x.clone(), "SAME"),
        Pads::Valid => (x.clone(), "VALID"),
        Pads::Explicit(_) | Pads::Mixed => {
            let low = e.scalar(dtype, f64::NEG_INFINITY);
            (windows.padded(x, Some(&low), e)?, "VALID")
        }
    };
    Ok(node(op, &x, windows, padding, e))
}

/// Padding is not counted: with numbers for it, the mean over all is set right by the share that counts.
fn average(x: &Val, windows: &Windows, dtype: DType, e: &mut Emit) -> Result<Val, Diag> {
    let op = if windows.window.len() == 2 { "AvgPool" } else { "AvgPool3D" };
    match windows.pads() {
        Pads::Same => return Ok(node(op, x, windows, "SAME", e)),
        Pads::Valid => return Ok(node(op, x, windows, "VALID", e)),
        Pads::Explicit(_) | Pads::Mixed => {}
    }
    let padded = windows.padded(x, None, e)?;
    let mean = node(op, &padded, windows, "VALID", e);
    let shape = e.op("Shape", &[x]).ty("out_type", DType::I32).tmp();
    let one = e.scalar(dtype, 1.0);
    let ones = e.call("Fill", &[&shape, &one]);
    let counted = windows.padded(&ones, None, e)?;
    let share = node(op, &counted, windows, "VALID", e);
    Ok(e.call("RealDiv", &[&mean, &share]))
}
