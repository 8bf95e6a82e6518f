//! `oddns train`.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use oddns::{Detector, TrainOptions};
use oddns_core::Frame;
use oddns_store::Dataset;
use serde_json::json;

use crate::args::{Output, Selection, Train};
use crate::model_file::Parent;
use crate::{data, model_file, output, progress};

pub(crate) fn run(args: &Train) -> anyhow::Result<()> {
    model_file::check_writable(&args.out)?;
    let from = args.from.as_deref().map(model_file::read_parent).transpose()?;
    let mut instances = Vec::new();
    for path in &args.data {
        instances.extend(data::read(path, &normal_part(path, &args.selection)?)?);
    }
    let frames: Vec<&Frame> = instances.iter().map(|instance| &instance.frame).collect();
    let options = options(args);
    let (bar, mut show) = progress::training();
    let start = Instant::now();
    let fitted = match &from {
        Some(Parent::Detector(parent)) => parent.refit(&frames, &options, &mut show),
        Some(Parent::Network(own)) => Detector::fit_network(own, &frames, &options, &mut show),
        None => Detector::fit(&frames, &options, &mut show),
    };
    bar.finish_and_clear();
    let detector = fitted.with_context(|| sources(args))?;
    let bytes = model_file::write(&args.out, &detector)?;
    print(args, &detector, frames.len(), bytes, start.elapsed().as_secs_f64());
    Ok(())
}

/// What to learn of `path`: what was asked for, or the part that the data set itself calls normal.
pub(crate) fn normal_part(path: &Path, asked: &Selection) -> anyhow::Result<Selection> {
    let mut selection = asked.clone();
    if asked.since.is_some() || asked.until.is_some() || !path.is_dir() {
        return Ok(selection);
    }
    if let Some(dataset) = Dataset::read(path)? {
        (selection.since, selection.until) = (dataset.normal_from, dataset.normal_until);
    }
    Ok(selection)
}

/// The data's paths, for errors.
fn sources(args: &Train) -> String {
    let paths: Vec<String> = args.data.iter().map(|path| format!("`{}`", path.display())).collect();
    paths.join(", ")
}

fn options(args: &Train) -> TrainOptions {
    TrainOptions {
        epochs: args.epochs.map(|epochs| epochs as usize),
        batch: args.batch as usize,
        window: args.window as usize,
        seed: args.seed,
        alarms_per_week: args.alarms_per_week,
        detector: args.detector,
        ..TrainOptions::default()
    }
}

fn print(args: &Train, detector: &Detector, n_instances: usize, bytes: usize, seconds: f64) {
    let record = detector.record();
    if args.output.output == Output::Json {
        return output::json(&json!({
            "detector": detector.kind().name(),
            "model": args.out.display().to_string(),
            "schema": detector.schema().id().to_string(),
            "features": detector.columns().len(),
            "instances": n_instances,
            "rows": record.n_rows,
            "from": record.range.map(|range| range.0.to_string()),
            "until": record.range.map(|range| range.1.to_string()),
            "interval_seconds": record.interval_seconds,
            "steps": record.n_steps,
            "alarms_per_week": record.alarms_per_week,
            "loss": output::number(record.loss),
            "parameters": record.n_parameters,
            "seed": record.seed,
            "seconds": seconds,
            "bytes": bytes,
        }));
    }
    let what = match detector.kind() {
        kind if kind.has_network() => {
            format!("{} weights, loss {:.3}", record.n_parameters, record.loss)
        }
        kind => format!("{kind}, without a network"),
    };
    output::line(format!(
        "learned {} features from {} rows of {n_instances} instance(s) in {seconds:.1} s: {what}",
        detector.columns().len(),
        record.n_rows,
    ));
    output::line(format!("wrote `{}` ({} KiB)", args.out.display(), bytes / 1024));
}
