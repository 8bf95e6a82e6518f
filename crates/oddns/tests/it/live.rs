//! Following a server scrape by scrape.

use std::ops::ControlFlow;
use std::sync::Arc;

use oddns::core::{Frame, Incident, Recording, Score, Timestamp};
use oddns::{
    Detector, Fleet, IncidentEvent, Pipeline, Scored, State, Step, extract, extract_fleet,
    score_frame,
};

use crate::recording::{Happening, detector, normal, quick, recording, scrape, time};

/// All that is told of a score, so that NaN is equal to NaN and -0 is not 0.
pub(crate) fn bits(score: &Score) -> (i64, u32, bool, Vec<[u32; 5]>) {
    let contributions = score.contributions.iter().map(|c| {
        let [share, observed, expected, deviation] =
            [c.share, c.observed, c.expected, c.deviation].map(f32::to_bits);
        [c.feature as u32, share, observed, expected, deviation]
    });
    (score.time.millis(), score.score.to_bits(), score.alarm, contributions.collect())
}

fn follow(recording: &Recording) -> Vec<Step> {
    let mut pipeline = Pipeline::new(detector(), recording.instance.clone()).unwrap();
    let scrapes = recording.scrapes.iter();
    scrapes.map(|scrape| pipeline.push(&recording.series, scrape).unwrap()).collect()
}

fn in_batch(recording: &Recording) -> Scored {
    score_frame(&detector(), &recording.instance, &extract(recording)).unwrap()
}

/// Everything that may come between scrapes: failed ones, a long pause, hours without a query, a
/// fault.
pub(crate) fn eventful(seed: u64) -> Recording {
    recording(420, seed, |step| match step {
        100..104 | 106 | 330..352 => Happening::Down,
        120..170 => Happening::Idle,
        200..230 => Happening::Unseen,
        290..310 => Happening::Servfail,
        _ => Happening::Normal,
    })
}

#[test]
fn live_scores_are_batch_scores_to_the_bit() {
    for seed in [2, 3] {
        let recording = eventful(seed);
        let (steps, scored) = (follow(&recording), in_batch(&recording));
        let live: Vec<_> = steps.iter().filter_map(|step| step.score.as_ref()).map(bits).collect();
        let pause = scored.scores.partition_point(|score| score.time < time(200));
        let (before, after) = scored.scores.split_at(pause);
        let full_past = before[32..].iter().chain(&after[32..]);
        assert_eq!(live.len(), scored.scores.len() - 64);
        for (live, batch) in live.iter().zip(full_past) {
            assert_eq!(*live, bits(batch));
        }
    }
}

/// Two servers, the second scraped `offset` seconds after the first.
fn two_servers(n: usize, offset: i64) -> [Recording; 2] {
    let (first, mut second) = (normal(n, 4), normal(n, 5));
    second.instance = "dns-1".into();
    for scrape in &mut second.scrapes {
        scrape.time = Timestamp::from_millis(scrape.time.millis() + 1000 * offset);
    }
    [first, second]
}

#[test]
fn servers_of_a_fleet_are_compared_live_as_in_batch() {
    for offset in [0, 6] {
        let recordings = two_servers(120, offset);
        let frames = extract_fleet(&recordings);
        let learned: Vec<&Frame> = frames.iter().collect();
        let detector = Arc::new(
            Detector::fit(&learned, &quick(), &mut |_| ControlFlow::Continue(())).unwrap(),
        );
        let mut fleet = Fleet::default();
        let mut pipelines = recordings.each_ref().map(|recording| {
            Pipeline::new(Arc::clone(&detector), recording.instance.clone()).unwrap()
        });
        let mut live: [Vec<_>; 2] = Default::default();
        for step in 0..120 {
            for at in 0..2 {
                let Recording { series, scrapes, .. } = &recordings[at];
                let step = pipelines[at].push_in(&mut fleet, series, &scrapes[step]).unwrap();
                live[at].extend(step.score.as_ref().map(bits));
            }
        }
        for (at, frame) in frames.iter().enumerate() {
            let scored = score_frame(&detector, &recordings[at].instance, frame).unwrap();
            let batch: Vec<_> = scored.scores[detector.warm_up_rows()..].iter().map(bits).collect();
            assert_eq!(live[at], batch);
        }
    }
}

/// Other servers that come and go are no news of this one, least of all for a detector that never
/// saw it beside others.
#[test]
fn a_server_that_was_learned_alone_scores_the_same_in_a_fleet() {
    let [first, second] = two_servers(120, 6);
    let alone: Vec<_> = follow(&first).iter().filter_map(|s| s.score.as_ref().map(bits)).collect();
    let frames = extract_fleet(&[first.clone(), second]);
    let beside = score_frame(&detector(), &first.instance, &frames[0]).unwrap();
    let beside = beside.scores[detector().warm_up_rows()..].iter();
    let scores = |bits: &(i64, u32, bool, Vec<[u32; 5]>)| (bits.0, bits.1, bits.2);
    let alone: Vec<_> = alone.iter().map(scores).collect();
    assert_eq!(alone, beside.map(|score| scores(&bits(score))).collect::<Vec<_>>());
}

