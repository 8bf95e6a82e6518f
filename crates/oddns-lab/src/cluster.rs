//! The Kubernetes cluster the pods believe they live in: services, namespaces, search path.
//!
//! CoreDNS serves it from a zone file, or from the lab's Kubernetes API: in-cluster names outlive a
//! dead upstream either way.

use std::fmt::Write;
use std::net::Ipv4Addr;

use crate::kubernetes::Service;

pub(crate) const CLUSTER_DOMAIN: &str = "cluster.local";
/// Domains a pod of namespace `ns-0` appends in turn (kubelet writes them to `/etc/resolv.conf`).
pub(crate) const SEARCH_PATH: [&str; 3] =
    ["ns-0.svc.cluster.local", "svc.cluster.local", "cluster.local"];
/// Names with fewer dots go through the search path first.
pub(crate) const NDOTS: usize = 5;
pub(crate) const N_SERVICES: usize = 48;
const N_NAMESPACES: usize = 4;
/// Every so many services one is headless.
const HEADLESS_EVERY: usize = 5;
/// Pods behind each service.
const N_PODS: u8 = 3;
/// Domain of the stub zone that a Corefile of a cluster has.
pub(crate) const STUB_DOMAIN: &str = "corp.example";
/// Seconds, as the `kubernetes` plugin answers by default.
pub(crate) const TTL_SECONDS: u32 = 5;

/// How a pod of `ns-0` names service `index`: short in its own namespace, with namespace else.
pub(crate) fn service_name(index: usize) -> String {
    match index % N_NAMESPACES {
        0 => format!("svc-{index}"),
        namespace => format!("svc-{index}.ns-{namespace}"),
    }
}

/// The full name of the port record of service `index`.
pub(crate) fn service_port_name(index: usize) -> String {
    format!("_http._tcp.svc-{index}.ns-{}.svc.{CLUSTER_DOMAIN}.", index % N_NAMESPACES)
}

/// The name that belongs to the address of service `index`.
pub(crate) fn service_reverse_name(index: usize) -> String {
    let [a, b, c, d] = service_address(index).octets();
    format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
}

fn service_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 96, 1, index as u8)
}

/// Whether a full name, with the dot at the end, is that of a service.
pub(crate) fn is_service(name: &str) -> bool {
    let Some(name) = name.strip_suffix(&format!(".svc.{CLUSTER_DOMAIN}.")) else { return false };
    let Some((service, namespace)) = name.split_once(".ns-") else { return false };
    let index = service.strip_prefix("svc-").and_then(|index| index.parse::<usize>().ok());
    index.is_some_and(|index| index < N_SERVICES && namespace == (index % N_NAMESPACES).to_string())
}

/// The services as the API has them.
pub(crate) fn services() -> Vec<Service> {
    let pods = |index: usize| (1..=N_PODS).map(move |pod| Ipv4Addr::new(10, 244, index as u8, pod));
    let service = |index: usize| Service {
        namespace: format!("ns-{}", index % N_NAMESPACES),
        name: format!("svc-{index}"),
        address: (index % HEADLESS_EVERY != HEADLESS_EVERY - 1).then(|| service_address(index)),
        pods: pods(index).collect(),
    };
    (0..N_SERVICES).map(service).collect()
}

/// The zone of the cluster in master-file form.
pub(crate) fn zone_file() -> String {
    let mut zone = format!(
        "$ORIGIN {CLUSTER_DOMAIN}.\n\
         @ {TTL_SECONDS} IN SOA ns.dns hostmaster 1 7200 1800 86400 {TTL_SECONDS}\n\
         @ {TTL_SECONDS} IN NS ns.dns\n\
         ns.dns {TTL_SECONDS} IN A 10.96.0.10\n"
    );
    for index in 0..N_SERVICES {
        let service = format!("svc-{index}.ns-{}.svc", index % N_NAMESPACES);
        // Writing into a String cannot fail.
        let _ = writeln!(zone, "{service} {TTL_SECONDS} IN A 10.96.1.{index}");
        let _ = writeln!(zone, "_http._tcp.{service} {TTL_SECONDS} IN SRV 0 100 80 {service}");
    }
    zone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_is_found_by_the_name_pods_use() {
        let zone = zone_file();
        for index in 0..N_SERVICES {
            let found = SEARCH_PATH.iter().any(|domain| {
                let name = format!("{}.{domain}", service_name(index));
                let owner = name.trim_end_matches(CLUSTER_DOMAIN).trim_end_matches('.');
                zone.contains(&format!("\n{owner} "))
            });
            assert!(found, "{index}");
        }
    }
}
