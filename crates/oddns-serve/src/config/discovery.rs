//! Where targets come from: `static_configs` and the `*_sd_configs`.

use std::path::PathBuf;
use std::time::Duration;

use oddns_collect::{Discovery, DnsDiscovery, FileDiscovery, HttpDiscovery, LabelMap, RecordType};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::files::{Files, Kind};
use super::http::with_http;
use super::mistake::{ConfigError, wrong};
use super::scrape::duration;

/// A discovery that asks a server more often than this would be its load.
const MIN_REFRESH: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenStatic {
    pub(super) targets: Option<Vec<Spanned<String>>>,
    pub(super) labels: Option<LabelMap>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenFileSd {
    files: Vec<Spanned<PathBuf>>,
    refresh_interval: Option<Spanned<String>>,
}

with_http! {
    struct WrittenHttpSd {
        url: Spanned<String>,
        refresh_interval: Option<Spanned<String>>,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenDnsSd {
    names: Spanned<Vec<String>>,
    #[serde(rename = "type")]
    record_type: Option<Spanned<String>>,
    port: Option<Spanned<u16>>,
    refresh_interval: Option<Spanned<String>>,
}

impl WrittenStatic {
    /// Each target's labels, with the place it is written at.
    pub(super) fn resolve(&self) -> Vec<(LabelMap, &Spanned<String>)> {
        let targets = self.targets.iter().flatten();
        let with_labels = |written| {
            let mut labels = self.labels.clone().unwrap_or_default();
            labels.insert("__address__".to_owned(), Spanned::<String>::clone(written).value);
            (labels, written)
        };
        targets.map(with_labels).collect()
    }
}

impl WrittenFileSd {
    pub(super) fn resolve(&self, files: &mut Files) -> Result<Discovery, ConfigError> {
        for written in &self.files {
            let text = written.value.to_string_lossy();
            let folder = written.value.parent().map(|folder| folder.to_string_lossy());
            let is_list = ["json", "yml", "yaml"]
                .iter()
                .any(|ending| text.to_lowercase().ends_with(&format!(".{ending}")));
            let n_stars = text.matches('*').count();
            let in_folder = folder.is_some_and(|folder| folder.contains('*'));
            if !is_list || n_stars > 1 || in_folder {
                let message = format!(
                    "`{text}` is no pattern of files: it must end in .json, .yml or .yaml, and have at most one `*`, in its last part"
                );
                return Err(wrong(written, message));
            }
        }
        let name = |written| files.name("files", Kind::Targets, written);
        let patterns = self.files.iter().map(name).collect();
        let refresh_interval = refresh(self.refresh_interval.as_ref(), 300)?;
        Ok(Discovery::File(FileDiscovery { patterns, refresh_interval }))
    }
}

impl WrittenHttpSd {
    pub(super) fn resolve(mut self, files: &mut Files) -> Result<Discovery, ConfigError> {
        let refresh_interval = refresh(self.refresh_interval.as_ref(), 60)?;
        let http = self.take_http().resolve(files)?;
        HttpDiscovery::new(&self.url.value, refresh_interval, http)
            .map(|server| Discovery::Http(Box::new(server)))
            .map_err(|message| wrong(&self.url, message))
    }
}

impl WrittenDnsSd {
    pub(super) fn resolve(self) -> Result<Discovery, ConfigError> {
        if self.names.value.is_empty() {
            return Err(wrong(&self.names, "`names` is empty: name what to look up"));
        }
        let record_type = self.record_type.as_ref().map_or(Ok(RecordType::Srv), record_type)?;
        let port = self.port.as_ref().map_or(0, |port| port.value);
        if port == 0 && record_type != RecordType::Srv {
            let message = "an address has no port: add `port`, for CoreDNS 9153";
            return Err(self
                .port
                .as_ref()
                .map_or_else(|| wrong(&self.names, message), |port| wrong(port, message)));
        }
        let refresh_interval = refresh(self.refresh_interval.as_ref(), 30)?;
        let names = self.names.value;
        let dns = DnsDiscovery { names, record_type, port, refresh_interval, servers: Vec::new() };
        Ok(Discovery::Dns(dns))
    }
}

fn record_type(written: &Spanned<String>) -> Result<RecordType, ConfigError> {
    match written.value.to_ascii_uppercase().as_str() {
        "A" => Ok(RecordType::A),
        "AAAA" => Ok(RecordType::Aaaa),
        "SRV" => Ok(RecordType::Srv),
        other => {
            let message = format!("type `{other}` is not supported: write A, AAAA or SRV");
            Err(wrong(written, message))
        }
    }
}

pub(super) fn refresh(
    written: Option<&Spanned<String>>,
    default_seconds: u64,
) -> Result<Duration, ConfigError> {
    let Some(written) = written else { return Ok(Duration::from_secs(default_seconds)) };
    let interval = duration(written)?;
    if interval < MIN_REFRESH {
        let message = format!("`refresh_interval` is {}, it must be at least 1s", written.value);
        return Err(wrong(written, message));
    }
    Ok(interval)
}
