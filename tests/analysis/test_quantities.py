"""Quantities: what is paired with what, what an interval is over, and how they word themselves."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from bn_repro.analysis import quantities as q
from bn_repro.analysis.intervals import Interval
from bn_repro.analysis.quantities import Quantity
from bn_repro.analysis.rules import Above, AtEach

NAMES = ("with BN", "without BN")
HOLDS, OPEN = "holds", "undecided"


def around(value: float, n: int = 5, by: float = 0.1) -> Interval:
    return Interval(value, value - by, value + by, n)


def _tables(gaps: list[float], seeds: int = 8) -> tuple[pd.DataFrame, pd.DataFrame]:
    """With BN and without: accuracies that differ by ``gaps``, a column a step."""
    noise = np.random.default_rng(0).normal(0, 0.001, size=(2, seeds, len(gaps)))
    steps = [1_000 * (i + 1) for i in range(len(gaps))]
    without = pd.DataFrame(0.9 + noise[0], columns=steps)
    return pd.DataFrame(0.9 + np.array(gaps) + noise[1], columns=steps), without


def test_higher_at_the_end_looks_at_the_end() -> None:
    found = q.higher_at_the_end(*_tables([-0.5, 0.01]), NAMES)
    assert Above().judge(found).verdict == HOLDS
    assert found.interval.estimate == pytest.approx(0.01, abs=0.002)


def test_arms_are_paired_by_the_seeds_that_both_have() -> None:
    a, b = _tables([0.05, 0.02])
    end = q.higher_at_the_end(a.iloc[:5], b.iloc[2:], NAMES)
    assert end.interval.n == 3
    assert "with BN minus without BN" in end.words
    assert end == q.higher_at_the_end(a.iloc[2:5], b.iloc[2:5], NAMES)
    each = q.ahead_at_each(a.iloc[:5], b.iloc[2:], NAMES)
    assert each == q.ahead_at_each(a.iloc[2:5], b.iloc[2:5], NAMES)
    nobody = q.higher_at_the_end(a.iloc[:5], b.iloc[:0], NAMES)
    assert Above().judge(nobody) == (OPEN, "not measured")


def test_without_runs_nothing_is_decided() -> None:
    empty = pd.DataFrame()
    each, rule = q.ahead_at_each(empty, empty, NAMES), AtEach("step")
    for found in (q.higher_at_the_end(empty, empty, NAMES), each):
        assert found.interval.n == 0
        assert str(found) == "not measured"
        assert Above().judge(found).verdict == OPEN
    assert rule.judge(each) == (OPEN, "not measured")


@pytest.mark.parametrize(
    ("unit", "found", "shown"),
    [
        ("points", (0.0123, 0.01, 0.015), "+1.23 points [+1.00, +1.50]"),
        ("x", (4.43, 4.29, 8.0), "4.43 x [4.29, 8.00]"),
        ("points", (0.0043, -0.00003, 0.0086), "+0.43 points [-0.003, +0.86]"),
        ("x", (0.741, 0.738, 0.7449), "0.741 x [0.738, 0.745]"),
        ("x", (12.345, 1.5, math.inf), "12.3 x [1.50 or more]"),
        ("x", (1.65, 0.0, 2.71), "1.65 x [2.71 or less]"),
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
        assert str(found) == f"not reached by the median run of {arm}"
        assert (
            Above(1.0).judge(found).reason == f"the median run of {arm} does not reach the target"
        )
    some = Quantity("q", Interval(0.0, 0.0, 1.254, 5), "x", never=never)
    assert str(some) == "not reached by the median run of BN [1.25 or less]"
    neither = Quantity("q", Interval(math.nan, 0.0, math.inf, 5), "x", never=never)
    assert (str(neither), Above(1.0).judge(neither).reason) == ("not reached by either",) * 2
    assert str(Quantity("q", around(2.0), "x", never=never)) == "2.00 x [1.90, 2.10]"


def test_what_one_arm_does_not_have_is_left_out_of_a_factor() -> None:
    a = pd.Series([2.0, 4.0, 2.0, 2.0, 2.0, math.nan])
    found = q.factor(a, pd.Series(np.ones(6)), "width").interval
    assert (found.n, round(found.estimate, 3)) == (5, 2.297)


def test_an_effect_that_shows_is_judged_by_the_intervals_own_degrees_of_freedom() -> None:
    """Welch's, of two arms of which one hardly scatters, are those of one arm."""
    one, other = pd.Series([0.1, 0.2, 0.3, 0.4, 0.5]), pd.Series(np.full(5, 0.1))
    alone, both = q.mean(one, ""), q.difference(one, other, "", paired=False)
    assert both.interval.degrees == pytest.approx(4)
    assert both.detectable_effect == pytest.approx(alone.detectable_effect)
    alike = q.difference(one, one + 0.1, "", paired=False)
    assert alike.interval.degrees == pytest.approx(8)
    reach = (alike.interval.high - alike.interval.low) / 2
    assert alike.detectable_effect == pytest.approx(reach * (1 + 0.8889 / 2.3060), rel=1e-4)


