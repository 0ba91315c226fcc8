"""Of ``domain_adaptation``, on digits and on photographs: the networks, and their accuracies by
distribution and statistics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bn_repro.analysis import frames
from bn_repro.analysis.frames import shared
from bn_repro.analysis.gates import Gate
from bn_repro.analysis.intervals import ENOUGH_SEEDS, interval
from bn_repro.analysis.studies.inception import BN_BASELINE, INCEPTION
from bn_repro.analysis.style import BASELINE, BN, Arm
from bn_repro.analysis.tables import Runs

OLD, NEW, NONE = "original", "altered", "none"
"""The statistics of a row, as the probe names them: of the original or of altered images, or no
BN at all."""
UNALTERED = ("unaltered", 0.0)
NOISY, CONTRAST, SHIFTED, INVERTED = (
    ("noisy", 0.5),
    ("contrast", 0.25),
    ("shifted", 2.0),
    ("inverted", 1.0),
)
NAMED = (NOISY, CONTRAST, SHIFTED, INVERTED)
"""The distributions of which claims are, at the strength that was named beforehand."""
STRENGTHS = {
    "noisy": (0.25, 0.5, 1.0),
    "contrast": (0.5, 0.25, 0.1),
    "shifted": (1.0, 2.0, 4.0),
    "inverted": (1.0,),
}
"""What the probe measures (``training.adaptation_probe``), from weak to strong."""
Alteration = tuple[str, float]
"""A distribution and its strength."""


@dataclass(frozen=True)
class Network:
    """A network with BN and without."""

    id: str
    name: str
    bn: Arm
    without: Arm
    split: str = "test"
    """The images that the probe sees."""

    @property
    def arms(self) -> tuple[Arm, Arm]:
        """Both networks."""
        return self.without, self.bn

    @property
    def end(self) -> str:
        """What is compared."""
        return f"{self.split.capitalize()} accuracy at the last step"

    def by(self, runs: Runs, statistics: str, which: Alteration) -> pd.Series:
        """Accuracy at the last probed step, by seed; empty where there is none."""
        own = (self.without if statistics == NONE else self.bn).of(runs).probes
        if own.empty or "distribution" not in own:
            return pd.Series(dtype=float)
        rows = frames.select(own, statistics=statistics, distribution=which[0], strength=which[1])
        wide = rows.pivot_table(index="seed", columns="step", values="top1")
        return wide.iloc[:, -1].dropna() if wide.size else pd.Series(dtype=float)

    def lost(self, runs: Runs, statistics: str, which: Alteration) -> pd.Series:
        """The accuracy on unaltered images minus that on these, by seed."""
        usual, here = shared(self.by(runs, statistics, UNALTERED), self.by(runs, statistics, which))
        return usual - here

    def lost_on_all(self, runs: Runs, statistics: str) -> pd.Series:
        """The mean of :meth:`lost` over :data:`NAMED`, for the seeds that have all of them."""
        found = {which: self.lost(runs, statistics, which) for which in NAMED}
        return pd.DataFrame(found).dropna().mean(axis=1)

    def along(self, runs: Runs, statistics: str, name: str) -> np.ndarray:
        """Accuracies on unaltered images, then from weak to strong (settings, seeds)."""
        kinds = [UNALTERED, *((name, strength) for strength in STRENGTHS[name])]
        usual = OLD if statistics == NEW else statistics  # on unaltered images the two are the same
        found = [self.by(runs, usual if w == UNALTERED else statistics, w) for w in kinds]
        return pd.DataFrame(dict(enumerate(found))).dropna().to_numpy(float).T


MNIST = Network("mnist", "MNIST", BN, BASELINE)
DIGITS = Network("inception", "Inception on digits", BN_BASELINE, INCEPTION)
NETWORKS = (MNIST, DIGITS)
PHOTOGRAPHS = Network(
    "photographs", "Inception on photographs", BN_BASELINE, INCEPTION, "validation"
)


def loses(runs: Runs, which: Alteration, networks: tuple[Network, ...]) -> Gate:
    """The new distribution costs each network accuracy, by the old statistics."""
    words = "by the old statistics the accuracy is lower there, by the 95 % interval"
    lost = [interval(n.lost(runs, OLD, which).to_numpy(float)) for n in networks]
    if min(found.n for found in lost) < ENOUGH_SEEDS:
        return Gate(words, None)
    return Gate(
        words,
        all(found.low > 0 for found in lost),
        "the old statistics are not shown to lose accuracy there",
    )
