//! `labels.csv`: what happened when, as far as somebody knows.

use std::path::Path;

use oddns_core::Timestamp;

use crate::table::{Table, parse_flag, read_bytes};
use crate::{Place, StoreError, write_atomically};

const HEADER: [&str; 5] = ["kind", "start", "end", "instance", "anomalous"];
const EXPECTED: &str = "a header `kind,start,end,instance,anomalous`";

/// A stretch of time of which it is known what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledInterval {
    /// What happened, such as `upstream_outage`; not empty.
    pub kind: String,
    /// When it was applied.
    pub start: Timestamp,
    /// When it was taken back; not before `start`.
    pub end: Timestamp,
    /// Which server; `None` (`*` in the file) means all.
    pub instance: Option<String>,
    /// False for a benign change that should raise no alarm.
    pub anomalous: bool,
}

/// Reads labels. A file with only a header gives none; errors name line and column.
pub fn read_labels(path: &Path) -> Result<Vec<LabelledInterval>, StoreError> {
    parse_labels(path, &read_bytes(path, EXPECTED)?)
}

/// Reads labels with their lines.
pub(crate) fn read_placed(path: &Path) -> Result<Vec<(Place, LabelledInterval)>, StoreError> {
    parse_placed(path, &read_bytes(path, EXPECTED)?)
}

/// Reads labels from the text of such a file, called `name` in errors.
pub fn read_labels_text(name: &str, text: &str) -> Result<Vec<LabelledInterval>, StoreError> {
    parse_labels(Path::new(name), text.as_bytes())
}

/// Writes labels in the order given, times as Unix seconds.
pub fn write_labels(path: &Path, labels: &[LabelledInterval]) -> Result<(), StoreError> {
    let mut text = csv::Writer::from_writer(Vec::new());
    let written = text
        .write_record(HEADER)
        .and_then(|()| labels.iter().try_for_each(|label| text.write_record(fields(label))));
    written.map_err(|error| StoreError::write(path)(error.into()))?;
    let bytes = text.into_inner().map_err(|error| StoreError::write(path)(error.into_error()))?;
    write_atomically(path, &bytes)
}

fn fields(label: &LabelledInterval) -> [String; 5] {
    [
        label.kind.clone(),
        label.start.unix_seconds().to_string(),
        label.end.unix_seconds().to_string(),
        label.instance.clone().unwrap_or_else(|| "*".to_owned()),
        u8::from(label.anomalous).to_string(),
    ]
}

pub(crate) fn parse_labels(path: &Path, text: &[u8]) -> Result<Vec<LabelledInterval>, StoreError> {
    let placed = parse_placed(path, text)?;
    Ok(placed.into_iter().map(|(_, label)| label).collect())
}

/// The labels with their lines.
pub(crate) fn parse_placed(
    path: &Path,
    text: &[u8],
) -> Result<Vec<(Place, LabelledInterval)>, StoreError> {
    let mut table = Table::new(path, text)?;
    let columns = table.columns(HEADER)?;
    let mut labels = Vec::new();
    while table.advance()? {
        labels.push((table.place(), parse_label(&table, columns)?));
    }
    Ok(labels)
}

fn parse_label(table: &Table<'_>, columns: [usize; 5]) -> Result<LabelledInterval, StoreError> {
    let [kind, start, end, instance, anomalous] = columns;
    let time = |column| table.value(column, "a time in Unix seconds", |text| text.parse().ok());
    let name = |column, what| {
        table.value(column, what, |text| (!text.is_empty()).then(|| text.to_owned()))
    };
    let label = LabelledInterval {
        kind: name(kind, "the name of a fault or change")?,
        start: time(start)?,
        end: time(end)?,
        instance: Some(name(instance, "an instance or `*`")?).filter(|text| text != "*"),
        anomalous: table.value(anomalous, "1 or 0", parse_flag)?,
    };
    if label.end < label.start {
        return Err(table.row_error(format!("ends at {} before it starts", label.end)));
    }
    Ok(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<LabelledInterval>, String> {
        parse_labels(Path::new("labels.csv"), text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn saved_is_loaded() {
        let labels = vec![
            LabelledInterval {
                kind: "flood, \"big\"".into(),
                start: Timestamp::from_millis(1_795_332_807_421),
                end: Timestamp::from_millis(1_795_332_867_424),
                instance: None,
                anomalous: true,
            },
            LabelledInterval {
                kind: "reload".into(),
                start: Timestamp::from_millis(-1),
                end: Timestamp::from_millis(-1),
                instance: Some("sut0".into()),
                anomalous: false,
            },
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.csv");
        write_labels(&path, &labels).unwrap();
        assert_eq!(read_labels(&path).unwrap(), labels);
    }

    #[test]
    fn errors_say_where() {
        let header = "kind,start,end,instance,anomalous\n";
        for (text, message) in [
            ("kind,start,end,instance\n", "column `anomalous`: expected a header with"),
            ("a,1,2,*,1\nb,1,x,*,1\n", "line 3, column `end`: `x` is not a time"),
            ("a,1,2,*,yes\n", "line 2, column `anomalous`: `yes` is not 1 or 0"),
            ("a,2,1,*,1\n", "line 2: ends at 1970-01-01T00:00:01.000Z before it starts"),
            (",1,2,*,1\n", "line 2, column `kind`"),
            ("a,1,2,,1\n", "line 2, column `instance`"),
            ("a,1,2\n", "line 2: 3 fields, but the header has 5"),
        ] {
            let text =
                if text.starts_with("kind") { text.to_owned() } else { format!("{header}{text}") };
            let error = parse(&text).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        assert_eq!(parse(header).unwrap(), []);
    }
}
