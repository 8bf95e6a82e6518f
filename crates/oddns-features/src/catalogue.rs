//! The table of features. It drives computation, documentation, the page and the schema id.

use oddns_core::{Schema, to_single};

use crate::bridge::{Gauge, Quantity};
use crate::interval::{Event, Interval, Totals, share};
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
    /// Which way it has to go to concern those who ask.
    pub concern: Concern,
    source: Source,
}

/// Which way a feature has to go to concern those who ask: that more of them fail, wait, or are about
/// to. What goes the other way, or is others' doing, may come of a fault, and comes of every change
/// that somebody made on purpose as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// Either way may be of a fault.
    Either,
    /// More of it is worse.
    Rise,
    /// More of it is worse, and no change explains it: failures.
    Failure,
    /// Less of it is worse.
    Fall,
    /// Neither by itself, such as how much is asked.
    Neither,
    /// Neither, and it explains what moves beside it: that the server was restarted or configured.
    Explains,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// One server's interval.
    Interval(fn(&Interval) -> f64),
    /// The fleet.
    Fleet(Divergence),
}

/// A feature of one server held against the same feature of the others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Divergence {
    /// The feature.
    pub(crate) of: &'static str,
    pub(crate) comparison: Comparison,
}

/// How two values are held against each other.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Comparison {
    /// One minus the other, for shares.
    Difference,
    /// One through the other, for all that has no upper bound. Values far below the offset count
    /// as alike.
    Quotient { offset: f64 },
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
    /// The value over an interval: NaN where undefined or infinite, or where it takes a fleet.
    pub(crate) fn value(&self, interval: &Interval) -> f32 {
        match self.source {
            Source::Interval(compute) => finite(compute(interval)),
            Source::Fleet(_) => f32::NAN,
        }
    }

    pub(crate) fn divergence(&self) -> Option<Divergence> {
        match self.source {
            Source::Fleet(divergence) => Some(divergence),
            Source::Interval(_) => None,
        }
    }

    const fn rises(self) -> Self {
        Self { concern: Concern::Rise, ..self }
    }

    const fn fails(self) -> Self {
        Self { concern: Concern::Failure, ..self }
    }

    const fn falls(self) -> Self {
        Self { concern: Concern::Fall, ..self }
    }

    const fn aside(self) -> Self {
        Self { concern: Concern::Neither, ..self }
    }

    const fn explains(self) -> Self {
        Self { concern: Concern::Explains, ..self }
    }

    /// Whether it compares a server with the others of its fleet. Such a feature is missing while
    /// there are no others, which says nothing against the server.
    pub fn is_divergence(&self) -> bool {
        self.divergence().is_some()
    }
}

/// As stored in a row: what is not finite is missing.
pub(crate) fn finite(value: f64) -> f32 {
    let value = to_single(value);
    if value.is_finite() { value } else { f32::NAN }
}

/// Column names and identity of [`FEATURES`].
pub fn schema() -> Schema {
    Schema::new(FEATURES.iter().map(|feature| feature.name.to_owned()).collect())
}

/// The upper bound of CoreDNS's first latency bucket, about what a cached answer takes.
const FAST_SECONDS: f64 = 0.001;
/// The bucket of CoreDNS's latency histogram (0.00025 × 2^10 s) above which people notice.
const SLOW_SECONDS: f64 = 0.256;
/// Goroutines of an idle CoreDNS 1.15.0 with the plugins of a Kubernetes cluster.
const IDLE_GOROUTINES: f64 = 48.0;
/// The bucket (0.00025 × 2^13 s) above which resolvers begin to give up: half of glibc's 5 s.
const STUCK_SECONDS: f64 = 2.048;

type Compute = fn(&Interval) -> f64;

/// Of one interval, unusual either way; with its transform, and what is news on that scale.
const fn measured(
    name: &'static str,
    unit: Unit,
    (transform, resolution): (Transform, f32),
    doc: &'static str,
    compute: Compute,
) -> Feature {
    let (source, concern) = (Source::Interval(compute), Concern::Either);
    Feature { name, unit, transform, resolution, doc, source, concern }
}

const fn ratio(name: &'static str, doc: &'static str, compute: Compute) -> Feature {
    measured(name, Unit::Ratio, (Transform::Linear, 0.01), doc, compute)
}

const fn per_second(name: &'static str, doc: &'static str, compute: Compute) -> Feature {
    measured(name, Unit::PerSecond, (Transform::Log { offset: 1.0 }, 0.05), doc, compute)
}

