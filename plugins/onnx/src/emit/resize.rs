use super::{Build, Emit, Emitting, needs_opset, unsupported};
use crate::proto::data_type;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{DType, Dim, NearestRounding, Node, Resize, ResizeCoordinates, ResizeMode};

/// How many times the length grows, where that is a whole number for every length.
fn scale(have: &Dim, want: &Dim) -> Option<u64> {
    if have == want { Some(1) } else { want.exact_div(have).and_then(|times| times.known()) }
}

pub fn resize(op: &Resize, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let mode = match op.mode {
        ResizeMode::Nearest => "nearest",
        ResizeMode::Linear => "linear",
        ResizeMode::Cubic => "cubic",
        ResizeMode::Lanczos3 | ResizeMode::Lanczos5 | ResizeMode::Area => {
            return Err(unsupported(node, format!("resizing by '{}'", op.mode)).hint("ONNX has nearest, linear, cubic"));
        }
    };
    if op.antialias {
        needs_opset(node, "antialiased resizing", 18, e)?;
    }
    let dtype = e.ty(value).dtype;
    if !dtype.is_float() {
        return of_whole(op, mode, node, e);
    }
    let x = e.name(value);
    let build = built(op, mode, &x, node, e)?;
    build.to(node.outputs[0]);
    Ok(())
}

/// A Resize of `x`, of which runtimes have kernels.
fn built<'e, 'a>(
    op: &Resize,
    mode: &'static str,
    x: &str,
    node: &Node,
    e: &'e mut Emit<'a>,
) -> Result<Build<'e, 'a>, Diag> {
    let (have, want) = (e.shape(e.value(node, 0)?), e.shape(node.outputs[0]));
    let x = x.to_owned();
    let scales: Option<Vec<u64>> = have.iter().zip(want).map(|(have, want)| scale(have, want)).collect();
    let inputs = match scales {
        // Whole factors need no shape arithmetic where lengths are symbolic.
        Some(scales) if want.iter().any(|dim| dim.known().is_none()) => {
            let scales = e.floats(&scales.iter().map(|&times| times as f32).collect::<Vec<_>>());
            vec![x, String::new(), scales]
        }
        _ => vec![x, String::new(), String::new(), e.shape_vector(want)?],
    };
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let coordinates = match op.coordinates {
        ResizeCoordinates::HalfPixel => "half_pixel",
        ResizeCoordinates::Asymmetric => "asymmetric",
        ResizeCoordinates::AlignCorners => "align_corners",
    };
    let build = e.op("Resize", &inputs).str("coordinate_transformation_mode", coordinates).str("mode", mode);
    let build = match op.mode {
        ResizeMode::Nearest => build.str("nearest_mode", rounding(op.rounding)),
        ResizeMode::Cubic => {
            // Taps outside of the image are left out, as TensorFlow does.
            build.float("cubic_coeff_a", op.cubic_a).int("exclude_outside", 1)
        }
        ResizeMode::Linear | ResizeMode::Lanczos3 | ResizeMode::Lanczos5 | ResizeMode::Area => build,
    };
    Ok(if op.antialias { build.int("antialias", 1) } else { build })
}

/// Whole numbers: ONNX Runtime resizes those of 8 bits and int32; float32 holds all of 16 bits; wider ones are picked
/// by their places.
fn of_whole(op: &Resize, mode: &'static str, node: &Node, e: &mut Emit) -> Emitting {
    if op.mode != ResizeMode::Nearest {
        let what = format!("means of whole numbers, by '{}'", op.mode);
        return Err(unsupported(node, what).hint("cast them to float32 first"));
    }
    let (x, out) = (e.arg(node, 0)?, node.outputs[0]);
    match e.ty(e.value(node, 0)?).dtype {
        DType::I64 | DType::U32 | DType::U64 => picked(op, &x, node, e),
        dtype @ (DType::I16 | DType::U16) => {
            let single = e.op("Cast", &[&x]).int("to", data_type(DType::F32).into()).tmp();
            let resized = built(op, mode, &single, node, e)?.tmp();
            e.op("Cast", &[&resized]).int("to", data_type(dtype).into()).to(out);
            Ok(())
        }
        _ => {
            built(op, mode, &x, node, e)?.to(out);
            Ok(())
        }
    }
}

/// One Gather for each axis.
fn picked(op: &Resize, x: &str, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let mut x = x.to_owned();
    for (at, (&axis, want)) in op.axes.iter().zip(&op.sizes).enumerate() {
        let places = places(op, &e.shape(value)[axis].clone(), want, node, e)?;
        let gather = e.op("Gather", &[&x, &places]).int("axis", axis as i64);
        if at + 1 == op.axes.len() {
            gather.to(node.outputs[0]);
            return Ok(());
        }
        x = gather.tmp();
    }
    e.op("Identity", &[&x]).to(node.outputs[0]);
    Ok(())
}

/// Which of `have` elements each of the `want` is: i (2 have) / (2 want) and the like, in whole numbers.
fn places(op: &Resize, have: &Dim, want: &Dim, node: &Node, e: &mut Emit) -> Result<String, Diag> {
    use NearestRounding::{Floor, HalfUp};
    // (a i + b) / c, of which a and c are `have` and `want`, less one in the last form, times these.
    let (times, plus, less) = match (op.coordinates, op.rounding) {
        (ResizeCoordinates::HalfPixel, HalfUp) => (2, Plus::Have, 0),
        (ResizeCoordinates::Asymmetric, Floor) => (1, Plus::Nothing, 0),
        (ResizeCoordinates::AlignCorners, HalfUp) => (2, Plus::Want, 1),
        (coordinates, rounding) => {
            let what = format!("whole numbers of 32 bits and more, by {coordinates:?} and {rounding:?}");
            return Err(unsupported(node, what).hint("cast them to float32 first"));
        }
    };
    let count = e.counting(want)?;
    let size = |dim: &Dim, e: &mut Emit| -> Result<String, Diag> {
        let size = e.size(dim)?;
        let less = e.ints(&[less]);
        Ok(e.call("Sub", &[&size, &less]))
    };
    let (have, want) = (size(have, e)?, size(want, e)?);
    let (times, one) = (e.ints(&[times]), e.ints(&[1]));
    let step = e.call("Mul", &[&have, &times]);
    let top = e.call("Mul", &[&count, &step]);
    let top = match plus {
        Plus::Nothing => top,
        Plus::Have => e.call("Add", &[&top, &have]),
        Plus::Want => e.call("Add", &[&top, &want]),
    };
    // One element alone has none between its corners.
    let want = e.call("Max", &[&want, &one]);
    let bottom = e.call("Mul", &[&want, &times]);
    Ok(e.call("Div", &[&top, &bottom]))
}

/// What is added before the division, so that it rounds.
enum Plus {
    Nothing,
    Have,
    Want,
}

fn rounding(rounding: NearestRounding) -> &'static str {
    match rounding {
        NearestRounding::Floor => "floor",
        NearestRounding::Ceil => "ceil",
        NearestRounding::HalfDown => "round_prefer_floor",
        NearestRounding::HalfUp => "round_prefer_ceil",
    }
}
