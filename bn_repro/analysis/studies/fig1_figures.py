"""The figures of ``fig1``: Figure 1 as in the paper, every seed's unit, every layer (sec. 4.1)."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro import paper
from bn_repro.analysis import frames, intervals, movement, panels, style
from bn_repro.analysis.style import BN, MNIST_ARMS
from bn_repro.analysis.tables import Runs

SITES = ("hidden1", "hidden2", "hidden3")
LAST = SITES[-1]
UNITS = {"unit": 0, "layer": None}


def curves(runs: Runs) -> list[pd.DataFrame]:
    """Test accuracy without BN and with it, a row a seed and a column a step."""
    return [arm.of(runs).curve(split="test", diverged=runs.chance) for arm in MNIST_ARMS]


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure1`` as in the paper; ``figure1_units``, every seed's unit; ``figure1_layers``."""
    with style.context():
        drawn = {"figure1": _figure1(runs)}
        if not runs.traces.empty:
            drawn |= {"figure1_units": _units(runs), "figure1_layers": _layers(runs)}
        return drawn


def _figure1(runs: Runs) -> Figure:
    figure = Figure(figsize=(style.WIDTH, 5.4), layout="constrained")
    left, right = np.asarray(figure.subfigures(1, 2, width_ratios=[1.0, 1.3])).flat
    top, bottom = left.subplots(2, 1, height_ratios=[1.8, 1.0], sharex=True)
    draw_accuracy(top, runs)
    draw_difference(bottom, runs)
    if not runs.traces.empty:
        axes = right.subplots(3, 2, sharex=True, sharey="row")
        for column, arm in enumerate(MNIST_ARMS):
            _draw_percentiles(axes[:, column], runs, arm)
            axes[0, column].set_title(f"({'bc'[column]})  {arm.label}")
        limit = max(paper.FIGURE1_INPUTS[1], *(abs(y) for ax in axes[0] for y in ax.get_ylim()))
        for ax in axes[:2].flat:
            ax.set_ylim(-limit, limit)
        for ax, words in zip(
            axes[:, 0], ("one unit", "all units", "all units, relative"), strict=True
        ):
            ax.set_ylabel(f"input, {words}")
    return figure


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
    for values in difference.to_numpy():
        ax.plot(steps, values, color=style.INK, lw=0.5, alpha=style.FAINT)
    found = [intervals.interval(column) for column in difference.to_numpy().T]
    low, high = [f.low for f in found], [f.high for f in found]
    ax.fill_between(steps, low, high, color=BN.color, alpha=0.25, lw=0)
    ax.plot(steps, [f.estimate for f in found], color=BN.color)
    ax.axhline(0, color=style.INK, lw=0.8)
    _steps(ax, last)
    ax.set_ylabel("points")
    ax.set_title("with BN minus without, paired by seed", fontweight="normal", fontsize=7.5)
    return ax


def _draw_percentiles(axes: Any, runs: Runs, arm: style.Arm) -> None:
    """1(b), 1(c): one seed's unit, as the paper; all units; all units relative to their width."""
    units, layer = (movement.tracks(arm.of(runs), LAST, unit) for unit in UNITS.values())
    for steps, values in list(units.values())[:1]:
        for row in values:
            axes[0].plot(steps, row, color=arm.color, lw=0.4, alpha=0.4)
        panels.percentiles(axes[0], steps, movement.smoothed(values), arm)
    for steps, values in layer.values():
        for ax, rows in zip(axes[1:], (values, movement.relative(values)), strict=True):
            for row in rows:
                ax.plot(steps, row, color=arm.color, lw=0.4, alpha=style.FAINT)
    if layer:
        steps, values = movement.median_track(layer)
        panels.percentiles(axes[1], steps, values, arm)
        panels.percentiles(axes[2], steps, movement.relative(values), arm)
        if arm is BN:
            panels.name_percentiles(axes[1], values[:, -1])
    for ax in axes:
        _log_steps(ax, runs.last_step).set_xlabel("")
    axes[-1].set_xlabel("training steps (log scale)")


def _log_steps(ax: Axes, last: float) -> Axes:
    ax.set_xscale("log")
    ax.set_xlim(1, last)
    return style.steps_axis(ax)


def _units(runs: Runs) -> Figure:
    """Unit 0 of every seed: is the one that figure 1 shows typical?"""
    by_arm = [movement.tracks(arm.of(runs), LAST, 0) for arm in MNIST_ARMS]
    seeds = sorted({seed for by_seed in by_arm for seed in by_seed})
    columns = min(5, max(1, len(seeds)))
    rows = max(1, math.ceil(len(seeds) / columns))
    figure = Figure(figsize=(style.WIDTH, 0.5 + 2.0 * rows), layout="constrained")
    axes = figure.subplots(2 * rows, columns, sharex=True, sharey=True, squeeze=False)
    for (line, arm), (place, seed) in product(enumerate(MNIST_ARMS), enumerate(seeds)):
        ax = axes[2 * (place // columns) + line, place % columns]
        if seed in by_arm[line]:
            steps, values = by_arm[line][seed]
            panels.percentiles(ax, steps, movement.smoothed(values), arm)
        if line == 0:
            ax.set_title(f"seed {seed}", fontweight="normal", fontsize=7.5, pad=3)
        if place % columns == 0:
            ax.set_ylabel(arm.label)
    for ax in axes.flat:
        ax.set_xlim(0, runs.last_step)
        if not ax.lines:
            ax.set_axis_off()
    for ax in axes[-1]:
        style.steps_axis(ax, (0, runs.last_step // 2, runs.last_step)).set_xlabel("")
    figure.supxlabel("training steps", fontsize=8)
    figure.supylabel("input to the sigmoid of unit 0, last hidden layer", fontsize=8)
    return figure


MEASURES = {
    "width": "width, p85 - p15",
    "saturated": "share with |x| > 4",
    "grad_norm": "gradient norm",
}


def _layers(runs: Runs) -> Figure:
    """What the sigmoids of every layer see: width, saturation, gradient, as running medians."""
    figure = Figure(figsize=(style.WIDTH, 4.9), layout="constrained")
    axes = figure.subplots(len(MEASURES), len(SITES), sharex=True, sharey="row")
    for (line, name), (column, site) in product(enumerate(MEASURES), enumerate(SITES)):
        ax = axes[line, column]
        for arm in MNIST_ARMS:
            pooled = frames.select(arm.of(runs).traces, unit=None, site=site)
            pooled = pooled.assign(width=pooled["p85"] - pooled["p15"])
            wide = pooled.pivot(index="seed", columns="step", values=name).astype(float)
            wide = wide.dropna(axis=1)
            if wide.size:
                wide[:] = movement.smoothed(wide.to_numpy())
            panels.curves(ax, wide, arm)
        if name == "grad_norm":
            ax.set_yscale("log")
        if line == 0:
            ax.set_title(f"hidden layer {column + 1}")
        if column == 0:
            ax.set_ylabel(MEASURES[name])
        _log_steps(ax, runs.last_step).set_xlabel("training steps (log scale)" if line == 2 else "")
    axes[1, 0].legend(loc="upper left")
    return figure
