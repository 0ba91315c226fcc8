"""Of ``norms``: its two networks, and what came out for each norm at its own best rate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from bn_repro.analysis import intervals
from bn_repro.analysis import quantities as q
from bn_repro.analysis.frames import shared
from bn_repro.analysis.intervals import LEVEL, Interval
from bn_repro.analysis.speed import Race
from bn_repro.analysis.studies import converged, inception
from bn_repro.analysis.studies.inception_rates import RATE, Tried, tried
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs


def _norm(label: str, name: str, color: str, line: Any, marker: str) -> Arm:
    return Arm(label, color, line, marker, {"model.norm": name})


NONE = _norm("none", "none", "#e6912e", (0, (4.5, 1.4)), "s")
WEIGHT = _norm("weight", "weight", "#8a8a8a", (0, (2.4, 1.2)), "<")
LAYER = _norm("layer", "layer", "#4a9a5c", (0, (1.2, 1.1)), "v")
GROUP = _norm("group", "group", "#8e1652", (0, (6, 1.3, 1.2, 1.3)), "D")
INSTANCE = _norm("instance", "instance", "#56a3dc", (0, (5, 1, 1, 1, 1, 1)), "^")
BN = _norm("BN", "batch", "#0b4a8f", "-", "o")
OTHERS = (NONE, WEIGHT, LAYER, GROUP, INSTANCE)
NORMS = (*OTHERS, BN)


@dataclass(frozen=True)
class Comparison:
    """BN beside one other norm, each at its own best rate."""

    arm: Arm
    above: Interval
    """BN's accuracy minus the other's, over seeds and, where answers are known, over images."""
    corrected: Interval
    """The same at the level corrected for the number of the others."""
    over_images: bool
    race: Race

    @cached_property
    def fewer(self) -> Interval:
        """How many times fewer steps BN needs to the target."""
        return self.race.fewer()


@dataclass(frozen=True)
class Network:
    """One network with each of the norms."""

    name: str
    """As the study's blocks begin: ``MNIST``, ``Inception``."""
    what: str
    """What is compared, in words."""
    maximum: bool
    """Whether that is the maximum accuracy over time, or that at the last step."""
    experiment: str
    """The network without a norm, to which a run's ``model.norm`` adds it."""
    whole: Runs
    """The study's runs."""

    def __str__(self) -> str:
        """``MNIST``, ``Inception on digits``."""
        return f"{self.name}{' on digits' if self.maximum else ''}"

    @cached_property
    def tuning(self) -> Runs:
        """The runs at every rate, judged on held-out images."""
        return self.whole.where(experiment=self.experiment, block=f"{self.name} rates")

    @cached_property
    def final(self) -> Runs:
        """Fresh seeds, each norm at its own best rate; a maximum is over the same images."""
        runs = self.whole.where(experiment=self.experiment, block=f"{self.name} final")
        return converged.on_the_same_images(runs) if self.maximum else runs

    @property
    def missing(self) -> list[str]:
        """The norms that lack planned runs: ``MNIST, layer (20 of 28 runs)``."""
        keys = {"experiment": self.experiment}
        names = [a.with_(label=f"{self}, {a.label}", keys={**a.keys, **keys}) for a in NORMS]
        return inception.missing(self.whole, names)

    @cached_property
    def tried(self) -> list[Tried]:
        """The norms that have runs, over the rates of the grid."""
        return tried(self.tuning, NORMS)

    def rate(self, arm: Arm) -> float:
        """The rate of the norm's final runs; NaN where there are none."""
        return next(iter(arm.of(self.final).final().levels(RATE)), float("nan"))

    def accuracy(self, arm: Arm) -> pd.Series:
        """Test accuracy of the final runs by seed: the maximum, or that at the last step."""
        runs = self.final
        best, last = runs.best(missing=runs.chance), runs.final(diverged=runs.chance)
        return arm.of(best if self.maximum else last).by_seed()

    def curve(self, arm: Arm) -> pd.DataFrame:
        """Test accuracy of the final runs: seeds (rows) by steps (columns)."""
        return arm.of(self.final).curve(diverged=self.final.chance)

    def right(self, arm: Arm) -> pd.DataFrame:
        """Which test images each final run has right, at the evaluation that is compared."""
        return arm.of(self.final).right("best" if self.maximum else "last")

    @cached_property
    def beside(self) -> list[Comparison]:
        """BN beside each of the other norms; empty unless all of them have final runs."""
        if any(arm.of(self.final).runs.empty for arm in NORMS):
            return []
        return [self._beside(arm) for arm in OTHERS]

    def _beside(self, arm: Arm) -> Comparison:
        bn, other = shared(self.accuracy(BN), self.accuracy(arm))
        gained = q.gained_at(bn, other, (self.right(BN), self.right(arm)))
        above, corrected = (
            intervals.difference(
                bn.to_numpy(float), other.to_numpy(float), paired=True, images=gained, level=level
            )
            for level in (LEVEL, 1 - (1 - LEVEL) / len(OTHERS))
        )
        names = (arm.label, BN.label, "the unnormalized network" if arm != NONE else arm.label)
        slow, fast, reference = (self.curve(one) for one in (arm, BN, NONE))
        race = Race(slow, fast, reference, names, self.final.chance)
        return Comparison(arm, above, corrected, gained is not None, race)


def networks(runs: Runs) -> list[Network]:
    """Section 4.1's network, and Inception on digits."""
    last = "Test accuracy at the last step"
    return [
        Network("MNIST", last, False, "mnist/baseline", runs),
        Network("Inception", q.MAXIMUM, True, "imagenet/inception", runs),
    ]
