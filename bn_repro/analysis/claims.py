"""Claims of the paper: a quantity, a rule that writes itself as a sentence, and the verdict.

A :class:`Quantity` is what was computed from the runs, with its interval over seeds. A rule turns
it into *holds*, *does not hold* or *undecided*, with a short reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import pandas as pd

from bn_repro.analysis import intervals
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.tables import shared

Verdict = Literal["holds", "does not hold", "undecided"]
VERDICTS: tuple[Verdict, ...] = ("holds", "does not hold", "undecided")
DIGITS = 4
"""Significant digits in ``claims.json``."""
ENOUGH_SEEDS = 3
"""With fewer, an interval covers the truth with probability 1/2 at best, and decides nothing."""
OVER_SEEDS = "95 % bootstrap interval over seeds"
NOTHING = Interval(math.nan, math.nan, math.nan, 0)
"""The interval of what was not measured."""

Unit = Literal["points", "x", "times chance", "runs"]
"""Of a quantity: a difference of fractions, shown in percentage points; a factor; an accuracy over
chance; a share of the runs, shown as a count."""


@dataclass(frozen=True)
class Quantity:
    """What was computed, in words, and what came out.

    ``parts`` are further intervals that a rule looks at: of the two arms, of the two directions, or
    at each step. ``never`` names the arm behind a factor of 0 (the first) or of infinity (the
    second), one that does not reach its target.
    """

    words: str
    interval: Interval
    unit: Unit
    parts: Sequence[Interval] = ()
    never: tuple[str, str] | None = None

    def __str__(self) -> str:
        """``+0.53 points [+0.41, +0.65]``, ``4.43 x [4.29, 8.00]``, ``3 of 3 runs``."""
        found = self.interval
        if math.isnan(found.estimate):
            return "not measured"
        if self.unit == "runs":
            return f"{round(found.estimate * found.n)} of {found.n} runs"
        if self.never and not 0 < found.estimate < math.inf:
            return f"never reached by {self.never[found.estimate > 0]}"
        ends = ""
        if not math.isnan(found.low):
            low, high = (self.number(end) for end in (found.low, found.high))
            ends = f" [{low}, {high}]" if math.isfinite(found.high) else f" [{low} or more]"
        return f"{self.number(found.estimate)} {self.unit}{ends}"

    def number(self, value: float) -> str:
        """One number in the quantity's unit, without it."""
        if self.unit == "points":
            return f"{100 * value:+.2f}"
        return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


class Judgement(NamedTuple):
    """A verdict with its reason in a few words."""

    verdict: Verdict
    reason: str


class Rule(Protocol):
    """What a quantity must show for its claim to hold."""

    def words(self, quantity: Quantity) -> str:
        """The rule as a sentence."""
        ...

    def judge(self, quantity: Quantity) -> Judgement:
        """The verdict on what was measured."""
        ...


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper; ``paper`` is the paper's number, printed or from two of them."""

    id: str
    sentence: str
    section: str
    quantity: Quantity
    rule: Rule
    paper: str = ""

    @cached_property
    def _judged(self) -> Judgement:
        return self.rule.judge(self.quantity)

    @property
    def verdict(self) -> Verdict:
        """What the rule makes of the quantity."""
        return self._judged.verdict

    @property
    def reason(self) -> str:
        """The reason of the verdict, in a few words."""
        return self._judged.reason

    @property
    def computed(self) -> str:
        """What was computed, and the rule."""
        return f"{self.quantity.words}. {self.rule.words(self.quantity)}"

    @property
    def n(self) -> int:
        """The number of seeds behind it."""
        return self.quantity.interval.n


# --- rules ----------------------------------------------------------------------------------------


def side(found: Interval, bound: float) -> int:
    """1 where the whole interval lies above ``bound``, -1 where below, 0 where neither is known."""
    if found.n < ENOUGH_SEEDS or math.isnan(found.low) or math.isnan(found.high):
        return 0
    return int(found.low > bound) - int(found.high < bound)


def _undecided(found: Interval, bound: str) -> Judgement:
    if found.n == 0:
        return Judgement("undecided", "not measured")
    if found.n < ENOUGH_SEEDS:
        return Judgement("undecided", f"fewer than {ENOUGH_SEEDS} seeds")
    return Judgement("undecided", f"the interval contains {bound}")


def _bound(bound: float, unit: Unit) -> str:
    if unit == "points":
        return f"{100 * bound:+g} points" if bound else "0"
    if unit == "runs":
        return f"{100 * bound:g} % of the runs"
    return f"{bound:g} times chance" if unit == "times chance" else f"{bound:g}"


