//! Makes data for `cargo xtask bench memory`: `made_history frame PATH ROWS COLUMNS` writes a table as
//! Parquet, `made_history folder PATH ROWS SERIES` the history of a server that answers with so many
//! series, a scrape every 15 seconds.

use std::path::Path;

use oddns_core::{Frame, Labels, Sample, Scrape, SeriesKey, SeriesTable, Timestamp};
use oddns_store::{Dataset, HistoryStore, ScrapeAppender, StoreSettings, write_frame};

const STEP_MILLIS: i64 = 15_000;
/// 2026-11-01, 00:00 UTC.
const START_MILLIS: i64 = 1_793_491_200_000;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, path, n_rows, width] = arguments.as_slice() else {
        return Err("use: made_history frame|folder PATH ROWS COLUMNS|SERIES".into());
    };
    let (path, n_rows, width) = (Path::new(path), n_rows.parse()?, width.parse()?);
    match what.as_str() {
        "frame" => Ok(write_frame(path, &frame(n_rows, width)?, None)?),
        _ => folder(path, n_rows, width),
    }
}

fn time(row: usize) -> Timestamp {
    Timestamp::from_millis(START_MILLIS + row as i64 * STEP_MILLIS)
}

/// Waves of different periods, with noise.
fn value(row: usize, at: usize) -> f32 {
    let noise = ((row * 7919 + at * 104_729) % 1009) as f32 / 1009.0;
    (row as f32 / (4.0 + at as f32)).sin() + 0.2 * noise
}

fn frame(n_rows: usize, width: usize) -> Result<Frame, Failure> {
    let mut frame = Frame::new((0..width).map(|at| format!("column_{at}")).collect());
    let mut row = vec![0.0; width];
    for step in 0..n_rows {
        row.iter_mut().enumerate().for_each(|(at, into)| *into = value(step, at));
        frame.push(time(step), &row)?;
    }
    Ok(frame)
}

fn folder(path: &Path, n_rows: usize, n_series: usize) -> Result<(), Failure> {
    let mut series = SeriesTable::default();
    let labels = |at: usize| Labels::new(vec![("zone".to_owned(), format!("z{at}."))]);
    let key = |at| SeriesKey { name: "coredns_dns_requests_total".to_owned(), labels: labels(at) };
    let ids: Vec<_> = (0..n_series).map(|at| series.intern(&key(at))).collect();
    let settings = StoreSettings { max_ahead: None, ..StoreSettings::default() };
    let store = HistoryStore::create(path, &Dataset::default(), settings)?;
    let mut appender = ScrapeAppender::new("dns-0:9153");
    for row in 0..n_rows {
        let total = |at: usize| (20.0 * row as f64 + f64::from(value(row, at))) * 15.0;
        let samples = ids.iter().enumerate();
        let samples = samples.map(|(at, id)| Sample { series: *id, value: total(at) }).collect();
        let scrape = Scrape { time: time(row), up: true, duration_seconds: 0.01, samples };
        appender.append(&store, &series, &scrape)?;
    }
    store.finish()?;
    Ok(())
}
