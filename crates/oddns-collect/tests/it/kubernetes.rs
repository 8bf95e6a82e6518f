//! Targets out of the API of a cluster, which is made up here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use oddns_collect::{
    Discovery, HttpConfig, Job, JobConfig, KubernetesDiscovery, RelabelRule, Role, RuleText,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::journal::{Watching, ok};

/// A cluster with one service, one slice and one pod, then two.
fn listed(path: &str) -> Value {
    let items = match path {
        p if p.contains("/pods") => vec![pod(1)],
        p if p.contains("/services") => vec![json!({
            "metadata": {"namespace": "kube-system", "name": "kube-dns", "labels": {"k8s-app": "kube-dns"}},
            "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.10",
                     "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}})],
        p if p.contains("/endpointslices") => vec![slice(&[1])],
        p if p.contains("/endpoints") => vec![json!({
            "metadata": {"namespace": "kube-system", "name": "kube-dns"},
            "subsets": [{"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}],
                         "addresses": [{"ip": "10.2.0.1", "nodeName": "n1", "targetRef":
                             {"kind": "Pod", "namespace": "kube-system", "name": "coredns-1"}}]}]})],
        p if p.contains("/nodes") => vec![json!({
            "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "eu-1"}},
            "spec": {"providerID": "p"},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.1"}],
                       "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}})],
        _ => Vec::new(),
    };
    json!({"metadata": {"resourceVersion": "7"}, "items": items})
}

fn pod(n: usize) -> Value {
    json!({
        "metadata": {"namespace": "kube-system", "name": format!("coredns-{n}"), "uid": "u",
                     "labels": {"k8s-app": "kube-dns"}, "annotations": {"prometheus.io/port": "9153"},
                     "ownerReferences": [{"controller": true, "kind": "ReplicaSet", "name": "coredns"}]},
        "spec": {"nodeName": "n1", "containers": [{"name": "coredns", "image": "coredns:1.15.0", "env": [],
                 "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"},
                           {"name": "metrics", "containerPort": 9153, "protocol": "TCP"}]}]},
        "status": {"podIP": format!("10.2.0.{n}"), "phase": "Running", "hostIP": "192.168.0.1",
                   "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn slice(pods: &[usize]) -> Value {
    let endpoint = |n: &usize| {
        json!({"addresses": [format!("10.2.0.{n}")], "nodeName": "n1", "conditions": {"ready": true},
               "targetRef": {"kind": "Pod", "namespace": "kube-system", "name": format!("coredns-{n}")}})
    };
    json!({
        "metadata": {"namespace": "kube-system", "name": "kube-dns-x",
                     "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}],
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

/// What the watches of a kind say: a second pod comes.
fn news(path: &str) -> String {
    let lines = match path {
        p if p.contains("/pods") => vec![json!({"type": "ADDED", "object": pod(2)})],
        p if p.contains("/endpointslices") => vec![
            json!({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "8"}}}),
            json!({"type": "MODIFIED", "object": slice(&[1, 2])}),
        ],
        _ => Vec::new(),
    };
    lines.iter().map(|line| format!("{line}\n")).collect()
}

async fn answer(mut stream: TcpStream, n_watches: Arc<AtomicUsize>) {
    let mut head = [0; 8192];
    loop {
        let Ok(length @ 1..) = stream.read(&mut head).await else { return };
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        if head.to_lowercase().contains("authorization: bearer wrong") {
            let _ = stream.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").await;
            continue;
        }
        if !path.contains("watch=1") {
            let _ = stream
                .write_all(ok("application/json", &listed(path).to_string()).as_bytes())
                .await;
            continue;
        }
        // The first watch of all is told that its version is too old: it has to list again.
        let is_first = n_watches.fetch_add(1, Ordering::Relaxed) == 0;
        let outdated = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410}});
        let body = if is_first { format!("{outdated}\n") } else { news(path) };
        // A body without a length lasts as long as the connection.
        let start =
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
        let _ = stream.write_all(format!("{start}{body}").as_bytes()).await;
        std::future::pending::<()>().await;
    }
}

async fn cluster() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let n_watches = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&n_watches)));
        }
    });
    address
}

