//! A trained detector: what it holds, how it is saved and loaded.

use std::sync::Arc;

use oddns_core::{Schema, SchemaId, Timestamp, stable_hash};
use oddns_detect::Tracked;
use oddns_features::Scaler;
use oddns_model::{Model, ModelError};

use crate::column::Column;
use crate::forecaster::Forecaster;
use crate::kept::Kept;
use crate::kind::DetectorKind;
use crate::manifest;
use crate::method::Method;
use crate::precedent::Precedents;

/// Entries of a model file: old normal rows, and what people said of patterns.
const KEPT: &str = "oddns.kept.bin";
const PRECEDENTS: &str = "oddns.precedents.json";

/// Why a detector cannot be trained, saved, loaded or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetectorError {
    /// Not enough rows to learn from.
    #[error(
        "{found} rows in a row are too few to train on: at least {needed} are needed, collect for longer"
    )]
    TooShort {
        /// Rows of the longest stretch.
        found: usize,
        /// Rows needed.
        needed: usize,
    },
    /// The frames to train on have different columns.
    #[error("frame {at} has other columns than the first: train on frames of one schema")]
    Columns {
        /// Which frame, counted from zero.
        at: usize,
    },
    /// No feature ever had a value.
    #[error("no column has a single value: all are missing, look at where the data comes from")]
    Empty,
    /// The data's schema is not the model's.
    #[error(
        "the model was trained on feature schema {expected} ({expected_width} columns), the data has \
         {found} ({found_width} columns): train a new model on data like this"
    )]
    Schema {
        /// Schema of the model.
        expected: SchemaId,
        /// Its columns.
        expected_width: usize,
        /// Schema of the data.
        found: SchemaId,
        /// Its columns.
        found_width: usize,
    },
    /// The network cannot be trained or used as asked.
    #[error("the network cannot be trained or used")]
    Model(#[source] ModelError),
    /// A member of the score cannot be learned.
    #[error("a member of the score cannot be learned")]
    Member(#[source] oddns_detect::DetectError),
    /// A row of another width than the model's.
    #[error("a row has {found} values, the model {expected} columns: give one value a column")]
    Width {
        /// Columns of the model.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// What a stream left behind cannot be gone on from.
    #[error("the saved state cannot be used: {reason}")]
    State {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The bytes of a model cannot be read.
    #[error("the model cannot be loaded: copy it again, or train a new one")]
    Load(#[source] ModelError),
    /// A window has another size than the detector looks back on.
    #[error("a window has {found} values, this detector judges {rows} rows of {width} features")]
    Window {
        /// Values given.
        found: usize,
        /// Rows of a window.
        rows: usize,
        /// Features of a row.
        width: usize,
    },
    /// What a detector of this kind says rests on more than a window.
    #[error(
        "a detector of kind `{kind}` cannot be told by one window of rows: take `masked`, \
         `masked_without_network`, `reconstruction` or `reconstruction_2d`"
    )]
    NoWindow {
        /// The kind.
        kind: DetectorKind,
    },
    /// A Keras file without what oddns adds to it.
    #[error(
        "the file is a Keras model without the entry `oddns.json`: it was not written by `oddns train`"
    )]
    NotOurs,
    /// An update that has nothing to learn.
    #[error(
        "there is nothing quiet to learn from: of {n_rows} rows {n_alarmed} are alarmed or near an \
         alarm, {n_incident} are called incidents, {n_trending} go on in one direction, and no \
         {needed} rows in a row are left; wait for quiet, or say with feedback what was normal"
    )]
    NothingQuiet {
        /// Rows looked at.
        n_rows: usize,
        /// Alarmed, or near an alarm.
        n_alarmed: usize,
        /// Called incidents.
        n_incident: usize,
        /// From where a feature goes on in one direction.
        n_trending: usize,
        /// Rows in a row that are needed.
        needed: usize,
    },
    /// Feedback that says two things of the same time.
    #[error("feedback contradicts itself: {one}, and {other}: take one of them back")]
    Contradiction {
        /// The one.
        one: String,
        /// The other.
        other: String,
    },
    /// Whoever was asked whether to go on said no.
    #[error("the work was ended before it was done: nothing has changed")]
    Ended,
    /// The entry that oddns adds is damaged.
    #[error("the entry `oddns.json` of the model is damaged: {reason}")]
    Manifest {
        /// What is wrong with it.
        reason: String,
    },
}

/// Where a model came from.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingRecord {
    /// First and last row seen; `None` for a model that is older than this field.
    pub range: Option<(Timestamp, Timestamp)>,
    /// Rows seen, over all instances.
    pub n_rows: usize,
    /// Median seconds between rows.
    pub interval_seconds: f32,
    /// False alarms that a server may have in a week.
    pub alarms_per_week: f64,
    /// Whether that is kept beyond what the tail of the record could tell.
    pub strict_budget: bool,
    /// Optimiser steps; 0 for a detector without a network.
    pub n_steps: usize,
    /// Seed of weights and batches.
    pub seed: u64,
    /// Loss at the last step; NaN for a detector without a network.
    pub loss: f32,
    /// Weights of the network; 0 for a detector without one.
    pub n_parameters: usize,
}

