"""What people say about rows: which were anomalous."""

from __future__ import annotations

from typing import Any

import numpy

from ._errors import DataError
from ._oddns import Frame
from ._time import millis


def kept_rows(frame: Frame, feedback: Any, n_frames: int) -> numpy.ndarray:
    """True for each row that was normal, as far as is known."""
    if isinstance(feedback, (list, tuple)) and feedback and isinstance(feedback[0], (list, tuple)):
        return _outside(frame, feedback)
    marks = numpy.asarray(feedback)
    if marks.dtype.kind not in "biuf" or marks.shape != (len(frame),) or n_frames > 1:
        raise DataError(
            f"`feedback` has shape {marks.shape} for {n_frames} server(s) of {len(frame)} rows: give "
            "one mark for each row of one server, or a list of (start, end, anomalous)"
        )
    return marks != 1


def _outside(frame: Frame, spans: Any) -> numpy.ndarray:
    times = frame.timestamps()
    kept = numpy.ones(len(times), dtype=bool)
    for span in spans:
        if len(span) not in (2, 3):
            raise DataError(f"`{span!r}` is no (start, end) and no (start, end, anomalous)")
        start, end = millis(span[0]), millis(span[1])
        if start > end:
            raise DataError(f"`{span!r}` ends before it starts")
        if len(span) == 2 or span[2]:
            kept &= (times < start) | (times > end)
    return kept
