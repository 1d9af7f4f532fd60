//! Two arrays that should be equal: how far apart they are, how far apart they may be, and whether the comparison could
//! have failed at all.

use recast_plugin_api::ir::DType;
use recast_reference::{Array, Data};

/// Room between the rounding that one perturbed run shows and what a real float32 run may add up to: the runtime may
/// sum in another order, fuse multiply and add, and approximate exp by a few units in the last place. Plain float32
/// runs of random nets lie at 0.1 to 1 times the perturbed difference.
const ROUNDING_ROOM: f64 = 4.0;
/// Units in the last place of float32 that any single result may be off by.
const ULPS: f64 = 8.0;
const F32_EPSILON: f64 = 1.192_092_9e-7;
/// Unlike inputs must give outputs that differ by this many tolerances, or a file that ignores its input would pass.
const TELLING_RATIO: f64 = 10.0;
/// In half precision a result of a few layers has two or three digits, and what rounding may do to it is a good part of
/// it. Two outputs that lie further apart than two tolerances can't both be met by one constant.
const TELLING_RATIO_NARROW: f64 = 2.5;

/// What may differ: `absolute` plus `relative` times the expected value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    pub absolute: f64,
    pub relative: f64,
}

impl Tolerance {
    /// From the exact result and one in which every op's result was rounded at random as float32 would: the difference
    /// is the rounding that this graph must suffer.
    pub fn derived(exact: &Array, perturbed: &Array) -> Tolerance {
        if exact.dtype == DType::Str {
            return Tolerance { absolute: 0.0, relative: 0.0 };
        }
        let (a, b) = (exact.numbers(), perturbed.numbers());
        let finite = a.iter().zip(b.iter()).filter(|(x, y)| x.is_finite() && y.is_finite());
        let rounding = finite.map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
        let floor = ULPS * F32_EPSILON * scale(&a);
        // Two results on either side of a rounding boundary are one unit of the narrow dtype apart, however near.
        let relative = match exact.dtype {
            DType::F16 => 2f64.powi(-10),
            DType::BF16 => 2f64.powi(-7),
            _ => ULPS * F32_EPSILON,
        };
        Tolerance { absolute: (ROUNDING_ROOM * rounding).max(floor), relative }
    }

    /// What was derived for one set of inputs, carried over to the result of another one by the ratio of their scales:
    /// for graphs that are too large to be evaluated once more. The factor of two makes up for the guess.
    pub fn carried(self, from: &Array, to: &Array) -> Tolerance {
        let ratio = scale(&to.numbers()) / scale(&from.numbers()).max(f64::MIN_POSITIVE);
        Tolerance { absolute: 2.0 * self.absolute * ratio, relative: self.relative }
    }

    /// For outputs that another float32 framework computed: both sides carry rounding.
    pub fn doubled(self) -> Tolerance {
        Tolerance { absolute: 2.0 * self.absolute, relative: 2.0 * self.relative }
    }

    /// What either allows.
    pub fn joined(self, other: Tolerance) -> Tolerance {
        Tolerance { absolute: self.absolute.max(other.absolute), relative: self.relative.max(other.relative) }
    }

    fn allows(self, expected: f64, found: f64) -> bool {
        (expected - found).abs() <= self.absolute + self.relative * expected.abs()
    }
}

fn scale(values: &[f64]) -> f64 {
    values.iter().filter(|v| v.is_finite()).fold(0.0, |max, v| v.abs().max(max))
}

/// How far apart two arrays are.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Distance {
    pub max_abs: f64,
    /// Relative to the larger of the expected value and a thousandth of the array's largest one.
    pub max_rel: f64,
    /// Elements outside the tolerance, NaN and infinity on one side only included.
    pub outside: u64,
    pub elements: u64,
}

impl Distance {
    pub fn join(self, other: Distance) -> Distance {
        Distance {
            max_abs: self.max_abs.max(other.max_abs),
            max_rel: self.max_rel.max(other.max_rel),
            outside: self.outside + other.outside,
            elements: self.elements + other.elements,
        }
    }
}

/// Compares element by element; `Err` says why the arrays can't be compared.
pub fn distance(expected: &Array, found: &Array, tolerance: Tolerance) -> Result<Distance, String> {
    if expected.shape != found.shape {
        return Err(format!("shape {:?}, should be {:?}", found.shape, expected.shape));
    }
    if let (Data::S(a), Data::S(b)) = (&expected.data, &found.data) {
        return Ok(texts_apart(a, b));
    }
    let (a, b) = (expected.numbers(), found.numbers());
    let floor = (scale(&a) * 1e-3).max(f64::MIN_POSITIVE);
    let mut result = Distance { elements: a.len() as u64, ..Distance::default() };
    for (&x, &y) in a.iter().zip(b.iter()) {
        if x == y || (x.is_nan() && y.is_nan()) {
            continue;
        }
        let difference = (x - y).abs();
        if !difference.is_finite() {
            result.outside += 1;
            result.max_abs = f64::INFINITY;
            result.max_rel = f64::INFINITY;
            continue;
        }
        result.max_abs = result.max_abs.max(difference);
        result.max_rel = result.max_rel.max(difference / x.abs().max(floor));
        result.outside += u64::from(!tolerance.allows(x, y));
    }
    Ok(result)
}

