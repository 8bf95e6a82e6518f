//! The forecasts of a masked network as operations of ONNX: for a detector around it.
//!
//! Values are channels first between the layers, as ONNX wants them.

use super::builder::{OnnxBuilder, Setting, Value};
use crate::convolution::Convolution;
use crate::graph::Activation;
use crate::plane::stride;
use crate::{ModelError, Network};

impl OnnxBuilder {
    /// What each of `n_rows` rows should have been by the rows before, as [`Network::forecast`] says
    /// it: of and as (samples, rows, features), standardised, with the last known value where one is
    /// missing. Refuses a window without rows.
    pub fn add_forecast(
        &mut self,
        network: &Network,
        rows: &Value,
        n_rows: usize,
    ) -> Result<Value, ModelError> {
        crate::config::within("n_rows", n_rows, 1, i32::MAX as usize)?;
        let rows = self.rows_last(rows);
        let layers = &network.layers;
        // Nothing of a row is shown to its own forecast: of the branch for it only the bias is left.
        let hidden = layers.current.bias(&network.parameters);
        let mut found = self.causal(network, &layers.history, &rows, n_rows, Some(hidden));
        for layer in &layers.stack {
            let active = self.activation(Activation::Gelu, &found);
            found = self.causal(network, layer, &active, n_rows, None);
        }
        if let Some(layer) = &layers.linear {
            let linear = self.causal(network, layer, &rows, n_rows, None);
            found = self.add("Add", &[&found, &linear], &[]);
        }
        Ok(self.rows_last(&found))
    }

    /// Rows to the end, or features.
    fn rows_last(&mut self, value: &Value) -> Value {
        self.add("Transpose", &[value], &[("perm", Setting::Ints(vec![0, 2, 1]))])
    }

    /// One layer of a network; `more` is added to its bias.
    fn causal(
        &mut self,
        network: &Network,
        layer: &Convolution,
        input: &Value,
        n_rows: usize,
        more: Option<&[f32]>,
    ) -> Value {
        let kernel = self.floats(
            &[layer.n_out, layer.n_in, layer.kernel],
            &taps_last(layer, layer.weights(&network.parameters)),
        );
        let mut bias = layer.bias(&network.parameters)[..layer.n_out].to_vec();
        bias.iter_mut().zip(more.into_iter().flatten()).for_each(|(sum, more)| *sum += more);
        let bias = self.floats(&[layer.n_out], &bias);
        let settings = [
            ("kernel_shape", Setting::Ints(vec![layer.kernel as i64])),
            ("dilations", Setting::Ints(vec![layer.dilation as i64])),
            ("pads", Setting::Ints(vec![layer.reach() as i64, 0])),
        ];
        let found = self.add("Conv", &[input, &kernel, &bias], &settings);
        match layer.shift {
            0 => found,
            // Rows too many at the end: those that would have the last rows as their past.
            _ => self.slice(&found, 2, 0..n_rows),
        }
    }

    /// A range of an axis.
    pub fn slice(&mut self, value: &Value, axis: usize, range: std::ops::Range<usize>) -> Value {
        let [start, end, axis] =
            [range.start, range.end, axis].map(|number| self.ints(&[number as i64]));
        self.add("Slice", &[value, &start, &end, &axis], &[])
    }
}

/// (tap, input, lanes of outputs) → (output, input, tap).
fn taps_last(layer: &Convolution, weights: &[f32]) -> Vec<f32> {
    let (n_in, stride) = (layer.n_in, stride(layer.n_out));
    let mut found = Vec::with_capacity(layer.n_out * n_in * layer.kernel);
    for output in 0..layer.n_out {
        for input in 0..n_in {
            let taps = (0..layer.kernel).map(|tap| weights[(tap * n_in + input) * stride + output]);
            found.extend(taps);
        }
    }
    found
}
