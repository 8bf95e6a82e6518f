//! The Helm chart: rendered by the real Helm, taken by the Go types of Kubernetes, and as little allowed
//! as can be.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use oddns_serve::review_config;
use serde_json::{Value, json};

use crate::has_peers;

const NAMESPACE: &str = "dns";
/// The oldest version of Kubernetes that the chart says it is for.
const OLDEST: [&str; 2] = ["--kube-version", "1.25.0"];

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/helm/oddns")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The files of values that the chart is tried with, by name.
fn values() -> BTreeMap<String, PathBuf> {
    let entries = std::fs::read_dir(chart().join("ci")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path)).collect()
}

/// The real Helm, and the program that checks what it makes.
struct Helm {
    folder: PathBuf,
}

impl Helm {
    /// `None`, with a line why, where they are not installed.
    fn find(test: &str) -> Option<Self> {
        let peers = || PathBuf::from(std::env::var_os("ODDNS_PEERS").unwrap_or_default());
        has_peers(test).then(|| Self { folder: peers().join("charts") })
    }

    fn run(&self, words: &[&str]) -> Output {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("helm");
        let mut command = Command::new(self.folder.join("helm"));
        // Nothing of the user's own Helm and cluster counts.
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "KUBECONFIG"] {
            command.env(name, &home);
        }
        command.args(words).output().expect("Helm is installed where ODDNS_PEERS is set")
    }

    /// What it says to the chart with these flags behind.
    fn template(&self, flags: &[&str]) -> Output {
        let chart = chart();
        let words = ["template", "site", chart.to_str().unwrap(), "--namespace", NAMESPACE];
        self.run(&[&words, flags, &OLDEST].concat())
    }

    /// What the chart makes of a file of values, once the Go types have taken it.
    fn render(&self, values: &str) -> Vec<Value> {
        let file = self::values()[values].display().to_string();
        let made = self.template(&["--values", &file]);
        assert!(made.status.success(), "{values}: {}", text(&made.stderr));
        assert_eq!(text(&made.stderr), "", "{values}");
        let mut check = Command::new(self.folder.join("manifests"));
        check.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut check = check.spawn().unwrap();
        check.stdin.take().unwrap().write_all(&made.stdout).unwrap();
        let taken = check.wait_with_output().unwrap();
        assert!(taken.status.success(), "{values}: {}", text(&taken.stderr));
        text(&taken.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn kinds(objects: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<&str> = objects.iter().map(|o| o["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    kinds
}

fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let object = found.next().unwrap_or_else(|| panic!("no {kind} in {:?}", kinds(objects)));
    assert_eq!(found.next(), None);
    object
}

fn configuration(objects: &[Value]) -> &str {
    objects.iter().find_map(|object| object["data"]["oddns.yml"].as_str()).unwrap()
}

/// The words of a role's rules, by its namespace.
fn allowed(objects: &[Value]) -> BTreeMap<String, Value> {
    let mut allowed = BTreeMap::new();
    for role in objects.iter().filter(|object| object["rules"].is_array()) {
        let namespace = role["metadata"]["namespace"].as_str().unwrap_or("*").to_owned();
        let rules = role["rules"].as_array().unwrap();
        assert!(rules.iter().all(|rule| rule["verbs"] == json!(["list", "watch"])), "{role}");
        let resources: Vec<&Value> = rules.iter().map(|rule| &rule["resources"]).collect();
        assert_eq!(allowed.insert(namespace, json!(resources)), None);
    }
    allowed
}

#[test]
fn every_file_of_values_renders_to_good_manifests() {
    let Some(helm) = Helm::find("every_file_of_values_renders_to_good_manifests") else { return };
    for (name, file) in values() {
        let (chart, file) = (chart(), file.display().to_string());
        let words = ["lint", "--strict", chart.to_str().unwrap(), "--values", &file];
        let lint = helm.run(&[&words[..], &OLDEST].concat());
        assert!(lint.status.success(), "{name}: {}{}", text(&lint.stdout), text(&lint.stderr));
        let objects = helm.render(&name);
        for object in &objects {
            let (kind, meta) = (object["kind"].as_str().unwrap(), &object["metadata"]);
            let elsewhere = kind.starts_with("Role") || kind.starts_with("Cluster");
            assert!(elsewhere || meta["namespace"] == NAMESPACE, "{name}: {object}");
            assert_eq!(meta["labels"]["app.kubernetes.io/instance"], "site", "{name}: {object}");
        }
        let config = configuration(&objects);
        let reviewed = review_config(config, Path::new(""));
        let reviewed = reviewed.unwrap_or_else(|mistakes| panic!("{name}: {mistakes:?}\n{config}"));
        assert!(reviewed.warnings().is_empty() && reviewed.unused().is_empty(), "{name}: {config}");
    }
}

#[test]
fn the_chart_as_it_is_may_list_the_pods_beside_coredns_and_nothing_else() {
    let test = "the_chart_as_it_is_may_list_the_pods_beside_coredns_and_nothing_else";
    let Some(helm) = Helm::find(test) else { return };
    let objects = helm.render("default");
    let expected = [
        "ConfigMap",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Role",
        "RoleBinding",
        "Service",
        "ServiceAccount",
        "StatefulSet",
    ];
    assert_eq!(kinds(&objects), expected);
    let roles = allowed(&objects);
    assert_eq!(roles, BTreeMap::from([("kube-system".to_owned(), json!([["pods"]]))]));
    let subject = json!({"kind": "ServiceAccount", "name": "site-oddns", "namespace": NAMESPACE});
    assert_eq!(only(&objects, "RoleBinding")["subjects"], json!([subject]));
}

#[test]
fn roles_follow_from_where_the_configuration_looks() {
    let test = "roles_follow_from_where_the_configuration_looks";
    let Some(helm) = Helm::find(test) else { return };
    let slices = json!([["pods", "services"], ["endpointslices"]]);
    let expected =
        [("*", json!([["nodes"]])), (NAMESPACE, slices.clone()), ("kube-system", slices)];
    let named = |pairs: &[(&str, Value)]| -> BTreeMap<String, Value> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    };
    assert_eq!(allowed(&helm.render("everything")), named(&expected));
    let expected = [
        ("*", json!([["endpoints", "nodes", "pods", "services"]])),
        ("dns-a", json!([["services"]])),
        ("dns-b", json!([["services"]])),
    ];
    assert_eq!(allowed(&helm.render("whole-cluster")), named(&expected));
    let least = helm.render("least");
    assert_eq!(kinds(&least), ["ConfigMap", "Service", "StatefulSet"]);
    let pod = &only(&least, "StatefulSet")["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["serviceAccountName"], "default");
}

#[test]
fn the_pod_is_locked_in() {
    let Some(helm) = Helm::find("the_pod_is_locked_in") else { return };
    for name in values().into_keys() {
        let objects = helm.render(&name);
        let pod = &only(&objects, "StatefulSet")["spec"]["template"]["spec"];
        let of_pod = &pod["securityContext"];
        assert_eq!(of_pod["runAsNonRoot"], true);
        assert_eq!(of_pod["seccompProfile"]["type"], "RuntimeDefault");
        assert!(of_pod["runAsUser"].as_u64().unwrap() > 10_000);
        for container in pod["containers"].as_array().unwrap() {
            let locked = &container["securityContext"];
            assert_eq!(locked["readOnlyRootFilesystem"], true);
            assert_eq!(locked["allowPrivilegeEscalation"], false);
            assert_eq!(locked["capabilities"], json!({"drop": ["ALL"]}));
            assert!(container["resources"]["limits"]["memory"].is_string());
            for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
                let path = container[probe]["httpGet"]["path"].as_str().unwrap();
                assert!(["/-/healthy", "/-/ready"].contains(&path), "{name}: {path}");
            }
        }
        // The volumes that may be written are the one for data.
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        let written: Vec<&Value> =
            mounts.iter().filter(|mount| mount["readOnly"] != true).collect();
        assert_eq!(written.len(), 1, "{name}: {written:?}");
    }
}

#[test]
fn wrong_values_are_refused_with_a_reason() {
    let Some(helm) = Helm::find("wrong_values_are_refused_with_a_reason") else { return };
    for (set, why) in [
        ("service.port=0", "/service/port"),
        ("nonsense.port=1", "nonsense"),
        ("storage.size=much", "/storage/size"),
        ("web.externalUrl=oddns.example", "/web/externalUrl"),
        ("web.allowAnonymous=false", "say who may see the page"),
    ] {
        let refused = helm.template(&["--set", set]);
        let reason = text(&refused.stderr);
        assert!(!refused.status.success() && reason.contains(why), "{set}: {reason}");
    }
}

#[test]
fn rules_and_dashboard_come_with_the_chart() {
    let Some(helm) = Helm::find("rules_and_dashboard_come_with_the_chart") else { return };
    let objects = helm.render("everything");
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.json");
    std::fs::write(&rules, only(&objects, "PrometheusRule")["spec"].to_string()).unwrap();
    let checked = Command::new("promtool").args(["check", "rules"]).arg(&rules).output().unwrap();
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let dashboard = objects.iter().find_map(|object| object["data"]["oddns.json"].as_str());
    let dashboard: Value = serde_json::from_str(dashboard.unwrap()).unwrap();
    assert_eq!(dashboard["uid"], "oddns");
    let monitor = &only(&objects, "ServiceMonitor")["spec"];
    assert_eq!(monitor["endpoints"][0]["honorLabels"], true);
    assert_eq!(monitor["endpoints"][0]["scheme"], "https");
    // Its labels are those of the service.
    let service = &only(&objects, "Service")["metadata"]["labels"];
    for (name, value) in monitor["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(service[name], *value);
    }
}

#[test]
fn copies_in_the_chart_are_those_of_the_folders_beside_it() {
    for (copy, original) in [
        ("files/dashboard.json", "../../grafana/oddns.json"),
        ("files/rules.yml", "../../prometheus/oddns.rules.yml"),
    ] {
        let read = |name: &str| std::fs::read_to_string(chart().join(name)).unwrap();
        assert!(read(copy) == read(original), "copy `{original}` to `{copy}` of the chart");
    }
}

/// The values of the chart, those of a group with its name before; lists and texts are not looked into.
fn names_of_values() -> BTreeSet<String> {
    let schema = std::fs::read_to_string(chart().join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let mut names = BTreeSet::new();
    for (name, value) in schema["properties"].as_object().unwrap() {
        match value["properties"].as_object().filter(|_| value["additionalProperties"] == false) {
            Some(group) => names.extend(group.keys().map(|key| format!("{name}.{key}"))),
            None => drop(names.insert(name.clone())),
        }
    }
    // Helm's own, and what is handed on as it is.
    names.remove("global");
    names.remove("resources.claims");
    names
}

#[test]
fn the_readme_tells_every_value_and_no_other() {
    let readme = std::fs::read_to_string(chart().join("README.md")).unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `"));
    let told: BTreeSet<String> = rows
        .flat_map(|row| row.split(" | ").next().unwrap().split(", "))
        .map(|name| name.trim_matches('`').to_owned())
        .collect();
    assert_eq!(told, names_of_values());
}

#[test]
fn every_value_has_a_default() {
    let written = std::fs::read_to_string(chart().join("values.yaml")).unwrap();
    let group = |name: &str| written.contains(&format!("\n{name}:"));
    for name in names_of_values() {
        match name.split_once('.') {
            None => assert!(group(&name), "{name}"),
            Some((outer, inner)) => {
                let start = written.find(&format!("\n{outer}:")).expect(outer);
                let rest = &written[start + 1..];
                let end = rest.find("\n\n").map_or(rest.len(), |end| end);
                assert!(rest[..end].contains(&format!("  {inner}:")), "{name}");
            }
        }
    }
}
