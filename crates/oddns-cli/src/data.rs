//! Data of any accepted kind, as frames.

use std::path::Path;

use anyhow::Context;
use oddns::{Detector, FleetExtractor, extract_fleet};
use oddns_collect::{ReplayOptions, replay_file};
use oddns_core::{Frame, Recording, SeriesTable, Timestamp};
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
        DataKind::HistoryFolder | DataKind::HistoryParquet => history(path, selection)?,
        DataKind::Exposition | DataKind::PrometheusJson => {
            let recordings = replay_file(path, &ReplayOptions::default())?;
            let instance = selection.instance.as_deref();
            features(path, only_coredns(cut(recordings, selection), instance), instance)?
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

/// The features of a history, read a day at a time: its samples are many times larger than they are.
fn history(path: &Path, selection: &Selection) -> anyhow::Result<Vec<Instance>> {
    let mut servers = FleetExtractor::default();
    for (since, until) in days(path, selection) {
        // Of all instances: each is compared with the others, whichever was asked for.
        let filter = HistoryFilter { since, until, instance: None };
        servers.take(read_history(path, &filter)?.recordings);
    }
    let wanted = |name: &str| selection.instance.as_deref().is_none_or(|wanted| wanted == name);
    let silent = |series: &SeriesTable| !series.has_coredns();
    if let Some((name, _)) = servers.servers().find(|(name, s)| silent(s) && wanted(name)) {
        return Err(no_coredns(path, name).into());
    }
    let names: Vec<String> =
        servers.servers().filter(|(_, s)| !silent(s)).map(|(name, _)| name.to_owned()).collect();
    Ok(servers
        .finish()
        .filter(|(name, _)| wanted(name) && names.contains(name))
        .map(|(name, frame)| Instance { name, frame })
        .collect())
}

/// What was asked for of a history, cut at the midnights between its days.
fn days(path: &Path, selection: &Selection) -> Vec<(Option<Timestamp>, Option<Timestamp>)> {
    let folders = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut midnights: Vec<Timestamp> = folders
        .filter_map(|folder| midnight_of(folder.file_name().to_str()?))
        .filter(|midnight| selection.since.is_none_or(|since| since < *midnight))
        .filter(|midnight| selection.until.is_none_or(|until| *midnight < until))
        .collect();
    midnights.sort_unstable();
    let inner = || midnights.iter().copied().map(Some);
    let starts = std::iter::once(selection.since).chain(inner());
    starts.zip(inner().chain([selection.until])).collect()
}

/// When the day of a folder `day=YYYY-MM-DD` begins.
fn midnight_of(folder: &str) -> Option<Timestamp> {
    format!("{}T00:00:00Z", folder.strip_prefix("day=")?).parse().ok()
}

fn no_coredns(path: &Path, instance: &str) -> BadInput {
    BadInput(format!(
        "`{}`: instance `{instance}` has no metric that begins with `coredns_`: record a CoreDNS \
         server's /metrics, or give a table of features instead",
        path.display(),
    ))
}

/// The features of recordings of CoreDNS servers, or of the `wanted` one beside the others.
pub(crate) fn features(
    path: &Path,
    mut recordings: Vec<Recording>,
    wanted: Option<&str>,
) -> anyhow::Result<Vec<Instance>> {
    let is_wanted = |name: &str| wanted.is_none_or(|wanted| wanted == name);
    let silent = |recording: &&Recording| !recording.series.has_coredns();
    if let Some(other) = recordings.iter().filter(silent).find(|r| is_wanted(&r.instance)) {
        return Err(no_coredns(path, &other.instance).into());
    }
    recordings.retain(|recording| recording.series.has_coredns());
    let mut instances = of_one_fleet(recordings);
    instances.retain(|instance| is_wanted(&instance.name));
    Ok(instances)
}

/// The features of servers that are taken for replicas of each other.
pub(crate) fn of_one_fleet(recordings: Vec<Recording>) -> Vec<Instance> {
    let frames = extract_fleet(&recordings);
    let names = recordings.into_iter().map(|recording| recording.instance);
    names.zip(frames).map(|(name, frame)| Instance { name, frame }).collect()
}

/// A dump of a Prometheus has everything that it watches: what is no CoreDNS is left out, and told,
/// where there is a CoreDNS.
fn only_coredns(mut recordings: Vec<Recording>, wanted: Option<&str>) -> Vec<Recording> {
    if recordings.iter().any(|recording| recording.series.has_coredns()) {
        recordings.retain(|recording| {
            let speaks = recording.series.has_coredns();
            if !speaks && wanted.is_none() {
                leave_out(&recording.instance);
            }
            speaks || wanted == Some(recording.instance.as_str())
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
