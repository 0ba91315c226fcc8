"""Steps to a target: the first crossing counts, and a miss is infinity where it matters."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from bn_repro.analysis import steps_to

CURVE = pd.DataFrame({"step": [100, 200, 300, 400], "value": [0.5, 0.91, 0.89, 0.95]})


def test_the_first_crossing_counts() -> None:
    assert steps_to.steps_to(CURVE, 0.9) == 200
    assert steps_to.steps_to(CURVE, 0.91) == 200  # reaching it is enough
    assert math.isnan(steps_to.steps_to(CURVE, 0.96))
    assert steps_to.steps_to(CURVE.sample(frac=1, random_state=0), 0.9) == 200


def test_a_number_that_is_missing_reaches_nothing() -> None:
    torn = pd.DataFrame({"step": [100, 200], "value": [np.nan, np.nan]})
    assert math.isnan(steps_to.steps_to(torn, 0.1))


def test_tables_agree_with_single_curves() -> None:
    wide = pd.DataFrame([[0.5, 0.91, 0.89], [0.1, 0.2, np.nan]], columns=[100, 200, 300])
    np.testing.assert_array_equal(steps_to.by_row(wide, 0.9), [200, np.nan])
    rows = pd.DataFrame(
        {
            "experiment": "e",
            "id": "0",
            "seed": [0, 0, 1, 1],
            "step": [200, 100, 100, 200],
            "value": [0.95, 0.91, 0.2, np.nan],
        }
    )
    assert steps_to.table(rows, [0.9, 0.95]) == {
        "steps_to_0.9": {("e", "0", 0): 100},
        "steps_to_0.95": {("e", "0", 0): 200},
    }


def test_medians_take_a_miss_as_infinity() -> None:
    assert steps_to.median_steps([100, np.nan, 300]) == 300
    assert steps_to.median_steps([100, np.nan, np.nan]) == math.inf
    assert math.isnan(steps_to.median_steps([]))


def test_speed_up() -> None:
    slow, fast = [1000.0, 1100, 1200, 1300, np.nan], [100.0, 100, 100, 100, 100]
    found = steps_to.speed_up(slow, fast, paired=True)
    assert (found.estimate, found.low, found.high) == (12, 10, math.inf)
    never = [np.nan] * 5
    assert steps_to.speed_up(never, fast, paired=True).low == math.inf
    assert steps_to.speed_up(fast, never, paired=True).estimate == 0
    assert math.isnan(steps_to.speed_up(never, never, paired=True).estimate)


def test_a_miss_is_shown_with_the_step_to_which_it_was_looked_for() -> None:
    assert steps_to.shown(12_000, 50_000) == "12,000"
    assert steps_to.shown(np.nan, 50_000) == steps_to.shown(np.inf, 50_000) == "> 50,000"
