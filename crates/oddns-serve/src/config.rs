//! The configuration file: what the user writes, checked, and what the service needs.
//!
//! Prometheus's idiom where it has one. Checking is pure: no file, environment or network.

mod alerting;
mod backfill;
mod budget;
mod discovery;
mod environment;
mod files;
mod http;
mod keys;
mod kubernetes;
mod learning;
mod mistake;
mod outline;
mod relabel;
mod remote_write;
mod review;
mod scrape;
mod web_file;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oddns_collect::{Discovery, JobConfig, MAX_TARGETS};
use oddns_core::Labels;
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::alerts::AlertingConfig;
use crate::backfill::BackfillSettings;
use crate::budget::AlertBudget;
use crate::learning::LearningSettings;
use crate::receive::ReceiverSettings;
use crate::remote_storage::RemoteWriteConfig;
use alerting::WrittenAlerting;
use backfill::WrittenBackfill;
use budget::WrittenBudget;
pub use environment::with_environment;
use files::{Files, Kind, NamedFile};
pub use keys::config_table;
use learning::WrittenLearning;
pub use mistake::ConfigError;
use mistake::wrong;
use remote_write::WrittenRemoteWrite;
pub use review::{check_config, review_config};
pub use scrape::{DEFAULT_SCRAPE_INTERVAL, DEFAULT_SCRAPE_TIMEOUT};
use scrape::{Inherited, Seen, WrittenGlobal, WrittenJob};
pub use web_file::{ClientCertificates, WebConfig, WebTls, check_web_config};

/// Where the page and the API listen when nothing is said.
pub const DEFAULT_LISTEN_ADDRESS: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8753);
/// No configuration written by a person comes near; guards against a wrong file.
const MAX_CONFIG_BYTES: usize = 1 << 20;
/// Series of a server that is away for a moment must not be forgotten.
const MIN_FORGET: Duration = Duration::from_secs(300);

/// A checked configuration with every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The model file; `None` when not named.
    pub model: Option<PathBuf>,
    /// Where to listen.
    pub listen_address: SocketAddr,
    /// Labels that tell this site from others.
    pub external_labels: Labels,
    /// What to watch, in the order written; may be empty.
    pub jobs: Vec<JobConfig>,
    /// How to take remote writes; `None` when it is not turned on.
    pub receiver: Option<ReceiverSettings>,
    /// Whom to give scores to.
    pub remote_write: Vec<RemoteWriteConfig>,
    /// Whom to tell of incidents.
    pub alerting: AlertingConfig,
    /// How to go on learning.
    pub learning: LearningSettings,
    /// Whose history the watch begins with; `None` when nobody is named.
    pub backfill: Option<BackfillSettings>,
    /// How many false alerts the fleet may have; as many as the model was trained for when `None`.
    pub alert_budget: Option<AlertBudget>,
    /// How many targets are written in it and not dropped by rules.
    n_targets: usize,
    /// Targets that will not be scraped.
    warnings: Vec<ConfigError>,
    /// Keys that were passed over.
    unused: Vec<ConfigError>,
    /// Every file that is named.
    files: Vec<NamedFile>,
}

impl Config {
    /// How many targets are written in it, after relabelling; of those with one name one.
    pub fn n_targets(&self) -> usize {
        self.n_targets
    }

    /// Written targets that will not be scraped, since another one has their name.
    pub fn warnings(&self) -> &[ConfigError] {
        &self.warnings
    }

    /// Keys of Prometheus that were passed over, since they do not concern oddns.
    pub fn unused(&self) -> &[ConfigError] {
        &self.unused
    }

    /// How many ways to find more targets it has.
    pub fn n_discoveries(&self) -> usize {
        self.discoveries().filter(|discovery| discovery.is_dynamic()).count()
    }

    fn discoveries(&self) -> impl Iterator<Item = &Discovery> {
        self.jobs.iter().flat_map(|job| &job.discoveries)
    }

    /// Looks whether every file that is named is there and, for lists of targets, good. Gives
    /// warnings where a file may still come, or every mistake. The only part of checking that
    /// touches the disk.
    pub fn check_files(&self) -> Result<Vec<ConfigError>, Vec<ConfigError>> {
        files::check(&self.files)
    }
}

