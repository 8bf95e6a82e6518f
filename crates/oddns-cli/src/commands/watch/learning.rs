//! Going on learning while the service runs.

use std::sync::Arc;

use oddns::Detector;
use oddns_collect::wall_clock;
use oddns_serve::{Event, Learning, LearningSite};

use super::World;
use super::setup::Setup;
use crate::{generations, model_file};

/// A model, and what tells it from others.
pub(super) type Named = (Arc<Detector>, String);

/// Begins to learn where there is a history to learn from, and gives the model that judges. Without one
/// that is what a backfill has learned, if so, or the one that was named; without a place for models it is
/// that one as well, which is told.
pub(super) fn begin(world: &World<'_>, setup: &Setup) -> anyhow::Result<(Option<Learning>, Named)> {
    let named = (setup.model.clone(), setup.model_id.clone());
    let storage = world.args.storage_path.clone().filter(|_| setup.learning.enabled);
    let Some(storage) = storage else {
        world.shared.judge_all_alike();
        let judge = match learned(world, setup) {
            Some(model) => (Arc::clone(&model), model_file::id(&model)?),
            None => named,
        };
        return Ok((None, judge));
    };
    let settings = setup.learning.clone();
    let injections = generations::fault_suite();
    let site = LearningSite { settings, is_base: setup.is_base, storage, injections };
    match Learning::begin(site, &setup.model, &world.shared, &world.events) {
        Ok((learning, champion)) => {
            let id = model_file::id(&champion)?;
            Ok((Some(learning), (champion, id)))
        }
        Err(error) => {
            let text = format!("the model is not updated: {:#}", anyhow::Error::new(error));
            let text = text.chars().filter(|c| !c.is_control()).collect();
            let _ = world.events.try_send(Event::Warning { time: wall_clock(), text });
            Ok((None, named))
        }
    }
}

/// What a backfill has learned from the model that the configuration comes to, in a watch without history.
pub(super) fn learned(world: &World<'_>, setup: &Setup) -> Option<Arc<Detector>> {
    let may_judge = setup.learning.enabled && world.storage.is_none();
    may_judge.then(|| world.shared.learned_from(&setup.model_id, &world.states))?
}
