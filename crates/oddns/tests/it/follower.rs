//! Rows judged one by one, with restarts in between.

use std::sync::{Arc, OnceLock};

use oddns::core::{Frame, Timestamp};
use oddns::{Detector, DetectorError, DetectorKind, Follower, TrainOptions, score_frame};
use proptest::prelude::*;

use crate::any_table::{table, waves};
use crate::live::bits;
use crate::recording::{fit, quick};

/// One of each kind, of a table.
fn each() -> &'static [Arc<Detector>] {
    static EACH: OnceLock<Vec<Arc<Detector>>> = OnceLock::new();
    EACH.get_or_init(|| {
        let normal = table(200, waves);
        let options = |detector| TrainOptions { detector, ..quick() };
        DetectorKind::all().map(|kind| Arc::new(fit(&normal, &options(kind)))).collect()
    })
}

/// Waves with trouble, gaps in rows and a pause in time.
fn eventful() -> Frame {
    let mut frame = Frame::new(table(1, waves).columns().to_vec());
    for step in 0..260_usize {
        let mut row = waves(200 + step);
        match step {
            90..100 => row[1] += 40.0,
            120..125 => row[0] = f32::NAN,
            _ => {}
        }
        let pause = if step >= 180 { 4000 } else { 0 };
        let time = Timestamp::from_millis((200 + step as i64 + pause) * 15_000);
        frame.push(time, &row).unwrap();
    }
    frame
}

type Bits = (i64, u32, bool, Vec<[u32; 5]>);

fn follow(follower: &mut Follower, frame: &Frame, rows: std::ops::Range<usize>) -> Vec<Bits> {
    let row = |at| (frame.timestamps()[at], frame.row(at));
    rows.map(|at| {
        let (time, row) = row(at);
        bits(&follower.push(time, row).unwrap().score)
    })
    .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn a_run_that_was_saved_and_resumed_anywhere_is_one_run(
        which in any::<prop::sample::Index>(), mut cuts in prop::collection::vec(0_usize..=260, 1..4),
    ) {
        let (detector, frame) = (&each()[which.index(each().len())], eventful());
        let fresh = || Follower::new(Arc::clone(detector), "table".into());
        let whole = follow(&mut fresh(), &frame, 0..frame.len());
        cuts.sort_unstable();
        let (mut follower, mut parts, mut from) = (fresh(), Vec::new(), 0);
        for cut in cuts.into_iter().chain([frame.len()]) {
            parts.extend(follow(&mut follower, &frame, from..cut));
            from = cut;
            let state = follower.state().unwrap();
            follower = Follower::resume(Arc::clone(detector), "table".into(), &state).unwrap();
            prop_assert!(follower.state().unwrap() == state, "{}", detector.kind());
        }
        prop_assert!(parts == whole, "{}", detector.kind());
    }

    #[test]
    fn damage_is_an_error(
        which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), mask in 1_u8..,
        length in any::<prop::sample::Index>(),
    ) {
        let detector = &each()[which.index(each().len())];
        let mut follower = Follower::new(Arc::clone(detector), "table".into());
        follow(&mut follower, &eventful(), 0..100);
        let state = follower.state().unwrap();
        let refused = |bytes: &[u8]| {
            let resumed = Follower::resume(Arc::clone(detector), "table".into(), bytes);
            matches!(resumed, Err(DetectorError::State { .. }))
        };
        prop_assert!(refused(&state[..length.index(state.len())]));
        let mut altered = state.clone();
        altered[at.index(state.len())] ^= mask;
        prop_assert!(refused(&altered));
        prop_assert!(refused(&[&state[..], &[0]].concat()));
    }
}

#[test]
fn a_state_belongs_to_one_detector_and_stays_small() {
    for (at, detector) in each().iter().enumerate() {
        let mut follower = Follower::new(Arc::clone(detector), "table".into());
        follow(&mut follower, &eventful(), 0..50);
        let early = follower.state().unwrap().len();
        follow(&mut follower, &eventful(), 50..170);
        let state = follower.state().unwrap();
        assert_eq!(state.len(), early, "{}", detector.kind());
        let other = &each()[(at + 1) % each().len()];
        let error = Follower::resume(Arc::clone(other), "table".into(), &state).unwrap_err();
        let expected = "the saved state cannot be used: it belongs to another model";
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn rows_one_by_one_are_a_frame_scored_at_once() {
    let frame = eventful();
    for detector in each() {
        let mut follower = Follower::new(Arc::clone(detector), "table".into());
        let live = follow(&mut follower, &frame, 0..frame.len());
        let scored = score_frame(detector, "table", &frame).unwrap();
        let batch: Vec<Bits> = scored.scores.iter().map(bits).collect();
        assert!(live[32..180] == batch[32..180], "{}", detector.kind());
        assert!(live[212..] == batch[212..], "{}", detector.kind());
    }
}

#[test]
fn a_row_of_another_width_leaves_no_trace() {
    let (detector, frame) = (&each()[0], eventful());
    let mut follower = Follower::new(Arc::clone(detector), "table".into());
    follow(&mut follower, &frame, 0..40);
    let before = follower.state().unwrap();
    let error = follower.push(frame.timestamps()[40], &[1.0; 9]).unwrap_err();
    assert!(error.to_string().starts_with("a row has 9 values, the model "), "{error}");
    assert!(follower.state().unwrap() == before);
}
