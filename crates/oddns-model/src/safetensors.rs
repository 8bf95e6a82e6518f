//! Weights alone, as safetensors: a length, a JSON header, and the numbers.

use serde_json::{Map, json};

use crate::graph::Graph;

/// The header is filled up with spaces to a multiple of this, so that the numbers are aligned.
const ALIGNMENT: usize = 8;

/// The bytes of a safetensors file with the weights of a network as `F32`, called by layer and place
/// in Keras's order (`encoder_1/0` is the kernel, `encoder_1/1` the bias). The same network gives the
/// same bytes.
pub fn encode_safetensors(graph: &Graph) -> Vec<u8> {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "keras", "producer": "oddns"}));
    let mut numbers: Vec<u8> = Vec::new();
    for (at, node) in graph.nodes().iter().enumerate() {
        for (place, (shape, values)) in graph.weights(at).into_iter().enumerate() {
            let from = numbers.len();
            numbers.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            let entry =
                json!({"dtype": "F32", "shape": shape, "data_offsets": [from, numbers.len()]});
            header.insert(format!("{}/{place}", node.name()), entry);
        }
    }
    let mut text = json!(header).to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(ALIGNMENT) - text.len()));
    [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &numbers].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reconstruction, ReconstructionConfig};

    #[test]
    fn header_tells_where_every_weight_lies() {
        let config = ReconstructionConfig::one_dimensional(3, 8);
        let network = Reconstruction::new(&config, 1).unwrap();
        let graph = network.graph();
        let bytes = encode_safetensors(graph);
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(length % ALIGNMENT, 0);
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        assert_eq!(bytes.len(), 8 + length + 4 * graph.n_parameters());
        let latent = graph.find("latent").unwrap();
        let (shape, values) = graph.weights(latent)[0];
        let entry = &header["latent/0"];
        assert_eq!(entry["shape"], json!(shape));
        let from = 8 + length + entry["data_offsets"][0].as_u64().unwrap() as usize;
        assert_eq!(bytes[from..from + 4], values[0].to_le_bytes());
    }
}
