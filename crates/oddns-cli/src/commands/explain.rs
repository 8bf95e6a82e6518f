//! `oddns explain`.

use oddns::{Detector, Diagnosis, Scored, diagnose, score_frame};
use oddns_core::{Cause, Contribution, Incident, Score, Timestamp};
use oddns_store::incident_json;
use serde_json::{Value, json};

use crate::args::{Explain, Output};
use crate::data::Instance;
use crate::exit::BadInput;
use crate::heat_map::{Moment, draw};
use crate::picture::Format;
use crate::{data, model_file, output};

/// How long after the last row an instant is still about it, in intervals between rows.
const MAX_INTERVALS_AFTER: f64 = 20.0;

pub(crate) fn run(args: &Explain) -> anyhow::Result<()> {
    // A wrong extension is told before the work, not after it.
    let format = args.plot.as_deref().map(Format::of).transpose()?;
    let detector = model_file::read(&args.model)?;
    let instances = data::read(&args.data, &args.selection)?;
    data::check_against(&args.data, &instances, &detector)?;
    check_span(&instances, args.at, &detector)?;
    let mut scored = Vec::new();
    for instance in &instances {
        let history = score_frame(&detector, &instance.name, &instance.frame)?;
        match history.scores.iter().rposition(|score| score.time <= args.at) {
            Some(at) => scored.push((instance, history, at)),
            None if instances.len() == 1 => return Err(before(instance, args.at).into()),
            None => {}
        }
    }
    let moments: Vec<Moment<'_>> = scored
        .iter()
        .map(|(instance, history, at)| moment(&detector, instance, history, *at))
        .collect();
    match args.output.output {
        Output::Text => moments.iter().for_each(print),
        Output::Json => output::json(&moments.iter().map(as_json).collect()),
    }
    if let (Some(path), Some(format), Some(moment)) = (&args.plot, format, oddest(&moments)) {
        format.write(&draw(*moment), path)?;
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

fn moment<'a>(
    detector: &'a Detector,
    instance: &'a Instance,
    scored: &'a Scored,
    at: usize,
) -> Moment<'a> {
    let time = scored.scores[at].time;
    let goes_on = |i: &&Incident| i.start <= time && i.end.is_none_or(|end| time <= end);
    Moment { detector, instance, scored, at, incident: scored.incidents.iter().find(goes_on) }
}

fn oddest<'a, 'b>(moments: &'b [Moment<'a>]) -> Option<&'b Moment<'a>> {
    moments.iter().max_by(|a, b| a.score().score.total_cmp(&b.score().score))
}

impl Moment<'_> {
    fn score(&self) -> &Score {
        &self.scored.scores[self.at]
    }

    fn warming_up(&self) -> bool {
        self.at < self.detector.warm_up_rows()
    }

    /// The likeliest causes, of the incident or of an odd row that is part of none. A normal row
    /// has no cause.
    fn causes(&self) -> Vec<Cause> {
        let ranked = |Diagnosis { cause, alternatives }: Diagnosis| {
            std::iter::once(cause).chain(alternatives).collect()
        };
        match self.incident.cloned() {
            Some(Incident { cause, alternatives, .. }) => ranked(Diagnosis { cause, alternatives }),
            None if self.score().score > 1.0 => ranked(self.diagnosis()),
            None => Vec::new(),
        }
    }

    /// What the row alone tells.
    fn diagnosis(&self) -> Diagnosis {
        let row = self.instance.frame.row(self.at);
        let deviations = &self.scored.deviation[self.at * row.len()..];
        let columns = self.detector.columns().iter().zip(row);
        let moved: Vec<(&str, f32)> = columns
            .zip(deviations)
            .filter(|((_, value), _)| !value.is_nan())
            .map(|((column, _), deviation)| (column.name.as_str(), *deviation))
            .collect();
        diagnose(&moved)
    }
}

/// Which way a feature moved: `missing` where it has no value.
fn direction(contribution: &Contribution) -> &'static str {
    match contribution {
        c if c.observed.is_nan() => "missing",
        c if c.deviation < 0.0 => "down",
        _ => "up",
    }
}

fn as_json(moment: &Moment<'_>) -> Value {
    let score = moment.score();
    let contribution = |c: &Contribution| {
        let column = &moment.detector.columns()[c.feature];
        json!({
            "feature": column.name,
            "doc": column.doc,
            "unit": column.unit,
            "observed": output::number(c.observed),
            "expected": output::number(c.expected),
            "deviation": output::number(c.deviation),
            "direction": direction(c),
            "share": output::number(c.share),
        })
    };
    json!({
        "instance": moment.instance.name,
        "timestamp": score.time.to_string(),
        "score": output::number(score.score),
        "alarm": score.alarm,
        "warming_up": moment.warming_up(),
        "latent_cluster": moment.scored.clusters[moment.at],
        "contributions": score.contributions.iter().map(contribution).collect::<Vec<_>>(),
        "causes": moment.causes().iter().map(cause_json).collect::<Vec<_>>(),
        "incident": moment.incident.map(incident_json),
    })
}

fn cause_json(cause: &Cause) -> Value {
    json!({
        "name": cause.name,
        "summary": cause.summary,
        "confidence": output::number(cause.confidence),
        "next_steps": cause.next_steps,
    })
}

fn print(moment: &Moment<'_>) {
    let score = moment.score();
    let verdict = match (score.alarm, moment.warming_up()) {
        (_, true) => "no verdict yet: too few rows before it",
        (true, _) => "ALARM",
        (false, _) if score.score > 1.0 => "above the alarm line, no alarm yet or any more",
        _ => "normal",
    };
    let instance = &moment.instance.name;
    let name = if instance.is_empty() { String::new() } else { format!("{instance}  ") };
    output::line(format!("{name}{}  score {:.2}  {verdict}", score.time, score.score));
    print_contributions(moment);
    if let Some(cluster) = moment.scored.clusters[moment.at] {
        output::line(format!("  nearest cluster of normal operation: {cluster}"));
    }
    for group in output::groups(moment.incident.into_iter()) {
        output::line("part of the incident:");
        group.print_when();
        group.print_moved(moment.detector);
    }
    print_causes(&moment.causes());
}

fn print_contributions(moment: &Moment<'_>) {
    output::line(format!(
        "  {:<36} {:>12} {:>12}   {:>7} {:>6}",
        "feature", "expected", "observed", "sigmas", "share"
    ));
    for contribution in &moment.score().contributions {
        let column = &moment.detector.columns()[contribution.feature];
        let arrow = match direction(contribution) {
            "missing" => " ",
            "down" => "↓",
            _ => "↑",
        };
        output::line(format!(
            "  {:<36} {:>12} {:>12} {arrow} {:>+7.1} {:>5.0}%",
            column.name,
            output::of_column(contribution.expected, column),
            output::of_column(contribution.observed, column),
            contribution.deviation,
            100.0 * contribution.share
        ));
        if !column.doc.is_empty() {
            output::line(format!("      {}", column.doc));
        }
    }
}

fn print_causes(causes: &[Cause]) {
    let Some(first) = causes.first() else { return };
    output::line("likeliest causes:");
    for cause in causes {
        output::line(format!("  {} – {}", output::likely(cause), cause.summary));
    }
    output::line("next:");
    for step in first.next_steps {
        output::line(format!("  {step}"));
    }
}
