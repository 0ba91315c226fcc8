"""How the input of a nonlinearity is distributed as training goes on, as a heat map."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from bn_repro.analysis.frames import select
from bn_repro.analysis.tables import BIN_COLUMNS, KEY, BadInput, Runs
from bn_repro.records import histograms

HEAT: dict[str, Any] = {"cmap": "Greys", "norm": PowerNorm(0.5, 0, 1)}
"""Black from a density of 1 on, the peak of a normal distribution of standard deviation 0.4."""


class Density(NamedTuple):
    """The densities ``values`` (steps, bins) of a layer's inputs at the ``steps`` (steps,).

    ``below`` and ``above`` (steps,) are the shares of the inputs that lie beyond the bins.
    """

    steps: np.ndarray
    values: np.ndarray
    below: np.ndarray
    above: np.ndarray


def sites(runs: Runs) -> list[str]:
    """The sites that have histograms, in the network's order."""
    return list(dict.fromkeys(runs.histograms["site"].tolist()))


def density(runs: Runs, site: str) -> Density:
    """The distribution at ``site`` in one run; BadInput where there is none, or of two runs."""
    rows = select(runs.histograms, site=site)
    found = rows.loc[:, KEY].drop_duplicates()
    if len(found) != 1:
        names = ", ".join(f"{e}-{i} seed {s}" for e, i, s in found.head(3).to_numpy().tolist())
        known = ", ".join(sites(runs)) or "none"
        raise BadInput(
            f"density: {len(found)} runs have histograms of {site} ({names}); keep one with .where"
            if len(found)
            else f"density: no run has histograms of {site}; the sites that have are: {known}"
        )
    counts = rows.loc[:, BIN_COLUMNS].to_numpy(float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    inside = shares[:, 1:-1] / histograms.WIDTH
    return Density(rows["step"].to_numpy(float), inside, shares[:, 0], shares[:, -1])


def heat_map(ax: Axes, runs: Runs, site: str) -> Any:
    """The distribution at ``site`` in one run, steps (logarithmic) by value; returns the image.

    Each recorded step is drawn up to halfway to its neighbours.
    """
    found = density(runs, site)
    middles = np.sqrt(found.steps[1:] * found.steps[:-1])
    x = np.concatenate([[found.steps[0]], middles, [found.steps[-1]]])
    ax.grid(False)
    ax.set_xscale("log")
    ax.set_ylim(histograms.LOW, histograms.HIGH)
    y = histograms.edges()[1:-1]
    return ax.pcolormesh(x, y, found.values.T, rasterized=True, **HEAT)
