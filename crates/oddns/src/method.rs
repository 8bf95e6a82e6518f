//! How a detector of some kind judges: what it learned, and what a stream leaves behind in it.

use std::sync::Arc;

use oddns_detect::{AlarmLine, PersistenceConfig};

use crate::detector::DetectorError;
use crate::forecaster::Forecaster;
use crate::ledger::{Keep, Ledger};
use crate::members::{Calibration, Exhibit, Memory, Verdict};
use crate::reconstructed::{self, Reconstructed};
use crate::rival::Rival;

/// What was learned of normal operation beside the scales of the features.
#[derive(Debug, Clone)]
pub(crate) enum Method {
    /// Members over a forecast.
    Members { forecaster: Forecaster, calibration: Arc<Calibration> },
    /// Windows that a network reconstructs.
    Reconstruction { forecaster: Forecaster, reconstructed: Reconstructed },
    /// A detector to compare with.
    Rival(Box<Rival>),
}

/// A method at work on one stream of rows.
#[derive(Debug, Clone)]
pub(crate) enum Judge {
    Members { memory: Box<Memory>, calibration: Arc<Calibration> },
    Reconstruction(Reconstructed),
    Rival(Box<Rival>),
}

impl Method {
    /// Who tells what a row should be.
    pub(crate) fn forecaster(&self) -> &Forecaster {
        match self {
            Self::Members { forecaster, .. } | Self::Reconstruction { forecaster, .. } => {
                forecaster
            }
            Self::Rival(_) => &Forecaster::Nobody,
        }
    }

    /// Weight with which a row moves the scales, 0 to 1.
    pub(crate) fn scale_weight(&self) -> f32 {
        match self {
            Self::Members { calibration, .. } => calibration.scale_weight,
            Self::Reconstruction { reconstructed, .. } => reconstructed.scale_weight,
            Self::Rival(rival) => rival.scale_weight,
        }
    }

    /// The cluster of normal operation that the last rows are nearest to, by what is told of them.
    pub(crate) fn cluster(&self, told: &[f32]) -> Option<usize> {
        match self {
            Self::Reconstruction { .. } => reconstructed::cluster(told),
            Self::Members { .. } | Self::Rival(_) => None,
        }
    }

    /// How long scores must stay high or low. Where nothing wanders one usual row ends an alarm, and
    /// elsewhere three: what goes on by itself has usual rows in between.
    pub(crate) fn persistence(&self) -> PersistenceConfig {
        let usual = PersistenceConfig::default();
        match self {
            Self::Members { calibration, .. } => {
                let spared = (usual.clear_after - 1) as f32 * calibration.steadiness();
                PersistenceConfig {
                    clear_after: usual.clear_after - spared.round() as u32,
                    ..usual
                }
            }
            Self::Reconstruction { .. } | Self::Rival(_) => usual,
        }
    }

    /// The line as it was drawn in training.
    pub(crate) fn line(&self) -> &AlarmLine {
        match self {
            Self::Members { calibration, .. } => &calibration.line,
            Self::Reconstruction { reconstructed, .. } => &reconstructed.line,
            Self::Rival(rival) => &rival.line,
        }
    }

    /// At the end of training.
    pub(crate) fn judge(&self) -> Judge {
        match self {
            Self::Members { calibration, .. } => Judge::Members {
                memory: Box::new(Memory::new(calibration)),
                calibration: Arc::clone(calibration),
            },
            Self::Reconstruction { reconstructed, .. } => {
                Judge::Reconstruction(reconstructed.clone())
            }
            Self::Rival(rival) => Judge::Rival(rival.clone()),
        }
    }
}

impl Judge {
    /// Takes a row in, and judges it.
    pub(crate) fn judge(&mut self, exhibit: Exhibit<'_>) -> Verdict {
        match self {
            Self::Members { memory, calibration } => memory.judge(exhibit, calibration),
            Self::Reconstruction(reconstructed) => reconstructed.judge(exhibit.forecast),
            Self::Rival(rival) => rival.judge(exhibit.modelled),
        }
    }

    /// Leaves what was judged out of the averages to come: it was judged without a full past.
    pub(crate) fn forget_averages(&mut self) {
        if let Self::Members { memory, .. } = self {
            memory.forget_averages();
        }
    }
}

impl Keep for Judge {
    fn keep(&mut self, ledger: &mut Ledger<'_>) -> Result<(), DetectorError> {
        match self {
            Self::Members { memory, .. } => memory.keep(ledger),
            Self::Reconstruction(reconstructed) => keep_line(&mut reconstructed.line, ledger),
            Self::Rival(rival) => {
                let Rival { baseline, fitted, line, .. } = &mut **rival;
                ledger.part(
                    fitted,
                    |fitted| fitted.state(),
                    |_, numbers| baseline.restore(numbers).ok(),
                )?;
                keep_line(line, ledger)
            }
        }
    }
}

/// The line of a stream.
pub(crate) fn keep_line(
    line: &mut AlarmLine,
    ledger: &mut Ledger<'_>,
) -> Result<(), DetectorError> {
    ledger.part(line, AlarmLine::state, AlarmLine::restore)
}