/// Rare events: a tenth of an event each second already counts.
const fn events(name: &'static str, doc: &'static str, compute: Compute) -> Feature {
    measured(name, Unit::PerSecond, (Transform::Log { offset: 0.1 }, 0.1), doc, compute)
}

/// Activity of the cluster, which harms nobody by itself: a change each second is quiet, and only
/// a growth by e beyond that begins to count.
const fn changes(name: &'static str, doc: &'static str, compute: Compute) -> Feature {
    measured(name, Unit::PerSecond, (Transform::Log { offset: 1.0 }, 1.0), doc, compute)
}

const fn seconds(name: &'static str, doc: &'static str, compute: Compute) -> Feature {
    measured(name, Unit::Seconds, (Transform::Log { offset: 0.000_1 }, 0.1), doc, compute)
}

const fn bytes(name: &'static str, doc: &'static str, compute: Compute) -> Feature {
    measured(name, Unit::Bytes, (Transform::Log { offset: 1.0 }, 0.05), doc, compute)
}

const fn flag(name: &'static str, doc: &'static str, compute: Compute) -> Feature {
    measured(name, Unit::Flag, (Transform::Linear, 0.1), doc, compute)
}

/// A fading count of rare events.
const fn recent(
    name: &'static str,
    resolution: f32,
    doc: &'static str,
    compute: Compute,
) -> Feature {
    measured(name, Unit::Count, (Transform::Linear, resolution), doc, compute)
}

/// A quotient without an upper bound, on a log scale.
const fn quotient(
    name: &'static str,
    unit: Unit,
    offset: f32,
    doc: &'static str,
    compute: Compute,
) -> Feature {
    measured(name, unit, (Transform::Log { offset }, 0.05), doc, compute)
}

/// A level that lingers after trouble is over, memory for good: only a doubling is news.
const fn level(name: &'static str, unit: Unit, doc: &'static str, compute: Compute) -> Feature {
    measured(name, unit, (Transform::Log { offset: 1.0 }, 0.7), doc, compute)
}

/// A lingering level against its recent mean: a change by a quarter is news, and fades.
const fn drifting(name: &'static str, doc: &'static str, compute: Compute) -> Feature {
    measured(name, Unit::Ratio, (Transform::Log { offset: 0.1 }, 0.25), doc, compute)
}

/// A share that moves by itself, or matters only near its limit: a tenth is news.
const fn coarse(name: &'static str, doc: &'static str, compute: Compute) -> Feature {
    measured(name, Unit::Ratio, (Transform::Linear, 0.1), doc, compute)
}

/// A mean time of few events, the next of which may well take twice as long.
const fn rare_seconds(name: &'static str, doc: &'static str, compute: Compute) -> Feature {
    measured(name, Unit::Seconds, (Transform::Log { offset: 0.000_1 }, 0.5), doc, compute)
}

/// A time without events, in usual ones: chance alone makes it double or halve.
const fn silence(name: &'static str, doc: &'static str, compute: Compute) -> Feature {
    measured(name, Unit::Ratio, (Transform::Log { offset: 1.0 }, 0.7), doc, compute)
}

/// As [`drifting`], of what doubles or halves with every burst or reload, and is then no news.
const fn bursty(name: &'static str, doc: &'static str, compute: Compute) -> Feature {
    measured(name, Unit::Ratio, (Transform::Log { offset: 0.1 }, 0.7), doc, compute)
}

/// A lingering level's steady growth, in which a step counts for little: a tenth is news.
const fn growing(name: &'static str, doc: &'static str, compute: Compute) -> Feature {
    measured(name, Unit::Ratio, (Transform::Log { offset: 0.01 }, 0.1), doc, compute)
}

/// A share held against that of the fleet: the difference.
const fn apart(name: &'static str, of: &'static str, doc: &'static str) -> Feature {
    let source = Source::Fleet(Divergence { of, comparison: Comparison::Difference });
    let transform = Transform::Linear;
    Feature {
        name,
        unit: Unit::Ratio,
        transform,
        resolution: 0.02,
        doc,
        source,
        concern: Concern::Either,
    }
}

