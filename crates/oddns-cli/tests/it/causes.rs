//! The table of causes against the tables it speaks of: features and faults.

use oddns_detect::{CAUSES, SCRAPES_FLAP};
use oddns_eval::right_causes;
use oddns_features::FEATURES;
use oddns_lab::FAULTS;

#[test]
fn every_movement_is_of_a_feature_that_is_computed() {
    let known = |name: &str| FEATURES.iter().any(|feature| feature.name == name);
    for cause in CAUSES {
        let moves = [cause.signature, cause.supports, cause.contradicts].into_iter().flatten();
        for (feature, _) in moves.filter(|(feature, _)| *feature != SCRAPES_FLAP) {
            assert!(known(feature), "`{}` names `{feature}`, which is no feature", cause.name);
        }
    }
}

#[test]
fn every_fault_of_the_lab_that_can_be_seen_has_a_cause() {
    for fault in FAULTS {
        let causes = right_causes(fault.name);
        assert_eq!(causes.is_some(), fault.visible, "{}", fault.name);
        for name in causes.unwrap_or_default() {
            let known = CAUSES.iter().any(|cause| cause.name == *name);
            assert!(known, "`{}` should be told as `{name}`, which is no cause", fault.name);
        }
    }
}
