//! `oddns score`.

use std::path::Path;

use oddns::{Detector, Scored, score_frame};
use oddns_core::Incident;
use oddns_store::{ScoreRow, incident_json, write_incidents, write_scores};
use serde_json::json;

use crate::args::{Output, Score};
use crate::{data, model_file, output};

/// Features named in a row of scores.
const N_TOP_FEATURES: usize = 5;

pub(crate) fn run(args: &Score) -> anyhow::Result<()> {
    let inputs = [&args.model, &args.data];
    model_file::check_output(&args.out, inputs)?;
    args.incidents.as_deref().map_or(Ok(()), |path| model_file::check_output(path, inputs))?;
    let detector = model_file::read(&args.model)?;
    let instances = data::read(&args.data, &args.selection)?;
    data::check_against(&args.data, &instances, &detector)?;
    let (mut rows, mut incidents) = (Vec::new(), Vec::new());
    for instance in &instances {
        let scored = score_frame(&detector, &instance.name, &instance.frame)?;
        rows.extend(score_rows(&detector, &instance.name, &scored));
        incidents.extend(scored.incidents);
    }
    incidents.sort_by(|a, b| a.start.cmp(&b.start).then(a.instance.cmp(&b.instance)));
    write_scores(&args.out, &rows)?;
    if let Some(path) = &args.incidents {
        write_incidents(path, &incidents).inspect_err(|_| take_back(&args.out))?;
    }
    print(args, &detector, &rows, &incidents);
    Ok(())
}

/// Removes scores whose incidents could not be written: half a result must not pass for a whole one.
fn take_back(scores: &Path) {
    // Never a device such as `/dev/stdout`.
    if scores.is_file() {
        let _ = std::fs::remove_file(scores);
    }
}

fn score_rows(detector: &Detector, instance: &str, scored: &Scored) -> Vec<ScoreRow> {
    let row = |score: &oddns_core::Score| ScoreRow {
        time: score.time,
        instance: instance.to_owned(),
        score: score.score,
        alarm: score.alarm,
        top_features: output::top_features(score, detector.columns(), N_TOP_FEATURES),
    };
    scored.scores.iter().map(row).collect()
}

fn print(args: &Score, detector: &Detector, rows: &[ScoreRow], incidents: &[Incident]) {
    let n_alarmed = rows.iter().filter(|row| row.alarm).count();
    if args.output.output == Output::Json {
        return output::json(&json!({
            "rows": rows.len(),
            "alarmed_rows": n_alarmed,
            "incidents": incidents.iter().map(incident_json).collect::<Vec<_>>(),
        }));
    }
    let groups = output::groups(incidents.iter());
    for group in &groups {
        group.print(detector);
    }
    let out = args.out.display();
    output::line(format!(
        "{} rows scored, {n_alarmed} alarmed, {} incident(s); wrote `{out}`",
        rows.len(),
        groups.len()
    ));
}
