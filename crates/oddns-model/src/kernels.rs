//! The arithmetic: correlation over time, its weight gradient, and GELU.
//!
//! Why not a matrix library: the score of a step must be the same, to the bit, whether one dense
//! pass over a history computes it or a pass over the last rows only. Libraries choose another
//! blocking, and with it another order of additions, for another number of rows. Here each output
//! element is one chain of multiply, add, multiply, add in an order that depends on nothing but
//! the layer; blocking only decides which chains run side by side. Rust never fuses a multiply
//! with an add on its own, so the copies for AVX-512, AVX2 and plain SSE2 give the same bits too.
//!
//! Fusing multiply and add would give other bits and was measured to bring nothing on a Zen 5, which
//! multiplies and adds in pipes of their own.
//!
//! Rows are padded with zeros to whole [`LANES`], so there is no ragged edge. The compiler keeps
//! the sums of a tile in registers: on one core of a Zen 5 that makes 190 GFLOP/s with AVX-512,
//! where the `gemm` crate reaches 220, and 110 with AVX2. Two things it needs are easily lost, and
//! with them nearly all of that: arrays are filled by loops, because a closure (`array::from_fn`)
//! is not inlined into the copies for other instruction sets; and a tile returns its sums, because
//! sums stored by the function that adds them stay in memory.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;

/// Channels computed side by side: one AVX-512 register, two of AVX2, four of SSE.
pub(crate) const LANES: usize = 16;
/// Rows of sums held in registers at once, output rows in [`correlate`] and input channels in
/// [`weight_gradient`]: 12 of the 16 registers of AVX2.
const ROWS: usize = 6;
/// Blocks of lanes held in registers at once where there is a single row: 8 of the 16 registers of
/// AVX2.
const BLOCKS: usize = 4;
/// The same as [`ROWS`] with the 32 registers of AVX-512, which are twice as wide.
const WIDE_ROWS: usize = 12;

/// The sizes of a correlation. Strides are in floats and whole lanes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    /// Output rows.
    pub(crate) rows: usize,
    /// Input rows that make one output row.
    pub(crate) taps: usize,
    /// Step between those, in rows.
    pub(crate) dilation: usize,
    /// Input channels.
    pub(crate) n_in: usize,
    /// Floats of an input row.
    pub(crate) in_stride: usize,
    /// Floats of an output row and of a row of weights.
    pub(crate) out_stride: usize,
}

type Lanes = [f32; LANES];

#[inline(always)]
fn lanes(from: &[f32]) -> Lanes {
    let mut lanes = [0.0; LANES];
    lanes.copy_from_slice(&from[..LANES]);
    lanes
}

/// `output[t][o] = bias[o] + Σ input[t + tap · dilation][i] · weights[tap][i][o]`, taps and inputs
/// in rising order. `input` begins at the first row read, `output` at the first row written.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2"))]
pub(crate) fn correlate(
    geometry: Geometry,
    input: &[f32],
    weights: &[f32],
    bias: &[f32],
    output: &mut [f32],
) {
    let wide = target_cfg_f!(target_feature = "avx512f");
    correlate_body(wide, geometry, &[], input, weights, bias, output);
}

/// As [`correlate`], but tap `k` reads its first row at `starts[k]` floats, wherever that is;
/// `starts` is as long as there are taps.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2"))]
pub(crate) fn correlate_at(
    geometry: Geometry,
    starts: &[usize],
    input: &[f32],
    weights: &[f32],
    bias: &[f32],
    output: &mut [f32],
) {
    let wide = target_cfg_f!(target_feature = "avx512f");
    correlate_body(wide, geometry, starts, input, weights, bias, output);
}

/// How one output element is made does not depend on `wide`: it says how many are made at once.
#[inline(always)]
fn correlate_body(
    wide: bool,
    g: Geometry,
    starts: &[usize],
    input: &[f32],
    weights: &[f32],
    bias: &[f32],
    output: &mut [f32],
) {
    if g.rows == 1 {
        return row_body(g, starts, input, weights, bias, output);
    }
    for block in (0..g.out_stride).step_by(LANES) {
        let layer = Block { g, starts, weights: &weights[block..], bias: &bias[block..] };
        let output = &mut output[block..];
        let mut t = 0;
        while wide && t + WIDE_ROWS <= g.rows {
            layer.compute::<WIDE_ROWS>(t, input, output);
            t += WIDE_ROWS;
        }
        while t + ROWS <= g.rows {
            layer.compute::<ROWS>(t, input, output);
            t += ROWS;
        }
        layer.compute_rest(t, input, output);
    }
}

