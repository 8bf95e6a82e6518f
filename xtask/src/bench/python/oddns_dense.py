"""The network, epochs and batches of `pyod_autoencoder`, with the engine of oddns."""

import pathlib

import numpy
from oddns import Network

FILE = pathlib.Path(__file__).with_name("dense.keras")


def standardised(rows, mean, scale):
    return numpy.nan_to_num((rows - mean) / scale).astype("float32")


def fit(rows):
    mean = numpy.nan_to_num(numpy.nanmean(rows, axis=0))
    scale = numpy.nan_to_num(numpy.nanstd(rows, axis=0)) + 1e-3
    normal = standardised(rows, mean, scale)
    model = Network.load(FILE).initialize_new_weights()
    model.fit(normal, normal, epochs=10, batch_size=32, progress=False)
    return model, mean, scale


def score(fitted, rows):
    model, mean, scale = fitted
    return model.reconstruction_error(standardised(rows, mean, scale))
