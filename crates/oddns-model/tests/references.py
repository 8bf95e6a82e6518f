"""Makes golden/references.json: values and gradients of single layers by PyTorch and by Keras.

Run by hand when a layer is added; needs torch and keras (with jax) in one environment or in two:
    python references.py torch > part-torch.json
    KERAS_BACKEND=jax python references.py keras > part-keras.json
    python references.py join part-torch.json part-keras.json > golden/references.json
A case is a network `layer, flatten, dense of 1 without bias` with the loss mean((y - target)²).
Weights are in the order and the layout of Keras, whoever computed.
"""

import json
import sys

import numpy

rng = numpy.random.default_rng(11)
SAMPLES = 3


def draw(*shape):
    return numpy.round(rng.uniform(-1, 1, shape), 3).astype("f4")


# name, shape of a sample, shapes of the layer's weights, values of the layer's output
CASES = [
    ("conv1d_same_stride2", (9, 3), [(4, 3, 5), (5,)], 5 * 5),
    ("conv1d_causal_dilated", (9, 3), [(3, 3, 4), (4,)], 9 * 4),
    ("conv1d_transpose_same", (5, 3), [(3, 4, 3), (4,)], 10 * 4),
    ("conv2d_valid_stride2", (6, 7, 2), [(3, 2, 2, 4), (4,)], 2 * 3 * 4),
    ("conv2d_same", (4, 5, 2), [(3, 4, 2, 3), (3,)], 4 * 5 * 3),
    ("conv2d_transpose_valid", (3, 4, 2), [(2, 3, 3, 2), (3,)], 6 * 9 * 3),
    ("dense_gelu", (4,), [(4, 6), (6,)], 6),
    ("gelu_tanh", (7,), [], 7),
    ("silu", (7,), [], 7),
    ("softplus", (7,), [], 7),
    ("elu", (7,), [], 7),
    ("softmax", (3, 4), [], 12),
    ("layer_norm", (5, 4), [(4,), (4,)], 20),
    ("batch_norm", (5, 4), [(4,), (4,)], 20),
    ("max_pool", (9, 2), [], 4 * 2),
    ("average_pool_same", (9, 2), [], 5 * 2),
]


def inputs():
    for name, shape, weights, size in CASES:
        x, target = draw(SAMPLES, *shape), draw(SAMPLES, 1)
        yield name, x, [draw(*w) for w in weights] + [draw(size, 1)], target


