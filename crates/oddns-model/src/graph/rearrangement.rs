//! Layers that move values and compute nothing: padding, cropping, repetition, joining.

use super::operation::{Call, Operation};

/// The output is made of values of one input: where each comes from, `None` for zero. Serves
/// upsampling, padding, cropping and repetition of vectors.
pub(super) struct Select {
    input_size: usize,
    output_size: usize,
    runs: Vec<Run>,
}

/// Neighbours that come from neighbours.
struct Run {
    from: Option<usize>,
    length: usize,
}

impl Select {
    /// `places` of `unit` floats each, from an input of `input_size` floats.
    fn new(unit: usize, input_size: usize, places: &[Option<usize>]) -> Self {
        let mut runs: Vec<Run> = vec![];
        for from in places.iter().map(|place| place.map(|place| place * unit)) {
            match runs.last_mut() {
                Some(run) if from == run.from.map(|at| at + run.length) => run.length += unit,
                _ => runs.push(Run { from, length: unit }),
            }
        }
        Self { input_size, output_size: places.len() * unit, runs }
    }

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
        Self::new(unit, from[0] * from[1] * unit, &places)
    }
}

impl Operation for Select {
    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let samples = call.inputs[0].chunks(self.input_size);
        for (input, mut output) in samples.zip(output.chunks_mut(self.output_size)) {
            for run in &self.runs {
                let (to, later) = output.split_at_mut(run.length);
                match run.from {
                    Some(at) => to.copy_from_slice(&input[at..][..run.length]),
                    None => to.fill(0.0),
                }
                output = later;
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
        let samples = slope.chunks(self.output_size);
        for (mut slope, into) in samples.zip(into.chunks_mut(self.input_size)) {
            for run in &self.runs {
                let (here, later) = slope.split_at(run.length);
                if let Some(at) = run.from {
                    let into = &mut into[at..][..run.length];
                    into.iter_mut().zip(here).for_each(|(into, slope)| *into += slope);
                }
                slope = later;
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
