//! The configuration file: what the user writes, checked, and what the service needs.
//!
//! Prometheus's idiom where it has one. Checking is pure: no file, environment or network.

mod discovery;
mod files;
mod http;
mod keys;
mod kubernetes;
mod mistake;
mod relabel;
mod scrape;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use oddns_collect::{Discovery, JobConfig};
use oddns_core::Labels;
use serde::Deserialize;
use serde_saphyr::Spanned;

use files::{Files, Kind, NamedFile};
pub use keys::config_table;
pub use mistake::ConfigError;
use mistake::{parse_error, wrong};
pub use scrape::{DEFAULT_SCRAPE_INTERVAL, DEFAULT_SCRAPE_TIMEOUT};
use scrape::{Seen, WrittenGlobal, WrittenJob, global_timing};

/// Where the page and the API listen when nothing is said.
pub const DEFAULT_LISTEN_ADDRESS: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8753);
/// No configuration written by a person comes near; guards against a wrong file.
const MAX_CONFIG_BYTES: usize = 1 << 20;

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
    /// Every file that is named.
    files: Vec<NamedFile>,
}

impl Config {
    /// How many targets are written in it, those that rules drop included.
    pub fn n_targets(&self) -> usize {
        self.discoveries().map(|discovery| discovery.written().len()).sum()
    }

    /// How many ways to find more targets it has.
    pub fn n_discoveries(&self) -> usize {
        self.discoveries().filter(|discovery| discovery.is_dynamic()).count()
    }

    fn discoveries(&self) -> impl Iterator<Item = &Discovery> {
        self.jobs.iter().flat_map(|job| &job.discoveries)
    }

    /// Looks whether every file that is named is there and, for lists of targets, good. Gives
    /// warnings where a file may still come. The only part of checking that touches the disk.
    pub fn check_files(&self) -> Result<Vec<ConfigError>, ConfigError> {
        files::check(&self.files)
    }
}

/// Checks the text of a configuration file and fills in the defaults. Files that it names are
/// relative to `folder`, and are not looked at. An empty text is valid: it watches nothing.
pub fn check_config(text: &str, folder: &Path) -> Result<Config, ConfigError> {
    if text.len() > MAX_CONFIG_BYTES {
        let message = format!(
            "the file has {} bytes, a configuration has at most {MAX_CONFIG_BYTES}: is it the right file?",
            text.len()
        );
        return Err(ConfigError { line: 1, column: 1, message });
    }
    let written: Option<Written> = serde_saphyr::from_str(text).map_err(|e| parse_error(&e))?;
    resolve(written.unwrap_or_default(), folder)
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
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenWeb {
    listen_address: Option<Spanned<String>>,
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
    let timing = global_timing(&global)?;
    let (mut jobs, mut seen) = (Vec::new(), Seen::default());
    for job in written.scrape_configs.unwrap_or_default() {
        jobs.push(job.resolve(timing, &mut files, &mut seen)?);
    }
    let model = written.model.as_ref().map(|model| files.name("model", Kind::Model, model));
    let external = global.external_labels.unwrap_or_default();
    let external_labels = Labels::new(external.into_iter().collect());
    Ok(Config { model, listen_address, external_labels, jobs, files: files.named })
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
    use std::time::Duration;

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
