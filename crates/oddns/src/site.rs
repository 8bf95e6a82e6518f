//! A detector of elsewhere at a site: the network and what is known of the features stay, and all
//! that is the site's is learned from its rows.
//!
//! A few minutes of a site tell its levels, and next to nothing of how far they go in a day. What
//! they do not tell is taken from elsewhere: scales by how many independent rows there are, and
//! whole windows of rows, moved to the levels of the site, until the site has enough of its own.

use std::ops::ControlFlow;
use std::sync::Arc;

use oddns_core::{Frame, Schema};
use oddns_features::Scaler;
use oddns_model::Sequence;

use crate::calibration::{Budget, ENOUGH_ROWS, Elsewhere, Pace};
use crate::column::Column;
use crate::detector::{Detector, DetectorError, TrainingRecord, tracked};
use crate::forecaster::Forecaster;
use crate::held_out::{Blocks, Worth};
use crate::kept::{self, Kept};
use crate::members::Calibration;
use crate::method::Method;
use crate::normal::{Expected, Normal, Stretch};
use crate::training::{
    Assignment, TrainOptions, check_columns, fit, fit_scaler, interval, kept_rows, range,
    stretches_of,
};

/// What is known of a scale elsewhere weighs as much as so many independent rows of the site.
const KNOWN_ROWS: f32 = 20.0;
/// That a network's corrections are worth taking is known from elsewhere as from so many rows.
const KNOWN_WORTH_ROWS: f64 = 100.0;
/// Rows that lie as far apart as the correlation that is known of each feature.
const APART_ROWS: f32 = 32.0;

impl Detector {
    /// This detector for another site, such as one that was trained on simulated servers for real
    /// ones, from the first normal rows that the site has: frames of the same columns, one a server.
    /// Nothing is trained, and it takes a fraction of a second.
    ///
    /// The network stays, and what is known of the features: how far their levels go and how they
    /// wander. From the rows of the site come mean and scale of each feature, its reach, structure and
    /// movements, the units of the members, how much each correction of the network is worth, and
    /// the alarm line. What few rows cannot tell is taken from elsewhere, less and less of it the more
    /// rows there are, and nothing but the network from some thousands of rows on. Begin each time
    /// from the detector of elsewhere, with all rows of the site: a detector of a site has nothing to
    /// lend, and takes as many rows as [`Detector::fit`].
    ///
    /// A feature that the site never shows keeps the scale of elsewhere for when it comes; one that
    /// was never there elsewhere has the scale of the site. What people said of patterns stays
    /// behind, the budget of alarms comes along. Other kinds than those with members learn scales
    /// and line of the site alone.
    ///
    /// # Errors
    /// Rows of another schema; frames that differ in their columns; no value at all; fewer rows in a
    /// row than [`Detector::warm_up_rows`] and one more.
    pub fn calibrate(&self, frames: &[&Frame]) -> Result<Self, DetectorError> {
        check_columns(frames)?;
        for frame in frames {
            self.check_schema(&Schema::new(frame.columns().to_vec()))?;
        }
        match &self.method {
            Method::Members { forecaster, calibration } => {
                Site::new(self, frames)?.calibrate(forecaster, calibration)
            }
            Method::Reconstruction { .. } | Method::Rival(_) => self.learn_anew(frames),
        }
    }

    /// Scales and line; weights stay as they are.
    fn learn_anew(&self, frames: &[&Frame]) -> Result<Self, DetectorError> {
        let options = TrainOptions {
            epochs: Some(0),
            seed: self.record.seed,
            alarms_per_week: self.record.alarms_per_week,
            strict_budget: self.record.strict_budget,
            detector: self.kind,
            ..TrainOptions::default()
        };
        let (columns, parent) = (self.columns.to_vec(), Some(self.method.forecaster()));
        let assignment = Assignment { columns, parent, update: None };
        fit(assignment, frames, &options, &mut |_| ControlFlow::Continue(()))
    }
}

