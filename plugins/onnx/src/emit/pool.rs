use super::conv::{Pads, pads, spatial, want_channels_first};
use super::{Emit, Emitting};
use recast_plugin_api::ir::{Node, Pool, PoolFunction};

pub fn pool(op: &Pool, node: &Node, e: &mut Emit) -> Emitting {
    want_channels_first(op.layout, node)?;
    let sizes = spatial(e.shape(e.value(node, 0)?));
    let dilations = vec![1; op.window.len()];
    let pads = pads(&op.padding, sizes, &op.window, &op.strides, &dilations, node)?;
    let x = e.arg(node, 0)?;
    let signed = |values: &[u64]| values.iter().map(|&value| value as i64).collect::<Vec<_>>();
    let build = match op.function {
        PoolFunction::Max => e.op("MaxPool", &[&x]),
        PoolFunction::Average => e.op("AveragePool", &[&x]).int("count_include_pad", 0),
    };
    let build = build.ints("kernel_shape", signed(&op.window));
    let build = match pads {
        // ONNX Runtime up to 1.18 takes a `Pad` of zeros before it into the attribute where there is one, and then the
        // largest of a window below zero is no longer the zero.
        Pads::Explicit(pads) if pads.iter().all(|&pad| pad == 0) => build,
        Pads::Explicit(pads) => build.ints("pads", pads),
        Pads::SameUpper => build.str("auto_pad", "SAME_UPPER"),
    };
    build.ints("strides", signed(&op.strides)).to(node.outputs[0]);
    Ok(())
}
