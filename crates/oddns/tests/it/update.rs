//! Detectors that go on learning: what they learn, what they refuse, and what they never learn.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use oddns::core::{Frame, Timestamp};
use oddns::{
    Detector, DetectorError, Feedback, FeedbackVerdict, Follower, History, UpdateOptions, Updated,
    score_frame,
};

use crate::any_table::table;
use crate::recording::{fit, quick};

pub(crate) const DAY: usize = 288;

/// Five-minute rows of a server with days, a little noise, and what `happens` to a row.
pub(crate) fn days(from: usize, until: usize, happens: impl Fn(usize, &mut [f32])) -> Frame {
    let names = ["request_rate", "servfail_ratio", "resident_memory_bytes", "queue"];
    let mut frame = Frame::new(names.map(str::to_owned).to_vec());
    for step in from * DAY..until * DAY {
        let noise = |k: usize| ((step * 7919 + k * 104_729) % 1009) as f32 / 1009.0 - 0.5;
        let day = (step as f32 / DAY as f32 * std::f32::consts::TAU).sin();
        let rate = 100.0 + 40.0 * day + 6.0 * noise(1);
        let mut row = [rate, 0.01 + 0.004 * noise(2), 50.0 + 2.0 * noise(3), 3.0 + noise(4)];
        happens(step, &mut row);
        frame.push(Timestamp::from_millis(step as i64 * 300_000), &row).unwrap();
    }
    frame
}

pub(crate) fn quiet(from: usize, until: usize) -> Frame {
    days(from, until, |_, _| ())
}

pub(crate) fn parent() -> Arc<Detector> {
    static PARENT: OnceLock<Arc<Detector>> = OnceLock::new();
    Arc::clone(PARENT.get_or_init(|| Arc::new(fit(&quiet(0, 5), &quick()))))
}

pub(crate) fn update(frame: &Frame, feedback: &[Feedback]) -> Result<Updated, DetectorError> {
    let options = UpdateOptions { steps: 6, ..UpdateOptions::default() };
    let history = [History { instance: "dns-0", frame }];
    parent().update(&history, feedback, &options, &mut |_| ControlFlow::Continue(()))
}

pub(crate) fn said(from: usize, until: usize, verdict: FeedbackVerdict) -> Feedback {
    let at = |step: usize| Timestamp::from_millis(step as i64 * 300_000);
    Feedback { start: at(from), end: at(until), instance: Some("dns-0".into()), verdict }
}

/// The highest score of these steps.
fn highest(detector: &Detector, frame: &Frame, from: usize, until: usize) -> f32 {
    let scored = score_frame(&Arc::new(detector.clone()), "dns-0", frame).unwrap();
    let at = |step: usize| Timestamp::from_millis(step as i64 * 300_000);
    let within = scored.scores.iter().filter(|s| at(from) <= s.time && s.time < at(until));
    within.map(|score| score.score).fold(0.0, f32::max)
}

fn queue_jumps(at: &'static [usize]) -> impl Fn(usize, &mut [f32]) {
    move |step, row| {
        if at.iter().any(|from| (*from..from + 24).contains(&step)) {
            row[3] += 9.0;
        }
    }
}

#[test]
fn quiet_rows_are_learned_and_the_result_is_bounded_saved_and_loaded() {
    let frame = quiet(5, 12);
    let updated = update(&frame, &[]).unwrap();
    assert_eq!(updated.n_rows_seen, frame.len());
    assert!(updated.n_rows_learned > frame.len() / 2, "{}", updated.n_rows_learned);
    assert!(updated.n_rows_kept > 0 && updated.unused.is_empty());
    assert!(updated.new_normals.is_empty() && updated.trends.is_empty(), "{:?}", updated.trends);
    assert!((1.0..=1.1).contains(&updated.raised), "{}", updated.raised);
    assert!(highest(&updated.detector, &frame, 7 * DAY, 12 * DAY) < 1.0);
    let times = frame.timestamps();
    assert_eq!(updated.detector.record().range, Some((times[0], times[times.len() - 1])));
    let bytes = updated.detector.encode().unwrap();
    assert_eq!(Detector::decode(&bytes).unwrap().encode().unwrap(), bytes);
    // Held-out stretches are a fifth of what is quiet.
    let held_out: f64 =
        updated.held_out.iter().map(|stay| stay.end.seconds_since(stay.start)).sum();
    let whole = times[times.len() - 1].seconds_since(times[0]);
    assert!((0.1..0.3).contains(&(held_out / whole)), "{held_out} of {whole}");
}

