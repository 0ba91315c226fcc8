"""The size of the mini-batch (Algorithms 1 and 2): where BN helps, and where it breaks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import panels, style
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.prose import percent, points
from bn_repro.analysis.rules import Above, AtEach, Below
from bn_repro.analysis.studies.batch_size_runs import (
    BY_POPULATION,
    LINES,
    NETWORKS,
    OF_TEXT,
    SAFE,
    SMALLEST,
    STATISTICS,
    Network,
    ahead_from,
    leads,
)
from bn_repro.analysis.study import Study
from bn_repro.analysis.tables import Runs

ENDS = "Test accuracy at the last step"


def claims(runs: Runs) -> Iterator[Claim]:
    """For each network: what is safe, where BN breaks, and whether Algorithm 2 mends it."""
    for network in NETWORKS:
        without, moving, population = network.lines(runs)
        named = f"{network.name} at mini-batches of {SMALLEST}"
        bn, other = (wide.reindex(columns=list(SAFE)).dropna() for wide in (moving, without))
        yield Claim(
            f"{network.name.lower()}_safe_sizes_difference",
            f"{network.name}: at each mini-batch size from {SAFE[0]} to {SAFE[-1]} the network "
            "with BN ends with the higher accuracy, each at its own best rate.",
            "4.1, 4.2",
            q.ahead_at_each(
                bn,
                other,
                ("BN", "without BN"),
                "mini-batch size",
                {size: network.right(runs, size) for size in SAFE},
            ),
            AtEach("mini-batch size"),
            depends_on="the grid of rates",
        )
        arms = moving, population, without
        bn, by_population, other = (q.at(wide, SMALLEST).dropna() for wide in arms)
        yield Claim(
            f"{network.name.lower()}_smallest_difference",
            f"{named}: the network with BN ends with the lower accuracy, each at its own best "
            "rate, by moving averages.",
            "3",
            q.difference(
                bn,
                other,
                f"{ENDS}, BN minus without BN. {q.AT_CHANCE}",
                images=network.right(runs, SMALLEST),
            ),
            Below(),
            depends_on="the grid of rates",
        )
        yield Claim(
            f"{network.name.lower()}_smallest_population_difference",
            f"{named}: Algorithm 2's statistics give the network with BN a higher accuracy than "
            "moving averages.",
            "3.1",
            q.difference(
                by_population,
                bn,
                f"{ENDS} with BN, by Algorithm 2's statistics (1,000 mini-batches) minus by "
                f"moving averages. {q.AT_CHANCE}",
            ),
            Above(),
        )


def figures(runs: Runs) -> dict[str, Figure]:
    """``figure_batch_size``: a panel a network, the accuracy against the mini-batch's size."""
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.6), layout="constrained")
        axes = figure.subplots(1, len(NETWORKS))
        for ax, network in zip(axes, NETWORKS, strict=True):
            draw(ax, network, runs)
        axes[-1].set_ylabel("")
        style.letters(axes)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
        return {"figure_batch_size": figure}


def draw(ax: Axes, network: Network, runs: Runs) -> Axes:
    """A network's three lines, every seed a point."""
    shown = set[int]()
    for shift, arm, wide in zip((0.95, 1.0, 1.05), LINES, network.lines(runs), strict=True):
        x = [shift * size for size in wide.columns]  # side by side
        panels.along(ax, x, wide.to_numpy(float).T, arm, light=arm is BY_POPULATION)
        shown |= set(wide.columns)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sorted(shown), [f"{size:,g}" for size in sorted(shown)])
    ax.set_xticks([], minor=True)
    ax.set(xlabel="examples in a mini-batch", title=network.name)
    style.error_axis(ax, 0.0, 0.99, "test accuracy at the end")
    panels.reference(ax, network.final(runs).chance, "chance")
    return ax


def values(runs: Runs) -> dict[str, Any]:
    """What the template shows besides the claims."""
    shown = []
    for network in NETWORKS:
        lead, lines = leads(network, runs), network.lines(runs)
        if not lead.empty:
            start = ahead_from(lead)
            of_size = {size: [q.at(wide, size).dropna() for wide in lines] for size in OF_TEXT}
            found: dict[str, Any] = {"name": network.name, "at": of_size, "ahead_from": start}
            found["lead"] = None if start is None else lead[start].dropna()
            shown.append(found | {"table": _table(network, runs, lead)})
    return {"networks": shown}


def _table(network: Network, runs: Runs, lead: pd.DataFrame) -> list[list[str]]:
    """A row a size: the chosen rates, the accuracies, BN's lead."""
    lines = network.lines(runs)
    table = [["mini-batch", "rate without BN", "without BN", "rate with BN"]]
    table[0] += [f"with BN, {words}" for words in STATISTICS.values()]
    table[0] += ["BN's lead (moving averages)"]
    for size in lead:
        without, moving, population = (percent(q.at(wide, size).dropna()) for wide in lines)
        rates = [network.rate(runs, name, size) for name in (network.without, network.bn)]
        row = [f"{size:,g}", rates[0], without, rates[1], moving, population]
        table.append([*row, points(lead[size].dropna())])
    return table


STUDY = Study(prose="batch_size.md.j2", figures=figures, claims=claims, values=values)
