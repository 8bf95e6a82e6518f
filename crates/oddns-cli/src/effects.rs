//! What each fault of a recording did to the features that it is known to move.

use std::path::{Path, PathBuf};

use oddns_core::Timestamp;
use oddns_features::FEATURES;
use oddns_sim::{FAULTS, Fault, Sign};
use oddns_store::{Dataset, LabelledInterval, read_labels};
use serde_json::{Value, json};

use crate::args::Selection;
use crate::data::{self, Instance};
use crate::exit::BadInput;
use crate::output;

/// Deviations that one declared feature of a visible fault moves by at least.
const BAR: f64 = 6.0;
/// Share of the time of a fault in which a feature is further away than what is told of it.
const BEYOND: f64 = 0.1;
/// Seconds that a fault trails.
const TRAIL_SECONDS: f64 = 5.0;
/// A server that has just started is another for so long.
const COLD_SECONDS: f64 = 60.0;
/// A feature that never moves in quiet time is held to this part of the smallest change that matters.
const LEAST: f64 = 0.1;

/// One fault in one or more recordings.
struct Row {
    fault: &'static Fault,
    /// How often it was done.
    n_done: usize,
    /// The features that it declares, the most moved first: the median of all times it was done, in
    /// robust standard deviations, above zero the way that is declared.
    moves: Vec<(&'static str, Sign, f64)>,
}

/// What all faults did.
pub(crate) struct Effects {
    rows: Vec<Row>,
}

/// A recording and what was done in it.
struct Recorded {
    instances: Vec<Instance>,
    labels: Vec<LabelledInterval>,
    quiet: (Timestamp, Timestamp),
}

/// Reads recordings and measures every fault that they have.
pub(crate) fn measure(paths: &[PathBuf]) -> anyhow::Result<Effects> {
    let recorded = paths.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let rows: Vec<Row> = FAULTS.iter().filter_map(|fault| row(fault, &recorded)).collect();
    if rows.is_empty() {
        let reason = format!(
            "`{}` has no label of a fault that `oddns lab faults` lists",
            paths.first().map(|path| path.display().to_string()).unwrap_or_default()
        );
        return Err(BadInput(reason).into());
    }
    Ok(Effects { rows })
}

fn read(path: &Path) -> anyhow::Result<Recorded> {
    let everything = Selection { since: None, until: None, instance: None };
    let labels = read_labels(&path.join("labels.csv"))?;
    let instances = data::read(path, &everything)?;
    let first = instances.iter().filter_map(|one| one.frame.timestamps().first()).min();
    let Some(first) = first else {
        return Err(BadInput(format!("`{}` has no rows", path.display())).into());
    };
    let about = Dataset::read(path)?.unwrap_or_default();
    let from = about.normal_from.unwrap_or(*first).max(later(*first, COLD_SECONDS));
    let begins = labels.iter().map(|label| label.start).min();
    let until = about.normal_until.or(begins).unwrap_or(*first);
    let until = begins.map_or(until, |begins| begins.min(until));
    if until <= from {
        let reason = format!(
            "`{}` has no quiet time before its first fault, after {COLD_SECONDS} s of warming up",
            path.display()
        );
        return Err(BadInput(reason).into());
    }
    Ok(Recorded { instances, labels, quiet: (from, until) })
}

fn later(time: Timestamp, seconds: f64) -> Timestamp {
    Timestamp::from_millis(time.millis().saturating_add((seconds * 1000.0) as i64))
}

/// `None` when the fault was never done.
fn row(fault: &'static Fault, recorded: &[Recorded]) -> Option<Row> {
    let done = || {
        let labels = |one: &'static str| move |label: &&LabelledInterval| label.kind == one;
        recorded.iter().flat_map(move |one| {
            one.labels.iter().filter(labels(fault.name)).map(move |l| (one, l))
        })
    };
    let n_done = done().count();
    if n_done == 0 {
        return None;
    }
    let mut moves = Vec::new();
    for (name, sign) in fault.features {
        let Some(column) = FEATURES.iter().position(|known| known.name == *name) else { continue };
        let mut found: Vec<f64> =
            done().filter_map(|(one, label)| one.moved(label, column, *sign)).collect();
        found.sort_by(f64::total_cmp);
        if let Some(median) = quantile(&found, 0.5) {
            moves.push((*name, *sign, median));
        }
    }
    moves.sort_by(|a, b| b.2.total_cmp(&a.2));
    Some(Row { fault, n_done, moves })
}

/// Of sorted values; `None` without any.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let at = (share * sorted.len().saturating_sub(1) as f64).round();
    sorted.get(at as usize).copied()
}

impl Recorded {
    /// How far a feature moves under a fault, the way that is declared. Of a fault that hits one of
    /// several servers unevenly, the server where it moves most counts.
    fn moved(&self, label: &LabelledInterval, column: usize, sign: Sign) -> Option<f64> {
        let named = |one: &&Instance| label.instance.as_ref().is_none_or(|name| *name == one.name);
        let moved = self.instances.iter().filter(named);
        let moved = moved.filter_map(|one| self.moved_on(one, label, column, sign));
        if label.kind == "replica_imbalance" {
            return moved.reduce(f64::max);
        }
        let mut each: Vec<f64> = moved.collect();
        each.sort_by(f64::total_cmp);
        quantile(&each, 0.5)
    }

