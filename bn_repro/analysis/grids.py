"""Grids of runs: a number of each run as an array over the keys that were varied and the seeds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bn_repro.analysis.tables import Values

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
    def complete(self) -> bool:
        """Whether every cell has every seed."""
        return not bool(np.isnan(self.values).any())


def grid(values: Values, keys: Sequence[str]) -> Grid | None:
    """The numbers over the values of ``keys``, ascending (a missing value is last).

    ``values`` are those of one arm, one run to a cell and seed; the seeds kept are those that all
    cells with runs share. None where nothing is left; ValueError for two runs in one cell with one
    seed.
    """
    axes = tuple(tuple(values.levels(key)) for key in keys)
    cells = {
        cell: values.where(**dict(zip(keys, cell, strict=True))).by_seed()
        for cell in itertools.product(*axes)
    }
    known = [of_cell for of_cell in cells.values() if len(of_cell)]
    seeds = sorted(set.intersection(*(set(of_cell.index) for of_cell in known))) if known else []
    if not seeds:
        return None
    rows = [of_cell.reindex(seeds).to_numpy(float) for of_cell in cells.values()]
    shape = (*(len(axis) for axis in axes), len(seeds))
    return Grid(axes, tuple(int(seed) for seed in seeds), np.array(rows).reshape(shape))


def good(row: Grid) -> tuple[float, float]:
    """The lowest and the highest of the settings around the best that are all good, by means."""
    low, high = good_range(row.means)
    return row.axes[0][int(low)], row.axes[0][int(high)]


def span(row: Grid) -> np.ndarray:
    """Highest over lowest good setting of a row (settings, seeds), by seed."""
    settings, (low, high) = np.array(row.axes[0]), good_range(row.values)
    return settings[high] / settings[low]


def good_range(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last index of the unbroken range around the best that is within ``GOOD`` of it.

    ``means`` (settings, ...), of settings in order; both results (...).
    """
    good = means >= means.max(axis=0) - GOOD
    low = high = means.argmax(axis=0)
    for _ in range(len(means)):
        below, above = np.maximum(low - 1, 0), np.minimum(high + 1, len(means) - 1)
        low = np.where(np.take_along_axis(good, below[None], 0)[0], below, low)
        high = np.where(np.take_along_axis(good, above[None], 0)[0], above, high)
    return low, high
