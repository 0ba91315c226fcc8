"""The seven changes of section 4.2.1: their runs, what each is worth, and the noise of seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bn_repro.analysis import intervals
from bn_repro.analysis import quantities as q
from bn_repro.analysis.intervals import Interval
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
    """The paper's number, as a fraction."""


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
NUMBERS = {6: "six", 7: "seven"}
BASES = (BN_X5, BN_BASELINE)
WAYS = {BN_X5.label: "undone", BN_BASELINE.label: "made"}
"""What is done with one change alone, from each base."""


def block_of(change: Change | None, base: Arm) -> str:
    """The block of ``base`` with one change made or undone; None: of ``base`` itself."""
    return f"{change.block} {WAYS[base.label]}" if change else "bases"


def changes_of(runs: Runs) -> list[Change]:
    """The changes that the study makes; all seven where nothing is planned."""
    planned = [c for c in CHANGES if runs.planned(block=[block_of(c, base) for base in BASES])]
    return planned or list(CHANGES)


def number_of_changes(runs: Runs) -> str:
    """``seven``, or how many the study makes."""
    number = len(changes_of(runs))
    return NUMBERS.get(number, str(number))


def runs_of(runs: Runs, change: Change | None, base: Arm) -> Runs:
    """The runs of ``base`` with one change made or undone; None: those of ``base`` itself."""
    return runs.where(block=block_of(change, base), experiment=base.keys["experiment"])


def final(runs: Runs, change: Change | None, base: Arm) -> pd.Series:
    """Accuracy at the last step, by seed; a diverged run counts as chance."""
    return runs_of(runs, change, base).final(diverged=runs.chance).by_seed()


def arms(runs: Runs, change: Change | None, base: Arm) -> tuple[Runs, Runs]:
    """The runs with the change, and those without it, all else alike; None: all of them at once."""
    if change is None:
        return runs_of(runs, None, BN_X5), runs_of(runs, None, BN_BASELINE)
    other, own = runs_of(runs, change, base), runs_of(runs, None, base)
    return (other, own) if base is BN_BASELINE else (own, other)


def effects(runs: Runs, change: Change | None, base: Arm) -> pd.Series:
    """What the change is worth: the accuracy with it minus without, by seed."""
    made, without = (arm.final(diverged=runs.chance).by_seed() for arm in arms(runs, change, base))
    return (made - without).dropna()


class Worth(NamedTuple):
    """What a change is worth from one base."""

    by_seed: pd.Series
    judged: pd.Series
    """The same with the loss that its sentence tolerates added."""
    interval: Interval
    """Of the mean of ``judged``."""
    by_image: np.ndarray | None
    """As ``by_seed``, at each image; None where answers are not known, or a run diverged."""


def worth(runs: Runs, change: Change | None, bases: Sequence[Arm] = BASES) -> list[Worth]:
    """What the change is worth from each of ``bases``, over the seeds that all of them have."""
    own = [effects(runs, change, base) for base in bases]
    seeds = pd.concat(own, axis=1, join="inner").index
    lost = change.tolerated if change else 0.0
    found = [_worth(runs, arms(runs, change, base), seeds, lost) for base in bases]
    if all(one.by_image is not None for one in found):
        return found
    return [
        Worth(one.by_seed, one.judged, intervals.interval(one.judged.to_numpy(float)), None)
        for one in found
    ]


def _worth(runs: Runs, pair: tuple[Runs, Runs], seeds: pd.Index, lost: float) -> Worth:
    """The first arm's accuracy minus the second's; judged, with ``lost`` of the second's above
    chance taken from it."""
    made, without = (arm.final(diverged=runs.chance).by_seed().loc[seeds] for arm in pair)
    right, right_without = (arm.right() for arm in pair)
    by_seed, by_image = made - without, q.gained_at(made, without, (right, right_without))
    judged, images = by_seed, by_image
    if lost:
        without = without - lost * (without - runs.chance)
        right_without = right_without - lost * (right_without - runs.chance)
        judged, images = made - without, q.gained_at(made, without, (right, right_without))
    found = intervals.interval(judged.to_numpy(float), images=images)
    return Worth(by_seed, judged, found, by_image)


class Noise(NamedTuple):
    """The standard deviation between seeds, and its degrees of freedom."""

    spread: float
    freedom: int
    limit: float
    """How far from 0 the mean effect of a change that does nothing may lie, 19 times in 20."""


def noise(runs: Runs, base: Arm) -> Noise | None:
    """The seeds' noise in final accuracy, over ``base`` and its variants; None where unknown."""
    finals = [final(runs, change, base).to_numpy() for change in (None, *CHANGES)]
    freedom = sum(len(v) - 1 for v in finals if len(v))
    n = min(filter(None, (len(effects(runs, change, base)) for change in CHANGES)), default=0)
    if freedom < 3 or not n:
        return None
    spread = math.sqrt(sum(((v - v.mean()) ** 2).sum() for v in finals if len(v)) / freedom)
    limit = intervals.student_quantile(0.975, freedom) * spread * math.sqrt(2 / n)
    return Noise(spread, freedom, limit)
