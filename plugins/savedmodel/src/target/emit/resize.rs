//! Resizing. TensorFlow's kernels are for the two middle axes of images (batch, height, width, channels); nearest along
//! other axes is a gather.

use super::shape::gathered;
use super::{Emit, Emitting, Val, unsupported};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{DType, Dim, NearestRounding, Node, Resize, ResizeCoordinates, ResizeMode};

pub fn resize(op: &Resize, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (x, ty) = (e.val(value)?, e.ty(value));
    let image = ty.rank() == 4 && op.axes == [1, 2];
    let y = if op.mode == ResizeMode::Nearest {
        match nearest_flags(op).filter(|_| image) {
            Some(flags) => native("ResizeNearestNeighbor", &x, op, flags, e)?,
            None => nearest(op, x, &ty.shape, node, e)?,
        }
    } else {
        let made = match native_name(op).filter(|_| image) {
            Some((name, flags)) => native(name, &x, op, flags, e)?,
            None if image && translates(op) => translated(&x, op, &ty.shape, e)?,
            None => return Err(no_kernel(op, node)),
        };
        // These kernels give f32, whatever they take.
        if ty.dtype.is_float() {
            e.cast(&made, ty.dtype)
        } else {
            let rounded = e.call("Round", &[&made]);
            e.cast(&rounded, ty.dtype)
        }
    };
    e.bind(node.outputs[0], y);
    Ok(())
}

fn no_kernel(op: &Resize, node: &Node) -> Diag {
    let axes = format!("axes {:?} by '{}' with coordinates '{}'", op.axes, op.mode, op.coordinates);
    unsupported(node, axes).hint("TensorFlow resizes height and width of (batch, height, width, channels)")
}

/// `align_corners`, `half_pixel_centers`.
type Flags = (bool, bool);

/// The nearest elements that TensorFlow's kernel takes: rounding half up, but for coordinates that are asymmetric.
fn nearest_flags(op: &Resize) -> Option<Flags> {
    match (op.coordinates, op.rounding) {
        (ResizeCoordinates::HalfPixel, NearestRounding::HalfUp) => Some((false, true)),
        (ResizeCoordinates::Asymmetric, NearestRounding::Floor) => Some((false, false)),
        (ResizeCoordinates::AlignCorners, NearestRounding::HalfUp) => Some((true, false)),
        _ => None,
    }
}

fn native_name(op: &Resize) -> Option<(&'static str, Flags)> {
    let flags = match op.coordinates {
        ResizeCoordinates::HalfPixel => (false, true),
        ResizeCoordinates::Asymmetric => (false, false),
        ResizeCoordinates::AlignCorners => (true, false),
    };
    match op.mode {
        _ if op.antialias => None,
        ResizeMode::Linear => Some(("ResizeBilinear", flags)),
        // The kernel's own a is -0.5 with half pixels, and -0.75 without.
        ResizeMode::Cubic if flags.1 && op.cubic_a == -0.5 => Some(("ResizeBicubic", flags)),
        ResizeMode::Area => Some(("ResizeArea", (false, false))),
        ResizeMode::Nearest | ResizeMode::Cubic | ResizeMode::Lanczos3 | ResizeMode::Lanczos5 => None,
    }
}

fn sizes(op: &Resize, e: &mut Emit) -> Result<Val, Diag> {
    e.shape_vector(&op.sizes)
}

fn native(name: &'static str, x: &Val, op: &Resize, flags: Flags, e: &mut Emit) -> Result<Val, Diag> {
    let size = sizes(op, e)?;
    let mut build = e.op(name, &[x, &size]);
    if flags.0 {
        build = build.flag("align_corners", true);
    }
    if flags.1 {
        build = build.flag("half_pixel_centers", true);
    }
    Ok(build.tmp())
}

/// Can ScaleAndTranslate do it?
fn translates(op: &Resize) -> bool {
    op.coordinates == ResizeCoordinates::HalfPixel && kernel_type(op).is_some()
}

fn kernel_type(op: &Resize) -> Option<&'static str> {
    match op.mode {
        ResizeMode::Linear => Some("triangle"),
        ResizeMode::Cubic if op.cubic_a == -0.5 => Some("keyscubic"),
        ResizeMode::Lanczos3 => Some("lanczos3"),
        ResizeMode::Lanczos5 => Some("lanczos5"),
        ResizeMode::Nearest | ResizeMode::Cubic | ResizeMode::Area => None,
    }
}

