//! Simulated servers held against real ones: features that are alike in normal operation, and
//! faults that move them the same way.

use std::path::Path;

use oddns_core::Timestamp;
use oddns_eval::kolmogorov_smirnov;
use oddns_features::FEATURES;
use oddns_sim::{FAULTS, Sign};
use oddns_store::{Dataset, LabelledInterval, read_labels};
use serde_json::{Value, json};

use crate::args::Selection;
use crate::data::{self, Instance};
use crate::exit::BadInput;
use crate::output;

/// A feature counts as alike up to this distance.
const ALIKE: f64 = 0.15;
/// A mean that moves by less than this, in usual deviations, has not moved.
const UNMOVED: f64 = 0.3;
/// Seconds before a fault that it is held against.
const BEFORE_SECONDS: f64 = 30.0;
/// Seconds that a fault trails.
const TRAIL_SECONDS: f64 = 3.0;
/// A server that has just started is another for so long.
const COLD_SECONDS: f64 = 60.0;

/// Servers of one data set, with what was done to them.
struct Side {
    instances: Vec<Instance>,
    labels: Vec<LabelledInterval>,
    normal: (Timestamp, Timestamp),
}

/// One feature in normal operation.
struct Likeness {
    feature: &'static str,
    /// 0 to 1; 1 when only one of both has the feature.
    distance: f64,
    medians: [f32; 2],
}

/// What one fault does to one feature that it is known to move.
struct Pair {
    fault: &'static str,
    feature: &'static str,
    sign: Sign,
    /// In usual deviations, of the real and the simulated servers.
    moves: [f64; 2],
}

/// All that is found out.
pub(crate) struct Fidelity {
    likenesses: Vec<Likeness>,
    pairs: Vec<Pair>,
}

/// Compares the data set at `real` with the one at `made`.
pub(crate) fn compare(real: &Path, made: &Path) -> anyhow::Result<Fidelity> {
    let (real, made) = (side(real)?, side(made)?);
    let likenesses = (0..FEATURES.len()).filter_map(|column| likeness(&real, &made, column));
    let pairs = FAULTS
        .iter()
        .filter(|fault| fault.visible)
        .flat_map(|fault| {
            fault.features.iter().map(move |(feature, sign)| (fault, *feature, *sign))
        })
        .filter_map(|(fault, feature, sign)| {
            let column = FEATURES.iter().position(|known| known.name == feature)?;
            let moves = [real.moved(fault.name, column)?, made.moved(fault.name, column)?];
            Some(Pair { fault: fault.name, feature, sign, moves })
        });
    Ok(Fidelity { likenesses: likenesses.collect(), pairs: pairs.collect() })
}

fn side(path: &Path) -> anyhow::Result<Side> {
    let everything = Selection { since: None, until: None, instance: None };
    let instances = data::read(path, &everything)?;
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let labels = folder.join("labels.csv");
    let labels = if labels.exists() { read_labels(&labels)? } else { Vec::new() };
    let times = || instances.iter().flat_map(|one| one.frame.timestamps());
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        return Err(BadInput(format!("`{}` has no rows", path.display())).into());
    };
    let about = if path.is_dir() { Dataset::read(path)? } else { None }.unwrap_or_default();
    let from = about.normal_from.unwrap_or(*first).max(later(*first, COLD_SECONDS));
    let begins = labels.iter().map(|label| label.start).min().unwrap_or(*last);
    let normal = (from, about.normal_until.unwrap_or(begins).min(begins));
    Ok(Side { instances, labels, normal })
}

fn later(time: Timestamp, seconds: f64) -> Timestamp {
    Timestamp::from_millis(time.millis().saturating_add((seconds * 1000.0) as i64))
}

/// `None` when neither has the feature.
fn likeness(real: &Side, made: &Side, column: usize) -> Option<Likeness> {
    let values = [real, made].map(|side| side.values(column, side.normal, None));
    if values.iter().all(Vec::is_empty) {
        return None;
    }
    let [a, b] = &values;
    let distance = kolmogorov_smirnov(a, b);
    let distance = if distance.is_nan() { 1.0 } else { distance };
    let medians = [quantile(a, 0.5), quantile(b, 0.5)];
    Some(Likeness { feature: FEATURES[column].name, distance, medians })
}

/// Of sorted values; NaN without any.
fn quantile(sorted: &[f32], share: f64) -> f32 {
    let at = share * sorted.len().saturating_sub(1) as f64;
    sorted.get(at as usize).copied().unwrap_or(f32::NAN)
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64
}

