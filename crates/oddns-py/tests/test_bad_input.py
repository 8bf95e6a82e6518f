"""What cannot be used is an exception that says what to do; the interpreter goes on."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy
import pytest

from oddns import DataError, Detector, ModelError, Network, NotFittedError, TooShortError

from conftest import waves


def test_constant_and_missing_columns_are_learned(normal):
    table = numpy.column_stack([normal, numpy.full(500, 3.0), numpy.full(500, numpy.nan)])
    detector = Detector(epochs=1).fit(table)
    assert numpy.isfinite(detector.score(table)).all()
    with pytest.raises(DataError, match="no column has a single value"):
        Detector().fit(numpy.full((500, 2), numpy.nan))


@pytest.mark.parametrize(
    "data, kind, message",
    [
        (numpy.ones((1, 3)), TooShortError, r"1 sample \(one row\)"),
        (numpy.ones((0, 3)), DataError, r"0 sample\(s\)"),
        (numpy.ones((9, 0)), DataError, r"0 feature\(s\)"),
        (numpy.ones(9), DataError, "Expected 2D array, got 1D"),
        ([["a", "b"]] * 200, DataError, "is not numeric"),
        ((row for row in numpy.ones((200, 2))), DataError, "is a generator"),
        (numpy.ones((200, 2)) * 1j, DataError, "Complex data not supported"),
        (numpy.full((200, 2), numpy.inf), DataError, "row 0 of column `x0` is infinite"),
        ([[1, 2], [3]], DataError, "the data is no table"),
        (numpy.zeros((200, 2), "m8[s]"), DataError, "is of durations: divide by a unit"),
        (numpy.zeros((200, 2), "M8[s]"), DataError, "is of times: give a frame with a column `timestamp`"),
        (numpy.full((200, 2), 1e300), DataError, "too large for a 32-bit float"),
        ({"a": 1}, TypeError, "dict"),
        ("no/such/file", FileNotFoundError, "no/such/file"),
        ("http://127.0.0.1:1", DataError, "nothing listens at"),
        ("http://", DataError, "no address of a Prometheus"),
    ],
)
def test_data_that_cannot_be_used(data, kind, message):
    with pytest.raises(kind, match=message):
        Detector(epochs=1).fit(data)


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"epochs": -1}, "`epochs` is -1"),
        ({"batch": 0}, "`batch` is 0"),
        ({"window": "long"}, "`window` is 'long'"),
        ({"kind": "magic"}, "there is no detector `magic`"),
        ({"alarms_per_week": 0}, "`alarms_per_week` must be"),
        ({"interval": 0}, "`interval` is 0"),
        ({"model": 3}, "a int is no network"),
        ({"threads": 100}, "`threads` is 100"),
        ({"epochs": 10**12}, "it must be 0 to 1000000 .`epochs`, times the batches"),
        ({"window": 5}, r"`length` is 5, it must be 32 to 65536 \(`window`\)"),
        ({"layers": [10**6]}, r"`channels` is 1000000, it must be 1 to 512 \(`layers`\)"),
        ({"layers": 64}, "`layers` is 64: give the channels of each layer"),
        ({"layers": []}, "`layers` is \\[\\]: give the channels of each layer"),
        ({"layers": "64"}, "`layers` is '64'"),
        ({"layers": [8, "x"]}, "`layers` is 'x': give a whole number"),
        ({"kernel": 2.5}, "`kernel` is 2.5"),
        ({"latent": 0}, "`latent` is 0"),
        ({"kind": "1d", "window": "long"}, "`window` is 'long'"),
    ],
)
def test_parameters_that_cannot_be_used(parameters, message):
    with pytest.raises((ModelError, DataError), match=message):
        Detector(**parameters).fit(waves(200))


def test_scoring_what_was_not_learned(detector):
    with pytest.raises(NotFittedError, match="call `fit`, `train` or `load` first"):
        Detector().score(waves(100))
    with pytest.raises(DataError, match="X has 2 features, but Detector is expecting 3"):
        detector.score(waves(100)[:, :2])
    with pytest.raises(DataError, match="there is no row 100: the data has 100"):
        detector.explain(waves(100), at=100)
    with pytest.raises(DataError, match="no time"):
        detector.explain(waves(100), at="yesterday")
    assert detector.score(waves(1)).shape == (1,)


def entries(compression=zipfile.ZIP_STORED, **changed):
    """A `.keras` file with these entries."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, text in changed.items():
            archive.writestr(name.replace("__", "."), text)
    return content.getvalue()


def keras(layers):
    described = [
        {"class_name": name, "module": module, "config": {"name": name.lower(), **config}}
        for name, module, config in layers
    ]
    model = {"class_name": "Sequential", "config": {"name": "m", "layers": described}}
    return entries(**{"config__json": json.dumps(model), "model__weights__h5": "\x89HDF\r\n\x1a\n" * 9})


