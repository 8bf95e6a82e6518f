//! Whether a data set is as the format says.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use oddns_core::{Labels, Timestamp};

use crate::client_stats::{self, CLIENT_STATS, ClientRow};
use crate::history::{
    COLUMNS, Columns, HistoryFilter, MILLIS_PER_DAY, Snapshot, check_columns, day_folders,
    midnight_of,
};
use crate::labels::read_placed;
use crate::log::{LogDamage, LogReader, read_segment};
use crate::parquet_file::{ParquetFile, guarded};
use crate::walk::{self, SeriesWalk};
use crate::{Dataset, LabelledInterval, Place, StoreError, Unfinished};

/// More mistakes of one file are not told.
const MAX_TOLD: usize = 5;
/// Between two scrapes, where a data set does not say.
const USUAL_SECONDS: f64 = 60.0;

/// Something that is not as the format says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file or folder.
    pub path: PathBuf,
    /// Where in it, as far as it is known.
    pub place: Option<Place>,
    /// What is wrong, and what it should be.
    pub reason: String,
}

impl Mistake {
    pub(crate) fn of_log(damage: &LogDamage) -> Self {
        let text = damage.to_string();
        Self { path: damage.path.clone(), place: None, reason: without_path(&damage.path, &text) }
    }
}

/// What was looked at, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Validation {
    /// Parquet files.
    pub files: usize,
    /// Rows of them, and samples of the log.
    pub rows: u64,
    /// Segments of the log, whose samples are no rows of a file yet; they count as rows here.
    pub segments: usize,
    /// First and last sample of each server.
    pub servers: BTreeMap<String, (Timestamp, Timestamp)>,
    /// Labels with their lines, as far as they can be read.
    pub labels: Vec<(Place, LabelledInterval)>,
    /// That it is not all there, by its own description.
    pub unfinished: Option<Unfinished>,
    /// Everything that is wrong, at most five for each file; empty for a sound data set.
    pub mistakes: Vec<Mistake>,
}

/// Looks through the data set folder `root`: layout, types, sort order, nulls, days, duplicates,
/// description, log, and labels and `client_stats.csv`, whether they speak of servers and times that
/// are there. A damaged file is a mistake like others; only a folder that cannot be read is an error.
pub fn validate(root: &Path) -> Result<Validation, StoreError> {
    let mut validation = Validation::default();
    let mut interval = None;
    match Dataset::read(root) {
        Ok(about) => {
            let about = about.unwrap_or_default();
            (validation.unfinished, interval) = (about.unfinished, about.scrape_interval_seconds);
        }
        Err(error) => validation.look_at(root, Err(error)),
    }
    let labels = root.join("labels.csv");
    if labels.exists() {
        let read = read_placed(&labels).map(|read| validation.labels = read);
        validation.look_at(&labels, read);
    }
    let (clients, mut seconds) = (root.join(CLIENT_STATS), Vec::new());
    if clients.exists() {
        let read = client_stats::read_placed(&clients).map(|read| seconds = read);
        validation.look_at(&clients, read);
    }
    let n_before = validation.mistakes.len();
    for folder in day_folders(root)? {
        if midnight_of(&folder).is_none() {
            validation.add(&folder, None, "is no day: expected `day=YYYY-MM-DD`");
        }
    }
    let snapshot = Snapshot::take(root)?;
    validation.look_at(root, snapshot.part_files(root, &HistoryFilter::default()).map(drop));
    for (folder, parts) in &snapshot.days {
        validation.look_at_day(folder, parts);
    }
    validation.segments = snapshot.segments.len();
    for path in &snapshot.segments {
        let mut log = LogSamples { validation: &mut validation, instances: Vec::new() };
        let read = read_segment(path, &mut log).map(|read| read.n_unknown);
        if let Ok(n) = &read
            && *n > 0
        {
            validation.add(path, None, format!("{n} samples are of series that damage has taken"));
        }
        validation.look_at(path, read.map(drop));
    }
    // What damage has taken may be what is spoken of.
    if validation.mistakes.len() == n_before
        && let Some(recording) = validation.span(interval)
    {
        validation.look_at_labels(&labels, &recording);
        validation.look_at_seconds(&clients, &seconds, &recording);
    }
    Ok(validation)
}