impl Side {
    /// Values of a column within a time, of all servers or one, without missing ones, sorted.
    fn values(
        &self,
        column: usize,
        (from, until): (Timestamp, Timestamp),
        instance: Option<&str>,
    ) -> Vec<f32> {
        let mut found: Vec<f32> = self
            .instances
            .iter()
            .filter(|one| instance.is_none_or(|wanted| wanted == one.name))
            .flat_map(|one| one.frame.rows())
            .filter(|(time, row)| *time >= from && *time < until && row[column].is_finite())
            .map(|(_, row)| row[column])
            .collect();
        found.sort_by(f32::total_cmp);
        found
    }

    /// How far the mean of a column moves under a fault, in usual deviations; `None` when the fault
    /// was not there, or said nothing of the column.
    fn moved(&self, kind: &str, column: usize) -> Option<f64> {
        let label = self.labels.iter().find(|label| label.kind == kind)?;
        if kind == "replica_imbalance" {
            // One of several gets more, the others less: the one that gets more counts.
            let each = self.instances.iter().map(|one| Some(one.name.as_str()));
            return each.filter_map(|one| self.moved_on(label, column, one)).reduce(f64::max);
        }
        self.moved_on(label, column, label.instance.as_deref())
    }

    fn moved_on(&self, label: &LabelledInterval, column: usize, one: Option<&str>) -> Option<f64> {
        let usual = self.values(column, self.normal, one);
        let before = (later(label.start, -BEFORE_SECONDS), label.start);
        let before = self.values(column, before, one);
        let until = later(label.end, TRAIL_SECONDS);
        let during = self.values(column, (label.start, until), one);
        if usual.is_empty() || during.is_empty() {
            return None;
        }
        let spread = f64::from(quantile(&usual, 0.75) - quantile(&usual, 0.25)) / 1.349;
        let least = 0.1 * f64::from(FEATURES[column].resolution);
        let deviation = spread.max(least * f64::from(quantile(&usual, 0.5)).abs().max(1e-3));
        let before = if before.is_empty() { mean(&usual) } else { mean(&before) };
        Some((mean(&during) - before) / deviation)
    }
}

impl Pair {
    fn agrees(&self) -> bool {
        let [real, made] = self.moves.map(turn);
        real == made
    }
}

fn turn(moved: f64) -> i8 {
    i8::from(moved > UNMOVED) - i8::from(moved < -UNMOVED)
}

impl Fidelity {
    fn alike_ratio(&self) -> f64 {
        let alike = self.likenesses.iter().filter(|one| one.distance <= ALIKE).count();
        alike as f64 / self.likenesses.len().max(1) as f64
    }

    /// NaN when no fault is in both.
    fn agreeing_ratio(&self) -> f64 {
        let agreeing = self.pairs.iter().filter(|pair| pair.agrees()).count();
        agreeing as f64 / self.pairs.len() as f64
    }

    pub(crate) fn to_json(&self) -> Value {
        let number = |value: f64| if value.is_finite() { json!(value) } else { Value::Null };
        json!({
            "alike_ratio": number(self.alike_ratio()),
            "agreeing_ratio": number(self.agreeing_ratio()),
            "features": self.likenesses.iter().map(|one| json!({
                "feature": one.feature,
                "distance": one.distance,
                "real": output::number(one.medians[0]),
                "simulated": output::number(one.medians[1]),
            })).collect::<Vec<_>>(),
            "effects": self.pairs.iter().map(|pair| json!({
                "fault": pair.fault,
                "feature": pair.feature,
                "declared": pair.sign.to_string(),
                "real": number(pair.moves[0]),
                "simulated": number(pair.moves[1]),
                "agrees": pair.agrees(),
            })).collect::<Vec<_>>(),
        })
    }

    pub(crate) fn print(&self) {
        output::line("| feature in normal operation | distance | median, real | simulated |");
        output::line("| --- | --- | --- | --- |");
        for Likeness { feature, distance, medians: [a, b] } in &self.likenesses {
            output::line(format!("| {feature} | {distance:.2} | {a:.4} | {b:.4} |"));
        }
        output::line("");
        if !self.pairs.is_empty() {
            output::line("| fault | feature | moves, real | simulated | |");
            output::line("| --- | --- | --- | --- | --- |");
        }
        for pair in &self.pairs {
            let ([a, b], sign) = (pair.moves, pair.sign);
            let differs = if pair.agrees() { "" } else { "differs" };
            let Pair { fault, feature, .. } = pair;
            output::line(format!("| {fault} | {sign} {feature} | {a:.1} | {b:.1} | {differs} |"));
        }
        output::line(format!(
            "{:.0} % of {} features are alike (distance up to {ALIKE}); {:.0} % of {} effects agree",
            100.0 * self.alike_ratio(),
            self.likenesses.len(),
            100.0 * self.agreeing_ratio(),
            self.pairs.len()
        ));
    }
}
