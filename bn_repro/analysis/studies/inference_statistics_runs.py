"""Of ``inference_statistics``: accuracies by what BN normalizes by."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from bn_repro.analysis.tables import Runs

OWN, MOVING, EXACT = "batch", "moving", "population"
"""The kinds of statistics, as the probe and ``metrics.jsonl`` name them."""
MOMENTUM = "model.norm_momentum"
RATES, USUAL = (0.001, 0.01, 0.1, 0.5, 1.0), 0.1
"""Rates of the moving averages: the new mini-batch's share. And the one that runs have."""
ALL = 1_000
"""The other size of mini-batch, besides training's, that is evaluated by its own statistics."""


@dataclass(frozen=True)
class Network:
    """A network whose runs have the probe ``statistics``."""

    id: str
    name: str
    block: str
    examples: int
    """Of its mini-batches."""
    most: int
    """Over how many mini-batches its exact statistics are, at most."""

    @property
    def sizes(self) -> tuple[int, int]:
        """The mini-batches that have statistics of their own."""
        return self.examples, ALL

    def rows(self, runs: Runs, statistics: str) -> pd.DataFrame:
        """The probe's rows of a kind."""
        rows = runs.where(block=self.block).probes
        if rows.empty or "statistics" not in rows:
            return pd.DataFrame()
        return rows.loc[rows["statistics"] == statistics]

    def by(
        self,
        runs: Runs,
        statistics: str,
        *,
        mini_batches: int | None = None,
        examples: int | None = None,
    ) -> pd.DataFrame:
        """Accuracy by seed (row) and step (column).

        Defaults: ``self.most`` mini-batches for exact statistics, ``self.examples`` images for a
        mini-batch's own.
        """
        rows = self.rows(runs, statistics)
        keys = {EXACT: ("mini_batches", mini_batches or self.most)}
        keys[OWN] = ("examples", examples or self.examples)
        if rows.empty:
            return rows
        if statistics in keys:
            name, value = keys[statistics]
            rows = rows.loc[rows[name] == value]
        return rows.pivot_table(index="seed", columns="step", values="top1")

    def counts(self, runs: Runs) -> list[int]:
        """Over how many mini-batches there are exact statistics."""
        rows = self.rows(runs, EXACT)
        return [] if rows.empty else sorted({int(n) for n in rows["mini_batches"]})


MNIST = Network("mnist", "MNIST", "MNIST statistics", examples=60, most=1_000)
INCEPTION = Network("inception", "Inception on digits", "Inception", examples=32, most=100)
NETWORKS = (MNIST, INCEPTION)


def of_rate(runs: Runs, rate: float) -> Runs:
    """The MNIST runs whose moving averages have this momentum."""
    return runs.where(block=[MNIST.block, "MNIST rates"], **{MOMENTUM: rate})


def by_rate(runs: Runs, rate: float) -> pd.DataFrame:
    """Test accuracy on MNIST by moving averages of a momentum, by seed (row) and step (column)."""
    return of_rate(runs, rate).curve(split="test")


def same_training(runs: Runs) -> bool:
    """Whether the MNIST runs of all momenta have the same losses of mini-batches, seed by seed."""
    found = [
        of_rate(runs, rate).curve(split="train", statistics=OWN, metric="loss") for rate in RATES
    ]
    return bool(found[0].size) and all(wide.equals(found[0]) for wide in found[1:])
