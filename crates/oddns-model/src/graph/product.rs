//! Products of matrices whose rows may overlap: all convolutions and dense layers are these.
//!
//! A row of the left matrix is a list of segments of a sample, so a convolution reads its input in
//! place and nothing is copied out. As in `kernels`, each element of a result is one chain of
//! additions in an order that depends on nothing but the layer: the same bits for one row as for
//! thousands, and for every instruction set. Each multiply and add is rounded once (`mul_add`), which
//! all processors since 2013 do in one step, and older ones by a function, slowly. That is why no
//! library computes this; on the shapes of our networks it reaches 70 to 90 GFLOP/s on one core of a
//! Zen 4 with AVX-512, where the `gemm` crate reaches 110 to 115.
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
        let (whole, rest) = row.as_chunks::<LANES>();
        for (block, lanes) in whole.iter().enumerate() {
            store_first(*lanes, &mut panels[(block * rows + r) * LANES..]);
        }
        if !rest.is_empty() {
            panels[(whole.len() * rows + r) * LANES..][..rest.len()].copy_from_slice(rest);
        }
    }
    panels
}

/// As [`panels`], of the transposed matrix, whose columns are the rows of `matrix`.
pub(super) fn transposed_panels(matrix: &[f32], columns: usize) -> Vec<f32> {
    let columns = columns.max(1);
    let rows = matrix.len() / columns;
    let mut panels = vec![0.0; rows.div_ceil(LANES) * columns * LANES];
    let blocks = matrix.chunks(columns * LANES).zip(panels.chunks_exact_mut(columns * LANES));
    blocks.for_each(|(rows, panel)| transpose(rows, columns, panel));
    panels
}

/// At most [`LANES`] rows of `columns` values → `columns` rows of [`LANES`], zeros after the last.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2"))]
fn transpose(matrix: &[f32], columns: usize, panel: &mut [f32]) {
    if matrix.len() < columns * LANES {
        for (r, row) in matrix.chunks(columns).enumerate() {
            for (value, lanes) in row.iter().zip(panel.chunks_exact_mut(LANES)) {
                lanes[r] = *value;
            }
        }
        return;
    }
    let whole = columns - columns % LANES;
    for at in (0..whole).step_by(LANES) {
        let mut square = [[0.0; LANES]; LANES];
        for (r, row) in square.iter_mut().enumerate() {
            *row = lanes(&matrix[r * columns + at..]);
        }
        for (c, to) in panel[at * LANES..][..LANES * LANES].chunks_exact_mut(LANES).enumerate() {
            for (to, row) in to.iter_mut().zip(&square) {
                *to = row[c];
            }
        }
    }
    for (c, to) in panel.chunks_exact_mut(LANES).enumerate().skip(whole) {
        for (r, to) in to.iter_mut().enumerate() {
            *to = matrix[r * columns + c];
        }
    }
}

/// What the sums of a product begin with.
#[derive(Clone, Copy)]
pub(super) enum Begin<'a> {
    /// One value for each column.
    Bias(&'a [f32]),
    /// What lies in the output.
    Output,
}

/// A matrix, and what its products begin with.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a> {
    /// As [`panels`] gives it.
    pub(super) panels: &'a [f32],
    pub(super) columns: usize,
    pub(super) begin: Begin<'a>,
}

/// A product of `rows` with a matrix.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) weights: Weights<'a>,
    /// Where in the output each row of the product begins.
    pub(super) to: &'a [usize],
}

