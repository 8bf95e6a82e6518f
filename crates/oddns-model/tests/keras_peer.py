"""Loads ours.keras with the real Keras, predicts, and saves the model again.

Usage: keras_peer.py FOLDER N_FEATURES
Reads history.f32 and visible.f32, writes prediction.f32 and theirs.keras.
"""

import pathlib
import sys

import keras
import numpy

folder, n_features = pathlib.Path(sys.argv[1]), int(sys.argv[2])
model = keras.models.load_model(folder / "ours.keras")
assert [tensor.name for tensor in model.inputs] == ["history", "visible"], model.inputs
history = numpy.fromfile(folder / "history.f32", "<f4").reshape(1, -1, n_features)
visible = numpy.fromfile(folder / "visible.f32", "<f4").reshape(1, -1, 2 * n_features)
prediction = model.predict({"history": history, "visible": visible}, verbose=0)
prediction.astype("<f4").tofile(folder / "prediction.f32")
model.save(folder / "theirs.keras")
