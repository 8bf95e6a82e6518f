//! `oddns explain`.

use oddns::{Detector, Scored, score_frame};
use oddns_core::{Incident, Score, Timestamp};
use oddns_store::incident_json;
use serde_json::{Value, json};

use crate::args::{Explain, Output};
use crate::data::Instance;
use crate::exit::BadInput;
use crate::{data, model_file, output};

/// How long after the last row an instant is still about it, in intervals between rows.
const MAX_INTERVALS_AFTER: f64 = 20.0;

pub(crate) fn run(args: &Explain) -> anyhow::Result<()> {
    let detector = model_file::read(&args.model)?;
    let instances = data::read(&args.data, &args.selection)?;
    data::check_against(&args.data, &instances, &detector)?;
    check_span(&instances, args.at, &detector)?;
    let mut explained = Vec::new();
    for instance in &instances {
        let scored = score_frame(&detector, &instance.name, &instance.frame)?;
        match scored.scores.iter().rposition(|score| score.time <= args.at) {
            Some(at) => explained.push(tell(args, &detector, instance, &scored, at)),
            None if instances.len() == 1 => return Err(before(instance, args.at).into()),
            None => {}
        }
    }
    if args.output.output == Output::Json {
        output::json(&Value::Array(explained));
    }
    Ok(())
}

/// Refuses an instant that no instance has a row near: the last row of a record that ended long
/// before says nothing about it.
fn check_span(instances: &[Instance], at: Timestamp, detector: &Detector) -> anyhow::Result<()> {
    let times = || instances.iter().map(|instance| instance.frame.timestamps());
    let first = times().filter_map(|times| times.first()).min();
    let last = times().filter_map(|times| times.last()).max();
    let (Some(first), Some(last)) = (first, last) else { return Ok(()) };
    let interval = f64::from(detector.record().interval_seconds);
    let late = at.seconds_since(*last) > MAX_INTERVALS_AFTER * interval.max(1.0);
    if at < *first || late {
        let reason = format!("`--at` {at} is outside the data, which goes from {first} to {last}");
        return Err(BadInput(reason).into());
    }
    Ok(())
}

fn before(instance: &Instance, at: Timestamp) -> BadInput {
    let first = instance.frame.timestamps().first().map_or(String::new(), ToString::to_string);
    BadInput(format!("`--at` {at} is before the first row, {first}"))
}

/// Prints one instance's row for people; gives it for machines.
fn tell(
    args: &Explain,
    detector: &Detector,
    instance: &Instance,
    scored: &Scored,
    at: usize,
) -> Value {
    let score = &scored.scores[at];
    let incident = scored
        .incidents
        .iter()
        .find(|i| i.start <= score.time && i.end.is_none_or(|end| score.time <= end));
    if args.output.output == Output::Text {
        print(detector, &instance.name, score, incident, at);
    }
    let contribution = |c: &oddns_core::Contribution| {
        let column = &detector.columns()[c.feature];
        json!({
            "feature": column.name,
            "doc": column.doc,
            "unit": column.unit,
            "observed": finite(c.observed),
            "expected": finite(c.expected),
            "deviation": finite(c.deviation),
            "share": c.share,
        })
    };
    json!({
        "instance": instance.name,
        "timestamp": score.time.to_string(),
        "score": score.score,
        "alarm": score.alarm,
        "warming_up": at < detector.warm_up_rows(),
        "contributions": score.contributions.iter().map(contribution).collect::<Vec<_>>(),
        "incident": incident.map(incident_json),
    })
}

fn finite(value: f32) -> Option<f32> {
    value.is_finite().then_some(value)
}

fn print(
    detector: &Detector,
    instance: &str,
    score: &Score,
    incident: Option<&Incident>,
    at: usize,
) {
    let verdict = match (score.alarm, at < detector.warm_up_rows()) {
        (_, true) => "no verdict yet: too few rows before it",
        (true, _) => "ALARM",
        (false, _) if score.score > 1.0 => "above the alarm line, no alarm yet or any more",
        _ => "normal",
    };
    let name = if instance.is_empty() { String::new() } else { format!("{instance}  ") };
    output::line(format!("{name}{}  score {:.2}  {verdict}", score.time, score.score));
    output::line(format!(
        "  {:<36} {:>12} {:>12} {:>7} {:>6}",
        "feature", "expected", "observed", "sigmas", "share"
    ));
    for contribution in &score.contributions {
        let column = &detector.columns()[contribution.feature];
        output::line(format!(
            "  {:<36} {:>12} {:>12} {:>+7.1} {:>5.0}%",
            column.name,
            output::value(contribution.expected, &column.unit),
            output::value(contribution.observed, &column.unit),
            contribution.deviation,
            100.0 * contribution.share
        ));
        if !column.doc.is_empty() {
            output::line(format!("      {}", column.doc));
        }
    }
    for group in output::groups(incident.into_iter()) {
        output::line("part of the incident:");
        group.print(detector);
    }
}
