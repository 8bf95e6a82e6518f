//! The table of causes.

use std::collections::BTreeSet;

use oddns_detect::{CAUSES, likely_cause};

#[test]
fn every_cause_has_a_name_a_sentence_and_something_to_do() {
    let names: BTreeSet<&str> = CAUSES.iter().map(|cause| cause.name).collect();
    assert_eq!(names.len(), CAUSES.len());
    for cause in CAUSES {
        let plain = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(cause.name.chars().all(plain) && cause.name != "unknown", "{}", cause.name);
        assert!(cause.summary.ends_with('.'), "{}", cause.name);
        assert!(!cause.next_steps.is_empty(), "{}", cause.name);
        assert!(cause.next_steps.iter().all(|step| !step.is_empty()), "{}", cause.name);
    }
}

#[test]
fn a_signature_names_each_feature_once_with_a_direction() {
    for cause in CAUSES {
        let features: BTreeSet<&str> = cause.signature.iter().map(|(name, _)| *name).collect();
        assert_eq!(features.len(), cause.signature.len(), "{}", cause.name);
        assert!(cause.signature.iter().all(|(_, weight)| *weight != 0.0), "{}", cause.name);
    }
}

#[test]
fn confidence_is_a_share_whatever_moved() {
    for far in [0.0, -3.0, 5.0, 1e30, -1e30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        for cause in CAUSES {
            let moved: Vec<(&str, f32)> =
                cause.signature.iter().map(|(name, weight)| (*name, far * weight)).collect();
            let found = likely_cause(&moved);
            assert!((0.0..=1.0).contains(&found.confidence), "{far}: {}", found.name);
        }
    }
}

#[test]
fn the_other_direction_is_another_cause() {
    assert_eq!(likely_cause(&[("request_rate", 9.0)]).name, "traffic_spike");
    assert_eq!(likely_cause(&[("request_rate", -9.0)]).name, "traffic_drop");
}
