//! Where normal operation lies in latent space, and how far from it a window is.

use serde_json::{Value, json};

use crate::ModelError;
use crate::config::within;
use crate::random::Random;

/// Most rounds of k-means; it has settled long before.
const ROUNDS: usize = 50;
/// A dimension that varies less than this share of the widest counts as if it varied so much, so
/// that rounding in a dead dimension is no distance.
const LEAST_DEVIATION: f64 = 1e-3;

/// Clusters of the latent vectors of normal operation. A vector is standardised by mean and
/// deviation of each dimension; its distance is that to the nearest centre.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentClusters {
    /// Mean of each dimension.
    mean: Vec<f32>,
    /// One over the deviation of each dimension.
    scale: Vec<f32>,
    /// Standardised centres, one at least.
    centres: Vec<Vec<f32>>,
}

impl LatentClusters {
    /// Learns `n_clusters` clusters (1 to 64) of row-major `latents` of `size` dimensions by
    /// k-means, begun as in k-means++ (Arthur and Vassilvitskii 2007). The same seed gives the
    /// same clusters. Refuses no vectors, and values that are not finite.
    pub fn learn(
        latents: &[f32],
        size: usize,
        n_clusters: usize,
        seed: u64,
    ) -> Result<Self, ModelError> {
        within("n_clusters", n_clusters, 1, 64)?;
        if size == 0 || latents.len() < size {
            return Err(ModelError::NothingObserved);
        }
        if let Some(at) = latents.iter().position(|value| !value.is_finite()) {
            return Err(ModelError::NotFiniteInput { sample: at / size, value: latents[at] });
        }
        let (mean, scale) = standard(latents, size);
        let mut clusters = Self { mean, scale, centres: vec![] };
        let points: Vec<Vec<f32>> =
            latents.chunks_exact(size).map(|latent| clusters.standardised(latent)).collect();
        clusters.centres = first_centres(&points, n_clusters, seed);
        for _ in 0..ROUNDS {
            let moved = clusters.mean_centres(&points);
            if moved == clusters.centres {
                break;
            }
            clusters.centres = moved;
        }
        Ok(clusters)
    }

    /// Dimensions of a latent vector.
    pub fn size(&self) -> usize {
        self.mean.len()
    }

    /// How many clusters.
    pub fn n_clusters(&self) -> usize {
        self.centres.len()
    }

    /// Mean of each dimension.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// One over the deviation of each dimension.
    pub fn scale(&self) -> &[f32] {
        &self.scale
    }

    /// The standardised centres, each of [`LatentClusters::size`] dimensions.
    pub fn centres(&self) -> &[Vec<f32>] {
        &self.centres
    }

    fn standardised(&self, latent: &[f32]) -> Vec<f32> {
        let by_dimension = latent.iter().zip(&self.mean).zip(&self.scale);
        by_dimension.map(|((value, mean), scale)| (value - mean) * scale).collect()
    }

    /// The nearest cluster, from 0, and the distance to its centre: the root of the mean over the
    /// dimensions of the squared difference, in deviations. About 1 or less is normal.
    pub fn nearest(&self, latent: &[f32]) -> (usize, f32) {
        let point = self.standardised(latent);
        let (cluster, square) = nearest(&self.centres, &point);
        (cluster, (square / self.size().max(1) as f64).sqrt() as f32)
    }

    /// The mean of the points nearest to each centre; a centre without any stays.
    fn mean_centres(&self, points: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let mut sums = vec![vec![0.0_f64; self.size()]; self.centres.len()];
        let mut counts = vec![0_usize; self.centres.len()];
        for point in points {
            let (cluster, _) = nearest(&self.centres, point);
            counts[cluster] += 1;
            let sum = sums[cluster].iter_mut().zip(point);
            sum.for_each(|(sum, value)| *sum += f64::from(*value));
        }
        let mean = |(at, sum): (usize, Vec<f64>)| match counts[at] {
            0 => self.centres[at].clone(),
            n => sum.iter().map(|sum| (sum / n as f64) as f32).collect(),
        };
        sums.into_iter().enumerate().map(mean).collect()
    }

    /// As JSON, to be stored beside the network.
    pub(crate) fn to_json(&self) -> String {
        json!({"mean": self.mean, "scale": self.scale, "centres": self.centres}).to_string()
    }

    /// From [`LatentClusters::to_json`], for latent vectors of `size` dimensions.
    pub(crate) fn from_json(text: &str, size: usize) -> Result<Self, ModelError> {
        let damaged = |source: crate::error::Cause| ModelError::Text {
            entry: crate::keras::LATENT_CLUSTERS,
            source,
        };
        let value: Value = serde_json::from_str(text).map_err(|source| damaged(source.into()))?;
        let vector = |value: &Value| -> Option<Vec<f32>> {
            let numbers: Vec<f32> = value
                .as_array()?
                .iter()
                .map(|number| Some(number.as_f64()? as f32).filter(|number| number.is_finite()))
                .collect::<Option<_>>()?;
            (numbers.len() == size).then_some(numbers)
        };
        let read = || {
            let centres =
                value["centres"].as_array().filter(|all| (1..=64).contains(&all.len()))?;
            let centres = centres.iter().map(vector).collect::<Option<_>>()?;
            Some(Self { mean: vector(&value["mean"])?, scale: vector(&value["scale"])?, centres })
        };
        read().ok_or_else(|| damaged("not as many numbers as the network has dimensions".into()))
    }
}

