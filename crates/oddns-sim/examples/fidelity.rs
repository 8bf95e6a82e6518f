//! `fidelity RECORDING LABELS SCENARIO`: holds what is simulated against a recording of real servers
//! of the same scenario: how far apart the distribution of each feature is in normal operation
//! (Kolmogorov and Smirnov's distance), and whether each fault moves its features the same way.

use std::collections::BTreeMap;
use std::path::Path;

use oddns_collect::{ReplayOptions, replay_file};
use oddns_core::{Frame, Recording, Timestamp};
use oddns_features::{FEATURES, extract_fleet};
use oddns_sim::{FAULTS, Scenario, Sign, Simulation, built_in};
use oddns_store::{HistoryFilter, LabelledInterval, read_history, read_labels};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// A feature counts as alike up to this distance.
const ALIKE: f64 = 0.15;
/// A mean that moves by less than this, in usual deviations, has not moved.
const UNMOVED: f64 = 0.3;
/// Seconds before a fault that are held against it.
const BEFORE_SECONDS: f64 = 30.0;
/// Seconds in which a fault takes hold, and trails.
const LAG_SECONDS: f64 = 5.0;

/// Servers of one kind, with what was done to them.
struct Side {
    frames: Vec<(String, Frame)>,
    labels: Vec<LabelledInterval>,
    normal: (Timestamp, Timestamp),
}

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recording, labels, scenario] = &arguments[..] else {
        return Err("usage: fidelity RECORDING LABELS SCENARIO".into());
    };
    let real = real(Path::new(recording), Path::new(labels))?;
    let made = made(scenario)?;
    let alike = distributions(&real, &made);
    let signs = effects(&real, &made);
    println!("alike: {alike:.3} of the features within {ALIKE}; signs right: {signs:.3}");
    Ok(())
}

fn real(path: &Path, labels: &Path) -> Fallible<Side> {
    let recordings = match path.is_dir() {
        true => read_history(path, &HistoryFilter::default())?.recordings,
        false => replay_file(path, &ReplayOptions::default())?,
    };
    let labels = read_labels(labels)?;
    Ok(side(recordings, labels, None))
}

fn made(name: &str) -> Fallible<Side> {
    let scenario = match Path::new(name).exists() {
        true => Scenario::parse(&std::fs::read_to_string(name)?)?,
        false => built_in(name).map_err(|meant| format!("did you mean {meant}?"))??,
    };
    let simulation = Simulation::new(scenario);
    let labels = simulation.labels().into_iter().map(|label| LabelledInterval {
        kind: label.kind.to_owned(),
        start: label.start,
        end: label.end,
        instance: label.server.map(|place| simulation.instance(place)),
        anomalous: label.anomalous,
    });
    let (labels, until) = (labels.collect(), simulation.normal_until());
    Ok(side(simulation.record(), labels, Some(until)))
}

fn side(
    recordings: Vec<Recording>,
    labels: Vec<LabelledInterval>,
    normal_until: Option<Timestamp>,
) -> Side {
    let names: Vec<String> = recordings.iter().map(|r| r.instance.clone()).collect();
    let frames: Vec<(String, Frame)> = names.into_iter().zip(extract_fleet(&recordings)).collect();
    let times = || frames.iter().flat_map(|(_, frame)| frame.timestamps());
    let first = times().min().copied().unwrap_or_default();
    let last = times().max().copied().unwrap_or_default();
    let begins = labels.iter().map(|label| label.start).min();
    // A cold start is over after a minute.
    let from = Timestamp::from_millis(first.millis() + 60_000);
    Side { frames, labels, normal: (from, normal_until.or(begins).unwrap_or(last)) }
}

/// Prints the distance of every feature, and gives the share of them that are alike.
fn distributions(real: &Side, made: &Side) -> f64 {
    let (mut n, mut n_alike) = (0.0, 0.0);
    println!(
        "{:<36} {:>6} {:>12} {:>12} {:>12} {:>12}",
        "feature", "KS", "real q50", "made q50", "real q90", "made q90"
    );
    for (column, feature) in FEATURES.iter().enumerate() {
        let [a, b] = [real, made].map(|side| values(side, column, side.normal, None));
        if a.is_empty() && b.is_empty() {
            continue;
        }
        let distance = distance(&a, &b);
        n += 1.0;
        n_alike += f64::from(u8::from(distance <= ALIKE));
        let q = |values: &[f32], share: f64| {
            values
                .get((share * (values.len().max(1) - 1) as f64) as usize)
                .copied()
                .unwrap_or(f32::NAN)
        };
        println!(
            "{:<36} {distance:>6.3} {:>12.6} {:>12.6} {:>12.6} {:>12.6}",
            feature.name,
            q(&a, 0.5),
            q(&b, 0.5),
            q(&a, 0.9),
            q(&b, 0.9)
        );
    }
    n_alike / f64::max(n, 1.0)
}

