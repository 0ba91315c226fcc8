"""Verdicts follow from intervals alone; rules and quantities word themselves."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bn_repro.analysis import claims as c
from bn_repro.analysis.claims import Claim, Quantity
from bn_repro.analysis.intervals import Interval

NAMES = ("with BN", "without BN")
HOLDS, FAILS, OPEN = "holds", "does not hold", "undecided"


def quantity(low: float, high: float, n: int = 5, **how) -> Quantity:
    return Quantity("q", Interval((low + high) / 2, low, high, n), how.pop("unit", "x"), **how)


def around(value: float, n: int = 5, by: float = 0.1) -> Interval:
    return Interval(value, value - by, value + by, n)


# --- rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "n", "above", "below"),
    [
        (0.1, 0.3, 5, HOLDS, FAILS),
        (-0.3, -0.1, 5, FAILS, HOLDS),
        (-0.1, 0.3, 5, OPEN, OPEN),
        (0.0, 0.3, 5, OPEN, OPEN),  # an end on the bound is on no side
        (0.1, 0.3, 3, HOLDS, FAILS),
        (0.1, 0.3, 2, OPEN, OPEN),  # two seeds decide nothing
        (math.nan, math.nan, 5, OPEN, OPEN),
        (0.1, math.inf, 5, HOLDS, FAILS),
    ],
)
def test_above_and_below(low: float, high: float, n: int, above: str, below: str) -> None:
    assert c.Above(0.0).judge(quantity(low, high, n)).verdict == above
    assert c.Below(0.0).judge(quantity(low, high, n)).verdict == below


def test_the_reason_is_what_the_verdict_hangs_on() -> None:
    for found, reason in {
        quantity(1.1, 1.3): "the interval lies above 1",
        quantity(0.1, 0.3): "the interval lies below 1",
        quantity(0.1, 1.3): "the interval contains 1",
        quantity(1.1, 1.3, n=2): "fewer than 3 seeds",
        quantity(math.nan, math.nan, n=0): "not measured",
    }.items():
        assert c.Above(1.0).judge(found).reason == reason
        assert c.Below(1.0).judge(found).reason == reason
    points = c.Above(-0.002).judge(quantity(0.1, 0.2, unit="points"))
    assert points.reason == "the interval lies above -0.2 points"


@pytest.mark.parametrize(
    ("low", "high", "n", "met", "verdict", "reason"),
    [
        (1.1, 1.3, 5, True, HOLDS, "the interval lies above 1"),
        (1.1, 1.3, 5, False, OPEN, "its control fails too"),
        (1.0, 1.0, 5, False, OPEN, "its control fails too"),
        (0.9, 1.1, 5, True, OPEN, "the interval contains 1"),
        (0.1, 0.3, 5, False, FAILS, "the interval lies below 1"),
        (1.1, 1.3, 2, False, OPEN, "fewer than 3 seeds"),
        (math.nan, math.nan, 0, False, OPEN, "not measured"),
    ],
)
def test_provided(low: float, high: float, n: int, met: bool, verdict: str, reason: str) -> None:
    rule = c.Provided(c.Above(1.0), met, "its control trains", "its control fails too")
    assert rule.judge(quantity(low, high, n)) == (verdict, reason)
    assert rule.words(quantity(low, high)).endswith("; undecided unless its control trains")


@pytest.mark.parametrize(
    ("without", "with_bn", "verdict", "reason"),
    [
        ((0.11, 0.12, 0.113), (0.95, 0.96, 0.95), HOLDS, "only BN reaches 90 %"),
        ((0.95, 0.96, 0.95), (0.97, 0.98, 0.97), FAILS, "it trains without BN too"),
        ((0.11, 0.12, 0.11), (0.80, 0.81, 0.82), FAILS, "with BN it stays below 90 %"),
        ((0.95, 0.96, 0.95), (0.11, 0.12, 0.11), FAILS, "it trains without BN too"),
        ((0.11, 0.95, 0.11), (0.95, 0.96, 0.95), OPEN, "an arm's interval contains 90 %"),
        ((0.11, 0.12, 0.11), (0.95, 0.85, 0.95), OPEN, "an arm's interval contains 90 %"),
        ((0.11, 0.12), (0.95, 0.96), OPEN, "fewer than 3 seeds"),
        ((), (), OPEN, "not measured"),
    ],
)
def test_crosses(without, with_bn, verdict: str, reason: str) -> None:
    a, b = pd.Series(without, dtype=float), pd.Series(with_bn, dtype=float)
    parts = [c.intervals.interval(top1.to_numpy()) for top1 in (b, a)]
    found = c.paired_difference(b, a, "gap", parts=parts)
    assert c.Crosses(0.9).judge(found) == (verdict, reason)
    assert found.interval.n == len(without)
    assert "90 %" in c.Crosses(0.9).words(found)


@pytest.mark.parametrize(
    ("parts", "verdict", "reason"),
    [
        ((0.5, 0.3), HOLDS, "above in each direction"),
        ((-0.5, -0.3), FAILS, "below in each direction"),
        ((0.5, -0.3), OPEN, "the directions disagree"),
        ((0.5, 0.05), OPEN, "not clear in each direction"),
    ],
)
def test_in_each(parts: tuple[float, float], verdict: str, reason: str) -> None:
    rule = c.InEach("direction", margin="the noise")
    found = Quantity("q", around(0.4), "points", [around(part) for part in parts])
    assert rule.judge(found) == (verdict, reason)
    assert "in each direction the interval lies above the noise" in rule.words(found)
    few = Quantity("q", around(0.4), "points", [around(0.5), around(0.3, n=2)])
    assert rule.judge(few) == (OPEN, "fewer than 3 seeds")


def _tables(gaps: list[float], seeds: int = 8) -> tuple[pd.DataFrame, pd.DataFrame]:
    """With BN and without: accuracies that differ by ``gaps``, a column a step."""
    noise = np.random.default_rng(0).normal(0, 0.001, size=(2, seeds, len(gaps)))
    steps = [1_000 * (i + 1) for i in range(len(gaps))]
    without = pd.DataFrame(0.9 + noise[0], columns=steps)
    return pd.DataFrame(0.9 + np.array(gaps) + noise[1], columns=steps), without


@pytest.mark.parametrize(
    ("gaps", "verdict", "reason", "worst"),
    [
        ([0.05, 0.02, 0.01], HOLDS, "ahead at all 3 steps", 0.01),
        ([0.05, 0.0, 0.01], OPEN, "ahead at 2 of 3 steps", 0.0),
        ([0.05, -0.02, 0.01], FAILS, "behind at some step", -0.02),
    ],
)
def test_ahead_at_each_step_is_as_good_as_its_worst_step(
    gaps: list[float], verdict: str, reason: str, worst: float
) -> None:
    found, rule = c.ahead_at_each_step(*_tables(gaps), NAMES)
    assert rule.judge(found) == (verdict, reason)
    assert found.interval.estimate == pytest.approx(worst, abs=0.002)
    assert found.interval.n == 8


def test_the_worst_step_of_one_seed_is_the_one_with_the_smallest_lead() -> None:
    found, rule = c.ahead_at_each_step(*_tables([0.05, 0.01, 0.03], seeds=1), NAMES)
    assert found.interval.estimate == pytest.approx(0.01, abs=0.003)
    assert rule.judge(found) == (OPEN, "fewer than 3 seeds")


# --- quantities -----------------------------------------------------------------------------------


def test_higher_at_the_end_looks_at_the_end() -> None:
    found = c.higher_at_the_end(*_tables([-0.5, 0.01]), NAMES)
    assert c.Above().judge(found).verdict == HOLDS
    assert found.interval.estimate == pytest.approx(0.01, abs=0.002)


def test_arms_are_paired_by_the_seeds_that_both_have() -> None:
    a, b = _tables([0.05, 0.02])
    end = c.higher_at_the_end(a.iloc[:5], b.iloc[2:], NAMES)
    assert end.interval.n == 3
    assert "with BN minus without BN" in end.words
    assert end == c.higher_at_the_end(a.iloc[2:5], b.iloc[2:5], NAMES)
    each = c.ahead_at_each_step(a.iloc[:5], b.iloc[2:], NAMES)
    assert each == c.ahead_at_each_step(a.iloc[2:5], b.iloc[2:5], NAMES)
    nobody = c.higher_at_the_end(a.iloc[:5], b.iloc[:0], NAMES)
    assert c.Above().judge(nobody) == (OPEN, "not measured")


def test_without_runs_nothing_is_decided() -> None:
    empty = pd.DataFrame()
    each, rule = c.ahead_at_each_step(empty, empty, NAMES)
    for found in (c.higher_at_the_end(empty, empty, NAMES), each):
        assert found.interval.n == 0
        assert str(found) == "not measured"
        assert c.Above().judge(found).verdict == OPEN
    assert rule.judge(each) == (OPEN, "not measured")


@pytest.mark.parametrize(
    ("unit", "found", "shown"),
    [
        ("points", (0.0123, 0.01, 0.015), "+1.23 points [+1.00, +1.50]"),
        ("x", (4.43, 4.29, 8.0), "4.43 x [4.29, 8.00]"),
        ("x", (12.345, 1.5, math.inf), "12.3 x [1.50 or more]"),
        ("x", (0.5, math.nan, math.nan), "0.50 x"),
        ("times chance", (20.0, 19.0, 21.0), "20.0 times chance [19.0, 21.0]"),
        ("runs", (0.6, 0.2, 1.0), "3 of 5 runs"),
        ("x", (math.nan, math.nan, math.nan), "not measured"),
    ],
)
def test_a_quantity_words_itself(unit, found: tuple[float, float, float], shown: str) -> None:
    assert str(Quantity("q", Interval(*found, 5), unit)) == shown


def test_an_arm_that_never_arrives_is_named() -> None:
    never = ("BN", "the baseline")
    for estimate, arm in ((0.0, "BN"), (math.inf, "the baseline")):
        found = Quantity("q", Interval(estimate, estimate, estimate, 5), "x", never=never)
        assert str(found) == f"never reached by {arm}"
        assert c.Above(1.0).judge(found).reason == "not within the length of its runs"
    assert str(Quantity("q", around(2.0), "x", never=never)) == "2.00 x [1.90, 2.10]"


# --- claims.json ----------------------------------------------------------------------------------


def test_json_is_rounded_and_says_what_is_no_number(tmp_path: Path) -> None:
    found = Quantity("What", Interval(1.23456789, math.nan, math.inf, 5), "x")
    text = c.to_json([Claim("x_ratio", "s", "4.1", found, c.Above(1.0), paper="2 x")])
    (row,) = json.loads(text)
    assert list(row) == [
        *("id", "sentence", "section", "rule", "estimate", "low", "high", "n"),
        *("verdict", "reason"),
    ]
    assert (row["estimate"], row["low"], row["high"]) == (1.235, None, "inf")
    assert row["rule"] == "What. Holds if the interval lies above 1, does not hold if below"
    path = tmp_path / "claims.json"
    path.write_text(text, encoding="utf-8")
    (back,) = c.from_json(path)
    assert back["estimate"] == 1.235
    assert math.isnan(back["low"])
    assert back["high"] == math.inf
    assert back["verdict"] == OPEN
