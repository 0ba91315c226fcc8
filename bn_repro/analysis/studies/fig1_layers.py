"""The layers and the first unit of every seed, for ``fig1``."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import frames, movement, panels, style
from bn_repro.analysis.studies.fig1_movement import LAST, SITES
from bn_repro.analysis.style import MNIST_ARMS, Arm
from bn_repro.analysis.tables import Runs


def log_steps(ax: Axes, last: float) -> Axes:
    """Steps from 1 to the last, on a logarithmic axis."""
    ax.set_xscale("log")
    ax.set_xlim(1, last)
    return style.steps_axis(ax)


def draw_unit(ax: Axes, steps: np.ndarray, values: np.ndarray, arm: Arm) -> None:
    """One seed's unit: every mini-batch faint, its running median bold."""
    ax.plot(steps, values.T, color=arm.color, lw=0.4, alpha=0.4)
    panels.percentiles(ax, steps, movement.smoothed(values), arm)


def units(runs: Runs) -> Figure:
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


def layers(runs: Runs) -> Figure:
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
        log_steps(ax, runs.last_step).set_xlabel("training steps (log scale)" if line == 2 else "")
    axes[1, 0].legend(loc="upper left")
    return figure
