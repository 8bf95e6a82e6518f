//! One update from rows that are held in memory, where no history is kept to go on learning from.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use oddns::{Detector, Injection};
use oddns_collect::wall_clock;
use oddns_core::stable_hash;
use oddns_store::{Promotion, write_atomically};

use super::lesson::{BY, Class, Lesson};
use super::pacer::worked;
use super::past::Rows;
use super::settings::LearningSettings;
use super::status::Ending;
use super::teacher::{outcome, told, unharmed};
use crate::arrival::read_model;
use crate::event::Event;
use crate::origin::Origin;
use crate::shared::Shared;
use crate::states::StateFolder;
use crate::view::ModelInfo;
use crate::watch::chain;

/// An update that is made once. Its model judges until the process ends, and longer where states are
/// kept: it belongs to the model that it set out from.
#[derive(Debug, Clone)]
pub struct LearningOnce {
    /// What was chosen.
    pub settings: LearningSettings,
    /// The fault suite of the gate.
    pub injections: Vec<Injection>,
    /// What tells the model that the configuration comes to from others.
    pub model_id: String,
    /// Where the states of servers are kept.
    pub states: StateFolder,
}

impl LearningOnce {
    /// Updates the model that judges by `rows`, tries the result at the gate and lets it judge. Gives what
    /// is to be told, and for how long there is a model or why there is none; `None` when `rest`, which is
    /// called between pieces of work, said to end.
    pub(crate) fn learn(
        &self,
        rows: Rows,
        shared: &Shared,
        rest: &dyn Fn() -> ControlFlow<()>,
    ) -> Option<(Event, String)> {
        let (now, succession) = (wall_clock(), shared.succession());
        let champion = succession.champion()?;
        succession.note(|status| status.active_since = Some(now));
        let (start, worked_before) = (Instant::now(), worked());
        let lesson = Lesson {
            settings: &self.settings,
            registry: None,
            champion: (None, &champion),
            class: Class::Fleet { apart: &|_| false },
            feedback: shared.feedback().all(),
            injections: &self.injections,
            now,
            rest,
        };
        let learned = unharmed(&lesson, || Ok(rows));
        succession.note(|status| status.active_since = None);
        let mut learned = learned?;
        let streams = std::mem::take(&mut learned.streams);
        let outcome = outcome(learned, start, worked_before);
        let model = streams.first().map(|(_, stream)| Arc::clone(stream.detector()));
        let words = match model.filter(|_| outcome.ending == Ending::Promoted) {
            None => format!("no model of the site's own yet: {}", outcome.reason),
            Some(model) => {
                succession.prepare(streams);
                self.take_over(&model, shared, &outcome.reason);
                self.keep(&model)
            }
        };
        let event = told(&outcome);
        succession.note(|status| status.end(outcome));
        Some((event, words))
    }

    fn take_over(&self, model: &Arc<Detector>, shared: &Shared, reason: &str) {
        let (at, by) = (wall_clock(), BY.to_owned());
        // No registry counts it.
        let promotion = Promotion { generation: 0, at, by, reason: reason.to_owned() };
        shared.succession().note(|status| {
            status.n_rows = model.record().n_rows;
            status.promotion = Some(promotion);
        });
        shared.succession().hold(&self.model_id, model);
        shared.set_champion(model);
        shared.set_origin(Origin::Site);
        let id = stable_hash(model.encode().unwrap_or_default());
        shared.set_model(ModelInfo::of(model, format!("{id:016x}")));
    }

    /// Keeps a model over a restart where there is a place for it. Says what became of that.
    fn keep(&self, model: &Detector) -> String {
        let Some(path) = file(&self.states, &self.model_id) else {
            return "the model ends with this process: `--storage.path` keeps it and goes on learning"
                .to_owned();
        };
        let bytes = model.encode().unwrap_or_default();
        match write_atomically(&path, &bytes) {
            Ok(()) => format!("the model is kept in `{}`", path.display()),
            Err(error) => format!("the model ends with this process: {}", chain(&error)),
        }
    }
}

/// The site's own model that was learned once from the model with this name, by this process or an
/// earlier one; `None` where there is none.
pub(crate) fn learned_from(
    model_id: &str,
    shared: &Shared,
    states: &StateFolder,
) -> Option<Arc<Detector>> {
    let succession = shared.succession();
    if succession.held(model_id).is_none() {
        let kept = Arc::new(read_model(&file(states, model_id)?)?);
        succession.hold(model_id, &kept);
    }
    succession.held(model_id)
}

fn file(states: &StateFolder, model_id: &str) -> Option<PathBuf> {
    Some(states.path()?.join(format!("site-of-{model_id}.keras")))
}
