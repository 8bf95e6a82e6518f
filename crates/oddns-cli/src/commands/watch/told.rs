//! What `oddns watch` says of what happens.

use std::sync::Arc;

use oddns::{Detector, IncidentEvent, State};
use oddns_core::Score;
use oddns_serve::Event;
use oddns_store::incident_json;
use serde_json::json;
use tokio::sync::mpsc;

use crate::args::Output;
use crate::output;

/// Prints events until there will be no more.
pub(super) async fn tell(mut events: mpsc::Receiver<Event>, output: Output, model: Arc<Detector>) {
    while let Some(event) = events.recv().await {
        match output {
            Output::Text => print(&event, &model),
            Output::Json => print_json(&event, &model),
        }
    }
}

fn print(event: &Event, model: &Detector) {
    match event {
        Event::State { instance, time, state } => {
            output::line(format!("{} {instance} {state}", time.clock()));
        }
        Event::Score { instance, score } => output::line(score_line(instance, score, model)),
        Event::Incident(event) => {
            let what = match event {
                IncidentEvent::Opened(_) => "INCIDENT begins",
                IncidentEvent::Updated(_) => "INCIDENT, known better",
                IncidentEvent::Closed(_) => "INCIDENT over",
            };
            output::line(what);
            for group in output::groups(std::iter::once(event.incident())) {
                group.print(model);
            }
        }
        Event::ScrapeFailed { instance, time, error } => {
            output::line(format!("{} {instance} scrape failed: {error}", time.clock()));
        }
        Event::ScrapeRecovered { instance, time } => {
            output::line(format!("{} {instance} answers again", time.clock()));
        }
        Event::StorageFailed { error } => {
            output::line(format!("scrapes cannot be kept: {error}"));
        }
        Event::StorageRecovered => output::line("scrapes are kept again"),
        Event::StateLost { instance, reason } => {
            output::line(format!("{instance} goes on from the model alone: {reason}"));
        }
        Event::DiscoveryFailed { job, time, error } => {
            output::line(format!("{} job `{job}`: {error}", time.clock()));
        }
        Event::TargetGone { instance, time } => {
            output::line(format!("{} {instance} is gone", time.clock()));
        }
        Event::Notice { time, text } => output::line(format!("{} {text}", time.clock())),
        Event::Warning { time, text } => output::warning(format!("{} {text}", time.clock())),
        _ => {}
    }
}

fn score_line(instance: &str, score: &Score, model: &Detector) -> String {
    let odd = if score.alarm || score.score > 1.0 {
        let top = output::top_features(score, model.columns(), 3).join(", ");
        format!("  {}{top}", if score.alarm { "ALARM " } else { "" })
    } else {
        String::new()
    };
    format!("{} {instance} score {:.2}{odd}", score.time.clock(), score.score)
}

fn print_json(event: &Event, model: &Detector) {
    output::json(&match event {
        Event::State { instance, time, state } => json!({
            "event": "state", "instance": instance, "timestamp": time.to_string(),
            "state": state.name(), "detail": state.to_string(),
            "seen": match state { State::WarmingUp { seen, .. } => Some(seen), _ => None },
        }),
        Event::Score { instance, score } => json!({
            "event": "score", "instance": instance, "timestamp": score.time.to_string(),
            "score": score.score, "alarm": score.alarm,
            "top_features": output::top_features(score, model.columns(), 5),
        }),
        Event::Incident(event) => json!({
            "event": match event {
                IncidentEvent::Opened(_) => "incident_opened",
                IncidentEvent::Updated(_) => "incident_updated",
                IncidentEvent::Closed(_) => "incident_closed",
            },
            "incident": incident_json(event.incident()),
        }),
        Event::ScrapeFailed { instance, time, error } => json!({
            "event": "scrape_failed", "instance": instance, "timestamp": time.to_string(),
            "error": error,
        }),
        Event::StorageFailed { error } => json!({ "event": "storage_failed", "error": error }),
        Event::StorageRecovered => json!({ "event": "storage_recovered" }),
        Event::StateLost { instance, reason } => json!({
            "event": "state_lost", "instance": instance, "error": reason,
        }),
        Event::ScrapeRecovered { instance, time } => json!({
            "event": "scrape_recovered", "instance": instance, "timestamp": time.to_string(),
        }),
        Event::DiscoveryFailed { job, time, error } => json!({
            "event": "discovery_failed", "job": job, "timestamp": time.to_string(), "error": error,
        }),
        Event::TargetGone { instance, time } => json!({
            "event": "target_gone", "instance": instance, "timestamp": time.to_string(),
        }),
        Event::Notice { time, text } => json!({
            "event": "notice", "timestamp": time.to_string(), "text": text,
        }),
        Event::Warning { time, text } => json!({
            "event": "warning", "timestamp": time.to_string(), "text": text,
        }),
        _ => return,
    });
}
