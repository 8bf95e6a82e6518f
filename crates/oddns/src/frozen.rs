//! What a detector says of one window of rows alone, by what it learned and nothing since.

use std::sync::Arc;

use oddns_detect::PersistenceConfig;
use oddns_model::Reconstruction;

use crate::detector::{Detector, DetectorError};
use crate::forecaster::Forecaster;
use crate::members::StandardRow;
use crate::method::Method;
use crate::reconstructed::{Reconstructed, of_window};
use crate::stream::Stream;
use crate::training::sequence;

impl Detector {
    /// Rows of a window that [`Detector::score_window`] judges. Refuses a detector without a network.
    pub fn window_rows(&self) -> Result<usize, DetectorError> {
        self.reconstruction().map(|(network, _)| network.window())
    }

    /// The score of the last row of a window, row-major in the features' units, NaN where missing: by
    /// the scales, weights and line at the end of training. [`crate::score_frame`] says nearly the
    /// same of a row that follows training closely; there scales and line go on adapting. It is what
    /// [`Detector::encode_onnx`] computes.
    pub fn score_window(&self, rows: &[f32]) -> Result<f32, DetectorError> {
        let (network, reconstructed) = self.reconstruction()?;
        let width = self.columns().len();
        if rows.len() != network.window() * width {
            let (found, rows) = (rows.len(), network.window());
            return Err(DetectorError::Window { found, rows, width });
        }
        let stream = Stream::new(Arc::new(self.clone()), PersistenceConfig::default());
        let finite = |value: &f32| if value.is_finite() { *value } else { f32::NAN };
        let prepared: Vec<_> = rows
            .chunks_exact(width)
            .map(|row| stream.prepare(&row.iter().map(finite).collect::<Vec<_>>()).standard)
            .collect();
        let standard: Vec<&StandardRow> = prepared.iter().collect();
        let scores = network.score_last(&sequence(&standard)?).map_err(DetectorError::Model)?;
        Ok(reconstructed.frozen(&of_window(&scores, 0)))
    }

    /// The network of windows, and what makes a score of what it says.
    pub(crate) fn reconstruction(
        &self,
    ) -> Result<(&Reconstruction, &Reconstructed), DetectorError> {
        match &self.method {
            Method::Reconstruction {
                forecaster: Forecaster::Reconstruction(network),
                reconstructed,
            } => Ok((network, reconstructed)),
            _ => Err(DetectorError::NoWindow { kind: self.kind }),
        }
    }
}
