//! From what each feature says to what a row says.

/// Features that a row is judged by where each is judged for itself: those furthest out, as in the
/// measured recipe. One alone is often noise, and the mean of all drowns a fault that few show.
const TOP: usize = 3;

/// Mean of the three largest strengths; fewer count as zeros. Strengths are not negative.
pub(crate) fn furthest(strengths: &[f32]) -> f32 {
    let mut top = [0.0_f32; TOP];
    for strength in strengths {
        if *strength > top[TOP - 1] {
            top[TOP - 1] = *strength;
            top.sort_by(|a, b| b.total_cmp(a));
        }
    }
    top.iter().sum::<f32>() / TOP as f32
}

/// Root mean square of all strengths; 0 without any.
pub(crate) fn root_mean_square(strengths: &[f32]) -> f32 {
    let squares: f32 = strengths.iter().map(|strength| strength * strength).sum();
    (squares / strengths.len().max(1) as f32).sqrt()
}

/// Magnitudes instead of signed deviations.
pub(crate) fn magnitudes(deviations: &mut [f32]) {
    for deviation in deviations {
        *deviation = deviation.abs();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_judged_by_few_or_by_all() {
        assert_eq!(furthest(&[1.0, 4.0, 3.0, 5.0]), 4.0);
        assert_eq!(furthest(&[3.0]), 1.0);
        assert_eq!(root_mean_square(&[3.0, 4.0, 0.0, 0.0]), 2.5);
        assert_eq!(root_mean_square(&[]), 0.0);
    }
}
