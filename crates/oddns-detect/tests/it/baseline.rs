//! One contract for all detectors to compare with.

use oddns_detect::baseline::{BASELINES, Baseline, Rows, Score, Setting};
use proptest::prelude::*;

const WIDTH: usize = 5;

const SETTING: Setting = Setting { step_seconds: 300.0, seed: 7 };

/// Noise from a multiplicative sequence, −1 to 1, the same every time.
fn noise(at: usize) -> f32 {
    let mixed = (at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) as f32 / 8_388_608.0 - 1.0
}

/// Two features that move together, one by itself, a count and a constant.
fn normal_row(at: usize) -> [f32; WIDTH] {
    let wave = (at as f32 / 30.0).sin();
    let own = |feature: usize| 0.2 * noise(at * WIDTH + feature);
    [wave + own(0), 40.0 - 10.0 * wave + 4.0 * own(1), own(2), (at % 3) as f32, 7.0]
}

fn normal_rows(range: std::ops::Range<usize>) -> Vec<f32> {
    range.flat_map(normal_row).collect()
}

fn fit(baseline: &Baseline, values: &[f32]) -> Box<dyn Score> {
    baseline.fit(Rows::new(values, WIDTH).unwrap(), SETTING).unwrap()
}

fn scores(fitted: &mut Box<dyn Score>, values: &[f32]) -> Vec<f32> {
    values.chunks(WIDTH).map(|row| fitted.score(row)).collect()
}

fn bits(scores: &[f32]) -> Vec<u32> {
    scores.iter().map(|score| score.to_bits()).collect()
}

/// A value as sources send them when something is wrong.
fn odd_value() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => -2.0_f32..2.0,
        2 => Just(f32::NAN),
        1 => prop::sample::select(vec![
            f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-42, -1e-42, 0.0, -0.0, 3e37,
        ]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn scores_are_finite_on_any_input(
        training in prop::collection::vec(odd_value(), 1..40),
        later in prop::collection::vec(odd_value(), 0..60),
        width in 1_usize..4,
    ) {
        let training = &training[..training.len() - training.len() % width];
        prop_assume!(!training.is_empty());
        for baseline in BASELINES {
        let name = baseline.name;
            let mut fitted = baseline.fit(Rows::new(training, width).unwrap(), SETTING).unwrap();
            for row in later.chunks(2) {
                let score = fitted.score(row);
                prop_assert!(score.is_finite() && score >= 0.0, "{name}: {score}");
                prop_assert_eq!(fitted.strengths().len(), width);
                for strength in fitted.strengths() {
                    prop_assert!(strength.is_finite() && *strength >= 0.0, "{name}: {strength}");
                }
            }
            prop_assert!(fitted.state().iter().all(|number| number.is_finite()), "{name}");
        }
    }
}

#[test]
fn a_stream_cut_anywhere_and_restored_is_the_whole_stream() {
    let (training, rest) = (normal_rows(0..400), normal_rows(400..700));
    for baseline in BASELINES {
        let mut fitted = fit(baseline, &training);
        let mut pieces = fit(baseline, &training);
        let whole = scores(&mut fitted, &rest);
        let mut put_together = Vec::new();
        for piece in rest.chunks(37 * WIDTH) {
            let state = pieces.state();
            pieces = baseline.restore(&state).unwrap();
            assert_eq!(pieces.state(), state, "{}", baseline.name);
            put_together.extend(scores(&mut pieces, piece));
        }
        assert_eq!(bits(&whole), bits(&put_together), "{}", baseline.name);
    }
}

#[test]
fn the_same_rows_give_the_same_scores() {
    let (training, rest) = (normal_rows(0..300), normal_rows(300..400));
    for baseline in BASELINES {
        let name = baseline.name;
        let (mut one, mut other) = (fit(baseline, &training), fit(baseline, &training));
        assert_eq!(bits(&scores(&mut one, &rest)), bits(&scores(&mut other, &rest)), "{name}");
    }
}

