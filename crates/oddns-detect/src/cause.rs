//! The table of causes: what moves which way when something goes wrong, and what to do about it.
//!
//! The entries name movements, not limits: how far is far was learned. Signatures follow the fault
//! runs and public incidents that the documentation lists.

use oddns_core::Cause;

/// One thing that can go wrong.
#[derive(Debug, Clone, Copy)]
pub struct CauseEntry {
    /// Stable name, used in labels.
    pub name: &'static str,
    /// One sentence for an operator.
    pub summary: &'static str,
    /// Features that move, and how much each speaks for the cause; the sign is the direction.
    pub signature: &'static [(&'static str, f32)],
    /// What to look at or run next.
    pub next_steps: &'static [&'static str],
}

/// A mean deviation of this many standard deviations counts in full, …
const FULL_DEVIATION: f32 = 4.0;
/// … and in a weak incident this part of the largest deviation, …
const FULL_PART: f32 = 0.6;
/// … which is at least this, or noise would have causes.
const MIN_FULL_DEVIATION: f32 = 1.0;
/// Below this fit no cause is named.
const MIN_CONFIDENCE: f32 = 0.4;

const UNKNOWN: Cause = Cause {
    name: "unknown",
    summary: "The metrics moved together in a way that fits no known cause.",
    confidence: 0.0,
    next_steps: &[
        "look at the features that moved, strongest first",
        "kubectl -n kube-system logs -l k8s-app=kube-dns --since=15m",
        "compare with deployments and Corefile changes of that time",
    ],
};