/// One block of lanes of a layer.
#[derive(Clone, Copy)]
struct Block<'a> {
    g: Geometry,
    starts: &'a [usize],
    /// From the first lane of the block on.
    weights: &'a [f32],
    /// From the first lane of the block on.
    bias: &'a [f32],
}

impl Block<'_> {
    /// The output rows from `t` on, fewer than [`ROWS`].
    #[inline(always)]
    fn compute_rest(self, t: usize, input: &[f32], output: &mut [f32]) {
        match self.g.rows - t {
            5 => self.compute::<5>(t, input, output),
            4 => self.compute::<4>(t, input, output),
            3 => self.compute::<3>(t, input, output),
            2 => self.compute::<2>(t, input, output),
            1 => self.compute::<1>(t, input, output),
            _ => {}
        }
    }

    /// `R` output rows from `t` on.
    #[inline(always)]
    fn compute<const R: usize>(self, t: usize, input: &[f32], output: &mut [f32]) {
        let stride = self.g.out_stride;
        store(&self.tile::<R>(t, input), &mut output[t * stride..], stride);
    }

    /// The first output row in `B` blocks of lanes; how many floats that are.
    #[inline(always)]
    fn compute_blocks<const B: usize>(self, input: &[f32], output: &mut [f32]) -> usize {
        store(&self.blocks::<B>(input), output, LANES);
        B * LANES
    }

    /// The first output row in `B` blocks of lanes.
    #[inline(always)]
    fn blocks<const B: usize>(self, input: &[f32]) -> [Lanes; B] {
        let g = self.g;
        let mut sums = [[0.0; LANES]; B];
        for (b, sums) in sums.iter_mut().enumerate() {
            *sums = lanes(&self.bias[b * LANES..]);
        }
        for tap in 0..g.taps {
            let evenly = tap * g.dilation * g.in_stride;
            let start = self.starts.get(tap).copied().unwrap_or(evenly);
            let row = &input[start..][..g.n_in];
            let weights = self.weights[tap * g.n_in * g.out_stride..].chunks(g.out_stride);
            for (value, weights) in row.iter().zip(weights) {
                for b in 0..B {
                    let weights = lanes(&weights[b * LANES..]);
                    for lane in 0..LANES {
                        sums[b][lane] += value * weights[lane];
                    }
                }
            }
        }
        sums
    }

    #[inline(always)]
    fn tile<const R: usize>(self, t: usize, input: &[f32]) -> [Lanes; R] {
        let g = self.g;
        let mut sums = [[0.0; LANES]; R];
        for sums in &mut sums {
            *sums = lanes(self.bias);
        }
        for tap in 0..g.taps {
            let evenly = tap * g.dilation * g.in_stride;
            let start = self.starts.get(tap).copied().unwrap_or(evenly);
            let input = &input[start + t * g.in_stride..];
            let mut rows: [&[f32]; R] = [&[]; R];
            for (r, row) in rows.iter_mut().enumerate() {
                *row = &input[r * g.in_stride..][..g.n_in];
            }
            let weights = self.weights[tap * g.n_in * g.out_stride..].chunks(g.out_stride);
            for (i, weights) in (0..g.n_in).zip(weights) {
                let weights = lanes(weights);
                for r in 0..R {
                    for lane in 0..LANES {
                        sums[r][lane] += rows[r][i] * weights[lane];
                    }
                }
            }
        }
        sums
    }
}

/// A single output row: blocks of lanes take the place of rows, or each sum would wait for the one
/// before it.
#[inline(always)]
fn row_body(
    g: Geometry,
    starts: &[usize],
    input: &[f32],
    weights: &[f32],
    bias: &[f32],
    output: &mut [f32],
) {
    let mut at = 0;
    while at < g.out_stride {
        let layer = Block { g, starts, weights: &weights[at..], bias: &bias[at..] };
        let output = &mut output[at..];
        at += match (g.out_stride - at) / LANES {
            BLOCKS.. => layer.compute_blocks::<BLOCKS>(input, output),
            2.. => layer.compute_blocks::<2>(input, output),
            _ => layer.compute_blocks::<1>(input, output),
        };
    }
}

#[inline(always)]
fn store(sums: &[Lanes], output: &mut [f32], stride: usize) {
    for (row, sums) in sums.iter().enumerate() {
        output[row * stride..][..LANES].copy_from_slice(sums);
    }
}

