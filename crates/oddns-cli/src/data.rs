//! Data of any accepted kind, as frames.

use std::path::Path;

use anyhow::Context;
use oddns::{Detector, extract};
use oddns_collect::{ReplayOptions, replay_file};
use oddns_core::{Frame, Recording, Timestamp};
use oddns_store::{DataKind, HistoryFilter, read_frame, read_history, sniff};

use crate::args::Selection;
use crate::exit::BadInput;

/// One server's features; the name is empty for a table that has none.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) frame: Frame,
}

/// Reads `path`, whatever kind of data it is. At least one instance comes back, none without rows.
pub(crate) fn read(path: &Path, selection: &Selection) -> anyhow::Result<Vec<Instance>> {
    let instances = match sniff(path)? {
        DataKind::FrameCsv | DataKind::FrameParquet => vec![table(path, selection)?],
        DataKind::HistoryFolder | DataKind::HistoryParquet => {
            let filter = HistoryFilter {
                since: selection.since,
                until: selection.until,
                instance: selection.instance.clone(),
            };
            features(path, read_history(path, &filter)?.recordings)?
        }
        DataKind::Exposition | DataKind::PrometheusJson => {
            let recordings = replay_file(path, &ReplayOptions::default())?;
            features(path, only_coredns(cut(recordings, selection)))?
        }
    };
    if instances.iter().all(|instance| instance.frame.is_empty()) {
        return Err(nothing_left(path, selection).into());
    }
    Ok(instances)
}

fn table(path: &Path, selection: &Selection) -> anyhow::Result<Instance> {
    let (frame, _) = read_frame(path)?;
    if let Some(instance) = &selection.instance {
        let path = path.display();
        let reason =
            format!("`{path}` is a table without instances: leave out `--instance {instance}`");
        return Err(BadInput(reason).into());
    }
    Ok(Instance { name: String::new(), frame: frame.between(selection.since, selection.until) })
}

/// The features of recordings of CoreDNS servers.
pub(crate) fn features(path: &Path, recordings: Vec<Recording>) -> anyhow::Result<Vec<Instance>> {
    let mut instances = Vec::with_capacity(recordings.len());
    for recording in recordings {
        if !recording.series.has_coredns() {
            let reason = format!(
                "`{}`: instance `{}` has no metric that begins with `coredns_`: record a CoreDNS \
                 server's /metrics, or give a table of features instead",
                path.display(),
                recording.instance,
            );
            return Err(BadInput(reason).into());
        }
        let frame = extract(&recording);
        instances.push(Instance { name: recording.instance, frame });
    }
    Ok(instances)
}

/// A dump of a Prometheus has everything that it watches: what is no CoreDNS is left out, and told,
/// where there is a CoreDNS.
fn only_coredns(mut recordings: Vec<Recording>) -> Vec<Recording> {
    if recordings.iter().any(|recording| recording.series.has_coredns()) {
        recordings.retain(|recording| {
            let speaks = recording.series.has_coredns();
            if !speaks {
                leave_out(&recording.instance);
            }
            speaks
        });
    }
    recordings
}

#[expect(clippy::print_stderr, reason = "a note beside the result")]
fn leave_out(instance: &str) {
    eprintln!(
        "note: instance `{instance}` is left out: it has no metric that begins with `coredns_`"
    );
}

fn cut(recordings: Vec<Recording>, selection: &Selection) -> Vec<Recording> {
    let within = |time: Timestamp| {
        selection.since.is_none_or(|since| time >= since)
            && selection.until.is_none_or(|until| time < until)
    };
    recordings
        .into_iter()
        .filter(|recording| selection.instance.as_ref().is_none_or(|i| *i == recording.instance))
        .map(|mut recording| {
            recording.scrapes.retain(|scrape| within(scrape.time));
            recording
        })
        .collect()
}

fn nothing_left(path: &Path, selection: &Selection) -> BadInput {
    let path = path.display();
    let Selection { since, until, instance } = selection;
    if since.is_none() && until.is_none() && instance.is_none() {
        return BadInput(format!(
            "`{path}` has fewer than two scrapes of any server: record longer"
        ));
    }
    BadInput(format!(
        "`{path}` has nothing within `--since`, `--until` and `--instance`: check them against the data"
    ))
}

/// Refuses data of another schema, and data too short for a single score.
pub(crate) fn check_against(
    path: &Path,
    instances: &[Instance],
    detector: &Detector,
) -> anyhow::Result<()> {
    for instance in instances {
        let schema = oddns_core::Schema::new(instance.frame.columns().to_vec());
        detector.check_schema(&schema).with_context(|| format!("`{}`", path.display()))?;
    }
    let longest = instances.iter().map(|instance| instance.frame.len()).max().unwrap_or(0);
    let needed = detector.warm_up_rows() + 1;
    if longest < needed {
        return Err(BadInput(format!(
            "`{}` has {longest} rows, a first score needs {needed}: record longer",
            path.display()
        ))
        .into());
    }
    Ok(())
}
