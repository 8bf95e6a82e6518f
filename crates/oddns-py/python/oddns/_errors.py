"""What can go wrong, as exceptions that say what to do."""

from __future__ import annotations

import sys


class Error(Exception):
    """Anything that oddns refuses."""


class DataError(Error, ValueError):
    """Data that cannot be used."""


class TooShortError(DataError):
    """Too few rows to learn from. `needed` and `found` count rows."""

    needed: int = 0
    found: int = 0


class ModelError(Error, ValueError):
    """A model, a file of one, or a setting that cannot be used."""


class NotFittedError(Error, ValueError, AttributeError):
    """The detector has learned nothing yet."""


class ShortRecordWarning(UserWarning):
    """Few rows were learned from; the alarm line is rough."""


class LongRecordWarning(UserWarning):
    """Of very many rows some were learned from."""


def not_fitted(name: str) -> Exception:
    """The error, of scikit-learn's class too where scikit-learn is in use."""
    message = f"This {name} has learned nothing yet: call `fit`, `train` or `load` first"
    sklearn = sys.modules.get("sklearn.exceptions")
    if sklearn is None:
        return NotFittedError(message)

    # Made here, where its second base may not be there to be named.
    both = type("NotFittedError", (NotFittedError, sklearn.NotFittedError), {})
    return both(message)
