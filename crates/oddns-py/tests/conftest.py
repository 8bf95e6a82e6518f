"""Data that the tests share."""

import numpy
import pytest

from oddns import Detector


def waves(n_rows: int, seed: int = 0) -> numpy.ndarray:
    """Three features: a rhythm with noise, noise, and what follows the first."""
    rng = numpy.random.default_rng(seed)
    t = numpy.arange(n_rows)
    load = 50 + 10 * numpy.sin(t / 20) + rng.normal(size=n_rows)
    return numpy.column_stack([load, rng.normal(size=n_rows), 0.1 * load])


@pytest.fixture(scope="session")
def normal() -> numpy.ndarray:
    return waves(500)


@pytest.fixture(scope="session")
def broken() -> numpy.ndarray:
    """The second feature has left for good at row 300."""
    later = waves(400, seed=1)
    later[300:, 1] += 30
    return later


@pytest.fixture(scope="session")
def detector(normal) -> Detector:
    return Detector(epochs=2).fit(normal)


@pytest.fixture(scope="session")
def plain(normal) -> Detector:
    """A plain autoencoder."""
    return Detector(epochs=2, layers=[16, 8], kernel=3, latent=4, window=12).fit(normal)
