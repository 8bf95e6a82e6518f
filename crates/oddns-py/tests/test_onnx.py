"""ONNX by the real onnx and onnxruntime."""

import numpy
import pytest

from oddns import Detector, ModelError, Network

from conftest import waves

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def session(content):
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def windows(rows, size):
    return numpy.stack([rows[at : at + size] for at in range(0, len(rows) - size, 7)])


def gaps(rows):
    rows = rows.copy()
    rng = numpy.random.default_rng(2)
    rows[rng.random(rows.shape) < 0.2] = numpy.nan
    rows[100:120, 0] = numpy.nan
    return rows


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"kind": "masked_without_network"},
        {"kind": "1d"},
        {"kind": "2d"},
        {"layers": [16, 8], "kernel": 3, "latent": 4, "window": 13},
        {"kind": "2d", "layers": [4, 4, 4], "window": 9},
    ],
)
def test_raw_rows_give_the_score(parameters, broken):
    detector = Detector(epochs=1, **parameters).fit(gaps(waves(400)))
    run = session(detector.model_.onnx())
    assert [(one.name, one.shape[1:]) for one in run.get_inputs()] == [
        ("window", [detector.model_.window_rows, 3])
    ]
    for rows in (broken, gaps(broken)):
        batch = windows(rows, detector.model_.window_rows).astype(numpy.float32)
        [scores] = run.run(["score"], {"window": batch})
        ours = numpy.array([detector.score_window(one) for one in batch])
        assert scores.shape == (len(batch),)
        assert numpy.allclose(scores, ours, rtol=1e-5, atol=1e-5), abs(scores - ours).max()
        assert ours.max() > 1


@pytest.mark.parametrize("kind", ["masked", "masked_without_network", "1d"])
def test_frozen_is_what_streams_say_right_after_training(normal, kind):
    detector = Detector(kind=kind, epochs=1).fit(normal)
    size = detector.model_.window_rows
    streamed = detector.score(normal)
    frozen = [detector.score_window(normal[at + 1 - size : at + 1]) for at in range(480, 500)]
    assert numpy.allclose(streamed[480:], frozen, rtol=0.1)


def test_a_window_of_the_default_kind_shows_a_fault_as_the_stream_does(normal, broken):
    """All that is frozen moves by days; what is left out of a window is little of a level."""
    detector = Detector(epochs=2).fit(normal)
    size = detector.model_.window_rows
    assert size == 65
    at = range(size, 400, 5)
    frozen = numpy.array([detector.score_window(broken[end - size : end]) for end in at])
    streamed = detector.score(broken)[numpy.array(at) - 1]
    assert numpy.allclose(frozen, streamed, rtol=0.03)
    assert frozen.max() > 3 and frozen.min() < 0.7


def test_a_feature_that_vanishes_and_a_table_of_several_blocks():
    """More columns than are looked at together, of which some are gone at the end."""
    rows = numpy.random.default_rng(3).normal(size=(400, 90)).cumsum(axis=1)
    detector = Detector(epochs=1).fit(rows)
    batch = windows(rows, 65).astype(numpy.float32)
    batch[:, 40:, 3] = batch[:, :, 70] = numpy.nan
    # A graph cannot refuse an infinity: it takes it for missing.
    batch[:, 60, 5] = numpy.inf
    [scores] = session(detector.model_.onnx()).run(["score"], {"window": batch})
    batch[:, 60, 5] = numpy.nan
    ours = numpy.array([detector.score_window(one) for one in batch])
    assert numpy.allclose(scores, ours, rtol=1e-5, atol=1e-5), abs(scores - ours).max()


def test_a_detector_without_windows_says_so(normal):
    detector = Detector(kind="static_pca").fit(normal)
    with pytest.raises(ModelError, match="take `masked`"):
        detector.model_.onnx()


@pytest.mark.parametrize("kind", ["masked", "1d"])
def test_a_detector_of_coredns_columns_takes_logarithms(kind):
    from test_tables import BUNDLED

    import oddns

    if not (BUNDLED / "coredns-normal").is_dir():
        pytest.skip("the bundled recording is not there")
    detector = Detector(kind=kind, epochs=1).fit(BUNDLED / "coredns-normal")
    run = session(detector.model_.onnx())
    [frame, *_] = oddns.read(BUNDLED / "coredns-faults")
    batch = windows(frame.values(), detector.model_.window_rows)
    [scores] = run.run(["score"], {"window": batch})
    ours = numpy.array([detector.score_window(one) for one in batch])
    assert numpy.allclose(scores, ours, rtol=1e-5, atol=1e-5), abs(scores - ours).max()


