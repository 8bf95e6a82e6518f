//! Data made for a test, and where the bundled recordings are.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// First second of every made table.
pub(crate) const START: i64 = 1_700_000_000;

/// The recording of normal traffic that `oddns demo` learns from.
pub(crate) fn normal_recording() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/coredns-normal")
}

/// Writes a table of two columns, one row a second: a wave, and a level that jumps at row `odd`.
pub(crate) fn table(path: &Path, n_rows: usize, odd: Option<usize>, with_label: bool) {
    let mut text =
        String::from(if with_label { "timestamp,a,b,Label\n" } else { "timestamp,a,b\n" });
    for at in 0..n_rows {
        let is_odd = odd.is_some_and(|odd| at >= odd);
        let wave = (at as f64 / 9.0).sin();
        // A remainder is noise enough, and the same everywhere.
        let level = 10.0 + (at * at * 7 % 101) as f64 / 101.0 + if is_odd { 8.0 } else { 0.0 };
        let _ = write!(text, "{},{wave:.4},{level:.4}", START + at as i64);
        text.push_str(match (with_label, is_odd) {
            (false, _) => "\n",
            (true, false) => ",0\n",
            (true, true) => ",1\n",
        });
    }
    std::fs::write(path, text).unwrap();
}

/// Names in a folder, sorted; hidden ones too.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
