"""Instants, as milliseconds since the Unix epoch."""

from __future__ import annotations

import datetime
from typing import Union

import numpy

from ._errors import DataError

Instant = Union[str, float, int, datetime.datetime, "numpy.datetime64"]


def millis(time: Instant) -> int:
    """From RFC 3339, Unix seconds, or a datetime; without a time zone it is UTC."""
    if isinstance(time, bool):
        raise DataError("`time` is a bool: give RFC 3339, Unix seconds or a datetime")
    if isinstance(time, (int, float, numpy.integer, numpy.floating)):
        if not -1e11 < float(time) < 1e12:
            raise DataError(f"`{time}` is no time: give seconds since 1970")
        return round(float(time) * 1000)
    if isinstance(time, numpy.datetime64):
        return int(time.astype("datetime64[ms]").astype(numpy.int64))
    if isinstance(time, str):
        try:
            time = datetime.datetime.fromisoformat(time.replace("Z", "+00:00"))
        except ValueError:
            raise DataError(f"`{time}` is no time: write 2026-11-22T07:11:52Z") from None
    if isinstance(time, datetime.datetime):
        zoned = time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)
        return round(zoned.timestamp() * 1000)
    raise DataError(f"`{time!r}` is no time: give RFC 3339, Unix seconds or a datetime")


def array_of_millis(times: numpy.ndarray) -> numpy.ndarray:
    """From an array of instants: datetimes, or Unix seconds."""
    if times.dtype.kind == "M":
        return times.astype("datetime64[ms]").astype(numpy.int64)
    if times.dtype.kind in "iuf":
        return numpy.round(times.astype(numpy.float64) * 1000).astype(numpy.int64)
    return numpy.array([millis(time) for time in times], dtype=numpy.int64)


def now() -> int:
    """The time of this machine."""
    return millis(datetime.datetime.now(datetime.timezone.utc))
