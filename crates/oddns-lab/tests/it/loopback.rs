//! Clients and upstreams against each other, without a CoreDNS between them.

use std::time::{Duration, Instant};

use oddns_lab::{
    Behaviour, ClientSecond, LabError, Mix, Rcode, Traffic, TrafficConfig, TrafficSettings,
    Upstream, UpstreamConfig,
};
use tokio::time::sleep;

use crate::wait_for;

/// Names that the upstream has, asked without search path.
const EXISTING: Mix =
    Mix { inside: 0.0, outside: 0.0, qualified: 1.0, srv: 0.0, ptr: 0.0, txt: 0.0, stub: 0.0 };

fn settings(lookups_per_second: f64) -> TrafficSettings {
    TrafficSettings { lookups_per_second, mix: EXISTING, tcp_ratio: 0.0, ..Default::default() }
}

async fn traffic(upstream: &Upstream, settings: TrafficSettings, timeout: Duration) -> Traffic {
    let clients = TrafficConfig {
        servers: vec![upstream.address()],
        timeout,
        retries: 0,
        ..TrafficConfig::default()
    };
    Traffic::start(clients, settings).await.unwrap()
}

/// What clients feel from an upstream of this behaviour, looked at until `shows` holds. They wait
/// long for an answer, so that a busy machine makes no timeouts.
async fn felt(
    behaviour: Behaviour,
    settings: TrafficSettings,
    shows: impl Fn(&ClientSecond) -> bool,
) -> ClientSecond {
    felt_within(behaviour, settings, Duration::from_secs(20), shows).await
}

async fn felt_within(
    behaviour: Behaviour,
    settings: TrafficSettings,
    timeout: Duration,
    shows: impl Fn(&ClientSecond) -> bool,
) -> ClientSecond {
    let upstream = Upstream::bind(UpstreamConfig::default()).await.unwrap();
    upstream.set(behaviour);
    let traffic = traffic(&upstream, settings, timeout).await;
    let mut seconds = Vec::new();
    for _ in 0..300 {
        sleep(Duration::from_millis(100)).await;
        seconds.extend(traffic.take_seconds());
        if shows(&ClientSecond::total(&seconds)) {
            break;
        }
    }
    seconds.extend(traffic.stop().await);
    ClientSecond::total(&seconds)
}

#[tokio::test]
async fn a_healthy_upstream_answers_everything() {
    let felt = felt(Behaviour::default(), settings(200.0), |felt| felt.answered > 100).await;
    assert!(felt.answered > 100, "{felt:?}");
    assert_eq!(felt.rcodes[0], felt.answered, "{felt:?}");
    assert_eq!((felt.failed_lookups, felt.timeouts), (0, 0), "{felt:?}");
}

#[tokio::test]
async fn the_search_path_costs_mostly_nxdomain() {
    let outside = Mix { outside: 1.0, qualified: 0.0, ..EXISTING };
    let settings = TrafficSettings { mix: outside, ..settings(100.0) };
    let felt = felt(Behaviour::default(), settings, |felt| felt.answered > 200).await;
    let nxdomain_ratio = felt.rcodes[3] as f64 / felt.answered as f64;
    assert!((0.65..0.85).contains(&nxdomain_ratio), "{felt:?}");
    assert!(felt.lookups > 0 && felt.failed_lookups == 0, "{felt:?}");
}

#[tokio::test]
async fn each_behaviour_is_felt() {
    let some = |felt: &ClientSecond| felt.answered > 20;
    let slow = Behaviour { delay: Duration::from_millis(100), ..Default::default() };
    let slow = felt(slow, settings(100.0), some).await;
    assert!(slow.latency_sum_seconds / slow.answered as f64 >= 0.1, "{slow:?}");

    let failing = Behaviour { rcode: Some(Rcode::Refused), ..Default::default() };
    let failing = felt(failing, settings(100.0), some).await;
    assert_eq!(failing.rcodes[5], failing.answered, "{failing:?}");
    assert_eq!(failing.failed_lookups, failing.lookups, "{failing:?}");

    let impatient = Duration::from_millis(200);
    let timeouts = |felt: &ClientSecond| felt.timeouts > 20;
    let hole = Behaviour { blackhole: true, ..Default::default() };
    let hole = felt_within(hole, settings(100.0), impatient, timeouts).await;
    assert!(hole.answered == 0 && hole.timeouts > 20, "{hole:?}");

    let lossy = Behaviour { loss_ratio: 0.5, ..Default::default() };
    let both = |felt: &ClientSecond| felt.answered > 10 && felt.timeouts > 10;
    let lossy = felt_within(lossy, settings(100.0), impatient, both).await;
    assert!(lossy.answered > 10 && lossy.timeouts > 10, "{lossy:?}");
}

