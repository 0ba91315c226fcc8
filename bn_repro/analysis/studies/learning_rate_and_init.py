"""Higher learning rates, and less care about initial weights (abstract; sec. 1, 3.3): a grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bn_repro.analysis import grids, steps_to
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.grids import Grid
from bn_repro.analysis.rules import Above, SignTest
from bn_repro.analysis.studies import learning_rate_and_init_figures as maps
from bn_repro.analysis.studies.fig1 import answers
from bn_repro.analysis.studies.learning_rate_and_init_figures import TARGETS, TRAINS, Cells
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import BASELINE, BN, MNIST_ARMS, Arm
from bn_repro.analysis.tables import Runs

USUAL_STD = 0.1
"""The initial scale of Figure 1, at which the highest rates are compared."""


def span(values: np.ndarray, along: tuple[float, ...]) -> np.ndarray:
    """Highest over lowest good setting ``along`` axis 0; values (settings, ..., seeds)."""
    low, high = grids.good_range(values.mean(axis=-1))
    return np.asarray(along)[high] / np.asarray(along)[low]


def highest(values: np.ndarray, cells: Cells) -> np.ndarray:
    """The highest rate that trains at the usual scale; NaN where none does."""
    grid = cells.test
    if USUAL_STD not in grid.axes[1]:
        return np.full(values.shape[2:-1], math.nan)
    trains = values[:, grid.axes[1].index(USUAL_STD)].mean(axis=-1) >= TRAINS
    top = len(trains) - 1 - trains[::-1].argmax(axis=0)
    return np.where(trains.any(axis=0), np.asarray(grid.axes[0])[top], math.nan)


def compared(both: Sequence[Cells | None], compute: Callable[..., np.ndarray]) -> list[pd.Series]:
    """With BN and without, by seed, over the seeds that both whole grids have; empty without them.

    ``compute`` takes test accuracies (rates, scales, seeds, 1) and the cells that they are of.
    """
    without, with_bn = both
    if without is None or with_bn is None:
        return [pd.Series(dtype=float)] * 2
    a, b = without.test, with_bn.test
    if not (a.complete and b.complete) or (a.seeds, a.axes) != (b.seeds, b.axes):
        return [pd.Series(dtype=float)] * 2
    return [
        pd.Series(compute(cells.test.values[..., None], cells), cells.test.seeds, float)
        for cells in (with_bn, without)
    ]


GOOD = (
    f"Good is a test accuracy within {100 * grids.GOOD:g} point of the best there, without a gap. "
    f"With BN over without. {q.AT_CHANCE}; the grid is the resolution, and its ends are limits"
)


def claims(runs: Runs) -> Iterator[Claim]:
    """The abstract's two promises, each as a rule fixed before the runs."""
    both = [maps.cells(runs, arm) for arm in MNIST_ARMS]
    for target in TARGETS:
        percent = f"{100 * target:g}"
        more, fewer = compared(both, lambda v, _, t=target: (v >= t).mean((0, 1, -1)))
        words = f"The share of the grid's runs whose test accuracy at the last step is {percent} %"
        yield Claim(
            f"trains_to_{percent}_difference",
            f"BN trains to {percent} % over more of the grid of rates and initial scales.",
            "abstract; 3.3",
            q.difference(more, fewer, f"{words} or more, with BN minus without. {q.AT_CHANCE}"),
            Above(),
            hangs_on="the grid",
        )
    yield _ratio(
        "good_rates_ratio",
        "BN trains well over a wider range of learning rates, each at the initial scale of its "
        "best cell.",
        "abstract; 3.3",
        "At the initial scale of each arm's best cell on held-out images: the highest good rate "
        f"over the lowest. {GOOD}",
        compared(both, lambda v, of: span(v[:, of.best[1]], of.test.axes[0])),
    )
    yield _ratio(
        "good_scales_ratio",
        "BN depends less on the scale of the initial weights.",
        "abstract; 1",
        "At the rate of each arm's best cell on held-out images: the largest good standard "
        f"deviation of the initial weights over the smallest. {GOOD}",
        compared(both, lambda v, of: span(v[of.best[0]], of.test.axes[1])),
    )
    yield _ratio(
        "highest_rate_ratio",
        "With BN the highest rate that still trains is higher.",
        "abstract; 3.3",
        f"At the initial scale of Figure 1, {USUAL_STD:g}: the highest rate of the grid with a "
        f"test accuracy of at least {100 * TRAINS:g} %, with BN over without. {q.AT_CHANCE}; the "
        "grid's highest rate is a limit",
        compared(both, highest),
    )
    final = runs.where(block="final")
    without, with_bn = (maps.finals(runs, arm) for arm in MNIST_ARMS)
    yield Claim(
        "final_accuracy_difference",
        "Each at its own best cell of the grid, BN ends with the higher test accuracy.",
        "4.1",
        q.higher_at_the_end(with_bn, without, (BN.label, BASELINE.label), answers(final)),
        Above(),
    )


