//! Champions and challengers.

use std::sync::Arc;

use oddns::{Feedback, FeedbackVerdict, GateMargins, History, Injection, Trial, compare};

use crate::recording::{fit, quick};
use crate::update::{DAY, days, parent, quiet, said, update};

fn suite() -> Vec<Injection> {
    let names = ["request_rate", "servfail_ratio", "resident_memory_bytes", "queue"];
    let up = |name: &&str| Injection {
        name: format!("{name} rises"),
        moves: vec![((*name).to_owned(), 1.0), ("unknown".to_owned(), 1.0)],
    };
    names.iter().map(up).collect()
}

#[test]
fn an_update_of_quiet_rows_passes() {
    let frame = quiet(5, 12);
    let updated = update(&frame, &[]).unwrap();
    let history = [History { instance: "dns-0", frame: &frame }];
    let trial = Trial {
        history: &history,
        held_out: &updated.held_out,
        feedback: &[],
        injections: &suite(),
        margins: GateMargins::default(),
    };
    let gate = compare(&parent(), &Arc::new(updated.detector), &trial).unwrap();
    assert!(gate.passed && gate.reason().is_none(), "{gate:?}");
    let words = gate.words();
    assert!(words.starts_with("passed the gate: false alarms a week and server "), "{words}");
    assert!(
        words.contains("; injected faults found ") && words.contains(" %, at least "),
        "{words}"
    );
    assert!(!words.contains("known incidents"), "nobody has named one: {words}");
    let injected = &gate.checks[3];
    assert_eq!((injected.name, injected.n), ("injected_found", 24.0));
    assert!(injected.champion > 0.4, "{injected:?}");
    assert!(gate.checks[0].n > 0.1, "{gate:?}");
}

#[test]
fn a_challenger_that_learned_an_incident_is_refused_with_the_reason() {
    let incident = |step: usize, row: &mut [f32]| {
        if (6 * DAY..11 * DAY).contains(&step) && step % 20 < 12 {
            row[1] += 0.3;
            row[2] += 60.0;
        }
    };
    let frame = days(5, 12, incident);
    let poisoned = Arc::new(fit(&frame, &quick()));
    let quiet = quiet(12, 16);
    let held_out = update(&quiet, &[]).unwrap().held_out;
    let at = 14 * DAY + 60;
    let faulty = days(12, 16, |step, row| {
        if (at..at + 12).contains(&step) {
            row[1] += 0.1;
        }
    });
    let history = [History { instance: "dns-0", frame: &faulty }];
    let feedback: Vec<Feedback> = vec![said(at, at + 12, FeedbackVerdict::Right)];
    let trial = Trial {
        history: &history,
        held_out: &held_out,
        feedback: &feedback,
        injections: &suite(),
        margins: GateMargins::default(),
    };
    let gate = compare(&parent(), &poisoned, &trial).unwrap();
    assert!(!gate.passed);
    let reason = gate.reason().unwrap();
    assert!(reason.contains("it finds fewer injected faults: `injected_found` is"), "{reason}");
    assert_eq!(gate.words(), reason);
    // The other way round nothing is worse.
    let back = compare(&poisoned, &parent(), &trial).unwrap();
    assert!(back.checks[3].passed, "{back:?}");
}
