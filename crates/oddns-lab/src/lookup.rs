//! What one lookup of a pod asks, in which order: pure, from a seed.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::arrivals::Zipf;
use crate::cluster::{
    N_SERVICES, NDOTS, SEARCH_PATH, STUB_DOMAIN, service_name, service_port_name,
    service_reverse_name,
};
use crate::message::{MessageError, Name, RecordType};
use crate::traffic::{Mix, TrafficConfig};
use crate::upstream::answer::ABSENT_LABEL;

/// Top-level domains of outside names; the upstream knows them all.
const ZONES: [&str; 4] = ["com", "net", "org", "io"];
const PAIR: &[RecordType] = &[RecordType::A, RecordType::Aaaa];

/// The whole plan of a lookup: names to try in turn, each with all its types at once.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lookup {
    /// At least one.
    pub(crate) candidates: Vec<Name>,
    pub(crate) types: &'static [RecordType],
    pub(crate) tcp: bool,
    /// Which of the clients asks, as a share of all of them, 0 to below 1.
    pub(crate) client_share: f64,
}

/// A seeded sequence of lookups: the n-th is the same in every run with the same settings.
#[derive(Debug)]
pub(crate) struct Lookups {
    rng: ChaCha8Rng,
    outside: Zipf,
    services: Zipf,
    search: Vec<Name>,
    cluster_addresses: bool,
}

impl Lookups {
    pub(crate) fn new(config: &TrafficConfig) -> Result<Self, MessageError> {
        Ok(Self {
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            outside: Zipf::new(config.n_outside_names, config.zipf_exponent),
            services: Zipf::new(N_SERVICES, config.zipf_exponent),
            search: SEARCH_PATH
                .iter()
                .map(|domain| Name::parse(domain))
                .collect::<Result<_, _>>()?,
            cluster_addresses: config.cluster_addresses,
        })
    }

    /// The next ordinary lookup.
    pub(crate) fn next(&mut self, mix: &Mix, tcp_ratio: f64) -> Result<Lookup, MessageError> {
        let (name, types) = self.question(mix);
        let candidates = self.candidates(&name)?;
        let tcp = self.rng.random::<f64>() < tcp_ratio;
        Ok(Lookup { candidates, types, tcp, client_share: self.rng.random() })
    }

    /// The next lookup of a flood: one question for a name nobody ever asked for.
    pub(crate) fn next_random(&mut self) -> Result<Lookup, MessageError> {
        let label: u64 = self.rng.random();
        self.single(&format!("{ABSENT_LABEL}{label:016x}.victim.com."))
    }

    /// One question for a name that exists and that nobody ever asked for.
    pub(crate) fn next_unique(&mut self) -> Result<Lookup, MessageError> {
        let label: u64 = self.rng.random();
        self.single(&format!("u{label:016x}.cdn.com."))
    }

    /// One question for the same name every time.
    pub(crate) fn next_hot(&mut self) -> Result<Lookup, MessageError> {
        self.single(&format!("{}.", outside_name(0)))
    }

    fn single(&mut self, name: &str) -> Result<Lookup, MessageError> {
        let candidates = vec![Name::parse(name)?];
        let client_share = self.rng.random();
        Ok(Lookup { candidates, types: &PAIR[..1], tcp: false, client_share })
    }

    fn question(&mut self, mix: &Mix) -> (String, &'static [RecordType]) {
        let rng = &mut self.rng;
        match mix.pick(rng.random()) {
            Kind::Inside => (service_name(self.services.pick(rng)), PAIR),
            Kind::Outside => (outside_name(self.outside.pick(rng)), PAIR),
            Kind::Qualified => (format!("{}.", outside_name(self.outside.pick(rng))), PAIR),
            Kind::Srv => (service_port_name(self.services.pick(rng)), &[RecordType::Srv]),
            Kind::Ptr if self.cluster_addresses => {
                (service_reverse_name(self.services.pick(rng)), &[RecordType::Ptr])
            }
            Kind::Ptr => (reverse_name(self.outside.pick(rng)), &[RecordType::Ptr]),
            Kind::Txt => (format!("{}.", outside_name(self.outside.pick(rng))), &[RecordType::Txt]),
            // A company has a twentieth of the names of the rest of the world.
            Kind::Stub => (format!("app-{}.{STUB_DOMAIN}.", self.outside.pick(rng) / 20), PAIR),
        }
    }

