//! `alerting`: Prometheus's `alertmanagers`, and webhooks.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use oddns_collect::{Discovery, Secret, SecretSource};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::discovery::{WrittenDnsSd, WrittenFileSd, WrittenHttpSd, WrittenStatic};
use super::files::{Files, Kind};
use super::http::with_http;
use super::kubernetes::WrittenKubernetesSd;
use super::mistake::{ConfigError, wrong};
use super::relabel::{WrittenRule, rules};
use super::scrape::{duration, scheme};
use crate::alerts::{
    AlertingConfig, AlertmanagerConfig, AlertmanagerDiscovery, WebhookConfig, WebhookFormat,
};

/// As in Prometheus.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// As in Alertmanager.
const DEFAULT_GROUP_WAIT: Duration = Duration::from_secs(30);
/// A request that takes longer holds up the next one.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenAlerting {
    alertmanagers: Option<Vec<WrittenAlertmanager>>,
    webhooks: Option<Vec<WrittenWebhook>>,
}

with_http! {
    struct WrittenAlertmanager {
        static_configs: Option<Vec<WrittenStatic>>,
        file_sd_configs: Option<Vec<WrittenFileSd>>,
        http_sd_configs: Option<Vec<WrittenHttpSd>>,
        dns_sd_configs: Option<Vec<WrittenDnsSd>>,
        kubernetes_sd_configs: Option<Vec<Spanned<WrittenKubernetesSd>>>,
        relabel_configs: Option<Vec<Spanned<WrittenRule>>>,
        scheme: Option<Spanned<String>>,
        path_prefix: Option<Spanned<String>>,
        api_version: Option<Spanned<String>>,
        timeout: Option<Spanned<String>>,
    }
}

with_http! {
    struct WrittenWebhook {
        name: Spanned<String>,
        url: Option<Spanned<String>>,
        url_file: Option<Spanned<PathBuf>>,
        format: Option<Spanned<String>>,
        send_resolved: Option<bool>,
        group_wait: Option<Spanned<String>>,
        timeout: Option<Spanned<String>>,
    }
}

impl WrittenAlerting {
    pub(super) fn resolve(self, files: &mut Files) -> Result<AlertingConfig, ConfigError> {
        let (mut alertmanagers, mut webhooks) = (Vec::new(), Vec::new());
        let (mut discoveries, mut seen) = (Vec::new(), HashSet::new());
        for written in self.alertmanagers.unwrap_or_default() {
            let (at_once, looked_for) = written.resolve(files, &mut seen)?;
            alertmanagers.extend(at_once);
            discoveries.extend(looked_for);
        }
        for written in self.webhooks.unwrap_or_default() {
            webhooks.push(written.resolve(files, &mut seen)?);
        }
        Ok(AlertingConfig { alertmanagers, discoveries, webhooks })
    }
}

impl WrittenAlertmanager {
    /// Those that are known now, and where to look for others.
    fn resolve(
        mut self,
        files: &mut Files,
        seen: &mut HashSet<String>,
    ) -> Result<(Vec<AlertmanagerConfig>, Option<AlertmanagerDiscovery>), ConfigError> {
        if let Some(version) = self.api_version.as_ref().filter(|version| version.value != "v2") {
            let message = format!("`api_version` {} is not spoken: write v2", version.value);
            return Err(wrong(version, message));
        }
        let scheme = scheme(self.scheme.as_ref())?.to_owned();
        let path_prefix = self.path_prefix.as_ref().map(path_prefix).transpose()?;
        let path_prefix = path_prefix.unwrap_or_default();
        let timeout = timeout(self.timeout.as_ref())?;
        let http = self.take_http().resolve(files)?;
        let relabel_rules = rules(self.relabel_configs.take())?;
        let mut discoveries = self.discoveries(files)?;
        let groups = self.static_configs.unwrap_or_default();
        if !relabel_rules.is_empty() && !groups.is_empty() {
            let labels = groups.iter().flat_map(WrittenStatic::resolve).map(|(labels, _)| labels);
            discoveries.push(Discovery::targets(labels.collect()));
        }
        let at_once = if relabel_rules.is_empty() { groups } else { Vec::new() };
        let mut all = Vec::new();
        for target in at_once.iter().filter_map(|group| group.targets.as_ref()).flatten() {
            let address = address(target)?;
            let url = format!("{scheme}://{address}{path_prefix}/api/v2/alerts");
            if !seen.insert(url.clone()) {
                let message = format!("Alertmanager `{address}` is listed twice: list it once");
                return Err(wrong(target, message));
            }
            all.push(AlertmanagerConfig { url, timeout, http: http.clone() });
        }
        let looked_for = (!discoveries.is_empty()).then_some(AlertmanagerDiscovery {
            discoveries,
            scheme,
            path_prefix,
            relabel_rules,
            timeout,
            http,
        });
        Ok((all, looked_for))
    }

