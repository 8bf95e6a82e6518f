//! Beginning with what a Prometheus remembers.

use std::path::PathBuf;
use std::sync::Arc;

use oddns_collect::{Auth, HttpConfig, Secret, SecretSource, SeriesChoice, wall_clock};
use oddns_serve::{
    Backfill, BackfillSettings, BackfillSite, BackfillTraining, Event, LearningOnce,
};

use super::World;
use super::setup::Setup;
use crate::args::BackfillArgs;
use crate::generations;

/// What the command line says; `None` when it names no Prometheus.
pub(super) fn named(args: &BackfillArgs) -> Option<BackfillSettings> {
    let server = args.url.clone()?;
    let file = |path: &PathBuf| SecretSource::File(path.clone());
    let token = args
        .bearer_token_file
        .as_ref()
        .map(|path| Auth::Token { scheme: "Bearer".to_owned(), credentials: file(path) });
    let basic = args.username.as_ref().map(|name| Auth::Basic {
        username: SecretSource::Inline(Secret::new(name)),
        password: args.password_file.as_ref().map(file),
    });
    Some(BackfillSettings {
        http: HttpConfig { auth: token.or(basic), ..HttpConfig::default() },
        look_back: args.look_back,
        series: SeriesChoice::Jobs(args.jobs.clone()),
        ..BackfillSettings::of(server)
    })
}

/// Begins to fetch, where a Prometheus is named. The watch goes on without it when that cannot be.
pub(super) fn begin(world: &World<'_>, setup: &Setup, learns: bool) -> Option<Backfill> {
    let settings = setup.backfill.clone()?;
    let root = world.args.storage_path.clone();
    let site = BackfillSite {
        settings,
        kept: world.storage.as_ref().map(Arc::clone).zip(root),
        kept_for: world.args.retention.time,
        interval: setup.interval,
        base: setup.is_base.then(|| Arc::clone(&setup.model)),
        training: training(world, setup, learns),
        cpu_share: setup.learning.cpu_share,
    };
    match Backfill::begin(site, &world.shared, &world.events) {
        Ok(backfill) => backfill,
        Err(error) => {
            let text = format!("history is not fetched, there is no thread for it: {error}");
            let _ = world.events.try_send(Event::Warning { time: wall_clock(), text });
            None
        }
    }
}

fn training(world: &World<'_>, setup: &Setup, learns: bool) -> BackfillTraining {
    match (setup.learning.enabled, &world.storage) {
        (false, _) => BackfillTraining::Not("`learning` is not `enabled`"),
        (true, Some(_)) if learns => BackfillTraining::GoesOn,
        (true, Some(_)) => BackfillTraining::Not("the folder of models cannot be used"),
        (true, None) => BackfillTraining::Once(LearningOnce {
            settings: setup.learning.clone(),
            injections: generations::fault_suite(),
            model_id: setup.model_id.clone(),
            states: world.states.clone(),
        }),
    }
}