INPUT = ("InputLayer", "keras.layers", {"batch_shape": [None, 8, 3]})


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "not an ONNX file|0 operations"),
        (b"PK", "cannot read its `table of contents`"),
        (b"\x08\xff" * 20, "ONNX"),
        (entries(nothing="x"), "without `config.json`"),
        (entries(config__json="{" * 500_000), "`config.json` is not valid"),
        (entries(config__json="0" * (65 << 20)), "takes 68157440 bytes, at most 67108864 are read"),
        (entries(zipfile.ZIP_DEFLATED, config__json="0" * (65 << 20)), "at most 67108864 are read"),
        (
            keras([INPUT, ("Lambda", "keras.layers", {"function": "boom"})]),
            "layer `lambda` of class `Lambda`: it holds code, and nothing of a file is executed; "
            "supported are",
        ),
        (
            keras([INPUT, ("LSTM", "keras.layers", {"units": 3})]),
            "layer `lstm` of class `LSTM`: this class of layer is not supported; supported are",
        ),
        (
            keras([INPUT, ("Dense", "keras.layers", {"units": 2, "kernel_regularizer": {"class_name": "L2"}})]),
            "layer `dense` of class `Dense`: its `kernel_regularizer` is `L2`, which training here does not heed",
        ),
        (
            keras([INPUT, ("Dense", "keras.layers", {"units": 2, "bias_constraint": {"class_name": "NonNeg"}})]),
            "its `bias_constraint` is `NonNeg`",
        ),
        (keras([INPUT, ("Evil", "os", {})]), "its code is in `os`, which is not Keras"),
        (keras([INPUT, ("Dense", "keras.layers", {"units": 2})]), "model.weights.h5"),
    ],
)
def test_hostile_files(tmp_path, content, message):
    (tmp_path / "m.keras").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        Network.load(tmp_path / "m.keras")
    with pytest.raises(ModelError):
        Detector.load(tmp_path / "m.keras")


def test_packed_files_are_read(tmp_path, plain, broken):
    plain.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        content = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "packed.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in content.items():
            archive.writestr(entry, data)
    packed = Detector.load(tmp_path / "packed.keras")
    assert (packed.score(broken) == plain.score(broken)).all()
    # A bomb says that it is small.
    content["config.json"] = b"0" * (200 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in content.items():
            archive.writestr(entry, data)
    lying = (tmp_path / "bomb.keras").read_bytes()
    lying = lying.replace((200 << 20).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    for bomb in ((tmp_path / "bomb.keras").read_bytes(), lying):
        with pytest.raises(ModelError, match="at most 67108864 are read|cannot read its `config.json`"):
            Network.load(bomb)


def test_a_window_is_checked_as_a_table_is(detector):
    for value in (numpy.inf, 1e300, -1e300):
        window = waves(detector.model_.window_rows)
        window[3, 1] = value
        with pytest.raises(DataError, match="row 3 of column `x1` is infinite or too large"):
            detector.score_window(window)
    for window in (waves(3), waves(65)[:, :2], numpy.ones(5), [[1, 2], [3]]):
        with pytest.raises(DataError, match="a window|no table"):
            detector.score_window(window)


def test_old_files_of_keras_are_named(tmp_path):
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n" * 9)
    for load in (Network.load, Detector.load, Detector().import_weights):
        with pytest.raises(ModelError, match="is an HDF5 file, as Keras 2 wrote them"):
            load(tmp_path / "m.h5")


def test_samples_that_are_none(plain):
    for samples in ([[1, 2], [3]], [["a"]], object()):
        with pytest.raises(DataError, match="the samples are no array of numbers"):
            plain.network.predict(samples)
    with pytest.raises(ModelError, match="sample 0 of a tensor holds `inf`"):
        plain.network.predict(numpy.full((1, 12, 3), 1e300))


def test_files_that_cannot_be_written_are_named_as_they_were_given(tmp_path, detector):
    with pytest.raises(FileNotFoundError) as told:
        detector.save(tmp_path / "no" / "m.keras")
    assert str(told.value.filename).endswith("m.keras")
    (tmp_path / "m.keras").mkdir()
    with pytest.raises(OSError) as told:
        detector.save(tmp_path / "m.keras")
    assert ".oddns-" not in str(told.value) and len(list(tmp_path.iterdir())) == 1


def test_an_exported_detector_is_told_from_a_network(plain, detector):
    for one in (plain, detector):
        with pytest.raises(ModelError, match="a detector that oddns exported.*load the `.keras` file"):
            Network.load(one.model_.onnx())


def test_damaged_files_are_errors(plain):
    for content in (plain.model_.encode(), plain.model_.onnx()):
        rng = numpy.random.default_rng(1)
        for _ in range(150):
            damaged = bytearray(content)
            for at in rng.integers(0, len(content), size=3):
                damaged[at] = rng.integers(0, 256)
            for whole in (bytes(damaged), content[: rng.integers(0, len(content))]):
                try:
                    Network.load(whole)
                except ModelError:
                    pass


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    "work", ["Detector(epochs=100000).fit(rows)", "Detector(layers=[64, 64], epochs=900).fit(rows)"]
)
def test_ctrl_c_stops_at_once(work):
    code = f"""
import numpy, signal, sys, time
from oddns import Detector
# Whoever runs the tests in the background has them ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
rows = numpy.random.default_rng(0).normal(size=(20000, 30))
print("ready", flush=True)
try:
    {work}
except KeyboardInterrupt:
    print("stopped", flush=True)
"""
    program = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout.readline() == "ready\n"
    time.sleep(1.5)
    program.send_signal(signal.SIGINT)
    start = time.perf_counter()
    told = program.stdout.readline()
    took = time.perf_counter() - start
    program.communicate(timeout=20)
    assert told == "stopped\n" and program.returncode == 0
    # Two hundred milliseconds by itself; the machine of a test has other things to do.
    assert took < 1.0, took


def test_masked_values_are_gaps():
    rows = numpy.random.default_rng(3).normal(size=(300, 3))
    rows[200, 1] = 1e6
    masked = numpy.ma.masked_array(rows, mask=False)
    masked[200, 1] = numpy.ma.masked
    gap = rows.copy()
    gap[200, 1] = numpy.nan
    detector = Detector(epochs=1, progress=False).fit(masked)
    same = Detector(epochs=1, progress=False).fit(gap)
    assert numpy.array_equal(detector.score(masked), same.score(gap), equal_nan=True)


def test_a_single_column_is_no_table():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="2D"):
        Detector().fit(pandas.Series(numpy.arange(300.0)))
