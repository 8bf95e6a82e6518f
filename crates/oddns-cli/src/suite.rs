//! Series to judge detectors on, by how they lie in folders.

use std::fs;
use std::path::{Path, PathBuf};

use oddns_core::{Frame, Timestamp};
use oddns_eval::Interval;
use oddns_sim::{Release, Scenario, Simulation};
use oddns_store::{Dataset, LabelledInterval, StoreError, read_frame, read_labels};

use crate::args::{Layout, Selection};
use crate::commands::eval::interval;
use crate::commands::simulate;
use crate::data::{self, Instance};
use crate::exit::BadInput;

/// Before its first label a recording is normal, but for so many seconds, in which a fault may have
/// been prepared.
const BEFORE_LABELS_SECONDS: i64 = 60;
/// Rows before what is judged that a detector sees first, as one at work does; more than any warms up
/// with.
const CONTEXT_ROWS: usize = 256;
/// File types of a table.
const TABLES: [&str; 2] = ["parquet", "csv"];

/// What is learned from, and what is judged.
#[derive(Debug)]
pub(crate) struct Series {
    /// Series of one kind.
    pub(crate) suite: String,
    pub(crate) name: String,
    /// Normal operation.
    pub(crate) normal: Vec<Frame>,
    /// What came later, or elsewhere; with some rows before.
    pub(crate) judged: Vec<Instance>,
    /// Rows before this time are not judged.
    pub(crate) since: Option<Timestamp>,
    /// What was really wrong in it.
    pub(crate) truth: Vec<Interval>,
}

/// Reads what lies in `folders`; at least one series a folder, in order of names.
pub(crate) fn read(layout: Layout, folders: &[PathBuf]) -> anyhow::Result<Vec<Series>> {
    let mut series = Vec::new();
    match layout {
        Layout::Frames => {
            for folder in folders {
                series.extend(tables(folder)?);
            }
        }
        Layout::Simulated => {
            for name in folders {
                series.extend(simulated(name)?);
            }
        }
        Layout::Coredns | Layout::Fidelity => {
            let mut sets = Vec::new();
            for folder in folders {
                sets.extend(data_sets(folder)?);
            }
            series.extend(recordings(&sets)?);
        }
    }
    Ok(series)
}

/// The folders in `folder`, and `folder` itself, that `is` true of, in order of names.
fn within(folder: &Path, is: impl Fn(&Path) -> bool) -> anyhow::Result<Vec<PathBuf>> {
    let unreadable = |source| StoreError::Read { path: folder.to_owned(), source };
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        found.push(entry.map_err(unreadable)?.path());
    }
    found.retain(|path| is(path));
    found.sort();
    Ok(found)
}

/// The last part of a path.
fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// The file `name` of one of the accepted types in `folder`.
fn table(folder: &Path, name: &str) -> Option<PathBuf> {
    let paths = TABLES.iter().map(|extension| folder.join(name).with_extension(extension));
    paths.into_iter().find(|path| path.is_file())
}

fn tables(folder: &Path) -> anyhow::Result<Vec<Series>> {
    let is = |path: &Path| table(path, "train").is_some() && table(path, "test").is_some();
    let found = within(folder, is)?;
    if found.is_empty() {
        let reason = format!(
            "`{}` has no folder with train.parquet and test.parquet (or .csv)",
            folder.display()
        );
        return Err(BadInput(reason).into());
    }
    found.iter().map(|entity| frames(&name(folder), entity)).collect()
}

fn frames(suite: &str, entity: &Path) -> anyhow::Result<Series> {
    let path = |name| table(entity, name).unwrap_or_else(|| entity.join(name));
    let (normal, _) = read_frame(&path("train"))?;
    let test = path("test");
    let (frame, flags) = read_frame(&test)?;
    let Some(flags) = flags else {
        let reason = format!("`{}` has no column `Label`: say what was wrong", test.display());
        return Err(BadInput(reason).into());
    };
    let truth = Interval::from_flags(frame.timestamps(), &flags);
    let judged = vec![Instance::whole(String::new(), frame)];
    let (suite, name) = (suite.to_owned(), name(entity));
    Ok(Series { suite, name, normal: vec![normal], judged, since: None, truth })
}

