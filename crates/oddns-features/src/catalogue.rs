//! The table of features. It drives computation, documentation, the page and the schema id.

use oddns_core::Schema;

use crate::bridge::{Gauge, Quantity};
use crate::interval::{Event, Interval, share};
use crate::transform::Transform;

/// Unit of a feature's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A share or quotient.
    Ratio,
    /// Events each second.
    PerSecond,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A number of things.
    Count,
    /// 0 or 1.
    Flag,
}

/// One column of a frame of CoreDNS features.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// Column name, stable.
    pub name: &'static str,
    /// Unit of the value.
    pub unit: Unit,
    /// The scale on which it is modelled.
    pub transform: Transform,
    /// The smallest change that can matter to an operator, on the modelled scale. A feature that
    /// never moved in training is not held to less than this.
    pub resolution: f32,
    /// One sentence for an operator.
    pub doc: &'static str,
    compute: fn(&Interval) -> f64,
}

impl Unit {
    /// The unit as written behind a value; empty for plain numbers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ratio | Self::Count | Self::Flag => "",
            Self::PerSecond => "/s",
            Self::Seconds => "s",
            Self::Bytes => "B",
        }
    }
}

impl Feature {
    /// The value over an interval: NaN where undefined or infinite.
    pub(crate) fn value(&self, interval: &Interval) -> f32 {
        let value = (self.compute)(interval) as f32;
        if value.is_finite() { value } else { f32::NAN }
    }
}

/// Column names and identity of [`FEATURES`].
pub fn schema() -> Schema {
    Schema::new(FEATURES.iter().map(|feature| feature.name.to_owned()).collect())
}

/// The upper bound of CoreDNS's first latency bucket, about what a cached answer takes.
const FAST_SECONDS: f64 = 0.001;
/// The bucket of CoreDNS's latency histogram (0.00025 × 2^10 s) above which people notice.
const SLOW_SECONDS: f64 = 0.256;
/// The bucket (0.00025 × 2^13 s) above which resolvers begin to give up: half of glibc's 5 s.
const STUCK_SECONDS: f64 = 2.048;

const fn ratio(name: &'static str, doc: &'static str, compute: fn(&Interval) -> f64) -> Feature {
    let transform = Transform::Linear;
    Feature { name, unit: Unit::Ratio, transform, resolution: 0.01, doc, compute }
}

const fn per_second(
    name: &'static str,
    doc: &'static str,
    compute: fn(&Interval) -> f64,
) -> Feature {
    let transform = Transform::Log { offset: 1.0 };
    Feature { name, unit: Unit::PerSecond, transform, resolution: 0.05, doc, compute }
}

/// Rare events: a tenth of an event each second already counts.
const fn events(name: &'static str, doc: &'static str, compute: fn(&Interval) -> f64) -> Feature {
    let transform = Transform::Log { offset: 0.1 };
    Feature { name, unit: Unit::PerSecond, transform, resolution: 0.1, doc, compute }
}

/// Activity of the cluster, which harms nobody by itself: a change each second is quiet, and only
/// a growth by e beyond that begins to count.
const fn changes(name: &'static str, doc: &'static str, compute: fn(&Interval) -> f64) -> Feature {
    let transform = Transform::Log { offset: 1.0 };
    Feature { name, unit: Unit::PerSecond, transform, resolution: 1.0, doc, compute }
}

const fn seconds(name: &'static str, doc: &'static str, compute: fn(&Interval) -> f64) -> Feature {
    let transform = Transform::Log { offset: 0.000_1 };
    Feature { name, unit: Unit::Seconds, transform, resolution: 0.1, doc, compute }
}

const fn bytes(name: &'static str, doc: &'static str, compute: fn(&Interval) -> f64) -> Feature {
    let transform = Transform::Log { offset: 1.0 };
    Feature { name, unit: Unit::Bytes, transform, resolution: 0.05, doc, compute }
}

const fn flag(name: &'static str, doc: &'static str, compute: fn(&Interval) -> f64) -> Feature {
    let transform = Transform::Linear;
    Feature { name, unit: Unit::Flag, transform, resolution: 0.1, doc, compute }
}

/// A fading count of rare events.
const fn recent(
    name: &'static str,
    resolution: f32,
    doc: &'static str,
    compute: fn(&Interval) -> f64,
) -> Feature {
    Feature { name, unit: Unit::Count, transform: Transform::Linear, resolution, doc, compute }
}

/// A quotient without an upper bound, on a log scale.
const fn quotient(
    name: &'static str,
    unit: Unit,
    offset: f32,
    doc: &'static str,
    compute: fn(&Interval) -> f64,
) -> Feature {
    let transform = Transform::Log { offset };
    Feature { name, unit, transform, resolution: 0.05, doc, compute }
}

