//! Cases of convolutions, pooling, normalization and resampling.

use crate::onnx_kit::{Build, Case, batch, batched, time};
use recast_plugin_api::ir::*;

/// (batch, lengths..., channels); `None` among lengths is the symbol `time`.
fn image(lengths: &[Option<u64>], channels: u64) -> Vec<Dim> {
    let lengths = lengths.iter().map(|length| length.map_or(time(), Dim::Known));
    std::iter::once(batch()).chain(lengths).chain([Dim::Known(channels)]).collect()
}

pub fn conv_of(n: usize, stride: u64, dilation: u64, padding: Padding, groups: u64) -> Conv {
    Conv {
        strides: vec![stride; n],
        dilations: vec![dilation; n],
        padding: vec![padding; n],
        groups,
        layout: Layout::ChannelsLast,
        kernel: KernelOrder::Hwio,
    }
}

fn kernel(b: &mut Build, n: usize, window: u64, channels: (u64, u64)) -> ValueId {
    let shape: Vec<u64> = std::iter::repeat_n(window, n).chain([channels.0, channels.1]).collect();
    b.weight("kernel", &shape)
}

fn convolutions() -> Vec<Case> {
    let mut cases = Vec::new();
    let valid = Padding::Explicit(0, 0);
    for n in [1usize, 2, 3] {
        for (stride, dilation, padding, groups, dynamic) in [
            (1, 1, valid, 1, false),
            (2, 1, Padding::Same, 1, false),
            (2, 1, Padding::Same, 1, true),
            (1, 2, Padding::Same, 1, true),
            (1, 1, Padding::Same, 4, false),
            (2, 1, Padding::Explicit(2, 1), 2, false),
        ] {
            let name = format!("conv{n}d_{stride}_{dilation}_{groups}_{dynamic}_{}", padding == valid);
            let case = Case::new(&name, |b| {
                let lengths = vec![if dynamic { None } else { Some(7) }; n];
                let x = b.input("x", image(&lengths, 4));
                let k = kernel(b, n, 3, (4 / groups, 8));
                let bias = b.weight("bias", &[8]);
                vec![b.add(conv_of(n, stride, dilation, padding, groups), &[x, k, bias])]
            });
            cases.push(if n == 3 { case.not_embedded() } else { case });
        }
    }
    cases
}

fn transposed() -> Vec<Case> {
    let mut cases = Vec::new();
    // window, stride, dilation, cropping, output padding
    for (i, (window, stride, dilation, crop, extra)) in [
        (3, 2, 1, (0, 0), 0),
        (3, 2, 1, (0, 1), 0),
        (2, 3, 1, (0, 0), 1),
        (4, 2, 1, (1, 1), 0),
        (3, 2, 1, (1, 1), 1),
        (3, 1, 2, (2, 2), 0),
        (2, 2, 1, (3, 2), 0),
    ]
    .into_iter()
    .enumerate()
    {
        for n in [1usize, 2, 3] {
            let case = Case::new(&format!("conv_transpose{n}d_{i}"), |b| {
                let x = b.input("x", image(&vec![Some(5); n], 3));
                let k = kernel(b, n, window, (4, 3));
                let bias = b.weight("bias", &[4]);
                let op = ConvTranspose {
                    strides: vec![stride; n],
                    dilations: vec![dilation; n],
                    cropping: vec![crop; n],
                    output_padding: vec![extra; n],
                    groups: 1,
                    layout: Layout::ChannelsLast,
                    kernel: KernelOrder::Hwoi,
                };
                vec![b.add(op, &[x, k, bias])]
            });
            // The embedded runtime has no dilated transposed convolution.
            cases.push(if n == 3 || dilation > 1 { case.not_embedded() } else { case });
        }
    }
    cases
}

pub fn pool_of(function: PoolFunction, n: usize, window: u64, stride: u64, padding: Padding) -> Pool {
    Pool {
        function,
        window: vec![window; n],
        strides: vec![stride; n],
        padding: vec![padding; n],
        layout: Layout::ChannelsLast,
    }
}

