"""Times fewer steps over targets: what a target is, what counts, how wide the interval is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bn_repro.analysis import panels, steps_to, style
from bn_repro.analysis.speed import ITSELF, Race, at_each, more

STEPS = range(20, 1_220, 20)
NAMES = ("slow", "fast", "slow")


def arm(pace: float, top: float = 0.9, seeds: int = 5) -> pd.DataFrame:
    """Accuracies that rise from 10 % to ``top``; every seed a little slower than the one before."""
    paces = pace * (1 + 0.04 * np.arange(seeds))[:, None]
    rise = 1 - np.exp(-np.array(STEPS) / paces)
    return pd.DataFrame(0.1 + (top - 0.1) * rise, columns=list(STEPS))


@pytest.fixture
def race() -> Race:
    slow = arm(240)
    return Race(slow, arm(120), slow, NAMES, 0.1)


def test_a_target_is_a_share_of_what_is_above_chance(race: Race) -> None:
    best = float(race.slow.max(axis=1).median())
    assert race.target(ITSELF) == pytest.approx(best)
    assert race.target(0.5) == pytest.approx(0.1 + 0.5 * (best - 0.1))


def test_twice_the_pace_is_twice_the_speed_and_the_truth_lies_inside(race: Race) -> None:
    found = race.fewer()
    assert found.estimate == pytest.approx(2.0, abs=0.1)
    assert found.low < 2 < found.high
    assert found.n == 5
    assert "; to its best itself " in str(race.quantity())
    assert "95 % of slow's best accuracy above chance" in race.quantity().words


def test_an_interval_is_widened_by_the_evaluations_that_there_were(race: Race) -> None:
    """Twins: no seeds differ, so what is left is the distance to the evaluation before."""
    twins = [
        pd.DataFrame(np.repeat(w.iloc[:1].to_numpy(), 5, 0), columns=w.columns)
        for w in (race.slow, race.fast)
    ]
    found = Race(twins[0], twins[1], twins[0], NAMES, 0.1).fewer()
    slow, fast = 20 * math.ceil(240 * 2.92 / 20), 20 * math.ceil(120 * 2.92 / 20)
    assert found.low == pytest.approx((slow - 20) / fast, rel=0.05)
    assert found.high == pytest.approx(slow / (fast - 20), rel=0.05)
    assert found.low < found.estimate < found.high


def test_one_race_over_another_is_the_ratio_of_their_factors(race: Race) -> None:
    four = Race(race.slow, arm(60), race.slow, NAMES, 0.1)
    found, own = more(four, race), (four.fewer(), race.fewer())
    assert found.estimate == pytest.approx(own[0].estimate / own[1].estimate)
    assert found.low < 2 < found.high
    assert found.low >= own[0].low / own[1].high  # all at once are not both at their ends
    assert found.high <= own[0].high / own[1].low
    assert found.n == 5
    back = more(race, four)
    assert (back.low, back.high) == pytest.approx((1 / found.high, 1 / found.low), rel=0.1)
    assert more(race, Race(race.slow, pd.DataFrame(), race.slow, NAMES, 0.1)).n == 0


def test_in_seconds_every_run_has_its_own_pace(race: Race) -> None:
    """A step of the fast arm takes three times as long, so it is no longer fast."""
    seeds = race.slow.index
    even = (pd.Series(0.5, seeds), pd.Series(1.5, seeds))
    found, steps = replace(race, paces=even), race.fewer()
    assert found.fewer().estimate == pytest.approx(steps.estimate / 3)
    assert (found.fewer().low, found.fewer().high) == pytest.approx((steps.low / 3, steps.high / 3))
    assert "Median seconds of slow over median seconds of fast" in found.quantity().words
    assert found.gate() == race.gate()

    own = pd.Series([0.1, 0.1, 1.0, 1.0, 1.0], seeds)  # the fast runs' medians are of other runs
    uneven = replace(race, paces=(pd.Series(1.0, seeds), own)).fewer()
    reached = np.array([20 * math.ceil(120 * 2.92 * (1 + 0.04 * k) / 20) for k in range(5)])
    assert uneven.estimate == pytest.approx(
        np.median(steps_to.at(race.slow, race.target())) / np.median(reached * own), rel=0.06
    )
    assert uneven.high > 2 * steps.high  # a draw may have the two fast ones alone
    assert replace(race, paces=(own, own.iloc[:4])).fewer().n == 0  # one pace is not known


def test_a_higher_level_is_a_wider_interval(race: Race) -> None:
    usual, sure = race.fewer(), race.fewer(level=0.999)
    assert sure.low < usual.low
    assert usual.high < sure.high
    assert sure.estimate == usual.estimate


def test_the_best_itself_is_reached_whatever_its_last_digit() -> None:
    """0.01 + 1.0 * (0.027 - 0.01) is 0.027000000000000003."""
    wide = pd.DataFrame(np.full((5, 3), 0.02), range(5), [20, 40, 60])
    wide[60] = 0.027
    one = Race(wide, wide, wide, ("slow", "fast", "slow"), 0.01)
    assert one.target(ITSELF) == 0.027
    assert one.fewer(ITSELF).estimate == 1


def test_a_target_counts_from_ten_evaluations_on(race: Race) -> None:
    assert race.gate().met is True
    assert race.counts(0.5) is False  # 80 and 160 steps
    early = Race(race.slow, arm(20), race.slow, NAMES, 0.1)
    assert early.gate().met is False
    assert early.gate().reason == "a median lies within the first 10 evaluations"
    assert [p.share for p in race.curve() if p.counts][-1] == ITSELF


def test_an_arm_that_never_arrives_and_one_that_is_not_there(race: Race) -> None:
    never = Race(race.slow, arm(120, top=0.5), race.slow, NAMES, 0.1)
    assert never.fewer().estimate == 0
    assert str(never.quantity()).startswith("not reached by the median run of fast;")
    none = Race(race.slow, pd.DataFrame(), race.slow, NAMES, 0.1)
    assert (none.fewer().n, none.gate().met, none.curve()) == (0, None, [])
    assert none.counts() is False
    few = Race(arm(240, seeds=3), arm(120, seeds=3), arm(240, seeds=3), NAMES, 0.1)
    assert math.isnan(few.fewer().low)


def test_of_several_races_each_one_that_does_not_arrive_is_named(race: Race) -> None:
    short = arm(240, top=0.5)
    races = [
        race,
        replace(race, fast=short),
        Race(short, race.fast, race.fast, ("slow", "fast", "fast"), 0.1),
        Race(short, short, race.slow, ("slow", "fast", "best"), 0.1),
    ]
    assert [found.fewer().estimate for found in races[1:3]] == [0, math.inf]
    found = at_each([*races, races[2]], ["one", "two", "three", "four", "slow"], "")
    assert found.beside == (
        "the least certain of: 1.95 one, not reached two, not reached by slow three, "
        "not reached four, not reached by slow"
    )


def test_the_curve_is_drawn_and_what_does_not_count_is_open(race: Race) -> None:
    from matplotlib.figure import Figure

    with style.context():
        ax = panels.speed_up(Figure().subplots(), race, style.BN)
    open_ = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert len(open_) == sum(not point.counts for point in race.curve())
    assert ax.get_yscale() == "log"
