//! What holds for every scenario.

use std::collections::HashMap;

use oddns_core::{Recording, Scrape, SeriesKey, SeriesTable};
use oddns_features::extract_fleet;
use oddns_sim::{FAULTS, Release, Scenario, Simulation};
use proptest::prelude::*;

fn record(text: &str) -> Vec<Recording> {
    Simulation::new(Scenario::parse(text).unwrap()).record()
}

fn values(table: &SeriesTable, scrape: &Scrape) -> HashMap<SeriesKey, f64> {
    let key = |sample: &oddns_core::Sample| table.get(sample.series).cloned().unwrap();
    scrape.samples.iter().map(|sample| (key(sample), sample.value)).collect()
}

fn is_counter(name: &str) -> bool {
    ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end))
}

fn start_of(values: &HashMap<SeriesKey, f64>) -> f64 {
    let start = values.iter().find(|(key, _)| key.name == "process_start_time_seconds");
    start.map_or(f64::NAN, |(_, value)| *value)
}

/// Counters never fall but with a restart, and all values are numbers.
fn check_counters(recording: &Recording) {
    let mut before: HashMap<SeriesKey, f64> = HashMap::new();
    for scrape in recording.scrapes.iter().filter(|scrape| scrape.up) {
        let now = values(&recording.series, scrape);
        assert_eq!(now.len(), scrape.samples.len(), "a series is there twice");
        let same_process = start_of(&before) == start_of(&now);
        for (key, value) in &now {
            assert!(value.is_finite(), "{key} is {value}");
            if let Some(earlier) = before.get(key)
                && is_counter(&key.name)
                && same_process
            {
                assert!(value >= earlier, "{key} fell from {earlier} to {value}");
            }
        }
        before = now;
    }
}

/// Buckets rise with their bounds, and the last is the count.
fn check_histograms(recording: &Recording) {
    let Some(scrape) = recording.scrapes.iter().rfind(|scrape| scrape.up) else { return };
    let mut histograms: HashMap<String, (Vec<(f64, f64)>, f64)> = HashMap::new();
    for (key, value) in values(&recording.series, scrape) {
        let labels: Vec<_> = key.labels.iter().filter(|(name, _)| *name != "le").collect();
        let group = |end| key.name.strip_suffix(end).map(|family| format!("{family}{labels:?}"));
        if let (Some(group), Some(le)) = (group("_bucket"), key.labels.get("le")) {
            let le = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() };
            histograms.entry(group).or_default().0.push((le, value));
        } else if let Some(group) = group("_count") {
            histograms.entry(group).or_default().1 = value;
        }
    }
    for (group, (mut buckets, count)) in histograms {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{group} {buckets:?}");
        if let Some((_, all)) = buckets.last() {
            assert_eq!(*all, count, "{group}");
        }
    }
}

/// Requests, answers and their durations are counted together.
fn check_sums(recording: &Recording) {
    let Some(scrape) = recording.scrapes.iter().rfind(|scrape| scrape.up) else { return };
    let mut sums: HashMap<&str, f64> = HashMap::new();
    for sample in &scrape.samples {
        let name = recording.series.get(sample.series).map_or("", |key| key.name.as_str());
        *sums.entry(name).or_default() += sample.value;
    }
    let Some(answers) = sums.get("coredns_dns_responses_total") else { return };
    let timed = sums["coredns_dns_request_duration_seconds_count"];
    let asked = sums["coredns_dns_requests_total"];
    assert!(
        (answers - timed).abs() < 0.5 && (asked - timed).abs() < 0.5,
        "{asked} {answers} {timed}"
    );
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
    let text = "for: 20m\nseed: 3\ncampaign: {after: 2m, lasts: 1m, pause: 1m}";
    let (first, again) = (record(text), record(text));
    assert_eq!(first[1].scrapes, again[1].scrapes);
    let other = record(&text.replace("seed: 3", "seed: 4"));
    assert_ne!(first[0].scrapes, other[0].scrapes);
}

#[test]
fn every_fault_keeps_counters_and_histograms_whole() {
    for fault in FAULTS {
        let text =
            format!("for: 3m\nevery: 5s\nfaults: [{{kind: {}, at: 1m, for: 1m}}]", fault.name);
        for recording in record(&text) {
            check_counters(&recording);
            check_histograms(&recording);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn counters_rise_and_histograms_add_up(
        seed in any::<u64>(),
        rate in prop::sample::select(vec![0.0, 0.3, 20.0, 3000.0]),
        every in prop::sample::select(vec!["1s", "15s", "2m"]),
        release in prop::sample::select(Release::ALL.to_vec()),
        corefile in prop::sample::select(vec!["kubernetes", "zone_file"]),
        fault in 0..FAULTS.len(),
        strength in 0.0..1.0_f64,
        names in prop::sample::select(vec![1, 300, 500_000]),
        upstreams in 1..8_usize,
    ) {
        let range = FAULTS[fault].strength;
        let strength = (range.low + strength * (range.high - range.low)).min(range.high);
        let half = if every == "2m" { 1800 } else { 60 };
        let text = format!(
            "for: {}s\nevery: {every}\nseed: {seed}\ncoredns: {release}\ncorefile: {corefile}\n\
             traffic: {{lookups_per_second: {rate}, outside_names: {names}}}\n\
             upstreams: {{count: {upstreams}}}\n\
             faults: [{{kind: {}, at: {half}s, for: {half}s, strength: {strength}}}]\n",
            2 * half, FAULTS[fault].name,
        );
        let recordings = record(&text);
        for recording in &recordings {
            check_counters(recording);
            check_histograms(recording);
            if FAULTS[fault].name != "families_lost" {
                check_sums(recording);
            }
        }
        let frames = extract_fleet(&recordings);
        for (frame, recording) in frames.iter().zip(&recordings) {
            // What answers no scrape at first, or for minutes, has no row until the second that it does.
            let up: Vec<_> = recording.scrapes.iter().filter(|scrape| scrape.up).collect();
            let seconds = |pair: &[&Scrape]| pair[1].time.seconds_since(pair[0].time);
            let n_pauses = up.windows(2).filter(|pair| seconds(pair) > 300.0).count();
            let answered = recording.scrapes.iter().skip_while(|scrape| !scrape.up).count();
            prop_assert!(frame.len() + 1 + n_pauses >= answered, "{} rows", frame.len());
        }
    }

    #[test]
    fn no_text_makes_a_panic(text in "[a-z_:\\-\\[\\]{}'\"#&*!|>% \n0-9]{0,200}") {
        let _ = Scenario::parse(&text);
    }
}