def test_a_network_comes_back_from_onnx(tmp_path, plain):
    for network in (plain.network, Network.autoencoder(5, images=True, window=10, layers=[3, 4])):
        network.export_onnx(tmp_path / "m.onnx")
        back = Network.load(tmp_path / "m.onnx")
        shape = [6, *network.native.input_shapes[0]]
        x = numpy.random.default_rng(0).normal(size=shape).astype(numpy.float32)
        [theirs] = session((tmp_path / "m.onnx").read_bytes()).run(None, {"window": x})
        assert numpy.allclose(network.predict(x), theirs, atol=1e-5)
        assert numpy.array_equal(back.predict(x), network.predict(x))
        back.save(tmp_path / "m.keras")
        assert numpy.array_equal(Network.load(tmp_path / "m.keras").predict(x), network.predict(x))


def helper_model(nodes, weights, inputs, outputs):
    from onnx import TensorProto, helper, numpy_helper

    def info(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "theirs",
        [info(*one) for one in inputs],
        [info(*one) for one in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def test_a_network_with_channels_first_is_read_and_retrained(tmp_path, normal):
    """As PyTorch exports a convolutional autoencoder with a dense middle."""
    from onnx import helper

    rng = numpy.random.default_rng(4)

    def weight(*shape):
        return (rng.normal(size=shape) / 3).astype(numpy.float32)

    weights = {
        "w1": weight(6, 3, 5), "b1": weight(6), "w2": weight(4, 6 * 8), "b2": weight(4),
        "w3": weight(6 * 8, 4), "b3": weight(6 * 8), "w4": weight(6, 3, 4), "b4": weight(3),
        "shape": numpy.array([-1, 6, 8], dtype=numpy.int64), "gamma": weight(6) + 1,
        "beta": weight(6), "mean": weight(6), "variance": abs(weight(6)) + 0.5,
        "half": numpy.array(0.5, dtype=numpy.float32), "one": numpy.array(1, dtype=numpy.float32),
        "root": numpy.array(2**0.5, dtype=numpy.float32),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c"], pads=[2, 2], strides=[2], kernel_shape=[5]),
        node("BatchNormalization", ["c", "gamma", "beta", "mean", "variance"], ["n"]),
        node("Div", ["n", "root"], ["d"]), node("Erf", ["d"], ["e"]),
        node("Add", ["e", "one"], ["p"]), node("Mul", ["n", "p"], ["q"]),
        node("Mul", ["q", "half"], ["g"]),
        node("Flatten", ["g"], ["f"]), node("Gemm", ["f", "w2", "b2"], ["z"], transB=1),
        node("Gemm", ["z", "w3", "b3"], ["u"], transB=1), node("Relu", ["u"], ["r"]),
        node("Reshape", ["r", "shape"], ["s"]),
        node("ConvTranspose", ["s", "w4", "b4"], ["y"], strides=[2], pads=[1, 1], kernel_shape=[4]),
    ]
    content = helper_model(nodes, weights, [("x", [None, 3, 16])], [("y", [None, 3, 16])])
    x = rng.normal(size=(5, 3, 16)).astype(numpy.float32)
    [theirs] = session(content).run(None, {"x": x})
    network = Network.load(content)
    ours = network.predict(x.transpose(0, 2, 1)).transpose(0, 2, 1)
    assert numpy.allclose(ours, theirs, atol=1e-5), abs(ours - theirs).max()
    (tmp_path / "m.onnx").write_bytes(content)
    detector = Detector(model=tmp_path / "m.onnx", epochs=1).fit(normal)
    assert numpy.isfinite(detector.score(normal)).all()


@pytest.mark.parametrize(
    "nodes, message",
    [
        ([("LSTM", ["x"], ["y"])], "operation `` of type `LSTM`: this operation is not supported"),
        ([("Mul", ["x", "x"], ["y"])], "only sums are supported"),
        ([("Conv", ["x", "no"], ["y"])], "its input 1 is no weight of the file"),
        ([("Relu", ["z"], ["y"])], "it reads `z`, which is not there"),
    ],
)
def test_what_is_not_supported_is_named(nodes, message):
    from onnx import helper

    made = [helper.make_node(*one) for one in nodes]
    content = helper_model(made, {}, [("x", [None, 3, 16])], [("y", [None, 3, 16])])
    with pytest.raises(ModelError, match=message):
        Network.load(content)
