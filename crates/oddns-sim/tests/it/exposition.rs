//! What is made is what a real server of the release says.

use std::collections::BTreeSet;
use std::path::Path;

use oddns_collect::{ReplayOptions, replay_file};
use oddns_core::{Recording, SeriesId, SeriesKey};
use oddns_features::{FEATURES, extract_fleet};
use oddns_sim::{Release, Scenario, Simulation};

fn record(text: &str) -> Vec<Recording> {
    Simulation::new(Scenario::parse(text).unwrap()).record()
}

/// Metric and label names, values of `le`, and nothing that depends on the cluster.
fn shape(key: &SeriesKey) -> String {
    let labels = key.labels.iter().map(|(name, value)| match name {
        "le" | "quantile" => format!("{name}={value}"),
        _ => name.to_owned(),
    });
    format!("{}{:?}", key.name, labels.collect::<Vec<_>>())
}

fn shapes(recordings: &[Recording]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for recording in recordings {
        let ids = (0..recording.series.len()).map(|id| SeriesId(id as u32));
        found.extend(ids.filter_map(|id| recording.series.get(id)).map(shape));
    }
    found
}

/// Series that the captured servers show because of plugins that the simulated ones do not have.
fn is_of_another_plugin(shape: &str) -> bool {
    ["template", "acl", "autopath", "hosts_entries", "grpc", "promhttp"]
        .iter()
        .any(|plugin| shape.contains(plugin))
}

#[test]
fn every_series_of_a_captured_server_is_made_for_its_release() {
    for release in [Release::V1_6_9, Release::V1_10_1, Release::V1_15_0] {
        let file = format!("../oddns-collect/tests/data/coredns-{release}.prom.gz");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let captured = replay_file(&path, &ReplayOptions::default()).unwrap();
        let made = shapes(&record(&format!("for: 1m\ncoredns: {release}")));
        let missing: Vec<_> = shapes(&captured)
            .into_iter()
            .filter(|shape| !made.contains(shape) && !is_of_another_plugin(shape))
            .collect();
        assert!(missing.is_empty(), "{release}: {missing:#?}");
    }
}

#[test]
fn every_release_has_about_300_series_and_every_feature_that_traffic_has() {
    // What only faults, other plugins or a longer time tell of.
    let rare = [
        "encrypted_error_ratio",
        "api_latency_mean_seconds",
        "cache_eviction_ratio",
        "dns_programming_silence_ratio",
    ];
    for release in Release::ALL {
        let text = format!("for: 2h\ncoredns: {release}\ntraffic: {{mix: {{stub: 0.05}}}}");
        let recordings = record(&text);
        let last = recordings[0].scrapes.last().unwrap();
        assert!((250..500).contains(&last.samples.len()), "{release}: {}", last.samples.len());
        let frame = &extract_fleet(&recordings)[0];
        let row = frame.row(frame.len() - 1);
        // This release does not tell of connections.
        let old =
            ["upstream_unanswered_ratio", "upstream_new_connection_ratio", "upstream_tcp_ratio"];
        // Seldom do services without an address change, and others are not told of before.
        let seldom = "dns_programming_mean_seconds";
        let expected = |name| {
            !(rare.contains(&name)
                || release == Release::V1_6_9 && old.contains(&name)
                || release < Release::V1_15_0 && name == seldom)
        };
        let missing: Vec<_> = FEATURES
            .iter()
            .zip(row)
            .filter(|(feature, value)| value.is_nan() && expected(feature.name))
            .map(|(feature, _)| feature.name)
            .collect();
        assert!(missing.is_empty(), "{release}: {missing:?}");
    }
}

#[test]
fn generations_tell_the_same_of_the_same_traffic() {
    let told = |release: Release, feature: &str| {
        let frames = extract_fleet(&record(&format!("for: 30m\ncoredns: {release}")));
        let column = FEATURES.iter().position(|known| known.name == feature).unwrap();
        let values: Vec<f32> = frames[0].rows().map(|(_, row)| row[column]).collect();
        values.iter().sum::<f32>() / values.len() as f32
    };
    for feature in ["request_rate", "cache_hit_ratio", "upstream_rate", "nxdomain_ratio"] {
        let newest = told(Release::V1_15_0, feature);
        for release in Release::ALL {
            let ratio = told(release, feature) / newest;
            assert!((0.9..1.1).contains(&ratio), "{release} {feature}: {ratio}");
        }
    }
}