    /// What may find more, later.
    fn discoveries(&mut self, files: &mut Files) -> Result<Vec<Discovery>, ConfigError> {
        let mut discoveries = Vec::new();
        for written in self.file_sd_configs.take().unwrap_or_default() {
            discoveries.push(written.resolve(files)?);
        }
        for written in self.http_sd_configs.take().unwrap_or_default() {
            discoveries.push(written.resolve(files)?);
        }
        for written in self.dns_sd_configs.take().unwrap_or_default() {
            discoveries.push(written.resolve()?);
        }
        for written in self.kubernetes_sd_configs.take().unwrap_or_default() {
            let place = written.referenced;
            discoveries.push(written.value.resolve(&place, files)?);
        }
        Ok(discoveries)
    }
}

impl WrittenWebhook {
    fn resolve(
        mut self,
        files: &mut Files,
        seen: &mut HashSet<String>,
    ) -> Result<WebhookConfig, ConfigError> {
        let name = self.name.value.clone();
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(wrong(&self.name, "`name` is empty or has odd characters: give a name"));
        }
        if !seen.insert(name.clone()) {
            return Err(wrong(&self.name, format!("webhook `{name}` is there twice: rename one")));
        }
        let format = self.format.as_ref().map(format).transpose()?.unwrap_or_default();
        let timeout = timeout(self.timeout.as_ref())?;
        let http = self.take_http().resolve(files)?;
        let url = match (self.url, self.url_file) {
            (Some(url), None) => SecretSource::Inline(webhook_url(&url)?),
            (None, Some(file)) => SecretSource::File(files.name("url_file", Kind::Secret, &file)),
            (Some(_), Some(file)) => {
                return Err(wrong(&file, "both `url` and `url_file`: keep one"));
            }
            (None, None) => {
                let message = format!(
                    "the key `url` is missing: webhook `{name}` has no address, add it or `url_file`"
                );
                return Err(wrong(&self.name, message));
            }
        };
        let send_resolved = self.send_resolved.unwrap_or(true);
        let group_wait = self.group_wait.as_ref().map_or(Ok(DEFAULT_GROUP_WAIT), duration)?;
        Ok(WebhookConfig { name, url, format, send_resolved, group_wait, timeout, http })
    }
}

/// `host:port`, as Prometheus wants it; without a port it is the scheme's.
fn address(written: &Spanned<String>) -> Result<&str, ConfigError> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "/?#@".contains(c);
    if written.value.is_empty() || written.value.contains(is_odd) {
        let message = format!(
            "Alertmanager `{}` is not host:port: leave the scheme to `scheme` and the path to `path_prefix`",
            written.value
        );
        return Err(wrong(written, message));
    }
    Ok(&written.value)
}

fn path_prefix(written: &Spanned<String>) -> Result<String, ConfigError> {
    let path = written.value.trim_matches('/');
    if !path.bytes().all(|b| b.is_ascii_graphic() && !b"?#".contains(&b)) {
        let message = format!("`{}` is no path: write something like `/alerts`", written.value);
        return Err(wrong(written, message));
    }
    Ok(if path.is_empty() { String::new() } else { format!("/{path}") })
}

fn timeout(written: Option<&Spanned<String>>) -> Result<Duration, ConfigError> {
    let Some(written) = written else { return Ok(DEFAULT_TIMEOUT) };
    let timeout = duration(written)?;
    if timeout.is_zero() || timeout > MAX_TIMEOUT {
        let message = format!("`timeout` is {}, it must be above 0 and at most 1m", written.value);
        return Err(wrong(written, message));
    }
    Ok(timeout)
}

fn format(written: &Spanned<String>) -> Result<WebhookFormat, ConfigError> {
    match written.value.as_str() {
        "slack" => Ok(WebhookFormat::Slack),
        "alertmanager" => Ok(WebhookFormat::Alertmanager),
        other => {
            let message = format!("format `{other}` is not known: write slack or alertmanager");
            Err(wrong(written, message))
        }
    }
}

/// The address is a secret, so no message repeats it.
fn webhook_url(written: &Spanned<String>) -> Result<Secret, ConfigError> {
    let text = &written.value;
    let is_http = text.starts_with("http://") || text.starts_with("https://");
    if !is_http || text.contains(char::is_whitespace) {
        return Err(wrong(written, "`url` is no address: it begins with http:// or https://"));
    }
    Ok(Secret::new(text.clone()))
}
