"""The figures of ``fig1``: Figure 1 as in the paper, unit 0 by seed, every layer (sec. 4.1)."""

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
from bn_repro.analysis.studies.fig1_densities import densities_of_layers
from bn_repro.analysis.studies.fig1_inference import all_units, modes
from bn_repro.analysis.studies.fig1_movement import LAST, SITES, UNITS
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
            drawn |= {"figure1_units": _units(first), "figure1_layers": _layers(first)}
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
            _draw_unit(axes[0, column], steps, values, arm)
            _draw_unit(axes[1, column], steps, values, arm)
        _draw_layer(axes[2:, column], runs, arm)
        axes[0, column].set_title(f"({'bc'[column]})  {arm.label}")
        for ax in axes[1:, column]:
            _log_steps(ax, runs.last_step).set_xlabel("")
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


def _draw_unit(ax: Axes, steps: np.ndarray, values: np.ndarray, arm: style.Arm) -> None:
    """One seed's unit: every mini-batch faint, its running median bold."""
    for row in values:
        ax.plot(steps, row, color=arm.color, lw=0.4, alpha=0.4)
    panels.percentiles(ax, steps, movement.smoothed(values), arm)


def _draw_layer(axes: Any, runs: Runs, arm: style.Arm) -> None:
    """All units: the first seeds faint, the median over all; then the same over the width."""
    layer = movement.tracks(arm.of(runs).traces, LAST, UNITS["layer"])
    for steps, values in list(layer.values())[:SHOWN]:
        for ax, rows in zip(axes, (values, movement.relative(values)), strict=True):
            for row in rows:
                ax.plot(steps, row, color=arm.color, lw=0.4, alpha=style.FAINT)
    if layer:
        steps, values = movement.median_track(layer)
        panels.percentiles(axes[0], steps, values, arm)
        panels.percentiles(axes[1], steps, movement.relative(values), arm)
        if arm is BN:
            panels.name_percentiles(axes[0], values[:, -1])


def _log_steps(ax: Axes, last: float) -> Axes:
    ax.set_xscale("log")
    ax.set_xlim(1, last)
    return style.steps_axis(ax)


def _units(runs: Runs) -> Figure:
    """Unit 0 of each of the first seeds: is the one that figure 1 shows typical?"""
    by_arm = [movement.tracks(arm.of(runs).traces, LAST, 0) for arm in MNIST_ARMS]
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
    "saturated": "share beyond ±4",
    "grad_norm": "gradient norm",
}


def _layers(runs: Runs) -> Figure:
    """What the sigmoids of every layer see: width, saturation, gradient, as running medians."""
    figure = Figure(figsize=(style.WIDTH, 4.9), layout="constrained")
    axes = figure.subplots(len(MEASURES), len(SITES), sharex=True, sharey="row")
    traces = [(arm, frames.select(arm.of(runs).traces, unit=None)) for arm in MNIST_ARMS]
    for (line, name), (column, site) in product(enumerate(MEASURES), enumerate(SITES)):
        ax = axes[line, column]
        for arm, rows in traces:
            pooled = frames.select(rows, site=site)
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
