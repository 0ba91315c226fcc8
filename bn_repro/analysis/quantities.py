"""Quantities: what was computed from the runs, in words, and what came out.

Arms come as series by seed, or as tables with a row a seed and a column a step. ``images`` are the
right and wrong answers of both arms (``Runs.right``), in the same order: where they are given and
are those of the numbers compared, the interval covers other images as well as other seeds, and the
words say so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from bn_repro.analysis import intervals
from bn_repro.analysis.frames import shared
from bn_repro.analysis.intervals import ENOUGH_SEEDS, Images, Interval

OVER_SEEDS = "95 % Student interval over seeds"
OVER_BOTH = "95 % Student interval over seeds and over images (degrees of freedom: Satterthwaite)"
ONE_SAMPLE = f"{OVER_SEEDS} (at the worst shape, 5 seeds are covered 86.5 %)"
"""Of one arm's mean, not a difference."""
NOTHING = Interval(math.nan, math.nan, math.nan, 0)
"""The interval of what was not measured."""
AT_CHANCE = "A diverged run counts as chance"
MAXIMUM = "Maximum accuracy over time (biased upwards in both arms)"
SAME = 1e-4
"""Accuracies that differ by less are of the same evaluation (files have six digits)."""

Unit = Literal["points", "x", "times chance", "runs"]
"""Of a quantity: a difference of fractions, shown in percentage points; a factor; an accuracy over
chance; a share of the runs, shown as a count."""


@dataclass(frozen=True)
class Quantity:
    """What was computed, in words, and what came out.

    ``parts`` are further intervals that a rule looks at: of the two arms, of the two directions, or
    at each step (``corrected``: at the level corrected for their number). ``never`` names the arm
    behind a factor of 0 (the first) or of infinity (the second): its median run does not reach the
    target. ``seeds`` has every seed's own number, which is shown where there is no interval.
    """

    words: str
    interval: Interval
    unit: Unit
    parts: Sequence[Interval] = ()
    corrected: Sequence[Interval] = ()
    never: tuple[str, str] | None = None
    seeds: Sequence[float] = ()
    of: str = "seeds"
    """What ``interval.n`` counts: "seeds", "ensembles"."""
    beside: str = ""
    """Further words, shown after the number."""

    def __str__(self) -> str:
        """``+0.53 points [+0.41, +0.65]``, ``4.43 x [4.29, 8.00]``, ``3 of 3 runs``; of few seeds
        each: ``+0.53 points (+0.41, +0.65)``."""
        return f"{self.shown}; {self.beside}" if self.beside and self.interval.n else self.shown

    @property
    def shown(self) -> str:
        """Without what stands beside."""
        found = self.interval
        if math.isnan(found.estimate):
            return "not reached by either" if self.never and found.n else "not measured"
        if self.unit == "runs":
            return f"{round(found.estimate * found.n)} of {found.n} runs"
        if self.never and not 0 < found.estimate < math.inf:
            ends = f" [{self.number(found.high)} or less]" if 0 < found.high < math.inf else ""
            ends = f" [{self.number(found.low)} or more]" if 0 < found.low < math.inf else ends
            return f"not reached by the median run of {self.never[found.estimate > 0]}{ends}"
        number = f"{self.number(found.estimate)} {self.unit}"
        if not math.isnan(found.low):
            low, high = (self.number(end) for end in (found.low, found.high))
            if math.isinf(found.high):
                return f"{number} [{low} or more]"
            if self.unit == "x" and found.low <= 0:  # in some draws the fast arm never arrives
                return f"{number} [{high} or less]"
            return f"{number} [{low}, {high}]"
        if len(self.seeds) < 2:
            return number
        if len(self.seeds) < ENOUGH_SEEDS:
            return f"{number} ({', '.join(map(self.number, self.seeds))})"
        return f"{number} (seeds: {self.number(min(self.seeds))} to {self.number(max(self.seeds))})"

    def number(self, value: float) -> str:
        """One number in the quantity's unit, without it.

        A factor below 10 has a digit more where the interval is narrow, so that its ends differ.
        """
        if self.unit == "points":
            digits = 2 if abs(value) >= 5e-5 or abs(value) < 5e-6 else 3  # not -0.00
            return f"{round(100 * value, digits) + 0.0:+.{digits}f}"
        if abs(value) >= 10:
            return f"{value:.1f}"
        return f"{value:.3f}" if self.interval.high - self.interval.low < 0.02 else f"{value:.2f}"

    @property
    def detectable_effect(self) -> float:
        """The smallest effect that these seeds and images show with a power of 80 %.

        Of a factor, its logarithm. Infinite where there is no interval, or an end is infinite.
        """
        low, high, degrees = self.interval.low, self.interval.high, self.interval.degrees
        if self.unit == "x":
            low, high = (math.log(end) if end > 0 else -math.inf for end in (low, high))
        if not math.isfinite(high - low):
            return math.inf
        degrees = self.interval.n - 1 if degrees is None else degrees
        once, more = (intervals.student_quantile(p, degrees) for p in (0.975, 0.8))
        return (high - low) / 2 * (1 + more / once)


