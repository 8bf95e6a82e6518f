//! Remote write against messages of `prost`, damaged ones, and ones that want too much.

use std::collections::BTreeMap;

use oddns_collect::{
    Gathering, Refusal, RemoteWrite, WriteBatch, WriteError, WriteLimits, WriteVersion,
};
use oddns_core::Timestamp;
use proptest::prelude::*;

use crate::messages::{Series, body_v1, body_v2, compressed, v1, v2};

const NOW: i64 = 1_795_330_800_000;
const STALE: u64 = 0x7ff0_0000_0000_0002;

fn now() -> Timestamp {
    Timestamp::from_millis(NOW)
}

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let samples = samples.iter().map(|(millis, value)| (NOW + millis, *value));
    (labels.iter().map(owned).collect(), samples.collect())
}

/// A series of a server, by its metric name.
fn of(instance: &str, name: &str, samples: &[(i64, f64)]) -> Series {
    series(&[("__name__", name), ("instance", instance), ("job", "dns")], samples)
}

/// Labels, time in milliseconds and bits of a sample.
type Taken = (Vec<(String, String)>, i64, u64);
type Encode = fn(&[Series]) -> Vec<u8>;
const BOTH: [(WriteVersion, Encode); 2] =
    [(WriteVersion::V1, body_v1), (WriteVersion::V2, body_v2)];

fn read(
    remote: &mut RemoteWrite,
    version: WriteVersion,
    body: &[u8],
) -> Result<WriteBatch, WriteError> {
    let mut batch = WriteBatch::default();
    remote.read(version, body, now(), &mut batch)?;
    Ok(batch)
}

/// What was taken, one line a sample, times from now.
fn lines(remote: &RemoteWrite, batch: &WriteBatch) -> Vec<String> {
    let directory = remote.directory();
    let line = |sample: &oddns_collect::WrittenSample| {
        let target = directory.target_of(sample.series);
        let (instance, job) = (directory.instance(target), directory.job(target));
        let value = match sample.value.to_bits() {
            STALE => "stale".to_owned(),
            _ => sample.value.to_string(),
        };
        format!("{instance}/{job} {} {} {value}", directory.key(sample.series), sample.millis - NOW)
    };
    batch.samples.iter().map(line).collect()
}

#[test]
fn both_versions_give_the_same_samples() {
    let sent = [
        series(
            &[
                ("__name__", "a"),
                ("instance", "ns1:9153"),
                ("job", "dns"),
                ("zone", "."),
                ("x", ""),
            ],
            &[(-2, 1.5), (-1, f64::from_bits(STALE))],
        ),
        of("ns2:9153", "a", &[(0, f64::INFINITY)]),
        series(&[("zone", "\"é\""), ("__name__", "b")], &[(0, -0.5)]),
    ];
    for (version, body) in BOTH {
        let mut remote = RemoteWrite::new(WriteLimits::default());
        let batch = read(&mut remote, version, &body(&sent)).unwrap();
        assert_eq!(
            lines(&remote, &batch),
            [
                "ns1:9153/dns a{zone=\".\"} -2 1.5",
                "ns1:9153/dns a{zone=\".\"} -1 stale",
                "ns2:9153/dns a 0 inf",
                "/ b{zone=\"\\\"é\\\"\"} 0 -0.5",
            ]
        );
        assert!(!batch.counts.is_partial());
        assert_eq!((batch.counts.series, batch.counts.recognised, batch.counts.taken), (3, 0, 4));
        assert_eq!(remote.directory().len(), 3);
    }
}

#[test]
fn a_known_series_is_recognised_and_a_repeated_request_taken_once() {
    for (version, body) in BOTH {
        let mut remote = RemoteWrite::new(WriteLimits::default());
        let sent = body(&[of("n", "a", &[(0, 1.0)]), of("n", "b", &[(0, f64::NAN)])]);
        read(&mut remote, version, &sent).unwrap();
        let again = read(&mut remote, version, &sent).unwrap();
        assert_eq!(again.counts.recognised, 2);
        assert_eq!((again.counts.taken, again.counts.refused(Refusal::Duplicate)), (0, 2));
        assert!(!again.counts.is_partial());
        let next = body(&[
            of("n", "a", &[(5, 1.0), (4, 1.0), (5, 2.0)]),
            of("n", "a", &[(6, 1.0)]),
            of("n", "c", &[(6, 1.0)]),
        ]);
        let next = read(&mut remote, version, &next).unwrap();
        assert_eq!((next.counts.recognised, next.counts.taken), (2, 3));
        let refused = |refusal| next.counts.refused(refusal);
        assert_eq!((refused(Refusal::OutOfOrder), refused(Refusal::Conflicting)), (1, 1));
        assert!(next.counts.is_partial());
    }
}

