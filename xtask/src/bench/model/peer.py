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

BATCH, LENGTH, STEPS, REACH = 20, 160, 20, 32
# Of the two branches, the stack, and the linear part.
KERNELS = [3, 1, 3, 3, 3, 1, 1, 1, 3]
DILATIONS = [1, 1, 2, 4, 8, 1, 1, 1, 1]
STACK = range(2, len(KERNELS) - 1)
LINEAR = len(KERNELS) - 1
# Of a reconstruction: rows, and windows in a step.
WINDOW, WINDOWS = 16, 64


def layers(model, names):
    """(weights as Keras has them, bias) of the layers of a model that are called so."""
    with zipfile.ZipFile(f"{FOLDER}/{model}.keras") as archive:
        data = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(data) as file:
        found = [file[f"layers/{name}/vars"] for name in names]
        return [(layer["0"][:], layer["1"][:]) for layer in found]


def numbered(name, count):
    return [name] + [f"{name}_{at}" for at in range(1, count)]


def weights():
    """(kernel as tap × input × output, bias) of every convolution of the masked network."""
    return layers("model", numbered("conv1d", len(KERNELS)))


def sliding_windows():
    """The window of rows that ends with each row, from the first whole one on."""
    rows = np.lib.stride_tricks.sliding_window_view(load("values"), WINDOW, 0)
    return np.ascontiguousarray(rows.transpose(0, 2, 1))


def drawn_windows():
    random, windows = np.random.default_rng(1), sliding_windows()
    return [windows[random.integers(0, len(windows), WINDOWS)] for _ in range(STEPS)]


def check(name, windows, found):
    """That the last row of each window comes out as ours."""
    residuals = windows[:, -1] - np.asarray(found)[:, -1]
    worst = np.abs(residuals - load(name)[WINDOW - 1 :][: len(residuals)]).max()
    assert worst < 1e-3, f"{name} reconstructs something else: off by {worst}"


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


class Reconstructions:
    """The cases of `line.keras` and `image.keras`, by what a library does with either."""

    def fit_line(self):
        return self.fit("line")

    def fit_image(self):
        return self.fit("image")

    def score_line(self):
        return self.score("line")

    def score_image(self):
        return self.score("image")


class Torch(Reconstructions):
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
        # It is solved, not learned by steps.
        self.layers[LINEAR].requires_grad_(False)
        learned = [p for p in self.layers.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(learned, lr=2e-3)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, 2e-3, total_steps=steps)
        self.windows = sliding_windows()
        self.drawn = [torch.from_numpy(windows) for windows in drawn_windows()]
        self.networks, self.optimisers = {}, {}
        for name in ("line", "image"):
            network = torch_reconstruction(name)
            check(name, self.windows[:64], network(torch.from_numpy(self.windows[:64])).detach())
            self.networks[name] = network
            self.optimisers[name] = torch.optim.AdamW(network.parameters(), lr=2e-3)

    def forward(self, history, visible):
        functional = self.torch.nn.functional
        pad = lambda x, rows: functional.pad(x, (rows, 0))  # noqa: E731
        before = pad(history, 3)[:, :, :-1]
        joined = self.layers[0](before) + self.layers[1](visible)
        for at in STACK:
            reach = (KERNELS[at] - 1) * DILATIONS[at]
            joined = self.layers[at](pad(functional.gelu(joined), reach))
        return joined + self.layers[LINEAR](before)

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

    def fit(self, name):
        network, optimiser = self.networks[name], self.optimisers[name]
        for windows in self.drawn:
            optimiser.zero_grad(set_to_none=True)
            self.torch.nn.functional.mse_loss(network(windows), windows).backward()
            optimiser.step()
        return STEPS

    def score(self, name):
        with self.torch.inference_mode():
            for at in range(0, 4096, 256):
                self.networks[name](self.torch.from_numpy(self.windows[at : at + 256]))
        return 4096


