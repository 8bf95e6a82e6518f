//! `splits.csv` of a collection: what each fleet, and each stretch of its time, is for.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use oddns_core::Timestamp;
use oddns_store::{Mistake, Place};

/// Where it is.
pub(super) const FILE: &str = "splits.csv";

const SPLITS: [&str; 3] = ["train", "validation", "test"];

/// First and last sample of fleets, by name; `None` where they are not known.
pub(super) type Spans = BTreeMap<String, Option<(Timestamp, Timestamp)>>;

/// What is wrong with the splits in the folder `root`: fleets and splits that are none, and splits in
/// which nothing is. Without the file, nothing: its checksum is what misses it.
pub(super) fn check(root: &Path, spans: &Spans) -> Vec<Mistake> {
    let path = root.join(FILE);
    let Ok(text) = fs::read_to_string(&path) else { return Vec::new() };
    let mut found = Vec::new();
    let mut add = |line: Option<usize>, reason: String| {
        let place = line.map(|line| Place::Line(line as u64));
        found.push(Mistake { path: path.clone(), place, reason });
    };
    let header: Vec<&str> = text.lines().next().unwrap_or_default().split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name);
    let columns = ["part", "split", "train_until", "validation_until"].map(column);
    let [Some(part), Some(split), Some(train), Some(validation)] = columns else {
        add(Some(1), "expected a header `part,split,…,train_until,validation_until,…`".to_owned());
        return found;
    };
    let mut listed = Vec::new();
    for (line, row) in text.lines().enumerate().skip(1) {
        let fields: Vec<&str> = row.split(',').collect();
        let field = |column: usize| fields.get(column).copied().unwrap_or_default();
        let (part, split) = (field(part), field(split));
        listed.push((part, split));
        if !SPLITS.contains(&split) {
            add(Some(line + 1), format!("split `{split}` is none of {}", SPLITS.join(", ")));
        }
        let Some(span) = spans.get(part) else {
            add(Some(line + 1), format!("`{part}` is no fleet of the collection"));
            continue;
        };
        if let Some(reason) = span.and_then(|span| empty(span, [field(train), field(validation)])) {
            add(Some(line + 1), format!("{reason}, of `{part}`"));
        }
    }
    for part in spans.keys().filter(|part| listed.iter().all(|(listed, _)| listed != *part)) {
        add(None, format!("has no row for `{part}`"));
    }
    for split in SPLITS.iter().filter(|split| listed.iter().all(|(_, listed)| listed != *split)) {
        add(None, format!("no fleet is for `{split}`"));
    }
    found
}

/// Why a stretch between two bounds has no sample of those in the span.
fn empty((first, last): (Timestamp, Timestamp), bounds: [&str; 2]) -> Option<String> {
    let time = |text: &str| text.parse().ok().and_then(Timestamp::from_unix_seconds);
    let [Some(train), Some(validation)] = bounds.map(time) else {
        let [train, validation] = bounds;
        return Some(format!("`{train}` or `{validation}` is no time in Unix seconds"));
    };
    let split = if train <= first {
        "train"
    } else if validation <= train || validation <= first || train > last {
        "validation"
    } else if validation > last {
        "test"
    } else {
        return None;
    };
    Some(format!(
        "`train_until` {train} and `validation_until` {validation} leave no sample for `{split}` of \
         those from {first} to {last}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_that_hold_nothing_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let span = [100, 200].map(|second| Timestamp::from_millis(1000 * second));
        let spans: Spans =
            ["a", "b", "c"].map(|name| (name.to_owned(), Some((span[0], span[1])))).into();
        let told = |text: &str| {
            fs::write(folder.path().join(FILE), text).unwrap();
            let found = check(folder.path(), &spans);
            found.iter().map(super::super::mistake_text).collect::<Vec<_>>().join("\n")
        };
        let header = "part,split,train_until,validation_until\n";
        let sound = format!("{header}a,train,170,185\nb,validation,170,185\nc,test,170,185\n");
        assert_eq!(told(&sound), "");
        for (from, to, what) in [
            ("c,test,", "c,train,", "splits.csv`: no fleet is for `test`"),
            ("c,test,", "c,exam,", "line 4: split `exam` is none of train, validation, test"),
            ("a,train,170", "a,train,90", "line 2: `train_until` 1970-01-01T00:01:30.000Z and"),
            ("a,train,170,185", "a,train,170,170", "leave no sample for `validation`"),
            ("a,train,170,185", "a,train,170,300", "leave no sample for `test`"),
            ("a,train,170,185", "a,train,,185", "`` or `185` is no time in Unix seconds, of `a`"),
            ("a,train", "z,train", "line 2: `z` is no fleet"),
            ("a,train", "z,train", "has no row for `a`"),
            ("part,", "teil,", "line 1: expected a header"),
        ] {
            let told = told(&sound.replace(from, to));
            assert!(told.contains(what), "{what}: {told}");
        }
        assert!(told(header).contains("has no row for `a`"));
    }
}
