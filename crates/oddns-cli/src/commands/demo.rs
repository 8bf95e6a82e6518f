//! `oddns demo`: the main job on a recording that the program brings along.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use oddns::core::{Frame, Timestamp};
use oddns::{Detector, IncidentEvent, Scored, State, Step, TrainOptions, score_frame};
use oddns_core::Incident;
use oddns_eval::{EventOutcome, Report, told};
use oddns_serve::{ModelInfo, Shared, Truth, View};
use oddns_store::{
    Dataset, HistoryFilter, LabelledInterval, ScoreRow, incident_json, read_history_bytes,
    read_labels_text,
};
use serde_json::json;

use crate::args::{Demo, Output};
use crate::commands::eval;
use crate::data::{Instance, of_one_fleet};
use crate::{model_file, output, progress};

/// A recording embedded in the program.
struct Bundled {
    name: &'static str,
    parquet: &'static [u8],
    dataset: &'static str,
    labels: &'static str,
}

macro_rules! bundled {
    ($name:literal) => {
        Bundled {
            name: $name,
            parquet: include_bytes!(concat!(
                "../../data/",
                $name,
                "/day=2026-11-22/part-0.parquet"
            )),
            dataset: include_str!(concat!("../../data/", $name, "/dataset.json")),
            labels: include_str!(concat!("../../data/", $name, "/labels.csv")),
        }
    };
}

const NORMAL: Bundled = bundled!("coredns-normal");
const FAULTS: Bundled = bundled!("coredns-faults");

/// What no detector on CoreDNS's metrics can see; see the documentation on causes.
const INVISIBLE: &str = "Not visible in CoreDNS's metrics at all, so not in the recording: the \
                         5-second conntrack race, stale conntrack entries after a pod is deleted, \
                         packets lost in the kernel.";

/// Everything the demo found out.
struct Found {
    detector: Arc<Detector>,
    instances: Vec<(Instance, Scored)>,
    labels: Vec<LabelledInterval>,
    report: Report,
    train_seconds: f64,
    score_seconds: f64,
}

pub(crate) fn run(args: &Demo) -> anyhow::Result<()> {
    let text = args.output.output == Output::Text;
    // The port first: nobody wants to wait for a page that cannot be served.
    let runtime = tokio::runtime::Runtime::new().context("cannot start the page's threads")?;
    let listener = match args.once {
        true => None,
        false => Some(runtime.block_on(super::watch::bind(args.listen_address))?),
    };
    if text {
        introduce();
    }
    let found = find()?;
    if text {
        print(&found);
    } else {
        output::json(&as_json(&found));
    }
    let Some(listener) = listener else { return Ok(()) };
    let address = listener.local_addr().context("cannot tell the page's address")?;
    if text {
        output::line(format!("\npage: http://{address}/  (Ctrl-C ends it)"));
    }
    let shared = Shared::new(view(&found)?);
    measure(&found, &shared);
    runtime.block_on(async {
        oddns_serve::run(listener, shared, crate::signals::interrupted()).await;
    });
    Ok(())
}

fn introduce() {
    output::line("Two real CoreDNS 1.15.0 servers, every metric recorded each second.");
    output::line("Learning what is normal from one recording of 50 minutes without faults …");
}

fn find() -> anyhow::Result<Found> {
    let start = Instant::now();
    let normal = read(&NORMAL, true)?;
    let frames: Vec<&Frame> = normal.iter().map(|instance| &instance.frame).collect();
    let (bar, mut show) = progress::training();
    let detector = Arc::new(Detector::fit(&frames, &TrainOptions::default(), &mut show)?);
    bar.finish_and_clear();
    let train_seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let mut instances = Vec::new();
    let mut rows = Vec::new();
    for instance in read(&FAULTS, false)? {
        let scored = score_frame(&detector, &instance.name, &instance.frame)?;
        rows.extend(scored.scores.iter().map(|score| ScoreRow {
            time: score.time,
            instance: instance.name.clone(),
            score: score.score,
            alarm: score.alarm,
            top_features: Vec::new(),
        }));
        instances.push((instance, scored));
    }
    let labels = read_labels_text(FAULTS.name, FAULTS.labels)?;
    let report = eval::report(&rows, &labels)?;
    let score_seconds = start.elapsed().as_secs_f64();
    Ok(Found { detector, instances, labels, report, train_seconds, score_seconds })
}

fn read(bundled: &Bundled, only_normal: bool) -> anyhow::Result<Vec<Instance>> {
    let dataset: Dataset = serde_json::from_str(bundled.dataset)?;
    let filter = HistoryFilter {
        since: dataset.normal_from,
        until: dataset.normal_until.filter(|_| only_normal),
        instance: None,
    };
    let history = read_history_bytes(bundled.name, bundled.parquet, &filter)?;
    Ok(of_one_fleet(history.recordings))
}

impl Found {
    fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.instances.iter().flat_map(|(_, scored)| &scored.incidents)
    }

    /// Start of the first thing that was injected.
    fn first_label(&self) -> Option<Timestamp> {
        self.labels.iter().map(|label| label.start).min()
    }

    /// Rows before anything was injected, and how many of them alarmed.
    fn quiet(&self) -> (usize, usize) {
        let until = self.first_label();
        let quiet = self.instances.iter().flat_map(|(_, scored)| &scored.scores);
        let quiet = quiet.filter(|score| until.is_none_or(|until| score.time < until));
        quiet.fold((0, 0), |(n, alarmed), score| (n + 1, alarmed + usize::from(score.alarm)))
    }

    /// Whether the alarm of something earlier still held when the interval began.
    fn already_alarmed(&self, outcome: &EventOutcome) -> bool {
        self.instances.iter().any(|(_, scored)| {
            let before = scored.scores.partition_point(|s| s.time < outcome.interval.start);
            before > 0 && scored.scores[before - 1].alarm
        })
    }

    /// The incident that tells of an interval.
    fn told(&self, outcome: &EventOutcome) -> Option<&Incident> {
        told(self.incidents(), &outcome.interval)
    }
}