/// All known causes.
#[rustfmt::skip]
pub const CAUSES: &[CauseEntry] = &[
    CauseEntry {
        name: "upstream_failure",
        summary: "Upstream DNS servers do not answer: names outside the cluster fail.",
        signature: &[("servfail_ratio", 2.0), ("upstream_per_miss_ratio", -2.0), ("upstream_all_broken_rate", 1.0), ("upstream_healthcheck_failure_rate", 1.0), ("request_latency_p99_seconds", 0.5)],
        next_steps: &["dig @<upstream> example.org from a CoreDNS pod's node", "check network policy, routes and the upstream server's own health", "kubectl -n kube-system get configmap coredns -o yaml: is `forward` pointed at the right servers?"],
    },
    CauseEntry {
        name: "upstream_servfail",
        summary: "Upstream DNS servers answer, but with SERVFAIL.",
        signature: &[("upstream_servfail_ratio", 3.0), ("servfail_ratio", 2.0)],
        next_steps: &["dig @<upstream> <failing name>: does it fail without CoreDNS too?", "check the upstream server's logs, its own upstreams and DNSSEC validation", "a cloud resolver answers SERVFAIL above its packet limit: compare upstream_rate with that limit"],
    },
    CauseEntry {
        name: "upstream_slow",
        summary: "Upstream DNS servers answer slowly.",
        signature: &[("upstream_latency_mean_seconds", 2.0), ("upstream_latency_p50_seconds", 1.5), ("upstream_latency_p99_seconds", 1.0), ("request_latency_mean_seconds", 1.0)],
        next_steps: &["dig @<upstream> example.org: compare Query time with the usual", "look for packet loss or a saturated link between the nodes and the upstream server"],
    },
    CauseEntry {
        name: "upstream_partly_failing",
        summary: "One of several upstream servers fails or is slow, the others carry its load.",
        signature: &[("upstream_busiest_ratio", 2.0), ("upstream_latency_spread_ratio", 1.0), ("upstream_healthcheck_failure_rate", 1.0)],
        next_steps: &["compare coredns_proxy_request_duration_seconds_count by `to`", "dig @<each upstream> example.org", "take the bad server out of `forward` until it is mended"],
    },
    CauseEntry {
        name: "packet_loss_upstream",
        summary: "Exchanges with upstream servers are lost and repeated.",
        signature: &[("request_above_2s_ratio", 2.0), ("request_latency_p99_seconds", 1.0), ("upstream_new_connection_ratio", 1.0), ("upstream_healthcheck_failure_rate", 1.0)],
        next_steps: &["ping and mtr from the node to the upstream server", "check conntrack: node_nf_conntrack_stat_insert_failed, node_nf_conntrack_entries"],
    },
    CauseEntry {
        name: "nxdomain_flood",
        summary: "Clients ask for many names that do not exist (NXDOMAIN).",
        signature: &[("nxdomain_ratio", 3.0), ("noerror_ratio", -1.0), ("request_rate", 1.0), ("cache_hit_ratio", -0.5), ("upstream_nxdomain_ratio", 0.5)],
        next_steps: &["find the names: add `log . { class denial }` to the Corefile for a minute", "find the client: kubectl -n kube-system logs -l k8s-app=kube-dns | sort | uniq -c", "a deployment with a wrong service name, or ndots:5 with a new outside name, are the usual origins"],
    },
    CauseEntry {
        name: "random_subdomain_flood",
        summary: "Clients ask for ever new names that do not exist (NXDOMAIN), past the cache.",
        signature: &[("nxdomain_ratio", 2.0), ("upstream_nxdomain_ratio", 2.0), ("cache_hit_ratio", -1.5), ("upstream_per_request_ratio", 1.0), ("cache_eviction_ratio", 1.0), ("request_rate", 0.5)],
        next_steps: &["find the zone: add `log . { class denial }` to the Corefile for a minute", "block it for now with the `template` or `acl` plugin", "raise the denial capacity of `cache` if this is legitimate"],
    },
    CauseEntry {
        name: "cache_ineffective",
        summary: "Fewer answers come from the cache: clients ask for new names, or the cache was changed.",
        signature: &[("cache_hit_ratio", -3.0), ("upstream_per_request_ratio", 1.5), ("request_above_1ms_ratio", 1.0), ("cache_eviction_ratio", 1.0)],
        next_steps: &["check the `cache` lines of the Corefile against the last change", "look for a client that asks for ever new names or with TTL 0"],
    },
    CauseEntry {
        name: "traffic_spike",
        summary: "Far more queries than usual, of the usual kind.",
        signature: &[("request_rate", 3.0), ("goroutines_per_request_ratio", -1.0), ("cpu_usage_ratio", 1.0), ("upstream_rate", 0.5)],
        next_steps: &["find who asks: kubectl top pods, or `log` in the Corefile for a minute", "scale CoreDNS out, or check its autoscaler", "consider NodeLocal DNSCache"],
    },
    CauseEntry {
        name: "retry_storm",
        summary: "Clients repeat their queries: load rises while answers are slow or fail.",
        signature: &[("request_rate", 2.0), ("request_latency_mean_seconds", 1.0), ("servfail_ratio", 1.0), ("answered_ratio", -0.5)],
        next_steps: &["mend the slow or failing answers first; the load follows", "look at clients' timeout and attempts in resolv.conf"],
    },
    CauseEntry {
        name: "traffic_drop",
        summary: "Far fewer queries than usual reach the server.",
        signature: &[("request_rate", -3.0), ("goroutines_per_request_ratio", 0.5), ("cpu_per_request_seconds", 0.5)],
        next_steps: &["is the Service's endpoint list complete? kubectl -n kube-system get endpointslices -l k8s-app=kube-dns", "check kube-proxy, network policy and the nodes' conntrack tables", "did the clients go away? kubectl get events -A"],
    },
    CauseEntry {
        name: "query_mix_changed",
        summary: "Clients ask for other record types than usual.",
        signature: &[("type_other_ratio", 2.0), ("type_a_ratio", -1.0), ("type_aaaa_ratio", -1.0), ("response_size_bytes", 0.5)],
        next_steps: &["find the client: `log` in the Corefile for a minute", "ANY, TXT or NULL in numbers can be tunnelling or amplification: block with `acl`"],
    },
    CauseEntry {
        name: "moved_to_tcp",
        summary: "Queries moved from UDP to TCP.",
        signature: &[("tcp_ratio", 4.0), ("open_files_drift_ratio", 0.5), ("goroutines", 0.5)],
        next_steps: &["are answers truncated? check response sizes and `bufsize`", "is UDP port 53 filtered between clients and CoreDNS?"],
    },
    CauseEntry {
        name: "upstream_moved_to_tcp",
        summary: "Exchanges with upstream moved from UDP to TCP: answers are truncated.",
        signature: &[("upstream_tcp_ratio", 4.0), ("upstream_new_connection_ratio", 1.0)],
        next_steps: &["dig +notcp @<upstream> <name>: is the TC bit set?", "set `prefer_udp` and a larger `bufsize`, or ask why the upstream truncates"],
    },
    CauseEntry {
        name: "restarted",
        summary: "The process was replaced; its cache is cold.",
        signature: &[("recent_restarts", 3.0), ("cache_entries_drift_ratio", -1.0), ("cache_hit_ratio", -0.5), ("resident_memory_drift_ratio", -0.5)],
        next_steps: &["kubectl -n kube-system describe pod <pod>: OOMKilled, evicted, or a rollout?", "kubectl -n kube-system logs <pod> --previous"],
    },
    CauseEntry {
        name: "reload_failed",
        summary: "A Corefile change was refused: the old configuration serves on, and the next restart will fail.",
        signature: &[("recent_reload_failures", 4.0)],
        next_steps: &["kubectl -n kube-system logs <pod> | grep -i corefile", "put the last working Corefile back before any pod restarts"],
    },
    CauseEntry {
        name: "reconfigured",
        summary: "Another configuration was loaded.",
        signature: &[("recent_reconfigurations", 4.0)],
        next_steps: &["if it was meant, nothing; otherwise kubectl -n kube-system get configmap coredns -o yaml"],
    },
    CauseEntry {
        name: "cpu_starved",
        summary: "The process gets too little CPU: its own probes wait.",
        signature: &[("health_latency_mean_seconds", 2.0), ("scrape_duration_seconds", 2.0), ("goroutines", 1.0), ("request_latency_mean_seconds", 0.5), ("scrape_failed", 0.5)],
        next_steps: &["kubectl -n kube-system top pod; look at container_cpu_cfs_throttled_seconds_total", "raise or remove the CPU limit of CoreDNS", "look for noisy neighbours on the node"],
    },
    CauseEntry {
        name: "expensive_queries",
        summary: "Each query costs more CPU than usual.",
        signature: &[("cpu_per_request_seconds", 3.0), ("cpu_usage_ratio", 1.0)],
        next_steps: &["was CoreDNS or its Corefile changed? compare coredns_build_info", "take a profile with the `pprof` plugin"],
    },
    CauseEntry {
        name: "memory_growth",
        summary: "Memory grows without a matching growth of load.",
        signature: &[("resident_memory_drift_ratio", 2.0), ("resident_memory_bytes", 1.0), ("heap_drift_ratio", 1.0)],
        next_steps: &["compare with the container's memory limit: how long until OOM?", "take a heap profile with the `pprof` plugin", "look at goroutines and cache entries for the same time"],
    },
    CauseEntry {
        name: "concurrency_limit",
        summary: "Queries are refused because too many wait for upstream.",
        signature: &[("upstream_concurrency_reject_rate", 3.0), ("refused_ratio", 2.0)],
        next_steps: &["look at upstream latency first", "raise `max_concurrent` in `forward` if memory allows"],
    },
    CauseEntry {
        name: "panics",
        summary: "A plugin panics on some queries.",
        signature: &[("recent_panics", 4.0)],
        next_steps: &["kubectl -n kube-system logs <pod> | grep -A20 panic", "upgrade CoreDNS or take the plugin out"],
    },
    CauseEntry {
        name: "kubernetes_api_failing",
        summary: "The Kubernetes API does not answer CoreDNS: services that change are answered stale.",
        signature: &[("api_error_rate", 3.0), ("dns_programming_rate", -1.0), ("dns_programming_mean_seconds", 0.5)],
        next_steps: &["kubectl get --raw /readyz", "check CoreDNS's service account and network policy towards the API server"],
    },
    CauseEntry {
        name: "kubernetes_churn",
        summary: "Services and endpoints change much more often than usual.",
        signature: &[("dns_programming_rate", 3.0), ("api_request_rate", 0.5)],
        next_steps: &["kubectl get events -A --sort-by=.lastTimestamp: a rollout, or a crash loop?"],
    },
    CauseEntry {
        name: "not_scrapable",
        summary: "The server does not answer with metrics.",
        signature: &[("scrape_failed", 1.0)],
        next_steps: &["kubectl -n kube-system get pods -l k8s-app=kube-dns", "curl http://<pod>:9153/metrics", "is the server frozen, out of CPU, or unreachable?"],
    },
    CauseEntry {
        name: "metrics_lost",
        summary: "The server answers, but CoreDNS's own metrics are gone.",
        signature: &[("coredns_metrics_absent", 4.0), ("series_vanished_ratio", 1.0)],
        next_steps: &["was the Corefile reloaded? older versions lose their metrics then: restart the pod", "is the `prometheus` plugin still in the Corefile?"],
    },
];

