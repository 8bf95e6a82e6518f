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
        if not -1e11 < float(time) < 1e11:
            raise DataError(
                f"`{time}` is no time: give seconds since 1970, milliseconds divided by 1000"
            )
        return round(float(time) * 1000)
    if isinstance(time, numpy.datetime64) and not numpy.isnat(time):
        return int(time.astype("datetime64[ms]").astype(numpy.int64))
    if isinstance(time, str):
        try:
            time = datetime.datetime.fromisoformat(time.replace("Z", "+00:00"))
        except ValueError:
            raise DataError(f"`{time}` is no time: write 2026-11-22T07:11:52Z") from None
    if isinstance(time, datetime.datetime) and time == time:  # pandas' NaT is not
        zoned = time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)
        return round(zoned.timestamp() * 1000)
    raise DataError(f"`{time!r}` is no time: give RFC 3339, Unix seconds or a datetime")


def is_row(at: object) -> bool:
    """Whether it is the number of a row, rather than a time."""
    return isinstance(at, (int, numpy.integer)) and not isinstance(at, bool)


def instant(time: Instant) -> int:
    """As `millis`, of what can be nothing but a time: numbers are those of rows."""
    if isinstance(time, (float, numpy.floating)):
        raise DataError(
            f"`{time}` is no row and no time: give a whole number for a row, RFC 3339 or a datetime for a time"
        )
    return millis(time)


def array_of_millis(times: numpy.ndarray) -> numpy.ndarray:
    """From an array of instants: datetimes, or Unix seconds. Refuses an instant that is missing."""
    if times.dtype.kind == "M":
        return _present(times, numpy.isnat(times)).astype("datetime64[ms]").astype(numpy.int64)
    if times.dtype.kind in "iuf":
        seconds = _seconds(_present(times.astype(numpy.float64), numpy.isnan(times)))
        return numpy.round(seconds * 1000).astype(numpy.int64)
    if times.dtype.kind == "m":
        raise DataError("times are durations: add them to the instant that they count from")
    return numpy.array([millis(time) for time in times], dtype=numpy.int64)


def _present(times: numpy.ndarray, missing: numpy.ndarray) -> numpy.ndarray:
    if missing.any():
        row = int(numpy.argmax(missing))
        raise DataError(f"row {row} has no time (`NaT` or null): leave such rows out")
    return times


def _seconds(seconds: numpy.ndarray) -> numpy.ndarray:
    far = ~((seconds > -1e11) & (seconds < 1e11))
    if far.any():
        row = int(numpy.argmax(far))
        raise DataError(
            f"the time of row {row}, {seconds[row]:g}, is no number of seconds since 1970: divide "
            "milliseconds by 1000"
        )
    return seconds


def now() -> int:
    """The time of this machine."""
    return millis(datetime.datetime.now(datetime.timezone.utc))
