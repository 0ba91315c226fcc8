"""Figure 1(b, c) as full densities: each layer's inputs in one run, with and without BN."""

from __future__ import annotations

from itertools import product

from matplotlib.figure import Figure

from bn_repro.analysis import densities, movement, style
from bn_repro.analysis.studies.fig1_movement import SITES
from bn_repro.analysis.style import MNIST_ARMS
from bn_repro.analysis.tables import Runs
from bn_repro.records import histograms

SEEDS = (0,)
"""Of which the histograms are kept."""


def densities_of_layers(runs: Runs) -> Figure | None:
    """A heat map a layer and an arm, of the first seed that both have; None without one."""
    by_arm = [set(arm.of(runs).histograms["seed"]) for arm in MNIST_ARMS]
    seed = min(set.intersection(*by_arm), default=None)
    if seed is None:
        return None
    figure = Figure(figsize=(style.WIDTH, 5.4), layout="constrained")
    axes = figure.subplots(len(SITES), len(MNIST_ARMS), sharex=True, sharey=True)
    images = []
    for (line, site), (column, arm) in product(enumerate(SITES), enumerate(MNIST_ARMS)):
        ax, one = axes[line, column], arm.of(runs).where(seed=seed)
        images.append(densities.heat_map(ax, one, site))
        for steps, percentiles in movement.tracks(one.traces, site, None).values():
            ax.plot(steps, percentiles.T, color=arm.color, lw=0.7)
        ax.set_yticks([histograms.LOW, -4, 0, 4, histograms.HIGH])
        ax.set_xlim(1, runs.last_step)
        style.steps_axis(ax).set_xlabel("")
        if line == 0:
            ax.set_title(arm.label)
        if column == 0:
            ax.set_ylabel(f"hidden layer {line + 1}")
    figure.colorbar(images[-1], ax=axes, label="density of the inputs", shrink=0.5, extend="max")
    figure.supxlabel("training steps (log scale)", fontsize=8)
    figure.supylabel(f"input to the sigmoids, all units (seed {seed})", fontsize=8)
    return figure
