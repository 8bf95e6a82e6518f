"""Whether data has the columns that were learned, in scikit-learn's words."""

from __future__ import annotations

import warnings
from typing import Any, List, Optional

import numpy

from ._errors import DataError
from ._table import Table, numbered

#: Names told in an error.
_MOST_NAMES = 5


def check_size(table: Table) -> None:
    """Refuses a table without columns or rows."""
    shape = (table.n_rows, table.width)
    if table.width == 0:
        message = f"0 feature(s) (shape={shape}) while a minimum of 1 is required."
        raise DataError(f"Found array with {message} Give a column for each feature")
    if table.n_rows == 0:
        message = f"0 sample(s) (shape={shape}) while a minimum of 1 is required."
        raise DataError(f"Found array with {message} Give a row for each instant")


def remember(detector: Any, names: List[str], table: Optional[Table]) -> None:
    """Notes the columns that were learned."""
    detector.n_features_in_ = len(names)
    detector.__dict__.pop("feature_names_in_", None)
    named = names != numbered(len(names)) if table is None else table.names is not None
    if named:
        detector.feature_names_in_ = numpy.array(names, dtype=object)


def check(detector: Any, table: Table) -> List[str]:
    """The learned names, for a table that has those columns."""
    name = type(detector).__name__
    known = getattr(detector, "feature_names_in_", None)
    if known is not None and table.names is None:
        message = f"X does not have valid feature names, but {name} was fitted with feature names"
        warnings.warn(message, stacklevel=4)
    elif known is None and table.names is not None:
        warnings.warn(
            f"X has feature names, but {name} was fitted without feature names", stacklevel=4
        )
    elif known is not None and list(known) != table.names:
        raise DataError(_difference(list(known), table.names or []))
    if table.width != detector.n_features_in_:
        expected = detector.n_features_in_
        raise DataError(
            f"X has {table.width} features, but {name} is expecting {expected} features as input"
        )
    return detector.model_.columns


def _difference(known: List[str], found: List[str]) -> str:
    message = "The feature names should match those that were passed during fit.\n"
    unseen = sorted(set(found) - set(known))
    missing = sorted(set(known) - set(found))
    if unseen:
        message += "Feature names unseen at fit time:\n" + _listed(unseen)
    if missing:
        message += "Feature names seen at fit time, yet now missing:\n" + _listed(missing)
    if not unseen and not missing:
        message += "Feature names must be in the same order as they were in fit.\n"
    return message


def _listed(names: List[str]) -> str:
    told = "".join(f"- {name}\n" for name in names[:_MOST_NAMES])
    return told + ("- ...\n" if len(names) > _MOST_NAMES else "")