#[test]
fn live_incidents_are_batch_incidents() {
    let recording = eventful(2);
    let closed = follow(&recording).into_iter().filter_map(|step| match step.incident {
        Some(IncidentEvent::Closed(incident)) => Some(incident),
        _ => None,
    });
    let tell = |incident: &Incident| (incident.id.clone(), incident.start, incident.end);
    let live: Vec<_> = closed.map(|incident| tell(&incident)).collect();
    let batch: Vec<_> = in_batch(&recording).incidents.iter().map(tell).collect();
    assert!(!live.is_empty());
    assert_eq!(live, batch[..live.len()]);
    assert!(batch.len() <= live.len() + 1, "only the last one may go on");
}

#[test]
fn the_injected_fault_is_found_and_what_is_normal_is_quiet() {
    let recording = recording(420, 5, |step| match step {
        300..320 => Happening::Servfail,
        _ => Happening::Normal,
    });
    let scored = in_batch(&recording);
    let starts: Vec<_> = scored.incidents.iter().map(|incident| incident.start).collect();
    let near = time(300)..time(306);
    assert!(starts.len() == 1 && near.contains(&starts[0]), "{starts:?}");
    let moved: Vec<_> = scored.incidents[0].movements.iter().map(|m| &m.feature).collect();
    assert!(moved.iter().any(|feature| *feature == "servfail_ratio"), "{moved:?}");
}

#[test]
fn an_outage_keeps_its_score_and_its_incident_for_as_long_as_it_lasts() {
    let recording = recording(200, 2, |step| match step {
        100..160 => Happening::Down,
        _ => Happening::Normal,
    });
    let steps = follow(&recording);
    assert!(steps[105..160].iter().all(|step| step.score.as_ref().unwrap().alarm));
    let closed = steps.iter().filter(|s| matches!(s.incident, Some(IncidentEvent::Closed(_))));
    assert_eq!(closed.count(), 1);
}

#[test]
fn warming_up_counts_to_the_first_score() {
    let steps = follow(&normal(40, 2));
    let told: Vec<String> = steps.iter().map(|step| step.state.to_string()).collect();
    assert_eq!(told[0], "warming up 0/33");
    assert_eq!(told[1], "warming up 1/33");
    assert_eq!(told[32], "warming up 32/33");
    assert_eq!(told[33], "scoring");
    for step in &steps {
        assert_eq!(step.score.is_some(), step.state == State::Scoring, "{:?}", step.time);
    }
}

#[test]
fn a_long_pause_warms_up_again() {
    let recording = recording(140, 2, |step| match step {
        50..80 => Happening::Unseen,
        _ => Happening::Normal,
    });
    let states: Vec<String> = follow(&recording).iter().map(|s| s.state.to_string()).collect();
    assert_eq!(states[49], "scoring");
    assert_eq!(states[51], "warming up 1/33");
    assert_eq!(states.last().unwrap(), "scoring");
}

#[test]
fn a_server_that_never_answered_has_no_data() {
    let steps = follow(&recording(40, 2, |_| Happening::Down));
    assert!(steps.iter().all(|step| step.state == State::NoData && step.score.is_none()));
}

#[test]
fn a_server_that_is_not_coredns_is_told_so_until_it_is() {
    let mut recording = normal(80, 2);
    for step in 0..40 {
        let page = [("go_goroutines", 9.0), ("process_cpu_seconds_total", step as f64)];
        recording.scrapes[step] = scrape(&mut recording.clone(), step, true, &page);
    }
    let steps = follow(&recording);
    let names: Vec<&str> = steps.iter().map(|step| step.state.name()).collect();
    assert_eq!(names[..40], ["not_coredns"; 40]);
    assert_eq!(names[40], "warming_up");
    assert_eq!(names[79], "scoring");
}

#[test]
fn repeated_and_late_scrapes_say_nothing() {
    let recording = normal(120, 2);
    let mut pipeline = Pipeline::new(detector(), "dns-0".into()).unwrap();
    for scrape in &recording.scrapes {
        pipeline.push(&recording.series, scrape).unwrap();
    }
    for late in [59, 58, 40] {
        let step = pipeline.push(&recording.series, &recording.scrapes[late]).unwrap();
        assert!(step.score.is_none() && step.row.is_empty() && step.incident.is_none());
        assert_eq!(step.state, State::Scoring);
    }
}

#[test]
fn pipelines_of_one_detector_do_not_disturb_each_other() {
    let (one, two) = (normal(120, 2), eventful(3));
    let alone: Vec<Step> = follow(&one);
    let mut first = Pipeline::new(detector(), "dns-0".into()).unwrap();
    let mut second = Pipeline::new(Arc::clone(&detector()), "dns-1".into()).unwrap();
    for (at, expected) in alone.iter().enumerate() {
        let step = first.push(&one.series, &one.scrapes[at]).unwrap();
        second.push(&two.series, &two.scrapes[at]).unwrap();
        assert_eq!(step.score.as_ref().map(bits), expected.score.as_ref().map(bits));
    }
}
