//! The `.keras` file: a zip that real Keras 3 opens without custom code.

mod archive;
mod foreign;
mod graph;
mod settings;
mod stock;
mod weights;

use crate::graph::Graph;
use crate::{LatentClusters, ModelError, Network, Reconstruction};

/// What oddns adds for itself; Keras ignores it and drops it when it saves again.
const EXTRA: &str = "oddns.json";
const CONFIG: &str = "config.json";
/// Where normal operation lies in the latent space of a reconstruction network; Keras drops it too.
pub(crate) const LATENT_CLUSTERS: &str = "oddns.latent.json";
const METADATA: &str = "metadata.json";
const WEIGHTS: &str = "model.weights.h5";

/// The release whose files these are like, and no date: the same model gives the same bytes.
const METADATA_TEXT: &str = r#"{"keras_version": "3.15.1", "date_saved": "1980-01-01@00:00:00"}"#;

/// The bytes of a `.keras` file with `network` and, as its entry `oddns.json`, the text `extra`.
///
/// Keras sees a functional model with the inputs `history` (batch, rows, features: the values of
/// every row, the shift by one row is inside) and `visible` (batch, rows, 2 × features: the visible
/// values with 0 for what is hidden, then the flags 1 and 0), and one output: the layer `output`, or
/// `prediction` without a linear part. An
/// `extra` above 64 MiB is an error.
pub fn encode(network: &Network, extra: &str) -> Result<Vec<u8>, ModelError> {
    let config = graph::describe(network.config()).to_string();
    let weights = weights::write(network)?;
    archive::write(&[
        (METADATA, METADATA_TEXT.as_bytes()),
        (CONFIG, config.as_bytes()),
        (WEIGHTS, &weights),
        (EXTRA, extra.as_bytes()),
    ])
}

/// The network of a `.keras` file, and its entry `oddns.json` where there is one. Any bytes are
/// fine as input: what is damaged, foreign or absurdly large is an error that names the entry, the
/// layer or the weights.
pub fn decode(bytes: &[u8]) -> Result<(Network, Option<String>), ModelError> {
    let mut archive = archive::open(bytes)?;
    let config =
        archive::text(&mut archive, CONFIG)?.ok_or(ModelError::MissingEntry { entry: CONFIG })?;
    let (config, n_before) = graph::recognise(&config)?;
    let weights = archive::entry(&mut archive, WEIGHTS)?
        .ok_or(ModelError::MissingEntry { entry: WEIGHTS })?;
    let network = weights::read(config, &n_before, weights)?;
    Ok((network, archive::text(&mut archive, EXTRA)?))
}

/// The bytes of a `.keras` file with a general network and, as its entry `oddns.json`, the text
/// `extra`. Keras sees a functional model with the names and layers of `graph`.
pub fn encode_graph(graph: &Graph, extra: &str) -> Result<Vec<u8>, ModelError> {
    write_graph(graph, &[(EXTRA, extra.as_bytes())])
}

/// As [`encode_graph`], without the entry `oddns.json`: a network that nobody has calibrated.
pub fn encode_plain(graph: &Graph) -> Result<Vec<u8>, ModelError> {
    write_graph(graph, &[])
}

fn write_graph(graph: &Graph, extras: &[(&str, &[u8])]) -> Result<Vec<u8>, ModelError> {
    let config = stock::describe(graph).to_string();
    let weights = weights::write_graph(graph)?;
    let mut entries = vec![
        (METADATA, METADATA_TEXT.as_bytes()),
        (CONFIG, config.as_bytes()),
        (WEIGHTS, weights.as_slice()),
    ];
    entries.extend(extras);
    archive::write(&entries)
}

/// The network of a `.keras` file of any stock layers that the engine knows, sequential or
/// functional, and its entry `oddns.json` where there is one. Nothing in the file is executed.
/// Other layers, models within models and layers used twice are errors that name them; damage
/// is as in [`decode`].
pub fn decode_graph(bytes: &[u8]) -> Result<(Graph, Option<String>), ModelError> {
    let mut archive = archive::open(bytes)?;
    let graph = read_graph(&mut archive)?;
    Ok((graph, archive::text(&mut archive, EXTRA)?))
}

fn read_graph(archive: &mut archive::Archive<'_>) -> Result<Graph, ModelError> {
    let config =
        archive::text(archive, CONFIG)?.ok_or(ModelError::MissingEntry { entry: CONFIG })?;
    let read = foreign::read(&config)?;
    let weights =
        archive::entry(archive, WEIGHTS)?.ok_or(ModelError::MissingEntry { entry: WEIGHTS })?;
    weights::read_graph(read.graph, &read.n_before, weights)
}

/// As [`encode_graph`], with the latent clusters.
pub(crate) fn encode_reconstruction(
    network: &Reconstruction,
    extra: &str,
) -> Result<Vec<u8>, ModelError> {
    let clusters = network.clusters().map(LatentClusters::to_json);
    let mut extras = vec![(EXTRA, extra.as_bytes())];
    extras.extend(clusters.as_ref().map(|text| (LATENT_CLUSTERS, text.as_bytes())));
    write_graph(network.graph(), &extras)
}

