//! Which series a server of a release shows, and from which cell of its book.

use oddns_core::{Labels, SeriesKey};

use crate::book::{
    self, Cache, N_PROGRAMMING, N_PROTOS, N_SIZES, N_UPSTREAMS, RCODES, SIZE_BOUNDS, Single, TYPES,
    single,
};
use crate::release::Release;
use crate::scenario::Corefile;
use crate::shape::{N_TIMES, TIME_BOUNDS};

const PROTOS: [&str; N_PROTOS] = ["udp", "tcp", "https"];
/// The toolchain of the binaries that were looked at.
const GO_VERSION: &str = "go1.26.8";
/// Bounds of the health histogram since 1.8.4, with their places among [`TIME_BOUNDS`].
const SLIM_BOUNDS: [(f64, usize); 5] =
    [(0.00025, 0), (0.0025, 3), (0.025, 7), (0.25, 10), (2.5, 14)];

/// What a server shows, as far as it does not change while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) release: Release,
    pub(crate) corefile: Corefile,
    /// Upstream servers of the root zone.
    pub(crate) n_upstreams: usize,
}

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) key: SeriesKey,
    /// Where its value is.
    pub(crate) cell: usize,
    /// It is there once this cell is above zero: CoreDNS creates most series with their first
    /// event.
    pub(crate) born: usize,
    /// Place of its family among those of CoreDNS itself; `None` for any Go process's.
    pub(crate) family: Option<usize>,
}

impl Setup {
    /// All series that there can be, families together.
    pub(crate) fn series(self) -> Vec<Series> {
        let mut list = List { setup: self, series: Vec::new(), families: Vec::new() };
        list.questions();
        list.answers();
        list.sizes();
        list.caches();
        list.upstreams();
        list.exchanges();
        list.health();
        list.kubernetes();
        list.plugins();
        list.process();
        list.series
    }

    /// Zones that server blocks are for.
    pub(crate) fn zones(self) -> &'static [&'static str] {
        if self.corefile.has_stub() { &[".", "corp.example."] } else { &["."] }
    }

    /// Whether caches of several zones are told apart.
    pub(crate) fn has_zones(self) -> bool {
        self.release >= Release::V1_10_1
    }

    /// Whether durations are told by query type.
    pub(crate) fn durations_by_type(self) -> bool {
        self.release == Release::V1_6_9
    }

    fn plugins(self) -> &'static [&'static str] {
        if self.corefile.has_api() {
            &["cache", "errors", "forward", "kubernetes", "loadbalance", "loop", "prometheus"]
        } else {
            &["cache", "errors", "file", "forward", "loadbalance", "loop", "prometheus"]
        }
    }

    /// How many upstream servers there are, the one of the stub zone among them.
    pub(crate) fn n_targets(self) -> usize {
        self.n_upstreams + usize::from(self.corefile.has_stub())
    }

    /// Places of the upstream servers, and how they are called.
    fn targets(self) -> Vec<(usize, String)> {
        let root = (0..self.n_upstreams).map(|at| (at, format!("192.0.2.{}:53", at + 1)));
        let stub = (N_UPSTREAMS - 1, "192.0.2.100:53".to_owned());
        root.chain(self.corefile.has_stub().then_some(stub)).collect()
    }
}

struct List {
    setup: Setup,
    series: Vec<Series>,
    families: Vec<String>,
}

const ALWAYS: usize = single(Single::One);

impl List {
    fn push(&mut self, name: &str, labels: &[(&str, &str)], cell: usize, born: usize) {
        let pairs = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let key = SeriesKey { name: name.to_owned(), labels: Labels::new(pairs.collect()) };
        let family = key.is_coredns().then(|| self.family(name));
        self.series.push(Series { key, cell, born, family });
    }

    fn family(&mut self, name: &str) -> usize {
        let name = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        self.families.iter().position(|known| known == name).unwrap_or_else(|| {
            self.families.push(name.to_owned());
            self.families.len() - 1
        })
    }

