//! What a path holds, by looking inside.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::frame::begins_as_parquet;
use crate::history::{COLUMNS, day_folders};
use crate::live::HistoryStore;
use crate::parquet_file::{ParquetFile, guarded};
use crate::{StoreError, scores};

/// How much of a text is looked at.
const HEAD_BYTES: u64 = 64 * 1024;

/// Data sets of a collection lie so many folders deep: `real/fleet-0`.
const COLLECTION_DEPTH: usize = 2;
/// More data sets of a collection are not named.
const MAX_NAMED: usize = 3;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The kinds of data that commands accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataKind {
    /// A data set folder: [`crate::read_history`].
    HistoryFolder,
    /// One file of a data set: [`crate::read_history`].
    HistoryParquet,
    /// A table of features in Parquet: [`crate::read_frame`].
    FrameParquet,
    /// A table of features in CSV: [`crate::read_frame`].
    FrameCsv,
    /// Exposition text, plain or gzip, one or many scrapes.
    Exposition,
    /// An answer of Prometheus's HTTP API in JSON, plain or gzip.
    PrometheusJson,
}

/// Tells the kind of data at `path` by its content; the name plays no part. What is empty or of no
/// kind that can be used is an error saying what it looks like.
pub fn sniff(path: &Path) -> Result<DataKind, StoreError> {
    let about = fs::metadata(path).map_err(StoreError::read(path))?;
    if about.is_dir() {
        return sniff_folder(path);
    }
    if about.len() == 0 && about.is_file() {
        let expected = "metrics or a table of features";
        return Err(StoreError::Empty { path: path.to_owned(), expected });
    }
    if begins_as_parquet(path)? {
        return guarded(path, || sniff_parquet(path, &ParquetFile::open(path)?));
    }
    let (head, packed) = head(path)?;
    sniff_text(&head, packed).map_err(|reason| StoreError::kind(path, reason))
}

fn sniff_folder(path: &Path) -> Result<DataKind, StoreError> {
    // The first quarter of an hour of a history is in its log alone.
    if day_folders(path)?.is_empty() && !HistoryStore::has_log(path) {
        return Err(no_data_set(path));
    }
    Ok(DataKind::HistoryFolder)
}

/// That the folder `root` is no data set, and which ones are in it.
pub(crate) fn no_data_set(root: &Path) -> StoreError {
    let below = data_sets_below(root, COLLECTION_DEPTH);
    let some: Vec<String> =
        below.iter().take(MAX_NAMED).map(|path| format!("`{}`", path.display())).collect();
    let reason = match below.len() {
        0 => {
            "has no folder `day=YYYY-MM-DD`: it is no data set; name a file to read one".to_owned()
        }
        1 => format!("is no data set, but {} in it is one: name that", some[0]),
        n => format!(
            "is a collection of {n} data sets: name one of them, such as {}",
            some.join(", ")
        ),
    };
    StoreError::kind(root, reason)
}

/// The folders of data sets in `root`, sorted; what cannot be read has none.
fn data_sets_below(root: &Path, depth: usize) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    let mut found = Vec::new();
    for folder in folders {
        if day_folders(&folder).is_ok_and(|days| !days.is_empty()) {
            found.push(folder);
        } else if depth > 1 {
            found.extend(data_sets_below(&folder, depth - 1));
        }
    }
    found
}

fn sniff_parquet(path: &Path, file: &ParquetFile) -> Result<DataKind, StoreError> {
    let fields = file.schema().fields();
    let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    let has_all = |wanted: [&str; 5]| wanted.iter().all(|name| names.contains(name));
    if has_all(COLUMNS) {
        return Ok(DataKind::HistoryParquet);
    }
    if has_all(scores::HEADER) {
        return Err(StoreError::kind(path, SCORES));
    }
    // A misplaced or missing `timestamp` is what reading the frame will tell.
    Ok(DataKind::FrameParquet)
}

const SCORES: &str = "holds scores, not data to score";
const NEITHER: &str = "is neither metrics, Parquet nor a table of features";