/// As [`decode_graph`], with the latent clusters where there are some.
pub(crate) fn decode_reconstruction(
    bytes: &[u8],
) -> Result<(Reconstruction, Option<String>), ModelError> {
    let mut archive = archive::open(bytes)?;
    let mut network = Reconstruction::from_graph(read_graph(&mut archive)?)?;
    if let Some(text) = archive::text(&mut archive, LATENT_CLUSTERS)? {
        let clusters = LatentClusters::from_json(&text, network.latent_size())?;
        network = network.with_clusters(clusters)?;
    }
    Ok((network, archive::text(&mut archive, EXTRA)?))
}

/// Whether a file looks like a masked autoencoder: that alone has these two inputs.
pub(crate) fn is_masked(bytes: &[u8]) -> Result<bool, ModelError> {
    let mut archive = archive::open(bytes)?;
    let config =
        archive::text(&mut archive, CONFIG)?.ok_or(ModelError::MissingEntry { entry: CONFIG })?;
    let model: serde_json::Value = serde_json::from_str(&config)
        .map_err(|source| ModelError::Text { entry: CONFIG, source: source.into() })?;
    let inputs = &model["config"]["input_layers"];
    Ok(inputs[0][0] == "history" && inputs[1][0] == "visible")
}

/// The bytes of a file of the same layout without a network: the entry `oddns.json` with the text
/// `extra` alone. Keras does not open it. An `extra` above 64 MiB is an error.
pub fn encode_extra(extra: &str) -> Result<Vec<u8>, ModelError> {
    archive::write(&[(EXTRA, extra.as_bytes())])
}

/// The entry `oddns.json` of a file with or without a network; `None` where there is none. Any bytes
/// are fine as input, as in [`decode`].
pub fn decode_extra(bytes: &[u8]) -> Result<Option<String>, ModelError> {
    archive::text(&mut archive::open(bytes)?, EXTRA)
}

/// The bytes of a model file with one more entry called `name`, of which Keras knows nothing. The
/// name must not be there yet; above 64 MiB is an error, and so are bytes that are no such file.
pub fn attach(bytes: Vec<u8>, name: &str, content: &[u8]) -> Result<Vec<u8>, ModelError> {
    archive::append(bytes, name, content)
}

/// What [`attach`] added to a file; `None` where it is not there. Any bytes are fine as input, as in
/// [`decode`].
pub fn attached(bytes: &[u8], name: &str) -> Result<Option<Vec<u8>>, ModelError> {
    archive::entry(&mut archive::open(bytes)?, name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn saved_is_loaded_to_the_bit() {
        let small = Config {
            n_features: 3,
            channels: 5,
            kernel: 2,
            dilations: vec![1],
            bottleneck: 2,
            decoder: vec![],
            linear: false,
        };
        for config in [Config::recipe(7), small] {
            let network = Network::new(config, 3).unwrap();
            let bytes = encode(&network, "{\"a\":1}").unwrap();
            assert_eq!(bytes, encode(&network, "{\"a\":1}").unwrap(), "the same bytes every time");
            assert_eq!(decode(&bytes).unwrap(), (network, Some("{\"a\":1}".to_owned())));
        }
    }

    #[test]
    fn the_entry_stands_for_itself() {
        let alone = encode_extra("{}").unwrap();
        assert_eq!(decode_extra(&alone).unwrap().as_deref(), Some("{}"));
        assert!(matches!(decode(&alone), Err(ModelError::MissingEntry { .. })));
        let network = Network::new(Config::recipe(2), 3).unwrap();
        let both = encode(&network, "{}").unwrap();
        assert_eq!(decode_extra(&both).unwrap().as_deref(), Some("{}"));
        assert!(decode_extra(b"PK").is_err());
    }

    #[test]
    fn what_is_attached_is_found_and_the_network_stays() {
        let network = Network::new(Config::recipe(2), 3).unwrap();
        let bytes = attach(encode(&network, "{}").unwrap(), "own.bin", &[1, 2]).unwrap();
        assert_eq!(attached(&bytes, "own.bin").unwrap(), Some(vec![1, 2]));
        assert_eq!(attached(&bytes, "other.bin").unwrap(), None);
        assert_eq!(decode(&bytes).unwrap().0, network);
        assert!(attach(b"no zip".to_vec(), "own.bin", &[]).is_err());
    }

    #[test]
    fn a_weight_that_is_no_number_is_named() {
        let mut network = Network::new(Config::recipe(2), 3).unwrap();
        let bias = network.layers.stack[0].bias_offset();
        network.parameters[bias] = f32::NAN;
        let error = decode(&encode(&network, "").unwrap()).unwrap_err();
        assert!(error.to_string().contains("`layers/conv1d_2/vars/1` hold `NaN`"), "{error}");
    }
}
