"""Gates: what must be so before a claim's question can be asked at all.

A gate is written before the runs that it judges. Where it is not met its claim is *not testable*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bn_repro.analysis import intervals
from bn_repro.analysis.frames import shared
from bn_repro.analysis.intervals import ENOUGH_SEEDS
from bn_repro.analysis.tables import Runs

MARGIN = 0.02
"""Twice the length may raise a converged network by this share of its accuracy above chance."""
ALIVE = 2.0
"""A run trains where its accuracy is above this many times chance."""


@dataclass(frozen=True)
class Gate:
    """A condition; ``Gate("the images have colours", False, "...")`` is known in advance."""

    words: str
    """A clause: "Inception has converged"."""
    met: bool | None
    """None where that is not known: its runs are not in, or are too few."""
    reason: str = ""
    """Why the claim is not testable where it is not met, in a few words."""


def converged(usual: pd.Series, longer: pd.Series, chance: float, who: str) -> Gate:
    """Twice the length, with its own decay, raises the reference's accuracy by less than a margin.

    Accuracies by seed, at the usual length and at twice it. The margin is a share of the accuracy
    above chance; the upper end of the interval has to stay below it.
    """
    usual, longer = shared(usual, longer)
    above, rise = usual - chance, longer - usual
    found = intervals.interval((rise - MARGIN * above).to_numpy(float))
    words = (
        f"{who} has converged: twice the length, with its own decay, raises its accuracy by less "
        f"than {100 * MARGIN:g} % of what is above chance, by the upper end of the 95 % interval"
    )
    if found.n < ENOUGH_SEEDS:
        return Gate(words, None)
    share = intervals.interval((rise / float(above.mean())).to_numpy(float)).percent()
    reason = f"{who} has not converged: twice the length adds {share} of what is above chance"
    return Gate(words, found.high < 0, reason)


def failed(runs: Runs) -> list[bool]:
    """By run: whether it diverged, or its best accuracy never exceeded ``ALIVE`` times chance."""
    return failed_by_seed(runs).tolist()


def failed_by_seed(runs: Runs) -> pd.Series:
    """:func:`failed` of one setting's runs, by seed."""
    best = runs.best(missing=runs.chance).array
    diverged = (runs.runs["state"] == "diverged").to_numpy(bool)
    found = (best <= ALIVE * runs.chance) | diverged
    return pd.Series(found, runs.runs["seed"].to_numpy(), dtype=bool)


def trains(failed: Sequence[bool], who: str) -> Gate:
    """The reference trains where a claim says that another network fails (:func:`failed`)."""
    met = not any(failed) if len(failed) else None
    return Gate(f"{who} trains: no run of it fails", met, f"{who} fails")