def difference(
    a: pd.Series,
    b: pd.Series,
    words: str,
    *,
    paired: bool = True,
    images: Images | None = None,
    parts: Sequence[Interval] = (),
    of: str = "seeds",
) -> Quantity:
    """The mean of ``a`` minus that of ``b``, by seed, in points.

    ``paired``: over the seeds that both have; else each arm's seeds on their own (Welch). ``of`` as
    in :func:`mean`.
    """
    if paired:
        a, b = shared(a, b)
    gained = gained_at(a, b, images)
    x, y = a.to_numpy(float), b.to_numpy(float)
    found = intervals.difference(x, y, paired=paired, images=gained)
    how = f"{words}, paired by seed: mean" if paired else f"{words}: difference of means"
    how += f" with its {over(gained, of)}{'' if paired else ', each arm on its own (Welch)'}"
    return Quantity(how, found, "points", parts, seeds=(x - y).tolist() if paired else (), of=of)


def over(gained: np.ndarray | None, of: str = "seeds") -> str:
    """What an interval is over, in words; ``of`` as in :func:`mean`."""
    return (OVER_SEEDS if gained is None else OVER_BOTH).replace("over seeds", f"over {of}")


def gained_at(a: pd.Series, b: pd.Series, images: Images | None) -> np.ndarray | None:
    """At each image, the share of ``a``'s seeds that have it right minus that of ``b``'s.

    NaN at an image that a run has not seen, so that two of them can be added. None where a seed's
    answers are not known. Raises ValueError where they are of another evaluation than its accuracy,
    as where a maximum is taken over evaluations on other images.
    """
    if images is None or not len(a) or not len(b):
        return None
    rights = []
    for values, right in zip((a, b), images, strict=True):
        if not set(values.index) <= set(right.index):
            return None
        mine = right.loc[values.index]
        if (apart := (mine.mean(axis=1) - values).abs().max()) > SAME:
            raise ValueError(f"accuracies and the images' answers are {apart:g} apart")
        rights.append(mine)
    shares = [right.mean(axis=0, skipna=False).to_numpy(float) for right in rights]
    if len(shares[0]) != len(shares[1]):
        return None
    return shares[0] - shares[1]


def mean(
    values: pd.Series,
    words: str,
    *,
    gained: np.ndarray | None = None,
    parts: Sequence[Interval] = (),
    of: str = "seeds",
) -> Quantity:
    """The mean over the seeds (index) of differences that are one a seed, in points.

    ``gained`` (images,) is the same at each image, as :func:`gained_at` gives it. ``of`` says what
    is counted where that is not seeds: an ensemble is one observation, and "ensembles" are.
    """
    known = values.dropna()
    found = intervals.interval(known.to_numpy(float), images=gained)
    words = f"{words}: mean with its {over(gained, of)}"
    return Quantity(words, found, "points", parts, seeds=known.tolist(), of=of)


def factor(a: pd.Series, b: pd.Series, words: str) -> Quantity:
    """``a`` over ``b``, paired by seed: the geometric mean."""
    a, b = shared(a.dropna(), b.dropna())
    found, own = intervals.ratio(a.to_numpy(float), b.to_numpy(float)), (a / b).tolist()
    words = f"{words}, paired by seed: geometric mean with its {OVER_SEEDS} (of the logarithm)"
    return Quantity(words, found, "x", seeds=own)


def failures(failed: Sequence[bool], words: str) -> Quantity:
    """The share of the runs that fail."""
    found = intervals.share(sum(failed), len(failed))
    words = f"{words}; 95 % interval of Clopper and Pearson (6 of 6 runs are from 54 %)"
    return Quantity(words, found, "runs", of="runs")


