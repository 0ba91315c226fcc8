"""Verdicts follow from intervals alone, and the file holds what is finite."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bn_repro.analysis import claims
from bn_repro.analysis.claims import Claim
from bn_repro.analysis.intervals import Interval


@pytest.mark.parametrize(
    ("low", "high", "n", "above", "below"),
    [
        (0.1, 0.3, 5, "holds", "does not hold"),
        (-0.3, -0.1, 5, "does not hold", "holds"),
        (-0.1, 0.3, 5, "undecided", "undecided"),
        (0.1, 0.3, 2, "undecided", "undecided"),  # two seeds decide nothing
        (math.nan, math.nan, 5, "undecided", "undecided"),
        (0.1, math.inf, 5, "holds", "does not hold"),
    ],
)
def test_verdicts(low: float, high: float, n: int, above: str, below: str) -> None:
    found = Interval(0.2, low, high, n)
    assert claims.verdict(found, above=0) == above
    assert claims.verdict(found, below=0) == below


def test_a_verdict_looks_one_way() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        claims.verdict(Interval(0, 0, 0, 5))


def test_json_is_rounded_and_says_what_is_no_number(tmp_path: Path) -> None:
    claim = Claim("x_ratio", "s", "4.1", "r", 1.23456789, math.nan, math.inf, 5, "undecided")
    text = claims.to_json([claim])
    (row,) = json.loads(text)
    assert list(row) == [
        "id",
        "sentence",
        "section",
        "rule",
        "estimate",
        "low",
        "high",
        "n",
        "verdict",
    ]
    assert (row["estimate"], row["low"], row["high"]) == (1.235, None, "inf")
    path = tmp_path / "claims.json"
    path.write_text(text, encoding="utf-8")
    (back,) = claims.from_json(path)
    assert back.estimate == 1.235
    assert math.isnan(back.low)
    assert back.high == math.inf
    assert claims.to_json([back]) == text


def test_numbers_are_shown_in_the_unit_of_the_id() -> None:
    assert claims.shown("a_difference", 0.0123, 0.01, 0.015) == "+1.23 [+1.00, +1.50] points"
    assert claims.shown("a_ratio", 12.345, 1.5, math.inf) == "12.3 [1.50, inf] x"
    assert claims.shown("a_ratio", 0.5, math.nan, math.nan) == "0.50 x"


def _tables(gaps: list[float], seeds: int = 8) -> tuple[pd.DataFrame, pd.DataFrame]:
    noise = np.random.default_rng(0).normal(0, 0.001, size=(2, seeds, len(gaps)))
    steps = [1_000 * (i + 1) for i in range(len(gaps))]
    return (
        pd.DataFrame(0.9 + noise[0], columns=steps),
        pd.DataFrame(0.9 + np.array(gaps) + noise[1], columns=steps),
    )


@pytest.mark.parametrize(
    ("gaps", "verdict", "worst"),
    [
        ([0.05, 0.02, 0.01], "holds", 0.01),
        ([0.05, 0.0, 0.01], "undecided", 0.0),
        ([0.05, -0.02, 0.01], "does not hold", -0.02),
    ],
)
def test_ahead_at_each_step_is_as_good_as_its_worst_step(
    gaps: list[float], verdict: str, worst: float
) -> None:
    found = claims.ahead_at_each_step(*_tables(gaps), "s", "4.1")
    assert found.verdict == verdict
    assert found.estimate == pytest.approx(worst, abs=0.002)
    assert found.n == 8


def test_higher_at_the_end_looks_at_the_end() -> None:
    found = claims.higher_at_the_end(*_tables([-0.5, 0.01]), "s", "4.1")
    assert (found.verdict, found.id) == ("holds", "final_accuracy_difference")
    assert found.estimate == pytest.approx(0.01, abs=0.002)


def test_arms_are_paired_by_the_seeds_that_both_have() -> None:
    a, b = _tables([0.05, 0.02])
    for rule in (claims.higher_at_the_end, claims.ahead_at_each_step):
        found = rule(a.iloc[:5], b.iloc[2:], "s", "4.1", ("rest", "work"))
        assert found.n == 3
        assert "work minus rest" in found.rule
        assert found == rule(a.iloc[2:5], b.iloc[2:5], "s", "4.1", ("rest", "work"))
        assert rule(a.iloc[:5], b.iloc[:0], "s", "4.1").verdict == "undecided"


def test_without_runs_nothing_is_decided() -> None:
    empty = pd.DataFrame()
    for rule in (claims.higher_at_the_end, claims.ahead_at_each_step):
        found = rule(empty, empty, "s", "4.1")
        assert (found.verdict, found.n) == ("undecided", 0)
        assert math.isnan(found.estimate)
