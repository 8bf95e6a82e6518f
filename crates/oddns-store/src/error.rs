//! What can go wrong on disk, always with the path.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be read or written. The cause, where there is one, is in `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refused to read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The operating system refused to write.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something is there that would be overwritten.
    #[error("`{}` is already there: name another place, or remove it first", path.display())]
    Exists {
        /// What is in the way.
        path: PathBuf,
    },
    /// A dash as the name of what is to be written.
    #[error(
        "`-` is the name of no file here: for standard output say `/dev/stdout`, for a file of that name `./-`"
    )]
    Dash,
    /// There is nothing in it.
    #[error("`{}` is empty: expected {expected}", path.display())]
    Empty {
        /// The empty file or folder.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
    },
    /// A Parquet file that cannot be decoded.
    #[error("`{}` is damaged or cut short: copy or record it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A page of a Parquet file that is not as it was written.
    #[error(
        "`{}`, row group {row_group}, column `{column}`, byte {offset}: the page is not as it was \
         written: copy the file again, or keep the rest with `oddns dataset import --skip-damaged`",
        path.display()
    )]
    Page {
        /// The file.
        path: PathBuf,
        /// Which row group, counted from 0.
        row_group: usize,
        /// Name of the column.
        column: String,
        /// First byte of the page in the file.
        offset: u64,
    },
    /// A file of a history whose rows do not come in the order of the format.
    #[error("`{}` is not sorted by instance, name and labels: `oddns dataset import` it", path.display())]
    Unsorted {
        /// The file.
        path: PathBuf,
    },
    /// A column is missing or of another type.
    #[error("`{}`, column `{column}`: expected {expected}, found {found}", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// Name of the column.
        column: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// One value that is not what its column holds.
    #[error("`{}`, {place}, column `{column}`: `{value}` is not {expected}", path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// Line or row.
        place: Place,
        /// Name of the column.
        column: String,
        /// The value, shortened.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A whole line or row that does not fit.
    #[error("`{}`, {place}: {reason}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Line or row.
        place: Place,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// Data of another kind than asked for.
    #[error("`{}` {reason}", path.display())]
    Kind {
        /// The file or folder.
        path: PathBuf,
        /// What it is, and what to do.
        reason: String,
    },
    /// Another process is writing the history.
    #[error("`{}` is being written by {owner}: stop it first, or write to another folder", path.display())]
    Locked {
        /// The history.
        path: PathBuf,
        /// Which process, as far as it can be told.
        owner: String,
    },
    /// The log cannot be made into Parquet fast enough, or at all.
    #[error("`{}` has grown to {n_bytes} bytes: nothing is taken until it has become Parquet", path.display())]
    LogFull {
        /// The folder of the log.
        path: PathBuf,
        /// The limit.
        n_bytes: u64,
    },
    /// JSON that is none, or of other fields.
    #[error("`{}` is no data set description", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why, with line and column.
        source: serde_json::Error,
    },
}

/// Where in a file: text has lines, Parquet has rows; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Line of a text file, the header being line 1.
    Line(u64),
    /// Row of a Parquet file.
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Row(row) => write!(f, "row {row}"),
        }
    }
}

impl StoreError {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Write { path: path.to_owned(), source }
    }

    /// Refuses a dash, which many programs take for standard output.
    pub(crate) fn refuse_dash(path: &Path) -> Result<(), Self> {
        if path.as_os_str() == "-" { Err(Self::Dash) } else { Ok(()) }
    }

    pub(crate) fn damaged<E>(path: &Path) -> impl FnOnce(E) -> Self + '_
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        |source| Self::Damaged { path: path.to_owned(), source: source.into() }
    }

    pub(crate) fn kind(path: &Path, reason: impl Into<String>) -> Self {
        Self::Kind { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn cell(
        path: &Path,
        place: Place,
        column: &str,
        value: &str,
        expected: &'static str,
    ) -> Self {
        Self::Cell {
            path: path.to_owned(),
            place,
            column: column.to_owned(),
            value: value.chars().take(60).collect(),
            expected,
        }
    }
}
