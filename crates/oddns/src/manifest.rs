//! The entry `oddns.json` of a model file: all that is not the network.

use std::sync::Arc;

use oddns_core::{Schema, Timestamp};
use oddns_detect::baseline::Score;
use oddns_features::{Scaler, Transform};
use oddns_model::Network;
use serde::{Deserialize, Serialize};

use crate::calibration::Pace;
use crate::column::Column;
use crate::detector::{Detector, DetectorError, TrainingRecord};
use crate::members::{Calibration, N_MEMBERS};

/// Raised when an older program could not read what a newer one writes.
const FORMAT: u32 = 2;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    schema_id: String,
    columns: Vec<ColumnEntry>,
    n_rows: usize,
    calibration: CalibrationEntry,
    training: TrainingEntry,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnEntry {
    name: String,
    unit: String,
    doc: String,
    /// Offset of a log scale; absent on a linear one.
    log_offset: Option<f32>,
    resolution: f32,
    mean: f32,
    scale: f32,
    floor: f32,
    missing_ratio: f32,
    sustained: f32,
    surprise: f32,
    surprise_floor: f32,
    coarseness: f32,
    level: f32,
    level_gain: f32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CalibrationEntry {
    unit: [f32; N_MEMBERS],
    fresh: f32,
    level_weight: f32,
    scale_weight: f32,
    surprise_weight: f32,
    /// States of what is learned beside the network, in the order each of them writes.
    change: Vec<f32>,
    structure: Vec<f32>,
    line: Vec<f32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainingEntry {
    from_millis: Option<i64>,
    until_millis: Option<i64>,
    n_rows: usize,
    interval_seconds: Option<f32>,
    alarms_per_week: f64,
    n_steps: usize,
    seed: u64,
    loss: f32,
    n_parameters: usize,
}

/// As JSON text; the same detector gives the same text.
pub(crate) fn write(detector: &Detector) -> Result<String, DetectorError> {
    let Detector { columns, schema, scaler, calibration, record, .. } = detector;
    let entry = |at: usize, column: &Column| ColumnEntry {
        name: column.name.clone(),
        unit: column.unit.clone(),
        doc: column.doc.clone(),
        log_offset: match column.transform {
            Transform::Linear => None,
            Transform::Log { offset } => Some(offset),
        },
        resolution: column.resolution,
        mean: scaler.mean[at],
        scale: scaler.scale[at],
        floor: scaler.floor[at],
        missing_ratio: scaler.missing_ratio[at],
        sustained: calibration.sustained[at],
        surprise: calibration.surprise[at],
        surprise_floor: calibration.surprise_floor[at],
        coarseness: calibration.coarseness[at],
        level: calibration.level[at],
        level_gain: calibration.level_gain[at],
    };
    let manifest = Manifest {
        format: FORMAT,
        schema_id: schema.id().to_string(),
        columns: columns.iter().enumerate().map(|(at, column)| entry(at, column)).collect(),
        n_rows: scaler.n_rows,
        calibration: CalibrationEntry {
            unit: calibration.unit,
            fresh: calibration.fresh,
            level_weight: calibration.level_weight,
            scale_weight: calibration.scale_weight,
            surprise_weight: calibration.surprise_weight,
            change: calibration.change.state(),
            structure: calibration.structure.state(),
            line: calibration.line.state(),
        },
        training: training_entry(record),
    };
    serde_json::to_string_pretty(&manifest).map_err(|error| damaged(error.to_string()))
}

fn training_entry(record: &TrainingRecord) -> TrainingEntry {
    TrainingEntry {
        from_millis: record.range.map(|range| range.0.millis()),
        until_millis: record.range.map(|range| range.1.millis()),
        n_rows: record.n_rows,
        interval_seconds: record.interval_seconds.is_finite().then_some(record.interval_seconds),
        alarms_per_week: record.alarms_per_week,
        n_steps: record.n_steps,
        seed: record.seed,
        loss: record.loss,
        n_parameters: record.n_parameters,
    }
}

/// Reads what [`write`] wrote, and checks that it belongs to `network`.
pub(crate) fn read(text: &str, network: Network) -> Result<Detector, DetectorError> {
    check_format(text)?;
    let manifest: Manifest =
        serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
    check(&manifest, &network)?;
    let columns: Vec<Column> = manifest.columns.iter().map(column).collect();
    let schema = Schema::new(columns.iter().map(|column| column.name.clone()).collect());
    if schema.id().to_string() != manifest.schema_id {
        return Err(damaged("schema_id does not belong to the columns".to_owned()));
    }
    let each = |of: fn(&ColumnEntry) -> f32| manifest.columns.iter().map(of).collect::<Vec<f32>>();
    Ok(Detector {
        scaler: Scaler {
            mean: each(|c| c.mean),
            scale: each(|c| c.scale),
            floor: each(|c| c.floor),
            missing_ratio: each(|c| c.missing_ratio),
            n_rows: manifest.n_rows,
        },
        calibration: calibration(&manifest)?,
        record: record(&manifest.training),
        columns: columns.into(),
        schema,
        network: Arc::new(network),
    })
}

/// The format first: a newer manifest may well have fields that this program does not know.
fn check_format(text: &str) -> Result<(), DetectorError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } =
        serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
    if format == FORMAT {
        return Ok(());
    }
    Err(damaged(format!("format {format} is not format {FORMAT}: use the oddns that wrote it")))
}