/// A site in front of a detector of elsewhere.
struct Site<'a> {
    elsewhere: &'a Detector,
    frames: &'a [&'a Frame],
    interval_seconds: f32,
    /// Rows of the longest stretch, and of all that are long enough.
    longest: usize,
    n_rows: usize,
}

impl<'a> Site<'a> {
    fn new(elsewhere: &'a Detector, frames: &'a [&'a Frame]) -> Result<Self, DetectorError> {
        let mut site =
            Self { elsewhere, frames, interval_seconds: interval(frames), longest: 0, n_rows: 0 };
        let found = stretches_of(frames, site.interval_seconds);
        let longest = found.iter().map(|(_, rows)| rows.len()).max().unwrap_or(0);
        let needed = site.needed();
        if longest < needed {
            return Err(DetectorError::TooShort { found: longest, needed });
        }
        let rows = found.iter().map(|(_, rows)| rows.len());
        site.n_rows = rows.filter(|n| *n >= needed).sum();
        site.longest = longest;
        Ok(site)
    }

    /// Rows in a row without which nothing can be judged; without anything to borrow, or learned.
    fn needed(&self) -> usize {
        match self.elsewhere.kept.0.is_empty() {
            true => kept_rows(self.elsewhere),
            false => self.elsewhere.warm_up_rows() + 1,
        }
    }

    fn calibrate(
        &self,
        forecaster: &Forecaster,
        known: &Calibration,
    ) -> Result<Detector, DetectorError> {
        let Detector { columns, record, .. } = self.elsewhere;
        let TrainingRecord { alarms_per_week, strict_budget: is_strict, .. } = *record;
        let pace = Pace::new(self.interval_seconds, Budget { alarms_per_week, is_strict });
        let worth = self.independent_rows(known);
        let mut scaler = self.scaler(&worth)?;
        let borrowed = self.borrowed(&scaler);
        let weight = pace.scale_weight();
        let lent = borrowed.iter().map(|frame| (frame, 0..frame.len()));
        let own = stretches_of(self.frames, self.interval_seconds);
        let own = own.into_iter().filter(|(_, rows)| rows.len() >= self.needed());
        let stretches = lent
            .chain(own)
            .map(|(frame, rows)| Stretch::new(frame, rows, columns, &mut scaler, weight))
            .collect::<Result<Vec<_>, _>>()?;
        let n_borrowed = borrowed.len();
        let sequences: Vec<Sequence> = stretches.iter().map(|s| s.sequence.clone()).collect();
        let (forecaster, expected) = self.forecaster(forecaster, &sequences[n_borrowed..])?;
        let from = forecaster.warm_up_rows();
        let blocks = Blocks::new(&sequences, from);
        let normal = Normal { stretches: &stretches, expected, from };
        let elsewhere = Elsewhere { known, n_borrowed, n_rows: self.n_rows, worth };
        let found = Calibration::fit(&normal, &blocks, &scaler, columns, pace, Some(&elsewhere))?;
        let method = Method::Members { forecaster, calibration: Arc::new(found) };
        Ok(self.detector(scaler, method))
    }

    fn detector(&self, scaler: Scaler, method: Method) -> Detector {
        let Detector { columns, record, .. } = self.elsewhere;
        let windows = kept::windows(self.frames, self.interval_seconds, kept_rows(self.elsewhere));
        Detector {
            kept: Arc::new(Kept::first(windows, &scaler, columns)),
            precedents: Arc::default(),
            tracked: tracked(columns, self.interval_seconds),
            scaler,
            method,
            record: TrainingRecord {
                range: range(self.frames),
                n_rows: self.n_rows,
                interval_seconds: self.interval_seconds,
                ..record.clone()
            },
            ..self.elsewhere.clone()
        }
    }

    /// How many independent rows those of the site are worth, for each feature: servers share what
    /// they are asked, and what a feature wanders by itself takes long to see.
    fn independent_rows(&self, known: &Calibration) -> Vec<f32> {
        let elsewhere = self.elsewhere.record.interval_seconds;
        let slower = self.interval_seconds / elsewhere;
        let slower = if slower.is_finite() && slower > 0.0 { slower } else { 1.0 };
        let worth = |gain: &f32| {
            let apart = 1.0 - gain.sqrt();
            let next = apart.powf(slower / APART_ROWS);
            self.longest as f32 * (1.0 - next) / (1.0 + next)
        };
        known.level_gain.iter().map(worth).collect()
    }

    /// Levels of the site; scales between its own and those of elsewhere.
    fn scaler(&self, worth: &[f32]) -> Result<Scaler, DetectorError> {
        let Detector { columns, scaler: known, .. } = self.elsewhere;
        let mut scaler = fit_scaler(self.frames, columns)?;
        for (at, worth) in worth.iter().enumerate() {
            if known.missing_ratio[at] >= 1.0 {
                continue;
            }
            if scaler.missing_ratio[at] >= 1.0 {
                scaler.mean[at] = known.mean[at];
                scaler.scale[at] = known.scale[at];
                scaler.floor[at] = known.floor[at];
            }
            let own = worth / (worth + KNOWN_ROWS);
            let square = own * scaler.scale[at].powi(2) + (1.0 - own) * known.scale[at].powi(2);
            scaler.scale[at] = square.sqrt().min(f32::MAX).max(scaler.floor[at]);
            let own = self.n_rows as f32 / (self.n_rows as f32 + KNOWN_ROWS);
            let missing = &mut scaler.missing_ratio[at];
            *missing = own * *missing + (1.0 - own) * known.missing_ratio[at];
        }
        Ok(scaler)
    }

    /// Windows of elsewhere at the levels of the site: as many rows as the site has too few.
    fn borrowed(&self, scaler: &Scaler) -> Vec<Frame> {
        let Detector { columns, kept, scaler: known, .. } = self.elsewhere;
        let frames = kept.frames(columns);
        let rows = frames.first().map_or(1, |frame| frame.len().max(1));
        let wanted = ENOUGH_ROWS.saturating_sub(self.n_rows).div_ceil(rows).min(frames.len());
        let chosen = (0..wanted).map(|at| &frames[at * frames.len() / wanted]);
        chosen.map(|frame| moved(frame, columns, known, scaler)).collect()
    }

    /// What is held against a row, with corrections of the network turned down to what they are worth
    /// here.
    fn forecaster(
        &self,
        known: &Forecaster,
        sequences: &[Sequence],
    ) -> Result<(Forecaster, Expected), DetectorError> {
        let Forecaster::Network(network) = known else {
            return Ok((Forecaster::LastValue, Expected::LastValue));
        };
        let mut network = network.as_ref().clone();
        let gains = Worth::of(&network, sequences)?.gains(KNOWN_WORTH_ROWS);
        network.dampen(&gains).map_err(DetectorError::Model)?;
        let network = Arc::new(network);
        Ok((Forecaster::Network(Arc::clone(&network)), Expected::Elsewhere(network)))
    }
}

/// Rows as far from the levels `to` as they are from those of `from`, in their scales.
fn moved(frame: &Frame, columns: &[Column], from: &Scaler, to: &Scaler) -> Frame {
    let mut found = Frame::new(frame.columns().to_vec());
    let mut moved = vec![0.0; columns.len()];
    for (time, row) in frame.rows() {
        for (at, (column, value)) in columns.iter().zip(row).enumerate() {
            let standard = from.standardise(at, column.transform.apply(*value));
            moved[at] = match to.missing_ratio[at] >= 1.0 {
                true => f32::NAN,
                false => column.transform.invert(to.restore(at, standard)),
            };
        }
        // Times rise as they did, and the width is the same.
        let _ = found.push(time, &moved);
    }
    found
}
