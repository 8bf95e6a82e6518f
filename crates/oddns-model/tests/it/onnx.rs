//! Networks as ONNX, and back. What the real onnxruntime makes of them is tested with the Python
//! package.

use oddns_model::graph::{
    Activation, Convolution, Graph, GraphBuilder, Layer, NodeId, Padding, Pool, Tensor,
};
use oddns_model::{
    Model, Reconstruction, ReconstructionConfig, decode_onnx, encode_onnx, encode_plain,
};
use proptest::prelude::*;

const ACTIVATIONS: [Activation; 11] = [
    Activation::Linear,
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.1 },
    Activation::Elu { alpha: 0.7 },
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Softplus,
    Activation::Silu,
    Activation::Softmax,
];

/// Layers one on top of the other, on windows of 12 rows of 3 features.
fn stacked(layers: Vec<Layer>) -> Option<Graph> {
    let mut builder = GraphBuilder::new("stacked");
    let shape = vec![Some(12), Some(3)];
    let input = builder.add("window", Layer::Input { shape }, &[]).unwrap();
    let mut at = input;
    for (n, layer) in layers.into_iter().enumerate() {
        // A crop of nothing left, and the like.
        at = builder.add(&format!("layer_{n}"), layer, &[at]).ok()?;
    }
    builder.finish(&[input], &[at], 3).ok()
}

fn predicted(graph: &Graph) -> Vec<f32> {
    let values = (0..2 * 36).map(|i| (i as f32 * 0.7).sin()).collect();
    let input = Tensor::new(vec![2, 12, 3], values).unwrap();
    graph.predict(&[input], 2).unwrap()[0].values().to_vec()
}

fn assert_comes_back(graph: &Graph) {
    let back = decode_onnx(&encode_onnx(graph)).unwrap();
    for (ours, back) in predicted(graph).iter().zip(predicted(&back)) {
        assert!((ours - back).abs() <= 1e-5 * ours.abs().max(1.0), "{ours} {back}");
    }
    // And the network that came back is one that Keras takes.
    encode_plain(&back).unwrap();
}

