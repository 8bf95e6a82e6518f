//! A line learned from some scores holds for others of the same kind.

use oddns_detect::{AlarmLine, AlarmLineConfig, quantile};

/// Seeds over which a rate is averaged.
const RUNS: u64 = 20;
/// Scores that the line was not fitted on, in each run.
const FRESH: usize = 20_000;

/// Numbers between 0 and 1 that are the same everywhere (a linear congruential generator with
/// Knuth's constants).
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn exponential(&mut self) -> f64 {
        -self.uniform().ln()
    }

    /// Sum of four exponentials: a gamma distribution of shape 4.
    fn gamma(&mut self) -> f64 {
        (0..4).map(|_| self.exponential()).sum()
    }
}

/// Scores that are drawn one by one.
fn independent(seed: u64, n: usize, draw: fn(&mut Noise) -> f64) -> Vec<f32> {
    let mut noise = Noise(seed);
    (0..n).map(|_| draw(&mut noise) as f32).collect()
}

/// Scores that hang together over about five steps, as smoothed ones do.
fn smoothed(seed: u64, n: usize) -> Vec<f32> {
    let drawn = independent(seed, n + 4, Noise::exponential);
    drawn.windows(5).map(|last| last.iter().sum::<f32>() / 5.0).collect()
}

fn level(scores: &[f32], risk: f64) -> f32 {
    let config = AlarmLineConfig { risk, half_life_rows: 1e5, turn_every_rows: 1000, follows: 0.5 };
    AlarmLine::fit(scores, config).level()
}

/// The mean share of fresh scores above a line fitted on `n` others.
fn exceedance(n: usize, risk: f64, scores: impl Fn(u64, usize) -> Vec<f32>) -> f64 {
    let rate = |seed: u64| {
        let level = level(&scores(seed + 1, n), risk);
        let fresh = scores(seed + 1_000_000_007, FRESH);
        fresh.iter().filter(|score| **score > level).count() as f64 / FRESH as f64
    };
    (0..RUNS).map(rate).sum::<f64>() / RUNS as f64
}

#[test]
fn fresh_scores_exceed_the_line_about_as_often_as_was_risked() {
    let risk = 1e-4;
    for (name, found) in [
        ("exponential", exceedance(4000, risk, |s, n| independent(s, n, Noise::exponential))),
        ("gamma", exceedance(4000, risk, |s, n| independent(s, n, Noise::gamma))),
        ("smoothed", exceedance(4000, risk, smoothed)),
    ] {
        assert!(found < 2.0 * risk, "{name}: {found}");
    }
}

/// The line rests on the middle of the scores, so that a short record is nearly as good as a long
/// one.
#[test]
fn a_short_record_keeps_the_risk_nearly() {
    for n in [100, 300, 1000] {
        let risk = 1e-4;
        let found = exceedance(n, risk, smoothed);
        assert!(found < 5.0 * risk, "{n}: {found}");
    }
}

#[test]
fn a_smaller_risk_is_a_higher_line_and_the_order_of_scores_is_nothing_to_it() {
    let scores = independent(3, 3000, Noise::gamma);
    let of = |risk| level(&scores, risk);
    assert!(of(1e-6) > of(1e-5) && of(1e-5) > of(1e-4));
    let mut sorted = scores.clone();
    sorted.sort_by(f32::total_cmp);
    assert_eq!(level(&sorted, 1e-5), of(1e-5));
}

#[test]
fn odd_scores_and_risks_give_a_line_that_is_a_number() {
    let mut scores = independent(3, 100, Noise::exponential);
    scores.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -1.0]);
    for risk in [0.5, 1.0, 2.0, 1e-300, f64::NAN] {
        let level = level(&scores, risk);
        assert!(level.is_finite() && level >= 1.0, "{risk}: {level}");
    }
    assert_eq!(quantile(&[1.0, f32::INFINITY], 0.0), 1.0);
}
