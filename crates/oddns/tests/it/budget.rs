//! The alarm budget, on normal operation that was not learned from.

use std::ops::ControlFlow;
use std::sync::Arc;

use oddns::core::{Frame, Timestamp};
use oddns::{Detector, DetectorKind, Follower, TrainOptions, score_frame};

const HOUR: usize = 3600;
const WIDTH: usize = 6;

/// Numbers between 0 and 1 that are the same everywhere (a linear congruential generator with
/// Knuth's constants).
struct Dice(u64);

impl Dice {
    fn uniform(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Of Laplace's distribution, whose tail is heavier than a Gaussian's.
    fn step(&mut self) -> f64 {
        let sign = (self.uniform() - 0.5).signum();
        -self.uniform().ln() * sign
    }
}

/// A row a second of features that come back to where they were, each by itself.
fn quiet(seed: u64, n_rows: usize) -> Frame {
    let mut frame = Frame::new((0..WIDTH).map(|at| format!("feature_{at}")).collect());
    let (mut dice, mut state) = (Dice(seed), [0.0_f64; WIDTH]);
    for row in 0..n_rows {
        for (at, value) in state.iter_mut().enumerate() {
            let keeps = 0.2 * at as f64 / WIDTH as f64 + 0.7;
            *value = keeps * *value + dice.step();
        }
        let values = state.map(|value| value as f32 + 100.0);
        frame.push(Timestamp::from_millis(1000 * row as i64), &values).unwrap();
    }
    frame
}

fn detector(normal: &Frame, alarms_per_week: f64, strict_budget: bool) -> Arc<Detector> {
    let detector = DetectorKind::MaskedWithoutNetwork;
    let options = TrainOptions { detector, alarms_per_week, strict_budget, ..Default::default() };
    Arc::new(Detector::fit(&[normal], &options, &mut |_| ControlFlow::Continue(())).unwrap())
}

/// How often an alarm begins.
fn n_alarms(detector: &Arc<Detector>, frame: &Frame) -> usize {
    let scores = score_frame(detector, "", frame).unwrap().scores;
    scores.windows(2).filter(|pair| !pair[0].alarm && pair[1].alarm).count()
}

#[test]
fn a_strict_budget_is_kept_at_a_row_a_second() {
    let (mut n_strict, mut n_loose, n_servers) = (0, 0, 4);
    for seed in 0..n_servers {
        let (normal, later) = (quiet(seed, 2 * HOUR), quiet(100 + seed, 4 * HOUR));
        n_strict += n_alarms(&detector(&normal, 1.0, true), &later);
        n_loose += n_alarms(&detector(&normal, 500.0, true), &later);
    }
    // One a week is a tenth of an alarm in all these hours; 500 are 48.
    assert!(n_strict <= 1, "{n_strict}");
    assert!((1..=48).contains(&n_loose), "{n_loose}");
}

#[test]
fn a_line_is_lifted_to_the_budget_it_would_have_been_drawn_for() {
    let normal = quiet(7, HOUR);
    let (strict, loose) = (detector(&normal, 1.0, true), detector(&normal, 500.0, true));
    let lift = loose.lift(1.0, 1.0);
    assert!(lift > 1.2, "{lift}");
    assert_eq!(
        (loose.lift(500.0, 1.0), loose.lift(f64::NAN, 1.0), loose.lift(0.0, 1.0)),
        (1.0, 1.0, 1.0)
    );
    let mut lifted = Follower::new(Arc::clone(&loose), String::new());
    lifted.set_lift(lift);
    lifted.set_lift(f32::NAN);
    let mut drawn = Follower::new(strict, String::new());
    let mut n_apart = 0;
    for (time, row) in quiet(8, HOUR).rows() {
        let scores = [&mut lifted, &mut drawn].map(|f| f.push(time, row).unwrap().score.score);
        n_apart += usize::from((scores[0] / scores[1] - 1.0).abs() > 0.1);
    }
    assert!(n_apart < HOUR / 100, "{n_apart} scores differ");
}

#[test]
fn a_budget_that_is_not_strict_stops_where_a_record_tells_no_more() {
    let normal = quiet(7, HOUR);
    let bytes = |alarms, strict| detector(&normal, alarms, strict).encode().unwrap();
    let later = quiet(8, HOUR);
    let highest = |alarms, strict| {
        let scores = score_frame(&detector(&normal, alarms, strict), "", &later).unwrap().scores;
        scores.iter().map(|score| score.score).fold(0.0, f32::max)
    };
    assert_eq!(highest(1.0, false), highest(0.1, false));
    assert!(highest(1.0, true) < highest(1.0, false));
    assert!(highest(0.1, true) < highest(1.0, true));
    // What the line is drawn for is saved with it.
    let strict = Detector::decode(&bytes(1.0, true)).unwrap();
    assert!(strict.record().strict_budget);
    assert_eq!(strict.encode().unwrap(), bytes(1.0, true));
}
