"""The figures of ``fig1``: Figure 1 as in the paper, unit 0 by seed, every layer (sec. 4.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro import paper
from bn_repro.analysis import frames, intervals, movement, panels, style
from bn_repro.analysis.studies.fig1_densities import densities_of_layers
from bn_repro.analysis.studies.fig1_inference import all_units, modes
from bn_repro.analysis.studies.fig1_layers import draw_unit, layers, log_steps, units
from bn_repro.analysis.studies.fig1_movement import LAST, UNITS
from bn_repro.analysis.style import BN, MNIST_ARMS
from bn_repro.analysis.tables import Runs

SHOWN = 10
"""So many seeds, the first, are drawn one by one where a seed has many lines."""


def curves(runs: Runs) -> list[pd.DataFrame]:
    """Test accuracy without BN and with it, a row a seed and a column a step."""
    return [arm.of(runs).curve(split="test", diverged=runs.chance) for arm in MNIST_ARMS]


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure1`` as in the paper; of the first seeds ``figure1_units`` and ``figure1_layers``; of
    those with probes ``figure1_inference`` and ``figure1_all_units``; of one with histograms
    ``figure1_densities``."""
    first = runs.where(seed=sorted(set(runs.runs["seed"]))[:SHOWN])
    with style.context():
        drawn: dict[str, Figure | None] = {"figure1": _figure1(runs)}
        if not runs.traces.empty:
            drawn |= {"figure1_units": units(first), "figure1_layers": layers(first)}
        if not runs.probes.empty:
            drawn |= {"figure1_inference": modes(first), "figure1_all_units": all_units(first)}
        if not runs.histograms.empty:
            drawn["figure1_densities"] = densities_of_layers(runs)
        return {name: figure for name, figure in drawn.items() if figure}


def _figure1(runs: Runs) -> Figure:
    figure = Figure(figsize=(style.WIDTH, 6.8), layout="constrained")
    left, right = np.asarray(figure.subfigures(1, 2, width_ratios=[1.0, 1.3])).flat
    top, bottom = left.subplots(2, 1, height_ratios=[1.8, 1.0], sharex=True)
    draw_accuracy(top, runs)
    draw_difference(bottom, runs)
    if not runs.traces.empty:
        _draw_inputs(right.subplots(4, 2, sharey="row"), runs)
    return figure


def _draw_inputs(axes: Any, runs: Runs) -> None:
    """1(b) and 1(c), a column each: in the paper's axes, then over all of training."""
    for column, arm in enumerate(MNIST_ARMS):
        unit = movement.tracks(arm.of(runs).traces, LAST, UNITS["unit"])
        for steps, values in list(unit.values())[:1]:
            for ax in axes[:2, column]:
                draw_unit(ax, steps, values, arm)
        _draw_layer(axes[2:, column], runs, arm)
        axes[0, column].set_title(f"({'bc'[column]})  {arm.label}")
        for ax in axes[1:, column]:
            log_steps(ax, runs.last_step).set_xlabel("")
        _steps(axes[0, column], runs.last_step).set_xlabel("training steps")
        axes[-1, column].set_xlabel("training steps (log scale)")
        for ax in axes[1:-1, column]:
            ax.tick_params(labelbottom=False)
    low, high = paper.FIGURE1_INPUTS
    limit = max(high, *(abs(y) for ax in axes[1] for y in ax.get_ylim()))
    axes[0, 0].set_ylim(low, high)
    axes[1, 0].set_ylim(-limit, limit)
    axes[2, 0].set_ylim(-limit, limit)
    words = ("one unit (paper's axes)", "one unit", "all units", "all units, relative")
    for ax, what in zip(axes[:, 0], words, strict=True):
        ax.set_ylabel(what)


def _steps(ax: Axes, last: float) -> Axes:
    """The paper's steps, 10K to 50K, or all where the runs are shorter than that."""
    start, stop = paper.FIGURE1_STEPS
    ax.set_xlim(start if last > start else 0, last)
    return style.steps_axis(ax, range(start, int(last) + 1, start) if last >= stop else None)


def draw_accuracy(ax: Axes, runs: Runs) -> Axes:
    """1(a): test accuracy against steps in the paper's axes; what came before 10K steps inset."""
    last, (start, _) = runs.last_step, paper.FIGURE1_STEPS
    inset = ax.inset_axes((0.3, 0.13, 0.67, 0.5)) if last > start else None
    for arm, wide in zip(MNIST_ARMS, curves(runs), strict=True):
        panels.curves(ax, wide, arm)
        if inset is not None:
            panels.curves(inset, wide.loc[:, wide.columns <= start], arm, markers=5)
    if inset is None:
        ax.legend(loc="lower right")
    else:
        ax.set_ylim(*paper.FIGURE1_ACCURACY)
        inset.set_title("the first 10,000 steps", fontweight="normal", fontsize=7, pad=3)
        inset.set_xlim(0, start)
        style.steps_axis(style.percent_axis(inset), (0, start // 2, start)).set_xlabel("")
        inset.legend(loc="lower right", fontsize=7, handlelength=2.4)
    _steps(style.percent_axis(ax), last).set_xlabel("")
    ax.set_title("(a)  test accuracy")
    return ax


def draw_difference(ax: Axes, runs: Runs) -> Axes:
    """Below 1(a): with BN minus without in percentage points, paired by seed, with its interval."""
    without, with_bn = frames.shared(*curves(runs))
    last, (start, _) = runs.last_step, paper.FIGURE1_STEPS
    difference = 100 * (with_bn - without)
    if last > start:
        difference = difference.loc[:, difference.columns >= start]
    steps = difference.columns.to_numpy(float)
    ax.plot(steps, difference.to_numpy().T, color=style.INK, lw=0.5, alpha=style.FAINT)
    found = [intervals.interval(column) for column in difference.to_numpy().T]
    low, high = [f.low for f in found], [f.high for f in found]
    ax.fill_between(steps, low, high, color=BN.color, alpha=0.25, lw=0)
    ax.plot(steps, [f.estimate for f in found], color=BN.color)
    ax.axhline(0, color=style.INK, lw=0.8)
    _steps(ax, last)
    ax.set_ylabel("points")
    ax.set_title("with BN minus without, paired by seed", fontweight="normal", fontsize=7.5)
    return ax


def _draw_layer(axes: Any, runs: Runs, arm: style.Arm) -> None:
    """All units: the first seeds faint, the median over all; then the same over the width."""
    layer = movement.tracks(arm.of(runs).traces, LAST, UNITS["layer"])
    for steps, values in list(layer.values())[:SHOWN]:
        for ax, rows in zip(axes, (values, movement.relative(values)), strict=True):
            ax.plot(steps, rows.T, color=arm.color, lw=0.4, alpha=style.FAINT)
    if layer:
        steps, values = movement.median_track(layer)
        panels.percentiles(axes[0], steps, values, arm)
        panels.percentiles(axes[1], steps, movement.relative(values), arm)
        if arm is BN:
            panels.name_percentiles(axes[0], values[:, -1])