#[test]
fn the_state_does_not_grow() {
    let training = normal_rows(0..300);
    for baseline in BASELINES {
        let name = baseline.name;
        let mut fitted = fit(baseline, &training);
        let before = fitted.state().len();
        scores(&mut fitted, &normal_rows(300..1300));
        assert!(fitted.state().len() <= before + WIDTH * WIDTH, "{name}");
    }
}

#[test]
fn a_damaged_state_is_an_error_with_its_place() {
    let training = normal_rows(0..300);
    for baseline in BASELINES {
        let name = baseline.name;
        let state = fit(baseline, &training).state();
        assert!(baseline.restore(&[]).is_err(), "{name}");
        assert!(baseline.restore(&state[..state.len() - 1]).is_err(), "{name}");
        assert!(baseline.restore(&[&state[..], &[0.0]].concat()).is_err(), "{name}");
        // All of a small state; of a forest, some of many like numbers.
        for at in (0..state.len()).step_by(state.len().div_ceil(500)) {
            for wrong in [f32::NAN, -1.0, 0.5, 3e38] {
                let mut damaged = state.clone();
                damaged[at] = wrong;
                // What is still a detector has to keep the rest of the contract.
                if let Ok(mut fitted) = baseline.restore(&damaged) {
                    let scores = scores(&mut fitted, &normal_rows(300..320));
                    assert!(scores.iter().all(|score| score.is_finite()), "{name} {at} {wrong}");
                }
            }
        }
    }
}

#[test]
fn scaling_a_feature_does_not_change_the_verdict() {
    let scaled = |range| -> Vec<f32> {
        normal_rows(range)
            .chunks(WIDTH)
            .flat_map(|r| [r[0] * 1024.0, r[1] / 64.0, r[2], r[3], r[4]])
            .collect()
    };
    for baseline in BASELINES {
        let name = baseline.name;
        let mut plain = fit(baseline, &normal_rows(0..400));
        let mut other = fit(baseline, &scaled(0..400));
        let one = scores(&mut plain, &normal_rows(400..500));
        let two = scores(&mut other, &scaled(400..500));
        for (a, b) in one.iter().zip(&two) {
            assert!((a - b).abs() <= 1e-3 * a.abs().max(1.0), "{name}: {a} {b}");
        }
    }
}

#[test]
fn a_level_shift_stands_out_and_is_put_down_to_its_features() {
    let mut rows = normal_rows(600..700);
    // Both up: the one goes down in normal operation when the other goes up.
    for row in rows.chunks_mut(WIDTH).skip(50).take(3) {
        row[0] += 6.0;
        row[1] += 60.0;
    }
    for baseline in BASELINES {
        let name = baseline.name;
        let mut fitted = fit(baseline, &normal_rows(0..600));
        let quiet = scores(&mut fitted, &rows[..50 * WIDTH]);
        let shifted = scores(&mut fitted, &rows[50 * WIDTH..52 * WIDTH]);
        let highest = quiet.iter().copied().fold(0.0, f32::max);
        let lowest = shifted.iter().copied().fold(f32::INFINITY, f32::min);
        assert!(lowest > highest, "{name}: {lowest} {highest}");
        let strengths = fitted.strengths();
        let others = strengths[2..].iter().copied().fold(0.0, f32::max);
        assert!(strengths[0] > others && strengths[1] > others, "{name}: {strengths:?}");
    }
}

#[test]
fn wide_tables_are_judged_and_too_wide_ones_refused() {
    let width = 300;
    let rows: Vec<f32> = (0..width * 40).map(noise).collect();
    let wider = vec![0.0; (1 << 16) + 1];
    for baseline in BASELINES {
        let name = baseline.name;
        let mut fitted = baseline.fit(Rows::new(&rows, width).unwrap(), SETTING).unwrap();
        assert!(fitted.score(&rows[..width]).is_finite(), "{name}");
        let mut copy = baseline.restore(&fitted.state()).unwrap();
        assert_eq!(copy.score(&rows[width..2 * width]), fitted.score(&rows[width..2 * width]));
        let refused = baseline.fit(Rows::new(&wider, wider.len()).unwrap(), SETTING).err().unwrap();
        assert!(refused.to_string().contains("pass fewer columns"), "{name}: {refused}");
    }
}
