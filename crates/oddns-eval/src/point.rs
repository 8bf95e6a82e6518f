//! Measures that look at each point by itself.

/// How well scores tell anomalous from normal points, whatever the alarm line.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PointMetrics {
    /// How many points were scored.
    pub n_points: usize,
    /// How many of them lie in an anomalous interval.
    pub n_anomalous: usize,
    /// Area under the precision-recall curve; `None` without anomalous points.
    pub auc_pr: Option<f64>,
    /// The best that any threshold gives; `None` without anomalous points.
    pub best_f1: Option<BestF1>,
    /// Volume under the precision-recall surface, see [`crate::vus_pr`]; `None` without anomalous
    /// points.
    pub vus_pr: Option<f64>,
}

/// The threshold at which F1 is highest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BestF1 {
    /// Points with at least this score count as found.
    pub threshold: f64,
    /// Part of the points found that are anomalous, 0 to 1.
    pub precision: f64,
    /// Part of the anomalous points that are found, 0 to 1.
    pub recall: f64,
    /// Harmonic mean of the two, 0 to 1.
    pub f1: f64,
}

/// One distinct score as a threshold.
struct Cut {
    threshold: f64,
    n_found: f64,
    n_true: f64,
}

/// Average precision, `Σ (Rₖ − Rₖ₋₁) Pₖ` over the distinct scores from high to low (as
/// scikit-learn's `average_precision_score`); points with equal scores are found together. 0 to 1.
/// `None` when no label is true. The slices have one element for each point; scores are not NaN.
pub fn average_precision(scores: &[f64], labels: &[bool]) -> Option<f64> {
    let n_anomalous = count(labels)?;
    let mut before = 0.0;
    let mut area = 0.0;
    for cut in cuts(scores, labels) {
        area += (cut.n_true - before) / n_anomalous * cut.n_true / cut.n_found;
        before = cut.n_true;
    }
    Some(area)
}

/// The threshold with the highest F1, the highest such. `None` when no label is true. The slices
/// have one element for each point; scores are not NaN.
pub fn best_f1(scores: &[f64], labels: &[bool]) -> Option<BestF1> {
    let n_anomalous = count(labels)?;
    let mut best: Option<BestF1> = None;
    for cut in cuts(scores, labels) {
        let f1 = 2.0 * cut.n_true / (cut.n_found + n_anomalous);
        if best.is_none_or(|best| f1 > best.f1) {
            let (precision, recall) = (cut.n_true / cut.n_found, cut.n_true / n_anomalous);
            best = Some(BestF1 { threshold: cut.threshold, precision, recall, f1 });
        }
    }
    best
}

fn count(labels: &[bool]) -> Option<f64> {
    let n = labels.iter().filter(|label| **label).count();
    (n > 0).then_some(n as f64)
}

fn cuts(scores: &[f64], labels: &[bool]) -> Vec<Cut> {
    let mut order: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut cuts: Vec<Cut> = Vec::new();
    let (mut n_found, mut n_true) = (0.0, 0.0);
    for (threshold, label) in order {
        n_found += 1.0;
        n_true += f64::from(u8::from(label));
        let cut = Cut { threshold, n_found, n_true };
        match cuts.last_mut() {
            Some(last) if last.threshold == threshold => *last = cut,
            _ => cuts.push(cut),
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of scikit-learn's documentation.
    #[test]
    fn average_precision_as_published() {
        let area = average_precision(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]).unwrap();
        assert!((area - 0.833_333_333).abs() < 1e-8, "{area}");
    }

    #[test]
    fn equal_scores_give_the_share_of_anomalies() {
        let labels = [true, false, false, false];
        assert_eq!(average_precision(&[0.5; 4], &labels), Some(0.25));
        let best = best_f1(&[0.5; 4], &labels).unwrap();
        assert_eq!((best.precision, best.recall, best.f1), (0.25, 1.0, 0.4));
    }

    #[test]
    fn best_f1_takes_the_best_threshold() {
        let scores = [0.9, 0.8, 0.7, 0.6, 0.1];
        let best = best_f1(&scores, &[true, false, true, true, false]).unwrap();
        assert_eq!((best.threshold, best.precision, best.recall), (0.6, 0.75, 1.0));
    }

    #[test]
    fn without_anomalies_there_is_nothing_to_measure() {
        assert_eq!(average_precision(&[1.0], &[false]), None);
        assert_eq!(best_f1(&[], &[]), None);
        assert_eq!(average_precision(&[1.0, f64::INFINITY], &[true, true]), Some(1.0));
    }
}
