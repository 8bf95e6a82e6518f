//! A detector of elsewhere at a site: how little it takes, what comes along, and what is refused.

use std::ops::ControlFlow;
use std::sync::Arc;

use oddns::core::Frame;
use oddns::{Detector, DetectorError, DetectorKind, score_frame};

use crate::any_table::table;
use crate::recording::quick;
use crate::update::{DAY, days, parent};

/// Servers of another site: ten times the traffic, other levels, other noise.
fn site(from: usize, until: usize, jumps_at: usize) -> Frame {
    days(from, until, |step, row| {
        let noise = ((step * 104_743 + 7) % 1013) as f32 / 1013.0 - 0.5;
        row[0] = 10.0 * row[0] + 30.0 * noise;
        row[1] = 0.03 + 3.0 * (row[1] - 0.01);
        row[2] *= 9.0;
        row[3] = 40.0 + 4.0 * (row[3] - 3.0) + if step >= jumps_at { 40.0 } else { 0.0 };
    })
}

fn first_rows(frame: &Frame, n: usize) -> Frame {
    frame.between(None, frame.timestamps().get(n).copied())
}

fn alarmed(detector: &Detector, frame: &Frame) -> f32 {
    let scored = score_frame(&Arc::new(detector.clone()), "dns-0", frame).unwrap();
    let n = scored.scores.iter().filter(|score| score.alarm).count();
    n as f32 / frame.len() as f32
}

#[test]
fn few_rows_of_a_site_end_false_alarms_and_trouble_is_still_seen() {
    let (whole, later) = (site(20, 22, usize::MAX), site(22, 25, usize::MAX));
    let base = parent();
    assert!(alarmed(&base, &later) > 0.5, "the levels of the site are not those of elsewhere");
    for n_rows in [33, 96, 2 * DAY] {
        let detector = base.calibrate(&[&first_rows(&whole, n_rows)]).unwrap();
        let quiet = alarmed(&detector, &later);
        assert!(quiet < 0.03, "{quiet} alarmed after {n_rows} rows");
        let trouble = site(22, 23, 22 * DAY + 144);
        let scored = score_frame(&Arc::new(detector), "dns-0", &trouble).unwrap();
        let found = scored.incidents.iter().find(|incident| {
            incident.movements.first().is_some_and(|movement| movement.feature == "queue")
        });
        assert!(found.is_some(), "after {n_rows} rows: {:?}", scored.incidents);
    }
}

#[test]
fn what_comes_along_and_what_does_not() {
    let (base, whole) = (parent(), site(20, 21, usize::MAX));
    let rows = first_rows(&whole, 60);
    let detector = base.calibrate(&[&rows]).unwrap();
    assert_eq!(detector.encode().unwrap(), base.calibrate(&[&rows]).unwrap().encode().unwrap());
    assert_eq!((detector.kind(), detector.columns()), (base.kind(), base.columns()));
    let (own, known) = (detector.record(), base.record());
    let times = rows.timestamps();
    assert_eq!((own.n_rows, own.range), (60, Some((times[0], times[59]))));
    assert_eq!((own.n_steps, own.alarms_per_week), (known.n_steps, known.alarms_per_week));
    let bytes = detector.encode().unwrap();
    let loaded = Detector::decode(&bytes).unwrap();
    assert_eq!(loaded.encode().unwrap(), bytes);
    assert_eq!(alarmed(&loaded, &whole), alarmed(&detector, &whole));
    // What is borrowed is not lent again.
    let again = detector.calibrate(&[&rows]);
    assert!(matches!(again, Err(DetectorError::TooShort { found: 60, needed: 96 })), "{again:?}");
    assert!(detector.calibrate(&[&whole]).is_ok());
}

#[test]
fn a_feature_that_only_one_of_both_has_is_no_trouble() {
    let base = parent();
    let lacks = |frame: Frame, at: usize| {
        let mut found = Frame::new(frame.columns().to_vec());
        for (time, row) in frame.rows() {
            let mut row = row.to_vec();
            row[at] = f32::NAN;
            found.push(time, &row).unwrap();
        }
        found
    };
    let detector = base.calibrate(&[&lacks(site(20, 21, usize::MAX), 3)]).unwrap();
    assert!(alarmed(&detector, &lacks(site(21, 23, usize::MAX), 3)) < 0.03);
    let options = quick();
    let elsewhere = lacks(days(0, 5, |_, _| ()), 3);
    let base = Detector::fit(&[&elsewhere], &options, &mut |_| ControlFlow::Continue(())).unwrap();
    let detector = base.calibrate(&[&site(20, 21, usize::MAX)]).unwrap();
    assert!(alarmed(&detector, &site(21, 23, usize::MAX)) < 0.03);
    let trouble = score_frame(&Arc::new(detector), "dns-0", &site(21, 22, 21 * DAY + 144)).unwrap();
    assert!(!trouble.incidents.is_empty());
}

#[test]
fn what_is_no_site_of_the_detector_is_refused() {
    let base = parent();
    let refused = |frame: &Frame| base.calibrate(&[frame]).unwrap_err().to_string();
    let short = first_rows(&site(20, 21, usize::MAX), 32);
    assert!(refused(&short).starts_with("32 rows in a row are too few to train on: at least 33"));
    let other = table(200, |_| vec![1.0, 2.0]);
    assert!(refused(&other).starts_with("the model was trained on feature schema"));
    let mixed = base.calibrate(&[&site(20, 21, usize::MAX), &other]);
    assert!(matches!(mixed, Err(DetectorError::Columns { at: 1 })));
    assert!(matches!(base.calibrate(&[]), Err(DetectorError::Empty)));
    let nothing = days(20, 21, |_, row| row.fill(f32::NAN));
    assert!(matches!(base.calibrate(&[&nothing]), Err(DetectorError::Empty)));
}

#[test]
fn every_kind_is_calibrated() {
    let (elsewhere, site) = (days(0, 1, |_, _| ()), site(20, 21, usize::MAX));
    for detector in DetectorKind::all() {
        let options = oddns::TrainOptions { epochs: Some(1), detector, ..quick() };
        let base = Detector::fit(&[&elsewhere], &options, &mut |_| ControlFlow::Continue(()));
        let calibrated = base.unwrap().calibrate(&[&site]).unwrap();
        assert_eq!((calibrated.kind(), calibrated.record().n_rows), (detector, DAY));
        assert!(alarmed(&calibrated, &site) < 0.1, "{detector}");
    }
}
