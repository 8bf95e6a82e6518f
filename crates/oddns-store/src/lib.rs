#![doc = include_str!("../README.md")]

mod anonymise;
mod atomic;
mod checking;
mod commit;
mod compaction;
mod dataset;
mod description;
mod error;
mod frame;
mod history;
mod importing;
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

pub use anonymise::{Anonymiser, anonymise};
pub use atomic::{AtomicFile, write_atomically};
pub use checking::{Mistake, Validation, validate};
pub use dataset::Dataset;
pub use description::{Description, InstanceDescription, describe};
pub use error::{Place, StoreError};
pub use frame::{read_frame, write_frame};
pub use history::{History, HistoryFilter, read_history, read_history_bytes, read_series};
pub use importing::{ScrapeAppender, write_history};
pub use incidents::{incident_json, write_incidents};
pub use kind::{DataKind, sniff};
pub use labels::{LabelledInterval, read_labels, read_labels_text, write_labels};
pub use live::{
    Appended, HistoryStore, Recovery, SeriesRef, SeriesSample, StoreSettings, StoreStatistics,
};
pub use log::LogDamage;
pub use openmetrics::write_openmetrics;
pub use scores::{ScoreRow, read_scores, write_scores};
