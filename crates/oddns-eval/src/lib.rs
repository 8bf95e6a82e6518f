#![doc = include_str!("../README.md")]

mod event;
mod interval;
mod point;
mod report;
mod timeline;
mod volume;

pub use event::{AlarmMetrics, EventMetrics, EventOutcome};
pub use interval::Interval;
pub use point::{BestF1, PointMetrics, average_precision, best_f1};
pub use report::{EvalConfig, EvalError, Report, ScoredPoint};
pub use volume::vus_pr;
