"""The figure of ``norms``: accuracy by rate, and training at each norm's own best rate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import panels, style
from bn_repro.analysis.studies.norms_runs import NORMS, Network, networks
from bn_repro.analysis.tables import Runs


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_norms``: accuracy by rate and over training, a column a network."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 6.0), layout="constrained")
        axes, both = figure.subplots(2, 2), networks(runs)
        for (above, below), network in zip(axes.T, both, strict=True):
            draw_rates(above, network).set_title(f"{network}, every rate")
            draw_training(below, network).set_title(f"{network}, own best rate")
        style.letters(axes.ravel())
        style.legend(figure, axes.ravel(), loc="outside upper center", ncols=len(NORMS))
        return {"figure_norms": figure}


def draw_rates(ax: Axes, network: Network) -> Axes:
    """Held-out accuracy at the last step by rate: every seed and the mean, the best rate ringed."""
    tried = network.tried
    for one in tried:
        panels.along(ax, one.rates, one.grid.values, one.arm)
        x, y = one.rates[one.best], one.grid.means[one.best]
        ax.plot([x], [y], **panels.RING, mec=one.arm.color)
    if tried:
        ax.set(xscale="log", xlabel="learning rate")
        rates = sorted({rate for one in tried for rate in one.rates})
        ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
        ax.minorticks_off()
        _error_axis(ax, [one.grid.values for one in tried], "held-out accuracy")
        panels.reference(ax, network.tuning.chance, "chance")
    return ax


def draw_training(ax: Axes, network: Network) -> Axes:
    """The median over seeds of the final runs' test accuracy, steps logarithmic."""
    drawn = []
    for arm in NORMS:
        wide = network.curve(arm)
        if wide.size:
            drawn.append(wide.median().to_numpy(float))
            panels.curves(ax, pd.DataFrame([drawn[-1]], columns=wide.columns), arm)
    if drawn:
        ax.set_xscale("log")
        _error_axis(ax, drawn, "test accuracy")
    return style.steps_axis(ax)


def _error_axis(ax: Axes, values: Sequence[np.ndarray], label: str) -> None:
    """From chance to a little above the highest."""
    highest = max(float(np.nanmax(found)) for found in values)
    style.error_axis(ax, 0.0, 1 - 0.8 * (1 - highest), label)
