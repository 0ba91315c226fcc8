"""Of ``bn_alone``: its settings, what came out at each, and the quantities of its claims."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from bn_repro.analysis import gates, intervals, speed
from bn_repro.analysis import quantities as q
from bn_repro.analysis.gates import Gate
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.rules import side
from bn_repro.analysis.speed import Race
from bn_repro.analysis.studies import inception
from bn_repro.analysis.studies.inception import BN_BASELINE, INCEPTION
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs

FOUR = ["3b", "4a", "4e", "5b"]
DEPTHS = ("four", "ten")
RATES = (0.005, 0.02, 0.08)
OWN, LOWEST, FIVE_TIMES = 0.02, 0.005, 0.1
"""Rates: Inception's best from He's weights with four modules, the lowest, five times the best."""
WEIGHTS = {
    "He": "He",
    "Xavier": "Xavier",
    "Caffe": "Xavier, biases 0.2",
    "Gaussian": "Gaussian, std 0.03",
    "classifier": "He, classifier x10",
}
"""The initial weights, by block."""
LATE = "asynchrony"
DELAYS = (5, 50)

Outcome = Literal[
    "BN alone is faster", "Inception is faster", "not decided", "Inception fails", "not run"
]


@dataclass(frozen=True)
class Setting:
    """One reading of what the paper leaves open, in which both networks are trained."""

    block: str
    depth: str
    rate: float
    delay: int | None = None
    """A gradient is applied so many steps after it was taken."""

    def _arm(self, network: Arm, block: str) -> Arm:
        modules = FOUR if self.depth == "four" and self.delay is None else None
        keys = {"experiment": network.keys["experiment"], "block": block}
        keys |= {"optimizer.lr": self.rate, "model.modules": [modules]}
        return network.with_(keys={**keys, "optimizer.delay": self.delay})

    @property
    def inception(self) -> Arm:
        """The network without BN."""
        return self._arm(INCEPTION, self.block)

    @property
    def bn(self) -> Arm:
        """The network with BN. It has no biases, so block "Caffe" takes that of block "Xavier"."""
        return self._arm(BN_BASELINE, "Xavier" if self.block == "Caffe" else self.block)

    @property
    def start(self) -> str:
        """The initial weights, or the delay."""
        return f"{self.delay} steps late" if self.delay else WEIGHTS[self.block]

    def __str__(self) -> str:
        """``He, four modules, rate 0.02``."""
        return f"{self.start}, {self.depth} modules, rate {self.rate:g}"


def at(block: str, depth: str, rates: Sequence[float] = RATES) -> list[Setting]:
    """A block's settings at one depth, by rate."""
    return [Setting(block, depth, rate) for rate in rates]


MAPS = {
    "four modules": [
        s for b in WEIGHTS for s in at(b, "four", (OWN,) if b == "classifier" else RATES)
    ],
    "ten modules": [
        s for b in WEIGHTS for s in at(b, "ten", (OWN,) if b == "classifier" else RATES)
    ],
    "late gradients": [
        Setting(LATE, "four", rate, delay) for delay in DELAYS for rate in (OWN, FIVE_TIMES)
    ],
}
"""The map's panels."""
SETTINGS = [setting for settings in MAPS.values() for setting in settings]


@dataclass(frozen=True)
class Cell:
    """What came out at one setting."""

    setting: Setting
    race: Race
    gap: Quantity
    """BN's maximum accuracy minus Inception's."""
    failed: pd.Series
    """Whether Inception fails, by seed."""
    bn_failed: pd.Series

    @property
    def seeds(self) -> int:
        """How many both networks have."""
        return min(len(self.failed), len(self.bn_failed))

    @property
    def trains(self) -> bool:
        """Whether no run of Inception fails: then the question can be asked."""
        return len(self.failed) > 0 and not any(self.failed)

    @property
    def both_train(self) -> list[bool]:
        """Of each seed that both have."""
        failed = pd.concat([self.failed, self.bn_failed], axis=1, join="inner")
        return (~failed.any(axis=1)).tolist()

    @property
    def gate(self) -> Gate:
        """That Inception trains there."""
        return gates.trains(self.failed.tolist(), f"Inception ({self.setting})")

    @property
    def outcome(self) -> Outcome:
        """By the interval of the factor."""
        if not self.seeds:
            return "not run"
        if not self.trains:
            return "Inception fails"
        found = side(self.race.fewer(), 1.0) if self.race.counts() else 0
        return ("not decided", "BN alone is faster", "Inception is faster")[found]

    @property
    def factor(self) -> str:
        """``1.80 [1.20, 3.67]``; ``-`` without runs, or where a run of Inception fails."""
        if not self.seeds or not self.trains:
            return "-"
        return str(self.race.factor()).replace(" x", "")


def cell(runs: Runs, setting: Setting) -> Cell:
    """What came out at one setting."""
    slow, fast = setting.inception, setting.bn
    race = inception.race(runs, slow, fast, slow)
    best = runs.best(missing=runs.chance)
    images = fast.of(runs).right("best"), slow.of(runs).right("best")
    gap = q.difference(fast.of(best).by_seed(), slow.of(best).by_seed(), q.MAXIMUM, images=images)
    failed, bn_failed = (gates.failed_by_seed(arm.of(runs)) for arm in (slow, fast))
    return Cell(setting, race, gap, failed, bn_failed)


# --- quantities -----------------------------------------------------------------------------------

FACTOR = (
    "Times fewer steps of BN-Baseline than of Inception to 95 % of the best accuracy above chance "
    "of Inception at the same setting (first evaluations at or above it; median steps over seeds; "
    "95 % bootstrap interval, widened by the distance of evaluations)"
)


def ratio_of_factors(one: Cell, other: Cell) -> Quantity:
    """How many times more BN alone gains at one setting than at another."""
    words = f"{FACTOR}: that of {one.setting} over that of {other.setting}, all arms resampled"
    words += " (results/coverage does not have intervals of this kind)"
    return Quantity(words, speed.more(one.race, other.race), "x")


def accuracies(runs: Runs, arms: Iterable[Arm]) -> pd.DataFrame:
    """Maximum accuracy: a row a seed that all arms have, a column an arm."""
    best = runs.best(missing=runs.chance)
    return pd.concat([arm.of(best).by_seed() for arm in arms], axis=1, join="inner")


def only_bn_trains(runs: Runs, settings: Sequence[Setting]) -> Quantity:
    """BN where its mean is lowest minus Inception where its mean is highest."""
    bn = accuracies(runs, [s.bn for s in settings])
    without = accuracies(runs, [s.inception for s in settings])
    low, high = bn.min(axis=1), without.max(axis=1)
    if len(bn) and len(without):
        low, high = bn.iloc[:, bn.mean().argmin()], without.iloc[:, without.mean().argmax()]
    words = f"{q.MAXIMUM}, BN-Baseline minus Inception"
    words += ", each at the rate that speaks most against the claim" * (len(settings) > 1)
    parts = [intervals.interval(values.to_numpy(float)) for values in (low, high)]
    return q.difference(low, high, words, parts=parts)


def counts(*cells: Cell) -> Gate:
    """That the target counts, at every setting."""
    return speed.target_counts(c.race for c in cells)
