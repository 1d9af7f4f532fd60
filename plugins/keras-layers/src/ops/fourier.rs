//! Discrete Fourier transforms over the last axes, of known sizes: products with matrices of cosines and sines. What is
//! complex is a pair of tensors, its real and its imaginary part.

use super::args::{float_tensor, integer, operands, place};
use super::{Outcome, unless, word};
use crate::audio;
use crate::policy::one;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{BinaryFunction as B, Dim, MatMul, Pad, PadMode, Tensor, UnaryFunction as U, ValueId};
use recast_plugin_api::lower::{Lowering, Val};

type Complex = (ValueId, ValueId);

fn pair(l: &mut Lowering<'_>) -> Result<Complex, Diag> {
    let given = operands(l, &["x"])?;
    let [real, imaginary] = &given[..] else { return Err(l.unsupported("other than a real and an imaginary part")) };
    let dtype = super::args::common(l, &[real, imaginary]);
    unless(l, !dtype.is_float(), "parts that are no floats")?;
    Ok((place(l, real, dtype)?, place(l, imaginary, dtype)?))
}

fn last(l: &Lowering<'_>, x: ValueId) -> Result<(usize, u64), Diag> {
    let axis = l.rank(x).checked_sub(1).ok_or_else(|| l.unsupported("a scalar input"))?;
    let size = l.known(x, axis)?;
    unless(l, size == 0 || size > audio::FFT_LENGTH_MAX, "a transform of this length")?;
    Ok((axis, size))
}

/// x (..., n) times a matrix (n, m).
fn product(l: &mut Lowering<'_>, x: ValueId, matrix: ValueId) -> Result<ValueId, Diag> {
    if l.rank(x) > 1 {
        return l.add(MatMul {}, &[x, matrix]);
    }
    let row = l.expand(x, 0)?;
    let y = l.add(MatMul {}, &[row, matrix])?;
    l.squeeze(y, 0)
}

/// Over the last axis: real C + imaginary S, imaginary C - real S.
fn forward(l: &mut Lowering<'_>, (real, imaginary): Complex) -> Result<Complex, Diag> {
    let (_, size) = last(l, real)?;
    let (cos, sin) = audio::turns(l, l.ty(real).dtype, (size, size), size)?;
    let (real_cos, real_sin) = (product(l, real, cos)?, product(l, real, sin)?);
    let (imaginary_cos, imaginary_sin) = (product(l, imaginary, cos)?, product(l, imaginary, sin)?);
    Ok((l.binary(B::Add, real_cos, imaginary_sin)?, l.binary(B::Sub, imaginary_cos, real_sin)?))
}

fn forward_2d(l: &mut Lowering<'_>, (real, imaginary): Complex) -> Result<Complex, Diag> {
    let rank = l.rank(real);
    unless(l, rank < 2, "an input of one axis")?;
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    let mut parts = forward(l, (real, imaginary))?;
    parts = (l.transpose(parts.0, &perm)?, l.transpose(parts.1, &perm)?);
    parts = forward(l, parts)?;
    Ok((l.transpose(parts.0, &perm)?, l.transpose(parts.1, &perm)?))
}

pub fn fft(l: &mut Lowering<'_>) -> Outcome {
    let parts = pair(l)?;
    let (real, imaginary) = if word(l) == "FFT2" { forward_2d(l, parts)? } else { forward(l, parts)? };
    Ok(vec![Val::plain(real), Val::plain(imaginary)])
}

/// The transform of the conjugate, conjugated and divided by the number of elements.
pub fn ifft2(l: &mut Lowering<'_>) -> Outcome {
    let (real, imaginary) = pair(l)?;
    let rank = l.rank(real);
    unless(l, rank < 2, "an input of one axis")?;
    let count = l.known(real, rank - 2)?.saturating_mul(l.known(real, rank - 1)?) as f64;
    let conjugate = l.unary(U::Neg, imaginary)?;
    let (real, imaginary) = forward_2d(l, (real, conjugate))?;
    let real = l.binary_scalar(B::Div, real, count)?;
    let imaginary = l.binary_scalar(B::Div, imaginary, -count)?;
    Ok(vec![Val::plain(real), Val::plain(imaginary)])
}

