//! The plain autoencoder: it learns, its scores do not depend on how they are asked for, and what
//! is saved is loaded.

use std::ops::ControlFlow;

use oddns_model::graph::{Activation, FitOptions, GraphBuilder, Layer};
use oddns_model::{Model, ModelError, Network, Reconstruction, ReconstructionConfig, Sequence};
use proptest::prelude::*;

use crate::{small, waves};

fn part(sequence: &Sequence, from: usize, to: usize) -> Sequence {
    let values = (from..to).flat_map(|row| sequence.row(row).to_vec()).collect();
    let observed = (from..to).flat_map(|row| sequence.observed(row).to_vec()).collect();
    Sequence::new(sequence.n_features(), values, observed).unwrap()
}

fn options() -> FitOptions {
    FitOptions { steps: 150, batch: 32, ..Reconstruction::recipe() }
}

fn trained(config: &ReconstructionConfig, threads: usize) -> Reconstruction {
    let mut network = Reconstruction::new(config, 1).unwrap();
    let sequences = [waves(config.n_features, 400, 0.0), waves(config.n_features, 90, 50.0)];
    let options = FitOptions { threads, ..options() };
    network.fit(&sequences, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    network
}

#[test]
fn what_is_unusual_is_badly_reconstructed_and_far_away() {
    for config in [
        ReconstructionConfig::one_dimensional(3, 18),
        ReconstructionConfig {
            channels: vec![8, 8],
            ..ReconstructionConfig::two_dimensional(3, 18)
        },
    ] {
        let network = trained(&config, 2);
        let usual = waves(3, 200, 900.0);
        let mut values: Vec<f32> = (0..200).flat_map(|row| usual.row(row).to_vec()).collect();
        for row in 120..160 {
            values[row * 3] = if row % 2 == 0 { 3.0 } else { -3.0 };
        }
        let odd = Sequence::new(3, values, vec![true; 600]).unwrap();
        let mean = |values: &[f32], from: usize, to: usize| {
            values[from..to].iter().sum::<f32>() / (to - from) as f32
        };
        let scores = network.score(&odd, 1).unwrap();
        let (before, during) =
            (mean(&scores.window_errors, 40, 110), mean(&scores.window_errors, 130, 158));
        assert!(during > 4.0 * before, "{config:?}: {before} to {during}");
        let (near, far) =
            (mean(&scores.latent_distances, 40, 110), mean(&scores.latent_distances, 130, 158));
        assert!(far > near, "{config:?}: {near} to {far}");
        assert!(scores.clusters.iter().all(|at| *at < network.clusters().unwrap().n_clusters()));
        let largest = |row: usize| {
            let residuals = &scores.residuals[row * 3..][..3];
            (0..3).max_by(|a, b| residuals[*a].abs().total_cmp(&residuals[*b].abs())).unwrap()
        };
        let named = (140..160).filter(|row| largest(*row) == 0).count();
        assert!(named > 15, "the guilty feature is named {named} times of 20");
    }
}

#[test]
fn same_seed_gives_the_same_bits_on_any_number_of_threads() {
    let config = ReconstructionConfig::one_dimensional(3, 18);
    let one = trained(&config, 1);
    assert_eq!(one, trained(&config, 2));
    let sequence = waves(3, 200, 900.0);
    assert_eq!(one.score(&sequence, 1).unwrap(), one.score(&sequence, 2).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..<_>::default() })]

    /// A whole history in batches, and for each row its window alone.
    #[test]
    fn live_and_batch_scoring_give_the_same_bits(
        n in 1_usize..20, window in 1_usize..40, rows in 1_usize..150, at in 0_usize..150,
        image in any::<bool>(), seed in 0_u64..100,
    ) {
        let config = if image {
            ReconstructionConfig::two_dimensional(n, window)
        } else {
            ReconstructionConfig::one_dimensional(n, window)
        };
        let network = Reconstruction::new(&config, seed).unwrap();
        let (sequence, at) = (waves(n, rows, seed as f32), at % rows);
        let all = network.score(&sequence, 2).unwrap();
        let alone = part(&sequence, (at + 1).saturating_sub(window), at + 1);
        // Rows before the first are like the first, which must be the same one.
        let alone = if at + 1 < window { part(&sequence, 0, at + 1) } else { alone };
        let last = network.score_last(&alone).unwrap();
        prop_assert_eq!(&last.residuals, &all.residuals[at * n..(at + 1) * n]);
        prop_assert_eq!(last.window_errors[0].to_bits(), all.window_errors[at].to_bits());
        let size = network.latent_size();
        prop_assert_eq!(&last.latents, &all.latents[at * size..(at + 1) * size]);
    }
}

