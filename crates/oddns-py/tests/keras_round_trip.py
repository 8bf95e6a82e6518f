"""Run by `test_keras.py` with a Python that has the real Keras: models there and back.

    python keras_round_trip.py FOLDER N

makes N random models of every supported layer, and takes each Keras → oddns → Keras; and takes the
models that FOLDER holds oddns → Keras → oddns. Prints the largest differences as JSON.
"""

import json
import pathlib
import random
import sys

import keras
import numpy
from keras import layers

import oddns

ACTIVATIONS = ["relu", "gelu", "tanh", "sigmoid", "elu", "silu", "softplus", "leaky_relu", None]


def one(rng, x):
    """Some layer on top of `x`, (time, channels) or (height, width, channels)."""
    axes = len(x.shape) - 2
    size = min(x.shape[1:-1])
    kernel = rng.randint(1, min(4, size))
    activation = rng.choice(ACTIVATIONS)
    padding = rng.choice(["valid", "same"])
    channels = rng.randint(1, 5)
    of = {1: "1D", 2: "2D"}[axes]
    made = {
        "conv": lambda: getattr(layers, "Conv" + of)(
            channels, kernel, padding=padding, activation=activation, use_bias=rng.random() < 0.8,
            **rng.choice([{}, {"strides": 2}, {"dilation_rate": 2 if kernel * 2 <= size else 1}]),
        ),
        "transpose": lambda: getattr(layers, f"Conv{of}Transpose")(
            channels, kernel, padding=padding, activation=activation, strides=rng.randint(1, 2)
        ),
        "up": lambda: getattr(layers, "UpSampling" + of)(2),
        "max": lambda: getattr(layers, "MaxPooling" + of)(min(2, size), padding=padding),
        "mean": lambda: getattr(layers, "AveragePooling" + of)(min(2, size), padding=padding),
        "pad": lambda: getattr(layers, "ZeroPadding" + of)(1),
        "crop": lambda: getattr(layers, "Cropping" + of)(1 if size > 2 else 0),
        "batch": lambda: layers.BatchNormalization(),
        "layer": lambda: layers.LayerNormalization(),
        "dropout": lambda: layers.Dropout(0.3),
        "dense": lambda: layers.Dense(channels, activation=activation),
        "activation": lambda: layers.Activation(activation or "softmax"),
        "leaky": lambda: rng.choice([layers.LeakyReLU(0.1), layers.ReLU(), layers.ELU(0.7), layers.Softmax()]),
    }
    if axes == 1:
        made["causal"] = lambda: layers.Conv1D(channels, kernel, padding="causal")
    return made[rng.choice(sorted(made))]()(x)


def random_model(seed):
    rng = random.Random(seed)
    keras.utils.set_random_seed(seed)
    shape = [rng.randint(4, 9) for _ in range(rng.randint(1, 2))] + [rng.randint(1, 4)]
    first = x = keras.Input(shape)
    for _ in range(rng.randint(2, 6)):
        if max(x.shape[1:-1]) > 40:
            break
        x = one(rng, x)
    if rng.random() < 0.4:
        x = rng.choice([layers.Add, layers.Concatenate])()([x, layers.Activation("tanh")(x)])
    end = rng.choice(["none", "flat", "pool", "latent"])
    if end == "pool":
        x = (layers.GlobalMaxPooling1D if len(shape) == 2 else layers.GlobalAveragePooling2D)()(x)
    elif end != "none":
        x = layers.Flatten()(x)
    if end == "latent":
        x = layers.RepeatVector(3)(layers.Dense(4)(x))
        x = layers.Reshape((4, 3))(x)
    model = keras.Model(first, x)
    weights = numpy.random.default_rng(seed)
    model.set_weights(
        [abs(weights.normal(size=w.shape)) * 0.5 + 0.1 if "variance" in v.path
         else weights.normal(size=w.shape) * 0.4
         for w, v in zip(model.get_weights(), model.weights)]
    )
    return model


def same_bits(one, other):
    return len(one) == len(other) and all(numpy.array_equal(a, b) for a, b in zip(one, other))


def there_and_back(model, folder):
    """Keras → oddns → Keras: differences of the outputs, and whether all weights are the same."""
    x = numpy.random.default_rng(1).normal(size=(3, *model.input_shape[1:])).astype("float32")
    theirs = numpy.asarray(model(x, training=False))
    network = oddns.Network.load(model)
    ours = network.predict(x)
    network.save(folder / "back.keras")
    again = keras.models.load_model(folder / "back.keras")
    back = numpy.asarray(again(x, training=False))
    scale = max(1.0, abs(theirs).max())
    return {
        "ours": float(abs(ours - theirs).max() / scale),
        "back": float(abs(back - theirs).max() / scale),
        "weights": same_bits(model.get_weights(), again.get_weights()),
    }


def of_ours(path, folder):
    """oddns → Keras → oddns, without and with training there."""
    ours = oddns.Network.load(path)
    model = keras.models.load_model(path)
    shapes = [[5, *[size or 40 for size in shape]] for shape in ours.native.input_shapes]
    inputs = [numpy.random.default_rng(2).normal(size=shape).astype("float32") for shape in shapes]
    theirs = numpy.asarray(model(inputs if len(inputs) > 1 else inputs[0], training=False))
    back = oddns.Network.load(model)
    found = {
        "name": path.stem,
        "ours": float(abs(ours.predict(*inputs) - theirs).max()),
        "weights": same_bits([w for _, w in ours.weights()], [w for _, w in back.weights()]),
    }
    model.compile("adam", "mse")
    x = inputs if len(inputs) > 1 else inputs[0]
    model.fit(x, theirs * 0.5, epochs=1, verbose=0)
    model.save(folder / f"{path.stem}.fitted.keras")
    return found


if __name__ == "__main__":
    folder, n_models = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    known = sorted(folder.glob("*.keras"))
    print(
        json.dumps(
            {
                "ours": [of_ours(path, folder) for path in known],
                "random": [there_and_back(random_model(seed), folder) for seed in range(n_models)],
            }
        )
    )
