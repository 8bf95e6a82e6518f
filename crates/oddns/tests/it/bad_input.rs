//! What nobody would train on or score, and what becomes of it: a clear error or a finite score.

use std::ops::ControlFlow;
use std::sync::Arc;

use oddns::core::{Frame, Timestamp};
use oddns::{Detector, DetectorError, DetectorKind, Follower, TrainOptions, score_frame};
use proptest::prelude::*;

use crate::any_table::{table, waves};
use crate::recording::{quick, time};

/// One pass: what is learned does not matter here.
fn hasty(detector: DetectorKind) -> TrainOptions {
    TrainOptions { epochs: Some(1), detector, ..quick() }
}

fn fit(frame: &Frame, kind: DetectorKind) -> Result<Arc<Detector>, DetectorError> {
    Detector::fit(&[frame], &hasty(kind), &mut |_| ControlFlow::Continue(())).map(Arc::new)
}

/// Scores at once and row by row are finite, and shares are shares.
fn assert_sane(detector: &Arc<Detector>, frame: &Frame) {
    let kind = detector.kind();
    let scored = score_frame(detector, "table", frame).unwrap();
    assert_eq!(scored.scores.len(), frame.len(), "{kind}");
    let mut follower = Follower::new(Arc::clone(detector), "table".to_owned());
    for (at, batch) in scored.scores.iter().enumerate() {
        let live = follower.push(frame.timestamps()[at], frame.row(at)).unwrap().score;
        for score in [batch, &live] {
            assert!(score.score.is_finite() && score.score >= 0.0, "{kind}: {score:?}");
            let shares: f32 = score.contributions.iter().map(|c| c.share).sum();
            assert!((0.0..1.001).contains(&shares), "{kind}: {score:?}");
        }
    }
    assert_eq!(follower.state().unwrap(), {
        let state = follower.state().unwrap();
        Follower::resume(Arc::clone(detector), "table".to_owned(), &state).unwrap().state().unwrap()
    });
}

/// What stands in a column, from row to row.
fn cell(kind: u8, step: usize) -> f32 {
    let wave = waves(step)[0];
    match kind {
        0 => 5.0,
        1 => f32::NAN,
        // 1e300 of a file does not fit: it is missing, as is what is infinite.
        2 => 1e300_f64 as f32,
        3 => 1e-42 * wave,
        4 => 1e38 * (wave - 50.0) / 10.0,
        5 => [wave, f32::NAN][step % 2],
        6 => [f32::MAX, f32::MIN, f32::MIN_POSITIVE, -0.0][step % 4],
        _ => wave,
    }
}

fn made(kinds: &[u8], n: usize, from: usize) -> Frame {
    table(n, |step| kinds.iter().map(|kind| cell(*kind, from + step)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..<_>::default() })]

    /// Whatever the columns hold in training, whatever they hold later, and whichever detector.
    #[test]
    fn any_columns_are_learned_or_refused_and_never_scored_with_nan(
        which in any::<prop::sample::Index>(),
        (learned, later) in (1_usize..5).prop_flat_map(|width| {
            let columns = || prop::collection::vec(0_u8..8, width);
            (columns(), columns())
        }),
    ) {
        let kinds: Vec<DetectorKind> = DetectorKind::all().collect();
        let kind = kinds[which.index(kinds.len())];
        match fit(&made(&learned, 110, 0), kind) {
            Ok(detector) => assert_sane(&detector, &made(&later, 60, 110)),
            Err(error) => {
                let empty = learned.iter().all(|kind| [1, 2].contains(kind));
                prop_assert!(empty && matches!(error, DetectorError::Empty), "{kind}: {error}");
            }
        }
    }
}

#[test]
fn one_feature_and_two_thousand_are_learned_by_every_detector() {
    for kind in DetectorKind::all() {
        for width in [1, 2000] {
            let columns: Vec<u8> = (0..width).map(|at| (at % 9) as u8).rev().collect();
            let detector = fit(&made(&columns, 100, 0), kind).unwrap();
            assert_sane(&detector, &made(&columns, 36, 100));
        }
    }
}

#[test]
fn times_that_do_not_rise_are_refused_with_what_to_do() {
    let mut frame = Frame::new(vec!["a".to_owned()]);
    frame.push(time(5), &[1.0]).unwrap();
    for late in [time(5), time(4), Timestamp::from_millis(i64::MIN)] {
        let error = frame.push(late, &[1.0]).unwrap_err().to_string();
        assert!(error.contains("is not later than the row before it"), "{error}");
        assert!(error.ends_with("sort by time"), "{error}");
    }
    // Row by row there is nobody to sort them: they count as the next rows.
    let detector = fit(&table(110, waves), DetectorKind::default()).unwrap();
    let mut follower = Follower::new(detector, "table".to_owned());
    for late in [200, 200, 150, 201] {
        assert!(follower.push(time(late), &waves(late)).unwrap().score.score.is_finite());
    }
}

#[test]
fn a_history_that_is_too_short_or_has_other_columns_is_refused_by_every_detector() {
    for kind in DetectorKind::all() {
        for rows in [0, 1, 31, 95] {
            let mut frame = Frame::new(table(1, waves).columns().to_vec());
            for step in 0..rows {
                frame.push(time(step), &waves(step)).unwrap();
            }
            let error = fit(&frame, kind).unwrap_err().to_string();
            let expected =
                format!("{rows} rows in a row are too few to train on: at least 96 are needed");
            assert!(error.starts_with(&expected), "{kind}: {error}");
        }
        let detector = fit(&table(110, waves), kind).unwrap();
        for columns in [1, 2, 4] {
            let other = table(50, |step| vec![waves(step)[0]; columns]);
            let error = score_frame(&detector, "table", &other).unwrap_err().to_string();
            assert!(error.contains("the data has") && error.contains("train a new model"));
        }
        // Fewer rows than a window are scored, and are no alarm.
        let few = table(7, |step| waves(110 + step).iter().map(|value| 100.0 * value).collect());
        let scored = score_frame(&detector, "table", &few).unwrap();
        assert!(scored.scores.iter().all(|score| score.score.is_finite() && !score.alarm));
    }
}

#[test]
fn no_frame_and_a_frame_without_columns_are_refused() {
    let none = Detector::fit(&[], &quick(), &mut |_| ControlFlow::Continue(()));
    assert!(matches!(none, Err(DetectorError::Empty)));
    let bare = Frame::new(Vec::new());
    let none = Detector::fit(&[&bare], &quick(), &mut |_| ControlFlow::Continue(()));
    assert!(matches!(none, Err(DetectorError::Empty)));
}
