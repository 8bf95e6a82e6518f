//! Detectors side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::{MEASURES, Measure, Paired, Trial};

/// What several detectors reached on the series of several suites.
///
/// A figure of a suite is the mean over its series for which it is defined, of each series the mean
/// over the seeds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// In the order they came.
    suites: Vec<Suite>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Suite {
    name: String,
    series: Vec<String>,
    detectors: Vec<Row>,
}

/// Which detector was tried on what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run<'a> {
    /// Series of one kind.
    pub suite: &'a str,
    /// One of them.
    pub series: &'a str,
    /// How the detector is called.
    pub detector: &'a str,
    /// What was drawn at random in training followed from it.
    pub seed: u64,
}

/// One detector on the series of a suite.
#[derive(Debug, Clone, Default, PartialEq)]
struct Row {
    detector: String,
    /// For each series of the suite what each seed reached; may be shorter than the suite's series.
    runs: Vec<BTreeMap<u64, Values>>,
}

/// One value a measure, NaN where it is not defined.
type Values = [f64; MEASURES.len()];

impl Comparison {
    /// Nothing compared yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what a run reached; a second trial of the same run replaces the first.
    pub fn record(&mut self, run: Run<'_>, trial: &Trial) {
        let Run { suite, series, detector, seed } = run;
        let at = place(
            &mut self.suites,
            |own| own.name == suite,
            || Suite { name: suite.to_owned(), ..Suite::default() },
        );
        let suite = &mut self.suites[at];
        let column = place(&mut suite.series, |own| own == series, || series.to_owned());
        let row = place(
            &mut suite.detectors,
            |own| own.detector == detector,
            || Row { detector: detector.to_owned(), ..Row::default() },
        );
        let runs = &mut suite.detectors[row].runs;
        runs.resize(runs.len().max(column + 1), BTreeMap::new());
        let values = |measure: usize| (MEASURES[measure].of)(trial).unwrap_or(f64::NAN);
        runs[column].insert(seed, std::array::from_fn(values));
    }

    /// Mean of a measure over the series of a suite; `None` when it is nowhere defined, or there is
    /// no such suite, detector or measure.
    pub fn mean(&self, suite: &str, detector: &str, measure: &str) -> Option<f64> {
        let measure = MEASURES.iter().position(|own| own.name == measure)?;
        self.suite(suite)?.row(detector)?.mean(measure)
    }

    /// Standard deviation over the seeds of the mean over the series of a suite; `None` with fewer
    /// than two seeds, and where there is no mean.
    pub fn deviation(&self, suite: &str, detector: &str, measure: &str) -> Option<f64> {
        let measure = MEASURES.iter().position(|own| own.name == measure)?;
        self.suite(suite)?.row(detector)?.deviation(measure)
    }

    /// One detector against another on the series of a suite that both were measured on. The
    /// difference is positive where `detector` has more, be that better or not. `None` where there
    /// is nothing to compare.
    pub fn paired(&self, suite: &str, measure: &str, detector: &str, peer: &str) -> Option<Paired> {
        let measure = MEASURES.iter().position(|own| own.name == measure)?;
        let suite = self.suite(suite)?;
        Paired::compute(&suite.row(detector)?.column(measure), &suite.row(peer)?.column(measure))
    }

    fn suite(&self, name: &str) -> Option<&Suite> {
        self.suites.iter().find(|suite| suite.name == name)
    }

    /// A table for each suite, in Markdown: a row a detector, a column a measure, the best of each
    /// column in bold, with its standard deviation over the seeds where there are several. With `against`, a further table tells how far ahead that detector is of each
    /// other by VUS-PR. Measures that are nowhere defined in a suite are left out.
    pub fn to_markdown(&self, against: Option<&str>) -> String {
        let mut text = String::new();
        for suite in &self.suites {
            if !text.is_empty() {
                text.push('\n');
            }
            suite.write_table(&mut text);
            if let Some(detector) = against.filter(|detector| suite.row(detector).is_some()) {
                text.push('\n');
                self.write_pairs(&mut text, suite, detector);
            }
        }
        text
    }

