//! One and the same traffic, told in the names and labels of each CoreDNS version.

use std::fmt::Write;

/// A CoreDNS version.
pub(crate) type Version = (u32, u32, u32);

/// How a server tells its traffic.
#[derive(Clone, Copy)]
pub(crate) struct Telling {
    pub(crate) version: Version,
    /// Two servers with two zones each instead of one of both.
    pub(crate) split: bool,
}

/// Upper bounds of CoreDNS's latency buckets (`plugin.TimeBuckets`).
const LATENCY: [&str; 17] = [
    "0.00025", "0.0005", "0.001", "0.002", "0.004", "0.008", "0.016", "0.032", "0.064", "0.128",
    "0.256", "0.512", "1.024", "2.048", "4.096", "8.192", "+Inf",
];
/// Queries of each latency bucket in one step.
const REQUEST_TIMES: [f64; 17] = [
    400.0, 300.0, 120.0, 60.0, 40.0, 20.0, 16.0, 12.0, 8.0, 8.0, 4.0, 4.0, 4.0, 0.0, 4.0, 0.0, 0.0,
];
/// Answers of upstream of each latency bucket in one step, for each upstream and response code.
const UPSTREAM_TIMES: [f64; 17] =
    [8.0, 8.0, 16.0, 8.0, 4.0, 4.0, 0.0, 0.0, 0.0, 4.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0];
/// Protocol, family, type and queries of one step.
const REQUESTS: [(&str, &str, &str, f64); 7] = [
    ("udp", "1", "A", 480.0),
    ("udp", "1", "AAAA", 300.0),
    ("udp", "2", "A", 60.0),
    ("udp", "1", "PTR", 20.0),
    ("udp", "1", "SRV", 40.0),
    ("tcp", "1", "TXT", 60.0),
    ("tls", "1", "A", 20.0),
];
/// Queries for A records over UDP and IPv4 of one step that no server block is for.
const UNSERVED: f64 = 20.0;
/// Answers of one step.
const RESPONSES: [(&str, f64); 5] = [
    ("NOERROR", 500.0),
    ("NXDOMAIN", 440.0),
    ("SERVFAIL", 20.0),
    ("REFUSED", 12.0),
    ("FORMERR", 8.0),
];
/// Upstream servers with the seconds that one answer of theirs takes.
const UPSTREAMS: [(&str, f64); 2] = [("10.0.0.1:53", 0.004), ("10.0.0.2:53", 0.012)];
/// Response codes of upstream; each upstream gives this many times [`UPSTREAM_TIMES`].
const UPSTREAM_RCODES: [(&str, f64); 4] =
    [("NOERROR", 4.0), ("NXDOMAIN", 2.0), ("SERVFAIL", 1.0), ("REFUSED", 1.0)];

/// Lines of a scrape under way.
struct Page {
    telling: Telling,
    lines: String,
}

/// The metrics page after `step` steps of the traffic.
pub(crate) fn page(telling: Telling, step: f64) -> String {
    let mut page = Page { telling, lines: String::new() };
    page.requests(step);
    page.durations(step);
    page.sizes(step);
    page.cache(step);
    page.upstream(step);
    page.plugins(step);
    page.kubernetes(step);
    page.process(step);
    page.lines
}

impl Page {
    fn since(&self, version: Version) -> bool {
        self.telling.version >= version
    }

