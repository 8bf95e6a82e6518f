//! Detectors side by side: each is trained and judged on each series, on all cores.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::Context;
use indicatif::ProgressBar;
use oddns::{Detector, DetectorKind, Scored, TrainOptions, score_frame};
use oddns_core::Frame;
use oddns_eval::{Comparison, EvalConfig, Report, Run, ScoredPoint, Trial};

use crate::progress;
use crate::suite::Series;

/// One thing to do.
#[derive(Clone, Copy)]
struct Job<'a> {
    series: &'a Series,
    kind: DetectorKind,
    seed: u64,
}

/// Trains every kind with every seed on every series at default settings. The figures do not depend
/// on how many cores there are, but for seconds.
pub(crate) fn compare(
    series: &[Series],
    kinds: &[DetectorKind],
    seeds: &[u64],
) -> anyhow::Result<Comparison> {
    let mut jobs = Vec::new();
    for series in series {
        for kind in kinds {
            jobs.extend(seeds.iter().map(|seed| Job { series, kind: *kind, seed: *seed }));
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
        let trial = job.trial().with_context(|| format!("{} on `{}`", job.kind, job.series.name));
        failed.fetch_or(trial.is_err(), Ordering::Relaxed);
        bar.inc(1);
        done.push((at, trial));
    }
    done
}

impl Job<'_> {
    fn run(&self) -> Run<'_> {
        let Self { series, kind, seed } = self;
        Run { suite: &series.suite, series: &series.name, detector: kind.name(), seed: *seed }
    }

    fn trial(&self) -> anyhow::Result<Trial> {
        let frames: Vec<&Frame> = self.series.normal.iter().collect();
        // Jobs run side by side already.
        let options =
            TrainOptions { detector: self.kind, seed: self.seed, threads: 1, ..Default::default() };
        let start = Instant::now();
        let detector = Detector::fit(&frames, &options, &mut |_| ControlFlow::Continue(()))?;
        let train_seconds = start.elapsed().as_secs_f64();
        let (detector, start) = (Arc::new(detector), Instant::now());
        let judged = self.series.judged.iter();
        let scored = judged.map(|instance| score_frame(&detector, &instance.name, &instance.frame));
        let scored = scored.collect::<Result<Vec<Scored>, _>>()?;
        let score_seconds = start.elapsed().as_secs_f64();
        Ok(Trial {
            report: self.report(&scored)?,
            train_seconds: Some(train_seconds),
            score_seconds: Some(score_seconds),
        })
    }

    fn report(&self, scored: &[Scored]) -> anyhow::Result<Report> {
        let mut points = Vec::new();
        for (instance, scored) in self.series.judged.iter().zip(scored) {
            points.extend(scored.scores.iter().map(|score| ScoredPoint {
                time: score.time,
                instance: &instance.name,
                score: f64::from(score.score),
                alarm: score.alarm,
            }));
        }
        Ok(Report::compute(&points, &self.series.truth, &EvalConfig::default())?)
    }
}
