//! A detector to compare with, as a detector of its own: its unit, and its line.

use oddns_detect::baseline::{Baseline, Score, Setting};
use oddns_detect::{AlarmLine, quantile};

use crate::calibration::{Pace, UNIT_QUANTILE};
use crate::detector::DetectorError;
use crate::held_out::{Blocks, N_FOLDS};
use crate::members::Verdict;
use crate::normal::{Stretch, fit_chosen};

/// Smallest unit of a score: a table that hardly moves has scores that hardly do.
const UNIT_FLOOR: f32 = 0.05;
/// A bounded score counts as no more than this: its odds are finite.
const ALMOST_ONE: f32 = 0.999;
/// A row beyond so many units says nothing more.
const MOST_UNITS: f32 = 1e6;

/// A fitted detector with what makes 1 the alarm line of its scores. Also what a stream leaves
/// behind in it.
#[derive(Debug, Clone)]
pub(crate) struct Rival {
    pub(crate) baseline: &'static Baseline,
    pub(crate) fitted: Box<dyn Score>,
    /// High quantile of its scores of rows it was not fitted on, above zero.
    pub(crate) unit: f32,
    pub(crate) line: AlarmLine,
    /// Weight with which a row moves what is told as usual, 0 to 1.
    pub(crate) scale_weight: f32,
}

impl Rival {
    pub(crate) fn fit(
        baseline: &'static Baseline,
        stretches: &[Stretch<'_>],
        blocks: &Blocks,
        pace: Pace,
        seed: u64,
    ) -> Result<Self, DetectorError> {
        let setting = Setting { step_seconds: pace.step_seconds(), seed };
        let fit = |wanted: &dyn Fn(usize, usize) -> bool| {
            fit_chosen(stretches, wanted, |rows| baseline.fit(rows, setting))
        };
        let mut modelled = vec![0.0; stretches.first().map_or(0, Stretch::width)];
        let mut scores = Vec::new();
        for fold in 0..N_FOLDS {
            let mut fitted = fit(&|stretch, row| blocks.fold(stretch, row) != fold)?;
            for (at, stretch) in stretches.iter().enumerate() {
                for row in 0..stretch.len() {
                    stretch.model(row, &mut modelled);
                    let score = unbounded(fitted.score(&modelled), baseline.bounded);
                    if blocks.fold(at, row) == fold {
                        scores.push(score);
                    }
                }
            }
        }
        let unit = quantile(&scores, UNIT_QUANTILE).max(UNIT_FLOOR);
        let strengths: Vec<f32> = scores.iter().map(|score| in_units(*score, unit)).collect();
        let line = pace.line(&strengths);
        let fitted = fit(&|_, _| true)?;
        Ok(Self { baseline, fitted, unit, line, scale_weight: pace.scale_weight() })
    }

    /// Takes in a row on the modelled scale, and judges it.
    pub(crate) fn judge(&mut self, modelled: &[f32]) -> Verdict {
        let score = unbounded(self.fitted.score(modelled), self.baseline.bounded);
        let strength = in_units(score, self.unit);
        let score = strength / self.line.level();
        self.line.push(strength);
        Verdict { score, fresh: true, strengths: self.fitted.strengths().to_vec() }
    }
}

/// The odds of a bounded score, and any other as it is: a line is found from a tail that does not
/// end. Order stays.
fn unbounded(score: f32, bounded: bool) -> f32 {
    if !bounded {
        return score;
    }
    let score = score.min(ALMOST_ONE);
    score / (1.0 - score)
}

fn in_units(score: f32, unit: f32) -> f32 {
    (score / unit).min(MOST_UNITS)
}
