//! The servers of one fleet side by side.
//!
//! Replicas get the same kind of queries at the same time, so what one of them does and the others
//! do not is odd however busy the day is. A server is held against the median of all, and the
//! distance is smoothed over its last scrapes. It is a part of that median: then one odd server of three leaves the other
//! two alone, and of two, where nobody can say which is the odd one, each has half of the distance.

use std::collections::{BTreeMap, VecDeque};

use oddns_core::Timestamp;

use crate::catalogue::{Comparison, Divergence, FEATURES, finite};
use crate::trend::half_life;

/// Half-life, in scrapes, of the mean of a server's distances.
const MEAN_HALF_LIFE: f64 = 6.0;
/// Most distance that counts, in e-folds: a quotient beyond 7.4 says no more, and would be told for
/// long after it is over.
const MAX_DISTANCE: f64 = 2.0;
/// A server without a row for this long has left: Prometheus's default lookback.
const STALE_SECONDS: f64 = 300.0;
/// Rows kept of each server. Three would do on a strict grid; scrapes jitter.
const N_ROWS: usize = 4;
/// A row of another server counts when it is at most this many scrape intervals away.
const MAX_INTERVALS_APART: f64 = 2.0;
/// Most servers that are remembered. In a larger fleet the median is that of the ones seen last.
const MAX_SERVERS: usize = 256;

/// What is remembered of the servers of a fleet: the last few rows of each that still answers.
///
/// A server is compared as of its own scrape *before* the current one, with the row of each other
/// server that is nearest to it in time. By then the rows of all have come in, so it does not
/// matter in which order servers of one instant are taken, and a change that meets all of them does
/// not look like a difference for the one that tells of it first. The price is one scrape of delay.
/// Only a scrape that takes longer than half an interval can still come too late to be counted.
#[derive(Debug, Clone)]
pub struct Fleet {
    columns: Vec<Column>,
    servers: BTreeMap<String, Server>,
}

/// A divergence, and the places of its column and of the one it compares.
#[derive(Debug, Clone, Copy)]
struct Column {
    at: usize,
    of: usize,
    comparison: Comparison,
}

/// What is remembered of one server.
#[derive(Debug, Clone)]
struct Server {
    /// Mean distance, one a [`Column`]; NaN before the first.
    distances: Vec<f64>,
    rows: VecDeque<Row>,
}

/// The values of one row that are compared, one a [`Column`]; NaN for what it lacks.
#[derive(Debug, Clone)]
struct Row {
    time: Timestamp,
    values: Vec<f64>,
}

impl Default for Fleet {
    fn default() -> Self {
        let column = |(at, divergence): (usize, Divergence)| {
            let of = FEATURES.iter().position(|feature| feature.name == divergence.of)?;
            Some(Column { at, of, comparison: divergence.comparison })
        };
        let divergences = FEATURES.iter().map(|feature| feature.divergence()).enumerate();
        let columns = divergences.filter_map(|(at, d)| column((at, d?))).collect();
        Self { columns, servers: BTreeMap::new() }
    }
}

impl Fleet {
    /// How many servers are remembered.
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// True before the first row.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Fills in the divergences of a row of `instance`, and remembers the row. `row` has one value
    /// a feature of [`FEATURES`], as from [`crate::Extractor::push`]; another length is left alone.
    ///
    /// Divergences are NaN while there is no other server to compare with, and at the first row of
    /// a server. Rows have to come in the order of time; one that is not later than the one before
    /// of its server is neither compared nor remembered, unless the clock was set back.
    pub fn compare(&mut self, instance: &str, time: Timestamp, row: &mut [f32]) {
        if row.len() != FEATURES.len() {
            return;
        }
        self.forget(time);
        let last = self.servers.get(instance).and_then(Server::last);
        if last.is_some_and(|last| time <= last) {
            return;
        }
        let distances = self.distances(instance, time);
        let values = self.columns.iter().map(|column| column.scaled(row)).collect();
        let server = self.server(instance);
        server.push(Row { time, values });
        let means = server.take(&distances);
        for (column, mean) in self.columns.iter().zip(means) {
            row[column.at] = finite(column.told(mean));
        }
        self.limit();
    }

