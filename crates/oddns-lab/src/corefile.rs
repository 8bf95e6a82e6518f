//! The configuration a server of the lab runs with, close to what is found in clusters.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use oddns_sim::Corefile as Kind;

use crate::cluster::{CLUSTER_DOMAIN, STUB_DOMAIN};
use crate::fault::Configuration;
use crate::ports::Ports;

/// All a Corefile depends on. Accepted by CoreDNS 1.6.9 to 1.15.0, but for `kubeadm_new`, whose
/// cache needs 1.10.1.
///
/// The differences to those of clusters: addresses are the lab's, upstreams too, and a changed file
/// is picked up within four seconds instead of a minute.
pub(crate) struct Corefile<'a> {
    pub(crate) kind: Kind,
    pub(crate) ports: Ports,
    /// The zone file, where there is no API.
    pub(crate) zone: &'a Path,
    pub(crate) upstreams: &'a [SocketAddr],
    /// The Kubernetes API; the configuration lacks the plugin without.
    pub(crate) api: Option<SocketAddr>,
    /// The upstream of the stub zone, or what knows the cluster behind a node's cache.
    pub(crate) behind: Option<SocketAddr>,
    /// Writes a default out in full: another text with the same meaning. A comment would not do, as
    /// CoreDNS compares what it has parsed.
    pub(crate) verbose: bool,
    /// Another configuration than the usual one, with its number.
    pub(crate) other: Option<(Configuration, f64)>,
}

impl Corefile<'_> {
    pub(crate) fn text(&self) -> String {
        match self.kind {
            Kind::NodeLocal => self.node_local(),
            _ => format!("{}{}", self.root(), self.stub()),
        }
    }

    fn root(&self) -> String {
        let Ports { dns, metrics, health, ready } = self.ports;
        let policy = if self.verbose { " round_robin" } else { "" };
        let lameduck = match self.kind {
            Kind::KubeadmOld | Kind::KubeadmNew | Kind::Eks => " {\n        lameduck 5s\n    }",
            _ => "",
        };
        format!(
            ".:{dns} {{
    bind 127.0.0.1
    errors
    health 127.0.0.1:{health}{lameduck}
    ready 127.0.0.1:{ready}
{}    prometheus 127.0.0.1:{metrics}
{}    {}
{}    loop
    reload 2s 1s
    loadbalance{policy}
}}
",
            self.cluster(),
            self.forward(),
            self.cache("cache 30"),
            self.broken(),
        )
    }

    /// Not to be read by any CoreDNS, where that is wanted.
    fn broken(&self) -> &'static str {
        match self.other {
            Some((Configuration::Broken, _)) => "    no_such_directive\n",
            _ => "",
        }
    }

    fn cluster(&self) -> String {
        let Some(api) = self.api else {
            return format!("    file {} {CLUSTER_DOMAIN}\n", self.zone.display());
        };
        let ttl = match self.kind.cluster_ttl_seconds() {
            5.0 => String::new(),
            seconds => format!("        ttl {seconds:.0}\n"),
        };
        format!(
            "    kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
        endpoint http://{api}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
{ttl}    }}\n"
        )
    }

    /// A second server block, as companies have it for their own names; empty where there is none.
    fn stub(&self) -> String {
        let (true, Some(stub)) = (self.kind.has_stub(), self.behind) else { return String::new() };
        let Ports { dns, metrics, .. } = self.ports;
        format!(
            "{STUB_DOMAIN}:{dns} {{
    bind 127.0.0.1
    errors
    prometheus 127.0.0.1:{metrics}
    forward . {stub}
    cache 30
}}\n"
        )
    }

    /// A block for each zone of the cluster, which is asked over TCP, and one for the rest.
    fn node_local(&self) -> String {
        let Ports { dns, metrics, health, ready } = self.ports;
        let behind = self.behind.map(|address| address.to_string()).unwrap_or_default();
        let of_cluster = |zone: &str, cache: &str, health: &str| {
            format!(
                "{zone}:{dns} {{
    bind 127.0.0.1
    errors
    {}
    reload 2s 1s
    loop
    forward . {behind} {{
        force_tcp
    }}
    prometheus 127.0.0.1:{metrics}
{health}}}\n",
                self.cache(cache)
            )
        };
        let own = "cache {\n        success 9984 30\n        denial 9984 5\n    }";
        let mut text = of_cluster(CLUSTER_DOMAIN, own, &format!("    health 127.0.0.1:{health}\n"));
        for zone in ["in-addr.arpa", "ip6.arpa"] {
            text += &of_cluster(zone, "cache 30", "");
        }
        let (forward, cache, broken) = (self.forward(), self.cache("cache 30"), self.broken());
        // `loadbalance` is not in the one of Kubernetes: only an edit brings it.
        let edit = if self.verbose { "    loadbalance round_robin\n" } else { "" };
        let root = format!(
            ".:{dns} {{
    bind 127.0.0.1
    errors
    {cache}
    reload 2s 1s
    loop
    ready 127.0.0.1:{ready}
{edit}{forward}{broken}    prometheus 127.0.0.1:{metrics}
}}\n"
        );
        text + &root
    }

    fn forward(&self) -> String {
        let mut options: Vec<String> = match self.kind {
            Kind::Eks | Kind::NodeLocal => Vec::new(),
            Kind::Tuned => ["max_concurrent 2000", "prefer_udp", "expire 30s", "health_check 1s"]
                .map(String::from)
                .into(),
            _ => vec!["max_concurrent 1000".to_owned()],
        };
        match self.other {
            Some((Configuration::Sequential, _)) => options.push("policy sequential".to_owned()),
            Some((Configuration::MaxConcurrent, most)) => {
                options.retain(|option| !option.starts_with("max_concurrent"));
                options.push(format!("max_concurrent {most:.0}"));
            }
            _ => {}
        }
        let mut text = "    forward .".to_owned();
        for upstream in self.upstreams {
            // Writing into a String cannot fail.
            let _ = write!(text, " {upstream}");
        }
        if options.is_empty() {
            return text + "\n";
        }
        let options: String = options.iter().map(|option| format!("        {option}\n")).collect();
        format!("{text} {{\n{options}    }}\n")
    }

    /// The usual cache of the configuration, `plain` where it has no opinion, or another.
    fn cache(&self, plain: &str) -> String {
        let zone = CLUSTER_DOMAIN;
        let uncached = || {
            format!(
                "cache 30 {{\n        disable success {zone}\n        disable denial {zone}\n    }}"
            )
        };
        match self.other {
            Some((Configuration::ShortCache, seconds)) => format!("cache {:.0}", seconds.max(1.0)),
            Some((Configuration::SmallCache, entries)) => format!(
                "cache 30 {{\n        success {entries:.0}\n        denial {entries:.0}\n    }}"
            ),
            Some((Configuration::ClusterUncached, _)) => uncached(),
            _ => match self.kind {
                Kind::KubeadmNew => uncached(),
                Kind::Tuned => TUNED_CACHE.to_owned(),
                _ => plain.to_owned(),
            },
        }
    }
}