/// Texts are equal or not; one that is not is infinitely far off.
fn texts_apart(expected: &[String], found: &[String]) -> Distance {
    let outside = expected.iter().zip(found).filter(|(a, b)| a != b).count() as u64;
    let far = if outside > 0 { f64::INFINITY } else { 0.0 };
    Distance { max_abs: far, max_rel: far, outside, elements: expected.len() as u64 }
}

/// Why a comparison with this expected output could not have failed; `None` when it could. `rows` is set when axis 0
/// is the batch, so that its rows come from unlike inputs, `narrow` when something is computed in half precision.
pub fn vacuous(expected: &Array, tolerance: Tolerance, rows: bool, narrow: bool) -> Option<&'static str> {
    let ratio = if narrow { TELLING_RATIO_NARROW } else { TELLING_RATIO };
    let values = expected.numbers();
    if values.is_empty() {
        return Some("it is empty");
    }
    if values.iter().any(|v| !v.is_finite()) {
        return Some("it holds NaN or infinity");
    }
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    if values.len() > 1 && high - low <= ratio * tolerance.absolute {
        return Some("it is constant");
    }
    let batch = expected.shape.first().copied().unwrap_or(0);
    if rows && batch > 1 {
        let row = values.len() / batch;
        let (first, second) = (&values[..row], &values[row..2 * row]);
        let differs = first.iter().zip(second).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
        if differs <= ratio * tolerance.absolute {
            return Some("unlike inputs give the same (it is saturated, or does not depend on the input)");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;
    const INF: f64 = f64::INFINITY;

    fn array(values: &[f64]) -> Array {
        Array::floats(DType::F32, vec![values.len()], values.to_vec())
    }

    #[test]
    fn elements_are_equal_near_or_outside() {
        let tolerance = Tolerance { absolute: 0.01, relative: 0.001 };
        for (expected, found, outside) in [
            (1.0, 1.0, 0),
            (1.0, 1.0109, 0),
            (1.0, 1.0111, 1),
            (-1.0, -1.0111, 1),
            (0.0, 0.0101, 1),
            (1.0, NAN, 1),
            (NAN, 1.0, 1),
            (NAN, NAN, 0),
            (INF, INF, 0),
            (INF, -INF, 1),
            (INF, 1.0, 1),
            (1.0, INF, 1),
        ] {
            let result = distance(&array(&[0.5, expected]), &array(&[0.5, found]), tolerance).expect("one shape");
            assert_eq!((result.outside, result.elements), (outside, 2), "{expected} {found}");
        }
        let longer = distance(&array(&[1.0]), &array(&[1.0, 1.0]), tolerance);
        assert!(longer.is_err_and(|why| why.contains("[2], should be [1]")));
    }

    /// A file that is wrong by a thousandth is wrong, however the graph's own rounding was drawn.
    #[test]
    fn the_derived_tolerance_is_of_the_size_of_rounding() {
        let exact = array(&[1.0, -2.0, 0.25]);
        let perturbed = array(&[1.0 + 1e-7, -2.0, 0.25]);
        let tolerance = Tolerance::derived(&exact, &perturbed);
        assert!(tolerance.absolute < 1e-5 && tolerance.relative < 1e-5, "{tolerance:?}");
        let wrong = array(&[1.001, -2.0, 0.25]);
        assert_eq!(distance(&exact, &wrong, tolerance).map(|found| found.outside), Ok(1));
    }

    #[test]
    fn what_could_not_have_failed_is_vacuous() {
        let tolerance = Tolerance { absolute: 0.01, relative: 0.0 };
        let of = |values: &[f64], shape: Vec<usize>| Array::floats(DType::F32, shape, values.to_vec());
        for (values, shape, reason) in [
            (vec![0.0, 1.0, 2.0, 3.0], vec![2, 2], None),
            (vec![], vec![0, 2], Some("empty")),
            (vec![0.0, NAN, 2.0, 3.0], vec![2, 2], Some("NaN")),
            (vec![0.5, 0.54, 0.5, 0.46], vec![2, 2], Some("constant")),
            (vec![0.0, 1.0, 0.05, 1.05], vec![2, 2], Some("unlike inputs give the same")),
        ] {
            let found = vacuous(&of(&values, shape), tolerance, true, false);
            assert_eq!(found.is_some(), reason.is_some(), "{values:?}: {found:?}");
            assert!(found.unwrap_or_default().contains(reason.unwrap_or_default()), "{values:?}: {found:?}");
        }
    }
}