/// A scenario as each release plays it that knows its Corefile, one after the other: a whole one is large in memory.
fn simulated(name: &Path) -> anyhow::Result<Vec<Series>> {
    let scenario = simulate::scenario(&name.to_string_lossy())?;
    simulate::check_simulated(&scenario)?;
    let known = Release::ALL.into_iter().enumerate();
    let known = known.filter(|(_, coredns)| *coredns >= scenario.corefile.since());
    let played = known.map(|(at, coredns)| {
        let seed = scenario.seed.wrapping_add(at as u64);
        played(Scenario { coredns, seed, ..scenario.clone() })
    });
    Ok(played.collect())
}

fn played(scenario: Scenario) -> Series {
    let (suite, name) = (scenario.name.clone(), scenario.coredns.to_string());
    let simulation = Simulation::new(scenario);
    let until = simulation.normal_until();
    let truth = simulate::labels(&simulation).iter().map(interval).collect();
    let servers = data::of_one_fleet(simulation.record());
    let normal = servers.iter().map(|server| server.frame.between(None, Some(until))).collect();
    let judged = servers.into_iter().map(|server| with_context(server, until)).collect();
    Series { suite, name, normal, judged, since: Some(until), truth }
}

/// The rows of a server from a time on, and some before.
fn with_context(server: Instance, since: Timestamp) -> Instance {
    let times = server.frame.timestamps();
    let first = times.partition_point(|time| *time < since).saturating_sub(CONTEXT_ROWS);
    let frame = server.frame.between(times.get(first).copied(), None);
    Instance::whole(server.name, frame)
}

/// A data set of CoreDNS servers.
struct DataSet {
    path: PathBuf,
    labels: Vec<LabelledInterval>,
    normal: Selection,
}

fn data_sets(folder: &Path) -> anyhow::Result<Vec<DataSet>> {
    let found = within(folder, |path| path.join("labels.csv").is_file())?;
    if found.is_empty() {
        let reason = format!("`{}` has no data set with labels.csv", folder.display());
        return Err(BadInput(reason).into());
    }
    found.into_iter().map(DataSet::read).collect()
}

impl DataSet {
    fn read(path: PathBuf) -> anyhow::Result<Self> {
        let labels = read_labels(&path.join("labels.csv"))?;
        let about = Dataset::read(&path)?;
        let (since, until) = about.map_or((None, None), |set| (set.normal_from, set.normal_until));
        let before_labels = || {
            let first = labels.iter().map(|label| label.start).min()?;
            Some(Timestamp::from_millis(first.millis() - 1000 * BEFORE_LABELS_SECONDS))
        };
        let until = until.or_else(before_labels);
        Ok(Self { normal: Selection { since, until, instance: None }, path, labels })
    }

    fn name(&self) -> String {
        name(&self.path)
    }

    fn normal(&self) -> anyhow::Result<Vec<Frame>> {
        let instances = data::read(&self.path, &self.normal)?;
        Ok(instances.into_iter().map(|instance| instance.frame).collect())
    }

    /// From a time on, as a series of what was learned from another set or from its own beginning.
    fn judged(
        &self,
        name: String,
        since: Option<Timestamp>,
        normal: Vec<Frame>,
    ) -> anyhow::Result<Series> {
        let all = Selection { since: None, until: None, instance: None };
        let mut judged = data::read(&self.path, &all)?;
        if let Some(since) = since {
            judged = judged.into_iter().map(|server| with_context(server, since)).collect();
        }
        let truth = self.labels.iter().map(interval).collect();
        Ok(Series { suite: "coredns".to_owned(), name, normal, judged, since, truth })
    }
}

/// Each set by what was learned from its own beginning, and by what was learned from each other.
fn recordings(sets: &[DataSet]) -> anyhow::Result<Vec<Series>> {
    let mut series = Vec::new();
    for judged in sets {
        for learned in sets {
            let normal = learned.normal()?;
            series.push(if learned.path == judged.path {
                judged.judged(judged.name(), judged.normal.until, normal)?
            } else {
                let name = format!("{} by {}", judged.name(), learned.name());
                judged.judged(name, None, normal)?
            });
        }
    }
    Ok(series)
}
