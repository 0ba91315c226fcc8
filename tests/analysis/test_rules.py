"""Verdicts follow from intervals alone, of five seeds or more; rules word themselves."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from bn_repro.analysis import intervals, rules
from bn_repro.analysis import quantities as q
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.quantities import Quantity

NAMES = ("with BN", "without BN")
HOLDS, FAILS, OPEN = "holds", "does not hold", "undecided"


def quantity(low: float, high: float, n: int = 5, **how) -> Quantity:
    return Quantity("q", Interval((low + high) / 2, low, high, n), how.pop("unit", "x"), **how)


def around(value: float, n: int = 5, by: float = 0.1) -> Interval:
    return Interval(value, value - by, value + by, n)


@pytest.mark.parametrize(
    ("low", "high", "n", "above", "below"),
    [
        (0.1, 0.3, 5, HOLDS, FAILS),
        (-0.3, -0.1, 5, FAILS, HOLDS),
        (-0.1, 0.3, 5, OPEN, OPEN),
        (0.0, 0.3, 5, OPEN, OPEN),  # an end on the bound is on no side
        (0.1, 0.3, 4, OPEN, OPEN),  # four seeds decide nothing
        (math.nan, math.nan, 5, OPEN, OPEN),
        (0.1, math.inf, 5, HOLDS, FAILS),
    ],
)
def test_above_and_below(low: float, high: float, n: int, above: str, below: str) -> None:
    assert rules.Above(0.0).judge(quantity(low, high, n)).verdict == above
    assert rules.Below(0.0).judge(quantity(low, high, n)).verdict == below


def test_the_reason_is_what_the_verdict_depends_on() -> None:
    for found, reason in {
        quantity(1.1, 1.3): "the interval lies above 1",
        quantity(0.1, 0.3): "the interval lies below 1",
        quantity(0.1, 1.3): "the interval contains 1",
        quantity(1.1, 1.3, n=2): "fewer than 5 seeds",
        quantity(math.nan, math.nan, n=0): "not measured",
    }.items():
        assert rules.Above(1.0).judge(found).reason == reason
        assert rules.Below(1.0).judge(found).reason == reason
    points = rules.Above(-0.002).judge(quantity(0.1, 0.2, unit="points"))
    assert points.reason == "the interval lies above -0.2 points"


@pytest.mark.parametrize(
    ("low", "high", "n", "met", "verdict", "reason"),
    [
        (1.1, 1.3, 5, True, HOLDS, "the interval lies above 1"),
        (1.1, 1.3, 5, False, OPEN, "its control fails too"),
        (0.9, 1.1, 5, True, OPEN, "the interval contains 1"),
        (0.1, 0.3, 5, True, FAILS, "the interval lies below 1"),
        (0.1, 0.3, 5, False, OPEN, "its control fails too"),
        (1.1, 1.3, 2, False, OPEN, "fewer than 5 seeds"),
        (math.nan, math.nan, 0, False, OPEN, "not measured"),
    ],
)
def test_provided(low: float, high: float, n: int, met: bool, verdict: str, reason: str) -> None:
    rule = rules.Provided(rules.Above(1.0), met, "its control trains", "its control fails too")
    assert rule.judge(quantity(low, high, n)) == (verdict, reason)
    assert rule.words(quantity(low, high)).endswith("; undecided unless its control trains")


@pytest.mark.parametrize(
    ("without", "with_bn", "verdict", "reason"),
    [
        ((0.11, 0.12, 0.113), (0.95, 0.96, 0.95), HOLDS, "only BN reaches 90 %"),
        ((0.95, 0.96, 0.95), (0.97, 0.98, 0.97), FAILS, "it trains without BN too"),
        ((0.11, 0.12, 0.11), (0.80, 0.81, 0.82), FAILS, "with BN it stays below 90 %"),
        ((0.95, 0.96, 0.95), (0.11, 0.12, 0.11), FAILS, "it trains without BN too"),
        ((0.7, 0.95, 0.95), (0.95, 0.96, 0.95), OPEN, "an arm's interval contains 90 %"),
        ((0.11, 0.12, 0.11), (0.95, 0.85, 0.95), OPEN, "an arm's interval contains 90 %"),
        ((0.11, 0.12), (0.95, 0.96), OPEN, "fewer than 5 seeds"),
        ((), (), OPEN, "not measured"),
    ],
)
def test_crosses(without, with_bn, verdict: str, reason: str) -> None:
    a, b = (pd.Series(top1 * 2, dtype=float) for top1 in (without, with_bn))
    parts = [intervals.interval(top1.to_numpy()) for top1 in (b, a)]
    found = q.difference(b, a, "gap", parts=parts)
    assert rules.Crosses(0.9).judge(found) == (verdict, reason)
    assert found.interval.n == 2 * len(without)
    assert "90 %" in rules.Crosses(0.9).words(found)


@pytest.mark.parametrize(
    ("parts", "verdict", "reason"),
    [
        ((0.5, 0.3), HOLDS, "above the margin in each direction"),
        ((-0.5, -0.3), FAILS, "below the margin in each direction"),
        ((0.5, -0.3), OPEN, "the directions disagree"),
        ((0.5, 0.05), OPEN, "not clear in each direction"),
    ],
)
def test_in_each(parts: tuple[float, float], verdict: str, reason: str) -> None:
    rule = rules.InEach("direction", margin="the noise")
    found = Quantity("q", around(0.4), "points", [around(part) for part in parts])
    assert rule.judge(found) == (verdict, reason)
    assert "in each direction the interval lies above the noise" in rule.words(found)
    few = Quantity("q", around(0.4), "points", [around(0.5), around(0.3, n=2)])
    assert rule.judge(few) == (OPEN, "fewer than 5 seeds")
    few_of_both = Quantity("q", around(0.4, n=4), "points", [around(0.5), around(0.3)])
    assert rule.judge(few_of_both) == (OPEN, "fewer than 5 seeds")


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
    rule, found = rules.AtEach("step"), q.ahead_at_each(*_tables(gaps), NAMES)
    assert rule.judge(found) == (verdict, reason)
    assert found.interval.estimate == pytest.approx(worst, abs=0.002)
    assert found.interval.n == 8


@pytest.mark.parametrize(
    ("parts", "corrected", "verdict", "reason"),
    [
        ([1.3, 2.0], [1.3, 2.0], HOLDS, "ahead at all 2 rates"),
        ([0.5, 2.0], [0.5, 2.0], FAILS, "behind at some rate"),
        ([0.85, 2.0], [0.95, 2.0], OPEN, "ahead at 1 of 2 rates"),  # behind, but uncorrected
        ([1.05, 2.0], [1.05, 2.0], OPEN, "ahead at 1 of 2 rates"),
    ],
)
def test_at_each_rate_is_judged_by_a_bound_of_its_own(
    parts: list[float], corrected: list[float], verdict: str, reason: str
) -> None:
    rule, (worst, *others) = rules.AtEach("rate", 1.0), map(around, parts)
    found = Quantity("q", worst, "x", [worst, *others], [around(part) for part in corrected])
    assert rule.judge(found) == (verdict, reason)
    assert "lies above 1 at every rate" in rule.words(found)
    few = Quantity("q", around(1.3, n=4), "x", [around(1.3, n=4)], [around(1.3, n=4)])
    assert rule.judge(few) == (OPEN, "fewer than 5 seeds")


def test_arms_without_a_common_step_decide_nothing() -> None:
    a, b = pd.DataFrame({1: [0.9] * 6}), pd.DataFrame({2: [0.8] * 6})
    assert rules.AtEach("step").judge(q.ahead_at_each(a, b, NAMES)) == (OPEN, "not measured")
    nothing = Quantity("q", around(1.3), "x")
    assert rules.AtEach("rate").judge(nothing) == (OPEN, "not measured")


def test_the_worst_step_of_one_seed_is_the_one_with_the_smallest_lead() -> None:
    rule, found = (
        rules.AtEach("step"),
        q.ahead_at_each(*_tables([0.05, 0.01, 0.03], seeds=1), NAMES),
    )
    assert found.interval.estimate == pytest.approx(0.01, abs=0.003)
    assert rule.judge(found) == (OPEN, "fewer than 5 seeds")


@pytest.mark.parametrize(
    ("seeds", "verdict", "reason"),
    [
        ([3.0] * 6, HOLDS, "6 seeds above 1, 0 below"),
        ([0.5] * 6, FAILS, "0 seeds above 1, 6 below"),
        ([3.0] * 5, OPEN, "5 seeds above 1, 0 below: p = 0.062"),
        ([3.0] * 6 + [1.0] * 4, HOLDS, "6 seeds above 1, 0 below"),
        ([3.0] * 6 + [0.5], OPEN, "6 seeds above 1, 1 below: p = 0.12"),
        ([3.0] * 4, OPEN, "fewer than 5 seeds"),
    ],
)
def test_sign_test(seeds: list[float], verdict: str, reason: str) -> None:
    found = q.discrete(pd.Series(seeds), pd.Series(1.0, range(len(seeds))), "ratio")
    assert rules.SignTest(1.0).judge(found) == (verdict, reason)
    assert math.isnan(found.interval.low)


def test_five_of_five_failures_do_not_decide_one_half_and_six_of_six_do() -> None:
    for n, verdict in ((5, OPEN), (6, HOLDS)):
        assert rules.Above(0.5).judge(q.failures([True] * n, "fails")).verdict == verdict
    assert rules.Above(0.5).judge(q.failures([True] * 4, "fails")).reason == "fewer than 5 runs"