    /// Labels of a zone, with `view` where the release has it.
    fn zoned<'a>(&self, label: &'a str, zone: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut labels = vec![("server", "dns://:53"), (label, zone)];
        if self.setup.has_zones() {
            labels.push(("view", ""));
        }
        labels
    }

    fn is(&self, release: Release) -> bool {
        self.setup.release == release
    }

    fn since(&self, release: Release) -> bool {
        self.setup.release >= release
    }

    fn questions(&mut self) {
        for (zone, name) in self.setup.zones().iter().enumerate() {
            let labels = self.zoned("zone", name);
            if self.is(Release::V1_6_9) {
                self.old_questions(zone, &labels);
            } else {
                self.typed_questions(zone, &labels);
            }
            let name = match self.setup.release {
                Release::V1_6_9 => "coredns_dns_request_do_count_total",
                _ => "coredns_dns_do_requests_total",
            };
            self.counter(name, &labels, book::dnssec(zone));
        }
    }

    fn old_questions(&mut self, zone: usize, labels: &[(&str, &str)]) {
        for (proto, name) in PROTOS.iter().enumerate() {
            let labels = [labels, &[("proto", *name), ("family", "1")]].concat();
            self.counter("coredns_dns_request_count_total", &labels, book::by_proto(zone, proto));
        }
        for (kind, name) in TYPES.iter().enumerate() {
            let labels = [labels, &[("type", *name)]].concat();
            self.counter("coredns_dns_request_type_count_total", &labels, book::typed(zone, kind));
        }
    }

    fn typed_questions(&mut self, zone: usize, labels: &[(&str, &str)]) {
        for (proto, proto_name) in PROTOS.iter().enumerate() {
            for (kind, name) in TYPES.iter().enumerate() {
                let more = [("proto", *proto_name), ("family", "1"), ("type", *name)];
                let labels = [labels, &more].concat();
                let cell = book::requests(zone, proto, kind);
                self.counter("coredns_dns_requests_total", &labels, cell);
            }
        }
    }

    fn answers(&mut self) {
        for (zone, name) in self.setup.zones().iter().enumerate() {
            let labels = self.zoned("zone", name);
            self.responses(zone, &labels);
            let family = "coredns_dns_request_duration_seconds";
            if !self.setup.durations_by_type() {
                self.times(family, &labels, book::durations(zone, 0));
                continue;
            }
            for (kind, name) in TYPES.iter().enumerate() {
                let labels = [&labels[..], &[("type", *name)]].concat();
                self.times(family, &labels, book::durations(zone, kind));
            }
        }
    }

    fn responses(&mut self, zone: usize, labels: &[(&str, &str)]) {
        let plugin = match self.setup.release {
            Release::V1_15_0 => "errors",
            _ => "loadbalance",
        };
        for (rcode, name) in RCODES.iter().enumerate() {
            let mut labels = [labels, &[("rcode", *name)]].concat();
            if self.setup.has_zones() {
                labels.push(("plugin", plugin));
            }
            let family = match self.setup.release {
                Release::V1_6_9 => "coredns_dns_response_rcode_count_total",
                _ => "coredns_dns_responses_total",
            };
            self.counter(family, &labels, book::responses(zone, rcode));
        }
    }

    fn sizes(&mut self) {
        for (zone, name) in self.setup.zones().iter().enumerate() {
            let labels = self.zoned("zone", name);
            for (proto, name) in PROTOS.iter().enumerate() {
                let labels = [&labels[..], &[("proto", *name)]].concat();
                let cell = book::request_sizes(zone, proto);
                self.bytes("coredns_dns_request_size_bytes", &labels, cell);
                let cell = book::response_sizes(zone, proto);
                self.bytes("coredns_dns_response_size_bytes", &labels, cell);
            }
        }
        if self.since(Release::V1_10_1) {
            let labels = [("server", "dns://:53"), ("status", "200")];
            self.counter(
                "coredns_dns_https_responses_total",
                &labels,
                single(Single::HttpsAnswers),
            );
        }
    }

    fn caches(&mut self) {
        for (zone, name) in self.setup.zones().iter().enumerate() {
            let mut labels = self.zoned("zones", name);
            if !self.setup.has_zones() {
                if zone > 0 {
                    return;
                }
                labels.truncate(1);
            }
            let entries = match self.setup.release {
                Release::V1_6_9 => "coredns_cache_size",
                _ => "coredns_cache_entries",
            };
            for (kind, size, hits, evictions) in [
                ("success", Cache::SuccessEntries, Cache::SuccessHits, Cache::SuccessEvictions),
                ("denial", Cache::DenialEntries, Cache::DenialHits, Cache::DenialEvictions),
            ] {
                let labels = [&labels[..], &[("type", kind)]].concat();
                self.push(entries, &labels, book::cache(zone, size), ALWAYS);
                self.counter("coredns_cache_hits_total", &labels, book::cache(zone, hits));
                if self.since(Release::V1_8_4) {
                    let cell = book::cache(zone, evictions);
                    self.counter("coredns_cache_evictions_total", &labels, cell);
                }
            }
            self.counter("coredns_cache_misses_total", &labels, book::cache(zone, Cache::Misses));
            if self.since(Release::V1_10_1) {
                let cell = book::cache(zone, Cache::Requests);
                self.counter("coredns_cache_requests_total", &labels, cell);
            }
        }
    }

    /// What the `forward` plugin says of each upstream server but their durations.
    fn upstreams(&mut self) {
        let proxy = self.since(Release::V1_11_4);
        for (at, to) in self.setup.targets() {
            let mut labels = vec![("to", to.as_str())];
            if proxy {
                labels.push(("proxy_name", "forward"));
            } else {
                self.forwarded(at, &labels);
            }
            if self.since(Release::V1_8_4) {
                self.connections(at, &labels, if proxy { "proxy" } else { "forward" });
            }
            let name = match self.setup.release {
                Release::V1_6_9 => "coredns_forward_healthcheck_failure_count_total",
                Release::V1_8_4 | Release::V1_10_1 => "coredns_forward_healthcheck_failures_total",
                _ => "coredns_proxy_healthcheck_failures_total",
            };
            self.counter(name, &labels, book::health_checks(at));
        }
        let (broken, rejects) = (single(Single::Broken), single(Single::Rejects));
        if self.is(Release::V1_6_9) {
            self.counter("coredns_forward_healthcheck_broken_count_total", &[], broken);
            self.push("coredns_forward_max_concurrent_reject_count_total", &[], rejects, ALWAYS);
        } else {
            self.push("coredns_forward_healthcheck_broken_total", &[], broken, ALWAYS);
            self.push("coredns_forward_max_concurrent_rejects_total", &[], rejects, ALWAYS);
        }
    }

    fn forwarded(&mut self, at: usize, labels: &[(&str, &str)]) {
        let (count, by_rcode) = match self.setup.release {
            Release::V1_6_9 => (
                "coredns_forward_request_count_total",
                "coredns_forward_response_rcode_count_total",
            ),
            _ => ("coredns_forward_requests_total", "coredns_forward_responses_total"),
        };
        self.counter(count, labels, book::exchanged(at) + N_TIMES - 1);
        for (rcode, name) in RCODES.iter().enumerate() {
            let labels = [labels, &[("rcode", *name)]].concat();
            self.counter(by_rcode, &labels, book::exchanges(at, rcode) + N_TIMES - 1);
        }
    }

    fn connections(&mut self, at: usize, labels: &[(&str, &str)], prefix: &str) {
        for (tcp, name) in [(false, "udp"), (true, "tcp")] {
            let labels = [labels, &[("proto", name)]].concat();
            let hits = format!("coredns_{prefix}_conn_cache_hits_total");
            self.counter(&hits, &labels, book::connections(at, tcp, true));
            let misses = format!("coredns_{prefix}_conn_cache_misses_total");
            self.counter(&misses, &labels, book::connections(at, tcp, false));
        }
    }

    fn exchanges(&mut self) {
        for (at, to) in self.setup.targets() {
            let to = ("to", to.as_str());
            match self.setup.release {
                Release::V1_6_9 => {
                    let name = "coredns_forward_request_duration_seconds";
                    self.times(name, &[to], book::exchanged(at));
                }
                release => {
                    for (rcode, name) in RCODES.iter().enumerate() {
                        let cell = book::exchanges(at, rcode);
                        if release >= Release::V1_11_4 {
                            let labels = [to, ("rcode", *name), ("proxy_name", "forward")];
                            self.times("coredns_proxy_request_duration_seconds", &labels, cell);
                        } else {
                            let labels = [to, ("rcode", *name)];
                            self.times("coredns_forward_request_duration_seconds", &labels, cell);
                        }
                    }
                }
            }
        }
    }

    fn health(&mut self) {
        let family = "coredns_health_request_duration_seconds";
        if self.is(Release::V1_6_9) {
            self.times(family, &[], book::health());
            self.push("coredns_panic_count_total", &[], single(Single::Panics), ALWAYS);
            self.counter("coredns_reload_failed_count_total", &[], single(Single::ReloadFailed));
            return;
        }
        let name = format!("{family}_bucket");
        for (le, place) in SLIM_BOUNDS {
            self.push(&name, &[("le", &le.to_string())], book::health() + place, ALWAYS);
        }
        self.rest_of(family, &[], book::health(), N_TIMES, ALWAYS);
        for (name, what) in [
            ("coredns_health_request_failures_total", Single::HealthFailures),
            ("coredns_hosts_reload_timestamp_seconds", Single::HostsTimestamp),
            ("coredns_local_localhost_requests_total", Single::Zero),
            ("coredns_panics_total", Single::Panics),
            ("coredns_reload_failed_total", Single::ReloadFailed),
        ] {
            self.push(name, &[], single(what), ALWAYS);
        }
    }

    fn kubernetes(&mut self) {
        if !self.setup.corefile.has_api() {
            return;
        }
        let family = "coredns_kubernetes_dns_programming_duration_seconds";
        for (headless, kind) in [(false, "cluster_ip"), (true, "headless_with_selector")] {
            let (first, labels) = (book::programming(headless), [("service_kind", kind)]);
            let last = first + N_PROGRAMMING - 1;
            for at in 0..N_PROGRAMMING - 1 {
                let le = (0.001 * f64::from(1 << at)).to_string();
                let labels = [&labels[..], &[("le", le.as_str())]].concat();
                self.push(&format!("{family}_bucket"), &labels, first + at, last);
            }
            self.rest_of(family, &labels, first, N_PROGRAMMING, last);
        }
        if self.since(Release::V1_11_4) {
            let name = "coredns_kubernetes_rest_client_requests_total";
            for (code, what) in [("200", Single::RestOk), ("503", Single::RestFailed)] {
                let labels = [("code", code), ("method", "GET"), ("host", "192.0.2.200:443")];
                self.counter(name, &labels, single(what));
            }
        }
    }

    fn plugins(&mut self) {
        let one = single(Single::One);
        for name in self.setup.plugins() {
            let labels = [&self.zoned("zone", ".")[..], &[("name", *name)]].concat();
            self.push("coredns_plugin_enabled", &labels, one, ALWAYS);
        }
        for zone in &self.setup.zones()[1..] {
            for name in ["cache", "errors", "forward", "prometheus"] {
                let labels = [&self.zoned("zone", zone)[..], &[("name", name)]].concat();
                self.push("coredns_plugin_enabled", &labels, one, ALWAYS);
            }
        }
        let version = self.setup.release.as_str();
        let labels = [("version", version), ("goversion", GO_VERSION), ("revision", "")];
        self.push("coredns_build_info", &labels, one, ALWAYS);
    }

    fn process(&mut self) {
        self.push("go_info", &[("version", GO_VERSION)], single(Single::One), ALWAYS);
        for (quantile, what) in [
            ("0", Single::GcQuantile0),
            ("0.25", Single::GcQuantile25),
            ("0.5", Single::GcQuantile50),
            ("0.75", Single::GcQuantile75),
            ("1", Single::GcQuantile100),
        ] {
            let labels = [("quantile", quantile)];
            self.push("go_gc_duration_seconds", &labels, single(what), ALWAYS);
        }
        for (name, what, from, until) in PROCESS {
            if (*from..=*until).contains(&self.setup.release) {
                self.push(name, &[], single(*what), ALWAYS);
            }
        }
    }

    fn counter(&mut self, name: &str, labels: &[(&str, &str)], cell: usize) {
        self.push(name, labels, cell, cell);
    }

    fn times(&mut self, family: &str, labels: &[(&str, &str)], first: usize) {
        let born = first + N_TIMES - 1;
        for (at, le) in TIME_BOUNDS.iter().enumerate() {
            let le = le.to_string();
            let labels = [labels, &[("le", le.as_str())]].concat();
            self.push(&format!("{family}_bucket"), &labels, first + at, born);
        }
        self.rest_of(family, labels, first, N_TIMES, born);
    }

    fn bytes(&mut self, family: &str, labels: &[(&str, &str)], first: usize) {
        let born = first + N_SIZES - 1;
        for (at, le) in SIZE_BOUNDS.iter().enumerate() {
            let le = le.to_string();
            let labels = [labels, &[("le", le.as_str())]].concat();
            self.push(&format!("{family}_bucket"), &labels, first + at, born);
        }
        self.rest_of(family, labels, first, N_SIZES, born);
    }

    /// The last bucket, which is also the count, and the sum.
    fn rest_of(
        &mut self,
        family: &str,
        labels: &[(&str, &str)],
        first: usize,
        n: usize,
        born: usize,
    ) {
        let all = first + n - 1;
        let infinite = [labels, &[("le", "+Inf")]].concat();
        self.push(&format!("{family}_bucket"), &infinite, all, born);
        self.push(&format!("{family}_sum"), labels, first + n, born);
        self.push(&format!("{family}_count"), labels, all, born);
    }
}

