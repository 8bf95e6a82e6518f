#![doc = include_str!("../README.md")]

mod anonymise;
mod atomic;
mod checking;
mod checksums;
mod clash;
mod client_stats;
mod commit;
mod compaction;
mod damaged;
mod dataset;
mod description;
mod error;
mod feedback;
mod frame;
mod frame_reader;
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
mod registry;
mod retention;
mod scores;
mod table;
mod walk;

pub use anonymise::{Anonymiser, anonymise};
pub use atomic::{AtomicFile, write_atomically};
pub use checking::{Mistake, Validation, validate};
pub use clash::{Clash, clashes};
pub use client_stats::{CLIENT_STATS, ClientRow, read_client_stats, write_client_stats};
pub use damaged::damaged_parts;
pub use dataset::{Dataset, Unfinished, agreed};
pub use description::{Description, InstanceDescription, describe};
pub use error::{Place, StoreError};
pub use feedback::{FeedbackLine, read_feedback, write_feedback};
pub use frame::{read_frame, write_frame};
pub use frame_reader::{FramePiece, FrameReader};
pub use history::{History, HistoryFilter, read_history, read_history_bytes, read_series};
pub use importing::{Imported, ScrapeAppender, write_history};
pub use incidents::{incident_json, write_incidents};
pub use kind::{DataKind, sniff};
pub use labels::{LabelledInterval, read_labels, read_labels_text, write_labels};
pub use live::{
    Appended, HistoryStore, Recovery, SeriesRef, SeriesSample, StoreSettings, StoreStatistics,
    WriterLock,
};
pub use log::LogDamage;
pub use openmetrics::write_openmetrics;
pub use registry::{
    GateFigure, Generation, GenerationRecord, KEPT_GENERATIONS, Promotion, Registry,
};
pub use scores::{ScoreRow, read_scores, write_scores};
pub use walk::instances;