    fn new_or_old(&self, new: &'static str, old: &'static str) -> &'static str {
        if self.since((1, 7, 0)) { new } else { old }
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
        writeln!(self.lines, "{name}{{{}}} {value}", labels.join(",")).unwrap();
    }

    /// One line for each server and zone, a part of the value each.
    fn parts(&mut self, name: &str, zone_label: &str, labels: &[(&str, &str)], value: f64) {
        let places: &[(&str, &str)] = match self.telling.split {
            false => &[("dns://:53", ".")],
            true if zone_label.is_empty() => &[("dns://:53", ""), ("tls://:853", "")],
            true => &[
                ("dns://:53", "."),
                ("dns://:53", "cluster.local."),
                ("tls://:853", "."),
                ("tls://:853", "cluster.local."),
            ],
        };
        for (server, zone) in places {
            let mut all = vec![("server", *server), (zone_label, *zone)];
            if self.since((1, 10, 0)) {
                all.push(("view", ""));
            }
            all.extend(labels);
            all.retain(|(name, _)| !name.is_empty());
            self.line(name, &all, value / places.len() as f64);
        }
    }

    fn requests(&mut self, step: f64) {
        for (proto, family, kind, n) in REQUESTS {
            let n = n * step;
            let (way, kind) = ([("proto", proto), ("family", family)], [("type", kind)]);
            if self.since((1, 7, 0)) {
                let labels = [&way[..], &kind].concat();
                self.parts("coredns_dns_requests_total", "zone", &labels, n);
            } else {
                // The old families overlap between entries; a server would have summed them.
                self.old_requests(&way, &kind, n);
            }
        }
        self.unserved(UNSERVED * step);
        let name = "coredns_dns_do_requests_total";
        let name = self.new_or_old(name, "coredns_dns_request_do_count_total");
        self.parts(name, "zone", &[], 80.0 * step);
        for (rcode, n) in RESPONSES {
            let name = "coredns_dns_responses_total";
            let name = self.new_or_old(name, "coredns_dns_response_rcode_count_total");
            let mut labels = vec![("rcode", rcode)];
            if self.since((1, 8, 7)) {
                labels.push(("plugin", "errors"));
            }
            self.parts(name, "zone", &labels, n * step);
        }
        if self.since((1, 9, 1)) {
            for (status, n) in [("200", 27.0), ("400", 3.0)] {
                let labels = [("server", "https://:443"), ("status", status)];
                self.line("coredns_dns_https_responses_total", &labels, n * step);
            }
        }
    }

    fn unserved(&mut self, n: f64) {
        let zone = [("server", "dns://:53"), ("zone", "dropped")];
        let (way, kind) = ([("proto", "udp"), ("family", "1")], [("type", "A")]);
        if self.since((1, 7, 0)) {
            let labels = [&zone[..], &way, &kind].concat();
            return self.line("coredns_dns_requests_total", &labels, n);
        }
        self.line("coredns_dns_request_count_total", &[&zone[..], &way].concat(), n);
        self.line("coredns_dns_request_type_count_total", &[&zone[..], &kind].concat(), n);
    }

    /// Marks entries by a label of their own, so that no series is there twice.
    fn old_requests(&mut self, way: &[(&str, &str)], kind: &[(&str, &str)], n: f64) {
        let entry = [("entry", kind[0].1)];
        self.parts("coredns_dns_request_count_total", "zone", &[way, &entry].concat(), n);
        let entry = [("entry", way[0].1), ("entry6", way[1].1)];
        self.parts("coredns_dns_request_type_count_total", "zone", &[kind, &entry].concat(), n);
    }

    fn durations(&mut self, step: f64) {
        let typed = self.since((1, 6, 8)) && !self.since((1, 8, 4));
        let kinds: &[(&str, f64)] =
            if typed { &[("A", 0.75), ("AAAA", 0.25)] } else { &[("", 1.0)] };
        for (kind, part) in kinds {
            let labels: &[(&str, &str)] = if typed { &[("type", kind)] } else { &[] };
            let name = "coredns_dns_request_duration_seconds";
            self.histogram(name, labels, &REQUEST_TIMES, part * step, true);
            self.parts(&format!("{name}_sum"), "zone", labels, 8.0 * part * step);
        }
    }

    fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        times: &[f64],
        factor: f64,
        in_zones: bool,
    ) {
        let (bucket, mut n) = (format!("{name}_bucket"), 0.0);
        for (le, count) in LATENCY.iter().zip(times) {
            n += count * factor;
            let labels = [labels, &[("le", *le)]].concat();
            match in_zones {
                true => self.parts(&bucket, "zone", &labels, n),
                false => self.line(&bucket, &labels, n),
            }
        }
        let count = format!("{name}_count");
        match in_zones {
            true => self.parts(&count, "zone", labels, n),
            false => self.line(&count, labels, n),
        }
    }

    fn sizes(&mut self, step: f64) {
        for (name, bytes) in [("request", 40_000.0), ("response", 120_000.0)] {
            let name = format!("coredns_dns_{name}_size_bytes");
            let labels = [("proto", "udp")];
            for (le, n) in [("511", 800.0), ("1023", 900.0), ("2047", 980.0), ("+Inf", 1000.0)] {
                let labels = [labels[0], ("le", le)];
                self.parts(&format!("{name}_bucket"), "zone", &labels, n * step);
            }
            self.parts(&format!("{name}_sum"), "zone", &labels, bytes * step);
            self.parts(&format!("{name}_count"), "zone", &labels, 1000.0 * step);
        }
    }

    fn cache(&mut self, step: f64) {
        let zones = if self.since((1, 9, 1)) { "zones" } else { "" };
        for (kind, entries, hits) in [("success", 900.0, 480.0), ("denial", 300.0, 320.0)] {
            let kind = [("type", kind)];
            let name = self.new_or_old("coredns_cache_entries", "coredns_cache_size");
            self.parts(name, zones, &kind, entries + 40.0 * step);
            self.parts("coredns_cache_hits_total", zones, &kind, hits * step);
            if self.since((1, 8, 4)) {
                self.parts("coredns_cache_evictions_total", zones, &kind, 4.0 * step);
            }
        }
        self.parts("coredns_cache_misses_total", zones, &[], 200.0 * step);
        if self.since((1, 8, 5)) {
            self.parts("coredns_cache_requests_total", zones, &[], 1000.0 * step);
        }
        self.parts("coredns_cache_served_stale_total", zones, &[], 12.0 * step);
        self.parts("coredns_cache_prefetch_total", zones, &[], 8.0 * step);
        self.parts("coredns_cache_drops_total", zones, &[], 4.0 * step);
    }

    fn upstream(&mut self, step: f64) {
        for (to, seconds) in UPSTREAMS {
            for (rcode, times) in UPSTREAM_RCODES {
                self.answers(to, rcode, seconds, times * step);
            }
            if self.since((1, 7, 1)) {
                self.connections(to, step);
            }
            let failures = match self.telling.version {
                v if v >= (1, 11, 0) => "coredns_proxy_healthcheck_failures_total",
                v if v >= (1, 7, 0) => "coredns_forward_healthcheck_failures_total",
                _ => "coredns_forward_healthcheck_failure_count_total",
            };
            let labels = self.proxy_labels(to);
            self.line(failures, &labels, 2.0 * step);
        }
        let broken = "coredns_forward_healthcheck_broken_total";
        let broken = self.new_or_old(broken, "coredns_forward_healthcheck_broken_count_total");
        self.line(broken, &[], 3.0 * step);
        let rejects = "coredns_forward_max_concurrent_rejects_total";
        let rejects = self.new_or_old(rejects, "coredns_forward_max_concurrent_reject_count_total");
        self.line(rejects, &[], 5.0 * step);
    }

    fn proxy_labels<'a>(&self, to: &'a str) -> Vec<(&'static str, &'a str)> {
        match self.since((1, 11, 0)) {
            true => vec![("proxy_name", "forward"), ("to", to)],
            false => vec![("to", to)],
        }
    }

    /// Answers of one upstream with one response code.
    fn answers(&mut self, to: &str, rcode: &str, seconds: f64, times: f64) {
        let name = match self.since((1, 11, 0)) {
            true => "coredns_proxy_request_duration_seconds",
            false => "coredns_forward_request_duration_seconds",
        };
        let mut labels = self.proxy_labels(to);
        // Before 1.8.2 durations have no response code: the label stands for the sum over it.
        labels.push((if self.since((1, 8, 2)) { "rcode" } else { "entry" }, rcode));
        if self.since((1, 8, 2)) && !self.since((1, 8, 4)) {
            labels.push(("type", "A"));
        }
        self.histogram(name, &labels, &UPSTREAM_TIMES, times, false);
        let n = UPSTREAM_TIMES.iter().sum::<f64>() * times;
        self.line(&format!("{name}_sum"), &labels, n * seconds);
        if !self.since((1, 11, 0)) {
            let both = [("rcode", rcode), ("to", to)];
            let responses = "coredns_forward_responses_total";
            let responses =
                self.new_or_old(responses, "coredns_forward_response_rcode_count_total");
            self.line(responses, &both, n);
            let requests = "coredns_forward_requests_total";
            let requests = self.new_or_old(requests, "coredns_forward_request_count_total");
            self.line(requests, &[("to", to), ("entry", rcode)], n);
        }
    }

    fn connections(&mut self, to: &str, step: f64) {
        let prefix = if self.since((1, 11, 0)) { "proxy" } else { "forward" };
        for (proto, hits, misses) in [("udp", 448.0, 8.0), ("tcp", 20.0, 4.0)] {
            let mut labels = self.proxy_labels(to);
            labels.push(("proto", proto));
            self.line(&format!("coredns_{prefix}_conn_cache_hits_total"), &labels, hits * step);
            self.line(&format!("coredns_{prefix}_conn_cache_misses_total"), &labels, misses * step);
        }
    }

    fn plugins(&mut self, step: f64) {
        // The buckets changed in 1.8.4; only sum and count are the same in all versions.
        let le = if self.since((1, 8, 4)) { "0.0025" } else { "0.002" };
        self.line("coredns_health_request_duration_seconds_bucket", &[("le", le)], 15.0 * step);
        self.line("coredns_health_request_duration_seconds_sum", &[], 0.03 * step);
        self.line("coredns_health_request_duration_seconds_count", &[], 15.0 * step);
        if self.since((1, 8, 4)) {
            self.line("coredns_health_request_failures_total", &[], step);
        }
        let panics = self.new_or_old("coredns_panics_total", "coredns_panic_count_total");
        self.line(panics, &[], step);
        let reload = "coredns_reload_failed_total";
        let reload = self.new_or_old(reload, "coredns_reload_failed_count_total");
        self.line(reload, &[], 2.0 * step);
        if self.since((1, 7, 0)) {
            for loaded in 0..=step as u32 {
                let labels = [("hash", "sha512"), ("value", &*loaded.to_string())];
                self.line("coredns_reload_version_info", &labels, 1.0);
            }
        }
        let blocked = "coredns_acl_blocked_requests_total";
        let blocked = self.new_or_old(blocked, "coredns_dns_request_block_count_total");
        self.parts(blocked, "zone", &[], 12.0 * step);
        let failing = [("type", "A"), ("section", "answer")];
        self.line("coredns_template_rr_failures_total", &failing, 3.0 * step);
        self.line("coredns_nodecache_setup_errors_total", &[("errortype", "iptables")], step);
        for name in ["cache", "errors", "forward", "kubernetes"] {
            // A plugin is there once, however many zones there are.
            let labels = [("server", "dns://:53"), ("zone", "."), ("name", name)];
            self.line("coredns_plugin_enabled", &labels, 1.0);
        }
        self.line("coredns_build_info", &[("version", "some")], 1.0);
    }

    fn kubernetes(&mut self, step: f64) {
        let labels = [("service_kind", "cluster_ip")];
        let name = "coredns_kubernetes_dns_programming_duration_seconds";
        self.line(&format!("{name}_sum"), &labels, 3.0 * step);
        self.line(&format!("{name}_count"), &labels, 6.0 * step);
        if self.since((1, 11, 0)) {
            let name = "coredns_kubernetes_rest_client_requests_total";
            let times = "coredns_kubernetes_rest_client_request_duration_seconds";
            self.line(&format!("{times}_sum"), &[("verb", "GET")], 2.4 * step);
            self.line(&format!("{times}_count"), &[("verb", "GET")], 24.0 * step);
            for (code, n) in [("200", 20.0), ("500", 3.0), ("<error>", 1.0)] {
                self.line(name, &[("code", code), ("method", "GET"), ("host", "api")], n * step);
            }
        }
    }

    fn process(&mut self, step: f64) {
        for (name, value) in [
            ("process_cpu_seconds_total", 10.0 + 0.9 * step),
            ("process_resident_memory_bytes", 6.0e7 + 1.0e6 * step),
            ("process_open_fds", 40.0 + step),
            ("process_max_fds", 1_048_576.0),
            ("process_start_time_seconds", 1.7e9),
            ("process_network_receive_bytes_total", 9.0e4 * step),
            ("process_network_transmit_bytes_total", 2.0e5 * step),
            ("go_goroutines", 60.0 + step),
            ("go_threads", 9.0),
            ("go_memstats_heap_inuse_bytes", 2.0e7 + 5.0e5 * step),
            ("go_gc_duration_seconds_sum", 0.002 * step),
        ] {
            writeln!(self.lines, "{name} {value}").unwrap();
        }
    }
}
