"""The seven changes of section 4.2.1: their runs, what each is worth, and the noise of seeds."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd

from bn_repro.analysis import intervals
from bn_repro.analysis.studies.inception import BN_BASELINE, BN_X5
from bn_repro.analysis.style import Arm
from bn_repro.analysis.tables import Runs


class Change(NamedTuple):
    """One change: the word that its blocks begin with, and what the paper says of it."""

    block: str
    name: str
    sentence: str
    tolerated: float = 0.0
    """The share of the accuracy above chance that the sentence lets the change lose."""
    paper: str = ""


LOSS = "no more than a tenth of the accuracy above chance is lost."
CHANGES = (
    Change(
        "learning rate", "higher learning rate", "With BN a higher learning rate trains better."
    ),
    Change("dropout", "no dropout", "Without dropout the network with BN trains better."),
    Change(
        *("L2 weight", "L2 weight 5 times smaller"),
        "A smaller L2 weight improves the accuracy on validation images.",
    ),
    Change(
        *("decay", "decay 6 times faster"),
        "The learning rate can decay 6 times faster, since the network trains faster: " + LOSS,
        0.1,
    ),
    Change(
        *("LRN", "no local response normalization"),
        "Local response normalization is not necessary with BN: without it " + LOSS,
        0.1,
    ),
    Change(
        *("shuffling", "more thorough shuffling"),
        "More thorough shuffling improves validation accuracy.",
        paper="about +1 point",
    ),
    Change(
        *("distortions", "weaker distortions"),
        "Weaker photometric distortions, and so more real images, are better.",
    ),
)
BASES = (BN_X5, BN_BASELINE)
WAYS = {BN_X5.label: "undone", BN_BASELINE.label: "made"}
"""What is done with one change alone, from each base."""


def block_of(change: Change | None, base: Arm) -> str:
    """The block of ``base`` with one change made or undone; None: of ``base`` itself."""
    return f"{change.block} {WAYS[base.label]}" if change else "bases"


def final(runs: Runs, change: Change | None, base: Arm) -> pd.Series:
    """Validation accuracy at the last step, by seed; a diverged run counts as chance."""
    own = runs.where(block=block_of(change, base), experiment=base.keys["experiment"])
    return own.final(diverged=runs.chance).by_seed()


def effects(runs: Runs, change: Change | None, base: Arm) -> pd.Series:
    """What the change is worth, by seed: the accuracy with it minus without; None: all seven."""
    if change is None:
        return (final(runs, None, BN_X5) - final(runs, None, BN_BASELINE)).dropna()
    made = final(runs, change, base) - final(runs, None, base)
    return (made if base is BN_BASELINE else -made).dropna()


class Noise(NamedTuple):
    """The standard deviation between seeds, and its degrees of freedom."""

    spread: float
    freedom: int
    limit: float
    """How far from 0 the mean effect of a change that does nothing may lie, 19 times in 20."""


def noise(runs: Runs, base: Arm) -> Noise | None:
    """The seeds' noise in final accuracy, over ``base`` and its variants; None where unknown."""
    arms = [final(runs, change, base).to_numpy() for change in (None, *CHANGES)]
    freedom = sum(len(v) - 1 for v in arms if len(v))
    n = max(len(effects(runs, change, base)) for change in CHANGES)
    if freedom < 3 or not n:
        return None
    spread = math.sqrt(sum(((v - v.mean()) ** 2).sum() for v in arms if len(v)) / freedom)
    limit = intervals.student_quantile(0.975, freedom) * spread * math.sqrt(2 / n)
    return Noise(spread, freedom, limit)
