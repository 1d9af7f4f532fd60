use super::conv::{Pads, padded, padded_same, pads, pairs, want_channels_first};
use super::unsupported;
use crate::class::Helper;
use crate::py::{Arg, Py, call, kw, method, one_or_all, tuple};
use crate::scope::{Emit, Making, torch_dtype};
use recast_plugin_api::ir::{DType, Node, Pool, PoolFunction};

/// PyTorch pads evenly, by at most half of a window; what it can't is padded before.
pub fn pool(op: &Pool, node: &Node, e: &mut Emit) -> Making {
    want_channels_first(op.layout, node)?;
    let n = op.window.len();
    if n > 3 {
        return Err(unsupported(node, format!("{n} spatial axes")));
    }
    let average = op.function == PoolFunction::Average;
    let dtype = e.ty(e.value(node, 0)?).dtype;
    // PyTorch has no mean of volumes in half precision on a CPU.
    let wide = average && n == 3 && matches!(dtype, DType::F16 | DType::BF16);
    let back = move |pooled: Py| match wide {
        true => method(pooled, "to", vec![Py::from(torch_dtype(dtype)).into()]),
        false => pooled,
    };
    let x = e.arg(node, 0)?;
    let mut x = if wide { method(x, "float", Vec::new()) } else { x };
    let ones = vec![1; n];
    let mut args: Vec<Arg> = vec![one_or_all(&op.window).into(), kw("stride", one_or_all(&op.strides))];
    match pads(&op.padding) {
        Pads::Even(even) if even.iter().all(|&pad| pad == 0) => {}
        Pads::Even(even) if even.iter().zip(&op.window).all(|(&pad, &window)| pad <= window / 2) => {
            args.push(kw("padding", one_or_all(&even)));
            args.extend(average.then(|| kw("count_include_pad", false)));
        }
        Pads::Uneven(_) | Pads::Even(_) | Pads::Same if average => {
            let x = if wide { e.temporary(&x) } else { e.var(node, 0)? };
            return Ok(back(averaged(op, x, e)).into());
        }
        Pads::Same => {
            let lowest = Some(Py::from("-math.inf"));
            x = padded_same(x, &op.padding, &op.window, &op.strides, &ones, lowest, e);
        }
        Pads::Uneven(_) | Pads::Even(_) => {
            x = padded(x, &pairs(&op.padding), Some("-math.inf".into()));
        }
    }
    let name = if average { "avg" } else { "max" };
    args.insert(0, x.into());
    Ok(back(call(&format!("F.{name}_pool{n}d"), args)).into())
}

/// The mean over what is not padding: `average_pool` of the helpers.
fn averaged(op: &Pool, x: Py, e: &mut Emit) -> Py {
    e.out.helpers.insert(Helper::AveragePool);
    let ones = vec![1; op.window.len()];
    let pad = |of: Py, e: &mut Emit| match pads(&op.padding) {
        Pads::Same => padded_same(of, &op.padding, &op.window, &op.strides, &ones, None, e),
        Pads::Even(_) | Pads::Uneven(_) => padded(of, &pairs(&op.padding), None),
    };
    let first = Py::Index(Box::new(x.clone()), vec![Py::Slice(None, Some(Box::new(1u64.into())), None); 2]);
    let seen = call("torch.ones_like", vec![first.into()]);
    let (padded, seen) = (pad(x, e), pad(seen, e));
    let args = vec![
        padded.into(),
        seen.into(),
        tuple(op.window.iter().copied()).into(),
        tuple(op.strides.iter().copied()).into(),
    ];
    call("average_pool", args)
}
