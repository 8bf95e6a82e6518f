//! What the API knows, in the words of Kubernetes.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// The port that every service has, by name, and its protocol.
const PORT: (&str, u16, &str) = ("http", 80, "TCP");
/// When a change was asked for; CoreDNS counts from then to when it has taken it up.
const TRIGGERED: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// What can be listed and watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    Namespaces,
    Services,
    Pods,
    Endpoints,
    EndpointSlices,
}

impl Resource {
    /// By the path of a request.
    pub(super) fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/api/v1/namespaces" => Self::Namespaces,
            "/api/v1/services" => Self::Services,
            "/api/v1/pods" => Self::Pods,
            "/api/v1/endpoints" => Self::Endpoints,
            "/apis/discovery.k8s.io/v1/endpointslices" => Self::EndpointSlices,
            _ => return None,
        })
    }

    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Namespaces => "Namespace",
            Self::Services => "Service",
            Self::Pods => "Pod",
            Self::Endpoints => "Endpoints",
            Self::EndpointSlices => "EndpointSlice",
        }
    }

    pub(super) fn api_version(self) -> &'static str {
        match self {
            Self::EndpointSlices => "discovery.k8s.io/v1",
            _ => "v1",
        }
    }

    /// An object of this kind with nothing but its version, as a bookmark has it.
    pub(super) fn bookmark(self, version: u64, initial_end: bool) -> Value {
        let mut metadata = json!({ "resourceVersion": version.to_string() });
        if initial_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        json!({ "kind": self.kind(), "apiVersion": self.api_version(), "metadata": metadata })
    }

    /// A list of objects at a version.
    pub(super) fn list(self, version: u64, items: &[Value]) -> Value {
        json!({
            "kind": format!("{}List", self.kind()),
            "apiVersion": self.api_version(),
            "metadata": { "resourceVersion": version.to_string() },
            "items": items,
        })
    }
}

/// A service and the pods behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// `None` for a headless one, whose name has the addresses of its pods.
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) pods: Vec<Ipv4Addr>,
}

impl Service {
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// As `resource` has it; `None` for what a service has no object of. `triggered` is RFC 3339.
    pub(super) fn object(
        &self,
        resource: Resource,
        version: u64,
        triggered: Option<&str>,
    ) -> Option<Value> {
        let mut object = match resource {
            Resource::Services => self.service(),
            Resource::Endpoints => self.endpoints(),
            Resource::EndpointSlices => self.slice(),
            Resource::Namespaces | Resource::Pods => return None,
        };
        object["kind"] = json!(resource.kind());
        object["apiVersion"] = json!(resource.api_version());
        let metadata = &mut object["metadata"];
        metadata["namespace"] = json!(self.namespace);
        metadata["uid"] = json!(format!("{}-{}", self.namespace, self.name));
        metadata["resourceVersion"] = json!(version.to_string());
        if let Some(triggered) = triggered.filter(|_| resource != Resource::Services) {
            metadata["annotations"] = json!({ TRIGGERED: triggered });
        }
        Some(object)
    }

    fn service(&self) -> Value {
        let address = self.address.map_or_else(|| "None".to_owned(), |address| address.to_string());
        let (name, port, protocol) = PORT;
        json!({
            "metadata": { "name": self.name },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": address,
                "clusterIPs": [address],
                "ipFamilies": ["IPv4"],
                "ports": [{ "name": name, "port": port, "protocol": protocol, "targetPort": port }],
            },
        })
    }

    fn endpoints(&self) -> Value {
        let (name, port, protocol) = PORT;
        let addresses: Vec<Value> = self.pods.iter().map(|pod| json!({ "ip": pod })).collect();
        json!({
            "metadata": { "name": self.name },
            "subsets": [{
                "addresses": addresses,
                "ports": [{ "name": name, "port": port, "protocol": protocol }],
            }],
        })
    }

    fn slice(&self) -> Value {
        let (name, port, protocol) = PORT;
        let ready = |pod| json!({ "addresses": [pod], "conditions": { "ready": true } });
        let endpoints: Vec<Value> = self.pods.iter().map(ready).collect();
        json!({
            "metadata": {
                "name": format!("{}-slice", self.name),
                "labels": { "kubernetes.io/service-name": self.name },
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{ "name": name, "port": port, "protocol": protocol }],
        })
    }
}

pub(super) fn namespace(name: &str, version: u64) -> Value {
    json!({
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": { "name": name, "uid": name, "resourceVersion": version.to_string() },
        "status": { "phase": "Active" },
    })
}

/// An error as the API of Kubernetes words it.
pub(super) fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_says_what_it_is_and_at_which_version() {
        let service = Service {
            namespace: "ns-1".into(),
            name: "svc-5".into(),
            address: Some([10, 96, 1, 5].into()),
            pods: vec![[10, 244, 0, 1].into()],
        };
        for resource in [Resource::Services, Resource::Endpoints, Resource::EndpointSlices] {
            let object = service.object(resource, 7, Some("2026-01-01T00:00:00Z")).unwrap();
            assert_eq!(object["kind"], resource.kind());
            assert_eq!(object["metadata"]["resourceVersion"], "7");
            let annotated = object["metadata"]["annotations"].is_object();
            assert_eq!(annotated, resource != Resource::Services);
        }
        assert_eq!(service.object(Resource::Pods, 7, None), None);
    }

    #[test]
    fn a_headless_service_says_so() {
        let service =
            Service { namespace: "n".into(), name: "s".into(), address: None, pods: vec![] };
        let object = service.object(Resource::Services, 1, None).unwrap();
        assert_eq!(object["spec"]["clusterIP"], "None");
    }
}
