//! Between detectors, which know nothing of files, and the registry, which knows nothing of
//! detectors.

use oddns::{Detector, Gate, GateCheck, Updated};
use oddns_core::Timestamp;
use oddns_store::{GateFigure, GenerationRecord};

/// Notes of one sort that are written down.
const MOST_NOTES: usize = 20;

/// The record of a model that nobody compared, made at `at` by `by`; `bytes` is its file.
pub fn generation_record(
    bytes: &[u8],
    detector: &Detector,
    by: String,
    at: Timestamp,
) -> GenerationRecord {
    let record = detector.record();
    GenerationRecord {
        by,
        range_millis: record.range.map(|range| (range.0.millis(), range.1.millis())),
        n_rows: record.n_rows,
        seed: record.seed,
        ..GenerationRecord::of(bytes, at)
    }
}

/// The record of a challenger, beside that of [`generation_record`].
pub fn challenger_record(
    record: GenerationRecord,
    parent: Option<u64>,
    updated: &Updated,
    gate: &Gate,
) -> GenerationRecord {
    GenerationRecord {
        parent,
        notes: update_notes(updated),
        gate: gate_figures(gate),
        passed: Some(gate.passed),
        reason: gate.reason(),
        ..record
    }
}

/// What a trial came to, as it is written down.
pub fn gate_figures(gate: &Gate) -> Vec<GateFigure> {
    let figure = |check: &GateCheck| GateFigure {
        name: check.name.to_owned(),
        champion: check.champion,
        challenger: check.challenger,
        limit: check.limit,
        n: check.n,
        passed: check.passed,
    };
    gate.checks.iter().map(figure).collect()
}

/// What was learned and what was not, a line each.
pub fn update_notes(updated: &Updated) -> Vec<String> {
    let mut notes = vec![format!(
        "of {} rows {} were learned; {} left out as alarmed or near an alarm, {} as called incidents, \
         {} as going on in one direction; {} old ones learned again",
        updated.n_rows_seen,
        updated.n_rows_learned,
        updated.n_rows_alarmed,
        updated.n_rows_incident,
        updated.n_rows_trending,
        updated.n_rows_kept,
    )];
    notes.extend(updated.new_normals.iter().take(MOST_NOTES).map(|new| {
        let moved: Vec<String> =
            new.moved.iter().map(|(name, by)| format!("{name} {by:+.1} sd")).collect();
        let days = new.stayed_seconds / 86_400.0;
        let (instance, since) = (&new.instance, new.since);
        format!("new normal on `{instance}` since {since}, {days:.1} days: {}", moved.join(", "))
    }));
    notes.extend(updated.trends.iter().take(MOST_NOTES).map(|trend| {
        let (feature, instance, since) = (&trend.feature, &trend.instance, trend.since);
        format!(
            "not learned: `{feature}` of `{instance}` goes on in one direction since {since}, by {:+.1} sd",
            trend.moved
        )
    }));
    if updated.raised > 1.0 {
        let by = 100.0 * (updated.raised - 1.0);
        notes.push(format!("the alarm line lies {by:.0} % higher, above all quiet rows"));
    }
    if updated.n_precedents > 0 {
        notes.push(format!("{} pattern(s) out of feedback", updated.n_precedents));
    }
    let unused = updated.unused.iter().take(MOST_NOTES);
    notes.extend(unused.map(|said| format!("feedback about times without data: {said}")));
    notes
}
