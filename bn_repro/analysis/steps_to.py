"""Steps to a target: the first evaluated step that reaches it, censored where none does.

The resolution is the grid of evaluations. A run that never reaches the target has NaN, is written
"> N" with N its last step, and takes part in medians and ratios as infinity.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def at(wide: pd.DataFrame, targets: float | np.ndarray) -> np.ndarray:
    """The first steps at ``targets`` (...) of each curve: (..., seeds), infinity where never.

    ``wide`` has a row a seed, a column a step.
    """
    values = np.where(wide.isna(), -np.inf, wide.to_numpy(dtype=float))
    best_so_far = np.maximum.accumulate(values, axis=1)
    steps = np.append(wide.columns.to_numpy(dtype=float), np.inf)
    return np.stack([steps[np.searchsorted(row, targets)] for row in best_so_far], axis=-1)


def by_row(wide: pd.DataFrame, target: float) -> np.ndarray:
    """:func:`at` one target: steps (seeds,), NaN where never, as ``runs.csv`` has it."""
    steps = at(wide, target)
    return np.where(np.isinf(steps), np.nan, steps)


def typical_best(best: np.ndarray) -> np.ndarray:
    """The best accuracy of the typical run, as a target for others: the median over seeds.

    Of an even number of seeds it is the lower of the two in the middle, so that half of the runs
    (..., seeds) or more do reach it.
    """
    return np.sort(best, axis=-1)[..., (best.shape[-1] - 1) // 2]


def column(target: float) -> str:
    """The name of the target's column in ``runs.csv``: ``steps_to_0.95``."""
    return f"steps_to_{target:.4g}"


def median_steps(steps: Sequence[float] | np.ndarray) -> float:
    """The median, a target never reached (NaN) taking part as infinity; NaN without runs."""
    values = np.asarray(steps, dtype=float)
    return float(np.median(never_is_infinite(values))) if len(values) else np.nan


def never_is_infinite(steps: Sequence[float] | np.ndarray) -> np.ndarray:
    """Steps with infinity for NaN."""
    values = np.asarray(steps, dtype=float)
    return np.where(np.isnan(values), np.inf, values)


def shown(steps: float, last: float) -> str:
    """``12,000``, or ``> 50,000`` for a target not reached (NaN or infinity) by the last step."""
    return f"{steps:,.0f}" if np.isfinite(steps) else f"> {last:,.0f}"
