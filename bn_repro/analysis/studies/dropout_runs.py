"""The runs of ``dropout`` by number of training images and arm, and what was chosen for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from bn_repro.analysis import grids
from bn_repro.analysis.frames import plain
from bn_repro.analysis.grids import Grid
from bn_repro.analysis.intervals import ENOUGH_SEEDS
from bn_repro.analysis.style import MNIST_ARMS, Arm
from bn_repro.analysis.tables import Runs, Values

LIMIT, DROPOUT, RATE = "data.limit", "model.dropout", "optimizer.lr"
ALL = 60_000
"""MNIST's training images: a claim's id has their number where ``data.limit`` is null."""
TRAINS = 0.5
FAR = 0.05
"""An accuracy so far below all others of its setting is named."""
"""A run that ends below this is lost, not merely worse: no setting's typical run is near it."""


@dataclass(frozen=True)
class Part:
    """One arm on one number of training images."""

    arm: Arm
    tuned: Grid | None
    """Accuracy on held-out images over (dropout, rate); None until all of these runs are in."""
    test: Values
    """Of the final runs: test accuracy at the last step, one rate a dropout."""
    train: Values
    """The same on the training images."""
    peak: Values
    """The best test accuracy at any step."""
    runs: Runs
    """The final runs."""

    def best(self, *, nonzero: bool = False) -> float | None:
        """The dropout that is best on held-out images, each at its own best rate; None where
        that is not known yet. ``nonzero`` leaves out the network without dropout."""
        if self.tuned is None:
            return None
        dropouts, means = self.tuned.axes[0], self.tuned.means.max(axis=1)
        tried = [i for i, dropout in enumerate(dropouts) if dropout > 0 or not nonzero]
        return dropouts[max(tried, key=lambda i: means[i])] if tried else None

    def tuned_rate(self, dropout: float) -> tuple[float, float] | None:
        """The best rate of a dropout and its mean accuracy, on held-out images."""
        if self.tuned is None or dropout not in self.tuned.axes[0]:
            return None
        means = self.tuned.means[self.tuned.axes[0].index(dropout)]
        return self.tuned.axes[1][means.argmax()], float(means.max())

    def of(self, kind: str, dropout: float | None) -> pd.Series:
        """``test``, ``train``, ``peak`` or ``gap`` (training minus test) at a dropout, by seed."""
        if dropout is None:
            return pd.Series(dtype=float)
        if kind == "gap":
            return self.of("train", dropout) - self.of("test", dropout)
        return getattr(self, kind).where(**{DROPOUT: dropout}).by_seed()

    def right(self, dropout: float | None) -> pd.DataFrame:
        """Which test images each of the dropout's final runs has right at the end."""
        return self.runs.where(**{DROPOUT: dropout}).right()

    def change(self, kind: str, dropout: float | None) -> pd.Series:
        """What the dropout adds to what there is without, by seed."""
        return self.of(kind, dropout) - self.of(kind, 0.0)

    def lost(self, dropout: float) -> tuple[int, int]:
        """How many of the dropout's final runs end below 50 %, of how many."""
        values = self.of("test", dropout)
        return int((values < TRAINS).sum()), len(values)


@dataclass(frozen=True)
class Both:
    """The two arms on one number of training images, of which ``limit`` is None for all."""

    limit: int | None
    base: Part
    bn: Part

    @property
    def images(self) -> str:
        """``5,000 training images``."""
        return f"{'all' if self.limit is None else format(self.limit, ',')} training images"

    @property
    def dropouts(self) -> list[float]:
        """All that were tried."""
        tuned = [d for part in self.parts if part.tuned for d in part.tuned.axes[0]]
        return sorted({*tuned, *(d for part in self.parts for d in part.test.levels(DROPOUT))})

    @property
    def parts(self) -> tuple[Part, Part]:
        """Without BN, and with it."""
        return self.base, self.bn

    def alone(self, kind: str = "test") -> pd.Series:
        """BN without dropout minus the baseline with its best, by seed."""
        return self.bn.of(kind, 0.0) - self.base.of(kind, self.base.best())

    def lowest_alone(self) -> dict[str, Any]:
        """The run of BN without dropout that ends far below all others, if there is one."""
        ends = self.bn.of("test", 0.0).sort_values()
        if len(ends) <= ENOUGH_SEEDS or ends.iloc[1] - ends.iloc[0] < FAR:
            return {}
        seed, others = ends.index[0], self.alone().drop(ends.index[0], errors="ignore").dropna()
        return {"seed": seed, "top1": ends.iloc[0], "next": ends.iloc[1], "others": others}


def read(runs: Runs) -> list[Both]:
    """The study's runs by the number of training images, most first."""
    limits = {plain(member.varied.get(LIMIT)) for member in runs.members}
    order = sorted(limits, key=lambda n: -(n or ALL + 1))
    return [Both(n, *(_part(runs, arm, n) for arm in MNIST_ARMS)) for n in order]


def _part(runs: Runs, arm: Arm, limit: int | None) -> Part:
    keys = {**arm.keys, LIMIT: limit}
    tuned = runs.where(**keys, block="rates").final("val", diverged=runs.chance)
    complete = runs.complete(**keys, block="rates")
    grid = grids.grid(tuned, (DROPOUT, RATE)) if complete else None
    final = runs.where(**keys, block="final")
    test, train = (final.final(split, diverged=runs.chance) for split in ("test", "train"))
    return Part(arm, grid if grid and grid.complete else None, test, train, final.best(), final)
