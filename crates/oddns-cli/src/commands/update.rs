//! `oddns update`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use oddns::{
    Detector, Feedback, Gate, GateMargins, History, Trial, UpdateOptions, Updated, compare,
};
use oddns_collect::wall_clock;
use oddns_serve::update_notes;
use oddns_store::{KEPT_GENERATIONS, Promotion, Registry, read_feedback};
use serde_json::json;

use crate::args::{Output, Update};
use crate::data::{self, Instance};
use crate::exit::BadInput;
use crate::{generations, model_file, output, progress};

/// Where the model comes from, and where the new one goes.
enum Place {
    File { to: PathBuf },
    Registry { registry: Registry, champion: u64 },
}

pub(crate) fn run(args: &Update) -> anyhow::Result<()> {
    let start = Instant::now();
    let (place, parent) = place(args)?;
    let feedback = feedback(args)?;
    let mut instances = Vec::new();
    for path in &args.data {
        let read = data::read(path, &args.selection)?;
        data::check_against(path, &read, &parent)?;
        instances.extend(read);
    }
    let (updated, gate) = learn(args, &parent, &instances, &feedback)?;
    let outcome = keep(args, &place, &updated, &gate)?;
    print(args, &updated, &gate, &outcome, start.elapsed().as_secs_f64());
    match gate.reason().filter(|_| !args.anyway) {
        None => Ok(()),
        Some(reason) => anyhow::bail!("the new model does not take over: {reason}"),
    }
}

fn place(args: &Update) -> anyhow::Result<(Place, Arc<Detector>)> {
    if let Some(root) = &args.registry {
        let registry = Registry::existing(root)?;
        let Some(champion) = registry.champion()? else {
            return Err(BadInput(format!(
                "`{}` has no champion: `oddns model add` or `oddns model promote` makes one",
                root.display()
            ))
            .into());
        };
        let bytes = registry.load(champion.number)?;
        let detector = Detector::decode(&bytes).with_context(|| format!("`{}`", root.display()))?;
        return Ok((Place::Registry { registry, champion: champion.number }, Arc::new(detector)));
    }
    let (Some(from), Some(to)) = (args.model.clone(), args.out.clone()) else {
        anyhow::bail!("neither `--registry` nor `--model` and `--out` are given");
    };
    model_file::check_writable(&to)?;
    let detector = model_file::read(&from)?;
    Ok((Place::File { to }, detector))
}

fn feedback(args: &Update) -> anyhow::Result<Vec<Feedback>> {
    let lines = args.feedback.as_deref().map(read_feedback).transpose()?;
    Ok(generations::feedback(lines.unwrap_or_default())?)
}

fn learn(
    args: &Update,
    parent: &Arc<Detector>,
    instances: &[Instance],
    feedback: &[Feedback],
) -> anyhow::Result<(Updated, Gate)> {
    let history: Vec<History<'_>> = instances
        .iter()
        .map(|instance| History { instance: &instance.name, frame: &instance.frame })
        .collect();
    let options = UpdateOptions {
        seed: args.seed,
        threads: usize::from(args.threads),
        settles_seconds: args.settles_after.as_secs_f64(),
        ..UpdateOptions::default()
    };
    let (bar, mut show) = progress::training();
    let updated = parent.update(&history, feedback, &options, &mut show);
    bar.finish_and_clear();
    let updated = updated?;
    let trial = Trial {
        history: &history,
        held_out: &updated.held_out,
        feedback,
        injections: &generations::fault_suite(),
        margins: GateMargins::default(),
    };
    let gate = compare(parent, &Arc::new(updated.detector.clone()), &trial)?;
    Ok((updated, gate))
}

/// What became of the new model.
struct Outcome {
    generation: Option<u64>,
    path: Option<PathBuf>,
    takes_over: bool,
}

fn keep(args: &Update, place: &Place, updated: &Updated, gate: &Gate) -> anyhow::Result<Outcome> {
    let takes_over = gate.passed || args.anyway;
    match place {
        Place::File { to } => {
            if takes_over {
                model_file::write(to, &updated.detector)?;
            }
            let path = takes_over.then(|| to.clone());
            Ok(Outcome { generation: None, path, takes_over })
        }
        Place::Registry { registry, champion } => {
            let bytes = updated.detector.encode()?;
            let record = generations::challenger(&bytes, Some(*champion), updated, gate);
            let generation = registry.add(&bytes, &record)?;
            if takes_over {
                let anyway = if gate.passed { "" } else { "promoted anyway: " };
                let (by, at, reason) =
                    (record.by, wall_clock(), format!("{anyway}{}", gate.words()));
                registry.promote(Promotion { generation, at, by, reason })?;
            }
            registry.prune(KEPT_GENERATIONS)?;
            Ok(Outcome { generation: Some(generation), path: None, takes_over })
        }
    }
}

fn print(args: &Update, updated: &Updated, gate: &Gate, outcome: &Outcome, seconds: f64) {
    let path = outcome.path.as_deref().map(Path::display);
    if args.output.output == Output::Json {
        return output::json(&json!({
            "generation": outcome.generation,
            "model": path.map(|path| path.to_string()),
            "takes_over": outcome.takes_over,
            "passed": gate.passed,
            "reason": gate.reason(),
            "gate": generations::gate_json(gate),
            "notes": update_notes(updated),
            "rows": updated.n_rows_seen,
            "rows_learned": updated.n_rows_learned,
            "seconds": seconds,
        }));
    }
    update_notes(updated).into_iter().for_each(output::line);
    generations::gate_lines(gate).into_iter().for_each(output::line);
    if let Some(path) = path {
        output::line(format!("wrote `{path}` after {seconds:.1} s"));
    }
    if let Some(generation) = outcome.generation {
        let champion = if outcome.takes_over { "and is the champion" } else { "and waits" };
        output::line(format!("kept as generation {generation} after {seconds:.1} s, {champion}"));
    }
}
