"""Why a row is odd, for reading and for programs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, List


@dataclass(frozen=True)
class Contribution:
    """What one feature adds to a score."""

    name: str
    #: In the feature's unit; NaN where it was missing.
    observed: float
    #: In the feature's unit.
    expected: float
    #: Observed minus expected, in standard deviations.
    deviation: float
    #: Part of the score, 0 to 1.
    share: float
    unit: str = ""
    doc: str = ""


@dataclass(frozen=True)
class Cause:
    """What may be wrong, of a CoreDNS server."""

    name: str
    summary: str
    #: Probability, 0 to 1.
    confidence: float
    next_steps: List[str]


@dataclass(frozen=True)
class Explanation:
    """What is said of one row. Printed, it is a table."""

    row: int
    timestamp: str
    #: Above 1 is anomalous.
    score: float
    alarm: bool
    #: Whether the row has too few before it for an alarm.
    warming_up: bool
    #: The strongest first.
    features: List[Contribution]
    #: The likeliest first; empty for a normal row.
    causes: List[Cause]

    @classmethod
    def of(cls, found: Dict[str, Any]) -> "Explanation":
        """From what the native module says."""

        def number(value: Any) -> float:
            return math.nan if value is None else float(value)

        def contribution(one: Dict[str, Any]) -> Contribution:
            keys = ("observed", "expected", "deviation", "share")
            return Contribution(**{**one, **{key: number(one[key]) for key in keys}})

        return cls(
            row=found["row"],
            timestamp=found["timestamp"],
            score=number(found["score"]),
            alarm=found["alarm"],
            warming_up=found["warming_up"],
            features=[contribution(one) for one in found["features"]],
            causes=[Cause(**one) for one in found["causes"]],
        )

    def __str__(self) -> str:
        verdict = "ALARM" if self.alarm else "odd" if self.score > 1 else "normal"
        lines = [f"row {self.row}  {self.timestamp}  score {self.score:.2f}  {verdict}"]
        lines.append(f"  {'feature':<36} {'expected':>12} {'observed':>12} {'sigmas':>8} {'share':>6}")
        for one in self.features:
            lines.append(
                f"  {one.name:<36} {one.expected:>12.5g} {one.observed:>12.5g} "
                f"{one.deviation:>+8.1f} {one.share:>6.0%}"
            )
        for cause in self.causes[:3]:
            lines.append(f"  {cause.confidence:.0%} {cause.name}: {cause.summary}")
        return "\n".join(lines)
