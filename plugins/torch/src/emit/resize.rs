use super::unsupported;
use crate::class::Helper;
use crate::py::{Arg, Py, call, kw};
use crate::scope::{Emit, Making};
use recast_plugin_api::ir::{Dim, NearestRounding, Node, Resize, ResizeCoordinates, ResizeMode};

/// `F.interpolate` where it is the same function: over all spatial axes, linear without antialias at half pixels, and
/// nearest either from i * in / out ("nearest") or at half pixels ("nearest-exact").
/// <https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.interpolate.html>
fn interpolation(op: &Resize, rank: usize) -> Option<&'static str> {
    use NearestRounding::*;
    use ResizeCoordinates::*;
    if !(3..=5).contains(&rank) || op.axes != (2..rank).collect::<Vec<_>>() {
        return None;
    }
    match (op.mode, op.coordinates, op.rounding) {
        (ResizeMode::Nearest, Asymmetric, Floor) => Some("nearest"),
        (ResizeMode::Nearest, HalfPixel, HalfUp) => Some("nearest-exact"),
        (ResizeMode::Linear, HalfPixel, _) if !op.antialias => Some(["linear", "bilinear", "trilinear"][rank - 3]),
        _ => None,
    }
}

/// The factor, where every axis grows by the same whole number.
fn growth(op: &Resize, shape: &[Dim]) -> Option<Vec<u64>> {
    op.axes.iter().zip(&op.sizes).map(|(&axis, size)| size.exact_div(&shape[axis])?.known()).collect()
}

pub fn resize(op: &Resize, node: &Node, e: &mut Emit) -> Making {
    let value = e.value(node, 0)?;
    let ty = e.ty(value);
    let x = e.tensor_arg(node, 0)?;
    if let (Some(mode), true) = (interpolation(op, ty.rank()), ty.dtype.is_float()) {
        let size = match growth(op, &ty.shape) {
            Some(factors) => kw("scale_factor", crate::py::one_or_all(&factors)),
            None => {
                let sizes = op.sizes.iter().map(|dim| e.size(dim)).collect::<Result<Vec<_>, _>>()?;
                kw("size", Py::Tuple(sizes))
            }
        };
        let mut args: Vec<Arg> = vec![x.into(), size];
        // Nearest is the default.
        args.extend((mode != "nearest").then(|| kw("mode", format!("\"{mode}\""))));
        return Ok(call("F.interpolate", args).into());
    }
    if !ty.dtype.is_float() && op.mode != ResizeMode::Nearest {
        return Err(unsupported(node, format!("{} interpolation of {}", op.mode, ty.dtype)));
    }
    e.out.helpers.insert(Helper::Resize);
    let mut x = x;
    for (&axis, size) in op.axes.iter().zip(&op.sizes) {
        let size = e.size(size)?;
        let text = |text: &str| Py::from(format!("\"{text}\""));
        let mut args: Vec<Arg> = vec![x.into(), Py::from(axis).into(), size.into(), text(op.mode.as_str()).into()];
        args.push(kw("coordinates", text(op.coordinates.as_str())));
        match op.mode {
            ResizeMode::Nearest => args.push(kw("rounding", text(op.rounding.as_str()))),
            ResizeMode::Cubic => args.push(kw("a", op.cubic_a)),
            ResizeMode::Linear | ResizeMode::Lanczos3 | ResizeMode::Lanczos5 | ResizeMode::Area => {}
        }
        args.extend(op.antialias.then(|| kw("antialias", true)));
        x = e.temporary(&call("resize_axis", args));
    }
    Ok(x.into())
}
