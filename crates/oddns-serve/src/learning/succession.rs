//! Who judges: the champion, which the streams of all servers follow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use oddns::{Detector, Follower};

use super::status::Status;

/// The champion as it changes, and what its streams tell of themselves.
#[derive(Debug, Default)]
pub(crate) struct Succession {
    /// Rises with each change of champions.
    turn: AtomicU64,
    champion: RwLock<Option<Arc<Detector>>>,
    /// Servers that another model judges.
    own: RwLock<BTreeMap<String, Arc<Detector>>>,
    servers: Mutex<BTreeMap<String, Known>>,
    /// Streams of a champion that have judged the history of their servers.
    ready: Mutex<BTreeMap<String, Follower>>,
    /// A generation that judges already, as whoever enrolled it says.
    enrolled: Mutex<Option<(u64, Arc<Detector>)>>,
    /// A model that was calibrated by the past of servers, and streams of it, for whoever has the base
    /// model.
    offer: Mutex<Option<Offer>>,
    /// A model that was learned here and is in no registry, by the name of the one that it set out from.
    held: Mutex<Option<(String, Arc<Detector>)>>,
    /// Servers that are not watched, and have a past to learn from.
    others: Mutex<BTreeSet<String>>,
    /// Whether an update is wanted now.
    wanted: AtomicBool,
    status: Mutex<Status>,
}

/// A model, and its streams that have judged the past of their servers.
pub(crate) type Offer = (Arc<Detector>, Vec<(String, Follower)>);

/// A server that is judged.
#[derive(Debug, Default)]
struct Known {
    job: String,
    /// How far each feature has wandered; empty before it was told.
    wandered: Vec<f32>,
}

/// Of a server's name and its job.
pub(crate) type Named = (String, String);

impl Succession {
    /// Lets another detector of the same schema judge from now on.
    pub(crate) fn take_over(&self, detector: Arc<Detector>) {
        let mut champion = self.champion.write().unwrap_or_else(PoisonError::into_inner);
        *champion = Some(detector);
        self.turn.fetch_add(1, Ordering::Release);
        drop(champion);
        self.servers().values_mut().for_each(|known| known.wandered.clear());
    }

    /// Keeps what has judged the history of each server, until its champion takes over.
    pub(crate) fn prepare(&self, streams: Vec<(String, Follower)>) {
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = streams.into_iter().collect();
    }

