//! What a detector says of one window of rows alone, by what it learned and nothing since.

use std::sync::Arc;

use oddns_model::Reconstruction;

use crate::detector::{Detector, DetectorError};
use crate::forecaster::Forecaster;
use crate::members::{Calibration, Exhibit, Memory, SMOOTHING_ROWS, SUSTAINED_ROWS, StandardRow};
use crate::method::Method;
use crate::reconstructed::{Reconstructed, of_window};
use crate::stream::{Prepared, Stream};
use crate::training::sequence;

/// What a window is judged by.
pub(crate) enum Window<'a> {
    /// Members over a forecast.
    Members(&'a Forecaster, &'a Calibration),
    /// A network that reconstructs it.
    Reconstruction(&'a Reconstruction, &'a Reconstructed),
}

impl Window<'_> {
    /// Rows that decide what is said of the last.
    pub(crate) fn n_rows(&self) -> usize {
        match self {
            // Each of the rows that the score is a mean of has its trailing forecasts, and the first
            // of these its full past.
            Self::Members(forecaster, _) => {
                forecaster.reach() + SUSTAINED_ROWS + SMOOTHING_ROWS - 2
            }
            Self::Reconstruction(network, _) => network.window(),
        }
    }
}

impl Detector {
    /// Rows of a window that [`Detector::score_window`] judges. Refuses a detector that is there to
    /// be compared with ([`crate::DetectorKind::Baseline`]).
    pub fn window_rows(&self) -> Result<usize, DetectorError> {
        Ok(self.window()?.n_rows())
    }

    /// The score of the last row of a window, row-major in the features' units, NaN where missing: by
    /// the scales, weights, structure, units and line at the end of training, and of the past by
    /// what the window shows of it. It is what [`Detector::encode_onnx`] computes.
    ///
    /// [`crate::score_frame`] says nearly the same of a row that follows training closely. There
    /// scales, structure, units and line go on adapting, a level remembers the rows before the window
    /// (less than 2 % of it), and a feature that was last seen before the window is missing, where
    /// here it counts as one that the server never had.
    ///
    /// # Errors
    ///
    /// A window that has not [`Detector::window_rows`] rows, and the kinds that have none.
    pub fn score_window(&self, rows: &[f32]) -> Result<f32, DetectorError> {
        let (window, width) = (self.window()?, self.columns().len());
        if rows.len() != window.n_rows() * width {
            let (found, rows) = (rows.len(), window.n_rows());
            return Err(DetectorError::Window { found, rows, width });
        }
        let prepared = self.prepared(rows);
        let standard: Vec<&StandardRow> = prepared.iter().map(|row| &row.standard).collect();
        match window {
            Window::Members(forecaster, calibration) => {
                let forecasts = forecaster.forecast(&standard)?;
                Ok(frozen_score(calibration, &prepared, &forecasts))
            }
            Window::Reconstruction(network, reconstructed) => {
                let scores = network.score_last(&sequence(&standard)?);
                let scores = scores.map_err(DetectorError::Model)?;
                Ok(reconstructed.frozen(&of_window(&scores, 0)))
            }
        }
    }

    /// Rows as a stream reads them whose scales do not follow.
    fn prepared(&self, rows: &[f32]) -> Vec<Prepared> {
        let mut stream = Stream::new(Arc::new(self.clone()));
        let finite = |value: &f32| if value.is_finite() { *value } else { f32::NAN };
        let mut prepare = |row: &[f32]| {
            let prepared = stream.prepare(&row.iter().map(finite).collect::<Vec<_>>());
            stream.show(&prepared);
            prepared
        };
        rows.chunks_exact(self.columns().len().max(1)).map(&mut prepare).collect()
    }

    /// What this detector judges a window by.
    pub(crate) fn window(&self) -> Result<Window<'_>, DetectorError> {
        match &self.method {
            Method::Members { forecaster, calibration } => {
                Ok(Window::Members(forecaster, calibration))
            }
            Method::Reconstruction {
                forecaster: Forecaster::Reconstruction(network),
                reconstructed,
            } => Ok(Window::Reconstruction(network, reconstructed)),
            _ => Err(DetectorError::NoWindow { kind: self.kind }),
        }
    }
}

/// The score of the last row by members that saw only these rows, and follow none of them.
fn frozen_score(calibration: &Calibration, rows: &[Prepared], forecasts: &[f32]) -> f32 {
    let frozen = calibration.frozen();
    let mut memory = Memory::new(&frozen);
    let mut strength = 0.0;
    let width = forecasts.len() / rows.len().max(1);
    for (row, forecast) in rows.iter().zip(forecasts.chunks_exact(width.max(1))) {
        let Prepared { modelled, standard } = row;
        strength = memory.strength(Exhibit { modelled, standard, forecast }, &frozen);
    }
    strength / frozen.line.level()
}