def _lies(quantity: Quantity, where: str) -> str:
    """The reason of a verdict: the interval's side, or that an arm never reaches the target."""
    if quantity.never and not 0 < quantity.interval.estimate < math.inf:
        return "not within the length of its runs"
    return f"the interval lies {where}"


@dataclass(frozen=True)
class Above:
    """The whole interval lies above ``bound``: the claim is that the truth does."""

    bound: float = 0.0

    _sides: ClassVar[tuple[str, str]] = ("above", "below")
    """The side on which the claim holds, and the other."""

    def words(self, quantity: Quantity) -> str:
        """As a sentence."""
        (holds, fails), bound = self._sides, _bound(self.bound, quantity.unit)
        return f"Holds if the interval lies {holds} {bound}, does not hold if {fails}"

    def judge(self, quantity: Quantity) -> Judgement:
        """By the side on which the interval lies."""
        bound = _bound(self.bound, quantity.unit)
        found = side(quantity.interval, self.bound)
        if found == 0:
            return _undecided(quantity.interval, bound)
        lies = "above" if found > 0 else "below"
        verdict = "holds" if lies == self._sides[0] else "does not hold"
        return Judgement(verdict, _lies(quantity, f"{lies} {bound}"))


@dataclass(frozen=True)
class Below(Above):
    """The whole interval lies below ``bound``: the claim is that the truth does."""

    _sides: ClassVar[tuple[str, str]] = ("below", "above")


@dataclass(frozen=True)
class Provided:
    """Another rule whose "holds" counts only where a condition is met; otherwise undecided."""

    rule: Rule
    met: bool
    condition: str
    """A clause: "the same weights train at Inception's own rate"."""
    otherwise: str
    """The reason where it is not met: "its control fails too"."""

    def words(self, quantity: Quantity) -> str:
        """As a sentence."""
        return f"{self.rule.words(quantity)}; undecided unless {self.condition}"

    def judge(self, quantity: Quantity) -> Judgement:
        """As the other rule does, if the condition is met."""
        found = self.rule.judge(quantity)
        measured = quantity.interval.n >= ENOUGH_SEEDS
        if measured and found.verdict != "does not hold" and not self.met:
            return Judgement("undecided", self.otherwise)
        return found


@dataclass(frozen=True)
class Crosses:
    """With BN (``parts[0]``) a network reaches ``bound``; without (``parts[1]``) it does not."""

    bound: float

    def words(self, quantity: Quantity) -> str:
        """As a sentence."""
        bound = f"{100 * self.bound:g} %"
        return (
            f"Holds if the interval lies above 0, that of BN's mean reaches {bound} and that of "
            "the other's mean does not; does not hold if the other's lies wholly at or above "
            f"{bound} too, or BN's wholly below"
        )

    def judge(self, quantity: Quantity) -> Judgement:
        """By where the intervals of the two arms lie."""
        bn, other = quantity.parts
        bound = f"{100 * self.bound:g} %"
        if quantity.interval.n < ENOUGH_SEEDS:
            return _undecided(quantity.interval, bound)
        if quantity.interval.low > 0 and bn.low >= self.bound > other.high:
            return Judgement("holds", f"only BN reaches {bound}")
        if other.low >= self.bound:
            return Judgement("does not hold", "it trains without BN too")
        if bn.high < self.bound:
            return Judgement("does not hold", f"with BN it stays below {bound}")
        return Judgement("undecided", f"an arm's interval contains {bound}")


@dataclass(frozen=True)
class InEach:
    """Each of the quantity's ``parts`` lies above 0, or each below; ``margin`` says what 0 is."""

    what: str
    """What each part is: "direction"."""
    margin: str = "0"

    def words(self, quantity: Quantity) -> str:
        """As a sentence."""
        return (
            f"Holds if in each {self.what} the interval lies above {self.margin}, does not hold if "
            "in each it lies below"
        )

    def judge(self, quantity: Quantity) -> Judgement:
        """By the sides on which the parts lie."""
        found = {side(part, 0.0) for part in quantity.parts}
        if min((part.n for part in quantity.parts), default=0) < ENOUGH_SEEDS:
            return _undecided(min(quantity.parts, key=lambda part: part.n), "0")
        if found == {1}:
            return Judgement("holds", f"above in each {self.what}")
        if found == {-1}:
            return Judgement("does not hold", f"below in each {self.what}")
        if found == {1, -1}:
            return Judgement("undecided", f"the {self.what}s disagree")
        return Judgement("undecided", f"not clear in each {self.what}")