def discrete(
    a: pd.Series, b: pd.Series, words: str, never: tuple[str, str] | None = None
) -> Quantity:
    """``a`` over ``b``, seed by seed, of numbers on a coarse grid: the median, and no interval.

    :class:`rules.SignTest` judges it. A factor is 0 or infinite where an arm has none; ``never``
    then names it.
    """
    a, b = shared(a, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        own = a.to_numpy(float) / b.to_numpy(float)
    own = own[~np.isnan(own)]
    middle = float(np.median(own)) if len(own) else math.nan
    words = f"{words}, seed by seed: the median, and no interval, since the grid is coarse"
    found = Interval(middle, math.nan, math.nan, len(own))
    return Quantity(words, found, "x", never=never, seeds=own.tolist())


def at(wide: pd.DataFrame, column: float) -> pd.Series:
    """A column of a table of curves, by seed (row); empty where there is none."""
    return wide.loc[:, column] if column in wide else pd.Series(dtype=float)


def at_the_end(wide: pd.DataFrame) -> pd.Series:
    """The last column (step) of a table of curves, by seed (row); empty where there is none."""
    return wide.iloc[:, -1] if wide.shape[1] else pd.Series(dtype=float)


def higher_at_the_end(
    a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str], images: Images | None = None
) -> Quantity:
    """How far ``a`` ends above ``b``: tables of test accuracy, seeds (rows) by steps (columns)."""
    a, b = shared(a, b)
    words = f"Test accuracy at the last step (moving averages), {names[0]} minus {names[1]}. "
    words += AT_CHANCE
    return difference(at_the_end(a), at_the_end(b), words, images=images)


def differences(
    a: pd.DataFrame,
    b: pd.DataFrame,
    images: Mapping[Any, Images] | None = None,
    level: float = intervals.LEVEL,
) -> dict[Any, Interval]:
    """By step (column) the mean of ``a - b``, paired by seed (row).

    ``images``: by column, as in :func:`difference`. A column without them takes the variance over
    images of the last that has them: of a curve's steps only the last one's answers are recorded.
    """
    a, b = shared(a, b)
    gained = gained_by_column(a, b, images)
    usual = gained[max(gained)] if gained else None
    return {
        at: intervals.difference(
            a[at].to_numpy(float),
            b[at].to_numpy(float),
            paired=True,
            images=gained.get(at, usual),
            level=level,
        )
        for at in a
    }


def gained_by_column(
    a: pd.DataFrame, b: pd.DataFrame, images: Mapping[Any, Images] | None
) -> dict[Any, np.ndarray]:
    """:func:`gained_at` of the columns whose answers are known."""
    found = {
        at: gained_at(pd.Series(a[at]), pd.Series(b[at]), both)
        for at, both in (images or {}).items()
        if at in a
    }
    return {at: gained for at, gained in found.items() if gained is not None}


def ahead_at_each(
    a: pd.DataFrame,
    b: pd.DataFrame,
    names: tuple[str, str],
    what: str = "evaluated step",
    images: Mapping[Any, Images] | None = None,
) -> Quantity:
    """How far ``a`` is above ``b`` where its lead is least sure; for :class:`rules.AtEach`.

    The tables have a row a seed and a column a step, or whatever ``what`` names; ``images`` as in
    :func:`differences`.
    """
    a, b = shared(a, b)
    gained = gained_by_column(a, b, images)
    of_last = ", that over images the last one's" if 0 < len(gained) < a.shape[1] else ""
    words = (
        f"At each {what}, the mean of {names[0]} minus {names[1]}, paired by seed, with its "
        f"{over(next(iter(gained.values()), None))}{of_last}; the number is that of the worst, "
        f"whose interval reaches lowest. {AT_CHANCE}"
    )
    found = differences(a, b, images)
    if not found:
        return Quantity(words, NOTHING, "points")
    unsure = {at: f.estimate if math.isnan(f.low) else f.low for at, f in found.items()}
    at = min(unsure, key=lambda key: unsure[key])
    corrected = differences(a, b, images, 1 - (1 - intervals.LEVEL) / len(found))
    parts, own = list(found.values()), (a[at] - b[at]).tolist()
    return Quantity(words, found[at], "points", parts, list(corrected.values()), seeds=own)


def with_each(found: Quantity, names: Sequence[str], how: str = "least") -> Quantity:
    """``found``, the ``how`` certain of its parts, with the number of each beside it, by name.

    Of more parts than names, of the first.
    """
    if not found.parts or not found.interval.n:
        return found
    each = [f"{found.number(p.estimate)} {n}" for p, n in zip(found.parts, names, strict=False)]
    return replace(found, beside=f"the {how} certain of: {', '.join(each)}")
