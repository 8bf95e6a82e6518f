#![doc = include_str!("../README.md")]

mod answer;
mod duration;
mod exposition;
mod replay;
mod schedule;
mod scrape;
mod target;
mod transpose;

pub use answer::AnswerError;
pub use duration::{ParseDurationError, format_duration, parse_duration};
pub use exposition::{Format, Limits, ParseError, Parser, Reason, Summary};
pub use replay::{ReplayError, ReplayOptions, read_recordings, replay_file, write_scrape};
pub use schedule::{next_scrape, target_offset};
pub use scrape::{ScrapeConfig, ScrapeError, Scraped, Scraper, speaks_coredns};
pub use target::{ParseTargetError, Target};