/// `gradient[tap][i][o] += Σ input[t + tap · dilation][i] · slope[t][o]`, rows in rising order.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2"))]
pub(crate) fn weight_gradient(
    geometry: Geometry,
    input: &[f32],
    slope: &[f32],
    gradient: &mut [f32],
) {
    let wide = target_cfg_f!(target_feature = "avx512f");
    weight_gradient_body(wide, geometry, input, slope, gradient);
}

#[inline(always)]
fn weight_gradient_body(
    wide: bool,
    g: Geometry,
    input: &[f32],
    slope: &[f32],
    gradient: &mut [f32],
) {
    for tap in 0..g.taps {
        let input = &input[tap * g.dilation * g.in_stride..];
        for block in (0..g.out_stride).step_by(LANES) {
            let slope = &slope[block..];
            let gradient = &mut gradient[tap * g.n_in * g.out_stride + block..];
            let mut i = 0;
            while wide && i + WIDE_ROWS <= g.n_in {
                outer::<WIDE_ROWS>(g, i, input, slope, gradient);
                i += WIDE_ROWS;
            }
            while i + ROWS <= g.n_in {
                outer::<ROWS>(g, i, input, slope, gradient);
                i += ROWS;
            }
            outer_rest(g, i, input, slope, gradient);
        }
    }
}

/// The input channels from `i` on, fewer than [`ROWS`].
#[inline(always)]
fn outer_rest(g: Geometry, i: usize, input: &[f32], slope: &[f32], gradient: &mut [f32]) {
    match g.n_in - i {
        5 => outer::<5>(g, i, input, slope, gradient),
        4 => outer::<4>(g, i, input, slope, gradient),
        3 => outer::<3>(g, i, input, slope, gradient),
        2 => outer::<2>(g, i, input, slope, gradient),
        1 => outer::<1>(g, i, input, slope, gradient),
        _ => {}
    }
}

/// Adds the products of the `I` input channels from `from` on and one block of slopes over all
/// rows.
#[inline(always)]
fn outer<const I: usize>(
    g: Geometry,
    from: usize,
    input: &[f32],
    slope: &[f32],
    gradient: &mut [f32],
) {
    let gradient = &mut gradient[from * g.out_stride..];
    let sums = outer_tile::<I>(g, &input[from..], slope, gradient);
    store(&sums, gradient, g.out_stride);
}

#[inline(always)]
fn outer_tile<const I: usize>(
    g: Geometry,
    input: &[f32],
    slope: &[f32],
    gradient: &[f32],
) -> [Lanes; I] {
    let mut sums = [[0.0; LANES]; I];
    for (i, sums) in sums.iter_mut().enumerate() {
        *sums = lanes(&gradient[i * g.out_stride..]);
    }
    let rows = input.chunks(g.in_stride).zip(slope.chunks(g.out_stride)).take(g.rows);
    for (input, slope) in rows {
        let slope = lanes(slope);
        for i in 0..I {
            for lane in 0..LANES {
                sums[i][lane] += input[i] * slope[lane];
            }
        }
    }
    sums
}

/// `output = input · Φ(input)`, the exact GELU, to 1e-6 absolute.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2"))]
pub(crate) fn gelu(input: &[f32], output: &mut [f32]) {
    for (x, y) in input.iter().zip(output) {
        *y = x * normal_below(*x);
    }
}

/// `slope *= d gelu(input) / d input`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2"))]
pub(crate) fn gelu_slope(input: &[f32], slope: &mut [f32]) {
    // 1 / √(2π)
    const DENSITY_AT_ZERO: f32 = 0.398_942_3;
    for (x, slope) in input.iter().zip(slope) {
        let density = DENSITY_AT_ZERO * exp(-0.5 * x * x);
        *slope *= normal_below(*x) + x * density;
    }
}

/// The share of a standard normal distribution below `x`.
#[inline(always)]
fn normal_below(x: f32) -> f32 {
    0.5 + 0.5 * erf(x * std::f32::consts::FRAC_1_SQRT_2)
}

/// The rational approximation of XLA (`xla/hlo/builder/lib/math.cc`, Apache-2.0), to 3e-7 absolute
/// and without a branch, so that it runs on whole registers.
#[inline(always)]
fn erf(x: f32) -> f32 {
    const TOP: [f32; 5] = [
        2.290_506_6e-4,
        3.408_291e-3,
        5.095_569_5e-2,
        1.852_083_2e-1,
        std::f32::consts::FRAC_2_SQRT_PI,
    ];
    const BOTTOM: [f32; 7] = [
        -1.179_160_3e-7,
        2.354_796_7e-5,
        1.017_962_5e-3,
        1.407_047e-2,
        1.109_850_5e-1,
        4.974_692_5e-1,
        1.0,
    ];
    /// From here on erf is 1 to single precision, and the approximation no longer holds.
    const ONE_FROM: f32 = 3.743_921_2;
    let square = x * x;
    let polynomial = |factors: &[f32]| factors.iter().fold(0.0, |sum, f| sum * square + f);
    let inner = x * polynomial(&TOP) / polynomial(&BOTTOM);
    if x.abs() < ONE_FROM { inner } else { 1.0_f32.copysign(x) }
}

