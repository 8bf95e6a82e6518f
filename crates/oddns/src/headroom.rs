//! A line above all that quiet did: what a new detector says of the quiet rows of its servers, judged as
//! it will judge them.
//!
//! A line is extrapolated from the middle of the scores. An update has weeks of quiet that somebody has
//! judged already, and what lies highest in them is known rather than foretold.

use std::sync::Arc;

use crate::detector::{Detector, DetectorError};
use crate::follower::Follower;
use crate::method::Method;
use crate::pulse::{Pulse, beat};
use crate::quiet::{Sorted, Standing};

/// The highest quiet row is to score no more than this. Tails are about exponential, of a fifteenth of the
/// line a fold: a seventh below it, a row above it is a tenth as likely as one as high as the highest.
const HIGHEST_QUIET: f32 = 0.85;
/// The line is not raised by more: what is quiet may be what nobody has noticed, and a tenth costs two or
/// three in a hundred of the weakest faults that are injected at the gate, which is what that bears.
const MOST_RAISED: f32 = 1.1;
/// The first part of a history in which a stream gets to know its server, and is not looked at: one in so
/// many rows.
pub(crate) const FIRST_PART: usize = 4;

impl Detector {
    /// The same detector with a line above the quiet rows that it was updated with, and by how many times
    /// it was raised for that. Rows that are held out for the gate are not looked at.
    pub(crate) fn above_quiet(
        self,
        sorted: &[Sorted<'_>],
        pulse: &mut Pulse<'_>,
    ) -> Result<(Self, f32), DetectorError> {
        let judge = Arc::new(self);
        let mut highest = 0.0_f32;
        for one in sorted {
            highest = highest.max(highest_quiet(&judge, one, pulse)?);
        }
        let by = (highest / HIGHEST_QUIET).clamp(1.0, MOST_RAISED);
        let detector = Arc::unwrap_or_clone(judge);
        let method = detector.method.clone().raised(by);
        Ok((Self { method, ..detector }, by))
    }
}

/// The highest score among the quiet rows of a server; 0 of none.
fn highest_quiet(
    judge: &Arc<Detector>,
    sorted: &Sorted<'_>,
    pulse: &mut Pulse<'_>,
) -> Result<f32, DetectorError> {
    let frame = sorted.history.frame;
    let mut follower = Follower::new(Arc::clone(judge), sorted.history.instance.to_owned());
    let mut highest = 0.0_f32;
    for (at, standing) in sorted.standing.iter().enumerate() {
        let row = sorted.from + at;
        beat(pulse, row)?;
        let followed = follower.push(frame.timestamps()[row], frame.row(row))?;
        let is_known = at >= sorted.standing.len() / FIRST_PART;
        if is_known && *standing == Standing::Quiet && !sorted.held_out[at] {
            highest = highest.max(followed.score.score);
        }
    }
    Ok(highest)
}

impl Method {
    /// The same with a line so many times as high, at least 1.
    fn raised(self, by: f32) -> Self {
        match self {
            Self::Members { forecaster, calibration } => {
                let mut calibration = Arc::unwrap_or_clone(calibration);
                calibration.line = calibration.line.raised(by);
                Self::Members { forecaster, calibration: Arc::new(calibration) }
            }
            Self::Reconstruction { forecaster, mut reconstructed } => {
                reconstructed.line = reconstructed.line.raised(by);
                Self::Reconstruction { forecaster, reconstructed }
            }
            Self::Rival(mut rival) => {
                rival.line = rival.line.raised(by);
                Self::Rival(rival)
            }
        }
    }
}
