"""The inputs of the last sigmoids in inference mode beside the mini-batch's; for ``fig1``.

In training mode a mini-batch's own statistics hold its distribution in place. In inference mode the
network is a fixed function of its input (sec. 3.1), and the images are the same at each step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import movement, panels, style
from bn_repro.analysis.studies import fig1_movement as inputs
from bn_repro.analysis.studies.fig1_layers import draw_unit, log_steps
from bn_repro.analysis.studies.fig1_movement import LAST, UNITS
from bn_repro.analysis.studies.fig1_units import of_units, unit_drifts
from bn_repro.analysis.style import BASELINE, BN, Arm
from bn_repro.analysis.tables import Runs

MODES = ("mini-batch", "inference")


def _panels(runs: Runs) -> list[tuple[Arm, str, pd.DataFrame]]:
    """Each arm's traces and probes, without BN first; of the seeds that have both."""
    by_mode = [inputs.traced(runs, inputs.IN_DETAIL), inputs.probed(runs)]
    return [
        (arm, mode, rows[arm is BASELINE])
        for arm in (BASELINE, BN)
        for mode, rows in zip(MODES, by_mode, strict=True)
    ]


def modes(runs: Runs) -> Figure:
    """Unit 0 of one seed, and the layer of every seed: by mini-batch, and in inference mode."""
    figure = Figure(figsize=(style.WIDTH, 3.9), layout="constrained")
    axes = figure.subplots(2, 4, sharex=True, sharey="row")
    for column, (arm, mode, rows) in enumerate(_panels(runs)):
        units, layer = (movement.tracks(rows, LAST, unit) for unit in UNITS.values())
        unit_axes, layer_axes = axes[:, column]
        for steps, values in list(units.values())[:1]:
            draw_unit(unit_axes, steps, values, arm)
        for steps, values in layer.values():
            layer_axes.plot(steps, values.T, color=arm.color, lw=0.4, alpha=style.FAINT)
        if layer:
            panels.percentiles(layer_axes, *movement.median_track(layer), arm)
        unit_axes.set_title(f"{arm.label}, {mode}", fontsize=7.5)
        for ax in (unit_axes, layer_axes):
            log_steps(ax, runs.last_step).set_xlabel("")
    for ax, words in zip(axes[:, 0], ("one unit", "all units"), strict=True):
        ax.set_ylabel(f"input, {words}")
    figure.supxlabel("training steps (log scale)", fontsize=8)
    return figure


def all_units(runs: Runs) -> Figure | None:
    """All units of the last layer: their medians in one seed, and how far each drifts in every
    seed; None where too few steps are kept."""
    shown = _panels(runs)
    if any(unit_drifts(rows).empty for _, _, rows in shown):
        return None
    figure = Figure(figsize=(style.WIDTH, 4.6), layout="constrained")
    axes = figure.subplots(2, 3, sharex="col", width_ratios=[1, 1, 1.1])
    for ax in axes[:, :2].flat[1:]:
        ax.sharey(axes[0, 0])
    for arm, mode, rows in shown:
        line, column = MODES.index(mode), int(arm is BN)
        _draw_medians(axes[line, column], rows, arm)
        _draw_drifts(axes[line, 2], unit_drifts(rows), arm)
        axes[0, column].set_title(arm.label)
    for line, mode in enumerate(MODES):
        axes[line, 0].set_ylabel(f"medians, {mode}")
        axes[line, 2].set_ylabel("share of units that drift less")
    axes[0, 2].set_title("drift over width")
    axes[0, 2].legend(loc="lower right")
    for ax in axes[0]:
        ax.set_xlabel("")
    axes[1, 2].set_xlabel("distance from step 1,000, widths")
    return figure


def _draw_medians(ax: Axes, rows: pd.DataFrame, arm: Arm) -> None:
    """Each unit's median against steps, in the first seed."""
    medians = of_units(rows)["p50"]
    first = medians.columns.get_level_values("seed")[0]
    steps = medians.index.to_numpy(float)
    ax.plot(steps, np.asarray(medians[first]), color=arm.color, lw=0.5, alpha=0.5)
    ax.set_xlim(0, steps[-1])
    style.steps_axis(ax, (0, steps[-1] / 2, steps[-1]))


def _draw_drifts(ax: Axes, drifts: pd.Series, arm: Arm) -> None:
    """The distribution of the units' drifts: of every seed faint, of all seeds bold."""
    for _, own in [*drifts.groupby(level="seed"), ("all", drifts)]:
        bold = len(own) == len(drifts)
        shares = (np.arange(len(own)) + 1) / len(own)
        look: dict[str, Any] = {"lw": 0.5, "alpha": 0.4}
        if bold:
            look = {"ls": arm.linestyle, "label": arm.label}
        ax.plot(np.sort(own.to_numpy(float)), shares, color=arm.color, **look)
    style.percent_axis(ax).set_ylim(0, 1)
    ax.set_xlim(left=0)
