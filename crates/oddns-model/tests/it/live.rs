//! Rows pushed one by one get the bits of a dense pass.

use oddns_model::{Config, LiveState, Network, Sequence};
use proptest::prelude::*;

use crate::{part, waves};

/// Forecasts and completions of `rows` of `sequence`, one after the other.
fn push(
    network: &Network,
    state: &mut LiveState,
    sequence: &Sequence,
    rows: std::ops::Range<usize>,
) -> (Vec<u32>, Vec<u32>) {
    let (mut forecasts, mut completions) = (vec![], vec![]);
    for row in rows {
        let (values, observed) = (sequence.row(row), sequence.observed(row));
        let predicted = network.push(state, values, observed).unwrap();
        forecasts.extend(predicted.forecast.iter().map(|value| value.to_bits()));
        completions.extend(predicted.completion.iter().map(|value| value.to_bits()));
    }
    (forecasts, completions)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..<_>::default() })]

    /// Whatever the shape, the last row alone does too; and whether one state takes the whole stream, or a clone, a saved state
    /// or a state warmed up with the last rows goes on from anywhere.
    #[test]
    fn live_states_give_the_bits_of_a_dense_pass_over_any_split(
        n in 1_usize..100, rows in 1_usize..150, seed in 0_u64..1000, n_groups in 1_usize..7,
        kernel in 1_usize..5, channels in 1_usize..40, bottleneck in 1_usize..20,
        dilations in prop::collection::vec(1_usize..9, 1..4),
        decoder in prop::collection::vec(1_usize..40, 0..3),
        linear in any::<bool>(), cut in any::<prop::sample::Index>(),
    ) {
        let config =
            Config { n_features: n, kernel, channels, bottleneck, dilations, decoder, linear };
        let network = Network::new(config, seed).unwrap();
        let sequence = waves(n, rows, seed as f32);
        let forecast = bits(&network.forecast(&sequence).unwrap());
        let completion = bits(&network.complete(&sequence, n_groups).unwrap());
        let cut = cut.index(rows);

        let last = part(&sequence, 0, cut + 1);
        prop_assert_eq!(&bits(&network.forecast_last(&last).unwrap()), &forecast[cut * n..][..n]);
        let last = part(&sequence, (cut + 1).saturating_sub(network.receptive_field()), cut + 1);
        let found = bits(&network.complete_last(&last, n_groups).unwrap());
        prop_assert_eq!(&found, &completion[cut * n..][..n]);

        let mut state = network.live(n_groups);
        let before = push(&network, &mut state, &sequence, 0..cut);
        prop_assert_eq!(&before.0[..], &forecast[..cut * n]);
        prop_assert_eq!(&before.1[..], &completion[..cut * n]);

        let saved = network.resume(n_groups, state.n_rows(), state.memory()).unwrap();
        let mut warmed = network.live(n_groups);
        let warm_up = cut.saturating_sub(network.receptive_field() - 1)..cut;
        push(&network, &mut warmed, &sequence, warm_up);
        for mut state in [state.clone(), state, saved, warmed] {
            let after = push(&network, &mut state, &sequence, cut..rows);
            prop_assert_eq!(&after.0[..], &forecast[cut * n..]);
            prop_assert_eq!(&after.1[..], &completion[cut * n..]);
            state.clear();
            let again = push(&network, &mut state, &sequence, 0..rows);
            prop_assert_eq!(&again.1[..], &completion[..]);
        }
        let alone = push(&network, &mut network.live(0), &sequence, 0..rows);
        prop_assert_eq!(alone, (forecast, vec![]));
    }
}

#[test]
fn a_long_stream_stays_equal() {
    let network = Network::new(Config::recipe(38), 9).unwrap();
    let sequence = waves(38, 3000, 0.0);
    let mut state = network.live(4);
    let (forecasts, completions) = push(&network, &mut state, &sequence, 0..3000);
    assert_eq!(forecasts, bits(&network.forecast(&sequence).unwrap()));
    assert_eq!(completions, bits(&network.complete(&sequence, 4).unwrap()));
    // Far enough for every ring to have gone round, with a count that no run will ever reach.
    let mut late = network.resume(4, u64::MAX, state.memory()).unwrap();
    push(&network, &mut late, &sequence, 0..3);
}
