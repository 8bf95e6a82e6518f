//! The real Keras loads what we save, predicts the same, and its own saves come back.

use std::path::{Path, PathBuf};
use std::process::Command;

use oddns_model::{Config, Network, decode, encode};

use crate::waves;

/// The Python of a folder with Keras, or `None` with a line that says why the test does nothing.
pub(crate) fn python() -> Option<PathBuf> {
    let Some(peers) = std::env::var_os("ODDNS_PEERS") else {
        println!("skipped: ODDNS_PEERS is not set, so there is no Keras to compare with");
        return None;
    };
    let python = Path::new(&peers).join("keras-3/bin/python");
    assert!(python.exists(), "{} is missing: run `cargo xtask setup`", python.display());
    Some(python)
}

pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Writes the model and the two inputs of the `group`-th of `n_groups` passes, lets Keras predict
/// and save again, and returns its prediction and its file.
fn keras(python: &Path, network: &Network, rows: usize, group: usize) -> (Vec<f32>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let n = network.config().n_features;
    let sequence = waves(n, rows, 3.0);
    let history: Vec<f32> = (0..rows).flat_map(|row| sequence.row(row).to_vec()).collect();
    let mut visible = vec![];
    for row in 0..rows {
        let shown = |j: usize| sequence.observed(row)[j] && j % 4 != group;
        visible.extend((0..n).map(|j| if shown(j) { sequence.row(row)[j] } else { 0.0 }));
        visible.extend((0..n).map(|j| if shown(j) { 1.0 } else { 0.0 }));
    }
    let write = |name: &str, values: &[f32]| {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(folder.path().join(name), bytes).unwrap();
    };
    write("history.f32", &history);
    write("visible.f32", &visible);
    std::fs::write(folder.path().join("ours.keras"), encode(network, "{}").unwrap()).unwrap();
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras_peer.py"))
        .arg(folder.path())
        .arg(n.to_string())
        .env("KERAS_BACKEND", "jax")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    (floats(&read("prediction.f32")), read("theirs.keras"))
}

#[test]
fn keras_predicts_the_same_and_its_save_comes_back() {
    let Some(python) = python() else { return };
    let odd = Config {
        n_features: 3,
        channels: 5,
        kernel: 2,
        dilations: vec![1],
        bottleneck: 4,
        decoder: vec![],
        linear: false,
    };
    for config in [Config::recipe(23), odd] {
        let n = config.n_features;
        let network = Network::new(config, 8).unwrap();
        let (theirs, saved) = keras(&python, &network, 70, 1);
        let ours = network.complete(&waves(n, 70, 3.0), 4).unwrap();
        assert_eq!(theirs.len(), 70 * n);
        let mut worst = 0.0_f32;
        for row in 0..70 {
            for j in (1..n).step_by(4) {
                worst = worst.max((ours[row * n + j] - theirs[row * n + j]).abs());
            }
        }
        println!("largest difference to Keras: {worst:e}");
        assert!(worst < 1e-5, "largest difference {worst}");
        assert_eq!(decode(&saved).unwrap(), (network, None));
    }
}

/// Files that Keras 3.15.1 saved, kept so that reading is tested without Keras too: one from
/// before networks had a linear part, one with it.
#[test]
fn a_save_of_keras_is_read() {
    let files: [(&[u8], _); 2] = [
        (include_bytes!("../golden/keras-3.15.1.keras"), false),
        (include_bytes!("../golden/keras-3.15.1-linear.keras"), true),
    ];
    for (bytes, linear) in files {
        let recipe = Config::recipe(2);
        let config = Config { channels: 4, bottleneck: 3, decoder: vec![4], linear, ..recipe };
        let network = Network::new(config.clone(), 8).unwrap();
        let (found, extra) = decode(bytes).unwrap();
        assert_eq!(extra, None);
        assert_eq!(*found.config(), config);
        assert_eq!(found, network);
    }
}
