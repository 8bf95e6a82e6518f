//! Whole recordings at once.

use std::collections::BTreeMap;

use oddns_core::{Frame, FrameError, Recording, Scrape, SeriesId, SeriesTable, Thinned, Timestamp};

use crate::catalogue::schema;
use crate::extractor::{Extractor, Features};
use crate::fleet::Fleet;

/// The features of a server that is alone, as a frame with the columns of [`schema`]. Scrapes that
/// give no row (the first, repeated ones) are left out.
pub fn extract(recording: &Recording) -> Frame {
    let alone = extract_fleet(std::slice::from_ref(recording));
    alone.into_iter().next().unwrap_or_default()
}

/// The features of the servers of one fleet, one frame a recording and in their order: what a live
/// [`Fleet`] would have told of each. Servers of one instant are taken in the order of `recordings`,
/// which makes no difference.
pub fn extract_fleet(recordings: &[Recording]) -> Vec<Frame> {
    let columns = schema().columns().to_vec();
    let mut frames = vec![Frame::new(columns); recordings.len()];
    let mut extractors = vec![Extractor::default(); recordings.len()];
    let mut fleet = Fleet::default();
    in_order(recordings, |at, scrape| {
        let Recording { instance, series, .. } = &recordings[at];
        let features = extractors[at].push(series, scrape);
        let push = |time, row: &[f32]| frames[at].push(time, row);
        append(features, instance, scrape, &mut fleet, push);
    });
    frames
}

/// Adds what a scrape gave, beside the other servers.
fn append(
    features: Features,
    instance: &str,
    scrape: &Scrape,
    fleet: &mut Fleet,
    push: impl FnOnce(Timestamp, &[f32]) -> Result<(), FrameError>,
) {
    if let Features::Row(mut row) = features {
        fleet.compare(instance, scrape.time, &mut row);
        // After a step of the clock a row may lie before the last one; a frame has no place for it.
        let _ = push(scrape.time, &row);
    }
}

/// The same as [`extract_fleet`], from recordings that come part by part, so that a long history need
/// not be in memory all at once.
#[derive(Debug, Default)]
pub struct FleetExtractor {
    servers: BTreeMap<String, Server>,
    fleet: Fleet,
}

#[derive(Debug)]
struct Server {
    extractor: Extractor,
    /// All series of all parts.
    series: SeriesTable,
    rows: Thinned,
}

impl Default for Server {
    fn default() -> Self {
        let rows = Thinned::new(schema().columns().to_vec(), usize::MAX);
        Self { extractor: Extractor::default(), series: SeriesTable::default(), rows }
    }
}

impl FleetExtractor {
    /// Takes the next scrapes of some servers, each at most once among them. What is not later than
    /// the parts before says nothing.
    pub fn take(&mut self, mut recordings: Vec<Recording>) {
        for recording in &mut recordings {
            let server = self.servers.entry(recording.instance.clone()).or_default();
            renumber(recording, &mut server.series);
        }
        let Self { servers, fleet } = self;
        in_order(&recordings, |at, scrape| {
            let instance = &recordings[at].instance;
            let Some(server) = servers.get_mut(instance) else { return };
            let features = server.extractor.push(&server.series, scrape);
            let push = |time, row: &[f32]| server.rows.push(time, row);
            append(features, instance, scrape, fleet, push);
        });
    }

    /// The servers so far with all series that they showed, in order of their names.
    pub fn servers(&self) -> impl Iterator<Item = (&str, &SeriesTable)> {
        self.servers.iter().map(|(name, server)| (name.as_str(), &server.series))
    }

    /// Keeps at most so many values of all servers together, from now on: of each whole stretches
    /// spread evenly over its time, as [`Thinned`] has it.
    pub fn limit(&mut self, most_values: usize) {
        let most_rows = most_values / schema().columns().len() / self.servers.len().max(1);
        self.servers.values_mut().for_each(|server| server.rows.limit(most_rows));
    }

    /// The rows of each server, in order of their names.
    pub fn finish(self) -> impl Iterator<Item = (String, Thinned)> {
        self.servers.into_iter().map(|(name, server)| (name, server.rows))
    }
}

/// Lets the samples of a recording refer to `series`.
fn renumber(recording: &mut Recording, series: &mut SeriesTable) {
    let known = (0..).map_while(|id| recording.series.get(SeriesId(id)));
    let numbers: Vec<SeriesId> = known.map(|key| series.intern(key)).collect();
    for scrape in &mut recording.scrapes {
        // A sample of no series is none.
        scrape.samples.retain(|sample| (sample.series.0 as usize) < numbers.len());
        for sample in &mut scrape.samples {
            sample.series = numbers[sample.series.0 as usize];
        }
    }
}

/// Shows the scrapes of all recordings in order of time, with the place of their recording.
fn in_order(recordings: &[Recording], mut show: impl FnMut(usize, &Scrape)) {
    let mut next = vec![0; recordings.len()];
    while let Some(at) = earliest(recordings, &next) {
        show(at, &recordings[at].scrapes[next[at]]);
        next[at] += 1;
    }
}

/// The recording whose next scrape is the earliest, the first of several; `None` at the end.
fn earliest(recordings: &[Recording], next: &[usize]) -> Option<usize> {
    let left = recordings.iter().zip(next).enumerate();
    let heads = left.filter_map(|(at, (recording, next))| {
        recording.scrapes.get(*next).map(|scrape| (scrape.time, at))
    });
    heads.min().map(|(_, at)| at)
}
