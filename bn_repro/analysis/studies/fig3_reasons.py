"""Of ``fig3``: figures that look for reasons: BN alone at two rates, and what layers see."""

from __future__ import annotations

from itertools import product
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bn_repro.analysis import frames, panels, style
from bn_repro.analysis.studies import inception, inception_figures
from bn_repro.analysis.studies.fig3_failures import SIGMOID, X5
from bn_repro.analysis.studies.inception import (
    BN_BASELINE,
    BN_BASELINE_X5,
    INCEPTION,
    INCEPTION_X5,
    NETWORKS,
)
from bn_repro.analysis.tables import Runs

PAIRS = {
    "Inception's learning rate": (BN_BASELINE, INCEPTION),
    "5 times that rate": (BN_BASELINE_X5, INCEPTION_X5),
}
"""With BN and without, all else the same, from He's initial weights."""


def figure_rates(runs: Runs) -> Figure:
    """BN and nothing else, against none: a panel a rate."""
    figure = Figure(figsize=(style.WIDTH, 2.7), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (rate, pair) in zip(axes, PAIRS.items(), strict=True):
        inception_figures.draw_pair(ax, runs, *pair)
        ax.set_title(rate)
    highest = [inception.best(runs, arm).max(initial=0) for pair in PAIRS.values() for arm in pair]
    axes[0].set_ylim(0, 1.05 * max(highest) or 1)
    for ax, pair in zip(axes, PAIRS.values(), strict=True):
        inception_figures.name_ends(ax, runs, pair)
    axes[0].set_ylabel("single-crop validation accuracy")
    style.letters(axes)
    return figure


SIGNALS = {
    "std": "standard deviation",
    "saturated": "share with |x| > 4",
    "grad_norm": "norm of the gradient",
}


def figure_signals(runs: Runs) -> Figure:
    """What each network's nonlinearities see, by layer: at the first step and at the last."""
    traces = frames.select(runs.traces, unit=None)
    sites = list(dict.fromkeys(traces["site"].tolist()))
    arms = [arm for arm in (*NETWORKS, X5, SIGMOID) if len(arm.of(runs).traces)]
    figure = Figure(figsize=(style.WIDTH, 4.6), layout="constrained")
    axes = figure.subplots(
        len(SIGNALS), max(len(arms), 1), sharex=True, sharey="row", squeeze=False
    )
    for column, arm in enumerate(arms):
        mine = frames.select(arm.of(runs).traces, unit=None)
        for (ax, name), first in product(zip(axes[:, column], SIGNALS, strict=True), (True, False)):
            values = frames.at_end(mine, name, "site", first=first).reindex(columns=sites)
            values = values.where(values > 0) if name == "grad_norm" else values
            panels.profile(ax, range(len(sites)), values.to_numpy(), arm, before=first)
        name = arm.label.replace("-Sig", "-\nSig").replace(", ", ",\n")
        axes[0, column].set_title(name, color=arm.color, fontsize=7)
        axes[-1, column].set_xticks(range(len(sites)), sites, rotation=90, fontsize=6)
    for ax, words in zip(axes[:, 0], SIGNALS.values(), strict=True):
        ax.set_ylabel(words)
    for ax in axes[[0, 2], 0]:
        ax.set_yscale("log")
        ax.yaxis.set_minor_locator(NullLocator())
    style.ticks(axes[0, 0].yaxis, [0.2, 0.5, 1, 2, 5, 10], "{x:g}")
    style.percent_axis(axes[1, 0])
    figure.supxlabel("layer whose nonlinearity's input is measured, from first to last", fontsize=8)
    look: dict[str, Any] = {"color": style.INK, "marker": "o", "ms": 4}
    handles = [*axes[0, 0].plot([], [], **look, mfc="white"), *axes[0, 0].plot([], [], **look)]
    axes[1, -1].legend(handles, ["first step", "last step"], fontsize=6.5, handlelength=1.6)
    return figure