#[test]
fn without_a_gate_nothing_is_held_out_and_what_was_said_is_told() {
    let frame = days(5, 9, queue_jumps(&[7 * DAY]));
    let options = UpdateOptions { steps: 0, holds_out: false, ..UpdateOptions::default() };
    let history = [History { instance: "dns-0", frame: &frame }];
    let said = [said(7 * DAY, 7 * DAY + 23, FeedbackVerdict::Normal)];
    let go_on = &mut |_| ControlFlow::Continue(());
    let all = parent().update(&history, &said, &options, go_on).unwrap();
    assert!(all.held_out.is_empty());
    assert_eq!(all.detector.feedback(), said);
    let held = UpdateOptions { holds_out: true, ..options };
    let held = parent().update(&history, &said, &held, go_on).unwrap();
    assert!(held.n_rows_learned < all.n_rows_learned && !held.held_out.is_empty());
    assert_eq!(Detector::decode(&all.detector.encode().unwrap()).unwrap().feedback(), said);
}

#[test]
fn an_incident_is_not_learned() {
    let incident = |step: usize, row: &mut [f32]| {
        if (9 * DAY..10 * DAY).contains(&step) {
            row[1] = 0.3;
        }
    };
    let frame = days(5, 10, incident);
    let updated = update(&frame, &[]).unwrap();
    assert!(updated.n_rows_alarmed >= DAY, "{}", updated.n_rows_alarmed);
    assert!(updated.new_normals.is_empty(), "{:?}", updated.new_normals);
    assert!(highest(&updated.detector, &frame, 10 * DAY - 12, 10 * DAY) > 1.0);
}

#[test]
fn a_step_that_harms_nobody_is_normal_after_two_days_and_harm_never_is() {
    let step = |column: usize, by: f32| {
        move |at: usize, row: &mut [f32]| {
            if at >= 10 * DAY {
                row[column] += by;
            }
        }
    };
    let early = update(&days(6, 11, step(2, 60.0)), &[]).unwrap();
    assert!(early.new_normals.is_empty());
    let frame = days(6, 13, step(2, 60.0));
    let updated = update(&frame, &[]).unwrap();
    let [new_normal] = &updated.new_normals[..] else { panic!("{:?}", updated.new_normals) };
    assert_eq!(new_normal.moved[0].0, "resident_memory_bytes");
    assert!(new_normal.stayed_seconds >= 2.0 * 86_400.0);
    let late = days(11, 14, step(2, 60.0));
    let (before, after) = (
        highest(&parent(), &late, 11 * DAY + 96, 12 * DAY),
        highest(&updated.detector, &late, 11 * DAY + 96, 12 * DAY),
    );
    assert!(after < 1.0 && before > 1.0, "{before} before, {after} after");
    let harmed = update(&days(6, 13, step(1, 0.3)), &[]).unwrap();
    assert!(harmed.new_normals.is_empty(), "{:?}", harmed.new_normals);
}

#[test]
fn a_slow_leak_is_told_and_not_learned() {
    let leak = |at: usize, row: &mut [f32]| {
        row[2] += 1.2 * (at.saturating_sub(7 * DAY)) as f32 / DAY as f32;
    };
    let frame = days(5, 14, leak);
    let updated = update(&frame, &[]).unwrap();
    assert_eq!(updated.trends[0].feature, "resident_memory_bytes");
    assert!(updated.n_rows_trending > 4 * DAY && updated.new_normals.is_empty());
    assert!(highest(&updated.detector, &frame, 14 * DAY - 12, 14 * DAY) > 1.0);
}

#[test]
fn what_people_call_normal_alarms_no_more_and_can_be_taken_back() {
    const AT: [usize; 3] = [6 * DAY + 50, 7 * DAY + 90, 8 * DAY + 30];
    let frame = days(5, 9, queue_jumps(&AT));
    assert!(highest(&parent(), &frame, AT[1], AT[1] + 30) > 1.0);
    let normal = said(AT[0], AT[0] + 24, FeedbackVerdict::Normal);
    let updated = update(&frame, std::slice::from_ref(&normal)).unwrap();
    assert_eq!((updated.n_precedents, updated.unused.len()), (1, 0));
    let repeated = highest(&updated.detector, &frame, AT[2] - 5, AT[2] + 60);
    assert!(repeated < 1.0, "{repeated}");
    // Another fault is found as ever.
    let other = days(5, 9, |step, row| {
        if (AT[2]..AT[2] + 24).contains(&step) {
            row[1] = 0.3;
        }
    });
    assert!(highest(&updated.detector, &other, AT[2], AT[2] + 30) > 1.0);
    let back = update(&frame, &[]).unwrap();
    assert!(highest(&back.detector, &frame, AT[2], AT[2] + 30) > 1.0);
    // A state of one does not go on in the other.
    let bytes = updated.detector.encode().unwrap();
    assert_eq!(Detector::decode(&bytes).unwrap().encode().unwrap(), bytes);
}

