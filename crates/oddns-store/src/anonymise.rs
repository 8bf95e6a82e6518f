//! A data set that says nothing of whose it is.

use std::net::IpAddr;
use std::path::Path;

use oddns_core::Labels;
use sha2::{Digest, Sha256};

use crate::history::HistoryFilter;
use crate::live::{HistoryStore, StoreSettings};
use crate::walk::{Rows, SeriesWalk, WholeHistory};
use crate::{
    CLIENT_STATS, Dataset, LabelledInterval, SeriesSample, StoreError, read_client_stats,
    read_labels, write_client_stats, write_labels,
};

/// Labels whose values say what is measured, not where, whatever the metric.
const KEPT_LABELS: &[&str] = &["code", "le", "method", "quantile"];
/// The same of metrics that CoreDNS and its Go runtime have; elsewhere they may name anything.
const KEPT_OF_COREDNS: &[&str] = &[
    "family",
    "goversion",
    "hash",
    "name",
    "plugin",
    "proto",
    "proxy_name",
    "rcode",
    "revision",
    "service_kind",
    "status",
    "type",
    "version",
];
const METRICS_OF_COREDNS: &[&str] = &["coredns_", "go_", "process_"];

/// Values that mean something to CoreDNS itself.
const KEPT_VALUES: &[&str] = &["", ".", "dropped"];

/// Gives names that cannot be led back without the salt, and always the same ones with it.
#[derive(Debug, Clone)]
pub struct Anonymiser {
    salt: Vec<u8>,
}

impl Anonymiser {
    /// `salt` should be 16 random bytes or more, kept where the data does not go.
    pub fn new(salt: &[u8]) -> Self {
        Self { salt: salt.to_owned() }
    }

    /// The new name of a server: host and port are hashed apart, the port stays.
    pub fn instance(&self, instance: &str) -> String {
        self.address(instance)
    }

    /// Labels of a metric with hashed values, but for those that say what is measured.
    pub fn labels(&self, metric: &str, labels: &Labels) -> Labels {
        let of_coredns = METRICS_OF_COREDNS.iter().any(|prefix| metric.starts_with(prefix));
        let pairs = labels.iter().map(|(name, value)| {
            let says_what =
                KEPT_LABELS.contains(&name) || of_coredns && KEPT_OF_COREDNS.contains(&name);
            let is_kept = says_what && !is_address(value);
            let value = if is_kept { value.to_owned() } else { self.address(value) };
            (name.to_owned(), value)
        });
        Labels::new(pairs.collect())
    }

    /// `scheme://host:port` with a hashed host; a zone keeps its last dot. Unless the value means
    /// something to CoreDNS itself.
    fn address(&self, value: &str) -> String {
        if KEPT_VALUES.contains(&value) {
            return value.to_owned();
        }
        let (scheme, rest) = match value.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), value),
        };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
                (host, format!(":{port}"))
            }
            _ => (rest, String::new()),
        };
        let dot = if host.len() > 1 && host.ends_with('.') { "." } else { "" };
        let host = if KEPT_VALUES.contains(&host) {
            host.to_owned()
        } else {
            self.hash(host.trim_end_matches('.'))
        };
        format!("{scheme}{host}{dot}{port}")
    }

    fn hash(&self, text: &str) -> String {
        let digest = Sha256::new().chain_update(&self.salt).chain_update(text).finalize();
        let hex = digest.iter().take(6).map(|byte| format!("{byte:02x}"));
        format!("x{}", hex.collect::<String>())
    }
}

fn is_address(value: &str) -> bool {
    let is_ip = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    is_ip(value) || value.rsplit_once(':').is_some_and(|(host, _)| is_ip(host))
}

