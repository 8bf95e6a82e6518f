//! What one look at a server's `/metrics` gave, and many of them in a row.

use crate::{SeriesId, SeriesKey, SeriesTable, Timestamp};

/// One value of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Which series, in the table that comes with the scrape.
    pub series: SeriesId,
    /// Any f64; NaN and infinities are what the server said.
    pub value: f64,
}

/// One scrape of one server. A failed scrape is data too: it has `up == false` and no samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Scrape {
    /// When the scrape began.
    pub time: Timestamp,
    /// Whether the server answered with metrics that could be read.
    pub up: bool,
    /// How long it took, in seconds; NaN when not recorded.
    pub duration_seconds: f64,
    /// Values in any order, each series at most once.
    pub samples: Vec<Sample>,
}

impl Scrape {
    /// Whether any sample is of a series of CoreDNS itself, in the table it refers to.
    pub fn has_coredns(&self, table: &SeriesTable) -> bool {
        self.samples.iter().any(|s| table.get(s.series).is_some_and(SeriesKey::is_coredns))
    }
}

/// The scrapes of one server, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// Which server, as in Prometheus's `instance` label.
    pub instance: String,
    /// The series that the scrapes speak of.
    pub series: SeriesTable,
    /// Scrapes sorted by time.
    pub scrapes: Vec<Scrape>,
}