#[test]
fn what_could_not_be_kept_may_come_again() {
    let mut remote = RemoteWrite::new(WriteLimits::default());
    let sent = body_v1(&[of("n", "a", &[(0, 1.0), (1, 2.0)])]);
    let batch = read(&mut remote, WriteVersion::V1, &sent).unwrap();
    remote.undo(&batch);
    assert_eq!(read(&mut remote, WriteVersion::V1, &sent).unwrap().counts.taken, 2);
    assert_eq!(read(&mut remote, WriteVersion::V1, &sent).unwrap().counts.taken, 0);
}

#[test]
fn single_samples_are_refused_by_reason_and_the_others_taken() {
    let day = 86_400_000;
    let sent = [
        of("n", "good", &[(0, 1.0)]),
        of("n", "new", &[(601_000, 1.0)]),
        of("n", "old", &[(-3 * day, 1.0), (-day, 1.0)]),
        of("n", "far", &[(i64::MAX - NOW, 1.0)]),
        series(&[("instance", "n")], &[(0, 1.0)]),
        series(&[("__name__", "a"), ("x", "1"), ("x", "2")], &[(0, 1.0), (1, 1.0)]),
        series(&[("__name__", "a"), ("", "1")], &[(0, 1.0)]),
        series(&[("__name__", &"a".repeat(2000))], &[(0, 1.0)]),
    ];
    let many: Vec<(String, String)> = (0..200).map(|n| (format!("l{n}"), "v".into())).collect();
    let mut sent = sent.to_vec();
    sent.push((many, vec![(NOW, 1.0)]));
    for (version, body) in BOTH {
        let mut remote = RemoteWrite::new(WriteLimits::default());
        let batch = read(&mut remote, version, &body(&sent)).unwrap();
        let refused = Refusal::ALL.map(|refusal| (refusal.name(), batch.counts.refused(refusal)));
        let refused: BTreeMap<_, _> = refused.into_iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(refused, [("labels", 6), ("too_new", 2), ("too_old", 1)].into());
        assert_eq!(lines(&remote, &batch), ["n/dns good 0 1", "n/dns old -86400000 1"]);
    }
}

#[test]
fn new_series_are_refused_when_there_are_too_many() {
    let limits = WriteLimits { max_known_series: 1, ..WriteLimits::default() };
    let mut remote = RemoteWrite::new(limits);
    let sent = body_v1(&[of("n", "a", &[(0, 1.0)]), of("n", "b", &[(0, 1.0)])]);
    let batch = read(&mut remote, WriteVersion::V1, &sent).unwrap();
    assert_eq!((batch.counts.taken, batch.counts.refused(Refusal::TooManySeries)), (1, 1));
    // Once the old one is forgotten there is room, and its number is given again.
    assert_eq!(remote.forget_before(NOW + 1).len(), 1);
    let batch =
        read(&mut remote, WriteVersion::V1, &body_v1(&[of("m", "b", &[(0, 1.0)])])).unwrap();
    assert_eq!(lines(&remote, &batch), ["m/dns b 0 1"]);
    assert_eq!((batch.samples[0].series.0, remote.directory().len()), (0, 1));
}

#[test]
fn forgetting_keeps_the_others_whole() {
    let mut remote = RemoteWrite::new(WriteLimits::default());
    let sent: Vec<Series> = (0..50).map(|n| of("n", &format!("m{n}"), &[(n * 10, 1.0)])).collect();
    read(&mut remote, WriteVersion::V2, &body_v2(&sent)).unwrap();
    assert_eq!(remote.forget_before(NOW + 250).len(), 25);
    let sent: Vec<Series> = (0..50).map(|n| of("n", &format!("m{n}"), &[(1000, 2.0)])).collect();
    let batch = read(&mut remote, WriteVersion::V2, &body_v2(&sent)).unwrap();
    assert_eq!((batch.counts.recognised, batch.counts.taken), (25, 50));
    let expected: Vec<String> = (0..50).map(|n| format!("n/dns m{n} 1000 2")).collect();
    assert_eq!(lines(&remote, &batch), expected);
}

