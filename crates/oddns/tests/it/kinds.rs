//! What holds for every detector, whatever it is made of.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use oddns::core::{Frame, Recording};
use oddns::{Detector, DetectorError, DetectorKind, Pipeline, TrainOptions, extract, score_frame};

use crate::any_table::{mad_table, table, waves};
use crate::live::{bits, eventful};
use crate::manifest::Altered;
use crate::recording::{fit, normal, quick, time};

fn options(detector: DetectorKind) -> TrainOptions {
    TrainOptions { detector, ..quick() }
}

/// One of each kind, of the made-up server.
fn each() -> &'static [Arc<Detector>] {
    static EACH: OnceLock<Vec<Arc<Detector>>> = OnceLock::new();
    EACH.get_or_init(|| {
        let frame = extract(&normal(400, 1));
        DetectorKind::all().map(|kind| Arc::new(fit(&frame, &options(kind)))).collect()
    })
}

type Bits = (i64, u32, bool, Vec<[u32; 5]>);

fn live(detector: &Arc<Detector>, recording: &Recording) -> Vec<Bits> {
    let mut pipeline = Pipeline::new(Arc::clone(detector), recording.instance.clone()).unwrap();
    let steps = recording.scrapes.iter().map(|s| pipeline.push(&recording.series, s).unwrap());
    steps.filter_map(|step| step.score.as_ref().map(bits)).collect()
}

fn batch(detector: &Arc<Detector>, recording: &Recording) -> Vec<Bits> {
    let scored = score_frame(detector, &recording.instance, &extract(recording)).unwrap();
    let pause = scored.scores.partition_point(|score| score.time < time(200));
    let (before, after) = scored.scores.split_at(pause);
    let warm_up = detector.warm_up_rows();
    before[warm_up..].iter().chain(&after[warm_up..]).map(bits).collect()
}

#[test]
fn live_scores_are_batch_scores_to_the_bit() {
    let recording = eventful(2);
    for detector in each() {
        let (live, batch) = (live(detector, &recording), batch(detector, &recording));
        assert!(live.len() > 300 && live == batch, "{}", detector.kind());
    }
}

#[test]
fn saved_is_loaded() {
    let recording = eventful(3);
    for detector in each() {
        let bytes = detector.encode().unwrap();
        let loaded = Arc::new(Detector::decode(&bytes).unwrap());
        assert_eq!((loaded.kind(), loaded.columns()), (detector.kind(), detector.columns()));
        assert!(loaded.encode().unwrap() == bytes, "{}", detector.kind());
        assert!(live(&loaded, &recording) == live(detector, &recording), "{}", detector.kind());
        let opens = oddns_model::Model::decode(&bytes).is_ok();
        assert_eq!(opens, detector.kind().has_network(), "{}", detector.kind());
        let record = detector.record();
        assert_eq!(record.loss.is_finite(), opens);
        assert_eq!((record.n_steps > 0, record.n_parameters > 0), (opens, opens));
    }
}

/// [`waves`] with noise, which every row of a real server has.
fn noisy(step: usize) -> Vec<f32> {
    let noise = |at: usize| ((step * 7919 + at * 104_729) % 1009) as f32 / 1009.0;
    waves(step).iter().enumerate().map(|(at, value)| value + noise(at)).collect()
}

/// A row far out is beyond the line of every detector, and its feature is named; an alarm ends.
#[test]
fn a_jump_is_an_alarm_of_every_detector_and_normal_operation_is_none() {
    let normal = table(600, noisy);
    let jump = table(400, |step| {
        let mut row = noisy(600 + step);
        row[1] += if (300..310).contains(&step) { 300.0 } else { 0.0 };
        row
    });
    for kind in DetectorKind::all() {
        let detector = Arc::new(fit(&normal, &options(kind)));
        let scored = score_frame(&detector, "table", &jump).unwrap();
        let alarms = scored.scores.iter().enumerate().filter(|(_, score)| score.alarm);
        let alarms: Vec<usize> = alarms.map(|(at, _)| at).collect();
        if kind.name() == "isolation_forest" {
            // To a forest what lies beyond all of training is no odder than the edge of training.
            assert!(alarms.is_empty(), "{alarms:?}");
            continue;
        }
        let [first, .., last] = &alarms[..] else { panic!("{kind}: {alarms:?}") };
        assert!((300..304).contains(first) && *last < 360, "{kind}: {alarms:?}");
        // A window of many rows takes some to fill.
        let peak = &scored.scores[305];
        assert!(peak.score > 1.0, "{kind}: {peak:?}");
        // Column 0 goes with column 1, so that either breaks the pattern.
        let found = peak.contributions.iter().take(2).find(|found| found.feature == 1).unwrap();
        assert!(found.observed > 400.0 && (100.0..200.0).contains(&found.expected), "{kind}");
    }
}