/// eˣ to about 2e-7 relative between −87 and 88, and constant outside.
///
/// Adding 1.5 · 2²³ leaves the nearest whole number in the low bits, which shifted up are the
/// exponent of the result; the polynomial is the one of Cephes (`expf.c`).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const FACTORS: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1];
    let x = x.clamp(-87.0, 88.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    let rest = x - whole * LN_2_HIGH - whole * LN_2_LOW;
    let tail = FACTORS.iter().fold(0.0, |sum, factor| sum * rest + factor);
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    (tail * rest * rest + rest + 1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// erf by its series and continued fraction, in double precision.
    fn exact_erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    fn grid() -> impl Iterator<Item = f32> {
        (-5_000..=5_000).map(|i| i as f32 * 1e-3)
    }

    #[test]
    fn erf_and_exp_are_exact_to_single_precision() {
        for x in grid().filter(|x| x.abs() < 4.5) {
            let error = f64::from(erf(x)) - exact_erf(f64::from(x));
            assert!(error.abs() < 3e-7, "erf({x}) is off by {error:e}");
        }
        for i in 0..=8_700 {
            let x = i as f32 * -1e-2;
            let relative = f64::from(exp(x)) / f64::from(x).exp() - 1.0;
            assert!(relative.abs() < 3e-7, "exp({x}) is off by {relative:e}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), exp(-87.0));
    }

    #[test]
    fn gelu_and_its_slope_are_exact() {
        let x: Vec<f32> = grid().filter(|x| x.abs() < 4.5).collect();
        let (mut y, mut slope) = (vec![0.0; x.len()], vec![1.0; x.len()]);
        gelu(&x, &mut y);
        gelu_slope(&x, &mut slope);
        let below = |x: f64| 0.5 * (1.0 + exact_erf(x / 2_f64.sqrt()));
        for ((x, y), slope) in x.iter().zip(y).zip(slope) {
            let x = f64::from(*x);
            let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
            assert!((f64::from(y) - x * below(x)).abs() < 1e-6, "gelu({x}) is {y}");
            assert!((f64::from(slope) - below(x) - x * density).abs() < 5e-7, "gelu'({x})");
        }
        let mut far = [0.0; 2];
        gelu(&[-100.0, 100.0], &mut far);
        assert_eq!(far, [0.0, 100.0]);
    }

    /// On this machine the dispatching functions run their widest copy, the bodies called here are
    /// compiled for plain SSE2.
    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let mut random = Random::new(4);
        let mut fill = |n: usize| -> Vec<f32> { (0..n).map(|_| random.unit() - 0.5).collect() };
        for (rows, taps, dilation, n_in) in [(1, 3, 8, 32), (6, 1, 1, 7), (13, 3, 2, 60)] {
            let (in_stride, out_stride) = (n_in + 4, 80);
            let g = Geometry { rows, taps, dilation, n_in, in_stride, out_stride };
            let input = fill((rows + (taps - 1) * dilation) * in_stride);
            let (weights, bias) = (fill(taps * n_in * out_stride), fill(out_stride));
            let (mut wide, mut plain) = (vec![0.0; rows * 80], vec![0.0; rows * 80]);
            correlate(g, &input, &weights, &bias, &mut wide);
            correlate_body(false, g, &[], &input, &weights, &bias, &mut plain);
            assert_eq!(wide, plain);
            let (mut gradient, mut plain_gradient) = (weights.clone(), weights.clone());
            weight_gradient(g, &input, &wide, &mut gradient);
            weight_gradient_body(false, g, &input, &plain, &mut plain_gradient);
            assert_eq!(gradient, plain_gradient);
        }
        let input: Vec<f32> = grid().collect();
        let (mut wide, mut slope) = (vec![0.0; input.len()], vec![1.0; input.len()]);
        gelu(&input, &mut wide);
        gelu_slope(&input, &mut slope);
        for ((x, y), slope) in input.iter().zip(wide).zip(slope) {
            assert_eq!(y, x * normal_below(*x));
            let density = 0.398_942_3 * exp(-0.5 * x * x);
            assert_eq!(slope, normal_below(*x) + x * density);
        }
    }
}