#[test]
fn histograms_exemplars_and_metadata_are_counted() {
    let label = |name: &str, value: &str| v1::Label { name: name.into(), value: value.into() };
    let first = v1::WriteRequest {
        timeseries: vec![v1::TimeSeries {
            labels: vec![label("__name__", "h")],
            exemplars: vec![v1::Exemplar { labels: vec![label("trace", "1")], value: 1.0 }],
            histograms: vec![v1::Histogram { sum: 1.0, timestamp: NOW }],
            ..v1::TimeSeries::default()
        }],
        metadata: vec![v1::Metadata { kind: 1, name: "h".into() }],
    };
    let second = v2::Request {
        symbols: ["", "__name__", "h"].map(String::from).to_vec(),
        timeseries: vec![v2::TimeSeries {
            labels_refs: vec![1, 2],
            exemplars: vec![v2::Exemplar { labels_refs: vec![1, 2], value: 1.0 }],
            histograms: vec![v1::Histogram { sum: 1.0, timestamp: NOW }],
            metadata: Some(v2::Metadata { kind: 1, help_ref: 2 }),
            ..v2::TimeSeries::default()
        }],
    };
    for (version, body) in
        [(WriteVersion::V1, compressed(&first)), (WriteVersion::V2, compressed(&second))]
    {
        let mut remote = RemoteWrite::new(WriteLimits::default());
        let counts = read(&mut remote, version, &body).unwrap().counts;
        let refused = counts.refused(Refusal::Histogram);
        assert_eq!((counts.exemplars, counts.metadata, refused), (1, 1, 1), "{version:?}");
        assert!(counts.is_partial() && remote.directory().is_empty());
    }
}

#[test]
fn labels_that_do_not_lie_together_are_one_series() {
    // Field 1 with a label, field 2 with a sample, and field 1 again.
    let label = |name: &str, value: &str| v1::TimeSeries {
        labels: vec![v1::Label { name: name.into(), value: value.into() }],
        ..v1::TimeSeries::default()
    };
    let sample = v1::TimeSeries {
        samples: vec![v1::Sample { value: 3.0, timestamp: NOW }],
        ..v1::TimeSeries::default()
    };
    let parts = [label("__name__", "a"), sample, label("instance", "n"), label("x", "y")];
    let inner: Vec<u8> = parts.iter().flat_map(prost::Message::encode_to_vec).collect();
    let mut message = vec![0x0a, inner.len() as u8];
    message.extend(inner);
    let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    let mut remote = RemoteWrite::new(WriteLimits::default());
    let batch = read(&mut remote, WriteVersion::V1, &body).unwrap();
    assert_eq!(lines(&remote, &batch), ["n/ a{x=\"y\"} 0 3"]);
    assert_eq!(read(&mut remote, WriteVersion::V1, &body).unwrap().counts.recognised, 1);
}

#[test]
fn what_is_no_request_says_why() {
    let mut remote = RemoteWrite::new(WriteLimits::default());
    let mut error = |version, message: &[u8]| {
        let body = snap::raw::Encoder::new().compress_vec(message).unwrap();
        read(&mut remote, version, &body).unwrap_err().to_string()
    };
    let truncated = error(WriteVersion::V1, &[0x0a, 9, 1]);
    assert_eq!(
        truncated,
        "the message is damaged at byte 1: the field goes on behind the end of its message"
    );
    assert!(error(WriteVersion::V1, b"# HELP x\n").contains("damaged at byte"));
    let unknown = error(WriteVersion::V2, &[0x2a, 9, 0x0a, 2, 7, 8, 0x12, 3, 0x10, 1, 0]);
    assert!(unknown.contains("damaged"), "{unknown}");
    let odd = v2::Request {
        symbols: vec![String::new()],
        timeseries: vec![v2::TimeSeries {
            labels_refs: vec![0],
            samples: vec![v2::Sample::default()],
            ..v2::TimeSeries::default()
        }],
    };
    let odd = error(WriteVersion::V2, &prost::Message::encode_to_vec(&odd));
    assert!(odd.contains("a label name without a value"), "{odd}");
    let plain = remote.read(WriteVersion::V1, b"up 1\n", now(), &mut WriteBatch::default());
    assert!(matches!(plain, Err(WriteError::Snappy(_))));
}

