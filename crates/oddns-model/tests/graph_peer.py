"""Real Keras beside our engine, for many models in one process.

Usage: graph_peer.py FOLDER
For each NAME.ours.keras: loads it, predicts from NAME.<i>.f32, writes NAME.prediction.f32 and
saves NAME.theirs.keras. Then trains some of them, makes models of its own (made-*.keras with
inputs and predictions) and models that must be refused (refused-*.keras).
"""

import json
import os
import pathlib
import sys

# Compiling takes longer than anything else here, and what it gains is not needed.
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"

import jax
import keras
import numpy
from keras import layers

folder = pathlib.Path(sys.argv[1])
rng = numpy.random.default_rng(5)


def predict(models, inputs):
    """All in one go: one compilation instead of one for each model or operation."""
    names = list(models)

    def all_of_them(inputs):
        call = lambda model, x: model(x if len(x) > 1 else x[0], training=False)
        return [jax.tree.leaves(call(models[name], inputs[name])) for name in names]

    for name, predictions in zip(names, jax.jit(all_of_them)(inputs)):
        flat = [numpy.asarray(prediction, "<f4").ravel() for prediction in predictions]
        numpy.concatenate(flat).tofile(folder / f"{name}.prediction.f32")


def read(name, shape):
    return numpy.fromfile(folder / name, "<f4").reshape(shape)


models, all_inputs = {}, {}
for path in sorted(folder.glob("*.ours.keras")):
    name = path.name.removesuffix(".ours.keras")
    model = keras.models.load_model(path)
    inputs = [
        read(f"{name}.{i}.f32", (-1, *tensor.shape[1:])) for i, tensor in enumerate(model.inputs)
    ]
    models[name], all_inputs[name] = model, inputs
    model.save(folder / f"{name}.theirs.keras")
predict(models, all_inputs)

for line in (folder / "training.txt").read_text().splitlines():
    name, optimiser, loss, rate, steps = line.split()
    model = keras.models.load_model(folder / f"{name}.ours.keras")
    inputs = [
        read(f"{name}.{i}.f32", (-1, *tensor.shape[1:])) for i, tensor in enumerate(model.inputs)
    ]
    target = read(f"{name}.target.f32", (-1, *model.outputs[0].shape[1:]))
    optimisers = {
        "adam": keras.optimizers.Adam(float(rate)),
        "adamw": keras.optimizers.AdamW(float(rate), weight_decay=0.004),
    }
    model.compile(optimisers[optimiser], {"huber": keras.losses.Huber()}.get(loss, loss))
    for _ in range(int(steps)):
        model.train_on_batch(inputs if len(inputs) > 1 else inputs[0], target)
    model.save(folder / f"{name}.trained.keras")


def functional(shape, body):
    tensor = keras.Input(shape)
    return keras.Model(tensor, body(tensor))


def skips(x):
    a = layers.Conv1D(6, 3, padding="same", activation="relu")(x)
    b = layers.Conv1D(6, 5, padding="same", activation=layers.LeakyReLU(0.1))(a)
    c = layers.Add()([a, b]) + a
    d = layers.Concatenate()([c, layers.MaxPooling1D(3, strides=1, padding="same")(x)])
    e = keras.ops.gelu(d, approximate=True)
    return layers.Dense(2)(layers.GlobalMaxPooling1D()(layers.LayerNormalization()(e)))


def image(x):
    x = layers.ZeroPadding2D(((0, 1), (2, 0)))(x)
    x = layers.Conv2D(4, (3, 2), strides=(2, 1), padding="same", activation="elu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.AveragePooling2D((2, 2), padding="same")(x)
    x = layers.UpSampling2D((2, 3))(x)
    x = layers.Conv2DTranspose(3, (3, 3), strides=(2, 2), padding="same")(x)
    x = layers.Cropping2D(((1, 0), (0, 2)))(x)
    return layers.ReLU(negative_slope=0.05)(x)


def line(x):
    x = layers.Conv1D(8, 4, strides=2, padding="causal", use_bias=False)(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.Activation("silu")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(5, activation="softplus", name="latent")(x)
    x = layers.RepeatVector(10)(x)
    x = layers.Conv1DTranspose(4, 5, strides=2, padding="same", activation="tanh")(x)
    return layers.Reshape((-1, 8))(layers.ELU(0.7)(layers.Softmax()(x)))


made = {
    "skips": functional((12, 3), skips),
    "image": functional((7, 6, 2), image),
    "line": functional((20, 3), line),
    "free": functional((None, 3), lambda x: layers.Conv1D(4, 3, padding="causal")(x)),
    "sequential": keras.Sequential([
        layers.Input((6,)), layers.Dense(4, activation="sigmoid"), layers.Dropout(0.4),
        layers.Dense(3, activation="softmax"),
    ]),
    "unbuilt": keras.Sequential([
        layers.Conv1D(4, 3, activation="gelu"), layers.AveragePooling1D(2), layers.Flatten(),
    ]),
}
made["unbuilt"].build((None, 9, 2))
shapes, values_of = {}, {}
for name, model in made.items():
    for variable in model.variables:
        noise = rng.normal(size=variable.shape).astype("f4")
        positive = "variance" in variable.path
        variable.assign(numpy.abs(noise) + 0.1 if positive else 0.5 * noise)
    shape = [4] + [size or 11 for size in model.inputs[0].shape[1:]]
    values = rng.normal(size=shape).astype("<f4")
    values.tofile(folder / f"made-{name}.0.f32")
    values_of[name] = [values]
    model.compile("adam", "mse")
    model.save(folder / f"made-{name}.keras")
    shapes[f"made-{name}"] = shape
predict({f"made-{n}": m for n, m in made.items()}, {f"made-{n}": v for n, v in values_of.items()})
(folder / "made.json").write_text(json.dumps(shapes))

dense = layers.Dense(3)
inner = keras.Sequential([layers.Input((3,)), layers.Dense(3)])
keras.config.enable_unsafe_deserialization()
refused = {
    "lambda": functional((3,), lambda x: layers.Lambda(lambda t: t * 2)(x)),
    "lstm": functional((5, 3), lambda x: layers.LSTM(2)(x)),
    "nested": functional((3,), lambda x: inner(x)),
    "shared": functional((3,), lambda x: dense(dense(x))),
    "times": functional((3,), lambda x: x * 2.0),
    "groups": functional((5, 4), lambda x: layers.Conv1D(4, 2, groups=2)(x)),
    "half": functional((3,), lambda x: layers.Dense(2, dtype="mixed_float16")(x)),
    "relu6": functional((3,), lambda x: layers.ReLU(max_value=6.0)(x)),
    "mish": functional((3,), lambda x: layers.Dense(2, activation="mish")(x)),
    "axis": functional((5, 4), lambda x: layers.BatchNormalization(axis=1)(x)),
    "training": functional((4,), lambda x: layers.Dropout(0.5)(x, training=True)),
}
for name, model in refused.items():
    model.save(folder / f"refused-{name}.keras")