fn print(found: &Found) {
    let record = found.detector.record();
    output::line(format!(
        "learned {} features from {} rows in {:.1} s; scored {} rows in {:.1} s\n",
        found.detector.columns().len(),
        record.n_rows,
        found.train_seconds,
        found.instances.iter().map(|(_, scored)| scored.scores.len()).sum::<usize>(),
        found.score_seconds
    ));
    output::line("Incidents in the other recording (UTC):\n");
    for group in output::groups(found.incidents()) {
        group.print(&found.detector);
        output::line("");
    }
    print_against_truth(found);
}

fn print_against_truth(found: &Found) {
    output::line("Against what was really injected:\n");
    output::line(format!(
        "{:<10}{:<22}{:<14}{:>6}  {}",
        "at", "injected", "found after", "peak", "told as"
    ));
    for outcome in &found.report.outcomes {
        let after = match outcome.delay_seconds {
            None => "MISSED".to_owned(),
            Some(_) if found.already_alarmed(outcome) => "alarm held *".to_owned(),
            Some(delay) => output::span(delay),
        };
        let told = found.told(outcome).filter(|_| outcome.caught());
        output::line(format!(
            "{:<10}{:<22}{after:<14}{:>6.1}  {}",
            outcome.interval.start.clock(),
            outcome.interval.kind,
            outcome.peak_score.unwrap_or(0.0),
            told.map_or("", |incident| incident.cause.name)
        ));
    }
    let (events, alarms) = (found.report.events, found.report.alarms);
    let benign: Vec<&str> =
        found.labels.iter().filter(|label| !label.anomalous).map(|l| l.kind.as_str()).collect();
    let (n_quiet, n_alarmed) = found.quiet();
    output::line(format!("\nfound {} of {} faults", events.n_caught, events.n_observed));
    output::line("* the alarm of something earlier still held when this began");
    output::line(format!("quiet part: {n_alarmed} of {n_quiet} rows alarmed"));
    output::line(format!("false alarms later: {}", alarms.n_false));
    output::line(format!("benign changes ({}): {} alarm(s)", benign.join(", "), alarms.n_benign));
    output::line(format!("\n{INVISIBLE}"));
}

fn as_json(found: &Found) -> serde_json::Value {
    let (n_quiet, n_alarmed) = found.quiet();
    let told = |outcome: &EventOutcome| {
        let told = found.told(outcome).filter(|_| outcome.caught());
        let others = told.iter().flat_map(|incident| &incident.alternatives);
        json!({
            "kind": outcome.interval.kind,
            "told_as": told.map(|incident| incident.cause.name),
            "or": others.map(|cause| cause.name).collect::<Vec<_>>(),
            "already_alarmed": found.already_alarmed(outcome),
        })
    };
    json!({
        "train_seconds": found.train_seconds,
        "score_seconds": found.score_seconds,
        "features": found.detector.columns().len(),
        "rows_trained": found.detector.record().n_rows,
        "quiet": { "rows": n_quiet, "alarmed_rows": n_alarmed },
        "eval": eval::as_json(&found.report),
        "told": found.report.outcomes.iter().map(told).collect::<Vec<_>>(),
        "incidents": found.incidents().map(incident_json).collect::<Vec<_>>(),
    })
}

/// Fills the metrics as if the recording had been watched.
fn measure(found: &Found, shared: &Shared) {
    let features = shared.read(|view| view.features().to_vec());
    for (instance, scored) in &found.instances {
        for step in steps(&found.detector, instance, scored) {
            shared.metrics().stepped(&instance.name, &step, &features, Duration::ZERO);
        }
    }
}

/// What the page shows.
fn view(found: &Found) -> anyhow::Result<View> {
    let mut view = View::new("oddns demo: two recorded CoreDNS servers", false);
    view.set_model(ModelInfo::of(&found.detector, model_file::id(&found.detector)?));
    view.watch(found.instances.iter().map(|(instance, _)| instance.name.clone()));
    view.set_truths(found.labels.iter().map(truth).collect());
    for (instance, scored) in &found.instances {
        for step in steps(&found.detector, instance, scored) {
            view.push(&instance.name, &step);
        }
    }
    Ok(view)
}

fn truth(label: &LabelledInterval) -> Truth {
    Truth {
        kind: label.kind.clone(),
        start: label.start,
        end: label.end,
        instance: label.instance.clone(),
        anomalous: label.anomalous,
    }
}

/// The steps that a live pipeline would have gone through.
fn steps<'a>(
    detector: &Detector,
    instance: &'a Instance,
    scored: &'a Scored,
) -> impl Iterator<Item = Step> + 'a {
    let (needed, width) = (detector.warm_up_rows(), detector.columns().len());
    let closed = |time: Timestamp| {
        let ended = scored.incidents.iter().find(|incident| incident.end == Some(time))?;
        Some(IncidentEvent::Closed(ended.clone()))
    };
    scored.scores.iter().enumerate().map(move |(at, score)| {
        let warm = at >= needed;
        Step {
            time: score.time,
            row: instance.frame.row(at).to_vec(),
            expected: scored.expected[at * width..(at + 1) * width].to_vec(),
            state: match warm {
                true => State::Scoring,
                false => State::WarmingUp { seen: at + 1, needed: needed + 1 },
            },
            score: warm.then(|| score.clone()),
            incident: closed(score.time),
        }
    })
}
