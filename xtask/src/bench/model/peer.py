"""Times one library on the network that `stopwatch` wrote.

`peer.py LIBRARY THREADS FOLDER FEATURES` says `ready`, then answers each line `CASE` with the
seconds of one unit, as `stopwatch` does. Before that it predicts what `stopwatch` predicted, so
that what is timed is the same computation. Batches for training are made before the clock runs,
which ours makes while it runs.
"""

import io
import os
import sys
import time
import zipfile

LIBRARY, THREADS, FOLDER, FEATURES = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = str(THREADS)
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import h5py  # noqa: E402
import numpy as np  # noqa: E402

BATCH, LENGTH, STEPS, REACH, GROUPS = 20, 160, 20, 32, 4
KERNELS = [3, 1, 3, 3, 3, 1, 1, 1]
DILATIONS = [1, 1, 2, 4, 8, 1, 1, 1]


def weights():
    """(kernel as tap × input × output, bias) of every convolution, in order."""
    with zipfile.ZipFile(f"{FOLDER}/model.keras") as archive:
        data = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(data) as file:
        names = ["conv1d"] + [f"conv1d_{at}" for at in range(1, len(KERNELS))]
        layers = [file[f"layers/{name}/vars"] for name in names]
        return [(layer["0"][:], layer["1"][:]) for layer in layers]


def load(name):
    return np.fromfile(f"{FOLDER}/{name}.f32", dtype=np.float32).reshape(-1, FEATURES)


def batches():
    """Values, visible and what counts for the loss: half forecasts, half with 30 % hidden."""
    random, values = np.random.default_rng(1), load("values")
    made = []
    for _ in range(STEPS):
        starts = random.integers(0, len(values) - LENGTH, BATCH)
        x = np.stack([values[start : start + LENGTH] for start in starts])
        hidden = random.random(x.shape) < 0.3
        hidden[::2] = True
        shown = (~hidden).astype(np.float32)
        made.append((x, np.concatenate([x * shown, shown], -1), hidden.astype(np.float32)))
    return made


def channels_first(array):
    return np.ascontiguousarray(array.transpose(0, 2, 1))


class Torch:
    def __init__(self):
        import torch

        self.torch = torch
        torch.set_num_threads(THREADS)
        self.layers = torch.nn.ModuleList()
        for (kernel, bias), dilation in zip(weights(), DILATIONS):
            layer = torch.nn.Conv1d(kernel.shape[1], kernel.shape[2], kernel.shape[0], dilation=dilation)
            layer.weight.data = torch.from_numpy(kernel.transpose(2, 1, 0).copy())
            layer.bias.data = torch.from_numpy(bias)
            self.layers.append(layer)
        self.batches = [
            tuple(torch.from_numpy(channels_first(part)) for part in batch) for batch in batches()
        ]
        self.history = torch.from_numpy(channels_first(load("values")[None]))
        self.hidden = torch.zeros(1, 2 * FEATURES, self.history.shape[2])
        steps = 1_000_000
        self.optimiser = torch.optim.AdamW(self.layers.parameters(), lr=2e-3)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, 2e-3, total_steps=steps)

    def forward(self, history, visible):
        functional = self.torch.nn.functional
        pad = lambda x, rows: functional.pad(x, (rows, 0))  # noqa: E731
        joined = self.layers[0](pad(history, 3)[:, :, :-1]) + self.layers[1](visible)
        for layer, kernel, dilation in zip(self.layers[2:], KERNELS[2:], DILATIONS[2:]):
            joined = layer(pad(functional.gelu(joined), (kernel - 1) * dilation))
        return joined

    def predict(self):
        with self.torch.inference_mode():
            return self.forward(self.history, self.hidden)[0].T.numpy()

    def train(self):
        functional = self.torch.nn.functional
        for x, visible, counts in self.batches:
            self.optimiser.zero_grad(set_to_none=True)
            error = functional.huber_loss(self.forward(x, visible), x, reduction="none")
            ((error * counts).sum() / counts.sum()).backward()
            self.optimiser.step()
            self.schedule.step()
        return STEPS

    def dense(self):
        self.predict()
        return self.history.shape[2]


class Gemm:
    """The roof: the fastest matrix product there is here, onnxruntime's, on one core."""

    def __init__(self):
        from onnx import TensorProto, helper

        def square(name):
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, [512, 512])

        node = helper.make_node("MatMul", ["a", "b"], ["product"])
        inputs, outputs = [square("a"), square("b")], [square("product")]
        self.session = start(helper.make_graph([node], "roof", inputs, outputs))
        self.factor = np.ones((512, 512), np.float32)

    def predict(self):
        return load("forecast")

    def roof(self):
        """The unit is one operation."""
        for _ in range(20):
            self.session.run(None, {"a": self.factor, "b": self.factor})
        return 20 * 2 * 512**3


