//! Between detectors, which know nothing of files, and the registry, which knows nothing of
//! detectors.

use oddns::{Detector, Feedback, Gate, Injection, UnknownVerdict, Updated};
use oddns_collect::wall_clock;
use oddns_core::Timestamp;
use oddns_serve::{challenger_record, gate_figures, generation_record};
use oddns_sim::{FAULTS, Sign};
use oddns_store::{FeedbackLine, GateFigure, Generation, GenerationRecord};
use serde_json::{Value, json};

/// Every fault of the table that CoreDNS's metrics show, as what it moves.
pub(crate) fn fault_suite() -> Vec<Injection> {
    let sign = |sign: Sign| if sign == Sign::Up { 1.0 } else { -1.0 };
    let injection = |fault: &oddns_sim::Fault| Injection {
        name: fault.name.to_owned(),
        moves: fault.features.iter().map(|(name, way)| ((*name).to_owned(), sign(*way))).collect(),
    };
    FAULTS.iter().filter(|fault| fault.anomalous && fault.visible).map(injection).collect()
}

pub(crate) fn feedback(lines: Vec<FeedbackLine>) -> Result<Vec<Feedback>, UnknownVerdict> {
    let feedback = |line: FeedbackLine| {
        let FeedbackLine { start, end, instance, verdict } = line;
        Ok(Feedback { start, end, instance, verdict: verdict.parse()? })
    };
    lines.into_iter().map(feedback).collect()
}

/// The record of a model that nobody compared.
pub(crate) fn record(bytes: &[u8], detector: &Detector, by: String) -> GenerationRecord {
    generation_record(bytes, detector, by, wall_clock())
}

/// The record of a challenger.
pub(crate) fn challenger(
    bytes: &[u8],
    parent: Option<u64>,
    updated: &Updated,
    gate: &Gate,
) -> GenerationRecord {
    let record = record(bytes, &updated.detector, format!("oddns update, {}", person()));
    challenger_record(record, parent, updated, gate)
}

pub(crate) fn generation_json(generation: &Generation) -> Value {
    let record = &generation.record;
    let time = |millis: i64| Timestamp::from_millis(millis).to_string();
    json!({
        "generation": generation.number,
        "champion": generation.is_champion,
        "made": time(record.made_millis),
        "by": record.by,
        "parent": record.parent,
        "from": record.range_millis.map(|range| time(range.0)),
        "until": record.range_millis.map(|range| time(range.1)),
        "rows": record.n_rows,
        "seed": record.seed,
        "sha256": record.sha256,
        "passed": record.passed,
        "reason": record.reason,
        "notes": record.notes,
        "gate": record.gate.iter().map(figure_json).collect::<Vec<_>>(),
    })
}

pub(crate) fn gate_json(gate: &Gate) -> Value {
    gate_figures(gate).iter().map(figure_json).collect()
}

fn figure_json(figure: &GateFigure) -> Value {
    json!({
        "name": figure.name,
        "champion": figure.champion,
        "challenger": figure.challenger,
        "limit": figure.limit,
        "n": figure.n,
        "passed": figure.passed,
    })
}

/// One figure of a gate as a line for people.
pub(crate) fn figure_line(figure: &GateFigure) -> String {
    let passed = if figure.passed { "passed" } else { "failed" };
    format!(
        "  {:<24} champion {:>7.3}  challenger {:>7.3}  limit {:>7.3}  of {:.4}  {passed}",
        figure.name, figure.champion, figure.challenger, figure.limit, figure.n
    )
}

pub(crate) fn gate_lines(gate: &Gate) -> Vec<String> {
    gate_figures(gate).iter().map(figure_line).collect()
}

/// Who runs the command, as far as the system says.
pub(crate) fn person() -> String {
    std::env::var("USER").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".into())
}