@dataclass(frozen=True)
class AboveAtEachStep:
    """The interval lies above 0 at every step (``parts``).

    ``corrected`` are the intervals at the level corrected for the number of steps.
    """

    corrected: Sequence[Interval] = field(repr=False)

    def words(self, quantity: Quantity) -> str:
        """As a sentence."""
        return (
            "Holds if the interval lies above 0 at every step (all have to pass, so no correction "
            "is due); does not hold if at some step it lies below 0 at the level corrected for the "
            "number of steps (Bonferroni)"
        )

    def judge(self, quantity: Quantity) -> Judgement:
        """By the worst step."""
        if any(side(part, 0.0) < 0 for part in self.corrected):
            return Judgement("does not hold", "behind at some step")
        ahead = sum(side(part, 0.0) > 0 for part in quantity.parts)
        if quantity.interval.n < ENOUGH_SEEDS:
            return _undecided(quantity.interval, "0")
        if ahead == len(quantity.parts):
            return Judgement("holds", f"ahead at all {ahead} steps")
        return Judgement("undecided", f"ahead at {ahead} of {len(quantity.parts)} steps")


# --- quantities -----------------------------------------------------------------------------------

AT_CHANCE = "A diverged run counts as chance"


def paired_difference(
    a: pd.Series, b: pd.Series, words: str, *, parts: Sequence[Interval] = ()
) -> Quantity:
    """The mean of ``a - b`` over the seeds (index) that both have, in points."""
    a, b = shared(a, b)
    found = intervals.difference(a.to_numpy(float), b.to_numpy(float), paired=True)
    return Quantity(f"{words}, paired by seed: mean with its {OVER_SEEDS}", found, "points", parts)


def at_the_end(wide: pd.DataFrame) -> pd.Series:
    """The last column (step) of a table of curves, by seed (row); empty where there is none."""
    return wide.iloc[:, -1] if wide.shape[1] else pd.Series(dtype=float)


def higher_at_the_end(a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str]) -> Quantity:
    """How far ``a`` ends above ``b``: tables of test accuracy, seeds (rows) by steps (columns)."""
    a, b = shared(a, b)
    words = f"Test accuracy at the last step (moving averages), {names[0]} minus {names[1]}"
    found = paired_difference(at_the_end(a), at_the_end(b), words)
    return Quantity(f"{found.words}. {AT_CHANCE}", found.interval, found.unit)


def differences(a: pd.DataFrame, b: pd.DataFrame, level: float) -> list[Interval]:
    """At each step (column) the mean of ``a - b``, paired by seed (row)."""
    columns = zip(a.to_numpy(float).T, b.to_numpy(float).T, strict=True)
    return [intervals.difference(x, y, paired=True, level=level) for x, y in columns]


def ahead_at_each_step(
    a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str]
) -> tuple[Quantity, AboveAtEachStep]:
    """How far ``a`` is above ``b`` where its lead is least sure, and the rule for every step."""
    a, b = shared(a, b)
    found = differences(a, b, intervals.LEVEL)
    worst, corrected = Interval(math.nan, math.nan, math.nan, len(a)), []
    if found:
        unsure = [f.estimate if math.isnan(f.low) else f.low for f in found]
        worst = found[int(np.argmin(unsure))]
        corrected = differences(a, b, 1 - (1 - intervals.LEVEL) / len(found))
    words = (
        f"At each evaluated step the mean of {names[0]} minus {names[1]}, paired by seed, with its "
        f"95 % bootstrap interval; the number is that of the worst step, whose interval reaches "
        f"lowest. {AT_CHANCE}"
    )
    return Quantity(words, worst, "points", found), AboveAtEachStep(corrected)


# --- claims.json ----------------------------------------------------------------------------------


def _rounded(value: float) -> float | str | None:
    if math.isinf(value):
        return str(value)  # JSON has no number for it
    return None if math.isnan(value) else float(f"{value:.{DIGITS}g}")


def row(claim: Claim) -> dict[str, Any]:
    """A claim as ``claims.json`` has it: rounded; null for NaN, "inf" or "-inf" for infinities."""
    found = claim.quantity.interval
    return {
        "id": claim.id,
        "sentence": claim.sentence,
        "section": claim.section,
        "rule": claim.computed,
        "estimate": _rounded(found.estimate),
        "low": _rounded(found.low),
        "high": _rounded(found.high),
        "n": found.n,
        "verdict": claim.verdict,
        "reason": claim.reason,
    }


def to_json(claims: Sequence[Claim]) -> str:
    """The text of ``claims.json``."""
    return json.dumps([row(claim) for claim in claims], indent=2, ensure_ascii=False) + "\n"


def from_json(path: Path) -> list[dict[str, Any]]:
    """The rows of ``claims.json``, numbers as floats."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    numbers = ("estimate", "low", "high")
    return [
        row | {key: math.nan if row[key] is None else float(row[key]) for key in numbers}
        for row in rows
    ]
