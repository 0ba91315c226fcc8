"""Claims of the paper, each with the rule that turned runs into a verdict.

A claim's ``id`` ends in the kind of number that it estimates, and is shown accordingly:
``_difference`` (of two fractions, in percentage points), ``_ratio`` (a factor), else as it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from bn_repro.analysis import intervals
from bn_repro.analysis.intervals import Interval

Verdict = Literal["holds", "does not hold", "undecided"]
DIGITS = 4
"""Significant digits in ``claims.json``."""
ENOUGH_SEEDS = 3
"""With fewer, an interval covers the truth with probability 1/2 at best, and decides nothing."""


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper and what the runs say; ``rule`` states exactly what was computed."""

    id: str
    sentence: str
    section: str
    rule: str
    estimate: float
    low: float
    high: float
    n: int
    verdict: Verdict


def verdict(found: Interval, *, above: float | None = None, below: float | None = None) -> Verdict:
    """Whether the whole interval lies above (below) a number: the claim is that the truth does."""
    if (above is None) == (below is None):
        raise ValueError("verdict: give exactly one of above and below")
    if found.n < ENOUGH_SEEDS or math.isnan(found.low) or math.isnan(found.high):
        return "undecided"
    low, high, bound = found.low, found.high, above
    if below is not None:
        low, high, bound = -found.high, -found.low, -below
    assert bound is not None
    return "holds" if low > bound else "does not hold" if high < bound else "undecided"


def claim(
    id: str, sentence: str, section: str, rule: str, found: Interval, verdict: Verdict
) -> Claim:
    """A claim from an interval."""
    return Claim(
        id, sentence, section, rule, found.estimate, found.low, found.high, found.n, verdict
    )


Names = tuple[str, str]
"""What two arms are called."""


def higher_at_the_end(
    a: pd.DataFrame,
    b: pd.DataFrame,
    sentence: str,
    section: str,
    names: Names = ("baseline", "BN"),
) -> Claim:
    """``b`` ends above ``a``: accuracy tables, seeds (rows) by steps (columns).

    Only seeds and steps that both have count; ``names`` are those of ``a`` and ``b`` in the rule.
    """
    a, b = _shared(a, b)
    above, below = (wide.to_numpy(float)[:, -1] if wide.size else [] for wide in (b, a))
    found = intervals.difference(above, below, paired=True)
    return claim(
        "final_accuracy_difference",
        sentence,
        section,
        f"Test accuracy at the last step (moving averages), {names[1]} minus {names[0]}, paired by "
        "seed: mean with its 95 % bootstrap interval over seeds. Holds if the interval lies above "
        "0, does not hold if below. A diverged run counts as chance.",
        found,
        verdict(found, above=0.0),
    )


def differences(a: pd.DataFrame, b: pd.DataFrame, level: float) -> list[Interval]:
    """At each step (column) the mean of ``b - a``, paired by seed (row)."""
    columns = zip(a.to_numpy(float).T, b.to_numpy(float).T, strict=True)
    return [intervals.difference(y, x, paired=True, level=level) for x, y in columns]


def ahead_at_each_step(
    a: pd.DataFrame,
    b: pd.DataFrame,
    sentence: str,
    section: str,
    names: Names = ("baseline", "BN"),
) -> Claim:
    """``b`` is above ``a`` at each step; the arguments are those of ``higher_at_the_end``."""
    a, b = _shared(a, b)
    found = differences(a, b, intervals.LEVEL)
    if not found or any(math.isnan(f.low) for f in found):
        worst = found[0] if found else Interval(math.nan, math.nan, math.nan, len(a))
        judged: Verdict = "undecided"
    else:
        worst = min(found, key=lambda f: f.low)
        corrected = differences(a, b, 1 - (1 - intervals.LEVEL) / len(found))
        if any(verdict(f, above=0.0) == "does not hold" for f in corrected):
            judged = "does not hold"
        else:
            judged = "holds" if verdict(worst, above=0.0) == "holds" else "undecided"
    return claim(
        "ahead_at_each_step_difference",
        sentence,
        section,
        f"At each evaluated step the mean of {names[1]} minus {names[0]}, paired by seed, with its "
        "95 % bootstrap interval; shown is the worst step, whose interval reaches lowest. Holds if "
        "the interval lies above 0 at every step (all have to pass, so no correction is due); does "
        "not hold if at some step it lies below 0 at the level corrected for the number of steps "
        "(Bonferroni). A diverged run counts as chance.",
        worst,
        judged,
    )


def _shared(a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    seeds, steps = a.index.intersection(b.index), a.columns.intersection(b.columns)
    return a.loc[seeds, steps], b.loc[seeds, steps]


def _rounded(value: object) -> object:
    if not isinstance(value, float):
        return value
    if math.isinf(value):
        return str(value)  # JSON has no number for it
    return None if math.isnan(value) else float(f"{value:.{DIGITS}g}")


def to_json(claims: Sequence[Claim]) -> str:
    """The text of ``claims.json``: rounded; null for NaN, "inf" or "-inf" for what is infinite."""
    rows = [{key: _rounded(value) for key, value in asdict(c).items()} for c in claims]
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def from_json(path: Path) -> list[Claim]:
    """Claims from ``claims.json``: what ``to_json`` wrote."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    numbers = ("estimate", "low", "high")
    return [
        Claim(**row | {key: math.nan if row[key] is None else float(row[key]) for key in numbers})
        for row in rows
    ]


LEGEND = (
    "`?`: nothing is measured yet; `inf` or `0.00 x`: one of the two did not get there within its "
    "steps."
)
"""What a reader of numbers as :func:`shown` has them may ask."""


def _number(value: float, kind: str) -> str:
    if math.isnan(value):
        return "?"
    if kind == "difference":
        return f"{100 * value:+.2f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def shown(id: str, estimate: float, low: float, high: float) -> str:
    """``estimate [low, high]`` with the unit that the id's ending names."""
    kind = id.rpartition("_")[2]
    unit = {"difference": " points", "ratio": " x"}.get(kind, "")
    ends = "" if math.isnan(low) else f" [{_number(low, kind)}, {_number(high, kind)}]"
    return f"{_number(estimate, kind)}{ends}{unit}"
