//! How far apart two samples of a value are.

/// Kolmogorov and Smirnov's distance: the most that the shares of both samples up to some value
/// differ, 0 to 1. Values need not be sorted; NaN is left out; values that differ by rounding alone
/// (one part in a hundred thousand) count as one. NaN when either sample is empty.
pub fn kolmogorov_smirnov(a: &[f32], b: &[f32]) -> f64 {
    let (a, b) = (sorted(a), sorted(b));
    if a.is_empty() || b.is_empty() {
        return f64::NAN;
    }
    let (mut at, mut bt, mut most) = (0, 0, 0.0_f64);
    while at < a.len() && bt < b.len() {
        let value = a[at].min(b[bt]);
        let alike = value + value.abs() * 1e-5 + 1e-9;
        at += a[at..].iter().take_while(|v| **v <= alike).count();
        bt += b[bt..].iter().take_while(|v| **v <= alike).count();
        let share = |n: usize, of: &[f32]| n as f64 / of.len() as f64;
        most = most.max((share(at, &a) - share(bt, &b)).abs());
    }
    most
}

fn sorted(values: &[f32]) -> Vec<f32> {
    let mut values: Vec<f32> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    values.sort_by(f32::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_that_of_the_shares() {
        let to = |n: u8| (0..n).map(f32::from).collect::<Vec<_>>();
        assert_eq!(kolmogorov_smirnov(&to(100), &to(100)), 0.0);
        assert_eq!(kolmogorov_smirnov(&to(10), &[50.0, 60.0]), 1.0);
        assert!((kolmogorov_smirnov(&to(100), &to(50)) - 0.5).abs() < 1e-9);
        assert_eq!(kolmogorov_smirnov(&[1.0, f32::NAN], &[1.000_001]), 0.0);
        assert!(kolmogorov_smirnov(&[], &[1.0]).is_nan());
        assert_eq!(kolmogorov_smirnov(&[f32::INFINITY], &[f32::INFINITY]), 0.0);
    }
}