#[test]
fn what_was_missed_raises_an_alarm_the_next_time() {
    const AT: [usize; 2] = [7 * DAY + 90, 8 * DAY + 30];
    let faint = |step: usize, row: &mut [f32]| {
        if AT.iter().any(|from| (*from..from + 24).contains(&step)) {
            row[3] += 0.12;
        }
    };
    let frame = days(5, 9, faint);
    let before = highest(&parent(), &frame, AT[1], AT[1] + 24);
    let missed = said(AT[0], AT[0] + 24, FeedbackVerdict::Missed);
    let updated = update(&frame, &[missed]).unwrap();
    let after = highest(&updated.detector, &frame, AT[1], AT[1] + 24);
    assert!(before < 1.0 && after > 1.0, "{before} before, {after} after");
    assert!(updated.n_rows_incident >= 24);
}

#[test]
fn what_cannot_be_learned_is_refused_with_the_reason() {
    let odd = days(5, 7, |_, row| row[1] = 0.5);
    let message = update(&odd, &[]).unwrap_err().to_string();
    assert!(message.contains("nothing quiet to learn from: of 576 rows"), "{message}");
    let nothing = update(&days(5, 5, |_, _| ()), &[]).unwrap_err().to_string();
    assert!(nothing.contains("of 0 rows"), "{nothing}");
    let frame = quiet(5, 8);
    let both =
        [said(1500, 1510, FeedbackVerdict::Normal), said(1505, 1520, FeedbackVerdict::Right)];
    let message = update(&frame, &both).unwrap_err().to_string();
    assert!(message.starts_with("feedback contradicts itself"), "{message}");
    let unknown = said(50 * DAY, 50 * DAY + 9, FeedbackVerdict::Normal);
    assert_eq!(update(&frame, std::slice::from_ref(&unknown)).unwrap().unused, [unknown]);
    let other = table(400, |_| vec![1.0, 2.0]);
    assert!(matches!(update(&other, &[]), Err(DetectorError::Schema { .. })));
}

#[test]
fn a_new_detector_goes_on_between_two_rows_and_the_incident_stays() {
    let frame = days(5, 8, |step, row| row[1] += if step >= 8 * DAY - 30 { 0.3 } else { 0.0 });
    let detector = Arc::new(update(&quiet(5, 7), &[]).unwrap().detector);
    let mut old = Follower::new(parent(), "dns-0".into());
    let (recent, last) = (frame.len() - 120, frame.len() - 10);
    for (time, row) in frame.rows().take(last) {
        old.push(time, row).unwrap();
    }
    let incident = old.current_incident().unwrap().id.clone();
    let times = frame.timestamps();
    let recent = frame.between(Some(times[recent]), Some(times[last]));
    let mut new = old.succeed(detector, "dns-0".into(), &recent).unwrap();
    let followed = new.push(times[last], frame.row(last)).unwrap();
    assert!(!followed.warming_up && followed.score.alarm, "{followed:?}");
    assert_eq!(new.current_incident().unwrap().id, incident);
    let other = Arc::new(fit(&table(400, |_| vec![1.0, 2.0]), &quick()));
    assert!(old.succeed(other, "dns-0".into(), &recent).is_err());
}

/// Rows that a stream of `detector` scores, bit by bit.
fn bits(follower: &mut Follower, frame: &Frame) -> Vec<(u32, bool)> {
    let score = |(time, row)| follower.push(time, row).unwrap().score;
    frame.rows().map(score).map(|score| (score.score.to_bits(), score.alarm)).collect()
}

#[test]
fn a_stream_that_has_judged_the_history_goes_on_as_if_it_had_always_been_there() {
    let (frame, detector) = (quiet(5, 9), Arc::new(update(&quiet(5, 8), &[]).unwrap().detector));
    let times = frame.timestamps();
    let part = |from: usize, until: usize| {
        frame.between(times.get(from).copied(), times.get(until).copied())
    };
    let (read, now) = (3 * DAY, 3 * DAY + 40);
    let past = part(0, read);
    let history = History { instance: "dns-0", frame: &past };
    let go_on = &mut |_| ControlFlow::Continue(());
    let next = Follower::after(Arc::clone(&detector), &history, go_on).unwrap();
    let mut old = Follower::new(parent(), "dns-0".into());
    bits(&mut old, &part(0, now));
    // Some of the latest rows came before the history was read, and some since.
    let mut next = old.hand_over(next, &part(read - 20, now)).unwrap();
    let mut always = Follower::new(detector, "dns-0".into());
    bits(&mut always, &part(0, now));
    let later = part(now, 4 * DAY);
    assert_eq!(bits(&mut next, &later), bits(&mut always, &later));
    let broken = Follower::after(parent(), &history, &mut |_| ControlFlow::Break(()));
    assert!(matches!(broken, Err(DetectorError::Ended)));
}

