//! Labs with a real CoreDNS: every fault does what the table says.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oddns_lab::{
    ApiBehaviour, ClientSecond, Lab, LabConfig, LabError, Mix, Phase, TrafficConfig,
    TrafficSettings, fault, labels_csv,
};
use oddns_sim::Corefile;
use tokio::time::sleep;

use crate::{coredns_binary, wait_for};

const REQUESTS: &str = "coredns_dns_requests_total";
const RESPONSES: &str = "coredns_dns_responses_total";
const FORWARDED: &str = "coredns_proxy_request_duration_seconds_count";
const MISSES: &str = "coredns_cache_misses_total";

/// Mostly names that no cache has, so that the upstreams are asked.
fn config(binary: PathBuf) -> LabConfig {
    let mix =
        Mix { inside: 0.2, outside: 0.1, qualified: 0.7, srv: 0.0, ptr: 0.0, txt: 0.0, stub: 0.0 };
    LabConfig {
        settings: TrafficSettings { lookups_per_second: 100.0, mix, ..Default::default() },
        traffic: TrafficConfig {
            n_outside_names: 1_000_000,
            zipf_exponent: 0.0,
            timeout: Duration::from_millis(800),
            retries: 0,
            ..TrafficConfig::default()
        },
        ..LabConfig::new(binary)
    }
}

async fn start(version: &str) -> Option<Lab> {
    start_with(version, |_| {}).await
}

async fn start_with(version: &str, change: impl FnOnce(&mut LabConfig)) -> Option<Lab> {
    let mut config = config(coredns_binary(version)?);
    change(&mut config);
    let lab = Lab::start(config).await.unwrap();
    assert_eq!(lab.servers()[0].version(), version);
    Some(lab)
}

/// Sum of all series called `name` whose labels contain `label`.
fn sum(metrics: &str, name: &str, label: &str) -> f64 {
    let series = metrics.lines().filter_map(|line| {
        let labels = line.strip_prefix(name)?;
        let own = labels.starts_with('{') || labels.starts_with(' ');
        (own && labels.contains(label)).then(|| labels.rsplit(' ').next()?.parse::<f64>().ok())?
    });
    series.sum()
}

/// What changed while a fault was in force.
struct Seen {
    before: String,
    after: String,
    felt: ClientSecond,
    elapsed: Duration,
}

impl Seen {
    fn requests_per_second(&self) -> f64 {
        self.grew(REQUESTS, "") / self.elapsed.as_secs_f64()
    }

    /// Mean time in seconds of what was asked of upstreams, of those whose labels contain `to`.
    fn forward_mean(&self, to: &str) -> f64 {
        self.grew("coredns_proxy_request_duration_seconds_sum", to) / self.grew(FORWARDED, to)
    }

    fn grew(&self, name: &str, label: &str) -> f64 {
        sum(&self.after, name, label) - sum(&self.before, name, label)
    }
}

/// Looks until `shows` holds, after a moment for what was just done to take effect. How long that
/// takes depends on the machine, so the limit is generous.
async fn look(lab: &mut Lab, shows: impl Fn(&Seen) -> bool) -> Seen {
    sleep(Duration::from_millis(300)).await;
    let before = lab.servers()[0].metrics().await.unwrap();
    lab.take_client_seconds();
    let (start, mut felt) = (Instant::now(), Vec::new());
    for _ in 0..60 {
        sleep(Duration::from_millis(500)).await;
        felt.extend(lab.take_client_seconds());
        let after = lab.servers()[0].metrics().await.unwrap();
        let (before, felt) = (before.clone(), ClientSecond::total(&felt));
        let seen = Seen { before, after, felt, elapsed: start.elapsed() };
        if shows(&seen) {
            return seen;
        }
    }
    panic!("not seen within 30 s; the clients felt {:?}", ClientSecond::total(&felt));
}

