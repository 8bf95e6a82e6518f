//! Two clusters of how each feature moves, as in Netdata.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::motion::{LAGS, LARGEST_STEP, Motion, SMOOTHING, STEPS, Shape};
use super::rows::Rows;
use super::state::{Fields, Judge, Persist};
use super::strength::root_mean_square;
use super::{Fit, width_checked};
use crate::{DetectError, quantile};

/// Netdata's number of clusters.
const N_CENTRES: usize = 2;
/// Shapes that the clusters are found on. Netdata takes one in five of six hours of seconds.
const MOST_SHAPES: usize = 4320;
/// Distances that the line is found from: many more than its quantile needs.
const MOST_DISTANCES: usize = 1 << 17;
/// Clusters have settled long before.
const MOST_ROUNDS: usize = 50;
/// Netdata flags a distance that 99 % of training stays below.
const LINE_QUANTILE: f64 = 0.99;
/// The line is held to this many standard deviations of the feature, so that one that hardly ever
/// moves in training is not infinitely odd when it does.
const LINE_FLOOR: f32 = 0.02;
/// Distances beyond so many lines say nothing more.
const MOST_LINES: f32 = 10.0;

/// Which distance from the clusters counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CentreDistance {
    /// The mean of the distances from all centres, as Netdata has it: the rarer of two kinds of
    /// movement is odd by itself.
    #[default]
    Mean,
    /// The distance from the nearest centre, as is usual elsewhere: both kinds are normal.
    Nearest,
}

/// Netdata's detector: each feature by itself is differenced, smoothed over three rows and taken
/// with five lags; two clusters of these shapes are found in training, and a distance from them
/// above its 99 % quantile in training is odd.
///
/// Netdata counts the odd features ([`FittedKMeans::anomaly_rate`]). The score grades instead of
/// counting, which ranks better: the root mean square of the distances in units of that line, each
/// at most 10.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KMeans {
    /// Which distance counts.
    pub distance: CentreDistance,
    /// Where the search for clusters starts.
    pub seed: u64,
}

/// [`KMeans`] of a training set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FittedKMeans {
    distance: CentreDistance,
    motion: Motion,
    /// Shared by all that were cloned of what was fitted: nothing changes them.
    clusters: Arc<[Clusters]>,
    strengths: Vec<f32>,
}

/// The clusters of one feature.
#[derive(Debug, Clone, Default, PartialEq)]
struct Clusters {
    centres: [Shape; N_CENTRES],
    /// Distance at which a shape is odd, above zero.
    line: f32,
}

impl Fit for KMeans {
    type Fitted = FittedKMeans;

    fn fit(&self, normal: Rows<'_>) -> Result<FittedKMeans, DetectError> {
        let width = width_checked(normal)?;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut motion = Motion::new(normal);
        let mut again = motion.clone();
        let shapes = sampled(&mut motion, normal, MOST_SHAPES, Motion::shape);
        let found = |shapes: &Vec<Shape>| settled(first_centres(shapes, &mut rng), shapes);
        let centres: Vec<[Shape; N_CENTRES]> = shapes.iter().map(found).collect();
        let distance = |motion: &Motion, at: usize| {
            distance_from(&centres[at], &motion.shape(at), self.distance)
        };
        let distances = sampled(&mut again, normal, MOST_DISTANCES, distance);
        let clusters = centres.iter().zip(&distances).map(|(c, d)| Clusters::new(*c, d)).collect();
        Ok(FittedKMeans { distance: self.distance, motion, clusters, strengths: vec![0.0; width] })
    }
}

/// What is `told` of each feature at rows that have the rows before them: at `most` of them, evenly
/// spread.
fn sampled<T: Clone>(
    motion: &mut Motion,
    rows: Rows<'_>,
    most: usize,
    told: impl Fn(&Motion, usize) -> T,
) -> Vec<Vec<T>> {
    let every = rows.n_rows().saturating_sub(STEPS).div_ceil(most).max(1);
    let (mut sampled, mut n_full) = (vec![Vec::new(); rows.width()], 0);
    rows.each(|row| {
        motion.take(row);
        if !motion.is_full() {
            return;
        }
        if n_full % every == 0 {
            let features = sampled.iter_mut().enumerate();
            features.for_each(|(at, sampled)| sampled.push(told(motion, at)));
        }
        n_full += 1;
    });
    sampled
}

impl Clusters {
    /// `distances` are those of training.
    fn new(centres: [Shape; N_CENTRES], distances: &[f32]) -> Self {
        // Without any shape the quantile is no number, and the floor is taken.
        Self { centres, line: quantile(distances, LINE_QUANTILE).max(LINE_FLOOR) }
    }
}

fn distance_from(centres: &[Shape; N_CENTRES], shape: &Shape, distance: CentreDistance) -> f32 {
    let distances = centres.map(|centre| square_distance(&centre, shape).sqrt());
    match distance {
        CentreDistance::Mean => distances.iter().sum::<f32>() / N_CENTRES as f32,
        CentreDistance::Nearest => distances.iter().copied().fold(f32::INFINITY, f32::min),
    }
}