/// Values of a column within a time, of all servers or one, without missing ones, sorted.
fn values(
    side: &Side,
    column: usize,
    (from, until): (Timestamp, Timestamp),
    instance: Option<&str>,
) -> Vec<f32> {
    let mut found: Vec<f32> = side
        .frames
        .iter()
        .filter(|(name, _)| instance.is_none_or(|wanted| wanted == name))
        .flat_map(|(_, frame)| frame.rows())
        .filter(|(time, row)| *time >= from && *time < until && row[column].is_finite())
        .map(|(_, row)| row[column])
        .collect();
    found.sort_by(f32::total_cmp);
    found
}

/// Kolmogorov and Smirnov's distance of two sorted samples; 1 when only one is empty.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 1.0;
    }
    let (mut at, mut bt, mut most) = (0, 0, 0.0_f64);
    while at < a.len() && bt < b.len() {
        let value = a[at].min(b[bt]);
        // What differs by rounding alone is the same value.
        let slack = value + value.abs() * 1e-5 + 1e-9;
        while a.get(at).is_some_and(|v| *v <= slack) {
            at += 1;
        }
        while b.get(bt).is_some_and(|v| *v <= slack) {
            bt += 1;
        }
        most = most.max((at as f64 / a.len() as f64 - bt as f64 / b.len() as f64).abs());
    }
    most
}

/// Prints each fault with its features, and gives the share of pairs that move the same way.
fn effects(real: &Side, made: &Side) -> f64 {
    let (mut n, mut n_right) = (0.0, 0.0);
    let mut strongest: BTreeMap<&str, f64> = BTreeMap::new();
    for fault in FAULTS.iter().filter(|fault| fault.visible) {
        for (feature, sign) in fault.features {
            let Some(column) = FEATURES.iter().position(|known| known.name == *feature) else {
                continue;
            };
            let effect = |side: &Side| effect(side, fault.name, column);
            let (Some(a), Some(b)) = (effect(real), effect(made)) else { continue };
            let declared = if *sign == Sign::Up { 1.0 } else { -1.0 };
            let right = turn(a) == turn(b);
            n += 1.0;
            n_right += f64::from(u8::from(right));
            let most = strongest.entry(fault.name).or_default();
            *most = most.max(a * declared);
            let verdict = if right { "" } else { "  differs" };
            println!("{:<24} {sign}{feature:<34} {a:>10.1} {b:>10.1}{verdict}", fault.name);
        }
    }
    for (name, most) in strongest.iter().filter(|(_, most)| **most < 6.0) {
        println!(
            "weak in the recording: {name} moves its features by {most:.1} deviations at most"
        );
    }
    n_right / f64::max(n, 1.0)
}

fn turn(effect: f64) -> i8 {
    match effect {
        _ if effect > UNMOVED => 1,
        _ if effect < -UNMOVED => -1,
        _ => 0,
    }
}

/// How far the mean of a column moves under a fault, in usual deviations (robust ones); `None`
/// when the fault was not there, or said nothing of the column.
fn effect(side: &Side, kind: &str, column: usize) -> Option<f64> {
    let label = side.labels.iter().find(|label| label.kind == kind)?;
    let shifted = |time: Timestamp, seconds: f64| {
        Timestamp::from_millis(time.millis() + (seconds * 1000.0) as i64)
    };
    let instance = label.instance.as_deref();
    // What happens to one of several may be felt by the first only.
    let first = side.frames.first().map(|(name, _)| name.as_str());
    let instance = if kind == "replica_imbalance" { first } else { instance };
    let before = (shifted(label.start, -BEFORE_SECONDS), label.start);
    let during = (label.start, shifted(label.end, LAG_SECONDS));
    let usual = values(side, column, side.normal, instance);
    let [before, during] = [before, during].map(|range| values(side, column, range, instance));
    if usual.is_empty() || during.is_empty() {
        return None;
    }
    let mean =
        |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
    let q = |share: f64| f64::from(usual[(share * (usual.len() - 1) as f64) as usize]);
    let resolution = f64::from(FEATURES[column].resolution) * 0.1;
    let deviation = ((q(0.75) - q(0.25)) / 1.349).max(resolution * q(0.5).abs().max(1e-3));
    let before = if before.is_empty() { mean(&usual) } else { mean(&before) };
    Some((mean(&during) - before) / deviation)
}
