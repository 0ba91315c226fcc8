"""Rules: what a quantity must show for its claim to hold. Each writes itself as a sentence.

With fewer than ``ENOUGH_SEEDS`` seeds every rule is undecided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol

from bn_repro.analysis.intervals import ENOUGH_SEEDS, LEVEL, Interval, sign_test
from bn_repro.analysis.quantities import Quantity, Unit

Verdict = Literal["holds", "does not hold", "undecided", "not testable"]
VERDICTS: tuple[Verdict, ...] = ("holds", "does not hold", "undecided", "not testable")
NO_EFFECT = {"points": 0.0, "x": 1.0}
"""What a quantity is where nothing has an effect, by its unit."""
BY_CHANCE = (1 - LEVEL) / 2
"""How often an interval lies above what its quantity truly is."""


class Judgement(NamedTuple):
    """A verdict with its reason in a few words."""

    verdict: Verdict
    reason: str


class Rule(Protocol):
    """What a quantity must show for its claim to hold."""

    @property
    def bound(self) -> float:
        """What the truth is compared with."""
        ...

    def words(self, quantity: Quantity) -> str:
        """The rule as a sentence."""
        ...

    def judge(self, quantity: Quantity) -> Judgement:
        """The verdict on what was measured."""
        ...


def by_chance(rule: Rule, quantity: Quantity) -> float:
    """The probability that the claim holds without any effect: 2.5 % where the rule's bound is the
    value of no effect, else 0."""
    return BY_CHANCE if NO_EFFECT.get(quantity.unit) == rule.bound else 0.0


def side(found: Interval, bound: float) -> int:
    """1 where the whole interval lies above ``bound``, -1 where below, 0 where neither is known."""
    if found.n < ENOUGH_SEEDS or math.isnan(found.low) or math.isnan(found.high):
        return 0
    return int(found.low > bound) - int(found.high < bound)


def _few(quantity: Quantity, found: Interval | None = None) -> Judgement | None:
    """Undecided where there is nothing, or too little of it."""
    n = (found or quantity.interval).n
    if n == 0:
        return Judgement("undecided", "not measured")
    if n < ENOUGH_SEEDS:
        return Judgement("undecided", f"fewer than {ENOUGH_SEEDS} {quantity.of}")
    return None


def _bound(bound: float, unit: Unit) -> str:
    if unit == "points":
        return f"{100 * bound:+g} points" if bound else "0"
    if unit == "runs":
        return f"{100 * bound:g} % of the runs"
    return f"{bound:g} times chance" if unit == "times chance" else f"{bound:g}"


def _lies(quantity: Quantity, where: str) -> str:
    """The reason of a verdict: the interval's side, or that an arm does not reach the target."""
    estimate = quantity.interval.estimate
    if quantity.never and not 0 < estimate < math.inf:
        return f"the median run of {quantity.never[estimate > 0]} does not reach the target"
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
        if few := _few(quantity):
            return few
        if math.isnan(quantity.interval.estimate):  # as of two arms that do not reach a target
            return Judgement("undecided", quantity.shown)
        bound = _bound(self.bound, quantity.unit)
        found = side(quantity.interval, self.bound)
        if found == 0:
            return Judgement("undecided", f"the interval contains {bound}")
        lies = "above" if found > 0 else "below"
        verdict = "holds" if lies == self._sides[0] else "does not hold"
        return Judgement(verdict, _lies(quantity, f"{lies} {bound}"))


@dataclass(frozen=True)
class Below(Above):
    """The whole interval lies below ``bound``: the claim is that the truth does."""

    _sides: ClassVar[tuple[str, str]] = ("below", "above")


@dataclass(frozen=True)
class SignTest:
    """More seeds lie above ``bound`` than below, by an exact test: for what is on a coarse grid."""

    bound: float = 1.0

    def words(self, quantity: Quantity) -> str:
        """As a sentence."""
        bound = _bound(self.bound, quantity.unit)
        return (
            f"Holds if more seeds lie above {bound} than below by an exact sign test (two-sided, "
            "p < 0.05: six of six decide, five of five do not), does not hold if more lie below"
        )

    def judge(self, quantity: Quantity) -> Judgement:
        """By how many seeds lie on each side; those on the bound are left out."""
        if few := _few(quantity):
            return few
        above, below, p = sign_test(quantity.seeds, self.bound)
        counts = f"{above} seeds above {_bound(self.bound, quantity.unit)}, {below} below"
        if p >= 1 - LEVEL:
            return Judgement("undecided", f"{counts}: p = {p:.2g}")
        return Judgement("holds" if above > below else "does not hold", counts)


