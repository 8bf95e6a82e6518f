//! The entry `oddns.json` of a model file: all that is not the network.

use std::sync::Arc;

use oddns_core::{Schema, Timestamp};
use oddns_detect::AlarmLine;
use oddns_detect::baseline::{Baseline, Score};
use oddns_features::{Concern, FEATURES, Scaler, Transform, schema};
use oddns_model::{Model, Network};
use serde::{Deserialize, Serialize};

use crate::calibration::{Budget, Pace};
use crate::column::Column;
use crate::detector::{Detector, DetectorError, TrainingRecord, tracked};
use crate::forecaster::Forecaster;
use crate::kind::{DetectorKind, UnknownDetector};
use crate::leniency::Leniency;
use crate::members::{Calibration, N_FRESH, N_MEMBERS};
use crate::method::Method;
use crate::reach::Reach;
use crate::reconstructed::{N_SCORES, Reconstructed};
use crate::rival::Rival;

/// Raised when an older program could not read what a newer one writes.
const FORMAT: u32 = 5;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    detector: String,
    schema_id: String,
    columns: Vec<ColumnEntry>,
    n_rows: usize,
    /// Of a detector with members.
    calibration: Option<CalibrationEntry>,
    /// Of a detector that reconstructs windows.
    reconstruction: Option<ReconstructionEntry>,
    /// Of a detector to compare with.
    baseline: Option<BaselineEntry>,
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
    /// Of a detector with members.
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<MembersEntry>,
}

/// What the members know of a column.
#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct MembersEntry {
    sustained: f32,
    surprise: f32,
    surprise_floor: f32,
    coarseness: f32,
    level: f32,
    level_gain: f32,
    reach_middle: f32,
    reach_half: f32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReconstructionEntry {
    unit: [f32; N_SCORES],
    scale_weight: f32,
    line: Vec<f32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BaselineEntry {
    unit: f32,
    scale_weight: f32,
    /// In the orders that the detector and the line write.
    state: Vec<f32>,
    line: Vec<f32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CalibrationEntry {
    unit: [f32; N_MEMBERS],
    usual: [f32; N_MEMBERS],
    usual_step: f32,
    fresh: [f32; N_FRESH],
    level_weight: f32,
    outside_weight: f32,
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
    strict_budget: bool,
    n_steps: usize,
    seed: u64,
    /// Absent without a network.
    loss: Option<f32>,
    n_parameters: usize,
}

/// As JSON text; the same detector gives the same text.
pub(crate) fn write(detector: &Detector) -> Result<String, DetectorError> {
    let Detector { columns, schema, scaler, method, kind, record, .. } = detector;
    let (mut calibration, mut reconstruction, mut baseline) = (None, None, None);
    match method {
        Method::Members { calibration: own, .. } => calibration = Some(own.as_ref()),
        Method::Reconstruction { reconstructed, .. } => {
            reconstruction = Some(reconstruction_entry(reconstructed));
        }
        Method::Rival(rival) => baseline = Some(baseline_entry(rival)),
    }
    let entry = |(at, column)| column_entry(at, column, scaler, calibration);
    let manifest = Manifest {
        format: FORMAT,
        detector: kind.name().to_owned(),
        schema_id: schema.id().to_string(),
        columns: columns.iter().enumerate().map(entry).collect(),
        n_rows: scaler.n_rows,
        calibration: calibration.map(calibration_entry),
        reconstruction,
        baseline,
        training: training_entry(record),
    };
    serde_json::to_string_pretty(&manifest).map_err(|error| damaged(error.to_string()))
}

fn column_entry(
    at: usize,
    column: &Column,
    scaler: &Scaler,
    calibration: Option<&Calibration>,
) -> ColumnEntry {
    ColumnEntry {
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
        members: calibration.map(|calibration| MembersEntry {
            sustained: calibration.sustained[at],
            surprise: calibration.surprise[at],
            surprise_floor: calibration.surprise_floor[at],
            coarseness: calibration.coarseness[at],
            level: calibration.level[at],
            level_gain: calibration.level_gain[at],
            reach_middle: calibration.reach.middle[at],
            reach_half: calibration.reach.half[at],
        }),
    }
}

fn calibration_entry(calibration: &Calibration) -> CalibrationEntry {
    CalibrationEntry {
        unit: calibration.unit,
        usual: calibration.usual,
        usual_step: calibration.usual_step,
        fresh: calibration.fresh,
        level_weight: calibration.level_weight,
        outside_weight: calibration.outside_weight,
        scale_weight: calibration.scale_weight,
        surprise_weight: calibration.surprise_weight,
        change: calibration.change.state(),
        structure: calibration.structure.state(),
        line: calibration.line.state(),
    }
}

fn reconstruction_entry(reconstructed: &Reconstructed) -> ReconstructionEntry {
    ReconstructionEntry {
        unit: reconstructed.unit,
        scale_weight: reconstructed.scale_weight,
        line: reconstructed.line.state(),
    }
}

fn baseline_entry(rival: &Rival) -> BaselineEntry {
    BaselineEntry {
        unit: rival.unit,
        scale_weight: rival.scale_weight,
        state: rival.fitted.state(),
        line: rival.line.state(),
    }
}

fn training_entry(record: &TrainingRecord) -> TrainingEntry {
    TrainingEntry {
        from_millis: record.range.map(|range| range.0.millis()),
        until_millis: record.range.map(|range| range.1.millis()),
        n_rows: record.n_rows,
        interval_seconds: record.interval_seconds.is_finite().then_some(record.interval_seconds),
        alarms_per_week: record.alarms_per_week,
        strict_budget: record.strict_budget,
        n_steps: record.n_steps,
        seed: record.seed,
        loss: record.loss.is_finite().then_some(record.loss),
        n_parameters: record.n_parameters,
    }
}

/// Reads what [`write`] wrote, and the network that belongs to it from `bytes`, the whole file.
pub(crate) fn read(text: &str, bytes: &[u8]) -> Result<Detector, DetectorError> {
    check_format(text)?;
    let manifest: Manifest =
        serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
    let kind: DetectorKind = manifest.detector.parse().map_err(|error: UnknownDetector| {
        damaged(format!("{error}, or use the oddns that wrote it"))
    })?;
    manifest.columns.iter().try_for_each(check_column)?;
    let columns = columns(&manifest);
    let method = method(&manifest, kind, bytes)?;
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
        kept: Arc::default(),
        precedents: Arc::default(),
        tracked: tracked(&columns, record(&manifest.training).interval_seconds),
        record: record(&manifest.training),
        columns: columns.into(),
        schema,
        kind,
        method,
    })
}

