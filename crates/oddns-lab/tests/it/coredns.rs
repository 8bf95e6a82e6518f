//! Labs with a real CoreDNS: every fault does what the table says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use oddns_lab::{
    ClientSecond, Lab, LabConfig, LabError, Mix, Phase, TrafficConfig, TrafficSettings, fault,
    labels_csv,
};
use tokio::time::sleep;

use crate::{coredns_binary, wait_for};

/// Mostly names that no cache has, so that the upstreams are asked.
fn config(binary: PathBuf) -> LabConfig {
    let mix = Mix { inside: 0.2, outside: 0.1, qualified: 0.7, srv: 0.0, ptr: 0.0, txt: 0.0 };
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
    let lab = Lab::start(config(coredns_binary(version)?)).await.unwrap();
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
}

impl Seen {
    fn grew(&self, name: &str, label: &str) -> f64 {
        sum(&self.after, name, label) - sum(&self.before, name, label)
    }
}

/// Looks for `millis`, after a moment for what was just done to take effect.
async fn look(lab: &Lab, millis: u64) -> Seen {
    sleep(Duration::from_millis(300)).await;
    let before = lab.servers()[0].metrics().await.unwrap();
    lab.take_client_seconds();
    sleep(Duration::from_millis(millis)).await;
    let after = lab.servers()[0].metrics().await.unwrap();
    Seen { before, after, felt: ClientSecond::total(&lab.take_client_seconds()) }
}

