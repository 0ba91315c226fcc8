"""Higher learning rates, and less care about initial weights (abstract; sec. 1, 3.3): a grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import FuncNorm, LogNorm
from matplotlib.figure import Figure

from bn_repro.analysis import claims as c
from bn_repro.analysis import grids, intervals, panels, steps_to, style
from bn_repro.analysis.claims import Claim, Quantity
from bn_repro.analysis.grids import Grid
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import BASELINE, BN, MNIST_ARMS, Arm
from bn_repro.analysis.tables import Runs, Values

RATE, STD = "optimizer.lr", "model.init_std"
TARGETS = (0.9, 0.95)
TRAINS = TARGETS[0]
USUAL_STD = 0.1
"""The initial scale of Figure 1, at which the highest rates are compared."""
MARK, LOW, HIGH = "#d6336c", style.ERROR_TICKS[0], 0.985
"""The colour of outline and ring; the ends of the colour scale."""


@dataclass(frozen=True)
class Cells:
    """One arm over (rates, initial scales, seeds)."""

    test: Grid
    """Test accuracy at the last step."""
    held_out: Grid
    """The same on held-out images."""
    steps: Grid
    """Steps to 90 % on held-out images; infinite where never."""

    @property
    def best(self) -> tuple[int, int]:
        """The indices of the best cell, by the mean accuracy on held-out images."""
        return self.held_out.best[0], self.held_out.best[1]


def cells(runs: Runs, arm: Arm) -> Cells | None:
    """The arm's grid; None where it has no runs."""
    part = arm.of(runs).where(block="grid")
    reached = steps_to.never_is_infinite(part.runs[steps_to.column(TRAINS)].to_numpy(float))
    of_runs = [part.final(split, diverged=runs.chance) for split in ("test", "val")]
    of_runs.append(Values(part.runs.assign(value=reached)))
    test, held_out, steps = (grids.grid(values, (RATE, STD)) for values in of_runs)
    return Cells(test, held_out, steps) if test and held_out and steps else None


def finals(runs: Runs, arm: Arm) -> pd.DataFrame:
    """Test accuracy of the fresh seeds at the arm's best cell, seeds by steps."""
    return arm.of(runs).where(block="final").curve(split="test", diverged=runs.chance)


# --- claims ---------------------------------------------------------------------------------------


def share(values: np.ndarray, target: float) -> np.ndarray:
    """The share of runs (rates, scales, ..., seeds) that reach ``target``."""
    return (values >= target).mean(axis=(0, 1, -1))


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


Compute = Callable[[np.ndarray, Cells], np.ndarray]
"""Of test accuracies (rates, scales, ..., seeds), and the grid that they are from."""
Both = Sequence[Cells | None]
"""Without BN, and with it."""


def compared(both: Both, compute: Compute, *, ratio: bool = True) -> Interval:
    """With BN over (or minus) without, resampling the seeds that both whole grids have together."""
    without, with_bn = both
    if without is None or with_bn is None:
        return c.NOTHING
    a, b = without.test, with_bn.test
    if not (a.whole and b.whole) or (a.seeds, a.axes) != (b.seeds, b.axes):
        return c.NOTHING

    def statistic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        low, high = compute(x, without), compute(y, with_bn)
        return high / low if ratio else high - low

    return intervals.bootstrap(statistic, a.values, b.values, paired=True)


PAIRED = f"{c.OVER_SEEDS}, paired over arms and cells. {c.AT_CHANCE}"
GOOD = (
    f"Good is a mean test accuracy within {100 * grids.GOOD:g} point of the best there, without a "
    f"gap. With BN over without; {PAIRED}. The grid is the resolution, and its ends are limits"
)