def _ratio(id: str, sentence: str, section: str, words: str, found: list[pd.Series]) -> Claim:
    wider = q.discrete(found[0], found[1], words)
    return Claim(id, sentence, section, wider, SignTest(1.0), hangs_on="the grid")


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    found = [(arm, got) for arm in MNIST_ARMS if (got := maps.cells(runs, arm))]
    ends = [q.at_the_end(maps.finals(runs, arm)) for arm in MNIST_ARMS]
    grid = [got.test for _, got in found]
    alike = len(grid) == 2 and grid[0].axes == grid[1].axes
    spans = [span(g.values, g.axes[0]) for g in grid] if alike else []
    return {
        "arms": [_about(arm, got, runs.last_step) for arm, got in found],
        "ends": ends if all(len(end) for end in ends) else [],
        "by_scale": by_scale(*grid) if alike else [],
        "wider": int((spans[1] > spans[0]).sum()) if alike else 0,
        "slope": slope(grid[1]) if alike else None,
    }


def _about(arm: Arm, cells: Cells, last: float) -> dict[str, Any]:
    """An arm's shares of runs that train, and its best cell."""
    grid, (i, j) = cells.test, cells.best
    around = [grids.good_range(m) for m in (grid.means[:, j], grid.means[i])]
    ends = [(a, int(low), int(high)) for a, (low, high) in zip(grid.axes, around, strict=True)]
    return {
        "label": arm.label,
        "cells": grid.means.size,
        "seeds": len(grid.seeds),
        "shares": [float((grid.values >= target).mean()) for target in TARGETS],
        "rate": f"{grid.axes[0][i]:g}",
        "std": f"{grid.axes[1][j]:g}",
        "accuracy": grid.means[i, j],
        "steps": steps_to.shown(steps_to.median_steps(cells.steps.values[i, j]), last),
        "good": [_from_to(axis[low], axis[high]) for axis, low, high in ends],
        "limited": any(low == 0 or high == len(axis) - 1 for axis, low, high in ends),
    }


def by_scale(without: Grid, with_bn: Grid) -> list[list[str]]:
    """At each initial scale the best rate, those near it, and those that train; a head first."""
    kinds = ("best rate", "good rates", "rates that train")
    rows = [["std", *(f"{kind}, {arm.label}" for arm in MNIST_ARMS for kind in kinds)]]
    for j, scale in enumerate(without.axes[1]):
        rows.append([f"{scale:g}"])
        for grid in (without, with_bn):
            means, rates = grid.means[:, j], grid.axes[0]
            best = int(np.nan_to_num(means, nan=-1).argmax())
            low, high = (rates[int(k)] for k in grids.good_range(means))
            trains = [rate for rate, mean in zip(rates, means, strict=True) if mean >= TRAINS]
            rows[-1] += [
                f"{rates[best]:g} ({100 * means[best]:.1f} %)",
                _from_to(low, high),
                _from_to(trains[0], trains[-1]) if trains else "none",
            ]
    return rows


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


STUDY = Study(
    "learning_rate_and_init.md.j2", maps.figures, claims, MNIST_ARMS, values, targets=TARGETS
)