fn check(manifest: &Manifest, network: &Network) -> Result<(), DetectorError> {
    let width = network.config().n_features;
    if manifest.columns.len() != width {
        let found = manifest.columns.len();
        return Err(damaged(format!("{found} columns for a network of {width} features")));
    }
    manifest.columns.iter().try_for_each(check_column)?;
    check_calibration(&manifest.calibration)
}

fn check_calibration(entry: &CalibrationEntry) -> Result<(), DetectorError> {
    let weights = [entry.scale_weight, entry.surprise_weight];
    let in_range = weights.iter().all(|weight| (0.0..=1.0).contains(weight))
        && [entry.level_weight, entry.fresh].iter().all(|x| *x >= 0.0 && x.is_finite());
    if !in_range || !entry.unit.iter().all(is_above_zero) {
        return Err(damaged("a unit or weight of the calibration is out of range".to_owned()));
    }
    Ok(())
}

fn calibration(manifest: &Manifest) -> Result<Calibration, DetectorError> {
    let entry = &manifest.calibration;
    let each = |of: fn(&ColumnEntry) -> f32| manifest.columns.iter().map(of).collect::<Vec<f32>>();
    let width = manifest.columns.len();
    let training = record(&manifest.training);
    let pace = Pace::new(training.interval_seconds, training.alarms_per_week);
    let line = pace.line(&[]).restore(&entry.line);
    Ok(Calibration {
        sustained: each(|c| c.sustained),
        surprise: each(|c| c.surprise),
        surprise_floor: each(|c| c.surprise_floor),
        coarseness: each(|c| c.coarseness),
        level: each(|c| c.level),
        level_gain: each(|c| c.level_gain),
        level_weight: entry.level_weight,
        unit: entry.unit,
        fresh: entry.fresh,
        scale_weight: entry.scale_weight,
        surprise_weight: entry.surprise_weight,
        change: state("change", &entry.change, width)?,
        structure: state("structure", &entry.structure, width)?,
        line: line.ok_or_else(|| damaged("`line` is not the state of a line".to_owned()))?,
    })
}

/// A detector for this width that went on from `numbers`.
fn state<D: Score>(name: &str, numbers: &[f32], width: usize) -> Result<D, DetectorError> {
    let restored = D::from_state(numbers).map_err(|error| damaged(format!("`{name}`: {error}")))?;
    let found = restored.strengths().len();
    if found == width {
        return Ok(restored);
    }
    Err(damaged(format!("`{name}` has {found} features, the network {width}")))
}

fn check_column(column: &ColumnEntry) -> Result<(), DetectorError> {
    let ColumnEntry { name, scale, floor, resolution, sustained, level, .. } = column;
    let kept = [&column.surprise_floor, &column.coarseness];
    let scales = [scale, floor, resolution, sustained, level].into_iter().chain(kept);
    if !scales.chain(&column.log_offset).all(is_above_zero) {
        return Err(damaged(format!(
            "a scale of column `{name}` is not above zero, or not finite"
        )));
    }
    let shares = [column.missing_ratio, column.level_gain];
    let surprise = column.surprise >= 0.0 && column.surprise.is_finite();
    if !column.mean.is_finite() || !surprise || !shares.iter().all(|s| (0.0..=1.0).contains(s)) {
        return Err(damaged(format!(
            "mean, surprise, missing_ratio or level_gain of column `{name}` is out of range"
        )));
    }
    Ok(())
}

/// JSON has no NaN and no infinity, but a number too large for an f32 is read as one.
fn is_above_zero(value: &f32) -> bool {
    *value > 0.0 && value.is_finite()
}

fn column(entry: &ColumnEntry) -> Column {
    Column {
        name: entry.name.clone(),
        unit: entry.unit.clone(),
        doc: entry.doc.clone(),
        transform: match entry.log_offset {
            None => Transform::Linear,
            Some(offset) => Transform::Log { offset },
        },
        resolution: entry.resolution,
    }
}

fn record(entry: &TrainingEntry) -> TrainingRecord {
    let range = entry.from_millis.zip(entry.until_millis);
    TrainingRecord {
        range: range.map(|(a, b)| (Timestamp::from_millis(a), Timestamp::from_millis(b))),
        n_rows: entry.n_rows,
        interval_seconds: entry.interval_seconds.unwrap_or(f32::NAN),
        alarms_per_week: entry.alarms_per_week,
        n_steps: entry.n_steps,
        seed: entry.seed,
        loss: entry.loss,
        n_parameters: entry.n_parameters,
    }
}

fn damaged(reason: String) -> DetectorError {
    DetectorError::Manifest { reason }
}
