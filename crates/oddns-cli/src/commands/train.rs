//! `oddns train`.

use std::time::Instant;

use anyhow::Context;
use oddns::{Detector, DetectorError, TrainOptions};
use oddns_core::Frame;
use serde_json::json;

use crate::args::{Output, Train};
use crate::model_file::Parent;
use crate::{data, model_file, output, progress};

pub(crate) fn run(args: &Train) -> anyhow::Result<()> {
    model_file::check_output(&args.out, &args.data)?;
    let base = args.base.as_deref().map(model_file::read).transpose()?;
    let from = args.from.as_deref().map(model_file::read_parent).transpose()?;
    let mut instances = Vec::new();
    for path in &args.data {
        instances.extend(data::read_to_learn(path, &args.selection)?);
    }
    let frames: Vec<&Frame> = instances.iter().map(|instance| &instance.frame).collect();
    let start = Instant::now();
    let learned = match &base {
        Some(base) => base.calibrate(&frames),
        None => train(&frames, from.as_ref(), &options(args)),
    };
    let detector = learned.with_context(|| sources(args))?;
    let bytes = model_file::write(&args.out, &detector)?;
    print(args, &detector, frames.len(), bytes, start.elapsed().as_secs_f64());
    Ok(())
}

fn train(
    frames: &[&Frame],
    from: Option<&Parent>,
    options: &TrainOptions,
) -> Result<Detector, DetectorError> {
    let (bar, mut show) = progress::training();
    let fitted = match from {
        Some(Parent::Detector(parent)) => parent.refit(frames, options, &mut show),
        Some(Parent::Network(own)) => Detector::fit_network(own, frames, options, &mut show),
        None => Detector::fit(frames, options, &mut show),
    };
    bar.finish_and_clear();
    fitted
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
        strict_budget: args.strict_budget,
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
    let verb = if args.base.is_some() { "calibrated" } else { "learned" };
    output::line(format!(
        "{verb} {} features from {} rows of {n_instances} instance(s) in {seconds:.1} s: {what}",
        detector.columns().len(),
        record.n_rows,
    ));
    output::line(format!("wrote `{}` ({} KiB)", args.out.display(), bytes / 1024));
}
