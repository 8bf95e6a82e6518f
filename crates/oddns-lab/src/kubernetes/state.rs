//! Services, and what happened to them lately, behind a lock that is never held over a wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::objects::{Resource, Service, namespace};
use super::{ApiBehaviour, ApiCounts, MAX_DELAY};
use crate::clock;

/// Events that can still be watched from; a client that is further behind lists anew.
const MAX_EVENTS: usize = 50_000;
/// Services a cluster of the lab has at most; more are not taken.
const MAX_SERVICES: usize = 10_000;
/// Objects that a change of a service is an event of.
const RESOURCES: [Resource; 3] =
    [Resource::Services, Resource::Endpoints, Resource::EndpointSlices];

/// A change of one object.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) version: u64,
    resource: Resource,
    happened: Instant,
    /// One line of a watch.
    pub(super) line: Bytes,
}

#[derive(Debug)]
struct Known {
    version: u64,
    /// Services by namespace and name, with the version of their last change.
    services: BTreeMap<String, (Service, u64)>,
    events: VecDeque<Event>,
    behaviour: ApiBehaviour,
    counts: ApiCounts,
    /// The last byte of addresses that pods were given.
    n_pods: u32,
}

/// All that the API knows.
#[derive(Debug)]
pub(super) struct State {
    known: Mutex<Known>,
    changed: watch::Sender<()>,
}

/// What a watch has to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Send these.
    Send(Vec<Event>),
    /// Wait until something changes, or until then.
    Wait(Option<Instant>),
    /// Say that the version asked for is too old to go on from.
    Gone,
    /// End.
    End,
}

impl State {
    pub(super) fn new(services: Vec<Service>) -> Self {
        let services = services.into_iter().map(|service| (service.key(), (service, 1))).collect();
        let known = Known {
            version: 1,
            services,
            events: VecDeque::new(),
            behaviour: ApiBehaviour::default(),
            counts: ApiCounts::default(),
            n_pods: 0,
        };
        Self { known: Mutex::new(known), changed: watch::Sender::new(()) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it holds the lock; what is there is whole in any case.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn behaviour(&self) -> ApiBehaviour {
        self.known().behaviour
    }

    pub(super) fn set(&self, behaviour: ApiBehaviour) {
        self.known().behaviour = behaviour;
        self.changed.send_replace(());
    }

    pub(super) fn counts(&self) -> ApiCounts {
        self.known().counts
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut ApiCounts)) {
        change(&mut self.known().counts);
    }

    /// The version now, and every object of a kind.
    pub(super) fn list(&self, resource: Resource) -> (u64, Vec<Value>) {
        let known = self.known();
        let items = match resource {
            Resource::Namespaces => {
                let names: BTreeSet<&str> =
                    known.services.values().map(|(service, _)| &*service.namespace).collect();
                names.into_iter().map(|name| namespace(name, 1)).collect()
            }
            _ => {
                let services = known.services.values();
                services
                    .filter_map(|(service, version)| service.object(resource, *version, None))
                    .collect()
            }
        };
        (known.version, items)
    }

    /// What comes after `version` for a watch of `resource`.
    pub(super) fn next(&self, resource: Resource, version: u64) -> Next {
        let known = self.known();
        if known.behaviour.failing {
            return Next::End;
        }
        if known.behaviour.silent {
            return Next::Wait(None);
        }
        let oldest = known.events.front().map_or(known.version + 1, |event| event.version);
        if version + 1 < oldest {
            return Next::Gone;
        }
        let delay = known.behaviour.delay.min(MAX_DELAY);
        let (now, mut due, mut until) = (Instant::now(), Vec::new(), None);
        let first = known.events.partition_point(|event| event.version <= version);
        for event in known.events.range(first..).filter(|event| event.resource == resource) {
            if event.happened + delay > now {
                until = Some(event.happened + delay);
                break;
            }
            due.push(event.clone());
        }
        if due.is_empty() { Next::Wait(until) } else { Next::Send(due) }
    }

    /// One pod of the service at `place` in their order, round and round, is replaced by another.
    pub(super) fn replace_a_pod(&self, place: u64) {
        let mut known = self.known();
        let n = known.services.len().max(1) as u64;
        let Some(mut service) =
            known.services.values().nth((place % n) as usize).map(|(service, _)| service.clone())
        else {
            return;
        };
        let pod = known.new_pod();
        match service.pods.first_mut() {
            Some(first) => *first = pod,
            None => service.pods.push(pod),
        }
        known.write(service);
        drop(known);
        self.changed.send_replace(());
    }

    pub(super) fn put(&self, namespace: &str, name: &str, pods: Vec<Ipv4Addr>) {
        let mut known = self.known();
        let key = format!("{namespace}/{name}");
        let service = match known.services.get(&key) {
            Some((service, _)) => Service { pods, ..service.clone() },
            None if known.services.len() >= MAX_SERVICES => return,
            None => {
                // 10.97.0.0/16 is left for services that come later.
                let [.., x, y] = (known.version as u32).to_be_bytes();
                let address = Some(Ipv4Addr::new(10, 97, x, y));
                let (namespace, name) = (namespace.to_owned(), name.to_owned());
                Service { namespace, name, address, pods }
            }
        };
        known.write(service);
        drop(known);
        self.changed.send_replace(());
    }

    pub(super) fn remove(&self, namespace: &str, name: &str) {
        let mut known = self.known();
        let Some((service, _)) = known.services.remove(&format!("{namespace}/{name}")) else {
            return;
        };
        known.tell(&service, "DELETED");
        drop(known);
        self.changed.send_replace(());
    }
}

impl Known {
    fn new_pod(&mut self) -> Ipv4Addr {
        self.n_pods = self.n_pods.wrapping_add(1);
        let [_, x, y, z] = self.n_pods.to_be_bytes();
        Ipv4Addr::new(10, 128 | x, y, z)
    }

