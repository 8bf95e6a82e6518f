//! What a trained network predicts.

use std::ops::Range;

use crate::masking::Hidden;
use crate::network::Network;
use crate::{ModelError, Sequence};

/// Rows predicted in one go: the planes of a block stay in the cache, and a history of any length
/// takes the same memory.
const BLOCK_ROWS: usize = 256;

impl Network {
    /// What each row should be, from the rows before it alone. Row-major, one row for each of
    /// `sequence`, none for none; rows before the first count as zeros. Refuses a sequence of
    /// another width.
    pub fn forecast(&self, sequence: &Sequence) -> Result<Vec<f32>, ModelError> {
        self.predict(sequence, 0..sequence.len(), 1)
    }

    /// The given rows of [`Network::forecast`], the same to the bit. Rows behind the end are an
    /// error.
    pub fn forecast_of(
        &self,
        sequence: &Sequence,
        rows: Range<usize>,
    ) -> Result<Vec<f32>, ModelError> {
        self.check_rows(sequence, &rows)?;
        self.predict(sequence, rows, 1)
    }

    /// The last row of [`Network::forecast`], the same to the bit. Only the last
    /// [`Network::receptive_field`] rows of `sequence` count, so a caller may give just those.
    pub fn forecast_last(&self, sequence: &Sequence) -> Result<Vec<f32>, ModelError> {
        self.predict(sequence, sequence.len().saturating_sub(1)..sequence.len(), 1)
    }

    /// What each value should be, from the rows before and the other values of its row. Features
    /// are hidden in `n_groups` passes, feature `j` in pass `j % n_groups`, and predicted by the
    /// pass that did not see them; 1 group is a forecast. Shape and errors as
    /// [`Network::forecast`]; 0 groups are an error too.
    pub fn complete(&self, sequence: &Sequence, n_groups: usize) -> Result<Vec<f32>, ModelError> {
        self.predict(sequence, 0..sequence.len(), n_groups)
    }

    /// The last row of [`Network::complete`], the same to the bit; see [`Network::forecast_last`].
    pub fn complete_last(
        &self,
        sequence: &Sequence,
        n_groups: usize,
    ) -> Result<Vec<f32>, ModelError> {
        self.predict(sequence, sequence.len().saturating_sub(1)..sequence.len(), n_groups)
    }

    /// Predicts `wanted` rows of `sequence`.
    pub(crate) fn predict(
        &self,
        sequence: &Sequence,
        wanted: Range<usize>,
        n_groups: usize,
    ) -> Result<Vec<f32>, ModelError> {
        self.check_width(sequence)?;
        if n_groups == 0 {
            let (found, allowed) = ("0".to_owned(), "at least 1".to_owned());
            return Err(ModelError::Setting { field: "n_groups", found, allowed });
        }
        // More groups than features would be passes that predict nothing.
        let n_groups = n_groups.min(self.config().n_features);
        let mut predicted = vec![0.0; wanted.len() * self.config().n_features];
        if wanted.len() == 1 && wanted.end == sequence.len() {
            self.predict_last(sequence, n_groups, &mut predicted);
        } else {
            let blocks = predicted.chunks_mut(BLOCK_ROWS * self.config().n_features);
            for (start, block) in wanted.clone().step_by(BLOCK_ROWS).zip(blocks) {
                self.predict_block(sequence, start, n_groups, block);
            }
        }
        self.add_linear(sequence, wanted.start, &mut predicted);
        Ok(predicted)
    }

    /// Predicts as many rows from `start` on as fit `predicted`, without the linear part. A row
    /// depends on the receptive field only and is computed by the same operations wherever it
    /// stands, so starting that many rows earlier gives the bits that a pass over everything would.
    fn predict_block(
        &self,
        sequence: &Sequence,
        start: usize,
        n_groups: usize,
        predicted: &mut [f32],
    ) {
        let n = self.config().n_features;
        let from = start.saturating_sub(self.receptive_field() - 1);
        let rows = from..start + predicted.len() / n;
        let hidden = |group| Hidden::group(group, n_groups);
        let mut inputs = self.inputs(sequence, rows.clone(), hidden(0));
        let history = self.history(&inputs.history);
        for group in 0..n_groups {
            if group > 0 {
                inputs.show(sequence, rows.clone(), hidden(group));
            }
            let pass = self.pass(&history, inputs.visible.as_ref());
            for (row, predicted) in predicted.chunks_mut(n).enumerate() {
                let output = pass.output.row(start - from + row);
                for j in (group..n).step_by(n_groups) {
                    predicted[j] = output[j];
                }
            }
        }
    }
}