/// A detector that has been fitted. Cheap to share between threads; scoring keeps its state in
/// [`crate::Pipeline`] or [`crate::score_frame`].
#[derive(Debug, Clone)]
pub struct Detector {
    pub(crate) columns: Arc<[Column]>,
    pub(crate) schema: Schema,
    pub(crate) scaler: Scaler,
    pub(crate) kind: DetectorKind,
    pub(crate) method: Method,
    pub(crate) record: TrainingRecord,
    /// Old normal rows, for updates.
    pub(crate) kept: Arc<Kept>,
    /// What people said of patterns.
    pub(crate) precedents: Arc<Precedents>,
    /// What the incidents of all its streams share.
    pub(crate) tracked: Arc<Tracked>,
}

/// What incidents of rows with these columns share.
pub(crate) fn tracked(columns: &[Column], interval_seconds: f32) -> Arc<Tracked> {
    let names = columns.iter().map(|column| column.name.clone()).collect();
    Arc::new(Tracked::new(names, f64::from(interval_seconds)))
}

impl Detector {
    /// What is known of each column, in schema order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The features it was trained on.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Which detector it is.
    pub fn kind(&self) -> DetectorKind {
        self.kind
    }

    /// Where it came from.
    pub fn record(&self) -> &TrainingRecord {
        &self.record
    }

    /// Rows that must be seen before the first score.
    pub fn warm_up_rows(&self) -> usize {
        self.method.forecaster().warm_up_rows()
    }

    /// Refuses data of another schema.
    pub fn check_schema(&self, found: &Schema) -> Result<(), DetectorError> {
        if found.id() == self.schema.id() {
            return Ok(());
        }
        Err(DetectorError::Schema {
            expected: self.schema.id(),
            expected_width: self.schema.columns().len(),
            found: found.id(),
            found_width: found.columns().len(),
        })
    }

    /// Tells its states from those of others.
    pub(crate) fn fingerprint(&self) -> u64 {
        let Self { schema, kind, record, scaler, precedents, .. } = self;
        let text = format!("{} {kind} {record:?} {scaler:?}", schema.id());
        if !precedents.is_empty() {
            return stable_hash(format!("{text} {precedents:?}").bytes());
        }
        stable_hash(text.bytes())
    }

    /// The bytes of one file, which [`Detector::decode`] reads back. With a network
    /// ([`DetectorKind::has_network`]) it is a `.keras` file that real Keras opens; without one the
    /// same zip holds the entry `oddns.json` alone. The same detector gives the same bytes.
    pub fn encode(&self) -> Result<Vec<u8>, DetectorError> {
        let manifest = manifest::write(self)?;
        let bytes = match self.method.forecaster() {
            Forecaster::Network(network) => oddns_model::encode(network, &manifest),
            Forecaster::Reconstruction(network) => {
                Model::Reconstruction(network.as_ref().clone()).encode(&manifest)
            }
            Forecaster::LastValue | Forecaster::Nobody => oddns_model::encode_extra(&manifest),
        };
        self.attach(bytes.map_err(DetectorError::Model)?)
    }

    /// With what goes along for updates.
    fn attach(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, DetectorError> {
        let mut attach = |name, content: &[u8]| {
            let whole = oddns_model::attach(std::mem::take(&mut bytes), name, content);
            bytes = whole.map_err(DetectorError::Model)?;
            Ok(())
        };
        if !self.kept.0.is_empty() {
            attach(KEPT, &self.kept.encode())?;
        }
        if !self.precedents.is_empty() {
            attach(PRECEDENTS, &self.precedents.encode()?)?;
        }
        Ok(bytes)
    }

    /// Reads what [`Detector::encode`] wrote. Damaged bytes are an error, never a panic.
    pub fn decode(bytes: &[u8]) -> Result<Self, DetectorError> {
        let manifest = oddns_model::decode_extra(bytes).map_err(DetectorError::Load)?;
        let mut detector = manifest::read(&manifest.ok_or(DetectorError::NotOurs)?, bytes)?;
        let (attached, width) = (|name| oddns_model::attached(bytes, name), detector.columns.len());
        if let Some(kept) = attached(KEPT).map_err(DetectorError::Load)? {
            detector.kept = Arc::new(Kept::decode(&kept, width)?);
        }
        if let Some(precedents) = attached(PRECEDENTS).map_err(DetectorError::Load)? {
            detector.precedents = Arc::new(Precedents::decode(&precedents, width)?);
        }
        Ok(detector)
    }
}
