//! Numbers with a shape.

use crate::ModelError;
use crate::error::Shape;

/// Finite numbers in rows, the sample first: `(samples, …)`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// At least two sizes; the values are as many as their product.
    shape: Vec<usize>,
    /// All finite.
    values: Vec<f32>,
}

impl Tensor {
    /// From a shape, samples first, and values in its order. No samples are fine; a NaN, an
    /// infinity or another number of values is an error.
    pub fn new(shape: Vec<usize>, values: Vec<f32>) -> Result<Self, ModelError> {
        let size = shape.iter().try_fold(1_usize, |size, n| size.checked_mul(*n));
        if shape.len() < 2 || size != Some(values.len()) {
            let shape = Shape(shape.iter().map(|n| *n as u64).collect());
            return Err(ModelError::TensorShape { shape, values: values.len() });
        }
        if let Some(at) = first_not_finite(&values) {
            let size: usize = shape[1..].iter().product();
            return Err(ModelError::NotFiniteInput { sample: at / size.max(1), value: values[at] });
        }
        Ok(Self { shape, values })
    }

    /// What a network computed; overflow may have made it infinite.
    pub(super) fn computed(shape: Vec<usize>, values: Vec<f32>) -> Self {
        Self { shape, values }
    }

    /// Samples, then the shape of each.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many samples.
    pub fn samples(&self) -> usize {
        self.shape.first().copied().unwrap_or_default()
    }

    /// All values, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values without the shape.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// The values of sample `at`; empty when there is none such.
    pub fn sample(&self, at: usize) -> &[f32] {
        let size: usize = self.shape[1..].iter().product();
        self.values.get(at * size..(at + 1) * size).unwrap_or_default()
    }
}

/// Looks at many values at a time, as nearly always all are finite.
pub(super) fn first_not_finite(values: &[f32]) -> Option<usize> {
    const BLOCK: usize = 1024;
    let odd = |block: &[f32]| block.iter().fold(false, |odd, value| odd | !value.is_finite());
    let at = values.chunks(BLOCK).position(odd)? * BLOCK;
    values[at..].iter().position(|value| !value.is_finite()).map(|after| at + after)
}
