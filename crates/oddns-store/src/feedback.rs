//! `feedback.csv`: what people say about alarms.

use std::path::Path;

use oddns_core::Timestamp;

use crate::table::{Table, read_bytes};
use crate::{StoreError, write_atomically};

const HEADER: [&str; 4] = ["start", "end", "instance", "verdict"];
/// Words of a verdict.
const VERDICTS: [&str; 3] = ["normal", "right", "missed"];

/// One line of feedback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedbackLine {
    /// From when.
    pub start: Timestamp,
    /// Until when; not before `start`.
    pub end: Timestamp,
    /// Which server; `None` (`*` in the file) means all.
    pub instance: Option<String>,
    /// `normal`, `right` or `missed`.
    pub verdict: String,
}

/// Reads feedback. A file with only a header gives none; errors name line and column.
pub fn read_feedback(path: &Path) -> Result<Vec<FeedbackLine>, StoreError> {
    let text = read_bytes(path, "a header `start,end,instance,verdict`")?;
    parse(path, &text)
}

/// Writes feedback in the order given, times as Unix seconds.
pub fn write_feedback(path: &Path, lines: &[FeedbackLine]) -> Result<(), StoreError> {
    let mut text = csv::Writer::from_writer(Vec::new());
    let written = text
        .write_record(HEADER)
        .and_then(|()| lines.iter().try_for_each(|line| text.write_record(fields(line))));
    written.map_err(|error| StoreError::write(path)(error.into()))?;
    let bytes = text.into_inner().map_err(|error| StoreError::write(path)(error.into_error()))?;
    write_atomically(path, &bytes)
}

fn fields(line: &FeedbackLine) -> [String; 4] {
    [
        line.start.unix_seconds().to_string(),
        line.end.unix_seconds().to_string(),
        line.instance.clone().unwrap_or_else(|| "*".to_owned()),
        line.verdict.clone(),
    ]
}

fn parse(path: &Path, text: &[u8]) -> Result<Vec<FeedbackLine>, StoreError> {
    let mut table = Table::new(path, text)?;
    let columns = table.columns(HEADER)?;
    let mut lines = Vec::new();
    while table.advance()? {
        lines.push(line(&table, columns)?);
    }
    Ok(lines)
}

fn line(table: &Table<'_>, columns: [usize; 4]) -> Result<FeedbackLine, StoreError> {
    let [start, end, instance, verdict] = columns;
    let time = |column| table.value(column, "a time in Unix seconds", |text| text.parse().ok());
    let name = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let word = |text: &str| VERDICTS.contains(&text).then(|| text.to_owned());
    let line = FeedbackLine {
        start: time(start)?,
        end: time(end)?,
        instance: Some(table.value(instance, "an instance or `*`", name)?).filter(|n| n != "*"),
        verdict: table.value(verdict, "`normal`, `right` or `missed`", word)?,
    };
    if line.end < line.start {
        return Err(table.row_error(format!("ends at {} before it starts", line.end)));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_is_loaded_and_errors_say_where() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feedback.csv");
        let at = Timestamp::from_millis;
        let line = |instance: Option<&str>, verdict: &str| FeedbackLine {
            start: at(1_795_332_807_421),
            end: at(1_795_332_867_424),
            instance: instance.map(str::to_owned),
            verdict: verdict.into(),
        };
        let lines = vec![line(None, "normal"), line(Some("a:9153"), "missed")];
        write_feedback(&path, &lines).unwrap();
        assert_eq!(read_feedback(&path).unwrap(), lines);
        let error = |text: &str| parse(&path, text.as_bytes()).unwrap_err().to_string();
        assert!(error("start,end,instance\n").contains("column `verdict`"));
        assert!(
            error("start,end,instance,verdict\n1,2,*,ok\n").contains("line 2, column `verdict`")
        );
        assert!(error("start,end,instance,verdict\n3,2,*,right\n").contains("before it starts"));
    }
}
