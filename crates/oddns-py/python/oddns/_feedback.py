"""What people say about rows: which were anomalous, and which were not although they raised an alarm."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import numpy

from ._errors import DataError
from ._oddns import Frame
from ._time import instant, is_row

#: First and last millisecond, the server where it is of one alone, and a verdict in the command's words.
Said = Tuple[int, int, Optional[str], str]

#: A false alarm; never to be learned; never to be learned, and what goes the same way is an alarm.
_VERDICTS = ("normal", "right", "missed")


def said(feedback: Any, frames: List[Frame]) -> List[Said]:
    """Every stretch that is spoken of."""
    if feedback is None or isinstance(feedback, (list, tuple)) and not feedback:
        return []
    if isinstance(feedback, (list, tuple)) and isinstance(feedback[0], (list, tuple)):
        return [_span(span, frames) for span in feedback]
    if len(frames) > 1:
        message = f"`feedback` marks rows, the data is of {len(frames)} servers: give (start, end) times"
        raise DataError(message)
    return _marked(anomalous(feedback, len(frames[0]), "feedback"), frames[0])


def anomalous(marks: Any, n_rows: int, name: str = "y") -> numpy.ndarray:
    """True for each row that was called anomalous."""
    array = numpy.asarray(marks)
    if array.shape != (n_rows,):
        raise DataError(f"`{name}` has shape {array.shape} for {n_rows} rows: give one mark for each row")
    if array.dtype.kind == "b":
        return array
    values = set(numpy.unique(array).tolist()) if array.dtype.kind in "iuf" else {"?"}
    # Ones alone are what `predict` says of rows that are all normal; all anomalous would leave nothing.
    if values <= {-1, 1}:
        return array == -1
    if values <= {0, 1}:
        return array == 1
    odd = next((mark for mark in array.tolist() if mark not in (-1, 0, 1)), "-1, 0 and 1 together")
    raise DataError(
        f"`{name}` holds {odd!r}: give booleans, 1 for anomalous and 0 for not, or -1 for anomalous and "
        "1 for not as `predict` does"
    )


def _marked(anomalous: numpy.ndarray, frame: Frame) -> List[Said]:
    edges = numpy.flatnonzero(numpy.diff(numpy.concatenate([[False], anomalous, [False]])))
    times = frame.timestamps()
    server = frame.instance or None
    return [(int(times[a]), int(times[b - 1]), server, "right") for a, b in edges.reshape(-1, 2)]


def _span(span: Any, frames: List[Frame]) -> Said:
    if not isinstance(span, (list, tuple)) or len(span) not in (2, 3):
        raise DataError(f"`{span!r}` is no (start, end) and no (start, end, anomalous)")
    verdict = _word(span[2]) if len(span) == 3 else "right"
    if is_row(span[0]) != is_row(span[1]):
        raise DataError(f"`{span!r}` mixes a row and a time: give two of a kind")
    start, end = (_of_row(at, frames) if is_row(at) else _of_time(at, frames) for at in span[:2])
    if start > end:
        raise DataError(f"`{span!r}` ends before it starts")
    return start, end, None, verdict


def _word(verdict: Any) -> str:
    if isinstance(verdict, (bool, numpy.bool_)):
        return "right" if verdict else "normal"
    if verdict in _VERDICTS:
        return str(verdict)
    raise DataError(
        f"`{verdict!r}` says nothing of a stretch: give True for anomalous, False for normal, or a word of "
        f"{', '.join(_VERDICTS)}"
    )


def _of_row(row: int, frames: List[Frame]) -> int:
    if len(frames) > 1:
        raise DataError(f"`{row}` is the number of a row, the data is of several servers: give times")
    n_rows = len(frames[0])
    if not -n_rows <= row < n_rows:
        raise DataError(f"there is no row {row}: the data has {n_rows}")
    return int(frames[0].timestamps()[row])


def _of_time(time: Any, frames: List[Frame]) -> int:
    found = instant(time)
    if not all(frame.timed for frame in frames):
        raise DataError(f"the data has no times, `{time}` is one: give numbers of rows")
    return found