/// `output[to[r] + c] = begin + Σ row r [i] · matrix[i][c]`, `i` rising.
pub(super) fn multiply(product: Product<'_>, output: &mut [f32]) {
    if product.weights.columns == 0 {
        return;
    }
    let sweeps = sweeps(product.rows.segments, product.rows.length);
    if let (true, Begin::Bias(bias)) = (sweeps.is_empty(), product.weights.begin) {
        product.to.iter().for_each(|to| output[*to..][..bias.len()].copy_from_slice(bias));
    }
    let mut product = product;
    for sweep in &sweeps {
        add_sweep(product, sweep, output);
        product.weights.begin = Begin::Output;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq+fma", "x86_64+avx2+fma"))]
fn add_sweep(product: Product<'_>, sweep: &[Piece], output: &mut [f32]) {
    match_target! {
        "x86_64+avx512f+avx512vl+avx512bw+avx512dq+fma" => {
            add_sweep_tiled::<12, 2>(product, sweep, output);
        },
        _ => add_sweep_tiled::<6, 1>(product, sweep, output),
    }
}

#[inline(always)]
fn add_sweep_tiled<const R: usize, const P: usize>(
    product: Product<'_>,
    sweep: &[Piece],
    output: &mut [f32],
) {
    let (n_panels, size) = (product.weights.columns.div_ceil(LANES), product.rows.width() * LANES);
    let panel = |at: usize| &product.weights.panels[at * size..][..size];
    let paired = n_panels - n_panels % P;
    for at in (0..paired).step_by(P) {
        let mut group: [&[f32]; P] = [&[]; P];
        for (p, slot) in group.iter_mut().enumerate() {
            *slot = panel(at + p);
        }
        add_panels::<R, P>(product, sweep, group, at * LANES, output);
    }
    for at in paired..n_panels {
        add_panels::<R, 1>(product, sweep, [panel(at)], at * LANES, output);
    }
}

#[inline(always)]
fn add_panels<const R: usize, const P: usize>(
    product: Product<'_>,
    sweep: &[Piece],
    panels: [&[f32]; P],
    column: usize,
    output: &mut [f32],
) {
    let n = product.rows.starts.len();
    let (tiled, fours) = (n - n % R, n - n % R % 4);
    for r in (0..tiled).step_by(R) {
        add_tile::<R, P>(product, r, sweep, panels, column, output);
    }
    for r in (tiled..fours).step_by(4) {
        add_tile::<4, P>(product, r, sweep, panels, column, output);
    }
    for r in fours..n {
        add_tile::<1, P>(product, r, sweep, panels, column, output);
    }
}

/// Adds a sweep to `R` rows from `first` on × `P` panels of the output from `column` on.
#[inline(always)]
fn add_tile<const R: usize, const P: usize>(
    product: Product<'_>,
    first: usize,
    sweep: &[Piece],
    panels: [&[f32]; P],
    column: usize,
    output: &mut [f32],
) {
    let width = (product.weights.columns - column).min(P * LANES);
    let mut starts = [0; R];
    starts.copy_from_slice(&product.rows.starts[first..][..R]);
    let mut to = [0; R];
    to.copy_from_slice(&product.to[first..][..R]);
    let mut sums = match product.weights.begin {
        Begin::Bias(bias) => [load::<1, P>(bias, [column], width)[0]; R],
        Begin::Output => load::<R, P>(output, to.map(|to| to + column), width),
    };
    for piece in sweep {
        let mut rows: [&[f32]; R] = [&[]; R];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = &product.rows.values[starts[r] + piece.offset..][..piece.length];
        }
        let mut weights: [&[f32]; P] = [&[]; P];
        for (p, part) in weights.iter_mut().enumerate() {
            *part = &panels[p][piece.at * LANES..][..piece.length * LANES];
        }
        sums = tile::<R, P>(sums, piece.length, rows, weights);
    }
    store::<R, P>(&sums, output, to.map(|to| to + column), width);
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
                    sums[r][p][lane] = value.mul_add(weight[p][lane], sums[r][p][lane]);
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
/// part of them is ever addressed by a length that is not constant: hence the copy, and that in pieces
/// of constant lengths, as one that varies is a call, which costs more than a narrow tile.
#[inline(always)]
fn first_lanes(from: &[f32]) -> Lanes {
    if from.len() >= LANES {
        return lanes(from);
    }
    let (mut lanes, mut at) = ([0.0; LANES], 0);
    for size in [8, 4, 2, 1] {
        if from.len() & size != 0 {
            lanes[at..at + size].copy_from_slice(&from[at..at + size]);
            at += size;
        }
    }
    lanes
}

/// Writes as many lanes as `to` has room for, as [`first_lanes`] reads them.
#[inline(always)]
fn store_first(lanes: Lanes, to: &mut [f32]) {
    if to.len() >= LANES {
        to[..LANES].copy_from_slice(&lanes);
        return;
    }
    let mut at = 0;
    for size in [8, 4, 2, 1] {
        if to.len() & size != 0 {
            to[at..at + size].copy_from_slice(&lanes[at..at + size]);
            at += size;
        }
    }
}

#[inline(always)]
fn load<const R: usize, const P: usize>(
    from: &[f32],
    places: [usize; R],
    width: usize,
) -> [[Lanes; P]; R] {
    let mut sums = [[[0.0; LANES]; P]; R];
    for (r, sums) in sums.iter_mut().enumerate() {
        let row = &from[places[r]..][..width];
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
    places: [usize; R],
    width: usize,
) {
    for (r, sums) in sums.iter().enumerate() {
        let row = &mut to[places[r]..][..width];
        for (p, sums) in sums.iter().enumerate() {
            store_first(*sums, &mut row[(p * LANES).min(width)..]);
        }
    }
}

/// `gradient[i][c] += Σ row r [i] · slope[r][c]`, rows rising. `slope` is row-major with `columns`
/// columns, as `gradient` is.
pub(super) fn add_outer(rows: Rows<'_>, slope: &[f32], columns: usize, gradient: &mut [f32]) {
    let columns = columns.max(1);
    for (starts, slope) in rows.starts.chunks(SWEEP_ROWS).zip(slope.chunks(SWEEP_ROWS * columns)) {
        add_rows(Rows { starts, ..rows }, &panels(slope, columns), columns, gradient);
    }
}

/// The products of some rows with the panels of their slopes.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq+fma", "x86_64+avx2+fma"))]
fn add_rows(rows: Rows<'_>, slopes: &[f32], columns: usize, gradient: &mut [f32]) {
    match_target! {
        "x86_64+avx512f+avx512vl+avx512bw+avx512dq+fma" => {
            add_rows_tiled::<12, 2>(rows, slopes, columns, gradient);
        },
        _ => add_rows_tiled::<6, 1>(rows, slopes, columns, gradient),
    }
}

#[inline(always)]
fn add_rows_tiled<const I: usize, const P: usize>(
    rows: Rows<'_>,
    slopes: &[f32],
    columns: usize,
    gradient: &mut [f32],
) {
    let (size, n_panels) = (rows.starts.len() * LANES, columns.div_ceil(LANES));
    let paired = n_panels - n_panels % P;
    let slopes = |at: usize| &slopes[at * size..][..size];
    for at in (0..paired).step_by(P) {
        let mut group: [&[f32]; P] = [&[]; P];
        for (p, slot) in group.iter_mut().enumerate() {
            *slot = slopes(at + p);
        }
        add_segments::<I, P>(rows, group, [at * LANES, columns], gradient);
    }
    for at in paired..n_panels {
        add_segments::<I, 1>(rows, [slopes(at)], [at * LANES, columns], gradient);
    }
}

/// All segments of the rows and `P` panels of slopes, for the gradient from a column of all on.
#[inline(always)]
fn add_segments<const I: usize, const P: usize>(
    rows: Rows<'_>,
    slopes: [&[f32]; P],
    place: [usize; 2],
    gradient: &mut [f32],
) {
    let (n, columns) = (rows.length, place[1]);
    let (tiled, threes) = (n - n % I, n - n % I % 3);
    for (at, segment) in rows.segments.iter().enumerate() {
        let gradient = &mut gradient[at * n * columns..];
        for i in (0..tiled).step_by(I) {
            outer_tile::<I, P>(rows, segment + i, slopes, place, &mut gradient[i * columns..]);
        }
        for i in (tiled..threes).step_by(3) {
            outer_tile::<3, P>(rows, segment + i, slopes, place, &mut gradient[i * columns..]);
        }
        for i in threes..n {
            outer_tile::<1, P>(rows, segment + i, slopes, place, &mut gradient[i * columns..]);
        }
    }
}

/// As [`add_tile`], over rows instead of values: `I` neighbouring values of each with its slopes.
#[inline(always)]
fn outer_tile<const I: usize, const P: usize>(
    rows: Rows<'_>,
    offset: usize,
    slopes: [&[f32]; P],
    [column, columns]: [usize; 2],
    gradient: &mut [f32],
) {
    let width = (columns - column).min(P * LANES);
    let mut places = [0; I];
    for (i, place) in places.iter_mut().enumerate() {
        *place = i * columns + column;
    }
    let sums = load::<I, P>(gradient, places, width);
    let sums = outer::<I, P>(sums, rows, offset, slopes);
    store::<I, P>(&sums, gradient, places, width);
}

/// That it returns the sums keeps them in registers, as in [`tile`].
#[inline(always)]
fn outer<const I: usize, const P: usize>(
    sums: [[Lanes; P]; I],
    rows: Rows<'_>,
    offset: usize,
    slopes: [&[f32]; P],
) -> [[Lanes; P]; I] {
    let mut sums = sums;
    for (r, start) in rows.starts.iter().enumerate() {
        let values = &rows.values[start + offset..];
        let mut slope = [[0.0; LANES]; P];
        for p in 0..P {
            slope[p] = lanes(&slopes[p][r * LANES..]);
        }
        for i in 0..I {
            for p in 0..P {
                for lane in 0..LANES {
                    sums[i][p][lane] = values[i].mul_add(slope[p][lane], sums[i][p][lane]);
                }
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

        fn product<'a>(
            &'a self,
            panels: &'a [f32],
            columns: usize,
            to: &'a [usize],
        ) -> Product<'a> {
            let weights = Weights { panels, columns, begin: Begin::Bias(&self.bias) };
            Product { rows: self.rows(), weights, to }
        }

        fn value(&self, r: usize, i: usize) -> f32 {
            self.values[self.starts[r] + self.segments[i / self.length] + i % self.length]
        }
    }

    fn to(n: usize, columns: usize) -> Vec<usize> {
        (0..n).map(|row| row * columns).collect()
    }

    /// The products of pairs added one after the other, each rounded once.
    fn chain(first: f32, factors: impl Iterator<Item = (f32, f32)>) -> f32 {
        factors.fold(first, |sum, (a, b)| a.mul_add(b, sum))
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
            let panels = panels(&case.matrix, columns);
            multiply(case.product(&panels, columns, &to(n, columns)), &mut output);
            let mut gradient = case.matrix.clone();
            add_outer(case.rows(), &output, columns, &mut gradient);
            for r in 0..n {
                for c in 0..columns {
                    let factors = (0..n_segments * length)
                        .map(|i| (case.value(r, i), case.matrix[i * columns + c]));
                    prop_assert_eq!(output[r * columns + c], chain(case.bias[c], factors));
                }
            }
            for i in 0..n_segments * length {
                for c in 0..columns {
                    let factors = (0..n).map(|r| (case.value(r, i), output[r * columns + c]));
                    let sum = chain(case.matrix[i * columns + c], factors);
                    prop_assert_eq!(gradient[i * columns + c], sum);
                }
            }
        }
    }

    /// The dispatching functions run their widest copy here, the bodies are compiled for SSE2.
    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let case = Case::new(31, 3, 200, 50, 4);
        let (right, to) = (panels(&case.matrix, 50), to(31, 50));
        let (mut wide, mut plain) = (vec![0.0; 31 * 50], vec![0.0; 31 * 50]);
        let mut product = case.product(&right, 50, &to);
        multiply(product, &mut wide);
        for sweep in sweeps(&case.segments, case.length) {
            add_sweep_tiled::<6, 1>(product, &sweep, &mut plain);
            product.weights.begin = Begin::Output;
        }
        assert_eq!(wide, plain);
    }

    #[test]
    fn transposed_panels_are_panels_of_the_transposed() {
        for (rows, columns) in [(2, 3), (16, 16), (16, 40), (35, 17), (33, 64), (1, 1)] {
            let matrix: Vec<f32> = (0..rows * columns).map(|at| at as f32).collect();
            let transposed: Vec<f32> =
                (0..rows * columns).map(|at| matrix[at % rows * columns + at / rows]).collect();
            assert_eq!(transposed_panels(&matrix, columns), panels(&transposed, rows));
        }
        assert!(transposed_panels(&[], 3).is_empty());
    }
}
