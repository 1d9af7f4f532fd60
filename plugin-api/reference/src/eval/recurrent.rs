use super::elementwise::{activate, sigmoid};
use super::gemm::{Matrix, Sizes, gemm};
use super::{Cx, Ins, Outcome, bools, floats};
use crate::array::Array;
use crate::noise::Noise;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{ActivationFunction, ActivationSpec, Direction, Gru, Lstm, SimpleRnn};
use std::sync::Arc;

/// Units that one step's gates and products of states may be off by, beside the dot products.
const STEP_ULPS: f64 = 8.0;

/// Weights of one direction, and the states that it starts with.
struct Weights {
    kernel: Arc<Array>,
    recurrent: Arc<Array>,
    bias: Option<Arc<Array>>,
    /// (batch, units) each; zeros where absent.
    states: Vec<Vec<f64>>,
}

/// What the three kinds of layers share.
struct Layer<'a> {
    gates: usize,
    states: usize,
    directions: &'a [Direction],
    zero_masked: bool,
}

/// One step: (x kernel + input bias) for all gates, the weights, the states as they were -> the states as they become;
/// the first one is the output.
type Step<'a> = &'a dyn Fn(&[f64], &Weights, &[Vec<f64>], &Product<'_>) -> Result<Vec<Vec<f64>>, Diag>;

/// Products of a state with columns of the recurrent kernel.
struct Product<'a> {
    batch: usize,
    units: usize,
    gates: usize,
    recurrent: &'a [f64],
    norms: &'a [f64],
    noise: Option<Noise>,
}

impl Product<'_> {
    /// (batch, units) times gates `from..to` of the kernel: (batch, (to - from) * units).
    fn of(&self, state: &[f64], from: usize, to: usize) -> Vec<f64> {
        let width = (to - from) * self.units;
        let mut out = vec![0.0; self.batch * width];
        let kernel = &self.recurrent[(from * self.units).min(self.recurrent.len())..];
        let kernel = Matrix { data: kernel, row: self.gates * self.units, column: 1 };
        let sizes = Sizes { m: self.batch, k: self.units, n: width };
        gemm(sizes, Matrix::rows(state, self.units), kernel, false, &mut out, width);
        if let Some(noise) = self.noise {
            let rows = Matrix::rows(state, self.units).row_norms(self.batch, self.units);
            let norms = &self.norms[from * self.units..][..width];
            for (b, row) in out.chunks_mut(width.max(1)).enumerate() {
                noise.keyed(from as u64).dots(row, rows[b], norms, self.units, b * width);
            }
        }
        out
    }
}

fn column_norms(matrix: &Array, noise: Option<Noise>) -> Result<Vec<f64>, Diag> {
    match noise {
        Some(_) => Ok(Matrix::rows(floats(matrix)?, matrix.shape[1]).column_norms(matrix.shape[0], matrix.shape[1])),
        None => Ok(Vec::new()),
    }
}

/// x kernel + bias for every step: (batch * time, gates * units).
fn projected(x: &Array, weights: &Weights, width: usize, noise: Option<Noise>, cx: &Cx<'_>) -> Result<Vec<f64>, Diag> {
    let (rows, k) = (x.shape[0] * x.shape[1], x.shape[2]);
    let (values, kernel) = (floats(x)?, floats(&weights.kernel)?);
    let norms = column_norms(&weights.kernel, noise)?;
    let mut out = vec![0.0; rows * width];
    let block = rows.div_ceil(cx.pool.threads()).max(1);
    cx.pool.chunks(&mut out, block * width, |index, part| {
        let a = Matrix::rows(&values[index * block * k..], k);
        let m = part.len() / width.max(1);
        gemm(Sizes { m, k, n: width }, a, Matrix::rows(kernel, width), false, part, width);
        if let Some(noise) = noise {
            let row_norms = a.row_norms(m, k);
            for (i, row) in part.chunks_mut(width.max(1)).enumerate() {
                noise.dots(row, row_norms[i], &norms, k, (index * block + i) * width);
            }
        }
        Ok(())
    })?;
    if let Some(bias) = &weights.bias {
        // With two rows (`reset_after`) the first is the input's.
        let bias = &floats(bias)?[..width];
        out.chunks_mut(width.max(1)).for_each(|row| row.iter_mut().zip(bias).for_each(|(v, b)| *v += b));
    }
    Ok(out)
}