/// A level that lingers after trouble is over: only a change by about a half is news.
const fn level(
    name: &'static str,
    unit: Unit,
    doc: &'static str,
    compute: fn(&Interval) -> f64,
) -> Feature {
    let transform = Transform::Log { offset: 1.0 };
    Feature { name, unit, transform, resolution: 0.4, doc, compute }
}

/// A lingering level against its recent mean: a change by a quarter is news, and fades.
const fn drifting(name: &'static str, doc: &'static str, compute: fn(&Interval) -> f64) -> Feature {
    let transform = Transform::Log { offset: 0.1 };
    Feature { name, unit: Unit::Ratio, transform, resolution: 0.25, doc, compute }
}

/// The features of a CoreDNS server; the order is the column order of the frame.
#[rustfmt::skip]
pub const FEATURES: &[Feature] = &[
    // Load.
    per_second("request_rate", "Queries received each second.", |i| i.rate(Quantity::Requests)),
    ratio("answered_ratio", "Answers sent for each query received.", |i| i.ratio(Quantity::Responses, Quantity::Requests)),
    // Answers.
    ratio("noerror_ratio", "Share of answers that are NOERROR.", |i| i.ratio(Quantity::Noerror, Quantity::Responses)),
    ratio("nxdomain_ratio", "Share of answers that are NXDOMAIN.", |i| i.ratio(Quantity::Nxdomain, Quantity::Responses)),
    ratio("servfail_ratio", "Share of answers that are SERVFAIL.", |i| i.ratio(Quantity::Servfail, Quantity::Responses)),
    ratio("refused_ratio", "Share of answers that are REFUSED.", |i| i.ratio(Quantity::Refused, Quantity::Responses)),
    // Questions.
    ratio("type_a_ratio", "Share of queries for A records.", |i| i.ratio(Quantity::TypeA, Quantity::TypedRequests)),
    ratio("type_aaaa_ratio", "Share of queries for AAAA records.", |i| i.ratio(Quantity::TypeAaaa, Quantity::TypedRequests)),
    ratio("type_ptr_ratio", "Share of queries for PTR records.", |i| i.ratio(Quantity::TypePtr, Quantity::TypedRequests)),
    ratio("type_srv_ratio", "Share of queries for SRV records.", |i| i.ratio(Quantity::TypeSrv, Quantity::TypedRequests)),
    ratio("type_other_ratio", "Share of queries for any other record type.", other_types),
    ratio("tcp_ratio", "Share of queries that came over plain TCP.", |i| i.ratio(Quantity::ProtoTcp, Quantity::Requests)),
    ratio("encrypted_ratio", "Share of queries over TLS, HTTPS, QUIC or gRPC.", |i| i.ratio(Quantity::ProtoEncrypted, Quantity::Requests)),
    ratio("ipv6_ratio", "Share of queries that came over IPv6.", |i| i.ratio(Quantity::FamilyIpv6, Quantity::Requests)),
    ratio("dnssec_ok_ratio", "Share of queries with the DO bit.", |i| i.ratio(Quantity::DnssecOk, Quantity::Requests)),
    bytes("request_size_bytes", "Mean size of a query.", |i| i.ratio(Quantity::RequestBytes, Quantity::RequestsSized)),
    bytes("response_size_bytes", "Mean size of an answer.", |i| i.ratio(Quantity::ResponseBytes, Quantity::ResponsesSized)),
    ratio("response_large_ratio", "Share of answers above 1023 bytes.", large_responses),
    // Cache.
    ratio("cache_hit_ratio", "Share of cache lookups that hit.", |i| share(i.cache_hits(), i.cache_lookups())),
    ratio("cache_denial_ratio", "Share of cache hits that are denials.", |i| share(i.total(Quantity::CacheHitsDenial), i.cache_hits())),
    ratio("cache_eviction_ratio", "Entries evicted for each cache lookup.", |i| share(i.total(Quantity::CacheEvictions), i.cache_lookups())),
    ratio("cache_stale_ratio", "Expired entries served for each cache lookup.", |i| share(i.total(Quantity::CacheStale), i.cache_lookups())),
    ratio("cache_prefetch_ratio", "Entries prefetched for each cache lookup.", |i| share(i.total(Quantity::CachePrefetches), i.cache_lookups())),
    drifting("cache_entries_drift_ratio", "Cache entries against their recent mean; 1 is unchanged.", |i| drift(i, Gauge::CacheEntries)),
    // Latency as clients see it.
    seconds("request_latency_mean_seconds", "Mean time to answer a query.", |i| i.ratio(Quantity::RequestSeconds, Quantity::RequestsTimed)),
    seconds("request_latency_p50_seconds", "Median time to answer a query.", |i| i.latency.quantile(0.5)),
    seconds("request_latency_p90_seconds", "Time within which 90 % of queries are answered.", |i| i.latency.quantile(0.9)),
    seconds("request_latency_p99_seconds", "Time within which 99 % of queries are answered.", |i| i.latency.quantile(0.99)),
    ratio("request_above_1ms_ratio", "Share of queries that took more than 1 ms.", |i| i.latency.share_above(FAST_SECONDS)),
    ratio("request_above_256ms_ratio", "Share of queries that took more than 256 ms.", |i| i.latency.share_above(SLOW_SECONDS)),
    ratio("request_above_2s_ratio", "Share of queries that took more than 2 s.", |i| i.latency.share_above(STUCK_SECONDS)),
    // Upstream servers.
    per_second("upstream_rate", "Answers from upstream servers each second.", |i| i.rate(Quantity::UpstreamAnswers)),
    quotient("upstream_per_request_ratio", Unit::Ratio, 0.02, "Answers from upstream for each query received.", |i| i.ratio(Quantity::UpstreamAnswers, Quantity::Requests)),
    quotient("upstream_per_miss_ratio", Unit::Ratio, 0.1, "Answers from upstream for each cache miss.", |i| share(i.total(Quantity::UpstreamAnswers), i.cache_misses())),
    seconds("upstream_latency_mean_seconds", "Mean time an upstream server took to answer.", |i| i.ratio(Quantity::UpstreamSeconds, Quantity::UpstreamAnswers)),
    seconds("upstream_latency_p50_seconds", "Median time an upstream server took to answer.", |i| i.upstream_latency.quantile(0.5)),
    seconds("upstream_latency_p99_seconds", "Time within which 99 % of upstream answers came.", |i| i.upstream_latency.quantile(0.99)),
    ratio("upstream_above_256ms_ratio", "Share of upstream answers that took more than 256 ms.", |i| i.upstream_latency.share_above(SLOW_SECONDS)),
    ratio("upstream_servfail_ratio", "Share of upstream answers that are SERVFAIL.", |i| i.ratio(Quantity::UpstreamServfail, Quantity::UpstreamRcodes)),
    ratio("upstream_nxdomain_ratio", "Share of upstream answers that are NXDOMAIN.", |i| i.ratio(Quantity::UpstreamNxdomain, Quantity::UpstreamRcodes)),
    ratio("upstream_refused_ratio", "Share of upstream answers that are REFUSED.", |i| i.ratio(Quantity::UpstreamRefused, Quantity::UpstreamRcodes)),
    ratio("upstream_busiest_ratio", "Share of upstream answers that come from the busiest server.", busiest_upstream),
    quotient("upstream_latency_spread_ratio", Unit::Ratio, 0.1, "Mean latency of the slowest upstream server against the fastest.", upstream_latency_spread),
    ratio("upstream_new_connection_ratio", "Share of upstream exchanges that needed a new connection.", |i| share(i.total(Quantity::ConnectionsOpened), connections(i))),
    ratio("upstream_tcp_ratio", "Share of upstream exchanges over TCP.", |i| share(i.total(Quantity::ConnectionsTcp), connections(i))),
    events("upstream_healthcheck_failure_rate", "Failed health checks of upstream servers each second.", |i| i.rate(Quantity::HealthcheckFailures)),
    events("upstream_all_broken_rate", "Queries each second that met only upstream servers held for dead.", |i| i.rate(Quantity::HealthcheckBroken)),
    events("upstream_concurrency_reject_rate", "Queries each second refused because too many wait for upstream.", |i| i.rate(Quantity::ConcurrentRejects)),
    // Kubernetes.
    changes("api_request_rate", "Requests to the Kubernetes API each second.", |i| i.rate(Quantity::ApiRequests)),
    events("api_error_rate", "Requests to the Kubernetes API each second without a 2xx answer.", |i| i.rate(Quantity::ApiErrors)),
    changes("dns_programming_rate", "Service and endpoint changes taken up each second.", |i| i.rate(Quantity::ProgrammingUpdates)),
    seconds("dns_programming_mean_seconds", "Mean time from a change in Kubernetes to its answer in DNS.", |i| i.ratio(Quantity::ProgrammingSeconds, Quantity::ProgrammingUpdates)),
    // The server itself.
    seconds("health_latency_mean_seconds", "Mean time the server took to answer its own health probe.", |i| i.ratio(Quantity::HealthSeconds, Quantity::HealthProbes)),
    events("health_failure_rate", "Failed own health probes each second.", |i| i.rate(Quantity::HealthFailures)),
    recent("recent_restarts", 0.1, "Times the process was replaced, fading over the last scrapes.", |i| lately(i, Event::Restart)),
    recent("recent_reload_failures", 0.1, "Corefile reloads that failed, fading over the last scrapes.", |i| lately(i, Event::ReloadFailure)),
    recent("recent_panics", 0.1, "Panics, fading over the last scrapes.", |i| lately(i, Event::Panic)),
    recent("recent_reconfigurations", 0.5, "Configurations loaded, fading over the last scrapes.", |i| lately(i, Event::Reconfiguration)),
    ratio("policy_drop_ratio", "Queries blocked, filtered or shed by policy, for each query received.", |i| i.ratio(Quantity::PolicyDrops, Quantity::Requests)),
    quotient("cpu_usage_ratio", Unit::Ratio, 0.01, "CPU cores in use.", |i| i.rate(Quantity::CpuSeconds)),
    quotient("cpu_per_request_seconds", Unit::Seconds, 0.000_02, "CPU time spent for each query.", |i| i.ratio(Quantity::CpuSeconds, Quantity::Requests)),
    level("resident_memory_bytes", Unit::Bytes, "Resident memory.", |i| i.level(Gauge::ResidentBytes)),
    drifting("resident_memory_drift_ratio", "Resident memory against its recent mean; 1 is unchanged.", |i| drift(i, Gauge::ResidentBytes)),
    drifting("heap_drift_ratio", "Heap in use against its recent mean; 1 is unchanged.", |i| drift(i, Gauge::HeapBytes)),
    quotient("goroutines", Unit::Count, 5.0, "Goroutines.", |i| i.level(Gauge::Goroutines)),
    quotient("goroutines_per_request_ratio", Unit::Ratio, 0.05, "Goroutines for each query each second.", |i| share(i.level(Gauge::Goroutines), i.rate(Quantity::Requests))),
    drifting("open_files_drift_ratio", "Open file descriptors against their recent mean; 1 is unchanged.", |i| drift(i, Gauge::OpenFiles)),
    ratio("open_files_limit_ratio", "Open file descriptors against the limit.", |i| share(i.level(Gauge::OpenFiles), i.level(Gauge::MaxFiles))),
    quotient("plugins", Unit::Count, 1.0, "Plugins enabled, summed over zones.", |i| i.level(Gauge::Plugins)),
    // Being seen at all.
    flag("scrape_failed", "1 when the server did not answer with metrics.", |i| f64::from(!i.up)),
    flag("coredns_metrics_absent", "1 when the server answered without a single CoreDNS metric.", |i| when_up(i, !i.has_coredns)),
    seconds("scrape_duration_seconds", "Time the scrape took.", |i| i.scrape_seconds),
    ratio("series_vanished_ratio", "Share of the series of the last scrape that are gone.", vanished),
];

