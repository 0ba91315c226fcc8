"""Validation accuracy against steps, for the studies of section 4.2's Inceptions."""

from __future__ import annotations

import math
from collections.abc import Iterable

from matplotlib.axes import Axes

from bn_repro.analysis import panels, style
from bn_repro.analysis.studies.inception import curves, target_of
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs


def draw_pair(ax: Axes, runs: Runs, bn: Arm, plain: Arm) -> Axes:
    """Validation accuracy with BN and without, and the best without as a dotted line."""
    target = target_of(runs, plain)
    if not math.isnan(target):
        panels.reference(ax, target, f"{plain.label}'s best, {100 * target:.1f} %")
    return draw_curves(ax, runs, (bn, plain))


def draw_curves(ax: Axes, runs: Runs, arms: Iterable[Arm]) -> Axes:
    """Validation accuracy against steps."""
    for arm in arms:
        panels.curves(ax, curves(runs, arm), arm, markers=8)
    ax.set_xlim(0, runs.last_step)
    ax.set_ylim(0, None)
    return style.steps_axis(style.percent_axis(ax))


def name_ends(ax: Axes, runs: Runs, arms: Iterable[Arm]) -> Axes:
    """The arms' names at the right, each at its median's last value; after the limits are set."""
    known = [(arm, curves(runs, arm)) for arm in arms]
    return panels.label_ends(ax, [(a, float(w.iloc[:, -1].median())) for a, w in known if w.size])
