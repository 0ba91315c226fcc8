"""The size of the mini-batch (Algorithms 1 and 2): where BN helps, and where it breaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_repro.analysis import frames, panels, style
from bn_repro.analysis import quantities as q
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.intervals import Images
from bn_repro.analysis.prose import percent, points
from bn_repro.analysis.rules import Above, AtEach, Below
from bn_repro.analysis.study import Study
from bn_repro.analysis.style import BASELINE, BN, Arm
from bn_repro.analysis.tables import Runs
from bn_repro.records.paths import monitored_split

SIZE, RATE = "train.batch_size", "optimizer.lr"
SMALLEST, SAFE = 2, (32, 64, 128, 256)
"""The size at which BN is said to break, and those said to be safe; fixed before any run."""
STATISTICS = {"moving": "moving averages", "population": "Algorithm 2's statistics"}
BY_MOVING = BN.with_(label=f"with BN, {STATISTICS['moving']}")
BY_POPULATION = Arm(f"with BN, {STATISTICS['population']}", "#56a3dc", (0, (6, 1.3, 1.2, 1.3)), "^")
LINES = (BASELINE, BY_MOVING, BY_POPULATION)


@dataclass(frozen=True)
class Network:
    """A network that is trained without BN and with it; its blocks begin with its name."""

    name: str
    without: str
    bn: str

    def final(self, runs: Runs) -> Runs:
        """Its runs with fresh seeds, of both arms."""
        return runs.where(block=f"{self.name} final")

    def finals(self, runs: Runs, experiment: str, statistics: str = "moving") -> pd.DataFrame:
        """Test accuracy at the last step: a row a seed, a column a size."""
        final = self.final(runs)
        split = monitored_split(set(final.curves["split"]))
        values = final.final(split, statistics=statistics, diverged=final.chance)
        rows = values.where(experiment=experiment).rows
        if rows.empty:
            return pd.DataFrame()
        wide = rows.pivot(index="seed", columns=SIZE, values="value").astype(float)
        return wide.dropna(axis=1, how="all")

    def right(self, runs: Runs, size: int) -> Images:
        """Which images the final runs have right at a size (moving averages): with BN, without."""
        final = self.final(runs).where(batch_size=size)
        return final.where(experiment=self.bn).right(), final.where(experiment=self.without).right()

    def lines(self, runs: Runs) -> list[pd.DataFrame]:
        """The accuracies of ``LINES``: without BN, and with it by both statistics."""
        by = [self.finals(runs, self.bn, statistics) for statistics in STATISTICS]
        return [self.finals(runs, self.without), *by]

    def rate(self, runs: Runs, experiment: str, size: int) -> str:
        """The rate of the final runs, with a word where it is at an end of those tried."""
        final = self.final(runs).where(experiment=experiment, batch_size=size)
        tried = [m.varied[RATE] for m in runs.planned(block=f"{self.name} rates")]
        ends = {min(tried): " (lowest tried)", max(tried): " (highest tried)"} if tried else {}
        rates = final.final().levels(RATE)
        return f"{rates[0]:g}{ends.get(rates[0], '')}" if rates else "-"


NETWORKS = (
    Network("MNIST", "mnist/baseline", "mnist/bn"),
    Network("Inception", "imagenet/inception", "imagenet/bn_baseline"),
)
ENDS = "Test accuracy at the last step"
OF_TEXT = (SMALLEST, SAFE[0], SAFE[-1])
"""The sizes whose accuracies the text names."""


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
        bn, by_population, other = (_at(w, SMALLEST) for w in (moving, population, without))
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


def _at(wide: pd.DataFrame, size: int) -> pd.Series:
    """The accuracies at a size, by seed; empty where there are none."""
    found = wide.get(size)
    return pd.Series(dtype=float) if found is None else found.dropna()


def leads(network: Network, runs: Runs) -> pd.DataFrame:
    """BN's lead by moving averages: a row a seed, a column a size."""
    without, moving, _ = network.lines(runs)
    if without.empty or moving.empty:
        return pd.DataFrame()
    moving, without = frames.shared(moving, without)
    return (moving - without).dropna(axis=1, how="all")


def ahead_from(lead: pd.DataFrame) -> int | None:
    """The smallest size from which on BN's mean lead is above 0, at all larger ones too."""
    means, found = lead.mean(), None
    for size in sorted(lead.columns, reverse=True):
        if float(means.loc[size]) <= 0:
            break
        found = int(size)
    return found


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
            of_size = {size: [_at(wide, size) for wide in lines] for size in OF_TEXT}
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
        without, moving, population = (percent(_at(wide, size)) for wide in lines)
        rates = [network.rate(runs, name, size) for name in (network.without, network.bn)]
        row = [f"{size:,g}", rates[0], without, rates[1], moving, population]
        table.append([*row, points(lead[size].dropna())])
    return table


STUDY = Study("batch_size.md.j2", figures, claims, LINES, values)
