//! The table of causes, and how what moved is held against it.

use std::collections::BTreeSet;

use oddns_detect::{CAUSES, CauseEntry, Moves, diagnose};

#[test]
fn every_cause_has_a_name_sentences_and_something_to_do() {
    let names: BTreeSet<&str> = CAUSES.iter().map(|cause| cause.name).collect();
    assert_eq!(names.len(), CAUSES.len());
    for cause in CAUSES {
        let plain = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(cause.name.chars().all(plain) && cause.name != "unknown", "{}", cause.name);
        assert!(cause.summary.ends_with('.'), "{}", cause.name);
        assert!(cause.mechanism.ends_with('.'), "{}", cause.name);
        assert!(!cause.next_steps.is_empty(), "{}", cause.name);
        assert!(cause.next_steps.iter().all(|step| !step.is_empty()), "{}", cause.name);
    }
}

fn lists(cause: &CauseEntry) -> [Moves; 3] {
    [cause.signature, cause.supports, cause.contradicts]
}

#[test]
fn weights_are_few_and_a_movement_is_listed_once() {
    for cause in CAUSES {
        assert!(!cause.signature.is_empty(), "{}", cause.name);
        let mut listed = BTreeSet::new();
        for (feature, weight) in lists(cause).into_iter().flatten() {
            assert!([0.5, 1.0, 2.0, 3.0].contains(&weight.abs()), "{} {feature}", cause.name);
            let movement = (feature, weight.is_sign_positive());
            assert!(listed.insert(movement), "{} {feature}", cause.name);
        }
    }
}

#[test]
fn probabilities_are_shares_and_ranked_whatever_moved() {
    for far in [0.0, -3.0, 5.0, 1e30, -1e30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        for cause in CAUSES {
            let moved: Vec<(&str, f32)> =
                cause.signature.iter().map(|(name, weight)| (*name, far * weight)).collect();
            let found = diagnose(&moved);
            let all = || std::iter::once(&found.cause).chain(&found.alternatives);
            assert!(all().all(|c| (0.0..=1.0).contains(&c.confidence)), "{far}: {found:?}");
            assert!(all().map(|c| c.confidence).sum::<f32>() < 1.001, "{far}: {found:?}");
            assert!(all().is_sorted_by(|a, b| a.confidence >= b.confidence), "{far}: {found:?}");
            let names: BTreeSet<&str> = all().map(|c| c.name).collect();
            assert!(names.len() == all().count() && names.len() <= 4, "{far}: {found:?}");
        }
    }
}

#[test]
fn the_other_direction_is_another_cause() {
    let cause = |moved: &[(&str, f32)]| diagnose(moved).cause.name;
    assert_eq!(cause(&[("request_rate", 9.0), ("cpu_usage_ratio", 9.0)]), "traffic_spike");
    assert_eq!(cause(&[("request_rate", -9.0), ("cpu_usage_ratio", -9.0)]), "traffic_drop");
}

#[test]
fn the_same_failure_is_told_apart_by_who_causes_it() {
    let servfail = ("servfail_ratio", 9.0);
    for (beside, expected) in [
        (("upstream_servfail_ratio", 9.0), "upstream_servfail"),
        (("upstream_per_miss_ratio", -9.0), "upstream_failure"),
        (("upstream_servfail_ratio", 0.0), "servfail_not_from_upstream"),
    ] {
        let still = ("upstream_healthcheck_failure_rate", 0.0);
        let found = diagnose(&[servfail, beside, still]);
        assert_eq!(found.cause.name, expected, "{found:?}");
    }
}

#[test]
fn noise_and_what_the_table_does_not_know_are_unknown() {
    let noise: Vec<(&str, f32)> = lists(&CAUSES[0])
        .into_iter()
        .flatten()
        .map(|(feature, weight)| (*feature, 0.1 * weight.signum()))
        .collect();
    assert_eq!(diagnose(&noise).cause.name, "unknown");
    assert_eq!(diagnose(&[("a_column_of_another_table", 9.0)]).cause.name, "unknown");
}
