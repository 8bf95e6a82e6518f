//! A model of elsewhere arrives at a site: it is calibrated by the first window of rows, and again each
//! time that there are twice as many, until the site has a model of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oddns::{Detector, DetectorError, FEATURES};
use oddns_collect::wall_clock;
use oddns_core::{Frame, Schema, stable_hash};
use oddns_store::{KEPT_GENERATIONS, Promotion, Registry, StoreError, write_atomically};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::event::Event;
use crate::learning::generation_record;
use crate::origin::Origin;
use crate::shared::Shared;
use crate::states::StateFolder;
use crate::view::{ModelInfo, View};
use crate::watch::chain;

/// How often it is looked whether there are enough rows: nobody is judged before the first time.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A model that is calibrated already is looked at less often.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Servers whose rows are taken; of a large fleet the first ones by name.
const MOST_SERVERS: usize = 16;
/// Rows of all of them together: of more, nothing comes but the network from elsewhere.
const MOST_ROWS: usize = 8192;
/// With so many times the rows it is calibrated again.
const GROWTH: usize = 2;
/// Its file in the folder of states.
const FILE: &str = "calibrated-base.keras";
/// Larger files are none of ours.
const MAX_BYTES: u64 = 16 << 20;
/// Who makes generations here.
const BY: &str = "oddns watch, base model";

/// Where a calibrated model is kept over a restart.
#[derive(Debug, Clone)]
pub enum ArrivalPlace {
    /// Among the generations in this folder, where learning goes on from it.
    Registry(PathBuf),
    /// Beside the states of servers; not over a restart where these are in memory.
    States(StateFolder),
}

/// What keeps calibrating the base model; ends when it is dropped.
#[derive(Debug)]
pub struct Arrival {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Arrival {
    /// Begins to bring `base` to the site of `shared`, and gives the model that judges: in a registry
    /// its `champion`, else what is kept of an earlier run or configuration, else `base`, of which
    /// nothing is told until it is calibrated. Needs a runtime of tokio. What fails is told to `events`
    /// once for each cause and tried again.
    pub fn begin(
        base: &Arc<Detector>,
        champion: Arc<Detector>,
        place: ArrivalPlace,
        shared: &Arc<Shared>,
        events: &mpsc::Sender<Event>,
    ) -> (Self, Arc<Detector>) {
        let sha256: Arc<str> = sha256(&base.encode().unwrap_or_default()).into();
        let (judge, origin) = match &place {
            ArrivalPlace::Registry(root) => (champion, origin_in(root, &sha256)),
            ArrivalPlace::States(states) => {
                kept(states, shared).unwrap_or_else(|| (Arc::clone(base), Origin::Elsewhere))
            }
        };
        shared.set_origin(origin);
        let (stop, stopped) = watch::channel(false);
        let newcomer = Newcomer {
            base: Arc::clone(base),
            sha256,
            place,
            shared: Arc::clone(shared),
            events: events.downgrade(),
            told: None,
        };
        (Self { stop, task: tokio::spawn(newcomer.run(stopped)) }, judge)
    }

    /// Ends it, and waits for a calibration that is under way.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        // A panic in it is a calibration that did not take place.
        let _ = self.task.await;
    }
}

/// What was calibrated before: by the configuration before a reload, or by the process before.
fn kept(states: &StateFolder, shared: &Shared) -> Option<(Arc<Detector>, Origin)> {
    let origin = shared.read(View::origin);
    let judge = shared.succession().champion();
    if let (Origin::Calibrated { .. }, Some(judge)) = (origin, judge) {
        return Some((judge, origin));
    }
    let model = read_model(&states.path()?.join(FILE))?;
    let n_rows = model.record().n_rows;
    Some((Arc::new(model), Origin::Calibrated { n_rows }))
}

