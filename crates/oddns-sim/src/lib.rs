#![doc = include_str!("../README.md")]

mod scenario;

mod fault;
mod schedule;

mod simulation;

mod server;

mod forward;
mod names;
mod process;
mod questions;

mod conditions;

mod book;
mod series;
mod shape;

mod dice;
mod load;
mod nearest;
mod release;
mod span;

pub use fault::{FAULTS, Family, Fault, Reach, Sign, Strength, UnknownFault, fault};
pub use load::{Load, LoadStep};
pub use release::{Release, UnknownRelease};
pub use scenario::{
    BUILT_IN, BuiltIn, Campaign, Corefile, Cron, Day, Machine, Misfit, Mix, PlannedFault, Scenario,
    ScenarioError, Traffic, UnknownCorefile, UnknownScenario, Upstreams, built_in,
};
pub use schedule::{Label, labels};
pub use simulation::{Simulation, empty_scrape};
pub use span::{Span, SpanError};