fn translated(x: &Val, op: &Resize, shape: &[Dim], e: &mut Emit) -> Result<Val, Diag> {
    let size = sizes(op, e)?;
    let scale = scales(op, shape, e)?;
    let translation = e.numbers(DType::F32, &[2], &[0.0, 0.0]);
    let build = e.op("ScaleAndTranslate", &[x, &size, &scale, &translation]);
    Ok(build.str("kernel_type", kernel_type(op).unwrap_or_default()).flag("antialias", op.antialias).tmp())
}

/// Want over have, for each axis.
fn scales(op: &Resize, shape: &[Dim], e: &mut Emit) -> Result<Val, Diag> {
    let both = || op.axes.iter().zip(&op.sizes).map(|(&axis, want)| (want, &shape[axis]));
    let known: Option<Vec<f64>> =
        both().map(|(want, have)| Some(want.known()? as f64 / have.known()? as f64)).collect();
    if let Some(known) = known {
        return Ok(e.numbers(DType::F32, &[known.len() as u64], &known));
    }
    let mut scales = Vec::new();
    for (want, have) in both() {
        let (want, have) = (e.size(want)?, e.size(have)?);
        let (want, have) = (e.cast(&want, DType::F32), e.cast(&have, DType::F32));
        scales.push(e.call("RealDiv", &[&want, &have]));
    }
    Ok(e.call_list("Pack", &scales))
}

/// Nearest along any axes: a gather of elements that are known now, or that the run counts.
fn nearest(op: &Resize, x: Val, shape: &[Dim], node: &Node, e: &mut Emit) -> Result<Val, Diag> {
    let mut y = x;
    for (&axis, want) in op.axes.iter().zip(&op.sizes) {
        let have = &shape[axis];
        if have == want {
            continue;
        }
        let index = match (have.known(), want.known()) {
            (Some(have), Some(want)) => {
                let picked: Vec<i64> = (0..want).map(|i| picked(op, i, have, want)).collect();
                e.ints(&picked)
            }
            _ => counted(op, have, want, node, e)?,
        };
        y = gathered(&y, &index, axis, 0, e);
    }
    Ok(y)
}

/// The input element of output element `i`.
fn picked(op: &Resize, i: u64, have: u64, want: u64) -> i64 {
    let (i, have, want) = (i128::from(i), i128::from(have), i128::from(want));
    let (top, bottom) = match op.coordinates {
        ResizeCoordinates::HalfPixel => ((2 * i + 1) * have - want, 2 * want),
        ResizeCoordinates::Asymmetric => (i * have, want),
        ResizeCoordinates::AlignCorners if want > 1 => (i * (have - 1), want - 1),
        ResizeCoordinates::AlignCorners => (0, 1),
    };
    let index = match op.rounding {
        NearestRounding::Floor => top.div_euclid(bottom),
        NearestRounding::Ceil => -(-top).div_euclid(bottom),
        NearestRounding::HalfUp => (2 * top + bottom).div_euclid(2 * bottom),
        NearestRounding::HalfDown => -(bottom - 2 * top).div_euclid(2 * bottom),
    };
    index.clamp(0, (have - 1).max(0)) as i64
}

/// Growing by a whole number, each element stands as often as that beside itself.
fn counted(op: &Resize, have: &Dim, want: &Dim, node: &Node, e: &mut Emit) -> Result<Val, Diag> {
    let times = want.exact_div(have).and_then(|times| times.known());
    let repeats = matches!(
        (op.coordinates, op.rounding),
        (ResizeCoordinates::Asymmetric, NearestRounding::Floor)
            | (ResizeCoordinates::HalfPixel, NearestRounding::HalfUp | NearestRounding::HalfDown)
    );
    let Some(times) = times.filter(|_| repeats) else {
        return Err(unsupported(node, format!("a length of {have} to {want} along an axis that is not of an image")));
    };
    let (count, times) = (e.counting(want)?, e.int(times as i64));
    Ok(e.call("FloorDiv", &[&count, &times]))
}
