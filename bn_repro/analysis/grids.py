"""Grids of runs: a number of each run as an array over the keys that were varied and the seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bn_repro.analysis import tables
from bn_repro.analysis.tables import StudyData

HELD_OUT = "data.held_out"
GOOD = 0.01
"""A setting is good where its mean accuracy is within this of the best one's."""


@dataclass(frozen=True)
class Grid:
    """``values`` (len(axes[0]), len(axes[1]), ..., seeds); NaN where a run is missing."""

    axes: tuple[tuple[Any, ...], ...]
    seeds: tuple[int, ...]
    values: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """Over the seeds."""
        return self.values.mean(axis=-1)

    @property
    def best(self) -> tuple[int, ...]:
        """The indices of the cell with the best mean; the first of equals."""
        means = np.where(np.isnan(self.means), -np.inf, self.means)
        return tuple(int(i) for i in np.unravel_index(means.argmax(), means.shape))

    @property
    def whole(self) -> bool:
        """Whether every cell has every seed."""
        return not bool(np.isnan(self.values).any())


def held_out(data: StudyData, some: bool, experiment: str | None = None) -> StudyData:
    """The runs that were followed on held-out images (``some``), or those that were not; of all
    experiments, or of one."""
    runs = data.runs if experiment is None else tables.select(data.runs, experiment=experiment)
    cells = runs[HELD_OUT].tolist() if HELD_OUT in runs else [None] * len(runs)
    kept = [(cell is not None and cell > 0) == some for cell in cells]
    return tables.subset(data, runs.take(np.flatnonzero(kept)))


def last(data: StudyData, split: str, *, metric: str = "top1", diverged: float) -> pd.DataFrame:
    """``data.runs`` and a column ``last``: the last number on ``split``, by moving averages.

    ``diverged`` stands in for it where a run left the real numbers; NaN where it has none.
    """
    rows = tables.select(data.curves, split=split, statistics="moving", metric=metric)
    keys = (rows[name].tolist() for name in (*tables.KEY, "step", "value"))
    found: dict[tuple[str, str, int], tuple[int, float]] = {}
    for experiment, id, seed, step, value in zip(*keys, strict=True):
        key = (experiment, id, int(seed))
        found[key] = max(found.get(key, (-1, math.nan)), (int(step), float(value)))
    runs = data.runs.copy()
    runs["last"] = [
        diverged
        if state == "diverged"
        else found.get((experiment, id, int(seed)), (0, math.nan))[1]
        for experiment, id, seed, state in zip(
            *(runs[name].tolist() for name in (*tables.KEY, "state")), strict=True
        )
    ]
    return runs


def grid(runs: pd.DataFrame, keys: Sequence[str], column: str = "last") -> Grid | None:
    """The numbers in ``column`` over the values of ``keys``, ascending (a missing value is last).

    ``runs`` are those of one arm, one run to a cell and seed; the seeds are those of every cell
    that has any. None where nothing is left.
    """
    columns = [[_plain(value) for value in runs[key].tolist()] for key in keys]
    cells: dict[tuple[Any, ...], dict[int, float]] = {}
    for *cell, seed, value in zip(
        *columns, runs["seed"].tolist(), runs[column].tolist(), strict=True
    ):
        of_cell = cells.setdefault(tuple(cell), {})
        if int(seed) in of_cell:
            raise ValueError(f"grid: two runs at {dict(zip(keys, cell, strict=True))} seed {seed}")
        of_cell[int(seed)] = float(value)
    if not cells:
        return None
    seeds = sorted(set.intersection(*(set(found) for found in cells.values())))
    axes = tuple(
        tuple(sorted(set(values), key=lambda v: (v is None, v if v is not None else 0)))
        for values in columns
    )
    if not seeds:
        return None
    values = np.full((*(len(axis) for axis in axes), len(seeds)), math.nan)
    for place, cell in zip(
        np.ndindex(*(len(axis) for axis in axes)), itertools.product(*axes), strict=True
    ):
        if cell in cells:
            values[place] = [cells[cell][seed] for seed in seeds]
    return Grid(axes, tuple(seeds), values)


def _plain(value: Any) -> Any:
    return None if value is None or value != value else value  # NaN: missing in a file


def good_range(means: np.ndarray, within: float = GOOD) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the ends of the stretch around the best that is all ``within`` of it.

    ``means`` (settings, ...), of settings in order; both results (...).
    """
    good = means >= means.max(axis=0) - within
    low = high = means.argmax(axis=0)
    for _ in range(len(means)):
        below, above = np.maximum(low - 1, 0), np.minimum(high + 1, len(means) - 1)
        low = np.where(np.take_along_axis(good, below[None], 0)[0], below, low)
        high = np.where(np.take_along_axis(good, above[None], 0)[0], above, high)
    return low, high
