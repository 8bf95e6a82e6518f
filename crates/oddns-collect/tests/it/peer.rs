//! Where the real programs and the saved scrapes are.

use std::path::PathBuf;

/// Folder with real programs to test against, or `None`, said in one line, where there is none.
pub(crate) fn peers(test: &str) -> Option<PathBuf> {
    let found = std::env::var_os("ODDNS_PEERS").map(PathBuf::from);
    if found.is_none() {
        println!("skipped {test}: ODDNS_PEERS names no folder with the programs to test against");
    }
    found
}

/// A file of `tests/data`.
pub(crate) fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}
