"""Scorers for scikit-learn's searches: ``GridSearchCV(Detector(), grid, scoring=oddns.scoring.separation)``.

`Detector.score` gives a score for each row, as an anomaly detector does; a search wants one number.
Higher is better in all of them. Splits have to keep the order of rows: take ``TimeSeriesSplit``.
"""

from __future__ import annotations

from typing import Any

import numpy

from ._errors import DataError
from ._feedback import anomalous

__all__ = ["separation", "calm"]


def separation(detector: Any, X: Any, y: Any) -> float:
    """How well the scores tell anomalous rows from others: the area under the curve of hits over false
    alarms, 0.5 for a guess and 1 when every anomalous row scores above every other. `y` marks rows as
    `update` takes marks: True or 1 where anomalous, or -1 where anomalous and 1 where not."""
    scores = numpy.asarray(detector.decision_function(X))
    odd = anomalous(y, len(scores))
    n_odd, n_normal = int(odd.sum()), int((~odd).sum())
    if n_odd == 0 or n_normal == 0:
        raise DataError(
            f"`y` has {n_odd} anomalous and {n_normal} other rows in this split: both are needed, take "
            "fewer splits"
        )
    # `decision_function` is lower the odder a row is. Equal scores share their ranks.
    _, place, n_equal = numpy.unique(-scores, return_inverse=True, return_counts=True)
    ranks = (numpy.cumsum(n_equal) - (n_equal - 1) / 2)[place]
    return float((ranks[odd].sum() - n_odd * (n_odd + 1) / 2) / (n_odd * n_normal))


def calm(detector: Any, X: Any, y: Any = None) -> float:
    """How far below the line normal data stays: 1 minus its 99 % quantile of `score`. It needs no `y`,
    and says nothing of what is found: a detector that sees nothing is the calmest."""
    return 1.0 + float(numpy.percentile(numpy.asarray(detector.score_samples(X)), 1.0))