/// The file as written.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Written {
    version: Option<Spanned<u32>>,
    global: Option<WrittenGlobal>,
    scrape_configs: Option<Vec<WrittenJob>>,
    model: Option<Spanned<PathBuf>>,
    web: Option<WrittenWeb>,
    remote_write_receiver: Option<WrittenReceiver>,
    remote_write: Option<Vec<WrittenRemoteWrite>>,
    alerting: Option<WrittenAlerting>,
    learning: Option<WrittenLearning>,
    alert_budget: Option<WrittenBudget>,
    backfill: Option<WrittenBackfill>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenWeb {
    listen_address: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenReceiver {
    enabled: Option<bool>,
    max_servers: Option<Spanned<usize>>,
    max_waiting_size: Option<Spanned<String>>,
    forget_after: Option<Spanned<String>>,
}

impl WrittenReceiver {
    /// `None` when it is turned off.
    fn resolve(&self) -> Result<Option<ReceiverSettings>, ConfigError> {
        let mut settings = ReceiverSettings::default();
        if let Some(written) = &self.max_servers {
            if written.value == 0 || written.value > MAX_TARGETS {
                let message = format!("`max_servers` must be from 1 to {MAX_TARGETS}");
                return Err(wrong(written, message));
            }
            settings.gather.max_servers = written.value;
        }
        if let Some(written) = &self.max_waiting_size {
            let size = scrape::bytes(written)?;
            if size < settings.limits.max_compressed_bytes {
                let least = settings.limits.max_compressed_bytes >> 20;
                let message = format!("`max_waiting_size` must hold a request: {least}MB at least");
                return Err(wrong(written, message));
            }
            settings.max_waiting_bytes = size;
        }
        if let Some(written) = &self.forget_after {
            settings.forget_after = scrape::duration(written)?;
            if settings.forget_after < MIN_FORGET {
                return Err(wrong(written, "`forget_after` must be at least 5m"));
            }
        }
        Ok(self.enabled.unwrap_or_default().then_some(settings))
    }
}

fn resolve(written: Written, folder: &Path) -> Result<Config, ConfigError> {
    if let Some(version) = written.version.filter(|v| v.value != 1) {
        let message = format!("version {} is not known: write `version: 1`", version.value);
        return Err(wrong(&version, message));
    }
    let web = written.web.unwrap_or_default();
    let listen_address = match &web.listen_address {
        Some(address) => listen_address(address)?,
        None => DEFAULT_LISTEN_ADDRESS,
    };
    let mut files = Files::new(folder);
    let global = written.global.unwrap_or_default();
    let inherited = Inherited::of(&global)?;
    let (mut jobs, mut seen) = (Vec::new(), Seen::default());
    for job in written.scrape_configs.unwrap_or_default() {
        jobs.push(job.resolve(&inherited, &mut files, &mut seen)?);
    }
    let alerting = written.alerting.map(|alerting| alerting.resolve(&mut files)).transpose()?;
    let alerting = alerting.unwrap_or_default();
    let remote_write = written.remote_write.unwrap_or_default();
    let remote_write = remote_write::resolve(remote_write, &mut files)?;
    let learning = written.learning.unwrap_or_default().resolve(&files)?;
    let backfill = written.backfill.map(|backfill| backfill.resolve(&mut files)).transpose()?;
    let alert_budget = written.alert_budget.unwrap_or_default().resolve()?;
    let model = written.model.as_ref().map(|model| files.name("model", Kind::Model, model));
    let external = global.external_labels.unwrap_or_default();
    let external_labels = Labels::new(external.into_iter().collect());
    let receiver = written.remote_write_receiver.unwrap_or_default().resolve()?;
    let (n_targets, warnings) = seen.end();
    Ok(Config {
        model,
        listen_address,
        external_labels,
        jobs,
        receiver,
        remote_write,
        alerting,
        learning,
        backfill,
        alert_budget,
        n_targets,
        warnings,
        unused: Vec::new(),
        files: files.named,
    })
}

/// `127.0.0.1:8753`, `[::1]:8753`, `localhost:8753`, or `:8753` for every interface.
fn listen_address(written: &Spanned<String>) -> Result<SocketAddr, ConfigError> {
    let text = match written.value.strip_prefix(':') {
        Some(port) => format!("[::]:{port}"),
        None => written.value.replace("localhost:", "127.0.0.1:"),
    };
    text.parse().map_err(|_| {
        let message = format!(
            "`{}` is no address to listen on: write an IP address and a port, such as {DEFAULT_LISTEN_ADDRESS}",
            written.value
        );
        wrong(written, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn check(text: &str) -> Result<Config, ConfigError> {
        check_config(text, Path::new(""))
    }

    #[test]
    fn an_empty_file_watches_nothing() {
        for text in ["", "\n", "# nothing yet\n", "{}", "global:\n"] {
            let config = check(text);
            assert_eq!(config.as_ref().map(|c| c.jobs.len()), Ok(0), "{text:?} {config:?}");
        }
    }

    #[test]
    fn a_short_interval_shortens_the_default_timeout() {
        let text = "global: {scrape_interval: 2s}\nscrape_configs: [{job_name: a, static_configs: [{targets: ['h:1']}]}]";
        let config = check(text).unwrap();
        assert_eq!(config.jobs[0].timeout, Duration::from_secs(2));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-z_:\\-\\[\\]{}'\"#&*!|>% \n0-9]{0,200}") {
            let _ = check(&text);
        }
    }
}
