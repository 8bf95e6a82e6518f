//! `remote_write`: whom to give scores to, in Prometheus's words.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use oddns_collect::{Secret, address_name};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::files::Files;
use super::http::with_http;
use super::mistake::{ConfigError, wrong};
use super::relabel::{WrittenRule, rules};
use super::scrape::duration_within;
use crate::remote_storage::{QueueSettings, RemoteWriteConfig};

/// As in Prometheus.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// A request that takes longer holds up the next one.
const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(300));
const DEADLINES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(3600));
/// At least what one score may consist of; at most half a gigabyte.
const CAPACITIES: (usize, usize) = (100, 10_000_000);
/// What one request may hold with those who receive it.
const MAX_SAMPLES_PER_SEND: usize = 50_000;
/// Headers that the protocol or other keys set.
const OURS: [&str; 8] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "x-prometheus-remote-write-version",
];

with_http! {
    struct WrittenRemoteWrite {
        url: Spanned<String>,
        name: Option<Spanned<String>>,
        remote_timeout: Option<Spanned<String>>,
        headers: Option<BTreeMap<String, Spanned<String>>>,
        write_relabel_configs: Option<Vec<Spanned<WrittenRule>>>,
        queue_config: Option<WrittenQueue>,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenQueue {
    capacity: Option<Spanned<usize>>,
    max_samples_per_send: Option<Spanned<usize>>,
    batch_send_deadline: Option<Spanned<String>>,
    min_backoff: Option<Spanned<String>>,
    max_backoff: Option<Spanned<String>>,
}

/// Checks all of them; no two may have one name.
pub(super) fn resolve(
    all: Vec<WrittenRemoteWrite>,
    files: &mut Files,
) -> Result<Vec<RemoteWriteConfig>, ConfigError> {
    let mut configs: Vec<RemoteWriteConfig> = Vec::new();
    for written in all {
        let place = written.name.clone().unwrap_or_else(|| written.url.clone());
        let config = written.resolve(files)?;
        if configs.iter().any(|other| other.name == config.name) {
            let message = format!(
                "remote write `{}` is there twice: give each one a `name` of its own",
                config.name
            );
            return Err(wrong(&place, message));
        }
        configs.push(config);
    }
    Ok(configs)
}

impl WrittenRemoteWrite {
    fn resolve(mut self, files: &mut Files) -> Result<RemoteWriteConfig, ConfigError> {
        let url = Secret::new(self.url.value.clone());
        // The address may hold a password, so no message repeats it.
        let called = address_name(&url).map_err(|_| {
            wrong(
                &self.url,
                "`url` is no address: write something like http://host:9090/api/v1/write",
            )
        })?;
        let name = match &self.name {
            None => called,
            Some(name) if name.value.is_empty() || name.value.chars().any(char::is_control) => {
                return Err(wrong(name, "`name` is empty or has odd characters: give a name"));
            }
            Some(name) => name.value.clone(),
        };
        let timeout = within("remote_timeout", self.remote_timeout.as_ref(), TIMEOUTS)?;
        let headers = headers(self.headers.take().unwrap_or_default())?;
        let queue = self.queue_config.take().map(|queue| queue.resolve()).transpose()?;
        let relabel_rules = rules(self.write_relabel_configs.take())?;
        Ok(RemoteWriteConfig {
            name,
            url,
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            headers,
            http: self.take_http().resolve(files)?,
            relabel_rules,
            queue: queue.unwrap_or_default(),
        })
    }
}

impl WrittenQueue {
    fn resolve(&self) -> Result<QueueSettings, ConfigError> {
        let mut queue = QueueSettings::default();
        if let Some(written) = &self.capacity {
            queue.capacity = number("capacity", written, CAPACITIES)?;
            queue.max_samples_per_send = queue.max_samples_per_send.min(queue.capacity);
        }
        if let Some(written) = &self.max_samples_per_send {
            let most = MAX_SAMPLES_PER_SEND.min(queue.capacity);
            queue.max_samples_per_send = number("max_samples_per_send", written, (1, most))?;
        }
        let deadline = self.batch_send_deadline.as_ref();
        let deadline = within("batch_send_deadline", deadline, DEADLINES)?;
        queue.batch_send_deadline = deadline.unwrap_or(queue.batch_send_deadline);
        let least = within("min_backoff", self.min_backoff.as_ref(), DEADLINES)?;
        queue.min_backoff = least.unwrap_or(queue.min_backoff);
        let bounds = (queue.min_backoff, DEADLINES.1);
        let most = within("max_backoff", self.max_backoff.as_ref(), bounds)?;
        queue.max_backoff = most.unwrap_or(queue.max_backoff.max(queue.min_backoff));
        Ok(queue)
    }
}

fn within(
    name: &str,
    written: Option<&Spanned<String>>,
    bounds: (Duration, Duration),
) -> Result<Option<Duration>, ConfigError> {
    written.map(|written| duration_within(name, written, bounds)).transpose()
}

fn number(
    name: &str,
    written: &Spanned<usize>,
    (least, most): (usize, usize),
) -> Result<usize, ConfigError> {
    if (least..=most).contains(&written.value) {
        return Ok(written.value);
    }
    Err(wrong(written, format!("`{name}` must be from {least} to {most}")))
}

/// A value may be a secret, so no message repeats it.
fn headers(
    written: BTreeMap<String, Spanned<String>>,
) -> Result<Vec<(String, Secret)>, ConfigError> {
    let is_name = |name: &str| {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        !name.is_empty() && name.bytes().all(is_token)
    };
    let mut headers = Vec::new();
    for (name, value) in written {
        if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            let message = format!(
                "header `{name}` is not to be set: it is ours, or that of `basic_auth` or `authorization`"
            );
            return Err(wrong(&value, message));
        }
        let is_value = value.value.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if !is_name(&name) || !is_value {
            let message = format!("header {name:?} has characters that no header may have");
            return Err(wrong(&value, message));
        }
        headers.push((name, Secret::new(value.value)));
    }
    Ok(headers)
}
