//! Why the service cannot start.

use std::path::PathBuf;

use oddns::DetectorError;

/// Why the service cannot start. Once it runs, a failing target or client is data, not an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// There is nothing to do.
    #[error("no target to watch: name one by `--target` or under `scrape_configs`")]
    NoTargets,
    /// There is no place for what is learned.
    #[error("cannot use `{}` as the folder of states", path.display())]
    States {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The model does not fit.
    #[error("the model cannot judge the features of this version")]
    Model(#[source] DetectorError),
}