class Keras:
    def __init__(self):
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(THREADS)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        import keras

        def loss(truth, predicted):
            values, counts = truth[..., :FEATURES], truth[..., FEATURES:]
            error = keras.ops.abs(values - predicted)
            huber = keras.ops.where(error <= 1, 0.5 * error * error, error - 0.5)
            return keras.ops.sum(huber * counts) / keras.ops.sum(counts)

        self.tensorflow = tensorflow
        self.model = keras.models.load_model(f"{FOLDER}/model.keras")
        # Without XLA, which is slower here.
        optimiser = keras.optimizers.AdamW(2e-3, weight_decay=0.01)
        self.model.compile(optimizer=optimiser, loss=loss, jit_compile=False)
        constant = tensorflow.constant
        self.batches = [
            (constant(x), constant(visible), constant(np.concatenate([x, counts], -1)))
            for x, visible, counts in batches()
        ]
        self.history = load("values")[None]
        self.hidden = np.zeros((1, self.history.shape[1], 2 * FEATURES), np.float32)
        self.call = tensorflow.function(lambda inputs: self.model(inputs, training=False))

    def predict(self):
        return self.call({"history": self.history, "visible": self.hidden}).numpy()[0]

    def train(self):
        for x, visible, truth in self.batches:
            self.model.train_on_batch({"history": x, "visible": visible}, truth)
        return STEPS

    def dense(self):
        self.predict()
        return self.history.shape[1]


class Onnxruntime:
    def __init__(self):
        values = load("values")
        self.dense_session = session(causal=True)
        self.window_session = session(causal=False)
        self.history = channels_first(values[None])
        self.hidden = np.zeros((1, 2 * FEATURES, values.shape[0]), np.float32)
        # The row itself is not in the history of its window.
        windows = np.lib.stride_tricks.sliding_window_view(values, REACH, 0)[:1024]
        self.windows = np.ascontiguousarray(windows[:, :, :-1])
        self.nothing = np.zeros((64, 2 * FEATURES, REACH - 3), np.float32)
        self.passes = np.zeros((len(self.windows), 1 + GROUPS, 2 * FEATURES, REACH - 3), np.float32)
        for group in range(GROUPS):
            shown = (np.arange(FEATURES) % GROUPS != group).astype(np.float32)[:, None]
            self.passes[:, 1 + group, :FEATURES] = windows[:, :, 3:] * shown
            self.passes[:, 1 + group, FEATURES:] = shown

    def predict(self):
        inputs = {"history": self.history, "visible": self.hidden}
        dense = self.dense_session.run(None, inputs)[0][0].T
        inputs = {"history": self.windows[:64], "visible": self.nothing}
        last = self.window_session.run(None, inputs)[0][:, :, 0]
        assert np.abs(last - dense[REACH - 1 : REACH + 63]).max() < 1e-4
        return dense

    def sliding(self, size):
        visible = self.nothing[:size]
        for at in range(0, len(self.windows), size):
            inputs = {"history": self.windows[at : at + size], "visible": visible}
            self.window_session.run(None, inputs)
        return len(self.windows)

    def window(self):
        return self.sliding(1)

    def batch(self):
        return self.sliding(64)

    def dense(self):
        self.dense_session.run(None, {"history": self.history, "visible": self.hidden})
        return self.history.shape[2]

    def live(self):
        """Forecast and completions of one row: the passes are a batch."""
        for window, visible in zip(self.windows, self.passes):
            history = np.broadcast_to(window, (1 + GROUPS, *window.shape))
            inputs = {"history": np.ascontiguousarray(history), "visible": visible}
            self.window_session.run(None, inputs)
        return len(self.windows)


def session(causal):
    """The network over channels × rows; not causal, it gives the last row of a window alone."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants = [], []

    def convolve(source, at, target, dilation, pads):
        kernel, bias = weights()[at]
        constants.append(numpy_helper.from_array(kernel.transpose(2, 1, 0).copy(), f"w{at}"))
        constants.append(numpy_helper.from_array(bias, f"b{at}"))
        names, options = [source, f"w{at}", f"b{at}"], {"dilations": [dilation], "pads": [pads, 0]}
        nodes.append(helper.make_node("Conv", names, [target], **options))

    history = "history"
    if causal:
        for name, value in (("start", [0]), ("end", [-1]), ("axis", [2])):
            constants.append(numpy_helper.from_array(np.array(value, np.int64), name))
        nodes.append(helper.make_node("Slice", ["history", "start", "end", "axis"], ["before"]))
        history = "before"
    convolve(history, 0, "from_history", 1, 3 if causal else 0)
    convolve("visible", 1, "from_visible", 1, 0)
    nodes.append(helper.make_node("Add", ["from_history", "from_visible"], ["x2"]))
    for at in range(2, len(KERNELS)):
        nodes.append(helper.make_node("Gelu", [f"x{at}"], [f"gelu{at}"]))
        reach = (KERNELS[at] - 1) * DILATIONS[at] if causal else 0
        convolve(f"gelu{at}", at, f"x{at + 1}", DILATIONS[at], reach)

    def table(name, channels):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, None])

    inputs = [table("history", FEATURES), table("visible", 2 * FEATURES)]
    outputs = [table(f"x{len(KERNELS)}", FEATURES)]
    return start(helper.make_graph(nodes, "masked", inputs, outputs, constants))


def start(graph):
    import onnx
    import onnxruntime

    # What this release of onnx writes is too new for the runtime.
    opset = onnx.helper.make_opsetid("", 20)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def main():
    peers = {"PyTorch": Torch, "Keras": Keras, "onnxruntime": Onnxruntime, "GEMM": Gemm}
    peer = peers[LIBRARY]()
    worst = np.abs(peer.predict() - load("forecast")).max()
    assert worst < 1e-4, f"predicts something else: off by {worst}"
    print("ready", flush=True)
    for line in sys.stdin:
        case = getattr(peer, line.strip())
        begin = time.perf_counter()
        units = case()
        print((time.perf_counter() - begin) / units, flush=True)


main()