def torch_reconstruction(name):
    """The network of `line.keras` or `image.keras`: windows × rows × features to the same."""
    import torch

    functional = torch.nn.functional
    axes, count = (1, 5) if name == "line" else (2, 3)
    convolution, transposed = (
        (functional.conv1d, functional.conv_transpose1d)
        if axes == 1
        else (functional.conv2d, functional.conv_transpose2d)
    )
    kind = f"conv{axes}d"
    names = numbered(kind, 2) + numbered("dense", 2) + numbered(f"{kind}_transpose", 2)
    parameters = torch.nn.ParameterList()
    # Channels come before taps here, and last there: convolutions have (…, in, out), their
    # transposes (…, out, in).
    for kernel, bias in layers(name, names):
        order = (kernel.ndim - 1, kernel.ndim - 2, *range(kernel.ndim - 2))
        parameters.append(torch.from_numpy(kernel.transpose(order).copy()))
        parameters.append(torch.from_numpy(bias))

    def narrow(x, at):
        pads = []
        for size in reversed(x.shape[2:]):
            total = max(((int(size) + 1) // 2 - 1) * 2 + count - int(size), 0)
            pads += [total // 2, total - total // 2]
        x = functional.pad(x, pads)
        return functional.gelu(convolution(x, parameters[2 * at], parameters[2 * at + 1], stride=2))

    def widen(x, at):
        sizes = [2 * int(size) for size in x.shape[2:]]
        x = transposed(x, parameters[2 * at], parameters[2 * at + 1], stride=2)
        start = (count - 2) // 2
        for axis, size in enumerate(sizes):
            x = x.narrow(2 + axis, start, size)
        return x

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.parameters_of_layers = parameters

        def forward(self, windows):
            x = windows.transpose(1, 2) if axes == 1 else windows[:, None]
            x = narrow(narrow(x, 0), 1)
            shape = x.shape[1:]
            # As Keras flattens: channels last.
            x = x.permute(0, *range(2, 2 + axes), 1).flatten(1)
            x = functional.linear(x, parameters[4], parameters[5])
            x = functional.gelu(functional.linear(x, parameters[6], parameters[7]))
            x = x.unflatten(1, (*shape[1:], shape[0])).permute(0, 1 + axes, *range(1, 1 + axes))
            x = widen(functional.gelu(widen(x, 4)), 5)
            # What halving and doubling added is at the old end.
            x = x[..., x.shape[-1] - windows.shape[-1 if axes == 2 else 1] :]
            return x.transpose(1, 2) if axes == 1 else x[:, 0]

    return Network()


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


class Keras(Reconstructions):
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
        # It is solved, not learned by steps.
        self.model.get_layer("linear").trainable = False
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
        self.windows = sliding_windows()
        self.drawn = [constant(windows) for windows in drawn_windows()]
        self.networks, self.calls = {}, {}
        for name in ("line", "image"):
            network = keras.models.load_model(f"{FOLDER}/{name}.keras")
            check(name, self.windows[:64], network(self.windows[:64]))
            optimiser = keras.optimizers.AdamW(2e-3, weight_decay=0.01)
            network.compile(optimizer=optimiser, loss="mse", jit_compile=False)
            self.networks[name] = network
            self.calls[name] = tensorflow.function(lambda x, n=network: n(x, training=False))

    def predict(self):
        return self.call({"history": self.history, "visible": self.hidden}).numpy()[0]

    def train(self):
        for x, visible, truth in self.batches:
            self.model.train_on_batch({"history": x, "visible": visible}, truth)
        return STEPS

    def dense(self):
        self.predict()
        return self.history.shape[1]

    def fit(self, name):
        for windows in self.drawn:
            self.networks[name].train_on_batch(windows, windows)
        return STEPS

    def score(self, name):
        for at in range(0, 4096, 256):
            self.calls[name](self.tensorflow.constant(self.windows[at : at + 256]))
        return 4096


class Onnxruntime(Reconstructions):
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
        self.slid = sliding_windows()
        self.sessions = {}
        for name in ("line", "image"):
            self.sessions[name] = exported(name)
            found = self.sessions[name].run(None, {"windows": self.slid[:64]})[0]
            check(name, self.slid[:64], found)

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

    def score(self, name):
        for at in range(0, 4096, 64):
            self.sessions[name].run(None, {"windows": self.slid[at : at + 64]})
        return 4096


def exported(name):
    """A reconstruction, as PyTorch exports it."""
    import torch

    target = io.BytesIO()
    torch.onnx.export(
        torch_reconstruction(name).eval(),
        torch.zeros(64, WINDOW, FEATURES),
        target,
        input_names=["windows"],
        opset_version=20,
        dynamo=False,
    )
    return run_time(target.getvalue())


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
    for at in STACK:
        nodes.append(helper.make_node("Gelu", [f"x{at}"], [f"gelu{at}"]))
        reach = (KERNELS[at] - 1) * DILATIONS[at] if causal else 0
        convolve(f"gelu{at}", at, f"x{at + 1}", DILATIONS[at], reach)
    if not causal:
        # Only the last row is asked for.
        for name, value in (("three", [-3]), ("all", [2**31 - 1]), ("axis", [2])):
            constants.append(numpy_helper.from_array(np.array(value, np.int64), name))
        nodes.append(helper.make_node("Slice", ["history", "three", "all", "axis"], ["latest"]))
        history = "latest"
    convolve(history, LINEAR, "linear", 1, 3 if causal else 0)
    nodes.append(helper.make_node("Add", [f"x{LINEAR}", "linear"], ["output"]))

    def table(name, channels):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, None])

    inputs = [table("history", FEATURES), table("visible", 2 * FEATURES)]
    outputs = [table("output", FEATURES)]
    return start(helper.make_graph(nodes, "masked", inputs, outputs, constants))


def start(graph):
    import onnx

    # What this release of onnx writes is too new for the runtime.
    opset = onnx.helper.make_opsetid("", 20)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    onnx.checker.check_model(model)
    return run_time(model.SerializeToString())


def run_time(model):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    return onnxruntime.InferenceSession(model, options)


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
