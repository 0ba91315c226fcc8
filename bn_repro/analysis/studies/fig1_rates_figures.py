"""The figure of ``fig1_rates``: accuracy against the rate, and training at each arm's own best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import grids, panels, style
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.studies.fig1_rates_runs import (
    by_rate,
    early_runs,
    final_rate,
    finals,
    gaps,
    grid,
    leads,
    target_of,
)
from bn_repro.analysis.style import BN, MNIST_ARMS
from bn_repro.analysis.tables import Runs


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure1_rates``: accuracy and BN's lead by rate; training at each arm's own best rate."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 6.4), layout="constrained")
        (a, b), (c, d) = figure.subplots(2, 2)
        style.letters(
            [draw_rates(a, runs), draw_gaps(b, runs), draw_finals(c, runs), draw_leads(d, runs)]
        )
        return {"figure1_rates": figure}


def draw_rates(ax: Axes, runs: Runs) -> Axes:
    """Held-out accuracy against the learning rate, a point per seed, the chosen rate ringed."""
    highest, height = 0.9, ax.get_xaxis_transform()
    for place, (arm, found) in enumerate((arm, grid(runs, arm)) for arm in MNIST_ARMS):
        if found is None:
            continue
        (rates,), (best,) = found.axes, found.best
        highest = max(highest, found.values.max())
        panels.along(ax, rates, found.values, arm)
        ax.plot([rates[best]], [found.means[best]], **panels.RING, mec=arm.color)
        bar: dict[str, Any] = {"color": arm.color, "marker": "|", "ms": 7, "transform": height}
        ax.plot(grids.good(found), [0.13 + 0.045 * place] * 2, lw=3, solid_capstyle="butt", **bar)
    ax.set(xscale="log", xlabel="learning rate")
    ax.xaxis.set_major_formatter("{x:g}")
    style.error_axis(ax, 0.0, 1 - 0.6 * (1 - highest), "accuracy on held-out images")
    panels.reference(ax, runs.chance, "chance")
    ax.text(0.01, 0.21, "rates within 1 point of best", transform=ax.transAxes, fontsize=6.5)
    ax.set_title("held-out images, every rate")
    ax.legend(loc="upper left")
    return ax


def draw_gaps(ax: Axes, runs: Runs) -> Axes:
    """BN's lead at every rate: every seed, the mean and its interval."""
    found, (without, with_bn) = gaps(runs), by_rate(runs)
    look: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 2.5, "color": BN.color}
    ax.plot(list(found), (with_bn - without).to_numpy().T, **look, alpha=0.4)
    ax.set(xscale="log", xlabel="learning rate")
    ax.xaxis.set_major_formatter("{x:g}")
    _leads(ax, found).set_title("held-out images, every rate")
    return ax


def draw_leads(ax: Axes, runs: Runs) -> Axes:
    """BN's lead over the first steps, each arm at its own best rate: the mean and its interval."""
    _leads(style.steps_axis(ax), leads(early_runs(runs))).set_title("test images, own best rate")
    return ax


def _leads(ax: Axes, found: Mapping[Any, Interval]) -> Axes:
    """Means with their intervals as a band, along their keys; linear within a point."""
    low, high = [one.low for one in found.values()], [one.high for one in found.values()]
    ax.fill_between(list(found), low, high, color=BN.color, alpha=0.25, lw=0)
    ax.plot(list(found), [one.estimate for one in found.values()], color=BN.color)
    ax.axhline(0, color=style.INK, lw=0.7)
    ax.set_yscale("symlog", linthresh=0.01)
    places = [-0.1, -0.01, -0.005, 0, 0.005, 0.01, 0.1, 0.5]
    style.ticks(ax.yaxis, places, lambda value, _: f"{100 * value:+g}" if value else "0")
    ax.set_ylabel("with BN minus without, points")
    return ax


def draw_finals(ax: Axes, runs: Runs) -> Axes:
    """Test accuracy of the fresh seeds at each arm's own best rate."""
    without, with_bn = finals(runs)
    for arm, wide in zip(MNIST_ARMS, (without, with_bn), strict=True):
        panels.curves(ax, wide, arm.with_(label=f"{arm.label}, rate {final_rate(runs, arm):g}"))
    if without.size:
        target, both = target_of(without), np.stack([without, with_bn])
        low, high = both.min(), both.max()
        style.error_axis(ax, low, 1 - 0.9 * (1 - high))
        ticks = [t for t in (*style.ERROR_TICKS, 0.96, 0.975, 0.985) if low < t < high]
        style.ticks(ax.yaxis, sorted(ticks) or [low, high])
        panels.reference(ax, target).lines[-1].set_label(f"best without BN, {100 * target:.1f} %")
        ax.set_xlim(0, float(without.columns[-1]))
        ax.legend(loc="lower right")
    style.steps_axis(ax).set_title("test images, own best rate")
    return ax