    fn write_pairs(&self, text: &mut String, suite: &Suite, detector: &str) {
        let name = cell(detector);
        let _ = writeln!(text, "| VUS-PR of {name} ahead of | by | 95 % interval | p |");
        text.push_str("| --- | --- | --- | --- |\n");
        for peer in suite.detectors.iter().filter(|row| row.detector != detector) {
            let Some(pair) = self.paired(&suite.name, "vus_pr", detector, &peer.detector) else {
                continue;
            };
            let (low, high) = pair.interval;
            let (peer, lead) = (cell(&peer.detector), pair.mean_difference);
            let p = pair.test.map_or(1.0, |test| test.p_value);
            let _ = writeln!(text, "| {peer} | {lead:+.3} | {low:+.3} to {high:+.3} | {p:.3} |");
        }
    }

    /// Everything for scripts: each suite with its detectors, for each measure the mean, its standard
    /// deviation over seeds, on how many series, whether it is the best, and the values by series; for each pair of detectors the
    /// comparison by VUS-PR. What is not defined is null.
    pub fn to_json(&self) -> Value {
        let suites: Vec<Value> = self.suites.iter().map(|suite| self.suite_json(suite)).collect();
        json!({ "suites": suites })
    }

    fn suite_json(&self, suite: &Suite) -> Value {
        let detectors: Vec<Value> = suite.detectors.iter().map(|row| suite.row_json(row)).collect();
        let mut pairs = Vec::new();
        for one in &suite.detectors {
            for other in suite.detectors.iter().filter(|row| row.detector != one.detector) {
                let pair = self.paired(&suite.name, "vus_pr", &one.detector, &other.detector);
                pairs.extend(pair.map(|pair| pair_json(&one.detector, &other.detector, &pair)));
            }
        }
        json!({
            "suite": suite.name,
            "series": suite.series,
            "detectors": detectors,
            "vus_pr_pairs": pairs,
        })
    }
}

/// Where something is among others, put behind them when it is new.
fn place<T>(all: &mut Vec<T>, is: impl FnMut(&T) -> bool, new: impl FnOnce() -> T) -> usize {
    if let Some(at) = all.iter().position(is) {
        return at;
    }
    all.push(new());
    all.len() - 1
}

/// Text that stays within its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn pair_json(detector: &str, peer: &str, pair: &Paired) -> Value {
    json!({
        "detector": detector,
        "peer": peer,
        "n": pair.n,
        "mean_difference": pair.mean_difference,
        "interval": [pair.interval.0, pair.interval.1],
        "p_value": pair.test.map(|test| test.p_value),
    })
}

impl Suite {
    fn row(&self, detector: &str) -> Option<&Row> {
        self.detectors.iter().find(|row| row.detector == detector)
    }

    /// The best mean of a measure; `None` when it is nowhere defined.
    fn best(&self, measure: usize) -> Option<f64> {
        let better = |best: f64, mean: f64| {
            if MEASURES[measure].is_better(mean, best) { mean } else { best }
        };
        self.detectors.iter().filter_map(|row| row.mean(measure)).reduce(better)
    }

    fn write_table(&self, text: &mut String) {
        let shown: Vec<usize> =
            (0..MEASURES.len()).filter(|measure| self.best(*measure).is_some()).collect();
        let _ = write!(text, "| {} ({} series) |", cell(&self.name), self.series.len());
        for measure in &shown {
            let _ = write!(text, " {} |", MEASURES[*measure].title);
        }
        let _ = writeln!(text, "\n| --- |{}", " --- |".repeat(shown.len()));
        for row in &self.detectors {
            let _ = write!(text, "| {} |", cell(&row.detector));
            for measure in &shown {
                let _ = write!(text, " {} |", self.figure(row, *measure));
            }
            text.push('\n');
        }
    }

