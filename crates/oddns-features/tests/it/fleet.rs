//! Servers side by side: what one does and the others do not.

use oddns_core::{Frame, Recording, SeriesId, SeriesTable, Timestamp};
use oddns_features::{FEATURES, Fleet, FleetExtractor, extract, extract_fleet};
use proptest::prelude::*;

use crate::server::{Server, empty, value};

const INTERVAL: f64 = 15.0;

/// A server that gets `rates[n]` queries each second in interval `n`, first scraped at `offset`.
fn recording(name: &str, offset: f64, rates: &[f64]) -> Recording {
    let mut server = Server::default();
    let (mut scrapes, mut total) = (Vec::new(), 1000.0);
    for (step, rate) in std::iter::once(&0.0).chain(rates).enumerate() {
        total += rate * INTERVAL;
        let samples = server.samples(&format!("coredns_dns_requests_total {total}"));
        let at = 1.0e9 + offset + INTERVAL * step as f64;
        scrapes.push(oddns_core::Scrape { samples, ..empty(at) });
    }
    Recording { instance: name.to_owned(), series: server.table, scrapes }
}

/// The divergence of the request rate in every row.
fn divergences(frame: &Frame) -> Vec<f32> {
    frame.rows().map(|(_, row)| value(row, "divergence_request_rate")).collect()
}

fn is_divergence(at: usize) -> bool {
    FEATURES[at].is_divergence()
}

#[test]
fn a_server_that_is_alone_is_compared_with_nobody() {
    let frame = extract(&recording("a", 0.0, &[100.0; 8]));
    assert!(
        frame
            .rows()
            .all(|(_, row)| (0..row.len()).all(|at| !is_divergence(at) || row[at].is_nan()))
    );
}

#[test]
fn a_server_that_gets_twice_the_queries_of_the_others_shows() {
    let fleet: Vec<Recording> = [("a", 0.0, 100.0), ("b", 4.0, 100.0), ("c", 9.0, 200.0)]
        .map(|(name, offset, rate)| recording(name, offset, &[rate; 8]))
        .into();
    let frames = extract_fleet(&fleet);
    let last = |at: usize| divergences(&frames[at])[7];
    assert!((last(0) - 1.0).abs() < 0.01, "{}", last(0));
    assert!((last(2) - 201.0 / 101.0).abs() < 0.01, "{}", last(2));
}

/// Of two, nobody can say which is the odd one.
#[test]
fn two_servers_share_the_distance_between_them() {
    let fleet = [recording("a", 0.0, &[100.0; 8]), recording("b", 0.0, &[24.25; 8])];
    let frames = extract_fleet(&fleet);
    let [a, b] = [0, 1].map(|at: usize| divergences(&frames[at])[7]);
    assert!((a - 2.0).abs() < 0.01, "{a}");
    assert!((a * b - 1.0).abs() < 1e-5, "{b}");
}

#[test]
fn a_server_that_lost_nearly_all_its_queries_shows_as_much_as_one_that_got_too_many() {
    let rates = [100.0, 100.0, 3.0, 3000.0];
    let fleet: Vec<Recording> =
        (0..4).map(|at| recording(&at.to_string(), at as f64, &[rates[at]; 8])).collect();
    let frames = extract_fleet(&fleet);
    assert_eq!(divergences(&frames[0])[7], 1.0);
    let (lost, got) = (divergences(&frames[2])[7], divergences(&frames[3])[7]);
    assert!((lost * got - 1.0).abs() < 1e-5 && got > 7.0, "{lost}, {got}");
}

#[test]
fn what_meets_all_is_no_divergence_whoever_is_scraped_first() {
    let mut rates = [100.0; 24];
    rates[12..].fill(900.0);
    let fleet = [recording("a", 0.0, &rates), recording("b", 0.0, &rates)];
    for frame in extract_fleet(&fleet) {
        assert_eq!(divergences(&frame)[1..], [1.0; 23]);
    }
}

#[test]
fn servers_that_left_are_forgotten_and_there_is_no_end_of_names() {
    let mut fleet = Fleet::default();
    let mut row = vec![1.0; FEATURES.len()];
    for at in 0..1000 {
        fleet.compare(&at.to_string(), Timestamp::from_millis(at), &mut row);
    }
    assert_eq!(fleet.len(), 256);
    fleet.compare("late", Timestamp::from_millis(400_000), &mut row);
    assert_eq!(fleet.len(), 1);
    fleet.compare("of another width", Timestamp::from_millis(400_001), &mut [1.0]);
    assert_eq!(fleet.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// The order in which servers of one instant are taken changes nothing.
    #[test]
    fn the_order_within_an_instant_changes_nothing(
        rates in prop::collection::vec(prop::collection::vec(0.0..500.0_f64, 6), 2..5),
        offsets in prop::collection::vec(0_u8..3, 5),
    ) {
        let offset = |at: usize| 5.0 * f64::from(offsets[at]);
        let mut fleet: Vec<Recording> = rates
            .iter()
            .enumerate()
            .map(|(at, rates)| recording(&at.to_string(), offset(at), rates))
            .collect();
        let forth = extract_fleet(&fleet);
        fleet.reverse();
        let mut back = extract_fleet(&fleet);
        back.reverse();
        for (a, b) in forth.iter().zip(&back) {
            let bits = |frame: &Frame| -> Vec<u32> { divergences(frame).iter().map(|v| v.to_bits()).collect() };
            prop_assert_eq!(bits(a), bits(b));
        }
    }

    /// Recordings that come part by part, with other numbers for their series, give the same frames.
    #[test]
    fn parts_of_a_history_give_the_frames_of_the_whole(
        rates in prop::collection::vec(prop::collection::vec(0.0..500.0_f64, 9), 1..4),
        mut cuts in prop::collection::vec(0_usize..10, 1..4),
    ) {
        let names = ["a", "b", "c"].into_iter().zip(&rates);
        let fleet: Vec<Recording> = names.map(|(name, rates)| recording(name, 0.0, rates)).collect();
        let mut parts = FleetExtractor::default();
        cuts.sort_unstable();
        let mut from = 0;
        for cut in cuts.into_iter().chain([10]) {
            let part = |whole: &Recording| {
                let mut part = whole.clone();
                part.scrapes = whole.scrapes[from..cut].to_vec();
                // Another file numbers its series in another order.
                renumbered(part, from)
            };
            parts.take(fleet.iter().map(part).collect());
            from = cut;
        }
        let found: Vec<(String, Frame)> = parts.finish().map(|(name, rows)| (name, rows.into_frame())).collect();
        for ((name, found), (recording, whole)) in found.iter().zip(fleet.iter().zip(extract_fleet(&fleet))) {
            prop_assert_eq!(name, &recording.instance);
            let bits = |frame: &Frame| -> Vec<u32> {
                frame.rows().flat_map(|(_, row)| row.iter().map(|v| v.to_bits()).collect::<Vec<_>>()).collect()
            };
            prop_assert_eq!(found.timestamps(), whole.timestamps());
            prop_assert_eq!(bits(found), bits(&whole));
        }
        prop_assert_eq!(found.len(), fleet.len());
    }
}

/// The same recording with its series in another order.
fn renumbered(mut recording: Recording, by: usize) -> Recording {
    let n = recording.series.len();
    let mut series = SeriesTable::default();
    for at in 0..n {
        series.intern(recording.series.get(SeriesId(((at + by) % n) as u32)).unwrap());
    }
    for sample in recording.scrapes.iter_mut().flat_map(|scrape| &mut scrape.samples) {
        sample.series = series.intern(recording.series.get(sample.series).unwrap());
    }
    Recording { series, ..recording }
}
