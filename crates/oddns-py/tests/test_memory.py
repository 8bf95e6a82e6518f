"""What is larger than memory: a data set is read day by day, a table in stretches or pieces."""

import subprocess
import sys

import numpy
import pytest
from conftest import waves

from oddns import DataError, Detector, LongRecordWarning, _table

pyarrow = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402

N_SERIES = 500
EVERY = 30
DAY = 86_400
START = 1_700_006_400

READ = """
import resource, sys
import oddns
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
[frame] = oddns.read(sys.argv[1])
print(len(frame), peak() - before)
"""


def write_days(folder, n_days):
    """Counters of one server, 1.4 million samples a day."""
    n_rows = DAY // EVERY
    names = [f'{{server="dns://:53",zone="zone{at:03}.example."}}' for at in range(N_SERIES)]
    for day in range(n_days):
        seconds = START + day * DAY + EVERY * numpy.arange(n_rows)
        stamp = numpy.datetime64(int(seconds[0]), "s").astype("datetime64[D]")
        part = folder / f"day={stamp}"
        part.mkdir(parents=True)
        times = numpy.tile(seconds * 1000, N_SERIES)
        text = pyarrow.string()
        table = pyarrow.table({
            "timestamp": pyarrow.array(times).cast(pyarrow.timestamp("ms", tz="UTC")),
            "instance": pyarrow.array(["dns-0"] * len(times), text),
            "name": pyarrow.array(["coredns_dns_requests_total"] * len(times), text),
            "labels": pyarrow.array(numpy.repeat(names, n_rows), text),
            "value": pyarrow.array((times % 100_000_007).astype(float)),
        })
        parquet.write_table(table, part / "part-0.parquet", compression="zstd")


def test_what_a_history_takes_does_not_grow_with_its_days(tmp_path):
    found = {}
    for n_days in (1, 6):
        write_days(tmp_path / str(n_days), n_days)
        command = [sys.executable, "-c", READ, str(tmp_path / str(n_days))]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        found[n_days] = (int(told[0]), float(told[1]))
    (rows, one), (all_rows, six) = found[1], found[6]
    assert all_rows > 5.9 * rows
    # Of the other five days the features alone, which are 428 bytes a row.
    assert six < 1.5 * one + 5 * rows * 428 / 2**20, found
    assert one < 400, found


LEARN = """
import resource, sys, warnings
import numpy, oddns
from oddns import _table
warnings.simplefilter("ignore")
_table.MOST_LEARNED = 1 << 19
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
rows = numpy.memmap(sys.argv[1], dtype="float32", mode="r").reshape(-1, 32)
before = peak()
detector = oddns.Detector(epochs=1).fit(rows)
print(detector.model_.record["rows"], peak() - before)
"""


def test_what_is_learned_of_a_large_array_does_not_grow_with_it(tmp_path):
    path = tmp_path / "rows"
    shape = (1 << 23, 32)  # 1 GiB, of which all but the kept stretches is a hole on the disk
    array = numpy.memmap(path, dtype="float32", mode="w+", shape=shape)
    rng = numpy.random.default_rng(1)
    for start in range(0, shape[0], 4096 << 8):
        array[start : start + 4096] = rng.normal(size=(4096, 32))
    array.flush()
    command = [sys.executable, "-c", LEARN, str(path)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert 2 * 4096 <= int(told[0]) <= 1 << 14
    assert float(told[1]) < 512, told


def test_stretches_of_very_many_rows_are_learned_and_it_is_told(monkeypatch):
    rows = waves(40_000)
    monkeypatch.setattr(_table, "MOST_LEARNED", 3 * 8192)
    with pytest.warns(LongRecordWarning, match="40000 rows are more than are needed: 2 stretches"):
        thinned = Detector(epochs=1).fit(rows)
    assert thinned.model_.record["rows"] == 8192
    assert (thinned.score(waves(300, seed=3)) < 1).mean() > 0.95


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_large_table_is_scored_piece_by_piece_to_the_same_bits(monkeypatch, tmp_path, suffix, detector):
    rows = waves(20_000, seed=2)
    rows[15_000:15_060, 1] += 30
    path = tmp_path / f"rows.{suffix}"
    columns = {name: rows[:, at].astype("float32") for at, name in enumerate(["x0", "x1", "x2"])}
    table = pyarrow.table({"timestamp": 15 * numpy.arange(20_000), **columns})
    if suffix == "csv":
        from pyarrow import csv

        csv.write_csv(table, path)
    else:
        parquet.write_table(table, path)
    whole, alarms = detector.score(path), detector.alarms(path)
    assert alarms[15_000:15_060].any()
    monkeypatch.setattr(_table, "MOST_BYTES", 1000)
    monkeypatch.setattr(_table, "MOST_SCORED", 1000)
    assert detector.score(path).tobytes() == whole.tobytes()
    assert (detector.alarms(path) == alarms).all()
    array = numpy.column_stack(list(columns.values()))
    assert detector.score(array).tobytes() == whole.tobytes()


def test_a_large_table_of_other_columns_is_refused(monkeypatch, tmp_path, detector):
    path = tmp_path / "other.csv"
    path.write_text("timestamp,a\n" + "".join(f"{at},1\n" for at in range(200)))
    monkeypatch.setattr(_table, "MOST_BYTES", 10)
    with pytest.raises(DataError):
        detector.score(path)