    /// Keeps what has judged the history of one server, until its own model takes over.
    pub(crate) fn prepare_one(&self, instance: &str, stream: Follower) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.insert(instance.to_owned(), stream);
    }

    /// Lets a server be judged by a model of its own from now on; `None` is the shared one.
    pub(crate) fn judge_alone(&self, instance: &str, detector: Option<Arc<Detector>>) {
        let mut own = self.own.write().unwrap_or_else(PoisonError::into_inner);
        match detector {
            Some(detector) => own.insert(instance.to_owned(), detector),
            None => own.remove(instance),
        };
        self.turn.fetch_add(1, Ordering::Release);
        drop(own);
        if let Some(known) = self.servers().get_mut(instance) {
            known.wandered.clear();
        }
    }

    /// Lets the shared model judge all servers.
    pub(crate) fn judge_all_alike(&self) {
        let mut own = self.own.write().unwrap_or_else(PoisonError::into_inner);
        if !own.is_empty() {
            own.clear();
            self.turn.fetch_add(1, Ordering::Release);
        }
    }

    fn is_judged_alone(&self, instance: &str) -> bool {
        self.own.read().unwrap_or_else(PoisonError::into_inner).contains_key(instance)
    }

    /// Takes out the stream of `champion` that has judged the history of a server.
    pub(crate) fn prepared(&self, instance: &str, champion: &Arc<Detector>) -> Option<Follower> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.remove(instance).filter(|stream| Arc::ptr_eq(stream.detector(), champion))
    }

    /// Lets the champion that judges go on by streams that have judged the past of their servers, unless
    /// there is another one by now.
    pub(crate) fn renew(&self, champion: &Arc<Detector>, streams: Vec<(String, Follower)>) {
        let is_champion = |known: &Arc<Detector>| Arc::ptr_eq(known, champion);
        if self.champion().is_some_and(|known| is_champion(&known)) {
            self.prepare(streams);
            self.take_over(Arc::clone(champion));
        }
    }

    /// A generation judges that somebody has just added to the registry.
    pub(crate) fn enrol(&self, generation: u64, champion: &Arc<Detector>) {
        let mut enrolled = self.enrolled.lock().unwrap_or_else(PoisonError::into_inner);
        *enrolled = Some((generation, Arc::clone(champion)));
    }

    /// A generation that judges already; `None` of another one.
    pub(crate) fn enrolled(&self, generation: u64) -> Option<Arc<Detector>> {
        let enrolled = self.enrolled.lock().unwrap_or_else(PoisonError::into_inner);
        let found = enrolled.as_ref().filter(|(number, _)| *number == generation);
        let champion = self.champion()?;
        found.map(|(_, found)| Arc::clone(found)).filter(|found| Arc::ptr_eq(found, &champion))
    }

    /// Holds a model over a reload that was learned from the one with this name.
    pub(crate) fn hold(&self, model_id: &str, model: &Arc<Detector>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some((model_id.to_owned(), Arc::clone(model)));
    }

    /// The model that is held; `None` when it was learned from another one.
    pub(crate) fn held(&self, model_id: &str) -> Option<Arc<Detector>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().filter(|(of, _)| of == model_id).map(|(_, model)| Arc::clone(model))
    }

    /// Offers a model that was calibrated by the past of servers.
    pub(crate) fn offer(&self, model: Arc<Detector>, streams: Vec<(String, Follower)>) {
        *self.offer.lock().unwrap_or_else(PoisonError::into_inner) = Some((model, streams));
    }

    /// Takes what was offered.
    pub(crate) fn take_offer(&self) -> Option<Offer> {
        self.offer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Asks for an update now.
    pub(crate) fn want_update(&self) {
        self.wanted.store(true, Ordering::Release);
    }

    /// Whether one was asked for, once.
    pub(crate) fn take_wanted(&self) -> bool {
        self.wanted.swap(false, Ordering::AcqRel)
    }

    /// Who judges all servers without a model of their own; `None` before anybody was named.
    pub(crate) fn champion(&self) -> Option<Arc<Detector>> {
        self.champion.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who judges a server at a later turn than the one known, with that turn: its own model where it has
    /// one, else the champion. It may be the same as before.
    pub(crate) fn after(&self, instance: &str, known: u64) -> Option<(u64, Arc<Detector>)> {
        if self.turn.load(Ordering::Acquire) == known {
            return None;
        }
        let champion = self.champion.read().unwrap_or_else(PoisonError::into_inner);
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        // Under the locks, so that all belong together.
        let turn = self.turn.load(Ordering::Acquire);
        let judge = own.get(instance).or(champion.as_ref());
        judge.map(|judge| (turn, Arc::clone(judge)))
    }

    fn servers(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server of a job is judged from now on.
    pub(crate) fn follow(&self, instance: &str, job: &str) {
        let known = Known { job: job.to_owned(), wandered: Vec::new() };
        self.servers().insert(instance.to_owned(), known);
    }

    /// A server has gone.
    pub(crate) fn forget(&self, instance: &str) {
        self.servers().remove(instance);
    }

    /// The job of a server that is judged.
    pub(crate) fn job_of(&self, instance: &str) -> Option<String> {
        self.servers().get(instance).map(|known| known.job.clone())
    }

    /// How many servers are judged.
    pub(crate) fn n_followed(&self) -> usize {
        self.servers().len()
    }

    /// Learns from these servers, too, whether or not they are judged.
    pub(crate) fn learn_also(&self, servers: &BTreeSet<String>) {
        servers.clone_into(&mut self.others.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All servers to learn from; those that are not judged have no job.
    pub(crate) fn taught_by(&self) -> Vec<Named> {
        let mut named: BTreeMap<String, String> = self.named().into_iter().collect();
        for other in self.others.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            named.entry(other.clone()).or_default();
        }
        named.into_iter().collect()
    }

    /// All servers, in order of their names.
    pub(crate) fn named(&self) -> Vec<Named> {
        self.servers().iter().map(|(name, known)| (name.clone(), known.job.clone())).collect()
    }

    /// What the stream of a server says of how far its features have wandered.
    pub(crate) fn wandered(&self, instance: &str, wandered: Vec<f32>) {
        if let Some(known) = self.servers().get_mut(instance) {
            known.wandered = wandered;
        }
    }

    /// How far each feature has wandered in the mean over all servers that tell; NaN where none
    /// does, and empty before any has.
    pub(crate) fn drift(&self) -> Vec<f32> {
        let servers = self.servers();
        // What another model says is in other units.
        let shared: Vec<&Known> = servers
            .iter()
            .filter(|(instance, _)| !self.is_judged_alone(instance))
            .map(|(_, known)| known)
            .collect();
        let width = shared.iter().map(|known| known.wandered.len()).max().unwrap_or(0);
        let of = |at: usize| {
            let told = shared.iter().filter_map(|known| known.wandered.get(at).copied());
            let told: Vec<f32> = told.filter(|moved| moved.is_finite()).collect();
            // None of none is NaN.
            told.iter().sum::<f32>() / told.len() as f32
        };
        (0..width).map(of).collect()
    }

    /// How learning stands.
    pub(crate) fn status(&self) -> Status {
        self.lock().clone()
    }

    /// Notes how it stands.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_what_all_servers_have_in_common() {
        let succession = Succession::default();
        assert!(succession.drift().is_empty());
        for (name, wandered) in [("a", [3.0, 1.0, f32::NAN]), ("b", [-3.0, 2.0, f32::NAN])] {
            succession.wandered(name, vec![9.0; 3]);
            succession.follow(name, "dns");
            succession.wandered(name, wandered.to_vec());
        }
        let drift = succession.drift();
        assert_eq!(drift[..2], [0.0, 1.5]);
        assert!(drift[2].is_nan());
        succession.forget("a");
        assert_eq!(succession.drift()[0], -3.0);
        assert_eq!(succession.named(), [("b".to_owned(), "dns".to_owned())]);
        assert!(succession.after("b", 0).is_none());
    }

    #[test]
    fn one_server_is_judged_by_its_own_model_and_the_others_as_before() {
        let (shared, own) = (crate::states::tests::detector(), crate::states::tests::detector());
        let succession = Succession::default();
        succession.judge_alone("a", Some(Arc::clone(&own)));
        assert!(succession.after("b", 0).is_none(), "nobody was named yet");
        succession.take_over(Arc::clone(&shared));
        let judge = |name: &str| succession.after(name, 0).unwrap().1;
        assert!(Arc::ptr_eq(&judge("a"), &own) && Arc::ptr_eq(&judge("b"), &shared));
        for name in ["a", "b"] {
            succession.follow(name, "dns");
        }
        succession.wandered("a", vec![9.0]);
        succession.wandered("b", vec![0.5]);
        assert_eq!(succession.drift(), [0.5]);
        let (turn, _) = succession.after("a", 0).unwrap();
        succession.judge_alone("a", None);
        assert!(Arc::ptr_eq(&succession.after("a", turn).unwrap().1, &shared));
        succession.judge_alone("a", Some(own));
        succession.judge_all_alike();
        assert!(Arc::ptr_eq(&judge("a"), &shared));
    }

    #[test]
    fn a_stream_is_handed_to_its_server_once_and_under_its_champion_alone() {
        let (champion, other) =
            (crate::states::tests::detector(), crate::states::tests::detector());
        let succession = Succession::default();
        let stream =
            |name: &str| (name.to_owned(), Follower::new(Arc::clone(&champion), name.to_owned()));
        succession.prepare(vec![stream("a"), stream("b")]);
        assert!(succession.prepared("a", &champion).is_some());
        assert!(succession.prepared("a", &champion).is_none());
        assert!(succession.prepared("b", &other).is_none());
        succession.prepare(vec![]);
        assert!(succession.prepared("b", &champion).is_none());
    }
}