#[test]
fn a_server_keeps_its_own_scales_under_a_new_detector() {
    // It is asked a little more than all servers together.
    let own = |_: usize, row: &mut [f32]| row[0] += 12.0;
    let detector = Arc::new(update(&quiet(5, 8), &[]).unwrap().detector);
    let mut old = Follower::new(parent(), "dns-0".into());
    bits(&mut old, &days(5, 12, own));
    let rate = |follower: &Follower| follower.wandered()[0];
    let recent = days(11, 12, own);
    let next = old.succeed(Arc::clone(&detector), "dns-0".into(), &recent).unwrap();
    let mut fresh = Follower::new(detector, "dns-0".into());
    bits(&mut fresh, &recent);
    assert!(rate(&next) > 2.0 * rate(&fresh), "{} and {}", rate(&next), rate(&fresh));
}

#[test]
fn a_leak_is_odd_at_its_end_though_the_scales_follow_it() {
    let leak = |at: usize, row: &mut [f32]| {
        row[2] += 1.2 * (at.saturating_sub(7 * DAY)) as f32 / DAY as f32;
    };
    let frame = days(5, 17, leak);
    let scored = score_frame(&parent(), "dns-0", &frame).unwrap();
    let last = &scored.scores[scored.scores.len() - 1];
    assert!(last.alarm && last.score > 1.0, "{last:?}");
    assert_eq!(last.contributions[0].feature, 2);
    // What is harmless for a day is none of it.
    let day = |at: usize, row: &mut [f32]| row[2] += if at / DAY == 8 { 1.2 } else { 0.0 };
    let scored = score_frame(&parent(), "dns-0", &days(5, 12, day)).unwrap();
    assert!(scored.scores[scored.scores.len() - 1].score < 0.8);
}

/// Five-minute rows of a CoreDNS server at rest, whose memory is so many bytes at a step.
fn resident(from: usize, until: usize, bytes: impl Fn(usize) -> f32) -> Frame {
    let names: Vec<String> = oddns::FEATURES.iter().map(|f| f.name.to_owned()).collect();
    let memory = names.iter().position(|name| name == "resident_memory_bytes").unwrap();
    let mut frame = Frame::new(names.clone());
    for step in from * DAY..until * DAY {
        let noise = |k: usize| ((step * 7919 + k * 104_729) % 1009) as f32 / 1009.0 - 0.5;
        let mut row: Vec<f32> = (0..names.len()).map(|k| 1.0 + 0.1 * noise(k)).collect();
        row[memory] = bytes(step) * (1.0 + 0.02 * noise(1000));
        frame.push(Timestamp::from_millis(step as i64 * 300_000), &row).unwrap();
    }
    frame
}

#[test]
fn a_leak_that_looks_slower_each_day_is_never_normal_and_a_step_is() {
    let kind = "masked_without_network".parse().unwrap();
    let options = oddns::TrainOptions { detector: kind, ..quick() };
    let parent = Arc::new(fit(&resident(0, 5, |_| 6e7), &options));
    let update = |frame: &Frame| {
        let history = [History { instance: "dns-0", frame }];
        let options = UpdateOptions::default();
        parent.update(&history, &[], &options, &mut |_| ControlFlow::Continue(())).unwrap()
    };
    // 20 kB a second, of which the heap holds twice as much.
    let leak = |at: usize| 6e7 + 1.2e7 * at.saturating_sub(9 * DAY) as f32;
    for end in [12, 14, 16] {
        let frame = resident(5, end, leak);
        let updated = update(&frame);
        assert!(updated.new_normals.is_empty(), "{:?}", updated.new_normals);
        let last = highest(&updated.detector, &frame, end * DAY - 12, end * DAY);
        assert!(last > 1.0, "{last} on day {end}");
    }
    let step = |at: usize| if at < 11 * DAY { 6e7 } else { 1e9 };
    let updated = update(&resident(5, 15, step));
    assert_eq!(updated.new_normals[0].moved[0].0, "resident_memory_bytes");
}
