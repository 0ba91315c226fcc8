"""The runs of ``batch_size``: two networks, the sizes, and BN's lead at each."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from bn_repro.analysis import frames
from bn_repro.analysis.intervals import Images
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
OF_TEXT = (SMALLEST, SAFE[0], SAFE[-1])
"""The sizes whose accuracies the text names."""


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
