"""The figure of ``inference_statistics``."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import panels, style
from bn_repro.analysis import quantities as q
from bn_repro.analysis.studies.inference_statistics_runs import (
    EXACT,
    INCEPTION,
    MNIST,
    MOVING,
    OWN,
    USUAL,
    Network,
    by_rate,
)
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs

BY_EXACT = Arm("Algorithm 2", "#0b4a8f", "-", "o")
BY_OWN = Arm("the mini-batch's own", "#e6912e", (0, (4.5, 1.4)), "s")
BY_RATE = {
    0.001: Arm("momentum 0.001", "#5b2a86", (0, (1.2, 1.1)), "v"),
    0.01: Arm("momentum 0.01", "#b3261e", (0, (6, 1.3, 1.2, 1.3)), "^"),
    0.1: Arm("momentum 0.1 (usual)", "#56a3dc", "-", "D"),
    0.5: Arm("momentum 0.5", "#3f9b66", (0, (3, 1.2)), "P"),
    1.0: Arm("momentum 1: the last mini-batch", "#9a9a9a", (0, (1.2, 1.1)), "X"),
}


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_inference``: accuracy over training by kind; at the end by the number of
    mini-batches."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 6.4), layout="constrained")
        a, b, c = figure.subplot_mosaic("aa;bc", height_ratios=[1.15, 1.0]).values()
        panes = [draw_training(a, runs), draw_counts(b, MNIST, runs)]
        style.letters([*panes, draw_counts(c, INCEPTION, runs)])
        return {"figure_inference": figure}


def draw_training(ax: Axes, runs: Runs) -> Axes:
    """Test accuracy on MNIST against training steps, by what BN normalizes by."""
    kinds = [(by_rate(runs, rate), arm) for rate, arm in BY_RATE.items()]
    own = BY_OWN.with_(label=f"{BY_OWN.label}, {MNIST.examples} images")
    exact = BY_EXACT.with_(label=f"Algorithm 2, {MNIST.most:,} mini-batches")
    kinds += [(MNIST.by(runs, OWN), own), (MNIST.by(runs, EXACT), exact)]
    measured = kinds[-1][0].columns  # at other steps there are moving averages alone
    for wide, arm in kinds:
        panels.curves(ax, wide.loc[:, wide.columns.isin(measured)], arm, markers=12)
    ax.set_xscale("log")
    style.error_axis(ax, 0.0, 0.97)
    style.steps_axis(ax).set_title("MNIST, while it trains")
    if ax.lines:
        ax.legend(loc="upper left", title="moving averages, and others", alignment="left")
    return ax


def draw_counts(ax: Axes, network: Network, runs: Runs) -> Axes:
    """What statistics over fewer mini-batches lose at the end, in points, seed by seed."""
    exact, counts = q.at_the_end(network.by(runs, EXACT)), network.counts(runs)
    lost = [100 * (q.at_the_end(network.by(runs, EXACT, mini_batches=n)) - exact) for n in counts]
    if len(exact):
        values = [own.to_numpy(float) for own in lost]
        panels.along(ax, counts, np.array(values), BY_EXACT)
    own = BY_OWN.with_(label=f"{BY_OWN.label}, {network.examples} images")
    moving = BY_RATE[USUAL].with_(label=f"moving averages, momentum {USUAL:g}")
    for statistics, arm in ((MOVING, moving), (OWN, own)):
        against = 100 * (q.at_the_end(network.by(runs, statistics)) - exact)
        if len(against):
            look = {"color": arm.color, "ls": arm.linestyle, "lw": 1.2, "label": arm.label}
            ax.axhline(float(against.mean()), **look)
    if ax.lines:
        ax.legend(loc="best")
    panels.reference(ax, 0.0)
    ax.set_xscale("log")
    ax.set_xticks(counts, [f"{n:,}" for n in counts])
    ax.set_xticks([], minor=True)
    ax.set(xlabel="training mini-batches", title=f"{network.name}, at the end")
    ax.set_ylabel(f"points against {network.most:,} mini-batches")
    return ax