const TUNED_CACHE: &str = "cache {
        success 30000 300
        denial 30000 60
        prefetch 10 1m 10%
        serve_stale 1h
    }";

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: Kind, other: Option<(Configuration, f64)>) -> String {
        Corefile {
            kind,
            ports: Ports { dns: 5301, metrics: 9153, health: 8080, ready: 8181 },
            zone: Path::new("zone"),
            upstreams: &[([127, 0, 0, 1], 53).into(), ([127, 0, 0, 1], 54).into()],
            api: kind.has_api().then_some(([127, 0, 0, 1], 6443).into()),
            behind: Some(([127, 0, 0, 1], 55).into()),
            verbose: true,
            other,
        }
        .text()
    }

    #[test]
    fn each_configuration_has_what_it_is_known_for() {
        for (kind, lines) in [
            (
                Kind::ZoneFile,
                &[
                    ".:5301 {",
                    "prometheus 127.0.0.1:9153",
                    "forward . 127.0.0.1:53 127.0.0.1:54 {",
                    "file zone cluster.local",
                    "loadbalance round_robin",
                ][..],
            ),
            (
                Kind::Kubernetes,
                &[
                    "endpoint http://127.0.0.1:6443",
                    "corp.example:5301 {",
                    "forward . 127.0.0.1:55",
                ],
            ),
            (Kind::KubeadmOld, &["lameduck 5s", "ttl 30", "max_concurrent 1000", "cache 30\n"]),
            (Kind::KubeadmNew, &["ttl 30", "disable success cluster.local"]),
            (Kind::Eks, &["forward . 127.0.0.1:53 127.0.0.1:54\n"]),
            (Kind::NodeLocal, &["cluster.local:5301 {", "forward . 127.0.0.1:55 {", "force_tcp"]),
            (Kind::Tuned, &["success 30000 300", "prefetch 10 1m 10%", "health_check 1s"]),
        ] {
            let text = text(kind, None);
            for line in lines {
                assert!(text.contains(line), "{kind}: {line}\n{text}");
            }
            assert_eq!(text.contains(&format!("{STUB_DOMAIN}:")), kind.has_stub(), "{text}");
            assert_eq!(text.contains("kubernetes"), kind.has_api(), "{text}");
        }
    }

    #[test]
    fn every_fault_of_the_configuration_is_in_every_text() {
        for kind in Kind::ALL {
            for (other, line) in [
                (Configuration::Sequential, "policy sequential"),
                (Configuration::MaxConcurrent, "max_concurrent 2\n"),
                (Configuration::ShortCache, "cache 2\n"),
                (Configuration::SmallCache, "success 2\n"),
                (Configuration::ClusterUncached, "disable denial cluster.local"),
                (Configuration::Broken, "no_such_directive"),
            ] {
                let text = text(kind, Some((other, 2.0)));
                assert!(text.contains(line), "{kind}: {line}\n{text}");
                assert!(text.matches("max_concurrent").count() <= 1, "{text}");
            }
        }
    }
}