    fn moved_on(
        &self,
        one: &Instance,
        label: &LabelledInterval,
        column: usize,
        sign: Sign,
    ) -> Option<f64> {
        let usual = values(one, column, self.quiet);
        let during = values(one, column, (label.start, later(label.end, TRAIL_SECONDS)));
        let spread = (quantile(&usual, 0.75)? - quantile(&usual, 0.25)?) / 1.349;
        let deviation = spread.max(LEAST * f64::from(FEATURES[column].resolution));
        let middle = quantile(&usual, 0.5)?;
        Some(match sign {
            Sign::Up => (quantile(&during, 1.0 - BEYOND)? - middle) / deviation,
            Sign::Down => (middle - quantile(&during, BEYOND)?) / deviation,
        })
    }
}

/// A column on its modelled scale within a time, without missing ones, sorted.
fn values(one: &Instance, column: usize, (from, until): (Timestamp, Timestamp)) -> Vec<f64> {
    let within = one.frame.rows().filter(|(time, _)| *time >= from && *time < until);
    let mut found: Vec<f64> = within
        .map(|(_, row)| f64::from(FEATURES[column].transform.apply(row[column])))
        .filter(|value| value.is_finite())
        .collect();
    found.sort_by(f64::total_cmp);
    found
}

impl Row {
    /// NaN when no feature could be measured.
    fn best(&self) -> f64 {
        self.moves.first().map_or(f64::NAN, |(_, _, moved)| *moved)
    }

    /// Whether the fault keeps to the bar; what is not visible has none.
    fn holds(&self) -> bool {
        !self.fault.visible || self.best() >= BAR
    }

    fn to_json(&self) -> Value {
        let moves = self.moves.iter().map(|(feature, sign, moved)| {
            json!({ "feature": feature, "declared": sign.to_string(), "deviations": moved })
        });
        json!({
            "fault": self.fault.name,
            "done": self.n_done,
            "anomalous": self.fault.anomalous,
            "visible": self.fault.visible,
            "holds": self.holds(),
            "features": moves.collect::<Vec<_>>(),
        })
    }

    fn line(&self) -> String {
        let sort = match (self.fault.anomalous, self.fault.visible) {
            (false, _) => "benign",
            (true, true) => "visible",
            (true, false) => "hidden",
        };
        let moves: Vec<String> = self
            .moves
            .iter()
            .map(|(feature, sign, moved)| format!("{sign} {feature} {moved:.1}"))
            .collect();
        let told = if self.holds() { "" } else { "below 6" };
        let (name, n, moves) = (self.fault.name, self.n_done, moves.join(", "));
        format!("| {name} | {sort} | {n} | {moves} | {told} |")
    }
}

impl Effects {
    /// Visible faults that keep to the bar, of how many; benign changes do not count.
    fn kept(&self) -> (usize, usize) {
        let visible = || self.rows.iter().filter(|row| row.fault.anomalous && row.fault.visible);
        (visible().filter(|row| row.holds()).count(), visible().count())
    }

    pub(crate) fn to_json(&self) -> Value {
        let (kept, visible) = self.kept();
        json!({
            "bar": BAR,
            "kept": kept,
            "visible": visible,
            "faults": self.rows.iter().map(Row::to_json).collect::<Vec<_>>(),
        })
    }

    pub(crate) fn print(&self) {
        output::line("| fault | | times | declared features, moved by robust deviations | |");
        output::line("| --- | --- | --- | --- | --- |");
        self.rows.iter().for_each(|row| output::line(row.line()));
        let (kept, visible) = self.kept();
        output::line(format!(
            "{kept} of {visible} visible faults move a declared feature by {BAR} or more robust \
             standard deviations"
        ));
    }
}

#[cfg(test)]
mod tests {
    use oddns_core::Frame;

    use super::*;

    /// A server whose `nxdomain_ratio` is around .4, and `level` in the last 30 of 300 seconds.
    fn recorded(level: f32) -> Recorded {
        let column = column();
        let mut frame = Frame::new(FEATURES.iter().map(|one| one.name.to_owned()).collect());
        for second in 0..300 {
            let mut row = vec![0.0; FEATURES.len()];
            row[column] =
                if second < 270 { 0.4 + 0.01 * ((second % 5) as f32 - 2.0) } else { level };
            frame.push(Timestamp::from_millis(second * 1000), &row).unwrap();
        }
        let label = LabelledInterval {
            kind: "nxdomain_flood".to_owned(),
            start: Timestamp::from_millis(270_000),
            end: Timestamp::from_millis(300_000),
            instance: None,
            anomalous: true,
        };
        let quiet = (Timestamp::from_millis(0), label.start);
        let instances = vec![Instance::whole("a".to_owned(), frame)];
        Recorded { instances, labels: vec![label], quiet }
    }

    fn column() -> usize {
        FEATURES.iter().position(|one| one.name == "nxdomain_ratio").unwrap()
    }

    #[test]
    fn a_fault_is_held_to_the_bar_by_the_feature_it_moves_most() {
        let fault = oddns_sim::fault("nxdomain_flood").unwrap();
        for (level, holds) in [(0.9, true), (0.41, false)] {
            let recorded = [recorded(level)];
            let moved = recorded[0].moved(&recorded[0].labels[0], column(), Sign::Up).unwrap();
            assert_eq!(moved >= BAR, holds, "{moved}");
            let effects = Effects { rows: vec![row(fault, &recorded).unwrap()] };
            assert_eq!(effects.kept(), (usize::from(holds), 1));
        }
        assert!(row(oddns_sim::fault("restart").unwrap(), &[recorded(0.9)]).is_none());
    }
}
