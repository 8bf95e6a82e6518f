//! Quantiles of a set of numbers.

/// Quantile `q` (0 to 1) by linear interpolation; NaN values are left out, NaN when none is left.
pub fn quantile(values: &[f32], q: f64) -> f32 {
    let mut sorted: Vec<f64> =
        values.iter().filter(|v| !v.is_nan()).map(|v| f64::from(*v)).collect();
    sorted.sort_by(f64::total_cmp);
    sorted_quantile(&sorted, q) as f32
}

fn sorted_quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = q.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[3.0, f32::NAN, 1.0], 0.5), 2.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
