"""The parameters of a detector that go along in its file, so that a loaded one can be fitted anew."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict

from ._errors import ModelError
from ._setting import count_or_none

#: Those that shape the network.
ARCHITECTURE = ("window", "kind", "layers", "kernel", "latent")


def _number(name: str, value: Any) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ModelError(f"`{name}` is {value!r}, no number")
    return value


def _word(name: str, value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        raise ModelError(f"`{name}` is {value!r}, no word")
    return value


def _sizes(name: str, value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, list):
        raise ModelError(f"`{name}` is {value!r}, no list")
    return [count_or_none(name, one, 1) for one in value]


def _count(name: str, value: Any) -> Any:
    return count_or_none(name, value, 0)


#: What is kept, and how it is read.
_KEPT: Dict[str, Callable[[str, Any], Any]] = {
    "window": _count,
    "epochs": _count,
    "batch": _count,
    "kind": _word,
    "layers": _sizes,
    "kernel": _count,
    "latent": _count,
    "alarms_per_week": _number,
    "contamination": _number,
    "interval": _number,
    "seed": _count,
    "offset_": _number,
}


def written(detector: Any) -> str:
    """The text of the parameters, and of the line of `predict`."""
    kept = {name: getattr(detector, name) for name in _KEPT}
    return json.dumps(kept, default=_plain)


def read(text: str) -> Dict[str, Any]:
    """What `written` gave. A file may say anything."""
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise TypeError("no object")
        return {name: read(name, found[name]) for name, read in _KEPT.items() if name in found}
    except (ModelError, TypeError, ValueError, RecursionError) as error:
        message = f"the parameters in the model file are damaged ({error}): save the detector again"
        raise ModelError(message) from None


def _plain(value: Any) -> Any:
    """Numbers, arrays and sequences of other libraries."""
    return value.tolist() if hasattr(value, "tolist") else list(value)