/// Anything else held against that of the fleet: the quotient.
const fn against(
    name: &'static str,
    of: &'static str,
    offset: f64,
    resolution: f32,
    doc: &'static str,
) -> Feature {
    let source = Source::Fleet(Divergence { of, comparison: Comparison::Quotient { offset } });
    let transform = Transform::Log { offset: 0.01 };
    let concern = Concern::Either;
    Feature { name, unit: Unit::Ratio, transform, resolution, doc, source, concern }
}

/// The features of a CoreDNS server; the order is the column order of the frame.
#[rustfmt::skip]
pub const FEATURES: &[Feature] = &[
    // Load.
    per_second("request_rate", "Queries received each second.", |i| i.rate(Quantity::Requests)).aside(),
    ratio("answered_ratio", "Answers sent for each query received.", |i| i.ratio(Quantity::Responses, Quantity::Requests)).falls(),
    ratio("unserved_ratio", "Share of queries for names that no server block of the Corefile is for.", |i| i.ratio(Quantity::Unserved, Quantity::Requests)).fails(),
    quotient("queries_in_flight", Unit::Count, 0.1, "Queries under way at a time: their rate times the time that each takes.", |i| i.rate(Quantity::RequestSeconds)).aside(),
    // Answers.
    ratio("noerror_ratio", "Share of answers that are NOERROR.", |i| i.ratio(Quantity::Noerror, Quantity::Responses)).falls(),
    ratio("nxdomain_ratio", "Share of answers that are NXDOMAIN.", |i| i.ratio(Quantity::Nxdomain, Quantity::Responses)).rises(),
    ratio("servfail_ratio", "Share of answers that are SERVFAIL.", |i| i.ratio(Quantity::Servfail, Quantity::Responses)).fails(),
    ratio("refused_ratio", "Share of answers that are REFUSED.", |i| i.ratio(Quantity::Refused, Quantity::Responses)).fails(),
    ratio("rcode_other_ratio", "Share of answers with any other response code, such as FORMERR or NOTIMP.", other_rcodes).fails(),
    ratio("servfail_own_ratio", "SERVFAIL that no upstream server gave, for each answer: CoreDNS's own, or from its cache.", |i| i.ratio_of(own_servfail, |t| t.get(Quantity::Responses))).fails(),
    ratio("zone_worst_servfail_ratio", "Share of SERVFAIL in the zone where it is highest.", zone_worst_servfail).fails(),
    // Questions.
    ratio("type_a_ratio", "Share of queries for A records.", |i| i.ratio(Quantity::TypeA, Quantity::TypedRequests)),
    ratio("type_aaaa_ratio", "Share of queries for AAAA records.", |i| i.ratio(Quantity::TypeAaaa, Quantity::TypedRequests)),
    ratio("type_ptr_ratio", "Share of queries for PTR records.", |i| i.ratio(Quantity::TypePtr, Quantity::TypedRequests)),
    ratio("type_srv_ratio", "Share of queries for SRV records.", |i| i.ratio(Quantity::TypeSrv, Quantity::TypedRequests)),
    ratio("type_other_ratio", "Share of queries for any other record type.", other_types),
    ratio("tcp_ratio", "Share of queries that came over plain TCP.", |i| i.ratio(Quantity::ProtoTcp, Quantity::Requests)).rises(),
    ratio("encrypted_ratio", "Share of queries over TLS, HTTPS, QUIC or gRPC.", |i| i.ratio(Quantity::ProtoEncrypted, Quantity::Requests)),
    ratio("ipv6_ratio", "Share of queries that came over IPv6.", |i| i.ratio(Quantity::FamilyIpv6, Quantity::Requests)),
    ratio("dnssec_ok_ratio", "Share of queries with the DO bit.", |i| i.ratio(Quantity::DnssecOk, Quantity::Requests)),
    bytes("request_size_bytes", "Mean size of a query.", |i| i.mean(Quantity::RequestBytes, Quantity::RequestsSized)),
    bytes("response_size_bytes", "Mean size of an answer.", |i| i.mean(Quantity::ResponseBytes, Quantity::ResponsesSized)).rises(),
    ratio("response_large_ratio", "Share of answers above 1023 bytes.", large_responses).rises(),
    // Cache.
    ratio("cache_hit_ratio", "Share of cache lookups that hit.", |i| i.ratio_of(Totals::cache_hits, Totals::cache_lookups)).falls(),
    ratio("cache_denial_ratio", "Share of cache hits that are denials.", |i| i.ratio_of(|t| t.get(Quantity::CacheHitsDenial), Totals::cache_hits)).rises(),
    ratio("cache_eviction_ratio", "Entries evicted for each cache lookup.", |i| i.ratio_of(|t| t.get(Quantity::CacheEvictions), Totals::cache_lookups)).rises(),
    ratio("cache_stale_ratio", "Expired entries served for each cache lookup.", |i| i.ratio_of(|t| t.get(Quantity::CacheStale), Totals::cache_lookups)).rises(),
    ratio("cache_prefetch_ratio", "Entries prefetched for each cache lookup.", |i| i.ratio_of(|t| t.get(Quantity::CachePrefetches), Totals::cache_lookups)).aside(),
    coarse("cache_insertion_ratio", "Names new to the cache for each cache miss; other misses are of known names that expired, or not cached. It stands still while a cache that was emptied fills again.", |i| i.ratio_of(|t| t.get(Quantity::CacheInsertions), Totals::cache_misses)).rises(),
    bursty("cache_entries_drift_ratio", "Cache entries against their recent mean; 1 is unchanged.", |i| drift(i, Gauge::CacheEntries)).rises(),
    growing("cache_entries_growth_ratio", "Steady growth of the cache's entries over some 370 scrapes; 1 is none.", |i| growth(i, Gauge::CacheEntries)).rises(),
    // Latency as clients see it.
    seconds("request_latency_mean_seconds", "Mean time to answer a query.", |i| i.mean(Quantity::RequestSeconds, Quantity::RequestsTimed)).rises(),
    seconds("request_latency_p50_seconds", "Median time to answer a query.", |i| i.latency.quantile(0.5)).rises(),
    seconds("request_latency_p90_seconds", "Time within which 90 % of queries are answered.", |i| i.latency.quantile(0.9)).rises(),
    seconds("request_latency_p99_seconds", "Time within which 99 % of queries are answered.", |i| i.latency.quantile(0.99)).rises(),
    growing("request_latency_growth_ratio", "Steady growth of the mean time to answer over some 370 scrapes; 1 is none.", |i| i.latency_movement.growth.exp()).rises(),
    seconds("own_latency_mean_seconds", "Mean time that a query spends in CoreDNS itself, or waits for an upstream server in vain.", own_latency).rises(),
    ratio("request_above_1ms_ratio", "Share of queries that took more than 1 ms.", |i| i.slow_ratio(FAST_SECONDS)).rises(),
    ratio("request_above_256ms_ratio", "Share of queries that took more than 256 ms.", |i| i.slow_ratio(SLOW_SECONDS)).rises(),
    ratio("request_above_2s_ratio", "Share of queries that took more than 2 s.", |i| i.slow_ratio(STUCK_SECONDS)).rises(),
    // Upstream servers.
    per_second("upstream_rate", "Answers from upstream servers each second.", |i| i.rate(Quantity::UpstreamAnswers)).aside(),
    quotient("upstream_per_request_ratio", Unit::Ratio, 0.02, "Answers from upstream for each query received.", |i| i.ratio(Quantity::UpstreamAnswers, Quantity::Requests)),
    quotient("upstream_per_miss_ratio", Unit::Ratio, 0.1, "Answers from upstream for each cache miss.", |i| i.ratio_of(|t| t.get(Quantity::UpstreamAnswers), Totals::cache_misses)),
    coarse("upstream_time_ratio", "Part of the time to answer that upstream servers took: it falls when CoreDNS itself is slow or upstream answers get lost.", upstream_time),
    ratio("upstream_unanswered_ratio", "Share of upstream exchanges that were begun and got no answer.", |i| i.ratio_of(unanswered, Totals::upstream_exchanges)).fails(),
    seconds("upstream_latency_mean_seconds", "Mean time an upstream server took to answer.", |i| i.mean(Quantity::UpstreamSeconds, Quantity::UpstreamAnswers)).rises(),
    seconds("upstream_latency_p50_seconds", "Median time an upstream server took to answer.", |i| i.upstream_latency.quantile(0.5)).rises(),
    seconds("upstream_latency_p99_seconds", "Time within which 99 % of upstream answers came.", |i| i.upstream_latency.quantile(0.99)).rises(),
    ratio("upstream_above_256ms_ratio", "Share of upstream answers that took more than 256 ms.", |i| i.upstream_slow_ratio(SLOW_SECONDS)).rises(),
    ratio("upstream_servfail_ratio", "Share of upstream answers that are SERVFAIL.", |i| i.ratio(Quantity::UpstreamServfail, Quantity::UpstreamRcodes)).fails(),
    ratio("upstream_nxdomain_ratio", "Share of upstream answers that are NXDOMAIN.", |i| i.ratio(Quantity::UpstreamNxdomain, Quantity::UpstreamRcodes)).fails(),
    ratio("upstream_refused_ratio", "Share of upstream answers that are REFUSED.", |i| i.ratio(Quantity::UpstreamRefused, Quantity::UpstreamRcodes)).fails(),
    ratio("upstream_worst_servfail_ratio", "Share of SERVFAIL from the upstream server that gives most.", upstream_worst_servfail).fails(),
    ratio("upstream_busiest_ratio", "Share of upstream answers that come from the busiest server.", busiest_upstream).rises(),
    quotient("upstream_latency_spread_ratio", Unit::Ratio, 0.1, "Mean latency of the slowest upstream server against the fastest.", |i| i.upstreams.latency_spread_ratio()).rises(),
    ratio("upstream_new_connection_ratio", "Share of upstream exchanges that needed a new connection.", |i| i.ratio_of(|t| t.get(Quantity::ConnectionsOpened), Totals::upstream_exchanges)).rises(),
    ratio("upstream_tcp_ratio", "Share of upstream exchanges over TCP.", |i| i.ratio_of(|t| t.get(Quantity::ConnectionsTcp), Totals::upstream_exchanges)).rises(),
    events("upstream_healthcheck_failure_rate", "Failed health checks of upstream servers each second.", |i| i.rate(Quantity::HealthcheckFailures)).fails(),
    events("upstream_all_broken_rate", "Queries each second that met only upstream servers held for dead.", |i| i.rate(Quantity::HealthcheckBroken)).fails(),
    events("upstream_concurrency_reject_rate", "Queries each second refused because too many wait for upstream.", |i| i.rate(Quantity::ConcurrentRejects)).fails(),
    // Kubernetes.
    changes("api_request_rate", "Requests to the Kubernetes API each second.", |i| i.rate(Quantity::ApiRequests)).aside(),
    events("api_error_rate", "Requests to the Kubernetes API each second without a 2xx answer.", |i| i.rate(Quantity::ApiErrors)).fails(),
    rare_seconds("api_latency_mean_seconds", "Mean time the Kubernetes API took to answer.", |i| i.mean(Quantity::ApiSeconds, Quantity::ApiTimed)).rises(),
    changes("dns_programming_rate", "Service and endpoint changes taken up each second.", |i| i.rate(Quantity::ProgrammingUpdates)).aside(),
    rare_seconds("dns_programming_mean_seconds", "Mean time from a change in Kubernetes to its answer in DNS.", programming_latency).rises(),
    silence("dns_programming_silence_ratio", "Time since the last service or endpoint change against the usual time between two.", |i| i.programming_silence).rises(),
    // The server itself.
    seconds("health_latency_mean_seconds", "Mean time the server took to answer its own health probe.", |i| i.mean(Quantity::HealthSeconds, Quantity::HealthProbes)).rises(),
    events("health_failure_rate", "Failed own health probes each second.", |i| i.rate(Quantity::HealthFailures)).fails(),
    recent("recent_restarts", 0.1, "Times the process was replaced, fading over the last scrapes.", |i| lately(i, Event::Restart)).explains(),
    recent("recent_reload_failures", 0.1, "Corefile reloads that failed, fading over the last scrapes.", |i| lately(i, Event::ReloadFailure)).fails(),
    recent("recent_panics", 0.1, "Panics, fading over the last scrapes.", |i| lately(i, Event::Panic)).fails(),
    recent("recent_reconfigurations", 0.5, "Configurations loaded, fading over the last scrapes.", |i| lately(i, Event::Reconfiguration)).explains(),
    recent("recent_setup_errors", 0.1, "Failures of NodeLocal DNSCache to set up its interface or rules, fading over the last scrapes.", |i| lately(i, Event::SetupError)).fails(),
    events("plugin_failure_rate", "Failures of the template and nomad plugins each second.", |i| i.rate(Quantity::PluginFailures)).fails(),
    ratio("encrypted_error_ratio", "Share of answers over HTTPS or QUIC with an error of that protocol.", |i| i.ratio(Quantity::EncryptedErrors, Quantity::EncryptedAnswers)).fails(),
    ratio("policy_drop_ratio", "Queries blocked, filtered or shed by policy, for each query received.", |i| i.ratio(Quantity::PolicyDrops, Quantity::Requests)).fails(),
    quotient("cpu_usage_ratio", Unit::Ratio, 0.01, "CPU cores in use.", |i| i.rate(Quantity::CpuSeconds)).aside(),
    quotient("cpu_per_request_seconds", Unit::Seconds, 0.000_02, "CPU time spent for each query.", |i| i.mean(Quantity::CpuSeconds, Quantity::Requests)).rises(),
    level("resident_memory_bytes", Unit::Bytes, "Resident memory.", |i| i.level(Gauge::ResidentBytes)).rises(),
    drifting("resident_memory_drift_ratio", "Resident memory against its recent mean; 1 is unchanged.", |i| drift(i, Gauge::ResidentBytes)).rises(),
    growing("resident_memory_growth_ratio", "Steady growth of resident memory over some 370 scrapes; 1 is none.", |i| growth(i, Gauge::ResidentBytes)).rises(),
    drifting("heap_drift_ratio", "Heap in use against its recent mean; 1 is unchanged.", |i| drift(i, Gauge::HeapBytes)).rises(),
    growing("heap_growth_ratio", "Steady growth of the heap in use over some 370 scrapes; 1 is none.", |i| growth(i, Gauge::HeapBytes)).rises(),
    quotient("goroutines", Unit::Count, 5.0, "Goroutines.", |i| i.level(Gauge::Goroutines)).rises(),
    quotient("goroutines_per_request_ratio", Unit::Ratio, 0.05, "Goroutines for each query each second.", |i| share(i.level(Gauge::Goroutines), i.rate(Quantity::Requests))).rises(),
    quotient("goroutines_per_in_flight_ratio", Unit::Ratio, 0.05, "Goroutines for each query under way and each that an idle server has.", goroutines_per_in_flight).rises(),
    growing("goroutines_growth_ratio", "Steady growth of the goroutines over some 370 scrapes; 1 is none.", |i| growth(i, Gauge::Goroutines)).rises(),
    bursty("open_files_drift_ratio", "Open file descriptors against their recent mean; 1 is unchanged.", |i| drift(i, Gauge::OpenFiles)).rises(),
    growing("open_files_growth_ratio", "Steady growth of the open file descriptors over some 370 scrapes; 1 is none.", |i| growth(i, Gauge::OpenFiles)).rises(),
    coarse("open_files_limit_ratio", "Open file descriptors against the limit.", |i| share(i.level(Gauge::OpenFiles), i.level(Gauge::MaxFiles))).rises(),
    quotient("plugins", Unit::Count, 1.0, "Plugins enabled, summed over zones.", |i| i.level(Gauge::Plugins)).aside(),
    // Being seen at all.
    flag("scrape_failed", "1 when the server did not answer with metrics.", |i| f64::from(!i.up)).fails(),
    flag("coredns_metrics_absent", "1 when the server answered without a single CoreDNS metric.", |i| when_up(i, !i.has_coredns)).fails(),
    seconds("scrape_duration_seconds", "Time the scrape took.", |i| i.scrape_seconds).rises(),
    ratio("series_vanished_ratio", "Share of the series of the last scrape that are gone.", vanished).rises(),
    ratio("series_born_ratio", "Share of the series of this scrape that are new: CoreDNS creates most with their first event.", born).aside(),
    // Against the fleet, as of the scrape before.
    against("divergence_request_rate", "request_rate", 1.0, 0.1, "Queries each second against the median of the fleet; 1 is alike."),
    apart("divergence_servfail_ratio", "servfail_ratio", "Share of SERVFAIL less the median of the fleet; 0 is alike."),
    apart("divergence_nxdomain_ratio", "nxdomain_ratio", "Share of NXDOMAIN less the median of the fleet; 0 is alike."),
    apart("divergence_cache_hit_ratio", "cache_hit_ratio", "Share of cache hits less the median of the fleet; 0 is alike.").falls(),
    against("divergence_request_latency", "request_latency_mean_seconds", 0.000_1, 0.2, "Mean time to answer against the median of the fleet; 1 is alike.").rises(),
    against("divergence_upstream_latency", "upstream_latency_mean_seconds", 0.000_1, 0.2, "Mean time upstream servers took against the median of the fleet; 1 is alike.").rises(),
    against("divergence_dns_programming", "dns_programming_rate", 0.05, 0.2, "Service and endpoint changes taken up against the median of the fleet; 1 is alike.").falls(),
    against("divergence_cpu_per_request", "cpu_per_request_seconds", 0.000_02, 0.1, "CPU time for each query against the median of the fleet; 1 is alike.").rises(),
    against("divergence_health_latency", "health_latency_mean_seconds", 0.000_1, 0.2, "Time to answer the own health probe against the median of the fleet; 1 is alike.").rises(),
    against("divergence_goroutines", "goroutines", 5.0, 0.1, "Goroutines against the median of the fleet; 1 is alike.").rises(),
    against("divergence_resident_memory", "resident_memory_bytes", 1.0, 0.5, "Resident memory against the median of the fleet; 1 is alike.").rises(),
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

fn other_rcodes(i: &Interval) -> f64 {
    let named = [Quantity::Noerror, Quantity::Nxdomain, Quantity::Servfail, Quantity::Refused];
    let share = named.map(|quantity| i.ratio(quantity, Quantity::Responses)).iter().sum::<f64>();
    (1.0 - share).clamp(0.0, 1.0)
}

fn own_servfail(totals: &Totals) -> f64 {
    (totals.get(Quantity::Servfail) - totals.get(Quantity::UpstreamServfail)).max(0.0)
}

/// Answers to exchanges of the interval before may be more than the exchanges of this one.
fn unanswered(totals: &Totals) -> f64 {
    (totals.upstream_exchanges() - totals.get(Quantity::UpstreamAnswers)).max(0.0)
}

fn zone_worst_servfail(i: &Interval) -> f64 {
    only_if(i.total(Quantity::Responses) > 0.0, i.zones.worst_servfail_ratio())
}

fn upstream_worst_servfail(i: &Interval) -> f64 {
    only_if(i.total(Quantity::UpstreamRcodes) > 0.0, i.upstreams.worst_servfail_ratio())
}

fn busiest_upstream(i: &Interval) -> f64 {
    only_if(i.total(Quantity::UpstreamAnswers) > 0.0, i.upstreams.busiest_ratio())
}

fn own_latency(i: &Interval) -> f64 {
    let upstream = i.total(Quantity::UpstreamSeconds);
    let own = (i.total(Quantity::RequestSeconds) - upstream).max(0.0);
    only_if(upstream.is_finite(), share(own, i.total(Quantity::RequestsTimed)))
}

/// Undefined while upstream servers have nothing to do.
fn upstream_time(i: &Interval) -> f64 {
    let busy = i.totals.upstream_exchanges() + i.totals.get(Quantity::UpstreamAnswers) > 0.0;
    // An answer to a query of the interval before may have taken longer than all of this one's.
    let part = i.mean(Quantity::UpstreamSeconds, Quantity::RequestSeconds).min(1.0);
    only_if(busy && i.total(Quantity::RequestSeconds) > 0.0, part)
}

fn goroutines_per_in_flight(i: &Interval) -> f64 {
    i.level(Gauge::Goroutines) / (IDLE_GOROUTINES + i.rate(Quantity::RequestSeconds))
}

/// Undefined just after a start or a reload, when CoreDNS counts changes of long ago as if they had
/// been late.
fn programming_latency(i: &Interval) -> f64 {
    let loaded = lately(i, Event::Restart) + lately(i, Event::Reconfiguration);
    only_if(loaded < 0.5, i.mean(Quantity::ProgrammingSeconds, Quantity::ProgrammingUpdates))
}

fn drift(i: &Interval, gauge: Gauge) -> f64 {
    i.movements[gauge as usize].drift.exp()
}

fn growth(i: &Interval, gauge: Gauge) -> f64 {
    i.movements[gauge as usize].growth.exp()
}

fn only_if(condition: bool, value: f64) -> f64 {
    if condition { value } else { f64::NAN }
}

fn lately(i: &Interval, event: Event) -> f64 {
    if i.up { i.recent[event as usize] } else { f64::NAN }
}

fn when_up(i: &Interval, condition: bool) -> f64 {
    if i.up { f64::from(condition) } else { f64::NAN }
}

fn born(i: &Interval) -> f64 {
    if i.up { share(i.n_born as f64, i.n_series as f64) } else { f64::NAN }
}

fn vanished(i: &Interval) -> f64 {
    let n_before = i.n_series - i.n_born + i.n_vanished;
    if i.up { share(i.n_vanished as f64, n_before as f64) } else { f64::NAN }
}