fn any_layer() -> impl Strategy<Value = Layer> {
    let padding = prop_oneof![Just(Padding::Valid), Just(Padding::Same), Just(Padding::Causal)];
    let convolution = (1..5_usize, 1..4_usize, 1..3_usize, 1..3_usize, padding, any::<bool>());
    let convolution =
        convolution.prop_map(|(filters, kernel, stride, dilation, padding, transposed)| {
            Layer::Convolution(Convolution {
                strides: vec![stride],
                dilation: vec![if stride == 1 { dilation } else { 1 }],
                padding: if transposed && padding == Padding::Causal {
                    Padding::Same
                } else {
                    padding
                },
                activation: Activation::Relu,
                transposed,
                ..Convolution::new(filters, &[kernel])
            })
        });
    let kind = prop_oneof![Just(Pool::Max), Just(Pool::Average)];
    let pooling = (kind, 1..4_usize, any::<bool>()).prop_map(|(kind, size, same)| Layer::Pooling {
        kind,
        size: vec![size],
        strides: vec![2],
        padding: if same { Padding::Same } else { Padding::Valid },
    });
    prop_oneof![
        4 => convolution,
        1 => pooling,
        1 => (0..11_usize).prop_map(|at| Layer::Activation(ACTIVATIONS[at])),
        1 => (1..5_usize, any::<bool>()).prop_map(|(units, bias)| Layer::Dense {
            units,
            bias,
            activation: Activation::Tanh
        }),
        1 => Just(Layer::BatchNormalization { momentum: 0.9, epsilon: 1e-3, center: true, scale: true }),
        1 => Just(Layer::LayerNormalization { epsilon: 1e-3, center: true, scale: true }),
        1 => Just(Layer::Dropout { rate: 0.5 }),
        1 => (1..4_usize).prop_map(|size| Layer::UpSampling { size: vec![size] }),
        1 => (0..3_usize, 0..3_usize).prop_map(|amount| Layer::ZeroPadding { amounts: vec![amount] }),
        1 => (0..3_usize, 0..3_usize).prop_map(|amount| Layer::Cropping { amounts: vec![amount] }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_stack_of_layers_comes_back(layers in prop::collection::vec(any_layer(), 1..6)) {
        if let Some(graph) = stacked(layers) {
            assert_comes_back(&graph);
        }
    }

    #[test]
    fn damaged_bytes_never_panic(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5), end in any::<prop::sample::Index>()) {
        let mut bytes = encode_onnx(Reconstruction::new(&small(), 1).unwrap().graph());
        for (place, byte) in places {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = decode_onnx(&bytes);
        let _ = decode_onnx(&bytes[..end.index(bytes.len())]);
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_onnx(&bytes);
    }
}

/// A file with one operation that reads nothing, for any version of the operations.
fn without_inputs(operation: &str) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let head = [number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        [&head[..], bytes].concat()
    };
    let node = [field(2, b"y"), field(4, operation.as_bytes())].concat();
    let version = [0x10, 17];
    [field(7, &field(1, &node)), field(8, &version)].concat()
}

#[test]
fn an_operation_without_its_inputs_is_refused() {
    for operation in ["Transpose", "Reshape", "Conv", "MatMul", "Add", "Relu", "Flatten", "MaxPool"]
    {
        let error = decode_onnx(&without_inputs(operation)).unwrap_err().to_string();
        assert!(!error.is_empty(), "{operation}: {error}");
    }
    let error = decode_onnx(&without_inputs("Transpose")).unwrap_err().to_string();
    assert!(error.contains("an input that it needs is missing"), "{error}");
}

fn small() -> ReconstructionConfig {
    let config = ReconstructionConfig::one_dimensional(3, 12);
    ReconstructionConfig { channels: vec![4, 5], latent: 2, ..config }
}

#[test]
fn autoencoders_come_back_as_autoencoders() {
    let image =
        ReconstructionConfig { channels: vec![3], ..ReconstructionConfig::two_dimensional(3, 12) };
    for config in [small(), image] {
        let network = Reconstruction::new(&config, 1).unwrap();
        assert_comes_back(network.graph());
        let back = decode_onnx(&encode_onnx(network.graph())).unwrap();
        let Model::Reconstruction(back) = Model::try_from(back).unwrap() else {
            panic!("a window")
        };
        assert_eq!((back.window(), back.latent_size()), (12, config.latent));
    }
}

#[test]
fn skips_and_several_outputs_come_back() {
    let mut builder = GraphBuilder::new("skips");
    let shape = vec![Some(12), Some(3)];
    let input = builder.add("window", Layer::Input { shape }, &[]).unwrap();
    let mut add = |name: &str, layer, read: &[NodeId]| builder.add(name, layer, read).unwrap();
    let one = add("one", Layer::Activation(Activation::Silu), &[input]);
    let sum = add("sum", Layer::Add, &[input, one, one]);
    let both = add("both", Layer::Concatenate { axis: 1 }, &[sum, one]);
    let pooled =
        add("pooled", Layer::GlobalPooling { kind: Pool::Max, axes: 1, keep: false }, &[both]);
    let flat = add("flat", Layer::Flatten, &[both]);
    let graph = builder.finish(&[input], &[flat, pooled], 1).unwrap();
    let back = decode_onnx(&encode_onnx(&graph)).unwrap();
    assert_eq!(predicted(&graph), predicted(&back));
    assert_eq!(back.outputs().len(), 2);
}

#[test]
fn the_same_network_gives_the_same_bytes() {
    let network = Reconstruction::new(&small(), 1).unwrap();
    assert_eq!(encode_onnx(network.graph()), encode_onnx(network.graph()));
}
