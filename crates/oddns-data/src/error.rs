//! Why data cannot be used.

use std::path::PathBuf;

use oddns_collect::ReplayError;
use oddns_core::FrameError;
use oddns_store::StoreError;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// Files of the store, frames, or nothing that is known.
    #[error("the data cannot be read")]
    Store(#[from] StoreError),
    /// Rows that do not make a table.
    #[error("`{}` does not make a table", path.display())]
    Rows {
        /// The data.
        path: PathBuf,
        /// What does not fit.
        source: FrameError,
    },
    /// Saved scrapes, dumps or answers.
    #[error("the saved metrics cannot be read")]
    Replay(#[from] ReplayError),
    /// What was asked for is no CoreDNS, or nothing is.
    #[error(
        "`{}`: instance `{instance}` has no metric that begins with `coredns_`: record a CoreDNS \
         server's /metrics, or give a table of features instead",
        path.display()
    )]
    NoCoredns {
        /// The data.
        path: PathBuf,
        /// Which server.
        instance: String,
    },
    /// An instance was asked for of a table, which has none.
    #[error(
        "`{}` is a table without instances: do not ask for instance `{instance}`",
        path.display()
    )]
    NoInstances {
        /// The data.
        path: PathBuf,
        /// What was asked for.
        instance: String,
    },
    /// An instance was asked for that is not there.
    #[error("`{}` has no instance `{instance}`: it has {known}", path.display())]
    NoSuchInstance {
        /// The data.
        path: PathBuf,
        /// What was asked for.
        instance: String,
        /// Names of those that are there, some of many.
        known: String,
    },
    /// Nothing is as long as two scrapes, which make the first row.
    #[error("`{}` has fewer than two scrapes of any server: record longer", path.display())]
    TooFew {
        /// The data.
        path: PathBuf,
    },
    /// Nothing is left of what was asked for.
    #[error(
        "`{}` has fewer than two scrapes of any server in that time: check time and instance \
         against the data",
        path.display()
    )]
    NothingLeft {
        /// The data.
        path: PathBuf,
    },
}