#[test]
fn bombs_are_refused_before_they_are_unpacked() {
    let mut remote = RemoteWrite::new(WriteLimits::default());
    let mut error = |body: &[u8]| read(&mut remote, WriteVersion::V1, body).unwrap_err();
    // A length of 4 GiB, and one that is only claimed.
    assert!(matches!(error(&[0xff, 0xff, 0xff, 0xff, 0x0f]), WriteError::TooLarge { .. }));
    assert!(matches!(error(&[0x80, 0x80, 0x80, 0x08]), WriteError::Snappy(_)));
    let zeros = snap::raw::Encoder::new().compress_vec(&vec![0; 33 << 20]).unwrap();
    assert!(zeros.len() < 2 << 20, "{}", zeros.len());
    assert!(matches!(error(&zeros), WriteError::TooLarge { .. }));
    // Two bytes each: empty series are nothing, empty samples are counted, symbols too.
    let fill = |message: &[u8], n: usize| {
        snap::raw::Encoder::new().compress_vec(&message.repeat(n)).unwrap()
    };
    assert!(read(&mut remote, WriteVersion::V1, &fill(&[0x0a, 0], 1 << 20)).is_ok());
    let samples = read(&mut remote, WriteVersion::V1, &fill(&[0x0a, 2, 0x12, 0], 1 << 20));
    assert!(matches!(samples, Err(WriteError::TooLarge { what: "series", .. })));
    let symbols = read(&mut remote, WriteVersion::V2, &fill(&[0x22, 0], 1 << 20));
    assert!(matches!(symbols, Err(WriteError::TooLarge { what: "symbols", .. })));
}

/// Scrapes that are over after each step of `now`.
fn gathered(remote: &RemoteWrite, gathering: &mut Gathering, now: i64) -> Vec<String> {
    let mut scrapes = Vec::new();
    gathering.ready(Timestamp::from_millis(NOW + now), |gathered| {
        let scrape = &gathered.scrape;
        let instance = remote.directory().instance(gathered.target);
        let key = |id| gathered.series.get(id).unwrap().to_string();
        let mut samples: Vec<String> =
            scrape.samples.iter().map(|s| format!("{}={}", key(s.series), s.value)).collect();
        samples.sort();
        let (time, samples) = (scrape.time.millis() - NOW, samples.join(" "));
        let up = if scrape.up { "up" } else { "down" };
        scrapes.push(format!("{instance} {time} {up} {} {samples}", scrape.duration_seconds));
    });
    scrapes
}

/// What a Prometheus adds to a scrape of `n` samples.
fn report(time: i64, up: f64, n: f64) -> [Series; 4] {
    [
        of("n", "up", &[(time, up)]),
        of("n", "scrape_duration_seconds", &[(time, 0.25)]),
        of("n", "scrape_samples_scraped", &[(time, n + 1.0)]),
        of("n", "scrape_samples_post_metric_relabeling", &[(time, n)]),
    ]
}

#[test]
fn samples_become_scrapes_again() {
    let mut remote = RemoteWrite::new(WriteLimits::default());
    let mut gathering = Gathering::new(oddns_collect::GatherConfig::default());
    let push = |remote: &mut RemoteWrite, gathering: &mut Gathering, at, sent: &[Series]| {
        let batch = read(remote, WriteVersion::V1, &body_v1(sent)).unwrap();
        gathering.take(remote.directory(), &batch.samples, Timestamp::from_millis(NOW + at));
        gathered(remote, gathering, at)
    };
    let (r, g) = (&mut remote, &mut gathering);
    let coredns = |time, value| of("n", "coredns_x", &[(time, value)]);
    let go = |time, value| of("n", "go_y", &[(time, value)]);
    // Of the scrape with which a server is met, something may be missing.
    assert_eq!(push(r, g, 0, &[go(0, 1.0), coredns(0, 1.0)]), [""; 0]);
    assert_eq!(push(r, g, 0, &report(0, 1.0, 2.0)), [""; 0]);
    // In pieces, over when all is there.
    assert_eq!(push(r, g, 1000, &[coredns(1000, 2.0)]), [""; 0]);
    assert_eq!(push(r, g, 1100, &report(1000, 1.0, 2.0)), [""; 0]);
    assert_eq!(push(r, g, 1200, &[go(1000, 3.0)]), ["n 1000 up 0.25 coredns_x=2 go_y=3"]);
    // A failed scrape, with which everything goes stale.
    let stale = f64::from_bits(STALE);
    let mut failed = report(2000, 0.0, 0.0).to_vec();
    failed.extend([coredns(2000, stale), go(2000, stale)]);
    assert_eq!(push(r, g, 2000, &failed), ["n 2000 down 0.25 "]);
    // Without counts, over after a while; a later one waits for it.
    assert_eq!(push(r, g, 3000, &[coredns(3000, 4.0)]), [""; 0]);
    let mut whole = report(4000, 1.0, 1.0).to_vec();
    whole.push(coredns(4000, 5.0));
    assert_eq!(push(r, g, 4000, &whole), [""; 0]);
    assert_eq!(push(r, g, 9000, &[]), ["n 3000 up NaN coredns_x=4", "n 4000 up 0.25 coredns_x=5"]);
    // The target is gone: no scrape. And what comes too late is counted.
    assert_eq!(push(r, g, 9000, &[of("n", "up", &[(9000, stale)])]), [""; 0]);
    assert_eq!(push(r, g, 20_000, &[]), [""; 0]);
    push(r, g, 20_000, &[go(3500, 1.0)]);
    assert_eq!(g.n_late(), 1);
}