/// The cause whose signature fits `deviations` (feature name and mean signed deviation) best, or
/// `unknown` when none fits. NaN deviations count as zero.
pub fn likely_cause(deviations: &[(&str, f32)]) -> Cause {
    let largest = deviations.iter().map(|(_, deviation)| deviation.abs()).fold(0.0, f32::max);
    let full = (FULL_PART * largest).clamp(MIN_FULL_DEVIATION, FULL_DEVIATION);
    let best = CAUSES
        .iter()
        .map(|entry| (fit(entry, deviations, full), entry))
        // Of two that fit alike, the one that explains more.
        .max_by(|a, b| evidence(a).total_cmp(&evidence(b)))
        .filter(|(fit, _)| *fit >= MIN_CONFIDENCE);
    match best {
        Some((confidence, entry)) => Cause {
            name: entry.name,
            summary: entry.summary,
            confidence,
            next_steps: entry.next_steps,
        },
        None => UNKNOWN,
    }
}

/// Fit, discounted for short signatures.
fn evidence((fit, entry): &(f32, &CauseEntry)) -> f32 {
    let whole: f32 = entry.signature.iter().map(|(_, weight)| weight.abs()).sum();
    fit * whole / (whole + 0.5)
}

/// Weighted mean of how far each feature of the signature moved the way it should, 0 to 1.
fn fit(entry: &CauseEntry, deviations: &[(&str, f32)], full: f32) -> f32 {
    let (mut fit, mut whole) = (0.0, 0.0);
    for (feature, weight) in entry.signature {
        let deviation = deviations.iter().find(|(name, _)| name == feature).map_or(0.0, |d| d.1);
        let moved = (deviation * weight.signum() / full).clamp(-1.0, 1.0);
        if moved.is_nan() {
            continue;
        }
        fit += moved * weight.abs();
        whole += weight.abs();
    }
    if whole > 0.0 { (fit / whole).max(0.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signature_is_recognised_as_its_own_cause() {
        for entry in CAUSES {
            let moved: Vec<(&str, f32)> = entry
                .signature
                .iter()
                .map(|(feature, weight)| (*feature, 9.0 * weight.signum()))
                .collect();
            let cause = likely_cause(&moved);
            assert_eq!(cause.name, entry.name);
            assert!(cause.confidence > 0.99, "{}: {}", entry.name, cause.confidence);
        }
    }

    #[test]
    fn what_fits_nothing_is_unknown() {
        assert_eq!(likely_cause(&[]).name, "unknown");
        assert_eq!(likely_cause(&[("plugins", 9.0)]).name, "unknown");
        assert_eq!(likely_cause(&[("tcp_ratio", f32::NAN)]).name, "unknown");
    }
}
