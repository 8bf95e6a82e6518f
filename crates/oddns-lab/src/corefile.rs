//! The configuration a server of the lab runs with, close to what kubeadm writes.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use crate::cluster::CLUSTER_DOMAIN;
use crate::fault::Configuration;
use crate::ports::Ports;

/// All a Corefile depends on. Accepted by CoreDNS 1.6.9, 1.10.1 and 1.15.0 alike.
///
/// The differences to kubeadm's: the cluster comes from a zone file, the upstreams are the lab's,
/// and a changed file is picked up within four seconds instead of a minute.
pub(crate) struct Corefile<'a> {
    pub(crate) ports: Ports,
    pub(crate) zone: &'a Path,
    pub(crate) upstreams: &'a [SocketAddr],
    /// Writes a default out in full: another text with the same meaning. A comment would not do, as
    /// CoreDNS compares what it has parsed.
    pub(crate) verbose: bool,
    /// Another configuration than the usual one, with its number.
    pub(crate) other: Option<(Configuration, f64)>,
}

impl Corefile<'_> {
    pub(crate) fn text(&self) -> String {
        let Ports { dns, metrics, health, ready } = self.ports;
        let mut upstreams = String::new();
        for upstream in self.upstreams {
            // Writing into a String cannot fail.
            let _ = write!(upstreams, " {upstream}");
        }
        let zone = self.zone.display();
        let policy = if self.verbose { " round_robin" } else { "" };
        let (forward, cache) = (self.forward(), self.cache());
        let broken = match self.other {
            Some((Configuration::Broken, _)) => "    no_such_directive\n",
            _ => "",
        };
        format!(
            ".:{dns} {{
    bind 127.0.0.1
    errors
    health 127.0.0.1:{health}
    ready 127.0.0.1:{ready}
    file {zone} cluster.local
    prometheus 127.0.0.1:{metrics}
    forward .{upstreams} {{
        {forward}
    }}
    {cache}
{broken}    loop
    reload 2s 1s
    loadbalance{policy}
}}
"
        )
    }

    fn forward(&self) -> String {
        match self.other {
            Some((Configuration::Sequential, _)) => {
                "max_concurrent 1000\n        policy sequential".to_owned()
            }
            Some((Configuration::MaxConcurrent, most)) => format!("max_concurrent {most:.0}"),
            _ => "max_concurrent 1000".to_owned(),
        }
    }

    fn cache(&self) -> String {
        match self.other {
            Some((Configuration::ShortCache, seconds)) => {
                format!("cache {:.0}", seconds.max(1.0))
            }
            Some((Configuration::SmallCache, entries)) => {
                format!(
                    "cache 30 {{\n        success {entries:.0}\n        denial {entries:.0}\n    }}"
                )
            }
            Some((Configuration::ClusterUncached, _)) => {
                let zone = CLUSTER_DOMAIN;
                format!(
                    "cache 30 {{\n        disable success {zone}\n        disable denial {zone}\n    }}"
                )
            }
            _ => "cache 30".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_and_upstreams_are_in_the_text() {
        let text = Corefile {
            ports: Ports { dns: 5301, metrics: 9153, health: 8080, ready: 8181 },
            zone: Path::new("zone"),
            upstreams: &[([127, 0, 0, 1], 53).into(), ([127, 0, 0, 1], 54).into()],
            verbose: true,
            other: None,
        }
        .text();
        for line in [
            ".:5301 {",
            "prometheus 127.0.0.1:9153",
            "forward . 127.0.0.1:53 127.0.0.1:54 {",
            "file zone cluster.local",
            "loadbalance round_robin",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