@dataclass(frozen=True)
class Provided:
    """Another rule whose verdict counts only where a condition is met; otherwise undecided."""

    rule: Rule
    met: bool
    condition: str
    """A clause: "it lies outside the noise of seeds"."""
    otherwise: str
    """The reason where it is not met: "within the noise of its seeds"."""

    @property
    def bound(self) -> float:
        """The other rule's."""
        return self.rule.bound

    def words(self, quantity: Quantity) -> str:
        """As a sentence."""
        return f"{self.rule.words(quantity)}; undecided unless {self.condition}"

    def judge(self, quantity: Quantity) -> Judgement:
        """As the other rule does, if the condition is met."""
        found = self.rule.judge(quantity)
        decided = found.verdict != "undecided"
        return Judgement("undecided", self.otherwise) if decided and not self.met else found


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
            f"{bound} too, or BN's wholly below (at the worst shape covered 86.5 %)"
        )

    def judge(self, quantity: Quantity) -> Judgement:
        """By where the intervals of the two arms lie."""
        if few := _few(quantity):
            return few
        bn, other = quantity.parts
        bound = f"{100 * self.bound:g} %"
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

    @property
    def bound(self) -> float:
        """What each part is compared with; NaN with a margin, where no effect at all would hold."""
        return 0.0 if self.margin == "0" else math.nan

    def words(self, quantity: Quantity) -> str:
        """As a sentence."""
        return (
            f"Holds if in each {self.what} the interval lies above {self.margin}, does not hold if "
            "in each it lies below"
        )

    def judge(self, quantity: Quantity) -> Judgement:
        """By the sides on which the parts lie."""
        found = {side(part, 0.0) for part in quantity.parts}
        fewest = min(quantity.parts, key=lambda part: part.n, default=None)
        if few := _few(quantity) or _few(quantity, fewest):
            return few
        margin = "" if self.margin == "0" else " the margin"
        if found == {1}:
            return Judgement("holds", f"above{margin} in each {self.what}")
        if found == {-1}:
            return Judgement("does not hold", f"below{margin} in each {self.what}")
        if found == {1, -1}:
            return Judgement("undecided", f"the {self.what}s disagree")
        return Judgement("undecided", f"not clear in each {self.what}")


@dataclass(frozen=True)
class AtEach:
    """The interval lies above ``bound`` in each case (``parts``); ``corrected`` decides against."""

    what: str
    """What a part is of: "step", "rate"."""
    bound: float = 0.0

    def words(self, quantity: Quantity) -> str:
        """As a sentence."""
        bound = _bound(self.bound, quantity.unit)
        return (
            f"Holds if the interval lies above {bound} at every {self.what} (all have to pass, so "
            f"no correction is due); does not hold if at some {self.what} it lies below {bound} at "
            f"the level corrected for the number of {self.what}s (Bonferroni)"
        )

    def judge(self, quantity: Quantity) -> Judgement:
        """By the worst part."""
        if few := _few(quantity):
            return few
        if not quantity.parts:
            return Judgement("undecided", "not measured")
        if any(side(part, self.bound) < 0 for part in quantity.corrected):
            return Judgement("does not hold", f"behind at some {self.what}")
        ahead = sum(side(part, self.bound) > 0 for part in quantity.parts)
        usual = self.bound == NO_EFFECT.get(quantity.unit)
        where = "ahead" if usual else f"above {_bound(self.bound, quantity.unit)}"
        if ahead == len(quantity.parts):
            return Judgement("holds", f"{where} at all {ahead} {self.what}s")
        reason = f"{where} at {ahead} of {len(quantity.parts)} {self.what}s"
        return Judgement("undecided", reason)
