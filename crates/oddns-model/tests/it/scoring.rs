//! Predictions do not depend on how they are asked for.

use oddns_model::{Config, ModelError, Network, Sequence};
use proptest::prelude::*;

use crate::{part, waves};

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..<_>::default() })]

    /// A dense pass over a history, and for each row a pass over no more than the receptive field.
    #[test]
    fn live_and_dense_scoring_give_the_same_bits(
        n in 1_usize..20, rows in 1_usize..300, seed in 0_u64..1000, n_groups in 1_usize..6,
        kernel in 1_usize..4, at in 0_usize..300,
    ) {
        let network = Network::new(Config { kernel, ..Config::recipe(n) }, seed).unwrap();
        let (sequence, at) = (waves(n, rows, seed as f32), at % rows);
        let window = part(&sequence, (at + 1).saturating_sub(network.receptive_field()), at + 1);
        let row = |all: Vec<f32>| all[at * n..(at + 1) * n].to_vec();
        prop_assert_eq!(
            network.forecast_last(&window).unwrap(),
            row(network.forecast(&sequence).unwrap())
        );
        prop_assert_eq!(
            network.complete_last(&window, n_groups).unwrap(),
            row(network.complete(&sequence, n_groups).unwrap())
        );
    }
}

#[test]
fn long_histories_are_cut_in_blocks_without_a_trace() {
    let network = Network::new(Config::recipe(3), 9).unwrap();
    let sequence = waves(3, 1000, 0.0);
    let dense = network.complete(&sequence, 2).unwrap();
    for at in [0, 1, 30, 31, 32, 255, 256, 257, 511, 512, 999] {
        let upto = part(&sequence, 0, at + 1);
        assert_eq!(network.complete_last(&upto, 2).unwrap(), dense[at * 3..at * 3 + 3], "row {at}");
    }
}

/// What is hidden must not leak, what is shown must count.
#[test]
fn a_prediction_sees_what_it_may_and_nothing_else() {
    let network = Network::new(Config::recipe(4), 2).unwrap();
    let base = waves(4, 60, 0.0);
    let change = |row: usize, j: usize, observed: bool| {
        let mut values: Vec<f32> = (0..60).flat_map(|row| base.row(row).to_vec()).collect();
        let mut flags: Vec<bool> = (0..60).flat_map(|row| base.observed(row).to_vec()).collect();
        values[row * 4 + j] += 1.0;
        flags[row * 4 + j] = observed;
        Sequence::new(4, values, flags).unwrap()
    };
    let last = |s: &Sequence| network.forecast_last(s).unwrap();
    let groups = |s: &Sequence| network.complete_last(s, 2).unwrap();
    let seen = change(59, 1, true);
    assert_eq!(last(&seen), last(&change(59, 1, false)), "a forecast does not see its row");
    assert_ne!(last(&change(58, 1, true)), last(&base), "it sees the row before");
    let reach = network.receptive_field();
    assert_ne!(last(&change(60 - reach, 1, true)), last(&base), "and the first of its field");
    assert_eq!(last(&change(59 - reach, 1, true)), last(&base), "but nothing older");
    let (with, without) = (groups(&seen), groups(&change(59, 1, false)));
    assert_eq!((with[1], with[3]), (without[1], without[3]), "a group does not see itself");
    assert!(with[0] != without[0] && with[2] != without[2], "the other group sees it");
}

#[test]
fn edges_are_errors_or_empty() {
    let network = Network::new(Config::recipe(2), 1).unwrap();
    let empty = Sequence::new(2, vec![], vec![]).unwrap();
    assert!(network.forecast(&empty).unwrap().is_empty());
    assert!(network.forecast_last(&empty).unwrap().is_empty());
    assert!(network.complete_last(&empty, 4).unwrap().is_empty());
    let wide = waves(3, 5, 0.0);
    let error = network.forecast(&wide).unwrap_err();
    assert!(matches!(error, ModelError::Width { expected: 2, found: 3 }));
    assert!(network.complete(&waves(2, 5, 0.0), 0).unwrap_err().to_string().contains("`n_groups`"));
    let few = network.complete(&waves(2, 5, 0.0), 100).unwrap();
    assert_eq!(few, network.complete(&waves(2, 5, 0.0), 2).unwrap());
}
