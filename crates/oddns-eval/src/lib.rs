#![doc = include_str!("../README.md")]

mod best_event;
mod comparison;
mod distance;
mod event;
mod interval;
mod measure;
mod naming;
mod paired;
mod point;
mod report;
mod signed_rank;
mod timeline;
mod volume;

pub use best_event::{AlarmRule, BestEventF1};
pub use comparison::{Comparison, Run};
pub use distance::kolmogorov_smirnov;
pub use event::{AlarmMetrics, EventMetrics, EventOutcome};
pub use interval::Interval;
pub use measure::{Direction, MEASURES, Measure, Trial};
pub use naming::{Naming, right_causes, told};
pub use paired::Paired;
pub use point::{BestF1, PointMetrics, average_precision, best_f1};
pub use report::{EvalConfig, EvalError, Report, ScoredPoint};
pub use signed_rank::{SignedRank, wilcoxon_signed_rank};
pub use volume::vus_pr;
