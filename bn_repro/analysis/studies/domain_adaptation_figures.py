"""The figure of ``domain_adaptation``, on digits and on photographs."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import panels, style
from bn_repro.analysis.studies.domain_adaptation_runs import (
    NETWORKS,
    NEW,
    NONE,
    OLD,
    STRENGTHS,
    Network,
)
from bn_repro.analysis.style import BASELINE, BN, Arm
from bn_repro.analysis.tables import Runs

BY_OLD = BN.with_(
    label="with BN, old statistics", color="#56a3dc", linestyle=(0, (1.2, 1.1)), marker="^"
)
BY_NEW = BN.with_(label="with BN, new statistics")
LINES: tuple[tuple[str, Arm], ...] = ((NONE, BASELINE), (OLD, BY_OLD), (NEW, BY_NEW))
AXES = {
    "noisy": "standard deviation of the noise",
    "contrast": "contrast",
    "shifted": "pixels to the right",
    "inverted": "",
}
TITLES = {"noisy": "noise", "contrast": "lower contrast", "shifted": "shifted"}


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_adaptation`` of the networks on digits."""
    return against_strength(runs, NETWORKS)


def against_strength(runs: Runs, networks: Sequence[Network]) -> dict[str, Figure]:
    """``figure_adaptation``: accuracy against strength; a row a network, a column a kind."""
    with style.context():
        size = (style.WIDTH, 0.8 + 1.9 * len(networks))
        figure = Figure(figsize=size, layout="constrained")
        widths = [len(known) + 1 for known in STRENGTHS.values()]
        axes = figure.subplots(len(networks), 4, sharey=True, squeeze=False, width_ratios=widths)
        for row, network in zip(axes, networks, strict=True):
            for ax, name in zip(row, STRENGTHS, strict=True):
                draw(ax, runs, network, name)
            row[0].set_ylabel(f"{network.name}:\n{network.split} accuracy")
        style.letters(axes.ravel())
        style.legend(figure, [axes[0, 0]], loc="outside upper center", ncols=3)
        return {"figure_adaptation": figure}


def draw(ax: Axes, runs: Runs, network: Network, name: str) -> Axes:
    """Accuracy by the strength of a distribution, from unaltered images on; evenly spaced."""
    places = range(len(STRENGTHS[name]) + 1)
    for statistics, arm in LINES:
        values = network.along(runs, statistics, name)
        if values.size:
            panels.along(ax, places, values, arm)
    known = [part.chance for arm in network.arms if len((part := arm.of(runs)).runs)]
    if ax.lines:
        panels.reference(ax, known[0], "chance" if name == "noisy" else "")
    ax.set_ylim(0, 1)
    first = "1" if name == "contrast" else "0"
    shown = [first, *(f"{strength:g}" for strength in STRENGTHS[name])]
    ax.set_xticks(places, ["as is", "inverted"] if name == "inverted" else shown)
    ax.set(xlabel=AXES[name], title=TITLES.get(name, name), xlim=(-0.4, len(places) - 0.6))
    return style.percent_axis(ax)
