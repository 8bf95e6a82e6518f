//! Models of single servers, where the shared one fits them badly: which there are, and which is to be
//! made or updated next.

use std::collections::BTreeMap;
use std::sync::Arc;

use oddns::{Detector, FEWEST_SERVERS, FitHistory, Follower, Middle, middle_of_fleet, misfit};
use oddns_core::Timestamp;
use oddns_store::{Registry, StoreError};

use super::diary::Diary;
use super::fits::{Fit, Fits};
use super::lesson::BY;
use super::status::{FitStatus, OwnStatus};
use super::teacher::load;
use crate::watch::chain;

/// A server that nobody has followed for so long has no model of its own any more: 30 days.
const FORGOTTEN_SECONDS: f64 = 30.0 * 86_400.0;
/// Servers whose fit is told, the worst, beside those with a model of their own.
const MOST_TOLD: usize = 20;

/// A server with a registry of its own.
struct Own {
    registry: Registry,
    diary: Diary,
    /// Who judges it, of its own generations.
    champion: Option<(u64, Arc<Detector>)>,
    /// A champion that cannot judge, which was told.
    refused: Option<u64>,
}

/// All of them.
pub(super) struct OwnModels {
    /// Of the shared model; theirs are below it.
    shared: Registry,
    /// So many servers have one at most.
    most: usize,
    servers: BTreeMap<String, Own>,
    fits: Fits,
    /// A generation that was made here, with the stream of it that has judged the history of its server.
    ready: Option<(String, u64, Follower)>,
}

/// Somebody else judges a server from now on.
pub(super) struct Change {
    pub(super) instance: String,
    /// `None` is the shared model.
    pub(super) judge: Option<Arc<Detector>>,
    pub(super) stream: Option<Follower>,
    /// For people.
    pub(super) text: String,
}

/// A lesson of one server that is due.
pub(super) struct Due {
    pub(super) instance: String,
    pub(super) registry: Registry,
    /// Its champion; `None` where the shared model is to be gone on from.
    pub(super) champion: Option<(u64, Arc<Detector>)>,
}

impl OwnModels {
    /// What is in the folders; nothing where `most` is 0.
    pub(super) fn open(shared: Registry, most: usize, now: Timestamp) -> Self {
        let fits = Fits::read(shared.root());
        let mut own = Self { shared, most, servers: BTreeMap::new(), fits, ready: None };
        let instances = own.shared.own_instances().unwrap_or_default();
        for instance in instances.into_iter().filter(|_| most > 0) {
            // What cannot be read judges nobody, and stays where it is.
            let _ = own.enter(&instance, now);
        }
        own
    }

    fn enter(&mut self, instance: &str, now: Timestamp) -> Result<(), StoreError> {
        if !self.servers.contains_key(instance) {
            let registry = self.shared.open_own(instance)?;
            let diary = Diary::read(registry.root()).unwrap_or_else(|| Diary::new(now));
            let own = Own { registry, diary, champion: None, refused: None };
            self.servers.insert(instance.to_owned(), own);
        }
        Ok(())
    }

    /// Whether a model of its own judges a server.
    pub(super) fn has(&self, instance: &str) -> bool {
        self.servers.get(instance).is_some_and(|own| own.champion.is_some())
    }

    fn n_judging(&self) -> usize {
        self.servers.values().filter(|own| own.champion.is_some()).count()
    }

    /// Who judges other servers than before by what the registries say, whoever changed them.
    pub(super) fn look(&mut self) -> Vec<Change> {
        let mut found = Vec::new();
        for (instance, own) in &mut self.servers {
            // What cannot be read now is looked at again soon.
            let Ok(champion) = own.registry.champion() else { continue };
            let number = champion.map(|champion| champion.number);
            let known = own.champion.as_ref().map(|champion| champion.0);
            if number == known || (number.is_some() && number == own.refused) {
                continue;
            }
            let ready = self.ready.take_if(|(of, made, _)| of == instance && number == Some(*made));
            found.push(own.follow(instance, number, ready.map(|(_, _, stream)| stream)));
            if number.is_none() {
                // Whoever sends it back has said that the shared model fits.
                let fit = self.fits.servers.entry(instance.clone()).or_default();
                fit.history = FitHistory::default();
            }
        }
        found
    }