/// The beginning of the text, and whether it was packed with gzip.
fn head(path: &Path) -> Result<(Vec<u8>, bool), StoreError> {
    let read = |source: &mut dyn Read| {
        let mut head = Vec::new();
        match source.take(HEAD_BYTES).read_to_end(&mut head) {
            // A file cut short still shows what it was.
            Err(_) if !head.is_empty() => Ok(head),
            result => result.map(|_| head),
        }
    };
    let mut file = File::open(path).map_err(StoreError::read(path))?;
    let plain = read(&mut file).map_err(StoreError::read(path))?;
    if !plain.starts_with(&GZIP_MAGIC) {
        return Ok((plain, false));
    }
    match read(&mut MultiGzDecoder::new(plain.as_slice())) {
        Ok(head) => Ok((head, true)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok((Vec::new(), true)),
        Err(error) => Err(StoreError::damaged(path)(error)),
    }
}

fn sniff_text(head: &[u8], packed: bool) -> Result<DataKind, String> {
    let head = String::from_utf8_lossy(head);
    let text = head.trim_start_matches('\u{feff}').trim_start();
    let line = text.lines().next().unwrap_or_default().trim_end();
    // `promtool tsdb dump` writes the name of the metric among its labels.
    if text.starts_with("{__name__=") {
        return Ok(DataKind::Exposition);
    }
    if text.starts_with('{') {
        return sniff_json(text);
    }
    if line.is_empty() {
        return Err("has nothing in it".to_owned());
    }
    if text.starts_with('<') {
        return Err("is a web page, not metrics: is the address that of `/metrics`?".to_owned());
    }
    if is_exposition(line) {
        return Ok(DataKind::Exposition);
    }
    match sniff_header(line) {
        Err(reason) => Err(reason.to_owned()),
        Ok(()) if packed => Err("is a packed table: unpack it first".to_owned()),
        Ok(()) => Ok(DataKind::FrameCsv),
    }
}

/// Prometheus answers `{"status":…,"data":{"resultType":…` or `{"status":"error",…`.
fn sniff_json(text: &str) -> Result<DataKind, String> {
    let has = |key: &str| text.contains(key);
    if has("\"status\"") && (has("\"resultType\"") || has("\"errorType\"")) {
        return Ok(DataKind::PrometheusJson);
    }
    Err("is JSON, but no answer of Prometheus's `query_range`".to_owned())
}

/// A comment, or `name` or `name{` and a value.
fn is_exposition(line: &str) -> bool {
    if line.starts_with('#') {
        return true;
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let rest = line.trim_start_matches(is_name);
    let name = &line[..line.len() - rest.len()];
    let value = match rest.strip_prefix('{') {
        Some(labels) => labels.rsplit_once('}').map(|(_, value)| value),
        None => rest.starts_with([' ', '\t']).then_some(rest),
    };
    let value = value.and_then(|value| value.split_whitespace().next());
    !name.is_empty() && value.is_some_and(|value| value.parse::<f64>().is_ok())
}

fn sniff_header(line: &str) -> Result<(), &'static str> {
    let names: Vec<&str> = line.split(',').map(|name| name.trim().trim_matches('"')).collect();
    if names.starts_with(&["kind", "start", "end"]) {
        return Err("holds labels, not data");
    }
    if scores::HEADER.iter().all(|name| names.contains(name)) {
        return Err(SCORES);
    }
    if line.contains('\0')
        || line.contains('\u{fffd}')
        || (names.len() < 2 && names[0] != "timestamp")
    {
        return Err(NEITHER);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_by_its_first_line() {
        use DataKind::{Exposition, FrameCsv, PrometheusJson};
        for (text, kind) in [
            ("# HELP up x\n", Exposition),
            ("# scrape 1795331512 sut0\nup 1\n", Exposition),
            ("up 1\n", Exposition),
            ("a:b{c=\"}\"} +Inf 17\n", Exposition),
            ("\u{feff}timestamp,a\n1,2\n", FrameCsv),
            ("value_1,value_2,Label\n1,2,0\n", FrameCsv),
            ("{__name__=\"up\", job=\"a\"} 1 1700000000000\n", Exposition),
            (" {\"status\":\"success\",\"data\":{\"resultType\":\"matrix\"", PrometheusJson),
        ] {
            assert_eq!(sniff_text(text.as_bytes(), false), Ok(kind), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, reason) in [
            ("<!doctype html>", "web page"),
            ("kind,start,end,instance,anomalous\n", "labels"),
            ("timestamp,instance,score,alarm,top_features\n", "scores"),
            ("hello world\n", "neither"),
            ("{\"Clock\":1}", "is JSON, but"),
            ("\0\0\0,\0", "neither"),
            (" \n ", "nothing in it"),
        ] {
            let error = sniff_text(text.as_bytes(), false).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(sniff_text(b"timestamp,a\n", true).unwrap_err().contains("unpack"));
    }
}
