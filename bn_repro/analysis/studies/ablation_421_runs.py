"""The seven changes of section 4.2.1: their runs, what each is worth, and the noise of seeds."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from bn_repro.analysis import intervals
from bn_repro.analysis import quantities as q
from bn_repro.analysis.frames import shared
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
    effect: float | None = None
    """The paper's number."""


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
        effect=0.01,
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


def runs_of(runs: Runs, change: Change | None, base: Arm) -> Runs:
    """The runs of ``base`` with one change made or undone; None: those of ``base`` itself."""
    return runs.where(block=block_of(change, base), experiment=base.keys["experiment"])


def final(runs: Runs, change: Change | None, base: Arm) -> pd.Series:
    """Validation accuracy at the last step, by seed; a diverged run counts as chance."""
    return runs_of(runs, change, base).final(diverged=runs.chance).by_seed()


class Worth(NamedTuple):
    """What a change is worth: the accuracy with it minus without."""

    by_seed: pd.Series
    by_image: np.ndarray | None
    """The same at each image; None where the answers are not known."""


def worth_of(runs: Runs, change: Change | None, base: Arm, tolerated: float = 0.0) -> Worth:
    """What ``change`` is worth, added to or removed from ``base``; None: all seven together.

    ``tolerated``: this share of the accuracy above chance is first taken from the arm without it.
    """
    arms = [runs_of(runs, change, base), runs_of(runs, None, base)]
    if change is None:
        arms = [runs_of(runs, None, of) for of in BASES]
    elif base is BN_X5:
        arms.reverse()
    made, without = (arm.final(diverged=runs.chance).by_seed() for arm in arms)
    right, right_without = (arm.right() for arm in arms)
    without = without - tolerated * (without - runs.chance)
    right_without = right_without - tolerated * (right_without - runs.chance)
    made, without = shared(made, without)
    by_image = q.gained_at(made, without, (right, right_without))
    return Worth((made - without).dropna(), by_image)


def effects(runs: Runs, change: Change | None, base: Arm) -> pd.Series:
    """What the change is worth (:func:`worth_of`), by seed."""
    return worth_of(runs, change, base).by_seed


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
