//! What lookups ask: which names, in which zone, and who knows the answer.

use crate::book::{NOERROR, NXDOMAIN};
use crate::conditions::Conditions;
use crate::names::Names;
use crate::scenario::{Mix, Scenario};

/// Most that the `cache` plugin keeps an answer, as configured.
const MOST_TTL: f64 = 30.0;
/// Share of the questions for services that are about the client's own namespace, of four, when
/// the most asked service is in it.
const OWN_NAMESPACE: f64 = 0.375;

/// Who knows the answer to a question that is not in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// CoreDNS itself, from the API or a zone file.
    Cluster,
    /// The upstream servers of the root zone, or of the stub zone.
    Root,
    Stub,
}

/// What a lookup is about; the order is that of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inside,
    Outside,
    Qualified,
    Srv,
    Ptr,
    Txt,
    Stub,
    Missing,
}
pub(crate) const N_KINDS: usize = Kind::Missing as usize + 1;

/// A row of the table below: questions of one sort, and the names they are about.
#[derive(Debug, Clone)]
pub(crate) struct Questions {
    pub(crate) zone: usize,
    pub(crate) source: Source,
    /// NOERROR or NXDOMAIN.
    pub(crate) truth: usize,
    /// Whether the answer goes into the cache for denials.
    pub(crate) denial: bool,
    /// Seconds that an answer may be kept.
    pub(crate) ttl: f64,
    /// Shares of [`crate::book::TYPES`].
    pub(crate) types: [f64; 5],
    /// Questions of one lookup of each kind.
    pub(crate) per_lookup: [f64; N_KINDS],
    /// Questions of one lookup that find the cache alike.
    pub(crate) together: f64,
    /// Bytes of a question and its answer.
    pub(crate) bytes: [f64; 2],
    pub(crate) names: Names,
}

const A: [f64; 5] = [1.0, 0.0, 0.0, 0.0, 0.0];
const AAAA: [f64; 5] = [0.0, 1.0, 0.0, 0.0, 0.0];
const PAIR: [f64; 5] = [0.5, 0.5, 0.0, 0.0, 0.0];
const SRV: [f64; 5] = [0.0, 0.0, 1.0, 0.0, 0.0];
const PTR: [f64; 5] = [0.0, 0.0, 0.0, 1.0, 0.0];
const TXT: [f64; 5] = [0.0, 0.0, 0.0, 0.0, 1.0];

/// All sorts of questions that the clients of a scenario ask.
pub(crate) fn questions(scenario: &Scenario) -> Vec<Questions> {
    let traffic = &scenario.traffic;
    let (outside, services) = (traffic.n_outside_names, traffic.n_services);
    let zipf = traffic.zipf_exponent;
    let own = Questions {
        zone: 0,
        source: Source::Cluster,
        truth: NOERROR,
        denial: false,
        ttl: traffic.cluster_ttl_seconds,
        types: A,
        per_lookup: [0.0; N_KINDS],
        together: 1.0,
        bytes: [46.5, 112.0],
        names: Names::new(services, zipf),
    };
    let foreign = Questions {
        source: Source::Root,
        ttl: traffic.upstream_ttl_seconds,
        types: PAIR,
        together: 2.0,
        bytes: [35.0, 82.0],
        names: Names::new(2 * outside, zipf),
        ..own
    };
    let mut all = within(&own, outside, services, zipf);
    all.extend(beyond(&own, &foreign, outside, services, zipf));
    all.push(reverse(scenario, &own, &foreign));
    if traffic.node_domain {
        all.push(Questions {
            truth: NXDOMAIN,
            denial: true,
            bytes: [53.3, 140.0],
            ..foreign.for_each(Kind::Outside, 2.0)
        });
    }
    if scenario.corefile.has_stub() {
        all.push(Questions {
            zone: 1,
            source: Source::Stub,
            names: Names::new(2 * (outside / 20 + 5), zipf),
            ..foreign.for_each(Kind::Stub, 2.0)
        });
    }
    all.iter_mut().for_each(|one| one.as_asked(scenario));
    all
}

/// What the search path makes of lookups, within the cluster.
fn within(own: &Questions, outside: usize, services: usize, zipf: f64) -> Vec<Questions> {
    let absent = Questions { truth: NXDOMAIN, denial: true, types: PAIR, ..own.clone() };
    vec![
        own.for_each(Kind::Inside, 1.0),
        Questions {
            types: AAAA,
            denial: true,
            bytes: [46.5, 140.0],
            ..own.for_each(Kind::Inside, 1.0)
        },
        // A service of another namespace is looked for in the own one first.
        Questions {
            names: Names::new(2 * services, zipf),
            together: 2.0,
            bytes: [51.7, 146.0],
            ..absent.for_each(Kind::Inside, 2.0 * (1.0 - OWN_NAMESPACE))
        },
        // An outside name is looked for in three domains of the cluster first.
        Questions {
            names: Names::new(6 * outside, zipf),
            together: 6.0,
            bytes: [53.3, 148.0],
            ..absent.for_each(Kind::Outside, 6.0)
        },
    ]
}

