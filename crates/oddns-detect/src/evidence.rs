//! What an incident tells about its cause, gathered instant by instant.

/// Deviations are cut here: beyond, further says nothing more about the cause.
const FAR: f32 = 10.0;
/// Instants without a deviation that stand before the first one, so that a single one does not
/// count as much as many.
const PRIOR_INSTANTS: f32 = 0.5;

/// What each further return of the metrics counts, as a deviation.
const FLAP: f32 = 3.0;

/// Mean signed deviations over an incident. Each instant counts by its score, so that the height of
/// an incident tells more about it than its tail, and is cut, so that none outweighs all others.
#[derive(Debug, Clone)]
pub(crate) struct Evidence {
    moved: Vec<Mean>,
    /// Sum of the weights of all instants, and how many there were.
    weight: f32,
    n: f32,
    /// Whether the last instant had an answer, and how often one had after one without.
    answered: bool,
    n_returns: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    sum: f32,
    weight: f32,
}

impl Evidence {
    /// Of so many features, before the first instant.
    pub(crate) fn new(width: usize) -> Self {
        Self {
            moved: vec![Mean::default(); width],
            weight: 0.0,
            n: 0.0,
            answered: true,
            n_returns: 0,
        }
    }

    /// Counts an instant in, with or without an answer to the scrape; its features follow by
    /// [`Evidence::add`].
    pub(crate) fn begin(&mut self, weight: f32, answered: bool) {
        self.weight += weight;
        self.n += 1.0;
        self.n_returns += u32::from(answered && !self.answered);
        self.answered = answered;
    }

    /// Adds a feature's deviation. One that is missing is not added: that it is missing has no
    /// direction.
    pub(crate) fn add(&mut self, feature: usize, deviation: f32, weight: f32) {
        let mean = &mut self.moved[feature];
        mean.sum += weight * deviation.clamp(-FAR, FAR);
        mean.weight += weight;
    }

    /// The mean of each feature, drawn towards zero when it was seen in few instants, and the more
    /// so in few of many: the rows between failed scrapes tell little about them. NaN for a feature
    /// that was never seen.
    pub(crate) fn means(&self) -> impl Iterator<Item = f32> {
        let prior = PRIOR_INSTANTS * self.weight / self.n.max(1.0);
        self.moved.iter().map(move |mean| match mean.weight > 0.0 {
            true => mean.sum / (mean.weight + prior) * (mean.weight / self.weight).sqrt(),
            false => f32::NAN,
        })
    }

    /// How far scrapes fail and succeed in turn, as a deviation. Coming back once is what ends any
    /// outage.
    pub(crate) fn flapping(&self) -> f32 {
        FLAP * self.n_returns.saturating_sub(1) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_height_counts_more_than_the_tail_and_no_instant_outweighs_all() {
        let mut evidence = Evidence::new(3);
        for (weight, deviation) in [(3.0, 1e9), (1.0, -2.0)] {
            evidence.begin(weight, true);
            evidence.add(0, deviation, weight);
            evidence.add(1, 0.0, weight);
        }
        let means: Vec<f32> = evidence.means().collect();
        assert_eq!(means[0], (3.0 * FAR - 2.0) / 5.0);
        assert_eq!(means[1], 0.0);
        assert!(means[2].is_nan());
    }
}