#[tokio::test]
async fn truncated_replies_are_asked_again_over_tcp() {
    let cutting = Behaviour { truncate_ratio: 1.0, ..Default::default() };
    let enough = |felt: &ClientSecond| felt.truncated > 10 && felt.answered > felt.truncated;
    let felt = felt(cutting, settings(50.0), enough).await;
    assert!(felt.truncated > 10, "{felt:?}");
    assert!(felt.answered > felt.truncated, "answers over TCP: {felt:?}");
    assert_eq!(felt.failed_lookups, 0, "{felt:?}");
}

#[tokio::test]
async fn lookups_over_tcp_are_answered() {
    let settings = TrafficSettings { tcp_ratio: 1.0, ..settings(50.0) };
    let felt = felt(Behaviour::default(), settings, |felt| felt.answered > 10).await;
    assert!(felt.answered > 10 && felt.failed_lookups == 0, "{felt:?}");
}

#[tokio::test]
async fn the_traffic_changes_while_it_runs() {
    let upstream = Upstream::bind(UpstreamConfig::default()).await.unwrap();
    let traffic = traffic(&upstream, settings(0.0), Duration::from_secs(20)).await;
    sleep(Duration::from_millis(50)).await;
    assert_eq!(upstream.counts().queries, 0);
    traffic.set(TrafficSettings { flood_per_second: 400.0, ..settings(0.0) });
    wait_for("the flood", async || upstream.counts().queries > 100).await;
    let felt = ClientSecond::total(&traffic.stop().await);
    assert_eq!(felt.rcodes[3], felt.answered, "{felt:?}");
    assert_eq!(felt.failed_lookups, 0, "that a random name is missing is no failure: {felt:?}");
}

#[tokio::test]
async fn a_stopped_upstream_comes_back_on_its_port() {
    let mut upstream = Upstream::bind(UpstreamConfig::default()).await.unwrap();
    let address = upstream.address();
    // Replies that wait for their delay must not keep the port taken.
    upstream.set(Behaviour { delay: Duration::from_secs(30), ..Default::default() });
    let traffic = traffic(&upstream, settings(100.0), Duration::from_millis(200)).await;
    wait_for("queries", async || upstream.counts().queries > 10).await;
    upstream.stop().await;
    let seen = upstream.counts().queries;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(upstream.counts().queries, seen);
    upstream.set(Behaviour::default());
    upstream.start().await.unwrap();
    assert_eq!(upstream.address(), address);
    wait_for("queries again", async || upstream.counts().queries > seen + 10).await;
    assert!(ClientSecond::total(&traffic.stop().await).answered > 0);
}

#[tokio::test]
async fn a_taken_port_and_an_outside_address_are_refused() {
    let upstream = Upstream::bind(UpstreamConfig::default()).await.unwrap();
    let same = UpstreamConfig { address: upstream.address(), ..Default::default() };
    let error = Upstream::bind(same).await.unwrap_err();
    assert!(matches!(error, LabError::Bind { .. }), "{error}");
    let outside = UpstreamConfig { address: ([192, 0, 2, 1], 53).into(), ..Default::default() };
    let error = Upstream::bind(outside).await.unwrap_err();
    assert!(matches!(error, LabError::NotLoopback { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_queries_are_sent_and_answered() {
    let start = Instant::now();
    let felt = felt(Behaviour::default(), settings(3000.0), |felt| felt.answered > 3000).await;
    println!("{} answered in {:.1} s", felt.answered, start.elapsed().as_secs_f64());
    assert!(felt.answered > 3000, "{felt:?}");
}
