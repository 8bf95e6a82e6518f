"""Models in the real Keras, which has an environment of its own: see `keras_round_trip.py`."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy
import pytest

import oddns
from oddns import Detector

from conftest import waves

SCRIPT = Path(__file__).with_name("keras_round_trip.py")
N_RANDOM = 50
#: Which environment has the real Keras on which backend, and what installs it.
BACKENDS = {
    "jax": ("keras-3", "cargo xtask test"),
    "tensorflow": ("model-peers", "cargo xtask bench python"),
}


@pytest.fixture(scope="module", params=sorted(BACKENDS))
def backend(request):
    return request.param


@pytest.fixture(scope="module")
def keras_python(backend):
    environment, installs = BACKENDS[backend]
    peers = os.environ.get("ODDNS_PEERS")
    python = Path(peers or "", environment, "bin/python")
    if not peers or not python.is_file():
        pytest.skip(f"the real Keras on {backend} is not there: `{installs}` installs it")
    return python


@pytest.fixture(scope="module")
def found(keras_python, backend, tmp_path_factory, normal, plain, detector):
    folder = tmp_path_factory.mktemp("keras")
    detector.save(folder / "masked.keras")
    plain.save(folder / "plain.keras")
    Detector(kind="2d", epochs=0).fit(normal).save(folder / "image.keras")
    package = str(Path(oddns.__file__).parents[1])
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": package}
    command = [str(keras_python), str(SCRIPT), str(folder), str(N_RANDOM)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-4000:]
    return folder, json.loads(run.stdout.splitlines()[-1])


def test_random_models_go_there_and_back(found):
    _, told = found
    assert len(told["random"]) == N_RANDOM
    for seed, one in enumerate(told["random"]):
        assert one["weights"], f"model {seed}"
        assert one["ours"] <= 1e-5 and one["back"] <= 1e-5, f"model {seed}: {one}"


def test_our_models_go_there_and_back(found):
    _, told = found
    assert [one["name"] for one in told["ours"]] == ["image", "masked", "plain"]
    for one in told["ours"]:
        assert one["weights"] and one["ours"] <= 1e-5, one


@pytest.mark.parametrize("name", ["masked", "plain", "image"])
def test_what_keras_trained_on_is_trained_on_here(found, normal, broken, name):
    folder, _ = found
    fitted = Detector(model=folder / f"{name}.fitted.keras", epochs=1).fit(normal)
    assert fitted.model_.kind == {"masked": "masked", "plain": "reconstruction", "image": "reconstruction_2d"}[name]
    assert numpy.isfinite(fitted.score(broken)).all()


def test_windows_are_read_where_they_lie_and_errors_are_those_of_the_predictions():
    rows = numpy.random.default_rng(1).normal(size=(900, 5)).astype("float32")
    view = numpy.lib.stride_tricks.sliding_window_view(rows, 8, axis=0).swapaxes(1, 2)
    network = oddns.Network.autoencoder(5, window=8, layers=[6, 4])
    predicted = network.predict(view)
    for other in (numpy.ascontiguousarray(view), view.astype("float64"), numpy.asfortranarray(view)):
        assert numpy.array_equal(network.predict(other, threads=1), predicted)
    errors = network.reconstruction_error(view)
    assert numpy.allclose(errors, ((predicted - view) ** 2).mean(axis=(1, 2)), rtol=1e-4)
    assert numpy.array_equal(network.reconstruction_error(view[300:], threads=1), errors[300:])
    assert network.reconstruction_error(view[:0]).shape == (0,)
    rows[500, 2] = numpy.nan
    with pytest.raises(oddns.Error, match="493"):
        network.predict(view)
    for threads in (0, 65, 2**70, True, "2"):
        with pytest.raises(oddns.Error, match="threads"):
            network.predict(view[:2], threads=threads)


def test_a_network_refuses_what_are_no_samples():
    network = oddns.Network.autoencoder(5, window=8, layers=[6, 4])
    samples = numpy.zeros((20, 8, 5), "float32")
    hidden = numpy.ma.masked_array(samples, mask=False)
    hidden[3, 2, 1] = numpy.ma.masked
    odd = [samples[0], samples[0, 0], samples[None], None, 3.0, samples.astype("U5"), hidden]
    odd += [samples.astype("complex64"), samples.astype("int64").astype("M8[s]")]
    for one in odd:
        for call in (network.predict, network.reconstruction_error):
            with pytest.raises(oddns.Error):
                call(one)
    with pytest.raises(oddns.Error, match="give one for each"):
        network.predict()
    several = Detector(epochs=1, progress=False).fit(waves(300)).network
    shapes = several.native.input_shapes
    assert len(shapes) == 2
    ones = [numpy.ones((1, *(size or 40 for size in shape)), "float32") for shape in shapes]
    assert numpy.array_equal(several.predict(ones), several.predict(*ones))
    with pytest.raises(oddns.Error, match="number of samples"):
        several.predict(ones[0], numpy.concatenate([ones[1]] * 3))
    for wrong in ({"seed": -1}, {"seed": 2**64}, {"learning_rate": "x"}, {"threads": 65}):
        with pytest.raises(oddns.Error, match=next(iter(wrong))):
            network.fit(samples, samples, progress=False, **wrong)


def test_more_samples_than_there_is_memory_are_an_exception():
    network = oddns.Network.autoencoder(5, window=8, layers=[6, 4])
    many = numpy.broadcast_to(numpy.zeros((8, 5), "float32"), (2**52, 8, 5))
    for call in (network.predict, network.reconstruction_error, lambda x: network.fit(x, x)):
        with pytest.raises(MemoryError):
            call(many)


def test_ctrl_c_stops_a_prediction_of_very_many_samples():
    network = oddns.Network.autoencoder(3, window=8, layers=[4], kernel=3, latent=2)
    many = numpy.broadcast_to(numpy.ones((8, 3), "float32"), (2**29, 8, 3))
    stopped = []

    def stop(*_):
        stopped.append(time.monotonic())
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            network.reconstruction_error(many)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert stopped


def test_a_network_with_x_as_target_learns_as_with_a_copy():
    samples = numpy.random.default_rng(2).normal(size=(64, 8, 5)).astype("float32")
    fitted = [
        oddns.Network.autoencoder(5, window=8, layers=[6]).fit(samples, y, epochs=2, progress=False)
        for y in (samples, samples.copy())
    ]
    ours, theirs = (network.predict(samples) for network in fitted)
    assert numpy.array_equal(ours, theirs)
