//! Matrices of resampling weights, as `tf.image.resize` has them with half-pixel centres.

/// How far an input element counts at a distance from the output element's centre.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kernel {
    Linear,
    /// Keys' cubic with -1/2.
    Cubic,
    /// Windowed sinc of this radius.
    Lanczos(f64),
    /// The bell of a third of this radius.
    Gaussian(f64),
    /// Mitchell's and Netravali's cubic, which does not keep the elements that it passes through.
    Mitchell,
    /// The share of the output element that the input element covers.
    Area,
}

impl Kernel {
    fn radius(self) -> f64 {
        match self {
            Kernel::Linear | Kernel::Area => 1.0,
            Kernel::Cubic | Kernel::Mitchell => 2.0,
            Kernel::Lanczos(radius) | Kernel::Gaussian(radius) => radius,
        }
    }

    /// Whether an axis that keeps its size stays as it is.
    pub fn keeps(self) -> bool {
        !matches!(self, Kernel::Gaussian(_) | Kernel::Mitchell)
    }

    /// How many elements on either side of an output element its kernel reaches at most.
    pub fn reach(self) -> u64 {
        self.radius().ceil() as u64
    }

    /// The weight at distance `x`, at least 0 and below the radius.
    fn at(self, x: f64) -> f64 {
        match self {
            Kernel::Linear | Kernel::Area => 1.0 - x,
            Kernel::Cubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Kernel::Cubic => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Kernel::Gaussian(radius) => (-4.5 * (x / radius) * (x / radius)).exp(),
            Kernel::Mitchell if x < 1.0 => (7.0 / 6.0 * x - 2.0) * x * x + 8.0 / 9.0,
            Kernel::Mitchell => ((-7.0 / 18.0 * x + 2.0) * x - 10.0 / 3.0) * x + 16.0 / 9.0,
            // As TensorFlow: too near to divide.
            Kernel::Lanczos(_) if x <= 1e-3 => 1.0,
            Kernel::Lanczos(radius) => {
                let angle = std::f64::consts::PI * x;
                radius * angle.sin() * (angle / radius).sin() / (angle * angle)
            }
        }
    }
}

/// Weights (output, input), row-major; each row sums to one. With `antialias` a kernel widens where the axis shrinks.
pub fn matrix(kernel: Kernel, input: u64, output: u64, antialias: bool) -> Vec<f64> {
    let scale = input as f64 / output as f64;
    let stretch = if antialias { scale.max(1.0) } else { 1.0 };
    let row = |i: u64| {
        let center = (i as f64 + 0.5) * scale - 0.5;
        let weight = |j: u64| match kernel {
            Kernel::Area => {
                let (begin, end) = (i as f64 * scale, (i + 1) as f64 * scale);
                (end.min(j as f64 + 1.0) - begin.max(j as f64)).max(0.0)
            }
            _ => {
                let distance = (j as f64 - center).abs() / stretch;
                if distance < kernel.radius() { kernel.at(distance) } else { 0.0 }
            }
        };
        let weights: Vec<f64> = (0..input).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(move |weight| weight / sum)
    };
    (0..output).flat_map(row).collect()
}

/// Weights (output, input), row-major, of an axis whose element i comes from (i + 1/2 - translation) / scale - 1/2;
/// zero where that is outside.
pub fn placed(kernel: Kernel, (input, output): (u64, u64), scale: f64, translation: f64, antialias: bool) -> Vec<f64> {
    let stretch = if antialias { (1.0 / scale).max(1.0) } else { 1.0 };
    let row = |i: u64| {
        let center = (i as f64 + 0.5 - translation) / scale - 0.5;
        let inside = (-0.5..=input as f64 - 0.5).contains(&center);
        let weight = |j: u64| {
            let distance = (j as f64 - center).abs() / stretch;
            if inside && distance < kernel.radius() { kernel.at(distance) } else { 0.0 }
        };
        let weights: Vec<f64> = (0..input).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let by = if sum.abs() > 1000.0 * f64::from(f32::EPSILON) { 1.0 / sum } else { 0.0 };
        weights.into_iter().map(move |weight| weight * by)
    };
    (0..output).flat_map(row).collect()
}

/// Weights (2 reach + 1, factor) of an axis that grows by a whole factor: of the input elements around each one, for
/// each of the elements that come out of it. Where an element does not exist, its weight counts for the others.
pub fn phases(kernel: Kernel, factor: u64) -> Vec<f64> {
    let reach = kernel.reach();
    let weight = |tap: u64, phase: u64| {
        let center = (phase as f64 + 0.5) / factor as f64 - 0.5;
        let distance = (tap as f64 - reach as f64 - center).abs();
        if distance < kernel.radius() { kernel.at(distance) } else { 0.0 }
    };
    (0..=2 * reach).flat_map(|tap| (0..factor).map(move |phase| weight(tap, phase))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_sum_to_one_and_halving_by_area_averages() {
        assert_eq!(matrix(Kernel::Area, 4, 2, false), [0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5]);
        let kernels = [Kernel::Linear, Kernel::Cubic, Kernel::Lanczos(3.0), Kernel::Gaussian(1.5), Kernel::Mitchell];
        for kernel in kernels {
            let weights = matrix(kernel, 7, 3, true);
            assert!(weights.chunks(7).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-12), "{kernel:?}");
        }
    }
}
