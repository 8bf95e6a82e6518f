//! Any table of numbers over time is trained on and scored.

use std::sync::Arc;

use oddns::core::{Frame, Timestamp};
use oddns::{Detector, Scored, score_frame};

use crate::recording::{fit, quick, time};

/// A frame of `n` rows, 15 seconds apart.
pub(crate) fn table(n: usize, row: impl Fn(usize) -> Vec<f32>) -> Frame {
    let width = row(0).len();
    let mut frame = Frame::new((0..width).map(|at| format!("column_{at}")).collect());
    for step in 0..n {
        frame.push(time(step), &row(step)).unwrap();
    }
    frame
}

/// Two waves that go together, and one that does not.
pub(crate) fn waves(step: usize) -> Vec<f32> {
    let step = step as f32;
    let load = 50.0 + 10.0 * (step / 20.0).sin();
    vec![load, 3.0 * load + (step / 3.0).cos(), 7.0 + (step / 11.0).sin()]
}

fn score(frame: &Frame, normal: &Frame) -> Scored {
    score_frame(&Arc::new(fit(normal, &quick())), "table", frame).unwrap()
}

fn mean(scored: &Scored, from: usize, to: usize) -> f32 {
    let scores = scored.scores[from..to].iter().map(|score| score.score);
    scores.sum::<f32>() / (to - from) as f32
}

#[test]
fn a_fault_in_any_table_is_found_and_named() {
    let normal = table(400, waves);
    let faulty = table(400, |step| {
        let mut row = waves(step);
        row[2] += if (300..330).contains(&step) { 20.0 } else { 0.0 };
        row
    });
    let scored = score(&faulty, &normal);
    assert_eq!(scored.incidents.len(), 1);
    let incident = &scored.incidents[0];
    assert!((time(300)..time(306)).contains(&incident.start));
    assert_eq!(incident.movements[0].feature, "column_2");
    assert!(scored.scores[..300].iter().all(|score| !score.alarm));
}

#[test]
fn values_that_are_missing_where_they_never_were_raise_the_score() {
    let normal = table(400, waves);
    let faulty = table(400, |step| {
        let mut row = waves(step);
        if (300..330).contains(&step) {
            row[1] = f32::NAN;
        }
        row
    });
    let scored = score(&faulty, &normal);
    let (before, during) = (mean(&scored, 40, 300), mean(&scored, 305, 330));
    assert!(during > 1.2 * before, "{before} before, {during} during");
}

#[test]
fn values_that_are_often_missing_raise_nothing() {
    let gappy = |step: usize| {
        let mut row = waves(step);
        if step.is_multiple_of(3) {
            row[1] = f32::NAN;
        }
        row
    };
    let scored = score(&table(400, gappy), &table(400, gappy));
    assert!(scored.incidents.is_empty());
}

/// What no server measures.
pub(crate) fn mad_table() -> Frame {
    let mad = [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN, f32::MIN_POSITIVE, -0.0, 1e30];
    table(200, |step| (0..3).map(|at| mad[(step + 3 * at) % mad.len()]).collect())
}

#[test]
fn every_row_has_a_finite_score_whatever_it_holds() {
    let normal = table(400, waves);
    let scored = score(&mad_table(), &normal);
    assert_eq!(scored.scores.len(), 200);
    for score in &scored.scores {
        assert!(score.score.is_finite() && score.score >= 0.0, "{score:?}");
        let shares: f32 = score.contributions.iter().map(|c| c.share).sum();
        assert!((0.0..1.001).contains(&shares), "{score:?}");
    }
}

/// A detector of whatever was normal can be saved, loaded and used, and finds it normal.
fn works(normal: &Frame) {
    let detector = fit(normal, &quick());
    let loaded = Detector::decode(&detector.encode().unwrap()).unwrap();
    let scored = score_frame(&Arc::new(loaded), "table", normal).unwrap();
    assert!(scored.scores.iter().all(|score| score.score.is_finite()));
    assert!(scored.incidents.is_empty());
}

#[test]
fn a_table_of_constants_is_normal_and_a_change_is_not() {
    for constant in [0.0, 5.0, -3.0e4] {
        let normal = table(120, |_| vec![constant, constant + 1.0]);
        works(&normal);
        let changed = table(120, |step| {
            let change = if step >= 100 { 1.0 + constant.abs() } else { 0.0 };
            vec![constant + change, constant + 1.0]
        });
        assert_eq!(score(&changed, &normal).incidents.len(), 1, "{constant}");
    }
}

#[test]
fn columns_without_a_value_do_no_harm() {
    works(&table(120, |step| vec![waves(step)[0], f32::NAN]));
}

#[test]
fn huge_and_tiny_values_are_trained_on() {
    for size in [1e-30, 1e15, 1e25, 1e38] {
        works(&table(120, |step| waves(step).iter().map(|value| value / 100.0 * size).collect()));
    }
    works(&table(120, |step| vec![if step % 2 == 0 { 3e38 } else { -3e38 }]));
}

#[test]
fn an_empty_frame_has_no_scores() {
    let normal = table(120, waves);
    let scored = score(&Frame::new(normal.columns().to_vec()), &normal);
    assert_eq!(scored, Scored::default());
}

#[test]
fn times_at_the_ends_of_the_world_are_times() {
    let normal = table(120, waves);
    let mut frame = Frame::new(normal.columns().to_vec());
    for (at, millis) in [i64::MIN, i64::MIN + 1, 0, i64::MAX].into_iter().enumerate() {
        frame.push(Timestamp::from_millis(millis), &waves(at)).unwrap();
    }
    assert_eq!(score(&frame, &normal).scores.len(), 4);
}