    /// A mean as it is shown; as good as the best to the digits shown is the best.
    fn figure(&self, row: &Row, measure: usize) -> String {
        let shown = |mean: f64| format!("{mean:.*}", MEASURES[measure].decimals);
        let spread = row.deviation(measure).map_or(String::new(), |d| format!(" ± {}", shown(d)));
        match (row.mean(measure).map(shown), self.best(measure).map(shown)) {
            (None, _) => "–".to_owned(),
            (Some(mean), Some(best)) if mean == best => format!("**{mean}**{spread}"),
            (Some(mean), _) => format!("{mean}{spread}"),
        }
    }

    fn row_json(&self, row: &Row) -> Value {
        let measures: Map<String, Value> = MEASURES
            .iter()
            .enumerate()
            .map(|(at, measure)| (measure.name.to_owned(), self.measure_json(row, at)))
            .collect();
        json!({ "detector": row.detector, "measures": measures })
    }

    fn measure_json(&self, row: &Row, measure: usize) -> Value {
        let mean = row.mean(measure);
        let values = row.column(measure);
        let by_series: Map<String, Value> =
            self.series.iter().cloned().zip(values.iter().map(|value| json!(value))).collect();
        json!({
            "mean": mean,
            "deviation": row.deviation(measure),
            "n": values.iter().filter(|value| value.is_finite()).count(),
            "best": mean.is_some() && mean == self.best(measure),
            "by_series": by_series,
        })
    }
}

impl Row {
    /// One value a series, the mean over the seeds; NaN where it is not defined.
    fn column(&self, measure: usize) -> Vec<f64> {
        let over_seeds = |runs: &BTreeMap<u64, Values>| {
            mean(runs.values().map(|values| values[measure])).unwrap_or(f64::NAN)
        };
        self.runs.iter().map(over_seeds).collect()
    }

    fn mean(&self, measure: usize) -> Option<f64> {
        mean(self.column(measure).into_iter())
    }

    fn deviation(&self, measure: usize) -> Option<f64> {
        let seeds: BTreeSet<u64> = self.runs.iter().flat_map(|runs| runs.keys().copied()).collect();
        let of_seed = |seed: &u64| {
            mean(self.runs.iter().filter_map(|runs| runs.get(seed)).map(|values| values[measure]))
        };
        let means: Vec<f64> = seeds.iter().filter_map(of_seed).collect();
        let middle = mean(means.iter().copied()).filter(|_| means.len() > 1)?;
        let squares: f64 = means.iter().map(|mean| (mean - middle).powi(2)).sum();
        Some((squares / (means.len() - 1) as f64).sqrt())
    }
}

/// Of the values that are numbers; `None` without any.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let defined: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    (!defined.is_empty()).then(|| defined.iter().sum::<f64>() / defined.len() as f64)
}

impl Measure {
    /// A page about what the columns say, in Markdown.
    pub fn legend() -> String {
        let lines =
            MEASURES.iter().map(|measure| format!("- {}: {}\n", measure.title, measure.doc));
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AlarmMetrics, EventMetrics, Naming, PointMetrics, Report};

    fn trial(vus_pr: f64, false_per_week: Option<f64>) -> Trial {
        let report = Report {
            points: PointMetrics { vus_pr: Some(vus_pr), ..PointMetrics::default() },
            events: EventMetrics::default(),
            alarms: AlarmMetrics { false_per_week, ..AlarmMetrics::default() },
            outcomes: Vec::new(),
        };
        Trial { report, naming: Naming::default(), train_seconds: None, score_seconds: None }
    }

    fn run<'a>(series: &'a str, detector: &'a str) -> Run<'a> {
        Run { suite: "servers", series, detector, seed: 1 }
    }

