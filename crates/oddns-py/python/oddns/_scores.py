"""Scores of rows."""

from __future__ import annotations

from typing import Any

import numpy


class Scores(numpy.ndarray):
    """An array like any other, that says what to do to whoever takes it for one number."""

    def item(self, *args: Any) -> Any:
        # scikit-learn's searches ask for it, and make nothing of a `ValueError`.
        if not args and self.size != 1:
            raise TypeError(
                f"`score` gives one score a row, here {self.size}, and a search wants one number: give it "
                "`scoring=oddns.scoring.separation` with y, or `oddns.scoring.calm` without"
            )
        return super().item(*args)
