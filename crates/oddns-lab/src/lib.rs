#![doc = include_str!("../README.md")]

mod scenario;

mod collection;
mod fault;
mod label;

mod coredns;
mod corefile;
mod http;
mod leftovers;
mod log;
mod ports;

mod kubernetes;
mod playing;
mod pods;

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

mod clock;
mod error;

pub use collection::{HELD_OUT, Part, Split, real, simulated};
pub use coredns::{CoreDns, CoreDnsConfig};
pub use error::LabError;
pub use fault::{Configuration, Dose, Effect, FAULTS, Fault, ServerAction, fault};
pub use kubernetes::{ApiBehaviour, ApiCounts, KubernetesApi};
pub use label::{LabelInterval, labels_csv};
pub use leftovers::Swept;
pub use playing::PlayedPods;
pub use pods::{Pod, Pods};
pub use scenario::{Lab, LabConfig, Look, Phase, phases};
pub use tally::{ClientSecond, client_seconds_csv};
pub use traffic::{Mix, Rhythm, Traffic, TrafficConfig, TrafficSettings};
pub use upstream::{Behaviour, Rcode, Upstream, UpstreamConfig, UpstreamCounts};
