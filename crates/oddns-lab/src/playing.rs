//! A log of pods while it is played: how busy they are now, and where they are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use oddns_sim::Load;
use tokio::time::Instant;

use crate::pods::PodEvent;
use crate::{LabError, Pods};

/// Endpoints that one service shows, as one EndpointSlice of Kubernetes holds.
const MAX_ENDPOINTS: usize = 100;

/// A log of pods, played.
#[derive(Debug, Clone, PartialEq)]
pub struct PlayedPods {
    /// Which.
    pub pods: Pods,
    /// Seconds of the log that are played in one, above 0.
    pub speed: f64,
}

/// Where a log of pods is, while it is played.
#[derive(Debug)]
pub(crate) struct Playing {
    since: Option<Instant>,
    load: Load,
    /// Seconds of the log that pass in one.
    speed: f64,
    /// Which time the log is played, from 0: it begins anew when it is over, as its load does.
    round: u64,
    events: VecDeque<PodEvent>,
    /// Pods that run, by class.
    running: BTreeMap<String, BTreeSet<usize>>,
    /// Lookups a second of the scenario, before the pods.
    pub(crate) usual_rate: Option<f64>,
}

impl Playing {
    pub(crate) fn new(played: &PlayedPods) -> Result<Self, LabError> {
        let PlayedPods { pods, speed } = played;
        Ok(Self {
            since: None,
            load: pods.load(*speed)?,
            speed: *speed,
            round: 0,
            events: pods.events(*speed).into(),
            running: BTreeMap::new(),
            usual_rate: None,
        })
    }

    /// Seconds since it was first asked.
    fn elapsed(&mut self) -> f64 {
        self.since.get_or_insert_with(Instant::now).elapsed().as_secs_f64()
    }

    /// How busy the pods are now, beside their mean.
    pub(crate) fn rate_ratio(&mut self) -> f64 {
        let elapsed = self.elapsed();
        self.load.at(elapsed).rate_ratio
    }

    /// Classes whose pods have changed since the last call, with the addresses of all that run.
    pub(crate) fn changed(&mut self, pods: &Pods) -> Vec<(String, Vec<Ipv4Addr>)> {
        let elapsed = self.elapsed();
        self.changed_until(elapsed, pods)
    }

    /// The same at a time, in seconds since the first call.
    fn changed_until(&mut self, elapsed: f64, pods: &Pods) -> Vec<(String, Vec<Ipv4Addr>)> {
        let mut changed = BTreeSet::new();
        let round = (elapsed / self.load.seconds()) as u64;
        if round != self.round {
            self.round = round;
            self.events = pods.events(self.speed).into();
            changed.extend(std::mem::take(&mut self.running).into_keys());
        }
        let elapsed = elapsed - round as f64 * self.load.seconds();
        while let Some(&event) = self.events.front().filter(|event| event.at <= elapsed) {
            self.events.pop_front();
            let class = service_name_of(&pods.pods()[event.pod].class);
            let running = self.running.entry(class.clone()).or_default();
            if event.starts {
                running.insert(event.pod);
            } else {
                running.remove(&event.pod);
            }
            changed.insert(class);
        }
        let addresses = |class: String| {
            let running = self.running.get(&class).into_iter().flatten();
            let addresses = running.take(MAX_ENDPOINTS).map(|pod| pod_address(*pod)).collect();
            (class, addresses)
        };
        changed.into_iter().map(addresses).collect()
    }
}

/// A class as a name of a service, which is a DNS label.
fn service_name_of(class: &str) -> String {
    let usable = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = class.chars().map(usable).take(60).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "pods".to_owned() } else { name.to_owned() }
}

/// An address of 10.192.0.0/10, which nothing else in the lab has.
fn pod_address(pod: usize) -> Ipv4Addr {
    let [.., x, y, z] = pod.to_be_bytes();
    Ipv4Addr::new(10, 192 | (x & 63), y, z)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_a_service_whatever_its_name() {
        for (class, service) in
            [("api", "api"), ("My_App.v2", "my-app-v2"), ("--", "pods"), ("", "pods")]
        {
            assert_eq!(service_name_of(class), service);
        }
    }

    #[test]
    fn pods_come_and_go() {
        let text = "name,start,end\na-1,0,100\na-2,10,20\nb-1,0,10\n";
        let pods = Pods::parse(text.as_bytes()).unwrap();
        let mut playing = Playing::new(&PlayedPods { pods: pods.clone(), speed: 1.0 }).unwrap();
        let mut sizes = |elapsed: f64| -> Vec<(String, usize)> {
            let changed = playing.changed_until(elapsed, &pods);
            changed.into_iter().map(|(class, of)| (class, of.len())).collect()
        };
        let of = |class: &str, n: usize| (class.to_owned(), n);
        assert_eq!(sizes(0.0), [of("a", 1), of("b", 1)]);
        assert_eq!(sizes(5.0), []);
        assert_eq!(sizes(15.0), [of("a", 2), of("b", 0)]);
        assert_eq!(sizes(30.0), [of("a", 1)]);
        assert_eq!(sizes(99.0), []);
        assert_eq!(sizes(101.0), [of("a", 1), of("b", 1)], "it begins anew");
        assert_eq!(sizes(315.0), [of("a", 2), of("b", 0)]);
    }
}