def claims(runs: Runs) -> Iterator[Claim]:
    """The abstract's two promises, each as a rule fixed before the runs."""
    both = [cells(runs, arm) for arm in MNIST_ARMS]
    for target in TARGETS:
        percent = f"{100 * target:g}"
        found = compared(both, lambda v, _, t=target: share(v, t), ratio=False)
        words = f"The share of the grid's runs whose test accuracy at the last step is {percent} %"
        yield Claim(
            f"trains_to_{percent}_difference",
            f"BN trains to {percent} % over more of the grid of rates and initial scales.",
            "abstract; 3.3",
            Quantity(f"{words} or more, with BN minus without; {PAIRED}", found, "points"),
            c.Above(),
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
        f"mean test accuracy of at least {100 * TRAINS:g} %, with BN over without; {PAIRED}. The "
        "grid's highest rate is a limit",
        compared(both, highest),
    )
    yield Claim(
        "final_accuracy_difference",
        "Each at its own best cell of the grid, BN ends with the higher test accuracy.",
        "4.1",
        c.higher_at_the_end(finals(runs, BN), finals(runs, BASELINE), (BN.label, BASELINE.label)),
        c.Above(),
    )


def _ratio(id: str, sentence: str, section: str, words: str, found: Interval) -> Claim:
    return Claim(id, sentence, section, Quantity(words, found, "x"), c.Above(1.0))


# --- figures --------------------------------------------------------------------------------------


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_grid``: the maps; ``figure_best``: through the best cells, and at them."""
    found = [(arm, got) for arm in MNIST_ARMS if (got := cells(runs, arm))]
    with style.context():
        maps = Figure(figsize=(style.WIDTH, 6.1), layout="constrained")
        axes = np.asarray(maps.subplots(2, 2, sharex=True, sharey=True))
        for arm, got in found:
            column = MNIST_ARMS.index(arm)
            draw_accuracy(axes[0, column], arm, got, runs.chance)
            draw_steps(axes[1, column], arm, got, runs.last_step)
        _color_bar(maps, axes[0], style.ERROR_TICKS, "test accuracy, %")
        _color_bar(maps, axes[1], (250, 500, 1000, 2000, 5000, 10000), "steps")
        style.letters(axes.flat)
        for ax in axes.flat:
            ax.set(xlabel="learning rate", ylabel="std of the initial weights")
            ax.label_outer()
        best = Figure(figsize=(style.WIDTH, 2.8), layout="constrained")
        left, middle, right = best.subplots(1, 3)
        draw_along(left, found, 0).set_title("along the rate")
        draw_along(middle, found, 1).set(title="along the initial scale", ylabel="")
        panels.reference(left, runs.chance)
        panels.reference(middle, runs.chance, "chance")
        draw_finals(right, runs).set_ylabel("")
        style.letters((left, middle, right))
        return {"figure_grid": maps, "figure_best": best}


TEXT: Any = {"ha": "center", "va": "center", "fontsize": 5.8}
COLORS = "cividis"  # equally spaced in grey, and for every kind of colour vision


def draw_accuracy(ax: Axes, arm: Arm, cells: Cells, chance: float) -> Axes:
    """Mean test accuracy over the grid, in percent, coloured on the scale of the error.

    A dot marks cells near chance; what trains is outlined, and the best cell ringed.
    """
    grid = cells.test
    norm = FuncNorm((style.of_error, style.of_error_inverse), vmin=LOW, vmax=HIGH)
    image = panels.heat_map(ax, grid.axes, np.clip(grid.means, LOW, HIGH), norm=norm, cmap=COLORS)
    for (i, j), value in np.ndenumerate(grid.means):
        if np.isfinite(value):  # the most frequent digit is 1.14 times chance
            text = "·" if value <= 1.5 * chance else f"{100 * value:.0f}"
            ax.text(i, j, text, color=panels.ink_on(image, value), **TEXT)
    panels.outline(ax, grid.means >= TRAINS, MARK)
    ax.plot(*cells.best, **panels.RING | {"ms": 13, "mec": MARK, "mew": 1.6})
    ax.set_title(f"{arm.label}: test accuracy, %")
    return ax


def draw_steps(ax: Axes, arm: Arm, cells: Cells, last: float) -> Axes:
    """Median steps to 90 % over the grid; blank where the median run never arrives."""
    medians = np.median(cells.steps.values, axis=-1)
    medians[~np.isfinite(medians)] = np.nan
    norm = LogNorm(vmin=min(250.0, last), vmax=last)
    image = panels.heat_map(ax, cells.steps.axes, medians, norm=norm, cmap=f"{COLORS}_r")
    for (i, j), value in np.ndenumerate(medians):
        if np.isfinite(value):
            text = style.thousands(value if value < 1000 else round(value, -2))
            ax.text(i, j, text, color=panels.ink_on(image, value), **TEXT)
    ax.set_title(f"{arm.label}: steps to {100 * TRAINS:g} %")
    return ax


def _color_bar(figure: Figure, axes: Any, ticks: Sequence[float], label: str) -> None:
    """Beside a row of maps; what is good is above."""
    images = [image for ax in axes for image in ax.images]
    if not images:
        return
    bar = figure.colorbar(images[0], ax=list(axes), shrink=0.9, pad=0.01, aspect=28)
    is_steps, norm = ticks[0] > 1, images[0].norm
    ticks = [tick for tick in ticks if norm.vmin <= tick <= norm.vmax]
    bar.set_ticks(ticks, labels=[style.thousands(t) if is_steps else f"{100 * t:g}" for t in ticks])
    bar.minorticks_off()
    bar.set_label(label)
    bar.outline.set_visible(False)
    if is_steps:
        bar.ax.invert_yaxis()


def draw_along(ax: Axes, found: Sequence[tuple[Arm, Cells]], key: int) -> Axes:
    """Test accuracy along a key of the grid through each arm's best cell."""
    for arm, cells in found:
        grid, (rate, std) = cells.test, cells.best
        label = f"rate {grid.axes[0][rate]:g}" if key else f"std {grid.axes[1][std]:g}"
        values = grid.values[rate] if key else grid.values[:, std]
        panels.along(ax, grid.axes[key], values, arm, label=label)
    ax.set_xscale("log")
    style.error_axis(ax, 0.0, HIGH).set_xlabel(("learning rate", "std of the initial weights")[key])
    if found:
        ax.legend(loc="lower center", bbox_to_anchor=(0.53, 0.18), fontsize=6)
    return ax