/// The damaged pages of the Parquet file `path`, of a file without checksums what of it cannot be
/// decoded; as an error, why nothing of it can be read.
pub(crate) fn damage_of(path: &Path) -> Result<Vec<Mistake>, Mistake> {
    let found = guarded(path, || {
        let file = ParquetFile::open(path)?;
        check_columns(path, file.schema())?;
        if !file.has_checksums() {
            let mut batches = file.into_batches(&COLUMNS, None)?;
            return batches.try_for_each(|batch| batch.map(drop)).map(|()| Vec::new());
        }
        file.damaged_pages()
    });
    let mistake = |reason: String| Mistake { path: path.to_owned(), place: None, reason };
    match found {
        Ok(pages) => Ok(pages.into_iter().map(|page| mistake(page.to_string())).collect()),
        Err(error) => Err(mistake(reason_of(path, &error))),
    }
}

/// What an error says of the file `path`, without its name, which is told anyway.
fn reason_of(path: &Path, error: &StoreError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    without_path(path, &format!("{error}{}", cause.unwrap_or_default()))
}

fn without_path(path: &Path, text: &str) -> String {
    let reason = text.strip_prefix(&format!("`{}`", path.display())).unwrap_or(text);
    reason.trim_start_matches([',', ':', ' ']).to_owned()
}

impl Validation {
    fn add(&mut self, path: &Path, place: Option<Place>, reason: impl Into<String>) {
        self.mistakes.push(Mistake { path: path.to_owned(), place, reason: reason.into() });
    }

    /// Notes an error as a mistake.
    fn look_at(&mut self, path: &Path, result: Result<(), StoreError>) {
        let Err(error) = result else { return };
        self.add(path, None, reason_of(path, &error));
    }

    /// First and last millisecond of what was recorded, with the pause before the first scrape and
    /// after the last one; of what has no end yet, all that comes. `None` without samples.
    fn span(&self, interval_seconds: Option<f64>) -> Option<RangeInclusive<i64>> {
        let pause = (1000.0 * interval_seconds.unwrap_or(USUAL_SECONDS)).max(0.0) as i64;
        let first = self.servers.values().map(|(first, _)| first.millis()).min()?;
        let last = self.servers.values().map(|(_, last)| last.millis()).max()?;
        let last = if self.unfinished.is_some() { i64::MAX } else { last };
        Some(first.saturating_sub(pause)..=last.saturating_add(pause))
    }

    fn look_at_labels(&mut self, path: &Path, recording: &RangeInclusive<i64>) {
        let known = self.servers.keys().take(MAX_TOLD).map(|name| format!("`{name}`"));
        let known = known.collect::<Vec<_>>().join(", ");
        let more = if self.servers.len() > MAX_TOLD { ", …" } else { "" };
        let mut found = Vec::new();
        for (place, label) in &self.labels {
            let named = label.instance.as_ref();
            if let Some(name) = named.filter(|name| !self.servers.contains_key(*name)) {
                let reason = format!("no samples are of server `{name}`: there are {known}{more}");
                found.push((*place, reason));
            }
            let (start, end) = (label.start.millis(), label.end.millis());
            if end < *recording.start() || start > *recording.end() {
                let reason = format!(
                    "`{}`, from {} to {}, lies outside of the recording, {}",
                    label.kind,
                    label.start,
                    label.end,
                    self.times()
                );
                found.push((*place, reason));
            }
        }
        self.add_some(path, found);
    }

