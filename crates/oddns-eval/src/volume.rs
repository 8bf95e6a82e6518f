//! Volume under the precision-recall surface.
//!
//! Paparrizos, Boniol, Palpanas, Tsay, Elmore, Franklin: "Volume Under the Surface: A New Accuracy
//! Evaluation Measure for Time-Series Anomaly Detection", PVLDB 15(11), 2022, in the form that the
//! benchmark TSB-AD computes (its version `opt` with 250 thresholds), so that figures compare.

/// Thresholds tried, spread evenly over the ranks of the scores; the number TSB-AD uses.
const N_THRESHOLDS: usize = 250;

/// VUS-PR of one or many series that are judged by the same thresholds. 0 to about 1. `None` when no
/// label is true.
///
/// For each buffer length `w` from 0 to `window` points, an anomaly reaches `⌊w/2⌋` points beyond
/// both its ends, where a point at distance `d` counts as `√(1 − d/w)` of an anomaly (neighbouring
/// buffers add up to at most 1). With `p` the points at or above a threshold:
///
/// - `TP = |anomalies ∩ p| + Σ buffer weights ∩ p`
/// - precision `= TP / |p|`
/// - recall `= min(1, TP / ((P + P + Σ buffer weights ∩ p) / 2)) · existence`, where `P` is the number
///   of anomalous points and existence the part of the widened anomalies that `p` touches
///
/// The area for `w` is `Σ (recallₖ − recallₖ₋₁) · precisionₖ`, and the result the mean over `w`.
///
/// Each series has one label for each of its scores, in order of time; scores are not NaN. Buffers
/// end at the borders of a series.
pub fn vus_pr(series: &[(&[f64], &[bool])], window: usize) -> Option<f64> {
    let ranks = Ranks::new(series);
    let places: Vec<Place<'_>> = series
        .iter()
        .map(|(scores, labels)| Place { cuts: ranks.cuts(scores), labels, runs: runs(labels) })
        .collect();
    let n_anomalous: usize = places.iter().flat_map(|place| &place.runs).map(length).sum();
    if n_anomalous == 0 {
        return None;
    }
    let areas = (0..=window).map(|width| area(&places, &ranks, n_anomalous as f64, width));
    Some(areas.sum::<f64>() / (window + 1) as f64)
}

/// First and last point of a stretch.
type Run = (usize, usize);

fn length(run: &Run) -> usize {
    run.1 - run.0 + 1
}

/// The thresholds and how many points reach each.
struct Ranks {
    /// Falling.
    thresholds: Vec<f64>,
    n_found: Vec<f64>,
}

/// One series: for each point the first threshold that it reaches, and its anomalies.
struct Place<'a> {
    cuts: Vec<usize>,
    labels: &'a [bool],
    runs: Vec<Run>,
}

impl Ranks {
    fn new(series: &[(&[f64], &[bool])]) -> Self {
        let mut scores: Vec<f64> =
            series.iter().flat_map(|(scores, _)| scores.iter().copied()).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        let last = scores.len().saturating_sub(1);
        // The steps of numpy's `linspace(…).astype(int)`, which multiplies before it cuts off.
        let step = last as f64 / (N_THRESHOLDS - 1) as f64;
        let rank = |k: usize| if k == N_THRESHOLDS - 1 { last } else { (k as f64 * step) as usize };
        let thresholds: Vec<f64> =
            (0..N_THRESHOLDS).filter_map(|k| scores.get(rank(k)).copied()).collect();
        let found = |threshold: &f64| scores.partition_point(|score| score >= threshold) as f64;
        Self { n_found: thresholds.iter().map(found).collect(), thresholds }
    }

    fn cuts(&self, scores: &[f64]) -> Vec<usize> {
        let cut = |score: &f64| self.thresholds.partition_point(|threshold| threshold > score);
        scores.iter().map(cut).collect()
    }
}

/// The stretches of true.
fn runs(labels: &[bool]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for at in (0..labels.len()).filter(|at| labels[*at]) {
        match runs.last_mut() {
            Some(run) if run.1 + 1 == at => run.1 = at,
            _ => runs.push((at, at)),
        }
    }
    runs
}

/// The runs with `half` more points at both ends; those that then touch are one.
fn widened(runs: &[Run], half: usize, n_points: usize) -> Vec<Run> {
    let mut wide: Vec<Run> = Vec::new();
    for &(from, to) in runs {
        let from_wide = from.saturating_sub(half);
        let to_wide = (to + half).min(n_points.saturating_sub(1));
        match wide.last_mut() {
            Some(last) if last.1 >= from_wide => last.1 = to_wide,
            _ => wide.push((from_wide, to_wide)),
        }
    }
    wide
}

/// What the points of all series add at each threshold, for one buffer length.
struct Tally {
    /// Anomalous points that first reach this threshold.
    hits: Vec<f64>,
    /// Buffer weight that first reaches this threshold.
    buffer: Vec<f64>,
    /// Widened anomalies first touched at this threshold.
    touched: Vec<f64>,
    n_wide: f64,
}

