//! Detectors side by side: each is trained and judged on each series, on all cores.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::ProgressBar;
use oddns::{Detector, DetectorError, DetectorKind, Scored, TrainOptions, score_frame};
use oddns_collect::format_duration;
use oddns_core::{Frame, Score, Timestamp};
use oddns_eval::{Comparison, EvalConfig, Naming, Report, Run, ScoredPoint, Trial};

use crate::progress;
use crate::suite::Series;

/// What is judged.
pub(crate) enum Candidate {
    /// Trained on what is normal of each series.
    Trained(DetectorKind),
    /// A detector of elsewhere, whatever is normal here.
    AsItIs(Arc<Detector>),
    /// The same, calibrated by the last so much of what is normal.
    Calibrated(Arc<Detector>, Duration),
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trained(kind) => write!(f, "{kind}"),
            Self::AsItIs(_) => f.write_str("base as it is"),
            Self::Calibrated(_, by) => write!(f, "base calibrated by {}", format_duration(*by)),
        }
    }
}

impl Candidate {
    fn detector(&self, normal: &[&Frame], seed: u64) -> Result<Arc<Detector>, DetectorError> {
        match self {
            Self::Trained(detector) => {
                // Jobs run side by side already.
                let options =
                    TrainOptions { detector: *detector, seed, threads: 1, ..Default::default() };
                Detector::fit(normal, &options, &mut |_| ControlFlow::Continue(())).map(Arc::new)
            }
            Self::AsItIs(base) => Ok(Arc::clone(base)),
            Self::Calibrated(base, by) => {
                let parts: Vec<Frame> = normal.iter().map(|frame| newest(frame, *by)).collect();
                base.calibrate(&parts.iter().collect::<Vec<_>>()).map(Arc::new)
            }
        }
    }
}

/// The last part of a frame that lasts so long.
fn newest(frame: &Frame, length: Duration) -> Frame {
    let since = frame.timestamps().last().map(|last| {
        let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(last.millis().saturating_sub(length))
    });
    frame.between(since, None)
}

/// One thing to do.
#[derive(Clone, Copy)]
struct Job<'a> {
    series: &'a Series,
    candidate: &'a Candidate,
    name: &'a str,
    seed: u64,
}

/// Trains and judges every candidate with every seed on every series at default settings. The figures
/// do not depend on how many cores there are, but for seconds.
pub(crate) fn compare(
    series: &[Series],
    candidates: &[Candidate],
    seeds: &[u64],
) -> anyhow::Result<Comparison> {
    let names: Vec<String> = candidates.iter().map(Candidate::to_string).collect();
    let mut jobs = Vec::new();
    for series in series {
        for (candidate, name) in candidates.iter().zip(&names) {
            jobs.extend(seeds.iter().map(|seed| Job { series, candidate, name, seed: *seed }));
        }
    }
    let mut comparison = Comparison::new();
    for (job, trial) in jobs.iter().zip(all(&jobs)?) {
        comparison.record(job.run(), &trial);
    }
    Ok(comparison)
}

/// What each job came to, in their order.
fn all(jobs: &[Job<'_>]) -> anyhow::Result<Vec<Trial>> {
    let bar = progress::bar(jobs.len() as u64, "comparing");
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let n_threads = thread::available_parallelism().map_or(1, usize::from);
    let mut found = thread::scope(|scope| {
        let work = || work(jobs, &next, &failed, &bar);
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
        joined
            .flat_map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Vec<_>>()
    });
    bar.finish_and_clear();
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, trial)| trial).collect()
}

/// Takes jobs until there are none, or one has failed.
fn work(
    jobs: &[Job<'_>],
    next: &AtomicUsize,
    failed: &AtomicBool,
    bar: &ProgressBar,
) -> Vec<(usize, anyhow::Result<Trial>)> {
    let mut done = Vec::new();
    while !failed.load(Ordering::Relaxed) {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(job) = jobs.get(at) else { break };
        let trial = job.trial().with_context(|| format!("{} on `{}`", job.name, job.series.name));
        failed.fetch_or(trial.is_err(), Ordering::Relaxed);
        bar.inc(1);
        done.push((at, trial));
    }
    done
}

impl Job<'_> {
    fn run(&self) -> Run<'_> {
        let Self { series, name, seed, .. } = self;
        Run { suite: &series.suite, series: &series.name, detector: name, seed: *seed }
    }

    fn trial(&self) -> anyhow::Result<Trial> {
        let frames: Vec<&Frame> = self.series.normal.iter().collect();
        let start = Instant::now();
        let detector = self.candidate.detector(&frames, self.seed)?;
        let train_seconds = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let judged = self.series.judged.iter();
        let scored = judged.map(|instance| score_frame(&detector, &instance.name, &instance.frame));
        let scored = scored.collect::<Result<Vec<Scored>, _>>()?;
        let score_seconds = start.elapsed().as_secs_f64();
        let report = self.report(&scored)?;
        let incidents: Vec<_> = scored.iter().flat_map(|scored| &scored.incidents).collect();
        Ok(Trial {
            naming: Naming::of(&incidents, &report.outcomes),
            report,
            train_seconds: Some(train_seconds),
            score_seconds: Some(score_seconds),
        })
    }

    fn report(&self, scored: &[Scored]) -> anyhow::Result<Report> {
        let mut points = Vec::new();
        for (instance, scored) in self.series.judged.iter().zip(scored) {
            let judged = |score: &&Score| self.series.since.is_none_or(|since| score.time >= since);
            points.extend(scored.scores.iter().filter(judged).map(|score| ScoredPoint {
                time: score.time,
                instance: &instance.name,
                score: f64::from(score.score),
                alarm: score.alarm,
            }));
        }
        Ok(Report::compute(&points, &self.series.truth, &EvalConfig::default())?)
    }
}