#[test]
fn saved_is_loaded_to_the_bit() {
    let network = trained(&ReconstructionConfig::one_dimensional(3, 18), 2);
    let model = Model::Reconstruction(network);
    let bytes = model.encode("{}").unwrap();
    assert_eq!(bytes, model.encode("{}").unwrap());
    assert_eq!(Model::decode(&bytes).unwrap(), (model, Some("{}".into())));
    let masked = Model::Masked(Network::new(small(2), 1).unwrap());
    assert_eq!(Model::decode(&masked.encode("").unwrap()).unwrap().0, masked);
}

#[test]
fn edges_are_errors_or_empty() {
    let network = Reconstruction::new(&ReconstructionConfig::one_dimensional(2, 8), 1).unwrap();
    let empty = Sequence::new(2, vec![], vec![]).unwrap();
    assert_eq!(network.score(&empty, 2).unwrap().window_errors, [] as [f32; 0]);
    assert_eq!(network.score_last(&empty).unwrap().window_errors, [] as [f32; 0]);
    let wide = network.score(&waves(3, 9, 0.0), 1).unwrap_err();
    assert!(matches!(wide, ModelError::Width { expected: 2, found: 3 }));
    let unseen = Sequence::new(2, vec![0.0; 40], vec![false; 40]).unwrap();
    let scores = network.score(&unseen, 1).unwrap();
    assert!(scores.window_errors.iter().chain(&scores.residuals).all(|value| *value == 0.0));
    let fit = |sequences: &[Sequence]| {
        network.clone().fit(sequences, &options(), &mut |_| ControlFlow::Continue(())).unwrap_err()
    };
    assert!(matches!(fit(&[unseen]), ModelError::NothingObserved));
    assert!(matches!(fit(&[]), ModelError::NothingObserved));
    assert!(matches!(fit(&[waves(2, 7, 0.0)]), ModelError::TooShort { rows: 7, needed: 8, .. }));
    let huge = Sequence::new(2, vec![3e38; 40], vec![true; 40]).unwrap();
    assert!(matches!(fit(&[huge]), ModelError::Diverged { step: 1, .. }));
}

#[test]
fn any_autoencoder_of_windows_will_do() {
    let build = |shape: &[usize], units: usize| {
        let mut builder = GraphBuilder::new("foreign");
        let shape = shape.iter().map(|n| Some(*n)).collect();
        let input = builder.add("x", Layer::Input { shape }, &[]).unwrap();
        let dense = |units| Layer::Dense { units, bias: true, activation: Activation::Tanh };
        let narrow = builder.add("narrow", dense(2), &[input]).unwrap();
        let output = builder.add("out", dense(units), &[narrow]).unwrap();
        Reconstruction::from_graph(builder.finish(&[input], &[output], 1).unwrap())
    };
    let rows = build(&[5], 5).unwrap();
    assert_eq!((rows.window(), rows.n_features(), rows.latent_size()), (1, 5, 2));
    let windows = build(&[7, 5], 5).unwrap();
    assert_eq!((windows.window(), windows.n_features(), windows.latent_size()), (7, 5, 14));
    let error = build(&[7, 5], 4).unwrap_err().to_string();
    assert!(error.contains("its output has not as many values"), "{error}");
    let scores = rows.score(&waves(5, 9, 0.0), 1).unwrap();
    assert_eq!((scores.window_errors.len(), scores.latent_distances.len()), (9, 0));
}

#[test]
fn cancelled_training_changes_nothing() {
    let mut network = Reconstruction::new(&ReconstructionConfig::one_dimensional(3, 8), 1).unwrap();
    let before = network.clone();
    let stop = |progress: oddns_model::Progress| {
        if progress.step < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let error = network.fit(&[waves(3, 60, 0.0)], &options(), &mut { stop }).unwrap_err();
    assert_eq!(error.to_string(), "training was cancelled after step 3 of 150");
    assert_eq!(network, before);
}
