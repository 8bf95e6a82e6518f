#![doc = include_str!("../README.md")]

mod duration;
mod exposition;
mod protobuf;

mod pattern;
mod relabel;
mod secret;

mod http;
mod job;
mod post;
mod scrape_target;
mod target;

mod admission;
mod discovery;
mod schedule;
mod scrape;
mod scraping;
mod throttle;

mod answer;
mod prometheus;
mod remote_read;
mod remote_write;
mod replay;
mod transpose;

pub use admission::LimitError;
pub use answer::AnswerError;
pub use discovery::{
    Discovery, DiscoveryError, DnsDiscovery, FileDiscovery, HttpDiscovery, MAX_DISCOVERED,
    RecordType, ResolveError, matching_files, read_targets,
};
#[cfg(feature = "kubernetes")]
pub use discovery::{KubernetesDiscovery, Role, Selector};
pub use duration::{ParseDurationError, format_duration, parse_duration};
pub use exposition::{
    Format, Limits, ParseError, Parser, Reason, SampleLine, SampleLines, Summary,
};
pub use http::{Auth, HttpConfig, HttpError, TlsConfig, TlsVersion};
pub use job::{Job, JobConfig, Protocol, ScrapeLimits};
pub use pattern::{ParsePatternError, Pattern};
pub use post::{PostError, Poster, address_name};
pub use prometheus::{
    HistoryConfig, HistoryError, HistoryPart, HistoryQuery, ParsePrometheusUrlError,
    PrometheusHistory, PrometheusUrl, SeriesChoice, Waiting,
};
pub use relabel::{Action, LabelMap, RelabelRule, RuleError, RuleText, relabel};
pub use remote_read::{ReadError, ReadFormat, ReadLimits, check_remote_read};
pub use remote_write::{
    Directory, GatherConfig, Gathered, Gathering, Refusal, RemoteWrite, WriteBatch, WriteCounts,
    WriteError, WriteLimits, WriteRequest, WriteVersion, WrittenSample, WrittenSeries,
    WrittenTarget,
};
pub use replay::{ReplayError, ReplayOptions, read_recordings, replay_file, write_scrape};
pub use schedule::{next_scrape, target_offset};
pub use scrape::{LeftOut, ScrapeError, Scraped, Scraper};
pub use scrape_target::{ScrapeTarget, ScrapeTargetError};
pub use scraping::{Gone, MAX_TARGETS, Pace, RefusedTarget, Sink, Sinks, scrape_jobs, wall_clock};
pub use secret::{Secret, SecretSource};
pub use target::{ParseTargetError, Target};
pub use throttle::Throttle;
