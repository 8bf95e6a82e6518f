//! Features of data of any kind.

use std::collections::BTreeSet;
use std::path::Path;

use oddns::{FleetExtractor, extract_fleet};
use oddns_collect::{ReplayOptions, replay_file};
use oddns_core::{Frame, Recording, Thinned, Timestamp};
use oddns_store::{DataKind, FrameReader, HistoryFilter, instances, read_history, sniff};

use crate::{DataError, Selection};

/// One server's features; the name is empty for a table that has none.
#[derive(Debug)]
pub struct Instance {
    /// How it is called in the data.
    pub name: String,
    /// A row for each scrape but the first.
    pub frame: Frame,
    /// Rows that were left out, as they would have been too many to learn from.
    pub n_left_out: usize,
}

impl Instance {
    /// With all its rows.
    pub fn whole(name: String, frame: Frame) -> Self {
        Self { name, frame, n_left_out: 0 }
    }

    fn thinned(name: String, rows: Thinned) -> Self {
        let n_left_out = rows.n_seen() - rows.frame().len();
        Self { name, frame: rows.into_frame(), n_left_out }
    }
}

/// What was read.
#[derive(Debug)]
pub struct Data {
    /// At least one has a row.
    pub instances: Vec<Instance>,
    /// Servers that were left out, as they never had a metric of CoreDNS.
    pub silent: Vec<String>,
}

/// Values to learn from, at most: 256 MiB of them, a million rows of 64 features. What normal looks
/// like is told by fewer.
pub const MOST_LEARNED_VALUES: usize = 1 << 26;

/// Reads all of `path`, whatever kind of data it is.
///
/// # Errors
/// When it cannot be read, nothing of CoreDNS is in it, or nothing of what is wanted.
pub fn read(path: &Path, selection: &Selection) -> Result<Data, DataError> {
    read_within(path, selection, usize::MAX)
}

/// Reads `path` to learn from, in bounded memory: of a table or history with more than
/// [`MOST_LEARNED_VALUES`] stretches spread evenly over its time. Saved scrapes are read whole.
///
/// # Errors
/// As [`read`].
pub fn read_to_learn(path: &Path, selection: &Selection) -> Result<Data, DataError> {
    read_within(path, selection, MOST_LEARNED_VALUES)
}

fn read_within(path: &Path, selection: &Selection, most_values: usize) -> Result<Data, DataError> {
    let data = match sniff(path)? {
        DataKind::FrameCsv | DataKind::FrameParquet => table(path, selection, most_values)?,
        DataKind::HistoryFolder | DataKind::HistoryParquet => {
            history(path, selection, most_values)?
        }
        DataKind::Exposition | DataKind::PrometheusJson => saved(path, selection)?,
    };
    let path = path.to_path_buf();
    let unspoken = data
        .silent
        .iter()
        .find(|name| data.instances.is_empty() || selection.instance.as_ref() == Some(*name));
    if let Some(instance) = unspoken.cloned() {
        return Err(DataError::NoCoredns { path, instance });
    }
    if data.instances.iter().any(|instance| !instance.frame.is_empty()) {
        return Ok(data);
    }
    Err(nothing_within(&path, selection))
}

/// Servers that an error names.
const MAX_NAMED: usize = 20;

/// Refuses an instance that is not among the `known` ones of `path`.
///
/// # Errors
/// When `wanted` is none of them; with some of their names.
pub fn check_instance<'a>(
    path: &Path,
    wanted: Option<&str>,
    known: impl Iterator<Item = &'a str>,
) -> Result<(), DataError> {
    let Some(wanted) = wanted else { return Ok(()) };
    let known: BTreeSet<&str> = known.collect();
    if known.contains(wanted) {
        return Ok(());
    }
    let names: Vec<String> = known.iter().take(MAX_NAMED).map(|name| format!("`{name}`")).collect();
    let more = if known.len() > MAX_NAMED { ", …" } else { "" };
    Err(DataError::NoSuchInstance {
        path: path.to_path_buf(),
        instance: wanted.to_owned(),
        known: names.join(", ") + more,
    })
}

/// Why nothing of `path`, which can be read, is within the selection.
pub fn nothing_within(path: &Path, selection: &Selection) -> DataError {
    let known = instances(path).unwrap_or_default();
    let known = known.iter().map(String::as_str);
    let path_buf = path.to_path_buf();
    match check_instance(path, selection.instance.as_deref(), known) {
        Err(unknown) if path.is_dir() => unknown,
        _ if selection.is_everything() => DataError::TooFew { path: path_buf },
        _ => DataError::NothingLeft { path: path_buf },
    }
}

fn table(path: &Path, selection: &Selection, most_values: usize) -> Result<Data, DataError> {
    let mut reader = FrameReader::open(path)?;
    let columns = reader.columns().to_vec();
    let mut rows = Thinned::new(columns.clone(), most_values / columns.len().max(1));
    while let Some(piece) = reader.next_piece()? {
        let wanted = piece.frame.between(selection.since, selection.until);
        for (time, row) in wanted.rows() {
            let told = |source| DataError::Rows { path: path.to_path_buf(), source };
            rows.push(time, row).map_err(told)?;
        }
    }
    if let Some(instance) = selection.instance.clone() {
        return Err(DataError::NoInstances { path: path.to_path_buf(), instance });
    }
    Ok(Data { instances: vec![Instance::thinned(String::new(), rows)], silent: Vec::new() })
}

/// The features of a history, read a day at a time: its samples are many times larger than they are.
fn history(path: &Path, selection: &Selection, most_values: usize) -> Result<Data, DataError> {
    let mut servers = FleetExtractor::default();
    for (since, until) in days(path, selection) {
        // Of all instances: each is compared with the others, whichever was asked for.
        let filter = HistoryFilter { since, until, instance: None };
        servers.take(read_history(path, &filter)?.recordings);
        servers.limit(most_values);
    }
    if selection.is_whole_time() {
        let known = servers.servers().map(|(name, _)| name);
        check_instance(path, selection.instance.as_deref(), known)?;
    }
    let silent = |speaks: bool| {
        let servers = servers.servers().filter(|(_, series)| series.has_coredns() == speaks);
        servers.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    let (speaking, silent) = (silent(true), silent(false));
    let taken = |name: &str| selection.wants(name) && speaking.iter().any(|other| other == name);
    let instances = servers
        .finish()
        .filter(|(name, _)| taken(name))
        .map(|(name, rows)| Instance::thinned(name, rows))
        .collect();
    Ok(Data { instances, silent })
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

/// A dump of a Prometheus has everything that it watches.
fn saved(path: &Path, selection: &Selection) -> Result<Data, DataError> {
    let mut recordings = replay_file(path, &ReplayOptions::default())?;
    let known = recordings.iter().map(|recording| recording.instance.as_str());
    check_instance(path, selection.instance.as_deref(), known)?;
    for recording in &mut recordings {
        recording.scrapes.retain(|scrape| selection.holds(scrape.time));
    }
    let (speaking, silent): (Vec<_>, Vec<_>) =
        recordings.into_iter().partition(|recording| recording.series.has_coredns());
    let mut instances = of_one_fleet(speaking);
    instances.retain(|instance| selection.wants(&instance.name));
    Ok(Data { instances, silent: silent.into_iter().map(|other| other.instance).collect() })
}

/// The features of servers that are taken for replicas of each other.
pub fn of_one_fleet(recordings: Vec<Recording>) -> Vec<Instance> {
    let frames = extract_fleet(&recordings);
    let names = recordings.into_iter().map(|recording| recording.instance);
    names.zip(frames).map(|(name, frame)| Instance::whole(name, frame)).collect()
}
