//! Layers that move values and compute nothing: padding, cropping, repetition, joining.

use super::operation::{Call, Operation};

/// The output is made of values of one input: where each comes from, `None` for zero. Serves
/// upsampling, padding, cropping and repetition of vectors. Places count `unit` floats each.
pub(super) struct Select {
    pub(super) unit: usize,
    pub(super) input_size: usize,
    pub(super) places: Vec<Option<usize>>,
}

impl Select {
    /// From a grid `(height, width)` of `unit` floats: `source` tells for a line or column of the
    /// output which one of the input it shows.
    pub(super) fn grid(
        unit: usize,
        from: [usize; 2],
        to: [usize; 2],
        source: impl Fn(usize, usize) -> Option<usize>,
    ) -> Self {
        let mut places = vec![];
        for y in 0..to[0] {
            for x in 0..to[1] {
                let place = source(0, y).zip(source(1, x)).map(|(y, x)| y * from[1] + x);
                places.push(place);
            }
        }
        Self { unit, input_size: from[0] * from[1] * unit, places }
    }
}

impl Operation for Select {
    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let samples = call.inputs[0].chunks(self.input_size);
        for (input, output) in samples.zip(output.chunks_mut(self.places.len() * self.unit)) {
            for (place, output) in self.places.iter().zip(output.chunks_mut(self.unit)) {
                match place {
                    Some(at) => output.copy_from_slice(&input[at * self.unit..][..self.unit]),
                    None => output.fill(0.0),
                }
            }
        }
    }

    fn add_input_slope(
        &self,
        _call: &Call<'_>,
        _output: &[f32],
        slope: &[f32],
        _which: usize,
        into: &mut [f32],
    ) {
        let samples = slope.chunks(self.places.len() * self.unit);
        for (slope, into) in samples.zip(into.chunks_mut(self.input_size)) {
            for (place, slope) in self.places.iter().zip(slope.chunks(self.unit)) {
                if let Some(at) = place {
                    let into = &mut into[at * self.unit..][..self.unit];
                    into.iter_mut().zip(slope).for_each(|(into, slope)| *into += slope);
                }
            }
        }
    }
}

/// The same values in the same order: flattening, reshaping, and an activation that is linear.
pub(super) struct Keep;

impl Operation for Keep {
    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        output.copy_from_slice(call.inputs[0]);
    }

    fn add_input_slope(
        &self,
        _call: &Call<'_>,
        _output: &[f32],
        slope: &[f32],
        _which: usize,
        into: &mut [f32],
    ) {
        into.iter_mut().zip(slope).for_each(|(into, slope)| *into += slope);
    }
}

/// The sum of inputs of one shape.
pub(super) struct Sum;

impl Operation for Sum {
    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        output.fill(0.0);
        for input in call.inputs {
            output.iter_mut().zip(*input).for_each(|(sum, value)| *sum += value);
        }
    }

    fn add_input_slope(
        &self,
        call: &Call<'_>,
        output: &[f32],
        slope: &[f32],
        which: usize,
        into: &mut [f32],
    ) {
        Keep.add_input_slope(call, output, slope, which, into);
    }
}

/// Inputs one behind the other along an axis: each gives `widths[i]` floats by turns.
pub(super) struct Join {
    pub(super) widths: Vec<usize>,
}

impl Operation for Join {
    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let mut parts: Vec<_> = call
            .inputs
            .iter()
            .zip(&self.widths)
            .map(|(input, width)| input.chunks(*width))
            .collect();
        for row in output.chunks_mut(self.widths.iter().sum()) {
            let mut rest = row;
            for (part, width) in parts.iter_mut().zip(&self.widths) {
                let (to, after) = rest.split_at_mut(*width);
                to.copy_from_slice(part.next().unwrap_or_default());
                rest = after;
            }
        }
    }

    fn add_input_slope(
        &self,
        _call: &Call<'_>,
        _output: &[f32],
        slope: &[f32],
        which: usize,
        into: &mut [f32],
    ) {
        let from: usize = self.widths[..which].iter().sum();
        let rows = slope.chunks(self.widths.iter().sum());
        for (slope, into) in rows.zip(into.chunks_mut(self.widths[which])) {
            into.iter_mut().zip(&slope[from..]).for_each(|(into, slope)| *into += slope);
        }
    }
}
