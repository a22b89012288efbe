//! A linear fit of a few points.
//! Must never hide how well the points fit.

/// The least-squares line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LinearFit {
    pub(super) slope: f64,
    pub(super) intercept: f64,
    /// The largest vertical distance of a point from the line.
    pub(super) max_residual: f64,
}

impl LinearFit {
    /// The fit of these points, `x` first. NaN if they have fewer than two different `x`.
    pub(super) fn through(points: &[(f64, f64)]) -> Self {
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
        let (x_mean, y_mean) = (mean(|(x, _)| *x), mean(|(_, y)| *y));
        let product = |(x, y): &(f64, f64)| (x - x_mean) * (y - y_mean);
        let square = |(x, _): &(f64, f64)| (x - x_mean).powi(2);
        let slope = points.iter().map(product).sum::<f64>() / points.iter().map(square).sum::<f64>();
        let intercept = y_mean - slope * x_mean;
        let max_residual = points.iter().map(|(x, y)| (y - intercept - slope * x).abs()).fold(0.0, f64::max);
        Self { slope, intercept, max_residual }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_on_a_line_fit_exactly() {
        let fit = LinearFit::through(&[(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)]);
        assert_eq!(fit, LinearFit { slope: 2.0, intercept: 3.0, max_residual: 0.0 });
    }

    #[test]
    fn the_largest_residual_is_reported() {
        let fit = LinearFit::through(&[(0.0, 0.0), (1.0, 3.0), (2.0, 0.0)]);
        assert_eq!(fit, LinearFit { slope: 0.0, intercept: 1.0, max_residual: 2.0 });
    }

    #[test]
    fn a_single_point_has_no_fit() {
        assert!(LinearFit::through(&[(1.0, 1.0)]).slope.is_nan());
    }
}
