//! The history that is being written: a log that survives a crash, and Parquet made of it.

mod head;
mod identity;
mod lock;
mod recovery;
mod settings;
mod statistics;
mod store;

pub(crate) use identity::Identities;
pub use lock::WriterLock;
pub use recovery::Recovery;
pub use settings::StoreSettings;
pub use statistics::StoreStatistics;
pub use store::{Appended, HistoryStore, SeriesRef, SeriesSample};