def with_torch():
    import torch
    from torch.nn import functional as F

    def pad_same(x, kernel, stride):
        """Zeros as Keras pads, which torch does not when the stride is above 1."""
        pads = []
        for size, k, s in zip(x.shape[:1:-1], kernel[::-1], stride[::-1]):
            missing = max((-(-size // s) - 1) * s + k - size, 0)
            pads += [missing // 2, missing - missing // 2]
        return F.pad(x, pads)

    first = lambda x: x.movedim(-1, 1)  # channels first
    last = lambda x: x.movedim(1, -1)
    kernel = lambda w: w.movedim((-1, -2), (0, 1))  # (..., a, b) -> (b, a, ...)
    layers = {
        "conv1d_same_stride2": lambda x, w, b: last(
            F.conv1d(pad_same(first(x), (4,), (2,)), kernel(w), b, stride=2)
        ),
        "conv1d_causal_dilated": lambda x, w, b: last(
            F.conv1d(F.pad(first(x), (4, 0)), kernel(w), b, dilation=2)
        ),
        "conv1d_transpose_same": lambda x, w, b: last(
            F.conv_transpose1d(first(x), kernel(w), b, stride=2)[..., :10]
        ),
        "conv2d_valid_stride2": lambda x, w, b: last(F.conv2d(first(x), kernel(w), b, stride=2)),
        "conv2d_same": lambda x, w, b: last(
            F.conv2d(pad_same(first(x), (3, 4), (1, 1)), kernel(w), b)
        ),
        "conv2d_transpose_valid": lambda x, w, b: last(
            F.pad(F.conv_transpose2d(first(x), kernel(w), stride=2), (0, 0))
            + b[None, :, None, None]
        ),
        "dense_gelu": lambda x, w, b: F.gelu(x @ w + b),
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "silu": F.silu,
        "softplus": F.softplus,
        "elu": F.elu,
        "softmax": lambda x: F.softmax(x, -1),
        "layer_norm": lambda x, g, b: F.layer_norm(x, (4,), g, b, eps=1e-3),
        "batch_norm": lambda x, g, b: last(
            F.batch_norm(first(x), None, None, g, b, training=True, eps=1e-3)
        ),
        "max_pool": lambda x: last(F.max_pool1d(first(x), 3, stride=2)),
        "average_pool_same": lambda x: last(
            F.avg_pool1d(first(x), 3, stride=2, padding=1, count_include_pad=False)
        ),
    }
    for name, x, weights, target in inputs():
        tensors = [torch.tensor(w, requires_grad=True) for w in weights]
        moved = torch.tensor(x, requires_grad=True)
        output = layers[name](moved, *tensors[:-1])
        loss = ((output.reshape(SAMPLES, -1) @ tensors[-1] - torch.tensor(target)) ** 2).mean()
        loss.backward()
        yield case(name, x, weights, target, output.detach(), loss.item(),
                   [t.grad for t in tensors], moved.grad)


def with_keras():
    import jax
    import keras
    from keras import layers as L

    make = {
        "conv1d_same_stride2": L.Conv1D(5, 4, strides=2, padding="same"),
        "conv1d_causal_dilated": L.Conv1D(4, 3, padding="causal", dilation_rate=2),
        "conv1d_transpose_same": L.Conv1DTranspose(4, 3, strides=2, padding="same"),
        "conv2d_valid_stride2": L.Conv2D(4, (3, 2), strides=2),
        "conv2d_same": L.Conv2D(3, (3, 4), padding="same"),
        "conv2d_transpose_valid": L.Conv2DTranspose(3, (2, 3), strides=2),
        "dense_gelu": L.Dense(6, activation="gelu"),
        "gelu_tanh": lambda x: keras.ops.gelu(x, approximate=True),
        "silu": L.Activation("silu"),
        "softplus": L.Activation("softplus"),
        "elu": L.Activation("elu"),
        "softmax": L.Activation("softmax"),
        "layer_norm": L.LayerNormalization(),
        "batch_norm": L.BatchNormalization(),
        "max_pool": L.MaxPooling1D(3, strides=2),
        "average_pool_same": L.AveragePooling1D(3, strides=2, padding="same"),
    }
    for name, x, weights, target in inputs():
        layer = make[name]
        tensor = keras.Input(x.shape[1:])
        model = keras.Model(tensor, layer(tensor))
        still = [v.value for v in model.non_trainable_variables]

        def loss(weights, x):
            output, _ = model.stateless_call(weights[:-1], still, x, training=True)
            flat = output.reshape(SAMPLES, -1)
            return ((flat @ weights[-1] - target) ** 2).mean(), output

        (value, output), (by_weight, by_input) = jax.value_and_grad(loss, (0, 1), True)(weights, x)
        yield case(name, x, weights, target, output, float(value), by_weight, by_input)


def flat(values):
    return [float(f"{v:.8g}") for v in numpy.asarray(values).ravel()]


def case(name, x, weights, target, output, loss, gradients, by_input):
    return {
        "name": name,
        "shape": list(x.shape),
        "input": flat(x),
        "weights": [flat(w) for w in weights],
        "target": flat(target),
        "output": flat(output),
        "loss": loss,
        "gradients": [flat(g) for g in gradients],
        "input_gradient": flat(by_input),
    }


def dump(by):
    print("{" + ",\n".join(f'"{who}": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]"
                           for who, cases in by.items()) + "}")


if sys.argv[1] == "join":
    dump({k: v for path in sys.argv[2:] for k, v in json.load(open(path)).items()})
else:
    dump({sys.argv[1]: list(with_torch() if sys.argv[1] == "torch" else with_keras())})
