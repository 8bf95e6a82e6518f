//! `dns_sd_configs`: names in the DNS that stand for targets.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::sleep;

use super::resolver::{Record, Resolver};
use super::{DiscoveryError, Report, Reporter};
use crate::relabel::LabelMap;

/// Names that are looked up again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsDiscovery {
    /// The names, relative ones to the search list of `/etc/resolv.conf`.
    pub names: Vec<String>,
    /// What to ask for.
    pub record_type: RecordType,
    /// The port of targets found by address; a SRV record has its own.
    pub port: u16,
    /// Time between two look-ups.
    pub refresh_interval: Duration,
    /// Whom to ask; empty for the servers of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
}

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordType {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// A host and a port.
    Srv,
}

impl RecordType {
    /// Its number on the wire.
    pub(super) fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Srv => 33,
        }
    }
}

impl DnsDiscovery {
    pub(crate) async fn follow(&self, reporter: Reporter) {
        let mut known: BTreeMap<&str, Vec<LabelMap>> = BTreeMap::new();
        loop {
            let mut errors = Vec::new();
            for name in &self.names {
                match self.look_up(name).await {
                    Ok(targets) => {
                        known.insert(name, targets);
                    }
                    Err(error) => errors.push(error),
                }
            }
            let targets = known.values().flatten().cloned().collect();
            if !reporter.send(Report { targets: Some(targets), errors }).await {
                return;
            }
            sleep(self.refresh_interval).await;
        }
    }

    async fn look_up(&self, name: &str) -> Result<Vec<LabelMap>, DiscoveryError> {
        let failed = |source| DiscoveryError::Dns { name: name.to_owned(), source };
        let resolver = Resolver::new(&self.servers).await.map_err(failed)?;
        let records = resolver.look_up(name, self.record_type).await.map_err(failed)?;
        Ok(records.into_iter().map(|record| self.target(name, record)).collect())
    }

    fn target(&self, name: &str, record: Record) -> LabelMap {
        let mut labels = LabelMap::from([("__meta_dns_name".to_owned(), name.to_owned())]);
        let address = match record {
            Record::Address(IpAddr::V4(ip)) => format!("{ip}:{}", self.port),
            Record::Address(IpAddr::V6(ip)) => format!("[{ip}]:{}", self.port),
            Record::Service { host, port } => {
                let label = |part: &str| format!("__meta_dns_srv_record_{part}");
                labels.insert(label("target"), format!("{host}."));
                labels.insert(label("port"), port.to_string());
                format!("{host}:{port}")
            }
        };
        labels.insert("__address__".to_owned(), address);
        labels
    }
}
