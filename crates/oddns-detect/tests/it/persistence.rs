//! When an alarm may begin and end.

use oddns_detect::{Persistence, PersistenceConfig};
use proptest::prelude::*;

fn config() -> impl Strategy<Value = PersistenceConfig> {
    (0_u32..6, 0.0..=1.0_f32, 0_u32..6).prop_map(|(raise_after, hold_above, clear_after)| {
        let usual = PersistenceConfig::default();
        PersistenceConfig { raise_after, hold_above, clear_after, ..usual }
    })
}

fn scores() -> impl Strategy<Value = Vec<f32>> {
    let score = prop_oneof![6 => 0.0..2.0_f32, 1 => Just(f32::NAN), 1 => Just(f32::INFINITY)];
    prop::collection::vec(score, 0..200)
}

fn alarms(config: PersistenceConfig, scores: &[f32]) -> Vec<bool> {
    let mut persistence = Persistence::new(config);
    scores.iter().map(|score| persistence.push(*score, true)).collect()
}

fn test_config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(test_config())]

    #[test]
    fn an_alarm_begins_with_as_many_scores_above_one_as_asked_for(
        config in config(), scores in scores(),
    ) {
        let (mut before, mut run) = (false, 0);
        for (alarm, score) in alarms(config, &scores).into_iter().zip(&scores) {
            run = if *score > 1.0 { run + 1 } else if score.is_nan() { run } else { 0 };
            if alarm && !before {
                prop_assert!(*score > 1.0 && run >= config.raise_after.max(1));
            }
            before = alarm;
        }
    }

    #[test]
    fn an_alarm_ends_below_the_line_it_holds_above(config in config(), scores in scores()) {
        let mut before = false;
        for (alarm, score) in alarms(config, &scores).into_iter().zip(&scores) {
            if before && !alarm {
                prop_assert!(*score < config.hold_above);
            }
            before = alarm;
        }
    }

    #[test]
    fn below_one_there_is_never_an_alarm(
        config in config(), scores in prop::collection::vec(0.0..=1.0_f32, 0..200),
    ) {
        prop_assert!(alarms(config, &scores).iter().all(|alarm| !alarm));
    }
}
