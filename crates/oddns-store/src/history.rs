//! Metric history: every sample of every series, as a folder of Parquet files.

mod columns;
mod folder;
mod read;
mod series;
mod snapshot;
mod transpose;

pub(crate) use columns::{Columns, check as check_columns, texts};
pub(crate) use folder::{day_folder, day_folders, midnight_of, parquet_files, part_number};
pub(crate) use read::MetricSample;
pub use read::{History, HistoryFilter, read_history, read_history_bytes};
pub use series::read_series;
pub(crate) use snapshot::Snapshot;

/// The columns of a history file, in order.
pub(crate) const COLUMNS: [&str; 5] = ["timestamp", "instance", "name", "labels", "value"];

/// Series that say how a scrape went, as Prometheus names them. They become fields of the scrape.
pub(crate) const UP: &str = "up";
pub(crate) const SCRAPE_DURATION: &str = "scrape_duration_seconds";

pub(crate) const MILLIS_PER_DAY: i64 = 86_400_000;
