//! Properties of the whole crate, and the real Keras as its peer.

#![cfg(test)]

mod damage;
mod graph_peer;
mod keras;
mod live;
mod onnx;
mod reconstruction;
mod scoring;
mod training;

use oddns_model::{Config, Sequence};

/// Waves of different periods with a little structure between features; one value in 20 missing.
fn waves(n_features: usize, rows: usize, phase: f32) -> Sequence {
    let value = |t: usize, j: usize| {
        let (t, j) = (t as f32 + phase, j as f32);
        (t / (4.0 + j)).sin() + 0.3 * (t / 3.0).cos() * (j - 1.0)
    };
    let at = |i: usize| (i / n_features, i % n_features);
    let values = (0..rows * n_features).map(|i| value(at(i).0, at(i).1)).collect();
    let observed = (0..rows * n_features).map(|i| (i * 7 + i / 13) % 20 != 0).collect();
    Sequence::new(n_features, values, observed).unwrap()
}

/// Rows `from` to `to` of `sequence`.
fn part(sequence: &Sequence, from: usize, to: usize) -> Sequence {
    let values = (from..to).flat_map(|row| sequence.row(row).to_vec()).collect();
    let observed = (from..to).flat_map(|row| sequence.observed(row).to_vec()).collect();
    Sequence::new(sequence.n_features(), values, observed).unwrap()
}

/// A network that trains in a moment.
fn small(n_features: usize) -> Config {
    Config { channels: 16, bottleneck: 8, decoder: vec![16], ..Config::recipe(n_features) }
}
