"""Data frames, Arrow and files."""

import datetime
import warnings
from pathlib import Path

import numpy
import pytest

import oddns
from oddns import DataError, Detector

from conftest import waves

NAMES = ["load", "errors", "size"]
START = datetime.datetime(2026, 11, 22, tzinfo=datetime.timezone.utc)
BUNDLED = Path(__file__).parents[2] / "oddns-cli" / "data"


def times(n_rows):
    start = numpy.datetime64(START.replace(tzinfo=None), "ms")
    return start + numpy.arange(n_rows) * numpy.timedelta64(15_000, "ms")


def pandas_frame(values):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(values, columns=NAMES, index=pandas.DatetimeIndex(times(len(values)), tz="UTC"))


def pandas_column(values):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"timestamp": times(len(values)), **dict(zip(NAMES, values.T))})


def polars_frame(values):
    polars = pytest.importorskip("polars")
    return polars.DataFrame({"timestamp": times(len(values)), **dict(zip(NAMES, values.T))})


def polars_lazy(values):
    return polars_frame(values).lazy()


def arrow_table(values):
    pyarrow = pytest.importorskip("pyarrow")
    columns = {name: pyarrow.array(column) for name, column in zip(NAMES, values.T.copy())}
    return pyarrow.table({"timestamp": times(len(values)), **columns})


def arrow_batch(values):
    return arrow_table(values).to_batches()[0]


@pytest.mark.parametrize(
    "make", [pandas_frame, pandas_column, polars_frame, polars_lazy, arrow_table, arrow_batch]
)
def test_every_library_gives_the_same_model(make, normal, broken):
    expected = Detector(epochs=1).fit(normal)
    detector = Detector(epochs=1).fit(make(normal))
    assert list(detector.feature_names_in_) == NAMES
    assert numpy.allclose(detector.score(make(broken)), expected.score(broken), rtol=0, atol=0)
    why = detector.explain(make(broken), at=START + datetime.timedelta(seconds=15 * 310))
    assert why.row == 310 and why.timestamp.startswith("2026-11-22T01:17:30")
    assert detector.model_.record["range"][0].startswith("2026-11-22T00:00:00")


def test_what_speaks_arrow_is_read(normal):
    pyarrow = pytest.importorskip("pyarrow")

    class Stream:
        def __arrow_c_stream__(self, requested_schema=None):
            return arrow_table(normal).__arrow_c_stream__(requested_schema)

    assert pyarrow and list(Detector(epochs=1).fit(Stream()).feature_names_in_) == NAMES


def test_columns_are_told_apart(normal):
    frame = pandas_frame(normal)
    detector = Detector(epochs=1).fit(frame)
    with pytest.raises(DataError, match="must be in the same order"):
        detector.score(frame[NAMES[::-1]])
    with pytest.raises(DataError, match="unseen at fit time:\n- other"):
        detector.score(frame.rename(columns={"load": "other"}))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        detector.score(normal)
    with pytest.raises(DataError, match="not numeric"):
        Detector().fit(frame.assign(load="much"))
    with pytest.raises(DataError, match="not later than the row before"):
        Detector().fit(frame.iloc[::-1])


def test_what_is_no_time_is_refused(tmp_path, normal):
    pandas = pytest.importorskip("pandas")
    frame, column = pandas_frame(normal), pandas_column(normal)
    periods = frame.set_axis(pandas.period_range("2026-01-01", periods=500, freq="min"))
    durations = frame.set_axis(pandas.to_timedelta(numpy.arange(500), unit="s"))
    missing = column.assign(timestamp=column["timestamp"].where(column.index != 7))
    seconds = column.assign(timestamp=1.8e9 + numpy.arange(500) * 15.0)
    for data, message in (
        (periods, "the index is of periods"),
        (durations, "the index is of durations"),
        (missing, r"row 7 has no time \(`NaT` or null\)"),
        (frame.set_axis(frame.index.where(numpy.arange(500) != 3)), "row 3 has no time"),
        (seconds.assign(timestamp=seconds["timestamp"] * 1000), "divide milliseconds by 1000"),
        (seconds.assign(timestamp=seconds["timestamp"].where(column.index != 9)), "row 9 has no time"),
        (column.assign(timestamp=durations.index), "times are durations"),
        (frame.assign(load=durations.index), "column `load` is of durations"),
        (frame.assign(load=periods.index), "column `load` is not numeric"),
    ):
        with pytest.raises(DataError, match=message):
            Detector(epochs=1).fit(data)
    detector = Detector(epochs=1).fit(seconds)
    assert detector.model_.record["range"][0].startswith("2027-01-15T08:00:00")
    for time in (pandas.NaT, numpy.datetime64("NaT"), pandas.Period("2026-01-01"), None, 1.8e12):
        with pytest.raises(DataError, match="no time|no row"):
            detector.update(seconds, feedback=[(time, time)])
    with pytest.raises(DataError, match="milliseconds divided by 1000"):
        oddns.read(tmp_path, since=1_795_331_512_000)
    (tmp_path / "t.csv").write_text("timestamp,a\n1795331512000,1\n")
    with pytest.raises(DataError, match="line 2, column `timestamp`: .*milliseconds divided by 1000"):
        Detector().fit(tmp_path / "t.csv")


def test_missing_values_of_every_library_are_gaps(normal):
    polars = pytest.importorskip("polars")
    values = normal.copy()
    values[50:60, 0] = numpy.nan
    frame = polars_frame(values).with_columns(polars.col("load").fill_nan(None))
    nulls = Detector(epochs=1).fit(frame)
    assert nulls.model_.encode() == Detector(epochs=1).fit(polars_frame(values)).model_.encode()


def test_files_as_the_command_reads_them(tmp_path, normal, broken):
    pandas_column(normal).to_csv(tmp_path / "normal.csv", index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
    by_file = Detector(epochs=1).fit(tmp_path / "normal.csv")
    assert list(by_file.feature_names_in_) == NAMES
    (tmp_path / "bad.csv").write_text("timestamp,a\n1,2\n2,x\n")
    with pytest.raises(DataError, match="bad.csv"):
        Detector().fit(tmp_path / "bad.csv")


def test_a_recording_of_coredns(tmp_path):
    recording = BUNDLED / "coredns-normal"
    if not recording.is_dir():
        pytest.skip("the bundled recording is not there")
    detector = Detector(epochs=1).fit(recording)
    faults = oddns.read(BUNDLED / "coredns-faults")
    assert len(detector.model_.columns) > 100
    incidents = detector.incidents(faults)
    assert incidents and incidents[0]["cause"]["name"]
    why = detector.explain(faults)
    assert why.score > 1 and why.features[0].doc
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(detector.score(faults)) == sum(len(frame) for frame in faults)
    with pytest.raises(DataError, match="fewer than two scrapes"):
        oddns.read(recording, until="2000-01-01T00:00:00Z")
