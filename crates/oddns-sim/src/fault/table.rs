//! The entries, by family. Names, reports and features are data; the effects are the model.

use super::{Family, Fault, Reach, Sign, Strength};

const UP: Sign = Sign::Up;
const DOWN: Sign = Sign::Down;

const PLAIN: Strength = Strength { what: "", low: 1.0, usual: 1.0, high: 1.0 };

const fn strength(what: &'static str, low: f64, usual: f64, high: f64) -> Strength {
    Strength { what, low, usual, high }
}

/// What most entries have in common.
const FAULT: Fault = Fault {
    name: "",
    doc: "",
    family: Family::Upstream,
    anomalous: true,
    visible: true,
    reach: Reach::Fleet,
    strength: PLAIN,
    incidents: "",
    features: &[],
    effect: |_, _| (),
};

const CHANGE: Fault = Fault { family: Family::Change, anomalous: false, ..FAULT };

/// Every fault and benign change, by family.
pub const FAULTS: &[Fault] = &[
    // Upstream.
    Fault {
        name: "upstream_servfail",
        doc: "Every upstream answers everything with SERVFAIL.",
        incidents: "coredns#3927",
        features: &[
            ("servfail_ratio", UP),
            ("upstream_servfail_ratio", UP),
            ("noerror_ratio", DOWN),
            ("upstream_worst_servfail_ratio", UP),
        ],
        effect: |c, _| c.each_upstream(|u| u.servfail = 1.0),
        ..FAULT
    },
    Fault {
        name: "upstream_outage",
        doc: "Every upstream takes queries and answers none.",
        incidents: "coredns#7353 coredns#5992 coredns#2287 coredns#4327",
        features: &[
            ("servfail_own_ratio", UP),
            ("upstream_rate", DOWN),
            ("upstream_all_broken_rate", UP),
            ("upstream_healthcheck_failure_rate", UP),
            ("request_latency_p99_seconds", UP),
            ("goroutines", UP),
        ],
        effect: |c, _| c.each_upstream(|u| u.dead = true),
        ..FAULT
    },
    Fault {
        name: "upstream_refused",
        doc: "Every upstream has its port closed, so that the system refuses each packet.",
        incidents: "coredns#6090",
        features: &[
            ("servfail_own_ratio", UP),
            ("upstream_rate", DOWN),
            ("upstream_all_broken_rate", UP),
            ("upstream_healthcheck_failure_rate", UP),
        ],
        effect: |c, _| c.each_upstream(|u| u.closed = true),
        ..FAULT
    },
    Fault {
        name: "upstream_rejects",
        doc: "Every upstream answers everything with REFUSED, as one does that lost its rights.",
        features: &[("refused_ratio", UP), ("upstream_refused_ratio", UP), ("noerror_ratio", DOWN)],
        effect: |c, _| c.each_upstream(|u| u.refused = 1.0),
        ..FAULT
    },
    Fault {
        name: "upstream_nxdomain",
        doc: "Every upstream answers everything with NXDOMAIN, as one does that lost its zones.",
        features: &[
            ("upstream_nxdomain_ratio", UP),
            ("nxdomain_ratio", UP),
            ("noerror_ratio", DOWN),
        ],
        effect: |c, _| c.each_upstream(|u| u.nxdomain = 1.0),
        ..FAULT
    },
    Fault {
        name: "upstream_latency",
        doc: "Every upstream answers much later.",
        strength: strength("seconds each answer takes longer", 0.15, 0.3, 1.5),
        incidents: "coredns#7353",
        features: &[
            ("upstream_latency_mean_seconds", UP),
            ("upstream_above_256ms_ratio", UP),
            ("request_latency_mean_seconds", UP),
            ("request_above_256ms_ratio", UP),
            ("queries_in_flight", UP),
        ],
        effect: |c, dose| {
            c.each_upstream(|u| {
                u.delay = dose.strength;
                u.jitter = dose.strength / 3.0;
            });
        },
        ..FAULT
    },
    Fault {
        name: "upstream_loss",
        doc: "Every upstream loses a part of the UDP queries.",
        strength: strength("share of queries lost", 0.1, 0.2, 0.6),
        incidents: "kubernetes#56903 kubernetes/dns#480",
        features: &[
            ("upstream_unanswered_ratio", UP),
            ("request_latency_mean_seconds", UP),
            ("request_above_256ms_ratio", UP),
            ("upstream_time_ratio", DOWN),
            ("upstream_healthcheck_failure_rate", UP),
        ],
        effect: |c, dose| c.each_upstream(|u| u.loss = dose.strength),
        ..FAULT
    },
    Fault {
        name: "truncation",
        doc: "Every upstream cuts a part of its UDP replies, so that clients ask again over TCP.",
        strength: strength("share of replies cut", 0.2, 0.5, 1.0),
        incidents: "coredns#5362",
        features: &[("tcp_ratio", UP), ("upstream_tcp_ratio", UP)],
        effect: |c, dose| c.each_upstream(|u| u.truncated = dose.strength),
        ..FAULT
    },
    Fault {
        name: "upstream_some_servfail",
        doc: "Every upstream answers some of what it gets with SERVFAIL.",
        strength: strength("share of answers", 0.02, 0.03, 0.2),
        incidents: "coredns#3927",
        features: &[
            ("servfail_ratio", UP),
            ("upstream_servfail_ratio", UP),
            ("upstream_worst_servfail_ratio", UP),
        ],
        effect: |c, dose| c.each_upstream(|u| u.servfail = dose.strength),
        ..FAULT
    },
    Fault {
        name: "upstream_slight_latency",
        doc: "Every upstream answers a little later.",
        strength: strength("seconds each answer takes longer", 0.015, 0.03, 0.1),
        features: &[
            ("upstream_latency_mean_seconds", UP),
            ("upstream_latency_p50_seconds", UP),
            ("request_latency_mean_seconds", UP),
        ],
        effect: |c, dose| c.each_upstream(|u| u.delay = dose.strength),
        ..FAULT
    },
    Fault {
        name: "upstream_slight_loss",
        doc: "Every upstream loses a few of the UDP queries.",
        strength: strength("share of queries lost", 0.02, 0.05, 0.08),
        incidents: "kubernetes/dns#480",
        features: &[
            ("upstream_unanswered_ratio", UP),
            ("request_latency_mean_seconds", UP),
            ("request_above_256ms_ratio", UP),
        ],
        effect: |c, dose| c.each_upstream(|u| u.loss = dose.strength),
        ..FAULT
    },
    Fault {
        name: "upstream_rate_limit",
        doc: "Every upstream answers so many queries a second and drops the rest.",
        strength: strength("queries answered a second", 1.0, 4.0, 100.0),
        incidents: "containers-roadmap#2530 coredns#4327",
        features: &[
            ("upstream_unanswered_ratio", UP),
            ("request_latency_mean_seconds", UP),
            ("servfail_own_ratio", UP),
        ],
        effect: |c, dose| c.each_upstream(|u| u.most_per_second = dose.strength),
        ..FAULT
    },
    Fault {
        name: "one_upstream_latency",
        doc: "One of the upstreams answers later.",
        strength: strength("seconds each answer takes longer", 0.1, 0.2, 1.0),
        incidents: "coredns#7353",
        features: &[
            ("upstream_latency_spread_ratio", UP),
            ("upstream_latency_mean_seconds", UP),
            ("request_latency_mean_seconds", UP),
        ],
        effect: |c, dose| c.upstreams[0].delay = dose.strength,
        ..FAULT
    },
    Fault {
        name: "one_upstream_outage",
        doc: "One of the upstreams takes queries and answers none.",
        incidents: "kubernetes#113080 coredns#7353",
        features: &[("upstream_healthcheck_failure_rate", UP), ("upstream_busiest_ratio", UP)],
        effect: |c, _| c.upstreams[0].dead = true,
        ..FAULT
    },
    Fault {
        name: "one_upstream_servfail",
        doc: "One of the upstreams answers everything with SERVFAIL.",
        incidents: "coredns#3927",
        features: &[
            ("upstream_worst_servfail_ratio", UP),
            ("upstream_servfail_ratio", UP),
            ("servfail_ratio", UP),
        ],
        effect: |c, _| c.upstreams[0].servfail = 1.0,
        ..FAULT
    },
    Fault {
        name: "upstream_skew",
        doc: "Only the first upstream is used, whatever the policy.",
        incidents: "coredns#3900 coredns#6782 coredns-PR#7903",
        features: &[("upstream_busiest_ratio", UP)],
        effect: |c, _| c.sequential = true,
        ..FAULT
    },
    Fault {
        name: "upstream_drift",
        doc: "Every upstream gets slower, evenly over the time of the fault.",
        strength: strength("seconds each answer takes longer at the end", 0.03, 0.1, 1.0),
        incidents: "coredns#3521",
        features: &[("upstream_latency_mean_seconds", UP), ("request_latency_mean_seconds", UP)],
        effect: |c, dose| c.each_upstream(|u| u.delay = dose.strength * dose.progress()),
        ..FAULT
    },
    Fault {
        name: "stale_servfail",
        doc: "Every upstream fails for one second of six: the cache goes on saying SERVFAIL.",
        incidents: "coredns#7956",
        features: &[("servfail_ratio", UP), ("upstream_servfail_ratio", UP)],
        effect: |c, dose| {
            let share = flapping(dose.elapsed, dose.seconds);
            c.each_upstream(|u| u.servfail = share);
        },
        ..FAULT
    },
    Fault {
        name: "max_concurrent",
        doc: "Upstreams answer 300 ms later, and only so many queries may wait for them.",
        strength: strength("queries that may wait", 1.0, 2.0, 50.0),
        incidents: "coredns#4324 coredns#3635",
        features: &[
            ("upstream_concurrency_reject_rate", UP),
            ("refused_ratio", UP),
            ("upstream_latency_mean_seconds", UP),
        ],
        effect: |c, dose| {
            c.each_upstream(|u| u.delay = 0.3);
            c.max_concurrent = dose.strength;
        },
        ..FAULT
    },
    Fault {
        name: "one_zone_failure",
        doc: "The upstream of a stub zone answers everything with SERVFAIL.",
        incidents: "coredns#3927",
        features: &[
            ("zone_worst_servfail_ratio", UP),
            ("upstream_worst_servfail_ratio", UP),
            ("servfail_ratio", UP),
        ],
        effect: |c, _| c.stub.servfail = 1.0,
        ..FAULT
    },
    Fault {
        name: "connection_leak",
        doc: "Connections to a wrong upstream address are opened again and again, and never closed.",
        reach: Reach::Server,
        strength: strength("connections a second", 1.0, 10.0, 100.0),
        incidents: "coredns#6090",
        features: &[
            ("open_files_drift_ratio", UP),
            ("goroutines", UP),
            ("upstream_new_connection_ratio", UP),
            ("cpu_usage_ratio", UP),
        ],
        effect: |c, dose| {
            c.leaked_files = dose.strength;
            c.leaked_goroutines = 2.0 * dose.strength;
            c.new_connections = 1.0 + 3.0 * dose.strength;
            c.cpu_cost = 3.0;
        },
        ..FAULT
    },
    Fault {
        name: "connection_churn",
        doc: "Connections to upstream break, so that many exchanges need a new one.",
        strength: strength("times the usual new connections", 5.0, 30.0, 300.0),
        incidents: "coredns#6151 coredns#3521",
        features: &[("upstream_new_connection_ratio", UP), ("cpu_per_request_seconds", UP)],
        effect: |c, dose| {
            c.new_connections = dose.strength;
            c.cpu_cost = 1.8;
        },
        ..FAULT
    },
    Fault {
        name: "health_check_loop",
        doc: "A dead upstream is checked in a busy loop.",
        incidents: "coredns#4113",
        features: &[
            ("upstream_healthcheck_failure_rate", UP),
            ("cpu_usage_ratio", UP),
            ("cpu_per_request_seconds", UP),
        ],
        effect: |c, _| {
            c.upstreams[0].dead = true;
            c.busy_health_checks = true;
            c.cpu_cost = 4.0;
        },
        ..FAULT
    },
    Fault {
        name: "forward_amplification",
        doc: "A query floods upstream until it times out.",
        strength: strength("exchanges for each that a client caused", 3.0, 20.0, 200.0),
        incidents: "coredns#4388 coredns#4544",
        features: &[
            ("upstream_per_request_ratio", UP),
            ("upstream_per_miss_ratio", UP),
            ("upstream_rate", UP),
        ],
        effect: |c, dose| c.amplification = dose.strength,
        ..FAULT
    },
    Fault {
        name: "forwarding_loop",
        doc: "Queries that are forwarded come back to the server itself.",
        strength: strength("queries that each forwarded one becomes", 5.0, 50.0, 5000.0),
        incidents: "coredns#2087 coredns#2391 coredns#1986 coredns#4289",
        features: &[
            ("request_rate", UP),
            ("goroutines", UP),
            ("cpu_usage_ratio", UP),
            ("upstream_rate", UP),
        ],
        effect: |c, dose| c.looped = dose.strength,
        ..FAULT
    },
    // Traffic.
    Fault {
        name: "nxdomain_flood",
        doc: "Random names that do not exist are asked for, many a normal lookup.",
        family: Family::Traffic,
        strength: strength("questions for each normal lookup", 3.0, 10.0, 100.0),
        features: &[
            ("nxdomain_ratio", UP),
            ("request_rate", UP),
            ("cache_hit_ratio", DOWN),
            ("upstream_nxdomain_ratio", UP),
            ("cache_insertion_ratio", UP),
        ],
        effect: |c, dose| c.flood = flood(dose.strength, dose.lookups_per_second, 200.0),
        ..FAULT
    },
    Fault {
        name: "random_subdomain",
        doc: "Random names below one zone that exists not, about as many as normal lookups.",
        family: Family::Traffic,
        strength: strength("questions for each normal lookup", 0.3, 1.0, 3.0),
        features: &[
            ("upstream_nxdomain_ratio", UP),
            ("cache_hit_ratio", DOWN),
            ("cache_insertion_ratio", UP),
        ],
        effect: |c, dose| c.flood = flood(dose.strength, dose.lookups_per_second, 20.0),
        ..FAULT
    },
    Fault {
        name: "traffic_spike",
        doc: "Many times the lookups.",
        family: Family::Traffic,
        strength: strength("times the usual lookups", 3.0, 5.0, 30.0),
        incidents: "coredns#2593 coredns#3635",
        features: &[
            ("request_rate", UP),
            ("upstream_rate", UP),
            ("cpu_usage_ratio", UP),
            ("goroutines_per_request_ratio", DOWN),
        ],
        effect: |c, dose| c.lookups = dose.strength,
        ..FAULT
    },
    Fault {
        name: "traffic_drop",
        doc: "A small part of the lookups is left.",
        family: Family::Traffic,
        strength: strength("times the usual lookups", 0.03, 0.1, 0.4),
        incidents: "kubernetes#129617",
        features: &[
            ("request_rate", DOWN),
            ("cpu_usage_ratio", DOWN),
            ("upstream_rate", DOWN),
            ("goroutines_per_request_ratio", UP),
        ],
        effect: |c, dose| c.lookups = dose.strength,
        ..FAULT
    },
    Fault {
        name: "requests_stop",
        doc: "No query reaches the servers, which are well.",
        family: Family::Traffic,
        incidents: "coredns#5471 kubernetes#129617",
        features: &[("request_rate", DOWN), ("upstream_rate", DOWN), ("cpu_usage_ratio", DOWN)],
        effect: |c, _| c.lookups = 0.0,
        ..FAULT
    },
    Fault {
        name: "cache_busting",
        doc: "A client asks for ever new names that exist.",
        family: Family::Traffic,
        strength: strength("questions for each normal lookup", 0.5, 1.0, 10.0),
        incidents: "kops#5652",
        features: &[
            ("cache_hit_ratio", DOWN),
            ("upstream_rate", UP),
            ("cache_insertion_ratio", UP),
            ("upstream_per_request_ratio", UP),
            ("type_a_ratio", UP),
            ("type_aaaa_ratio", DOWN),
        ],
        effect: |c, dose| c.unique = flood(dose.strength, dose.lookups_per_second, 40.0),
        ..FAULT
    },
    Fault {
        name: "hot_name",
        doc: "A client asks for one name in a busy loop.",
        family: Family::Traffic,
        strength: strength("questions for each normal lookup", 3.0, 10.0, 100.0),
        incidents: "coredns#6754",
        features: &[
            ("request_rate", UP),
            ("cache_hit_ratio", UP),
            ("type_a_ratio", UP),
            ("nxdomain_ratio", DOWN),
        ],
        effect: |c, dose| c.hot = flood(dose.strength, dose.lookups_per_second, 200.0),
        ..FAULT
    },
    Fault {
        name: "retry_storm",
        doc: "Clients ask each question many times at once.",
        family: Family::Traffic,
        strength: strength("times each question", 2.0, 4.0, 10.0),
        incidents: "coredns#2593",
        features: &[
            ("request_rate", UP),
            ("upstream_rate", UP),
            ("queries_in_flight", UP),
            ("cache_hit_ratio", UP),
            ("cpu_usage_ratio", UP),
        ],
        effect: |c, dose| c.copies = dose.strength,
        ..FAULT
    },
    Fault {
        name: "search_path_storm",
        doc: "Many lookups are of names outside, each along the whole search path.",
        family: Family::Traffic,
        strength: strength("times the lookups of names outside", 3.0, 5.0, 10.0),
        incidents: "coredns#6202 coredns#7212 kubernetes#14051",
        features: &[("nxdomain_ratio", UP), ("request_rate", UP), ("noerror_ratio", DOWN)],
        effect: |c, dose| c.searched = Some(dose.strength),
        ..FAULT
    },
    Fault {
        name: "clients_over_tcp",
        doc: "Many of the lookups go over TCP.",
        family: Family::Traffic,
        strength: strength("share of lookups", 0.2, 0.5, 1.0),
        features: &[("tcp_ratio", UP), ("upstream_tcp_ratio", UP)],
        effect: |c, dose| c.tcp = Some(dose.strength),
        ..FAULT
    },
    Fault {
        name: "qtype_shift",
        doc: "Most lookups ask for TXT, PTR and SRV instead of addresses.",
        family: Family::Traffic,
        incidents: "coredns#7212",
        features: &[
            ("type_a_ratio", DOWN),
            ("type_aaaa_ratio", DOWN),
            ("type_ptr_ratio", UP),
            ("type_other_ratio", UP),
        ],
        effect: |c, _| c.odd_types = 2.2,
        ..FAULT
    },
    Fault {
        name: "encrypted_streams",
        doc: "Encrypted streams are opened and held until memory runs out.",
        family: Family::Traffic,
        reach: Reach::Server,
        strength: strength("streams a second", 5.0, 50.0, 1000.0),
        incidents: "CVE-2025-47950 CVE-2025-68151 GHSA-2wpx-qpw2-g5h5",
        features: &[
            ("goroutines", UP),
            ("encrypted_ratio", UP),
            ("heap_drift_ratio", UP),
            ("open_files_drift_ratio", UP),
        ],
        effect: |c, dose| {
            c.streams = dose.strength;
            c.leaked_goroutines = 2.0 * dose.strength;
            c.leaked_bytes = 50_000.0 * dose.strength;
            c.leaked_files = 0.2 * dose.strength;
        },
        ..FAULT
    },
    // Cache.
    Fault {
        name: "cache_ineffective",
        doc: "Answers are good for a second only, so that nearly nothing is found in the cache.",
        family: Family::Cache,
        strength: strength("seconds an answer is good", 0.5, 1.0, 2.0),
        incidents: "kubernetes/dns#476",
        features: &[
            ("cache_hit_ratio", DOWN),
            ("upstream_per_request_ratio", UP),
            ("upstream_rate", UP),
            ("request_latency_mean_seconds", UP),
            ("request_latency_p90_seconds", UP),
        ],
        effect: |c, dose| c.most_ttl = dose.strength,
        ..FAULT
    },
    Fault {
        name: "hidden_misses",
        doc: "Expired denials hide good entries: queries go upstream without counting as misses.",
        family: Family::Cache,
        strength: strength("share of the hits", 0.05, 0.2, 0.6),
        incidents: "coredns#3701",
        features: &[("upstream_per_miss_ratio", UP), ("upstream_rate", UP)],
        effect: |c, dose| c.hidden_misses = dose.strength,
        ..FAULT
    },
    // Process.
    Fault {
        name: "restart",
        doc: "One server is killed and started again at once, with a cold cache.",
        family: Family::Process,
        reach: Reach::Server,
        incidents: "coredns#5834 coredns#6573 coredns#2336 coredns#7630",
        features: &[
            ("recent_restarts", UP),
            ("cache_entries_drift_ratio", DOWN),
            ("cache_hit_ratio", DOWN),
        ],
        effect: |c, dose| c.restarts = dose.begins(),
        ..FAULT
    },
    Fault {
        name: "restart_storm",
        doc: "One server dies again and again, as one does that runs out of memory.",
        family: Family::Process,
        reach: Reach::Server,
        strength: strength("seconds between two deaths", 5.0, 10.0, 300.0),
        incidents: "kubespray#9306 coredns#3388 kops#5652",
        features: &[
            ("recent_restarts", UP),
            ("cache_entries_drift_ratio", DOWN),
            ("cache_hit_ratio", DOWN),
        ],
        effect: |c, dose| {
            let n = |elapsed: f64| (elapsed / dose.strength).floor();
            c.restarts = dose.begins() || n(dose.elapsed) > n(dose.elapsed - dose.seconds);
        },
        ..FAULT
    },
    Fault {
        name: "process_freeze",
        doc: "One server is frozen; its metrics do not answer either.",
        family: Family::Process,
        reach: Reach::Server,
        incidents: "kubernetes#125467",
        features: &[("scrape_failed", UP)],
        effect: |c, _| c.frozen = true,
        ..FAULT
    },
    Fault {
        name: "cpu_throttle",
        doc: "One server runs for a small part of the time.",
        family: Family::Process,
        reach: Reach::Server,
        strength: strength("share of the time", 0.03, 0.1, 0.3),
        incidents: "talos#11812 coredns#5595 coredns#4357",
        features: &[
            ("request_latency_mean_seconds", UP),
            ("own_latency_mean_seconds", UP),
            ("scrape_duration_seconds", UP),
        ],
        effect: |c, dose| c.cpu_quota = dose.strength,
        ..FAULT
    },
    Fault {
        name: "cpu_regression",
        doc: "Each query costs many times the CPU time, at the same load.",
        family: Family::Process,
        reach: Reach::Server,
        strength: strength("times the usual CPU time", 2.0, 6.0, 50.0),
        incidents: "coredns#6255 coredns#6151",
        features: &[
            ("cpu_per_request_seconds", UP),
            ("cpu_usage_ratio", UP),
            ("own_latency_mean_seconds", UP),
        ],
        effect: |c, dose| c.cpu_cost = dose.strength,
        ..FAULT
    },
    Fault {
        name: "slow_leak",
        doc: "Memory is never given back, a few bytes each query.",
        family: Family::Process,
        reach: Reach::Server,
        strength: strength("bytes a second", 1_000.0, 20_000.0, 50_000.0),
        incidents: "coredns#3393 coredns#4278",
        features: &[("resident_memory_bytes", UP), ("heap_drift_ratio", UP)],
        effect: |c, dose| c.leaked_bytes = dose.strength,
        ..FAULT
    },
    Fault {
        name: "memory_growth",
        doc: "Memory grows fast until the process is killed.",
        family: Family::Process,
        reach: Reach::Server,
        strength: strength("bytes a second", 100_000.0, 500_000.0, 5_000_000.0),
        incidents: "miekg/dns#1004 coredns#2593",
        features: &[("heap_drift_ratio", UP), ("resident_memory_drift_ratio", UP)],
        effect: |c, dose| {
            c.leaked_bytes = dose.strength;
            c.memory_limit = 1.8e9;
        },
        ..FAULT
    },
    Fault {
        name: "memory_pressure",
        doc: "The memory limit is near: the collector runs all the time, and scrapes fail.",
        family: Family::Process,
        reach: Reach::Server,
        incidents: "coredns#2593 coredns#3388 kops#5652",
        features: &[
            ("cpu_per_request_seconds", UP),
            ("goroutines", UP),
            ("own_latency_mean_seconds", UP),
            ("scrape_duration_seconds", UP),
        ],
        effect: |c, _| {
            c.cpu_cost = 8.0;
            c.cpu_quota = 0.3;
            c.scrapes_failed = 0.2;
            c.scrape_delay = 0.5;
        },
        ..FAULT
    },
    Fault {
        name: "panics",
        doc: "Queries of one kind make plugins panic; the server goes on and says SERVFAIL.",
        family: Family::Process,
        reach: Reach::Server,
        strength: strength("panics a second", 0.1, 2.0, 50.0),
        incidents: "coredns#7561 coredns#4022 coredns#6087 coredns-PR#8312",
        features: &[("recent_panics", UP), ("servfail_own_ratio", UP)],
        effect: |c, dose| {
            c.panics = dose.strength;
            c.leaked_bytes = 20_000.0 * dose.strength;
        },
        ..FAULT
    },
    // Kubernetes.
    Fault {
        name: "api_lost",
        doc: "The API server says nothing any more: changes are not taken up.",
        family: Family::Kubernetes,
        incidents: "coredns#3587 coredns#3879 coredns#1967 eve#6113 coredns-PR#3886",
        features: &[("dns_programming_silence_ratio", UP), ("dns_programming_rate", DOWN)],
        effect: |c, _| c.api_silent = true,
        ..FAULT
    },
    Fault {
        name: "api_errors",
        doc: "The API server answers with errors, and is asked again.",
        family: Family::Kubernetes,
        strength: strength("requests a second", 0.3, 2.0, 20.0),
        incidents: "coredns#4022",
        features: &[("api_error_rate", UP), ("api_request_rate", UP)],
        effect: |c, dose| c.api_errors = dose.strength,
        ..FAULT
    },
    Fault {
        name: "endpoint_churn",
        doc: "Endpoints come and go all the time.",
        family: Family::Kubernetes,
        strength: strength("changes a second", 2.0, 10.0, 200.0),
        incidents: "coredns#6658 kubernetes#127259",
        features: &[("dns_programming_rate", UP)],
        effect: |c, dose| c.churned = dose.strength,
        ..FAULT
    },
    Fault {
        name: "slow_programming",
        doc: "Changes reach the server late.",
        family: Family::Kubernetes,
        strength: strength("seconds", 2.0, 10.0, 200.0),
        incidents: "coredns#6658",
        features: &[("dns_programming_mean_seconds", UP)],
        effect: |c, dose| c.programming_delay = dose.strength,
        ..FAULT
    },
    // Replica.
    Fault {
        name: "replica_imbalance",
        doc: "One of several servers gets most of the queries.",
        family: Family::Replica,
        incidents: "coredns#6754 coredns#6803 coredns#3994",
        features: &[("divergence_request_rate", UP), ("request_rate", UP)],
        effect: |c, dose| {
            let (n, first) = (dose.n_servers as f64, dose.server == 0);
            let most = 0.9 * n;
            c.balance = match (first, dose.n_servers > 1) {
                (true, true) => most,
                (false, _) => (n - most) / (n - 1.0),
                (true, false) => 1.5,
            };
        },
        ..FAULT
    },
    Fault {
        name: "stale_replica",
        doc: "One server does not know services that the others know.",
        family: Family::Replica,
        reach: Reach::Server,
        strength: strength("share of the services", 0.2, 0.5, 1.0),
        incidents: "kubernetes/dns#171 coredns#3587",
        features: &[("nxdomain_ratio", UP), ("noerror_ratio", DOWN)],
        effect: |c, dose| {
            c.unknown_services = dose.strength;
            c.api_silent = true;
        },
        ..FAULT
    },
    // Configuration.
    Fault {
        name: "bad_reload",
        doc: "A broken Corefile is pushed: the server goes on with the old one.",
        family: Family::Configuration,
        incidents: "coredns#2920 coredns#3783 coredns#4014 coredns#6990",
        features: &[("recent_reload_failures", UP)],
        effect: |c, dose| c.reload_fails = dose.passes(4.0),
        ..FAULT
    },
    // Telemetry.
    Fault {
        name: "metrics_absent",
        doc: "The server answers scrapes without a metric of its own, and DNS as ever.",
        family: Family::Telemetry,
        reach: Reach::Server,
        incidents: "coredns#2111 coredns#2079",
        features: &[("coredns_metrics_absent", UP), ("series_vanished_ratio", UP)],
        effect: |c, _| c.own_metrics_absent = true,
        ..FAULT
    },
    Fault {
        name: "families_lost",
        doc: "Some families of metrics are gone, as after an upgrade.",
        family: Family::Telemetry,
        reach: Reach::Server,
        strength: strength("share of the families", 0.1, 0.3, 0.8),
        incidents: "coredns#6160",
        features: &[("series_vanished_ratio", UP)],
        effect: |c, dose| c.families_lost = dose.strength,
        ..FAULT
    },
    Fault {
        name: "flaky_scrapes",
        doc: "Some scrapes fail, as on a lossy network.",
        family: Family::Telemetry,
        reach: Reach::Server,
        strength: strength("share of the scrapes", 0.2, 0.4, 0.9),
        features: &[("scrape_failed", UP)],
        effect: |c, dose| c.scrapes_failed = dose.strength,
        ..FAULT
    },
    // Node: little or nothing of it is seen.
    Fault {
        name: "conntrack_race",
        doc: "One packet of an A and AAAA pair is lost now and then: clients wait for 5 s.",
        family: Family::Node,
        visible: false,
        strength: strength("share of AAAA questions", 0.005, 0.02, 0.1),
        incidents: "kubernetes#56903 kubernetes#62628 coredns#3163",
        effect: |c, dose| c.lost_aaaa = dose.strength,
        ..FAULT
    },
    Fault {
        name: "client_packet_loss",
        doc: "A part of the questions is lost before the server sees it.",
        family: Family::Node,
        visible: false,
        strength: strength("share of questions", 0.01, 0.1, 0.3),
        incidents: "coredns#2593",
        effect: |c, dose| c.lost = dose.strength,
        ..FAULT
    },
    // Benign changes.
    Fault {
        name: "reload",
        doc: "One server's Corefile is edited without changing its meaning, which makes it reload.",
        reach: Reach::Server,
        features: &[("recent_reconfigurations", UP), ("cache_entries_drift_ratio", DOWN)],
        effect: |c, dose| c.reloads = dose.passes(4.0) || dose.seconds > 60.0,
        ..CHANGE
    },
    Fault {
        name: "qualified_names",
        doc: "Clients write outside names with the dot at the end: fewer queries, less NXDOMAIN.",
        incidents: "kubernetes#14051",
        features: &[("request_rate", DOWN), ("nxdomain_ratio", DOWN), ("noerror_ratio", UP)],
        effect: |c, _| c.qualified = 1.0,
        ..CHANGE
    },
    Fault {
        name: "cluster_uncached",
        doc: "The Corefile no longer caches names of the cluster, as kubeadm's newer one.",
        features: &[("cache_hit_ratio", DOWN)],
        effect: |c, dose| {
            c.cluster_uncached = true;
            c.reloads = dose.begins();
        },
        ..CHANGE
    },
    Fault {
        name: "rolling_deploy",
        doc: "Every server is restarted, one after the other.",
        features: &[("recent_restarts", UP), ("cache_entries_drift_ratio", DOWN)],
        effect: |c, dose| c.restarts = in_turn(dose),
        ..CHANGE
    },
    Fault {
        name: "version_upgrade",
        doc: "Every server is restarted with another release of CoreDNS, one after the other, and keeps it.",
        features: &[("recent_restarts", UP), ("cache_entries_drift_ratio", DOWN)],
        effect: |c, dose| c.upgraded = in_turn(dose),
        ..CHANGE
    },
    Fault {
        name: "scale_out",
        doc: "More servers share the clients, so that each gets less.",
        strength: strength("times the servers", 1.3, 2.0, 4.0),
        features: &[("request_rate", DOWN), ("cpu_usage_ratio", DOWN)],
        effect: |c, dose| c.balance = 1.0 / dose.strength,
        ..CHANGE
    },
    Fault {
        name: "daily_peak",
        doc: "Traffic rises and falls evenly, as on a busy day.",
        strength: strength("times the usual lookups at the peak", 1.5, 3.0, 4.0),
        features: &[("request_rate", UP), ("cpu_usage_ratio", UP)],
        effect: |c, dose| {
            let wave = (std::f64::consts::PI * dose.progress()).sin();
            c.lookups = 1.0 + (dose.strength - 1.0) * wave;
        },
        ..CHANGE
    },
    Fault {
        name: "cache_size_change",
        doc: "The cache is made smaller in the Corefile, which empties it.",
        strength: strength("entries it holds", 256.0, 1024.0, 8192.0),
        features: &[("recent_reconfigurations", UP), ("cache_entries_drift_ratio", DOWN)],
        effect: |c, dose| {
            c.capacity = Some(dose.strength);
            c.reloads = dose.begins();
        },
        ..CHANGE
    },
    Fault {
        name: "rollout",
        doc: "A large application is rolled out: its pods look up names, and endpoints change.",
        strength: strength("times the usual lookups", 1.2, 1.6, 2.5),
        features: &[("request_rate", UP), ("dns_programming_rate", UP)],
        effect: |c, dose| {
            c.lookups = dose.strength;
            c.churned = 1.0;
        },
        ..CHANGE
    },
];

/// A flood's questions a second: so many a normal lookup, and not fewer than would be noticed.
fn flood(strength: f64, lookups_per_second: f64, at_least: f64) -> f64 {
    (strength * lookups_per_second).max(at_least)
}

/// Share of an interval that lies in the first second of each six.
fn flapping(elapsed: f64, seconds: f64) -> f64 {
    let failed = |until: f64| (until / 6.0).floor() + (until % 6.0).min(1.0);
    ((failed(elapsed) - failed((elapsed - seconds).max(0.0))) / seconds).clamp(0.0, 1.0)
}

/// When a server's turn comes: within the first half of the time, one after the other.
fn turn(dose: &super::Dose) -> f64 {
    0.5 * dose.lasts * dose.server as f64 / dose.n_servers.max(1) as f64
}

fn in_turn(dose: &super::Dose) -> bool {
    dose.passes(turn(dose))
}