    fn look_at_seconds(
        &mut self,
        path: &Path,
        seconds: &[(Place, ClientRow)],
        recording: &RangeInclusive<i64>,
    ) {
        let mut found = Vec::new();
        for (place, row) in seconds {
            let start = row.second.saturating_mul(1000);
            if start.saturating_add(999) < *recording.start() || start > *recording.end() {
                let (second, times) = (row.second, self.times());
                let reason = format!("second {second} lies outside of the recording, {times}");
                found.push((*place, reason));
            }
        }
        self.add_some(path, found);
    }

    /// From when to when samples are.
    fn times(&self) -> String {
        let first = self.servers.values().map(|(first, _)| first).min();
        let last = self.servers.values().map(|(_, last)| last).max();
        let times = first.zip(last).map(|(first, last)| format!("{first} to {last}"));
        times.unwrap_or_default()
    }

    fn add_some(&mut self, path: &Path, found: Vec<(Place, String)>) {
        for (place, reason) in found.into_iter().take(MAX_TOLD) {
            self.add(path, Some(place), reason);
        }
    }

    fn note_server(&mut self, instance: &str, first: i64, last: i64) {
        let [first, last] = [first, last].map(Timestamp::from_millis);
        match self.servers.get_mut(instance) {
            Some(known) => *known = (known.0.min(first), known.1.max(last)),
            None => drop(self.servers.insert(instance.to_owned(), (first, last))),
        }
    }

    fn look_at_day(&mut self, folder: &Path, parts: &[PathBuf]) {
        let before = self.mistakes.len();
        for path in parts {
            self.files += 1;
            let checked = guarded(path, || self.look_at_part(folder, path));
            self.look_at(path, checked);
        }
        if self.mistakes.len() == before && parts.len() > 1 {
            let counted = duplicates(parts);
            match counted {
                Ok(0) => {}
                Ok(n) => {
                    let reason = format!("{n} samples are in more than one file");
                    self.add(folder, None, reason);
                }
                Err(error) => self.look_at(folder, Err(error)),
            }
        }
    }

    fn look_at_part(&mut self, folder: &Path, path: &Path) -> Result<(), StoreError> {
        let file = ParquetFile::open(path)?;
        check_columns(path, file.schema())?;
        let damaged = file.damaged_pages()?;
        if !damaged.is_empty() {
            for page in damaged.into_iter().take(MAX_TOLD) {
                self.add(path, None, page.to_string());
            }
            return Ok(());
        }
        let mut batches = file.with_string_dictionaries()?.into_batches(&COLUMNS, None)?;
        let mut rows = Rows {
            midnight: midnight_of(folder),
            last: None,
            n_rows: 0,
            server: None,
            ended: None,
        };
        let mut n_told = 0;
        while let Some(batch) = batches.next().transpose()? {
            let columns = Columns::new(&batch)
                .ok_or_else(|| StoreError::damaged(path)("a column changed its type"))?;
            for at in 0..columns.len() {
                if let Some(reason) = rows.mistake(&columns, at)
                    && n_told < MAX_TOLD
                {
                    n_told += 1;
                    self.add(path, Some(Place::Row(rows.n_rows)), reason);
                }
                if let Some((instance, first, last)) = rows.ended.take() {
                    self.note_server(&instance, first, last);
                }
            }
        }
        if let Some((instance, first, last)) = rows.server {
            self.note_server(&instance, first, last);
        }
        self.rows += rows.n_rows;
        Ok(())
    }
}

fn duplicates(parts: &[PathBuf]) -> Result<u64, StoreError> {
    let mut walk = SeriesWalk::open(parts, walk::Rows::All)?;
    while walk.next()?.is_some() {}
    Ok(walk.surplus.duplicates)
}

