//! What layers of Keras 2 learnt, where they store something else than what they compute with.

/// The bounds of a Discretization from its summary, numbers in order and how much each of them counts: where each of
/// `buckets` equal shares of the whole ends, between the numbers by a straight line. None where there are no numbers.
pub fn bounds(numbers: &[f32], counts: &[f32], buckets: u64) -> Option<Vec<f32>> {
    let share = 1.0 / buckets as f64;
    if numbers.is_empty() || numbers.len() != counts.len() || buckets == 0 || buckets > BUCKETS_MAX {
        return None;
    }
    if (numbers.len() as f64) * share < 1.0 {
        return Some(numbers[..numbers.len() - 1].to_vec());
    }
    // In float32, as Keras adds them up.
    let mut sum = 0.0f32;
    let added = |count: &f32| {
        sum += count;
        sum
    };
    let sums: Vec<f32> = counts.iter().map(added).collect();
    let ends: Vec<f64> = sums.iter().map(|upto| f64::from(upto / sum)).collect();
    let shares = (1.0 / share).ceil() as u64;
    let bound = |index: u64| between(&ends, numbers, share + index as f64 * share) as f32;
    Some((0..shares.saturating_sub(1)).map(bound).collect())
}

/// More is no layer that anybody adapted.
const BUCKETS_MAX: u64 = 1 << 24;

/// The value at `x` of the line through the points (xs, ys); outside of them, that of the nearest.
fn between(xs: &[f64], ys: &[f32], x: f64) -> f64 {
    let behind = xs.partition_point(|&known| known <= x);
    if behind == 0 || behind == xs.len() {
        return f64::from(ys[behind.saturating_sub(1)]);
    }
    let (left, right) = (f64::from(ys[behind - 1]), f64::from(ys[behind]));
    let slope = (right - left) / (xs[behind] - xs[behind - 1]);
    slope * (x - xs[behind - 1]) + left
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `get_bin_boundaries` of tf.keras 2.15 gives them.
    #[test]
    fn bounds_end_equal_shares() {
        let given = bounds(&[-3.28, -1.25, -0.01, 0.3, 1.32], &[3.0, 4.0, 1.0, 3.0, 2.0], 3);
        assert_eq!(given, Some(vec![-2.603_333_5, 0.058_888_864]));
        let counts = [4.0, 3.0, 1.0, 2.0, 3.0, 2.0, 3.0];
        let given = bounds(&[-3.83, -2.99, 0.63, 1.02, 2.2, 3.15, 4.51], &counts, 4);
        assert_eq!(given, Some(vec![-3.69, 0.824_999_9, 2.437_500_2]));
        let few = [-1.34, -0.22, 0.76, 2.97];
        assert_eq!(bounds(&few, &[2.0, 2.0, 4.0, 3.0], 7), Some(few[..3].to_vec()));
        assert_eq!(bounds(&[], &[], 3), None);
        assert_eq!(bounds(&[1.0], &[1.0], 0), None);
    }
}