/// Mean and one over the deviation of each dimension.
fn standard(latents: &[f32], size: usize) -> (Vec<f32>, Vec<f32>) {
    let n = (latents.len() / size) as f64;
    let (mut mean, mut square) = (vec![0.0_f64; size], vec![0.0_f64; size]);
    for latent in latents.chunks_exact(size) {
        mean.iter_mut().zip(latent).for_each(|(sum, value)| *sum += f64::from(*value) / n);
    }
    for latent in latents.chunks_exact(size) {
        for ((sum, value), mean) in square.iter_mut().zip(latent).zip(&mean) {
            *sum += (f64::from(*value) - mean).powi(2) / n;
        }
    }
    let widest = square.iter().copied().fold(0.0, f64::max).sqrt();
    let floor = (LEAST_DEVIATION * widest).max(1e-12);
    let scale = square.iter().map(|square| (1.0 / square.sqrt().max(floor)) as f32);
    (mean.iter().map(|mean| *mean as f32).collect(), scale.collect())
}

fn square_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

/// The nearest of `centres`, the first of equals, and the square of the distance.
fn nearest(centres: &[Vec<f32>], point: &[f32]) -> (usize, f64) {
    let mut best = (0, f64::INFINITY);
    for (at, centre) in centres.iter().enumerate() {
        let square = square_distance(centre, point);
        if square < best.1 {
            best = (at, square);
        }
    }
    best
}

/// Points drawn as centres, each the likelier the farther it is from those drawn before. Fewer
/// when all points coincide with a centre.
fn first_centres(points: &[Vec<f32>], n_clusters: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut random = Random::new(seed);
    let mut centres = vec![points[random.below(points.len())].clone()];
    let mut squares: Vec<f64> = points.iter().map(|p| square_distance(p, &centres[0])).collect();
    while centres.len() < n_clusters {
        let total: f64 = squares.iter().sum();
        if total <= 0.0 {
            break;
        }
        let mut rest = f64::from(random.unit()) * total;
        let drawn = squares.iter().position(|square| {
            rest -= square;
            rest < 0.0
        });
        let centre = points[drawn.unwrap_or(points.len() - 1)].clone();
        for (square, point) in squares.iter_mut().zip(points) {
            *square = square.min(square_distance(point, &centre));
        }
        centres.push(centre);
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three clouds around corners of a triangle.
    fn clouds() -> Vec<f32> {
        let mut random = Random::new(3);
        let corners = [[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]];
        let mut point = |n: usize| corners[n % 3].map(|corner| corner + random.unit());
        (0..300).flat_map(&mut point).collect()
    }

    #[test]
    fn clouds_are_told_apart_and_what_is_far_is_far() {
        let clusters = LatentClusters::learn(&clouds(), 2, 3, 1).unwrap();
        assert_eq!(clusters.n_clusters(), 3);
        let of = |x: f32, y: f32| clusters.nearest(&[x, y]);
        let found = [of(0.5, 0.5).0, of(9.5, 0.5).0, of(0.5, 9.5).0];
        assert!(found[0] != found[1] && found[1] != found[2] && found[0] != found[2]);
        assert!(of(0.5, 0.5).1 < 0.1 && of(5.0, 5.0).1 > 0.5 && of(50.0, 50.0).1 > 5.0);
    }

    #[test]
    fn saved_clusters_are_loaded_to_the_bit() {
        let clusters = LatentClusters::learn(&clouds(), 2, 3, 1).unwrap();
        assert_eq!(clusters, LatentClusters::learn(&clouds(), 2, 3, 1).unwrap());
        let text = clusters.to_json();
        assert_eq!(LatentClusters::from_json(&text, 2).unwrap(), clusters);
        assert!(LatentClusters::from_json(&text, 3).is_err());
        assert!(LatentClusters::from_json("{", 2).is_err());
        assert!(LatentClusters::from_json("{}", 2).is_err());
    }

    #[test]
    fn constant_and_missing_latents_are_no_trouble() {
        let clusters = LatentClusters::learn(&[2.0; 40], 4, 8, 1).unwrap();
        assert_eq!((clusters.n_clusters(), clusters.nearest(&[2.0; 4])), (1, (0, 0.0)));
        assert!(LatentClusters::learn(&[], 4, 8, 1).is_err());
        assert!(LatentClusters::learn(&[f32::NAN], 1, 1, 1).is_err());
    }
}
