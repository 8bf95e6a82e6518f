//! Objects of a cluster as targets, with the labels that Prometheus gives them.

use serde_json::Value;

use super::objects::{Kind, Objects, list, text};
use super::{KubernetesDiscovery, Role};
use crate::relabel::LabelMap;

const PREFIX: &str = "__meta_kubernetes_";
/// The label by which a slice names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Kinds of addresses of a node, the most wanted first.
const NODE_ADDRESSES: &[&str] =
    &["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];

/// The targets of `discovery`'s role.
pub(super) fn of(discovery: &KubernetesDiscovery, objects: &Objects) -> Vec<LabelMap> {
    let builder = Builder { objects, attach_node: discovery.attach_node };
    let all = objects.all(discovery.role.kind());
    match discovery.role {
        Role::Pod => all.flat_map(|pod| builder.pod(pod)).collect(),
        Role::EndpointSlice => all.flat_map(|slice| builder.slice(slice)).collect(),
        Role::Endpoints => all.flat_map(|endpoints| builder.endpoints(endpoints)).collect(),
        Role::Service => all.flat_map(|service| builder.service(service)).collect(),
        Role::Node => all.filter_map(|node| builder.node(node)).collect(),
    }
}

/// Labels that grow; an empty value is none.
#[derive(Debug, Clone, Default)]
struct Found(LabelMap);

impl Found {
    fn set(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.0.insert(format!("{PREFIX}{name}"), value.to_owned());
        }
    }

    fn address(&mut self, host: &str, port: Option<u64>) {
        let host = if host.contains(':') && port.is_some() {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let address = port.map_or(host.clone(), |port| format!("{host}:{port}"));
        self.0.insert("__address__".to_owned(), address);
    }

    fn flag(&mut self, name: &str, value: &Value) {
        if let Some(flag) = value.as_bool() {
            self.set(name, if flag { "true" } else { "false" });
        }
    }

    /// Name, labels and annotations of an object.
    fn metadata(&mut self, object: &Value, role: &str) {
        let metadata = &object["metadata"];
        self.set(&format!("{role}_name"), text(&metadata["name"]));
        for (part, key) in [("label", "labels"), ("annotation", "annotations")] {
            for (name, value) in metadata[key].as_object().into_iter().flatten() {
                let name = sanitised(name);
                self.set(&format!("{role}_{part}_{name}"), text(value));
                self.set(&format!("{role}_{part}present_{name}"), "true");
            }
        }
    }

    fn container(&mut self, container: &Value, port: &Value, is_init: bool) {
        self.set("pod_container_name", text(&container["name"]));
        self.set("pod_container_image", text(&container["image"]));
        self.set("pod_container_init", if is_init { "true" } else { "false" });
        self.set("pod_container_port_name", text(&port["name"]));
        self.set("pod_container_port_protocol", text(&port["protocol"]));
        if let Some(number) = port["containerPort"].as_u64() {
            self.set("pod_container_port_number", &number.to_string());
        }
    }

    fn with(mut self, more: &Self) -> Self {
        self.0.extend(more.0.iter().map(|(name, value)| (name.clone(), value.clone())));
        self
    }
}

struct Builder<'a> {
    objects: &'a Objects,
    attach_node: bool,
}

/// A pod that endpoints name, with the ports that they cover.
struct Covered<'a> {
    pod: &'a Value,
    ports: Vec<u64>,
}

impl<'a> Builder<'a> {
    fn pod(&self, pod: &Value) -> Vec<LabelMap> {
        let ip = text(&pod["status"]["podIP"]);
        if ip.is_empty() {
            return Vec::new();
        }
        let mut common = pod_labels(pod);
        common.set("namespace", namespace(pod));
        self.attach(&mut common, text(&pod["spec"]["nodeName"]));
        let mut targets = Vec::new();
        for (container, is_init) in containers(pod) {
            let anonymous = [Value::Null];
            let ports = list(&container["ports"]);
            let ports = if ports.is_empty() { &anonymous[..] } else { ports };
            for port in ports {
                let mut target = common.clone();
                target.address(ip, port["containerPort"].as_u64());
                target.container(container, port, is_init);
                target.set("pod_container_id", container_id(pod, text(&container["name"])));
                targets.push(target.0);
            }
        }
        targets
    }