fn any_series() -> impl Strategy<Value = Series> {
    let label = ("[a-z_]{0,4}", "[a-z\"é]{0,4}");
    let labels = prop::collection::vec(label, 0..6);
    let samples = prop::collection::vec((NOW - 50..NOW + 50, any::<f64>()), 0..4);
    // A negative zero is left out of a message like any other.
    (labels, samples, any::<bool>()).prop_map(|(mut labels, mut samples, named)| {
        samples.iter_mut().filter(|(_, v)| *v == 0.0).for_each(|(_, v)| *v = 0.0);
        if named {
            labels.push(("__name__".into(), "m".into()));
        }
        (labels, samples)
    })
}

/// What a plain reading of the rules takes of one request after the other.
#[derive(Default)]
struct Model(BTreeMap<Vec<(String, String)>, (i64, u64)>);

impl Model {
    fn take(&mut self, series: &[Series]) -> Vec<Taken> {
        let mut taken = Vec::new();
        for (labels, samples) in series {
            let mut set: Vec<_> =
                labels.iter().filter(|(_, value)| !value.is_empty()).cloned().collect();
            set.sort();
            let unique = set.windows(2).all(|pair| pair[0].0 != pair[1].0);
            let named = set.iter().any(|(name, _)| name == "__name__");
            if !unique || !named || set.iter().any(|(name, _)| name.is_empty()) {
                continue;
            }
            for (millis, value) in samples {
                let last = self.0.entry(set.clone()).or_insert((i64::MIN, 0));
                if *millis > last.0 {
                    *last = (*millis, value.to_bits());
                    taken.push((set.clone(), *millis, value.to_bits()));
                }
            }
        }
        taken
    }
}

proptest! {
    #[test]
    fn both_versions_take_what_the_rules_say(
        requests in prop::collection::vec(prop::collection::vec(any_series(), 0..6), 1..4),
    ) {
        for (version, body) in BOTH {
            let (mut remote, mut model) = (RemoteWrite::new(WriteLimits::default()), Model::default());
            for sent in &requests {
                let batch = read(&mut remote, version, &body(sent)).unwrap();
                let directory = remote.directory();
                let got: Vec<_> = batch.samples.iter().map(|sample| {
                    let key = directory.key(sample.series);
                    let target = directory.target_of(sample.series);
                    let own = |n: &str, v: &str| (n.to_owned(), v.to_owned());
                    let mut set: Vec<_> = key.labels.iter().map(|(n, v)| own(n, v)).collect();
                    set.push(own("__name__", &key.name));
                    set.push(own("instance", directory.instance(target)));
                    set.push(own("job", directory.job(target)));
                    set.retain(|(_, value)| !value.is_empty());
                    set.sort();
                    (set, sample.millis, sample.value.to_bits())
                }).collect();
                prop_assert_eq!(got, model.take(sent));
                let n: usize = sent.iter().map(|(_, samples)| samples.len()).sum();
                let refused: u64 = Refusal::ALL.iter().map(|r| batch.counts.refused(*r)).sum();
                prop_assert_eq!(batch.counts.taken + refused, n as u64);
            }
        }
    }

    #[test]
    fn cut_or_changed_requests_never_panic(
        sent in prop::collection::vec(any_series(), 1..4),
        cut in any::<prop::sample::Index>(),
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        for (version, body) in BOTH {
            let mut message = snap::raw::Decoder::new().decompress_vec(&body(&sent)).unwrap();
            message.truncate(cut.index(message.len() + 1));
            if let Some((at, byte)) = change && !message.is_empty() {
                let at = at.index(message.len());
                message[at] = byte;
            }
            let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
            let mut remote = RemoteWrite::new(WriteLimits::default());
            let _ = read(&mut remote, version, &body);
            let _ = read(&mut remote, version, &message);
        }
    }
}