    fn write(&mut self, service: Service) {
        let is_new = !self.services.contains_key(&service.key());
        self.tell(&service, if is_new { "ADDED" } else { "MODIFIED" });
        self.services.insert(service.key(), (service, self.version));
    }

    /// Makes the events of a change; a service as such changes only as it comes and goes.
    fn tell(&mut self, service: &Service, what: &str) {
        self.version += 1;
        let triggered = clock::now().to_string();
        for resource in RESOURCES {
            if resource == Resource::Services && what == "MODIFIED" {
                continue;
            }
            let object = service.object(resource, self.version, Some(&triggered));
            let line = json!({ "type": what, "object": object });
            self.events.push_back(Event {
                version: self.version,
                resource,
                happened: Instant::now(),
                line: format!("{line}\n").into(),
            });
        }
        while self.events.len() > MAX_EVENTS {
            self.events.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cluster;

    fn n_sent(next: &Next) -> usize {
        match next {
            Next::Send(events) => events.len(),
            _ => 0,
        }
    }

    #[test]
    fn a_change_is_an_event_for_those_who_watch_its_kind() {
        let state = State::new(cluster::services());
        state.replace_a_pod(3);
        assert_eq!(n_sent(&state.next(Resource::EndpointSlices, 1)), 1);
        assert_eq!(n_sent(&state.next(Resource::Services, 1)), 0);
        assert_eq!(n_sent(&state.next(Resource::EndpointSlices, 2)), 0);
        state.remove("ns-0", "svc-0");
        assert_eq!(n_sent(&state.next(Resource::Services, 1)), 1);
        assert_eq!(state.list(Resource::Services).1.len(), cluster::N_SERVICES - 1);
    }

    #[test]
    fn who_is_too_far_behind_has_to_list_anew() {
        let state = State::new(cluster::services());
        for place in 0..MAX_EVENTS as u64 {
            state.replace_a_pod(place);
        }
        assert!(matches!(state.next(Resource::Endpoints, 1), Next::Gone));
        let (version, _) = state.list(Resource::Endpoints);
        assert!(matches!(state.next(Resource::Endpoints, version), Next::Wait(None)));
    }

    #[tokio::test]
    async fn what_is_held_back_comes_later() {
        let state = State::new(cluster::services());
        state.set(ApiBehaviour { delay: Duration::from_secs(60), ..ApiBehaviour::default() });
        state.replace_a_pod(0);
        assert!(matches!(state.next(Resource::Endpoints, 1), Next::Wait(Some(_))));
        state.set(ApiBehaviour { silent: true, ..ApiBehaviour::default() });
        assert!(matches!(state.next(Resource::Endpoints, 1), Next::Wait(None)));
        state.set(ApiBehaviour { failing: true, ..ApiBehaviour::default() });
        assert!(matches!(state.next(Resource::Endpoints, 1), Next::End));
        state.set(ApiBehaviour::default());
        assert_eq!(n_sent(&state.next(Resource::Endpoints, 1)), 1);
    }
}