/// Cut, or with zeros behind, to `size` elements.
fn fitted(l: &mut Lowering<'_>, x: ValueId, size: u64) -> Result<ValueId, Diag> {
    let (axis, have) = last(l, x)?;
    if have >= size {
        return l.slice(x, axis, Dim::Known(0), Dim::Known(size));
    }
    let mut padding = vec![(0, 0); axis + 1];
    padding[axis] = (0, size - have);
    l.add(Pad { padding, mode: PadMode::Constant }, &[x])
}

fn length(l: &Lowering<'_>, default: u64) -> Result<u64, Diag> {
    let given = integer(l, &["fft_length"])?.map_or(Some(default), |given| u64::try_from(given).ok());
    let fine = given.filter(|size| (1..=audio::FFT_LENGTH_MAX).contains(size));
    fine.ok_or_else(|| l.unsupported("a transform of this length"))
}

/// Of a real signal: the bins up to half of the length.
pub fn rfft(l: &mut Lowering<'_>) -> Outcome {
    let x = float_tensor(l)?;
    let (_, have) = last(l, x)?;
    let size = length(l, have)?;
    let x = fitted(l, x, size)?;
    let (cos, sin) = audio::turns(l, l.ty(x).dtype, (size, size / 2 + 1), size)?;
    let (real, turned) = (product(l, x, cos)?, product(l, x, sin)?);
    let imaginary = l.unary(U::Neg, turned)?;
    Ok(vec![Val::plain(real), Val::plain(imaginary)])
}

/// Back to a real signal: every bin but the first and the middle one stands for two.
pub fn irfft(l: &mut Lowering<'_>) -> Outcome {
    let given = operands(l, &["x"])?;
    let have = match given.first() {
        Some(super::args::Operand::Value(x)) => last(l, *x)?.1,
        _ => return Err(l.unsupported("parts that the file holds").into()),
    };
    let size = length(l, 2 * (have - 1))?;
    Ok(one(real_again(l, size)?))
}

/// The real signals of this length whose transforms the first argument holds.
pub fn real_again(l: &mut Lowering<'_>, size: u64) -> Result<ValueId, Diag> {
    let (real, imaginary) = pair(l)?;
    let bins = size / 2 + 1;
    let (real, imaginary) = (fitted(l, real, bins)?, fitted(l, imaginary, bins)?);
    let single = |bin: u64| bin == 0 || 2 * bin == size;
    let share =
        |alone: f64| -> Vec<f64> { (0..bins).map(|bin| if single(bin) { alone } else { 2.0 } / size as f64).collect() };
    let dtype = l.ty(real).dtype;
    let of_real = l.constant(Tensor::from_numbers(dtype, &[bins], &share(1.0)))?;
    let of_imaginary = l.constant(Tensor::from_numbers(dtype, &[bins], &share(0.0)))?;
    let (real, imaginary) = (l.binary(B::Mul, real, of_real)?, l.binary(B::Mul, imaginary, of_imaginary)?);
    let (cos, sin) = audio::turns(l, dtype, (bins, size), size)?;
    let (real, imaginary) = (product(l, real, cos)?, product(l, imaginary, sin)?);
    l.binary(B::Sub, real, imaginary)
}

/// Windows of the last axis, transformed: (..., frames, bins) twice.
pub fn stft(l: &mut Lowering<'_>) -> Outcome {
    let mut x = float_tensor(l)?;
    let size = l.config.u64("fft_length")?;
    let stride = l.config.u64("sequence_stride")?;
    unless(l, size == 0 || size > audio::FFT_LENGTH_MAX || stride == 0, "windows of this length and stride")?;
    let axis = l.rank(x).checked_sub(1).ok_or_else(|| l.unsupported("a scalar input"))?;
    if l.config.bool_or("center", true)? {
        let mut padding = vec![(0, 0); axis + 1];
        padding[axis] = (size / 2, size / 2);
        x = l.add(Pad { padding, mode: PadMode::Reflect }, &[x])?;
    }
    let (cos, sin) = audio::transformed(l, x, size, stride)?;
    let imaginary = l.unary(U::Neg, sin)?;
    Ok(vec![Val::plain(cos), Val::plain(imaginary)])
}
