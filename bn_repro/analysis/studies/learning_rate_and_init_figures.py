"""The figures of ``learning_rate_and_init``: maps of the grid, and the best cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import FuncNorm, LogNorm
from matplotlib.figure import Figure

from bn_repro.analysis import panels, style
from bn_repro.analysis.studies.learning_rate_and_init_runs import (
    TRAINS,
    USUAL_STD,
    Cells,
    cells,
    finals,
    fine,
)
from bn_repro.analysis.style import MNIST_ARMS, Arm
from bn_repro.analysis.tables import Runs

MARK, LOW, HIGH = "#d6336c", style.ERROR_TICKS[0], 0.985
"""The colour of outline and ring; the ends of the colour scale."""


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
        best = Figure(figsize=(style.WIDTH, 5.2), layout="constrained")
        axes = np.asarray(best.subplots(2, 2))
        draw_along(axes[0, 0], found, 0).set_title("along the rate")
        draw_along(axes[0, 1], found, 1).set(title="along the initial scale", ylabel="")
        draw_fine(axes[1, 0], runs)
        draw_finals(axes[1, 1], runs).set_ylabel("")
        for ax in axes.flat[:3]:
            panels.reference(ax, runs.chance, "chance")
        style.letters(axes.flat)
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
    for arm, of in found:
        grid, (rate, std) = of.test, of.best
        label = f"rate {grid.axes[0][rate]:g}" if key else f"std {grid.axes[1][std]:g}"
        row = of.through_best(key)
        panels.along(ax, row.axes[0], row.values, arm, label=label)
    ax.set_xscale("log")
    style.error_axis(ax, 0.0, HIGH).set_xlabel(("learning rate", "std of the initial weights")[key])
    if found:
        ax.legend(loc="lower center", bbox_to_anchor=(0.53, 0.18), fontsize=6)
    return ax


def draw_fine(ax: Axes, runs: Runs) -> Axes:
    """Test accuracy along the finer row of rates, at the initial scale of Figure 1."""
    for arm in MNIST_ARMS:
        if row := fine(runs, arm):
            panels.along(ax, row.axes[0], row.values, arm)
    ax.set_xscale("log")
    style.error_axis(ax, 0.0, HIGH)
    ax.set(xlabel="learning rate", title=f"rates 1.25 times apart, std {USUAL_STD:g}")
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