#[test]
fn every_row_has_a_finite_score_whatever_it_holds() {
    let normal = table(400, waves);
    for kind in DetectorKind::all() {
        let detector = Arc::new(fit(&normal, &options(kind)));
        for score in &score_frame(&detector, "table", &mad_table()).unwrap().scores {
            assert!(score.score.is_finite() && score.score >= 0.0, "{kind}: {score:?}");
            let shares: f32 = score.contributions.iter().map(|c| c.share).sum();
            assert!((0.0..1.001).contains(&shares), "{kind}: {score:?}");
        }
    }
}

#[test]
fn constants_and_columns_without_a_value_are_normal() {
    for kind in DetectorKind::all() {
        for normal in [
            table(120, |_| vec![5.0, -3e4]),
            table(120, |step| vec![waves(step)[0], f32::NAN]),
            table(120, |step| vec![if step % 2 == 0 { 3e38 } else { -3e38 }]),
        ] {
            let detector = Arc::new(fit(&normal, &options(kind)));
            let scored = score_frame(&detector, "table", &normal).unwrap();
            assert!(scored.scores.iter().all(|score| score.score.is_finite()), "{kind}");
            assert!(scored.incidents.is_empty(), "{kind}: {:?}", scored.incidents);
        }
    }
}

#[test]
fn a_seed_and_the_data_decide_the_bytes() {
    let frame = extract(&normal(150, 1));
    for kind in DetectorKind::all() {
        let bytes = || fit(&frame, &options(kind)).encode().unwrap();
        assert!(bytes() == bytes(), "{kind}");
    }
}

#[test]
fn refitting_keeps_the_kind_and_fits_what_has_no_weights_anew() {
    let later = extract(&normal(200, 4));
    for detector in each() {
        let refit =
            |frame: &Frame| detector.refit(&[frame], &quick(), &mut |_| ControlFlow::Continue(()));
        let found = refit(&later).unwrap();
        assert_eq!(found.kind(), detector.kind());
        if !found.kind().has_network() {
            let anew = fit(&later, &options(detector.kind()));
            assert!(found.encode().unwrap() == anew.encode().unwrap(), "{}", detector.kind());
        }
        let other = table(120, |_| vec![1.0, 2.0]);
        assert!(matches!(refit(&other), Err(DetectorError::Schema { .. })));
    }
}

#[test]
fn a_damaged_entry_of_a_detector_without_a_network_is_refused() {
    let l2 = each().iter().find(|detector| detector.kind().name() == "l2").unwrap();
    let l2 = Altered::of(l2);
    assert_eq!(l2.kind(), "l2");
    assert!(l2.reason("/detector", "magic".into()).starts_with("there is no detector `magic`"));
    assert_eq!(
        l2.reason("/detector", "masked_without_network".into()),
        "missing field `calibration`"
    );
    assert!(
        l2.reason("/detector", "static_pca".into()).starts_with("`static_pca`: state is damaged")
    );
    for (place, value) in [
        ("/baseline/unit", 0.0.into()),
        ("/baseline/scale_weight", 2.0.into()),
        ("/baseline/state", Vec::<f32>::new().into()),
        ("/baseline/line", Vec::<f32>::new().into()),
        ("/baseline", serde_json::Value::Null),
        ("/columns", Vec::<f32>::new().into()),
    ] {
        assert!(!l2.reason(place, value).is_empty(), "{place}");
    }
    // The network that the name asks for is not there.
    assert!(matches!(l2.decoded("/detector", "masked".into()), Err(DetectorError::Load(_))));
}

#[test]
fn windows_of_a_reconstruction_are_told_by_their_cluster() {
    let frame = extract(&normal(80, 2));
    for detector in each() {
        let scored = score_frame(detector, "dns-0", &frame).unwrap();
        assert_eq!(scored.clusters.len(), frame.len());
        let has_clusters = detector.kind().name().starts_with("reconstruction");
        assert!(scored.clusters.iter().all(|found| found.is_some() == has_clusters));
        assert!(scored.clusters.iter().flatten().all(|cluster| *cluster < 8));
    }
}

#[test]
fn a_window_says_nearly_what_the_stream_says() {
    let frame = extract(&normal(400, 4));
    for detector in each() {
        let Ok(n_rows) = detector.window_rows() else {
            let found = detector.score_window(frame.row(0));
            assert!(matches!(found, Err(DetectorError::NoWindow { .. })), "{}", detector.kind());
            assert!(detector.encode_onnx().is_err());
            continue;
        };
        let scored = score_frame(detector, "dns-0", &frame).unwrap();
        for end in [150, 250, 350] {
            let rows: Vec<f32> =
                (end - n_rows..end).flat_map(|at| frame.row(at).to_vec()).collect();
            let (frozen, streamed) =
                (detector.score_window(&rows).unwrap(), scored.scores[end - 1].score);
            let apart = (frozen / streamed - 1.0).abs();
            assert!(apart < 0.3, "{} at {end}: {frozen} and {streamed}", detector.kind());
            assert!(detector.score_window(&rows[1..]).is_err());
        }
        assert!(!detector.encode_onnx().unwrap().is_empty());
    }
}
