"""Claims of the paper: a quantity, a rule, gates, and the verdict.

A study yields its claims like this (``q`` is :mod:`quantities`)::

    yield Claim(
        "final_accuracy_difference",
        "With BN the network reaches a higher test accuracy.",
        "4.1, Figure 1(a)",
        q.higher_at_the_end(bn, base, ("BN", "baseline"), images=(bn_right, base_right)),
        Above(),
        paper="+0.5 points",       # what the paper prints, in words
        effect=0.005,              # the same as a number in the quantity's unit
        gates=[gates.converged(usual, longer, runs.chance, "Inception")],
        depends_on="the rate",
    )

Quantities (:mod:`quantities`): ``difference`` (paired or Welch), ``mean``, ``factor``, ``failures``
(k of n), ``discrete`` (for :class:`rules.SignTest`), ``higher_at_the_end``, ``ahead_at_each``
(for :class:`rules.AtEach`); steps to a target are a :class:`speed.Race`. The answers image by
image are ``arm.of(runs).right("last")`` and ``right("best")``.

The verdict, in this order: *undecided* with 1 to 4 seeds; *not testable* where a gate is not met;
*undecided* where a gate is not known, or nothing was measured; else the rule's. An undecided claim
is *bounded* where these seeds and images cannot tell the ``effect`` in the paper from the rule's
bound: its reason says how large the effect is at most. ``depends_on`` names in a few words what the
verdict depends on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bn_repro.analysis.gates import Gate
from bn_repro.analysis.intervals import ENOUGH_SEEDS
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.rules import Judgement, Rule, Verdict, by_chance

DIGITS = 4
"""Significant digits in ``claims.json``."""


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper; ``paper`` is the paper's number, printed or from two of them."""

    id: str
    sentence: str
    section: str
    quantity: Quantity
    rule: Rule
    paper: str = ""
    effect: float | None = None
    """The paper's number in the quantity's unit, where it gives one."""
    gates: Sequence[Gate] = ()
    depends_on: str = ""
    """What the verdict depends on, in a few words: "the initial scale"."""

    @cached_property
    def _judged(self) -> Judgement:
        found = self.rule.judge(self.quantity)
        if 0 < self.n < ENOUGH_SEEDS:
            return found
        for gate in sorted(self.gates, key=lambda gate: gate.met is None):
            if gate.met is False:
                return Judgement("not testable", gate.reason)
            if gate.met is None and self.n:
                return Judgement("undecided", f"not known whether {gate.words}")
        return (
            Judgement("undecided", self._bound)
            if found.verdict == "undecided" and self._bound
            else found
        )

    @cached_property
    def _bound(self) -> str:
        """How large the effect is at most, where the paper's cannot be told from the bound."""
        if self.effect is None or self.n < ENOUGH_SEEDS:
            return ""
        effect, bound = self.effect, self.rule.bound
        if self.quantity.unit == "x":
            effect, bound = math.log(effect), math.log(bound)
        if abs(effect - bound) >= self.quantity.detectable_effect or math.isinf(
            self.quantity.detectable_effect
        ):
            return ""
        found, more = self.quantity.interval, effect > bound
        end = self.quantity.number(found.high if more else found.low)
        return f"bounded: at {'most' if more else 'least'} {end} {self.quantity.unit}"

    @property
    def verdict(self) -> Verdict:
        """What the gates and the rule make of the quantity."""
        return self._judged.verdict

    @property
    def bounded(self) -> bool:
        """Whether it is undecided, and its effect bounded."""
        return self.verdict == "undecided" and self._judged.reason == self._bound != ""

    @property
    def reason(self) -> str:
        """The reason of the verdict in a few words, and what it depends on."""
        depends = f"; depends on {self.depends_on}" if self.depends_on else ""
        return self._judged.reason + depends

    @property
    def computed(self) -> str:
        """What was computed, the rule, and the gates."""
        asked = "".join(f". Not testable unless {gate.words}" for gate in self.gates)
        return f"{self.quantity.words}. {self.rule.words(self.quantity)}{asked}"

    @property
    def n(self) -> int:
        """The number of seeds behind it."""
        return self.quantity.interval.n

    @property
    def by_chance(self) -> float:
        """How often it would hold if nothing had an effect; 0 where nothing can be decided."""
        judged = self.n >= ENOUGH_SEEDS and self.verdict != "not testable"
        return by_chance(self.rule, self.quantity) if judged else 0.0


# --- claims.json ----------------------------------------------------------------------------------


COLUMNS = ["id", "sentence", "section", "rule", "estimate", "low", "high", "n", "verdict", "reason"]
"""Of a claim's row."""


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
