"""The figure of ``cost``."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import panels, style
from bn_repro.analysis.studies.cost_runs import (
    INFERENCE,
    INFERENCE_FOLDED,
    KEPT,
    NETWORKS,
    STEP,
    Network,
)
from bn_repro.analysis.tables import Runs

KINDS = (
    ("training step", STEP, STEP),
    ("inference", INFERENCE, INFERENCE),
    ("inference, folded", INFERENCE_FOLDED, INFERENCE),
    ("kept for the\nbackward pass", KEPT, KEPT),
)
"""What is compared: with BN under the first name, without it under the second."""
APART = 0.22
"""Of two networks in a row, from its middle."""


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_cost``: accuracy against steps and against seconds, and what a step costs."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 5.2), layout="constrained")
        axes = figure.subplots(2, 3)
        for (steps, seconds, costs), network in zip(axes, NETWORKS, strict=True):
            draw_training(steps, network, runs, seconds=False).set_title(network.name)
            draw_training(seconds, network, runs, seconds=True).set_ylabel("")
            draw_costs(costs, network, runs)
            if steps.lines:
                steps.legend(loc="lower right")
        style.letters(axes.ravel())
        return {"figure_cost": figure}


def draw_training(ax: Axes, network: Network, runs: Runs, *, seconds: bool) -> Axes:
    """Test accuracy against steps, or against steps times each network's median seconds a step."""
    highest = 0.9
    for arm in network.arms:
        wide, paces = network.curve(runs, arm), network.measured(runs, arm, STEP)
        if wide.empty or (seconds and paces.empty):
            continue
        highest = max(highest, float(np.nanmax(wide.to_numpy(float))))
        pace = float(paces.median()) if seconds else 1.0
        panels.curves(ax, wide.set_axis(wide.columns.to_numpy(float) * pace, axis=1), arm)
    race = network.race(runs, network.bn, seconds=seconds)
    if race.known:
        panels.reference(ax, race.target())
    style.error_axis(ax, 0.0, 1 - 0.8 * (1 - highest))
    style.steps_axis(ax)
    if seconds:
        ax.set_xlabel("seconds of training")
    return ax


def draw_costs(ax: Axes, network: Network, runs: Runs) -> Axes:
    """How many times that of the network without BN: every seed, joined, and the mean."""
    for row, (_, name, to) in enumerate(reversed(KINDS)):
        for k, arm in enumerate(network.with_bn):
            values = network.relative(runs, arm, name, to).to_numpy(float)
            if len(values):
                place = row + APART * (len(network.with_bn) - 1) * (0.5 - k)
                panels.seeds_of_row(ax, place, values, arm)
    ax.axvline(1.0, color=style.INK, lw=0.7, ls=panels.DOTTED, zorder=1)
    ax.set_yticks(range(len(KINDS)), [words for words, _, _ in reversed(KINDS)])
    ax.set_ylim(-0.6, len(KINDS) - 0.4)
    ax.set_xlabel("times that without BN")
    return ax
