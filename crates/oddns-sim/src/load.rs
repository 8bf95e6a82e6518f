//! How busy a cluster is over time, when that comes from elsewhere than a sine.

use std::sync::Arc;

/// One step of a [`Load`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadStep {
    /// Lookups for each of the scenario's rate; the mean over all steps is near 1.
    pub rate_ratio: f64,
    /// Endpoints that change each second, beside those of the scenario.
    pub changes_per_second: f64,
}

/// Steps of a second each, begun anew when they are over.
#[derive(Debug, Clone, PartialEq)]
pub struct Load(Arc<[LoadStep]>);

impl Load {
    /// `None` for no steps. A ratio or rate that is negative or not a number counts as 0, one above
    /// a million as a million.
    pub fn new(steps: impl IntoIterator<Item = LoadStep>) -> Option<Self> {
        let usable = |value: f64| if value.is_nan() { 0.0 } else { value.clamp(0.0, 1e6) };
        let steps: Arc<[LoadStep]> = steps
            .into_iter()
            .map(|step| LoadStep {
                rate_ratio: usable(step.rate_ratio),
                changes_per_second: usable(step.changes_per_second),
            })
            .collect();
        (!steps.is_empty()).then_some(Self(steps))
    }

    /// Seconds until it begins anew.
    pub fn seconds(&self) -> f64 {
        self.0.len() as f64
    }

    /// What holds so many seconds after the start; before it, what holds at the start.
    pub fn at(&self, seconds: f64) -> LoadStep {
        self.0[seconds.max(0.0) as usize % self.0.len()]
    }

    /// The mean from one time to another, both in seconds after the start.
    pub fn mean(&self, from: f64, until: f64) -> LoadStep {
        let (first, last) = (from.max(0.0) as usize, until.max(0.0).ceil() as usize);
        let steps = first..last.max(first + 1).min(first + self.0.len());
        let n = steps.len() as f64;
        let mut mean = LoadStep { rate_ratio: 0.0, changes_per_second: 0.0 };
        for step in steps.map(|step| self.0[step % self.0.len()]) {
            mean.rate_ratio += step.rate_ratio / n;
            mean.changes_per_second += step.changes_per_second / n;
        }
        mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(ratios: &[f64]) -> Load {
        let steps =
            ratios.iter().map(|&rate_ratio| LoadStep { rate_ratio, changes_per_second: 2.0 });
        Load::new(steps).unwrap()
    }

    #[test]
    fn it_begins_anew_when_it_is_over() {
        let load = load(&[1.0, 2.0, 3.0]);
        assert_eq!(
            [-1.0, 0.9, 1.0, 2.5, 3.0].map(|at| load.at(at).rate_ratio),
            [1.0, 1.0, 2.0, 3.0, 1.0]
        );
        let mean = |from, until| load.mean(from, until).rate_ratio;
        for mean in [mean(1.0, 4.0), mean(0.0, 1e9), mean(1.2, 1.2)] {
            assert!((mean - 2.0).abs() < 1e-9, "{mean}");
        }
        assert_eq!(load.mean(1.0, 2.0).changes_per_second, 2.0);
    }

    #[test]
    fn what_cannot_be_is_brought_into_range() {
        assert_eq!(Load::new([]), None);
        let ratios = load(&[f64::NAN, -1.0, f64::INFINITY]);
        assert_eq!([0.0, 1.0, 2.0].map(|at| ratios.at(at).rate_ratio), [0.0, 0.0, 1e6]);
    }
}