def test_few_seeds_are_shown_each() -> None:
    few = q.mean(pd.Series([0.0124, 0.01]), "gap")
    assert str(few) == "+1.12 points (+1.24, +1.00)"
    coarse = q.discrete(pd.Series([3.0, 10, 10, 10, 30]), pd.Series([1.0] * 5), "range")
    assert str(coarse) == "10.0 x (seeds: 3.00 to 30.0)"


# --- images ---------------------------------------------------------------------------------------


def _answers(shares: list[float], seeds: int = 6, images: int = 200) -> pd.DataFrame:
    """Right or wrong: each seed a share of the images, the same ones first."""
    cut = np.array([round(share * images) for share in shares])[:seeds, None]
    return pd.DataFrame((np.arange(images) < cut).astype(float))


def test_an_interval_is_over_images_too_where_they_are_those_of_the_numbers() -> None:
    high, low = [0.94, 0.95, 0.95, 0.94, 0.95, 0.96], [0.9, 0.9, 0.91, 0.9, 0.92, 0.9]
    a, b = pd.Series(high), pd.Series(low)
    images = _answers(high), _answers(low)
    alone, both = q.difference(a, b, "gap"), q.difference(a, b, "gap", images=images)
    assert both.interval.estimate == alone.interval.estimate
    assert both.interval.high > 1.2 * alone.interval.high - 0.2 * alone.interval.estimate
    assert "over seeds and over images" in both.words
    assert "over seeds" in alone.words
    assert "images" not in alone.words
    welch = q.difference(a, b, "gap", paired=False, images=images)
    assert "over images" in welch.words


def test_answers_of_another_evaluation_are_an_error() -> None:
    """As of a maximum over evaluations on other images: the interval would be over seeds alone."""
    high, low = [0.94, 0.95, 0.95, 0.94, 0.95, 0.96], [0.9, 0.9, 0.91, 0.9, 0.92, 0.9]
    with pytest.raises(ValueError, match=r"accuracies and the images' answers are 0.001 apart"):
        q.gained_at(pd.Series(high) + 0.001, pd.Series(low), (_answers(high), _answers(low)))


def test_of_a_curve_each_step_takes_the_images_of_the_last() -> None:
    high, low = [0.94, 0.95, 0.95, 0.94, 0.95, 0.96], [0.9, 0.9, 0.91, 0.9, 0.92, 0.9]
    a, b = (pd.DataFrame({1: values, 2: values}) for values in (high, low))
    images = {2: (_answers(high), _answers(low))}
    alone, both = q.differences(a, b), q.differences(a, b, images)
    assert both[1] == both[2]
    assert both[2].high > alone[2].high
    assert (
        both[2] == q.difference(pd.Series(high), pd.Series(low), "gap", images=images[2]).interval
    )
    words = q.ahead_at_each(a, b, NAMES, images=images).words
    assert "over seeds and over images" in words
    assert "that over images the last one's" in words


@pytest.mark.parametrize("spoilt", ["a seed without", "other images"])
def test_answers_of_something_else_are_left_out(spoilt: str) -> None:
    high, low = [0.94, 0.95, 0.95, 0.94, 0.95, 0.96], [0.9, 0.9, 0.91, 0.9, 0.92, 0.9]
    a, b, right, other = pd.Series(high), pd.Series(low), _answers(high), _answers(low)
    other = other.iloc[1:] if spoilt == "a seed without" else _answers(low, images=400)
    assert q.gained_at(a, b, (right, other)) is None
    assert q.difference(a, b, "gap", images=(right, other)) == q.difference(a, b, "gap")


def test_images_that_a_run_has_not_seen_count_for_none() -> None:
    right, other = _answers([0.9] * 6), _answers([0.8] * 6)
    right.iloc[2, 5] = math.nan
    values = right.mean(axis=1), other.mean(axis=1)
    gained = q.gained_at(*values, (right, other))
    assert gained is not None
    assert np.flatnonzero(np.isnan(gained)).tolist() == [5]
    found = q.mean(values[0] - values[1], "q", gained=gained).interval
    assert found == q.mean(values[0] - values[1], "q", gained=np.delete(gained, 5)).interval
