//! A base model on its way to being the site's.

use oddns_serve::{Arrival, ArrivalPlace, Origin};

use super::World;
use super::learning::Named;
use super::setup::Setup;
use crate::model_file;

/// Begins to calibrate the base model, where no other was named, and gives the model that judges.
/// `champion` is whoever would without this; it comes from a registry when the watch `learns`.
pub(super) fn begin(
    world: &World<'_>,
    setup: &Setup,
    (champion, id): Named,
    learns: bool,
) -> anyhow::Result<(Option<Arrival>, Named)> {
    if !setup.is_base || super::learning::learned(world, setup).is_some() {
        world.shared.set_origin(Origin::Site);
        return Ok((None, (champion, id)));
    }
    let place = match &world.args.storage_path {
        Some(storage) if learns => ArrivalPlace::Registry(setup.learning.registry_of(storage)),
        _ => ArrivalPlace::States(world.states.clone()),
    };
    let World { shared, events, .. } = world;
    let (arrival, judge) = Arrival::begin(&setup.model, champion, place, shared, events);
    let id = model_file::id(&judge)?;
    Ok((Some(arrival), (judge, id)))
}