fn method(manifest: &Manifest, kind: DetectorKind, bytes: &[u8]) -> Result<Method, DetectorError> {
    let members = |forecaster| {
        let calibration = Arc::new(calibration(manifest)?);
        Ok(Method::Members { forecaster, calibration })
    };
    match kind {
        DetectorKind::Masked => members(Forecaster::Network(Arc::new(network(manifest, bytes)?))),
        DetectorKind::MaskedWithoutNetwork => members(Forecaster::LastValue),
        DetectorKind::Reconstruction | DetectorKind::Reconstruction2d => {
            reconstruction(manifest, bytes)
        }
        DetectorKind::Baseline(baseline) => Ok(Method::Rival(Box::new(rival(manifest, baseline)?))),
    }
}

fn network(manifest: &Manifest, bytes: &[u8]) -> Result<Network, DetectorError> {
    let (network, _) = oddns_model::decode(bytes).map_err(DetectorError::Load)?;
    check_width(manifest, network.config().n_features)?;
    Ok(network)
}

fn check_width(manifest: &Manifest, width: usize) -> Result<(), DetectorError> {
    let found = manifest.columns.len();
    if found == width {
        return Ok(());
    }
    Err(damaged(format!("{found} columns for a network of {width} features")))
}

fn reconstruction(manifest: &Manifest, bytes: &[u8]) -> Result<Method, DetectorError> {
    let (model, _) = Model::decode(bytes).map_err(DetectorError::Load)?;
    let Model::Reconstruction(network) = model else {
        return Err(damaged("the network is not one that reconstructs windows".to_owned()));
    };
    check_width(manifest, network.n_features())?;
    let entry = manifest.reconstruction.as_ref().ok_or_else(|| missing("reconstruction"))?;
    if !entry.unit.iter().all(is_above_zero) || !(0.0..=1.0).contains(&entry.scale_weight) {
        return Err(damaged("a unit or weight of the reconstruction is out of range".to_owned()));
    }
    let line = line(&pace(manifest).line(&[]), &entry.line)?;
    let forecaster = Forecaster::Reconstruction(Arc::new(network));
    let reconstructed = Reconstructed::new(entry.unit, line, entry.scale_weight);
    Ok(Method::Reconstruction { forecaster, reconstructed })
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

fn check_calibration(entry: &CalibrationEntry) -> Result<(), DetectorError> {
    let weights = [entry.scale_weight, entry.surprise_weight, entry.usual_step];
    let in_range = weights.iter().all(|weight| (0.0..=1.0).contains(weight))
        && entry
            .fresh
            .iter()
            .chain([&entry.level_weight, &entry.outside_weight])
            .all(|x| *x >= 0.0 && x.is_finite());
    if !in_range || !entry.unit.iter().chain(&entry.usual).all(is_above_zero) {
        return Err(damaged("a unit or weight of the calibration is out of range".to_owned()));
    }
    Ok(())
}

fn calibration(manifest: &Manifest) -> Result<Calibration, DetectorError> {
    let entry = manifest.calibration.as_ref().ok_or_else(|| missing("calibration"))?;
    check_calibration(entry)?;
    let members: Option<Vec<MembersEntry>> = manifest.columns.iter().map(|c| c.members).collect();
    let members = members.ok_or_else(|| missing("members"))?;
    let each = |of: fn(&MembersEntry) -> f32| members.iter().map(of).collect::<Vec<f32>>();
    let width = manifest.columns.len();
    Ok(Calibration {
        sustained: each(|c| c.sustained),
        surprise: each(|c| c.surprise),
        surprise_floor: each(|c| c.surprise_floor),
        coarseness: each(|c| c.coarseness),
        level: each(|c| c.level),
        level_gain: each(|c| c.level_gain),
        level_weight: entry.level_weight,
        reach: Reach { middle: each(|c| c.reach_middle), half: each(|c| c.reach_half) },
        outside_weight: entry.outside_weight,
        leniency: Leniency::of(&columns(manifest), pace(manifest).step_seconds()),
        unit: entry.unit,
        usual: entry.usual,
        usual_step: entry.usual_step,
        fresh: entry.fresh,
        scale_weight: entry.scale_weight,
        surprise_weight: entry.surprise_weight,
        change: state("change", &entry.change, width)?,
        structure: state("structure", &entry.structure, width)?,
        line: line(&pace(manifest).members_line(&[]), &entry.line)?,
    })
}

fn rival(manifest: &Manifest, baseline: &'static Baseline) -> Result<Rival, DetectorError> {
    let entry = manifest.baseline.as_ref().ok_or_else(|| missing("baseline"))?;
    if !is_above_zero(&entry.unit) || !(0.0..=1.0).contains(&entry.scale_weight) {
        return Err(damaged("the unit or a weight of the baseline is out of range".to_owned()));
    }
    let restored = baseline.restore(&entry.state);
    let fitted = restored.map_err(|error| damaged(format!("`{}`: {error}", baseline.name)))?;
    let found = fitted.strengths().len();
    if found != manifest.columns.len() {
        return Err(damaged(format!("`{}` has {found} features, not one a column", baseline.name)));
    }
    Ok(Rival {
        baseline,
        fitted,
        unit: entry.unit,
        scale_weight: entry.scale_weight,
        line: line(&pace(manifest).line(&[]), &entry.line)?,
    })
}

fn pace(manifest: &Manifest) -> Pace {
    let training = record(&manifest.training);
    let TrainingRecord { alarms_per_week, strict_budget: is_strict, .. } = training;
    Pace::new(training.interval_seconds, Budget { alarms_per_week, is_strict })
}

fn line(new: &AlarmLine, state: &[f32]) -> Result<AlarmLine, DetectorError> {
    new.restore(state).ok_or_else(|| damaged("`line` is not the state of a line".to_owned()))
}

fn missing(field: &str) -> DetectorError {
    damaged(format!("missing field `{field}`"))
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
    let ColumnEntry { name, scale, floor, resolution, .. } = column;
    let members = column
        .members
        .iter()
        .flat_map(|m| [&m.sustained, &m.level, &m.surprise_floor, &m.coarseness, &m.reach_half]);
    let scales = [scale, floor, resolution].into_iter().chain(members);
    if !scales.chain(&column.log_offset).all(is_above_zero) {
        return Err(damaged(format!(
            "a scale of column `{name}` is not above zero, or not finite"
        )));
    }
    let is_share = |share: f32| (0.0..=1.0).contains(&share);
    let members = column.members.is_none_or(|m| {
        let MembersEntry { surprise, level_gain, reach_middle, .. } = m;
        surprise >= 0.0 && surprise.is_finite() && is_share(level_gain) && reach_middle.is_finite()
    });
    if !column.mean.is_finite() || !members || !is_share(column.missing_ratio) {
        return Err(damaged(format!(
            "mean, surprise, missing_ratio, level_gain or reach of column `{name}` is out of range"
        )));
    }
    Ok(())
}

/// JSON has no NaN and no infinity, but a number too large for an f32 is read as one.
fn is_above_zero(value: &f32) -> bool {
    *value > 0.0 && value.is_finite()
}

/// What concerns those who ask is the catalogue's to say: it is nothing of a site.
fn columns(manifest: &Manifest) -> Vec<Column> {
    let mut columns: Vec<Column> = manifest.columns.iter().map(column).collect();
    if columns.iter().map(|column| &column.name).eq(schema().columns()) {
        for (column, feature) in columns.iter_mut().zip(FEATURES) {
            column.concern = feature.concern;
        }
    }
    columns
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
        concern: Concern::Either,
    }
}

fn record(entry: &TrainingEntry) -> TrainingRecord {
    let range = entry.from_millis.zip(entry.until_millis);
    TrainingRecord {
        range: range.map(|(a, b)| (Timestamp::from_millis(a), Timestamp::from_millis(b))),
        n_rows: entry.n_rows,
        interval_seconds: entry.interval_seconds.unwrap_or(f32::NAN),
        alarms_per_week: entry.alarms_per_week,
        strict_budget: entry.strict_budget,
        n_steps: entry.n_steps,
        seed: entry.seed,
        loss: entry.loss.unwrap_or(f32::NAN),
        n_parameters: entry.n_parameters,
    }
}

fn damaged(reason: String) -> DetectorError {
    DetectorError::Manifest { reason }
}
