//! What the configuration file and the command line come to.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use oddns::{Detector, FEATURES};
use oddns_collect::{Job, JobConfig, Target};
use oddns_core::{Labels, Schema};
use oddns_serve::{
    AlertBudget, AlertingConfig, BackfillSettings, Config, DEFAULT_LISTEN_ADDRESS,
    DEFAULT_SCRAPE_INTERVAL, DEFAULT_SCRAPE_TIMEOUT, LearningSettings, ReceiverSettings,
    RemoteWriteConfig, ServeError,
};

use crate::args::Watch;
use crate::commands::check_config;
use crate::exit::BadUse;
use crate::{base, model_file};

/// What a reload may change, and where to listen, which it may not.
pub(super) struct Setup {
    pub(super) jobs: Vec<Arc<Job>>,
    /// How to take remote writes, if at all.
    pub(super) receiver: Option<ReceiverSettings>,
    pub(super) model: Arc<Detector>,
    /// Whether nobody named it: it came with the program.
    pub(super) is_base: bool,
    pub(super) model_id: String,
    pub(super) alerting: AlertingConfig,
    /// Whom to give scores to.
    pub(super) remote_write: Vec<RemoteWriteConfig>,
    pub(super) learning: LearningSettings,
    /// Whose history to begin with.
    pub(super) backfill: Option<BackfillSettings>,
    /// Time between scrapes, of the first job where several differ.
    pub(super) interval: Duration,
    /// False alerts that the fleet may have; as the model was trained for when `None`.
    pub(super) alert_budget: Option<AlertBudget>,
    pub(super) external_labels: Labels,
    pub(super) listen_address: SocketAddr,
}

impl Setup {
    /// Reads and checks everything, and begins nothing.
    pub(super) fn read(args: &Watch) -> anyhow::Result<Self> {
        let config = args.config_file.as_deref().map(check_config::read).transpose()?;
        let written = config.as_ref().and_then(|config| config.model.clone());
        let named = args.model.clone().or(written);
        let is_base = named.is_none();
        let model = match named {
            Some(path) => read_model(&path)?,
            None => base::nearest(interval(args, config.as_ref()))?,
        };
        check_distinct(args.targets.iter())?;
        let jobs = match &config {
            Some(config) => config.jobs.clone(),
            None => jobs(args, &model),
        };
        let has_targets = jobs.iter().any(|job| !job.discoveries.is_empty());
        let receiver = config.as_ref().and_then(|config| config.receiver.clone());
        let receiver =
            receiver.or_else(|| args.enable_remote_write_receiver.then(Default::default));
        if !has_targets && receiver.is_none() {
            return Err(BadUse(ServeError::NoTargets.to_string()).into());
        }
        let jobs: Vec<Arc<Job>> = jobs.into_iter().map(Job::new).collect();
        let written = config.as_ref().map_or(DEFAULT_LISTEN_ADDRESS, |c| c.listen_address);
        let listen_address = args.listen_address.unwrap_or(written);
        let model_id = model_file::id(&model)?;
        let learning = config.as_ref().map(|c| c.learning.clone()).unwrap_or_default();
        let written = config.as_ref().and_then(|config| config.backfill.clone());
        let backfill = super::backfill::named(&args.backfill).or(written);
        let interval = jobs.first().map_or(DEFAULT_SCRAPE_INTERVAL, |job| job.config().interval);
        let alert_budget = config.as_ref().and_then(|config| config.alert_budget);
        let (alerting, remote_write, external_labels) =
            config.map(|c| (c.alerting, c.remote_write, c.external_labels)).unwrap_or_default();
        Ok(Self {
            jobs,
            receiver,
            model,
            is_base,
            model_id,
            alerting,
            remote_write,
            learning,
            backfill,
            interval,
            alert_budget,
            external_labels,
            listen_address,
        })
    }
}

/// Refuses a model of other features before anything is said to be watched.
fn read_model(path: &Path) -> anyhow::Result<Arc<Detector>> {
    let model = model_file::read(path)?;
    let names = FEATURES.iter().map(|feature| feature.name.to_owned()).collect();
    model.check_schema(&Schema::new(names)).with_context(|| format!("`{}`", path.display()))?;
    Ok(model)
}

/// How often there will be scrapes: as the first job has it, where several differ.
fn interval(args: &Watch, config: Option<&Config>) -> Duration {
    let first = config.and_then(|config| config.jobs.first()).map(|job| job.interval);
    let by_hand = (!args.targets.is_empty()).then_some(base::BY_HAND);
    first.or(args.every).or(by_hand).unwrap_or(DEFAULT_SCRAPE_INTERVAL)
}

/// Refuses a target given twice: the scrapes of both would mix under one name.
pub(crate) fn check_distinct<'a>(targets: impl Iterator<Item = &'a Target>) -> Result<(), BadUse> {
    let mut seen = HashSet::new();
    for target in targets {
        let instance = target.instance();
        if !seen.insert(instance.clone()) {
            let message =
                format!("target `{instance}` is given twice: give each host and port once");
            return Err(BadUse(message));
        }
    }
    Ok(())
}

/// Targets of the command line, scraped as often as the model's data was. They are one job to the
/// judge: it goes by the name.
fn jobs(args: &Watch, model: &Detector) -> Vec<JobConfig> {
    let learned = f64::from(model.record().interval_seconds);
    let learned = Duration::try_from_secs_f64((learned * 1000.0).round() / 1000.0);
    let learned = learned.ok().filter(|interval| !interval.is_zero());
    let interval = args.every.or(learned).unwrap_or(DEFAULT_SCRAPE_INTERVAL);
    let job = |target| JobConfig {
        interval,
        timeout: DEFAULT_SCRAPE_TIMEOUT.min(interval),
        ..JobConfig::of_target("command-line", target)
    };
    args.targets.iter().map(job).collect()
}
