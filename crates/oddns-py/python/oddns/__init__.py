"""Learns what normal looks like for CoreDNS servers, or any table over time, and says what is odd."""

from . import scoring
from ._detector import Detector
from ._errors import (
    DataError,
    Error,
    LongRecordWarning,
    ModelError,
    NotFittedError,
    ShortRecordWarning,
    TooShortError,
)
from ._explanation import Cause, Contribution, Explanation
from ._network import Network
from ._oddns import Frame, __version__
from ._table import read

__all__ = [
    "Cause",
    "Contribution",
    "DataError",
    "Detector",
    "Error",
    "Explanation",
    "Frame",
    "LongRecordWarning",
    "ModelError",
    "Network",
    "NotFittedError",
    "ShortRecordWarning",
    "TooShortError",
    "__version__",
    "read",
    "scoring",
]
