use super::conv::{Slide, before, channels, channels_last, laid_out, spatial, wide};
use super::{Cx, Ins, Outcome};
use recast_plugin_api::ir::{Pool, PoolFunction};

pub fn pool(op: &Pool, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let x = ins.array(0)?;
    let shape = cx.shape();
    let channels = channels(&x.shape, op.layout);
    let slide = Slide {
        input: spatial(&x.shape, op.layout),
        output: spatial(&shape, op.layout),
        window: wide(&op.window),
        strides: wide(&op.strides),
        dilations: vec![1; op.window.len()],
        before: before(&op.padding)?,
    };
    let values = channels_last(&x, op.layout)?;
    let (pixels, sources) = (slide.pixels(), slide.input.iter().product::<usize>());
    let start = match op.function {
        PoolFunction::Max => f64::NEG_INFINITY,
        PoolFunction::Average => 0.0,
    };
    let mut out = vec![start; cx.len()];
    cx.pool.chunks(&mut out, channels * pixels.div_ceil(cx.pool.threads()).max(1), |index, part| {
        let first = index * pixels.div_ceil(cx.pool.threads()).max(1);
        let mut taps = Vec::new();
        for (i, row) in part.chunks_exact_mut(channels.max(1)).enumerate() {
            let (batch, pixel) = ((first + i) / pixels, (first + i) % pixels);
            slide.sources(pixel, &mut taps);
            let mut count = 0.0;
            for source in taps.iter().flatten() {
                count += 1.0;
                let x = &values[(batch * sources + source) * channels..][..channels];
                match op.function {
                    PoolFunction::Max => row.iter_mut().zip(x).for_each(|(max, &v)| {
                        if v > *max || v.is_nan() {
                            *max = v;
                        }
                    }),
                    PoolFunction::Average => row.iter_mut().zip(x).for_each(|(sum, v)| *sum += v),
                }
            }
            if op.function == PoolFunction::Average {
                row.iter_mut().for_each(|sum| *sum /= count);
            }
        }
        Ok(())
    })?;
    cx.floats(laid_out(out, &shape, op.layout))
}
