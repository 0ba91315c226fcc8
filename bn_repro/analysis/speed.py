"""How many times fewer steps one arm needs than another, as a curve over targets.

A target is a share of the reference's best accuracy above chance. The headline is at 95 % of it.
The paper's own target, the best itself, stands beside it: when a converged network reaches its own
best is mostly luck. A target counts only where both medians are at least ten evaluations in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from bn_repro.analysis import intervals, steps_to
from bn_repro.analysis.gates import Gate
from bn_repro.analysis.intervals import LEVEL, Interval
from bn_repro.analysis.quantities import NOTHING, Quantity

HEADLINE, ITSELF = 0.95, 1.0
EVALUATIONS = 10
SHARES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, HEADLINE, 0.975, ITSELF)
"""Of the reference's best accuracy above chance: the curve's targets."""
SECONDS = "Seconds: a run's steps times its own seconds a step. "


class Point(NamedTuple):
    """One target of the curve, and how many times fewer steps there."""

    share: float
    target: float
    fewer: Interval
    counts: bool


@dataclass(frozen=True)
class Race:
    """Two arms on their way to targets that a reference sets: seeds (rows) by steps (columns).

    ``names`` are those of the slow arm, the fast one, and the reference, which may be one of them.
    With ``paces`` it is a race in seconds: those of a step of the slow arm and of the fast one, by
    seed. Each run's steps then count so many times; "steps" below are its seconds.
    """

    slow: pd.DataFrame
    fast: pd.DataFrame
    reference: pd.DataFrame
    names: tuple[str, str, str]
    chance: float
    paces: tuple[pd.Series, pd.Series] | None = None

    @property
    def known(self) -> bool:
        """Whether all of them have runs, each with its pace where there are paces."""
        there = not any(wide.empty for wide in (self.slow, self.fast, self.reference))
        return there and all(pace.notna().all() for pace in self._paces)

    @cached_property
    def _paces(self) -> list[pd.Series]:
        """What a step of each run of the slow arm and of the fast one counts: 1, or its seconds."""
        arms = (self.slow, self.fast)
        if self.paces is None:
            return [pd.Series(1.0, wide.index) for wide in arms]
        return [pace.reindex(wide.index) for wide, pace in zip(arms, self.paces, strict=True)]

    def target(self, share: float = HEADLINE) -> float:
        """The accuracy at a share of the reference's typical best above chance."""
        best = steps_to.typical_best(self.reference.max(axis=1).to_numpy(float))
        return float(self._above_chance(best, share))

    def _above_chance(self, best: np.ndarray, share: float) -> np.ndarray:
        above = self.chance + share * (best - self.chance)
        return np.minimum(above, best)  # which rounding can exceed

    def counts(self, share: float = HEADLINE) -> bool:
        """Whether both medians are at least ten evaluations in; not where an arm has no runs."""
        if not self.known:
            return False
        medians = [np.median(steps_to.at(w, self.target(share))) for w in (self.slow, self.fast)]
        arms = zip((self.slow, self.fast), medians, strict=True)
        return all((wide.columns.to_numpy(float) <= m).sum() >= EVALUATIONS for wide, m in arms)

    def fewer(self, share: float = HEADLINE, level: float = LEVEL) -> Interval:
        """median(steps of the slow arm) / median(steps of the fast one), at one target.

        Seeds of each arm are resampled on their own, and the target with those of its arm. A run
        reaches its target between two evaluations, which widens the interval at both ends.
        """
        if not self.known:
            return NOTHING

        def ratio(*early: bool) -> Interval:
            return intervals.bootstrap(
                lambda *draws: self._ratio(share, draws, *early), *self._seeds, level=level
            )

        return _widened(ratio(False, False), ratio(True, False), ratio(False, True))

    @property
    def _arms(self) -> dict[str, pd.DataFrame]:
        return dict(zip(self.names, (self.slow, self.fast, self.reference), strict=True))

    @property
    def _seeds(self) -> list[np.ndarray]:
        """The rows to resample, by arm; an arm that is the reference too appears once."""
        return [np.arange(len(wide)) for wide in self._arms.values()]

    def _ratio(
        self, share: float, draws: Sequence[np.ndarray], slow_early: bool, fast_early: bool
    ) -> np.ndarray:
        """The factor of the drawn seeds; ``early``: count the arm's evaluation before."""
        arms = self._arms
        chosen = dict(zip(arms, (draw.astype(int) for draw in draws), strict=True))
        best = self.reference.max(axis=1).to_numpy(float)
        target = self._above_chance(steps_to.typical_best(best[chosen[self.names[2]]]), share)
        how = zip(self.names[:2], (slow_early, fast_early), self._paces, strict=True)
        above, below = (
            np.median(_chosen(arms[name], target, chosen[name], early, pace), axis=-1)
            for name, early, pace in how
        )
        return above / below

    def quantity(self, share: float = HEADLINE, beside: Race | None = None) -> Quantity:
        """The factor at one target, and beside it the factor at the reference's best itself.

        The latter is of the longer race ``beside``, where these runs are too short for it.
        """
        slow, fast, reference = self.names
        counted = "steps" if self.paces is None else "seconds"
        words = (
            "Steps: the first evaluation at or above the target, infinite if none is. The target: "
            f"{100 * share:g} % of {reference}'s best accuracy above chance (the median over seeds "
            "of each run's best; of an even number of seeds the lower of the two in the middle). "
            f"{'' if self.paces is None else SECONDS}"
            f"Median {counted} of {slow} over median {counted} of {fast}; 95 % bootstrap interval, "
            "each network's seeds resampled on their own, the target with the "
            "reference's, and widened by the distance of evaluations"
        )
        found = replace(self.factor(share), words=words)
        if share == ITSELF or not self.known:
            return found
        return replace(found, beside=f"to its best itself {(beside or self).factor(ITSELF)}")

    def factor(self, share: float = HEADLINE) -> Quantity:
        """The factor at one target, without words."""
        slow, fast, _ = self.names
        return Quantity("", self.fewer(share), "x", never=(fast, slow))

    def gate(self) -> Gate:
        """That the target counts."""
        return target_counts([self])

    def curve(self) -> list[Point]:
        """Over all targets."""
        if not self.known:
            return []
        return [Point(s, self.target(s), self.fewer(s), self.counts(s)) for s in SHARES]


