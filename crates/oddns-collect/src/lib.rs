#![doc = include_str!("../README.md")]

mod answer;
mod duration;
mod exposition;
mod prometheus;
mod protobuf;
mod replay;
mod schedule;
mod scrape;
mod target;
mod transpose;

pub use answer::AnswerError;
pub use duration::{ParseDurationError, format_duration, parse_duration};
pub use exposition::{
    Format, Limits, ParseError, Parser, Reason, SampleLine, SampleLines, Summary,
};
pub use prometheus::{
    HistoryConfig, HistoryError, HistoryPart, HistoryQuery, ParsePrometheusUrlError,
    PrometheusHistory, PrometheusUrl, SeriesChoice,
};
pub use replay::{ReplayError, ReplayOptions, read_recordings, replay_file, write_scrape};
pub use schedule::{next_scrape, target_offset};
pub use scrape::{ScrapeConfig, ScrapeError, Scraped, Scraper};
pub use target::{ParseTargetError, Target};
