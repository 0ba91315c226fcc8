"""Steps to a target: the first crossing counts, and a miss is infinity where it matters."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from bn_repro.analysis import steps_to


def test_the_first_crossing_counts_and_a_missing_number_reaches_nothing() -> None:
    rows = [[0.5, 0.91, 0.89], [0.1, 0.2, np.nan], [np.nan, np.nan, 0.9]]
    wide = pd.DataFrame(rows, columns=[100, 200, 300])
    np.testing.assert_array_equal(steps_to.at(wide, 0.9), [200, np.inf, 300])
    np.testing.assert_array_equal(steps_to.at(wide, 0.91), [200, np.inf, np.inf])
    np.testing.assert_array_equal(steps_to.by_row(wide, 0.9), [200, np.nan, 300])
    assert steps_to.at(wide, np.array([0.1, 0.9])).shape == (2, 3)


def test_medians_take_a_miss_as_infinity() -> None:
    assert steps_to.median_steps([100, np.nan, 300]) == 300
    assert steps_to.median_steps([100, np.nan, np.nan]) == math.inf
    assert math.isnan(steps_to.median_steps([]))
