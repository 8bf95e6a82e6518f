"""Data of any accepted kind, as frames of the native module.

Which library an object belongs to is told by the name of its module, so that none of them has to be
imported, or installed.
"""

from __future__ import annotations

import os
import warnings
from typing import Any, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy

from . import _oddns
from ._errors import DataError, LongRecordWarning
from ._oddns import Frame
from ._time import Instant, array_of_millis, millis, now

#: A column of this name holds the times of the rows.
TIMESTAMP = "timestamp"
#: A last column of this name (in any case) holds labels, and is no feature.
LABEL = "label"
_WEEK = 7 * 24 * 3600 * 1000
#: Values of a table to learn from, at most, as the core has it for files.
MOST_LEARNED = 1 << 26
#: Values that are scored at once, at most; what they are made of takes several times their size.
MOST_SCORED = 1 << 24
#: Bytes of a file that is scored at once, at most.
MOST_BYTES = 1 << 27
#: Rows that are learned or left out together.
_STRETCH_ROWS = 4096


class Table:
    """Named columns, or an array without names, before it is a frame."""

    def __init__(
        self,
        names: Optional[List[str]],
        values: Any,
        times: Optional[numpy.ndarray],
        n_rows: int,
    ) -> None:
        self.names = names
        #: An array of rows, or a list of arrays, one a column.
        self.values = values
        self.times = times
        self.n_rows = n_rows

    @property
    def width(self) -> int:
        if isinstance(self.values, list):
            return len(self.values)
        return int(self.values.shape[1])

    def frame(
        self, interval: float, names: Optional[Sequence[str]] = None, since: int = 0
    ) -> Frame:
        """With these names in place of its own, and rows `interval` seconds apart, from `since`
        milliseconds on, where it has no times."""
        return self._frame([(0, self.n_rows)], interval, names, since)

    def frame_to_learn(
        self, interval: float, names: Optional[Sequence[str]] = None, since: int = 0
    ) -> Frame:
        """The same, of very many rows stretches that are spread evenly over all of them."""
        most_rows = max(MOST_LEARNED // max(self.width, 1), 2 * _STRETCH_ROWS)
        n_rows, step = self.n_rows, _STRETCH_ROWS
        if n_rows <= most_rows:
            return self.frame(interval, names, since)
        starts = list(range(0, n_rows, step))
        while len(starts) * step > most_rows:
            starts = starts[::2]
        message = (
            f"{n_rows} rows are more than are needed: {len(starts)} stretches of {step} rows, spread "
            "evenly over all of them, are learned"
        )
        warnings.warn(message, LongRecordWarning, stacklevel=5)
        parts = [(at, min(at + step, n_rows)) for at in starts]
        return self._frame(parts, interval, names, since)

    def frames(self, interval: float, names: Sequence[str]) -> Iterator[Frame]:
        """All rows, in pieces."""
        step = 2 * _STRETCH_ROWS
        for start in range(0, self.n_rows, step):
            yield self._frame([(start, min(start + step, self.n_rows))], interval, names)

    def _frame(
        self,
        parts: List[Tuple[int, int]],
        interval: float,
        names: Optional[Sequence[str]],
        since: int = 0,
    ) -> Frame:
        names = list(names or self.names or numbered(self.width))

        def taken(array: numpy.ndarray) -> numpy.ndarray:
            # One part is a view: nothing is copied.
            pieces = [array[start:end] for start, end in parts]
            return pieces[0] if len(pieces) == 1 else numpy.concatenate(pieces)

        timed = self.times is not None
        times = self._times(parts, interval, since) if self.times is None else taken(self.times)
        if isinstance(self.values, list):
            columns = [taken(column) for column in self.values]
            return Frame.from_columns(names, times, columns, "", timed)
        return Frame.from_array(names, times, taken(self.values), "", timed)

    @staticmethod
    def _times(parts: List[Tuple[int, int]], interval: float, since: int) -> numpy.ndarray:
        if not (interval > 0 and interval < 1e9):
            raise DataError(f"`interval` is {interval}: give the seconds between two rows")
        rows = numpy.concatenate([numpy.arange(start, end) for start, end in parts])
        return since + numpy.round(rows * (interval * 1000)).astype(numpy.int64)

    def mirrored(self, n_rows: int) -> "Table":
        """Forwards and backwards by turns, until there are so many rows."""
        values = self.values
        if isinstance(values, list):
            values = numpy.column_stack([numpy.asarray(v, numpy.float64) for v in values])
        there_and_back = numpy.concatenate([values, values[::-1]])
        n_times = -(-n_rows // len(there_and_back))
        return Table(self.names, numpy.tile(there_and_back, (n_times, 1))[:n_rows], None, n_rows)


def numbered(width: int) -> List[str]:
    """The names that columns without any get."""
    return [f"x{at}" for at in range(width)]


def read(
    source: Any,
    *,
    since: Optional[Instant] = None,
    until: Optional[Instant] = None,
    instance: Optional[str] = None,
    jobs: Iterable[str] = (),
    step: Optional[float] = None,
    learn: bool = False,
) -> List[Frame]:
    """Servers' features from a file or a Prometheus, to fit on or to score.

    `source` is the path of a data set folder, of Parquet, CSV or saved scrapes, or the address of a
    Prometheus (``http://…``), of which the last seven days are fetched unless `since` and `until` say
    otherwise. `jobs` and `step` (seconds) are for a Prometheus alone. To `learn` takes of a data set
    only what it calls normal itself, and of very much of it stretches over the whole time.
    """
    from_millis = None if since is None else millis(since)
    until_millis = None if until is None else millis(until)
    if is_url(source):
        until_millis = now() if until_millis is None else until_millis
        from_millis = until_millis - _WEEK if from_millis is None else from_millis
        frames = _oddns.fetch(source, from_millis, until_millis, list(jobs), step)
        frames = [frame for frame in frames if instance in (None, frame.instance)]
        if not frames:
            raise DataError(f"`{source}` has no instance `{instance}` in that time")
        return frames
    return _oddns.read(os.fspath(source), from_millis, until_millis, instance, learn)


def is_url(source: Any) -> bool:
    return isinstance(source, str) and source.startswith(("http://", "https://"))


def is_source(data: Any) -> bool:
    """Whether data has to be read from somewhere."""
    return isinstance(data, (str, os.PathLike))


def is_large_file(source: Any) -> bool:
    """Whether a file is too large to be scored at once. A folder is read day by day anyway."""
    return os.path.isfile(source) and os.path.getsize(source) > MOST_BYTES


def parts(data: Any) -> Optional[List[Any]]:
    """The servers' data where several were given, else nothing."""
    if not isinstance(data, (list, tuple)) or not data:
        return None
    first = data[0]
    several = (
        is_source(first)
        or isinstance(first, Frame)
        or getattr(first, "ndim", 0) == 2
        or _library(first) in ("pandas", "polars", "pyarrow")
    )
    return list(data) if several else None


def table(data: Any) -> Table:
    """A table in memory."""
    library = _library(data)
    if library == "pandas" and hasattr(data, "columns"):
        return _pandas(data)
    if library == "polars":
        data = data.collect() if hasattr(data, "collect") else data
        if hasattr(data, "get_columns"):
            columns = data.get_columns()
            return _columns([column.name for column in columns], [c.to_numpy() for c in columns])
    if library == "pyarrow" and hasattr(data, "column_names"):
        return _arrow(data)
    # A single column has one too.
    if hasattr(data, "__arrow_c_stream__") and len(getattr(data, "shape", (0, 0))) == 2:
        return _arrow(_pyarrow().table(data))
    return _plain(data)


def _library(data: Any) -> str:
    return type(data).__module__.partition(".")[0]


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        message = "data by Arrow's C interface needs pyarrow: install `oddns[arrow]`"
        raise DataError(message) from None
    return pyarrow


def _pandas(data: Any) -> Table:
    names = list(data.columns)
    if not all(isinstance(name, str) for name in names):
        if any(isinstance(name, str) for name in names):
            raise TypeError(
                "Feature names are only supported if all input features have string names, but "
                "some have others: rename the columns"
            )
        table = _plain(data.to_numpy())
        table.times = _index_times(data)
        return table
    table = _columns(names, [data.iloc[:, at].to_numpy() for at in range(len(names))])
    table.n_rows = len(data)
    if table.times is None:
        table.times = _index_times(data)
    return table


def _index_times(data: Any) -> Optional[numpy.ndarray]:
    kind = type(data.index).__name__
    if kind == "PeriodIndex":
        raise DataError("the index is of periods, which begin and end: use `frame.to_timestamp()`")
    if kind == "TimedeltaIndex":
        raise DataError("the index is of durations: add them to the instant that they count from")
    if kind != "DatetimeIndex":
        return None
    index = data.index.tz_convert("UTC").tz_localize(None) if data.index.tz else data.index
    return array_of_millis(index.to_numpy())


def _arrow(data: Any) -> Table:
    def column(at: int) -> numpy.ndarray:
        values = data.column(at)
        try:
            return values.to_numpy(zero_copy_only=False)
        except TypeError:  # a chunked array, which always may copy
            return values.to_numpy()

    return _columns(list(data.column_names), [column(at) for at in range(data.num_columns)])


def _columns(names: List[str], values: List[numpy.ndarray]) -> Table:
    """Features of the columns, without the times and the labels among them."""
    times = None
    features: List[Tuple[str, numpy.ndarray]] = []
    for at, (name, column) in enumerate(zip(names, values)):
        if name == TIMESTAMP or column.dtype.kind == "M":
            if times is not None:
                raise DataError(f"`{name}` is a second column with times: leave one out")
            times = array_of_millis(column)
        elif name.lower() == LABEL and at + 1 == len(names) and times is not None:
            pass
        else:
            features.append((name, _column_floats(column, name)))
    n_rows = len(values[0]) if values else 0
    names = [name for name, _ in features]
    if len(set(names)) != len(names):
        raise DataError("two columns have the same name: rename one")
    return Table(names, [column for _, column in features], times, n_rows)


def _plain(data: Any) -> Table:
    if _library(data) == "scipy":
        raise TypeError(
            "Sparse data was passed, but dense data is required: use `.toarray()` to convert"
        )
    if hasattr(data, "__next__"):
        raise DataError(
            f"data is a {type(data).__name__}: rows have to be known together, give an array of "
            "them, a list of arrays, or the path of a file"
        )
    array = floats(data)
    if array.ndim != 2:
        raise DataError(
            f"Expected 2D array, got {array.ndim}D array instead: one row for each time, one "
            "column for each feature. Reshape your data either using array.reshape(-1, 1) if it "
            "has a single feature or array.reshape(1, -1) if it is a single row"
        )
    return Table(None, array, None, len(array))


def floats(data: Any) -> numpy.ndarray:
    """An array of floats, of whatever NumPy makes an array of."""
    if numpy.ma.is_masked(data):
        kept = data if data.dtype in (numpy.float32, numpy.float64) else data.astype(numpy.float64)
        data = kept.filled(numpy.nan)  # what is masked is a gap
    try:
        array = numpy.asarray(data)
    except ValueError as error:
        raise DataError(f"the data is no table ({error}): give as many values in each row") from None
    return _column_floats(array, None)


def _column_floats(array: numpy.ndarray, name: Optional[str]) -> numpy.ndarray:
    """The same array where it is of floats that are kept."""
    if array.dtype in (numpy.float32, numpy.float64):
        return array
    where = "the data" if name is None else f"column `{name}`"
    if array.dtype.kind == "c":
        raise DataError(f"Complex data not supported: {where} has complex numbers")
    if array.dtype.kind == "m":
        raise DataError(f"{where} is of durations: divide by a unit, as `/ numpy.timedelta64(1, 's')`")
    if array.dtype.kind == "M":
        raise DataError(f"{where} is of times: give a frame with a column `{TIMESTAMP}`")
    try:
        return array.astype(numpy.float64)
    except ValueError as error:
        raise DataError(f"{where} is not numeric ({error}): leave it out or encode it") from None
    except TypeError as error:
        # Of an array without columns scikit-learn expects this class.
        kind = TypeError if name is None else DataError
        raise kind(f"{where} is not numeric ({error}): leave it out or encode it") from None