const OLD: Release = Release::V1_6_9;
const NEW: Release = Release::V1_15_0;

/// Series without labels that any Go process has, with the first and last release that shows them.
const PROCESS: &[(&str, Single, Release, Release)] = &[
    ("go_gc_duration_seconds_sum", Single::GcSeconds, OLD, NEW),
    ("go_gc_duration_seconds_count", Single::GcCount, OLD, NEW),
    ("go_gc_gogc_percent", Single::GoGcPercent, Release::V1_11_4, NEW),
    ("go_gc_gomemlimit_bytes", Single::MemoryLimit, Release::V1_11_4, NEW),
    ("go_goroutines", Single::Goroutines, OLD, NEW),
    ("go_memstats_alloc_bytes", Single::AllocBytes, OLD, NEW),
    ("go_memstats_alloc_bytes_total", Single::AllocBytesTotal, OLD, NEW),
    ("go_memstats_buck_hash_sys_bytes", Single::BuckHashBytes, OLD, NEW),
    ("go_memstats_frees_total", Single::Frees, OLD, NEW),
    ("go_memstats_gc_cpu_fraction", Single::GcCpuFraction, OLD, Release::V1_8_4),
    ("go_memstats_gc_sys_bytes", Single::GcSysBytes, OLD, NEW),
    ("go_memstats_heap_alloc_bytes", Single::AllocBytes, OLD, NEW),
    ("go_memstats_heap_idle_bytes", Single::HeapIdleBytes, OLD, NEW),
    ("go_memstats_heap_inuse_bytes", Single::HeapInuseBytes, OLD, NEW),
    ("go_memstats_heap_objects", Single::HeapObjects, OLD, NEW),
    ("go_memstats_heap_released_bytes", Single::HeapReleasedBytes, OLD, NEW),
    ("go_memstats_heap_sys_bytes", Single::HeapSysBytes, OLD, NEW),
    ("go_memstats_last_gc_time_seconds", Single::LastGcSeconds, OLD, NEW),
    ("go_memstats_lookups_total", Single::Zero, OLD, Release::V1_10_1),
    ("go_memstats_mallocs_total", Single::Mallocs, OLD, NEW),
    ("go_memstats_mcache_inuse_bytes", Single::McacheInuseBytes, OLD, NEW),
    ("go_memstats_mcache_sys_bytes", Single::McacheSysBytes, OLD, NEW),
    ("go_memstats_mspan_inuse_bytes", Single::MspanInuseBytes, OLD, NEW),
    ("go_memstats_mspan_sys_bytes", Single::MspanSysBytes, OLD, NEW),
    ("go_memstats_next_gc_bytes", Single::NextGcBytes, OLD, NEW),
    ("go_memstats_other_sys_bytes", Single::OtherSysBytes, OLD, NEW),
    ("go_memstats_stack_inuse_bytes", Single::StackBytes, OLD, NEW),
    ("go_memstats_stack_sys_bytes", Single::StackBytes, OLD, NEW),
    ("go_memstats_sys_bytes", Single::SysBytes, OLD, NEW),
    ("go_sched_gomaxprocs_threads", Single::MaxProcs, Release::V1_11_4, NEW),
    ("go_threads", Single::Threads, OLD, NEW),
    ("process_cpu_seconds_total", Single::CpuSeconds, OLD, NEW),
    ("process_max_fds", Single::MaxFiles, OLD, NEW),
    ("process_network_receive_bytes_total", Single::NetworkReceived, Release::V1_11_4, NEW),
    ("process_network_transmit_bytes_total", Single::NetworkSent, Release::V1_11_4, NEW),
    ("process_open_fds", Single::OpenFiles, OLD, NEW),
    ("process_resident_memory_bytes", Single::ResidentBytes, OLD, NEW),
    ("process_start_time_seconds", Single::StartSeconds, OLD, NEW),
    ("process_virtual_memory_bytes", Single::VirtualBytes, OLD, NEW),
    ("process_virtual_memory_max_bytes", Single::VirtualMaxBytes, OLD, NEW),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn series(release: Release) -> Vec<Series> {
        Setup { release, corefile: Corefile::Kubernetes, n_upstreams: 2 }.series()
    }

    #[test]
    fn no_series_is_there_twice() {
        for release in Release::ALL {
            let mut keys: Vec<_> = series(release).into_iter().map(|series| series.key).collect();
            let n = keys.len();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), n, "{release}");
            assert!(n > 300, "{release} {n}");
        }
    }

    #[test]
    fn generations_have_names_of_their_own() {
        for (release, name) in [
            (Release::V1_6_9, "coredns_dns_request_count_total"),
            (Release::V1_8_4, "coredns_forward_requests_total"),
            (Release::V1_10_1, "coredns_forward_request_duration_seconds_bucket"),
            (Release::V1_11_4, "coredns_proxy_request_duration_seconds_bucket"),
        ] {
            for other in Release::ALL {
                let found = series(other).iter().any(|series| series.key.name == name);
                if other == release {
                    assert!(found, "{release} lacks {name}");
                }
                if other == Release::V1_15_0 {
                    assert_eq!(found, release == Release::V1_11_4, "{name}");
                }
            }
        }
    }
}
