//! One measured figure beside what it is held against.

use serde_json::{Value, json};

/// A figure with a bar: an upper limit that it must not exceed.
#[derive(Debug)]
pub(super) struct Comparison {
    /// What was measured.
    pub(super) case: &'static str,
    /// Our figure; the median where there are several runs.
    pub(super) ours: f64,
    /// Of `ours` and `bar`.
    pub(super) unit: &'static str,
    /// Slowest minus fastest run over the median; `None` for a single measurement.
    pub(super) spread: Option<f64>,
    /// The most that `ours` may be.
    pub(super) bar: f64,
}

impl Comparison {
    /// A single measurement.
    pub(super) fn once(case: &'static str, ours: f64, unit: &'static str, bar: f64) -> Self {
        Self { case, ours, unit, spread: None, bar }
    }

    /// The median of at least one run.
    pub(super) fn of_runs(
        case: &'static str,
        mut runs: Vec<f64>,
        unit: &'static str,
        bar: f64,
    ) -> Self {
        runs.sort_by(f64::total_cmp);
        let median = (runs[(runs.len() - 1) / 2] + runs[runs.len() / 2]) / 2.0;
        let spread = (runs[runs.len() - 1] - runs[0]) / median;
        Self { case, ours: median, unit, spread: Some(spread), bar }
    }

    pub(super) fn holds(&self) -> bool {
        self.ours <= self.bar
    }

    /// The line that scripts read; `peer`, `theirs` and `ratio` are null because a bar has none.
    pub(super) fn to_json(&self, bench: &str) -> Value {
        json!({
            "bench": bench,
            "case": self.case,
            "ours": rounded(self.ours),
            "peer": null,
            "theirs": null,
            "unit": self.unit,
            "ratio": null,
            "spread": self.spread.map(rounded),
            "bar": self.bar,
        })
    }
}

/// Three decimals: more would be noise.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_give_median_and_relative_spread() {
        let odd = Comparison::of_runs("case", vec![4.0, 1.0, 2.0], "s", 3.0);
        assert_eq!((odd.ours, odd.spread), (2.0, Some(1.5)));
        let even = Comparison::of_runs("case", vec![4.0, 2.0], "s", 3.0);
        assert_eq!((even.ours, even.spread), (3.0, Some(2.0 / 3.0)));
    }

    #[test]
    fn a_bar_is_the_most_that_is_allowed() {
        assert!(Comparison::once("case", 60.0, "MiB", 60.0).holds());
        assert!(!Comparison::once("case", 60.1, "MiB", 60.0).holds());
        assert!(!Comparison::once("case", f64::NAN, "MiB", 60.0).holds());
    }

    #[test]
    fn the_line_has_every_key_that_scripts_expect() {
        let line = Comparison::once("case", 1.23456, "MiB", 60.0).to_json("demo");
        let keys = ["bench", "case", "ours", "peer", "theirs", "unit", "ratio", "spread", "bar"];
        assert!(keys.iter().all(|key| line.get(key).is_some()));
        assert_eq!(line["ours"], 1.235);
    }
}