def draw_finals(ax: Axes, runs: Runs) -> Axes:
    """Test accuracy of the fresh seeds at each arm's best cell."""
    wides = [finals(runs, arm) for arm in MNIST_ARMS]
    for arm, wide in zip(MNIST_ARMS, wides, strict=True):
        panels.curves(ax, wide, arm)
    known = np.concatenate([wide.to_numpy(float).ravel() for wide in wides])
    if known.size:
        style.error_axis(ax, max(0.5, float(known.min())), max(HIGH, float(known.max())))
        ax.legend(loc="lower right")
    style.steps_axis(ax).set_title("fresh seeds, best cells")
    return ax


# --- prose ----------------------------------------------------------------------------------------


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    found = [(arm, got) for arm in MNIST_ARMS if (got := cells(runs, arm))]
    ends = [c.at_the_end(finals(runs, arm)) for arm in MNIST_ARMS]
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
    places = [(int(low), int(high)) for low, high in around]
    both = list(zip(places, grid.axes, strict=True))
    return {
        "label": arm.label,
        "cells": grid.means.size,
        "seeds": len(grid.seeds),
        "shares": [float(share(grid.values, target)) for target in TARGETS],
        "rate": f"{grid.axes[0][i]:g}",
        "std": f"{grid.axes[1][j]:g}",
        "accuracy": grid.means[i, j],
        "steps": steps_to.shown(steps_to.median_steps(cells.steps.values[i, j]), last),
        "good": [_from_to(axis[low], axis[high]) for (low, high), axis in both],
        "limited": any(low == 0 or high == len(axis) - 1 for (low, high), axis in both),
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
    prose="learning_rate_and_init.md.j2",
    arms=MNIST_ARMS,
    claims=claims,
    figures=figures,
    values=values,
    targets=TARGETS,
)
