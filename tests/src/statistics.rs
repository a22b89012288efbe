//! Median, percentile, minimum and maximum of a few numbers.
//! Must never average: one disturbed run would change every figure.

/// The median: of an even count, the mean of the middle two. NaN if there are no values.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let values = sorted(values);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// The smallest value that is at least as large as this share of all values. NaN if there are no values.
pub fn percentile(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let values = sorted(values);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// The smallest value. NaN if there are no values.
pub fn min(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().reduce(f64::min).unwrap_or(f64::NAN)
}

/// The largest value. NaN if there are no values.
pub fn max(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().reduce(f64::max).unwrap_or(f64::NAN)
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_percentile_and_extremes() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(percentile((1..=10).map(f64::from), 0.9), 9.0);
        assert_eq!(percentile([5.0], 0.9), 5.0);
        assert_eq!((min([2.0, 1.0]), max([2.0, 1.0])), (1.0, 2.0));
        assert!(median([]).is_nan() && percentile([], 0.5).is_nan());
    }
}
