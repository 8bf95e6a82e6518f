//! Other programs read what we write.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use oddns_core::{Recording, Sample, Scrape, SeriesKey, SeriesTable, Timestamp};
use oddns_store::{Dataset, HistoryFilter, write_history, write_openmetrics};

/// Integers, fractions, infinities, NaN, and a label with everything that has to be escaped.
const VALUES: [f64; 5] = [1e15, 0.1, f64::INFINITY, f64::NAN, -2.0];

fn peers() -> Option<PathBuf> {
    let peers = std::env::var_os("ODDNS_PEERS").map(PathBuf::from);
    if peers.is_none() {
        println!("skipped: needs DuckDB and pyarrow, and `ODDNS_PEERS` is not set");
    }
    peers
}

fn history(root: &Path) {
    let mut series = SeriesTable::default();
    let labels = r#"{zone="quote \" back \\ line \n,}"}"#.parse().unwrap();
    let id = series.intern(&SeriesKey { name: "m".into(), labels });
    let scrapes = VALUES.iter().enumerate().map(|(at, value)| Scrape {
        time: Timestamp::from_millis(1_795_331_512_034 + 1000 * at as i64),
        up: true,
        duration_seconds: f64::NAN,
        samples: vec![Sample { series: id, value: *value }],
    });
    let scrapes = scrapes.collect();
    let recording = Recording { instance: "10.0.0.1:9153".into(), series, scrapes };
    write_history(root, &Dataset::default(), &[recording]).unwrap();
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn duckdb_and_pyarrow_read_the_columns_as_documented() {
    let Some(peers) = peers() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("history");
    history(&root);
    let python = |script: &str| {
        let mut python = Command::new(peers.join("parquet-peers/bin/python"));
        said(python.args(["-c", script]).current_dir(&root))
    };
    let query = "select epoch_ms(timestamp), instance, name, labels, value from \
                 read_parquet('day=*/*.parquet') where name = 'm' order by timestamp";
    let expected: String = [1e15, 0.1, f64::INFINITY, f64::NAN, -2.0]
        .iter()
        .enumerate()
        .map(|(at, value)| {
            let value = match value {
                value if *value == 1e15 => "1000000000000000.0".to_owned(),
                value if value.is_nan() => "nan".to_owned(),
                value => format!("{value:?}"),
            };
            let millis = 1_795_331_512_034_i64 + 1000 * at as i64;
            format!(
                "{millis} 10.0.0.1:9153 m {{zone=\"quote \\\" back \\\\ line \\n,}}\"}} {value}\n"
            )
        })
        .collect();
    let duckdb =
        format!("import duckdb\nfor r in duckdb.sql(\"\"\"{query}\"\"\").fetchall(): print(*r)");
    assert_eq!(python(&duckdb), expected);
    let pyarrow = "import pyarrow.parquet as pq, glob\n\
                   t = pq.read_table(glob.glob('day=*/*.parquet')[0], partitioning=None)\n\
                   print(*(f'{f.name}:{f.type}' for f in t.schema))\n\
                   for r in t.to_pylist():\n    \
                   if r['name'] == 'm': print(int(r['timestamp'].timestamp() * 1000 + 0.5), \
                   r['instance'], r['name'], r['labels'], r['value'])";
    let types = "timestamp:timestamp[ms, tz=UTC] instance:string name:string labels:string \
                 value:double\n";
    assert_eq!(python(pyarrow), format!("{types}{expected}"));
}

#[test]
fn promtool_makes_blocks_of_our_openmetrics_and_dumps_the_same() {
    if peers().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("history");
    history(&root);
    let om = folder.path().join("samples.om");
    let filter = HistoryFilter::default();
    let mut file = fs::File::create(&om).unwrap();
    assert_eq!(write_openmetrics(&root, &filter, &mut file).unwrap(), 10);
    let blocks = folder.path().join("blocks");
    let create = ["tsdb", "create-blocks-from", "openmetrics"];
    said(Command::new("promtool").args(create).arg(&om).arg(&blocks));
    // Reading wants a log beside the blocks.
    fs::create_dir_all(blocks.join("wal")).unwrap();
    let dump = said(Command::new("promtool").args(["tsdb", "dump"]).arg(&blocks));
    let of_m: Vec<&str> = dump.lines().filter(|line| line.contains("__name__=\"m\"")).collect();
    assert_eq!(of_m.len(), VALUES.len());
    for (line, value) in of_m.iter().zip(["1e+15", "0.1", "+Inf", "NaN", "-2"]) {
        assert!(line.contains(r#"zone="quote \" back \\ line \n,}""#), "{line}");
        assert!(line.contains(&format!("}} {value} 17953315")), "{line}");
    }
}
