//! One measured figure beside what it is held against.

use serde_json::{Value, json};

/// A figure of ours, and what it has to reach.
#[derive(Debug)]
pub(super) struct Comparison {
    /// What was measured.
    pub(super) case: String,
    /// Our figure; the median where there are several runs.
    pub(super) ours: f64,
    /// Of `ours` and what it is held against.
    pub(super) unit: &'static str,
    /// Largest minus smallest over the median, of `ours` or of the ratio to a peer; `None` for a
    /// single measurement.
    pub(super) spread: Option<f64>,
    pub(super) against: Against,
    /// Operations a second that the figure stands for, as a share of what the fastest matrix
    /// product reaches on the same cores.
    pub(super) roof: Option<f64>,
}

/// What a figure is held against.
#[derive(Debug)]
pub(super) enum Against {
    /// The most that it may be.
    Bar(f64),
    /// The least that it may be.
    Floor(f64),
    /// Another program's figure for the same work.
    Peer {
        name: String,
        theirs: f64,
        /// How many times ours is faster.
        ratio: f64,
        /// The least that the ratio may be.
        least: Option<f64>,
    },
}

/// One run of ours, and one of a peer's right after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) ours: f64,
    pub(super) theirs: f64,
    pub(super) roof: Option<f64>,
}

impl Comparison {
    /// A single measurement.
    pub(super) fn once(case: &str, ours: f64, unit: &'static str, bar: f64) -> Self {
        let against = Against::Bar(bar);
        Self { case: case.to_owned(), ours, unit, spread: None, against, roof: None }
    }

    /// The median of at least one run.
    pub(super) fn of_runs(case: &str, runs: Vec<f64>, unit: &'static str, bar: f64) -> Self {
        let (ours, spread) = median(runs);
        Self { spread: Some(spread), ..Self::once(case, ours, unit, bar) }
    }

    /// The medians of at least one round. The ratio is taken within each round, so that what else
    /// the machine does meets both sides.
    pub(super) fn of_rounds(
        case: &str,
        peer: &str,
        rounds: &[Round],
        unit: &'static str,
        least: Option<f64>,
    ) -> Self {
        let of = |take: fn(&Round) -> f64| median(rounds.iter().map(take).collect());
        let (ratio, spread) = of(|round| round.theirs / round.ours);
        let (ours, theirs) = (of(|round| round.ours).0, of(|round| round.theirs).0);
        let roof: Vec<f64> = rounds.iter().filter_map(|round| round.roof).collect();
        let roof = (!roof.is_empty()).then(|| median(roof).0);
        let against = Against::Peer { name: peer.to_owned(), theirs, ratio, least };
        Self { case: case.to_owned(), ours, unit, spread: Some(spread), against, roof }
    }

    /// As [`Comparison::of_runs`], of figures of which more is better.
    pub(super) fn of_rates(case: &str, runs: Vec<f64>, unit: &'static str, floor: f64) -> Self {
        Self { against: Against::Floor(floor), ..Self::of_runs(case, runs, unit, floor) }
    }

    /// As [`Comparison::of_rounds`], of figures of which more is better.
    pub(super) fn of_rate_rounds(
        case: &str,
        peer: &'static str,
        rounds: &[Round],
        unit: &'static str,
        least: Option<f64>,
    ) -> Self {
        let of = |take: fn(&Round) -> f64| median(rounds.iter().map(take).collect());
        let (ratio, spread) = of(|round| round.ours / round.theirs);
        let (ours, theirs) = (of(|round| round.ours).0, of(|round| round.theirs).0);
        let against = Against::Peer { name: peer.to_owned(), theirs, ratio, least };
        Self { case: case.to_owned(), ours, unit, spread: Some(spread), against, roof: None }
    }

    pub(super) fn holds(&self) -> bool {
        match self.against {
            Against::Bar(most) => self.ours <= most,
            Against::Floor(least) => self.ours >= least,
            Against::Peer { ratio, least, .. } => least.is_none_or(|least| ratio >= least),
        }
    }

    /// The line that scripts read; what a figure does not have is null.
    pub(super) fn to_json(&self, bench: &str) -> Value {
        let (peer, theirs, ratio, bar) = match &self.against {
            Against::Bar(bar) | Against::Floor(bar) => (None, None, None, Some(*bar)),
            Against::Peer { name, theirs, ratio, least } => {
                (Some(name), Some(*theirs), Some(*ratio), *least)
            }
        };
        json!({
            "bench": bench,
            "case": self.case,
            "ours": rounded(self.ours),
            "peer": peer,
            "theirs": theirs.map(rounded),
            "unit": self.unit,
            "ratio": ratio.map(rounded),
            "spread": self.spread.map(rounded),
            "bar": bar,
            "roof": self.roof.map(rounded),
        })
    }
}

/// Median and relative spread of at least one value.
fn median(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let median = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
    (median, (values[values.len() - 1] - values[0]) / median)
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
    fn a_peer_is_beaten_by_the_ratio_of_each_round() {
        let round = |ours, theirs| Round { ours, theirs, roof: Some(0.5) };
        let rounds = [round(1.0, 2.0), round(4.0, 12.0), round(1.0, 4.0)];
        let of = |least| Comparison::of_rounds("case", "peer", &rounds, "us", least);
        let line = of(None).to_json("model");
        assert_eq!((&line["ours"], &line["theirs"]), (&json!(1.0), &json!(4.0)));
        assert_eq!((&line["ratio"], &line["spread"]), (&json!(3.0), &json!(0.667)));
        assert_eq!((&line["peer"], &line["roof"]), (&json!("peer"), &json!(0.5)));
        assert!(of(None).holds() && of(Some(3.0)).holds() && !of(Some(3.1)).holds());
    }

    #[test]
    fn of_rates_more_is_better() {
        let rate = |floor| Comparison::of_rates("case", vec![7.5], "M/s", floor).holds();
        assert!(rate(7.0) && !rate(8.0) && !rate(f64::NAN));
        let rounds = [Round { ours: 6.0, theirs: 2.0, roof: None }];
        let of = |least| Comparison::of_rate_rounds("case", "peer", &rounds, "M/s", Some(least));
        assert_eq!(of(3.0).to_json("parse")["ratio"], 3.0);
        assert!(of(3.0).holds() && !of(3.1).holds());
    }

    #[test]
    fn the_line_has_every_key_that_scripts_expect() {
        let line = Comparison::once("case", 1.23456, "MiB", 60.0).to_json("demo");
        let keys = ["bench", "case", "ours", "peer", "theirs", "unit", "ratio", "spread", "bar"];
        assert!(keys.iter().all(|key| line.get(key).is_some()));
        assert_eq!(line["ours"], 1.235);
    }
}
