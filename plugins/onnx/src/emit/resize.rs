use super::{Emit, Emitting, needs_opset, unsupported};
use recast_plugin_api::ir::{Dim, NearestRounding, Node, Resize, ResizeCoordinates, ResizeMode};

/// How many times the length grows, where that is a whole number for every length.
fn scale(have: &Dim, want: &Dim) -> Option<u64> {
    if have == want { Some(1) } else { want.exact_div(have).and_then(|times| times.known()) }
}

pub fn resize(op: &Resize, node: &Node, e: &mut Emit) -> Emitting {
    let value = e.value(node, 0)?;
    let (have, want) = (e.shape(value), e.shape(node.outputs[0]));
    let mode = match op.mode {
        ResizeMode::Nearest => "nearest",
        ResizeMode::Linear => "linear",
        ResizeMode::Cubic => "cubic",
        ResizeMode::Lanczos3 | ResizeMode::Lanczos5 | ResizeMode::Area => {
            return Err(unsupported(node, format!("resizing by '{}'", op.mode)).hint("ONNX has nearest, linear, cubic"));
        }
    };
    if op.antialias && e.opset < 18 {
        return Err(needs_opset(node, "antialiased resizing", 18));
    }
    let x = e.name(value);
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
    let build = if op.antialias { build.int("antialias", 1) } else { build };
    build.to(node.outputs[0]);
    Ok(())
}

fn rounding(rounding: NearestRounding) -> &'static str {
    match rounding {
        NearestRounding::Floor => "floor",
        NearestRounding::Ceil => "ceil",
        NearestRounding::HalfDown => "round_prefer_floor",
        NearestRounding::HalfUp => "round_prefer_ceil",
    }
}