/// Writes the data set `root` to the new folder `out` with new names for servers, zones,
/// upstreams, pods and everything else in labels that may say whose it is.
///
/// Times, values and metric names stay, so that features and scores do. Of the description, what
/// people wrote is left out, as are Corefiles, and a `client_stats.csv` in another form than the lab's.
/// Says how many samples were written.
pub fn anonymise(root: &Path, out: &Path, names: &Anonymiser) -> Result<u64, StoreError> {
    let history = WholeHistory::open(root, &HistoryFilter::default())?;
    let dataset = if root.is_dir() { Dataset::read(root)? } else { None };
    let labels = root.join("labels.csv");
    let labels = if labels.is_file() { read_labels(&labels)? } else { Vec::new() };
    let clients = root.join(CLIENT_STATS);
    // Another form than the lab's may hold what names somebody.
    let clients = read_client_stats(&clients).unwrap_or_default();
    let settings = StoreSettings { max_ahead: None, ..StoreSettings::default() };
    let dataset = description(dataset.unwrap_or_default(), names);
    let store = HistoryStore::create(out, &dataset, settings)?;
    if !labels.is_empty() {
        write_labels(&out.join("labels.csv"), &renamed(labels, names))?;
    }
    if !clients.is_empty() {
        write_client_stats(&out.join(CLIENT_STATS), &clients)?;
    }
    let mut n_samples = 0;
    for parts in history.days() {
        let mut walk = SeriesWalk::open(parts, Rows::All)?;
        while let Some(([instance, name, labels], samples)) = walk.next()? {
            let labels: Labels = labels.parse().map_err(StoreError::damaged(root))?;
            let labels = names.labels(&name, &labels).to_string();
            let series = store.intern_text(&names.instance(&instance), &name, &labels);
            let Some(series) = series else { continue };
            n_samples += store.append_series(series, samples)?;
        }
    }
    store.finish()?;
    Ok(n_samples)
}

fn renamed(labels: Vec<LabelledInterval>, names: &Anonymiser) -> Vec<LabelledInterval> {
    let renamed = labels.into_iter().map(|label| {
        let instance = label.instance.as_deref().map(|instance| names.instance(instance));
        LabelledInterval { instance, ..label }
    });
    renamed.collect()
}

/// Keeps of the description what no person wrote.
fn description(known: Dataset, names: &Anonymiser) -> Dataset {
    let mut instances: Vec<String> =
        known.instances.iter().map(|instance| names.instance(instance)).collect();
    instances.sort();
    Dataset {
        name: String::new(),
        description: None,
        corefile: None,
        instances,
        other: serde_json::Map::default(),
        ..known
    }
}

impl HistoryStore {
    /// Appends the samples of one series, whatever their time; says how many.
    pub(crate) fn append_series(
        &self,
        series: crate::SeriesRef,
        samples: &[(i64, f64)],
    ) -> Result<u64, StoreError> {
        let mut taken = 0;
        for samples in samples.chunks(8192) {
            let samples = samples.iter().map(|(millis, value)| SeriesSample {
                series,
                time: oddns_core::Timestamp::from_millis(*millis),
                value: *value,
            });
            let samples: Vec<SeriesSample> = samples.collect();
            let now = samples.last().map(|sample| sample.time).unwrap_or_default();
            taken += self.append(now, &samples)?.taken;
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hidden_and_their_form_stays() {
        let names = Anonymiser::new(b"salt");
        let labels: Labels = concat!(
            r#"{server="dns://10.0.0.1:53",zone="corp.example.",to="10.0.0.1:53","#,
            r#"rcode="NOERROR",pod="coredns-1",plugin="cache"}"#
        )
        .parse()
        .unwrap();
        let hidden = names.labels("coredns_x", &labels);
        let get = |name| hidden.get(name).unwrap();
        assert_eq!((get("rcode"), get("plugin")), ("NOERROR", "cache"));
        assert_eq!(get("server"), format!("dns://{}", get("to")));
        assert!(get("zone").ends_with('.') && get("zone") != "corp.example.");
        assert!(!hidden.to_string().contains("10.0") && !hidden.to_string().contains("coredns"));
        assert_eq!(names.instance("10.0.0.1:53"), get("to"));
        assert_ne!(Anonymiser::new(b"other").labels("coredns_x", &labels), hidden);
        let foreign = names.labels("shop_orders_total", &labels);
        assert_ne!(foreign.get("plugin").unwrap(), "cache", "it may name anything there");
    }

    #[test]
    fn what_coredns_itself_says_stays() {
        let names = Anonymiser::new(b"salt");
        for kept in ["", ".", "dropped", "dns://:53", "dns://.:53"] {
            assert_eq!(names.address(kept), kept);
        }
        let labels: Labels = r#"{name="10.0.0.7"}"#.parse().unwrap();
        assert_ne!(names.labels("coredns_x", &labels), labels, "an address, wherever it stands");
    }
}
