//! The entry `learning`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::files::Files;
use super::mistake::{ConfigError, wrong};
use super::scrape;
use crate::learning::LearningSettings;

/// Bounds of the time between updates: below, learning is the load.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(90 * 86_400));
/// Bounds of how far back an update looks.
const LOOK_BACK: (Duration, Duration) =
    (Duration::from_secs(3600), Duration::from_secs(90 * 86_400));
/// Most models of single servers: each takes some MiB and a turn of the thread that learns.
const MOST_OWN_MODELS: usize = 64;
/// Bounds of the time that a change has to stay.
const SETTLES: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(90 * 86_400));

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenLearning {
    enabled: Option<bool>,
    interval: Option<Spanned<String>>,
    look_back: Option<Spanned<String>>,
    min_rows: Option<Spanned<usize>>,
    cpu_share: Option<Spanned<f64>>,
    settles_after: Option<Spanned<String>>,
    drift: Option<Spanned<f64>>,
    own_models: WrittenOwnModels,
    registry: Option<Spanned<PathBuf>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenOwnModels {
    max: Option<Spanned<usize>>,
}

impl WrittenLearning {
    pub(super) fn resolve(&self, files: &Files) -> Result<LearningSettings, ConfigError> {
        let usual = LearningSettings::default();
        let time = |name, written: &Option<Spanned<String>>, bounds, usual| match written {
            Some(written) => scrape::duration_within(name, written, bounds),
            None => Ok(usual),
        };
        Ok(LearningSettings {
            enabled: self.enabled.unwrap_or(usual.enabled),
            interval: time("interval", &self.interval, INTERVAL, usual.interval)?,
            look_back: time("look_back", &self.look_back, LOOK_BACK, usual.look_back)?,
            min_rows: self.min_rows()?.unwrap_or(usual.min_rows),
            cpu_share: self.cpu_share()?.unwrap_or(usual.cpu_share),
            settles_after: time(
                "settles_after",
                &self.settles_after,
                SETTLES,
                usual.settles_after,
            )?,
            drift: self.drift()?.unwrap_or(usual.drift),
            own_models: self.own_models.max()?.unwrap_or(usual.own_models),
            registry: self.registry.as_ref().map(|folder| files.folder(folder)),
        })
    }

    fn min_rows(&self) -> Result<Option<usize>, ConfigError> {
        match &self.min_rows {
            Some(written) if written.value == 0 => {
                Err(wrong(written, "`min_rows` must be at least 1"))
            }
            written => Ok(written.as_ref().map(|written| written.value)),
        }
    }

    fn cpu_share(&self) -> Result<Option<f64>, ConfigError> {
        match &self.cpu_share {
            Some(written) if !(0.01..=1.0).contains(&written.value) => {
                let message = "`cpu_share` must be from 0.01 to 1, a part of one processor";
                Err(wrong(written, message))
            }
            written => Ok(written.as_ref().map(|written| written.value)),
        }
    }

    fn drift(&self) -> Result<Option<f64>, ConfigError> {
        match &self.drift {
            Some(written) if !(0.1..=100.0).contains(&written.value) => {
                let message = "`drift` must be from 0.1 to 100 standard deviations";
                Err(wrong(written, message))
            }
            written => Ok(written.as_ref().map(|written| written.value)),
        }
    }
}

impl WrittenOwnModels {
    fn max(&self) -> Result<Option<usize>, ConfigError> {
        match &self.max {
            Some(written) if written.value > MOST_OWN_MODELS => {
                let message = format!("`max` must be from 0 to {MOST_OWN_MODELS}");
                Err(wrong(written, message))
            }
            written => Ok(written.as_ref().map(|written| written.value)),
        }
    }
}
