//! What may be trained on, and what comes out.

use std::ops::ControlFlow;
use std::sync::Arc;

use oddns::core::{Frame, Schema};
use oddns::{Detector, DetectorError, Pipeline, TrainOptions, extract, score_frame};

use crate::any_table::table;
use crate::recording::{detector, fit, normal, quick};

fn refused(frames: &[&Frame]) -> String {
    Detector::fit(frames, &quick(), &mut |_| ControlFlow::Continue(())).unwrap_err().to_string()
}

#[test]
fn saved_is_loaded() {
    let trained = detector();
    let bytes = trained.encode().unwrap();
    let loaded = Detector::decode(&bytes).unwrap();
    assert_eq!(loaded.encode().unwrap(), bytes);
    assert_eq!(loaded.columns(), trained.columns());
    assert_eq!(loaded.record(), trained.record());
    let frame = extract(&normal(120, 9));
    let scores = |detector| score_frame(&detector, "dns-0", &frame).unwrap();
    let (ours, theirs) = (scores(trained), scores(Arc::new(loaded)));
    for (a, b) in ours.scores.iter().zip(&theirs.scores) {
        assert_eq!(a.score.to_bits(), b.score.to_bits());
    }
}

#[test]
fn a_seed_decides_the_bytes_and_threads_do_not() {
    let frame = extract(&normal(150, 1));
    let bytes = |options: TrainOptions| fit(&frame, &options).encode().unwrap();
    let quick = TrainOptions { epochs: Some(4), ..quick() };
    let one = bytes(quick.clone());
    assert!(one == bytes(TrainOptions { threads: 1, ..quick }), "one thread or two");
    assert!(one == bytes(TrainOptions { threads: 4, ..quick }), "four threads or two");
    assert!(one != bytes(TrainOptions { seed: 8, ..quick }), "another seed");
}

#[test]
fn the_record_says_what_was_trained_on() {
    let recording = normal(600, 1);
    let record = detector().record().clone();
    let range = (recording.scrapes[1].time, recording.scrapes[599].time);
    assert_eq!(record.range, Some(range));
    assert_eq!((record.n_rows, record.seed, record.interval_seconds), (599, 7, 15.0));
    // 20 passes of 599 rows in batches of 4 × 64.
    assert_eq!(record.n_steps, 60);
    assert!(record.loss.is_finite() && record.n_parameters > 10_000);
}

#[test]
fn servers_are_trained_on_together() {
    let (a, b) = (extract(&normal(150, 1)), extract(&normal(180, 2)));
    let few = extract(&normal(20, 3));
    let options = TrainOptions { epochs: Some(2), ..quick() };
    let mut steps = 0;
    let progress = &mut |_| {
        steps += 1;
        ControlFlow::Continue(())
    };
    // A frame that is too short by itself does no harm beside others.
    let both = Detector::fit(&[&a, &few, &b], &options, progress).unwrap();
    assert_eq!(both.record().n_rows, a.len() + b.len());
    // Two more networks are trained to calibrate on what they have not seen.
    assert_eq!(3 * both.record().n_steps, steps);
}

#[test]
fn what_cannot_be_trained_on_is_refused_with_what_to_do() {
    let (short, good) = (extract(&normal(40, 1)), extract(&normal(120, 1)));
    assert_eq!(
        refused(&[&short]),
        "39 rows in a row are too few to train on: at least 96 are needed, collect for longer"
    );
    let other = table(120, |_| vec![1.0, 2.0]);
    assert_eq!(
        refused(&[&good, &other]),
        "frame 1 has other columns than the first: train on frames of one schema"
    );
    let empty = "no column has a single value: all are missing, look at where the data comes from";
    assert_eq!(refused(&[]), empty);
    assert_eq!(refused(&[&Frame::new(Vec::new())]), empty);
    assert_eq!(refused(&[&table(120, |_| vec![f32::NAN, f32::INFINITY])]), empty);
}

#[test]
fn rows_on_both_sides_of_a_pause_are_not_in_a_row() {
    let mut frame = Frame::new(vec!["load".into()]);
    for step in 0..80 {
        let pause = if step < 40 { 0 } else { 3_600_000 };
        let time = oddns::core::Timestamp::from_millis(step * 15_000 + pause);
        frame.push(time, &[step as f32]).unwrap();
    }
    assert!(refused(&[&frame]).starts_with("40 rows in a row are too few"));
}

#[test]
fn options_out_of_range_are_errors() {
    let frame = extract(&normal(120, 1));
    for options in [
        TrainOptions { epochs: Some(usize::MAX), ..quick() },
        TrainOptions { batch: 0, ..quick() },
        TrainOptions { batch: usize::MAX, ..quick() },
        TrainOptions { window: 3, ..quick() },
        TrainOptions { threads: 0, ..quick() },
    ] {
        let result = Detector::fit(&[&frame], &options, &mut |_| ControlFlow::Continue(()));
        assert!(matches!(result, Err(DetectorError::Model(_))), "{options:?}");
    }
}

#[test]
fn no_epochs_are_a_linear_forecast_at_first_and_change_no_weight_later() {
    let frame = extract(&normal(120, 1));
    let still = TrainOptions { epochs: Some(0), ..quick() };
    let go_on = &mut |_: oddns::Progress| ControlFlow::Continue(());
    let linear = Detector::fit(&[&frame], &still, go_on).unwrap();
    assert_eq!((linear.record().n_steps, linear.record().loss.is_nan()), (0, true));
    let weights = |detector: &Detector| {
        let (network, _) = oddns::network::decode(&detector.encode().unwrap()).unwrap();
        oddns::network::encode(&network, "").unwrap()
    };
    let trained = Detector::fit(&[&frame], &quick(), go_on).unwrap();
    let later = extract(&normal(140, 2));
    let again = trained.refit(&[&later], &still, go_on).unwrap();
    assert!(weights(&again) == weights(&trained));
    assert!(weights(&linear) != weights(&trained));
}

#[test]
fn training_that_is_stopped_leaves_no_model() {
    let frame = extract(&normal(120, 1));
    let result = Detector::fit(&[&frame], &quick(), &mut |_| ControlFlow::Break(()));
    assert!(matches!(result, Err(DetectorError::Model(_))));
}

#[test]
fn another_schema_is_refused_with_both_widths() {
    let detector = detector();
    let width = detector.columns().len();
    let other = table(120, |_| vec![1.0, 2.0]);
    let message = score_frame(&detector, "dns-0", &other).unwrap_err().to_string();
    assert!(message.contains(&format!("({width} columns)")), "{message}");
    assert!(message.contains("(2 columns)"), "{message}");
    assert!(message.contains(&detector.schema().id().to_string()), "{message}");
    let found = Schema::new(other.columns().to_vec()).id().to_string();
    assert!(message.contains(&found), "{message}");
    let generic = Arc::new(fit(&other, &quick()));
    let refused = Pipeline::new(generic, "dns-0".into()).map(|_| ());
    assert!(matches!(refused, Err(DetectorError::Schema { .. })));
}

#[test]
fn going_on_from_a_detector_keeps_its_columns() {
    let refit = |frame: &Frame| {
        let options = TrainOptions { epochs: Some(2), ..quick() };
        detector().refit(&[frame], &options, &mut |_| ControlFlow::Continue(()))
    };
    let later = refit(&extract(&normal(150, 4))).unwrap();
    assert_eq!(later.columns(), detector().columns());
    assert_ne!(later.encode().unwrap(), detector().encode().unwrap());
    let other = table(120, |_| vec![1.0, 2.0]);
    assert!(matches!(refit(&other), Err(DetectorError::Schema { .. })));
}
