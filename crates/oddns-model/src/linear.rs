//! The linear part of a network: what the last rows say of the next by a weighted sum.
//!
//! On plain traffic that is most of what can be known, and an optimiser of few steps does not find
//! it: the forecasts of a network without it were worse than those of a regression. So the
//! regression is part of the network, and the other layers give the correction to it.

use std::ops::Range;

use crate::convolution::Reading;
use crate::plane::stride;
use crate::{ModelError, Network, Sequence};

/// Rows computed in one go, so that a history of any length takes the same memory.
const BLOCK_ROWS: usize = 256;

impl Network {
    /// What the linear part alone says of each row, from the rows before: shape and errors as
    /// [`Network::forecast`]. All zeros for a network without a linear part.
    pub fn linear_forecast(&self, sequence: &Sequence) -> Result<Vec<f32>, ModelError> {
        self.linear_forecast_of(sequence, 0..sequence.len())
    }

    /// The given rows of [`Network::linear_forecast`], the same to the bit. Rows behind the end are
    /// an error.
    pub fn linear_forecast_of(
        &self,
        sequence: &Sequence,
        rows: Range<usize>,
    ) -> Result<Vec<f32>, ModelError> {
        self.check_rows(sequence, &rows)?;
        let mut forecast = vec![0.0; rows.len() * sequence.n_features()];
        self.add_linear(sequence, rows.start, &mut forecast);
        Ok(forecast)
    }

    /// Turns down what the network adds to its linear part: the weights and the bias behind each
    /// feature are multiplied by its `gain`, 0 (only the linear part is left, or nothing without
    /// one) to 1 (as it is). Refuses another number of gains than features, and gains outside 0 to
    /// 1 or NaN; the network is then as before.
    pub fn dampen(&mut self, gain: &[f32]) -> Result<(), ModelError> {
        check_gain(gain, self.config().n_features)?;
        if let Some(layer) = self.layers.stack.last() {
            let weights = &mut self.parameters[layer.offset..][..layer.size()];
            for row in weights.chunks_mut(stride(layer.n_out)) {
                for (weight, gain) in row.iter_mut().zip(gain) {
                    *weight *= gain;
                }
            }
        }
        Ok(())
    }

    /// Makes a new network with a linear part give just that: a correction of random size is worse
    /// than none.
    pub(crate) fn forget_correction(&mut self) {
        if let (Some(_), Some(layer)) = (&self.layers.linear, self.layers.stack.last()) {
            self.parameters[layer.offset..][..layer.size()].fill(0.0);
        }
    }

    /// What the other layers should give for `rows` of `sequence`: the values less the linear part,
    /// row-major.
    pub(crate) fn wanted(&self, sequence: &Sequence, rows: Range<usize>) -> Vec<f32> {
        let n = sequence.n_features();
        let mut wanted = vec![0.0; rows.len() * n];
        self.add_linear(sequence, rows.start, &mut wanted);
        for (row, wanted) in rows.zip(wanted.chunks_mut(n)) {
            for (wanted, value) in wanted.iter_mut().zip(sequence.row(row)) {
                *wanted = value - *wanted;
            }
        }
        wanted
    }

    /// Adds the linear part to `predicted`, the rows of `sequence` from `start` on.
    pub(crate) fn add_linear(&self, sequence: &Sequence, start: usize, predicted: &mut [f32]) {
        let Some(layer) = &self.layers.linear else { return };
        let (n, stride) = (layer.n_out, stride(layer.n_out));
        let starts: Vec<_> = (0..layer.kernel).map(|tap| tap * stride).collect();
        let mut start = start;
        for block in predicted.chunks_mut(BLOCK_ROWS * n) {
            let rows = start..start + block.len() / n;
            start = rows.end;
            let values = with_rows_before(sequence, rows.clone(), layer.reach());
            let mut output = vec![0.0; rows.len() * stride];
            let reading = Reading { rows: rows.len(), step: 1, starts: &starts };
            layer.forward_at(&self.parameters, reading, &values, &mut output);
            for (sums, output) in block.chunks_mut(n).zip(output.chunks(stride)) {
                for (sum, output) in sums.iter_mut().zip(output) {
                    *sum += output;
                }
            }
        }
    }
}