/// Looks while the fault is in force.
async fn see(lab: &mut Lab, name: &str, millis: u64) -> Seen {
    lab.apply(fault(name).unwrap()).await.unwrap();
    let seen = look(lab, millis).await;
    lab.clear().await.unwrap();
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_are_answered_and_nothing_outlives_the_lab() {
    let Some(lab) = start("1.15.0").await else { return };
    wait_for("answers", async || lab.upstreams().iter().all(|u| u.counts().queries > 20)).await;
    sleep(Duration::from_millis(1100)).await;
    let felt = ClientSecond::total(&lab.take_client_seconds());
    assert!(felt.answered > 50 && felt.rcodes[0] > 50 && felt.rcodes[3] > 0, "{felt:?}");
    assert_eq!(felt.failed_lookups, 0, "{felt:?}\n{}", lab.servers()[0].log_tail());
    let process = format!("/proc/{}", lab.servers()[0].process_id().unwrap());
    assert!(Path::new(&process).exists());
    drop(lab);
    assert!(!Path::new(&process).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstream_faults_of_the_answers_are_seen() {
    let Some(mut lab) = start("1.15.0").await else { return };
    let responses = "coredns_dns_responses_total";

    let seen = see(&mut lab, "upstream_servfail", 1500).await;
    assert!(seen.grew(responses, "rcode=\"SERVFAIL\"") > 50.0);
    assert!(seen.grew("coredns_proxy_request_duration_seconds_count", "SERVFAIL") > 20.0);
    assert!(seen.felt.rcodes[2] > 50 && seen.felt.failed_lookups > 20, "{:?}", seen.felt);

    let seen = see(&mut lab, "upstream_rejects", 1200).await;
    assert!(seen.grew(responses, "rcode=\"REFUSED\"") > 50.0);

    let seen = see(&mut lab, "upstream_nxdomain", 1200).await;
    assert!(seen.grew("coredns_proxy_request_duration_seconds_count", "NXDOMAIN") > 20.0);

    let seen = see(&mut lab, "upstream_latency", 1500).await;
    let mean = seen.grew("coredns_proxy_request_duration_seconds_sum", "")
        / seen.grew("coredns_proxy_request_duration_seconds_count", "");
    assert!((0.3..0.5).contains(&mean), "{mean}");
    assert!(seen.felt.latency_max_seconds > 0.3, "{:?}", seen.felt);

    let seen = see(&mut lab, "truncation", 1500).await;
    assert!(seen.felt.truncated > 10, "{:?}", seen.felt);
    assert!(seen.grew("coredns_dns_requests_total", "proto=\"tcp\"") > 10.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstream_faults_of_the_way_are_seen() {
    let Some(mut lab) = start("1.15.0").await else { return };
    let forwarded = "coredns_proxy_request_duration_seconds_count";

    let seen = see(&mut lab, "upstream_refused", 1500).await;
    assert!(seen.grew("coredns_dns_responses_total", "rcode=\"SERVFAIL\"") > 20.0);
    assert!(seen.felt.failed_lookups > 20, "{:?}", seen.felt);

    let seen = see(&mut lab, "upstream_loss", 2500).await;
    assert!(seen.felt.timeouts > 5 && seen.grew(forwarded, "") > 20.0, "{:?}", seen.felt);

    let seen = see(&mut lab, "upstream_outage", 2500).await;
    assert!(seen.grew(forwarded, "") < 5.0, "{}", seen.grew(forwarded, ""));
    assert!(seen.felt.timeouts > 50, "{:?}", seen.felt);

    let seen = look(&lab, 2500).await;
    assert!(seen.grew(forwarded, "") > 20.0, "the upstreams are back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_one_upstream_leave_the_other_alone() {
    let Some(mut lab) = start("1.15.0").await else { return };
    let first = lab.upstreams()[0].address().to_string();
    let second = lab.upstreams()[1].address().to_string();
    let mean = |seen: &Seen, to: &str| {
        seen.grew("coredns_proxy_request_duration_seconds_sum", to)
            / seen.grew("coredns_proxy_request_duration_seconds_count", to)
    };
    let seen = see(&mut lab, "one_upstream_latency", 1500).await;
    let means = (mean(&seen, &first), mean(&seen, &second));
    assert!(means.0 > 0.19 && means.1 < 0.1, "{means:?}");

    let seen = see(&mut lab, "upstream_some_servfail", 2500).await;
    let failed = seen.grew("coredns_proxy_request_duration_seconds_count", "SERVFAIL");
    assert!((1.0..40.0).contains(&failed), "{failed}");

    let seen = see(&mut lab, "upstream_rate_limit", 1500).await;
    assert!(seen.grew("coredns_proxy_request_duration_seconds_count", "") < 40.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_process_is_slow_until_it_goes_on() {
    let Some(mut lab) = start("1.15.0").await else { return };
    let seen = see(&mut lab, "cpu_throttle", 2000).await;
    assert!(seen.felt.latency_max_seconds > 0.05, "{:?}", seen.felt);
    sleep(Duration::from_millis(500)).await;
    let seen = look(&lab, 1500).await;
    assert!(seen.felt.answered > 50 && seen.felt.timeouts < 20, "{:?}", seen.felt);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_faults_are_seen() {
    let Some(mut lab) = start("1.15.0").await else { return };
    let requests = "coredns_dns_requests_total";
    let quiet = look(&lab, 1500).await.grew(requests, "");

    let spike = see(&mut lab, "traffic_spike", 1500).await.grew(requests, "");
    assert!(spike > 3.0 * quiet, "{quiet} {spike}");
    let drop = see(&mut lab, "traffic_drop", 1500).await.grew(requests, "");
    assert!(drop < 0.4 * quiet, "{quiet} {drop}");

    let seen = see(&mut lab, "nxdomain_flood", 1500).await;
    let nxdomain = seen.grew("coredns_dns_responses_total", "rcode=\"NXDOMAIN\"");
    assert!(nxdomain > 0.6 * seen.grew("coredns_dns_responses_total", ""), "{nxdomain}");

    let misses = "coredns_cache_misses_total";
    let quiet = look(&lab, 1500).await.grew(misses, "");
    let busting = see(&mut lab, "cache_busting", 1500).await.grew(misses, "");
    assert!(busting > quiet + 60.0, "{quiet} {busting}");
    let tcp = see(&mut lab, "clients_over_tcp", 1500).await.grew(requests, "proto=\"tcp\"");
    assert!(tcp > 50.0, "{tcp}");

    let seen = see(&mut lab, "qtype_shift", 1500).await;
    assert!(seen.grew(requests, "type=\"TXT\"") > 0.15 * seen.grew(requests, ""));
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
    sleep(Duration::from_millis(1500)).await;
    let felt = ClientSecond::total(&lab.take_client_seconds());
    assert!(felt.timeouts > 20, "{felt:?}");
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
