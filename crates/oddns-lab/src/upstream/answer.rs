//! What is true about a name: a pure function, so that every run sees the same internet.

use super::UpstreamConfig;
use crate::cluster::{TTL_SECONDS, is_service};
use crate::message::{Record, RecordType, Reply};

/// Zones whose names exist. All others do not, `cluster.local` and a node's own domain included.
const KNOWN_ZONES: [&str; 6] =
    [".com.", ".net.", ".org.", ".io.", ".corp.example.", ".in-addr.arpa."];
/// A label with this start makes a name that does not exist in any zone.
pub(crate) const ABSENT_LABEL: &str = "nx-";

const NOERROR: u8 = 0;
const NXDOMAIN: u8 = 3;

/// The reply a healthy upstream gives to `name` (lower case, dot at the end).
pub(super) fn answer(name: &str, record_type: u16, config: &UpstreamConfig) -> Reply {
    if config.knows_cluster && name.ends_with(".cluster.local.") {
        return of_cluster(name, record_type);
    }
    let data = record_data(name, record_type);
    let (rcode, ttl_seconds, record) = match (exists(name), data) {
        (false, _) => (NXDOMAIN, config.negative_ttl_seconds, Record::NoSuchRecord),
        (true, None) => (NOERROR, config.negative_ttl_seconds, Record::NoSuchRecord),
        (true, Some(data)) => (NOERROR, config.ttl_seconds, Record::Answer(data)),
    };
    Reply { rcode, truncated: false, ttl_seconds, record: Some(record) }
}

/// As the `kubernetes` plugin does: a service has an A record, its port an SRV record.
fn of_cluster(name: &str, record_type: u16) -> Reply {
    let (service, asked) = match name.strip_prefix("_http._tcp.") {
        Some(service) => (service, RecordType::Srv),
        None => (name, RecordType::A),
    };
    let is_there = is_service(service);
    let data = (is_there && record_type == asked as u16).then(|| record_data(name, record_type));
    Reply {
        rcode: if is_there { NOERROR } else { NXDOMAIN },
        truncated: false,
        ttl_seconds: TTL_SECONDS,
        record: Some(data.flatten().map_or(Record::NoSuchRecord, Record::Answer)),
    }
}

/// The root exists (health checks ask for it), names in known zones exist, the rest does not.
fn exists(name: &str) -> bool {
    let known = name == "." || KNOWN_ZONES.iter().any(|zone| name.ends_with(zone));
    known && !name.split('.').any(|label| label.starts_with(ABSENT_LABEL))
}

/// Data for the types the lab asks for; `None` means the name has no such record.
fn record_data(name: &str, record_type: u16) -> Option<Vec<u8>> {
    let hash = fnv1a(name.as_bytes());
    let [.., x, y, z] = hash.to_be_bytes();
    match record_type {
        // 198.18.0.0/15 is set aside for benchmarks (RFC 2544).
        t if t == RecordType::A as u16 => Some(vec![198, 18 | (x & 1), y, z]),
        t if t == RecordType::Aaaa as u16 => Some(documentation_address(hash)),
        t if t == RecordType::Txt as u16 => Some(character_string(&format!("v=lab {hash:016x}"))),
        t if t == RecordType::Ptr as u16 => Some(host_name(z)),
        t if t == RecordType::Srv as u16 => Some([&[0, 0, 0, 0, 0, 80], &*host_name(z)].concat()),
        _ => None,
    }
}

/// An address in 2001:db8::/32, set aside for documentation (RFC 3849).
fn documentation_address(hash: u64) -> Vec<u8> {
    [&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0][..], &hash.to_be_bytes()].concat()
}

fn character_string(text: &str) -> Vec<u8> {
    let mut data = vec![text.len() as u8];
    data.extend_from_slice(text.as_bytes());
    data
}

/// `host-N.com.` in wire form.
fn host_name(number: u8) -> Vec<u8> {
    let mut data = character_string(&format!("host-{number}"));
    data.extend_from_slice(b"\x03com\x00");
    data
}

/// 64-bit FNV-1a.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_exist_by_zone_and_not_under_nx() {
        for (name, expected) in [
            (".", true),
            ("www.site-1.com.", true),
            ("4.3.2.1.in-addr.arpa.", true),
            ("nx-1f.flood.com.", false),
            ("www.site-1.com.cluster.local.", false),
            ("com.", false),
        ] {
            assert_eq!(exists(name), expected, "{name}");
        }
    }

    #[test]
    fn services_are_known_where_the_cluster_is() {
        let config = UpstreamConfig { knows_cluster: true, ..UpstreamConfig::default() };
        let found = |name: &str, record_type: RecordType| {
            let reply = answer(name, record_type as u16, &config);
            (reply.rcode, matches!(reply.record, Some(Record::Answer(_))))
        };
        for (name, record_type, expected) in [
            ("svc-5.ns-1.svc.cluster.local.", RecordType::A, (NOERROR, true)),
            ("svc-5.ns-1.svc.cluster.local.", RecordType::Aaaa, (NOERROR, false)),
            ("_http._tcp.svc-5.ns-1.svc.cluster.local.", RecordType::Srv, (NOERROR, true)),
            ("svc-5.ns-2.svc.cluster.local.", RecordType::A, (NXDOMAIN, false)),
            ("www.site-1.com.svc.cluster.local.", RecordType::A, (NXDOMAIN, false)),
            ("www.site-1.com.", RecordType::A, (NOERROR, true)),
        ] {
            assert_eq!(found(name, record_type), expected, "{name}");
        }
        assert!(!exists("svc-5.ns-1.svc.cluster.local."));
    }

    #[test]
    fn records_are_a_function_of_the_name() {
        let config = UpstreamConfig::default();
        let first = answer("www.site-1.com.", 1, &config);
        assert_eq!(first, answer("www.site-1.com.", 1, &config));
        assert_ne!(first, answer("www.site-2.com.", 1, &config));
        assert_eq!(answer("www.site-1.com.", 99, &config).record, Some(Record::NoSuchRecord));
    }
}