fn square_distance(a: &Shape, b: &Shape) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// One shape at random, and one with a chance that grows with its squared distance from the first
/// (k-means++; Arthur & Vassilvitskii 2007).
fn first_centres(shapes: &[Shape], rng: &mut ChaCha8Rng) -> [Shape; N_CENTRES] {
    if shapes.is_empty() {
        return [Shape::default(); N_CENTRES];
    }
    let first = shapes[rng.random_range(0..shapes.len())];
    let weights: Vec<f64> =
        shapes.iter().map(|shape| f64::from(square_distance(&first, shape))).collect();
    let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
    let drawn = weights.iter().position(|weight| {
        left -= weight;
        left < 0.0
    });
    [first, drawn.map_or(first, |at| shapes[at])]
}

/// The centres after moving to the middle of what is nearest to them until nothing changes (Lloyd).
fn settled(mut centres: [Shape; N_CENTRES], shapes: &[Shape]) -> [Shape; N_CENTRES] {
    for _ in 0..MOST_ROUNDS {
        let moved = middles(&centres, shapes);
        if moved == centres {
            break;
        }
        centres = moved;
    }
    centres
}

fn middles(centres: &[Shape; N_CENTRES], shapes: &[Shape]) -> [Shape; N_CENTRES] {
    let mut sums = [[0.0_f64; LAGS]; N_CENTRES];
    let mut n = [0_u32; N_CENTRES];
    for shape in shapes {
        let second = square_distance(&centres[1], shape) < square_distance(&centres[0], shape);
        let nearest = usize::from(second);
        n[nearest] += 1;
        for (sum, value) in sums[nearest].iter_mut().zip(shape) {
            *sum += f64::from(*value);
        }
    }
    let mut middles = *centres;
    for at in (0..N_CENTRES).filter(|at| n[*at] > 0) {
        middles[at] = sums[at].map(|sum| (sum / f64::from(n[at])) as f32);
    }
    middles
}

/// What [`FittedKMeans`] judges a row by, as plain numbers, for who computes the same elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Movements {
    /// Last value seen of each feature; what is missing at first is as that.
    pub last: Vec<f32>,
    /// Unit of the steps of each feature, above zero.
    pub scale: Vec<f32>,
    /// Steps, in that unit, are cut here.
    pub largest_step: f32,
    /// Steps that a movement is the mean of.
    pub n_smoothed: usize,
    /// Of each centre and lag, newest first, the movement of each feature.
    pub centres: Vec<Vec<Vec<f32>>>,
    /// Which distance from the centres counts.
    pub distance: CentreDistance,
    /// Distance of each feature that is odd, above zero.
    pub lines: Vec<f32>,
    /// A feature beyond so many lines says nothing more.
    pub most_lines: f32,
}

impl FittedKMeans {
    /// What the next row is judged by.
    pub fn movements(&self) -> Movements {
        let of_lag = |centre: usize, lag: usize| {
            self.clusters.iter().map(|clusters| clusters.centres[centre][lag]).collect()
        };
        let of_centre = |centre| (0..LAGS).map(|lag| of_lag(centre, lag)).collect();
        Movements {
            last: self.motion.last().to_vec(),
            scale: self.motion.scale().to_vec(),
            largest_step: LARGEST_STEP,
            n_smoothed: SMOOTHING,
            centres: (0..N_CENTRES).map(of_centre).collect(),
            distance: self.distance,
            lines: self.clusters.iter().map(|clusters| clusters.line).collect(),
            most_lines: MOST_LINES,
        }
    }

    /// Holds what never changes once for both, where both have the same of it: streams that went on
    /// from saved states then share it, as those do that were cloned.
    pub fn share(&mut self, other: &Self) {
        if self.clusters == other.clusters {
            self.clusters = Arc::clone(&other.clusters);
        }
        self.motion.share(&other.motion);
    }

    /// Netdata's anomaly rate of the last row: the share of features beyond their line, 0 to 1.
    pub fn anomaly_rate(&self) -> f32 {
        let n_odd = self.strengths.iter().filter(|strength| **strength > 1.0).count();
        n_odd as f32 / self.strengths.len().max(1) as f32
    }
}

impl Judge for FittedKMeans {
    fn judge(&mut self, row: &[f32]) -> f32 {
        self.motion.take(row);
        for (at, clusters) in self.clusters.iter().enumerate() {
            let shape = self.motion.shape(at);
            let distance = distance_from(&clusters.centres, &shape, self.distance);
            self.strengths[at] = (distance / clusters.line).min(MOST_LINES);
        }
        root_mean_square(&self.strengths)
    }

    fn found(&self) -> &[f32] {
        &self.strengths
    }
}

impl Persist for FittedKMeans {
    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        let mut nearest = usize::from(self.distance == CentreDistance::Nearest);
        fields.count(&mut nearest, 0..=1)?;
        self.distance = [CentreDistance::Mean, CentreDistance::Nearest][nearest];
        self.motion.fields(fields)?;
        let width = self.motion.width();
        let mut clusters = self.clusters.to_vec();
        fields.parts(&mut clusters, width)?;
        self.clusters = clusters.into();
        self.strengths.resize(width, 0.0);
        Ok(())
    }
}

impl Persist for Clusters {
    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        for centre in &mut self.centres {
            let mut numbers = centre.to_vec();
            fields.list(&mut numbers, LAGS, LARGEST_STEP)?;
            centre.copy_from_slice(&numbers);
        }
        fields.positive(&mut self.line)
    }
}