/// A model of this version's features; anything else is as good as none.
pub(crate) fn read_model(path: &Path) -> Option<Detector> {
    let length = std::fs::metadata(path).ok()?.len();
    let bytes = (length <= MAX_BYTES).then(|| std::fs::read(path).ok()).flatten()?;
    let model = Detector::decode(&bytes).ok()?;
    let names = FEATURES.iter().map(|feature| feature.name.to_owned()).collect();
    model.check_schema(&Schema::new(names)).is_ok().then_some(model)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the champion of a registry is, beside the base model with this hash; the site's own where it
/// cannot be told.
fn origin_in(root: &Path, base: &str) -> Origin {
    Registry::existing(root).map_or(Origin::Site, |registry| origin_of(&registry, base))
}

fn origin_of(registry: &Registry, base: &str) -> Origin {
    let Ok(Some(champion)) = registry.champion() else { return Origin::Site };
    match champion.record {
        record if record.by == BY => Origin::Calibrated { n_rows: record.n_rows },
        record if record.sha256 == base => Origin::Elsewhere,
        _ => Origin::Site,
    }
}

/// What the task holds.
struct Newcomer {
    base: Arc<Detector>,
    /// Of its file.
    sha256: Arc<str>,
    place: ArrivalPlace,
    shared: Arc<Shared>,
    events: mpsc::WeakSender<Event>,
    /// What was last told to fail.
    told: Option<String>,
}

/// Why there is no calibrated model.
#[derive(Debug, thiserror::Error)]
enum Unsettled {
    #[error("the base model cannot be calibrated")]
    Detector(#[source] DetectorError),
    #[error("the calibrated model cannot be kept")]
    Store(#[source] StoreError),
}

impl Newcomer {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            let pause = match self.origin() {
                Origin::Site => return,
                Origin::Elsewhere => LOOK_EVERY,
                Origin::Calibrated { .. } => LOOK_AGAIN,
            };
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = sleep(pause) => {}
            }
            self.look().await;
        }
    }

    fn origin(&self) -> Origin {
        self.shared.read(View::origin)
    }

    async fn look(&mut self) {
        let (base, sha256) = (Arc::clone(&self.base), Arc::clone(&self.sha256));
        let place = self.place.clone();
        if let ArrivalPlace::Registry(root) = place.clone() {
            let sha256 = Arc::clone(&sha256);
            let origin = tokio::task::spawn_blocking(move || origin_in(&root, &sha256)).await;
            // Learning, or a person, may have made another generation the champion.
            self.shared.set_origin(origin.unwrap_or_default());
        }
        let settled = match self.shared.succession().take_offer() {
            Some((model, streams)) if self.origin().is_base() => {
                let work = move || keep(model, &sha256, &place);
                let kept = tokio::task::spawn_blocking(work).await;
                if matches!(kept, Ok(Ok(Some(_)))) {
                    self.shared.succession().prepare(streams);
                }
                kept
            }
            _ => {
                let Some(frames) = self.due() else { return };
                let work = move || calibrate(&base, &sha256, &frames, &place);
                tokio::task::spawn_blocking(work).await
            }
        };
        match settled {
            Ok(Ok(Some(kept))) if self.origin().is_base() => self.take_over(&kept),
            // Not enough rows in a row: there will be. Or the site has a model of its own by now.
            Ok(Ok(_)) => {}
            Ok(Err(error)) => self.tell(chain(&error)),
            Err(_) => self.tell("the base model cannot be calibrated".to_owned()),
        }
    }

    /// The rows to calibrate by, when there are enough.
    fn due(&self) -> Option<Vec<Frame>> {
        let known = match self.origin() {
            Origin::Site => return None,
            Origin::Elsewhere => 0,
            Origin::Calibrated { n_rows } => n_rows,
        };
        if known >= MOST_ROWS / GROWTH {
            return None;
        }
        let chosen = self.shared.change(|view| view.look_closer(MOST_SERVERS));
        let n_rows: usize = chosen.iter().map(|(_, n_rows)| n_rows).sum();
        let longest = chosen.iter().map(|(_, n_rows)| *n_rows).max().unwrap_or(0);
        if longest <= self.base.warm_up_rows() || n_rows < GROWTH * known {
            return None;
        }
        let most = MOST_ROWS / chosen.len().max(1);
        let names = chosen.iter().map(|(name, _)| name);
        Some(self.shared.read(|view| names.map(|name| view.usual_rows(name, most)).collect()))
    }

    fn take_over(&mut self, Calibrated { model, generation }: &Calibrated) {
        self.told = None;
        let n_rows = model.record().n_rows;
        // Whoever sees the new origin finds the new champion: in this order.
        self.shared.set_champion(model);
        if let Some(generation) = generation {
            self.shared.succession().enrol(*generation, model);
        }
        self.shared.set_origin(Origin::Calibrated { n_rows });
        let id = model.encode().map(stable_hash).unwrap_or_default();
        self.shared.set_model(ModelInfo::of(model, format!("{id:016x}")));
        let text = format!("the base model is calibrated by {n_rows} rows of this site");
        self.send(Event::Notice { time: wall_clock(), text });
    }

    fn tell(&mut self, text: String) {
        if self.told.as_ref() != Some(&text) {
            self.told = Some(text.clone());
            self.send(Event::Warning { time: wall_clock(), text });
        }
    }

    fn send(&self, event: Event) {
        let Some(events) = self.events.upgrade() else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = events.try_send(event) {
            self.shared.metrics().event_dropped();
        }
    }
}

