//! The few directions in which features move together.

use super::eigen::symmetric;
use super::scale::STATIC_CLIP;
use super::state::Fields;
use crate::DetectError;

/// Columns that are looked at together. A wider table is judged in blocks of adjacent columns:
/// what one row costs, and what has to be kept, then grows with the width and not with its square.
pub(crate) const BLOCK: usize = 64;

/// Share of the variance that the directions of a block hold between them, as in most published
/// uses of the method.
const EXPLAINED: f64 = 0.9;

/// Elements of a direction are not above 1, but for rounding.
const LONGEST: f32 = 1.001;

/// Principal directions of one block of adjacent columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Block {
    /// How many columns the block has, 1 to [`BLOCK`].
    width: usize,
    /// Covariance of the columns, row by row.
    pub(crate) covariance: Vec<f32>,
    /// Directions of length 1, one after the other.
    directions: Vec<f32>,
}

impl Block {
    /// `width` features that do not move.
    fn new(width: usize) -> Self {
        Self { width, covariance: vec![0.0; width * width], directions: Vec::new() }
    }

    /// Moves the covariance by `weight` towards that of `z`.
    fn take(&mut self, z: &[f32], weight: f32) {
        for (at, row) in self.covariance.chunks_exact_mut(self.width).enumerate() {
            for (element, other) in row.iter_mut().zip(z) {
                *element += weight * (z[at] * other - *element);
            }
        }
    }

    /// Finds the directions anew.
    fn turn(&mut self) {
        let rows = self.covariance.chunks_exact(self.width);
        let matrix = rows.map(|row| row.iter().map(|element| f64::from(*element)).collect());
        let eigen = symmetric(matrix.collect());
        let whole: f64 = eigen.values.iter().map(|value| value.max(0.0)).sum();
        let mut held = 0.0;
        self.directions.clear();
        for (value, vector) in eigen.values.iter().zip(&eigen.vectors) {
            if held >= EXPLAINED * whole {
                break;
            }
            held += value;
            self.directions.extend(vector.iter().map(|element| *element as f32));
        }
    }

    /// What is left of `z` without the directions.
    fn remove(&self, z: &mut [f32]) {
        // Directions are at right angles: taking them out one after the other takes all of them out.
        for direction in self.directions.chunks_exact(self.width) {
            let along: f32 = direction.iter().zip(&*z).map(|(d, z)| d * z).sum();
            for (z, d) in z.iter_mut().zip(direction) {
                *z -= along * d;
            }
        }
    }

    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        fields.list(&mut self.covariance, self.width * self.width, STATIC_CLIP * STATIC_CLIP)?;
        let mut n_directions = self.directions.len() / self.width;
        fields.count(&mut n_directions, 0..=self.width)?;
        fields.list(&mut self.directions, n_directions * self.width, LONGEST)
    }
}

/// Principal directions of all columns, block by block.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Subspace {
    blocks: Vec<Block>,
}

impl Subspace {
    /// `width` features that do not move.
    pub(crate) fn new(width: usize) -> Self {
        let size = |from| BLOCK.min(width - from);
        Self { blocks: (0..width).step_by(BLOCK).map(|from| Block::new(size(from))).collect() }
    }

    /// Moves the covariance by `weight`, 0 to 1, towards that of the standardised row `z`.
    pub(crate) fn take(&mut self, z: &[f32], weight: f32) {
        for (block, z) in self.blocks.iter_mut().zip(z.chunks(BLOCK)) {
            block.take(z, weight);
        }
    }

    /// Finds the directions of the covariance as it is now.
    pub(crate) fn turn(&mut self) {
        self.blocks.iter_mut().for_each(Block::turn);
    }

    /// Leaves of the standardised row `z` what the directions do not account for.
    pub(crate) fn remove(&self, z: &mut [f32]) {
        for (block, z) in self.blocks.iter().zip(z.chunks_mut(BLOCK)) {
            block.remove(z);
        }
    }

    /// The fields of a state, for a table of `width` columns.
    pub(crate) fn fields(
        &mut self,
        fields: &mut Fields<'_>,
        width: usize,
    ) -> Result<(), DetectError> {
        if matches!(fields, Fields::Read(_)) {
            *self = Self::new(width);
        }
        self.blocks.iter_mut().try_for_each(|block| block.fields(fields))
    }
}
