"""The figure of ``weight_scale``."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import panels, style
from bn_repro.analysis.studies.weight_scale_runs import LAYERS, NETWORKS, by_scale, tracked
from bn_repro.analysis.style import MNIST_ARMS
from bn_repro.analysis.tables import Runs

FLOOR = 1e-17
"""A departure of 0 is drawn here."""


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_weight_scale``: departures and gradients by the factor; training."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 6.2), layout="constrained")
        (a, b), (c, d) = figure.subplots(2, 2)
        panes = [draw_departures(a, runs), draw_gradients(b, runs)]
        style.letters([*panes, draw_singular_values(c, runs), draw_norms(d, runs)])
        return {"figure_weight_scale": figure}


def draw_departures(ax: Axes, runs: Runs) -> Axes:
    """How far the output departs from that at a = 1: by BN's own epsilon, and by 0 (lighter)."""
    for label, arm in NETWORKS.items():
        for own in (True, False):
            found = by_scale(runs, arm, own_epsilon=own)
            look: dict[str, Any] = {"color": arm.color, "ls": arm.linestyle, "marker": arm.marker}
            look |= {"label": label} if own else {"alpha": 0.45, "mfc": "white"}
            if arm.label not in ("without BN", "Inception") or own:
                ax.plot(found.index, np.maximum(found["output"], FLOOR), **look)
    ax.set(xscale="log", yscale="log", xlabel="a", ylabel="departure of the output")
    ax.set_title("BN((aW)u) against BN(Wu)")
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 0.18), fontsize=6)
    return ax


def draw_gradients(ax: Axes, runs: Runs) -> Axes:
    """The gradient of scaled weights over that of W; dotted, 1 / a."""
    for label, arm in NETWORKS.items():
        found = by_scale(runs, arm, own_epsilon=True)
        look: dict[str, Any] = {"color": arm.color, "ls": arm.linestyle, "marker": arm.marker}
        ax.plot(found.index, found["gradient"], label=label, **look)
        if len(found):
            ax.plot(found.index, 1 / found.index, color=style.INK, lw=0.8, ls=panels.DOTTED)
    ax.set(xscale="log", yscale="log", xlabel="a", ylabel="gradient at aW over that at W")
    ax.set_title("larger weights, smaller gradients")
    return ax


def draw_singular_values(ax: Axes, runs: Runs) -> Axes:
    """The {15, 50, 85}th percentiles of the singular values of dy'/dy, medians over layers and
    seeds."""
    for arm in MNIST_ARMS:
        found = [tracked(runs, arm, "jacobians", name) for name in ("p15", "p50", "p85")]
        if found[0].size:
            values = np.array([wide.median(axis=1) for wide in found])
            panels.percentiles(ax, found[0].index.to_numpy(float), values, arm)
    panels.reference(ax, 1.0, "1")
    ax.set(xscale="log", yscale="log", ylabel="singular values of a layer's Jacobian")
    style.steps_axis(ax).set_title("MNIST, training")
    ax.legend(loc="lower left")
    return ax


def draw_norms(ax: Axes, runs: Runs) -> Axes:
    """The norm of each layer's weights over that at the first step, median over seeds."""
    for arm in MNIST_ARMS:
        found = tracked(runs, arm, "weights", "norm")
        for k, layer in enumerate(LAYERS if found.size else ()):
            norms = found[layer].median(axis=1)
            steps, grown = norms.index.to_numpy(float), norms / norms.iloc[0]
            label = arm.label if k == 0 else None
            ax.plot(steps, grown, color=arm.color, ls=arm.linestyle, lw=0.8 + 0.5 * k, label=label)
            ax.annotate(f" {layer[-1]}", (steps[-1], grown.iloc[-1]), fontsize=6.5)
    ax.set(ylabel="norm of the weights over that at the start")
    style.steps_axis(ax).set_title("MNIST, each hidden layer")
    ax.legend(loc="upper left")
    return ax