fn layer(layer: &Layer<'_>, ins: &Ins<'_>, cx: &Cx<'_>, step: Step<'_>) -> Outcome {
    let x = ins.array(0)?;
    let mask = ins.optional(1)?;
    let mask = mask.as_deref().map(bools).transpose()?;
    let (batch, time) = (x.shape[0], x.shape[1]);
    let (directions, units) = (layer.directions.len(), cx.shapes[0][3]);
    let mut sequence = vec![0.0; cx.len()];
    let mut finals = vec![vec![0.0; batch * directions * units]; layer.states];
    for (d, direction) in layer.directions.iter().enumerate() {
        let weights = take_weights(layer, ins, d, batch * units)?;
        let noise = cx.noise.map(|noise| noise.keyed(d as u64));
        let width = layer.gates * units;
        let inputs = projected(&x, &weights, width, noise, cx)?;
        let norms = column_norms(&weights.recurrent, noise)?;
        let mut states = weights.states.clone();
        // Before the first step that counts, a masked one gives zeros, whatever the state is.
        let mut output = vec![0.0; batch * units];
        for count in 0..time {
            let t = if *direction == Direction::Backward { time - 1 - count } else { count };
            let noise = noise.map(|noise| noise.keyed(1000 + t as u64));
            let recurrent = floats(&weights.recurrent)?;
            let product = Product { batch, units, gates: layer.gates, recurrent, norms: &norms, noise };
            let rows = (0..batch).flat_map(|b| &inputs[(b * time + t) * width..][..width]).copied().collect::<Vec<_>>();
            let mut next = step(&rows, &weights, &states, &product)?;
            if let Some(noise) = noise {
                next.iter_mut().enumerate().for_each(|(i, s)| noise.keyed(100 + i as u64).relative(s, STEP_ULPS));
            }
            for b in 0..batch {
                let at = b * units..(b + 1) * units;
                if mask.is_none_or(|mask| mask[b * time + t]) {
                    states.iter_mut().zip(&next).for_each(|(s, n)| s[at.clone()].copy_from_slice(&n[at.clone()]));
                    output[at.clone()].copy_from_slice(&next[0][at.clone()]);
                } else if layer.zero_masked {
                    output[at.clone()].fill(0.0);
                }
                sequence[((b * time + t) * directions + d) * units..][..units].copy_from_slice(&output[at]);
            }
        }
        for (all, state) in finals.iter_mut().zip(&states) {
            for b in 0..batch {
                all[(b * directions + d) * units..][..units].copy_from_slice(&state[b * units..][..units]);
            }
        }
    }
    let state = |values| Array::floats(x.dtype, vec![batch, directions, units], values);
    Ok(std::iter::once(Array::floats(x.dtype, cx.shape(), sequence)).chain(finals.into_iter().map(state)).collect())
}

fn take_weights(layer: &Layer<'_>, ins: &Ins<'_>, direction: usize, state_len: usize) -> Result<Weights, Diag> {
    let first = 2 + direction * (3 + layer.states);
    let state = |index: usize| match ins.optional(first + 3 + index)? {
        Some(array) => floats(&array).map(<[f64]>::to_vec),
        None => Ok(vec![0.0; state_len]),
    };
    Ok(Weights {
        kernel: ins.array(first)?,
        recurrent: ins.array(first + 1)?,
        bias: ins.optional(first + 2)?,
        states: (0..layer.states).map(state).collect::<Result<_, Diag>>()?,
    })
}

fn act(spec: ActivationSpec, values: &mut [f64]) {
    match spec.function {
        ActivationFunction::Sigmoid => values.iter_mut().for_each(|v| *v = sigmoid(*v)),
        function => activate(function, spec.alpha, spec.beta, values),
    }
}

/// Gate `index` of rows of `gates * units`, as (batch, units).
fn gate(rows: &[f64], units: usize, gates: usize, index: usize) -> Vec<f64> {
    rows.chunks((gates * units).max(1)).flat_map(|row| &row[index * units..(index + 1) * units]).copied().collect()
}

fn add(a: &mut [f64], b: &[f64]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
}

pub fn lstm(op: &Lstm, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let shared = Layer { gates: 4, states: 2, directions: &op.directions, zero_masked: op.zero_masked };
    layer(&shared, ins, cx, &|inputs, _, states, product| {
        let (h, c) = (&states[0], &states[1]);
        let mut rows = product.of(h, 0, 4);
        add(&mut rows, inputs);
        let part = |index: usize, spec: ActivationSpec| {
            let mut values = gate(&rows, product.units, 4, index);
            act(spec, &mut values);
            values
        };
        let (i, f, o) =
            (part(0, op.recurrent_activation), part(1, op.recurrent_activation), part(3, op.recurrent_activation));
        let candidate = part(2, op.activation);
        let next: Vec<f64> = (0..c.len()).map(|at| f[at] * c[at] + i[at] * candidate[at]).collect();
        let mut shown = next.clone();
        act(op.activation, &mut shown);
        shown.iter_mut().zip(&o).for_each(|(v, o)| *v *= o);
        Ok(vec![shown, next])
    })
}

pub fn gru(op: &Gru, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let shared = Layer { gates: 3, states: 1, directions: &op.directions, zero_masked: op.zero_masked };
    layer(&shared, ins, cx, &|inputs, weights, states, product| {
        let (h, units) = (&states[0], product.units);
        // z and r come from the whole product; the candidate's part of it is needed with `reset_after` only.
        let gates = if op.reset_after { 3 } else { 2 };
        let mut rows = product.of(h, 0, gates);
        if op.reset_after
            && let Some(bias) = &weights.bias
        {
            let bias = &floats(bias)?[3 * units..];
            rows.chunks_mut((3 * units).max(1)).for_each(|row| add(row, bias));
        }
        let part = |index: usize| {
            let mut values = gate(&rows, units, gates, index);
            add(&mut values, &gate(inputs, units, 3, index));
            act(op.recurrent_activation, &mut values);
            values
        };
        let (z, r) = (part(0), part(1));
        let mut candidate = gate(inputs, units, 3, 2);
        if op.reset_after {
            let recurrent = gate(&rows, units, gates, 2);
            (0..h.len()).for_each(|at| candidate[at] += r[at] * recurrent[at]);
        } else {
            let reset: Vec<f64> = r.iter().zip(h).map(|(r, h)| r * h).collect();
            add(&mut candidate, &product.of(&reset, 2, 3));
        }
        act(op.activation, &mut candidate);
        Ok(vec![(0..h.len()).map(|at| z[at] * h[at] + (1.0 - z[at]) * candidate[at]).collect()])
    })
}

pub fn simple_rnn(op: &SimpleRnn, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let shared = Layer { gates: 1, states: 1, directions: &op.directions, zero_masked: op.zero_masked };
    layer(&shared, ins, cx, &|inputs, _, states, product| {
        let mut next = product.of(&states[0], 0, 1);
        add(&mut next, inputs);
        act(op.activation, &mut next);
        Ok(vec![next])
    })
}