/// Rows of a part, one after the other.
struct Rows {
    midnight: Option<i64>,
    /// Texts and keys of the series of the row before, and its time.
    last: Option<([String; 3], [i32; 3], i64)>,
    n_rows: u64,
    /// The server of the row before, and its first and last millisecond.
    server: Option<(String, i64, i64)>,
    /// The same of the server before that, until somebody takes it.
    ended: Option<(String, i64, i64)>,
}

impl Rows {
    fn mistake(&mut self, columns: &Columns<'_>, at: usize) -> Option<String> {
        self.n_rows += 1;
        let Some(row) = columns.row(at) else { return Some("a value is missing".to_owned()) };
        let is_same = self.last.as_ref().is_some_and(|(_, keys, _)| at > 0 && *keys == row.keys);
        let next = if is_same { None } else { columns.series(at) };
        self.note_server(next.as_ref(), row.millis);
        let mistake = self.order_mistake(next.as_ref(), row.millis);
        let wrong_day = self.midnight.is_some_and(|midnight| {
            row.millis.div_euclid(MILLIS_PER_DAY) != midnight.div_euclid(MILLIS_PER_DAY)
        });
        let labels = next.as_ref().and_then(|series| labels_mistake(&series[2]));
        match (&mut self.last, next) {
            (Some((_, keys, millis)), None) => (*keys, *millis) = (row.keys, row.millis),
            (last, Some(series)) => *last = Some((series, row.keys, row.millis)),
            (None, None) => {}
        }
        mistake.or(labels).or(wrong_day.then(|| "its time is of another day".to_owned()))
    }

    fn note_server(&mut self, next: Option<&[String; 3]>, millis: i64) {
        match (&mut self.server, next) {
            (Some((server, ..)), Some(series)) if *server != series[0] => {
                let server = (series[0].clone(), millis, millis);
                self.ended = self.server.replace(server);
            }
            (Some((_, first, last)), _) => {
                (*first, *last) = ((*first).min(millis), (*last).max(millis));
            }
            (server, Some(series)) => *server = Some((series[0].clone(), millis, millis)),
            (None, None) => {}
        }
    }

    fn order_mistake(&self, next: Option<&[String; 3]>, millis: i64) -> Option<String> {
        let (last, _, last_millis) = self.last.as_ref()?;
        let series = next.unwrap_or(last);
        let reason = match (series.cmp(last), millis.cmp(last_millis)) {
            (std::cmp::Ordering::Less, _) => {
                "comes after a series that should stand behind it: sort by instance, name, labels, \
                 timestamp"
            }
            (std::cmp::Ordering::Equal, std::cmp::Ordering::Less) => {
                "comes after a later one of its series"
            }
            (std::cmp::Ordering::Equal, std::cmp::Ordering::Equal) => {
                "is the second one of its series at that time"
            }
            _ => return None,
        };
        Some(reason.to_owned())
    }
}

fn labels_mistake(text: &str) -> Option<String> {
    match text.parse::<Labels>() {
        Err(error) => Some(error.to_string()),
        Ok(labels) if labels.to_string() != text => {
            Some(format!("labels `{text}` are not canonical: expected `{labels}`"))
        }
        Ok(_) => None,
    }
}

/// Samples of a segment of the log.
struct LogSamples<'a> {
    validation: &'a mut Validation,
    /// Servers of the series, by their numbers.
    instances: Vec<String>,
}

impl LogReader for LogSamples<'_> {
    type Series = usize;

    fn series(&mut self, [instance, ..]: [&str; 3]) -> usize {
        let known = self.instances.iter().position(|known| known == instance);
        known.unwrap_or_else(|| {
            self.instances.push(instance.to_owned());
            self.instances.len() - 1
        })
    }

    fn sample(&mut self, series: usize, millis: i64, _value: f64) {
        self.validation.rows += 1;
        self.validation.note_server(&self.instances[series], millis, millis);
    }

    fn damage(&mut self, damage: LogDamage, is_end: bool) {
        if !is_end {
            self.validation.mistakes.push(Mistake::of_log(&damage));
        }
    }
}