    /// Takes in what an update of the shared model has found of the servers; `followed` are all that are
    /// watched. Gives what is to be told.
    pub(super) fn take(
        &mut self,
        middles: &[Middle],
        followed: &[String],
        now: Timestamp,
    ) -> Vec<String> {
        let is_shared = |middle: &&Middle| !self.has(&middle.instance);
        let shared: Vec<Middle> = middles.iter().filter(is_shared).cloned().collect();
        let Some(fleet) = middle_of_fleet(&shared) else { return self.forget(followed, now) };
        for middle in middles {
            let fit = self.fits.servers.entry(middle.instance.clone()).or_default();
            fit.misfit = Some(misfit(middle.score, fleet));
            let has_own = self.servers.get(&middle.instance).is_some_and(|o| o.champion.is_some());
            // Of two servers nobody knows which is unlike the other.
            if has_own || shared.len() >= FEWEST_SERVERS {
                fit.history.take(misfit(middle.score, fleet));
            }
        }
        let mut told = self.send_back(now);
        told.extend(self.forget(followed, now));
        told
    }

    /// Lets the shared model judge again what it fits.
    fn send_back(&mut self, now: Timestamp) -> Vec<String> {
        let mut told = Vec::new();
        for (instance, own) in &self.servers {
            let Some(fit) = self.fits.servers.get(instance) else { continue };
            if own.champion.is_none() || !fit.history.needs_none() {
                continue;
            }
            let reason = format!(
                "the shared model fits again, misfit {:.3}",
                fit.misfit.unwrap_or_default()
            );
            if let Err(error) = own.registry.dismiss(now, BY, &reason) {
                told.push(format!("`{instance}` keeps its own model: {}", chain(&error)));
            }
        }
        told
    }

    /// Lets go of servers that have gone long ago, and writes down what is known.
    fn forget(&mut self, followed: &[String], now: Timestamp) -> Vec<String> {
        for instance in followed {
            self.fits.servers.entry(instance.clone()).or_default().seen(now);
        }
        let mut told = Vec::new();
        for instance in self.fits.gone(now, FORGOTTEN_SECONDS) {
            self.fits.servers.remove(&instance);
            if self.servers.remove(&instance).is_none() {
                continue;
            }
            match self.shared.remove_own(&instance) {
                Ok(()) => told.push(format!("the model of `{instance}`, long gone, is removed")),
                Err(error) => told.push(chain(&error)),
            }
        }
        if let Err(error) = self.fits.write(self.shared.root()) {
            told.push(chain(&error));
        }
        told
    }

    /// The lesson that has waited the longest: of a server with a model of its own, or of the one that
    /// the shared model fits worst, where there is room for another model. `unfinished` says whether
    /// what did not end may be begun anew already.
    pub(super) fn due(
        &mut self,
        followed: &[String],
        now: Timestamp,
        interval_seconds: f64,
        unfinished: bool,
    ) -> Option<Due> {
        let has_room = self.n_judging() < self.most;
        let mut wanted: Vec<(bool, f32, String)> = Vec::new();
        for instance in followed.iter().filter(|_| self.most > 0) {
            let fit = self.fits.servers.get(instance);
            let needs = has_room && fit.is_some_and(|fit| fit.history.needs_own());
            if !self.has(instance) && !needs {
                continue;
            }
            let waits = self
                .servers
                .get_mut(instance)
                .is_some_and(|own| !own.is_due(now, interval_seconds, unfinished));
            if !waits {
                let misfit = fit.and_then(|fit| fit.misfit).unwrap_or_default();
                wanted.push((self.has(instance), misfit, instance.clone()));
            }
        }
        wanted.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)));
        let (_, _, instance) = wanted.into_iter().next()?;
        self.enter(&instance, now).ok()?;
        let own = self.servers.get(&instance)?;
        let (registry, champion) = (own.registry.clone(), own.champion.clone());
        Some(Due { instance, registry, champion })
    }

    /// What a server's own lessons remember.
    pub(super) fn diary(&mut self, instance: &str) -> Option<(&mut Diary, &Registry)> {
        self.servers.get_mut(instance).map(|own| (&mut own.diary, &own.registry))
    }

    /// Keeps a stream of a generation until it takes over.
    pub(super) fn prepare(&mut self, instance: &str, generation: u64, stream: Follower) {
        self.ready = Some((instance.to_owned(), generation, stream));
    }

    /// How well the shared model fits: servers with a model of their own, and the worst others.
    pub(super) fn status(&self) -> Vec<FitStatus> {
        let mut found: Vec<FitStatus> = Vec::new();
        for (instance, fit) in &self.fits.servers {
            let own = self.servers.get(instance).and_then(Own::status);
            if own.is_some() || fit.misfit.is_some() {
                found.push(FitStatus { instance: instance.clone(), misfit: fit.misfit, own });
            }
        }
        let misfit = |fit: &FitStatus| fit.misfit.unwrap_or_default();
        found.sort_by(|a, b| {
            b.own.is_some().cmp(&a.own.is_some()).then(misfit(b).total_cmp(&misfit(a)))
        });
        found.truncate(self.n_judging() + MOST_TOLD);
        found
    }
}

