"""Test accuracy against depth, for ``depth``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import panels, style
from bn_repro.analysis.studies import depth_layers
from bn_repro.analysis.studies.depth_layers import NONLINEARITIES
from bn_repro.analysis.studies.depth_runs import (
    BLOCKS,
    LARGER,
    LARGER_STD,
    RATE,
    TRAINS,
    by_depth,
    depths,
)
from bn_repro.analysis.style import MNIST_ARMS
from bn_repro.analysis.tables import Runs


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_depth``, and those of ``depth_layers``."""
    with style.context():
        blocks = [["best", "common"], *([[LARGER]] if len(runs.where(block=LARGER).runs) else [])]
        figure = Figure(figsize=(style.WIDTH, 0.4 + 3.2 * len(blocks)), layout="constrained")
        axes = figure.subplots(len(blocks), 2, sharey=True, squeeze=False)
        for line, shown in zip(axes, blocks, strict=True):
            for ax, nonlinearity in zip(line, NONLINEARITIES, strict=True):
                draw_accuracy(ax, runs, nonlinearity, shown)
            line[1].set_ylabel("")
        style.letters(axes.ravel())
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
        return {"figure_depth": figure} | depth_layers.figures(runs)


def draw_accuracy(ax: Axes, runs: Runs, nonlinearity: str, blocks: Sequence[str]) -> Axes:
    """Test accuracy against depth, every seed; below it, each network's own best rate.

    The first of the ``blocks`` has these rates.
    """
    final, layers = runs.final("test", diverged=runs.chance), depths(runs)
    below: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "fontsize": 6.5}
    for (line, arm), block in product(enumerate(MNIST_ARMS), blocks):
        where = BLOCKS[block][1]
        wide = by_depth(final, arm, block, nonlinearity)
        x = (0.965, 1.035)[line] * wide.columns.to_numpy(float)  # side by side
        named = arm.with_(label=f"{arm.label}, each {where}")
        panels.along(ax, list(x), wide.to_numpy().T, named, light=block == "common")
        for depth in wide if block == blocks[0] else ():
            own = arm.of(final).where(block=block, nonlinearity=nonlinearity, depth=depth)
            rate = f"{own.levels(RATE)[0]:g}"
            ax.text(depth, 0.085 - 0.05 * line, rate, color=arm.color, ha="center", **below)
    ax.text(layers[0] / 2.3, 0.06, "own best\nrate", va="center", **below)
    ax.set(xscale="log", xlim=(layers[0] / 2.4, layers[-1] * 1.2), xlabel="hidden layers")
    ax.set_xticks(layers, [f"{depth}" for depth in layers])
    ax.set_xticks([], minor=True)
    style.error_axis(ax, -0.7, 0.988, "test accuracy at the end")  # below 0: room for the rates
    panels.reference(ax, TRAINS, "it trains")
    panels.reference(ax, runs.chance, "chance")
    larger = f", initial scale {LARGER_STD:g}" if blocks[0] == LARGER else ""
    ax.set_title(f"{nonlinearity}{larger}")
    return ax
