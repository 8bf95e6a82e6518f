"""What may be set, as the native module takes it."""

from __future__ import annotations

from typing import Any, Optional

import numpy

from ._errors import ModelError


def count(name: str, value: Any, least: int) -> int:
    """A whole number of at least `least`, of 64 bits."""
    whole = isinstance(value, (int, numpy.integer)) and not isinstance(value, bool)
    if not whole or not least <= value < 2**64:
        raise ModelError(f"`{name}` is {value!r}: give a whole number of at least {least}")
    return int(value)


def count_or_none(name: str, value: Any, least: int) -> Optional[int]:
    """The same, and None for what is left out."""
    return None if value is None else count(name, value, least)
