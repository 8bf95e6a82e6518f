#![doc = include_str!("../README.md")]

mod atomic;
mod commit;
mod compaction;
mod dataset;
mod error;
mod frame;
mod history;
mod incidents;
mod keeper;
mod kind;
mod labels;
mod live;
mod log;
mod merging;
mod numbers;
mod openmetrics;
mod parquet_file;
mod part;
mod retention;
mod scores;
mod table;
mod walk;

pub use atomic::{AtomicFile, write_atomically};
pub use dataset::Dataset;
pub use error::{Place, StoreError};
pub use frame::{read_frame, write_frame};
pub use history::{
    History, HistoryFilter, HistoryWriter, read_history, read_history_bytes, read_series,
    write_history,
};
pub use incidents::{incident_json, write_incidents};
pub use kind::{DataKind, sniff};
pub use labels::{LabelledInterval, read_labels, read_labels_text, write_labels};
pub use live::{
    Appended, HistoryStore, Recovery, SeriesRef, SeriesSample, StoreSettings, StoreStatistics,
};
pub use log::LogDamage;
pub use openmetrics::write_openmetrics;
pub use scores::{ScoreRow, read_scores, write_scores};
