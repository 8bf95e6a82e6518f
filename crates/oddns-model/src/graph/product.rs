//! Products of matrices whose rows may overlap: all convolutions and dense layers are these.
//!
//! A row of the left matrix is a list of segments of a sample, so a convolution reads its input in
//! place and nothing is copied out. As in `kernels`, each element of a result is one chain of
//! multiply and add in an order that depends on nothing but the layer: the same bits for one row
//! as for thousands, and for every instruction set. That is why no library computes this; on the
//! shapes of our networks it reaches 150 to 210 GFLOP/s forward and 100 to 135 for gradients of
//! weights on one core of a Zen 5 with AVX-512, where the `gemm` crate reaches 200 to 230.
//!
//! Nearly all of that is easily lost: sums must be loaded, added to and stored by functions of
//! their own, no length that varies may touch an array of them, tiles of more than 12 rows are not
//! unrolled, and a slice of constant length in the innermost loops makes the compiler gather.

use multiversion::multiversion;
use multiversion::target::match_target;

/// Columns of the right matrix that lie together: one AVX-512 register, two of AVX2.
pub(super) const LANES: usize = 16;
/// Values of a row that one sweep takes, so that its part of the right matrix stays in the cache.
const SWEEP: usize = 512;
/// Rows that the gradient takes in one sweep, for the same reason.
const SWEEP_ROWS: usize = 256;

type Lanes = [f32; LANES];

/// The left matrix. Row `r` holds, for each of `segments`, the `length` floats of `values` from
/// `starts[r] + segment` on.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f32],
    pub(super) starts: &'a [usize],
    pub(super) segments: &'a [usize],
    pub(super) length: usize,
}

impl Rows<'_> {
    /// Values in a row.
    fn width(&self) -> usize {
        self.segments.len() * self.length
    }
}

/// A stretch of a row: `length` floats from `start + offset` on, being values `at ..` of the row.
#[derive(Clone, Copy)]
struct Piece {
    offset: usize,
    length: usize,
    at: usize,
}

fn sweeps(segments: &[usize], length: usize) -> Vec<Vec<Piece>> {
    let mut sweeps = vec![];
    let (mut sweep, mut room, mut at) = (vec![], SWEEP, 0);
    for segment in segments {
        let mut done = 0;
        while done < length {
            let take = room.min(length - done);
            sweep.push(Piece { offset: segment + done, length: take, at });
            (done, at, room) = (done + take, at + take, room - take);
            if room == 0 {
                sweeps.push(std::mem::take(&mut sweep));
                room = SWEEP;
            }
        }
    }
    if !sweep.is_empty() {
        sweeps.push(sweep);
    }
    sweeps
}

/// The columns of a row-major matrix of `columns` columns in blocks of [`LANES`], zeros after the
/// last: block, row, lane.
pub(super) fn panels(matrix: &[f32], columns: usize) -> Vec<f32> {
    let rows = matrix.len() / columns.max(1);
    let mut panels = vec![0.0; columns.div_ceil(LANES) * rows * LANES];
    for (r, row) in matrix.chunks(columns.max(1)).enumerate() {
        for (block, part) in row.chunks(LANES).enumerate() {
            panels[(block * rows + r) * LANES..][..part.len()].copy_from_slice(part);
        }
    }
    panels
}

/// As [`panels`], of the transposed matrix.
pub(super) fn transposed_panels(matrix: &[f32], columns: usize) -> Vec<f32> {
    let rows = matrix.len() / columns.max(1);
    let mut transposed = vec![0.0; matrix.len()];
    for (r, row) in matrix.chunks(columns.max(1)).enumerate() {
        for (c, value) in row.iter().enumerate() {
            transposed[c * rows + r] = *value;
        }
    }
    panels(&transposed, rows)
}

/// `output[r][c] = bias[c] + Σ row r [i] · matrix[i][c]`, `i` rising. `panels` is the matrix as
/// [`panels`] gives it, `bias` has one value for each column, `output` is row-major.
pub(super) fn multiply(rows: Rows<'_>, panels: &[f32], bias: &[f32], output: &mut [f32]) {
    if bias.is_empty() {
        return;
    }
    repeat(bias, output);
    for sweep in sweeps(rows.segments, rows.length) {
        add_sweep(rows, &sweep, panels, bias.len(), output);
    }
}

