//! `oddns eval`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use oddns::{Detector, DetectorKind};
use oddns_eval::{Comparison, EvalConfig, EventOutcome, Interval, Report, ScoredPoint};
use oddns_store::{LabelledInterval, ScoreRow, read_labels, read_scores};
use serde_json::{Value, json};

use crate::args::{Eval, Layout, Output};
use crate::exit::BadUse;
use crate::fidelity::{self, Fidelity};
use crate::trial::Candidate;
use crate::{model_file, output, suite, trial};

pub(crate) fn run(args: &Eval) -> anyhow::Result<()> {
    let as_text = !args.json && args.output.output == Output::Text;
    // Either is there: the command line asks for one of them.
    if let (Some(scores), Some(labels)) = (&args.scores, &args.labels) {
        let report = report(&read_scores(scores)?, &read_labels(labels)?)?;
        if as_text { print(&report) } else { output::json(&as_json(&report)) }
    } else if args.suite == Some(Layout::Fidelity) {
        let fidelity = fidelity(args)?;
        if as_text { fidelity.print() } else { output::json(&fidelity.to_json()) }
    } else if let Some(layout) = args.suite {
        let comparison = compare(args, layout)?;
        let against = against(args)?;
        if as_text {
            output::line(comparison.to_markdown(Some(against.name())).trim_end());
        } else {
            output::json(&comparison.to_json());
        }
    }
    Ok(())
}

fn fidelity(args: &Eval) -> anyhow::Result<Fidelity> {
    let [real, made] = &args.data[..] else {
        let reason = "`--suite fidelity` takes two data sets: --data RECORDED --data SIMULATED";
        return Err(BadUse(reason.to_owned()).into());
    };
    fidelity::compare(real, made)
}

fn compare(args: &Eval, layout: Layout) -> anyhow::Result<Comparison> {
    against(args)?;
    let mut candidates: Vec<Candidate> =
        detectors(args).into_iter().map(Candidate::Trained).collect();
    if let Some(base) = &args.base {
        candidates.extend(of_elsewhere(args, &model_file::read(base)?));
    }
    let series = suite::read(layout, &args.data)?;
    trial::compare(&series, &candidates, &args.seeds)
}

/// A model of elsewhere, as it is and calibrated by more and more of what is normal.
fn of_elsewhere(args: &Eval, base: &Arc<Detector>) -> Vec<Candidate> {
    let lengths: BTreeSet<Duration> = args.calibrated_by.iter().copied().collect();
    let calibrated = lengths.into_iter().map(|by| Candidate::Calibrated(Arc::clone(base), by));
    [Candidate::AsItIs(Arc::clone(base))].into_iter().chain(calibrated).collect()
}

/// What is judged, each once.
fn detectors(args: &Eval) -> Vec<DetectorKind> {
    let all = args.detectors.is_empty() && args.base.is_none();
    if args.detectors.is_empty() && args.base.is_some() {
        return vec![DetectorKind::default()];
    }
    let asked = |kind: &DetectorKind| all || args.detectors.contains(kind);
    let mut found: Vec<DetectorKind> = DetectorKind::all().filter(asked).collect();
    // In the order asked for.
    found.sort_by_key(|kind| args.detectors.iter().position(|asked| asked == kind));
    found
}

fn against(args: &Eval) -> anyhow::Result<DetectorKind> {
    let detectors = detectors(args);
    let against = args.against.or(detectors.first().copied()).unwrap_or_default();
    if detectors.contains(&against) {
        return Ok(against);
    }
    let reason = format!("`--against {against}` is not judged: add `--detector {against}`");
    Err(BadUse(reason).into())
}

