//! One generation on disk: the model, and where it came from.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use oddns_core::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::StoreError;
use crate::atomic::sync_folder;

pub(super) const MODEL: &str = "model.keras";
pub(super) const RECORD: &str = "record.json";
/// Most bytes of a record.
const MAX_RECORD_BYTES: u64 = 1024 * 1024;

/// Where a generation came from, and how it did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerationRecord {
    /// SHA-256 of the model file, in hexadecimal digits.
    pub sha256: String,
    /// When it was made, in milliseconds since 1970.
    pub made_millis: i64,
    /// The generation that it goes on from; `None` for one that was trained by itself.
    pub parent: Option<u64>,
    /// Who or what made it, such as `oddns update`.
    pub by: String,
    /// First and last row that it learned, in milliseconds since 1970.
    pub range_millis: Option<(i64, i64)>,
    /// Rows learned.
    pub n_rows: usize,
    /// Seed of weights and batches.
    pub seed: u64,
    /// What was learned and what was left out, and why: a line each.
    pub notes: Vec<String>,
    /// How it did against its parent; empty where it was not tried.
    pub gate: Vec<GateFigure>,
    /// Whether it passed the gate; `None` where it was not tried.
    pub passed: Option<bool>,
    /// Why it did not.
    pub reason: Option<String>,
}

/// One figure of the gate.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateFigure {
    /// What is compared.
    pub name: String,
    /// The parent's figure.
    pub champion: f64,
    /// Its own.
    pub challenger: f64,
    /// The worst that passes.
    pub limit: f64,
    /// What it was measured on.
    pub n: f64,
    /// Whether it passed.
    pub passed: bool,
}

impl GenerationRecord {
    /// Of a model file that was made at a time; the rest is to be filled in.
    pub fn of(model: &[u8], made: Timestamp) -> Self {
        Self { sha256: hash(model), made_millis: made.millis(), ..Self::default() }
    }
}

pub(super) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes both files into a new folder, on disk for good.
pub(super) fn write(
    folder: &Path,
    model: &[u8],
    record: &GenerationRecord,
) -> Result<(), StoreError> {
    fs::create_dir(folder).map_err(StoreError::write(folder))?;
    let text = serde_json::to_vec_pretty(record)
        .map_err(|error| StoreError::write(folder)(error.into()))?;
    for (name, bytes) in [(MODEL, model), (RECORD, text.as_slice())] {
        let path = folder.join(name);
        let mut file = File::create_new(&path).map_err(StoreError::write(&path))?;
        file.write_all(bytes).map_err(StoreError::write(&path))?;
        file.sync_all().map_err(StoreError::write(&path))?;
    }
    sync_folder(folder).map_err(StoreError::write(folder))
}

pub(super) fn read(folder: &Path) -> Result<GenerationRecord, StoreError> {
    let path = folder.join(RECORD);
    let size = fs::metadata(&path).map_err(StoreError::read(&path))?.len();
    if size > MAX_RECORD_BYTES {
        return Err(StoreError::kind(&path, format!("has {size} bytes: that is no record")));
    }
    let text = fs::read(&path).map_err(StoreError::read(&path))?;
    serde_json::from_slice(&text).map_err(StoreError::damaged(&path))
}
