//! Judging servers that are known by remote write only.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use oddns::{Detector, DetectorError};
use oddns_collect::{Directory, Gathered, WrittenTarget, format_duration};
use oddns_core::Timestamp;
use tokio::sync::mpsc;

use crate::event::Event;
use crate::judged::Judged;
use crate::shared::Shared;
use crate::states::StateFolder;
use crate::teller::Teller;
use crate::watch::{Around, Judge, Replica, SharedFleet};

/// A server of which nothing came for so long is told to be silent. What it does meanwhile is not
/// known: it is the sender that is in trouble, or the network.
const SILENT: Duration = Duration::from_secs(120);

/// Makes the judge of a received server, given its job and its instance.
pub type NewReceivedJudge =
    Box<dyn FnMut(&str, &str) -> Result<Box<dyn Judge>, DetectorError> + Send>;

/// Judges with `detector`, within the budget of `shared`; the servers of one job are replicas of each other. What is learned of them
/// is kept in `states`, where there is such a folder; what of it cannot be used goes to `events`. When
/// `shared` has another champion, it judges from then on.
pub fn judges_of(
    detector: Arc<Detector>,
    states: Option<StateFolder>,
    shared: &Arc<Shared>,
    events: mpsc::Sender<Event>,
) -> NewReceivedJudge {
    let around = Around { states, shared: Arc::clone(shared), events };
    let mut fleets: HashMap<String, SharedFleet> = HashMap::new();
    Box::new(move |job, instance| {
        let fleet = Arc::clone(fleets.entry(job.to_owned()).or_default());
        around.shared.succession().follow(instance, job);
        Ok(Box::new(Replica::new(Arc::clone(&detector), instance, fleet, around.clone())?))
    })
}

/// All received servers that are judged.
pub(super) struct Judging {
    new_judge: NewReceivedJudge,
    teller: Teller,
    servers: HashMap<WrittenTarget, Place>,
}

/// What becomes of a server.
enum Place {
    Judged {
        judged: Judged,
        heard: Timestamp,
        is_silent: bool,
    },
    /// Another way leads to the server of this name: we scrape it, or it has another job.
    Elsewhere,
}

/// Nothing came from a server.
#[derive(Debug, thiserror::Error)]
#[error("nothing was received for {}: look at the sender", format_duration(SILENT))]
struct Silent;

impl Judging {
    pub(super) fn new(new_judge: NewReceivedJudge, teller: Teller) -> Self {
        Self { new_judge, teller, servers: HashMap::new() }
    }

    pub(super) fn take(&mut self, directory: &Directory, gathered: &Gathered<'_>, now: Timestamp) {
        let target = gathered.target;
        if !self.servers.contains_key(&target) {
            let place = self.place(directory.job(target), directory.instance(target), now);
            self.servers.insert(target, place);
        }
        let metrics = self.teller.shared.metrics();
        let counters = metrics.receive();
        match self.servers.get_mut(&target) {
            Some(Place::Judged { judged, heard, is_silent }) => {
                (*heard, *is_silent) = (now, false);
                let down = Down;
                let failure = (!gathered.scrape.up).then_some(("down", &down as &dyn Error));
                let instance = directory.instance(target);
                metrics.received(
                    instance_or_unknown(instance),
                    &gathered.scrape,
                    failure.map(|f| f.0),
                );
                judged.take(gathered.series, &gathered.scrape, failure);
                counters.judged();
            }
            _ => counters.left_aside("elsewhere", gathered.scrape.samples.len() as u64),
        }
    }

    fn place(&mut self, job: &str, instance: &str, now: Timestamp) -> Place {
        let instance = instance_or_unknown(instance);
        if self.teller.shared.read(|view| view.is_followed(instance)) {
            return Place::Elsewhere;
        }
        // Cannot fail: the model was checked before anything was received.
        let Ok(judge) = (self.new_judge)(job, instance) else { return Place::Elsewhere };
        self.teller.shared.watch(vec![instance.to_owned()]);
        let name = (job.to_owned(), instance.to_owned());
        let judged = Judged::new(name, judge, self.teller.clone());
        Place::Judged { judged, heard: now, is_silent: false }
    }

    /// Tells of servers of which nothing came for long.
    pub(super) fn tell_silent(&mut self, now: Timestamp) {
        for place in self.servers.values_mut() {
            if let Place::Judged { judged, heard, is_silent } = place
                && !*is_silent
                && now.seconds_since(*heard) > SILENT.as_secs_f64()
            {
                *is_silent = true;
                judged.report_failure(now, "silent", &Silent);
            }
        }
    }
}

/// A name for what has none.
fn instance_or_unknown(instance: &str) -> &str {
    if instance.is_empty() { "unknown" } else { instance }
}

/// The sender could not scrape the server.
#[derive(Debug, thiserror::Error)]
#[error("the sender could not scrape it (`up` is 0)")]
struct Down;