fn pooling() -> Vec<Case> {
    let mut cases = Vec::new();
    for &function in PoolFunction::ALL {
        for n in [1usize, 2, 3] {
            for (window, stride, padding, dynamic) in [
                (2, 2, Padding::Explicit(0, 0), false),
                (3, 2, Padding::Same, false),
                (3, 2, Padding::Same, true),
                (3, 1, Padding::Same, true),
                (3, 2, Padding::Explicit(1, 1), false),
            ] {
                let same = padding == Padding::Same;
                let case = Case::new(&format!("pool{n}d_{function}_{window}_{stride}_{same}_{dynamic}"), |b| {
                    let lengths = vec![if dynamic { None } else { Some(6) }; n];
                    let x = b.input("x", image(&lengths, 3));
                    vec![b.add(pool_of(function, n, window, stride, padding), &[x])]
                });
                cases.push(if n == 3 { case.not_embedded() } else { case });
            }
        }
    }
    cases
}

pub fn windows() -> Vec<Case> {
    convolutions().into_iter().chain(transposed()).chain(pooling()).collect()
}

pub fn norms() -> Vec<Case> {
    let mut cases = Vec::new();
    for (axis, scale, offset) in
        [(1, true, true), (3, true, true), (3, false, true), (3, false, false), (2, true, false)]
    {
        cases.push(Case::new(&format!("batch_norm_{axis}_{scale}_{offset}"), |b| {
            let x = b.input("x", batched(&[4, 5, 6]));
            let n = [4, 5, 6][axis - 1];
            let scale = scale.then(|| b.weight("gamma", &[n]));
            let offset = offset.then(|| b.weight("beta", &[n]));
            let (mean, variance) = (b.weight("mean", &[n]), b.weight_in("variance", &[n], 0.2, 2.0));
            b.add_all(BatchNorm { axis, epsilon: 1e-3 }, &[Some(x), scale, offset, Some(mean), Some(variance)])
        }));
    }
    cases.push(Case::new("batch_norm_flat", |b| {
        let x = b.input("x", batched(&[4]));
        let (mean, variance) = (b.weight("mean", &[4]), b.weight_in("variance", &[4], 0.2, 2.0));
        b.add_all(BatchNorm { axis: 1, epsilon: 1e-3 }, &[Some(x), None, None, Some(mean), Some(variance)])
    }));
    for (axes, sizes) in [(vec![3], vec![6]), (vec![2, 3], vec![5, 6]), (vec![1], vec![4]), (vec![1, 3], vec![4, 6])] {
        for (scale, offset) in [(true, true), (false, true), (true, false), (false, false)] {
            cases.push(Case::new(&format!("layer_norm_{axes:?}_{scale}_{offset}"), |b| {
                let x = b.input("x", batched(&[4, 5, 6]));
                let scale = scale.then(|| b.weight("gamma", &sizes));
                let offset = offset.then(|| b.weight("beta", &sizes));
                b.add_all(LayerNorm { axes: axes.clone(), epsilon: 1e-3 }, &[Some(x), scale, offset])
            }));
        }
        cases.push(Case::new(&format!("rms_norm_{axes:?}"), |b| {
            let x = b.input("x", batched(&[4, 5, 6]));
            let scale = b.weight("gamma", &sizes);
            b.add_all(RmsNorm { axes: axes.clone(), epsilon: 1e-3 }, &[Some(x), Some(scale)])
        }));
    }
    for (axis, groups) in [(3, 2), (1, 4), (2, 1)] {
        cases.push(Case::new(&format!("group_norm_{axis}_{groups}"), |b| {
            let x = b.input("x", vec![batch(), Dim::Known(4), Dim::Known(3), Dim::Known(6)]);
            let n = [4, 3, 6][axis - 1];
            let (scale, offset) = (b.weight("gamma", &[n]), b.weight("beta", &[n]));
            b.add_all(GroupNorm { axis, groups, epsilon: 1e-3 }, &[Some(x), Some(scale), Some(offset)])
        }));
    }
    cases.push(Case::new("group_norm_dynamic", |b| {
        let x = b.input("x", image(&[None, None], 6));
        let scale = b.weight("gamma", &[6]);
        b.add_all(GroupNorm { axis: 3, groups: 3, epsilon: 1e-3 }, &[Some(x), Some(scale), None])
    }));
    for axes in [vec![1], vec![2], vec![1, 2], vec![0, 2]] {
        cases.push(Case::new(&format!("softmax_{axes:?}"), |b| {
            let x = b.input("x", image(&[None], 4));
            vec![b.add(Softmax { axes: axes.clone() }, &[x])]
        }));
    }
    cases.push(Case::new("log_softmax", |b| {
        let x = b.input("x", image(&[None], 4));
        vec![b.add(LogSoftmax { axis: 2 }, &[x])]
    }));
    cases
}