    /// As glibc does it: a name with few dots is tried under every search domain, then as it is.
    fn candidates(&self, text: &str) -> Result<Vec<Name>, MessageError> {
        let name = Name::parse(text)?;
        let n_dots = text.bytes().filter(|byte| *byte == b'.').count();
        let mut candidates = Vec::new();
        if !text.ends_with('.') && n_dots < NDOTS {
            for domain in &self.search {
                candidates.push(name.under(domain)?);
            }
        }
        candidates.push(name);
        Ok(candidates)
    }
}

fn outside_name(index: usize) -> String {
    format!("www-{}.site-{}.{}", index % 7, index / 7, ZONES[index % ZONES.len()])
}

fn reverse_name(index: usize) -> String {
    format!("{}.{}.18.198.in-addr.arpa.", index % 256, index / 256 % 256)
}

/// What a lookup is about; the order is that of the weights in `Mix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Inside,
    Outside,
    Qualified,
    Srv,
    Ptr,
    Txt,
    Stub,
}

impl Mix {
    /// The kind at `share` (0 to 1) of the weights' sum; the first one when all weights are 0.
    fn pick(&self, share: f64) -> Kind {
        let kinds = [
            (Kind::Inside, self.inside),
            (Kind::Outside, self.outside),
            (Kind::Qualified, self.qualified),
            (Kind::Srv, self.srv),
            (Kind::Ptr, self.ptr),
            (Kind::Txt, self.txt),
            (Kind::Stub, self.stub),
        ]
        .map(|(kind, weight)| (kind, if weight.is_finite() { weight.max(0.0) } else { 0.0 }));
        let sum: f64 = kinds.iter().map(|(_, weight)| weight).sum();
        let mut left = share * sum;
        for (kind, weight) in kinds {
            if left < weight {
                return kind;
            }
            left -= weight;
        }
        Kind::Inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookups() -> Lookups {
        let config = TrafficConfig { seed: 7, n_outside_names: 100, ..TrafficConfig::default() };
        Lookups::new(&config).unwrap()
    }

    #[test]
    fn an_outside_name_costs_four_pairs_and_a_qualified_one_costs_one() {
        let lookups = lookups();
        let searched = lookups.candidates("www-1.site-1.com").unwrap();
        assert_eq!(searched.len(), 4);
        assert_eq!(searched[0], Name::parse("www-1.site-1.com.ns-0.svc.cluster.local").unwrap());
        assert_eq!(searched[3], Name::parse("www-1.site-1.com").unwrap());
        assert_eq!(lookups.candidates("www-1.site-1.com.").unwrap().len(), 1);
    }

    #[test]
    fn the_same_seed_asks_the_same() {
        let sequence = |mut lookups: Lookups| -> Vec<Lookup> {
            (0..200).map(|_| lookups.next(&Mix::default(), 0.1).unwrap()).collect()
        };
        assert_eq!(sequence(lookups()), sequence(lookups()));
    }

    #[test]
    fn kinds_come_by_their_weights() {
        let only_txt = Mix {
            inside: 0.0,
            outside: -1.0,
            qualified: f64::NAN,
            srv: 0.0,
            ptr: 0.0,
            txt: 2.0,
            stub: 0.0,
        };
        assert_eq!(only_txt.pick(0.0), Kind::Txt);
        assert_eq!(only_txt.pick(0.999), Kind::Txt);
        assert_eq!(Mix { txt: 0.0, ..only_txt }.pick(0.5), Kind::Inside);
    }

    #[test]
    fn flood_names_do_not_repeat() {
        let mut lookups = lookups();
        assert_ne!(lookups.next_random().unwrap(), lookups.next_random().unwrap());
    }
}