/// Looks while the fault is in force, until `shows` holds.
async fn see(lab: &mut Lab, name: &str, shows: impl Fn(&Seen) -> bool) -> Seen {
    println!("{name}");
    lab.apply(fault(name).unwrap()).await.unwrap();
    let seen = look(lab, shows).await;
    lab.clear().await.unwrap();
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_are_answered_and_nothing_outlives_the_lab() {
    let Some(mut lab) = start("1.15.0").await else { return };
    wait_for("answers", async || lab.upstreams().iter().all(|u| u.counts().queries > 20)).await;
    look(&mut lab, |Seen { felt, .. }| {
        // A busy machine lets a few wait for too long.
        felt.rcodes[0] > 50 && felt.rcodes[3] > 0 && felt.failed_lookups * 50 < felt.answered
    })
    .await;
    let process = format!("/proc/{}", lab.servers()[0].process_id().unwrap());
    assert!(Path::new(&process).exists());
    drop(lab);
    assert!(!Path::new(&process).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstream_faults_of_the_answers_are_seen() {
    let Some(mut lab) = start("1.15.0").await else { return };
    see(&mut lab, "upstream_servfail", |seen| {
        seen.grew(RESPONSES, "rcode=\"SERVFAIL\"") > 50.0
            && seen.grew(FORWARDED, "SERVFAIL") > 20.0
            && seen.felt.rcodes[2] > 50
            && seen.felt.failed_lookups > 20
    })
    .await;
    see(&mut lab, "upstream_rejects", |seen| seen.grew(RESPONSES, "rcode=\"REFUSED\"") > 50.0)
        .await;
    see(&mut lab, "upstream_nxdomain", |seen| seen.grew(FORWARDED, "NXDOMAIN") > 20.0).await;

    let enough = |seen: &Seen| seen.grew(FORWARDED, "") > 20.0 && seen.felt.answered > 20;
    let slow = see(&mut lab, "upstream_latency", enough).await;
    assert!(slow.forward_mean("") > 0.3, "{}", slow.forward_mean(""));
    assert!(slow.felt.latency_max_seconds > 0.3, "{:?}", slow.felt);

    see(&mut lab, "truncation", |seen| {
        seen.felt.truncated > 10 && seen.grew(REQUESTS, "proto=\"tcp\"") > 10.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstream_faults_of_the_way_are_seen() {
    let Some(mut lab) = start("1.15.0").await else { return };
    see(&mut lab, "upstream_refused", |seen| {
        seen.grew(RESPONSES, "rcode=\"SERVFAIL\"") > 20.0 && seen.felt.failed_lookups > 20
    })
    .await;
    see(&mut lab, "upstream_loss", |seen| {
        seen.felt.timeouts > 5 && seen.grew(FORWARDED, "") > 20.0
    })
    .await;
    let out = see(&mut lab, "upstream_outage", |seen| seen.felt.timeouts > 50).await;
    // What was on its way when the upstreams fell silent may still be counted.
    assert!(out.grew(FORWARDED, "") < 5.0, "{}", out.grew(FORWARDED, ""));
    look(&mut lab, |seen| seen.grew(FORWARDED, "") > 20.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_one_upstream_leave_the_other_alone() {
    let Some(mut lab) = start("1.15.0").await else { return };
    let first = lab.upstreams()[0].address().to_string();
    let second = lab.upstreams()[1].address().to_string();
    let asked =
        |seen: &Seen| seen.grew(FORWARDED, &first) > 20.0 && seen.grew(FORWARDED, &second) > 20.0;
    let seen = see(&mut lab, "one_upstream_latency", asked).await;
    let means = (seen.forward_mean(&first), seen.forward_mean(&second));
    assert!(means.0 > 0.19 && means.1 < means.0 / 2.0, "{means:?}");

    let many = |seen: &Seen| seen.grew(FORWARDED, "") > 100.0;
    let seen = see(&mut lab, "upstream_some_servfail", many).await;
    let failed_ratio = seen.grew(FORWARDED, "SERVFAIL") / seen.grew(FORWARDED, "");
    assert!((0.001..0.3).contains(&failed_ratio), "{failed_ratio}");

    // The upstreams answer fewer than the misses that would have to be asked.
    let seen = see(&mut lab, "upstream_rate_limit", |seen| seen.grew(MISSES, "") > 100.0).await;
    assert!(seen.grew(FORWARDED, "") < 0.5 * seen.grew(MISSES, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_process_is_slow_until_it_goes_on() {
    let Some(mut lab) = start("1.15.0").await else { return };
    see(&mut lab, "cpu_throttle", |seen| seen.felt.latency_max_seconds > 0.05).await;
    look(&mut lab, |seen| seen.felt.answered > 50 && seen.felt.timeouts < seen.felt.answered / 5)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_faults_are_seen() {
    // Few names, so that the cache has them, unless a fault asks for others.
    let few_names = |config: &mut LabConfig| config.traffic.n_outside_names = 100;
    let Some(mut lab) = start_with("1.15.0", few_names).await else { return };
    let many = |seen: &Seen| seen.grew(REQUESTS, "") > 300.0;
    let share =
        |seen: &Seen, name: &str, label: &str| seen.grew(name, label) / seen.grew(REQUESTS, "");
    let quiet = look(&mut lab, many).await;

    see(&mut lab, "traffic_spike", |seen| {
        seen.requests_per_second() > 2.5 * quiet.requests_per_second()
    })
    .await;
    see(&mut lab, "traffic_drop", |seen| {
        seen.requests_per_second() < 0.4 * quiet.requests_per_second()
    })
    .await;
    see(&mut lab, "nxdomain_flood", |seen| {
        many(seen) && seen.grew(RESPONSES, "rcode=\"NXDOMAIN\"") > 0.6 * seen.grew(RESPONSES, "")
    })
    .await;
    // Measured only now, as the cache was cold at first.
    let usual = share(&look(&mut lab, many).await, MISSES, "");
    see(&mut lab, "cache_busting", |seen| many(seen) && share(seen, MISSES, "") > usual + 0.1)
        .await;
    see(&mut lab, "clients_over_tcp", |seen| {
        many(seen) && share(seen, REQUESTS, "proto=\"tcp\"") > 0.2
    })
    .await;
    see(&mut lab, "qtype_shift", |seen| many(seen) && share(seen, REQUESTS, "type=\"TXT\"") > 0.15)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_loses_the_counters_and_serves_again() {
    let Some(mut lab) = start("1.15.0").await else { return };
    let (server, old) = (&lab.servers()[0], lab.servers()[0].process_id());
    wait_for("traffic", async || {
        sum(&server.metrics().await.unwrap(), "coredns_dns_requests_total", "") > 200.0
    })
    .await;
    lab.apply(fault("restart").unwrap()).await.unwrap();
    let server = &lab.servers()[0];
    let first = server.metrics().await.unwrap();
    assert!(sum(&first, "coredns_dns_requests_total", "") < 150.0);
    assert_ne!(server.process_id(), old);
    wait_for("traffic again", async || {
        sum(&server.metrics().await.unwrap(), "coredns_dns_requests_total", "") > 50.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_process_answers_nothing_until_it_goes_on() {
    let Some(mut lab) = start("1.15.0").await else { return };
    lab.apply(fault("process_freeze").unwrap()).await.unwrap();
    let metrics = tokio::time::timeout(Duration::from_millis(500), lab.servers()[0].metrics());
    assert!(metrics.await.is_err());
    let mut timeouts = 0;
    for _ in 0..300 {
        sleep(Duration::from_millis(100)).await;
        timeouts += ClientSecond::total(&lab.take_client_seconds()).timeouts;
        if timeouts > 20 {
            break;
        }
    }
    assert!(timeouts > 20, "{timeouts}");
    lab.clear().await.unwrap();
    assert!(lab.servers()[0].metrics().await.is_ok());
    let address = lab.servers()[0].metrics_address();
    let csv = labels_csv(lab.labels());
    assert!(csv.contains("process_freeze,") && csv.contains(&format!(",{address},1")), "{csv}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_is_taken_up_and_keeps_the_counters() {
    let Some(mut lab) = start("1.15.0").await else { return };
    let before = lab.servers()[0].metrics().await.unwrap();
    lab.apply(fault("reload").unwrap()).await.unwrap();
    let server = &lab.servers()[0];
    wait_for("the reload", async || server.log_tail().contains("Reloading complete")).await;
    let after = server.metrics().await.unwrap();
    let requests = |text: &str| sum(text, "coredns_dns_requests_total", "");
    assert!(requests(&after) >= requests(&before));
    lab.clear().await.unwrap();
    assert!(!lab.labels()[0].anomalous);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_is_played_and_labelled_for_all_replicas() {
    let Some(binary) = coredns_binary("1.15.0") else { return };
    let mut lab = Lab::start(LabConfig { replicas: 2, ..config(binary) }).await.unwrap();
    assert_eq!(lab.metrics_urls().len(), 2);
    let moment = Duration::from_millis(400);
    let fault = fault("upstream_servfail").unwrap();
    let schedule = [Phase::quiet(moment), Phase::faulty(fault, moment), Phase::quiet(moment)];
    lab.play(&schedule).await.unwrap();
    let [label] = lab.labels() else { panic!("{:?}", lab.labels()) };
    let seconds = label.end.seconds_since(label.start);
    assert!((0.4..10.0).contains(&seconds), "{seconds}");
    assert_eq!((label.kind.as_str(), label.instance.as_str()), ("upstream_servfail", "*"));
    for server in lab.servers() {
        let metrics = server.metrics().await.unwrap();
        assert!(sum(&metrics, "coredns_dns_requests_total", "") > 20.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_by_itself_ends_the_schedule() {
    let Some(mut lab) = start("1.15.0").await else { return };
    let process = lab.servers()[0].process_id().unwrap();
    let kill = std::process::Command::new("kill").args(["-9", &process.to_string()]).status();
    assert!(kill.unwrap().success());
    let fault = fault("traffic_drop").unwrap();
    let error = lab.play(&[Phase::faulty(fault, Duration::from_secs(20))]).await.unwrap_err();
    assert!(matches!(error, LabError::Died { .. }), "{error}");
    assert_eq!(lab.labels().len(), 1, "what was done is labelled all the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_generation_runs_and_names_its_metrics() {
    for (version, requests, forwarded) in [
        ("1.6.9", "coredns_dns_request_count_total", "coredns_forward_request_count_total"),
        ("1.10.1", "coredns_dns_requests_total", "coredns_forward_requests_total"),
        ("1.15.0", "coredns_dns_requests_total", "coredns_proxy_request_duration_seconds_count"),
    ] {
        let Some(lab) = start(version).await else { continue };
        let server = &lab.servers()[0];
        wait_for(version, async || {
            let metrics = server.metrics().await.unwrap();
            sum(&metrics, requests, "") > 50.0 && sum(&metrics, forwarded, "") > 20.0
        })
        .await;
    }
}

const PROGRAMMED: &str = "coredns_kubernetes_dns_programming_duration_seconds_count";

/// A lab with a Kubernetes API, whose clients ask for what the `kubernetes` plugin and the stub
/// zone know.
async fn start_cluster(version: &str) -> Option<Lab> {
    start_with(version, |config| {
        config.corefile = Corefile::Kubernetes;
        config.api = ApiBehaviour { changes_per_second: 20.0, ..ApiBehaviour::default() };
        config.traffic.cluster_addresses = true;
        config.settings.mix = Mix {
            inside: 0.5,
            outside: 0.0,
            qualified: 0.1,
            srv: 0.1,
            ptr: 0.1,
            txt: 0.0,
            stub: 0.2,
        };
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kubernetes_plugin_of_every_generation_lives_on_the_api() {
    for version in ["1.6.9", "1.10.1", "1.15.0"] {
        let Some(mut lab) = start_cluster(version).await else { continue };
        // Old releases name their counters otherwise.
        let tells = version != "1.6.9";
        let stub = |seen: &Seen| seen.grew(RESPONSES, "zone=\"corp.example.\"") > 10.0;
        look(&mut lab, |seen| {
            let felt = &seen.felt;
            let is_well = felt.failed_lookups * 50 < felt.answered && felt.rcodes[0] > 200;
            is_well && seen.grew(PROGRAMMED, "") > 20.0 && (!tells || stub(seen))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_api_show_in_the_metrics() {
    let Some(mut lab) = start_cluster("1.15.0").await else { return };
    look(&mut lab, |seen| seen.grew(PROGRAMMED, "") > 20.0).await;
    see(&mut lab, "endpoint_churn", |seen| {
        seen.grew(PROGRAMMED, "") > 25.0 * seen.elapsed.as_secs_f64()
    })
    .await;
    let mean = |seen: &Seen| {
        let sum = seen.grew("coredns_kubernetes_dns_programming_duration_seconds_sum", "");
        sum / seen.grew(PROGRAMMED, "").max(1.0)
    };
    let late = ApiBehaviour {
        changes_per_second: 20.0,
        delay: Duration::from_secs(2),
        ..ApiBehaviour::default()
    };
    lab.api().unwrap().set(late);
    look(&mut lab, |seen| mean(seen) > 1.9).await;
    see(&mut lab, "api_errors", |seen| {
        seen.grew("coredns_kubernetes_rest_client_requests_total", "code=\"500\"") > 2.0
    })
    .await;
    lab.apply(fault("api_lost").unwrap()).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let before = lab.servers()[0].metrics().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let after = lab.servers()[0].metrics().await.unwrap();
    assert_eq!(sum(&before, PROGRAMMED, ""), sum(&after, PROGRAMMED, ""));
    lab.clear().await.unwrap();
    look(&mut lab, |seen| seen.grew(PROGRAMMED, "") > 20.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_the_api_needs_one() {
    let Some(mut lab) = start("1.15.0").await else { return };
    let error = lab.apply(fault("api_lost").unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("use `corefile: kubernetes`"), "{error}");
}

/// What clients of a cluster ask, without names of a stub zone.
fn of_cluster(config: &mut LabConfig) {
    config.settings.mix =
        Mix { inside: 0.6, outside: 0.1, qualified: 0.2, srv: 0.1, ..config.settings.mix };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_configuration_answers_for_the_cluster_and_the_world() {
    for corefile in [Corefile::KubeadmNew, Corefile::Eks, Corefile::NodeLocal, Corefile::Tuned] {
        let started = start_with("1.15.0", |config| {
            of_cluster(config);
            config.corefile = corefile;
        });
        let Some(mut lab) = started.await else { return };
        println!("{corefile}");
        look(&mut lab, |seen| {
            let felt = &seen.felt;
            let is_well = felt.failed_lookups * 50 < felt.answered;
            is_well && felt.rcodes[0] > 150 && seen.grew(FORWARDED, "") > 20.0
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_releases_take_the_configurations_of_their_time() {
    for corefile in [Corefile::KubeadmOld, Corefile::NodeLocal, Corefile::Tuned] {
        let started = start_with("1.6.9", |config| {
            of_cluster(config);
            config.corefile = corefile;
        });
        if started.await.is_none() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_come_on_top_take_their_part_of_the_clients() {
    let Some(mut lab) = start("1.15.0").await else { return };
    let before = look(&mut lab, |seen| seen.elapsed.as_secs() >= 2).await.requests_per_second();
    let part = see(&mut lab, "scale_out", |seen| seen.elapsed.as_secs() >= 2).await;
    let ratio = part.requests_per_second() / before;
    assert!((0.25..0.8).contains(&ratio), "{ratio}");
    assert!(!lab.labels()[0].anomalous);
    look(&mut lab, |seen| seen.requests_per_second() > 0.8 * before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_stays_until_the_next_one_leads_back() {
    let Some(other) = coredns_binary("1.10.1") else { return };
    let Some(mut lab) = start_with("1.15.0", |c| c.other_coredns = Some(other)).await else {
        return;
    };
    for version in ["1.10.1", "1.15.0"] {
        lab.apply(fault("version_upgrade").unwrap()).await.unwrap();
        lab.clear().await.unwrap();
        assert_eq!(lab.servers()[0].version(), version);
    }
    let Some(mut lab) = start("1.15.0").await else { return };
    let error = lab.apply(fault("version_upgrade").unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("needs a second release"), "{error}");
}
