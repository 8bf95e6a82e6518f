//! Where a transposed convolution writes: every place of a grid from the positions whose patches
//! cover it.
//!
//! Places that are a stride apart are covered by the same taps of the kernel, so all of them are one
//! product of matrices: as many products as the stride is long, each place is written once, and no
//! patch is ever laid over another.

use super::patches::{Border, Grid, Walk};
use super::product::{Begin, LANES, Product, Rows, Weights, multiply, transposed_panels};

/// The way from the values at all positions of a kernel to the grid that it walks over.
#[derive(Debug, Clone)]
pub(super) struct Spread {
    /// The values, with zeros where a place looks beyond them.
    positions: Grid,
    /// Values of a grid.
    size: usize,
    channels: usize,
    phases: Vec<Phase>,
}

/// Places of a grid that the same taps cover.
#[derive(Debug, Clone)]
struct Phase {
    /// Taps of the kernel, the last first, as their values lie in rising order.
    taps: Vec<usize>,
    /// Of each place, the first value in the bordered positions that it is made from.
    starts: Vec<usize>,
    /// Of each place, its offset in the grid.
    to: Vec<usize>,
    /// The stretches that a place is made from, from its start.
    segments: Vec<usize>,
    /// Floats in a stretch.
    length: usize,
}

/// As [`Phase`], along one axis.
struct Along {
    /// The last first.
    taps: Vec<usize>,
    /// How far behind each tap looks, in positions, falling.
    behind: Vec<usize>,
    /// Places with the position that a tap of no distance looks at.
    places: Vec<(usize, usize)>,
}

impl Along {
    /// All phases of an axis with `extent` places after a border of `before`.
    fn all(before: usize, extent: usize, walk: Walk, axis: usize) -> Vec<Self> {
        let (kernel, stride) = (walk.kernel[axis], walk.strides[axis]);
        let reach = |tap: usize| tap * walk.dilation[axis];
        let phase = |phase: usize| {
            let taps: Vec<_> =
                (0..kernel).rev().filter(|tap| reach(*tap) % stride == phase).collect();
            let behind = taps.iter().map(|tap| reach(*tap) / stride).collect();
            let here = (0..extent).filter(|place| (before + place) % stride == phase);
            let places = here.map(|place| (place, (before + place) / stride)).collect();
            Self { taps, behind, places }
        };
        (0..stride).map(phase).filter(|along| !along.places.is_empty()).collect()
    }

    /// Zeros that are looked at before the first and after the last of `positions`.
    fn border(all: &[Self], positions: usize) -> (usize, usize) {
        let (mut before, mut after) = (0, 0);
        for along in all {
            if let (Some(most), Some(least)) = (along.behind.first(), along.behind.last()) {
                for (_, at) in &along.places {
                    before = before.max(most.saturating_sub(*at));
                    after = after.max((at + 1).saturating_sub(least + positions));
                }
            }
        }
        (before, after)
    }

    /// Of each place, the first position that it looks at, in positions with a border of `before`.
    fn firsts(&self, before: usize) -> impl Iterator<Item = (usize, usize)> {
        let most = self.behind.first().copied().unwrap_or_default();
        // A place without taps looks at nothing; where that lies does not matter.
        self.places.iter().map(move |(place, at)| (*place, (at + before).saturating_sub(most)))
    }

    /// How far after the first the positions lie that a place looks at.
    fn offsets(&self) -> impl Iterator<Item = usize> {
        let most = self.behind.first().copied().unwrap_or_default();
        self.behind.iter().map(move |behind| most - behind)
    }
}

impl Spread {
    /// Over `grid`, from `columns` values at each position.
    pub(super) fn new(grid: &Grid, walk: Walk, columns: usize) -> Self {
        let lines = Along::all(grid.border.top, grid.height, walk, 0);
        let places = Along::all(grid.border.left, grid.width, walk, 1);
        let (top, bottom) = Along::border(&lines, walk.positions[0]);
        let (left, right) = Along::border(&places, walk.positions[1]);
        let positions = Grid {
            height: walk.positions[0],
            width: walk.positions[1],
            channels: columns,
            border: Border { top, bottom, left, right },
        };
        let pairs = lines.iter().flat_map(|y| places.iter().map(move |x| (y, x)));
        let phases = pairs.map(|(y, x)| Phase::new(grid, walk, &positions, y, x)).collect();
        Self { size: grid.size(), channels: grid.channels, positions, phases }
    }

    /// The weights of a kernel as [`Spread::run`] takes them, from `(taps, channels, columns)`.
    pub(super) fn pack(&self, matrix: &[f32]) -> Vec<f32> {
        let columns = self.positions.channels;
        let tap = (self.channels * columns).max(1);
        let of_taps: Vec<_> =
            matrix.chunks(tap).map(|weights| transposed_panels(weights, columns)).collect();
        let mut packed = vec![];
        for phase in &self.phases {
            for block in 0..self.channels.div_ceil(LANES) {
                for tap in &phase.taps {
                    let size = columns * LANES;
                    packed.extend_from_slice(&of_taps[*tap][block * size..][..size]);
                }
            }
        }
        packed
    }

    /// `(samples, positions, columns)` → `(samples, height, width, channels)`: the values at each
    /// position times the weights, laid over its patch, on top of `begin`.
    pub(super) fn run(
        &self,
        values: &[f32],
        samples: usize,
        packed: &[f32],
        begin: Begin<'_>,
        room: &mut Vec<f32>,
        grids: &mut [f32],
    ) {
        let (values, size) = (self.positions.pad(values, samples, room), self.positions.bordered());
        let mut packed = packed;
        for phase in &self.phases {
            let width = phase.segments.len() * phase.length;
            let (panels, later) = packed.split_at(width * LANES * self.channels.div_ceil(LANES));
            packed = later;
            let each = |places: &[usize], size: usize| -> Vec<usize> {
                let of_sample = |s: usize| places.iter().map(move |place| s * size + place);
                (0..samples).flat_map(of_sample).collect()
            };
            let starts = each(&phase.starts, size);
            let rows =
                Rows { values, starts: &starts, segments: &phase.segments, length: phase.length };
            let to = each(&phase.to, self.size);
            let weights = Weights { panels, columns: self.channels, begin };
            multiply(Product { rows, weights, to: &to }, grids);
        }
    }
}

impl Phase {
    fn new(grid: &Grid, walk: Walk, positions: &Grid, y: &Along, x: &Along) -> Self {
        let (line, columns) = (positions.line(), positions.channels);
        let (mut starts, mut to) = (vec![], vec![]);
        for (line_of_place, first_y) in y.firsts(positions.border.top) {
            for (place, first_x) in x.firsts(positions.border.left) {
                starts.push(first_y * line + first_x * columns);
                to.push((line_of_place * grid.width + place) * grid.channels);
            }
        }
        let pairs = y.taps.iter().flat_map(|y| x.taps.iter().map(move |x| (y, x)));
        let taps = pairs.map(|(y, x)| y * walk.kernel[1] + x).collect();
        let mut steps: Vec<_> = x.offsets().collect();
        let mut length = columns;
        // Neighbouring positions are one stretch.
        if steps.windows(2).all(|pair| pair[1] == pair[0] + 1) && !steps.is_empty() {
            length = steps.len() * columns;
            steps.truncate(1);
        }
        let segments = y.offsets().flat_map(|y| steps.iter().map(move |x| y * line + x * columns));
        Self { taps, starts, to, segments: segments.collect(), length }
    }
}