    fn slice(&self, slice: &'a Value) -> Vec<LabelMap> {
        let mut common = Found::default();
        common.set("namespace", namespace(slice));
        common.set("endpointslice_address_type", text(&slice["addressType"]));
        common.metadata(slice, "endpointslice");
        let service = text(&slice["metadata"]["labels"][SERVICE_NAME]);
        let service = self.objects.get(Kind::Service, namespace(slice), service);
        if let Some(service) = service {
            common.metadata(service, "service");
            let families = list(&service["spec"]["ipFamilies"]);
            if families.len() > 1 && families.first() != Some(&slice["addressType"]) {
                return Vec::new();
            }
        }
        let (mut targets, mut covered) = (Vec::new(), Vec::new());
        for endpoint in list(&slice["endpoints"]) {
            for port in list(&slice["ports"]) {
                for address in list(&endpoint["addresses"]) {
                    let mut target = slice_labels(endpoint, port);
                    target.address(text(address), port["port"].as_u64());
                    self.attach(&mut target, text(&endpoint["nodeName"]));
                    let pod = &endpoint["targetRef"];
                    let target = self.join(target, pod, port["port"].as_u64(), &mut covered);
                    targets.push(target.with(&common).0);
                }
            }
        }
        targets.extend(uncovered(&covered).into_iter().map(|target| target.with(&common).0));
        targets
    }

    fn endpoints(&self, endpoints: &'a Value) -> Vec<LabelMap> {
        let mut common = Found::default();
        common.set("namespace", namespace(endpoints));
        let name = text(&endpoints["metadata"]["name"]);
        if let Some(service) = self.objects.get(Kind::Service, namespace(endpoints), name) {
            common.metadata(service, "service");
        }
        common.metadata(endpoints, "endpoints");
        let (mut targets, mut covered) = (Vec::new(), Vec::new());
        for subset in list(&endpoints["subsets"]) {
            for port in list(&subset["ports"]) {
                for (key, ready) in [("addresses", "true"), ("notReadyAddresses", "false")] {
                    for address in list(&subset[key]) {
                        let mut target = endpoint_labels(address, port, ready);
                        target.address(text(&address["ip"]), port["port"].as_u64());
                        self.attach(&mut target, text(&address["nodeName"]));
                        let pod = &address["targetRef"];
                        let target = self.join(target, pod, port["port"].as_u64(), &mut covered);
                        targets.push(target.with(&common).0);
                    }
                }
            }
        }
        targets.extend(uncovered(&covered).into_iter().map(|target| target.with(&common).0));
        targets
    }

    /// Adds the labels of the pod behind an endpoint, if there is one, and of its container.
    fn join(
        &self,
        target: Found,
        reference: &Value,
        port: Option<u64>,
        covered: &mut Vec<Covered<'a>>,
    ) -> Found {
        let is_pod = text(&reference["kind"]) == "Pod";
        let (namespace, name) = (text(&reference["namespace"]), text(&reference["name"]));
        let pod = is_pod.then(|| self.objects.get(Kind::Pod, namespace, name)).flatten();
        let Some(pod) = pod else { return target };
        let mut target = target.with(&pod_labels(pod));
        let known = covered.iter().position(|known| std::ptr::eq(known.pod, pod));
        let at = known.unwrap_or_else(|| {
            covered.push(Covered { pod, ports: Vec::new() });
            covered.len() - 1
        });
        covered[at].ports.extend(port);
        for (container, is_init) in containers(pod) {
            let same = |of: &&Value| port.is_some() && of["containerPort"].as_u64() == port;
            if let Some(port) = list(&container["ports"]).iter().find(same) {
                target.container(container, port, is_init);
            }
        }
        target
    }

    fn service(&self, service: &Value) -> Vec<LabelMap> {
        let mut common = Found::default();
        common.set("namespace", namespace(service));
        common.metadata(service, "service");
        let spec = &service["spec"];
        common.set("service_type", text(&spec["type"]));
        match text(&spec["type"]) {
            "ExternalName" => common.set("service_external_name", text(&spec["externalName"])),
            _ => common.set("service_cluster_ip", text(&spec["clusterIP"])),
        }
        let host = format!("{}.{}.svc", text(&service["metadata"]["name"]), namespace(service));
        let target = |port: &Value| {
            let mut target = common.clone();
            target.address(&host, port["port"].as_u64());
            target.set("service_port_name", text(&port["name"]));
            target.set("service_port_protocol", text(&port["protocol"]));
            let number = port["port"].as_u64().map(|port| port.to_string());
            target.set("service_port_number", &number.unwrap_or_default());
            target.0
        };
        list(&spec["ports"]).iter().map(target).collect()
    }

    fn node(&self, node: &Value) -> Option<LabelMap> {
        let mut target = node_labels(node);
        let addresses = list(&node["status"]["addresses"]);
        let of_kind = |kind: &str| addresses.iter().find(|address| text(&address["type"]) == kind);
        let address = NODE_ADDRESSES.iter().find_map(|kind| of_kind(kind))?;
        let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
        target.address(text(&address["address"]), Some(port.unwrap_or_default()));
        for address in addresses.iter().rev() {
            let kind = sanitised(text(&address["type"]));
            target.set(&format!("node_address_{kind}"), text(&address["address"]));
        }
        let name = text(&node["metadata"]["name"]).to_owned();
        target.0.insert("instance".to_owned(), name);
        Some(target.0)
    }

