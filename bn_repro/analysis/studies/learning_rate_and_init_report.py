"""What the page of ``learning_rate_and_init`` shows besides its claims."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bn_repro.analysis import grids, steps_to
from bn_repro.analysis import quantities as q
from bn_repro.analysis.grids import Grid
from bn_repro.analysis.studies.learning_rate_and_init_runs import (
    TARGETS,
    TRAINS,
    Cells,
    cells,
    finals,
    fine,
)
from bn_repro.analysis.style import MNIST_ARMS, Arm
from bn_repro.analysis.tables import Runs

RANGES = ("best rate", "good rates", "rates that train")


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    found = [(arm, of) for arm in MNIST_ARMS if (of := cells(runs, arm))]
    tests = [of.test for _, of in found]
    ends = [q.at_the_end(finals(runs, arm)) for arm in MNIST_ARMS]
    both = len(tests) == 2 and tests[0].axes == tests[1].axes
    scales = tests[0].axes[1] if both else ()
    rows = [[of.along_rates(k) for _, of in found] for k in range(len(scales))]
    row = [(arm.label, of) for arm in MNIST_ARMS if (of := fine(runs, arm))]
    return {
        "arms": [_about(arm, of, runs.last_step) for arm, of in found],
        "ends": ends if all(len(end) for end in ends) else [],
        "by_scale": by_scale(scales, rows) if both else [],
        "wider": sum(_span(with_bn) > _span(without) for without, with_bn in rows),
        "slope": slope(tests[1]) if both else None,
        "fine": [["arm", *RANGES], *([label, *ranges(of)] for label, of in row)] if row else [],
    }


def _span(row: Grid) -> float:
    low, high = grids.good(row)
    return high / low


def _about(arm: Arm, cells: Cells, last: float) -> dict[str, Any]:
    """An arm's shares of runs that train, and its best cell."""
    grid, (i, j) = cells.test, cells.best
    good = [grids.good(cells.through_best(axis)) for axis in (0, 1)]
    return {
        "label": arm.label,
        "cells": grid.means.size,
        "seeds": len(grid.seeds),
        "shares": [float((grid.values >= target).mean()) for target in TARGETS],
        "rate": f"{grid.axes[0][i]:g}",
        "std": f"{grid.axes[1][j]:g}",
        "accuracy": grid.means[i, j],
        "steps": steps_to.shown(steps_to.median_steps(cells.steps.values[i, j]), last),
        "good": [_from_to(*ends) for ends in good],
        "limited": any(
            low == axis[0] or high == axis[-1]
            for axis, (low, high) in zip(grid.axes, good, strict=True)
        ),
    }


def by_scale(scales: tuple[float, ...], rows: Sequence[Sequence[Grid]]) -> list[list[str]]:
    """At each initial scale the ``ranges`` of both arms; a head first."""
    head = ["std", *(f"{kind}, {arm.label}" for arm in MNIST_ARMS for kind in RANGES)]
    return [
        head,
        *(
            [f"{scale:g}", *(text for row in both for text in ranges(row))]
            for scale, both in zip(scales, rows, strict=True)
        ),
    ]


def ranges(row: Grid) -> list[str]:
    """Along the rates: the best one by the mean over seeds, those near it, those that train."""
    means, rates = row.means, row.axes[0]
    best = int(np.nan_to_num(means, nan=-1).argmax())
    trains = [rate for rate, mean in zip(rates, means, strict=True) if mean >= TRAINS]
    return [
        f"{rates[best]:g} ({100 * means[best]:.1f} %)",
        _from_to(*grids.good(row)),
        _from_to(trains[0], trains[-1]) if trains else "none",
    ]


def _from_to(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def slope(grid: Grid) -> dict[str, float] | None:
    """The power of the initial scale with which the lowest rate that trains grows."""
    found = []
    for scale, means in zip(grid.axes[1], grid.means.T, strict=True):
        first = int((means >= TRAINS).argmax())
        if first > 0:  # neither at the grid's end, nor none at all
            found.append((math.log(scale), math.log(grid.axes[0][first])))
    if len(found) < 3:
        return None
    x, y = np.array(found).T
    return {"low": math.exp(x[0]), "high": math.exp(x[-1]), "power": float(np.polyfit(x, y, 1)[0])}