fn resize_of(mode: ResizeMode, sizes: &[u64], coordinates: ResizeCoordinates, antialias: bool) -> Resize {
    Resize {
        axes: vec![1, 2],
        sizes: sizes.iter().map(|&size| Dim::Known(size)).collect(),
        mode,
        coordinates,
        rounding: if coordinates == ResizeCoordinates::Asymmetric {
            NearestRounding::Floor
        } else {
            NearestRounding::HalfUp
        },
        cubic_a: -0.5,
        antialias,
    }
}

/// Whole numbers, of which runtimes resize a few types: by fixed sizes, and by free ones.
fn whole_resizes() -> Vec<Case> {
    use ResizeCoordinates::*;
    let mut cases = Vec::new();
    for dtype in [DType::U8, DType::I16, DType::U16, DType::I32, DType::I64, DType::U32, DType::U64] {
        for coordinates in [HalfPixel, Asymmetric, AlignCorners] {
            let case = Case::new(&format!("resize_{dtype}_{coordinates}"), |b| {
                let x = b.input_of("x", dtype, image(&[Some(5), Some(4)], 3));
                let sizes = [[7, 3], [10, 1]];
                sizes.map(|sizes| b.add(resize_of(ResizeMode::Nearest, &sizes, coordinates, false), &[x])).to_vec()
            });
            cases.push(case.not_embedded());
        }
        let case = Case::new(&format!("resize_{dtype}_dynamic"), |b| {
            let x = b.input_of("x", dtype, image(&[None, None], 3));
            let sizes = vec![time().times(&Dim::Known(3)), Dim::Known(4)];
            let op = resize_of(ResizeMode::Nearest, &[1, 1], HalfPixel, false);
            vec![b.add(Resize { sizes, ..op }, &[x])]
        });
        cases.push(case.not_embedded());
    }
    cases
}

pub fn resizes() -> Vec<Case> {
    use ResizeCoordinates::*;
    let mut cases = Vec::new();
    for (i, (mode, sizes, coordinates)) in [
        (ResizeMode::Nearest, [10, 8], Asymmetric),
        (ResizeMode::Nearest, [10, 8], HalfPixel),
        (ResizeMode::Nearest, [7, 3], HalfPixel),
        (ResizeMode::Linear, [10, 8], HalfPixel),
        (ResizeMode::Linear, [7, 3], HalfPixel),
        (ResizeMode::Linear, [9, 6], AlignCorners),
        (ResizeMode::Linear, [10, 8], Asymmetric),
    ]
    .into_iter()
    .enumerate()
    {
        cases.push(Case::new(&format!("resize_{i}_{mode}_{coordinates}"), |b| {
            let x = b.input("x", image(&[Some(5), Some(4)], 3));
            vec![b.add(resize_of(mode, &sizes, coordinates, false), &[x])]
        }));
    }
    let cubic = Case::new("resize_cubic", |b| {
        let x = b.input("x", image(&[Some(6), Some(5)], 2));
        vec![b.add(resize_of(ResizeMode::Cubic, &[9, 11], HalfPixel, false), &[x])]
    });
    cases.push(cubic.not_embedded());
    for mode in [ResizeMode::Linear, ResizeMode::Cubic] {
        let case = Case::new(&format!("resize_antialias_{mode}"), |b| {
            let x = b.input("x", image(&[Some(9), Some(8)], 2));
            vec![b.add(resize_of(mode, &[4, 3], HalfPixel, true), &[x])]
        });
        cases.push(case.since_opset(18).not_embedded());
    }
    cases.extend(whole_resizes());
    cases.push(Case::new("upsample_dynamic", |b| {
        let x = b.input("x", image(&[None, None], 3));
        let two = time().times(&Dim::Known(2));
        let op = resize_of(ResizeMode::Nearest, &[1, 1], Asymmetric, false);
        vec![b.add(Resize { sizes: vec![two.clone(), two], ..op }, &[x])]
    }));
    cases
}
