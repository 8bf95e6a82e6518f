//! A server that is scraped: lines of text in, feature rows out.

use oddns_core::{Sample, Scrape, SeriesKey, SeriesTable, Timestamp};
use oddns_features::{Extractor, FEATURES, Features};

/// One server with the extractor that follows it.
#[derive(Default)]
pub(crate) struct Server {
    pub(crate) table: SeriesTable,
    extractor: Extractor,
}

impl Server {
    /// Takes a scrape with one `name{label="…"} value` a line.
    pub(crate) fn scrape(&mut self, seconds: f64, lines: &str) -> Features {
        let samples = self.samples(lines);
        self.push(Scrape { samples, ..empty(seconds) })
    }

    /// Takes a scrape that failed.
    pub(crate) fn fail(&mut self, seconds: f64) -> Features {
        self.push(Scrape { up: false, ..empty(seconds) })
    }

    /// Takes any scrape of this server's table.
    pub(crate) fn push(&mut self, scrape: Scrape) -> Features {
        self.extractor.push(&self.table, &scrape)
    }

    /// What the lines say, in this server's table.
    pub(crate) fn samples(&mut self, lines: &str) -> Vec<Sample> {
        lines.lines().map(|line| self.sample(line)).collect()
    }

    fn sample(&mut self, line: &str) -> Sample {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let at = series.find('{').unwrap_or(series.len());
        let key = SeriesKey { name: series[..at].into(), labels: series[at..].parse().unwrap() };
        Sample { series: self.table.intern(&key), value: value.parse().unwrap() }
    }
}

/// A scrape that answered with nothing.
pub(crate) fn empty(seconds: f64) -> Scrape {
    let time = Timestamp::from_unix_seconds(seconds).unwrap();
    Scrape { time, up: true, duration_seconds: 0.02, samples: Vec::new() }
}

/// The values of a row; panics on anything else.
pub(crate) fn row(features: Features) -> Vec<f32> {
    match features {
        Features::Row(row) => row,
        other => panic!("{other:?} is no row"),
    }
}

/// The value of a feature in a row.
pub(crate) fn value(row: &[f32], feature: &str) -> f32 {
    row[FEATURES.iter().position(|f| f.name == feature).unwrap()]
}

/// The names of the features whose values differ by more than rounding.
pub(crate) fn differences(a: &[f32], b: &[f32]) -> Vec<String> {
    let differ =
        |a: f32, b: f32| (a - b).abs() > 1e-6 * (1e-3 + a.abs()) || a.is_nan() != b.is_nan();
    let all = FEATURES.iter().zip(a.iter().zip(b));
    all.filter(|(_, (a, b))| differ(**a, **b))
        .map(|(feature, (a, b))| format!("{}: {a} and {b}", feature.name))
        .collect()
}
