"""The same as `keras_autoencoder`, with the network of oddns."""

import numpy
from oddns import Network

WINDOW = 16


def windows(rows, mean, scale):
    standard = numpy.nan_to_num((rows - mean) / scale).clip(-10, 10).astype("float32")
    return numpy.lib.stride_tricks.sliding_window_view(standard, WINDOW, axis=0).swapaxes(1, 2)


def fit(rows):
    mean = numpy.nan_to_num(numpy.nanmean(rows, axis=0))
    scale = numpy.nan_to_num(numpy.nanstd(rows, axis=0)) + 1e-3
    model = Network.autoencoder(rows.shape[1], window=WINDOW, layers=[64, 32], latent=8)
    normal = windows(rows, mean, scale)
    model.fit(normal, normal, epochs=12, batch_size=64, progress=False)
    return model, mean, scale


def score(fitted, rows):
    model, mean, scale = fitted
    return model.reconstruction_error(windows(rows, mean, scale))