    /// How far the last row of `instance` is from the median, one value a column; `now` is when the
    /// next row is. NaN where there is nothing to compare.
    fn distances(&self, instance: &str, now: Timestamp) -> Vec<f64> {
        let Some(before) = self.servers.get(instance).and_then(|server| server.rows.back()) else {
            return vec![f64::NAN; self.columns.len()];
        };
        let reach = MAX_INTERVALS_APART * now.seconds_since(before.time);
        let others = self.servers.iter().filter(|(name, _)| *name != instance);
        let rows: Vec<&Row> =
            others.filter_map(|(_, server)| server.nearest(before.time, reach, now)).collect();
        let distance = |(at, value): (usize, &f64)| {
            let others = rows.iter().map(|row| row.values[at]).filter(|value| value.is_finite());
            value - median(*value, others)
        };
        before.values.iter().enumerate().map(distance).collect()
    }

    fn server(&mut self, instance: &str) -> &mut Server {
        let n_columns = self.columns.len();
        self.servers.entry(instance.to_owned()).or_insert_with(|| Server {
            distances: vec![f64::NAN; n_columns],
            rows: VecDeque::new(),
        })
    }

    /// Makes room for the next server.
    fn limit(&mut self) {
        if self.servers.len() > MAX_SERVERS {
            let oldest = self.servers.iter().min_by_key(|(_, server)| server.last());
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                self.servers.remove(&name);
            }
        }
    }

    /// Forgets who has left, and who is ahead of `now` by so much that the clock was set back.
    fn forget(&mut self, now: Timestamp) {
        self.servers.retain(|_, server| {
            server.last().is_some_and(|last| now.seconds_since(last).abs() <= STALE_SECONDS)
        });
    }
}

impl Column {
    /// The value that is compared, on the scale on which differences are taken.
    fn scaled(&self, row: &[f32]) -> f64 {
        let value = f64::from(row[self.of]);
        match self.comparison {
            Comparison::Difference => value,
            Comparison::Quotient { offset } => (value + offset).ln(),
        }
    }

    /// A distance on that scale, as it is told.
    fn told(&self, distance: f64) -> f64 {
        match self.comparison {
            Comparison::Difference => distance,
            Comparison::Quotient { .. } => distance.exp(),
        }
    }
}

impl Server {
    fn last(&self) -> Option<Timestamp> {
        self.rows.back().map(|row| row.time)
    }

    fn push(&mut self, row: Row) {
        self.rows.push_back(row);
        if self.rows.len() > N_ROWS {
            self.rows.pop_front();
        }
    }

    /// Takes distances in, and gives their means; NaN for what was not compared.
    fn take(&mut self, distances: &[f64]) -> Vec<f64> {
        let weight = 1.0 - half_life(MEAN_HALF_LIFE);
        let take = |(mean, distance): (&mut f64, &f64)| {
            if !distance.is_finite() {
                return f64::NAN;
            }
            let distance = distance.clamp(-MAX_DISTANCE, MAX_DISTANCE);
            *mean = if mean.is_nan() { distance } else { *mean + weight * (distance - *mean) };
            *mean
        };
        self.distances.iter_mut().zip(distances).map(take).collect()
    }

    /// The row before `now` that is nearest to `time`, at most `reach` seconds away.
    fn nearest(&self, time: Timestamp, reach: f64, now: Timestamp) -> Option<&Row> {
        let distance = |row: &Row| row.time.seconds_since(time).abs();
        let rows = self.rows.iter().filter(|row| row.time < now && distance(row) <= reach);
        rows.min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }
}

/// The median of `one` and `others`, of an even number the mean of the two in the middle; NaN when
/// `one` is, or there are no others.
fn median(one: f64, others: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = others.collect();
    if one.is_nan() || values.is_empty() {
        return f64::NAN;
    }
    values.push(one);
    values.sort_by(f64::total_cmp);
    let (n, middle) = (values.len(), values.len() / 2);
    match n % 2 {
        1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}
