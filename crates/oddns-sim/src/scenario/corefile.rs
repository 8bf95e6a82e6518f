//! The configurations that servers of a scenario can have, by name.

use std::fmt;
use std::str::FromStr;

use crate::nearest::{meant, nearest};
use crate::release::Release;

/// The configuration of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Corefile {
    /// The `kubernetes` plugin as its defaults are, and a stub zone `corp.example`.
    #[default]
    Kubernetes,
    /// As kubeadm wrote it up to Kubernetes 1.32.
    KubeadmOld,
    /// As kubeadm writes it now: names of the cluster are not cached.
    KubeadmNew,
    /// As Amazon's clusters have it: no limit of what waits for upstream.
    Eks,
    /// As NodeLocal DNSCache has it: the cluster's names come from a server behind it, over TCP.
    NodeLocal,
    /// With a large cache, prefetching, answers that are stale rather than none, and a stub zone.
    Tuned,
    /// As the lab writes it without a Kubernetes API: the cluster comes from a zone file.
    ZoneFile,
}

/// A name that is none of [`Corefile::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no Corefile `{found}`{}; there are {known}", meant(*nearest))]
pub struct UnknownCorefile {
    found: String,
    nearest: Option<&'static str>,
    known: String,
}

impl Corefile {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Kubernetes,
        Self::KubeadmOld,
        Self::KubeadmNew,
        Self::Eks,
        Self::NodeLocal,
        Self::Tuned,
        Self::ZoneFile,
    ];

    /// As scenarios call it, such as `kubeadm_old`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::KubeadmOld => "kubeadm_old",
            Self::KubeadmNew => "kubeadm_new",
            Self::Eks => "eks",
            Self::NodeLocal => "node_local",
            Self::Tuned => "tuned",
            Self::ZoneFile => "zone_file",
        }
    }

    /// Whether the server itself watches a Kubernetes API.
    pub const fn has_api(self) -> bool {
        !matches!(self, Self::NodeLocal | Self::ZoneFile)
    }

    /// Whether there is a stub zone with an upstream server of its own.
    pub const fn has_stub(self) -> bool {
        matches!(self, Self::Kubernetes | Self::Tuned)
    }

    /// Whether the simulator knows it; the lab knows all.
    pub const fn is_simulated(self) -> bool {
        !matches!(self, Self::NodeLocal)
    }

    /// The first release that knows all that it says.
    pub const fn since(self) -> Release {
        match self {
            Self::KubeadmNew => Release::V1_10_1,
            _ => Release::V1_6_9,
        }
    }

    /// Whether names of the cluster are cached.
    pub const fn caches_cluster(self) -> bool {
        !matches!(self, Self::KubeadmNew)
    }

    /// Seconds that an answer about the cluster is good: `ttl 30` in some, else the plugin's 5.
    pub const fn cluster_ttl_seconds(self) -> f64 {
        match self {
            Self::KubeadmOld | Self::KubeadmNew | Self::Tuned => 30.0,
            _ => 5.0,
        }
    }

    /// Queries that may wait for upstream; infinite without a limit.
    pub const fn max_concurrent(self) -> f64 {
        match self {
            Self::Eks | Self::NodeLocal => f64::INFINITY,
            Self::Tuned => 2000.0,
            _ => 1000.0,
        }
    }

    /// Entries each cache holds; `None` is CoreDNS's default of 9984.
    pub const fn cache_entries(self) -> Option<f64> {
        match self {
            Self::Tuned => Some(30_000.0),
            _ => None,
        }
    }
}

impl fmt::Display for Corefile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Corefile {
    type Err = UnknownCorefile;

    fn from_str(text: &str) -> Result<Self, UnknownCorefile> {
        let names = Self::ALL.map(Self::as_str);
        Self::ALL.into_iter().find(|known| known.as_str() == text).ok_or_else(|| UnknownCorefile {
            found: text.chars().take(60).collect(),
            nearest: nearest(text, names),
            known: names.join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_one_is_found_by_its_name() {
        for known in Corefile::ALL {
            assert_eq!(known.to_string().parse(), Ok(known));
        }
        let message = "kubeadm".parse::<Corefile>().unwrap_err().to_string();
        assert!(message.contains("did you mean `kubeadm_old`?"), "{message}");
    }
}
