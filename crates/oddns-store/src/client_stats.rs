//! `client_stats.csv`: what the clients of a recording felt each second, where somebody noted it.

use std::path::Path;

use crate::table::{Table, read_bytes};
use crate::{Place, StoreError, write_atomically};

/// Name of the file in a data set.
pub const CLIENT_STATS: &str = "client_stats.csv";

/// As the lab writes it.
const HEADER: [&str; 15] = [
    "second",
    "sent",
    "answered",
    "timeouts",
    "unsent",
    "truncated",
    "noerror",
    "servfail",
    "nxdomain",
    "refused",
    "lookups",
    "failed_lookups",
    "slow_lookups",
    "latency_sum_seconds",
    "latency_max_seconds",
];

/// What the clients of all servers felt in a second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRow {
    /// Unix time of its beginning.
    pub second: i64,
    /// The whole line as it stands in the file.
    text: String,
}

/// Reads what clients felt; each second comes after the one before. A file with only a header gives
/// nothing; columns that are not known are left out; errors name line and column.
pub fn read_client_stats(path: &Path) -> Result<Vec<ClientRow>, StoreError> {
    let rows = read_placed(path)?;
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// The same with the lines.
pub(crate) fn read_placed(path: &Path) -> Result<Vec<(Place, ClientRow)>, StoreError> {
    let bytes = read_bytes(path, "a header `second,sent,answered,…`")?;
    let mut table = Table::new(path, &bytes)?;
    let columns = table.columns(HEADER)?;
    let mut rows: Vec<(Place, ClientRow)> = Vec::new();
    while table.advance()? {
        let row = parse_row(&table, columns)?;
        if let Some((_, last)) = rows.last().filter(|(_, last)| last.second >= row.second) {
            let order = format!(
                "second {} comes after second {}: sort by `second`, each once",
                row.second, last.second
            );
            return Err(table.row_error(order));
        }
        rows.push((table.place(), row));
    }
    Ok(rows)
}

fn parse_row(table: &Table<'_>, columns: [usize; 15]) -> Result<ClientRow, StoreError> {
    let second = |text: &str| text.parse().ok();
    let second = table.value(columns[0], "a whole number of Unix seconds", second)?;
    for column in &columns[1..] {
        let amount = |text: &str| text.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0);
        table.value(*column, "a number from 0 up", amount)?;
    }
    let texts: Vec<&str> = columns.iter().map(|column| table.text(*column)).collect();
    Ok(ClientRow { second, text: texts.join(",") })
}

/// Writes what clients felt, in the order given.
pub fn write_client_stats(path: &Path, rows: &[ClientRow]) -> Result<(), StoreError> {
    let lines = std::iter::once(HEADER.join(","));
    let lines = lines.chain(rows.iter().map(|row| row.text.clone()));
    let text: String = lines.map(|line| line + "\n").collect();
    write_atomically(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(second: &str, sent: &str) -> String {
        format!("{second},{sent},153,0,0,0,97,0,56,0,50,0,0,0.361343,0.010109\n")
    }

    #[test]
    fn saved_is_loaded_and_errors_say_where() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CLIENT_STATS);
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_client_stats(&path).map_err(|error| error.to_string())
        };
        let header = HEADER.join(",") + "\n";
        let text = format!("{header}{}{}", row("1795412845", "154"), row("1795412846", "0"));
        let rows = read(&text).unwrap();
        assert_eq!((rows.len(), rows[1].second), (2, 1_795_412_846));
        write_client_stats(&path, &rows).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(read(&header).unwrap(), []);
        for (text, told) in [
            (
                "\0\u{1}garbage\n".to_owned(),
                "column `second`: expected a header with `second,sent,",
            ),
            (String::new(), "is empty: expected a header"),
            (header.clone() + &row("x", "1"), "line 2, column `second`: `x` is not a whole number"),
            (
                header.clone() + &row("5", "-1"),
                "line 2, column `sent`: `-1` is not a number from 0",
            ),
            (header.clone() + &row("5", "NaN"), "line 2, column `sent`: `NaN` is not a number"),
            (format!("{header}5,1\n"), "line 2: 2 fields, but the header has 15"),
            (
                header.clone() + &row("5", "1") + &row("4", "1"),
                "line 3: second 4 comes after second 5",
            ),
            (header + &row("5", "1") + &row("5", "1"), "line 3: second 5 comes after second 5"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
