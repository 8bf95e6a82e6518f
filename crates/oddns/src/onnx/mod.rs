//! A detector as an ONNX graph, from raw rows to the score.

mod members;
mod reconstruction;
mod rows;

use oddns_model::OnnxBuilder;

use crate::detector::{Detector, DetectorError};
use crate::frozen::Window;
use rows::Rows;

const DOC: &str = "The score of the last row of a window of raw rows (samples, rows, features), NaN \
    where missing; 1 is the alarm line. All that was learned is as at the end of training.";

/// Numbers of `TensorProto.DataType`.
const FLOAT: i64 = 1;
const INT64: i64 = 7;
const BOOL: i64 = 9;

impl Detector {
    /// The bytes of an ONNX file (opset 17): its input `window` takes raw rows, (samples,
    /// [`Detector::window_rows`], features), NaN where missing; its output `score`, (samples), is what
    /// [`Detector::score_window`] gives of each. Refuses a detector that is there to be compared with
    /// ([`crate::DetectorKind::Baseline`]).
    pub fn encode_onnx(&self) -> Result<Vec<u8>, DetectorError> {
        let judged = self.window()?;
        let (n_rows, width) = (judged.n_rows(), self.columns().len());
        let mut builder = OnnxBuilder::new("oddns", DOC);
        let window = builder.input("window", &[None, Some(n_rows), Some(width)]);
        let rows = Rows::new(self, &mut builder, &window, n_rows);
        let (strength, line) = match judged {
            Window::Members(forecaster, calibration) => {
                let forecasts = members::forecasts(&mut builder, forecaster, &rows)?;
                let strength =
                    members::strength(self, &mut builder, calibration, &rows, &forecasts);
                (strength, calibration.line.level())
            }
            Window::Reconstruction(network, reconstructed) => {
                let strength =
                    reconstruction::strength(&mut builder, network, reconstructed, &rows);
                (strength, reconstructed.line.level())
            }
        };
        let line = builder.float(line);
        let score = builder.add("Div", &[&strength, &line], &[]);
        builder.output("score", &score, &[None]);
        Ok(builder.finish())
    }
}