fn check_gain(gain: &[f32], n_features: usize) -> Result<(), ModelError> {
    let setting = |found, allowed| Err(ModelError::Setting { field: "gain", found, allowed });
    if gain.len() != n_features {
        return setting(format!("{} values long", gain.len()), format!("{n_features} long"));
    }
    match gain.iter().find(|gain| !(0.0..=1.0).contains(*gain)) {
        Some(gain) => setting(gain.to_string(), "0 to 1".to_owned()),
        None => Ok(()),
    }
}

/// `rows` of `sequence` behind the `n_before` rows before, zeros where there are none, each row
/// filled up to whole lanes.
pub(crate) fn with_rows_before(
    sequence: &Sequence,
    rows: Range<usize>,
    n_before: usize,
) -> Vec<f32> {
    let (n, stride) = (sequence.n_features(), stride(sequence.n_features()));
    let n_missing = n_before.saturating_sub(rows.start);
    let mut values = vec![0.0; (n_before + rows.len()) * stride];
    let known = rows.start + n_missing - n_before..rows.end;
    for (row, into) in known.zip(values.chunks_exact_mut(stride).skip(n_missing)) {
        into[..n].copy_from_slice(sequence.row(row));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn rows(n_rows: usize) -> Sequence {
        let values = (0..n_rows * 2).map(|i| (i as f32 * 0.7).sin()).collect();
        Sequence::new(2, values, vec![true; n_rows * 2]).unwrap()
    }

    #[test]
    fn linear_part_is_a_sum_over_the_rows_before() {
        let network = Network::new(Config::recipe(2), 4).unwrap();
        let sequence = rows(600);
        let forecast = network.linear_forecast(&sequence).unwrap();
        let layer = network.layers.linear.as_ref().unwrap();
        for at in [0, 1, 2, 3, 255, 256, 257, 599] {
            for o in 0..2 {
                let mut sum = 0.0;
                for (row, tap) in (at as i64 - 3..at as i64).zip(0..3).filter(|(row, _)| *row >= 0)
                {
                    for i in 0..2 {
                        let weight = layer.weights(&network.parameters)[(tap * 2 + i) * 16 + o];
                        sum += sequence.row(row as usize)[i] * weight;
                    }
                }
                assert_eq!(forecast[at * 2 + o], sum, "row {at} feature {o}");
            }
        }
    }

    #[test]
    fn gains_turn_each_correction_down() {
        let network = Network::new(Config::recipe(2), 4).unwrap();
        let sequence = rows(50);
        let linear = network.linear_forecast(&sequence).unwrap();
        let full = network.forecast(&sequence).unwrap();
        let with = |gain: &[f32]| {
            let mut network = network.clone();
            network.dampen(gain).unwrap();
            (network.forecast(&sequence).unwrap(), network.complete(&sequence, 2).unwrap())
        };
        assert_eq!(with(&[0.0; 2]), (linear.clone(), linear.clone()));
        assert_eq!(with(&[1.0; 2]).0, full);
        for (at, found) in with(&[0.25, 0.0]).0.iter().enumerate() {
            let gain = if at % 2 == 0 { 0.25 } else { 0.0 };
            assert!((found - linear[at] - gain * (full[at] - linear[at])).abs() < 1e-6);
        }
    }

    #[test]
    fn gains_that_are_none_are_refused() {
        let mut network = Network::new(Config::recipe(2), 4).unwrap();
        let before = network.clone();
        let cases: [(&[f32], _); 4] = [
            (&[1.0], "`gain` is 1 values long, it must be 2 long"),
            (&[0.5, 1.1], "`gain` is 1.1, it must be 0 to 1"),
            (&[-0.1, 1.0], "`gain` is -0.1, it must be 0 to 1"),
            (&[0.5, f32::NAN], "`gain` is NaN, it must be 0 to 1"),
        ];
        for (gain, message) in cases {
            assert_eq!(network.dampen(gain).unwrap_err().to_string(), message);
        }
        assert_eq!(network, before);
    }
}
