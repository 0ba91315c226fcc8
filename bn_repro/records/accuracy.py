"""THE definitions of a run's accuracy: its curve, the last value, the best, steps to a target."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bn_repro.records import paths
from bn_repro.records.json_files import Row, number

Curve = list[tuple[int, float]]
"""(step, value) of each evaluation, in the order of the records; NaN where the record has null."""


def monitored_curve(rows: Iterable[Row]) -> Curve:
    """top1 by moving averages on the monitored split: val, or else test."""
    evaluated = [row for row in rows if row.get("statistics") == "moving" and "top1" in row]
    split = paths.monitored_split({row.get("split") for row in evaluated})
    return [(row["step"], number(row["top1"])) for row in evaluated if row.get("split") == split]


def final_accuracy(curve: Curve) -> float:
    """The last value of a curve; NaN where it is not finite, or there is none."""
    return curve[-1][1] if curve else math.nan


def best_accuracy(curve: Curve) -> tuple[float, float]:
    """The greatest value of a curve and its first step, as (step, value); NaN where there is none.

    A curve's best is biased upwards: it was chosen on the split on which it is measured.
    """
    finite = [point for point in curve if math.isfinite(point[1])]
    return max(finite, key=lambda point: point[1], default=(math.nan, math.nan))


def steps_to(curve: Iterable[tuple[float, float]], target: float) -> float:
    """The first step whose value is at least ``target``; NaN where none is."""
    return min((step for step, value in curve if value >= target), default=math.nan)