/// Names as they are, at home or outside.
fn beyond(
    own: &Questions,
    foreign: &Questions,
    outside: usize,
    services: usize,
    zipf: f64,
) -> Vec<Questions> {
    vec![
        foreign.for_each(Kind::Outside, 2.0).and(Kind::Qualified, 2.0),
        Questions {
            types: SRV,
            bytes: [58.0, 190.0],
            ..Questions { names: Names::new(services, zipf), ..own.for_each(Kind::Srv, 1.0) }
        },
        Questions {
            types: TXT,
            together: 1.0,
            names: Names::new(outside, zipf),
            bytes: [35.0, 90.0],
            ..foreign.for_each(Kind::Txt, 1.0)
        },
        Questions {
            truth: NXDOMAIN,
            denial: true,
            names: Names::new(outside / 2 + 2, zipf),
            ..foreign.for_each(Kind::Missing, 2.0)
        },
    ]
}

/// Bytes of an EDNS record.
const EDNS_BYTES: f64 = 11.0;

/// Names of addresses: the `kubernetes` plugin knows those of services, a zone file none.
fn reverse(scenario: &Scenario, own: &Questions, foreign: &Questions) -> Questions {
    let base = if scenario.corefile.has_api() {
        own.for_each(Kind::Ptr, 1.0)
    } else {
        Questions {
            together: 1.0,
            names: Names::new(scenario.traffic.n_outside_names, scenario.traffic.zipf_exponent),
            ..foreign.for_each(Kind::Ptr, 1.0)
        }
    };
    Questions { types: PTR, bytes: [44.0, 95.0], ..base }
}

impl Questions {
    /// With what the clients of the scenario leave out and add.
    fn as_asked(&mut self, scenario: &Scenario) {
        let (only_a, edns) = (scenario.traffic.ipv4_only_ratio, scenario.traffic.edns_ratio);
        self.bytes = self.bytes.map(|bytes| bytes + edns * EDNS_BYTES);
        let [a, aaaa, ..] = self.types;
        let asked = a + aaaa * (1.0 - only_a);
        if aaaa > 0.0 && asked > 0.0 {
            (self.types[0], self.types[1]) = (a / asked, aaaa * (1.0 - only_a) / asked);
            self.per_lookup = self.per_lookup.map(|n| n * asked);
        }
    }

    fn for_each(&self, kind: Kind, n: f64) -> Self {
        Self { per_lookup: [0.0; N_KINDS], ..self.clone() }.and(kind, n)
    }

    fn and(mut self, kind: Kind, n: f64) -> Self {
        self.per_lookup[kind as usize] = n;
        self
    }

    /// Seconds that an answer is kept under these conditions.
    pub(crate) fn kept_for(&self, conditions: &Conditions) -> f64 {
        if conditions.cluster_uncached && self.source == Source::Cluster {
            return 0.0;
        }
        self.ttl.min(MOST_TTL).min(conditions.most_ttl)
    }
}

/// Lookups of each kind for one usual lookup, in the order of [`Questions::per_lookup`].
pub(crate) fn kinds(mix: &Mix, conditions: &Conditions) -> [f64; N_KINDS] {
    let positive = |weight: f64| weight.max(0.0);
    let mut weights =
        [mix.inside, mix.outside, mix.qualified, mix.srv, mix.ptr, mix.txt, mix.stub, mix.missing]
            .map(positive);
    let whole: f64 = weights.iter().sum();
    if whole <= 0.0 {
        weights[0] = 1.0;
    }
    let [_, outside, qualified, ..] = weights;
    let [outside, qualified] = match conditions.searched {
        Some(times) => [times * (outside + qualified), 0.0],
        None => {
            [outside * (1.0 - conditions.qualified), qualified + outside * conditions.qualified]
        }
    };
    weights[Kind::Outside as usize] = outside;
    weights[Kind::Qualified as usize] = qualified;
    // The rate stays, so what is odd takes the place of the usual.
    if conditions.odd_types > 0.0 {
        let usual = whole.max(1e-9);
        weights[Kind::Srv as usize] = 0.3 / 2.2 * conditions.odd_types * usual;
        weights[Kind::Ptr as usize] = 0.8 / 2.2 * conditions.odd_types * usual;
        weights[Kind::Txt as usize] = 1.2 / 2.2 * conditions.odd_types * usual;
    }
    let whole: f64 = weights.iter().sum();
    weights.map(|weight| weight / whole.max(1e-12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outside_name_costs_eight_questions() {
        let text = "corefile: zone_file\ntraffic: {mix: {inside: 0, outside: 1, qualified: 0, srv: 0, ptr: 0, txt: 0}}";
        let scenario = Scenario::parse(text).unwrap();
        let kinds = kinds(&scenario.traffic.mix, &Conditions::default());
        let asked = |truth| -> f64 {
            let of =
                |q: &Questions| q.per_lookup.iter().zip(kinds).map(|(n, k)| n * k).sum::<f64>();
            questions(&scenario).iter().filter(|q| q.truth == truth).map(of).sum()
        };
        assert_eq!((asked(NOERROR), asked(NXDOMAIN)), (2.0, 6.0));
    }

    #[test]
    fn kinds_move_but_their_number_does_not() {
        let mix = Mix::default();
        for conditions in [
            Conditions { qualified: 1.0, ..Conditions::default() },
            Conditions { searched: Some(4.0), ..Conditions::default() },
            Conditions { odd_types: 2.2, ..Conditions::default() },
        ] {
            assert!((kinds(&mix, &conditions).iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
        let nothing = Mix {
            inside: 0.0,
            outside: 0.0,
            qualified: 0.0,
            srv: 0.0,
            ptr: 0.0,
            txt: 0.0,
            stub: 0.0,
            missing: 0.0,
        };
        assert_eq!(kinds(&nothing, &Conditions::default())[0], 1.0);
    }
}