/// Judges scores by labels.
pub(crate) fn report(scores: &[ScoreRow], labels: &[LabelledInterval]) -> anyhow::Result<Report> {
    let point = |row: &'_ ScoreRow| (row.time, f64::from(row.score), row.alarm);
    let points: Vec<ScoredPoint<'_>> = scores
        .iter()
        .map(|row| {
            let (time, score, alarm) = point(row);
            ScoredPoint { time, instance: &row.instance, score, alarm }
        })
        .collect();
    let intervals: Vec<Interval> = labels.iter().map(interval).collect();
    Ok(Report::compute(&points, &intervals, &EvalConfig::default())?)
}

pub(crate) fn interval(label: &LabelledInterval) -> Interval {
    Interval {
        kind: label.kind.clone(),
        start: label.start,
        end: label.end,
        instance: label.instance.clone(),
        anomalous: label.anomalous,
    }
}

/// The report as scripts read it; what is not defined is null.
pub(crate) fn as_json(report: &Report) -> Value {
    let Report { points, events, alarms, outcomes } = report;
    json!({
        "points": {
            "n": points.n_points,
            "n_anomalous": points.n_anomalous,
            "auc_pr": points.auc_pr,
            "vus_pr": points.vus_pr,
            "best_f1": points.best_f1.map(|best| best.f1),
        },
        "events": {
            "n": events.n_observed,
            "caught": events.n_caught,
            "outside_scores": n_outside(report),
            "recall": events.recall,
            "precision": events.precision,
            "f1": events.f1,
            "median_delay_seconds": events.median_delay_seconds,
        },
        "alarms": {
            "false": alarms.n_false,
            "benign": alarms.n_benign,
            "quiet_seconds": alarms.quiet_seconds,
            "false_per_week": alarms.false_per_week,
            "quiet_alarmed_share": alarms.quiet_alarmed_share,
            "benign_alarmed_share": alarms.benign_alarmed_share,
        },
        "outcomes": outcomes.iter().map(outcome_json).collect::<Vec<_>>(),
    })
}

fn outcome_json(outcome: &EventOutcome) -> Value {
    json!({
        "kind": outcome.interval.kind,
        "start": outcome.interval.start.unix_seconds(),
        "end": outcome.interval.end.unix_seconds(),
        "instance": outcome.interval.instance.as_deref().unwrap_or("*"),
        "observed": outcome.observed,
        "caught": outcome.caught(),
        "delay_seconds": outcome.delay_seconds,
        "peak_score": outcome.peak_score,
    })
}

/// Labelled events that no score reaches into; they count neither as caught nor as missed.
fn n_outside(report: &Report) -> usize {
    report.outcomes.iter().filter(|outcome| !outcome.observed).count()
}

fn print(report: &Report) {
    let Report { points, events, alarms, outcomes } = report;
    for outcome in outcomes.iter().filter(|outcome| outcome.observed) {
        let verdict = match outcome.delay_seconds {
            Some(delay) => format!("found after {}", output::span(delay)),
            None => "missed".to_owned(),
        };
        let peak = outcome.peak_score.map_or(String::new(), |peak| format!("peak {peak:.2}"));
        let start = outcome.interval.start.clock();
        output::line(format!("{start}  {:<28} {verdict:<22} {peak}", outcome.interval.kind));
    }
    output::line(format!("events caught         {} of {}", events.n_caught, events.n_observed));
    if n_outside(report) > 0 {
        output::line(format!(
            "events left out       {}: no score of their instance and time",
            n_outside(report)
        ));
    }
    for (name, value) in [
        ("event precision", events.precision),
        ("event F1", events.f1),
        ("median delay (s)", events.median_delay_seconds),
        ("AUC-PR", points.auc_pr),
        ("VUS-PR", points.vus_pr),
        ("best point F1", points.best_f1.map(|best| best.f1)),
        ("false alarms per week", alarms.false_per_week),
        ("quiet time alarmed", alarms.quiet_alarmed_share),
    ] {
        let shown = value.map_or("not defined".to_owned(), |value| format!("{value:.3}"));
        output::line(format!("{name:<21} {shown}"));
    }
    output::line(format!("false alarms          {}", alarms.n_false));
    output::line(format!("alarms on benign      {}", alarms.n_benign));
}
