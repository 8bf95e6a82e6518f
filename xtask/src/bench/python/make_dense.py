"""Writes the network that PyOD's AutoEncoder is at its defaults as a `.keras` file.

    make_dense.py FOLDER
"""

import pathlib
import sys

import keras
import numpy
from keras import layers

folder = pathlib.Path(sys.argv[1])
width = numpy.load(folder / "normal.npy").shape[1]
model = keras.Sequential([keras.Input((width,))])
for units in (64, 32, 64):
    model.add(layers.Dense(units))
    model.add(layers.BatchNormalization())
    model.add(layers.ReLU())
    model.add(layers.Dropout(0.2))
model.add(layers.Dense(width))
model.save(folder / "dense.keras")
