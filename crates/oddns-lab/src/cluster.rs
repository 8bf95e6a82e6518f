//! The Kubernetes cluster the pods believe they live in: services, namespaces, search path.
//!
//! CoreDNS serves it from a zone file here, so in-cluster names outlive a dead upstream as they do
//! with the real `kubernetes` plugin.

use std::fmt::Write;

pub(crate) const CLUSTER_DOMAIN: &str = "cluster.local";
/// Domains a pod of namespace `ns-0` appends in turn (kubelet writes them to `/etc/resolv.conf`).
pub(crate) const SEARCH_PATH: [&str; 3] =
    ["ns-0.svc.cluster.local", "svc.cluster.local", "cluster.local"];
/// Names with fewer dots go through the search path first.
pub(crate) const NDOTS: usize = 5;
pub(crate) const N_SERVICES: usize = 48;
const N_NAMESPACES: usize = 4;
/// Seconds, as the `kubernetes` plugin answers by default.
const TTL_SECONDS: u32 = 5;

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
