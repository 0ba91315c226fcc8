"""Each interval against the library's own, or a number known by heart; points below five seeds."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from scipy import stats

from bn_repro.analysis import intervals
from bn_repro.analysis.prose import percent

RNG = np.random.default_rng(0)
A, B = RNG.normal(3, 2, 7), RNG.normal(2, 1, 6)


def ends(found: intervals.Interval) -> tuple[float, float]:
    return found.low, found.high


def test_a_mean_has_students_interval() -> None:
    known = stats.ttest_1samp(A, 0).confidence_interval(0.95)
    assert ends(intervals.interval(A)) == pytest.approx(tuple(known))
    paired = stats.ttest_rel(A[:6], B).confidence_interval(0.95)
    assert ends(intervals.difference(A[:6], B, paired=True)) == pytest.approx(tuple(paired))
    wider = stats.ttest_1samp(A, 0).confidence_interval(0.99)
    assert ends(intervals.interval(A, level=0.99)) == pytest.approx(tuple(wider))


def test_two_arms_have_welchs_interval() -> None:
    known = stats.ttest_ind(A, B, equal_var=False).confidence_interval(0.95)
    found = intervals.difference(A, B, paired=False)
    assert ends(found) == pytest.approx(tuple(known))
    assert found.n == 6
    with pytest.raises(ValueError, match="the same length"):
        intervals.difference(A, B, paired=True)


def test_images_are_a_second_source() -> None:
    """Satterthwaite: as much variance again, of many degrees, with the degrees of their mixture."""
    gained = np.tile([1.0, 0.0, -1.0], 400)
    _, own = intervals.of_mean(A)
    (seeds, _), (images, of_images) = intervals.of_mean(A), intervals.of_mean(gained)
    degrees = (seeds + images) ** 2 / (seeds**2 / own + images**2 / of_images)
    found = intervals.interval(A, images=gained)
    reach = stats.t.ppf(0.975, degrees) * math.sqrt(seeds + images)
    assert found.high - found.estimate == pytest.approx(reach)
    still = intervals.interval([0.5] * 5, images=gained)  # seeds that agree are not certainty
    assert still.high - still.low == pytest.approx(2 * 1.962 * math.sqrt(images), rel=1e-3)


def test_a_ratio_is_the_other_way_round_when_turned_round() -> None:
    a, b = np.array([2.0, 3, 4, 5, 6]), np.array([1.0, 1, 2, 2, 2])
    there, back = intervals.ratio(a, b), intervals.ratio(b, a)
    assert there.estimate == pytest.approx(1 / back.estimate)
    assert there.low == pytest.approx(1 / back.high)
    assert there.estimate == pytest.approx(stats.gmean(a / b))


@pytest.mark.parametrize(("k", "n", "low", "high"), [(5, 5, 0.478, 1), (6, 6, 0.541, 1)])
def test_k_of_n_runs(k: int, n: int, low: float, high: float) -> None:
    assert ends(intervals.share(k, n)) == pytest.approx((low, high), abs=5e-4)
    known = stats.binomtest(2, 9).proportion_ci(0.95)
    assert ends(intervals.share(2, 9)) == pytest.approx((known.low, known.high))
    assert intervals.share(0, 9).low == 0


def test_six_of_six_decide_a_sign_test_and_five_of_five_do_not() -> None:
    assert intervals.sign_test([2.0] * 6, 1.0) == (6, 0, pytest.approx(0.03125))
    assert intervals.sign_test([0.5] * 5, 1.0) == (0, 5, pytest.approx(0.0625))
    assert intervals.sign_test([2.0] * 6 + [1.0] * 3, 1.0)[2] < 0.05  # ties are left out
    assert intervals.sign_test([2, 2, 2, 0.5], 1.0) == (3, 1, stats.binomtest(3, 4).pvalue)
    assert intervals.sign_test([], 1.0) == (0, 0, 1.0)


def test_fewer_than_five_seeds_are_points() -> None:
    four = [0.9, 0.91, 0.92, 0.93]
    for found in (
        intervals.interval(four),
        intervals.difference(four, four, paired=True),
        intervals.difference(A, four, paired=False),
        intervals.share(4, 4),
        intervals.bootstrap(partial(np.median, axis=-1), four),
    ):
        assert found.n == 4
        assert math.isnan(found.low)
        assert math.isnan(found.high)
        assert not math.isnan(found.estimate)
    assert not math.isnan(intervals.interval([*four, 0.94]).low)
    none = intervals.interval([])
    assert (none.n, none.percent()) == (0, "-")


# --- the bootstrap of medians ---------------------------------------------------------------------


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.median(a, axis=-1) / np.median(b, axis=-1)


def test_infinities_make_infinite_ends_and_undefined_ratios_widen_both() -> None:
    never, some = [math.inf] * 5, [10.0, 20, 30, 40, math.inf]
    found = intervals.bootstrap(ratio, never, some)
    assert (found.estimate, found.low, found.high) == (math.inf, -math.inf, math.inf)
    finite = intervals.bootstrap(partial(np.median, axis=-1), some)
    assert (finite.estimate, finite.low, finite.high) == (30.0, 10.0, math.inf)


def test_same_numbers_same_interval() -> None:
    assert intervals.bootstrap(ratio, A, B) == intervals.bootstrap(ratio, A.copy(), B.copy())


def test_leading_axes_stay_for_compute() -> None:
    values = np.arange(18.0).reshape(3, 6)  # 3 rates, 6 seeds
    found = intervals.bootstrap(lambda v: v.mean(axis=-1).max(axis=0), values)
    assert (found.estimate, found.n) == (14.5, 6)
    assert found.low >= 12


def test_an_accuracy_is_shown_with_an_interval_within_0_and_100_percent() -> None:
    assert percent(np.array([0.1, 0.1, 0.1, 0.1, 0.9])) == "26.0 % [0.0, 70.4]"
    assert percent(np.array([0.1, 0.2, 0.3, 0.4, 0.5]) / 1000 + 0.97) == "97.03 % [97.01, 97.05]"
    assert percent(1 - np.array([0.1, 0.1, 0.1, 0.1, 0.9])).endswith(", 100.0]")
