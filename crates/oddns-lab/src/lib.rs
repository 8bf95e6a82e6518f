#![doc = include_str!("../README.md")]

mod scenario;

mod fault;
mod label;

mod coredns;
mod corefile;
mod http;
mod log;
mod ports;

mod arrivals;
mod cluster;
mod lookup;
mod sender;
mod socket;
mod tally;
mod traffic;

mod upstream;

mod framing;
mod message;

mod error;

pub use coredns::{CoreDns, CoreDnsConfig};
pub use error::LabError;
pub use fault::{Configuration, Dose, Effect, FAULTS, Fault, ServerAction, fault};
pub use label::{LabelInterval, labels_csv};
pub use scenario::{Lab, LabConfig, Phase, phases};
pub use tally::ClientSecond;
pub use traffic::{Mix, Rhythm, Traffic, TrafficConfig, TrafficSettings};
pub use upstream::{Behaviour, Rcode, Upstream, UpstreamConfig, UpstreamCounts};