/// Writes `row` over and over into `rows`. Few values at a time are what networks of images have, and
/// a call to copy each few took a sixth of their time.
pub(super) fn repeat(row: &[f32], rows: &mut [f32]) {
    match row {
        [] => {}
        // Not by comparison: of zeros only the one with these bits is what `fill` writes.
        row if row.iter().all(|value| value.to_bits() == 0) => rows.fill(0.0),
        [value] => rows.fill(*value),
        row => match <&Lanes>::try_from(row) {
            Ok(lanes) => rows.chunks_exact_mut(LANES).for_each(|to| to.copy_from_slice(lanes)),
            Err(_) => rows.chunks_mut(row.len()).for_each(|to| to.copy_from_slice(row)),
        },
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2"))]
fn add_sweep(rows: Rows<'_>, sweep: &[Piece], panels: &[f32], columns: usize, output: &mut [f32]) {
    match_target! {
        "x86_64+avx512f+avx512vl+avx512bw+avx512dq" => {
            add_sweep_tiled::<12, 2>(rows, sweep, panels, columns, output);
        },
        _ => add_sweep_tiled::<6, 1>(rows, sweep, panels, columns, output),
    }
}

#[inline(always)]
fn add_sweep_tiled<const R: usize, const P: usize>(
    rows: Rows<'_>,
    sweep: &[Piece],
    panels: &[f32],
    columns: usize,
    output: &mut [f32],
) {
    let n_panels = columns.div_ceil(LANES);
    let panel = |at: usize| &panels[at * rows.width() * LANES..][..rows.width() * LANES];
    let paired = n_panels - n_panels % P;
    for at in (0..paired).step_by(P) {
        let mut group: [&[f32]; P] = [&[]; P];
        for (p, slot) in group.iter_mut().enumerate() {
            *slot = panel(at + p);
        }
        add_panels::<R, P>(rows, sweep, group, at * LANES, columns, output);
    }
    for at in paired..n_panels {
        add_panels::<R, 1>(rows, sweep, [panel(at)], at * LANES, columns, output);
    }
}

#[inline(always)]
fn add_panels<const R: usize, const P: usize>(
    rows: Rows<'_>,
    sweep: &[Piece],
    panels: [&[f32]; P],
    column: usize,
    columns: usize,
    output: &mut [f32],
) {
    let n = rows.starts.len();
    let (tiled, fours) = (n - n % R, n - n % R % 4);
    for r in (0..tiled).step_by(R) {
        let output = &mut output[r * columns + column..];
        add_tile::<R, P>(rows.values, &rows.starts[r..], sweep, panels, columns, output, column);
    }
    for r in (tiled..fours).step_by(4) {
        let output = &mut output[r * columns + column..];
        add_tile::<4, P>(rows.values, &rows.starts[r..], sweep, panels, columns, output, column);
    }
    for r in fours..n {
        let output = &mut output[r * columns + column..];
        add_tile::<1, P>(rows.values, &rows.starts[r..], sweep, panels, columns, output, column);
    }
}

/// Adds a sweep to `R` rows × `P` panels of the output.
#[inline(always)]
fn add_tile<const R: usize, const P: usize>(
    values: &[f32],
    starts: &[usize],
    sweep: &[Piece],
    panels: [&[f32]; P],
    columns: usize,
    output: &mut [f32],
    column: usize,
) {
    let width = (columns - column).min(P * LANES);
    let mut sums = load::<R, P>(output, columns, width);
    for piece in sweep {
        let mut rows: [&[f32]; R] = [&[]; R];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = &values[starts[r] + piece.offset..][..piece.length];
        }
        let mut weights: [&[f32]; P] = [&[]; P];
        for (p, part) in weights.iter_mut().enumerate() {
            *part = &panels[p][piece.at * LANES..][..piece.length * LANES];
        }
        sums = tile::<R, P>(sums, piece.length, rows, weights);
    }
    store::<R, P>(&sums, output, columns, width);
}

/// `sums[r][p] + Σ rows[r][i] · weights[p][i]`. That it returns the sums keeps them in registers:
/// sums that are stored where they are added stay in memory.
#[inline(always)]
fn tile<const R: usize, const P: usize>(
    sums: [[Lanes; P]; R],
    length: usize,
    rows: [&[f32]; R],
    weights: [&[f32]; P],
) -> [[Lanes; P]; R] {
    let mut sums = sums;
    for i in 0..length {
        let mut weight = [[0.0; LANES]; P];
        for p in 0..P {
            weight[p] = lanes(&weights[p][i * LANES..]);
        }
        for r in 0..R {
            let value = rows[r][i];
            for p in 0..P {
                for lane in 0..LANES {
                    sums[r][p][lane] += value * weight[p][lane];
                }
            }
        }
    }
    sums
}

#[inline(always)]
fn lanes(from: &[f32]) -> Lanes {
    let mut lanes = [0.0; LANES];
    lanes.copy_from_slice(&from[..LANES]);
    lanes
}

/// As [`lanes`], with zeros for what `from` lacks. The sums of a tile stay in registers only if no
/// part of them is ever addressed by a length that is not constant: hence the copy.
#[inline(always)]
fn first_lanes(from: &[f32]) -> Lanes {
    if from.len() >= LANES {
        return lanes(from);
    }
    let mut lanes = [0.0; LANES];
    lanes[..from.len()].copy_from_slice(from);
    lanes
}

/// Writes as many lanes as `to` has room for.
#[inline(always)]
fn store_first(lanes: Lanes, to: &mut [f32]) {
    if to.len() >= LANES {
        to[..LANES].copy_from_slice(&lanes);
    } else {
        to.copy_from_slice(&lanes[..to.len()]);
    }
}

#[inline(always)]
fn load<const R: usize, const P: usize>(
    from: &[f32],
    stride: usize,
    width: usize,
) -> [[Lanes; P]; R] {
    let mut sums = [[[0.0; LANES]; P]; R];
    for (r, sums) in sums.iter_mut().enumerate() {
        let row = &from[r * stride..][..width];
        for (p, sums) in sums.iter_mut().enumerate() {
            *sums = first_lanes(&row[(p * LANES).min(width)..]);
        }
    }
    sums
}

#[inline(always)]
fn store<const R: usize, const P: usize>(
    sums: &[[Lanes; P]; R],
    to: &mut [f32],
    stride: usize,
    width: usize,
) {
    for (r, sums) in sums.iter().enumerate() {
        let row = &mut to[r * stride..][..width];
        for (p, sums) in sums.iter().enumerate() {
            store_first(*sums, &mut row[(p * LANES).min(width)..]);
        }
    }
}

/// `gradient[i][c] += Σ row r [i] · slope[r][c]`, rows rising. `slope` is row-major with `columns`
/// columns, as `gradient` is.
pub(super) fn add_outer(rows: Rows<'_>, slope: &[f32], columns: usize, gradient: &mut [f32]) {
    let mut sums = panels(gradient, columns);
    for (starts, slope) in
        rows.starts.chunks(SWEEP_ROWS).zip(slope.chunks(SWEEP_ROWS * columns.max(1)))
    {
        let slopes = panels(slope, columns);
        let panels = slopes.chunks(starts.len() * LANES);
        for (slopes, sums) in panels.zip(sums.chunks_mut(rows.width() * LANES)) {
            let parts = sums.chunks_mut(rows.length * LANES);
            for (segment, sums) in rows.segments.iter().zip(parts) {
                add_segment(Rows { starts, ..rows }, *segment, slopes, sums);
            }
        }
    }
    for (i, row) in gradient.chunks_mut(columns.max(1)).enumerate() {
        for (block, part) in row.chunks_mut(LANES).enumerate() {
            part.copy_from_slice(&sums[(block * rows.width() + i) * LANES..][..part.len()]);
        }
    }
}

/// One segment of the rows and one panel of slopes and sums.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2"))]
fn add_segment(rows: Rows<'_>, segment: usize, slopes: &[f32], sums: &mut [f32]) {
    match_target! {
        "x86_64+avx512f+avx512vl+avx512bw+avx512dq" => {
            add_segment_tiled::<12>(rows, segment, slopes, sums);
        },
        _ => add_segment_tiled::<6>(rows, segment, slopes, sums),
    }
}

#[inline(always)]
fn add_segment_tiled<const I: usize>(
    rows: Rows<'_>,
    segment: usize,
    slopes: &[f32],
    sums: &mut [f32],
) {
    let n = rows.length;
    let (tiled, threes) = (n - n % I, n - n % I % 3);
    for i in (0..tiled).step_by(I) {
        let tile = outer_tile::<I>(rows, segment + i, slopes, &sums[i * LANES..]);
        store_whole(&tile, &mut sums[i * LANES..]);
    }
    for i in (tiled..threes).step_by(3) {
        let tile = outer_tile::<3>(rows, segment + i, slopes, &sums[i * LANES..]);
        store_whole(&tile, &mut sums[i * LANES..]);
    }
    for i in threes..n {
        let tile = outer_tile::<1>(rows, segment + i, slopes, &sums[i * LANES..]);
        store_whole(&tile, &mut sums[i * LANES..]);
    }
}

#[inline(always)]
fn store_whole(sums: &[Lanes], to: &mut [f32]) {
    for (sums, to) in sums.iter().zip(to.chunks_mut(LANES)) {
        to.copy_from_slice(sums);
    }
}

/// As [`tile`], over rows instead of values: `I` neighbouring values of each with its slopes.
#[inline(always)]
fn outer_tile<const I: usize>(
    rows: Rows<'_>,
    offset: usize,
    slopes: &[f32],
    from: &[f32],
) -> [Lanes; I] {
    let mut sums = [[0.0; LANES]; I];
    for (i, sums) in sums.iter_mut().enumerate() {
        *sums = lanes(&from[i * LANES..]);
    }
    for (start, slopes) in rows.starts.iter().zip(slopes.chunks(LANES)) {
        let values = &rows.values[start + offset..];
        let slopes = lanes(slopes);
        for i in 0..I {
            for lane in 0..LANES {
                sums[i][lane] += values[i] * slopes[lane];
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::Random;

    #[test]
    fn a_row_is_repeated_whatever_it_holds() {
        let long: Vec<f32> = (0..17).map(|at| at as f32 - 3.0).collect();
        for row in [&[][..], &[0.0], &[-0.0, 0.0], &[2.0], &long[..5], &long[..16], &long] {
            let mut rows = vec![9.0; 4 * row.len()];
            repeat(row, &mut rows);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&rows), bits(&row.repeat(4)), "{row:?}");
        }
    }

    struct Case {
        values: Vec<f32>,
        starts: Vec<usize>,
        segments: Vec<usize>,
        length: usize,
        matrix: Vec<f32>,
        bias: Vec<f32>,
    }

    impl Case {
        fn new(n: usize, n_segments: usize, length: usize, columns: usize, seed: u64) -> Self {
            let mut random = Random::new(seed);
            let gap = random.below(5);
            let segments: Vec<_> = (0..n_segments).map(|s| s * (length + gap)).collect();
            let starts: Vec<_> = (0..n).map(|_| random.below(3 * n + 1)).collect();
            let reach = 3 * n + n_segments * (length + gap);
            let mut fill = |n: usize| (0..n).map(|_| random.unit() - 0.5).collect::<Vec<_>>();
            let (values, matrix) = (fill(reach), fill(n_segments * length * columns));
            Self { values, starts, segments, length, matrix, bias: fill(columns) }
        }

        fn rows(&self) -> Rows<'_> {
            let (values, starts, segments) = (&self.values, &self.starts, &self.segments);
            Rows { values, starts, segments, length: self.length }
        }

        fn value(&self, r: usize, i: usize) -> f32 {
            self.values[self.starts[r] + self.segments[i / self.length] + i % self.length]
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..<_>::default() })]

        /// To the bit: the order of additions is part of the contract.
        #[test]
        fn products_are_their_definition(
            n in 1_usize..40, n_segments in 1_usize..4, length in 1_usize..300,
            columns in 1_usize..70, seed in 0_u64..100,
        ) {
            let case = Case::new(n, n_segments, length, columns, seed);
            let mut output = vec![0.0; n * columns];
            multiply(case.rows(), &panels(&case.matrix, columns), &case.bias, &mut output);
            let mut gradient = case.matrix.clone();
            add_outer(case.rows(), &output, columns, &mut gradient);
            for r in 0..n {
                for c in 0..columns {
                    let products = (0..n_segments * length)
                        .map(|i| case.value(r, i) * case.matrix[i * columns + c]);
                    prop_assert_eq!(output[r * columns + c], products.fold(case.bias[c], |s, p| s + p));
                }
            }
            for i in 0..n_segments * length {
                for c in 0..columns {
                    let products = (0..n).map(|r| case.value(r, i) * output[r * columns + c]);
                    let sum = products.fold(case.matrix[i * columns + c], |s, p| s + p);
                    prop_assert_eq!(gradient[i * columns + c], sum);
                }
            }
        }
    }

    /// The dispatching functions run their widest copy here, the bodies are compiled for SSE2.
    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let case = Case::new(31, 3, 200, 50, 4);
        let right = panels(&case.matrix, 50);
        let (mut wide, mut plain) = (vec![0.0; 31 * 50], vec![0.0; 31 * 50]);
        multiply(case.rows(), &right, &[0.0; 50], &mut wide);
        for sweep in sweeps(&case.segments, case.length) {
            add_sweep_tiled::<6, 1>(case.rows(), &sweep, &right, 50, &mut plain);
        }
        assert_eq!(wide, plain);
    }

    #[test]
    fn transposed_panels_are_panels_of_the_transposed() {
        let matrix = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(transposed_panels(&matrix, 3), panels(&[1.0, 4.0, 2.0, 5.0, 3.0, 6.0], 2));
    }
}