def target_counts(races: Iterable[Race], who: str = "both") -> Gate:
    """That the target counts in each of the races that are known."""
    found = [race.counts() for race in races if race.known]
    words = f"the median steps of {who} are at least {EVALUATIONS} evaluations in"
    reason = f"a median lies within the first {EVALUATIONS} evaluations"
    return Gate(words, all(found) if found else None, reason)


def more(one: Race, other: Race) -> Interval:
    """One race's factor over another's, whose arms are other runs; resampled and widened alike."""
    if not (one.known and other.known):
        return NOTHING
    cut = len(one._seeds)

    def ratio(*early: bool) -> Interval:
        def compute(*draws: np.ndarray) -> np.ndarray:
            above = one._ratio(HEADLINE, draws[:cut], *early)
            return above / other._ratio(HEADLINE, draws[cut:], *early[::-1])

        return intervals.bootstrap(compute, *one._seeds, *other._seeds)

    return _widened(ratio(False, False), ratio(True, False), ratio(False, True))


def _widened(found: Interval, early: Interval, late: Interval) -> Interval:
    return Interval(found.estimate, early.low, late.high, found.n)


def _chosen(
    wide: pd.DataFrame, target: np.ndarray, draw: np.ndarray, early: bool, pace: pd.Series
) -> np.ndarray:
    """The drawn seeds' steps to their draw's target, times each seed's own ``pace``.

    ``early``: to the evaluation before.
    """
    steps = steps_to.at(wide, target)
    if early:
        grid = np.concatenate([[0.0], wide.columns.to_numpy(float), [math.inf]])
        before = np.append(grid[:-2], math.inf)  # never is never
        steps = before[np.searchsorted(grid[1:], steps)]
    return np.take_along_axis(steps * pace.to_numpy(float), draw, -1)


def at_each(races: Sequence[Race], names: Sequence[str], words: str) -> Quantity:
    """The factors of several races; the number is that of the one least surely above 1.

    Not measured unless all of them have runs.
    """
    if not races or not all(race.known for race in races):
        return Quantity(words, NOTHING, "x")
    levels = (LEVEL, 1 - (1 - LEVEL) / len(races))
    parts, corrected = ([race.fewer(level=level) for race in races] for level in levels)
    least = int(np.argmin([p.estimate if np.isnan(p.low) else p.low for p in parts]))
    each = [_shown(p.estimate, race, n) for p, race, n in zip(parts, races, names, strict=True)]
    slow, fast, _ = races[least].names
    beside = f"the least certain of: {', '.join(each)}"
    return Quantity(words, parts[least], "x", parts, corrected, never=(fast, slow), beside=beside)


def _shown(factor: float, race: Race, name: str) -> str:
    """``1.80 with ten modules``, ``not reached with ten modules`` (by the fast arm's median run); a
    slow arm that does not arrive is named."""
    if 0 < factor < math.inf:
        return f"{factor:.2f} {name}"
    if factor > 0:
        slow = race.names[0]
        name = f"by {slow}" if name == slow else f"by {slow} {name}"
    return f"not reached {name}"


def turned(race: Race) -> Race:
    """The same race, asked how many times fewer steps the other network needs."""
    fast, slow, reference = race.names
    return replace(race, slow=race.fast, fast=race.slow, names=(slow, fast, reference))