    fn attach(&self, target: &mut Found, node: &str) {
        if let Some(node) = self.objects.get(Kind::Node, "", node).filter(|_| self.attach_node) {
            target.0.extend(node_labels(node).0);
        }
    }
}

fn namespace(object: &Value) -> &str {
    text(&object["metadata"]["namespace"])
}

/// A name with everything that no label name may have as `_`.
fn sanitised(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

fn pod_labels(pod: &Value) -> Found {
    let mut labels = Found::default();
    let (status, spec) = (&pod["status"], &pod["spec"]);
    for (name, value) in [
        ("pod_ip", &status["podIP"]),
        ("pod_phase", &status["phase"]),
        ("pod_host_ip", &status["hostIP"]),
        ("pod_node_name", &spec["nodeName"]),
        ("pod_uid", &pod["metadata"]["uid"]),
    ] {
        labels.set(name, text(value));
    }
    let conditions = list(&status["conditions"]);
    let ready = conditions.iter().find(|condition| text(&condition["type"]) == "Ready");
    let ready = ready.map_or("unknown", |condition| text(&condition["status"]));
    labels.set("pod_ready", &ready.to_lowercase());
    let owners = list(&pod["metadata"]["ownerReferences"]);
    if let Some(owner) = owners.iter().find(|owner| owner["controller"] == true) {
        labels.set("pod_controller_kind", text(&owner["kind"]));
        labels.set("pod_controller_name", text(&owner["name"]));
    }
    labels.metadata(pod, "pod");
    labels
}

fn node_labels(node: &Value) -> Found {
    let mut labels = Found::default();
    labels.set("node_provider_id", text(&node["spec"]["providerID"]));
    for condition in list(&node["status"]["conditions"]) {
        let kind = sanitised(&text(&condition["type"]).to_lowercase());
        labels.set(&format!("node_condition_{kind}"), &text(&condition["status"]).to_lowercase());
    }
    labels.metadata(node, "node");
    labels
}

fn slice_labels(endpoint: &Value, port: &Value) -> Found {
    let mut labels = Found::default();
    let mut set =
        |name: &str, value: &Value| labels.set(&format!("endpointslice_{name}"), text(value));
    set("port_name", &port["name"]);
    set("port_protocol", &port["protocol"]);
    set("port_app_protocol", &port["appProtocol"]);
    set("endpoint_hostname", &endpoint["hostname"]);
    set("endpoint_node_name", &endpoint["nodeName"]);
    set("endpoint_zone", &endpoint["zone"]);
    set("address_target_kind", &endpoint["targetRef"]["kind"]);
    set("address_target_name", &endpoint["targetRef"]["name"]);
    for condition in ["ready", "serving", "terminating"] {
        let name = format!("endpointslice_endpoint_conditions_{condition}");
        labels.flag(&name, &endpoint["conditions"][condition]);
    }
    let number = port["port"].as_u64().map(|port| port.to_string());
    labels.set("endpointslice_port", &number.unwrap_or_default());
    labels
}

fn endpoint_labels(address: &Value, port: &Value, ready: &str) -> Found {
    let mut labels = Found::default();
    labels.set("endpoint_ready", ready);
    for (name, value) in [
        ("endpoint_port_name", &port["name"]),
        ("endpoint_port_protocol", &port["protocol"]),
        ("endpoint_hostname", &address["hostname"]),
        ("endpoint_node_name", &address["nodeName"]),
        ("endpoint_address_target_kind", &address["targetRef"]["kind"]),
        ("endpoint_address_target_name", &address["targetRef"]["name"]),
    ] {
        labels.set(name, text(value));
    }
    labels
}

/// Containers, then those that only run at the start.
fn containers(pod: &Value) -> impl Iterator<Item = (&Value, bool)> {
    let usual = list(&pod["spec"]["containers"]).iter().map(|container| (container, false));
    usual.chain(list(&pod["spec"]["initContainers"]).iter().map(|container| (container, true)))
}

fn container_id<'a>(pod: &'a Value, name: &str) -> &'a str {
    let statuses = ["containerStatuses", "initContainerStatuses"];
    let mut all = statuses.iter().flat_map(|key| list(&pod["status"][*key]));
    all.find(|status| text(&status["name"]) == name)
        .map_or("", |status| text(&status["containerID"]))
}

/// The ports of pods that no endpoint covers; CoreDNS's metrics port often is one.
fn uncovered(covered: &[Covered<'_>]) -> Vec<Found> {
    let mut targets = Vec::new();
    for Covered { pod, ports } in covered {
        let ip = text(&pod["status"]["podIP"]);
        for (container, is_init) in containers(pod).filter(|_| !ip.is_empty()) {
            for port in list(&container["ports"]) {
                let number = port["containerPort"].as_u64();
                if number.is_some_and(|number| !ports.contains(&number)) {
                    let mut target = pod_labels(pod);
                    target.address(ip, number);
                    target.container(container, port, is_init);
                    targets.push(target);
                }
            }
        }
    }
    targets
}