fn other_types(i: &Interval) -> f64 {
    let named = [Quantity::TypeA, Quantity::TypeAaaa, Quantity::TypePtr, Quantity::TypeSrv];
    let share =
        named.map(|quantity| i.ratio(quantity, Quantity::TypedRequests)).iter().sum::<f64>();
    // Shares that add up to one may add up to a hair more.
    (1.0 - share).clamp(0.0, 1.0)
}

fn large_responses(i: &Interval) -> f64 {
    let small = i.ratio(Quantity::ResponsesSmall, Quantity::ResponsesSized);
    (1.0 - small).clamp(0.0, 1.0)
}

fn drift(i: &Interval, gauge: Gauge) -> f64 {
    i.drifts[gauge as usize].exp()
}

fn connections(i: &Interval) -> f64 {
    i.total(Quantity::ConnectionsOpened) + i.total(Quantity::ConnectionsReused)
}

fn busiest_upstream(i: &Interval) -> f64 {
    let all: f64 = i.upstreams.iter().map(|upstream| upstream.answers).sum();
    share(i.upstreams.iter().map(|upstream| upstream.answers).fold(0.0, f64::max), all)
}

/// Undefined with fewer than two upstream servers that answered.
fn upstream_latency_spread(i: &Interval) -> f64 {
    let means = i.upstreams.iter().map(|u| share(u.seconds, u.answers)).filter(|m| m.is_finite());
    let (mut fastest, mut slowest, mut n) = (f64::INFINITY, 0.0_f64, 0);
    for mean in means {
        (fastest, slowest, n) = (fastest.min(mean), slowest.max(mean), n + 1);
    }
    if n < 2 { f64::NAN } else { share(slowest, fastest) }
}

fn lately(i: &Interval, event: Event) -> f64 {
    if i.up { i.recent[event as usize] } else { f64::NAN }
}

fn when_up(i: &Interval, condition: bool) -> f64 {
    if i.up { f64::from(condition) } else { f64::NAN }
}

fn vanished(i: &Interval) -> f64 {
    let n_before = i.n_series - i.n_born + i.n_vanished;
    if i.up { share(i.n_vanished as f64, n_before as f64) } else { f64::NAN }
}