/// Area under the precision-recall curve for buffers of `width` points.
fn area(places: &[Place<'_>], ranks: &Ranks, n_anomalous: f64, width: usize) -> f64 {
    let tally = Tally::new(places, ranks.thresholds.len(), width);
    let (mut hits, mut buffer, mut touched) = (0.0, 0.0, 0.0);
    let (mut area, mut recall_before) = (0.0, 0.0);
    for (k, n_found) in ranks.n_found.iter().enumerate() {
        hits += tally.hits[k];
        buffer += tally.buffer[k];
        touched += tally.touched[k];
        let n_true = hits + buffer;
        let n_expected = (n_anomalous + n_anomalous + buffer) / 2.0;
        let recall = (n_true / n_expected).min(1.0) * touched / tally.n_wide;
        area += (recall - recall_before) * n_true / n_found;
        recall_before = recall;
    }
    area
}

impl Tally {
    fn new(places: &[Place<'_>], n_thresholds: usize, width: usize) -> Self {
        let zeros = || vec![0.0; n_thresholds];
        let mut tally = Self { hits: zeros(), buffer: zeros(), touched: zeros(), n_wide: 0.0 };
        for place in places {
            tally.add(place, width);
        }
        tally
    }

    fn add(&mut self, place: &Place<'_>, width: usize) {
        let weights = buffer_weights(place, width);
        for wide in widened(&place.runs, width / 2, place.cuts.len()) {
            self.n_wide += 1.0;
            let first = place.cuts[wide.0..=wide.1].iter().min();
            add_at(&mut self.touched, first.copied(), 1.0);
            for at in wide.0..=wide.1 {
                let cut = Some(place.cuts[at]);
                if place.labels[at] {
                    add_at(&mut self.hits, cut, 1.0);
                } else {
                    add_at(&mut self.buffer, cut, weights[at].min(1.0));
                }
            }
        }
    }
}

/// A point below every threshold counts nowhere; with the lowest score as the last threshold there
/// is none.
fn add_at(counts: &mut [f64], cut: Option<usize>, weight: f64) {
    if let Some(count) = cut.and_then(|cut| counts.get_mut(cut)) {
        *count += weight;
    }
}

/// How much of an anomaly each point is by its distance to those around it; may exceed 1.
fn buffer_weights(place: &Place<'_>, width: usize) -> Vec<f64> {
    let mut weights = vec![0.0; place.cuts.len()];
    for &(from, to) in &place.runs {
        for distance in 1..=width / 2 {
            let weight = (1.0 - distance as f64 / width as f64).sqrt();
            if let Some(before) = from.checked_sub(distance) {
                weights[before] += weight;
            }
            if let Some(after) = weights.get_mut(to + distance) {
                *after += weight;
            }
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reproducible series: scores from a multiplicative sequence, raised near two anomalies.
    fn series() -> (Vec<f64>, Vec<bool>) {
        let label = |at: usize| (100..120).contains(&at) || (140..145).contains(&at) || at == 299;
        let score = |at: usize| {
            let noise = (at * 7919 % 1009) as f64 / 1009.0;
            if (97..112).contains(&at) || at == 147 { noise + 0.5 } else { noise }
        };
        ((0..300).map(score).collect(), (0..300).map(label).collect())
    }

    /// Window and VUS-PR.
    const EXPECTED: [(usize, f64); 6] = [
        (0, 0.182_768_592_389_573_1),
        (1, 0.182_768_592_389_573_1),
        (2, 0.205_016_123_088_243_35),
        (10, 0.329_810_234_988_893_3),
        (33, 0.447_331_268_194_071_43),
        (100, 0.626_489_370_134_287_7),
    ];

    /// Expected values: the published formulas written out in numpy, points and thresholds in full.
    #[test]
    fn as_the_published_definition() {
        let (scores, labels) = series();
        for (window, expected) in EXPECTED {
            let found = vus_pr(&[(&scores, &labels)], window).unwrap();
            assert!((found - expected).abs() < 1e-9, "{window}: {found} is not {expected}");
        }
    }

    #[test]
    fn a_perfect_score_without_buffer_is_one() {
        let labels = [false, true, true, false];
        let found = vus_pr(&[(&[0.0, 1.0, 1.0, 0.0], &labels)], 0).unwrap();
        assert!((found - 1.0).abs() < 1e-12, "{found}");
        assert_eq!(vus_pr(&[(&[0.0], &[false])], 100), None);
        assert_eq!(vus_pr(&[], 100), None);
    }

    #[test]
    fn buffers_end_at_the_border_of_a_series() {
        let labels = [true, false, false, false];
        let scores = [1.0, 0.0, 0.0, 0.0];
        let quiet = ([0.0; 4], [false; 4]);
        let alone = vus_pr(&[(&scores, &labels)], 2).unwrap();
        let beside = vus_pr(&[(&quiet.0, &quiet.1), (&scores, &labels)], 2).unwrap();
        assert!(beside <= alone, "{beside} {alone}");
    }
}