/// The base model at the site, where it is kept.
struct Calibrated {
    model: Arc<Detector>,
    /// In a registry.
    generation: Option<u64>,
}

/// The base model at the site, kept where it belongs; `None` while too few rows lie in a row.
fn calibrate(
    base: &Detector,
    sha256: &str,
    frames: &[Frame],
    place: &ArrivalPlace,
) -> Result<Option<Calibrated>, Unsettled> {
    let frames: Vec<&Frame> = frames.iter().filter(|frame| !frame.is_empty()).collect();
    let model = match base.calibrate(&frames) {
        Ok(model) => model,
        Err(DetectorError::TooShort { .. }) => return Ok(None),
        Err(error) => return Err(Unsettled::Detector(error)),
    };
    keep(Arc::new(model), sha256, place)
}

/// Keeps a calibrated model where it belongs; `None` when the site has got one of its own meanwhile.
fn keep(
    model: Arc<Detector>,
    sha256: &str,
    place: &ArrivalPlace,
) -> Result<Option<Calibrated>, Unsettled> {
    let bytes = model.encode().map_err(Unsettled::Detector)?;
    let generation = match place {
        ArrivalPlace::Registry(root) => {
            let enrolled = enrol(root, sha256, &bytes, &model).map_err(Unsettled::Store)?;
            let Some(generation) = enrolled else { return Ok(None) };
            Some(generation)
        }
        ArrivalPlace::States(states) => {
            if let Some(folder) = states.path() {
                write_atomically(&folder.join(FILE), &bytes).map_err(Unsettled::Store)?;
            }
            None
        }
    };
    Ok(Some(Calibrated { model, generation }))
}

/// Makes it the champion, and gives its number; `None` when the site has got a model of its own
/// meanwhile.
fn enrol(
    root: &Path,
    base: &str,
    bytes: &[u8],
    model: &Detector,
) -> Result<Option<u64>, StoreError> {
    let registry = Registry::open(root)?;
    if origin_of(&registry, base) == Origin::Site {
        return Ok(None);
    }
    let now = wall_clock();
    let mut record = generation_record(bytes, model, BY.to_owned(), now);
    record.parent = registry.champion()?.map(|champion| champion.number);
    let generation = registry.add(bytes, &record)?;
    let reason = format!("calibrated by {} rows of this site", model.record().n_rows);
    registry.promote(Promotion { generation, at: now, by: BY.to_owned(), reason })?;
    registry.prune(KEPT_GENERATIONS)?;
    Ok(Some(generation))
}