impl Own {
    /// Whether its next lesson is due.
    fn is_due(&mut self, now: Timestamp, interval_seconds: f64, unfinished: bool) -> bool {
        let begins_anew = unfinished && self.diary.is_unfinished();
        let waited = self.diary.seconds_since(now);
        begins_anew || self.diary.is_untried() || waited >= interval_seconds
    }

    /// Goes on with another champion of the registry.
    fn follow(&mut self, instance: &str, number: Option<u64>, stream: Option<Follower>) -> Change {
        let (text, stream) = match number.map(|number| (number, load(&self.registry, number))) {
            None => {
                (self.champion, self.refused) = (None, None);
                (format!("the shared model judges `{instance}` again"), None)
            }
            Some((number, Ok(loaded))) => {
                let champion = stream.as_ref().map_or(loaded, |own| Arc::clone(own.detector()));
                (self.champion, self.refused) = (Some((number, champion)), None);
                let text =
                    format!("generation {number} of its own judges `{instance}` from now on");
                (text, stream)
            }
            Some((number, Err(why))) => {
                self.refused = Some(number);
                (format!("generation {number} of `{instance}` cannot take over: {why}"), None)
            }
        };
        let judge = self.champion.as_ref().map(|champion| Arc::clone(&champion.1));
        Change { instance: instance.to_owned(), judge, stream, text }
    }

    /// `None` of a server that the shared model judges.
    fn status(&self) -> Option<OwnStatus> {
        let (generation, _) = self.champion.as_ref()?;
        let promotion = self.registry.history().ok()?.pop()?;
        Some(OwnStatus {
            generation: *generation,
            since: promotion.at,
            by: promotion.by,
            reason: promotion.reason,
        })
    }
}

impl Fit {
    /// The server is there.
    fn seen(&mut self, now: Timestamp) {
        self.seen_millis = now.millis();
    }
}

#[cfg(test)]
mod tests {
    use oddns_store::{GenerationRecord, Promotion};

    use super::*;

