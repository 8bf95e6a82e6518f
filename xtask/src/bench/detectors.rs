//! The default detector beside all others on labelled data, each trained with three seeds.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::comparison::{Against, Comparison};
use super::demo;
use crate::process;
use crate::workspace::Workspace;

pub(super) const NAME: &str = "detectors";

const OURS: &str = "masked";
const SEEDS: &str = "1,2,3";

/// What is told of each pair, with its unit. The ratio is above 1 where ours is better.
const MEASURES: [(&str, &str); 6] = [
    ("vus_pr", "VUS-PR"),
    ("best_event_f1", "F1"),
    ("event_recall", "recall"),
    ("false_alarms_per_day", "alarms"),
    ("train_seconds", "s"),
    ("score_seconds", "s"),
];

/// Data to judge on, as `oddns eval --suite` takes them.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) layout: String,
    pub(crate) data: Vec<PathBuf>,
}

/// One comparison for each measure and each other detector; spread is the standard deviation of
/// ours over the seeds.
pub(super) fn run(workspace: &Workspace, suite: &Suite) -> Result<Vec<Comparison>> {
    if suite.data.is_empty() {
        bail!("nothing to judge on: name a folder with `--data`");
    }
    let mut eval = Command::new(demo::build(workspace)?);
    eval.args(["eval", "--suite", &suite.layout, "--seeds", SEEDS, "--output=json"]);
    for folder in &suite.data {
        eval.arg("--data").arg(folder);
    }
    let report = process::output(&mut eval)?;
    compared(&serde_json::from_str(&report).context("`oddns eval` printed no JSON")?)
}

fn compared(report: &Value) -> Result<Vec<Comparison>> {
    let mut found = vec![];
    for suite in report["suites"].as_array().context("no `suites` in the report")? {
        let detectors = suite["detectors"].as_array().context("no `detectors` in a suite")?;
        let ours = detectors.iter().find(|detector| detector["detector"] == OURS);
        let ours = ours.context("the default detector is not in the report")?;
        for other in detectors.iter().filter(|detector| detector["detector"] != OURS) {
            let pairs = MEASURES.iter().filter_map(|measure| pair(suite, *measure, ours, other));
            found.extend(pairs);
        }
    }
    Ok(found)
}

/// `None` where a measure is not defined.
fn pair(
    suite: &Value,
    (measure, unit): (&str, &'static str),
    ours: &Value,
    other: &Value,
) -> Option<Comparison> {
    let mean = |detector: &Value| detector["measures"][measure]["mean"].as_f64();
    let (own, theirs) = (mean(ours)?, mean(other)?);
    let less_is_better = ["s", "alarms"].contains(&unit);
    let ratio = if less_is_better { theirs / own } else { own / theirs };
    Some(Comparison {
        case: format!("{}, {measure}", suite["suite"].as_str()?),
        ours: own,
        unit,
        spread: ours["measures"][measure]["deviation"].as_f64(),
        against: Against::Peer {
            name: other["detector"].as_str()?.to_owned(),
            theirs,
            ratio,
            least: None,
        },
        roof: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_other_detector_is_a_comparison_by_each_measure() {
        let detector = |name: &str, vus: f64, seconds: f64| {
            json!({ "detector": name, "measures": {
                "vus_pr": { "mean": vus, "deviation": 0.01 },
                "best_event_f1": { "mean": null, "deviation": null },
                "train_seconds": { "mean": seconds, "deviation": null },
            } })
        };
        let detectors = [detector("masked", 0.5, 2.0), detector("l2", 0.25, 1.0)];
        let report = json!({ "suites": [{ "suite": "smd", "detectors": detectors }] });
        let found = compared(&report).unwrap();
        let lines: Vec<Value> = found.iter().map(|line| line.to_json(NAME)).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["case"], &lines[0]["peer"]), (&json!("smd, vus_pr"), &json!("l2")));
        assert_eq!((&lines[0]["ratio"], &lines[0]["spread"]), (&json!(2.0), &json!(0.01)));
        assert_eq!((&lines[1]["ratio"], &lines[1]["spread"]), (&json!(0.5), &Value::Null));
        assert!(compared(&json!({})).is_err());
    }
}