    fn comparison() -> Comparison {
        let mut comparison = Comparison::new();
        for (at, series) in ["a", "b", "c"].into_iter().enumerate() {
            let base = 0.25 * at as f64;
            comparison.record(run(series, "ours"), &trial(base + 0.25, Some(7.0)));
            comparison.record(run(series, "l|2"), &trial(base, Some(3.5)));
        }
        comparison.record(run("a", "new"), &trial(0.5, None));
        comparison
    }

    #[test]
    fn a_table_marks_the_best_of_each_column() {
        insta::assert_snapshot!(comparison().to_markdown(Some("ours")), @r"
        | servers (3 series) | VUS-PR | false alarms a day |
        | --- | --- | --- |
        | ours | **0.500** | 1.00 |
        | l\|2 | 0.250 | **0.50** |
        | new | **0.500** | – |

        | VUS-PR of ours ahead of | by | 95 % interval | p |
        | --- | --- | --- | --- |
        | l\|2 | +0.250 | +0.250 to +0.250 | 0.250 |
        | new | -0.250 | -0.250 to -0.250 | 1.000 |
        ");
    }

    #[test]
    fn scripts_read_the_same_figures() {
        let json = comparison().to_json();
        let suite = &json["suites"][0];
        let ours = &suite["detectors"][0]["measures"];
        assert_eq!(ours["vus_pr"]["mean"], 0.5);
        assert_eq!(ours["vus_pr"]["by_series"]["c"], 0.75);
        assert_eq!(
            (&ours["false_alarms_per_day"]["best"], &ours["auc_pr"]["mean"]),
            (&json!(false), &Value::Null)
        );
        assert_eq!(suite["vus_pr_pairs"][0]["p_value"], 0.25);
        assert_eq!(suite["vus_pr_pairs"].as_array().unwrap().len(), 6);
    }

    #[test]
    fn a_later_report_replaces_an_earlier_one() {
        let mut comparison = comparison();
        comparison.record(run("a", "new"), &trial(0.1, None));
        assert_eq!(comparison.mean("servers", "new", "vus_pr"), Some(0.1));
        assert_eq!(comparison.mean("servers", "new", "auc_pr"), None);
        assert_eq!(comparison.mean("elsewhere", "new", "vus_pr"), None);
        assert!(comparison.paired("servers", "vus_pr", "ours", "nobody").is_none());
        assert_eq!(Comparison::new().to_markdown(None), "");
    }

    #[test]
    fn seeds_are_averaged_and_their_spread_is_told() {
        let mut comparison = Comparison::new();
        for (seed, value) in [(1, 0.3), (2, 0.4), (3, 0.5)] {
            for (series, more) in [("a", 0.0), ("b", 0.2)] {
                comparison.record(Run { seed, ..run(series, "ours") }, &trial(value + more, None));
            }
        }
        comparison.record(run("a", "theirs"), &trial(0.1, None));
        let close = |found: Option<f64>, to: f64| (found.unwrap() - to).abs() < 1e-12;
        assert!(close(comparison.mean("servers", "ours", "vus_pr"), 0.5));
        assert!(close(comparison.deviation("servers", "ours", "vus_pr"), 0.1));
        assert_eq!(comparison.deviation("servers", "theirs", "vus_pr"), None);
        assert_eq!(comparison.deviation("servers", "ours", "auc_pr"), None);
        let pair = comparison.paired("servers", "vus_pr", "ours", "theirs").unwrap();
        assert!(pair.n == 1 && (pair.mean_difference - 0.3).abs() < 1e-12, "{pair:?}");
        let table = comparison.to_markdown(None);
        assert!(table.contains("| ours | **0.500** ± 0.100 |"), "{table}");
        assert!(table.contains("| theirs | 0.100 |"), "{table}");
    }

    #[test]
    fn every_measure_has_its_line_in_the_legend() {
        assert_eq!(Measure::legend().lines().count(), MEASURES.len());
    }
}