    fn at(days: f64) -> Timestamp {
        Timestamp::from_millis((days * 86_400_000.0) as i64)
    }

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|at| format!("dns-{at}")).collect()
    }

    fn middles(scores: &[f32]) -> Vec<Middle> {
        let each = names(scores.len()).into_iter().zip(scores);
        each.map(|(instance, score)| Middle { instance, score: *score }).collect()
    }

    fn new(most: usize) -> (tempfile::TempDir, OwnModels) {
        let folder = tempfile::tempdir().unwrap();
        let shared = Registry::open(folder.path()).unwrap();
        let own = OwnModels::open(shared, most, at(0.0));
        (folder, own)
    }

    fn due(own: &mut OwnModels, n: usize, days: f64) -> Option<String> {
        own.due(&names(n), at(days), 86_400.0, true).map(|due| due.instance)
    }

    fn promoted(own: &OwnModels, instance: &str, days: f64) {
        let registry = own.shared.open_own(instance).unwrap();
        let bytes = crate::states::tests::detector().encode().unwrap();
        let generation = registry.add(&bytes, &GenerationRecord::of(&bytes, at(days))).unwrap();
        let (by, reason) = (BY.to_owned(), "passed the gate".to_owned());
        registry.promote(Promotion { generation, at: at(days), by, reason }).unwrap();
    }

    #[test]
    fn nobody_of_a_fleet_alike_and_exactly_the_one_that_is_unlike() {
        let (_folder, mut own) = new(8);
        for days in [1.0, 2.0, 3.0] {
            own.take(&middles(&[0.40, 0.41, 0.40, 0.39]), &names(4), at(days));
        }
        assert_eq!(due(&mut own, 4, 3.0), None);
        own.take(&middles(&[0.40, 0.41, 0.52, 0.39]), &names(4), at(4.0));
        assert_eq!(due(&mut own, 4, 4.0), None, "once is chance");
        own.take(&middles(&[0.40, 0.41, 0.52, 0.39]), &names(4), at(5.0));
        assert_eq!(due(&mut own, 4, 5.0).unwrap(), "dns-2");
        // It is gone when nobody follows it.
        assert_eq!(due(&mut own, 2, 5.0), None);
        let (_folder, mut two) = new(8);
        for days in [1.0, 2.0, 3.0] {
            two.take(&middles(&[0.40, 0.80]), &names(2), at(days));
        }
        assert_eq!(due(&mut two, 2, 3.0), None);
    }

    #[test]
    fn there_are_no_more_than_were_allowed_and_the_worst_is_the_first() {
        let scores = middles(&[0.40, 0.40, 0.40, 0.40, 0.60, 0.90]);
        let (_folder, mut none) = new(0);
        let (_folder, mut one) = new(1);
        for days in [1.0, 2.0] {
            none.take(&scores, &names(6), at(days));
            one.take(&scores, &names(6), at(days));
        }
        assert_eq!(due(&mut none, 6, 2.0), None);
        assert_eq!(due(&mut one, 6, 2.0).unwrap(), "dns-5");
        promoted(&one, "dns-5", 2.0);
        let changes = one.look();
        assert_eq!((changes.len(), changes[0].instance.as_str()), (1, "dns-5"));
        assert!(changes[0].judge.is_some() && one.has("dns-5") && one.look().is_empty());
        one.diary("dns-5").unwrap().0.begin(at(2.0));
        assert_eq!(due(&mut one, 6, 2.0).unwrap(), "dns-5", "a crash is tried again");
        assert_eq!(one.status()[0].own.as_ref().unwrap().generation, 1);
    }

    #[test]
    fn it_goes_back_when_the_shared_model_fits_and_is_let_go_when_its_server_is() {
        let (folder, mut own) = new(8);
        let odd = middles(&[0.40, 0.41, 0.80]);
        own.take(&odd, &names(3), at(1.0));
        own.take(&odd, &names(3), at(2.0));
        assert_eq!(due(&mut own, 3, 2.0).unwrap(), "dns-2");
        promoted(&own, "dns-2", 2.0);
        assert_eq!(own.look().len(), 1);
        // A restart in between.
        drop(own);
        let shared = Registry::open(folder.path()).unwrap();
        let mut own = OwnModels::open(shared, 8, at(2.5));
        assert_eq!(own.look().len(), 1);
        for days in [3.0, 4.0] {
            assert!(own.look().is_empty() && own.has("dns-2"));
            own.take(&middles(&[0.40, 0.41, 0.41]), &names(3), at(days));
        }
        let changes = own.look();
        assert!(changes[0].judge.is_none() && changes[0].text.contains("the shared model"));
        assert!(!own.has("dns-2"));
        // By hand, to the one it had: and it goes on.
        own.shared.existing_own("dns-2").unwrap().rollback(at(4.5), "me").unwrap();
        assert!(own.look()[0].judge.is_some());
        own.take(&odd, &names(2), at(33.0));
        assert!(own.has("dns-2"));
        let told = own.take(&odd, &names(2), at(35.0));
        assert!(told[0].contains("`dns-2`"), "{told:?}");
        assert!(!own.has("dns-2") && own.shared.own_instances().unwrap().is_empty());
    }

    #[test]
    fn a_model_that_was_swapped_judges_nobody() {
        let (folder, mut own) = new(8);
        own.take(&middles(&[0.4, 0.4, 0.9]), &names(3), at(1.0));
        own.take(&middles(&[0.4, 0.4, 0.9]), &names(3), at(2.0));
        due(&mut own, 3, 2.0).unwrap();
        promoted(&own, "dns-2", 2.0);
        let root = own.shared.existing_own("dns-2").unwrap().root().join("generation-000001");
        std::fs::write(root.join("model.keras"), b"other").unwrap();
        let changes = own.look();
        assert!(changes[0].judge.is_none() && changes[0].text.contains("SHA-256"));
        assert!(!own.has("dns-2") && own.look().is_empty());
        drop(folder);
    }
}
