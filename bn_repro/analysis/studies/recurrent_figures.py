"""The figure of ``recurrent``: rates, training, and the gradient along a sequence."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import panels, style
from bn_repro.analysis.studies import recurrent_runs as runs_of
from bn_repro.analysis.studies.recurrent_runs import ARMS, NONE, PER_STEP, When
from bn_repro.analysis.tables import Runs


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_recurrent``: accuracy by rate and over training; gradients, start and end."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 5.8), layout="constrained")
        axes = figure.subplots(2, 2)
        draw_rates(axes[0, 0], runs).set_title("every rate")
        draw_training(axes[0, 1], runs).set_title("own best rate")
        draw_gradients(axes[1, 0], runs, "start").set_title("after the first training step")
        draw_gradients(axes[1, 1], runs, "end").set_title("at the end")
        style.letters(axes.ravel())
        style.legend(figure, axes[0, ::-1], loc="outside upper center", ncols=len(ARMS))
        return {"figure_recurrent": figure}


def draw_rates(ax: Axes, runs: Runs) -> Axes:
    """Held-out accuracy at the last step by rate: every seed and the mean, the best rate ringed."""
    tops = []
    for arm in ARMS:
        found = runs_of.grid(runs, arm)
        if found is None:
            continue
        panels.along(ax, found.axes[0], found.values, arm)
        best = found.best
        ax.plot([found.axes[0][best[0]]], [found.means[best]], **panels.RING, mec=arm.color)
        tops.append(float(np.nanmax(found.values)))
        ax.set(xscale="log", xlabel="learning rate")
        ax.set_xticks(found.axes[0], [f"{rate:g}" for rate in found.axes[0]])
        ax.minorticks_off()
    if tops:
        style.error_axis(ax, 0.0, 1 - 0.8 * (1 - max(tops)), "held-out accuracy")
    return ax


def draw_training(ax: Axes, runs: Runs) -> Axes:
    """Test accuracy at each arm's best rate."""
    tops = []
    for arm in ARMS:
        wide = runs_of.curve(runs, arm)
        panels.curves(ax, wide, arm)
        tops += [float(np.nanmax(wide))] if wide.size else []
    if tops:
        style.error_axis(ax, 0.0, 1 - 0.8 * (1 - max(tops)))
    return style.steps_axis(ax)


def draw_gradients(ax: Axes, runs: Runs, when: When) -> Axes:
    """The norm of the gradient with respect to h_t over that of the last state, with BN and not."""
    for arm in (NONE, PER_STEP):
        panels.curves(ax, runs_of.gradients(runs, arm, when), arm)
    if ax.lines:
        panels.reference(ax, 1.0)
        ax.set_yscale("log")
    ax.set(xlabel="step t of the sequence", ylabel="gradient over the last state's")
    return ax
