//! What faults do to the features that the table names.

use oddns_core::Frame;
use oddns_features::{FEATURES, extract_fleet};
use oddns_sim::{FAULTS, Fault, Scenario, Sign, Simulation};

const BEFORE: usize = 120;

fn frame(fault: &Fault) -> Frame {
    // Long enough for what drifts.
    let text = format!(
        "for: 60m\nevery: 15s\nfaults: [{{kind: {}, at: 30m, for: 20m}}]\n\
         traffic: {{mix: {{stub: 0.05}}}}",
        fault.name
    );
    let recordings = Simulation::new(Scenario::parse(&text).unwrap()).record();
    extract_fleet(&recordings).swap_remove(0)
}

/// Values of a feature before and during the fault, without the missing ones, sorted.
fn values(frame: &Frame, feature: &str) -> [Vec<f32>; 2] {
    let column = FEATURES.iter().position(|known| known.name == feature).unwrap();
    let part = |from: usize, until: usize| {
        let mut values: Vec<f32> = (from..until).map(|at| frame.row(at)[column]).collect();
        values.retain(|value| value.is_finite());
        values.sort_by(f32::total_cmp);
        values
    };
    [part(20, BEFORE - 1), part(BEFORE - 1, BEFORE + 79)]
}

/// How far a feature goes beyond what is usual at its farthest, or how far its mean moves, in usual
/// spreads.
fn moved(frame: &Frame, feature: &str, sign: Sign) -> f32 {
    let [before, during] = values(frame, feature);
    if before.is_empty() || during.is_empty() {
        return f32::NAN;
    }
    let at = |values: &[f32], share: f32| values[(share * (values.len() - 1) as f32) as usize];
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    let spread = (at(&before, 0.9) - at(&before, 0.1)).max(1e-6);
    let mean = (mean(&during) - mean(&before)) / spread;
    match sign {
        Sign::Up => ((at(&during, 1.0) - at(&before, 0.9)) / spread).max(mean),
        Sign::Down => ((at(&before, 0.1) - at(&during, 0.0)) / spread).max(-mean),
    }
}

#[test]
fn every_visible_fault_moves_its_features_the_way_the_table_says() {
    let mut wrong = Vec::new();
    for fault in FAULTS {
        let frame = frame(fault);
        for (feature, sign) in fault.features {
            assert!(FEATURES.iter().any(|known| known.name == *feature), "{feature}");
            let moved = moved(&frame, feature, *sign);
            if moved.is_nan() || moved <= 0.5 {
                wrong.push(format!("{} {sign}{feature}: {moved}", fault.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