fn discovery(role: Role, server: &str) -> KubernetesDiscovery {
    let mut discovery = KubernetesDiscovery::new(role, HttpConfig::default());
    discovery.set_api_server(&format!("http://{server}")).unwrap();
    discovery.namespaces = vec!["kube-system".to_owned()];
    discovery.attach_node = role != Role::Node;
    discovery
}

fn rule(action: &str, source: &str, regex: &str, replacement: &str) -> RelabelRule {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    RelabelRule::new(RuleText {
        action: some(action),
        source_labels: some(source).into_iter().collect(),
        regex: some(regex),
        replacement: some(replacement),
        ..RuleText::default()
    })
    .unwrap()
}

/// All meta labels, without their beginning.
fn job(discovery: KubernetesDiscovery, rules: Vec<RelabelRule>) -> Arc<Job> {
    let mut relabel_rules = rules;
    relabel_rules.push(rule("labelmap", "", "__meta_kubernetes_(.+)", "$1"));
    Job::new(JobConfig {
        interval: Duration::from_secs(3600),
        discoveries: vec![Discovery::Kubernetes(Box::new(discovery))],
        relabel_rules,
        ..JobConfig::new("dns")
    })
}

#[tokio::test]
async fn the_metrics_port_of_every_pod_behind_a_slice_is_found() {
    let rules = vec![
        rule("keep", "__meta_kubernetes_service_label_k8s_app", "kube-dns", ""),
        rule("keep", "__meta_kubernetes_pod_container_port_name", "metrics", ""),
    ];
    let server = cluster().await;
    let mut watching = Watching::start(vec![job(discovery(Role::EndpointSlice, &server), rules)]);
    let mut lines = watching.until("open 10.2.0.2:9153").await;
    lines.retain(|line| line.starts_with("open"));
    let last = lines.last().unwrap();
    for label in [
        "instance=\"10.2.0.2:9153\"",
        "namespace=\"kube-system\"",
        "pod_name=\"coredns-2\"",
        "pod_label_k8s_app=\"kube-dns\"",
        "pod_labelpresent_k8s_app=\"true\"",
        "pod_annotation_prometheus_io_port=\"9153\"",
        "pod_controller_kind=\"ReplicaSet\"",
        "pod_ready=\"true\"",
        "service_name=\"kube-dns\"",
        "endpointslice_name=\"kube-dns-x\"",
    ] {
        assert!(last.contains(label), "{label}: {last}");
    }
}

#[tokio::test]
async fn every_role_has_its_targets() {
    for (role, address, label) in [
        (Role::Pod, "10.2.0.1:9153", "node_label_topology_kubernetes_io_zone=\"eu-1\""),
        (Role::Endpoints, "10.2.0.1:53", "endpoint_address_target_name=\"coredns-1\""),
        (Role::Endpoints, "10.2.0.1:9153", "service_label_k8s_app=\"kube-dns\""),
        (Role::Service, "kube-dns.kube-system.svc:53", "service_cluster_ip=\"10.96.0.10\""),
        (Role::Node, "n1", "node_address_InternalIP=\"192.168.0.1\""),
    ] {
        let server = cluster().await;
        let mut watching = Watching::start(vec![job(discovery(role, &server), Vec::new())]);
        let lines = watching.until(&format!("open {address} ")).await;
        assert!(lines.last().unwrap().contains(label), "{role:?} {label}: {lines:?}");
    }
}

#[tokio::test]
async fn a_cluster_that_refuses_us_is_told() {
    let server = cluster().await;
    let mut refused = discovery(Role::Pod, &server);
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "wrong").unwrap();
    let credentials = oddns_collect::SecretSource::File(token);
    let auth = oddns_collect::Auth::Token { scheme: "Bearer".to_owned(), credentials };
    refused.http.auth = Some(auth);
    let mut watching = Watching::start(vec![job(refused, Vec::new())]);
    let lines = watching.until("failed answer").await;
    let expected = "answered 403 Forbidden: may our service account list and watch this?";
    assert!(lines.last().unwrap().ends_with(expected), "{lines:?}");
    // Nowhere near a cluster, and no kubeconfig.
    let mut nowhere = KubernetesDiscovery::new(Role::Pod, HttpConfig::default());
    nowhere.kubeconfig = Some(folder.path().join("none"));
    let mut watching = Watching::start(vec![job(nowhere, Vec::new())]);
    watching.until("failed cluster: cannot tell where the Kubernetes API is: cannot read").await;
}
