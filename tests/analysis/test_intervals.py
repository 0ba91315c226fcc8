"""The bootstrap covers what it says, and takes pairs, ratios and infinities as they are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bn_repro.analysis import intervals


@pytest.mark.parametrize(
    ("degrees", "exact"), [(3, 3.1824), (4, 2.7764), (9, 2.2622), (29, 2.0452)]
)
def test_student_quantile(degrees: int, exact: float) -> None:
    assert intervals.student_quantile(0.975, degrees) == pytest.approx(exact, rel=1e-2)


def _coverage(n: int, statistic: intervals.Statistic, draws: np.ndarray, truth: float) -> float:
    hits = 0
    for seed, sample in enumerate(draws):
        found = intervals.bootstrap(statistic, sample, resamples=999, seed=seed)
        hits += found.low <= truth <= found.high
    return hits / len(draws)


@pytest.mark.parametrize(("n", "covered"), [(5, 0.924), (10, 0.945), (30, 0.947)])
def test_how_often_the_interval_of_a_mean_covers_it(n: int, covered: float) -> None:
    draws = np.random.default_rng(n).normal(3, 2, size=(2_000, n))
    # 2,000 draws tell a coverage to 1 point (two standard errors)
    assert _coverage(n, intervals.mean, draws, 3) == pytest.approx(covered, abs=0.015)


def test_the_plain_percentile_interval_would_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "tail", lambda n, level=0.95: (1 - level) / 2)
    draws = np.random.default_rng(5).normal(3, 2, size=(1_000, 5))
    assert _coverage(5, intervals.mean, draws, 3) < 0.88


def test_the_interval_of_a_median_of_skewed_numbers_covers_it() -> None:
    draws = np.random.default_rng(0).lognormal(0, 1, size=(1_000, 10))
    assert 0.93 <= _coverage(10, intervals.median, draws, 1.0) <= 0.995


def test_pairs_take_out_what_the_seeds_share() -> None:
    generator = np.random.default_rng(1)
    shared = generator.normal(0, 5, size=10)
    a, b = shared + 1 + generator.normal(0, 0.1, 10), shared + generator.normal(0, 0.1, 10)
    paired = intervals.difference(a, b, paired=True)
    unpaired = intervals.difference(a, b, paired=False)
    assert paired.estimate == unpaired.estimate == pytest.approx(1, abs=0.2)
    assert paired.low > 0.8
    assert unpaired.low < 0
    with pytest.raises(ValueError, match="the same length"):
        intervals.difference(a, b[:9], paired=True)


def test_a_ratio_is_the_other_way_round_when_turned_round() -> None:
    a, b = np.array([2.0, 3, 4, 5, 6]), np.array([1.0, 1, 2, 2, 2])
    there = intervals.ratio(a, b, paired=True)
    back = intervals.ratio(b, a, paired=True)
    assert there.estimate == pytest.approx(1 / back.estimate)
    assert there.low == pytest.approx(1 / back.high)


def test_infinities_make_infinite_ends_and_undefined_ratios_widen_both() -> None:
    never = [math.inf] * 5
    some = [10.0, 20, 30, 40, math.inf]
    found = intervals.ratio(never, some, paired=False, statistic=intervals.median)
    assert found.estimate == math.inf
    assert found.low == -math.inf  # all five draws of `some` may be infinite: nothing is known then
    assert found.high == math.inf
    undefined = intervals.ratio(some, some, paired=True, statistic=intervals.median)
    assert (undefined.estimate, undefined.low, undefined.high) == (1, -math.inf, math.inf)
    finite = intervals.interval(some, intervals.median)
    assert (finite.estimate, finite.high) == (30.0, math.inf)
    assert finite.low == 10.0


def test_same_numbers_same_interval() -> None:
    values = np.random.default_rng(2).normal(size=10)
    assert intervals.interval(values) == intervals.interval(values.copy())


def test_one_seed_has_no_interval_and_none_no_estimate() -> None:
    one = intervals.interval([0.5])
    assert (one.estimate, one.n) == (0.5, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert one.percent() == "50.0 %"
    none = intervals.interval([])
    assert (none.n, none.percent()) == (0, "-")


def test_three_seeds_give_their_range() -> None:
    found = intervals.interval([1.0, 2.0, 4.0])
    assert (found.low, found.high) == (1.0, 4.0)
    assert found.percent() == "233.3 % [100.0, 400.0]"


def test_leading_axes_stay_for_compute() -> None:
    values = np.arange(12.0).reshape(3, 4)  # 3 rates, 4 seeds
    found = intervals.bootstrap(lambda v: v.mean(axis=-1).max(axis=0), values)
    assert (found.estimate, found.n) == (9.5, 4)
    assert found.low >= 8
